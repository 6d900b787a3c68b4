"""The process looks after itself, every few seconds: what stands still is logged, and systemd told how things are.

An accept loop that does not answer any more is nothing that mends itself: the life sign for systemd's watchdog is left
out then, so that it starts the process anew. A disk that hangs would hang again, and only makes it not ready.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from scpd.daemon.overview import Overview, Situation
    from scpd.daemon.systemd import Notifier

_BETWEEN_BEATS = 5.0


class Pulse:
    """Beats when it is due. ``watched`` is after how many seconds systemd takes silence for death, or None."""

    def __init__(
        self,
        situation: Situation,
        overview: Overview,
        notifier: Notifier,
        watched: float | None,
        log: FilteringBoundLogger,
    ) -> None:
        self._situation = situation
        self._overview = overview
        self._notifier = notifier
        self._log = log
        self._between = min(_BETWEEN_BEATS, watched / 3) if watched else _BETWEEN_BEATS
        self._due = time.monotonic() + self._between
        self._told: dict[str, str] = {}

    def patience(self) -> float:
        """For how many seconds nothing is due."""
        return max(0.0, self._due - time.monotonic())

    def beat(self) -> None:
        """Look, and tell, if it is due."""
        if self.patience():
            return
        self._due = time.monotonic() + self._between
        troubles = {part.name: part.why for part in self._overview.readiness() if not part.is_ready}
        self._tell(troubles)
        if not self._situation.stuck():
            self._notifier.alive()
        self._notifier.status(self.status(troubles))

    def status(self, troubles: dict[str, str] | None = None) -> str:
        """One line for people."""
        associations = self._situation.fleet.associations
        not_ready = "; ".join(f"{name}: {why}" for name, why in (troubles or {}).items())
        words = [f"{self._situation.state}, {associations} association{'s' * (associations != 1)}"]
        if faults := self._situation.reloads.faults:
            words.append(f"the last reload failed, nothing has changed: {faults[0]}")
        if not_ready:
            words.append(f"not ready: {not_ready}")
        return "; ".join(words)

    def _tell(self, troubles: dict[str, str]) -> None:
        """Each trouble once when it comes, and once when it is over."""
        if self._situation.state != "serving":
            return
        for name, why in troubles.items():
            if name not in self._told:
                self._log.error("not ready", what=name, why=why)
        for name in self._told:
            if name not in troubles:
                self._log.warning("ready again", what=name)
        self._told = troubles
