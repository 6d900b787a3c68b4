"""What may go wrong with the database of an index, told apart by what can be done, and in words for a sysadmin."""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy.exc import DataError, DBAPIError, DisconnectionError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from scpd.errors import IndexUnavailable
from scpd.index.engines import MOST

_DAMAGED = ("malformed", "not a database", "corrupt")
_HELD, _FULL = ("locked", "busy"), ("full", "readonly")
# The same of PostgreSQL (its appendix A), and what becomes of two that wait for each other, or a table that is none.
_HELD_STATES, _FULL_STATES = ("55P03",), ("53100", "25006")
_ONCE_MORE, _NO_TABLE = ("40001", "40P01"), ("42P01",)


class UnusableError(IndexUnavailable):
    """It will not be of use as it is, however long one waits: another program's, or a later version's."""


class DamagedError(IndexUnavailable):
    """What is in the file of SQLite is no database any more."""


class GoneError(IndexUnavailable):
    """The file of SQLite is not there any more, or the tables are not."""


class ReadableError(IndexUnavailable):
    """It cannot be written just now, and may well be read: somebody holds it, or its disk is full."""


class RefusedError(IndexUnavailable):
    """It does not take just this; what others write is written."""


def driver_error(error: Exception, dialect: Any) -> BaseException:
    """The error of a driver as SQLAlchemy has it."""
    kind = dialect.loaded_dbapi.Error
    return DBAPIError.instance(None, None, error, kind, hide_parameters=True, dialect=dialect)


def told(error: BaseException) -> IndexUnavailable:
    """What went wrong, in a sentence for a sysadmin: no statement and no value in it."""
    if isinstance(error, IndexUnavailable):
        return error
    if isinstance(error, FileNotFoundError):
        return GoneError(error.strerror)
    if isinstance(error, PoolTimeout):
        return IndexUnavailable(f"more than {MOST} queries at a time")
    if isinstance(error, DBAPIError) and not isinstance(error, DisconnectionError):
        return _of_driver(error.orig or error)
    if isinstance(error, sqlite3.Error):
        return _of_driver(error)
    return IndexUnavailable(getattr(error, "strerror", None) or str(error))


def _of_driver(error: BaseException) -> IndexUnavailable:
    what, state = said(error), getattr(error, "sqlstate", None)
    if state in _NO_TABLE or "no such table" in what:
        return GoneError("its tables are gone")
    if state in _HELD_STATES or (state is None and any(word in what for word in _HELD)):
        return ReadableError(f"another program holds it ({what})")
    if state in _FULL_STATES or (state is None and any(word in what for word in _FULL)):
        return ReadableError(what)
    if isinstance(error, sqlite3.Error) and any(word in what for word in _DAMAGED):
        return DamagedError(f"it is damaged: {what}")
    return IndexUnavailable(what)


def lasting(error: BaseException) -> IndexUnavailable | None:
    """What is wrong with the database, and meets all others too; None where it is one action's own fault."""
    if isinstance(error, DataError | IntegrityError) or not isinstance(error, SQLAlchemyError | OSError):
        return None
    if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in _ONCE_MORE:
        return None
    return told(error)


def said(error: BaseException) -> str:
    """In one line, and without values."""
    error = getattr(error, "orig", None) or error
    return (str(error).strip() or type(error).__name__).splitlines()[0]
