"""Token buckets: as often as was said, smoothly, each key for itself, and never more memory than a bound."""

from __future__ import annotations

import threading
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpd.identity.rates import Buckets, Rate

# Powers of two, so that floats are exact and an oracle in fractions has to agree to the last token.
TIMES = st.sampled_from([1, 2, 4, 8, 32])
SECONDS = st.sampled_from([0.25, 0.5, 1.0, 2.0, 64.0])
RATES = st.builds(Rate, TIMES, SECONDS)
COMINGS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 200).map(lambda eighths: eighths / 8)), max_size=60)


class Bucket:
    """What a token bucket is, in the fewest words."""

    def __init__(self, rate: Rate) -> None:
        self.rate, self.tokens, self.when = rate, Fraction(rate.times), None

    def take(self, now: float) -> bool:
        if self.when is not None:
            came = (Fraction(now) - self.when) * self.rate.times / Fraction(self.rate.seconds)
            self.tokens = min(Fraction(self.rate.times), self.tokens + came)
        self.when = Fraction(now)
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@given(RATES, COMINGS)
def test_it_does_what_a_plain_bucket_for_each_key_does(rate, comings):
    buckets, model, now = Buckets(rate), {key: Bucket(rate) for key in "abc"}, 1000.0
    for key, later in comings:
        now += later
        assert buckets.take(key, now) == model[key].take(now)


@given(RATES, st.floats(0, 1e9))
def test_whoever_never_came_may_come_so_often_at_once_and_no_more(rate, now):
    buckets = Buckets(rate)
    assert [buckets.take("a", now) for _ in range(rate.times + 5)] == [True] * rate.times + [False] * 5


@given(RATES, st.lists(st.integers(0, 50).map(lambda eighths: eighths / 8), min_size=1, max_size=80))
def test_in_no_time_are_there_more_than_a_full_bucket_and_what_came_meanwhile(rate, gaps):
    buckets, now, taken = Buckets(rate), 0.0, []
    for gap in gaps:
        now += gap
        if buckets.take("a", now):
            taken.append(now)
    for i, first in enumerate(taken):
        for j, last in enumerate(taken[i:], i):
            assert j - i + 1 <= rate.times + (last - first) * rate.times / rate.seconds


def test_it_fills_up_smoothly_and_not_all_at_the_end():
    buckets = Buckets(Rate(4, 8.0))
    assert [buckets.take("a", 0.0) for _ in range(5)] == [True] * 4 + [False]
    assert [buckets.take("a", now) for now in (1.9, 2.0, 2.1, 3.9, 4.0)] == [False, True, False, False, True]


def test_a_refusal_costs_nothing():
    """Else whoever asks too often would never get in again."""
    buckets = Buckets(Rate(1, 10.0))
    assert buckets.take("a", 0.0)
    assert not any(buckets.take("a", now / 10) for now in range(100))
    assert buckets.take("a", 10.0)


def test_a_long_rest_gives_one_full_bucket_and_no_more():
    buckets = Buckets(Rate(2, 1.0))
    buckets.take("a", 0.0)
    assert [buckets.take("a", 1e9) for _ in range(3)] == [True, True, False]


def test_one_key_uses_up_nothing_of_another():
    buckets = Buckets(Rate(1, 60.0))
    assert [buckets.take(key, 0.0) for key in ("a", "b", "a", "b", "")] == [True, True, False, False, True]


def test_the_keys_are_bounded_and_the_one_that_came_least_recently_is_forgotten():
    buckets = Buckets(Rate(1, 60.0), most_keys=3)
    for key in "abc":
        buckets.take(key, 0.0)
    buckets.take("a", 0.0)  # refused, and yet it came
    buckets.take("d", 0.0)  # drives out b
    assert [buckets.take(key, 0.0) for key in "acd"] == [False, False, False]
    assert buckets.take("b", 0.0)


def test_any_number_of_keys_takes_bounded_memory():
    buckets = Buckets(Rate(1, 60.0))
    for number in range(30_000):
        buckets.take(str(number), 0.0)
    assert len(buckets._buckets) == 10_000


@pytest.mark.parametrize("keys", ["a", "ab"])
def test_threads_together_take_no_more_than_one_alone(keys):
    buckets, taken = Buckets(Rate(100, 3600.0)), []
    barrier = threading.Barrier(8)

    def come(number: int) -> None:
        barrier.wait(20)
        key = keys[number % len(keys)]
        taken.extend(key for _ in range(200) if buckets.take(key, 0.0))

    threads = [threading.Thread(target=come, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(taken) == sorted(keys * 100)
