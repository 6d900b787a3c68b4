"""What a service is to the worker that calls it, and what an operation is to a service."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from scpd.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from scpd.dimse.command import Request, Response
    from scpd.negotiation.offer import AcceptedContext
    from scpd.transport.conversation import Invocation
    from scpd.transport.exchange import Piece


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as far as anybody knows: the titles are claims of the peer.

    ``association_id`` is the one of the log, where there is one.
    """

    address: str
    calling: str
    called: str
    association_id: str = ""


class Asking(Protocol):
    """Sends a request to the peer over the association of an operation, as :meth:`Conversation.ask` does.

    From any thread, also when the operation is over; raises :class:`~scpd.errors.ScpdError` once the association is.
    """

    def __call__(
        self, context_id: int, request: Request, data: Iterable[Piece] = (), *, within: float
    ) -> Invocation: ...


def nobody(*_: object, **__: object) -> Invocation:
    """The one of an operation that came over no association."""
    raise Interrupted("nobody can be asked: this is no association")


class Operation(NamedTuple):
    """One request of a peer.

    ``data`` reads the request's data set: the views of one filling of the receive buffer at a time, void once the
    next is asked for. What a service leaves unread is skipped. ``is_cancelled`` says whether a C-CANCEL came. ``ask``
    asks the peer something in turn, in one of the ``contexts`` of the association, by their IDs.
    """

    peer: Peer
    context: AcceptedContext
    request: Request
    data: Callable[[], Iterator[list[memoryview]]]
    is_cancelled: Callable[[], bool]
    ask: Asking = nobody
    contexts: Mapping[int, AcceptedContext] = MappingProxyType({})


class Reply(NamedTuple):
    """One response, with its data set where it has one; ``why`` is for the log where it is no success."""

    response: Response
    why: str = ""
    data: Iterable[Piece] = ()


class Service(Protocol):
    """A service class. ``operations`` are the requests it takes; others are answered 0211H for it."""

    operations: frozenset[type[Request]]

    def perform(self, operation: Operation) -> Iterable[Reply]:
        """The replies to one request, each made when it is asked for."""
