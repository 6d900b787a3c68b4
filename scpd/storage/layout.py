"""Where the values of a data set stand, as in the one before it.

The instances of a series have the same elements with the same lengths, again and again. Where every header up to the
last element that is wanted is the same as in a data set that was walked before, so are the places of the values: one
comparison of masked bytes says so, instead of a walk. A single header that differs, and the data set is walked.
"""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING, NamedTuple

from scpd.storage.head import LONG_LENGTH, SHORT_VR, UNDEFINED

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable

_HEADER = struct.Struct("<HH2sH")
_LENGTH = struct.Struct("<I")
# What is worth remembering: heads of this many bytes, of this many senders.
_LONGEST = 64 * 1024
_MOST = 64


class Layout(NamedTuple):
    """The headers of one data set as a number under a mask of the same ``size``, and the places of its values."""

    size: int
    mask: int
    headers: int
    places: tuple[tuple[int, int, int], ...]

    def read(self, data: memoryview) -> dict[int, bytes] | None:
        """The values by tag, where ``data`` is laid out like this; else None."""
        if len(data) < self.size or int.from_bytes(data[: self.size], "little") & self.mask != self.headers:
            return None
        return {tag: bytes(data[start:stop]) for tag, start, stop in self.places}


def learn(data: memoryview, tags: Collection[int]) -> Layout | None:
    """The layout of a data set in Explicit VR Little Endian up to the last of ``tags``, if it is a plain one."""
    last, start = max(tags), 0
    places: list[tuple[int, int, int]] = []
    mask = bytearray(min(len(data), _LONGEST))
    while start + 12 <= len(mask):
        group, element, vr, length = _HEADER.unpack_from(data, start)
        tag, body = group << 16 | element, start + 8
        if tag > last:
            mask[start : start + 4] = b"\xff" * 4
            size = start + 4
            number = int.from_bytes(mask[:size], "little")
            return Layout(size, number, int.from_bytes(data[:size], "little") & number, tuple(places))
        if vr not in SHORT_VR:
            length, body = _LENGTH.unpack_from(data, start + 8)[0], start + LONG_LENGTH
            if length == UNDEFINED:
                return None
        mask[start:body] = b"\xff" * (body - start)
        if tag in tags:
            places.append((tag, body, body + length))
        start = body + length
    return None


class Layouts:
    """The last layout of each sender."""

    def __init__(self, tags: Collection[int]) -> None:
        self._tags = tags
        self._lock = threading.Lock()
        self._known: dict[Hashable, Layout] = {}
        self._sizes: dict[Hashable, int] = {}

    def read(self, sender: Hashable, data: memoryview) -> dict[int, bytes] | None:
        """The values of a data set that begins with ``data``, where it is laid out like the sender's last."""
        layout = self._known.get(sender)
        return layout.read(data) if layout else None

    def walked(self, sender: Hashable, data: memoryview, size: int) -> None:
        """A data set had to be walked, and its head was ``size`` bytes long: learn it when two in a row are alike."""
        with self._lock:
            if self._sizes.pop(sender, 0) == size:
                layout = learn(data, self._tags)
                if layout:
                    self._known[sender] = layout
            self._sizes[sender] = size
            for one in (self._known, self._sizes):
                if len(one) > _MOST:
                    del one[next(iter(one))]
