"""SOP class extended negotiation of retrievals (PS3.4 C.5.2.1, C.5.3.1): of its options, relational retrieval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.services.query.models import BY_GET, BY_MOVE

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST = 5  # bytes; the last is Enhanced Multi-Frame Image Conversion, which is never on


def is_relational(information: bytes) -> bool:
    """Whether relational retrieval was agreed on."""
    return information[:1] == b"\1"


def answer(proposed: Mapping[str, bytes]) -> dict[str, bytes]:
    """What is answered for the retrieval classes among ``proposed``, by SOP class UID: as many bytes as came."""
    return {
        uid: bytes((is_relational(information),)).ljust(min(len(information), _MOST), b"\0")
        for uid, information in proposed.items()
        if information and (uid in BY_MOVE or uid in BY_GET)
    }
