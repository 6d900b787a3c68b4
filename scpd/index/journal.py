"""What has been stored and not been written down yet: a line for each file, before it gets its name.

A line is with the system at once, and outlives the process; only a power cut may lose the last ones, and after one all
files are compared anyway. Knows no database.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
from contextlib import suppress
from pathlib import Path

FOLDER = ".index"
_NAME = "journal-"
# Emptied when nothing is left of what is in it, and it has become this large (bytes).
_LARGE = 64 * 1024
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Journal:
    """The journal of this process for one store, and what others left there. Raises :class:`OSError`.

    ``left`` are the paths that a process which is no more had not written down; ``was_cut`` says that the machine has
    stopped meanwhile, so that there may be more of them.
    """

    def __init__(self, directory: str) -> None:
        folder = Path(directory, FOLDER)
        folder.mkdir(0o750, exist_ok=True)
        self._lock = threading.Lock()
        self._count = 0
        self._size = 0
        self.left: list[str] = []
        self.was_cut = False
        self._former: list[tuple[Path, int]] = []
        for path in sorted(folder.glob(f"{_NAME}*")):
            self._adopt(path)
        self._path = folder / f"{_NAME}{secrets.token_hex(4)}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o640)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        os.write(self._file, _boot())

    def note(self, path: str) -> None:
        """A file is about to get its name. Raises :class:`OSError`."""
        line = path.encode("utf-8", "surrogateescape") + b"\n"
        with self._lock:
            os.write(self._file, line)
            self._count += 1
            self._size += len(line)

    def done(self, count: int) -> None:
        """So many of the files are written down."""
        with self._lock:
            self._count -= count
            if self._count == 0 and self._size > _LARGE:
                os.ftruncate(self._file, len(_boot()))
                self._size = 0

    def settled(self) -> None:
        """What others left is written down."""
        while self._former:
            path, file = self._former.pop()
            with suppress(OSError):
                path.unlink()
            os.close(file)
        self.left = []

    def close(self) -> None:
        """Leave nothing behind that is not needed."""
        with self._lock:
            if self._file >= 0:
                if self._count == 0:
                    with suppress(OSError):
                        self._path.unlink()
                os.close(self._file)
                self._file = -1
        for _, file in self._former:
            os.close(file)
        self._former = []

    def _adopt(self, path: Path) -> None:
        try:
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # its process lives
            os.close(file)
            return
        boot, *lines = path.read_bytes().split(b"\n")
        self.was_cut = self.was_cut or boot + b"\n" != _boot()
        self.left += [line.decode("utf-8", "surrogateescape") for line in lines if line]
        self._former.append((path, file))


def _boot() -> bytes:
    """What tells this run of the machine from another."""
    try:
        return _BOOT.read_bytes().strip() + b"\n"
    except OSError:
        return b"unknown\n"
