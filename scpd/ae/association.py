"""An association as a program holds it, requestor or acceptor: what was agreed, how it stands, how it ends.

Which thread reads is said in :mod:`scpd.transport.conversation`. Where none does, whoever looks at the association
finds out how it stands; where one does (an acceptor's worker, a requestor's attendant), that thread ends it.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

from scpd.ae import arguments, evt
from scpd.ae.asking import Asking
from scpd.ae.event import MessageView
from scpd.ae.parties import ServiceUser
from scpd.ae.pdus import tap
from scpd.ae.presentation import PresentationContext
from scpd.errors import ConnectionLost, Expired, Interrupted, PeerError, Rejected, Released, ScpdError
from scpd.sop_class import SOP_CLASSES, uid_name
from scpd.telemetry.logs import logger
from scpd.transport.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from scpd.ae.settings import Settings
    from scpd.dimse.command import Command
    from scpd.negotiation.offer import AcceptedContext, Agreement, Rejection
    from scpd.transport.conversation import Conversation
    from scpd.transport.exchange import Message
    from scpd.transport.upper_layer import UpperLayer
    from scpd.wire.pdu import AssociateRQ

# The thread that drives an association has so long to come to its end, before nobody waits for it (seconds).
_SECONDS_TO_END = 5.0
_UPS_PUSH = str(SOP_CLASSES["UnifiedProcedureStepPush"])
_UPS = frozenset(str(uid) for keyword, uid in SOP_CLASSES.items() if keyword.startswith("UnifiedProcedureStep"))


class Association(Asking):
    """An association with a peer. Made by :meth:`AE.associate`, or handed to handlers as ``event.assoc``.

    ``requestor`` and ``acceptor`` tell about both sides. ``association_id`` names it in logs, ``error`` says what ended
    it, as an exception, or is None. As a context manager it is released at the end, or aborted when something went
    wrong.
    """

    def __init__(self, ae: Settings, mode: str, handlers: evt.Handlers, association_id: str) -> None:
        self.ae = ae
        self.mode = mode
        self.association_id = association_id
        self.error: BaseException | None = None
        self.acse_timeout = ae.acse_timeout
        self.dimse_timeout = ae.dimse_timeout
        self.network_timeout = ae.network_timeout
        self.is_rejected = self.is_aborted = self.is_released = False
        self.requestor = ServiceUser("requestor")
        self.acceptor = ServiceUser("acceptor")
        self.handlers = handlers
        self.broken: ScpdError | None = None  # what has ended it, where whoever drives it does not know yet
        self._established = False
        self._asked_release = False
        self._driver: int | None = None  # the thread that sees it through to its end, where there is one
        self._contexts: dict[int, AcceptedContext] = {}
        self._asked_for: AssociateRQ | None = None
        self._agreement: Agreement | None = None
        self._upper: UpperLayer | None = None
        self._conversation: Conversation | None = None
        self._over = threading.Event()
        self._finishing = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self.release()
        else:
            self.abort()

    def __repr__(self) -> str:
        state = "established" if self._established else "not established"
        return f"<Association {self.association_id} as {self.mode}, {state}>"

    # -- what it is

    @property
    def is_requestor(self) -> bool:
        """Whether this side asked for the association."""
        return self.mode == "requestor"

    @property
    def is_acceptor(self) -> bool:
        """Whether the peer asked for the association."""
        return self.mode == "acceptor"

    @property
    def is_established(self) -> bool:
        """Whether messages can go over it. Looks, without waiting, whether the peer has ended it meanwhile."""
        if self._established and self._conversation and self._driver is None:
            try:
                if self._conversation.look():
                    self.fail(Released())
            except (PeerError, Interrupted) as error:
                self.fail(error)
        return self._established

    @property
    def accepted_contexts(self) -> list[PresentationContext]:
        """The accepted presentation contexts by ID; ``as_scu`` and ``as_scp`` are this side's roles."""
        return [
            PresentationContext.negotiated(
                context_id,
                context.abstract_syntax,
                (context.transfer_syntax,),
                result=0,
                as_scu=context.as_scu,
                as_scp=context.as_scp,
            )
            for context_id, context in sorted(self._contexts.items())
        ]

    @property
    def rejected_contexts(self) -> list[PresentationContext]:
        """The rejected presentation contexts by ID; ``result`` says why (PS3.8 table 9-18)."""
        if self._asked_for is None or self._agreement is None:
            return []
        proposed = {context.context_id: context.transfer_syntaxes for context in self._asked_for.presentation_contexts}
        return [
            PresentationContext.negotiated(
                context.context_id, context.abstract_syntax, proposed[context.context_id], result=context.result
            )
            for context in sorted(self._agreement.rejected, key=lambda context: context.context_id)
        ]

    def bind(self, event: evt.EventType, handler: evt.Handler, args: Sequence[Any] | None = None) -> None:
        """Bind a handler for this association."""
        self.handlers.bind(event, handler, args)
        self._listen()

    def unbind(self, event: evt.EventType, handler: evt.Handler) -> None:
        """Take a handler away again."""
        self.handlers.unbind(event, handler)

    def get_events(self) -> list[evt.EventType]:
        """The events that have a handler."""
        return self.handlers.events()

    def tell(self, event: evt.EventType, **attributes: Any) -> None:
        """Call the handlers of a notification."""
        self.handlers.tell(event, self, **attributes)

    # -- how it ends

    def release(self) -> None:
        """Release it and wait until it is; aborted when the peer does not answer. Does nothing when it is over."""
        conversation, upper = self._conversation, self._upper
        if not self.is_established or conversation is None or upper is None:
            return
        self._established = False
        self._asked_release = True
        try:
            conversation.exchange.ask_release()
            if self._driver is None:
                with conversation.reading(arguments.seconds(self.acse_timeout)):
                    self._finish_release()
                self._close(None if upper.released else self.broken or Interrupted("it had ended before"))
            elif self._is_driver:
                self._finish_release()
                self.broken = self.broken or Interrupted("released by this side")
                self.finish(None)
            elif not self._over.wait(arguments.seconds(self.acse_timeout)):
                self.broken = Expired("acse", "the peer did not answer A-RELEASE-RQ")
                self.abort()
        except (PeerError, Interrupted) as error:
            self.fail(error)

    def abort(self) -> None:
        """End it at once with A-ABORT."""
        if self._over.is_set():
            return
        self._established = False
        self.broken = self.broken or Interrupted("aborted by this side")
        upper, conversation = self._upper, self._conversation
        if upper is None:
            return  # still to be asked for: that is where it ends
        if self._is_driver:
            upper.abort()
            self.finish(self.broken)
        elif self._driver is not None:
            upper.connection.interrupt(str(self.broken))
            self._over.wait(_SECONDS_TO_END)
        else:
            if conversation and conversation.is_with_another:
                upper.connection.interrupt(str(self.broken))
                with suppress(Expired), conversation.reading(_SECONDS_TO_END):
                    pass
            upper.abort()
            self._close(self.broken)

    @property
    def _is_driver(self) -> bool:
        return self._driver == threading.get_ident()

    def _finish_release(self) -> None:
        if self._upper:
            what = "the peer did not answer A-RELEASE-RQ"
            self._upper.finish_release(Deadline.after(arguments.seconds(self.acse_timeout), "acse", what))

    def fail(self, error: ScpdError) -> None:
        """An operation, or a look at the connection, has shown that the association is over."""
        self._established = False
        upper = self._upper
        if self._asked_release and isinstance(error, Interrupted) and self.broken is None:
            return  # it came too late: whoever releases sees that through
        self.broken = self.broken or error
        if upper is None or self._over.is_set():
            return
        if self._driver is not None and not self._is_driver:
            upper.connection.interrupt(str(error))
            self._over.wait(_SECONDS_TO_END)
            return
        if isinstance(error, Released):
            with suppress(PeerError, Interrupted):
                self._finish_release()
        upper.abort()
        if self._driver is None:
            self._close(self.broken)
        else:
            self.finish(self.broken)

    def _close(self, error: ScpdError | None) -> None:
        """The end of an association that nobody but the program drives."""
        if self._upper:
            self._upper.connection.close()
        if self.finish(error):
            self.tell(evt.EVT_CONN_CLOSE, address=(self.acceptor.address, self.acceptor.port))

    # -- called by whoever drives it

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or never began."""
        return self._over.is_set()

    def connected(self, upper: UpperLayer, *, driven: bool) -> None:
        """A connection is there; ``driven`` says that this thread will see it through to its end."""
        self._upper = upper
        if driven:
            self._driver = threading.get_ident()
        self._listen()

    def agreed(self, request: AssociateRQ, agreement: Agreement) -> None:
        """What both sides said of themselves, and of each context."""
        self._asked_for, self._agreement = request, agreement
        self._contexts = dict(agreement.contexts)
        self.requestor.requested(request)
        self.acceptor.accepted(agreement)

    def establish(self, request: AssociateRQ, agreement: Agreement, conversation: Conversation) -> None:
        """It was agreed upon: tell, and let messages through."""
        self.agreed(request, agreement)
        self._conversation = conversation
        self._established = self.broken is None
        self._listen()
        self.tell(evt.EVT_ACCEPTED)
        self.tell(evt.EVT_ESTABLISHED)

    def reject(self, rejection: Rejection) -> None:
        """This side has rejected it."""
        answer = rejection.answer
        self.finish(Rejected(answer.result, answer.source, answer.reason, rejection.why))

    def finish(self, error: BaseException | None) -> bool:
        """It is over: released in order, or what ended it. Told once; whether this was the time."""
        with self._finishing:
            if self._over.is_set():
                return False
            self._established = False
            if isinstance(error, Interrupted):  # by this side: the first reason is the true one
                error = self.broken or error
            # A peer that closes the connection instead of answering a release has gone all the same.
            gone = self._asked_release and isinstance(self.broken or error, ConnectionLost)
            self.is_released = gone or (self._upper is not None and self._upper.released)
            self.is_rejected = isinstance(error, Rejected)
            self.is_aborted = not (self.is_released or self.is_rejected)
            self.error = None if self.is_released else error or self.broken
            self._over.set()
        if self.is_released:
            self.tell(evt.EVT_RELEASED)
        elif self.is_rejected:
            self.tell(evt.EVT_REJECTED)
        elif self.is_requestor or self.requestor.has_asked:  # or nobody wanted an association: a port scanner
            self.tell(evt.EVT_ABORTED)
        return True

    def must_go_on(self) -> None:
        """Raise what has ended the association while a handler ran, whatever the handler made of it."""
        if self.broken:
            raise self.broken

    def guarded(self, look: Callable[[], bool]) -> Callable[[], bool]:
        """``look`` such that what it raises is not lost in a handler that catches everything."""

        def looked() -> bool:
            with self._noting():
                return look()

        return looked

    def guard(self, read: Callable[[], Iterator[list[memoryview]]]) -> Callable[[], Iterator[list[memoryview]]]:
        """The same for reading a data set."""

        def reading() -> Iterator[list[memoryview]]:
            with self._noting():
                yield from read()

        return reading

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except (PeerError, Interrupted) as error:
            self.broken = self.broken or error
            raise

    def _listen(self) -> None:
        """Have the handlers of bytes and messages that are bound by now called."""
        if self._upper and self._upper.tap is None:
            self._upper.tap = tap(self)
        hears = self.handlers.of(evt.EVT_DIMSE_RECV) or self.handlers.of(evt.EVT_DIMSE_SENT)
        if self._conversation and hears:
            self._conversation.exchange.observer = self._heard

    def _heard(self, message: Message, sent: bool) -> None:
        event = evt.EVT_DIMSE_SENT if sent else evt.EVT_DIMSE_RECV
        self.tell(event, message=MessageView(message.context_id, message.command))

    def must_be_established(self, what: str) -> Conversation:
        if not self.is_established or self._conversation is None:
            raise RuntimeError(f"a {what} needs an established association: look at is_established first")
        return self._conversation

    def usable(self, abstract_syntax: str, role: str) -> list[AcceptedContext]:
        wanted = [context for context in self._contexts.values() if context.abstract_syntax == abstract_syntax]
        if not wanted and abstract_syntax == _UPS_PUSH:  # every UPS instance is of this class (PS3.4 CC.2)
            wanted = [context for context in self._contexts.values() if context.abstract_syntax in _UPS]
        usable = [context for context in wanted if not role or (context.as_scu if role == "scu" else context.as_scp)]
        if not usable:
            why = f"for the role of {role.upper()}" if wanted else "by the peer"
            raise ValueError(f"no presentation context for {uid_name(abstract_syntax)} was accepted {why}")
        return usable

    def unanswered(self, request: Command, error: ScpdError) -> None:
        logger("association").warning("no response", id=self.association_id, request=request.NAME, why=str(error))
        self.fail(error)
