"""The hooks of the configuration → the queue, and who works for each hook, and for others that need it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scpd.config.tls import PeerTLSConfig
from scpd.daemon.line import HookStanding, Line, Orders
from scpd.daemon.promises import Desk
from scpd.daemon.security import tls_files
from scpd.errors import ConfigurationError, SettingError
from scpd.forward.address import parse_url
from scpd.forward.queue import QueueError
from scpd.sop_class import STORAGE_COMMITMENT
from scpd.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.config import Config, HookConfig, ServerConfig
    from scpd.forward.runner import Target


class HandOvers:
    """What hands over, for all servers of a configuration; nothing is begun before :meth:`begin`.

    ``before`` is the one in force: its queue stays open, and what it is doing goes on. Raises
    :class:`ConfigurationError` for a queue that cannot be used, and for certificates that cannot.
    """

    def __init__(self, config: Config, before: HandOvers | None = None) -> None:
        self._log = logger("hooks")
        self._hooks = {hook.name: hook for server in config.servers for hook in server.hooks}
        self._targets = dict(_targets(config))
        self._directory = queue_directory(config)
        self.line: Line | None = before.line if before else None
        self._is_opener = False
        if self._directory and not (self.line and self.line.hold(self)):
            self.line = _opened(self._directory, config.near(None, "queue.directory"))
            self._is_opener = self.line.hold(self)

    def desk(self, server: ServerConfig) -> Desk | None:
        """What one server promises its instances to; None where it has no hooks."""
        if not server.hooks or not self.line:
            return None
        desk = Desk(self.line.queue, self.line.studies, server)
        self.line.hold(desk)  # an association may go on with it after the last hook has gone
        return desk

    def enlist(self, target: Target) -> None:
        """Have somebody work for another target than hooks, before :meth:`begin`."""
        self._targets[target.name] = target

    def begin(self) -> None:
        """Work for these targets from now on, and for no others. Waits for no disk."""
        if not self.line:
            return
        if self._directory and self._directory.absolute() != self.line.directory:
            self._log.warning("reload: queue.directory is another, and takes effect at the next start")
        quiet = {name: hook.seconds_of_quiet for name, hook in self._hooks.items() if hook.on == "study"}
        self.line.follow(Orders(self._targets, quiet))

    def discard(self) -> None:
        """Give back what was opened, since it will never :meth:`begin`."""
        if self.line and self._is_opener:
            self.line.close()

    @property
    def directory(self) -> Path | None:
        """Where the queue is; None where nothing in this configuration needs one."""
        return self.line.directory if self.line and self._targets else None

    def trouble(self) -> str:
        """Why nothing can be promised at the moment, or nothing: instances with hooks are answered A700 then."""
        return self.line.queue.database.trouble() if self.line and self._targets else ""

    def standings(self) -> list[HookStanding]:
        """How the hooks stood some seconds ago, those in the configuration first. Waits for no disk."""
        seen = {one.name: one for one in self.line.standings()} if self.line else {}
        return [
            seen.get(name, HookStanding(name))._replace(is_configured=name in self._targets)
            for name in dict.fromkeys((*self._targets, *seen))
        ]

    def close(self) -> None:
        """Wait a little for what is being done; the rest stays in the queue for the next start."""
        if self.line:
            self.line.close()


def _opened(directory: Path, where: str) -> Line:
    try:
        return Line(directory)
    except QueueError as error:
        raise ConfigurationError([f"{where}: queue.directory: {error}"]) from error


def queue_directory(config: Config) -> Path | None:
    """Where the queue is; None where nothing needs one."""
    if config.queue.directory:
        return config.queue.directory
    users = (server for server in config.servers if server.hooks or is_committing(server))
    return next((server.storage.directory / ".queue" for server in users), None)


def is_committing(server: ServerConfig) -> bool:
    """Whether a server has storage commitment among its contexts, whose requests the queue holds."""
    return any(context.abstract_syntax in STORAGE_COMMITMENT for context in server.supported())


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
