"""Every command set: encode → decode gives the same value, and the bytes are those of pynetdicom and pydicom."""

from __future__ import annotations

import struct
from dataclasses import fields
from functools import cache
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pynetdicom import dimse_messages, dimse_primitives

from scpd.dimse import codec
from scpd.dimse.command import (
    COMMANDS,
    RESPONSE_BIT,
    RESPONSES,
    CCancelRQ,
    CEchoRQ,
    CStoreRQ,
    CStoreRSP,
    Kind,
    NGetRQ,
    Request,
    Response,
    UnrecognizedRQ,
)

KINDS = sorted(COMMANDS.values(), key=lambda kind: kind.FIELD)
SHORTS = st.integers(0, 0xFFFF)
PRINTABLE = st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="\\")
TEXTS = st.text(PRINTABLE, max_size=16).map(str.strip)
UIDS = st.lists(st.integers(0, 10**9).map(str), min_size=1, max_size=6).map(lambda parts: ".".join(["1", *parts]))
NAMED = TEXTS.filter(bool)
TAGS = st.lists(st.integers(0, 2**32 - 1), max_size=4).map(tuple)


@cache
def strategy_for(kind: type, *, texts: st.SearchStrategy = TEXTS) -> st.SearchStrategy:
    """Any command of this class, from what each field says about itself."""
    by_kind = {Kind.US: SHORTS, Kind.UI: UIDS | st.just(""), Kind.TEXT: texts, Kind.AT: TAGS}
    by_kind[Kind.DATA_SET_TYPE] = st.booleans()
    values = {}
    for one in fields(kind):
        strategy = by_kind[one.metadata["element"].kind]
        values[one.name] = strategy | st.none() if one.default is None else strategy
    return st.builds(kind, **values)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=15)
@given(data=st.data())
def test_round_trip(kind, data):
    command = data.draw(strategy_for(kind))
    encoded = codec.encode(command)
    assert codec.decode(encoded) == command
    assert codec.decode(memoryview(encoded)) == command
    assert len(encoded) % 2 == 0


@given(
    number=st.integers(0, 0x7FFF).filter(lambda number: number not in COMMANDS), message_id=SHORTS, some=st.booleans()
)
def test_round_trip_of_an_unrecognized_request(number, message_id, some):
    command = UnrecognizedRQ(number=number, message_id=message_id, has_data_set=some)
    assert command.command_field == number
    assert codec.decode(codec.encode(command)) == command


def walk(encoded: bytes) -> list[tuple[int, int, bytes]]:
    found, start = [], 0
    while start < len(encoded):
        group, number, length = struct.unpack_from("<HHI", encoded, start)
        found.append((group, number, encoded[start + 8 : start + 8 + length]))
        start += 8 + length
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=15)
@given(data=st.data())
def test_elements_of_group_0000_in_increasing_order_each_once_and_even_after_a_true_group_length(kind, data):
    """PS3.7 6.3.1."""
    encoded = codec.encode(data.draw(strategy_for(kind)))
    elements = walk(encoded)
    numbers = [number for _, number, _ in elements]
    assert {group for group, _, _ in elements} == {0}
    assert numbers == sorted(set(numbers))
    assert all(len(value) % 2 == 0 for _, _, value in elements)
    assert elements[0] == (0, 0, struct.pack("<I", len(encoded) - 12))


# pynetdicom's names


def their_name(kind: type) -> str:
    """C_STORE_RQ and so on."""
    return kind.NAME.replace("-", "_") + ("_RSP" if kind.FIELD & RESPONSE_BIT else "_RQ")


def their_fields(kind: type) -> dict[str, str]:
    """pynetdicom's keywords of the message and our fields for them."""
    ours = {one.metadata["element"].number: one.name for one in fields(kind)}
    ours[0x0100] = "command_field"
    keywords = dimse_messages._COMMAND_SET_KEYWORDS[their_name(kind).replace("_", "-")]
    return {word: ours[tag_for_keyword(word)] for word in keywords if word != "CommandGroupLength"}


def test_the_23_command_fields_are_those_of_pynetdicom():
    assert len(COMMANDS) == 23
    theirs = {number: names[0].replace("-", "_") for number, names in dimse_messages._MESSAGE_TYPES.items()}
    assert {number: their_name(kind) for number, kind in COMMANDS.items()} == theirs


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_command_has_every_element_that_pynetdicom_gives_it(kind):
    """Plus, in each response, the optional ones of PS3.7 annex C."""
    theirs = set(their_fields(kind).values())
    ours = {one.name for one in fields(kind)} | {"command_field"}
    more = {"offending_element", "error_comment", "error_id"} if issubclass(kind, Response) else set()
    assert theirs <= ours <= theirs | more


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=15)
@given(data=st.data())
def test_the_bytes_are_those_of_pydicoms_implicit_vr_little_endian(kind, data):
    command = data.draw(strategy_for(kind))
    elements = Dataset()
    values = {one.metadata["element"].number: getattr(command, one.name) for one in fields(kind)}
    values |= {0x0100: command.command_field, 0x0800: 0x0001 if command.has_data_set else 0x0101}
    vrs = {"error_comment": "LO"}
    layout = {one.metadata["element"].number: one for one in fields(kind)}
    for number, value in values.items():
        if value in (None, "", ()):
            continue
        one = layout.get(number)
        how = one.metadata["element"].kind if one else Kind.US
        vr = {Kind.UI: "UI", Kind.TEXT: vrs.get(one.name if one else "", "AE"), Kind.AT: "AT"}.get(how, "US")
        elements.add_new(number, vr, list(value) if how == Kind.AT else value)
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = True, True
    write_dataset(out, elements)
    body = out.getvalue()
    assert codec.encode(command) == struct.pack("<HHII", 0, 0, 4, len(body)) + body


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=15)
@given(data=st.data())
def test_the_bytes_are_those_of_pynetdicoms_message(kind, data):
    names = their_fields(kind)
    command = data.draw(strategy_for(kind, texts=NAMED))
    primitive = getattr(dimse_primitives, kind.NAME.replace("-", "_"))()
    told = {"command_field": command.command_field, "has_data_set": False}
    for word, name in names.items():
        if not hasattr(command, name):
            continue
        value = getattr(command, name)
        if name == "priority":
            value = value % 3  # pynetdicom takes only the three that have a meaning
        if name.endswith(("_uid", "_list", "_element")) and not value:
            value = None
        if hasattr(primitive, word):
            setattr(primitive, word, list(value) if isinstance(value, tuple) else value)
            told[name] = command.__class__.__dataclass_fields__[name].default if value is None else value
    their_data = dimse_messages._DATASET_KEYWORDS.get(their_name(kind))
    if their_data and command.has_data_set:
        setattr(primitive, their_data, BytesIO(b"\0\0"))
        told["has_data_set"] = True
    del told["command_field"]
    message = getattr(dimse_messages, their_name(kind))()
    message.primitive_to_message(primitive)
    first = next(iter(message.encode_msg(1, 0)))
    control, sent = first.presentation_data_value_list[0][1][:1], first.presentation_data_value_list[0][1][1:]
    assert control == b"\x03"
    assert codec.encode(kind(**told)) == sent


# Golden bytes


def test_a_c_echo_rq_stands_as_dcmtk_sends_it():
    """Captured from `echoscu` of DCMTK 3.6.7."""
    sent = bytes.fromhex(
        "00000000 04000000 38000000"  # group length 56
        "00000200 12000000 312e322e3834302e31303030382e312e3100"
        "00000001 02000000 3000"
        "00001001 02000000 0100"
        "00000008 02000000 0101"
    )
    assert codec.decode(sent) == CEchoRQ(message_id=1, affected_sop_class_uid="1.2.840.10008.1.1")
    assert codec.encode(codec.decode(sent)) == sent


def test_a_c_cancel_rq_refers_to_a_message_and_has_none_of_its_own():
    encoded = codec.encode(CCancelRQ(message_id_being_responded_to=7))
    assert [(number, value) for _, number, value in walk(encoded)[1:]] == [
        (0x0100, b"\xff\x0f"),
        (0x0120, b"\x07\0"),
        (0x0800, b"\x01\x01"),
    ]


def test_an_attribute_identifier_list_is_group_and_element_little_endian():
    encoded = codec.encode(NGetRQ(attribute_identifier_list=(0x00100020, 0x7FE00010)))
    assert walk(encoded)[-1] == (0, 0x1005, bytes.fromhex("1000 2000 e07f 1000"))


def test_optional_numbers_are_absent_when_none_and_present_when_0():
    absent, zero = codec.encode(CStoreRQ()), codec.encode(CStoreRQ(move_originator_message_id=0))
    assert 0x1031 not in [number for _, number, _ in walk(absent)]
    assert walk(zero)[-1] == (0, 0x1031, b"\0\0")


def test_a_uid_is_padded_with_null_and_a_title_with_space():
    """PS3.5 9.1 and 6.2."""
    encoded = codec.encode(CStoreRQ(affected_sop_class_uid="1.2", move_originator_ae_title="ABC"))
    values = {number: value for _, number, value in walk(encoded)}
    assert (values[0x0002], values[0x1030]) == (b"1.2\0", b"ABC ")


@given(st.text(max_size=80))
def test_any_text_can_be_an_error_comment(comment):
    """It comes from errors of this side, whatever their language; the wire is ASCII."""
    decoded = codec.decode(codec.encode(CStoreRSP(error_comment=comment)))
    assert decoded.error_comment.isascii()


def test_every_request_but_c_cancel_has_a_response_with_its_name_and_number():
    requests = [kind for kind in KINDS if issubclass(kind, Request)]
    assert set(RESPONSES) == set(requests)
    for request, response in RESPONSES.items():
        assert response.FIELD == request.FIELD | RESPONSE_BIT
        assert response.NAME == request.NAME
