"""One request of a peer to its final response: which service, what is refused, and that a service always ends."""

from __future__ import annotations

import socket

import pytest

from scpd.dimse import codec, fragment
from scpd.dimse.command import (
    CCancelRQ,
    CEchoRQ,
    CEchoRSP,
    CFindRQ,
    CStoreRQ,
    NEventReportRQ,
    NGetRQ,
    Request,
    UnrecognizedRQ,
    respond,
)
from scpd.errors import Aborted, ConnectionLost, PeerError, ProtocolError
from scpd.negotiation.offer import AcceptedContext
from scpd.services.service import Peer, Reply
from scpd.services.serving import Serving, refusal
from scpd.transport.connection import Connection
from scpd.transport.exchange import Message, MessageExchange, Pace, Piece
from scpd.transport.upper_layer import UpperLayer
from scpd.wire.contexts import PresentationContextAC, PresentationContextRQ
from scpd.wire.framing import Limits
from scpd.wire.pdu import DECODERS, Abort, AssociateAC, AssociateRQ, DataTF, PDUType, encode_title
from scpd.wire.user_info import UserInformation

PATIENCE = 20.0
IMPLICIT = "1.2.840.10008.1.2"
VERIFICATION, CT = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.1.2"
FIND, MPPS = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.3.1.2.3.3"
# As SCP, as SCU alone, as both, and one that no service has.
CONTEXTS = {
    1: AcceptedContext(1, FIND, IMPLICIT, as_scu=False, as_scp=True),
    3: AcceptedContext(3, MPPS, IMPLICIT, as_scu=True, as_scp=False),
    5: AcceptedContext(5, CT, IMPLICIT, as_scu=True, as_scp=True),
    7: AcceptedContext(7, VERIFICATION, IMPLICIT, as_scu=False, as_scp=True),
}
ECHO = CEchoRQ(message_id=1, affected_sop_class_uid=VERIFICATION)
QUERY = CFindRQ(message_id=2, affected_sop_class_uid=FIND, has_data_set=True)
STORE = CStoreRQ(message_id=3, affected_sop_class_uid=CT, affected_sop_instance_uid="1.2.3", has_data_set=True)
REPORT = NEventReportRQ(message_id=4, affected_sop_class_uid=MPPS, affected_sop_instance_uid="1.2.3", event_type_id=1)


class Watched:
    """A service that yields what it is told to, and says how it ended."""

    operations: frozenset[type[Request]] = frozenset((CFindRQ, CStoreRQ, NEventReportRQ))

    def __init__(self, replies) -> None:
        self.replies = replies
        self.seen = []
        self.ended: list[str] = []

    def perform(self, operation):
        self.seen.append(operation)
        try:
            yield from self.replies(operation)
        except GeneratorExit:
            self.ended.append("closed")
            raise
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise
        else:
            self.ended.append("done")


@pytest.fixture
def serve(raw_pair):
    """A service behind an association: the serving, its exchange, its peer and what it told of its answers."""

    def make(service, longest_refused: int = 1 << 20):
        near, far = raw_pair
        upper = UpperLayer(
            Connection(near, "127.0.0.1:104"),
            is_requestor=False,
            limits=Limits(associate=1 << 20, data=1 << 16),
            artim=PATIENCE,
            write=PATIENCE,
        )
        title, said = encode_title("X"), UserInformation(implementation_class_uid="1.2")
        asked = tuple(
            PresentationContextRQ(number, one.abstract_syntax, (IMPLICIT,)) for number, one in CONTEXTS.items()
        )
        answered = tuple(PresentationContextAC(number, 0, IMPLICIT) for number in CONTEXTS)
        peer = FarEnd(far)
        far.sendall(
            AssociateRQ(
                called_field=title, calling_field=title, user_information=said, presentation_contexts=asked
            ).encode()
        )
        upper.await_request()
        upper.accept(
            AssociateAC(called_field=title, calling_field=title, user_information=said, presentation_contexts=answered)
        )
        assert isinstance(peer.pdu(), AssociateAC)
        exchange = MessageExchange(
            upper, CONTEXTS, peer_maximum_length=16384, command_limit=4096, pace=Pace(PATIENCE, PATIENCE)
        )
        told, asked = [], []

        class Observer:
            def asked(self, request):
                asked.append(request)

            def answered(self, *what):
                assert asked, "a response to nothing"
                told.append(what)

        services = dict.fromkeys((FIND, MPPS, CT), service)
        serving = Serving(
            exchange,
            Peer("127.0.0.1:104", "CALLING", "CALLED"),
            CONTEXTS,
            services,
            longest_refused=longest_refused,
            observer=Observer(),
        )
        return serving, exchange, peer, told

    return make


@pytest.fixture
def raw_pair():
    near, far = socket.socketpair()
    far.settimeout(PATIENCE)
    yield near, far
    near.close()
    far.close()


class FarEnd:
    """The peer."""

    def __init__(self, sock) -> None:
        self.socket = sock

    def say(self, context: int, command, data: bytes = b"", *, is_last: bool = True) -> None:
        raw = fragment.command(context, codec.encode(command), 16384)
        if command.has_data_set:
            for pair in fragment.data_set(context, memoryview(data), 16384, is_last=is_last):
                raw += b"".join(pair)
        self.socket.sendall(raw)

    def pdu(self):
        header = self._exactly(6)
        decoder = DataTF if header[0] == PDUType.P_DATA_TF else DECODERS[header[0]]
        return decoder.decode(memoryview(self._exactly(int.from_bytes(header[2:]))))

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            assert more, "the end of the stream"
            data += more
        return data

    def hear(self):
        """The next message: command set and data."""
        command, gathered, data = None, b"", b""
        while True:
            for value in self.pdu().values:
                if value.is_command:
                    gathered += value.data
                    command = codec.decode(gathered) if value.is_last else None
                else:
                    data += value.data
                if value.is_last and (not value.is_command or not command.has_data_set):
                    return command, data


def pieces(*parts: bytes):
    for number, part in enumerate(parts, 1):
        yield Piece(memoryview(part), is_last=number == len(parts))


def test_a_service_gives_replies_and_each_is_sent_before_the_next_is_made(serve):
    made = []

    def replies(operation):
        for number in range(3):
            made.append(number)
            yield Reply(respond(operation.request, 0xFF00, has_data_set=True), "", pieces(b"match", bytes((number,))))
        yield Reply(respond(operation.request, 0xA700), "no room")

    service = Watched(replies)
    serving, exchange, peer, told = serve(service)
    peer.say(1, QUERY, b"query")
    serving(exchange.receive())
    for number in range(3):
        command, data = peer.hear()
        assert (command.status, data) == (0xFF00, b"match" + bytes((number,)))
    assert peer.hear()[0].status == 0xA700
    assert [(context, one.status, why) for context, one, why in told] == [(1, 0xFF00, "")] * 3 + [
        (1, 0xA700, "no room")
    ]
    assert (made, service.ended) == ([0, 1, 2], ["done"])


def test_the_operation_tells_who_asks_for_what_and_where(serve):
    service = Watched(lambda operation: [Reply(respond(operation.request, 0x0000))])
    serving, exchange, peer, _ = serve(service)
    peer.say(5, STORE, b"data")
    serving(exchange.receive())
    (operation,) = service.seen
    assert (operation.peer.calling, operation.peer.called) == ("CALLING", "CALLED")
    assert (operation.context, operation.request) == (CONTEXTS[5], STORE)


def test_the_service_reads_the_data_set_itself(serve):
    read = []

    def replies(operation):
        read.append(b"".join(bytes(view) for batch in operation.data() for view in batch))
        yield Reply(respond(operation.request, 0x0000))

    serving, exchange, peer, _ = serve(Watched(replies))
    peer.say(5, STORE, b"x" * 40_000)
    serving(exchange.receive())
    assert read == [b"x" * 40_000]


def test_data_that_a_service_did_not_want_is_skipped_before_its_answer(serve):
    serving, exchange, peer, _ = serve(Watched(lambda operation: [Reply(respond(operation.request, 0xA700))]))
    peer.say(5, STORE, b"x" * 40_000)
    peer.say(7, ECHO)
    serving(exchange.receive())
    assert not exchange.data_is_due
    assert peer.hear()[0].status == 0xA700
    assert exchange.receive().command == ECHO


def test_more_of_it_than_is_skipped_is_a_breach(serve):
    service = Watched(lambda operation: [Reply(respond(operation.request, 0xA700))])
    serving, exchange, peer, told = serve(service, longest_refused=10_000)
    peer.say(5, STORE, b"x" * 40_000)
    with pytest.raises(ProtocolError, match="10000 bytes after it was refused"):
        serving(exchange.receive())
    assert isinstance(peer.pdu(), Abort)
    assert (told, service.ended) == ([], ["closed"])


# -- what is refused


@pytest.mark.parametrize(
    ("context", "request_", "status"),
    [
        (3, NGetRQ(message_id=9, requested_sop_class_uid=MPPS, requested_sop_instance_uid="1.2.3"), 0x0122),
        (3, QUERY, 0x0122),
        (7, ECHO, 0x0211),
        (1, ECHO, 0x0211),
        (5, NGetRQ(message_id=9, requested_sop_class_uid=CT, requested_sop_instance_uid="1.2.3"), 0x0211),
    ],
    ids=["no SCP here", "nor for this", "no service", "not of this service", "nor this"],
)
def test_what_is_not_served_is_refused_and_no_service_hears_of_it(serve, context, request_, status):
    service = Watched(lambda _: [])
    serving, exchange, peer, told = serve(service)
    peer.say(context, request_, b"data")
    serving(exchange.receive())
    command, _ = peer.hear()
    assert (command.status, command.message_id_being_responded_to) == (status, request_.message_id)
    assert command.error_comment
    assert service.seen == []
    assert told == [(context, command, command.error_comment)]
    assert not exchange.data_is_due


def test_an_n_event_report_is_served_where_this_side_is_the_scu(serve):
    """It goes from the SCP to the SCU, and many devices send it without role selection (PS3.7 10.1.1)."""
    service = Watched(lambda operation: [Reply(respond(operation.request, 0x0000))])
    serving, exchange, peer, _ = serve(service)
    peer.say(3, REPORT)
    serving(exchange.receive())
    assert peer.hear()[0].status == 0x0000
    assert len(service.seen) == 1


def test_an_operation_that_the_standard_has_not_is_refused(serve):
    """0211H, under the number it came with."""
    serving, _, peer, told = serve(Watched(lambda _: []))
    serving(Message(1, UnrecognizedRQ(number=0x0077, message_id=12)))
    (value,) = peer.pdu().values
    assert value.is_command
    assert b"\x00\x00\x00\x01\x02\x00\x00\x00\x77\x80" in value.data
    assert b"\x00\x00\x00\x09\x02\x00\x00\x00\x11\x02" in value.data
    assert [one.status for _, one, _ in told] == [0x0211]


def test_what_is_no_request_is_the_peers_fault(serve):
    serving, _, _, _ = serve(Watched(lambda _: []))
    for command in (CEchoRSP(message_id_being_responded_to=1), CCancelRQ(message_id_being_responded_to=1)):
        with pytest.raises(PeerError, match="where a request was due"):
            serving(Message(1, command))


@pytest.mark.parametrize("code", [0x0122, 0x0211])
def test_a_refusal_says_why_to_peer_and_log(code):
    reply = refusal(ECHO, code, "why")
    assert (reply.response.status, reply.response.error_comment, reply.why, tuple(reply.data)) == (
        code,
        "why",
        "why",
        (),
    )


# -- how a service ends


def vanish(peer, how: str) -> None:
    if how == "abort":
        peer.socket.sendall(Abort(0, 0).encode())
    else:
        peer.socket.close()


@pytest.mark.parametrize(("how", "error"), [("abort", Aborted), ("hang up", ConnectionLost)])
def test_a_service_that_looks_learns_that_its_peer_is_gone_and_is_closed(serve, how, error):
    def replies(operation):
        while not operation.is_cancelled():
            pass
        yield Reply(respond(operation.request, 0xFE00))

    service = Watched(replies)
    serving, exchange, peer, _ = serve(service)
    peer.say(1, QUERY, b"")
    message = exchange.receive()
    exchange.skip_data(100)
    vanish(peer, how)
    with pytest.raises(error):
        serving(message)
    assert service.ended == [error.__name__]


def test_a_service_is_closed_when_its_answer_cannot_be_sent(serve):
    """At once, not when memory is tidied up."""

    def replies(operation):
        while True:
            yield Reply(respond(operation.request, 0xFF00))

    service = Watched(replies)
    serving, exchange, peer, told = serve(service)
    peer.say(1, QUERY, b"")
    message = exchange.receive()
    exchange.skip_data(100)
    peer.socket.close()
    with pytest.raises(ConnectionLost):
        serving(message)
    assert service.ended == ["closed"]


def test_what_a_service_raises_passes_through(serve):
    def replies(operation):
        yield Reply(respond(operation.request, 0xFF00))
        raise ZeroDivisionError

    service = Watched(replies)
    serving, exchange, peer, _ = serve(service)
    peer.say(1, QUERY, b"")
    with pytest.raises(ZeroDivisionError):
        serving(exchange.receive())
    assert service.ended == ["ZeroDivisionError"]


def test_data_of_a_reply_that_fails_closes_the_service(serve):
    def failing():
        raise OSError("the disk is gone")
        yield

    service = Watched(
        lambda operation: iter([Reply(respond(operation.request, 0xFF00, has_data_set=True), "", failing())])
    )
    serving, exchange, peer, told = serve(service)
    peer.say(1, QUERY, b"")
    with pytest.raises(OSError, match="the disk is gone"):
        serving(exchange.receive())
    assert (service.ended, told) == (["closed"], [])


def test_a_cancel_is_for_its_message_and_known_to_the_service(serve):
    cancelled = []

    def replies(operation):
        cancelled.append(operation.is_cancelled())
        peer.say(1, CCancelRQ(message_id_being_responded_to=99))
        cancelled.append(operation.is_cancelled())
        peer.say(1, CCancelRQ(message_id_being_responded_to=2))
        while not operation.is_cancelled():
            pass
        yield Reply(respond(operation.request, 0xFE00))

    service = Watched(replies)
    serving, exchange, peer, _ = serve(service)
    peer.say(1, QUERY, b"")
    message = exchange.receive()
    exchange.skip_data(100)
    serving(message)
    assert cancelled == [False, False]
    assert peer.hear()[0].status == 0xFE00
