"""A machine of each version of systemd in turn, and peers in it.

``machine`` is put back for every test: no unit of scpd's runs, and nothing is left of what another test wrote.
"""

from __future__ import annotations

import os
import select
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from components.machine import PATIENCE, Machine, missing, wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
SUITES = {"bookworm": 252, "trixie": 257}


def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.systemd)


@pytest.fixture(scope="session")
def _installed(tmp_path_factory) -> Path:
    what = missing()
    if what and os.environ.get("CI"):
        pytest.fail(f"without {what} no machine can be booted, and in CI nothing may be missing")
    if what:
        pytest.skip(f"without {what} no machine can be booted")
    return wheel(tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="session", params=SUITES, ids=[f"systemd {version}" for version in SUITES.values()])
def _booted(request, _installed) -> Iterator[Machine]:
    machine = Machine(request.param, _installed)
    yield machine
    machine.power_off()


@pytest.fixture
def machine(_booted) -> Machine:
    _booted.restore()
    _booted.prepare()
    _booted.configure()
    return _booted


@pytest.fixture
def unprepared(_booted) -> Machine:
    """The same before anybody made the user and the directories."""
    _booted.restore()
    _booted.run("userdel", "scpd", check=False)
    return _booted


# A peer in there. It tells what happens, a line each, and does as it is told.
_PEER = """
import sys
from scpd import AE
ae = AE(ae_title="CT1")
ae.add_requested_context("1.2.840.10008.1.1")
one = ae.associate("127.0.0.1", int(sys.argv[1]))
print("established" if one.is_established else "not established", flush=True)
for line in sys.stdin:
    print(getattr(one.send_c_echo(), "Status", None) if one.is_established else "gone", flush=True)
one.release()
"""
# One association after the other until it is told to stop; then, what became of them.
_CALLERS = """
import collections, json, select, socket, sys
from scpd import AE
ae = AE(ae_title="CT1")
ae.add_requested_context("1.2.840.10008.1.1")
port, seen = int(sys.argv[1]), collections.Counter()
while not select.select([sys.stdin], [], [], 0)[0]:
    try:
        socket.create_connection(("127.0.0.1", port), 20).close()
    except OSError as error:
        seen[type(error).__name__] += 1
        continue
    one = ae.associate("127.0.0.1", port)
    if not one.is_established:
        seen["not established"] += 1
        continue
    seen["echoed" if getattr(one.send_c_echo(), "Status", None) == 0 else "aborted"] += 1
    one.release()
    if seen.total() == 1:
        print("begun", flush=True)
print(json.dumps(seen), flush=True)
"""


class Peer:
    """A program in the machine that is told line by line."""

    def __init__(self, machine: Machine, script: str, *arguments: object) -> None:
        command = machine.enter("/opt/scpd/bin/python", "-c", script, *map(str, arguments))
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.first = self._line()

    def _line(self) -> str:
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        assert ready, "the peer says nothing"
        return self._process.stdout.readline().strip()

    def ask(self, what: str = "echo") -> str:
        self._process.stdin.write(f"{what}\n")
        return self._line()

    def end(self) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()


@pytest.fixture
def peer(machine) -> Iterator[Callable[..., Peer]]:
    """``peer()`` has an open association, and answers ``ask()`` with the status of a C-ECHO, or gone."""
    peers: list[Peer] = []

    def begin(port: int = 11112, script: str = _PEER) -> Peer:
        peers.append(Peer(machine, script, port))
        return peers[-1]

    yield begin
    for one in peers:
        one.end()


@pytest.fixture
def callers(peer) -> Callable[..., Peer]:
    """``callers(port)`` calls again and again; ``ask()`` ends that, and says what became of how many."""
    return lambda port=11112: peer(port, _CALLERS)


@pytest.fixture
def send(machine) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Send one instance to a port of the machine, with options of ``scpd send``."""
    instance = machine.python("from pydicom.data import get_testdata_file as find; print(find('CT_small.dcm'))")

    def send(port: int, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return machine.scpd("send", *options, f"127.0.0.1:{port}", instance, check=check)

    return send
