"""Start, wait for signals, stop: the life of the process as one story.

Signals only queue up; everything happens on the main thread, one signal after the other.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from scpd.config import difference
from scpd.daemon import archive, build, line, retaining
from scpd.daemon.fleet import Fleet
from scpd.daemon.overview import Overview, Situation
from scpd.daemon.pulse import Pulse
from scpd.daemon.reception import Reception
from scpd.daemon.reloading import Reloading
from scpd.daemon.surroundings import Surroundings
from scpd.daemon.systemd import Notifier, watchdog_seconds
from scpd.errors import ConfigurationError, ScpdError
from scpd.telemetry import logs
from scpd.transport.connection import address_text
from scpd.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from scpd.config import Config, ServerConfig
    from scpd.daemon.build import Parts
    from scpd.daemon.signals import Signals
    from scpd.telemetry.sink import Sink

# Beside signals, what this process tells itself.
_DRAINED, _BUILT = 0, 255
# How long the audit trail may take at the end (seconds); what is in a spool goes out after the next start.
_LAST_MESSAGES = 5.0
# And what is handed over, written down and deleted (seconds).
_LAST_WORK = line.PATIENCE_AT_THE_END + archive.PATIENCE_AT_THE_END + retaining.PATIENCE_AT_THE_END
_DAY = 24 * 3600.0


def run(config: Config, path: Path | None, signals: Signals) -> int:
    """Serve what the configuration says until SIGTERM; the exit code. ``path`` is the file that SIGHUP reads again.

    Raises :class:`ConfigurationError` when it cannot be served, :class:`ScpdError` when an address is taken.
    """
    sink = logs.configure(config.logging.level, config.logging.format, logs.default_stream())
    try:
        return Supervisor(config, path, signals, sink).run()
    finally:
        sink.flush()


class Supervisor:
    """Holds the parts of the configuration in force and does what signals ask."""

    def __init__(self, config: Config, path: Path | None, signals: Signals, sink: Sink) -> None:
        self._path = path
        self._log = logs.logger("daemon")
        self._notifier = Notifier()
        watched = watchdog_seconds()
        self._now = Situation(config, self._built(config), Fleet(), sink)
        self._signals = signals
        # From here on they are an orderly stop; before, nothing was there to be stopped in order.
        signals.take((signal.SIGTERM, signal.SIGINT))
        overview = Overview(self._now, self._signals)
        self._reception = Reception(overview)
        self._pulse = Pulse(self._now, overview, self._notifier, watched, self._log)
        self._look_due = time.monotonic() + _DAY
        self._reloading: Reloading | None = None
        self._again = False
        self._began = 0.0

    def run(self) -> int:
        """Start, serve, stop."""
        now = self._now
        try:
            self._start()
            self._until_stopped()
            self._stop()
        finally:
            self._reception.close()
            now.watch.close()
            now.parts.close()
            if now.parts.ledger:
                now.parts.ledger.stopped(_LAST_MESSAGES)
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

    def _start(self) -> None:
        now = self._now
        self._tell_of_stores(now.parts)
        self._reception.adopt(self._reception.prepared(now.config.admin), now.config.admin)
        now.fleet.man(now.parts.posts)
        now.parts.begin()
        self._tell_of_servers()
        # What stands now stands for good: the collector need not walk through it after every few associations.
        gc.collect()
        gc.freeze()
        if now.parts.ledger:
            now.parts.ledger.started()
        now.state = "serving"
        self._log.info("ready", version=__version__, pid=os.getpid())
        self._notifier.ready(self._pulse.status())

    def _tell_of_stores(self, parts: Parts) -> None:
        self._now.watch.keep(parts.stores.values())
        for store in parts.stores.values():
            if store.swept:
                self._log.warning(
                    "leftovers of a crash removed",
                    directory=str(store.directory),
                    count=len(store.swept),
                    names=list(store.swept[:20]),
                )
                store.swept = ()  # told, and not again at each reload

    def _tell_of_servers(self) -> None:
        for configured, started in self._now.pairs():
            self._log.info(
                "listening",
                server=started.name,
                address=address_text(started.address),
                ae_title=configured.ae_title,
                sop_classes=len(configured.supported()),
                **self._protection(configured),
            )
        for name in self._now.parts.idle_sockets:
            self._log.warning("nobody listens on an inherited socket; write bind: systemd for a server", socket=name)
        if self._reception.address:
            self._log.info("admin endpoint", address=self._reception.address)

    def _protection(self, server: ServerConfig) -> dict[str, object]:
        if server.tls is None:
            return {}
        days = self._now.parts.days_left(server.name)
        return {"tls": server.tls.profile, "client_certificates": server.tls.client, "certificate_days_left": days}

    def _until_stopped(self) -> None:
        while True:
            number = self._signals.next(self._pulse.patience())
            if number in (signal.SIGTERM, signal.SIGINT):
                return
            if number == signal.SIGUSR1:
                self._tell_state()
            elif number == signal.SIGHUP:
                self._reload()
            elif number == _BUILT:
                self._go_over()
            self._pulse.beat()
            self._look_around()

    def _reload(self) -> None:
        """SIGHUP: the file as it is now, with all that it names; a fault, and nothing has changed."""
        if self._reloading:
            self._again = True  # the file may have changed since it was read
            return
        self._began = time.monotonic()
        self._notifier.reloading()
        if self._path is None:
            self._tell_of_failure(ScpdError("scpd was started without a configuration file: none can be read again"))
            return
        before = self._now.parts
        done = partial(self._signals.put, _BUILT)
        try:
            self._reloading = Reloading(self._path, lambda config: self._built(config, before), done)
        except RuntimeError as error:  # no thread
            self._tell_of_failure(error)

    def _go_over(self) -> None:
        """To what was built; the outcome, whatever it is, ends the reload."""
        reloading, self._reloading = self._reloading, None
        try:
            if reloading:
                self._adopt(*reloading.result())
        except (ScpdError, OSError, RuntimeError) as error:  # a new listener may lack a descriptor, or a thread
            self._tell_of_failure(error)
        if self._again:
            self._again = False
            self._reload()

    def _adopt(self, config: Config, parts: Parts) -> None:
        """All of it, or nothing: raises where nothing has changed."""
        now = self._now
        endpoint = None
        try:
            endpoint = self._reception.prepared(config.admin)
            now.fleet.man(parts.posts)
        except BaseException:
            self._reception.spurn(endpoint)
            parts.discard()
            raise
        # From here on nothing fails.
        before, replaced = now.config, now.parts
        now.config, now.parts = config, parts
        parts.begin(replaced)
        self._reception.adopt(endpoint, config.admin)
        self._tell_of_stores(parts)
        self._tell_of_servers()
        changes = difference(before, config)
        for key in ("logging", "audit"):
            if getattr(before, key) != getattr(config, key):
                self._log.warning(f"reload: {key} is another, and takes effect at the next start; restart scpd for it")
        now.reloads = now.reloads._replace(done=now.reloads.done + 1, last=_this_moment(), faults=())
        self._log.info("reloaded", changes=changes, seconds=round(time.monotonic() - self._began, 3))
        self._notifier.ready(self._pulse.status())

    def _tell_of_failure(self, error: Exception) -> None:
        faults = error.faults if isinstance(error, ConfigurationError) else (str(error),)
        for fault in faults:
            self._log.error("reload: a fault", fault=fault)
        self._log.error("reload failed: nothing has changed", faults=len(faults))
        reloads = self._now.reloads
        self._now.reloads = reloads._replace(failed=reloads.failed + 1, last=_this_moment(), faults=faults)
        self._notifier.ready(self._pulse.status())

    def _look_around(self) -> None:
        """Once a day: certificates expire, and files go, while nobody reads the log of the start."""
        if time.monotonic() < self._look_due:
            return
        self._look_due = time.monotonic() + _DAY
        with suppress(RuntimeError):  # no thread: tomorrow, then
            threading.Thread(target=self._look, args=(self._now.config,), name="look", daemon=True).start()

    def _look(self, config: Config) -> None:
        surroundings = Surroundings(config)
        for what in (*surroundings.faults, *surroundings.warnings):
            self._log.warning(what)

    def _tell_state(self) -> None:
        """SIGUSR1: what goes on, one line a server."""
        for configured, server in self._now.pairs():
            beside = {"certificate_days_left": self._now.parts.days_left(server.name)} if configured.tls else {}
            self._log.info("state", server=server.name, **server.state(), **beside)

    def _stop(self) -> None:
        """SIGTERM: accept no more, wait the grace period, abort the rest. A second signal aborts at once."""
        now, fleet = self._now, self._now.fleet
        now.state = "stopping"
        grace = max(server.timeouts.shutdown for server in now.config.servers)
        self._notifier.stopping(self._pulse.status())
        self._notifier.extend(grace + _LAST_MESSAGES + _LAST_WORK)
        fleet.stop_accepting()
        self._log.info("stopping", associations=fleet.associations, grace_seconds=grace)
        deadline = time.monotonic() + grace
        threading.Thread(target=_drain, args=(self._signals, fleet, deadline), name="drain", daemon=True).start()
        while self._signals.next(self._pulse.patience()) not in (_DRAINED, signal.SIGTERM, signal.SIGINT):
            self._pulse.beat()
        fleet.abort("this server is stopping")


def _this_moment() -> datetime:
    return datetime.now().astimezone()


def _drain(signals: Signals, fleet: Fleet, deadline: float) -> None:
    fleet.drain(deadline)
    signals.put(_DRAINED)
