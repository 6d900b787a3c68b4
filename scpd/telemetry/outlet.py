"""One destination of the audit trail: its spool, and the thread that takes lines from there to it, in order.

What was sent stays in the spool until there is reason to believe that it has arrived. Knows neither who writes nor what
the lines say.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from scpd.names import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from structlog.typing import FilteringBoundLogger

    from scpd.telemetry.spool import Spool
    from scpd.telemetry.syslog import Destination

_BATCH = 256 << 10  # octets that go to a destination at once
_LAST_MOMENT = 1.0  # seconds that a thread has in any case to end
_LONGEST_REASON = 200


class Pace(NamedTuple):
    """How long things take, in seconds.

    A destination is tried again after ``first``, and twice as long each time up to ``most``; what was sent counts as
    having arrived after ``settle``; losses are told at most once in ``alarm``.
    """

    first: float = 1.0
    most: float = 60.0
    settle: float = 1.0
    alarm: float = 60.0


class Backoff:
    """How long to wait before the next try: at once for the first, then doubling, with jitter, up to ``most``."""

    def __init__(self, first: float, most: float, chance: Callable[[], float] = random.random) -> None:
        self._first = first
        self._most = most
        self._chance = chance
        self._failures = 0

    def next(self) -> float:
        """Seconds to wait after one more failure."""
        self._failures += 1
        if self._failures == 1:
            return 0.0
        doubled = self._first * 2.0 ** min(self._failures - 2, 60)
        return min(self._most, doubled) * (0.5 + self._chance() / 2)

    def reset(self) -> None:
        """It works again."""
        self._failures = 0


class _Flight(NamedTuple):
    """Lines that were sent and are not known to have arrived before ``due``."""

    due: float
    lines: int
    octets: int
    refused: int  # so many of them never arrive
    unread: int


class Outlet:
    """One destination, its spool, and the thread between them."""

    def __init__(
        self,
        destination: Destination,
        spool: Spool,
        backoff: Backoff,
        settle: float,
        log: FilteringBoundLogger,
        lose: Callable[[str, int, str], None],
        clock: Callable[[], float],
    ) -> None:
        self.destination = destination
        self.spool = spool
        self.is_away = False
        self.has_trouble = False  # with the disk of the spool
        self._backoff = backoff
        self._settle = settle if destination.settles else 0.0
        self._log = log.bind(destination=destination.name)
        self._lose = lose
        self._clock = clock
        self._flights: deque[_Flight] = deque()
        self._news = threading.Condition()
        self._has_news = self._finishing = self._stopped = False
        self._thread = threading.Thread(target=self._carry, name=f"audit {destination.name}", daemon=True)

    # -- for the trail

    def start(self) -> None:
        self._thread.start()

    def store(self, lines: Sequence[bytes]) -> None:
        """Put ``lines`` into the spool and on the disk."""
        lost = self.spool.put(lines)
        if lost:
            self._lose(self.destination.name, lost, "the spool is full")
        try:
            self.spool.save()
        except OSError as error:
            if not self.has_trouble:
                self._log.error("the audit spool cannot be written", error=error.strerror or str(error))
            self.has_trouble = True
        else:
            if self.has_trouble:
                self._log.info("the audit spool is written again")
            self.has_trouble = False
        self._tell(news=bool(lines))

    def finish(self) -> None:
        """Nothing more comes: end when everything is taken away, or when that cannot be done now."""
        self._tell(news=True, finishing=True)

    def join(self, until: float) -> None:
        """Wait for that, and interrupt what takes longer."""
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            self._tell(stopped=True)
            self.destination.interrupt()
            self._thread.join(_LAST_MOMENT)

    def close(self, *, is_stored: bool) -> int:
        """Give the spool back; how many messages wait in it. Where somebody still writes to it, it is left to him."""
        waiting = len(self.spool)
        if self.spool.unsaved and is_stored:
            self.store(())
        if self.spool.unsaved:
            self._lose(self.destination.name, self.spool.unsaved, "the process ends and they are on no disk")
        if is_stored:
            self.spool.close()
        return waiting

    def _tell(self, *, news: bool = False, finishing: bool = False, stopped: bool = False) -> None:
        with self._news:
            self._has_news |= news
            self._finishing |= finishing
            self._stopped |= stopped
            self._news.notify_all()

    # -- the thread of the destination

    def _carry(self) -> None:
        while not self._stopped:
            try:
                self._confirm()
                if self._forward():
                    continue
                if self._finishing and self._is_empty():
                    self._end_well()
                    break
                self._wait(self._until_due())
            except (OSError, ValueError) as error:  # the latter for a host that is no name
                pause = self._failed(error)
                if self._finishing and pause:
                    break
                self._pause(pause)
        self.destination.close()

    def _forward(self) -> bool:
        """Send what waits, a little at once; whether there was something."""
        room = self.destination.window - sum(flight.octets for flight in self._flights)
        records = self.spool.peek(self._in_flight(), min(_BATCH, room)) if room > 0 else []
        lines = list(filter(None, records))
        if records:
            refused = self.destination.send(lines) if lines else 0
            due, unread = self._clock() + self._settle, len(records) - len(lines)
            self._flights.append(_Flight(due, len(records), sum(map(len, lines)), refused, unread))
        return bool(records)

    def _confirm(self) -> None:
        """Let go of what was sent long enough ago, where nothing says that it did not arrive."""
        due = [flight for flight in self._flights if flight.due <= self._clock()]
        if any(flight.octets for flight in due) and not self.destination.has_arrived():
            return
        if due:
            self._let_go(due)

    def _let_go(self, flights: Iterable[_Flight]) -> None:
        for flight in list(flights):
            self._flights.popleft()
            self.spool.done(flight.lines)
            if flight.refused:
                self._lose(self.destination.name, flight.refused, "they are too long for this way")
            if flight.unread:
                self._lose(self.destination.name, flight.unread, "the spool cannot be read")
        self._backoff.reset()
        if self.is_away:
            self.is_away = False
            self._log.info("the audit destination is back", waiting=len(self.spool))

    def _failed(self, error: Exception) -> float:
        """Begin anew with what is not known to have arrived; seconds until then."""
        self.destination.close()
        self._flights.clear()
        pause = self._backoff.next()
        if pause and not self.is_away and not self._stopped:
            self.is_away = True
            why = quote(str(error), _LONGEST_REASON)
            self._log.warning("the audit destination is away", error=why, waiting=len(self.spool))
        return pause

    def _end_well(self) -> None:
        if self.destination.finish() or not any(flight.octets for flight in self._flights):
            self._let_go(self._flights)

    def _in_flight(self) -> int:
        return sum(flight.lines for flight in self._flights)

    def _is_empty(self) -> bool:
        return self._in_flight() == len(self.spool)

    def _until_due(self) -> float | None:
        """Seconds until something may count as having arrived."""
        if not self._flights:
            return None
        # What the other end does not acknowledge is looked at again and again, but not all the time.
        return max(self._flights[0].due - self._clock(), self._settle / 4, 0.001)

    def _wait(self, seconds: float | None) -> None:
        with self._news:
            self._news.wait_for(lambda: self._has_news or self._stopped, seconds)
            self._has_news = False

    def _pause(self, seconds: float) -> None:
        with self._news:
            self._news.wait_for(lambda: self._finishing or self._stopped, seconds)
