"""The seven protocol data units of PS3.8 section 9.3, each whole."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar, Self

from scpd.names import AE_TITLE_LENGTH
from scpd.wire.contexts import PresentationContextAC, PresentationContextRQ
from scpd.wire.fields import decode_name, encode_name, invalid, item, items
from scpd.wire.user_info import UserInformation

HEADER = struct.Struct(">BxI")
VALUE_HEADER = struct.Struct(">IBB")
_FIXED = struct.Struct(">Hxx16s16s32s")
_FOUR_BYTES = struct.Struct(">xBBB")
_APPLICATION_CONTEXT_ITEM = 0x10
_ONCE = (_APPLICATION_CONTEXT_ITEM, UserInformation.ITEM_TYPE)

# The shortest P-DATA-TF that moves anything: a value header and two bytes, since fragments are even (annex E.1).
LEAST_MAXIMUM_LENGTH = VALUE_HEADER.size + 2
# The DICOM Application Context Name (PS3.7 A.2.1), the only one there is.
APPLICATION_CONTEXT_NAME = "1.2.840.10008.3.1.1.1"


class PDUType(IntEnum):
    """PDU-type, the first byte of every PDU."""

    A_ASSOCIATE_RQ = 1
    A_ASSOCIATE_AC = 2
    A_ASSOCIATE_RJ = 3
    P_DATA_TF = 4
    A_RELEASE_RQ = 5
    A_RELEASE_RP = 6
    A_ABORT = 7


def pdu(pdu_type: int, *parts: bytes) -> bytes:
    """A PDU: type, reserved byte, 32-bit length, body (PS3.8 9.3.1)."""
    body = b"".join(parts)
    return HEADER.pack(pdu_type, len(body)) + body


def encode_title(title: str) -> bytes:
    """An AE title as its 16 bytes on the wire, filled up with spaces. Raises :class:`ValueError` for a longer one."""
    raw = title.encode("ascii")
    if len(raw) > AE_TITLE_LENGTH:
        raise ValueError(f"an AE title has at most {AE_TITLE_LENGTH} characters, {title!r} has {len(raw)}")
    return raw.ljust(AE_TITLE_LENGTH)


def decode_title(field_bytes: bytes) -> str:
    """An AE title from its 16 bytes, insignificant spaces and stray padding removed, nothing lost in silence."""
    return field_bytes.rstrip(b"\0 ").lstrip(b" ").decode("ascii", "backslashreplace")


@dataclass(frozen=True, slots=True)
class _Associate:
    """What A-ASSOCIATE-RQ and -AC share: the titles as their 16 bytes each, and the items (PS3.8 9.3.2, 9.3.3).

    The acceptor returns ``called_field``, ``calling_field`` and ``reserved`` byte for byte.
    """

    called_field: bytes
    calling_field: bytes
    user_information: UserInformation
    application_context_name: str = APPLICATION_CONTEXT_NAME
    protocol_version: int = 1
    reserved: bytes = field(default=bytes(32), repr=False)
    presentation_contexts: tuple[PresentationContextRQ | PresentationContextAC, ...] = ()

    @property
    def called_ae_title(self) -> str:
        return decode_title(self.called_field)

    @property
    def calling_ae_title(self) -> str:
        return decode_title(self.calling_field)

    def _encode(self, pdu_type: int) -> bytes:
        fixed = (self.protocol_version, self.called_field, self.calling_field, self.reserved)
        return pdu(
            pdu_type,
            _FIXED.pack(*fixed),
            item(_APPLICATION_CONTEXT_ITEM, encode_name(self.application_context_name)),
            *(context.encode() for context in self.presentation_contexts),
            self.user_information.encode(),
        )

    @classmethod
    def _decode(cls, body: memoryview, where: str, kind: type[PresentationContextRQ | PresentationContextAC]) -> Self:
        if len(body) < _FIXED.size:
            raise invalid(f"the {where} has {len(body)} bytes, its fixed part alone has {_FIXED.size}")
        version, called, calling, reserved = _FIXED.unpack_from(body)
        once: dict[int, memoryview] = {}
        contexts: dict[int, PresentationContextRQ | PresentationContextAC] = {}
        for item_type, value in items(body[_FIXED.size :], where):
            if item_type == kind.ITEM_TYPE:
                context = kind.decode(value)
                if context.context_id in contexts:
                    raise invalid(f"presentation context ID {context.context_id} stands twice in the {where}")
                contexts[context.context_id] = context
            elif item_type in _ONCE:
                if item_type in once:
                    raise invalid(f"item {item_type:02X}H stands twice in the {where}")
                once[item_type] = value
        return cls(
            called,
            calling,
            UserInformation.decode(once.get(UserInformation.ITEM_TYPE, memoryview(b""))),
            decode_name(once.get(_APPLICATION_CONTEXT_ITEM, b"")),
            version,
            reserved,
            tuple(contexts.values()),
        )


@dataclass(frozen=True, slots=True)
class AssociateRQ(_Associate):
    """A-ASSOCIATE-RQ (PS3.8 9.3.2)."""

    TYPE: ClassVar = PDUType.A_ASSOCIATE_RQ

    presentation_contexts: tuple[PresentationContextRQ, ...] = ()

    def encode(self) -> bytes:
        """The whole PDU."""
        return self._encode(self.TYPE)

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        """From the PDU's body. An application context name that is missing comes out empty."""
        request = cls._decode(body, "A-ASSOCIATE-RQ", PresentationContextRQ)
        if not request.presentation_contexts:
            raise invalid("the A-ASSOCIATE-RQ proposes no presentation context")
        return request


@dataclass(frozen=True, slots=True)
class AssociateAC(_Associate):
    """A-ASSOCIATE-AC (PS3.8 9.3.3)."""

    TYPE: ClassVar = PDUType.A_ASSOCIATE_AC

    presentation_contexts: tuple[PresentationContextAC, ...] = ()

    def encode(self) -> bytes:
        """The whole PDU."""
        return self._encode(self.TYPE)

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        """From the PDU's body."""
        return cls._decode(body, "A-ASSOCIATE-AC", PresentationContextAC)


def _take_four(body: memoryview, where: str) -> tuple[int, int, int]:
    if len(body) != _FOUR_BYTES.size:
        raise invalid(f"the {where} has {len(body)} bytes, not 4")
    first, second, third = _FOUR_BYTES.unpack(body)
    return first, second, third


@dataclass(frozen=True, slots=True)
class AssociateRJ:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4, table 9-21)."""

    TYPE: ClassVar = PDUType.A_ASSOCIATE_RJ

    result: int
    source: int
    reason: int

    def encode(self) -> bytes:
        """The whole PDU."""
        return pdu(self.TYPE, _FOUR_BYTES.pack(self.result, self.source, self.reason))

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        """From the PDU's body."""
        return cls(*_take_four(body, "A-ASSOCIATE-RJ"))


@dataclass(frozen=True, slots=True)
class ReleaseRQ:
    """A-RELEASE-RQ (PS3.8 9.3.6)."""

    TYPE: ClassVar = PDUType.A_RELEASE_RQ

    def encode(self) -> bytes:
        """The whole PDU."""
        return pdu(self.TYPE, bytes(4))

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        """From the PDU's body, whose four bytes are reserved and not tested."""
        _take_four(body, "A-RELEASE-RQ")
        return cls()


@dataclass(frozen=True, slots=True)
class ReleaseRP:
    """A-RELEASE-RP (PS3.8 9.3.7)."""

    TYPE: ClassVar = PDUType.A_RELEASE_RP

    def encode(self) -> bytes:
        """The whole PDU."""
        return pdu(self.TYPE, bytes(4))

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        """From the PDU's body, whose four bytes are reserved and not tested."""
        _take_four(body, "A-RELEASE-RP")
        return cls()


@dataclass(frozen=True, slots=True)
class Abort:
    """A-ABORT (PS3.8 9.3.8, table 9-26): source 0 is the service-user, 2 the service-provider."""

    TYPE: ClassVar = PDUType.A_ABORT

    source: int = 0
    reason: int = 0

    def encode(self) -> bytes:
        """The whole PDU."""
        return pdu(self.TYPE, _FOUR_BYTES.pack(0, self.source, self.reason))

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        """From the PDU's body."""
        _, source, reason = _take_four(body, "A-ABORT")
        return cls(source, reason)


@dataclass(frozen=True, slots=True)
class PresentationDataValue:
    """One fragment of a message in a P-DATA-TF (PS3.8 9.3.5.1, annex E.2)."""

    context_id: int
    is_command: bool
    is_last: bool
    data: bytes

    def encode(self) -> bytes:
        """The whole item; bit 0 of the message control header says command, bit 1 last."""
        control = self.is_command | self.is_last << 1
        return VALUE_HEADER.pack(len(self.data) + 2, self.context_id, control) + self.data


@dataclass(frozen=True, slots=True)
class DataTF:
    """P-DATA-TF as one value (PS3.8 9.3.5).

    The receive path never builds one: :mod:`scpd.wire.framing` hands out the fragments as views.
    """

    TYPE: ClassVar = PDUType.P_DATA_TF

    values: tuple[PresentationDataValue, ...]

    def encode(self) -> bytes:
        """The whole PDU."""
        return pdu(self.TYPE, *(value.encode() for value in self.values))

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        """From the PDU's body."""
        values, start = [], 0
        while start < len(body):
            length, context_id, control = take_value_header(body, start)
            data = bytes(body[start + 6 : start + 4 + length])
            values.append(PresentationDataValue(context_id, bool(control & 1), bool(control & 2), data))
            start += 4 + length
        return cls(tuple(values))


def take_value_header(body: memoryview, start: int) -> tuple[int, int, int]:
    """Length, context ID and message control header of the value at ``start``, its length checked."""
    left = len(body) - start
    if left < VALUE_HEADER.size:
        raise invalid(f"{left} bytes after the last value of the P-DATA-TF")
    length, context_id, control = VALUE_HEADER.unpack_from(body, start)
    check_value_length(length, left)
    return length, context_id, control


def check_value_length(length: int, left: int) -> None:
    """Refuse a presentation data value that is shorter than its own header or leaves its PDU."""
    if length < 2 or length + 4 > left:
        raise invalid(f"a presentation data value claims {length} bytes, its PDU has {left - 4}")


ControlPDU = AssociateRQ | AssociateAC | AssociateRJ | ReleaseRQ | ReleaseRP | Abort
PDU = ControlPDU | DataTF

DECODERS: dict[int, type[ControlPDU]] = {
    kind.TYPE: kind for kind in (AssociateRQ, AssociateAC, AssociateRJ, ReleaseRQ, ReleaseRP, Abort)
}
