"""The rules that fragments keep among each other (PS3.8 annex E.1), one test each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpd.dimse import codec, fragment
from scpd.dimse.assemble import Assembler
from scpd.dimse.command import CEchoRQ, CStoreRQ
from scpd.errors import ProtocolError
from scpd.wire.fields import INVALID_PARAMETER, UNEXPECTED_PARAMETER
from scpd.wire.framing import Fragment, Framer, Limits
from scpd.wire.pdu import DataTF, PresentationDataValue

ECHO = CEchoRQ(message_id=1, affected_sop_class_uid="1.2.840.10008.1.1")
STORE = CStoreRQ(message_id=2, affected_sop_class_uid="1.2.3", has_data_set=True)
LIMIT = 1024


@pytest.fixture
def assembler() -> Assembler:
    return Assembler({1, 3}, LIMIT)


def piece(data: bytes, *, context_id: int = 1, is_command: bool = True, is_last: bool = True) -> Fragment:
    return Fragment(context_id, is_command, is_last, memoryview(data))


def test_a_command_in_one_fragment(assembler):
    assert assembler.command(piece(codec.encode(ECHO))) == ECHO
    assert (assembler.context_id, assembler.awaits_data) == (0, False)


@given(places=st.lists(st.integers(0, 200), max_size=10))
def test_a_command_in_any_fragments(places):
    encoded, assembler = codec.encode(ECHO), Assembler({1}, LIMIT)
    borders = [0, *sorted(place % len(encoded) for place in places)]
    for start, end in zip(borders, borders[1:], strict=False):
        assert assembler.command(piece(encoded[start:end], is_last=False)) is None
        assert assembler.context_id == 1
    assert assembler.command(piece(encoded[borders[-1] :])) == ECHO


def test_the_last_fragment_may_be_empty(assembler):
    assembler.command(piece(codec.encode(ECHO), is_last=False))
    assert assembler.command(piece(b"")) == ECHO


def test_data_passes_through_as_the_views_that_came(assembler):
    assembler.command(piece(codec.encode(STORE)))
    assert (assembler.context_id, assembler.awaits_data) == (1, True)
    first, last = piece(b"abc", is_command=False, is_last=False), piece(b"de", is_command=False)
    assert assembler.data(first) is first.data
    assert assembler.awaits_data
    assert assembler.data(last) is last.data
    assert (assembler.context_id, assembler.awaits_data) == (0, False)


def test_messages_follow_one_another_in_any_accepted_context(assembler):
    for context_id in (1, 3, 3, 1):
        assert assembler.command(piece(codec.encode(STORE), context_id=context_id)) == STORE
        assert assembler.context_id == context_id
        assembler.data(piece(b"", context_id=context_id, is_command=False))
    assert assembler.command(piece(codec.encode(ECHO))) == ECHO


@pytest.mark.parametrize("context_id", [0, 2, 5, 255])
def test_a_context_that_was_not_accepted_is_an_error(context_id, assembler):
    with pytest.raises(ProtocolError, match=f"presentation context {context_id}, which was not accepted") as caught:
        assembler.command(piece(codec.encode(ECHO), context_id=context_id))
    assert caught.value.reason == INVALID_PARAMETER


def test_a_command_that_changes_its_context_half_way_is_an_error(assembler):
    encoded = codec.encode(ECHO)
    assembler.command(piece(encoded[:8], is_last=False))
    with pytest.raises(ProtocolError, match="context 3 inside a message of 1") as caught:
        assembler.command(piece(encoded[8:], context_id=3))
    assert caught.value.reason == UNEXPECTED_PARAMETER


def test_data_in_another_context_than_its_command_is_an_error(assembler):
    assembler.command(piece(codec.encode(STORE)))
    with pytest.raises(ProtocolError, match="context 3 inside a message of 1") as caught:
        assembler.data(piece(b"ab", context_id=3, is_command=False))
    assert caught.value.reason == UNEXPECTED_PARAMETER


def test_data_where_a_command_is_due_is_an_error(assembler):
    with pytest.raises(ProtocolError, match="of a data set where a command set was due") as caught:
        assembler.command(piece(b"ab", is_command=False))
    assert caught.value.reason == UNEXPECTED_PARAMETER


def test_data_inside_a_command_is_an_error(assembler):
    assembler.command(piece(codec.encode(STORE)[:10], is_last=False))
    with pytest.raises(ProtocolError, match="of a data set where a command set was due"):
        assembler.command(piece(b"ab", is_command=False))


def test_a_command_where_data_is_due_is_an_error(assembler):
    """No interleaving: the next command, C-CANCEL too, comes after the last fragment of the data set."""
    assembler.command(piece(codec.encode(STORE)))
    with pytest.raises(ProtocolError, match="of a command set where a data set was due") as caught:
        assembler.data(piece(codec.encode(ECHO)))
    assert caught.value.reason == UNEXPECTED_PARAMETER


def test_data_after_a_command_that_has_none_is_an_error(assembler):
    assembler.command(piece(codec.encode(ECHO)))
    with pytest.raises(ProtocolError, match="of a data set where a command set was due"):
        assembler.command(piece(b"ab", is_command=False))


def padded(size: int) -> bytes:
    """A C-ECHO-RQ of exactly ``size`` bytes, with an element that nobody knows."""
    encoded = codec.encode(ECHO)
    rest = size - len(encoded) - 8
    return encoded + b"\0\0\x10\x51" + rest.to_bytes(4, "little") + bytes(rest)


def test_a_command_at_the_limit_is_taken_and_one_byte_more_is_an_error(assembler):
    assert assembler.command(piece(padded(LIMIT))) == ECHO
    with pytest.raises(ProtocolError, match=f"more than {LIMIT} bytes") as caught:
        assembler.command(piece(padded(LIMIT + 1)))
    assert caught.value.reason == INVALID_PARAMETER


def test_a_command_that_never_ends_is_an_error_when_it_passes_the_limit_and_not_later(assembler):
    taken = 0
    with pytest.raises(ProtocolError, match="a command set of more than"):
        for _ in range(LIMIT):
            assembler.command(piece(bytes(10), is_last=False))
            taken += 10
    assert taken == LIMIT // 10 * 10


def test_empty_fragments_without_end_are_an_error(assembler):
    """They cost the peer six bytes each and make no progress."""
    for _ in range(16):
        assembler.command(piece(b"", is_last=False))
    with pytest.raises(ProtocolError, match="more than 16 empty fragments"):
        assembler.command(piece(b"", is_last=False))


def test_empty_fragments_of_data_without_end_are_an_error(assembler):
    assembler.command(piece(codec.encode(STORE)))
    for _ in range(16):
        assembler.data(piece(b"", is_command=False, is_last=False))
    with pytest.raises(ProtocolError, match="more than 16 empty fragments"):
        assembler.data(piece(b"", is_command=False, is_last=False))


def test_empty_fragments_are_counted_for_each_message_anew(assembler):
    for _ in range(10):
        for _ in range(10):
            assembler.command(piece(b"", is_last=False))
        assembler.command(piece(codec.encode(STORE)))
        for _ in range(10):
            assembler.data(piece(b"", is_command=False, is_last=False))
        assembler.data(piece(b"", is_command=False))


def test_what_has_no_meaning_as_a_command_set_is_a_protocol_error(assembler):
    with pytest.raises(ProtocolError, match="without Command Field") as caught:
        assembler.command(piece(b""))
    assert caught.value.reason == INVALID_PARAMETER


def test_several_values_in_one_pdu_are_a_whole_message(assembler):
    """PS3.8 annex E.1 allows it, and DCMTK does it."""
    encoded = codec.encode(STORE)
    values = [(True, False, encoded[:20]), (True, True, encoded[20:]), (False, False, b"abc"), (False, True, b"d")]
    pdu = DataTF(tuple(PresentationDataValue(1, *one) for one in values)).encode()
    framer = Framer(lambda *_: True, Limits(1000, 16384))
    framer.writable()[: len(pdu)] = pdu
    framer.wrote(len(pdu))
    assert assembler.command(framer.next()) is None
    assert assembler.command(framer.next()) == STORE
    assert bytes(assembler.data(framer.next())) == b"abc"
    assert bytes(assembler.data(framer.next())) == b"d"
    assert not assembler.awaits_data


PIECES = st.builds(
    Fragment,
    st.sampled_from([1, 1, 1, 3, 5]),
    st.booleans(),
    st.booleans(),
    st.binary(max_size=20).map(memoryview) | st.sampled_from([codec.encode(ECHO), codec.encode(STORE)]).map(memoryview),
)


@given(st.lists(PIECES, max_size=30))
def test_any_fragments_are_taken_or_a_protocol_error_and_memory_is_bounded(pieces):
    assembler = Assembler({1, 3}, 100)
    for one in pieces:
        try:
            assembler.data(one) if assembler.awaits_data else assembler.command(one)
        except ProtocolError:
            return
        assert len(assembler._gathered) <= 100
        assert assembler.context_id in (0, 1, 3)
        assert not assembler.awaits_data or assembler.context_id


@given(content=st.binary(max_size=300), longest=st.integers(8, 64))
def test_what_fragment_cuts_the_assembler_puts_together(content, longest):
    framer, assembler = Framer(lambda *_: True, Limits(1000, longest)), Assembler({1}, LIMIT)
    stream = fragment.command(1, codec.encode(STORE), longest)
    stream += b"".join(head + part for head, part in fragment.data_set(1, memoryview(content), longest))
    commands, data = [], b""
    while stream:
        room = framer.writable()
        count = min(len(room), len(stream))
        room[:count] = stream[:count]
        framer.wrote(count)
        stream = stream[count:]
        while (one := framer.next()) is not None:
            if assembler.awaits_data:
                data += assembler.data(one)
            else:
                commands.append(assembler.command(one))
    assert commands[-1] == STORE
    assert not any(commands[:-1])
    assert data == content
    assert not assembler.awaits_data
