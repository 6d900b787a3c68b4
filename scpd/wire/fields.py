"""The three things every structure of PS3.8 9.3 is made of: items, names, and lengths that must come out even."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from scpd.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator

    Bytes = bytes | memoryview

# Reason/Diag. of an A-ABORT from the service-provider (PS3.8 table 9-26).
UNRECOGNIZED_PDU = 1
UNEXPECTED_PDU = 2
UNEXPECTED_PARAMETER = 5
INVALID_PARAMETER = 6

ITEM_HEADER = struct.Struct(">BxH")
_LENGTH = struct.Struct(">H")
_MAX_LENGTH = 0xFFFF


def invalid(what: str) -> ProtocolError:
    """The error for a field whose value the standard does not allow."""
    return ProtocolError(what, reason=INVALID_PARAMETER)


def item(item_type: int, *parts: bytes) -> bytes:
    """An item: type, reserved byte, 16-bit length, body (PS3.8 9.3.2.1 and on)."""
    body = b"".join(parts)
    if len(body) > _MAX_LENGTH:
        raise ValueError(f"item {item_type:02X}H holds at most 65535 bytes, not {len(body)}")
    return ITEM_HEADER.pack(item_type, len(body)) + body


def items(body: Bytes, where: str) -> Iterator[tuple[int, memoryview]]:
    """The (type, body) of each item that fills ``body``; ``where`` names the enclosing structure in errors."""
    view, start = memoryview(body), 0
    while start < len(view):
        if start + 4 > len(view):
            raise invalid(f"{len(view) - start} bytes after the last item of the {where}")
        item_type, length = ITEM_HEADER.unpack_from(view, start)
        start += 4
        if start + length > len(view):
            raise invalid(f"item {item_type:02X}H of the {where} claims {length} bytes, {len(view) - start} are left")
        yield item_type, view[start : start + length]
        start += length


def counted(value: bytes) -> bytes:
    """A 16-bit length and its bytes, as the sub-items of PS3.7 D.3.3 hold them."""
    if len(value) > _MAX_LENGTH:
        raise ValueError(f"a field of a sub-item holds at most 65535 bytes, not {len(value)}")
    return _LENGTH.pack(len(value)) + value


def take_counted(view: memoryview, start: int, where: str) -> tuple[memoryview, int]:
    """A field behind its 16-bit length at ``start``, and where the next one begins."""
    if start + 2 > len(view):
        raise invalid(f"the {where} ends before the length of a field")
    (length,) = _LENGTH.unpack_from(view, start)
    start += 2
    if start + length > len(view):
        raise invalid(f"a field of the {where} claims {length} bytes, {len(view) - start} are left")
    return view[start : start + length], start + length


def used_up(view: memoryview, start: int, where: str) -> None:
    """Refuse bytes that no field of ``where`` accounts for."""
    if start != len(view):
        raise invalid(f"{len(view) - start} bytes after the last field of the {where}")


def decode_name(value: Bytes) -> str:
    """A UID or version name: ASCII, padding removed, anything else made visible instead of lost."""
    return bytes(value).rstrip(b"\0 ").decode("ascii", "backslashreplace")


def encode_name(name: str) -> bytes:
    """A UID or version name as it goes on the wire: no padding (PS3.8 annex F)."""
    return name.encode("ascii")
