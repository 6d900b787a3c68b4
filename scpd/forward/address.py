"""Where a webhook goes: an http or https address, taken apart. Asks nobody."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

_PORTS = {"https": 443, "http": 80}


class Address(NamedTuple):
    """Where to POST; ``target`` is path and query."""

    host: str
    port: int
    target: str
    is_secure: bool


def parse_url(url: str) -> Address:
    """The parts of an address. Raises :class:`ValueError` with what is wrong, without the address: it may be secret."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.scheme not in _PORTS or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("this is not an address; write https://host/path")
    if parts.username is not None:
        raise ValueError("the address names a user, and scpd signs with secret instead; write https://host/path")
    if parts.fragment:
        raise ValueError("the address has a fragment, which no server gets; leave out # and what follows")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(host, _PORTS[parts.scheme] if port is None else port, target, parts.scheme == "https")
