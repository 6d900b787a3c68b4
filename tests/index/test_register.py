"""A store on its way into an index: what holds, what comes to nothing, and what nobody can tell."""

from __future__ import annotations

import sqlite3

import pytest
from components.filled import instance, put, rows
from sqlalchemy import delete, func, select

from scpd.errors import IndexUnavailable
from scpd.index import engines
from scpd.index.attributes import Keeping
from scpd.index.catching_up import CatchingUp
from scpd.index.files import Looker
from scpd.index.index import Index
from scpd.index.journal import Former
from scpd.index.register import Register
from scpd.index.schema import instances, pending


@pytest.fixture
def index(tmp_path):
    made = Index(f"sqlite:///{tmp_path}/index.db", Keeping())
    made.open()
    yield made
    made.close()


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def register(index, store):
    made = Register(index, store, deferred=False)
    yield made
    made.close()


@pytest.fixture
def deferred(index, store):
    made = Register(index, store, deferred=True)
    yield made
    made.close()


class Arriving:
    """A file that is about to get its name."""

    def __init__(self, register, path: str, data: bytes) -> None:
        self._register = register
        self._store = register.directory
        self.path = path
        self._file = put(register_folder(register), f".incoming/{id(self)}", data)
        found = Looker(register.index.scribe, self._store).look(f".incoming/{id(self)}")
        self.note = register.expect(path, lambda: found._replace(path=path))

    def keep(self) -> None:
        self.note = self._register.expected(self.note)

    def rename(self) -> None:
        target = register_folder(self._register) / self.path
        target.parent.mkdir(exist_ok=True)
        self._file.replace(target)

    def settle(self, *, holds: bool = True) -> None:
        self._register.settle(self.note, holds=holds)

    def arrive(self) -> None:
        self.keep()
        self.rename()
        self.settle()


def register_folder(register):
    from pathlib import Path  # noqa: PLC0415

    return Path(register.directory)


def told(register) -> dict[str, str]:
    """The paths of all rows, and what the rows say that the files are."""
    return {path: uid for uid, _, _, path, *_ in rows(register.index)}


def notes(index) -> int:
    """After all that nobody waits for."""
    return index.database.write(
        lambda connection: connection.execute(select(func.count()).select_from(pending)).scalar()
    )


def settle_later(index) -> None:
    index.database.write(lambda _: None)


def catch_up(register) -> None:
    settle_later(register.index)
    CatchingUp(register.index.database).follow(register)


def test_required_it_is_written_down_before_it_has_its_name_and_the_note_goes_after(register, index):
    one = Arriving(register, "1/1.dcm", instance(1))
    one.keep()
    assert told(register) == {"1/1.dcm": "1.2.1.1"}
    assert notes(index) == 1
    one.rename()
    one.settle()
    assert register.waiting == 0
    settle_later(index)
    assert notes(index) == 0


def test_what_comes_to_nothing_is_looked_at_and_its_rows_go_with_all_above_them(register, index):
    Arriving(register, "1/1.dcm", instance(1, study=1)).arrive()
    nothing = Arriving(register, "2/2.dcm", instance(2, study=2))
    nothing.keep()
    nothing.settle(holds=False)
    assert register.waiting == 1
    catch_up(register)
    assert told(register) == {"1/1.dcm": "1.2.1.1"}
    assert notes(index) == register.waiting == 0


def test_what_was_to_replace_another_and_came_to_nothing_leaves_that_and_what_it_says_of_its_study(register):
    Arriving(register, "1/1.dcm", instance(1, PatientName="FIRST", Rows="1")).arrive()
    before = rows(register.index, digests=False)
    nothing = Arriving(register, "1/1.dcm", instance(1, PatientName="SECOND", Rows="2"))
    nothing.keep()
    assert rows(register.index, digests=False) != before
    nothing.settle(holds=False)
    catch_up(register)
    assert rows(register.index, digests=False) == before


def test_a_study_says_again_what_its_latest_instance_says_when_a_later_one_came_to_nothing(register):
    Arriving(register, "1/1.dcm", instance(1, PatientName="FIRST")).arrive()
    before = rows(register.index, digests=False)
    nothing = Arriving(register, "1/2.dcm", instance(2, PatientName="SECOND"))
    nothing.keep()
    nothing.settle(holds=False)
    catch_up(register)
    assert rows(register.index, digests=False) == before


@pytest.mark.parametrize("last", [0, 1])
def test_two_of_one_name_at_a_time_leave_the_rows_of_the_file_that_is_there(register, index, last):
    """The rows are those of whoever was written down last, the file that of whoever was renamed last."""
    both = [Arriving(register, "1/1.dcm", instance(1, Rows=str(number))) for number in range(2)]
    for one in both:
        one.keep()
    both[1 - last].rename()
    both[last].rename()
    for one in both:
        one.settle()
    catch_up(register)
    with index.database.reading() as connection:
        (told,) = connection.execute(select(instances.c.attributes)).scalars()
    assert told["00280010"] == str(last)
    assert notes(index) == 0


def test_a_note_that_somebody_else_has_taken_away_has_the_file_looked_at(register, index):
    """As another process does after its start, which takes it for one of a crash."""
    one = Arriving(register, "1/1.dcm", instance(1))
    one.keep()
    index.database.write(lambda connection: connection.execute(delete(pending)))
    index.database.write(lambda connection: index.writing.remove(connection, 1, "1/1.dcm"))
    one.rename()
    one.settle()
    settle_later(index)
    assert register.waiting == 1
    catch_up(register)
    assert told(register) == {"1/1.dcm": "1.2.1.1"}


def test_what_nobody_waited_for_to_the_end_is_found_out_about(register, index):
    """Another promise came to nothing before this one was kept."""
    one = Arriving(register, "1/1.dcm", instance(1))
    one.settle(holds=False)
    assert register.waiting == 1
    catch_up(register)
    assert (told(register), notes(index), register.waiting) == ({}, 0, 0)


def test_where_the_database_is_known_to_be_in_trouble_it_is_refused_at_once(register, index, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "LOCKED", 0.05)
    index.database.disconnect()
    holder = sqlite3.connect(tmp_path / "index.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    one = Arriving(register, "1/1.dcm", instance(1))
    with pytest.raises(IndexUnavailable, match="another program holds it"):
        one.keep()
    one.settle(holds=False)
    monkeypatch.setattr(index, "expect", None)  # not even asked
    with pytest.raises(IndexUnavailable, match="another program holds it"):
        register.expect("1/2.dcm", lambda: None)
    assert not register._underway
    holder.close()


def test_deferred_it_is_noted_before_it_has_its_name_and_written_down_after(deferred, index, store):
    one = Arriving(deferred, "1/1.dcm", instance(1))
    one.keep()
    assert list((store / ".index").glob("journal-*"))
    one.rename()
    assert told(deferred) == {}
    one.settle()
    assert deferred.waiting == 1
    catch_up(deferred)
    assert told(deferred) == {"1/1.dcm": "1.2.1.1"}
    deferred.close()
    assert not list((store / ".index").glob("journal-*"))


def test_what_is_deferred_and_cannot_be_written_down_waits_in_its_order(deferred, index, monkeypatch):
    for number in range(3):
        Arriving(deferred, f"1/{number}.dcm", instance(number)).arrive()
    taken = deferred.take(2)
    assert [note.path for note in taken] == ["1/0.dcm", "1/1.dcm"]
    deferred.give_back(taken)
    assert [note.path for note in deferred.take(9)] == ["1/0.dcm", "1/1.dcm", "1/2.dcm"]


def test_of_more_than_there_is_memory_for_only_the_paths_are_kept(deferred, monkeypatch):
    monkeypatch.setattr("scpd.index.register._MOST_KEPT", 2)
    for number in range(4):
        Arriving(deferred, f"1/{number}.dcm", instance(number)).arrive()
    assert [note.make is not None for note in deferred.take(9)] == [True, True, False, False]
    for number in range(4, 6):
        Arriving(deferred, f"1/{number}.dcm", instance(number)).arrive()
    assert all(note.make for note in deferred.take(9))


def test_what_is_deferred_when_it_is_closed_is_left_for_the_next(deferred, store):
    Arriving(deferred, "1/1.dcm", instance(1)).arrive()
    deferred.close()
    former = Former(str(store))
    assert former.paths == ["1/1.dcm"]
    former.close()


def test_a_journal_that_cannot_be_written_refuses(deferred, store):
    (store / ".index").write_text("in the way")
    with pytest.raises(IndexUnavailable, match="its journal cannot be written"):
        deferred.expect("1/1.dcm", lambda: None)


def test_it_is_idle_once_nobody_stores_by_it_and_nothing_waits(register):
    class User:
        pass

    user = User()
    register.users.add(user)
    assert not register.is_idle
    del user
    assert register.is_idle
    one = Arriving(register, "1/1.dcm", instance(1))
    assert not register.is_idle
    one.arrive()
    assert register.is_idle
