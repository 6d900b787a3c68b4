"""Plain data against a model: the model's instance, or its faults in sentences of our own.

Turns pydantic's errors into faults. Knows no line: a fault is told by its path in the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from scpd.config.faults import MOST_FAULTS, KeyPath, dotted, nearest, shown
from scpd.config.model import PROCESS_KEYS, ConfigFile
from scpd.config.section import Section, kind_of, section_at, sections_at, sections_of
from scpd.config.uids import UnknownName

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

S = TypeVar("S", bound=Section)


@dataclass(frozen=True)
class Finding:
    """What is wrong at a path; ``tells_value`` where the sentence may repeat what stands there."""

    path: KeyPath
    what: str
    tells_value: bool = True


def validate(model: type[S], data: dict[str, Any]) -> tuple[S | None, list[Finding]]:
    """``data`` as a ``model``, or None and what is wrong with it."""
    try:
        return model.model_validate(data), []
    except ValidationError as error:
        details = error.errors(include_url=False)
        return None, [_finding(model, each, data) for each in details[: MOST_FAULTS + 1]]


def _finding(model: type[Section], error: ErrorDetails, data: dict[str, Any]) -> Finding:
    path = _without_kinds(model, error["loc"])
    if error["type"] == "extra_forbidden":
        return Finding(path, _unknown_key(section_at(model, path[:-1], data), path), tells_value=False)
    if error["type"] == "missing":
        return Finding(path[:-1], f"{path[-1]} is missing; write it", tells_value=False)
    return Finding(path, _wrong_value(sections_at(model, path, data), error))


def _without_kinds(model: type[Section], location: KeyPath) -> KeyPath:
    """Pydantic's location without the kinds that it names on the way, which are no keys."""
    path: KeyPath = ()
    is_told = False
    for part in location:
        # It names the kind once, at the entry of a list.
        if path and isinstance(path[-1], int) and not is_told and len(sections_at(model, path, None)) > 1:
            is_told = True
            continue
        path = (*path, part)
    return path


def _wrong_value(sections: tuple[type[Section], ...], error: ErrorDetails) -> str:
    value, context = error["input"], error.get("ctx", {})
    if value is None:
        return "has no value; write one, or leave the key out"
    if error["type"] == "value_error":
        cause = context["error"]
        return cause.sentence() if isinstance(cause, UnknownName) else str(cause)
    if not isinstance(value, dict) and len(sections) > 1:
        return f"{shown(value)} is not a mapping; write kind: and one of {_kinds(sections)}, and the keys of that kind"
    if error["type"] == "union_tag_not_found" or (error["type"] == "union_tag_invalid" and not _is_word(value)):
        return f"kind is missing; write kind: and one of {_kinds(sections)}"
    if error["type"] == "union_tag_invalid":
        near = nearest(str(context["tag"]), _kinds(sections).split(", "))
        advice = f"did you mean {near!r}?" if near else f"write {_kinds(sections)}"
        return f"kind {shown(context['tag'])} is not known; {advice}"
    if error["type"] == "literal_error":
        return f"{shown(value)} is not known here; write {context['expected']}"
    if error["type"] == "tuple_type":
        return f"{shown(value)} is not a list; write [a, b], or lines that begin with '- '"
    if error["type"] == "dict_type":
        return f"{shown(value)} is not a mapping; write names, and keys beneath each"
    if error["type"] in ("model_type", "model_attributes_type"):
        known = ", ".join(sections[0].model_fields)
        return f"{shown(value)} is not a mapping; write keys beneath it: {known}"
    return f"{shown(value)} is not valid here; scpd schema says what is"


def _is_word(value: Any) -> bool:
    return isinstance(value.get("kind"), str)


def _kinds(sections: tuple[type[Section], ...]) -> str:
    return ", ".join(filter(None, (kind_of(section) for section in sections)))


def _unknown_key(section: type[Section], path: KeyPath) -> str:
    key = str(path[-1])
    if key in PROCESS_KEYS:
        return "unknown key; it stands at the top of the file, for the whole process"
    if near := nearest(key, list(section.model_fields)):
        return f"unknown key; did you mean {near!r}?"
    elsewhere = _elsewhere(key)
    if elsewhere and not dotted(path).endswith(elsewhere):
        return f"unknown key; did you mean {elsewhere}?"
    return f"unknown key; known here: {', '.join(section.model_fields)}"


def _elsewhere(key: str) -> str | None:
    """A key that was written one level too high or too low, or in another section."""
    if key in ConfigFile.model_fields:
        return f"{key} (one level up)"
    for name, field in ConfigFile.model_fields.items():
        for section in sections_of(field.annotation)[:1]:
            if key in section.model_fields:
                return f"{name}.{key}"
    return None
