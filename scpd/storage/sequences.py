"""The items of a sequence as they came → attributes by tag (PS3.5 section 7.5), for whoever asked :mod:`.head` for it.

Knows text, whole numbers and sequences; anything else is passed over. Bytes that are no items give none at all.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, Union

from pydicom.datadict import dictionary_VR

from scpd.storage.head import LONG_LENGTH, SHORT_VR, UNDEFINED
from scpd.storage.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping

Value: TypeAlias = Union[str, "list[Mapping[int, Value]]"]
"""Text without padding, several values with backslashes between them; numbers in their decimal form; or items."""

DEEPEST = 4
MOST_ITEMS = 64
# What is deeper is not followed to find its end: how far this recurses is not the peer's to choose.
_DEEPEST_FOLLOWED = 64
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SPECIFIC_CHARACTER_SET = 0x00080005
_TEXT_VR = frozenset(b"AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split())
_NUMBERS = {b"US": "H", b"SS": "h", b"UL": "I", b"SL": "i"}
_KNOWN_VR = SHORT_VR.union(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())


def items(raw: bytes, explicit: bool, little_endian: bool, character_set: bytes = b"") -> list[Mapping[int, Value]]:
    """The items of a sequence, at most 64, each with its attributes by tag; sequences in it down to the fourth level.

    ``raw`` is the value of the sequence, with or without the delimiter at its end; ``character_set`` the raw Specific
    Character Set of the data set, for items that have none of their own. It is left out, since text is text by then;
    so are group lengths. An item of an explicit data set that is implicit is read all the same, since that is how it
    stands in a UN (PS3.5 6.2.2). A sequence that cannot be read to its end has no items.
    """
    reading = _Reading(raw, "<" if little_endian else ">")
    try:
        return reading.sequence(_Place(0, len(raw), explicit, Text(character_set), 1), delimited=False)[0]
    except _Unreadable:
        return []


class _Unreadable(Exception):
    """The bytes are no items."""


class _Place(NamedTuple):
    """Where in the bytes, and how they are to be understood there."""

    start: int
    end: int
    explicit: bool
    text: Text
    depth: int

    def within(self, start: int, length: int) -> _Place:
        """The part of ``length`` bytes from ``start``; all that is left where the length is undefined."""
        end = self.end if length == UNDEFINED else start + length
        if max(start, end) > self.end:
            raise _Unreadable
        return self._replace(start=start, end=end)


class _Element(NamedTuple):
    tag: int
    vr: bytes
    start: int
    length: int


class _Reading:
    """Reads the bytes of one sequence, and of those in it. Each reading says where it ended."""

    def __init__(self, raw: bytes, order: str) -> None:
        self._raw = raw
        self._order = order
        self._short = struct.Struct(order + "HH2sH")
        self._length = struct.Struct(order + "I")

    def sequence(self, place: _Place, *, delimited: bool) -> tuple[list[Mapping[int, Value]], int]:
        """The items at ``place``; where they are ``delimited``, there must be a delimiter behind them."""
        found: list[Mapping[int, Value]] = []
        start = place.start
        while start < place.end or delimited:
            tag, _, start, length = self._element(start, place)
            if tag == _SEQUENCE_END:
                break
            if tag != _ITEM:
                raise _Unreadable
            item, start = self._item(place.within(start, length), delimited=length == UNDEFINED)
            found.append(item)
        return found[:MOST_ITEMS], start

    def _item(self, place: _Place, *, delimited: bool) -> tuple[dict[int, Value], int]:
        place = place._replace(explicit=place.explicit and self._is_explicit(place.start))
        found: dict[int, Value] = {}
        start = place.start
        while start < place.end or delimited:
            element = self._element(start, place)
            if element.tag == _ITEM_END:
                return found, element.start if delimited else place.end
            value, start = self._value(element, place)
            if element.tag == _SPECIFIC_CHARACTER_SET:
                place = place._replace(text=Text(self._raw[element.start : start]))
            elif value is not None and element.tag & 0xFFFF:
                found[element.tag] = value
        return found, start

    def _value(self, element: _Element, place: _Place) -> tuple[Value | None, int]:
        """The value, if it is of a kind that is wanted."""
        _, vr, start, length = element
        inside = place.within(start, length)
        if length == UNDEFINED:
            return self._undefined(vr, inside._replace(depth=place.depth + 1))
        raw = self._raw[start : inside.end]
        if vr in _TEXT_VR:
            return place.text.decode(raw).replace("\0", ""), inside.end
        if vr in _NUMBERS:
            return self._numbers(_NUMBERS[vr], raw), inside.end
        if vr == b"SQ" and place.depth < DEEPEST:
            return self._defined(inside._replace(depth=place.depth + 1)), inside.end
        return None, inside.end

    def _defined(self, place: _Place) -> list[Mapping[int, Value]]:
        try:
            return self.sequence(place, delimited=False)[0]
        except _Unreadable:
            return []

    def _undefined(self, vr: bytes, place: _Place) -> tuple[Value | None, int]:
        """Where a sequence ends can only be told by reading it; other values come in fragments (PS3.5 A.4)."""
        if place.depth > _DEEPEST_FOLLOWED:
            raise _Unreadable
        if vr not in (b"SQ", b"UN"):
            return None, self._fragments(place)
        found, stop = self.sequence(place, delimited=True)
        return (found if place.depth <= DEEPEST else None), stop

    def _fragments(self, place: _Place) -> int:
        start, tag, length = place.start, _ITEM, 0
        while tag == _ITEM:
            tag, _, start, length = self._element(start, place)
            start = place.within(start, length).end
        return start

    def _numbers(self, code: str, raw: bytes) -> str:
        count = len(raw) // struct.calcsize(code)
        return "\\".join(map(str, struct.unpack_from(f"{self._order}{count}{code}", raw)))

    def _element(self, start: int, place: _Place) -> _Element:
        """The header at ``start``, be it an element's or an item's."""
        if start + 8 > place.end:
            raise _Unreadable
        group, number, vr, length = self._short.unpack_from(self._raw, start)
        tag, body = group << 16 | number, start + 8
        if not place.explicit or group == 0xFFFE:
            return _Element(tag, _vr_of(tag), body, self._length.unpack_from(self._raw, start + 4)[0])
        if vr not in SHORT_VR:
            if start + LONG_LENGTH > place.end:
                raise _Unreadable
            length, body = self._length.unpack_from(self._raw, start + 8)[0], start + LONG_LENGTH
        return _Element(tag, _vr_of(tag) if vr == b"UN" else vr, body, length)

    def _is_explicit(self, start: int) -> bool:
        """Whether the first element of an item has a value representation."""
        return self._raw[start + 4 : start + 6] in _KNOWN_VR


@lru_cache(maxsize=4096)
def _vr_of(tag: int) -> bytes:
    """What the dictionary says of a tag; UN where it says nothing."""
    try:
        return dictionary_VR(tag).encode()
    except KeyError:
        return b"UN"
