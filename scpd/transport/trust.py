"""Whether files of CAs and of revocation lists are any good: whom a side trusts, and whom it does not any more.

Findings are as in ``certificates.py``, where they are asked for. Knows nothing of this side's own certificate.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from scpd.errors import SettingError
from scpd.transport.certificate_facts import (
    SOON,
    called,
    days_to_end,
    ending,
    extension,
    is_same_name,
    parse_certificate,
    shown,
    weakness_of_key,
)
from scpd.transport.profiles import client_context
from scpd.transport.tls_files import (
    CERTIFICATE,
    REVOCATION_LIST,
    TLSFiles,
    damaged,
    read_pem,
    read_revocation_lists,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from scpd.transport.tls_files import Finding


# -- whom it trusts


def ca_faults(files: TLSFiles, _now: datetime) -> Iterator[Finding]:
    """Why nobody can be verified by ``files.ca``. Raises :class:`SettingError` as well."""
    if files.ca is None:
        return
    client_context(TLSFiles(ca=files.ca))  # what OpenSSL can read of it is what counts
    if not any(_signs_others(one) for one in _trusted(files.ca)):
        yield "ca", f"{files.ca} holds no certificate of a CA; name the file of the CA that signs those of the peers"


def ca_warnings(files: TLSFiles, now: datetime) -> Iterator[Finding]:
    """What some peers will be refused for, now or soon. Raises :class:`SettingError` where there is a fault."""
    if files.ca is None:
        return
    for one in _trusted(files.ca):
        name = called(one, files.ca)
        if one.not_valid_before_utc > now:
            yield "ca", f"{name} is not valid before {one.not_valid_before_utc:%Y-%m-%d}; whom it signed is refused"
        if days_to_end(one, now) < SOON:
            yield "ca", f"{name} {ending(one, now)}; put the new one in"
        weakness = weakness_of_key(one)
        if weakness:
            yield "ca", f"{name} {weakness}, so whom it signed is refused; put a better one in"
        if not _signs_others(one):
            yield "ca", f"{name} is no CA, and counts for its own peer alone; take it out, or leave it if that is meant"


def _trusted(ca: Path) -> list[x509.Certificate]:
    """What can be judged of a file of CAs, where there may be one or the other that OpenSSL alone understands."""
    certificates = []
    for pem in read_pem(ca, "ca", CERTIFICATE):
        with suppress(ValueError):
            certificates.append(parse_certificate(pem))
    return certificates


def _signs_others(certificate: x509.Certificate) -> bool:
    """Whether it may be at the upper end of a chain; one that signed itself may, whatever it says."""
    constraints = extension(certificate, x509.BasicConstraints)
    return (constraints is not None and constraints.ca) or certificate.subject == certificate.issuer


# -- whom it does not trust any more


def crl_faults(files: TLSFiles, now: datetime) -> Iterator[Finding]:
    """Why every peer of a CA would be refused by ``files.crl``. Raises :class:`SettingError` as well."""
    if files.crl is None:
        return
    trusted: list[x509.Certificate] = []
    with suppress(SettingError):  # of the CAs, which is said already
        trusted = _trusted(files.ca) if files.ca else []
    lists = _revocation_lists(files.crl)
    in_force = [one for one in lists if _is_in_force(one, now)]
    for one in lists:
        name = f"the revocation list of {shown(one.issuer)} in {files.crl}"
        if not any(_is_of_one_key(one, other) for other in in_force):  # which OpenSSL would take instead
            yield "crl", f"{name} {_out_of_force(one, now)}"
        issuers = [ca for ca in trusted if is_same_name(ca.subject, one.issuer)]
        if issuers and not any(_signed(one, ca) for ca in issuers):
            yield "crl", f"{name} is not signed by that CA as it stands in {files.ca}; get the list and the CA anew"


def _is_in_force(crl: x509.CertificateRevocationList, now: datetime) -> bool:
    return crl.last_update_utc <= now and (crl.next_update_utc is None or now <= crl.next_update_utc)


def _is_of_one_key(one: x509.CertificateRevocationList, other: x509.CertificateRevocationList) -> bool:
    """A CA that has got a new key keeps its name."""
    keys = [extension(each, x509.AuthorityKeyIdentifier) for each in (one, other)]
    return is_same_name(one.issuer, other.issuer) and keys[0] == keys[1]


def _out_of_force(crl: x509.CertificateRevocationList, now: datetime) -> str:
    if crl.last_update_utc > now:
        return f"is not valid before {crl.last_update_utc:%Y-%m-%d %H:%M} UTC; set this machine's clock"
    ended = f"ended on {crl.next_update_utc:%Y-%m-%d}"
    return f"{ended}, so every peer with a certificate of that CA is refused; get the new one"


def crl_warnings(files: TLSFiles) -> Iterator[Finding]:
    """Lists that refuse nobody. Raises :class:`SettingError` where there is a fault."""
    if files.crl is None or files.ca is None:
        return
    trusted = _trusted(files.ca)
    for one in _revocation_lists(files.crl):
        if not any(is_same_name(ca.subject, one.issuer) for ca in trusted):
            name = f"the revocation list of {shown(one.issuer)} in {files.crl}"
            yield "crl", f"{name} counts for no CA in {files.ca}; name that CA there, or get the list of one that is"


def _revocation_lists(crl: Path) -> list[x509.CertificateRevocationList]:
    try:
        lists = [x509.load_pem_x509_crl(pem) for pem in read_revocation_lists(crl)]
        for one in lists:
            shown(one.issuer)  # a name that cannot be read fails no sooner
    except (ValueError, x509.InvalidVersion):
        raise SettingError("crl", damaged(crl, REVOCATION_LIST)) from None
    return lists


def _signed(crl: x509.CertificateRevocationList, ca: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(ca.public_key())  # type: ignore[arg-type]  # of another kind: TypeError
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return True  # not for us to say
