"""The hooks of the configuration → the queue, and who works for each hook."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scpd.config.tls import PeerTLSConfig
from scpd.daemon.promises import Desk
from scpd.daemon.security import tls_files
from scpd.errors import ConfigurationError, SettingError
from scpd.forward import studies
from scpd.forward.address import parse_url
from scpd.forward.queue import Queue, QueueError, Standing
from scpd.forward.runner import Runner
from scpd.forward.studies import Studies
from scpd.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scpd.config import Config, HookConfig, ServerConfig
    from scpd.forward.runner import Target

# At the end: for what is being done, and for the disk (seconds). What is not done then begins anew with the next start.
_LAST_JOBS = 5.0
_LAST_WRITES = 5.0
PATIENCE_AT_THE_END = _LAST_JOBS + _LAST_WRITES
_NOTHING = Standing(0, 0, 0.0)


class HookStanding(NamedTuple):
    """How one hook stands. ``studies`` are not quiet yet; ``is_configured`` is False for what only the queue knows."""

    name: str
    is_configured: bool
    waiting: int
    running: int
    set_aside: int
    studies: int
    oldest_waiting_seconds: float
    last_error: str


class HandOvers:
    """What hands over, for all servers of a configuration; nothing is begun before :meth:`begin`.

    ``before`` is the one in force: its queue stays open, and what it is doing goes on. Raises
    :class:`ConfigurationError` for a queue that cannot be used, and for certificates that cannot.
    """

    def __init__(self, config: Config, before: HandOvers | None = None) -> None:
        self.line: _Line = before.line if before else _Line()
        self._hooks = {hook.name: hook for server in config.servers for hook in server.hooks}
        self._targets = dict(_targets(config))
        directory = queue_directory(config)
        if directory:
            self.line.open(directory, config.near(None, "queue.directory"))

    def desk(self, server: ServerConfig) -> Desk | None:
        """What one server promises its instances to; None where it has no hooks."""
        if not server.hooks or not self.line.queue or not self.line.studies:
            return None
        return Desk(self.line.queue, self.line.studies, server)

    def begin(self) -> None:
        """Work for these hooks from now on, and for no others."""
        queue, open_studies, runners = self.line.queue, self.line.studies, self.line.runners
        if not queue or not open_studies:
            return
        for name, target in self._targets.items():
            runners.setdefault(name, Runner(queue)).adopt(target)
        for name, runner in runners.items():
            if name not in self._targets:
                runner.stop()
        open_studies.watch({name: hook.seconds_of_quiet for name, hook in self._hooks.items() if hook.on == "study"})
        for one in self.standings():
            if not one.is_configured and (one.waiting or one.studies):
                self.line.log.warning(
                    "jobs wait for a hook that is not configured; write it again, or drop them by scpd queue",
                    hook=one.name,
                    waiting=one.waiting,
                    studies=one.studies,
                )

    @property
    def directory(self) -> Path | None:
        """Where the queue is that is open; None where there is none."""
        return self.line.queue.database.path.parent if self.line.queue else None

    def trouble(self) -> str:
        """Why nothing can be promised at the moment, or nothing: instances with hooks are answered A700 then."""
        return self.line.queue.database.trouble() if self.line.queue else ""

    def standings(self) -> list[HookStanding]:
        """How the hooks stand, those in the configuration first."""
        queue, open_studies = self.line.queue, self.line.studies
        error = ""
        jobs: Mapping[str, Standing] = {}
        try:
            jobs = queue.standings() if queue else {}
        except QueueError as failure:
            error = str(failure)
        underway = open_studies.waiting() if open_studies else {}
        return [self._standing(name, jobs, underway, error) for name in dict.fromkeys((*self._hooks, *jobs, *underway))]

    def _standing(
        self, name: str, jobs: Mapping[str, Standing], underway: Mapping[str, int], error: str
    ) -> HookStanding:
        job, runner = jobs.get(name, _NOTHING), self.line.runners.get(name)
        running = runner.running if runner else 0
        return HookStanding(
            name=name,
            is_configured=name in self._hooks,
            waiting=max(0, job.waiting - running),
            running=running,
            set_aside=job.set_aside,
            studies=underway.get(name, 0),
            oldest_waiting_seconds=job.oldest,
            last_error=error or (runner.last_error if runner else ""),
        )

    def close(self) -> None:
        """Wait a little for what is being done; the rest stays in the queue for the next start."""
        self.line.close()


class _Line:
    """What outlives a reload: the open queue, the studies on their way, and a runner for each hook there ever was."""

    def __init__(self) -> None:
        self.log = logger("hooks")
        self.queue: Queue | None = None
        self.studies: Studies | None = None
        self.runners: dict[str, Runner] = {}
        self._directory = Path()

    def open(self, directory: Path, where: str) -> None:
        """Open the queue, where it is not open already. Raises :class:`ConfigurationError`."""
        if self.queue:
            if directory.absolute() != self._directory:
                self.log.warning("reload: queue.directory is another, and takes effect at the next start")
            return
        try:
            self.queue, self.studies = _opened(directory)
        except QueueError as error:
            raise ConfigurationError([f"{where}: queue.directory: {error}"]) from error
        self._directory = directory.absolute()

    def close(self) -> None:
        if not self.queue or not self.studies:
            return
        self.studies.stop()
        for runner in self.runners.values():
            runner.stop()
        deadline = time.monotonic() + _LAST_JOBS
        for runner in self.runners.values():
            runner.join(deadline)
        self.queue.close(_LAST_WRITES)


def _opened(directory: Path) -> tuple[Queue, Studies]:
    """The queue, with what an earlier process left in it. Raises :class:`QueueError`."""
    queue = Queue(directory, studies.SCHEMA)
    underway = Studies(queue)
    try:
        underway.recover()
        queue.recover(lambda payload: os.path.lexists(payload["path"]))
    except QueueError:
        queue.close(_LAST_WRITES)
        raise
    return queue, underway


def queue_directory(config: Config) -> Path | None:
    """Where the queue is; None where nothing needs one."""
    if config.queue.directory:
        return config.queue.directory
    return next((server.storage.directory / ".queue" for server in config.servers if server.hooks), None)


def _targets(config: Config) -> Iterator[tuple[str, Target]]:
    for server in config.servers:
        for number, hook in enumerate(server.hooks):
            try:
                yield hook.name, _target(hook)
            except SettingError as error:
                key = f"hooks[{number}].tls.{error.key}"
                raise ConfigurationError([f"{config.near(server.name, key)}: {key}: {error.what}"]) from error


def _target(hook: HookConfig) -> Target:
    limits: dict[str, Any] = {
        "timeout": hook.timeout,
        "attempts": hook.attempts,
        "concurrency": hook.concurrency,
    }
    if hook.kind == "exec":
        from scpd.forward.program import Program  # noqa: PLC0415 not for a start without it

        return Program(hook.name, hook.command, **limits)
    from scpd.forward.webhook import Webhook  # noqa: PLC0415 not for a start without it

    address, tls = parse_url(hook.url), hook.tls or PeerTLSConfig()
    if not address.is_secure:
        return Webhook(hook.name, address, hook.secret, **limits)
    from scpd.transport.profiles import client_context  # noqa: PLC0415 not for a start without TLS

    context = client_context(tls_files(tls), verify=tls.verify, profile=tls.profile)
    return Webhook(hook.name, address, hook.secret, **limits, context=context, server_name=tls.name or "")


def faults(config: Config, server: ServerConfig) -> Iterator[tuple[str, str]]:
    """What is wrong around the hooks of one server: (key, sentence)."""
    known: dict[str, tuple[HookConfig, str]] = {}
    for one in config.servers:
        for number, hook in enumerate(one.hooks):
            first, where = known.setdefault(hook.name, (hook, one.name))
            if one is server and (first != hook or (where == one.name and first is not hook)):
                yield f"hooks[{number}].name", f"{hook.name} is another hook of {where}; give each a name of its own"
        if one is server:
            break
    for number, hook in enumerate(server.hooks):
        yield from _faults_of(f"hooks[{number}]", hook)


def _faults_of(place: str, hook: HookConfig) -> Iterator[tuple[str, str]]:
    if hook.kind == "exec":
        program = Path(hook.command[0])
        if not program.is_file():
            yield f"{place}.command", f"{program} is not there, or no file; write the path of the program"
        elif not os.access(program, os.X_OK, effective_ids=True):
            yield f"{place}.command", f"{program} cannot be executed by this user; chmod +x it"
        return
    try:
        _target(hook)
    except SettingError as error:
        yield f"{place}.tls.{error.key}", error.what
