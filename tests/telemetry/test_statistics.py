"""What is counted adds up, and does not grow with what peers invent."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from scpd.telemetry.statistics import BUCKETS, NO_UID, OTHERS, Books, Histogram, Refusal, Statistics, Tally

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@dataclass
class Bytes:
    received: int = 0
    sent: int = 0


def refusal(calling: str, called: str = "SCPD") -> Refusal:
    return Refusal(NOW, "10.0.0.1:104", calling, called, "permanently, …", "why", "access[0]", "scpd.yaml:3")


@pytest.mark.parametrize("seconds", [0.0, *BUCKETS, 0.0011, 5.5, 10_000.0])
def test_a_time_lies_in_the_first_bucket_whose_bound_is_not_below_it(seconds):
    histogram = Histogram()
    histogram.observe(seconds)
    place = histogram.counts.index(1)
    assert place == len(BUCKETS) or seconds <= BUCKETS[place]
    assert place == 0 or seconds > BUCKETS[place - 1]
    assert histogram.total == seconds


def test_tallies_add_up():
    first, second = Tally(), Tally()
    for tally, count in ((first, 2), (second, 3)):
        for _ in range(count):
            tally.answered("C-STORE", 0)
            tally.took("C-STORE", 0.5)
    second.answered("C-ECHO", 0x0211)
    first.add(second)
    assert first.messages == {("C-STORE", 0): 5, ("C-ECHO", 0x0211): 1}
    assert (sum(first.times["C-STORE"].counts), first.times["C-STORE"].total) == (5, 2.5)
    assert second.messages[("C-STORE", 0)] == 3


def test_what_is_over_and_what_goes_on_are_counted_together_and_once():
    statistics, over, living = Statistics(), Tally(), Tally()
    statistics.follow(over, Bytes(100, 10))
    statistics.follow(living, Bytes(1000, 20))
    over.answered("C-STORE", 0)
    living.answered("C-STORE", 0)
    before = statistics.counts()
    statistics.pour(over)
    for counts in (before, statistics.counts(), statistics.counts()):  # asking changes nothing
        assert counts.tally.messages == {("C-STORE", 0): 2}
        assert (counts.received, counts.sent) == (1100, 30)
    living.answered("C-STORE", 0)
    assert statistics.counts().tally.messages == {("C-STORE", 0): 3}


def test_what_is_counted_under_a_name_is_found_under_it_again():
    books = Books()
    books["a"].turn_away()
    books["b"].ended("released", 1.0)
    books["a"].turn_away()
    assert (books["a"].turned_away, books["b"].turned_away) == (2, 0)
    assert (books["a"].counts().ended, books["b"].counts().ended) == ({}, {"released": 1})


@pytest.mark.parametrize("text", ["1.2\x01", "1.2\\x01", "01.2", "", f"1.2.{'9' * 30_000}", "1.2\n", "others", "1.²"])
def test_a_rejected_context_of_no_uid_is_counted_as_that(text):
    statistics = Statistics()
    for _ in range(2):
        statistics.accepted("CT1", "SCPD", [(text, "ABSTRACT_SYNTAX_NOT_SUPPORTED")])
    assert statistics.counts().rejected_contexts == {(NO_UID, "ABSTRACT_SYNTAX_NOT_SUPPORTED"): 2}


def test_associations_are_counted_by_title_result_and_reason():
    statistics = Statistics()
    statistics.accepted("CT1", "SCPD", [("1.2.840.10008.1.1", "USER_REJECTION")])
    statistics.accepted("CT1", "SCPD", [])
    statistics.rejected(refusal("CT2"), "calling AE title not recognized")
    statistics.identity_failed("passcode")
    statistics.handshake_failed()
    statistics.ended("released", 3.0)
    counts = statistics.counts()
    assert counts.associations == {
        ("CT1", "SCPD", "accepted", ""): 2,
        ("CT2", "SCPD", "rejected", "calling AE title not recognized"): 1,
    }
    assert counts.rejected_contexts == {("1.2.840.10008.1.1", "USER_REJECTION"): 1}
    assert (counts.identity_failures, counts.failed_handshakes) == ({"passcode": 1}, 1)
    assert (counts.ended, counts.lasted.total) == ({"released": 1}, 3.0)


def test_the_last_rejections_are_kept_the_latest_first():
    statistics = Statistics()
    for number in range(80):
        statistics.rejected(refusal(f"CT{number}"), "no reason given")
    assert [one.calling for one in statistics.refusals] == [f"CT{number}" for number in range(79, 29, -1)]


def test_peers_that_invent_names_do_not_fill_the_memory():
    statistics = Statistics()
    for number in range(5000):
        statistics.rejected(refusal(f"X{number}"), "no reason given")
        statistics.accepted(f"Y{number}", "SCPD", [(f"1.2.{number}", "ABSTRACT_SYNTAX_NOT_SUPPORTED")])
    counts = statistics.counts()
    assert len(counts.associations) <= 303
    assert len(counts.rejected_contexts) <= 301
    assert sum(counts.associations.values()) == 10_000
    assert counts.associations[(OTHERS, OTHERS, "rejected", "no reason given")] > 4000
    statistics.rejected(refusal("X0"), "no reason given")  # a title that is known goes on being counted as itself
    assert statistics.counts().associations["X0", "SCPD", "rejected", "no reason given"] == 2


def test_counting_goes_on_while_others_ask():
    """A worker counts without a lock; a snapshot is whole all the same, and never goes back."""
    statistics, tally = Statistics(), Tally()
    total = 30_000
    statistics.follow(tally, Bytes())

    def count():
        for number in range(total):
            tally.answered("C-STORE", number % 64)
            tally.took(f"operation {number % 64}", 0.01)

    thread = threading.Thread(target=count)
    thread.start()
    seen = [0]
    while thread.is_alive():
        seen.append(sum(statistics.counts().tally.messages.values()))
    thread.join()
    assert seen == sorted(seen)
    assert sum(statistics.counts().tally.messages.values()) == total
