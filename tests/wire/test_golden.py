"""Bytes that real software sent, told apart by hand; and the printed layouts of PS3.8 9.3 as hex."""

from __future__ import annotations

import pytest

from scpd.wire.contexts import PresentationContextRQ
from scpd.wire.pdu import (
    Abort,
    AssociateRJ,
    AssociateRQ,
    DataTF,
    PresentationDataValue,
    ReleaseRP,
    ReleaseRQ,
    encode_title,
)
from scpd.wire.user_info import UserInformation

# What `echoscu -aet MODALITY1 -aec ARCHIVE` of DCMTK 3.6.7 sends.
ECHOSCU = bytes.fromhex(
    "01 00 000000cd"  # A-ASSOCIATE-RQ, 205 bytes
    "0001 0000"  # protocol version 1
    "41524348495645202020202020202020"  # ARCHIVE
    "4d4f44414c4954593120202020202020"  # MODALITY1
    "0000000000000000000000000000000000000000000000000000000000000000"
    "10 00 0015 312e322e3834302e31303030382e332e312e312e31"  # 1.2.840.10008.3.1.1.1
    "20 00 002e 01 00 ff 00"  # context 1; DCMTK fills a reserved byte with FFH
    "30 00 0011 312e322e3834302e31303030382e312e31"  # 1.2.840.10008.1.1
    "40 00 0011 312e322e3834302e31303030382e312e32"  # 1.2.840.10008.1.2
    "50 00 003a"
    "51 00 0004 00004000"  # maximum length 16384
    "52 00 001b 312e322e3237362e302e373233303031302e332e302e332e362e37"
    "55 00 000f 4f464649535f44434d544b5f333637"  # OFFIS_DCMTK_367
)
SAID = AssociateRQ(
    called_field=encode_title("ARCHIVE"),
    calling_field=encode_title("MODALITY1"),
    user_information=UserInformation(
        maximum_length=16384,
        implementation_class_uid="1.2.276.0.7230010.3.0.3.6.7",
        implementation_version_name="OFFIS_DCMTK_367",
    ),
    application_context_name="1.2.840.10008.3.1.1.1",
    presentation_contexts=(PresentationContextRQ(1, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)),),
)


def test_the_request_of_dcmtk_says_what_it_says():
    assert AssociateRQ.decode(memoryview(ECHOSCU)[6:]) == SAID


def test_our_encoding_of_it_differs_in_the_reserved_byte_alone():
    assert SAID.encode() == ECHOSCU.replace(bytes.fromhex("0100ff00"), bytes.fromhex("01000000"))


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (AssociateRJ(1, 1, 7), "03 00 00000004 00 01 01 07"),
        (AssociateRJ(2, 3, 2), "03 00 00000004 00 02 03 02"),
        (ReleaseRQ(), "05 00 00000004 00000000"),
        (ReleaseRP(), "06 00 00000004 00000000"),
        (Abort(), "07 00 00000004 00 00 00 00"),
        (Abort(source=2, reason=6), "07 00 00000004 00 00 02 06"),
        (
            DataTF((PresentationDataValue(5, True, False, b"ab"), PresentationDataValue(5, True, True, b""))),
            "04 00 0000000e  00000004 05 01 6162  00000002 05 03",
        ),
        (DataTF((PresentationDataValue(1, False, True, b"z"),)), "04 00 00000007 00000003 01 02 7a"),
    ],
)
def test_the_short_pdus_stand_as_printed(value, printed):
    assert value.encode() == bytes.fromhex(printed)
    assert type(value).decode(memoryview(bytes.fromhex(printed))[6:]) == value
