"""The identifier of a C-MOVE or C-GET: a level, and the unique keys of what is wanted (PS3.4 C.4.2.1.4, C.4.3.1.3).

Other keys have no meaning in it, and are passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scpd.dimse.status import CANNOT_UNDERSTAND, DATA_SET_DOES_NOT_MATCH
from scpd.errors import UnreadableDataSet
from scpd.index.attributes import SPECIFIC_CHARACTER_SET, UNIQUE_KEYS, Level
from scpd.index.wildcards import has_wildcards
from scpd.names import is_uid
from scpd.services.query.identifier import NotUnderstood
from scpd.services.query.keys import decode
from scpd.services.query.models import QUERY_RETRIEVE_LEVEL
from scpd.storage.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scpd.services.query.models import Model


class Wanted(NamedTuple):
    """Everything below the entities of ``level`` that have these unique keys: values by tag."""

    level: Level
    keys: Mapping[int, tuple[str, ...]]


def understand(data: bytes, transfer_syntax: str, model: Model, *, relational: bool) -> Wanted:
    """What an identifier asks for; ``relational`` is whether keys above the level may be missing (C.5.2.1).

    Raises :class:`NotUnderstood`.
    """
    try:
        raw = {key.tag: key.raw for key in decode(data, transfer_syntax)}
    except UnreadableDataSet as error:
        raise NotUnderstood(CANNOT_UNDERSTAND, None, str(error)) from error
    level = _level(raw.get(QUERY_RETRIEVE_LEVEL, b""), model)
    text = Text(raw.get(SPECIFIC_CHARACTER_SET, b""))
    keys: dict[int, tuple[str, ...]] = {}
    for one in model.levels:
        tag = UNIQUE_KEYS[one]
        values = _values(text.decode(raw.get(tag, b"")))
        if values and one > level:
            raise NotUnderstood(DATA_SET_DOES_NOT_MATCH, tag, "is below the level")
        if not values and (one is level or (one < level and not relational)):
            raise NotUnderstood(DATA_SET_DOES_NOT_MATCH, tag, "is missing")
        if values:
            _check(tag, one, values, is_list=one is level)
            keys[tag] = values
    return Wanted(level, keys)


def _level(raw: bytes, model: Model) -> Level:
    name = raw.decode("ascii", "replace").strip("\0 ")
    if not name:
        raise NotUnderstood(DATA_SET_DOES_NOT_MATCH, QUERY_RETRIEVE_LEVEL, "is missing")
    for level in model.levels:
        if level.name == name:
            return level
    names = " ".join(level.name for level in model.levels)
    raise NotUnderstood(DATA_SET_DOES_NOT_MATCH, QUERY_RETRIEVE_LEVEL, f"is none of {names}")


def _values(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in (part.strip(" \0") for part in text.split("\\")) if value))


def _check(tag: int, level: Level, values: tuple[str, ...], *, is_list: bool) -> None:
    """Single values, or a list of UIDs at the level of the retrieval (C.4.2.2.1, C.4.3.2.1)."""
    if len(values) > 1 and (level is Level.PATIENT or not is_list):
        raise NotUnderstood(DATA_SET_DOES_NOT_MATCH, tag, "has no single value")
    if any(map(has_wildcards, values)):
        raise NotUnderstood(DATA_SET_DOES_NOT_MATCH, tag, "has wildcards")
    if level is not Level.PATIENT and not all(map(is_uid, values)):
        raise NotUnderstood(DATA_SET_DOES_NOT_MATCH, tag, "has a value that is no UID")
