"""What retention deletes gets into the audit trail, with the patient, and with what stayed."""

from __future__ import annotations

from collections import Counter

import pytest
from lxml import etree

from scpd.retention.candidates import About
from scpd.retention.deletion import Deleted
from scpd.retention.rules import Study, rule
from scpd.server.ledger import Ledger
from scpd.telemetry.audit import Reporter
from scpd.telemetry.logs import logger
from scpd.telemetry.syslog import FileDestination
from scpd.telemetry.trail import Trail

CT = "1.2.840.10008.5.1.4.1.1.2"
STUDY = Study(1, "1.2.3", 1.0, 5, 1000, frozenset(("CT1",)))
RULE = rule("older_than: 90d", "scpd.yaml:7", older_than=1.0)


@pytest.fixture
def told(tmp_path):
    """What stands in the trail after a deletion."""

    def write(deleted: Deleted) -> etree._Element:
        trail = Trail([FileDestination(tmp_path / "audit.log")], log=logger("audit"))
        Ledger(Reporter("pacs", "pacs.example"), trail).deleted(
            STUDY, About("4711", "Müller^Jürgen", "A17"), RULE, deleted
        )
        trail.close(10)
        (line,) = (tmp_path / "audit.log").read_text("utf-8").splitlines()
        return etree.fromstring(line[line.index("<?xml") :].encode())

    return write


def test_a_study_that_went_as_a_whole(told):
    message = told(Deleted(5, 1000, Counter({CT: 5}), 0, ""))
    event = message.find("EventIdentification")
    assert event.find("EventID").get("csd-code") == "110105"
    assert event.get("EventOutcomeIndicator") == "0"
    assert event.findtext("EventOutcomeDescription") == "retention, older_than: 90d"
    study, patient = message.findall("ParticipantObjectIdentification")
    assert (study.get("ParticipantObjectID"), study.find(".//SOPClass").get("NumberOfInstances")) == ("1.2.3", "5")
    assert (patient.get("ParticipantObjectID"), patient.findtext("ParticipantObjectName")) == ("4711", "Müller^Jürgen")


def test_one_of_which_some_stayed(told):
    event = told(Deleted(3, 600, Counter({CT: 3}), 2, "Operation not permitted")).find("EventIdentification")
    assert event.get("EventOutcomeIndicator") == "4"
    said = "retention, older_than: 90d; 2 instances stay; Operation not permitted"
    assert event.findtext("EventOutcomeDescription") == said
