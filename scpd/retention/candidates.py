"""The studies of one store, the oldest first, and what is to be known of each: SQL over the tables of an index.

A study may be spread over several stores: its age and its callers are those of all of it, its files those of this one.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import and_, case, func, or_, select

from scpd.index.attributes import PATIENT_ID, PATIENT_NAME
from scpd.index.entry import ACCESSION_NUMBER
from scpd.index.schema import instances, patients, series, stores, studies
from scpd.retention.rules import Study

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Select

    from scpd.index.database import Database

# How many studies are named at a time, and looked at together.
_NAMED = 10_000
_TOGETHER = 100


class File(NamedTuple):
    """One file of a study, as its row has it: ``path`` below the store, ``size`` in bytes, ``received`` in Unix time.

    ``is_here`` says that it lies in this store.
    """

    id: int
    sop_instance_uid: str
    sop_class_uid: str
    path: str
    size: int
    received: float
    is_here: bool


class About(NamedTuple):
    """Whose study it is, for the audit trail."""

    patient_id: str
    patient_name: str
    accession: str


class _Name(NamedTuple):
    """A study by number and UID, and a time before which its last instance did not come."""

    received: float
    id: int
    uid: str


class Candidates:
    """Asks the index in ``database`` for the studies of the store with the marker ``store``.

    Everything raises :class:`~scpd.errors.IndexUnavailable`.
    """

    def __init__(self, database: Database, store: str) -> None:
        self._database = database
        self._store = store

    def oldest(self, until: float) -> Iterator[Study]:
        """The studies whose last instance came by ``until`` (Unix time), in this order."""
        waiting: list[tuple[float, Study]] = []
        after: _Name | None = None
        while names := self._named(until, after):
            for first in range(0, len(names), _TOGETHER):
                some = names[first : first + _TOGETHER]
                # None of those that are yet to be looked at is older than this.
                while waiting and waiting[0][0] < some[0].received:
                    yield heappop(waiting)[1]
                for study in self._looked_at(some):
                    if study.last <= until:
                        heappush(waiting, (study.last, study))
            after = names[-1]
        while waiting:
            yield heappop(waiting)[1]

    def files(self, study: int) -> list[File]:
        """All files of a study, those in one folder together."""
        statement = (
            select(
                *(instances.c.id, instances.c.uid, instances.c.sop_class, instances.c.path),
                *(instances.c.size, instances.c.received, stores.c.uid),
            )
            .select_from(_joined().join(stores, instances.c.store == stores.c.id))
            .where(series.c.study == study)
            .order_by(instances.c.path)
        )
        with self._database.reading() as connection:
            return [File(*row[:6], is_here=row[6] == self._store) for row in connection.execute(statement)]

    def about(self, study: int) -> About:
        """Whose it is, as its last instance has it."""
        statement = (
            select(patients.c.attributes, studies.c.attributes)
            .select_from(studies.join(patients, studies.c.patient == patients.c.id))
            .where(studies.c.id == study)
        )
        with self._database.reading() as connection:
            row = connection.execute(statement).first()
        patient, its = (row[0], row[1]) if row else ({}, {})
        return About(_text(patient, PATIENT_ID), _text(patient, PATIENT_NAME), _text(its, ACCESSION_NUMBER))

    def _named(self, until: float, after: _Name | None) -> list[_Name]:
        """The next studies, by when one of their last instances came, which is not always the last one."""
        columns = studies.c.received, studies.c.id
        statement = select(*columns, studies.c.uid).where(studies.c.received <= until).order_by(*columns).limit(_NAMED)
        if after:
            same = and_(studies.c.received == after.received, studies.c.id > after.id)
            statement = statement.where(or_(studies.c.received > after.received, same))
        with self._database.reading() as connection:
            return [_Name(*row) for row in connection.execute(statement)]

    def _looked_at(self, names: Sequence[_Name]) -> Iterator[Study]:
        """Those that have files in this store."""
        found: dict[int, list[Any]] = {}
        with self._database.reading() as connection:
            for row in connection.execute(_sums([name.id for name in names], self._store)):
                found.setdefault(row[0], []).append(row)
        for name in names:
            rows = found.get(name.id, ())
            count = int(sum(row[3] for row in rows))
            if count:
                last = max(name.received, *(row[2] for row in rows))
                callings = frozenset(row[1] for row in rows)
                yield Study(name.id, name.uid, last, count, int(sum(row[4] for row in rows)), callings)


def _joined() -> Any:
    return instances.join(series, instances.c.series == series.c.id)


def _sums(numbers: Sequence[int], store: str) -> Select[Any]:
    """Of each study and each of its callers: when the last instance came, and what there is in this store."""
    is_here = stores.c.uid == store
    return (
        select(
            *(series.c.study, instances.c.calling, func.max(instances.c.received)),
            *(func.sum(case((is_here, 1), else_=0)), func.sum(case((is_here, instances.c.size), else_=0))),
        )
        .select_from(_joined().join(stores, instances.c.store == stores.c.id))
        .where(series.c.study.in_(numbers))
        .group_by(series.c.study, instances.c.calling)
    )


def _text(attributes: Mapping[str, object], tag: int) -> str:
    value = attributes.get(f"{tag:08X}", "")
    return value if isinstance(value, str) else ""
