"""What is told to systemd arrives as sd_notify(3) has it, and what it hands over is taken and checked."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import yaml

from scpd.daemon.systemd import Notifier, chosen, inherited, watchdog_seconds
from scpd.errors import SettingError
from scpd.wire.pdu import AssociateAC, AssociateRJ

PATIENCE = 20.0


@pytest.fixture(params=["path", "abstract"])
def told(request, tmp_path):
    """A socket as systemd's: its name for $NOTIFY_SOCKET, and what was sent to it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@scpd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0"))
        sock.settimeout(PATIENCE)
        yield name, lambda: sock.recv(65536).decode().split("\n")


def test_each_method_says_one_thing(told):
    name, next_told = told
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready("serving")
    assert next_told() == ["READY=1", "STATUS=serving"]
    notifier.stopping("3 associations")
    assert next_told() == ["STOPPING=1", "STATUS=3 associations"]
    notifier.status("fine")
    assert next_told() == ["STATUS=fine"]
    notifier.alive()
    assert next_told() == ["WATCHDOG=1"]
    notifier.extend(1.5)
    assert next_told() == ["EXTEND_TIMEOUT_USEC=1500000"]


def test_a_reload_has_its_time_on_the_clock_that_systemd_reads(told):
    name, next_told = told
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Notifier({"NOTIFY_SOCKET": name}).reloading()
    word, when = next_told()
    assert word == "RELOADING=1"
    assert before <= int(when.removeprefix("MONOTONIC_USEC=")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_status_is_one_line_whatever_stands_in_it(told):
    name, next_told = told
    Notifier({"NOTIFY_SOCKET": name}).status("a\nREADY=1\r\n\udcff " + "x" * 10_000)
    (line,) = next_told()
    assert line.startswith("STATUS=a READY=1 ? xxx")
    assert len(line) < 1000


def tell_everything(notifier):
    notifier.ready("")
    notifier.reloading()
    notifier.alive()
    notifier.extend(1)
    notifier.stopping("")


@pytest.mark.parametrize(
    "name", ["", "/nowhere/notify", "@nobody", "vsock:2:1", "relative", "/" + "x" * 500, "@" + "x" * 500]
)
def test_where_nobody_listens_nothing_happens(name):
    tell_everything(Notifier({"NOTIFY_SOCKET": name}))


def test_without_systemd_nothing_happens():
    tell_everything(Notifier({}))


def test_a_systemd_that_does_not_read_is_not_waited_for(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        began = time.monotonic()
        for _ in range(2000):
            notifier.status("x" * 500)
        assert time.monotonic() - began < 5


def test_what_was_read_is_taken_out_of_the_environment():
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "LISTEN_PID": "1", "LISTEN_FDS": "1"}
    environ |= {"LISTEN_FDNAMES": "x", "HOME": "/"}
    Notifier(environ)
    watchdog_seconds(environ)
    inherited(environ)
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_heard_of_when_it_is_meant_for_this_process(environ, seconds):
    assert watchdog_seconds(dict(environ)) == seconds


# -- sockets

# Hands descriptors over as systemd does: from 3 on, and named; then starts the program that follows.
_HAND_OVER = """
import os, sys
count, names = int(sys.argv[1]), sys.argv[2]
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count), LISTEN_FDNAMES=names)
for place, number in enumerate(map(int, sys.argv[3:3 + count])):
    os.dup2(number, 100 + place)
for place in range(count):
    os.dup2(100 + place, 3 + place)
    os.close(100 + place)
os.execvp(sys.argv[3 + count], sys.argv[3 + count:])
"""


def handing_over(names: str, *sockets: socket.socket) -> list[str]:
    """The command before a program that makes it inherit ``sockets``."""
    numbers = [str(sock.fileno()) for sock in sockets]
    return [sys.executable, "-c", _HAND_OVER, str(len(sockets)), names, *numbers]


_TAKE = """
import json, os, socket
from scpd.daemon.systemd import inherited
from scpd.errors import SettingError
try:
    found = inherited()
    told = {name: [sock.getsockname()[1], sock.get_inheritable()] for name, sock in found.items()}
except SettingError as error:
    told = str(error)
print(json.dumps([told, sorted(key for key in os.environ if key.startswith("LISTEN_"))]))
"""


def taken(names: str, *sockets: socket.socket):
    command = [*handing_over(names, *sockets), sys.executable, "-c", _TAKE]
    done = subprocess.run(
        command, pass_fds=[sock.fileno() for sock in sockets], capture_output=True, timeout=PATIENCE, check=True
    )
    told, left = json.loads(done.stdout)
    assert left == []
    return told


@pytest.fixture
def listening():
    """A socket that takes connections, at a port of its own."""
    opened = []

    def listen() -> socket.socket:
        opened.append(socket.create_server(("127.0.0.1", 0)))
        return opened[-1]

    yield listen
    for one in opened:
        one.close()


def test_sockets_come_by_their_names_and_no_program_inherits_them(listening):
    a, b = listening(), listening()
    assert taken("dicom:dicom-tls", a, b) == {
        "dicom": [a.getsockname()[1], False],
        "dicom-tls": [b.getsockname()[1], False],
    }


def test_a_socket_without_a_name_is_called_as_systemd_does(listening):
    assert list(taken("", listening())) == ["unknown"]


def test_two_of_one_name_are_a_fault(listening):
    told = taken("dicom:dicom", listening(), listening())
    assert told.startswith("bind: two inherited sockets are called 'dicom'; give each a unit")


def test_what_takes_no_connections_is_a_fault(tmp_path):
    with socket.socket() as sock:
        assert "takes no connections of TCP; write ListenStream=" in taken("dicom", sock)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        assert "takes no connections of TCP; write ListenStream=" in taken("dicom", sock)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
        sock.listen()
        assert "takes no connections of TCP; write ListenStream=" in taken("dicom", sock)


def test_what_is_no_socket_is_a_fault(tmp_path):
    with (tmp_path / "file").open("w") as file:
        assert "is no socket (Socket operation on non-socket)" in taken("dicom", file)


def test_sockets_of_another_process_are_not_ours():
    assert inherited({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == {}
    assert inherited({"LISTEN_PID": str(os.getpid())}) == {}


def test_the_one_that_is_meant_is_chosen():
    a, b = object(), object()
    assert chosen({"dicom": a}, "", "ARCHIVE") is a, "the only one"
    assert chosen({"dicom": a, "ARCHIVE": b}, "", "ARCHIVE") is b, "the one called as the server"
    assert chosen({"dicom": a, "ARCHIVE": b}, "dicom", "ARCHIVE") is a, "the one by name"


@pytest.mark.parametrize(
    ("names", "name", "what"),
    [
        ((), "", "systemd hands over no socket; start scpd by its socket unit"),
        ((), "dicom", "systemd hands over no socket; start scpd by its socket unit"),
        (("a", "b"), "", "systemd hands over no socket called ARCHIVE, but 'a', 'b'; write systemd:NAME"),
        (("a",), "b", "systemd hands over no socket called b, but 'a'; write systemd:NAME"),
    ],
)
def test_one_that_is_not_there_is_a_fault_that_says_what_to_do(names, name, what):
    with pytest.raises(SettingError) as caught:
        chosen(dict.fromkeys(names), name, "ARCHIVE")
    assert caught.value.key == "bind"
    assert caught.value.what.startswith(what)


# -- the daemon


# Opens a listening socket for each name, and hands them over to the program that follows.
_OPEN = """
import os, socket, sys
names = sys.argv[1].split(":")
opened = [socket.create_server(("127.0.0.1", 0)) for _ in names]
for place, sock in enumerate(opened):
    os.dup2(sock.fileno(), 100 + place)
for place in range(len(names)):
    os.dup2(100 + place, 3 + place)
    os.close(100 + place)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(names)), LISTEN_FDNAMES=sys.argv[1])
os.execvp(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture
def heir(daemon):
    """``heir("dicom", …)`` is a daemon that inherits a socket of that name; of several, ``a:b``."""
    return lambda names, **keys: daemon(wrap=(sys.executable, "-c", _OPEN, names), **keys)


def change(one, **keys) -> None:
    one.config.write_text(yaml.safe_dump({**yaml.safe_load(one.config.read_text()), **keys}))


def test_a_server_listens_on_the_socket_that_it_inherits(heir, connect, echo):
    one = heir("dicom", bind="systemd")
    peer = connect(one.port)
    assert isinstance(peer.associate(), AssociateAC)
    assert echo(peer) == 0
    peer.release()
    assert one.stop() == 0


def test_each_server_has_its_own(heir, connect):
    servers = [{"name": "a", "ae_title": "A", "bind": "systemd"}, {"name": "b", "ae_title": "B", "bind": "systemd:c"}]
    one = heir("a:c", servers=servers, called_ae_title="check")
    assert isinstance(connect(one.port_of("a")).associate(called="A"), AssociateAC)
    assert isinstance(connect(one.port_of("b")).associate(called="B"), AssociateAC)


def test_a_reload_keeps_the_socket_and_its_associations(heir, connect, echo):
    one = heir("dicom", bind="systemd")
    port = one.port
    peer = connect(port)
    peer.associate()
    change(one, called_ae_title="check")
    assert one.reload()["event"] == "reloaded"
    assert echo(peer) == 0
    assert isinstance(connect(port).associate(called="ANYBODY"), AssociateRJ)


def test_a_socket_that_was_let_go_can_be_taken_up_again(heir, connect):
    one = heir("dicom", bind="systemd")
    port = one.port
    change(one, bind="127.0.0.1:0")
    assert one.reload()["event"] == "reloaded"
    one.wait_for_log(lambda line: line.get("socket") == "dicom" and line["level"] == "warning")
    waiting = connect(port)
    change(one, bind="systemd:dicom")
    assert one.reload()["event"] == "reloaded"
    assert isinstance(waiting.associate(), AssociateAC), "whoever called meanwhile has waited"


def test_a_reload_for_a_socket_that_is_not_there_changes_nothing(heir, connect):
    one = heir("dicom", bind="systemd")
    change(one, bind="systemd:other")
    assert one.reload()["event"].startswith("reload failed")
    (fault,) = one.wait_for_logs(lambda line: line["event"] == "reload: a fault", 1)
    assert "bind: systemd hands over no socket called other, but 'dicom'" in fault["fault"]
    assert isinstance(connect(one.port).associate(), AssociateAC)


def test_two_servers_on_one_socket_are_a_fault_with_the_line(heir):
    one = heir("a", servers=[{"name": "a", "bind": "systemd"}, {"name": "b", "bind": "systemd:a"}], ready=False)
    assert one.wait() == 78
    (line,) = [line for line in one.lines if "bind: the server a listens on this inherited socket already" in line]
    assert line.startswith(f"{one.config}:")


def test_without_sockets_it_is_a_fault_that_says_what_to_do(daemon):
    one = daemon(bind="systemd", ready=False)
    assert one.wait() == 78
    assert any("bind: systemd hands over no socket; start scpd by its socket unit" in line for line in one.lines)


def test_systemd_hears_when_it_is_ready_and_when_it_ends(daemon, tmp_path):
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name)
        sock.settimeout(PATIENCE)
        one = daemon(env={"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "600000"})
        told = iter(lambda: sock.recv(65536).decode().split("\n"), None)
        assert next(told)[0] == "READY=1"
        assert any(word == ["WATCHDOG=1"] for word in told), "it goes on telling that it lives"
        one.send_signal(signal.SIGHUP)
        assert any(word[0] == "RELOADING=1" for word in told)
        assert next(word for word in told if word[0] == "READY=1")[1].startswith("STATUS=serving")
        change(one, ae_titel="X")
        one.send_signal(signal.SIGHUP)
        assert any(word[0] == "RELOADING=1" for word in told)
        failed = next(word for word in told if word[0] == "READY=1")
        assert "; the last reload failed, nothing has changed: " in failed[1]
        assert "ae_titel: unknown key" in failed[1]
        assert one.stop() == 0
        assert any(word[0] == "STOPPING=1" for word in told)
