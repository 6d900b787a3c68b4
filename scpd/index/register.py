"""One store as an index writes it down, in the path of a C-STORE: before Success, or just after it."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from scpd.errors import IndexUnavailable
from scpd.index.journal import Journal
from scpd.index.places import store_uid

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scpd.index.index import Index
    from scpd.index.writing import Arrival

# What is held in memory of files that wait to be written down; of more than that, only their paths.
_MOST_KEPT = 5000


class Note(NamedTuple):
    """A file that is about to get its name. ``number`` is that of the database's note, where there is one."""

    path: str
    number: int = 0
    make: Callable[[], Arrival] | None = None
    begun: Callable[[], int] | None = None


class Register:
    """A store, known to ``index`` by its marker; ``deferred`` says when its files are written down.

    ``is_alone`` says that no other process stores there. ``call`` is called when there is something to look at. Raises
    :class:`OSError`.
    """

    def __init__(self, index: Index, directory: Path, *, deferred: bool, is_alone: bool = True) -> None:
        self.index = index
        self.directory = str(directory.absolute())
        self.uid = store_uid(directory)
        self.is_recovered = False
        self.is_alone = is_alone
        self.call: Callable[[], None] = lambda: None
        self._journal = Journal(self.directory) if deferred else None
        self._lock = threading.Lock()
        self._waiting: deque[Note] = deque()
        self._kept = 0
        index.places.know(self.uid, self.directory)

    @property
    def is_deferred(self) -> bool:
        """Whether files are written down after Success."""
        return self._journal is not None

    @property
    def waiting(self) -> int:
        """How many files have yet to be written down."""
        return len(self._waiting)

    def expect(self, path: str, make: Callable[[], Arrival]) -> Note:
        """A file is about to get its name, once this is :meth:`expected`.

        Raises :class:`IndexUnavailable` where that cannot be written down.
        """
        if self._journal is None:
            return Note(path, begun=self.index.expect(self.uid, make()))
        try:
            self._journal.note(path)
        except OSError as error:
            raise IndexUnavailable(f"its journal cannot be written: {error.strerror}") from error
        return Note(path, 0, make)

    def expected(self, note: Note) -> Note:
        """Wait until it is written down. Raises :class:`IndexUnavailable`."""
        return note if note.begun is None else note._replace(number=note.begun(), begun=None)

    def settle(self, note: Note, *, holds: bool) -> None:
        """It has got its name, or has not; then whatever has the name is looked at."""
        if note.number and holds:
            self.index.settle(note.number)
            return
        with self._lock:
            keep = holds and self._kept < _MOST_KEPT
            self._kept += keep
            self._waiting.append(note if keep else note._replace(make=None))
        self.call()

    def take(self, most: int) -> list[Note]:
        """The files to look at next."""
        with self._lock:
            taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            self._kept -= sum(note.make is not None for note in taken)
            return taken

    def give_back(self, notes: list[Note]) -> None:
        """They could not be written down."""
        with self._lock:
            self._waiting.extendleft(reversed(notes))
            self._kept += sum(note.make is not None for note in notes)

    def done(self, notes: list[Note]) -> None:
        """They are written down."""
        if self._journal:
            self._journal.done(sum(not note.number for note in notes))

    def left(self) -> tuple[list[str], bool]:
        """What an earlier process left of its journal, and whether there may be more."""
        return (self._journal.left, self._journal.was_cut) if self._journal else ([], False)

    def recovered(self) -> None:
        """All that was left is written down."""
        self.is_recovered = True
        if self._journal:
            self._journal.settled()

    def is_there(self, path: str) -> bool:
        """Whether there is anything of this name."""
        return os.path.lexists(f"{self.directory}/{path}")

    def close(self) -> None:
        """Give back what was opened."""
        if self._journal:
            self._journal.close()
