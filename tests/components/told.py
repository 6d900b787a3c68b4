"""The log as data: what is made after this logs into a list, and a test can wait for a line."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 20.0


class Told(list):
    """The log lines, and a way to wait for one; ``fits`` says whether an event is the one that is waited for."""

    def __init__(self, fits: Callable[[str, str], bool] = str.__eq__) -> None:
        super().__init__()
        self._fits = fits
        self._changed = threading.Condition()

    def __call__(self, _logger, level, event):
        with self._changed:
            self.append({**event, "log_level": level})
            self._changed.notify_all()
        raise structlog.DropEvent

    def wait(self, event: str, count: int = 1) -> list[dict]:
        def found() -> list[dict]:
            return [line for line in self if self._fits(line["event"], event)]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, PATIENCE), f"no {event!r} in {list(self)}"
        return found()


@contextmanager
def log_of_what_is_made(fits: Callable[[str, str], bool] = str.__eq__) -> Iterator[Told]:
    lines = Told(fits)
    before = structlog.get_config() if structlog.is_configured() else None
    structlog.configure(processors=[lines], cache_logger_on_first_use=False)
    try:
        yield lines
    finally:
        structlog.configure(**before) if before else structlog.reset_defaults()
