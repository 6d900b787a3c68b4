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

from scpd.config import difference, load
from scpd.daemon import build
from scpd.daemon.fleet import Fleet
from scpd.daemon.security import days_left
from scpd.daemon.signals import Signals
from scpd.daemon.surroundings import Surroundings
from scpd.errors import ConfigurationError, ScpdError
from scpd.telemetry import logs
from scpd.transport.connection import address_text
from scpd.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from scpd.config import Config, TLSConfig
    from scpd.daemon.build import Parts

_DRAINED = 0
# Files 0640 and directories 0750, whatever the umask was.
_UMASK = 0o027
# Virtual memory of a worker; what it does not touch costs nothing, and 1,000 of them still fit anywhere.
_STACK = 512 * 1024
# How long the audit trail may take at the end (seconds); what is in a spool goes out after the next start.
_LAST_MESSAGES = 5.0
_DAY = 24 * 3600.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def run(config: Config, path: Path | None = None) -> int:
    """Serve what the configuration says until SIGTERM; the exit code. ``path`` is the file that SIGHUP reads again.

    Raises :class:`ConfigurationError` when it cannot be served, :class:`ScpdError` when an address is taken.
    """
    prepare_process()
    sink = logs.configure(config.logging.level, config.logging.format, logs.default_stream())
    try:
        return Supervisor(config, path).run()
    finally:
        sink.flush()


class Supervisor:
    """Holds the parts of the configuration in force and does what signals ask."""

    def __init__(self, config: Config, path: Path | None) -> None:
        self._config = config
        self._path = path
        self._log = logs.logger("daemon")
        self._fleet = Fleet()

    def run(self) -> int:
        """Start, serve, stop."""
        self._parts = self._built(self._config)
        # From here on a signal is an orderly stop.
        signals = Signals(_SIGNALS)
        try:
            self._start(self._parts)
            self._until_stopped(signals)
            self._stop(signals)
        finally:
            self._parts.close()
            if self._parts.ledger:
                self._parts.ledger.stopped(_LAST_MESSAGES)
        self._log.info("stopped")
        return 0

    def _built(self, config: Config, before: Parts | None = None) -> Parts:
        """The parts of a configuration whose surroundings are as they should be. Raises :class:`ConfigurationError`."""
        surroundings = Surroundings(config)
        if surroundings.faults:
            raise ConfigurationError(surroundings.faults)
        for warning in surroundings.warnings:
            self._log.warning(warning)
        return build.Parts(config, before)

    def _start(self, parts: Parts) -> None:
        self._tell_of_stores(parts)
        self._fleet.man(parts.posts)
        self._tell_of_servers()
        # What stands now stands for good: the collector need not walk through it after every few associations.
        gc.collect()
        gc.freeze()
        if parts.ledger:
            parts.ledger.started()
        self._log.info("ready", version=__version__, pid=os.getpid())

    def _tell_of_stores(self, parts: Parts) -> None:
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

    def _tell_of_servers(self) -> None:
        for configured, started in zip(self._config.servers, self._fleet.servers, strict=True):
            self._log.info(
                "listening",
                server=started.name,
                address=address_text(started.address),
                ae_title=configured.ae_title,
                sop_classes=len(configured.supported()),
                **_protection(configured.tls),
            )

    def _until_stopped(self, signals: Signals) -> None:
        while True:
            number = signals.next(_DAY)
            if number is None:
                self._look_around()
            elif number in (signal.SIGTERM, signal.SIGINT):
                return
            elif number == signal.SIGUSR1:
                self._tell_state()
            else:
                self._reload()

    def _reload(self) -> None:
        """SIGHUP: the file as it is now, with all that it names; a fault, and nothing has changed."""
        if self._path is None:
            self._log.warning("reload: started without a configuration file, so there is none to read again")
            return
        began = time.monotonic()
        try:
            config = load(self._path)
            parts = self._built(config, self._parts)
            self._fleet.man(parts.posts)
        except ScpdError as error:
            self._tell_of_failure(error)
            return
        before, self._config, self._parts = self._config, config, parts
        self._tell_of_stores(parts)
        self._tell_of_servers()
        changes = difference(before, config)
        for key in ("logging", "audit"):
            if getattr(before, key) != getattr(config, key):
                self._log.warning(f"reload: {key} is another, and takes effect at the next start; restart scpd for it")
        self._log.info("reloaded", changes=changes, seconds=round(time.monotonic() - began, 3))

    def _tell_of_failure(self, error: ScpdError) -> None:
        faults = error.faults if isinstance(error, ConfigurationError) else (str(error),)
        for fault in faults:
            self._log.error("reload: a fault", fault=fault)
        self._log.error("reload failed: nothing has changed", faults=len(faults))

    def _look_around(self) -> None:
        """Once a day: certificates expire, and files go, while nobody reads the log of the start."""
        surroundings = Surroundings(self._config)
        for what in (*surroundings.faults, *surroundings.warnings):
            self._log.warning(what)

    def _tell_state(self) -> None:
        """SIGUSR1: what goes on, one line a server."""
        for configured, server in zip(self._config.servers, self._fleet.servers, strict=True):
            beside = {"certificate_days_left": days_left(configured.tls)} if configured.tls else {}
            self._log.info("state", server=server.name, **server.state(), **beside)

    def _stop(self, signals: Signals) -> None:
        """SIGTERM: accept no more, wait the grace period, abort the rest. A second signal aborts at once."""
        fleet = self._fleet
        fleet.stop_accepting()
        grace = max(server.timeouts.shutdown for server in self._config.servers)
        self._log.info("stopping", associations=fleet.associations, grace_seconds=grace)
        deadline = time.monotonic() + grace
        threading.Thread(target=_drain, args=(signals, fleet, deadline), name="drain", daemon=True).start()
        while signals.next() not in (_DRAINED, signal.SIGTERM, signal.SIGINT):
            pass
        fleet.abort("this server is stopping")


def _protection(tls: TLSConfig | None) -> dict[str, object]:
    if tls is None:
        return {}
    return {"tls": tls.profile, "client_certificates": tls.client, "certificate_days_left": days_left(tls)}


def _drain(signals: Signals, fleet: Fleet, deadline: float) -> None:
    fleet.drain(deadline)
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
