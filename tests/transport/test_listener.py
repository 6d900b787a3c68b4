"""Listening: the accept loop survives everything, stops when told, and says clearly why it cannot begin."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from scpd.errors import ScpdError
from scpd.transport.listener import Listener

PATIENCE = 20.0


@contextmanager
def serving(listener: Listener, take=None):
    """The listener's loop in a thread; gives the list of what it took, and how to wait for so many."""
    taken: list = []
    changed = threading.Condition()

    def keep(sock, address):
        with changed:
            taken.append((sock, address))
            changed.notify_all()

    def wait(count):
        with changed:
            assert changed.wait_for(lambda: len(taken) >= count, PATIENCE)

    thread = threading.Thread(target=listener.serve, args=(take or keep, lambda _: None), daemon=True)
    thread.start()
    try:
        yield taken, wait
    finally:
        listener.stop()
        thread.join(PATIENCE)
        listener.close()
        for sock, _ in taken:
            sock.close()
        assert not thread.is_alive(), "stop did not wake the loop"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_every_connection_is_handed_over_with_its_address(host):
    listener = Listener((host, 0))
    with serving(listener) as (taken, wait), socket.create_connection(listener.address) as client:
        wait(1)
        assert [address for _, address in taken] == [client.getsockname()[:2]]


def test_a_peer_of_ipv4_is_told_as_one_where_it_comes_to_a_socket_of_both():
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as both:
        listener = Listener(both)
        with (
            serving(listener) as (taken, wait),
            socket.create_connection(("127.0.0.1", both.getsockname()[1])) as client,
        ):
            wait(1)
            assert [address for _, address in taken] == [client.getsockname()]


def test_a_gone_peer_is_found_by_the_system_and_small_pdus_do_not_wait():
    """What the listener's socket has set, each connection has."""
    listener = Listener(("127.0.0.1", 0))
    with serving(listener) as (taken, wait), socket.create_connection(listener.address):
        wait(1)
        sock, _ = taken[0]
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 120
        assert 0 < sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 300_000


def test_port_0_gives_the_real_port():
    listener = Listener(("127.0.0.1", 0))
    host, port = listener.address
    listener.close()
    assert host == "127.0.0.1"
    assert port > 0


def test_stop_wakes_a_waiting_loop():
    with serving(Listener(("127.0.0.1", 0))):
        pass  # leaving stops it, and checks that it ended


def test_stop_before_the_loop_began_is_not_lost():
    listener = Listener(("127.0.0.1", 0))
    listener.stop()
    listener.serve(lambda *_: pytest.fail("it took a connection"), lambda _: None)
    listener.close()


def test_a_loop_that_begins_after_stop_and_close_just_ends():
    """A server that is stopped in the moment it starts: the thread may come later than the close."""
    listener = Listener(("127.0.0.1", 0))
    listener.stop()
    listener.close()
    listener.serve(lambda *_: None, lambda _: None)


def test_after_the_close_the_port_is_free_and_peers_are_refused():
    listener = Listener(("127.0.0.1", 0))
    address = listener.address
    with serving(listener):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    Listener(address).close()


def test_an_inherited_socket_is_served_with_our_options_and_stays_open_for_others():
    """As systemd keeps it open: who connects while nobody serves it waits, and is refused by nobody."""
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        address = inherited.getsockname()
        for _ in range(2):
            with socket.create_connection(address) as client:
                listener = Listener(inherited)
                assert listener.address == address
                with serving(listener) as (taken, wait):
                    wait(1)
                    sock, peer = taken[0]
                    assert peer == client.getsockname()
                    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_an_inherited_socket_may_have_any_backlog_and_does_not_block_the_loop():
    """Another process may take a connection first, or the peer be gone: accepting then would wait, and stop with it."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as inherited:
        inherited.setblocking(True)
        listener = Listener(inherited)
        assert not listener._socket.getblocking()
        assert listener._socket.get_inheritable() is False
        with serving(listener):
            pass


def test_a_port_in_use_is_said_in_a_sentence():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ScpdError, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use"):
            Listener(("127.0.0.1", port))


def test_an_address_that_is_not_ours_is_said_in_a_sentence():
    with pytest.raises(ScpdError, match=r"cannot listen on 192\.0\.2\.1:0: Cannot assign requested address"):
        Listener(("192.0.2.1", 0))


def test_connections_that_are_reset_in_the_backlog_do_not_end_the_loop():
    listener = Listener(("127.0.0.1", 0))
    for _ in range(50):
        client = socket.create_connection(listener.address)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    greeted = []

    def greet(sock, _address):
        with sock:
            greeted.append(sock.send(b"hello"))

    with serving(listener, greet), socket.create_connection(listener.address, PATIENCE) as client:
        assert client.recv(5) == b"hello"


# Descriptors run out in a process of its own. It tells what happens, one JSON line each, and does as it is told.
_SCARCE = """
import json, os, resource, sys, threading, time
from scpd.transport.listener import Listener

kept = []
listener = Listener(("127.0.0.1", 0))

def tell(**facts):
    sys.stdout.write(json.dumps(facts) + "\\n")
    sys.stdout.flush()

def take(sock, address):
    kept.append(sock)
    tell(event="taken", port=address[1])

def scarce(error):
    tell(event="scarce", errno=error.errno, what=error.strerror)

spare = os.open(os.devnull, os.O_RDONLY)
os.close(spare)
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (spare + 3, hard))
tell(event="listening", port=listener.address[1])
thread = threading.Thread(target=listener.serve, args=(take, scarce), daemon=True)
thread.start()
for line in sys.stdin:
    if line == "free\\n":
        while kept:
            kept.pop().close()
        tell(event="freed", cpu=time.process_time())
    elif line == "cpu\\n":
        tell(event="cpu", cpu=time.process_time())
listener.stop()
thread.join(10)
tell(event="ended", alive=thread.is_alive())
"""


class Scarce:
    """That process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SCARCE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def until(self, event: str) -> tuple[dict, list[dict]]:
        """What it tells up to ``event``, and that."""
        before = []
        for line in self.process.stdout:
            told = json.loads(line)
            if told["event"] == event:
                return told, before
            before.append(told)
        raise AssertionError(f"no {event}: it ended with {self.process.wait()}")

    def order(self, what: str) -> None:
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()


@pytest.fixture
def scarce():
    one = Scarce()
    yield one
    one.process.stdin.close()
    one.process.kill()
    one.process.wait()
    one.process.stdout.close()


def test_out_of_descriptors_the_loop_turns_peers_away_stays_calm_and_recovers(scarce):
    port = scarce.until("listening")[0]["port"]
    clients = [socket.create_connection(("127.0.0.1", port), PATIENCE) for _ in range(12)]
    try:
        told, before = scarce.until("scarce")
        assert told["what"] == "Too many open files"
        served = len([one for one in before if one["event"] == "taken"])
        assert served == 3
        # The spare descriptor is spent on telling the next in line, again and again.
        assert clients[served].recv(1) == b""
        assert clients[served + 1].recv(1) == b""
        scarce.order("cpu")
        began, _ = scarce.until("cpu")
        assert clients[-1].recv(1) == b""
        scarce.order("cpu")
        ended, _ = scarce.until("cpu")
        assert ended["cpu"] - began["cpu"] < 0.2
        scarce.order("free")
        scarce.until("freed")
        with socket.create_connection(("127.0.0.1", port), PATIENCE):
            scarce.until("taken")
    finally:
        for client in clients:
            client.close()
    scarce.process.stdin.close()
    assert scarce.until("ended")[0]["alive"] is False
