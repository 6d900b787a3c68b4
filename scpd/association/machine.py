"""The machine: a state, the ARTIM timer as an absolute deadline, and one way to move.

The rules it lives by: the table alone decides; an event in an empty cell is a fault of this program, not of the
peer, since no byte of a peer leads there; whoever drives the machine does what the effect says, at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scpd.association.actions import ACTIONS, Artim, Effect, Occasion
from scpd.association.events import RECEIVED, Event, State
from scpd.association.table import TABLE
from scpd.wire.fields import UNEXPECTED_PDU
from scpd.wire.pdu import PDUType

if TYPE_CHECKING:
    from scpd.wire.pdu import ControlPDU

# Actions by which a PDU is answered or ignored by its header alone.
_WITHOUT_BODY = frozenset(("AA1", "AA6", "AA7", "AA8"))


@dataclass(slots=True)
class Machine:
    """One association's state. ``artim`` is the timer's length in seconds, ``deadline`` when it runs out."""

    is_requestor: bool
    artim: float
    state: State = State.STA1
    deadline: float | None = None

    def step(self, event: Event, now: float, pdu: ControlPDU | None = None, reason: int = 0) -> Effect:
        """What ``event`` leads to at monotonic time ``now``; the state has changed when this returns.

        ``reason`` is the Reason/Diag. of the A-ABORT that an invalid PDU may lead to. Raises
        :class:`RuntimeError` for an event that cannot happen in the present state.
        """
        action = TABLE.get((event, self.state))
        if action is None:
            raise RuntimeError(f"{event.name} (Evt{event.value}) cannot happen in {self.state.name}")
        effect = Effect()
        self.state = ACTIONS[action](Occasion(pdu, self.is_requestor, reason), effect)
        if effect.artim is Artim.START:
            self.deadline = now + self.artim
        elif effect.artim is Artim.STOP:
            self.deadline = None
        return effect

    def allows(self, event: Event) -> bool:
        """Whether ``event`` can happen in the present state."""
        return (event, self.state) in TABLE

    def wants_body(self, pdu_type: int) -> bool:
        """Whether the body of a PDU of this type matters now; if not, its header alone is the event."""
        if pdu_type == PDUType.P_DATA_TF and self.state is State.STA6:
            return True
        return TABLE.get((RECEIVED[pdu_type], self.state)) not in _WITHOUT_BODY

    def unexpected(self, pdu_type: int, now: float) -> Effect:
        """The step for a PDU whose body does not matter."""
        return self.step(RECEIVED[pdu_type], now, reason=UNEXPECTED_PDU)
