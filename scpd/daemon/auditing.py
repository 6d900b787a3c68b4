"""The audit trail of the configuration → a ledger that writes to it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from scpd.daemon.security import tls_files
from scpd.errors import ConfigurationError, SettingError
from scpd.server.ledger import Ledger
from scpd.telemetry.audit import Reporter
from scpd.telemetry.logs import logger
from scpd.telemetry.syslog import FileDestination, TLSDestination, UDPDestination
from scpd.telemetry.trail import Trail

if TYPE_CHECKING:
    from scpd.config import AuditConfig, Config
    from scpd.telemetry.syslog import Destination


def ledger(config: Config, audit: AuditConfig) -> Ledger:
    """Opens what messages go to. Raises :class:`ConfigurationError`."""
    host = socket.gethostname()
    titles = tuple(dict.fromkeys(server.ae_title for server in config.servers))
    reporter = Reporter(audit.source or host, host, titles, site=audit.site or "")
    try:
        destinations = [_destination(f"destinations[{n}]", each) for n, each in enumerate(audit.destinations)]
        trail = Trail(destinations, audit.spool, audit.spool_limit, log=logger("audit"))
    except SettingError as error:
        key = f"audit.{error.key}"
        raise ConfigurationError([f"{config.near(None, key)}: {key}: {error.what}"]) from error
    return Ledger(reporter, trail)


def _destination(place: str, config: Any) -> Destination:
    if config.kind == "file":
        return FileDestination(config.path)
    if config.kind == "syslog-udp":
        return UDPDestination(config.address.host, config.address.port)
    from scpd.transport.profiles import client_context  # noqa: PLC0415 not for a start without TLS

    try:
        context = client_context(tls_files(config.tls), profile=config.tls.profile)
    except SettingError as error:
        raise SettingError(f"{place}.tls.{error.key}", error.what) from error
    return TLSDestination(config.address.host, config.address.port, context, name=config.tls.name or "")
