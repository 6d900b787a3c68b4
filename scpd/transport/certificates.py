"""Whether certificate, key, CA and CRL files are any good, told before a peer finds out.

A *fault* keeps TLS from working: what has none makes a context (``profiles.py``). A *warning* is what some peers will
not like, or what will be a fault soon. Either is a pair: the attribute of :class:`~scpd.transport.tls_files.TLSFiles`,
and what is wrong; what to do. Time comes in as an argument, aware.

What one certificate says by itself is looked up in ``certificate_facts.py``. Knows no connection and no configuration.
Imported only where TLS is set up.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from scpd.errors import SettingError
from scpd.transport.certificate_facts import (
    SOON,
    called,
    days_to_end,
    ending,
    extension,
    parse_certificate,
    public_key,
    weakness_of_key,
    weakness_of_signature,
)
from scpd.transport.profiles import client_context, server_context
from scpd.transport.tls_files import (
    CERTIFICATE,
    GOOD,
    PRIVATE_KEY,
    Finding,
    TLSFiles,
    damaged,
    foreign_key,
    own_files,
    password_of,
    read_pem,
)
from scpd.transport.trust import ca_faults, ca_warnings, crl_faults, crl_warnings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

Side = Literal["server", "client"]

_EVERYONE = 0o007
_PURPOSES = {
    "server": ("serverAuth", ExtendedKeyUsageOID.SERVER_AUTH, "clients"),
    "client": ("clientAuth", ExtendedKeyUsageOID.CLIENT_AUTH, "servers"),
}


def days_left(certificate: Path, now: datetime) -> float:
    """How many days the first certificate in a file is good for, below zero once it has expired.

    Raises :class:`SettingError` where there is none.
    """
    return days_to_end(_own_certificates(certificate)[0], now)


def faults(files: TLSFiles, now: datetime, side: Side = "server") -> Iterator[Finding]:
    """Everything that keeps ``files`` from being used on this ``side``."""
    judges = (_certificate_faults, _key_faults, ca_faults, crl_faults)
    found = dict.fromkeys(one for judge in judges for one in _with_refusals(judge(files, now)))
    yield from found or _with_refusals(_openssl_faults(files, side))


def _with_refusals(findings: Iterator[Finding]) -> Iterator[Finding]:
    try:
        yield from findings
    except SettingError as error:
        yield error.key, error.what


def _openssl_faults(files: TLSFiles, side: Side) -> Iterator[Finding]:
    """Whatever OpenSSL refuses beyond what was looked at."""
    if side == "client":
        client_context(files)
    else:
        server_context(files, client="required" if files.ca else "none")
    yield from ()


def warnings(files: TLSFiles, now: datetime, side: Side = "server") -> Iterator[Finding]:
    """What the peers of this ``side`` may not like, and what ends soon. A file that cannot be read has no warnings."""
    with suppress(SettingError):
        yield from _certificate_warnings(files, now, side)
    with suppress(SettingError):
        yield from _key_warnings(files)
    with suppress(SettingError):
        yield from ca_warnings(files, now)
    with suppress(SettingError):
        yield from crl_warnings(files)


# -- this side's certificate


def _certificate_faults(files: TLSFiles, now: datetime) -> Iterator[Finding]:
    if files.certificate is None:
        return
    chain = _own_certificates(files.certificate)
    if chain[0].not_valid_before_utc > now:
        when = f"{chain[0].not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        yield "certificate", f"{files.certificate} is not valid before {when}; wait, or set this machine's clock"
    if chain[0].not_valid_after_utc < now:
        yield "certificate", f"{files.certificate} expired on {chain[0].not_valid_after_utc:%Y-%m-%d}; renew it"
    for place, one in enumerate(chain):
        weakness = weakness_of_key(one) or weakness_of_signature(one, is_root=place > 0 and one.subject == one.issuer)
        if weakness:
            yield "certificate", f"{called(one, files.certificate, place)} {weakness}; make a new one, {GOOD}"


def _certificate_warnings(files: TLSFiles, now: datetime, side: Side) -> Iterator[Finding]:
    if files.certificate is None:
        return
    first, *issuers = _own_certificates(files.certificate)
    for what in (_purpose(first, side), _signing(first), _hosts(first) if side == "server" else None):
        if what:
            yield "certificate", f"{files.certificate} {what}"
    if 0 <= days_to_end(first, now) < SOON:
        yield "certificate", f"{files.certificate} {ending(first, now)}; renew it"
    for one in issuers:
        if days_to_end(one, now) < SOON:
            yield "certificate", f"{called(one, files.certificate)} {ending(one, now)}; replace it"


def _purpose(certificate: x509.Certificate, side: Side) -> str | None:
    use, identifier, peers = _PURPOSES[side]
    usage = extension(certificate, x509.ExtendedKeyUsage)
    if usage is None or {identifier, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usage):
        return None
    return f"is not for {side}s: its extended key usage has no {use}, and {peers} will refuse it; have one made with it"


def _signing(certificate: x509.Certificate) -> str | None:
    usage = extension(certificate, x509.KeyUsage)
    if usage is None or usage.digital_signature:
        return None
    return "may not sign: its key usage has no digitalSignature, and peers may refuse it; have one made with it"


def _hosts(certificate: x509.Certificate) -> str | None:
    if extension(certificate, x509.SubjectAlternativeName) is not None:
        return None
    return (
        "names no host: it has no subject alternative name, and clients that look for the host may refuse it; "
        "have one made with it"
    )


def _own_certificates(path: Path) -> list[x509.Certificate]:
    try:
        return [parse_certificate(pem) for pem in read_pem(path, "certificate", CERTIFICATE)]
    except ValueError:
        raise SettingError("certificate", damaged(path, CERTIFICATE)) from None


# -- its key


def _key_faults(files: TLSFiles, _now: datetime) -> Iterator[Finding]:
    if files.certificate is None and files.key is None:
        return
    certificate, key = own_files(files)
    read_pem(key, "key", PRIVATE_KEY)
    if key.stat().st_mode & _EVERYONE:
        yield "key", f"{key} is readable by every user of this machine; chmod 640 {key}"
    private = _private_key(files)
    if private is None:  # OpenSSL knows more kinds of keys, and more ways to encrypt them
        client_context(replace(files, ca=None, crl=None), verify=False)
    else:
        with suppress(SettingError):  # of the certificate, which is said already
            yield from _matching(private, certificate, key)


def _private_key(files: TLSFiles) -> PrivateKeyTypes | None:
    """The key, or None where it cannot be read here."""
    _, path = own_files(files)
    pem = read_pem(path, "key", PRIVATE_KEY)[0]
    try:
        return load_pem_private_key(pem, None)
    except UnsupportedAlgorithm:
        return None
    except ValueError:
        raise SettingError("key", damaged(path, PRIVATE_KEY)) from None
    except TypeError:  # it is encrypted
        password = password_of(files)
    with suppress(ValueError, TypeError, UnsupportedAlgorithm):
        return load_pem_private_key(pem, password)
    return None


def _matching(private: PrivateKeyTypes, certificate: Path, key: Path) -> Iterator[Finding]:
    fits = [public_key(one) == private.public_key() for one in _own_certificates(certificate)]
    if any(fits) and not fits[0]:
        yield "certificate", f"{certificate} begins with another certificate than that of {key}; put that one first"
    elif not fits[0]:
        yield "key", foreign_key(certificate, key)


def _key_warnings(files: TLSFiles) -> Iterator[Finding]:
    if files.certificate is None or files.key_password is None:
        return
    _, key = own_files(files)
    with suppress(TypeError, ValueError, UnsupportedAlgorithm):
        load_pem_private_key(read_pem(key, "key", PRIVATE_KEY)[0], None)
        yield "key_password", f"{key} is not encrypted; leave the password out, or encrypt it"
