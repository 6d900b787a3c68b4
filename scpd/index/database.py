"""The database of an index: opened and brought up to date, read by many, written by one thread.

SQLite, in one file that is ours alone, or PostgreSQL, which several may share. What goes wrong with either is told as
:class:`~scpd.errors.IndexUnavailable`. Knows the tables' versions and nothing of what is in them.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event, inspect, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from scpd.commits import PATIENCE, Commits, NotCommittedError
from scpd.errors import IndexUnavailable
from scpd.index.migrations import HEAD
from scpd.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from sqlalchemy import URL, Connection, Engine

    T = TypeVar("T")

# How long somebody else may hold the database, a connection may take, and a query (seconds).
_LOCKED, _CONNECT, _QUERY = 5.0, 5, 60
_LARGEST_LOG = 64 << 20
_CACHE_KIB = 64 * 1024
# Connections for reading: those that are kept, and the most there may be at a time.
_KEPT, _MOST = 4, 64
_MIGRATING = 0x73637064
_DAMAGED = ("malformed", "not a database", "corrupt", "disk image")


class UnusableError(IndexUnavailable):
    """It will not be of use as it is, however long one waits: another program's, or a later version's."""


class DamagedError(IndexUnavailable):
    """What is in the file of SQLite is no database any more."""


class GoneError(IndexUnavailable):
    """The file of SQLite is not there any more."""


class Database:
    """A database by its URL; nothing is opened before :meth:`open`. ``failed`` is told of a transaction that failed."""

    def __init__(self, url: URL, failed: Callable[[], None] = lambda: None) -> None:
        self.url = url
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._failed = failed
        self._log = logger("index")
        self._writer = _engine(url, writes=True)
        self._reader = _engine(url, writes=False)
        self._identity: tuple[int, int] | None = None
        self._held: Connection | None = None
        self._commits: Commits[Connection] = Commits("index", self._transaction, (SQLAlchemyError, OSError), self._tell)

    @property
    def dialect(self) -> Any:
        """What statements are made for."""
        return self._writer.dialect

    @property
    def file(self) -> str:
        """The file of SQLite."""
        return self.url.database or ""

    def open(self) -> bool:
        """Connect, and bring the tables up to date; whether they were made anew.

        Raises :class:`UnusableError`, :class:`DamagedError` and other :class:`IndexUnavailable`.
        """
        try:
            if self.is_sqlite:
                _make_directory(os.path.dirname(self.file))  # noqa: PTH120 a name, and no more
            with self._writer.connect() as connection:
                version = _version(connection)
            if version != HEAD:
                _migrate(self._writer)
            self._identity = self._found()
        except (SQLAlchemyError, OSError) as error:
            raise told(error) from error
        return version is None

    def write(self, action: Callable[[Connection], T], patience: float = PATIENCE) -> T:
        """Have ``action`` done in a transaction with others; committed on return. Raises :class:`IndexUnavailable`."""
        return self.begin(action, patience)()

    def begin(self, action: Callable[[Connection], T], patience: float = PATIENCE) -> Callable[[], T]:
        """The same while the caller does something else; committed once what is returned has returned."""

        def result() -> T:
            try:
                return begun.result(patience)
            except (SQLAlchemyError, OSError, NotCommittedError) as error:
                raise told(error) from error

        try:
            begun = self._commits.begin(action)
        except NotCommittedError as error:
            raise told(error) from error
        return result

    def write_later(self, action: Callable[[Connection], Any], then: Callable[[], None] = lambda: None) -> None:
        """The same, and nobody waits: it is tried until it holds."""
        self._commits.write_later(action, then)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read with, whose rows come as they are asked for. Raises :class:`IndexUnavailable`."""
        try:
            with self._reader.connect() as connection:
                yield connection.execution_options(stream_results=True, max_row_buffer=500)
        except (SQLAlchemyError, OSError) as error:
            raise told(error) from error

    def trouble(self) -> IndexUnavailable | None:
        """Why nothing can be written, as the last commit has found it; waits for nothing."""
        silent, failure = self._commits.silence, self._commits.failure
        if silent:
            return IndexUnavailable(f"it has not answered for {silent:.0f} s")
        return told(failure) if failure else None

    def look(self) -> None:
        """Raise what is wrong with it now, if anything is; waits for it."""
        try:
            self._check_place()
            with self._writer.connect() as connection:
                connection.execute(text("SELECT count(*) FROM stores"))
        except (SQLAlchemyError, OSError) as error:
            raise told(error) from error

    def disconnect(self) -> None:
        """Let go of all connections; the next use makes new ones."""
        self._writer.dispose()
        self._reader.dispose()

    def forget_place(self) -> None:
        """The next time that it is opened it may be another file."""
        self._identity = None

    def close(self, patience: float = PATIENCE) -> None:
        """Bring to the database what waits, within ``patience`` seconds."""
        if self._commits.close(patience):
            self.disconnect()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        connection = None
        try:
            self._check_place()
            connection = self._writing()
            self._say(connection, "BEGIN IMMEDIATE" if self.is_sqlite else "BEGIN")
            yield connection
            self._say(connection, "COMMIT")
            if connection.in_transaction():  # as SQLAlchemy sees it, which begins one with each statement
                connection.commit()
        except BaseException:
            self._failed()
            self._let_go()
            raise

    def _writing(self) -> Connection:
        """The connection that is written with; it is kept, since taking one from the pool costs as much as a row."""
        if self._held is None:
            self._held = self._writer.connect()
        return self._held

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
                held.invalidate()
            with suppress(SQLAlchemyError):
                held.close()

    def _check_place(self) -> None:
        """Refuse a file that is gone: what is written to it is on no disk that anybody finds."""
        if self._identity and self._found() != self._identity:
            raise FileNotFoundError(2, "it is not the file that was opened: moved, or its disk is not mounted")

    def _found(self) -> tuple[int, int] | None:
        if not self.is_sqlite:
            return None
        here = os.stat(self.file)  # noqa: PTH116 for each transaction
        return here.st_dev, here.st_ino

    def _tell(self, error: Exception) -> None:
        self._log.error("the index cannot be written", why=str(told(error)))


def driver_error(error: Exception, dialect: Any) -> BaseException:
    """The error of a driver as SQLAlchemy has it."""
    kind = dialect.loaded_dbapi.Error
    return DBAPIError.instance(None, None, error, kind, hide_parameters=True, dialect=dialect)


def told(error: Exception) -> IndexUnavailable:
    """What went wrong, in a sentence for a sysadmin: no statement and no value in it."""
    if isinstance(error, IndexUnavailable):
        return error
    if isinstance(error, FileNotFoundError):
        return GoneError(error.strerror)
    if isinstance(error, PoolTimeout):
        return IndexUnavailable(f"more than {_MOST} queries at a time")
    if isinstance(error, DisconnectionError | NotCommittedError) or not isinstance(error, DBAPIError):
        return IndexUnavailable(getattr(error, "strerror", None) or str(error))
    what = (str(error.orig).strip() or type(error.orig).__name__).splitlines()[0]
    if any(word in what for word in _DAMAGED):
        return DamagedError(f"it is damaged: {what}")
    return IndexUnavailable(f"another program holds it ({what})" if "locked" in what else what)


def _engine(url: URL, *, writes: bool) -> Engine:
    pool: dict[str, Any] = {"pool_size": _KEPT, "max_overflow": _MOST - _KEPT}
    if writes:  # transactions begin and end by statements of ours
        pool = {"pool_size": 1, "max_overflow": 1, "isolation_level": "AUTOCOMMIT"}
    is_sqlite = url.get_backend_name() == "sqlite"
    arguments = {"timeout": _LOCKED, "check_same_thread": False} if is_sqlite else _of_postgresql(writes=writes)
    engine = create_engine(
        url, connect_args=arguments, pool_timeout=_CONNECT, pool_pre_ping=not is_sqlite, hide_parameters=True, **pool
    )
    if is_sqlite:
        event.listen(engine, "connect", lambda raw, _: _prepare(raw, writes=writes))
        if not writes:
            event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def _of_postgresql(*, writes: bool) -> dict[str, Any]:
    longest = int((PATIENCE if writes else _QUERY) * 1000)
    options = f"-c statement_timeout={longest} -c lock_timeout={int(_LOCKED * 1000)}"
    keepalive = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}
    return {"connect_timeout": _CONNECT, "options": options, "application_name": "scpd", **keepalive}


def _prepare(raw: Any, *, writes: bool) -> None:
    raw.isolation_level = None  # transactions begin where SQLAlchemy says, and not where the driver thinks
    if writes:
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute("PRAGMA synchronous = FULL")
        raw.execute("PRAGMA foreign_keys = ON")
        raw.execute(f"PRAGMA journal_size_limit = {_LARGEST_LOG}")
    else:
        raw.execute("PRAGMA query_only = ON")
    raw.execute("PRAGMA case_sensitive_like = ON")
    raw.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")


def _make_directory(directory: str) -> None:
    with suppress(FileExistsError):
        os.makedirs(directory or ".", 0o750)  # noqa: PTH103 as above


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
