"""What is measured, against whom, and the bars: all of it data."""

from collections.abc import Callable
from dataclasses import dataclass, field

import archive
import measures
from ground import tls_missing
from servers import (
    ARCHIVE,
    DCMQRSCP,
    DURABLE,
    GUARDED,
    INDEXED,
    LIBRARY,
    LIMIT,
    LIMIT_OVER_TLS,
    OF_MANY,
    ORTHANC,
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


def _found(kind):
    return (
        Bar(f"{kind}_p50", 3, of=OF_MANY, at_most=True),
        Bar(f"{kind}_p99", 10, of=OF_MANY, at_most=True),
        Bar(f"{kind}_rate", 20, DCMQRSCP, of=OF_MANY),
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
    *(
        Row(
            name,
            f"{title}, each in a durable index",
            measures.rate("store", data=data, assocs=assocs),
            (Entry(DURABLE, count), Entry(INDEXED, count), Entry(ORTHANC, few)),
            (Bar("rate", 5, ORTHANC, of=INDEXED), Bar("rate", share, DURABLE, of=INDEXED)),
        )
        for name, title, data, assocs, count, few, share in (
            ("index-small1", "C-STORE of small (6 KB), 1 association", "small", 1, 2000, 200, 0.4),
            ("index-small4", "C-STORE of small (6 KB), 4 associations", "small", 4, 1000, 50, 0.4),
            ("index-ct1", "C-STORE of CT (530 KB), 1 association", "ct", 1, 500, 100, 0.75),
        )
    ),
    Row(
        "find",
        "C-FIND in an index of 1,000,000 instances in 10,000 studies",
        archive.find,
        (Entry(OF_MANY, 2000), Entry(DCMQRSCP, 100, rounds=2)),
        (
            *_found("patient"),
            *_found("study"),
            Bar("all", 5000, of=OF_MANY),
            Bar("first", 20, of=OF_MANY, at_most=True),
            Bar("memory", 80, of=OF_MANY, at_most=True),  # 64 of them are the cache that SQLite is given
        ),
        metrics=(
            *(
                Metric(f"{kind}_{what}", f"{unit}, by {word}", digits)
                for kind, word in (("patient", "patient ID"), ("study", "study UID"))
                for what, unit, digits in (("p50", "ms, 50 %", 2), ("p99", "ms, 99 %", 2), ("rate", "1/s", 0))
            ),
            Metric("all", "answers/s, all studies"),
            Metric("first", "ms to the first of them", 1),
            Metric("memory", "MiB, growth meanwhile", 1),
            Metric("counted", "answers/s, with modalities and counts"),
        ),
    ),
    Row(
        "retrieve",
        "500 CT (530 KB) by C-MOVE to dimselimit, by C-GET, and by dimseload to dimselimit",
        archive.retrieve,
        (Entry(ARCHIVE, 500),),
        tuple(Bar(name, 0.7, ARCHIVE, of=ARCHIVE, other="dimseload") for name in ("move", "get")),
        metrics=(
            Metric("move", "1/s, C-MOVE"),
            Metric("get", "1/s, C-GET"),
            Metric("dimseload", "1/s, dimseload"),
        ),
    ),
    Row(
        "rebuild",
        "scpd index rebuild of small (6 KB) files",
        archive.rebuild,
        (Entry(ARCHIVE, 20_000, rounds=3),),
        (Bar("core", 2000, of=ARCHIVE),),
        metrics=(Metric("rate", "files/s"), Metric("core", "files/s per core")),
        smoke_count=20,
    ),
)
