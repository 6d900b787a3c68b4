"""One study goes, file by file, and what has come meanwhile does not."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from components.aged import CT, DAY, NOW

from scpd.errors import IndexUnavailable
from scpd.index.register import Register
from scpd.retention import deletion as deletion_module
from scpd.retention import place as place_module
from scpd.retention.candidates import Candidates
from scpd.retention.deletion import Deleted, Deletion
from scpd.retention.place import Place, opened


class Deleting:
    """The deletion of the one study that there is, as it was found."""

    def __init__(self, archive) -> None:
        candidates = Candidates(archive.index.database, archive.register.uid)
        self.archive = archive
        (self.study,) = candidates.oldest(NOW)
        self.deletion = Deletion(archive.register, self.study, candidates.files(self.study.id))

    def run(self, go_on=lambda: True) -> Deleted:
        with opened(self.archive.register.directory, self.archive.register.uid) as place:
            self.deletion.run(place, go_on)
        return self.deletion.result


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch):
    monkeypatch.setattr(deletion_module, "TOGETHER", 3)


def test_all_of_it_goes_with_its_series_its_study_and_its_patient(archive):
    paths = archive.fill("1.2", 7)
    size = sum((archive.folder / path).stat().st_size for path in paths)
    assert Deleting(archive).run() == Deleted(7, size, Counter({CT: 7}), 0, "")
    assert archive.counts() == (0, 0, 0, 0, 0)
    assert (archive.files(), archive.folders()) == ([], [])
    archive.must_agree()


def test_the_patient_stays_with_another_study(archive):
    archive.fill("1.2", 2)
    deleting = Deleting(archive)
    archive.fill("1.3", 2)
    archive.fill("1.4", 2, patient="another")
    deleting.run()
    assert (archive.studies(), archive.counts()) == (["1.3", "1.4"], (2, 2, 2, 4, 0))
    archive.must_agree()


def test_a_study_that_something_came_for_is_left_alone(archive):
    archive.fill("1.2", 4)
    deleting = Deleting(archive)
    archive.put("1.2", 5, age=0)
    assert deleting.run() == Deleted(0, 0, Counter(), 4, "")
    assert len(archive.files()) == 5
    archive.must_agree()


def test_where_something_comes_in_the_middle_the_rest_stays(archive):
    archive.fill("1.2", 7)
    deleting = Deleting(archive)

    def go_on():
        archive.put("1.2", 9, age=0)
        return True

    assert deleting.run(go_on)[::3] == (3, 4)
    assert len(archive.files()) == archive.counts()[3] == 5
    archive.must_agree()


def test_it_ends_between_some_files_and_the_next(archive):
    archive.fill("1.2", 7)
    assert Deleting(archive).run(lambda: False)[::3] == (3, 4)
    assert archive.counts() == (1, 1, 1, 4, 0)
    archive.must_agree()


def test_a_file_that_was_replaced_stays_and_gets_its_own_row(archive):
    paths = archive.fill("1.2", 3)
    deleting = Deleting(archive)
    (archive.folder / paths[1]).unlink()
    archive.write("1.2", 2, age=95 * DAY)
    assert deleting.run()[::3] == (2, 1)
    assert archive.files() == [paths[1]]
    assert archive.counts() == (1, 1, 1, 1, 0)
    archive.must_agree()


def test_a_file_that_is_promised_to_be_replaced_is_left_to_that(archive):
    """In the store path the row is the new one's already, and the file is yet to come."""
    paths = archive.fill("1.2", 2)
    deleting = Deleting(archive)
    note = archive.index.database.write(
        lambda connection: archive.index.writing.pend(
            connection, archive.index.places.number(connection, archive.register.uid), paths[0], NOW
        )
    )
    assert deleting.run()[::3] == (1, 1)
    assert archive.files() == [paths[0]]
    archive.index.settle(note)
    archive.must_agree()


def test_a_row_without_a_file_goes_and_is_no_deletion(archive):
    paths = archive.fill("1.2", 3)
    deleting = Deleting(archive)
    (archive.folder / paths[0]).unlink()
    assert deleting.run()[::3] == (2, 0)
    assert archive.counts() == (0, 0, 0, 0, 0)


def test_a_file_that_cannot_go_keeps_its_row_and_ends_it(archive, monkeypatch):
    paths = archive.fill("1.2", 7)
    rename = os.rename

    def refuse(name, *args, **how):
        if name in paths[4]:
            raise PermissionError(1, "Operation not permitted")
        rename(name, *args, **how)

    monkeypatch.setattr(place_module.os, "rename", refuse)
    result = Deleting(archive).run()
    assert (result.instances, result.left, result.why) == (4, 3, "Operation not permitted")
    assert archive.files() == paths[4:]
    archive.must_agree()


def test_where_the_disk_does_not_say_that_they_are_gone_the_rows_are_looked_at(archive, monkeypatch):
    archive.fill("1.2", 3)

    def fail(self, paths):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Place, "settle", fail)
    assert Deleting(archive).run().why == "Input/output error"
    archive.must_agree()


def test_what_comes_back_under_the_name_of_one_that_goes_is_written_down(make_archive, database_url, monkeypatch):
    """Deferred: whoever writes down what has come heeds our note, so we have to see to it."""
    archive = make_archive(database_url, deferred=True)
    (path,) = archive.fill("1.2", 1)
    deleting = Deleting(archive)
    take_away = Place.take_away

    def then_another_comes(self, *args):
        fate = take_away(self, *args)
        note = archive.register.expect(path, lambda: None)
        archive.write("1.2", 1, age=DAY)
        archive.register.settle(note._replace(make=None), holds=True)
        archive.until(lambda: not archive.register.waiting)
        return fate

    monkeypatch.setattr(Place, "take_away", then_another_comes)
    assert deleting.run()[::3] == (1, 0)
    assert archive.files() == [path]
    assert archive.counts()[3] == 1
    archive.must_agree()


def test_files_of_another_store_stay_with_their_rows(archive, tmp_path):
    archive.fill("1.2", 2)
    other = tmp_path / "other"
    (other / "1.2").mkdir(parents=True)
    uid = Register(archive.index, other, deferred=False).uid

    def move(connection):
        place = archive.index.places.number(connection, uid)
        connection.exec_driver_sql(f"UPDATE instances SET store = {place} WHERE uid = '1.2.1.2'")

    archive.index.database.write(move)
    assert Deleting(archive).run()[::3] == (1, 0)
    assert archive.counts() == (1, 1, 1, 1, 0)


def test_without_the_index_no_file_goes(small):
    small.fill("1.2", 2)
    deleting = Deleting(small)
    small.upkeep.close(5)
    with pytest.raises(IndexUnavailable):
        deleting.run()
    assert len(small.files()) == 2


def test_where_the_index_goes_in_the_middle_it_is_put_right_later(make_archive, database_url, monkeypatch):
    archive = make_archive(database_url)
    archive.fill("1.2", 3)
    deleting = Deleting(archive)
    with monkeypatch.context() as patch:
        patch.setattr(Deletion, "_remove", lambda *_: 1 / 0)
        with pytest.raises(IndexUnavailable):
            deleting.run()
    assert (archive.files(), archive.counts()[3:]) == ([], (3, 3))
    archive.close()
    archive = make_archive(database_url)
    archive.must_agree()
    assert archive.counts() == (0, 0, 0, 0, 0)
