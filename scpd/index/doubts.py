"""What was written down of a file that never got its name, and may be told of its patient, study and series as well.

These say what their latest instance says; where that has come to nothing, the latest of the others says it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from scpd.index.schema import instances, patients, pending, series, studies

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection

    from scpd.index.register import Note, Register


def forget(connection: Connection, register: Register, notes: Sequence[Note]) -> set[str]:
    """Have what is above the rows of these files said anew; the paths of the files that say it, with those.

    Of several notes for one path only the last one stays: the others would be waited for.
    """
    index = register.index
    place = index.places.number(connection, register.uid)
    index.writing.forget()
    last = {note.path: note.number for note in notes}
    for note in notes:
        if note.number != last[note.path]:
            index.writing.settle(connection, note.number)
    return {path for one in last for path in (one, *_forget(connection, place, one))}


def _forget(connection: Connection, place: int, path: str) -> Iterator[str]:
    joined: Any = instances.join(series, instances.c.series == series.c.id).join(
        studies, series.c.study == studies.c.id
    )
    above = select(series.c.id, studies.c.id, studies.c.patient).select_from(joined)
    found = connection.execute(above.where(instances.c.store == place, instances.c.path == path)).one_or_none()
    if found is None:
        return
    # Another one in doubt may come to nothing as well, and then nobody would say what the study is.
    for table, column, number in zip(
        (series, studies, patients), (series.c.id, studies.c.id, studies.c.patient), found, strict=True
    ):
        connection.execute(update(table).where(table.c.id == number).values(received=-1.0))
        others = select(instances.c.path).select_from(joined).where(column == number, instances.c.store == place)
        latest = others.where(~_is_doubtful()).order_by(instances.c.received.desc()).limit(1)
        yield from connection.execute(latest).scalars()


def _is_doubtful() -> ColumnElement[bool]:
    """Of a row: that its file may not be there, or may be another."""
    noted = select(pending.c.id).where(pending.c.store == instances.c.store, pending.c.path == instances.c.path)
    return noted.correlate(instances).exists()
