"""What signals do to a daemon, and what becomes of those that it serves meanwhile."""

from __future__ import annotations

import signal
import socket
import threading
import time
from contextlib import suppress

import pytest

from scpd.wire.pdu import Abort, AssociateAC, DataTF, PresentationDataValue


def stopping(line) -> bool:
    return line["event"] == "stopping"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_with_nobody_there_it_stops_at_once_and_in_order(daemon, number):
    one = daemon()
    began = time.monotonic()
    one.send_signal(number)
    assert one.wait() == 0
    assert time.monotonic() - began < 2
    assert [line["event"] for line in one.logs[-2:]] == ["stopping", "stopped"]
    assert one.logs[-2]["associations"] == 0


def test_an_idle_association_gets_the_grace_and_then_an_a_abort(daemon, connect):
    one = daemon(timeouts={"shutdown": "300ms"})
    client = connect(one.port)
    client.associate()
    began = time.monotonic()
    one.send_signal(signal.SIGTERM)
    assert client.receive() == Abort(0, 0)
    assert 0.3 <= time.monotonic() - began < 2
    client.close()
    assert one.wait() == 0
    (line,) = one.associations()
    assert line["ended"] == "aborted: this server is stopping"


def test_an_association_that_ends_within_the_grace_ends_in_its_own_way(daemon, connect, contexts, store):
    one = daemon(timeouts={"shutdown": "20s"})
    port = one.port
    client = connect(port)
    client.associate(contexts)
    one.send_signal(signal.SIGTERM)
    one.wait_for_log(stopping)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    assert store(client, "1.2.3.4.5") == 0
    began = time.monotonic()
    client.release()
    assert one.wait() == 0
    assert time.monotonic() - began < 2
    assert len(one.stored()) == 1
    (line,) = one.associations()
    assert line["ended"] == "released"


def test_a_second_sigterm_aborts_at_once(daemon, connect):
    one = daemon(timeouts={"shutdown": "10m"})
    client = connect(one.port)
    client.associate()
    one.send_signal(signal.SIGTERM)
    one.wait_for_log(stopping)
    began = time.monotonic()
    one.send_signal(signal.SIGTERM)
    assert client.receive() == Abort(0, 0)
    client.close()
    assert one.wait() == 0
    assert time.monotonic() - began < 2


def test_no_grace_aborts_at_once(daemon, connect):
    one = daemon(timeouts={"shutdown": "0s"})
    client = connect(one.port)
    client.associate()
    one.send_signal(signal.SIGTERM)
    assert client.receive() == Abort(0, 0)
    client.close()
    assert one.wait() == 0


def test_peers_that_do_not_close_their_connection_do_not_hold_up_the_end(daemon, connect):
    one = daemon(timeouts={"shutdown": "200ms", "artim": "10m"})
    clients = [connect(one.port) for _ in range(5)]
    for client in clients[:3]:
        client.associate()
    began = time.monotonic()
    assert one.stop() == 0
    assert time.monotonic() - began < 2


def test_an_instance_half_received_at_the_end_is_neither_seen_nor_left_behind(daemon, connect, contexts, begin_store):
    one = daemon(timeouts={"shutdown": "200ms"})
    client = connect(one.port)
    client.associate(contexts)
    begin_store(client, "1.2.3.4.5")
    one.send_signal(signal.SIGTERM)
    assert client.receive() == Abort(0, 0)
    client.close()
    assert one.wait() == 0
    assert one.stored() == []
    assert one.spool() == []


def test_a_peer_that_streams_without_end_does_not_hold_up_the_end(daemon, connect, contexts, begin_store):
    """Bytes come faster than they are stored: there is never a moment with nothing to read."""
    one = daemon(timeouts={"shutdown": "300ms"}, storage={"durability": "none"}, limits={"data_set": "2GiB"})
    clients = [connect(one.port) for _ in range(2)]
    flood = DataTF((PresentationDataValue(3, False, False, bytes(16000)),)).encode() * 64

    def stream(client) -> None:
        with suppress(OSError):
            while True:
                client.send(flood)

    threads = []
    for number, client in enumerate(clients):
        client.associate(contexts)
        begin_store(client, f"1.2.3.4.{number}")
        threads.append(threading.Thread(target=stream, args=(client,), daemon=True))
    for thread in threads:
        thread.start()
    began = time.monotonic()
    assert one.stop() == 0
    assert time.monotonic() - began < 2
    for thread in threads:
        thread.join(20)
    assert one.stored() == []
    assert one.spool() == []
    assert {line["ended"] for line in one.associations(2)} == {"aborted: this server is stopping"}


def test_sigusr1_tells_the_state_of_each_server(daemon, connect):
    one = daemon(
        servers=[{"name": "a", "bind": "127.0.0.1:0"}, {"name": "b", "bind": "127.0.0.1:0"}],
    )
    client = connect(one.port_of("b"))
    client.associate()
    one.send_signal(signal.SIGUSR1)
    lines = one.wait_for_logs(lambda line: line["event"] == "state", 2)
    assert [(line["server"], line["associations"], line["connections"]) for line in lines] == [("a", 0, 0), ("b", 1, 1)]
    client.release()
    assert one.stop() == 0


def test_no_signal_is_lost_that_follows_close_upon_another(daemon):
    """The system may give the second to any thread of the process; it must wake the one that acts on it."""
    one = daemon()
    for number in range(1, 31):
        one.send_signal(signal.SIGUSR1)
        one.send_signal(signal.SIGHUP)
        one.wait_for_logs(lambda line: line["event"] == "reloaded", number, timeout=3)
        one.wait_for_logs(lambda line: line["event"] == "state", number, timeout=3)


def test_sighup_ends_nothing(daemon, connect, echo, contexts):
    one = daemon()
    client = connect(one.port)
    client.associate(contexts)
    one.send_signal(signal.SIGHUP)
    one.wait_for_log(lambda line: line["event"] == "reloaded")
    assert echo(client) == 0
    assert isinstance(connect(one.port).associate(), AssociateAC)


def test_many_signals_at_once_end_it_once(daemon):
    one = daemon()
    for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
        one.send_signal(number)
    assert one.wait(5) == 0
    assert not any("Traceback" in line for line in one.lines)
