"""C-FIND, C-MOVE and C-GET as somebody asks for them: the models, and an operation with its answers (PS3.4 C.4).

What arrives in the sub-operations of a C-GET is not taken here: see :mod:`scpd.client.retrieving`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from scpd.client.identifiers import decode, encode
from scpd.client.requestor import Proposal
from scpd.dimse.command import CFindRQ, CGetRQ, CMoveRQ
from scpd.dimse.status import Category, category
from scpd.sop_class import SOP_CLASSES, UNCOMPRESSED, uid_name
from scpd.transport.exchange import Piece
from scpd.wire.user_info import SOPClassExtendedNegotiation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom.dataset import Dataset

    from scpd.client.requestor import Association
    from scpd.dimse.command import Response
    from scpd.negotiation.offer import AcceptedContext
    from scpd.transport.conversation import Answer, Invocation

Model: TypeAlias = Literal["patient", "study"]
Service: TypeAlias = Literal["find", "move", "get"]


def sop_class(model: Model, service: Service) -> str:
    """The SOP class of a service in Patient Root or Study Root (PS3.4 C.6)."""
    return SOP_CLASSES[f"{model.title()}RootQueryRetrieveInformationModel{service.title()}"]


def proposal(abstract_syntax: str) -> Proposal:
    """The context for a service of the query models: its identifiers need no more than the two usual encodings."""
    return Proposal(abstract_syntax, tuple(map(str, UNCOMPRESSED[:2])))


class Extensions(NamedTuple):
    """What is asked for beside the baseline (PS3.4 C.5.1.1, C.5.2.1, C.5.3.1).

    C-MOVE and C-GET know the first alone.
    """

    relational: bool = False
    combined_date_time: bool = False
    fuzzy: bool = False
    timezone: bool = False

    def item(self, abstract_syntax: str) -> tuple[SOPClassExtendedNegotiation, ...]:
        """The sub-item to propose: none where nothing is asked for."""
        last = max((number for number, flag in enumerate(self) if flag), default=-1)
        return (SOPClassExtendedNegotiation(abstract_syntax, bytes(self[: last + 1])),) if last >= 0 else ()

    def refused(self, association: Association, abstract_syntax: str) -> list[str]:
        """Which of them the peer did not agree to, by name."""
        items = association.agreement.answer.user_information.extended
        agreed = next((item.information for item in items if item.sop_class_uid == abstract_syntax), b"")
        return [
            name
            for number, (name, asked) in enumerate(self._asdict().items())
            if asked and not any(agreed[number : number + 1])
        ]


class Operation:
    """An operation under way: iterate for its pending answers, as they come; ``final`` has the last one then.

    Closed half-way, it is cancelled, and what is still to come is read and dropped (PS3.7 9.3.2.3).
    Raises :class:`~scpd.errors.PeerError` when the peer or the connection ends it.
    """

    def __init__(self, invocation: Invocation, transfer_syntax: str) -> None:
        self.final: Answer | None = None
        self._invocation = invocation
        self._transfer_syntax = transfer_syntax

    def __iter__(self) -> Iterator[Answer]:
        for answer in self._invocation:
            if category(answer.response.status) is Category.PENDING:
                yield answer
            else:
                self.final = answer

    def cancel(self) -> None:
        """Ask the peer to stop; answers come until its final one."""
        self._invocation.cancel()

    def close(self) -> None:
        """Cancel it unless it has ended; ``final`` has the last answer then."""
        if self.final is None:
            self.cancel()
            for _ in self:
                pass

    @property
    def result(self) -> Response:
        """The final response, once it is there."""
        if self.final is None:
            raise RuntimeError("the operation is under way: read its answers first")
        return self.final.response

    def identifier(self, answer: Answer) -> Dataset:
        """The identifier of an answer. Raises :class:`~scpd.errors.UnreadableDataSet`."""
        return decode(answer.data, self._transfer_syntax)


def find(association: Association, abstract_syntax: str, identifier: Dataset) -> Operation:
    """C-FIND (PS3.4 C.4.1) in a context that was accepted for ``abstract_syntax``, else :class:`LookupError`.

    Raises :class:`ValueError` for an identifier that cannot be encoded, here and below.
    """
    return _ask(association, CFindRQ, abstract_syntax, identifier)


def move(association: Association, abstract_syntax: str, identifier: Dataset, destination: str) -> Operation:
    """C-MOVE (PS3.4 C.4.2) to the AE title ``destination``; else as :func:`find`."""
    return _ask(association, CMoveRQ, abstract_syntax, identifier, move_destination=destination)


def get(association: Association, abstract_syntax: str, identifier: Dataset) -> Operation:
    """C-GET (PS3.4 C.4.3): the instances go to ``association.serve`` meanwhile; else as :func:`find`."""
    return _ask(association, CGetRQ, abstract_syntax, identifier)


def _ask(
    association: Association,
    kind: type[CFindRQ | CMoveRQ | CGetRQ],
    abstract_syntax: str,
    identifier: Dataset,
    **more: Any,
) -> Operation:
    context = _context(association, abstract_syntax)
    encoded = encode(identifier, context.transfer_syntax)
    request = kind(
        message_id=association.next_message_id(),
        affected_sop_class_uid=abstract_syntax,
        has_data_set=True,
        **more,
    )
    data = (Piece(memoryview(encoded), is_last=True),)
    conversation, within = association.conversation, association.caller.message
    return Operation(conversation.ask(context.context_id, request, data, within=within), context.transfer_syntax)


def _context(association: Association, abstract_syntax: str) -> AcceptedContext:
    for context in association.contexts.values():
        if context.abstract_syntax == abstract_syntax and context.as_scu:
            return context
    raise LookupError(f"the peer did not accept a presentation context for {uid_name(abstract_syntax)}")
