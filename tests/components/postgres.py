"""A real PostgreSQL: a server of its own with its own data, in a temporary folder, on a free port of 127.0.0.1.

- ``with Postgres() as server:`` serves; ``server.url("one")`` is where the database ``one`` is
- ``server.create_database()`` makes an empty one under a new name, and gives its URL
- ``with server.frozen():`` it takes connections and says nothing; ``server.stop()``, ``server.crash()`` and
  ``server.start()`` as often as it takes: it stays on its port, with its data

No cluster of the system is used. PostgreSQL refuses to run as root, so root runs it as another user.
"""

from __future__ import annotations

import itertools
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from components.realm import PATIENCE, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

USER, PASSWORD = "scpd", "correct-horse"
_WHERE = "/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"  # Debian's and Red Hat's, a folder for each version
_USERS = "postgres", "nobody"
# Nothing here has to survive a machine that loses its power; what was committed survives a crash of the server.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
    "timezone": "UTC",
}


def programs() -> Path | None:
    """The folder of PostgreSQL's programs, of the latest version that is installed; None without any."""
    folders = [found for pattern in _WHERE for found in Path("/").glob(pattern[1:]) if (found / "initdb").exists()]
    if folders:
        return max(folders, key=lambda folder: [int(number) for number in re.findall(r"\d+", str(folder))])
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def _required() -> Path:
    """The same; without any the test is skipped, but in CI it fails."""
    found = programs()
    if found is None and os.environ.get("CI"):
        pytest.fail("PostgreSQL is not installed, and in CI no program may be missing")
    if found is None:
        pytest.skip("PostgreSQL (initdb, postgres) is not installed")
    return found


def _as_whom() -> dict[str, Any]:
    """Keywords for :class:`subprocess.Popen`: root becomes somebody else."""
    if os.geteuid() != 0:
        return {}
    for name in _USERS:
        with suppress(KeyError):
            found = pwd.getpwnam(name)
            return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": ()}
    pytest.skip(f"PostgreSQL does not run as root, and there is no user {' or '.join(_USERS)}")


class Postgres:
    """A server, from ``with`` to its end. ``settings`` are those of postgresql.conf."""

    def __init__(self, **settings: str):
        self._settings = {**_SETTINGS, **settings}
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._programs, self._whom = _required(), _as_whom()
        with ExitStack() as stack:
            # Not in a folder of pytest's, which only its own user may enter.
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postgres-")))
            if self._whom:
                os.chown(self.folder, self._whom["user"], self._whom["group"])
            self.port = free_port()
            self._make()
            stack.callback(self.crash)
            self.start()
            self._opened = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def _make(self) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD)
        how = ["--username", USER, "--pwfile", password, "--auth", "scram-sha-256", "--no-sync"]
        self._run("initdb", "--pgdata", self.folder / "data", *how, "--encoding", "UTF8", "--locale", "C.UTF-8")

    # -- databases

    def url(self, database: str = "postgres") -> str:
        """Where a database is, user and password included."""
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str = "") -> str:
        """A new, empty database, under a name of its own without ``name``; its URL."""
        name = name or f"test_{next(self._numbers)}"
        self._run("createdb", name)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever uses it."""
        self._run("dropdb", "--force", name)

    # -- what may happen to a server

    def start(self) -> None:
        """Serve, which it does when this returns."""
        settings = [f"-c{key}={value}" for key, value in {**self._settings, "port": str(self.port)}.items()]
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.folder / "data", *settings],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                **self._whom,
            )
        self._wait_until_it_serves(self._process)

    def stop(self) -> None:
        """Serve no more: whoever is connected is thrown out, what was written is kept. It may be started again."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """The same without any care: the next start has to recover."""
        self._end(signal.SIGQUIT)

    def freeze(self) -> None:
        """It takes connections and says nothing, until :meth:`thaw`."""
        self._process.send_signal(signal.SIGSTOP)  # before it could have another child
        for child in self._children():
            os.kill(child, signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on as if nothing had been."""
        for child in self._children():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGCONT)
        self._process.send_signal(signal.SIGCONT)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Frozen meanwhile."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def _end(self, how: signal.Signals) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        self.thaw()
        process.send_signal(how)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()  # its children end themselves then
            process.wait(PATIENCE)

    def _children(self) -> list[int]:
        """Each connection is a process, and so is each of its own tasks; they are in no group together."""
        pid = self._process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def _wait_until_it_serves(self, process: subprocess.Popen[bytes]) -> None:
        """It takes connections before it can serve them, while it recovers."""
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            if self._program("pg_isready", "--quiet").returncode == 0:
                return
            with suppress(subprocess.TimeoutExpired):
                raise RuntimeError(f"postgres ended with {process.wait(0.02)}:\n{self._said()}")
        raise TimeoutError(f"postgres does not serve port {self.port}:\n{self._said()}")

    def _said(self) -> str:
        return (self.folder / "output").read_text(errors="replace")[-2000:]

    def _run(self, name: str, *arguments: object) -> None:
        done = self._program(name, *arguments)
        assert done.returncode == 0, f"{name} failed:\n{done.stdout.decode(errors='replace')}"

    def _program(self, name: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
        where = {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": USER, "PGPASSWORD": PASSWORD}
        return subprocess.run(
            [self._programs / name, *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, **where},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
            **self._whom,
        )
