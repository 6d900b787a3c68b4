"""What the admin endpoint knows of the daemon: plain facts, gathered anew whenever somebody asks.

Knows neither where they come from nor how they are shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from datetime import datetime

    from scpd.index.attributes import Attributes, Level
    from scpd.index.query import Held, Query
    from scpd.retention.keeper import Standing
    from scpd.server.record import Live
    from scpd.telemetry.audit import Patient, Study
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
    their address since the start. ``certificate_days`` is None where there is none to be read. ``retrieved`` counts the
    instances that it was asked to send, by operation (move, get) and result, and ``transcoded`` those that were.
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
    retrieved: Mapping[tuple[str, str], int]
    transcoded: int


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
    """Everything. ``configuration`` is what is in force, as YAML with secrets masked.

    ``retention`` are the stores with rules of retention.
    """

    version: str
    started: datetime
    is_stopping: bool
    servers: Sequence[ServerFacts]
    stores: Sequence[StoreFacts]
    queues: Sequence[QueueFacts]
    reloads: ReloadFacts
    configuration: str
    retention: Sequence[Standing] = ()


class Archive(Protocol):
    """What can be asked of an index; all of it raises :class:`~scpd.errors.IndexUnavailable`, but ``trouble``."""

    def find(self, query: Query) -> Generator[Attributes, None, None]:
        """Each match, as it comes; to be closed by whoever does not take all."""

    def holdings(self, level: Level, keys: Mapping[int, Sequence[str]]) -> list[Held]:
        """Every instance of the entities with these unique keys, in order."""

    def trouble(self) -> str:
        """Why it cannot be used as it should be, or nothing."""


class Holding(NamedTuple):
    """What one server holds, or several that share an index: ``name`` is that of the first."""

    name: str
    servers: Sequence[str]
    archive: Archive


class Look(NamedTuple):
    """Somebody at ``address`` has looked at a study, or at something in it."""

    address: str
    patient: Patient
    study: Study


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

    def holdings(self) -> Sequence[Holding]:
        """What is held and written down in an index, by the names of servers."""

    def looked(self, look: Look) -> None:
        """Write to the audit trail, where there is one, that somebody has looked."""
