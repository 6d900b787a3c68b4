"""An index that is looked after: opened, caught up with, mended and brought to an end, by itself."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from components.filled import instance, put
from sqlalchemy import insert, select

from scpd.index import catching_up, engines, journal, upkeep
from scpd.index.attributes import Keeping
from scpd.index.differences import differences
from scpd.index.files import Looker
from scpd.index.index import Index
from scpd.index.mending import Place
from scpd.index.places import MARKER, is_complete
from scpd.index.register import Register
from scpd.index.schema import instances, pending, stores
from scpd.index.troubles import UnusableError

PATIENCE = 20.0


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(engines, "LOCKED", 0.05)
    monkeypatch.setattr("scpd.index.database.LOCKED", 0.05)
    monkeypatch.setattr(upkeep, "_LOOKS", 0.05)
    monkeypatch.setattr(upkeep, "_PAUSE", 0.02)


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def file(tmp_path):
    return tmp_path / "index" / "index.db"


@pytest.fixture
def made(file):
    """Upkeeps of one database, each of which has a store, or several."""
    all_made = []

    def make(*folders: Path, deferred: bool = False, is_alone: bool = True, kept: bool = True):
        one = upkeep.Upkeep(Index(f"sqlite:///{file}", Keeping()))
        all_made.append(one)
        registers = [Register(one.index, folder, deferred=deferred, is_alone=is_alone) for folder in folders]
        one.start(PATIENCE)
        if kept:
            one.keep(registers)
        return one, *registers

    yield make
    for one in all_made:
        one.close(PATIENCE)


def wait_for(condition) -> None:
    nothing, deadline = threading.Event(), time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        nothing.wait(0.005)


def is_well(one) -> bool:
    return not one.trouble() and not one.waiting


def paths(one) -> list[str]:
    with one.index.database.reading() as connection:
        return sorted(connection.execute(select(instances.c.path)).scalars())


def agree(register) -> bool:
    return not list(differences(register))


def store_one(register, number: int) -> None:
    """As storage does."""
    path = f"1/{number}.dcm"
    new = put(Path(register.directory), f".incoming/{number}", instance(number))
    arrival = Looker(register.index.scribe, register.directory).look(f".incoming/{number}")._replace(path=path)
    note = register.expected(register.expect(path, lambda: arrival))
    target = Path(register.directory, path)
    target.parent.mkdir(exist_ok=True)
    new.replace(target)
    register.settle(note, holds=True)


def fill(store: Path, count: int = 5, first: int = 0) -> list[str]:
    for number in range(first, first + count):
        put(store, f"1/{number}.dcm", instance(number))
    return [f"1/{number}.dcm" for number in range(first, first + count)]


def leave_note(file: Path, register, path: str, since: float) -> None:
    """What a process leaves that is killed between the rows and the file."""
    index = Index(f"sqlite:///{file}", Keeping())
    index.open()
    index.places.know(register.uid, register.directory)

    def write(connection) -> None:
        place = index.places.number(connection, register.uid)
        connection.execute(insert(pending).values(store=place, path=path, since=since))

    index.database.write(write)
    index.close()


# -- what it knows


def test_a_store_that_has_files_already_is_written_down_by_itself_and_once(made, store):
    filled = fill(store)
    one, register = made(store)
    wait_for(lambda: is_well(one))
    assert paths(one) == filled
    assert register.is_complete(one._name)
    one.close(PATIENCE)
    fill(store, first=10)  # nothing is compared where all is known
    again, register = made(store)
    wait_for(lambda: is_well(again))
    assert paths(again) == filled


def test_files_of_a_time_without_the_index_are_found(made, store):
    from scpd.index.places import set_incomplete  # noqa: PLC0415

    one, register = made(store)
    wait_for(lambda: is_well(one))
    store_one(register, 1)
    one.close(PATIENCE)
    set_incomplete(str(store))  # as the start of a daemon does that has no index for this store
    fill(store, first=5)
    (store / "1/1.dcm").unlink()
    again, register = made(store)
    wait_for(lambda: is_well(again))
    assert agree(register)
    assert len(paths(again)) == 5


def test_what_is_stored_by_those_who_served_before_is_found_once_they_are_gone(made, store):
    """The index is new by a reload, and associations go on that do not hear of it."""
    one, register = made(store, kept=False)
    is_past = threading.Event()
    one.keep([register], is_past.is_set)
    wait_for(lambda: is_well(one))
    filled = fill(store)
    assert not register.is_complete(one._name)
    assert paths(one) == []
    is_past.set()
    wait_for(lambda: register.is_complete(one._name))
    assert paths(one) == filled


@pytest.mark.parametrize("is_alone", [True, False])
@pytest.mark.parametrize("since", [-10.0, +1000.0])
def test_what_a_crash_left_half_done_is_looked_at_unless_it_may_be_anothers(made, store, file, is_alone, since):
    one, register = made(store)
    wait_for(lambda: is_well(one))
    one.close(PATIENCE)
    (missed,) = fill(store, 1)
    leave_note(file, register, missed, time.time() + since)
    again, _ = made(store, is_alone=is_alone)
    wait_for(lambda: is_well(again))
    assert paths(again) == ([missed] if is_alone or since > catching_up._OVERDUE else [])


def test_what_another_process_should_have_ended_long_ago_is_looked_at(made, store, file):
    one, register = made(store)
    wait_for(lambda: is_well(one))
    one.close(PATIENCE)
    (missed,) = fill(store, 1)
    leave_note(file, register, missed, time.time() - catching_up._OVERDUE - 1)
    again, _ = made(store, is_alone=False)
    wait_for(lambda: paths(again) == [missed])


def test_what_a_dead_process_has_deferred_is_written_down(made, store):
    one, register = made(store)
    wait_for(lambda: is_well(one))
    one.close(PATIENCE)
    left = journal.Journal(str(store))
    for path in fill(store, 3):
        left.note(path)
    left.close()
    again, register = made(store)
    wait_for(lambda: is_well(again))
    assert len(paths(again)) == 3
    assert not list(store.joinpath(".index").glob("journal-*"))


def test_after_a_power_cut_the_files_are_compared(made, store, monkeypatch, tmp_path):
    one, register = made(store)
    wait_for(lambda: is_well(one))
    one.close(PATIENCE)
    left = journal.Journal(str(store))
    left.note("1/0.dcm")
    left.close()
    fill(store, 3)  # of which two lines are lost
    (tmp_path / "boot").write_text("another\n")
    monkeypatch.setattr(journal, "_BOOT", tmp_path / "boot")
    again, register = made(store)
    wait_for(lambda: is_well(again))
    assert len(paths(again)) == 3
    assert agree(register)


def test_deferred_it_follows_what_is_stored(made, store):
    one, register = made(store, deferred=True)
    for number in range(300):
        store_one(register, number)
    wait_for(lambda: is_well(one))
    assert len(paths(one)) == 300
    assert agree(register)


def test_a_file_that_cannot_be_written_down_is_left_out_and_holds_nothing_up(made, store, monkeypatch):
    one, register = made(store, deferred=True)
    wait_for(lambda: is_well(one))
    put_down = one.index.writing.put

    def refuse(connection, place, arrival) -> None:
        if arrival.path == "1/3.dcm":
            raise ValueError("nobody can write this down")
        put_down(connection, place, arrival)

    monkeypatch.setattr(one.index.writing, "put", refuse)
    for number in range(8):
        store_one(register, number)
    wait_for(lambda: is_well(one))
    assert paths(one) == [f"1/{number}.dcm" for number in range(8) if number != 3]


# -- what goes wrong


def hold(file: Path) -> sqlite3.Connection:
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    return holder


def test_where_it_is_away_at_the_start_it_begins_all_the_same_and_comes_by_itself(made, store, file):
    file.parent.mkdir()
    (file.parent / "index.db").mkdir()  # so that nothing can be opened
    filled = fill(store)
    one, register = made(store)
    assert one.trouble()
    assert not register.is_recovered
    file.rmdir()
    wait_for(lambda: is_well(one))
    assert paths(one) == filled


def test_what_is_deferred_while_somebody_holds_it_is_written_down_after(made, store, file):
    one, register = made(store, deferred=True)
    wait_for(lambda: is_well(one))
    holder = hold(file)
    for number in range(20):
        store_one(register, number)
    wait_for(lambda: "another program holds it" in one.trouble())
    assert one.waiting == 20
    holder.close()
    wait_for(lambda: is_well(one))
    assert len(paths(one)) == 20
    assert agree(register)


@pytest.mark.parametrize("what", ["gone", "damaged", "another"])
def test_a_database_that_is_of_no_use_any_more_makes_room_for_a_new_one(made, store, file, what):
    one, register = made(store)
    wait_for(lambda: is_well(one))
    for number in range(5):
        store_one(register, number)
    wait_for(lambda: is_well(one))
    before = one._name
    if what == "damaged":
        holder = sqlite3.connect(file, isolation_level=None)
        wait_for(lambda: holder.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)
        os.truncate(file, 100)
        holder.close()
    elif what == "another":
        with closing(sqlite3.connect(file.with_name("other"))) as other:
            other.execute("VACUUM")
        file.with_name("other").replace(file)
    else:
        file.unlink()
    wait_for(lambda: one._name != before and is_well(one))
    assert len(paths(one)) == 5
    assert agree(register)
    assert bool(list(file.parent.glob("*.damaged-*"))) == (what == "damaged")
    store_one(register, 6)
    wait_for(lambda: is_well(one))
    assert agree(register)


def test_the_folder_around_it_may_go_as_long_as_the_store_is_there(made, store, file, tmp_path):
    one = upkeep.Upkeep(Index(f"sqlite:///{store}/.index/index.db", Keeping()))
    register = Register(one.index, store, deferred=False)
    one.start(PATIENCE)
    one.keep([register])
    try:
        wait_for(lambda: is_well(one))
        store_one(register, 1)
        for path in (store / ".index").iterdir():
            path.unlink()
        (store / ".index").rmdir()
        wait_for(lambda: (store / ".index/index.db").exists() and is_well(one))
        assert agree(register)
        # But where the store itself is away nothing is made in its place.
        store.rename(tmp_path / "away")
        store.mkdir()
        wait_for(lambda: "not the file that was opened" in one.trouble())
        assert list(store.iterdir()) == []
        store.rmdir()
        (tmp_path / "away").rename(store)
        wait_for(lambda: is_well(one))
        assert agree(register)
    finally:
        one.close(PATIENCE)


def test_a_file_of_any_name_that_is_no_database_is_not_moved(tmp_path):
    file = tmp_path / "letters.txt"
    file.write_text("Dear colleague, " * 1000)
    one = upkeep.Upkeep(Index(f"sqlite:///{file}", Keeping()))
    with pytest.raises(UnusableError, match="it is no database; name another file"):
        one.start(PATIENCE)
    one.close(PATIENCE)
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_a_damaged_one_that_is_found_at_the_start_is_set_aside(made, store, file):
    file.parent.mkdir()
    file.write_bytes(os.urandom(8192))
    filled = fill(store)
    one, register = made(store)
    wait_for(lambda: is_well(one))
    assert paths(one) == filled
    (aside,) = file.parent.glob("index.db.damaged-*")
    assert aside.stat().st_size == 8192


def test_files_that_cannot_be_listed_are_trouble_and_not_its_end(made, store, monkeypatch):
    fill(store)
    away = store.with_name("away")
    one, register = made(store, kept=False)
    store.rename(away)
    one.keep([register])
    wait_for(lambda: "files cannot be read" in one.trouble() or "No such file" in one.trouble())
    away.rename(store)
    wait_for(lambda: is_well(one))
    assert len(paths(one)) == 5


def test_whatever_a_driver_raises_the_thread_lives(made, store, monkeypatch):
    one, register = made(store)
    wait_for(lambda: is_well(one))
    raised = threading.Event()

    def look() -> None:
        raised.set()
        raise RuntimeError("a surprise")

    monkeypatch.setattr(one.index.database, "look", look)
    assert raised.wait(PATIENCE)
    wait_for(lambda: "a surprise" in one.trouble())
    monkeypatch.undo()
    wait_for(lambda: is_well(one))


# -- its end


def test_closing_brings_what_is_deferred_to_the_database(made, store):
    one, register = made(store, deferred=True)
    for number in range(200):
        store_one(register, number)
    one.close(PATIENCE)
    again, register = made(store)
    assert len(paths(again)) == 200


def test_closing_while_it_is_held_leaves_what_is_deferred_to_the_next_start(made, store, file):
    one, register = made(store, deferred=True)
    wait_for(lambda: is_well(one))
    holder = hold(file)
    store_one(register, 1)
    wait_for(one.trouble)
    began = time.monotonic()
    one.close(PATIENCE)
    assert time.monotonic() - began < 5.0
    holder.close()
    again, register = made(store)
    wait_for(lambda: is_well(again))
    assert paths(again) == ["1/1.dcm"]


def test_retired_it_goes_on_for_those_who_still_store_and_then_ends(made, store):
    class Association:
        pass

    one, register = made(store)
    user = Association()
    register.users.add(user)
    wait_for(lambda: is_well(one))
    one.retire()
    store_one(register, 1)
    wait_for(lambda: is_well(one))
    assert one.is_alive
    del user
    wait_for(lambda: not one.is_alive)
    assert register._journal._file == -1


def test_a_store_that_is_not_kept_any_more_is_let_go_of_once_nobody_stores_there(made, store, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    one, first, second = made(store, other)
    wait_for(lambda: is_well(one))
    one.keep([second])
    wait_for(lambda: one._registers == [second])
    store_one(second, 1)
    wait_for(lambda: is_well(one))
    with one.index.database.reading() as connection:
        assert connection.execute(select(stores.c.directory)).scalars().all() == [str(other)]


# -- the file


def test_an_empty_mount_point_is_no_place_for_a_new_one(tmp_path):
    store = tmp_path / "store"
    (store / ".index").mkdir(parents=True)
    file = store / ".index/index.db"
    file.write_text("x")
    (store / MARKER).write_text("1" * 32)
    place = Place(str(file))
    file.unlink()
    assert place.is_there([]), "the folder is there"
    (store / ".index").rmdir()
    assert place.is_there([str(store)])
    assert not place.is_there([])
    (store / MARKER).unlink()
    assert not place.is_there([str(store)])


def test_what_is_gone_takes_its_log_with_it_and_what_is_there_keeps_it(tmp_path):
    file, log = tmp_path / "index.db", tmp_path / "index.db-wal"
    file.write_text("x")
    log.write_text("y")
    place = Place(str(file))
    assert place.clear(is_damaged=False) == ""
    assert log.exists()
    file.rename(tmp_path / "away")
    place.clear(is_damaged=False)
    assert not log.exists()


def test_names_of_databases_are_never_those_of_others(made, store, tmp_path, file):
    one, register = made(store)
    wait_for(lambda: is_well(one))
    assert is_complete(str(store), one._name)
    other = upkeep.Upkeep(Index(f"sqlite:///{tmp_path}/other.db", Keeping()))
    other.start(PATIENCE)
    assert other.address != one.address
    assert "other.db" not in other.address
    other.close(PATIENCE)
