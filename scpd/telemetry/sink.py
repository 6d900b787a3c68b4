"""Lines out of the process without anybody waiting for it.

A stream that takes a line at once gets it at once. One that does not, a pipe that nobody reads, gets its lines from a
bounded queue and a thread of its own: it costs log lines, which are counted, and never an association.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MOST_LINES = 10_000
_FLUSH_SECONDS = 2.0


class Sink:
    """Writes lines to ``stream`` in the order they came. Used as structlog's logger: any method takes a line.

    ``lost`` makes the line that tells how many were lost; ``all_lost`` counts them from the start.
    """

    def __init__(self, stream: TextIO, lost: Callable[[int], str]) -> None:
        self._stream = stream
        self._lost_line = lost
        self._descriptor = _descriptor(stream)
        self._ready = select.poll()
        if self._descriptor >= 0:
            self._ready.register(self._descriptor, select.POLLOUT)
        self._lines: deque[str] = deque()
        self._lost = 0
        self.all_lost = 0
        self._something = threading.Condition()
        self._busy = False
        threading.Thread(target=self._write_forever, name="log", daemon=True).start()

    def write(self, line: str) -> None:
        """Take a line; when too many wait already, count it as lost."""
        with self._something:
            if not self._lines and not self._busy and self._written_at_once(line):
                return
            if len(self._lines) >= _MOST_LINES:
                self._lost += 1
                self.all_lost += 1
                return
            self._lines.append(line)
            self._something.notify_all()

    debug = info = warning = error = critical = exception = msg = write

    @property
    def waiting(self) -> int:
        """How many lines nobody has taken yet."""
        return len(self._lines)

    def flush(self) -> None:
        """Wait, but not for long, until everything taken so far is written."""
        with self._something:
            self._something.wait_for(lambda: not self._lines and not self._busy, _FLUSH_SECONDS)

    def _written_at_once(self, line: str) -> bool:
        """Write a line that is sure not to block: POSIX promises a writable pipe PIPE_BUF bytes."""
        raw = _encoded((line,))
        if self._descriptor < 0 or len(raw) > select.PIPE_BUF or not self._ready.poll(0):
            return False
        self._write_out(raw)
        return True

    def _write_out(self, raw: bytes) -> None:
        # Not through the stream, whose lock the end of the process would wait for where nobody reads.
        with suppress(OSError, ValueError):  # closed or full: logging is not worth dying for
            if self._descriptor < 0:
                self._stream.write(raw.decode())
                self._stream.flush()
            while raw and self._descriptor >= 0:
                raw = raw[os.write(self._descriptor, raw) :]

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
                lines.append(self._lost_line(lost))
            self._write_out(_encoded(lines))


def _encoded(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")


def _descriptor(stream: TextIO) -> int:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return -1
