"""The wall clock may jump: deadlines do not know it, and nobody's association ends early, or never."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from scpd.wire.pdu import Abort


@pytest.fixture
def shared_memory():
    """faketime leaves its shared memory behind where the process it was in is killed: what a test adds is removed."""
    folder = Path("/dev/shm")
    before = set(folder.glob("*faketime*"))
    yield
    for left in set(folder.glob("*faketime*")) - before:
        left.unlink()


@pytest.fixture
def clock(shared_memory, tmp_path, possible):
    """A daemon's environment whose wall clock is what ``set(seconds)`` says; the monotonic clock stays."""
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    possible(libraries, "moving the clock (libfaketime)")
    file = tmp_path / "clock"

    class Clock:
        env = {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

        def set(self, seconds: int) -> None:
            other = file.with_suffix(".new")
            other.write_text(f"{seconds:+d}\n")
            other.replace(file)

    one = Clock()
    one.set(0)
    return one


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_an_hour_either_way_changes_nothing_but_the_log(daemon, associate, connect, echo, store, load, clock, seconds):
    one = daemon(env=clock.env, timeouts={"idle": "2s", "artim": "1s", "message": "2s", "write": "2s"})
    with load(one):
        client = associate(one)
        silent = connect(one.port)
        began = time.monotonic()
        assert store(client, "1.2.3.1") == 0
        clock.set(seconds)
        assert echo(client) == 0
        assert store(client, "1.2.3.2") == 0
        talked = time.monotonic()
        # Neither early nor never.
        assert silent.is_closed_by_peer(5.0)
        assert 0.9 <= time.monotonic() - began < 2.5
        assert client.receive() == Abort(0, 0)
        assert 1.9 <= time.monotonic() - talked < 3.5
        client.close()
        (line,) = one.associations()
    assert "timeouts.idle" in line["ended"]
    assert 1.9 <= line["seconds"] < 6
    assert len(one.stored()) == 2
    # The clock of the log did jump, or nothing was tested here.
    jumped = datetime.fromisoformat(line["timestamp"]).replace(tzinfo=None) - datetime.now()
    assert abs(jumped - timedelta(seconds=seconds)) < timedelta(minutes=1)


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_the_grace_at_the_end_is_not_moved(daemon, associate, clock, seconds):
    one = daemon(env=clock.env, timeouts={"shutdown": "500ms"})
    client = associate(one)
    began = time.monotonic()
    one.process.terminate()
    one.wait_for_log(lambda line: line["event"] == "stopping")
    clock.set(seconds)
    assert client.receive() == Abort(0, 0)
    assert 0.5 <= time.monotonic() - began < 2
    client.close()
    assert one.wait() == 0
