"""Whole lives of an association, and the questions that a connection asks the machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpd.association.actions import Tell
from scpd.association.events import RECEIVED, Event, State
from scpd.association.machine import Machine
from scpd.association.table import TABLE
from scpd.wire.fields import UNEXPECTED_PDU
from scpd.wire.pdu import Abort, AssociateRJ, PDUType, ReleaseRP, ReleaseRQ

ARTIM = 30.0


def walk(machine: Machine, *events: Event) -> list[State]:
    states = []
    for event in events:
        machine.step(event, 0.0)
        states.append(machine.state)
    return states


@pytest.fixture
def acceptor() -> Machine:
    return Machine(is_requestor=False, artim=ARTIM)


@pytest.fixture
def requestor() -> Machine:
    return Machine(is_requestor=True, artim=ARTIM)


def test_a_machine_begins_idle_and_without_timer(acceptor):
    assert (acceptor.state, acceptor.deadline) == (State.STA1, None)


def test_an_acceptor_from_connection_to_close(acceptor):
    assert walk(
        acceptor,
        Event.ACCEPTED_CONNECTION,
        Event.ASSOCIATE_RQ,
        Event.ACCEPT,
        Event.DATA_TF,
        Event.DATA_REQUEST,
        Event.RELEASE_RQ,
        Event.RELEASE_RESPONSE,
        Event.CLOSED,
    ) == [2, 3, 6, 6, 6, 8, 13, 1]
    assert acceptor.deadline is None


def test_a_requestor_from_connection_to_close(requestor):
    assert walk(
        requestor,
        Event.ASSOCIATE_REQUEST,
        Event.CONNECTED,
        Event.ASSOCIATE_AC,
        Event.DATA_REQUEST,
        Event.DATA_TF,
        Event.RELEASE_REQUEST,
        Event.DATA_TF,
        Event.RELEASE_RP,
    ) == [4, 5, 6, 6, 6, 7, 7, 1]


def test_a_release_collision_of_the_requestor(requestor):
    requestor.state = State.STA7
    assert walk(requestor, Event.RELEASE_RQ, Event.RELEASE_RESPONSE, Event.RELEASE_RP) == [9, 11, 1]


def test_a_release_collision_of_the_acceptor(acceptor):
    acceptor.state = State.STA7
    assert walk(acceptor, Event.RELEASE_RQ, Event.RELEASE_RP, Event.RELEASE_RESPONSE, Event.CLOSED) == [10, 12, 13, 1]


def test_artim_is_a_deadline_and_receiving_does_not_move_it(acceptor):
    """One byte a second does not extend it: only a whole A-ASSOCIATE-RQ stops it."""
    acceptor.step(Event.ACCEPTED_CONNECTION, 100.0)
    assert acceptor.deadline == 130.0
    acceptor.step(Event.ASSOCIATE_RQ, 129.0)
    assert acceptor.deadline is None


def test_artim_starts_anew_when_aborting(acceptor):
    acceptor.step(Event.ACCEPTED_CONNECTION, 100.0)
    acceptor.step(Event.INVALID_PDU, 120.0)
    assert acceptor.deadline == 150.0


def test_what_arrives_while_closing_does_not_move_the_deadline(acceptor):
    acceptor.state, acceptor.deadline = State.STA13, 130.0
    for pdu_type in (PDUType.P_DATA_TF, PDUType.A_ASSOCIATE_RQ, PDUType.A_RELEASE_RQ):
        acceptor.unexpected(pdu_type, 129.0)
    assert acceptor.deadline == 130.0


@pytest.mark.parametrize("state", [State.STA2, State.STA13])
def test_when_artim_expires_the_connection_is_closed(state, acceptor):
    acceptor.state, acceptor.deadline = state, 130.0
    effect = acceptor.step(Event.ARTIM_EXPIRED, 130.0)
    assert (effect.close, effect.send, acceptor.state, acceptor.deadline) == (True, None, State.STA1, None)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("pdu_type", PDUType)
def test_the_body_matters_unless_the_header_alone_decides(state, pdu_type):
    """It is read for what is used: data in Sta6 and Sta7, a PDU that the state awaits, the reasons of an A-ABORT."""
    action = TABLE.get((RECEIVED[pdu_type], state))
    decided_by_header = action in ("AA1", "AA6", "AA7", "AA8")
    assert Machine(False, ARTIM, state).wants_body(pdu_type) is not decided_by_header


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        (State.STA2, {PDUType.A_ASSOCIATE_RQ, PDUType.A_ABORT}),
        (State.STA3, {PDUType.A_ABORT}),
        (State.STA5, {PDUType.A_ASSOCIATE_AC, PDUType.A_ASSOCIATE_RJ, PDUType.A_ABORT}),
        (State.STA6, {PDUType.P_DATA_TF, PDUType.A_RELEASE_RQ, PDUType.A_ABORT}),
        (State.STA7, {PDUType.P_DATA_TF, PDUType.A_RELEASE_RQ, PDUType.A_RELEASE_RP, PDUType.A_ABORT}),
        (State.STA8, {PDUType.A_ABORT}),
        (State.STA13, {PDUType.A_ABORT}),
    ],
)
def test_which_bodies_a_state_wants(state, wanted):
    machine = Machine(False, ARTIM, state)
    assert {pdu_type for pdu_type in PDUType if machine.wants_body(pdu_type)} == wanted


@pytest.mark.parametrize("pdu_type", [PDUType.A_ASSOCIATE_RQ, PDUType.A_ASSOCIATE_AC, PDUType.A_RELEASE_RP])
def test_an_unexpected_pdu_is_aborted_as_such(pdu_type):
    machine = Machine(False, ARTIM, State.STA6)
    effect = machine.unexpected(pdu_type, 5.0)
    assert effect.send == Abort(source=2, reason=UNEXPECTED_PDU)
    assert (machine.state, machine.deadline) == (State.STA13, 35.0)


def test_data_that_crosses_our_release_is_still_data(requestor):
    requestor.state = State.STA7
    assert requestor.step(Event.DATA_TF, 0.0).tell is Tell.DATA_INDICATION


HANDED_OVER = {Event.REJECT: AssociateRJ(1, 1, 1)}
CHOICES = st.lists(st.sampled_from(Event), min_size=1, max_size=40)


@given(events=CHOICES, is_requestor=st.booleans())
def test_any_life_of_allowed_events_keeps_the_rules(events, is_requestor):
    """The timer runs in Sta2 and Sta13 and nowhere else; Sta1 is only reached by closing or being closed."""
    machine, now = Machine(is_requestor, ARTIM), 0.0
    for event in events:
        now += 1.0
        if not machine.allows(event):
            continue
        before = machine.state
        effect = machine.step(event, now, HANDED_OVER.get(event))
        assert (machine.deadline is not None) == (machine.state in (State.STA2, State.STA13))
        assert effect.close <= (machine.state is State.STA1)
        if machine.state is State.STA1:
            assert effect.close or event is Event.CLOSED
            assert before is not State.STA1
        if isinstance(effect.send, ReleaseRP | ReleaseRQ | Abort):
            assert effect.send.encode()


@given(state=st.sampled_from([state for state in State if state not in (State.STA1, State.STA4)]))
def test_every_state_ends_closed_when_the_peer_breaks_the_rules_and_then_says_nothing(state):
    machine = Machine(is_requestor=False, artim=ARTIM, state=state)
    machine.step(Event.INVALID_PDU, 0.0)
    assert machine.state is State.STA13
    if machine.deadline is None:
        assert state is State.STA13  # where the timer had been started on the way in
    assert machine.step(Event.ARTIM_EXPIRED, 30.0).close
    assert machine.state is State.STA1
