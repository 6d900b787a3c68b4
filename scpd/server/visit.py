"""What becomes of one connection: what it is offered, who serves it, who hears of it.

This one is the same for everybody, and is shared by all connections; whoever needs more makes one for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scpd.negotiation.offer import Agreement, Offer, Rejection
    from scpd.services.serving import Services
    from scpd.transport.conversation import Conversation
    from scpd.transport.upper_layer import UpperLayer
    from scpd.wire.pdu import AssociateRQ
    from scpd.wire.user_info import UserIdentityAC, UserIdentityRQ


class Visit:
    """Called by the worker, in its thread, in the order of the methods. ``services`` is keyed by abstract syntax."""

    def __init__(self, offer: Offer, services: Services) -> None:
        self.offer = offer
        self.services = services

    def opened(self, upper: UpperLayer) -> None:
        """The connection is there; nothing was read yet."""

    def requested(self, request: AssociateRQ) -> Offer | Rejection:  # noqa: ARG002 others look at it
        """What the peer is offered, or why nothing is."""
        return self.offer

    def identify(self, claims: tuple[UserIdentityRQ, ...]) -> UserIdentityAC | Rejection | None:
        """The positive response to a user identity, why it is rejected, or nothing to say (PS3.7 D.3.3.7)."""

    def rejected(self, rejection: Rejection) -> None:
        """The association was rejected."""

    def established(self, request: AssociateRQ, agreement: Agreement, conversation: Conversation) -> None:
        """The association was accepted, and the peer told so."""

    def ended(self, how: BaseException | None) -> None:
        """The association is over: released in order, or what ended it."""

    def closed(self) -> None:
        """The connection is gone."""
