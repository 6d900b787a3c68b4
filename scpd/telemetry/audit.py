"""What the audit trail says: the messages of PS3.15 A.5.3.

Each function takes plain values and gives a message that never changes, or several.

Knows no association, and nobody who takes a message anywhere. *When* to say something is decided elsewhere; whoever
reports refusals has to bound their rate.
"""

from __future__ import annotations

import base64
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Literal
from xml.etree.ElementTree import SubElement, tostring

from scpd.names import quote
from scpd.telemetry.draft import (
    LONGEST_DESCRIPTION,
    Code,
    Draft,
    Event,
    Message,
    Outcome,
    Patient,
    Peer,
    Reporter,
    Study,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = [
    "MOST_OCTETS",
    "Alert",
    "Code",
    "Message",
    "Outcome",
    "Patient",
    "Peer",
    "Reporter",
    "Study",
    "application_started",
    "application_stopped",
    "instances_accessed",
    "instances_transferred",
    "login_failed",
    "login_succeeded",
    "security_alert",
    "study_deleted",
]

# PS3.15 A.6: the longest message, in octets, that every collector takes.
MOST_OCTETS = 32_768
_ROOM = MOST_OCTETS - 1_024  # the rest is for the header (RFC 5424) and for notes
# So many SOP classes stand in one study object; a study with more has several. What these bounds come to, with every
# character at its dearest, is less than MOST_OCTETS.
_MOST_SOP_CLASSES = 16


class Alert(Enum):
    """What a Security Alert is about: those of CID 403 that a DICOM server meets."""

    NODE_AUTHENTICATION = Code("110126", "Node Authentication")
    RESTRICTED_FUNCTION = Code("110132", "Use of Restricted Function")


_APPLICATION_ACTIVITY = Code("110100", "Application Activity")
_APPLICATION_START = Code("110120", "Application Start")
_APPLICATION_STOP = Code("110121", "Application Stop")
_INSTANCES_ACCESSED = Code("110103", "DICOM Instances Accessed")
_INSTANCES_TRANSFERRED = Code("110104", "DICOM Instances Transferred")
_STUDY_DELETED = Code("110105", "DICOM Study Deleted")
_SECURITY_ALERT = Code("110113", "Security Alert")
_USER_AUTHENTICATION = Code("110114", "User Authentication")
_LOGIN = Code("110122", "Login")
_APPLICATION = Code("110150", "Application")
_DESTINATION = Code("110152", "Destination Role ID")
_SOURCE = Code("110153", "Source Role ID")
_NODE_ID = Code("110182", "Node ID")
_PATIENT_NUMBER = Code("2", "Patient Number", "RFC-3881")


def application_started(reporter: Reporter, *, when: datetime | None = None) -> Message:
    """Application Activity, Start (A.5.3.1). ``when`` is now unless something else is said, as everywhere here."""
    return _application_activity(reporter, _APPLICATION_START, when)


def application_stopped(reporter: Reporter, *, when: datetime | None = None) -> Message:
    """Application Activity, Stop (A.5.3.1)."""
    return _application_activity(reporter, _APPLICATION_STOP, when)


def _application_activity(reporter: Reporter, kind: Code, when: datetime | None) -> Message:
    draft = Draft(reporter)
    draft.take_part_ourselves("", role=_APPLICATION)
    return draft.finish(Event(_APPLICATION_ACTIVITY, kind, "E", Outcome.SUCCESS, "", _local(when)))


def login_succeeded(
    reporter: Reporter, peer: Peer, user: str, *, called: str = "", how: str = "", when: datetime | None = None
) -> Message:
    """User Authentication, Login (A.5.3.12) of a ``user`` who was verified.

    ``called`` is the AE title of ours that was asked for, ``how`` what was verified, as "Kerberos ticket".
    """
    draft = Draft(reporter)
    draft.take_part(user, point=peer.address or "unknown", is_requestor=True)
    draft.take_part_ourselves(called)
    return draft.finish(_login(Outcome.SUCCESS, (how, *_calling(peer)), when))


def login_failed(
    reporter: Reporter,
    peer: Peer,
    claimed: str,
    why: str,
    *,
    called: str = "",
    outcome: Outcome = Outcome.MINOR,
    when: datetime | None = None,
) -> Message:
    """User Authentication, Login (A.5.3.12) of somebody who was not verified.

    ``claimed`` is the name that was claimed, empty where there was none. It stands as ``claimed:NAME`` in UserID, so
    that nobody takes it for the user of that name.
    """
    draft = Draft(reporter)
    draft.take_part(f"claimed:{claimed or '(none)'}", point=peer.address or "unknown", is_requestor=True)
    draft.take_part_ourselves(called)
    return draft.finish(_login(outcome, (why, "the claimed user is not verified", *_calling(peer)), when))


def _login(outcome: Outcome, words: Iterable[str], when: datetime | None) -> Event:
    return Event(_USER_AUTHENTICATION, _LOGIN, "E", outcome, "; ".join(filter(None, words)), _local(when))


def _calling(peer: Peer) -> tuple[str, ...]:
    return (f"calling AE title {quote(peer.ae_title)}",) if peer.ae_title else ()


def security_alert(
    reporter: Reporter,
    peer: Peer,
    why: str,
    *,
    called: str = "",
    kind: Alert = Alert.NODE_AUTHENTICATION,
    outcome: Outcome = Outcome.MINOR,
    when: datetime | None = None,
) -> Message:
    """Security Alert (A.5.3.11): an association that was rejected, or a TLS handshake that failed.

    Node Authentication is for who the peer is (AE title, address, certificate), Use of Restricted Function for one
    who may come and went further than it may (rate, services). Minor and serious mean that it was held off.
    """
    draft = Draft(reporter)
    draft.take_part_ourselves(called)
    draft.take_part_as(peer)
    subject = draft.involve("2", "13", _NODE_ID, peer.address, name=peer.ae_title or peer.address)
    value = base64.b64encode(why[:LONGEST_DESCRIPTION].encode(errors="backslashreplace")).decode()
    SubElement(subject, "ParticipantObjectDetail", {"type": "Alert Description", "value": value})
    return draft.finish(Event(_SECURITY_ALERT, kind.value, "E", outcome, why, _local(when)))


def instances_accessed(
    reporter: Reporter, address: str, user: str, patient: Patient, study: Study, *, when: datetime | None = None
) -> Message:
    """DICOM Instances Accessed (A.5.3.6): a person at ``address``, who is known as ``user``, looked at a study.

    More SOP classes than :func:`instances_transferred` puts together are for the caller to leave out.
    """
    draft = Draft(reporter)
    draft.take_part(user, point=address, is_requestor=True)
    draft.take_part_ourselves("")
    draft.involve_study(study)
    draft.involve("1", "1", _PATIENT_NUMBER, patient.id, name=patient.name)
    return draft.finish(Event(_INSTANCES_ACCESSED, None, "R", Outcome.SUCCESS, "", _local(when)))


def instances_transferred(
    reporter: Reporter,
    peer: Peer,
    patient: Patient,
    studies: Iterable[Study],
    *,
    called: str = "",
    user: str = "",
    action: Literal["C", "R", "U"] = "C",
    outcome: Outcome = Outcome.SUCCESS,
    description: str = "",
    when: datetime | None = None,
) -> tuple[Message, ...]:
    """DICOM Instances Transferred (A.5.3.7), from ``peer`` to us: what was received of one patient's studies.

    ``user`` is who was verified, empty where nobody was, and is the requestor then. ``action`` says whether we held
    the instances before: C not, R and kept ours, U and replaced ours. What succeeded and what failed are two calls.
    More studies than fit into :data:`MOST_OCTETS` become several messages, each whole and of this patient.
    """
    event = Event(_INSTANCES_TRANSFERRED, None, action, outcome, description, _local(when))

    def message(part: Sequence[Study], *notes: str) -> Message:
        draft = Draft(reporter)
        draft.take_part_as(peer, role=_SOURCE, is_requestor=not user)
        draft.take_part_ourselves(called, role=_DESTINATION)
        if user:
            draft.take_part(user, point=peer.address, is_requestor=True)
        for study in part:
            draft.involve_study(study)
        draft.involve("1", "1", _PATIENT_NUMBER, patient.id, name=patient.name)
        return draft.finish(event._replace(description="; ".join(filter(None, (*notes, description)))))

    return _in_parts([portion for study in studies for portion in _portions(study)], message)


def study_deleted(
    reporter: Reporter,
    patient: Patient,
    study: Study,
    *,
    outcome: Outcome = Outcome.SUCCESS,
    description: str = "",
    when: datetime | None = None,
) -> tuple[Message, ...]:
    """DICOM Study Deleted (A.5.3.8), by us alone; ``study`` says what went. In parts, as everything so long."""
    event = Event(_STUDY_DELETED, None, "D", outcome, description, _local(when))

    def message(part: Sequence[Study], *notes: str) -> Message:
        draft = Draft(reporter)
        titles, process = reporter.ae_titles, str(reporter.process_id)
        name, point = reporter.application, reporter.host
        draft.take_part(process, titles=titles, name=name, point=point, role=_APPLICATION, is_requestor=True)
        for each in part:
            draft.involve_study(each)
        draft.involve("1", "1", _PATIENT_NUMBER, patient.id, name=patient.name)
        return draft.finish(event._replace(description="; ".join(filter(None, (*notes, description)))))

    return _in_parts(list(_portions(study)), message)


def _in_parts(portions: Sequence[Study], message: Callable[..., Message]) -> tuple[Message, ...]:
    """One message, or several where one would be too long; ``message`` makes one of studies, and of a note on it."""
    whole = message(portions)
    if len(whole.xml.encode()) <= _ROOM:
        return (whole,)
    parts = list(_packed(portions, _ROOM - len(message(()).xml.encode())))
    return tuple(message(part, f"part {number} of {len(parts)}") for number, part in enumerate(parts, 1))


def _portions(study: Study) -> Iterator[Study]:
    """The same study with few enough SOP classes in each."""
    counts = list(study.sop_classes.items())
    for first in range(0, max(len(counts), 1), _MOST_SOP_CLASSES):
        yield Study(study.uid, dict(counts[first : first + _MOST_SOP_CLASSES]), study.accession)


def _packed(studies: Iterable[Study], room: int) -> Iterator[list[Study]]:
    """As many studies together as ``room`` octets hold, in order, and at least one."""
    together: list[Study] = []
    taken = 0
    for study in studies:
        octets = len(tostring(Draft(Reporter("", "")).involve_study(study), "utf-8"))
        if together and taken + octets > room:
            yield together
            together, taken = [], 0
        together.append(study)
        taken += octets
    yield together


def _local(when: datetime | None) -> datetime:
    """With the offset of the local time zone, as A.5.2.5 wants."""
    return (when or datetime.now().astimezone()).astimezone()
