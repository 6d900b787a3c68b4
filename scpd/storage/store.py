"""A directory of instances: temporary file → fsync → rename → then, and only then, it counts (PS3.10 files).

Nothing partial is ever visible under a final name. Every path is opened from the root's own descriptor, component by
component and never through a symbolic link, and an instance is refused when the directory that was opened is no longer
the one that stands at its path (an unmounted disk leaves an empty mount point behind).
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import re
import secrets
import stat
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from scpd.dimse.status import OUT_OF_RESOURCES
from scpd.errors import ScpdError, StoreError
from scpd.storage.incoming import Incoming, out_of_resources

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SPOOL = ".incoming"
# Temporary names of this process: others may share the directory, from other containers too.
_OURS = secrets.token_hex(4)
_NUMBERS = itertools.count()
_TEMPORARY = re.compile(r"[0-9a-f]{8}-[0-9]+", re.ASCII)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_MODE, _DIRECTORY_MODE = 0o640, 0o750
# What is stored meanwhile goes through descriptors to the disk that was opened, so it is safe there.
_SECONDS_BETWEEN_LOOKS = 0.1
# What is written to see whether there is room: a block of the file system, and never brought to the disk.
_A_LITTLE = bytes(4096)
# File systems without hard links say one of these.
_NO_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK))


@dataclass(frozen=True, slots=True)
class StorePolicy:
    """How a store treats what it gets; ``reserve`` is the free space, in bytes, that it leaves."""

    duplicates: Literal["replace", "keep", "reject"] = "replace"
    durable: bool = True
    reserve: int = 0


class Space(NamedTuple):
    """A file system, for us: its ``size`` and what is ``free`` in bytes, and how many files it has room for."""

    size: int
    free: int
    free_files: int


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class Store:
    """An open storage directory. ``swept`` names the leftovers that an earlier crash left and opening removed.

    It is closed when nobody has it any more: an association may go on with it after the configuration has changed.
    """

    def __init__(self, directory: Path, policy: StorePolicy) -> None:
        self.directory = directory
        self.policy = policy
        self.is_alone = False  # no other process uses the directory, as far as opening it has shown
        self._without_links = threading.Lock()
        self._making = threading.Lock()
        self._looked = float("-inf")
        # Since when an instance waits for the disk, by its temporary name: as it begins, grows, and gets its place.
        self.waits: dict[str, float] = {}
        opened: list[int] = []
        self.close = weakref.finalize(self, _close, opened)
        try:
            directory.mkdir(_DIRECTORY_MODE, parents=True, exist_ok=True)
            self._root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.append(self._root)
            with suppress(FileExistsError):
                os.mkdir(SPOOL, _DIRECTORY_MODE, dir_fd=self._root)
            self._spool = os.open(SPOOL, _DIRECTORY, dir_fd=self._root)
            opened.append(self._spool)
            self.swept = self._sweep()
            self._try_writing()
        except OSError as error:
            self.close()
            raise ScpdError(f"the storage directory {directory} cannot be used: {error.strerror}") from error
        status = os.fstat(self._root)
        self._identity = (status.st_dev, status.st_ino)

    def space(self) -> Space:
        """How much there is on the file system."""
        status = os.fstatvfs(self._root)
        # Some file systems have no bound on files, and say 0 of 0.
        files = status.f_favail if status.f_files else -1
        return Space(status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize, files)

    def free_space(self) -> int:
        """Bytes that are free for us on the file system."""
        return self.space().free

    def trouble(self) -> str:
        """Why the next instance would be refused, or nothing. Waits as long as the file system does."""
        doing = "storage.directory"
        try:
            self._look()
            doing = f"nothing can be written to {SPOOL}"
            self._try_writing(_A_LITTLE)
        except StoreError as error:
            return error.what
        except OSError as error:
            return f"{doing}: {error.strerror}"
        return ""

    def slowest(self) -> float:
        """For how many seconds some instance has waited for the disk by now; 0 where none does."""
        began = min(list(self.waits.values()), default=None)
        return 0.0 if began is None else time.monotonic() - began

    def begin(self, header: bytes) -> Incoming:
        """A new instance, with ``header`` before its data set. Raises :class:`StoreError` with A700."""
        try:
            now = time.monotonic()
            if now - self._looked > _SECONDS_BETWEEN_LOOKS:
                self._look()
                self._looked = now
            name = f"{_OURS}-{next(_NUMBERS)}"
            self.waits[name] = time.monotonic()
            try:
                descriptor = os.open(name, _NEW_FILE, _FILE_MODE, dir_fd=self._spool)
            finally:
                del self.waits[name]
        except OSError as error:
            raise out_of_resources(error, "a temporary file cannot be made") from error
        return Incoming(self, name, descriptor, header)

    def _look(self) -> None:
        """Refuse a directory that is gone or full; what is refused is looked at again the next time."""
        here = self.directory.stat()
        if (here.st_dev, here.st_ino) != self._identity:
            raise StoreError(
                OUT_OF_RESOURCES,
                "storage.directory is not the directory that was opened at the start: unmounted or moved",
            )
        if self.policy.reserve and self.free_space() < self.policy.reserve:
            raise StoreError(OUT_OF_RESOURCES, "less space is free than storage.reserve")

    def _sweep(self) -> tuple[str, ...]:
        """Remove what a crash left; not while another process uses the directory, whose files these may be."""
        try:
            fcntl.flock(self._spool, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(self._spool, fcntl.LOCK_SH)
            return ()
        self.is_alone = True
        # By descriptor, as everything here; what is not named by us is somebody else's (a file system's lost+found).
        found = os.listdir(self._spool)  # noqa: PTH208
        names = tuple(sorted(name for name in found if _TEMPORARY.fullmatch(name)))
        for name in names:
            with suppress(IsADirectoryError):
                os.unlink(name, dir_fd=self._spool)
        fcntl.flock(self._spool, fcntl.LOCK_SH)
        return names

    def _try_writing(self, data: bytes = b"") -> None:
        """Do what the begin of an instance needs, and undo it; ``data`` also asks for room."""
        name = f"{_OURS}-{next(_NUMBERS)}"
        descriptor = os.open(name, _NEW_FILE, _FILE_MODE, dir_fd=self._spool)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
        finally:
            os.unlink(name, dir_fd=self._spool)

    def _open_directory(self, components: Sequence[str]) -> int:
        """The descriptor of a directory below the root, made where it is missing; the caller closes it."""
        current = os.dup(self._root) if not components else self._root
        for component in components:
            try:
                deeper = self._enter(current, component)
            finally:
                if current != self._root:
                    os.close(current)
            current = deeper
        return current

    def _enter(self, parent: int, component: str) -> int:
        with suppress(FileNotFoundError):
            directory = os.open(component, _DIRECTORY, dir_fd=parent)
            if self._making.locked():  # perhaps this very one, by another thread, and not yet on the disk
                with self._making:
                    pass
            return directory
        with self._making, suppress(FileExistsError):
            os.mkdir(component, _DIRECTORY_MODE, dir_fd=parent)
            if self.policy.durable:
                os.fsync(parent)
        return os.open(component, _DIRECTORY, dir_fd=parent)

    def place(self, temporary: str, components: Sequence[str]) -> bool:
        """Give a finished temporary file its final name; False when the instance was there and stays."""
        try:
            return self._placed(temporary, components)
        except FileNotFoundError:  # a directory that had become empty was tidied away this very moment
            return self._placed(temporary, components)

    def _placed(self, temporary: str, components: Sequence[str]) -> bool:
        *directories, name = components
        directory = self._open_directory(directories)
        try:
            placed = self._rename(temporary, directory, name)
            if placed and self.policy.durable:
                os.fsync(directory)
        finally:
            os.close(directory)
        return placed

    def _rename(self, temporary: str, directory: int, name: str) -> bool:
        if self.policy.duplicates == "replace":
            os.rename(temporary, name, src_dir_fd=self._spool, dst_dir_fd=directory)
            return True
        try:
            # A link never replaces, so two writers of one instance cannot both win.
            os.link(temporary, name, src_dir_fd=self._spool, dst_dir_fd=directory, follow_symlinks=False)
        except FileExistsError:
            return self._is_held(directory, name)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return self._rename_if_absent(temporary, directory, name)
        os.unlink(temporary, dir_fd=self._spool)
        return True

    def _rename_if_absent(self, temporary: str, directory: int, name: str) -> bool:
        with self._without_links:
            with suppress(FileNotFoundError):
                return self._is_held(directory, name)
            os.rename(temporary, name, src_dir_fd=self._spool, dst_dir_fd=directory)
            return True

    def _is_held(self, directory: int, name: str) -> bool:
        """Make sure that what is there is an instance, as safe as a new one would be; False, since nothing was placed.

        Raises :class:`OSError` for a symbolic link, a directory or anything else that is no file.
        """
        held = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        try:
            if not stat.S_ISREG(os.fstat(held).st_mode):
                raise FileExistsError(errno.EEXIST, "something that is no file is in the instance's place")
            if self.policy.durable:
                os.fsync(held)
                os.fsync(directory)
        finally:
            os.close(held)
        return False

    def discard(self, temporary: str) -> None:
        """Remove a temporary file that came to nothing."""
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=self._spool)
