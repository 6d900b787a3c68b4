"""Extended negotiation (PS3.7 D.3.3.3, D.3.3.5, D.3.3.6): every answer against every proposal."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from scpd.negotiation import extended
from scpd.negotiation.agree import accept, agree
from scpd.negotiation.offer import NO_EXTENSIONS, Extensions, Rejection
from scpd.wire.user_info import (
    AsynchronousOperationsWindow,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityAC,
)

CT, MR, FIND = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.2.2.1"
STORAGE_SERVICE = "1.2.840.10008.4.2"
UNLIMITED = float("inf")
COUNTS = (0, 1, 2, 65535)


def meant(count: int) -> float:
    return count or UNLIMITED


# -- the asynchronous operations window


def test_no_window_is_not_answered_whatever_the_acceptor_takes():
    def never(invoked, performed):
        raise AssertionError("asked about a window that nobody proposed")

    assert extended.window(None, NO_EXTENSIONS) is None
    assert extended.window(None, Extensions(window=never)) is None


@pytest.mark.parametrize("proposed", list(product(COUNTS, repeat=2)))
def test_a_window_is_one_one_unless_handled(proposed):
    answer = extended.window(AsynchronousOperationsWindow(*proposed), NO_EXTENSIONS)
    assert answer == AsynchronousOperationsWindow(1, 1)


@pytest.mark.parametrize(("proposed", "taken"), list(product(product(COUNTS, repeat=2), repeat=2)))
def test_a_window_is_the_lesser_of_what_was_proposed_and_is_taken(proposed, taken):
    """0 is without limit: it is more than any number, and only the answer to itself."""
    asked = []

    def take(invoked, performed):
        asked.append((invoked, performed))
        return taken

    answer = extended.window(AsynchronousOperationsWindow(*proposed), Extensions(window=take))
    assert asked == [proposed]
    for got, proposal, given in zip((answer.invoked, answer.performed), proposed, taken, strict=True):
        assert meant(got) == min(meant(proposal), meant(given))


@for_all(*[st.integers(0, 65535)] * 4)
def test_no_answer_is_ever_beyond_the_proposal(invoked, performed, most_invoked, most_performed):
    taken = Extensions(window=lambda *_: (most_invoked, most_performed))
    answer = extended.window(AsynchronousOperationsWindow(invoked, performed), taken)
    assert meant(answer.invoked) <= meant(invoked)
    assert meant(answer.performed) <= meant(performed)


# -- SOP class extended


def test_without_a_handler_nothing_is_answered():
    assert extended.answer((SOPClassExtendedNegotiation(CT, b"\1"),), NO_EXTENSIONS) == ()
    assert extended.answer((), NO_EXTENSIONS) == ()


def test_the_handler_is_not_asked_about_nothing():
    def never(proposed):
        raise AssertionError("asked about nothing")

    assert extended.answer((), Extensions(extended=never)) == ()
    assert extended.common((), Extensions(common_extended=never)) == {}


@pytest.mark.parametrize("taken", [frozenset(one) for one in product([CT, FIND, MR], repeat=2)] + [frozenset()])
def test_answers_are_for_what_was_proposed_in_its_order(taken):
    """What was not proposed is not answered; what is left out is not supported (D.3.3.5)."""
    proposed = (SOPClassExtendedNegotiation(FIND, b"\1\2"), SOPClassExtendedNegotiation(CT, b""))
    asked = []

    def take(items):
        asked.append(dict(items))
        return dict.fromkeys(taken, b"answer")

    answers = extended.answer(proposed, Extensions(extended=take))
    assert asked == [{FIND: b"\1\2", CT: b""}]
    assert answers == tuple(SOPClassExtendedNegotiation(uid, b"answer") for uid in (FIND, CT) if uid in taken)


def test_of_several_proposals_for_a_class_the_last_one_counts_and_one_is_answered():
    proposed = (SOPClassExtendedNegotiation(CT, b"\1"), SOPClassExtendedNegotiation(CT, b"\2"))
    answers = extended.answer(proposed, Extensions(extended=dict))
    assert answers == (SOPClassExtendedNegotiation(CT, b"\2"),)


# -- SOP class common extended


def common(uid: str) -> SOPClassCommonExtendedNegotiation:
    return SOPClassCommonExtendedNegotiation(uid, STORAGE_SERVICE, (MR,))


def test_common_extended_without_a_handler_is_not_gone_by():
    assert extended.common((common(CT),), NO_EXTENSIONS) == {}


def test_common_extended_that_was_not_proposed_is_not_gone_by():
    asked = []

    def take(items):
        asked.append(dict(items))
        return {CT: items[CT], MR: common(MR)}

    accepted = extended.common((common(CT), common(FIND)), Extensions(common_extended=take))
    assert asked == [{CT: common(CT), FIND: common(FIND)}]
    assert accepted == {CT: common(CT)}


# -- in a whole association


def test_an_agreement_answers_window_and_extended_and_keeps_common(offer, ask):
    """The A-ASSOCIATE-AC has no common extended item (D.3.3.6)."""
    extensions = Extensions(window=lambda *_: (3, 4), extended=dict, common_extended=dict)
    request = ask(
        window=AsynchronousOperationsWindow(2, 0),
        extended=(SOPClassExtendedNegotiation(CT, b"\1"),),
        common_extended=(common(CT),),
    )
    agreement = agree(request, offer(extensions=extensions))
    information = agreement.answer.user_information
    assert information.window == AsynchronousOperationsWindow(2, 4)
    assert information.extended == (SOPClassExtendedNegotiation(CT, b"\1"),)
    assert information.common_extended == ()
    assert agreement.common_extended == {CT: common(CT)}


def test_an_agreement_without_extensions_answers_the_window_alone(offer, ask):
    request = ask(
        window=AsynchronousOperationsWindow(9, 9),
        extended=(SOPClassExtendedNegotiation(CT, b"\1"),),
        common_extended=(common(CT),),
    )
    agreement = agree(request, offer())
    information = agreement.answer.user_information
    assert information.window == AsynchronousOperationsWindow(1, 1)
    assert (information.extended, information.common_extended, agreement.common_extended) == ((), (), {})
    assert agree(ask(), offer()).answer.user_information.window is None


def test_an_identity_is_answered_with_what_it_was_given(offer, ask):
    response = UserIdentityAC(b"answer")
    assert accept(ask(), offer(), response).answer.user_information.identity_response == response
    assert accept(ask(), offer()).answer.user_information.identity_response is None


@pytest.mark.parametrize("length", [64_000, 65_400, 65_500, 65_533])
def test_what_has_no_room_in_an_answer_rejects_the_association(offer, ask, length):
    """The user information item has 65535 bytes (PS3.8 9.3.3.3); whatever is accepted can be encoded."""
    claimed = accept(ask(), offer(), UserIdentityAC(bytes(length)))
    request = ask(extended=(SOPClassExtendedNegotiation(CT, b""),))
    extensions = Extensions(extended=lambda _: {CT: bytes(length - len(CT))})
    extended_ = agree(request, offer(extensions=extensions))
    for outcome in (claimed, extended_):
        if isinstance(outcome, Rejection):
            assert (outcome.answer.result, outcome.answer.source, outcome.answer.reason) == (1, 2, 1)
            assert length > 65_400
        else:
            assert len(outcome.answer.encode()) > length
