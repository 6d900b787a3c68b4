"""Presentation contexts: what is chosen, and the results of PS3.8 table 9-18."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpd.negotiation.agree import agree
from scpd.negotiation.contexts import choose_transfer_syntax
from scpd.negotiation.offer import AcceptedContext, RejectedContext, SupportedContext
from scpd.wire.contexts import ContextResult, PresentationContextAC
from scpd.wire.user_info import RoleSelection

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.70"


def test_result_0_a_context_that_both_know(offer, ask):
    agreement = agree(ask((1, CT, (IMPLICIT,))), offer())
    assert agreement.answer.presentation_contexts == (PresentationContextAC(1, 0, IMPLICIT),)
    assert agreement.contexts == {1: AcceptedContext(1, CT, IMPLICIT, as_scu=False, as_scp=True)}
    assert agreement.rejected == ()


def test_result_1_when_no_role_is_left(offer, ask):
    contexts = {CT: SupportedContext(CT, (IMPLICIT,), scu_role=True, scp_role=False)}
    agreement = agree(ask((1, CT, (IMPLICIT,)), roles=(RoleSelection(CT, False, True),)), offer(contexts=contexts))
    assert agreement.answer.presentation_contexts == (PresentationContextAC(1, 1, IMPLICIT),)
    assert agreement.rejected[0].result is ContextResult.USER_REJECTION


def test_result_3_an_abstract_syntax_that_is_not_supported(offer, ask):
    agreement = agree(ask((1, MR, (IMPLICIT,))), offer())
    assert agreement.answer.presentation_contexts == (PresentationContextAC(1, 3, IMPLICIT),)
    assert agreement.rejected == (RejectedContext(1, MR, 3, "abstract syntax not supported"),)
    assert agreement.contexts == {}


def test_result_4_no_transfer_syntax_in_common(offer, ask):
    agreement = agree(ask((1, CT, (JPEG,))), offer())
    assert agreement.answer.presentation_contexts == (PresentationContextAC(1, 4, JPEG),)
    assert agreement.rejected[0].result is ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
    assert JPEG in agreement.rejected[0].why


@pytest.mark.parametrize(("abstract", "syntaxes", "result"), [("", (IMPLICIT,), 3), (CT, (), 4), ("", (), 3)])
def test_a_context_without_names_is_rejected_and_the_others_are_not(abstract, syntaxes, result, offer, ask):
    agreement = agree(ask((1, abstract, syntaxes), (3, CT, (IMPLICIT,))), offer())
    assert [one.result for one in agreement.answer.presentation_contexts] == [result, 0]
    assert list(agreement.contexts) == [3]


@pytest.mark.parametrize(
    ("preference", "proposed", "chosen"),
    [
        ("requestor", (EXPLICIT, IMPLICIT), EXPLICIT),
        ("requestor", (IMPLICIT, EXPLICIT), IMPLICIT),
        ("requestor", (JPEG, EXPLICIT, IMPLICIT), EXPLICIT),
        ("acceptor", (EXPLICIT, IMPLICIT), IMPLICIT),
        ("acceptor", (IMPLICIT, EXPLICIT), IMPLICIT),
        ("acceptor", (JPEG, EXPLICIT), EXPLICIT),
    ],
)
def test_the_transfer_syntax_is_the_first_in_the_order_of_whoever_is_preferred(
    preference, proposed, chosen, offer, ask
):
    agreement = agree(ask((1, CT, proposed)), offer(preference=preference))
    assert agreement.contexts[1].transfer_syntax == chosen
    assert agreement.answer.presentation_contexts[0].transfer_syntax == chosen


SYNTAXES = st.lists(st.sampled_from("abcdef"), max_size=6, unique=True).map(tuple)


@given(SYNTAXES, SYNTAXES, st.sampled_from(["requestor", "acceptor"]))
def test_the_choice_is_common_to_both_or_there_is_none(proposed, supported, preference):
    chosen = choose_transfer_syntax(proposed, supported, preference)
    common = set(proposed) & set(supported)
    assert (chosen is None) == (not common)
    if chosen:
        order = proposed if preference == "requestor" else supported
        assert chosen == min(common, key=order.index)


def test_the_same_abstract_syntax_several_times_is_several_contexts(offer, ask):
    """How a requestor asks for each encoding by itself, and the answer to each stands for itself."""
    request = ask((1, CT, (EXPLICIT,)), (3, CT, (IMPLICIT,)), (5, CT, (JPEG,)), (7, CT, (EXPLICIT,)))
    agreement = agree(request, offer())
    assert {number: one.transfer_syntax for number, one in agreement.contexts.items()} == {
        1: EXPLICIT,
        3: IMPLICIT,
        7: EXPLICIT,
    }
    assert [one.result for one in agreement.answer.presentation_contexts] == [0, 0, 4, 0]


def test_128_contexts_are_answered_each_in_the_order_they_came(offer, ask):
    numbers = [*range(255, 128, -2), *range(1, 128, 2)]
    names = [CT, MR, VERIFICATION]
    request = ask(*((number, names[number % 3], (EXPLICIT, IMPLICIT)) for number in numbers))
    agreement = agree(request, offer())
    assert [one.context_id for one in agreement.answer.presentation_contexts] == numbers
    assert len(agreement.contexts) + len(agreement.rejected) == 128
    assert {one.abstract_syntax for one in agreement.rejected} == {MR}


def test_an_association_without_any_accepted_context_is_still_accepted(offer, ask):
    """PS3.8 leaves that to the requestor, who learns from the results why."""
    agreement = agree(ask((1, MR, (IMPLICIT,))), offer(contexts={}))
    assert [one.result for one in agreement.answer.presentation_contexts] == [3]


@pytest.mark.parametrize("name", ["x" * 70, "1.2.x", "1.02", "\\xff", ""])
def test_a_rejected_context_does_not_send_back_what_is_no_uid(name, offer, ask):
    agreement = agree(ask((1, MR, (name,))), offer())
    assert agreement.answer.presentation_contexts == (PresentationContextAC(1, 3, ""),)


def test_the_words_for_a_log_quote_what_the_peer_sent_and_are_bounded(offer, ask):
    syntaxes = tuple(f"1.2.{number}\n" + "9" * 300 for number in range(1000))
    why = agree(ask((1, CT, syntaxes)), offer()).rejected[0].why
    assert "\n" not in why
    assert len(why) < 1000
