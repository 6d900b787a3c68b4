"""The threads that take a target's jobs from the queue and see to it that each is done, tried again, or set aside.

As many jobs at a time as the target says, and no thread but these ever waits for it. Knows neither programs nor
addresses: a target delivers, or says why it could not.
"""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

from scpd.errors import ScpdError
from scpd.forward.queue import LONGEST_PAUSE, QueueError
from scpd.identity.rates import Buckets, Rate
from scpd.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from scpd.forward.queue import Job, Queue

# A target that is away fails a thousand times in the same way: so many lines in so many seconds, the rest is counted.
_COMPLAINTS = Rate(10, 60.0)
# After the queue could not be read, and for a thread to end (seconds).
_PAUSE = 1.0


class Failed(ScpdError):
    """A job was not done; ``why`` is for the log. ``is_final`` where another try makes no sense."""

    def __init__(self, why: str, *, is_final: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.is_final = is_final


class Target(Protocol):
    """Where jobs go, ``concurrency`` at a time, each tried up to ``attempts`` times."""

    name: str
    attempts: int
    concurrency: int

    def deliver(self, job: Job) -> None:
        """Do it, in bounded time. Raises :class:`Failed`."""

    def abandon(self) -> None:
        """End what is being done, now; called from another thread."""


class Pace(NamedTuple):
    """A job that failed comes again after ``first`` seconds, twice as long each time up to ``most``, with jitter."""

    first: float = 1.0
    most: float = LONGEST_PAUSE

    def pause(self, attempts: int, chance: Callable[[], float] = random.random) -> float:
        """Seconds until the next try after so many."""
        doubled = self.first * 2.0 ** min(attempts - 1, 60)
        return min(self.most, doubled) * (0.5 + chance() / 2)


_PACE = Pace()


class Runner:
    """Works for one target, from :meth:`adopt` until :meth:`stop`."""

    def __init__(self, queue: Queue, pace: Pace = _PACE) -> None:
        self.last_error = ""
        self._queue = queue
        self._pace = pace
        self._log = logger("hooks")
        self._lock = threading.Lock()
        self._target: Target | None = None
        self._threads: dict[int, threading.Thread] = {}
        self._busy: dict[int, Target] = {}
        self._said = Buckets(_COMPLAINTS)
        self._left_out = 0

    @property
    def running(self) -> int:
        """How many jobs are being done."""
        return len(self._busy)

    def adopt(self, target: Target) -> None:
        """Work for this one from now on; what is being done ends under what it began with."""
        with self._lock:
            self._target = target
            for number in range(target.concurrency):
                if number not in self._threads:
                    self._hire(target, number)
        self._queue.wake((target.name,), everybody=True)

    def _hire(self, target: Target, number: int) -> None:
        thread = threading.Thread(target=self._work, args=(number,), name=target.name, daemon=True)
        self._threads[number] = thread
        try:
            thread.start()
        except RuntimeError:
            del self._threads[number]
            self._log.error("a hook has fewer threads than its concurrency: the system has none left", hook=target.name)

    def stop(self) -> None:
        """Take no more jobs; what is being done goes on."""
        with self._lock:
            target, self._target = self._target, None
        if target:
            self._queue.wake((target.name,), everybody=True)

    def join(self, deadline: float) -> None:
        """After a stop: wait until ``deadline`` (monotonic) for what is being done, and end the rest."""
        for thread in list(self._threads.values()):
            thread.join(max(0.0, deadline - time.monotonic()))
        for target in list(self._busy.values()):
            target.abandon()
        for thread in list(self._threads.values()):
            thread.join(_PAUSE)

    def _work(self, number: int) -> None:
        while target := self._employer(number):
            try:
                job = self._queue.take(target.name, self._is_wanted)
            except QueueError as error:
                self._complain(self._log.error, "jobs cannot be read", why=str(error))
                self._rest()
                continue
            if job:
                self._do(number, job, target)

    def _employer(self, number: int) -> Target | None:
        """The target to work for; None where this thread is not needed any more."""
        with self._lock:
            target = self._target
            if target is None or number >= target.concurrency:
                del self._threads[number]
                return None
            return target

    def _is_wanted(self) -> bool:
        return self._target is not None

    def _rest(self) -> None:
        threading.Event().wait(_PAUSE)

    def _do(self, number: int, job: Job, target: Target) -> None:
        self._busy[number] = target
        try:
            target.deliver(job)
        except Failed as failure:
            self._failed(target, job, failure)
        except Exception as error:  # noqa: BLE001 whatever a target meets outside, the next job must be taken
            self._log.exception("a fault of scpd", hook=target.name, job=job.id)
            self._failed(target, job, Failed(f"a fault of scpd: {type(error).__name__}"))
        else:
            self._queue.done(job)
        finally:
            del self._busy[number]

    def _failed(self, target: Target, job: Job, failure: Failed) -> None:
        if not self._is_wanted():  # it may have been ended for that
            self._queue.give_back(job)
            return
        self.last_error = failure.why
        attempt = job.attempts + 1
        about = {"hook": target.name, "job": job.id, "delivery": job.delivery, "attempts": attempt, "why": failure.why}
        if failure.is_final or attempt >= target.attempts:
            self._queue.set_aside(job, failure.why)
            self._complain(self._log.error, "set aside: scpd queue CONFIG list shows it, retry tries it again", **about)
        else:
            pause = self._pace.pause(attempt)
            self._queue.again(job, pause, failure.why)
            self._complain(self._log.warning, "a hook failed", **about, again_in=round(pause, 1))

    def _complain(self, log: Callable[..., object], event: str, **about: object) -> None:
        """One line, unless there were too many; the next one that is written says how many were left out."""
        with self._lock:
            if not self._said.take("", time.monotonic()):
                self._left_out += 1
                return
            left_out, self._left_out = self._left_out, 0
        log(event, **about, **({"lines_left_out": left_out} if left_out else {}))
