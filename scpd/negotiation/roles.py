"""SCP/SCU role selection (PS3.7 D.3.3.4): what of a proposal is granted, and which roles then hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scpd.wire.user_info import RoleSelection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scpd.negotiation.offer import SupportedContext


class Roles(NamedTuple):
    """The roles of the acceptor in a context, and the answer that goes with them, if any."""

    as_scu: bool
    as_scp: bool
    answer: RoleSelection | None = None

    @property
    def none(self) -> bool:
        """Whether nobody would have a role: the context is of no use to either side."""
        return not (self.as_scu or self.as_scp)


def first_of_each(items: Iterable[RoleSelection]) -> dict[str, RoleSelection]:
    """By SOP class; the standard has one for each, and where a peer sends more, both sides go by the first."""
    first: dict[str, RoleSelection] = {}
    for item in items:
        first.setdefault(item.sop_class_uid, item)
    return first


DEFAULT = Roles(as_scu=False, as_scp=True)


def decide(supported: SupportedContext, proposal: RoleSelection | None) -> Roles:
    """The roles for a context: nothing is granted that was not proposed, and nothing answered that was not asked.

    The requestor's SCP role is the acceptor's SCU role and the other way round.
    """
    if proposal is None or supported.scu_role is None or supported.scp_role is None:
        return DEFAULT
    scu = proposal.scu_role and supported.scu_role
    scp = proposal.scp_role and supported.scp_role
    return Roles(as_scu=scp, as_scp=scu, answer=RoleSelection(proposal.sop_class_uid, scu, scp))
