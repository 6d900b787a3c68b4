"""Numbers as people read them: sizes, times, counts. Sizes are in units of 1024, as in the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP = 1024
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def unit_of(size: float) -> tuple[float, str]:
    """The factor and the name of the unit in which ``size`` has few digits."""
    factor = 1.0
    for unit in _UNITS[:-1]:
        if abs(size) < 1000 * factor:
            return factor, unit
        factor *= _STEP
    return factor, _UNITS[-1]


def size(number: float) -> str:
    """Bytes, as ``1.4 GiB``."""
    factor, unit = unit_of(number)
    return f"{digits(number / factor)} {unit}"


def digits(number: float) -> str:
    """Three digits that count, with commas in what is longer."""
    if number == round(number) or number >= 100:
        return f"{number:,.0f}"
    return (f"{number:.1f}" if number >= 10 else f"{number:.2f}").rstrip("0").rstrip(".")


def duration(seconds: float) -> str:
    """The two largest units of a time, as ``3 h 12 min``."""
    whole = max(0, int(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def moment(when: datetime, now: datetime) -> str:
    """The time of day, with the date where that is not today's."""
    here = when.astimezone(now.tzinfo)
    return f"{here:%H:%M:%S}" if here.date() == now.date() else f"{here:%Y-%m-%d %H:%M:%S}"


def several(count: int, one: str, more: str = "") -> str:
    """``1 file``, ``2 files``."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"
