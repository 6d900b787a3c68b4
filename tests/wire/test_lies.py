"""Requests and answers that are not what they claim: each is a ProtocolError or means what is left, nothing else."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpd.errors import ProtocolError
from scpd.wire.contexts import PresentationContextAC, PresentationContextRQ
from scpd.wire.fields import INVALID_PARAMETER, counted, item
from scpd.wire.pdu import DECODERS, AssociateAC, AssociateRQ, DataTF, PDUType, encode_title
from scpd.wire.user_info import (
    AsynchronousOperationsWindow,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityAC,
    UserIdentityRQ,
    UserInformation,
)

FIXED = 68
CONTEXT = PresentationContextRQ(1, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)).encode()
UID = "1.2.840.10008.1.1"


def outcome(kind: type, body: bytes) -> object:
    """The decoded value, or the A-ABORT reason of the ProtocolError; anything else passes through."""
    try:
        return kind.decode(memoryview(body))
    except ProtocolError as error:
        return error.reason


def cut_into_items(raw: bytes) -> list[bytes]:
    start, parts = 0, []
    while start < len(raw):
        end = start + 4 + int.from_bytes(raw[start + 2 : start + 4])
        parts.append(raw[start:end])
        start = end
    return parts


def length_fields(body: bytes) -> list[tuple[int, str]]:
    """Where each 16-bit length of an A-ASSOCIATE body stands and what it belongs to, found without scpd."""
    found = []

    def walk_items(start: int, end: int, path: str) -> None:
        while start < end:
            name = f"{path}{body[start]:02X}H"
            length = int.from_bytes(body[start + 2 : start + 4])
            found.append((start + 2, name))
            walk_inside(body[start], start + 4, start + 4 + length, name)
            start += 4 + length

    def walk_inside(kind: int, start: int, end: int, name: str) -> None:
        if kind in (0x20, 0x21):
            walk_items(start + 4, end, name + "/")
        elif kind == 0x50:
            walk_items(start, end, name + "/")
        elif kind in (0x54, 0x56):
            found.append((start, name + " uid"))
        elif kind == 0x59:
            found.append((start, name + " response"))
        elif kind in (0x57, 0x58):
            start += 2 * (kind == 0x58)
            while start < end:
                found.append((start, name + " field"))
                start += 2 + int.from_bytes(body[start : start + 2])

    walk_items(FIXED, len(body), "")
    return found


def top_borders(body: bytes) -> list[int]:
    """Where each top item of an A-ASSOCIATE body ends."""
    return [FIXED + total for total in accumulate(map(len, cut_into_items(body[FIXED:])))]


LIES = {
    "0": lambda true, left: 0,
    "one less": lambda true, left: true - 1,
    "one more": lambda true, left: true + 1,
    "all that is left and one more": lambda true, left: left + 1,
    "FFFF": lambda true, left: 0xFFFF,
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("which", ["request_pdu", "accept_pdu"])
def test_no_length_of_an_item_or_field_can_lie_unnoticed(which, lie, request):
    """An error, or where bytes only move between two free fields, another value: never the same, never a crash."""
    value = request.getfixturevalue(which)
    body = value.encode()[6:]
    fields = length_fields(body)
    assert len(fields) > 20
    for at, name in fields:
        true, left = int.from_bytes(body[at : at + 2]), len(body) - at - 2
        told = max(LIES[lie](true, left), 0)
        if told == true:
            continue
        lied = body[:at] + told.to_bytes(2) + body[at + 2 :]
        got = outcome(type(value), lied)
        assert got != value, name
        if lie.startswith(("all", "FFFF")):
            assert got == INVALID_PARAMETER, name


@pytest.mark.parametrize("which", ["request_pdu", "accept_pdu"])
def test_cut_at_any_byte_it_is_an_error_except_between_two_items(which, request):
    value = request.getfixturevalue(which)
    body = value.encode()[6:]
    first_context = top_borders(body)[1]
    whole = {end for end in [FIXED, *top_borders(body)] if end >= first_context or which == "accept_pdu"}
    ends = range(len(body) + 1)
    assert {end for end in ends if outcome(type(value), body[:end]) != INVALID_PARAMETER} == whole


SUB_ITEMS = [
    AsynchronousOperationsWindow(1, 2),
    RoleSelection(UID, True, True),
    SOPClassExtendedNegotiation(UID, b""),
    SOPClassCommonExtendedNegotiation(UID, UID, (UID, "1.2")),
    UserIdentityRQ(2, True, b"user", b"secret"),
    UserIdentityAC(b"ticket"),
]


@pytest.mark.parametrize("value", SUB_ITEMS, ids=lambda value: f"{value.ITEM_TYPE:02X}H")
def test_a_sub_item_cut_at_any_byte_is_an_error(value):
    body = memoryview(value.encode())[4:]
    for end in range(len(body)):
        with pytest.raises(ProtocolError) as caught:
            type(value).decode(body[:end])
        assert caught.value.reason == INVALID_PARAMETER


@pytest.mark.parametrize("value", SUB_ITEMS, ids=lambda value: f"{value.ITEM_TYPE:02X}H")
def test_bytes_after_the_last_field_of_a_sub_item_are_an_error_where_it_has_no_open_end(value):
    body = memoryview(value.encode()[4:] + b"\x01")
    if isinstance(value, SOPClassExtendedNegotiation):
        assert value.decode(body).information == b"\x01"
    elif isinstance(value, SOPClassCommonExtendedNegotiation):
        assert value.decode(body) == value  # PS3.7 table D.3-12: reserved for later versions
    else:
        with pytest.raises(ProtocolError):
            type(value).decode(body)


@pytest.mark.parametrize("size", [0, 1, 3, 5, 8])
def test_a_maximum_length_of_another_size_than_4_is_an_error(size):
    with pytest.raises(ProtocolError, match=f"has {size} bytes, not 4"):
        UserInformation.decode(memoryview(item(0x51, bytes(size))))


UNKNOWN_TYPES = st.integers(0, 255).filter(lambda kind: kind not in (0x10, 0x20, 0x21, 0x50))
UNKNOWN_SUB_TYPES = st.integers(0, 255).filter(lambda kind: not 0x51 <= kind <= 0x59)
INSIDE_A_CONTEXT = st.integers(0, 255).filter(lambda kind: kind not in (0x30, 0x40))


def inserted(parts: list[bytes], extra: list[tuple[int, bytes, int]]) -> bytes:
    parts = list(parts)
    for kind, value, where in extra:
        parts.insert(where % (len(parts) + 1), item(kind, value))
    return b"".join(parts)


def extras(types: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(st.tuples(types, st.binary(max_size=12), st.integers(0, 9)), min_size=1, max_size=4)


@given(extra=extras(UNKNOWN_TYPES))
def test_unknown_items_are_skipped_wherever_they_stand_also_empty_ones(extra, request_pdu, accept_pdu, associate_body):
    """PS3.8 9.3.1: unrecognized items are skipped."""
    for value in (request_pdu, accept_pdu):
        parts = cut_into_items(value.encode()[6 + FIXED :])
        assert type(value).decode(associate_body(inserted(parts, extra))) == value


@given(extra=extras(UNKNOWN_SUB_TYPES))
def test_unknown_sub_items_of_the_user_information_are_skipped(extra, user_information):
    """PS3.8 D.2 note 2: no request is refused because of them."""
    parts = cut_into_items(user_information.encode()[4:])
    assert UserInformation.decode(memoryview(inserted(parts, extra))) == user_information


@given(extra=extras(INSIDE_A_CONTEXT))
def test_unknown_sub_items_of_a_context_are_skipped(extra):
    names = [item(0x30, b"1.2"), item(0x40, b"1.3"), item(0x40, b"1.4")]
    body = memoryview(b"\x05\0\0\0" + inserted(names, extra))
    assert PresentationContextRQ.decode(body) == PresentationContextRQ(5, "1.2", ("1.3", "1.4"))
    body = memoryview(b"\x05\0\0\0" + inserted(names[1:2], extra))
    assert PresentationContextAC.decode(body) == PresentationContextAC(5, 0, "1.3")


def test_an_empty_unknown_item_alone_does_not_end_the_walk(associate_body):
    body = associate_body(item(0x00), item(0xFF), CONTEXT, item(0x00))
    assert [one.context_id for one in AssociateRQ.decode(body).presentation_contexts] == [1]


@pytest.mark.parametrize("number", range(0, 256, 2))
def test_an_even_context_id_is_an_error(number, associate_body):
    """PS3.8 9.3.2.2: odd integers between 1 and 255."""
    with pytest.raises(ProtocolError, match=f"even ID {number}"):
        AssociateRQ.decode(associate_body(PresentationContextRQ(number, UID, (UID,)).encode()))


@pytest.mark.parametrize("number", range(1, 256, 2))
def test_every_odd_context_id_is_taken(number, associate_body):
    (context,) = AssociateRQ.decode(
        associate_body(PresentationContextRQ(number, UID, (UID,)).encode())
    ).presentation_contexts
    assert context.context_id == number


def test_a_context_id_that_stands_twice_is_an_error(associate_body):
    with pytest.raises(ProtocolError, match="ID 1 stands twice"):
        AssociateRQ.decode(associate_body(CONTEXT, CONTEXT))


def test_a_request_without_presentation_context_is_an_error(associate_body):
    with pytest.raises(ProtocolError, match="no presentation context"):
        AssociateRQ.decode(associate_body(item(0x10, b"1.2"), item(0x50)))


def test_a_context_with_two_abstract_syntaxes_is_an_error():
    with pytest.raises(ProtocolError, match="more than one abstract syntax"):
        PresentationContextRQ.decode(memoryview(b"\x01\0\0\0" + item(0x30, b"1.2") + item(0x30, b"1.3")))


@pytest.mark.parametrize("size", range(4))
def test_a_context_shorter_than_its_fixed_part_is_an_error(size):
    for kind in (PresentationContextRQ, PresentationContextAC):
        with pytest.raises(ProtocolError, match=f"has {size} bytes"):
            kind.decode(memoryview(bytes(size)))


def test_a_context_without_names_is_left_to_negotiation():
    assert PresentationContextRQ.decode(memoryview(b"\x01\0\0\0")) == PresentationContextRQ(1, "", ())


def test_an_accepted_context_names_one_transfer_syntax():
    for names in (b"", item(0x40, b"1.2") * 2):
        with pytest.raises(ProtocolError, match="transfer syntaxes"):
            PresentationContextAC.decode(memoryview(b"\x01\0\0\0" + names))


@pytest.mark.parametrize("result", [1, 2, 3, 4])
def test_the_transfer_syntax_of_a_rejected_context_may_be_absent(result):
    """PS3.8 9.3.3.2: it is not significant and not tested."""
    assert PresentationContextAC.decode(memoryview(bytes((1, 0, result, 0)))).transfer_syntax == ""


@pytest.mark.parametrize("result", [5, 0x80, 0xFF])
def test_an_unknown_result_is_an_error(result):
    with pytest.raises(ProtocolError, match=f"unknown result {result}"):
        PresentationContextAC.decode(memoryview(bytes((1, 0, result, 0)) + item(0x40, b"1.2")))


def test_two_identities_are_both_kept():
    """What a second one means is for admission to say; a decoder that drops one would hide it."""
    identities = (UserIdentityRQ(1, False, b"alice"), UserIdentityRQ(1, False, b"bob"))
    body = b"".join(one.encode() for one in identities)
    assert UserInformation.decode(memoryview(body)).identities == identities


def test_two_roles_for_one_sop_class_are_both_kept():
    roles = (RoleSelection(UID, True, False), RoleSelection(UID, False, True))
    assert UserInformation.decode(memoryview(b"".join(one.encode() for one in roles))).roles == roles


def test_what_is_absent_is_absent(associate_body):
    decoded = AssociateRQ.decode(associate_body(CONTEXT))
    assert decoded.user_information == UserInformation()
    assert decoded.user_information.maximum_length is None
    assert decoded.application_context_name == ""
    assert AssociateAC.decode(associate_body()).presentation_contexts == ()


def test_sub_items_in_any_order_mean_the_same(user_information):
    parts = cut_into_items(user_information.encode()[4:])[::-1]
    decoded = UserInformation.decode(memoryview(b"".join(parts)))
    assert decoded.maximum_length == user_information.maximum_length
    assert set(decoded.roles) == set(user_information.roles)


@pytest.mark.parametrize(
    "pdu_type", [PDUType.A_ASSOCIATE_RJ, PDUType.A_RELEASE_RQ, PDUType.A_RELEASE_RP, PDUType.A_ABORT]
)
@pytest.mark.parametrize("size", [0, 1, 3, 5, 68])
def test_the_short_pdus_have_four_bytes(pdu_type, size):
    with pytest.raises(ProtocolError, match=f"has {size} bytes, not 4"):
        DECODERS[pdu_type].decode(memoryview(bytes(size)))


@pytest.mark.parametrize(
    "body",
    [
        "00000002 01",  # cut in the header
        "00000003 01 03",  # claims one byte more than there is
        "00000000 01 03",  # shorter than its own header
        "00000001 01 03",
        "00000001 01 00000002 03 03",  # where the next value would begin inside this one's header
        "FFFFFFFF 01 03 00",
        "00000002 01 03 00",  # a byte after the last value
        "00000002 01 03 0000000000",
    ],
)
def test_a_presentation_data_value_that_lies_is_an_error(body):
    with pytest.raises(ProtocolError) as caught:
        DataTF.decode(memoryview(bytes.fromhex(body)))
    assert caught.value.reason == INVALID_PARAMETER


@given(st.binary(max_size=200))
def test_any_body_of_any_control_pdu_decodes_or_is_a_protocol_error(raw):
    for pdu_type, kind in DECODERS.items():
        for body in (raw, bytes(FIXED) + raw) if pdu_type <= PDUType.A_ASSOCIATE_AC else (raw,):
            assert outcome(kind, body) == INVALID_PARAMETER or isinstance(outcome(kind, body), kind)


def test_counted_fields_that_swallow_each_other_are_an_error():
    body = counted(b"1.2") + b"\x00\x01\x00"
    with pytest.raises(ProtocolError):
        RoleSelection.decode(memoryview(body))


@pytest.mark.parametrize("item_type", [0x10, 0x50])
@pytest.mark.parametrize("kind", [AssociateRQ, AssociateAC])
def test_what_stands_once_in_an_associate_pdu_may_not_stand_twice(kind, item_type):
    """A second user information item would hide the identity in the first."""
    context = PresentationContextRQ(1, "1.2", ("1.2",)) if kind is AssociateRQ else PresentationContextAC(1, 0, "1.2")
    whole = kind(bytes(16), bytes(16), UserInformation(16384), presentation_contexts=(context,)).encode()
    with pytest.raises(ProtocolError, match=f"{item_type:02X}H stands twice"):
        kind.decode(memoryview(whole[6:] + item(item_type) * 2))


def test_an_ae_title_longer_than_its_field_is_not_cut_in_silence():
    with pytest.raises(ValueError, match="at most 16"):
        encode_title("A" * 17)
