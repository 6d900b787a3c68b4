"""The association as a whole: what refuses it, and what the A-ASSOCIATE-AC says."""

from __future__ import annotations

import pytest

from scpd.negotiation.agree import agree, refuse
from scpd.negotiation.offer import Agreement, Rejection
from scpd.wire.pdu import AssociateRJ, encode_title
from scpd.wire.user_info import (
    AsynchronousOperationsWindow,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityRQ,
)

DICOM = "1.2.840.10008.3.1.1.1"


@pytest.mark.parametrize("version", [0x0001, 0x0003, 0x8001, 0xFFFF])
def test_a_protocol_version_with_bit_0_is_taken(version, offer, ask):
    """PS3.8 9.3.2: bit 0 alone is tested."""
    assert isinstance(agree(ask(protocol_version=version), offer()), Agreement)


@pytest.mark.parametrize("version", [0x0000, 0x0002, 0xFFFE])
def test_a_protocol_version_without_bit_0_is_refused_by_the_provider(version, offer, ask):
    rejection = agree(ask(protocol_version=version), offer())
    assert rejection.answer == AssociateRJ(1, 2, 2)
    assert f"{version:04X}H" in rejection.why


@pytest.mark.parametrize("version", [0x0001, 0x0003, 0xFFFF])
def test_the_answer_speaks_version_1_whatever_the_request_offered(version, offer, ask):
    assert agree(ask(protocol_version=version), offer()).answer.protocol_version == 1


@pytest.mark.parametrize("name", ["", "1.2.840.10008.3.1.1.2", "1.2.840.10008.3.1.1.1.1", "x\ny"])
def test_another_application_context_name_is_refused(name, offer, ask):
    rejection = agree(ask(application_context_name=name), offer())
    assert rejection.answer == AssociateRJ(1, 1, 2)
    assert "\n" not in rejection.why


def test_the_answer_names_dicoms_application_context(offer, ask):
    assert agree(ask(), offer()).answer.application_context_name == DICOM


@pytest.mark.parametrize("title", ["OTHER", "archive", "ARCHIVE2", ""])
def test_another_called_ae_title_is_refused_only_when_it_is_checked(title, offer, ask):
    request = ask(called_field=encode_title(title))
    rejection = agree(request, offer(check_called_ae_title=True))
    assert rejection.answer == AssociateRJ(1, 1, 7)
    assert rejection.key == "called_ae_title"
    assert isinstance(agree(request, offer()), Agreement)


@pytest.mark.parametrize("field", [b"ARCHIVE         ", b"  ARCHIVE       ", b"ARCHIVE\0\0\0\0\0\0\0\0\0"])
def test_the_called_ae_title_is_compared_without_insignificant_spaces(field, offer, ask):
    assert isinstance(agree(ask(called_field=field), offer(check_called_ae_title=True)), Agreement)


@pytest.mark.parametrize(
    ("announced", "used"), [(None, 16384), (0, 0), (8, 8), (16384, 16384), (0xFFFFFFFF, 0xFFFFFFFF)]
)
def test_the_maximum_length_of_the_peer(announced, used, offer, ask):
    """0 is no limit, PS3.8 D.1.1; absent is DICOM's customary 16 KiB."""
    assert agree(ask(maximum_length=announced), offer()).peer_maximum_length == used


@pytest.mark.parametrize("announced", range(1, 8))
def test_a_maximum_length_that_leaves_no_room_for_a_fragment_is_refused(announced, offer, ask):
    rejection = agree(ask(maximum_length=announced), offer())
    assert rejection.answer == AssociateRJ(1, 2, 1)
    assert f"{announced} bytes" in rejection.why


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"protocol_version": 0, "application_context_name": "1.2"}, AssociateRJ(1, 2, 2)),
        ({"application_context_name": "1.2", "called_field": encode_title("X")}, AssociateRJ(1, 1, 2)),
        ({"called_field": encode_title("X"), "maximum_length": 1}, AssociateRJ(1, 1, 7)),
    ],
)
def test_of_several_reasons_the_most_basic_is_told(changes, answer, offer, ask):
    assert agree(ask(**changes), offer(check_called_ae_title=True)).answer == answer


def test_refuse_is_silent_about_what_is_acceptable(offer, ask):
    assert refuse(ask(), offer(check_called_ae_title=True)) is None


def test_a_rejection_has_words_and_no_agreement(offer, ask):
    rejection = refuse(ask(protocol_version=0), offer())
    assert isinstance(rejection, Rejection)
    assert rejection.why


@pytest.mark.parametrize("field", [bytes(range(16)), b" " * 16, b"\xff" * 16, b"  A B  \0\0\0\0\0\0\0\0\0"])
def test_the_titles_go_back_byte_for_byte(field, offer, ask):
    """PS3.8 table 9-17."""
    answer = agree(ask(called_field=field, calling_field=field[::-1]), offer()).answer
    assert answer.encode()[10:26] == field
    assert answer.encode()[26:42] == field[::-1]


def test_the_reserved_bytes_go_back_byte_for_byte(offer, ask):
    """PS3.8 9.3.3: bytes 43 to 74 are sent with the value received."""
    reserved = bytes(range(200, 232))
    assert agree(ask(reserved=reserved), offer()).answer.encode()[42:74] == reserved


def test_our_maximum_length_and_implementation_are_announced(offer, ask):
    said = agree(ask(maximum_length=100), offer(maximum_length=32768)).answer.user_information
    assert said.maximum_length == 32768
    assert (said.implementation_class_uid, said.implementation_version_name) == ("1.2.3", "SCPD")


@pytest.mark.parametrize("asked", [(0, 0), (1, 1), (8, 8), (0, 1)])
def test_an_asynchronous_window_is_answered_with_one_operation_at_a_time(asked, offer, ask):
    """PS3.7 D.3.3.3."""
    answer = agree(ask(window=AsynchronousOperationsWindow(*asked)), offer()).answer
    assert answer.user_information.window == AsynchronousOperationsWindow(1, 1)


def test_what_was_not_asked_is_not_answered(offer, ask):
    said = agree(ask(), offer()).answer.user_information
    assert (said.window, said.roles, said.extended, said.common_extended) == (None, (), (), ())


def test_an_identity_is_not_answered_here(offer, ask):
    """A positive response comes only from whoever checked it."""
    said = agree(ask(identities=(UserIdentityRQ(1, True, b"alice"),)), offer()).answer.user_information
    assert said.identity_response is None
    assert said.identities == ()


def test_extended_negotiation_is_silent(offer, ask):
    request = ask(
        extended=(SOPClassExtendedNegotiation("1.2", b"\x01"),),
        common_extended=(SOPClassCommonExtendedNegotiation("1.2", "1.3"),),
    )
    said = agree(request, offer()).answer.user_information
    assert (said.extended, said.common_extended) == ((), ())
