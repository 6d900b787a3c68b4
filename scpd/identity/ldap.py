"""User names and passcodes, verified by binding to a directory as that user (PS3.7 D.3.3.7, form 2; PS3.15 B.5).

The directory decides; nothing is kept here, neither a connection nor an answer. What ldap3 writes and reads goes
through a line that ends in time: the library by itself waits for each packet anew, and takes whatever is sent.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from ldap3 import BASE, DEREF_NEVER, NO_ATTRIBUTES, NONE, SIMPLE, Connection, Server
from ldap3.core.exceptions import LDAPException
from ldap3.utils.dn import escape_rdn, parse_dn

from scpd.errors import IdentityError, NotVerified, SettingError, Unavailable
from scpd.identity.claim import Form, User
from scpd.names import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from scpd.identity.claim import Claim

_PORTS = {"ldap": 389, "ldaps": 636}
_NO_ROLES = "users have no roles: whom it binds as is not the name of an entry; write roles: null, or a DN as user"
_HOW_TO_WRITE = "write uid={user},ou=people,dc=hospital,dc=example, or {user}@hospital.example"
_DN = re.compile(r"[A-Za-z][A-Za-z0-9-]*=\{user\},[^{}]+")
_PRINCIPAL = re.compile(r"\{user\}@[A-Za-z0-9.-]+|[A-Za-z0-9.-]+\\\{user\}")
_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9._-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LONGEST_NAME = 256
_LONGEST_PASSCODE = 1024
_LONGEST_QUOTE = 200
_MOST_RECEIVED = 1 << 20
_LEAST_PATIENCE = 0.05
_START_TLS = "1.3.6.1.4.1.1466.20037"  # RFC 4511 4.14

# The result codes (RFC 4511 appendix A) that are about the user; with any other the directory says that it cannot tell.
_SUCCESS = 0
_REFUSALS = frozenset((19, 32, 34, 48, 49, 50, 53))

_FIRST_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*=((?:\\.|[^\\,+])+)(?:[,+]|$)", re.DOTALL)
_ESCAPE = re.compile(rb"\\([0-9A-Fa-f]{2}|.)", re.DOTALL)


class LDAP:
    """Asks the directory at ``url``, ``ldaps://host[:636]`` or ``ldap://host[:389]``, within ``timeout`` seconds.

    ``user`` is whom to bind as, with ``{user}`` for the name: a DN that begins with it, as in
    ``uid={user},ou=people,dc=hospital,dc=example``, or what Active Directory knows, ``{user}@hospital.example``. Where
    it is a DN, users have to be able to read their own entry: their name is taken from it, as it is written there, and
    their roles from its attribute ``roles``. Where it is not, names are ASCII, and become lower-case; nobody has roles.

    ``tls`` says whether an ``ldap://`` connection turns to TLS before the passcode goes over it; ``ca`` is the file of
    the CA, None those that this machine trusts. Looking up the host's name takes as long as the system lets it.

    Raises :class:`SettingError` with the key ``url``, ``user``, ``tls``, ``ca`` or ``roles``.
    """

    forms: frozenset[int] = frozenset((Form.PASSCODE,))

    def __init__(
        self,
        url: str,
        user: str,
        *,
        tls: Literal["required", "none"] = "required",
        ca: Path | None = None,
        timeout: float = 5.0,
        roles: str | None = "memberOf",
    ) -> None:
        scheme, self._host, self._port = _address(url)
        if scheme == "ldaps" and tls == "none":
            raise SettingError("tls", "ldaps:// is TLS from its first byte; write ldap://, or leave this out")
        if roles is not None and not _ATTRIBUTE.fullmatch(roles):
            raise SettingError("roles", f"{quote(roles)} is not the name of an attribute; write one as in memberOf")
        self._url = url
        self._user = user
        self._is_dn = _is_dn(user)
        self._starts_tls = scheme == "ldap" and tls == "required"
        self._context = None if tls == "none" else _context(ca)
        self._timeout = timeout
        self._roles = roles
        self.warning = "" if self._is_dn or roles is None else _NO_ROLES

    def verify(self, claim: Claim) -> User:
        """See :class:`~scpd.identity.claim.Provider`. An empty passcode is never asked about (RFC 4513 5.1.2)."""
        name = _name(claim.primary)
        try:
            return self._verify(name, _passcode(claim.secondary))
        except IdentityError as error:
            error.user = quote(name)
            raise

    def _verify(self, name: str, passcode: bytes) -> User:
        if not self._is_dn and not _PLAIN_NAME.fullmatch(name):
            raise NotVerified("the user name has characters that no name before or after a domain may have")
        whom = self._user.replace("{user}", escape_rdn(name) if self._is_dn else name)
        with self._connection(whom, passcode) as connection:
            code, words = self._ask(connection, connection.bind, read_server_info=False)
            if code in _REFUSALS:
                raise NotVerified(f"{self._url} does not accept the user name or the passcode: {words}")
            if code != _SUCCESS:
                raise Unavailable(f"{self._url} cannot tell who the user is: {words}")
            return self._own_entry(connection, whom) if self._is_dn else User(name.lower())

    def _own_entry(self, connection: Connection, dn: str) -> User:
        """The user as the directory writes it, which takes ALICE for alice."""
        wanted = [self._roles or NO_ATTRIBUTES]
        search = {"search_filter": "(objectClass=*)", "search_scope": BASE, "dereference_aliases": DEREF_NEVER}
        code, words = self._ask(connection, connection.search, dn, attributes=wanted, **search)
        entries = [one for one in connection.response or () if one["type"] == "searchResEntry"]
        name = _first_value(entries[0]["dn"]) if len(entries) == 1 else None
        if code != _SUCCESS or not name:
            raise Unavailable(f"{self._url} does not show users their own entry ({words}); let them read it")
        return User(name, _roles(entries[0]["raw_attributes"].get(self._roles, ())))

    def _ask(self, connection: Connection, operation: Callable[..., object], *args: Any, **how: Any) -> tuple[int, str]:
        """The result code of an operation, and what the directory says about it."""
        try:
            operation(*args, **how)
            result = connection.result
            said = f", {quote(result['message'], _LONGEST_QUOTE)}" if result["message"] else ""
            return int(result["result"]), result["description"] + said
        except IdentityError:
            raise
        except Exception as error:  # ldap3 looks for LDAP in whatever comes, and fails as it happens to
            raise Unavailable(f"what {self._url} answers cannot be read as LDAP") from error

    @contextmanager
    def _connection(self, whom: str, passcode: bytes) -> Iterator[Connection]:
        """A connection over which the passcode may go."""
        until = time.monotonic() + self._timeout
        connection = self._connect(until, whom, passcode)
        line = _Line(connection.socket, until, self._url)
        connection.socket = line
        try:
            self._protect(connection, line)
            yield connection
        finally:
            with suppress(IdentityError, LDAPException):
                connection.unbind()
            line.close()

    def _protect(self, connection: Connection, line: _Line) -> None:
        if self._starts_tls:
            code, words = self._ask(connection, connection.extended, _START_TLS)
            if code != _SUCCESS:
                raise Unavailable(f"{self._url} does not turn to TLS: {words}; ask it by ldaps://")
        if self._context:
            line.protect(self._context, self._host)

    def _connect(self, until: float, whom: str, passcode: bytes) -> Connection:
        """Try the addresses of the host in turn; each may take its share of the time that is left."""
        failure = "it has no address"
        addresses = self._addresses()
        for number, address in enumerate(addresses):
            share = (until - time.monotonic()) / (len(addresses) - number)
            try:
                return self._open(address, max(_LEAST_PATIENCE, share), whom, passcode)
            except LDAPException as error:
                failure = str(error)
        raise Unavailable(f"{self._url} cannot be reached: {failure}")

    def _open(self, address: str, patience: float, whom: str, passcode: bytes) -> Connection:
        server = Server(address, self._port, get_info=NONE, connect_timeout=patience)
        as_it_is: Any = passcode  # text would be normalized before it is sent
        connection = Connection(server, whom, as_it_is, authentication=SIMPLE, auto_referrals=False, check_names=False)
        try:
            connection.open(read_server_info=False)
        except LDAPException:
            connection.socket.close()
            raise
        return connection

    def _addresses(self) -> list[str]:
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Unavailable(f"{self._url} cannot be reached: {error.strerror}") from error
        return list(dict.fromkeys(str(one[4][0]) for one in found))


class _Line:
    """The socket that ldap3 is given. It ends by ``until`` on the monotonic clock, whatever the directory does.

    What goes wrong is :class:`Unavailable`, which ldap3 lets pass; ``name`` is who is at the other end.
    """

    def __init__(self, sock: socket.socket, until: float, name: str) -> None:
        with suppress(OSError):  # it is gone already, which sending tells
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # TLS writes in pieces
        self._socket = sock
        self._until = until
        self._name = name
        self._room = _MOST_RECEIVED

    def protect(self, context: ssl.SSLContext, host: str) -> None:
        """Turn to TLS, with a directory whose certificate names ``host``."""
        with self._in_time():
            self._socket = context.wrap_socket(self._socket, server_hostname=host)

    def recv(self, size: int) -> bytes:
        with self._in_time():
            came = self._socket.recv(min(size, self._room))
        self._room -= len(came)
        if not came:
            raise Unavailable(f"{self._name} {'closed the connection' if self._room else 'sends without an end'}")
        return came

    def sendall(self, data: bytes) -> None:
        with self._in_time():
            self._socket.sendall(data)

    def close(self) -> None:
        self._socket.close()

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        left = self._until - time.monotonic()
        late = Unavailable(f"{self._name} did not answer in time")
        if left <= 0:
            raise late
        try:
            self._socket.settimeout(left)
            yield
        except TimeoutError:
            raise late from None
        except ssl.SSLCertVerificationError as error:
            why = quote(error.verify_message, _LONGEST_QUOTE)
            raise Unavailable(f"the certificate of {self._name} is not accepted: {why}") from error
        except OSError as error:
            raise Unavailable(f"the connection to {self._name} broke: {error.strerror or error}") from error


def _address(url: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        (host or "").encode("idna")
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in _PORTS or url.rstrip("/").count("/") > 2 or set(url) & set("@?# "):
        raise SettingError("url", f"{quote(url)} is no directory; write ldaps://host, or ldap://host:port")
    return parts.scheme, host, port or _PORTS[parts.scheme]


def _is_dn(template: str) -> bool:
    if _PRINCIPAL.fullmatch(template):
        return False
    try:
        parse_dn(template.replace("{user}", "user"))
    except LDAPException as error:
        raise SettingError("user", f"{quote(template)} is not the name of an entry; {_HOW_TO_WRITE}") from error
    if not _DN.fullmatch(template):
        raise SettingError("user", f"{quote(template)} does not begin with the user; {_HOW_TO_WRITE}")
    return True


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except ssl.SSLError as error:
        raise SettingError("ca", f"{ca} holds no certificate; name a file of the directory's CA, in PEM") from error
    except OSError as error:
        raise SettingError("ca", f"{ca} cannot be read: {error.strerror}; name the directory's CA") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _name(field: bytes) -> str:
    try:
        name = field.decode()
    except UnicodeDecodeError:
        raise NotVerified("the user name is not UTF-8") from None
    if not name:
        raise NotVerified("the user name is empty")
    if len(name) > _LONGEST_NAME:
        raise NotVerified(f"the user name has more than {_LONGEST_NAME} characters", quote(name))
    if not name.isprintable() or name.strip() != name:
        raise NotVerified("the user name has invisible characters", quote(name))
    return name


def _passcode(field: bytes) -> bytes:
    if not field:
        raise NotVerified("the passcode is empty")
    if len(field) > _LONGEST_PASSCODE:
        raise NotVerified(f"the passcode has more than {_LONGEST_PASSCODE} bytes")
    try:
        has_controls = _CONTROL.search(field.decode()) is not None
    except UnicodeDecodeError:
        raise NotVerified("the passcode is not UTF-8") from None
    if has_controls:
        raise NotVerified("the passcode has control characters")
    return field


def _roles(values: Iterable[bytes]) -> frozenset[str]:
    """Each value, and of one that is a DN the first value in it too: ``cn=Radiology,ou=groups`` is Radiology."""
    texts = [value.decode(errors="replace") for value in values]
    return frozenset([*texts, *filter(None, map(_first_value, texts))])


def _first_value(dn: str) -> str | None:
    """The first value in a DN, without its escapes (RFC 4514 2.4); None where it is no DN."""
    found = _FIRST_VALUE.match(dn)
    if not found:
        return None
    try:
        return _ESCAPE.sub(_unescaped, found[1].encode()).decode()
    except UnicodeDecodeError:
        return None


def _unescaped(escape: re.Match[bytes]) -> bytes:
    return bytes.fromhex(escape[1].decode()) if len(escape[1]) > 1 else escape[1]
