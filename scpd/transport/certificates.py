"""Whether certificate, key, CA and CRL files are any good, told before a peer finds out.

A *fault* keeps TLS from working: what has none makes a context (``profiles.py``). A *warning* is what some peers will
not like, or what will be a fault soon. Either is a pair: the attribute of :class:`~scpd.transport.profiles.TLSFiles`,
and what is wrong; what to do. Time comes in as an argument, aware.

Knows no connection and no configuration. Imported only where TLS is set up.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from scpd.errors import SettingError
from scpd.names import quote
from scpd.transport.profiles import (
    CERTIFICATE,
    GOOD,
    PRIVATE_KEY,
    REVOCATION_LIST,
    TLSFiles,
    client_context,
    damaged,
    foreign_key,
    own_files,
    password_of,
    read_pem,
    read_revocation_lists,
    server_context,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

Finding = tuple[str, str]
Side = Literal["server", "client"]
Extension = TypeVar("Extension", bound=x509.ExtensionType)

_SOON = 30  # days before its end when a certificate ought to be renewed
_SECONDS_A_DAY = 24 * 60 * 60
_EVERYONE = 0o007
_SHORTEST_RSA = 2048
_CURVES = frozenset(("secp256r1", "secp384r1", "secp521r1"))  # OpenSSL's groups, as TLS peers have them
_BROKEN_HASHES = frozenset(("md5", "sha1"))
_LONGEST_SUBJECT = 120
_PURPOSES = {
    "server": ("serverAuth", ExtendedKeyUsageOID.SERVER_AUTH, "clients"),
    "client": ("clientAuth", ExtendedKeyUsageOID.CLIENT_AUTH, "servers"),
}


def days_left(certificate: Path, now: datetime) -> float:
    """How many days the first certificate in a file is good for, below zero once it has expired.

    Raises :class:`SettingError` where there is none.
    """
    return _days(_own_certificates(certificate)[0], now)


def faults(files: TLSFiles, now: datetime, side: Side = "server") -> Iterator[Finding]:
    """Everything that keeps ``files`` from being used on this ``side``."""
    judges = (_certificate_faults, _key_faults, _ca_faults, _crl_faults)
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
        yield from _ca_warnings(files, now)
    with suppress(SettingError):
        yield from _crl_warnings(files)


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
        weakness = _weakness_of_key(one) or _weakness_of_signature(one, is_root=place > 0 and one.subject == one.issuer)
        if weakness:
            yield "certificate", f"{_called(one, files.certificate, place)} {weakness}; make a new one, {GOOD}"


def _certificate_warnings(files: TLSFiles, now: datetime, side: Side) -> Iterator[Finding]:
    if files.certificate is None:
        return
    first, *issuers = _own_certificates(files.certificate)
    for what in (_purpose(first, side), _signing(first), _hosts(first) if side == "server" else None):
        if what:
            yield "certificate", f"{files.certificate} {what}"
    if 0 <= _days(first, now) < _SOON:
        yield "certificate", f"{files.certificate} {_ending(first, now)}; renew it"
    for one in issuers:
        if _days(one, now) < _SOON:
            yield "certificate", f"{_called(one, files.certificate)} {_ending(one, now)}; replace it"


def _purpose(certificate: x509.Certificate, side: Side) -> str | None:
    use, identifier, peers = _PURPOSES[side]
    usage = _extension(certificate, x509.ExtendedKeyUsage)
    if usage is None or {identifier, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usage):
        return None
    return f"is not for {side}s: its extended key usage has no {use}, and {peers} will refuse it; have one made with it"


def _signing(certificate: x509.Certificate) -> str | None:
    usage = _extension(certificate, x509.KeyUsage)
    if usage is None or usage.digital_signature:
        return None
    return "may not sign: its key usage has no digitalSignature, and peers may refuse it; have one made with it"


def _hosts(certificate: x509.Certificate) -> str | None:
    if _extension(certificate, x509.SubjectAlternativeName) is not None:
        return None
    return (
        "names no host: it has no subject alternative name, and clients that look for the host may refuse it; "
        "have one made with it"
    )


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
    fits = [_public_key(one) == private.public_key() for one in _own_certificates(certificate)]
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


# -- whom it trusts


def _ca_faults(files: TLSFiles, _now: datetime) -> Iterator[Finding]:
    if files.ca is None:
        return
    client_context(TLSFiles(ca=files.ca))  # what OpenSSL can read of it is what counts
    if not any(_signs_others(one) for one in _trusted(files.ca)):
        yield "ca", f"{files.ca} holds no certificate of a CA; name the file of the CA that signs those of the peers"


def _ca_warnings(files: TLSFiles, now: datetime) -> Iterator[Finding]:
    if files.ca is None:
        return
    for one in _trusted(files.ca):
        name = _called(one, files.ca)
        if one.not_valid_before_utc > now:
            yield "ca", f"{name} is not valid before {one.not_valid_before_utc:%Y-%m-%d}; whom it signed is refused"
        if _days(one, now) < _SOON:
            yield "ca", f"{name} {_ending(one, now)}; put the new one in"
        weakness = _weakness_of_key(one)
        if weakness:
            yield "ca", f"{name} {weakness}, so whom it signed is refused; put a better one in"
        if not _signs_others(one):
            yield "ca", f"{name} is no CA, and counts for its own peer alone; take it out, or leave it if that is meant"


def _trusted(ca: Path) -> list[x509.Certificate]:
    """What can be judged of a file of CAs, where there may be one or the other that OpenSSL alone understands."""
    certificates = []
    for pem in read_pem(ca, "ca", CERTIFICATE):
        with suppress(ValueError):
            certificates.append(_parse(pem))
    return certificates


def _signs_others(certificate: x509.Certificate) -> bool:
    """Whether it may be at the upper end of a chain; one that signed itself may, whatever it says."""
    constraints = _extension(certificate, x509.BasicConstraints)
    return (constraints is not None and constraints.ca) or certificate.subject == certificate.issuer


# -- whom it does not trust any more


def _crl_faults(files: TLSFiles, now: datetime) -> Iterator[Finding]:
    if files.crl is None:
        return
    trusted: list[x509.Certificate] = []
    with suppress(SettingError):  # of the CAs, which is said already
        trusted = _trusted(files.ca) if files.ca else []
    for one in _revocation_lists(files.crl):
        name = f"the revocation list of {_subject(one.issuer)} in {files.crl}"
        if one.last_update_utc > now:
            yield (
                "crl",
                f"{name} is not valid before {one.last_update_utc:%Y-%m-%d %H:%M} UTC; set this machine's clock",
            )
        if one.next_update_utc is not None and one.next_update_utc < now:
            ended = f"ended on {one.next_update_utc:%Y-%m-%d}"
            yield "crl", f"{name} {ended}, so every peer with a certificate of that CA is refused; get the new one"
        issuers = [ca for ca in trusted if _same(ca.subject, one.issuer)]
        if issuers and not any(_signed(one, ca) for ca in issuers):
            yield "crl", f"{name} is not signed by that CA as it stands in {files.ca}; get the list and the CA anew"


def _crl_warnings(files: TLSFiles) -> Iterator[Finding]:
    if files.crl is None or files.ca is None:
        return
    trusted = _trusted(files.ca)
    for one in _revocation_lists(files.crl):
        if not any(_same(ca.subject, one.issuer) for ca in trusted):
            name = f"the revocation list of {_subject(one.issuer)} in {files.crl}"
            yield "crl", f"{name} counts for no CA in {files.ca}; name that CA there, or get the list of one that is"


def _revocation_lists(crl: Path) -> list[x509.CertificateRevocationList]:
    try:
        lists = [x509.load_pem_x509_crl(pem) for pem in read_revocation_lists(crl)]
        for one in lists:
            _subject(one.issuer)  # a name that cannot be read fails no sooner
    except (ValueError, x509.InvalidVersion):
        raise SettingError("crl", damaged(crl, REVOCATION_LIST)) from None
    return lists


def _signed(crl: x509.CertificateRevocationList, ca: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(ca.public_key())  # type: ignore[arg-type]  # of another kind: TypeError
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return True  # not for us to say


# -- certificates in general


def _own_certificates(path: Path) -> list[x509.Certificate]:
    try:
        return [_parse(pem) for pem in read_pem(path, "certificate", CERTIFICATE)]
    except ValueError:
        raise SettingError("certificate", damaged(path, CERTIFICATE)) from None


def _parse(pem: bytes) -> x509.Certificate:
    """A certificate, or :class:`ValueError`."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except x509.InvalidVersion as error:
        raise ValueError(str(error)) from error
    for name in (certificate.subject, certificate.issuer):
        _subject(name)  # one that cannot be read fails no sooner
    return certificate


def _weakness_of_key(certificate: x509.Certificate) -> str | None:
    key = _public_key(certificate)
    if isinstance(key, rsa.RSAPublicKey):
        return f"has an RSA key of {key.key_size} bits" if key.key_size < _SHORTEST_RSA else None
    if isinstance(key, ec.EllipticCurvePublicKey):
        return (
            None if key.curve.name in _CURVES else f"has a key on {key.curve.name}, a curve that TLS does not use here"
        )
    return (
        None if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey) else "has a key that TLS does not use"
    )


def _weakness_of_signature(certificate: x509.Certificate, *, is_root: bool) -> str | None:
    if is_root:
        return None  # nobody looks at it: a root is trusted or not
    with suppress(UnsupportedAlgorithm):
        digest = certificate.signature_hash_algorithm
        return f"is signed with {digest.name.upper()}" if digest and digest.name in _BROKEN_HASHES else None
    return "is signed in a way that is not supported"


def _public_key(certificate: x509.Certificate) -> PublicKeyTypes | None:
    with suppress(ValueError, UnsupportedAlgorithm):
        return certificate.public_key()
    return None


def _extension(certificate: x509.Certificate, kind: type[Extension]) -> Extension | None:
    """An extension's value; None where there is none, or none that can be read."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return None


def _days(certificate: x509.Certificate, now: datetime) -> float:
    return (certificate.not_valid_after_utc - now).total_seconds() / _SECONDS_A_DAY


def _ending(certificate: x509.Certificate, now: datetime) -> str:
    days = int(_days(certificate, now))
    date = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
    if _days(certificate, now) < 0:
        return f"expired on {date}"
    return f"expires in {days} days, on {date}" if days > 1 else f"expires within {days + 1} day{'s' * days}, on {date}"


def _called(certificate: x509.Certificate, path: Path, place: int = 1) -> str:
    """The first certificate in a file is called as the file, any other by its subject."""
    return f"{_subject(certificate.subject)} in {path}" if place else str(path)


def _subject(name: x509.Name) -> str:
    return quote(name.rfc4514_string(), _LONGEST_SUBJECT)


def _same(one: x509.Name, other: x509.Name) -> bool:
    """As OpenSSL compares them: neither case nor the number of spaces counts."""
    return _canonical(one) == _canonical(other)


def _canonical(name: x509.Name) -> str:
    return " ".join(name.rfc4514_string().casefold().split())
