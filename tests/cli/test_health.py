"""``scpd health`` asks a real daemon, and tells one that serves from one that does not, whoever it lets in."""

from __future__ import annotations

import re
import signal
import socket
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest
import yaml
from components.authority import Authority

from scpd.cli import configuration
from scpd.cli.main import main
from scpd.wire.pdu import AssociateAC

PATIENCE = 20.0


@pytest.fixture
def bind(free_port) -> str:
    """An address that is known beforehand, as the probe needs it."""
    return f"127.0.0.1:{free_port}"


def free_addresses(count: int) -> list[str]:
    """Addresses that nobody listens on just now."""
    with ExitStack() as probes:
        found = [probes.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in found]


@pytest.fixture
def health(capsys):
    """Exit code and lines of ``scpd health``."""

    def ask(*arguments: object) -> tuple[int, list[str]]:
        code = main(["health", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert not err
        return code, out.splitlines()

    return ask


@contextmanager
def listening(answer=None):
    """A port where somebody listens who is no scpd: he says ``answer`` and closes, or is silent for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        if answer is not None:

            def serve() -> None:
                with server.accept()[0] as sock:
                    sock.recv(65536)
                    sock.sendall(answer)

            threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def write(folder, **settings):
    path = folder / "scpd.yaml"
    path.write_text(yaml.safe_dump({"ae_title": "SCPD", "storage": {"directory": str(folder / "store")}, **settings}))
    return path


# -- one that serves


def test_a_daemon_that_serves_is_ready_and_its_log_says_who_asked(daemon, health, bind):
    one = daemon(bind=bind, ae_title="ARCHIVE", called_ae_title="check")
    code, lines = health(one.config)
    assert code == 0
    assert re.fullmatch(rf"ARCHIVE at {bind}: ready: Success \(0000\) in [\d.]+ ms", "\n".join(lines))
    (told,) = one.associations()
    assert (told["calling"], told["called"], told["ended"]) == ("SCPD_HEALTH", "ARCHIVE", "released")


@pytest.mark.parametrize("everywhere", ["0.0.0.0", "[::]"])
def test_one_that_listens_everywhere_is_asked_on_loopback(daemon, health, free_port, everywhere):
    one = daemon(bind=f"{everywhere}:{free_port}")
    assert health(one.config)[0] == 0
    (told,) = one.associations()
    assert told["peer"].startswith(("127.0.0.1:", "[::1]:"))


def test_a_name_is_asked_where_it_leads(daemon, health, free_port):
    one = daemon(bind=f"localhost:{free_port}")
    assert health(one.config)[0] == 0


def test_every_server_has_its_line_and_one_that_is_away_is_enough(daemon, health, bind, tmp_path):
    one = daemon(bind=bind)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        away = f"127.0.0.1:{nobody.getsockname()[1]}"
        path = write(tmp_path, servers=[{"name": "here", "bind": bind}, {"name": "away", "bind": away}])
        code, (first, second) = health(path)
    assert code == 1
    assert first.startswith(f"here at {bind}: ready: Success (0000)")
    assert second == f"away at {away}: not ready: cannot connect to {away}: Connection refused"
    assert one.stop() == 0


def test_without_a_configuration_the_usual_place_counts(daemon, health, bind, monkeypatch, tmp_path):
    one = daemon(bind=bind, ae_title="USUAL")
    monkeypatch.setattr(configuration, "_USUAL_PLACE", one.config)
    code, (line,) = health()
    assert code == 0
    assert line.startswith(f"USUAL at {bind}: ready")


# -- one that lives and does not let the probe in


REJECTED = "it lives: the association was rejected permanently, DICOM UL service-"
KEPT_OUT = {
    "title": (
        {"access": [{"deny": {"calling": "SCPD_HEALTH"}}]},
        f"{REJECTED}user: calling AE title not recognized",
    ),
    "identity": (
        {"user_identity": {"policy": "require", "providers": [{"kind": "usernames", "users": ["alice"]}]}},
        f"{REJECTED}provider (ACSE related function): no reason given",
    ),
    "address": ({"access": [{"deny": {"address": "127.0.0.0/8"}}]}, "it lives: access[0] turns this machine away"),
    "contexts": ({"contexts": ["storage"]}, "it lives: it lets us in, and not for Verification"),
    "services": ({"access": [{"allow": {"services": "storage"}}]}, "it lives: it lets us in, and not for Verification"),
}


def test_whoever_keeps_the_probe_out_lives(daemon, health):
    binds = dict(zip(KEPT_OUT, free_addresses(len(KEPT_OUT)), strict=True))
    one = daemon(servers=[{"name": name, "bind": binds[name], **settings} for name, (settings, _) in KEPT_OUT.items()])
    code, lines = health(one.config)
    assert code == 0
    assert lines == [f"{name} at {binds[name]}: ready: {why}" for name, (_, why) in KEPT_OUT.items()]


def test_whom_an_access_rule_turns_away_is_not_told_so_by_somebody_else(health, tmp_path):
    rule = [{"deny": {"address": "127.0.0.0/8"}}]
    with listening() as port:
        path = write(tmp_path, bind=f"127.0.0.1:{port}", access=rule)
        assert health(path, "--timeout", 0.2) == (1, [f"SCPD at 127.0.0.1:{port}: not ready: no answer within 0.2 s"])


# -- TLS


def test_under_tls_it_is_asked_too_as_far_as_it_lets_us_in(daemon, health, tmp_path):
    """Nothing is verified, since it is ourselves; where a certificate is required, the server's own is shown."""
    authority = Authority(tmp_path)
    server = authority.server("pacs.example")  # for servers alone, as most CAs make them
    both = authority.issue("pacs.example", use="both", alternatives=("DNS:pacs.example",))
    locked = both.key_file(password="opensesame-61")
    ca = {"ca": str(authority.certificate)}
    of_server = {"certificate": str(server.chain), "key": str(server.key), **ca}
    of_both = {"certificate": str(both.chain), "key": str(locked), "key_password": "opensesame-61", **ca}
    sections = {
        "none": of_server,
        "optional": {**of_server, "client": "optional"},
        "required": {**of_both, "client": "required"},
        "refused": {**of_server, "client": "required"},
        "refused-too": {**of_server, "client": "required", "profile": "tls13"},
    }
    binds = free_addresses(len(sections))
    servers = [{"name": name, "bind": bind, "tls": sections[name]} for name, bind in zip(sections, binds, strict=True)]
    code, lines = health(daemon(servers=servers).config)
    assert code == 0
    said = {line.partition(" at ")[0]: line.partition(": ready: ")[2] for line in lines}
    assert [said[name].startswith("Success (0000)") for name in ("none", "optional", "required")] == [True] * 3
    for name in ("refused", "refused-too"):
        assert said[name].startswith("it lives: it did its part of the TLS handshake (")


def test_a_key_that_cannot_be_read_is_said(daemon, health, bind, tmp_path):
    authority = Authority(tmp_path)
    host = authority.server("pacs.example")
    tls = {"certificate": str(host.chain), "key": str(host.key), "ca": str(authority.certificate)}
    one = daemon(bind=bind, tls={**tls, "client": "required"})
    host.key.unlink()
    code, (line,) = health(one.config)
    assert code == 1
    assert f"not ready: key: {host.key}" in line


# -- one that does not serve


def test_one_that_has_no_room_is_not_ready(daemon, health, bind, connect):
    one = daemon(bind=bind, limits={"associations": 1})
    client = connect(one.port)
    assert isinstance(client.associate(), AssociateAC)
    code, (line,) = health(one.config)
    assert code == 1
    assert "not ready: the peer rejected the association: transiently" in line
    assert line.endswith("local limit exceeded")
    client.release()
    one.associations()
    assert health(one.config)[0] == 0


def test_one_that_is_stopped_does_not_answer_in_time(daemon, health, bind):
    one = daemon(bind=bind)
    one.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    assert health(one.config, "--timeout", 0.3) == (1, [f"SCPD at {bind}: not ready: no answer within 0.3 s"])
    assert time.monotonic() - began < PATIENCE / 2
    one.send_signal(signal.SIGCONT)
    assert health(one.config)[0] == 0


def test_silent_servers_are_waited_for_all_at_once(health, tmp_path):
    with listening() as first, listening() as second, listening() as third:
        path = write(tmp_path, servers=[{"bind": f"127.0.0.1:{port}"} for port in (first, second, third)])
        began = time.monotonic()
        code, lines = health(path, "--timeout", 1)
        assert time.monotonic() - began < 2.5
    assert code == 1
    assert len([line for line in lines if line.endswith("not ready: no answer within 1 s")]) == 3


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x07\0\0\0\0\x04\0\0\0\0"])
def test_somebody_else_on_the_port_is_not_ready(health, tmp_path, answer):
    with listening(answer) as port:
        code, (line,) = health(write(tmp_path, bind=f"127.0.0.1:{port}"))
    assert code == 1
    assert f"127.0.0.1:{port}: not ready: " in line


def test_a_port_that_nobody_can_know_is_said_and_is_no_success(health, tmp_path):
    path = write(tmp_path, bind="127.0.0.1:0")
    assert health(path) == (
        1,
        ["SCPD at 127.0.0.1:0: not asked: the system chose the port, and only the log says where it listens"],
    )


def test_a_port_that_nobody_can_know_is_left_out_beside_others(daemon, health, bind, tmp_path):
    daemon(bind=bind)
    path = write(tmp_path, servers=[{"name": "known", "bind": bind}, {"name": "unknown", "bind": "127.0.0.1:0"}])
    code, lines = health(path)
    assert code == 0
    assert [line.split(": ")[1] for line in lines] == ["ready", "not asked"]


# -- the admin endpoint


@pytest.fixture
def admin_bind() -> str:
    (found,) = free_addresses(1)
    return found


def test_an_admin_endpoint_is_asked_too(daemon, health, bind, admin_bind):
    one = daemon(bind=bind, admin={"bind": admin_bind})
    code, lines = health(one.config)
    assert code == 0
    assert lines[1:] == [f"admin at {admin_bind}: ready: GET /ready: 200"]


def test_what_it_says_is_not_ready_is_the_reason(daemon, health, bind, admin_bind):
    """C-ECHO is answered all the same: only the daemon itself knows that there is no room on the disk."""
    one = daemon(bind=bind, admin={"bind": admin_bind}, storage={"reserve": "1048576GiB"})
    code, (server, admin) = health(one.config)
    assert code == 1
    assert ": ready: Success" in server
    assert admin.startswith(f"admin at {admin_bind}: not ready: GET /ready: 503; ")
    assert "storage.reserve" in admin


def test_an_admin_endpoint_that_is_away_is_not_ready(daemon, health, bind, admin_bind, tmp_path):
    daemon(bind=bind)
    code, lines = health(write(tmp_path, bind=bind, admin={"bind": admin_bind}))
    assert code == 1
    assert lines[1].startswith(f"admin at {admin_bind}: not ready: GET /ready: ")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"SSH-2.0-x\r\n", r"GET /ready: 'SSH-2.0-x\r\n'"),
        (b"HTTP/1.0 503 Oh\r\n\r\ndisk: not ready: \x1b[2Jfull\n", "GET /ready: 503; 'disk: not ready: \\x1b[2Jfull'"),
        (b"HTTP/1.0 404 Oh\r\n\r\n", "GET /ready: 404"),
    ],
)
def test_somebody_else_at_its_port_is_not_ready_and_says_nothing_to_the_terminal(health, tmp_path, answer, why):
    with listening(answer) as port:
        _, (_, line) = health(write(tmp_path, bind="127.0.0.1:0", admin={"bind": f"127.0.0.1:{port}"}))
    assert line == f"admin at 127.0.0.1:{port}: not ready: {why}"


# -- the command


def test_a_bad_configuration_is_78(tmp_path, capsys):
    assert main(["health", str(write(tmp_path, ae_titel="X"))]) == 78
    assert "ae_titel: unknown key" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["0", "-1", "soon"])
def test_a_time_that_is_none_is_wrong_usage(wrong, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["health", f"--timeout={wrong}"])
    assert ended.value.code == 2
    assert "is not a time; write seconds" in capsys.readouterr().err
