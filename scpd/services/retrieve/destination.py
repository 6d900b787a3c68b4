"""Where a C-MOVE may send to, and how an association with it comes about: which contexts, how many of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scpd.client.requestor import MOST_CONTEXTS, Caller, Proposal, associate
from scpd.errors import ScpdError
from scpd.services.retrieve.carrying import EXPLICIT, IMPLICIT, PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scpd.client.requestor import Association
    from scpd.index.query import Held

# What is also proposed for instances that are held in a plain encoding; for those in any other, both of these.
_OTHER = {EXPLICIT: (IMPLICIT,), IMPLICIT: (EXPLICIT,)}


@dataclass(frozen=True, slots=True)
class Destination:
    """A peer by its ``name`` for people; ``associations`` may be had with it at once.

    ``attempts``: so often an association is tried in a row, and an instance sent that breaks it.
    """

    name: str
    address: tuple[str, int]
    caller: Caller
    associations: int = 1
    attempts: int = 3


@dataclass(frozen=True, slots=True)
class Batch:
    """Instances that go over one association, and what is proposed for them."""

    proposals: Sequence[Proposal]
    instances: Sequence[Held]


def plan(instances: Iterable[Held]) -> list[Batch]:
    """As few associations as have room for the contexts: one for each class and encoding, and one to transcode to."""
    batches: list[tuple[dict[Proposal, None], list[Held]]] = []
    home: dict[tuple[str, str], list[Held]] = {}
    for held in instances:
        kind = held.sop_class_uid, held.transfer_syntax_uid
        if kind not in home:
            wanted = dict.fromkeys(_proposals(*kind))
            if not batches or len(batches[-1][0] | wanted) > MOST_CONTEXTS:
                batches.append(({}, []))
            batches[-1][0].update(wanted)
            home[kind] = batches[-1][1]
        home[kind].append(held)
    return [Batch(tuple(proposals), files) for proposals, files in batches]


def _proposals(sop_class: str, syntax: str) -> tuple[Proposal, Proposal]:
    return Proposal(sop_class, (syntax,)), Proposal(sop_class, _OTHER.get(syntax, PLAIN))


class Unreachable(Exception):
    """None of the destinations could be associated with; says why not."""


def reach(destinations: Iterable[Destination], proposals: Sequence[Proposal]) -> tuple[Association, Destination]:
    """An association with the first that answers. Raises :class:`Unreachable`."""
    reasons = []
    for destination in destinations:
        try:
            return associate(destination.address, proposals, destination.caller), destination
        except ScpdError as error:
            reasons.append(f"{destination.name}: {error}")
    raise Unreachable("; ".join(reasons))
