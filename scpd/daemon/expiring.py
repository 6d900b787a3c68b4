"""What the retention of a configuration would delete now, beside a daemon that runs or not. Changes nothing."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from scpd.daemon.archive import shown, url
from scpd.daemon.handover import queue_directory
from scpd.daemon.retaining import rules_by_directory
from scpd.errors import IndexUnavailable, ScpdError
from scpd.forward.database import FILE, connect
from scpd.index.index import Index
from scpd.index.places import MARKER, store_uid
from scpd.retention import place
from scpd.retention.candidates import Candidates
from scpd.retention.judging import Holds, Verdict, Work, judged
from scpd.retention.waiting import Waiting
from scpd.services.commitment.transactions import Transactions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scpd.config import Config, ServerConfig
    from scpd.retention.place import Place


class Look(NamedTuple):
    """A store with rules: the servers that use it, its directory, how much is free there (bytes), and what is due."""

    servers: Sequence[str]
    directory: str
    free: int
    due: Iterator[Verdict]


def looks(config: Config, server: str | None = None) -> Iterator[Look]:
    """A look at each store of a configuration, or at that of one server; to be read before the next is taken.

    Raises :class:`ScpdError`, also while one is read.
    """
    names = [one.name for one in config.servers]
    if server is not None and server not in names:
        raise ScpdError(f"no server is called {server}; there are {', '.join(names)}")
    if not (found := rules_by_directory(config)):
        raise ScpdError("no server has a retention: nothing is ever deleted")
    with _holds(config) as holds:
        for directory, rules in found.items():
            users = [one for one in config.servers if str(one.storage.directory.absolute()) == directory]
            if server is None or server in [one.name for one in users]:
                with _index(users[0]) as index, _opened(directory) as (opened, uid):
                    yield _look(users, directory, Candidates(index.database, uid), Work(rules, holds), opened)


def _look(users: Sequence[ServerConfig], directory: str, candidates: Candidates, work: Work, opened: Place) -> Look:
    before, gone = opened.free(), 0

    def free() -> int:
        return before + gone

    def due() -> Iterator[Verdict]:
        nonlocal gone
        try:
            for verdict in judged(candidates, directory, work, time.time(), free):
                gone += 0 if verdict.why else verdict.study.size
                yield verdict
        except IndexUnavailable as error:
            raise ScpdError(f"the index cannot be used: {error}") from error

    return Look([one.name for one in users], directory, before, due())


@contextmanager
def _index(server: ServerConfig) -> Iterator[Index]:
    if server.index is None:
        raise ScpdError(f"{server.name} has no index")
    address = url(server, server.index)
    if address.startswith("sqlite:") and not Path(address.removeprefix("sqlite:///")).exists():
        raise ScpdError(f"there is no index at {shown(address)}; start scpd, or run scpd index rebuild")
    try:
        index = Index(address, server.index.attributes.keeping())
    except ImportError as error:
        raise ScpdError(f"{error.name} is missing; pip install 'scpd[postgresql]'") from error
    try:
        yield index
    finally:
        index.close()


@contextmanager
def _opened(directory: str) -> Iterator[tuple[Place, str]]:
    if not os.path.lexists(f"{directory}/{MARKER}"):
        raise ScpdError(f"nothing was stored in {directory} yet, or it is not mounted")
    try:
        uid = store_uid(Path(directory))
        with place.opened(directory, uid) as opened:
            yield opened, uid
    except OSError as error:
        raise ScpdError(f"{directory} cannot be used: {error.strerror or error}") from error


@contextmanager
def _holds(config: Config) -> Iterator[Sequence[Holds]]:
    """What waits in the queue of the daemon, where it has one."""
    directory = queue_directory(config)
    if directory is None or not (directory / FILE).exists():
        yield ()
        return
    try:
        with closing(connect(directory / FILE, "rw")) as connection:
            queue: Any = SimpleNamespace(database=_Reading(connection))
            yield (Waiting(queue.database, Transactions(queue).pending),)
    except sqlite3.Error as error:
        raise ScpdError(f"{directory / FILE} cannot be read: {error}") from error


class _Reading:
    """The queue's database as somebody else reads it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def read(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, parameters).fetchall()
