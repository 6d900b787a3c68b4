"""Studies that somebody looks for: a form's fields → conditions, and a page of what matches, the latest first.

An index has no order, and may hold millions. So it is asked for one span of days after the other, each longer than the
one before, until there is enough for a page or the time is over. Knows no SQL and no HTML.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from heapq import nlargest
from typing import TYPE_CHECKING, NamedTuple

from scpd.index import dates
from scpd.index.attributes import (
    MODALITIES_IN_STUDY,
    PATIENT_ID,
    PATIENT_NAME,
    STUDY_INSTANCE_UID,
    Level,
    tag_of,
)
from scpd.index.conditions import Empty, OneOf, UnmatchableKey, Within, parse
from scpd.index.query import Query
from scpd.index.wildcards import has_wildcards

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scpd.admin.facts import Archive
    from scpd.index.attributes import Attributes, Value
    from scpd.index.query import Condition

PAGE = 50
SECONDS = 5.0
LONGEST = 64
FIELDS = ("id", "name", "from", "to", "accession", "modality", "description")
STUDY_DATE, STUDY_TIME = tag_of("StudyDate"), tag_of("StudyTime")
_ACCESSION, _DESCRIPTION = tag_of("AccessionNumber"), tag_of("StudyDescription")
_KEY = frozenset((STUDY_DATE, STUDY_TIME, STUDY_INSTANCE_UID))
_SPANS = (2, 8, 32, 128, 512, 2048)  # days


class Misunderstood(ValueError):
    """Something in the form cannot be looked for; says what."""


class Place(NamedTuple):
    """Where a study stands in the order: its date and time, as dates.py has them, and its UID."""

    date: str
    time: str
    uid: str

    @staticmethod
    def of(told: Attributes) -> Place:
        """That of a study."""
        day, clock = dates.normal("DA", _text(told, STUDY_DATE)), dates.normal("TM", _text(told, STUDY_TIME))
        return Place(day, clock, _text(told, STUDY_INSTANCE_UID))

    @staticmethod
    def parse(text: str) -> Place:
        """Of what ``str`` gave. Raises :class:`Misunderstood`."""
        parts = text.split("/", 2)
        if len(parts) != len(Place._fields) or not text.isprintable():
            raise Misunderstood("there is no such page")
        return Place(*parts)

    def __str__(self) -> str:
        return "/".join(self)


class Asked(NamedTuple):
    """What is looked for: conditions by tag, and days (YYYYMMDD), empty where any will do."""

    conditions: Mapping[int, Condition]
    first: str = ""
    last: str = ""


class Found(NamedTuple):
    """A page of studies, the place after which the next begins, and whether everything was looked at."""

    studies: list[Attributes]
    after: Place | None
    is_whole: bool


@dataclass(frozen=True)
class Containing:
    """Whatever the standard says of case, people do not look for it."""

    text: str

    def matches(self, value: Value | None, /) -> bool:
        return isinstance(value, str) and self.text.casefold() in value.casefold()


class Undated(Empty):
    """There is no date, or none that could be one."""

    def matches(self, value: Value | None, /) -> bool:
        return not (isinstance(value, str) and dates.normal("DA", value))


class _Late(Exception):
    pass


@dataclass(frozen=True)
class _InTime:
    """Asked of every study that is looked at, whatever it is."""

    deadline: float

    def matches(self, _: Value | None, /) -> bool:
        if time.monotonic() > self.deadline:
            raise _Late
        return True


def understood(fields: Mapping[str, str]) -> Asked:
    """What a form asks for. Raises :class:`Misunderstood`."""
    given = {name: fields.get(name, "").strip() for name in FIELDS}
    for name, text in given.items():
        if len(text) > LONGEST or not text.isprintable():
            raise Misunderstood(f"{name} has more than {LONGEST} characters, or some that cannot be read")
    conditions = {
        PATIENT_ID: _parsed(PATIENT_ID, "LO", given["id"]),
        PATIENT_NAME: _parsed(PATIENT_NAME, "PN", _beginning(given["name"])),
        _ACCESSION: _parsed(_ACCESSION, "SH", given["accession"]),
        MODALITIES_IN_STUDY: _parsed(MODALITIES_IN_STUDY, "CS", given["modality"].upper()),
        _DESCRIPTION: Containing(given["description"]) if given["description"] else None,
    }
    first, last = (_day(given[name]) for name in ("from", "to"))
    if first and last and first > last:
        raise Misunderstood("the days end before they begin")
    return Asked({tag: one for tag, one in conditions.items() if one}, first, last)


def search(archive: Archive, asked: Asked, after: Place | None, wanted: frozenset[int], today: date) -> Found:
    """A page of the studies that match, from the one after ``after``. Raises :class:`IndexUnavailable`."""
    places: list[Place] = []
    deadline = time.monotonic() + SECONDS
    is_whole = True
    for days in _spans(asked, after.date if after else None, today):
        conditions = {**asked.conditions, STUDY_DATE: days, STUDY_INSTANCE_UID: _InTime(deadline)}
        span = _Span(archive, Query(Level.STUDY, conditions, _KEY))
        places += nlargest(PAGE + 1 - len(places), (one for one in span.places() if not after or one < after))
        is_whole = span.is_whole
        if len(places) > PAGE or not is_whole:
            break
    shown = places[:PAGE]
    return Found(_told(archive, shown, wanted), shown[-1] if len(places) > PAGE else None, is_whole)


class _Span:
    """The places of the studies of a query, as far as there is time."""

    def __init__(self, archive: Archive, query: Query) -> None:
        self._archive = archive
        self._query = query
        self.is_whole = True

    def places(self) -> Iterator[Place]:
        with closing(self._archive.find(self._query)) as found:
            try:
                yield from map(Place.of, found)
            except _Late:
                self.is_whole = False


def _told(archive: Archive, places: list[Place], wanted: frozenset[int]) -> list[Attributes]:
    """Those that are still there."""
    if not places:
        return []
    condition = OneOf(tuple(place.uid for place in places))
    query = Query(Level.STUDY, {STUDY_INSTANCE_UID: condition}, wanted | _KEY)
    with closing(archive.find(query)) as found:
        by_uid = {_text(told, STUDY_INSTANCE_UID): told for told in found}
    return [by_uid[place.uid] for place in places if place.uid in by_uid]


def _spans(asked: Asked, newest: str | None, today: date) -> Iterator[Condition]:
    """Conditions on the date that no two studies share, the latest first; ``newest`` is where to begin."""
    end = min(filter(None, (asked.last, newest)), default="")
    if newest != "":
        day = min(_as_day(end), today) if end else today
        for days in _SPANS:
            if day.toordinal() <= days:
                break
            begin = day - timedelta(days=days)
            if _as_text(begin) <= asked.first:
                break
            yield Within(_as_text(begin), end)
            day = begin - timedelta(days=1)
            end = _as_text(day)
        yield Within(asked.first, end or "99999999")
    if not (asked.first or asked.last):
        yield Undated()


def _as_day(text: str) -> date:
    """The day of a date; of one that never was, a day that comes before it."""
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return date(max(1, int(text[:4])), 1, 1) if text[:4].isdecimal() else date.min


def _as_text(day: date) -> str:
    return f"{day.year:04}{day:%m%d}"


def _day(text: str) -> str:
    if not text:
        return ""
    try:
        return dates.span("DA", text.replace("-", ""))[0]
    except ValueError:
        raise Misunderstood("a day is written as 2026-03-31") from None


def _beginning(name: str) -> str:
    return name if not name or has_wildcards(name) else f"{name}*"


def _parsed(tag: int, vr: str, text: str) -> Condition | None:
    try:
        return parse(tag, vr, text)
    except UnmatchableKey as error:
        raise Misunderstood(str(error)) from None


def _text(told: Attributes, tag: int) -> str:
    value = told.get(tag, "")
    return value if isinstance(value, str) else ""
