"""A syslog receiver on loopback: over TLS with octet counting (RFC 5425) or over UDP (RFC 5426), strict by RFC 5424."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 20.0
_BOM = b"\xef\xbb\xbf"
# RFC 5424 section 6; of the structured data only that there is none.
_LINE = re.compile(
    rb"<(?P<pri>0|[1-9][0-9]{0,2})>(?P<version>[1-9][0-9]{0,2}) "
    rb"(?P<timestamp>-|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)) "
    rb"(?P<host>[!-~]{1,255}) (?P<app>[!-~]{1,48}) (?P<process>[!-~]{1,128}) (?P<id>[!-~]{1,32}) "
    rb"(?P<structured>-) (?P<text>.*)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Received:
    """One syslog message."""

    facility: int
    severity: int
    when: datetime
    host: str
    app: str
    process: str
    id: str
    text: str


def parse(raw: bytes) -> Received:
    """``raw`` as RFC 5424 has it, or :class:`AssertionError`. What begins with a BOM has to be UTF-8, and it does."""
    match = _LINE.fullmatch(raw)
    assert match, f"not RFC 5424: {raw[:200]}"
    assert int(match["pri"]) <= 191
    assert match["version"] == b"1"
    assert match["text"].startswith(_BOM), "no BOM before the text"
    return Received(
        facility=int(match["pri"]) // 8,
        severity=int(match["pri"]) % 8,
        when=datetime.fromisoformat(match["timestamp"].decode()),
        host=match["host"].decode(),
        app=match["app"].decode(),
        process=match["process"].decode(),
        id=match["id"].decode(),
        text=match["text"].removeprefix(_BOM).decode(),
    )


class Collector:
    """Listens from the start, or from :meth:`listen` on. With ``reads`` false it takes connections and reads nothing.

    ``failures`` are handshakes that came to nothing, ``connections`` those that came about, one after another.
    """

    def __init__(self, context: ssl.SSLContext | None = None, *, port: int = 0, reads: bool = True) -> None:
        self.port = port
        self.received: list[Received] = []
        self.failures: list[Exception] = []
        self.connections = 0
        self._context = context
        self._reads = reads
        self._changed = threading.Condition()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def listen(self) -> None:
        """Take a port, the same again where it had one."""
        if self._context:
            sock = socket.create_server(("127.0.0.1", self.port))
            self._start(self._accept_forever, sock)
        else:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind(("127.0.0.1", self.port))
            self._start(self._take_datagrams, sock)
        self.port = sock.getsockname()[1]

    def stop(self) -> None:
        """Hang up and listen no more; :meth:`listen` begins anew."""
        self.hang_up()
        while self._threads:  # the one that accepts comes first
            thread = self._threads.pop(0)
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def hang_up(self) -> None:
        """Close the listening socket and every connection, without a word of TLS."""
        with self._changed:
            sockets, self._sockets = self._sockets, []
            self._changed.notify_all()
        for sock in sockets:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            if sock.type == socket.SOCK_DGRAM:  # nothing else wakes who waits for a datagram
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker, contextlib.suppress(OSError):
                    waker.sendto(b"", sock.getsockname())

    def texts(self) -> list[str]:
        with self._changed:
            return [one.text for one in self.received]

    def wait_until(self, condition: Callable[[], object], what: str = "it") -> None:
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE), (
                f"{what} did not come about: {len(self.received)} messages, failures {self.failures}"
            )

    def wait_for(self, count: int) -> list[Received]:
        """The messages, once there are ``count``."""
        self.wait_until(lambda: len(self.received) >= count, f"{count} messages")
        return list(self.received)

    def _start(self, work: Callable[[socket.socket], None], sock: socket.socket) -> None:
        with self._changed:
            self._sockets.append(sock)
        thread = threading.Thread(target=work, args=(sock,), name="collector", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _note(self, *, raw: bytes | None = None, failure: Exception | None = None, connection: bool = False) -> None:
        with self._changed:
            if raw is not None:
                self.received.append(parse(raw))
            if failure:
                self.failures.append(failure)
            self.connections += connection
            self._changed.notify_all()

    def _accept_forever(self, listening: socket.socket) -> None:
        with listening:
            while True:
                try:
                    plain, _ = listening.accept()
                except OSError:
                    return
                plain.settimeout(PATIENCE)
                secure = self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
                with self._changed:
                    if listening not in self._sockets:
                        secure.close()
                        return
                self._start(self._take_frames, secure)

    def _take_frames(self, secure: ssl.SSLSocket) -> None:
        with secure:
            try:
                secure.do_handshake()
                self._note(connection=True)
                secure.settimeout(None)
                if self._reads:
                    self._read_frames(secure)
                else:
                    with self._changed:  # until somebody hangs up
                        self._changed.wait_for(lambda: secure not in self._sockets)
            except OSError as error:
                self._note(failure=error)

    def _read_frames(self, secure: ssl.SSLSocket) -> None:
        buffer = b""
        while True:
            more = secure.recv(65536)
            if not more:
                return
            buffer += more
            while frame := re.match(rb"([1-9][0-9]{0,8}) ", buffer):
                end = frame.end() + int(frame[1])
                if len(buffer) < end:
                    break
                self._note(raw=buffer[frame.end() : end])
                buffer = buffer[end:]
            assert frame or len(buffer) < 10, f"not octet counting: {buffer[:100]}"

    def _take_datagrams(self, sock: socket.socket) -> None:
        with sock:
            while True:
                raw = sock.recv(65536)
                with self._changed:
                    if sock not in self._sockets:
                        return
                if raw:
                    self._note(raw=raw)
