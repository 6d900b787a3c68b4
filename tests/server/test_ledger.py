"""What the audit trail is told, and what is left out of it so that nobody can fill it."""

from __future__ import annotations

import base64

import pytest

from scpd.negotiation import reject
from scpd.server.ledger import Ledger
from scpd.services.query.find import Queried
from scpd.services.service import Peer
from scpd.services.storage import Stored
from scpd.storage.incoming import Written
from scpd.telemetry.audit import Patient, Reporter, Study
from scpd.telemetry.audit import Peer as AuditPeer
from scpd.telemetry.logs import logger
from scpd.telemetry.syslog import FileDestination
from scpd.telemetry.trail import Trail

PATIENT, NAME, STUDY = 0x00100020, 0x00100010, 0x0020000D
CT, FIND = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.2.2.1"


def stored(peer: Peer, values: dict[int, bytes]) -> Stored:
    return Stored(peer, CT, "1.2.3", "1.2.840.10008.1.2", values, "/store", "/store/1.2.3.dcm", Written(1, 1.0))


@pytest.fixture
def written(told, tmp_path):
    """A ledger, and what its trail has come to."""
    path = tmp_path / "audit.log"
    trail = Trail([FileDestination(path)], log=logger("audit"))
    ledger = Ledger(Reporter("here", "here", ("ARCHIVE",)), trail)

    def lines() -> list[str]:
        trail.close(20.0)
        return path.read_text().splitlines() if path.exists() else []

    yield ledger, lines
    trail.close(20.0)


def test_refusals_of_one_address_are_bounded_and_the_log_says_how_many_were_left_out(written, told):
    ledger, lines = written
    for number in range(150):
        ledger.rejected(Peer(f"10.0.0.1:{number}", "X", "ARCHIVE"), reject.calling_ae_title("not let in", "access[0]"))
    ledger.rejected(Peer("10.0.0.2:1", "X", "ARCHIVE"), reject.calling_ae_title("not let in", "access[0]"))
    (line,) = told.wait("refusals left out of the audit trail: one address has too many")
    assert line["left_out"] == 1
    assert len(lines()) == 101


def test_who_is_refused_for_something_cheap_does_not_guess_unseen(written):
    ledger, lines = written
    peer = Peer("10.0.0.1:1", "X", "ARCHIVE")
    for _ in range(150):
        ledger.turned_away("10.0.0.1")
    ledger.not_verified(peer, "alice", reject.identity("wrong", "user_identity.providers[0]"))
    assert sum("claimed:alice" in line for line in lines()) == 1


def test_instances_are_told_patient_by_patient_and_studies_are_counted(written):
    ledger, lines = written
    peer = Peer("10.0.0.1:1", "CT1", "ARCHIVE", "id-1")
    for patient, study in ((b"P1", b"1.2"), (b"P1", b"1.2"), (b"P1 ", b"1.3"), (b"P2", b"1.4")):
        ledger.stored(stored(peer, {PATIENT: patient, NAME: b"A^B", STUDY: study}))
    ledger.ended(peer)
    ledger.ended(peer)
    first, second = lines()
    assert 'ParticipantObjectID="P1"' in first
    assert 'ParticipantObjectID="1.2"' in first
    assert 'NumberOfInstances="2"' in first
    assert 'ParticipantObjectID="P2"' in second


def test_an_association_of_very_many_studies_is_told_in_parts_meanwhile(written):
    ledger, lines = written
    peer = Peer("10.0.0.1:1", "CT1", "ARCHIVE", "id-1")
    for number in range(1200):
        ledger.stored(stored(peer, {PATIENT: b"P1", STUDY: f"1.2.{number}".encode()}))
    assert len(ledger._stored["id-1"]) == 200
    ledger.ended(peer)
    assert not ledger._stored
    assert sum(line.count("<SOPClass ") for line in lines()) == 1200


def queried(peer: Peer, number: int = 0, status: int | None = 0x0000) -> Queried:
    return Queried(peer, FIND, "1.2.840.10008.1.2", b"query %d" % number, number, status)


def test_queries_of_one_address_are_bounded_and_the_trail_says_how_many_were_left_out(written, told, monkeypatch):
    ledger, lines = written
    now = 1000.0
    monkeypatch.setattr("scpd.server.share.time.monotonic", lambda: now)
    for number in range(1500):
        ledger.queried(queried(Peer(f"10.0.0.1:{number}", "VIEWER", "ARCHIVE"), number))
    ledger.queried(queried(Peer("10.0.0.2:1", "OTHER", "ARCHIVE")))
    (line,) = told.wait("queries left out of the audit trail: one address has too many")
    assert line["left_out"] == 1
    now += 1.5
    for number in range(3):
        ledger.queried(queried(Peer("10.0.0.1:1", "VIEWER", "ARCHIVE"), number))
    now += 1.0
    ledger.queried(queried(Peer("10.0.0.1:1", "VIEWER", "ARCHIVE")))
    every = lines()
    assert len(every) == 1000 + 1 + 1 + 1
    assert [line for line in every[:1001] if "left out" in line] == []
    assert "500 queries of this address before it are left out; matches that were told: 0<" in every[1001]
    assert "2 queries of this address before it are left out; matches that were told: 0<" in every[1002]


@pytest.mark.parametrize(
    ("status", "outcome", "says"),
    [
        (0x0000, "0", "matches that were told: 7<"),
        (0xFE00, "0", "told: 7; cancelled by the peer<"),
        (None, "0", "told: 7; the peer did not wait for more<"),
        (0xA700, "4", "told: 7; there may be more, which could not be told<"),
    ],
)
def test_a_query_is_told_with_what_came_of_it_and_who_asked(written, status, outcome, says):
    ledger, lines = written
    peer = Peer("10.0.0.1:1", "VIEWER", "ARCHIVE", "id-1")
    ledger.verified(peer, "alice", "Kerberos ticket")
    ledger.queried(queried(peer, 7, status))
    _, line = lines()
    assert f'EventOutcomeIndicator="{outcome}"' in line
    assert says in line
    assert 'UserID="alice" UserIsRequestor="true"' in line
    assert base64.b64encode(b"query 7").decode() in line


def test_who_asked_for_instances_is_still_known_when_the_association_is_over(written):
    ledger, lines = written
    peer = Peer("10.0.0.1:1", "VIEWER", "ARCHIVE", "id-1")
    ledger.verified(peer, "alice", "Kerberos ticket")
    route = ledger.route(peer, AuditPeer("10.0.0.9", "READER"))
    ledger.sending(route, Patient("P1"), [Study("1.2", {CT: 2})])
    ledger.ended(peer)
    ledger.sent(route, Patient("P1"), [Study("1.2", {CT: 1})])
    ledger.sent(route, Patient("P1"), [Study("1.2", {CT: 1})], "it is full")
    _, begun, sent, not_sent = lines()
    assert 'csd-code="110102"' in begun
    assert all('csd-code="110104"' in line for line in (sent, not_sent))
    assert all('UserID="alice" UserIsRequestor="true"' in line for line in (begun, sent, not_sent))
    assert 'EventOutcomeIndicator="0"' in sent
    assert 'EventOutcomeIndicator="4"' in not_sent
    assert "it is full" in not_sent
