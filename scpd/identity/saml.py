"""SAML 2.0 assertions (PS3.7 D.3.3.7, form 4; PS3.15 B.7): what one has to say, who it is about, and that once only.

Everything is read from the element that ``saml_signature.py`` gives back, and from nothing else. What was signed, and
by whom, is decided there: nothing here knows the bytes that came, nor a key.
"""

from __future__ import annotations

import datetime as dt
import heapq
import math
import re
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from lxml import etree

from scpd.errors import NotVerified, Unavailable
from scpd.identity.claim import Claim, Form, User
from scpd.identity.saml_signature import NAMESPACE, Signers
from scpd.identity.stated import MOST_ROLES, is_name
from scpd.names import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_LONGEST_QUOTE = 120
_MOST_REMEMBERED = 50_000
_A_WHILE = 300.0  # that a clock may be set back by, or a thread be late, and nobody gets in twice
_BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
_CONDITIONS = frozenset(NAMESPACE + name for name in ("AudienceRestriction", "OneTimeUse", "ProxyRestriction"))
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]00:00)", re.ASCII)  # SAML core 1.3.3


class SAML:
    """Verifies assertions of ``issuer`` for ``audience``, signed by a certificate of the file ``certificate``.

    The user is the NameID, or the value of ``user_attribute``; the roles are the values of ``roles_attribute``. With
    ``recipient`` the subject confirmation has to name it. Each assertion is good for one time, unless not ``once``.
    ``leeway`` and ``longest_life`` are seconds. Raises :class:`SettingError` when the file cannot be used; when that
    happens later, the certificates that were read before stay in force and ``warning`` says so.
    """

    forms = frozenset((Form.SAML,))

    def __init__(
        self,
        issuer: str,
        certificate: Path,
        audience: str,
        *,
        recipient: str | None = None,
        user_attribute: str | None = None,
        roles_attribute: str | None = None,
        leeway: float = 30.0,
        longest_life: float = 24 * 3600.0,
        once: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._recipient = recipient
        self._user_attribute = user_attribute
        self._roles_attribute = roles_attribute
        self._leeway = leeway
        self._longest_life = longest_life
        self._once = once
        self._clock = clock
        self._signers = Signers(certificate)
        self._taken = Taken(_MOST_REMEMBERED)
        self.warning = self._signers.warning(clock())

    def verify(self, claim: Claim) -> User:
        """See :class:`~scpd.identity.claim.Provider`. The secondary field is ignored, and there is no response."""
        try:
            assertion = self._signers.verified(claim.primary)
        finally:
            self.warning = self._signers.warning(self._clock())
        name = self._name(assertion)
        try:
            return self._judged(assertion, name)
        except (NotVerified, Unavailable) as error:
            error.user = quote(name)
            raise

    def _judged(self, assertion: etree._Element, name: str) -> User:
        now = self._clock()
        issuer = _text(_one(assertion, "Issuer"))
        if issuer != self._issuer:
            raise NotVerified(_mismatch("the assertion's Issuer is", issuer, self._issuer))
        conditions = _one(assertion, "Conditions")
        self._check_audience(conditions)
        ends = self._check_life(assertion, conditions, now)
        self._check_confirmation(_one(assertion, "Subject"), now)
        for statement in assertion.findall(NAMESPACE + "AuthnStatement"):
            self._check_time(statement, now, ends="SessionNotOnOrAfter")
        roles = self._roles(assertion)
        if self._once or conditions.find(NAMESPACE + "OneTimeUse") is not None:
            self._taken.take(assertion.get("ID", ""), ends + self._leeway + _A_WHILE, now)
        return User(name, roles)

    def _name(self, assertion: etree._Element) -> str:
        if self._user_attribute is None:
            names = [_text(_one(_one(assertion, "Subject"), "NameID"))]
            place = "NameID"
        else:
            names = list(_values(assertion, self._user_attribute))
            place = f"attribute {quote(self._user_attribute)}"
        if len(names) != 1:
            raise NotVerified(f"the assertion's {place} has {len(names)} values instead of one")
        if not is_name(names[0]):
            raise NotVerified(f"the assertion's {place} is no name of a user: {quote(names[0])}", quote(names[0]))
        return names[0]

    def _roles(self, assertion: etree._Element) -> frozenset[str]:
        named = self._roles_attribute
        roles = frozenset(_values(assertion, named)) if named is not None else frozenset()
        if not all(map(is_name, roles)) or len(roles) > MOST_ROLES:
            raise NotVerified(f"the assertion's attribute {quote(named or '')} is not at most {MOST_ROLES} names")
        return roles

    def _check_audience(self, conditions: etree._Element) -> None:
        """By SAML core 2.5.1: a condition that is not understood does not hold, and each restriction has to name us."""
        strange = [child.tag for child in conditions if child.tag not in _CONDITIONS]
        if strange:
            raise NotVerified(f"the assertion has a condition that is not understood: {quote(strange[0])}")
        restrictions = conditions.findall(NAMESPACE + "AudienceRestriction")
        if not restrictions:
            raise NotVerified("the assertion has no AudienceRestriction: it does not say whom it is for")
        for restriction in restrictions:
            audiences = [_text(audience) for audience in restriction.findall(NAMESPACE + "Audience")]
            if self._audience not in audiences:
                raise NotVerified(_mismatch("the assertion is for", ", ".join(audiences), self._audience))

    def _check_life(self, assertion: etree._Element, conditions: etree._Element, now: float) -> float:
        """When it ends, in seconds since 1970."""
        issued, begins = _instant(assertion, "IssueInstant"), _instant(conditions, "NotBefore")
        if issued is None:
            raise NotVerified("the assertion has no IssueInstant")
        self._check_time(assertion, now, begins="IssueInstant")
        ends = self._check_time(conditions, now, needed=True)
        if ends - min(issued, issued if begins is None else begins) > self._longest_life:
            raise NotVerified(f"the assertion is good for longer than {self._longest_life:.0f} s")
        return ends

    def _check_confirmation(self, subject: etree._Element, now: float) -> None:
        """That whoever brings it may (SAML core 2.4.1, profiles 3.3). One confirmation that holds is enough."""
        confirmations = subject.findall(NAMESPACE + "SubjectConfirmation")
        if not confirmations and self._recipient is not None:
            raise NotVerified("the assertion has no SubjectConfirmation, so no Recipient")
        faults = [self._fault_of_bearer(confirmation, now) for confirmation in confirmations]
        if faults and all(faults):
            raise NotVerified(faults[0])

    def _fault_of_bearer(self, confirmation: etree._Element, now: float) -> str:
        method = confirmation.get("Method", "")
        if method != _BEARER:
            return f"the assertion's confirmation is {quote(method, _LONGEST_QUOTE)}, which cannot be checked"
        try:
            data = _one(confirmation, "SubjectConfirmationData")
            self._check_time(data, now, needed=True)
        except NotVerified as error:
            return error.why
        recipient = data.get("Recipient", "")
        if self._recipient is not None and recipient != self._recipient:
            return _mismatch("the assertion's Recipient is", recipient, self._recipient)
        return ""

    def _check_time(
        self,
        element: etree._Element,
        now: float,
        begins: str = "NotBefore",
        ends: str = "NotOnOrAfter",
        *,
        needed: bool = False,
    ) -> float:
        """When it ends, or infinity."""
        place = etree.QName(element).localname
        first, end = _instant(element, begins), _instant(element, ends)
        if end is None and needed:
            raise NotVerified(f"the assertion's {place} has no {ends}")
        if first is not None and now < first - self._leeway:
            raise NotVerified(f"the assertion is not valid yet: {begins} of {place} is {first - now:.0f} s ahead")
        if end is not None and now >= end + self._leeway:
            raise NotVerified(f"the assertion expired: {ends} of {place} was {now - end:.0f} s ago")
        return math.inf if end is None else end


class Taken:
    """The IDs of assertions that were taken, each until it would not be taken anyway.

    At most ``room`` of them: when there are more, new ones are refused rather than old ones forgotten.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._lock = threading.Lock()
        self._ids: set[str] = set()
        self._ends: list[tuple[float, str]] = []

    def take(self, identifier: str, until: float, now: float) -> None:
        """Remember an ID. Raises :class:`NotVerified` when it was taken before, :class:`Unavailable` without room."""
        with self._lock:
            while self._ends and self._ends[0][0] <= now:
                self._ids.discard(heapq.heappop(self._ends)[1])
            if identifier in self._ids:
                raise NotVerified("the assertion was used before, and is good for one time")
            if len(self._ids) >= self._room:
                raise Unavailable(f"{self._room} assertions that were used are still valid; no more can be remembered")
            self._ids.add(identifier)
            heapq.heappush(self._ends, (until, identifier))


def _one(parent: etree._Element, name: str) -> etree._Element:
    found = parent.findall(NAMESPACE + name)
    if len(found) != 1:
        place = etree.QName(parent).localname
        raise NotVerified(f"the assertion's {place} has {len(found)} elements {name} instead of one")
    return found[0]


def _text(element: etree._Element) -> str:
    """The whole text of an element that holds nothing else."""
    if len(element):
        raise NotVerified(f"the assertion's {etree.QName(element).localname} holds more than text")
    return (element.text or "").strip()


def _values(assertion: etree._Element, name: str) -> Iterable[str]:
    for attribute in assertion.iterfind(f"{NAMESPACE}AttributeStatement/{NAMESPACE}Attribute"):
        if attribute.get("Name") == name:
            for value in attribute.findall(NAMESPACE + "AttributeValue"):
                yield "".join(map(str, value.itertext())).strip()


def _instant(element: etree._Element, name: str) -> float | None:
    """A time in seconds since 1970 (SAML core 1.3.3)."""
    text = element.get(name)
    if text is None:
        return None
    with suppress(ValueError):  # there is no 30 February
        if _INSTANT.fullmatch(text):
            return dt.datetime.fromisoformat(text).timestamp()
    raise NotVerified(f"the assertion's {name} is not a time in UTC: {quote(text)}")


def _mismatch(what: str, stated: str, wanted: str) -> str:
    return f"{what} {quote(stated, _LONGEST_QUOTE)} instead of {quote(wanted, _LONGEST_QUOTE)}"
