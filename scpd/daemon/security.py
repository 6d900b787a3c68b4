"""The TLS sections of the configuration → contexts and files.

What they need is not imported for a start without TLS.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from scpd.client.requestor import Security
from scpd.errors import ConfigurationError, SettingError

if TYPE_CHECKING:
    import ssl

    from scpd.config import Config, PeerConfig, PeerTLSConfig, TLSConfig
    from scpd.transport.profiles import TLSFiles


def security(tls: TLSConfig) -> ssl.SSLContext:
    """The TLS of a server. Raises :class:`SettingError` with the key under ``tls`` of what cannot be used."""
    from scpd.transport import profiles  # noqa: PLC0415 see above

    try:
        return profiles.server_context(tls_files(tls), client=tls.client, profile=tls.profile)
    except SettingError as error:
        raise SettingError(f"tls.{error.key}", error.what) from error


def towards(config: Config, name: str, peer: PeerConfig) -> Security | None:
    """What protects connections to a peer; None where nothing does.

    Raises :class:`ConfigurationError` for files that cannot be used.
    """
    if peer.tls is None:
        return None
    from scpd.transport import profiles  # noqa: PLC0415 see above

    try:
        context = profiles.client_context(tls_files(peer.tls), verify=peer.tls.verify, profile=peer.tls.profile)
    except SettingError as error:
        key = f"peers.{name}.tls.{error.key}"
        raise ConfigurationError([f"{config.near(None, key)}: {key}: {error.what}"]) from error
    return Security(context, peer.tls.name or peer.address.host)


def tls_files(tls: TLSConfig | PeerTLSConfig) -> TLSFiles:
    """The files that a section names."""
    from scpd.transport.profiles import TLSFiles  # noqa: PLC0415 see above

    return TLSFiles(tls.certificate, tls.key, tls.key_password, tls.ca, tls.crl)


def expiry(tls: TLSConfig) -> datetime | None:
    """When the certificate expires; None where it cannot be read."""
    from scpd.transport import certificates  # noqa: PLC0415 see above

    now = datetime.now(UTC)
    try:
        return now + timedelta(days=certificates.days_left(tls.certificate, now))
    except SettingError:
        return None
