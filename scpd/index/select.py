"""A query → SQL that finds every match and little else, and the rows that come → what is told.

The database knows text; what a key means is known in conditions.py alone, which is asked again of each row, unless what
the database has compared is a UID or a code, as it stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydicom.datadict import dictionary_VM, dictionary_VR
from sqlalchemy import and_, distinct, func, literal, or_, select, true

from scpd.index.attributes import (
    AVAILABLE_TRANSFER_SYNTAX,
    COMPUTED,
    MODALITIES_IN_STUDY,
    NUMBERS_RELATED,
    PATIENT_ID,
    PATIENT_NAME,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_CLASSES_IN_STUDY,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Level,
)
from scpd.index.conditions import AllOf, Empty, Like, OneOf, Within
from scpd.index.entry import ACCESSION_NUMBER, LONGEST_NAME, MODALITY, STUDY_DATE, STUDY_ID, bounded, decoded
from scpd.index.person_names import Person
from scpd.index.schema import LONGEST_KEY, instances, patients, series, studies
from scpd.index.wildcards import like

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Column, ColumnElement, Row, Select, Table

    from scpd.index.attributes import Attributes, Keeping, Value
    from scpd.index.query import Condition, Query

TABLES: Mapping[Level, Table] = {
    Level.PATIENT: patients,
    Level.STUDY: studies,
    Level.SERIES: series,
    Level.IMAGE: instances,
}
UPWARDS = ((instances.c.series, series.c.id), (series.c.study, studies.c.id), (studies.c.patient, patients.c.id))
_COLUMNS: Mapping[int, Column[str]] = {
    PATIENT_ID: patients.c.patient_id,
    PATIENT_NAME: patients.c.name,
    STUDY_INSTANCE_UID: studies.c.uid,
    STUDY_DATE: studies.c.date,
    ACCESSION_NUMBER: studies.c.accession,
    STUDY_ID: studies.c.study_id,
    SERIES_INSTANCE_UID: series.c.uid,
    MODALITY: series.c.modality,
    SOP_INSTANCE_UID: instances.c.uid,
    SOP_CLASS_UID: instances.c.sop_class,
}
# What the database compares as it is meant: one value each, and never cut.
_EXACT = frozenset((STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID, SOP_CLASS_UID))
# Kinds of text that are compared as they stand.
_AS_THEY_STAND = frozenset(("CS", "LO", "SH", "UI", "AE", "AS", "LT", "ST", "UC", "UT", "UR"))


class Selection:
    """The statement for a query, and what its rows mean."""

    def __init__(self, query: Query, keeping: Keeping) -> None:
        self._query = query
        self._keeping = keeping
        self._levels: dict[int, Level] = {}
        for tag in (*query.conditions, *query.wanted, *(one.date_tag for one in query.moments)):
            level = self._place(tag)
            if level is not None and level <= query.level:
                self._levels[tag] = level
        self._computed = tuple(tag for tag in query.wanted if tag in COMPUTED and COMPUTED[tag] <= query.level)
        self._asked = tuple(
            (tag, condition)
            for tag, condition in query.conditions.items()
            if tag in self._levels and tag not in COMPUTED and not (tag in _EXACT and isinstance(condition, OneOf))
        )
        self._read = sorted({level for tag, level in self._levels.items() if tag not in COMPUTED})
        self._told = tuple(
            (f"{tag:08X}", tag, self._read.index(level))
            for tag, level in self._levels.items()
            if tag in query.wanted and tag not in COMPUTED
        )

    def _place(self, tag: int) -> Level | None:
        """The level whose value is meant, for what stands at several: that of the query, or the next above it."""
        here = [level for level in Level if level <= self._query.level and tag in self._keeping.by_level[level]]
        return here[-1] if here else self._keeping.level_of(tag)

    @property
    def statement(self) -> Select[Any]:
        """The SQL."""
        level = self._query.level
        told = [TABLES[one].c.attributes for one in self._read]
        statement = select(*told, *map(_computed, self._computed)) if told or self._computed else select(literal(1))
        statement = statement.select_from(_joined(level)).where(*_held(level))
        asked = ((tag, one, self._levels[tag]) for tag, one in self._query.conditions.items() if tag in self._levels)
        clauses = (_clause(*each) for each in asked)
        return statement.where(*(one for one in clauses if one is not None), *self._moments())

    def _moments(self) -> list[ColumnElement[bool]]:
        return [
            _between(studies.c.date, one.first_date, one.last_date)
            for one in self._query.moments
            if one.date_tag == STUDY_DATE
        ]

    def match(self, row: Row[Any]) -> Attributes | None:
        """What is told of a row, where it is a match."""
        found: list[Mapping[str, object]] = list(row[: len(self._read)])
        if not self._is_match(found):
            return None
        told: dict[int, Value] = {}
        for name, tag, place in self._told:
            value = found[place].get(name)
            if value is not None:
                told[tag] = value if isinstance(value, str) else decoded({name: value})[tag]
        for place, tag in enumerate(self._computed, len(self._read)):
            told[tag] = _worded(tag, row[place])
        return told

    def _is_match(self, found: list[Mapping[str, object]]) -> bool:
        for tag, condition in self._asked:
            name = f"{tag:08X}"
            value = found[self._read.index(self._levels[tag])].get(name)
            if isinstance(value, list):
                value = decoded({name: value})[tag]
            if not condition.matches(value):  # type: ignore[arg-type]  # text or items
                return False
        return all(
            one.matches(decoded(found[self._read.index(self._levels[one.date_tag])])) for one in self._query.moments
        )


def _joined(level: Level) -> Any:
    """The table of a level with those above it."""
    joined: Any = TABLES[level]
    for below, above in UPWARDS[3 - level :]:
        joined = joined.join(above.table, below == above)
    return joined


def _held(level: Level) -> list[ColumnElement[bool]]:
    """That there is a file of it, and that it can be named."""
    if level is Level.IMAGE:
        return [is_latest(), studies.c.uid != "", series.c.uid != ""]
    if level is Level.SERIES:
        below = select(instances.c.id).where(instances.c.series == series.c.id).correlate(series)
        return [below.exists(), series.c.uid != "", studies.c.uid != ""]
    below = select(instances.c.id).join(series, instances.c.series == series.c.id)
    if level is Level.STUDY:
        return [below.where(series.c.study == studies.c.id).correlate(studies).exists(), studies.c.uid != ""]
    below = below.join(studies, series.c.study == studies.c.id)
    return [below.where(studies.c.patient == patients.c.id).correlate(patients).exists(), patients.c.patient_id != ""]


def is_latest() -> ColumnElement[bool]:
    """Of the files of one instance, the one that came last."""
    other = instances.alias("other")
    is_younger = or_(
        other.c.received > instances.c.received,
        and_(other.c.received == instances.c.received, other.c.id > instances.c.id),
    )
    same = and_(other.c.series == instances.c.series, other.c.uid == instances.c.uid)
    return ~select(other.c.id).where(same, is_younger).correlate(instances).exists()


def _computed(tag: int) -> ColumnElement[Any]:
    if tag == AVAILABLE_TRANSFER_SYNTAX:
        return instances.c.transfer_syntax
    if tag == MODALITIES_IN_STUDY:
        of_one = select(series.c.modality).where(series.c.study == studies.c.id, series.c.modality != "")
        return _all_of(of_one.correlate(studies))
    if tag == SOP_CLASSES_IN_STUDY:
        of_one = select(instances.c.sop_class).join(series, instances.c.series == series.c.id)
        return _all_of(of_one.where(series.c.study == studies.c.id).correlate(studies))
    return _number(*NUMBERS_RELATED[tag])


def _all_of(values: Select[Any]) -> ColumnElement[str]:
    found = values.distinct().subquery("found")
    return select(func.aggregate_strings(next(iter(found.c)), "\\")).scalar_subquery()


def _number(level: Level, counted: Level) -> ColumnElement[int]:
    what = TABLES[counted]
    unit = what.c.uid if counted is Level.IMAGE else what.c.id
    found: Any = select(func.count(distinct(unit)))
    joined: Any = what
    for below, above in UPWARDS[3 - counted : 2 - level]:
        joined = joined.join(above.table, below == above)
    below, above = UPWARDS[2 - level]
    return found.select_from(joined).where(below == above).correlate(TABLES[level]).scalar_subquery()  # type: ignore[no-any-return]


def _worded(tag: int, value: Any) -> str:
    if tag in (MODALITIES_IN_STUDY, SOP_CLASSES_IN_STUDY):
        return "\\".join(sorted((value or "").split("\\")))
    return str(value)


def _clause(tag: int, condition: Condition, level: Level) -> ColumnElement[bool] | None:
    """What the database can say of a condition; None where it cannot."""
    if tag == MODALITIES_IN_STUDY:
        return _some(condition, series.c.modality, lambda one: select(series.c.id).where(one), series.c.study)
    if tag == SOP_CLASSES_IN_STUDY:
        return _some(
            condition,
            instances.c.sop_class,
            lambda one: select(instances.c.id).join(series, instances.c.series == series.c.id).where(one),
            series.c.study,
        )
    column = _COLUMNS.get(tag)
    if column is not None:
        return _of_column(column, condition)
    return _of_attribute(tag, condition, level)


def _some(
    condition: Condition, column: Column[str], having: Callable[[Any], Select[Any]], study: Column[int]
) -> ColumnElement[bool] | None:
    """That a study has some series or instance of which the condition holds."""
    if isinstance(condition, AllOf):
        clauses = [_some(one, column, having, study) for one in condition.conditions]
        return and_(*(one for one in clauses if one is not None))
    if isinstance(condition, Empty):
        return ~having(column != "").where(study == studies.c.id).correlate(studies).exists()
    clause = _of_column(column, condition)
    return None if clause is None else having(clause).where(study == studies.c.id).correlate(studies).exists()


def _of_column(column: Column[str], condition: Condition) -> ColumnElement[bool] | None:
    if isinstance(condition, OneOf):
        return column.in_([bounded(value) for value in condition.values])
    if isinstance(condition, Like):
        return or_(column.like(like(condition.pattern), escape="\\"), func.length(column) >= LONGEST_KEY)
    if isinstance(condition, Within):
        return _between(column, condition.first, condition.last)
    if isinstance(condition, Person):
        return _named(condition)
    if isinstance(condition, Empty):
        return column == ""
    if isinstance(condition, AllOf):
        clauses = [_of_column(column, one) for one in condition.conditions]
        return and_(*(one for one in clauses if one is not None))
    return None


def _named(condition: Person) -> ColumnElement[bool] | None:
    clauses = [patients.c.name.like(pattern, escape="\\") for pattern in condition.likes]
    if not clauses:
        return None
    clauses += [patients.c.sounds.like(pattern, escape="\\") for pattern in condition.sound_likes]
    return or_(*clauses, func.length(patients.c.name) >= LONGEST_NAME)


def _of_attribute(tag: int, condition: Condition, level: Level) -> ColumnElement[bool] | None:
    """Of one that has no column: only what can be said of one value of plain text."""
    if dictionary_VM(tag) != "1" or dictionary_VR(tag) not in _AS_THEY_STAND:
        return None
    value = attribute(level, tag)
    # One that has several values against its multiplicity is left to conditions.py.
    if isinstance(condition, OneOf):
        return value.in_(condition.values) | value.like("%\\\\%", escape="\\")
    if isinstance(condition, Like):
        return value.like(like(condition.pattern), escape="\\") | value.like("%\\\\%", escape="\\")
    return None


def attribute(level: Level, tag: int) -> ColumnElement[str]:
    """What is told of an attribute, as text to compare."""
    return TABLES[level].c.attributes[f"{tag:08X}"].as_string()  # type: ignore[no-any-return]


def _between(column: Column[str], first: str, last: str) -> ColumnElement[bool]:
    clauses = [column != ""] if first or last else []
    if first:
        clauses.append(column >= first)
    if last:
        clauses.append(column <= last)
    return and_(true(), *clauses)
