"""The reference of the file's keys for people, in Markdown, from the same schema that editors get."""

from __future__ import annotations

import json
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
`file:/run/secrets/x` stands for what that file holds. Sizes take KiB, MiB, GiB; times need ms, s, m, h or d.

This page is made from the models by `make docs`.
"""


def reference() -> str:
    """The whole page."""
    whole = schema()
    definitions = whole["$defs"]
    lines = [_HEAD, "## Keys at the top, and of each server", "", *_table(whole["properties"], definitions)]
    for name, one in whole["properties"].items():
        if name != "servers":
            lines += _sections(name, one, definitions)
    return "\n".join(lines) + "\n"


def _sections(name: str, one: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    """The tables of what a key holds, and of what is within that."""
    for section in _definitions(one, definitions):
        properties = section["properties"]
        alternatives = properties.get("kind", {}).get("anyOf", ())
        kind = next((each["const"] for each in alternatives if "const" in each), None)
        yield from ("", f"## `{name}`" + (f", `kind: {kind}`" if kind else ""), "")
        about = properties["kind"] if kind else one
        yield from (about.get("description", ""), "")
        shown = {key: value for key, value in properties.items() if key != "kind" or not kind}
        yield from _table(shown, definitions)
        for key, value in shown.items():
            yield from _sections(f"{name}.{key}", value, definitions)


def _table(properties: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    yield "| key | default | meaning |"
    yield "|---|---|---|"
    for name, one in properties.items():
        shown = _default(one) or ("see below" if _definitions(one, definitions) else "")
        yield f"| `{name}` | {shown} | {one.get('description', '').replace('|', '&#124;')} |"


def _default(one: dict[str, Any]) -> str:
    if "default" not in one:
        return ""
    default = one["default"]
    if default is None or isinstance(default, bool):
        return f"`{json.dumps(default)}`"
    return f"`{default}`" if not isinstance(default, list) else f"`[{', '.join(map(str, default))}]`"


def _definitions(one: dict[str, Any], definitions: dict[str, Any]) -> list[dict[str, Any]]:
    """The sections that a key may hold: one, several where a kind tells, or none."""
    if "$ref" in one:
        found = definitions.get(one["$ref"].rpartition("/")[2], {})
        return [found] if "properties" in found else []
    inner = [one[word] for word in ("items", "additionalProperties") if isinstance(one.get(word), dict)]
    inner += [each for word in ("anyOf", "oneOf") for each in one.get(word, ())]
    return [section for each in inner for section in _definitions(each, definitions)]
