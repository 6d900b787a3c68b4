"""The two sides of an association, and what each of them said of itself (PS3.8 9.3.2, PS3.7 D.3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydicom.uid import UID

from scpd.ae.items import SOPClassCommonExtendedNegotiation, UserIdentityNegotiation
from scpd.ae.presentation import PresentationContext
from scpd.negotiation.roles import first_of_each
from scpd.wire.user_info import UserInformation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scpd.negotiation.offer import Agreement
    from scpd.wire import user_info as wire
    from scpd.wire.pdu import AssociateRQ
    from scpd.wire.user_info import RoleSelection

_NOTHING_SAID = UserInformation()


class ServiceUser:
    """One side: ``mode`` is "requestor" or "acceptor". Everything it tells is as that side gave it, claims included.

    ``address`` and ``port`` are its end of the connection, for an acceptor where it listens.
    """

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.ae_title = ""
        self.address = ""
        self.port = 0
        self.supported_contexts: list[PresentationContext] = []
        self._said = _NOTHING_SAID
        self._request: AssociateRQ | None = None
        self._accepted_common: Mapping[str, wire.SOPClassCommonExtendedNegotiation] = {}

    def requested(self, request: AssociateRQ) -> None:
        """It sent this A-ASSOCIATE-RQ."""
        self.ae_title = request.calling_ae_title
        self._said, self._request = request.user_information, request

    def accepted(self, agreement: Agreement) -> None:
        """It sent the A-ASSOCIATE-AC of this agreement."""
        self._said, self._accepted_common = agreement.answer.user_information, agreement.common_extended

    @property
    def has_asked(self) -> bool:
        """Whether it sent an A-ASSOCIATE-RQ."""
        return self._request is not None

    @property
    def is_requestor(self) -> bool:
        """Whether it asked for the association."""
        return self.mode == "requestor"

    @property
    def is_acceptor(self) -> bool:
        """Whether it was asked."""
        return self.mode == "acceptor"

    @property
    def info(self) -> dict[str, Any]:
        """Mode, AE title, address and port in one."""
        return {"mode": self.mode, "ae_title": self.ae_title, "address": self.address, "port": self.port}

    @property
    def maximum_length(self) -> int | None:
        """The longest P-DATA-TF that it takes, in bytes: 0 unlimited, None not said (PS3.8 D.1)."""
        return self._said.maximum_length

    @property
    def implementation_class_uid(self) -> UID | None:
        """How its implementation names itself (PS3.7 D.3.3.2)."""
        return UID(self._said.implementation_class_uid) if self._said.implementation_class_uid else None

    @property
    def implementation_version_name(self) -> str | None:
        """And its version."""
        return self._said.implementation_version_name or None

    @property
    def asynchronous_operations(self) -> tuple[int, int]:
        """How many operations it invokes and performs at once (PS3.7 D.3.3.3); 1, 1 where nothing was said."""
        window = self._said.window
        return (window.invoked, window.performed) if window else (1, 1)

    @property
    def role_selection(self) -> dict[UID, RoleSelection]:
        """The roles it proposed, or granted, by SOP class (PS3.7 D.3.3.4)."""
        return {UID(uid): role for uid, role in first_of_each(self._said.roles).items()}

    @property
    def sop_class_extended(self) -> dict[UID, bytes]:
        """Service class application information by SOP class (PS3.7 D.3.3.5)."""
        return {UID(item.sop_class_uid): item.information for item in self._said.extended}

    @property
    def sop_class_common_extended(self) -> dict[UID, SOPClassCommonExtendedNegotiation]:
        """Service classes and general classes by SOP class (PS3.7 D.3.3.6)."""
        return _common(self._said.common_extended)

    @property
    def accepted_common_extended(self) -> dict[UID, SOPClassCommonExtendedNegotiation]:
        """Those of the requestor that the acceptor goes by; known to the acceptor alone."""
        return _common(self._accepted_common.values())

    @property
    def user_identity(self) -> UserIdentityNegotiation | None:
        """The requestor's claim, or the acceptor's positive response to it (PS3.7 D.3.3.7)."""
        response = self._said.identity_response
        if response:
            return UserIdentityNegotiation(server_response=response.server_response)
        for claim in self._said.identities:
            return UserIdentityNegotiation(
                claim.identity_type, claim.primary, claim.secondary or None, claim.positive_response_requested
            )
        return None

    @property
    def requested_contexts(self) -> list[PresentationContext]:
        """The presentation contexts it proposed, with their IDs."""
        if self._request is None:
            return []
        return [
            PresentationContext.negotiated(context.context_id, context.abstract_syntax, context.transfer_syntaxes)
            for context in self._request.presentation_contexts
        ]


def _common(
    items: Iterable[wire.SOPClassCommonExtendedNegotiation],
) -> dict[UID, SOPClassCommonExtendedNegotiation]:
    return {UID(item.sop_class_uid): SOPClassCommonExtendedNegotiation.decoded(item) for item in items}
