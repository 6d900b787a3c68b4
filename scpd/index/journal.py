"""What has been stored and not been written down yet: a line for each file, before it gets its name.

A line is with the system at once, and outlives the process; only a power cut may lose the last ones, and after one all
files are compared anyway. Knows no database.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from scpd.index.places import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME = "journal-"
# When it has become this large, it goes on in a new file with only what is left of it (bytes).
_LARGE = 1 << 20
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class Journal:
    """The journal of this process for one store; its file is made with the first line. May be used by any thread."""

    def __init__(self, directory: str) -> None:
        self._folder = Path(directory, FOLDER)
        self._lock = threading.Lock()
        self._noted: Counter[str] = Counter()
        self._path = Path()
        self._file = -1
        self._size = 0
        self._rewritten = 0

    def note(self, path: str) -> None:
        """A file is about to get its name. Raises :class:`OSError`."""
        with self._lock:
            if self._file < 0:
                self._begin(())
            self._write(_line(path))
            self._noted[path] += 1

    def done(self, paths: Iterable[str]) -> None:
        """These files are written down, as far as they were noted."""
        with self._lock:
            for path in paths:
                if self._noted[path] <= 1:
                    del self._noted[path]
                else:
                    self._noted[path] -= 1
            if self._size > _LARGE + 2 * self._rewritten:
                with suppress(OSError):  # the old one is as good, only longer
                    self._begin(self._noted.elements())

    def close(self) -> None:
        """Leave nothing behind that is not needed."""
        with self._lock:
            if self._file >= 0:
                self._give_back(self._file, self._path if not self._noted else None)
                self._file = -1

    def _begin(self, paths: Iterable[str]) -> None:
        """Go on in a new file, which has these from the old one."""
        former = self._file, self._path
        token = secrets.token_hex(4)
        new, path = self._folder / f"new-{token}", self._folder / f"{_NAME}{token}"
        self._folder.mkdir(0o750, exist_ok=True)
        file = os.open(new, _NEW_FILE, 0o640)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            lines = b"".join(map(_line, paths))
            _append(file, 0, _boot() + lines)
            os.fsync(file)
            new.rename(path)  # locked and whole before anybody can find it
            _sync(self._folder)  # after a power cut its name tells that there was one
        except OSError:
            self._give_back(file, new if new.exists() else path)
            raise
        self._file, self._path, self._rewritten = file, path, len(lines)
        self._size = os.fstat(file).st_size
        if former[0] >= 0:
            self._give_back(*former)

    def _write(self, line: bytes) -> None:
        _append(self._file, self._size, line)
        self._size += len(line)

    def _give_back(self, file: int, path: Path | None) -> None:
        if path:
            with suppress(OSError):
                path.unlink()
        os.close(file)


class Former:
    """Journals that others have left in a store, whose processes are no more.

    ``paths`` are the files that they had not written down; ``was_cut`` says that the machine has stopped meanwhile, so
    that there may be more of them. Raises :class:`OSError`.
    """

    def __init__(self, directory: str) -> None:
        self.paths: list[str] = []
        self.was_cut = False
        self._found: list[tuple[Path, int]] = []
        for path in sorted(Path(directory, FOLDER).glob(f"{_NAME}*")):
            self._adopt(path)

    def settled(self) -> None:
        """All of it is written down."""
        for path, _ in self._found:
            with suppress(OSError):
                path.unlink()
        self.close()

    def close(self) -> None:
        """Leave them to others."""
        for _, file in self._found:
            os.close(file)
        self._found = []

    def _adopt(self, path: Path) -> None:
        try:
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            content = _content(file)
        except OSError:  # its process lives, or it is something else
            os.close(file)
            return
        self._found.append((path, file))
        boot, _, lines = content.partition(b"\n")
        self.was_cut = self.was_cut or boot + b"\n" != _boot()
        self.paths += [line.decode("utf-8", "surrogateescape") for line in lines.split(b"\n") if line]


def _line(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape") + b"\n"


def _append(file: int, size: int, data: bytes) -> None:
    """All of it, or nothing."""
    if os.write(file, data) != len(data):
        os.ftruncate(file, size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _content(file: int) -> bytes:
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise OSError(errno.EINVAL, "it is no file")
    with os.fdopen(file, "rb", closefd=False) as opened:
        return opened.read()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _boot() -> bytes:
    """What tells this run of the machine from another."""
    try:
        return _BOOT.read_bytes().strip() + b"\n"
    except OSError:
        return b"unknown\n"
