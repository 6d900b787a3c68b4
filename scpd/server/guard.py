"""Who is let in by a server that asks: its address, its certificate, its titles, then who it says it is.

Decides by what :mod:`scpd.identity` knows, cheapest first, and turns the answer into an offer or a rejection.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scpd.identity.access import EVERYTHING, Facts, Refusal, Title, Unknown, parse_address, source
from scpd.identity.claim import Form
from scpd.names import quote
from scpd.negotiation import reject
from scpd.server.visit import Visit
from scpd.services.service import Peer
from scpd.telemetry.logs import logger
from scpd.transport.certificate_names import names

if TYPE_CHECKING:
    from scpd.identity.access import Access, Rule
    from scpd.identity.claim import User
    from scpd.identity.policy import Identities, Verdict
    from scpd.identity.rates import Buckets
    from scpd.negotiation.offer import Offer, Rejection
    from scpd.server.ledger import Ledger
    from scpd.services.serving import Services
    from scpd.transport.upper_layer import UpperLayer
    from scpd.wire.pdu import AssociateRQ
    from scpd.wire.user_info import UserIdentityAC, UserIdentityRQ


# The keys of rejections that are about who asks, rather than about what is asked or how busy it is.
_ABOUT_THE_PEER = ("access", "called_ae_title", "limits.rate_")


@dataclass(frozen=True, slots=True)
class Doors:
    """What everybody has to pass; None is a door that stands open.

    ``per_address`` and ``per_title`` are how often an address and a calling AE title may come. ``ledger`` keeps
    what the audit trail is told of it all.
    """

    access: Access | None = None
    identities: Identities | None = None
    per_address: Buckets | None = None
    per_title: Buckets | None = None
    ledger: Ledger | None = None

    @property
    def are_open(self) -> bool:
        """Whether nobody is asked anything."""
        return not (self.access or self.identities or self.per_address or self.per_title or self.ledger)


class Guard:
    """Stands before one server, and is shared by all its connections."""

    def __init__(self, offer: Offer, services: Services, doors: Doors) -> None:
        self.offer = offer
        self.services = services
        self.doors = doors
        self._log = logger("guard")
        self._warned: dict[int, str] = {}

    def turns_away(self, host: str) -> str:
        """The rule that keeps an address out whatever else there is to say, or nothing."""
        access = self.doors.access
        refusal = access.refusal(Facts(parse_address(host))) if access else None
        if refusal and self.doors.ledger:
            self.doors.ledger.turned_away(host)
        return refusal.rule.key if refusal else ""

    def visit(self, association_id: str) -> Visit:
        """A visit for one connection."""
        return GuardedVisit(self, association_id)

    def warn(self) -> None:
        """Log what is wrong with the providers' files by now, each thing once."""
        for number, provider in enumerate(self.doors.identities.providers if self.doors.identities else ()):
            warning = provider.warning
            if warning and self._warned.get(number) != warning:
                self._log.warning("user identity", key=f"user_identity.providers[{number}]", what=warning)
            self._warned[number] = warning


class GuardedVisit(Visit):
    """One connection before the guard. ``user`` is who was verified."""

    def __init__(self, guard: Guard, association_id: str) -> None:
        super().__init__(guard.offer, guard.services)
        self.user: User | None = None
        self.notes: dict[str, object] = {}
        self._guard = guard
        self._ledger = guard.doors.ledger
        self._claimed = ""
        self._is_decided = guard.doors.access is None  # whoever the user is
        self._peer = Peer("", "", "", association_id)

    def opened(self, upper: UpperLayer) -> None:
        """Remember who it is."""
        self._connection = upper.connection
        self._peer = replace(self._peer, address=upper.connection.peer)

    def requested(self, request: AssociateRQ) -> Rejection | None:
        """Whether the certificate and the titles let it in, as far as they decide; then how often it comes."""
        tls = self._connection.tls
        calling, called = request.calling_ae_title, request.called_ae_title
        self._peer = replace(self._peer, calling=calling, called=called)
        self._facts = Facts(
            parse_address(self._connection.host),
            names(tls.peer_certificate) if tls and tls.peer_certificate else (),
            Title.of(request.calling_field, calling),
            Title.of(request.called_field, called),
        )
        return self._refused() or self._address_too_often()

    def identify(self, claims: tuple[UserIdentityRQ, ...]) -> UserIdentityAC | Rejection | None:
        """Who it is, and whether that lets it in."""
        identities = self._guard.doors.identities
        verdict: Verdict | None = None
        if identities:
            protected = self._connection.tls is not None or self._facts.address.is_loopback
            verdict = identities.judge(claims, source(self._connection.host), protected=protected)
            self._note(verdict)
            self._guard.warn()
            self._claimed = _claimed(claims)
            if self._ledger and verdict.user:
                self._ledger.verified(self._peer, verdict.user.name, verdict.form)
            if verdict.rejection:
                self.notes.pop("access", None)  # it never came to that
                return verdict.rejection
        self.user = verdict.user if verdict else None
        if not self._is_decided:
            self._facts = replace(self._facts, user=self.user)
        return (
            (None if self._is_decided else self._refused())
            or self._title_too_often()
            or (verdict.response if verdict else None)
        )

    def rejected(self, rejection: Rejection) -> None:
        """Into the audit trail, where it was about who asked."""
        if self._ledger is None:
            return
        if rejection.key.startswith("user_identity"):
            self._ledger.not_verified(self._peer, self._claimed, rejection)
        elif rejection.key.startswith(_ABOUT_THE_PEER):
            self._ledger.rejected(self._peer, rejection)

    def ended(self, how: BaseException | None) -> None:
        """Into the audit trail: what was stored, or that TLS did not come about."""
        if self._ledger is None:
            return
        if self._connection.handshake_failed:
            self._ledger.handshake_failed(self._peer, str(how))
        self._ledger.ended(self._peer)

    def _refused(self) -> Rejection | None:
        access = self._guard.doors.access
        if access is None:
            return None
        judged = access.judge(self._facts)
        for note in ("access", "warnings"):
            self.notes.pop(note, None)  # what was taken for the deciding rule before
        if isinstance(judged, Refusal):
            return rejection(judged, self._facts)
        self._take_in(judged)
        return None

    def _take_in(self, rules: list[Rule]) -> None:
        """Offer what the first rule that may decide allows: once everything is known there is but one."""
        offer, facts, rule = self._guard.offer, self._facts, rules[0]
        if rule.key:
            self.notes["access"] = rule.key
        if rule.permission != EVERYTHING:
            offer = replace(offer, forbids=rule.permission.refuses)
        if rule.lenient:
            titles = {"calling": facts.calling, "called": facts.called}
            warnings = [
                f"the {which} AE title is {title.irregular} (titles: lenient)"
                for which, title in titles.items()
                if isinstance(title, Title) and title.irregular
            ]
            if warnings:
                self.notes["warnings"] = warnings
        # As long as a lenient rule may decide, the title is not judged; the worker looks once more at the end.
        if any(one.lenient for one in rules) and isinstance(facts.called, Title) and facts.called.irregular == "blank":
            offer = replace(offer, check_called_ae_title=False)
        self.offer = offer
        self._is_decided = len(rules) == 1

    def _address_too_often(self) -> Rejection | None:
        buckets = self._guard.doors.per_address
        if buckets and not buckets.take(source(self._connection.host), time.monotonic()):
            return reject.local_limit("its address asks too often", "limits.rate_per_address")
        return None

    def _title_too_often(self) -> Rejection | None:
        """After everything else, so that a stranger cannot use up what a title may ask for."""
        buckets, calling = self._guard.doors.per_title, self._peer.calling
        if buckets and not buckets.take(calling, time.monotonic()):
            return reject.congestion(f"calling AE title {quote(calling)} asks too often", "limits.rate_per_title")
        return None

    def _note(self, verdict: Verdict) -> None:
        if verdict.form:
            self.notes["identity"] = verdict.form
        if verdict.user:
            self.notes["user"] = verdict.user.name
        elif verdict.claimed:
            self.notes["claimed_user"] = verdict.claimed


def rejection(refusal: Refusal, facts: Facts) -> Rejection:
    """What a peer of whom ``facts`` are known is answered when an access rule keeps it out."""
    key = refusal.rule.key
    if refusal.because == "calling" and isinstance(facts.calling, Title):
        return reject.calling_ae_title(f"calling AE title {_shown(facts.calling)} is not let in", key)
    if refusal.because == "called" and isinstance(facts.called, Title):
        return reject.called_ae_title(f"called AE title {_shown(facts.called)} is not let in", key)
    if refusal.because == "user":
        who = "without a verified user it is"
        if not (facts.user is None or isinstance(facts.user, Unknown)):
            who = f"user {quote(facts.user.name)} is"
        return reject.identity(f"{who} not let in", key)
    if refusal.because == "certificate":
        return reject.not_welcome("its certificate does not let it in", key)
    return reject.not_welcome("its address is not let in", key)


def _claimed(claims: tuple[UserIdentityRQ, ...]) -> str:
    """The name that was claimed, as it came; a ticket, an assertion and a token keep theirs to who verifies them."""
    if len(claims) != 1 or claims[0].identity_type not in (Form.USERNAME, Form.PASSCODE):
        return ""
    return claims[0].primary.decode(errors="backslashreplace")


def _shown(title: Title) -> str:
    return f"{quote(title.text)}, which is {title.irregular}," if title.irregular else quote(title.text)
