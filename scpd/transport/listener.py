"""A listening socket whose accept loop survives everything, and stops when it is told."""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from scpd.errors import ScpdError
from scpd.transport.connection import set_options

if TYPE_CHECKING:
    from collections.abc import Callable

# Host and port; or a socket that listens already, which this process was handed over.
Where: TypeAlias = tuple[str, int] | socket.socket

_BACKLOG = 1024
# Out of descriptors, memory or buffers: nothing to do but wait a little and let others give some back.
_SCARCE = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS))
_PAUSE_MS = 75
_MAPPED = "::ffff:"


class Listener:
    """An address that takes connections. ``address`` is the one it really has, where port 0 was asked for.

    A socket that listens already stays open when this is closed: whoever handed it over keeps the connections that come
    meanwhile waiting, and refuses none.
    """

    def __init__(self, where: Where) -> None:
        wakes: tuple[socket.socket, socket.socket] | tuple[()] = ()
        try:
            wakes = socket.socketpair()
            self._wake_reader, self._wake_writer = wakes
            self._socket = listen(*where) if isinstance(where, tuple) else _joined(where)
        except OSError as error:
            for one in wakes:
                one.close()
            host, port = address_of(where)
            raise ScpdError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        self._is_inherited = not isinstance(where, tuple)
        self._reserve = _spare_descriptor()
        self._stopped = False
        self._asked: float | None = None

    def serve(
        self,
        take: Callable[[socket.socket, tuple[str, int]], None],
        scarce: Callable[[OSError | MemoryError], None],
    ) -> None:
        """Hand each connection to ``take`` until :meth:`stop`; ``scarce`` hears of what the system has run out of.

        ``take`` must neither block nor raise: one connection's trouble never becomes the next one's.
        """
        if self._stopped:
            return
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._wake_reader, select.POLLIN)
        wake = self._wake_reader.fileno()
        pause = select.poll()
        pause.register(self._wake_reader, select.POLLIN)
        while not self._stopped:
            if any(number == wake for number, _ in poll.poll()):
                self._answer()
            try:
                if not self._stopped:
                    sock, address = self._socket.accept()
                    if self._is_inherited:
                        # Whoever waited before it was ours has not inherited what we set.
                        set_options(sock)
                    take(sock, (_plain(address[0]), address[1]))
            except BlockingIOError:
                continue
            except (OSError, MemoryError) as error:
                if isinstance(error, MemoryError) or error.errno in _SCARCE:
                    scarce(error)
                    self._turn_away()
                    pause.poll(_PAUSE_MS)
                # Anything else is one connection that broke before it was taken (ECONNABORTED, EPROTO, …).

    def silence(self) -> float:
        """Ask :meth:`serve` for a sign of life, without waiting; for how many seconds it has owed the last one."""
        now = time.monotonic()
        asked = self._asked
        if asked is not None:
            return now - asked
        self._asked = now
        with suppress(OSError):
            self._wake_writer.send(b"\0")
        return 0.0

    def _answer(self) -> None:
        self._wake_reader.recv(64)
        self._asked = None

    def stop(self) -> None:
        """End :meth:`serve`, from any thread; connections that wait in our own backlog are refused."""
        self._stopped = True
        with suppress(OSError):
            self._wake_writer.send(b"\0")

    def close(self) -> None:
        """Give the address back, once :meth:`serve` has ended."""
        for one in (self._socket, self._wake_reader, self._wake_writer):
            one.close()
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None

    def _turn_away(self) -> None:
        """Spend the spare descriptor on closing one waiting connection, so that its peer does not wait in vain."""
        if self._reserve is None:
            self._reserve = _spare_descriptor()
            return
        os.close(self._reserve)
        with suppress(OSError):
            sock, _ = self._socket.accept()
            sock.close()
        self._reserve = _spare_descriptor()


def _plain(host: str) -> str:
    """A peer of IPv4 by its own address, also where it comes to a socket of both."""
    return host.removeprefix(_MAPPED) if "." in host else host


def _spare_descriptor() -> int | None:
    with suppress(OSError):
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    return None


def address_of(where: Where) -> tuple[str, int]:
    """Host and port, as they were asked for or as a socket has them."""
    address: tuple[str, int] = where if isinstance(where, tuple) else where.getsockname()[:2]
    return address


def _joined(inherited: socket.socket) -> socket.socket:
    """The same socket under a descriptor of ours; how long its backlog is was said where it was opened."""
    sock = inherited.dup()
    sock.setblocking(False)
    return sock


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there, and does not block. Raises :class:`OSError`."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        set_options(sock)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock
