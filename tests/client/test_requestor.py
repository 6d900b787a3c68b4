"""Associations that we ask for, with a scripted peer at the other end where a real one would not misbehave."""

from __future__ import annotations

import socket
import threading

import pytest

from scpd.client import operations
from scpd.client.requestor import Caller, Proposal, associate
from scpd.errors import Aborted, ConnectionLost, Expired, ProtocolError, Rejected
from scpd.wire.contexts import PresentationContextAC
from scpd.wire.pdu import Abort, AssociateAC, AssociateRJ
from scpd.wire.user_info import UserInformation

VERIFICATION = Proposal("1.2.840.10008.1.1", ("1.2.840.10008.1.2",))
CALLER = Caller(connect=5.0, answer=5.0, message=5.0)


def accept(*contexts: PresentationContextAC, maximum_length: int | None = 16384) -> bytes:
    user_information = UserInformation(maximum_length=maximum_length)
    return AssociateAC(bytes(16), bytes(16), user_information, presentation_contexts=contexts).encode()


@pytest.fixture
def scripted():
    """A peer that answers whatever comes first with the given bytes, and keeps the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept = []

        def start(answer: bytes) -> tuple[str, int]:
            def serve() -> None:
                peer, _ = listener.accept()
                kept.append(peer)
                peer.recv(65536)
                peer.sendall(answer)

            threading.Thread(target=serve, daemon=True).start()
            return "127.0.0.1", listener.getsockname()[1]

        yield start
        for peer in kept:
            peer.close()


def test_an_echo_and_a_release(daemon):
    server = daemon()
    with associate(("127.0.0.1", server.port), [VERIFICATION], CALLER) as association:
        assert operations.echo(association).status == 0
        assert operations.echo(association).status == 0
    (line,) = server.associations()
    assert (line["ended"], line["messages"]) == ("released", {"C-ECHO 0000": 2})


def test_an_error_inside_the_association_aborts_it(daemon):
    server = daemon()
    with pytest.raises(KeyError), associate(("127.0.0.1", server.port), [VERIFICATION], CALLER):
        raise KeyError
    (line,) = server.associations()
    assert "the peer aborted" in line["ended"]


def test_without_a_context_for_verification_an_echo_says_so(daemon):
    server = daemon(contexts=["CTImageStorage"])
    with (
        associate(("127.0.0.1", server.port), [VERIFICATION], CALLER) as association,
        pytest.raises(LookupError, match="Verification"),
    ):
        operations.echo(association)


@pytest.mark.parametrize("count", [0, 129])
def test_an_association_has_1_to_128_contexts(count):
    with pytest.raises(ValueError, match=f"not {count}"):
        associate(("127.0.0.1", 1), [VERIFICATION] * count, CALLER)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (AssociateRJ(2, 3, 2).encode(), Rejected, "local limit exceeded"),
        (AssociateRJ(9, 9, 9).encode(), Rejected, "reason 9"),
        (Abort(2, 1).encode(), Aborted, "unrecognized PDU"),
        (b"\x09" + bytes(9), ProtocolError, "unknown type 09H"),
        (b"HTTP/1.1 400 Bad Request\r\n", ProtocolError, "unknown type 48H"),
        (accept(PresentationContextAC(1, 0, "1.2.840.10008.1.2.1")), ProtocolError, "nobody proposed"),
        (accept(maximum_length=7), ProtocolError, "7 bytes leaves no room"),
    ],
)
def test_what_a_peer_may_answer_instead(scripted, answer, error, words):
    with pytest.raises(error, match=words):
        associate(scripted(answer), [VERIFICATION], CALLER)


def test_a_peer_that_says_nothing(scripted):
    with pytest.raises(Expired, match="did not answer A-ASSOCIATE-RQ"):
        associate(scripted(b""), [VERIFICATION], Caller(answer=0.2))


def test_contexts_that_nobody_proposed_do_not_count(scripted):
    answer = accept(PresentationContextAC(1, 3, ""), PresentationContextAC(7, 0, "1.2.840.10008.1.2"))
    association = associate(scripted(answer), [VERIFICATION], CALLER)
    assert not association.contexts
    association.abort()


def test_nobody_listens(free_port):
    with pytest.raises(ConnectionLost, match=f"cannot connect to 127.0.0.1:{free_port}"):
        associate(("127.0.0.1", free_port), [VERIFICATION], CALLER)


def test_message_ids_begin_anew_after_65535(daemon):
    server = daemon()
    with associate(("127.0.0.1", server.port), [VERIFICATION], CALLER) as association:
        association._message_id = 65535
        assert operations.echo(association).message_id_being_responded_to == 1
