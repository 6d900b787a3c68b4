"""DIMSE messages over a real connection: their pace, their order, and what a peer may not do with them."""

from __future__ import annotations

import threading

import pytest

from scpd.dimse import codec, fragment
from scpd.dimse.command import CCancelRQ, CEchoRQ, CEchoRSP, CFindRQ, CStoreRQ, CStoreRSP, respond
from scpd.errors import Aborted, ConnectionLost, Expired, Interrupted, ProtocolError
from scpd.transport.exchange import Message, MessageExchange, Pace, Piece
from scpd.wire.pdu import Abort, DataTF, PresentationDataValue, ReleaseRQ

PATIENCE = 20.0
ECHO = CEchoRQ(message_id=7, affected_sop_class_uid="1.2.840.10008.1.1")
STORE = CStoreRQ(
    message_id=9,
    affected_sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    affected_sop_instance_uid="1.2.3",
    has_data_set=True,
)
FIND = CFindRQ(message_id=11, affected_sop_class_uid="1.2.3.4", has_data_set=True)


@pytest.fixture
def exchange(associated):
    """A message exchange with contexts 1 and 3, and its peer."""

    def make(
        *, idle: float = PATIENCE, message: float = PATIENCE, rate: float = 0.0, limit: int = 4096, longest=16384, **how
    ):
        upper, far = associated(**how)
        pace = Pace(idle, message, rate)
        return MessageExchange(upper, (1, 3), peer_maximum_length=longest, command_limit=limit, pace=pace), far

    return make


def values(*parts: tuple[int, bool, bool, bytes]) -> bytes:
    """One P-DATA-TF of fragments (context, is command, is last, bytes)."""
    return DataTF(tuple(PresentationDataValue(*part) for part in parts)).encode()


def command(message, context: int = 1) -> bytes:
    return fragment.command(context, codec.encode(message), 16384)


def data_set(data: bytes, context: int = 1, size: int = 1000) -> bytes:
    return b"".join(
        values((context, False, start + size >= len(data), data[start : start + size]))
        for start in range(0, len(data), size)
    )


def read(exchange) -> bytes:
    """The data set of the message before, its views copied before the next filling."""
    return b"".join(bytes(view) for batch in exchange.data() for view in batch)


# -- messages and their data


def test_messages_one_after_the_other(exchange):
    near, far = exchange()
    far.send(command(ECHO) + command(STORE, 3) + data_set(bytes(range(256)) * 20, 3) + command(ECHO))
    assert near.receive() == Message(1, ECHO)
    assert near.receive() == Message(3, STORE)
    assert near.data_is_due
    assert read(near) == bytes(range(256)) * 20
    assert not near.data_is_due
    assert near.receive() == Message(1, ECHO)


def test_everything_may_come_a_byte_at_a_time(exchange, meanwhile):
    near, far = exchange()
    raw = iter(command(STORE) + data_set(b"abcdefgh" * 20, size=32) + ReleaseRQ().encode())
    meanwhile(lambda: [far.send(bytes((byte,))) for byte in raw])
    assert near.receive().command == STORE
    assert read(near) == b"abcdefgh" * 20
    assert near.receive() is None


def test_command_and_data_of_many_messages_may_come_in_one_pdu(exchange):
    near, far = exchange()
    echo, store = codec.encode(ECHO), codec.encode(STORE)
    far.send(
        values(
            (1, True, False, echo[:10]),
            (1, True, True, echo[10:]),
            (1, True, True, store),
            (1, False, False, b"first "),
            (1, False, True, b"second"),
            (1, True, True, echo),
        )
    )
    assert near.receive().command == ECHO
    assert near.receive().command == STORE
    assert read(near) == b"first second"
    assert near.receive().command == ECHO


def test_an_empty_data_set_is_one(exchange):
    near, far = exchange()
    far.send(command(STORE) + values((1, False, True, b"")) + command(ECHO))
    near.receive()
    assert read(near) == b""
    assert near.receive().command == ECHO


def test_a_data_set_larger_than_every_buffer_is_handed_on_as_it_comes(exchange, meanwhile):
    """Nothing holds it: the receive buffer is all there is of it."""
    near, far = exchange()
    one = data_set(bytes(60_000), size=60_000)[:-60_000]
    whole = command(STORE) + (one[:-1] + b"\0" + bytes(60_000)) * 500 + one + bytes(60_000)
    meanwhile(lambda: far.send(whole))
    near.receive()
    total = most = 0
    for batch in near.data():
        count = sum(map(len, batch))
        total, most = total + count, max(most, count)
    assert total == 501 * 60_000
    assert most <= len(near.upper.framer._view) <= 256 * 1024


def test_what_a_service_leaves_unread_is_skipped(exchange):
    near, far = exchange()
    far.send(command(STORE) + data_set(bytes(5000)) + command(ECHO))
    near.receive()
    near.skip_data(1 << 20)
    assert near.receive().command == ECHO


def test_a_refused_data_set_that_never_ends_is_a_breach(exchange):
    near, far = exchange()
    far.send(command(STORE) + data_set(bytes(50_000)))
    near.receive()
    with pytest.raises(ProtocolError, match="goes on for 10000 bytes"):
        near.skip_data(10_000)
    assert far.receive() == Abort(2, 2)


@pytest.mark.parametrize("longest", [8, 9, 100, 16384, 0])
def test_a_message_is_cut_to_what_the_peer_takes(exchange, longest):
    near, far = exchange(longest=longest)
    data = bytes(range(250)) * 3
    answer = respond(STORE, 0, has_data_set=True)
    pieces = [Piece(memoryview(data)[:500], False), Piece(memoryview(data)[500:], True)]
    sender = threading.Thread(target=near.send, args=(1, answer, pieces), daemon=True)
    sender.start()
    gathered, ends = {True: b"", False: b""}, []
    while len(ends) < 2:
        pdu = far.receive()
        assert not longest or len(pdu.encode()) - 6 <= longest
        for value in pdu.values:
            gathered[value.is_command] += value.data
            ends += [value.is_command] * value.is_last
    sender.join(PATIENCE)
    assert ends == [True, False]
    assert codec.decode(gathered[True]) == answer
    assert gathered[False] == data


# -- release and the end


def test_release_between_two_messages_is_the_end(exchange):
    near, far = exchange()
    far.send(command(ECHO) + ReleaseRQ().encode())
    near.receive()
    assert near.receive() is None


def test_release_inside_a_data_set_is_a_breach(exchange):
    near, far = exchange()
    far.send(command(STORE) + data_set(bytes(3000))[:2024] + ReleaseRQ().encode())
    near.receive()
    with pytest.raises(ProtocolError, match="A-RELEASE-RQ inside a message"):
        read(near)
    assert far.receive() == Abort(2, 2)
    assert far.says_nothing_more()


def test_release_inside_a_command_set_is_a_breach(exchange):
    """The message was begun and never ended: no place for A-RELEASE-RQ either."""
    near, far = exchange()
    far.send(values((1, True, False, codec.encode(ECHO)[:20])) + ReleaseRQ().encode())
    with pytest.raises(ProtocolError):
        near.receive()
    assert far.receive() == Abort(2, 2)


@pytest.mark.parametrize("inside", ["command", "data"])
def test_abort_inside_a_message(exchange, inside):
    near, far = exchange()
    begun = command(STORE) + data_set(bytes(3000))[:1012] if inside == "data" else values((1, True, False, b"abcd"))
    far.send(begun + Abort(0, 0).encode())
    with pytest.raises(Aborted):
        near.receive()
        read(near)


@pytest.mark.parametrize("how", ["hang_up", "reset"])
def test_close_inside_a_data_set(exchange, how):
    near, far = exchange(tcp=True)
    far.send(command(STORE) + data_set(bytes(3000))[:1500])
    near.receive()
    getattr(far, how)()
    with pytest.raises(ConnectionLost):
        read(near)


# -- breaches


def breaches():
    echo = codec.encode(ECHO)
    yield "a context that was not accepted", values((5, True, True, echo)), 6
    yield "context 0", values((0, True, True, echo)), 6
    yield "an even context", values((2, True, True, echo)), 6
    yield "a data set without a command", values((1, False, True, b"abcd")), 5
    yield "a command without meaning", values((1, True, True, b"abcdefgh")), 6
    yield "an empty command", values((1, True, True, b"")), 6
    yield "a command that goes on in another context", values((1, True, False, echo[:8]), (3, True, True, echo[8:])), 5
    yield "data inside a command", values((1, True, False, echo[:8]), (1, False, True, b"ab")), 5
    yield "a command inside data", command(STORE) + values((1, False, False, b"ab"), (1, True, True, echo)), 5
    yield "data in another context", command(STORE) + values((3, False, True, b"ab")), 5
    yield "data in no context", command(STORE) + values((7, False, True, b"ab")), 6
    yield "a value that is longer than its PDU", b"\x04\0\0\0\0\x08" + b"\0\0\0\xff\x01\x03" + b"ab", 6
    yield "a value shorter than its own header", b"\x04\0\0\0\0\x08" + b"\0\0\0\x01\x01\x03" + b"ab", 6
    yield "bytes after the last value", b"\x04\0\0\0\0\x0a" + b"\0\0\0\x02\x01\x01" + b"abcd", 6
    yield "a PDU longer than was announced", b"\x04\0" + (65537).to_bytes(4), 6
    yield "an endless row of empty fragments", values((1, True, False, b"")) * 17, 6
    yield "an endless row of empty data", command(STORE) + values((1, False, False, b"")) * 17, 6
    yield "a second association", bytes.fromhex("0100000000ff"), 2


@pytest.mark.parametrize(("raw", "reason"), [pytest.param(*row[1:], id=row[0]) for row in breaches()])
def test_breach_is_answered_with_an_abort_of_the_provider(exchange, raw, reason):
    near, far = exchange()
    far.send(raw)
    with pytest.raises(ProtocolError):
        near.receive()
        read(near)
    assert far.receive() == Abort(2, reason)
    assert far.says_nothing_more()


def test_a_command_that_never_ends_is_refused_at_its_limit_and_not_kept(exchange, meanwhile):
    near, far = exchange(limit=10_000)
    meanwhile(lambda: far.send(values((1, True, False, bytes(1000)))), every=0)
    with pytest.raises(ProtocolError, match="more than 10000 bytes"):
        near.receive()
    assert len(near._assembler._gathered) <= 10_000
    assert far.receive() == Abort(2, 6)


# -- pace


def test_an_idle_association_ends_at_its_deadline(exchange, within):
    near, _ = exchange(idle=0.2)
    with within(0.2), pytest.raises(Expired) as caught:
        near.receive()
    assert caught.value.which == "idle"


def test_each_message_begins_the_idle_time_anew(exchange, within):
    near, far = exchange(idle=0.3)
    far.send(command(ECHO))
    near.receive()
    with within(0.3), pytest.raises(Expired):
        near.receive()


@pytest.mark.parametrize("count", [1, 5, 6, 11, 12, 40])
def test_a_message_that_stops_half_way_ends_at_the_message_time(exchange, within, count):
    near, far = exchange(idle=PATIENCE, message=0.2)
    far.send(command(ECHO)[:count])
    with within(0.2), pytest.raises(Expired) as caught:
        near.receive()
    assert caught.value.which == "message"


def test_a_data_set_that_never_begins_ends_at_the_message_time(exchange, within):
    near, far = exchange(message=0.2)
    far.send(command(STORE))
    near.receive()
    with within(0.2), pytest.raises(Expired) as caught:
        read(near)
    assert caught.value.which == "message"


def test_a_data_set_that_stops_half_way_ends_at_the_message_time(exchange, within):
    near, far = exchange(message=0.2)
    far.send(command(STORE) + data_set(bytes(3000))[:1500])
    near.receive()
    with within(0.2), pytest.raises(Expired):
        read(near)


def test_a_drip_below_the_minimum_rate_ends_at_the_message_time(exchange, within, meanwhile):
    """50 bytes a second where 1,000 are due."""
    near, far = exchange(message=0.3, rate=1000)
    drip = iter(data_set(bytes(2000), size=2000))
    far.send(command(STORE))
    near.receive()
    meanwhile(lambda: far.send(bytes((next(drip),))), every=0.02)
    with within(0.3), pytest.raises(Expired):
        read(near)


def test_a_command_that_drips_ends_at_the_message_time(exchange, within, meanwhile):
    near, far = exchange(message=0.3, rate=1000)
    drip = iter(command(ECHO))
    meanwhile(lambda: far.send(bytes((next(drip),))), every=0.02)
    with within(0.3, 0.5), pytest.raises(Expired):
        near.receive()


def test_a_slow_message_above_the_minimum_rate_may_take_as_long_as_it_likes(exchange, meanwhile, within):
    """Four times timeouts.message, with always enough in each."""
    near, far = exchange(message=0.2, rate=100)
    whole = data_set(bytes(400), size=400)
    pieces = iter(whole[start : start + 20] for start in range(0, len(whole), 20))
    far.send(command(STORE))
    near.receive()
    meanwhile(lambda: far.send(next(pieces)), every=0.04)
    with within(0.6, 2.0):
        assert read(near) == bytes(400)


def test_interrupt_inside_a_message(exchange):
    near, far = exchange()
    far.send(command(STORE) + data_set(bytes(3000))[:1500])
    near.receive()
    near.upper.connection.interrupt("stopping")
    with pytest.raises(Interrupted, match="stopping"):
        read(near)


# -- C-CANCEL


def cancel(message_id: int) -> bytes:
    return command(CCancelRQ(message_id_being_responded_to=message_id))


def test_cancel_is_seen_between_two_replies(exchange):
    near, far = exchange()
    far.send(command(FIND) + data_set(b"abcd"))
    near.receive()
    read(near)
    assert not near.is_cancelled(11)
    far.send(cancel(11))
    assert near.is_cancelled(11)
    assert near.is_cancelled(11)


def test_cancel_of_another_message_is_none_of_this(exchange):
    near, far = exchange()
    far.send(command(ECHO) + cancel(3))
    near.receive()
    assert not near.is_cancelled(7)


def test_a_request_that_comes_while_an_operation_runs_waits_its_turn(exchange):
    near, far = exchange()
    far.send(command(FIND) + data_set(b"abcd") + command(ECHO) + cancel(11))
    near.receive()
    read(near)
    near.is_cancelled(11)
    assert near.receive() == Message(1, ECHO)


def test_a_late_cancel_cancels_nothing_later(exchange):
    """PS3.7 9.3.2.3: it may come after the last response; the next operation may have the same Message ID."""
    near, far = exchange()
    far.send(cancel(7) + command(ECHO))
    assert near.receive().command == ECHO
    assert not near.is_cancelled(7)


def test_half_a_cancel_is_waited_for_by_nobody(exchange, within):
    near, far = exchange()
    far.send(command(ECHO) + cancel(7)[:20])
    near.receive()
    with within(0.0):
        assert not near.is_cancelled(7)
    far.send(cancel(7)[20:])
    assert near.is_cancelled(7)


def test_looking_for_a_cancel_finds_a_peer_that_is_gone(exchange):
    near, far = exchange()
    far.send(command(ECHO))
    near.receive()
    far.hang_up()
    with pytest.raises(ConnectionLost):
        near.is_cancelled(7)


def test_release_while_an_operation_runs_is_a_breach(exchange):
    near, far = exchange()
    far.send(command(ECHO) + ReleaseRQ().encode())
    near.receive()
    with pytest.raises(ProtocolError):
        near.is_cancelled(7)
    assert far.receive() == Abort(2, 2)


def test_replies_go_out_in_one_piece(exchange):
    near, far = exchange()
    near.send(1, respond(ECHO, 0))
    answer = far.receive()
    assert codec.decode(answer.values[0].data) == CEchoRSP(
        message_id_being_responded_to=7, affected_sop_class_uid="1.2.840.10008.1.1"
    )
    assert isinstance(respond(STORE, 0), CStoreRSP)
