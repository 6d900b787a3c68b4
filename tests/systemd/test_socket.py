"""Port 104 without a privilege, and a restart that nobody who calls notices."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SERVICE = Path(__file__).parents[2] / "systemd" / "scpd.service"


@pytest.fixture
def socket(machine):
    machine.configure(bind="systemd")
    machine.systemctl("start", "scpd.socket")
    return machine


def test_port_104_is_served_without_a_privilege(socket, send):
    """By whoever comes first, too: the connection starts the service."""
    assert socket.state == "inactive"
    send(104)
    assert socket.state == "active"
    status = socket.path(f"/proc/{socket.pid}/status").read_text()
    assert "CapEff:\t0000000000000000" in status
    (line,) = [line for line in socket.logs() if line["event"] == "association"]
    assert line["peer"].startswith(("127.0.0.1:", "[::ffff:127.0.0.1]:", "::ffff:127.0.0.1:"))


def test_port_104_may_be_bound_as_the_service_file_shows(machine, send):
    shown = [line for line in SERVICE.read_text().splitlines() if line.startswith(("#Ambient", "#Capab", "#PrivateU"))]
    assert len(shown) == 3
    machine.drop_in("\n".join(["[Service]", *(line[1:] for line in shown)]))
    machine.configure(bind="127.0.0.1:104")
    machine.systemctl("start", "scpd")
    send(104)


def test_while_it_starts_anew_no_connection_is_refused(socket, callers):
    socket.systemctl("start", "scpd")
    calling = callers(104)
    for _ in range(3):
        socket.systemctl("restart", "scpd")
    socket.systemctl("kill", "-s", "KILL", "--kill-whom=main", "scpd")
    socket.systemctl("restart", "scpd")
    seen = json.loads(calling.ask())
    assert seen["echoed"] > 10
    assert set(seen) <= {"echoed", "aborted", "not established"}, "none is refused, nor reset before it was served"
    assert seen.get("aborted", 0) + seen.get("not established", 0) <= 2, "but what the SIGKILL took"


def test_a_reload_keeps_the_socket(socket, peer):
    socket.systemctl("start", "scpd")
    one = peer(104)
    socket.configure(bind="systemd:dicom", called_ae_title="check")
    socket.systemctl("reload", "scpd")
    assert socket.logs()[-1]["event"] == "reloaded"
    assert one.ask() == "0"
    assert socket.scpd("echo", "127.0.0.1:104", check=False).returncode, "what holds now is the new file"
    socket.scpd("echo", "127.0.0.1:104", "--called", "ARCHIVE")


def test_without_its_socket_it_says_what_to_do(machine):
    machine.configure(bind="systemd")
    machine.systemctl("start", "scpd", check=False)
    assert machine.show("ExecMainStatus") == {"ExecMainStatus": "78"}
    told = [entry["MESSAGE"] for entry in machine.journal()]
    assert any(
        line.startswith("/etc/scpd/scpd.yaml:2: bind: ") and "systemctl start scpd.socket" in line for line in told
    ), told


def test_a_socket_that_no_server_takes_is_told(machine):
    machine.systemctl("start", "scpd.socket")
    machine.systemctl("start", "scpd")
    assert [line["socket"] for line in machine.logs() if "socket" in line] == ["dicom"]
