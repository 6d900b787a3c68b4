"""The two sides of an association, and what each of them said of itself (PS3.8 9.3.2, PS3.7 D.3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydicom.uid import UID

from scpd.ae.items import SOPClassCommonExtendedNegotiation, UserIdentityNegotiation
from scpd.ae.presentation import PresentationContext

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scpd.negotiation.offer import Agreement
    from scpd.wire.pdu import AssociateRQ
    from scpd.wire.user_info import RoleSelection, UserInformation


class ServiceUser:
    """One side: ``mode`` is "requestor" or "acceptor". Everything below is as that side gave it, claims included.

    ``address`` and ``port`` are its end of the connection. ``maximum_length`` is the longest P-DATA-TF that it takes in
    bytes (0 unlimited, None not said). ``user_identity`` is the requestor's claim, or the acceptor's positive response.
    """

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.ae_title = ""
        self.address = ""
        self.port = 0
        self.maximum_length: int | None = None
        self.implementation_class_uid: UID | None = None
        self.implementation_version_name: str | None = None
        self.asynchronous_operations: tuple[int, int] = (1, 1)
        self.role_selection: Mapping[UID, RoleSelection] = {}
        self.sop_class_extended: Mapping[UID, bytes] = {}
        self.sop_class_common_extended: Mapping[UID, SOPClassCommonExtendedNegotiation] = {}
        self.accepted_common_extended: Mapping[UID, SOPClassCommonExtendedNegotiation] = {}
        self.user_identity: UserIdentityNegotiation | None = None
        self.requested_contexts: list[PresentationContext] = []
        self.supported_contexts: list[PresentationContext] = []

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

    def requested(self, request: AssociateRQ) -> None:
        """What the requestor said in its A-ASSOCIATE-RQ."""
        self.ae_title = request.calling_ae_title
        self._inform(request.user_information)
        for claim in request.user_information.identities[:1]:
            self.user_identity = UserIdentityNegotiation(
                claim.identity_type, claim.primary, claim.secondary or None, claim.positive_response_requested
            )
        self.requested_contexts = [
            PresentationContext.negotiated(context.context_id, context.abstract_syntax, context.transfer_syntaxes)
            for context in request.presentation_contexts
        ]

    def accepted(self, agreement: Agreement) -> None:
        """What the acceptor said in its A-ASSOCIATE-AC."""
        answer = agreement.answer
        self._inform(answer.user_information)
        response = answer.user_information.identity_response
        if response:
            self.user_identity = UserIdentityNegotiation(server_response=response.server_response)
        self.accepted_common_extended = _common(agreement.common_extended.values())

    def _inform(self, said: UserInformation) -> None:
        self.maximum_length = said.maximum_length
        self.implementation_class_uid = UID(said.implementation_class_uid) if said.implementation_class_uid else None
        self.implementation_version_name = said.implementation_version_name or None
        if said.window:
            self.asynchronous_operations = (said.window.invoked, said.window.performed)
        self.role_selection = {UID(role.sop_class_uid): role for role in said.roles}
        self.sop_class_extended = {UID(item.sop_class_uid): item.information for item in said.extended}
        self.sop_class_common_extended = _common(said.common_extended)


def _common(items: Any) -> dict[UID, SOPClassCommonExtendedNegotiation]:
    return {UID(item.sop_class_uid): SOPClassCommonExtendedNegotiation.decoded(item) for item in items}
