"""What ``scpd move`` and ``scpd get`` share: the sub-operations as a progress bar, and what came of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tqdm import tqdm

from scpd.cli import answers
from scpd.client.retrieving import Counts
from scpd.dimse.status import Category, category
from scpd.errors import UnreadableDataSet

if TYPE_CHECKING:
    from scpd.client.querying import Operation


def follow(operation: Operation) -> Counts:
    """See an operation through to its end: how many instances went where they should."""
    counts = Counts()
    with tqdm(unit="instance", disable=not sys.stderr.isatty()) as bar:
        for answer in operation:
            counts = counts.after(answer.response)
            bar.total = counts.done + counts.remaining
            bar.update(counts.done - bar.n)
    return counts.after(operation.result)


def conclude(operation: Operation, counts: Counts) -> int:
    """Say by the peer's own account what came of it; the exit code."""
    said = f"{counts.completed} completed, {counts.failed} failed, {counts.warning} with a warning"
    answers.say(f"{said}: {answers.status(operation.result)}")
    for uid in _failed_uids(operation):
        answers.say(f"failed: {uid}")
    fine = category(operation.result.status) in (Category.SUCCESS, Category.WARNING)
    return int(not fine or bool(counts.failed))


def _failed_uids(operation: Operation) -> list[str]:
    """The instances that the final answer lists (PS3.4 C.4.2.1.4.2), as far as it can be read."""
    final = operation.final
    if final is None or not final.data:
        return []
    try:
        return answers.values(operation.identifier(final), "FailedSOPInstanceUIDList")
    except UnreadableDataSet as error:
        print(f"scpd: {error}", file=sys.stderr)
        return []
