"""The public keys of whoever issues tokens: a JWKS (RFC 7517), parsed, searched, and read from a file.

Knows keys, and which signatures each may have made. It never sees a token, nor a network.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import jwt
from cryptography.exceptions import UnsupportedAlgorithm

from scpd.errors import SettingError
from scpd.identity.watched import Watched
from scpd.regular import content

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from jwt.algorithms import AllowedPublicKeys

# The signatures that a key of a kind can verify (RFC 7518 3.1, RFC 8037 3.1): by kty, or kty and crv.
_OF_KIND = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC P-256": ("ES256",),
    "EC P-384": ("ES384",),
    "EC P-521": ("ES512",),
    "OKP Ed25519": ("EdDSA",),
    "OKP Ed448": ("EdDSA",),
}
ALGORITHMS = tuple(dict.fromkeys(name for names in _OF_KIND.values() for name in names))
_PRIVATE = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth"))  # RFC 7518 6.2.2, 6.3.2; RFC 8037 2
_SHORTEST_RSA = 2048  # bits (RFC 7518 3.3)
_MOST_KEYS = 16  # each of them is tried on a token that does not name its key
LARGEST = 1024 * 1024  # bytes of a whole JWKS


class Key(NamedTuple):
    """One public key; ``algorithms`` are those of its signatures that are taken."""

    id: str | None
    algorithms: frozenset[str]
    public: AllowedPublicKeys


class KeySet:
    """Public keys; ``warning`` says what about them ought to be looked after, or is empty."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys[:_MOST_KEYS])
        more = f"of {len(keys)} keys only the first {_MOST_KEYS} are used; leave out those that are gone"
        self.warning = more if len(keys) > _MOST_KEYS else ""

    def find(self, algorithm: str, kid: str | None) -> Sequence[Key]:
        """The keys that may have made a signature. Those without an ID stand in for one that nobody has."""
        fitting = [key for key in self._keys if algorithm in key.algorithms]
        if kid is None:
            return fitting
        return [key for key in fitting if key.id == kid] or [key for key in fitting if key.id is None]


def parse(data: bytes, algorithms: Collection[str]) -> KeySet:
    """The keys of a JWKS that serve for ``algorithms``; others, and symmetric ones, are left out.

    Raises :class:`ValueError` that says what is wrong with the whole, and never what stands in it.
    """
    try:
        document = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise ValueError('is not JSON; write a JWKS: {"keys": [...]}') from None
    listed = document.get("keys") if isinstance(document, dict) else None
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    if not entries:
        raise ValueError('is not a JWKS; write {"keys": [...]}')
    if any(entry.get("kty") != "oct" and not _PRIVATE.isdisjoint(entry) for entry in entries):
        raise ValueError("holds a private key; write the public keys only, and have that key replaced")
    keys = [key for key in (_key(entry, algorithms) for entry in entries) if key]
    if not keys:
        wanted = ", ".join(algorithms)
        raise ValueError(
            f"holds no key for {wanted}; write those that verify signatures, RSA from {_SHORTEST_RSA} bits"
        )
    return KeySet(keys)


def _key(entry: dict[str, Any], algorithms: Collection[str]) -> Key | None:
    """A key that verifies some of ``algorithms``; None when it does not, or is for something else (RFC 7517 4)."""
    operations = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    kind = "RSA" if entry.get("kty") == "RSA" else f"{entry.get('kty')} {entry.get('crv')}"
    able = [name for name in _OF_KIND.get(kind, ()) if name in algorithms and entry.get("alg", name) == name]
    public = _public(entry, able[0]) if able else None
    if public is None:
        return None
    kid = entry.get("kid")
    return Key(kid if isinstance(kid, str) else None, frozenset(able), public)


def _public(entry: dict[str, Any], algorithm: str) -> AllowedPublicKeys | None:
    try:
        public: AllowedPublicKeys = jwt.PyJWK.from_dict(entry, algorithm).key
    except (jwt.PyJWTError, UnsupportedAlgorithm, TypeError, ValueError):  # the last two in older releases
        return None
    if entry["kty"] == "RSA" and public.key_size < _SHORTEST_RSA:  # type: ignore[union-attr]
        return None
    return public


class KeyFile:
    """The keys of a file, which is read again when it has changed.

    Raises :class:`SettingError` when it cannot be used at the start. What is wrong with it later stands in ``warning``,
    and the keys that were read before stay in force.
    """

    def __init__(self, path: Path, algorithms: Collection[str]) -> None:
        self._keys = Watched(
            path, lambda path: _read(path, algorithms), "the keys that stood there before stay in force"
        )
        self.warning = self._keys.current().warning

    def find(self, algorithm: str, kid: str | None) -> Sequence[Key]:
        """The keys that may have made a signature, perhaps none."""
        keys = self._keys.current()
        self.warning = self._keys.warning or keys.warning
        return keys.find(algorithm, kid)


def _read(path: Path, algorithms: Collection[str]) -> KeySet:
    try:
        if not path.is_file():
            raise SettingError("keys", f"{path} is not a file; write the issuer's public keys there, as a JWKS")
        data = content(path, LARGEST + 1)
    except OSError as error:
        raise SettingError("keys", f"{path} cannot be read ({error.strerror}); let scpd read it") from None
    if len(data) > LARGEST:
        raise SettingError("keys", f"{path} is longer than {LARGEST} bytes; name a JWKS")
    try:
        return parse(data, algorithms)
    except ValueError as error:
        raise SettingError("keys", f"{path} {error}") from None
