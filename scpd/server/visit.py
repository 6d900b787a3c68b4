"""What becomes of one connection: what it is offered, who serves it, who hears of it.

This one is the same for everybody, and is shared by all connections; whoever needs more makes one for each.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scpd.negotiation.offer import Agreement, Offer, Rejection
    from scpd.services.serving import Services
    from scpd.transport.conversation import Conversation
    from scpd.transport.upper_layer import UpperLayer
    from scpd.wire.pdu import AssociateRQ
    from scpd.wire.user_info import UserIdentityAC, UserIdentityRQ


class Visit:
    """Called by the worker, in its thread, in the order of the methods.

    ``offer`` is what the peer is offered, ``services`` who serves it, by abstract syntax; ``notes`` is what the log
    tells of the visit beside what the worker knows.
    """

    notes: Mapping[str, object] = MappingProxyType({})

    def __init__(self, offer: Offer, services: Services) -> None:
        self.offer = offer
        self.services = services

    def opened(self, upper: UpperLayer) -> None:
        """The connection is there; nothing was read yet."""

    def requested(self, request: AssociateRQ) -> Rejection | None:
        """An A-ASSOCIATE-RQ came. Why nothing is offered, or None; ``offer`` may be another one from here on."""

    def identify(self, claims: tuple[UserIdentityRQ, ...]) -> UserIdentityAC | Rejection | None:
        """The positive response to a user identity, why it is rejected, or nothing to say (PS3.7 D.3.3.7).

        ``offer`` may be another one from here on.
        """

    def rejected(self, rejection: Rejection) -> None:
        """The association was rejected."""

    def established(self, request: AssociateRQ, agreement: Agreement, conversation: Conversation) -> None:
        """The association was accepted, and the peer told so."""

    def ended(self, how: BaseException | None) -> None:
        """The association is over: released in order, or what ended it."""

    def closed(self) -> None:
        """The connection is gone."""
