"""The public keys of whoever issues tokens: a JWKS (RFC 7517), from a file or from an address.

Knows keys, and how long they are good for. It never sees a token, nor which users there are.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import math
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import jwt
from cryptography.exceptions import UnsupportedAlgorithm

from scpd.errors import SettingError, Unavailable
from scpd.names import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
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
_LARGEST = 1024 * 1024

_LONGEST_USE = 24 * 3600.0  # so long fetched keys are used while newer ones cannot be had
_PAUSE = 5.0  # between two fetches, whatever came of the first
_PAUSE_FOR_UNKNOWN = 15.0  # the same, when a token names a key that is not known: anybody can make such tokens


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
    except (jwt.PyJWTError, UnsupportedAlgorithm):
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
        self._path = path
        self._algorithms = algorithms
        self._lock = threading.Lock()
        self._state = _state(path)
        self._keys = self._read()
        self.warning = self._keys.warning

    def find(self, algorithm: str, kid: str | None) -> Sequence[Key]:
        """The keys that may have made a signature, perhaps none."""
        with self._lock:
            self._read_again()
            return self._keys.find(algorithm, kid)

    def _read_again(self) -> None:
        state = _state(self._path)
        if state == self._state:
            return
        self._state = state
        try:
            self._keys = self._read()
        except SettingError as error:
            self.warning = f"{error.what}; the keys that stood there before stay in force"
        else:
            self.warning = self._keys.warning

    def _read(self) -> KeySet:
        if not self._path.is_file():
            raise SettingError("keys", f"{self._path} is not a file; write the issuer's public keys there, as a JWKS")
        try:
            with self._path.open("rb") as stream:
                data = stream.read(_LARGEST + 1)
        except OSError as error:
            raise SettingError("keys", f"{self._path} cannot be read ({error.strerror}); let scpd read it") from None
        if len(data) > _LARGEST:
            raise SettingError("keys", f"{self._path} is longer than {_LARGEST} bytes; name a JWKS")
        try:
            return parse(data, self._algorithms)
        except ValueError as error:
            raise SettingError("keys", f"{self._path} {error}") from None


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


class KeyServer:
    """The keys at an address: fetched when first needed, every ``refresh`` seconds, and for a key that is not known.

    One thread at a time fetches. Who has keys goes on with them meanwhile, for a day when newer ones cannot be had;
    ``warning`` says so. Nobody waits for longer than ``timeout`` seconds. ``clock`` is monotonic.
    """

    def __init__(
        self,
        url: str,
        algorithms: Collection[str],
        *,
        refresh: float,
        timeout: float,
        ca: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.warning = ""
        self._address = _address(url, ca)
        self._algorithms = algorithms
        self._refresh = refresh
        self._timeout = timeout
        self._clock = clock
        self._lock = threading.Lock()
        self._keys = KeySet(())
        self._fetched = -math.inf
        self._failed = -math.inf
        self._fetch: _Fetch | None = None

    def find(self, algorithm: str, kid: str | None) -> Sequence[Key]:
        """The keys that may have made a signature, perhaps none. Raises :class:`Unavailable` when that is unknown."""
        found = self._current().find(algorithm, kid)
        if not found:
            self._wait(self._begin(join=True, pause=_PAUSE_FOR_UNKNOWN))
            found = self._keys.find(algorithm, kid)
        if not found and self._failed > self._fetched:
            raise Unavailable(f"the token's key is not known, and {self.warning}")
        return found

    def _current(self) -> KeySet:
        age = self._clock() - self._fetched
        if age > _LONGEST_USE:
            self._wait(self._begin(join=True))
        elif age > self._refresh:
            self._wait(self._begin(join=False))
        if self._clock() - self._fetched > _LONGEST_USE:
            raise Unavailable(self.warning)
        return self._keys

    def _begin(self, *, join: bool, pause: float = _PAUSE) -> _Fetch | None:
        """A fetch that was begun now, or with ``join`` the one under way; None when neither is."""
        with self._lock:
            if self._fetch:
                return self._fetch if join and not self._fetch.given_up else None
            if self._clock() - max(self._fetched, self._failed) < pause:
                return None
            self._fetch = fetch = _Fetch(self._address, self._timeout, self._done)
        try:
            fetch.start()
        except RuntimeError:  # the system has no thread left
            self._done(fetch, None, "no thread could be started")
        return fetch

    def _wait(self, fetch: _Fetch | None) -> None:
        if fetch and not fetch.done.wait(self._timeout):
            with self._lock:
                if self._fetch is fetch:  # else it has just come
                    self._note_failure(f"it took longer than {self._timeout:g} s")
            fetch.give_up()

    def _note_failure(self, fault: str) -> None:
        self._failed = self._clock()
        self.warning = f"the keys of {self._address.url} cannot be fetched: {fault}"

    def _done(self, fetch: _Fetch, body: bytes | None, fault: str) -> None:
        keys = None
        try:
            keys = parse(body, self._algorithms) if body is not None else None
        except ValueError as error:
            fault = f"what is there {error}"
        with self._lock:
            if keys:
                self._keys, self._fetched, self.warning = keys, self._clock(), keys.warning
            else:
                self._note_failure(fault)
            self._fetch = None
        fetch.done.set()


class _Address(NamedTuple):
    url: str
    host: str
    port: int | None
    target: str
    context: ssl.SSLContext | None


def _address(url: str, ca: Path | None) -> _Address:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if host and parts.username is not None:
        raise SettingError("keys", "the address names a user, who would not be asked for; write https://host/path")
    if not host or parts.fragment or not url.isascii() or not url.isprintable():
        raise SettingError("keys", f"{quote(url)} is not an address; write https://host/path")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise SettingError("keys", f"{quote(url)} is not protected on its way; write https://")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Address(url, host, port, target, _context(ca) if parts.scheme == "https" else None)


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:  # ssl.SSLError is one
        why = error.strerror or "not PEM"
        raise SettingError("ca", f"{ca} cannot be used ({quote(why)}); name a file of CA certificates, PEM") from None


class _Unusable(Exception):
    """An answer that holds no keys; says why in words."""


class _Fetch(threading.Thread):
    """One GET on a thread of its own, since neither looking up a name nor a slow answer keeps to a time by itself.

    ``tell`` gets the body, or None and what went wrong; it sets ``done``.
    """

    def __init__(self, address: _Address, timeout: float, tell: Callable[[_Fetch, bytes | None, str], None]) -> None:
        super().__init__(name="keys", daemon=True)
        self.done = threading.Event()
        self._address = address
        self._timeout = timeout
        self._tell = tell
        self._lock = threading.Lock()
        self.given_up = False
        self._socket: socket.socket | None = None

    def give_up(self) -> None:
        """Let it end soon, without a result."""
        with self._lock:
            self.given_up = True
            if self._socket:
                with suppress(OSError):  # it is gone already
                    # That of the plain socket: TLS is not told, and whoever reads meanwhile sees an end.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def run(self) -> None:
        body, fault = None, ""
        try:
            body = self._get()
        except _Unusable as error:
            fault = str(error)
        except ssl.SSLCertVerificationError as error:
            fault = f"its certificate is not accepted ({quote(error.verify_message)})"
        except TimeoutError:
            fault = self._late()
        except (OSError, ValueError, http.client.HTTPException) as error:
            fault = quote(getattr(error, "strerror", None) or str(error) or type(error).__name__)
        if self.given_up:
            body, fault = None, self._late()
        self._tell(self, body, fault)

    def _late(self) -> str:
        return f"it took longer than {self._timeout:g} s"

    def _get(self) -> bytes:
        connection = self._connected()
        try:
            connection.request("GET", self._address.target, headers={"Accept": "application/json"})
            response = connection.getresponse()
            body = response.read(_LARGEST + 1)
        finally:
            with self._lock:
                self._socket = None
            connection.close()
        if response.status != http.client.OK:
            raise _Unusable(f"it answered {response.status}, and redirects are not followed")
        if len(body) > _LARGEST:
            raise _Unusable(f"it sent more than {_LARGEST} bytes")
        return body

    def _connected(self) -> http.client.HTTPConnection:
        _, host, port, _, context = self._address
        connection = (
            http.client.HTTPSConnection(host, port, timeout=self._timeout, context=context)
            if context
            else http.client.HTTPConnection(host, port, timeout=self._timeout)
        )
        connection.connect()
        with self._lock:
            self._socket = connection.sock
            if self.given_up:
                connection.close()
                raise TimeoutError
        return connection
