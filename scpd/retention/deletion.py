"""One study goes: its files and their rows, some at a time, so that after a crash at any moment the two agree.

What goes is first noted as pending; whoever finds such a note after a crash looks at the file, and brings the row to
it. A row goes after its file, and only where it still is that file's: what has arrived meanwhile keeps its own.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import delete, exists, func, select

from scpd.index.examining import examine, write_down
from scpd.index.register import Note
from scpd.index.schema import instances, patients, pending, series, studies
from scpd.retention.place import Fate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from scpd.index.register import Register
    from scpd.retention.candidates import File
    from scpd.retention.place import Place
    from scpd.retention.rules import Study

# Files that go together: two short transactions for so many.
TOGETHER = 100


class Deleted(NamedTuple):
    """What went of a study, in files and bytes, by SOP Class UID; ``left`` files stayed, and ``why`` one could not go.

    What has changed or come meanwhile stays without any reason.
    """

    instances: int
    size: int
    sop_classes: Counter[str]
    left: int
    why: str


class Deletion:
    """Deletes one study of the store of ``register``, in which ``files`` are all that it has."""

    def __init__(self, register: Register, study: Study, files: Sequence[File]) -> None:
        self._register = register
        self._study = study
        self._files = [file for file in files if file.is_here]
        self._gone: list[File] = []
        self._missing = 0
        self._why = ""

    @property
    def result(self) -> Deleted:
        """What went so far."""
        sizes = sum(file.size for file in self._gone)
        classes = Counter(file.sop_class_uid for file in self._gone)
        left = len(self._files) - len(self._gone) - self._missing
        return Deleted(len(self._gone), sizes, classes, left, self._why)

    def run(self, place: Place, go_on: Callable[[], bool]) -> None:
        """Do it, as long as ``go_on`` says so between some files and the next.

        Raises :class:`~scpd.errors.IndexUnavailable`; what was noted by then is looked at later.
        """
        try:
            for first in range(0, len(self._files), TOGETHER):
                if (first and not go_on()) or not self._take(place, self._files[first : first + TOGETHER]):
                    break
        finally:
            place.tidy(file.path for file in self._gone)

    def _take(self, place: Place, files: Sequence[File]) -> bool:
        """Some of the files; whether to go on."""
        notes = self._register.index.database.write(lambda connection: self._noted(connection, files))
        if notes is None:
            return False
        absent: list[File] = []
        try:
            for file in files:
                if file.id in notes and self._is_absent(place, file):
                    absent.append(file)  # noqa: PERF401 those before one that fails are away
        except OSError as error:
            self._why = error.strerror or str(error)
        try:
            place.settle(file.path for file in absent)
        except OSError as error:  # they may be back after a power cut, so their rows are left to a look at them
            self._why, absent = error.strerror or str(error), []
        self._forget(absent, notes)
        return not self._why

    def _is_absent(self, place: Place, file: File) -> bool:
        """Whether a file is away by now."""
        fate = place.take_away(file.path, file.size, file.received)
        if fate is Fate.GONE:
            self._gone.append(file)
        self._missing += fate is Fate.MISSING
        return fate is not Fate.ANOTHER

    # -- on the thread that writes

    def _noted(self, connection: Connection, files: Sequence[File]) -> dict[int, int] | None:
        """Notes for files, by the number of the row; None where something has come, and the study is no old one now."""
        if self._has_grown(connection):
            return None
        index = self._register.index
        store = index.places.number(connection, self._register.uid)
        paths = [file.path for file in files]
        statement = select(pending.c.path).where(pending.c.store == store, pending.c.path.in_(paths))
        expected = set(connection.scalars(statement))
        now = time.time()
        return {
            file.id: index.writing.pend(connection, store, file.path, now)
            for file in files
            if file.path not in expected  # else somebody is about to give a file this name
        }

    def _has_grown(self, connection: Connection) -> bool:
        joined = instances.join(series, instances.c.series == series.c.id)
        latest = select(func.max(instances.c.received)).select_from(joined).where(series.c.study == self._study.id)
        found = connection.execute(latest).scalar()
        return found is not None and found > self._study.last

    def _forget(self, absent: Sequence[File], notes: dict[int, int]) -> None:
        """Away with the rows of what is gone; what stays, or has come meanwhile, gets rows as it is."""
        register = self._register
        paths = {file.id: file.path for file in self._files}
        gone = {file.id for file in absent}
        again = register.index.database.write(lambda connection: self._remove(connection, absent, notes))
        left = [Note(paths[row], number) for row, number in notes.items() if row not in gone or row in again]
        write_down(register, [examine(register, note) for note in left])

    def _remove(self, connection: Connection, absent: Sequence[File], notes: dict[int, int]) -> set[int]:
        """The rows by whose paths there is something again, of which whoever wrote it down may have heeded our note."""
        writing = self._register.index.writing
        again: set[int] = set()
        for file in absent:
            same = instances.c.size == file.size, instances.c.received == file.received
            connection.execute(delete(instances).where(instances.c.id == file.id, *same))
            if self._register.is_there(file.path):
                again.add(file.id)
            else:
                writing.settle(connection, notes[file.id])
        writing.forget()
        _prune(connection, self._study.id)
        return again


def _prune(connection: Connection, study: int) -> None:
    """Away with series of a study that hold nothing, with the study where it has none left, and so its patient."""
    patient = connection.execute(select(studies.c.patient).where(studies.c.id == study)).scalar()
    for table, chosen, below in (
        (series, series.c.study == study, instances.c.series),
        (studies, studies.c.id == study, series.c.study),
        (patients, patients.c.id == patient, studies.c.patient),
    ):
        statement: Any = delete(table).where(chosen, ~exists().where(below == table.c.id))
        connection.execute(statement)
