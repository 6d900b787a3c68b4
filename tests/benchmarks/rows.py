"""What is measured, against whom, and the bars: all of it data."""

from collections.abc import Callable
from dataclasses import dataclass, field

import measures
from ground import tls_missing
from servers import (
    GUARDED,
    LIBRARY,
    LIMIT,
    LIMIT_OVER_TLS,
    PYNETDICOM,
    SCPD,
    SCPD_OVER_TLS,
    STORESCP,
    STORESCP_FAST,
    STORESCP_OVER_TLS,
    WATCHED,
    Server,
    dcmtk,
)


@dataclass(frozen=True)
class Metric:
    name: str
    unit: str
    digits: int = 0


@dataclass(frozen=True)
class Bar:
    """The median of `of`, or its ratio to `against`'s median, and the bound it must keep.

    `other` is the metric of the other side, where that is not the same.
    """

    metric: str
    bound: float
    against: Server | None = None
    at_most: bool = False
    of: Server = SCPD
    other: str = ""

    def reached(self, value):
        return value <= self.bound if self.at_most else value >= self.bound


@dataclass(frozen=True)
class Entry:
    """One server in a row: fewer messages and rounds for the slow ones."""

    server: Server
    count: int
    rounds: int | None = None


@dataclass(frozen=True)
class Row:
    name: str
    title: str
    measure: Callable  # (ground, server, count) → figures by metric
    entries: tuple[Entry, ...]
    bars: tuple[Bar, ...]
    metrics: tuple[Metric, ...] = (Metric("rate", "1/s"),)
    smoke_count: int = 5
    missing: Callable[[], str] = field(default=lambda: "")


_AS_THE_DAEMON = Bar("rate", 0.8, SCPD, of=LIBRARY)


def _client_missing(program):
    return lambda: "" if dcmtk(program) else f"DCMTK's {program}"


def _client_row(program):
    return Row(
        program,
        f"{program}, default settings, 200 files of CT 512×512",
        measures.client(program),
        (Entry(SCPD, 200), Entry(LIMIT, 200, rounds=2), Entry(STORESCP, 200, rounds=2)),
        (Bar("rate", 15, STORESCP),),
        metrics=(Metric("rate", "files/s"),),
        missing=_client_missing(program),
    )


ROWS = (
    Row(
        "ct1",
        "C-STORE of CT (530 KB), 1 association",
        measures.rate("store", data="ct"),
        (Entry(SCPD, 500), Entry(LIBRARY, 500), Entry(LIMIT, 500), Entry(STORESCP_FAST, 500), Entry(PYNETDICOM, 50)),
        (Bar("rate", 0.85, LIMIT), Bar("rate", 1.2, STORESCP_FAST), Bar("rate", 8, PYNETDICOM), _AS_THE_DAEMON),
    ),
    Row(
        "ct4",
        "C-STORE of CT (530 KB), 4 associations",
        measures.rate("store", data="ct", assocs=4),
        (Entry(SCPD, 300), Entry(LIBRARY, 300), Entry(LIMIT, 300)),
        (Bar("rate", 0.75, LIMIT), _AS_THE_DAEMON),
    ),
    Row(
        "small1",
        "C-STORE of small (6 KB), 1 association",
        measures.rate("store", data="small"),
        (
            Entry(SCPD, 2000),
            Entry(LIBRARY, 2000),
            Entry(LIMIT, 2000),
            Entry(STORESCP_FAST, 2000),
            Entry(PYNETDICOM, 100),
        ),
        (Bar("rate", 0.5, LIMIT), Bar("rate", 15, PYNETDICOM), _AS_THE_DAEMON),
    ),
    Row(
        "small4",
        "C-STORE of small (6 KB), 4 associations",
        measures.rate("store", data="small", assocs=4),
        (Entry(SCPD, 1000), Entry(LIBRARY, 1000), Entry(LIMIT, 1000)),
        (Bar("rate", 0.3, LIMIT), _AS_THE_DAEMON),
    ),
    Row(
        "big",
        "C-STORE of big (105 MB), 1 association",
        measures.rate("store", data="big", warm_up=1),
        (Entry(SCPD, 5), Entry(LIBRARY, 5), Entry(LIMIT, 5)),
        (Bar("rate", 0.85, LIMIT), _AS_THE_DAEMON),
        metrics=(Metric("rate", "1/s", 2),),
        smoke_count=1,
    ),
    Row(
        "bigmem",
        "growth of peak memory",
        measures.peak_memory,
        (Entry(SCPD, 4, rounds=3), Entry(LIMIT, 4, rounds=3)),
        (Bar("big", 16, at_most=True), Bar("giant", 16, at_most=True)),
        metrics=(Metric("big", "MiB, big", 1), Metric("giant", "MiB, 1 GiB", 1)),
        smoke_count=1,
    ),
    Row(
        "echo",
        "C-ECHO, 1 association",
        measures.rate("echo"),
        (
            Entry(SCPD, 5000),
            Entry(LIBRARY, 5000),
            Entry(LIMIT, 5000),
            Entry(STORESCP_FAST, 5000),
            Entry(PYNETDICOM, 300),
        ),
        (Bar("rate", 0.6, LIMIT), Bar("rate", 25, PYNETDICOM), _AS_THE_DAEMON),
    ),
    Row(
        "assoc",
        "associate, C-ECHO, release",
        measures.rate("assoc"),
        (Entry(SCPD, 2000), Entry(LIBRARY, 2000), Entry(LIMIT, 2000), Entry(STORESCP_FAST, 200), Entry(PYNETDICOM, 20)),
        (Bar("rate", 0.3, LIMIT), Bar("rate", 50, PYNETDICOM), _AS_THE_DAEMON),
    ),
    Row(
        "tls1",
        "C-STORE of CT (530 KB) over TLS, 1 association",
        measures.rate("store", data="ct"),
        (Entry(SCPD_OVER_TLS, 500), Entry(LIMIT_OVER_TLS, 500), Entry(STORESCP_OVER_TLS, 500)),
        (Bar("rate", 0.7, LIMIT_OVER_TLS), Bar("rate", 1, STORESCP_OVER_TLS)),
        missing=tls_missing,
    ),
    Row(
        "tlsassoc",
        "associate, C-ECHO, release, over TLS with a full handshake each",
        measures.rate("assoc"),
        (Entry(SCPD_OVER_TLS, 300), Entry(LIMIT_OVER_TLS, 300), Entry(STORESCP_OVER_TLS, 200)),
        (Bar("rate", 1, STORESCP_OVER_TLS),),
        missing=tls_missing,
    ),
    Row(
        "door1",
        "associate, C-ECHO, release, with access rules and a provider of identities",
        measures.rate("assoc"),
        (Entry(SCPD, 2000), Entry(GUARDED, 2000)),
        (Bar("rate", 0.9, SCPD, of=GUARDED),),
    ),
    *(
        Row(
            f"watched-{name}",
            f"{title}, asked for metrics and its status page every second",
            measures.rate(mode, data=data),
            (Entry(SCPD, count), Entry(WATCHED, count)),
            (Bar("rate", 0.97, SCPD, of=WATCHED),),
        )
        for name, title, mode, data, count in (
            ("ct1", "C-STORE of CT (530 KB), 1 association", "store", "ct", 500),
            ("small1", "C-STORE of small (6 KB), 1 association", "store", "small", 2000),
            ("echo", "C-ECHO, 1 association", "echo", None, 5000),
        )
    ),
    Row(
        "reload",
        "a C-ECHO during 100 reloads under 4 storing associations; one that fails, or is refused, fails the run",
        measures.reload,
        (Entry(SCPD, 100),),
        (Bar("p99", 50, at_most=True),),
        metrics=(
            Metric("calm", "ms, 99 %, without reloads", 1),
            Metric("p99", "ms, 99 %", 1),
            Metric("max", "ms, most", 1),
        ),
        smoke_count=3,
    ),
    Row(
        "check",
        "scpd check of the slowest example",
        measures.check,
        (Entry(SCPD, 1),),
        (Bar("time", 0.6, at_most=True),),
        metrics=(Metric("time", "s", 2),),
    ),
    Row(
        "hold",
        "1,000 idle associations",
        measures.hold,
        (Entry(SCPD, 1000, rounds=3), Entry(LIMIT, 1000, rounds=3)),
        (Bar("answer", 100), Bar("cpu", 1, at_most=True), Bar("memory", 100, at_most=True)),
        metrics=(
            Metric("answer", "% answer", 1),
            Metric("cpu", "% of a core", 2),
            Metric("memory", "KiB each", 1),
        ),
        smoke_count=50,
    ),
    _client_row("storescu"),
    _client_row("dcmsend"),
    Row(
        "scu",
        "C-STORE of 500 CT from files, by scpd's and pynetdicom's SCU and dimseload",
        measures.scu,
        (Entry(LIMIT, 500), Entry(SCPD, 500)),
        tuple(
            Bar("scpd", bound, receiver, of=receiver, other=other)
            for receiver in (LIMIT, SCPD)
            for other, bound in (("dimseload", 0.8), ("pynetdicom", 10))
        ),
        metrics=(
            Metric("scpd", "files/s, scpd"),
            Metric("pynetdicom", "files/s, pynetdicom"),
            Metric("dimseload", "files/s, dimseload"),
        ),
    ),
    Row(
        "start",
        "process start to the first C-ECHO answered",
        measures.start,
        (Entry(SCPD, 1), Entry(LIMIT, 1), Entry(STORESCP, 1), Entry(PYNETDICOM, 1)),
        (Bar("time", 0.8, at_most=True),),
        metrics=(Metric("time", "s", 2),),
    ),
)
