"""What a program asks of the peer over an association (PS3.7 9.1, 10.1): one method for each operation.

An operation that the peer does not answer, or that ends with the association, gives an empty status; what the program
does wrong raises. Knows no socket and no thread: the association has them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from scpd.ae import arguments, data, store
from scpd.ae.statuses import to_dataset
from scpd.client.instance import new_buffer
from scpd.dimse.command import (
    CCancelRQ,
    CEchoRQ,
    CFindRQ,
    CGetRQ,
    CMoveRQ,
    CStoreRQ,
    NActionRQ,
    NCreateRQ,
    NDeleteRQ,
    NEventReportRQ,
    NGetRQ,
    NSetRQ,
)
from scpd.dimse.status import Category, category
from scpd.errors import Interrupted, PeerError
from scpd.sop_class import VERIFICATION
from scpd.telemetry.logs import logger

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from scpd.dimse.command import Command, Request
    from scpd.errors import ScpdError
    from scpd.negotiation.offer import AcceptedContext
    from scpd.transport.conversation import Conversation, Invocation
    from scpd.transport.exchange import Piece


class Asking:
    """The operations of an association, for the class that has one."""

    association_id: str
    dimse_timeout: float | None

    _buffer: memoryview | None = None

    def buffer(self) -> memoryview:
        """What files are sent through, one after the other."""
        if self._buffer is None:
            self._buffer = new_buffer()
        return self._buffer

    def must_be_established(self, what: str) -> Conversation:
        """The conversation, or :class:`RuntimeError` when there is no association any more."""
        raise NotImplementedError

    def usable(self, abstract_syntax: str, role: str) -> list[AcceptedContext]:
        """The accepted contexts in which this side has the role (any, where it is empty), or :class:`ValueError`."""
        raise NotImplementedError

    def unanswered(self, request: Command, error: ScpdError) -> None:
        """Hears of an operation that ended without a response, and with it the association."""
        raise NotImplementedError

    # -- DIMSE-C

    def send_c_echo(self, msg_id: int = 1) -> Dataset:
        """C-ECHO (PS3.7 9.1.5): the status of the response.

        Here and below: ``msg_id`` is the Message ID, 0 to 65535. The status is a data set with (0000,0900) Status and
        what optional elements came; it is empty when no response came, and the association is over then. Raises
        :class:`RuntimeError` when the association is not established, :class:`ValueError` when no presentation context
        was accepted for it.
        """
        conversation = self.must_be_established("C-ECHO")
        context = self._context(VERIFICATION[0], role="scu")
        request = CEchoRQ(message_id=arguments.number("msg_id", msg_id), affected_sop_class_uid=VERIFICATION[0])
        return self._ask(context, request, conversation=conversation)[0]

    def send_c_store(
        self,
        dataset: Dataset | str | os.PathLike[str],
        msg_id: int = 1,
        priority: int = 2,
        originator_aet: str | None = None,
        originator_id: int | None = None,
    ) -> Dataset:
        """C-STORE (PS3.7 9.1.1) of a data set, or of the DICOM file at a path: the status of the response.

        A file whose own transfer syntax was accepted is streamed, byte for byte and without decoding; otherwise, and
        for a data set, one that loses nothing is taken: among the little endian encodings without compression.
        ``priority`` is 0 medium, 1 high, 2 low. ``originator_aet`` and ``originator_id`` name the C-MOVE it belongs to.
        Raises also :class:`ValueError` for a data set that lacks a UID or cannot be encoded, :class:`OSError` for a
        file that cannot be read.
        """
        conversation = self.must_be_established("C-STORE")
        more: dict[str, Any] = {}
        if originator_aet is not None:
            more["move_originator_ae_title"] = arguments.ae_title("originator_aet", originator_aet)
        if originator_id is not None:
            more["move_originator_message_id"] = arguments.number("originator_id", originator_id)
        with store.opened(dataset, self.buffer) as instance:
            context, pieces = instance.over(self.usable(instance.sop_class_uid, "scu"))
            request = CStoreRQ(
                message_id=arguments.number("msg_id", msg_id),
                affected_sop_class_uid=instance.sop_class_uid,
                affected_sop_instance_uid=instance.sop_instance_uid,
                priority=arguments.priority(priority),
                has_data_set=True,
                **more,
            )
            return self._ask(context, request, pieces, conversation)[0]

    def send_c_find(
        self, dataset: Dataset, query_model: str, msg_id: int = 1, priority: int = 2
    ) -> Iterator[tuple[Dataset, Dataset | None]]:
        """C-FIND (PS3.7 9.1.2): (status, identifier) of each response as it comes, the final one without identifier.

        Whoever stops iterating has it cancelled.
        """
        return self._query(CFindRQ, dataset, query_model, msg_id, priority)

    def send_c_get(
        self, dataset: Dataset, query_model: str, msg_id: int = 1, priority: int = 2
    ) -> Iterator[tuple[Dataset, Dataset | None]]:
        """C-GET (PS3.7 9.1.3): (status, identifier) of each response; the counts of sub-operations are in the status.

        The instances come as C-STORE requests over this association, to the handler of ``evt.EVT_C_STORE``: propose the
        SCP role for their SOP classes (``build_role``). The identifier of a final response lists failed instances.
        """
        return self._query(CGetRQ, dataset, query_model, msg_id, priority)

    def send_c_move(
        self, dataset: Dataset, move_aet: str, query_model: str, msg_id: int = 1, priority: int = 2
    ) -> Iterator[tuple[Dataset, Dataset | None]]:
        """C-MOVE (PS3.7 9.1.4) to the AE title ``move_aet``: as :meth:`send_c_get`, but the instances go there."""
        return self._query(
            CMoveRQ, dataset, query_model, msg_id, priority, move_destination=arguments.ae_title("move_aet", move_aet)
        )

    def send_c_cancel(self, msg_id: int, context_id: int | None = None, query_model: str | None = None) -> None:
        """C-CANCEL for the C-FIND, C-GET or C-MOVE with this Message ID; from any thread. It has no response.

        Its presentation context is named by ID, or by the query model.
        """
        conversation = self.must_be_established("C-CANCEL")
        if query_model is not None:
            context_id = self._context(query_model, role="scu").context_id
        if context_id is None:
            raise ValueError("send_c_cancel needs the query_model of the request, or its context_id")
        request = CCancelRQ(message_id_being_responded_to=arguments.number("msg_id", msg_id))
        try:
            conversation.cancel(context_id, request.message_id_being_responded_to)
        except (PeerError, Interrupted) as error:
            self.unanswered(request, error)

    # -- DIMSE-N

    def send_n_event_report(
        self,
        dataset: Dataset | None,
        event_type: int,
        class_uid: str,
        instance_uid: str,
        msg_id: int = 1,
        meta_uid: str | None = None,
    ) -> tuple[Dataset, Dataset | None]:
        """N-EVENT-REPORT (PS3.7 10.1.1): the status and the Event Reply.

        Here and below: the second data set is None when the operation failed, empty when the peer sent none.
        ``meta_uid`` is the Meta SOP Class whose presentation context is used, where it is not that of ``class_uid``.
        """
        request = NEventReportRQ(
            message_id=arguments.number("msg_id", msg_id),
            affected_sop_class_uid=arguments.uid("class_uid", class_uid),
            affected_sop_instance_uid=arguments.uid("instance_uid", instance_uid),
            event_type_id=arguments.number("event_type", event_type),
        )
        # It goes from the SCP to the SCU, and many devices take it without role selection.
        return self._request(request, meta_uid or class_uid, dataset, role="")

    def send_n_get(
        self,
        identifier_list: Iterable[Any],
        class_uid: str,
        instance_uid: str,
        msg_id: int = 1,
        meta_uid: str | None = None,
    ) -> tuple[Dataset, Dataset | None]:
        """N-GET (PS3.7 10.1.2) of the elements with these tags, all when there are none: status and Attribute List."""
        request = NGetRQ(
            message_id=arguments.number("msg_id", msg_id),
            requested_sop_class_uid=arguments.uid("class_uid", class_uid),
            requested_sop_instance_uid=arguments.uid("instance_uid", instance_uid),
            attribute_identifier_list=tuple(int(Tag(tag)) for tag in identifier_list or ()),
        )
        return self._request(request, meta_uid or class_uid, None)

    def send_n_set(
        self, dataset: Dataset, class_uid: str, instance_uid: str, msg_id: int = 1, meta_uid: str | None = None
    ) -> tuple[Dataset, Dataset | None]:
        """N-SET (PS3.7 10.1.3) with a Modification List: status and Attribute List."""
        request = NSetRQ(
            message_id=arguments.number("msg_id", msg_id),
            requested_sop_class_uid=arguments.uid("class_uid", class_uid),
            requested_sop_instance_uid=arguments.uid("instance_uid", instance_uid),
        )
        return self._request(request, meta_uid or class_uid, arguments.data_set("dataset", dataset))

    def send_n_action(
        self,
        dataset: Dataset | None,
        action_type: int,
        class_uid: str,
        instance_uid: str,
        msg_id: int = 1,
        meta_uid: str | None = None,
    ) -> tuple[Dataset, Dataset | None]:
        """N-ACTION (PS3.7 10.1.4) with Action Information, or None: status and Action Reply."""
        request = NActionRQ(
            message_id=arguments.number("msg_id", msg_id),
            requested_sop_class_uid=arguments.uid("class_uid", class_uid),
            requested_sop_instance_uid=arguments.uid("instance_uid", instance_uid),
            action_type_id=arguments.number("action_type", action_type),
        )
        return self._request(request, meta_uid or class_uid, dataset)

    def send_n_create(
        self,
        dataset: Dataset | None,
        class_uid: str,
        instance_uid: str | None = None,
        msg_id: int = 1,
        meta_uid: str | None = None,
    ) -> tuple[Dataset, Dataset | None]:
        """N-CREATE (PS3.7 10.1.5): status and Attribute List.

        Without ``instance_uid`` the peer makes one: ``status.AffectedSOPInstanceUID``.
        """
        request = NCreateRQ(
            message_id=arguments.number("msg_id", msg_id),
            affected_sop_class_uid=arguments.uid("class_uid", class_uid),
            affected_sop_instance_uid=arguments.uid("instance_uid", instance_uid) if instance_uid else "",
        )
        return self._request(request, meta_uid or class_uid, dataset)

    def send_n_delete(self, class_uid: str, instance_uid: str, msg_id: int = 1, meta_uid: str | None = None) -> Dataset:
        """N-DELETE (PS3.7 10.1.6): the status."""
        request = NDeleteRQ(
            message_id=arguments.number("msg_id", msg_id),
            requested_sop_class_uid=arguments.uid("class_uid", class_uid),
            requested_sop_instance_uid=arguments.uid("instance_uid", instance_uid),
        )
        return self._request(request, meta_uid or class_uid, None)[0]

    def _context(self, abstract_syntax: str, role: str) -> AcceptedContext:
        return self.usable(arguments.uid("abstract syntax", abstract_syntax), role)[0]

    def _ask(
        self,
        context: AcceptedContext,
        request: Request,
        pieces: Iterable[Piece] = (),
        conversation: Conversation | None = None,
    ) -> tuple[Dataset, bytes]:
        conversation = conversation or self.must_be_established(request.NAME)
        try:
            invocation = conversation.ask(
                context.context_id, request, pieces, within=arguments.seconds(self.dimse_timeout)
            )
            answer = invocation.final()
        except (PeerError, Interrupted) as error:
            self.unanswered(request, error)
            return Dataset(), b""
        return to_dataset(answer.response), answer.data

    def _request(
        self, request: Request, abstract_syntax: str, dataset: Dataset | None, role: str = "scu"
    ) -> tuple[Dataset, Dataset | None]:
        self.must_be_established(request.NAME)
        context = self._context(abstract_syntax, role)
        pieces: Iterable[Piece] = ()
        if dataset is not None:
            encoded = data.encode(arguments.data_set("dataset", dataset), context.transfer_syntax)
            if encoded:
                pieces = data.piece(encoded)
                request = replace(request, has_data_set=True)
        status, reply = self._ask(context, request, pieces)
        if "Status" not in status or category(status.Status) not in (Category.SUCCESS, Category.WARNING):
            return status, None
        return status, self._decoded(reply, context, request)

    def _query(
        self, kind: type[Request], dataset: Dataset, query_model: str, msg_id: int, priority: int, **more: Any
    ) -> Responses:
        conversation = self.must_be_established(kind.NAME)
        context = self._context(query_model, "scu")
        encoded = data.encode(arguments.data_set("dataset", dataset), context.transfer_syntax)
        request = kind(
            message_id=arguments.number("msg_id", msg_id),
            affected_sop_class_uid=str(query_model),  # type: ignore[call-arg]  # all three kinds have it
            priority=arguments.priority(priority),
            has_data_set=True,
            **more,
        )
        try:
            invocation = conversation.ask(
                context.context_id, request, data.piece(encoded), within=arguments.seconds(self.dimse_timeout)
            )
        except (PeerError, Interrupted) as error:
            self.unanswered(request, error)
            return Responses(None, self.unanswered, lambda _: None)
        return Responses(invocation, self.unanswered, lambda reply: self._decoded(reply, context, request))

    def _decoded(self, encoded: bytes, context: AcceptedContext, request: Request) -> Dataset | None:
        try:
            return data.decode(encoded, context.transfer_syntax)
        except ValueError as error:
            _log_unreadable(self.association_id, request, error)
            return None


class Responses:
    """The responses to a C-FIND, C-GET or C-MOVE: iterate for (status, identifier). Closed, it is cancelled."""

    def __init__(
        self,
        invocation: Invocation | None,
        unanswered: Callable[[Request, ScpdError], None],
        decode: Callable[[bytes], Dataset | None],
    ) -> None:
        self._invocation = invocation
        self._unanswered = unanswered
        self._decode = decode
        self._over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[Dataset, Dataset | None]:
        if self._over:
            raise StopIteration
        if self._invocation is None:
            self._over = True
            return Dataset(), None
        try:
            answer = next(self._invocation)
        except (PeerError, Interrupted) as error:
            self._over = True
            self._unanswered(self._invocation.request, error)
            return Dataset(), None
        return to_dataset(answer.response), self._decode(answer.data) if answer.data else None

    def close(self) -> None:
        """Cancel it unless it has ended, and read what is still to come."""
        self._over = True
        if self._invocation and not self._invocation.ended:
            try:
                self._invocation.close()
            except (PeerError, Interrupted) as error:
                self._unanswered(self._invocation.request, error)

    def __del__(self) -> None:
        self.close()


def _log_unreadable(association_id: str, request: Request, error: ValueError) -> None:
    logger("association").warning("unreadable response", id=association_id, request=request.NAME, why=str(error))
