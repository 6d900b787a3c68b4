"""Who guessed wrong too often waits: counted by key, in bounded memory."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from typing import NamedTuple

_MOST_KEYS = 10_000
# Each further failure after a lock doubles the next one, up to so many times the first.
_LONGEST = 16


class _Lock(NamedTuple):
    since: float
    seconds: float

    @property
    def until(self) -> float:
        return self.since + self.seconds


class Lockout:
    """After ``failures`` within any ``seconds`` a key is locked for ``seconds``, twice as long after each one more.

    Zero failures lock nobody. All methods may be called from any thread; times are monotonic, in seconds.
    """

    def __init__(self, failures: int, seconds: float, most_keys: int = _MOST_KEYS) -> None:
        self._failures = failures
        self._seconds = seconds
        self._most_keys = most_keys
        self._changed = threading.Condition()
        # Apart, so that keys that failed once or twice never drive out those that wait.
        self._entries: OrderedDict[object, tuple[float, ...]] = OrderedDict()  # when they failed
        self._locks: OrderedDict[object, _Lock] = OrderedDict()
        self._trying: Counter[object] = Counter()

    def remaining(self, key: object, now: float) -> float:
        """How long ``key`` is still locked; 0 when it is not."""
        with self._changed:
            return self._remaining(key, now)

    def begin(self, key: object, now: float, patience: float) -> bool:
        """A try begins; False where ``key`` is locked. :meth:`end` has to follow.

        There are never more at once than may fail: others wait, up to ``patience`` seconds, and :class:`TimeoutError`
        is raised when that was in vain.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_room(key, now), patience):
                raise TimeoutError
            if self._remaining(key, now):
                return False
            self._trying[key] += 1
            return True

    def end(self, key: object) -> None:
        """A try is over; how it went is said before, by :meth:`failed`, :meth:`succeeded` or nothing."""
        with self._changed:
            self._trying[key] -= 1
            if not self._trying[key]:
                del self._trying[key]
            self._changed.notify_all()

    def failed(self, key: object, now: float) -> None:
        """``key`` failed once more."""
        if not self._failures:
            return
        with self._changed:
            lock = self._locks.pop(key, None)
            if lock and now - lock.since <= 2 * lock.seconds:
                self._lock(key, _Lock(now, min(2 * lock.seconds, _LONGEST * self._seconds)))
                return
            times = (*(one for one in self._entries.pop(key, ()) if now - one <= self._seconds), now)
            if len(times) >= self._failures:
                self._lock(key, _Lock(now, self._seconds))
                return
            self._entries[key] = times
            if len(self._entries) > self._most_keys:
                self._entries.popitem(last=False)

    def succeeded(self, key: object) -> None:
        """``key`` knew better: nothing is held against it."""
        with self._changed:
            self._entries.pop(key, None)
            self._locks.pop(key, None)

    def _lock(self, key: object, lock: _Lock) -> None:
        self._locks[key] = lock
        if len(self._locks) > self._most_keys:
            self._locks.popitem(last=False)

    def _remaining(self, key: object, now: float) -> float:
        lock = self._locks.get(key)
        return max(0.0, lock.until - now) if lock else 0.0

    def _has_room(self, key: object, now: float) -> bool:
        if not self._failures or not self._trying[key] or self._remaining(key, now):
            return True
        failed = self._failures - 1 if key in self._locks else len(self._entries.get(key, ()))
        return failed + self._trying[key] < self._failures
