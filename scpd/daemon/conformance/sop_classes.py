"""The SOP classes of a server: which there are, in which transfer syntaxes and roles, and which service takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.daemon.conformance.document import Code, Table
from scpd.daemon.served import service
from scpd.negotiation import roles
from scpd.services.commitment.service import Commitment
from scpd.services.query.models import BY_GET, BY_MOVE
from scpd.services.retrieve.service import Retrieve
from scpd.services.storage import Storage
from scpd.sop_class import SERVICE_CLASSES, STORAGE, uid_name, uid_type
from scpd.wire.user_info import RoleSelection

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from scpd.daemon.conformance.entity import Entity
    from scpd.negotiation.offer import SupportedContext

_STORED = frozenset((*STORAGE, *SERVICE_CLASSES["Storage"], *SERVICE_CLASSES["NonPatientObject"]))
_UNNAMED = "not in the data dictionary"
# What a requestor may propose for itself: (SCU, SCP).
_PROPOSALS = {"SCU": (True, False), "SCP": (False, True), "SCU and SCP": (True, True)}


def name(uid: str) -> str:
    """The standard's name of a UID; private ones have none."""
    return uid_name(uid) if is_known(uid) else _UNNAMED


def is_known(uid: str) -> bool:
    """Whether the data dictionary has it (PS3.6 annex A)."""
    return bool(uid_type(uid))


def operations(uid: str) -> str:
    """The DIMSE services that are spoken in it."""
    for models, operation in ((BY_MOVE, "C-MOVE"), (BY_GET, "C-GET")):
        if uid in models:
            return operation
    names = {one.NAME for one in service(uid).operations}
    return ", ".join(sorted(names | ({"N-EVENT-REPORT"} if service(uid) is Commitment else set())))


def is_extended(entity: Entity, uid: str) -> bool:
    """Whether extended negotiation is answered for it."""
    extended = entity.offer.extensions.extended
    return extended is not None and uid in extended({uid: b"\1"})


def _is_sent(entity: Entity, uid: str) -> bool:
    """Whether its instances are also sent."""
    return service(uid) is Storage and Retrieve in entity.services


def supported(entity: Entity) -> Table:
    """PS3.2: the SOP classes of an AE, each as SCU and as SCP."""
    rows = tuple(
        (
            name(one.abstract_syntax),
            Code(one.abstract_syntax),
            "Yes" if _is_sent(entity, one.abstract_syntax) else "No",
            "Yes",
            operations(one.abstract_syntax),
        )
        for one in entity.contexts
    )
    return Table("SOP Classes", ("SOP Class Name", "SOP Class UID", "SCU", "SCP", "DIMSE services"), rows)


def syntax_sets(contexts: Iterable[SupportedContext]) -> Mapping[tuple[str, ...], str]:
    """The different lists of transfer syntaxes, each with a name to refer to it: A, B and so on."""
    different = dict.fromkeys(one.transfer_syntaxes for one in contexts)
    return {syntaxes: _letters(number) for number, syntaxes in enumerate(different)}


def _letters(number: int) -> str:
    """A to Z, then AA, AB and so on."""
    before, letter = divmod(number, 26)
    return (_letters(before - 1) if before else "") + chr(ord("A") + letter)


def transfer_syntaxes(entity: Entity) -> Iterator[Table]:
    """A table for each set, in the order of preference."""
    header = ("Order of preference", "Transfer Syntax Name", "Transfer Syntax UID")
    for syntaxes, letter in syntax_sets(entity.contexts).items():
        rows = tuple((str(number), name(uid), Code(uid)) for number, uid in enumerate(syntaxes, 1))
        yield Table(f"Transfer Syntaxes, set {letter}", header, rows)


def presentation_contexts(entity: Entity) -> Table:
    """PS3.2: the acceptable presentation contexts; transfer syntaxes by their set, which has a table of its own."""
    letters = syntax_sets(entity.contexts)
    rows = tuple(
        (
            name(one.abstract_syntax),
            Code(one.abstract_syntax),
            f"Set {letters[one.transfer_syntaxes]}",
            _roles(one),
            _granted(one),
            "Yes" if is_extended(entity, one.abstract_syntax) else "None",
        )
        for one in entity.contexts
    )
    header = ("Abstract Syntax", "UID", "Transfer Syntaxes", "Role", "Role selection", "Extended Negotiation")
    return Table("Acceptable Presentation Contexts", header, rows)


def _roles(context: SupportedContext) -> str:
    """The roles that this side may come to have."""
    decided = [_decide(context, proposal) for proposal in (None, *_PROPOSALS.values())]
    role = "SCP" if any(one.as_scp for one in decided) else "None"
    return f"{role}, SCU where negotiated" if any(one.as_scu for one in decided) else role


def role_selection(entity: Entity) -> Table:
    """What a proposal of roles comes to (PS3.7 D.3.3.4), for each different setting."""
    rows = tuple(
        (_granted(context), proposed, *_outcome(context, pair))
        for context in _one_of_each(entity.contexts)
        for proposed, pair in {"Nothing": None, **_PROPOSALS}.items()
    )
    header = ("Role selection", "Requestor proposes for itself", "Answer", "This AE is then")
    return Table("SCP/SCU role selection", header, rows)


def _one_of_each(contexts: Sequence[SupportedContext]) -> Iterable[SupportedContext]:
    """A context for each different setting of its roles."""
    return {_granted(one): one for one in reversed(contexts)}.values()


def _granted(context: SupportedContext) -> str:
    """What a requestor may become, where it asks."""
    answer = _decide(context, _PROPOSALS["SCU and SCP"]).answer
    if answer is None:
        return "Not answered"
    return f"SCU {_yes_or_no(answer.scu_role)}, SCP {_yes_or_no(answer.scp_role)}"


def _yes_or_no(value: bool) -> str:
    return "yes" if value else "no"


def _decide(context: SupportedContext, proposal: tuple[bool, bool] | None) -> roles.Roles:
    item = RoleSelection(context.abstract_syntax, *proposal) if proposal else None
    return roles.decide(context, item)


def _outcome(context: SupportedContext, proposal: tuple[bool, bool] | None) -> tuple[str, str]:
    """The answer, and what holds then."""
    decided = _decide(context, proposal)
    answer = "None"
    if decided.answer:
        answer = f"SCU {_yes_or_no(decided.answer.scu_role)}, SCP {_yes_or_no(decided.answer.scp_role)}"
    held = [role for role, holds in (("SCP", decided.as_scp), ("SCU", decided.as_scu)) if holds]
    return answer, " and ".join(held) or "Neither: the presentation context is rejected"
