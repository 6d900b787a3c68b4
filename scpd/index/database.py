"""The database of an index: opened and brought up to date, read by many, written by one thread.

SQLite, in one file that is ours alone, or PostgreSQL, which several may share. What goes wrong with either is told as
:class:`~scpd.errors.IndexUnavailable`. Knows the versions of tables, and what shows that they can be used.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import delete, func, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError

from scpd.commits import Begun, Commits, NotCommittedError
from scpd.errors import IndexUnavailable
from scpd.index.engines import LOCKED, engine
from scpd.index.migrations import HEAD
from scpd.index.schema import facts, stores
from scpd.index.troubles import (
    DamagedError,
    GoneError,
    ReadableError,
    RefusedError,
    UnusableError,
    driver_error,
    lasting,
    said,
    told,
)
from scpd.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from sqlalchemy import URL, Connection, Engine

    T = TypeVar("T")

# How long whoever stores waits for a commit, and whoever looks whether there can be one (seconds).
PATIENCE, _GLANCE = 10.0, 4.0
_MIGRATING = 0x73637064
# Written to see whether there is room (bytes): about what a batch of instances takes.
_ROOM = 64 * 1024
_FILLED = "room"
_LOOK = select(func.count()).select_from(stores)


class Database:
    """A database by its URL; nothing is opened before :meth:`open`. ``failed`` is told of a transaction that failed."""

    def __init__(self, url: URL, failed: Callable[[], None] = lambda: None) -> None:
        self.url = url
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self.alarm: Callable[[], None] = lambda: None
        self._failed = failed
        self._log = logger("index")
        # Whoever waits for the server is to wait no more.
        self._given_up = False
        self._writer: Engine = engine(url, writes=True, trouble=lambda: self._given_up or None)
        self._reader: Engine = engine(url, trouble=self._unreadable)
        self._glancer: Engine = engine(url, longest=_GLANCE)
        self._identity: tuple[int, int] | None = None
        # What is written with, and how many times there had been a new beginning when it was made.
        self._held: tuple[Connection, int] | None = None
        self._times = 0
        self._seen: IndexUnavailable | None = None
        self._commits: Commits[Connection] = Commits("index", self._transaction, (IndexUnavailable,), self._tell)

    @property
    def dialect(self) -> Any:
        """What statements are made for."""
        return self._writer.dialect

    @property
    def file(self) -> str:
        """The file of SQLite."""
        return (self.url.database or "") if self.is_sqlite else ""

    def open(self) -> bool:
        """Connect, and bring the tables up to date; whether they were made anew.

        Raises :class:`UnusableError`, :class:`DamagedError` and other :class:`IndexUnavailable`.
        """
        self._given_up = False
        try:
            if self.is_sqlite:
                _make(self.file)
            with self._glancer.connect() as connection:  # which changes nothing, should it be another program's
                version = _version(connection)
            if version != HEAD:
                _migrate(self._writer)
            self._identity = self._found()
        except (SQLAlchemyError, OSError) as error:
            self._seen = told(error)
            raise self._seen from error
        except IndexUnavailable as error:
            self._seen = error
            raise
        self._seen = None
        return version is None

    def write(self, action: Callable[[Connection], T], patience: float = PATIENCE) -> T:
        """Have ``action`` done in a transaction with others; committed on return. Raises :class:`IndexUnavailable`."""
        return self._result(partial(self._commits.begin, action, now=False), patience)()

    def begin(self, action: Callable[[Connection], T], patience: float = PATIENCE) -> Callable[[], T]:
        """The same while the caller does something else; committed once what is returned has returned."""
        return self._result(partial(self._commits.begin, action), patience)

    def _result(self, begin: Callable[[], Begun[T]], patience: float) -> Callable[[], T]:
        def result() -> T:
            try:
                return begun.result(patience)
            except IndexUnavailable:
                raise
            except NotCommittedError as error:
                raise told(error) from error
            except Exception as error:  # a driver may meet anything in a value
                raise RefusedError(f"it does not take it: {said(error)}") from error

        try:
            begun = begin()
        except NotCommittedError as error:
            raise told(error) from error
        return result

    def write_later(self, action: Callable[[Connection], Any], then: Callable[[], None] = lambda: None) -> None:
        """The same, and nobody waits: it is tried until it holds."""
        self._commits.write_later(action, then)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read with, whose rows come as they are asked for. Raises :class:`IndexUnavailable`."""
        if unreadable := self._unreadable():
            raise unreadable
        try:
            self._check_place()
            with self._reader.connect() as connection:
                yield connection.execution_options(stream_results=True, max_row_buffer=500)
        except (SQLAlchemyError, OSError) as error:
            trouble = told(error)
            if isinstance(trouble, DamagedError | GoneError):
                self._seen = trouble
                self.alarm()
            raise trouble from error

    def trouble(self) -> IndexUnavailable | None:
        """Why nothing can be written, as the last commit or look has found it; waits for nothing."""
        silent, failure = self._commits.silence, self._commits.failure
        if silent:
            return _silent(silent)
        return told(failure) if failure else self._seen

    def look(self) -> None:
        """Raise what is wrong with it now, if anything is; waits for it, but not for ever.

        Where something was wrong, something is really written, so that it is not said to be well before it is.
        """
        try:
            self._check_place()
            self._glance()
            if self.trouble():
                self.write(_fill, _GLANCE)
                self.write(_empty, _GLANCE)
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            self._seen, self._given_up = told(error), True
            raise self._seen from error
        except IndexUnavailable as error:
            self._seen = error
            raise
        self._seen = None

    def disconnect(self) -> None:
        """Let go of all connections; the next use makes new ones, to whatever stands in its place then."""
        self._times += 1
        self._identity = None
        self._writer.dispose()
        self._reader.dispose()
        self._glancer.dispose()

    def close(self, patience: float = PATIENCE) -> None:
        """Bring to the database what waits, within ``patience`` seconds."""
        if self._commits.close(patience):
            self._let_go()
            self.disconnect()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        self._given_up = False
        try:
            self._check_place()
            connection = self._writing()
            self._say(connection, "BEGIN IMMEDIATE" if self.is_sqlite else "BEGIN")
            yield connection
            self._say(connection, "COMMIT")
            if connection.in_transaction():  # as SQLAlchemy sees it, which begins one with each statement
                connection.commit()
        except BaseException as error:
            self._failed()
            self._let_go()
            if trouble := lasting(error):
                self.alarm()
                raise trouble from error
            raise

    def _writing(self) -> Connection:
        """The connection that is written with; it is kept, since taking one from the pool costs as much as a row."""
        if self._held and self._held[1] != self._times:
            self._let_go()
        if self._held is None:
            times = self._times
            self._held = self._writer.connect(), times
        return self._held[0]

    def _say(self, connection: Connection, statement: str) -> None:
        raw: Any = connection.connection.dbapi_connection
        try:
            raw.execute(statement)
        except self.dialect.loaded_dbapi.Error as error:
            raise driver_error(error, self.dialect) from error

    def _let_go(self) -> None:
        """Whatever was begun is rolled back with it."""
        held, self._held = self._held, None
        if held is not None:
            with suppress(SQLAlchemyError):
                held[0].invalidate()
            with suppress(SQLAlchemyError):
                held[0].close()

    def _unreadable(self) -> IndexUnavailable | None:
        if silent := self._commits.silence:
            return _silent(silent)
        return None if isinstance(self._seen, ReadableError) else self._seen

    def _check_place(self) -> None:
        """Refuse a file that is gone: what is written to it is on no disk that anybody finds."""
        if self._identity and self._found() != self._identity:
            raise FileNotFoundError(2, "it is not the file that was opened: moved, or its disk is not mounted")

    def _glance(self) -> None:
        """Read something, by a connection that nobody else waits for."""
        if not self.is_sqlite:
            with self._glancer.connect() as connection:
                connection.execute(_LOOK)
            return
        # A new one, since those that are open may live on what they remember.
        uri = f"file:{quote(self.file)}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=LOCKED)) as raw:
            raw.execute("SELECT count(*) FROM stores").fetchone()

    def _found(self) -> tuple[int, int] | None:
        if not self.is_sqlite:
            return None
        try:
            here = os.stat(self.file)  # noqa: PTH116 for each transaction
        except (FileNotFoundError, NotADirectoryError):
            return None
        return here.st_dev, here.st_ino

    def _tell(self, error: Exception) -> None:
        self._log.error("the index cannot be written", why=str(told(error)))


def _silent(seconds: float) -> IndexUnavailable:
    return IndexUnavailable(f"it has not answered for {seconds:.0f} s")


def _fill(connection: Connection) -> None:
    connection.execute(delete(facts).where(facts.c.name == _FILLED))
    connection.execute(facts.insert().values(name=_FILLED, value="." * _ROOM))


def _empty(connection: Connection) -> None:
    connection.execute(delete(facts).where(facts.c.name == _FILLED))


def _make(file: str) -> None:
    """An empty file, where there is none."""
    os.makedirs(os.path.dirname(file) or ".", 0o750, exist_ok=True)  # noqa: PTH103, PTH120 a name, and no more
    with suppress(FileExistsError):
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))


def _version(connection: Connection) -> str | None:
    """The step that the tables are at; None where there are none. Raises :class:`UnusableError`."""
    tables = inspect(connection).get_table_names()
    if not tables:
        return None
    if "alembic_version" not in tables:
        raise UnusableError("it is another program's; name another database")
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found is not None and str(found) > HEAD:
        raise UnusableError("it was written by a later version of scpd; use that, or name another database")
    return None if found is None else str(found)


def _migrate(engine: Engine) -> None:
    from alembic import command  # noqa: PLC0415 takes a tenth of a second, and nearly always there is nothing to do
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "scpd.index:migrations")
    config.set_main_option("path_separator", "os")
    with engine.connect() as connection:
        is_sqlite = connection.dialect.name == "sqlite"
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_sqlite else "BEGIN")
        if not is_sqlite:  # several may start at once
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _MIGRATING})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.exec_driver_sql("COMMIT")
