"""A connection to a server of a program: its handlers asked and told, in the worker's thread (PS3.7 annex D.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from scpd.ae import arguments, evt
from scpd.ae.handling import ForAll, Handling
from scpd.ae.items import SOPClassCommonExtendedNegotiation
from scpd.names import quote
from scpd.negotiation import reject
from scpd.negotiation.offer import Extensions, Offer, Rejection
from scpd.server.visit import Visit
from scpd.wire.user_info import UserIdentityAC

if TYPE_CHECKING:
    from collections.abc import Callable

    from scpd.ae.association import Association
    from scpd.negotiation.offer import Agreement
    from scpd.transport.conversation import Conversation
    from scpd.transport.upper_layer import UpperLayer
    from scpd.wire import user_info as wire
    from scpd.wire.pdu import AssociateRQ
    from scpd.wire.user_info import UserIdentityRQ

_USERNAMES = (1, 2)
_LONGEST = 0xFFFF  # the body of a sub-item, in bytes
_MOST_OPERATIONS = 0xFFFF
_T = TypeVar("_T")


class Arrival(Visit):
    """One connection. ``calling`` are the AE titles that may call, any where there are none; ``gone`` hears its end."""

    def __init__(
        self,
        assoc: Association,
        offer: Offer,
        calling: tuple[str, ...],
        longest: int,
        gone: Callable[[Association], None],
    ) -> None:
        super().__init__(offer, ForAll(Handling(assoc, longest)))
        self._assoc = assoc
        self._calling = calling
        self._gone = gone

    def opened(self, upper: UpperLayer) -> None:
        """EVT_CONN_OPEN."""
        assoc = self._assoc
        assoc.connected(upper, driven=True)
        connection = upper.connection
        assoc.requestor.address = connection.host
        assoc.requestor.port = int(connection.peer.rpartition(":")[2])
        assoc.tell(evt.EVT_CONN_OPEN, address=(assoc.requestor.address, assoc.requestor.port))
        assoc.must_go_on()

    def requested(self, request: AssociateRQ) -> Rejection | None:
        """EVT_REQUESTED; who may call at all."""
        assoc = self._assoc
        assoc.requestor.requested(request)
        assoc.tell(evt.EVT_REQUESTED)
        assoc.must_go_on()
        if self._calling and request.calling_ae_title not in self._calling:
            return reject.calling_ae_title(
                f"calling AE title {quote(request.calling_ae_title)} is not among those required", "require_calling_aet"
            )
        if self._has_extensions():
            self.offer = replace(self.offer, extensions=self._extensions())
        return None

    def identify(self, claims: tuple[UserIdentityRQ, ...]) -> UserIdentityAC | Rejection | None:
        """EVT_USER_ID: a verified identity is answered when that was asked for (PS3.7 D.3.3.7.2)."""
        handler = self._assoc.handlers.asked(evt.EVT_USER_ID)
        if handler is None or not claims:
            return None
        if len(claims) > 1:
            return reject.identity("more than one user identity in one request", "EVT_USER_ID")
        claim = claims[0]
        event = evt.Event(
            self._assoc,
            evt.EVT_USER_ID,
            user_id_type=claim.identity_type,
            primary_field=claim.primary,
            secondary_field=claim.secondary if claim.identity_type == 2 else None,
            positive_response_requested=claim.positive_response_requested,
        )
        try:
            is_verified, response = handler(event)
            arguments.boolean("is_verified", is_verified)
            answer = UserIdentityAC(_response(claim.identity_type, response))
        except Exception as error:  # noqa: BLE001 whoever cannot be verified stays outside
            evt.complain("the handler of evt.EVT_USER_ID failed: the association is rejected", self._assoc, error)
            is_verified = False
        self._assoc.must_go_on()
        if not is_verified:
            return reject.identity("the user identity was not verified", "EVT_USER_ID")
        return answer if claim.positive_response_requested else None

    def rejected(self, rejection: Rejection) -> None:
        """EVT_REJECTED."""
        self._assoc.reject(rejection)

    def established(self, request: AssociateRQ, agreement: Agreement, conversation: Conversation) -> None:
        """EVT_ACCEPTED and EVT_ESTABLISHED."""
        self._assoc.establish(request, agreement, conversation)
        self._assoc.must_go_on()

    def ended(self, how: BaseException | None) -> None:
        """EVT_RELEASED or EVT_ABORTED."""
        self._assoc.finish(how)

    def closed(self) -> None:
        """EVT_CONN_CLOSE."""
        requestor = self._assoc.requestor
        self._assoc.tell(evt.EVT_CONN_CLOSE, address=(requestor.address, requestor.port))
        self._gone(self._assoc)

    def _has_extensions(self) -> bool:
        asked = self._assoc.handlers.asked
        return any(asked(event) for event in (evt.EVT_ASYNC_OPS, evt.EVT_SOP_EXTENDED, evt.EVT_SOP_COMMON))

    def _extensions(self) -> Extensions:
        asked = self._assoc.handlers.asked
        return Extensions(
            window=self._window if asked(evt.EVT_ASYNC_OPS) else None,
            extended=self._extended if asked(evt.EVT_SOP_EXTENDED) else None,
            common_extended=self._common_extended if asked(evt.EVT_SOP_COMMON) else None,
        )

    def _ask(self, event: evt.EventType, parse: Callable[[Any], _T], otherwise: _T, **attributes: Any) -> _T:
        """What ``parse`` makes of the handler's answer, or ``otherwise``: what it does not answer is not supported."""
        handler = self._assoc.handlers.asked(event)
        if handler is None:
            return otherwise
        try:
            return parse(handler(evt.Event(self._assoc, event, **attributes)))
        except Exception as error:  # noqa: BLE001 the program's fault costs what was proposed, not the association
            evt.complain(f"the handler of evt.{event} failed: its proposal is not answered", self._assoc, error)
            return otherwise

    def _window(self, invoked: int, performed: int) -> tuple[int, int]:
        numbers = {"invoked": invoked, "performed": performed, "nr_invoked": invoked, "nr_performed": performed}
        return self._ask(evt.EVT_ASYNC_OPS, _pair, (1, 1), **numbers)

    def _extended(self, proposed: Mapping[str, bytes]) -> Mapping[str, bytes]:
        return self._ask(evt.EVT_SOP_EXTENDED, _information, {}, app_info=dict(proposed))

    def _common_extended(
        self, proposed: Mapping[str, wire.SOPClassCommonExtendedNegotiation]
    ) -> Mapping[str, wire.SOPClassCommonExtendedNegotiation]:
        items = {uid: SOPClassCommonExtendedNegotiation.decoded(item) for uid, item in proposed.items()}

        def accepted(given: Any) -> dict[str, wire.SOPClassCommonExtendedNegotiation]:
            if not isinstance(given, Mapping):
                raise TypeError(f"return the items that are accepted, by SOP class UID, not {given!r:.80}")
            return {uid: proposed[uid] for uid in given if uid in proposed}

        return self._ask(evt.EVT_SOP_COMMON, accepted, {}, items=items)


def _pair(given: Any) -> tuple[int, int]:
    invoked, performed = (
        min(arguments.number("a number of operations", one, most=2**31), _MOST_OPERATIONS) for one in given
    )
    return invoked, performed


def _information(given: Any) -> dict[str, bytes]:
    """Service class application information as a handler gives it: there has to be room for it in its sub-item."""
    for uid, information in (given or {}).items():
        if not isinstance(information, bytes):
            raise TypeError(f"the information for {uid} is bytes, not {information!r:.80}")
        if len(information) > _LONGEST - 2 - len(uid):
            raise ValueError(f"the information for {uid} has {len(information)} bytes, more than its sub-item takes")
    return {str(uid): information for uid, information in (given or {}).items()}


def _response(identity_type: int, response: object) -> bytes:
    """The server response: empty for usernames, what the handler gave for the others (PS3.7 table D.3-15)."""
    if identity_type in _USERNAMES or response is None:
        return b""
    if not isinstance(response, bytes):
        raise TypeError(f"the response to a user identity is bytes or None, not a {type(response).__name__}")
    if len(response) > _LONGEST - 2:
        raise ValueError(f"the response to a user identity has at most {_LONGEST - 2} bytes, not {len(response)}")
    return response
