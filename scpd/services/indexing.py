"""What is stored, written down in an index: promised before an instance gets its place, settled after it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from scpd.dimse.status import OUT_OF_RESOURCES
from scpd.errors import IndexUnavailable, StoreError
from scpd.index.register import Note
from scpd.index.writing import Arrival

if TYPE_CHECKING:
    from scpd.index.entry import Scribe
    from scpd.index.register import Register
    from scpd.services.storage import Stored


class Indexing:
    """Writes down what one server stores. Raises :class:`StoreError` with A700 where that cannot be.

    ``replaces`` says that an instance takes the place of the one that is there.
    """

    tags: frozenset[int] = frozenset()
    digests = True

    def __init__(self, register: Register, scribe: Scribe, *, replaces: bool = True) -> None:
        self.optional = scribe.tags
        self._replaces = replaces
        self._register = register
        self._scribe = scribe

    def promise(self, instance: Stored) -> _Promise:
        path = instance.path[len(instance.directory) + 1 :]
        if not self._replaces and self._register.is_there(path):
            return _Promise(self._register, Note(path))  # what is there stays, and so do its rows
        try:
            return _Promise(self._register, self._register.expect(path, partial(self._arrival, path, instance)))
        except IndexUnavailable as error:
            raise _refused(error) from error

    def _arrival(self, path: str, instance: Stored) -> Arrival:
        entry = self._scribe.entry(
            instance.values, instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid
        )
        return Arrival(
            path,
            instance.transfer_syntax_uid,
            instance.written.size,
            instance.written.when,
            instance.digest,
            instance.peer.calling,
            entry,
        )


class _Promise:
    def __init__(self, register: Register, note: Note) -> None:
        self._register = register
        self._note = note

    def keep(self) -> None:
        try:
            self._note = self._register.expected(self._note)
        except IndexUnavailable as error:
            raise _refused(error) from error

    def settle(self, *, holds: bool) -> None:
        if holds or self._note != Note(self._note.path):
            self._register.settle(self._note, holds=holds)


def _refused(error: IndexUnavailable) -> StoreError:
    return StoreError(OUT_OF_RESOURCES, f"it cannot be indexed: {error}")
