"""What surrounds a configuration: files, certificates, directories, addresses, extras that may not be installed.

Looks, and changes nothing: neither is a directory made nor an address taken.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from scpd.config import TLSConfig
from scpd.config.audit import AuditTLSConfig
from scpd.daemon.doors import Doorkeepers, is_about
from scpd.daemon.security import tls_files
from scpd.sop_class import SOP_CLASSES, STORAGE, VERIFICATION, uid_keyword

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from scpd.config import AuditConfig, Config, DenyRule, Endpoint, PeerTLSConfig, ServerConfig

    Findings = Iterable[tuple[str, str]]  # key, what and what to do

_KNOWN_BUT_NOT_STORED = frozenset(map(str, SOP_CLASSES.values())) - frozenset(map(str, STORAGE))
_OPEN_TO_ALL = (
    "anybody who reaches this port may store: it listens on every interface, without TLS, for any called AE title; "
    "bind one address, write access rules, or put a firewall before it"
)
_KEEPS_NOBODY_OUT = "every rule allows, and whom none matches is let in; end the list with - deny: all"
_PASSES_SECRETS = (
    "passcodes, assertions and tokens that come without TLS from other machines will be rejected; write tls, or "
    "without_tls: allow"
)
_NEEDS_CERTIFICATES = "asks for a certificate, and tls.client is none: it never matches; write client: optional"
_NEEDS_USERS = "asks for a user, and no provider verifies any: it never matches; write user_identity.providers"
_SENDS_PASSCODES = "passcodes go to the directory in clear; write tls: required, or ldaps:// as its url"
_LETS_NOBODY_IN = "policy: require, and no provider verifies anybody: nobody is let in; write providers"
_COMES_FIRST = "before it is about everybody; put that one at the end"
_CONDITIONS = frozenset(("address", "calling", "called", "certificate", "users", "roles"))
_TAKES_SECRETS = frozenset(("passwords", "ldap", "jwt", "saml"))


class Surroundings:
    """The faults and warnings of one configuration, each as ``file:line: key: what; what to do``."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._doorkeepers = Doorkeepers()
        self._now = datetime.now(UTC)
        self.faults = self._placed(self._faults_of, (*self._of_the_process("faults"), *_audit(config.audit)))
        self.warnings = [] if self.faults else self._placed(self._warnings_of, self._of_the_process("warnings"))
        self._doorkeepers.close()

    def _placed(self, of_server: Callable[[ServerConfig], Findings], of_the_process: Findings) -> list[str]:
        """What is found, each thing once, with the line that it stands in."""
        placed: dict[str, None] = {}
        for server in self._config.servers:
            for key, what in of_server(server):
                placed[f"{self._config.near(server.name, key)}: {key}: {what}"] = None
        for key, what in of_the_process:
            placed[f"{self._config.near(None, key)}: {key}: {what}"] = None
        return list(placed)

    def _of_the_process(self, which: str) -> Iterator[tuple[str, str]]:
        """What is to be said of certificates that no server shows."""
        sections = {f"peers.{name}": peer.tls for name, peer in self._config.peers.items()}
        for number, one in enumerate(self._config.audit.destinations if self._config.audit else ()):
            if isinstance(one, AuditTLSConfig):
                sections[f"audit.destinations[{number}]"] = one.tls
        for place, tls in sections.items():
            for key, what in _certificates(which, tls, self._now):
                yield f"{place}.{key}", what

    def _faults_of(self, server: ServerConfig) -> Iterator[tuple[str, str]]:
        yield from _served(server)
        yield from _directory("storage.directory", server.storage.directory)
        yield from _address(server.bind)
        yield from _certificates("faults", server.tls, self._now)
        yield from self._doorkeepers.faults(server.user_identity)

    def _warnings_of(self, server: ServerConfig) -> Iterator[tuple[str, str]]:
        yield from _open_doors(server)
        yield from _rules_without_effect(server)
        yield from _certificates("warnings", server.tls, self._now)
        yield from self._doorkeepers.warnings(server.user_identity)


def _served(server: ServerConfig) -> Iterator[tuple[str, str]]:
    for context in server.supported():
        uid = context.abstract_syntax
        if uid in _KNOWN_BUT_NOT_STORED and uid not in VERIFICATION:
            yield "contexts", f"{uid_keyword(uid)} is not served by this version; write classes of storage"


def _audit(audit: AuditConfig | None) -> Iterator[tuple[str, str]]:
    if audit is None:
        return
    if not audit.destinations:
        yield "audit.destinations", "there is none; write one, as in - {kind: file, path: /var/log/scpd/audit.log}"
    if audit.spool:
        yield from _directory("audit.spool", audit.spool)
    for number, one in enumerate(audit.destinations):
        if one in audit.destinations[:number]:
            yield f"audit.destinations[{number}]", "stands twice; keep one of the two"
        if one.kind == "file":
            place, path = f"audit.destinations[{number}].path", one.path.absolute()
            if not path.parent.is_dir():
                yield place, f"{path.parent} is not a directory; make it, or name another"
            elif path.is_symlink() or (path.exists() and not path.is_file()):
                yield place, f"{path} is no file of its own, and nothing else is written to; name a file"


def _directory(key: str, directory: Path) -> Iterator[tuple[str, str]]:
    nearest = next(one for one in (directory.absolute(), *directory.absolute().parents) if one.exists())
    if not nearest.is_dir():
        yield key, f"{nearest} is not a directory; name one, or remove the file"
    elif not os.access(nearest, os.W_OK | os.X_OK, effective_ids=True):
        yield key, f"{nearest} cannot be written to by this user, or is mounted read-only; mend its rights or its mount"


def _address(bind: Endpoint) -> Iterator[tuple[str, str]]:
    try:
        socket.getaddrinfo(bind.host or None, bind.port, type=socket.SOCK_STREAM)
    except OSError as error:
        yield "bind", f"{bind.host} is no address of a machine: {error.strerror}; write an IP address"


def _certificates(which: str, tls: TLSConfig | PeerTLSConfig | None, now: datetime) -> Iterator[tuple[str, str]]:
    if tls is not None:
        from scpd.transport import certificates  # noqa: PLC0415 not for a start without TLS

        judge = certificates.faults if which == "faults" else certificates.warnings
        for key, what in judge(tls_files(tls), now, "server" if isinstance(tls, TLSConfig) else "client"):
            yield f"tls.{key}", what


def _open_doors(server: ServerConfig) -> Iterator[tuple[str, str]]:
    protected = server.tls is not None
    identity = server.user_identity
    is_asked = server.called_ae_title == "check" or identity.policy == "require"
    is_asked = is_asked or any(is_about(entry, server.name) for entry in server.access)
    if _is_everywhere(server.bind.host) and not protected and not is_asked:
        yield "bind", _OPEN_TO_ALL
    for number, provider in enumerate(identity.providers):
        if provider.kind == "ldap" and provider.tls == "none" and not provider.url.startswith("ldaps:"):
            yield f"user_identity.providers[{number}].tls", _SENDS_PASSCODES
    if identity.policy == "require" and not identity.providers:
        yield "user_identity", _LETS_NOBODY_IN
    sends_secrets = identity.policy != "ignore" and any(one.kind in _TAKES_SECRETS for one in identity.providers)
    if sends_secrets and not protected and identity.without_tls == "reject" and not _is_loopback(server.bind.host):
        yield "user_identity", _PASSES_SECRETS


def _rules_without_effect(server: ServerConfig) -> Iterator[tuple[str, str]]:
    about = [(number, entry) for number, entry in enumerate(server.access) if is_about(entry, server.name)]
    if about and not any(entry.deny for _, entry in about):
        yield "access", _KEEPS_NOBODY_OUT
    identity = server.user_identity
    nobody = identity.policy == "ignore" or not identity.providers
    for place, (number, entry) in enumerate(about):
        rule = entry.allow or entry.deny
        if rule and not _conditions_of(rule) and place + 1 < len(about):
            yield f"access[{about[place + 1][0]}]", f"is never asked, since access[{number}] {_COMES_FIRST}"
        if rule and rule.certificate and (server.tls is None or server.tls.client == "none"):
            yield f"access[{number}]", _NEEDS_CERTIFICATES
        if rule and (rule.users or rule.roles) and nobody:
            yield f"access[{number}]", _NEEDS_USERS


def _conditions_of(rule: DenyRule) -> set[str]:
    return {key for key in type(rule).model_fields if key in _CONDITIONS and getattr(rule, key) is not None}


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
