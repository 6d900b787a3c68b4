"""Lines out of the process without anybody waiting for it: a bounded queue and one thread that writes.

A pipe that nobody reads, or a full disk, costs log lines, which are counted, and never an association.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from typing import TextIO

_MOST_LINES = 10_000
_FLUSH_SECONDS = 2.0


class Sink:
    """Writes lines to ``stream`` in the order they came. Used as structlog's logger: any method takes a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: deque[str] = deque()
        self._lost = 0
        self._something = threading.Condition()
        self._busy = False
        threading.Thread(target=self._write_forever, name="log", daemon=True).start()

    def write(self, line: str) -> None:
        """Take a line; when too many wait already, count it as lost."""
        with self._something:
            if len(self._lines) >= _MOST_LINES:
                self._lost += 1
                return
            self._lines.append(line)
            self._something.notify()

    debug = info = warning = error = critical = exception = msg = write

    def flush(self) -> None:
        """Wait, but not for long, until everything taken so far is written."""
        with self._something:
            self._something.wait_for(lambda: not self._lines and not self._busy, _FLUSH_SECONDS)

    def _write_forever(self) -> None:
        while True:
            with self._something:
                self._busy = False
                self._something.notify_all()
                self._something.wait_for(lambda: self._lines)
                self._busy = True
                lines, lost = list(self._lines), self._lost
                self._lines.clear()
                self._lost = 0
            if lost:
                lines.append(f"{lost} log lines were lost: nobody took them")
            with suppress(OSError, ValueError):  # a stream that is closed or broken: logging is not worth dying for
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()
