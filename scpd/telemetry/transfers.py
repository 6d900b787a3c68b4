"""Audit messages of instances on their way: what came to us, what we begin to send, and what was sent (PS3.15 A.5.3).

Each is about a single patient, as the standard wants it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from scpd.telemetry.draft import DESTINATION, SOURCE, Code, Draft, Event, Outcome, local
from scpd.telemetry.parts import in_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from scpd.telemetry.draft import Message, Patient, Peer, Reporter, Study


class Route(NamedTuple):
    """Who gets what we send: ``destination``, which may be the ``requestor`` itself, who asked for it.

    ``called`` is the AE title of ours that was asked; ``user`` is who was verified there, and is the requestor then.
    """

    requestor: Peer
    destination: Peer
    called: str = ""
    user: str = ""


_BEGIN_TRANSFERRING = Code("110102", "Begin Transferring DICOM Instances")
_INSTANCES_TRANSFERRED = Code("110104", "DICOM Instances Transferred")


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
    More studies than fit into one become several messages, each whole and of this patient.
    """
    event = Event(_INSTANCES_TRANSFERRED, None, action, outcome, description, local(when))

    def message(part: Sequence[Study], *notes: str) -> Message:
        draft = Draft(reporter)
        draft.take_part_as(peer, role=SOURCE, is_requestor=not user)
        draft.take_part_ourselves(called, role=DESTINATION)
        if user:
            draft.take_part(user, point=peer.address, is_requestor=True)
        for study in part:
            draft.involve_study(study)
        draft.involve_patient(patient)
        return draft.finish(event._replace(description="; ".join(filter(None, (*notes, description)))))

    return in_parts(studies, message)


def transfer_begun(
    reporter: Reporter, route: Route, patient: Patient, studies: Iterable[Study], *, when: datetime | None = None
) -> tuple[Message, ...]:
    """Begin Transferring DICOM Instances (A.5.3.3), from us: what is meant to be sent. In parts, as above."""
    event = Event(_BEGIN_TRANSFERRING, None, "E", Outcome.SUCCESS, "", local(when))
    return _sending(reporter, event, route, patient, studies)


def instances_sent(
    reporter: Reporter,
    route: Route,
    patient: Patient,
    studies: Iterable[Study],
    *,
    outcome: Outcome = Outcome.SUCCESS,
    description: str = "",
    when: datetime | None = None,
) -> tuple[Message, ...]:
    """DICOM Instances Transferred (A.5.3.7), from us: what was sent, or what was not; these are two calls.

    The action is Read: nobody here knows what the receiver held before. In parts, as above.
    """
    event = Event(_INSTANCES_TRANSFERRED, None, "R", outcome, description, local(when))
    return _sending(reporter, event, route, patient, studies)


def _sending(
    reporter: Reporter, event: Event, route: Route, patient: Patient, studies: Iterable[Study]
) -> tuple[Message, ...]:
    requestor, destination = route.requestor, route.destination
    is_own = requestor == destination

    def message(part: Sequence[Study], *notes: str) -> Message:
        draft = Draft(reporter)
        draft.take_part_ourselves(route.called, role=SOURCE)
        draft.take_part_as(destination, role=DESTINATION, is_requestor=is_own and not route.user)
        if not is_own:
            draft.take_part_as(requestor, is_requestor=not route.user)
        if route.user:
            draft.take_part(route.user, point=requestor.address, is_requestor=True)
        for study in part:
            draft.involve_study(study)
        draft.involve_patient(patient)
        return draft.finish(event._replace(description="; ".join(filter(None, (*notes, event.description)))))

    return in_parts(studies, message)
