"""One SQLite file on which several threads write, and what :meth:`Database.write` returned for is on the disk.

Many threads want to write at once, and each commit waits for the disk. So one thread writes: it takes all that has
gathered while the disk was busy, and brings it there with one commit. Knows no table but the one that names the file.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from scpd.errors import ScpdError
from scpd.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Action = Callable[[sqlite3.Connection], Any]

T = TypeVar("T")

FILE = "queue.db"
# "scpd" as a number, so that no other program's database is taken for one of ours.
_APPLICATION = 0x73637064
_DIRECTORY_MODE = 0o750
# How long somebody else, a person with the command line, may hold the file (seconds).
_LOCKED = 5.0
# How long a writer waits for the disk at most; then what it does is refused, and whoever sent it keeps it.
_PATIENCE = 30.0
# A commit that takes longer than this is in trouble (seconds).
_STANDSTILL = 10.0
# What nobody waits for waits itself for so long, to go with what somebody does and spare a commit.
_COMPANY = 0.02
# Between two tries of it.
_PAUSE = 1.0
_LARGEST_LOG = 16 << 20


class QueueError(ScpdError):
    """The queue cannot be used just now, or not at all; says why in words."""


@dataclass
class _Batch:
    """What is committed together: what somebody waits for, and what nobody does, with whom to tell afterwards."""

    actions: list[Action] = field(default_factory=list)
    later: list[tuple[Action, Callable[[], None]]] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)
    error: Exception | None = None
    done: threading.Event = field(default_factory=threading.Event)


class Database:
    """An open database, with the tables of ``schema``; no other process opens the directory for itself meanwhile.

    ``token`` names this database among all. Raises :class:`QueueError` where it cannot be used.
    """

    def __init__(self, directory: Path, schema: Sequence[str], version: int) -> None:
        self.path = directory.absolute() / FILE
        self._log = logger("queue")
        self._gathered = threading.Condition()
        self._gathering = _Batch()
        self._later_due = 0.0
        self._failed = float("-inf")
        self._why = ""
        self._began: float | None = None
        self._closing = False
        self._reading = threading.Lock()
        self._connections: list[sqlite3.Connection] = []
        self._directory = -1
        try:
            self._open(schema, version)
        except (OSError, sqlite3.Error, QueueError) as error:
            self._give_back()
            raise QueueError(f"{directory} cannot be used: {_said(error)}") from error
        self._thread = threading.Thread(target=self._write_batches, name="queue", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._give_back()
            raise QueueError(f"{directory} cannot be used: the system has no thread left") from error

    # -- whoever has something to write or to read

    def write(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Have ``action`` done on the writing connection, in one transaction with others; durable on return.

        It must be quick. Raises :class:`QueueError`; then nothing of it has happened, unless the disk took too long.
        """
        with self._gathered:
            if self._closing:
                raise QueueError("the queue is closed")
            batch, place = self._gathering, len(self._gathering.actions)
            batch.actions.append(action)
            self._gathered.notify()
        if not batch.done.wait(_PATIENCE):
            raise QueueError(f"the disk of {FILE} takes longer than {_PATIENCE:g} s")
        if isinstance(batch.error, OSError | sqlite3.Error | QueueError):
            raise QueueError(f"{FILE} cannot be written: {_said(batch.error)}") from batch.error
        if batch.error:
            raise batch.error
        result: T = batch.results[place]
        return result

    def write_later(self, action: Action, then: Callable[[], None]) -> None:
        """The same, and nobody waits: it is tried until it holds, and ``then`` is called after that.

        Where the process ends before, it has not happened.
        """
        with self._gathered:
            if not self._gathering.later:
                self._later_due = time.monotonic() + _COMPANY
                self._gathered.notify()
            self._gathering.later.append((action, then))

    def read(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query, as far as they are committed. Raises :class:`QueueError`."""
        try:
            with self._reading, closing(self._connections[1].execute(statement, parameters)) as rows:
                return rows.fetchall()
        except (IndexError, sqlite3.Error) as error:  # without connections it is closed
            raise QueueError(f"{FILE} cannot be read: {_said(error)}") from error

    def trouble(self) -> str:
        """Why nothing can be written at the moment, or nothing; whoever asks waits for no disk."""
        began = self._began
        busy = 0.0 if began is None else time.monotonic() - began
        return f"its disk has not answered for {busy:.0f} s" if busy > _STANDSTILL else self._why

    def close(self, patience: float = _PATIENCE) -> None:
        """Bring to the disk what waits, within ``patience`` seconds, and give everything back."""
        with self._gathered:
            self._closing = True
            self._gathered.notify()
        self._thread.join(patience)
        if not self._thread.is_alive():  # else the disk hangs, and only the end of the process ends it
            self._give_back()

    # -- the thread that writes

    def _write_batches(self) -> None:
        while batch := self._next():
            self._commit(batch)
            batch.done.set()
            if not batch.error:
                for _, then in batch.later:
                    then()

    def _next(self) -> _Batch | None:
        """What has gathered, once there is something; None at the end."""
        with self._gathered:
            while not self._is_due():
                if self._closing:
                    return None
                self._gathered.wait(self._later_due - time.monotonic() if self._gathering.later else None)
            batch, self._gathering = self._gathering, _Batch()
            return batch

    def _is_due(self) -> bool:
        later = self._gathering.later and (self._closing or time.monotonic() >= self._later_due)
        return bool(self._gathering.actions or later)

    def _commit(self, batch: _Batch) -> None:
        connection = self._connections[0]
        self._began = time.monotonic()
        try:
            self._look()
            connection.execute("BEGIN IMMEDIATE")
            batch.results = [action(connection) for action in batch.actions]
            for action, _ in batch.later:
                action(connection)
            connection.execute("COMMIT")
            self._why = ""
        except Exception as error:  # noqa: BLE001 whatever an action raises is for whoever waits for it
            self._fail(batch, error)
        finally:
            self._began = None

    def _fail(self, batch: _Batch, error: Exception) -> None:
        with suppress(sqlite3.Error):
            if self._connections[0].in_transaction:
                self._connections[0].execute("ROLLBACK")
        if time.monotonic() - self._failed > 60 * _PAUSE:
            self._log.error("the queue cannot be written", directory=str(self.path.parent), why=_said(error))
        batch.error = error
        self._why = _said(error)
        with self._gathered:
            self._failed = time.monotonic()
            self._later_due = self._failed + _PAUSE
            self._gathering.later[:0] = batch.later if not self._closing else []

    def _look(self) -> None:
        """Refuse a file that is gone: what is written to it is on no disk that anybody finds."""
        here = self.path.stat()
        if (here.st_dev, here.st_ino) != self._identity:
            raise QueueError("it is not the file that was opened at the start: unmounted or moved")

    # -- opening and closing

    def _open(self, schema: Sequence[str], version: int) -> None:
        directory = self.path.parent
        directory.mkdir(_DIRECTORY_MODE, parents=True, exist_ok=True)
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise QueueError("another process uses it; give each its own") from None
        writer = connect(self.path, "rwc")
        self._connections.append(writer)
        self.token = _prepared(writer, schema, version)
        self._connections.append(connect(self.path, "rw"))
        os.fsync(self._directory)
        here = self.path.stat()
        self._identity = here.st_dev, here.st_ino

    def _give_back(self) -> None:
        with self._reading:
            while self._connections:
                with suppress(sqlite3.Error):
                    self._connections.pop().close()
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection to the file, in the mode rw, or rwc where it may be made; transactions are begun by hand."""
    where = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(where, _LOCKED, isolation_level=None, check_same_thread=False, uri=True)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _prepared(connection: sqlite3.Connection, schema: Sequence[str], version: int) -> str:
    """Make or check what stands in the file; its token. Raises :class:`QueueError` and :class:`sqlite3.Error`."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and application != _APPLICATION:
        raise QueueError(f"{FILE} is another program's; name another directory")
    if found > version:
        raise QueueError(f"{FILE} was written by a later version of scpd; use that, or name another directory")
    (fine,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if fine != "ok":
        raise sqlite3.DatabaseError(fine)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA journal_size_limit = {_LARGEST_LOG}")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("CREATE TABLE IF NOT EXISTS identity (token TEXT NOT NULL) STRICT")
    for statement in schema:
        connection.execute(statement)
    if not tables:
        connection.execute("INSERT INTO identity VALUES (?)", (secrets.token_hex(8),))
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.execute("COMMIT")
    (token,) = connection.execute("SELECT token FROM identity").fetchone()
    return str(token)


def _said(error: Exception) -> str:
    """What SQLite or the system says, and what to do where that is not plain."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    what = str(error) or type(error).__name__
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return f"{FILE} is damaged ({what}); move it away, with the files beside it: what waits in it is lost"
    if "locked" in what:
        return f"another program holds {FILE} ({what}); end it"
    return what
