"""SOP specific conformance of Storage Commitment, Push Model (PS3.4 annex J): requests, verification and reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.daemon.conformance.document import Code, Section, Table
from scpd.daemon.conformance.statuses import ANYWHERE, table
from scpd.dimse import status
from scpd.services.commitment import module
from scpd.services.commitment.module import FailureReason
from scpd.services.commitment.reports import Reports
from scpd.services.retrieve.service import Retrieve
from scpd.sop_class import UNCOMPRESSED, uid_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.daemon.conformance.entity import Entity

_REASONS = {
    FailureReason.PROCESSING_FAILURE: "Its file cannot be read, or is not what was stored: another size, another "
    "instance, another digest.",
    FailureReason.NO_SUCH_OBJECT_INSTANCE: "It is not held.",
    FailureReason.CLASS_INSTANCE_CONFLICT: "It is held with another SOP Class.",
    FailureReason.DUPLICATE_TRANSACTION_UID: "The Transaction UID is that of another request of the same AE title, "
    "which is pending.",
}


def commitment(entity: Entity) -> Section:
    """The whole of it."""
    return Section(
        "SOP Specific Conformance for Storage Commitment (Push Model)",
        (
            (
                "The AE provides the Storage Commitment Service Class (PS3.4 annex J) as an SCP of the Push Model. An "
                "instance is committed where the index knows it with its SOP Class, and its file, read to the end, has "
                "the size and the digest (CRC-32 of the data set as it came) that it was stored with; a file whose "
                "digest is not known, since the index was made anew from the files, is read to the end all the same. "
                f"{_for_how_long(entity)}"
            ),
            _REQUESTS,
            table("N-ACTION", _statuses()),
            *_reports(entity),
        ),
    )


def _for_how_long(entity: Entity) -> str:
    retrieved = "It can be retrieved from this AE. " if Retrieve in entity.services else ""
    kept = "What is committed is kept as every other instance is"
    if entity.server.retention:
        kept += ", so for as long as the rules of retention say; none is deleted while a request for it is pending"
    return f"{retrieved}{kept}."


_REQUESTS = (
    "A request (N-ACTION) is answered with Success once it is durable: from then on nothing but the peer's absence "
    "keeps it from hearing, through any end of the process. A request that is repeated while it is pending stays one. "
    f"It may name up to {module.MOST_REFERENCES} instances, in {module.LONGEST} bytes. Storage Media File-Set ID is "
    "not used."
)


def _statuses() -> Iterator[tuple[int, str]]:
    yield status.SUCCESS, "The request is kept, and will be reported on."
    yield status.PROCESSING_FAILURE, "It cannot be made durable now: the sender should ask again."
    yield module.NO_SUCH_SOP_INSTANCE, f"Requested SOP Instance UID is not {module.WELL_KNOWN_INSTANCE}."
    yield module.INVALID_ARGUMENT_VALUE, "Action Information is empty, cannot be read, or has what is no UID."
    yield status.INVALID_SOP_INSTANCE, "Requested SOP Instance UID is no UID."
    yield status.NO_SUCH_SOP_CLASS, "Requested SOP Class UID is not that of the presentation context."
    yield module.MISSING_ATTRIBUTE, "Action Information, or an attribute of it, is missing."
    yield module.NO_SUCH_ACTION_TYPE, f"Action Type ID is not {module.REQUEST_STORAGE_COMMITMENT}."
    yield module.RESOURCE_LIMITATION, "The request is too long, or too much is pending: the sender should ask later."
    yield from reversed(ANYWHERE)


def _reports(entity: Entity) -> Iterator[str | Table]:
    retrieve = " Retrieve AE Title (0008,0054) is this AE's own." if Retrieve in entity.services else ""
    yield (
        "The result (N-EVENT-REPORT) goes over the association of the request while that lasts, else over a new one "
        f"with the peer that has the calling AE title of the request: see the Association Initiation Policy.{retrieve} "
        f"It is tried up to {Reports.attempts} times, with pauses that grow to an hour, and through any end of the "
        "process. It comes at least once: where the response to it is lost, it comes again with the same Transaction "
        "UID. A response of success or warning ends it. One of Processing failure or Resource limitation has it come "
        "again; any other failure sets it aside for the administrator, and so does a peer that has left and is not in "
        "the configuration."
    )
    events = (
        (str(module.REQUEST_SUCCESSFUL), "All instances are committed."),
        (str(module.FAILURES_EXIST), "Some are not: those that are stand in Referenced SOP Sequence."),
    )
    yield Table("Event types of N-EVENT-REPORT", ("Event Type ID", "When"), events)
    reasons = tuple((Code(f"{one:04X}"), _REASONS[one]) for one in FailureReason)
    yield Table("Failure reasons of N-EVENT-REPORT", ("Failure Reason (0008,1197)", "When"), reasons)


def proposals() -> Table:
    """What is proposed where a report needs an association of its own."""
    implicit, explicit = map(uid_name, UNCOMPRESSED[:2])
    row = (uid_name(module.PUSH_MODEL), f"{explicit} or {implicit}, in one context", "SCP, by role selection")
    return Table(
        "Presentation contexts that are proposed to report", ("Abstract Syntax", "Transfer Syntaxes", "Role"), (row,)
    )
