"""The Framer cuts a stream into the same PDUs and bytes, however the stream arrives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpd.errors import ProtocolError
from scpd.wire.fields import INVALID_PARAMETER, UNRECOGNIZED_PDU
from scpd.wire.framing import Fragment, Limits, check_header
from scpd.wire.pdu import HEADER, Abort, AssociateRJ, DataTF, PDUType, PresentationDataValue, ReleaseRP, ReleaseRQ

RELEASE = ReleaseRQ().encode()


def data(*values: tuple[int, bool, bool, bytes]) -> bytes:
    return DataTF(tuple(PresentationDataValue(*one) for one in values)).encode()


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in zip(borders, borders[1:], strict=False)]


@pytest.fixture(scope="module")
def conversation(request_pdu, accept_pdu):
    """A stream with every PDU type, several values in a PDU, empty ones, and what it says."""
    values = [(1, True, False, b"abc"), (1, True, True, b"de"), (1, False, False, b""), (1, False, False, bytes(9000))]
    more = [(1, False, True, b""), (3, True, True, b"x" * 70)]
    closing = [AssociateRJ(1, 2, 2), ReleaseRQ(), ReleaseRP(), Abort(2, 6)]
    stream = request_pdu.encode() + accept_pdu.encode() + data(*values) + data(*more)
    stream += b"".join(one.encode() for one in closing)
    return stream, [request_pdu, accept_pdu, *(Fragment(*one) for one in values + more), *closing]


def test_a_whole_stream_gives_every_pdu_and_fragment_in_order(conversation, framer, feed, merged):
    stream, said = conversation
    assert merged(feed(framer(), [stream])) == merged(said)


def test_one_byte_at_a_time_gives_the_same(conversation, framer, feed, merged):
    stream, said = conversation
    assert merged(feed(framer(), [stream[i : i + 1] for i in range(len(stream))])) == merged(said)


@given(places=st.lists(st.integers(0, 2**16), max_size=12))
def test_any_cut_gives_the_same(places, conversation, framer, feed, merged):
    stream, said = conversation
    assert merged(feed(framer(), cut(stream, places))) == merged(said)


@given(
    values=st.lists(
        st.lists(st.tuples(st.sampled_from([1, 3]), st.booleans(), st.booleans(), st.binary(max_size=30)), min_size=1),
        max_size=6,
    ),
    places=st.lists(st.integers(0, 2**12), max_size=20),
)
def test_any_values_in_any_cut_give_their_bytes_flags_and_context(values, places, framer, feed, merged):
    stream = b"".join(data(*one) for one in values)
    said = merged([Fragment(*value) for one in values for value in one])
    assert merged(feed(framer(), cut(stream, places))) == said


def test_fragments_move_on_before_their_value_or_pdu_is_whole(framer, feed):
    stream = data((1, False, True, b"0123456789"))
    assert feed(framer(), [stream[:15]]) == [Fragment(1, False, False, b"012")]


def test_only_the_last_piece_of_a_last_value_is_last(framer, feed):
    stream = data((1, True, True, b"abcdef"))
    pieces = feed(framer(), [stream[:14], stream[14:16], stream[16:]])
    assert [(bytes(one.data), one.is_last) for one in pieces] == [(b"ab", False), (b"cd", False), (b"ef", True)]


def test_an_empty_value_is_a_fragment_of_no_bytes_at_once(framer, feed):
    assert feed(framer(), [data((1, True, False, b""), (1, True, True, b""))]) == [
        Fragment(1, True, False, b""),
        Fragment(1, True, True, b""),
    ]


def test_bytes_left_over_wait_for_the_rest_of_their_pdu(framer, feed):
    one = framer()
    assert feed(one, [RELEASE + RELEASE[:3]]) == [ReleaseRQ()]
    assert one.inside_pdu
    assert feed(one, [RELEASE[3:]]) == [ReleaseRQ()]
    assert not one.inside_pdu


@pytest.mark.parametrize("count", [1, 5, 6, 9])
def test_inside_pdu_from_the_first_byte_to_the_last(count, framer, feed):
    one = framer()
    assert not one.inside_pdu
    assert feed(one, [RELEASE[:count]]) == []
    assert one.inside_pdu


def test_inside_pdu_while_the_rest_of_a_value_is_owed_and_not_after_it(framer, feed):
    one, stream = framer(), data((1, False, True, b"0123456789"))
    feed(one, [stream[:15]])
    assert one.inside_pdu
    feed(one, [stream[15:]])
    assert not one.inside_pdu


def test_inside_pdu_while_a_pdu_is_skipped_and_not_after_it(framer, feed):
    one, stream = framer(admit=lambda *_: False), data((1, False, True, b"0123456789"))
    feed(one, [stream[:15]])
    assert one.inside_pdu
    feed(one, [stream[15:]])
    assert not one.inside_pdu


# Limits


def test_the_header_is_judged_at_its_sixth_byte_and_not_before(framer, feed):
    one, header = framer(associate=1000), HEADER.pack(1, 1001)
    assert feed(one, [header[:5]]) == []
    with pytest.raises(ProtocolError, match="claims 1001 bytes, 68 to 1000 are allowed"):
        feed(one, [header[5:]])


@pytest.mark.parametrize("length", [0, 1, 67, 1001, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("pdu_type", [1, 2])
def test_an_a_associate_has_68_bytes_to_the_limit(pdu_type, length):
    with pytest.raises(ProtocolError) as caught:
        check_header(pdu_type, length, Limits(1000, 2000))
    assert caught.value.reason == INVALID_PARAMETER
    check_header(pdu_type, 68, Limits(1000, 2000))
    check_header(pdu_type, 1000, Limits(1000, 2000))


@pytest.mark.parametrize("length", [0, 5, 2001, 0xFFFFFFFF])
def test_a_p_data_tf_has_a_value_header_to_the_limit(length):
    """PS3.8 D.1.1: longer than announced is a protocol error."""
    with pytest.raises(ProtocolError) as caught:
        check_header(4, length, Limits(1000, 2000))
    assert caught.value.reason == INVALID_PARAMETER
    check_header(4, 6, Limits(1000, 2000))
    check_header(4, 2000, Limits(1000, 2000))


@pytest.mark.parametrize("length", [0, 3, 5, 0xFFFFFFFF])
@pytest.mark.parametrize("pdu_type", [3, 5, 6, 7])
def test_the_short_pdus_have_four_bytes(pdu_type, length):
    with pytest.raises(ProtocolError, match="4 to 4 are allowed") as caught:
        check_header(pdu_type, length, Limits(1000, 2000))
    assert caught.value.reason == INVALID_PARAMETER
    check_header(pdu_type, 4, Limits(1000, 2000))


@pytest.mark.parametrize("pdu_type", [0, *range(8, 256)])
def test_an_unknown_type_is_an_unrecognized_pdu(pdu_type):
    with pytest.raises(ProtocolError) as caught:
        check_header(pdu_type, 4, Limits(1000, 2000))
    assert caught.value.reason == UNRECOGNIZED_PDU


def test_the_reserved_byte_of_a_header_is_not_tested(framer, feed):
    assert feed(framer(), [RELEASE[:1] + b"\xff" + RELEASE[2:]]) == [ReleaseRQ()]


def test_limits_hold_from_the_next_header_on(framer, feed):
    """They are narrower until an association is accepted."""
    one, stream = framer(data=8), data((1, True, True, b"abcd"))
    with pytest.raises(ProtocolError):
        feed(one, [stream])
    one = framer(data=8)
    one.limits = Limits(68, 10)
    assert feed(one, [stream]) == [Fragment(1, True, True, b"abcd")]


# Values that lie


@pytest.mark.parametrize(
    "body",
    [
        "00000000 0103 6162",  # shorter than its own header
        "00000001 0103 6162",
        "00000001 0103 00000002 0103",
        "00000005 0103 6162",  # one byte more than the PDU has
        "FFFFFFFF 0103 6162",
    ],
)
def test_a_value_that_lies_is_an_error_before_any_of_its_bytes_move(body, framer, feed):
    raw = bytes.fromhex(body)
    with pytest.raises(ProtocolError) as caught:
        feed(framer(), [HEADER.pack(4, len(raw)) + raw])
    assert caught.value.reason == INVALID_PARAMETER


@pytest.mark.parametrize("left_over", range(1, 6))
def test_bytes_too_few_for_a_value_at_the_end_of_a_p_data_tf_are_an_error_as_soon_as_the_pdu_is_there(
    left_over, framer, feed
):
    """Without waiting for the PDU that comes next: the peer may well wait for us."""
    body = bytes.fromhex("00000004 0101 6162") + bytes(left_over)
    with pytest.raises(ProtocolError, match=f"{left_over} bytes after the last value"):
        feed(framer(), [HEADER.pack(4, len(body)) + body])


@pytest.mark.parametrize("left_over", range(1, 6))
def test_bytes_too_few_for_a_value_never_become_part_of_the_next_pdu(left_over, framer, feed):
    body = bytes.fromhex("00000004 0101 6162") + bytes(left_over)
    with pytest.raises(ProtocolError, match=f"{left_over} bytes after the last value"):
        feed(framer(), [HEADER.pack(4, len(body)) + body + RELEASE])


# Admission


def test_a_pdu_that_is_not_admitted_is_skipped_unread(framer, feed):
    asked = []

    def admit(pdu_type: int, length: int) -> bool:
        asked.append((pdu_type, length))
        return pdu_type != PDUType.P_DATA_TF

    stream = data((1, False, True, b"0123456789")) + RELEASE
    assert feed(framer(admit), [stream]) == [ReleaseRQ()]
    assert asked == [(4, 16), (5, 4)]


@given(size=st.integers(0, 30_000), places=st.lists(st.integers(0, 2**16), max_size=6))
def test_a_pdu_is_skipped_to_its_last_byte_in_any_cut(size, places, framer, feed):
    one = framer(admit=lambda pdu_type, _: pdu_type != PDUType.P_DATA_TF)
    # A body that no decoder could take: it is not looked at.
    stream = HEADER.pack(4, size + 6) + b"\xff" * (size + 6) + RELEASE
    assert feed(one, cut(stream, places)) == [ReleaseRQ()]
    assert not one.inside_pdu


def test_admit_is_asked_once_for_each_pdu_even_byte_by_byte(framer, feed):
    asked = []
    stream = RELEASE + data((1, True, True, b"ab"))
    feed(framer(lambda *header: asked.append(header) or True), [stream[i : i + 1] for i in range(len(stream))])
    assert asked == [(5, 4), (4, 8)]


def test_admit_is_not_asked_about_a_header_over_its_limit(framer, feed):
    asked = []
    with pytest.raises(ProtocolError):
        feed(framer(lambda *header: asked.append(header) or True, data=100), [HEADER.pack(4, 101)])
    assert asked == []


# Discard


@pytest.mark.parametrize("before", [b"", RELEASE[:8], data((1, False, True, b"0123456789"))[:14]])
def test_after_discard_no_byte_means_anything(before, framer, feed):
    one = framer()
    feed(one, [before])
    one.discard()
    assert feed(one, [RELEASE * 3, b"\xff" * 40_000, RELEASE]) == []


def test_discard_drops_what_is_in_the_buffer(framer, put, drain):
    one = framer()
    put(one, RELEASE * 2)
    one.discard()
    assert drain(one) == []


def test_after_discard_the_buffer_does_not_grow(framer, feed):
    one = framer()
    one.discard()
    size = len(one.writable())
    feed(one, [bytes(1 << 20)])
    assert len(one.writable()) <= 256 * 1024
    assert size <= 8 * 1024
