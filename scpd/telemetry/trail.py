"""The audit trail: takes messages from many threads at once, and lets nobody wait for where they go.

``write`` puts a message into memory and returns. One thread brings what is there into the spools, one for each
destination, and each destination has a thread that takes lines from its spool in order. So a destination that is away,
slow or full costs nobody else anything; what it owes waits in its spool, and when that is full the newest are lost and
the log says how many.

What can be lost, where there is a spool directory:

- by a crash of the process or the machine, what was written in the moment before: until the fsync that follows at once
  (``flush`` waits for it);
- in a connection that turned out dead, nothing that was sent in the last second (:attr:`Pace.settle`) or is not
  acknowledged by the collector's system: that is sent again, so that a collector may get messages twice. What its
  system acknowledged and its program never read is lost, since syslog knows no acknowledgement of its own;
- over UDP, whatever the network drops.

Without a directory all that waits is lost with the process. Knows nobody who writes to it.
"""

from __future__ import annotations

import random
import re
import threading
import time
import zlib
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from scpd.telemetry import syslog
from scpd.telemetry.outlet import Backoff, Outlet, Pace
from scpd.telemetry.spool import LONGEST_LINE, Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from scpd.telemetry.audit import Message
    from scpd.telemetry.syslog import Destination

_MOST_FRESH = 8 << 20  # octets in memory, should the disk of the spools hang
_RETRY_SAVING = 1.0  # seconds
_LAST_MOMENT = 1.0  # seconds that a thread has in any case to end
_SAFE = re.compile(r"[^A-Za-z0-9.-]+", re.ASCII)
_SPOOL_LIMIT = 64 << 20
_PACE = Pace()


class Standing(NamedTuple):
    """How one destination stands: how many messages wait, and whether it is away."""

    name: str
    waiting: int
    is_away: bool


class Trail:
    """Takes messages to ``destinations``, in the order in which they were written.

    ``spool`` is a directory, made where it is missing, that no other process uses; without it messages wait in
    memory. ``spool_limit`` bounds the octets that wait for one destination. Raises
    :class:`~scpd.errors.SettingError` for a spool that cannot be used and :class:`ValueError` for two destinations of
    one name.
    """

    def __init__(
        self,
        destinations: Sequence[Destination],
        spool: Path | None = None,
        spool_limit: int = _SPOOL_LIMIT,
        *,
        log: FilteringBoundLogger,
        pace: Pace = _PACE,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        names = [destination.name for destination in destinations]
        if len(set(names)) < len(names):
            raise ValueError("two audit destinations are the same; name each once")
        self._log = log
        self._alarm = _Alarm(log, pace.alarm, clock)
        self._news = threading.Condition()
        self._fresh: deque[bytes] = deque()
        self._fresh_octets = 0
        self._written = self._stored = 0
        self._closing = False
        self._has_disk = spool is not None
        self._outlets: list[Outlet] = []
        try:
            for destination in destinations:
                lines = Spool(spool and spool / _folder(destination.name), spool_limit)
                backoff = Backoff(pace.first, pace.most, chance)
                outlet = Outlet(destination, lines, backoff, pace.settle, log, self._lose, clock)
                self._outlets.append(outlet)
        except BaseException:
            for outlet in self._outlets:
                outlet.spool.close()
            raise
        self._tell_of_what_was_left(spool)
        self._storing = threading.Thread(target=self._store_forever, name="audit", daemon=True)
        self._storing.start()
        for outlet in self._outlets:
            outlet.start()

    def _tell_of_what_was_left(self, spool: Path | None) -> None:
        for outlet in self._outlets:
            name, waiting, damaged = outlet.destination.name, len(outlet.spool), outlet.spool.damaged
            if waiting:
                self._log.info("audit messages of an earlier run wait", destination=name, count=waiting)
            if damaged:
                self._log.warning("audit messages in the spool are damaged", destination=name, count=damaged)
        ours = {_folder(outlet.destination.name) for outlet in self._outlets}
        folders = [path.parent for path in spool.glob("*/*.spool")] if spool else []
        for folder in sorted(set(folders)):
            if folder.name not in ours:
                self._log.warning("audit messages wait for a destination that is not set up", directory=str(folder))

    def write(self, message: Message) -> None:
        """Take ``message`` along. Waits for nothing, and raises nothing for what becomes of it."""
        line = syslog.encode(message)
        with self._news:
            if self._closing:
                why = "the audit trail is closed"
            elif len(line) > LONGEST_LINE:
                why = "they are too long"
            elif self._fresh_octets + len(line) > _MOST_FRESH:
                why = "the spool does not take them fast enough"
            else:
                self._fresh.append(line)
                self._fresh_octets += len(line)
                self._written += 1
                self._news.notify_all()
                return
        self._lose("all", 1, why)

    def flush(self, timeout: float) -> bool:
        """Wait until what was written so far is on the disk, but for what was lost; whether it is.

        Without a spool directory it never is.
        """
        with self._news:
            written = self._written
            stored = self._news.wait_for(lambda: self._stored >= written, timeout)
        return stored and self._has_disk and not any(outlet.has_trouble for outlet in self._outlets)

    @property
    def lost(self) -> int:
        """How many messages were lost so far, each counted for each destination that does not get it."""
        return self._alarm.total

    def standings(self) -> list[Standing]:
        """How the destinations stand."""
        return [Standing(outlet.destination.name, len(outlet.spool), outlet.is_away) for outlet in self._outlets]

    def close(self, timeout: float) -> int:
        """Take no more, and take along what can be taken in about ``timeout`` seconds; how many messages still wait.

        A destination that is away is tried once more. What waits stays in the spool; without one it is lost.
        """
        until = time.monotonic() + timeout
        with self._news:
            if self._closing:
                return sum(standing.waiting for standing in self.standings())
            self._closing = True
            self._news.notify_all()
        self._storing.join(max(timeout, _LAST_MOMENT))
        for outlet in self._outlets:
            outlet.finish()
        for outlet in self._outlets:
            outlet.join(until)
        waiting = sum(outlet.close(is_stored=not self._storing.is_alive()) for outlet in self._outlets)
        self._alarm.tell(at_once=True)
        return waiting

    def _store_forever(self) -> None:
        while True:
            with self._news:
                if not self._fresh and not self._closing:
                    self._news.wait(self._patience())
                lines, is_last = list(self._fresh), self._closing
                self._fresh.clear()
                self._fresh_octets = 0
            for outlet in self._outlets:
                outlet.store(lines)
            with self._news:
                self._stored += len(lines)
                self._news.notify_all()
            self._alarm.tell()
            if is_last:
                return

    def _patience(self) -> float | None:
        waits = [_RETRY_SAVING] if any(outlet.has_trouble for outlet in self._outlets) else []
        alarm = self._alarm.seconds_left()
        return min(waits + ([] if alarm is None else [alarm]), default=None)

    def _lose(self, name: str, count: int, why: str) -> None:
        self._alarm.count(name, count * (len(self._outlets) if name == "all" else 1), why)
        with self._news:
            closing = self._closing
            self._news.notify_all()
        if closing:
            self._alarm.tell()


class _Alarm:
    """Counts what was lost, and tells the log of it: at once, and then not again for ``period`` seconds."""

    def __init__(self, log: FilteringBoundLogger, period: float, clock: Callable[[], float]) -> None:
        self.total = 0
        self._log = log
        self._period = period
        self._clock = clock
        self._lock = threading.Lock()
        self._untold: dict[tuple[str, str], int] = {}
        self._told = float("-inf")

    def count(self, name: str, lost: int, why: str) -> None:
        with self._lock:
            self.total += lost
            self._untold[name, why] = self._untold.get((name, why), 0) + lost

    def seconds_left(self) -> float | None:
        """Until the next alarm; None where there is nothing to tell."""
        return max(0.0, self._told + self._period - self._clock()) if self._untold else None

    def is_due(self) -> bool:
        return self.seconds_left() == 0.0

    def tell(self, *, at_once: bool = False) -> None:
        with self._lock:
            if not self._untold or not (at_once or self.is_due()):
                return
            untold, self._untold = self._untold, {}
            self._told = self._clock()
        for (name, why), count in untold.items():
            self._log.error("audit messages were lost", destination=name, count=count, why=why)


def _folder(name: str) -> str:
    """A directory's name for a destination: readable, and no two alike."""
    return f"{_SAFE.sub('_', name)[:80]}-{zlib.crc32(name.encode()):08x}"
