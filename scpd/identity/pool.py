"""Where costly checks are done: a few threads that give way to everything else.

A password hash takes a processor for tens of milliseconds, and a peer decides how many are asked for. So few run at
once, at a lower priority than the associations, and who waits too long is told to come back.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from scpd.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_NICER = 10
_PATIENCE = 10.0
_CLOSED = "this server is stopping"


class Pool:
    """Runs what :meth:`run` is given, ``threads`` at a time; who waited ``patience`` seconds waited in vain."""

    def __init__(self, threads: int | None = None, patience: float = _PATIENCE) -> None:
        self._patience = patience
        count = threads or max(1, (os.cpu_count() or 1) // 2)
        self._executor = ThreadPoolExecutor(count, "identity", initializer=_give_way)

    def run(self, work: Callable[[], T]) -> T:
        """What ``work`` returns. Raises what it raises, and :class:`Unavailable` when its turn does not come."""
        try:
            future = self._executor.submit(work)
        except RuntimeError:
            raise Unavailable(_CLOSED) from None
        if not wait((future,), self._patience).done:
            future.cancel()
            raise Unavailable("too many identities are being verified at this moment")
        try:
            return future.result()
        except CancelledError:
            raise Unavailable(_CLOSED) from None

    def close(self) -> None:
        """Begin nothing more."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _give_way() -> None:
    with suppress(OSError):  # not everywhere may a thread have a priority of its own
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICER)
