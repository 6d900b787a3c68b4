"""Little is left to whoever gets hold of the process, and everything that scpd does still works."""

from __future__ import annotations

import json

import pytest
from components.authority import Authority
from components.machine import wait_until


def test_there_is_little_exposure(machine):
    machine.systemctl("start", "scpd")
    found = json.loads(machine.run("systemd-analyze", "security", "scpd.service", "--json=short", "--no-pager").stdout)
    told = machine.run("systemd-analyze", "security", "scpd.service", "--no-pager").stdout.splitlines()[-1]
    assert len(found) > 50
    assert float(told.partition("scpd.service: ")[2].split()[0]) <= 1.5


def test_tls_and_passwords_work_in_it(machine, send, tmp_path):
    """Argon2 by way of cffi, where no memory may be written and executed."""
    authority = Authority(tmp_path)
    server = authority.server()
    machine.write("/etc/scpd/tls.crt", server.chain.read_text())
    machine.write("/etc/scpd/tls.key", server.key.read_text(), mode="0640", group="scpd")
    machine.write("/etc/ca.crt", authority.certificate.read_text())
    machine.write("/root/password", "correct horse\n")
    machine.write("/root/wrong", "wrong horse\n")
    machine.run("sh", "-c", "/opt/scpd/bin/scpd passwd /etc/scpd/users alice < /root/password")
    machine.run("chown", "root:scpd", "/etc/scpd/users")
    machine.run("chmod", "0640", "/etc/scpd/users")
    identity = {"policy": "require", "providers": [{"kind": "passwords", "file": "/etc/scpd/users"}]}
    tls = {"certificate": "/etc/scpd/tls.crt", "key": "/etc/scpd/tls.key"}
    machine.configure(tls=tls, user_identity=identity)
    machine.systemctl("start", "scpd")
    who = ("--ca", "/etc/ca.crt", "--tls-name", "localhost", "--user", "alice", "--password-file")
    send(11112, *who, "/root/password")
    assert send(11112, *who, "/root/wrong", check=False).returncode == 1
    (line,) = [line for line in machine.logs() if line["event"] == "association"]
    assert line["user"] == "alice"
    assert line["tls"]


def test_programs_of_hooks_run_in_it(machine, send):
    told = ["/bin/sh", "-c", "id -un > /var/lib/scpd/told"]
    hook = {"kind": "exec", "name": "hook", "on": "instance", "command": told}
    machine.configure(hooks=[hook], queue={"directory": "/var/lib/scpd/queue"})
    machine.systemctl("start", "scpd")
    send(11112)
    written = machine.path("/var/lib/scpd/told")
    wait_until(lambda: written.exists() and written.read_text() == "scpd\n", "the hook's program")


def test_password_hashes_may_give_way_to_associations_in_it(machine):
    nicer = "import os; os.setpriority(os.PRIO_PROCESS, 0, 10); open('/var/lib/scpd/nice', 'w').write(str(os.nice(0)))"
    machine.drop_in(f'[Service]\nExecStartPost=/opt/scpd/bin/python -c "{nicer}"\n')
    machine.systemctl("start", "scpd")
    assert machine.path("/var/lib/scpd/nice").read_text() == "10"


@pytest.mark.parametrize("place", ["/etc/scpd/x", "/usr/x", "/root/x", "/home/x", "/srv/x"])
def test_nothing_can_be_written_outside_its_directories(machine, place):
    machine.drop_in(f"[Service]\nExecStartPost=/bin/sh -c '! touch {place}'\n")
    machine.systemctl("start", "scpd")
    assert not machine.path(place).exists()


def test_the_admin_endpoint_answers_on_loopback(machine):
    machine.configure(admin={"bind": "127.0.0.1:8104"})
    machine.systemctl("start", "scpd")
    ask = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8104/ready', timeout=20).status)"
    assert machine.python(ask) == "200"


def test_secrets_come_as_credentials(machine, tmp_path):
    """Of root alone, and of nobody else: a file, and what stands in one."""
    authority = Authority(tmp_path)
    server = authority.server()
    machine.write("/etc/scpd/tls.crt", server.chain.read_text())
    machine.write("/etc/ca.crt", authority.certificate.read_text())
    machine.write("/root/tls.key", server.key_file(password="correct horse").read_text(), mode="0600")
    machine.write("/root/tls.password", "correct horse\n", mode="0600")
    names = ("tls.key", "tls.password")
    machine.drop_in("\n".join(["[Service]", *(f"LoadCredential={name}:/root/{name}" for name in names)]))
    key, password = (f"${{CREDENTIALS_DIRECTORY}}/{name}" for name in names)
    machine.configure(tls={"certificate": "/etc/scpd/tls.crt", "key": key, "key_password": f"file:{password}"})
    machine.systemctl("start", "scpd")
    machine.scpd("echo", "127.0.0.1:11112", "--ca", "/etc/ca.crt", "--tls-name", "localhost")
    machine.systemctl("reload", "scpd")
    assert [line["event"] for line in machine.logs()].count("reloaded") == 1
