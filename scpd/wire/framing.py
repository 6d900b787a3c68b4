"""Cuts the stream of a connection into PDUs and fragments, in the one buffer that the connection fills.

PS3.8 9.3.1. The six bytes of a header are judged before a byte of the body is waited for, and the buffer follows
what has arrived, never what a length field promises. A fragment of P-DATA-TF is handed out as soon as some of it is
there: neither a PDU nor a presentation data value needs to be whole to move on.

A fragment's ``data`` is a view into the buffer: it is good until :meth:`Framer.writable` is called next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scpd.errors import ProtocolError
from scpd.wire.fields import UNRECOGNIZED_PDU, invalid
from scpd.wire.pdu import (
    DECODERS,
    HEADER,
    VALUE_HEADER,
    ControlPDU,
    PDUType,
    check_value_length,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# What an association holds that has not received much yet; 1,000 of them are 8 MiB.
INITIAL_BUFFER = 8 * 1024
_FOUR_BYTES_LONG = frozenset((PDUType.A_ASSOCIATE_RJ, PDUType.A_RELEASE_RQ, PDUType.A_RELEASE_RP, PDUType.A_ABORT))
_SHORTEST_ASSOCIATE = 68
_SHORTEST_DATA = VALUE_HEADER.size
_UNBOUNDED = 2**32
# A header is at most six bytes: where less room than this is left at the end, what is left over moves to the front.
_LEAST_ROOM = 4096


class Fragment(NamedTuple):
    """Some bytes of a message: part of a command set or of a data set (PS3.8 annex E.2)."""

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


class Limits(NamedTuple):
    """The longest body that is taken, in bytes: of A-ASSOCIATE-RQ and -AC, and of P-DATA-TF."""

    associate: int
    data: int


def check_header(pdu_type: int, length: int, limits: Limits) -> None:
    """Judge the header of a PDU by its type and length alone; raises :class:`ProtocolError`."""
    if pdu_type in _FOUR_BYTES_LONG:
        least = most = 4
    elif pdu_type == PDUType.P_DATA_TF:
        least, most = _SHORTEST_DATA, limits.data
    elif pdu_type in DECODERS:
        least, most = _SHORTEST_ASSOCIATE, limits.associate
    else:
        raise ProtocolError(f"a PDU of the unknown type {pdu_type:02X}H", reason=UNRECOGNIZED_PDU)
    if not least <= length <= most:
        name = PDUType(pdu_type).name.replace("_", "-")
        raise invalid(f"a PDU {name} claims {length} bytes, {least} to {most} are allowed")


class Framer:
    """A receive buffer and the place in it.

    ``admit(type, length)`` is asked about each header that passed :func:`check_header`; when it says no, the PDU
    is skipped unread. ``capacity`` bounds the buffer while data flows, in bytes.
    """

    def __init__(self, admit: Callable[[int, int], bool], limits: Limits, capacity: int = 256 * 1024) -> None:
        self.limits = limits
        self._admit = admit
        self._capacity = capacity
        self._view = memoryview(bytearray(INITIAL_BUFFER))
        self._start = self._end = 0
        self._filled = False
        self._body: int | None = None  # type of the control PDU whose body is awaited
        self._left = 0  # bytes of the current PDU that are still to come
        self._skip = 0
        self._value_left = -1  # of the current presentation data value; -1 between two of them
        self._value = (0, 0)

    @property
    def inside_pdu(self) -> bool:
        """Whether the peer owes the rest of a PDU that it began."""
        return bool(self._left or self._skip or self._end > self._start)

    def writable(self) -> memoryview:
        """Where the next bytes of the peer go. Every fragment handed out before is void from here on."""
        if self._start == self._end:
            self._start = self._end = 0
            if len(self._view) > self._capacity:  # a long A-ASSOCIATE-RQ has been and gone
                self._view = memoryview(bytearray(INITIAL_BUFFER))
        room = len(self._view) - self._end
        if self._filled or not room:
            self._make_room()
        elif self._start and room < _LEAST_ROOM:
            self._move(self._view)
        return self._view[self._end :]

    def wrote(self, count: int) -> None:
        """Take note that ``count`` bytes were written at the front of :meth:`writable`."""
        self._filled = count == len(self._view) - self._end
        self._end += count

    def next(self) -> ControlPDU | Fragment | None:
        """The next PDU or fragment; None when more bytes are needed. Raises :class:`ProtocolError`."""
        while True:
            if self._value_left >= 0:
                return self._fragment()
            if self._skip:
                self._drop_skipped()
                if self._skip:
                    return None
            if self._body is not None:
                return self._control(self._body)
            if self._left and self._left < _SHORTEST_DATA:
                raise invalid(f"{self._left} bytes after the last value of the P-DATA-TF")
            if self._end - self._start < 6:
                return None
            if self._left:
                self._begin_value()
            else:
                self._begin_pdu()

    def give_back(self) -> None:
        """Nothing comes any more: the buffer is free from now on, and not when memory is tidied up."""
        self._view = memoryview(b"")
        self._start = self._end = self._left = self._skip = 0

    def discard(self) -> None:
        """Forget everything: after a framing error no byte has a meaning any more (states Sta13 and Sta1)."""
        self._start = self._end = self._left = 0
        self._body, self._value_left, self._skip = None, -1, _UNBOUNDED

    def _begin_pdu(self) -> None:
        pdu_type, length = HEADER.unpack_from(self._view, self._start)
        check_header(pdu_type, length, self.limits)
        self._start += 6
        if not self._admit(pdu_type, length):
            self._skip = length
        elif pdu_type == PDUType.P_DATA_TF:
            self._left = length
        else:
            self._body, self._left = pdu_type, length

    def _begin_value(self) -> None:
        left = self._left
        length, context_id, control = VALUE_HEADER.unpack_from(self._view, self._start)
        check_value_length(length, left)
        self._start += 6
        self._left = left - 6
        self._value_left = length - 2
        self._value = (context_id, control)

    def _fragment(self) -> Fragment | None:
        start = self._start
        count = min(self._value_left, self._end - start)
        if not count and self._value_left:
            return None
        context_id, control = self._value
        self._start = start + count
        self._left -= count
        rest = self._value_left - count
        self._value_left = rest or -1
        is_last = not rest and control & 2 != 0
        return Fragment(context_id, control & 1 != 0, is_last, self._view[start : start + count])

    def _control(self, pdu_type: int) -> ControlPDU | None:
        if self._end - self._start < self._left:
            return None
        body = self._view[self._start : self._start + self._left]
        self._start += self._left
        self._body, self._left = None, 0
        return DECODERS[pdu_type].decode(body)

    def _drop_skipped(self) -> None:
        count = min(self._skip, self._end - self._start)
        self._start += count
        self._skip = max(self._skip - count, 0) if self._skip != _UNBOUNDED else _UNBOUNDED

    def _make_room(self) -> None:
        # Doubling by what has arrived: a length field alone never gets memory.
        wanted = self._left + 6 if self._body is not None else self._capacity
        size = min(max(wanted, self._capacity), 2 * len(self._view))
        if size > len(self._view):
            self._move(memoryview(bytearray(size)))
        elif self._start:
            self._move(self._view)
        self._filled = False

    def _move(self, target: memoryview) -> None:
        count = self._end - self._start
        target[:count] = bytes(self._view[self._start : self._end])
        self._view, self._start, self._end = target, 0, count
