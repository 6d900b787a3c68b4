"""Configuration → running parts. With ``doors.py`` and ``surroundings.py`` the only place where the two meet."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from scpd.config.values import SystemdSocket
from scpd.daemon import auditing, systemd
from scpd.daemon.archive import Archives
from scpd.daemon.commitments import Commitments
from scpd.daemon.destinations import Destinations
from scpd.daemon.doors import Doorkeepers
from scpd.daemon.handover import HandOvers
from scpd.daemon.retaining import Retaining
from scpd.daemon.security import expiry, security
from scpd.daemon.served import retrieves_back, service
from scpd.daemon.witnesses import Audited, Counting
from scpd.errors import ConfigurationError, SettingError
from scpd.negotiation.offer import Extensions, Offer, SupportedContext
from scpd.server.capacity import CapacityLimits
from scpd.server.guard import Guard
from scpd.server.server import Plan
from scpd.server.visit import Visit
from scpd.server.worker import Terms
from scpd.services.commitment.service import Commitment
from scpd.services.query import extended as query
from scpd.services.query.find import Find, FindRules
from scpd.services.retrieve import extended as retrieval
from scpd.services.retrieve.service import Retrieve, RetrieveRules
from scpd.services.storage import Storage, StorageRules
from scpd.services.verification import Verification
from scpd.storage.paths import PathTemplate
from scpd.storage.store import Store, StorePolicy
from scpd.transport.exchange import Pace
from scpd.version import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from scpd.wire.framing import Limits

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from scpd.config import Config, ServerConfig, StorageConfig
    from scpd.config.contexts import ContextConfig
    from scpd.server.ledger import Ledger
    from scpd.services.service import Service
    from scpd.transport.listener import Where


_SECONDS_A_DAY = 86400.0


class Post(NamedTuple):
    """An address as it was asked for, or an inherited socket, and how to serve there."""

    address: Where
    plan: Plan


class Parts:
    """What a configuration is built into: a post for each server, and what they share.

    ``before`` are the parts in force: what is said alike goes on being used, open directories and what is remembered of
    users. Raises :class:`ConfigurationError` where a file has changed since it was checked.
    """

    def __init__(self, config: Config, before: Parts | None = None) -> None:
        self._before = before
        self.stores: dict[tuple[Path, StorePolicy], Store] = {}
        if before:
            self.counting: Counting = before.counting
            self.sockets: dict[str, socket.socket] = before.sockets
            self.ledger: Ledger | None = before.ledger
            self.doorkeepers: Doorkeepers = before.doorkeepers.successors()
        else:
            self.counting = Counting()
            self.sockets = _inherited(config)
            self.ledger = auditing.ledger(config, config.audit) if config.audit else None
            self.doorkeepers = Doorkeepers(self.ledger)
        self.hand_overs: HandOvers = HandOvers(config, before.hand_overs if before else None)
        self.archives: Archives | None = None
        self.retaining: Retaining | None = None
        self.posts: tuple[Post, ...] = ()
        try:
            self.archives = Archives(config, before.archives if before else None)
            indexes = self.archives.by_server(config)
            self._commitments = Commitments(config, self.hand_overs, indexes, self.archives.is_behind)
            self._destinations = Destinations(config)
            self._expiries = {server.name: expiry(server.tls) for server in config.servers if server.tls}
            self.posts = tuple(self._post(config, server) for server in config.servers)
            _check_that_none_is_shared(config, self.posts)
            self.retaining = Retaining(config, self.archives, self.hand_overs.line, self.ledger)
        except BaseException:
            self.discard()
            raise
        self._before = None

    def begin(self, before: Parts | None = None) -> None:
        """These are the parts in force from now on, in place of those ``before``."""
        self.hand_overs.begin()
        if self.archives:
            self.archives.begin(before.archives if before else None)
        if self.retaining:
            self.retaining.begin(before.retaining if before else None)

    def discard(self) -> None:
        """They will never be in force: give back what building took, and leave alone what the parts in force use.

        A store is only let go of, since a server that was listened on for a moment may have an association with it.
        """
        self._before = None
        self.posts = ()
        self.stores.clear()
        self.hand_overs.discard()
        if self.archives:
            self.archives.discard()

    def days_left(self, server: str) -> int | None:
        """How many days the certificate that a server was built with is good for; below zero once it has expired."""
        end = self._expiries.get(server)
        return None if end is None else math.floor((end - datetime.now(UTC)).total_seconds() / _SECONDS_A_DAY)

    @property
    def idle_sockets(self) -> list[str]:
        """The inherited sockets that no server listens on: whoever connects there waits in vain."""
        manned = [post.address for post in self.posts]
        return [name for name, sock in self.sockets.items() if sock not in manned]

    def close(self) -> None:
        """Give back what building took."""
        if self.retaining:
            self.retaining.close()
        self.doorkeepers.close()
        self.hand_overs.close()
        if self.archives:
            self.archives.close()
        for store in self.stores.values():
            store.close()

    def _post(self, config: Config, server: ServerConfig) -> Post:
        where = partial(config.where, server.name)
        try:
            doors = self.doorkeepers.doors(server)
            tls = security(server.tls) if server.tls else None
            address = self._address(server)
        except SettingError as error:
            raise ConfigurationError([f"{config.near(server.name, error.key)}: {error}"]) from error
        guard = Guard(offer(server), self._services(server), doors)
        for_all = Visit(guard.offer, guard.services) if doors.are_open else None
        terms = Terms(
            visit=guard.visit if for_all is None else lambda _: for_all,
            turns_away=guard.turns_away if doors.access else None,
            limits=Limits(associate=server.limits.association_request, data=server.limits.pdu_length),
            command_limit=server.limits.command_set,
            data_set_limit=server.limits.data_set,
            artim=server.timeouts.artim,
            write=server.timeouts.write,
            pace=Pace(server.timeouts.idle, server.timeouts.message, server.limits.minimum_rate),
            where=where,
        )
        limits = CapacityLimits(
            server.limits.associations,
            server.limits.associations_per_address,
            server.limits.pending,
            server.limits.pending_per_address,
        )
        return Post(address, Plan(server.name, terms, limits, tls))

    def _address(self, server: ServerConfig) -> Where:
        if isinstance(server.bind, SystemdSocket):
            return systemd.chosen(self.sockets, server.bind.name, server.name)
        return server.bind.host, server.bind.port

    def _services(self, server: ServerConfig) -> Mapping[str, Service]:
        rules = StorageRules(PathTemplate(server.storage.path), server.limits.data_set, server.storage.verify)
        witnesses = (self.ledger,) if self.ledger else ()
        store = self._store(server.storage)
        indexing = self.archives.indexing(server, store) if self.archives else None
        # A job that is let go may move the file: so the index first.
        promising = (indexing, self.hand_overs.desk(server))
        storage = Storage(store, rules, witnesses, [one for one in promising if one])
        services: dict[type[Service], Service] = {Storage: storage, Verification: Verification()}
        services |= self._asking(server)
        chosen = ((one.abstract_syntax, services.get(service(one.abstract_syntax))) for one in server.supported())
        return {abstract_syntax: found for abstract_syntax, found in chosen if found}

    def _asking(self, server: ServerConfig) -> Mapping[type[Service], Service]:
        """The services that answer for what is held."""
        index = self.archives.index(server) if self.archives else None
        if index is None:
            return {}
        commitment, destinations = self._commitments.service(server), self._destinations.of(server)
        of_queries = (self.ledger,) if self.ledger else ()
        of_retrievals = (Audited(self.ledger, index, destinations),) if self.ledger else ()
        return {
            Find: Find(index, FindRules(server.ae_title, server.limits.find_results), of_queries),
            Retrieve: Retrieve(index, RetrieveRules(destinations), (self.counting.of(server.name), *of_retrievals)),
            **({Commitment: commitment} if commitment else {}),
        }

    def _store(self, storage: StorageConfig) -> Store:
        policy = StorePolicy(storage.duplicates, storage.durability == "fsync", storage.reserve)
        key = (storage.directory.absolute(), policy)
        if key not in self.stores:
            known = self._before.stores.get(key) if self._before else None
            self.stores[key] = known or Store(*key)
        return self.stores[key]


def _inherited(config: Config) -> dict[str, socket.socket]:
    try:
        return systemd.inherited()
    except SettingError as error:
        raise ConfigurationError([f"{config.near(None, error.key)}: {error}"]) from error


def _check_that_none_is_shared(config: Config, posts: Sequence[Post]) -> None:
    for first, second in combinations(posts, 2):
        if first.address is second.address:
            place, name = config.near(second.plan.name, "bind"), first.plan.name
            what = f"the server {name} listens on this inherited socket already; write systemd:NAME for another"
            raise ConfigurationError([f"{place}: bind: {what}"])


def offer(server: ServerConfig) -> Offer:
    """What a server offers everybody."""
    return Offer(
        ae_title=server.ae_title,
        contexts={context.abstract_syntax: _supported(server, context) for context in server.supported()},
        extensions=Extensions(extended=partial(_extended, fuzzy_names=bool(server.index and server.index.fuzzy_names))),
        maximum_length=server.limits.pdu_length,
        check_called_ae_title=server.called_ae_title == "check",
        preference=server.transfer_syntax_preference,
        implementation_class_uid=IMPLEMENTATION_CLASS_UID,
        implementation_version_name=IMPLEMENTATION_VERSION_NAME,
    )


def _supported(server: ServerConfig, context: ContextConfig) -> SupportedContext:
    """Who asks for instances by C-GET is sent them as an SCP, which it has to negotiate (PS3.4 C.5.3)."""
    roles = (context.scu_role, context.scp_role)
    if roles == (None, None) and service(context.abstract_syntax) is Storage and retrieves_back(server):
        roles = (True, True)
    return SupportedContext(context.abstract_syntax, context.transfer_syntaxes, *roles)


def _extended(proposed: Mapping[str, bytes], *, fuzzy_names: bool) -> Mapping[str, bytes]:
    return {**query.answer(proposed, fuzzy_names=fuzzy_names), **retrieval.answer(proposed)}
