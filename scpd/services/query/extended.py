"""SOP class extended negotiation of queries (PS3.4 C.5.1.1): one byte for each option, 1 where it is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scpd.services.query.models import BY_FIND

if TYPE_CHECKING:
    from collections.abc import Mapping


class Options(NamedTuple):
    """What was agreed on, in the order of tables C.5-1 and C.5-2."""

    relational: bool = False
    combined_date_time: bool = False
    fuzzy_names: bool = False
    timezone: bool = False
    multi_frame_conversion: bool = False
    empty_values: bool = False
    multiple_values: bool = False

    def encode(self, length: int) -> bytes:
        """The first ``length`` bytes of the service class application information."""
        return bytes(self)[:length]


def decode(information: bytes) -> Options:
    """The options of service class application information; what is missing or no 1 is off."""
    return Options(*(byte == 1 for byte in information[: len(Options._fields)]))


def answer(proposed: Mapping[str, bytes], *, fuzzy_names: bool) -> dict[str, bytes]:
    """What is answered for the query classes among ``proposed``, by SOP class UID.

    As many bytes as were proposed, at most those of the table; Enhanced Multi-Frame Image Conversion is never on.
    """
    supported = Options(
        relational=True,
        combined_date_time=True,
        fuzzy_names=fuzzy_names,
        timezone=True,
        empty_values=True,
        multiple_values=True,
    )
    return {
        uid: Options(*(asked and has for asked, has in zip(decode(information), supported, strict=True))).encode(
            len(information)
        )
        for uid, information in proposed.items()
        if uid in BY_FIND and information
    }
