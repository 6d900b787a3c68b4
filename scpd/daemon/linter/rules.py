"""Access rules that cannot do what they were written for: those that never match, and lists that keep nobody out.

A rule that stands at the top is about several servers; of one that is of use at any of them nothing is said.
"""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from typing import TYPE_CHECKING

from scpd.config.uids import sop_class_uids
from scpd.identity.access import pattern

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from scpd.config import AccessEntry, AllowRule, Config, DenyRule, Endpoint, ServerConfig, UserIdentityConfig
    from scpd.config.user_identity import ProviderConfig

# Comparing each rule with those before it takes the square of their number: this is what some 450 rules need.
_MOST_COMPARISONS = 100_000

_KEEPS_NOBODY_OUT = "every rule allows, and whom none matches is let in; end the list with - deny: all"
_NEEDS_CERTIFICATES = "asks for a certificate, and tls.client is none: it never matches; write client: optional"
_NEEDS_USERS = "asks for a user, and no provider verifies any: it never matches; write user_identity.providers"
_NEEDS_ROLES = "asks for a role, and no provider gives any: it never matches; let one of user_identity.providers do so"
_UNKNOWN_USERS = (
    "asks for users or roles that no provider knows, since all are of kind usernames: it never matches; write one of "
    "theirs, or add it there"
)
_OTHER_CALLED = (
    "asks for a called AE title that is not ae_title, and called_ae_title is check: whoever it matches is rejected "
    "anyway; write ae_title, or called_ae_title: any"
)
_ALLOWS_NOTHING = "allows SOP classes alone that contexts has not; write others, or add them to contexts"
_OTHER_FAMILY = (
    "is about IPv{theirs} addresses, and bind is an IPv{ours} one: it never matches; write addresses of that kind, or "
    "bind [::]"
)
_NO_SERVER = "is about none of the servers; write the name of one as its server"
# By whether the rule before is about everybody.
_COMES_FIRST = (
    "before it takes everybody whom it is about; put it before that one, or take it out",
    "before it is about everybody; put that one at the end",
)
# What says whether a provider gives roles; those of kind passwords stand in their file, a ticket has none.
_ROLES_OF = {"usernames": "roles", "ldap": "roles", "jwt": "roles_claim", "saml": "roles_attribute"}


def about(server: ServerConfig) -> list[tuple[int, AccessEntry]]:
    """The rules about a server, each with its number in the list."""
    if not server.access:
        return []
    from scpd.daemon.doors import is_about  # noqa: PLC0415 what it needs is not for a look at servers without rules

    return [(number, entry) for number, entry in enumerate(server.access) if is_about(entry, server.name)]


def of_server(server: ServerConfig) -> Iterator[tuple[str, str]]:
    """A warning for a list that keeps nobody out."""
    rules = about(server)
    if rules and not any(entry.deny for _, entry in rules):
        yield "access", _KEEPS_NOBODY_OUT


def never_matching(config: Config) -> Iterator[tuple[str | None, str, str]]:
    """A warning for each rule that is of no use at any server."""
    comparisons = iter(range(_MOST_COMPARISONS))
    judged = {server.name: _judged(server, comparisons) for server in config.servers}
    doubtful = {number for found in judged.values() for number, what in found.items() if what}
    verdicts: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    for server, found in judged.items():
        for number in sorted(doubtful & found.keys()):
            key = f"access[{number}]"
            verdicts.setdefault((config.near(server, key), key), []).append((server, key, found[number]))
    for each in verdicts.values():
        if all(what for _, _, what in each):
            yield max(each, key=lambda verdict: verdict[2] != _NO_SERVER)


def _judged(server: ServerConfig, comparisons: Iterator[int]) -> dict[int, str]:
    """Each rule of the list, with why it is of no use to this server, or nothing."""
    rules = about(server)
    supported = frozenset(context.abstract_syntax for context in server.supported()) if rules else frozenset()
    why = dict.fromkeys(range(len(server.access)), _NO_SERVER)
    why.update((number, "") for number, _ in rules)
    why.update(_never_asked(rules, comparisons))
    why.update((number, what) for number, entry in rules for what in _in_vain(server, supported, entry))
    return why


def _never_asked(rules: Sequence[tuple[int, AccessEntry]], comparisons: Iterator[int]) -> Iterator[tuple[int, str]]:
    if len(rules) < 2:
        return
    from scpd.daemon.linter.coverage import Extent  # noqa: PLC0415 not for a look at servers without rules

    extents: list[tuple[int, Extent]] = []
    for number, entry in rules:
        extent = Extent.of(entry)
        for before, other in extents:
            if next(comparisons, None) is None:
                return
            if other.covers(extent):
                if not other.is_everybody or extents[-1][0] == before:  # once for all that stand after it
                    yield number, f"is never asked, since access[{before}] {_COMES_FIRST[other.is_everybody]}"
                break
        extents.append((number, extent))


def _in_vain(server: ServerConfig, supported: frozenset[str], entry: AccessEntry) -> Iterator[str]:
    """Why a rule can do nothing at this server, the strongest reason last."""
    rule = entry.allow or entry.deny
    if rule is None:
        return
    if entry.allow and not _allows_one_of(supported, entry.allow):
        yield _ALLOWS_NOTHING
    if rule.called and server.called_ae_title == "check" and not fitting(rule.called, [server.ae_title]):
        yield _OTHER_CALLED
    yield from _of_other_family(server.bind, rule)
    yield from _of_nobody(server.user_identity, rule)
    if rule.certificate and (server.tls is None or server.tls.client == "none"):
        yield _NEEDS_CERTIFICATES


def _allows_one_of(supported: frozenset[str], rule: AllowRule) -> bool:
    if rule.services is None and rule.sop_classes is None:
        return True
    return not supported.isdisjoint(sop_class_uids((*(rule.services or ()), *(rule.sop_classes or ()))))


def _of_other_family(bind: Endpoint, rule: DenyRule) -> Iterator[str]:
    """A socket of one address has peers of its own family alone; that of [::] has those of both."""
    with suppress(ValueError):  # a name
        ours = ipaddress.ip_address(bind.host)
        versions = {ipaddress.ip_network(address).version for address in rule.address or ()}
        is_of_both = ours.version == 6 and (ours.is_unspecified or ours.ipv4_mapped)
        if versions and ours.version not in versions and not is_of_both:
            yield _OTHER_FAMILY.format(ours=ours.version, theirs=versions.pop())


def _of_nobody(identity: UserIdentityConfig, rule: DenyRule) -> Iterator[str]:
    providers = () if identity.policy == "ignore" else identity.providers
    if not rule.users and not rule.roles:
        return
    if not providers:
        yield _NEEDS_USERS
    elif rule.roles and not any(one.kind == "passwords" or _source_of_roles(one) for one in providers):
        yield _NEEDS_ROLES
    elif len(lists := [one for one in providers if one.kind == "usernames"]) == len(providers):
        users = [name for one in lists for name in one.users]
        roles = [name for one in lists for name in one.roles or ()]
        if (rule.users and not fitting(rule.users, users)) or (rule.roles and not fitting(rule.roles, roles)):
            yield _UNKNOWN_USERS


def _source_of_roles(provider: ProviderConfig) -> object:
    return getattr(provider, _ROLES_OF.get(provider.kind, ""), None)


def fitting(globs: Iterable[str], texts: Collection[str], *, ignore_case: bool = False) -> bool:
    """Whether one of the texts fits one of the patterns."""
    return any(_fits(glob, text, ignore_case=ignore_case) for glob in globs for text in texts)


def _fits(glob: str, text: str, *, ignore_case: bool) -> bool:
    if "*" in glob or "?" in glob:
        return bool(pattern(glob, ignore_case=ignore_case).match(text))
    return glob == text or (ignore_case and glob.lower() == text.lower())  # most are no patterns, and those take long
