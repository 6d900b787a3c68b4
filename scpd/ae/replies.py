"""What a handler gave back, as a reply; what it raised, as the failure status of its service. Knows no association."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset

from scpd.ae import data
from scpd.ae.statuses import CANNOT_ENCODE, HANDLER_RAISED, NOT_A_STATUS, BadStatus, parse
from scpd.dimse.command import (
    RESPONSES,
    CEchoRQ,
    CFindRQ,
    CGetRQ,
    CMoveRQ,
    CStoreRQ,
    NActionRQ,
    NCreateRQ,
    NDeleteRQ,
    NEventReportRQ,
    respond,
)
from scpd.dimse.status import OUT_OF_RESOURCES, PROCESSING_FAILURE, SUCCESS, Category, category, meaning
from scpd.errors import StoreError
from scpd.services.service import Reply

if TYPE_CHECKING:
    from scpd.ae.event import Event
    from scpd.dimse.command import Request

_COMPOSITE = (CEchoRQ, CStoreRQ, CFindRQ, CGetRQ, CMoveRQ)
_STATUS_ALONE = (CEchoRQ, CStoreRQ, NDeleteRQ)


class CannotEncode(ValueError):
    """The data set that a handler gave cannot be sent."""


def answer(request: Request, returned: object, transfer_syntax: str) -> Reply:
    """The reply that a handler of a service without sub-operations returned or yielded.

    A status alone, or a pair of status and data set, as the service has it. Raises :class:`BadStatus` and
    :class:`CannotEncode` for what makes no reply.
    """
    status, dataset = (returned, None) if isinstance(request, _STATUS_ALONE) else pair(returned)
    code, more = parse(status, RESPONSES[type(request)])
    kind = category(code)
    encoded = b""
    if isinstance(request, CFindRQ):
        if kind is Category.PENDING:
            encoded = _encode(dataset, transfer_syntax)
    elif dataset is not None and kind in (Category.SUCCESS, Category.WARNING):
        encoded = _named(request, dataset, more, transfer_syntax)
    if isinstance(request, NActionRQ):
        more.setdefault("action_type_id", request.action_type_id)
    if isinstance(request, NEventReportRQ):
        more.setdefault("event_type_id", request.event_type_id)
    if isinstance(request, NCreateRQ) and not request.affected_sop_instance_uid and kind is not Category.FAILURE:
        _check_created(more)
    response = respond(request, code, has_data_set=bool(encoded), **more)
    return Reply(response, why(request, code), data.piece(encoded) if encoded else ())


def failed(request: Request, error: Exception, event: Event | None = None) -> Reply:
    """The reply for a handler that raised ``error``, or gave what makes no reply."""
    if isinstance(error, StoreError):
        return reply(request, error.status, error.what)
    if isinstance(error, BadStatus):
        code = error.status if isinstance(request, _COMPOSITE) else PROCESSING_FAILURE
        return reply(request, code, "the handler returned no valid status")
    if isinstance(error, CannotEncode):
        code = CANNOT_ENCODE.get(type(request), PROCESSING_FAILURE)
        return reply(request, code, "the handler's data set cannot be encoded")
    if event is not None and error is event.write_error:
        return reply(request, OUT_OF_RESOURCES, "the instance cannot be written")
    return reply(request, HANDLER_RAISED[type(request)], f"the handler of {request.NAME} raised")


def reply(request: Request, code: int, comment: str) -> Reply:
    """A failure with a comment, which is for the peer as well: it names no cause within this program."""
    return Reply(respond(request, code, error_comment=comment), comment)


def why(request: Request, code: int) -> str:
    """For the log: what a handler answered where that is no plain success."""
    if category(code) in (Category.SUCCESS, Category.PENDING):
        return ""
    return f"the handler answered {meaning(code, request.NAME)} ({code:04X})"


def pair(returned: object) -> tuple[object, Any]:
    """Status and data set."""
    if not isinstance(returned, (tuple, list)) or len(returned) != 2:
        raise BadStatus(NOT_A_STATUS, f"a handler of this service gives (status, dataset), not {returned!r:.80}")
    return returned[0], returned[1]


def _encode(dataset: object, transfer_syntax: str) -> bytes:
    if not isinstance(dataset, Dataset):
        raise CannotEncode(f"{dataset!r:.80} is no data set")
    try:
        encoded = data.encode(dataset, transfer_syntax)
    except ValueError as error:
        raise CannotEncode(str(error)) from error
    return encoded


def _named(request: Request, dataset: object, more: dict[str, object], transfer_syntax: str) -> bytes:
    """The data set of a DIMSE-N response; the UID of what an N-CREATE made may stand in it, and goes to the command."""
    if isinstance(request, NCreateRQ) and isinstance(dataset, Dataset) and "AffectedSOPInstanceUID" in dataset:
        more.setdefault("affected_sop_instance_uid", str(dataset.AffectedSOPInstanceUID))
        dataset = data.shallow(dataset)
        del dataset.AffectedSOPInstanceUID
    return _encode(dataset, transfer_syntax)


def _check_created(more: dict[str, object]) -> None:
    if not more.get("affected_sop_instance_uid"):
        raise ValueError(
            "the N-CREATE request names no instance, so the handler has to: put AffectedSOPInstanceUID into the status "
            "or the Attribute List (PS3.7 10.1.5.1.4)"
        )


def success(request: Request) -> Reply:
    """Success, and nothing more to say."""
    return Reply(respond(request, SUCCESS))
