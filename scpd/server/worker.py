"""One connection from accept to close, on one thread: the walk of the architecture, top to bottom.

Whatever happens to this association happens to no other: every way out leads through :meth:`Worker.run`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scpd.dimse import status
from scpd.dimse.command import CCancelRQ, Request, respond
from scpd.errors import Aborted, ConnectionLost, Interrupted, PeerError
from scpd.negotiation import reject
from scpd.negotiation.agree import agree
from scpd.negotiation.offer import Rejection
from scpd.services.service import Operation, Peer, Reply
from scpd.transport.exchange import MessageExchange, Pace
from scpd.transport.upper_layer import UpperLayer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from scpd.negotiation.offer import Agreement, Offer
    from scpd.server.capacity import Capacity
    from scpd.server.record import Record
    from scpd.services.service import Service
    from scpd.transport.connection import Connection
    from scpd.transport.exchange import Message
    from scpd.wire.framing import Limits
    from scpd.wire.pdu import AssociateRQ


@dataclass(frozen=True, slots=True)
class Terms:
    """What every association of a server begins under. Lengths are in bytes, times in seconds.

    ``services`` is keyed by abstract syntax; ``where`` tells the place of a configuration key for the log.
    """

    offer: Offer
    services: Mapping[str, Service]
    limits: Limits
    command_limit: int
    data_set_limit: int
    artim: float
    write: float
    pace: Pace
    where: Callable[[str], str]


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
        self._upper = UpperLayer(
            connection, is_requestor=False, limits=terms.limits, artim=terms.artim, write=terms.write
        )

    def run(self) -> None:
        """Serve until the association has ended; never raises."""
        try:
            how, clean = self._serve()
        except ConnectionLost as error:
            how, clean = str(error), not self._record.associated
        except Aborted as error:
            how, clean = str(error), False
        except (PeerError, Interrupted) as error:
            self._upper.abort()
            how, clean = f"aborted: {error}", False
        except Exception as error:  # noqa: BLE001 the worker's boundary: one association's fault stays its own
            self._upper.abort()
            self._record.failed(error)
            how, clean = "failed", False
        self._ended(self._connection)
        self._record.ended(how, clean=clean)
        self._upper.end()

    def _serve(self) -> tuple[str, bool]:
        request = self._upper.await_request()
        self._record.requested(request)
        agreement = self._negotiate(request)
        if isinstance(agreement, Rejection):
            self._upper.reject(agreement.answer)
            self._record.rejected(agreement, self._terms.where)
            return "rejected", False
        self._record.established(agreement)
        self._upper.accept(agreement.answer)
        self._converse(request, agreement)
        self._upper.answer_release()
        return "released", True

    def _negotiate(self, request: AssociateRQ) -> Agreement | Rejection:
        agreement = agree(request, self._terms.offer)
        if isinstance(agreement, Rejection):
            return agreement
        reached = self._capacity.associate(self._connection)
        if reached:
            return reject.local_limit(f"{reached} is reached", reached)
        return agreement

    def _converse(self, request: AssociateRQ, agreement: Agreement) -> None:
        """Messages one after the other, until the peer asks for release."""
        terms = self._terms
        peer = Peer(self._connection.peer, request.calling_ae_title, request.called_ae_title)
        exchange = MessageExchange(
            self._upper,
            agreement.contexts,
            peer_maximum_length=agreement.peer_maximum_length,
            command_limit=terms.command_limit,
            pace=terms.pace,
        )
        while message := exchange.receive():
            replies = self._replies(message, exchange, peer, agreement)
            for reply in replies:
                if exchange.data_is_due:
                    exchange.skip_data(terms.data_set_limit)
                exchange.send(message.context_id, reply.response, reply.data)
                self._record.answered(message.context_id, reply.response, reply.why)
            if exchange.data_is_due:
                exchange.skip_data(terms.data_set_limit)

    def _replies(
        self, message: Message, exchange: MessageExchange, peer: Peer, agreement: Agreement
    ) -> Iterable[Reply]:
        command = message.command
        if isinstance(command, CCancelRQ):
            return ()  # for an operation that has ended meanwhile (PS3.7 9.3.2.3)
        if not isinstance(command, Request):
            raise PeerError(f"a {command.NAME} response that nobody waits for")
        context = agreement.contexts[message.context_id]
        if not context.as_scp:
            return (_refusal(command, status.SOP_CLASS_NOT_SUPPORTED, "this side is not the SCP in this context"),)
        service = self._terms.services.get(context.abstract_syntax)
        if service is None or type(command) not in service.operations:
            return (_refusal(command, status.UNRECOGNIZED_OPERATION, f"{command.NAME} is not served in this context"),)
        return service.perform(
            Operation(peer, context, command, exchange.data, lambda: exchange.is_cancelled(command.message_id))
        )


def _refusal(command: Request, code: int, why: str) -> Reply:
    return Reply(respond(command, code, error_comment=why), why)
