"""Dates together with their times: combined, across time zones, and what a database may leave out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scpd.index import dates
from scpd.index.attributes import TIMEZONE_OFFSET, tag_of
from scpd.index.conditions import Matching, parse
from scpd.index.moments import Apart, Combined, gather

DATE, TIME = tag_of("StudyDate"), tag_of("StudyTime")


def asked(day="", time="", zone=None, *, combined=False):
    """The conditions that are left, and the moments."""
    keys = {DATE: ("DA", day), TIME: ("TM", time)}
    found = {tag: parse(tag, vr, text, Matching(zone=zone)) for tag, (vr, text) in keys.items()}
    ranges = {tag for tag, (_, text) in keys.items() if "-" in text}
    return gather({tag: one for tag, one in found.items() if one}, ranges, zone, combined=combined)


def held(day="", time="", zone=""):
    return {tag: value for tag, value in ((DATE, day), (TIME, time), (TIMEZONE_OFFSET, zone)) if value}


def test_without_negotiation_each_stands_alone():
    alone, moments = asked("20200101-20200102", "10-12")
    assert set(alone) == {DATE, TIME}
    assert moments == ()


@pytest.mark.parametrize(
    ("day", "time"),
    [
        ("20200101", "10-12"),
        ("20200101-20200102", "10"),
        ("20200101-", "10-12"),
        ("20200101-", "-12"),
        ("", "10-12"),
        ("20200101-", ""),
    ],
)
def test_ranges_of_different_forms_are_not_combined(day, time):
    """PS3.4 C.2.2.2.5.4: both of which specify the same form of range matching."""
    assert asked(day, time, combined=True)[1] == ()


def test_the_example_of_the_standard():
    """From July 5, 10 o'clock, until July 7, 18 o'clock: not from 10 to 18 on each of three days."""
    alone, (moment,) = asked("20060705-20060707", "1000-1800", combined=True)
    assert alone == {}
    assert isinstance(moment, Combined)
    assert (moment.first_date, moment.last_date) == ("20060705", "20060707")
    assert [
        moment.matches(held(day, time))
        for day, time in (
            ("20060705", "0959"),
            ("20060705", "1000"),
            ("20060706", "03"),
            ("20060707", "1800"),
            ("20060707", "1801"),
            ("20060706", ""),
            ("20060705", ""),
            ("", "12"),
            ("x", "12"),
        )
    ] == [False, True, True, True, False, True, False, False, False]


@pytest.mark.parametrize(
    ("day", "time", "inside"), [("20200101-", "10-", "20300101"), ("-20200101", "-10", "19990101")]
)
def test_open_ranges_are_combined_too(day, time, inside):
    (moment,) = asked(day, time, combined=True)[1]
    assert moment.matches(held(inside, "00"))
    assert "" in (moment.first_date, moment.last_date)


def test_a_moment_of_another_zone_is_moved():
    (moment,) = asked("20200101", "23", 0)[1]
    assert isinstance(moment, Apart)
    assert moment.matches(held("20200102", "0030", "+0100"))
    assert not moment.matches(held("20200102", "0030", "-0100"))
    assert moment.matches(held("20200101", "2330")), "without a zone it is taken to be in that of the query"
    assert moment.matches(held("20200101", "2330", "nonsense"))
    assert moment.first_date <= "20191231"
    assert moment.last_date >= "20200102"


def test_a_date_alone_moves_with_its_time_and_stays_without():
    (moment,) = asked("20200101", "", 0)[1]
    assert moment.matches(held("20200102", "0030", "+0100"))
    assert moment.matches(held("20200101", "", "+0100"))
    assert not moment.matches(held("20200102", "", "+0100"))


def test_a_time_alone_goes_around_midnight():
    (moment,) = asked("", "23", 0)[1]
    assert moment.matches(held("", "0030", "+0100"))
    assert (moment.first_date, moment.last_date) == ("", "")


def test_the_ends_of_the_calendar_are_open():
    (moment,) = asked("00010101-99991231", "", 0)[1]
    assert (moment.first_date, moment.last_date) == ("", "")
    assert moment.matches(held("99991231", "2330", "-0100"))


_DAY = st.dates().map(lambda day: f"{day.year:04}{day:%m%d}")
_TIME = st.times().map(lambda time: f"{time:%H%M%S}")
_ZONE = st.integers(-12 * 60, 14 * 60)


def written(zone: int) -> str:
    return f"{'-' if zone < 0 else '+'}{abs(zone) // 60:02}{abs(zone) % 60:02}"


@given(
    st.lists(_DAY, min_size=2, max_size=2).map(sorted),
    st.lists(_TIME, min_size=2, max_size=2).map(sorted),
    _ZONE,
    _DAY,
    _TIME,
    _ZONE,
    st.booleans(),
)
@settings(max_examples=500)
def test_what_matches_lies_between_the_dates_that_a_database_looks_for(days, times, zone, day, time, other, combined):
    (moment,) = asked("-".join(days), "-".join(times), zone, combined=combined)[1]
    for there in (
        held(day, time, written(other)),
        held(days[0], times[0], written(other)),
        held(days[1], time, written(other)),
    ):
        if moment.matches(there):
            assert moment.first_date <= there[DATE]
            assert not moment.last_date or there[DATE] <= moment.last_date


@given(_DAY, _TIME, _ZONE)
def test_offsets_are_read_as_they_are_written(day, time, zone):
    assert dates.offset(written(zone)) == zone
