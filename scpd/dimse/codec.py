"""Command sets ↔ bytes (PS3.7 6.3.1, annex E).

Implicit VR Little Endian, nothing but group 0000, elements in increasing order: small and regular, so ``struct``
does it and no general data set object is made.
"""

from __future__ import annotations

import struct
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from scpd.dimse.command import (
    COMMANDS,
    NO_DATA_SET,
    RESPONSE_BIT,
    Command,
    Element,
    Kind,
    Request,
    Response,
    UnrecognizedRQ,
    UnrecognizedRSP,
)
from scpd.errors import InvalidCommand

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_HEADER = struct.Struct("<HHI")
_SHORT = struct.Struct("<HHIH")
_GROUP_LENGTH = struct.Struct("<HHII")
_COMMAND_FIELD = 0x0100
_MESSAGE_ID = 0x0110
_RESPONDED_TO = 0x0120
_DATA_SET_TYPE = 0x0800
_STATUS = 0x0900
_SOME_DATA_SET = 0x0001


def encode(command: Command) -> bytes:
    """A command set with its group length, elements in increasing order (PS3.7 6.3.1)."""
    body = b"".join(
        [encode_one(number, getattr(command, name)) for number, name, encode_one in _ENCODING[type(command)]]
    )
    return _GROUP_LENGTH.pack(0, 0, 4, len(body)) + body


def decode(data: bytes | memoryview) -> Command:
    """A command set from its bytes.

    Elements of group 0000 that the message does not have are skipped, retired ones among them. Raises
    :class:`InvalidCommand` for lengths that lie, an element that stands twice or belongs to another group, a value
    of the wrong size, or a missing Command Field, Message ID or Status.
    """
    elements = _split(bytes(data))
    command_field = _required(elements, _COMMAND_FIELD, "Command Field")
    kind = COMMANDS.get(command_field)
    if kind is None:
        return _unrecognized(elements, command_field)
    for number, name in _REQUIRED[kind]:
        if number not in elements:
            raise InvalidCommand(f"a {kind.NAME} command set without {name} (0000,{number:04X})")
    values: dict[str, Any] = {}
    layout = _DECODING[kind]
    for number, raw in elements.items():
        if number in layout:
            name, decode_one = layout[number]
            values[name] = decode_one(raw, number)
    return kind(**values)


def _read_layout(kind: type[Command]) -> tuple[tuple[int, str, Kind], ...]:
    layout = [(_COMMAND_FIELD, "command_field", Kind.US)]
    for one in fields(kind):
        element = one.metadata.get("element")
        if isinstance(element, Element):
            layout.append((element.number, one.name, element.kind))
    return tuple(sorted(layout))


def _split(data: bytes) -> dict[int, bytes]:
    elements: dict[int, bytes] = {}
    start, end = 0, len(data)
    while start < end:
        if start + 8 > end:
            raise InvalidCommand(f"{end - start} bytes after the last element of the command set")
        group, number, length = _HEADER.unpack_from(data, start)
        stop = start + 8 + length
        if group or number in elements:
            raise InvalidCommand(f"element ({group:04X},{number:04X}) has no place in the command set")
        if stop > end:
            raise InvalidCommand(f"element (0000,{number:04X}) claims {length} bytes, {end - start - 8} are left")
        elements[number] = data[start + 8 : stop]
        start = stop
    return elements


def _unrecognized(elements: Mapping[int, bytes], number: int) -> UnrecognizedRQ:
    if number & RESPONSE_BIT:
        raise InvalidCommand(f"a response to the unknown operation {number & ~RESPONSE_BIT:04X}H")
    return UnrecognizedRQ(
        message_id=_required(elements, _MESSAGE_ID, "Message ID"),
        has_data_set=_required(elements, _DATA_SET_TYPE, "Command Data Set Type") != NO_DATA_SET,
        number=number,
    )


def _required(elements: Mapping[int, bytes], number: int, name: str) -> int:
    if number not in elements:
        raise InvalidCommand(f"a command set without {name} (0000,{number:04X})")
    return _decode_us(elements[number], number)


def _decode_us(raw: bytes, number: int) -> int:
    if len(raw) != 2:
        raise InvalidCommand(f"element (0000,{number:04X}) has {len(raw)} bytes, not 2")
    return raw[0] | raw[1] << 8


def _decode_data_set_type(raw: bytes, number: int) -> bool:
    return _decode_us(raw, number) != NO_DATA_SET


def _decode_text(raw: bytes, _: int) -> str:
    return raw.decode("ascii", "backslashreplace").strip("\0 ")


def _decode_tags(raw: bytes, number: int) -> tuple[int, ...]:
    if len(raw) % 4:
        raise InvalidCommand(f"element (0000,{number:04X}) has {len(raw)} bytes, not a multiple of 4")
    return tuple(group << 16 | element for group, element in struct.iter_unpack("<HH", raw))


def _encode_us(number: int, value: int | None) -> bytes:
    return b"" if value is None else _SHORT.pack(0, number, 2, value)


def _encode_data_set_type(number: int, value: bool) -> bytes:
    return _SHORT.pack(0, number, 2, _SOME_DATA_SET if value else NO_DATA_SET)


def _encode_uid(number: int, value: str) -> bytes:
    if not value:
        return b""
    raw = value.encode("ascii")
    return _element(number, raw + b"\0" if len(raw) & 1 else raw)


def _encode_text(number: int, value: str) -> bytes:
    if not value:
        return b""
    raw = value.replace("\\", "/").encode("ascii", "replace")  # a backslash would part the value in two
    return _element(number, raw + b" " if len(raw) & 1 else raw)


def _encode_tags(number: int, value: tuple[int, ...]) -> bytes:
    if not value:
        return b""
    return _element(number, b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in value))


def _element(number: int, raw: bytes) -> bytes:
    return _HEADER.pack(0, number, len(raw)) + raw


_DECODERS = {
    Kind.US: _decode_us,
    Kind.UI: _decode_text,
    Kind.TEXT: _decode_text,
    Kind.AT: _decode_tags,
    Kind.DATA_SET_TYPE: _decode_data_set_type,
}
_ENCODERS: dict[Kind, Callable[[int, Any], bytes]] = {
    Kind.US: _encode_us,
    Kind.UI: _encode_uid,
    Kind.TEXT: _encode_text,
    Kind.AT: _encode_tags,
    Kind.DATA_SET_TYPE: _encode_data_set_type,
}

_LAYOUTS = {kind: _read_layout(kind) for kind in (*COMMANDS.values(), UnrecognizedRQ, UnrecognizedRSP)}
# Of each message, in the order of the wire: element number, field, how it is written.
_ENCODING = {
    kind: tuple((number, name, _ENCODERS[how]) for number, name, how in layout) for kind, layout in _LAYOUTS.items()
}
# Of each message, by element number: field, how it is read.
_DECODING = {
    kind: {number: (name, _DECODERS[how]) for number, name, how in layout if number != _COMMAND_FIELD}
    for kind, layout in _LAYOUTS.items()
}
# What a message cannot do without.
_REQUIRED = {
    kind: (
        (_MESSAGE_ID, "Message ID") if issubclass(kind, Request) else (_RESPONDED_TO, "Message ID Being Responded To"),
        *(((_STATUS, "Status"),) if issubclass(kind, Response) else ()),
    )
    for kind in COMMANDS.values()
}
