"""An index made anew from the files, and files and rows compared.

The rows stay while they are made anew, so that queries go on; a rebuild that was interrupted goes on where it was. Many
processes may look at files, one writes.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import delete, select, update

from scpd.index.examining import Found, examine, write_down
from scpd.index.files import files
from scpd.index.register import Note
from scpd.index.schema import facts, instances, patients, pending, series, stores, studies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Connection

    from scpd.index.register import Register

    Looking = Callable[[Iterable[list[str]]], Iterator[list[Found]]]

_TOGETHER = 250


class Progress(NamedTuple):
    """How far it has come: files that were looked at, instances among them, and rows without a file."""

    files: int
    instances: int
    removed: int


class Difference(NamedTuple):
    """A path below a store, and what is wrong with it."""

    path: str
    what: str


class Rebuild:
    """Makes the rows of one store anew. ``is_wanted`` is asked before each batch: False ends it where it is."""

    def __init__(self, register: Register, is_wanted: Callable[[], bool] = lambda: True) -> None:
        self._register = register
        self._database = register.index.database
        self._is_wanted = is_wanted
        self._fact = f"rebuild {register.uid}"
        self._counts = [0, 0, 0]
        self._folder = ""
        self.unreadable: list[Difference] = []

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        return Progress(*self._counts)

    def is_underway(self) -> bool:
        """Whether one was begun and has not come to its end."""
        with self._database.reading() as connection:
            return connection.execute(select(facts.c.value).where(facts.c.name == self._fact)).scalar() is not None

    def run(self, looking: Looking | None = None, told: Callable[[Progress], None] = lambda _: None) -> bool:
        """Do it, from the beginning or where it was interrupted; whether it came to its end.

        Raises :class:`~scpd.errors.IndexUnavailable`.
        """
        after = self._begin()
        look = looking or self._looking
        for found in look(path for path in self._batches(after)):
            if not self._is_wanted():
                return False
            self._take(found)
            told(self.progress)
        self._counts[2] = self._remove_rows_without_files()
        self._database.write(self._end)
        return True

    def _begin(self) -> str:
        with self._database.reading() as connection:
            known = connection.execute(select(facts.c.value).where(facts.c.name == self._fact)).scalar()
        if known is not None:
            self._folder = str(json.loads(known)["after"])
            return self._folder
        self._database.write(self._start)
        return ""

    def _start(self, connection: Connection) -> None:
        connection.execute(facts.insert().values(name=self._fact, value=json.dumps({"after": ""})))
        # What the files say from here on is younger than all that is there.
        for table in (patients, studies, series):
            connection.execute(update(table).values(received=-1.0))
        self._register.index.writing.forget()

    def _end(self, connection: Connection) -> None:
        connection.execute(delete(facts).where(facts.c.name == self._fact))
        self._register.index.writing.prune(connection)

    def _batches(self, after: str) -> Iterator[list[str]]:
        for _, paths in files(self._register.directory, after):
            for first in range(0, len(paths), _TOGETHER):
                yield paths[first : first + _TOGETHER]

    def _looking(self, batches: Iterable[list[str]]) -> Iterator[list[Found]]:
        for paths in batches:
            yield [examine(self._register, Note(path)) for path in paths]

    def _take(self, found: Sequence[Found]) -> None:
        write_down(self._register, found)
        self._counts[0] += len(found)
        self._counts[1] += sum(one.arrival is not None for one in found)
        self.unreadable += [Difference(one.note.path, one.why) for one in found if one.why]
        folder = found[-1].note.path.rpartition("/")[0]
        if folder != self._folder:  # so the one before is done
            self._note(self._folder)
            self._folder = folder

    def _note(self, after: str) -> None:
        change = update(facts).where(facts.c.name == self._fact).values(value=json.dumps({"after": after}))
        self._database.write_later(lambda connection: connection.execute(change))

    def _remove_rows_without_files(self) -> int:
        removed = 0
        for paths in _rows_in_pieces(self._register):
            missing = [path for path in paths if not self._register.is_there(path)]
            if missing:
                write_down(self._register, [Found(Note(path), None) for path in missing])
                removed += len(missing)
        return removed


def differences(register: Register) -> Iterator[Difference]:
    """Files without rows, rows without files, and rows that are another file's. Changes nothing."""
    for _, paths in files(register.directory):
        for first in range(0, len(paths), _TOGETHER):
            yield from _without_rows(register, paths[first : first + _TOGETHER])
    for paths in _rows_in_pieces(register):
        yield from (Difference(path, "a row without a file") for path in paths if not register.is_there(path))


def _without_rows(register: Register, paths: Sequence[str]) -> Iterator[Difference]:
    statement = select(instances.c.path, instances.c.size, instances.c.received)
    with register.index.database.reading() as connection:
        rows = {
            path: (size, received)
            for path, size, received in connection.execute(
                statement.join(stores).where(stores.c.uid == register.uid, instances.c.path.in_(paths))
            )
        }
    for path in paths:
        found = examine(register, Note(path))
        if found.why:
            yield Difference(path, f"a file that is no instance: {found.why}")
        elif found.arrival and path not in rows:
            yield Difference(path, "a file without a row")
        elif found.arrival and rows[path] != (found.arrival.size, found.arrival.received):
            yield Difference(path, "a row of another file than this one")


def _rows_in_pieces(register: Register) -> Iterator[list[str]]:
    """The paths of all rows of a store, some at a time, and none that is about to get its file."""
    last = 0
    waits = select(pending.c.id).where(pending.c.store == instances.c.store, pending.c.path == instances.c.path)
    statement = (
        select(instances.c.id, instances.c.path)
        .join(stores)
        .where(stores.c.uid == register.uid, ~waits.correlate(instances).exists())
        .order_by(instances.c.id)
        .limit(_TOGETHER)
    )
    while True:
        with register.index.database.reading() as connection:
            rows = list(islice(connection.execute(statement.where(instances.c.id > last)), _TOGETHER))
        if not rows:
            return
        last = rows[-1][0]
        yield [path for _, path in rows]
