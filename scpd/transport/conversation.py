"""Both directions of one association (PS3.7 7.5, 8.2): the peer's requests are served, its responses go to who asked.

One thread at a time reads. Either it reads for ever (:meth:`Conversation.run`), and whoever asks something from another
thread waits for what it brings; or nobody does, and whoever asks reads until its answer is there. In both cases what
comes in between is served. This side has one operation under way at a time (PS3.7 D.3.3.3).
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Self

from scpd.dimse.command import RESPONSES, CCancelRQ, Request, Response
from scpd.dimse.status import Category, category
from scpd.errors import Expired, PeerError, Released, ScpdError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from scpd.transport.exchange import Message, MessageExchange, Piece

# A peer may ask something while it owes an answer; requests inside requests have to end somewhere.
_DEEPEST = 4
# How often whoever reads looks for what another thread waits for, while it waits itself (seconds).
_LOOK = 0.01


class Answer(NamedTuple):
    """A response, with its data set as bytes in the transfer syntax of the context; empty where it has none."""

    response: Response
    data: bytes


class Invocation:
    """An operation under way that this side asked for: iterate for its responses, the last one is the final one.

    Whoever stops half-way closes it: the peer gets a C-CANCEL, and the rest of its responses is read and dropped.
    Raises :class:`PeerError` when the peer or the connection ends it.
    """

    def __init__(self, conversation: Conversation, context_id: int, request: Request, within: float) -> None:
        self.request = request
        self.context_id = context_id
        self.within = within
        self.ended = False
        self.inbox: deque[Answer] = deque()
        self.arrived: queue.SimpleQueue[Answer | ScpdError] = queue.SimpleQueue()
        self._conversation = conversation

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Answer:
        if self.ended:
            raise StopIteration
        try:
            answer = self._conversation.await_answer(self)
        except BaseException:
            self._end()
            raise
        if category(answer.response.status) is not Category.PENDING:
            self._end()
        return answer

    def final(self) -> Answer:
        """The last response; those before it are passed over."""
        *_, last = self
        return last

    def cancel(self) -> None:
        """Ask the peer to stop (PS3.7 9.3.2.3); responses come until its final one."""
        if not self.ended:
            self._conversation.cancel(self.context_id, self.request.message_id)

    def close(self) -> None:
        """Be done with it, wherever it stands."""
        if not self.ended:
            self.cancel()
            for _ in self:
                pass

    def _end(self) -> None:
        self.ended = True
        self._conversation.answered(self)


class Conversation:
    """The messages of one association, in both directions.

    ``serve`` answers a request of the peer. ``longest_answer`` bounds the data set of a response, ``longest_refused``
    what is read of one that nobody wants, both in bytes.
    """

    def __init__(
        self,
        exchange: MessageExchange,
        serve: Callable[[Message], None],
        *,
        longest_refused: int,
        longest_answer: int = 256 * 1024 * 1024,
    ) -> None:
        self.exchange = exchange
        self._serve = serve
        self._longest_refused = longest_refused
        self._longest_answer = longest_answer
        self._reader: int | None = None
        self._depth = 0
        self._turn = threading.Lock()
        self._asking: int | None = None
        self._invocation: Invocation | None = None
        self._registering = threading.Lock()
        self._over: ScpdError | None = None

    @property
    def is_with_another(self) -> bool:
        """Whether another thread than this one asks for something now."""
        return self._asking not in (None, threading.get_ident())

    @contextmanager
    def reading(self, within: float) -> Iterator[None]:
        """Have the stream for oneself, where no thread reads for ever: after whoever asks has its answer.

        Raises :class:`Expired` when that takes longer than ``within`` seconds.
        """
        held = self._asking == threading.get_ident()
        if not held:
            if not self._turn.acquire(timeout=min(within, threading.TIMEOUT_MAX)):
                raise Expired("message", "another operation did not come to its end")
            self._asking = threading.get_ident()
        try:
            yield
        finally:
            if not held:
                self._asking = None
                self._turn.release()

    def attend(self) -> None:
        """Say that this thread is the one that reads: it will :meth:`run`."""
        self._reader = threading.get_ident()

    def look(self) -> bool:
        """Take in and serve what has arrived, where nobody else does; whether release was asked for.

        Does not wait, and does nothing while an operation is under way.
        """
        if self._reader is not None or not self._turn.acquire(blocking=False):
            return False
        self._asking = threading.get_ident()
        try:
            released = self.exchange.look()
            while self.exchange.has_message and (message := self.exchange.receive()):
                self._take(message)
                released = self.exchange.look()
            return released
        finally:
            self._asking = None
            self._turn.release()

    def run(self) -> None:
        """Serve the peer until the association is being released, in the thread that has called :meth:`attend`."""
        try:
            while message := self.exchange.receive():
                self._take(message)
        except ScpdError as error:
            self._end(error)
            raise
        self._end(Released())

    def ask(self, context_id: int, request: Request, data: Iterable[Piece] = (), *, within: float) -> Invocation:
        """Send a request with its data set; ``within`` is the longest wait for each response, in seconds.

        Raises :class:`RuntimeError` while this thread has an operation under way; another thread's is waited for.
        """
        me = threading.get_ident()
        if not self._turn.acquire(blocking=False):
            if self._asking == me:
                raise RuntimeError(f"{self._under_way()} is under way on this association: read its responses first")
            self._await_turn()
        self._asking = me
        invocation = Invocation(self, context_id, request, within)
        with self._registering:
            self._invocation, over = invocation, self._over
        if over:
            self.answered(invocation)
            raise over
        try:
            self.exchange.send(context_id, request, data)
        except BaseException:
            self.answered(invocation)
            raise
        return invocation

    def _await_turn(self) -> None:
        """Until the operation of another thread is over; whoever reads brings it its answers meanwhile."""
        if self._reader != threading.get_ident():
            self._turn.acquire()
            return
        while not self._turn.acquire(timeout=_LOOK):
            if self.exchange.look():
                raise Released
            if self.exchange.has_message and (message := self.exchange.receive()):
                self._take(message)

    def cancel(self, context_id: int, message_id: int) -> None:
        """Send a C-CANCEL; from any thread."""
        self.exchange.send(context_id, CCancelRQ(message_id_being_responded_to=message_id))

    def await_answer(self, invocation: Invocation) -> Answer:
        """The next response to ``invocation``, read here or brought by the thread that reads."""
        if self._reader in (None, threading.get_ident()):
            awaited = f"the peer did not answer {invocation.request.NAME}"
            while not invocation.inbox:
                message = self.exchange.receive(invocation.within, awaited)
                if message is None:
                    self._end(Released())
                    raise Released
                self._take(message)
            return invocation.inbox.popleft()
        try:
            arrived = invocation.arrived.get(timeout=invocation.within)
        except queue.Empty:
            raise Expired("message", f"the peer did not answer {invocation.request.NAME}") from None
        if isinstance(arrived, ScpdError):
            raise arrived
        return arrived

    def answered(self, invocation: Invocation) -> None:
        """``invocation`` is over, one way or another: the next may begin."""
        if self._invocation is invocation:
            self._invocation = self._asking = None
            self._turn.release()

    def _under_way(self) -> str:
        request = self._invocation.request if self._invocation else None
        return f"{request.NAME} {request.message_id}" if request else "an operation"

    def _take(self, message: Message) -> None:
        if isinstance(message.command, Request):
            if self._depth >= _DEEPEST:
                raise PeerError("requests inside requests, too many of them")
            self._depth += 1
            try:
                self._serve(message)
                if self.exchange.data_is_due:
                    self.exchange.skip_data(self._longest_refused)
            finally:
                self._depth -= 1
        else:
            self._deliver(message)

    def _deliver(self, message: Message) -> None:
        response, invocation = message.command, self._invocation
        if (
            not isinstance(response, Response)
            or invocation is None
            or type(response) is not RESPONSES.get(type(invocation.request))
            or response.message_id_being_responded_to != invocation.request.message_id
        ):
            raise PeerError(f"a {message.command.NAME} response that nobody waits for")
        answer = Answer(response, self._gather())
        if self._reader is None or self._asking == self._reader:
            invocation.inbox.append(answer)
        else:
            invocation.arrived.put(answer)

    def _gather(self) -> bytes:
        gathered = bytearray()
        for batch in self.exchange.data():
            for view in batch:
                gathered += view
            if len(gathered) > self._longest_answer:
                raise PeerError(f"a response with a data set of more than {self._longest_answer} bytes")
        return bytes(gathered)

    def _end(self, error: ScpdError) -> None:
        with self._registering:
            self._over = error
            invocation = self._invocation
        if invocation and self._reader is not None and self._asking != self._reader:
            invocation.arrived.put(error)
