"""Files as they are → their rows, in batches: what was left half-done, what is deferred, and all there is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select

from scpd.errors import UnreadableDataSet
from scpd.index.files import look
from scpd.index.schema import pending

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from scpd.index.register import Note, Register
    from scpd.index.writing import Arrival


class Found(NamedTuple):
    """What a file is: what to write down of it; nothing where there is none, or why it is no instance."""

    note: Note
    arrival: Arrival | None
    why: str = ""


def examine(register: Register, note: Note) -> Found:
    """Look at a file; what is known of it already is taken."""
    try:
        arrival = note.make() if note.make else look(register.index.scribe, register.directory, note.path)
    except UnreadableDataSet as error:
        return Found(note, None, str(error))
    except OSError as error:
        return Found(note, None, error.strerror or str(error))
    return Found(note, arrival)


def write_down(register: Register, found: Sequence[Found]) -> None:
    """Bring the rows to what was found. Raises :class:`~scpd.errors.IndexUnavailable`."""
    if found:
        register.index.database.write(lambda connection: _write(connection, register, found))


def _write(connection: Connection, register: Register, found: Sequence[Found]) -> None:
    index = register.index
    place = index.places.number(connection, register.uid)
    statement = select(pending.c.id, pending.c.path).where(pending.c.store == place)
    # Whoever is about to give a file its name knows better what it will be.
    expected: dict[str, set[int]] = {}
    for number, path in connection.execute(statement):
        expected.setdefault(path, set()).add(number)
    changed = False
    for one in found:
        note = one.note
        if not expected.get(note.path, set()) - {note.number}:
            changed = _bring(connection, register, place, one) or changed
        if note.number:
            index.writing.settle(connection, note.number)
    if changed:
        index.writing.prune(connection)


def _bring(connection: Connection, register: Register, place: int, found: Found) -> bool:
    """One file's rows; whether some went."""
    path, arrival = found.note.path, found.arrival
    writing = register.index.writing
    if arrival is None:
        if register.is_there(path) and not found.why:
            return False
        return writing.remove(connection, place, path)
    try:
        status = os.lstat(f"{register.directory}/{path}")
    except OSError:  # it went meanwhile
        return writing.remove(connection, place, path)
    if (status.st_size, status.st_mtime) == (arrival.size, arrival.received):  # else another has come meanwhile
        writing.put(connection, place, arrival)
    return False
