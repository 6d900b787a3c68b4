"""Transactions from Success until their report was heard: a job of the queue each, with what it refers to beside it.

Everything that has to survive the process stands in the queue's database. What does not is the way back: the
association that a request came over, for as long as it lasts. Knows neither index nor network.
"""

from __future__ import annotations

import hashlib
import json
import threading
from typing import TYPE_CHECKING, NamedTuple

from scpd.forward.queue import HELD, encoded
from scpd.services.commitment.module import RESOURCE_LIMITATION, Reference, RefusedError, Requested

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from scpd.forward.queue import Queue
    from scpd.negotiation.offer import AcceptedContext
    from scpd.services.service import Asking, Peer

# No hook can have this name: theirs have no spaces.
NAME = "storage commitment"
SCHEMA = (
    """CREATE TABLE IF NOT EXISTS commitments (
        job INTEGER PRIMARY KEY, peer TEXT NOT NULL, transaction_uid TEXT NOT NULL, digest TEXT NOT NULL,
        instances INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX IF NOT EXISTS commitments_by_transaction ON commitments (transaction_uid, peer)",
    """CREATE TABLE IF NOT EXISTS committing (
        job INTEGER NOT NULL, place INTEGER NOT NULL, sop_class_uid TEXT NOT NULL, sop_instance_uid TEXT NOT NULL,
        PRIMARY KEY (job, place)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS committing_by_instance ON committing (sop_instance_uid)",
    # Whoever ends the job ends these, a person with the command line too.
    """CREATE TRIGGER IF NOT EXISTS commitment_ended AFTER DELETE ON jobs BEGIN
        DELETE FROM committing WHERE job = old.id;
        DELETE FROM commitments WHERE job = old.id;
    END""",
)
# What peers may have under way, together; above that they are asked to wait.
MOST_TRANSACTIONS = 100_000
MOST_INSTANCES = 2_000_000
# So many ways back are kept, those of the last requests; the others get a new association.
_MOST_WAYS = 1000
_AT_A_TIME = 500
_PENDING = """SELECT DISTINCT sop_instance_uid FROM committing JOIN jobs ON jobs.id = committing.job
    WHERE sop_instance_uid IN (SELECT value FROM json_each(?)) AND jobs.state != 'set aside'"""


class Way(NamedTuple):
    """The association that a request came over; ``ask`` raises once that has ended."""

    ask: Asking
    context: AcceptedContext


class Transactions:
    """Those of one queue, which was opened with :data:`SCHEMA`. All methods may be called from any thread."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._lock = threading.Lock()
        self._ways: dict[int, Way] = {}

    # -- whoever takes requests

    def begin(self, server: str, peer: Peer, requested: Requested) -> int:
        """The number of a job for a request, durable on return; nobody works on it before :meth:`answered`.

        A request that is repeated while it is pending stays one. Raises :class:`RefusedError` when too much is pending,
        and :class:`~scpd.forward.queue.QueueError`.
        """
        about = {
            "event": "commitment",
            "server": server,
            "calling": peer.calling,
            "called": peer.called,
            "peer": peer.address,
            "association": peer.association_id,
            "transaction_uid": requested.transaction_uid,
            "instances": len(requested.references),
        }
        whose = (peer.calling, requested.transaction_uid, _digest(requested.references), len(requested.references))
        rows = [(place, *reference) for place, reference in enumerate(requested.references)]

        def write(connection: sqlite3.Connection) -> int | None:
            known = _known(connection, whose)
            if whose[2] in known:
                return self._anew(connection, known[whose[2]])
            if _is_full(connection, len(rows)):
                return None
            job = self._queue.insert(connection, NAME, encoded({**about, "is_duplicate": bool(known)}), HELD)
            connection.execute("INSERT INTO commitments VALUES (?, ?, ?, ?, ?)", (job, *whose))
            connection.executemany("INSERT INTO committing VALUES (?, ?, ?, ?)", ((job, *row) for row in rows))
            return job

        number = self._queue.database.write(write)
        if number is None:
            raise RefusedError(RESOURCE_LIMITATION, "too much is waiting to be committed; ask again later")
        return number

    def _anew(self, connection: sqlite3.Connection, job: int) -> int:
        """Who asks again is there again: its job is due at once, however often it failed."""
        change = "UPDATE jobs SET state = ?, attempts = 0, due = ? WHERE id = ?"
        connection.execute(change, (HELD, self._queue.clock.now(), job))
        return job

    def answered(self, number: int, way: Way) -> None:
        """The peer was told that it will hear of this: from now on, over ``way`` while that lasts."""
        with self._lock:
            self._ways[number] = way
            if len(self._ways) > _MOST_WAYS:
                del self._ways[next(iter(self._ways))]
        self._queue.settle([NAME], [number], holds=True)

    # -- whoever reports

    def way(self, number: int) -> Way | None:
        """The association of the request, until it is forgotten: it is good for one report."""
        with self._lock:
            return self._ways.get(number)

    def forget_way(self, number: int) -> None:
        """Have the next report go another way."""
        with self._lock:
            self._ways.pop(number, None)

    def references(self, number: int) -> tuple[Reference, ...]:
        """What was asked for. Raises :class:`~scpd.forward.queue.QueueError`."""
        rows = self._queue.database.read(
            "SELECT sop_class_uid, sop_instance_uid FROM committing WHERE job = ? ORDER BY place", (number,)
        )
        return tuple(Reference(*row) for row in rows)

    # -- whoever deletes

    def pending(self, sop_instance_uids: Iterable[str]) -> frozenset[str]:
        """Those that a peer waits to hear of; what was set aside does not count.

        Raises :class:`~scpd.forward.queue.QueueError`: whoever cannot know, deletes nothing.
        """
        uids, found = list(sop_instance_uids), set[str]()
        for start in range(0, len(uids), _AT_A_TIME):
            rows = self._queue.database.read(_PENDING, (json.dumps(uids[start : start + _AT_A_TIME]),))
            found.update(uid for (uid,) in rows)
        return frozenset(found)


def _known(connection: sqlite3.Connection, whose: tuple[str, str, str, int]) -> dict[str, int]:
    """The jobs of this transaction by the digest of what they refer to."""
    select = "SELECT digest, job FROM commitments WHERE peer = ? AND transaction_uid = ?"
    return dict(connection.execute(select, whose[:2]).fetchall())


def _is_full(connection: sqlite3.Connection, more: int) -> bool:
    transactions, instances = connection.execute("SELECT count(*), total(instances) FROM commitments").fetchone()
    return bool(transactions >= MOST_TRANSACTIONS or instances + more > MOST_INSTANCES)


def _digest(references: Iterable[Reference]) -> str:
    return hashlib.sha256("\n".join(sorted(map(" ".join, references))).encode()).hexdigest()
