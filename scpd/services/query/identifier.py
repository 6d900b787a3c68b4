"""The identifier of a C-FIND request → what is asked of the index and what is to be told (PS3.4 C.4.1.1.3, C.4.1.3).

Attributes of levels above may be asked for and matched whatever was negotiated: that is what clients do.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag

from scpd.dimse.status import CANNOT_UNDERSTAND, DATA_SET_DOES_NOT_MATCH
from scpd.errors import UnreadableDataSet
from scpd.index import dates, moments
from scpd.index.attributes import (
    AVAILABLE_TRANSFER_SYNTAX,
    KEPT_VR,
    MODALITIES_IN_STUDY,
    NUMBER_VR,
    NUMBERS_RELATED,
    SOP_CLASSES_IN_STUDY,
    SPECIFIC_CHARACTER_SET,
    TIMEZONE_OFFSET,
    Level,
)
from scpd.index.conditions import Items, Matching, UnmatchableKey, parse
from scpd.index.query import Query
from scpd.index.wildcards import has_wildcards
from scpd.services.query.charsets import terms_of
from scpd.services.query.keys import decode
from scpd.services.query.models import INSTANCE_AVAILABILITY, QUERY_RETRIEVE_LEVEL, RETRIEVE_AE_TITLE
from scpd.storage.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scpd.index.attributes import Keeping
    from scpd.index.query import Condition
    from scpd.services.query.extended import Options
    from scpd.services.query.keys import Key
    from scpd.services.query.models import Model

Wanted: TypeAlias = "Mapping[int, Wanted | None]"
"""Attributes to be told by tag, with those wanted of each item where it is a sequence; none there are all."""

# They are no keys: what they say is said about the others, or by the answer.
_NO_KEYS = frozenset(
    (SPECIFIC_CHARACTER_SET, TIMEZONE_OFFSET, QUERY_RETRIEVE_LEVEL, RETRIEVE_AE_TITLE, INSTANCE_AVAILABILITY)
)
# Told, and not matched: their keys are taken as universal (PS3.4 C.2.2.1.3).
_NEVER_MATCHED = frozenset((*NUMBERS_RELATED, AVAILABLE_TRANSFER_SYNTAX))
_IN_STUDY = frozenset((MODALITIES_IN_STUDY, SOP_CLASSES_IN_STUDY))
_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i"}
_RANGES = ("DA", "TM")
_BIG_ENDIAN = "1.2.840.10008.1.2.2"


class NotUnderstood(ValueError):
    """An identifier that is refused: the status of table C.4-1, the element at fault, and why, without its value."""

    def __init__(self, status: int, tag: int | None, why: str) -> None:
        name = "" if tag is None else f"{keyword_for_tag(tag) or 'the element'} ({tag >> 16:04X},{tag & 0xFFFF:04X}) "
        super().__init__(name + why)
        self.status = status
        self.offending = () if tag is None else (tag,)


class Asked(NamedTuple):
    """A request that was understood.

    ``character_set`` are the terms of its Specific Character Set; ``ignored`` says that it has keys of which nothing
    is known here, or that are not matched.
    """

    query: Query
    wanted: Wanted
    character_set: tuple[str, ...] = ()
    ignored: bool = False


def understand(data: bytes, transfer_syntax: str, model: Model, keeping: Keeping, options: Options) -> Asked:
    """What an identifier asks for. Raises :class:`NotUnderstood`."""
    try:
        keys = decode(data, transfer_syntax)
    except UnreadableDataSet as error:
        raise NotUnderstood(CANNOT_UNDERSTAND, None, str(error)) from error
    return _Request(keys, transfer_syntax, keeping, options).asked(model)


class _Request:
    """The keys of one identifier, on their way to a query."""

    def __init__(self, keys: tuple[Key, ...], transfer_syntax: str, keeping: Keeping, options: Options) -> None:
        self._keys = {key.tag: key for key in keys}
        self._order = ">" if transfer_syntax == _BIG_ENDIAN else "<"
        self._keeping = keeping
        self._options = options
        raw = self._raw(SPECIFIC_CHARACTER_SET)
        self._text = Text(raw)
        try:
            self._terms: tuple[str, ...] | None = terms_of(raw.decode("ascii", "replace").strip("\0 "))
        except LookupError:
            self._terms = None
        self._matching = Matching()
        self._ranges: set[int] = set()
        self.ignored = False

    def asked(self, model: Model) -> Asked:
        level = self._level(model)
        if not self._options.relational:
            self._check_above(model, level)
        self._matching = Matching(
            self._options.fuzzy_names, self._options.empty_values, self._options.multiple_values, self._zone()
        )
        conditions: dict[int, Condition] = {}
        wanted: dict[int, Wanted | None] = {}
        for key in self._keys.values():
            self._take(key, level, conditions, wanted)
        if TIMEZONE_OFFSET in self._keys and level >= Level.STUDY:
            wanted[TIMEZONE_OFFSET] = None
        alone, together = moments.gather(
            conditions, self._ranges, self._matching.zone, combined=self._options.combined_date_time
        )
        return Asked(Query(level, alone, frozenset(wanted), together), wanted, self._terms or (), self.ignored)

    def _level(self, model: Model) -> Level:
        tag = QUERY_RETRIEVE_LEVEL
        name = self._raw(tag).decode("ascii", "replace").strip("\0 ")
        if not name:
            raise NotUnderstood(DATA_SET_DOES_NOT_MATCH, tag, "is missing")
        names = {level.name: level for level in model.levels}
        if name not in names:
            raise NotUnderstood(DATA_SET_DOES_NOT_MATCH, tag, f"is none of {' '.join(names)}")
        return names[name]

    def _check_above(self, model: Model, level: Level) -> None:
        """A hierarchical search has one value for each unique key above its level (C.4.1.2.1)."""
        for tag in model.above(level):
            value = self._text.decode(self._raw(tag))
            if not value.strip("\\ "):
                raise NotUnderstood(DATA_SET_DOES_NOT_MATCH, tag, "is missing")
            if "\\" in value or has_wildcards(value):
                raise NotUnderstood(DATA_SET_DOES_NOT_MATCH, tag, "has no single value")

    def _zone(self) -> int | None:
        text = self._raw(TIMEZONE_OFFSET).decode("ascii", "replace").strip("\0 ")
        if not (self._options.timezone and text):
            return None
        try:
            return dates.offset(text)
        except dates.NotADate as error:
            raise NotUnderstood(CANNOT_UNDERSTAND, TIMEZONE_OFFSET, str(error)) from None

    def _take(self, key: Key, level: Level, conditions: dict[int, Condition], wanted: dict[int, Wanted | None]) -> None:
        tag = key.tag
        if tag in _NO_KEYS or not tag & 0xFFFF:  # PS3.5 7.2: a group length says nothing
            return
        its_level = self._keeping.level_of(tag)
        if its_level is None or (its_level > level and tag not in _IN_STUDY):
            self.ignored = True
            return
        condition, items = self._condition(key)
        if its_level <= level:
            wanted[tag] = items
        else:
            self.ignored = True
        if condition and tag in _NEVER_MATCHED:
            self.ignored = True
        elif condition:
            conditions[tag] = condition

    def _condition(self, key: Key) -> tuple[Condition | None, Wanted | None]:
        """What a key asks of its attribute, and what is wanted of its items where it is a sequence."""
        vr = dictionary_VR(key.tag)
        empty = not key.items if vr == "SQ" else not key.raw
        if key.vr not in ("", "UN", vr) and not empty:
            raise NotUnderstood(DATA_SET_DOES_NOT_MATCH, key.tag, f"is not encoded as {vr}")
        if vr == "SQ":
            return self._items(key)
        text = self._value(key, vr)
        if vr in _RANGES and "-" in text:
            self._ranges.add(key.tag)
        try:
            return parse(key.tag, vr, text, self._matching), None
        except UnmatchableKey as error:
            raise NotUnderstood(CANNOT_UNDERSTAND, key.tag, error.why) from None

    def _items(self, key: Key) -> tuple[Condition | None, Wanted]:
        if len(key.items or ()) > 1:
            raise NotUnderstood(CANNOT_UNDERSTAND, key.tag, "has more than one item")
        conditions: dict[int, Condition] = {}
        wanted: dict[int, Wanted | None] = {}
        for inner in key.items[0] if key.items else ():
            if not dictionary_has_tag(inner.tag) or dictionary_VR(inner.tag) not in KEPT_VR:
                self.ignored = True
                continue
            condition, items = self._condition(inner)
            wanted[inner.tag] = items
            if condition:
                conditions[inner.tag] = condition
        return (Items(conditions) if conditions else None), wanted

    def _value(self, key: Key, vr: str) -> str:
        if vr in NUMBER_VR:
            code = _NUMBERS[vr]
            if len(key.raw) % struct.calcsize(code):
                raise NotUnderstood(CANNOT_UNDERSTAND, key.tag, "is no whole number")
            count = len(key.raw) // struct.calcsize(code)
            return "\\".join(map(str, struct.unpack(f"{self._order}{count}{code}", key.raw)))
        if self._terms is None and not key.raw.isascii():
            raise NotUnderstood(CANNOT_UNDERSTAND, SPECIFIC_CHARACTER_SET, "is not of the standard's")
        text = self._text.decode(key.raw)
        if "\ufffd" in text:
            raise NotUnderstood(CANNOT_UNDERSTAND, key.tag, "is not text of its character set")
        return text

    def _raw(self, tag: int) -> bytes:
        key = self._keys.get(tag)
        return key.raw if key else b""
