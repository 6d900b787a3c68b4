"""The daemon as the admin endpoint sees it: what stands where, and what can be asked of it.

Gathers from the parts that run; decides nothing but whether a part is as it should be.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from scpd.admin.facts import Facts, Part, QueueFacts, ReloadFacts, ServerFacts, StoreFacts
from scpd.config import effective
from scpd.daemon.watch import Watch
from scpd.transport.connection import address_text
from scpd.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.config import Config, ServerConfig
    from scpd.daemon.build import Parts
    from scpd.daemon.fleet import Fleet
    from scpd.daemon.signals import Signals
    from scpd.server.server import Server
    from scpd.storage.store import Store
    from scpd.telemetry.sink import Sink

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
        self._configuration: tuple[Config | None, str] = None, ""

    def facts(self) -> Facts:
        """How things are."""
        situation = self._situation
        return Facts(
            __version__,
            situation.started,
            situation.state == "stopping",
            [
                *(self._server(config, server) for config, server in situation.pairs()),
                *map(_leaving, situation.fleet.leaving),
            ],
            [self._store(store) for store in situation.parts.stores.values()],
            list(self._queues()),
            situation.reloads,
            self._shown(situation.config),
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
        for store in situation.parts.stores.values():
            trouble = situation.watch.sight(store).trouble
            yield Part(f"storage {store.directory}", not trouble, trouble)
        if hooks := situation.parts.hand_overs.directory:
            trouble = situation.parts.hand_overs.trouble()
            yield Part(f"queue {hooks}", not trouble, trouble)
        for queue in self._queues():
            # Receiving goes on without what takes its messages: a load balancer need not know.
            yield Part(f"{queue.kind} {queue.name}", is_ready=True, why=queue.trouble)

    def _shown(self, config: Config) -> str:
        """What is in force; made anew only where it is another, since it is asked for every few seconds."""
        if self._configuration[0] is not config:
            self._configuration = config, effective(config)
        return self._configuration[1]

    def _server(self, config: ServerConfig, server: Server) -> ServerFacts:
        return ServerFacts(
            server.name,
            config.ae_title,
            address_text(server.address),
            config.tls.profile if config.tls else "",
            self._situation.parts.days_left(server.name),
            **server.state(),
            most_associations=config.limits.associations,
            live=server.live(),
            refusals=server.statistics.refusals,
            counts=server.counts(),
        )

    def _store(self, store: Store) -> StoreFacts:
        space = self._situation.watch.sight(store).space
        size, free, files = space or (-1, -1, -1)
        return StoreFacts(str(store.directory), size, free, store.policy.reserve, files)

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
            trouble = hook.last_error if hook.is_configured else "is not configured any more"
            yield QueueFacts("hook", hook.name, hook.waiting, hook.set_aside, hook.oldest_waiting_seconds, trouble)


def _leaving(server: Server) -> ServerFacts:
    """A server that a reload took away, as long as associations of it go on."""
    return ServerFacts(
        f"{server.name} at {address_text(server.address)}, leaving",
        "",
        address_text(server.address),
        "",
        None,
        **server.state(),
        most_associations=0,
        live=server.live(),
        refusals=(),
        counts=server.counts(),
    )


def _certificate(server: str, days: int | None) -> Part:
    name = f"certificate {server}"
    if days is None:
        return Part(name, is_ready=True, why="nobody can tell when it expires")
    return Part(name, days >= 0, "expired" if days < 0 else f"{days} days left")
