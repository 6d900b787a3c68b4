"""Items, counted fields and names: what every structure of PS3.8 9.3 is made of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpd.errors import ProtocolError
from scpd.wire import fields


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=8))
def test_items_come_back_in_order_also_empty_ones(written):
    body = b"".join(fields.item(item_type, value) for item_type, value in written)
    assert [(item_type, bytes(value)) for item_type, value in fields.items(body, "test")] == written


def test_an_item_is_type_reserved_length_body():
    assert fields.item(0x50, b"ab", b"c") == bytes.fromhex("50 00 0003 616263")


def test_the_reserved_byte_of_an_item_is_not_tested():
    assert [kind for kind, _ in fields.items(bytes.fromhex("50FF0000 51EE0000"), "test")] == [0x50, 0x51]


@pytest.mark.parametrize("length", [0, 1, 0xFFFE, 0xFFFF])
def test_an_item_holds_up_to_65535_bytes(length):
    ((_, value),) = fields.items(fields.item(1, bytes(length)), "test")
    assert len(value) == length


def test_an_item_does_not_hold_65536_bytes():
    with pytest.raises(ValueError, match="at most 65535 bytes, not 65536"):
        fields.item(0x50, bytes(65536))
    with pytest.raises(ValueError, match="at most 65535 bytes, not 65536"):
        fields.counted(bytes(65536))


@pytest.mark.parametrize("left_over", [1, 2, 3])
def test_bytes_too_few_for_an_item_after_the_last_one_are_an_error(left_over):
    with pytest.raises(ProtocolError, match="after the last item of the test") as caught:
        list(fields.items(fields.item(1, b"x") + bytes(left_over), "test"))
    assert caught.value.reason == fields.INVALID_PARAMETER


@pytest.mark.parametrize("claimed", [4, 5, 0xFFFF])
def test_an_item_that_claims_more_than_its_parent_has_is_an_error(claimed):
    with pytest.raises(ProtocolError, match=f"claims {claimed} bytes, 3 are left"):
        list(fields.items(b"\x10\x00" + claimed.to_bytes(2) + b"abc", "test"))


@given(st.lists(st.binary(max_size=40), max_size=5), st.binary(max_size=5))
def test_counted_fields_come_back_from_where_they_stand(values, before):
    view = memoryview(before + b"".join(map(fields.counted, values)))
    start, got = len(before), []
    for _ in values:
        value, start = fields.take_counted(view, start, "test")
        got.append(bytes(value))
    assert got == values
    fields.used_up(view, start, "test")


@pytest.mark.parametrize("raw", ["", "00", "0001", "0003 6162", "FFFF 61"])
def test_a_counted_field_that_is_not_there_is_an_error(raw):
    with pytest.raises(ProtocolError):
        fields.take_counted(memoryview(bytes.fromhex(raw)), 0, "test")


def test_bytes_that_no_field_accounts_for_are_an_error():
    with pytest.raises(ProtocolError, match="2 bytes after the last field of the test"):
        fields.used_up(memoryview(b"abcd"), 2, "test")


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E)))
def test_a_name_comes_back_without_padding(name):
    assert fields.encode_name(name) == name.encode("ascii")
    assert fields.decode_name(fields.encode_name(name)) == name


@pytest.mark.parametrize("padding", [b"\0", b" ", b"\0\0", b" \0"])
def test_padding_after_a_name_is_removed(padding):
    assert fields.decode_name(b"1.2.3" + padding) == "1.2.3"


@given(st.binary(max_size=100))
def test_any_bytes_make_a_name_that_can_be_sent_again(raw):
    """What is not ASCII is made visible, never lost and never an error."""
    name = fields.decode_name(raw)
    assert name.isascii()
    fields.encode_name(name)


def test_bytes_outside_ascii_become_visible_in_a_name():
    assert fields.decode_name(b"1.2\xff") == "1.2\\xff"
