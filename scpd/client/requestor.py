"""An association that we ask for (PS3.8 7.1, PS3.7 annex D)."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

from scpd.errors import ConnectionLost, Expired, PeerError
from scpd.negotiation.conclude import conclude
from scpd.transport.connection import Connection, address_text, set_options
from scpd.transport.conversation import Conversation
from scpd.transport.deadline import Deadline
from scpd.transport.exchange import MessageExchange, Pace
from scpd.transport.tls import SecureConnection
from scpd.transport.upper_layer import UpperLayer
from scpd.version import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from scpd.wire.contexts import PresentationContextRQ
from scpd.wire.framing import Limits
from scpd.wire.pdu import AssociateRQ, encode_title
from scpd.wire.user_info import UserInformation

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from scpd.client.identity import Identity
    from scpd.negotiation.offer import AcceptedContext, Agreement
    from scpd.transport.exchange import Message
    from scpd.transport.upper_layer import Tap
    from scpd.wire.user_info import (
        AsynchronousOperationsWindow,
        RoleSelection,
        SOPClassCommonExtendedNegotiation,
        SOPClassExtendedNegotiation,
        UserIdentityRQ,
    )

MOST_CONTEXTS = 128  # odd IDs of one byte (PS3.8 9.3.2.2)
_COMMAND_LIMIT = 64 * 1024


class Security(NamedTuple):
    """TLS for a connection that we open; ``hostname`` is what the peer's certificate must name, where it is checked."""

    context: ssl.SSLContext
    hostname: str | None = None


@dataclass(frozen=True, slots=True)
class Negotiation:
    """What is proposed beside presentation contexts (PS3.7 D.3.3)."""

    roles: tuple[RoleSelection, ...] = ()
    extended: tuple[SOPClassExtendedNegotiation, ...] = ()
    common_extended: tuple[SOPClassCommonExtendedNegotiation, ...] = ()
    window: AsynchronousOperationsWindow | None = None
    identities: tuple[UserIdentityRQ, ...] = ()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, whom it asks for, and how patient it is: times in seconds, lengths in bytes.

    ``connect`` is for the connection (TLS included), ``answer`` for the association and its release, ``message`` for
    each response and within it, ``idle`` for something to happen while a thread attends to the association, ``write``
    for a peer that does not read. ``identity`` makes a user identity for each association, in place of those that
    ``negotiation`` states.
    """

    calling: str = "SCPD"
    called: str = "ANY-SCP"
    connect: float = 10.0
    answer: float = 30.0
    message: float = 60.0
    idle: float = 600.0
    write: float = 60.0
    maximum_length: int = 256 * 1024
    longest_refused: int = 256 * 1024 * 1024
    bind: tuple[str, int] | None = None
    security: Security | None = None
    negotiation: Negotiation = Negotiation()
    identity: Identity | None = None
    implementation_class_uid: str = IMPLEMENTATION_CLASS_UID
    implementation_version_name: str = IMPLEMENTATION_VERSION_NAME


class Proposal(NamedTuple):
    """A presentation context to ask for."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


class Association:
    """An established association. ``contexts`` are those that were accepted, by their ID, with our own roles in them.

    Used as a context manager it is released at the end, or aborted when something went wrong.
    """

    def __init__(self, upper: UpperLayer, caller: Caller, request: AssociateRQ, agreement: Agreement) -> None:
        self.request = request
        self.agreement = agreement
        self.upper = upper
        self.caller = caller
        self.serve: Callable[[Message], None] = _serve_nothing
        self._message_id = 0
        self.exchange = MessageExchange(
            upper,
            agreement.contexts,
            peer_maximum_length=agreement.peer_maximum_length,
            command_limit=_COMMAND_LIMIT,
            pace=Pace(idle=caller.idle, message=caller.message),
        )
        self.conversation = Conversation(
            self.exchange,
            self._serve,
            longest_refused=caller.longest_refused,
        )

    @property
    def contexts(self) -> Mapping[int, AcceptedContext]:
        """The accepted presentation contexts by their ID."""
        return self.agreement.contexts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self.release()
        else:
            self.abort()

    def _serve(self, message: Message) -> None:
        self.serve(message)

    def next_message_id(self) -> int:
        """A Message ID that no outstanding operation of this association has."""
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def release(self) -> None:
        """Ask for release and see it through. Raises :class:`PeerError` when the peer does not go along."""
        deadline = Deadline.after(self.caller.answer, "answer", "the peer did not answer A-RELEASE-RQ")
        try:
            if not self.upper.is_over:
                self.upper.ask_release()
                self.upper.finish_release(deadline)
        except Expired:
            self.upper.abort()
            raise
        finally:
            self.upper.connection.close()

    def abort(self) -> None:
        """End the association at once with A-ABORT."""
        self.upper.abort()
        self.upper.connection.close()


def _serve_nothing(message: Message) -> None:
    raise PeerError(f"the peer sent a {message.command.NAME} request, and nothing is served here")


def associate(
    peer: tuple[str, int], proposals: Iterable[Proposal], caller: Caller, tap: Tap | None = None
) -> Association:
    """Ask ``peer``, a host and a port, for an association; ``tap`` hears its bytes.

    Raises :class:`~scpd.errors.Rejected`, :class:`~scpd.errors.Aborted`, :class:`~scpd.errors.Expired` or
    :class:`~scpd.errors.ConnectionLost`; :class:`ValueError` for more than 128 proposals or none.
    """
    proposed = _numbered(proposals)
    return request(connect(peer, caller), proposed, caller, tap)


def connect(peer: tuple[str, int], caller: Caller) -> Connection:
    """A connection to ``peer``, its TLS handshake done. Raises :class:`ConnectionLost` or :class:`Expired`."""
    deadline = Deadline.after(caller.connect, "connect", f"no connection to {address_text(peer)} came about")
    try:
        sock = socket.create_connection(peer, caller.connect, source_address=caller.bind)
        try:
            set_options(sock)
            where = address_text(sock.getpeername())
        except OSError:
            sock.close()
            raise
    except (OSError, UnicodeError) as error:  # the latter for what can be no host name
        why = getattr(error, "strerror", None) or error
        raise ConnectionLost(f"cannot connect to {address_text(peer)}: {why}") from error
    security = caller.security
    if security is None:
        return Connection(sock, where)
    connection = SecureConnection(sock, where, security.context, server_side=False, server_hostname=security.hostname)
    try:
        connection.begin(deadline)
    except BaseException:
        connection.close()
        raise
    return connection


def _numbered(proposals: Iterable[Proposal]) -> dict[int, Proposal]:
    numbered = {2 * index + 1: proposal for index, proposal in enumerate(proposals)}
    if not 0 < len(numbered) <= MOST_CONTEXTS:
        raise ValueError(f"an association has 1 to {MOST_CONTEXTS} presentation contexts, not {len(numbered)}")
    return numbered


def request(
    connection: Connection, proposed: Mapping[int, Proposal], caller: Caller, tap: Tap | None = None
) -> Association:
    """Ask for an association over a connection that is open; ``proposed`` by context ID, else as :func:`associate`."""
    upper = UpperLayer(
        connection,
        is_requestor=True,
        limits=Limits(associate=1024 * 1024, data=caller.maximum_length),
        artim=caller.answer,
        write=caller.write,
        tap=tap,
    )
    try:
        asked = _request(proposed, caller)
        deadline = Deadline.after(caller.answer, "answer", "the peer did not answer A-ASSOCIATE-RQ")
        answer = upper.request(asked, deadline)
        agreement = conclude(asked, answer)
        if caller.identity:
            caller.identity.answered(answer.user_information.identity_response)
        return Association(upper, caller, asked, agreement)
    except BaseException:
        upper.abort()
        upper.connection.close()
        raise


def _request(proposed: Mapping[int, Proposal], caller: Caller) -> AssociateRQ:
    beside = caller.negotiation
    identities = (caller.identity.claim(),) if caller.identity else beside.identities
    return AssociateRQ(
        called_field=encode_title(caller.called),
        calling_field=encode_title(caller.calling),
        user_information=UserInformation(
            maximum_length=caller.maximum_length,
            implementation_class_uid=caller.implementation_class_uid,
            implementation_version_name=caller.implementation_version_name,
            window=beside.window,
            roles=beside.roles,
            extended=beside.extended,
            common_extended=beside.common_extended,
            identities=identities,
        ),
        presentation_contexts=tuple(
            PresentationContextRQ(context_id, proposal.abstract_syntax, proposal.transfer_syntaxes)
            for context_id, proposal in proposed.items()
        ),
    )
