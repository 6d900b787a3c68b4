"""What went through lately: a few numbers every few seconds, for fifteen minutes, in memory that does not grow.

Knows nothing of how they are drawn.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from scpd.admin.inquiry import Unanswered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scpd.admin.facts import Facts
    from scpd.admin.inquiry import Inquiry
    from scpd.server.record import Live

PERIOD = 5.0
SPAN = 15 * 60.0
# Over less time than this a rate says more of the moment of asking than of the association.
_SHORTEST = 2.0


class Point(NamedTuple):
    """Bytes and messages a second up to ``ago`` seconds ago, and how many associations there were then."""

    ago: float
    received: float
    sent: float
    messages: float
    associations: int


class _Sample(NamedTuple):
    at: float
    received: int
    sent: int
    messages: int
    associations: int


class History:
    """The last fifteen minutes. Times are monotonic, in seconds; all methods may be called from any thread."""

    def __init__(self, period: float = PERIOD) -> None:
        self._lock = threading.Lock()
        self._samples: deque[_Sample] = deque(maxlen=round(SPAN / period) + 1)
        self._bytes: deque[tuple[float, Mapping[str, int]]] = deque(maxlen=2)

    def add(self, facts: Facts, now: float) -> None:
        """One more sample."""
        counts = [server.counts for server in facts.servers]
        sample = _Sample(
            now,
            sum(each.received for each in counts),
            sum(each.sent for each in counts),
            sum(sum(each.tally.messages.values()) for each in counts),
            sum(server.associations for server in facts.servers),
        )
        living = {live.association_id: live.received + live.sent for server in facts.servers for live in server.live}
        with self._lock:
            self._samples.append(sample)
            self._bytes.append((now, living))

    def points(self, now: float) -> Sequence[Point]:
        """What went on between each two samples, the oldest first."""
        with self._lock:
            samples = tuple(self._samples)
        return [_between(before, after, now) for before, after in pairwise(samples) if now - after.at <= SPAN]

    def rate(self, live: Live, now: float) -> float:
        """Bytes a second of an association just now, in both directions."""
        with self._lock:
            known = [(at, living.get(live.association_id)) for at, living in reversed(self._bytes)]
        total = live.received + live.sent
        for at, before in known:
            if before is not None and now - at >= _SHORTEST:
                return max(0.0, (total - before) / (now - at))
        return total / live.seconds if live.seconds > 0 else 0.0


class Sampler:
    """Adds to a history every few seconds, on a thread of its own."""

    def __init__(self, inquiry: Inquiry, history: History, period: float = PERIOD) -> None:
        self._inquiry = inquiry
        self._history = history
        self._period = period
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="admin history", daemon=True)

    def start(self) -> None:
        """The first sample comes at once."""
        self._thread.start()

    def close(self, patience: float) -> None:
        """Returns when it has ended, or after ``patience`` seconds."""
        self._stop.set()
        if self._thread.ident is not None:  # else there was none to be had
            self._thread.join(patience)

    def _run(self) -> None:
        is_over = False
        while not is_over:
            with suppress(Unanswered):  # a gap in a plot says it
                self._history.add(self._inquiry.facts(), time.monotonic())
            is_over = self._stop.wait(self._period)


def _between(before: _Sample, after: _Sample, now: float) -> Point:
    # A server that went with a reload takes its counts with it.
    seconds = max(after.at - before.at, 0.001)
    received, sent, messages = (
        max(0, late - early) / seconds for early, late in zip(before[1:4], after[1:4], strict=True)
    )
    return Point(now - after.at, received, sent, messages, after.associations)
