"""Presentation contexts as Python programs write and read them (PS3.7 annex D.3.2, PS3.8 9.3.2.2).

Knows no socket and no thread, and does not negotiate: :meth:`PresentationContext.negotiated` is told what came of that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self, TypeAlias

from pydicom.uid import UID

from scpd import sop_class
from scpd.names import is_uid, parse_uid, quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# What names a transfer syntax, or several in order of preference.
TransferSyntaxes: TypeAlias = str | list[str] | list[UID] | tuple[str, ...]

# PS3.8 9.3.2.2: the odd IDs from 1 to 255.
_MOST_REQUESTED = 128

# PS3.8 table 9-18, in the words that programs compare with.
_STATUS: dict[int | None, str] = {
    None: "Pending",
    0: "Accepted",
    1: "User Rejected",
    2: "Provider Rejected",
    3: "Abstract Syntax Not Supported",
    4: "Transfer Syntax(es) Not Supported",
}
_ROLES = {
    (True, True): "SCU and SCP",
    (True, False): "SCU only",
    (False, True): "SCP only",
    (False, False): "(none)",
}


class PresentationContextTuple(NamedTuple):
    """An accepted presentation context in short, as handlers of requests get it."""

    context_id: int
    abstract_syntax: UID
    transfer_syntax: UID


class PresentationContext:
    """An abstract syntax, usually a SOP class, with the transfer syntaxes in which its data sets may be encoded.

    ``PresentationContext()`` is empty, :func:`build_context` makes a whole one. A proposal has its syntaxes and, if
    roles are to be selected, ``scu_role`` and ``scp_role``; a negotiated context has ``context_id`` and ``result``
    too, one transfer syntax if it was accepted, and in ``as_scu`` and ``as_scp`` the roles that hold.

    Contexts are equal when all of that is equal, the order of transfer syntaxes included.
    """

    __slots__ = (
        "_abstract_syntax",
        "_as_scp",
        "_as_scu",
        "_context_id",
        "_result",
        "_scp_role",
        "_scu_role",
        "_transfer_syntax",
    )

    def __init__(self) -> None:
        self._context_id: int | None = None
        self._abstract_syntax: UID | None = None
        self._transfer_syntax: list[UID] = []
        self._result: int | None = None
        self._scu_role: bool | None = None
        self._scp_role: bool | None = None
        self._as_scu: bool | None = None
        self._as_scp: bool | None = None

    @classmethod
    def negotiated(
        cls,
        context_id: int,
        abstract_syntax: str,
        transfer_syntaxes: Iterable[str],
        *,
        result: int | None = None,
        as_scu: bool | None = None,
        as_scp: bool | None = None,
    ) -> Self:
        """A context as a message of the negotiation has it: with ``result`` an answer, without one a proposal.

        A peer wrote it, so nothing is checked and nothing is raised; text that is no UID is escaped when it is shown.
        """
        context = cls()
        context._context_id = context_id
        context._abstract_syntax = _unchecked(abstract_syntax)
        context._transfer_syntax = [_unchecked(syntax) for syntax in transfer_syntaxes]
        context._result = None if result is None else int(result)
        context._as_scu = as_scu
        context._as_scp = as_scp
        return context

    @property
    def context_id(self) -> int | None:
        """The ID within an association: odd, 1 to 255 (PS3.8 9.3.2.2), else :class:`ValueError`; None before it."""
        return self._context_id

    @context_id.setter
    def context_id(self, value: int | None) -> None:
        if value is not None:
            _check_int(value, "context_id")
            if not (1 <= value <= 255 and value % 2):
                raise ValueError(f"context_id is an odd number from 1 to 255 (PS3.8 9.3.2.2), not {value}")
        self._context_id = value

    @property
    def abstract_syntax(self) -> UID | None:
        """What the context is for, set with a ``str`` or UID; None in an empty context.

        :class:`ValueError` for what is no UID (PS3.5 9.1), and for a UID of the standard that names no SOP class.
        """
        return self._abstract_syntax

    @abstract_syntax.setter
    def abstract_syntax(self, value: str | None) -> None:
        self._abstract_syntax = None if value is None else _parse_abstract_syntax(value)

    @property
    def transfer_syntax(self) -> list[UID]:
        """The transfer syntaxes in order of preference, set with a list or tuple of ``str`` or UID.

        :class:`ValueError` for what is no UID (PS3.5 9.1), and for a UID of the standard that names something else;
        one that is there twice is kept once.
        """
        return self._transfer_syntax

    @transfer_syntax.setter
    def transfer_syntax(self, value: list[str] | list[UID] | tuple[str, ...]) -> None:
        if not isinstance(value, list | tuple):
            raise TypeError(f"transfer_syntax takes a list or tuple of UIDs, not {_type(value)}")
        self._transfer_syntax = list(dict.fromkeys(_parse_transfer_syntax(syntax) for syntax in value))

    def add_transfer_syntax(self, syntax: str) -> None:
        """One more transfer syntax at the end, unless it is there. Errors are those of ``transfer_syntax``."""
        uid = _parse_transfer_syntax(syntax)
        if uid not in self._transfer_syntax:
            self._transfer_syntax.append(uid)

    @property
    def scu_role(self) -> bool | None:
        """Whether the *requestor* may have the SCU role when it asks for it (PS3.7 D.3.3.4); None: no answer."""
        return self._scu_role

    @scu_role.setter
    def scu_role(self, value: bool | None) -> None:
        self._scu_role = _parse_role(value, "scu_role")

    @property
    def scp_role(self) -> bool | None:
        """Whether the *requestor* may have the SCP role when it asks for it (PS3.7 D.3.3.4); None: no answer."""
        return self._scp_role

    @scp_role.setter
    def scp_role(self, value: bool | None) -> None:
        self._scp_role = _parse_role(value, "scp_role")

    @property
    def as_scu(self) -> bool | None:
        """Whether this side may act as SCU in the context; None until that is negotiated."""
        return self._as_scu

    @property
    def as_scp(self) -> bool | None:
        """Whether this side may act as SCP in the context; None until that is negotiated."""
        return self._as_scp

    @property
    def result(self) -> int | None:
        """The acceptor's answer, 0 (accepted) to 4 (PS3.8 table 9-18); None until there is one."""
        return self._result

    @result.setter
    def result(self, value: int | None) -> None:
        if value is not None:
            _check_int(value, "result")
            if not 0 <= value <= 4:
                raise ValueError(f"result is a number from 0 to 4 (PS3.8 table 9-18), not {value}")
        self._result = None if value is None else int(value)

    @property
    def status(self) -> str:
        """``result`` in words: "Pending" until there is one, "Unknown" for a number that the standard lacks."""
        return _STATUS.get(self._result, "Unknown")

    @property
    def as_tuple(self) -> PresentationContextTuple:
        """ID, abstract syntax and first transfer syntax; :class:`ValueError` while one of them is missing."""
        if self._context_id is None or self._abstract_syntax is None or not self._transfer_syntax:
            raise ValueError(f"{self!r} was not negotiated: it needs an ID, an abstract and a transfer syntax")
        return PresentationContextTuple(self._context_id, self._abstract_syntax, self._transfer_syntax[0])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PresentationContext):
            return NotImplemented
        return self._state() == other._state()

    def __hash__(self) -> int:
        return hash(self._state())

    def _state(self) -> tuple[object, ...]:
        return (
            (self._context_id, self._abstract_syntax, *self._transfer_syntax),
            (self._result, self._as_scu, self._as_scp),
            (self._scu_role, self._scp_role),
        )

    def __repr__(self) -> str:
        number = "" if self._context_id is None else f" {self._context_id}"
        abstract = "(none)" if self._abstract_syntax is None else _name(self._abstract_syntax)
        syntaxes = ", ".join(map(_name, self._transfer_syntax)) or "(none)"
        return f"<PresentationContext{number} {abstract}: {syntaxes}>"

    def __str__(self) -> str:
        lines = [] if self._context_id is None else [f"ID: {self._context_id}"]
        if self._abstract_syntax is not None:
            lines.append(f"Abstract Syntax: {_name(self._abstract_syntax)}")
        lines.append("Transfer Syntax(es):")
        lines += [f"    ={_name(syntax)}" for syntax in self._transfer_syntax] or ["    (none)"]
        if self._result is not None:
            lines.append(f"Result: {self.status}")
        return "\n".join([*lines, *self._roles()])

    def _roles(self) -> list[str]:
        if self._as_scu is not None and self._as_scp is not None:
            return [f"Role: {_ROLES[self._as_scu, self._as_scp]}"]
        selected = (("SCU", self._scu_role), ("SCP", self._scp_role))
        words = [f"{role} {'yes' if value else 'no'}" for role, value in selected if value is not None]
        return [f"Role Selection: {', '.join(words)}"] if words else []


def build_context(abstract_syntax: str, transfer_syntax: TransferSyntaxes | None = None) -> PresentationContext:
    """A context for ``abstract_syntax`` with one transfer syntax or several, by default those without compression.

    UIDs are ``str`` or pydicom's. :class:`TypeError` for anything else; :class:`ValueError` for what is no UID (PS3.5
    9.1), for a UID of the standard that names something else, and for no transfer syntax at all (PS3.8 9.3.2.2).
    """
    context = PresentationContext()
    context.abstract_syntax = _parse_abstract_syntax(abstract_syntax)  # the setter alone would take None
    context.transfer_syntax = _listed(transfer_syntax)
    if not context.transfer_syntax:
        raise ValueError("transfer_syntax is empty: a presentation context needs at least one (PS3.8 9.3.2.2)")
    return context


def requestable(contexts: Iterable[PresentationContext]) -> list[PresentationContext]:
    """Copies of ``contexts`` as a requestor proposes them: in their order, not numbered, without an earlier result.

    The same abstract syntax may stand there several times. :class:`TypeError` for what is no context, with its place;
    :class:`ValueError` for one that lacks a syntax, and for none or more than 128 of them (PS3.8 9.3.2.2).
    """
    given = listed(contexts)
    if not 1 <= len(given) <= _MOST_REQUESTED:
        raise ValueError(
            f"an association is requested with 1 to {_MOST_REQUESTED} presentation contexts, since their IDs are the "
            f"odd numbers from 1 to 255 (PS3.8 9.3.2.2); here are {len(given)}"
        )
    return [_copied(context, f"contexts[{place}]") for place, context in enumerate(given)]


def supportable(
    existing: Mapping[UID, PresentationContext],
    abstract_syntax: str,
    transfer_syntaxes: TransferSyntaxes | None = None,
    scu_role: bool | None = None,
    scp_role: bool | None = None,
) -> dict[UID, PresentationContext]:
    """``existing``, which stays as it is, with one abstract syntax more, as an acceptor supports them.

    One that is there already keeps its transfer syntaxes, the new ones following, and its roles where the new ones are
    None. Arguments and errors are those of :func:`build_context`; the number of contexts has no limit.
    """
    uid = _parse_abstract_syntax(abstract_syntax)
    added = build_context(uid, transfer_syntaxes)
    added.scu_role = scu_role
    added.scp_role = scp_role
    before = existing.get(uid)
    return {**existing, uid: added if before is None else _merged(before, added)}


def _merged(before: PresentationContext, added: PresentationContext) -> PresentationContext:
    merged = PresentationContext()
    merged.abstract_syntax = before.abstract_syntax
    merged.transfer_syntax = [*before.transfer_syntax, *added.transfer_syntax]
    merged.scu_role = before.scu_role if added.scu_role is None else added.scu_role
    merged.scp_role = before.scp_role if added.scp_role is None else added.scp_role
    return merged


def listed(contexts: Iterable[PresentationContext]) -> list[PresentationContext]:
    """``contexts`` as a list; :class:`TypeError` for what is no list, or holds anything else."""
    try:
        given = list(contexts)
    except TypeError:
        raise TypeError(f"contexts takes a list of PresentationContext, not {_type(contexts)}") from None
    for place, context in enumerate(given):
        if not isinstance(context, PresentationContext):
            raise TypeError(
                f"contexts[{place}] is not a PresentationContext but a {_type(context)}; make one with build_context()"
            )
    return given


def _copied(context: PresentationContext, where: str) -> PresentationContext:
    if context.abstract_syntax is None:
        raise ValueError(f"{where} has no abstract syntax")
    try:
        copied = build_context(context.abstract_syntax, context.transfer_syntax)
    except (TypeError, ValueError) as fault:
        raise type(fault)(f"{where}: {fault}") from None
    copied.scu_role = context.scu_role
    copied.scp_role = context.scp_role
    return copied


def _listed(transfer_syntax: TransferSyntaxes | None) -> list[str] | list[UID] | tuple[str, ...]:
    if transfer_syntax is None:
        return sop_class.UNCOMPRESSED
    return [transfer_syntax] if isinstance(transfer_syntax, str) else transfer_syntax


def _parse_abstract_syntax(value: str) -> UID:
    return _parse(value, "abstract_syntax", "a SOP class", ("SOP Class", "Meta SOP Class"))


def _parse_transfer_syntax(value: str) -> UID:
    return _parse(value, "transfer_syntax", "a transfer syntax", ("Transfer Syntax",))


def _parse(value: str, argument: str, wanted: str, types: tuple[str, ...]) -> UID:
    if not isinstance(value, str):
        raise TypeError(f"{argument} takes a UID as str or pydicom's UID, not {_type(value)}")
    try:
        parse_uid(value)
    except ValueError as fault:
        raise ValueError(f"{argument}: {fault}") from None
    # Private UIDs, and what is younger than the dictionary, may be anything.
    known = sop_class.uid_type(value)
    if known and known not in types:
        raise ValueError(f"{argument}: {value} is {sop_class.uid_name(value)} ({known}), not {wanted}")
    return value if isinstance(value, UID) else UID(value)


def _parse_role(value: bool | None, argument: str) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{argument} is True, False or None, not {value!r}")
    return value


def _check_int(value: int, argument: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{argument} takes an int or None, not {_type(value)}")


def _unchecked(text: str) -> UID:
    # Not by the constructor, which strips and, as its settings have it, warns or raises.
    return text if isinstance(text, UID) else str.__new__(UID, text)


def _name(uid: UID) -> str:
    return sop_class.uid_name(uid) if is_uid(uid) else quote(uid)


def _type(value: object) -> str:
    return type(value).__name__
