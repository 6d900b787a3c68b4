"""Which studies go: every combination of conditions, the order, and when to stop."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpd.retention.rules import ARRIVING, Study, expired, goal, horizon, is_arriving, rule

NOW = 1_700_000_000.0
DAY = 86400.0
GIB = 1 << 30


def study(age=100 * DAY, callings=("CT1",), number=1, size=GIB) -> Study:
    return Study(number, f"1.2.{number}", NOW - age, 10, size, frozenset(callings))


def of(**how):
    return rule("a rule", "scpd.yaml:1", **how)


def goes(one, rules, free=100 * GIB):
    return next((found for _, found in expired([one], rules, NOW, lambda: free)), None)


@pytest.mark.parametrize(
    ("age", "does"), [(89 * DAY, False), (90 * DAY - 1, False), (90 * DAY, True), (900 * DAY, True), (-DAY, False)]
)
def test_age_counts_from_the_last_instance(age, does):
    assert bool(goes(study(age), [of(older_than=90 * DAY)])) is does


@pytest.mark.parametrize(("free", "does"), [(0, True), (49 * GIB, True), (50 * GIB - 1, True), (50 * GIB, False)])
def test_space_is_a_reason_only_while_it_is_short(free, does):
    assert bool(goes(study(1.0), [of(free_below=50 * GIB)], free)) is does


@pytest.mark.parametrize(
    ("callings", "does"),
    [
        (("CT1",), True),
        (("CT1", "CT2"), True),
        (("CT1", "MR1"), True),
        (("MR12",), False),
        (("CT1", "US"), False),
        (("ct1",), False),
        (("XCT1",), False),
        (("",), False),
    ],
)
def test_of_a_study_from_several_callers_all_have_to_be_meant(callings, does):
    assert bool(goes(study(callings=callings), [of(older_than=DAY, calling=("CT*", "MR?"))])) is does


def test_every_condition_of_a_rule_has_to_hold():
    one = of(older_than=90 * DAY, free_below=50 * GIB, calling=("CT*",))
    for age, free, callings in product((1, 100), (1, 99), ("CT1", "US")):
        expected = (age, free, callings) == (100, 1, "CT1")
        assert bool(goes(study(age * DAY, (callings,)), [one], free * GIB)) is expected


def test_any_rule_is_enough_and_the_first_that_applies_is_named():
    young, ct, old = of(older_than=200 * DAY), of(older_than=30 * DAY, calling=("CT*",)), of(older_than=90 * DAY)
    assert goes(study(), [young, ct, old]) is ct
    assert goes(study(callings=("US",)), [young, ct, old]) is old
    assert goes(study(20 * DAY), [young, ct, old]) is None


def test_nothing_goes_without_a_rule():
    assert goes(study(), []) is None
    assert (goal([]), horizon([], NOW, 0)) == (0, float("-inf"))


def test_the_oldest_go_until_so_much_is_free_again_and_no_more():
    gone = []
    studies = [study((100 - number) * DAY, number=number) for number in range(10)]
    for one, _ in expired(studies, [of(free_below=50 * GIB)], NOW, lambda: (47 + len(gone)) * GIB):
        gone.append(one.id)
    assert gone == [0, 1, 2]


def test_it_stops_at_the_first_study_that_is_too_young_for_all_rules():
    asked = []

    def studies():
        for number in range(5):
            asked.append(number)
            yield study((92 - number) * DAY, number=number)

    found = [one.id for one, _ in expired(studies(), [of(older_than=90 * DAY)], NOW, lambda: 0)]
    assert (found, asked) == ([0, 1, 2], [0, 1, 2, 3])


def test_another_callers_study_does_not_end_the_search():
    studies = [study(100 * DAY, ("US",), 1), study(99 * DAY, ("CT1",), 2)]
    assert [one.id for one, _ in expired(studies, [of(older_than=DAY, calling=("CT1",))], NOW, lambda: 0)] == [2]


def test_the_horizon_is_that_of_the_widest_rule_that_is_active():
    rules = [of(older_than=90 * DAY), of(free_below=50 * GIB, older_than=7 * DAY)]
    assert horizon(rules, NOW, 60 * GIB) == NOW - 90 * DAY
    assert horizon(rules, NOW, 40 * GIB) == NOW - 7 * DAY
    assert goal(rules) == 50 * GIB


def test_a_study_is_arriving_for_an_hour():
    assert ARRIVING == 3600
    assert is_arriving(study(3599), NOW)
    assert is_arriving(study(-10), NOW)
    assert not is_arriving(study(3600), NOW)


rules = st.builds(
    of,
    older_than=st.none() | st.floats(0, 1000),
    free_below=st.none() | st.integers(0, 1000),
    calling=st.lists(st.sampled_from(["A", "B*", "?"]), max_size=2),
)


@given(
    st.lists(st.tuples(st.floats(0, 1000), st.lists(st.sampled_from(["A", "B1", "CC"]), min_size=1)), max_size=8),
    st.lists(rules, max_size=4),
    st.integers(0, 1000),
)
def test_stopping_early_leaves_out_nothing(ages, some, free):
    """What goes is what one of the rules means, asked of each study by itself."""
    studies = [study(age, callings, number) for number, (age, callings) in enumerate(sorted(ages, reverse=True))]
    found = [one.id for one, _ in expired(studies, some, NOW, lambda: free)]
    assert found == [one.id for one in studies if any(each.applies(one, NOW, free) for each in some)]
