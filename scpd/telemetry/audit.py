"""What the audit trail says: the messages of PS3.15 A.5.3.

Each function takes plain values and gives a message that never changes, or several.

Knows no association, and nobody who takes a message anywhere. *When* to say something is decided elsewhere; whoever
reports refusals has to bound their rate.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from scpd.names import quote
from scpd.telemetry.draft import (
    DESTINATION,
    LONGEST_DESCRIPTION,
    SOURCE,
    Code,
    Draft,
    Event,
    Message,
    Outcome,
    Patient,
    Peer,
    Reporter,
    Study,
    local,
)
from scpd.telemetry.parts import MOST_OCTETS, in_parts
from scpd.telemetry.transfers import Route, instances_sent, instances_transferred, transfer_begun

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

__all__ = [
    "MOST_OCTETS",
    "Alert",
    "Code",
    "Message",
    "Outcome",
    "Patient",
    "Peer",
    "Reporter",
    "Route",
    "Study",
    "application_started",
    "application_stopped",
    "instances_accessed",
    "instances_sent",
    "instances_transferred",
    "login_failed",
    "login_succeeded",
    "query_received",
    "security_alert",
    "study_deleted",
    "transfer_begun",
]


class Alert(Enum):
    """What a Security Alert is about: those of CID 403 that a DICOM server meets."""

    NODE_AUTHENTICATION = Code("110126", "Node Authentication")
    RESTRICTED_FUNCTION = Code("110132", "Use of Restricted Function")


_APPLICATION_ACTIVITY = Code("110100", "Application Activity")
_APPLICATION_START = Code("110120", "Application Start")
_APPLICATION_STOP = Code("110121", "Application Stop")
_INSTANCES_ACCESSED = Code("110103", "DICOM Instances Accessed")
_STUDY_DELETED = Code("110105", "DICOM Study Deleted")
_QUERY = Code("110112", "Query")
_SECURITY_ALERT = Code("110113", "Security Alert")
_USER_AUTHENTICATION = Code("110114", "User Authentication")
_LOGIN = Code("110122", "Login")
_APPLICATION = Code("110150", "Application")
_NODE_ID = Code("110182", "Node ID")


def application_started(reporter: Reporter, *, when: datetime | None = None) -> Message:
    """Application Activity, Start (A.5.3.1). ``when`` is now unless something else is said, as everywhere here."""
    return _application_activity(reporter, _APPLICATION_START, when)


def application_stopped(reporter: Reporter, *, when: datetime | None = None) -> Message:
    """Application Activity, Stop (A.5.3.1)."""
    return _application_activity(reporter, _APPLICATION_STOP, when)


def _application_activity(reporter: Reporter, kind: Code, when: datetime | None) -> Message:
    draft = Draft(reporter)
    draft.take_part_ourselves("", role=_APPLICATION)
    return draft.finish(Event(_APPLICATION_ACTIVITY, kind, "E", Outcome.SUCCESS, "", local(when)))


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
    return Event(_USER_AUTHENTICATION, _LOGIN, "E", outcome, "; ".join(filter(None, words)), local(when))


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
    draft.add_detail(subject, "Alert Description", why[:LONGEST_DESCRIPTION])
    return draft.finish(Event(_SECURITY_ALERT, kind.value, "E", outcome, why, local(when)))


def query_received(
    reporter: Reporter,
    peer: Peer,
    sop_class: str,
    transfer_syntax: str,
    identifier: bytes,
    *,
    called: str = "",
    user: str = "",
    outcome: Outcome = Outcome.SUCCESS,
    description: str = "",
    when: datetime | None = None,
) -> Message:
    """Query (A.5.3.10) from ``peer`` to us: the SOP class, and the ``identifier`` as it came, or the front of it.

    ``user`` is who was verified, empty where nobody was, and is the requestor then.
    """
    draft = Draft(reporter)
    draft.take_part_as(peer, role=SOURCE, is_requestor=not user)
    draft.take_part_ourselves(called, role=DESTINATION)
    if user:
        draft.take_part(user, point=peer.address, is_requestor=True)
    draft.involve_query(sop_class, transfer_syntax, identifier)
    return draft.finish(Event(_QUERY, None, "E", outcome, description, local(when)))


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
    draft.involve_patient(patient)
    return draft.finish(Event(_INSTANCES_ACCESSED, None, "R", Outcome.SUCCESS, "", local(when)))


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
    event = Event(_STUDY_DELETED, None, "D", outcome, description, local(when))

    def message(part: Sequence[Study], *notes: str) -> Message:
        draft = Draft(reporter)
        titles, process = reporter.ae_titles, str(reporter.process_id)
        name, point = reporter.application, reporter.host
        draft.take_part(process, titles=titles, name=name, point=point, role=_APPLICATION, is_requestor=True)
        for each in part:
            draft.involve_study(each)
        draft.involve_patient(patient)
        return draft.finish(event._replace(description="; ".join(filter(None, (*notes, description)))))

    return in_parts([study], message)
