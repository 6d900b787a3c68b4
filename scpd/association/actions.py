"""The actions of PS3.8 tables 9-6 to 9-9, each a short function that returns the next state.

An action writes what is to be done into ``effect``: the PDU to send, whether to close, what to tell the local user.
The PDUs that the local user makes itself (A-ASSOCIATE-RQ, -AC, -RJ) come in as ``pdu``; P-DATA-TF is sent by the
user of the machine once DT-1 or AR-7 said that it may.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from scpd.association.events import State
from scpd.wire.pdu import Abort, ReleaseRP, ReleaseRQ

if TYPE_CHECKING:
    from collections.abc import Callable

    from scpd.wire.pdu import ControlPDU


class Artim(Enum):
    """What an action does to the ARTIM timer (PS3.8 9.1.5)."""

    LEAVE = auto()
    START = auto()
    STOP = auto()


class Tell(Enum):
    """What an action tells the local user: the indication and confirmation primitives of PS3.8 section 7."""

    NOTHING = auto()
    ASSOCIATE_INDICATION = auto()
    ASSOCIATE_ACCEPTED = auto()
    ASSOCIATE_REJECTED = auto()
    DATA_INDICATION = auto()
    RELEASE_INDICATION = auto()
    RELEASE_CONFIRMATION = auto()
    ABORT_INDICATION = auto()
    PROVIDER_ABORT_INDICATION = auto()


@dataclass(slots=True)
class Effect:
    """What has to be done after an event."""

    send: ControlPDU | None = None
    connect: bool = False
    close: bool = False
    artim: Artim = Artim.LEAVE
    tell: Tell = Tell.NOTHING


@dataclass(frozen=True, slots=True)
class Occasion:
    """What an action may look at besides the event: the PDU, our role, the reason if we abort."""

    pdu: ControlPDU | None
    is_requestor: bool
    reason: int


def ae_1(_: Occasion, effect: Effect) -> State:
    """Issue a TRANSPORT CONNECT request."""
    effect.connect = True
    return State.STA4


def ae_2(occasion: Occasion, effect: Effect) -> State:
    """Send A-ASSOCIATE-RQ."""
    effect.send = occasion.pdu
    return State.STA5


def ae_3(_: Occasion, effect: Effect) -> State:
    """Confirm the association, accepted."""
    effect.tell = Tell.ASSOCIATE_ACCEPTED
    return State.STA6


def ae_4(_: Occasion, effect: Effect) -> State:
    """Confirm the association, rejected, and close."""
    effect.tell, effect.close = Tell.ASSOCIATE_REJECTED, True
    return State.STA1


def ae_5(_: Occasion, effect: Effect) -> State:
    """Take the connection and start ARTIM."""
    effect.artim = Artim.START
    return State.STA2


def ae_6(_: Occasion, effect: Effect) -> State:
    """Stop ARTIM and indicate the association.

    Whether the service-provider itself must refuse (protocol version) is decided by negotiation, which answers
    through AE-8 with the provider's source and reason: the same PDU and the same state as the second half of AE-6.
    """
    effect.artim, effect.tell = Artim.STOP, Tell.ASSOCIATE_INDICATION
    return State.STA3


def ae_7(occasion: Occasion, effect: Effect) -> State:
    """Send A-ASSOCIATE-AC."""
    effect.send = occasion.pdu
    return State.STA6


def ae_8(occasion: Occasion, effect: Effect) -> State:
    """Send A-ASSOCIATE-RJ and start ARTIM."""
    effect.send, effect.artim = occasion.pdu, Artim.START
    return State.STA13


def dt_1(_: Occasion, __: Effect) -> State:
    """P-DATA-TF may be sent."""
    return State.STA6


def dt_2(_: Occasion, effect: Effect) -> State:
    """Indicate P-DATA."""
    effect.tell = Tell.DATA_INDICATION
    return State.STA6


def ar_1(_: Occasion, effect: Effect) -> State:
    """Send A-RELEASE-RQ."""
    effect.send = ReleaseRQ()
    return State.STA7


def ar_2(_: Occasion, effect: Effect) -> State:
    """Indicate A-RELEASE."""
    effect.tell = Tell.RELEASE_INDICATION
    return State.STA8


def ar_3(_: Occasion, effect: Effect) -> State:
    """Confirm A-RELEASE and close."""
    effect.tell, effect.close = Tell.RELEASE_CONFIRMATION, True
    return State.STA1


def ar_4(_: Occasion, effect: Effect) -> State:
    """Send A-RELEASE-RP and start ARTIM."""
    effect.send, effect.artim = ReleaseRP(), Artim.START
    return State.STA13


def ar_5(_: Occasion, effect: Effect) -> State:
    """Stop ARTIM."""
    effect.artim = Artim.STOP
    return State.STA1


def ar_6(_: Occasion, effect: Effect) -> State:
    """Indicate P-DATA that crossed our A-RELEASE-RQ."""
    effect.tell = Tell.DATA_INDICATION
    return State.STA7


def ar_7(_: Occasion, __: Effect) -> State:
    """P-DATA-TF may be sent although the peer asked for release."""
    return State.STA8


def ar_8(occasion: Occasion, effect: Effect) -> State:
    """Indicate A-RELEASE: both sides asked at once."""
    effect.tell = Tell.RELEASE_INDICATION
    return State.STA9 if occasion.is_requestor else State.STA10


def ar_9(_: Occasion, effect: Effect) -> State:
    """Send A-RELEASE-RP."""
    effect.send = ReleaseRP()
    return State.STA11


def ar_10(_: Occasion, effect: Effect) -> State:
    """Confirm A-RELEASE."""
    effect.tell = Tell.RELEASE_CONFIRMATION
    return State.STA12


def aa_1(_: Occasion, effect: Effect) -> State:
    """Send A-ABORT of the service-user and start ARTIM."""
    effect.send, effect.artim = Abort(source=0), Artim.START
    return State.STA13


def aa_2(_: Occasion, effect: Effect) -> State:
    """Stop ARTIM and close."""
    effect.artim, effect.close = Artim.STOP, True
    return State.STA1


def aa_3(occasion: Occasion, effect: Effect) -> State:
    """Indicate A-ABORT or A-P-ABORT, whichever the peer's PDU is, and close."""
    provider = isinstance(occasion.pdu, Abort) and occasion.pdu.source != 0
    effect.tell = Tell.PROVIDER_ABORT_INDICATION if provider else Tell.ABORT_INDICATION
    effect.close = True
    return State.STA1


def aa_4(_: Occasion, effect: Effect) -> State:
    """Indicate A-P-ABORT: the connection is gone."""
    effect.tell = Tell.PROVIDER_ABORT_INDICATION
    return State.STA1


def aa_5(_: Occasion, effect: Effect) -> State:
    """Stop ARTIM."""
    effect.artim = Artim.STOP
    return State.STA1


def aa_6(_: Occasion, __: Effect) -> State:
    """Ignore the PDU."""
    return State.STA13


def aa_7(occasion: Occasion, effect: Effect) -> State:
    """Send A-ABORT."""
    effect.send = Abort(source=2, reason=occasion.reason)
    return State.STA13


def aa_8(occasion: Occasion, effect: Effect) -> State:
    """Send A-ABORT of the service-provider, indicate A-P-ABORT, start ARTIM."""
    effect.send = Abort(source=2, reason=occasion.reason)
    effect.tell, effect.artim = Tell.PROVIDER_ABORT_INDICATION, Artim.START
    return State.STA13


ACTIONS: dict[str, Callable[[Occasion, Effect], State]] = {
    action.__name__.replace("_", "").upper(): action
    for action in (
        *(ae_1, ae_2, ae_3, ae_4, ae_5, ae_6, ae_7, ae_8, dt_1, dt_2),
        *(ar_1, ar_2, ar_3, ar_4, ar_5, ar_6, ar_7, ar_8, ar_9, ar_10),
        *(aa_1, aa_2, aa_3, aa_4, aa_5, aa_6, aa_7, aa_8),
    )
}
