"""An association that a program asks for: from the call to a connection that is agreed upon, or to why it is not."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from scpd.ae import arguments, evt, items
from scpd.ae.association import Association
from scpd.ae.handling import EVENTS, ForAll, Handling
from scpd.ae.pdus import tap
from scpd.ae.settings import DATA_SET_LIMIT
from scpd.client import requestor
from scpd.client.requestor import Caller, Proposal
from scpd.errors import Interrupted, PeerError, ScpdError
from scpd.server.record import new_id
from scpd.services.service import Peer
from scpd.services.serving import Serving
from scpd.telemetry.logs import logger
from scpd.transport.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scpd.ae.items import Item
    from scpd.ae.presentation import PresentationContext
    from scpd.ae.settings import Settings
    from scpd.client.requestor import Security
    from scpd.transport.connection import Connection

# What the peer may do at any moment: with a handler for it, a thread has to attend.
_AT_ANY_MOMENT = (*EVENTS.values(), evt.EVT_RELEASED, evt.EVT_ABORTED, evt.EVT_CONN_CLOSE)


class Call(NamedTuple):
    """What a program asks for, checked."""

    peer: tuple[str, int]
    called: str
    contexts: Sequence[PresentationContext]
    maximum_length: int
    ext_neg: tuple[Item, ...]
    bind: tuple[str, int] | None
    security: Security | None
    handlers: evt.Handlers


def associate(ae: Settings, call: Call) -> Association:
    """The association, established or not."""
    caller = _caller(ae, call)
    assoc = Association(ae, "requestor", call.handlers, new_id())
    assoc.requestor.ae_title, assoc.acceptor.ae_title = ae.ae_title, call.called
    assoc.acceptor.address, assoc.acceptor.port = call.peer
    try:
        connection = requestor.connect(call.peer, caller)
    except ScpdError as error:
        _failed(assoc, error)
        return assoc
    (assoc.acceptor.address, assoc.acceptor.port), (assoc.requestor.address, assoc.requestor.port) = (
        connection.addresses()
    )
    try:
        assoc.tell(evt.EVT_CONN_OPEN, address=call.peer)
        assoc.must_go_on()
        assoc.tell(evt.EVT_REQUESTED)
        assoc.must_go_on()
        agreed = _agree(assoc, connection, call, caller)
    except (PeerError, Interrupted) as error:
        connection.close()
        _failed(assoc, error)
        assoc.tell(evt.EVT_CONN_CLOSE, address=call.peer)
        return assoc
    except BaseException:
        connection.close()
        raise
    if any(call.handlers.of(event) for event in _AT_ANY_MOMENT):
        told = threading.Event()
        name = f"association {assoc.association_id}"
        threading.Thread(target=_attend, args=(assoc, agreed, told), name=name, daemon=True).start()
        told.wait()
    else:
        assoc.connected(agreed.upper, driven=False)
        assoc.establish(agreed.request, agreed.agreement, agreed.conversation)
    return assoc


def _caller(ae: Settings, call: Call) -> Caller:
    return Caller(
        calling=ae.ae_title,
        called=call.called,
        connect=arguments.seconds(ae.connection_timeout),
        answer=arguments.seconds(ae.acse_timeout),
        message=arguments.seconds(ae.dimse_timeout),
        idle=arguments.seconds(ae.network_timeout),
        write=arguments.seconds(ae.write_timeout),
        maximum_length=call.maximum_length,
        longest_refused=DATA_SET_LIMIT,
        bind=call.bind,
        security=call.security,
        negotiation=items.negotiation(call.ext_neg),
        implementation_class_uid=ae.implementation_class_uid,
        implementation_version_name=ae.implementation_version_name or "",
    )


def _failed(assoc: Association, error: ScpdError) -> None:
    logger("association").warning("association not established", id=assoc.association_id, why=str(error))
    assoc.finish(error)


def _agree(assoc: Association, connection: Connection, call: Call, caller: Caller) -> requestor.Association:
    proposed = {
        2 * index + 1: Proposal(str(context.abstract_syntax), tuple(map(str, context.transfer_syntax)))
        for index, context in enumerate(call.contexts)
    }
    agreed = requestor.request(connection, proposed, caller, tap(assoc))
    if not agreed.contexts:
        assoc.agreed(agreed.request, agreed.agreement)
        agreed.abort()
        raise PeerError("the peer accepted none of the presentation contexts")
    agreed.serve = Serving(
        agreed.exchange,
        Peer(connection.peer, assoc.acceptor.ae_title, assoc.requestor.ae_title),
        agreed.contexts,
        ForAll(Handling(assoc, DATA_SET_LIMIT)),
        longest_refused=DATA_SET_LIMIT,
    )
    return agreed


def _attend(assoc: Association, agreed: requestor.Association, told: threading.Event) -> None:
    """Serve the peer until the association is over; what the program asks meanwhile is answered from here too."""
    ended: BaseException | None = None
    try:
        agreed.conversation.attend()
        assoc.connected(agreed.upper, driven=True)
        assoc.establish(agreed.request, agreed.agreement, agreed.conversation)
        told.set()
        assoc.must_go_on()
        agreed.conversation.run()
        what = "the peer did not answer A-RELEASE-RQ"
        agreed.upper.finish_release(Deadline.after(agreed.caller.answer, "answer", what))
    except BaseException as error:  # noqa: BLE001 this thread's boundary, as the worker's
        agreed.upper.abort()
        ended = error
        if not isinstance(error, ScpdError):
            logger("association").error("association failed", id=assoc.association_id, exc_info=error)
    agreed.upper.connection.close()
    assoc.finish(ended)
    told.set()
    assoc.tell(evt.EVT_CONN_CLOSE, address=(assoc.acceptor.address, assoc.acceptor.port))
