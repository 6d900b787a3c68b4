"""The queue as it is worked on, through any number of reloads: who works for each hook, and how each stands.

A thread of its own does whatever may wait for the queue's disk, so whoever changes the hooks, or asks how they stand,
never does. What else hands over than hooks is a target like theirs. Knows no configuration.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

from scpd.daemon.watch import STANDSTILL, Lookout
from scpd.forward import studies
from scpd.forward.queue import Queue, QueueError, Standing
from scpd.forward.runner import Runner
from scpd.forward.studies import Studies
from scpd.services.commitment import transactions
from scpd.services.commitment.transactions import Transactions
from scpd.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from scpd.forward.runner import Target

# At the end: for what is being done, and for the disk (seconds). What is not done then begins anew with the next start.
_LAST_JOBS = 5.0
_LAST_WRITES = 5.0
PATIENCE_AT_THE_END = _LAST_JOBS + _LAST_WRITES
_NOTHING = Standing(0, 0, 0.0)


class Orders(NamedTuple):
    """Whom to work for, and after how many seconds of quiet a study is due; both by the names of hooks."""

    targets: Mapping[str, Target]
    quiet: Mapping[str, float]


class HookStanding(NamedTuple):
    """How one hook stands. ``studies`` are not quiet yet; ``is_configured`` is False for what only the queue knows."""

    name: str
    is_configured: bool = True
    waiting: int = 0
    running: int = 0
    set_aside: int = 0
    studies: int = 0
    oldest_waiting_seconds: float = 0.0
    last_error: str = ""


class Line:
    """An open queue, studies on their way, commitments that are pending, and a runner for each target there ever was.

    Once nobody holds it any more it closes; its jobs stay on the disk. Raises :class:`QueueError` where the directory
    cannot be used.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.queue, self.studies = _opened(directory)
        self.transactions = Transactions(self.queue)
        self._log = logger("hooks")
        self._runners: dict[str, Runner] = {}
        self._orders = self._obeyed = Orders({}, {})
        # Held while it changes or closes.
        self._lock = threading.Lock()
        self._is_closed = False
        self._holders: WeakSet[object] = WeakSet()
        self._lookout: Lookout[tuple[HookStanding, ...]] = Lookout("hooks", self._look, ())

    def hold(self, holder: object) -> bool:
        """Stay open as long as ``holder`` lives; False where it has closed. Waits while it is closing."""
        with self._lock:
            if not self._is_closed:
                self._holders.add(holder)
            return not self._is_closed

    def follow(self, orders: Orders) -> None:
        """Work as ``orders`` say from now on, and for nobody else; soon, and without waiting for it."""
        self._orders = orders
        self._lookout.start()
        self._lookout.hurry()

    def standings(self) -> tuple[HookStanding, ...]:
        """How the hooks stood some seconds ago. Waits for no disk; one that is silent for long is their last error."""
        self._lookout.start()
        silent = self._lookout.silence
        if silent <= STANDSTILL:
            return self._lookout.seen
        error = f"the queue has not answered for {silent:.0f} s"
        return tuple(one._replace(last_error=error) for one in self._lookout.seen)

    def close(self) -> None:
        """Wait a little for what is being done; the rest stays in the queue."""
        deadline = time.monotonic() + _LAST_JOBS
        self._lookout.end()
        if self._lock.acquire(timeout=_LAST_JOBS):  # else its disk hangs, and only the end of the process ends it
            try:
                self._close(deadline)
            finally:
                self._lock.release()

    # -- the thread that may wait for the disk

    def _look(self) -> tuple[HookStanding, ...]:
        orders = self._orders
        with self._lock:
            is_new = orders is not self._obeyed
            if is_new:
                self._obey(orders)
            if not self._holders:
                self._lookout.end()
                self._close(time.monotonic() + _LAST_JOBS)
                return ()
        found = self._found(orders)
        if is_new:
            self._tell_of_orphans(orders, found)
        return found

    def _obey(self, orders: Orders) -> None:
        for name, target in orders.targets.items():
            self._runners.setdefault(name, Runner(self.queue)).adopt(target)
        for name, runner in self._runners.items():
            if name not in orders.targets:
                runner.stop()
        self.studies.watch(orders.quiet)
        self._obeyed = orders

    def _found(self, orders: Orders) -> tuple[HookStanding, ...]:
        error = ""
        jobs: Mapping[str, Standing] = {}
        try:
            jobs = self.queue.standings()
        except QueueError as failure:
            error = str(failure)
        underway = self.studies.waiting()
        names = dict.fromkeys((*orders.targets, *jobs, *underway))
        return tuple(self._standing(name, jobs.get(name, _NOTHING), underway.get(name, 0), error) for name in names)

    def _standing(self, name: str, job: Standing, underway: int, error: str) -> HookStanding:
        runner = self._runners.get(name)
        running = runner.running if runner else 0
        return HookStanding(
            name=name,
            waiting=max(0, job.waiting - running),
            running=running,
            set_aside=job.set_aside,
            studies=underway,
            oldest_waiting_seconds=job.oldest,
            last_error=error or (runner.last_error if runner else ""),
        )

    def _tell_of_orphans(self, orders: Orders, found: tuple[HookStanding, ...]) -> None:
        for one in found:
            if one.name not in orders.targets and (one.waiting or one.studies):
                self._log.warning(
                    "jobs wait for a hook that is not configured; write it again, or drop them by scpd queue",
                    hook=one.name,
                    waiting=one.waiting,
                    studies=one.studies,
                )

    def _close(self, deadline: float) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self.studies.stop()
        for runner in self._runners.values():
            runner.stop()
        for runner in self._runners.values():
            runner.join(deadline)
        self.queue.close(_LAST_WRITES)


def _opened(directory: Path) -> tuple[Queue, Studies]:
    """The queue, with what an earlier process left in it. Raises :class:`QueueError`."""
    queue = Queue(directory, (*studies.SCHEMA, *transactions.SCHEMA))
    underway = Studies(queue)
    try:
        underway.recover()
        queue.recover(_happened)
    except QueueError:
        queue.close(_LAST_WRITES)
        raise
    return queue, underway


def _happened(payload: Mapping[str, Any]) -> bool:
    """Whether an instance has its place; who asked for commitment may have heard of Success."""
    return payload.get("event") == "commitment" or os.path.lexists(payload["path"])
