"""Both directions of one association at once (PS3.7 7.5): who reads, who waits, whose turn it is, how it ends.

The near end is the product's; the far one is a socket that says what it is told.
"""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future

import pytest

from scpd.dimse import codec, fragment
from scpd.dimse.command import (
    CCancelRQ,
    CEchoRQ,
    CEchoRSP,
    CFindRQ,
    CStoreRQ,
    respond,
)
from scpd.errors import Aborted, ConnectionLost, Expired, PeerError, Released
from scpd.transport.conversation import Conversation
from scpd.transport.exchange import MessageExchange, Pace, Piece
from scpd.wire.pdu import Abort, DataTF, PresentationDataValue, ReleaseRP, ReleaseRQ

PATIENCE = 20.0
VERIFICATION, FIND_CLASS = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.2.2.1"
FIND = CFindRQ(message_id=11, affected_sop_class_uid=FIND_CLASS, has_data_set=True)


def echo(number: int = 1) -> CEchoRQ:
    return CEchoRQ(message_id=number, affected_sop_class_uid=VERIFICATION)


def message(command, context: int = 1, data: bytes = b"") -> bytes:
    raw = fragment.command(context, codec.encode(command), 16384)
    if command.has_data_set:
        raw += DataTF((PresentationDataValue(context, False, True, data),)).encode()
    return raw


class Peer:
    """The far end, by messages."""

    def __init__(self, far) -> None:
        self.far = far

    def say(self, *commands, data: bytes = b"") -> None:
        self.far.send(b"".join(message(command, data=data) for command in commands))

    def hear(self):
        """The next command set; its data set, if any, is read."""
        gathered, command = b"", None
        while True:
            pdu = self.far.receive()
            assert isinstance(pdu, DataTF), f"{pdu} instead of a message"
            for value in pdu.values:
                if value.is_command:
                    gathered += value.data
                    if value.is_last:
                        command = codec.decode(gathered)
                if value.is_last and (value.is_command <= (not command.has_data_set)):
                    return command


@pytest.fixture
def talk(associated):
    """A conversation and its peer. ``serve`` is called with the conversation and a request; by default it answers."""
    threads = []

    def make(*, attended: bool, serve=None, running: bool = True, longest_answer: int = 1 << 20):
        upper, far = associated()
        exchange = MessageExchange(
            upper, (1, 3), peer_maximum_length=16384, command_limit=4096, pace=Pace(PATIENCE, PATIENCE)
        )

        def answer(one) -> None:
            if serve is not None:
                serve(conversation, one)
            exchange.send(one.context_id, respond(one.command, 0x0000))

        conversation = Conversation(exchange, answer, longest_refused=1 << 20, longest_answer=longest_answer)
        conversation.ended = Future()
        conversation.go = threading.Event()
        if attended:
            there = threading.Event()

            def run() -> None:
                conversation.attend()
                there.set()
                assert conversation.go.wait(PATIENCE)
                conversation.run()

            threads.append(elsewhere(run, conversation.ended))
            assert there.wait(PATIENCE)
        if running:
            conversation.go.set()
        return conversation, Peer(far)

    yield make
    for thread in threads:
        thread.join(0.0)


def elsewhere(what, done: Future | None = None) -> threading.Thread:
    """Do it on another thread; ``done`` gets what came of it."""

    def work() -> None:
        try:
            result = what()
        except BaseException as error:
            if done is not None:
                done.set_exception(error)
        else:
            if done is not None:
                done.set_result(result)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def soon(what) -> Future:
    done: Future = Future()
    elsewhere(what, done)
    return done


def ask(conversation, request=None, data=(), within: float = PATIENCE):
    return conversation.ask(1, request or echo(), data, within=within)


def pieces(data: bytes = b"data"):
    yield Piece(memoryview(data), is_last=True)


BOTH = pytest.mark.parametrize("attended", [False, True], ids=["unattended", "attended"])


# -- asking


@BOTH
def test_an_answer_comes_to_whoever_asked(talk, attended):
    conversation, peer = talk(attended=attended)
    done = soon(lambda: ask(conversation).final())
    assert peer.hear() == echo()
    peer.say(respond(echo(), 0x0122))
    answer = done.result(PATIENCE)
    assert (type(answer.response), answer.response.status, answer.data) == (CEchoRSP, 0x0122, b"")


@BOTH
def test_an_answer_brings_its_data_set(talk, attended):
    conversation, peer = talk(attended=attended)
    done = soon(lambda: list(ask(conversation, FIND, pieces())))
    assert peer.hear() == FIND
    peer.say(respond(FIND, 0xFF00, has_data_set=True), data=b"first")
    peer.say(respond(FIND, 0xFF01, has_data_set=True), data=b"second")
    peer.say(respond(FIND, 0x0000))
    assert [(one.response.status, one.data) for one in done.result(PATIENCE)] == [
        *((0xFF00, b"first"), (0xFF01, b"second"), (0x0000, b""))
    ]


@BOTH
def test_pending_answers_come_one_at_a_time_and_the_last_ends_it(talk, attended):
    conversation, peer = talk(attended=attended)
    invocation = ask(conversation, FIND, pieces())
    peer.say(respond(FIND, 0xFF00))
    assert next(invocation).response.status == 0xFF00
    assert not invocation.ended
    peer.say(respond(FIND, 0xA700))
    assert next(invocation).response.status == 0xA700
    assert invocation.ended
    assert list(invocation) == []
    invocation.close()
    invocation.cancel()
    again = soon(lambda: ask(conversation, echo(2)).final())
    assert peer.hear() == FIND
    assert peer.hear() == echo(2), "no C-CANCEL for what is over"
    peer.say(respond(echo(2), 0x0000))
    assert again.result(PATIENCE).response.status == 0x0000


@BOTH
def test_closed_half_way_it_is_cancelled_and_its_rest_is_dropped(talk, attended):
    """C-CANCEL, then what still comes; the next operation begins clean (PS3.7 9.3.2.3)."""
    conversation, peer = talk(attended=attended)
    invocation = ask(conversation, FIND, pieces())
    assert peer.hear() == FIND
    peer.say(respond(FIND, 0xFF00))
    next(invocation)
    peer.say(respond(FIND, 0xFF00), respond(FIND, 0xFF00))
    closed = soon(invocation.close)
    cancel = peer.hear()
    assert (type(cancel), cancel.message_id_being_responded_to) == (CCancelRQ, 11)
    assert not closed.done()
    peer.say(respond(FIND, 0xFF00), respond(FIND, 0xFE00))
    closed.result(PATIENCE)
    done = soon(lambda: ask(conversation).final())
    assert peer.hear() == echo()
    peer.say(respond(echo(), 0x0000))
    assert done.result(PATIENCE).response.status == 0x0000


@BOTH
def test_an_answer_longer_than_allowed_ends_the_association(talk, attended):
    conversation, peer = talk(attended=attended, longest_answer=100)
    done = soon(lambda: list(ask(conversation, FIND, pieces())))
    peer.say(respond(FIND, 0xFF00, has_data_set=True), data=b"x" * 200)
    with pytest.raises(PeerError, match="more than 100 bytes"):
        done.result(PATIENCE)


# -- serving meanwhile


def test_requests_are_served_until_release(talk):
    served = []
    conversation, peer = talk(attended=True, serve=lambda _, one: served.append(one.command))
    for number in range(3):
        peer.say(echo(number))
        assert peer.hear() == respond(echo(number), 0x0000)
    peer.far.send(ReleaseRQ().encode())
    assert conversation.ended.result(PATIENCE) is None
    assert served == [echo(0), echo(1), echo(2)]


@BOTH
def test_what_the_peer_asks_while_it_owes_an_answer_is_served_first(talk, attended):
    served = []
    conversation, peer = talk(attended=attended, serve=lambda _, one: served.append(one.command.message_id))
    done = soon(lambda: ask(conversation, FIND, pieces()).final())
    assert peer.hear() == FIND
    for number in (1, 2):
        peer.say(echo(number))
        assert peer.hear() == respond(echo(number), 0x0000)
    peer.say(respond(FIND, 0xFF00), echo(3), respond(FIND, 0x0000))
    assert peer.hear() == respond(echo(3), 0x0000)
    assert done.result(PATIENCE).response.status == 0x0000
    assert served == [1, 2, 3]


def test_the_thread_that_reads_serves_whoever_asks(talk):
    """Attended, requests are served in its thread alone; unattended in the one that waits for its answer."""
    for attended in (True, False):
        threads = []
        conversation, peer = talk(
            attended=attended, serve=lambda *_, threads=threads: threads.append(threading.get_ident())
        )
        asking = []

        def operation(conversation=conversation, asking=asking):
            asking.append(threading.get_ident())
            return ask(conversation).final()

        done = soon(operation)
        peer.hear()
        peer.say(echo(5), respond(echo(), 0x0000))
        done.result(PATIENCE)
        assert (threads == asking) == (not attended)


def test_a_service_asks_the_peer_and_waits_for_it(talk):
    """A C-STORE sub-operation, or an N-EVENT-REPORT, inside the service of a request; others are served inside it."""
    heard = []

    def serve(conversation, one):
        if one.command.message_id == 5:
            heard.append(ask(conversation, echo(77)).final().response.status)

    conversation, peer = talk(attended=True, serve=serve)
    peer.say(echo(5))
    assert peer.hear() == echo(77)
    peer.say(echo(6))
    assert peer.hear() == respond(echo(6), 0x0000)
    peer.say(respond(echo(77), 0x0122))
    assert peer.hear() == respond(echo(5), 0x0000)
    assert heard == [0x0122]


def test_a_service_that_asks_while_another_thread_does_reads_on_until_it_is_its_turn(talk):
    """A C-GET while a storage commitment is reported: the answer that the other waits for comes through this thread."""
    heard = []

    def serve(conversation, one):
        if one.command.message_id == 5:
            heard.append(ask(conversation, echo(77)).final().response.status)

    conversation, peer = talk(attended=True, serve=serve)
    report = soon(lambda: ask(conversation, echo(1)).final())
    assert peer.hear() == echo(1)
    peer.say(echo(5))
    assert peer.far.says_nothing_more()
    peer.say(respond(echo(1), 0x0000))
    assert report.result(PATIENCE).response.status == 0x0000
    assert peer.hear() == echo(77)
    peer.say(respond(echo(77), 0x0122))
    assert peer.hear() == respond(echo(5), 0x0000)
    assert heard == [0x0122]


@pytest.mark.parametrize("what", ["ask", "reading"])
def test_a_service_of_a_request_that_somebody_came_upon_does_not_wait_for_itself(talk, what):
    """A handler that was bound later, called from ``is_established``, and asks or releases."""
    done = queue.SimpleQueue()

    def serve(conversation, one):
        try:
            if what == "ask":
                ask(conversation, echo(77))
            else:
                with conversation.reading(5):
                    pass
        except RuntimeError:
            pass
        done.put("went on")

    conversation, peer = talk(attended=False, serve=serve)
    peer.say(echo(5))
    soon(lambda: [conversation.look() for _ in iter(done.empty, False)])
    try:
        assert done.get(timeout=5.0) == "went on"
    except queue.Empty:
        pytest.fail("it waits for itself")


def test_a_service_asks_while_an_operation_of_the_same_thread_is_under_way(talk):
    """One operation at a time (PS3.7 D.3.3.3): it is told so, instead of waiting for itself."""
    raised = []

    def serve(conversation, one):
        try:
            ask(conversation, echo(77))
        except RuntimeError as error:
            raised.append(str(error))

    conversation, peer = talk(attended=False, serve=serve)
    done = soon(lambda: ask(conversation, FIND, pieces()).final())
    peer.hear()
    peer.say(echo(5), respond(FIND, 0x0000))
    assert done.result(PATIENCE).response.status == 0x0000
    assert raised == ["C-FIND 11 is under way on this association: read its responses first"]


def test_requests_inside_requests_end_somewhere(talk):
    """A peer that asks for ever instead of answering does not fill the stack."""
    deepest = []

    def serve(conversation, one):
        deepest.append(conversation._depth)
        conversation.exchange.upper.poll()
        inner = conversation.exchange.receive()
        conversation._take(inner)

    conversation, peer = talk(attended=True, serve=serve)
    peer.say(*(echo(number) for number in range(10)))
    with pytest.raises(PeerError, match="requests inside requests"):
        conversation.ended.result(PATIENCE)
    assert max(deepest) == 4


# -- turns


@BOTH
def test_operations_of_several_threads_take_turns(talk, attended):
    """The second is sent when the first has its final response, not before."""
    conversation, peer = talk(attended=attended)
    order = queue.SimpleQueue()

    def operation(number):
        answer = ask(conversation, echo(number)).final()
        order.put(number)
        return answer.response.message_id_being_responded_to

    first = soon(lambda: operation(1))
    assert peer.hear() == echo(1)
    second = soon(lambda: operation(2))
    assert peer.far.says_nothing_more()
    peer.say(respond(echo(1), 0x0000))
    assert first.result(PATIENCE) == 1
    assert peer.hear() == echo(2)
    peer.say(respond(echo(2), 0x0000))
    assert second.result(PATIENCE) == 2
    assert [order.get(timeout=PATIENCE), order.get(timeout=PATIENCE)] == [1, 2]


@BOTH
def test_many_threads_each_get_their_own_answers(talk, attended):
    conversation, peer = talk(attended=attended)

    def operations(first):
        for number in range(first, first + 10):
            assert ask(conversation, echo(number)).final().response.message_id_being_responded_to == number

    done = [soon(lambda first=first: operations(first)) for first in range(0, 80, 10)]
    for _ in range(80):
        peer.say(respond(peer.hear(), 0x0000))
    for one in done:
        one.result(PATIENCE)


@BOTH
def test_a_thread_that_asks_twice_is_told_what_is_under_way(talk, attended):
    conversation, peer = talk(attended=attended)
    invocation = ask(conversation, FIND, pieces())
    with pytest.raises(RuntimeError, match="C-FIND 11 is under way"):
        ask(conversation)
    peer.say(respond(FIND, 0x0000))
    assert invocation.final().response.status == 0x0000
    ask(conversation, echo(2))


@BOTH
def test_data_that_fails_before_anything_was_sent_gives_the_turn_back(talk, attended):
    """The file of a C-STORE that cannot be opened: the association is as it was."""

    def failing():
        raise ValueError("no such file")
        yield

    conversation, peer = talk(attended=attended)
    with pytest.raises(ValueError, match="no such file"):
        ask(conversation, FIND, failing())
    done = soon(lambda: ask(conversation).final())
    assert peer.hear() == echo()
    peer.say(respond(echo(), 0x0000))
    assert done.result(PATIENCE).response.status == 0x0000


@BOTH
def test_data_that_fails_half_way_ends_the_association(talk, attended):
    """Nothing that is sent now would have a meaning to the peer: A-ABORT."""

    def failing():
        yield Piece(memoryview(b"half"), is_last=False)
        raise OSError("the disk is gone")

    conversation, peer = talk(attended=attended)
    with pytest.raises(OSError, match="the disk is gone"):
        ask(conversation, FIND, failing())
    assert conversation.exchange.upper.is_over
    while isinstance(pdu := peer.far.receive(), DataTF):
        pass
    assert isinstance(pdu, Abort)


def test_a_cancel_goes_out_from_any_thread(talk):
    conversation, peer = talk(attended=False)
    done = soon(lambda: ask(conversation, FIND, pieces()).final())
    assert peer.hear() == FIND
    conversation.cancel(1, 11)
    assert peer.hear() == CCancelRQ(message_id_being_responded_to=11)
    peer.say(respond(FIND, 0xFE00))
    assert done.result(PATIENCE).response.status == 0xFE00


# -- looking


def test_looking_serves_what_has_come_and_does_not_wait(talk, bounded):
    served = []
    conversation, peer = talk(attended=False, serve=lambda _, one: served.append(one.command.message_id))
    assert bounded(conversation.look) is False
    peer.say(echo(1), echo(2))
    bounded(lambda: [conversation.look() for _ in iter(lambda: len(served) == 2, True)])
    assert served == [1, 2]
    assert [peer.hear(), peer.hear()] == [respond(echo(1), 0x0000), respond(echo(2), 0x0000)]


def test_looking_tells_that_release_was_asked_for(talk, bounded):
    conversation, peer = talk(attended=False)
    peer.say(echo(1))
    peer.far.send(ReleaseRQ().encode())
    bounded(lambda: [None for _ in iter(conversation.look, True)])
    assert peer.hear() == respond(echo(1), 0x0000), "what came before is served"


def test_looking_does_nothing_while_an_operation_is_under_way_or_somebody_attends(talk, bounded):
    conversation, peer = talk(attended=False)
    invocation = ask(conversation, FIND, pieces())
    peer.say(respond(FIND, 0x0000))
    assert bounded(conversation.look) is False
    assert invocation.final().response.status == 0x0000
    conversation, peer = talk(attended=True, running=False)
    peer.say(echo(1))
    assert bounded(conversation.look) is False
    assert peer.far.says_nothing_more()


@pytest.mark.parametrize("how", ["hang up", "abort", "garbage"])
def test_looking_raises_what_ended_the_association(talk, bounded, how):
    conversation, peer = talk(attended=False)
    vanish(peer, how)
    with pytest.raises(PeerError):
        bounded(lambda: [None for _ in iter(conversation.look, True)])
    assert bounded(lambda: conversation._turn.acquire(timeout=1.0)), "the turn is given back"


def vanish(peer, how: str) -> None:
    if how == "hang up":
        peer.far.hang_up()
    elif how == "abort":
        peer.far.send(Abort(0, 0).encode())
    else:
        peer.far.send(b"\x99" * 10)


# -- the end


ENDS = {"hang up": ConnectionLost, "abort": Aborted, "garbage": PeerError}


@BOTH
@pytest.mark.parametrize("how", ENDS)
def test_what_ends_the_association_is_delivered_to_whoever_waits(talk, attended, how):
    conversation, peer = talk(attended=attended)
    done = soon(lambda: ask(conversation, FIND, pieces()).final())
    assert peer.hear() == FIND
    peer.say(respond(FIND, 0xFF00))
    vanish(peer, how)
    with pytest.raises(ENDS[how]):
        done.result(PATIENCE)
    if attended:
        with pytest.raises(ENDS[how]):
            conversation.ended.result(PATIENCE)


@pytest.mark.parametrize("how", ENDS)
def test_whoever_asks_after_the_end_of_an_attended_association_hears_what_ended_it(talk, how):
    conversation, peer = talk(attended=True)
    vanish(peer, how)
    with pytest.raises(ENDS[how]):
        conversation.ended.result(PATIENCE)
    for _ in range(2):
        with pytest.raises(ENDS[how]):
            ask(conversation)


def test_all_threads_that_wait_for_their_turn_hear_of_the_end(talk):
    conversation, peer = talk(attended=True)
    done = [soon(lambda number=number: ask(conversation, echo(number)).final()) for number in range(5)]
    peer.hear()
    peer.far.hang_up()
    for one in done:
        with pytest.raises(PeerError):
            one.result(PATIENCE)


@BOTH
def test_a_peer_that_releases_while_it_owes_an_answer(talk, attended):
    """:class:`Released` for whoever waits; the reader's own run is over without a fault."""
    conversation, peer = talk(attended=attended)
    done = soon(lambda: ask(conversation, FIND, pieces()).final())
    assert peer.hear() == FIND
    peer.say(respond(FIND, 0xFF00))
    peer.far.send(ReleaseRQ().encode())
    with pytest.raises(Released):
        done.result(PATIENCE)
    if attended:
        assert conversation.ended.result(PATIENCE) is None
    with pytest.raises(Released):
        soon(lambda: ask(conversation, echo(2))).result(PATIENCE)


@BOTH
def test_an_answer_that_does_not_come_in_time_has_expired(talk, attended, within):
    conversation, _ = talk(attended=attended)
    with within(0.2), pytest.raises(Expired):
        ask(conversation, within=0.2).final()


@BOTH
@pytest.mark.parametrize(
    "response",
    [
        respond(echo(2), 0x0000),
        respond(CStoreRQ(message_id=1), 0x0000),
        respond(FIND, 0x0000),
    ],
    ids=["another number", "another service", "another's"],
)
def test_a_response_that_nobody_waits_for_ends_the_association(talk, attended, response):
    conversation, peer = talk(attended=attended)
    done = soon(lambda: ask(conversation, echo(1)).final())
    peer.hear()
    peer.say(response)
    with pytest.raises(PeerError, match="nobody waits for"):
        done.result(PATIENCE)


def test_a_response_where_nothing_was_asked_ends_the_association(talk):
    conversation, peer = talk(attended=True)
    peer.say(respond(echo(1), 0x0000))
    with pytest.raises(PeerError, match="nobody waits for"):
        conversation.ended.result(PATIENCE)
    conversation, peer = talk(attended=False)
    peer.say(respond(echo(1), 0x0000))
    done = soon(lambda: ask(conversation, echo(2)).final())
    with pytest.raises(PeerError, match="nobody waits for"):
        done.result(PATIENCE)


def test_release_that_this_side_asks_for_ends_the_run(talk):
    conversation, peer = talk(attended=True)
    conversation.exchange.upper.ask_release()
    assert isinstance(peer.far.receive(), ReleaseRQ)
    peer.far.send(ReleaseRP().encode())
    assert conversation.ended.result(PATIENCE) is None
    with pytest.raises(Released):
        ask(conversation)


def test_an_attended_association_is_asked_before_its_reader_has_begun(talk):
    """The answer comes once there is one who reads."""
    conversation, peer = talk(attended=True, running=False)
    done = soon(lambda: ask(conversation).final())
    assert peer.hear() == echo()
    peer.say(respond(echo(), 0x0000))
    conversation.go.set()
    assert done.result(PATIENCE).response.status == 0x0000


def test_whether_another_thread_asks_now(talk):
    conversation, peer = talk(attended=False)
    assert not conversation.is_with_another
    done = soon(lambda: ask(conversation).final())
    peer.hear()
    assert conversation.is_with_another
    peer.say(respond(echo(), 0x0000))
    done.result(PATIENCE)
    invocation = ask(conversation, FIND, pieces())
    assert not conversation.is_with_another
    peer.say(respond(FIND, 0x0000))
    invocation.final()


def test_the_stream_is_had_for_oneself_after_whoever_asks(talk):
    """Release is read where nobody else reads; within an operation of the same thread it does not wait for itself."""
    conversation, peer = talk(attended=False)
    done = soon(lambda: ask(conversation).final())
    peer.hear()
    order = []

    def release():
        with conversation.reading(5):
            order.append("reading")

    releasing = soon(release)
    assert not releasing.done()
    order.append("answer")
    peer.say(respond(echo(), 0x0000))
    done.result(PATIENCE)
    releasing.result(PATIENCE)
    assert order == ["answer", "reading"]
    ask(conversation, FIND, pieces())
    with conversation.reading(5):
        order.append("mine")
