"""JSON Web Tokens (PS3.7 D.3.3.7, form 5; RFC 7519, RFC 8725), verified with PyJWT.

Signed ones only, by a public key of one issuer, for one audience. What a token says of where its key is to be found is
never followed, and nothing of a token gets into an error but short values, quoted.
"""

from __future__ import annotations

import base64
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt

from scpd.errors import NotVerified, SettingError
from scpd.identity.claim import Claim, Form, User
from scpd.identity.jwks import ALGORITHMS, KeyFile
from scpd.identity.key_server import KeyServer
from scpd.identity.stated import MOST_ROLES, is_name
from scpd.names import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["ALGORITHMS", "JWT"]

_LONGEST = 0xFFFF  # what the item holds
_LONGEST_HEADER = 16 * 1024
_LONGEST_KEY_ID = 512
_LONGEST_QUOTE = 120
_MOST_DIGITS = 32
_COMPACT = re.compile(rb"([\w-]+)\.([\w-]+)\.([\w-]*)", re.ASCII)  # RFC 7515 7.1
_NOT_UNDERSTOOD = ("crit", "b64", "zip")  # RFC 7515 4.1.11, RFC 7797, RFC 7516 4.1.3
# What a token for logging in says it is (RFC 7519 5.1, RFC 9068 2.1); a logout token, for one, says otherwise.
_TYPES = frozenset(("jwt", "at+jwt", "application/jwt", "application/at+jwt"))
_NESTED = frozenset(("jwt", "application/jwt"))


class JWT:
    """Verifies the tokens of ``issuer`` for ``audience``.

    ``keys`` is the absolute path of a JWKS, or its https address, with ``ca`` as the file of its certificate authority.
    ``timeout`` and ``refresh`` are for an address: how long fetching may take, and how long what was fetched is used.
    The user stands in ``user_claim``, the roles in ``roles_claim``. Times are in seconds; ``clock`` tells the time of
    day, ``monotonic`` how long something is ago.

    Raises :class:`SettingError` when that cannot be used. Keys at an address are first asked for by the first token, so
    that whoever serves them may be away at the start.
    """

    forms = frozenset((Form.JWT,))

    def __init__(
        self,
        issuer: str,
        audience: str,
        keys: str,
        *,
        algorithms: Sequence[str] = ("RS256", "ES256"),
        user_claim: str = "sub",
        roles_claim: str | None = "roles",
        leeway: float = 30.0,
        longest_life: float = 24 * 3600.0,
        timeout: float = 5.0,
        refresh: float = 600.0,
        ca: Path | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        strange = set(algorithms) - set(ALGORITHMS)
        if strange or not algorithms:
            named = ", ".join(sorted(strange)) or "nothing"
            raise SettingError("algorithms", f"{quote(named)} cannot be used; write some of {', '.join(ALGORITHMS)}")
        self._issuer = issuer
        self._audience = audience
        self._algorithms = tuple(algorithms)
        self._user_claim = user_claim
        self._roles_claim = roles_claim
        self._leeway = leeway
        self._longest_life = longest_life
        self._clock = clock
        self._place = quote(keys, _LONGEST_QUOTE)
        self._keys: KeyFile | KeyServer
        if re.match(r"https?://", keys):
            self._keys = KeyServer(keys, algorithms, refresh=refresh, timeout=timeout, ca=ca, clock=monotonic)
        elif keys.startswith("/"):
            self._keys = KeyFile(Path(keys), algorithms)
        else:
            raise SettingError("keys", f"{self._place} is no absolute path; write /path/of/jwks.json, or https://…")
        self._jws = jwt.PyJWS(algorithms, {"verify_signature": True, "enforce_minimum_key_length": True})
        self.warning = self._keys.warning

    def verify(self, claim: Claim) -> User:
        """See :class:`~scpd.identity.claim.Provider`. The secondary field is ignored."""
        header, stated = _opened(claim.primary)
        algorithm, kid = self._algorithm(header), _key_id(header)
        self._check_issuer(stated)  # before a key is looked for: what is for somebody else asks no server
        claims = self._signed(claim.primary, algorithm, kid)
        self._check_issuer(claims)
        name = self._name(claims)
        fault = self._fault_of_audience(claims) or self._fault_of_time(claims)
        if fault:
            raise NotVerified(fault, quote(name))
        return User(name, self._roles(claims, name))

    def _algorithm(self, header: dict[str, Any]) -> str:
        named = header.get("alg")
        if isinstance(named, str) and named in self._algorithms:
            return named
        if isinstance(named, str) and named.lower() == "none":
            raise NotVerified(f"the token is not signed: its alg is {quote(named)}")
        shown = quote(named) if isinstance(named, str) else "missing"
        raise NotVerified(f"the token's alg is {shown}, and only {', '.join(self._algorithms)} are taken")

    def _check_issuer(self, claims: dict[str, Any]) -> None:
        issuer = claims.get("iss")
        if issuer != self._issuer:
            shown = quote(issuer, _LONGEST_QUOTE) if isinstance(issuer, str) else "missing"
            raise NotVerified(f"the token's iss is {shown} instead of {quote(self._issuer, _LONGEST_QUOTE)}")

    def _signed(self, token: bytes, algorithm: str, kid: str | None) -> dict[str, Any]:
        """The claims, when one of the issuer's keys has signed them."""
        try:
            keys = self._keys.find(algorithm, kid)
        finally:
            self.warning = self._keys.warning
        for key in keys:
            try:
                payload = self._jws.decode_complete(token, key.public, [algorithm])["payload"]
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, RecursionError) as error:  # it decodes the header anew, some calls deeper
                raise NotVerified(f"the token cannot be verified ({type(error).__name__})") from None
            return _decoded(payload, "payload")
        named = "" if kid is None else f" {quote(kid)}"
        if keys:
            raise NotVerified(f"the token's signature was not made by the issuer's key{named}")
        raise NotVerified(f"the issuer has no key{named} for {algorithm} in {self._place}")

    def _name(self, claims: dict[str, Any]) -> str:
        named = self._user_claim
        name = _find(claims, named)
        if not isinstance(name, str):
            raise NotVerified(f"the token names no user: its claim {named} is missing or not text")
        if not is_name(name):
            raise NotVerified(f"the token's claim {named} is no name of a user: {quote(name)}", quote(name))
        return name

    def _fault_of_audience(self, claims: dict[str, Any]) -> str:
        stated = claims.get("aud")
        audiences = stated if isinstance(stated, list) else [stated]
        if self._audience in audiences:
            return ""
        shown = ", ".join(one for one in audiences if isinstance(one, str))
        if not shown:
            return "the token has no claim aud"
        return f"the token is for {quote(shown, _LONGEST_QUOTE)}, not for {quote(self._audience)}"

    def _fault_of_time(self, claims: dict[str, Any]) -> str:
        """By RFC 7519 4.1.4 to 4.1.6. A time that is infinite, which JSON can write, is too far away."""
        times: dict[str, float] = {}
        for name in ("exp", "nbf", "iat"):
            value = claims.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                times[name] = value
            elif name in claims or name == "exp":
                return f"the token's claim {name} is missing or not a number"
        now, leeway, life = self._clock(), self._leeway, self._longest_life
        expires = times.pop("exp")
        if expires <= now - leeway:
            return f"the token expired {_seconds(now - expires)} ago"
        for name, begins in times.items():
            if begins > now + leeway:
                return f"the token is not valid yet: its {name} is {_seconds(begins - now)} ahead"
        if expires - now > life + leeway or expires - times.get("iat", expires) > life:
            return f"the token is good for longer than {_seconds(life)}"
        return ""

    def _roles(self, claims: dict[str, Any], name: str) -> frozenset[str]:
        named = self._roles_claim
        stated = _find(claims, named) if named else None
        roles = stated.split() if isinstance(stated, str) else [] if stated is None else stated
        if not isinstance(roles, list) or not all(isinstance(role, str) and is_name(role) for role in roles):
            raise NotVerified(f"the token's claim {named} is neither text nor a list of names", quote(name))
        if len(roles) > MOST_ROLES:
            raise NotVerified(f"the token's claim {named} holds more than {MOST_ROLES} roles", quote(name))
        return frozenset(roles)


def _opened(token: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header, and the claims as they are stated, which nobody has verified yet."""
    if not token:
        raise NotVerified("the token is empty")
    parts = _COMPACT.fullmatch(token) if len(token) <= _LONGEST else None
    if not parts or len(parts[1]) > _LONGEST_HEADER:
        raise NotVerified("the token is not three parts of base64url between two dots")
    if not parts[3]:
        raise NotVerified("the token is not signed: its signature is empty")
    header = _decoded(_bytes(parts[1], "header"), "header")
    for name in _NOT_UNDERSTOOD:
        if name in header:
            raise NotVerified(f"the token's header asks for {name}, which is not supported")
    _check_type(header)
    return header, _decoded(_bytes(parts[2], "payload"), "payload")


def _check_type(header: dict[str, Any]) -> None:
    content, kind = header.get("cty", ""), header.get("typ", "JWT")
    if not isinstance(content, str) or content.lower() in _NESTED:
        raise NotVerified("the token has another one inside, which is not supported")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        shown = quote(kind) if isinstance(kind, str) else "not text"
        raise NotVerified(f"the token is not for logging in: its typ is {shown}")


def _key_id(header: dict[str, Any]) -> str | None:
    kid = header.get("kid")
    if "kid" in header and (not isinstance(kid, str) or len(kid) > _LONGEST_KEY_ID):
        raise NotVerified(f"the token's kid is not text of at most {_LONGEST_KEY_ID} characters")
    return kid


def _bytes(part: bytes, what: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except ValueError:
        raise NotVerified(f"the token's {what} is not base64url") from None


class _Strange(ValueError):
    """JSON that reads well and means too much; says what in words."""


def _decoded(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object in which every name stands once and every number is one."""
    try:
        found = _JSON.decode(data.decode())
    except _Strange as error:
        raise NotVerified(f"the token's {what} {error}") from None
    except RecursionError:
        raise NotVerified(f"the token's {what} is nested too deeply") from None
    except ValueError:
        raise NotVerified(f"the token's {what} is not JSON in UTF-8") from None
    if not isinstance(found, dict):
        raise NotVerified(f"the token's {what} is not a JSON object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Strange("says something twice")
    return found


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise _Strange(f"has a number of more than {_MOST_DIGITS} digits")
    return int(digits)


def _constant(name: str) -> float:
    raise _Strange(f"has {name} for a number")


_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer, parse_constant=_constant)


def _find(claims: dict[str, Any], name: str) -> Any:
    """The claim of that name. Dots lead into nested ones, where they are not in the names themselves, as in URLs."""
    if name in claims:
        return claims[name]
    for place, character in enumerate(name):
        below = claims.get(name[:place]) if character == "." else None
        found = _find(below, name[place + 1 :]) if isinstance(below, dict) else None
        if found is not None:
            return found
    return None


def _seconds(duration: float) -> str:
    return f"{min(duration, 1e9):.0f} s"
