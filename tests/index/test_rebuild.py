"""An index made anew from the files, on SQLite and PostgreSQL: what holds then, and what an interruption leaves."""

from __future__ import annotations

import os
import time
from itertools import count
from pathlib import Path

import pydicom
import pytest
from components.doing import end, fail
from components.filled import WHEN, instance, put, rows
from sqlalchemy import func, select

from scpd.errors import IndexUnavailable, ScpdError, UnreadableDataSet
from scpd.index import differences as kinds
from scpd.index import rebuild as rebuilding
from scpd.index.attributes import Keeping, Level
from scpd.index.crew import crew
from scpd.index.differences import Compares, Difference, differences
from scpd.index.files import files
from scpd.index.index import Index
from scpd.index.places import MARKER
from scpd.index.rebuild import Looks, Progress, Rebuild, settle_left
from scpd.index.register import Register
from scpd.index.schema import facts, instances, patients, pending, series, studies

NOT_UTF_8 = os.fsdecode(b"caf\xe9/1.dcm")


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def index(database_url):
    index = Index(database_url, Keeping())
    index.open()
    yield index
    index.close()


@pytest.fixture
def register(index, store):
    register = Register(index, store, deferred=False)
    yield register
    register.close()


def made_anew(register, **how) -> Progress:
    rebuild = Rebuild(register, **how)
    assert rebuild.run()
    assert not rebuild.is_underway()
    return rebuild.progress


def fill(store, number=10, study=1) -> None:
    for one in range(number):
        put(store, f"{study}/{one // 3}/{one}.dcm", instance(one, study), WHEN + one)


def counts(index) -> list[int]:
    with index.database.reading() as connection:
        tables = (patients, studies, series, instances)
        return [connection.execute(select(func.count()).select_from(table)).scalar() for table in tables]


def write_digest(index, path, digest) -> None:
    change = instances.update().where(instances.c.path == path).values(digest=digest)
    index.database.write(lambda connection: connection.execute(change))


def digest_of(index, path):
    with index.database.reading() as connection:
        return connection.execute(select(instances.c.digest).where(instances.c.path == path)).scalar()


# -- what holds after one


def test_every_file_has_its_row_and_what_is_above_it(register, store):
    fill(store, 10)
    fill(store, 5, study=2)
    assert made_anew(register) == Progress(15, 15, 0, 0)
    assert counts(register.index) == [2, 2, 2, 15]
    found = rows(register.index)
    assert [row[3] for row in found] == sorted(files(str(store)))
    assert list(differences(register)) == []


def test_it_is_the_same_as_storing_one_by_one_for_all_that_pydicom_ships(register, store):
    shipped = Path(pydicom.__file__).parent / "data" / "test_files"
    sources = sorted(path for path in shipped.rglob("*") if path.is_file())
    copied = [put(store, str(path.relative_to(shipped)), path.read_bytes(), WHEN + n) for n, path in enumerate(sources)]
    looks, stored = Looks(str(store), Keeping()), 0
    for path in copied:
        (found,) = looks([str(path.relative_to(store))])
        if found.arrival:
            register.index.expect(register.uid, found.arrival)()
            stored += 1
    assert stored > 80, "pydicom ships more instances than that"
    one_by_one, before = rows(register.index), counts(register.index)
    assert len(one_by_one) == stored
    told = []
    done = made_anew(register, unreadable=told.append)
    assert (done.files, done.instances, done.removed) == (len(copied), stored, 0)
    assert done.unreadable == len(told) == len(copied) - stored
    assert rows(register.index) == one_by_one
    assert counts(register.index) == before


def test_what_comes_last_says_what_a_patient_and_a_study_are(register, store):
    """Whatever rows said before: those of files that are gone say nothing any more."""
    put(store, "a/old", instance(1, PatientName="OLD"), WHEN)
    put(store, "b/new", instance(2, PatientName="NEW"), WHEN + 1)
    put(store, "c/newest", instance(3, PatientName="NEWEST"), WHEN + 2)
    made_anew(register)
    assert _names(register.index) == ["newest"]
    (store / "c" / "newest").unlink()
    made_anew(register)
    assert _names(register.index) == ["new"]


def _names(index) -> list[str]:
    with index.database.reading() as connection:
        return [name.strip("^= ").lower() for name in connection.execute(select(patients.c.name)).scalars()]


def test_rows_whose_files_are_gone_go_with_all_that_holds_nothing_then(register, store):
    fill(store, 4)
    fill(store, 4, study=2)
    put(store, "2/x/another-series.dcm", instance(200, 2), WHEN)
    made_anew(register)
    assert counts(register.index) == [2, 2, 3, 9]
    (store / "2/x/another-series.dcm").unlink()
    assert made_anew(register).removed == 1
    assert counts(register.index) == [2, 2, 2, 8]
    for path in list(files(str(store / "1"))):
        (store / "1" / path).unlink()
    assert made_anew(register) == Progress(4, 4, 0, 4)
    assert counts(register.index) == [1, 1, 1, 4]


def test_a_row_whose_file_is_something_else_now_goes(register, store):
    fill(store, 6)
    made_anew(register)
    paths = list(files(str(store)))
    for path in paths:
        (store / path).unlink()
    (store / paths[0]).write_bytes(b"no instance")
    (store / paths[1]).symlink_to("/etc/hostname")
    (store / paths[2]).mkdir()
    os.mkfifo(store / paths[3])
    put(store, paths[4], instance(4), WHEN)
    told = []
    done = made_anew(register, unreadable=told.append)
    assert (done.instances, done.unreadable, done.removed) == (1, 3, 5)
    assert {(one.path, one.what) for one in told} == {(path, kinds.NO_INSTANCE) for path in (*paths[:2], paths[3])}
    assert [row[3] for row in rows(register.index)] == [paths[4]]


def test_digests_are_kept_while_a_file_is_the_same(register, store):
    for name in ("same", "touched", "longer"):
        put(store, name, instance(1), WHEN)
    made_anew(register)
    for name in ("same", "touched", "longer"):
        write_digest(register.index, name, "0badcafe")
    os.utime(store / "touched", (WHEN + 1, WHEN + 1))
    put(store, "longer", instance(1, PatientComments="more"), WHEN)
    made_anew(register)
    assert [digest_of(register.index, name) for name in ("same", "touched", "longer")] == ["0badcafe", "", ""]


def test_a_name_that_is_no_text_is_named_and_hinders_nothing(register, store):
    put(store, NOT_UTF_8, instance(1))
    put(store, "Grüße/山田 \U0001f600.dcm", instance(2))
    put(store, "a\nb'\"%\\.dcm", instance(3))
    told = []
    done = made_anew(register, unreadable=told.append)
    assert told == [Difference(NOT_UTF_8, kinds.NOT_INDEXED, "its name is not in UTF-8")]
    assert (done.instances, done.unreadable) == (2, 1)
    assert {row[3] for row in rows(register.index)} == {"Grüße/山田 \U0001f600.dcm", "a\nb'\"%\\.dcm"}
    assert list(differences(register)) == told
    made_anew(register)
    assert len(rows(register.index)) == 2


def test_a_file_that_cannot_be_read_keeps_its_row(register, store, monkeypatch):
    fill(store, 3)
    made_anew(register)
    before = rows(register.index)
    refused = store / "1/0/1.dcm"
    open_ = os.open

    def refuse(path, *how, **more):
        if path == str(refused):
            raise PermissionError(13, "Permission denied", path)
        return open_(path, *how, **more)

    monkeypatch.setattr("scpd.index.files.os.open", refuse)
    told = []
    assert made_anew(register, unreadable=told.append) == Progress(3, 2, 1, 0)
    assert told == [Difference("1/0/1.dcm", kinds.NOT_READ, "Permission denied")]
    assert rows(register.index) == before


def test_a_folder_that_cannot_be_read_keeps_its_rows(register, store, monkeypatch):
    fill(store, 7)
    made_anew(register)
    before = rows(register.index)
    scan, look = os.scandir, os.lstat

    def refuse(function):
        def refusing(path, *how, **more):
            if str(path).startswith(str(store / "1/1")):
                raise PermissionError(13, "Permission denied", path)
            return function(path, *how, **more)

        return refusing

    monkeypatch.setattr("scpd.index.files.os.scandir", refuse(scan))
    monkeypatch.setattr("scpd.index.files.os.lstat", refuse(look))
    told = []
    made_anew(register, unreadable=told.append)
    assert told[0] == Difference("1/1", kinds.NOT_READ, "Permission denied")
    assert {one.path for one in told[1:]} == {"1/1/3.dcm", "1/1/4.dcm", "1/1/5.dcm"}
    assert rows(register.index) == before


def test_a_store_that_is_gone_costs_no_row(register, store):
    fill(store, 3)
    made_anew(register)
    before = rows(register.index)
    store.rename(store.with_name("elsewhere"))
    with pytest.raises(FileNotFoundError):
        Rebuild(register).run()
    store.mkdir()  # an empty mount point
    with pytest.raises(IndexUnavailable, match="not the store"):
        Rebuild(register).run()
    store.rmdir()
    store.with_name("elsewhere").rename(store)
    assert rows(register.index) == before
    assert made_anew(register).removed == 0


def test_what_somebody_is_about_to_store_is_left_to_them(register, store):
    put(store, "a", instance(1), WHEN)
    made_anew(register)
    (found,) = Looks(str(store), Keeping())(["a"])
    promised = found.arrival._replace(path="b", size=4711), found.arrival._replace(size=4712)
    numbers = [register.index.expect(register.uid, one)() for one in promised]
    assert made_anew(register).removed == 0
    sizes = select(instances.c.path, instances.c.size).order_by(instances.c.path)
    with register.index.database.reading() as connection:
        assert connection.execute(sizes).all() == [("a", 4712), ("b", 4711)]
    assert list(differences(register)) == []
    settle_left(register, time.time() + 1)
    with register.index.database.reading() as connection:
        assert connection.execute(sizes).all() == [("a", len(instance(1)))]
        assert connection.execute(select(pending.c.id).where(pending.c.id.in_(numbers))).all() == []


def test_another_store_of_the_same_index_is_left_alone(register, store, index, tmp_path):
    (tmp_path / "other").mkdir()
    other = Register(index, tmp_path / "other", deferred=False)
    fill(store, 3)
    put(tmp_path / "other", "1", instance(50, PatientName="ELSEWHERE"), WHEN + 100)
    made_anew(register)
    made_anew(other)
    (store / "1/0/0.dcm").unlink()
    made_anew(register)
    assert [row[3] for row in rows(index)] == ["1", "1/0/1.dcm", "1/0/2.dcm"]
    assert list(differences(other)) == []
    other.close()


def test_what_a_database_does_not_take_is_named_and_costs_nothing_else(register, store, monkeypatch):
    fill(store, 5)
    put_ = register.index.writing.put

    def refuse(connection, place, arrival):
        if arrival.path == "1/1/3.dcm":
            raise OverflowError("too large")
        put_(connection, place, arrival)

    monkeypatch.setattr(register.index.writing, "put", refuse)
    told = []
    assert made_anew(register, unreadable=told.append) == Progress(5, 4, 1, 0)
    assert [(one.path, one.what) for one in told] == [("1/1/3.dcm", kinds.NOT_INDEXED)]
    assert "too large" in told[0].why
    assert counts(register.index)[-1] == 4


# -- one that is interrupted


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(rebuilding, "TOGETHER", 4)


def test_it_goes_on_where_it_was_and_comes_to_the_same(register, store, small_batches):
    fill(store, 30)
    made_anew(register)
    whole = rows(register.index)
    fill(store, 30)
    for path in list(files(str(store)))[::5]:
        (store / path).unlink()
    asked = count()
    first = Rebuild(register, is_wanted=lambda: next(asked) < 3)
    assert not first.run()
    assert first.progress.files == 12
    second = Rebuild(register)
    assert second.is_underway()
    assert second.progress == first.progress
    told = []
    assert second.run(told=told.append)
    assert told[0].files == 16, "what was done was not done again"
    assert second.progress == Progress(24, 24, 0, 6)
    assert len(rows(register.index)) == 24
    assert all(row in whole for row in rows(register.index))
    assert not Rebuild(register).is_underway()


def test_it_goes_on_within_a_folder(register, store, small_batches):
    for number in range(20):
        put(store, f"{number:02}.dcm", instance(number), WHEN)
    asked = count()
    Rebuild(register, is_wanted=lambda: next(asked) < 2).run()
    told = []
    assert Rebuild(register).run(told=told.append)
    assert [one.files for one in told] == [12, 16, 20]


def test_it_goes_on_after_a_name_that_is_no_text(register, store, small_batches):
    for number in range(4):
        put(store, os.fsdecode(b"\xe9%d" % number), instance(number), WHEN)
    put(store, "\uffff", instance(9), WHEN)
    asked = count()
    Rebuild(register, is_wanted=lambda: next(asked) < 1).run()
    told = []
    assert Rebuild(register).run(told=told.append)
    assert told == [Progress(5, 1, 4, 0)]


def test_with_other_attributes_than_it_was_begun_with_it_begins_again(register, store, database_url, small_batches):
    fill(store, 10)
    asked = count()
    Rebuild(register, is_wanted=lambda: next(asked) < 1).run()
    more = Index(database_url, Keeping({Level.STUDY: ["InstitutionAddress"]}))
    more.open()
    again = Register(more, store, deferred=False)
    assert more.stale_attributes() == ["InstitutionAddress"]
    rebuild = Rebuild(again)
    assert rebuild.is_underway()
    assert rebuild.run()
    assert rebuild.progress.files == 10
    assert more.stale_attributes() == []
    again.close()
    more.close()


def test_begun_anew_it_begins_at_the_start(register, store, small_batches):
    fill(store, 10)
    asked = count()
    Rebuild(register, is_wanted=lambda: next(asked) < 1).run()
    again = Rebuild(register)
    again.begin()
    assert again.progress == Progress()
    assert again.run()
    assert again.progress.files == 10


def test_what_raises_in_between_leaves_the_batches_before_it(register, store, small_batches):
    fill(store, 10)
    looks, asked = Looks(str(store), Keeping()), count()

    def fail(paths):
        if next(asked) == 2:
            raise MemoryError
        return looks(paths)

    with pytest.raises(MemoryError):
        Rebuild(register).run(lambda batches: map(fail, batches))
    again = Rebuild(register)
    assert again.is_underway()
    assert again.progress.files == 8
    assert again.run()
    assert counts(register.index)[-1] == 10


def test_a_rebuild_leaves_no_fact_behind(register, store):
    fill(store, 1)
    made_anew(register)
    with register.index.database.reading() as connection:
        assert connection.execute(select(facts.c.name).where(facts.c.name.like("rebuild%"))).all() == []


# -- many processes


def test_several_processes_bring_the_same_in_the_same_order(register, store, small_batches):
    fill(store, 30)
    put(store, "1/not.dcm", b"none")
    made_anew(register)
    alone = rows(register.index)
    seen = []
    with crew(Looks(str(store), Keeping()), 2) as looking:
        assert Rebuild(register).run(lambda batches: (seen.append(one) or one for one in looking(batches)))
    assert [found.note.path for batch in seen for found in batch] == list(files(str(store)))
    assert rows(register.index) == alone


def test_a_process_that_is_killed_is_told():
    with pytest.raises(ScpdError, match="--jobs"), crew(end, 2) as doing:
        list(doing([1, 2, 3]))


def test_what_a_process_raises_is_raised_and_all_of_them_end():
    with pytest.raises(UnreadableDataSet, match="as it should"), crew(fail, 2) as doing:
        list(doing(range(100)))


def test_batches_are_taken_as_they_are_needed():
    taken = count()
    with crew(str, 2) as doing:
        done = doing(next(taken) for _ in range(1000))
        assert [next(done), next(done)] == ["0", "1"]
        assert next(taken) < 20


# -- what differs


def test_each_difference_is_named_once(register, store):
    fill(store, 6)
    made_anew(register)
    put(store, "new.dcm", instance(77), WHEN)
    put(store, "README", b"not of ours")
    put(store, "1/0/1.dcm", instance(1, PatientComments="longer"), WHEN + 1)
    os.utime(store / "1/0/2.dcm", (WHEN, WHEN))
    (store / "1/1/3.dcm").unlink()
    (store / "1/1/4.dcm").unlink()
    (store / "1/1/4.dcm").symlink_to("5.dcm")
    before = rows(register.index)
    found = [(one.what, one.path) for one in differences(register)]
    assert sorted(found) == sorted(
        [
            (kinds.NO_INSTANCE, "README"),
            (kinds.WITHOUT_ROW, "new.dcm"),
            (kinds.ANOTHER, "1/0/1.dcm"),
            (kinds.ANOTHER, "1/0/2.dcm"),
            (kinds.WITHOUT_FILE, "1/1/3.dcm"),
            (kinds.WITHOUT_FILE, "1/1/4.dcm"),
        ]
    )
    assert rows(register.index) == before, "nothing is changed"
    made_anew(register)
    assert [one.what for one in differences(register)] == [kinds.NO_INSTANCE, kinds.NO_INSTANCE]


@pytest.mark.parametrize("jobs", [1, 2])
def test_digests_tell_a_data_set_that_is_not_what_came(register, store, jobs):
    data = instance(1)
    for name in ("good", "altered", "unknown"):
        put(store, name, data, WHEN)
    made_anew(register)
    whole = pydicom.dcmread(store / "good")
    assert whole.PatientID == "P1"
    digest = kinds._digest(str(store / "good"))
    for name in ("good", "altered"):
        write_digest(register.index, name, digest)
    put(store, "altered", data.replace(b"DOE^1", b"DOE^2"), WHEN)
    put(store, "unknown", data.replace(b"DOE^1", b"DOE^2"), WHEN)
    assert list(differences(register)) == []
    with crew(Compares(str(store), Keeping(), digests=True), jobs) as comparing:
        found = list(differences(register, comparing, digests=True))
    assert found == [Difference("altered", kinds.ALTERED)]


def test_a_store_that_was_never_written_down_has_only_files_without_rows(register, store):
    fill(store, 3)
    assert {one.what for one in differences(register)} == {kinds.WITHOUT_ROW}


def test_thousands_of_files_in_a_folder_and_hundreds_of_folders(register, store):
    data = instance(1)
    for number in range(3_000):
        put(store, f"flat/{number}", data)
    for number in range(500):
        put(store, f"deep/{number}/1", data)
    assert made_anew(register) == Progress(3_500, 3_500, 0, 0)
    assert list(differences(register)) == []
    assert (store / MARKER).exists()
