"""Studies: one job after the quiet, with all that came; none too early, none lost, none twice."""

from __future__ import annotations

import time

import pytest

from scpd.forward.clock import Clock
from scpd.forward.studies import MOST_PATHS, Arrival, Key, Studies

PATIENCE = 20.0


@pytest.fixture
def watch(open_queue):
    """Studies of a queue, watched for a target ``s`` with so much quiet."""
    made = []

    def start(queue, quiet=0.15, targets=("s",)):
        one = Studies(queue)
        one.recover()
        one.watch(dict.fromkeys(targets, quiet))
        made.append(one)
        return one

    yield start
    for one in made:
        one.stop()


def arrive(queue, studies, *paths, study="1.2", server="A", target="s", settle=True, holds=True, **about):
    key = Key(target, server, study)
    for path in paths:
        arrival = Arrival(key, path, {"event": "study", "study_instance_uid": study, **about})
        number = queue.database.write(lambda connection, arrival=arrival: studies.insert(connection, arrival))
        if settle:
            studies.settle([key], [number], holds=holds)
    queue.database.write(lambda connection: None)


def take(queue, target="s"):
    """The next job; take() returns now and then without one."""
    job = None
    while job is None:
        job = queue.take(target)
    queue.done(job)
    return job


def test_one_job_for_all_that_came_until_it_was_quiet(open_queue, watch):
    queue = open_queue()
    studies = watch(queue)
    began = queue.clock.now()
    arrive(queue, studies, *(f"/store/p/1.2/{n % 3}/{n}.dcm" for n in range(30)), calling="CT1")
    arrive(queue, studies, "/store/p/1.2/0/0.dcm", calling="CT2")
    payload = take(queue).payload
    assert queue.clock.now() - began >= 0.15
    assert (payload["event"], payload["instances"], payload["calling"]) == ("study", 31, "CT2")
    assert payload["path"] == "/store/p/1.2"
    assert payload["directories"] == [f"/store/p/1.2/{n}" for n in range(3)]
    assert set(payload["paths"]) == {f"/store/p/1.2/{n % 3}/{n}.dcm" for n in range(30)}
    assert (payload["paths_cut"], payload["directories_cut"]) == (False, False)
    assert payload["first"] <= payload["last"]
    assert queue.database.read("SELECT count(*) FROM arrivals") == [(0,)]
    assert studies.waiting() == {}


def test_what_comes_later_is_counted_anew(open_queue, watch):
    queue = open_queue()
    studies = watch(queue)
    arrive(queue, studies, "/s/1", "/s/2")
    assert take(queue).payload["instances"] == 2
    arrive(queue, studies, "/s/3")
    payload = take(queue).payload
    assert (payload["instances"], payload["paths"]) == (1, ["/s/3"])


def test_studies_servers_and_targets_are_apart(open_queue, watch):
    queue = open_queue()
    studies = watch(queue, targets=("s", "t"))
    arrive(queue, studies, "/s/1")
    arrive(queue, studies, "/s/2", study="1.3")
    arrive(queue, studies, "/s/3", server="B")
    arrive(queue, studies, "/s/4", target="t")
    assert {take(queue).payload["path"] for _ in range(3)} == {"/s"}
    assert take(queue, "t").payload["paths"] == ["/s/4"]


def test_an_instance_on_its_way_keeps_its_study_open(open_queue, watch, wait_for):
    queue = open_queue()
    studies = watch(queue, 0.05)
    key = Key("s", "A", "1.2")
    number = queue.database.write(
        lambda connection: studies.insert(connection, Arrival(key, "/s/1", {"event": "study"}))
    )
    arrive(queue, studies, "/s/2")
    began = studies._last[key]
    wait_for(lambda: studies._last[key] != began)
    assert queue.standings() == {}
    studies.settle([key], [number], holds=True)
    assert take(queue).payload["instances"] == 2


def test_what_came_to_nothing_is_not_counted(open_queue, watch):
    queue = open_queue()
    studies = watch(queue)
    arrive(queue, studies, "/s/1", "/s/2", holds=False)
    arrive(queue, studies, "/s/3")
    assert take(queue).payload["paths"] == ["/s/3"]


def test_a_study_of_very_many_instances_names_some_and_says_so(open_queue, watch):
    queue = open_queue()
    studies = watch(queue, 0.5)
    key = Key("s", "A", "1.2")

    def write(connection):
        arrivals = (Arrival(key, f"/s/{n}/{n}.dcm", {"event": "study"}) for n in range(MOST_PATHS + 500))
        return [studies.insert(connection, arrival) for arrival in arrivals]

    studies.settle([key], queue.database.write(write), holds=True)
    payload = take(queue).payload
    assert (payload["instances"], len(payload["paths"]), len(payload["directories"])) == (1500, MOST_PATHS, 100)
    assert (payload["paths_cut"], payload["directories_cut"], payload["path"]) == (True, True, "/s")


def test_what_was_due_while_nobody_ran_is_a_job_after_the_start(open_queue, watch):
    queue = open_queue()
    studies = watch(queue, PATIENCE)
    arrive(queue, studies, "/s/1", "/s/2")
    studies.stop()
    queue.close(PATIENCE)
    queue = open_queue(clock=Clock(lambda: time.time() + 3600.0))
    watch(queue, PATIENCE)
    assert take(queue).payload["instances"] == 2


def test_what_is_not_due_yet_waits_for_its_time(open_queue, watch):
    queue = open_queue()
    studies = watch(queue, PATIENCE)
    arrive(queue, studies, "/s/1")
    studies.stop()
    queue.close(PATIENCE)
    queue = open_queue()
    again = watch(queue, PATIENCE)
    assert again.waiting() == {"s": 1}
    assert queue.standings() == {}
    arrive(queue, again, "/s/2")
    again.watch({"s": 0.1})
    assert take(queue).payload["instances"] == 2


def test_a_clock_that_was_set_back_costs_one_more_quiet_and_no_more(open_queue, watch):
    queue = open_queue(clock=Clock(lambda: 2e9))
    studies = watch(queue, PATIENCE)
    arrive(queue, studies, "/s/1")
    studies.stop()
    queue.close(PATIENCE)
    queue = open_queue(clock=Clock(lambda: 1e9))
    watch(queue, 0.1)
    assert take(queue).payload["instances"] == 1


def test_what_a_crash_left_on_its_way_counts_if_its_file_is_there(open_queue, watch, tmp_path):
    queue = open_queue()
    studies = watch(queue, PATIENCE)
    (tmp_path / "there").write_text("")
    arrive(queue, studies, str(tmp_path / "there"), str(tmp_path / "not"), settle=False)
    studies.stop()
    queue.close(PATIENCE)
    queue = open_queue()
    watch(queue, 0.05)
    assert take(queue).payload["paths"] == [str(tmp_path / "there")]


def test_studies_of_a_target_that_is_gone_wait_until_it_is_back(open_queue, watch):
    queue = open_queue()
    studies = watch(queue, 0.05, targets=())
    arrive(queue, studies, "/s/1")
    assert studies.waiting() == {"s": 1}
    assert queue.standings() == {}
    studies.watch({"s": 0.05})
    assert take(queue).payload["instances"] == 1


def test_paths_of_any_bytes_come_back(open_queue, watch):
    queue = open_queue()
    studies = watch(queue, 0.05)
    path = b"/s\xff/\xe2\x82\xac".decode("utf-8", "surrogateescape")
    arrive(queue, studies, path)
    assert take(queue).payload["paths"] == [path]
