"""Every audit message is valid by PS3.15 A.5.1, says what it must, and nothing that a peer sends makes it say more."""

from __future__ import annotations

import base64
import datetime as dt
import os
from functools import partial
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree

from scpd.telemetry import audit
from scpd.telemetry.audit import Alert, Outcome, Patient, Peer, Reporter, Study

SCHEMA = etree.RelaxNG(etree.parse(Path(__file__).with_name("audit-message.rng")))
US = Reporter("pacs.example ARCHIVE", "pacs.example", ("ARCHIVE", "ARCHIVE_TLS"), site="St. Vincent", process_id=4711)
CT = Peer("10.1.2.3", "CT1")
SMITH = Patient("4711-X", "Smith^John")
CT_IMAGE, SR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.11"
STUDY = Study("1.2.3.4", {CT_IMAGE: 120, SR: 1}, "A-2026-17")
NEW_YEAR = dt.datetime(2026, 12, 31, 23, 59, 59, 250_000, dt.timezone(dt.timedelta(hours=-5)))

HOSTILE = (
    *("\0", "a\nb", "\r\n", "\t", "\x1b[31m", "\x7f", "\x85", "\u2028", "\ud800", "\udfff", "\ufffe", "\uffff"),
    *('"', "'", "<", ">", "&", "]]>", "<!--", '"/><ActiveParticipant UserID="root"/>', "&#0;", "&amp;", "<![CDATA["),
    *("山田^太郎", "Å" * 300, "é\u0301", "\U0001f600", "\ufeff", "\u202e", "x" * 65536, "&" * 65536, "\0" * 65536),
    *("", " ", "  a  ", "A;B", "claimed:root", "AETITLES=X;Y"),
)
texts = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(), max_size=300))
outcomes = st.sampled_from(Outcome)
times = st.datetimes(dt.datetime(1970, 1, 2), dt.datetime(2200, 1, 1), timezones=st.just(dt.UTC))


def parsed(message: audit.Message) -> etree._Element:
    """The message as its reader sees it, valid and on one line."""
    assert "\n" not in message.xml
    assert "\r" not in message.xml
    root = etree.fromstring(message.xml.encode())
    SCHEMA.assertValid(root)
    return root


def fact(message: audit.Message, path: str):
    """What the one node at ``path`` says."""
    found = parsed(message).xpath(path)
    assert len(found) == 1, f"{len(found)} at {path} in {message.xml}"
    return found[0].text if isinstance(found[0], etree._Element) else str(found[0])


def coded(value: str, meaning: str, system: str = "DCM") -> str:
    return f'@csd-code="{value}" and @codeSystemName="{system}" and @originalText="{meaning}"'


def has(message: audit.Message, path: str) -> bool:
    return len(parsed(message).xpath(path)) == 1


# -- the schema that these tests rely on


VALID = audit.instances_transferred(US, CT, SMITH, [STUDY])[0].xml.split("?>", 1)[1]


@pytest.mark.parametrize(
    ("what", "instead"),
    [
        (' originalText="Study Instance UID"', ""),
        (' EventOutcomeIndicator="0"', ' EventOutcomeIndicator="1"'),
        (' EventActionCode="C"', ' EventActionCode="X"'),
        (' UserIsRequestor="true"', ' UserIsRequestor="TRUE"'),
        (' UserID="CT1"', ""),
        ("<ParticipantObjectName>Smith^John</ParticipantObjectName>", ""),
        (' NumberOfInstances="120"', ' NumberOfInstances="many"'),
        ("<ActiveParticipant ", '<ActiveParticipant UserIDTypeCode="1" '),
        (' csd-code="4"', ' csd-code="SERVER"'),
        ("</EventIdentification>", "<EventTypeCode/></EventIdentification>"),
        ('EventDateTime="2', 'EventDateTime="on 2'),
        ("<Accession ", '<SOPClass NumberOfInstances="1"/><Accession '),
    ],
)
def test_the_schema_refuses_what_the_standard_does_not_allow(what, instead):
    assert SCHEMA.validate(etree.fromstring(VALID))
    assert what in VALID
    assert not SCHEMA.validate(etree.fromstring(VALID.replace(what, instead)))


# -- golden facts


def test_application_start_and_stop():
    """PS3.15 table A.5.3.1-1."""
    for make, type_code in (
        (audit.application_started, coded("110120", "Application Start")),
        (audit.application_stopped, coded("110121", "Application Stop")),
    ):
        message = make(US)
        assert has(message, f"EventIdentification/EventID[{coded('110100', 'Application Activity')}]")
        assert has(message, f"EventIdentification/EventTypeCode[{type_code}]")
        assert fact(message, "EventIdentification/@EventActionCode") == "E"
        assert fact(message, "EventIdentification/@EventOutcomeIndicator") == "0"
        assert fact(message, "ActiveParticipant/@UserID") == "4711"
        assert fact(message, "ActiveParticipant/@UserName") == "scpd"
        assert fact(message, "ActiveParticipant/@AlternativeUserID") == "AETITLES=ARCHIVE;ARCHIVE_TLS"
        assert fact(message, "ActiveParticipant/@NetworkAccessPointID") == "pacs.example"
        assert fact(message, "ActiveParticipant/@NetworkAccessPointTypeCode") == "1"
        assert has(message, f"ActiveParticipant/RoleIDCode[{coded('110150', 'Application')}]")
        assert not has(message, "ParticipantObjectIdentification")


def test_the_source_of_every_message_is_us():
    """PS3.15 table A.5.2-1; an application server process by A.5.1.2.1."""
    message = audit.application_started(US)
    assert fact(message, "AuditSourceIdentification/@AuditSourceID") == "pacs.example ARCHIVE"
    assert fact(message, "AuditSourceIdentification/@AuditEnterpriseSiteID") == "St. Vincent"
    assert fact(message, "AuditSourceIdentification/AuditSourceTypeCode/@csd-code") == "4"
    assert not has(audit.application_started(Reporter("x", "10.0.0.1")), "//@AuditEnterpriseSiteID")


def test_a_reporter_is_this_process_unless_something_else_is_said():
    message = audit.application_started(Reporter("x", "::1"))
    assert fact(message, "ActiveParticipant/@UserID") == str(os.getpid())
    assert fact(message, "ActiveParticipant/@NetworkAccessPointTypeCode") == "2"
    assert not has(message, "ActiveParticipant/@AlternativeUserID")


def test_login_of_a_verified_user():
    """PS3.15 table A.5.3.12-1."""
    message = audit.login_succeeded(US, CT, "alice@EXAMPLE", called="ARCHIVE", how="Kerberos ticket")
    assert has(message, f"EventIdentification/EventID[{coded('110114', 'User Authentication')}]")
    assert has(message, f"EventIdentification/EventTypeCode[{coded('110122', 'Login')}]")
    assert fact(message, "EventIdentification/@EventActionCode") == "E"
    assert fact(message, "EventIdentification/@EventOutcomeIndicator") == "0"
    assert fact(message, "EventIdentification/EventOutcomeDescription") == "Kerberos ticket; calling AE title 'CT1'"
    user, node = parsed(message).xpath("ActiveParticipant")
    assert dict(user.attrib) == {
        "UserID": "alice@EXAMPLE",
        "UserIsRequestor": "true",
        "NetworkAccessPointID": "10.1.2.3",
        "NetworkAccessPointTypeCode": "2",
    }
    assert node.get("AlternativeUserID") == "AETITLES=ARCHIVE"
    assert node.get("UserIsRequestor") == "false"


@pytest.mark.parametrize("outcome", [Outcome.MINOR, Outcome.SERIOUS])
def test_login_that_failed_shows_the_name_as_claimed_only(outcome):
    message = audit.login_failed(US, CT, "root", "the passcode is wrong", outcome=outcome)
    assert message.outcome is outcome
    assert fact(message, "EventIdentification/@EventOutcomeIndicator") == str(outcome.value)
    words = fact(message, "EventIdentification/EventOutcomeDescription")
    assert words == "the passcode is wrong; the claimed user is not verified; calling AE title 'CT1'"
    assert fact(message, "ActiveParticipant[@UserIsRequestor='true']/@UserID") == "claimed:root"
    assert "root" not in parsed(message).xpath("//@UserID")
    assert fact(message, "ActiveParticipant[1]/@NetworkAccessPointID") == "10.1.2.3"


def test_login_without_a_name_and_without_an_address_has_both_attributes():
    """They are mandatory, and an empty one would be none."""
    message = audit.login_failed(US, Peer(""), "", "the token has expired")
    assert fact(message, "ActiveParticipant[1]/@UserID") == "claimed:(none)"
    assert fact(message, "ActiveParticipant[1]/@NetworkAccessPointID") == "unknown"


def test_alert_for_a_rejected_association():
    """PS3.15 table A.5.3.11-1."""
    message = audit.security_alert(US, CT, "no rule allows it", called="ARCHIVE", outcome=Outcome.SERIOUS)
    assert has(message, f"EventIdentification/EventID[{coded('110113', 'Security Alert')}]")
    assert has(message, f"EventIdentification/EventTypeCode[{coded('110126', 'Node Authentication')}]")
    assert fact(message, "EventIdentification/@EventActionCode") == "E"
    assert fact(message, "EventIdentification/@EventOutcomeIndicator") == "8"
    assert fact(message, "EventIdentification/EventOutcomeDescription") == "no rule allows it"
    assert parsed(message).xpath("ActiveParticipant/@UserID") == ["4711", "CT1"]
    assert parsed(message).xpath("ActiveParticipant/@UserIsRequestor") == ["false", "false"]
    assert fact(message, "ActiveParticipant[2]/@AlternativeUserID") == "AETITLES=CT1"
    subject = "ParticipantObjectIdentification"
    assert fact(message, f"{subject}/@ParticipantObjectID") == "10.1.2.3"
    assert fact(message, f"{subject}/@ParticipantObjectTypeCode") == "2"
    assert fact(message, f"{subject}/@ParticipantObjectTypeCodeRole") == "13"
    assert has(message, f"{subject}/ParticipantObjectIDTypeCode[{coded('110182', 'Node ID')}]")
    value = fact(message, f"{subject}/ParticipantObjectDetail[@type='Alert Description']/@value")
    assert base64.b64decode(value) == b"no rule allows it"


def test_alert_for_a_handshake_that_failed_knows_an_address_only():
    message = audit.security_alert(US, Peer("fe80::1%eth0"), "the peer sent no certificate, and one is required")
    assert fact(message, "ActiveParticipant[2]/@UserID") == "fe80::1%eth0"
    assert not has(message, "ActiveParticipant[2]/@AlternativeUserID")
    assert fact(message, "//ParticipantObjectName") == "fe80::1%eth0"


def test_alert_for_one_who_went_too_far():
    message = audit.security_alert(US, CT, "too many", kind=Alert.RESTRICTED_FUNCTION)
    assert has(message, f"EventIdentification/EventTypeCode[{coded('110132', 'Use of Restricted Function')}]")
    assert fact(message, "EventIdentification/@EventOutcomeIndicator") == "4"


def test_instances_transferred():
    """PS3.15 table A.5.3.7-1."""
    (message,) = audit.instances_transferred(US, CT, SMITH, [STUDY, Study("1.2.9", {SR: 2})], called="ARCHIVE")
    assert has(message, f"EventIdentification/EventID[{coded('110104', 'DICOM Instances Transferred')}]")
    assert not has(message, "EventIdentification/EventTypeCode")
    assert not has(message, "EventIdentification/EventOutcomeDescription")
    assert fact(message, "EventIdentification/@EventActionCode") == "C"
    source = f"ActiveParticipant[RoleIDCode[{coded('110153', 'Source Role ID')}]]"
    assert fact(message, f"{source}/@UserID") == "CT1"
    assert fact(message, f"{source}/@AlternativeUserID") == "AETITLES=CT1"
    assert fact(message, f"{source}/@NetworkAccessPointID") == "10.1.2.3"
    assert fact(message, f"{source}/@UserIsRequestor") == "true"
    destination = f"ActiveParticipant[RoleIDCode[{coded('110152', 'Destination Role ID')}]]"
    assert fact(message, f"{destination}/@UserID") == "4711"
    assert fact(message, f"{destination}/@AlternativeUserID") == "AETITLES=ARCHIVE"
    assert len(parsed(message).xpath("ActiveParticipant")) == 2

    study = f"ParticipantObjectIdentification[ParticipantObjectIDTypeCode[{coded('110180', 'Study Instance UID')}]]"
    assert parsed(message).xpath(f"{study}/@ParticipantObjectID") == ["1.2.3.4", "1.2.9"]
    assert set(parsed(message).xpath(f"{study}/@ParticipantObjectTypeCode")) == {"2"}
    assert set(parsed(message).xpath(f"{study}/@ParticipantObjectTypeCodeRole")) == {"3"}
    first = f"{study}[@ParticipantObjectID='1.2.3.4']/ParticipantObjectDescription"
    assert fact(message, f"{first}/SOPClass[@UID='{CT_IMAGE}']/@NumberOfInstances") == "120"
    assert fact(message, f"{first}/SOPClass[@UID='{SR}']/@NumberOfInstances") == "1"
    assert parsed(message).xpath("//Accession/@Number") == ["A-2026-17"]

    number = coded("2", "Patient Number", "RFC-3881")
    patient = f"ParticipantObjectIdentification[ParticipantObjectIDTypeCode[{number}]]"
    assert fact(message, f"{patient}/@ParticipantObjectID") == "4711-X"
    assert fact(message, f"{patient}/@ParticipantObjectTypeCode") == "1"
    assert fact(message, f"{patient}/@ParticipantObjectTypeCodeRole") == "1"
    assert fact(message, f"{patient}/ParticipantObjectName") == "Smith^John"


def test_a_verified_user_is_the_one_requestor():
    """A.5.2: never more than one."""
    (message,) = audit.instances_transferred(US, CT, SMITH, [STUDY], user="alice")
    assert fact(message, "ActiveParticipant[@UserIsRequestor='true']/@UserID") == "alice"
    assert len(parsed(message).xpath("ActiveParticipant")) == 3


def test_a_transfer_that_failed_says_so():
    (message,) = audit.instances_transferred(
        US, CT, SMITH, [STUDY], action="U", outcome=Outcome.SERIOUS, description="the disk is full"
    )
    assert message.outcome is Outcome.SERIOUS
    assert fact(message, "EventIdentification/@EventActionCode") == "U"
    assert fact(message, "EventIdentification/@EventOutcomeIndicator") == "8"
    assert fact(message, "EventIdentification/EventOutcomeDescription") == "the disk is full"


def test_the_time_has_an_offset_and_is_when_it_happened():
    """A.5.2.5."""
    message = audit.application_started(US, when=NEW_YEAR)
    told = dt.datetime.fromisoformat(fact(message, "EventIdentification/@EventDateTime"))
    assert told == NEW_YEAR == message.when
    assert told.utcoffset() is not None
    assert told.utcoffset() == NEW_YEAR.astimezone().utcoffset()


def test_the_time_is_now_unless_something_else_is_said():
    before = dt.datetime.now(dt.UTC)
    assert before <= audit.application_started(US).when <= dt.datetime.now(dt.UTC)


# -- hostile text


def everything(text: str, outcome: Outcome, when: dt.datetime) -> list[audit.Message]:
    us = Reporter(text, text, (text, text), text, text, 1)
    peer, patient = Peer(text, text), Patient(text, text)
    study = Study(text, {text: 1, text + "2": 1 << 70}, text)
    reported = [partial(reporter, when=when) for reporter in (audit.application_started, audit.application_stopped)]
    return [
        *(report(us) for report in reported),
        audit.login_succeeded(us, peer, text, called=text, how=text, when=when),
        audit.login_failed(us, peer, text, text, called=text, outcome=outcome, when=when),
        audit.security_alert(us, peer, text, called=text, outcome=outcome, when=when),
        *audit.instances_transferred(
            us, peer, patient, [study] * 3, user=text, outcome=outcome, description=text, when=when
        ),
    ]


@given(texts, outcomes, times)
@example("\0", Outcome.SUCCESS, NEW_YEAR)
@example("&" * 65536, Outcome.MAJOR, NEW_YEAR)
def test_whatever_a_peer_sends_a_message_is_valid_and_bounded(text, outcome, when):
    for message in everything(text, outcome, when):
        root = parsed(message)
        assert len(message.xml.encode()) < audit.MOST_OCTETS - 600
        assert 1 <= len(root.xpath("ActiveParticipant")) <= 3
        assert len(root.xpath("//*[@UserIsRequestor='true']")) <= 1


@given(texts)
def test_text_of_a_peer_comes_back_as_it_was_where_xml_can_hold_it(text):
    (message,) = audit.instances_transferred(US, CT, Patient("1", text), [STUDY])
    shown = fact(message, "ParticipantObjectIdentification[2]/ParticipantObjectName") or ""
    assert len(shown) <= 257
    for ours, theirs in zip(shown, text[:256], strict=False):
        assert ours in (theirs, "\N{REPLACEMENT CHARACTER}")
    if text.isprintable() and len(text) <= 256:
        assert shown == text


@pytest.mark.parametrize("text", ["ro\0ot", "ro\not", "ro\ud800ot", "ro\uffffot", "ro\x1bot", "ro\u2028ot"])
def test_what_xml_cannot_hold_leaves_a_mark_and_is_counted(text):
    """Left out without a trace it would make a user of another."""
    message = audit.login_succeeded(US, CT, text)
    assert fact(message, "ActiveParticipant[1]/@UserID") == "ro\N{REPLACEMENT CHARACTER}ot"
    assert fact(message, "//EventOutcomeDescription").endswith("replaced by U+FFFD: 1")


def test_what_is_cut_short_is_seen_to_be_and_counted():
    message = audit.login_succeeded(US, CT, "x" * 1000)
    assert fact(message, "ActiveParticipant[1]/@UserID") == "x" * 256 + "…"
    assert fact(message, "//EventOutcomeDescription").endswith("cut short: 1")


def test_an_ae_title_cannot_make_two_of_itself():
    """AETITLES=A;B stands for two (A.5.2.2), and a peer may put a semicolon into one."""
    message = audit.security_alert(US, Peer("10.0.0.1", "X;ADMIN"), "why")
    assert fact(message, "ActiveParticipant[2]/@AlternativeUserID") == "AETITLES=X\N{REPLACEMENT CHARACTER}ADMIN"
    assert fact(message, "ActiveParticipant[2]/@UserID") == "X;ADMIN"


def test_the_alert_keeps_hostile_text_in_base64():
    """A.5.1.1: value pairs are encoded so that nothing is changed on the way."""
    message = audit.security_alert(US, CT, "a\0b\n]]>")
    assert base64.b64decode(fact(message, "//ParticipantObjectDetail/@value")) == b"a\0b\n]]>"


# -- many studies


def transferred(messages) -> dict[tuple[str, str], int]:
    """Instances by study and SOP class, over all messages."""
    found: dict[tuple[str, str], int] = {}
    for message in messages:
        for sop_class in parsed(message).xpath("//SOPClass"):
            study = sop_class.getparent().getparent().get("ParticipantObjectID")
            key = study, sop_class.get("UID")
            found[key] = found.get(key, 0) + int(sop_class.get("NumberOfInstances"))
    return found


@pytest.mark.parametrize("count", [1, 40, 2_000])
def test_more_studies_than_fit_become_several_messages_of_the_same_patient(count):
    """PS3.15 A.6: no collector needs to take more than 32,768 octets."""
    studies = [Study(f"1.2.{number}", {CT_IMAGE: number, SR: 1}, f"A{number}") for number in range(count)]
    messages = audit.instances_transferred(US, CT, SMITH, studies, description="why", when=NEW_YEAR)
    assert transferred(messages) == {
        **{(f"1.2.{number}", CT_IMAGE): number for number in range(count)},
        **{(f"1.2.{number}", SR): 1 for number in range(count)},
    }
    assert all(len(message.xml.encode()) < audit.MOST_OCTETS - 600 for message in messages)
    assert {fact(message, "ParticipantObjectIdentification[last()]/@ParticipantObjectID") for message in messages} == {
        "4711-X"
    }
    told = [fact(message, "//EventOutcomeDescription") for message in messages]
    total = len(messages)
    assert told == (["why"] if total == 1 else [f"part {number} of {total}; why" for number in range(1, total + 1)])
    assert total == 1 if count == 1 else total <= count * 700 // 30_000 + 1


def test_a_study_of_many_sop_classes_stays_whole():
    classes = {f"1.2.840.10008.{number}": number for number in range(1_000)}
    messages = audit.instances_transferred(US, CT, SMITH, [Study("1.2", classes)])
    assert transferred(messages) == {("1.2", uid): count for uid, count in classes.items()}


def test_a_patient_without_studies_is_one_message():
    (message,) = audit.instances_transferred(US, CT, SMITH, [])
    assert fact(message, "ParticipantObjectIdentification/@ParticipantObjectID") == "4711-X"
