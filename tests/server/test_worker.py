"""One association's trouble stays its own: what a worker does with services that fail and requests that make no sense."""

from __future__ import annotations

import pytest

from scpd.dimse import codec
from scpd.dimse.command import (
    CCancelRQ,
    CEchoRQ,
    CEchoRSP,
    CFindRQ,
    CFindRSP,
    CStoreRQ,
    NActionRQ,
    UnrecognizedRQ,
    respond,
)
from scpd.server.capacity import CapacityLimits
from scpd.services.service import Reply
from scpd.wire.contexts import PresentationContextRQ
from scpd.wire.pdu import Abort, AssociateAC, AssociateRJ, AssociateRQ, encode_title
from scpd.wire.user_info import UserInformation

VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
FINDING = "1.2.3.4"
CONTEXTS = {1: (VERIFICATION, (IMPLICIT,)), 3: (FINDING, (IMPLICIT,))}
ECHO = CEchoRQ(message_id=1, affected_sop_class_uid=VERIFICATION)
FIND = CFindRQ(message_id=5, affected_sop_class_uid=FINDING, has_data_set=True)


class Finding:
    """A service that does what the test says: ``perform(operation)`` gives the replies."""

    operations = frozenset((CFindRQ,))

    def __init__(self, perform) -> None:
        self.perform = perform


@pytest.fixture
def associate(serve, connect):
    """A server whose C-FIND is ``perform``, and a client with an association."""

    def make(perform=None, **how):
        server = serve({FINDING: Finding(perform)}, **how)
        client = connect(server.address[1])
        assert isinstance(client.associate(CONTEXTS), AssociateAC)
        return server, client

    return make


def echo(client, message_id: int = 1) -> None:
    client.send_message(1, CEchoRQ(message_id=message_id, affected_sop_class_uid=VERIFICATION))
    answer = client.receive_command()
    assert isinstance(answer, CEchoRSP)
    assert (answer.status, answer.message_id_being_responded_to) == (0, message_id)


@pytest.mark.parametrize("error", [ValueError, KeyError, OSError, RecursionError, MemoryError])
@pytest.mark.parametrize("when", ["before", "between"])
def test_a_service_that_raises_ends_its_association_only(associate, connect, told, error, when):
    """A-ABORT there, the others live, and one line with the traceback tells of it."""

    def perform(operation):
        if when == "between":
            yield Reply(respond(operation.request, 0xFF00))
        raise error("a fault of this program")

    server, client = associate(perform)
    other = connect(server.address[1])
    other.associate(CONTEXTS)
    client.send_message(3, FIND, b"abcd")
    if when == "between":
        assert client.receive_command().status == 0xFF00
    assert client.receive() == Abort(0, 0)
    (line,) = told.wait("association failed")
    assert line["log_level"] == "error"
    assert isinstance(line["exc_info"], error)
    assert line["calling"] == "RAW"
    echo(other)
    client.close()
    other.release()
    told.wait("association")
    assert [one["event"] for one in told] == ["association failed", "association"]


def test_deep_recursion_in_a_service_is_such_an_error(associate, told):
    def perform(operation):
        return perform(operation)

    _, client = associate(perform)
    client.send_message(3, FIND, b"abcd")
    assert client.receive() == Abort(0, 0)
    (line,) = told.wait("association failed")
    assert isinstance(line["exc_info"], RecursionError)


@pytest.mark.parametrize(
    "request_",
    [
        FIND,
        CStoreRQ(message_id=5, affected_sop_class_uid=VERIFICATION, has_data_set=True),
        NActionRQ(message_id=5, requested_sop_class_uid=VERIFICATION),
        UnrecognizedRQ(message_id=5, number=0x0777),
        UnrecognizedRQ(message_id=5, number=0x0777, has_data_set=True),
    ],
    ids=["C-FIND", "C-STORE", "N-ACTION", "unknown", "unknown with data"],
)
def test_an_operation_that_is_not_served_here_is_0211_and_the_association_goes_on(associate, told, request_):
    _, client = associate()
    client.send_message(1, request_, b"abcd")
    (value,) = client.receive().values
    answer = codec._split(value.data)
    assert int.from_bytes(answer[0x0100], "little") == request_.command_field | 0x8000
    assert int.from_bytes(answer[0x0120], "little") == 5
    assert int.from_bytes(answer[0x0900], "little") == 0x0211
    echo(client, 6)
    client.release()
    (line,) = told.wait("association")
    assert sum(line["problems"].values()) == 1


@pytest.mark.parametrize(
    "answer", [CEchoRSP(message_id_being_responded_to=1), CFindRSP(message_id_being_responded_to=1, status=0xFF00)]
)
def test_a_response_that_nobody_asked_for_ends_the_association(associate, told, answer):
    _, client = associate()
    client.send_message(1, answer)
    assert client.receive() == Abort(0, 0)
    (line,) = told.wait("association")
    assert "that nobody waits for" in line["ended"]


def test_a_cancel_of_nothing_is_not_answered(associate):
    _, client = associate()
    client.send_message(1, CCancelRQ(message_id_being_responded_to=99))
    echo(client)


def test_a_cancel_is_seen_by_the_service_that_runs(associate):
    def perform(operation):
        for views in operation.data():
            assert views
        while not operation.is_cancelled():
            yield Reply(respond(operation.request, 0xFF00))
        yield Reply(respond(operation.request, 0xFE00))

    _, client = associate(perform)
    client.send_message(3, FIND, b"abcd")
    assert client.receive_command().status == 0xFF00
    client.send_message(3, CCancelRQ(message_id_being_responded_to=5))
    while (status := client.receive_command().status) == 0xFF00:
        pass
    assert status == 0xFE00
    echo(client)


def test_data_that_a_service_left_unread_is_skipped(associate):
    _, client = associate(lambda operation: (Reply(respond(operation.request, 0xA700), "no room"),))
    client.send_message(3, FIND, bytes(100_000))
    assert client.receive_command().status == 0xA700
    echo(client)


def test_data_that_goes_on_after_a_refusal_beyond_the_limit_is_a_breach(associate, told):
    """limits.data_set bounds what is read over as well."""
    _, client = associate(lambda operation: (Reply(respond(operation.request, 0xA700), "no room"),))
    client.send_message(3, FIND, bytes(2 << 20))
    assert client.receive() == Abort(2, 2)
    (line,) = told.wait("association")
    assert "after it was refused" in line["ended"]


def test_a_service_that_gives_no_reply_leaves_the_association_as_it_was(associate):
    _, client = associate(lambda _: ())
    client.send_message(3, FIND, b"abcd")
    echo(client)


def test_over_the_limit_is_rejected_as_transient_local_limit_and_the_key_is_told(serve, connect, told):
    server = serve(limits=CapacityLimits(1, 1, 10, 10))
    first = connect(server.address[1])
    assert isinstance(first.associate(), AssociateAC)
    second = connect(server.address[1])
    assert second.associate() == AssociateRJ(2, 3, 2)
    (line,) = told.wait("association rejected")
    assert (line["key"], line["where"]) == ("limits.associations", "test:limits.associations")
    echo(first)


def test_a_place_is_free_the_moment_the_association_has_ended(serve, connect, told):
    """Though the peer keeps its connection open after the release, and ARTIM is far."""
    server = serve(limits=CapacityLimits(1, 1, 10, 10))
    first = connect(server.address[1])
    first.associate()
    first.send(bytes.fromhex("05000000000400000000"))
    first.receive()
    told.wait("association")
    second = connect(server.address[1])
    assert isinstance(second.associate(), AssociateAC)
    assert server.state()["connections"] == 2


def test_a_rejected_peer_that_stays_is_closed_at_artim(serve, connect):
    server = serve(artim=0.2)
    client = connect(server.address[1])
    client.associate()
    client.send(bytes.fromhex("070000000004") + bytes(4))
    assert client.is_closed_by_peer(5.0)


@pytest.mark.parametrize("title", [b'\n{"x":1}\x1b[31m', b"\0\r\n", b"\xff\xfe\\n", b"\x1b[2J"])
def test_what_a_peer_calls_itself_stays_on_its_line(serve, connect, told, title):
    server = serve()
    client = connect(server.address[1])
    request = AssociateRQ(
        called_field=encode_title("SCPD"),
        calling_field=title.ljust(16),
        user_information=UserInformation(implementation_class_uid="1.2.3", implementation_version_name="a\nb"),
        presentation_contexts=(PresentationContextRQ(1, VERIFICATION, (IMPLICIT,)),),
    )
    client.send(request.encode())
    assert isinstance(client.receive(), AssociateAC)
    client.close()
    (line,) = told.wait("association")
    assert line["calling"].isprintable()
    assert line["implementation"].isprintable()
