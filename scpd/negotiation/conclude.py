"""What an A-ASSOCIATE-AC means for the requestor who asked for it (PS3.8 9.3.3, PS3.7 D.3.3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.errors import ProtocolError
from scpd.negotiation.offer import AcceptedContext, Agreement, RejectedContext, announced_length
from scpd.negotiation.roles import first_of_each
from scpd.wire.contexts import ContextResult
from scpd.wire.pdu import LEAST_MAXIMUM_LENGTH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scpd.wire.contexts import PresentationContextRQ
    from scpd.wire.pdu import AssociateAC, AssociateRQ
    from scpd.wire.user_info import RoleSelection

_WORDS = {
    ContextResult.USER_REJECTION: "user rejection",
    ContextResult.NO_REASON: "no reason given",
    ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED: "abstract syntax not supported",
    ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED: "none of its transfer syntaxes is supported",
}


def conclude(request: AssociateRQ, answer: AssociateAC) -> Agreement:
    """The agreement as the requestor has it: the roles in its contexts are the requestor's own.

    Raises :class:`ProtocolError` for a transfer syntax that was not proposed, or a maximum length without room.
    """
    peer_length = announced_length(answer.user_information)
    if 0 < peer_length < LEAST_MAXIMUM_LENGTH:
        raise ProtocolError(f"the peer's maximum length of {peer_length} bytes leaves no room for a fragment")
    answers = {context.context_id: context for context in answer.presentation_contexts}
    proposals = first_of_each(request.user_information.roles)
    granted = first_of_each(answer.user_information.roles)
    accepted: dict[int, AcceptedContext] = {}
    rejected: list[RejectedContext] = []
    for proposed in request.presentation_contexts:
        context_id, abstract_syntax = proposed.context_id, proposed.abstract_syntax
        answered = answers.get(context_id)
        if answered is None:
            why = "the peer did not answer it"
            rejected.append(RejectedContext(context_id, abstract_syntax, ContextResult.NO_REASON, why))
        elif answered.result != ContextResult.ACCEPTANCE:
            result = ContextResult(answered.result)
            rejected.append(RejectedContext(context_id, abstract_syntax, result, _WORDS[result]))
        else:
            accepted[context_id] = _accepted(proposed, answered.transfer_syntax, proposals, granted)
    return Agreement(answer, accepted, tuple(rejected), peer_length)


def _accepted(
    proposed: PresentationContextRQ,
    syntax: str,
    proposals: Mapping[str, RoleSelection],
    granted: Mapping[str, RoleSelection],
) -> AcceptedContext:
    if syntax not in proposed.transfer_syntaxes:
        raise ProtocolError(f"the peer accepted context {proposed.context_id} in a syntax nobody proposed")
    proposal, grant = proposals.get(proposed.abstract_syntax), granted.get(proposed.abstract_syntax)
    as_scu, as_scp = True, False  # no answer: the default roles (PS3.7 D.3.3.4)
    if proposal and grant:
        as_scu, as_scp = proposal.scu_role and grant.scu_role, proposal.scp_role and grant.scp_role
    return AcceptedContext(proposed.context_id, proposed.abstract_syntax, syntax, as_scu, as_scp)
