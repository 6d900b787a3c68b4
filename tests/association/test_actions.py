"""The actions against PS3.8 tables 9-6 to 9-9, which stand here as data."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from pynetdicom.fsm import ACTIONS as THEIR_ACTIONS

from scpd.association.actions import ACTIONS, Artim, Tell
from scpd.association.events import Event, State
from scpd.association.machine import Machine
from scpd.association.table import TABLE
from scpd.wire.pdu import Abort, AssociateRJ, AssociateRQ, ReleaseRP, ReleaseRQ, encode_title
from scpd.wire.user_info import UserInformation

USER_PDU = "the PDU that the local user made"
START, STOP, LEAVE = Artim.START, Artim.STOP, Artim.LEAVE
REASON = 6
NOW, ARTIM, BEFORE = 1000.0, 30.0, 7.0


class Row(NamedTuple):
    """What an action does: next state for requestor and acceptor, PDU sent, timer, indication, close, connect."""

    states: tuple[int, int]
    send: object = None
    artim: Artim = LEAVE
    tell: Tell = Tell.NOTHING
    close: bool = False
    connect: bool = False


def one(state: int, **more: object) -> Row:
    return Row((state, state), **more)  # type: ignore[arg-type]


ABORT_USER = Abort(source=0, reason=0)
ABORT_PROVIDER = Abort(source=2, reason=REASON)

ROWS: dict[str, Row] = {
    # Table 9-6: associate
    "AE1": one(4, connect=True),
    "AE2": one(5, send=USER_PDU),
    "AE3": one(6, tell=Tell.ASSOCIATE_ACCEPTED),
    "AE4": one(1, tell=Tell.ASSOCIATE_REJECTED, close=True),
    "AE5": one(2, artim=START),
    "AE6": one(3, artim=STOP, tell=Tell.ASSOCIATE_INDICATION),
    "AE7": one(6, send=USER_PDU),
    "AE8": one(13, send=USER_PDU, artim=START),
    # Table 9-7: data
    "DT1": one(6),
    "DT2": one(6, tell=Tell.DATA_INDICATION),
    # Table 9-8: release
    "AR1": one(7, send=ReleaseRQ()),
    "AR2": one(8, tell=Tell.RELEASE_INDICATION),
    "AR3": one(1, tell=Tell.RELEASE_CONFIRMATION, close=True),
    "AR4": one(13, send=ReleaseRP(), artim=START),
    "AR5": one(1, artim=STOP),
    "AR6": one(7, tell=Tell.DATA_INDICATION),
    "AR7": one(8),
    "AR8": Row((9, 10), tell=Tell.RELEASE_INDICATION),
    "AR9": one(11, send=ReleaseRP()),
    "AR10": one(12, tell=Tell.RELEASE_CONFIRMATION),
    # Table 9-9: abort
    "AA1": one(13, send=ABORT_USER, artim=START),
    "AA2": one(1, artim=STOP, close=True),
    "AA3": one(1, tell=Tell.ABORT_INDICATION, close=True),
    "AA4": one(1, tell=Tell.PROVIDER_ABORT_INDICATION),
    "AA5": one(1, artim=STOP),
    "AA6": one(13),
    "AA7": one(13, send=ABORT_PROVIDER),
    "AA8": one(13, send=ABORT_PROVIDER, artim=START, tell=Tell.PROVIDER_ABORT_INDICATION),
}
DEADLINES = {START: NOW + ARTIM, STOP: None, LEAVE: BEFORE}
# What the local user hands over with its events.
HANDED_OVER = {
    Event.CONNECTED: AssociateRQ(encode_title("A"), encode_title("B"), UserInformation()),
    Event.ACCEPT: AssociateRQ(encode_title("C"), encode_title("D"), UserInformation()),
    Event.REJECT: AssociateRJ(1, 1, 7),
}


def test_the_rows_are_all_the_actions():
    assert set(ROWS) == set(ACTIONS)


@pytest.mark.parametrize("is_requestor", [True, False], ids=["requestor", "acceptor"])
@pytest.mark.parametrize(("event", "state"), TABLE, ids=lambda one: one.name)
def test_step(event, state, is_requestor):
    """In each filled cell, for both roles: the PDU, the timer, the indication, the close and the next state."""
    row = ROWS[TABLE[event, state]]
    machine = Machine(is_requestor, ARTIM, state, BEFORE)
    pdu = HANDED_OVER.get(event)
    effect = machine.step(event, NOW, pdu, REASON)
    assert effect.send == (pdu if row.send is USER_PDU else row.send)
    assert (effect.artim, effect.tell, effect.close, effect.connect) == row[2:]
    assert machine.state == row.states[not is_requestor]
    assert machine.deadline == DEADLINES[row.artim]


@pytest.mark.parametrize("name", ROWS)
def test_the_next_states_are_those_of_pynetdicom(name):
    _, _, theirs = THEIR_ACTIONS[f"{name[:2]}-{name[2:]}"]
    # AE-6's other way out, a refusal by the provider, is taken through AE-8.
    expected = {"AE6": ("Sta3", "Sta13")}.get(name, tuple(f"Sta{state}" for state in sorted(set(ROWS[name].states))))
    assert (theirs if isinstance(theirs, tuple) else (theirs,)) == expected


@pytest.mark.parametrize(
    ("pdu", "told"),
    [
        (Abort(0, 0), Tell.ABORT_INDICATION),
        (Abort(2, 0), Tell.PROVIDER_ABORT_INDICATION),
        (Abort(2, 6), Tell.PROVIDER_ABORT_INDICATION),
    ],
)
def test_aa_3_tells_whether_the_user_or_the_provider_of_the_peer_aborted(pdu, told):
    effect = Machine(is_requestor=False, artim=ARTIM, state=State.STA6).step(Event.ABORT, NOW, pdu)
    assert (effect.tell, effect.close) == (told, True)


@pytest.mark.parametrize("reason", [0, 1, 2, 4, 5, 6])
@pytest.mark.parametrize("state", [State.STA3, State.STA6, State.STA13])
def test_the_abort_for_an_invalid_pdu_says_the_reason(reason, state):
    effect = Machine(is_requestor=False, artim=ARTIM, state=state).step(Event.INVALID_PDU, NOW, reason=reason)
    assert effect.send == Abort(source=2, reason=reason)


def test_before_an_association_the_abort_is_the_users_and_has_no_reason():
    """AA-1 in Sta2: table 9-26 gives the reason a meaning only with the provider as source."""
    effect = Machine(is_requestor=False, artim=ARTIM, state=State.STA2).step(Event.INVALID_PDU, NOW, reason=6)
    assert effect.send == Abort(source=0, reason=0)


def test_effects_are_not_shared_between_steps():
    machine = Machine(is_requestor=False, artim=ARTIM)
    first = machine.step(Event.ACCEPTED_CONNECTION, NOW)
    second = machine.step(Event.INVALID_PDU, NOW)
    assert first is not second
    assert first.send is None
