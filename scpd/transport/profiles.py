"""The secure transport connection profiles of PS3.15 annex B, as contexts of OpenSSL for either side.

What OpenSSL refuses is said here with the setting that is at fault. Whether files are any good beyond that is judged in
``certificates.py``, and how they are read stands in ``tls_files.py``. Knows neither connections nor the configuration.
"""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Literal, NamedTuple

from scpd.errors import SettingError
from scpd.names import quote
from scpd.transport.tls_files import (
    CERTIFICATE,
    GOOD,
    PRIVATE_KEY,
    REVOCATION_LIST,
    TLSFiles,
    damaged,
    foreign_key,
    own_files,
    password_of,
    read_pem,
    read_revocation_lists,
    wrong_password,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PROFILES", "ClientCertificate", "TLSFiles", "client_context", "describe", "server_context"]

# The suites of TLS 1.2 in order of preference; those of 1.3 are OpenSSL's own, which Python cannot choose among.
_ECDHE_GCM = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
)
# B.13 also has Camellia-GCM, which OpenSSL has not, and CCM with a short tag, which RFC 9325 4.2.1 advises against.
_CHACHA_AND_CCM = (
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES256-CCM",
    "ECDHE-ECDSA-AES128-CCM",
)
_DHE_GCM = ("DHE-RSA-AES256-GCM-SHA384", "DHE-RSA-AES128-GCM-SHA256")

# What OpenSSL says of a key that fits no certificate; the last is of one of another kind.
_OF_ANOTHER = frozenset(("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"))
# 112 bits of security: RSA and DH of 2,048 bits, elliptic curves of 224, no SHA-1, no MD5.
_LEVEL = "@SECLEVEL=2"
_OPTIONS = ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_TICKET
# ffdhe2048 (RFC 7919 A.1). The older devices that need DHE at all often take no longer prime.
_FFDHE2048 = b"""\
-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""


class _Profile(NamedTuple):
    title: str
    suites: tuple[str, ...]
    lowest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2


_PROFILES = {
    "bcp195": _Profile(
        "BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile (PS3.15 B.12)",
        _ECDHE_GCM,
    ),
    "bcp195-modified": _Profile(
        "Modified BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile (PS3.15 B.13)",
        _ECDHE_GCM + _CHACHA_AND_CCM,
    ),
    "bcp195-nd": _Profile(
        "Non-Downgrading BCP 195 TLS Secure Transport Connection Profile (PS3.15 B.10, retired)",
        _ECDHE_GCM + _DHE_GCM,
    ),
    "tls13": _Profile(
        "TLS 1.3 alone (no profile of PS3.15, where each supports TLS 1.2 as well)",
        _ECDHE_GCM,  # OpenSSL wants one, and no connection gets to use it
        ssl.TLSVersion.TLSv1_3,
    ),
}
PROFILES: tuple[str, ...] = tuple(_PROFILES)

ClientCertificate = Literal["none", "optional", "required"]
_VERIFY = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


def describe(profile: str) -> str:
    """What ``profile`` allows on this machine, in words: its title, and suites by OpenSSL's names, the best first."""
    suites: dict[str, list[str]] = {"TLSv1.2": [], "TLSv1.3": []}
    for suite in _context(ssl.PROTOCOL_TLS_SERVER, profile).get_ciphers():
        suites[suite["protocol"]].append(suite["name"])
    if _PROFILES[profile].lowest is ssl.TLSVersion.TLSv1_3:
        del suites["TLSv1.2"]
    allowed = "; ".join(f"{version.replace('v', ' ')} with {', '.join(names)}" for version, names in suites.items())
    return f"{_PROFILES[profile].title}: {allowed}"


def server_context(files: TLSFiles, *, client: ClientCertificate = "none", profile: str = "bcp195") -> ssl.SSLContext:
    """A context for accepting connections; ``client`` says whether peers have to show a certificate.

    Nothing is resumed in TLS 1.3, and in TLS 1.2 not by tickets. There is no way in Python to forget sessions of TLS
    1.2: a peer that asks for one by its identifier gets it within two hours, from this very context and as who it was
    verified to be, so a new context (a reload) is also the end of what a certificate that was revoked may do.

    Raises :class:`SettingError` with the key of what cannot be used.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, profile)
    context.num_tickets = 0
    context.verify_mode = _VERIFY[client]
    if files.certificate is None:
        raise SettingError("certificate", "a server shows a certificate; name its file")
    _present(context, files)
    if files.ca is not None:
        _trust(context, files.ca)
    elif client != "none" or files.crl is not None:
        raise SettingError("ca", "no CA is named that certificates of clients must be signed by; name its file")
    _refuse_revoked(context, files)
    if set(_DHE_GCM) & set(_PROFILES[profile].suites):
        _bring_dh_group(context)
    return context


def client_context(files: TLSFiles, *, verify: bool = True, profile: str = "bcp195") -> ssl.SSLContext:
    """A context for making connections, each with the host's name or address as ``server_hostname``.

    That is looked for among the certificate's alternative names; the common name counts where it has none. Without
    ``ca`` the system's CAs are trusted; with ``verify=False``, for a test by hand, whoever answers.

    Raises :class:`SettingError` with the key of what cannot be used.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, profile)
    if files.certificate is not None:
        _present(context, files)
    elif files.key is not None:
        raise SettingError("key", f"{files.key} is named without a certificate; name the certificate too")
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if files.ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        _trust(context, files.ca)
    _refuse_revoked(context, files)
    return context


def _context(protocol: int, profile: str) -> ssl.SSLContext:
    if profile not in _PROFILES:
        raise ValueError(f"{quote(profile)} is no TLS profile; write one of {', '.join(PROFILES)}")
    context = ssl.SSLContext(protocol)
    context.minimum_version = _PROFILES[profile].lowest
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.set_ciphers(":".join((*_PROFILES[profile].suites, _LEVEL)))
    context.options |= _OPTIONS
    # Strict X.509 is left out: certificates that vendors' tools make lack key identifiers, and would all be refused.
    # Chain, dates, purpose and revocation are checked all the same. A chain may end at any certificate in `ca`, so
    # that a CA can be trusted without the rest of its hierarchy.
    context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _present(context: ssl.SSLContext, files: TLSFiles) -> None:
    """Load this side's certificate and key."""
    certificate, key = own_files(files)
    read_pem(certificate, "certificate", CERTIFICATE)
    read_pem(key, "key", PRIVATE_KEY)
    asked = False

    def password() -> bytes:  # without this OpenSSL would ask on the terminal
        nonlocal asked
        asked = True
        return password_of(files)

    try:
        context.load_cert_chain(certificate, key, password)
    except ssl.SSLError as error:
        raise _unusable(error, certificate, key, asked=asked) from error


def _unusable(error: ssl.SSLError, certificate: Path, key: Path, *, asked: bool) -> SettingError:
    reason = error.reason or ""
    if reason in _OF_ANOTHER:
        return SettingError("key", foreign_key(certificate, key))
    if reason.endswith(("_KEY_TOO_SMALL", "_MD_TOO_WEAK")):
        what = "has a key that is too short" if reason.endswith("SMALL") else "was signed with a broken hash"
        return SettingError("certificate", f"{certificate} {what}, {quote(reason)}; make a new one, {GOOD}")
    if asked:
        return SettingError("key_password", wrong_password(key))
    said = quote((reason or str(error)).lower().replace("_", " "))
    return SettingError("certificate", f"OpenSSL cannot use {certificate} with {key}: {said}; make both anew")


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    read_pem(ca, "ca", CERTIFICATE)
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise SettingError("ca", damaged(ca, CERTIFICATE)) from error


def _refuse_revoked(context: ssl.SSLContext, files: TLSFiles) -> None:
    if files.crl is None:
        return
    read_revocation_lists(files.crl)
    try:
        context.load_verify_locations(files.crl)
    except ssl.SSLError as error:
        raise SettingError("crl", damaged(files.crl, REVOCATION_LIST)) from error
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def _bring_dh_group(context: ssl.SSLContext) -> None:
    """Python takes DH parameters from a path alone; a pipe has one, where nothing may be written to any disk."""
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "wb") as pipe:
        pipe.write(_FFDHE2048)
        pipe.close()
        context.load_dh_params(f"/dev/fd/{reading}")
