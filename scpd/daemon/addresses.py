"""Where servers are to listen: whether that is an address of this machine's world, and no two are the same.

Endpoints that are written alike are told apart by the configuration; here names are resolved as a listener does it.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.config import Config, Endpoint

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def faults(config: Config) -> Iterator[tuple[str | None, str, str]]:
    """A fault for each name that stands for no address, and for each address that is taken by a server before it."""
    taken: list[tuple[str, Address, int]] = []
    for server, key, bind in _endpoints(config):
        try:
            address = _resolved(bind)
        except OSError as error:
            yield server, key, f"{bind.host} is no address of a machine: {error.strerror}; write an IP address"
            continue
        for place, other, port in taken:
            if port == bind.port and _collide(address, other):
                yield server, key, f"{bind.host} and what {place} names are one address; write another, or another port"
        if bind.port:  # 0 is any free one
            taken.append((config.near(server, key), address, bind.port))


def _endpoints(config: Config) -> Iterator[tuple[str | None, str, Endpoint]]:
    for server in config.servers:
        yield server.name, "bind", server.bind
    if config.admin:
        yield None, "admin.bind", config.admin.bind


def _resolved(bind: Endpoint) -> Address:
    """The first address, which is the one that a listener takes."""
    found = socket.getaddrinfo(bind.host or None, bind.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    address = ipaddress.ip_address(str(found[0][4][0]).partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _collide(one: Address, other: Address) -> bool:
    """Whether the system refuses to listen on both at one port."""
    if one.version == other.version:
        return one == other or one.is_unspecified or other.is_unspecified
    return (one if one.version == 6 else other).is_unspecified and _takes_both_families()


def _takes_both_families() -> bool:
    """Whether a socket of ``[::]`` is one of every IPv4 address too, unless it is told otherwise."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            return not probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    except OSError:  # a machine without IPv6
        return False
