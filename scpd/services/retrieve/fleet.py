"""The associations of one C-MOVE with its destination, a thread for each, and what happens when one of them breaks.

The first association decides which of several peers it is, and how many more may be had with it. They share the work;
one that breaks is made anew, and what was under way on it comes again. The thread that asked only looks on.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from threading import Lock, Thread
from typing import TYPE_CHECKING

from scpd.errors import Interrupted, PeerError
from scpd.services.retrieve.carrying import Carrier, Over
from scpd.services.retrieve.destination import Unreachable, plan, reach
from scpd.services.retrieve.work import Outcome, Work

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scpd.client.requestor import Association
    from scpd.dimse.command import CStoreRQ
    from scpd.index.query import Held
    from scpd.services.retrieve.destination import Destination

# Between two attempts, in seconds: twice as long each time, up to a bound, while the requestor waits.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 8.0
# How long the last associations may take to be released before the requestor hears that all is done (s).
_RELEASE = 2.0


class Fleet:
    """Sends ``instances`` to the first of ``destinations`` that answers; ``work`` tells how far it is.

    ``trouble`` is why a destination could last not be reached.
    """

    def __init__(self, destinations: Sequence[Destination], instances: Sequence[Held], template: CStoreRQ) -> None:
        self._batches = plan(instances)
        self.work = Work(batch.instances for batch in self._batches)
        self.trouble = ""
        self._template = template
        self._size = len(instances)
        self._lock = Lock()
        self._associations: set[Association] = set()
        self._threads: list[Thread] = []
        self._running = 0
        self._failure: BaseException | None = None
        self._add(destinations)

    def wait(self, seconds: float) -> bool:
        """Wait for so long until it is over; whether it is."""
        over = self.work.wait(seconds)
        if self._failure:
            raise self._failure
        return over

    def see_off(self) -> None:
        """Wait a little for what has been sent to be over, so that the next C-MOVE finds the peer free."""
        for thread in self._threads:
            if self._associations:
                thread.join(_RELEASE / len(self._threads))

    def close(self) -> None:
        """Nothing more begins; what still is under way is broken off."""
        self.work.stop()
        with self._lock:
            left = tuple(self._associations) if not self.work.is_over else ()
        for association in left:
            association.upper.connection.interrupt("the retrieval has been broken off")

    def _add(self, destinations: Sequence[Destination]) -> None:
        with self._lock:
            self._running += 1
        thread = Thread(target=self._run, args=(destinations,), name="retrieval", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, destinations: Sequence[Destination]) -> None:
        try:
            for number in range(len(self._batches)):
                if not self._work_off(number, destinations):
                    break
        except BaseException as error:  # noqa: BLE001 the thread's boundary: whoever waits raises it
            self._failure = error
        finally:
            with self._lock:
                self._running -= 1
                is_last = not self._running
            if is_last and not self.work.stopped:
                self.work.give_up(self.trouble or "the destination cannot be reached")

    def _work_off(self, batch: int, destinations: Sequence[Destination]) -> bool:
        """Send what is left of a batch, over one association after the other; False when that leads nowhere."""
        barren = 0
        while self.work.has(batch):
            reached = self._reach(batch, destinations)
            if reached is None:
                return False
            association, destination = reached
            if len(self._threads) == 1:
                for _ in range(min(destination.associations, self._size) - 1):
                    self._add((destination,))
            barren = 0 if self._carry(association, batch, destination.attempts) else barren + 1
            if barren >= destination.attempts:
                return False
        return True

    def _reach(self, batch: int, destinations: Sequence[Destination]) -> tuple[Association, Destination] | None:
        proposals, pause = self._batches[batch].proposals, _FIRST_PAUSE
        for attempt in range(max(one.attempts for one in destinations)):
            if attempt:
                self.work.pause(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            if not self.work.has(batch):
                return None
            try:
                return reach([one for one in destinations if attempt < one.attempts], proposals)
            except Unreachable as error:
                self.trouble = str(error)
        return None

    def _carry(self, association: Association, batch: int, attempts: int) -> bool:
        """Send over an association until there is nothing left or it breaks; whether anything came of it."""
        work, sent = self.work, False
        ask, within = association.conversation.ask, association.caller.message
        carrier = Carrier(Over(ask, association.contexts.values(), within), self._template)
        try:
            with self._registered(association), closing(carrier.carry(work, batch)) as outcomes:
                for outcome in outcomes:
                    work.done(outcome)
                    sent = True
                    if work.stopped:
                        break
        except Interrupted as error:
            # By its file, and then it would be again; or by whoever closed this.
            sent = True
            if carrier.in_flight:
                work.done(Outcome(carrier.in_flight.sop_instance_uid, None, error.why))
        except PeerError as error:
            self.trouble = str(error)
            if carrier.in_flight:
                work.dropped(batch, carrier.in_flight, self.trouble, attempts)
        return sent

    @contextmanager
    def _registered(self, association: Association) -> Iterator[None]:
        """It may be broken off meanwhile; it is released at the end, or aborted."""
        with self._lock:
            self._associations.add(association)
        try:
            with association:
                yield
        finally:
            with self._lock:
                self._associations.discard(association)
