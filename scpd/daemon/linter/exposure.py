"""What is open to more people than was meant, or to fewer: ports, and passcodes on their way."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from scpd.config.values import SystemdSocket
from scpd.daemon.linter.rules import about
from scpd.sop_class import QUERY_RETRIEVE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.config import ServerConfig

_OPEN_TO_ALL = (
    "anybody who reaches this port may store{more}: it listens on every interface, without TLS, for any called AE "
    "title; bind one address, write access rules, or put a firewall before it"
)
_AND_READ = ", and be told and sent what is held"
_PASSES_SECRETS = (
    "passcodes, assertions and tokens that come without TLS from other machines will be rejected; write tls, or "
    "without_tls: allow"
)
_SENDS_PASSCODES = "passcodes go to the directory in clear; write tls: required, or ldaps:// as its url"
_LETS_NOBODY_IN = "policy: require, and no provider verifies anybody: nobody is let in; write providers"
_TAKES_SECRETS = frozenset(("passwords", "ldap", "jwt", "saml"))


def of_server(server: ServerConfig) -> Iterator[tuple[str, str]]:
    """Doors that stand open, and secrets that travel in clear."""
    protected = server.tls is not None
    identity = server.user_identity
    is_asked = bool(server.called_ae_title == "check" or identity.policy == "require" or about(server))
    # Where an inherited socket listens, systemd alone knows.
    bound_here = not isinstance(server.bind, SystemdSocket)
    if bound_here and _is_everywhere(server.bind.host) and not protected and not is_asked:
        reads = any(one.abstract_syntax in QUERY_RETRIEVE for one in server.supported())
        yield "bind", _OPEN_TO_ALL.format(more=_AND_READ if reads else "")
    for number, provider in enumerate(identity.providers):
        if provider.kind == "ldap" and provider.tls == "none" and not provider.url.startswith("ldaps:"):
            yield f"user_identity.providers[{number}].tls", _SENDS_PASSCODES
    if identity.policy == "require" and not identity.providers:
        yield "user_identity", _LETS_NOBODY_IN
    sends_secrets = identity.policy != "ignore" and any(one.kind in _TAKES_SECRETS for one in identity.providers)
    if sends_secrets and not protected and identity.without_tls == "reject" and not _is_loopback(server.bind.host):
        yield "user_identity", _PASSES_SECRETS


def _is_everywhere(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return not host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
