"""A queue in a folder, a target that does what it is told, and the log as data."""

from __future__ import annotations

import select
import threading
import time
from typing import TYPE_CHECKING

import pytest
from components.told import Told, log_of_what_is_made

from scpd.forward import studies
from scpd.forward.queue import Queue
from scpd.forward.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 20.0


class Hands:
    """A target that notes what it is given; ``act`` may fail, or wait."""

    def __init__(self, name: str, *, attempts: int = 3, concurrency: int = 1, act: Callable = lambda job: None):
        self.name = name
        self.attempts = attempts
        self.concurrency = concurrency
        self.act = act
        self.jobs: list = []
        self.abandoned = threading.Event()
        self._changed = threading.Condition()

    def deliver(self, job) -> None:
        with self._changed:
            self.jobs.append(job)
            self._changed.notify_all()
        self.act(job)

    def abandon(self) -> None:
        self.abandoned.set()

    def wait(self, count: int) -> list:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.jobs) >= count, PATIENCE), f"{len(self.jobs)} of {count}"
            return list(self.jobs)


@pytest.fixture
def hands() -> type[Hands]:
    return Hands


@pytest.fixture
def open_queue(tmp_path, told) -> Iterator[Callable[..., Queue]]:
    """Open the queue of the test's folder, as after a start; what is open at the end is closed."""
    opened: list[Queue] = []

    def make(directory=None, **how) -> Queue:
        opened.append(Queue(directory or tmp_path / "queue", studies.SCHEMA, **how))
        return opened[-1]

    yield make
    for one in opened:
        one.close(PATIENCE)


@pytest.fixture
def run(open_queue) -> Iterator[Callable[..., Runner]]:
    """A runner that works for a target until the end of the test."""
    made: list[Runner] = []

    def start(queue: Queue, target, **how) -> Runner:
        made.append(Runner(queue, **how))
        made[-1].adopt(target)
        return made[-1]

    yield start
    for one in made:
        one.stop()
        one.join(time.monotonic() + PATIENCE)


@pytest.fixture
def told() -> Iterator[Told]:
    """The log of what is made after this."""
    with log_of_what_is_made(str.startswith) as lines:
        yield lines


@pytest.fixture
def wait_for() -> Callable[..., None]:
    """Until a condition holds that nobody tells of: looked at again and again, with a deadline."""

    def wait(condition: Callable[[], object], timeout: float = PATIENCE) -> None:
        nothing = select.poll()
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline
            nothing.poll(5)

    return wait
