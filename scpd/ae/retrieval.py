"""C-GET and C-MOVE by a handler: its instances as C-STORE sub-operations, counted (PS3.4 C.4.2, C.4.3).

A handler yields the destination (C-MOVE alone), the number of instances, then (status, instance) pairs. The two
services differ in the association that the instances go over, and in nothing else.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydicom import dcmread
from pydicom.dataset import Dataset

from scpd.ae import data, replies
from scpd.ae.statuses import (
    DESTINATION_UNKNOWN,
    INVALID_DESTINATION,
    NO_COUNT,
    NO_DESTINATION,
    TOO_MANY,
    BadStatus,
    parse,
)
from scpd.client.instance import look
from scpd.dimse.command import RESPONSES, CMoveRQ
from scpd.dimse.status import Category, category
from scpd.errors import UnreadableDataSet
from scpd.services import suboperations
from scpd.services.service import Reply
from scpd.sop_class import SOP_CLASSES
from scpd.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.ae.association import Association
    from scpd.ae.running import Given, Running
    from scpd.dimse.command import Response

_WITHOUT_BULK_DATA = SOP_CLASSES["CompositeInstanceRetrieveWithoutBulkDataGet"]


class _Refused(Exception):
    """The operation cannot begin: the reply says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.why)
        self.reply = reply


def retrieve(running: Running) -> Iterator[Reply]:
    """The replies to a C-GET or C-MOVE: pending ones after each instance, then the final one."""
    given = running.iterate()
    try:
        destination = _destination(running, given) if isinstance(running.request, CMoveRQ) else None
        total = _total(running, given)
        if not total:
            yield Reply(suboperations.Tally(running.request, 0).final())
            return
        with _Way(running, destination) as way:
            yield from _Retrieval(running, way, total).replies(given)
    except _Refused as refused:
        yield refused.reply
    finally:
        given.close()  # type: ignore[attr-defined]  # a generator


def _first(running: Running, given: Iterator[Given], missing: int, what: str) -> Any:
    """The next thing that the handler yields before its instances."""
    one = next(given, None)
    if one is None:
        raise _Refused(replies.reply(running.request, missing, f"the handler yielded no {what}"))
    try:
        return one()
    except Exception as error:
        raise _Refused(running.failed(error)) from error


def _destination(running: Running, given: Iterator[Given]) -> tuple[str, int, dict[str, Any]]:
    yielded = _first(running, given, NO_DESTINATION, "destination")
    request = cast("CMoveRQ", running.request)
    if isinstance(yielded, (tuple, list)) and len(yielded) in (2, 3):
        if None in yielded[:2]:
            raise _Refused(replies.reply(request, DESTINATION_UNKNOWN, "the move destination is unknown"))
        host, port, keywords = (*yielded, {})[:3]
        if isinstance(host, str) and isinstance(port, int) and isinstance(keywords or {}, dict):
            return host, port, {"ae_title": request.move_destination, **(keywords or {})}
    raise _Refused(replies.reply(request, INVALID_DESTINATION, "the handler yielded no valid destination"))


def _total(running: Running, given: Iterator[Given]) -> int:
    kind = type(running.request)
    yielded = _first(running, given, NO_COUNT[kind], "number of sub-operations")
    try:
        total = int(yielded)
    except (TypeError, ValueError):
        raise _Refused(replies.reply(running.request, NO_COUNT[kind], "the handler yielded no number")) from None
    if total > suboperations.MOST:
        raise _Refused(replies.reply(running.request, TOO_MANY[kind], "more than 65535 sub-operations"))
    return max(total, 0)


class _Way:
    """The association that the instances go over: the one that asked, or a new one to the move destination."""

    def __init__(self, running: Running, destination: tuple[str, int, dict[str, Any]] | None) -> None:
        self._running = running
        self._destination = destination
        self._over: Association = running.assoc

    def __enter__(self) -> Association:
        if self._destination is None:
            return self._over
        host, port, keywords = self._destination
        request = self._running.request
        try:
            self._over = self._running.assoc.ae.associate(host, port, **keywords)
        except Exception as error:
            logger("handlers").error(
                "the move destination cannot be called", id=self._running.assoc.association_id, exc_info=error
            )
            raise _Refused(replies.reply(request, INVALID_DESTINATION, "the destination cannot be called")) from error
        if not self._over.is_established:
            logger("handlers").warning(
                "the move destination does not answer",
                id=self._running.assoc.association_id,
                why=str(self._over.error),
            )
            raise _Refused(replies.reply(request, DESTINATION_UNKNOWN, "the move destination does not answer"))
        return self._over

    def __exit__(self, *_: object) -> None:
        if self._over is not self._running.assoc:
            self._over.release()


class _Retrieval:
    def __init__(self, running: Running, way: Association, total: int) -> None:
        self._running = running
        self._way = way
        self._tally = suboperations.Tally(running.request, total)
        self._message_id = running.request.message_id
        self._without_bulk_data = running.operation.context.abstract_syntax == _WITHOUT_BULK_DATA

    def replies(self, given: Iterator[Given]) -> Iterator[Reply]:
        tally, running = self._tally, self._running
        for one in given:
            if not tally.remaining:
                logger("handlers").warning(
                    "the handler yielded more instances than it announced", id=running.assoc.association_id
                )
                break
            try:
                status, instance = replies.pair(one())
                code, _ = parse(status, RESPONSES[type(running.request)])
            except Exception as error:  # noqa: BLE001 the program's fault stays with this request
                reply = running.failed(error)
                yield self._final(tally.stopped(reply.response.status), reply.why)
                return
            kind = category(code)
            if kind is not Category.PENDING:
                yield self._ended(code, kind, instance)
                return
            if running.operation.is_cancelled():
                yield self._final(tally.cancelled())
                return
            self._store(instance)
            running.assoc.must_go_on()
            yield Reply(tally.pending())
        for _ in range(tally.remaining):  # announced, and never yielded
            tally.count(None, "")
        yield self._final(tally.final())

    def _ended(self, code: int, kind: Category, instance: object) -> Reply:
        """The handler ended it with a status of its own."""
        if kind is Category.SUCCESS:
            return self._final(self._tally.final())
        if kind is Category.CANCEL:
            return self._final(self._tally.cancelled(), listed=instance)
        return self._final(self._tally.stopped(code), replies.why(self._running.request, code), instance)

    def _final(self, response: Response, why: str = "", listed: object = None) -> Reply:
        """A final response, with the list of failed instances where it has one (PS3.4 C.4.2.1.5, C.4.3.1.4)."""
        if not response.has_data_set:
            return Reply(response, why)
        identifier = listed if isinstance(listed, Dataset) and "FailedSOPInstanceUIDList" in listed else Dataset()
        if "FailedSOPInstanceUIDList" not in identifier:
            identifier.FailedSOPInstanceUIDList = self._tally.failed_uids
        return Reply(response, why, data.piece(data.encode(identifier, self._running.transfer_syntax)))

    def _store(self, instance: object) -> None:
        """One sub-operation; whatever goes wrong counts as failed."""
        running, uid = self._running, ""
        self._message_id = self._message_id % 0xFFFF + 1
        try:
            if self._without_bulk_data:
                instance = data.without_bulk_data(_read(instance))
            if not isinstance(instance, (Dataset, str, os.PathLike)):
                raise BadStatus(0, f"the handler yielded {instance!r:.80} as an instance")  # noqa: TRY301 counted below
            uid = str(instance.get("SOPInstanceUID", "")) if isinstance(instance, Dataset) else ""
            originator: dict[str, Any] = {}
            if isinstance(running.request, CMoveRQ):
                originator["originator_aet"] = running.assoc.requestor.ae_title or None
                originator["originator_id"] = running.request.message_id
            status = self._way.send_c_store(instance, msg_id=self._message_id, **originator)
            self._tally.count(status.get("Status"), uid or _uid_of(instance))
        except Exception as error:  # noqa: BLE001 as above
            logger("handlers").warning("a sub-operation failed", id=running.assoc.association_id, why=str(error))
            self._tally.count(None, uid or _uid_of(instance))


def _uid_of(instance: object) -> str:
    """What a file that was not stored holds, as far as it can be read."""
    if not isinstance(instance, (str, os.PathLike)):
        return ""
    try:
        return look(Path(instance)).head.sop_instance_uid
    except (OSError, UnreadableDataSet):
        return ""


def _read(instance: object) -> Dataset:
    return instance if isinstance(instance, Dataset) else dcmread(cast("str", instance))
