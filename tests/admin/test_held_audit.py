"""DICOM Instances Accessed, as a look at a study is written down: valid by PS3.15 A.5.1, and what A.5.3.6 wants."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from scpd.admin.held import walk
from scpd.telemetry import audit
from scpd.telemetry.audit import MOST_OCTETS, Patient, Reporter, Study

from .shelf import CT, Shelf, one_of

SCHEMA = etree.RelaxNG(etree.parse(Path(__file__).parents[1] / "telemetry" / "audit-message.rng"))
US = Reporter("pacs.example ARCHIVE", "pacs.example", ("ARCHIVE",), process_id=4711)


def parsed(message: audit.Message) -> etree._Element:
    root = etree.fromstring(message.xml.encode())
    SCHEMA.assertValid(root)
    return root


def test_it_says_who_looked_from_where_at_what():
    study = Study("1.2.3", {CT: 120}, "A-17")
    root = parsed(audit.instances_accessed(US, "10.0.0.7", "holder of admin.token", Patient("P-1", "DOE^JANE"), study))
    event = root.find("EventIdentification")
    assert (event.get("EventActionCode"), event.get("EventOutcomeIndicator")) == ("R", "0")
    assert event.find("EventID").get("csd-code") == "110103"
    person, us = root.findall("ActiveParticipant")
    assert (person.get("UserID"), person.get("UserIsRequestor")) == ("holder of admin.token", "true")
    assert (person.get("NetworkAccessPointID"), person.get("NetworkAccessPointTypeCode")) == ("10.0.0.7", "2")
    assert (us.get("UserID"), us.get("UserIsRequestor")) == ("4711", "false")
    its, patient = root.findall("ParticipantObjectIdentification")
    assert its.get("ParticipantObjectID") == "1.2.3"
    assert {one.get("UID"): one.get("NumberOfInstances") for one in its.iter("SOPClass")} == {CT: "120"}
    assert patient.get("ParticipantObjectID") == "P-1"


@pytest.mark.parametrize("text", ["&" * 65536, "\0" * 65536, "山田^太郎" * 100, '"' * 5000])
def test_whatever_a_peer_has_put_there_it_is_valid_and_bounded(text):
    rows = [one_of(text, instance=f"1.{n}", SOPClassUID=f"{n}{text}") for n in range(50)]
    rows = [{**row, "PatientName": text, "PatientID": text, "AccessionNumber": text} for row in rows]
    shelf = Shelf(*rows)
    shelf.rows = [{**row, 0x0020000D: "1.2"} for row in shelf.rows]
    told = walk.one(shelf, ("1.2",), frozenset(shelf.rows[0]))
    message = audit.instances_accessed(US, "10.0.0.7", "somebody", *walk.seen(shelf, told))
    parsed(message)
    assert len(message.xml.encode()) < MOST_OCTETS
