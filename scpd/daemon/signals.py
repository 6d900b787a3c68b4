"""Signals as a queue of numbers that one thread reads.

The system gives a signal to any thread of the process, and Python runs handlers on the main one, which a wait there
does not always notice. So a handler only notes the number, and a descriptor, written by the interpreter itself as the
signal comes, ends the wait.
"""

from __future__ import annotations

import signal
import socket
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# The second SIGTERM means more than the first; a third of anything says nothing new, and must not crowd out others.
_MOST_OF_EACH = 2
_WAKES = 4096


class Signals:
    """Take ``numbers`` from now on, until :meth:`next` is asked for them; must be made on the main thread."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._noted: deque[int] = deque()
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self.take(numbers)

    def take(self, numbers: Iterable[int]) -> None:
        """Take these as well."""
        for number in numbers:
            signal.signal(number, lambda number, _: self._note(number))

    def next(self, patience: float | None = None) -> int | None:
        """The next signal, or number given to :meth:`put`; None where none comes within ``patience`` seconds."""
        end = None if patience is None else time.monotonic() + patience
        while not self._noted:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return None
            self._reader.settimeout(left)
            with suppress(TimeoutError):
                self._reader.recv(_WAKES)
        return self._noted.popleft()

    def put(self, number: int) -> None:
        """Have :meth:`next` return ``number``, from any thread."""
        self._note(number)
        with suppress(BlockingIOError):  # full of wakes: whoever waits is woken anyway
            self._writer.send(b"\0")

    def _note(self, number: int) -> None:
        if self._noted.count(number) < _MOST_OF_EACH:
            self._noted.append(number)
