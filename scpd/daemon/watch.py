"""Looks after what could stand still without anybody noticing: file systems that do not answer any more.

A look at a file system may never return, so each has a thread of its own that looks, and whoever wants to know reads
what it saw last. Only a look that is under way and does not end is silence: a process that was stopped for a while has
not looked, and that says nothing of any disk. Knows no configuration and no log.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scpd.storage.store import Space, Store

T = TypeVar("T")

_BETWEEN_LOOKS = 5.0
# A file system that takes longer than this is in trouble (seconds).
STANDSTILL = 30.0
# At the end, for looks that are under way (seconds).
_LAST_LOOKS = 1.0


class Lookout(Generic[T]):
    """Looks at one thing every few seconds, from :meth:`start` until :meth:`end`. ``seen`` is what it saw last."""

    def __init__(self, name: str, look: Callable[[], T], before: T) -> None:
        self.seen = before
        self._look = look
        self._began: float | None = None
        self._is_over = False
        self._wanted = threading.Event()
        self._starting = threading.Lock()
        self._thread = threading.Thread(target=self._look_forever, name=name, daemon=True)

    @property
    def silence(self) -> float:
        """For how many seconds the look that is under way has not ended; 0 where none is."""
        began = self._began
        return 0.0 if began is None else time.monotonic() - began

    def start(self) -> bool:
        """Look from now on, if it does not already; False where the system has no thread left for it: try again."""
        with self._starting:
            if not self._thread.ident:
                with suppress(RuntimeError):
                    self._thread.start()
            return bool(self._thread.ident)

    def hurry(self) -> None:
        """Look once more now, without waiting for the next time."""
        self._wanted.set()

    def end(self) -> None:
        """Look no more; a look that is under way goes on."""
        self._is_over = True
        self._wanted.set()

    def join(self, deadline: float) -> None:
        """After the end: wait until ``deadline`` (monotonic) for a look that is under way."""
        if self._thread.ident:
            self._thread.join(max(0.0, deadline - time.monotonic()))

    def _look_forever(self) -> None:
        while True:
            self._wanted.clear()
            if self._is_over:
                return
            self._began = time.monotonic()
            self.seen = self._look()
            self._began = None
            self._wanted.wait(_BETWEEN_LOOKS)


class Sight(NamedTuple):
    """What was seen of a store: why it would refuse an instance, or nothing; no ``space`` before the first look."""

    trouble: str = ""
    space: Space | None = None


class Watch:
    """Looks at stores until :meth:`close`. One that hangs says nothing of the others."""

    def __init__(self) -> None:
        self._lookouts: dict[Store, Lookout[Sight]] = {}

    def keep(self, stores: Iterable[Store]) -> None:
        """Look at these from now on, and at no others; new ones are looked at at once."""
        former = self._lookouts
        self._lookouts = {
            store: former.get(store) or Lookout("watch", partial(_look, store), Sight()) for store in stores
        }
        for store in former.keys() - self._lookouts.keys():
            former[store].end()
        for lookout in self._lookouts.values():
            lookout.start()

    def sight(self, store: Store) -> Sight:
        """How a store stands; one that has not answered for long is in trouble. Waits for no disk."""
        lookout = self._lookouts.get(store)
        if lookout is None:
            return Sight()
        if not lookout.start():
            return Sight("the system has no thread left to look at it")
        silent, slowest = lookout.silence, store.slowest()
        if silent > STANDSTILL:
            return lookout.seen._replace(trouble=f"its file system has not answered for {silent:.0f} s")
        if slowest > STANDSTILL:
            return lookout.seen._replace(trouble=f"an instance has waited for the disk for {slowest:.0f} s")
        return lookout.seen

    def close(self) -> None:
        """Look no more. Waits a moment for looks that are under way, so that no file of theirs is left behind."""
        lookouts = list(self._lookouts.values())
        for lookout in lookouts:
            lookout.end()
        deadline = time.monotonic() + _LAST_LOOKS
        for lookout in lookouts:
            lookout.join(deadline)


def _look(store: Store) -> Sight:
    trouble = store.trouble()
    try:
        return Sight(trouble, store.space())
    except OSError as error:
        return Sight(trouble or f"its file system cannot be asked: {error.strerror}")
