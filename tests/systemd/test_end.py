"""It stops within its time, comes back after a crash, and loses no association to what happens around it."""

from __future__ import annotations

import time

from components.machine import wait_until


def test_it_stops_under_an_open_association(machine, peer):
    machine.configure(timeouts={"shutdown": "1s"})
    machine.systemctl("start", "scpd")
    one = peer()
    began = time.monotonic()
    machine.systemctl("stop", "scpd")
    assert 1 <= time.monotonic() - began < 10
    shown = machine.show("ActiveState", "Result", "ExecMainStatus")
    assert shown == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}
    assert one.ask() == "gone"


def test_a_longer_time_out_than_the_units_is_waited_for(machine, peer):
    machine.drop_in("[Service]\nTimeoutStopSec=1s\n")
    machine.configure(timeouts={"shutdown": "3s"})
    machine.systemctl("start", "scpd")
    one = peer()
    began = time.monotonic()
    machine.systemctl("stop", "scpd")
    assert time.monotonic() - began >= 3
    assert machine.show("Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}
    assert one.ask() == "gone"


def test_a_crash_costs_two_seconds(machine):
    machine.systemctl("start", "scpd")
    pid = machine.pid
    began = time.monotonic()
    machine.kill("KILL")
    wait_until(lambda: machine.pid not in (0, pid) and machine.state == "active", "the restart", 20)
    assert time.monotonic() - began < 4  # two where nobody else works
    assert machine.show("NRestarts") == {"NRestarts": "1"}


def test_one_that_stands_still_is_ended_and_started_anew(machine):
    machine.drop_in("[Service]\nWatchdogSec=2s\n")
    machine.systemctl("start", "scpd")
    pid = machine.pid
    machine.kill("STOP")
    wait_until(lambda: machine.pid not in (0, pid) and machine.state == "active", "the restart", 20)
    assert machine.show("NRestarts") == {"NRestarts": "1"}
    told = machine.run("journalctl", "--unit=scpd.service", "--output=cat", "--lines=50").stdout
    assert "Watchdog timeout" in told


def test_one_that_lives_is_not(machine):
    machine.drop_in("[Service]\nWatchdogSec=2s\n")
    machine.systemctl("start", "scpd")
    first = int(machine.show("WatchdogTimestampMonotonic")["WatchdogTimestampMonotonic"])

    def later() -> bool:
        return int(machine.show("WatchdogTimestampMonotonic")["WatchdogTimestampMonotonic"]) > first + 5_000_000

    wait_until(later, "life signs", 20)
    assert machine.show("NRestarts") == {"NRestarts": "0"}


def test_the_journal_has_the_levels_as_priorities(machine):
    machine.configure(logging={"level": "debug"}, limits={"associations": 1}, access=[{"deny": {"calling": "EVIL"}}])
    machine.systemctl("start", "scpd")
    machine.scpd("echo", "127.0.0.1:11112", "--calling", "EVIL", check=False)
    machine.kill("HUP")
    entries = [entry for entry in machine.journal() if entry["MESSAGE"].startswith("{")]
    levels = {"3": "error", "4": "warning", "6": "info", "7": "debug"}
    assert all(f'"level": "{levels[entry["PRIORITY"]]}"' in entry["MESSAGE"] for entry in entries)
    assert {entry["PRIORITY"] for entry in entries} >= {"4", "6"}
    assert {entry["PRIORITY"] for entry in machine.journal("-p", "warning")} <= {"3", "4"}


def test_the_console_form_has_them_too(machine):
    machine.configure(logging={"format": "console"})
    machine.systemctl("start", "scpd")
    ready = next(entry for entry in machine.journal() if "ready" in entry["MESSAGE"])
    assert ready["PRIORITY"] == "6"
    assert not ready["MESSAGE"].startswith("<")


def test_an_association_does_not_notice_that_the_journal_starts_anew(machine, peer):
    machine.systemctl("start", "scpd")
    one, pid = peer(), machine.pid
    assert one.ask() == "0"
    machine.systemctl("restart", "systemd-journald")
    assert one.ask() == "0"
    machine.scpd("echo", "127.0.0.1:11112")
    machine.kill("USR1")
    assert machine.pid == pid
    assert [line["ended"] for line in machine.logs() if line["event"] == "association"] == ["released"]
