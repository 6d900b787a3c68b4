"""Jobs that outlive the process: put durably, taken by whoever works for their target, tried again, set aside.

A job is put *held*, and counts once whoever put it says that what it is about has happened (:meth:`Queue.settle`). So
nothing happens without its job, and a job whose matter came to nothing is never seen. Delivery is at least once: a
crash may bring a job again whose end was not yet on the disk. Knows no target and no payload.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from scpd.forward.clock import Clock
from scpd.forward.database import Database, QueueError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["HELD", "LONGEST_PAUSE", "SET_ASIDE", "WAITING", "Job", "Queue", "QueueError", "Standing"]

VERSION = 1
HELD, WAITING, SET_ASIDE = "held", "waiting", "set aside"
# No job waits for longer between two tries; a later one was written under another clock.
LONGEST_PAUSE = 3600.0
# What somebody else does to the file, by the command line, is noticed after so long (seconds).
_LOOKS = 5.0
_LONGEST_REASON = 1000
SCHEMA = (
    """CREATE TABLE IF NOT EXISTS jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, state TEXT NOT NULL, payload TEXT NOT NULL,
        created REAL NOT NULL, due REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, why TEXT NOT NULL DEFAULT ''
    ) STRICT""",
    "CREATE INDEX IF NOT EXISTS jobs_by_due ON jobs (target, state, due, id)",
)


class Job(NamedTuple):
    """Something to do for a target; ``attempts`` were made. ``delivery`` names it for ever, over all its tries."""

    id: int
    delivery: str
    target: str
    payload: Mapping[str, Any]
    attempts: int


class Standing(NamedTuple):
    """How the jobs of one target stand; ``oldest`` is how long the oldest that waits has waited, in seconds."""

    waiting: int
    set_aside: int
    oldest: float


class Queue:
    """The jobs of one directory. All methods may be called from any thread.

    Raises :class:`QueueError` where the directory cannot be used. ``schema`` are the tables of others in the same file,
    whose rows are written in one transaction with jobs.
    """

    def __init__(self, directory: Path, schema: Sequence[str] = (), clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.database = Database(directory, (*SCHEMA, *schema), VERSION)
        self._lock = threading.Lock()
        self._changes: dict[str, threading.Condition] = {}
        # Being done, or done and not yet on the disk.
        self._taken: dict[str, set[int]] = {}

    # -- whoever has jobs

    def put(self, jobs: Iterable[tuple[str, Mapping[str, Any]]]) -> list[int]:
        """Have a job of each (target, payload), held; durable on return. Raises :class:`QueueError`."""
        rows = [(target, encoded(payload)) for target, payload in jobs]
        return self.database.write(lambda connection: [self.insert(connection, *row, HELD) for row in rows])

    def insert(self, connection: sqlite3.Connection, target: str, payload: str, state: str) -> int:
        """The number of a new job, in a transaction of :meth:`Database.write`."""
        now = self.clock.now()
        row = connection.execute(
            "INSERT INTO jobs (target, state, payload, created, due) VALUES (?, ?, ?, ?, ?)",
            (target, state, payload, now, now),
        )
        return int(row.lastrowid or 0)

    def settle(self, targets: Iterable[str], numbers: Sequence[int], *, holds: bool) -> None:
        """What held jobs are about has happened, or has not; soon on the disk, and only then does anybody take them."""
        change = "UPDATE jobs SET state = 'waiting' WHERE id = ?" if holds else "DELETE FROM jobs WHERE id = ?"
        rows = [(number,) for number in numbers]
        self.database.write_later(lambda connection: connection.executemany(change, rows), lambda: self.wake(targets))

    def recover(self, happened: Callable[[Mapping[str, Any]], bool]) -> None:
        """After the start: settle what an earlier process left held, and mend times of a clock that was ahead."""
        now = self.clock.now()
        held = self.database.read("SELECT id, payload FROM jobs WHERE state = 'held'")
        waiting = [(number,) for number, payload in held if happened(json.loads(payload))]
        dropped = [(number,) for number, _ in held if (number,) not in set(waiting)]

        def change(connection: sqlite3.Connection) -> None:
            connection.executemany("UPDATE jobs SET state = 'waiting' WHERE id = ?", waiting)
            connection.executemany("DELETE FROM jobs WHERE id = ?", dropped)
            connection.execute("UPDATE jobs SET created = ? WHERE created > ?", (now, now))
            connection.execute("UPDATE jobs SET due = ? WHERE due > ?", (now, now + LONGEST_PAUSE))

        self.database.write(change)

    # -- whoever works for a target

    def take(self, target: str, is_wanted: Callable[[], bool] = lambda: True) -> Job | None:
        """The next job of a target that is due; None after a while, or a :meth:`wake`, without one.

        Whoever takes a job ends it by :meth:`done`, :meth:`again`, :meth:`set_aside` or :meth:`give_back`. Before
        waiting, ``is_wanted`` is asked whether that makes sense; who changes its answer wakes. Raises
        :class:`QueueError`.
        """
        with self._lock:
            job, left = self._next(target)
            if job is None and left > 0 and is_wanted():
                self._changed(target).wait(min(_LOOKS, left))
                job, _ = self._next(target)
            if job:
                self._taken.setdefault(target, set()).add(job.id)
            return job

    def _next(self, target: str) -> tuple[Job | None, float]:
        """The job that is due, or how long until one is."""
        taken = self._taken.get(target, set())
        rows = self.database.read(
            "SELECT id, due FROM jobs WHERE target = ? AND state = 'waiting' ORDER BY due, id LIMIT ?",
            (target, len(taken) + 1),
        )
        for number, due in rows:
            if number not in taken:
                left = due - self.clock.now()
                return (None, left) if left > 0 else (self._job(number), 0.0)
        return None, float("inf")

    def _job(self, number: int) -> Job | None:
        for target, payload, attempts in self.database.read(
            "SELECT target, payload, attempts FROM jobs WHERE id = ?", (number,)
        ):
            return Job(number, f"{self.database.token}-{number}", target, json.loads(payload), attempts)
        return None  # somebody removed it this very moment

    def give_back(self, job: Job) -> None:
        """It is not being done any more; where nothing else is said of it, it is taken again."""
        with self._lock:
            self._taken[job.target].discard(job.id)
            self._changed(job.target).notify()

    def done(self, job: Job) -> None:
        """It is done, and forgotten."""
        self._end(job, "DELETE FROM jobs WHERE id = ?", ())

    def again(self, job: Job, pause: float, why: str) -> None:
        """It failed, and comes again after ``pause`` seconds."""
        due = self.clock.now() + min(pause, LONGEST_PAUSE)
        change = "UPDATE jobs SET attempts = ?, due = ?, why = ? WHERE id = ?"
        self._end(job, change, (job.attempts + 1, due, why[:_LONGEST_REASON]))

    def set_aside(self, job: Job, why: str) -> None:
        """It failed for the last time, and waits for a person."""
        change = "UPDATE jobs SET state = 'set aside', attempts = ?, why = ? WHERE id = ?"
        self._end(job, change, (job.attempts + 1, why[:_LONGEST_REASON]))

    def _end(self, job: Job, change: str, parameters: tuple[object, ...]) -> None:
        self.database.write_later(
            lambda connection: connection.execute(change, (*parameters, job.id)), lambda: self.give_back(job)
        )

    def wake(self, targets: Iterable[str], *, everybody: bool = False) -> None:
        """Have those look who wait for jobs of these targets: one of each for each time it is named, or all."""
        with self._lock:
            for target in targets:
                if everybody:
                    self._changed(target).notify_all()
                else:
                    self._changed(target).notify()

    def _changed(self, target: str) -> threading.Condition:
        return self._changes.setdefault(target, threading.Condition(self._lock))

    # -- whoever looks

    def standings(self) -> dict[str, Standing]:
        """How the jobs of each target stand that has any. Raises :class:`QueueError`."""
        now = self.clock.now()
        rows = self.database.read(
            "SELECT target, sum(state != 'set aside'), sum(state = 'set aside'), "
            "min(iif(state != 'set aside', created, NULL)) FROM jobs GROUP BY target"
        )
        return {
            target: Standing(waiting, aside, max(0.0, now - oldest) if waiting else 0.0)
            for target, waiting, aside, oldest in rows
        }

    def close(self, patience: float) -> None:
        """Bring to the disk what is not there yet, and give the directory back."""
        self.database.close(patience)


def encoded(payload: Mapping[str, Any]) -> str:
    """A payload as it is kept: JSON of ASCII alone, so that no text of a peer or a path is any problem."""
    return json.dumps(payload, separators=(",", ":"))
