"""C-FIND (PS3.4 C.4.1): an identifier in, a pending response for each match, and a final one that says how it ended."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from scpd.dimse import status
from scpd.dimse.command import CFindRQ, Request, respond
from scpd.errors import IndexUnavailable
from scpd.services.query import extended
from scpd.services.query.answers import Answers
from scpd.services.query.identifier import NotUnderstood, understand
from scpd.services.query.keys import LONGEST
from scpd.services.query.models import BY_FIND
from scpd.services.service import Reply
from scpd.transport.exchange import Piece

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from scpd.index.attributes import Attributes, Keeping
    from scpd.index.query import Query
    from scpd.services.query.identifier import Asked
    from scpd.services.service import Operation

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


class Find:
    """Answers queries of the three models, each in the contexts of its SOP class."""

    operations: frozenset[type[Request]] = frozenset((CFindRQ,))

    def __init__(self, index: Findable, rules: FindRules) -> None:
        self._index = index
        self._rules = rules

    def perform(self, operation: Operation) -> Iterator[Reply]:
        """Pending responses with an identifier each, then the final one without (table C.4-1)."""
        request = cast("CFindRQ", operation.request)
        try:
            asked = self._understand(operation)
            yield from self._answers(operation, request, asked)
        except NotUnderstood as error:
            yield _refused(request, error.status, str(error), error.offending)
        except IndexUnavailable as error:
            why = "the index cannot be asked now"
            yield Reply(respond(request, status.OUT_OF_RESOURCES, error_comment=why), f"{why}: {error}")

    def _understand(self, operation: Operation) -> Asked:
        data = bytearray()
        for views in operation.data():
            for view in views:
                data += view
            if len(data) > LONGEST:
                raise NotUnderstood(status.OUT_OF_RESOURCES, None, f"the identifier is longer than {LONGEST} bytes")
        context = operation.context
        model, options = BY_FIND[context.abstract_syntax], extended.decode(context.extended)
        return understand(bytes(data), context.transfer_syntax, model, self._index.keeping, options)

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


def _piece(identifier: bytes) -> Iterable[Piece]:
    return (Piece(memoryview(identifier), is_last=True),)


def _refused(request: CFindRQ, code: int, why: str, offending: tuple[int, ...] = ()) -> Reply:
    comment = why.encode("ascii", "replace").decode()[:_COMMENT]
    return Reply(respond(request, code, error_comment=comment, offending_element=offending), why)
