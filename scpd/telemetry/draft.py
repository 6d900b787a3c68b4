"""How an audit message is written: the values that it is made of, and XML that is valid by the schema of PS3.15 A.5.1.

Text of others is bounded, and what XML 1.0 cannot hold, or what would break a line, becomes U+FFFD: left out without a
trace, it would let one name pass for another. How often that happened stands in EventOutcomeDescription.

Knows the elements and their order, and no event that they tell of.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Literal, NamedTuple

# What is read is never XML: here it is only written.
from xml.etree.ElementTree import Element, SubElement, tostring

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_LONGEST_NAME = 256  # characters
_LONGEST_UID = 64
LONGEST_DESCRIPTION = 1_000
LONGEST_QUERY = 8_192  # bytes
_LONGEST_TITLES = 500
_MARK = "\N{REPLACEMENT CHARACTER}"
_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
_APPLICATION_SERVER = "4"  # PS3.15 A.5.1.2.1
# Control characters, surrogates without their other half, U+FFFE and U+FFFF (XML 1.0, 2.2); separators of lines.
_NOT_KEPT = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff\\ufffe\\uffff]")


class Outcome(IntEnum):
    """EventOutcomeIndicator (PS3.15 A.5.2)."""

    SUCCESS = 0
    MINOR = 4  # refused, and may be tried again
    SERIOUS = 8  # refused, and trying is over
    MAJOR = 12  # something does not work any more


class Code(NamedTuple):
    """A coded value; ``meaning`` becomes ``originalText``."""

    value: str
    meaning: str
    system: str = "DCM"


DESTINATION = Code("110152", "Destination Role ID")
SOURCE = Code("110153", "Source Role ID")
_STUDY_INSTANCE_UID = Code("110180", "Study Instance UID")
_SOP_CLASS_UID = Code("110181", "SOP Class UID")
_PATIENT_NUMBER = Code("2", "Patient Number", "RFC-3881")


@dataclass(frozen=True, slots=True)
class Message:
    """One audit message: when it happened, whether it succeeded, who reports it, and the whole as XML on one line."""

    when: datetime
    outcome: Outcome
    host: str
    process_id: int
    xml: str


@dataclass(frozen=True, slots=True)
class Reporter:
    """Us. ``host`` is a name or an address, the same in every message (A.5.2.4); ``site`` the AuditEnterpriseSiteID."""

    source_id: str
    host: str
    ae_titles: tuple[str, ...] = ()
    application: str = "scpd"
    site: str = ""
    process_id: int = field(default_factory=os.getpid)


@dataclass(frozen=True, slots=True)
class Peer:
    """Whoever is at the other end: its address without a port, and how it calls itself, empty where it has not yet."""

    address: str
    ae_title: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """Patient ID (0010,0020) and Patient's Name (0010,0010), decoded."""

    id: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Study:
    """What was transferred of a study: the number of instances by SOP Class UID."""

    uid: str
    sop_classes: Mapping[str, int]
    accession: str = ""


class Event(NamedTuple):
    """What happened, whatever else there is to say of it."""

    code: Code
    type: Code | None
    action: Literal["C", "R", "U", "D", "E"]
    outcome: Outcome
    description: str
    when: datetime


class Draft:
    """A message that is being written. Counts what could not be kept of the text of others."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._participants: list[Element] = []
        self._objects: list[Element] = []
        self._replaced = 0
        self._cut = 0

    def take_part(
        self,
        user_id: str,
        *,
        titles: Sequence[str] = (),
        name: str = "",
        point: str = "",
        role: Code | None = None,
        is_requestor: bool = False,
    ) -> None:
        """An ActiveParticipant; ``point`` is the network address or name."""
        attributes = {"UserID": self._text(user_id)}
        if titles:
            # What is between two titles must not come from one of them.
            joined = ";".join(self._text(title.replace(";", _MARK), _LONGEST_UID) for title in titles)
            attributes["AlternativeUserID"] = self._text(f"AETITLES={joined}", _LONGEST_TITLES)
        if name:
            attributes["UserName"] = self._text(name)
        attributes["UserIsRequestor"] = "true" if is_requestor else "false"
        if point:
            attributes["NetworkAccessPointID"] = self._text(point)
            attributes["NetworkAccessPointTypeCode"] = _point_type(point)
        participant = Element("ActiveParticipant", attributes)
        if role:
            self._add_code(participant, "RoleIDCode", role)
        self._participants.append(participant)

    def take_part_ourselves(self, called: str, role: Code | None = None) -> None:
        """Us, by the process, with the AE title that was ``called`` or else all that we have."""
        us = self._reporter
        titles = (called,) if called else us.ae_titles
        self.take_part(str(us.process_id), titles=titles, name=us.application, point=us.host, role=role)

    def take_part_as(self, peer: Peer, role: Code | None = None, *, is_requestor: bool = False) -> None:
        """The other end, by its AE title where it has told that, else by its address."""
        titles = (peer.ae_title,) if peer.ae_title else ()
        user_id = peer.ae_title or peer.address
        self.take_part(user_id, titles=titles, point=peer.address, role=role, is_requestor=is_requestor)

    def involve(self, kind: str, role: str, id_type: Code, identifier: str, *, name: str) -> Element:
        """A ParticipantObject; ``kind`` and ``role`` are its TypeCode and TypeCodeRole (A.5.1.2.2)."""
        involved = self._involve(kind, role, id_type, self._text(identifier))
        SubElement(involved, "ParticipantObjectName").text = self._text(name)
        return involved

    def involve_patient(self, patient: Patient) -> None:
        """A patient (table A.5.1.2.2)."""
        self.involve("1", "1", _PATIENT_NUMBER, patient.id, name=patient.name)

    def involve_query(self, sop_class: str, transfer_syntax: str, identifier: bytes) -> None:
        """A query, which stands in place of a name (A.5.3.10)."""
        involved = self._involve("2", "3", _SOP_CLASS_UID, self._text(sop_class, _LONGEST_UID))
        self._cut += len(identifier) > LONGEST_QUERY
        SubElement(involved, "ParticipantObjectQuery").text = base64.b64encode(identifier[:LONGEST_QUERY]).decode()
        self.add_detail(involved, "TransferSyntax", transfer_syntax[:_LONGEST_UID])

    @staticmethod
    def add_detail(involved: Element, kind: str, value: str) -> None:
        """A ParticipantObjectDetail, whose value no reader takes for XML."""
        encoded = base64.b64encode(value.encode(errors="backslashreplace")).decode()
        SubElement(involved, "ParticipantObjectDetail", {"type": kind, "value": encoded})

    def involve_study(self, study: Study) -> Element:
        """A study, whose name, which the schema wants, is its UID."""
        uid = self._text(study.uid, _LONGEST_UID)
        involved = self.involve("2", "3", _STUDY_INSTANCE_UID, uid, name=uid)
        description = SubElement(involved, "ParticipantObjectDescription")
        if study.accession:
            SubElement(description, "Accession", {"Number": self._text(study.accession, _LONGEST_UID)})
        for sop_class, count in study.sop_classes.items():
            attributes = {"UID": self._text(sop_class, _LONGEST_UID), "NumberOfInstances": str(count)}
            SubElement(description, "SOPClass", attributes)
        return involved

    def _involve(self, kind: str, role: str, id_type: Code, identifier: str) -> Element:
        attributes = {
            "ParticipantObjectID": identifier,
            "ParticipantObjectTypeCode": kind,
            "ParticipantObjectTypeCodeRole": role,
        }
        involved = Element("ParticipantObjectIdentification", attributes)
        self._add_code(involved, "ParticipantObjectIDTypeCode", id_type)
        self._objects.append(involved)
        return involved

    def finish(self, event: Event) -> Message:
        """The message, with its parts in the order of the schema."""
        message = Element("AuditMessage")
        message.append(self._event(event))
        message.extend(self._participants)
        message.append(self._source())
        message.extend(self._objects)
        us = self._reporter
        xml = _DECLARATION + tostring(message, "unicode")
        return Message(event.when, event.outcome, us.host, us.process_id, xml)

    def _event(self, event: Event) -> Element:
        attributes = {
            "EventActionCode": event.action,
            "EventDateTime": event.when.isoformat(timespec="milliseconds"),
            "EventOutcomeIndicator": str(event.outcome.value),
        }
        identification = Element("EventIdentification", attributes)
        self._add_code(identification, "EventID", event.code)
        if event.type:
            self._add_code(identification, "EventTypeCode", event.type)
        words = [self._text(event.description, LONGEST_DESCRIPTION), *self._notes()]
        if any(words):
            SubElement(identification, "EventOutcomeDescription").text = "; ".join(filter(None, words))
        return identification

    def _notes(self) -> Iterator[str]:
        if self._replaced:
            yield f"characters that XML cannot hold, replaced by U+FFFD: {self._replaced}"
        if self._cut:
            yield f"texts that were cut short: {self._cut}"

    def _source(self) -> Element:
        us = self._reporter
        attributes = {"AuditEnterpriseSiteID": self._text(us.site)} if us.site else {}
        source = Element("AuditSourceIdentification", {**attributes, "AuditSourceID": self._text(us.source_id)})
        SubElement(source, "AuditSourceTypeCode", {"csd-code": _APPLICATION_SERVER})
        return source

    def _text(self, text: str, longest: int = _LONGEST_NAME) -> str:
        if len(text) > longest:
            text = text[:longest] + "…"
            self._cut += 1
        kept, replaced = _NOT_KEPT.subn(_MARK, text)
        self._replaced += replaced
        return kept

    @staticmethod
    def _add_code(parent: Element, name: str, code: Code) -> None:
        attributes = {"csd-code": code.value, "codeSystemName": code.system, "originalText": code.meaning}
        SubElement(parent, name, attributes)


def local(when: datetime | None) -> datetime:
    """``when``, or now, with the offset of the local time zone, as A.5.2.5 wants."""
    return (when or datetime.now().astimezone()).astimezone()


def _point_type(point: str) -> str:
    """NetworkAccessPointTypeCode: an IP address, or the name of a machine."""
    try:
        ipaddress.ip_address(point)
    except ValueError:
        return "1"
    return "2"
