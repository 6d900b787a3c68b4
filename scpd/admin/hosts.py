"""By which names the endpoint may be asked for: a page of elsewhere must not read it under a name of its own.

A page can have its own name lead to this machine (DNS rebinding); then the browser asks for that name, and is refused.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9_.-]+))(?::[0-9]{0,5})?", re.ASCII)


class Hosts:
    """IP addresses, localhost, the machine's own name, and ``names``."""

    def __init__(self, names: Collection[str]) -> None:
        own = socket.gethostname()
        self._names = frozenset(_plain(name) for name in ("localhost", own, own.partition(".")[0], *names))

    def know(self, header: str) -> bool:
        """Whether a Host header asks for one of them. Raises :class:`ValueError` where it is none (RFC 9110 7.2)."""
        found = _HOST.fullmatch(header)
        if not found:
            raise ValueError("the Host header is no name of a host, or there are two")
        host = found["v6"] or found["name"]
        return _is_address(host) or _plain(host) in self._names


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _plain(name: str) -> str:
    return name.rstrip(".").lower()
