"""C-FIND (PS3.4 C.4.1): an identifier in, a pending response for each match, and a final one that says how it ended."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from scpd.dimse import status
from scpd.dimse.command import CFindRQ, Request, respond
from scpd.dimse.status import Category, category
from scpd.errors import IndexUnavailable
from scpd.services.query import extended
from scpd.services.query.answers import Answers
from scpd.services.query.identifier import NotUnderstood, understand
from scpd.services.query.keys import LONGEST
from scpd.services.query.models import BY_FIND
from scpd.services.service import Reply
from scpd.transport.exchange import Piece

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from scpd.index.attributes import Attributes, Keeping
    from scpd.index.query import Query
    from scpd.services.query.identifier import Asked
    from scpd.services.service import Operation, Peer

# Error Comment (0000,0902) is LO: 64 characters (PS3.7 annex C).
_COMMENT = 64


class Findable(Protocol):
    """What is asked: the index."""

    @property
    def keeping(self) -> Keeping: ...

    def find(self, query: Query) -> Generator[Attributes, None, None]:
        """The matches one by one. Raises :class:`~scpd.errors.IndexUnavailable`, at the start or on the way."""


@dataclass(frozen=True, slots=True)
class FindRules:
    """``retrieve_ae_title``: who has what is found. ``most_results``: how many matches are told, 0 for all of them."""

    retrieve_ae_title: str
    most_results: int = 0


class Queried(NamedTuple):
    """A query that was understood, and has come to its end; ``identifier`` are the bytes as they came.

    ``answers`` counts the matches that were told; ``status`` is the final one, None where the peer did not wait for it.
    """

    peer: Peer
    sop_class_uid: str
    transfer_syntax_uid: str
    identifier: bytes
    answers: int
    status: int | None


class Witness(Protocol):
    """Hears of each query that was understood, once it is over."""

    def queried(self, query: Queried, /) -> None: ...


class Find:
    """Answers queries of the three models, each in the contexts of its SOP class."""

    operations: frozenset[type[Request]] = frozenset((CFindRQ,))

    def __init__(self, index: Findable, rules: FindRules, witnesses: Sequence[Witness] = ()) -> None:
        self._index = index
        self._rules = rules
        self._witnesses = tuple(witnesses)

    def perform(self, operation: Operation) -> Iterator[Reply]:
        """Pending responses with an identifier each, then the final one without (table C.4-1)."""
        request, context = cast("CFindRQ", operation.request), operation.context
        try:
            identifier = _gathered(operation)
            model, options = BY_FIND[context.abstract_syntax], extended.decode(context.extended)
            asked = understand(identifier, context.transfer_syntax, model, self._index.keeping, options)
        except NotUnderstood as error:
            yield _refused(request, error.status, str(error), error.offending)
            return
        replies = self._replies(operation, request, asked)
        yield from self._witnessed(operation, identifier, replies) if self._witnesses else replies

    def _witnessed(
        self, operation: Operation, identifier: bytes, replies: Generator[Reply, None, None]
    ) -> Iterator[Reply]:
        context, answers, final = operation.context, 0, None
        try:
            with closing(replies):
                for reply in replies:
                    is_answer = category(reply.response.status) is Category.PENDING
                    answers += is_answer
                    final = None if is_answer else reply.response.status
                    yield reply
        finally:
            told = Queried(operation.peer, context.abstract_syntax, context.transfer_syntax, identifier, answers, final)
            for witness in self._witnesses:
                witness.queried(told)

    def _replies(self, operation: Operation, request: CFindRQ, asked: Asked) -> Generator[Reply, None, None]:
        try:
            yield from self._answers(operation, request, asked)
        except IndexUnavailable as error:
            why = "the index cannot be asked now"
            yield Reply(respond(request, status.OUT_OF_RESOURCES, error_comment=why), f"{why}: {error}")

    def _answers(self, operation: Operation, request: CFindRQ, asked: Asked) -> Iterator[Reply]:
        answers = Answers(asked, operation.context.transfer_syntax, self._rules.retrieve_ae_title)
        code = status.PENDING_KEYS_UNSUPPORTED if asked.ignored else status.PENDING
        pending = respond(request, code, has_data_set=True)
        most, count, is_cancelled = self._rules.most_results, 0, operation.is_cancelled
        with closing(self._index.find(asked.query)) as matches:
            for match in matches:
                if is_cancelled():
                    yield Reply(respond(request, status.CANCEL), "cancelled by the peer")
                    return
                count += 1
                if most and count > most:
                    yield _refused(
                        request, status.OUT_OF_RESOURCES, f"there are more than {most} matches: ask for less"
                    )
                    return
                yield Reply(pending, "", _piece(answers.encode(match)))
        if is_cancelled():
            yield Reply(respond(request, status.CANCEL), "cancelled by the peer")
            return
        yield Reply(respond(request, status.SUCCESS))


def _gathered(operation: Operation) -> bytes:
    data = bytearray()
    for views in operation.data():
        for view in views:
            data += view
        if len(data) > LONGEST:
            raise NotUnderstood(status.OUT_OF_RESOURCES, None, f"the identifier is longer than {LONGEST} bytes")
    return bytes(data)


def _piece(identifier: bytes) -> Iterable[Piece]:
    return (Piece(memoryview(identifier), is_last=True),)


def _refused(request: CFindRQ, code: int, why: str, offending: tuple[int, ...] = ()) -> Reply:
    comment = why.encode("ascii", "replace").decode()[:_COMMENT]
    return Reply(respond(request, code, error_comment=comment, offending_element=offending), why)
