"""Who works for a target: in parallel, again after a failure, for the last time once, and never dead by a mistake."""

from __future__ import annotations

import threading
import time

import pytest

from scpd.forward.runner import Failed, Pace

PATIENCE = 20.0
QUICK = Pace(0.01, 0.05)


def put(queue, count: int, target: str = "a") -> None:
    for number in range(count):
        queue.settle([target], queue.put([(target, {"number": number})]), holds=True)


def fail(_job):
    raise Failed("exit status 3: 'no'")


def test_jobs_are_done_once_and_forgotten(open_queue, run, hands, wait_for):
    queue, target = open_queue(), hands("a")
    run(queue, target)
    put(queue, 20)
    assert [job.payload["number"] for job in target.wait(20)] == list(range(20))
    wait_for(lambda: not queue.standings())


def test_a_failed_job_is_tried_again_and_then_set_aside_and_the_log_says_how_to_see_it(
    open_queue, run, hands, told, wait_for
):
    queue, target = open_queue(), hands("a", attempts=3, act=fail)
    runner = run(queue, target, pace=QUICK)
    put(queue, 1)
    jobs = target.wait(3)
    assert [job.attempts for job in jobs] == [0, 1, 2]
    assert len({job.delivery for job in jobs}) == 1
    (line,) = told.wait("set aside")
    assert line["log_level"] == "error"
    assert (line["hook"], line["job"], line["attempts"], line["why"]) == ("a", jobs[0].id, 3, "exit status 3: 'no'")
    assert "scpd queue" in line["event"]
    assert [one["attempts"] for one in told.wait("a hook failed", 2)] == [1, 2]
    wait_for(lambda: queue.standings()["a"].set_aside == 1)
    assert runner.last_error == "exit status 3: 'no'"
    assert len(target.jobs) == 3


def test_a_failure_that_is_final_is_not_tried_again(open_queue, run, hands, told, wait_for):
    def gone(_job):
        raise Failed("410", is_final=True)

    queue, target = open_queue(), hands("a", attempts=9, act=gone)
    run(queue, target, pace=QUICK)
    put(queue, 1)
    told.wait("set aside")
    assert len(target.jobs) == 1


def test_no_more_are_done_at_a_time_than_the_target_says(open_queue, run, hands, wait_for):
    now, most, lock = [0], [0], threading.Lock()
    go_on = threading.Event()

    def act(_job):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        go_on.wait(PATIENCE)
        with lock:
            now[0] -= 1

    queue, target = open_queue(), hands("a", concurrency=3, act=act)
    runner = run(queue, target)
    put(queue, 10)
    target.wait(3)
    assert runner.running == 3
    go_on.set()
    target.wait(10)
    assert most[0] == 3


def test_a_target_that_hangs_holds_up_no_other(open_queue, run, hands):
    go_on = threading.Event()
    queue = open_queue()
    slow, quick = hands("slow", act=lambda _job: go_on.wait(PATIENCE)), hands("quick")
    run(queue, slow)
    run(queue, quick)
    put(queue, 5, "slow")
    put(queue, 50, "quick")
    quick.wait(50)
    assert len(slow.jobs) == 1
    go_on.set()


def test_a_mistake_of_ours_is_a_failure_and_the_thread_goes_on(open_queue, run, hands, told):
    queue, target = open_queue(), hands("a", attempts=1, act=lambda job: 1 / job.payload["number"])
    run(queue, target, pace=QUICK)
    put(queue, 3)
    target.wait(3)
    told.wait("a fault of scpd")
    assert told.wait("set aside")[0]["why"] == "a fault of scpd: ZeroDivisionError"


def test_what_is_being_done_ends_under_its_target_and_the_next_is_the_new_ones(open_queue, run, hands, wait_for):
    go_on = threading.Event()
    queue, old, new = open_queue(), hands("a", act=lambda _job: go_on.wait(PATIENCE)), hands("a", concurrency=2)
    runner = run(queue, old)
    put(queue, 4)
    old.wait(1)
    runner.adopt(new)
    new.wait(3)
    go_on.set()
    wait_for(lambda: not queue.standings())
    assert (len(old.jobs), len(new.jobs)) == (1, 3)
    runner.adopt(hands("a", concurrency=1))
    put(queue, 3)
    wait_for(lambda: not queue.standings())
    assert len(runner._threads) <= 2


def test_stopping_waits_for_what_is_being_done_and_leaves_the_rest(open_queue, hands, run):
    go_on = threading.Event()
    queue, target = open_queue(), hands("a", act=lambda _job: go_on.wait(PATIENCE))
    runner = run(queue, target)
    put(queue, 2)
    target.wait(1)
    runner.stop()
    threading.Timer(0.1, go_on.set).start()
    runner.join(time.monotonic() + PATIENCE)
    queue.database.write(lambda connection: None)
    assert queue.standings()["a"].waiting == 1
    assert not target.abandoned.is_set()


def test_what_does_not_end_is_ended_and_counts_as_not_tried(open_queue, hands, run, wait_for):
    queue, target = open_queue(), hands("a")

    def act(_job):
        target.abandoned.wait(PATIENCE)
        raise Failed("killed")

    target.act = act
    runner = run(queue, target)
    put(queue, 1)
    target.wait(1)
    runner.stop()
    runner.join(time.monotonic() + 0.05)
    assert target.abandoned.is_set()
    assert queue.take("a").attempts == 0


def test_a_stop_and_a_start_again_is_no_end(open_queue, hands, run):
    queue, target = open_queue(), hands("a")
    runner = run(queue, target)
    runner.stop()
    runner.join(time.monotonic() + PATIENCE)
    put(queue, 1)
    runner.adopt(target)
    target.wait(1)


def test_a_thousand_failures_are_a_few_lines_that_say_how_many_there_were(open_queue, run, hands, told, wait_for):
    queue, target = open_queue(), hands("a", attempts=1, concurrency=4, act=fail)
    runner = run(queue, target, pace=QUICK)
    put(queue, 100)
    target.wait(100)
    wait_for(lambda: queue.standings()["a"].set_aside == 100)
    assert len(told.wait("set aside")) == 10
    runner._said._buckets.clear()
    put(queue, 1)
    assert told.wait("set aside", 11)[-1]["lines_left_out"] == 90


@pytest.mark.parametrize(("attempts", "longest"), [(1, 1), (2, 2), (5, 16), (12, 2048), (13, 3600), (1000, 3600)])
def test_pauses_double_up_to_an_hour_with_jitter(attempts, longest):
    assert Pace().pause(attempts, lambda: 1.0) == longest
    assert Pace().pause(attempts, lambda: 0.0) == longest / 2
    assert longest / 2 <= Pace().pause(attempts) <= longest


def test_twenty_attempts_take_about_seven_hours():
    """As the configuration's reference says."""
    assert 6 < sum(Pace().pause(attempts, lambda: 0.5) for attempts in range(1, 20)) / 3600 < 8
