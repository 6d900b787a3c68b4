"""Attributes → elements of a data set, by a plan that is made once and followed for each answer (PS3.5 7.1)."""

from __future__ import annotations

import struct
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from pydicom.datadict import dictionary_has_tag, dictionary_VR

from scpd.index.attributes import NUMBER_VR, TIMEZONE_OFFSET
from scpd.index.conditions import Items

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from scpd.index.attributes import Attributes, Value
    from scpd.index.query import Condition
    from scpd.services.query.charsets import CharacterSet
    from scpd.services.query.identifier import Wanted

    Encoder: TypeAlias = Callable[[Value | None, CharacterSet], bytes]

_IMPLICIT, _BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
# What Specific Character Set is for (PS3.5 6.1.2.3); other text is of the default repertoire.
_FREE_TEXT = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
_ONE_VALUE = frozenset(("LT", "ST", "UT"))
_TEXT = _FREE_TEXT.union(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"))
_LONG_LENGTH = frozenset(("SQ", "UC", "UR", "UT"))
_LONGEST_SHORT, _LONGEST = 0xFFFE, 0xFFFFFFFE
_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i"}
_ITEM = 0xFFFEE000


class Form:
    """How elements stand in a transfer syntax; deflated ones are explicit before they are."""

    def __init__(self, transfer_syntax: str) -> None:
        self.order = ">" if transfer_syntax == _BIG_ENDIAN else "<"
        self._is_explicit = transfer_syntax != _IMPLICIT

    def start(self, tag: int, vr: str) -> bytes:
        """What stands before the length."""
        start = struct.pack(self.order + "HH", tag >> 16, tag & 0xFFFF)
        if not self._is_explicit or not vr:
            return start
        return start + vr.encode("ascii") + (b"\0\0" if vr in _LONG_LENGTH else b"")

    def has_short_length(self, vr: str) -> bool:
        return self._is_explicit and bool(vr) and vr not in _LONG_LENGTH

    def element(self, tag: int, vr: str, raw: bytes) -> bytes:
        """A whole element; an item where there is no VR. One too long for its length stays empty."""
        short = self.has_short_length(vr)
        if len(raw) & 1:
            raw += b"\0" if vr == "UI" else b" "
        if len(raw) > (_LONGEST_SHORT if short else _LONGEST):
            raw = b""
        return self.start(tag, vr) + struct.pack(self.order + ("H" if short else "I"), len(raw)) + raw


class Plan:
    """The elements of an answer or of an item, in their order; ``fixed`` are some that are always the same."""

    def __init__(
        self,
        form: Form,
        wanted: Wanted,
        conditions: Mapping[int, Condition],
        fixed: Mapping[int, bytes] | None = None,
    ) -> None:
        fixed = fixed or {}
        self._steps: list[tuple[int, Encoder | None, bytes]] = []
        for tag in sorted({*wanted, *fixed}):
            if tag in fixed:
                self._steps.append((tag, None, fixed[tag]))
            elif encoder := _encoder(form, tag, wanted[tag], conditions.get(tag)):
                self._steps.append((tag, encoder, b""))

    def encode(self, attributes: Attributes, character_set: CharacterSet) -> bytes:
        """The bytes of the elements. Raises :class:`UnicodeError` for what the character set does not have."""
        get = attributes.get
        return b"".join([encoder(get(tag), character_set) if encoder else fixed for tag, encoder, fixed in self._steps])


def _encoder(form: Form, tag: int, wanted: Wanted | None, condition: Condition | None) -> Encoder | None:
    vr = dictionary_VR(tag) if dictionary_has_tag(tag) else ""
    if vr == "SQ":
        return _Sequence(form, tag, wanted or {}, condition if isinstance(condition, Items) else None)
    if vr in NUMBER_VR:
        return _numbers(form, tag, vr)
    return _text(form, tag, vr) if vr in _TEXT else None


def _text(form: Form, tag: int, vr: str) -> Encoder:
    start, pad = form.start(tag, vr), b"\0" if vr == "UI" else b" "
    short = form.has_short_length(vr)
    size, longest = struct.Struct(form.order + ("H" if short else "I")).pack, _LONGEST_SHORT if short else _LONGEST
    # Timezone Offset From UTC shall not be sent empty (PS3.4 C.4.1.1.3.2).
    empty = b"" if tag == TIMEZONE_OFFSET else start + size(0)
    free, is_name, one_value = vr in _FREE_TEXT, vr == "PN", vr in _ONE_VALUE

    def encode(value: Value | None, character_set: CharacterSet) -> bytes:
        if not value or not isinstance(value, str):
            return empty
        if not free:
            raw = value.encode("ascii", "replace")
        elif one_value or "\\" not in value:
            raw = character_set.encode(value, is_name=is_name)
        else:
            raw = b"\\".join([character_set.encode(one, is_name=is_name) for one in value.split("\\")])
        if len(raw) & 1:
            raw += pad
        return start + size(len(raw)) + raw if len(raw) <= longest else empty

    return encode


def _numbers(form: Form, tag: int, vr: str) -> Encoder:
    number = struct.Struct(form.order + _NUMBERS[vr])

    def encode(value: Value | None, _: CharacterSet) -> bytes:
        try:
            raw = b"".join(number.pack(int(one)) for one in value.split("\\")) if isinstance(value, str) else b""
        except (ValueError, struct.error):
            raw = b""  # what was sent to be kept was no such number
        return form.element(tag, vr, raw)

    return encode


class _Sequence:
    """The items that match, each with what is wanted of it: everything, where nothing is named (C.2.2.2.6)."""

    def __init__(self, form: Form, tag: int, wanted: Wanted, condition: Items | None) -> None:
        self._form = form
        self._tag = tag
        self._wanted = wanted
        self._condition = condition

    def __call__(self, value: Value | None, character_set: CharacterSet) -> bytes:
        items = value if isinstance(value, list) else ()
        body = b"".join(self._items(items, character_set))
        return self._form.element(self._tag, "SQ", body)

    def _items(self, items: Iterable[Attributes], character_set: CharacterSet) -> Iterable[bytes]:
        for item in items:
            if not self._condition or self._condition.meets(item):
                plan = self._plan if self._wanted else Plan(self._form, dict.fromkeys(item), {})
                yield self._form.element(_ITEM, "", plan.encode(item, character_set))

    @cached_property
    def _plan(self) -> Plan:
        return Plan(self._form, self._wanted, self._condition.conditions if self._condition else {})
