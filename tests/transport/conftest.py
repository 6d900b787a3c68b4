"""Both ends of a connection in one process: the near one is the product's, the far one says what it is told."""

from __future__ import annotations

import socket
import struct
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from scpd.association.events import State
from scpd.transport.connection import Connection
from scpd.transport.upper_layer import UpperLayer
from scpd.wire.contexts import PresentationContextAC, PresentationContextRQ
from scpd.wire.framing import Limits
from scpd.wire.pdu import DECODERS, AssociateAC, AssociateRQ, DataTF, PDUType, encode_title
from scpd.wire.user_info import UserInformation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scpd.wire.pdu import PDU

PATIENCE = 20.0
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
LIMITS = Limits(associate=1 << 20, data=1 << 16)


class Far:
    """The peer's end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        sock.settimeout(PATIENCE)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> PDU | None:
        """The next PDU, or None at the end of the stream."""
        header = self.read(6)
        if not header:
            return None
        decoder = DataTF if header[0] == PDUType.P_DATA_TF else DECODERS[header[0]]
        return decoder.decode(memoryview(self.read(int.from_bytes(header[2:]))))

    def read(self, count: int) -> bytes:
        """So many bytes, or none at the end of the stream."""
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                return b""
            data += more
        return data

    def says_nothing_more(self) -> bool:
        """Whether nothing is there to be read; the end of the stream may be."""
        self.socket.setblocking(False)
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)

    def hang_up(self) -> None:
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes a thread that sends
        self.socket.close()

    def reset(self) -> None:
        """Close with RST (TCP only)."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


@pytest.fixture
def ends(meanwhile) -> Iterator[Callable[..., tuple[Connection, Far]]]:
    """A connection and its far end: a socket pair, or loopback TCP where ``tcp`` is asked for.

    ``meanwhile`` ends after them: closing wakes whoever is still busy with one.
    """
    made: list[tuple[Connection, Far]] = []

    def make(*, tcp: bool = False, buffer: int = 0) -> tuple[Connection, Far]:
        near, far = _tcp(buffer) if tcp else socket.socketpair()
        if buffer:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        made.append((Connection(near, "127.0.0.1:104"), Far(far)))
        return made[-1]

    yield make
    for connection, far in made:
        connection.close()
        far.hang_up()


def _tcp(buffer: int) -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.socket()
        if buffer:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        far.connect(server.getsockname())
        return server.accept()[0], far


@pytest.fixture
def layer(ends) -> Callable[..., tuple[UpperLayer, Far]]:
    """An upper layer and its peer, put into ``state``."""

    def make(
        state: State = State.STA2,
        *,
        is_requestor: bool = False,
        artim: float = PATIENCE,
        write: float = PATIENCE,
        limits: Limits = LIMITS,
        **how,
    ) -> tuple[UpperLayer, Far]:
        connection, far = ends(**how)
        upper = UpperLayer(connection, is_requestor=is_requestor, limits=limits, artim=artim, write=write)
        if state is not State.STA2:
            upper.machine.state = state
            upper.machine.deadline = time.monotonic() + artim if state is State.STA13 else None
        return upper, far

    return make


@pytest.fixture
def associated(layer, request_pdu, accept_pdu) -> Callable[..., tuple[UpperLayer, Far]]:
    """An acceptor's upper layer with an association (Sta6), come by honestly."""

    def make(**how) -> tuple[UpperLayer, Far]:
        upper, far = layer(**how)
        far.send(request_pdu.encode())
        upper.await_request()
        upper.accept(accept_pdu)
        assert far.receive() == accept_pdu
        return upper, far

    return make


@pytest.fixture(scope="session")
def request_pdu() -> AssociateRQ:
    return AssociateRQ(
        called_field=encode_title("SCPD"),
        calling_field=encode_title("PEER"),
        user_information=UserInformation(maximum_length=16384, implementation_class_uid="1.2.3"),
        presentation_contexts=(PresentationContextRQ(1, VERIFICATION, (IMPLICIT,)),),
    )


@pytest.fixture(scope="session")
def accept_pdu() -> AssociateAC:
    return AssociateAC(
        called_field=encode_title("SCPD"),
        calling_field=encode_title("PEER"),
        user_information=UserInformation(maximum_length=16384, implementation_class_uid="1.2.3"),
        presentation_contexts=(PresentationContextAC(1, 0, IMPLICIT),),
    )


@pytest.fixture(scope="session")
def within() -> Callable[..., object]:
    """``with within(0.3)``: what stands inside takes that many seconds, not less and not much more."""

    @contextmanager
    def check(seconds: float, tolerance: float = 0.4):
        began = time.monotonic()
        yield
        took = time.monotonic() - began
        assert seconds <= took <= seconds + tolerance, f"{took:.3f} s instead of {seconds} s"

    return check


@pytest.fixture(scope="session")
def bounded() -> Callable[..., object]:
    """Do ``what`` on a thread, so that a wait without an end fails the test and not the whole run."""

    def run(what: Callable[[], object], timeout: float = 5.0) -> object:
        done: Future = Future()

        def work() -> None:
            try:
                done.set_result(what())
            except BaseException as error:
                done.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        try:
            return done.result(timeout)
        except TimeoutError:
            pytest.fail(f"it was not over after {timeout} s")

    return run


@pytest.fixture
def meanwhile() -> Iterator[Callable[..., threading.Thread]]:
    """Run something beside the test; what it does to a connection that is gone meanwhile is its own affair.

    ``every=0.02`` repeats it after so many seconds each (0: without a pause) until the test ends or it fails.
    """
    over = threading.Event()
    threads = []

    def run(what: Callable[[], object], every: float | None = None) -> None:
        with suppress(OSError):
            what()
            while every is not None and not over.wait(every):
                what()

    def start(what: Callable[[], object], every: float | None = None) -> threading.Thread:
        threads.append(threading.Thread(target=run, args=(what, every), daemon=True))
        threads[-1].start()
        return threads[-1]

    yield start
    over.set()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
