"""Elements, sequences and items ↔ bytes, as they stand in a data set of any uncompressed encoding (PS3.5 7).

Made for references alone: a hostile data set is walked once, without recursion, and no value of it is copied. Knows no
attribute.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from scpd.errors import UnreadableDataSet
from scpd.storage.head import EXPLICIT_BIG, IMPLICIT_LITTLE, SHORT_VR, UNDEFINED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DELIMITERS = (_ITEM_END, _SEQUENCE_END)
_HEADER = 8
_LONG_HEADER = 12
_DEEPEST = 64


@dataclass(frozen=True, slots=True)
class Form:
    """How elements are encoded; ``order`` as :mod:`struct` calls it."""

    is_explicit: bool = True
    order: str = "<"


_IMPLICIT = Form(is_explicit=False)


def form_of(transfer_syntax: str) -> Form:
    """That of a transfer syntax, of a deflated one once it is inflated (PS3.5 annex A)."""
    return Form(transfer_syntax != IMPLICIT_LITTLE, ">" if transfer_syntax == EXPLICIT_BIG else "<")


class Element(NamedTuple):
    """``value`` of a sequence are its items, which are encoded as ``inside`` says (PS3.5 6.2.2 for UN)."""

    tag: int
    value: memoryview
    inside: Form


class _Header(NamedTuple):
    tag: int
    length: int
    body: int
    inside: Form


def elements(data: memoryview, form: Form) -> Iterator[Element]:
    """The elements of a data set or item, one after the other. Raises :class:`UnreadableDataSet`."""
    place = 0
    while place < len(data):
        header = _header(data, place, form)
        end, place = _ends(data, header)
        yield Element(header.tag, data[header.body : end], header.inside)


def items(element: Element) -> Iterator[memoryview]:
    """The items of a sequence. Raises :class:`UnreadableDataSet`."""
    data, place = element.value, 0
    while place < len(data):
        header = _header(data, place, element.inside)
        if header.tag != _ITEM:
            raise UnreadableDataSet(f"element {header.tag:08X} stands where an item was due")
        end, place = _ends(data, header)
        yield data[header.body : end]


def _header(data: memoryview, place: int, form: Form) -> _Header:
    _check(data, place + _HEADER)
    group, element, vr, length = struct.unpack_from(form.order + "HH2sH", data, place)
    tag = group << 16 | element
    if group == 0xFFFE or not form.is_explicit:
        return _Header(tag, struct.unpack_from(form.order + "I", data, place + 4)[0], place + _HEADER, form)
    if vr in SHORT_VR:
        return _Header(tag, length, place + _HEADER, form)
    if not (vr.isalpha() and vr.isupper()):
        raise UnreadableDataSet(f"element {tag:08X} has the impossible VR {vr!r}")
    _check(data, place + _LONG_HEADER)
    inside = _IMPLICIT if vr == b"UN" else form
    return _Header(tag, struct.unpack_from(form.order + "I", data, place + _HEADER)[0], place + _LONG_HEADER, inside)


def _ends(data: memoryview, header: _Header) -> tuple[int, int]:
    """Where a value ends, and where what follows it begins."""
    if header.length == UNDEFINED:
        return _delimited(data, header)
    end = header.body + header.length
    _check(data, end)
    return end, end


def _delimited(data: memoryview, opened: _Header) -> tuple[int, int]:
    """The same for a value of undefined length, whatever is nested in it."""
    inside, place = [opened.inside], opened.body
    while True:
        header = _header(data, place, inside[-1])
        if header.tag in _DELIMITERS:
            inside.pop()
            if not inside:
                return place, header.body
            place = header.body
        elif header.length == UNDEFINED:
            inside.append(header.inside)
            place = header.body
            if len(inside) > _DEEPEST:
                raise UnreadableDataSet(f"sequences and items are nested deeper than {_DEEPEST}")
        else:
            place = header.body + header.length
            _check(data, place)


def _check(data: memoryview, end: int) -> None:
    if end > len(data):
        raise UnreadableDataSet("the data set ends inside an element")


def element(tag: int, vr: bytes, value: bytes, form: Form) -> bytes:
    """One whole element; ``value`` is padded already, or a sequence's items."""
    numbers = (tag >> 16, tag & 0xFFFF)
    if not form.is_explicit:
        return struct.pack(form.order + "HHI", *numbers, len(value)) + value
    if vr in SHORT_VR:
        return struct.pack(form.order + "HH2sH", *numbers, vr, len(value)) + value
    return struct.pack(form.order + "HH2s2xI", *numbers, vr, len(value)) + value


def sequence(tag: int, contents: Iterable[bytes], form: Form) -> bytes:
    """A sequence of defined length, an item for each of ``contents``."""
    item = struct.Struct(form.order + "HHI")
    body = b"".join(item.pack(_ITEM >> 16, _ITEM & 0xFFFF, len(content)) + content for content in contents)
    return element(tag, b"SQ", body, form)
