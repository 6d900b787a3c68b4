"""Who may associate, and what they may then do: ordered rules, of which the first that matches decides.

The rules are asked with whatever is known so far, cheapest facts first: a peer whose address alone decides is turned
away before it says a word. So a condition answers yes, no, or that it cannot know yet.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Self

from scpd.sop_class import READING, VERIFICATION, uid_keyword

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from scpd.identity.claim import User
    from scpd.negotiation.offer import AcceptedContext

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Unknown(Enum):
    """What is not known yet."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN


class Title(NamedTuple):
    """An AE title as a peer sent it: its text, and what is irregular about it, or nothing.

    Irregular are titles that are blank, which PS3.8 9.3.2 forbids, and titles filled up with NUL instead of spaces.
    """

    text: str
    irregular: Literal["", "blank", "padded with NUL"] = ""

    @classmethod
    def of(cls, field: bytes, text: str) -> Self:
        """From the 16 bytes of the field, and what they were decoded to."""
        if not text.strip("\0 "):
            return cls("", "blank")
        return cls(text, "padded with NUL" if b"\0" in field else "")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a peer. ``certificate`` are the names in its verified certificate, () where it sent none.

    ``user`` is None where nobody was verified.
    """

    address: Address
    certificate: tuple[str, ...] | Unknown = UNKNOWN
    calling: Title | Unknown = UNKNOWN
    called: Title | Unknown = UNKNOWN
    user: User | Unknown | None = UNKNOWN


@lru_cache(maxsize=65536)
def parse_address(host: str) -> Address:
    """An address as a socket tells it; an IPv4 peer of an IPv6 socket is taken for what it is."""
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


@lru_cache(maxsize=65536)
def source(host: str) -> str:
    """Whom to count for an address: itself, or its /64 in IPv6, of which one machine has all."""
    address = parse_address(host)
    return str(address) if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))


def pattern(glob: str, *, ignore_case: bool = False) -> re.Pattern[str]:
    """``*`` is any text and ``?`` any one character; everything else stands for itself."""
    # The standard library's translation never goes back over what a star took, so no text can make it slow.
    flags = re.IGNORECASE | re.ASCII if ignore_case else 0  # no other letter is taken for one of ASCII
    return re.compile(fnmatch.translate(glob.replace("[", "[[]")), flags)


@dataclass(frozen=True, slots=True)
class FromNetwork:
    """The peer's address lies in one of the networks."""

    networks: tuple[Network, ...]

    def __call__(self, facts: Facts) -> bool:
        return any(facts.address in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class HasCertificate:
    """One of the names in the peer's certificate fits one of the patterns."""

    patterns: tuple[re.Pattern[str], ...]

    def __call__(self, facts: Facts) -> bool | None:
        if isinstance(facts.certificate, Unknown):
            return None
        return any(one.match(name) for one in self.patterns for name in facts.certificate)


@dataclass(frozen=True, slots=True)
class HasTitle:
    """The calling or called AE title fits one of the patterns.

    An irregular title fits none; where ``lenient``, padding is no matter and a blank title fits each. In a rule that
    ``denies`` padding is never a way around it.
    """

    which: Literal["calling", "called"]
    patterns: tuple[re.Pattern[str], ...]
    lenient: bool = False
    denies: bool = False

    def __call__(self, facts: Facts) -> bool | None:
        title = facts.calling if self.which == "calling" else facts.called
        if isinstance(title, Unknown):
            return None
        if title.irregular == "blank":
            return self.lenient
        if title.irregular and not (self.lenient or self.denies):
            return False
        return any(one.match(title.text) for one in self.patterns)


@dataclass(frozen=True, slots=True)
class IsUser:
    """A verified user whose name fits one of the patterns, or, where ``roles`` are meant, one of whose roles does."""

    patterns: tuple[re.Pattern[str], ...]
    roles: bool = False

    def __call__(self, facts: Facts) -> bool | None:
        if isinstance(facts.user, Unknown):
            return None
        if facts.user is None:
            return False
        names = facts.user.roles if self.roles else (facts.user.name,)
        return any(one.match(name) for one in self.patterns for name in names)


@dataclass(frozen=True, slots=True)
class Permission:
    """What a peer that was let in may do.

    ``sop_classes`` are UIDs, None is all of them; ``read`` lets it ask for what is held, ``write`` lets it bring and
    change something. Verification is neither.
    """

    sop_classes: frozenset[str] | None = None
    read: bool = True
    write: bool = True

    def refuses(self, context: AcceptedContext) -> str:
        """Why not in this context, with the roles that would hold in it; nothing where it may."""
        uid = context.abstract_syntax
        if self.sop_classes is not None and uid not in self.sop_classes:
            return f"{uid_keyword(uid)} is not allowed to this peer"
        if uid in VERIFICATION:
            return ""
        # Where the peer is SCP it is being given what it asked for (C-GET).
        reads = uid in READING or context.as_scu
        writes = uid not in READING and context.as_scp
        if reads and not self.read:
            return "this peer may not read"
        if writes and not self.write:
            return "this peer may not write"
        return ""


EVERYTHING = Permission()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``key`` is its name for people, as ``access[2]``."""

    key: str
    allows: bool
    # Each answers yes, no, or None: it cannot know yet.
    conditions: tuple[Callable[[Facts], bool | None], ...] = ()
    permission: Permission = EVERYTHING
    lenient: bool = False

    def matches(self, facts: Facts) -> bool | None:
        """Whether all conditions hold; None while that cannot be known."""
        answers = [condition(facts) for condition in self.conditions]
        if False in answers:
            return False
        return None if None in answers else True


# Where no rule matches.
DEFAULT = Rule("", allows=True)


class Refusal(NamedTuple):
    """Nobody with these facts is let in: the rule that decides, and the fact that another rule would have taken."""

    rule: Rule
    because: Literal["calling", "called", "certificate", "user", "address"]


class Access:
    """The rules of one server, in their order."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)

    def possible(self, facts: Facts) -> list[Rule]:
        """The rules that may decide, given what is known; the one that does, once everything is."""
        found: list[Rule] = []
        for rule in self.rules:
            matches = rule.matches(facts)
            if matches is False:
                continue
            found.append(rule)
            if matches:
                return found
        return [*found, DEFAULT]

    def judge(self, facts: Facts) -> list[Rule] | Refusal:
        """The rules that may decide, as long as one of them lets somebody in; else why nobody with these facts is."""
        rules = self.possible(facts)
        if any(rule.allows for rule in rules):
            return rules
        return Refusal(rules[-1], self._because(facts))  # it decides, whatever those before it would say

    def refusal(self, facts: Facts) -> Refusal | None:
        """Why nobody with these facts is let in, or None as long as somebody may be."""
        judged = self.judge(facts)
        return judged if isinstance(judged, Refusal) else None

    def _because(self, facts: Facts) -> Literal["calling", "called", "certificate", "user", "address"]:
        """The least that would have to be another for the answer to be another."""
        if self._may_be_let_in(replace(facts, calling=UNKNOWN)):
            return "calling"
        if self._may_be_let_in(replace(facts, called=UNKNOWN)):
            return "called"
        if self._may_be_let_in(replace(facts, calling=UNKNOWN, called=UNKNOWN)):
            return "calling"
        if self._may_be_let_in(replace(facts, user=UNKNOWN)):
            return "user"
        if self._may_be_let_in(replace(facts, certificate=UNKNOWN, calling=UNKNOWN, called=UNKNOWN, user=UNKNOWN)):
            return "certificate"
        return "address"

    def _may_be_let_in(self, facts: Facts) -> bool:
        return any(rule.allows for rule in self.possible(facts))


def networks(addresses: Iterable[str]) -> tuple[Network, ...]:
    """Networks from texts such as ``10.20.0.0/16`` and ``fe80::1``. Raises :class:`ValueError`."""
    return tuple(_as_told(ipaddress.ip_network(address)) for address in addresses)


def _as_told(network: Network) -> Network:
    """An IPv4 network in IPv6 as IPv4, as :func:`parse_address` has its peers."""
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    return ipaddress.ip_network((mapped, network.prefixlen - 96)) if mapped else network
