"""One SQLite file on which several threads write, and what :meth:`Database.write` returned for is on the disk.

Knows no table but the one that names the file.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
import threading
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from scpd.commits import PATIENCE, Commits, NotCommittedError
from scpd.errors import ScpdError
from scpd.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    Action = Callable[[sqlite3.Connection], Any]

T = TypeVar("T")

FILE = "queue.db"
# "scpd" as a number, so that no other program's database is taken for one of ours.
_APPLICATION = 0x73637064
_DIRECTORY_MODE = 0o750
# How long somebody else, a person with the command line, may hold the file (seconds).
_LOCKED = 5.0
_LARGEST_LOG = 16 << 20


class QueueError(ScpdError):
    """The queue cannot be used just now, or not at all; says why in words."""


_LASTING = (OSError, sqlite3.Error, QueueError)


class Database:
    """An open database, with the tables of ``schema``; no other process opens the directory for itself meanwhile.

    ``token`` names this database among all. Raises :class:`QueueError` where it cannot be used.
    """

    def __init__(self, directory: Path, schema: Sequence[str], version: int) -> None:
        self.path = directory.absolute() / FILE
        self._log = logger("queue")
        self._reading = threading.Lock()
        self._connections: list[sqlite3.Connection] = []
        self._directory = -1
        try:
            self._open(schema, version)
        except (OSError, sqlite3.Error, QueueError) as error:
            self._give_back()
            raise QueueError(f"{directory} cannot be used: {_said(error)}") from error
        try:
            self._commits = Commits("queue", self._transaction, _LASTING, self._complain)
        except RuntimeError as error:
            self._give_back()
            raise QueueError(f"{directory} cannot be used: the system has no thread left") from error

    # -- whoever has something to write or to read

    def write(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Have ``action`` done on the writing connection, in one transaction with others; durable on return.

        It must be quick. Raises :class:`QueueError`; then nothing of it has happened, unless the disk took too long.
        """
        return self.begin(action)()

    def begin(self, action: Callable[[sqlite3.Connection], T]) -> Callable[[], T]:
        """The same while the caller does something else; durable once what is returned has returned."""

        def result() -> T:
            try:
                return begun.result()
            except (*_LASTING, NotCommittedError) as error:
                raise QueueError(f"{FILE} cannot be written: {_said(error)}") from error

        try:
            begun = self._commits.begin(action)
        except NotCommittedError as error:
            raise QueueError(f"{FILE} cannot be written: {_said(error)}") from error
        return result

    def write_later(self, action: Action, then: Callable[[], None]) -> None:
        """The same, and nobody waits: it is tried until it holds, and ``then`` is called after that.

        Where the process ends before, it has not happened.
        """
        self._commits.write_later(action, then)

    def read(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query, as far as they are committed. Raises :class:`QueueError`."""
        try:
            with self._reading, closing(self._connections[1].execute(statement, parameters)) as rows:
                return rows.fetchall()
        except (IndexError, sqlite3.Error) as error:  # without connections it is closed
            raise QueueError(f"{FILE} cannot be read: {_said(error)}") from error

    def trouble(self) -> str:
        """Why nothing can be written at the moment, or nothing; whoever asks waits for no disk."""
        silent, failure = self._commits.silence, self._commits.failure
        return f"its disk has not answered for {silent:.0f} s" if silent else _said(failure) if failure else ""

    def close(self, patience: float = PATIENCE) -> None:
        """Bring to the disk what waits, within ``patience`` seconds, and give everything back."""
        if self._commits.close(patience):  # else the disk hangs, and only the end of the process ends it
            self._give_back()

    # -- the thread that writes

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connections[0]
        self._look()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            raise

    def _complain(self, error: Exception) -> None:
        self._log.error("the queue cannot be written", directory=str(self.path.parent), why=_said(error))

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
