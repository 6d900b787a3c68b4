"""Messages of queries and of what is sent are valid by PS3.15 A.5.1, say what A.5.3 wants, and never become too long."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from lxml import etree

from scpd.telemetry import audit
from scpd.telemetry.audit import MOST_OCTETS, Outcome, Patient, Peer, Reporter, Route, Study
from scpd.telemetry.draft import LONGEST_QUERY

SCHEMA = etree.RelaxNG(etree.parse(Path(__file__).with_name("audit-message.rng")))
US = Reporter("pacs.example ARCHIVE", "pacs.example", ("ARCHIVE", "ARCHIVE_TLS"), process_id=4711)
VIEWER, READER = Peer("10.1.2.3", "VIEWER"), Peer("reader.example", "READER")
SMITH = Patient("4711-X", "Smith^John")
CT, SR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.11"
FIND, IMPLICIT = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.1.2"
STUDY = Study("1.2.3.4", {CT: 120, SR: 1}, "A-17")
SOURCE, DESTINATION = "110153", "110152"
HOSTILE = ("&" * 65536, "\0" * 65536, "山田^太郎" * 100, "", '"/><ActiveParticipant UserID="root"/>')


def parsed(message: audit.Message) -> etree._Element:
    assert len(message.xml.encode()) <= MOST_OCTETS
    root = etree.fromstring(message.xml.encode())
    SCHEMA.assertValid(root)
    return root


def event(root: etree._Element) -> tuple[str, str, str, str]:
    found = root.find("EventIdentification")
    code = found.find("EventID")
    return (
        code.get("csd-code"),
        code.get("originalText"),
        found.get("EventActionCode"),
        found.get("EventOutcomeIndicator"),
    )


def participants(root: etree._Element) -> list[tuple[str, str | None, str]]:
    """Of each its UserID, its role, and whether it is the requestor."""
    found = root.findall("ActiveParticipant")
    roles = [one.find("RoleIDCode") for one in found]
    codes = [None if role is None else role.get("csd-code") for role in roles]
    return [(one.get("UserID"), code, one.get("UserIsRequestor")) for one, code in zip(found, codes, strict=True)]


# -- A.5.3.10


def test_a_query_is_told_as_it_came():
    identifier = b"\x08\0\x52\0\x06\0\0\0STUDY " + bytes(range(256))
    root = parsed(audit.query_received(US, VIEWER, FIND, IMPLICIT, identifier, called="ARCHIVE", description="two"))
    assert event(root) == ("110112", "Query", "E", "0")
    assert participants(root) == [("VIEWER", SOURCE, "true"), ("4711", DESTINATION, "false")]
    (subject,) = root.findall("ParticipantObjectIdentification")
    assert subject.get("ParticipantObjectID") == FIND
    assert (subject.get("ParticipantObjectTypeCode"), subject.get("ParticipantObjectTypeCodeRole")) == ("2", "3")
    id_type = subject.find("ParticipantObjectIDTypeCode")
    assert (id_type.get("csd-code"), id_type.get("originalText")) == ("110181", "SOP Class UID")
    assert base64.b64decode(subject.findtext("ParticipantObjectQuery")) == identifier
    (detail,) = subject.findall("ParticipantObjectDetail")
    assert (detail.get("type"), base64.b64decode(detail.get("value"))) == ("TransferSyntax", IMPLICIT.encode())
    assert root.findtext(".//EventOutcomeDescription") == "two"


def test_who_was_verified_is_the_requestor_of_a_query():
    root = parsed(audit.query_received(US, VIEWER, FIND, IMPLICIT, b"", user="alice", outcome=Outcome.MINOR))
    assert event(root)[3] == "4"
    assert participants(root) == [
        ("VIEWER", SOURCE, "false"),
        ("4711", DESTINATION, "false"),
        ("alice", None, "true"),
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_query_is_bounded_and_says_so(text):
    peer, us = Peer(text, text), Reporter(text, text, (text, text), text, text)
    made = audit.query_received(us, peer, text, text, b"\xff" * 70_000, called=text, user=text, description=text)
    root = parsed(made)
    told = base64.b64decode(root.findtext(".//ParticipantObjectQuery"))
    assert told == b"\xff" * LONGEST_QUERY
    assert "texts that were cut short" in root.findtext(".//EventOutcomeDescription")


# -- A.5.3.3 and A.5.3.7


def test_what_is_about_to_be_sent_elsewhere_names_all_three():
    (message,) = audit.transfer_begun(US, Route(VIEWER, READER, "ARCHIVE"), SMITH, [STUDY])
    root = parsed(message)
    assert event(root) == ("110102", "Begin Transferring DICOM Instances", "E", "0")
    assert participants(root) == [
        ("4711", SOURCE, "false"),
        ("READER", DESTINATION, "false"),
        ("VIEWER", None, "true"),
    ]
    study, patient = root.findall("ParticipantObjectIdentification")
    assert {one.get("UID"): one.get("NumberOfInstances") for one in study.iter("SOPClass")} == {CT: "120", SR: "1"}
    assert study.find(".//Accession").get("Number") == "A-17"
    assert patient.get("ParticipantObjectID") == "4711-X"


def test_what_was_sent_is_read_and_who_gets_it_may_be_who_asked():
    """A.5.3.7: Read, where nobody here knows what the receiver held before."""
    (message,) = audit.instances_sent(US, Route(VIEWER, VIEWER, "ARCHIVE"), SMITH, [STUDY])
    root = parsed(message)
    assert event(root) == ("110104", "DICOM Instances Transferred", "R", "0")
    assert participants(root) == [("4711", SOURCE, "false"), ("VIEWER", DESTINATION, "true")]


def test_who_was_verified_is_the_requestor_of_what_is_sent():
    route = Route(VIEWER, READER, "ARCHIVE", "alice")
    (message,) = audit.instances_sent(US, route, SMITH, [STUDY], outcome=Outcome.MINOR, description="not stored")
    root = parsed(message)
    assert event(root)[3] == "4"
    assert root.findtext(".//EventOutcomeDescription") == "not stored"
    assert [one[::2] for one in participants(root)] == [
        *(("4711", "false"), ("READER", "false")),
        *(("VIEWER", "false"), ("alice", "true")),
    ]


def test_a_destination_whose_address_nobody_knows_has_none():
    (message,) = audit.transfer_begun(US, Route(VIEWER, Peer("", "READER")), SMITH, [STUDY])
    there = parsed(message).findall("ActiveParticipant")[1]
    assert (there.get("UserID"), there.get("NetworkAccessPointID")) == ("READER", None)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("make", [audit.transfer_begun, audit.instances_sent])
def test_whatever_is_sent_of_whomever_it_is_valid_and_bounded(make, text):
    peer = Peer(text, text)
    studies = [Study(text, {f"1.2.{number}.{text}": number for number in range(40)}, text) for _ in range(20)]
    messages = make(US, Route(peer, Peer(text), text, text), Patient(text, text), studies)
    assert sum(len(list(parsed(message).iter("SOPClass"))) for message in messages) == 800
