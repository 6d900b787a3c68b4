"""The public keys of whoever issues tokens, from an https address: fetched, kept for a while, fetched anew.

Knows time-outs, and how long keys are good for; what stands in a key set is read in ``jwks.py``. It never sees a token.
"""

from __future__ import annotations

import http.client
import ipaddress
import math
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from scpd.errors import SettingError, Unavailable
from scpd.identity.jwks import LARGEST, Key, KeySet, parse
from scpd.names import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

_LONGEST_USE = 24 * 3600.0  # so long fetched keys are used while newer ones cannot be had
_PAUSE = 5.0  # between two fetches, whatever came of the first
_PAUSE_FOR_UNKNOWN = 15.0  # the same, when a token names a key that is not known: anybody can make such tokens
_PORTS = {"https": http.client.HTTPS_PORT, "http": http.client.HTTP_PORT}


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
        finally:  # else no other would ever begin
            self._end(fetch, keys, fault)

    def _end(self, fetch: _Fetch, keys: KeySet | None, fault: str) -> None:
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
    port: int
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
    if not host or parts.fragment or not url.isascii() or not url.isprintable() or " " in url:
        raise SettingError("keys", f"{quote(url)} is not an address; write https://host/path")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise SettingError("keys", f"{quote(url)} is not protected on its way; write https://")
    # Without a port of its own, the library takes the last group of an IPv6 address for one.
    port = _PORTS[parts.scheme] if port is None else port
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
        body, fault = None, "it cannot be read"
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
        finally:  # else it would be under way for ever
            self._tell(self, *((None, self._late()) if self.given_up else (body, fault)))

    def _late(self) -> str:
        return f"it took longer than {self._timeout:g} s"

    def _get(self) -> bytes:
        connection = self._connected()
        try:
            connection.request("GET", self._address.target, headers={"Accept": "application/json"})
            response = connection.getresponse()
            body = bytearray(LARGEST + 1)  # reading into it keeps to its end, whatever lengths are said
            count = response.readinto(body)
        finally:
            with self._lock:
                self._socket = None
            connection.close()
        if response.status != http.client.OK:
            raise _Unusable(f"it answered {response.status}, and redirects are not followed")
        if count > LARGEST:
            raise _Unusable(f"it sent more than {LARGEST} bytes")
        return bytes(body[:count])

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
