"""A handler at work on one request: what it gives, or raises, one thing at a time; and that it ends with the peer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scpd.ae import evt, replies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scpd.ae.association import Association
    from scpd.ae.event import Event
    from scpd.dimse.command import Request
    from scpd.services.service import Operation, Reply


class Given:
    """Something that a handler gave, or the exception that it raised instead: called, it gives or raises that."""

    def __init__(self, value: Any = None, error: Exception | None = None) -> None:
        self._value = value
        self._error = error

    def __call__(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value


class Running:
    """One request and its handler."""

    def __init__(self, assoc: Association, operation: Operation, handler: evt.Bound, event: Event) -> None:
        self.assoc = assoc
        self.operation = operation
        self.event = event
        self._handler = handler

    @property
    def request(self) -> Request:
        """The request."""
        return self.operation.request

    @property
    def transfer_syntax(self) -> str:
        """In which its data sets are encoded."""
        return self.operation.context.transfer_syntax

    def call(self) -> Given:
        """What the handler returns."""
        try:
            given = Given(self._handler(self.event))
        except Exception as error:  # noqa: BLE001 the program's fault stays with this request
            given = Given(error=error)
        self.assoc.must_go_on()
        return given

    def iterate(self) -> Iterator[Given]:
        """What the handler yields, one after the other; an exception comes last. It is closed whatever happens."""
        returned = self.call()
        try:
            iterator = iter(returned() or ())
        except Exception as error:  # noqa: BLE001 as above
            yield Given(error=error)
            return
        try:
            while True:
                try:
                    given = Given(next(iterator))
                except StopIteration:
                    return
                except Exception as error:  # noqa: BLE001 as above
                    self.assoc.must_go_on()
                    yield Given(error=error)
                    return
                self.assoc.must_go_on()
                yield given
        finally:
            close = getattr(iterator, "close", None)
            if close:
                close()

    def reply(self, make: Callable[[], Reply]) -> Reply:
        """The reply that ``make`` makes, or the failure for what it raises."""
        try:
            return make()
        except Exception as error:  # noqa: BLE001 as above
            return self.failed(error)

    def failed(self, error: Exception) -> Reply:
        """The failure for what the handler raised, or gave that makes no reply; it is logged with its traceback."""
        evt.complain(f"the handler of evt.{self.event.event} failed", self.assoc, error)
        return replies.failed(self.request, error, self.event)
