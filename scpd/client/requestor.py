"""An association that we ask for (PS3.8 7.1, PS3.7 annex D)."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from scpd.errors import ConnectionLost, Expired, PeerError, ProtocolError
from scpd.negotiation.offer import AcceptedContext
from scpd.transport.connection import Connection, address_text, set_options
from scpd.transport.deadline import Deadline
from scpd.transport.exchange import MessageExchange, Pace
from scpd.transport.upper_layer import UpperLayer
from scpd.version import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from scpd.wire.contexts import ContextResult, PresentationContextRQ
from scpd.wire.framing import Limits
from scpd.wire.pdu import LEAST_MAXIMUM_LENGTH, AssociateRQ, encode_title
from scpd.wire.user_info import UserInformation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from scpd.wire.pdu import AssociateAC

MOST_CONTEXTS = 128  # odd IDs of one byte (PS3.8 9.3.2.2)
_COMMAND_LIMIT = 64 * 1024
_UNANNOUNCED_LENGTH = 16 * 1024


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, whom it asks for, and how patient it is: times in seconds, lengths in bytes."""

    calling: str = "SCPD"
    called: str = "ANY-SCP"
    connect: float = 10.0
    answer: float = 30.0
    message: float = 60.0
    maximum_length: int = 256 * 1024


@dataclass(frozen=True, slots=True)
class Proposal:
    """A presentation context to ask for."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


class Association:
    """An established association. ``contexts`` are those that were accepted, by their ID.

    Used as a context manager it is released at the end, or aborted when something went wrong.
    """

    def __init__(
        self, upper: UpperLayer, caller: Caller, contexts: Mapping[int, AcceptedContext], peer_length: int
    ) -> None:
        self.contexts = contexts
        self._upper = upper
        self._caller = caller
        self._message_id = 0
        self.exchange = MessageExchange(
            upper,
            contexts,
            peer_maximum_length=peer_length,
            command_limit=_COMMAND_LIMIT,
            pace=Pace(idle=caller.message, message=caller.message),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self.release()
        else:
            self.abort()

    def next_message_id(self) -> int:
        """A Message ID that no outstanding operation of this association has."""
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def release(self) -> None:
        """Ask for release and see it through. Raises :class:`PeerError` when the peer does not go along."""
        deadline = Deadline.after(self._caller.answer, "answer", "the peer did not answer A-RELEASE-RQ")
        try:
            if not self._upper.is_over:
                self._upper.release(deadline)
        except Expired:
            self._upper.abort()
            raise
        finally:
            self._upper.connection.close()

    def abort(self) -> None:
        """End the association at once with A-ABORT."""
        self._upper.abort()
        self._upper.connection.close()


def associate(peer: tuple[str, int], proposals: Iterable[Proposal], caller: Caller) -> Association:
    """Ask ``peer``, a host and a port, for an association.

    Raises :class:`~scpd.errors.Rejected`, :class:`~scpd.errors.Aborted`, :class:`~scpd.errors.Expired` or
    :class:`~scpd.errors.ConnectionLost`; :class:`ValueError` for more than 128 proposals or none.
    """
    proposed = {2 * index + 1: proposal for index, proposal in enumerate(proposals)}
    if not 0 < len(proposed) <= MOST_CONTEXTS:
        raise ValueError(f"an association has 1 to {MOST_CONTEXTS} presentation contexts, not {len(proposed)}")
    upper = UpperLayer(
        _connect(peer, caller.connect),
        is_requestor=True,
        limits=Limits(associate=1024 * 1024, data=caller.maximum_length),
        artim=caller.answer,
        write=caller.message,
    )
    try:
        deadline = Deadline.after(caller.answer, "answer", "the peer did not answer A-ASSOCIATE-RQ")
        answer = upper.request(_request(proposed, caller), deadline)
        announced = answer.user_information.maximum_length
        peer_length = _UNANNOUNCED_LENGTH if announced is None else announced
        if 0 < peer_length < LEAST_MAXIMUM_LENGTH:
            raise ProtocolError(f"the peer's maximum length of {peer_length} bytes leaves no room for a fragment")
        return Association(upper, caller, _accepted(proposed, answer), peer_length)
    except PeerError:
        upper.abort()
        upper.connection.close()
        raise


def _connect(peer: tuple[str, int], timeout: float) -> Connection:
    try:
        sock = socket.create_connection(peer, timeout)
        set_options(sock)
    except OSError as error:
        raise ConnectionLost(f"cannot connect to {address_text(peer)}: {error.strerror or error}") from error
    return Connection(sock, address_text(sock.getpeername()))


def _request(proposed: Mapping[int, Proposal], caller: Caller) -> AssociateRQ:
    return AssociateRQ(
        called_field=encode_title(caller.called),
        calling_field=encode_title(caller.calling),
        user_information=UserInformation(
            maximum_length=caller.maximum_length,
            implementation_class_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version_name=IMPLEMENTATION_VERSION_NAME,
        ),
        presentation_contexts=tuple(
            PresentationContextRQ(context_id, proposal.abstract_syntax, proposal.transfer_syntaxes)
            for context_id, proposal in proposed.items()
        ),
    )


def _accepted(proposed: Mapping[int, Proposal], answer: AssociateAC) -> dict[int, AcceptedContext]:
    contexts = {}
    for context in answer.presentation_contexts:
        proposal = proposed.get(context.context_id)
        if proposal is None or context.result != ContextResult.ACCEPTANCE:
            continue
        if context.transfer_syntax not in proposal.transfer_syntaxes:
            raise ProtocolError(f"the peer accepted context {context.context_id} in a syntax nobody proposed")
        contexts[context.context_id] = AcceptedContext(
            context.context_id, proposal.abstract_syntax, context.transfer_syntax, as_scu=True, as_scp=False
        )
    return contexts
