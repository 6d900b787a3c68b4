"""One server of the configuration as the statement sees it: what it offers, and what of it may be shown.

What came from a ``file:`` is shown as that reference, in every chapter. SOP classes and transfer syntaxes are told all
the same: any peer finds them out by asking.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from scpd.config.effective import shown
from scpd.config.scalars import escape
from scpd.daemon.build import offer
from scpd.daemon.conformance.document import Code
from scpd.daemon.served import retrieves_back, service
from scpd.services.commitment.service import Commitment
from scpd.services.query.models import BY_MOVE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scpd.config import Config, ServerConfig
    from scpd.negotiation.offer import Offer, SupportedContext
    from scpd.services.service import Service


@dataclass(frozen=True)
class Entity:
    """An Application Entity. ``shown`` is its section as :func:`scpd.config.effective.shown` gives it."""

    number: int
    server: ServerConfig
    shown: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What the server is called in the configuration."""
        return said(self.server.name, self.shown.get("name", f"server {self.number}"))

    @property
    def ae_title(self) -> Code:
        """Its AE title."""
        return Code(said(self.server.ae_title, self.shown["ae_title"]))

    @property
    def address(self) -> Code:
        """Where it listens."""
        return Code(said(str(self.server.bind), self.shown["bind"]))

    @cached_property
    def offer(self) -> Offer:
        """What it offers everybody, as the daemon negotiates with it."""
        return offer(self.server)

    @property
    def contexts(self) -> Sequence[SupportedContext]:
        """What it supports, in the order of the configuration."""
        return tuple(self.offer.contexts.values())

    @cached_property
    def services(self) -> frozenset[type[Service]]:
        """The services behind its SOP classes."""
        return frozenset(service(one.abstract_syntax) for one in self.contexts)

    @property
    def moves(self) -> bool:
        """Whether it sends instances to others, by C-MOVE."""
        return any(one.abstract_syntax in BY_MOVE for one in self.contexts)

    @property
    def sends_back(self) -> bool:
        """Whether it sends instances over the association that asks for them, by C-GET."""
        return retrieves_back(self.server)

    @property
    def initiates(self) -> bool:
        """Whether it asks others for associations."""
        return self.moves or Commitment in self.services

    @property
    def asks_for_users(self) -> bool:
        """Whether user identities are looked at: not where nobody verifies, and nobody is turned away for that."""
        identity = self.server.user_identity
        if identity.policy == "accept":
            return bool(identity.providers) or identity.unsupported == "reject"
        return identity.policy == "require"

    @property
    def hooks(self) -> Sequence[str]:
        """The names of those who are told of what has arrived."""
        pairs = zip(self.server.hooks, self.shown["hooks"], strict=True)
        return tuple(said(hook.name, told["name"]) for hook, told in pairs)

    def setting(self, key: str) -> str:
        """The value of a dotted key of a section, as it would stand in the file."""
        section, _, name = key.partition(".")
        return str(self.shown[section][name])


def entities(config: Config) -> tuple[Entity, ...]:
    """The servers of a configuration."""
    data = shown(config)["servers"]
    return tuple(Entity(n, *pair) for n, pair in enumerate(zip(config.servers, data, strict=True), 1))


def said(value: str, shown: str) -> str:
    """The value itself, unless something else, a reference to a secret, is shown in its place."""
    return value if shown == escape(value) else shown
