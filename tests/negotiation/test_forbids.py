"""What is not for this peer: a context is refused with result 1, as if for its roles, and the association goes on."""

from __future__ import annotations

import pytest

from scpd.identity.access import Permission
from scpd.negotiation.agree import agree
from scpd.negotiation.offer import AcceptedContext, RejectedContext
from scpd.wire.contexts import ContextResult, PresentationContextAC
from scpd.wire.pdu import AssociateAC
from scpd.wire.user_info import RoleSelection

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.70"


def not_ct(context: AcceptedContext) -> str:
    return "CT is not for you" if context.abstract_syntax == CT else ""


def test_a_forbidden_context_is_result_1_and_the_others_and_the_association_are_accepted(offer, ask):
    agreement = agree(ask((1, CT, (IMPLICIT,)), (3, VERIFICATION, (IMPLICIT,))), offer(forbids=not_ct))
    assert isinstance(agreement.answer, AssociateAC)
    assert agreement.answer.presentation_contexts == (
        PresentationContextAC(1, 1, IMPLICIT),
        PresentationContextAC(3, 0, IMPLICIT),
    )
    assert agreement.rejected == (RejectedContext(1, CT, ContextResult.USER_REJECTION, "CT is not for you"),)
    assert list(agreement.contexts) == [3]


def test_with_every_context_forbidden_the_association_is_accepted_all_the_same(offer, ask):
    """What is left of use is for the requestor to judge."""
    agreement = agree(ask((1, CT, (IMPLICIT,))), offer(forbids=lambda context: "no"))
    assert isinstance(agreement.answer, AssociateAC)
    assert agreement.contexts == {}


def test_an_offer_that_forbids_nothing_accepts_what_it_did(offer, ask):
    request = ask((1, CT, (IMPLICIT,)), (3, MR, (IMPLICIT,)), roles=(RoleSelection(CT, True, True),))
    assert agree(request, offer(forbids=lambda context: "")) == agree(request, offer())


@pytest.mark.parametrize(
    ("proposed", "result"),
    [
        ((1, MR, (IMPLICIT,)), ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED),
        ((1, CT, (JPEG,)), ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED),
    ],
)
def test_what_could_not_be_accepted_anyway_keeps_its_own_reason_and_is_not_asked_about(proposed, result, offer, ask):
    asked: list[AcceptedContext] = []
    agreement = agree(ask(proposed), offer(forbids=lambda context: asked.append(context) or "no"))
    assert agreement.rejected[0].result is result
    assert asked == []


@pytest.mark.parametrize(
    ("proposal", "as_scu", "as_scp"),
    [(None, False, True), ((True, False), False, True), ((False, True), True, False), ((True, True), True, True)],
)
def test_it_is_asked_with_the_roles_and_the_transfer_syntax_that_would_hold(proposal, as_scu, as_scp, offer, ask):
    asked: list[AcceptedContext] = []
    roles = (RoleSelection(CT, *proposal),) if proposal else ()
    agree(ask((5, CT, (EXPLICIT,)), roles=roles), offer(forbids=lambda context: asked.append(context) or ""))
    assert asked == [AcceptedContext(5, CT, EXPLICIT, as_scu, as_scp)]


def test_the_roles_of_a_forbidden_context_are_not_answered(offer, ask):
    """They would say that the requestor has a role where it has none (PS3.7 D.3.3.4)."""
    roles = (RoleSelection(CT, False, True),)
    request = ask((1, CT, (IMPLICIT,)), (3, VERIFICATION, (IMPLICIT,)), roles=roles)
    assert agree(request, offer()).answer.user_information.roles == roles
    assert agree(request, offer(forbids=not_ct)).answer.user_information.roles == ()


@pytest.mark.parametrize(
    ("permission", "proposal", "accepted"),
    [
        (Permission(write=False), None, False),
        (Permission(write=False), (False, True), True),
        (Permission(read=False), (False, True), False),
        (Permission(read=False), (True, False), True),
        (Permission(frozenset((VERIFICATION,))), None, False),
        (Permission(), (True, True), True),
        (Permission(write=False), (True, True), False),
        (Permission(read=False), (True, True), False),
    ],
)
def test_a_permission_decides_by_the_roles_that_were_selected(permission, proposal, accepted, offer, ask):
    roles = (RoleSelection(CT, *proposal),) if proposal else ()
    agreement = agree(ask((1, CT, (IMPLICIT,)), roles=roles), offer(forbids=permission.refuses))
    assert bool(agreement.contexts) is accepted
