"""The queue as a person sees it, also while scpd works on it: what waits, what was set aside; and a say in it."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from scpd.forward.database import FILE, QueueError, connect

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_COUNTS = """SELECT target, sum(state != 'set aside'), sum(state = 'set aside'), max(0, ? - min(created))
    FROM jobs GROUP BY target"""
_SELECTED = "(state = 'set aside' OR ?) AND (? IS NULL OR target = ?) AND (? OR id IN (SELECT value FROM json_each(?)))"


class Count(NamedTuple):
    """How many jobs of a target wait and were set aside; ``oldest`` of them is so old (seconds)."""

    target: str
    waiting: int
    set_aside: int
    oldest: float


class Row(NamedTuple):
    """One job; ``age`` in seconds, ``why`` it failed the last time."""

    id: int
    target: str
    state: str
    attempts: int
    age: float
    payload: dict[str, Any]
    why: str


class Selection(NamedTuple):
    """Jobs by their numbers, or all that were set aside; of one target, where it is named."""

    target: str | None = None
    numbers: Sequence[int] = ()

    def parameters(self) -> tuple[object, ...]:
        everything = not self.numbers
        return not everything, self.target, self.target, everything, json.dumps(list(self.numbers))


class Shelf:
    """The queue in a directory. Everything raises :class:`QueueError`."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE

    def counts(self) -> list[Count]:
        with self._open() as connection:
            return [Count(*row) for row in connection.execute(_COUNTS, (time.time(),))]

    def jobs(self, selection: Selection) -> Iterator[Row]:
        """In the order in which they came."""
        with self._open() as connection:
            rows = connection.execute(
                f"SELECT id, target, state, attempts, max(0, ? - created), payload, why FROM jobs WHERE {_SELECTED} "  # noqa: S608 a constant
                "ORDER BY id",
                (time.time(), *selection.parameters()),
            )
            for number, target, state, attempts, age, payload, why in rows:
                yield Row(number, target, state, attempts, age, json.loads(payload), why)

    def retry(self, selection: Selection) -> int:
        """Have them tried at once, as often as a new one; how many."""
        change = f"UPDATE jobs SET state = 'waiting', due = 0, attempts = 0 WHERE state != 'held' AND {_SELECTED}"  # noqa: S608 a constant
        return self._change(change, selection)

    def drop(self, selection: Selection) -> int:
        """Forget them; how many."""
        return self._change(f"DELETE FROM jobs WHERE state != 'held' AND {_SELECTED}", selection)  # noqa: S608 a constant

    def _change(self, statement: str, selection: Selection) -> int:
        with self._open() as connection:
            return connection.execute(statement, selection.parameters()).rowcount

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        if not self._path.exists():
            raise QueueError(f"there is no queue in {self._path.parent}: nothing was handed over yet")
        try:
            with closing(connect(self._path, "rw")) as connection:
                yield connection
        except sqlite3.Error as error:
            raise QueueError(f"{self._path} cannot be used: {error}") from error
