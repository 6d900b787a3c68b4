"""Configuration → running parts: the only file where the two meet."""

from __future__ import annotations

import ipaddress
import os
import socket
from functools import partial
from typing import TYPE_CHECKING

from scpd.negotiation.offer import Offer, SupportedContext
from scpd.server.capacity import CapacityLimits
from scpd.server.server import Server
from scpd.server.visit import Visit
from scpd.server.worker import Terms
from scpd.services.storage import Storage, StorageRules
from scpd.services.verification import Verification
from scpd.sop_class import SOP_CLASSES, STORAGE, VERIFICATION, uid_keyword
from scpd.storage.paths import PathTemplate
from scpd.storage.store import Store, StorePolicy
from scpd.transport.exchange import Pace
from scpd.version import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from scpd.wire.framing import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from scpd.config import Config, Endpoint, ServerConfig, StorageConfig
    from scpd.services.service import Service

_KNOWN_BUT_NOT_STORED = frozenset(map(str, SOP_CLASSES.values())) - frozenset(map(str, STORAGE))
_OPEN_TO_ALL = (
    "anybody who reaches this port may store: it listens on every interface, without TLS, for any called AE title; "
    "bind one address, or put a firewall before it"
)


class Parts:
    """What a configuration is built into: the servers, not yet listening, and the stores they share."""

    def __init__(self, config: Config) -> None:
        self.stores: dict[tuple[Path, StorePolicy], Store] = {}
        self.servers = tuple(self._server(config, server) for server in config.servers)

    def close(self) -> None:
        """Give back what building took."""
        for store in self.stores.values():
            store.close()

    def _server(self, config: Config, server: ServerConfig) -> Server:
        visit = Visit(_offer(server), self._services(server))
        terms = Terms(
            visit=lambda _: visit,
            limits=Limits(associate=server.limits.association_request, data=server.limits.pdu_length),
            command_limit=server.limits.command_set,
            data_set_limit=server.limits.data_set,
            artim=server.timeouts.artim,
            write=server.timeouts.write,
            pace=Pace(server.timeouts.idle, server.timeouts.message, server.limits.minimum_rate),
            where=partial(config.where, server.name),
        )
        limits = CapacityLimits(
            server.limits.associations,
            server.limits.associations_per_address,
            server.limits.pending,
            server.limits.pending_per_address,
        )
        return Server(server.name, (server.bind.host, server.bind.port), terms, limits)

    def _services(self, server: ServerConfig) -> Mapping[str, Service]:
        rules = StorageRules(PathTemplate(server.storage.path), server.limits.data_set, server.storage.verify)
        storage = Storage(self._store(server.storage), rules)
        verification = Verification()
        return {
            context.abstract_syntax: verification if context.abstract_syntax in VERIFICATION else storage
            for context in server.supported()
        }

    def _store(self, storage: StorageConfig) -> Store:
        policy = StorePolicy(storage.duplicates, storage.durability == "fsync", storage.reserve)
        key = (storage.directory.absolute(), policy)
        if key not in self.stores:
            self.stores[key] = Store(*key)
        return self.stores[key]


def _offer(server: ServerConfig) -> Offer:
    return Offer(
        ae_title=server.ae_title,
        contexts={
            context.abstract_syntax: SupportedContext(
                context.abstract_syntax, context.transfer_syntaxes, context.scu_role, context.scp_role
            )
            for context in server.supported()
        },
        maximum_length=server.limits.pdu_length,
        check_called_ae_title=server.called_ae_title == "check",
        preference=server.transfer_syntax_preference,
        implementation_class_uid=IMPLEMENTATION_CLASS_UID,
        implementation_version_name=IMPLEMENTATION_VERSION_NAME,
    )


def check(config: Config) -> list[str]:
    """The faults of what surrounds the configuration, each as ``file:line: key: what; what to do``.

    Looks, and changes nothing: neither is a directory made nor an address taken.
    """
    faults: dict[str, None] = {}
    for server in config.servers:
        for key, what in (*_served(server), *_directory(server.storage.directory), *_address(server.bind)):
            faults[f"{config.where(server.name, key)}: {key}: {what}"] = None
    return list(faults)


def warnings(config: Config) -> Iterator[tuple[str, str]]:
    """What is allowed but seldom meant: (server, sentence)."""
    for server in config.servers:
        if server.called_ae_title == "any" and _is_everywhere(server.bind.host):
            yield server.name, _OPEN_TO_ALL


def _is_everywhere(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return not host


def _served(server: ServerConfig) -> Iterator[tuple[str, str]]:
    for context in server.supported():
        uid = context.abstract_syntax
        if uid in _KNOWN_BUT_NOT_STORED and uid not in VERIFICATION:
            yield "contexts", f"{uid_keyword(uid)} is not served by this version; write classes of storage"


def _directory(directory: Path) -> Iterator[tuple[str, str]]:
    key = "storage.directory"
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
