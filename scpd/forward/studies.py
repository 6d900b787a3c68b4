"""Studies on their way: what has arrived of each, until it has been quiet for long enough to become one job.

Whether a transfer is complete stands in no message (PS3.4 annex B knows instances alone), so quiet has to do. Arrivals
stand in the queue's database, and counting begins anew with each job. Knows no data set.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import heappop, heappush
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from scpd.forward.queue import HELD, WAITING, QueueError, encoded
from scpd.telemetry.logs import logger

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence

    from scpd.forward.queue import Queue

# A job names no more than so many; what is left out is found below its directories.
MOST_PATHS = 1000
MOST_DIRECTORIES = 100
# After the disk refused something (seconds).
_PAUSE = 5.0
SCHEMA = (
    """CREATE TABLE IF NOT EXISTS arrivals (
        id INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, server TEXT NOT NULL, study TEXT NOT NULL,
        state TEXT NOT NULL, at REAL NOT NULL, directory TEXT NOT NULL, path TEXT NOT NULL, about TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX IF NOT EXISTS arrivals_by_study ON arrivals (target, server, study, id)",
    "CREATE INDEX IF NOT EXISTS arrivals_held ON arrivals (id) WHERE state = 'held'",
)
_COUNT = """SELECT count(*), sum(state = 'held'), min(at), max(at) FROM arrivals
    WHERE target = ? AND server = ? AND study = ?"""
_LAST = "SELECT about FROM arrivals WHERE target = ? AND server = ? AND study = ? ORDER BY id DESC LIMIT 1"
_DIRECTORIES = "SELECT DISTINCT directory FROM arrivals WHERE target = ? AND server = ? AND study = ?"
_PATHS = "SELECT DISTINCT path FROM arrivals WHERE target = ? AND server = ? AND study = ? LIMIT ?"
_FORGET = "DELETE FROM arrivals WHERE target = ? AND server = ? AND study = ?"


class Key(NamedTuple):
    """A study, as one server got it, on its way to one target."""

    target: str
    server: str
    study: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """One instance of a study at an absolute ``path``; ``about`` is what a job says beside, that of the last one."""

    key: Key
    path: str
    about: Mapping[str, Any]


class Studies:
    """Turns studies that are quiet into jobs. All methods may be called from any thread."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._log = logger("hooks")
        self._changed = threading.Condition()
        self._quiet: Mapping[str, float] = {}
        self._last: dict[Key, float] = {}
        # When studies may be due: an entry for each that is watched, though it may be later by then, or gone.
        self._due_times: list[tuple[float, Key]] = []
        self._stopped = False
        self._thread = threading.Thread(target=self._watch, name="studies", daemon=True)

    # -- arrivals

    def insert(self, connection: sqlite3.Connection, arrival: Arrival) -> int:
        """The number of a held arrival, in a transaction of the queue's database."""
        directory = encoded_path(str(PurePath(arrival.path).parent))
        row = connection.execute(
            "INSERT INTO arrivals (target, server, study, state, at, directory, path, about) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(*arrival.key, HELD, self._queue.clock.now(), directory),
                *(encoded_path(arrival.path), encoded(arrival.about)),
            ),
        )
        return int(row.lastrowid or 0)

    def settle(self, keys: Iterable[Key], numbers: Sequence[int], *, holds: bool) -> None:
        """What has been held has arrived, or has not."""
        change = "UPDATE arrivals SET state = 'waiting' WHERE id = ?" if holds else "DELETE FROM arrivals WHERE id = ?"
        rows = [(number,) for number in numbers]
        self._queue.database.write_later(
            lambda connection: connection.executemany(change, rows), lambda: self._note(keys)
        )

    def _note(self, keys: Iterable[Key]) -> None:
        with self._changed:
            for key in keys:
                is_new = key not in self._last
                self._last[key] = self._queue.clock.now()
                if is_new:
                    self._expect(key)

    def _expect(self, key: Key) -> None:
        if key in self._last and key.target in self._quiet:
            due = self._last[key] + self._quiet[key.target], key
            heappush(self._due_times, due)
            if self._due_times[0] == due:
                self._changed.notify()

    def recover(self) -> None:
        """After the start: settle what an earlier process left held, by whether its file is there, and go on."""
        now = self._queue.clock.now()
        held = self._queue.database.read("SELECT id, path FROM arrivals WHERE state = 'held'")
        lost = [(number,) for number, path in held if not os.path.lexists(json.loads(path))]

        def change(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM arrivals WHERE id = ?", lost)
            connection.execute("UPDATE arrivals SET state = 'waiting' WHERE state = 'held'")
            connection.execute("UPDATE arrivals SET at = ? WHERE at > ?", (now, now))

        self._queue.database.write(change)
        rows = self._queue.database.read("SELECT target, server, study, max(at) FROM arrivals GROUP BY 1, 2, 3")
        with self._changed:
            self._last = {Key(target, server, study): at for target, server, study, at in rows}

    # -- quiet

    def watch(self, quiet: Mapping[str, float]) -> None:
        """From now on a study is due after so many seconds of quiet, by target; those of other targets wait."""
        with self._changed:
            self._quiet = dict(quiet)
            self._due_times.clear()
            for key in self._last:
                self._expect(key)
            self._changed.notify()
        if not self._thread.ident:
            self._thread.start()

    def stop(self) -> None:
        """Make no more jobs."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread.ident:
            self._thread.join(_PAUSE)

    def waiting(self) -> dict[str, int]:
        """How many studies of each target are not quiet yet."""
        counts: dict[str, int] = {}
        with self._changed:
            for key in self._last:
                counts[key.target] = counts.get(key.target, 0) + 1
        return counts

    def _watch(self) -> None:
        while (due := self._due()) is not None:
            for key, last in due:
                try:
                    self._finish(key, last)
                except QueueError as error:
                    self._log.error("a study waits for its job", hook=key.target, why=str(error))
                    self._rest()
                    with self._changed:
                        self._expect(key)

    def _due(self) -> list[tuple[Key, float]] | None:
        """The studies that are quiet, once there are any; None at the end."""
        with self._changed:
            while not self._stopped:
                now = self._queue.clock.now()
                if due := self._expired(now):
                    return due
                self._changed.wait(self._due_times[0][0] - now if self._due_times else None)
            return None

    def _expired(self, now: float) -> list[tuple[Key, float]]:
        due = []
        while self._due_times and self._due_times[0][0] <= now:
            _, key = heappop(self._due_times)
            last = self._last.get(key)
            if last is None or key.target not in self._quiet:
                continue
            if last + self._quiet[key.target] <= now:
                due.append((key, last))
            else:
                self._expect(key)
        return due

    def _rest(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped, _PAUSE)

    def _finish(self, key: Key, last: float) -> None:
        """One job for what has arrived, unless something came in this very moment."""
        quiet = self._quiet.get(key.target)
        if quiet is None:  # not any more
            return
        made = self._queue.database.write(lambda connection: self._to_job(connection, key, quiet))
        with self._changed:
            if made and self._last.get(key) == last:
                del self._last[key]
            else:
                self._last[key] = self._queue.clock.now()
                self._expect(key)
        if made:
            self._queue.wake((key.target,))

    def _to_job(self, connection: sqlite3.Connection, key: Key, quiet: float) -> bool:
        """Whether there is nothing left of the study but its job."""
        count, held, first, last = connection.execute(_COUNT, key).fetchone()
        if not count:
            return True
        if held or last + quiet > self._queue.clock.now():
            return False
        (about,) = connection.execute(_LAST, key).fetchone()
        beside = {"instances": count, "first": moment(first), "last": moment(last)}
        payload = {**json.loads(about), **beside, **_places(connection, key)}
        self._queue.insert(connection, key.target, encoded(payload), WAITING)
        connection.execute(_FORGET, key)
        return True


def _places(connection: sqlite3.Connection, key: Key) -> dict[str, Any]:
    """Where the instances are: the directory that holds them all, its directories, and their paths."""
    common = ""
    directories: list[str] = []
    for number, (raw,) in enumerate(connection.execute(_DIRECTORIES, key)):
        directory = json.loads(raw)
        common = os.path.commonpath((common, directory)) if common else directory
        if number <= MOST_DIRECTORIES:
            directories.append(directory)
    rows = connection.execute(_PATHS, (*key, MOST_PATHS + 1))
    paths = [json.loads(path) for (path,) in rows]
    return {
        "path": common,
        "directories": sorted(directories[:MOST_DIRECTORIES]),
        "directories_cut": len(directories) > MOST_DIRECTORIES,
        "paths": paths[:MOST_PATHS],
        "paths_cut": len(paths) > MOST_PATHS,
    }


def encoded_path(path: str) -> str:
    """A path as it stands in the database: JSON of ASCII, whatever bytes the file system has in it."""
    return json.dumps(path)


def moment(seconds: float) -> str:
    """A time for people and programs: ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
