"""A hook that is an address: the event is POSTed to it as JSON, signed, and an answer of 2xx means that it has arrived.

Everything together, the TLS handshake and a server that sends one octet at a time included, keeps to one deadline; the
system's look-up of a name alone has its own. Redirects are not followed. Knows no queue.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import io
import json
import socket
import ssl
import time
from typing import TYPE_CHECKING, Self

from scpd.forward.runner import Failed
from scpd.names import quote
from scpd.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scpd.forward.address import Address
    from scpd.forward.queue import Job


class Webhook:
    """POSTs to ``address`` within ``timeout`` seconds each time; with ``context`` over TLS, as ``server_name``."""

    def __init__(
        self,
        name: str,
        address: Address,
        secret: str,
        *,
        timeout: float,
        attempts: int,
        concurrency: int,
        context: ssl.SSLContext | None = None,
        server_name: str = "",
    ) -> None:
        self.name = name
        self.attempts = attempts
        self.concurrency = concurrency
        self._address = address
        self._secret = secret.encode()
        self._timeout = timeout
        self._context = context
        self._server_name = server_name or address.host

    def deliver(self, job: Job) -> None:
        """POST it. Raises :class:`Failed` for any answer but 2xx, for good where that is 410 Gone."""
        body = json.dumps({**job.payload, "delivery": job.delivery}).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"scpd/{__version__}",
            "Connection": "close",
            "X-Scpd-Event": str(job.payload.get("event", "")),
            "X-Scpd-Delivery": job.delivery,
            "X-Scpd-Signature": signature(self._secret, int(time.time()), body),
        }
        try:
            status = self._post(headers, body)
        except ssl.SSLCertVerificationError as error:
            raise Failed(f"its certificate is not accepted ({quote(error.verify_message)})") from error
        except TimeoutError as error:
            raise Failed(f"it took longer than {self._timeout:g} s") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Failed(f"no answer: {quote(why)}") from error
        _judge(status)

    def abandon(self) -> None:
        """Nothing outlives the process."""

    def _post(self, headers: Mapping[str, str], body: bytes) -> int:
        deadline = time.monotonic() + self._timeout
        with _Line(_connected(self._address, deadline), deadline) as line:
            if self._context:
                line.secure(self._context, self._server_name)
            connection = http.client.HTTPConnection(self._address.host, self._address.port)
            connection.sock = line
            connection.request("POST", self._address.target, body, dict(headers))
            return connection.getresponse().status


def _connected(address: Address, deadline: float) -> socket.socket:
    """A connection to the first address of the host that can be reached. Raises :class:`OSError`."""
    reason: OSError = TimeoutError()
    for family, kind, protocol, _, where in socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM):
        one = socket.socket(family, kind, protocol)
        try:
            one.settimeout(_left(deadline))
            one.connect(where)
        except OSError as error:
            one.close()
            reason = error
        else:
            return one
    raise reason


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Line:
    """A connection whose every wait ends at ``deadline`` (monotonic); to ``http.client`` it is a socket."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._deadline = deadline
        self._socket = connected
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def secure(self, context: ssl.SSLContext, name: str) -> None:
        """Shake hands."""
        self._socket = context.wrap_socket(self._in_time(), server_hostname=name)

    def _in_time(self) -> socket.socket:
        self._socket.settimeout(_left(self._deadline))
        return self._socket

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._in_time().send(view) :]

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reading(self))

    def receive_into(self, buffer: memoryview) -> int:
        return self._in_time().recv_into(buffer)

    def close(self) -> None:
        """Whoever made the line closes it."""


class _Reading(io.RawIOBase):
    """What comes over a line, as a file."""

    def __init__(self, line: _Line) -> None:
        self._line = line

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # typeshed has Buffer
        return self._line.receive_into(buffer)


def signature(secret: bytes, moment: int, body: bytes) -> str:
    """``t=UNIXTIME,v1=HEX``, the HMAC-SHA256 of "t.body": who knows the secret can tell who sent it, and when."""
    digest = hmac.new(secret, b"%d." % moment + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


def _judge(status: int) -> None:
    if 200 <= status < 300:
        return
    if status == http.client.GONE:
        raise Failed("it answered 410 Gone, which asks for no more", is_final=True)
    if 300 <= status < 400:
        raise Failed(f"it answered {status}, and redirects are not followed")
    raise Failed(f"it answered {status}")
