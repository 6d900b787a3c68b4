"""A server as a whole: it starts, stops, drains and aborts, and leaves nothing behind."""

from __future__ import annotations

import _thread
import socket
import threading
import time
from dataclasses import replace

import pytest

from scpd.dimse.command import CEchoRQ, respond
from scpd.errors import ScpdError
from scpd.server.capacity import CapacityLimits
from scpd.services.service import Reply
from scpd.telemetry.statistics import Books
from scpd.wire.pdu import Abort, AssociateAC, ReleaseRP, ReleaseRQ

PATIENCE = 20.0
VERIFICATION = "1.2.840.10008.1.1"


def wait_until_empty(server) -> None:
    with server._changed:
        assert server._changed.wait_for(lambda: not server.state()["connections"], PATIENCE)


def test_it_knows_its_real_port_and_serves(serve, connect, told):
    server = serve()
    client = connect(server.address[1])
    assert isinstance(client.associate(), AssociateAC)
    assert server.state() == {"associations": 1, "connections": 1, "turned_away": 0}
    client.release()
    wait_until_empty(server)
    assert server.state() == {"associations": 0, "connections": 0, "turned_away": 0}
    (line,) = told.wait("association")
    assert (line["ended"], line["server"], line["log_level"]) == ("released", "test", "info")


def test_a_port_in_use_is_said_before_anything_begins(serve):
    first = serve()
    second = serve(start=False, address=first.address)
    with pytest.raises(ScpdError, match="Address already in use"):
        second.start()
    second.stop_accepting()


def test_after_stop_accepting_associations_go_on_and_others_are_refused(serve, connect):
    server = serve()
    client = connect(server.address[1])
    client.associate()
    server.stop_accepting()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.address)
    client.release()


def test_start_and_stop_at_once_many_times(serve):
    """Whichever thread is faster, nothing is left over and nothing fails."""
    for _ in range(50):
        server = serve()
        server.stop_accepting()
    names = [thread for thread in threading.enumerate() if thread.name == "listen test"]
    for thread in names:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_drain_returns_when_the_last_association_has_ended(serve, connect):
    server = serve()
    client = connect(server.address[1])
    client.associate()
    server.stop_accepting()
    drained = []
    thread = threading.Thread(target=lambda: drained.append(server.drain(time.monotonic() + PATIENCE)), daemon=True)
    thread.start()
    client.release()
    thread.join(PATIENCE)
    assert drained == [True]


def test_drain_gives_up_at_its_deadline(serve, connect):
    server = serve()
    connect(server.address[1]).associate()
    began = time.monotonic()
    assert server.drain(began + 0.2) is False
    assert 0.2 <= time.monotonic() - began < 1.0


def test_drain_of_nobody_and_of_the_past_return_at_once(serve, connect):
    server = serve()
    assert server.drain(time.monotonic() + PATIENCE) is True
    connect(server.address[1]).associate()
    assert server.drain(time.monotonic() - 1) is False


def test_abort_ends_every_association_with_an_a_abort_and_every_connection(serve, connect, told):
    server = serve()
    clients = [connect(server.address[1]) for _ in range(5)]
    for client in clients:
        client.associate()
    silent = connect(server.address[1])
    # Both ends know of it once its worker waits; an association after it is proof that it was taken.
    clients.append(connect(server.address[1]))
    clients[-1].associate()
    server.stop_accepting()
    began = time.monotonic()
    server.abort("this server is stopping")
    assert time.monotonic() - began < 1.5
    for client in clients:
        assert client.receive() == Abort(0, 0)
    assert silent.is_closed_by_peer(5.0)
    assert server.state() == {"associations": 0, "connections": 0, "turned_away": 0}
    lines = told.wait("association", 6)
    assert {line["ended"] for line in lines} == {"aborted: this server is stopping"}


def test_abort_of_nobody_returns_at_once(serve):
    server = serve()
    began = time.monotonic()
    server.abort("stopping")
    assert time.monotonic() - began < 0.5


def test_a_peer_that_is_rejected_for_room_gets_in_once_there_is_room(serve, connect, told):
    server = serve(limits=CapacityLimits(1, 1, 5, 5))
    first = connect(server.address[1])
    first.associate()
    connect(server.address[1]).associate()
    first.release()
    told.wait("association")
    assert isinstance(connect(server.address[1]).associate(), AssociateAC)


def test_silent_connections_drive_out_only_each_other(serve, connect):
    server = serve(limits=CapacityLimits(5, 5, 3, 3))
    client = connect(server.address[1])
    client.associate()
    silent = [connect(server.address[1]) for _ in range(10)]
    for one in silent[:7]:
        assert one.is_closed_by_peer(5.0)
    assert isinstance(connect(server.address[1]).associate(), AssociateAC)
    client.release()


def test_a_thread_that_cannot_be_had_costs_its_connection_only(serve, connect, told, monkeypatch):
    """The loop goes on, and says so once a minute."""
    server = serve()
    real = _thread.start_new_thread
    fails = [True]

    def start(*args, **more):
        if fails[0] and args[0] == server._work:
            raise RuntimeError("can't start new thread")
        return real(*args, **more)

    monkeypatch.setattr(_thread, "start_new_thread", start)
    for _ in range(3):
        assert connect(server.address[1]).is_closed_by_peer(5.0)
    fails[0] = False
    assert isinstance(connect(server.address[1]).associate(), AssociateAC)
    assert server.state()["connections"] == 1
    (line,) = told.wait("out of resources")
    assert "can't start new thread" in line["what"]


def test_connections_that_come_and_go_leave_nothing_behind(serve):
    server = serve(limits=CapacityLimits(5, 5, 5, 5))
    for _ in range(200):
        socket.create_connection(server.address).close()
    # The backlog is in order: once this one is served, all before it were taken.
    with socket.create_connection(server.address, PATIENCE) as last:
        last.shutdown(socket.SHUT_WR)
        assert last.recv(1) == b""
    wait_until_empty(server)
    assert not server.capacity._pending
    assert not server.capacity._pending_from


def test_who_is_there_can_be_seen_while_it_goes_on(serve, connect):
    server = serve()
    assert server.live() == []
    client = connect(server.address[1])
    client.associate()
    (live,) = server.live()
    assert (live.calling, live.called, live.message, live.messages) == ("RAW", "SCPD", "", 0)
    assert live.peer.startswith("127.0.0.1:")
    assert live.received > 0
    assert 0 <= live.seconds < PATIENCE
    client.release()
    wait_until_empty(server)
    assert server.live() == []


class Slow:
    """Verification that waits until it may go on."""

    operations = frozenset((CEchoRQ,))

    def __init__(self):
        self.at_work, self.go_on = threading.Event(), threading.Event()

    def perform(self, operation):
        self.at_work.set()
        self.go_on.wait(PATIENCE)
        return (Reply(respond(operation.request, 0)),)


def test_the_message_that_is_being_served_can_be_seen(serve, connect):
    """The name of the operation while it goes on, nothing in between."""
    slow = Slow()
    server = serve({VERIFICATION: slow})
    client = connect(server.address[1])
    client.associate()
    client.send_message(1, CEchoRQ(message_id=1, affected_sop_class_uid=VERIFICATION))
    assert slow.at_work.wait(PATIENCE)
    assert [(live.message, live.messages) for live in server.live()] == [("C-ECHO", 0)]
    slow.go_on.set()
    assert client.receive_command().status == 0
    client.release()
    wait_until_empty(server)
    counts = server.counts()
    assert counts.tally.messages == {("C-ECHO", 0): 1}
    assert sum(counts.tally.times["C-ECHO"].counts) == 1


def test_one_association_is_aborted_and_the_others_go_on(serve, connect, told):
    server = serve()
    first, second = connect(server.address[1]), connect(server.address[1])
    first.associate()
    second.associate()
    wanted = server.live()[0].association_id
    assert server.abort_one(wanted, "somebody wants it")
    assert isinstance(first.receive(), Abort)
    (line,) = told.wait("association")
    assert (line["id"], line["ended"]) == (wanted, "aborted: somebody wants it")
    assert [live.association_id for live in server.live()] != [wanted]
    second.release()
    wait_until_empty(server)
    assert not server.abort_one(wanted, "once more")


def test_what_was_counted_outlives_the_association(serve, connect):
    server = serve()
    client = connect(server.address[1])
    client.associate()
    client.release()
    wait_until_empty(server)
    counts = server.counts()
    assert counts.associations == {("RAW", "SCPD", "accepted", ""): 1}
    assert counts.ended == {"released": 1}
    assert counts.received > 150
    assert counts.sent > 100


def test_an_association_that_is_over_is_no_live_one_while_its_connection_lingers(serve, connect, told):
    server = serve()
    client = connect(server.address[1])
    client.associate()
    (live,) = server.live()
    client.send(ReleaseRQ().encode())
    assert isinstance(client.receive(), ReleaseRP)
    told.wait("association")
    assert server.live() == []
    assert not server.abort_one(live.association_id, "too late")
    assert server.state()["connections"] == 1


def test_servers_that_exchange_their_names_exchange_what_they_count_from_then_on(serve, connect):
    """What goes on counts under the name that it began with; nothing goes back, and nothing is counted twice."""
    books = Books()
    first, second = serve(name="a", books=books), serve(name="b", books=books)
    client = connect(first.address[1])
    client.associate()
    before = first.counts()
    assert second.counts().received == 0
    plans = first._plan, second._plan
    first.adopt(plans[1])
    second.adopt(plans[0])
    assert (second.counts().received, first.counts().received) == (before.received, 0)
    client.release()
    wait_until_empty(first)
    assert (second.counts().ended, first.counts().ended) == ({"released": 1}, {})
    assert second.counts().received > before.received
    again = connect(first.address[1])
    again.associate()
    assert (len(first.live()), len(second.live())) == (1, 0)
    assert [sum(one.counts().associations.values()) for one in (first, second)] == [1, 1]


def test_an_accept_loop_that_stands_still_is_noticed(serve, connect):
    """It answers a sign of life at once; one that hangs in what it calls owes it ever longer."""
    server = serve()
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(*_):
        hangs.set()
        goes_on.wait(PATIENCE)
        return ""

    server._plan = server._plan._replace(terms=replace(server._plan.terms, turns_away=hang))
    assert server.silence() == 0.0
    socket.create_connection(server.address).close()
    assert hangs.wait(PATIENCE)
    server.silence()
    owed = server.silence()
    assert 0 < owed < server.silence()
    goes_on.set()
    deadline = time.monotonic() + PATIENCE
    gap = threading.Event()
    while server.silence() and time.monotonic() < deadline:
        gap.wait(0.01)
    assert server.silence() < 1.0


def test_a_sign_of_life_leaves_the_accept_loop_asleep(serve):
    """However often it is asked for: no byte of the asking stays behind and keeps the loop busy."""
    server = serve()
    for _ in range(200):
        server.silence()
        socket.create_connection(server.address).close()
    wait_until_empty(server)
    gap = threading.Event()
    gap.wait(0.05)
    before = time.process_time()
    gap.wait(0.3)
    assert time.process_time() - before < 0.15
