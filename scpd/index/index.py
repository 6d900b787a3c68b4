"""An index: what is held, asked and written down (PS3.4 C.4.1; the files themselves are the storage room's).

An instance is written down before its file gets its name, with a note that this has yet to happen; the note goes once
it has. So a crash leaves no file that nobody knows, and no row without a file that is not looked at again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import make_url, select

from scpd.errors import IndexUnavailable
from scpd.index import additions
from scpd.index.attributes import PATIENT_ID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, Level
from scpd.index.computed import UPWARDS, is_latest
from scpd.index.database import Database
from scpd.index.entry import Scribe, bounded
from scpd.index.places import Places
from scpd.index.query import Held
from scpd.index.schema import SEVERAL, instances, patients, series, stores, studies
from scpd.index.select import Selection
from scpd.index.writing import Writing

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from sqlalchemy import URL, ColumnElement, Connection, Select

    from scpd.index.attributes import Attributes, Keeping
    from scpd.index.query import Query
    from scpd.index.writing import Arrival

# Rows that come at a time, and values in one question.
_ROWS = 200
_VALUES = 500
# What a large table may take to be prepared for an attribute that is new (seconds).
_PREPARING = 3600.0
_KEYS = {
    PATIENT_ID: patients.c.patient_id,
    STUDY_INSTANCE_UID: studies.c.uid,
    SERIES_INSTANCE_UID: series.c.uid,
    SOP_INSTANCE_UID: instances.c.uid,
}


class Index:
    """An index by the URL of its database. All methods may be called from any thread.

    Nothing is opened before :meth:`open`. All that meets the database raises
    :class:`~scpd.errors.IndexUnavailable`.
    """

    def __init__(self, url: str, keeping: Keeping) -> None:
        self.keeping = keeping
        self.scribe = Scribe(keeping)
        self.places = Places()
        # Why nothing is told, though the database is there: it is being made anew.
        self.unfinished = ""
        self.database = Database(_with_driver(url), self._failed)
        self.writing = Writing(self.database.dialect)

    def open(self) -> bool:
        """Open the database; whether it was made anew, and knows nothing of what is held."""
        is_new = self.database.open()
        with self.database.reading() as connection:
            is_prepared = additions.is_prepared(connection, self.keeping)
        if not is_prepared:
            self.database.write(lambda connection: additions.prepare(connection, self.keeping), _PREPARING)
        return is_new

    def stale_attributes(self) -> list[str]:
        """The keywords of attributes that are kept now, and were not when some of what is held was written down."""
        with self.database.reading() as connection:
            return additions.missing(connection, self.keeping)

    def made_anew(self, connection: Connection, store: str) -> None:
        """Note that all of a store was written down with what is kept now."""
        additions.note(connection, self.keeping, store)

    def trouble(self) -> str:
        """Why nothing can be asked or written, or nothing; waits for nothing."""
        trouble = self.database.trouble()
        return str(trouble) if trouble else self.unfinished

    def close(self) -> None:
        """Bring to the database what waits."""
        self.database.close()

    # -- asking

    def find(self, query: Query) -> Generator[Attributes, None, None]:
        """Each match, as it comes; to be closed by whoever does not take all."""
        self._check()
        selection = Selection(query, self.keeping)
        with self.database.reading() as connection:
            for row in connection.execution_options(yield_per=_ROWS).execute(selection.statement):
                told = selection.match(row)
                if told is not None:
                    yield told

    def holdings(self, level: Level, keys: Mapping[int, Sequence[str]]) -> list[Held]:
        """Every instance of the entities with these unique keys, in the order of studies, series and instances."""
        self._check()
        statement = _of_instances().order_by(studies.c.id, series.c.id, instances.c.number, instances.c.id)
        tags = [tag for tag in _KEYS if tag in keys]
        held: list[Held] = []
        with self.database.reading() as connection:
            for some in _in_pieces(level, tags, keys):
                asked = (_is_one_of(tag, some[tag]) for tag in tags)
                held += self._held(connection, statement.where(*asked))
        return list({one.sop_instance_uid: one for one in held}.values())

    def held(self, sop_instance_uids: Sequence[str]) -> dict[str, Held]:
        """The instances with these UIDs, as far as there are any."""
        return {one.sop_instance_uid: one for one in self.holdings(Level.IMAGE, {SOP_INSTANCE_UID: sop_instance_uids})}

    def _held(self, connection: Connection, statement: Select[Any]) -> list[Held]:
        return [
            Held(sop_class, uid, syntax, self.places.path(place, directory, path), size, digest, study, its_series)
            for sop_class, uid, syntax, place, directory, path, size, digest, study, its_series in connection.execute(
                statement
            )
        ]

    def _check(self) -> None:
        if self.unfinished:
            raise IndexUnavailable(self.unfinished)

    # -- writing

    def expect(self, store: str, arrival: Arrival) -> Callable[[], int]:
        """Write a file down that is about to get its name, while the caller does something else.

        What is returned waits until it is written, and returns the number of the note for :meth:`settle`.
        """
        since = time.time()

        def write(connection: Connection) -> int:
            place = self.places.number(connection, store)
            self.writing.put(connection, place, arrival)
            return self.writing.pend(connection, place, arrival.path, since)

        return self.database.begin(write)

    def settle(self, number: int) -> None:
        """It has got its name, or was looked at; soon in the database."""
        self.database.write_later(lambda connection: self.writing.settle(connection, number))

    def _failed(self) -> None:
        """A transaction has failed: what was known of the database may not be so."""
        self.writing.forget()
        self.places.forget()


def _with_driver(url: str) -> URL:
    """SQLAlchemy's name of a database; PostgreSQL by psycopg."""
    made = make_url(url)
    return made.set(drivername="postgresql+psycopg") if made.drivername in ("postgresql", "postgres") else made


def _is_one_of(tag: int, values: Sequence[str]) -> ColumnElement[bool]:
    """That a unique key has one of the values as a whole."""
    found: ColumnElement[bool] = _KEYS[tag].in_([bounded(value) for value in values if SEVERAL not in value])
    whole = [value for value in values if SEVERAL in value]
    if not whole or tag != PATIENT_ID:
        return found
    is_whole: ColumnElement[bool] = patients.c.attributes[f"{tag:08X}"].as_string().in_(whole)
    return found | ((_KEYS[tag] == SEVERAL) & is_whole)


def _of_instances() -> Select[Any]:
    """What is told of instances that are held, the latest file of each."""
    joined: Any = instances.join(stores, instances.c.store == stores.c.id)
    for below, above in UPWARDS:
        joined = joined.join(above.table, below == above)
    columns = (instances.c.sop_class, instances.c.uid, instances.c.transfer_syntax, stores.c.uid, stores.c.directory)
    files = (instances.c.path, instances.c.size, instances.c.digest, studies.c.uid, series.c.uid)
    return select(*columns, *files).select_from(joined).where(is_latest())


def _in_pieces(
    level: Level, tags: Sequence[int], keys: Mapping[int, Sequence[str]]
) -> Iterator[Mapping[int, Sequence[str]]]:
    """Lists of values that are not too long for one question; only that of the lowest level is ever long."""
    longest = max(tags, key=lambda tag: len(keys[tag]), default=None)
    if longest is None:
        raise LookupError(f"no unique key for {level.name}")
    values = list(dict.fromkeys(keys[longest]))
    for first in range(0, len(values), _VALUES):
        yield {**keys, longest: values[first : first + _VALUES]}
