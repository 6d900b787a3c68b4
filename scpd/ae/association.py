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
from scpd.ae.presentation import PresentationContext
from scpd.errors import ConnectionLost, Expired, Interrupted, PeerError, Rejected, Released, ScpdError
from scpd.sop_class import SOP_CLASSES, uid_name
from scpd.telemetry.logs import logger
from scpd.transport.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from scpd.ae.entity import AE
    from scpd.dimse.command import Command
    from scpd.negotiation.offer import AcceptedContext, Agreement, Rejection
    from scpd.transport.conversation import Conversation
    from scpd.transport.exchange import Message
    from scpd.transport.upper_layer import UpperLayer
    from scpd.wire.pdu import AssociateRQ

# An acceptor's own A-ABORT, or a thread that reads, has so long to come to its end (seconds).
_SECONDS_TO_END = 5.0
_UPS_PUSH = str(SOP_CLASSES["UnifiedProcedureStepPush"])
_UPS = frozenset(str(uid) for keyword, uid in SOP_CLASSES.items() if keyword.startswith("UnifiedProcedureStep"))
_BY_THIS_SIDE = "aborted by this side"


class Association(Asking):
    """An association with a peer. Made by :meth:`AE.associate`, or handed to handlers as ``event.assoc``.

    ``requestor`` and ``acceptor`` tell about both sides. ``association_id`` names it in logs, ``error`` says what ended
    it, as an exception, or is None. As a context manager it is released at the end, or aborted when something went
    wrong.
    """

    def __init__(self, ae: AE, mode: str, handlers: evt.Handlers, association_id: str) -> None:
        self.ae = ae
        self.mode = mode
        self.association_id = association_id
        self.error: ScpdError | Exception | None = None
        self.acse_timeout = ae.acse_timeout
        self.dimse_timeout = ae.dimse_timeout
        self.network_timeout = ae.network_timeout
        self.is_rejected = self.is_aborted = self.is_released = False
        self.requestor = ServiceUser("requestor")
        self.acceptor = ServiceUser("acceptor")
        self.handlers = handlers
        self.broken: ScpdError | None = None
        self._established = False
        self._releasing = False
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
        if self._established and self._conversation:
            try:
                if self._conversation.look():
                    self._finish_release()
            except (PeerError, Interrupted) as error:
                self._fail(error)
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
        self._releasing = True
        try:
            upper.ask_release()
            if conversation.is_ours_to_read:
                self._finish_release()
            elif not self._over.wait(self.acse_timeout):
                self.abort()
        except (PeerError, Interrupted) as error:
            self._fail(error)

    def abort(self) -> None:
        """End it at once with A-ABORT."""
        conversation, upper = self._conversation, self._upper
        if upper is None or self._over.is_set():
            return
        if conversation is None or conversation.is_ours_to_read:
            upper.abort()
            self._fail(Interrupted(_BY_THIS_SIDE))
        else:
            upper.connection.interrupt(_BY_THIS_SIDE)
            self._over.wait(_SECONDS_TO_END)

    def _finish_release(self) -> None:
        upper = self._upper
        if upper is None:
            return
        self._releasing = True
        try:
            upper.finish_release(
                Deadline.after(arguments.seconds(self.acse_timeout), "acse", "the peer did not answer A-RELEASE-RQ")
            )
        except ConnectionLost:
            if not upper.is_over:  # a peer that closes instead of answering has gone all the same
                raise
        self._stop(Interrupted("released by this side"))

    def _fail(self, error: ScpdError) -> None:
        """An operation, or a look at the connection, has shown that the association is over."""
        if self._upper and not self._upper.is_over and self._reads_itself():
            if isinstance(error, Released):
                with suppress(PeerError):
                    self._finish_release()
                return
            self._upper.abort()
        elif isinstance(error, (Expired, Interrupted)) and self._upper:
            self._upper.connection.interrupt(str(error))
        self._stop(error)

    def _reads_itself(self) -> bool:
        return self._conversation is None or self._conversation.is_ours_to_read

    def _stop(self, error: ScpdError) -> None:
        """What ends it: where a worker or an attendant serves the association, it is told so, and ends it."""
        if self._conversation is not None and self._conversation.is_attended:
            self.broken = self.broken or error
            self._established = False
        elif self._upper is not None:
            self._upper.connection.close()
            self.finish(None if self._releasing else error)
            self.tell(evt.EVT_CONN_CLOSE, address=(self._peer.address, self._peer.port))

    @property
    def _peer(self) -> ServiceUser:
        return self.acceptor if self.is_requestor else self.requestor

    # -- called by whoever drives it

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or never began."""
        return self._over.is_set()

    def reject(self, rejection: Rejection) -> None:
        """This side has rejected it."""
        answer = rejection.answer
        self.finish(Rejected(answer.result, answer.source, answer.reason, rejection.why))

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
            self.broken = error
            raise

    def connected(self, upper: UpperLayer | None) -> None:
        """A connection is there."""
        self._upper = upper

    def establish(self, request: AssociateRQ, agreement: Agreement, conversation: Conversation) -> None:
        """It was agreed upon: tell, and let messages through."""
        self._conversation = conversation
        self._contexts = dict(agreement.contexts)
        self._asked_for, self._agreement = request, agreement
        self.requestor.requested(request)
        self.acceptor.accepted(agreement)
        self._established = True
        if self.handlers.of(evt.EVT_DIMSE_RECV) or self.handlers.of(evt.EVT_DIMSE_SENT):
            conversation.exchange.observer = self._heard
        self.tell(evt.EVT_ACCEPTED)
        self.tell(evt.EVT_ESTABLISHED)

    def finish(self, error: Exception | None) -> None:
        """It is over: released in order, or what ended it. Told once."""
        with self._finishing:
            if self._over.is_set():
                return
            self._established = False
            self.error = error
            self._over.set()
        if isinstance(error, Rejected):
            self.is_rejected = True
            self.tell(evt.EVT_REJECTED)
        elif error is None or self._releasing:
            self.is_released = True
            self.error = None
            self.tell(evt.EVT_RELEASED)
        else:
            self.is_aborted = True
            self.tell(evt.EVT_ABORTED)

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
        self._fail(error)
