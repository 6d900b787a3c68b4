"""A keeper deletes what its rules say and nothing else, says so, and survives whatever it meets."""

from __future__ import annotations

import os

import pytest
from components.aged import CT, DAY, NOW, OLD, PATIENCE

from scpd.forward.queue import QueueError
from scpd.index.places import MARKER
from scpd.retention import keeper as keeper_module
from scpd.retention import place as place_module
from scpd.retention.judging import ARRIVING
from scpd.retention.keeper import UNDELETABLE, RuleStanding
from scpd.retention.place import Place
from scpd.retention.rules import rule


def test_what_is_old_goes_and_is_told_of(archive, one_pass, log):
    archive.fill("1.2", 3, age=100 * DAY)
    archive.fill("1.3", 2, age=80 * DAY)
    size = sum(path.stat().st_size for path in (archive.folder / "1.2").rglob("*.dcm"))
    standing, heard = one_pass(archive)
    assert archive.studies() == ["1.3"]
    assert archive.folders() == ["1.3"]
    archive.must_agree()
    (line,) = log.wait("study deleted")
    about_it = {"study": "1.2", "instances": 3, "bytes": size, "left": 0, "last": "2023-08-06T22:13:20+00:00"}
    assert line.items() >= {**about_it, "rule": "older_than: 90d", "where": "scpd.yaml:7", "log_level": "info"}.items()
    assert not any(word in str(log) for word in ("4711", "Müller", "A17"))
    ((study, about, by, deleted),) = heard
    assert (study.uid, about.patient_id, about.patient_name, about.accession) == ("1.2", "4711", "Müller^Jürgen", "A17")
    assert (by, deleted.sop_classes) == (OLD, {CT: 3})
    assert standing.rules == [RuleStanding("older_than: 90d", "scpd.yaml:7", 1, 3, size)]
    assert (standing.held_back, standing.last, standing.trouble) == ({}, NOW, "")


def test_a_rule_for_callers_needs_all_of_them(archive, one_pass):
    archive.put("1.2", 1, calling="CT1")
    archive.put("1.2", 2, calling="MR1")
    archive.put("1.3", 1, calling="CT2")
    _, heard = one_pass(archive, rule("a rule", "x:1", older_than=DAY, calling=("CT?",)))
    assert archive.studies() == ["1.2"]
    assert [study.uid for study, *_ in heard] == ["1.3"]


def test_the_oldest_go_until_so_much_is_free(archive, one_pass, monkeypatch):
    for number in range(1, 6):
        archive.fill(f"1.{number}", 2, age=(100 - number) * DAY)
    sizes = [(archive.folder / path).stat().st_size for path in archive.files()]
    monkeypatch.setattr(Place, "free", lambda _: 10_000 - sum(sizes[: len(archive.files())]))
    goal = 10_000 - sum(sizes[:7])  # of ten, which is in the middle of the second study
    standing, _ = one_pass(archive, rule("free_below", "x:1", free_below=goal))
    assert archive.studies() == ["1.3", "1.4", "1.5"]
    assert standing.rules[0].studies == 2
    archive.must_agree()


def test_what_just_came_stays_however_little_is_free(archive, one_pass, monkeypatch):
    archive.fill("1.2", 2, age=3599)
    archive.fill("1.3", 2, age=3601)
    monkeypatch.setattr(Place, "free", lambda _: 0)
    standing, _ = one_pass(archive, rule("free_below: 1GiB", "x:1", free_below=1 << 30))
    assert archive.studies() == ["1.2"]
    assert standing.held_back == {ARRIVING: 1}


class Holding:
    def __init__(self, *studies, error=None) -> None:
        self.studies = studies
        self.error = error

    def why(self, directory, study, files):
        if self.error:
            raise self.error
        assert len(files()) == study.instances
        return "somebody needs it" if study.uid in self.studies else ""


def test_what_is_held_back_stays_and_the_rest_goes(archive, one_pass):
    for study in ("1.2", "1.3", "1.4"):
        archive.fill(study, 2)
    standing, _ = one_pass(archive, holds=(Holding("1.2"), Holding("1.3")))
    assert archive.studies() == ["1.2", "1.3"]
    assert standing.held_back == {"somebody needs it": 2}
    archive.must_agree()


def test_where_nobody_knows_what_waits_nothing_goes(small, one_pass, log):
    small.fill("1.2", 2)
    standing, _ = one_pass(small, holds=(Holding(error=QueueError("queue.db cannot be read: disk I/O error")),))
    assert len(small.files()) == 2
    assert standing.trouble.endswith("cannot be read: disk I/O error")
    assert [line["why"] for line in log.wait("retention deletes nothing")] == [standing.trouble]


def test_a_store_that_is_gone_is_told_once_and_comes_back(small, keep, log, monkeypatch):
    monkeypatch.setattr(keeper_module, "_BETWEEN_LOOKS", 0.01)
    small.fill("1.2", 2)
    (small.folder / MARKER).rename(small.folder / "away")
    keeper = keep(small)
    small.until(lambda: "unmounted or moved" in keeper.standing().trouble)
    keeper.hurry()
    log.wait("retention deletes nothing")
    assert len(small.files()) == 2
    (small.folder / "away").rename(small.folder / MARKER)
    log.wait("retention works again")
    small.until(lambda: not small.files())
    assert keeper.standing().trouble == ""
    assert len(log.wait("retention deletes nothing")) == 1


def test_nothing_goes_before_the_index_knows_all_files(small, keep, monkeypatch):
    monkeypatch.setattr(keeper_module, "_BETWEEN_LOOKS", 0.01)
    small.fill("1.2", 2)
    small.index.unfinished = "the index is made anew: 5 files so far"
    keeper = keep(small)
    small.until(lambda: keeper.standing().trouble == small.index.unfinished)
    small.index.unfinished = ""
    small.register.is_recovered = False
    small.until(lambda: "catch up" in keeper.standing().trouble or not small.files())
    small.register.is_recovered = True
    small.until(lambda: not small.files())


def test_files_that_cannot_go_are_told_once_and_let_alone(small, keep, log, monkeypatch):
    for number in range(5):
        small.fill(f"1.{number}", 1, age=(100 + number) * DAY)
    tried = []
    rename = os.rename

    def refuse(name, *args, **how):
        tried.append(name)
        if name.startswith(("1.1.", "1.3.")):
            raise PermissionError(1, "Operation not permitted")
        rename(name, *args, **how)

    monkeypatch.setattr(place_module.os, "rename", refuse)
    keeper = keep(small)
    small.until(lambda: keeper.standing().last)
    assert small.studies() == ["1.1", "1.3"]
    monkeypatch.setattr(keeper_module, "_BETWEEN_LOOKS", 0.01)
    keeper.hurry()
    small.until(lambda: keeper.standing().held_back == {UNDELETABLE: 2})
    (line,) = log.wait("a study cannot be deleted")
    assert line.items() >= {"study": "1.3", "left": 1, "why": "Operation not permitted"}.items()
    assert len(tried) == 5
    small.must_agree()


def test_a_pass_ends_where_nothing_can_be_deleted(small, keep, log, monkeypatch):
    monkeypatch.setattr(keeper_module, "_MOST_FAILURES", 2)
    for number in range(6):
        small.fill(f"1.{number}", 1)
    tried = []

    def refuse(name, *_, **__):
        tried.append(name)
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(place_module.os, "rename", refuse)
    keeper = keep(small)
    small.until(lambda: keeper.standing().last)
    assert len(tried) == 3
    assert len(log.wait("a study cannot be deleted")) == 1


def test_a_uid_that_is_none_gets_into_no_log_as_it_is(small, one_pass, log):
    small.put("1.2")
    small.index.database.write(lambda connection: connection.exec_driver_sql("UPDATE studies SET uid = '1.2\n<b>'"))
    one_pass(small)
    assert log.wait("study deleted")[0]["study"] == r"'1.2\n<b>'"


def test_the_next_keeper_goes_on_where_the_last_one_was(small, keep, log):
    small.fill("1.2", 2)
    first = keep(small)
    small.until(lambda: first.standing().last)
    first.end()
    small.fill("1.3", 2)
    second = keep(small, OLD._replace(place="scpd.yaml:9"), former=first)
    small.until(lambda: not small.files())
    second.end()
    assert second.join(PATIENCE)
    assert second.standing().rules[0]._replace(size=0) == RuleStanding("older_than: 90d", "scpd.yaml:9", 2, 4, 0)


def test_without_a_thread_it_says_so(small, log, monkeypatch):
    keeper = keeper_module.Keeper(small.register, keeper_module_work(OLD))
    monkeypatch.setattr(keeper_module.threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError))
    keeper.start()
    assert log.wait("retention deletes nothing")[0]["why"] == "the system has no thread left"
    assert keeper.join(0)


def test_one_that_is_ended_deletes_no_more(small, keep, monkeypatch):
    for number in range(4):
        small.fill(f"1.{number}", 1)
    taken = Place.take_away

    def end(self, *args):
        keeper.end()
        return taken(self, *args)

    monkeypatch.setattr(keeper_module.Keeper, "start", lambda self: None)
    keeper = keep(small)
    monkeypatch.undo()
    monkeypatch.setattr(Place, "take_away", end)
    keeper.start()
    assert keeper.join(PATIENCE)
    assert len(small.files()) == 3
    small.must_agree()


def test_a_disk_that_gives_no_space_back_does_not_cost_everything(small, keep, monkeypatch, log):
    """Snapshots hold what is deleted, or another program fills the disk: pass after pass would delete all there is."""
    monkeypatch.setattr(keeper_module, "_BETWEEN_LOOKS", 0.02)
    monkeypatch.setattr(keeper_module, "_BETWEEN_TRIES", 0.0)
    for number in range(6):
        small.fill(f"1.{number}", 1)
    (size,) = {path.stat().st_size for path in small.folder.rglob("*.dcm")}
    monkeypatch.setattr(Place, "free", lambda _: 1000)
    keeper = keep(small, rule("free_below", "x:1", free_below=1000 + size))
    log.wait("retention deletes nothing")
    assert "gives no space back" in keeper.standing().trouble
    left = len(small.files())
    assert left == 5
    keeper.hurry()
    small.until(lambda: keeper.standing().trouble)
    assert len(small.files()) == left


@pytest.mark.parametrize("moments", [[True, True, False], [False, True, True, False, True]])
def test_shortage_is_seen_at_once_and_then_not_tried_all_the_time(small, keep, monkeypatch, moments):
    free = {True: 10, False: 1000}
    keeper = keeper_module.Keeper(small.register, keeper_module_work(rule("x", "x:1", free_below=100)))
    keeper._due = float("inf")
    monkeypatch.setattr(Place, "free", lambda _: free[moments.pop(0)])
    expected = [now and not before for before, now in zip([False, *moments], moments, strict=False)]
    assert [keeper._is_time(Place(0, 0)) for _ in expected] == expected


def keeper_module_work(*rules):
    from scpd.retention.judging import Work  # noqa: PLC0415

    return Work(rules)
