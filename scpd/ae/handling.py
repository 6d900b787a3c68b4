"""The handlers of a program as a service: a request in, the handler's answers out (PS3.7 9.1, 10.1).

Whatever a handler does, the peer gets an answer and the association goes on; what the peer does to the association
ends the handler. Knows no socket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pydicom.uid import UID

from scpd.ae import evt, replies
from scpd.ae.event import Body, Event
from scpd.ae.presentation import PresentationContextTuple
from scpd.ae.retrieval import retrieve
from scpd.ae.running import Running
from scpd.dimse.command import (
    CEchoRQ,
    CFindRQ,
    CGetRQ,
    CMoveRQ,
    CStoreRQ,
    NActionRQ,
    NCreateRQ,
    NDeleteRQ,
    NEventReportRQ,
    NGetRQ,
    NSetRQ,
    Request,
    respond,
)
from scpd.dimse.status import (
    CANCEL,
    INVALID_SOP_INSTANCE,
    NO_SUCH_SOP_CLASS,
    UNRECOGNIZED_OPERATION,
    Category,
    category,
)
from scpd.errors import StoreError
from scpd.names import is_uid, quote
from scpd.services.service import Reply
from scpd.services.storage import check_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from scpd.ae.association import Association
    from scpd.negotiation.offer import AcceptedContext
    from scpd.services.service import Operation

EVENTS: dict[type[Request], evt.EventType] = {
    CEchoRQ: evt.EVT_C_ECHO,
    CStoreRQ: evt.EVT_C_STORE,
    CFindRQ: evt.EVT_C_FIND,
    CGetRQ: evt.EVT_C_GET,
    CMoveRQ: evt.EVT_C_MOVE,
    NEventReportRQ: evt.EVT_N_EVENT_REPORT,
    NGetRQ: evt.EVT_N_GET,
    NSetRQ: evt.EVT_N_SET,
    NActionRQ: evt.EVT_N_ACTION,
    NCreateRQ: evt.EVT_N_CREATE,
    NDeleteRQ: evt.EVT_N_DELETE,
}
# The longest data set of a request that is held whole, which is any but that of a C-STORE (bytes).
_LONGEST_HELD = 256 * 1024 * 1024


class Handling:
    """The service of one association. ``longest`` bounds the data set of a C-STORE, in bytes."""

    operations = frozenset(EVENTS)

    def __init__(self, assoc: Association, longest: int) -> None:
        self._assoc = assoc
        self._longest = longest
        self._contexts: dict[int, PresentationContextTuple] = {}

    def perform(self, operation: Operation) -> Iterable[Reply]:
        """The replies to a request, each made when it is asked for."""
        request = operation.request
        handler = self._assoc.handlers.asked(EVENTS[type(request)])
        if handler is None:
            if isinstance(request, CEchoRQ):
                return (replies.success(request),)
            return (replies.reply(request, UNRECOGNIZED_OPERATION, f"no handler is bound for {request.NAME}"),)
        try:
            _check(operation)
            event = self._event(operation)
        except StoreError as error:
            return (replies.failed(request, error),)
        performer = _PERFORMERS.get(type(request), _once)
        return performer(Running(self._assoc, operation, handler, event))

    def _event(self, operation: Operation) -> Event:
        request, context, guard = operation.request, operation.context, self._assoc.guard
        is_store = isinstance(request, CStoreRQ)
        body = Body(guard(operation.data), self._longest if is_store else _LONGEST_HELD)
        if not is_store:
            body.whole()  # so that the association is free for sub-operations
        return Event.of_request(
            self._assoc,
            EVENTS[type(request)],
            request,
            self._tuple(context),
            body,
            self._assoc.guarded(operation.is_cancelled),
        )

    def _tuple(self, context: AcceptedContext) -> PresentationContextTuple:
        known = self._contexts.get(context.context_id)
        if known is None:
            known = self._contexts[context.context_id] = PresentationContextTuple(
                context.context_id, UID(context.abstract_syntax), UID(context.transfer_syntax)
            )
        return known


class ForAll:
    """One service for every abstract syntax."""

    def __init__(self, service: Handling) -> None:
        self._service = service

    def get(self, _: str, /) -> Handling:
        """The service."""
        return self._service


def _check(operation: Operation) -> None:
    """Names that handlers make paths of are UIDs. Raises :class:`StoreError` with the status."""
    request = operation.request
    if isinstance(request, CStoreRQ):
        check_command(request, operation.context.abstract_syntax)
        return
    for kind, code in (("class", NO_SUCH_SOP_CLASS), ("instance", INVALID_SOP_INSTANCE)):
        uid = getattr(request, f"affected_sop_{kind}_uid", "") or getattr(request, f"requested_sop_{kind}_uid", "")
        if uid and not is_uid(uid):
            raise StoreError(code, f"SOP {kind.capitalize()} UID {quote(uid)} is not a UID")


def _once(running: Running) -> Iterable[Reply]:
    """The one reply of a service without pending responses."""
    request = running.request
    returned = running.call()
    return (running.reply(lambda: replies.answer(request, returned(), running.transfer_syntax)),)


def _find(running: Running) -> Iterator[Reply]:
    """Pending responses with an identifier each, then the final one (PS3.4 C.4.1)."""
    request = cast("CFindRQ", running.request)
    for returned in running.iterate():
        reply = running.reply(lambda: replies.answer(request, returned(), running.transfer_syntax))  # noqa: B023 called at once
        is_pending = category(reply.response.status) is Category.PENDING
        if is_pending and running.operation.is_cancelled():
            yield Reply(respond(request, CANCEL))
            return
        yield reply
        if not is_pending:
            return
    yield replies.success(request)


_PERFORMERS: dict[type[Request], Callable[[Running], Iterable[Reply]]] = {
    CFindRQ: _find,
    CGetRQ: retrieve,
    CMoveRQ: retrieve,
}
