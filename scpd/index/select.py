"""A query → SQL that finds every match and little else, and the rows that come → what is told.

Each row is asked again by conditions.py, unless what the database has compared is a UID, as it stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import literal, select

from scpd.index.attributes import (
    COMPUTED,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Level,
)
from scpd.index.clauses import clause, of_days
from scpd.index.computed import IN_STUDY, TABLES, computed, held, joined, studies_of, worded
from scpd.index.conditions import OneOf
from scpd.index.entry import STUDY_DATE, decoded

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Row, Select

    from scpd.index.attributes import Attributes, Keeping, Value
    from scpd.index.query import Moment, Query

# What the database compares as it is meant: one value each, and never cut.
_EXACT = frozenset((STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID, SOP_CLASS_UID))


class Selection:
    """The statement for a query, and what its rows mean."""

    def __init__(self, query: Query, keeping: Keeping) -> None:
        self._query = query
        self._keeping = keeping
        together = [tag for one in query.moments for tag in (one.date_tag, one.time_tag)]
        self._levels: dict[int, Level] = {}
        for tag in (*query.conditions, *query.wanted, *together):
            level = self._place(tag)
            if tag not in COMPUTED and level is not None and level <= query.level:
                self._levels[tag] = level
        self._read = sorted(set(self._levels.values()))
        self._told = [
            (f"{tag:08X}", tag, self._read.index(level)) for tag, level in self._levels.items() if tag in query.wanted
        ]
        self._asked = [
            (f"{tag:08X}", tag, self._read.index(self._levels[tag]), condition)
            for tag, condition in query.conditions.items()
            if tag in self._levels and not (tag in _EXACT and isinstance(condition, OneOf))
        ]
        told = [tag for tag in query.wanted if tag in COMPUTED and COMPUTED[tag] <= query.level]
        in_study = [tag for tag in query.conditions if tag in IN_STUDY]
        self._computed = {tag: len(self._read) + place for place, tag in enumerate(dict.fromkeys((*told, *in_study)))}
        self._computed_told = [(tag, self._computed[tag]) for tag in told]
        self._in_study = [(self._computed[tag], query.conditions[tag]) for tag in in_study]

    def _place(self, tag: int) -> Level | None:
        """The level whose value is meant, for what stands at several: that of the query, or the next above it."""
        here = [level for level in Level if level <= self._query.level and tag in self._keeping.by_level[level]]
        return here[-1] if here else self._keeping.level_of(tag)

    @property
    def statement(self) -> Select[Any]:
        """The SQL."""
        level = self._query.level
        told: list[Any] = [TABLES[one].c.attributes for one in self._read]
        told += [computed(tag, level) for tag in self._computed]
        statement = select(*told) if told else select(literal(1))
        return statement.select_from(joined(level)).where(*held(level), *self._clauses())

    def _clauses(self) -> list[ColumnElement[bool]]:
        asked = self._query.conditions.items()
        level = self._query.level
        clauses = [
            clause(tag, condition, self._levels.get(tag, level), level)
            for tag, condition in asked
            if tag in self._levels or tag in self._computed
        ]
        clauses += [of_days(one.first_date, one.last_date) for one in self._query.moments if one.date_tag == STUDY_DATE]
        return [one for one in clauses if one is not None]

    def match(self, row: Row[Any]) -> Attributes | None:
        """What is told of a row, where it is a match."""
        found: tuple[Any, ...] = tuple(row)
        if not self._is_match(found):
            return None
        told: dict[int, Value] = {}
        for name, tag, place in self._told:
            value = found[place].get(name)
            if value is not None:
                told[tag] = value if isinstance(value, str) else decoded({name: value})[tag]
        for tag, place in self._computed_told:
            told[tag] = worded(tag, found[place])
        return told

    def _is_match(self, found: tuple[Any, ...]) -> bool:
        for name, tag, place, condition in self._asked:
            value = found[place].get(name)
            if isinstance(value, list):
                value = decoded({name: value})[tag]
            if not condition.matches(value):
                return False
        for place, condition in self._in_study:
            if not any(condition.matches(one) for one in studies_of(found[place])):
                return False
        return all(one.matches(self._at(one, found)) for one in self._query.moments)

    def _at(self, moment: Moment, found: tuple[Any, ...]) -> Attributes:
        """What is held where a moment's date and time are."""
        levels = {self._levels[tag] for tag in (moment.time_tag, moment.date_tag) if tag in self._levels}
        return {
            tag: value for level in sorted(levels) for tag, value in decoded(found[self._read.index(level)]).items()
        }
