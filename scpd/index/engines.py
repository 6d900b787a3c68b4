"""How an index connects to its database: to SQLite or to PostgreSQL, to read or to write; no wait is without an end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import create_engine, event

from scpd.commits import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import URL, Engine

_SILENT = "it does not answer"
# How long somebody else may hold the database, a connection may take, and a query (seconds).
LOCKED, CONNECT, QUERY = 2.0, 5, 60.0
_LARGEST_LOG = 64 << 20
# For the one that writes; those that read are many, and the system keeps what they all read.
_CACHE_KIB, _READER_CACHE_KIB = 64 * 1024, 8 * 1024
# Connections for reading: those that are kept, and the most there may be at a time.
_KEPT, MOST = 4, 64
# What an answer may take beyond the time that the server itself allows, and how often whoever waits looks up (seconds).
_ON_THE_WAY, _LOOKS_UP = 1.0, 0.5


def engine(
    url: URL, *, writes: bool = False, longest: float = 0.0, trouble: Callable[[], object] = lambda: None
) -> Engine:
    """Connections to a database, made when they are needed.

    A statement may take ``longest`` seconds at the server. ``trouble`` says, with something true, to wait no more.
    """
    how: dict[str, Any] = {"pool_timeout": CONNECT, "hide_parameters": True}
    # Who looks whether it answers does not ask it first whether it does.
    how["pool_pre_ping"] = not longest and url.get_backend_name() != "sqlite"
    longest = longest or (PATIENCE if writes else QUERY)
    how |= {"pool_size": _KEPT, "max_overflow": MOST - _KEPT}
    if writes:  # transactions begin and end by statements of ours
        how |= {"pool_size": 1, "max_overflow": 1, "isolation_level": "AUTOCOMMIT"}
    if url.get_backend_name() == "sqlite":
        return _of_sqlite(create_engine(url, **how), url.database or "", writes=writes)
    return _of_postgresql(create_engine(url, **how), longest, trouble)


def _of_sqlite(made: Engine, file: str, *, writes: bool) -> Engine:
    # Never made by connecting: an empty file would hide that the one that was there has gone.
    name = f"file:{quote(file)}?mode=rw"

    def connect(dialect: Any, *_: object) -> Any:
        return dialect.dbapi.connect(name, uri=True, timeout=LOCKED, check_same_thread=False)

    event.listen(made, "do_connect", connect)
    event.listen(made, "connect", lambda raw, _: _prepare(raw, writes=writes))
    if not writes:
        event.listen(made, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return made


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
    raw.execute(f"PRAGMA cache_size = -{_CACHE_KIB if writes else _READER_CACHE_KIB}")


def _of_postgresql(made: Engine, longest: float, trouble: Callable[[], object]) -> Engine:
    import psycopg  # noqa: PLC0415 an extra

    options = f"-c statement_timeout={int(longest * 1000)} -c lock_timeout={int(CONNECT * 1000)}"
    keepalive = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}

    class Connection(psycopg.Connection[Any]):
        """One that does not wait for a server that says nothing at all, as the driver would for ever."""

        def wait(self, gen: Any, *_: object, **__: object) -> Any:
            try:
                return super().wait(_until(gen, time.monotonic() + longest + _ON_THE_WAY, trouble), _LOOKS_UP)
            except TimeoutError as error:
                self.pgconn.finish()  # what it would still say belongs to nobody
                raise psycopg.OperationalError(str(error)) from error

    def connect(_: object, __: object, arguments: Any, keywords: Any) -> Any:
        if trouble():
            raise psycopg.OperationalError(_SILENT)
        said = {"connect_timeout": CONNECT, "options": options, "application_name": "scpd", **keepalive}
        return Connection.connect(*arguments, **{**said, **keywords})

    event.listen(made, "do_connect", connect)
    return made


def _until(waiting: Any, deadline: float, trouble: Callable[[], object]) -> Any:
    """What psycopg waits for, which ends with :class:`TimeoutError`; it looks up from time to time, with a zero."""
    try:
        wanted = next(waiting)
        while True:
            ready = yield wanted
            if not ready and (time.monotonic() > deadline or trouble()):
                raise TimeoutError(_SILENT)
            wanted = waiting.send(ready)
    except StopIteration as end:
        return end.value
