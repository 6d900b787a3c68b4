"""One certificate looked at by itself: its key, its signature, its dates, what to call it; and names in one.

Refuses to know which file it stands in for what, and what follows from anything: that is said in ``certificates.py``.
Whom the certificate of a peer names is read in ``certificate_names.py``.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from scpd.names import quote

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

Extension = TypeVar("Extension", bound=x509.ExtensionType)

SOON = 30  # days before its end when a certificate ought to be renewed
_SECONDS_A_DAY = 24 * 60 * 60
_SHORTEST_RSA = 2048
_CURVES = frozenset(("secp256r1", "secp384r1", "secp521r1"))  # OpenSSL's groups, as TLS peers have them
_BROKEN_HASHES = frozenset(("md5", "sha1"))
_LONGEST_SUBJECT = 120


def parse_certificate(pem: bytes) -> x509.Certificate:
    """A certificate, or :class:`ValueError`."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except x509.InvalidVersion as error:
        raise ValueError(str(error)) from error
    for name in (certificate.subject, certificate.issuer):
        shown(name)  # one that cannot be read fails no sooner
    return certificate


def weakness_of_key(certificate: x509.Certificate) -> str | None:
    """What about its key keeps peers from taking it, to be put after what it is called; None when nothing does."""
    key = public_key(certificate)
    if isinstance(key, rsa.RSAPublicKey):
        return f"has an RSA key of {key.key_size} bits" if key.key_size < _SHORTEST_RSA else None
    if isinstance(key, ec.EllipticCurvePublicKey):
        return (
            None if key.curve.name in _CURVES else f"has a key on {key.curve.name}, a curve that TLS does not use here"
        )
    return (
        None if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey) else "has a key that TLS does not use"
    )


def weakness_of_signature(certificate: x509.Certificate, *, is_root: bool) -> str | None:
    """The same about the signature on it."""
    if is_root:
        return None  # nobody looks at it: a root is trusted or not
    with suppress(UnsupportedAlgorithm):
        digest = certificate.signature_hash_algorithm
        return f"is signed with {digest.name.upper()}" if digest and digest.name in _BROKEN_HASHES else None
    return "is signed in a way that is not supported"


def public_key(certificate: x509.Certificate) -> PublicKeyTypes | None:
    """Its key; None where that cannot be read here."""
    with suppress(ValueError, UnsupportedAlgorithm):
        return certificate.public_key()
    return None


def extension(of: x509.Certificate | x509.CertificateRevocationList, kind: type[Extension]) -> Extension | None:
    """An extension's value; None where there is none, or none that can be read."""
    try:
        return of.extensions.get_extension_for_class(kind).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return None


def days_to_end(certificate: x509.Certificate, now: datetime) -> float:
    """How many days it is still good for, below zero once it has expired; ``now`` is aware."""
    return (certificate.not_valid_after_utc - now).total_seconds() / _SECONDS_A_DAY


def ending(certificate: x509.Certificate, now: datetime) -> str:
    """When it expires or did, to be put after what it is called."""
    days = int(days_to_end(certificate, now))
    date = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
    if days_to_end(certificate, now) < 0:
        return f"expired on {date}"
    return f"expires in {days} days, on {date}" if days > 1 else f"expires within {days + 1} day{'s' * days}, on {date}"


def called(certificate: x509.Certificate, path: Path, place: int = 1) -> str:
    """The first certificate in a file is called as the file, any other by its subject."""
    return f"{shown(certificate.subject)} in {path}" if place else str(path)


def shown(name: x509.Name) -> str:
    """A name for people. Raises :class:`ValueError` where it cannot be read."""
    return quote(name.rfc4514_string(), _LONGEST_SUBJECT)


def is_same_name(one: x509.Name, other: x509.Name) -> bool:
    """As OpenSSL compares them: neither case nor the number of spaces counts."""
    return _canonical(one) == _canonical(other)


def _canonical(name: x509.Name) -> str:
    return " ".join(name.rfc4514_string().casefold().split())
