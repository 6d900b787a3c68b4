"""A daemon of plain facts, and a real endpoint before it."""

from __future__ import annotations

import http.client
import threading
import urllib.parse
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from scpd.admin.endpoint import Endpoint
from scpd.admin.facts import Facts, Holding, Look, Part, QueueFacts, ReloadFacts, ServerFacts, StoreFacts
from scpd.server.record import Live
from scpd.telemetry.statistics import Counts, Histogram, Refusal, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PATIENCE = 20.0
TOKEN = "a-token-of-this-test"
STARTED = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
GiB = 1024**3


def tally(*messages: tuple[str, int, float]) -> Tally:
    """Of (operation, status, seconds)."""
    made = Tally()
    for operation, status, seconds in messages:
        made.answered(operation, status)
        made.took(operation, seconds)
    return made


def histogram(*seconds: float) -> Histogram:
    made = Histogram()
    for each in seconds:
        made.observe(each)
    return made


def counts(**fields: Any) -> Counts:
    usual: dict[str, Any] = {
        "associations": {
            ("CT1", "ARCHIVE", "accepted", ""): 3,
            ("CT1", "OTHER", "accepted", ""): 1,
            ("X", "ARCHIVE", "rejected", "called AE title not recognized"): 2,
        },
        "ended": {"released": 3, "aborted": 1},
        "rejected_contexts": {("1.2.840.10008.5.1.4.1.1.2", "ABSTRACT_SYNTAX_NOT_SUPPORTED"): 5},
        "identity_failures": {"username-passcode": 4},
        "failed_handshakes": 6,
        "tally": tally(("C-STORE", 0, 0.004), ("C-STORE", 0, 0.2), ("C-STORE", 0xA700, 700.0), ("C-ECHO", 0, 0.0001)),
        "lasted": histogram(1.5, 90.0),
        "received": 1000,
        "sent": 500,
    }
    return Counts(**{**usual, **fields})


def live(number: int = 1, **fields: Any) -> Live:
    usual = Live(
        f"abc123-{number}", "10.0.0.7:4711", "CT1", "ARCHIVE", "alice", STARTED, 90.0, "C-STORE", 12, 9_000_000, 3000
    )
    return usual._replace(**fields)


def refusal(**fields: Any) -> Refusal:
    usual = Refusal(
        STARTED,
        "10.0.0.9:4000",
        "X",
        "ARCHIVE",
        "rejected permanent, service-user: called AE title not recognized",
        "nobody is called 'X' here",
        "called_ae_title",
        "/etc/scpd/scpd.yaml:7",
    )
    return usual._replace(**fields)


def server(**fields: Any) -> ServerFacts:
    usual = ServerFacts(
        name="archive",
        ae_title="ARCHIVE",
        address="0.0.0.0:11112",
        tls="bcp195",
        certificate_days=20,
        associations=1,
        connections=2,
        turned_away=7,
        most_associations=200,
        live=(live(),),
        refusals=(refusal(),),
        counts=counts(),
        retrieved={("move", "completed"): 11, ("move", "failed"): 2, ("get", "warning"): 1},
        transcoded=5,
    )
    return usual._replace(**fields)


def facts(**fields: Any) -> Facts:
    usual = Facts(
        version="0.1.0",
        started=STARTED,
        is_stopping=False,
        servers=(server(),),
        stores=(StoreFacts("/var/lib/scpd", 1000 * GiB, 400 * GiB, 5 * GiB, 123_456),),
        queues=(QueueFacts("audit", "collector", 3, 1, 12.5, "connection refused"),),
        reloads=ReloadFacts(2, 1, STARTED + timedelta(hours=1), ()),
        configuration="ae_title: ARCHIVE\nadmin:\n  token: '********'\n",
    )
    return usual._replace(**fields)


class Told:
    """A ``Daemon`` that says what it was told to say; the interface, with nothing behind it."""

    def __init__(self) -> None:
        self.all = facts()
        self.parts: Sequence[Part] = (Part("listening", True, ""), Part("storage", True, "400 GiB free"))
        self.aborted: list[str] = []
        self.drained = 0
        self.held: Sequence[Holding] = ()
        self.looks: list[Look] = []
        self.holds = threading.Event()
        self.holds.set()
        self.asked = threading.Event()

    def facts(self) -> Facts:
        self.asked.set()
        self.holds.wait(PATIENCE)
        return self.all

    def readiness(self) -> Sequence[Part]:
        return self.parts

    def abort(self, association_id: str) -> bool:
        self.aborted.append(association_id)
        return any(live.association_id == association_id for one in self.all.servers for live in one.live)

    def drain(self) -> None:
        self.drained += 1

    def holdings(self) -> Sequence[Holding]:
        return self.held

    def looked(self, look: Look) -> None:
        self.looks.append(look)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str


class Raw(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Site:
    """A running endpoint and the daemon that it asks."""

    def __init__(self, daemon: Told, endpoint: Endpoint) -> None:
        self.daemon = daemon
        self.endpoint = endpoint
        self.port = endpoint.address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> Answer:
        """Headers as keywords, with _ for -."""
        answer = self.raw(method, path, body, **headers)
        return Answer(answer.status, answer.headers, answer.body.decode())

    def raw(self, method: str, path: str, body: str | None = None, **headers: str) -> Raw:
        """The same with a body of bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            response = connection.getresponse()
            return Raw(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def submit(self, path: str, **fields: str) -> Answer:
        """As a browser's form does."""
        body = urllib.parse.urlencode(fields)
        return self.ask("POST", path, body, Content_Type="application/x-www-form-urlencoded")


@pytest.fixture
def site() -> Iterator[Callable[..., Site]]:
    """Start an endpoint before a daemon of facts; keywords are the endpoint's."""
    running: list[Site] = []

    def start(**settings: Any) -> Site:
        daemon = Told()
        endpoint = Endpoint("127.0.0.1", 0, daemon, **{"token": TOKEN, **settings})
        endpoint.start()
        running.append(Site(daemon, endpoint))
        return running[-1]

    yield start
    for one in running:
        one.daemon.holds.set()
        one.endpoint.close()
