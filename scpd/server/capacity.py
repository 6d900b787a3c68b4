"""How many connections and associations there may be, in all and from one address.

A connection that has no association yet, or none any more, is *pending*: it never uses up an association's place. When
too many are pending the oldest of them goes, since whoever means it sends its A-ASSOCIATE-RQ at once; so a port scanner
that fills the room only ever drives out itself.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from scpd.transport.connection import Connection


class CapacityLimits(NamedTuple):
    """The most of each; the names are those of the configuration."""

    associations: int
    associations_per_address: int
    pending: int
    pending_per_address: int


class Capacity:
    """The connections of one server, by what they are. All methods may be called from any thread."""

    def __init__(self, limits: CapacityLimits) -> None:
        self.limits = limits
        self._lock = threading.Lock()
        self._pending: dict[Connection, str] = {}  # oldest first
        self._associated: dict[Connection, str] = {}
        self._pending_from: Counter[str] = Counter()
        self._associated_from: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many associations there are."""
        return len(self._associated)

    def enter(self, connection: Connection, host: str) -> None:
        """A connection is there; the oldest pending one may have to make way."""
        with self._lock:
            evicted = self._make_pending(connection, host)
        _evict(evicted)

    def associate(self, connection: Connection) -> str:
        """Give the connection an association's place; returns the limit that is reached, or an empty string."""
        with self._lock:
            host = self._pending.get(connection)
            if host is None:
                return "limits.pending"  # made way in this very moment
            if len(self._associated) >= self.limits.associations:
                return "limits.associations"
            if self._associated_from[host] >= self.limits.associations_per_address:
                return "limits.associations_per_address"
            self._forget(connection)
            self._associated[connection] = host
            self._associated_from[host] += 1
            return ""

    def dissociate(self, connection: Connection) -> None:
        """The association has ended, though the connection may linger: its place is free from now on."""
        evicted = None
        with self._lock:
            host = self._associated.pop(connection, None)
            if host is not None:
                _take_one(self._associated_from, host)
                evicted = self._make_pending(connection, host)
        _evict(evicted)

    def leave(self, connection: Connection) -> None:
        """The connection is gone."""
        with self._lock:
            self._forget(connection)
            host = self._associated.pop(connection, None)
            if host is not None:
                _take_one(self._associated_from, host)

    def _make_pending(self, connection: Connection, host: str) -> Connection | None:
        evicted = self._one_too_many(host)
        if evicted:
            self._forget(evicted)
        self._pending[connection] = host
        self._pending_from[host] += 1
        return evicted

    def _one_too_many(self, host: str) -> Connection | None:
        if self._pending_from[host] >= self.limits.pending_per_address:
            return next(one for one, its_host in self._pending.items() if its_host == host)
        if len(self._pending) >= self.limits.pending:
            return next(iter(self._pending))
        return None

    def _forget(self, connection: Connection) -> None:
        host = self._pending.pop(connection, None)
        if host is not None:
            _take_one(self._pending_from, host)


def _evict(connection: Connection | None) -> None:
    if connection:
        connection.interrupt("made way for newer connections (limits.pending)")


def _take_one(counter: Counter[str], host: str) -> None:
    counter[host] -= 1
    if not counter[host]:
        del counter[host]
