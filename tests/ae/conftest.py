"""Servers and associations of scpd, pynetdicom and a peer that says what it is told, all over real sockets.

Nothing sleeps: ``until`` and ``Told`` wait for a condition, a ``Future`` for a thread, each with a deadline.
"""

from __future__ import annotations

import os
import random
import socket
import ssl
import struct
import sys
import threading
import time
from collections import Counter
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from scpd import AE, evt
from scpd.wire.contexts import PresentationContextAC
from scpd.wire.pdu import DECODERS, AssociateAC, AssociateRQ, DataTF, PDUType
from scpd.wire.user_info import UserInformation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scpd.ae.association import Association
    from scpd.ae.server import AssociationServer
    from scpd.wire.pdu import PDU

PATIENCE = 20.0
VERIFICATION = "1.2.840.10008.1.1"


class Told:
    """What handlers were told, in order: names of events, or what ``note`` was given."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.associations: list[Association] = []
        self._changed = threading.Condition()

    def handlers(self, *events: evt.EventType) -> list[tuple[evt.EventType, Callable[[Any], None]]]:
        """Handlers for notifications."""
        return [(event, self._hear) for event in events]

    def note(self, what: Any) -> None:
        with self._changed:
            self.events.append(what)
            self._changed.notify_all()

    def wait_for(self, *wanted: Any, timeout: float = PATIENCE) -> list[Any]:
        """All that was told, once ``wanted`` is among it, as often as it stands there."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: not Counter(wanted) - Counter(self.events), timeout)
            assert arrived, f"{wanted} was not told, only {self.events}"
            return list(self.events)

    def _hear(self, event: Any) -> None:
        if event.assoc not in self.associations:
            self.associations.append(event.assoc)
        self.note(event.event.name)


class Peer:
    """An acceptor by hand: ``play`` runs beside the test with the accepted socket in ``socket``."""

    def __init__(self, play: Callable[[Peer], None]) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        self.may_go_on = threading.Event()
        self.has_begun = threading.Event()
        self.received: list[str] = []
        self.socket: Any = None
        self.done = run_beside(self._run, play)

    def _run(self, play: Callable[[Peer], None]) -> None:
        self.listening.settimeout(PATIENCE)
        self.socket, _ = self.listening.accept()
        self.socket.settimeout(PATIENCE)
        play(self)

    def receive(self) -> PDU | None:
        """The next PDU, or None when the other side closes."""
        header = self._exactly(6)
        if header is None:
            return None
        body = self._exactly(int.from_bytes(header[2:])) or b""
        pdu = (DataTF if header[0] == PDUType.P_DATA_TF else DECODERS[header[0]]).decode(memoryview(body))
        self.received.append(type(pdu).__name__)
        return pdu

    def send(self, pdu: PDU | bytes) -> None:
        self.socket.sendall(pdu if isinstance(pdu, bytes) else pdu.encode())

    def accept(self, **more: Any) -> None:
        """Receive the request and accept every context in its first transfer syntax."""
        request = self.receive()
        assert isinstance(request, AssociateRQ)
        self.send(acceptance(request, **more))

    def wait(self) -> None:
        """Go on when the test says so."""
        assert self.may_go_on.wait(PATIENCE)

    def drain(self) -> None:
        """Read until the other side closes."""
        with suppress(ConnectionError):
            while self.receive():
                pass

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """End it, with RST: who waits for room in a full window may not hear of anything less."""
        self.may_go_on.set()
        self.listening.close()
        if self.socket:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RD)  # wakes its own thread
                self.reset()

    def _exactly(self, count: int) -> bytes | None:
        data = bytearray()
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                return None
            data += more
        return bytes(data)


def acceptance(request: AssociateRQ, syntax: str = "", **information: Any) -> AssociateAC:
    return AssociateAC(
        called_field=request.called_field,
        calling_field=request.calling_field,
        user_information=UserInformation(
            **{"maximum_length": 16384, "implementation_class_uid": "1.2.3", **information}
        ),
        presentation_contexts=tuple(
            PresentationContextAC(context.context_id, 0, syntax or context.transfer_syntaxes[0])
            for context in request.presentation_contexts
        ),
    )


def run_beside(what: Callable[..., Any], *args: Any) -> Future:
    done: Future = Future()

    def work() -> None:
        try:
            done.set_result(what(*args))
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return done


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to connections.

    Nobody takes it by chance meanwhile, and whoever tries it again and again is not connected to himself at last.
    """
    while True:
        port = random.randrange(10_000, 32_000)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture(scope="session")
def beside() -> Callable[..., Future]:
    """Call something on a thread of its own; ``.result(PATIENCE)`` is its result, or raises what it raised."""
    return run_beside


@pytest.fixture
def hasty():
    """Threads take turns as often as they can: what goes wrong between two lines does so soon."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """Wait for a condition that nobody announces."""

    def wait(condition: Callable[[], Any], timeout: float = PATIENCE) -> None:
        patience = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < patience, "it did not come to pass"
            os.sched_yield()

    return wait


@pytest.fixture
def peer_by_hand() -> Iterator[Callable[..., Peer]]:
    """``peer_by_hand(play)``: what ``play`` raises fails the test."""
    peers: list[Peer] = []

    def make(play: Callable[[Peer], None]) -> Peer:
        peers.append(Peer(play))
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()
    for peer in peers:
        with suppress(OSError):  # its connection was closed, here or by the test's other side
            peer.done.result(PATIENCE)


@pytest.fixture
def serve() -> Iterator[Callable[..., AssociationServer]]:
    """A server of scpd on a port of 127.0.0.1 that the system chose.

    ``serve(contexts, handlers, **how)``: contexts are abstract syntaxes, or keywords for ``add_supported_context``;
    ``ae`` to use, else a new one with ``settings``; the rest goes to ``start_server``.
    """
    servers: list[AssociationServer] = []

    def start(supported=(VERIFICATION,), handlers=(), *, ae=None, address=("127.0.0.1", 0), settings=None, **how):
        entity = ae or AE()
        for name, value in (settings or {}).items():
            setattr(entity, name, value)
        for one in supported if ae is None else ():
            entity.add_supported_context(**one) if isinstance(one, dict) else entity.add_supported_context(one)
        server = entity.start_server(address, block=False, evt_handlers=list(handlers), **how)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown(0)


@pytest.fixture
def associate() -> Iterator[Callable[..., Association]]:
    """``associate(port, contexts, **how)`` as the AE SCU, or as ``ae``; must be established unless ``refused``."""
    associations: list[Association] = []

    def start(port, requested=(VERIFICATION,), *, ae=None, host="127.0.0.1", refused=False, settings=None, **how):
        entity = ae or AE("SCU")
        for name, value in (settings or {}).items():
            setattr(entity, name, value)
        for one in requested if ae is None else ():
            entity.add_requested_context(*one) if isinstance(one, tuple) else entity.add_requested_context(one)
        association = entity.associate(host, port, **how)
        associations.append(association)
        assert association.is_established != refused, association.error
        return association

    yield start
    for association in associations:
        association.abort()


@pytest.fixture(scope="session")
def pynetdicom(peer):
    return peer("pynetdicom")


@pytest.fixture(scope="module")
def pynetdicom_scp(pynetdicom):
    """``pynetdicom_scp(supported, handlers, **settings)`` gives a running server of pynetdicom and its port.

    For the whole module, since one takes half a second to end.
    """
    servers = []

    def start(supported=(VERIFICATION,), handlers=(), *, ae_title="PEER", ssl_context=None, **settings):
        entity = pynetdicom.AE(ae_title)
        for one in supported:
            entity.add_supported_context(**one) if isinstance(one, dict) else entity.add_supported_context(one)
        for name, value in settings.items():
            setattr(entity, name, value)
        server = entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=list(handlers), ssl_context=ssl_context
        )
        servers.append(server)
        return server, server.server_address[1]

    yield start
    ends = [run_beside(server.shutdown) for server in servers]
    for end in ends:
        end.result(PATIENCE)


@pytest.fixture
def pynetdicom_scu(pynetdicom):
    """Associate as pynetdicom; ``requested`` are abstract syntaxes or pairs with transfer syntaxes."""
    associations = []

    def start(port, requested=(VERIFICATION,), *, ae_title="PYNETDICOM", called="ANY-SCP", refused=False, **how):
        entity = pynetdicom.AE(ae_title)
        for one in requested:
            entity.add_requested_context(*one) if isinstance(one, tuple) else entity.add_requested_context(one)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = PATIENCE
        association = entity.associate("127.0.0.1", port, ae_title=called, **how)
        associations.append(association)
        assert association.is_established != refused
        return association

    yield start
    for association in associations:
        if association.is_established:
            association.abort()


@pytest.fixture
def pynetdicom_rejection(pynetdicom_scu, until):
    """Have pynetdicom rejected: (result, source, reason) as it has heard them.

    It is asked again when it has noticed the close that follows before the rejection itself.
    """

    def ask(port, **how) -> tuple[int, int, int]:
        heard = []

        def is_heard():
            heard[:] = [pynetdicom_scu(port, refused=True, **how).acceptor.primitive]
            return heard[0] is not None

        until(is_heard)
        return heard[0].result, heard[0].result_source, heard[0].diagnostic

    return ask


@pytest.fixture(scope="session")
def ready(until):
    """Wait for pynetdicom's reactor: still waking up, it would drop a response that comes at once (3.0.4)."""

    def wait(association):
        until(lambda: not association._is_paused)
        return association

    return wait


class Site:
    """A certificate authority, a host and a modality with certificates by it, and SSL contexts."""

    def __init__(self) -> None:
        self.authority = trustme.CA()
        self.host = self.authority.issue_cert("pacs.example", "127.0.0.1")
        self.modality = self.authority.issue_cert("ct.example")

    def server(self, *, verify: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.host.configure_cert(context)
        if verify:
            context.verify_mode = ssl.CERT_REQUIRED
            self.authority.configure_trust(context)
        return context

    def client(self, *, certified: bool = False, trusting: bool = True) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        (self.authority if trusting else trustme.CA()).configure_trust(context)
        if certified:
            self.modality.configure_cert(context)
        return context


@pytest.fixture(scope="session")
def site() -> Site:
    return Site()


@pytest.fixture(scope="session")
def ipv6() -> str:
    """The loopback address of IPv6, where the system has it."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    return "::1"
