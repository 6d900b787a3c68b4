"""Command sets that break PS3.7 6.3.1: an InvalidCommand that says what is wrong, or what is left when skipped."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpd.dimse import codec
from scpd.dimse.command import (
    COMMANDS,
    CEchoRQ,
    CEchoRSP,
    Command,
    CStoreRQ,
    Request,
    Response,
    UnrecognizedRQ,
)
from scpd.errors import InvalidCommand

VERIFICATION = "1.2.840.10008.1.1"


def element(number: int, value: bytes, group: int = 0) -> bytes:
    return struct.pack("<HHI", group, number, len(value)) + value


def us(number: int, value: int) -> bytes:
    return element(number, struct.pack("<H", value))


ECHO = [us(0x0100, 0x0030), us(0x0110, 7), us(0x0800, 0x0101)]


def test_what_the_builder_makes_is_a_command():
    assert codec.decode(b"".join(ECHO)) == CEchoRQ(message_id=7)


def outcome(raw: bytes) -> Command | str:
    """The command, or the words of the InvalidCommand; anything else passes through."""
    try:
        return codec.decode(raw)
    except InvalidCommand as error:
        return str(error)


# Lengths


def test_cut_at_any_byte_it_is_invalid_except_between_elements_when_all_that_must_be_is_there():
    raw = b"".join([*ECHO, element(0x0002, b"1.2.")])
    whole = {len(b"".join(ECHO[:2])), len(b"".join(ECHO)), len(raw)}
    assert {end for end in range(len(raw) + 1) if isinstance(outcome(raw[:end]), Command)} == whole


@pytest.mark.parametrize("claimed", [0, 1, 3, 4, 100, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("which", range(3))
def test_a_length_that_lies_is_invalid(which, claimed):
    parts = list(ECHO)
    parts[which] = parts[which][:4] + struct.pack("<I", claimed) + parts[which][8:]
    with pytest.raises(InvalidCommand):
        codec.decode(b"".join(parts))


def test_the_words_name_the_element_and_the_numbers():
    with pytest.raises(InvalidCommand, match=r"element \(0000,0002\) claims 9 bytes, 3 are left"):
        codec.decode(b"".join(ECHO) + struct.pack("<HHI", 0, 2, 9) + b"1.2")


@pytest.mark.parametrize("left_over", range(1, 8))
def test_bytes_after_the_last_element_are_invalid(left_over):
    with pytest.raises(InvalidCommand, match=f"{left_over} bytes after the last element"):
        codec.decode(b"".join(ECHO) + bytes(left_over))


@pytest.mark.parametrize("claimed", [0, 1, 0xFFFFFFFF])
def test_the_group_length_is_not_relied_on(claimed):
    """The presentation data values already say where the command set ends."""
    assert codec.decode(element(0, struct.pack("<I", claimed)) + b"".join(ECHO)) == CEchoRQ(message_id=7)


@pytest.mark.parametrize("number", [0x0100, 0x0110, 0x0800])
@pytest.mark.parametrize("value", [b"", b"\x01", b"\x01\0\0", b"\x01\0\0\0"])
def test_a_number_has_two_bytes(number, value):
    parts = [part for part in ECHO if part[2:4] != struct.pack("<H", number)]
    with pytest.raises(InvalidCommand, match=rf"\(0000,{number:04X}\) has {len(value)} bytes, not 2"):
        codec.decode(b"".join([*parts, element(number, value)]))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6])
def test_a_list_of_tags_has_a_multiple_of_four_bytes(size):
    raw = us(0x0100, 0x0110) + us(0x0110, 1) + element(0x1005, bytes(size))
    with pytest.raises(InvalidCommand, match=f"has {size} bytes, not a multiple of 4"):
        codec.decode(raw)


# Elements


@pytest.mark.parametrize("part", ECHO, ids=["field", "message id", "data set type"])
def test_an_element_that_stands_twice_is_invalid(part):
    with pytest.raises(InvalidCommand, match="has no place in the command set"):
        codec.decode(b"".join([*ECHO, part]))


def test_an_unknown_element_that_stands_twice_is_invalid():
    with pytest.raises(InvalidCommand, match=r"\(0000,5110\) has no place"):
        codec.decode(b"".join([*ECHO, element(0x5110, b""), element(0x5110, b"")]))


@pytest.mark.parametrize("group", [1, 2, 8, 0x0010, 0xFFFF])
def test_an_element_of_another_group_is_invalid(group):
    with pytest.raises(InvalidCommand, match=rf"\({group:04X},0010\) has no place"):
        codec.decode(b"".join([*ECHO, element(0x0010, b"ab", group)]))


@given(
    extra=st.dictionaries(
        st.integers(1, 0xFFFF).filter(lambda number: number not in (0x0002, 0x0100, 0x0110, 0x0800)),
        st.binary(max_size=20),
        max_size=5,
    )
)
def test_elements_that_the_message_does_not_have_are_skipped(extra):
    """Retired ones among them, as (0000,5110), and those of other messages."""
    raw = b"".join(ECHO) + b"".join(element(number, value) for number, value in extra.items())
    assert codec.decode(raw) == CEchoRQ(message_id=7)


@given(st.permutations([*ECHO, element(0x0002, VERIFICATION.encode() + b"\0")]))
def test_the_order_of_elements_is_not_tested(parts):
    assert codec.decode(b"".join(parts)) == CEchoRQ(message_id=7, affected_sop_class_uid=VERIFICATION)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (b"1.2.3\0", "1.2.3"),
        (b"1.2.3", "1.2.3"),  # odd
        (b"1.2.3 ", "1.2.3"),
        (b"1.2.3\0\0\0", "1.2.3"),
        (b"", ""),
        (b"\0\0", ""),
        (b"1.\xff", "1.\\xff"),
        (b"1\n2", "1\n2"),
    ],
)
def test_a_uid_is_read_without_padding_and_nothing_is_lost(value, read):
    raw = b"".join([*ECHO, element(0x0002, value)])
    assert codec.decode(raw).affected_sop_class_uid == read


@given(st.binary(max_size=80))
def test_whatever_a_uid_holds_the_command_can_be_encoded_again(value):
    """Responses repeat the UIDs of their request."""
    decoded = codec.decode(b"".join([*ECHO, element(0x0002, value)]))
    codec.encode(decoded)


@pytest.mark.parametrize(
    ("value", "some"), [(0x0101, False), (0x0000, True), (0x0001, True), (0x0102, True), (0xFFFF, True)]
)
def test_any_data_set_type_but_0101_means_a_data_set(value, some):
    """PS3.7 annex E."""
    assert codec.decode(ECHO[0] + ECHO[1] + us(0x0800, value)).has_data_set is some


# What must be there


def test_no_bytes_at_all_are_no_command():
    with pytest.raises(InvalidCommand, match=r"without Command Field \(0000,0100\)"):
        codec.decode(b"")


@pytest.mark.parametrize("kind", COMMANDS.values(), ids=lambda kind: kind.__name__)
def test_message_id_or_its_counterpart_and_status_must_be_there(kind):
    number, name = (0x0110, "Message ID") if issubclass(kind, Request) else (0x0120, "Message ID Being Responded To")
    present = [us(0x0100, kind.FIELD), us(number, 1), us(0x0800, 0x0101)]
    required = {number: name}
    if issubclass(kind, Response):
        present.append(us(0x0900, 0))
        required[0x0900] = "Status"
    assert isinstance(codec.decode(b"".join(present)), kind)
    for missing, words in required.items():
        parts = [part for part in present if part[2:4] != struct.pack("<H", missing)]
        with pytest.raises(InvalidCommand, match=rf"command set without {words} \(0000,{missing:04X}\)"):
            codec.decode(b"".join(parts))


def test_what_is_absent_takes_the_value_of_its_absence():
    """Whether a UID that is missing is a fault, the service says."""
    assert codec.decode(us(0x0100, 0x0001) + us(0x0110, 1)) == CStoreRQ(message_id=1)


# Unknown operations


@pytest.mark.parametrize("number", [0, 2, 0x0FFE, 0x1000, 0x7FFF])
def test_a_request_for_an_unknown_operation_is_decoded_to_be_refused(number):
    assert codec.decode(us(0x0100, number) + us(0x0110, 9) + us(0x0800, 1)) == UnrecognizedRQ(
        number=number, message_id=9, has_data_set=True
    )


@pytest.mark.parametrize("number", [0x8000, 0x8002, 0x8FFF, 0xFFFF])
def test_a_response_to_an_unknown_operation_is_invalid(number):
    with pytest.raises(InvalidCommand, match="a response to the unknown operation"):
        codec.decode(us(0x0100, number) + us(0x0110, 9) + us(0x0800, 0x0101) + us(0x0120, 9) + us(0x0900, 0))


@pytest.mark.parametrize("missing", [1, 2])
def test_an_unknown_operation_without_message_id_or_data_set_type_cannot_even_be_refused(missing):
    parts = [us(0x0100, 2), us(0x0110, 9), us(0x0800, 0x0101)]
    del parts[missing]
    with pytest.raises(InvalidCommand, match="without"):
        codec.decode(b"".join(parts))


# Anything


@given(st.binary(max_size=120))
def test_any_bytes_are_a_command_or_invalid(raw):
    assert isinstance(outcome(raw), Command | str)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [0, 0x0002, 0x0100, 0x0110, 0x0120, 0x0600, 0x0800, 0x0900, 0x0901, 0x0902, 0x1005, 0x1030]
            ),
            st.binary(max_size=9) | st.sampled_from([struct.pack("<H", number) for number in COMMANDS]),
        ),
        unique_by=lambda one: one[0],
        max_size=12,
    )
)
def test_any_elements_are_a_command_that_can_be_encoded_again_or_invalid(parts):
    got = outcome(b"".join(element(*one) for one in parts))
    if isinstance(got, Command):
        again = codec.decode(codec.encode(got))
        assert type(again) is type(got)


def test_a_response_is_read_as_one():
    raw = us(0x0100, 0x8030) + us(0x0120, 7) + us(0x0800, 0x0101) + us(0x0900, 0xC001) + element(0x0902, b"why ")
    assert codec.decode(raw) == CEchoRSP(message_id_being_responded_to=7, status=0xC001, error_comment="why")
