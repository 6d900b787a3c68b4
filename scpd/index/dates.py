"""Dates, times and moments as text that can be compared (PS3.5 6.2: DA, TM, DT).

The forms are ``YYYYMMDD``, ``HHMMSS.FFFFFF`` and ``YYYYMMDDHHMMSS.FFFFFF``, the last in UTC. A value that leaves
something out means a span, from the earliest it can mean to the latest.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import datetime, timedelta

_DAY = re.compile(r"(\d{4})(\d\d)(\d\d)|(\d{4})\.(\d\d)\.(\d\d)", re.ASCII)  # with dots: ACR-NEMA's, still met
_HOUR, _SIXTY, _SECOND = "([01][0-9]|2[0-3])", "([0-5][0-9])", "([0-5][0-9]|60)"
_TIME = re.compile(rf"{_HOUR}(?::?{_SIXTY}(?::?{_SECOND}(?:\.([0-9]{{1,6}}))?)?)?", re.ASCII)
_MOMENT = re.compile(
    rf"(\d{{4}})(?:(\d\d)(?:(\d\d)(?:{_HOUR}(?:{_SIXTY}(?:{_SECOND}(?:\.([0-9]{{1,6}}))?)?)?)?)?)?([+-]\d{{4}})?",
    re.ASCII,
)
_OFFSET = re.compile(r"([+-])(\d\d)([0-5]\d)", re.ASCII)
_WEST, _EAST = -12 * 60, 14 * 60


class NotADate(ValueError):
    """A text is no value of its VR; says what it should be."""


def offset(text: str) -> int:
    """The minutes east of UTC of ``+HHMM`` or ``-HHMM`` (PS3.3 C.12.1.1.8). Raises :class:`NotADate`."""
    found = _OFFSET.fullmatch(text.strip())
    minutes = int(found[1] + "1") * (int(found[2]) * 60 + int(found[3])) if found else _EAST + 1
    if not _WEST <= minutes <= _EAST:
        raise NotADate("is no offset from UTC such as +0100")
    return minutes


def span(vr: str, text: str, zone: int = 0) -> tuple[str, str]:
    """The earliest and the latest that a value of DA, TM or DT can mean, in the forms above.

    ``zone`` is that of a DT which names none, in minutes east of UTC. Raises :class:`NotADate`.
    """
    if vr == "DA":
        return _day(text)
    return _time(text) if vr == "TM" else _moment(text, zone)


def normal(vr: str, text: str) -> str:
    """What a value that is held is compared by: the earliest it can mean; empty where it means nothing."""
    if vr == "DA" and len(text) == 8 and text.isdecimal():  # nearly all there are; a day that never was harms nobody
        return text
    try:
        return span(vr, text.strip())[0]
    except NotADate:
        return ""


def shifted(day: str, time: str, minutes: int) -> tuple[str, str]:
    """A day and a time in their forms, some minutes later. Raises :class:`NotADate` beyond the calendar."""
    moved = _shift(day + time, minutes)
    return moved[:8], moved[8:]


def _day(text: str) -> tuple[str, str]:
    found = _DAY.fullmatch(text)
    year, month, day = [part for part in found.groups() if part] if found else ("0", "0", "0")
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= _days(year, month)):
        raise NotADate("is no date, YYYYMMDD")
    return (year + month + day,) * 2


def _days(year: str, month: str) -> int:
    return monthrange(int(year), int(month))[1] if int(year) else 0


def _time(text: str) -> tuple[str, str]:
    found = _TIME.fullmatch(text)
    if not found:
        raise NotADate("is no time, HHMMSS.FFFFFF")
    hour, minute, second, fraction = found.groups()
    return _clock(hour, minute, second, fraction, "0"), _clock(hour, minute, second, fraction, "9")


def _clock(hour: str | None, minute: str | None, second: str | None, fraction: str | None, fill: str) -> str:
    late = fill == "9"
    sixty = "59" if late else "00"
    return f"{hour or ('23' if late else '00')}{minute or sixty}{second or sixty}.{(fraction or '').ljust(6, fill)}"


def _moment(text: str, zone: int) -> tuple[str, str]:
    found = _MOMENT.fullmatch(text)
    if not found:
        raise NotADate("is no date and time, YYYYMMDDHHMMSS.FFFFFF+ZZXX")
    year, month, day, hour, minute, second, fraction, suffix = found.groups()
    first = _day(f"{year}{month or '01'}{day or '01'}")[0]
    last_day = day or (f"{_days(year, month or '12'):02}" if 1 <= int(month or "12") <= 12 else "00")
    last = _day(f"{year}{month or '12'}{last_day}")[0]
    west = -(offset(suffix) if suffix else zone)
    clock = (hour, minute, second, fraction)
    return _shift(first + _clock(*clock, "0"), west), _shift(last + _clock(*clock, "9"), west)


def _shift(moment: str, minutes: int) -> str:
    if not minutes:
        return moment
    try:
        moved = datetime.strptime(moment[:12], "%Y%m%d%H%M") + timedelta(minutes=minutes)  # noqa: DTZ007 UTC, all of them
    except (ValueError, OverflowError):
        raise NotADate("is no date and time of the calendar") from None
    return f"{moved.year:04}{moved:%m%d%H%M}{moment[12:]}"
