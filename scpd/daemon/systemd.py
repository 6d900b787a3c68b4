"""What systemd and this process tell each other: readiness, life signs, and the sockets that it hands over.

Environment and datagrams alone, no library of systemd's; where there is no systemd, nothing of it does anything. What
was read of the environment is taken out of it, so that no program that scpd starts takes it for its own. Knows no
configuration and no server.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

from scpd.errors import SettingError
from scpd.names import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

_FIRST_DESCRIPTOR = 3
_LONGEST_STATUS = 500
_INTERNET = (socket.AF_INET, socket.AF_INET6)


class Notifier:
    """Tells systemd how the process is (sd_notify(3)). Never raises and never waits: what cannot be told is not told.

    Where $NOTIFY_SOCKET names no socket, every method does nothing.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        name = os.fsencode(environ.pop("NOTIFY_SOCKET", ""))
        # A leading @ stands for the null byte of the abstract namespace.
        self._address = b"\0" + name[1:] if name[:1] == b"@" else name
        self._socket: socket.socket | None = None
        if name[:1] in (b"@", b"/"):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def ready(self, status: str) -> None:
        """The start is done, or a reload, however it ended."""
        self._tell("READY=1", _status(status))

    def reloading(self) -> None:
        """A reload begins; :meth:`ready` ends it."""
        # The time tells it from a reload that systemd asked for later.
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        """The end begins."""
        self._tell("STOPPING=1", _status(status))

    def status(self, text: str) -> None:
        """One line for whoever asks ``systemctl status``."""
        self._tell(_status(text))

    def alive(self) -> None:
        """A life sign; due again within :func:`watchdog_seconds`, best in half of it."""
        self._tell("WATCHDOG=1")

    def extend(self, seconds: float) -> None:
        """The start, reload or stop that is going on takes so many seconds more from now, and is not to be cut off."""
        self._tell(f"EXTEND_TIMEOUT_USEC={max(0, round(seconds * 1_000_000))}")

    def _tell(self, *assignments: str) -> None:
        if self._socket is None:
            return
        try:
            text = "\n".join(assignments).encode(errors="replace")
            self._socket.sendto(text, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL, self._address)
        except (OSError, ValueError):  # nobody listens, too many wait to be read, a name that is none
            return


def _status(text: str) -> str:
    """On one line: a second one would be an assignment of its own."""
    return f"STATUS={' '.join(text.split())[:_LONGEST_STATUS]}"


def watchdog_seconds(environ: MutableMapping[str, str] = os.environ) -> float | None:
    """After how many seconds without a life sign systemd ends this process; None where it does not watch."""
    wanted, process = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", str(os.getpid()))
    if process != str(os.getpid()) or not wanted.isdecimal():
        return None
    return int(wanted) / 1_000_000 or None


def inherited(environ: MutableMapping[str, str] = os.environ) -> dict[str, socket.socket]:
    """The listening sockets that were handed over, by the FileDescriptorName= of their unit (sd_listen_fds(3)).

    They are this process's from now on, and no program's that it starts. Raises :class:`SettingError` with the key
    ``bind`` where one cannot be served.
    """
    process, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if process != str(os.getpid()) or not count.isdecimal():
        return {}
    sockets: dict[str, socket.socket] = {}
    for place in range(int(count)):
        name = names[place] if place < len(names) and names[place] else "unknown"
        sock = _listening(_FIRST_DESCRIPTOR + place, name)
        if name in sockets:
            what = (
                f"two inherited sockets are called {quote(name)}; give each a unit and a FileDescriptorName= of its own"
            )
            raise SettingError("bind", what)
        sockets[name] = sock
    return sockets


def chosen(sockets: Mapping[str, socket.socket], name: str, server: str) -> socket.socket:
    """The socket called ``name``; where that is empty, the one called as the server, or the only one there is.

    Raises :class:`SettingError` with the key ``bind`` where there is none.
    """
    if not sockets:
        what = "systemd hands over no socket; start scpd by its socket unit (systemctl start scpd.socket)"
        raise SettingError("bind", f"{what}, or write host:port")
    wanted = name or (server if server in sockets or len(sockets) > 1 else next(iter(sockets)))
    if wanted not in sockets:
        what = f"systemd hands over no socket called {wanted}, but {', '.join(map(quote, sockets))}"
        raise SettingError("bind", f"{what}; write systemd:NAME, or FileDescriptorName={wanted} in its unit")
    return sockets[wanted]


def _listening(descriptor: int, name: str) -> socket.socket:
    """The descriptor as a socket that takes connections."""
    try:
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        what = f"the inherited descriptor {quote(name)} is no socket ({error.strerror})"
        raise SettingError("bind", f"{what}; write ListenStream= in its unit") from error
    if not listens or sock.type != socket.SOCK_STREAM or sock.family not in _INTERNET:
        what = f"the inherited socket {quote(name)} takes no connections of TCP"
        raise SettingError("bind", f"{what}; write ListenStream= with a port, and Accept=no, in its unit")
    return sock
