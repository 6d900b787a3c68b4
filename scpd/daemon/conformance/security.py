"""Chapter 7, security (PS3.2 A.7): TLS profiles, who may associate, user identity, the audit trail (PS3.15)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from scpd.daemon.conformance.document import Code, Section, Table
from scpd.daemon.conformance.entity import entities
from scpd.daemon.conformance.trail import audit_trail
from scpd.daemon.doors import is_about
from scpd.identity.claim import FORM_NAMES, Form
from scpd.transport import profiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.config import Config
    from scpd.config.user_identity import UserIdentityConfig
    from scpd.daemon.conformance.entity import Entity

_CLIENT = {
    "none": "Not asked for",
    "optional": "Asked for; one that is shown has to be good",
    "required": "Required, and has to be good",
}


def security(config: Config) -> Section:
    """The whole chapter."""
    all_entities = entities(config)
    return Section(
        "Security",
        (),
        (
            Section(
                "Security Profiles", (), (_tls(config, all_entities), _user_identity(all_entities), audit_trail(config))
            ),
            _association_level(all_entities),
            _application_level(all_entities),
        ),
    )


def _tls(config: Config, all_entities: tuple[Entity, ...]) -> Section:
    rows = [(entity.name, *_protection(entity)) for entity in all_entities]
    rows += [
        (f"Peer {name}", profiles.describe(peer.tls.profile), "Shown" if peer.tls.certificate else "Not shown")
        for name, peer in config.peers.items()
        if peer.tls
    ]
    header = ("Application Entity", "Profile, versions and cipher suites", "Certificate of whoever connects")
    return Section(
        "Secure Transport Connection Profiles",
        (
            (
                "A server has TLS on its port, or has not: there is no change to it on a plain connection. Cipher "
                "suites are named as OpenSSL does, the best first, as far as the machine has them on which this "
                "statement was made."
            ),
            Table("TLS of the Application Entities", header, tuple(rows)),
            (
                "A certificate is checked against the CAs of the configuration, for its dates, its purpose and, where "
                "revocation lists are configured, for revocation. The client commands call any other address with the "
                f"profiles {', '.join(profiles.PROFILES)}, or without TLS, as their command line says."
            ),
        ),
    )


def _protection(entity: Entity) -> tuple[str, str]:
    tls = entity.server.tls
    if tls is None:
        return "None: connections are not protected", "Not asked for"
    return profiles.describe(tls.profile), _CLIENT[tls.client]


def _user_identity(all_entities: tuple[Entity, ...]) -> Section:
    return Section(
        "User Identity Negotiation",
        (
            (
                "User identity negotiation (PS3.7 D.3.3.7) of each server. The client commands can send every form: "
                f"{_forms(frozenset(FORM_NAMES))}."
            ),
        ),
        tuple(Section(f"User identity of {entity.name}", tuple(_identity(entity))) for entity in all_entities),
    )


def _identity(entity: Entity) -> Iterator[str | Table]:
    """The policy in words, then who verifies which form."""
    identity = entity.server.user_identity
    if not entity.asks_for_users:
        yield "User identity is not looked at, and not answered."
        return
    yield _POLICIES[identity.policy]
    yield from _circumstances(identity)
    rows = tuple(_provider(number, one) for number, one in enumerate(identity.providers))
    if rows:
        yield Table(
            "Providers, asked in this order", ("Provider", "Forms", "What it verifies", "Server response"), rows
        )
    else:
        yield "No form is verified: the configuration has no provider."


_POLICIES = {
    "accept": "A user identity that is sent is verified, and the association rejected where it does not hold. Whoever "
    "sends none is let in.",
    "require": "The association is rejected unless a user identity is sent and holds.",
}


def _circumstances(identity: UserIdentityConfig) -> Iterator[str]:
    if identity.policy == "accept" and identity.unsupported == "ignore":
        yield "A form that nobody verifies counts as not sent, and is not answered."
    else:
        yield "A form that nobody verifies leads to rejection."
    yield "More than one user identity in a request leads to rejection."
    yield (
        "The positive response is sent where it is asked for and the identity was verified."
        if identity.respond
        else "The positive response is never sent."
    )
    if identity.without_tls == "reject":
        yield (
            "A passcode, an assertion or a token that comes without TLS from another machine leads to rejection: "
            "anybody on the way could have read it."
        )
    if identity.lockout.failures:
        yield (f"After {identity.lockout.failures} failures a user has to wait to be verified again from that address.")


def _provider(number: int, config: Any) -> tuple[str, str, str, str]:
    forms = _verified_forms(config.kind)
    about = type(config).model_fields["kind"].description or ""
    response = "The server's ticket" if Form.KERBEROS in forms else "Empty"
    return Code(f"providers[{number}]: {config.kind}"), _forms(forms), about, response


def _verified_forms(kind: str) -> frozenset[int]:
    """What the provider of a kind says that it verifies; nothing where its extra is not installed, and it cannot."""
    try:
        module = importlib.import_module(f"scpd.identity.{kind}")
    except ImportError:
        return frozenset()
    classes = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__]
    return frozenset(form for one in classes for form in getattr(one, "forms", ()))


def _forms(forms: frozenset[int]) -> str:
    known = ", ".join(f"{form:d} ({FORM_NAMES[form]})" for form in sorted(forms))
    return known or "none: what it needs is not installed"


def _association_level(all_entities: tuple[Entity, ...]) -> Section:
    return Section(
        "Association Level Security",
        (
            (
                "Access rules, of which the first that matches decides; whom none matches is let in. All conditions of "
                "a rule have to hold, and one value of each. A peer that no rule would let in from its address has its "
                "connection closed before anything is read of it; others are answered with A-ASSOCIATE-RJ."
            ),
        ),
        tuple(Section(f"Access to {entity.name}", (_access(entity),)) for entity in all_entities),
    )


def _access(entity: Entity) -> str | Table:
    entries = zip(entity.server.access, entity.shown["access"], strict=True)
    rows = tuple(
        (Code(f"access[{number}]"), *_rule(told))
        for number, (entry, told) in enumerate(entries)
        if is_about(entry, entity.server.name)
    )
    if not rows:
        return "There are no rules: every peer may associate, and use every service."
    return Table("Access rules", ("Rule", "Decision", "Who", "What they may do"), rows)


_PERMISSIONS = ("services", "sop_classes", "may")


def _rule(told: Any) -> tuple[str, str, str]:
    """Decision, whom it is about, and what they may do, from the rule as it would stand in the file."""
    if not isinstance(told, dict):
        return "As the file says", str(told), ""
    ((decision, rule),) = told.items()
    if not isinstance(rule, dict):
        return decision.capitalize(), "Everybody" if rule == "all" else str(rule), _permission(decision, {})
    conditions = {key: value for key, value in rule.items() if key not in _PERMISSIONS}
    allowed = {key: value for key, value in rule.items() if key in _PERMISSIONS}
    return decision.capitalize(), _in_words(conditions) or "Everybody", _permission(decision, allowed)


def _permission(decision: str, allowed: dict[str, Any]) -> str:
    if decision == "deny":
        return "Nothing"
    return _in_words(allowed) or "Everything"


def _in_words(keys: dict[str, Any]) -> str:
    return "; ".join(
        f"{key}: {', '.join(map(str, value)) if isinstance(value, list) else value}" for key, value in keys.items()
    )


def _application_level(all_entities: tuple[Entity, ...]) -> Section:
    permits = any(
        entry.allow and (entry.allow.services or entry.allow.sop_classes or entry.allow.may)
        for entity in all_entities
        for entry in entity.server.access
    )
    text = "What the last column of the access rules allows is decided for each presentation context: one that goes "
    text += 'beyond it is answered "user rejection", and the association goes on without it.'
    return Section("Application Level Security", (text if permits else "None beyond what stands above.",))
