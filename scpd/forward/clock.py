"""The time that stands in the queue: the wall clock's at the start of the process, then as steady as a stop-watch.

So a clock that is set while scpd runs neither hastens nor holds up anything; what a jump between two runs does to the
times on the disk is mended when they are read (:meth:`scpd.forward.queue.Queue.recover`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """Seconds since the epoch that only ever grow."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._offset = wall() - monotonic()

    def now(self) -> float:
        return self._offset + self._monotonic()
