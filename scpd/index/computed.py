"""What hangs on what: the tables of the levels, whether there is a file, and what is counted or gathered below."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, distinct, func, or_, select

from scpd.index.attributes import (
    AVAILABLE_TRANSFER_SYNTAX,
    MODALITIES_IN_STUDY,
    NUMBERS_RELATED,
    SOP_CLASSES_IN_STUDY,
    Level,
)
from scpd.index.schema import instances, patients, series, studies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement, Select, Table

TABLES: Mapping[Level, Table] = {
    Level.PATIENT: patients,
    Level.STUDY: studies,
    Level.SERIES: series,
    Level.IMAGE: instances,
}
UPWARDS = ((instances.c.series, series.c.id), (series.c.study, studies.c.id), (studies.c.patient, patients.c.id))
IN_STUDY = frozenset((MODALITIES_IN_STUDY, SOP_CLASSES_IN_STUDY))
# Between the studies of a patient.
_BETWEEN_STUDIES = "\n"


@cache
def joined(level: Level) -> Any:
    """The table of a level with those above it."""
    tables: Any = TABLES[level]
    for below, above in UPWARDS[3 - level :]:
        tables = tables.join(above.table, below == above)
    return tables


@cache
def held(level: Level) -> tuple[ColumnElement[bool], ...]:
    """That there is a file of it, and that it can be named."""
    if level is Level.IMAGE:
        return is_latest(), studies.c.uid != "", series.c.uid != ""
    named = {
        Level.PATIENT: [patients.c.patient_id != ""],
        Level.STUDY: [studies.c.uid != ""],
        Level.SERIES: [series.c.uid != "", studies.c.uid != ""],
    }
    return _has_files(level), *named[level]


def _has_files(level: Level) -> ColumnElement[bool]:
    below = select(instances.c.id)
    for lower, above in UPWARDS[: 2 - level]:
        below = below.join(above.table, lower == above)
    lower, above = UPWARDS[2 - level]
    return below.where(lower == above).correlate(TABLES[level]).exists()


def is_latest() -> ColumnElement[bool]:
    """Of the files of one instance, the one that came last."""
    other = instances.alias("other")
    is_younger = or_(
        other.c.received > instances.c.received,
        and_(other.c.received == instances.c.received, other.c.id > instances.c.id),
    )
    same = and_(other.c.series == instances.c.series, other.c.uid == instances.c.uid)
    return ~select(other.c.id).where(same, is_younger).correlate(instances).exists()


@cache
def computed(tag: int, level: Level) -> ColumnElement[Any]:
    """What is found out for each row of a level."""
    if tag == AVAILABLE_TRANSFER_SYNTAX:
        return instances.c.transfer_syntax
    if tag in IN_STUDY:
        return _of_patient(tag) if level is Level.PATIENT else _of_study(tag)
    return _number(*NUMBERS_RELATED[tag])


def worded(tag: int, value: Any) -> str:
    """The same as it is told."""
    if tag not in IN_STUDY:
        return str(value)
    return "\\".join(sorted({one.strip() for one in (value or "").split("\\")} - {""}))


def studies_of(value: str | None) -> list[str]:
    """What each of the studies has, of which a row of a patient or below says something."""
    return (value or "").split(_BETWEEN_STUDIES)


def _of_study(tag: int) -> ColumnElement[str]:
    found = _values(tag).where(series.c.study == studies.c.id).correlate(studies).distinct().subquery("found")
    return select(func.aggregate_strings(next(iter(found.c)), "\\")).scalar_subquery()


def _of_patient(tag: int) -> ColumnElement[str]:
    """Those of each of a patient's studies."""
    values = _values(tag).join(studies, series.c.study == studies.c.id).where(studies.c.patient == patients.c.id)
    one = next(iter(values.selected_columns))
    found = values.with_only_columns(func.aggregate_strings(one, "\\").label("found")).group_by(studies.c.id)
    each = found.correlate(patients).subquery("each")
    return select(func.aggregate_strings(each.c.found, _BETWEEN_STUDIES)).scalar_subquery()


def _values(tag: int) -> Select[Any]:
    if tag == SOP_CLASSES_IN_STUDY:
        return select(instances.c.sop_class).join(series, instances.c.series == series.c.id)
    return select(series.c.modality).where(series.c.modality != "", _has_files(Level.SERIES))


def _number(level: Level, counted: Level) -> ColumnElement[int]:
    what = TABLES[counted]
    unit = what.c.uid if counted is Level.IMAGE else what.c.id
    found: Any = select(func.count(distinct(unit)))
    tables: Any = what
    for below, above in UPWARDS[3 - counted : 2 - level]:
        tables = tables.join(above.table, below == above)
    below, above = UPWARDS[2 - level]
    found = found.select_from(tables).where(below == above)
    if counted is not Level.IMAGE:
        found = found.where(_has_files(counted))
    return found.correlate(TABLES[level]).scalar_subquery()  # type: ignore[no-any-return]
