"""Files as they are → their rows, in batches: what was left half-done, what is deferred, and all there is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select

from scpd.errors import IndexUnavailable, UnreadableDataSet
from scpd.index.files import Looker, is_nameable, status
from scpd.index.places import MARKER
from scpd.index.schema import pending

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from scpd.index.register import Note, Register
    from scpd.index.writing import Arrival


class Found(NamedTuple):
    """What a file is: what to write down of it; nothing where there is none, or why it is no instance.

    ``stays`` says that it could not be read, so that what was written down of it may still be right.
    """

    note: Note
    arrival: Arrival | None
    why: str = ""
    stays: bool = False

    @property
    def is_gone(self) -> bool:
        """Whether there is nothing of this name."""
        return self.arrival is None and not self.why


def examine(register: Register, note: Note) -> Found:
    """Look at a file; what is known of it already is taken."""
    return looked(Looker(register.index.scribe, register.directory), note)


def looked(looker: Looker, note: Note) -> Found:
    """The same for many files of a store."""
    try:
        arrival = note.make() if note.make else looker.look(note.path)
    except UnreadableDataSet as error:
        return Found(note, None, str(error))
    except OSError as error:
        return Found(note, None, error.strerror or str(error), stays=True)
    return Found(note, arrival)


def write_down(register: Register, found: Sequence[Found]) -> None:
    """Bring the rows to what was found. Raises :class:`~scpd.errors.IndexUnavailable`."""

    def write(connection: Connection) -> None:
        if bring(connection, register, found):
            register.index.writing.prune(connection)

    if found:
        check_store(register, found)
        register.index.database.write(write)


def bring(connection: Connection, register: Register, found: Sequence[Found]) -> int:
    """The same in a transaction that is open; how many rows went, and perhaps what is above them is empty now."""
    index = register.index
    place = index.places.number(connection, register.uid)
    statement = select(pending.c.id, pending.c.path).where(pending.c.store == place)
    # Whoever is about to give a file its name knows better what it will be.
    expected: dict[str, set[int]] = {}
    for number, path in connection.execute(statement):
        expected.setdefault(path, set()).add(number)
    removed = 0
    for one in found:
        note = one.note
        if one.stays or not is_nameable(note.path):
            continue
        if not expected.get(note.path, set()) - {note.number}:
            removed += _bring(connection, register, place, one)
        if note.number:
            index.writing.settle(connection, note.number)
    return removed


def _bring(connection: Connection, register: Register, place: int, found: Found) -> bool:
    """One file's rows; whether they went."""
    path, arrival = found.note.path, found.arrival
    try:
        now = status(f"{register.directory}/{path}")
    except OSError:  # nobody knows
        return False
    if now is None:
        return _is_mounted(register) and register.index.writing.remove(connection, place, path)
    if arrival is None:
        return bool(found.why) and register.index.writing.remove(connection, place, path)
    if (now.st_size, now.st_mtime) == (arrival.size, arrival.received):  # else another has come meanwhile
        register.index.writing.put(connection, place, arrival)
    return False


def check_store(register: Register, found: Sequence[Found]) -> None:
    """That a file is not there says nothing where its store is not: raises :class:`~scpd.errors.IndexUnavailable`."""
    if any(one.is_gone for one in found) and not _is_mounted(register):
        raise IndexUnavailable(f"{register.directory} is not the store that was opened: moved, or its disk not mounted")


def _is_mounted(register: Register) -> bool:
    return os.path.lexists(f"{register.directory}/{MARKER}")
