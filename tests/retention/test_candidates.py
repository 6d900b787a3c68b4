"""The studies of a store, the oldest first, whatever order the index has them in, with what a rule asks of them."""

from __future__ import annotations

import random

import pytest
from components.aged import CT, DAY, NOW

from scpd.index.places import store_uid
from scpd.retention import candidates as candidates_module
from scpd.retention.candidates import About, Candidates


@pytest.fixture
def candidates(archive) -> Candidates:
    return Candidates(archive.index.database, archive.register.uid)


def test_a_study_with_all_that_is_asked_of_it(archive, candidates):
    paths = [archive.put("1.2", 1, age=5 * DAY), archive.put("1.2", 2, age=3 * DAY, calling="CT2")]
    (study,) = candidates.oldest(NOW)
    sizes = [(archive.folder / path).stat().st_size for path in paths]
    assert study[1:] == ("1.2", NOW - 3 * DAY, 2, sum(sizes), frozenset(("CT1", "CT2")))
    files = candidates.files(study.id)
    assert [
        (one.sop_instance_uid, one.sop_class_uid, one.path, one.size, one.received, one.is_here) for one in files
    ] == [
        ("1.2.1.1", CT, paths[0], sizes[0], NOW - 5 * DAY, True),
        ("1.2.1.2", CT, paths[1], sizes[1], NOW - 3 * DAY, True),
    ]
    assert candidates.about(study.id) == About("4711", "Müller^Jürgen", "A17")
    assert candidates.about(99) == About("", "", "")


def test_the_oldest_first_by_the_last_instance(archive, candidates, monkeypatch):
    """Also where they come in many portions, and the last instance is not the one that told most of the study."""
    monkeypatch.setattr(candidates_module, "_NAMED", 4)
    monkeypatch.setattr(candidates_module, "_TOGETHER", 3)
    ages = [random.Random(7).randrange(1, 200) for _ in range(15)]
    for number, age in enumerate(ages):
        study = f"1.2.{number}"
        for instance, each in enumerate((age + 50, age, age + 90)):
            archive.put(study, instance, age=each * DAY)
    found = list(candidates.oldest(NOW - 20 * DAY))
    expected = sorted(((NOW - age * DAY), f"1.2.{number}") for number, age in enumerate(ages) if age >= 20)
    assert sorted((one.last, one.uid) for one in found) == expected
    assert [one.last for one in found] == sorted(one.last for one in found)


def test_files_of_another_store_are_left_alone_and_count_as_the_studys(archive, candidates, tmp_path, make_archive):
    archive.put("1.2", 1, age=100 * DAY)
    other = tmp_path / "other"
    other.mkdir()
    archive.put("1.2", 2, age=10 * DAY, calling="MR1")
    archive.put("1.3", 1)
    uid = store_uid(other)

    def move(connection):
        place = archive.index.places.number(connection, uid)
        connection.exec_driver_sql(f"UPDATE instances SET store = {place} WHERE uid IN ('1.2.1.2', '1.3.1.1')")

    archive.index.database.write(move)
    (study,) = candidates.oldest(NOW)
    assert (study.uid, study.last, study.instances, study.callings) == ("1.2", NOW - 10 * DAY, 1, {"CT1", "MR1"})
    assert [one.is_here for one in candidates.files(study.id)] == [True, False]
    assert [one.uid for one in Candidates(archive.index.database, uid).oldest(NOW)] == ["1.3", "1.2"]


def test_nothing_is_held_open_between_two_studies(small, monkeypatch):
    """Whoever deletes takes its time; a transaction that stays open would keep the database from tidying up."""
    small.fill("1.2", 1)
    small.fill("1.3", 1)
    studies = Candidates(small.index.database, small.register.uid).oldest(NOW)
    next(studies)
    assert small.index.database._reader.pool.checkedout() == 0
    assert len(list(studies)) == 1
