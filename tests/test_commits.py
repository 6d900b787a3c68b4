"""One commit for what many threads write: each learns what came of its own, and nobody pays for another's fault."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest

from scpd import commits
from scpd.commits import Commits, NotCommittedError

PATIENCE = 20.0


class DiskError(Exception):
    """One that would meet all others."""


class Disk:
    """What is committed is in ``held``; ``commits`` counts. ``broken`` is raised instead, ``gate`` is waited for."""

    def __init__(self) -> None:
        self.held: list[object] = []
        self.commits = 0
        self.broken: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.is_reached = threading.Event()
        self.told: list[Exception] = []

    @contextmanager
    def transaction(self):
        written: list[object] = []
        self.is_reached.set()
        assert self.gate.wait(PATIENCE)
        if self.broken:
            raise self.broken
        yield written
        self.held += written
        self.commits += 1


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def commit(disk):
    made = Commits("test", disk.transaction, (DiskError,), disk.told.append)
    yield made
    disk.gate.set()
    made.close(PATIENCE)


def writes(value: object, result: object = None):
    def action(written: list[object]) -> object:
        written.append(value)
        return result

    return action


def fails(error: Exception):
    def action(_: list[object]) -> None:
        raise error

    return action


def test_what_is_written_is_committed_on_return_and_gives_its_result(disk, commit):
    assert commit.write(writes(1, "one")) == "one"
    assert disk.held == [1]


def test_what_gathers_while_the_disk_is_busy_goes_with_one_commit_and_each_gets_its_own_result(disk, commit):
    disk.gate.clear()
    first = commit.begin(writes(0))
    assert disk.is_reached.wait(PATIENCE)
    begun = [commit.begin(writes(number, number * 10)) for number in range(1, 9)]
    disk.gate.set()
    assert [one.result() for one in begun] == [number * 10 for number in range(1, 9)]
    first.result()
    assert disk.held == list(range(9))
    assert disk.commits == 2


def test_one_that_fails_by_itself_costs_the_others_nothing(disk, commit):
    disk.gate.clear()
    first = commit.begin(writes(0))
    assert disk.is_reached.wait(PATIENCE)
    good, bad, last = commit.begin(writes(1)), commit.begin(fails(ValueError("mine"))), commit.begin(writes(2, "last"))
    disk.gate.set()
    first.result()
    good.result()
    with pytest.raises(ValueError, match="mine"):
        bad.result()
    assert last.result() == "last"
    assert disk.held == [0, 1, 2]
    assert commit.failure is None
    assert disk.told == []


def test_a_lasting_error_meets_all_of_them_and_is_told_until_a_commit_holds(disk, commit):
    disk.broken = DiskError("full")
    begun = [commit.begin(writes(number)) for number in range(3)]
    for one in begun:
        with pytest.raises(DiskError, match="full"):
            one.result()
    assert str(commit.failure) == "full"
    disk.broken = None
    commit.write(writes(9))
    assert commit.failure is None
    assert disk.held == [9]
    assert [str(error) for error in disk.told] == ["full"], "now and then, and not each time"


def test_what_nobody_waits_for_is_tried_until_it_holds_in_its_order(disk, commit, monkeypatch):
    monkeypatch.setattr(commits, "_PAUSE", 0.01)
    disk.broken = DiskError("full")
    done = threading.Event()
    for number in range(5):
        commit.write_later(writes(number))
    commit.write_later(writes(5), done.set)
    with pytest.raises(DiskError):
        commit.write(writes("refused"))
    assert not done.is_set()
    disk.broken = None
    assert done.wait(PATIENCE)
    assert disk.held == list(range(6))


def test_what_nobody_waits_for_and_fails_by_itself_is_given_up_and_told(disk, commit):
    done = threading.Event()
    commit.write_later(fails(ValueError("mine")))
    commit.write_later(writes(1), done.set)
    assert done.wait(PATIENCE)
    assert disk.held == [1]
    assert [str(error) for error in disk.told] == ["mine"]


def test_an_error_of_whoever_is_told_ends_nothing(disk, commit):
    done = threading.Event()

    def raises() -> None:
        raise ValueError("not now")

    commit.write_later(writes(1), raises)
    commit.write_later(writes(2), done.set)
    assert done.wait(PATIENCE)
    commit.write(writes(3))
    assert disk.held == [1, 2, 3]


def test_alone_with_a_lasting_error_the_others_hold_and_it_is_told_as_failure(disk, commit):
    """A batch whose first try fails by one's own fault, and the next by the disk's."""
    disk.gate.clear()
    first = commit.begin(writes(0))
    assert disk.is_reached.wait(PATIENCE)
    good, own, lasting = commit.begin(writes(1)), commit.begin(fails(ValueError())), commit.begin(fails(DiskError("x")))
    disk.gate.set()
    first.result()
    good.result()
    with pytest.raises(ValueError):  # noqa: PT011 without words
        own.result()
    with pytest.raises(DiskError):
        lasting.result()
    assert str(commit.failure) == "x"
    assert disk.held == [0, 1]


def test_whoever_waits_longer_than_its_patience_is_told_and_it_may_come_to_the_disk_all_the_same(disk, commit):
    disk.gate.clear()
    first = commit.begin(writes(0))
    assert disk.is_reached.wait(PATIENCE)
    late = commit.begin(writes(1))
    with pytest.raises(NotCommittedError, match=r"longer than 0\.01 s"):
        late.result(0.01)
    disk.gate.set()
    first.result()
    assert late.result() is None
    assert disk.held == [0, 1]


def test_a_commit_that_does_not_end_is_silence(disk, commit, monkeypatch):
    monkeypatch.setattr(commits, "_STANDSTILL", 0.0)
    assert commit.silence == 0
    disk.gate.clear()
    begun = commit.begin(writes(0))
    assert disk.is_reached.wait(PATIENCE)
    assert commit.silence > 0
    disk.gate.set()
    begun.result()
    assert commit.silence == 0


def test_closing_brings_to_the_disk_what_waits_and_takes_nothing_more(disk, commit):
    for number in range(50):
        commit.write_later(writes(number))
    assert commit.close(PATIENCE)
    assert disk.held == list(range(50))
    with pytest.raises(NotCommittedError, match="closed"):
        commit.write(writes(1))


def test_closing_does_not_wait_for_a_disk_that_refuses(disk, commit):
    disk.broken = DiskError("full")
    commit.write_later(writes(1))
    assert commit.close(PATIENCE)
    assert disk.held == []


def test_many_threads_at_once_lose_nothing(disk, commit):
    results: dict[int, list[int]] = {}

    def work(which: int) -> None:
        results[which] = [commit.write(writes((which, number), number)) for number in range(100)]

    threads = [threading.Thread(target=work, args=(which,)) for which in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert results == {which: list(range(100)) for which in range(8)}
    assert sorted(disk.held) == [(which, number) for which in range(8) for number in range(100)]
    for which in range(8):
        assert [number for one, number in disk.held if one == which] == list(range(100)), "in its own order"
