"""Looks after what could stand still without anybody noticing: file systems that do not answer any more.

A look at a file system may never return, so a thread of its own looks, and whoever wants to know reads what it saw
last, and how long ago. Knows no configuration and no log.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scpd.storage.store import Space, Store

_BETWEEN_LOOKS = 5.0
# A file system that takes longer than this is in trouble (seconds).
STANDSTILL = 30.0


class Sight(NamedTuple):
    """What was seen of a store: why it would refuse an instance, or nothing; ``space`` is None before the first look.

    ``when`` is by the monotonic clock.
    """

    trouble: str = ""
    space: Space | None = None
    when: float = 0.0


class Watch:
    """Looks at stores every few seconds until :meth:`close`."""

    def __init__(self) -> None:
        self._sights: dict[Store, Sight] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    def keep(self, stores: Iterable[Store]) -> None:
        """Look at these from now on, and at no others; new ones are looked at at once."""
        with self._changed:
            self._sights = {store: self._sights.get(store, Sight(when=time.monotonic())) for store in stores}
            self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._look_forever, name="watch", daemon=True)
            self._thread.start()

    def sight(self, store: Store) -> Sight:
        """How a store stands; one that has not answered for long is in trouble."""
        sight = self._sights.get(store) or Sight(when=time.monotonic())
        silent = time.monotonic() - sight.when
        if silent > STANDSTILL + _BETWEEN_LOOKS:
            return sight._replace(trouble=f"its file system has not answered for {silent:.0f} s")
        slowest = store.slowest()
        if slowest > STANDSTILL:
            return sight._replace(trouble=f"an instance has waited for the disk for {slowest:.0f} s")
        return sight

    def close(self) -> None:
        """Look no more."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def _look_forever(self) -> None:
        while not self._closing:
            for store in list(self._sights):
                self._look(store)
            with self._changed:
                self._changed.wait_for(self._has_news, _BETWEEN_LOOKS)

    def _has_news(self) -> bool:
        return self._closing or any(sight.space is None and not sight.trouble for sight in self._sights.values())

    def _look(self, store: Store) -> None:
        trouble = store.trouble()
        try:
            space = store.space()
        except OSError as error:
            sight = Sight(trouble or f"its file system cannot be asked: {error.strerror}", None, time.monotonic())
        else:
            sight = Sight(trouble, space, time.monotonic())
        with self._changed:
            if store in self._sights:
                self._sights[store] = sight
