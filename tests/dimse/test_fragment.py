"""No P-DATA-TF is longer than the peer takes, fragments are even, and together they are what was given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import pdu as theirs

from scpd.dimse import fragment
from scpd.wire.pdu import DataTF

MAXIMUM_LENGTHS = [*range(8, 65), 16384, 0]
LENGTHS = [0, 2, 4, 58, 60, 500, 16376, 16378, 16380, 40_000]


def pdus(stream: bytes) -> list[bytes]:
    found = []
    while stream:
        end = 6 + int.from_bytes(stream[2:6])
        found.append(stream[:end])
        stream = stream[end:]
    return found


def check(stream: bytes, content: bytes, maximum_length: int, *, is_command: bool) -> None:
    values = []
    for one in pdus(stream):
        assert one[:2] == b"\x04\0"
        assert len(one) - 6 <= (maximum_length or len(one))
        (value,) = DataTF.decode(memoryview(one)[6:]).values
        values.append(value)
    assert b"".join(value.data for value in values) == content
    assert all(len(value.data) % 2 == 0 for value in values)
    assert [value.is_last for value in values] == [False] * (len(values) - 1) + [True]
    assert {(value.context_id, value.is_command) for value in values} == {(3, is_command)}
    assert all(value.data for value in values) or not content


@pytest.mark.parametrize("maximum_length", MAXIMUM_LENGTHS)
def test_no_fragment_of_a_command_is_too_long(maximum_length):
    for length in LENGTHS[:-1] if maximum_length < 16 else LENGTHS:
        content = bytes(range(256)) * 160
        check(fragment.command(3, content[:length], maximum_length), content[:length], maximum_length, is_command=True)


@pytest.mark.parametrize("maximum_length", MAXIMUM_LENGTHS)
def test_no_fragment_of_a_data_set_is_too_long(maximum_length):
    for length in LENGTHS[:-1] if maximum_length < 16 else LENGTHS:
        content = (bytes(range(256)) * 160)[:length]
        stream = b"".join(head + part for head, part in fragment.data_set(3, memoryview(content), maximum_length))
        check(stream, content, maximum_length, is_command=False)


@given(content=st.binary(max_size=400), maximum_length=st.sampled_from(MAXIMUM_LENGTHS), is_command=st.booleans())
def test_any_even_content_comes_through(content, maximum_length, is_command):
    content = content[: len(content) & ~1]
    if is_command:
        stream = fragment.command(3, content, maximum_length)
    else:
        stream = b"".join(head + part for head, part in fragment.data_set(3, memoryview(content), maximum_length))
    check(stream, content, maximum_length, is_command=is_command)


@pytest.mark.parametrize("maximum_length", range(1, 8))
def test_a_maximum_length_that_leaves_no_room_is_refused_and_never_a_loop(maximum_length):
    with pytest.raises(ValueError, match=f"a maximum length of {maximum_length} bytes leaves no room"):
        fragment.longest_fragment(maximum_length)


@pytest.mark.parametrize(
    ("maximum_length", "longest"),
    [(8, 2), (9, 2), (10, 4), (16384, 16378), (16383, 16376), (0, (1 << 20) - 6), (0xFFFFFFFF, 1 << 20)],
)
def test_the_longest_fragment_is_even_and_leaves_room_for_its_header(maximum_length, longest):
    assert fragment.longest_fragment(maximum_length) == longest


def test_the_fragments_of_a_data_set_are_views_and_no_copies():
    content = memoryview(bytes(1000))
    assert all(part.obj is content.obj for _, part in fragment.data_set(1, content, 100))


def test_a_peer_without_maximum_gets_a_mebibyte_at_a_time():
    content = memoryview(bytes(3 << 20))
    assert max(len(part) for _, part in fragment.data_set(1, content, 0)) <= 1 << 20


@given(content=st.binary(min_size=1, max_size=300), maximum_length=st.integers(8, 64))
def test_pynetdicom_reads_the_same_fragments(content, maximum_length):
    for one in pdus(fragment.command(3, content, maximum_length)):
        made = theirs.P_DATA_TF()
        made.decode(one)
        (item,) = made.to_primitive().presentation_data_value_list
        (value,) = DataTF.decode(memoryview(one)[6:]).values
        assert list(item) == [3, bytes((value.is_command | value.is_last << 1,)) + value.data]
