"""The TLS sections of the configuration → contexts and files.

What they need is not imported for a start without TLS.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from scpd.errors import SettingError

if TYPE_CHECKING:
    import ssl

    from scpd.config import PeerTLSConfig, TLSConfig
    from scpd.transport.profiles import TLSFiles


def security(tls: TLSConfig) -> ssl.SSLContext:
    """The TLS of a server. Raises :class:`SettingError` with the key under ``tls`` of what cannot be used."""
    from scpd.transport import profiles  # noqa: PLC0415 see above

    try:
        return profiles.server_context(tls_files(tls), client=tls.client, profile=tls.profile)
    except SettingError as error:
        raise SettingError(f"tls.{error.key}", error.what) from error


def tls_files(tls: TLSConfig | PeerTLSConfig) -> TLSFiles:
    """The files that a section names."""
    from scpd.transport.profiles import TLSFiles  # noqa: PLC0415 see above

    return TLSFiles(tls.certificate, tls.key, tls.key_password, tls.ca, tls.crl)


def days_left(tls: TLSConfig) -> int | None:
    """How many days the certificate is good for from now; None where it cannot be read any more."""
    from scpd.transport import certificates  # noqa: PLC0415 see above

    try:
        return int(certificates.days_left(tls.certificate, datetime.now(UTC)))
    except SettingError:
        return None
