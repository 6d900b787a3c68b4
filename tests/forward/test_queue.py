"""The queue: what was put is there after any end of the process, once, and nobody waits for anybody else's disk."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest

from scpd import commits
from scpd.forward import database
from scpd.forward.clock import Clock
from scpd.forward.database import FILE, Database
from scpd.forward.queue import LONGEST_PAUSE, Queue, QueueError

PATIENCE = 20.0


def put(queue: Queue, *numbers: int, target: str = "a") -> list[int]:
    """Jobs that count."""
    jobs = queue.put([(target, {"number": number}) for number in numbers])
    queue.settle([target] * len(jobs), jobs, holds=True)
    return jobs


def flush(queue: Queue) -> None:
    """What was said before is on the disk."""
    queue.database.write(lambda connection: None)


def taken(queue: Queue, target: str = "a") -> list[int]:
    """The numbers of all jobs that can be taken now."""
    flush(queue)
    found = []
    while job := queue.take(target, lambda: False):
        found.append(job.payload["number"])
    return found


def test_a_job_counts_once_it_is_settled_and_is_forgotten_once_it_is_done(open_queue, tmp_path):
    queue = open_queue()
    (number,) = queue.put([("a", {"number": 1})])
    assert taken(queue) == []
    queue.settle(["a"], [number], holds=True)
    flush(queue)
    job = queue.take("a")
    assert (job.id, job.target, job.payload, job.attempts) == (number, "a", {"number": 1}, 0)
    assert taken(queue) == [], "nobody else gets it meanwhile"
    queue.done(job)
    queue.close(PATIENCE)
    assert taken(open_queue()) == []


def test_a_job_whose_matter_came_to_nothing_is_never_seen(open_queue):
    queue = open_queue()
    queue.settle(["a"], queue.put([("a", {"number": 1})]), holds=False)
    assert taken(queue) == []
    assert queue.standings() == {}


def test_what_a_crash_left_held_is_judged_at_the_next_start(open_queue):
    queue = open_queue()
    queue.put([("a", {"number": 1}), ("a", {"number": 2})])
    queue.close(PATIENCE)
    queue = open_queue()
    queue.recover(lambda payload: payload["number"] == 2)
    assert taken(queue) == [2]


def test_what_was_put_outlives_kill_9(open_queue, tmp_path):
    program = (
        "import sys, pathlib, time\n"
        "from scpd.forward.queue import Queue\n"
        "queue = Queue(pathlib.Path(sys.argv[1]))\n"
        "for number in range(1000):\n"
        "    queue.put([('a', {'number': number})])\n"
        "    print(number, flush=True)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "queue")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said = [int(process.stdout.readline()) for _ in range(50)]
        process.send_signal(signal.SIGKILL)
        said += [int(line) for line in process.stdout]
    queue = open_queue()
    queue.recover(lambda payload: True)
    found = taken(queue)
    assert set(said) <= set(found) <= {*said, len(said)}


def test_a_job_that_was_taken_when_the_process_ended_comes_again_under_the_same_delivery(open_queue):
    queue = open_queue()
    put(queue, 1)
    flush(queue)
    first = queue.take("a")
    queue.close(PATIENCE)
    assert open_queue().take("a").delivery == first.delivery


def test_a_failed_job_comes_again_after_its_pause_and_knows_its_tries(open_queue):
    queue = open_queue()
    put(queue, 1)
    flush(queue)
    job = queue.take("a")
    queue.again(job, 0.05, "no")
    flush(queue)
    assert queue.take("a", lambda: False) is None
    again = None
    while again is None:
        again = queue.take("a")
    assert (again.id, again.delivery, again.attempts) == (job.id, job.delivery, 1)


def test_whoever_waits_for_a_job_is_woken_by_it(open_queue):
    queue = open_queue()
    found = []
    waits = threading.Thread(target=lambda: found.append(queue.take("a")))
    waits.start()
    put(queue, 7, target="b")
    put(queue, 1)
    waits.join(PATIENCE)
    assert [job.payload["number"] for job in found] == [1]


def test_who_puts_at_once_shares_commits(open_queue):
    """While the disk is busy, or somebody holds the file, what comes gathers, and then goes to it together."""
    queue = open_queue()
    commits = []
    queue.database._connections[0].set_trace_callback(lambda text: commits.append(text) if text == "COMMIT" else None)
    with closing(sqlite3.connect(queue.database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        threads = [threading.Thread(target=queue.put, args=([("a", {"number": n})],)) for n in range(40)]
        for thread in threads:
            thread.start()
        other.execute("ROLLBACK")
    for thread in threads:
        thread.join(PATIENCE)
    assert queue.standings()["a"].waiting == 40
    assert len(commits) < 20


def test_a_database_that_somebody_holds_for_too_long_is_told_and_heals(open_queue, monkeypatch, told):
    monkeypatch.setattr(database, "_LOCKED", 0.1)
    queue = open_queue()
    with closing(sqlite3.connect(queue.database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(QueueError, match=r"another program holds queue\.db"):
            queue.put([("a", {})])
    put(queue, 1)
    assert taken(queue) == [1]
    assert told.wait("the queue cannot be written")


def test_a_full_disk_is_told_and_what_nobody_waits_for_is_done_when_there_is_room(open_queue, monkeypatch):
    monkeypatch.setattr(commits, "_PAUSE", 0.05)
    queue = open_queue()
    put(queue, 1)
    flush(queue)
    job = queue.take("a")
    writer = queue.database._connections[0]
    writer.execute("CREATE TABLE ballast (x)")
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(QueueError, match="database or disk is full"):
        queue.put([("a", {"text": "x" * 100_000})])
    done = threading.Event()
    queue.database.write_later(
        lambda connection: connection.execute("INSERT INTO ballast VALUES (?)", ("x" * 100_000,)), done.set
    )
    queue.done(job)
    with pytest.raises(QueueError):
        queue.put([("a", {"text": "x" * 100_000})])
    assert not done.is_set()
    assert queue.take("a", lambda: False) is None, "it is done, though the disk does not know yet"
    writer.execute("PRAGMA max_page_count = 1000000")
    assert done.wait(PATIENCE)
    assert queue.standings() == {}


def test_a_mistake_in_what_is_written_is_its_writers_and_nobody_elses(open_queue):
    queue = open_queue()
    with pytest.raises(ZeroDivisionError):
        queue.database.write(lambda connection: 1 / 0)
    put(queue, 1)
    assert taken(queue) == [1]


def test_a_file_that_is_gone_takes_nothing_more(open_queue):
    queue = open_queue()
    os.rename(queue.database.path, queue.database.path.with_name("elsewhere"))
    with pytest.raises(QueueError, match="cannot be written"):
        queue.put([("a", {})])


def test_one_process_alone_uses_a_directory(open_queue):
    open_queue()
    with pytest.raises(QueueError, match="another process uses it"):
        open_queue()


def garbage(path):
    path.write_bytes(os.urandom(8192))


def cut(path):
    os.truncate(path, 100)


def overwritten(path):
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)


def foreign(path):
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE x (y)")
        other.commit()


def later(path):
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 99")


SAID = {
    "garbage": "damaged",
    "cut": "damaged",
    "overwritten": "damaged",
    "foreign": "another program",
    "later": "later",
}


@pytest.mark.parametrize("spoil", [garbage, cut, overwritten, foreign, later], ids=lambda one: one.__name__)
def test_a_database_that_is_not_ours_or_not_whole_is_refused_and_left_alone(open_queue, spoil):
    queue = open_queue()
    put(queue, *range(200))
    path = queue.database.path
    queue.close(PATIENCE)
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(QueueError, match=SAID[spoil.__name__]):
        open_queue()
    assert path.read_bytes() == before
    with pytest.raises(QueueError, match=SAID[spoil.__name__]):
        open_queue()


def test_a_directory_that_cannot_be_one_is_refused(open_queue, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(QueueError, match="Not a directory|File exists"):
        open_queue(tmp_path / "file" / "queue")


def test_files_are_for_us_and_our_group(open_queue, tmp_path):
    old = os.umask(0o027)
    try:
        queue = open_queue()
        put(queue, 1)
    finally:
        os.umask(old)
    assert all(path.stat().st_mode & 0o027 == 0 for path in (tmp_path / "queue").iterdir())
    assert (tmp_path / "queue").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "queue" / FILE).exists()


def test_a_clock_that_was_set_back_holds_no_job_up(open_queue):
    queue = open_queue(clock=Clock(lambda: 2e9))
    put(queue, 1)
    flush(queue)
    queue.again(queue.take("a"), 5.0, "no")
    queue.close(PATIENCE)
    queue = open_queue(clock=Clock(lambda: 1e9))
    queue.recover(lambda payload: True)
    assert taken(queue) == [1]
    assert queue.standings()["a"].oldest < PATIENCE


def test_no_pause_is_longer_than_the_longest(open_queue):
    queue = open_queue()
    put(queue, 1)
    flush(queue)
    queue.again(queue.take("a"), 1e9, "no")
    flush(queue)
    ((due,),) = queue.database.read("SELECT due FROM jobs")
    assert due - queue.clock.now() <= LONGEST_PAUSE


def test_the_clock_does_not_see_the_wall_clock_jump():
    wall, passed = [1000.0], [5.0]
    clock = Clock(lambda: wall[0], lambda: passed[0])
    wall[0], passed[0] = 1e9, 7.0
    assert clock.now() == 1002.0


def test_standings_count_by_target(open_queue):
    queue = open_queue()
    put(queue, 1, 2)
    put(queue, 3, target="b")
    flush(queue)
    queue.set_aside(queue.take("b"), "no")
    flush(queue)
    standings = queue.standings()
    assert [(one.waiting, one.set_aside) for one in (standings["a"], standings["b"])] == [(2, 0), (0, 1)]


def test_a_closed_queue_says_so(open_queue):
    queue = open_queue()
    queue.close(PATIENCE)
    with pytest.raises(QueueError, match="closed"):
        queue.put([("a", {})])
    with pytest.raises(QueueError):
        queue.take("a")


def test_closing_brings_to_the_disk_what_nobody_waited_for(tmp_path):
    one = Database(tmp_path, ("CREATE TABLE IF NOT EXISTS t (x) STRICT".replace("(x)", "(x TEXT)"),), 1)
    for _ in range(50):
        one.write_later(lambda connection: connection.execute("INSERT INTO t VALUES ('x')"), lambda: None)
    one.close(PATIENCE)
    with closing(sqlite3.connect(one.path)) as other:
        assert other.execute("SELECT count(*) FROM t").fetchone() == (50,)


def test_a_queue_that_cannot_be_written_says_why_until_it_can(open_queue, monkeypatch):
    """What /ready tells: somebody holds the file, and lets go of it."""
    monkeypatch.setattr(database, "_LOCKED", 0.05)
    queue = open_queue()
    assert queue.database.trouble() == ""
    holder = sqlite3.connect(queue.database.path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(QueueError, match="another program holds"):
        queue.put([("hook", {})])
    assert "another program holds queue.db" in queue.database.trouble()
    holder.execute("ROLLBACK")
    holder.close()
    queue.put([("hook", {})])
    assert queue.database.trouble() == ""


def test_a_commit_that_does_not_end_is_trouble_while_it_lasts(open_queue, monkeypatch):
    monkeypatch.setattr(commits, "_STANDSTILL", 0.02)
    queue = open_queue()
    at_work, go_on = threading.Event(), threading.Event()

    def hang(_):
        at_work.set()
        go_on.wait(20)

    thread = threading.Thread(target=queue.database.write, args=(hang,))
    thread.start()
    assert at_work.wait(20)
    deadline = time.monotonic() + 20
    while not queue.database.trouble() and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert "its disk has not answered for" in queue.database.trouble()
    go_on.set()
    thread.join(20)
    queue.put([("hook", {})])
    assert queue.database.trouble() == ""
