"""Syslog lines (RFC 5424), and where they go: over TLS (RFC 5425), over UDP (RFC 5426), or into a file.

A destination is driven by one thread. What it cannot do now it raises as :class:`OSError`, and is asked again later;
syslog has no acknowledgements, so :meth:`has_arrived` gives the best reason to believe that there is. Knows neither
what a line says nor who keeps it until it has arrived.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import ssl
import stat
import struct
import termios
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from scpd.telemetry.audit import Outcome
from scpd.transport.connection import set_options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scpd.telemetry.audit import Message

TLS_PORT = 6514  # RFC 5425 4.1
UDP_PORT = 514  # RFC 5426 3.3
# Leaves room for the headers of IP and UDP in the 65,535 octets of a packet.
LONGEST_DATAGRAM = 65_000
_FACILITY = 10  # security and authorization messages (PS3.15 A.6)
_NOTICE, _WARNING = 5, 4
_BOM = b"\xef\xbb\xbf"
_RECORD = 16 * 1024  # the most plaintext in one record (RFC 8446 5.1)
_CHATTER = 16  # reads: a collector has nothing to say
_NO_TIME = 0.001  # seconds: none at all would mean for ever
_LAST_WORDS = 2.0  # seconds for the end of a connection, both ways
# What may be on its way at once. A datagram that finds the receiver's buffer full is lost without a word.
_TLS_WINDOW = 16 << 20
_UDP_WINDOW = 64 << 10
_APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FILE_MODE = 0o640


def encode(message: Message) -> bytes:
    """``message`` as RFC 5424 and PS3.15 A.6 want it, on one line."""
    severity = _NOTICE if message.outcome is Outcome.SUCCESS else _WARNING
    when = message.when.isoformat(timespec="microseconds")
    host = "".join(character if "!" <= character <= "~" else "?" for character in message.host)[:255]
    header = f"<{_FACILITY * 8 + severity}>1 {when} {host or '-'} scpd {message.process_id} DICOM+RFC3881 - "
    return header.encode() + _BOM + message.xml.replace("\n", " ").encode(errors="replace")


class Destination(Protocol):
    """Where lines go. ``name`` is for people and for the spool; ``window`` bounds the octets on their way.

    Where ``settles``, what was sent counts as having arrived only after a while of good standing.
    """

    name: str
    window: int
    settles: bool

    def send(self, lines: Sequence[bytes]) -> int:
        """Send ``lines`` in order; how many of them can never go this way. Raises :class:`OSError`."""

    def has_arrived(self) -> bool:
        """Whether everything sent has arrived, as far as one can know. Raises :class:`OSError` when it has not."""

    def finish(self) -> bool:
        """End in good order, in a few seconds at most; whether everything sent has arrived."""

    def close(self) -> None:
        """End at once."""

    def interrupt(self) -> None:
        """Make what waits fail; the only thing that another thread may do."""


class TLSDestination:
    """A collector that is reached by syslog over TLS, on one connection that stays open.

    ``context`` has to verify the collector and allow nothing below TLS 1.2, else :class:`ValueError`. ``name``
    is what its certificate must carry, the host unless something else is said. ``connect`` and ``write`` are seconds:
    for each address and the handshake, and for what is sent at once.
    """

    window = _TLS_WINDOW
    settles = True

    def __init__(
        self,
        host: str,
        port: int,
        context: ssl.SSLContext,
        *,
        name: str = "",
        connect: float = 10.0,
        write: float = 30.0,
    ) -> None:
        if context.verify_mode is not ssl.CERT_REQUIRED or context.minimum_version < ssl.TLSVersion.TLSv1_2:
            raise ValueError("audit messages go only to a collector that is verified, by TLS 1.2 or later")
        self.name = f"tls:{host}:{port}"
        self._certified = name or host
        self._address = host, port
        self._context = context
        self._connect = connect
        self._write = write
        self._socket: ssl.SSLSocket | None = None

    def send(self, lines: Sequence[bytes]) -> int:
        """Each line as a frame with its length (RFC 5425 4.3), after a look whether the collector is still there."""
        sock = self._socket or self._connected()
        _listen(sock)
        frames = memoryview(b"".join(b"%d %s" % (len(line), line) for line in lines))
        until = time.monotonic() + self._write
        try:
            while frames:
                sock.settimeout(max(until - time.monotonic(), _NO_TIME))
                frames = frames[sock.send(frames[:_RECORD]) :]
        except TimeoutError:
            raise TimeoutError(f"the collector takes less than it is sent in {self._write:g} s") from None
        except OSError:
            _listen(sock)  # what it said before it closed tells more
            raise
        return 0

    def _connected(self) -> ssl.SSLSocket:
        plain = socket.create_connection(self._address, self._connect)
        try:
            set_options(plain)
            plain.settimeout(self._connect)
            secure = self._context.wrap_socket(plain, server_hostname=self._certified, do_handshake_on_connect=False)
        except BaseException:
            plain.close()
            raise
        self._socket = secure
        secure.do_handshake()
        return secure

    def has_arrived(self) -> bool:
        """The connection stands, and the collector's system has acknowledged every octet."""
        if self._socket is None:
            raise ConnectionError("the connection is gone")
        _listen(self._socket)
        return _unacknowledged(self._socket) == 0

    def finish(self) -> bool:
        """Say close_notify and wait for the collector's end: it has read everything then."""
        if self._socket is None:
            return False
        until = time.monotonic() + _LAST_WORDS
        with suppress(OSError):
            _listen(self._socket)
            with suppress(ssl.SSLWantReadError, ssl.SSLEOFError):  # an answer is not owed (RFC 5425 4.4)
                self._socket.unwrap()
            socket.socket.shutdown(self._socket, socket.SHUT_WR)
            while (left := until - time.monotonic()) > 0:
                self._socket.settimeout(left)
                if not self._socket.recv(_RECORD):
                    return True
        return False

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def interrupt(self) -> None:
        sock = self._socket
        if sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _listen(sock: socket.socket) -> None:
    """Take what the collector says, and notice when it has closed. Raises :class:`OSError` then."""
    sock.setblocking(False)
    with suppress(BlockingIOError, ssl.SSLWantReadError):
        for _ in range(_CHATTER):
            if not sock.recv(_RECORD) and sock.type == socket.SOCK_STREAM:
                raise ConnectionResetError("the collector closed the connection")


def _unacknowledged(sock: socket.socket) -> int:
    """How many octets the other end's system has not acknowledged (SIOCOUTQ)."""
    queued = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    return int(struct.unpack("@i", queued)[0])


class UDPDestination:
    """A collector that is reached by syslog over UDP: nothing says whether a message arrives (PS3.15 A.7).

    Only "port unreachable" is heard. A message of more than :data:`LONGEST_DATAGRAM` octets cannot go this way, since
    cut short it would be no XML; ``scpd`` writes none that is half as long.
    """

    window = _UDP_WINDOW
    settles = True

    def __init__(self, host: str, port: int, *, write: float = 10.0) -> None:
        self.name = f"udp:{host}:{port}"
        self._address = host, port
        self._write = write
        self._socket: socket.socket | None = None

    def send(self, lines: Sequence[bytes]) -> int:
        """Each line as a datagram (RFC 5426 3.1)."""
        sock = self._socket or self._connected()
        _listen(sock)
        sock.settimeout(self._write)
        return sum(not self._sent(sock, line) for line in lines)

    @staticmethod
    def _sent(sock: socket.socket, line: bytes) -> bool:
        if len(line) > LONGEST_DATAGRAM:
            return False
        try:
            sock.send(line)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            return False
        return True

    def _connected(self) -> socket.socket:
        host, port = self._address
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self._socket = socket.socket(family, kind, protocol)
        self._socket.connect(address)
        return self._socket

    def has_arrived(self) -> bool:
        """Nobody has said that there is no such port."""
        if self._socket is None:
            raise ConnectionError("the socket is gone")
        _listen(self._socket)
        return True

    def finish(self) -> bool:
        try:
            return self.has_arrived()
        except OSError:
            return False

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def interrupt(self) -> None:
        """Nothing waits here for longer than ``write``."""


class FileDestination:
    """A file that lines are appended to, on the disk when :meth:`send` returns.

    Others may rotate it: where another file or none stands at ``path``, that one is written on. It is made with mode
    0640, in a directory that has to be there. Neither a symbolic link nor anything but a file is written to.
    """

    window = 1 << 62
    settles = False

    def __init__(self, path: Path) -> None:
        self.name = f"file:{path}"
        self._path = path
        self._file = -1
        self._torn = False  # half a line stands at the end

    def send(self, lines: Sequence[bytes]) -> int:
        """All lines and one fsync; none of them where the disk does not take all."""
        self._reopen_if_rotated()
        raw = (b"\n" if self._torn else b"") + b"".join(line + b"\n" for line in lines)
        before = os.fstat(self._file).st_size
        written = 0
        try:
            while written < len(raw):
                written += os.write(self._file, raw[written:])
            os.fsync(self._file)
        except OSError:
            self._take_back(before, written)
            raise
        self._torn = False
        return 0

    def _take_back(self, before: int, written: int) -> None:
        if not written:
            return
        self._torn = True
        with suppress(OSError):
            if os.fstat(self._file).st_size == before + written:  # and nobody else has appended since
                os.ftruncate(self._file, before)
                self._torn = self._is_torn()

    def _reopen_if_rotated(self) -> None:
        if self._file >= 0:
            ours = os.fstat(self._file)
            with suppress(FileNotFoundError):
                here = self._path.stat(follow_symlinks=False)
                if (here.st_dev, here.st_ino) == (ours.st_dev, ours.st_ino):
                    return
            self.close()
        self._file = os.open(self._path, _APPEND, _FILE_MODE)
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            self.close()
            raise OSError(errno.EINVAL, "it is not a file", str(self._path))
        self._torn = self._is_torn()

    def _is_torn(self) -> bool:
        """Whether the last line has no end: somebody was interrupted in it."""
        size = os.fstat(self._file).st_size
        return size > 0 and os.pread(self._file, 1, size - 1) != b"\n"

    def has_arrived(self) -> bool:
        return True

    def finish(self) -> bool:
        return True

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def interrupt(self) -> None:
        """A disk cannot be interrupted."""
