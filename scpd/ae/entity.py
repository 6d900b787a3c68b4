"""The Application Entity (PS3.7 annex D): its title, what it asks for as an SCU, what it supports as an SCP."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal, Self, overload

from scpd.ae import arguments, calling, evt
from scpd.ae.presentation import build_context, listed, requestable, supportable
from scpd.ae.server import AssociationServer
from scpd.ae.settings import Settings, pdu_size
from scpd.client.requestor import Security

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable
    from types import TracebackType

    from pydicom.uid import UID

    from scpd.ae.association import Association
    from scpd.ae.items import Item
    from scpd.ae.presentation import PresentationContext, TransferSyntaxes

_GRACE = 10.0


class AE(Settings):
    """An Application Entity. Everything set on it holds for associations and servers that begin afterwards.

    As a context manager it shuts its servers down at the end.
    """

    def __init__(self, ae_title: str = "SCPD") -> None:
        super().__init__(ae_title)
        self._requested: list[PresentationContext] = []
        self._supported: dict[UID, PresentationContext] = {}
        self._servers: list[AssociationServer] = []
        self._calls: set[Association] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        return f"<AE {self.ae_title!r}>"

    def __str__(self) -> str:
        lines = [f"Application Entity {self.ae_title!r}", "", "  Requested Presentation Contexts:"]
        lines += _indented(self._requested)
        lines += ["  Supported Presentation Contexts:", *_indented(self.supported_contexts)]
        lines += [f"  Associations: {len(self.active_associations)}"]
        return "\n".join(lines)

    @property
    def active_associations(self) -> list[Association]:
        """The associations there are now, asked for and served."""
        with self._lock:
            calls, servers = list(self._calls), list(self._servers)
        return [assoc for assoc in calls if assoc.is_established] + [
            assoc for server in servers for assoc in server.active_associations
        ]

    # -- SCU

    @property
    def requested_contexts(self) -> list[PresentationContext]:
        """What :meth:`associate` proposes, in the order of adding; up to 128 (PS3.8 9.3.2.2)."""
        return list(self._requested)

    @requested_contexts.setter
    def requested_contexts(self, contexts: Iterable[PresentationContext]) -> None:
        given = listed(contexts)
        self._requested = requestable(given) if given else []

    def add_requested_context(self, abstract_syntax: str, transfer_syntax: TransferSyntaxes | None = None) -> None:
        """Propose one more context; the same abstract syntax may stand twice.

        Raises :class:`ValueError` for the 129th, and for what is no UID.
        """
        self._requested = requestable([*self._requested, build_context(abstract_syntax, transfer_syntax)])

    def remove_requested_context(self, abstract_syntax: str, transfer_syntax: TransferSyntaxes | None = None) -> None:
        """Propose an abstract syntax no more, or not in these transfer syntaxes; a context without any goes."""
        build_context(abstract_syntax, transfer_syntax)  # which says what is wrong with them
        kept = (_without(context, abstract_syntax, transfer_syntax) for context in self._requested)
        self._requested = [context for context in kept if context is not None]

    def associate(  # type: ignore[override]  # the settings know no more of it than that it takes keywords
        self,
        addr: str,
        port: int,
        contexts: Iterable[PresentationContext] | None = None,
        ae_title: str = "ANY-SCP",
        max_pdu: int | None = None,
        ext_neg: Iterable[Item] | None = None,
        bind_address: tuple[str, int] | None = None,
        tls_args: tuple[ssl.SSLContext, str | None] | None = None,
        evt_handlers: Iterable[evt.EventHandlerType] | None = None,
    ) -> Association:
        """Ask the peer at ``addr`` (IPv4, IPv6 or a name) and ``port`` for an association.

        ``contexts`` instead of the requested contexts; ``ae_title`` is the peer's; ``max_pdu`` instead of
        ``maximum_pdu_size``; ``ext_neg`` are items of extended negotiation and user identity; ``bind_address`` is our
        end; ``tls_args`` are an SSL context and the host name that the peer's certificate must have.

        Look at ``is_established`` of what comes back: a rejection or a failure is no exception. With handlers for what
        the peer may do at any moment, its requests and the association's end, a thread attends to the association;
        without, whoever asks something reads the answer itself.

        Raises :class:`ValueError` without any context, :class:`TypeError` and :class:`ValueError` for wrong arguments.
        """
        proposed = self._requested if contexts is None else requestable(contexts)
        if not proposed:
            raise ValueError("an association needs presentation contexts: add_requested_context() first, or contexts=")
        call = calling.Call(
            peer=arguments.address("addr, port", (addr, port)),
            called=arguments.ae_title("ae_title", ae_title),
            contexts=proposed,
            maximum_length=self._maximum_pdu_size if max_pdu is None else pdu_size("max_pdu", max_pdu),
            ext_neg=tuple(arguments.several("ext_neg", ext_neg)),
            bind=None if bind_address is None else arguments.address("bind_address", bind_address),
            security=None if tls_args is None else Security(*arguments.client_tls("tls_args", tls_args)),
            handlers=evt.Handlers(arguments.several("evt_handlers", evt_handlers)),
        )
        with self._lock:
            self._calls = {assoc for assoc in self._calls if not assoc.is_over}
        assoc = calling.associate(self, call)
        if assoc.is_established:
            with self._lock:
                self._calls.add(assoc)
        return assoc

    # -- SCP

    @property
    def supported_contexts(self) -> list[PresentationContext]:
        """What servers support, sorted by abstract syntax UID; any number."""
        return [self._supported[uid] for uid in sorted(self._supported)]

    @supported_contexts.setter
    def supported_contexts(self, contexts: Iterable[PresentationContext]) -> None:
        self._supported = _merged({}, contexts)

    def add_supported_context(
        self,
        abstract_syntax: str,
        transfer_syntax: TransferSyntaxes | None = None,
        scu_role: bool | None = None,
        scp_role: bool | None = None,
    ) -> None:
        """Support one more context, or more transfer syntaxes of one that is there, whose roles stay unless given.

        ``scu_role`` and ``scp_role`` say whether the *requestor* may take that role when it asks to; with either None
        it gets no answer, and the default roles hold (PS3.7 D.3.3.4).
        """
        self._supported = supportable(self._supported, abstract_syntax, transfer_syntax, scu_role, scp_role)

    def remove_supported_context(self, abstract_syntax: str, transfer_syntax: TransferSyntaxes | None = None) -> None:
        """Support an abstract syntax no more, or not in these transfer syntaxes; a context without any goes."""
        build_context(abstract_syntax, transfer_syntax)
        kept = {uid: _without(one, abstract_syntax, transfer_syntax) for uid, one in self._supported.items()}
        self._supported = {uid: context for uid, context in kept.items() if context is not None}

    @overload
    def start_server(
        self,
        address: tuple[str, int],
        block: Literal[True] = True,
        ssl_context: ssl.SSLContext | None = None,
        evt_handlers: Iterable[evt.EventHandlerType] | None = None,
        ae_title: str | None = None,
        contexts: Iterable[PresentationContext] | None = None,
    ) -> None: ...
    @overload
    def start_server(
        self,
        address: tuple[str, int],
        block: Literal[False],
        ssl_context: ssl.SSLContext | None = None,
        evt_handlers: Iterable[evt.EventHandlerType] | None = None,
        ae_title: str | None = None,
        contexts: Iterable[PresentationContext] | None = None,
    ) -> AssociationServer: ...
    def start_server(
        self,
        address: tuple[str, int],
        block: bool = True,
        ssl_context: ssl.SSLContext | None = None,
        evt_handlers: Iterable[evt.EventHandlerType] | None = None,
        ae_title: str | None = None,
        contexts: Iterable[PresentationContext] | None = None,
    ) -> AssociationServer | None:
        """Listen on ``address`` (port 0 for any) and serve, one thread for each association.

        With ``block`` until :meth:`shutdown` is called elsewhere, or Ctrl-C; otherwise in the background, and what
        comes back has ``shutdown()`` too. ``ae_title`` and ``contexts`` instead of this AE's, so that several servers
        may differ. Raises :class:`ValueError` without any context, :class:`OSError` for an address that is taken.
        """
        supported = self._supported if contexts is None else _merged({}, contexts)
        if not supported:
            raise ValueError("a server needs presentation contexts: add_supported_context() first, or contexts=")
        arguments.boolean("block", block)
        title = self.ae_title if ae_title is None else arguments.ae_title("ae_title", ae_title)
        server = AssociationServer(
            self,
            arguments.address("address", address),
            title,
            [supported[uid] for uid in sorted(supported)],
            evt.Handlers(arguments.several("evt_handlers", evt_handlers)),
            arguments.server_tls("ssl_context", ssl_context),
            self._forget,
        )
        with self._lock:
            self._servers.append(server)  # before it serves anybody, who may call for the shutdown of all
        try:
            server.start()
        except BaseException:
            self._forget(server)
            raise
        if not block:
            return server
        try:
            server.wait()
        except KeyboardInterrupt:
            server.shutdown()
        return None

    def shutdown(self, grace: float = _GRACE) -> None:
        """Stop all servers: no new associations; those there are may end within ``grace`` seconds, then are aborted."""
        with self._lock:
            servers, self._servers = self._servers, []
        for server in servers:
            server.stop_accepting()
        for server in servers:
            server.shutdown(grace)

    def _forget(self, server: AssociationServer) -> None:
        with self._lock:
            self._servers = [one for one in self._servers if one is not server]


def _merged(
    supported: dict[UID, PresentationContext], contexts: Iterable[PresentationContext]
) -> dict[UID, PresentationContext]:
    for place, context in enumerate(listed(contexts)):
        if context.abstract_syntax is None:
            raise ValueError(f"contexts[{place}] has no abstract syntax")
        supported = supportable(
            supported, context.abstract_syntax, context.transfer_syntax, context.scu_role, context.scp_role
        )
    return supported


def _without(
    context: PresentationContext, abstract_syntax: str, transfer_syntax: TransferSyntaxes | None
) -> PresentationContext | None:
    if context.abstract_syntax != abstract_syntax:
        return context
    gone = {transfer_syntax} if isinstance(transfer_syntax, str) else set(transfer_syntax or context.transfer_syntax)
    left = [syntax for syntax in context.transfer_syntax if syntax not in gone]
    if not left:
        return None
    kept = build_context(context.abstract_syntax, left)
    kept.scu_role, kept.scp_role = context.scu_role, context.scp_role
    return kept


def _indented(contexts: Iterable[PresentationContext]) -> list[str]:
    lines = [f"    {line}" for context in contexts for line in str(context).splitlines()]
    return lines or ["    (none)"]
