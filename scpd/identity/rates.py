"""How often somebody may come: token buckets, one for each key, in bounded memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

# Whoever is left out of memory begins anew with a full bucket; it is the one that came least recently.
_MOST_KEYS = 10_000


class Rate(NamedTuple):
    """So many ``times`` in ``seconds``, all of them at once where nobody came before."""

    times: int
    seconds: float


class Buckets:
    """A bucket of tokens for each key. All methods may be called from any thread; times are monotonic, in seconds."""

    def __init__(self, rate: Rate, most_keys: int = _MOST_KEYS) -> None:
        self.rate = rate
        self._most_keys = most_keys
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key → tokens, when

    def take(self, key: str, now: float) -> bool:
        """Take a token of ``key``; whether there was one."""
        with self._lock:
            tokens, then = self._buckets.pop(key, (float(self.rate.times), now))
            tokens = min(float(self.rate.times), tokens + (now - then) * self.rate.times / self.rate.seconds)
            taken = tokens >= 1.0
            self._buckets[key] = (tokens - 1.0 if taken else tokens, now)
            if len(self._buckets) > self._most_keys:
                self._buckets.popitem(last=False)
            return taken
