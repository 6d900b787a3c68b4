"""Dates that are matched together with their times (PS3.4 C.2.2.2.5.4, C.2.2.2.1.3): combined, or across time zones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom.datadict import keyword_for_tag, tag_for_keyword

from scpd.index import dates
from scpd.index.attributes import TIMEZONE_OFFSET
from scpd.index.conditions import Within

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from scpd.index.attributes import Attributes, Value
    from scpd.index.query import Condition, Moment

# What lies between the time zones that are furthest apart, in minutes.
_WIDEST = 26 * 60
_ANY_DAY = "20000101"


@dataclass(frozen=True, slots=True)
class Combined:
    """A range of dates and one of times taken as one range of moments, ``YYYYMMDDHHMMSS.FFFFFF`` or empty where open.

    ``zone`` is that of the range, in minutes east of UTC; None takes what is held as it stands. A date without a time
    is taken at its midnight.
    """

    date_tag: int
    time_tag: int
    first: str
    last: str
    zone: int | None = None

    @property
    def first_date(self) -> str:
        return _days_apart(self.first[:8], self.zone, -_WIDEST)

    @property
    def last_date(self) -> str:
        return _days_apart(self.last[:8], self.zone, _WIDEST)

    def matches(self, attributes: Attributes, /) -> bool:
        day, time = _held(self, attributes)
        moment = day + (time or "000000.000000") if day else ""
        return bool(moment) and self.first <= moment and not (self.last and moment > self.last)


@dataclass(frozen=True, slots=True)
class Apart:
    """A condition on a date and one on its time, either of which may be None, in the time zone ``zone``.

    What is held without a time zone is taken to be in the same.
    """

    date_tag: int
    time_tag: int
    days: Within | None
    times: Within | None
    zone: int

    @property
    def first_date(self) -> str:
        return _days_apart(self.days.first if self.days else "", self.zone, -_WIDEST)

    @property
    def last_date(self) -> str:
        return _days_apart(self.days.last if self.days else "", self.zone, _WIDEST)

    def matches(self, attributes: Attributes, /) -> bool:
        day, time = _held(self, attributes)
        return not (self.days and not self.days.holds(day)) and not (self.times and not self.times.holds(time))


def _days_apart(day: str, zone: int | None, minutes: int) -> str:
    if not day or zone is None:
        return day
    try:
        return dates.shifted(day, "235959.999999" if minutes > 0 else "000000.000000", minutes)[0]
    except dates.NotADate:
        return ""  # beyond the calendar: open


def _held(moment: Combined | Apart, attributes: Attributes) -> tuple[str, str]:
    """The first date and time that are held, in their forms, in the zone of the moment; empty where there is none."""
    day = _first("DA", attributes.get(moment.date_tag))
    time = _first("TM", attributes.get(moment.time_tag))
    zone = attributes.get(TIMEZONE_OFFSET)
    if moment.zone is None or not isinstance(zone, str) or not zone or not time:
        return day, time
    try:
        moved = dates.shifted(day or _ANY_DAY, time, moment.zone - dates.offset(zone))
    except dates.NotADate:
        return day, time
    return (moved[0] if day else ""), moved[1]


def _first(vr: str, value: Value | None) -> str:
    return dates.normal(vr, value.split("\\")[0]) if isinstance(value, str) and value else ""


def gather(
    conditions: Mapping[int, Condition], ranges: Container[int], zone: int | None, *, combined: bool
) -> tuple[dict[int, Condition], tuple[Moment, ...]]:
    """The conditions that stand alone, and the moments of those that do not.

    ``ranges`` are the tags whose keys have a "-". A date and a time that are ranges of the same form become one range
    where ``combined`` was negotiated; ``zone`` is that of the keys where they are to be adjusted.
    """
    alone = dict(conditions)
    moments: list[Moment] = []
    for date_tag, time_tag in sorted({pair for tag in conditions if (pair := _pair(tag))}):
        days, times = alone.get(date_tag), alone.get(time_tag)
        if not (isinstance(days, Within | None) and isinstance(times, Within | None)):
            continue
        moment: Moment
        if combined and days and times and date_tag in ranges and time_tag in ranges and _alike(days, times):
            first, last = days.first + times.first, days.last + times.last
            moment = Combined(date_tag, time_tag, first, last, zone)
        elif zone is not None:
            moment = Apart(date_tag, time_tag, days, times, zone)
        else:
            continue
        moments.append(moment)
        alone.pop(date_tag, None)
        alone.pop(time_tag, None)
    return alone, tuple(moments)


def _alike(days: Within, times: Within) -> bool:
    return bool(days.first) == bool(times.first) and bool(days.last) == bool(times.last)


def _pair(tag: int) -> tuple[int, int] | None:
    """The tags of a date and its time, of which ``tag`` is one: they differ in one word of their keywords (PS3.6)."""
    keyword = keyword_for_tag(tag)
    stem = keyword[:-4]
    if not keyword.endswith(("Date", "Time")) or keyword.endswith("DateTime"):
        return None
    date_tag, time_tag = tag_for_keyword(stem + "Date"), tag_for_keyword(stem + "Time")
    return (date_tag, time_tag) if date_tag is not None and time_tag is not None else None
