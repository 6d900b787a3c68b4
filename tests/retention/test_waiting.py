"""Nobody loses a study that a hook has yet to get, or a peer waits to have committed."""

from __future__ import annotations

import json
import os

import pytest
from components.aged import CT

from scpd.daemon.promises import Desk
from scpd.forward import studies
from scpd.forward.queue import HELD, SET_ASIDE, WAITING, Queue, QueueError, encoded
from scpd.forward.studies import Arrival, Key, Studies
from scpd.retention import waiting as waiting_module
from scpd.retention.candidates import File
from scpd.retention.rules import Study
from scpd.retention.waiting import COMMITMENT, HOOK, Indexed, Waiting
from scpd.services.commitment import transactions
from scpd.services.commitment.module import Reference, Requested
from scpd.services.commitment.transactions import Transactions, Way
from scpd.services.service import Peer, nobody
from scpd.services.storage import Stored
from scpd.storage.incoming import Written

FILE = File(1, "1.2.1.1", CT, "1.2/1.2.1/1.2.1.1.dcm", 100, 1.0, is_here=True)
STUDY = Study(1, "1.2", 1.0, 1, 100, frozenset(("CT1",)))
PATH = f"/store/{FILE.path}"


@pytest.fixture
def queue(tmp_path):
    opened = Queue(tmp_path / "queue", (*studies.SCHEMA, *transactions.SCHEMA))
    yield opened
    opened.close(5)


@pytest.fixture
def waiting(queue):
    return Waiting(Indexed(queue.database), Transactions(queue).pending)


def why(waiting, study=STUDY, *files):
    return waiting.why("/store", study, lambda: files or (FILE,))


def job(queue, state=WAITING, uid="1.2", path=PATH, **more):
    payload = encoded({"event": "instance", "study_instance_uid": uid, "path": path, **more})
    return queue.database.write(lambda connection: queue.insert(connection, "hook", payload, state))


def arrival(queue, study="1.2", path=PATH):
    underway = Studies(queue)
    one = Arrival(Key("hook", "ARCHIVE", study), path, {"event": "study"})
    return queue.database.write(lambda connection: underway.insert(connection, one))


def test_nobody_waits_for_anything(waiting):
    assert why(waiting) == ""


@pytest.mark.parametrize("state", [HELD, WAITING, SET_ASIDE])
def test_a_job_of_its_study_holds_it_back_until_it_is_done(queue, waiting, state):
    number = job(queue, state)
    assert why(waiting) == HOOK
    assert why(waiting, STUDY._replace(uid="1.3")) == ""
    queue.database.write(lambda connection: connection.execute("DELETE FROM jobs WHERE id = ?", (number,)))
    assert why(waiting) == ""


def test_a_study_that_is_not_quiet_yet_stays(queue, waiting):
    arrival(queue)
    assert why(waiting) == HOOK
    assert why(waiting, STUDY._replace(uid="1.3")) == ""


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"path": "/store/1.2/1.2.1"},
        {"path": "/store", "paths": ["/store/x", PATH]},
        {"path": "/store", "paths": ["/store/x"], "paths_cut": True, "directories": ["/store/1.2/1.2.1"]},
        {"path": "/store", "paths": ["/s"], "paths_cut": True, "directories": ["/t"], "directories_cut": True},
    ],
)
def test_a_job_without_the_name_of_a_study_is_told_by_its_files(queue, waiting, more):
    job(queue, uid="", **more)
    assert why(waiting) == HOOK


@pytest.mark.parametrize(
    "more",
    [
        {"path": f"{PATH}x"},
        {"path": "/store/1.2/1.2"},
        {"path": "/store", "paths": ["/store/1.2/1.2.1/other.dcm"]},
        {"path": "/store", "paths": ["/s"], "paths_cut": True, "directories": ["/store/1.3"]},
    ],
)
def test_and_holds_no_others_back(queue, waiting, more):
    job(queue, uid="", **more)
    arrival(queue, "", "/store/1.3/x.dcm")
    assert why(waiting) == ""


def test_an_arrival_without_the_name_of_a_study_too(queue, waiting):
    path = "/store/1.2/" + os.fsdecode(b"caf\xe9.dcm")
    arrival(queue, "", path)
    job(queue, uid="", path=path)
    assert why(waiting) == ""
    assert why(waiting, STUDY, FILE._replace(path=path.removeprefix("/store/"))) == HOOK


def test_of_too_many_of_them_nobody_can_tell(queue, waiting, monkeypatch):
    monkeypatch.setattr(waiting_module, "_MOST_UNNAMED", 2)
    for _ in range(3):
        job(queue, uid="", path="/elsewhere")
    assert why(waiting) == HOOK


def test_a_commitment_holds_back_until_its_report_was_heard(queue, waiting):
    pending = Transactions(queue)
    peer = Peer("127.0.0.1:1", "CT1", "ARCHIVE", "a1")
    number = pending.begin("ARCHIVE", peer, Requested("1.9", (Reference(CT, "1.2.1.1"),)))
    assert why(waiting) == COMMITMENT
    pending.answered(number, Way(nobody, None))
    assert why(waiting) == COMMITMENT
    assert why(waiting, STUDY, FILE._replace(sop_instance_uid="1.2.1.2")) == ""
    queue.database.write(lambda connection: connection.execute("DELETE FROM jobs"))
    assert why(waiting) == ""


def test_whoever_cannot_ask_is_told_so(queue, waiting):
    queue.close(5)
    with pytest.raises(QueueError):
        why(waiting)


def test_the_questions_need_no_walk_through_the_jobs(queue, waiting):
    """However many wait: SQLite says how it finds them."""
    why(waiting)
    for question, parameters in (
        (waiting_module._NAMED_JOBS, ("1.2",)),
        (waiting_module._NAMED_ARRIVALS, ("1.2",)),
        (waiting_module._UNNAMED_JOBS, (1,)),
        (waiting_module._UNNAMED_ARRIVALS, (1,)),
    ):
        plan = queue.database.read(f"EXPLAIN QUERY PLAN {question}", parameters)
        assert all("SEARCH" in row[-1] and "INDEX" in row[-1] for row in plan), plan


def test_what_the_daemon_promises_is_what_is_asked_for(queue, waiting, tmp_path):
    """The payload's names are those of the daemon's promises."""

    class Server:
        name = "ARCHIVE"
        hooks = ()

    desk = Desk(queue, Studies(queue), Server())
    desk._on_instance = ("hook",)
    for study in (b"1.2\0", b" 1.3 "):
        values = {0x0020000D: study}
        peer = Peer("127.0.0.1:1", "CT1", "ARCHIVE", "a1")
        desk.promise(Stored(peer, CT, "1.2.1.1", "1.2.840.10008.1.2", values, "/store", PATH, Written(1, 1.0))).keep()
    payloads = [json.loads(one) for (one,) in queue.database.read("SELECT payload FROM jobs ORDER BY id")]
    assert [one["study_instance_uid"] for one in payloads] == ["1.2", ""]
    assert why(waiting) == HOOK
    assert why(waiting, STUDY._replace(uid="1.3")) == HOOK
