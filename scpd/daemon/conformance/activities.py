"""Why a server asks others for associations (PS3.2 A.4.2): to send by C-MOVE, and to report storage commitment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.daemon.conformance import committing, retrieval
from scpd.daemon.conformance.document import Section
from scpd.services.commitment.reports import Reports
from scpd.services.commitment.service import Commitment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.daemon.conformance.entity import Entity

_TITLE = "Association Initiation Policy"


def numbers(entity: Entity) -> Iterator[tuple[str, str]]:
    """How many associations it asks for at one time."""
    if not entity.initiates:
        yield "As initiator", "0"
    if entity.moves:
        yield "As initiator, for each C-MOVE that is served", "As many as the destination may have: see the remote AEs"
    if Commitment in entity.services:
        yield "As initiator, to report storage commitment, of all servers", str(Reports.concurrency)


def initiation(entity: Entity) -> Section:
    """The policy: an activity for each reason."""
    if not entity.initiates:
        return Section(_TITLE, ("The AE initiates no associations.",))
    about = (
        f"The AE calls as {entity.ae_title}, and only those who stand in the remote AEs of the configuration, at their "
        "address and with TLS where they have it. No asynchronous operations window, no user identity and no extended "
        "negotiation are proposed."
    )
    return Section(_TITLE, (about,), tuple(_activities(entity)))


def _activities(entity: Entity) -> Iterator[Section]:
    if entity.moves:
        yield Section("Activity: Send Instances by C-MOVE", (_SENDING, retrieval.proposals(), _ENDS))
    if Commitment in entity.services:
        yield Section("Activity: Report Storage Commitment", (_REPORTING, committing.proposals()))


_SENDING = (
    "A C-MOVE asks the peer with the AE title of its destination for an association, and for more of them up to the "
    "number that the configuration has for it; of several peers with one AE title the first that answers. Each SOP "
    "Class and transfer syntax of the instances has a presentation context with that syntax alone, and one of its own "
    "to convert to; where they are more than 128, another association follows. The result of each C-STORE is counted "
    "as the SOP specific conformance for Retrieve says."
)
_ENDS = (
    "An association that cannot be had is tried again as often as the configuration has attempts for the peer, with "
    "pauses of one to eight seconds; then what is left has failed. It is released after the last instance."
)
_REPORTING = (
    "Where the association of a request for storage commitment has ended, the peer with its calling AE title is asked "
    "for a new one. The AE proposes the SCP role for itself. The result is sent by one N-EVENT-REPORT, and the "
    "association released."
)
