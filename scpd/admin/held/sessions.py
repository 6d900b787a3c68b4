"""Who has signed in: in memory alone, so that nobody is signed in after a restart. Knows no HTTP and no token."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field

QUIET = 15 * 60.0
LONGEST = 12 * 3600.0
MOST = 32
# So many studies of one session are told to the audit trail once; then telling begins anew.
_MOST_STUDIES = 10_000


@dataclass(slots=True)
class Session:
    """Times are monotonic, in seconds. ``studies`` are those that were looked at."""

    began: float
    seen: float
    studies: set[tuple[str, str]] = field(default_factory=set)

    def is_new(self, study: tuple[str, str]) -> bool:
        """Whether this is the first look at a study."""
        if len(self.studies) >= _MOST_STUDIES:
            self.studies.clear()
        before = len(self.studies)
        self.studies.add(study)
        return len(self.studies) > before


class Sessions:
    """Each ends after a quarter of an hour without a look, and after twelve hours. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_id: dict[str, Session] = {}

    def begin(self, now: float) -> str:
        """The ID of a new one; of too many, that which has been quiet longest ends."""
        made = secrets.token_urlsafe(32)
        with self._lock:
            self._forget(now)
            if len(self._by_id) >= MOST:
                del self._by_id[min(self._by_id, key=lambda one: self._by_id[one].seen)]
            self._by_id[made] = Session(now, now)
        return made

    def find(self, session_id: str, now: float) -> Session | None:
        """The one with this ID, which is a look of somebody."""
        with self._lock:
            self._forget(now)
            found = self._by_id.get(session_id)
            if found:
                found.seen = now
            return found

    def end(self, session_id: str) -> None:
        """Somebody has signed out."""
        with self._lock:
            self._by_id.pop(session_id, None)

    def end_all(self) -> None:
        """Another token counts now."""
        with self._lock:
            self._by_id.clear()

    def _forget(self, now: float) -> None:
        over = [
            one for one, session in self._by_id.items() if now - session.seen > QUIET or now - session.began > LONGEST
        ]
        for one in over:
            del self._by_id[one]
