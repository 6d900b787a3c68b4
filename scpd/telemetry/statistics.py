"""What is counted of associations: cheap where messages are served, whole where somebody asks.

A worker counts into the tally of its own connection, which nobody else writes to, so that counting needs no lock.
When the connection is gone its tally is poured into the statistics of the server. Knows no format of metrics.
"""

from __future__ import annotations

import operator
import threading
from bisect import bisect_left
from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from scpd.names import is_uid

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping
    from datetime import datetime

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0)
"""The upper bounds of a histogram's buckets, in seconds; one more bucket has what took longer."""

OTHERS = "others"
"""Stands for what peers call themselves and ask for, once there is too much of it."""

NO_UID = "no UID"
"""Stands for what peers ask for and is none."""

Label = TypeVar("Label", bound="Hashable")

_MOST_LABELS = 300
_MOST_REFUSALS = 50


class Histogram:
    """How long something took: ``counts`` by bucket, and ``total`` seconds."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def add(self, other: Histogram) -> None:
        """All that ``other`` has."""
        self.counts = list(map(operator.add, self.counts, other.counts))
        self.total += other.total


class Tally:
    """What one association did: ``messages`` by operation and status, ``times`` by operation."""

    __slots__ = ("messages", "times")

    def __init__(self) -> None:
        self.messages: dict[tuple[str, int], int] = {}
        self.times: dict[str, Histogram] = {}

    def answered(self, operation: str, status: int) -> None:
        """A response was sent."""
        key = operation, status
        self.messages[key] = self.messages.get(key, 0) + 1

    def took(self, operation: str, seconds: float) -> None:
        """An operation was served to its final response."""
        times = self.times.get(operation)
        if times is None:
            times = self.times[operation] = Histogram()
        times.observe(seconds)

    def add(self, other: Tally) -> None:
        """All that ``other`` has, which may be counted on meanwhile."""
        for (operation, status), count in dict(other.messages).items():
            key = operation, status
            self.messages[key] = self.messages.get(key, 0) + count
        for operation, times in dict(other.times).items():
            self.times.setdefault(operation, Histogram()).add(times)


class Traffic(Protocol):
    """A connection, as far as it is counted; bytes."""

    received: int
    sent: int


class Refusal(NamedTuple):
    """An association that was rejected; text of the peer is quoted. ``key`` and ``where`` may be empty."""

    when: datetime
    peer: str
    calling: str
    called: str
    rejection: str
    why: str
    key: str
    where: str


class Counts(NamedTuple):
    """What was counted since the process began.

    ``associations`` by calling and called AE title, result and reason; ``ended`` by how; ``rejected_contexts`` by
    abstract syntax and reason; ``identity_failures`` by form; ``received`` and ``sent`` in bytes; ``lasted`` is how
    long associations were.
    """

    associations: Mapping[tuple[str, str, str, str], int]
    ended: Mapping[str, int]
    rejected_contexts: Mapping[tuple[str, str], int]
    identity_failures: Mapping[str, int]
    failed_handshakes: int
    tally: Tally
    lasted: Histogram
    received: int
    sent: int


class Statistics:
    """The counts of one server. All methods may be called from any thread.

    ``turned_away`` is how many connections were closed for their address.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._living: dict[Tally, Traffic] = {}
        self.turned_away = 0
        self._associations: Counter[tuple[str, str, str, str]] = Counter()
        self._ended: Counter[str] = Counter()
        self._rejected_contexts: Counter[tuple[str, str]] = Counter()
        self._identity_failures: Counter[str] = Counter()
        self._failed_handshakes = 0
        self._tally = Tally()
        self._lasted = Histogram()
        self._bytes = [0, 0]
        self._refusals: deque[Refusal] = deque(maxlen=_MOST_REFUSALS)

    def turn_away(self) -> None:
        """A connection was closed for its address."""
        with self._lock:
            self.turned_away += 1

    def accepted(self, calling: str, called: str, rejected_contexts: Iterable[tuple[str, str]]) -> None:
        """An association was accepted; the contexts it was refused, by abstract syntax and reason."""
        with self._lock:
            _count(self._associations, (calling, called, "accepted", ""), (OTHERS, OTHERS, "accepted", ""))
            for abstract_syntax, why in rejected_contexts:
                context = abstract_syntax if is_uid(abstract_syntax) else NO_UID, why
                _count(self._rejected_contexts, context, (OTHERS, why))

    def rejected(self, refusal: Refusal, reason: str) -> None:
        """An association was rejected, for a ``reason`` in the standard's words."""
        key = refusal.calling, refusal.called, "rejected", reason
        with self._lock:
            _count(self._associations, key, (OTHERS, OTHERS, "rejected", reason))
            self._refusals.append(refusal)

    def identity_failed(self, form: str) -> None:
        """A user identity did not hold."""
        with self._lock:
            self._identity_failures[form] += 1

    def handshake_failed(self) -> None:
        """TLS did not come about."""
        with self._lock:
            self._failed_handshakes += 1

    def ended(self, how: str, seconds: float) -> None:
        """An association is over."""
        with self._lock:
            self._ended[how] += 1
            self._lasted.observe(seconds)

    def follow(self, tally: Tally, traffic: Traffic) -> None:
        """A connection is there, and what it counts is counted here until it is poured."""
        with self._lock:
            self._living[tally] = traffic

    def pour(self, tally: Tally) -> None:
        """A connection that was followed is gone: what it has counted stays."""
        with self._lock:
            traffic = self._living.pop(tally)
            self._tally.add(tally)
            self._bytes[0] += traffic.received
            self._bytes[1] += traffic.sent

    def counts(self) -> Counts:
        """All there is up to this moment."""
        tally, lasted = Tally(), Histogram()
        with self._lock:
            living = list(self._living.items())  # who is poured from now on is not counted twice
            tally.add(self._tally)
            lasted.add(self._lasted)
            received, sent = self._bytes
            associations, ended = dict(self._associations), dict(self._ended)
            contexts, failures = dict(self._rejected_contexts), dict(self._identity_failures)
            handshakes = self._failed_handshakes
        for its_tally, traffic in living:
            tally.add(its_tally)
            received += traffic.received
            sent += traffic.sent
        return Counts(associations, ended, contexts, failures, handshakes, tally, lasted, received, sent)

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """The last associations that were rejected, the latest first."""
        with self._lock:
            return tuple(reversed(self._refusals))


class Books(dict[str, Statistics]):
    """The statistics of each name, begun where there are none yet: whoever takes a name up again goes on with them."""

    def __missing__(self, name: str) -> Statistics:
        return self.setdefault(name, Statistics())  # of two threads that miss it at once, the first


def _count(counter: Counter[Label], label: Label, instead: Label) -> None:
    """Peers name themselves as they like: a scanner's inventions must not fill the memory."""
    counter[label if label in counter or len(counter) < _MOST_LABELS else instead] += 1
