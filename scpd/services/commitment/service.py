"""N-ACTION of storage commitment (PS3.4 J.3.2): a promise that the peer will hear, durable before Success."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from scpd.dimse import status
from scpd.dimse.command import NActionRQ, Request, respond
from scpd.forward.queue import QueueError
from scpd.names import is_uid, quote
from scpd.services.commitment.module import (
    INVALID_ARGUMENT_VALUE,
    LONGEST,
    MISSING_ATTRIBUTE,
    NO_SUCH_ACTION_TYPE,
    NO_SUCH_SOP_INSTANCE,
    PUSH_MODEL,
    REQUEST_STORAGE_COMMITMENT,
    RESOURCE_LIMITATION,
    WELL_KNOWN_INSTANCE,
    RefusedError,
    decode,
)
from scpd.services.commitment.transactions import Way
from scpd.services.service import Reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.services.commitment.transactions import Transactions
    from scpd.services.service import Operation

# Error Comment (0000,0902) is LO: 64 characters (PS3.7 annex C).
_COMMENT = 64


class Commitment:
    """Takes requests for ``server``; what becomes of them is for :mod:`scpd.services.commitment.reports` to tell."""

    operations: frozenset[type[Request]] = frozenset((NActionRQ,))

    def __init__(self, transactions: Transactions, server: str) -> None:
        self._transactions = transactions
        self._server = server

    def perform(self, operation: Operation) -> Iterator[Reply]:
        """One N-ACTION response: Success once nothing but the peer's absence can keep it from hearing."""
        request = cast("NActionRQ", operation.request)
        try:
            number = self._begin(operation, request)
        except RefusedError as error:
            yield Reply(respond(request, error.status, error_comment=error.what[:_COMMENT]), error.what)
            return
        try:
            yield Reply(respond(request, status.SUCCESS, action_type_id=request.action_type_id))
        finally:
            # A peer that has gone before its answer may have it all the same: it will hear.
            self._transactions.answered(number, Way(operation.ask, operation.context))

    def _begin(self, operation: Operation, request: NActionRQ) -> int:
        check_command(request)
        requested = decode(_gathered(operation), operation.context.transfer_syntax)
        try:
            return self._transactions.begin(self._server, operation.peer, requested)
        except QueueError as error:
            raise RefusedError(status.PROCESSING_FAILURE, f"it cannot be promised: {error}") from error


def check_command(request: NActionRQ) -> None:
    """Judge an N-ACTION request by its command set alone. Raises :class:`RefusedError`."""
    if request.requested_sop_class_uid != PUSH_MODEL:
        what = f"Requested SOP Class UID {quote(request.requested_sop_class_uid)} is not of this context"
        raise RefusedError(status.NO_SUCH_SOP_CLASS, what)
    if request.requested_sop_instance_uid != WELL_KNOWN_INSTANCE:
        what = f"Requested SOP Instance UID is not {WELL_KNOWN_INSTANCE}"
        is_one = is_uid(request.requested_sop_instance_uid)
        raise RefusedError(NO_SUCH_SOP_INSTANCE if is_one else status.INVALID_SOP_INSTANCE, what)
    if request.action_type_id != REQUEST_STORAGE_COMMITMENT:
        raise RefusedError(NO_SUCH_ACTION_TYPE, f"Action Type ID (0000,1008) is {request.action_type_id}, not 1")
    if not request.has_data_set:
        raise RefusedError(MISSING_ATTRIBUTE, "Action Information is missing")


def _gathered(operation: Operation) -> bytearray:
    gathered = bytearray()
    for views in operation.data():
        for view in views:
            gathered += view
        if len(gathered) > LONGEST:
            raise RefusedError(RESOURCE_LIMITATION, f"Action Information is longer than {LONGEST} bytes")
    if not gathered:
        raise RefusedError(INVALID_ARGUMENT_VALUE, "Action Information is empty")
    return gathered
