"""A response refers to its request by message ID, class and instance, whatever the request is."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpd.dimse import codec, status
from scpd.dimse.command import (
    RESPONSE_BIT,
    RESPONSES,
    CFindRQ,
    CGetRQ,
    CStoreRQ,
    NGetRQ,
    UnrecognizedRQ,
    UnrecognizedRSP,
    respond,
)

CLASS, INSTANCE = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"


def filled(kind: type):
    """A request of this kind with every UID that it has."""
    names = {one.name for one in fields(kind)}
    uids = {name: CLASS if "class" in name else INSTANCE for name in names if name.endswith("_uid")}
    return kind(message_id=77, **uids)


@pytest.mark.parametrize("kind", RESPONSES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("code", [status.SUCCESS, status.PROCESSING_FAILURE, 0xFFFF])
def test_a_response_names_what_it_answers(kind, code):
    response = respond(filled(kind), code)
    assert type(response) is RESPONSES[kind]
    assert response.message_id_being_responded_to == 77
    assert response.status == code
    assert response.affected_sop_class_uid == CLASS
    assert not response.has_data_set
    if hasattr(response, "affected_sop_instance_uid"):
        assert response.affected_sop_instance_uid == INSTANCE
    assert codec.decode(codec.encode(response)) == response


@pytest.mark.parametrize("kind", RESPONSES, ids=lambda kind: kind.__name__)
def test_every_response_to_a_service_with_instances_names_one_and_no_other(kind):
    """PS3.7 9.3 and 10.3: C-STORE and the N- services; not C-ECHO, C-FIND, C-GET, C-MOVE."""
    has_instance = hasattr(respond(filled(kind), 0), "affected_sop_instance_uid")
    assert has_instance == (kind.NAME == "C-STORE" or kind.NAME.startswith("N-"))


@pytest.mark.parametrize("kind", RESPONSES, ids=lambda kind: kind.__name__)
def test_a_request_without_uids_is_answered_without(kind):
    response = respond(kind(message_id=1), status.PROCESSING_FAILURE)
    assert response.affected_sop_class_uid == ""


def test_more_fields_go_with_it():
    response = respond(CGetRQ(message_id=1), status.PENDING, remaining=3, completed=2, failed=1, warning=0)
    assert (response.remaining, response.completed, response.failed, response.warning) == (3, 2, 1, 0)
    assert respond(CFindRQ(message_id=1), status.PENDING, has_data_set=True).has_data_set
    assert respond(CStoreRQ(), 0xC000, error_comment="why").error_comment == "why"


def test_an_instance_that_the_service_made_is_named_instead():
    """N-CREATE may leave the SOP Instance UID to the SCP (PS3.7 10.1.5.1.4)."""
    response = respond(filled(NGetRQ), 0, affected_sop_instance_uid="9.9")
    assert response.affected_sop_instance_uid == "9.9"


@given(number=st.integers(0, 0x7FFF), message_id=st.integers(0, 0xFFFF))
def test_an_unknown_operation_is_refused_under_its_own_number(number, message_id):
    response = respond(UnrecognizedRQ(number=number, message_id=message_id), status.UNRECOGNIZED_OPERATION)
    assert isinstance(response, UnrecognizedRSP)
    assert response.command_field == number | RESPONSE_BIT
    encoded = codec.encode(response)
    assert response.message_id_being_responded_to == message_id
    assert (number | RESPONSE_BIT).to_bytes(2, "little") in encoded
