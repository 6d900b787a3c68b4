"""Rows into the tables: patients, studies and series where they are new or another, and each file's instance.

What is told of a patient, study or series is what its latest instance says. Everything here happens on the one thread
that writes.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import bindparam, case, delete, exists, select, update
from sqlalchemy.dialects import postgresql, sqlite

from scpd.index.schema import instances, patients, pending, series, studies
from scpd.index.troubles import driver_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection, Dialect, Table
    from sqlalchemy.sql import ClauseElement

    from scpd.index.entry import Entry, Parent

_MOST_KNOWN = 8192
# A row that says the same again is written again after so long (seconds), since others may have written it meanwhile.
_LAPSE = 60.0
_INSERT = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class Arrival(NamedTuple):
    """A file as it is written down: its path below the store, its size in bytes, its time in Unix time."""

    path: str
    transfer_syntax: str
    size: int
    received: float
    digest: str
    calling: str
    entry: Entry


class _Known(NamedTuple):
    """The row of a patient, study or series as this process wrote it last, at ``written``.

    ``said`` is a hash of its attributes, which a peer may make long; ``received`` is the time of the latest instance.
    """

    id: int
    said: int
    above: int
    received: float
    written: float


class Prepared:
    """A statement whose SQL is made once, and given to the driver as it is: it is what each instance costs."""

    def __init__(self, statement: ClauseElement, dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        self._sql = compiled.string
        self._places: Sequence[str] | None = compiled.positiontup
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}
        self._dialect = dialect
        self._error: type[Exception] = dialect.loaded_dbapi.Error

    def run(self, connection: Connection, values: Mapping[str, Any]) -> Any:
        """Do it; the driver's cursor. Raises :class:`~sqlalchemy.exc.DBAPIError`."""
        given = {**self._fixed, **values} if self._fixed else values
        parameters = given if self._places is None else tuple(map(given.__getitem__, self._places))
        raw: Any = connection.connection.dbapi_connection
        try:
            return raw.execute(self._sql, parameters)
        except self._error as error:
            raise driver_error(error, self._dialect) from error

    def number(self, connection: Connection, values: Mapping[str, Any]) -> int | None:
        """The one number that it brings, where it brings one."""
        row = self.run(connection, values).fetchone()
        return None if row is None else int(row[0])


class Writing:
    """The statements of one database, and what it is known to hold."""

    def __init__(self, dialect: Dialect) -> None:
        insert = _INSERT[dialect.name]
        self._known: OrderedDict[tuple[str, object], _Known] = OrderedDict()
        self._parents = {
            table.name: Prepared(_latest(insert, table, unique), dialect)
            for table, unique in ((patients, ("key",)), (studies, ("uid",)), (series, ("study", "uid")))
        }
        self._found = {
            table.name: Prepared(
                select(table.c.id, table.c.received).where(*(table.c[name] == bindparam(name) for name in unique)),
                dialect,
            )
            for table, unique in ((patients, ("key",)), (studies, ("uid",)), (series, ("study", "uid")))
        }
        self._instance = Prepared(_instance(insert), dialect)
        self._pend = Prepared(
            insert(pending)
            .values({name: bindparam(name) for name in ("store", "path", "since")})
            .returning(pending.c.id),
            dialect,
        )
        self._settle = Prepared(delete(pending).where(pending.c.id == bindparam("number")), dialect)
        self._remove = Prepared(
            delete(instances).where(instances.c.store == bindparam("where"), instances.c.path == bindparam("which")),
            dialect,
        )

    def forget(self) -> None:
        """Nothing is known any more of what the database holds: somebody else may have changed it."""
        self._known.clear()

    def put(self, connection: Connection, store: int, arrival: Arrival) -> None:
        """The rows of a file, new or in place of what there was of this path."""
        entry, received = arrival.entry, arrival.received
        patient = self._parent(connection, "patients", entry.patient, {"key": entry.patient.key}, 0, received)
        study = self._parent(
            connection, "studies", entry.study, {"uid": entry.study.key, "patient": patient}, patient, received
        )
        owner = self._parent(connection, "series", entry.series, {"uid": entry.series.key, "study": study}, 0, received)
        self._instance.run(
            connection,
            {
                "series": owner,
                "uid": entry.uid,
                "sop_class": entry.sop_class,
                "number": entry.number,
                "store": store,
                "path": arrival.path,
                "transfer_syntax": arrival.transfer_syntax,
                "size": arrival.size,
                "digest": arrival.digest,
                "calling": arrival.calling.replace("\0", ""),  # which no database takes
                "received": received,
                "attributes": entry.attributes,
            },
        )

    def _parent(
        self, connection: Connection, table: str, row: Parent, names: Mapping[str, Any], above: int, received: float
    ) -> int:
        key = (table, tuple(names[name] for name in names if name != "patient"))
        known = self._known.get(key)
        if known is None or (received >= known.received and _is_news(known, row, above, received)):
            known = self._written(connection, table, row, names, above, received)
        elif received > known.received:
            known = known._replace(received=received)
        self._known[key] = known
        self._known.move_to_end(key)
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        return known.id

    def _written(
        self, connection: Connection, table: str, row: Parent, names: Mapping[str, Any], above: int, received: float
    ) -> _Known:
        values = {**names, **row.columns, "attributes": row.attributes, "received": received}
        number = self._parents[table].number(connection, values)
        if number is not None:
            return _Known(number, hash(row.attributes), above, received, received)
        number, younger = self._found[table].run(connection, names).fetchone()
        return _Known(int(number), 0, above, younger, float("-inf"))

    def pend(self, connection: Connection, store: int, path: str, since: float) -> int:
        """The number of a note that the rows of a path may not be what is on the disk."""
        return self._pend.number(connection, {"store": store, "path": path, "since": since}) or 0

    def settle(self, connection: Connection, number: int) -> None:
        """They are."""
        self._settle.run(connection, {"number": number})

    def remove(self, connection: Connection, store: int, path: str) -> bool:
        """The rows of a file that is not there; whether there were any."""
        return bool(self._remove.run(connection, {"where": store, "which": path}).rowcount)

    def prune(self, connection: Connection) -> None:
        """Away with series, studies and patients that hold nothing."""
        self.forget()
        for table, below in ((series, instances.c.series), (studies, series.c.study), (patients, studies.c.patient)):
            connection.execute(delete(table).where(~exists().where(below == table.c.id)))

    def move_pending(self, connection: Connection, numbers: Iterable[int], since: float) -> None:
        """Look at these again later."""
        connection.execute(update(pending).where(pending.c.id.in_(list(numbers))).values(since=since))


def _is_news(known: _Known, row: Parent, above: int, received: float) -> bool:
    return (known.said, known.above) != (hash(row.attributes), above) or received > known.written + _LAPSE


def _latest(insert: Any, table: Table, unique: tuple[str, ...]) -> ClauseElement:
    """A row, new or in place of an older one; nothing where what is there is younger."""
    statement = insert(table).values({name: bindparam(name) for name in table.c.keys() if name != "id"})  # noqa: SIM118
    changed = {name: statement.excluded[name] for name in table.c.keys() if name not in ("id", *unique)}  # noqa: SIM118
    result: ClauseElement = statement.on_conflict_do_update(
        index_elements=unique, set_=changed, where=table.c.received <= statement.excluded.received
    ).returning(table.c.id)
    return result


def _instance(insert: Any) -> ClauseElement:
    statement = insert(instances).values({name: bindparam(name) for name in instances.c.keys() if name != "id"})  # noqa: SIM118
    changed = {name: statement.excluded[name] for name in instances.c.keys() if name not in ("id", "store", "path")}  # noqa: SIM118
    # A file that is looked at again is not read to its end: what was known of its bytes holds while it has not changed.
    is_same = (instances.c.size == statement.excluded.size) & (instances.c.received == statement.excluded.received)
    changed["digest"] = case(
        ((statement.excluded.digest == "") & is_same, instances.c.digest), else_=statement.excluded.digest
    )
    result: ClauseElement = statement.on_conflict_do_update(index_elements=("store", "path"), set_=changed)
    return result
