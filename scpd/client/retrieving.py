"""What this side proposes to receive the instances of a C-GET on the association that asks for them (PS3.4 C.4.3).

Who takes them is ``Association.serve``; nothing here knows of files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scpd.client.requestor import MOST_CONTEXTS, Proposal
from scpd.sop_class import ALL_TRANSFER_SYNTAXES, UNCOMPRESSED
from scpd.wire.user_info import RoleSelection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scpd.dimse.command import Response

# What says most about a data set first: many peers take the first that they can.
_IMPLICIT, _EXPLICIT, *_RARER = map(str, UNCOMPRESSED)
_UNCOMPRESSED = (_EXPLICIT, _IMPLICIT, *_RARER)
_COMPRESSED = tuple(str(one) for one in ALL_TRANSFER_SYNTAXES if one not in UNCOMPRESSED)
_ALL = _UNCOMPRESSED + _COMPRESSED


def storage_proposals(sop_classes: Sequence[str]) -> list[Proposal]:
    """The contexts in which instances of these classes may come, beside one for the C-GET itself.

    An instance comes unchanged where the peer accepted its own encoding, and the peer picks one of those in a context:
    up to three classes get one for each encoding, more of them share what room there is, many have one for all.
    Raises :class:`ValueError` for more than 127 classes or none.
    """
    most = MOST_CONTEXTS - 1
    if not 0 < len(sop_classes) <= most:
        raise ValueError(f"an association has room for 1 to {most} storage classes, not {len(sop_classes)}")
    groups = _groups(most // len(sop_classes))
    return [Proposal(sop_class, syntaxes) for sop_class in sop_classes for syntaxes in groups]


def _groups(room: int) -> list[tuple[str, ...]]:
    """All transfer syntaxes in at most ``room`` groups."""
    if room >= len(_ALL):
        return [(one,) for one in _ALL]
    if room == 1:
        return [_ALL]
    alone = room - 2  # beside those without compression, and the rest
    return [_UNCOMPRESSED, *((one,) for one in _COMPRESSED[:alone]), _COMPRESSED[alone:]]


def roles(sop_classes: Sequence[str]) -> tuple[RoleSelection, ...]:
    """The role selection that goes with them: this side is the SCP of the sub-operations (PS3.7 D.3.3.4)."""
    return tuple(RoleSelection(sop_class, scu_role=False, scp_role=True) for sop_class in sop_classes)


class Counts(NamedTuple):
    """The sub-operations of a C-MOVE or C-GET so far (PS3.4 C.4.2.1.6)."""

    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warning: int = 0

    def after(self, response: Response) -> Counts:
        """The counts by a response; what it does not tell is as it was."""
        told = {name: getattr(response, name, None) for name in self._fields}
        return self._replace(**{name: count for name, count in told.items() if count is not None})

    @property
    def done(self) -> int:
        """How many have ended, one way or another."""
        return self.completed + self.failed + self.warning
