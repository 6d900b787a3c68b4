"""Signals as a queue of numbers that one thread reads.

The system gives a signal to any thread of the process, and Python runs handlers on the main one, which a wait there
does not always notice. So the number goes through a descriptor, written by the interpreter itself as it comes.
"""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Signals:
    """Take ``numbers`` from now on, until :meth:`next` is asked for them; must be made on the main thread."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self.take(numbers)

    @staticmethod
    def take(numbers: Iterable[int]) -> None:
        """Take these as well."""
        for number in numbers:
            signal.signal(number, lambda _number, _frame: None)

    def next(self, patience: float | None = None) -> int | None:
        """The next signal, or number given to :meth:`put`; None where none comes within ``patience`` seconds."""
        self._reader.settimeout(patience)
        try:
            return self._reader.recv(1)[0]
        except TimeoutError:
            return None

    def put(self, number: int) -> None:
        """Have :meth:`next` return ``number``, from any thread."""
        self._writer.send(bytes((number,)))
