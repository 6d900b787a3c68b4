"""One instance to one path that somebody else chose: a file beside it, fsync, rename (PS3.10 files)."""

from __future__ import annotations

import itertools
import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST_VIEWS = 1000  # IOV_MAX is 1024 on Linux
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_MODE = 0o666  # the program's umask says what of it
_OURS = secrets.token_hex(4)
_NUMBERS = itertools.count()


def write_all(descriptor: int, pieces: Sequence[bytes | memoryview]) -> None:
    """Write ``pieces`` in as few system calls as there can be. Raises :class:`OSError`."""
    for first in range(0, len(pieces), MOST_VIEWS):
        some = pieces[first : first + MOST_VIEWS]
        total = sum(map(len, some))
        written = os.writev(descriptor, some)
        if written != total:  # a full disk or a limit cuts a write short before it fails
            rest = memoryview(b"".join(some))[written:]
            while rest:
                rest = rest[os.write(descriptor, rest) :]


def write_file(
    path: str | os.PathLike[str], header: bytes, batches: Iterable[Sequence[memoryview]], *, durable: bool
) -> None:
    """Put ``header`` and all of ``batches`` at ``path``, whole or not at all; with ``durable`` on the disk as well.

    What was at ``path`` is replaced. Raises :class:`OSError`, and whatever ``batches`` raises; nothing is left then.
    """
    path = os.fspath(path)
    folder = os.path.dirname(path) or "."  # noqa: PTH120 a Path costs more than the write of a small instance
    temporary = f"{folder}/.{_OURS}-{next(_NUMBERS)}.part"
    descriptor = os.open(temporary, _NEW_FILE, _FILE_MODE)
    try:
        front: tuple[bytes, ...] = (header,)
        for views in batches:
            write_all(descriptor, (*front, *views))
            front = ()
        if front:
            write_all(descriptor, front)
        if durable:
            os.fsync(descriptor)
        open_descriptor, descriptor = descriptor, -1
        os.close(open_descriptor)
        os.rename(temporary, path)  # noqa: PTH104 as above
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108 as above
        raise
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    if durable:
        _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
