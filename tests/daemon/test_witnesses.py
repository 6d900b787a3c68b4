"""Who hears of retrievals: whose studies they are is asked of the index, and what was sent is counted."""

from __future__ import annotations

import pytest
from components.held import Held as Index
from components.held import instance

from scpd.client.requestor import Caller
from scpd.daemon.witnesses import Audited, Counting
from scpd.errors import IndexUnavailable
from scpd.index.query import Held
from scpd.services.retrieve.destination import Destination
from scpd.services.retrieve.service import Retrieval, Retrieved
from scpd.services.service import Peer
from scpd.telemetry.audit import Patient, Study
from scpd.telemetry.audit import Peer as AuditPeer

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
VIEWER = Peer("10.0.0.1:4711", "VIEWER", "ARCHIVE", "id-1")


class Ledger:
    """What a ledger is told of retrievals."""

    def __init__(self) -> None:
        self.told: list[tuple] = []

    def route(self, peer, destination):
        return peer.calling, destination

    def sending(self, route, patient, studies):
        self.told.append(("begins", route, patient, studies))

    def sent(self, route, patient, studies, why_not=""):
        self.told.append((why_not or "sent", route, patient, studies))


def held(study: str, number: int, sop_class: str = CT) -> Held:
    return Held(sop_class, f"{study}.1.{number}", "1.2.840.10008.1.2", "/x", 1, "", study, f"{study}.1")


def destination(host: str) -> Destination:
    return Destination(host, (host, 104), Caller())


def ended(stored=(), **counts) -> Retrieved:
    return Retrieved(**{"completed": 0, "warning": 0, "failed": 0, "transcoded": 0, "stored": stored, **counts})


@pytest.fixture
def index():
    return Index(
        instance("P1", "1.2.1", AccessionNumber="A1", PatientName="Doe^Jane"),
        instance("P1", "1.2.2", AccessionNumber="A2", PatientName="Doe^Jane"),
        instance("P2", "1.2.3", AccessionNumber="A3", PatientName="Roe^Max"),
    )


INSTANCES = [held("1.2.1", 1), held("1.2.1", 2), held("1.2.1", 3, MR), held("1.2.3", 1), held("1.2.2", 1)]
JANE, MAX = Patient("P1", "Doe^Jane"), Patient("P2", "Roe^Max")
NOBODY = Patient("")


def test_each_patient_is_told_at_the_begin_and_at_the_end(index):
    ledger = Ledger()
    end = Audited(ledger, index, {}).retrieving(Retrieval(VIEWER, "", INSTANCES))
    route = ("VIEWER", None)
    assert ledger.told == [
        ("begins", route, JANE, [Study("1.2.1", {CT: 2, MR: 1}, "A1"), Study("1.2.2", {CT: 1}, "A2")]),
        ("begins", route, MAX, [Study("1.2.3", {CT: 1}, "A3")]),
    ]
    ledger.told.clear()
    index.rows.clear()  # what is deleted meanwhile was sent all the same
    end(ended({"1.2.1.1.1", "1.2.1.1.3", "1.2.3.1.1"}))
    why = "not stored there, as far as is known"
    assert ledger.told == [
        ("sent", route, JANE, [Study("1.2.1", {CT: 1, MR: 1}, "A1")]),
        ("sent", route, MAX, [Study("1.2.3", {CT: 1}, "A3")]),
        (why, route, JANE, [Study("1.2.1", {CT: 1}, "A1"), Study("1.2.2", {CT: 1}, "A2")]),
    ]


def test_an_index_that_is_away_keeps_nothing_out_of_the_trail(index):
    index.failure = IndexUnavailable("away")
    ledger = Ledger()
    Audited(ledger, index, {}).retrieving(Retrieval(VIEWER, "", INSTANCES[2:4]))
    assert ledger.told == [("begins", ("VIEWER", None), NOBODY, [Study("1.2.1", {MR: 1}), Study("1.2.3", {CT: 1})])]


def test_the_index_is_asked_about_few_studies_at_a_time():
    index = Index(*(instance(f"P{number}", f"1.2.{number}") for number in range(500)))
    ledger = Ledger()
    every = [held(f"1.2.{number}", 1) for number in range(500)]
    Audited(ledger, index, {}).retrieving(Retrieval(VIEWER, "", every))
    assert {patient.id for _, _, patient, _ in ledger.told} == {f"P{number}" for number in range(500)}
    asked = [len(condition.values) for query in index.queries for condition in query.conditions.values()]
    assert asked == [200, 200, 100]
    assert index.closed == 3


@pytest.mark.parametrize(
    ("hosts", "address"), [(["reader"], "reader"), (["reader", "reader"], "reader"), (["one", "other"], ""), ([], "")]
)
def test_a_destination_has_an_address_where_that_is_certain(index, hosts, address):
    ledger = Ledger()
    audited = Audited(ledger, index, {"READER": [destination(host) for host in hosts]})
    audited.retrieving(Retrieval(VIEWER, "READER", INSTANCES[:1]))
    assert ledger.told[0][1] == ("VIEWER", AuditPeer(address, "READER"))


def test_what_was_sent_is_counted_by_server_operation_and_result():
    counting = Counting()
    one = counting.of("one")
    one.retrieving(Retrieval(VIEWER, "READER", INSTANCES))(ended(completed=3, failed=1, transcoded=2))
    one.retrieving(Retrieval(VIEWER, "READER", INSTANCES))(ended(completed=1, warning=1))
    one.retrieving(Retrieval(VIEWER, "", INSTANCES))(ended(failed=5))
    counts = {key: count for key, count in counting.sent("one").instances.items() if count}
    assert counts == {("move", "completed"): 4, ("move", "warning"): 1, ("move", "failed"): 1, ("get", "failed"): 5}
    assert counting.sent("one").transcoded == 2
    assert counting.sent("other") == ({}, 0)
