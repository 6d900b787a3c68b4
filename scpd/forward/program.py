"""A hook that is a program: started with the event in its environment and on its standard input, never by a shell.

What it writes to standard error is quoted in the log where it fails; what it writes elsewhere is nobody's. Knows no
queue.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import threading
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, Self, cast

from scpd.forward.runner import Failed
from scpd.names import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scpd.forward.queue import Job

# What is passed on of this process's own environment: nothing that could be a secret of its configuration.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
# What of the event stands in the environment too, as SCPD_ and the name in capitals.
_IN_ENVIRONMENT = (
    *("event", "delivery", "server", "path", "study_instance_uid", "series_instance_uid", "sop_instance_uid"),
    *("sop_class_uid", "calling", "called", "peer", "instances"),
)
_QUOTED = 400  # octets of standard error that are kept
_AT_ONCE = 65536
# What a process has left in the pipe at its end is read, but not for as long as its children go on writing.
_LAST_READS = 16
# How long the system may take to end a process that was killed (seconds).
_LAST_MOMENT = 5.0


class Program:
    """Runs ``command``, whose first word is an absolute path, for up to ``timeout`` seconds each time."""

    def __init__(self, name: str, command: Sequence[str], *, timeout: float, attempts: int, concurrency: int) -> None:
        self.name = name
        self.attempts = attempts
        self.concurrency = concurrency
        self._command = tuple(command)
        self._timeout = timeout
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()

    def deliver(self, job: Job) -> None:
        """Run it, and wait for its end. Raises :class:`Failed` unless it exits with 0 in time."""
        event = {**job.payload, "delivery": job.delivery}
        process = self._started(event)
        in_time = False
        try:
            with _Errors(process) as errors:
                in_time = errors.gather(time.monotonic() + self._timeout)
        except OSError as error:  # no descriptor is left
            raise Failed(f"it cannot be watched, and was killed: {error.strerror or error}") from error
        finally:
            self._end(process, kill=not in_time)
        said = _said(errors.first, event)
        if not in_time:
            raise Failed(f"it took longer than {self._timeout:g} s and was killed{said}")
        if process.returncode:
            raise Failed(f"{_how(process.returncode)}{said}")

    def _started(self, event: Mapping[str, Any]) -> subprocess.Popen[bytes]:
        try:
            # A file in memory, and no pipe: whether it is read is the program's business.
            with os.fdopen(os.memfd_create("event"), "w+b") as text, self._lock:
                text.write(json.dumps(event).encode())
                text.seek(0)
                process = subprocess.Popen(  # noqa: S603 a list of words, and the administrator's
                    self._command,
                    stdin=text,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    cwd="/",
                    env=_environment(event),
                    start_new_session=True,
                )
                self._running.add(process)
        except OSError as error:
            raise Failed(f"{self._command[0]} cannot be started: {error.strerror or error}") from error
        return process

    def _end(self, process: subprocess.Popen[bytes], *, kill: bool) -> None:
        with self._lock:  # once it is waited for, its number may be another's
            if kill:
                _kill(process)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LAST_MOMENT)
            self._running.discard(process)

    def abandon(self) -> None:
        """Kill every run, with all that it started."""
        with self._lock:
            for process in self._running:
                _kill(process)


class _Errors:
    """The standard error of a process: ``first`` is how it begins."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.first = b""
        self._file = cast("IO[bytes]", process.stderr)
        self._pipe = self._file.fileno()
        try:
            self._end = os.pidfd_open(process.pid)
        except OSError:
            self._file.close()
            raise
        self._ready = select.poll()
        self._ready.register(self._pipe, select.POLLIN)
        self._ready.register(self._end, select.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._end)
        self._file.close()

    def gather(self, deadline: float) -> bool:
        """Read until the process has ended; False where it has not by ``deadline`` (monotonic)."""
        while True:
            ready = [descriptor for descriptor, _ in self._ready.poll(max(0.0, deadline - time.monotonic()) * 1000)]
            if self._end in ready:
                break
            if not ready and time.monotonic() >= deadline:
                return False
            if self._pipe in ready:
                self._read()
        for _ in range(_LAST_READS):
            if self._pipe not in [descriptor for descriptor, _ in self._ready.poll(0)]:
                break
            self._read()
        return True

    def _read(self) -> None:
        text = os.read(self._pipe, _AT_ONCE)
        self.first += text[: _QUOTED - len(self.first)]
        if not text:
            self._ready.unregister(self._pipe)


def _environment(event: Mapping[str, Any]) -> dict[str, str]:
    own = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return own | {f"SCPD_{name.upper()}": str(event[name]) for name in _IN_ENVIRONMENT if name in event}


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _how(code: int) -> str:
    if code > 0:
        return f"exit status {code}"
    with suppress(ValueError):
        return f"ended by {signal.Signals(-code).name}"
    return f"ended by signal {-code}"


def _said(text: bytes, event: Mapping[str, Any]) -> str:
    """How standard error begins, for the log; a path below the storage directory may name a patient."""
    said = text.decode("utf-8", "replace").strip()
    if directory := event.get("directory"):
        said = re.sub(re.escape(directory) + r"/[^\s'\"]*", "(path)", said)
    return f": {quote(said, _QUOTED)}" if said else ""
