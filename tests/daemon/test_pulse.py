"""The process looks after itself: what stands still is told, and systemd hears no life sign from a stuck accept loop."""

from __future__ import annotations

import io
import socket
import threading
import time
from dataclasses import replace

import pytest
import yaml

from scpd.config import load
from scpd.daemon import overview as overview_module
from scpd.daemon import pulse as pulse_module
from scpd.daemon import watch as watch_module
from scpd.daemon.build import Parts
from scpd.daemon.fleet import Fleet
from scpd.daemon.overview import Overview, Situation
from scpd.daemon.pulse import Pulse
from scpd.daemon.systemd import Notifier
from scpd.telemetry.sink import Sink

PATIENCE = 20.0


class Log:
    """The lines, as data."""

    def __init__(self):
        self.lines = []

    def error(self, event, **facts):
        self.lines.append((event, facts))

    warning = error


@pytest.fixture
def systemd(tmp_path):
    """Where a daemon's life signs arrive."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        yield sock


def heard(sock) -> list[str]:
    lines = []
    while True:
        try:
            lines += sock.recv(4096).decode().splitlines()
        except BlockingIOError:
            return lines


@pytest.fixture
def running(tmp_path, systemd, monkeypatch):
    """The parts of a daemon with one server, and its pulse, which beats whenever it is asked to."""
    monkeypatch.setattr(watch_module, "_BETWEEN_LOOKS", 0.02)
    monkeypatch.setattr(pulse_module, "_BETWEEN_BEATS", 0.0)
    path = tmp_path / "scpd.yaml"
    path.write_text(f"bind: '127.0.0.1:0'\nstorage: {{directory: {tmp_path}/store, reserve: 0}}\n")
    config = load(path)
    parts = Parts(config)
    situation = Situation(config, parts, Fleet(), Sink(io.StringIO(), str))
    situation.fleet.man(parts.posts)
    situation.watch.keep(parts.stores.values())
    situation.state = "serving"
    log = Log()
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    yield situation, Pulse(situation, Overview(situation, None), notifier, None, log), log
    situation.fleet.stop_accepting()
    situation.fleet.abort("the test is over")
    situation.watch.close()
    parts.close()


def test_a_beat_of_a_healthy_process_is_a_life_sign_and_a_status(running, systemd):
    _, pulse, log = running
    pulse.beat()
    assert heard(systemd) == ["WATCHDOG=1", "STATUS=serving, 0 associations"]
    assert log.lines == []


def test_a_stuck_accept_loop_is_told_once_and_gives_no_life_sign_until_it_goes_on(running, systemd, monkeypatch):
    situation, pulse, log = running
    monkeypatch.setattr(overview_module, "_STUCK", 0.01)
    (server,) = situation.fleet.servers
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(*_):
        hangs.set()
        goes_on.wait(PATIENCE)
        return ""

    server._plan = server._plan._replace(terms=replace(server.terms, turns_away=hang))
    socket.create_connection(server.address).close()
    assert hangs.wait(PATIENCE)
    server.silence()
    wait_for(lambda: server.silence() > 0.01)
    pulse.beat()
    pulse.beat()
    ((event, facts),) = log.lines
    assert (event, facts["what"]) == ("not ready", "listener SCPD")
    assert facts["why"].startswith("its accept loop has not answered for")
    told = heard(systemd)
    assert "WATCHDOG=1" not in told
    assert told[-1].startswith("STATUS=serving, 0 associations; not ready: listener SCPD: its accept loop")
    goes_on.set()
    wait_for(lambda: server.silence() < 0.01)
    pulse.beat()
    assert log.lines[1:] == [("ready again", {"what": "listener SCPD"})]
    assert "WATCHDOG=1" in heard(systemd)


def test_a_process_that_stops_goes_on_giving_life_signs(running, systemd):
    situation, pulse, _ = running
    situation.state = "stopping"
    situation.fleet.stop_accepting()
    pulse.beat()
    assert heard(systemd) == ["WATCHDOG=1", "STATUS=stopping, 0 associations; not ready: daemon: stopping"]


def test_a_store_in_trouble_is_told_and_the_life_signs_go_on(running, systemd):
    """A start anew would not mend a disk."""
    situation, pulse, log = running
    (store,) = situation.parts.stores.values()
    away = store.directory.with_name("away")
    store.directory.rename(away)
    wait_for(lambda: situation.watch.sight(store).trouble)
    pulse.beat()
    what, why = f"storage {store.directory}", "storage.directory: No such file or directory"
    assert log.lines == [("not ready", {"what": what, "why": why})]
    assert heard(systemd) == ["WATCHDOG=1", f"STATUS=serving, 0 associations; not ready: {what}: {why}"]
    away.rename(store.directory)
    wait_for(lambda: not situation.watch.sight(store).trouble)
    pulse.beat()
    assert log.lines[1:] == [("ready again", {"what": what})]


def test_servers_that_share_a_directory_are_one_part_with_the_highest_reserve_and_the_first_trouble(tmp_path):
    path = tmp_path / "scpd.yaml"
    servers = [
        {"name": str(number), "bind": "127.0.0.1:0", "storage": {"duplicates": duplicates, "reserve": reserve}}
        for number, (duplicates, reserve) in enumerate([("keep", 1), ("reject", "900000GiB"), ("replace", 2)])
    ]
    path.write_text(yaml.safe_dump({"storage": {"directory": str(tmp_path / "store")}, "servers": servers}))
    config = load(path)
    parts = Parts(config)
    situation = Situation(config, parts, Fleet(), Sink(io.StringIO(), str), state="serving")
    overview = Overview(situation, None)
    situation.watch.keep(parts.stores.values())
    wait_for(lambda: all(situation.watch.sight(store).space for store in parts.stores.values()))
    (facts,) = overview.facts().stores
    assert (facts.directory, facts.reserve) == (str(tmp_path / "store"), 900_000 << 30)
    assert 0 < facts.free <= facts.size
    assert overview.readiness()[1:] == [
        (f"storage {tmp_path}/store", False, "less space is free than storage.reserve", False)
    ]
    situation.watch.close()
    parts.close()


def wait_for(found) -> None:
    deadline, gap = time.monotonic() + PATIENCE, threading.Event()
    while not found():
        assert time.monotonic() < deadline, "it did not come to that"
        gap.wait(0.005)
