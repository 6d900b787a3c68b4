"""Who guessed wrong too often waits: counted by key, in bounded memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

_MOST_KEYS = 10_000
# Each further failure after a lock doubles the next one, up to so many times the first.
_LONGEST = 16


class _Entry(NamedTuple):
    failures: int
    since: float
    locked_until: float
    seconds: float


class Lockout:
    """After ``failures`` within ``seconds`` a key is locked for ``seconds``, and twice as long after each one more.

    Zero failures lock nobody. All methods may be called from any thread; times are monotonic, in seconds.
    """

    def __init__(self, failures: int, seconds: float, most_keys: int = _MOST_KEYS) -> None:
        self._failures = failures
        self._seconds = seconds
        self._most_keys = most_keys
        self._lock = threading.Lock()
        self._entries: OrderedDict[object, _Entry] = OrderedDict()

    def remaining(self, key: object, now: float) -> float:
        """How long ``key`` is still locked; 0 when it is not."""
        with self._lock:
            entry = self._entries.get(key)
            return max(0.0, entry.locked_until - now) if entry else 0.0

    def failed(self, key: object, now: float) -> None:
        """``key`` failed once more."""
        if not self._failures:
            return
        with self._lock:
            entry = self._entries.pop(key, None)
            self._entries[key] = self._after(entry, now)
            if len(self._entries) > self._most_keys:
                self._entries.popitem(last=False)

    def succeeded(self, key: object) -> None:
        """``key`` knew better: nothing is held against it."""
        with self._lock:
            self._entries.pop(key, None)

    def _after(self, entry: _Entry | None, now: float) -> _Entry:
        if entry is None or now - entry.since > max(self._seconds, 2 * entry.seconds):
            entry = _Entry(0, now, 0.0, 0.0)
        failures = entry.failures + 1
        if failures < self._failures:
            return entry._replace(failures=failures)
        seconds = min(2 * entry.seconds or self._seconds, _LONGEST * self._seconds)
        return _Entry(failures, now, now + seconds, seconds)
