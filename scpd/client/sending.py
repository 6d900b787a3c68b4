"""Files to a peer: which presentation contexts they need, over how many associations, and what came of each."""

from __future__ import annotations

import os
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from scpd.client import operations
from scpd.client.instance import CANNOT_CONVERT, Instance, converted, look, new_buffer, pieces
from scpd.client.requestor import MOST_CONTEXTS, Caller, Proposal, associate
from scpd.dimse.status import Category, category, meaning
from scpd.errors import Interrupted, PeerError, UnreadableDataSet
from scpd.sop_class import SOP_CLASSES, uid_keyword

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from scpd.client.requestor import Association


@dataclass(slots=True)
class Outcome:
    """What came of everything: how often each answer or reason, and how many files are where they should be."""

    counts: Counter[str] = field(default_factory=Counter)
    stored: int = 0
    failed: int = 0

    def answered(self, status: int) -> None:
        """A C-STORE response came."""
        self.counts[f"{meaning(status, 'C-STORE')} ({status:04X})"] += 1
        if category(status) in (Category.SUCCESS, Category.WARNING):
            self.stored += 1
        else:
            self.failed += 1

    def not_sent(self, why: str, count: int = 1) -> None:
        """Files did not get as far as that."""
        self.counts[f"not sent: {why}"] += count
        self.failed += count


def find(paths: Iterable[Path], outcome: Outcome) -> Iterator[Instance]:
    """The instances among ``paths``, folders searched to their depth.

    A file that was named and is none counts as failed; in a folder it is left out, and counted as that.
    """
    for path in paths:
        if path.is_dir():
            for folder, folders, names in os.walk(path):
                folders.sort()
                for name in sorted(names):
                    instance = _look(Path(folder, name))
                    if isinstance(instance, Instance):
                        yield instance
                    else:
                        outcome.counts[f"left out: {instance}"] += 1
        else:
            instance = _look(path)
            if isinstance(instance, Instance):
                yield instance
            else:
                outcome.not_sent(instance)


def _look(path: Path) -> Instance | str:
    try:
        instance = look(path)
    except OSError as error:
        return str(error.strerror)
    except UnreadableDataSet:
        return "not a DICOM file"
    if instance.head.sop_class_uid == SOP_CLASSES["MediaStorageDirectoryStorage"]:
        return "a DICOMDIR"
    return instance


def plan(instances: Iterable[Instance]) -> list[tuple[list[Proposal], list[Instance]]]:
    """Associations with at most 128 contexts each: what to propose, and which files go over it."""
    batches: list[tuple[dict[Proposal, None], list[Instance]]] = []
    home: dict[Proposal, int] = {}
    for instance in instances:
        own = instance.proposals[0]
        if own not in home:
            wanted = dict.fromkeys(instance.proposals)
            if not batches or len(batches[-1][0] | wanted) > MOST_CONTEXTS:
                batches.append(({}, []))
            batches[-1][0].update(wanted)
            home[own] = len(batches) - 1
        batches[home[own]][1].append(instance)
    return [(list(proposals), files) for proposals, files in batches]


def send(
    peer: tuple[str, int],
    instances: Sequence[Instance],
    caller: Caller,
    outcome: Outcome,
    progress: Callable[[Instance], None],
) -> None:
    """Send every instance; ``progress`` hears of each when it is done with, whatever came of it."""
    buffer = new_buffer()
    for proposals, files in plan(instances):
        pending = deque(files)
        while pending:
            try:
                with associate(peer, proposals, caller) as association:
                    contexts = {
                        (one.abstract_syntax, one.transfer_syntax): one.context_id
                        for one in association.contexts.values()
                    }
                    while pending:
                        _send_one(association, contexts, pending[0], outcome, buffer)
                        progress(pending.popleft())
            except Interrupted as error:  # by the file, not the peer: the others go on over a new association
                outcome.not_sent(error.why)
                progress(pending.popleft())
            except PeerError as error:
                if pending:
                    outcome.not_sent(str(error), len(pending))
                while pending:
                    progress(pending.popleft())


def _send_one(
    association: Association,
    contexts: dict[tuple[str, str], int],
    instance: Instance,
    outcome: Outcome,
    buffer: memoryview,
) -> None:
    head = instance.head
    for proposal in instance.proposals:
        syntax = proposal.transfer_syntaxes[0]
        context_id = contexts.get((head.sop_class_uid, syntax))
        if context_id is None:
            continue
        try:
            with instance.path.open("rb", buffering=0) as file:
                data = pieces(file, head, buffer) if syntax == head.transfer_syntax else converted(file, syntax)
                response = operations.store(association, context_id, head.sop_class_uid, head.sop_instance_uid, data)
        except OSError as error:
            outcome.not_sent(str(error.strerror))
        except CANNOT_CONVERT:
            outcome.not_sent(f"cannot be converted to {uid_keyword(syntax)}")
        else:
            outcome.answered(response.status)
        return
    outcome.not_sent(f"no context accepted for {uid_keyword(head.sop_class_uid)} {uid_keyword(head.transfer_syntax)}")
