"""Notifications in their order, at both ends; how handlers are bound; and what they may do to their association."""

from __future__ import annotations

import logging
import os
import subprocess
import threading
import time

import pytest
import structlog
from pydicom.dataset import Dataset

from scpd import AE, build_context, evt
from scpd.ae import association
from scpd.wire.pdu import Abort, AssociateAC, AssociateRJ, AssociateRQ, DataTF, ReleaseRP, ReleaseRQ

PATIENCE = 20.0
LOCAL = "127.0.0.1"
IMPLICIT = "1.2.840.10008.1.2"
VERIFICATION = "1.2.840.10008.1.1"
FIND, GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"
CT = "1.2.840.10008.5.1.4.1.1.2"
EVERY = [one for one in vars(evt).values() if isinstance(one, evt.EventType)]
TELLING = [one for one in EVERY if one.is_notification]
COURSE = [one for one in TELLING if "DATA" not in one.name and "PDU" not in one.name and "DIMSE" not in one.name]


class Told:
    """What was told, in order; everybody may wait for it."""

    def __init__(self) -> None:
        self.events = []
        self._changed = threading.Condition()

    def __call__(self, event, *_) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def handlers(self, events=COURSE):
        return [(event, self) for event in events]

    def until(self, event, count=1):
        """The names of what was told up to the end, once ``event`` was there."""
        with self._changed:
            there = self._changed.wait_for(lambda: len(self.of(event)) >= count, PATIENCE)
            assert there, f"{event} was not told: {self.names()}"
            return self.names()

    def of(self, event):
        return [one for one in self.events if one.event is event]

    def names(self):
        return [one.event.name.removeprefix("EVT_") for one in self.events]


@pytest.fixture
def log(caplog):
    configured = structlog.get_config() if structlog.is_configured() else None
    structlog.reset_defaults()
    caplog.set_level(logging.DEBUG, "scpd")
    yield lambda: [record.getMessage() for record in caplog.records if record.name == "scpd.handlers"]
    if configured:
        structlog.configure(**configured)


@pytest.fixture
def serve(log):
    """A server with these handlers."""
    servers = []

    def start(handlers=(), **settings):
        entity = AE("SERVER")
        for name, value in settings.items():
            setattr(entity, name, value)
        for uid in (VERIFICATION, FIND, GET, CT):
            entity.add_supported_context(uid, IMPLICIT)
        servers.append(entity.start_server((LOCAL, 0), block=False, evt_handlers=handlers))
        return servers[-1]

    yield start
    for one in servers:
        one.shutdown(grace=0.0)


@pytest.fixture
def call():
    made = []

    def start(server, handlers=(), *, title="SERVER", **settings):
        entity = AE("SCU")
        for name, value in settings.items():
            setattr(entity, name, value)
        port = server if isinstance(server, int) else server.server_address[1]
        contexts = [build_context(uid, IMPLICIT) for uid in (VERIFICATION, FIND)]
        made.append(entity.associate(LOCAL, port, contexts=contexts, ae_title=title, evt_handlers=handlers))
        return made[-1]

    yield start
    for assoc in made:
        assoc.abort()


def query() -> Dataset:
    dataset = Dataset()
    dataset.PatientID = "P"
    return dataset


# -- the order


ACCEPTOR = ["CONN_OPEN", "REQUESTED", "ACCEPTED", "ESTABLISHED", "RELEASED", "CONN_CLOSE"]
REQUESTOR = ACCEPTOR


def test_an_association_from_its_beginning_to_its_release(serve, call):
    """The same course at both ends; each event is told once."""
    ours, theirs = Told(), Told()
    assoc = call(serve(ours.handlers()), theirs.handlers())
    assoc.send_c_echo()
    assoc.release()
    assert ours.until(evt.EVT_CONN_CLOSE) == ACCEPTOR
    assert theirs.until(evt.EVT_CONN_CLOSE) == REQUESTOR
    assert assoc.is_released


def test_everything_in_between(serve, call):
    """Bytes before their PDU before their message before its handler; the answer in reverse."""
    ours, theirs = Told(), Told()
    events = [one for one in TELLING if one is not evt.EVT_DATA_RECV and one is not evt.EVT_DATA_SENT]
    server = serve([*ours.handlers(events), (evt.EVT_C_ECHO, lambda event: ours(event) or 0x0000)])
    assoc = call(server, theirs.handlers(events))
    assoc.send_c_echo()
    assoc.release()
    assert ours.until(evt.EVT_CONN_CLOSE) == [
        *("CONN_OPEN", "PDU_RECV", "REQUESTED", "PDU_SENT", "ACCEPTED", "ESTABLISHED"),
        *("PDU_RECV", "DIMSE_RECV", "C_ECHO", "DIMSE_SENT", "PDU_SENT"),
        *("PDU_RECV", "PDU_SENT", "RELEASED", "CONN_CLOSE"),
    ]
    assert [type(one.pdu) for one in ours.events if hasattr(one, "pdu")] == [
        *(AssociateRQ, AssociateAC, DataTF, DataTF, ReleaseRQ, ReleaseRP)
    ]
    told = theirs.until(evt.EVT_CONN_CLOSE)
    # Another thread reads there: it may tell of the answer before this one has told of what it sent.
    assert [name for name in told if "SENT" in name] == ["PDU_SENT", "DIMSE_SENT", "PDU_SENT", "PDU_SENT"]
    assert [name for name in told if "SENT" not in name] == [
        *("CONN_OPEN", "REQUESTED", "PDU_RECV", "ACCEPTED", "ESTABLISHED", "PDU_RECV", "DIMSE_RECV"),
        *("PDU_RECV", "RELEASED", "CONN_CLOSE"),
    ]


def test_nobody_attends_where_only_bytes_and_messages_are_told(serve, call):
    """No thread is started for them: whoever asks reads, and is told in its own thread."""
    theirs = Told()
    events = [evt.EVT_DATA_RECV, evt.EVT_DATA_SENT, evt.EVT_PDU_RECV, evt.EVT_PDU_SENT]
    events += [evt.EVT_DIMSE_RECV, evt.EVT_DIMSE_SENT, evt.EVT_CONN_OPEN, evt.EVT_REQUESTED, evt.EVT_ACCEPTED]
    server = serve()
    before = threading.active_count()
    threads = set()
    handlers = [*theirs.handlers(events), (evt.EVT_PDU_RECV, lambda _: threads.add(threading.get_ident()))]
    assoc = call(server, handlers)
    assoc.send_c_echo()
    assert threading.active_count() <= before + 1  # the server's worker
    assoc.release()
    assert threads == {threading.get_ident()}
    assert [name for name in theirs.names() if "DATA" not in name] == [
        *("CONN_OPEN", "REQUESTED", "PDU_SENT", "PDU_RECV", "ACCEPTED"),
        *("DIMSE_SENT", "PDU_SENT", "PDU_RECV", "DIMSE_RECV", "PDU_SENT", "PDU_RECV"),
    ]


def test_a_rejection_is_told_at_both_ends(serve, call):
    ours, theirs = Told(), Told()
    server = serve(ours.handlers(), require_called_aet=True)
    assoc = call(server, theirs.handlers(), title="OTHER")
    course = ["CONN_OPEN", "REQUESTED", "REJECTED", "CONN_CLOSE"]
    assert ours.until(evt.EVT_CONN_CLOSE) == course
    assert theirs.until(evt.EVT_CONN_CLOSE) == course
    assert assoc.is_rejected
    assert ours.events[2].assoc.is_rejected
    assert not assoc.is_established
    assert (assoc.error.result, assoc.error.source, assoc.error.reason) == (1, 1, 7)


@pytest.mark.parametrize("who", ["requestor", "acceptor"])
def test_an_abort_is_told_at_both_ends(serve, call, who):
    ours, theirs = Told(), Told()
    assoc = call(serve(ours.handlers()), theirs.handlers())
    ours.until(evt.EVT_ESTABLISHED)
    (assoc if who == "requestor" else ours.events[0].assoc).abort()
    course = ["CONN_OPEN", "REQUESTED", "ACCEPTED", "ESTABLISHED", "ABORTED", "CONN_CLOSE"]
    assert ours.until(evt.EVT_CONN_CLOSE) == course
    assert theirs.until(evt.EVT_CONN_CLOSE) == course
    assert assoc.is_aborted
    assert ours.events[0].assoc.is_aborted


def test_a_connection_without_a_request_is_opened_and_closed(serve, connect):
    told = Told()
    server = serve(told.handlers())
    client = connect(server.server_address[1])
    told.until(evt.EVT_CONN_OPEN)
    client.close()
    names = told.until(evt.EVT_CONN_CLOSE)
    assert (names[0], names[-1]) == ("CONN_OPEN", "CONN_CLOSE")
    assert "ESTABLISHED" not in names
    assert "REQUESTED" not in names


def test_a_connection_that_does_not_come_about_is_told_as_aborted_alone(call, free_port):
    told = Told()
    assoc = call(free_port, told.handlers())
    assert told.names() == ["ABORTED"]
    assert assoc.is_aborted
    assert not assoc.is_established


def test_a_peer_that_just_goes_is_told_as_aborted(serve, connect):
    told = Told()
    client = connect(serve(told.handlers()).server_address[1])
    client.associate()
    client.close()
    assert told.until(evt.EVT_CONN_CLOSE)[-2:] == ["ABORTED", "CONN_CLOSE"]


@pytest.mark.interop
@pytest.mark.parametrize("program", ["echoscu", "pynetdicom"])
def test_other_peers_go_through_the_same_course(serve, peer, program):
    told = Told()
    server = serve(told.handlers())
    port = server.server_address[1]
    if program == "echoscu":
        subprocess.run([peer(program), LOCAL, str(port)], check=True, timeout=PATIENCE)
    else:
        entity = peer(program).AE()
        entity.add_requested_context(VERIFICATION)
        assoc = entity.associate(LOCAL, port)
        assoc.release()
    assert told.until(evt.EVT_CONN_CLOSE) == ACCEPTOR


# -- what they carry


def test_events_carry_their_association_address_and_time(serve, call):
    ours, theirs = Told(), Told()
    server = serve(ours.handlers())
    assoc = call(server, theirs.handlers())
    assoc.release()
    ours.until(evt.EVT_CONN_CLOSE)
    theirs.until(evt.EVT_CONN_CLOSE)
    assert {one.assoc for one in theirs.events} == {assoc}
    (accepted,) = {one.assoc for one in ours.events}
    assert accepted.is_acceptor
    assert accepted.requestor.ae_title == "SCU"
    assert accepted.acceptor.ae_title == "SERVER"
    own = (assoc.requestor.address, assoc.requestor.port)
    assert own[0] == LOCAL
    assert (accepted.requestor.address, accepted.requestor.port) == own
    assert [one.address for one in ours.events if hasattr(one, "address")] == [own, own]
    peer = (LOCAL, server.server_address[1])
    assert [one.address for one in theirs.events if hasattr(one, "address")] == [peer, peer]
    times = [one.timestamp for one in ours.events]
    assert times == sorted(times)


def test_data_events_carry_every_byte_and_pdu_events_every_pdu(serve, connect):
    told = Told()
    server = serve(
        told.handlers([evt.EVT_DATA_RECV, evt.EVT_DATA_SENT, evt.EVT_PDU_RECV, evt.EVT_PDU_SENT, evt.EVT_CONN_CLOSE])
    )
    client = connect(server.server_address[1])
    raw = Recording(client.socket)
    client.socket = raw
    accepted = client.associate()
    client.release()
    told.until(evt.EVT_CONN_CLOSE)
    assert b"".join(one.data for one in told.of(evt.EVT_DATA_RECV)) == bytes(raw.sent)
    assert b"".join(one.data for one in told.of(evt.EVT_DATA_SENT)) == bytes(raw.received)
    assert [one.pdu for one in told.of(evt.EVT_PDU_SENT)] == [accepted, ReleaseRP()]
    assert b"".join(one.pdu.encode() for one in told.of(evt.EVT_PDU_RECV)) == bytes(raw.sent)


class Recording:
    """A socket, and what went through it."""

    def __init__(self, sock) -> None:
        self.socket = sock
        self.sent, self.received = bytearray(), bytearray()

    def sendall(self, data) -> None:
        self.sent += data
        self.socket.sendall(data)

    def recv(self, count) -> bytes:
        data = self.socket.recv(count)
        self.received += data
        return data

    def __getattr__(self, name):
        return getattr(self.socket, name)


def test_pdus_that_come_a_byte_at_a_time_are_told_when_they_are_whole(serve, connect):
    told = Told()
    server = serve(told.handlers([evt.EVT_PDU_RECV, evt.EVT_CONN_CLOSE]))
    client = connect(server.server_address[1])
    whole, client.send = client.send, lambda data: [whole(bytes((byte,))) for byte in data]
    client.associate()
    client.release()
    told.until(evt.EVT_CONN_CLOSE)
    assert [type(one.pdu) for one in told.of(evt.EVT_PDU_RECV)] == [AssociateRQ, ReleaseRQ]


def test_an_invalid_pdu_ends_the_telling_and_not_the_worker(serve, connect):
    told = Told()
    server = serve(told.handlers([*COURSE, evt.EVT_PDU_RECV, evt.EVT_PDU_SENT]))
    client = connect(server.server_address[1])
    client.associate()
    client.send(b"\x99\0\0\0\0\4abcd")
    assert isinstance(client.receive(), Abort)
    client.close()
    told.until(evt.EVT_CONN_CLOSE)
    assert [type(one.pdu) for one in told.of(evt.EVT_PDU_RECV)] == [AssociateRQ]
    assert [type(one.pdu) for one in told.of(evt.EVT_PDU_SENT)] == [AssociateAC, Abort]
    assert told.of(evt.EVT_ABORTED)


def test_rejections_and_aborts_are_pdus_too(serve, call):
    theirs = Told()
    call(serve(require_called_aet=True), theirs.handlers([evt.EVT_PDU_RECV, evt.EVT_PDU_SENT]), title="OTHER")
    assert [type(one.pdu) for one in theirs.events] == [AssociateRQ, AssociateRJ]
    theirs = Told()
    call(serve(), theirs.handlers([evt.EVT_PDU_RECV, evt.EVT_PDU_SENT])).abort()
    assert [type(one.pdu) for one in theirs.events] == [AssociateRQ, AssociateAC, Abort]


def test_dimse_events_carry_command_sets(serve, call):
    """Cancels and pending responses included."""
    ours, theirs = Told(), Told()

    def find(event):
        yield 0xFF00, query()
        patience = time.monotonic() + PATIENCE
        while not event.is_cancelled:
            assert time.monotonic() < patience
            os.sched_yield()
        yield 0xFE00, None

    events = [evt.EVT_DIMSE_RECV, evt.EVT_DIMSE_SENT]
    assoc = call(serve([*ours.handlers(events), (evt.EVT_C_FIND, find)]), theirs.handlers(events))
    answers = assoc.send_c_find(query(), FIND, msg_id=7)
    next(answers)
    assoc.send_c_cancel(7, query_model=FIND)
    list(answers)
    assoc.release()

    def course(told):
        return [
            (one.event.name[-4:], one.message.context_id, one.message.command_set.CommandField) for one in told.events
        ]

    assert course(theirs) == [("SENT", 3, 0x0020), ("RECV", 3, 0x8020), ("SENT", 3, 0x0FFF), ("RECV", 3, 0x8020)]
    assert course(ours) == [("RECV", 3, 0x0020), ("SENT", 3, 0x8020), ("RECV", 3, 0x0FFF), ("SENT", 3, 0x8020)]
    request = theirs.events[0].message.command_set
    assert (request.AffectedSOPClassUID, request.MessageID, request.Priority) == (FIND, 7, 2)
    assert request.CommandDataSetType != 0x0101
    cancel = ours.events[2].message.command_set
    assert (cancel.MessageIDBeingRespondedTo, cancel.CommandDataSetType) == (7, 0x0101)
    assert ours.events[3].message.command_set.Status == 0xFE00


# -- binding


def test_the_names_are_those_of_the_ecosystem(peer):
    """And tell or ask as there; pynetdicom's alone are those of its own insides."""
    theirs = peer("pynetdicom").evt
    for one in EVERY:
        other = getattr(theirs, one.name)
        assert (other.is_intervention, other.is_notification) == (one.is_intervention, one.is_notification)
        assert str(one) == one.name
        assert one.description
    names = {name for name in vars(theirs) if name.startswith("EVT_")}
    assert names - {one.name for one in EVERY} == {"EVT_FSM_TRANSITION", "EVT_ACSE_RECV", "EVT_ACSE_SENT"}


def test_handlers_of_a_notification_are_called_in_the_order_of_binding_each_once(serve, call):
    heard = []
    first, second = (lambda _: heard.append(1)), (lambda _: heard.append(2))
    bound = [(evt.EVT_ESTABLISHED, first), (evt.EVT_ESTABLISHED, second), (evt.EVT_ESTABLISHED, first)]
    call(serve(), bound)
    assert heard == [1, 2]


def test_the_last_handler_of_an_intervention_is_the_one(serve, call):
    server = serve([(evt.EVT_C_ECHO, lambda _: 0x0122), (evt.EVT_C_ECHO, lambda _: 0x0210)])
    assert call(server).send_c_echo().Status == 0x0210
    server.bind(evt.EVT_C_ECHO, lambda _: 0x0211)
    assert call(server).send_c_echo().Status == 0x0211


def test_further_arguments_follow_the_event(serve, call):
    heard = []
    server = serve([(evt.EVT_C_ECHO, lambda event, *rest: heard.append(rest) or 0x0000, ["one", 2])])
    assoc = call(server, [(evt.EVT_ESTABLISHED, lambda event, what: heard.append(what), ["established"])])
    assert assoc.send_c_echo().Status == 0x0000
    assert heard == ["established", ("one", 2)]
    server.bind(evt.EVT_C_ECHO, lambda event, number: number, [0x0122])
    assert assoc.send_c_echo().Status == 0x0122


def test_bind_and_unbind_hold_at_once_for_associations_there_are_and_will_be(serve, call):
    server = serve()
    there = call(server)
    assert there.send_c_echo().Status == 0x0000
    handler = lambda _: 0x0122  # noqa: E731
    server.bind(evt.EVT_C_ECHO, handler)
    assert server.get_events() == [evt.EVT_C_ECHO]
    assert there.send_c_echo().Status == 0x0122
    assert call(server).send_c_echo().Status == 0x0122
    server.unbind(evt.EVT_C_ECHO, handler)
    assert server.get_events() == []
    assert there.send_c_echo().Status == 0x0000
    assert call(server).send_c_echo().Status == 0x0000
    server.unbind(evt.EVT_C_ECHO, handler)  # nothing happens


def test_an_association_has_handlers_of_its_own(serve, call):
    """Bound to one, by whoever holds it: the others of its server do not have it."""
    handler = lambda _: 0x0122  # noqa: E731
    server = serve()
    first, second = call(server), call(server)
    told = Told()
    server.bind(evt.EVT_DIMSE_RECV, told)
    bound = []

    def bind(event):
        if not bound:
            event.assoc.bind(evt.EVT_C_ECHO, handler)
            bound.append(event.assoc)
        return 0x0000

    server.bind(evt.EVT_C_ECHO, bind)
    assert first.send_c_echo().Status == 0x0000
    assert first.send_c_echo().Status == 0x0122
    assert second.send_c_echo().Status == 0x0000
    bound[0].unbind(evt.EVT_C_ECHO, handler)
    assert first.send_c_echo().Status == 0x0000
    assert evt.EVT_C_ECHO in server.get_events()


def test_a_message_event_bound_later_is_told(serve, call):
    server = serve()
    assoc = call(server)
    assoc.send_c_echo()
    ours, theirs = Told(), Told()
    server.bind(evt.EVT_DIMSE_RECV, ours)
    assoc.bind(evt.EVT_DIMSE_RECV, theirs)
    assoc.send_c_echo()
    assert (ours.names(), theirs.names()) == (["DIMSE_RECV"], ["DIMSE_RECV"])


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ((evt.EVT_C_ECHO,), r"evt_handlers\[0\]"),
        (evt.EVT_C_ECHO, "no event"),
        (("EVT_C_ECHO", print), "is no event"),
        ((evt.EVT_C_ECHO, "print"), "cannot be called"),
        ((evt.EVT_C_ECHO, None), "cannot be called"),
        (("x", print, [], 1), r"evt_handlers\[0\]"),
    ],
)
def test_what_is_no_handler_is_a_type_error_that_says_so(serve, call, entry, rule):
    with pytest.raises(TypeError, match=rule):
        serve([entry])
    with pytest.raises(TypeError, match=rule):
        call(1, [entry])


def test_coroutine_functions_are_refused(serve):
    async def handle(event):
        return 0x0000

    with pytest.raises(TypeError, match="coroutine"):
        serve([(evt.EVT_C_ECHO, handle)])


# -- handlers that raise, and handlers that end the association


@pytest.mark.parametrize("event", TELLING, ids=str)
def test_what_a_notification_handler_raises_is_logged_and_harmless(serve, call, log, event):
    """At either end, and the handlers after it are told as well."""

    def raises(_):
        raise ZeroDivisionError("the handler's own fault")

    ours, theirs = Told(), Told()
    everything = [evt.EVT_CONN_CLOSE, event]
    server = serve([(event, raises), *ours.handlers(everything)], require_called_aet=True)
    assoc = call(server, [(event, raises), *theirs.handlers(everything)])
    assert assoc.send_c_echo().Status == 0x0000
    if event is evt.EVT_ABORTED:
        assoc.abort()
    else:
        assoc.release()
    ours.until(evt.EVT_CONN_CLOSE)
    theirs.until(evt.EVT_CONN_CLOSE)
    if event is evt.EVT_REJECTED:
        call(server, [(event, raises), *theirs.handlers(everything)], title="OTHER")
        ours.until(evt.EVT_CONN_CLOSE, 2)
    assert ours.of(event)
    assert theirs.of(event)
    lines = [line for line in log() if "ZeroDivisionError: the handler's own fault" in line]
    for told in (ours, theirs):
        identity = told.of(event)[0].assoc.association_id
        assert any(f"the handler of evt.{event} raised id='{identity}'" in line for line in lines)


A_LONG_WAIT = 1.5  # seconds


@pytest.fixture
def soon(monkeypatch):
    """Whether nobody waited for the end of the association in the thread that would have to bring it about."""
    monkeypatch.setattr(association, "_SECONDS_TO_END", A_LONG_WAIT)
    began = time.monotonic()
    return lambda: time.monotonic() - began < A_LONG_WAIT


@pytest.mark.parametrize(
    "event",
    [
        "CONN_OPEN",
        "REQUESTED",
        "PDU_RECV",
        "PDU_SENT",
        "DATA_RECV",
        "ESTABLISHED",
        "DIMSE_RECV",
        "DIMSE_SENT",
    ],
)
def test_an_acceptors_notification_handler_aborts(serve, call, soon, event, caplog):
    """The peer hears it, the end is told once, nothing is logged as a fault, and the server goes on.

    An end before anybody has asked for an association is that of the connection alone.
    """
    told = Told()
    which = getattr(evt, f"EVT_{event}")
    aborts = lambda event: event.assoc.abort()  # noqa: E731
    server = serve([*told.handlers(), (which, aborts)])
    assoc = call(server)
    if assoc.is_established:
        assert "Status" not in assoc.send_c_echo()
    assert not assoc.is_established
    assert assoc.is_aborted
    told.until(evt.EVT_CONN_CLOSE)
    assert soon()
    course = list(told.events)
    server.unbind(which, aborts)
    assert call(server).send_c_echo().Status == 0x0000
    server.shutdown(grace=0.0)  # now every worker has come to its end
    names = [one.event.name for one in told.events if one.assoc is course[0].assoc]
    assert names.count("EVT_ABORTED") == names.count("EVT_REQUESTED")
    assert (names.count("EVT_RELEASED"), names.count("EVT_CONN_CLOSE")) == (0, 1)
    assert [one for one in caplog.records if one.levelno >= logging.ERROR] == []


@pytest.mark.parametrize(
    "event",
    [
        "PDU_RECV",
        "DIMSE_RECV",
        "RELEASED",
        "ACCEPTED",
        "DIMSE_SENT",
    ],
)
def test_a_requestors_notification_handler_aborts(serve, call, soon, event):
    """The end is told once, what is asked then has no status, and nobody waits for itself."""
    theirs = Told()
    which = getattr(evt, f"EVT_{event}")
    assoc = call(serve(), [*theirs.handlers(), (which, lambda event: event.assoc.abort())])
    if assoc.is_established:
        assoc.send_c_echo()
    assoc.release()
    names = theirs.until(evt.EVT_CONN_CLOSE)
    assert names.count("ABORTED") + names.count("RELEASED") == 1
    assert not assoc.is_established
    assert soon()


@pytest.mark.parametrize(
    ("side", "what"), [("requestor", "release"), ("acceptor", "release"), ("requestor", "send_c_echo")]
)
def test_a_handler_uses_the_association_as_soon_as_it_is_told_of_it(serve, call, soon, side, what):
    done = Told()

    def use(event):
        answer = getattr(event.assoc, what)()
        if event.assoc.is_released or answer.get("Status") == 0x0000:
            done(event)

    handlers = [(evt.EVT_ESTABLISHED, use), (evt.EVT_C_ECHO, lambda _: 0x0000), (evt.EVT_RELEASED, lambda _: None)]
    impatient = {"acse_timeout": 0.3, "dimse_timeout": 0.3}
    server = serve(handlers[side == "requestor" :], **impatient)
    call(server, handlers[side == "acceptor" :], **impatient)
    done.until(evt.EVT_ESTABLISHED)
    assert soon()


@pytest.mark.parametrize("how", ["abort", "release"])
@pytest.mark.parametrize("service", ["C_ECHO", "C_FIND"])
def test_a_handler_of_a_request_ends_the_association(serve, call, soon, service, how):
    """No response follows, the end is told once, and nobody waits for itself."""
    told = Told()

    def echo(event):
        getattr(event.assoc, how)()
        return 0x0000

    def find(event):
        yield 0xFF00, query()
        getattr(event.assoc, how)()
        yield 0xFF00, query()
        told("never")

    server = serve([*told.handlers(), (evt.EVT_C_ECHO, echo), (evt.EVT_C_FIND, find)])
    assoc = call(server)
    if service == "C_ECHO":
        assert "Status" not in assoc.send_c_echo()
    else:
        assert [one.get("Status") for one, _ in assoc.send_c_find(query(), FIND)] == [0xFF00, None]
    assert not assoc.is_established
    told.until(evt.EVT_CONN_CLOSE)
    assert told.names()[-2:] == ["ABORTED" if how == "abort" else "RELEASED", "CONN_CLOSE"]
    assert (assoc.is_aborted, assoc.is_released) == (how == "abort", how == "release")
    assert soon()


@pytest.mark.parametrize("how", ["abort", "release"])
def test_an_association_is_ended_from_another_thread(serve, call, soon, how):
    """The acceptor's, by a thread of the program, while its worker waits for the peer."""
    told = Told()
    server = serve(told.handlers())
    assoc = call(server, [(evt.EVT_RELEASED, lambda _: None)])
    told.until(evt.EVT_ESTABLISHED)
    (accepted,) = server.active_associations
    getattr(accepted, how)()
    told.until(evt.EVT_CONN_CLOSE)
    assert not accepted.is_established
    assert told.names()[-2:] == ["ABORTED" if how == "abort" else "RELEASED", "CONN_CLOSE"]
    assert soon()
    patience = time.monotonic() + PATIENCE
    while assoc.is_established:
        assert time.monotonic() < patience
        os.sched_yield()


def test_release_and_abort_after_the_end_do_nothing(serve, call):
    told = Told()
    assoc = call(serve(), told.handlers())
    assoc.release()
    told.until(evt.EVT_CONN_CLOSE)
    before = told.names()
    assoc.release()
    assoc.abort()
    assert told.names() == before
    assert (assoc.is_released, assoc.is_aborted) == (True, False)
    with pytest.raises(RuntimeError, match="established"):
        assoc.send_c_echo()


def test_a_requestor_that_attends_hears_of_its_peers_release_at_once(serve, call):
    ours, theirs = Told(), Told()
    assoc = call(serve(ours.handlers()), theirs.handlers())
    ours.until(evt.EVT_ESTABLISHED)
    ours.events[0].assoc.release()
    assert theirs.until(evt.EVT_CONN_CLOSE)[-2:] == ["RELEASED", "CONN_CLOSE"]
    assert assoc.is_released
