"""Events that a program binds handlers to, and what it is handed when one happens.

A *notification* tells: any number of handlers, whose exceptions are logged and change nothing. An *intervention* asks:
one handler, whose answer is used. Knows no socket; what an event reads it is given as functions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from scpd.ae.event import Event as Event  # noqa: PLC0414 handed on
from scpd.ae.event import EventType as EventType  # noqa: PLC0414 handed on
from scpd.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Iterable


def _tells(name: str, description: str) -> EventType:
    return EventType(name, description, is_intervention=False)


def _asks(name: str, description: str) -> EventType:
    return EventType(name, description, is_intervention=True)


EVT_CONN_OPEN = _tells("EVT_CONN_OPEN", "Connection opened")
EVT_CONN_CLOSE = _tells("EVT_CONN_CLOSE", "Connection closed")
EVT_REQUESTED = _tells("EVT_REQUESTED", "Association requested")
EVT_ACCEPTED = _tells("EVT_ACCEPTED", "Association request accepted")
EVT_REJECTED = _tells("EVT_REJECTED", "Association request rejected")
EVT_ESTABLISHED = _tells("EVT_ESTABLISHED", "Association established")
EVT_RELEASED = _tells("EVT_RELEASED", "Association released")
EVT_ABORTED = _tells("EVT_ABORTED", "Association aborted")
EVT_DATA_RECV = _tells("EVT_DATA_RECV", "Bytes received from the peer")
EVT_DATA_SENT = _tells("EVT_DATA_SENT", "Bytes sent to the peer")
EVT_PDU_RECV = _tells("EVT_PDU_RECV", "PDU received")
EVT_PDU_SENT = _tells("EVT_PDU_SENT", "PDU sent")
EVT_DIMSE_RECV = _tells("EVT_DIMSE_RECV", "DIMSE message received")
EVT_DIMSE_SENT = _tells("EVT_DIMSE_SENT", "DIMSE message sent")

EVT_ASYNC_OPS = _asks("EVT_ASYNC_OPS", "Asynchronous operations window proposed")
EVT_SOP_COMMON = _asks("EVT_SOP_COMMON", "SOP class common extended negotiation proposed")
EVT_SOP_EXTENDED = _asks("EVT_SOP_EXTENDED", "SOP class extended negotiation proposed")
EVT_USER_ID = _asks("EVT_USER_ID", "User identity given")
EVT_C_ECHO = _asks("EVT_C_ECHO", "C-ECHO request received")
EVT_C_STORE = _asks("EVT_C_STORE", "C-STORE request received")
EVT_C_FIND = _asks("EVT_C_FIND", "C-FIND request received")
EVT_C_GET = _asks("EVT_C_GET", "C-GET request received")
EVT_C_MOVE = _asks("EVT_C_MOVE", "C-MOVE request received")
EVT_N_ACTION = _asks("EVT_N_ACTION", "N-ACTION request received")
EVT_N_CREATE = _asks("EVT_N_CREATE", "N-CREATE request received")
EVT_N_DELETE = _asks("EVT_N_DELETE", "N-DELETE request received")
EVT_N_EVENT_REPORT = _asks("EVT_N_EVENT_REPORT", "N-EVENT-REPORT request received")
EVT_N_GET = _asks("EVT_N_GET", "N-GET request received")
EVT_N_SET = _asks("EVT_N_SET", "N-SET request received")

Handler = Callable[..., Any]
EventHandlerType = tuple[EventType, Handler] | tuple[EventType, Handler, list[Any]]


class Bound(NamedTuple):
    """A handler and the further arguments it is called with."""

    handler: Handler
    args: tuple[Any, ...] = ()

    def __call__(self, event: Event) -> Any:
        return self.handler(event, *self.args)


class Handlers:
    """The handlers of a server or an association; bound and unbound from any thread, at any time."""

    def __init__(self, bound: Iterable[EventHandlerType] | Handlers | None = None) -> None:
        self._bound: dict[EventType, tuple[Bound, ...]] = {}
        if isinstance(bound, Handlers):
            self._bound.update(bound._bound)  # noqa: SLF001 its own kind
            return
        for place, entry in enumerate(bound or ()):
            if not isinstance(entry, (tuple, list)) or len(entry) not in (2, 3):
                raise TypeError(
                    f"evt_handlers[{place}] is {entry!r}: write (evt.EVT_…, handler) or with a list of args"
                )
            self.bind(*entry)

    def bind(self, event: EventType, handler: Handler, args: Sequence[Any] | None = None) -> None:
        """Have ``handler`` called with each ``event``, and ``args``. An intervention has one handler: the last bound.

        Raises :class:`TypeError` for what is no event or cannot be called.
        """
        if not isinstance(event, EventType):
            raise TypeError(f"{event!r} is no event: use one of evt.EVT_…")
        if not callable(handler):
            raise TypeError(f"the handler for evt.{event.name} is {handler!r}, which cannot be called")
        if inspect.iscoroutinefunction(handler):
            raise TypeError(f"the handler for evt.{event.name} is a coroutine function: handlers are plain functions")
        bound = Bound(handler, tuple(args or ()))
        others = () if event.is_intervention else self._bound.get(event, ())
        if bound not in others:
            self._bound[event] = (*others, bound)

    def unbind(self, event: EventType, handler: Handler) -> None:
        """Take a handler away again; nothing happens when it was not bound."""
        left = tuple(bound for bound in self._bound.get(event, ()) if bound.handler != handler)
        if left:
            self._bound[event] = left
        else:
            self._bound.pop(event, None)

    def of(self, event: EventType) -> tuple[Bound, ...]:
        """The handlers of an event."""
        return self._bound.get(event, ())

    def asked(self, event: EventType) -> Bound | None:
        """The handler of an intervention, if one is bound."""
        bound = self._bound.get(event)
        return bound[0] if bound else None

    def events(self) -> list[EventType]:
        """The events that have a handler."""
        return sorted(self._bound)

    def tell(self, event: EventType, assoc: Any, **attributes: Any) -> None:
        """Call the handlers of a notification; what they raise is logged."""
        for bound in self._bound.get(event, ()):
            try:
                bound(Event(assoc, event, **attributes))
            except Exception as error:  # noqa: BLE001 a notification changes nothing, whatever its handler does
                complain(f"the handler of evt.{event.name} raised", assoc, error)


def complain(what: str, assoc: Any, error: BaseException) -> None:
    """Log what a handler raised, with its traceback and the association's ID."""
    logger("handlers").error(what, id=getattr(assoc, "association_id", ""), exc_info=error)
