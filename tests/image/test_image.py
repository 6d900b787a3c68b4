"""The image runs as docs/docker.md says: any user, nothing to write to but its volume, no rights, and an orderly end."""

from __future__ import annotations

import os
import re
import select
import signal
import time
from pathlib import Path

import pydicom
import pytest
import yaml
from components.authority import Authority
from pydicom.data import get_testdata_file

from scpd.identity.password_file import hashed
from scpd.wire.pdu import AssociateAC

FILE = get_testdata_file("CT_small.dcm")
PATIENCE = 30.0


def wait_until(condition) -> None:
    """Until something holds that nobody tells of: looked at again and again, with a deadline."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        select.select([], [], [], 0.02)


def write(path: Path, settings: dict) -> Path:
    path.write_text(yaml.safe_dump(settings))
    path.chmod(0o644)
    return path


@pytest.fixture
def settings() -> dict:
    """A configuration for the usual place."""
    return {
        "ae_title": "MOUNTED",
        "bind": "0.0.0.0:11112",
        "storage": {"directory": "/var/lib/scpd", "path": "{SOPInstanceUID}.dcm", "reserve": 0},
        "logging": {"format": "json"},
    }


# -- what it says of itself


def test_it_says_what_an_engine_has_to_know(image):
    config = image.config
    assert re.fullmatch(r"[1-9]\d*:0", config["User"]), "a number, so that an engine can tell it is not root"
    assert list(config["Volumes"]) == ["/var/lib/scpd"]
    assert list(config["ExposedPorts"]) == ["11112/tcp"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["Labels"]["org.opencontainers.image.title"] == "scpd"
    assert config["Labels"]["org.opencontainers.image.version"] == "0.0.test"


def test_nothing_that_builds_is_left_in_it(image):
    found = [name for name in ("gcc", "pip", "pip3", "make") for place in image.root.glob(f"*/**/bin/{name}") if place]
    assert not found
    assert not list(image.root.glob("src/*"))
    assert not [path for path in image.root.glob("etc/pip.conf") if path.stat().st_size], "how it was built"


def test_every_module_is_compiled_ahead(image):
    packages = next(image.root.glob("opt/scpd/lib/python*/site-packages"))
    modules = list(packages.rglob("scpd/**/*.py"))
    assert len(modules) > 100
    compiled = {path.name.partition(".")[0] + "@" + str(path.parent.parent) for path in packages.rglob("*.pyc")}
    assert not [path for path in modules if f"{path.stem}@{path.parent}" not in compiled]


# -- it serves


def test_it_stores_to_the_volume_and_is_healthy_by_its_own_check(container, volume, user, peer):
    """Everything at once as it will be run: unknown user, no capability, no place to write to but the volume."""
    one = container(environment={"SCPD_RESERVE": "0"})
    sent = one.beside(peer("storescu"), "127.0.0.1", "11112", FILE)
    assert sent.returncode == 0, sent.stderr
    (stored,) = volume.rglob("*.dcm")
    assert pydicom.dcmread(stored).SOPInstanceUID == pydicom.dcmread(FILE).SOPInstanceUID
    assert stored.stat().st_uid == int(user)
    assert stored.stat().st_mode & 0o777 == 0o640
    health = one.execute(*one.image.health)
    assert (health.returncode, health.stderr) == (0, "")
    assert re.fullmatch(r"SCPD at 0.0.0.0:11112: ready: Success \(0000\) in [\d.]+ ms\n", health.stdout)
    assert one.stop() == 0


def test_it_has_no_right_at_all_and_can_write_nowhere_else(container):
    one = container(environment={"SCPD_RESERVE": "0"})
    (daemon,) = one.processes("scpd")
    status = one.execute("cat", f"/proc/{daemon.number}/status").stdout
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
    assert re.search(r"^CapBnd:\t0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
    for place in ("/tmp", "/var/tmp", "/run", "/etc/scpd", "/opt/scpd", "/dev/shm"):
        assert one.execute("touch", f"{place}/file").returncode != 0, place
    assert one.execute("touch", "/var/lib/scpd/file").returncode == 0


def test_nothing_is_written_outside_the_volume_even_where_it_could_be(container, peer):
    one = container(environment={"SCPD_RESERVE": "0"}, writable=True, user="0:0")
    assert one.beside(peer("storescu"), "127.0.0.1", "11112", FILE).returncode == 0
    assert one.execute(*one.image.health).returncode == 0
    assert one.stop() == 0
    assert [str(path) for path in one.written.rglob("*")] == []


def test_a_daemon_that_does_not_answer_is_not_healthy(container):
    one = container(environment={"SCPD_RESERVE": "0"})
    (daemon,) = one.processes("scpd")
    one.execute("sh", "-c", f"kill -STOP {daemon.number}")
    health = one.execute(*one.image.health, "--timeout", "0.5")
    assert health.returncode == 1
    assert health.stdout == "SCPD at 0.0.0.0:11112: not ready: no answer within 0.5 s\n"
    one.execute("sh", "-c", f"kill -CONT {daemon.number}")
    assert one.execute(*one.image.health).returncode == 0


# -- it is set up


def test_the_environment_alone_is_enough(container, volume, peer):
    environment = {
        "SCPD_AE_TITLE": "ARCHIVE",
        "SCPD_CALLED_AE_TITLE": "check",
        "SCPD_BIND": "0.0.0.0:104",  # which containers may take without any right
        "SCPD_DIRECTORY": "/var/lib/scpd/elsewhere",
        "SCPD_RESERVE": "0",
        "SCPD_LOG_LEVEL": "debug",
    }
    one = container(environment=environment)
    storescu = peer("storescu")
    assert one.beside(storescu, "-aec", "SCPD", "127.0.0.1", "104", FILE).returncode != 0
    assert one.beside(storescu, "-aec", "ARCHIVE", "127.0.0.1", "104", FILE).returncode == 0
    assert len(list((volume / "elsewhere").rglob("*.dcm"))) == 1
    assert one.execute(*one.image.health).returncode == 0


def test_a_mounted_configuration_takes_the_place_of_the_images_own(container, tmp_path, settings, volume, peer):
    one = container(mounts={"/etc/scpd/scpd.yaml": write(tmp_path / "mounted.yaml", settings)})
    assert one.wait_for("listening")["ae_title"] == "MOUNTED"
    assert one.beside(peer("storescu"), "127.0.0.1", "11112", FILE).returncode == 0
    assert [path.parent for path in volume.glob("*.dcm")] == [volume]


def test_sighup_reads_the_mounted_configuration_again(container, tmp_path, settings):
    path = write(tmp_path / "mounted.yaml", settings)
    one = container(mounts={"/etc/scpd/scpd.yaml": path})
    write(path, {**settings, "ae_title": "AGAIN"})
    one.send_signal(signal.SIGHUP)
    assert "ae_title" in str(one.wait_for("reloaded")["changes"])


def test_a_bad_configuration_is_78_with_its_line(container, tmp_path, settings):
    path = write(tmp_path / "mounted.yaml", {"ae_titel": "X", **settings})
    one = container(mounts={"/etc/scpd/scpd.yaml": path}, ready=False)
    assert one.wait() == 78, one.lines
    assert one.lines == ["/etc/scpd/scpd.yaml:1: ae_titel: unknown key; did you mean 'ae_title'?"]


def test_a_bad_value_of_the_environment_is_78_with_its_key(container):
    one = container(environment={"SCPD_ASSOCIATIONS": "many"}, ready=False)
    assert one.wait() == 78, one.lines
    assert "limits.associations: many is not a whole number" in one.lines[0]


def test_a_volume_that_the_user_may_not_write_to_is_78(container, volume):
    os.chown(volume, 1, 1)
    one = container(ready=False)
    assert one.wait() == 78, one.lines
    assert "storage.directory: /var/lib/scpd cannot be written to by this user" in one.lines[0]


def test_other_commands_are_arguments(container):
    one = container("check", "/etc/scpd/scpd.yaml", ready=False)
    assert one.wait() == 0
    one = container("echo", "127.0.0.1:1", ready=False)
    assert one.wait() == 1
    assert one.lines == ["scpd: cannot connect to 127.0.0.1:1: Connection refused"]


def test_tls_and_passwords_need_no_place_to_write_to_either(container, tmp_path, settings, user):
    host = Authority(tmp_path).server("pacs.example")
    host.key.chmod(0o400)
    os.chown(host.key, int(user), 0)
    users = tmp_path / "users"
    users.write_text(f"alice:{hashed('kazoo-heron-27')}\n")
    users.chmod(0o400)
    os.chown(users, int(user), 0)
    settings["tls"] = {
        "certificate": "/run/secrets/tls.crt",
        "key": "/run/secrets/tls.key",
        "profile": "bcp195-nd",  # which needs a file of its own for a moment
    }
    settings["user_identity"] = {
        "policy": "require",
        "providers": [{"kind": "passwords", "file": "/run/secrets/users"}],
    }
    mounts = {
        "/etc/scpd/scpd.yaml": write(tmp_path / "mounted.yaml", settings),
        "/run/secrets/tls.crt": host.chain,
        "/run/secrets/tls.key": host.key,
        "/run/secrets/users": users,
    }
    passcode = tmp_path / "passcode"
    passcode.write_text("kazoo-heron-27")
    passcode.chmod(0o444)
    one = container(mounts={**mounts, "/run/secrets/passcode": passcode})
    identity = ("--user", "alice", "--password-file", "/run/secrets/passcode")
    echo = one.execute("scpd", "echo", "127.0.0.1:11112", "--insecure", *identity)
    assert (echo.returncode, echo.stderr) == (0, "")
    assert "user identity confirmed" in echo.stdout
    health = one.execute(*one.image.health)
    assert health.returncode == 0
    assert "it lives: the association was rejected permanently" in health.stdout


def test_every_extra_is_in_it(container):
    one = container(environment={"SCPD_RESERVE": "0"})
    providers = [f"scpd.identity.{name}" for name in ("ldap", "jwt", "saml", "kerberos", "passwords")]
    imported = one.execute("/opt/scpd/bin/python", "-c", f"import {', '.join(providers)}")
    assert (imported.returncode, imported.stderr) == (0, "")
    assert one.image.environment["KRB5RCACHEDIR"] == "/var/lib/scpd", "where Kerberos remembers tickets that were used"


# -- it ends


def test_sigterm_lets_an_association_finish_and_ends_with_0(container, free_port, connect):
    """On this machine's own loopback, since the association is held by this process."""
    environment = {"SCPD_BIND": f"127.0.0.1:{free_port}", "SCPD_RESERVE": "0", "SCPD_SHUTDOWN": "60s"}
    one = container(environment=environment, own_network=False)
    client = connect(free_port)
    assert isinstance(client.associate(), AssociateAC)
    one.send_signal(signal.SIGTERM)
    assert one.wait_for("stopping")["associations"] == 1
    assert one.process.poll() is None
    client.release()
    assert one.wait() == 0
    assert one.wait_for("association")["ended"] == "released"


def test_sigterm_is_heard_from_the_first_moment(container):
    """A first process that has not asked for a signal does not get it; tini has."""
    one = container(ready=False)
    wait_until(lambda: one.first == "tini")
    began = time.monotonic()
    one.send_signal(signal.SIGTERM)
    assert one.wait() in (0, 128 + signal.SIGTERM)
    assert time.monotonic() - began < 5


def test_what_programs_leave_behind_is_reaped(container):
    """An orphan goes to process 1; had that no ear for it, it would stay as a zombie for ever."""
    one = container(environment={"SCPD_RESERVE": "0"})
    quiet = "sleep 600 </dev/null >/dev/null 2>&1 &"
    one.execute("sh", "-c", f"({quiet} {quiet})")
    orphans = one.processes("sleep")
    assert [orphan.parent for orphan in orphans] == [1, 1]
    one.execute("sh", "-c", f"kill -9 {orphans[0].number} {orphans[1].number}")
    wait_until(lambda: not one.processes("sleep"))
    assert one.stop() == 0


def test_what_a_program_of_a_hook_leaves_behind_is_reaped_too(container, tmp_path, settings, peer):
    left = 'exec sh -c "sleep 600 </dev/null >/dev/null 2>&1 & true"'
    hook = {"kind": "exec", "name": "left", "on": "instance", "command": ["/bin/sh", "-c", left]}
    one = container(
        mounts={"/etc/scpd/scpd.yaml": write(tmp_path / "mounted.yaml", {**settings, "hooks": [hook]})},
    )
    assert one.beside(peer("storescu"), "127.0.0.1", "11112", FILE).returncode == 0
    wait_until(lambda: [orphan.parent for orphan in one.processes("sleep")] == [1])
    (orphan,) = one.processes("sleep")
    one.execute("sh", "-c", f"kill -9 {orphan.number}")
    wait_until(lambda: not one.processes("sleep"))
    assert one.stop() == 0
