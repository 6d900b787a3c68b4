"""A certificate authority for tests: what it issues is real, good or bad in exactly the way that is asked for.

Each thing becomes a file in the authority's folder, under a name of its own::

    authority = Authority(tmp_path)
    host = authority.server("pacs.example")              # host.certificate, host.key
    device = authority.client("ct1.example", ends=YESTERDAY)
    authority.revoke(device)
    authority.revocation_list()                          # a path

SHA-1 and MD5 need the ``openssl`` program, since nothing else signs with them any more.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = dt.datetime.now(dt.UTC)
LONG_AGO = NOW - dt.timedelta(days=400)
YESTERDAY = NOW - dt.timedelta(days=1)
TOMORROW = NOW + dt.timedelta(days=1)
NEXT_YEAR = NOW + dt.timedelta(days=365)

_KINDS: dict[str, Callable[[], Any]] = {
    "rsa1024": lambda: rsa.generate_private_key(65537, 1024),
    "rsa2048": lambda: rsa.generate_private_key(65537, 2048),
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "p224": lambda: ec.generate_private_key(ec.SECP224R1()),
    "p192": lambda: ec.generate_private_key(ec.SECP192R1()),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ed448": ed448.Ed448PrivateKey.generate,
    "dsa": lambda: dsa.generate_private_key(2048),
}
_USES = {"server": (ExtendedKeyUsageOID.SERVER_AUTH,), "client": (ExtendedKeyUsageOID.CLIENT_AUTH,)}
_USES |= {"both": _USES["server"] + _USES["client"], "email": (ExtendedKeyUsageOID.EMAIL_PROTECTION,), "any": ()}
_PATIENCE = 20.0


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, as files and as objects. ``chain`` is the certificate with its issuers' but the root."""

    certificate: Path
    key: Path
    chain: Path
    x509: x509.Certificate = field(repr=False)
    private: Any = field(repr=False)

    @property
    def together(self) -> Path:
        """One file with the chain and, after it, the key."""
        path = self.key.with_suffix(".all.pem")
        path.write_bytes(self.chain.read_bytes() + self.key.read_bytes())
        path.chmod(0o600)
        return path

    def key_file(self, *, mode: int = 0o600, password: str | None = None, traditional: bool = False) -> Path:
        """The key once more: with a mode, encrypted, or in OpenSSL's older form."""
        form = serialization.PrivateFormat
        encryption: Any = serialization.NoEncryption()
        if password is not None:
            encryption = serialization.BestAvailableEncryption(password.encode())
        path = _free(self.key, ".again.key")
        path.write_bytes(
            self.private.private_bytes(
                serialization.Encoding.PEM, form.TraditionalOpenSSL if traditional else form.PKCS8, encryption
            )
        )
        path.chmod(mode)
        return path

    def der(self) -> Path:
        path = self.certificate.with_suffix(".der")
        path.write_bytes(self.x509.public_bytes(serialization.Encoding.DER))
        return path


class Authority:
    """A CA, a root or an intermediate of ``issuer``; ``certificate`` is its own file."""

    def __init__(
        self,
        folder: Path,
        name: str = "Test CA",
        *,
        kind: str = "p256",
        issuer: Authority | None = None,
        begins: dt.datetime = LONG_AGO,
        ends: dt.datetime = NEXT_YEAR,
        is_ca: bool | None = True,
    ) -> None:
        self.folder = folder
        self.name = name
        self.issuer = issuer
        self._private = _KINDS[kind]()
        self._subject = _named(name)
        self._revoked: list[x509.RevokedCertificate] = []
        above = issuer or self
        builder = _begin(self._subject, above._subject, self._private, begins, ends)
        if is_ca is not None:  # None: without saying so
            builder = builder.add_extension(x509.BasicConstraints(is_ca, None), critical=True)
        if is_ca:
            builder = builder.add_extension(_key_usage(ca=True), critical=True)
        self.x509 = builder.sign(above._private, _digest(above._private))
        self.certificate = _write(_free(folder / _plain(name), ".crt"), self.x509)

    def intermediate(self, name: str = "Test Intermediate CA", **how: Any) -> Authority:
        return Authority(self.folder, name, issuer=self, **how)

    def server(self, host: str = "localhost", **how: Any) -> Issued:
        """For a server: ``host`` is the common name and, unless ``alternatives`` says otherwise, a DNS name."""
        return self.issue(host, **{"use": "server", "alternatives": (f"DNS:{host}",), **how})

    def client(self, name: str = "ct1.example", **how: Any) -> Issued:
        return self.issue(name, **{"use": "client", "alternatives": (f"DNS:{name}",), **how})

    def issue(
        self,
        name: str | Iterable[tuple[x509.ObjectIdentifier, str]],
        *,
        alternatives: Iterable[str] = (),
        use: str = "both",
        kind: str = "p256",
        begins: dt.datetime = LONG_AGO,
        ends: dt.datetime = NEXT_YEAR,
        signs: bool = True,
        digest: str | None = None,
    ) -> Issued:
        """A certificate: ``name`` is its common name or all of its subject, ``alternatives`` are ``DNS:…``, ``IP:…``,
        ``URI:…`` and ``email:…``, ``use`` is server, client, both, email (the wrong one) or any (no extended key
        usage), ``signs`` whether its key usage has digitalSignature, ``digest`` sha1 or md5.
        """
        subject = _named(name) if isinstance(name, str) else _named(*name)
        path = _free(self.folder / _plain(name if isinstance(name, str) else "subject"), ".crt")
        private = _KINDS[kind]()
        builder = _begin(subject, self._subject, private, begins, ends)
        for extension, critical in _extensions(alternatives, use, signs=signs):
            builder = builder.add_extension(extension, critical=critical)
        certificate = builder.sign(self._private, _digest(self._private))
        if digest:
            certificate = self._sign_badly(path, certificate, private, digest)
        return self._file(path, certificate, private)

    def revoke(self, issued: Issued, when: dt.datetime = YESTERDAY) -> None:
        """Put it on the revocation lists that are written from now on."""
        revoked = x509.RevokedCertificateBuilder().serial_number(issued.x509.serial_number).revocation_date(when)
        self._revoked.append(revoked.build())

    def revocation_list(
        self,
        *,
        begins: dt.datetime = YESTERDAY,
        ends: dt.datetime = NEXT_YEAR,
        signed_by: Authority | None = None,
    ) -> Path:
        """A CRL of what was revoked so far; one that has ended, or has another's signature, where that is asked for."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._subject)
        builder = builder.last_update(min(begins, ends - dt.timedelta(days=1))).next_update(ends)
        for one in self._revoked:
            builder = builder.add_revoked_certificate(one)
        private = (signed_by or self)._private
        return _write(_free(self.folder / _plain(self.name), ".crl"), builder.sign(private, _digest(private)))

    def _file(self, path: Path, certificate: x509.Certificate, private: Any) -> Issued:
        _write(path, certificate)
        chain = path.with_suffix(".chain.crt")
        chain.write_bytes(path.read_bytes() + b"".join(one.certificate.read_bytes() for one in self._below_the_root()))
        key = path.with_suffix(".key")
        key.write_bytes(_pem(private))
        key.chmod(0o600)
        return Issued(path, key, chain, certificate, private)

    def _below_the_root(self) -> list[Authority]:
        return [self, *self.issuer._below_the_root()] if self.issuer else []

    def _sign_badly(self, path: Path, certificate: x509.Certificate, private: Any, digest: str) -> x509.Certificate:
        """The same certificate, but for its dates, signed by the ``openssl`` program."""
        builder = x509.CertificateSigningRequestBuilder().subject_name(certificate.subject)
        for one in certificate.extensions:
            builder = builder.add_extension(one.value, critical=one.critical)
        request = _write(path.with_suffix(".csr"), builder.sign(private, _digest(private)))
        key = path.with_suffix(".ca-key")
        key.write_bytes(_pem(self._private))
        command = ["openssl", "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", key, f"-{digest}"]
        command += ["-copy_extensions", "copyall", "-days", "90"]
        done = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=True)
        return x509.load_pem_x509_certificate(done.stdout)


def _named(*parts: Any) -> x509.Name:
    """A common name, or pairs of a type and a value, each a relative name of its own."""
    pairs = [(NameOID.COMMON_NAME, parts[0])] if isinstance(parts[0], str) else parts
    return x509.Name([x509.NameAttribute(kind, value, _validate=False) for kind, value in pairs])


def _begin(
    subject: x509.Name, issuer: x509.Name, private: Any, begins: dt.datetime, ends: dt.datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(private.public_key())
    begins = min(begins, ends - dt.timedelta(days=1))
    return builder.serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends)


def _extensions(alternatives: Iterable[str], use: str, *, signs: bool) -> Iterable[tuple[x509.ExtensionType, bool]]:
    yield x509.BasicConstraints(ca=False, path_length=None), True
    yield _key_usage(signs=signs), True
    if _USES[use]:
        yield x509.ExtendedKeyUsage(_USES[use]), False
    general = [_alternative(*one.split(":", 1)) for one in alternatives]
    if general:
        yield x509.SubjectAlternativeName(general), False


def _alternative(kind: str, value: str) -> x509.GeneralName:
    if kind == "IP":
        return x509.IPAddress(ipaddress.ip_address(value))
    makers = {"DNS": x509.DNSName, "URI": x509.UniformResourceIdentifier, "email": x509.RFC822Name}
    return makers[kind](value)


def _key_usage(*, ca: bool = False, signs: bool = True) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=False,
        key_encipherment=not ca,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _digest(private: Any) -> Any:
    return None if isinstance(private, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()


def _pem(private: Any) -> bytes:
    plain = serialization.NoEncryption()
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def _write(path: Path, what: Any) -> Path:
    path.write_bytes(what.public_bytes(serialization.Encoding.PEM))
    return path


def _plain(name: str) -> str:
    return "".join(one if one.isalnum() else "-" for one in name)[:40]


def _free(path: Path, ending: str) -> Path:
    """A name that nothing has yet."""
    number = 0
    while (found := path.with_name(f"{path.stem}-{number}{ending}" if number else f"{path.stem}{ending}")).exists():
        number += 1
    return found
