"""One operation over an association: a request out, its response in (PS3.7 9.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.dimse.command import CEchoRQ, CStoreRQ
from scpd.sop_class import VERIFICATION

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scpd.client.requestor import Association
    from scpd.dimse.command import Request, Response
    from scpd.transport.exchange import Piece


def echo(association: Association) -> Response:
    """C-ECHO in the first context of Verification (PS3.4 annex A). Raises :class:`LookupError` without one."""
    context_id = next(
        (one.context_id for one in association.contexts.values() if one.abstract_syntax in VERIFICATION), 0
    )
    if not context_id:
        raise LookupError("the peer did not accept a presentation context for Verification")
    request = CEchoRQ(message_id=association.next_message_id(), affected_sop_class_uid=VERIFICATION[0])
    return _operate(association, context_id, request)


def store(
    association: Association, context_id: int, sop_class_uid: str, sop_instance_uid: str, data: Iterable[Piece]
) -> Response:
    """C-STORE of a data set that is in the context's transfer syntax (PS3.4 annex B)."""
    request = CStoreRQ(
        message_id=association.next_message_id(),
        affected_sop_class_uid=sop_class_uid,
        affected_sop_instance_uid=sop_instance_uid,
        has_data_set=True,
    )
    return _operate(association, context_id, request, data)


def _operate(association: Association, context_id: int, request: Request, data: Iterable[Piece] = ()) -> Response:
    conversation = association.conversation
    return conversation.ask(context_id, request, data, within=association.caller.message).final().response
