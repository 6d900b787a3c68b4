"""What an A-ASSOCIATE-AC means for who asked for it: contexts, roles, lengths, and what is a breach."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from scpd.errors import ProtocolError
from scpd.negotiation.agree import agree
from scpd.negotiation.conclude import conclude
from scpd.negotiation.offer import SupportedContext
from scpd.wire.contexts import ContextResult, PresentationContextAC
from scpd.wire.pdu import LEAST_MAXIMUM_LENGTH, AssociateAC
from scpd.wire.user_info import RoleSelection, UserInformation

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
PAIRS = list(product((False, True), repeat=2))


@pytest.fixture
def answer(ask):
    """An A-ASSOCIATE-AC to ``ask()`` with these contexts (ID, result, transfer syntax) and user information."""

    def build(*contexts, **inside) -> AssociateAC:
        request = ask()
        return AssociateAC(
            called_field=request.called_field,
            calling_field=request.calling_field,
            user_information=replace(UserInformation(maximum_length=16384), **inside),
            presentation_contexts=tuple(PresentationContextAC(*one) for one in contexts),
        )

    return build


def test_accepted_and_rejected_contexts_by_their_id(ask, answer):
    request = ask(
        (1, CT, (EXPLICIT,)), (3, CT, (IMPLICIT, EXPLICIT)), (5, VERIFICATION, (IMPLICIT,)), (255, CT, (EXPLICIT,))
    )
    agreement = conclude(request, answer((1, 0, EXPLICIT), (3, 4, IMPLICIT), (5, 3, ""), (255, 0, EXPLICIT)))
    assert list(agreement.contexts) == [1, 255]
    one = agreement.contexts[1]
    assert (one.context_id, one.abstract_syntax, one.transfer_syntax) == (1, CT, EXPLICIT)
    assert [(one.context_id, one.abstract_syntax, one.result) for one in agreement.rejected] == [
        (3, CT, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED),
        (5, VERIFICATION, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED),
    ]


@pytest.mark.parametrize("result", [one for one in ContextResult if one != ContextResult.ACCEPTANCE])
def test_every_result_of_table_9_18_in_words(ask, answer, result):
    (rejected,) = conclude(ask(), answer((1, result, ""))).rejected
    assert rejected.result == result
    assert rejected.why


@pytest.mark.parametrize("syntax", ["", EXPLICIT, "1.2.3", "no uid"])
def test_the_transfer_syntax_of_a_rejected_context_is_not_looked_at(ask, answer, syntax):
    """PS3.8 9.3.3.2."""
    agreement = conclude(ask(), answer((1, 3, syntax)))
    assert (dict(agreement.contexts), len(agreement.rejected)) == ({}, 1)


def test_a_context_that_is_not_answered_is_rejected(ask, answer):
    request = ask((1, CT, (EXPLICIT,)), (3, VERIFICATION, (IMPLICIT,)))
    agreement = conclude(request, answer((3, 0, IMPLICIT)))
    assert list(agreement.contexts) == [3]
    (rejected,) = agreement.rejected
    assert (rejected.context_id, rejected.result) == (1, ContextResult.NO_REASON)
    assert "not answer" in rejected.why


def test_an_answer_to_a_context_that_nobody_proposed_is_passed_over(ask, answer):
    agreement = conclude(ask(), answer((1, 0, EXPLICIT), (7, 0, EXPLICIT), (9, 3, "")))
    assert list(agreement.contexts) == [1]
    assert agreement.rejected == ()


def test_contexts_may_be_answered_in_any_order(ask, answer):
    request = ask((1, CT, (EXPLICIT,)), (3, VERIFICATION, (IMPLICIT,)))
    agreement = conclude(request, answer((3, 0, IMPLICIT), (1, 0, EXPLICIT)))
    assert list(agreement.contexts) == [1, 3]


@pytest.mark.parametrize("syntax", ["", IMPLICIT + ".99", "1.2.840.10008.1.2.4.50", "no uid"])
def test_an_accepted_transfer_syntax_that_nobody_proposed_is_a_breach(ask, answer, syntax):
    with pytest.raises(ProtocolError, match="context 1 in a syntax nobody proposed"):
        conclude(ask(), answer((1, 0, syntax)))


@pytest.mark.parametrize("result", [5, 6, 255])
def test_a_result_that_table_9_18_has_not_never_comes_so_far(answer, result):
    """It is a breach where the PDU is read, so every result here has words."""
    body = memoryview(answer((1, result, "")).encode())[6:]
    with pytest.raises(ProtocolError, match="unknown result"):
        AssociateAC.decode(body)


# -- the peer's maximum length


@pytest.mark.parametrize(
    ("announced", "expected"),
    [(0, 0), (LEAST_MAXIMUM_LENGTH, LEAST_MAXIMUM_LENGTH), (16384, 16384), (2**32 - 1, 2**32 - 1), (None, 16384)],
)
def test_the_peers_maximum_length(ask, answer, announced, expected):
    """0 is without limit; who says nothing gets what everybody takes (PS3.8 D.1)."""
    assert conclude(ask(), answer((1, 0, EXPLICIT), maximum_length=announced)).peer_maximum_length == expected


@pytest.mark.parametrize("announced", range(1, LEAST_MAXIMUM_LENGTH))
def test_a_maximum_length_without_room_for_a_fragment_is_a_breach(ask, answer, announced):
    with pytest.raises(ProtocolError, match="leaves no room"):
        conclude(ask(), answer((1, 0, EXPLICIT), maximum_length=announced))


# -- roles


@pytest.mark.parametrize("granted", [None, *PAIRS])
@pytest.mark.parametrize("proposed", [None, *PAIRS])
def test_roles_are_what_was_proposed_and_granted(ask, answer, proposed, granted):
    """Default without a proposal or without an answer; never a role that was not proposed (PS3.7 D.3.3.4)."""
    asked = () if proposed is None else (RoleSelection(CT, *proposed),)
    given = () if granted is None else (RoleSelection(CT, *granted),)
    agreement = conclude(ask(roles=asked), answer((1, 0, EXPLICIT), roles=given))
    one = agreement.contexts[1]
    if proposed is None or granted is None:
        assert (one.as_scu, one.as_scp) == (True, False)
    else:
        assert (one.as_scu, one.as_scp) == (proposed[0] and granted[0], proposed[1] and granted[1])


def test_roles_are_those_of_their_own_sop_class(ask, answer):
    request = ask((1, CT, (EXPLICIT,)), (3, VERIFICATION, (IMPLICIT,)), roles=(RoleSelection(CT, True, True),))
    roles = (RoleSelection(CT, False, True), RoleSelection(VERIFICATION, False, True))
    agreement = conclude(request, answer((1, 0, EXPLICIT), (3, 0, IMPLICIT), roles=roles))
    assert (agreement.contexts[1].as_scu, agreement.contexts[1].as_scp) == (False, True)
    assert (agreement.contexts[3].as_scu, agreement.contexts[3].as_scp) == (True, False)


@pytest.mark.parametrize("supported", list(product((None, False, True), repeat=2)))
@pytest.mark.parametrize("proposed", [None, *PAIRS])
def test_both_sides_have_the_same_roles_the_other_way_round(ask, offer, proposed, supported):
    """Acceptor and requestor, each by its own reading of the same two PDUs."""
    request = ask(roles=() if proposed is None else (RoleSelection(CT, *proposed),))
    ours = agree(request, offer(contexts={CT: SupportedContext(CT, (IMPLICIT, EXPLICIT), *supported)}))
    theirs = conclude(request, ours.answer)
    assert list(ours.contexts) == list(theirs.contexts)
    for context_id, one in ours.contexts.items():
        other = theirs.contexts[context_id]
        assert (one.as_scu, one.as_scp) == (other.as_scp, other.as_scu)
        assert one.transfer_syntax == other.transfer_syntax
    assert [one.result for one in ours.rejected] == [one.result for one in theirs.rejected]


def test_the_agreement_holds_the_answer(ask, answer):
    given = answer((1, 0, EXPLICIT))
    assert conclude(ask(), given).answer is given
