"""Keeps one store as its rules say: a thread that looks every few minutes, and at once when space runs short.

Gentle on the disk: it rests as long as it works, unless space is short. It survives what it meets, and says it once.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from scpd.errors import IndexUnavailable
from scpd.forward.queue import QueueError
from scpd.names import is_uid, quote
from scpd.retention import place
from scpd.retention.candidates import Candidates
from scpd.retention.deletion import Deletion
from scpd.retention.judging import judged
from scpd.retention.rules import goal
from scpd.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scpd.index.register import Register
    from scpd.retention.candidates import About
    from scpd.retention.deletion import Deleted
    from scpd.retention.judging import Verdict, Work
    from scpd.retention.place import Place
    from scpd.retention.rules import Rule, Study

# Between two passes; between two of them while space is short; between two looks at that (seconds).
_BETWEEN_PASSES, _BETWEEN_TRIES, _BETWEEN_LOOKS = 300.0, 60.0, 5.0
# A study whose files cannot be deleted is let alone for so long (seconds); a pass ends after so many.
_LET_ALONE = 3600.0
_MOST_FAILURES = 20
# A disk that is short gives back at least this much of what is deleted; else it is let alone for so long (seconds).
_LEAST_GAIN, _REST = 0.1, 3600.0
_NO_GAIN = "what is deleted gives no space back: there are snapshots of it, or others fill the disk; see to that"
_LONGEST_REST = 1.0
UNDELETABLE = "its files cannot be deleted"


class RuleStanding(NamedTuple):
    """What one rule has deleted since the start."""

    name: str
    place: str
    studies: int
    instances: int
    size: int


class Standing(NamedTuple):
    """How the keeper of a store stands.

    ``last`` is when the last pass ended (Unix time; None before the first), ``held_back`` counts the studies that it
    left, by the reason; ``trouble`` is why there is none any more, or nothing.
    """

    directory: str
    rules: Sequence[RuleStanding]
    held_back: Mapping[str, int]
    last: float | None
    trouble: str


class Keeper:
    """The thread of one store, from :meth:`start` until :meth:`end`. ``former`` is the one that it takes over from.

    ``clock`` gives Unix time.
    """

    def __init__(
        self, register: Register, work: Work, former: Keeper | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._register = register
        self._work = work
        self._clock = clock
        self._candidates = Candidates(register.index.database, register.uid)
        self._log = logger("retention")
        self._former = former
        self._wanted = threading.Event()
        self._is_over = False
        self._due = 0.0
        self._is_short = False
        # What was free before the last pass, and what it has deleted since (bytes).
        self._expected = (0, 0)
        self._rests_until = 0.0
        self._said = ""
        self._trouble = ""
        self._last: float | None = None
        self._held_back: Mapping[str, int] = {}
        self._counts: dict[str, Counter[str]] = {}
        self._let_alone: dict[int, float] = {}
        if former:
            self._last, self._counts, self._let_alone = former._last, former._counts, former._let_alone  # noqa: SLF001 its own kind
        self._thread = threading.Thread(target=self._keep, name="retention", daemon=True)

    def start(self) -> None:
        """Begin."""
        try:
            self._thread.start()
        except RuntimeError:
            self._failed("the system has no thread left")

    def hurry(self) -> None:
        """Look now, and not only when it is time."""
        self._due = 0.0
        self._wanted.set()

    def end(self) -> None:
        """Delete no more; what is under way comes to a state that may be left."""
        self._is_over = True
        self._wanted.set()

    def join(self, patience: float | None) -> bool:
        """After the end: wait up to ``patience`` seconds; whether it has ended."""
        if self._thread.ident:
            self._thread.join(patience)
        return not self._thread.is_alive()

    def standing(self) -> Standing:
        """How it stands; waits for nothing."""
        rules = [self._rule_standing(rule) for rule in self._work.rules]
        return Standing(self._register.directory, rules, self._held_back, self._last, self._trouble)

    def _rule_standing(self, rule: Rule) -> RuleStanding:
        counts = self._counts.get(rule.name, Counter())
        return RuleStanding(rule.name, rule.place, counts["studies"], counts["instances"], counts["bytes"])

    # -- the thread

    def _keep(self) -> None:
        if self._former:
            self._former.join(None)
            self._former = None
        while not self._is_over:
            self._wanted.clear()
            try:
                self._look()
            except IndexUnavailable as error:
                self._failed(f"the index cannot be used: {error}")
            except QueueError as error:
                self._failed(f"nobody knows what waits in the queue: {error}")
            except OSError as error:
                self._failed(f"the store cannot be used: {error.strerror or error}")
            self._wanted.wait(_BETWEEN_LOOKS)

    def _failed(self, why: str) -> None:
        self._trouble = why
        if why != self._said:
            self._said = why
            self._log.error("retention deletes nothing", directory=self._register.directory, why=why)

    def _look(self) -> None:
        """A pass, where it is time for one."""
        register = self._register
        if not register.is_recovered or (trouble := register.index.trouble()):
            # Whoever keeps the index says what is wrong with it; until then it may tell of files as they were.
            self._trouble = trouble if register.is_recovered else "the index has yet to catch up"
            return
        with place.opened(register.directory, register.uid) as opened:
            if self._has_gained_nothing(opened):
                self._failed(_NO_GAIN)
                return
            if not self._is_time(opened):
                return
            self._due = time.monotonic() + _BETWEEN_PASSES
            self._pass(opened)
            self._is_short = self._is_short_of_space(opened)
        self._trouble = ""
        if self._said:
            self._said = ""
            self._log.info("retention works again", directory=register.directory)

    def _is_time(self, opened: Place) -> bool:
        was_short, self._is_short = self._is_short, self._is_short_of_space(opened)
        if self._is_short and not was_short:
            return True
        sooner = _BETWEEN_PASSES - _BETWEEN_TRIES if self._is_short else 0.0
        return time.monotonic() >= self._due - sooner

    def _has_gained_nothing(self, opened: Place) -> bool:
        """Whether deleting is of no use at the moment: pass after pass would cost everything there is."""
        (before, freed), self._expected = self._expected, (0, 0)
        if self._is_short_of_space(opened) and opened.free() - before < freed * _LEAST_GAIN:
            self._rests_until = time.monotonic() + _REST
        return time.monotonic() < self._rests_until

    def _is_short_of_space(self, opened: Place) -> bool:
        return opened.free() < goal(self._work.rules)

    def _pass(self, opened: Place) -> None:
        held_back: Counter[str] = Counter()
        before, freed, failures = opened.free(), 0, 0
        go_on = self._rested(opened)

        def free() -> int:
            # Some file systems give space back later: what should be free by now is not waited for.
            return max(opened.free(), before + freed)

        try:
            for verdict in judged(self._candidates, self._register.directory, self._work, self._clock(), free):
                why = verdict.why or self._is_undeletable(verdict.study)
                if why:
                    held_back[why] += 1
                else:
                    deleted = self._delete(opened, verdict, go_on)
                    freed += deleted.size
                    failures += bool(deleted.why)
                if not go_on() or failures > _MOST_FAILURES:
                    return
        finally:
            self._expected = (before, freed)
            self._held_back = held_back
            self._last = self._clock()

    def _delete(self, opened: Place, verdict: Verdict, go_on: Callable[[], bool]) -> Deleted:
        about = self._candidates.about(verdict.study.id)
        deletion = Deletion(self._register, verdict.study, verdict.files)
        try:
            deletion.run(opened, go_on)
        finally:
            if deletion.result.instances:
                self._tell(verdict, about, deletion.result)
        if deletion.result.why:
            self._let_it_alone(verdict.study, deletion.result)
        return deletion.result

    def _rested(self, opened: Place) -> Callable[[], bool]:
        """What to call between some work and the next; whether to go on."""
        began = time.monotonic()

        def go_on() -> bool:
            nonlocal began
            if not self._is_over and not self._is_short_of_space(opened):
                self._wanted.wait(min(time.monotonic() - began, _LONGEST_REST))
            began = time.monotonic()
            return not self._is_over

        return go_on

    def _tell(self, verdict: Verdict, about: About, deleted: Deleted) -> None:
        study, rule = verdict.study, verdict.rule
        counts = self._counts.setdefault(rule.name, Counter())
        counts.update(studies=1, instances=deleted.instances, bytes=deleted.size)
        self._log.info(
            "study deleted",
            study=shown(study.uid),
            instances=deleted.instances,
            bytes=deleted.size,
            left=deleted.left,
            last=datetime.fromtimestamp(study.last, UTC).isoformat(timespec="seconds"),
            rule=rule.name,
            where=rule.place,
            directory=self._register.directory,
        )
        for witness in self._work.witnesses:
            witness.deleted(study, about, rule, deleted)

    def _is_undeletable(self, study: Study) -> str:
        return UNDELETABLE if time.monotonic() < self._let_alone.get(study.id, 0.0) else ""

    def _let_it_alone(self, study: Study, deleted: Deleted) -> None:
        now = time.monotonic()
        self._let_alone = {number: until for number, until in self._let_alone.items() if until > now}
        if not self._let_alone:
            what = {"study": shown(study.uid), "left": deleted.left, "why": deleted.why}
            self._log.error("a study cannot be deleted", **what, directory=self._register.directory)
        self._let_alone[study.id] = now + _LET_ALONE


def shown(uid: str) -> str:
    """The UID of a study for the log, whatever a peer has put there."""
    return uid if is_uid(uid) else quote(uid)
