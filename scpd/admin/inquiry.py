"""Asking the daemon, one after the other: where an answer does not come back, only one thread waits for it for ever."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from scpd.errors import ScpdError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scpd.admin.facts import Daemon, Facts, Part

_PATIENCE = 2.0


class Unanswered(ScpdError):
    """The daemon does not say how it is: something that it looks at does not come back."""


class Inquiry:
    """The two questions to a daemon. Raises :class:`Unanswered` where the one before was not answered in time."""

    def __init__(self, daemon: Daemon, patience: float = _PATIENCE) -> None:
        self._daemon = daemon
        self._patience = patience
        self._turn = threading.Lock()

    def facts(self) -> Facts:
        """How things are."""
        with self._taking_turns():
            return self._daemon.facts()

    def readiness(self) -> Sequence[Part]:
        """Part by part."""
        with self._taking_turns():
            return self._daemon.readiness()

    @contextmanager
    def _taking_turns(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=self._patience):
            raise Unanswered(
                "scpd does not say how it is: something that it looks at does not come back; look at the file systems "
                "of its storage directories"
            )
        try:
            yield
        finally:
            self._turn.release()
