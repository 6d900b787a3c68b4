"""Files opened ahead: while a peer still works on the last one, the next is open, and its first bytes are in memory.

What is sent are the bytes of the file, and one of padding after a data set of odd length: a deflated one that nobody
padded (PS3.5 A.5), which peers would abort for. Knows neither associations nor what a peer takes.
"""

from __future__ import annotations

import os
from io import BytesIO
from itertools import cycle
from typing import TYPE_CHECKING

from scpd.client.instance import fill
from scpd.errors import Interrupted
from scpd.part10 import read_head
from scpd.transport.exchange import Piece

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO
    from pathlib import Path

    from scpd.part10 import FileHead

# A slice of a CT or MR is in memory as a whole and leaves in one system call; two of these fit a processor's cache.
_AHEAD = 1024 * 1024
_USUAL_HEAD = 2048


class Opened:
    """A file that can be sent. ``size`` is that of the file in bytes; whoever has it closes it."""

    def __init__(self, file: FileIO, buffer: memoryview) -> None:
        self.size = os.fstat(file.fileno()).st_size
        self._file = file
        self._buffer = buffer
        count = fill(file, buffer[: min(self.size, _AHEAD)])
        if count < min(self.size, _AHEAD):
            raise OSError(None, "the file cannot be read")
        self.head = _head(file, buffer[:count])
        self._start = self.head.data_set_offset
        # All pieces but the last have an even length.
        self._end = count - (count - self._start & 1) if count < self.size else count

    def pieces(self) -> Iterator[Piece]:
        """The data set, byte for byte, once.

        Raises :class:`Interrupted` when the file fails half-way: what began on the wire cannot be taken back.
        """
        left = self.size - max(self._start, self._end)
        if self._start < self._end or not left:
            yield self._piece(self._start, self._end, left)
        if left:
            self._file.seek(self.size - left)
        while left:
            count = min(left, _AHEAD)
            if fill(self._file, self._buffer[:count]) < count:
                raise Interrupted("the file became shorter, or unreadable, while it was sent")
            left -= count
            yield self._piece(0, count, left)

    def _piece(self, start: int, end: int, left: int) -> Piece:
        if not left and end - start & 1:
            self._buffer[end] = 0
            end += 1
        return Piece(self._buffer[start:end], not left)

    def whole(self) -> FileIO:
        """The file from its start."""
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        self._file.close()


def _head(file: FileIO, begun: memoryview) -> FileHead:
    head = read_head(BytesIO(begun[:_USUAL_HEAD]))
    if head.data_set_offset < _USUAL_HEAD <= len(begun):
        return head
    file.seek(0)
    return read_head(file)


class Ahead:
    """Opens files one after the other; of those that it opened, the last two may be sent from."""

    def __init__(self) -> None:
        self._buffers = cycle(memoryview(bytearray(_AHEAD + 1)) for _ in range(2))

    def open(self, path: str | Path) -> Opened:
        """Raises :class:`OSError`, and :class:`~scpd.errors.UnreadableDataSet` for what is no DICOM file."""
        file = open(path, "rb", buffering=0)  # noqa: SIM115, PTH123 closed by whoever gets it; half the time of Path.open
        try:
            return Opened(file, next(self._buffers))
        except BaseException:
            file.close()
            raise
