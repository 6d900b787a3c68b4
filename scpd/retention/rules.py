"""Which studies go: a decision over facts, without a clock, a disk or a database."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scpd.identity.access import pattern

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable, Iterator, Sequence

# A study counts as still arriving for so long after its last instance (seconds): modalities send through an
# examination, and repeat what was refused.
ARRIVING = 3600.0


class Study(NamedTuple):
    """A study as it stands: ``last`` is when its last instance came (Unix time), ``callings`` who sent them.

    ``instances`` and ``size`` (bytes) are those of the files that may be deleted.
    """

    id: int
    uid: str
    last: float
    instances: int
    size: int
    callings: frozenset[str]


class Rule(NamedTuple):
    """Deletes studies of which all that is stated holds; see :func:`rule`.

    ``name`` is how it reads, ``place`` where it stands in the file. ``older_than`` is in seconds, ``free_below`` in
    bytes.
    """

    name: str
    place: str
    older_than: float | None = None
    free_below: int | None = None
    callings: tuple[re.Pattern[str], ...] = ()

    def applies(self, study: Study, now: float, free: int) -> bool:
        """Whether it deletes a study, at a time (Unix time) and with so much ``free`` space (bytes)."""
        return self._is_active(free) and study.last <= self._before(now) and self._is_theirs(study)

    def before(self, now: float, free: int) -> float:
        """The time after whose arrivals it deletes nothing."""
        return self._before(now) if self._is_active(free) else float("-inf")

    def _is_active(self, free: int) -> bool:
        return self.free_below is None or free < self.free_below

    def _before(self, now: float) -> float:
        return now - (self.older_than or 0.0)

    def _is_theirs(self, study: Study) -> bool:
        """Of a study that several sent, all have to be meant."""
        return not self.callings or all(any(one.match(title) for one in self.callings) for title in study.callings)


def rule(
    name: str,
    place: str,
    *,
    older_than: float | None = None,
    free_below: int | None = None,
    calling: Iterable[str] = (),
) -> Rule:
    """A rule; ``calling`` are AE titles, in which ``*`` is any text and ``?`` any character."""
    return Rule(name, place, older_than, free_below, tuple(map(pattern, calling)))


def goal(rules: Iterable[Rule]) -> int:
    """The free space below which there is something to do at once, in bytes; 0 where no rule asks for any."""
    return max((one.free_below or 0 for one in rules), default=0)


def horizon(rules: Iterable[Rule], now: float, free: int) -> float:
    """The time after whose arrivals no rule deletes anything."""
    return max((one.before(now, free) for one in rules), default=float("-inf"))


def expired(
    studies: Iterable[Study], rules: Sequence[Rule], now: float, free: Callable[[], int]
) -> Iterator[tuple[Study, Rule]]:
    """Those of ``studies``, the oldest first, that go, each with the first rule that says so.

    ``free`` is asked before each: whoever takes a study away, or only thinks of it, lets it grow.
    """
    for study in studies:
        left = free()
        if study.last > horizon(rules, now, left):
            return
        found = next((one for one in rules if one.applies(study, now, left)), None)
        if found:
            yield study, found


def is_arriving(study: Study, now: float) -> bool:
    """Whether more of it may be on its way."""
    return study.last > now - ARRIVING
