"""How much of one address is told, so that none of them fills what it is told in; what is left out is counted."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from scpd.identity.access import source
from scpd.identity.rates import Buckets, Rate
from scpd.telemetry.logs import logger

_COMPLAINTS = Rate(1, 60.0)
# Of more addresses than this, the log alone knows how much of the first was left out.
_MOST_ADDRESSES = 10_000


class Share:
    """What one address has of a trail: so many messages in so many seconds.

    ``complaint`` is the log line, at most once a minute, that tells what was left out of all of them.
    """

    def __init__(self, rate: Rate, complaint: str) -> None:
        self._buckets = Buckets(rate)
        self._complaint = complaint
        self._log = logger("audit")
        self._said = Buckets(_COMPLAINTS)
        self._lock = threading.Lock()
        self._left_out = 0
        self._of: OrderedDict[str, int] = OrderedDict()

    def take(self, host: str) -> int | None:
        """How many of ``host`` were left out since the last that was told; None where this one is left out too."""
        now, key = time.monotonic(), source(host)
        if self._buckets.take(key, now):
            with self._lock:
                return self._of.pop(key, 0)
        with self._lock:
            self._left_out += 1
            self._of[key] = self._of.pop(key, 0) + 1
            if len(self._of) > _MOST_ADDRESSES:
                self._of.popitem(last=False)
            left_out = self._left_out
        if self._said.take("", now):
            self._log.warning(self._complaint, left_out=left_out)
        return None
