"""What the audit trail is told, and what is left out of it so that nobody can fill it."""

from __future__ import annotations

import pytest

from scpd.negotiation import reject
from scpd.server.ledger import Ledger
from scpd.services.service import Peer
from scpd.services.storage import Stored
from scpd.storage.incoming import Written
from scpd.telemetry.audit import Reporter
from scpd.telemetry.logs import logger
from scpd.telemetry.syslog import FileDestination
from scpd.telemetry.trail import Trail

PATIENT, NAME, STUDY = 0x00100020, 0x00100010, 0x0020000D
CT = "1.2.840.10008.5.1.4.1.1.2"


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
