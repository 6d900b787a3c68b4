"""Start, wait for signals, stop: the life of the process as one story.

Signals only queue up; everything happens on the main thread, one signal after the other.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import threading
import time
import warnings as python_warnings
from contextlib import suppress
from typing import TYPE_CHECKING

from scpd.daemon import build
from scpd.daemon.security import days_left, security
from scpd.daemon.signals import Signals
from scpd.daemon.surroundings import Surroundings
from scpd.errors import ConfigurationError, SettingError
from scpd.telemetry import logs
from scpd.transport.connection import address_text
from scpd.version import __version__

if TYPE_CHECKING:
    from scpd.config import Config, TLSConfig
    from scpd.daemon.build import Parts
    from scpd.server.server import Server

_DRAINED = 0
# Files 0640 and directories 0750, whatever the umask was.
_UMASK = 0o027
# Virtual memory of a worker; what it does not touch costs nothing, and 1,000 of them still fit anywhere.
_STACK = 512 * 1024
# How long the audit trail may take at the end (seconds); what is in a spool goes out after the next start.
_LAST_MESSAGES = 5.0
_DAY = 24 * 3600.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def run(config: Config) -> int:
    """Serve what the configuration says until SIGTERM; the exit code.

    Raises :class:`ConfigurationError` when it cannot be served, :class:`ScpdError` when an address is taken.
    """
    prepare_process()
    sink = logs.configure(config.logging.level, config.logging.format, logs.default_stream())
    try:
        return Supervisor(config).run()
    finally:
        sink.flush()


class Supervisor:
    """Holds the parts of one configuration and does what signals ask."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._log = logs.logger("daemon")

    def run(self) -> int:
        """Start, serve, stop."""
        surroundings = Surroundings(self._config)
        if surroundings.faults:
            raise ConfigurationError(surroundings.faults)
        for warning in surroundings.warnings:
            self._log.warning(warning)
        parts = build.Parts(self._config)
        # From here on a signal is an orderly stop.
        signals = Signals(_SIGNALS)
        try:
            self._start(parts)
            self._until_stopped(signals, parts.servers)
            self._stop(signals, parts.servers)
        finally:
            parts.close()
            if parts.ledger:
                parts.ledger.stopped(_LAST_MESSAGES)
        self._log.info("stopped")
        return 0

    def _start(self, parts: Parts) -> None:
        for store in parts.stores.values():
            if store.swept:
                self._log.warning(
                    "leftovers of a crash removed",
                    directory=str(store.directory),
                    count=len(store.swept),
                    names=list(store.swept[:20]),
                )
            if store.free_space() < store.policy.reserve:
                self._log.warning(
                    "less space is free than storage.reserve: every C-STORE will be answered A700",
                    directory=str(store.directory),
                )
        for configured, started in zip(self._config.servers, parts.servers, strict=True):
            started.start()
            self._log.info(
                "listening",
                server=started.name,
                address=address_text(started.address),
                ae_title=configured.ae_title,
                sop_classes=len(configured.supported()),
                **_protection(configured.tls),
            )
        # What stands now stands for good: the collector need not walk through it after every few associations.
        gc.collect()
        gc.freeze()
        if parts.ledger:
            parts.ledger.started()
        self._log.info("ready", version=__version__, pid=os.getpid())

    def _until_stopped(self, signals: Signals, servers: tuple[Server, ...]) -> None:
        while True:
            number = signals.next(_DAY)
            if number is None:
                self._look_around()
            elif number in (signal.SIGTERM, signal.SIGINT):
                return
            elif number == signal.SIGUSR1:
                self._tell_state(servers)
            else:
                self._read_certificates(servers)

    def _read_certificates(self, servers: tuple[Server, ...]) -> None:
        """SIGHUP: read certificates, keys, CAs and revocation lists again; all of them are good, or nothing changes."""
        contexts = []
        for configured in self._config.servers:
            try:
                contexts.append(security(configured.tls) if configured.tls else None)
            except SettingError as error:
                where = self._config.near(configured.name, error.key)
                self._log.error(
                    "SIGHUP: certificates not read again, the old ones stay",
                    key=error.key,
                    where=where,
                    what=error.what,
                )
                return
        for server, context in zip(servers, contexts, strict=True):
            if context:
                server.secure(context)
        self._log.info(
            "SIGHUP: certificates read again; the rest of the configuration is read at the start",
            count=len([*filter(None, contexts)]),
        )

    def _look_around(self) -> None:
        """Once a day: certificates expire, and files go, while nobody reads the log of the start."""
        surroundings = Surroundings(self._config)
        for what in (*surroundings.faults, *surroundings.warnings):
            self._log.warning(what)

    def _tell_state(self, servers: tuple[Server, ...]) -> None:
        """SIGUSR1: what goes on, one line a server."""
        for configured, server in zip(self._config.servers, servers, strict=True):
            beside = {"certificate_days_left": days_left(configured.tls)} if configured.tls else {}
            self._log.info("state", server=server.name, **server.state(), **beside)

    def _stop(self, signals: Signals, servers: tuple[Server, ...]) -> None:
        """SIGTERM: accept no more, wait the grace period, abort the rest. A second signal aborts at once."""
        for server in servers:
            server.stop_accepting()
        grace = max(server.timeouts.shutdown for server in self._config.servers)
        self._log.info("stopping", associations=sum(len(server.capacity) for server in servers), grace_seconds=grace)
        deadline = time.monotonic() + grace
        threading.Thread(target=_drain, args=(signals, servers, deadline), name="drain", daemon=True).start()
        while signals.next() not in (_DRAINED, signal.SIGTERM, signal.SIGINT):
            pass
        for server in servers:
            server.abort("this server is stopping")


def _protection(tls: TLSConfig | None) -> dict[str, object]:
    if tls is None:
        return {}
    return {"tls": tls.profile, "client_certificates": tls.client, "certificate_days_left": days_left(tls)}


def _drain(signals: Signals, servers: tuple[Server, ...], deadline: float) -> None:
    for server in servers:
        server.drain(deadline)
    signals.put(_DRAINED)


def prepare_process() -> None:
    """What the process needs of the system before it does anything."""
    _occupy_standard_descriptors()
    os.umask(_UMASK)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard) if hard != resource.RLIM_INFINITY else (soft, hard))
    threading.stack_size(_STACK)
    # A library's warning about one peer's data set is not for a server's standard error.
    python_warnings.simplefilter("ignore")


def _occupy_standard_descriptors() -> None:
    """Where the process was started with one of them closed: else a socket would get its number, and stray output."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
