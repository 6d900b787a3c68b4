"""The whole of an A-ASSOCIATE-RQ: an agreement with its A-ASSOCIATE-AC, or a rejection with its A-ASSOCIATE-RJ."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scpd.names import is_uid, quote
from scpd.negotiation import contexts, extended, reject
from scpd.negotiation.offer import (
    AcceptedContext,
    Agreement,
    Offer,
    RejectedContext,
    Rejection,
    announced_length,
)
from scpd.negotiation.roles import first_of_each
from scpd.wire.contexts import ContextResult, PresentationContextAC
from scpd.wire.pdu import APPLICATION_CONTEXT_NAME, LEAST_MAXIMUM_LENGTH, AssociateAC
from scpd.wire.user_info import UserInformation

if TYPE_CHECKING:
    from scpd.wire.pdu import AssociateRQ
    from scpd.wire.user_info import RoleSelection, UserIdentityAC


def agree(request: AssociateRQ, offer: Offer) -> Agreement | Rejection:
    """What ``offer`` makes of ``request`` (PS3.7 annex D, PS3.8 9.3.2 to 9.3.4)."""
    return refuse(request, offer) or accept(request, offer)


def refuse(request: AssociateRQ, offer: Offer) -> Rejection | None:
    """The reason to reject the request as a whole, if there is one."""
    if not request.protocol_version & 1:  # PS3.8 9.3.2: bit 0 alone is tested
        return reject.protocol_version(f"protocol version {request.protocol_version:04X}H lacks bit 0")
    if request.application_context_name != APPLICATION_CONTEXT_NAME:
        return reject.application_context(
            f"application context name {quote(request.application_context_name)} is not DICOM's"
        )
    if offer.check_called_ae_title and request.called_ae_title != offer.ae_title:
        return reject.called_ae_title(
            f"called AE title {quote(request.called_ae_title)} is not {quote(offer.ae_title)}", "called_ae_title"
        )
    announced = announced_length(request.user_information)
    if 0 < announced < LEAST_MAXIMUM_LENGTH:
        return reject.no_reason(f"its maximum length of {announced} bytes leaves no room for a fragment")
    return None


def accept(request: AssociateRQ, offer: Offer, identity: UserIdentityAC | None = None) -> Agreement | Rejection:
    """The agreement with a request that is not refused; ``identity`` is the positive response to a user identity.

    A rejection where what would have to be answered has no room in an A-ASSOCIATE-AC.
    """
    proposals = first_of_each(request.user_information.roles)
    extensions = extended.answer(request.user_information.extended, offer.extensions)
    information = {item.sop_class_uid: item.information for item in extensions}
    accepted: dict[int, AcceptedContext] = {}
    rejected: list[RejectedContext] = []
    answers: list[PresentationContextAC] = []
    granted: dict[str, RoleSelection] = {}
    for proposed in request.presentation_contexts:
        decision, roles = contexts.decide(proposed, offer, proposals.get(proposed.abstract_syntax))
        if roles.answer:
            granted[proposed.abstract_syntax] = roles.answer
        if isinstance(decision, AcceptedContext):
            known = information.get(decision.abstract_syntax)
            accepted[decision.context_id] = replace(decision, extended=known) if known else decision
            answers.append(
                PresentationContextAC(decision.context_id, ContextResult.ACCEPTANCE, decision.transfer_syntax)
            )
        else:
            rejected.append(decision)
            syntax = proposed.transfer_syntaxes[0] if proposed.transfer_syntaxes else ""
            answers.append(PresentationContextAC(decision.context_id, decision.result, _safe(syntax)))
    asked = request.user_information
    user_information = UserInformation(
        maximum_length=offer.maximum_length,
        implementation_class_uid=offer.implementation_class_uid,
        implementation_version_name=offer.implementation_version_name,
        window=extended.window(asked.window, offer.extensions),
        roles=tuple(granted.values()),
        extended=extensions,
        identity_response=identity,
    )
    if (identity or user_information.extended) and not user_information.fits:
        return reject.no_reason("the user information to be answered is longer than its item may be")
    return Agreement(
        AssociateAC(
            called_field=request.called_field,
            calling_field=request.calling_field,
            reserved=request.reserved,
            user_information=user_information,
            presentation_contexts=tuple(answers),
        ),
        accepted,
        tuple(rejected),
        announced_length(asked),
        extended.common(asked.common_extended, offer.extensions),
    )


def _safe(name: str) -> str:
    # A rejected context repeats a transfer syntax that nobody tests (PS3.8 9.3.3.2): what is no UID stays away.
    return name if is_uid(name) else ""
