"""The service starts, is ready when it says so, tells what is wrong, and keeps within its limits when it fails."""

from __future__ import annotations

import stat
from datetime import datetime

from components.machine import wait_until


def test_it_is_active_no_sooner_than_it_is_ready_and_says_how_it_is(machine):
    machine.systemctl("start", "scpd")
    assert machine.scpd("echo", "127.0.0.1:11112").stdout.startswith("Success")
    shown = machine.show("ActiveState", "StatusText", "NRestarts")
    assert (shown["ActiveState"], shown["NRestarts"]) == ("active", "0")
    assert shown["StatusText"].startswith("serving")
    _, day, hour, _ = machine.systemctl("show", "-P", "ActiveEnterTimestamp", "--timestamp=us", "scpd").stdout.split()
    (ready,) = [line for line in machine.logs() if line["event"] == "ready"]
    said = datetime.fromisoformat(ready["timestamp"]).replace(tzinfo=None)  # both are local times of the machine
    assert said <= datetime.fromisoformat(f"{day} {hour}")


def test_it_stores_what_is_sent(machine, send):
    machine.systemctl("start", "scpd")
    send(11112)
    assert len(list(machine.path("/var/lib/scpd/store").rglob("*.dcm"))) == 1


def test_a_faulty_configuration_ends_it_with_78_for_good(machine):
    machine.configure(limits={"associations": "many"})
    assert machine.systemctl("start", "scpd", check=False).returncode
    shown = machine.show("ActiveState", "ExecMainStatus", "NRestarts")
    assert shown == {"ActiveState": "failed", "ExecMainStatus": "78", "NRestarts": "0"}
    assert any("scpd.yaml:" in entry["MESSAGE"] and "many" in entry["MESSAGE"] for entry in machine.journal())


def test_a_port_that_is_taken_is_tried_again_and_not_for_ever(machine):
    machine.drop_in("[Service]\nRestartSec=0\n[Unit]\nStartLimitBurst=4\n")
    held = "import socket; one = socket.create_server(('127.0.0.1', 11112)); print(flush=True); one.accept()"
    machine.run("systemd-run", "--unit=taker", "/opt/scpd/bin/python", "-c", held)
    try:
        wait_until(lambda: machine.run("sh", "-c", "ss -ltn | grep 11112", check=False).stdout, "the taker")
        machine.systemctl("start", "scpd", check=False)
        wait_until(lambda: machine.state == "failed", "the end")
    finally:
        machine.systemctl("stop", "taker")
    shown = machine.show("NRestarts", "ExecMainStatus")
    assert (int(shown["NRestarts"]), shown["ExecMainStatus"]) == (4, "1")
    assert any("Address already in use" in entry["MESSAGE"] for entry in machine.journal())


def test_the_user_and_the_directories_are_made(unprepared):
    machine = unprepared
    assert machine.run("id", "scpd", check=False).returncode
    machine.run("systemd-sysusers")
    machine.run("systemd-tmpfiles", "--create")
    user = machine.run("getent", "passwd", "scpd").stdout.strip().split(":")
    assert user[6].endswith("nologin")
    for name in ("lib", "log", "cache"):
        made = machine.path(f"/var/{name}/scpd").stat()
        assert (made.st_uid, stat.S_IMODE(made.st_mode)) == (int(user[2]), 0o750)
    made = machine.path("/etc/scpd").stat()
    assert (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode)) == (0, int(user[3]), 0o750)
    machine.configure()
    machine.systemctl("start", "scpd")
    assert stat.S_IMODE(machine.path("/etc/scpd").stat().st_mode) == 0o750


def test_the_unit_files_have_nothing_that_systemd_does_not_know(machine):
    told = machine.run("systemd-analyze", "verify", "scpd.service", "scpd.socket")
    assert "scpd" not in told.stderr
