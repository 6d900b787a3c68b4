"""The user information item and its nine sub-items, 51H to 59H (PS3.8 annex D.1, PS3.7 annex D.3.3)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from scpd.wire.fields import (
    counted,
    decode_name,
    encode_name,
    invalid,
    item,
    items,
    take_counted,
    used_up,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_MAXIMUM_LENGTH = struct.Struct(">I")
_WINDOW = struct.Struct(">HH")


@dataclass(frozen=True, slots=True)
class AsynchronousOperationsWindow:
    """How many operations may be outstanding; 0 is unlimited (PS3.7 D.3.3.3, sub-item 53H)."""

    ITEM_TYPE: ClassVar = 0x53

    invoked: int
    performed: int

    def encode(self) -> bytes:
        """The whole sub-item."""
        return item(self.ITEM_TYPE, _WINDOW.pack(self.invoked, self.performed))

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        """From the sub-item's body."""
        if len(body) != _WINDOW.size:
            raise invalid(f"the asynchronous operations window sub-item has {len(body)} bytes, not 4")
        return cls(*_WINDOW.unpack(body))


@dataclass(frozen=True, slots=True)
class RoleSelection:
    """The roles a requestor proposes for itself, or is granted (PS3.7 D.3.3.4, sub-item 54H)."""

    ITEM_TYPE: ClassVar = 0x54

    sop_class_uid: str
    scu_role: bool
    scp_role: bool

    def encode(self) -> bytes:
        """The whole sub-item."""
        uid = counted(encode_name(self.sop_class_uid))
        return item(self.ITEM_TYPE, uid, bytes((self.scu_role, self.scp_role)))

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        """From the sub-item's body."""
        where = "SCP/SCU role selection sub-item"
        uid, start = take_counted(body, 0, where)
        used_up(body, start + 2, where)
        return cls(decode_name(uid), bool(body[start]), bool(body[start + 1]))


@dataclass(frozen=True, slots=True)
class SOPClassExtendedNegotiation:
    """Service class application information for one SOP class (PS3.7 D.3.3.5, sub-item 56H)."""

    ITEM_TYPE: ClassVar = 0x56

    sop_class_uid: str
    information: bytes

    def encode(self) -> bytes:
        """The whole sub-item."""
        return item(self.ITEM_TYPE, counted(encode_name(self.sop_class_uid)), self.information)

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        """From the sub-item's body."""
        uid, start = take_counted(body, 0, "SOP class extended negotiation sub-item")
        return cls(decode_name(uid), bytes(body[start:]))


@dataclass(frozen=True, slots=True)
class SOPClassCommonExtendedNegotiation:
    """The service class of a SOP class and its related general classes (PS3.7 D.3.3.6, sub-item 57H)."""

    ITEM_TYPE: ClassVar = 0x57

    sop_class_uid: str
    service_class_uid: str
    related_general_sop_classes: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """The whole sub-item. Its second byte, reserved elsewhere, is the version 0 (PS3.7 table D.3-12)."""
        related = b"".join(counted(encode_name(uid)) for uid in self.related_general_sop_classes)
        return item(
            self.ITEM_TYPE,
            counted(encode_name(self.sop_class_uid)),
            counted(encode_name(self.service_class_uid)),
            counted(related),
        )

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        """From the sub-item's body. Bytes after the related classes belong to later versions: skipped."""
        where = "SOP class common extended negotiation sub-item"
        sop_class, start = take_counted(body, 0, where)
        service_class, start = take_counted(body, start, where)
        related, _ = take_counted(body, start, where)
        uids, start = [], 0
        while start < len(related):
            uid, start = take_counted(related, start, where)
            uids.append(decode_name(uid))
        return cls(decode_name(sop_class), decode_name(service_class), tuple(uids))


@dataclass(frozen=True, slots=True)
class UserIdentityRQ:
    """Who the requestor says it is (PS3.7 D.3.3.7.1, sub-item 58H).

    ``identity_type``: 1 username, 2 username and passcode, 3 Kerberos service ticket, 4 SAML assertion,
    5 JSON Web Token. The fields hold secrets, so none of them shows in ``repr``.
    """

    ITEM_TYPE: ClassVar = 0x58

    identity_type: int
    positive_response_requested: bool
    primary: bytes = field(repr=False)
    secondary: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        """The whole sub-item."""
        kind = bytes((self.identity_type, self.positive_response_requested))
        return item(self.ITEM_TYPE, kind, counted(self.primary), counted(self.secondary))

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        """From the sub-item's body."""
        where = "user identity sub-item"
        if len(body) < 2:
            raise invalid(f"the {where} has {len(body)} bytes")
        primary, start = take_counted(body, 2, where)
        secondary, start = take_counted(body, start, where)
        used_up(body, start, where)
        return cls(body[0], bool(body[1]), bytes(primary), bytes(secondary))


@dataclass(frozen=True, slots=True)
class UserIdentityAC:
    """The positive response to a user identity (PS3.7 D.3.3.7.2, sub-item 59H)."""

    ITEM_TYPE: ClassVar = 0x59

    server_response: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        """The whole sub-item."""
        return item(self.ITEM_TYPE, counted(self.server_response))

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        """From the sub-item's body."""
        where = "user identity response sub-item"
        response, start = take_counted(body, 0, where)
        used_up(body, start, where)
        return cls(bytes(response))


@dataclass(frozen=True, slots=True)
class UserInformation:
    """The user information item, 50H (PS3.8 9.3.2.3).

    A field is None or empty where its sub-item is absent. ``identities`` and ``roles`` keep every sub-item that
    came, since what a second one means is for negotiation to say.
    """

    ITEM_TYPE: ClassVar = 0x50

    maximum_length: int | None = None
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    window: AsynchronousOperationsWindow | None = None
    roles: tuple[RoleSelection, ...] = ()
    extended: tuple[SOPClassExtendedNegotiation, ...] = ()
    common_extended: tuple[SOPClassCommonExtendedNegotiation, ...] = ()
    identities: tuple[UserIdentityRQ, ...] = ()
    identity_response: UserIdentityAC | None = None

    @property
    def fits(self) -> bool:
        """Whether the item has room for all of it: 65,535 bytes."""
        return sum(map(len, self._parts())) <= 0xFFFF

    def encode(self) -> bytes:
        """The whole item, its sub-items in increasing order of their type (PS3.8 9.3.1)."""
        return item(self.ITEM_TYPE, *self._parts())

    def _parts(self) -> list[bytes]:
        parts: list[bytes] = []
        if self.maximum_length is not None:
            parts.append(item(0x51, _MAXIMUM_LENGTH.pack(self.maximum_length)))
        if self.implementation_class_uid:
            parts.append(item(0x52, encode_name(self.implementation_class_uid)))
        if self.window:
            parts.append(self.window.encode())
        parts.extend(role.encode() for role in self.roles)
        if self.implementation_version_name:
            parts.append(item(0x55, encode_name(self.implementation_version_name)))
        for several in (self.extended, self.common_extended, self.identities):
            parts.extend(one.encode() for one in several)
        if self.identity_response:
            parts.append(self.identity_response.encode())
        return parts

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        """From the item's body; sub-items of unknown type are skipped (PS3.8 annex D.2)."""
        fields: dict[str, Any] = {}
        several: dict[str, list[Any]] = {name: [] for name in _SEVERAL.values()}
        for item_type, value in items(body, "user information item"):
            if item_type in _SEVERAL:
                several[_SEVERAL[item_type]].append(_DECODERS[item_type](value))
            elif item_type in _SINGLE:
                fields[_SINGLE[item_type]] = _DECODERS[item_type](value)
        fields.update((name, tuple(values)) for name, values in several.items())
        return cls(**fields)


def _decode_maximum_length(body: memoryview) -> int:
    if len(body) != _MAXIMUM_LENGTH.size:
        raise invalid(f"the maximum length sub-item has {len(body)} bytes, not 4")
    return int.from_bytes(body)


_SINGLE = {
    0x51: "maximum_length",
    0x52: "implementation_class_uid",
    0x53: "window",
    0x55: "implementation_version_name",
    0x59: "identity_response",
}
_SEVERAL = {0x54: "roles", 0x56: "extended", 0x57: "common_extended", 0x58: "identities"}
_DECODERS: dict[int, Callable[[memoryview], object]] = {
    0x51: _decode_maximum_length,
    0x52: decode_name,
    0x53: AsynchronousOperationsWindow.decode,
    0x54: RoleSelection.decode,
    0x55: decode_name,
    0x56: SOPClassExtendedNegotiation.decode,
    0x57: SOPClassCommonExtendedNegotiation.decode,
    0x58: UserIdentityRQ.decode,
    0x59: UserIdentityAC.decode,
}
