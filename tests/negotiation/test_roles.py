"""SCP/SCU role selection (PS3.7 D.3.3.4): every proposal against everything that may be supported."""

from __future__ import annotations

from itertools import product

import pytest

from scpd.negotiation import roles
from scpd.negotiation.agree import agree
from scpd.negotiation.offer import SupportedContext
from scpd.wire.contexts import ContextResult
from scpd.wire.user_info import RoleSelection

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"

# (proposed SCU, proposed SCP, supported SCU, supported SCP) → the answer's (SCU, SCP).
# Where nothing stands the answer is silence and the default roles hold: requestor SCU, acceptor SCP.
ANSWERS = {
    (0, 0, 0, 0): (0, 0),
    (0, 0, 0, 1): (0, 0),
    (0, 0, 1, 0): (0, 0),
    (0, 0, 1, 1): (0, 0),
    (0, 1, 0, 0): (0, 0),
    (0, 1, 0, 1): (0, 1),
    (0, 1, 1, 0): (0, 0),
    (0, 1, 1, 1): (0, 1),
    (1, 0, 0, 0): (0, 0),
    (1, 0, 0, 1): (0, 0),
    (1, 0, 1, 0): (1, 0),
    (1, 0, 1, 1): (1, 0),
    (1, 1, 0, 0): (0, 0),
    (1, 1, 0, 1): (0, 1),
    (1, 1, 1, 0): (1, 0),
    (1, 1, 1, 1): (1, 1),
}
PROPOSALS = [None, *product((False, True), repeat=2)]
SUPPORTED = list(product((None, False, True), repeat=2))


@pytest.mark.parametrize("supported", SUPPORTED)
@pytest.mark.parametrize("proposed", PROPOSALS)
def test_decide(proposed, supported):
    proposal = None if proposed is None else RoleSelection(CT, *proposed)
    got = roles.decide(SupportedContext(CT, (IMPLICIT,), *supported), proposal)
    if proposed is None or None in supported:
        assert got == (False, True, None)
    else:
        scu, scp = map(bool, ANSWERS[*proposed, *supported])
        assert got == (scp, scu, RoleSelection(CT, scu, scp))
        assert got.none is not (scu or scp)


@pytest.mark.parametrize("supported", SUPPORTED)
@pytest.mark.parametrize("proposed", PROPOSALS)
def test_agree(proposed, supported, offer, ask):
    """The same in a whole association: the context's result, our roles in it and the sub-item that goes back."""
    proposals = () if proposed is None else (RoleSelection(CT, *proposed),)
    contexts = {CT: SupportedContext(CT, (IMPLICIT,), *supported)}
    agreement = agree(ask(roles=proposals), offer(contexts=contexts))
    (answered,) = agreement.answer.presentation_contexts
    if proposed is None or None in supported:
        assert agreement.answer.user_information.roles == ()
        assert (agreement.contexts[1].as_scu, agreement.contexts[1].as_scp) == (False, True)
        return
    scu, scp = map(bool, ANSWERS[*proposed, *supported])
    assert agreement.answer.user_information.roles == (RoleSelection(CT, scu, scp),)
    if scu or scp:
        assert answered.result == ContextResult.ACCEPTANCE
        assert (agreement.contexts[1].as_scu, agreement.contexts[1].as_scp) == (scp, scu)
    else:
        assert answered.result == ContextResult.USER_REJECTION
        assert agreement.contexts == {}
        assert agreement.rejected[0].why == "none of the proposed roles is accepted"


def test_roles_of_a_sop_class_that_is_not_supported_are_not_answered(offer, ask):
    agreement = agree(ask((1, "1.2.3", (IMPLICIT,)), roles=(RoleSelection("1.2.3", True, True),)), offer())
    assert agreement.answer.user_information.roles == ()


def test_roles_of_a_sop_class_that_is_in_no_context_are_not_answered(offer, ask):
    agreement = agree(ask(roles=(RoleSelection("1.2.3", True, True),)), offer())
    assert agreement.answer.user_information.roles == ()


def test_of_two_proposals_for_a_sop_class_the_first_counts(offer, ask):
    proposals = (RoleSelection(CT, False, True), RoleSelection(CT, True, False))
    assert agree(ask(roles=proposals), offer()).answer.user_information.roles == proposals[:1]


def test_roles_hold_in_every_context_of_their_sop_class_and_are_answered_once(offer, ask):
    request = ask(
        (1, CT, (IMPLICIT,)), (3, CT, (IMPLICIT,)), (5, CT, ("1.2.9",)), roles=(RoleSelection(CT, False, True),)
    )
    agreement = agree(request, offer())
    assert [(one.as_scu, one.as_scp) for one in agreement.contexts.values()] == [(True, False)] * 2
    assert agreement.answer.user_information.roles == (RoleSelection(CT, False, True),)
