"""A condition → what a database can say of it: at least every match, and little else.

The database knows text; what a key means is known in conditions.py alone, which is asked again of each row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydicom.datadict import dictionary_VM, dictionary_VR
from sqlalchemy import Text, and_, func, literal_column, or_, select, true
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from scpd.index.attributes import (
    MODALITIES_IN_STUDY,
    PATIENT_ID,
    PATIENT_NAME,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_CLASSES_IN_STUDY,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Level,
)
from scpd.index.computed import TABLES
from scpd.index.conditions import AllOf, Empty, Like, OneOf, Within
from scpd.index.entry import ACCESSION_NUMBER, LONGEST_NAME, MODALITY, STUDY_DATE, STUDY_ID, bounded
from scpd.index.person_names import Person
from scpd.index.schema import LONGEST_KEY, SEVERAL, instances, patients, series, studies
from scpd.index.wildcards import like

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Column, ColumnElement, Select

    from scpd.index.query import Condition

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
# Kinds of text that are compared as they stand.
_AS_THEY_STAND = frozenset(("CS", "LO", "SH", "UI", "AE", "AS", "LT", "ST", "UC", "UT", "UR"))
# A statement of more conditions than this is too deep for a database; each that is left out only finds more.
_MOST = 50
# The text of an attribute, as each database has it.
_VALUE = {"sqlite": "json_extract({0}, '$.\"{1}\"')", "postgresql": "({0} ->> '{1}')"}


def clause(tag: int, condition: Condition, at: Level, level: Level) -> ColumnElement[bool] | None:
    """What the database can say of a condition on an attribute of ``at``, asked at ``level``; None where it cannot."""
    if tag in (MODALITIES_IN_STUDY, SOP_CLASSES_IN_STUDY):
        return _in_study(tag, condition, level)
    column = _COLUMNS.get(tag)
    return _of_attribute(tag, condition, at) if column is None else _of_column(column, condition)


def of_days(first: str, last: str) -> ColumnElement[bool]:
    """That a study is of these days, either of which may be empty, where it is open."""
    return _between(studies.c.date, first, last)


class Sought(FunctionElement[str]):
    """What is looked for of an attribute without a column, bounded as columns are: written so that an index is found.

    Its tag stands in the statement itself, for a parameter could be any.
    """

    name = "sought"
    inherit_cache = True
    type = Text()


@compiles(Sought)
def _written(element: Sought, compiler: Any, **how: Any) -> str:
    column, tag = element.clauses
    value = _VALUE[compiler.dialect.name].format(compiler.process(column, **how), compiler.process(tag, **how))
    several = f"WHEN replace({value}, '{SEVERAL}', '') <> {value} THEN '{SEVERAL}'"
    return f"(CASE {several} ELSE substr({value}, 1, {LONGEST_KEY}) END)"


def sought(level: Level, tag: int) -> Sought:
    """What is looked for of an attribute of a level."""
    return Sought(TABLES[level].c.attributes, literal_column(f"{tag:08X}"))


def is_compared(tag: int) -> bool:
    """Whether the database can compare what has no column: one value of plain text."""
    return tag not in _COLUMNS and dictionary_VM(tag) == "1" and dictionary_VR(tag) in _AS_THEY_STAND


def _in_study(tag: int, condition: Condition, level: Level) -> ColumnElement[bool] | None:
    """That a study has some series or instance of which the condition holds, or that a patient has such a study."""
    if isinstance(condition, AllOf):
        return _all(_in_study(tag, one, level) for one in condition.conditions[:_MOST])
    if isinstance(condition, Empty):
        return None
    column = series.c.modality if tag == MODALITIES_IN_STUDY else instances.c.sop_class
    asked = _of_column(column, condition)
    if asked is None:
        return None
    found = select(series.c.id).where(asked)
    if tag == SOP_CLASSES_IN_STUDY:
        found = found.join(instances, instances.c.series == series.c.id)
    return _of_level(found, level).exists()


def _of_level(found: Select[Any], level: Level) -> Select[Any]:
    if level is not Level.PATIENT:
        return found.where(series.c.study == studies.c.id).correlate(studies)
    found = found.join(studies, series.c.study == studies.c.id)
    return found.where(studies.c.patient == patients.c.id).correlate(patients)


def _of_column(column: Column[str], condition: Condition) -> ColumnElement[bool] | None:
    if isinstance(condition, OneOf):
        return _is_one_of(column, condition)
    if isinstance(condition, Like):
        long = func.length(column) >= LONGEST_KEY
        return or_(column.like(_sent(like(condition.pattern)), escape="\\"), _is_several(column), long)
    if isinstance(condition, Within):
        return _between(column, condition.first, condition.last)
    if isinstance(condition, Person):
        return _named(condition)
    if isinstance(condition, Empty):
        return column.in_(("", SEVERAL))
    if isinstance(condition, AllOf):
        return _all(_of_column(column, one) for one in condition.conditions[:_MOST])
    return None


def _is_one_of(column: Column[str], condition: OneOf) -> ColumnElement[bool]:
    if column is series.c.modality:
        return column.in_(map(_sent, condition.values)) | _is_several(column)
    return column.in_({*(bounded(_sent(one)) for one in condition.values), SEVERAL})


def _is_several(column: Column[str]) -> ColumnElement[bool]:
    return column.contains(SEVERAL, autoescape=True) if column is series.c.modality else column == SEVERAL


def _named(condition: Person) -> ColumnElement[bool] | None:
    if not 0 < len(condition.likes) <= _MOST:
        return None
    clauses = [patients.c.name.like(_sent(pattern), escape="\\") for pattern in condition.likes]
    clauses += [patients.c.sounds.like(_sent(pattern), escape="\\") for pattern in condition.sound_likes]
    columns = (patients.c.name, patients.c.sounds) if condition.sound_likes else (patients.c.name,)
    return or_(*clauses, *(func.length(column) >= LONGEST_NAME for column in columns))


def _of_attribute(tag: int, condition: Condition, level: Level) -> ColumnElement[bool] | None:
    if not is_compared(tag):
        return None
    value = sought(level, tag)
    if isinstance(condition, OneOf):
        return value.in_({*(_sent(one)[:LONGEST_KEY] for one in condition.values), SEVERAL})
    if isinstance(condition, Like):
        long = func.length(value) >= LONGEST_KEY
        return or_(value.like(_sent(like(condition.pattern)), escape="\\"), value == SEVERAL, long)
    return None


def _sent(text: str) -> str:
    """Without NUL, of which nothing is held, and which PostgreSQL does not take."""
    return text.replace("\0", "\ufffd")


def _between(column: Column[str], first: str, last: str) -> ColumnElement[bool]:
    if not (first or last):
        return true()
    clauses = [column != ""]
    if first:
        clauses.append(column >= first)
    if last:
        clauses.append(column <= last)
    return or_(and_(*clauses), column == SEVERAL)


def _all(clauses: Iterable[ColumnElement[bool] | None]) -> ColumnElement[bool]:
    return and_(true(), *(one for one in clauses if one is not None))
