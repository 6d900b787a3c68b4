"""C-MOVE and C-GET (PS3.4 C.4.2, C.4.3): an identifier in; pending responses while it goes on, and a final one."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from scpd.dimse import status
from scpd.dimse.command import CGetRQ, CMoveRQ, CStoreRQ, Request, respond
from scpd.dimse.status import SUCCESS
from scpd.errors import IndexUnavailable
from scpd.names import quote
from scpd.services.query.identifier import NotUnderstood
from scpd.services.query.models import BY_GET, BY_MOVE
from scpd.services.retrieve.carrying import Carrier, Over
from scpd.services.retrieve.extended import is_relational
from scpd.services.retrieve.fleet import Fleet
from scpd.services.retrieve.identifier import understand
from scpd.services.retrieve.work import Work
from scpd.services.service import Reply
from scpd.services.suboperations import Tally, failed_list
from scpd.transport.exchange import Piece

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from scpd.dimse.command import Response
    from scpd.index.attributes import Level
    from scpd.index.query import Held
    from scpd.services.retrieve.destination import Destination
    from scpd.services.retrieve.identifier import Wanted
    from scpd.services.retrieve.work import Outcome
    from scpd.services.service import Operation, Peer

_NO_MATCHES_COUNTED, _DESTINATION_UNKNOWN = 0xA701, 0xA801
_LONGEST = 4 * 1024 * 1024  # of an identifier, in bytes: 65,000 UIDs
_COMMENT = 64  # Error Comment (0000,0902) is LO (PS3.7 annex C)
# How often a C-CANCEL is looked for while other threads send; how often at most progress is told; how soon the
# requestor hears something where there is none (s).
_LOOK, _OFTEN, _SELDOM = 0.05, 0.25, 5.0
_MOST_REASONS = 5


class Holdings(Protocol):
    """What is asked: the index."""

    def holdings(self, level: Level, keys: Mapping[int, Sequence[str]]) -> list[Held]:
        """Every instance below the entities with these unique keys. Raises :class:`IndexUnavailable`."""


class Retrieval(NamedTuple):
    """A retrieval that begins: ``destination`` is the AE title that a C-MOVE named, empty for a C-GET."""

    peer: Peer
    destination: str
    instances: Sequence[Held]


class Retrieved(NamedTuple):
    """What a retrieval came to, as far as is known; the counts are of instances.

    ``transcoded`` went out in another transfer syntax than they are held in. ``stored`` are the SOP Instance UIDs of
    those that the destination has stored, with a warning or without.
    """

    completed: int
    warning: int
    failed: int
    transcoded: int
    stored: Collection[str]


class Witness(Protocol):
    """Hears of each retrieval that found something."""

    def retrieving(self, retrieval: Retrieval, /) -> Callable[[Retrieved], None]:
        """It begins; what is returned is called once it is over, whatever became of it."""


@dataclass(frozen=True, slots=True)
class RetrieveRules:
    """``destinations`` of C-MOVE by AE title; ``answer`` is the wait for each response to C-STORE in C-GET (s)."""

    destinations: Mapping[str, Sequence[Destination]]
    answer: float = 60.0


class Retrieve:
    """Sends what is held, to whoever asks or to a destination, each in the contexts of its SOP class."""

    operations: frozenset[type[Request]] = frozenset((CMoveRQ, CGetRQ))

    def __init__(self, index: Holdings, rules: RetrieveRules, witnesses: Sequence[Witness] = ()) -> None:
        self._index = index
        self._rules = rules
        self._witnesses = tuple(witnesses)

    def perform(self, operation: Operation) -> Iterator[Reply]:
        """Pending responses now and then, and the final one (tables C.4-2, C.4-3)."""
        request = operation.request
        try:
            wanted = _understand(operation)
            destinations = self._destinations(request)
            instances = self._index.holdings(wanted.level, wanted.keys)
        except NotUnderstood as error:
            yield _refused(request, error.status, str(error), error.offending)
        except _UnknownDestinationError as error:
            yield _refused(request, _DESTINATION_UNKNOWN, str(error))
        except IndexUnavailable as error:
            yield _refused(request, _NO_MATCHES_COUNTED, "the index cannot be asked now", why=str(error))
        else:
            sending = _Sending(operation, instances)
            told = self._tell(sending)
            try:
                yield from sending.to(destinations) if destinations else sending.back(self._rules.answer)
            finally:
                for one in told:
                    one(sending.result())

    def _destinations(self, request: Request) -> Sequence[Destination]:
        """Where to; none for a C-GET."""
        if not isinstance(request, CMoveRQ):
            return ()
        found = self._rules.destinations.get(request.move_destination.strip(" "), ())
        if not found:
            raise _UnknownDestinationError(f"Move Destination {quote(request.move_destination, 16)} is no peer of this")
        return found

    def _tell(self, sending: _Sending) -> list[Callable[[Retrieved], None]]:
        begun = sending.begun()
        return [witness.retrieving(begun) for witness in self._witnesses] if begun.instances else []


class _UnknownDestinationError(Exception):
    pass


class _Sending:
    """One request, from what was found to the final response."""

    def __init__(self, operation: Operation, instances: Sequence[Held]) -> None:
        self._operation = operation
        self._instances = instances
        self._tally = Tally(operation.request, len(instances))
        self._transcoded = 0
        self._ended: list[str] = []
        self._reasons: Counter[str] = Counter()
        self._rhythm = _Rhythm()

    def back(self, within: float) -> Iterator[Reply]:
        """C-GET: over the association that asked, in the contexts in which this side may be SCU."""
        operation, work = self._operation, Work([self._instances])
        over = Over(operation.ask, operation.contexts.values(), within)
        with closing(Carrier(over, self._template()).carry(work)) as outcomes:
            for outcome in outcomes:
                work.done(outcome)
                self._count(outcome)
                if self._tally.remaining and operation.is_cancelled():
                    yield self._final(self._tally.cancelled())
                    return
                if self._rhythm.is_due(self._tally.remaining):
                    yield Reply(self._tally.pending())
        yield self._final(self._tally.final(self._comment()))

    def to(self, destinations: Sequence[Destination]) -> Iterator[Reply]:
        """C-MOVE: over new associations with a destination."""
        if not self._instances:
            yield Reply(self._tally.final())
            return
        operation = self._operation
        fleet = Fleet(destinations, self._instances, self._template())
        try:
            with closing(fleet):
                while not fleet.wait(_LOOK):
                    self._count(*fleet.work.outcomes())
                    if not fleet.work.stopped and operation.is_cancelled():
                        fleet.work.stop()
                    if self._rhythm.is_due(self._tally.remaining):
                        yield Reply(self._tally.pending())
                fleet.see_off()
        finally:  # also of one that the requestor did not wait for
            self._count(*fleet.work.outcomes())
        if self._tally.remaining:
            yield self._final(self._tally.cancelled())
        else:
            yield self._final(self._tally.final(self._comment()))

    def begun(self) -> Retrieval:
        request = self._operation.request
        destination = request.move_destination.strip(" ") if isinstance(request, CMoveRQ) else ""
        return Retrieval(self._operation.peer, destination, self._instances)

    def result(self) -> Retrieved:
        tally = self._tally
        stored = frozenset(self._ended).difference(tally.failed_uids)
        return Retrieved(tally.completed, tally.warning, tally.failed, self._transcoded, stored)

    def _template(self) -> CStoreRQ:
        """The C-STORE request of every sub-operation, but for what is particular to one."""
        request = self._operation.request
        template = CStoreRQ(priority=cast("CMoveRQ | CGetRQ", request).priority, has_data_set=True)
        if not isinstance(request, CMoveRQ):
            return template
        return CStoreRQ(
            priority=template.priority,
            has_data_set=True,
            move_originator_ae_title=self._operation.peer.calling,
            move_originator_message_id=request.message_id,
        )

    def _count(self, *outcomes: Outcome) -> None:
        for outcome in outcomes:
            self._tally.count(outcome.status, outcome.sop_instance_uid)
            self._ended.append(outcome.sop_instance_uid)
            self._transcoded += outcome.transcoded
            if outcome.why:
                self._reasons[outcome.why] += 1

    def _comment(self) -> str:
        return next((reason for reason, _ in self._reasons.most_common(1)), "")

    def _final(self, response: Response) -> Reply:
        if response.status == SUCCESS:
            return Reply(response)
        why = "; ".join(f"{count} times: {reason}" for reason, count in self._reasons.most_common(_MOST_REASONS))
        if response.status == status.CANCEL:
            why = "; ".join(filter(None, ("cancelled by the peer", why)))
        listed = failed_list(self._tally.failed_uids, self._operation.context.transfer_syntax)
        return Reply(response, why, (Piece(memoryview(listed), is_last=True),))


class _Rhythm:
    """When to tell of progress: not of each instance where many go in a moment, and now and then in any case."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._told = -1

    def is_due(self, remaining: int) -> bool:
        now = time.monotonic()
        if now - self._last < (_SELDOM if remaining == self._told else _OFTEN):
            return False
        self._last, self._told = now, remaining
        return remaining > 0


def _understand(operation: Operation) -> Wanted:
    context = operation.context
    is_move = isinstance(operation.request, CMoveRQ)
    model = (BY_MOVE if is_move else BY_GET).get(context.abstract_syntax)
    if model is None or not operation.request.has_data_set:
        what = "no model of this context" if model is None else "the identifier is missing"
        raise NotUnderstood(status.DATA_SET_DOES_NOT_MATCH, None, what)
    data = bytearray()
    for views in operation.data():
        for view in views:
            data += view
        if len(data) > _LONGEST:
            raise NotUnderstood(status.CANNOT_UNDERSTAND, None, f"the identifier is longer than {_LONGEST} bytes")
    return understand(bytes(data), context.transfer_syntax, model, relational=is_relational(context.extended))


def _refused(request: Request, code: int, what: str, offending: Iterable[int] = (), *, why: str = "") -> Reply:
    comment = what.encode("ascii", "replace").decode()[:_COMMENT]
    response = respond(request, code, error_comment=comment, offending_element=tuple(offending))
    return Reply(response, f"{what}: {why}" if why else what)
