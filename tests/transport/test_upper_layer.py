"""The upper layer over a real connection: what PS3.8 table 9-10 says is what the peer gets, and ARTIM is a deadline."""

from __future__ import annotations

import struct
import threading

import pytest

from scpd.association.events import State
from scpd.errors import Aborted, ConnectionLost, Expired, Interrupted, ProtocolError, Rejected
from scpd.transport.deadline import Deadline
from scpd.transport.upper_layer import abort_words
from scpd.wire.framing import Limits
from scpd.wire.pdu import (
    Abort,
    AssociateRJ,
    AssociateRQ,
    DataTF,
    PDUType,
    PresentationDataValue,
    ReleaseRP,
    ReleaseRQ,
)

PATIENCE = 20.0
HEADER = struct.Struct(">BxI")

# What a PDU leads to in a state that has no place for it (PS3.8 table 9-10):
#   user      A-ABORT, source 0 (AA-1)
#   provider  A-ABORT, source 2, reason 2 unexpected PDU, or as the row says (AA-8)
#   again     the same A-ABORT, though the association is over already (AA-7)
#   ignored   nothing (AA-6)
#   .         it has its place there, or the state never reads
_GRID = """
                 Sta2  Sta3      Sta5      Sta6      Sta7      Sta8      Sta9      Sta10     Sta11     Sta12     Sta13
A_ASSOCIATE_RQ   .     provider  provider  provider  provider  provider  provider  provider  provider  provider  again
A_ASSOCIATE_AC   user  provider  .         provider  provider  provider  provider  provider  provider  provider  ignored
A_ASSOCIATE_RJ   user  provider  .         provider  provider  provider  provider  provider  provider  provider  ignored
P_DATA_TF        user  provider  provider  .         .         provider  provider  provider  provider  provider  ignored
A_RELEASE_RQ     user  provider  provider  .         .         provider  provider  provider  provider  provider  ignored
A_RELEASE_RP     user  provider  provider  provider  .         provider  provider  .         .         provider  ignored
"""
_INVALID = """
                 Sta2  Sta3      Sta5      Sta6      Sta7      Sta8      Sta9      Sta10     Sta11     Sta12     Sta13
unknown_type     user  provider  provider  provider  provider  provider  provider  provider  provider  provider  again
wrong_length     user  provider  provider  provider  provider  provider  provider  provider  provider  provider  again
"""
_BODY = {
    PDUType.A_ASSOCIATE_RQ: 200,
    PDUType.A_ASSOCIATE_AC: 200,
    PDUType.P_DATA_TF: 1000,
}


def cells(grid: str):
    states, *rows = (line.split() for line in grid.strip().splitlines())
    for name, *row in rows:
        for state, answer in zip(states, row, strict=True):
            if answer != ".":
                yield pytest.param(name, State[state.upper()], answer, id=f"{name}-{state}")


def soon(seconds: float = PATIENCE) -> Deadline:
    return Deadline.after(seconds, "idle", "nothing came")


def data_tf(*fragments: bytes) -> bytes:
    return DataTF(tuple(PresentationDataValue(1, True, False, one) for one in fragments)).encode()


def check(upper, far, answer: str, state: State, reason: int) -> None:
    if answer == "ignored":
        far.socket.shutdown(1)
        with pytest.raises(ConnectionLost):
            upper.receive(soon())
        upper.connection.close()
        assert far.receive() is None
        return
    if answer == "again":
        with pytest.raises((Expired, ProtocolError)):
            upper.receive(soon(0.05))
        far.socket.settimeout(0.5)
    else:
        with pytest.raises(ProtocolError):
            upper.receive(soon())
        assert upper.machine.state is State.STA13
    assert far.receive() == (Abort(0, 0) if answer == "user" else Abort(2, reason))
    assert far.says_nothing_more()


@pytest.mark.parametrize(("name", "state", "answer"), list(cells(_GRID)))
def test_pdu_in_the_wrong_state_gets_the_answer_of_the_table(layer, name, state, answer):
    """By its header alone: nobody waits for a body that means nothing."""
    upper, far = layer(state)
    kind = PDUType[name]
    far.send(HEADER.pack(kind, _BODY.get(kind, 4)))
    check(upper, far, answer, state, reason=2)


@pytest.mark.parametrize(("name", "state", "answer"), list(cells(_INVALID)))
def test_invalid_pdu_gets_the_answer_of_the_table(layer, name, state, answer):
    """Evt19: an unknown type is reason 1, unrecognized PDU; an impossible length reason 6, invalid parameter value."""
    upper, far = layer(state)
    far.send(HEADER.pack(0x42, 4) if name == "unknown_type" else HEADER.pack(PDUType.A_RELEASE_RQ, 5))
    check(upper, far, answer, state, reason=1 if name == "unknown_type" else 6)


@pytest.mark.parametrize("body", ["whole", "in pieces"])
def test_ignored_pdu_in_sta13_is_read_over_and_what_follows_is_understood(layer, body):
    upper, far = layer(State.STA13)
    far.send(data_tf(bytes(2000)) + ReleaseRQ().encode())
    if body == "in pieces":
        far.send(Abort(0, 0).encode()[:3])
        assert upper.take() is None
        upper.fill(soon())
        far.send(Abort(0, 0).encode()[3:])
    else:
        far.send(Abort(0, 0).encode())
    with pytest.raises(Aborted):
        upper.receive(soon())
    assert upper.machine.state is State.STA1
    assert far.says_nothing_more()


@pytest.mark.parametrize("source", [0, 2])
@pytest.mark.parametrize("state", [State.STA2, State.STA3, State.STA6, State.STA7, State.STA8, State.STA13])
def test_abort_of_the_peer_ends_everything_and_is_not_answered(layer, state, source):
    upper, far = layer(state)
    far.send(Abort(source, 5).encode())
    with pytest.raises(Aborted) as caught:
        upper.receive(soon())
    assert (caught.value.source, caught.value.reason) == (source, 5)
    assert upper.is_over
    upper.end()
    assert far.receive() is None


@pytest.mark.parametrize("state", list(State)[1:])
def test_close_by_the_peer_ends_everything(layer, state):
    upper, far = layer(state)
    far.hang_up()
    with pytest.raises(ConnectionLost, match="the peer closed the connection$"):
        upper.receive(soon())
    assert upper.machine.state is State.STA1
    upper.end()


def test_close_inside_a_pdu_is_told_from_a_close_between_two(associated):
    upper, far = associated()
    far.send(data_tf(b"half")[:14])
    far.hang_up()
    upper.receive(soon())
    with pytest.raises(ConnectionLost, match="inside a PDU"):
        upper.receive(soon())


def test_reset_by_the_peer_ends_everything(associated):
    upper, far = associated(tcp=True)
    far.reset()
    with pytest.raises(ConnectionLost):
        upper.receive(soon())
    assert upper.machine.state is State.STA1


# -- the association's beginning, and ARTIM


def test_request_may_come_a_byte_at_a_time(layer, request_pdu):
    upper, far = layer()
    raw = request_pdu.encode()

    def trickle():
        for number in range(len(raw)):
            far.send(raw[number : number + 1])

    threading.Thread(target=trickle, daemon=True).start()
    assert upper.await_request() == request_pdu
    assert upper.machine.state is State.STA3
    assert upper.machine.deadline is None


@pytest.mark.parametrize("begun", [b"", b"\x01\x00", HEADER.pack(1, 200), HEADER.pack(1, 200) + bytes(199)])
def test_silence_ends_at_artim_without_a_word(layer, within, begun):
    """AA-2: closed, no A-ABORT (PS3.8 table 9-10, Evt18 in Sta2)."""
    with within(0.2), pytest.raises(Expired) as caught:
        upper, far = layer(artim=0.2)
        far.send(begun)
        upper.await_request()
    assert caught.value.which == "artim"
    upper.end()
    assert far.receive() is None


def test_a_byte_now_and_then_does_not_extend_artim(layer, within, meanwhile, request_pdu):
    raw = iter(request_pdu.encode())
    with within(0.3), pytest.raises(Expired):
        upper, far = layer(artim=0.3)
        meanwhile(lambda: far.send(bytes((next(raw),))), every=0.02)
        upper.await_request()
    assert upper.connection.received > 3


@pytest.mark.parametrize("length", [100_001, 0xFFFFFFFF])
@pytest.mark.parametrize("kind", [PDUType.A_ASSOCIATE_RQ, PDUType.P_DATA_TF])
def test_a_promise_beyond_the_limits_is_refused_by_its_header(layer, kind, length):
    upper, far = layer(limits=Limits(associate=100_000, data=100_000))
    far.send(HEADER.pack(kind, length))
    with pytest.raises(ProtocolError):
        upper.await_request()
    assert far.receive() == Abort(0, 0)


def test_after_a_refusal_whatever_comes_is_dropped_without_being_kept(associated, meanwhile):
    """A hundred megabytes after a lie about a length: the buffer stays what it was."""
    upper, far = associated(artim=PATIENCE)
    size = len(upper.framer._view)
    far.send(HEADER.pack(PDUType.P_DATA_TF, 0xFFFFFFFF))
    with pytest.raises(ProtocolError):
        upper.receive(soon())
    assert far.receive() == Abort(2, 6)

    def flood():
        for _ in range(100):
            far.send(bytes(1 << 20))
        far.socket.shutdown(1)

    meanwhile(flood)
    upper.end()
    assert upper.connection.received > 100 << 20
    assert len(upper.framer._view) <= max(size, upper.framer._capacity)


def test_rejection_goes_out_and_the_connection_waits_for_the_peers_close(layer, request_pdu):
    upper, far = layer()
    far.send(request_pdu.encode())
    upper.await_request()
    upper.reject(AssociateRJ(2, 3, 2))
    assert upper.machine.state is State.STA13
    assert far.receive() == AssociateRJ(2, 3, 2)
    far.hang_up()
    upper.end()


# -- release


def test_release_by_the_peer(associated):
    upper, far = associated()
    far.send(ReleaseRQ().encode())
    assert upper.receive(soon()) == ReleaseRQ()
    upper.finish_release(soon())
    assert far.receive() == ReleaseRP()
    far.hang_up()
    upper.end()
    assert upper.machine.state is State.STA1


def test_release_by_us(associated):
    upper, far = associated()
    far.send(ReleaseRP().encode())
    upper.ask_release()
    upper.finish_release(soon())
    assert far.receive() == ReleaseRQ()
    assert upper.machine.state is State.STA1
    upper.end()
    assert far.receive() is None


def test_data_that_crosses_our_release_is_taken(associated):
    """AR-6: Sta7 still hears P-DATA-TF."""
    upper, far = associated()
    far.send(data_tf(b"late") + ReleaseRP().encode())
    upper.ask_release()
    upper.finish_release(soon())
    assert upper.machine.state is State.STA1


def test_release_that_is_never_answered_ends_at_its_deadline(associated, within):
    upper, far = associated()
    with within(0.2), pytest.raises(Expired):
        upper.ask_release()
        upper.finish_release(soon(0.2))
    upper.abort()
    assert far.receive() == ReleaseRQ()
    assert far.receive() == Abort(0, 0)


def test_release_collision_as_acceptor(associated):
    """AR-8, AR-10, AR-4: the acceptor awaits the answer, then gives its own (PS3.8 table 9-8)."""
    upper, far = associated()
    far.send(ReleaseRQ().encode())
    upper.ask_release()
    thread = threading.Thread(target=upper.finish_release, args=(soon(),), daemon=True)
    thread.start()
    assert far.receive() == ReleaseRQ()
    assert far.says_nothing_more()
    far.send(ReleaseRP().encode())
    assert far.receive() == ReleaseRP()
    thread.join(PATIENCE)
    assert upper.machine.state is State.STA13


def test_release_collision_as_requestor(layer):
    """AR-8, AR-9, AR-3: the requestor answers first, then awaits the answer to its own."""
    upper, far = layer(State.STA6)
    upper.machine.is_requestor = True
    upper.ask_release()
    thread = threading.Thread(target=upper.finish_release, args=(soon(),), daemon=True)
    thread.start()
    far.send(ReleaseRQ().encode())
    assert far.receive() == ReleaseRQ()
    assert far.receive() == ReleaseRP()
    far.send(ReleaseRP().encode())
    thread.join(PATIENCE)
    assert upper.machine.state is State.STA1


@pytest.mark.parametrize(
    ("kind", "error"), [(AssociateRJ(1, 1, 7), Rejected), (Abort(2, 1), Aborted), (ReleaseRP(), ProtocolError)]
)
def test_requestor_hears_what_came_instead_of_an_acceptance(layer, request_pdu, kind, error):
    upper, far = layer(is_requestor=True)
    upper.machine.state = State.STA4
    far.send(kind.encode())
    with pytest.raises(error):
        upper.request(request_pdu, soon())
    assert isinstance(far.receive(), AssociateRQ)


# -- the end


def test_linger_in_sta13_ends_when_the_peer_closes(layer, meanwhile, within):
    upper, far = layer(State.STA13)
    gate = threading.Event()
    meanwhile(lambda: (gate.wait(PATIENCE), far.hang_up()))
    gate.set()
    with within(0.0, 5.0):
        upper.end()
    assert upper.machine.state is State.STA1


def test_linger_in_sta13_ends_at_artim(layer, within):
    with within(0.25):
        upper, far = layer(State.STA13, artim=0.25)
        upper.end()
    assert upper.machine.state is State.STA1
    assert far.receive() is None


@pytest.mark.parametrize(("every", "count"), [(0.02, 1), (0, 1 << 20)], ids=["drip", "flood"])
def test_bytes_do_not_extend_the_linger(layer, meanwhile, every, count):
    """ARTIM is a deadline in Sta13 too, for a peer that drips and for one that never stops."""
    upper, far = layer(State.STA13, artim=0.3, tcp=True)
    # Each chunk is PDUs to be ignored: A-RELEASE-RP, over and over.
    stream = ReleaseRP().encode() * (1 + count // 10)
    place = 0

    def send():
        nonlocal place
        chunk = stream[place : place + count]
        far.send(chunk)
        place = (place + count) % 10 if count > 10 else (place + 1) % 10

    meanwhile(send, every=every)
    ender = threading.Thread(target=upper.end, daemon=True)
    ender.start()
    ender.join(1.5)
    lingered = ender.is_alive()
    far.hang_up()
    ender.join(PATIENCE)
    assert not lingered, "the connection was held beyond ARTIM"


def test_linger_ends_at_artim_though_there_is_always_more_to_be_read(layer, bounded):
    """A peer, or a crowd of them, that sends faster than it is read: the wait is never entered, the deadline holds."""
    upper, _ = layer(State.STA13, artim=0.2)
    upper.framer.discard()
    over = []
    upper.connection.try_receive = lambda view: 0 if over else len(view)
    try:
        bounded(upper.end, 2.0)
    finally:
        over.append(True)


def test_request_while_lingering_does_no_harm(layer, request_pdu):
    """AA-7 for a peer that asks again on the connection of an association that is over."""
    upper, far = layer(State.STA13)
    far.send(request_pdu.encode())
    far.socket.shutdown(1)
    upper.end()
    assert upper.machine.state is State.STA1


def test_interrupt_ends_the_linger_at_once(layer, within):
    upper, _ = layer(State.STA13)
    upper.connection.interrupt("stopping")
    with within(0.0):
        upper.end()


def test_abort_is_said_once(associated):
    upper, far = associated()
    upper.abort()
    upper.abort()
    upper.refuse(ProtocolError("late"))
    assert far.receive() == Abort(0, 0)
    assert far.says_nothing_more()


def test_abort_before_a_request_says_nothing(layer):
    """Evt15 does not exist in Sta2: there is no association to abort."""
    upper, far = layer()
    upper.abort()
    assert far.says_nothing_more()


def test_abort_after_an_interrupt_reaches_the_peer(associated):
    upper, far = associated(tcp=True)
    upper.connection.interrupt("stopping")
    with pytest.raises(Interrupted):
        upper.receive(soon())
    upper.abort()
    assert far.receive() == Abort(0, 0)


def test_abort_to_a_peer_that_is_gone_is_no_error(associated):
    upper, far = associated(tcp=True)
    far.reset()
    upper.abort()
    upper.end()
    assert upper.machine.state is State.STA1


def test_abort_to_a_peer_that_does_not_read_ends_in_time(associated, within, bounded):
    upper, _ = associated(write=0.2, buffer=4096)
    with within(0.2, 0.8):
        with pytest.raises(Expired) as caught:
            bounded(lambda: upper.send(bytes(8 << 20)))
        assert caught.value.which == "write"
        bounded(upper.abort)
    assert upper.is_over


@pytest.mark.parametrize(
    ("abort", "words"),
    [
        (Abort(0, 0), "by the service-user"),
        (Abort(0, 2), "by the service-user"),
        (Abort(2, 2), "by the service-provider: unexpected PDU"),
        (Abort(2, 77), "by the service-provider: reason 77"),
    ],
)
def test_aborts_are_told_in_the_words_of_the_standard(abort, words):
    assert abort_words(abort) == words
