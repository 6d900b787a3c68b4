"""The upper layer service (PS3.8 section 7) over one connection: the machine, driven by a real peer and real time.

What a peer does wrong is answered here, as the table says, and then raised, so that whoever drives an association has
one way in and one way out. Nothing here waits without a deadline.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Protocol

from scpd.association.actions import Tell
from scpd.association.events import RECEIVED, Event, State
from scpd.association.machine import Machine
from scpd.errors import Aborted, ConnectionLost, Expired, Interrupted, PeerError, ProtocolError, Rejected
from scpd.negotiation.reject import words as reject_words
from scpd.transport.deadline import Deadline
from scpd.wire.framing import Fragment, Framer, Limits
from scpd.wire.pdu import Abort, AssociateAC, AssociateRJ, AssociateRQ, PDUType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scpd.association.actions import Effect
    from scpd.transport.connection import Connection
    from scpd.wire.pdu import ControlPDU

_ABORT_REASONS = {
    0: "no reason given",
    1: "unrecognized PDU",
    2: "unexpected PDU",
    4: "unrecognized PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter value",
}
_NO_PDU_ANY_MORE = (State.STA1, State.STA13)


def abort_words(abort: Abort) -> str:
    """An A-ABORT in words (PS3.8 table 9-26)."""
    if abort.source == 0:
        return "by the service-user"
    return f"by the service-provider: {_ABORT_REASONS.get(abort.reason, f'reason {abort.reason}')}"


class Tap(Protocol):
    """Hears every byte of an association, in the thread that sends or receives it."""

    def received(self, data: bytes) -> None: ...
    def sent(self, data: bytes) -> None: ...


class UpperLayer:
    """One association's upper layer. ``artim`` and ``write`` are time-outs in seconds; ``tap`` hears the bytes."""

    def __init__(
        self,
        connection: Connection,
        *,
        is_requestor: bool,
        limits: Limits,
        artim: float,
        write: float,
        tap: Tap | None = None,
    ) -> None:
        self.connection = connection
        self.machine = Machine(is_requestor, artim)
        self.framer = Framer(self._admit, limits)
        self.tap = tap
        self.released = False  # in order, by whichever side
        self._write = write
        # Whoever asks for release or aborts may be another thread than the one that reads.
        self._stepping = threading.RLock()
        self._sending = threading.Lock()
        if is_requestor:
            self._step(Event.ASSOCIATE_REQUEST)
        else:
            self._step(Event.ACCEPTED_CONNECTION)

    @property
    def is_over(self) -> bool:
        """Whether no association exists on this connection any more."""
        return self.machine.state in _NO_PDU_ANY_MORE

    # -- the acceptor's side

    def await_request(self) -> AssociateRQ:
        """The A-ASSOCIATE-RQ that must come, whole, before ARTIM expires (state Sta2)."""
        deadline = Deadline(self.machine.deadline or 0.0, "artim", "no A-ASSOCIATE-RQ came in time")
        try:
            self.connection.begin(deadline)
            pdu = self.receive(deadline)
        except Expired:
            self._step(Event.ARTIM_EXPIRED)
            raise
        if not isinstance(pdu, AssociateRQ):
            raise ProtocolError(f"{type(pdu).__name__} instead of an A-ASSOCIATE-RQ")
        return pdu

    def accept(self, answer: AssociateAC) -> None:
        """Send A-ASSOCIATE-AC: the association is established."""
        self.must_go_on()
        self._step(Event.ACCEPT, answer)

    def reject(self, answer: AssociateRJ) -> None:
        """Send A-ASSOCIATE-RJ."""
        self.must_go_on()
        self._step(Event.REJECT, answer)
        self.connection.finish_sending()

    # -- the requestor's side

    def request(self, request: AssociateRQ, deadline: Deadline) -> AssociateAC:
        """Send A-ASSOCIATE-RQ and await the answer. Raises :class:`Rejected` when it is A-ASSOCIATE-RJ."""
        self._step(Event.CONNECTED, request)
        pdu = self.receive(deadline)
        if not isinstance(pdu, AssociateAC):
            raise ProtocolError(f"{type(pdu).__name__} instead of an answer to A-ASSOCIATE-RQ")
        return pdu

    # -- both sides

    def must_go_on(self) -> None:
        """Raise :class:`Interrupted` when this side has ended the association meanwhile."""
        if self.is_over:
            raise Interrupted("ended by this side")

    def ask_release(self) -> None:
        """Send A-RELEASE-RQ, unless a release is under way; whoever reads sees it through (:meth:`finish_release`)."""
        with self._stepping:
            if self.machine.allows(Event.RELEASE_REQUEST):
                self._step(Event.RELEASE_REQUEST)

    def finish_release(self, deadline: Deadline) -> None:
        """See a release through that either side, or both, asked for (PS3.8 9.2.1, release collision)."""
        while not self.is_over:
            if self.machine.allows(Event.RELEASE_RESPONSE):
                self._step(Event.RELEASE_RESPONSE)
            else:
                self.receive(deadline)

    def take(self) -> ControlPDU | Fragment | None:
        """What has arrived already, one PDU or fragment at a time; None when more bytes are needed.

        Raises what ended the association: :class:`ProtocolError` (answered already), :class:`Aborted`,
        :class:`Rejected`.
        """
        while True:
            try:
                item = self.framer.next()
            except ProtocolError as error:
                self.refuse(error)
                raise
            if item is None or type(item) is Fragment:
                return item
            told = self._received(item)  # type: ignore[arg-type]  # mypy does not narrow a NamedTuple by its type
            if told is not None:
                return told

    def fill(self, deadline: Deadline, *, owed: bool = False) -> int:
        """Wait for bytes of the peer; how many came. Every fragment handed out before is void.

        ``owed`` says that the peer is in the middle of something.
        """
        view = self.framer.writable()
        try:
            count = self.connection.receive(view, deadline, owed=owed)
        except ConnectionLost:
            self._closed()
            raise
        return self._filled(view, count)

    def poll(self) -> bool:
        """Take in what has arrived, without waiting; whether there was something."""
        view = self.framer.writable()
        try:
            count = self.connection.try_receive(view)
        except ConnectionLost:
            self._closed()
            raise
        return count is not None and self._filled(view, count) > 0

    def receive(self, deadline: Deadline) -> ControlPDU | Fragment:
        """The next PDU or fragment."""
        while True:
            item = self.take()
            if item is not None:
                return item
            self.fill(deadline, owed=self.framer.inside_pdu)

    def send(self, *parts: bytes | memoryview) -> None:
        """Send P-DATA-TF that is encoded already, in one go. Not in a state that forbids it."""
        if not self.machine.allows(Event.DATA_REQUEST):  # DT-1 and AR-7 do nothing but send
            raise Interrupted(f"ended by this side: nothing can be sent in {self.machine.state.name.capitalize()}")
        self._transmit(parts)

    def refuse(self, error: ProtocolError) -> None:
        """Answer a breach of the protocol: the table's action for an invalid PDU, once."""
        self.framer.discard()
        if not error.answered and self.machine.allows(Event.INVALID_PDU):
            error.answered = True
            self._try(Event.INVALID_PDU, error.reason)

    def abort(self) -> None:
        """Send A-ABORT as the service-user, if there is an association to abort."""
        self.framer.discard()
        with self._stepping:  # two threads may end it at once: one A-ABORT goes out, before anybody closes
            if self.machine.allows(Event.ABORT_REQUEST):
                self._try(Event.ABORT_REQUEST)

    def end(self) -> None:
        """See the connection off: wait for the peer's close until ARTIM expires (state Sta13), then close."""
        try:
            if self.machine.state is State.STA13:
                self._await_close()
        finally:
            self.framer.give_back()
            self.connection.close()

    def _await_close(self) -> None:
        deadline = Deadline(self.machine.deadline or 0.0, "artim", "the peer did not close the connection")
        try:
            while self.machine.state is State.STA13:
                self.receive(deadline)
        except Expired:
            self._step(Event.ARTIM_EXPIRED)
        except (PeerError, Interrupted):
            pass

    def _admit(self, pdu_type: int, _: int) -> bool:
        if self.machine.wants_body(pdu_type):
            return True
        state = self.machine.state
        self._do(self.machine.unexpected(pdu_type, time.monotonic()))
        if state is not State.STA13:
            name = PDUType(pdu_type).name.replace("_", "-")
            raise ProtocolError(f"a PDU {name} that has no place in {state.name.capitalize()}", reason=2, answered=True)
        return False

    def _received(self, pdu: ControlPDU) -> ControlPDU | None:
        effect = self._step(RECEIVED[pdu.TYPE], pdu)
        if isinstance(pdu, Abort):
            raise Aborted(pdu.source, pdu.reason, abort_words(pdu))
        if isinstance(pdu, AssociateRJ) and effect.tell is Tell.ASSOCIATE_REJECTED:
            raise Rejected(pdu.result, pdu.source, pdu.reason, reject_words(pdu))
        return None if effect.tell is Tell.NOTHING else pdu

    def _filled(self, view: memoryview, count: int) -> int:
        if not count:
            inside = self.framer.inside_pdu
            self._closed()
            raise ConnectionLost("the peer closed the connection" + (" inside a PDU" if inside else ""))
        if self.tap:
            self.tap.received(bytes(view[:count]))
        self.framer.wrote(count)
        return count

    def _closed(self) -> None:
        with self._stepping:  # between a look and a step another thread could find out first
            if self.machine.allows(Event.CLOSED):
                self._step(Event.CLOSED)

    def _step(self, event: Event, pdu: ControlPDU | None = None, reason: int = 0) -> Effect:
        with self._stepping:
            effect = self.machine.step(event, time.monotonic(), pdu, reason)
            self._do(effect)
            if event is Event.RELEASE_RESPONSE or effect.tell is Tell.RELEASE_CONFIRMATION:
                self.released = self.is_over
            return effect

    def _try(self, event: Event, reason: int = 0) -> None:
        # The last word to a peer that may be gone or deaf: nothing depends on its arrival.
        try:
            self._step(event, reason=reason)
            self.connection.finish_sending()
        except (ConnectionLost, Expired, Interrupted):
            self._closed()

    def _do(self, effect: Effect) -> None:
        if effect.send is not None:
            self._transmit((effect.send.encode(),))

    def _transmit(self, parts: Sequence[bytes | memoryview]) -> None:
        try:
            with self._sending:
                self.connection.send(parts, self._write)
        except ConnectionLost:
            self._closed()
            raise
        if self.tap:
            self.tap.sent(b"".join(parts))
