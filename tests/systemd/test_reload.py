"""``systemctl reload`` returns when the reload is over, and fails when the file is faulty."""

from __future__ import annotations

import subprocess

from components.machine import wait_until


def reloads(machine) -> int:
    return sum(line["event"] == "reloaded" for line in machine.logs())


def test_it_returns_when_what_is_new_holds(machine):
    machine.systemctl("start", "scpd")
    for number in range(5):
        machine.configure(limits={"associations": 100 + number})
        machine.systemctl("reload", "scpd")
        assert reloads(machine) == number + 1, "each reload once, and before systemctl returns"
    assert machine.show("ActiveState", "NRestarts") == {"ActiveState": "active", "NRestarts": "0"}
    assert machine.show("StatusText")["StatusText"].startswith(("reloaded", "serving"))


def test_it_waits_for_a_daemon_that_takes_its_time(machine):
    machine.systemctl("start", "scpd")
    machine.kill("STOP")
    reload = subprocess.Popen(machine.enter("systemctl", "reload", "scpd"))
    try:
        # All that systemd does itself is done, and the signal is on its way.
        wait_until(lambda: "reloading" in machine.state, "the reload")
        wait_until(lambda: "ShdPnd:\t0000000000000001" in status(machine), "the signal")
        wait_until(lambda: machine.show("ControlPID") == {"ControlPID": "0"}, "the end of the commands")
        assert reload.poll() is None
        machine.kill("CONT")
        assert reload.wait(20) == 0
    finally:
        reload.kill()
        reload.wait()
    assert reloads(machine) == 1


def status(machine) -> str:
    return machine.path(f"/proc/{machine.pid}/status").read_text()


def test_a_faulty_file_fails_it_and_changes_nothing(machine, peer):
    machine.systemctl("start", "scpd")
    one, pid = peer(), machine.pid
    machine.configure(limits={"associations": "many"})
    told = machine.systemctl("reload", "scpd", check=False)
    assert told.returncode == 1
    assert any("scpd.yaml:" in entry["MESSAGE"] and "many" in entry["MESSAGE"] for entry in machine.journal())
    assert (machine.state, machine.pid, one.ask()) == ("active", pid, "0")
    machine.configure()
    machine.systemctl("reload", "scpd")
    assert reloads(machine) == 1


def test_a_signal_from_anybody_is_a_reload_as_well(machine):
    machine.systemctl("start", "scpd")
    machine.configure(limits={"associations": "many"})
    machine.kill("HUP")
    wait_until(lambda: machine.logs()[-1]["event"] == "reload failed: nothing has changed", "the reload")
    wait_until(lambda: machine.state == "active", "the end of the reload")
