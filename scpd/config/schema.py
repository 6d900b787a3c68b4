"""The JSON Schema of the file, for editors and for the documentation."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from scpd.config.model import ConfigFile

_TITLE = "The configuration file of scpd"
# What may stand in place of any value but a list or a mapping: a variable, or the file of a secret.
_REFERENCE = {"type": "string", "pattern": r"\$\{|^file:/"}
# Long lists of names, written once and referred to.
_NAMED = ("SOPClass", "TransferSyntax")
_ABOUT = ("description", "default")


def schema() -> dict[str, Any]:
    """Draft 2020-12, of what may stand in a file; each key has a description, and its default where it has one."""
    # The mode that writes defaults as they stand in a file: 256KiB, not 262144.
    found = ConfigFile.model_json_schema(mode="serialization")
    names: dict[str, Any] = {}
    definitions = {name: _model(each, names) for name, each in found.pop("$defs").items()}
    top = {**_model(found, names), "title": _TITLE}
    return {"$schema": GenerateJsonSchema.schema_dialect, **top, "$defs": {**definitions, **names}}


def _model(schema: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    """The schema of a section, without the titles that only repeat the keys."""
    keys = {key: _key(each, names) for key, each in schema["properties"].items()}
    return {**{k: v for k, v in schema.items() if k != "title"}, "properties": keys}


def _key(schema: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    about = {word: schema[word] for word in _ABOUT if word in schema}
    rest = {k: _referring(v, names) for k, v in schema.items() if k not in (*_ABOUT, "title")}
    if "$ref" in rest or rest.get("type") == "array":
        return {**about, **rest}
    alternatives = rest.get("anyOf", [rest])
    return {**about, "anyOf": [*alternatives, _REFERENCE]}


def _referring(value: Any, names: dict[str, Any]) -> Any:
    """``value`` with a reference in place of every named list."""
    if isinstance(value, list):
        return [_referring(each, names) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get("title") in _NAMED:
        names[value["title"]] = {"anyOf": [*value["anyOf"], _REFERENCE]}
        return {"$ref": f"#/$defs/{value['title']}"}
    return {key: _referring(each, names) for key, each in value.items()}
