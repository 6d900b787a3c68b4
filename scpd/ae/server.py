"""A server of a program: the engine's server, with the program's contexts and handlers."""

from __future__ import annotations

import errno
import threading
import time
from typing import TYPE_CHECKING, Any

from scpd.ae import arguments, evt
from scpd.ae.arrival import Arrival
from scpd.ae.association import Association
from scpd.ae.settings import DATA_SET_LIMIT
from scpd.errors import ScpdError
from scpd.negotiation.offer import Offer, SupportedContext
from scpd.server.capacity import CapacityLimits
from scpd.server.server import Server
from scpd.server.worker import Terms
from scpd.transport.exchange import Pace
from scpd.wire.framing import Limits

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from scpd.ae.presentation import PresentationContext
    from scpd.ae.settings import Settings

_ASSOCIATE_LIMIT = 1024 * 1024
_COMMAND_LIMIT = 64 * 1024
_MINIMUM_RATE = 512
_PENDING, _PENDING_PER_ADDRESS = 256, 64
_GRACE = 10.0
_SECONDS_TO_CTRL_C = 1.0


class AssociationServer:
    """A server that runs. ``server_address`` is where it listens, ``ae_title`` and ``contexts`` what it offers.

    As a context manager it is shut down at the end.
    """

    def __init__(
        self,
        ae: Settings,
        address: tuple[str, int],
        ae_title: str,
        contexts: Sequence[PresentationContext],
        handlers: evt.Handlers,
        ssl_context: ssl.SSLContext | None,
        gone: Callable[[AssociationServer], None],
    ) -> None:
        self.ae = ae
        self.ae_title = ae_title
        self.contexts = list(contexts)
        self.ssl_context = ssl_context
        self._handlers = handlers
        self._gone = gone
        self._associations: set[Association] = set()
        self._stopped = threading.Event()
        self._stopping = threading.Lock()
        self._offer = Offer(
            ae_title=ae_title,
            contexts={str(context.abstract_syntax): _supported(context) for context in contexts},
            maximum_length=ae.maximum_pdu_size,
            check_called_ae_title=ae.require_called_aet,
            preference="acceptor",
            implementation_class_uid=ae.implementation_class_uid,
            implementation_version_name=ae.implementation_version_name or "",
        )
        self._calling = tuple(ae.require_calling_aet)
        terms = Terms(
            visit=self._visit,
            limits=Limits(_ASSOCIATE_LIMIT, ae.maximum_pdu_size),
            command_limit=_COMMAND_LIMIT,
            data_set_limit=DATA_SET_LIMIT,
            artim=arguments.seconds(ae.acse_timeout),
            write=arguments.seconds(ae.write_timeout),
            pace=Pace(arguments.seconds(ae.network_timeout), arguments.seconds(ae.dimse_timeout), _MINIMUM_RATE),
            where=lambda _: "",
        )
        most = ae.maximum_associations
        limits = CapacityLimits(most, most, max(_PENDING, most), max(_PENDING_PER_ADDRESS, most))
        self._server = Server(ae_title, address, terms, limits, ssl_context)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.shutdown()

    @property
    def server_address(self) -> tuple[str, int]:
        """Host and port: the real port, where 0 was asked for."""
        return self._server.address

    @property
    def active_associations(self) -> list[Association]:
        """The associations it serves now."""
        return [assoc for assoc in list(self._associations) if assoc.is_established]

    def bind(self, event: evt.EventType, handler: evt.Handler, args: Sequence[Any] | None = None) -> None:
        """Bind a handler for the associations there are and will be."""
        self._handlers.bind(event, handler, args)
        for assoc in list(self._associations):
            assoc.bind(event, handler, args)

    def unbind(self, event: evt.EventType, handler: evt.Handler) -> None:
        """Take a handler away again."""
        self._handlers.unbind(event, handler)
        for assoc in list(self._associations):
            assoc.unbind(event, handler)

    def get_events(self) -> list[evt.EventType]:
        """The events that have a handler."""
        return self._handlers.events()

    def start(self) -> None:
        """Listen, unless it was shut down already. Raises :class:`OSError` for an address that cannot be had."""
        try:
            with self._stopping:
                if not self._stopped.is_set():
                    self._server.start()
        except ScpdError as error:
            number = getattr(error.__cause__, "errno", None) or errno.EADDRNOTAVAIL
            raise OSError(number, str(error)) from None

    def wait(self) -> None:
        """Wait until it has been shut down."""
        # Not without end: Ctrl-C in the moment before the system call of a wait is noticed when that returns.
        while not self._stopped.wait(_SECONDS_TO_CTRL_C):
            pass

    def stop_accepting(self) -> None:
        """Take no more connections; associations go on."""
        self._server.stop_accepting()

    def shutdown(self, grace: float = _GRACE) -> None:
        """Stop: no new associations; those there are may end within ``grace`` seconds, then are aborted."""
        with self._stopping:
            if not self._stopped.is_set():
                self._server.stop_accepting()
                self._server.drain(time.monotonic() + grace)
                self._server.abort("this side is shutting down")
                self._stopped.set()
                self._gone(self)

    server_close = shutdown

    def _visit(self, association_id: str) -> Arrival:
        assoc = Association(self.ae, "acceptor", evt.Handlers(self._handlers), association_id)
        assoc.acceptor.ae_title = self.ae_title
        assoc.acceptor.address, assoc.acceptor.port = self._server.address
        assoc.acceptor.supported_contexts = self.contexts
        self._associations.add(assoc)
        return Arrival(assoc, self._offer, self._calling, DATA_SET_LIMIT, self._associations.discard)


def _supported(context: PresentationContext) -> SupportedContext:
    return SupportedContext(
        str(context.abstract_syntax), tuple(map(str, context.transfer_syntax)), context.scu_role, context.scp_role
    )
