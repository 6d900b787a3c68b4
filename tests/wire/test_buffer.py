"""The receive buffer follows what has arrived, never what a length field promises, and data streams through it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpd.wire.framing import INITIAL_BUFFER, Fragment
from scpd.wire.pdu import HEADER, VALUE_HEADER, AssociateRQ, DataTF, PresentationDataValue, ReleaseRQ

MIB = 1 << 20


def size_of(framer) -> int:
    """Bytes of memory that the framer holds."""
    return len(framer._view)


@pytest.fixture(scope="module")
def long_request(request_pdu):
    """An A-ASSOCIATE-RQ of 900 KiB: unknown items, as a later edition of the standard might have."""
    body = request_pdu.encode()[6:] + (b"\xee\0\xff\xff" + bytes(65535)) * 14
    return HEADER.pack(1, len(body)) + body


@pytest.mark.parametrize("pdu_type", [1, 2, 4])
def test_a_header_that_promises_a_mebibyte_gets_no_memory_for_it(pdu_type, framer, feed):
    one = framer()
    feed(one, [HEADER.pack(pdu_type, MIB)])
    for _ in range(10):
        one.writable()
    assert size_of(one) == INITIAL_BUFFER


@pytest.mark.parametrize("step", [1, 100, 5000])
def test_the_buffer_grows_to_twice_what_has_arrived_at_most(step, framer, feed):
    one = framer()
    feed(one, [HEADER.pack(1, MIB)])
    for arrived in range(step, 40_000, step):
        feed(one, [bytes(step)])
        one.writable()
        assert size_of(one) <= max(INITIAL_BUFFER, 2 * (arrived + 6))


@given(chunks=st.lists(st.integers(1, 20_000), min_size=1, max_size=30), pdu_type=st.sampled_from([1, 4]))
def test_memory_is_bounded_by_what_arrived_for_any_chunks(chunks, pdu_type, framer, feed):
    one, arrived = framer(), 6
    feed(one, [HEADER.pack(pdu_type, MIB) + VALUE_HEADER.pack(MIB - 4, 1, 0)])
    for count in chunks:
        feed(one, [bytes(count)])
        arrived += count
        one.writable()
        assert size_of(one) <= max(INITIAL_BUFFER, 2 * (arrived + 6))


def test_a_request_longer_than_the_buffer_arrives_whole(long_request, request_pdu, framer, feed):
    assert feed(framer(), [long_request]) == [request_pdu]
    assert feed(framer(capacity=INITIAL_BUFFER), [long_request]) == [request_pdu]


def test_the_buffer_of_a_long_request_is_about_its_size(long_request, framer, feed):
    one = framer()
    feed(one, [long_request])
    assert size_of(one) <= len(long_request)


@pytest.mark.parametrize("capacity", [INITIAL_BUFFER, 64 * 1024])
@pytest.mark.parametrize("chunk", [1000, 65536, 4 * MIB])
def test_a_p_data_tf_bigger_than_the_buffer_streams_through_it(capacity, chunk, framer, feed, merged):
    content = bytes(range(256)) * 8192
    stream = DataTF((PresentationDataValue(1, False, True, content),)).encode() + ReleaseRQ().encode()
    one = framer(capacity=capacity, data=4 * MIB)
    got = merged(feed(one, [stream[start : start + chunk] for start in range(0, len(stream), chunk)]))
    assert got == [Fragment(1, False, True, content), ReleaseRQ()]
    assert size_of(one) <= capacity


def test_a_buffer_that_was_filled_grows_to_its_capacity_and_no_further(framer, put, drain):
    one, sizes = framer(capacity=64 * 1024, data=64 * MIB), set()
    put(one, HEADER.pack(4, 64 * MIB) + VALUE_HEADER.pack(64 * MIB - 4, 1, 0))
    for _ in range(30):
        drain(one)
        put(one, bytes(len(one.writable())))
        sizes.add(size_of(one))
    assert sizes == {INITIAL_BUFFER, 2 * INITIAL_BUFFER, 4 * INITIAL_BUFFER, 64 * 1024}


def test_a_peer_that_does_not_fill_the_buffer_leaves_it_small(framer, feed):
    """An idle association, or one of echoes, holds no more than the initial buffer."""
    one = framer()
    echo = DataTF((PresentationDataValue(1, True, True, bytes(68)),)).encode()
    feed(one, [echo] * 1000)
    assert size_of(one) == INITIAL_BUFFER


@given(counts=st.lists(st.integers(1, 9000), max_size=40))
def test_there_is_always_room_to_write(counts, framer, put, drain):
    """A zero-length recv would look like a closed connection."""
    one, stream = framer(), DataTF((PresentationDataValue(1, False, False, bytes(3001)),)).encode() * 200
    start = 0
    for count in counts:
        assert len(one.writable()) > 0
        start += put(one, stream[start : start + count])
        drain(one)


@pytest.mark.parametrize("left_over", range(1, 6))
def test_what_is_left_over_moves_to_the_front_before_the_room_gets_small(left_over, framer, put, drain):
    """A few bytes of the next header at the end of the buffer do not make every recv a tiny one."""
    one, release = framer(), ReleaseRQ().encode()
    put(one, release[:left_over])
    for _ in range(3 * INITIAL_BUFFER // len(release)):
        drain(one)
        assert len(one.writable()) >= INITIAL_BUFFER // 2
        put(one, release[left_over:] + release[:left_over])


def test_a_fragment_is_a_view_into_the_buffer_and_no_copy(framer, put):
    one = framer()
    put(one, DataTF((PresentationDataValue(1, False, True, b"abcd"),)).encode())
    fragment = one.next()
    assert isinstance(fragment.data, memoryview)
    assert fragment.data.obj is one._view.obj


def test_views_of_one_recv_stay_good_together_until_writable(framer, put):
    """All fragments of a buffer go to the file in one writev."""
    one = framer()
    put(one, b"".join(DataTF((PresentationDataValue(1, False, False, bytes([n]) * 50),)).encode() for n in range(99)))
    views = []
    while (fragment := one.next()) is not None:
        views.append(fragment.data)
    assert [bytes(view) for view in views] == [bytes([n]) * 50 for n in range(99)]


def test_a_decoded_request_does_not_hold_the_buffer(request_pdu, framer, feed):
    """What negotiation keeps is its own, whatever is received after it."""
    one = framer()
    (got,) = feed(one, [request_pdu.encode()])
    one._view[:] = b"\xff" * len(one._view)
    assert isinstance(got, AssociateRQ)
    assert got == request_pdu
