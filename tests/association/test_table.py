"""Table 9-10, cell by cell, against pynetdicom's own transcription of it."""

from __future__ import annotations

import pytest
from pynetdicom.fsm import TRANSITION_TABLE

from scpd.association.actions import ACTIONS
from scpd.association.events import RECEIVED, Event, State
from scpd.association.machine import Machine
from scpd.association.table import TABLE
from scpd.wire.pdu import PDUType

CELLS = [(event, state) for event in Event for state in State]

# Where we differ from pynetdicom, and why we are right: nowhere.
DIFFERENCES: dict[tuple[Event, State], str] = {}


def name_of(cell: tuple[Event, State]) -> str:
    event, state = cell
    return f"Evt{event.value}-Sta{state.value}"


def test_the_table_has_19_events_and_13_states():
    assert [event.value for event in Event] == list(range(1, 20))
    assert [state.value for state in State] == list(range(1, 14))
    assert len(CELLS) == 19 * 13


@pytest.mark.parametrize("cell", CELLS, ids=name_of)
def test_cell(cell):
    event, state = cell
    theirs = TRANSITION_TABLE.get((f"Evt{event.value}", f"Sta{state.value}"))
    expected = DIFFERENCES.get(cell, theirs and theirs.replace("-", ""))
    assert TABLE.get(cell) == expected


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell not in TABLE], ids=name_of)
def test_an_empty_cell_is_a_fault_of_this_program(cell):
    """And leaves the state and the timer as they were."""
    event, state = cell
    machine = Machine(is_requestor=False, artim=30, state=state, deadline=7.0)
    assert not machine.allows(event)
    with pytest.raises(RuntimeError, match=rf"{event.name} \(Evt{event.value}\) cannot happen in STA{state.value}$"):
        machine.step(event, 100.0)
    assert (machine.state, machine.deadline) == (state, 7.0)


@pytest.mark.parametrize("cell", TABLE, ids=name_of)
def test_a_filled_cell_is_allowed(cell):
    event, state = cell
    assert Machine(is_requestor=False, artim=30, state=state).allows(event)


def test_every_action_of_the_standard_stands_in_the_table():
    assert set(TABLE.values()) == set(ACTIONS)


def test_no_byte_of_a_peer_leads_to_an_empty_cell():
    """Any PDU, valid or not, and the end of the connection have an action wherever there is a connection."""
    from_the_peer = [*RECEIVED.values(), Event.INVALID_PDU, Event.CLOSED]
    connected = [state for state in State if state not in (State.STA1, State.STA4)]
    assert all((event, state) in TABLE for event in from_the_peer for state in connected)


def test_every_pdu_type_is_an_event():
    assert set(RECEIVED) == set(PDUType)
    assert {name.name: RECEIVED[name].value for name in PDUType} == {
        "A_ASSOCIATE_RQ": 6,
        "A_ASSOCIATE_AC": 3,
        "A_ASSOCIATE_RJ": 4,
        "P_DATA_TF": 10,
        "A_RELEASE_RQ": 12,
        "A_RELEASE_RP": 13,
        "A_ABORT": 16,
    }
