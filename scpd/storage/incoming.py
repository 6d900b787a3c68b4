"""One instance on its way into a store: what arrives goes to a temporary file, and that gets its name, or goes."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

from scpd.dimse.status import DUPLICATE_SOP_INSTANCE, OUT_OF_RESOURCES
from scpd.errors import StoreError
from scpd.storage.file import write_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scpd.storage.store import StorePolicy


class Written(NamedTuple):
    """A file: its size in bytes, and when it was written, in Unix time."""

    size: int
    when: float


def out_of_resources(error: OSError, doing: str) -> StoreError:
    """What a failed system call means to the sender: keep the instance, come again."""
    return StoreError(OUT_OF_RESOURCES, f"{doing}: {error.strerror or error}")


class Stages(Protocol):
    """Where an instance waits for its name: the store that began it."""

    policy: StorePolicy
    waits: dict[str, float]

    def place(self, temporary: str, components: Sequence[str]) -> bool: ...

    def discard(self, temporary: str) -> None: ...


class Incoming:
    """An instance on its way to disk. Whoever began it ends it: :meth:`commit` or :meth:`abandon`.

    ``size`` is the number of bytes of the data set written so far.
    """

    def __init__(self, store: Stages, name: str, descriptor: int, header: bytes) -> None:
        self.size = 0
        self._store = store
        self._name = name
        self._descriptor = descriptor
        self._header = header
        self._is_synced = False

    def write(self, views: Sequence[memoryview]) -> None:
        """Append what arrived, in as few system calls as there can be. Raises :class:`StoreError` with A700."""
        pieces: list[bytes | memoryview] = [self._header, *views] if self._header else list(views)
        waits = self._store.waits
        waits[self._name] = time.monotonic()
        try:
            write_all(self._descriptor, pieces)
        except OSError as error:
            raise out_of_resources(error, "the instance cannot be written") from error
        finally:
            del waits[self._name]
        self._header = b""
        self.size += sum(map(len, views))

    def told(self) -> Written:
        """How large its file is by now, and when it was written. Raises :class:`StoreError` with A700."""
        try:
            status = os.fstat(self._descriptor)
        except OSError as error:
            raise out_of_resources(error, "the instance cannot be looked at") from error
        return Written(status.st_size, status.st_mtime)

    def commit(self, components: Sequence[str]) -> bool:
        """Make the instance durable under its final path.

        True when it is stored, False when ``duplicates: keep`` left the one that was there. Raises
        :class:`StoreError` with A700, or with 0111H for ``duplicates: reject``.
        """
        name, waits = self._name, self._store.waits
        waits[name] = time.monotonic()
        try:
            return self._commit(components)
        finally:
            del waits[name]

    def sync(self) -> None:
        """Bring it to the disk, before it gets its name. Raises :class:`StoreError` with A700."""
        waits = self._store.waits
        waits[self._name] = time.monotonic()
        try:
            if self._store.policy.durable and not self._is_synced:
                os.fsync(self._descriptor)
        except OSError as error:
            raise out_of_resources(error, "the instance cannot be brought to the disk") from error
        finally:
            del waits[self._name]
        self._is_synced = True

    def _commit(self, components: Sequence[str]) -> bool:
        try:
            if self._store.policy.durable and not self._is_synced:
                os.fsync(self._descriptor)
            self._close()
            placed = self._store.place(self._name, components)
        except OSError as error:
            raise out_of_resources(error, "the instance cannot be put in its place") from error
        if placed:
            self._name = ""
        else:
            self.abandon()
            if self._store.policy.duplicates == "reject":
                raise StoreError(DUPLICATE_SOP_INSTANCE, "the instance is there already (storage.duplicates: reject)")
        return placed

    def abandon(self) -> None:
        """Remove what was written; does nothing after a commit."""
        if not self._name:
            return
        with suppress(OSError):
            self._close()
        with suppress(OSError):
            self._store.discard(self._name)
        self._name = ""

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
