"""The pure core wired together as a connection wires it, without a socket: bytes in, events and messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from pynetdicom.fsm import ACTIONS, TRANSITION_TABLE

from scpd.association.actions import Tell
from scpd.association.events import RECEIVED, Event, State
from scpd.association.machine import Machine
from scpd.dimse import codec, fragment, status
from scpd.dimse.assemble import Assembler
from scpd.dimse.command import CEchoRQ, CFindRQ, CStoreRQ, Request, respond
from scpd.errors import ProtocolError
from scpd.negotiation.agree import agree
from scpd.negotiation.offer import Agreement, Offer, SupportedContext
from scpd.wire.contexts import PresentationContextAC, PresentationContextRQ
from scpd.wire.framing import Fragment, Framer, Limits
from scpd.wire.pdu import (
    Abort,
    AssociateAC,
    AssociateRQ,
    DataTF,
    PresentationDataValue,
    ReleaseRP,
    ReleaseRQ,
    encode_title,
)
from scpd.wire.user_info import AsynchronousOperationsWindow, RoleSelection, UserIdentityRQ, UserInformation

if TYPE_CHECKING:
    from collections.abc import Callable

    from scpd.association.actions import Effect
    from scpd.wire.pdu import ControlPDU

settings.register_profile("rooms", deadline=None, max_examples=60)
settings.load_profile("rooms")

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
OFFER = Offer(
    ae_title="ARCHIVE",
    contexts={
        VERIFICATION: SupportedContext(VERIFICATION, (IMPLICIT,)),
        CT: SupportedContext(CT, (IMPLICIT,), scu_role=True, scp_role=True),
    },
    maximum_length=16384,
    implementation_class_uid="1.2.3",
)
REQUEST = AssociateRQ(
    encode_title("ARCHIVE"),
    encode_title("MODALITY1"),
    UserInformation(
        maximum_length=16384,
        implementation_class_uid="1.2.3.4",
        implementation_version_name="FUZZ",
        window=AsynchronousOperationsWindow(1, 1),
        roles=(RoleSelection(CT, True, True),),
        identities=(UserIdentityRQ(2, True, b"user", b"secret"),),
    ),
    presentation_contexts=(
        PresentationContextRQ(1, VERIFICATION, (IMPLICIT,)),
        PresentationContextRQ(3, CT, (IMPLICIT,)),
    ),
)
ACCEPT = AssociateAC(
    encode_title("ARCHIVE"),
    encode_title("MODALITY1"),
    UserInformation(maximum_length=16384, implementation_class_uid="1.2.3.4"),
    presentation_contexts=(PresentationContextAC(1, 0, IMPLICIT), PresentationContextAC(3, 0, IMPLICIT)),
)
LIMITS = Limits(associate=64 * 1024, data=16384)
CAPACITY = 32 * 1024
COMMAND_LIMIT = 2048
ARTIM = 30.0


class Core:
    """One end of an association. ``release_after`` and ``abort_after`` are commands after which this side acts."""

    def __init__(self, *, is_requestor: bool = False, release_after: int = -1, abort_after: int = -1) -> None:
        self.machine = Machine(is_requestor, ARTIM)
        self.framer = Framer(self._admit, LIMITS, CAPACITY)
        self.assembler = Assembler((), COMMAND_LIMIT)
        self.peer_maximum_length = 0
        self.trace: list[tuple[Event, State, State]] = []
        self.sent: list[bytes] = []
        self.messages: list[object] = []
        self.closed = False
        self._acts = {release_after: Event.RELEASE_REQUEST, abort_after: Event.ABORT_REQUEST}
        self._commands = 0
        opening = [Event.ASSOCIATE_REQUEST, Event.CONNECTED] if is_requestor else [Event.ACCEPTED_CONNECTION]
        for event in opening:
            self._step(event, REQUEST if event is Event.CONNECTED else None)

    def feed(self, data: bytes) -> None:
        """What recv_into does with bytes of the peer, until the connection is closed."""
        start = 0
        while start < len(data) and not self.closed:
            room = self.framer.writable()
            assert room, "a recv of zero bytes would look like the end of the connection"
            count = min(len(room), len(data) - start)
            room[:count] = data[start : start + count]
            self.framer.wrote(count)
            start += count
            self._drain()
            self.check()

    def end(self) -> None:
        """The peer closes."""
        if not self.closed:
            self._step(Event.CLOSED)

    def check(self) -> None:
        """What holds whatever was received."""
        assert (self.machine.deadline is not None) == (self.machine.state in (State.STA2, State.STA13))
        assert len(self.framer._view) <= max(CAPACITY, LIMITS.associate + 6)
        assert len(self.assembler._gathered) <= COMMAND_LIMIT

    def _drain(self) -> None:
        while not self.closed:
            try:
                one = self.framer.next()
                if one is None:
                    return
                if isinstance(one, Fragment):
                    self._fragment(one)
                else:
                    self._control(one)
            except ProtocolError as error:
                self._step(Event.INVALID_PDU, reason=error.reason)
                self.framer.discard()

    def _admit(self, pdu_type: int, _: int) -> bool:
        if self.machine.wants_body(pdu_type):
            return True
        before = self.machine.state
        self._note(RECEIVED[pdu_type], before, self.machine.unexpected(pdu_type, 0.0))
        return False

    def _step(self, event: Event, pdu: ControlPDU | None = None, reason: int = 0) -> Effect:
        before = self.machine.state
        return self._note(event, before, self.machine.step(event, 0.0, pdu, reason))

    def _note(self, event: Event, before: State, effect: Effect) -> Effect:
        step = (event, before, self.machine.state)
        if event is not Event.DATA_TF or self.trace[-1:] != [step]:
            self.trace.append(step)
        if effect.send:
            self.sent.append(effect.send.encode())
        self.closed = self.closed or effect.close or self.machine.state is State.STA1
        return effect

    def _control(self, pdu: ControlPDU) -> None:
        effect = self._step(RECEIVED[pdu.TYPE], pdu)
        if effect.tell is Tell.ASSOCIATE_INDICATION:
            self._answer(pdu)
        elif effect.tell is Tell.ASSOCIATE_ACCEPTED:
            self._established({one.context_id for one in pdu.presentation_contexts if one.result == 0})
        elif self.machine.state in (State.STA8, State.STA9, State.STA12):
            self._step(Event.RELEASE_RESPONSE)

    def _answer(self, request: AssociateRQ) -> None:
        outcome = agree(request, OFFER)
        if isinstance(outcome, Agreement):
            self.peer_maximum_length = outcome.peer_maximum_length
            self._established(outcome.contexts)
            self._step(Event.ACCEPT, outcome.answer)
            self._act()
        else:
            self._step(Event.REJECT, outcome.answer)

    def _established(self, contexts: object) -> None:
        self.assembler = Assembler(contexts, COMMAND_LIMIT)

    def _fragment(self, one: Fragment) -> None:
        if self._step(Event.DATA_TF).tell is not Tell.DATA_INDICATION:
            return
        if self.assembler.awaits_data:
            data = bytes(self.assembler.data(one))
            if self.messages and isinstance(self.messages[-1], bytes):
                data = self.messages.pop() + data
            self.messages.append(data)
            return
        command = self.assembler.command(one)
        if command is not None:
            self.messages.append(command)
            self._commands += 1
            if isinstance(command, Request) and not self.machine.is_requestor:
                response = codec.encode(respond(command, status.UNRECOGNIZED_OPERATION))
                self.sent.append(fragment.command(one.context_id, response, self.peer_maximum_length))
            self._act()

    def _act(self) -> None:
        event = self._acts.get(self._commands)
        if event and self.machine.allows(event):
            self._step(event)


@pytest.fixture(scope="session")
def core() -> type[Core]:
    return Core


def _p_data(*values: tuple[int, bool, bool, bytes]) -> bytes:
    return DataTF(tuple(PresentationDataValue(*one) for one in values)).encode()


@pytest.fixture(scope="session")
def conversations() -> list[list[bytes]]:
    """What valid peers send, PDU by PDU: to an acceptor first, to a requestor second."""
    echo = codec.encode(CEchoRQ(message_id=1, affected_sop_class_uid=VERIFICATION))
    store = codec.encode(
        CStoreRQ(message_id=2, affected_sop_class_uid=CT, affected_sop_instance_uid="1.2.3.4", has_data_set=True)
    )
    find = codec.encode(CFindRQ(message_id=3, affected_sop_class_uid=CT, has_data_set=True))
    talk = [
        _p_data((1, True, True, echo)),
        _p_data((3, True, False, store[:40])),
        _p_data((3, True, True, store[40:]), (3, False, False, bytes(range(256)))),
        _p_data((3, False, False, bytes(9000)), (3, False, False, b"")),
        _p_data((3, False, True, b"the end.")),
        _p_data((3, True, True, find), (3, False, True, bytes(20))),
        _p_data((1, True, True, echo)),
    ]
    return [
        [REQUEST.encode(), *talk, ReleaseRQ().encode()],
        [ACCEPT.encode(), *talk, ReleaseRP().encode()],
        [REQUEST.encode(), *talk[:2], ReleaseRQ().encode(), ReleaseRP().encode()],
        [REQUEST.encode(), *talk[:3], Abort().encode()],
    ]


@pytest.fixture(scope="session")
def table_says() -> Callable[[Event, State, State], bool]:
    """Whether pynetdicom's transcription of table 9-10 and its actions lead from one state to the other."""

    def check(event: Event, before: State, after: State) -> bool:
        _, _, states = ACTIONS[TRANSITION_TABLE[f"Evt{event.value}", f"Sta{before.value}"]]
        return f"Sta{after.value}" in (states if isinstance(states, tuple) else (states,))

    return check
