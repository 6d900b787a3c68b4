"""The C-STORE sub-operations of a C-GET or C-MOVE, counted, and the answers they make (PS3.4 C.4.2, C.4.3)."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from scpd.dimse.command import respond
from scpd.dimse.status import CANCEL, COERCION_OF_DATA_ELEMENTS, PENDING, SUCCESS, Category, category

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scpd.dimse.command import Request, Response

MOST = 0xFFFF  # a count in a response has 16 bits
_UNABLE_TO_PERFORM = 0xA702
_SOME_FAILED = COERCION_OF_DATA_ELEMENTS  # B000H: one or more failures or warnings
_COMMENT = 64  # Error Comment (0000,0902) is LO (PS3.7 annex C)
_IMPLICIT, _BIG_ENDIAN, _DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
_LONGEST_UI = 0xFFFE


class Tally:
    """What became of ``total`` sub-operations so far. ``failed_uids`` are the instances that were not stored.

    There may be more of them than a response can tell: it says 65,535 then, and the list of those that failed is whole.
    """

    def __init__(self, request: Request, total: int) -> None:
        self.remaining = total
        self.completed = self.failed = self.warning = 0
        self.failed_uids: list[str] = []
        self._request = request

    def count(self, status: int | None, sop_instance_uid: str) -> None:
        """One sub-operation has ended with this C-STORE status, or without any."""
        kind = Category.FAILURE if status is None else category(status)
        if kind is Category.SUCCESS:
            self.completed += 1
        elif kind is Category.WARNING:
            self.warning += 1
        else:
            self.failed += 1
            if sop_instance_uid:
                self.failed_uids.append(sop_instance_uid)
        self.remaining = max(0, self.remaining - 1)

    def pending(self) -> Response:
        """The response between two sub-operations."""
        return respond(self._request, PENDING, remaining=min(self.remaining, MOST), **self._counts())

    def cancelled(self) -> Response:
        """The final response after a C-CANCEL, which alone tells what was left."""
        remaining = min(self.remaining, MOST)
        return respond(self._request, CANCEL, remaining=remaining, has_data_set=True, **self._counts())

    def final(self, comment: str = "") -> Response:
        """The final response: success, a warning where some failed, a failure where all did (table C.4-2).

        ``comment`` says why where it is no success.
        """
        if not (self.failed or self.warning):
            return respond(self._request, SUCCESS, **self._counts())
        none_stored = not (self.completed or self.warning)
        status = _UNABLE_TO_PERFORM if none_stored else _SOME_FAILED
        comment = comment.encode("ascii", "replace").decode()[:_COMMENT]
        return respond(self._request, status, has_data_set=True, error_comment=comment, **self._counts())

    def stopped(self, status: int) -> Response:
        """The final response where something else ended it; what was left counts as failed."""
        self.failed += self.remaining
        self.remaining = 0
        return respond(self._request, status, has_data_set=True, **self._counts())

    def _counts(self) -> dict[str, int]:
        counts = {"completed": self.completed, "failed": self.failed, "warning": self.warning}
        return {name: min(count, MOST) for name, count in counts.items()}


def failed_list(uids: Iterable[str], transfer_syntax: str) -> bytes:
    """The identifier of a final response: Failed SOP Instance UID List (0008,0058), the only element there is.

    A list that is too long for its length in an explicit encoding stands there as UN (PS3.5 6.2.2).
    """
    raw = "\\".join(uids).encode("ascii")
    raw += b"\0" * (len(raw) & 1)
    order = ">" if transfer_syntax == _BIG_ENDIAN else "<"
    tag = struct.pack(order + "HH", 0x0008, 0x0058)
    if transfer_syntax == _IMPLICIT:
        return tag + struct.pack("<I", len(raw)) + raw
    if len(raw) > _LONGEST_UI:
        element = tag + b"UN\0\0" + struct.pack(order + "I", len(raw)) + raw
    else:
        element = tag + b"UI" + struct.pack(order + "H", len(raw)) + raw
    return _deflated(element) if transfer_syntax == _DEFLATED else element


def _deflated(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = deflate.compress(data) + deflate.flush()
    return data + b"\0" * (len(data) & 1)
