"""Presentation context items of A-ASSOCIATE-RQ and -AC (PS3.8 9.3.2.2 and 9.3.3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Self

from scpd.wire.fields import decode_name, encode_name, invalid, item, items

_ABSTRACT_SYNTAX = 0x30
_TRANSFER_SYNTAX = 0x40


class ContextResult(IntEnum):
    """Result/Reason of a presentation context in A-ASSOCIATE-AC (PS3.8 table 9-18)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


def _names(body: memoryview, where: str) -> dict[int, list[str]]:
    names: dict[int, list[str]] = {_ABSTRACT_SYNTAX: [], _TRANSFER_SYNTAX: []}
    for item_type, value in items(body, where):
        if item_type in names:
            names[item_type].append(decode_name(value))
    return names


@dataclass(frozen=True, slots=True)
class PresentationContextRQ:
    """A proposed presentation context: an odd ID of 1 to 255, what, and in which encodings (item 20H)."""

    ITEM_TYPE: ClassVar = 0x20

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]

    def encode(self) -> bytes:
        """The whole item."""
        return item(
            self.ITEM_TYPE,
            bytes((self.context_id, 0, 0, 0)),
            item(_ABSTRACT_SYNTAX, encode_name(self.abstract_syntax)),
            *(item(_TRANSFER_SYNTAX, encode_name(name)) for name in self.transfer_syntaxes),
        )

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        """From the item's body; names that are missing come out empty, for negotiation to refuse."""
        where = "presentation context item"
        if len(body) < 4:
            raise invalid(f"the {where} has {len(body)} bytes")
        if not body[0] & 1:
            raise invalid(f"the {where} has the even ID {body[0]}")
        names = _names(body[4:], where)
        if len(names[_ABSTRACT_SYNTAX]) > 1:
            raise invalid(f"the {where} {body[0]} has more than one abstract syntax")
        abstract = "".join(names[_ABSTRACT_SYNTAX])
        return cls(body[0], abstract, tuple(names[_TRANSFER_SYNTAX]))


@dataclass(frozen=True, slots=True)
class PresentationContextAC:
    """The answer to a proposed presentation context (item 21H).

    The transfer syntax has a meaning only with the result "acceptance" (PS3.8 9.3.3.2).
    """

    ITEM_TYPE: ClassVar = 0x21

    context_id: int
    result: int
    transfer_syntax: str

    def encode(self) -> bytes:
        """The whole item."""
        return item(
            self.ITEM_TYPE,
            bytes((self.context_id, 0, self.result, 0)),
            item(_TRANSFER_SYNTAX, encode_name(self.transfer_syntax)),
        )

    @classmethod
    def decode(cls, body: memoryview) -> Self:
        """From the item's body; a rejected context need not name a transfer syntax."""
        where = "presentation context item"
        if len(body) < 4:
            raise invalid(f"the {where} has {len(body)} bytes")
        if body[2] > max(ContextResult):
            raise invalid(f"the {where} {body[0]} has the unknown result {body[2]}")
        names = _names(body[4:], where)[_TRANSFER_SYNTAX]
        if body[2] == ContextResult.ACCEPTANCE and len(names) != 1:
            raise invalid(f"the accepted context {body[0]} has {len(names)} transfer syntaxes")
        return cls(body[0], body[2], names[0] if names else "")
