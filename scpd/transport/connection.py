"""One TCP connection: bytes in and out under deadlines, and a way for another thread to end a wait.

Receiving blocks in the one system call that also brings the bytes; the system's own time-out on it (SO_RCVTIMEO) is a
little coarser than the deadline and seldom set anew, so a wait costs no call of its own and ends at most 5 % late.
Another thread wakes a waiting worker by shutting down the receiving half; sending still works then, and so does the
A-ABORT that follows.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from scpd.errors import ConnectionLost, Expired, Interrupted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scpd.transport.deadline import Deadline

# DCMTK writes a PDU in two pieces and waits for the acknowledgement of the first, which the system would delay by
# 40 ms. Asking for it at once does not stick, so it is asked for before each wait in the middle of something; at the
# end of a message our answer carries it.
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
# So often a wait may be looked after before its deadline, rather than setting the system's time-out anew.
_WAKE_UPS = 25
# A peer on the same machine answers faster than the system puts a thread to sleep and wakes it again. Where the last
# wait was that short, the next one begins with looking for so many seconds, unless several peers are like that.
_SPIN = 100e-6
_BRISK: set[Connection] = set()
_INTERNET = (socket.AF_INET, socket.AF_INET6)
_LONGEST_POLL = 2**31 - 1  # milliseconds
_MOST_PARTS = 1000  # IOV_MAX is 1024 on Linux
# The system's own probes find a peer that is gone without a word (seconds, seconds, count; milliseconds).
_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4), ("TCP_USER_TIMEOUT", 120_000))


class TLS(NamedTuple):
    """What a handshake agreed on.

    ``version`` and ``cipher`` are OpenSSL's names ("TLSv1.3", "TLS_AES_256_GCM_SHA384"). ``peer_certificate`` is as
    :meth:`ssl.SSLSocket.getpeercert` gives it: None when the peer sent none, empty when the context asks for no check.
    """

    version: str
    cipher: str
    peer_certificate: dict[str, Any] | None
    peer_certificate_der: bytes | None


class Connection:
    """An open connection. ``peer`` is its address for people; ``received`` and ``sent`` count the bytes it carried.

    ``tls`` says what protects it, once :meth:`begin` has agreed on that; None where nothing does. ``handshake_failed``
    says that it came to nothing, with a peer that had begun it.
    """

    tls: TLS | None = None
    handshake_failed = False

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self.peer = peer
        self.received = 0
        self.sent = 0
        self._socket = sock
        self._interrupted: str | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._cut_off = False
        self._quickack = _QUICKACK is not None and sock.family in _INTERNET
        self._patience = 0.0  # what SO_RCVTIMEO is, in seconds
        sock.setblocking(True)

    @property
    def host(self) -> str:
        """The host of ``peer``."""
        return self.peer.rpartition(":")[0].strip("[]")

    def begin(self, deadline: Deadline) -> None:
        """Do what has to come before the first byte of the association: nothing here, the handshake where TLS is.

        Raises :class:`Expired`, :class:`Interrupted` and :class:`ConnectionLost`.
        """

    def receive(self, view: memoryview, deadline: Deadline, *, owed: bool = False) -> int:
        """Fill ``view`` as far as there is something, waiting for it; 0 at the end of the stream.

        ``owed`` says that the peer has begun something that it must go on with. Raises :class:`Expired`,
        :class:`Interrupted` and :class:`ConnectionLost`.
        """
        left = deadline.remaining()
        count = self.try_receive(view) if owed else None
        if owed and count is None and self._quickack:
            self._acknowledge_at_once()
        if count is None and self in _BRISK:
            count = self._spin(view)
        while count is None:
            if not left / _WAKE_UPS <= self._patience <= left * 1.05:
                self._set_patience(left)
            began = time.monotonic()
            count = self._receive(view, 0)
            if time.monotonic() - began < _SPIN:
                _BRISK.add(self)
            if count is None:
                left = deadline.remaining()
        return count

    def _spin(self, view: memoryview) -> int | None:
        """Look again and again for a moment, while nobody else would want the processor for the same."""
        until = time.monotonic() + _SPIN
        while len(_BRISK) == 1 and time.monotonic() < until:
            count = self._receive(view, socket.MSG_DONTWAIT)
            if count is not None:
                return count
        _BRISK.discard(self)
        return None

    def try_receive(self, view: memoryview) -> int | None:
        """The same without waiting; None when there is nothing yet."""
        return self._receive(view, socket.MSG_DONTWAIT)

    def _receive(self, view: memoryview, flags: int) -> int | None:
        if self._interrupted is not None:
            raise Interrupted(self._interrupted)
        try:
            count = self._socket.recv_into(view, 0, flags)
        except BlockingIOError:
            return None
        except OSError as error:
            raise ConnectionLost(f"the connection broke: {error.strerror or error}") from error
        if not count and self._interrupted is not None:
            raise Interrupted(self._interrupted)
        self.received += count
        return count

    def _set_patience(self, seconds: float) -> None:
        microseconds = max(1, int(seconds * 1_000_000))
        value = struct.pack("@ll", *divmod(microseconds, 1_000_000))
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        except OSError as error:
            raise ConnectionLost(f"the connection broke: {error.strerror or error}") from error
        self._patience = seconds

    def send(self, parts: Sequence[bytes | memoryview], timeout: float) -> None:
        """Send all of ``parts``, gathered into as few system calls as the peer's window allows.

        Raises :class:`Expired` when the peer takes nothing for ``timeout`` seconds, :class:`ConnectionLost`, and
        :class:`Interrupted` where it has to wait.
        """
        pending, left = parts, sum(map(len, parts))
        if self._cut_off:
            raise ConnectionLost("something was sent in part, and nothing can follow it")
        while left:
            try:
                count = self._socket.sendmsg(pending[:_MOST_PARTS], (), socket.MSG_DONTWAIT)
            except BlockingIOError:
                self._cut_off = True  # unless the peer goes on reading
                self._await_writable(timeout)
                continue
            except OSError as error:
                raise ConnectionLost(f"the connection broke: {error.strerror or error}") from error
            self.sent += count
            left -= count
            if left:
                pending = _after(pending, count)
        self._cut_off = False

    def _acknowledge_at_once(self) -> None:
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK or 0, 1)
        except OSError:
            self._quickack = False  # the peer is gone; receiving will say so

    def _await_writable(self, timeout: float) -> None:
        """Wait for room; an interrupt shows as the end of what can be received, and so does a peer that half closed."""
        until = time.monotonic() + timeout
        events = select.POLLOUT | select.POLLRDHUP
        while True:
            writable = select.poll()
            try:
                writable.register(self._socket, events)
            except ValueError:  # closed by the thread that reads
                raise ConnectionLost("the connection was closed") from None
            ready = writable.poll(min(max(until - time.monotonic(), 0) * 1000, _LONGEST_POLL))
            if self._interrupted is not None:
                raise Interrupted(self._interrupted)
            if not ready:
                raise Expired("write", "the peer does not read what it is sent")
            if ready[0][1] & ~select.POLLRDHUP:
                return
            events = select.POLLOUT

    def interrupt(self, why: str) -> None:
        """Called from another thread: whoever waits for this peer, or will, gets :class:`Interrupted`."""
        with self._lock:
            if self._interrupted is None:
                self._interrupted = why
            if not self._closed:
                with suppress(OSError):  # a peer that is gone already
                    self._socket.shutdown(socket.SHUT_RD)

    def addresses(self) -> tuple[tuple[str, int], tuple[str, int]]:
        """Both ends, the peer's first, as host and port; empty and 0 where the peer is gone already."""
        try:
            peer, own = self._socket.getpeername(), self._socket.getsockname()
            return (str(peer[0]), int(peer[1])), (str(own[0]), int(own[1]))
        except (OSError, IndexError):
            return ("", 0), ("", 0)

    def finish_sending(self) -> None:
        """Tell the peer that nothing more will come, while it may still be read from."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Give the connection back to the system."""
        with self._lock:
            self._closed = True
            self._socket.close()
        _BRISK.discard(self)


def _after(parts: Sequence[bytes | memoryview], count: int) -> list[bytes | memoryview]:
    for index, part in enumerate(parts):
        if count < len(part):
            return [memoryview(part)[count:], *parts[index + 1 :]]
        count -= len(part)
    return []


def set_options(sock: socket.socket) -> None:
    """Send without delay, and find out about a peer that is gone; what is accepted inherits it from the listener."""
    if sock.family in _INTERNET:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def address_text(address: tuple[object, ...] | str) -> str:
    """A socket address as ``host:port`` or ``[v6]:port``."""
    if isinstance(address, str) or len(address) < 2:
        return str(address)
    host, port = str(address[0]), address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
