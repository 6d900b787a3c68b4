"""The first elements of a data set, read as it streams by (PS3.5 section 7).

A lean walk over explicit or implicit elements that holds nothing but the values it was asked for, and stops as soon
as the last of them cannot come any more. It never builds a data set, never recurses, and skips what it does not want
without keeping it, sequences of undefined length included.

What is needed fails the data set where it cannot be read; what is optional never does, and is left out. Of a sequence
that is wanted the value is its items as they came, to be read by :mod:`scpd.storage.sequences`.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Protocol

from scpd.errors import UnreadableDataSet

if TYPE_CHECKING:
    from collections.abc import Collection

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
# JPIP Referenced Deflate and its HTJ2K sister are deflated as a whole, as PS3.5 A.5 is.
DEFLATED = frozenset(("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"))

UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
# PS3.5 7.1.2: these have two reserved bytes and a 32-bit length; 7.1.3 defers to later VRs, all of that form.
SHORT_VR = frozenset(
    vr.encode() for vr in ("AE AS AT CS DA DS DT FL FD IS LO LT " + "PN SH SL SS ST TM UI UL US").split()
)
_LITTLE = struct.Struct("<I2sH")
LONG_LENGTH = 12  # bytes of a header with a 32-bit length
_DEEPEST = 64
_LONGEST_VALUE = 64 * 1024
_MOST_INFLATED = 1024 * 1024
_MOST_INFLATED_WHOLE = 1024 * 1024 * 1024
_INFLATE_STEP = 16 * 1024
_LAST = 0xFFFFFFFF


class Reader(Protocol):
    """What reads the head of a data set: ``values`` are raw, by tag; ``seen`` says whether there was any element."""

    values: dict[int, bytes]
    done: bool
    seen: bool

    def feed(self, data: memoryview) -> None:
        """Take the next bytes; nothing of them is kept but the values asked for."""

    def finish(self) -> None:
        """The data set has ended: raises :class:`UnreadableDataSet` when it ends inside an element."""


def reader(
    transfer_syntax: str, tags: Collection[int], *, optional: Collection[int] = (), whole: bool = False
) -> Reader:
    """A reader for ``tags`` of a data set in ``transfer_syntax``; ``whole`` walks on to the end of the data set.

    ``optional`` is read too, and left out where it is longer than 64 KiB, which for one of ``tags`` is a fault; nor is
    anything a fault that comes after the last of ``tags``, unless it is the ``whole`` that is asked for. Only here may
    a value be a sequence of undefined length: its items, without the delimiter at its end.
    """
    if transfer_syntax in DEFLATED:
        return _InflatingReader(tags, optional, whole=whole)
    return Walk(
        tags,
        optional,
        explicit=transfer_syntax != IMPLICIT_LITTLE,
        order=">" if transfer_syntax == EXPLICIT_BIG else "<",
        whole=whole,
    )


class Walk:
    """A resumable walk over the elements of one data set."""

    def __init__(
        self,
        tags: Collection[int],
        optional: Collection[int] = (),
        *,
        explicit: bool = True,
        order: str = "<",
        whole: bool = False,
    ) -> None:
        self.values: dict[int, bytes] = {}
        self.done = self.seen = False
        self.plain_size = 0  # of a head in Explicit VR Little Endian that came in one piece
        self._needed = frozenset(tags)
        self._tags = self._needed.union(optional)
        self._last = _LAST if whole else max(self._tags, default=0)
        self._until = _LAST if whole else max(tags, default=0)  # what stands before decides whether it can be read
        self.satisfied = False
        self._explicit = explicit
        self._usual = explicit and order == "<"
        self._swapped = {(tag & 0xFFFF) << 16 | tag >> 16: tag for tag in self._tags}
        self._short = struct.Struct(order + "HH2sH")
        self._long = struct.Struct(order + "HHI")
        self._length = struct.Struct(order + "I")
        self._left_over = b""  # the beginning of a header
        self._open = 0  # the tag of a value that is wanted and not whole yet
        self._open_from = 0
        self._kept = bytearray()
        self._skip = 0
        self._depth = 0
        self._implicit_depth = 0  # from this depth on, the inside of a UN of undefined length is implicit (PS3.5 6.2.2)
        self._first = True

    def feed(self, data: memoryview) -> None:
        """Take the next bytes of the data set."""
        if self.done:
            return
        if self._skip:
            data = self._skip_some(data)
        if self._left_over:
            data = memoryview(self._left_over + bytes(data))
            self._left_over = b""
        if data:
            first = self._first
            stopped = self._try_to_walk(data)
            if first and self.done and self._usual:
                self.plain_size = stopped
            self.seen = self.seen or stopped > 0
            if self._open:
                self._keep(data[self._open_from : stopped])
                self._open_from = 0
            if not self.done:
                self._left_over = bytes(data[stopped:])

    def finish(self) -> None:
        """Raise :class:`UnreadableDataSet` if what was walked ends inside an element or sequence."""
        if not self.done and not self.satisfied and (self._skip or self._left_over or self._depth):
            raise UnreadableDataSet("the data set ends inside an element")

    def _try_to_walk(self, data: memoryview) -> int:
        try:
            return self._walk(data)
        except UnreadableDataSet:
            if not self.satisfied:
                raise
            self.done, self._open = True, 0
            return 0

    def _walk(self, data: memoryview) -> int:
        """Walk as far as ``data`` goes; returns where the first element begins that is not whole."""
        start, end = 0, len(data)
        short, tags, until = self._short.unpack_from, self._tags, self._until
        if self._first and end >= 8:
            self._begin(data)
        while start + 8 <= end:
            if self._usual and not self._depth:
                start = self._skip_plain(data, start, end)
                if start + 8 > end:
                    break
            group, element, vr, length = short(data, start)
            tag = group << 16 | element
            body = start + 8
            if tag > until and not self._depth:
                if self._is_enough(start, tag, vr, length):
                    return start
                until = self._until
            if self._depth or vr not in SHORT_VR or not self._explicit:
                header = self._long_header(data, start, tag, vr)
                if header is None:
                    return start
                body, length = header
                if length == UNDEFINED or group == 0xFFFE:
                    length = self._structure(tag, vr, length)
                    if self._depth < 2:  # at the top, or just below it
                        self._border(tag, data, start, body)
            stop = body + length
            if tag in tags and not self._depth:
                self._take(tag, data, body, stop)
            if stop > end:
                self._skip = stop - end
                return end
            start = stop
        return start

    def _skip_plain(self, data: memoryview, start: int, end: int) -> int:
        """Past the elements with a short header, which are nearly all of them."""
        unpack, swapped, last_group = _LITTLE.unpack_from, self._swapped, self._until >> 16
        most = end - 8
        while start <= most:
            tag, vr, length = unpack(data, start)  # element in the upper half, group in the lower
            stop = start + 8 + length
            if vr not in SHORT_VR or tag & 0xFFFF >= last_group or stop > end:
                break
            if tag in swapped:
                self.values[swapped[tag]] = bytes(data[start + 8 : stop])
            start = stop
        return start

    def _skip_some(self, data: memoryview) -> memoryview:
        """Past the rest of a value that did not come whole; returns what is behind it."""
        count = min(self._skip, len(data))
        self._skip -= count
        if self._open:
            self._keep(data[:count])
            if not self._skip and not self._depth:
                self._end_value()
        return data[count:]

    def _border(self, tag: int, data: memoryview, start: int, body: int) -> None:
        """A sequence of undefined length begins or ends; it may be one that is wanted."""
        if self._depth == 1 and tag in self._tags and tag not in self._needed:
            self._begin_value(tag, body)
        elif self._open and not self._depth:
            self._keep(data[self._open_from : start])
            self._end_value()

    def _take(self, tag: int, data: memoryview, body: int, stop: int) -> None:
        """A value that is wanted, or its beginning; too long a one is a fault where it is needed, else left out."""
        if stop - body > _LONGEST_VALUE:
            if tag in self._needed:
                raise UnreadableDataSet(f"element {tag:08X} has {stop - body} bytes, too long for its kind")
        elif stop > len(data):
            self._begin_value(tag, body)
        else:
            self.values[tag] = bytes(data[body:stop])

    def _begin_value(self, tag: int, start: int) -> None:
        self._open, self._open_from, self._kept = tag, start, bytearray()

    def _keep(self, data: memoryview) -> None:
        """More of the value that is open; one that becomes too long is left out, since nobody needs it."""
        if len(self._kept) + len(data) > _LONGEST_VALUE:
            self._open, self._kept = 0, bytearray()
        else:
            self._kept += data

    def _end_value(self) -> None:
        if self._open:
            self.values[self._open] = bytes(self._kept)
        self._open, self._kept = 0, bytearray()

    def _is_enough(self, start: int, tag: int, vr: bytes, length: int) -> bool:
        """An element stands behind all that is needed: whether to stop here, or to look for what is optional."""
        self.seen = self.seen or start > 0 or self._is_plausible(vr, length)
        self.done = tag > self._last or not self.seen
        self.satisfied, self._until = True, self._last
        return self.done

    def _is_plausible(self, vr: bytes, length: int) -> bool:
        """Whether an element that is not looked into can be one: all there is to tell a data set from noise."""
        return _looks_like_vr(vr) if self._explicit else not length & 1

    def _begin(self, data: memoryview) -> None:
        self._first = False
        group = self._short.unpack_from(data)[0]
        if group in (0x0000, 0x0002):  # PS3.10 7.1: command and meta elements have no place in a data set
            raise UnreadableDataSet(f"the data set begins with an element of group {group:04X}")
        # Some devices send implicit VR where explicit was agreed; the place of the first VR tells.
        if self._explicit and not _looks_like_vr(bytes(data[4:6])) and data[6] == data[7] == 0:
            self._explicit = self._usual = False

    def _long_header(self, data: memoryview, start: int, tag: int, vr: bytes) -> tuple[int, int] | None:
        """Where the value begins and how long it is, for headers other than the short explicit one."""
        inside_un = self._implicit_depth and self._depth >= self._implicit_depth
        if not self._explicit or inside_un or tag >> 16 == 0xFFFE:
            return start + 8, self._long.unpack_from(data, start)[2]
        if vr in SHORT_VR:
            return start + 8, self._short.unpack_from(data, start)[3]
        if not _looks_like_vr(vr):
            raise UnreadableDataSet(f"element {tag:08X} has the impossible VR {vr!r}")
        if start + 12 > len(data):
            return None
        return start + 12, self._length.unpack_from(data, start + 8)[0]

    def _structure(self, tag: int, vr: bytes, length: int) -> int:
        """Items, delimiters and values of undefined length change the depth; returns the bytes to skip."""
        if tag in (_ITEM_END, _SEQUENCE_END):
            if not self._depth:
                raise UnreadableDataSet(f"delimiter {tag:08X} outside a sequence")
            self._depth -= 1
            if self._depth < self._implicit_depth:
                self._implicit_depth = 0
            return 0
        if length != UNDEFINED:
            return length
        self._depth += 1
        if self._depth > 2 * _DEEPEST:  # a sequence and its item are a level each
            raise UnreadableDataSet(f"sequences nested deeper than {_DEEPEST}")
        if tag != _ITEM and self._explicit and vr == b"UN" and not self._implicit_depth:
            self._implicit_depth = self._depth
        return 0


def _looks_like_vr(vr: bytes) -> bool:
    return all(0x41 <= character <= 0x5A for character in vr)


class Known:
    """The head of a data set whose values were found without a walk."""

    done = seen = True

    def __init__(self, values: dict[int, bytes]) -> None:
        self.values = values

    def feed(self, data: memoryview) -> None:
        """Nothing more is wanted."""

    def finish(self) -> None:
        """Nothing was left open."""


class _InflatingReader:
    """The head of a deflated data set (PS3.5 A.5), inflated in small steps and never beyond a bound."""

    def __init__(self, tags: Collection[int], optional: Collection[int], *, whole: bool = False) -> None:
        self._walk = Walk(tags, optional, whole=whole)
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._left = _MOST_INFLATED_WHOLE if whole else _MOST_INFLATED
        self.values = self._walk.values
        self.done = self.seen = False

    def feed(self, data: memoryview) -> None:
        """Take the next deflated bytes."""
        pending: bytes | memoryview = data
        inflated = b""
        # A step that came out full may have left some of its output behind, though its input is used up.
        while (pending or len(inflated) == _INFLATE_STEP) and not self.done:
            try:
                inflated = self._inflate.decompress(pending, _INFLATE_STEP)
            except zlib.error as error:
                if self._walk.satisfied:
                    self.done = True
                    return
                raise UnreadableDataSet(f"the deflated data set cannot be inflated: {error}") from None
            self._left -= len(inflated)
            self._walk.feed(memoryview(inflated))
            self.seen = self._walk.seen
            self.done = self._walk.done or self._left <= 0 or self._inflate.eof
            pending = self._inflate.unconsumed_tail

    def finish(self) -> None:
        """Raise :class:`UnreadableDataSet` if what was inflated ends inside an element."""
        if self._left > 0:
            self._walk.finish()
