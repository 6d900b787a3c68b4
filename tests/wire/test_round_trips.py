"""Encode → decode gives the same value, for every structure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpd.wire.contexts import PresentationContextAC, PresentationContextRQ
from scpd.wire.pdu import (
    DECODERS,
    HEADER,
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    DataTF,
    PDUType,
    PresentationDataValue,
    ReleaseRP,
    ReleaseRQ,
    decode_title,
    encode_title,
)
from scpd.wire.user_info import (
    AsynchronousOperationsWindow,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityAC,
    UserIdentityRQ,
    UserInformation,
)

BYTES = st.integers(0, 255)
SHORTS = st.integers(0, 0xFFFF)
NAMES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=64)
TITLES = st.binary(min_size=16, max_size=16)
IDS = st.integers(0, 127).map(lambda number: 2 * number + 1)


def several(strategy: st.SearchStrategy, most: int = 3) -> st.SearchStrategy:
    return st.lists(strategy, max_size=most).map(tuple)


WINDOW = st.builds(AsynchronousOperationsWindow, SHORTS, SHORTS)
ROLE = st.builds(RoleSelection, NAMES, st.booleans(), st.booleans())
EXTENDED = st.builds(SOPClassExtendedNegotiation, NAMES, st.binary(max_size=20))
COMMON = st.builds(SOPClassCommonExtendedNegotiation, NAMES, NAMES, several(NAMES))
IDENTITY = st.builds(UserIdentityRQ, BYTES, st.booleans(), st.binary(max_size=30), st.binary(max_size=30))
RESPONSE = st.builds(UserIdentityAC, st.binary(max_size=30))
SUB_ITEMS = st.one_of(WINDOW, ROLE, EXTENDED, COMMON, IDENTITY, RESPONSE)

USER_INFORMATION = st.builds(
    UserInformation,
    maximum_length=st.none() | st.integers(0, 2**32 - 1),
    implementation_class_uid=NAMES,
    implementation_version_name=NAMES,
    window=st.none() | WINDOW,
    roles=several(ROLE),
    extended=several(EXTENDED),
    common_extended=several(COMMON),
    identities=several(IDENTITY),
    identity_response=st.none() | RESPONSE,
)
PROPOSED = st.builds(PresentationContextRQ, IDS, NAMES, several(NAMES))
ANSWERED = st.builds(PresentationContextAC, IDS, st.integers(0, 4), NAMES)
FIXED = {
    "called_field": TITLES,
    "calling_field": TITLES,
    "user_information": USER_INFORMATION,
    "application_context_name": NAMES,
    "protocol_version": SHORTS,
    "reserved": st.binary(min_size=32, max_size=32),
}
REQUESTS = st.builds(
    AssociateRQ,
    presentation_contexts=st.lists(PROPOSED, min_size=1, max_size=4, unique_by=lambda one: one.context_id).map(tuple),
    **FIXED,
)
ACCEPTS = st.builds(
    AssociateAC,
    presentation_contexts=st.lists(ANSWERED, max_size=4, unique_by=lambda one: one.context_id).map(tuple),
    **FIXED,
)
CONTROL = st.one_of(
    REQUESTS,
    ACCEPTS,
    st.builds(AssociateRJ, BYTES, BYTES, BYTES),
    st.builds(ReleaseRQ),
    st.builds(ReleaseRP),
    st.builds(Abort, BYTES, BYTES),
)
VALUES = st.builds(PresentationDataValue, BYTES, st.booleans(), st.booleans(), st.binary(max_size=40))


@given(SUB_ITEMS)
def test_sub_item(value):
    encoded = value.encode()
    assert encoded[:2] == bytes((value.ITEM_TYPE, 0))
    assert int.from_bytes(encoded[2:4]) == len(encoded) - 4
    assert type(value).decode(memoryview(encoded)[4:]) == value


@given(USER_INFORMATION)
def test_user_information(value):
    assert UserInformation.decode(memoryview(value.encode())[4:]) == value


@given(USER_INFORMATION)
def test_sub_items_stand_in_increasing_order(value):
    """PS3.8 9.3.1: "items within the PDU shall be in increasing order"."""
    encoded, start, types = value.encode(), 4, []
    while start < len(encoded):
        types.append(encoded[start])
        start += 4 + int.from_bytes(encoded[start + 2 : start + 4])
    assert types == sorted(types)


@given(PROPOSED | ANSWERED)
def test_presentation_context(value):
    encoded = value.encode()
    assert encoded[0] == value.ITEM_TYPE
    assert type(value).decode(memoryview(encoded)[4:]) == value


@given(CONTROL)
def test_control_pdu(value):
    encoded = value.encode()
    pdu_type, length = HEADER.unpack_from(encoded)
    assert (pdu_type, encoded[1], length) == (value.TYPE, 0, len(encoded) - 6)
    assert DECODERS[pdu_type].decode(memoryview(encoded)[6:]) == value


@given(several(VALUES, 5))
def test_data_pdu(values):
    encoded = DataTF(values).encode()
    assert DataTF.decode(memoryview(encoded)[6:]) == DataTF(values)


@given(VALUES)
def test_bits_2_to_7_of_the_message_control_header_are_not_tested(value):
    """PS3.8 E.2: they are sent as 0 and never checked."""
    encoded = bytearray(value.encode())
    encoded[5] |= 0xFC
    assert DataTF.decode(memoryview(encoded)).values == (value,)


def test_every_control_pdu_type_has_a_decoder():
    assert set(DECODERS) | {PDUType.P_DATA_TF} == set(PDUType) == set(range(1, 8))


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=16))
def test_title(title):
    assert len(encode_title(title)) == 16
    assert decode_title(encode_title(title)) == title


@given(TITLES)
def test_any_16_bytes_are_a_title_in_ascii(field):
    assert decode_title(field).isascii()


@pytest.mark.parametrize(
    ("field", "title"),
    [
        (b"ARCHIVE         ", "ARCHIVE"),
        (b"   ARCHIVE      ", "ARCHIVE"),
        (b"ARCHIVE\0\0\0\0\0\0\0\0\0", "ARCHIVE"),
        (b"AN ARCHIVE      ", "AN ARCHIVE"),
        (b"                ", ""),
        (b"\xc4RCHIV          ", "\\xc4RCHIV"),
    ],
)
def test_insignificant_spaces_and_padding_are_no_part_of_a_title(field, title):
    assert decode_title(field) == title


def test_an_associate_pdu_names_its_titles(request_pdu):
    assert (request_pdu.called_ae_title, request_pdu.calling_ae_title) == ("ARCHIVE", "MODALITY1")


def test_secrets_do_not_show_in_repr():
    """A log line or a traceback that quotes a PDU never quotes a passcode, a ticket or an assertion."""
    shown = repr(UserIdentityRQ(2, True, b"alice", b"hunter2")) + repr(UserIdentityAC(b"ticket"))
    assert not any(secret in shown for secret in ("alice", "hunter2", "ticket"))
