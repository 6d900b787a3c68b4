"""A bounded queue of lines that outlives the process: in order, and when it is full the oldest stay.

On the disk each line stands as ``CRC32 LINE``, appended to files whose numbers only ever grow; how far they have been
taken away stands in ``position``. After a crash the lines that were not taken away are there again:

- what :meth:`Spool.save` returned for is on the disk (fsync), and survives ``kill -9`` and a power cut;
- what was taken away last may come again, since the position is written without waiting for the disk;
- a line that a crash tore, or that no longer fits its CRC32, is skipped and counted.

While the disk takes nothing, lines wait in memory, a few MiB of them. Without a directory all of them do.

Knows neither what the lines say nor who takes them away.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
import zlib
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from scpd.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LONGEST_LINE = 256 * 1024  # octets
_FRAME = 10  # the CRC32, a space and the end of the line
_SEGMENT = 1 << 20  # a file that is longer is not appended to any more
_MOST_UNSAVED = 4 << 20
_NAME = re.compile(r"([0-9]{12})\.spool", re.ASCII)
_POSITION = re.compile(rb"([0-9]{12}) ([0-9]{20}) ([0-9a-f]{8})\n")
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_EXISTING = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_MODE, _DIRECTORY_MODE = 0o640, 0o750


class _Entry(NamedTuple):
    """Where one line is: ``length`` octets, frame included, at ``offset`` of a file; in memory until it is saved."""

    segment: int
    offset: int
    length: int
    line: bytes | None


class Spool:
    """Lines on their way to one destination; ``limit`` bounds the octets that wait.

    One thread puts and saves, one peeks and takes away. ``damaged`` counts what was skipped at the opening. Raises
    :class:`~scpd.errors.SettingError` for a directory that cannot be used, or that another process uses.
    """

    def __init__(self, directory: Path | None, limit: int) -> None:
        self.damaged = 0
        self._limit = limit
        self._lock = threading.Lock()
        self._entries: deque[_Entry] = deque()
        self._octets = 0
        self._unsaved = 0  # so many of the last entries are in memory only
        self._unsaved_octets = 0
        self._segments: list[int] = []
        self._writing: tuple[int, int, int] | None = None  # number, descriptor, length
        self._reading: tuple[int, int] | None = None
        self._next_segment = 1
        self._closed = False
        self._directory = -1
        self._position_file = -1
        if directory is not None:
            try:
                self._open(directory)
            except OSError as error:
                self._give_back()
                raise SettingError("spool", f"{directory} cannot be used: {error.strerror or error}") from error

    def __len__(self) -> int:
        """How many lines wait."""
        return len(self._entries)

    @property
    def unsaved(self) -> int:
        """How many of them would be lost with the process."""
        return self._unsaved

    # -- the front: whoever has lines

    def put(self, lines: Sequence[bytes]) -> int:
        """Take the lines that there is room for; how many were not taken."""
        lost = 0
        with self._lock:
            for line in lines:
                length = len(line) + _FRAME
                if not self._has_room(length):
                    lost += 1
                    continue
                self._entries.append(_Entry(0, 0, length, line))
                self._octets += length
                self._unsaved += 1
                self._unsaved_octets += length
        return lost

    def _has_room(self, length: int) -> bool:
        if self._closed or length > LONGEST_LINE + _FRAME or self._octets + length > self._limit:
            return False
        return self._directory < 0 or self._unsaved_octets + length <= _MOST_UNSAVED

    def save(self) -> None:
        """Bring to the disk what is not there yet. Raises :class:`OSError`; nothing is lost by that."""
        if self._directory < 0:
            return
        with self._lock:
            lines = [entry.line or b"" for entry in islice(reversed(self._entries), self._unsaved)][::-1]
        if not lines:
            return
        number, descriptor, length = self._writable()
        raw = b"".join(map(_framed, lines))
        try:
            written = 0
            while written < len(raw):
                written += os.write(descriptor, raw[written:])
            os.fdatasync(descriptor)
        except OSError:
            self._abandon(descriptor, length)
            raise
        self._writing = number, descriptor, length + len(raw)
        self._note_saved(lines, number, length)

    def _writable(self) -> tuple[int, int, int]:
        """The file to append to: a new one where the last is long enough."""
        if self._writing and self._writing[2] < _SEGMENT:
            return self._writing
        number = self._next_segment
        descriptor = os.open(_name(number), _NEW_FILE, _FILE_MODE, dir_fd=self._directory)
        if self._writing:
            os.close(self._writing[1])
        with self._lock:  # the position must not point behind the file
            self._writing = number, descriptor, 0
            self._next_segment += 1
            self._segments.append(number)
        os.fsync(self._directory)
        return self._writing

    def _abandon(self, descriptor: int, length: int) -> None:
        """Half a line must not stand before whole ones: take it back, and go on in another file in any case."""
        with suppress(OSError):
            os.ftruncate(descriptor, length)
        os.close(descriptor)
        self._writing = None

    def _note_saved(self, lines: Sequence[bytes], segment: int, offset: int) -> None:
        saved = []
        for line in lines:
            saved.append(_Entry(segment, offset, len(line) + _FRAME, None))
            offset += len(line) + _FRAME
        with self._lock:
            left = self._unsaved  # the first ones may have been taken away meanwhile
            for _ in range(left):
                self._entries.pop()
            self._entries.extend(saved[len(saved) - left :])
            self._unsaved = self._unsaved_octets = 0

    # -- the back: whoever takes lines away

    def peek(self, first: int, most: int) -> list[bytes]:
        """Lines from the one numbered ``first`` on, about ``most`` octets of them; empty where one cannot be read."""
        lines: list[bytes] = []
        with self._lock:
            if self._closed:
                return lines
            for entry in islice(self._entries, first, None):
                most -= entry.length
                if lines and most < 0:
                    break
                lines.append(self._read(entry) if entry.line is None else entry.line)
        return lines

    def _read(self, entry: _Entry) -> bytes:
        try:
            if self._reading is None or self._reading[0] != entry.segment:
                descriptor = os.open(_name(entry.segment), _EXISTING, dir_fd=self._directory)
                if self._reading:
                    os.close(self._reading[1])
                self._reading = entry.segment, descriptor
            raw = os.pread(self._reading[1], entry.length, entry.offset)
        except OSError:  # somebody removed the file, or the disk lost it
            return b""
        return _unframed(raw) or b""

    def done(self, count: int) -> None:
        """The first ``count`` lines were taken away."""
        with self._lock:
            if self._closed:
                return
            for _ in range(count):
                entry = self._entries.popleft()
                self._octets -= entry.length
                if entry.line is not None:
                    self._unsaved -= 1
                    self._unsaved_octets -= entry.length
            if self._directory >= 0:
                self._note_position()

    def _note_position(self) -> None:
        if self._entries and self._entries[0].line is None:
            segment, offset = self._entries[0].segment, self._entries[0].offset
        elif self._writing:
            segment, _, offset = self._writing
        else:
            segment, offset = self._next_segment, 0
        text = f"{segment:012d} {offset:020d}".encode()
        with suppress(OSError):  # then they come again, after a crash
            os.pwrite(self._position_file, b"%s %08x\n" % (text, zlib.crc32(text)), 0)
        while self._segments and self._segments[0] < segment:
            self._remove(self._segments.pop(0))

    def _remove(self, number: int) -> None:
        with suppress(OSError):
            os.unlink(_name(number), dir_fd=self._directory)

    def close(self) -> None:
        """Save what can be saved, and give everything back; an empty spool leaves no lines on the disk."""
        with suppress(OSError):
            self.save()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._directory >= 0:
                self._note_position()
                if not self._entries:
                    while self._segments:
                        self._remove(self._segments.pop())
            self._give_back()

    def _give_back(self) -> None:
        kept = [self._directory, self._position_file]
        kept += [self._writing[1]] if self._writing else []
        kept += [self._reading[1]] if self._reading else []
        self._directory = self._position_file = -1
        self._writing = self._reading = None
        for descriptor in kept:
            if descriptor >= 0:
                os.close(descriptor)

    # -- what an earlier process left

    def _open(self, directory: Path) -> None:
        directory.mkdir(_DIRECTORY_MODE, parents=True, exist_ok=True)
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(None, "another process uses it; give each its own") from None
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._position_file = os.open("position", flags, _FILE_MODE, dir_fd=self._directory)
        segment, offset = self._read_position()
        names = os.listdir(self._directory)  # noqa: PTH208 by descriptor, as everything here
        numbers = sorted(int(match[1]) for match in map(_NAME.fullmatch, names) if match)
        self._next_segment = max((segment, *numbers)) + 1
        for number in numbers:
            if number < segment:
                self._remove(number)
            else:
                self._segments.append(number)
                self._load(number, offset if number == segment else 0)

    def _read_position(self) -> tuple[int, int]:
        """File and offset of the first line that was not taken away; the very first where nobody knows."""
        match = _POSITION.fullmatch(os.pread(self._position_file, 64, 0))
        if not match or zlib.crc32(match[0][:33]) != int(match[3], 16):
            return 0, 0
        return int(match[1]), int(match[2])

    def _load(self, number: int, offset: int) -> None:
        try:
            with os.fdopen(os.open(_name(number), _EXISTING, dir_fd=self._directory), "rb") as file:
                file.seek(offset)
                while raw := file.readline(LONGEST_LINE + _FRAME):
                    self._note_loaded(raw, number, offset)
                    offset += len(raw)
        except OSError:  # a bad sector costs its lines, and does not keep a server from starting
            self.damaged += 1

    def _note_loaded(self, raw: bytes, number: int, offset: int) -> None:
        if _unframed(raw) is None:
            self.damaged += 1
        else:
            self._entries.append(_Entry(number, offset, len(raw), None))
            self._octets += len(raw)


def _name(number: int) -> str:
    return f"{number:012d}.spool"


def _framed(line: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(line), line)


def _unframed(raw: bytes) -> bytes | None:
    """The line in ``raw``, or None where it is not whole."""
    line = raw[9:-1]
    return line if raw[-1:] == b"\n" and raw[:9] == b"%08x " % zlib.crc32(line) else None
