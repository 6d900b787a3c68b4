"""Files of a store on their way out: never through a symbolic link, and only the file that is meant.

Between a look at a file and its end another may take its name, and nothing of the system's takes a name away from one
file alone. So a file is first renamed into the spool, looked at there, and given back if it is another.
"""

from __future__ import annotations

import itertools
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from enum import Enum
from typing import TYPE_CHECKING

from scpd.index.places import MARKER
from scpd.storage.store import SPOOL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MARKER = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LONGEST_MARKER = 100
# Named as the store's own temporary files are: what a crash leaves goes with theirs.
_OURS = secrets.token_hex(4)
_NUMBERS = itertools.count()


class Fate(Enum):
    """What became of a file: taken away, not there any more, or another than was meant."""

    GONE = "gone"
    MISSING = "missing"
    ANOTHER = "another"


class Place:
    """An open storage directory, to take files away from; see :func:`opened`."""

    def __init__(self, root: int, spool: int) -> None:
        self._root = root
        self._spool = spool

    def free(self) -> int:
        """Bytes that are free on its file system. Raises :class:`OSError`."""
        status = os.fstatvfs(self._root)
        return status.f_bavail * status.f_frsize

    def take_away(self, path: str, size: int, received: float) -> Fate:
        """Delete the file at ``path`` if it has this size (bytes) and time (Unix time); not yet on the disk.

        Raises :class:`OSError` where that cannot be: then it is there as before.
        """
        *folders, name = _components(path)
        try:
            with self._folder(folders) as folder:
                if not _is_meant(name, folder, size, received):
                    return Fate.ANOTHER
                return self._take(name, folder, size, received)
        except FileNotFoundError:
            return Fate.MISSING

    def _take(self, name: str, folder: int, size: int, received: float) -> Fate:
        temporary = f"{_OURS}-{next(_NUMBERS)}"
        os.rename(name, temporary, src_dir_fd=folder, dst_dir_fd=self._spool)
        if _is_meant(temporary, self._spool, size, received):
            os.unlink(temporary, dir_fd=self._spool)
            return Fate.GONE
        self._give_back(temporary, name, folder)
        return Fate.ANOTHER

    def _give_back(self, temporary: str, name: str, folder: int) -> None:
        """To its name; where a still later one has come meanwhile, that one counts."""
        try:
            with suppress(FileExistsError):
                os.link(temporary, name, src_dir_fd=self._spool, dst_dir_fd=folder, follow_symlinks=False)
        except OSError:  # a file system without hard links
            os.rename(temporary, name, src_dir_fd=self._spool, dst_dir_fd=folder)
        else:
            os.unlink(temporary, dir_fd=self._spool)

    def settle(self, paths: Iterable[str]) -> None:
        """Bring to the disk that files at ``paths`` are gone. Raises :class:`OSError`."""
        for folders in dict.fromkeys(tuple(_components(path)[:-1]) for path in paths):
            with suppress(FileNotFoundError, NotADirectoryError), self._folder(folders) as folder:
                os.fsync(folder)

    def tidy(self, paths: Iterable[str]) -> None:
        """Remove the folders that files at ``paths`` were in, and those above, as far as nothing is in them."""
        for folders in dict.fromkeys(tuple(_components(path)[:-1]) for path in paths):
            for depth in range(len(folders), 0, -1):
                try:
                    with self._folder(folders[: depth - 1]) as parent:
                        os.rmdir(folders[depth - 1], dir_fd=parent)
                except FileNotFoundError:  # it went with another file's
                    continue
                except OSError:
                    break

    @contextmanager
    def _folder(self, components: Sequence[str]) -> Iterator[int]:
        """The descriptor of a folder. Raises :class:`OSError`, for a symbolic link on the way as well."""
        current = os.dup(self._root)
        try:
            for component in components:
                deeper = os.open(component, _DIRECTORY, dir_fd=current)
                os.close(current)
                current = deeper
            yield current
        finally:
            os.close(current)


@contextmanager
def opened(directory: str, uid: str) -> Iterator[Place]:
    """The store with the marker ``uid``. Raises :class:`OSError`, also where it is not there: an empty mount point."""
    root = os.open(directory, _ROOT)
    try:
        if _marker(root) != uid:
            raise OSError(2, f"it is not the store that the index knows, by its {MARKER}: unmounted or moved")
        spool = os.open(SPOOL, _DIRECTORY, dir_fd=root)
        try:
            yield Place(root, spool)
        finally:
            os.close(spool)
    finally:
        os.close(root)


def _marker(root: int) -> str:
    try:
        descriptor = os.open(MARKER, _MARKER, dir_fd=root)
    except FileNotFoundError:
        return ""
    try:
        return os.read(descriptor, _LONGEST_MARKER).decode("ascii", "replace").strip()
    finally:
        os.close(descriptor)


def _components(path: str) -> list[str]:
    """The parts of a path below the root; no row of an index leads anywhere else. Raises :class:`OSError`."""
    components = path.split("/")
    if any(one in ("", ".", "..") for one in components):
        raise OSError(22, "the path of its row leads out of the store")
    return components


def _is_meant(name: str, folder: int, size: int, received: float) -> bool:
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    return stat.S_ISREG(status.st_mode) and (status.st_size, status.st_mtime) == (size, received)
