"""One request of a peer after the other: which service, its replies over the association."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from weakref import ref

from scpd.dimse import status
from scpd.dimse.command import NEventReportRQ, Request, respond
from scpd.errors import Interrupted, PeerError
from scpd.services.service import Operation, Peer, Reply, nobody

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scpd.dimse.command import Response
    from scpd.negotiation.offer import AcceptedContext
    from scpd.services.service import Asking, Service
    from scpd.transport.conversation import Conversation, Invocation
    from scpd.transport.exchange import Message, MessageExchange, Piece


class Services(Protocol):
    """The services by abstract syntax: a dictionary, or something that answers like one."""

    def get(self, abstract_syntax: str, /) -> Service | None: ...


class Observer(Protocol):
    """Hears of what is served."""

    def asked(self, request: Request, /) -> None:
        """A request came, and is being served from now on."""

    def answered(self, context_id: int, response: Response, why: str, /) -> None:
        """A response was sent; why it is no success."""


class Serving:
    """Serves the requests of one peer.

    ``observer`` hears of each request and response, where there is one. ``longest_refused`` is what is read of a data
    set that a service did not want, in bytes.
    """

    def __init__(
        self,
        exchange: MessageExchange,
        peer: Peer,
        contexts: Mapping[int, AcceptedContext],
        services: Services,
        *,
        longest_refused: int,
        observer: Observer | None = None,
    ) -> None:
        self._exchange = exchange
        self._peer = peer
        self._contexts = contexts
        self._services = services
        self._longest_refused = longest_refused
        self._observer = observer
        self._ask: Asking = nobody

    def may_ask_over(self, conversation: Conversation) -> None:
        """Have services ask the peer over the conversation that this serves in, for as long as that lasts."""
        self._ask = _Over(conversation)

    def __call__(self, message: Message) -> None:
        """Serve one request to its final response."""
        exchange, observer, replies = self._exchange, self._observer, self._replies(message)
        try:
            for reply in replies:
                if exchange.data_is_due:
                    exchange.skip_data(self._longest_refused)
                exchange.send(message.context_id, reply.response, reply.data)
                if observer:
                    observer.answered(message.context_id, reply.response, reply.why)
        finally:
            close = getattr(replies, "close", None)
            if close:  # a peer that is gone ends the service at once, not when memory is tidied up
                close()

    def _replies(self, message: Message) -> Iterable[Reply]:
        command = message.command
        if not isinstance(command, Request):
            raise PeerError(f"a {command.NAME} message where a request was due")
        if self._observer:
            self._observer.asked(command)
        context = self._contexts[message.context_id]
        # N-EVENT-REPORT goes from the SCP to the SCU, and many devices send it without role selection.
        if not context.as_scp and not isinstance(command, NEventReportRQ):
            return (refusal(command, status.SOP_CLASS_NOT_SUPPORTED, "this side is not the SCP in this context"),)
        service = self._services.get(context.abstract_syntax)
        if service is None or type(command) not in service.operations:
            return (refusal(command, status.UNRECOGNIZED_OPERATION, f"{command.NAME} is not served in this context"),)
        exchange = self._exchange
        return service.perform(
            Operation(
                self._peer,
                context,
                command,
                exchange.data,
                lambda: exchange.is_cancelled(command.message_id),
                self._ask,
                self._contexts,
            )
        )


class _Over:
    """Asks over a conversation, and keeps it no longer than its association does: whoever kept this is told so."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = ref(conversation)

    def __call__(self, context_id: int, request: Request, data: Iterable[Piece] = (), *, within: float) -> Invocation:
        conversation = self._conversation()
        if conversation is None:
            raise Interrupted("the association is over")
        return conversation.ask(context_id, request, data, within=within)


def refusal(command: Request, code: int, why: str) -> Reply:
    """The reply to a request that is not served."""
    return Reply(respond(command, code, error_comment=why), why)
