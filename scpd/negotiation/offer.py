"""What this side is ready to agree to, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scpd.wire.contexts import ContextResult
    from scpd.wire.pdu import AssociateAC, AssociateRJ
    from scpd.wire.user_info import SOPClassCommonExtendedNegotiation, UserInformation

# What a peer that announces no maximum length is sent: DICOM's customary 16 KiB.
_UNANNOUNCED_LENGTH = 16 * 1024


@dataclass(frozen=True, slots=True)
class SupportedContext:
    """An abstract syntax with the transfer syntaxes in which it is taken, in order of preference.

    ``scu_role`` and ``scp_role``: whether the *requestor* may take that role, when it asks; with either None a
    proposal of roles is not answered and the default roles hold (PS3.7 D.3.3.4).
    """

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    scu_role: bool | None = None
    scp_role: bool | None = None


@dataclass(frozen=True, slots=True)
class Extensions:
    """How an acceptor takes the extended negotiation of PS3.7 D.3.3.3, D.3.3.5 and D.3.3.6; None is not at all.

    ``window`` gets what the requestor invokes and performs at once, and answers the same pair (0 is unlimited).
    ``extended`` gets the service class application information by SOP class UID and answers in kind, leaving out what
    it does not support. ``common_extended`` gets the items by SOP class UID and returns those it accepts.
    """

    window: Callable[[int, int], tuple[int, int]] | None = None
    extended: Callable[[Mapping[str, bytes]], Mapping[str, bytes]] | None = None
    common_extended: (
        Callable[[Mapping[str, SOPClassCommonExtendedNegotiation]], Mapping[str, SOPClassCommonExtendedNegotiation]]
        | None
    ) = None


NO_EXTENSIONS = Extensions()


@dataclass(frozen=True, slots=True)
class Offer:
    """What an acceptor supports. ``contexts`` is keyed by abstract syntax UID; lengths are in bytes.

    ``forbids`` says why a context that could be accepted is not for this peer, or nothing.
    """

    ae_title: str
    contexts: Mapping[str, SupportedContext]
    maximum_length: int
    check_called_ae_title: bool = False
    preference: Literal["requestor", "acceptor"] = "requestor"
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    extensions: Extensions = NO_EXTENSIONS
    forbids: Callable[[AcceptedContext], str] | None = None


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """A presentation context that both sides may use. The roles are those of whoever holds it.

    ``extended`` is the service class application information that was answered for its SOP class (PS3.7 D.3.3.5).
    """

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    as_scu: bool = False
    as_scp: bool = True
    extended: bytes = b""


@dataclass(frozen=True, slots=True)
class RejectedContext:
    """A presentation context that was refused, and why."""

    context_id: int
    abstract_syntax: str
    result: ContextResult
    why: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """An association that is to be accepted: the answer, and what it means for the acceptor.

    ``peer_maximum_length`` is the longest P-DATA-TF body that the peer takes, in bytes; 0 is unlimited.
    """

    answer: AssociateAC
    contexts: Mapping[int, AcceptedContext]
    rejected: tuple[RejectedContext, ...] = ()
    peer_maximum_length: int = 0
    common_extended: Mapping[str, SOPClassCommonExtendedNegotiation] = field(default_factory=dict)


def announced_length(peer: UserInformation) -> int:
    """The longest P-DATA-TF body that ``peer`` takes, in bytes; 0 is unlimited (PS3.8 annex D.1)."""
    return _UNANNOUNCED_LENGTH if peer.maximum_length is None else peer.maximum_length


@dataclass(frozen=True, slots=True)
class Rejection:
    """An association that is not to be accepted.

    ``why`` says it in words; ``key`` is the name of the rule that decided, as the configuration calls it, or empty
    where the standard decided.
    """

    answer: AssociateRJ
    why: str
    key: str = ""
    fields: Mapping[str, object] = field(default_factory=dict)


class RejectResult(IntEnum):
    """Result of A-ASSOCIATE-RJ (PS3.8 table 9-21)."""

    PERMANENT = 1
    TRANSIENT = 2


class RejectSource(IntEnum):
    """Source of A-ASSOCIATE-RJ (PS3.8 table 9-21)."""

    SERVICE_USER = 1
    ACSE = 2
    PRESENTATION = 3
