"""The files that TLS needs, all in PEM form: which there are, and what is read of them.

A sentence that OpenSSL's refusal (``profiles.py``) and the look at the files (``certificates.py``) have in common is
made here. Knows neither what stands in a certificate nor which TLS is allowed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scpd.errors import SettingError
from scpd.regular import content

if TYPE_CHECKING:
    from pathlib import Path

# More than any chain, any bundle of CAs and any sensible revocation list has.
_LARGEST = 16 * 1024 * 1024
_LONGEST_PASSWORD = 1024  # OpenSSL's PEM_BUFSIZE

_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s.*?-----END \1-----", re.DOTALL)
CERTIFICATE = "certificate"
PRIVATE_KEY = "private key"
REVOCATION_LIST = "revocation list"
_LABELS = {
    CERTIFICATE: re.compile(rb"(X509 )?CERTIFICATE"),
    PRIVATE_KEY: re.compile(rb"([A-Z0-9]+ )*PRIVATE KEY"),
    REVOCATION_LIST: re.compile(rb"X509 CRL"),
}
_CONVERT = {CERTIFICATE: "x509", PRIVATE_KEY: "pkey", REVOCATION_LIST: "crl"}

Finding = tuple[str, str]  # an attribute of TLSFiles, and what is wrong there; what to do
GOOD = "with RSA of 2048 bits or more or with P-256, signed with SHA-256 or better"


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """The files of one side, all in PEM form; the attributes are the keys of a :class:`~scpd.errors.SettingError`.

    ``certificate`` may be followed by intermediates in its file, and by its key where ``key`` is None. ``ca`` holds
    whom to trust: any certificate in it, a root or not. ``crl`` holds revocation lists, for every CA that issues
    certificates of peers: OpenSSL refuses a peer whose issuer has none.
    """

    certificate: Path | None = None
    key: Path | None = None
    key_password: str | None = field(default=None, repr=False)
    ca: Path | None = None
    crl: Path | None = None


def own_files(files: TLSFiles) -> tuple[Path, Path]:
    """The file of the certificate, which must be there, and that of its key."""
    if files.certificate is None:
        raise SettingError("certificate", "no certificate is named; name its file")
    return files.certificate, files.key or files.certificate


def password_of(files: TLSFiles) -> bytes:
    """The password of a key that turned out to be encrypted."""
    _, key = own_files(files)
    if files.key_password is None:
        raise SettingError("key_password", f"{key} is encrypted; name its password, or take the encryption off")
    password = files.key_password.encode()
    if len(password) > _LONGEST_PASSWORD:
        raise SettingError(
            "key_password", f"the password of {key} is longer than {_LONGEST_PASSWORD} bytes; set another"
        )
    return password


def read_pem(path: Path, key: str, kind: str) -> list[bytes]:
    """The PEM blocks of one kind (``CERTIFICATE``, ``PRIVATE_KEY``, ``REVOCATION_LIST``) in a file, at least one.

    Raises :class:`SettingError` with ``key``: missing, not readable, too large, none in it.
    """
    data = _read(path, key)
    blocks = _blocks(data, kind)
    if blocks:
        return blocks
    if data[:1] == b"\x30":  # a DER sequence
        how = f"openssl {_CONVERT[kind]} -inform DER -in {path} -out {path}.pem"
        raise SettingError(key, f"{path} is in DER form, and PEM is needed; convert it: {how}")
    raise SettingError(key, f"{path} holds no {kind} in PEM form; name the file that has it")


def read_revocation_lists(crl: Path) -> list[bytes]:
    """The same for a file of revocation lists, where nothing else may be: OpenSSL would trust any certificate in it."""
    blocks = read_pem(crl, "crl", REVOCATION_LIST)
    if b"CERTIFICATE-----" in _read(crl, "crl"):
        raise SettingError(
            "crl", f"{crl} holds a certificate besides its revocation lists; take it out, and name CAs in ca"
        )
    return blocks


def _blocks(data: bytes, kind: str) -> list[bytes]:
    return [found[0] for found in _PEM.finditer(data) if _LABELS[kind].fullmatch(found[1])]


def _read(path: Path, key: str) -> bytes:
    try:
        data = content(path, _LARGEST + 1)
    except FileNotFoundError:
        raise SettingError(key, f"{path} does not exist; correct the path, or put the file there") from None
    except OSError as error:
        raise SettingError(key, f"{path} cannot be read: {error.strerror}; see to its path and mode") from None
    if len(data) > _LARGEST:
        raise SettingError(key, f"{path} is larger than {_LARGEST >> 20} MiB; name a file in PEM form")
    return data


def foreign_key(certificate: Path, key: Path) -> str:
    return f"{key} does not belong to {certificate}; name the key that the certificate was made with"


def wrong_password(key: Path) -> str:
    return f"the password does not open {key}; name the one that the key was encrypted with"


def damaged(path: Path, kind: str) -> str:
    return f"a {kind} in {path} is damaged; get the file again"
