"""What becomes of a user identity: verified by one of the providers, or a rejection (PS3.7 D.3.3.7)."""

from __future__ import annotations

import hashlib
import time
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from scpd.errors import IdentityError, NotVerified, Unavailable
from scpd.identity.claim import FORM_NAMES, LONGEST_NAME, Claim, Form, User
from scpd.names import quote
from scpd.negotiation import reject
from scpd.wire.user_info import UserIdentityAC

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scpd.identity.claim import Provider
    from scpd.identity.lockout import Lockout
    from scpd.negotiation.offer import Rejection
    from scpd.wire.user_info import UserIdentityRQ

_KEY = "user_identity"
_LOCKOUT = f"{_KEY}.lockout"
_PATIENCE = 10.0
# What lets whoever overhears it be the user. A Kerberos ticket does not: it is sealed, and good for one time.
_SECRETS = frozenset((Form.PASSCODE, Form.SAML, Form.JWT))


@dataclass(frozen=True, slots=True)
class IdentityPolicy:
    """How identities are taken; the names are those of the configuration."""

    policy: Literal["ignore", "accept", "require"] = "accept"
    respond: bool = True
    unsupported: Literal["ignore", "reject"] = "ignore"
    without_tls: Literal["reject", "allow"] = "reject"


class Verdict(NamedTuple):
    """What came of it. ``user`` is who was verified, ``claimed`` who it said to be, quoted; at most one is said."""

    user: User | None = None
    response: UserIdentityAC | None = None
    rejection: Rejection | None = None
    claimed: str = ""
    form: str = ""


class Identities:
    """The providers of one server, tried in their order. May be called from any thread."""

    def __init__(
        self,
        policy: IdentityPolicy,
        providers: Sequence[Provider],
        lockout: Lockout,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.policy = policy
        self.providers = tuple(providers)
        self._lockout = lockout
        self._clock = clock

    def judge(self, claims: Sequence[UserIdentityRQ], address: str, *, protected: bool) -> Verdict:
        """Who a peer is by what it claims.

        ``address`` is whom its failures count for; ``protected`` says that nobody could overhear it.
        """
        if self.policy.policy == "ignore":
            return Verdict()
        if not claims:
            return self._nothing_claimed("no user identity was sent, and one is required")
        if len(claims) > 1:
            return Verdict(rejection=reject.identity("more than one user identity in one request", _KEY))
        item = claims[0]
        claim = Claim(item.identity_type, item.primary, item.secondary)
        form = FORM_NAMES.get(claim.form, f"type {claim.form}")
        able = [(number, one) for number, one in enumerate(self.providers) if claim.form in one.forms]
        if not able:
            return self._not_supported(form)
        if claim.form in _SECRETS and not protected and self.policy.without_tls == "reject":
            why = f"a {form} was sent without TLS, for anybody to overhear"
            return Verdict(rejection=reject.identity(why, f"{_KEY}.without_tls"), form=form)
        try:
            user = self._verified(claim, able, address)
        except IdentityError as error:
            return Verdict(rejection=_rejection(error), claimed=error.user, form=form)
        asked = item.positive_response_requested and self.policy.respond
        return Verdict(user, UserIdentityAC(user.response) if asked else None, form=form)

    def _nothing_claimed(self, why: str) -> Verdict:
        if self.policy.policy == "require":
            return Verdict(rejection=reject.identity(why, f"{_KEY}.policy"))
        return Verdict()

    def _not_supported(self, form: str) -> Verdict:
        """Without somebody to verify it a claim is nothing, and is not answered (PS3.7 D.3.3.7)."""
        why = f"a {form} was sent, which no provider verifies"
        if self.policy.unsupported == "reject":
            return Verdict(rejection=reject.identity(why, f"{_KEY}.unsupported"), form=form)
        return self._nothing_claimed(why)._replace(form=form)

    def _verified(self, claim: Claim, providers: Sequence[tuple[int, Provider]], address: str) -> User:
        key = _lock_key(claim, address)
        if not key:
            return self._asked(claim, providers, key)
        try:
            may_try = self._lockout.begin(key, self._clock(), _PATIENCE)
        except TimeoutError:
            raise Unavailable("this user is being verified too often at once", _shown(claim), _LOCKOUT) from None
        if not may_try:
            why = "this user failed too often from this address, and has to wait"
            raise NotVerified(why, _shown(claim), _LOCKOUT)
        try:
            return self._asked(claim, providers, key)
        finally:
            self._lockout.end(key)

    def _asked(self, claim: Claim, providers: Sequence[tuple[int, Provider]], key: bytes) -> User:
        """One provider after the other; ``key`` is empty where nothing is counted."""
        failures: list[IdentityError] = []
        for number, provider in providers:
            try:
                user = provider.verify(claim)
            except IdentityError as error:
                error.key = f"{_KEY}.providers[{number}]"
                failures.append(error)
            else:
                self._lockout.succeeded(key)
                return user
        # Where one of them is away nobody knows: the peer may come back.
        away = next((error for error in failures if isinstance(error, Unavailable)), None)
        if key and any(isinstance(error, NotVerified) for error in failures):
            self._lockout.failed(key, self._clock())
        raise away or failures[-1]


def _lock_key(claim: Claim, address: str) -> bytes:
    """For what can be guessed; as a digest, since a peer chooses how long the name is.

    Spellings that a directory takes for the same user are the same. Names that no provider takes are not counted: they
    cost nothing, and would drive out others.
    """
    if claim.form != Form.PASSCODE or len(claim.primary) > LONGEST_NAME:
        return b""
    try:
        name = claim.primary.decode()
    except UnicodeDecodeError:
        return b""
    user = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    return hashlib.sha256(f"{address}\0{user}".encode()).digest()


def _shown(claim: Claim) -> str:
    return quote(claim.primary.decode(errors="backslashreplace"))


def _rejection(error: IdentityError) -> Rejection:
    if isinstance(error, Unavailable):
        return reject.congestion(error.why, error.key)
    return reject.identity(error.why, error.key)
