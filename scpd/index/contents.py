"""What an index holds, told to whoever keeps it: how much of each store, and which studies. Nothing is changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import distinct, func, inspect, select, text

from scpd.errors import IndexUnavailable
from scpd.index.attributes import PATIENT_ID, PATIENT_NAME
from scpd.index.entry import STUDY_DATE
from scpd.index.migrations import HEAD
from scpd.index.schema import instances, patients, series, stores, studies

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from sqlalchemy import Row

    from scpd.index.index import Index

_ROWS = 200


class StoreContents(NamedTuple):
    """A store by its directory, as it was named last, and what of it is written down; ``size`` in bytes."""

    directory: str
    patients: int
    studies: int
    series: int
    instances: int
    size: int


class StudyContents(NamedTuple):
    """A study; ``size`` in bytes, ``received`` when its latest instance came, in Unix time."""

    study_instance_uid: str
    patient_id: str
    patient_name: str
    date: str
    modalities: list[str]
    instances: int
    size: int
    received: float


def check(index: Index) -> None:
    """Raise :class:`IndexUnavailable` where the database is not there, or of another version; nothing is made."""
    database = index.database
    if database.is_sqlite and not Path(database.file).is_file():
        raise IndexUnavailable("it is not there yet; scpd run and scpd index rebuild make it")
    with database.reading() as connection:
        known = "alembic_version" in inspect(connection).get_table_names()
        version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar() if known else None
    if version is None:
        raise IndexUnavailable("it has no tables yet; scpd run and scpd index rebuild make them")
    if version != HEAD:
        raise IndexUnavailable(
            f"its tables are those of {'an earlier' if version < HEAD else 'a later'} version of scpd; "
            f"scpd run and scpd index rebuild {'bring them up to date' if version < HEAD else 'need that version'}"
        )


def by_store(index: Index) -> list[StoreContents]:
    """How much of each store there is, those of others that share the database included."""
    counts = (func.count(distinct(column)) for column in (studies.c.patient, studies.c.id, series.c.id))
    joined = stores.join(instances, isouter=True).join(series, isouter=True).join(studies, isouter=True)
    statement = (
        select(stores.c.directory, *counts, func.count(instances.c.id), func.coalesce(func.sum(instances.c.size), 0))
        .select_from(joined)
        .group_by(stores.c.id, stores.c.directory)
        .order_by(stores.c.directory)
    )
    with index.database.reading() as connection:
        return [StoreContents(directory, *map(int, rest)) for directory, *rest in connection.execute(statement)]


def latest_studies(index: Index, most: int) -> Iterator[StudyContents]:
    """The studies whose instances came last, the latest first: no more than ``most``."""
    received = func.max(instances.c.received)
    counted: Any = (
        select(series.c.study, func.count().label("count"), func.sum(instances.c.size).label("size"))
        .add_columns(received.label("received"))
        .join(series, instances.c.series == series.c.id)
        .group_by(series.c.study)
        .order_by(received.desc(), series.c.study)
        .limit(most)
        .subquery("counted")
    )
    of_one = select(series.c.modality).where(series.c.study == studies.c.id, series.c.modality != "")
    found = of_one.correlate(studies).distinct().subquery("found")
    modalities = select(func.aggregate_strings(found.c.modality, "\\")).scalar_subquery()
    statement = (
        select(studies.c.uid, patients.c.attributes, studies.c.attributes, modalities)
        .add_columns(counted.c.count, counted.c.size, counted.c.received)
        .join(counted, counted.c.study == studies.c.id)
        .join(patients, studies.c.patient == patients.c.id)
        .order_by(counted.c.received.desc(), studies.c.id)
    )
    with index.database.reading() as connection:
        yield from map(_told, connection.execution_options(yield_per=_ROWS).execute(statement))


def _told(row: Row[Any]) -> StudyContents:
    uid, patient, study, modalities, count, size, received = tuple(row)
    return StudyContents(
        uid,
        _value(patient, PATIENT_ID),
        _value(patient, PATIENT_NAME),
        _value(study, STUDY_DATE),
        sorted((modalities or "").split("\\")) if modalities else [],
        int(count),
        int(size),
        float(received),
    )


def _value(attributes: Mapping[str, object], tag: int) -> str:
    return str(attributes.get(f"{tag:08X}", ""))
