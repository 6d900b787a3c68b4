"""What the admin endpoint knows of the daemon: plain facts, gathered anew whenever somebody asks.

Knows neither where they come from nor how they are shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from scpd.server.record import Live
    from scpd.telemetry.statistics import Counts, Refusal


class Part(NamedTuple):
    """One part of the daemon, whether associations are served by it, and why not (or what is to be said of it).

    ``in_trouble`` says that somebody should look at it, though associations are served.
    """

    name: str
    is_ready: bool
    why: str
    in_trouble: bool = False


class ServerFacts(NamedTuple):
    """One server. ``address`` is where it listens; ``tls`` the profile, or nothing.

    ``connections`` counts all of them, ``associations`` those that are established, ``turned_away`` those closed for
    their address since the start. ``certificate_days`` is None where there is none to be read.
    """

    name: str
    ae_title: str
    address: str
    tls: str
    certificate_days: int | None
    associations: int
    connections: int
    turned_away: int
    most_associations: int
    live: Sequence[Live]
    refusals: Sequence[Refusal]
    counts: Counts


class StoreFacts(NamedTuple):
    """A storage directory and its file system, in bytes and in files; -1 where that cannot be told."""

    directory: str
    size: int
    free: int
    reserve: int
    free_files: int


class QueueFacts(NamedTuple):
    """Something that waits to go out: audit messages, hooks. ``oldest`` is in seconds; ``trouble`` is the last."""

    kind: str
    name: str
    waiting: int
    failed: int
    oldest: float
    trouble: str


class ReloadFacts(NamedTuple):
    """What reloads came to: how many did and did not, the last one's time and the faults that it had."""

    done: int = 0
    failed: int = 0
    last: datetime | None = None
    faults: Sequence[str] = ()


class Facts(NamedTuple):
    """Everything. ``configuration`` is what is in force, as YAML with secrets masked."""

    version: str
    started: datetime
    is_stopping: bool
    servers: Sequence[ServerFacts]
    stores: Sequence[StoreFacts]
    queues: Sequence[QueueFacts]
    reloads: ReloadFacts
    configuration: str


class Daemon(Protocol):
    """Whom the endpoint asks, from any of its threads."""

    def facts(self) -> Facts:
        """How things are."""

    def readiness(self) -> Sequence[Part]:
        """Whether associations are served as they should be, part by part."""

    def abort(self, association_id: str) -> bool:
        """End an association with an A-ABORT; whether there was one of this ID."""

    def drain(self) -> None:
        """Stop as SIGTERM does: accept nothing new, wait, end."""
