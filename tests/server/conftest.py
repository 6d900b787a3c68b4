"""A server in the test's own process, with services made for the test; its log lines are kept as data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from components.told import Told, log_of_what_is_made

from scpd.negotiation.offer import Offer, SupportedContext
from scpd.server.capacity import CapacityLimits
from scpd.server.server import Server
from scpd.server.visit import Visit
from scpd.server.worker import Terms
from scpd.services.verification import Verification
from scpd.transport.exchange import Pace
from scpd.wire.framing import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scpd.telemetry.statistics import Books

PATIENCE = 20.0
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
LIMITS = CapacityLimits(20, 10, 20, 10)


@pytest.fixture
def told() -> Iterator[Told]:
    """The log of what is made after this."""
    with log_of_what_is_made() as lines:
        yield lines


@pytest.fixture
def serve(told) -> Iterator[Callable[..., Server]]:
    """Start a server; ``services`` by abstract syntax come beside Verification."""
    started: list[Server] = []

    def start(
        services=None,
        *,
        limits: CapacityLimits = LIMITS,
        artim: float = PATIENCE,
        idle: float = PATIENCE,
        start: bool = True,
        address: tuple[str, int] = ("127.0.0.1", 0),
        name: str = "test",
        books: Books | None = None,
    ) -> Server:
        services = {VERIFICATION: Verification(), **(services or {})}
        offer = Offer(
            ae_title="SCPD",
            contexts={uid: SupportedContext(uid, (IMPLICIT,)) for uid in services},
            maximum_length=16384,
        )
        visit = Visit(offer, services)
        terms = Terms(
            visit=lambda _: visit,
            limits=Limits(1 << 20, 16384),
            command_limit=65536,
            data_set_limit=1 << 20,
            artim=artim,
            write=PATIENCE,
            pace=Pace(idle, PATIENCE),
            where=lambda key: f"test:{key}",
        )
        started.append(Server(name, address, terms, limits, books=books))
        if start:
            started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.stop_accepting()
        server.abort("the test is over")
