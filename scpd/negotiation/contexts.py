"""One proposed presentation context at a time (PS3.7 annex D.3.2, PS3.8 9.3.3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.names import quote
from scpd.negotiation import roles
from scpd.negotiation.offer import AcceptedContext, Offer, RejectedContext
from scpd.wire.contexts import ContextResult

if TYPE_CHECKING:
    from scpd.negotiation.roles import Roles
    from scpd.wire.contexts import PresentationContextRQ
    from scpd.wire.user_info import RoleSelection


def choose_transfer_syntax(proposed: tuple[str, ...], supported: tuple[str, ...], preference: str) -> str | None:
    """The first common transfer syntax in the order of whoever is preferred, or None."""
    first, other = (proposed, supported) if preference == "requestor" else (supported, proposed)
    return next((syntax for syntax in first if syntax in other), None)


def decide(
    proposed: PresentationContextRQ, offer: Offer, proposal: RoleSelection | None
) -> tuple[AcceptedContext | RejectedContext, Roles]:
    """Accept or reject one proposed context, with the roles that hold in it.

    The results are those of PS3.8 table 9-18: 3 when the abstract syntax is unknown, 4 when no transfer syntax is
    shared, 1 when role selection leaves neither side a role or the context is not for this peer.
    """

    def rejected(result: ContextResult, why: str) -> RejectedContext:
        return RejectedContext(proposed.context_id, proposed.abstract_syntax, result, why)

    supported = offer.contexts.get(proposed.abstract_syntax)
    if supported is None:
        return rejected(ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, "abstract syntax not supported"), roles.DEFAULT
    syntax = choose_transfer_syntax(proposed.transfer_syntaxes, supported.transfer_syntaxes, offer.preference)
    if syntax is None:
        offered = " ".join(quote(syntax) for syntax in proposed.transfer_syntaxes[:8])
        why = f"none of its transfer syntaxes is supported: {offered}"
        return rejected(ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, why), roles.DEFAULT
    granted = roles.decide(supported, proposal)
    if granted.none:
        return rejected(ContextResult.USER_REJECTION, "none of the proposed roles is accepted"), granted
    accepted = AcceptedContext(proposed.context_id, proposed.abstract_syntax, syntax, granted.as_scu, granted.as_scp)
    forbidden = offer.forbids(accepted) if offer.forbids else ""
    return (rejected(ContextResult.USER_REJECTION, forbidden), roles.DEFAULT) if forbidden else (accepted, granted)
