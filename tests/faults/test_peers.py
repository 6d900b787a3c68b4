"""Peers that vanish, stop, or do not read: what they hold is given back in time."""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from scpd.dimse.command import CEchoRQ
from scpd.wire.pdu import AssociateAC, AssociateRJ

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
TCP_REPAIR = 19  # tcp(7): a socket in repair mode is closed without a word


def vanish(client) -> None:
    """Be gone as after a power cut: no FIN, no RST."""
    client.socket.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    client.socket.close()


@pytest.fixture(scope="module")
def vanishing(possible) -> None:
    with socket.socket() as one:
        try:
            one.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
            one.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 0)
        except OSError:
            possible(False, "closing a connection without a word (TCP_REPAIR)")


@pytest.mark.usefixtures("vanishing")
def test_the_place_of_a_peer_that_vanished_is_free_after_the_idle_time(daemon, connect, associate, load):
    one = daemon(timeouts={"idle": "1s"}, limits={"associations": 2})
    with load(one):
        gone = associate(one)
        vanish(gone)
        began = time.monotonic()
        assert connect(one.port).associate() == AssociateRJ(2, 3, 2)
        (line,) = one.associations()
        assert 0.5 < time.monotonic() - began < 2
        assert isinstance(connect(one.port).associate(), AssociateAC)
    assert "timeouts.idle" in line["ended"]


@pytest.mark.usefixtures("vanishing")
def test_an_instance_of_a_peer_that_vanished_is_dropped_after_the_message_time(
    daemon, associate, begin_store, load, wait_for
):
    one = daemon(timeouts={"message": "1s"})
    with load(one):
        gone = associate(one)
        begin_store(gone, "1.2.3.4.5")
        wait_for(one.spool)
        vanish(gone)
        (line,) = one.associations()
        wait_for(lambda: not one.spool())
    assert "timeouts.message" in line["ended"]
    assert one.stored() == []


def test_a_peer_that_never_reads_is_closed_after_the_write_time(daemon, associate, load):
    """Echoes without end, and no answer ever taken.

    With the system's own buffer: one so small that it overflows drops the acknowledgements too,
    and then it is the peer that cannot send.
    """
    one = daemon(timeouts={"write": "1s"})
    with load(one):
        client = associate(one)
        kept: list[bytes] = []
        real, client.send = client.send, kept.append
        client.send_message(1, CEchoRQ(message_id=1, affected_sop_class_uid=VERIFICATION))
        burst = kept[0] * 1000
        client.socket.settimeout(3.0)
        with suppress(TimeoutError, ConnectionError):
            for _ in range(300):
                real(burst)
        line = one.wait_for_log(lambda line: line["event"] == "association", timeout=10)
    assert "timeouts.write" in line["ended"]


def part_10(uid: str) -> bytes:
    """All of a file before its data set (PS3.10 7.1)."""
    texts = ((0x0002, CT), (0x0003, uid), (0x0010, IMPLICIT), (0x0012, "1.2.3"))
    padded = [(number, text.encode() + b"\0" * (len(text) & 1)) for number, text in texts]
    meta = b"\x02\0\x01\0OB\0\0\x02\0\0\0\0\x01"
    meta += b"".join(struct.pack("<HH2sH", 2, number, b"UI", len(raw)) + raw for number, raw in padded)
    return bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta)) + meta


@pytest.fixture
def sender(tmp_path, data_set):
    """``scpd send`` of one large instance, in a process of its own."""
    processes = []
    uid, pixels = "1.2.3.4.5", 150_000_000
    path = tmp_path / "large.dcm"
    path.write_bytes(part_10(uid) + data_set(uid, pixels))

    def start(one) -> subprocess.Popen:
        command = [sys.executable, "-m", "scpd", "send", f"127.0.0.1:{one.port}", str(path)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return processes[-1]

    start.instance = uid, pixels
    yield start
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait()
        process.stdout.close()


def stop_half_way(one, process, wait_for) -> int:
    """SIGSTOP while its instance arrives; the bytes that had come when nothing moved any more."""
    wait_for(lambda: any(path.stat().st_size > 1_000_000 for path in one.spool()))
    process.send_signal(signal.SIGSTOP)
    seen = [0]

    def still() -> bool:
        seen.append(sum(path.stat().st_size for path in one.spool()))
        return len(seen) > 20 and len(set(seen[-20:])) == 1

    wait_for(still)
    return seen[-1]


def test_a_sender_that_is_stopped_half_way_ends_at_the_message_time(daemon, sender, load, wait_for):
    one = daemon(timeouts={"message": "1s"}, storage={"durability": "none"})
    with load(one):
        process = sender(one)
        assert 0 < stop_half_way(one, process, wait_for) < sender.instance[1]
        (line,) = one.associations()
        wait_for(lambda: not one.spool())
        process.send_signal(signal.SIGCONT)
        assert process.wait(20) == 1
    assert "timeouts.message" in line["ended"]
    assert one.stored() == []


def test_a_sender_that_is_stopped_and_goes_on_in_time_is_served_as_if_nothing_was(
    daemon, sender, load, wait_for, is_whole
):
    one = daemon(timeouts={"message": "20s"}, storage={"durability": "none"})
    with load(one):
        process = sender(one)
        assert 0 < stop_half_way(one, process, wait_for) < sender.instance[1]
        process.send_signal(signal.SIGCONT)
        assert process.wait(20) == 0, process.stdout.read()
    (path,) = one.stored()
    assert is_whole(path, *sender.instance)
    assert one.spool() == []
