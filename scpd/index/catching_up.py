"""Rows that are behind the files, brought to what the files are: after a crash, after Success, after a failure.

Whatever somebody was about to do is looked at on the disk. Waits for the database, and says when it does not answer.
"""

from __future__ import annotations

import time
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from sqlalchemy import or_, select

from scpd.index.doubts import forget
from scpd.index.examining import examine, write_down
from scpd.index.files import files, status
from scpd.index.register import Note
from scpd.index.schema import pending, stores
from scpd.index.troubles import RefusedError
from scpd.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import ColumnElement, Connection

    from scpd.index.database import Database
    from scpd.index.register import Register

# Files that are written down together.
_TOGETHER = 250
# A file that was about to get its name so long ago has it, or never will (seconds).
_OVERDUE = 600.0
# How far two clocks of one machine may be apart, that of its file systems and its own (seconds).
_APART = 1.0


class CatchingUp:
    """Looks at files of the stores of one index. All of it raises :class:`~scpd.errors.IndexUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._began = time.time()
        self._log = logger("index")

    def follow(self, register: Register) -> None:
        """Write down what waits."""
        self._clear_up(register)
        while notes := register.take(_TOGETHER):
            try:
                self._write_down(register, notes)
            except BaseException:
                register.give_back(notes)
                raise
            register.done(notes)

    def _clear_up(self, register: Register) -> None:
        """What may have come to the database, though whoever stored it was told that it had not."""
        if paths := register.take_unsure():
            try:
                # On the thread that writes, after all that was begun before.
                noted = self._database.write(partial(_noted, register.uid))
                self.settle(register, (note for note in noted if note.path in paths))
            except BaseException:
                register.give_back_unsure(paths)
                raise

    def settle(self, register: Register, notes: Iterable[Note]) -> None:
        """Bring the rows of these to what the files are."""
        remaining = iter(notes)
        while some := list(islice(remaining, _TOGETHER)):
            self._write_down(register, some)

    def _write_down(self, register: Register, notes: list[Note]) -> None:
        doubtful = [note for note in notes if note.number]
        more: list[Note] = []
        try:
            if doubtful:  # it was written down before it was there
                found = self._database.write(partial(forget, register=register, notes=doubtful))
                more = [Note(path) for path in found - {note.path for note in notes}]
                notes = list({(note.path, bool(note.number)): note for note in notes}.values())
            write_down(register, [examine(register, note) for note in (*notes, *more)])
        except RefusedError as error:
            if len(notes) > 1:  # whoever is at fault is to be alone with it
                for note in notes:
                    self._write_down(register, [note])
                return
            self._log.error(
                "a file cannot be indexed", directory=register.directory, path=notes[0].path, why=str(error)
            )

    def settle_left(self, register: Register) -> None:
        """What a process that is no more was about to do; one whose clock was ahead seems to have yet to do it."""
        now = time.time()
        before, after = (self._began, now + _APART) if register.is_alone else (now - _OVERDUE, now + _OVERDUE)
        self.settle(register, self._pending(register, or_(pending.c.since < before, pending.c.since > after)))

    def sweep(self, register: Register) -> None:
        """What should have come to its end long ago, and did not: here, or in a process that is no more."""
        self.settle(register, self._pending(register, pending.c.since < time.time() - _OVERDUE))
        if self.take_over(register):
            register.is_recovered = False

    def hear_late(self, register: Register, since: float) -> None:
        """What was stored since some time, in Unix time, by whom nobody heard."""
        self.settle(register, _changed(register, since))

    def _pending(self, register: Register, condition: ColumnElement[bool]) -> list[Note]:
        statement = select(pending.c.path, pending.c.id).join(stores).where(stores.c.uid == register.uid, condition)
        with self._database.reading() as connection:
            return [Note(path, number) for path, number in connection.execute(statement)]

    def take_over(self, register: Register) -> bool:
        """What processes that are no more have not written down; whether there may be more of it."""
        left, is_cut = register.left()
        self.settle(register, (Note(path) for path in left))
        if not is_cut:
            register.left_is_settled()
        return is_cut


def _noted(uid: str, connection: Connection) -> list[Note]:
    statement = select(pending.c.path, pending.c.id).join(stores).where(stores.c.uid == uid)
    return [Note(path, number) for path, number in connection.execute(statement)]


def _changed(register: Register, since: float) -> Iterator[Note]:
    """The files that have got their names since some time, in Unix time."""
    for path in files(register.directory):
        found = status(f"{register.directory}/{path}")
        if found and found.st_ctime > since - _APART:
            yield Note(path)
