"""Whoever guesses wrong too often waits, twice as long each time; nobody else does."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpd.identity.lockout import Lockout


def fail(lockout: Lockout, *times: float, key: str = "a") -> None:
    for now in times:
        lockout.failed(key, now)


@pytest.mark.parametrize("failures", [1, 2, 5, 1000])
def test_below_the_bound_nobody_waits_and_at_it_everybody_does(failures):
    lockout = Lockout(failures, 300.0)
    fail(lockout, *[0.0] * (failures - 1))
    assert lockout.remaining("a", 0.0) == 0.0
    fail(lockout, 0.0)
    assert lockout.remaining("a", 0.0) == 300.0


def test_zero_failures_lock_nobody():
    lockout = Lockout(0, 300.0)
    fail(lockout, *[0.0] * 100)
    assert lockout.remaining("a", 0.0) == 0.0
    assert not lockout._entries


def test_the_wait_runs_out_to_the_moment():
    lockout = Lockout(2, 300.0)
    fail(lockout, 10.0, 20.0)
    assert [lockout.remaining("a", now) for now in (20.0, 319.0, 319.99, 320.0, 321.0)] == pytest.approx(
        [300.0, 1.0, 0.01, 0.0, 0.0]
    )


def test_each_further_failure_doubles_it_up_to_sixteen_times():
    lockout, now, waits = Lockout(3, 100.0), 0.0, []
    fail(lockout, now, now)
    for _ in range(8):
        fail(lockout, now)
        waits.append(lockout.remaining("a", now))
        now += waits[-1]
    assert waits == [100.0, 200.0, 400.0, 800.0, 1600.0, 1600.0, 1600.0, 1600.0]


def test_after_a_wait_one_more_failure_is_enough():
    """Else a patient guesser would have the whole number again after each."""
    lockout = Lockout(5, 100.0)
    fail(lockout, *[0.0] * 5)
    fail(lockout, 101.0)
    assert lockout.remaining("a", 101.0) == 200.0


@pytest.mark.parametrize(("later", "counts"), [(299.0, True), (300.0, True), (301.0, False)])
def test_failures_count_together_within_the_time(later, counts):
    lockout = Lockout(2, 300.0)
    fail(lockout, 0.0, later)
    assert bool(lockout.remaining("a", later)) is counts


def test_as_many_failures_within_any_such_time_are_too_many():
    lockout = Lockout(3, 300.0)
    fail(lockout, 0.0, 290.0, 301.0, 302.0)  # the last three within twelve seconds
    assert lockout.remaining("a", 302.0)


@pytest.mark.parametrize(("later", "wait"), [(200.0, 200.0), (201.0, 0.0)])
def test_a_quiet_time_after_a_wait_makes_all_good(later, wait):
    """As long as the next wait would be, from when the last one began."""
    lockout = Lockout(2, 100.0)
    fail(lockout, 0.0, 0.0, later)
    assert lockout.remaining("a", later) == wait


def test_success_makes_all_good():
    lockout = Lockout(2, 100.0)
    fail(lockout, 0.0, 0.0)
    lockout.succeeded("a")
    assert lockout.remaining("a", 0.0) == 0.0
    fail(lockout, 0.0)
    assert lockout.remaining("a", 0.0) == 0.0
    lockout.succeeded("nobody")


def test_one_key_waits_for_itself_alone():
    lockout = Lockout(1, 100.0)
    fail(lockout, 0.0)
    assert lockout.remaining("b", 0.0) == 0.0
    lockout.succeeded("b")
    assert lockout.remaining("a", 0.0) == 100.0


EVENTS = st.lists(st.tuples(st.booleans(), st.integers(0, 500)), max_size=40)


@given(st.integers(1, 5), EVENTS)
def test_whatever_happens_nobody_waits_longer_than_was_said_nor_without_a_reason(failures, events):
    lockout, now, failed_in_a_row = Lockout(failures, 100.0), 0.0, 0
    for succeeds, later in events:
        now += later
        if succeeds:
            lockout.succeeded("a")
            failed_in_a_row = 0
        else:
            lockout.failed("a", now)
            failed_in_a_row += 1
        assert 0.0 <= lockout.remaining("a", now) <= 1600.0
        assert not lockout.remaining("a", now) or failed_in_a_row >= failures
        assert lockout.remaining("a", now + 1600.0) == 0.0


def test_the_keys_are_bounded_and_the_one_that_failed_least_recently_is_forgotten():
    lockout = Lockout(1, 100.0, most_keys=3)
    for key in "abcad":
        fail(lockout, 0.0, key=key)
    assert [bool(lockout.remaining(key, 1.0)) for key in "abcd"] == [True, False, True, True]


def test_a_flood_of_other_names_lifts_no_lock():
    """10,000 names that are no UTF-8 cost nothing to refuse, and take less time than the wait."""
    lockout = Lockout(5, 300.0)
    fail(lockout, *[0.0] * 5)
    for number in range(10_000):
        lockout.failed(number, 1.0)
    assert lockout.remaining("a", 1.0) == 299.0
    assert len(lockout._entries) <= 10_000


def test_any_number_of_names_takes_bounded_memory():
    lockout = Lockout(5, 100.0)
    for number in range(30_000):
        lockout.failed(number, 0.0)
    assert len(lockout._entries) == 10_000


def test_failures_of_many_threads_are_all_counted():
    lockout, barrier = Lockout(800, 100.0), threading.Barrier(8)

    def guess() -> None:
        barrier.wait(20)
        for _ in range(100):
            lockout.failed("a", 0.0)
            lockout.remaining("a", 0.0)
            lockout.failed("b", 0.0)
            lockout.succeeded("b")

    threads = [threading.Thread(target=guess) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert lockout.remaining("a", 0.0) == 100.0  # neither one too few nor one too many, which would double it
