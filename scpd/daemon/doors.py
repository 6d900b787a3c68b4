"""Access rules and user identity of the configuration → what a guard asks peers.

Providers that need an extra are imported when one is configured, and only then.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from scpd.config.uids import sop_class_uids
from scpd.errors import SettingError
from scpd.identity.access import (
    EVERYTHING,
    Access,
    FromNetwork,
    HasCertificate,
    HasTitle,
    IsUser,
    Permission,
    Rule,
    networks,
    pattern,
)
from scpd.identity.lockout import Lockout
from scpd.identity.policy import Identities, IdentityPolicy
from scpd.identity.pool import Pool
from scpd.identity.rates import Buckets, Rate
from scpd.identity.usernames import Usernames
from scpd.server.guard import Doors

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable, Iterator

    from scpd.config import AccessEntry, AllowRule, DenyRule, ServerConfig, UserIdentityConfig
    from scpd.identity.access import Facts
    from scpd.identity.claim import Provider
    from scpd.server.ledger import Ledger

# kind → its module, the class in it, and the extra that brings what they need.
_MODULES = {
    "ldap": ("scpd.identity.ldap", "LDAP"),
    "jwt": ("scpd.identity.jwt", "JWT"),
    "saml": ("scpd.identity.saml", "SAML"),
    "kerberos": ("scpd.identity.kerberos", "Kerberos"),
}


# These read their files again by themselves, and remember what must not be forgotten: assertions that were used.
_REMEMBER = frozenset(("passwords", "saml"))


class Doorkeepers:
    """Makes the doors of each server; what is said alike for several is made once, and shared."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        self._ledger = ledger
        self._pool: Pool | None = None
        self._providers: dict[Any, Provider] = {}
        self._lockouts: dict[object, Lockout] = {}
        self._buckets: dict[object, Buckets] = {}

    def doors(self, server: ServerConfig) -> Doors:
        """The doors of one server. Raises :class:`SettingError` with the key of what cannot be used."""
        return Doors(
            access=access(server),
            identities=self._identities(server.user_identity),
            per_address=self._bucket(server.name, "address", server.limits.rate_per_address),
            per_title=self._bucket(server.name, "title", server.limits.rate_per_title),
            ledger=self._ledger,
        )

    def successors(self) -> Doorkeepers:
        """Doorkeepers for another configuration: what remembers something of users is taken over, where said alike."""
        others = Doorkeepers(self._ledger)
        others._pool = self._pool
        others._lockouts = dict(self._lockouts)
        others._buckets = dict(self._buckets)
        others._providers = {config: one for config, one in self._providers.items() if config.kind in _REMEMBER}
        return others

    def close(self) -> None:
        """Give back what was made."""
        if self._pool:
            self._pool.close()

    def faults(self, config: UserIdentityConfig) -> Iterator[tuple[str, str]]:
        """What keeps providers from being made: (key, sentence)."""
        for number, provider in enumerate(config.providers):
            try:
                self.provider(provider)
            except SettingError as error:
                yield _place(number, error.key), error.what

    def warnings(self, config: UserIdentityConfig) -> Iterator[tuple[str, str]]:
        """What is wrong with providers' files, though they can be used: (key, sentence)."""
        for number, provider in enumerate(config.providers):
            warning = self._providers[provider].warning if provider in self._providers else ""
            if warning:
                yield f"user_identity.providers[{number}]", warning

    def _identities(self, config: UserIdentityConfig) -> Identities | None:
        """None where there is nothing to do: nobody verifies, and everybody may come."""
        if config.policy == "ignore" or (
            config.policy == "accept" and not config.providers and config.unsupported == "ignore"
        ):
            return None
        policy = IdentityPolicy(config.policy, config.respond, config.unsupported, config.without_tls)
        # Servers that ask the same providers count guesses together.
        counted_by = (config.lockout, config.providers)
        lockout = self._lockouts.setdefault(counted_by, Lockout(config.lockout.failures, config.lockout.time))
        providers = []
        for number, each in enumerate(config.providers):
            try:
                providers.append(self.provider(each))
            except SettingError as error:
                raise SettingError(_place(number, error.key), error.what) from error
        return Identities(policy, providers, lockout)

    def _bucket(self, server: str, what: str, rate: tuple[int, float]) -> Buckets | None:
        return self._buckets.setdefault((server, what, rate), Buckets(Rate(*rate))) if rate[0] else None

    def provider(self, config: Any) -> Provider:
        """The provider that a configuration asks for. Raises :class:`SettingError`."""
        if config not in self._providers:
            self._providers[config] = self._make(config)
        return self._providers[config]

    def _make(self, config: Any) -> Provider:
        if config.kind == "passwords":
            return self._passwords(config)
        if config.kind == "usernames":
            return Usernames(config.users, config.roles or ())
        module, name = _MODULES[config.kind]
        try:
            make: Callable[..., Provider] = getattr(importlib.import_module(module), name)
        except ImportError as error:
            what = f"{error.name or error} cannot be imported; pip install 'scpd[{config.kind}]'"
            raise SettingError("", what) from error
        settings = {key: getattr(config, key) for key in type(config).model_fields if key != "kind"}
        if "realms" in settings:
            settings["realms"] = settings["realms"] or ()
        return make(**settings)

    def _passwords(self, config: Any) -> Provider:
        from scpd.identity.passwords import Passwords  # noqa: PLC0415 what it needs is not for a start without it

        self._pool = self._pool or Pool()
        return Passwords(config.file, self._pool)


def _place(number: int, key: str) -> str:
    place = f"user_identity.providers[{number}]"
    return f"{place}.{key}" if key else place


def access(server: ServerConfig) -> Access | None:
    """The rules of one server, None where there are none; each is called as the configuration has it."""
    rules = [
        _rule(f"access[{number}]", entry.allow or entry.deny, allows=entry.allow is not None)
        for number, entry in enumerate(server.access)
        if is_about(entry, server.name)
    ]
    return Access(rules) if rules else None


def is_about(entry: AccessEntry, server: str) -> bool:
    """Whether a rule is about the server of that name at all."""
    rule = entry.allow or entry.deny
    return rule is not None and (rule.server is None or any(one.match(server) for one in _patterns(rule.server)))


def _rule(key: str, config: Any, *, allows: bool) -> Rule:
    permission = _permission(config) if allows else EVERYTHING
    return Rule(key, allows, tuple(_conditions(config, denies=not allows)), permission, _is_lenient(config))


def _is_lenient(config: DenyRule) -> bool:
    return config.titles == "lenient"


def _conditions(config: DenyRule, *, denies: bool) -> Iterator[Callable[[Facts], bool | None]]:
    if config.address is not None:
        yield FromNetwork(networks(config.address))
    if config.certificate is not None:
        yield HasCertificate(_patterns(config.certificate, ignore_case=True))
    if config.calling is not None:
        yield HasTitle("calling", _patterns(config.calling), _is_lenient(config), denies)
    if config.called is not None:
        yield HasTitle("called", _patterns(config.called), _is_lenient(config), denies)
    if config.users is not None:
        yield IsUser(_patterns(config.users))
    if config.roles is not None:
        yield IsUser(_patterns(config.roles), roles=True)


def _patterns(globs: Iterable[str], *, ignore_case: bool = False) -> tuple[re.Pattern[str], ...]:
    return tuple(pattern(glob, ignore_case=ignore_case) for glob in globs)


def _permission(config: AllowRule) -> Permission:
    classes: frozenset[str] | None = None
    if config.services is not None or config.sop_classes is not None:
        classes = frozenset(sop_class_uids((*(config.services or ()), *(config.sop_classes or ()))))
    may = config.may or ("read", "write")
    return Permission(classes, "read" in may, "write" in may)
