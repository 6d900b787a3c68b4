"""Matching by PS3.4 C.2.2.2: each kind of it, each VR, and what no VR has."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.datadict import keyword_for_tag

from scpd.index.attributes import KEPT_VR
from scpd.index.conditions import (
    WILDCARD_VR,
    AllOf,
    Empty,
    Items,
    Like,
    Matching,
    OneOf,
    UnmatchableKey,
    Within,
    parse,
)
from scpd.index.wildcards import LONGEST_PATTERN, like, matcher

TAG = 0x00081030
TEXT_VR = sorted(KEPT_VR - {"SQ"})


def matches(vr: str, key: str, value, **negotiated) -> bool:
    condition = parse(TAG, vr, key, Matching(**negotiated))
    return condition is None or condition.matches(value)


# -- single value, list of UID, universal


@pytest.mark.parametrize("vr", TEXT_VR)
@pytest.mark.parametrize("key", ["", " ", "\0", "*", "**", "* "])
def test_nothing_and_stars_are_universal(vr, key):
    assert parse(TAG, vr, key) is None


@pytest.mark.parametrize(
    "vr", sorted(set(TEXT_VR) - {"DA", "TM", "DT", "PN", "AS", "UI", "IS", "DS", "US", "SS", "UL", "SL"})
)
def test_a_single_value_is_matched_with_its_case(vr):
    condition = parse(TAG, vr, " Abc ")
    assert condition == OneOf(("Abc",), several=vr not in ("ST", "LT", "UT", "UR"))
    assert condition.matches("Abc")
    assert not condition.matches("abc")
    assert not condition.matches("Abcd")


@pytest.mark.parametrize(
    ("vr", "key"), [("AS", "018M"), ("UI", "1.2.840"), ("IS", "-7"), ("DS", "1.5e-3"), ("US", "512"), ("SL", "-3")]
)
def test_values_with_a_form_are_matched_as_text(vr, key):
    assert parse(TAG, vr, key) == OneOf((key,))


@pytest.mark.parametrize("vr", TEXT_VR)
def test_no_value_meets_no_condition_and_any_value_of_several_does(vr):
    key = {"DA": "20200101", "TM": "10", "DT": "2020", "AS": "018M", "UI": "1.2"}.get(vr, "7")
    condition = parse(TAG, vr, key)
    assert not condition.matches(None)
    assert not condition.matches("")
    assert condition.matches(key)
    if vr not in ("ST", "LT", "UT", "UR"):
        other = {"DA": "19990101", "TM": "23", "DT": "1999", "UI": "1.9"}.get(vr, "8")
        assert condition.matches(f"{other}\\{key}")
        assert condition.matches(f"{other} \\ {key} ")
        assert not condition.matches(other)


def test_a_list_of_uids_is_any_of_them():
    condition = parse(TAG, "UI", "1.2\\1.3\\")
    assert condition == OneOf(("1.2", "1.3"))
    assert condition.matches("1.3")
    assert not condition.matches("1.2.3")


def test_a_backslash_in_a_text_is_a_letter():
    assert matches("LT", "a\\b", "a\\b")
    assert not matches("LT", "a", "a\\b")
    assert matches("LT", "a*", "a\\b")


# -- wild cards


@pytest.mark.parametrize("vr", sorted(WILDCARD_VR & KEPT_VR))
def test_wildcards_in_the_vrs_that_have_them(vr):
    assert matches(vr, "A?C*", "ABC")
    assert matches(vr, "A?C*", "ABCD")
    assert not matches(vr, "A?C*", "AC")
    assert not matches(vr, "A?C*", None)


@pytest.mark.parametrize("vr", ["UI", "IS", "DS", "US", "AS", "DA", "TM", "DT"])
@pytest.mark.parametrize("key", ["1*", "?", "1?2"])
def test_no_wildcards_in_the_others(vr, key):
    with pytest.raises(UnmatchableKey) as error:
        parse(TAG, vr, key)
    assert str(error.value).startswith("StudyDescription (0008,1030) is no")
    assert key not in str(error.value)


def test_wildcards_are_case_sensitive_but_in_names():
    assert not matches("LO", "abc*", "ABCD")
    assert matches("PN", "abc*", "ABCD")


def expression(pattern: str) -> str:
    return "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)


@given(st.text("ab*?\n", max_size=8), st.text("abc\n", max_size=8))
@settings(max_examples=500)
def test_a_pattern_matches_what_its_plain_expression_matches(pattern, text):
    expected = re.fullmatch(expression(pattern), text, re.DOTALL) is not None
    assert matcher(pattern)(text) is expected


def sql_like(pattern: str, text: str) -> bool:
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    words = {"%": ".*", "_": "."}
    return re.fullmatch("".join(words.get(p, re.escape(p[-1])) for p in parts), text, re.DOTALL) is not None


@given(st.text("ab%_\\*?", max_size=14), st.text("ab%_\\", max_size=10))
@settings(max_examples=500)
def test_like_finds_at_least_what_the_pattern_matches(pattern, text):
    found = sql_like(like(pattern), text)
    assert found or not matcher(pattern)(text)
    if pattern.count("*") + pattern.count("?") <= 8:
        assert found is matcher(pattern)(text)


@pytest.mark.parametrize(
    "pattern", ["*" * 64 + "x", "*a" * 500 + "b", "a*" * 500 + "b", "?*" * 500 + "b", "*?a" * 300 + "b"]
)
def test_hostile_patterns_take_no_time(pattern):
    began = time.process_time()
    assert not Like(pattern).matches("a" * 10_000)
    assert time.process_time() - began < 1
    assert like(pattern).count("%") <= 8


def test_a_pattern_has_an_end():
    assert isinstance(parse(TAG, "LO", "*" * 2 + "a" * (LONGEST_PATTERN - 2)), Like)
    with pytest.raises(UnmatchableKey, match="more than 1024"):
        parse(TAG, "LO", "*" + "a" * LONGEST_PATTERN)
    with pytest.raises(UnmatchableKey, match="more than 1024"):
        parse(TAG, "PN", "*" + "a" * LONGEST_PATTERN)


def test_wildcards_in_several_values_are_refused():
    with pytest.raises(UnmatchableKey, match="wild cards in several values"):
        parse(TAG, "CS", "C*\\MR")


# -- ranges, and dates and times by their meaning


@pytest.mark.parametrize(
    ("vr", "key", "within", "without"),
    [
        ("DA", "20200102", ["20200102", "2020.01.02"], ["20200101", "20200103", "2020", "x"]),
        ("DA", "2020.01.02", ["20200102"], ["20200103"]),
        ("DA", "20200101-20200201", ["20200101", "20200131", "20200201"], ["20191231", "20200202"]),
        ("DA", "20200101 - 20200201", ["20200101", "20200201"], ["20191231", "20200202"]),
        ("DA", "-20200201", ["00010101", "20200201"], ["20200202"]),
        ("DA", "20200101-", ["20200101", "99991231"], ["20191231"]),
        ("TM", "2230", ["2230", "223000", "22:30", "223000.000000", "223059.9"], ["2229", "2231", "22"]),
        ("TM", "10", ["10", "1059", "105959.999999"], ["11", "0959"]),
        ("TM", "1000-1800", ["10", "100000", "180000", "180059"], ["0959", "1801"]),
        ("TM", "101500.5", ["101500.5", "101500.59"], ["101500", "101500.6"]),
        ("TM", "-06", ["00", "065959"], ["07"]),
        ("TM", "235960", ["235960"], ["235959"]),
        ("DT", "2020", ["2020", "20200601", "20201231235959.999999"], ["2019", "2021"]),
        ("DT", "202002", ["20200229235959"], ["20200301"]),
        ("DT", "19980128103000", ["19980128103000.0000", "19980128073000-0300"], ["19980128103000+0100"]),
        ("DT", "20200101-2021", ["20200101", "20211231"], ["20191231", "2022"]),
        ("DT", "20200101120000+0100-20200101130000+0100", ["20200101113000"], ["20200101123000"]),
        ("DT", "20200101120000-0300-20200102", ["20200101150000"], ["20200101145959"]),
        ("DT", "20200101-20200101120000-0300", ["20200101145959"], ["202001011501"]),
        ("DT", "-20200101120000-0300", ["20200101145959"], ["202001011501"]),
        ("DT", "20200101120000-0300-", ["20200101150000"], ["20200101145959"]),
        ("DT", "20200101120000-0300", ["20200101150000"], ["20200101140000"]),
    ],
)
def test_dates_and_times_are_matched_by_what_they_mean(vr, key, within, without):
    condition = parse(TAG, vr, key)
    assert isinstance(condition, Within)
    assert [value for value in within if not condition.matches(value)] == []
    assert [value for value in without if condition.matches(value)] == []


def test_a_dt_without_offset_is_in_the_zone_of_the_query():
    assert matches("DT", "20200101120000", "20200101110000+0000", zone=60)
    assert not matches("DT", "20200101120000", "20200101120000+0000", zone=60)


@pytest.mark.parametrize(
    ("vr", "key", "why"),
    [
        ("DA", "2020", "is no date"),
        ("DA", "20200230", "is no date"),
        ("DA", "20201301", "is no date"),
        ("DA", "00000101", "is no date"),
        ("DA", "today", "is no date"),
        ("DA", "-", "is a range without an end"),
        ("DA", "20200102-20200101", "is a range that ends before it begins"),
        ("DA", "20200101-20200102-20200103", "is no date"),
        ("DA", "20200101\\20200102", "is no date"),
        ("TM", "24", "is no time"),
        ("TM", "1060", "is no time"),
        ("TM", "1", "is no time"),
        ("TM", "10:30:", "is no time"),
        ("TM", "101500+0100", "is no time"),
        ("TM", "2200-0600", "is a range that ends before it begins"),
        ("DT", "20200101+9900", "is no offset"),
        ("DT", "20201301", "is no date"),
        ("DT", "00010101+0100", "is no date and time of the calendar"),
        ("DT", "99991231235959-0100-", "is no date and time"),
        ("DT", "-" * 64, "is no date"),
        ("AS", "18", "is no age"),
        ("UI", "1.2.x", "is no UID"),
        ("UI", "1" * 65, "is no UID"),
        ("IS", "1.5", "is no whole number"),
        ("DS", "one", "is no number"),
        ("US", "1e3", "is no whole number"),
    ],
)
def test_what_the_vr_forbids_is_refused_with_its_key_and_without_its_value(vr, key, why):
    with pytest.raises(UnmatchableKey) as error:
        parse(TAG, vr, key)
    assert error.value.tag == TAG
    assert error.value.why.startswith(why)
    assert str(error.value).startswith(f"{keyword_for_tag(TAG)} (0008,1030) is ")


@given(st.sampled_from(TEXT_VR), st.text("0123456789-+.:*?\\=^ aÄ山\ud800", max_size=40), st.booleans())
@settings(max_examples=1500, deadline=None)
def test_any_text_is_a_condition_or_refused_and_never_breaks(vr, text, on):
    try:
        condition = parse(TAG, vr, text, Matching(on, on, on, 60 if on else None))
    except UnmatchableKey:
        return
    for value in (None, "", "a", "20200101", "1\\2", text):
        assert condition is None or condition.matches(value) in (True, False)


@given(st.dates(), st.dates(), st.dates())
def test_a_range_of_dates_is_what_lies_between(first, last, held):
    first, last = sorted((first, last))
    key = f"{first:%Y%m%d}".rjust(8, "0") + "-" + f"{last:%Y%m%d}".rjust(8, "0")
    assert matches("DA", key, f"{held:%Y%m%d}".rjust(8, "0")) is (first <= held <= last)


# -- several values, no value, sequences


def test_several_values_are_any_of_them_without_negotiation_and_all_of_them_with():
    assert matches("CS", "CT\\PT", "CT")
    assert not matches("CS", "CT\\PT", "CT", multiple_values=True)
    assert matches("CS", "CT\\PT", "SR\\PT\\CT", multiple_values=True)
    assert isinstance(parse(TAG, "CS", "CT\\PT", Matching(multiple_values=True)), AllOf)
    assert matches("UI", "1.2\\1.3", "1.2", multiple_values=True), "a list of UIDs stays one"
    assert not matches("PN", "Doe\\Roe", "DOE^JANE", multiple_values=True)
    assert matches("PN", "Doe\\Roe", "DOE^JANE\\ROE^MAX", multiple_values=True)
    assert matches("PN", "Doe\\Roe", "ROE^MAX")


@pytest.mark.parametrize("vr", TEXT_VR)
def test_an_empty_value_is_asked_for_by_two_quotation_marks_where_negotiated(vr):
    assert parse(TAG, vr, '""', Matching(empty_values=True)) == Empty()


def test_empty_is_met_by_no_value_alone():
    assert [value for value in (None, "", "\\", [], "a", "\\a", [{}]) if Empty().matches(value)] == [None, "", "\\", []]
    assert not matches("LO", '""', None)


def test_a_sequence_matches_where_one_item_meets_all():
    condition = Items({1: OneOf(("a",)), 2: Like("b*")})
    assert condition.matches([{1: "x"}, {1: "a", 2: "bc"}])
    assert not condition.matches([{1: "a"}, {2: "bc"}])
    assert not condition.matches([])
    assert not condition.matches(None)
    assert not condition.matches("a")
    assert Items({1: Items({2: OneOf(("x",))})}).matches([{1: [{2: "x"}]}])
    assert not OneOf(("a",)).matches([{1: "a"}])
