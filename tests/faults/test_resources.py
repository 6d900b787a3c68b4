"""What a process can run out of: descriptors, threads, somebody who reads its log. The accept loop survives it all."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from scpd.wire.pdu import AssociateAC, AssociateRJ

PATIENCE = 20.0


def complaints(one) -> list[dict]:
    return [line for line in one.logs if line["event"] == "out of resources"]


def test_out_of_descriptors(daemon, connect, associate, echo, store, load, process, busy, wait_for):
    """A hundred connects: the loop lives, stays calm, says so once, and all is well when there are descriptors again."""
    one = daemon(limits={"pending_per_address": 200})
    limited = process(one)
    with load(one):
        client = associate(one)
        assert store(client, "1.2.3.1") == 0
        limited.limit("nofile", limited.descriptors[-1] + 4)
        callers = []
        for _ in range(100):
            with suppress(OSError):
                callers.append(connect(one.port))
        one.wait_for_log(lambda line: line["event"] == "out of resources")
        assert busy(limited) < 0.3
        assert echo(client) == 0
        assert store(client, "1.2.3.2") == 0xA700
        assert echo(client) == 0
        assert len(complaints(one)) == 1
        assert "Too many open files" in complaints(one)[0]["what"]
        for caller in callers:
            caller.close()
        limited.limit("nofile", 10_000)
        assert isinstance(connect(one.port).associate(), AssociateAC)
        assert store(client, "1.2.3.3") == 0
        client.release()
    assert [path.stem for path in one.stored()] == ["1.2.3.1", "1.2.3.3"]
    assert one.spool() == []


def test_stop_while_out_of_descriptors(daemon, connect, associate, process):
    one = daemon(timeouts={"shutdown": "200ms"})
    limited = process(one)
    associate(one)
    limited.limit("nofile", limited.descriptors[-1] + 3)
    for _ in range(20):
        connect(one.port)
    one.wait_for_log(lambda line: line["event"] == "out of resources")
    began = time.monotonic()
    assert one.stop() == 0
    assert time.monotonic() - began < 3
    assert not [line for line in one.lines if "Traceback" in line]


# Root has no limit on its processes: a user of the test's own, who may read and write everything but has no more rights.
USER = 54_321
AS_USER = (
    "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups",
    "--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override", "--bounding-set=-all,+dac_override",
)  # fmt: skip


@pytest.fixture
def folder_of_user():
    """Where that user may write by itself: pytest's own folders are root's."""
    with tempfile.TemporaryDirectory(prefix="scpd-faults-") as folder:
        if os.geteuid() == 0:
            os.chown(folder, USER, USER)
        yield folder


def test_out_of_threads(daemon, connect, associate, echo, load, process, busy, possible, folder_of_user):
    """Who finds no thread is closed; the loop lives, and says so once."""
    possible(os.geteuid() == 0 and shutil.which("setpriv"), "running as another user")
    one = daemon(wrap=AS_USER, storage={"directory": str(folder_of_user)})
    limited = process(one)
    with load(one):
        client = associate(one)
        limited.limit("nproc", limited.threads + 2, AS_USER)
        callers = [connect(one.port) for _ in range(30)]
        closed = [caller.is_closed_by_peer(5.0) for caller in callers[2:]]
        assert all(closed)
        assert busy(limited) < 0.3
        assert isinstance(callers[0].associate(), AssociateAC)
        assert echo(client) == 0
        assert len(complaints(one)) == 1
        assert "thread" in complaints(one)[0]["what"]
        limited.limit("nproc", 1000, AS_USER)
        assert isinstance(connect(one.port).associate(), AssociateAC)
    assert not [line for line in one.lines if "Traceback" in line]


def test_over_the_limit_of_associations_is_rejected_and_nobody_who_is_in_feels_it(daemon, connect, associate, load):
    one = daemon(limits={"associations": 5})
    with load(one):
        inside = [associate(one) for _ in range(4)]
        for _ in range(20):
            late = connect(one.port)
            assert late.associate() == AssociateRJ(2, 3, 2)
            late.close()
        inside.pop().release()
        one.associations(1)
        assert isinstance(connect(one.port).associate(), AssociateAC)
    line = one.wait_for_log(lambda line: line["event"] == "association rejected")
    assert line["key"] == "limits.associations"
    assert line["where"].startswith(str(one.config)) or line["where"] == "default"


@pytest.mark.parametrize("stream", ["a pipe that nobody reads", "a full disk", "a pipe that is closed"])
def test_a_log_that_nobody_takes_holds_nobody_up(connect, contexts, echo, free_port, tmp_path, stream):
    config = tmp_path / "scpd.yaml"
    config.write_text(
        f"bind: 127.0.0.1:{free_port}\nstorage: {{directory: {tmp_path}/store, reserve: 0}}\n"
        "timeouts: {shutdown: 0s}\nlogging: {level: debug, format: json}\n"
    )
    reader, writer = os.pipe()
    error = os.open("/dev/full", os.O_WRONLY) if "disk" in stream else writer
    process = subprocess.Popen(
        [sys.executable, "-m", "scpd", "run", str(config)], stderr=error, stdin=subprocess.DEVNULL
    )
    try:
        os.close(writer)
        if "closed" in stream:
            os.close(reader)
            reader = -1
        await_port(process, free_port)
        for _ in range(400):  # some 300 bytes each; a pipe takes 64 KiB
            with socket.create_connection(("127.0.0.1", free_port), PATIENCE) as caller:
                caller.sendall(b"\x99" * 6)
                caller.recv(10)
        client = connect(free_port)
        began = time.monotonic()
        assert isinstance(client.associate(contexts), AssociateAC)
        assert echo(client) == 0
        assert time.monotonic() - began < 1
        client.close()
        process.terminate()
        assert process.wait(5) == 0
    finally:
        process.kill()
        process.wait()
        if reader >= 0:
            os.close(reader)
        if error != writer:
            os.close(error)


def await_port(process: subprocess.Popen, port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        with suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"it ended with {process.wait(0.05)}")
    raise AssertionError("nobody listens")


def test_a_thousand_idle_associations_cost_no_processor(daemon, associate, process, busy, load):
    """A few hundred of them here: threads wait, and none looks around."""
    one = daemon(limits={"associations": 1000, "associations_per_address": 1000, "pending_per_address": 1000})
    with load(one, every=5.0):
        for _ in range(300):
            associate(one)
        assert busy(process(one)) < 0.05
    assert Path(f"/proc/{one.pid}").exists()
