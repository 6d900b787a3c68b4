"""The C-STORE sub-operations of a C-GET or C-MOVE, counted, and the answers they make (PS3.4 C.4.2, C.4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.dimse.command import respond
from scpd.dimse.status import CANCEL, COERCION_OF_DATA_ELEMENTS, PENDING, SUCCESS, Category, category

if TYPE_CHECKING:
    from scpd.dimse.command import Request, Response

MOST = 0xFFFF  # a count in a response has 16 bits
_UNABLE_TO_PERFORM = 0xA702
_SOME_FAILED = COERCION_OF_DATA_ELEMENTS  # B000H: one or more failures or warnings


class Tally:
    """What became of ``total`` sub-operations so far. ``failed_uids`` are the instances that were not stored."""

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
        return respond(self._request, PENDING, remaining=self.remaining, **self._counts())

    def cancelled(self) -> Response:
        """The final response after a C-CANCEL, which alone tells what was left."""
        return respond(self._request, CANCEL, remaining=self.remaining, has_data_set=True, **self._counts())

    def final(self) -> Response:
        """The final response: success, a warning where some failed, a failure where all did (table C.4-2)."""
        if not (self.failed or self.warning):
            return respond(self._request, SUCCESS, **self._counts())
        none_stored = not (self.completed or self.warning)
        status = _UNABLE_TO_PERFORM if none_stored else _SOME_FAILED
        return respond(self._request, status, has_data_set=True, **self._counts())

    def stopped(self, status: int) -> Response:
        """The final response where something else ended it; what was left counts as failed."""
        self.failed += self.remaining
        self.remaining = 0
        return respond(self._request, status, has_data_set=True, **self._counts())

    def _counts(self) -> dict[str, int]:
        return {"completed": self.completed, "failed": self.failed, "warning": self.warning}
