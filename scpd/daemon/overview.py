"""The daemon as the admin endpoint sees it: what stands where, and what can be asked of it.

Gathers from the parts that run; decides nothing but whether a part is as it should be.
"""

from __future__ import annotations

import signal
import weakref
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from scpd.admin.facts import Facts, Part, QueueFacts, ReloadFacts, ServerFacts, StoreFacts
from scpd.config import effective
from scpd.daemon.holdings import holdings
from scpd.daemon.watch import Watch
from scpd.transport.connection import address_text
from scpd.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from scpd.admin.facts import Holding, Look
    from scpd.config import Config, ServerConfig
    from scpd.daemon.archive import IndexStanding
    from scpd.daemon.build import Parts
    from scpd.daemon.fleet import Fleet
    from scpd.daemon.signals import Signals
    from scpd.daemon.witnesses import Sent
    from scpd.retention.keeper import Standing
    from scpd.server.server import Server
    from scpd.storage.store import Store
    from scpd.telemetry.sink import Sink

# Who signs in at the admin endpoint has said no name: the token is all that is known.
_WHO_LOOKS = "holder of admin.token"
# An accept loop that has not answered for so long is stuck (seconds).
_STUCK = 10.0


@dataclass
class Situation:
    """What is in force. Written by the supervisor alone."""

    config: Config
    parts: Parts
    fleet: Fleet
    log: Sink
    watch: Watch = field(default_factory=Watch)
    started: datetime = field(default_factory=lambda: datetime.now().astimezone())
    reloads: ReloadFacts = field(default_factory=ReloadFacts)
    state: str = "starting"

    def pairs(self) -> list[tuple[ServerConfig, Server]]:
        """Each server and what it was made of; none before they were started."""
        return list(zip(self.config.servers, self.fleet.servers, strict=False))

    def stuck(self) -> dict[str, float]:
        """The servers whose accept loop does not answer, and for how many seconds."""
        if self.state != "serving":
            return {}
        silences = {server.name: server.silence() for server in self.fleet.servers}
        return {name: seconds for name, seconds in silences.items() if seconds > _STUCK}


class Overview:
    """The :class:`~scpd.admin.facts.Daemon` of a situation."""

    def __init__(self, situation: Situation, signals: Signals) -> None:
        self._situation = situation
        self._signals = signals
        self._configuration: tuple[Callable[[], Config | None], str] = lambda: None, ""

    def facts(self) -> Facts:
        """How things are."""
        situation = self._situation
        return Facts(
            __version__,
            situation.started,
            situation.state == "stopping",
            list(self._servers()),
            [self._directory(stores) for stores in self._stores()],
            [*self._queues(), *self._behind()],
            situation.reloads,
            self._shown(situation.config),
            self._retention(),
        )

    def readiness(self) -> list[Part]:
        """Whether associations are served, part by part."""
        return list(self._parts())

    def abort(self, association_id: str) -> bool:
        """End an association with an A-ABORT; whether there was one of this ID."""
        why = "somebody asked for it at the admin endpoint"
        return any(server.abort_one(association_id, why) for server in self._situation.fleet.all)

    def drain(self) -> None:
        """Stop as SIGTERM does."""
        self._signals.put(signal.SIGTERM)

    def holdings(self) -> list[Holding]:
        """What is held and written down in an index."""
        archives = self._situation.parts.archives
        return holdings(archives, self._situation.config) if archives else []

    def looked(self, look: Look) -> None:
        """Write to the audit trail that somebody has looked at a study."""
        if ledger := self._situation.parts.ledger:
            ledger.looked(look.address, _WHO_LOOKS, look.patient, look.study)

    def _parts(self) -> Iterator[Part]:
        situation = self._situation
        if situation.state != "serving":
            yield Part("daemon", is_ready=False, why=situation.state)
            return
        yield Part("daemon", is_ready=True, why="")
        stuck = situation.stuck()
        for config, server in situation.pairs():
            silent = stuck.get(server.name)
            why = f"its accept loop has not answered for {silent:.0f} s" if silent else ""
            yield Part(f"listener {server.name}", not why, why or address_text(server.address))
            if config.tls:
                yield _certificate(server.name, situation.parts.days_left(server.name))
        for stores in self._stores():
            trouble = next(filter(None, (situation.watch.sight(store).trouble for store in stores)), "")
            yield Part(f"storage {stores[0].directory}", not trouble, trouble)
        if hooks := situation.parts.hand_overs.directory:
            trouble = situation.parts.hand_overs.trouble()
            yield Part(f"queue {hooks}", not trouble, trouble)
        for index in self._indexes():
            is_well = not index.trouble
            yield Part(f"index {index.name}", is_well or not index.is_required, index.trouble, not is_well)
        for one in self._retention():
            yield Part(f"retention {one.directory}", is_ready=True, why=one.trouble, in_trouble=bool(one.trouble))
        for queue in self._queues():
            # Receiving goes on without what takes its messages: a load balancer need not know.
            yield Part(f"{queue.kind} {queue.name}", is_ready=True, why=queue.trouble, in_trouble=bool(queue.trouble))

    def _indexes(self) -> Iterator[IndexStanding]:
        archives = self._situation.parts.archives
        yield from archives.standings() if archives else ()

    def _retention(self) -> list[Standing]:
        retaining = self._situation.parts.retaining
        return retaining.standings() if retaining else []

    def _shown(self, config: Config) -> str:
        """What is in force; made anew only where it is another, since it is asked for every few seconds."""
        if self._configuration[0]() is not config:
            # A configuration is gone once nobody serves by it any more, and that is waited for (archive.py).
            self._configuration = weakref.ref(config), effective(config)
        return self._configuration[1]

    def _servers(self) -> Iterator[ServerFacts]:
        """One of each name, as names are what is counted by: those that a reload took away are told with the new one.

        Where there is no new one, they are told as long as associations of theirs go on.
        """
        leaving: dict[str, list[Server]] = {}
        for server in self._situation.fleet.leaving:
            leaving.setdefault(server.name, []).append(server)
        for config, server in self._situation.pairs():
            yield self._server(config, [server, *leaving.pop(server.name, ())])
        for name, servers in leaving.items():
            yield _leaving(servers, self._situation.parts.counting.sent(name))

    def _server(self, config: ServerConfig, servers: Sequence[Server]) -> ServerFacts:
        sent = self._situation.parts.counting.sent(servers[0].name)
        return _facts(servers, sent)._replace(
            ae_title=config.ae_title,
            tls=config.tls.profile if config.tls else "",
            certificate_days=self._situation.parts.days_left(servers[0].name),
            most_associations=config.limits.associations,
        )

    def _stores(self) -> list[list[Store]]:
        """The stores by their directories, which several servers may use, each under rules of its own."""
        found: dict[Path, list[Store]] = {}
        for store in self._situation.parts.stores.values():
            found.setdefault(store.directory, []).append(store)
        return list(found.values())

    def _directory(self, stores: Sequence[Store]) -> StoreFacts:
        spaces = (self._situation.watch.sight(store).space for store in stores)
        size, free, files = next(filter(None, spaces), (-1, -1, -1))
        reserve = max(store.policy.reserve for store in stores)
        return StoreFacts(str(stores[0].directory), size, free, reserve, files)

    def _queues(self) -> Iterator[QueueFacts]:
        log = self._situation.log
        if log.waiting or log.all_lost:
            trouble = "nobody takes its lines; " * bool(log.waiting) + f"{log.all_lost} were lost"
            yield QueueFacts("log", "standard error", log.waiting, log.all_lost, 0.0, trouble)
        ledger = self._situation.parts.ledger
        for standing in ledger.standings() if ledger else ():
            trouble = f"is away, {standing.waiting} messages wait" if standing.is_away else ""
            yield QueueFacts("audit", standing.name, standing.waiting, 0, 0.0, trouble)
        for hook in self._situation.parts.hand_overs.standings():
            aside = f"{hook.set_aside} jobs were set aside" if hook.set_aside else ""
            trouble = hook.last_error or aside if hook.is_configured else "is not configured any more"
            yield QueueFacts("hook", hook.name, hook.waiting, hook.set_aside, hook.oldest_waiting_seconds, trouble)

    def _behind(self) -> Iterator[QueueFacts]:
        """What has been stored, and not been written down yet."""
        for index in self._indexes():
            yield QueueFacts("index", index.name, index.waiting, 0, 0.0, index.trouble)


def _facts(servers: Sequence[Server], sent: Sent) -> ServerFacts:
    """What servers of one name tell of themselves, the one that listens first."""
    states = [server.state() for server in servers]
    return ServerFacts(
        servers[0].name,
        ae_title="",
        address=address_text(servers[0].address),
        tls="",
        certificate_days=None,
        associations=sum(state["associations"] for state in states),
        connections=sum(state["connections"] for state in states),
        turned_away=states[0]["turned_away"],
        most_associations=0,
        live=[live for server in servers for live in server.live()],
        refusals=servers[0].statistics.refusals,
        counts=servers[0].counts(),
        retrieved=sent.instances,
        transcoded=sent.transcoded,
    )


def _leaving(servers: Sequence[Server], sent: Sent) -> ServerFacts:
    facts = _facts(servers, sent)
    return facts._replace(address=f"{facts.address}, leaving")


def _certificate(server: str, days: int | None) -> Part:
    name = f"certificate {server}"
    if days is None:
        return Part(name, is_ready=True, why="nobody can tell when it expires")
    return Part(name, days >= 0, "expired" if days < 0 else f"{days} days left")
