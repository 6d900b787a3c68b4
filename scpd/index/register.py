"""One store as an index writes it down, in the path of a C-STORE: before Success, or just after it."""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakSet

from sqlalchemy import bindparam, delete

from scpd.errors import IndexUnavailable
from scpd.index.journal import Former, Journal
from scpd.index.places import is_complete, set_complete, store_uid
from scpd.index.schema import pending
from scpd.index.writing import Prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from sqlalchemy import Connection

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
        self.is_deferred = deferred
        self.users: WeakSet[object] = WeakSet()
        self.call: Callable[[], None] = lambda: None
        self._journal = Journal(self.directory)
        self._former: Former | None = None
        self._lock = threading.Lock()
        self._waiting: deque[Note] = deque()
        self._kept = self._taken = 0
        # Paths that files are about to get, and those of them whose rows may be another's.
        self._underway: Counter[str] = Counter()
        self._doubtful: set[str] = set()
        # Paths that nobody can tell of whether they were written down.
        self._unsure: set[str] = set()
        of_one = pending.c.id == bindparam("number"), pending.c.path == bindparam("of")
        self._settle = Prepared(delete(pending).where(*of_one), index.database.dialect)
        index.places.know(self.uid, self.directory)

    @property
    def waiting(self) -> int:
        """How many files have yet to be written down."""
        return len(self._waiting) + len(self._unsure) + self._taken

    @property
    def is_idle(self) -> bool:
        """Whether nobody stores by it, and nothing waits."""
        return not (self.users or self._underway or self.waiting)

    # -- whoever stores

    def expect(self, path: str, make: Callable[[], Arrival]) -> Note:
        """A file is about to get its name, once this is :meth:`expected`; then comes :meth:`settle`, whatever happens.

        Raises :class:`IndexUnavailable` where that cannot be written down, at once where that is known.
        """
        if self.is_deferred:
            return self._noted(path, make)
        if trouble := self.index.database.trouble():
            raise trouble
        arrival = make()
        with self._lock:
            if path in self._underway:
                self._doubtful.add(path)
            self._underway[path] += 1
        try:
            return Note(path, begun=self.index.expect(self.uid, arrival))
        except BaseException:
            self._arrived(path)
            raise

    def expected(self, note: Note) -> Note:
        """Wait until it is written down. Raises :class:`IndexUnavailable`."""
        return note if note.begun is None else note._replace(number=note.begun(), begun=None)

    def settle(self, note: Note, *, holds: bool) -> None:
        """It has got its name, or has not; then whatever has the name is looked at."""
        is_doubtful = self._arrived(note.path)
        if note.begun:  # and perhaps it comes to the database all the same
            with self._lock:
                self._unsure.add(note.path)
            self.call()
        elif note.number and holds and not is_doubtful:
            self.index.database.write_later(lambda connection: self._settled(connection, note))
        else:
            self._wait(note if holds else note._replace(make=None))

    def _noted(self, path: str, make: Callable[[], Arrival]) -> Note:
        try:
            self._journal.note(path)
        except OSError as error:
            raise IndexUnavailable(f"its journal cannot be written: {error.strerror}") from error
        return Note(path, 0, make)

    def _arrived(self, path: str) -> bool:
        """Whether the rows of a path may be another's than those of the file that has it."""
        with self._lock:
            is_doubtful = path in self._doubtful
            if self._underway[path] > 1:
                self._underway[path] -= 1
            else:
                del self._underway[path]
                self._doubtful.discard(path)
            return is_doubtful

    def _settled(self, connection: Connection, note: Note) -> None:
        if not self._settle.run(connection, {"number": note.number, "of": note.path}).rowcount:
            # Somebody has looked before it had its name, and has seen nothing, or another; or this is a new database.
            self._wait(note)

    def _wait(self, note: Note) -> None:
        with self._lock:
            keep = note.make is not None and self._kept < _MOST_KEPT
            self._kept += keep
            self._waiting.append(note if keep else note._replace(make=None))
        self.call()

    # -- whoever writes down what waits

    def take(self, most: int) -> list[Note]:
        """The files to look at next."""
        with self._lock:
            taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            self._kept -= sum(note.make is not None for note in taken)
            self._taken += len(taken)
            return taken

    def give_back(self, notes: list[Note]) -> None:
        """They could not be written down."""
        with self._lock:
            self._taken -= len(notes)
            self._waiting.extendleft(reversed(notes))
            self._kept += sum(note.make is not None for note in notes)

    def done(self, notes: list[Note]) -> None:
        """They are written down."""
        with self._lock:
            self._taken -= len(notes)
        self._journal.done(note.path for note in notes)

    def take_unsure(self) -> set[str]:
        """The paths that may have a note in the database, or not; it is known by now."""
        with self._lock:
            taken, self._unsure = self._unsure, set()
            return taken

    def give_back_unsure(self, paths: Iterable[str]) -> None:
        """The database did not say."""
        with self._lock:
            self._unsure.update(paths)

    # -- after a start, and before the end

    def left(self) -> tuple[list[str], bool]:
        """What an earlier process left of its journal, and whether there may be more. Raises :class:`OSError`."""
        if self._former is None:
            self._former = Former(self.directory)
        return self._former.paths, self._former.was_cut

    def left_is_settled(self) -> None:
        """All that was left is written down."""
        if self._former:
            self._former.settled()
            self._former = None

    def recovered(self, index: str) -> None:
        """Nothing is left; the database that ``index`` names, if any, knows all files. Raises :class:`OSError`."""
        if index and not is_complete(self.directory, index):
            set_complete(self.directory, index)
        self.left_is_settled()
        self.is_recovered = True

    def is_complete(self, index: str) -> bool:
        """Whether a database has heard of every file, as far as is known."""
        return is_complete(self.directory, index)

    def is_there(self, path: str) -> bool:
        """Whether there is anything of this name."""
        return os.path.lexists(f"{self.directory}/{path}")

    def close(self) -> None:
        """Give back what was opened."""
        self._journal.close()
        if self._former:
            self._former.close()
            self._former = None
