"""DIMSE messages over an established association (PS3.7): one message at a time, data sets as they arrive.

The data set of a message never stands here: :meth:`MessageExchange.data` hands out what each filling of the receive
buffer brought, and the next filling overwrites it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from scpd.dimse import codec, fragment
from scpd.dimse.assemble import Assembler
from scpd.dimse.command import CCancelRQ, Request
from scpd.errors import ProtocolError
from scpd.transport.deadline import Deadline
from scpd.wire.fields import UNEXPECTED_PDU
from scpd.wire.framing import Fragment

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

    from scpd.dimse.command import Command
    from scpd.transport.upper_layer import UpperLayer


class Message(NamedTuple):
    """A command set that came, and the presentation context it came in."""

    context_id: int
    command: Command


class Piece(NamedTuple):
    """Bytes of a data set to send: an even number of them, but for the last piece."""

    view: memoryview
    is_last: bool


class Pace(NamedTuple):
    """How long to wait: for a message to begin, and for one that began to make progress.

    Seconds each; ``minimum_rate`` is in bytes per second, averaged over ``message``.
    """

    idle: float
    message: float
    minimum_rate: float = 0.0


class MessageExchange:
    """The messages of one association. ``contexts`` are the accepted context IDs."""

    def __init__(
        self, upper: UpperLayer, contexts: Container[int], *, peer_maximum_length: int, command_limit: int, pace: Pace
    ) -> None:
        self.upper = upper
        self.observer: Callable[[Message, bool], None] | None = None  # hears of each message, and whether we sent it
        self._assembler = Assembler(contexts, command_limit)
        self._peer_maximum_length = peer_maximum_length
        self._pace = pace
        self._enough = max(1, int(pace.minimum_rate * pace.message))
        self._due: Deadline | None = None
        self._progress = 0
        self._waiting: Message | None = None
        self._cancelled: set[int] = set()
        # A message leaves whole: one thread may ask while the one that reads answers (PS3.8 annex E.1).
        self._sending = threading.RLock()

    @property
    def data_is_due(self) -> bool:
        """Whether the data set of the last message has not been read to its end."""
        return self._assembler.awaits_data

    @property
    def has_message(self) -> bool:
        """Whether :meth:`receive` would not have to wait."""
        return self._waiting is not None

    def receive(self, idle: float | None = None, awaited: str = "") -> Message | None:
        """The next request or response, or None when the association is being released.

        ``idle`` is how long to wait for it to begin, in seconds, where that is not the pace's, and ``awaited`` what to
        say when it does not. The data set of the message before must have been read, or given up with
        :meth:`skip_data`. A C-CANCEL is taken note of, for :meth:`is_cancelled`. Raises :class:`Interrupted` when
        this side has ended the association.
        """
        waiting, self._waiting = self._waiting, None
        if waiting:
            return waiting
        if idle is None:
            idle = self._pace.idle
        message: Message | None = None
        self._due, self._progress = None, 0
        begun = False
        while message is None:
            item = self.upper.take()
            if item is None:
                self.upper.must_go_on()
                begun = begun or self.upper.framer.inside_pdu
                if begun:
                    self._fill()
                elif awaited:
                    self.upper.fill(Deadline.after(idle, "message", awaited))
                else:
                    self.upper.fill(Deadline.after(idle, "idle", "no message came in time"))
            elif type(item) is Fragment:
                message = self._command(item)
                begun = self._assembler.context_id != 0
                if not begun:  # a C-CANCEL
                    self._due = None
            elif self._assembler.context_id:
                self._out_of_place("A-RELEASE-RQ inside a command set")
            else:
                return None
        return message

    def data(self) -> Iterator[list[memoryview]]:
        """The data set of the last message, in the order it arrives: the views of one filling at a time."""
        assembler, take = self._assembler, self.upper.take
        batch: list[memoryview] = []
        while assembler.awaits_data:
            item = take()
            if type(item) is Fragment:
                batch.append(self._checked_data(item))
            elif item is None:
                if batch:
                    yield batch
                    batch = []
                self._fill()
            else:
                self._out_of_place("A-RELEASE-RQ inside a message")
        if batch:
            yield batch

    def skip_data(self, most: int) -> None:
        """Read the rest of the data set and forget it; more than ``most`` bytes of it are a breach."""
        count = 0
        for batch in self.data():
            count += sum(map(len, batch))
            if count > most:
                self._out_of_place(f"a data set that goes on for {most} bytes after it was refused")

    def send(self, context_id: int, command: Command, data: Iterable[Piece] = ()) -> None:
        """Send a message, its data set piece by piece; what is small leaves in one system call.

        A piece may be overwritten by its maker once the next one is asked for.
        """
        parts: list[bytes | memoryview] = [
            fragment.command(context_id, codec.encode(command), self._peer_maximum_length)
        ]
        if self.observer:
            self.observer(Message(context_id, command), True)
        with self._sending:
            begun = False
            try:
                for piece in data:
                    view, is_last = piece
                    for pair in fragment.data_set(context_id, view, self._peer_maximum_length, is_last=is_last):
                        parts += pair
                    begun = True
                    self.upper.send(*parts)
                    parts = []
                if parts:
                    self.upper.send(*parts)
            except BaseException:
                if begun:  # half a message is on its way, and nothing can follow it
                    self.upper.abort()
                raise

    def ask_release(self) -> None:
        """Send A-RELEASE-RQ, after the message that another thread sends now."""
        with self._sending:
            self.upper.ask_release()

    def is_cancelled(self, message_id: int) -> bool:
        """Whether the peer has sent a C-CANCEL for this message; looks at what has arrived, without waiting.

        Raises what ended the association, when something did.
        """
        if message_id not in self._cancelled and self.look():
            self._out_of_place("A-RELEASE-RQ while an operation is under way")
        return message_id in self._cancelled

    def look(self) -> bool:
        """Take in what has arrived, without waiting; whether release was asked for.

        A request or response that came waits for :meth:`receive`. Raises what ended the association.
        """
        while self._waiting is None and not self.data_is_due:
            item = self.upper.take()
            if type(item) is Fragment:
                self._waiting = self._command(item)
            elif item is not None:
                return True
            elif not self.upper.poll():
                break
        return False

    def _command(self, item: Fragment) -> Message | None:
        try:
            command = self._assembler.command(item)
        except ProtocolError as error:
            self.upper.refuse(error)
            raise
        if command is None:
            return None
        if self.observer:
            self.observer(Message(item.context_id, command), False)
        if isinstance(command, CCancelRQ):
            self._cancelled.add(command.message_id_being_responded_to)
            return None
        if isinstance(command, Request):  # a C-CANCEL for an earlier operation of this number is not meant for it
            self._cancelled.discard(command.message_id)
        return Message(item.context_id, command)

    def _checked_data(self, item: Fragment) -> memoryview:
        try:
            return self._assembler.data(item)
        except ProtocolError as error:
            self.upper.refuse(error)
            raise

    def _out_of_place(self, what: str) -> None:
        error = ProtocolError(what, reason=UNEXPECTED_PDU)
        self.upper.refuse(error)
        raise error

    def _fill(self) -> None:
        """Wait for more of a message: for as long as it makes progress."""
        if self._due is None or self._progress >= self._enough:
            self._progress = 0
            self._due = Deadline.after(self._pace.message, "message", "a message made no progress")
        self._progress += self.upper.fill(self._due, owed=True)
