"""An index made anew from the files.

The rows stay while they are made anew, so that queries go on; a rebuild that was interrupted goes on where it was. Many
processes may look at files (crew.py), one writes.
"""

from __future__ import annotations

import json
from functools import cached_property, partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import delete, select, update

from scpd.index.differences import NOT_INDEXED, Difference, not_read, rows_in_pieces, why_not
from scpd.index.entry import Scribe
from scpd.index.examining import Found, bring, check_store, looked, write_down
from scpd.index.files import Looker, files, status
from scpd.index.register import Note
from scpd.index.schema import facts, instances, patients, pending, series, stores, studies
from scpd.index.troubles import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Connection

    from scpd.index.attributes import Keeping, Level
    from scpd.index.register import Register

    Looking = Callable[[Iterable[list[str]]], Iterator[list[Found]]]

# Files that are looked at and written down together: whoever stores meanwhile waits as long as that takes.
TOGETHER = 500


class Progress(NamedTuple):
    """How far it has come: files that were looked at, the instances and the others among them, and rows that went."""

    files: int = 0
    instances: int = 0
    unreadable: int = 0
    removed: int = 0


class Looks:
    """What looks at some files of a store; a process may be given it, and makes there what it needs."""

    def __init__(self, directory: str, keeping: Keeping) -> None:
        self._directory = directory
        self._keeping = keeping

    @cached_property
    def _looker(self) -> Looker:
        return Looker(Scribe(self._keeping), self._directory)

    def __call__(self, paths: list[str]) -> list[Found]:
        return [looked(self._looker, Note(path)) for path in paths]


class Rebuild:
    """Makes the rows of one store anew.

    ``is_wanted`` is asked before each batch: False ends it where it is. ``unreadable`` is told of each file that is no
    instance, or could not be read.
    """

    def __init__(
        self,
        register: Register,
        is_wanted: Callable[[], bool] = lambda: True,
        unreadable: Callable[[Difference], None] = lambda _: None,
    ) -> None:
        self._register = register
        self._database = register.index.database
        self._is_wanted = is_wanted
        self._unreadable = unreadable
        self._fact = facts.c.name == f"rebuild {register.uid}"
        self._kept = sorted(f"{level.name} {tag:08X}" for level, tags in _added(register) for tag in tags)
        self.progress = Progress()

    def is_underway(self) -> bool:
        """Whether one was begun and has not come to its end; then ``progress`` says how far it has come."""
        return self._known() is not None

    def begin(self) -> None:
        """Begin, whatever one that was interrupted has done."""
        self._database.write(self._start)
        self.progress = Progress()

    def run(self, looking: Looking | None = None, told: Callable[[Progress], None] = lambda _: None) -> bool:
        """Do it, from the beginning or where it was interrupted; whether it came to its end.

        Raises :class:`~scpd.errors.IndexUnavailable`, and :class:`OSError` where the store cannot be read.
        """
        after = self._known()
        if after is None:
            self.begin()
        looking = looking or partial(map, Looks(self._register.directory, self._register.index.keeping))
        for found in looking(_together(files(self._register.directory, after or "", self._failed))):
            if not self._is_wanted():
                return False
            self._take(found)
            told(self.progress)
        return self._remove_rows_without_files() and self._end()

    def _known(self) -> str | None:
        """The last path that was written down; None where no rebuild was begun."""
        with self._database.reading() as connection:
            known = connection.execute(select(facts.c.value).where(self._fact)).scalar()
        if known is None:
            return None
        said = json.loads(known)
        if said["kept"] != self._kept:  # what it has done lacks what is kept now
            return ""
        self.progress = Progress(*said["counts"])
        return str(said["after"])

    def _start(self, connection: Connection) -> None:
        register = self._register
        place = register.index.places.number(connection, register.uid)
        connection.execute(delete(facts).where(self._fact))
        connection.execute(facts.insert().values(name=f"rebuild {register.uid}", value=self._said("", Progress())))
        if connection.execute(select(instances.c.id).where(instances.c.store == place).limit(1)).scalar() is not None:
            # What the files say from here on is younger than all that is there.
            for table in (patients, studies, series):
                connection.execute(update(table).values(received=-1.0))
        register.index.writing.forget()

    def _end(self) -> bool:
        def end(connection: Connection) -> None:
            connection.execute(delete(facts).where(self._fact))
            self._register.index.writing.prune(connection)
            self._register.index.made_anew(connection, self._register.uid)

        self._database.write(end)
        return True

    def _take(self, found: Sequence[Found]) -> None:
        try:
            self._write(found, found[-1].note.path)
        except RefusedError as error:
            self._take_apart(found, error)
            return
        for one in found:
            if one.why:
                self._unreadable(why_not(one))

    def _take_apart(self, found: Sequence[Found], error: RefusedError) -> None:
        """Whoever is at fault is to be alone with it."""
        first, *rest = found
        if rest:
            for one in found:
                self._take([one])
        else:
            self._write([first._replace(arrival=None, why=str(error))], first.note.path)
            self._unreadable(Difference(first.note.path, NOT_INDEXED, str(error)))

    def _write(self, found: Sequence[Found], after: str) -> None:
        """Rows, and how far it has come, in one transaction."""
        check_store(self._register, found)
        before = self.progress
        arrived, bad = sum(one.arrival is not None for one in found), sum(bool(one.why) for one in found)

        def write(connection: Connection) -> Progress:
            removed = bring(connection, self._register, found)
            done = Progress(*map(sum, zip(before, (len(found), arrived, bad, removed), strict=True)))
            connection.execute(update(facts).where(self._fact).values(value=self._said(after, done)))
            return done

        self.progress = self._database.write(write)

    def _said(self, after: str, done: Progress) -> str:
        return json.dumps({"after": after, "counts": done, "kept": self._kept})

    def _failed(self, folder: str, error: OSError) -> None:
        self._unreadable(not_read(folder, error))
        self.progress = self.progress._replace(unreadable=self.progress.unreadable + 1)

    def _remove_rows_without_files(self) -> bool:
        """Whether it came to its end."""
        for paths in rows_in_pieces(self._register):
            if not self._is_wanted():
                return False
            gone = [Found(Note(path), None) for path in paths if self._is_gone(path)]
            if gone:
                check_store(self._register, gone)
                removed = self._database.write(partial(bring, register=self._register, found=gone))
                self.progress = self.progress._replace(removed=self.progress.removed + removed)
        return True

    def _is_gone(self, path: str) -> bool:
        try:
            return status(f"{self._register.directory}/{path}") is None
        except OSError as error:  # so nobody knows
            self._unreadable(not_read(path, error))
            return False


def settle_left(register: Register, before: float) -> None:
    """Look at what somebody was about to do ``before`` some time, in Unix time, and never ended."""
    statement = select(pending.c.path, pending.c.id).join(stores)
    with register.index.database.reading() as connection:
        rows = connection.execute(statement.where(stores.c.uid == register.uid, pending.c.since < before))
        notes = [Note(path, number) for path, number in rows]
    looks = Looker(register.index.scribe, register.directory)
    for first in range(0, len(notes), TOGETHER):
        write_down(register, [looked(looks, note) for note in notes[first : first + TOGETHER]])


def _added(register: Register) -> Iterable[tuple[Level, Sequence[int]]]:
    return register.index.keeping.added.items()


def _together(paths: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(paths, TOGETHER)):
        yield batch
