"""The pool of costly checks: so many at once, behind everything else, and an answer for whoever waits in vain."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

import pytest

from scpd.errors import NotVerified, Unavailable
from scpd.identity.pool import Pool

PATIENCE = 20.0


@pytest.fixture
def pool():
    made: list[Pool] = []

    def make(*args, **more) -> Pool:
        made.append(Pool(*args, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


class Busy:
    """Works that stand still until they are let go."""

    def __init__(self, pool: Pool, count: int) -> None:
        self._go = threading.Event()
        self._running = threading.Semaphore(0)
        self.ended: list[object] = []
        self.threads = [threading.Thread(target=self._one, args=(pool,)) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _work(self) -> None:
        self._running.release()
        assert self._go.wait(PATIENCE)

    def _one(self, pool: Pool) -> None:
        try:
            self.ended.append(pool.run(self._work))
        except BaseException as error:
            self.ended.append(error)

    def wait_until_running(self) -> None:
        assert self._running.acquire(timeout=PATIENCE)

    def let_go(self) -> None:
        self._go.set()
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_the_result_comes_back_and_so_does_what_was_raised(pool):
    one = pool(2)
    assert one.run(lambda: 42) == 42
    with pytest.raises(NotVerified, match="wrong"):
        one.run(lambda: (_ for _ in ()).throw(NotVerified("wrong")))


@pytest.mark.parametrize("threads", [1, 3])
def test_no_more_run_at_once_than_was_said(pool, threads):
    one, lock, running, most = pool(threads), threading.Lock(), [0], [0]

    def work() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        sum(range(20_000))
        with lock:
            running[0] -= 1

    callers = [threading.Thread(target=lambda: [one.run(work) for _ in range(5)]) for _ in range(12)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE)
    assert 1 <= most[0] <= threads


def test_by_default_half_of_the_processors_are_used(pool):
    assert pool()._executor._max_workers == max(1, os.cpu_count() // 2)


def test_it_gives_way_to_everything_else(pool):
    """A niceness of its own for each of its threads, and none for the one that asks."""

    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = niceness()
    assert pool(1).run(niceness) == max(before, 10)
    assert niceness() == before


def test_whoever_waits_in_vain_is_told_to_come_back_and_its_work_is_never_begun(pool):
    one, begun = pool(1, patience=0.05), []
    blocked = threading.Event()
    holder = threading.Thread(target=_wait_in, args=(one, blocked))
    holder.start()
    with pytest.raises(Unavailable, match="too many identities are being verified at this moment"):
        one.run(lambda: begun.append(1))
    blocked.set()
    holder.join(PATIENCE)
    assert one.run(lambda: 7) == 7
    assert begun == []


def _wait_in(pool: Pool, event: threading.Event) -> None:
    with suppress(Unavailable):  # it takes longer than the patience itself
        pool.run(lambda: event.wait(PATIENCE))


def test_a_timeout_within_the_work_is_not_taken_for_too_much_to_do(pool):
    def work() -> None:
        raise TimeoutError("the directory does not answer")

    with pytest.raises(TimeoutError, match="the directory"):
        pool(1).run(work)


def test_after_its_close_whoever_comes_is_told_that_it_is_away(pool):
    one = pool(1)
    one.close()
    with pytest.raises(Unavailable):
        one.run(lambda: 1)


def test_whoever_waits_at_its_close_is_told_that_it_is_away(pool):
    one, submitted = pool(1), threading.Semaphore(0)
    submit = one._executor.submit
    one._executor.submit = lambda work: (submit(work), submitted.release())[0]
    busy = Busy(one, 2)
    for _ in range(2):
        assert submitted.acquire(timeout=PATIENCE)
    busy.wait_until_running()  # so one works, and the other waits
    one.close()
    busy.let_go()
    assert sorted(map(type, busy.ended), key=str) == [type(None), Unavailable]


def test_what_runs_at_its_close_ends_well(pool):
    one = pool(1)
    busy = Busy(one, 1)
    busy.wait_until_running()
    one.close()
    busy.let_go()
    assert busy.ended == [None]
