"""What is due in a store, and what of it has to stay: the rules over what an index holds. Changes nothing."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from scpd.retention.rules import expired, horizon, is_arriving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scpd.retention.candidates import About, Candidates, File
    from scpd.retention.deletion import Deleted
    from scpd.retention.rules import Rule, Study

ARRIVING = "something of it came within the last hour"


class Holds(Protocol):
    """Who knows why a study has to stay. Raises :class:`~scpd.forward.queue.QueueError`."""

    def why(self, directory: str, study: Study, files: Callable[[], Sequence[File]], /) -> str:
        """Why, or nothing; ``files`` looks for those that it has, whose paths begin below ``directory``."""


class Witness(Protocol):
    """Hears of each study that was deleted, or of what of it was."""

    def deleted(self, study: Study, about: About, rule: Rule, deleted: Deleted, /) -> None: ...


class Work(NamedTuple):
    """What there is to do: the rules for a store, who may hold a study back, and who hears of one that is gone."""

    rules: Sequence[Rule]
    holds: Sequence[Holds] = ()
    witnesses: Sequence[Witness] = ()


class Verdict(NamedTuple):
    """A study that a rule deletes, with its files; ``why`` it has to stay, or nothing."""

    study: Study
    rule: Rule
    files: Sequence[File]
    why: str


def judged(
    candidates: Candidates, directory: str, work: Work, now: float, free: Callable[[], int]
) -> Iterator[Verdict]:
    """Each study of the store at ``directory`` that is due, the oldest first.

    ``free`` as of :func:`~scpd.retention.rules.expired`. Raises :class:`~scpd.errors.IndexUnavailable` and
    :class:`~scpd.forward.queue.QueueError`.
    """
    due = candidates.oldest(horizon(work.rules, now, free()))
    for study, rule in expired(due, work.rules, now, free):
        if is_arriving(study, now):
            yield Verdict(study, rule, (), ARRIVING)
            continue
        files = cache(partial(candidates.files, study.id))
        reasons = (one.why(directory, study, files) for one in work.holds)
        why = next(filter(None, reasons), "")
        yield Verdict(study, rule, () if why else files(), why)
