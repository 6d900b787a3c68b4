"""One instance after the other over one association: as it is held where the peer takes that, else transcoded.

While the peer works on one instance, the next is opened and read; that is most of what is gained over sending them in
turn.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from scpd.client.ahead import Ahead
from scpd.client.instance import converted
from scpd.client.transcoding import NotTranscoded
from scpd.dimse.command import CStoreRQ
from scpd.dimse.status import SUCCESS, meaning
from scpd.errors import UnreadableDataSet
from scpd.services.retrieve.work import Outcome
from scpd.sop_class import UNCOMPRESSED, uid_keyword

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from scpd.client.ahead import Opened
    from scpd.dimse.command import Response
    from scpd.index.query import Held
    from scpd.negotiation.offer import AcceptedContext
    from scpd.part10 import FileHead
    from scpd.services.retrieve.work import Work
    from scpd.services.service import Asking
    from scpd.transport.conversation import Invocation
    from scpd.transport.exchange import Piece

IMPLICIT, EXPLICIT = map(str, UNCOMPRESSED[:2])
# What an instance is transcoded to, the first that the peer takes: explicit says most about a data set.
PLAIN = (EXPLICIT, IMPLICIT)


class NotSent(Exception):
    """An instance that does not get as far as a C-STORE request; says why, without anything of its data set."""


class Over(NamedTuple):
    """The association that instances go over; ``within`` is the wait for each response, in seconds."""

    ask: Asking
    contexts: Iterable[AcceptedContext]
    within: float


class _Ready(NamedTuple):
    """An instance that is opened, and how it goes out; ``why`` it does not."""

    held: Held
    opened: Opened | None = None
    context_id: int = 0
    request: CStoreRQ = CStoreRQ()
    data: Iterable[Piece] = ()
    transcoded: bool = False
    why: str = ""

    def close(self) -> None:
        if self.opened:
            self.opened.close()


class Carrier:
    """Carries instances over one association; ``template`` is the C-STORE request but for what is particular to one.

    ``in_flight`` is the instance whose request was begun and has no response yet.
    """

    def __init__(self, over: Over, template: CStoreRQ) -> None:
        self.in_flight: Held | None = None
        self._over = over
        self._template = template
        self._contexts = {
            (one.abstract_syntax, one.transfer_syntax): one.context_id for one in over.contexts if one.as_scu
        }
        self._ahead = Ahead()
        self._message_id = 0

    def carry(self, work: Work, batch: int = 0) -> Generator[Outcome, None, None]:
        """Each sub-operation when it has ended; closed in between, it leaves what has not begun.

        Raises what ended the association.
        """
        following = self._next(work, batch)
        try:
            while following:
                current, following = following, None
                try:
                    invocation = self._begin(current)
                    following = self._next(work, batch)  # while the peer works
                    outcome = self._end(current, invocation)
                finally:
                    current.close()
                yield outcome
        finally:
            if following:
                following.close()
                work.put_back(batch, following.held)

    def _begin(self, ready: _Ready) -> Invocation | None:
        if ready.why:
            return None
        self.in_flight = ready.held
        return self._over.ask(ready.context_id, ready.request, ready.data, within=self._over.within)

    def _request(self, head: FileHead) -> CStoreRQ:
        self._message_id = self._message_id % 0xFFFF + 1
        return replace(
            self._template,
            message_id=self._message_id,
            affected_sop_class_uid=head.sop_class_uid,
            affected_sop_instance_uid=head.sop_instance_uid,
        )

    def _end(self, ready: _Ready, invocation: Invocation | None) -> Outcome:
        if invocation is None:
            return Outcome(ready.held.sop_instance_uid, None, ready.why)
        response = invocation.final().response
        self.in_flight = None
        return Outcome(ready.held.sop_instance_uid, response.status, _said(response), ready.transcoded)

    def _next(self, work: Work, batch: int) -> _Ready | None:
        held = work.take(batch)
        if held is None:
            return None
        opened: Opened | None = None
        try:
            opened = self._open(held)
            return self._ready(held, opened)
        except NotSent as error:
            if opened:
                opened.close()
            return _Ready(held, why=str(error))

    def _open(self, held: Held) -> Opened:
        try:
            opened = self._ahead.open(held.path)
        except (OSError, ValueError) as error:
            raise NotSent(f"its file: {getattr(error, 'strerror', None) or 'it cannot be opened'}") from error
        except UnreadableDataSet as error:
            raise NotSent("its file is no DICOM file any more") from error
        if opened.head.sop_instance_uid == held.sop_instance_uid and opened.size >= held.size:
            return opened
        opened.close()
        is_other = opened.head.sop_instance_uid != held.sop_instance_uid
        raise NotSent("its file holds another instance" if is_other else "its file is shorter than it was")

    def _ready(self, held: Held, opened: Opened) -> _Ready:
        sop_class, syntax = opened.head.sop_class_uid, opened.head.transfer_syntax
        own = self._contexts.get((sop_class, syntax))
        if own:
            return _Ready(held, opened, own, self._request(opened.head), opened.pieces())
        for plain in PLAIN:
            context_id = self._contexts.get((sop_class, plain))
            if context_id:
                data = _transcoded(opened, plain)
                return _Ready(held, opened, context_id, self._request(opened.head), data, transcoded=True)
        raise NotSent(f"no context accepted for {uid_keyword(sop_class)} {uid_keyword(syntax)}")


def _transcoded(opened: Opened, syntax: str) -> list[Piece]:
    try:
        return list(converted(opened.whole(), syntax))
    except NotTranscoded as error:
        raise NotSent(str(error)) from error
    except Exception as error:  # what is held is as hostile as its sender was, and pydicom may raise anything
        was, wanted = uid_keyword(opened.head.transfer_syntax), uid_keyword(syntax)
        raise NotSent(f"it cannot be transcoded from {was} to {wanted}") from error


def _said(response: Response) -> str:
    if response.status == SUCCESS:
        return ""
    return f"C-STORE was answered {response.status:04X} {meaning(response.status, 'C-STORE')}"
