"""One connection from accept to close, on one thread: the walk of the architecture, top to bottom.

Whatever happens to this association happens to no other: every way out leads through :meth:`Worker.run`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scpd.errors import Aborted, ConnectionLost, Expired, Interrupted, PeerError
from scpd.negotiation import agree, reject
from scpd.negotiation.offer import Rejection
from scpd.services.service import Peer
from scpd.services.serving import Serving
from scpd.transport.conversation import Conversation
from scpd.transport.deadline import Deadline
from scpd.transport.exchange import MessageExchange, Pace
from scpd.transport.upper_layer import UpperLayer

if TYPE_CHECKING:
    from collections.abc import Callable

    from scpd.negotiation.offer import Agreement
    from scpd.server.capacity import Capacity
    from scpd.server.record import Record
    from scpd.server.visit import Visit
    from scpd.transport.connection import Connection
    from scpd.wire.framing import Limits
    from scpd.wire.pdu import AssociateRQ


@dataclass(frozen=True, slots=True)
class Terms:
    """What every association of a server begins under. Lengths are in bytes, times in seconds.

    ``visit`` gives, by the association's ID, what is particular to a connection; ``where`` tells the place of a
    configuration key for the log. ``turns_away`` gives the key that keeps an address out before it says a word, if one
    does.
    """

    visit: Callable[[str], Visit]
    limits: Limits
    command_limit: int
    data_set_limit: int
    artim: float
    write: float
    pace: Pace
    where: Callable[[str], str]
    turns_away: Callable[[str], str] | None = None


class Worker:
    """Serves one connection; ``ended`` hears when its association is over, before the connection is."""

    def __init__(
        self,
        connection: Connection,
        terms: Terms,
        capacity: Capacity,
        record: Record,
        ended: Callable[[Connection], None],
    ) -> None:
        self._connection = connection
        self._ended = ended
        self._terms = terms
        self._capacity = capacity
        self._record = record
        self._visit = terms.visit(record.association_id)
        self._upper = UpperLayer(
            connection, is_requestor=False, limits=terms.limits, artim=terms.artim, write=terms.write
        )

    def run(self) -> None:
        """Serve until the association has ended; never raises."""
        error: BaseException | None = None
        try:
            how, clean = self._serve()
        except ConnectionLost as lost:
            how, clean, error = str(lost), not self._record.associated, lost
        except Aborted as aborted:
            how, clean, error = str(aborted), False, aborted
        except (PeerError, Interrupted) as ended:
            how, clean, error = self._abort(ended), False, ended
        except BaseException as failure:  # noqa: BLE001 the worker's boundary: one association's fault stays its own
            self._abort(failure)
            self._record.failed(failure)
            how, clean, error = "failed", False, failure
        self._ended(self._connection)
        self._record.ended(how, _kind(error), clean=clean)
        try:
            self._visit.ended(error)
        finally:
            self._upper.end()
            self._visit.closed()

    def _abort(self, why: BaseException) -> str:
        if self._upper.is_over:
            return str(why)
        self._upper.abort()
        return f"aborted: {why}"

    def _serve(self) -> tuple[str, bool]:
        self._visit.opened(self._upper)
        request = self._upper.await_request()
        self._record.requested(request)
        agreement = self._negotiate(request)
        self._record.note(self._visit.notes)
        if isinstance(agreement, Rejection):
            self._upper.reject(agreement.answer)
            self._record.rejected(agreement, self._terms.where)
            self._visit.rejected(agreement)
            return "rejected", False
        self._record.established(agreement)
        self._upper.accept(agreement.answer)
        self._converse(request, agreement)
        self._upper.finish_release(Deadline.after(self._terms.artim, "artim", "the peer did not answer A-RELEASE-RQ"))
        return "released", True

    def _negotiate(self, request: AssociateRQ) -> Agreement | Rejection:
        """Cheapest first: what the request says, then room, then who it is, which may take time and be wrong."""
        refused = self._visit.requested(request) or agree.refuse(request, self._visit.offer)
        if refused:
            return refused
        reached = self._capacity.associate(self._connection)
        if reached:
            return reject.local_limit(f"{reached} is reached", reached)
        identity = self._visit.identify(request.user_information.identities)
        if isinstance(identity, Rejection):
            return identity
        # Who it is may have changed what it is offered.
        return agree.refuse(request, self._visit.offer) or agree.accept(request, self._visit.offer, identity)

    def _converse(self, request: AssociateRQ, agreement: Agreement) -> None:
        """Messages one after the other, until the association is being released."""
        terms = self._terms
        exchange = MessageExchange(
            self._upper,
            agreement.contexts,
            peer_maximum_length=agreement.peer_maximum_length,
            command_limit=terms.command_limit,
            pace=terms.pace,
        )
        serving = Serving(
            exchange,
            Peer(
                self._connection.peer,
                request.calling_ae_title,
                request.called_ae_title,
                self._record.association_id,
            ),
            agreement.contexts,
            self._visit.services,
            longest_refused=terms.data_set_limit,
            observer=self._record,
        )
        conversation = Conversation(exchange, serving, longest_refused=terms.data_set_limit)
        serving.may_ask_over(conversation)
        conversation.attend()
        self._visit.established(request, agreement, conversation)
        conversation.run()


# How an association ended, in one word; the first that fits.
_KINDS: tuple[tuple[type[BaseException], str], ...] = (
    (Aborted, "aborted"),
    (ConnectionLost, "lost"),
    (Expired, "expired"),
    (PeerError, "broken"),
    (Interrupted, "interrupted"),
    (BaseException, "failed"),
)


def _kind(error: BaseException | None) -> str:
    return next((kind for what, kind in _KINDS if isinstance(error, what)), "released")
