"""DICOM Study Deleted is valid by PS3.15 A.5.1, says what A.5.3.8 wants, and never becomes too long."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from scpd.telemetry import audit
from scpd.telemetry.audit import MOST_OCTETS, Outcome, Patient, Reporter, Study

SCHEMA = etree.RelaxNG(etree.parse(Path(__file__).with_name("audit-message.rng")))
US = Reporter("pacs.example ARCHIVE", "pacs.example", ("ARCHIVE", "ARCHIVE_TLS"), process_id=4711)
SMITH = Patient("4711-X", "Smith^John")
CT, SR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.11"


def parsed(message: audit.Message) -> etree._Element:
    root = etree.fromstring(message.xml.encode())
    SCHEMA.assertValid(root)
    return root


def test_it_says_what_went_of_whom_and_why():
    study = Study("1.2.3.4", {CT: 120, SR: 1}, "A-17")
    (message,) = audit.study_deleted(US, SMITH, study, description="retention, older_than: 90d")
    root = parsed(message)
    event = root.find("EventIdentification")
    assert (event.get("EventActionCode"), event.get("EventOutcomeIndicator")) == ("D", "0")
    assert event.find("EventID").attrib == {
        "csd-code": "110105",
        "codeSystemName": "DCM",
        "originalText": "DICOM Study Deleted",
    }
    assert event.findtext("EventOutcomeDescription") == "retention, older_than: 90d"
    (us,) = root.findall("ActiveParticipant")
    assert (us.get("UserID"), us.get("UserName"), us.get("UserIsRequestor")) == ("4711", "scpd", "true")
    assert us.get("AlternativeUserID") == "AETITLES=ARCHIVE;ARCHIVE_TLS"
    assert us.find("RoleIDCode").get("csd-code") == "110150"
    its, patient = root.findall("ParticipantObjectIdentification")
    assert (its.get("ParticipantObjectID"), its.find("ParticipantObjectIDTypeCode").get("csd-code")) == (
        "1.2.3.4",
        "110180",
    )
    counts = {one.get("UID"): one.get("NumberOfInstances") for one in its.iter("SOPClass")}
    assert counts == {CT: "120", SR: "1"}
    assert its.find(".//Accession").get("Number") == "A-17"
    assert (patient.get("ParticipantObjectID"), patient.findtext("ParticipantObjectName")) == ("4711-X", "Smith^John")


def test_a_failure_is_one():
    (message,) = audit.study_deleted(US, SMITH, Study("1.2", {CT: 1}), outcome=Outcome.MINOR)
    assert parsed(message).find("EventIdentification").get("EventOutcomeIndicator") == "4"


@pytest.mark.parametrize("text", ["&" * 65536, "\0" * 65536, "山田^太郎" * 100, ""])
def test_whatever_a_peer_has_put_there_it_is_valid_and_bounded(text):
    study = Study(text, {f"1.2.{number}.{text}": number for number in range(500)}, text)
    messages = audit.study_deleted(US, Patient(text, text), study, description=text)
    assert len(messages) > 1
    for message in messages:
        assert len(message.xml.encode()) <= MOST_OCTETS
        parsed(message)
    counted = sum(len(list(parsed(message).iter("SOPClass"))) for message in messages)
    assert counted == 500
