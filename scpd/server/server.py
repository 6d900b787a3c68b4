"""One listening address and the workers behind it."""

from __future__ import annotations

import _thread
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from scpd.errors import ScpdError
from scpd.identity.rates import Buckets, Rate
from scpd.server.capacity import Capacity, CapacityLimits
from scpd.server.record import Record, new_id
from scpd.server.worker import Terms, Worker
from scpd.telemetry.logs import logger
from scpd.telemetry.statistics import Books
from scpd.transport.connection import Connection, address_text
from scpd.transport.listener import Listener, address_of
from scpd.transport.tls import SecureConnection

if TYPE_CHECKING:
    import socket
    import ssl

    from scpd.server.record import Live
    from scpd.telemetry.statistics import Counts, Statistics
    from scpd.transport.listener import Where

_SECONDS_BETWEEN_COMPLAINTS = 60.0
_SECONDS_TO_SAY_GOODBYE = 2.0


class Plan(NamedTuple):
    """How a server serves: its name, what associations begin under, how many there may be, and TLS where there is."""

    name: str
    terms: Terms
    limits: CapacityLimits
    tls: ssl.SSLContext | None = None


class Server:
    """Takes connections on one address and serves each on a thread of its own.

    What is counted of them goes into the ``books`` under the name that it had when they came.
    """

    def __init__(
        self,
        name: str,
        address: Where,
        terms: Terms,
        limits: CapacityLimits,
        tls: ssl.SSLContext | None = None,
        books: Books | None = None,
    ) -> None:
        self._plan = Plan(name, terms, limits, tls)
        self.capacity = Capacity(limits)
        self._address = address
        self._log = logger("server")
        self._listener: Listener | None = None
        self._accepting: threading.Thread | None = None
        self._workers: dict[Connection, Record | None] = {}  # None until its thread runs
        # What is short is done under the lock alone: its methods take no memory, which may be what there is none of.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._stopping = threading.Lock()
        self._complained = float("-inf")
        self._books = Books() if books is None else books
        self._told = Buckets(Rate(1, _SECONDS_BETWEEN_COMPLAINTS))

    @property
    def name(self) -> str:
        """What it is called in logs."""
        return self._plan.name

    @property
    def statistics(self) -> Statistics:
        """What was counted under its name, by itself or by others that had it."""
        return self._books[self.name]

    @property
    def terms(self) -> Terms:
        """What the next association begins under."""
        return self._plan.terms

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens: the real port, where 0 was asked for."""
        return self._listener.address if self._listener else address_of(self._address)

    def start(self) -> None:
        """Listen and serve, in threads of its own. Raises :class:`~scpd.errors.ScpdError` when it cannot listen."""
        self._listener = Listener(self._address)
        serve, hand_over = self._listener.serve, (self._take, self._scarce)
        accepting = threading.Thread(target=serve, args=hand_over, name=f"listen {self.name}", daemon=True)
        try:
            accepting.start()
        except RuntimeError as error:
            self._listener.close()
            self._listener = None
            raise ScpdError(f"cannot listen: {error}") from error
        self._accepting = accepting

    def silence(self) -> float:
        """For how many seconds the accept loop has owed a sign of life; asks for the next one."""
        return self._listener.silence() if self._listener else 0.0

    def state(self) -> dict[str, int]:
        """How many associations there are, connections in all, and how many were turned away by their address."""
        return {
            "associations": len(self.capacity),
            "connections": len(self._workers),
            "turned_away": self.statistics.turned_away,
        }

    def live(self) -> list[Live]:
        """The associations that go on, in the order they came."""
        return [record.live() for record in self._records() if record.is_live]

    def counts(self) -> Counts:
        """What was counted under its name since the process began, up to this moment."""
        return self.statistics.counts()

    def _records(self) -> list[Record]:
        return [record for record in list(self._workers.values()) if record]

    def abort_one(self, association_id: str, why: str) -> bool:
        """End one association with an A-ABORT; whether it is there."""
        for record in self._records():
            if record.association_id == association_id and record.is_live:
                record.connection.interrupt(why)
                return True
        return False

    def adopt(self, plan: Plan) -> None:
        """Serve the connections that come from now on as ``plan`` says; those that are there go on as they are."""
        self._plan = plan
        self.capacity.limits = plan.limits

    def stop_accepting(self) -> None:
        """Take no more connections; associations go on."""
        with self._stopping:
            if self._listener and self._accepting:
                self._listener.stop()
                self._accepting.join(_SECONDS_TO_SAY_GOODBYE)
                if not self._accepting.is_alive():  # else it is stuck, and only the end of the process ends it
                    self._listener.close()

    def drain(self, deadline: float) -> bool:
        """Wait until all associations have ended or ``deadline`` (monotonic) has come; whether all have."""
        with self._changed:
            return self._changed.wait_for(lambda: not len(self.capacity), max(0.0, deadline - time.monotonic()))

    def abort(self, why: str) -> None:
        """End every association and connection now, with an A-ABORT where there is somebody to hear it."""
        with self._lock:
            connections = list(self._workers)
        for connection in connections:
            connection.interrupt(why)
        with self._changed:
            self._changed.wait_for(lambda: not self._workers, _SECONDS_TO_SAY_GOODBYE)

    def _take(self, sock: socket.socket, address: tuple[str, int]) -> None:
        plan = self._plan
        if plan.terms.turns_away and (key := plan.terms.turns_away(address[0])):
            self._turn_away(sock, address[0], key, plan)
            return
        connection = _connection(sock, address_text(address), plan.tls)
        with self._lock:
            self._workers[connection] = None
        self.capacity.enter(connection, address[0])
        try:
            # Not Thread.start, which waits until the thread runs: the next connection would wait with it.
            _thread.start_new_thread(self._work, (connection, plan))
        except (RuntimeError, MemoryError) as error:
            self._leave(connection)
            connection.close()
            self._complain(f"no thread for a connection: {error}")

    def _turn_away(self, sock: socket.socket, host: str, key: str, plan: Plan) -> None:
        """Close what an access rule keeps out by its address alone, and say so once a minute for each address."""
        sock.close()
        statistics = self._books[plan.name]
        statistics.turn_away()
        if self._told.take(host, time.monotonic()):
            self._log.warning(
                "connection turned away",
                server=plan.name,
                peer=host,
                why="its address is not let in",
                key=key,
                where=plan.terms.where(key),
                turned_away=statistics.turned_away,
            )

    def _work(self, connection: Connection, plan: Plan) -> None:
        try:
            record = Record(new_id(), plan.name, connection, self._log, self._books[plan.name])
            with self._lock:
                self._workers[connection] = record
            Worker(connection, plan.terms, self.capacity, record, self._left_association).run()
        except MemoryError as error:  # there is none left to serve it, and the next connection may find some
            self._complain(f"no memory for a connection: {error}")
        finally:
            self._leave(connection)
            connection.close()

    def _left_association(self, connection: Connection) -> None:
        self.capacity.dissociate(connection)
        with self._lock:
            self._changed.notify_all()

    def _leave(self, connection: Connection) -> None:
        self.capacity.leave(connection)
        with self._lock:
            record = self._workers.pop(connection, None)
            self._changed.notify_all()
        if record:
            record.gone()

    def _scarce(self, error: OSError | MemoryError) -> None:
        what = error.strerror if isinstance(error, OSError) else "no memory"
        self._complain(f"connections have to wait: {what}")

    def _complain(self, what: str) -> None:
        now = time.monotonic()
        if now - self._complained >= _SECONDS_BETWEEN_COMPLAINTS:
            self._complained = now
            self._log.error("out of resources", server=self.name, what=what)


def _connection(sock: socket.socket, peer: str, tls: ssl.SSLContext | None) -> Connection:
    return SecureConnection(sock, peer, tls, server_side=True) if tls else Connection(sock, peer)
