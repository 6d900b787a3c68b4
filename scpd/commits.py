"""Many threads write, and one commit brings to the disk what all of them have gathered while it was busy.

Each commit waits for the disk, so there is one at a time: whoever comes first to wait for it takes what has gathered
since the last one, and does all of it in one transaction, without waking another thread for that. A thread does what
nobody waits for yet. What cannot be done costs nobody else anything. Knows no database: a transaction is given.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

T = TypeVar("T")
C = TypeVar("C")

# How long a writer waits for the disk at most (seconds); then what it does is refused, and whoever sent it keeps it.
PATIENCE = 30.0
# A commit that takes longer than this is in trouble (seconds).
_STANDSTILL = 10.0
# What nobody waits for waits itself for so long, to go with what somebody does and spare a commit.
_COMPANY = 0.02
# Between two tries of it.
_PAUSE = 1.0
# Between two times that it is told that nothing can be written.
_BETWEEN_COMPLAINTS = 60.0


class NotCommittedError(Exception):
    """What was to be written is not, or nobody knows: there is no thread for it any more, or a disk takes too long."""


@dataclass
class _Batch(Generic[C]):
    """What is committed together: what somebody waits for, and what nobody does, with whom to tell afterwards."""

    actions: list[Callable[[C], Any]] = field(default_factory=list)
    later: list[tuple[Callable[[C], Any], Callable[[], None]]] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)
    errors: dict[int, Exception] = field(default_factory=dict)
    done: threading.Event = field(default_factory=threading.Event)


class Begun(Generic[T]):
    """Something on its way to the disk."""

    def __init__(self, commits: Commits[Any], batch: _Batch[Any], place: int) -> None:
        self._commits = commits
        self._batch = batch
        self._place = place

    def result(self, patience: float = PATIENCE) -> T:
        """What came of it, once it is committed; raises as :meth:`Commits.write`."""
        batch, place = self._batch, self._place
        if not self._commits.see_through(batch, patience):
            raise NotCommittedError(f"the disk takes longer than {patience:g} s")
        if place in batch.errors:
            raise batch.errors[place]
        if not batch.results:  # whoever had the turn was ended in the middle of it
            raise NotCommittedError("it was interrupted")
        result: T = batch.results[place]
        return result


class Commits(Generic[C]):
    """Who commits. ``transaction`` gives what actions write on, and commits where nothing is raised.

    ``lasting`` are the errors that would meet every other action too: of a disk, not of one value. ``complain`` is told
    of one, now and then. Raises :class:`RuntimeError` where the system has no thread left.
    """

    def __init__(
        self,
        name: str,
        transaction: Callable[[], AbstractContextManager[C]],
        lasting: tuple[type[Exception], ...],
        complain: Callable[[Exception], None],
    ) -> None:
        self._transaction = transaction
        self._lasting = lasting
        self._complain = complain
        self._turn = threading.Lock()  # to commit
        self._gathered = threading.Condition()
        self._gathering: _Batch[C] = _Batch()
        self._later_due = 0.0
        self._complained = float("-inf")
        self._failure: Exception | None = None
        self._began: float | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._commit_batches, name=name, daemon=True)
        self._thread.start()

    def begin(self, action: Callable[[C], T], *, now: bool = True) -> Begun[T]:
        """Have ``action`` done in one transaction with others; it must be quick.

        With ``now`` that begins while the caller does something else, without it when somebody waits for it. Raises
        :class:`NotCommittedError` at the end of it all.
        """
        with self._gathered:
            if self._closing:
                raise NotCommittedError("it is closed")
            batch, place = self._gathering, len(self._gathering.actions)
            batch.actions.append(action)
            if now:
                self._gathered.notify()
        return Begun(self, batch, place)

    def write(self, action: Callable[[C], T], patience: float = PATIENCE) -> T:
        """Have ``action`` done, in one transaction with others; committed on return. It must be quick.

        Raises what the action or the commit has raised, and :class:`NotCommittedError`; then nothing of it has
        happened, unless the disk took too long.
        """
        return self.begin(action, now=False).result(patience)

    def see_through(self, batch: _Batch[C], patience: float) -> bool:
        """Wait until a batch is committed, by whoever has begun to, or do it; False where that takes too long."""
        if not self._turn.acquire(timeout=patience):
            return batch.done.is_set()
        try:
            if not batch.done.is_set():
                self._commit_gathered()
        finally:
            self._turn.release()
        return True

    def write_later(self, action: Callable[[C], Any], then: Callable[[], None] = lambda: None) -> None:
        """The same, and nobody waits: it is tried until it holds, and ``then`` is called after that.

        Where the process ends before, it has not happened. An action that fails by itself is given up.
        """
        with self._gathered:
            if not self._gathering.later:
                self._later_due = time.monotonic() + _COMPANY
                self._gathered.notify()
            self._gathering.later.append((action, then))

    @property
    def failure(self) -> Exception | None:
        """What the last commit has met; None where it was well."""
        return self._failure

    @property
    def silence(self) -> float:
        """For how many seconds a commit has gone on that takes too long; 0 where none does."""
        began = self._began
        busy = 0.0 if began is None else time.monotonic() - began
        return busy if busy > _STANDSTILL else 0.0

    def close(self, patience: float = PATIENCE) -> bool:
        """Bring to the disk what waits, within ``patience`` seconds; whether the thread has ended."""
        with self._gathered:
            self._closing = True
            self._gathered.notify()
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _commit_batches(self) -> None:
        while self._await_due():
            with self._turn:
                self._commit_gathered()

    def _await_due(self) -> bool:
        """Until something is to be committed that nobody waits for; False at the end."""
        with self._gathered:
            while not self._is_due():
                if self._closing:
                    return False
                self._gathered.wait(self._later_due - time.monotonic() if self._gathering.later else None)
            return True

    def _commit_gathered(self) -> None:
        """By whoever has the turn: all there is, if somebody else has not done it."""
        with self._gathered:
            batch, self._gathering = self._gathering, _Batch()
        try:
            if batch.actions or batch.later:
                self._commit(batch)
        finally:
            batch.done.set()

    def _is_due(self) -> bool:
        later = self._gathering.later and (self._closing or time.monotonic() >= self._later_due)
        return bool(self._gathering.actions or later)

    def _commit(self, batch: _Batch[C]) -> None:
        try:
            batch.results = self._done([*batch.actions, *(action for action, _ in batch.later)])
        except self._lasting as error:
            self._fail(batch, error)
        except Exception:  # noqa: BLE001 whatever one action raises, the others are done
            self._one_by_one(batch)
        else:
            self._failure = None
            self._call(then for _, then in batch.later)

    def _call(self, thens: Iterable[Callable[[], None]]) -> None:
        for then in thens:
            try:
                then()
            except Exception as error:  # noqa: BLE001 it is committed, and others wait to be told so
                self._tell(error)

    def _done(self, actions: list[Callable[[C], Any]]) -> list[Any]:
        """The results of actions in one transaction."""
        self._began = time.monotonic()
        try:
            with self._transaction() as connection:
                return [action(connection) for action in actions]
        finally:
            self._began = None

    def _one_by_one(self, batch: _Batch[C]) -> None:
        """Each in a transaction of its own, so that whoever is at fault is alone with it."""
        batch.results = [None] * len(batch.actions)
        for place, action in enumerate(batch.actions):
            try:
                (batch.results[place],) = self._done([action])
            except Exception as error:  # noqa: BLE001 it is for whoever waits for it
                batch.errors[place] = error
        errors = [error for error in batch.errors.values() if isinstance(error, self._lasting)]
        again: list[tuple[Callable[[C], Any], Callable[[], None]]] = []
        for action, then in batch.later:
            try:
                self._done([action])
            except self._lasting as error:
                errors.append(error)
                again.append((action, then))
            except Exception as error:  # noqa: BLE001 it would fail again
                self._tell(error)
            else:
                self._call((then,))
        self._failure = None
        if errors:
            self._fail(_Batch(later=again), errors[-1])

    def _fail(self, batch: _Batch[C], error: Exception) -> None:
        self._tell(error)
        self._failure = error
        batch.errors = dict.fromkeys(range(len(batch.actions)), error)
        with self._gathered:
            self._later_due = time.monotonic() + _PAUSE
            self._gathering.later[:0] = batch.later if not self._closing else []
            self._gathered.notify()

    def _tell(self, error: Exception) -> None:
        if time.monotonic() - self._complained > _BETWEEN_COMPLAINTS:
            self._complained = time.monotonic()
            with suppress(Exception):
                self._complain(error)
