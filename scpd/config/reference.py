"""The reference of the file's keys for people, in Markdown, from the same schema that editors get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scpd.config.schema import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = """\
# Configuration

One YAML file. Every key of a server may also stand at the top, where it is the default of all `servers`; one server
needs no `servers`. An unknown key is an error. `scpd check FILE` prints every fault with its line, `scpd show FILE` the
file with every default filled in, and `scpd schema` a JSON Schema for editors.

`${NAME}` and `${NAME:-default}` are replaced from the environment (`$${` is a literal `${`), and a value
`file:/run/secrets/x` stands for what that file holds. Sizes take KiB, MiB, GiB; times need ms, s, m or h.

This page is made from the models by `make docs`.
"""


def reference() -> str:
    """The whole page."""
    whole = schema()
    definitions = whole["$defs"]
    lines = [_HEAD, "## Keys at the top, and of each server", "", *_table(whole["properties"], "", definitions)]
    for name, one in whole["properties"].items():
        section = _definition(one, definitions)
        if section and name != "servers":
            lines += ["", f"## `{name}`", "", one.get("description", ""), ""]
            lines += _table(section["properties"], f"{name}.", definitions)
    entry = definitions["ContextEntry"]
    lines += ["", "## An entry of `contexts`", "", *_table(entry["properties"], "", definitions)]
    return "\n".join(lines) + "\n"


def _table(properties: dict[str, Any], prefix: str, definitions: dict[str, Any]) -> Iterator[str]:
    yield "| key | default | meaning |"
    yield "|---|---|---|"
    for name, one in properties.items():
        shown = "see below" if _definition(one, definitions) else _default(one)
        yield f"| `{prefix}{name}` | {shown} | {one.get('description', '').replace('|', '&#124;')} |"


def _default(one: dict[str, Any]) -> str:
    if "default" not in one:
        return ""
    default = one["default"]
    if default is None:
        return "`null`"
    return f"`{default}`" if not isinstance(default, list) else f"`[{', '.join(map(str, default))}]`"


def _definition(one: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any] | None:
    """The section that a key holds, if it holds one."""
    name = str(one.get("$ref", "")).rpartition("/")[2]
    found: dict[str, Any] | None = definitions.get(name)
    return found if found and "properties" in found else None
