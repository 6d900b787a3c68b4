"""One connection: every wait has an end that is kept, and another thread can end it."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpd.errors import ConnectionLost, Expired, Interrupted
from scpd.transport.connection import _after, address_text
from scpd.transport.deadline import Deadline

PATIENCE = 20.0


def soon(seconds: float = PATIENCE, which: str = "message") -> Deadline:
    return Deadline.after(seconds, which, "nothing came")


def room(count: int = 100) -> memoryview:
    return memoryview(bytearray(count))


def test_a_plain_connection_begins_without_a_word(ends):
    connection, far = ends()
    connection.begin(soon())
    assert connection.tls is None
    assert far.says_nothing_more()


def test_what_came_is_received_and_counted(ends):
    connection, far = ends()
    view = room()
    far.send(b"abc")
    assert connection.receive(view, soon()) == 3
    assert view[:3] == b"abc"
    assert connection.received == 3


def test_end_of_the_stream_is_nothing(ends):
    connection, far = ends()
    far.hang_up()
    assert connection.receive(room(), soon()) == 0


def test_try_receive_does_not_wait(ends):
    connection, _ = ends()
    assert connection.try_receive(room()) is None


@pytest.mark.parametrize("seconds", [0.05, 0.3])
def test_a_wait_ends_at_its_deadline_and_not_before(ends, within, seconds):
    connection, _ = ends()
    with within(seconds), pytest.raises(Expired) as caught:
        connection.receive(room(), soon(seconds, "idle"))
    assert caught.value.which == "idle"
    assert str(caught.value) == "nothing came (timeouts.idle)"


def test_a_deadline_that_has_passed_ends_the_wait_at_once(ends, within):
    connection, _ = ends()
    with within(0.0), pytest.raises(Expired):
        connection.receive(room(), soon(-1.0))


def test_bytes_that_drip_do_not_move_the_deadline(ends, within, meanwhile):
    connection, far = ends()
    meanwhile(lambda: far.send(b"x"), every=0.02)
    deadline = soon(0.3)
    with within(0.3), pytest.raises(Expired):
        while connection.receive(room(), deadline):
            pass
    assert connection.received > 1


@pytest.mark.parametrize("tcp", [False, True])
def test_interrupt_wakes_a_waiting_receive_and_the_last_word_still_goes_out(ends, within, meanwhile, tcp):
    connection, far = ends(tcp=tcp)
    gate = socket.socketpair()
    with gate[0], gate[1]:
        meanwhile(lambda: (gate[1].recv(1), connection.interrupt("stopping")))
        with within(0.0, 5.0), pytest.raises(Interrupted, match="stopping"):
            assert connection.try_receive(room()) is None
            gate[0].send(b"x")
            connection.receive(room(), soon())
    connection.send((b"farewell",), PATIENCE)
    assert far.read(8) == b"farewell"


def test_interrupt_before_the_wait_is_not_lost(ends):
    connection, _ = ends()
    connection.interrupt("first")
    connection.interrupt("second")
    with pytest.raises(Interrupted, match="first"):
        connection.receive(room(), soon())


def test_interrupt_is_heard_though_there_is_always_more_to_be_read(ends):
    """A peer that sends a gigabyte faster than it is stored must not outlast the end of the process."""
    connection, far = ends(tcp=True)
    far.socket.setblocking(False)
    view = room(1 << 12)
    connection.interrupt("stopping")
    with pytest.raises(Interrupted):
        for _ in range(2000):
            with suppress(BlockingIOError):
                while True:
                    far.socket.send(bytes(1 << 20))
            connection.receive(view, soon())


def test_interrupt_after_the_close_does_nothing(ends):
    connection, _ = ends()
    connection.close()
    connection.interrupt("too late")
    connection.close()


@pytest.mark.parametrize("tcp", [False, True])
def test_a_peer_that_never_reads_ends_the_sending(ends, within, bounded, tcp):
    connection, _ = ends(tcp=tcp, buffer=4096)
    with within(0.3), pytest.raises(Expired) as caught:
        bounded(lambda: connection.send((bytes(16 << 20),), 0.3))
    assert caught.value.which == "write"
    assert 0 < connection.sent < 16 << 20


@pytest.mark.parametrize("tcp", [False, True])
def test_many_parts_arrive_whole_and_in_order_however_slowly_the_peer_reads(ends, meanwhile, tcp):
    """More parts than one system call takes, some empty, through a buffer that takes little at a time."""
    connection, far = ends(tcp=tcp, buffer=4096)
    parts = [bytes((number % 256,)) * (number % 701) for number in range(2500)]
    whole = b"".join(parts)
    got = bytearray()

    def read():
        while len(got) < len(whole):
            got.extend(far.socket.recv(1000))

    reader = meanwhile(read)
    connection.send(parts, PATIENCE)
    reader.join(PATIENCE)
    assert bytes(got) == whole
    assert connection.sent == len(whole)


@given(parts=st.lists(st.binary(max_size=5), max_size=8), data=st.data())
def test_after_a_partial_send_exactly_the_rest_is_left(parts, data):
    whole = b"".join(parts)
    count = data.draw(st.integers(0, len(whole)))
    assert b"".join(_after(list(parts), count)) == whole[count:]


def test_reset_is_a_lost_connection_to_the_receiver(ends):
    connection, far = ends(tcp=True)
    far.reset()
    with pytest.raises(ConnectionLost, match="reset"):
        connection.receive(room(), soon())


def test_reset_is_a_lost_connection_to_the_sender(ends):
    connection, far = ends(tcp=True)
    far.reset()
    with pytest.raises(ConnectionLost, match="broke"):
        while True:
            connection.send((bytes(1 << 16),), PATIENCE)


def test_finish_sending_ends_the_stream_and_leaves_the_other_way_open(ends):
    connection, far = ends(tcp=True)
    connection.finish_sending()
    assert far.read(1) == b""
    far.send(b"still here")
    assert connection.receive(room(), soon()) == 10


@pytest.mark.parametrize(
    ("address", "text"),
    [(("10.0.0.1", 104), "10.0.0.1:104"), (("::1", 104, 0, 0), "[::1]:104"), ("/run/x", "/run/x"), ("", "")],
)
def test_addresses_are_written_as_people_write_them(address, text):
    assert address_text(address) == text
