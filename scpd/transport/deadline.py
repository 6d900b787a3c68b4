"""When something must have happened by, on the monotonic clock, and what to say when it has not."""

from __future__ import annotations

import time
from typing import NamedTuple, Self

from scpd.errors import Expired


class Deadline(NamedTuple):
    """An instant of the monotonic clock, in seconds; ``which`` names the time-out as the configuration does."""

    at: float
    which: str
    what: str

    @classmethod
    def after(cls, seconds: float, which: str, what: str) -> Self:
        """The deadline ``seconds`` from now."""
        return cls(time.monotonic() + seconds, which, what)

    def remaining(self) -> float:
        """Seconds that are left; raises :class:`Expired` when there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise self.expired()
        return left

    def expired(self) -> Expired:
        """The error for having missed it."""
        return Expired(self.which, self.what)
