"""A store is looked at again and again, and one that does not answer is in trouble by that alone."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from scpd.daemon import watch as watch_module
from scpd.daemon.watch import Watch
from scpd.storage.store import Store, StorePolicy

PATIENCE = 20.0


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store", StorePolicy())
    yield store
    store.close()


@pytest.fixture
def watch(monkeypatch):
    monkeypatch.setattr(watch_module, "_BETWEEN_LOOKS", 0.02)
    watch = Watch()
    yield watch
    watch.close()


def until(found) -> None:
    deadline = time.monotonic() + PATIENCE
    gap = threading.Event()
    while not found():
        assert time.monotonic() < deadline, "it did not come to that"
        gap.wait(0.01)


def test_a_good_store_has_space_and_no_trouble(store, watch):
    watch.keep([store])
    until(lambda: watch.sight(store).space)
    sight = watch.sight(store)
    assert sight.trouble == ""
    assert sight.space.size >= sight.space.free > 0


def test_a_directory_that_is_moved_is_in_trouble_and_well_once_it_is_back(store, watch):
    watch.keep([store])
    away = store.directory.with_name("away")
    store.directory.rename(away)
    until(lambda: watch.sight(store).trouble)
    assert watch.sight(store).trouble == "storage.directory: No such file or directory"
    store.directory.mkdir()
    until(lambda: "not the directory that was opened" in watch.sight(store).trouble)
    store.directory.rmdir()
    away.rename(store.directory)
    until(lambda: not watch.sight(store).trouble)


def test_less_than_the_reserve_is_trouble(tmp_path, watch):
    store = Store(tmp_path / "store", StorePolicy(reserve=2**62))
    watch.keep([store])
    until(lambda: watch.sight(store).trouble)
    assert watch.sight(store).trouble == "less space is free than storage.reserve"
    store.close()


def test_a_file_system_that_does_not_answer_is_in_trouble_and_nobody_waits_for_it(store, watch, monkeypatch):
    monkeypatch.setattr(watch_module, "STANDSTILL", 0.05)
    answers = threading.Event()
    monkeypatch.setattr(store, "trouble", lambda: answers.wait(PATIENCE) and "")
    watch.keep([store])
    until(lambda: "has not answered" in watch.sight(store).trouble)
    answers.set()
    until(lambda: not watch.sight(store).trouble)


def test_an_instance_that_stays_on_its_way_is_trouble(store, watch, monkeypatch):
    watch.keep([store])
    until(lambda: watch.sight(store).space)
    store.waits["stuck"] = time.monotonic() - 31
    assert "has waited for the disk for 31 s" in watch.sight(store).trouble
    del store.waits["stuck"]
    assert not watch.sight(store).trouble


def test_stores_that_are_gone_are_forgotten(store, watch, tmp_path):
    other = Store(tmp_path / "other", StorePolicy())
    watch.keep([store])
    watch.keep([other])
    until(lambda: watch.sight(other).space)
    assert watch.sight(store).space is None
    assert watch.sight(store).trouble == ""
    other.close()


def test_a_store_that_hangs_keeps_nobody_from_looking_at_the_others_or_from_forgetting_it(
    store, watch, tmp_path, monkeypatch
):
    monkeypatch.setattr(watch_module, "STANDSTILL", 0.05)
    other, answers = Store(tmp_path / "other", StorePolicy()), threading.Event()
    before = set(threading.enumerate())
    monkeypatch.setattr(store, "trouble", lambda: answers.wait(PATIENCE) and "")
    watch.keep([store, other])
    until(lambda: watch.sight(store).trouble)
    away = other.directory.with_name("away")
    other.directory.rename(away)
    until(lambda: watch.sight(other).trouble)
    away.rename(other.directory)
    until(lambda: not watch.sight(other).trouble)
    watch.keep([])
    answers.set()
    until(lambda: set(threading.enumerate()) <= before)
    other.close()


def test_a_process_that_was_stopped_for_long_says_nothing_of_its_disks(store, watch, monkeypatch):
    """Nobody looked meanwhile; a look that is under way is another matter."""
    monkeypatch.setattr(watch_module, "_BETWEEN_LOOKS", PATIENCE)
    watch.keep([store])
    until(lambda: watch.sight(store).space)
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + 10 * watch_module.STANDSTILL)
    monkeypatch.setattr(watch_module, "time", later)
    until(lambda: not watch.sight(store).trouble)
    assert watch.sight(store).trouble == ""


def test_where_there_is_no_thread_left_that_is_said_and_the_next_time_may_find_one(store, watch, monkeypatch):
    def start(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", start)
        watch.keep([store])
        assert watch.sight(store).trouble == "the system has no thread left to look at it"
    until(lambda: watch.sight(store).space)
    assert watch.sight(store).trouble == ""
