"""The sub-operations of one retrieval, for several threads: what is left, and what came of the rest."""

from __future__ import annotations

from collections import Counter, deque
from threading import Condition
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scpd.index.query import Held


class Outcome(NamedTuple):
    """What came of one sub-operation: the status of the C-STORE response, None where none came.

    ``why`` is why it is no success; ``transcoded`` says that it went out in another transfer syntax than it is held in.
    """

    sop_instance_uid: str
    status: int | None
    why: str = ""
    transcoded: bool = False


class Work:
    """What is to be sent, in batches that share an association; whoever takes something reports it, or puts it back."""

    def __init__(self, batches: Iterable[Iterable[Held]]) -> None:
        self._batches = [deque(batch) for batch in batches]
        self._left = sum(map(len, self._batches))
        self._under_way = 0
        self._stopped = False
        self._outcomes: list[Outcome] = []
        self._tries: Counter[str] = Counter()
        self._changed = Condition()

    @property
    def stopped(self) -> bool:
        """Whether nothing more is to begin."""
        return self._stopped

    @property
    def is_over(self) -> bool:
        """Whether everything has come to something, or all that began before it was stopped."""
        return not self._left or (self._stopped and not self._under_way)

    def has(self, batch: int) -> bool:
        """Whether there is something to take."""
        return bool(self._batches[batch]) and not self._stopped

    def take(self, batch: int) -> Held | None:
        """The next instance; None where there is none now."""
        with self._changed:
            if not self.has(batch):
                return None
            self._under_way += 1
            return self._batches[batch].popleft()

    def put_back(self, batch: int, held: Held) -> None:
        """It was not begun."""
        with self._changed:
            self._batches[batch].appendleft(held)
            self._under_way -= 1
            self._tell()

    def dropped(self, batch: int, held: Held, why: str, attempts: int) -> None:
        """Its association broke under it: it comes again, after all others, unless that was its last attempt."""
        self._tries[held.sop_instance_uid] += 1
        if self._tries[held.sop_instance_uid] >= attempts:
            self.done(Outcome(held.sop_instance_uid, None, why))
            return
        with self._changed:
            self._batches[batch].append(held)
            self._under_way -= 1
            self._tell()

    def done(self, outcome: Outcome) -> None:
        """It has come to something."""
        with self._changed:
            self._outcomes.append(outcome)
            self._under_way -= 1
            self._left -= 1
            self._tell()

    def stop(self) -> None:
        """Nothing more begins; what is under way comes to its end."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def give_up(self, why: str) -> None:
        """What is left has failed."""
        with self._changed:
            for batch in self._batches:
                self._outcomes += [Outcome(held.sop_instance_uid, None, why) for held in batch]
                self._left -= len(batch)
                batch.clear()
            self._changed.notify_all()

    def outcomes(self) -> list[Outcome]:
        """Those since the last call."""
        with self._changed:
            taken, self._outcomes = self._outcomes, []
            return taken

    def wait(self, seconds: float) -> bool:
        """Wait until it :attr:`is_over`, for so long; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self.is_over, seconds)

    def pause(self, seconds: float) -> None:
        """Wait for so long, or until there is nothing more to wait for."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or not self._left, seconds)

    def _tell(self) -> None:
        if self.is_over:
            self._changed.notify_all()
