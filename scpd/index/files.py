"""A file as it stands in its store → what is written down of it. The files are the truth (PS3.10)."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, BinaryIO

from scpd.errors import UnreadableDataSet
from scpd.index.attributes import SPECIFIC_CHARACTER_SET
from scpd.index.writing import Arrival
from scpd.part10 import read_head
from scpd.storage.head import Walk, reader
from scpd.storage.layout import Layouts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scpd.index.entry import Scribe

# What is read at a time: of nearly all files, no more than this once (bytes).
_PIECE = 16 * 1024
# What of a file is looked at, at most: all that an index keeps stands before the pixel data (bytes).
_LONGEST_LOOK = 64 * 1024 * 1024
_HOW = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_FILE = "it is no file"
NOT_NAMEABLE = "its name is not in UTF-8"


def opened(path: str) -> BinaryIO:
    """A file to read; what is no file is neither followed nor waited for.

    Raises :class:`UnreadableDataSet` where it is something else, and :class:`OSError`.
    """
    try:
        descriptor = os.open(path, _HOW)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a symbolic link; a socket
            raise UnreadableDataSet(_NO_FILE) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnreadableDataSet(_NO_FILE)
    # A disk need not read ahead: nearly always the first piece is all.
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    return os.fdopen(descriptor, "rb", buffering=_PIECE)


def status(path: str) -> os.stat_result | None:
    """That of a file; None where there is something else, or nothing. Raises :class:`OSError`."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def is_nameable(path: str) -> bool:
    """Whether a database has room for the name of a file: Linux takes any bytes, text is UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


class Looker:
    """Looks at the files of one store, one at a time: what one was like helps with the next."""

    def __init__(self, scribe: Scribe, directory: str) -> None:
        self._scribe = scribe
        self._directory = directory
        self._layouts = Layouts(scribe.tags)
        self._buffer = memoryview(bytearray(_PIECE))

    def look(self, path: str) -> Arrival | None:
        """What to write down of a file; None where there is none.

        Raises :class:`UnreadableDataSet` for what is no instance, or cannot be written down, and :class:`OSError`.
        """
        if not is_nameable(path):
            raise UnreadableDataSet(NOT_NAMEABLE)
        try:
            file = opened(f"{self._directory}/{path}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        with file:
            now = os.fstat(file.fileno())
            head = read_head(file)
            file.seek(head.data_set_offset)
            values = self._values(file, head.transfer_syntax)
        entry = self._scribe.entry(values, head.sop_class_uid, head.sop_instance_uid, head.transfer_syntax)
        return Arrival(path, head.transfer_syntax, now.st_size, now.st_mtime, "", head.source, entry)

    def _values(self, file: BinaryIO, transfer_syntax: str) -> dict[int, bytes]:
        """The raw values of a data set that begins here, as far as it can be read."""
        first = self._buffer[: file.readinto1(self._buffer)]  # type: ignore[attr-defined]  # it is buffered
        known = self._layouts.read(transfer_syntax, first)
        return self._walked(file, first, transfer_syntax) if known is None else known

    def _walked(self, file: BinaryIO, first: memoryview, transfer_syntax: str) -> dict[int, bytes]:
        walk = reader(transfer_syntax, (SPECIFIC_CHARACTER_SET,), optional=self._scribe.tags)
        try:
            walk.feed(first)
            if isinstance(walk, Walk) and walk.plain_size:
                self._layouts.walked(transfer_syntax, first, walk.plain_size)
            left = _LONGEST_LOOK
            while not walk.done and left > 0 and (count := file.readinto1(self._buffer)):  # type: ignore[attr-defined]
                walk.feed(self._buffer[:count])
                left -= count
        except UnreadableDataSet:
            if not walk.seen:
                raise
        if not walk.seen:
            raise UnreadableDataSet("the data set has no element that could be read")
        return walk.values


def files(
    directory: str, after: str = "", failed: Callable[[str, OSError], None] = lambda _, __: None
) -> Iterator[str]:
    """The paths of the files of a store, below it, in an order that is always the same.

    What begins with a dot is not of instances. ``after`` leaves out what comes up to that path. ``failed`` is told of a
    folder that cannot be read. Raises :class:`OSError` where the store cannot.
    """
    *done, last = after.split("/")
    pending: list[list[str]] = [[]]
    while pending:
        folder = pending.pop()
        prefix = "".join(f"{one}/" for one in folder)
        try:
            folders, names = _contents(f"{directory}/{prefix}")
        except FileNotFoundError:
            if not folder:
                raise
            continue  # it was removed meanwhile
        except OSError as error:
            if not folder:
                raise
            failed(prefix.rstrip("/"), error)
            continue
        below = ([*folder, name] for name in reversed(folders))
        pending += [one for one in below if one >= done[: len(one)]]
        if folder > done or not after:
            yield from (prefix + name for name in names)
        elif folder == done:
            yield from (prefix + name for name in names if name > last)


def _contents(folder: str) -> tuple[list[str], list[str]]:
    """The names of the folders and of all else in a folder, each in their order."""
    folders: list[str] = []
    names: list[str] = []
    with os.scandir(folder) as found:
        for one in found:
            if not one.name.startswith("."):
                (folders if one.is_dir(follow_symlinks=False) else names).append(one.name)
    return sorted(folders), sorted(names)
