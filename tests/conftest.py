"""What every room of the tests may use: a real daemon, real peers, and a client for bytes made by hand.

- ``daemon(storage={"duplicates": "keep"}, …)`` starts ``scpd run`` and gives a :class:`Daemon`
- ``connect(daemon.port)`` gives a :class:`RawClient`
- ``postgres`` is a PostgreSQL of the whole session; who stops or breaks one makes one of its own
- ``database_url`` is that of an empty database: the test runs once with SQLite, and once with PostgreSQL
- ``peer("storescu")`` gives the path of a program, ``peer("pynetdicom")`` a module, or skips the test

Nothing here sleeps: every wait is on a condition, a socket or a process, and has a deadline.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from components.postgres import Postgres
from hypothesis import settings

from scpd.dimse import codec, fragment
from scpd.wire.contexts import PresentationContextRQ
from scpd.wire.pdu import DECODERS, PDU, AssociateRQ, DataTF, PDUType, ReleaseRP, ReleaseRQ, encode_title
from scpd.wire.user_info import UserInformation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import ModuleType

    from scpd.dimse.command import Command

settings.register_profile("scpd", deadline=None)  # a busy machine is no failure
settings.load_profile("scpd")

PATIENCE = 30.0  # seconds until something that must happen counts as never
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
DCMTK = (
    *("dcmcjpeg", "dcmcjpls", "dcmconv", "dcmcrle", "dcmdjpeg", "dcmdump", "dcmodify", "dcmsend"),
    *("echoscu", "findscu", "getscu", "movescu", "storescp", "storescu"),
)


class Daemon:
    """A running ``scpd run``. ``lines`` is its standard error as it came, ``logs`` the same as data."""

    def __init__(self, config: Path, directory: Path, wrap: Iterable[str] = (), env: Mapping[str, str] | None = None):
        self.config = config
        self.directory = directory
        self.lines: list[str] = []
        self.logs: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            [*wrap, sys.executable, "-m", "scpd", "run", str(config)],
            cwd=config.parent,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._reader = threading.Thread(target=self._read, name="daemon's log", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        """The port of the first server, which the system chose."""
        listening = self.wait_for_log(lambda line: line["event"] == "listening")
        return int(listening["address"].rpartition(":")[2])

    def port_of(self, server: str) -> int:
        listening = self.wait_for_log(lambda line: line["event"] == "listening" and line["server"] == server)
        return int(listening["address"].rpartition(":")[2])

    def wait_for_log(self, predicate: Callable[[dict[str, Any]], bool], timeout: float = PATIENCE) -> dict[str, Any]:
        """The first line, old or new, that ``predicate`` likes."""
        return self.wait_for_logs(predicate, 1, timeout)[0]

    def wait_for_logs(
        self, predicate: Callable[[dict[str, Any]], bool], count: int, timeout: float = PATIENCE
    ) -> list[dict[str, Any]]:
        """All lines that ``predicate`` likes, once there are ``count`` of them."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.logs if predicate(line)]

        with self._changed:
            self._changed.wait_for(lambda: len(found()) >= count or self._ended, timeout)
            lines = found()
            shown = "\n".join(self.lines[-20:])
        assert len(lines) >= count, f"{len(lines)} of {count} log lines came (exit {self.process.poll()}):\n{shown}"
        return lines

    def associations(self, count: int = 1) -> list[dict[str, Any]]:
        """The canonical lines of the associations that have ended, once there are ``count``."""
        return self.wait_for_logs(lambda line: line["event"] == "association", count)

    def stored(self) -> list[Path]:
        """The instances under their final names."""
        return sorted(
            path
            for path in self.directory.rglob("*")
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(self.directory).parts)
        )

    def spool(self) -> list[Path]:
        """What is on its way, or was left behind."""
        return sorted((self.directory / ".incoming").iterdir())

    def send_signal(self, number: int) -> None:
        self.process.send_signal(number)

    def reload(self) -> dict[str, Any]:
        """SIGHUP; the line that says what came of it."""

        def told(line: dict[str, Any]) -> bool:
            return line["event"] in ("reloaded", "reload failed: nothing has changed")

        count = sum(map(told, self.logs))
        self.send_signal(signal.SIGHUP)
        return self.wait_for_logs(told, count + 1)[-1]

    def wait(self, timeout: float = PATIENCE) -> int:
        """The exit code, once it has ended and its last line was read."""
        code = self.process.wait(timeout)
        self._reader.join(timeout)
        return code

    def stop(self, timeout: float = PATIENCE) -> int:
        """SIGTERM and the exit code."""
        self.process.terminate()
        return self.wait(timeout)

    def clean_up(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        self._reader.join(PATIENCE)
        self.process.stderr.close()

    def _read(self) -> None:
        for raw in self.process.stderr:
            line = raw.decode(errors="replace").rstrip("\n")
            try:
                data = json.loads(line)
            except ValueError:
                data = {"event": "", "raw": line}
            with self._changed:
                self.lines.append(line)
                self.logs.append(data)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class RawClient:
    """A connection that says what it is told, right or wrong."""

    def __init__(self, port: int, host: str = "127.0.0.1", timeout: float = PATIENCE):
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def associate(
        self,
        contexts: Mapping[int, tuple[str, Iterable[str]]] | None = None,
        *,
        calling: str = "RAW",
        called: str = "SCPD",
        **user_information: Any,
    ) -> PDU | None:
        """Propose ``contexts`` (ID: abstract syntax, transfer syntaxes; Verification by default); the answer."""
        user_information.setdefault("maximum_length", 16384)
        proposed = contexts or {1: (VERIFICATION, (IMPLICIT,))}
        request = AssociateRQ(
            called_field=encode_title(called),
            calling_field=encode_title(calling),
            user_information=UserInformation(implementation_class_uid="1.2.3.4", **user_information),
            presentation_contexts=tuple(
                PresentationContextRQ(number, abstract, tuple(syntaxes))
                for number, (abstract, syntaxes) in proposed.items()
            ),
        )
        self.send(request.encode())
        return self.receive()

    def receive(self, timeout: float = PATIENCE) -> PDU | None:
        """The next PDU, or None when the peer closed the connection."""
        self.socket.settimeout(timeout)
        header = self._exactly(6)
        if header is None:
            return None
        body = self._exactly(int.from_bytes(header[2:]))
        assert body is not None, "the connection was closed inside a PDU"
        decoder = DataTF if header[0] == PDUType.P_DATA_TF else DECODERS[header[0]]
        return decoder.decode(memoryview(body))

    def send_message(self, context_id: int, command: Command, data: bytes = b"", maximum_length: int = 16384) -> None:
        """A message; its data set, if any, is ``data``."""
        parts = [fragment.command(context_id, codec.encode(command), maximum_length)]
        if command.has_data_set:
            for pair in fragment.data_set(context_id, memoryview(data), maximum_length):
                parts += pair
        self.send(b"".join(parts))

    def receive_command(self) -> Command:
        """The next message's command set; it must have no data set."""
        gathered = b""
        while True:
            pdu = self.receive()
            assert isinstance(pdu, DataTF), f"{pdu} instead of a command set"
            for value in pdu.values:
                assert value.is_command
                gathered += value.data
                if value.is_last:
                    return codec.decode(gathered)

    def release(self) -> None:
        """A-RELEASE, both ways, and the close."""
        self.send(ReleaseRQ().encode())
        answer = self.receive()
        assert isinstance(answer, ReleaseRP), f"{answer} instead of A-RELEASE-RP"
        self.close()

    def is_closed_by_peer(self, timeout: float = PATIENCE) -> bool:
        """Whether the peer closes, or resets, within ``timeout``; what it still says is thrown away."""
        self.socket.settimeout(timeout)
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self.socket.close()

    def _exactly(self, count: int) -> bytes | None:
        data = bytearray()
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                return None
            data += more
        return bytes(data)


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on just now; where it can be, let the daemon take port 0 instead."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _merged(settings: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(settings)
    for key, value in overrides.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _start(folder: Path, started: list[Daemon], wrap, env, ready, overrides) -> Daemon:
    number = len(started)
    settings = {
        "ae_title": "SCPD",
        "bind": "127.0.0.1:0",
        "contexts": ["verification", {"sop_classes": "storage", "transfer_syntaxes": "all"}],
        "storage": {"directory": str(folder / f"store-{number}"), "reserve": 0},
        "logging": {"level": "info", "format": "json"},
    }
    settings = _merged(settings, overrides)
    config = folder / f"scpd-{number}.yaml"
    config.write_text(yaml.safe_dump(settings, sort_keys=False))
    one = Daemon(config, Path(settings["storage"]["directory"]), wrap, env)
    started.append(one)
    if ready:
        one.wait_for_log(lambda line: line["event"] == "ready")
    return one


@pytest.fixture
def daemon(tmp_path) -> Iterator[Callable[..., Daemon]]:
    """Start a daemon: keywords are keys of the configuration, mappings merged key by key into the usual one.

    ``wrap`` goes before the command (``("prlimit", "--nofile=64")``), ``env`` into its environment; with
    ``ready=False`` nobody waits until it serves.
    """
    started: list[Daemon] = []

    def start(*, wrap: Iterable[str] = (), env: Mapping[str, str] | None = None, ready: bool = True, **overrides):
        return _start(tmp_path, started, wrap, env, ready, overrides)

    yield start
    for one in started:
        one.clean_up()


@pytest.fixture(scope="module")
def shared_daemon(tmp_path_factory) -> Iterator[Callable[..., Daemon]]:
    """The same, for a daemon that several tests of a module use."""
    started: list[Daemon] = []
    folder = tmp_path_factory.mktemp("shared")

    def start(*, wrap: Iterable[str] = (), env: Mapping[str, str] | None = None, ready: bool = True, **overrides):
        return _start(folder, started, wrap, env, ready, overrides)

    yield start
    for one in started:
        one.clean_up()


@pytest.fixture
def connect() -> Iterator[Callable[..., RawClient]]:
    """Connect by hand; what is open at the end is closed."""
    clients: list[RawClient] = []

    def make(port: int, **how: Any) -> RawClient:
        clients.append(RawClient(port, **how))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@functools.cache
def _find(name: str) -> str | ModuleType | None:
    if name == "pynetdicom":
        try:
            return importlib.import_module(name)
        except ImportError:
            return None
    for folder in os.get_exec_path():
        path = shutil.which(name, path=folder)
        if path and (name not in DCMTK or _is_dcmtk(path)):
            return path
    return None


def _is_dcmtk(path: str) -> bool:
    # pynetdicom installs programs of the same names.
    return b"dcmtk" in subprocess.run([path, "--version"], capture_output=True, timeout=PATIENCE, check=False).stdout


@pytest.fixture(scope="session")
def peer() -> Callable[[str], Any]:
    """The path of a program, or the module pynetdicom. Without it the test is skipped, but in CI it fails."""

    def find(name: str) -> Any:
        found = _find(name)
        if found is None and os.environ.get("CI"):
            pytest.fail(f"{name} is not installed, and in CI no peer may be missing")
        if found is None:
            pytest.skip(f"{name} is not installed")
        return found

    return find


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'index' / 'index.db'}"
    return request.getfixturevalue("postgres").create_database()
