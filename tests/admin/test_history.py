"""The last minutes: rates from sums, in memory that does not grow, by a thread that ends."""

from __future__ import annotations

import threading
import time
import tracemalloc

import pytest

from scpd.admin.history import PERIOD, SPAN, History, Sampler
from scpd.admin.inquiry import Inquiry

from .conftest import PATIENCE, Told, counts, facts, live, server, tally


def at(received: int, sent: int = 0, stored: int = 0, living=(), associations: int = 0):
    messages = tally(*[("C-STORE", 0, 0.1)] * stored)
    counted = counts(received=received, sent=sent, tally=messages)
    return facts(servers=(server(counts=counted, live=living, associations=associations),))


def wait_until(holds) -> None:
    pause, deadline = threading.Event(), time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        pause.wait(0.01)


def test_rates_are_what_came_between_two_samples():
    history = History()
    history.add(at(0), 100.0)
    history.add(at(5_000, 500, 10, associations=2), 105.0)
    history.add(at(5_000, 500, 10), 110.0)
    assert [tuple(point) for point in history.points(112.0)] == [
        (7.0, 1000.0, 100.0, 2.0, 2),
        (2.0, 0.0, 0.0, 0.0, 0),
    ]


def test_one_sample_is_no_rate():
    history = History()
    assert history.points(1.0) == []
    history.add(at(5), 1.0)
    assert history.points(2.0) == []


def test_servers_are_added_up_and_one_that_goes_is_no_negative_rate():
    history = History()
    both = at(1000)._replace(servers=at(1000).servers * 2)
    history.add(both, 0.0)
    history.add(at(1000), 5.0)
    assert history.points(5.0)[0].received == 0


def test_what_is_older_than_a_quarter_of_an_hour_is_forgotten():
    history = History()
    for n in range(1000):
        history.add(at(n), n * PERIOD)
    points = history.points(999 * PERIOD)
    assert len(points) == SPAN / PERIOD
    assert points[0].ago <= SPAN
    assert history.points(999 * PERIOD + 2 * SPAN) == []


def test_memory_is_bounded_whatever_number_of_associations_there_was():
    history = History()
    crowd = tuple(live(n) for n in range(1000))
    one = at(1, living=crowd)
    for n in range(10):
        history.add(one, float(n))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for n in range(10, 500):
        history.add(one, float(n))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 300_000


def test_the_rate_of_an_association_is_that_of_the_last_seconds():
    history = History()
    history.add(at(0, living=(live(received=0, sent=0),)), 0.0)
    history.add(at(0, living=(live(received=1000, sent=0),)), 5.0)
    assert history.rate(live(received=4000, sent=0), 8.0) == 1000.0
    assert history.rate(live(received=2000, sent=0), 6.0) == pytest.approx(2000 / 6), "a second is too short"


def test_the_rate_of_one_that_just_came_is_over_its_whole_life():
    history = History()
    assert history.rate(live(received=300, sent=0, seconds=3.0), 8.0) == 100.0
    assert history.rate(live(seconds=0.0), 8.0) == 0.0


def test_the_sampler_samples_and_ends_with_its_thread():
    inquiry, history = Inquiry(Told()), History()
    before = threading.active_count()
    sampler = Sampler(inquiry, history, period=0.01)
    sampler.start()
    wait_until(lambda: len(history._samples) > 3)
    sampler.close(PATIENCE)
    assert threading.active_count() == before


def test_the_sampler_outlives_a_daemon_that_does_not_answer():
    told = Told()
    inquiry, history = Inquiry(told, patience=0.01), History()
    told.holds.clear()
    stuck = threading.Thread(target=inquiry.facts)
    stuck.start()
    assert told.asked.wait(PATIENCE)
    sampler = Sampler(inquiry, history, period=0.01)
    sampler.start()
    assert not history._samples
    told.holds.set()
    stuck.join(PATIENCE)
    wait_until(lambda: history._samples)
    sampler.close(PATIENCE)
    assert history._samples
