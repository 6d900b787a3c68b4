"""Extended negotiation items as a program fills them in for ``ext_neg``, and reads them afterwards (PS3.7 D.3.3).

The names are those of the ecosystem; what goes over the wire is made of them here. Knows no association.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from scpd.client.requestor import Negotiation
from scpd.names import parse_uid
from scpd.wire import user_info as wire

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST_FIELD = 0xFFFF
_USERNAME_AND_PASSCODE = 2
_IDENTITY_TYPES = range(1, 6)


class Item(Protocol):
    """What ``ext_neg`` takes."""

    def encoded(self) -> object:
        """The item as it goes over the wire, or :class:`ValueError` with what is missing or wrong."""


def build_role(uid: str, scu_role: bool = False, scp_role: bool = False) -> SCP_SCU_RoleSelectionNegotiation:
    """The proposal of roles for a SOP class: which of them the requestor may take (PS3.7 D.3.3.4)."""
    return SCP_SCU_RoleSelectionNegotiation(uid, scu_role, scp_role)


@dataclass
class SCP_SCU_RoleSelectionNegotiation:  # noqa: N801 the ecosystem's name
    """The roles that the requestor proposes for itself in the contexts of a SOP class (PS3.7 D.3.3.4)."""

    sop_class_uid: str = ""
    scu_role: bool | None = None
    scp_role: bool | None = None

    def encoded(self) -> wire.RoleSelection:
        """As it goes over the wire."""
        scu, scp = _boolean("scu_role", self.scu_role), _boolean("scp_role", self.scp_role)
        if not (scu or scp):
            raise ValueError("a role selection needs scu_role or scp_role, or nobody has a role")
        return wire.RoleSelection(_uid("sop_class_uid", self.sop_class_uid), scu, scp)


@dataclass
class AsynchronousOperationsWindowNegotiation:
    """How many operations may be outstanding at once; 0 is unlimited (PS3.7 D.3.3.3)."""

    maximum_number_operations_invoked: int = 1
    maximum_number_operations_performed: int = 1

    def encoded(self) -> wire.AsynchronousOperationsWindow:
        """As it goes over the wire."""
        names = ("maximum_number_operations_invoked", "maximum_number_operations_performed")
        return wire.AsynchronousOperationsWindow(*(_number(name, getattr(self, name)) for name in names))


@dataclass
class SOPClassExtendedNegotiation:
    """Service class application information for a SOP class, encoded as its service says (PS3.7 D.3.3.5)."""

    sop_class_uid: str = ""
    service_class_application_information: bytes = b""

    def encoded(self) -> wire.SOPClassExtendedNegotiation:
        """As it goes over the wire."""
        information = _field("service_class_application_information", self.service_class_application_information)
        return wire.SOPClassExtendedNegotiation(_uid("sop_class_uid", self.sop_class_uid), information)


@dataclass
class SOPClassCommonExtendedNegotiation:
    """The service class of a SOP class, and the general classes that it specializes (PS3.7 D.3.3.6)."""

    sop_class_uid: str = ""
    service_class_uid: str = ""
    related_general_sop_class_identification: list[str] = field(default_factory=list)

    def encoded(self) -> wire.SOPClassCommonExtendedNegotiation:
        """As it goes over the wire."""
        return wire.SOPClassCommonExtendedNegotiation(
            _uid("sop_class_uid", self.sop_class_uid),
            _uid("service_class_uid", self.service_class_uid),
            tuple(
                _uid("related_general_sop_class_identification", uid)
                for uid in self.related_general_sop_class_identification
            ),
        )

    @classmethod
    def decoded(cls, item: wire.SOPClassCommonExtendedNegotiation) -> SOPClassCommonExtendedNegotiation:
        """What a peer sent."""
        return cls(item.sop_class_uid, item.service_class_uid, list(item.related_general_sop_classes))


@dataclass
class UserIdentityNegotiation:
    """Who the requestor is, or the acceptor's answer to it (PS3.7 D.3.3.7).

    ``user_identity_type``: 1 username, 2 username and passcode, 3 Kerberos service ticket, 4 SAML assertion,
    5 JSON Web Token. ``primary_field`` holds the username, ticket, assertion or token, ``secondary_field`` the
    passcode of type 2. In an answer only ``server_response`` is set. No secret shows in ``repr``.
    """

    user_identity_type: int | None = None
    primary_field: bytes | None = field(default=None, repr=False)
    secondary_field: bytes | None = field(default=None, repr=False)
    positive_response_requested: bool = False
    server_response: bytes | None = field(default=None, repr=False)

    def encoded(self) -> wire.UserIdentityRQ:
        """As it goes over the wire in a request."""
        kind = self.user_identity_type
        if not isinstance(kind, int) or isinstance(kind, bool) or kind not in _IDENTITY_TYPES:
            raise ValueError(f"user_identity_type is 1 to 5 (PS3.7 table D.3-14), not {kind!r}")
        if not self.primary_field:
            raise ValueError("a user identity needs a primary_field")
        if kind == _USERNAME_AND_PASSCODE and self.secondary_field is None:
            raise ValueError("a user identity of type 2 needs the passcode as its secondary_field")
        if kind != _USERNAME_AND_PASSCODE and self.secondary_field:
            raise ValueError(f"a user identity of type {kind} has no secondary_field: that is the passcode of type 2")
        return wire.UserIdentityRQ(
            kind,
            _boolean("positive_response_requested", self.positive_response_requested),
            _field("primary_field", self.primary_field),
            _field("secondary_field", self.secondary_field or b""),
        )


def negotiation(items: Iterable[Item]) -> Negotiation:
    """What is proposed beside the presentation contexts.

    Raises :class:`TypeError` for what is no item, :class:`ValueError` for an item that is not complete or stands twice.
    """
    encoded = [_encode(place, item) for place, item in enumerate(items)]

    def of(kind: type) -> tuple[object, ...]:
        return tuple(item for item in encoded if type(item) is kind)

    windows, identities = of(wire.AsynchronousOperationsWindow), of(wire.UserIdentityRQ)
    if len(windows) > 1 or len(identities) > 1:
        raise ValueError("ext_neg may hold one asynchronous operations window and one user identity (PS3.7 D.3.3)")
    return Negotiation(
        roles=of(wire.RoleSelection),  # type: ignore[arg-type]  # filtered by that very type
        extended=of(wire.SOPClassExtendedNegotiation),  # type: ignore[arg-type]
        common_extended=of(wire.SOPClassCommonExtendedNegotiation),  # type: ignore[arg-type]
        window=windows[0] if windows else None,  # type: ignore[arg-type]
        identities=identities,  # type: ignore[arg-type]
    )


def _encode(place: int, item: Item) -> object:
    if not hasattr(item, "encoded"):
        raise TypeError(f"ext_neg[{place}] is a {type(item).__name__}, not a negotiation item")
    return item.encoded()


def _uid(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is a UID as text, not a {type(value).__name__}")
    return parse_uid(str(value))


def _boolean(name: str, value: object) -> bool:
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{name} is True, False or None, not {value!r}")
    return bool(value)


def _number(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is a number, not a {type(value).__name__}")
    if not 0 <= value <= _LONGEST_FIELD:
        raise ValueError(f"{name} is 0 (unlimited) to 65535, not {value}")
    return value


def _field(name: str, value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"{name} is bytes, not a {type(value).__name__}")
    if len(value) > _LONGEST_FIELD:
        raise ValueError(f"{name} has at most {_LONGEST_FIELD} bytes, not {len(value)}")
    return value
