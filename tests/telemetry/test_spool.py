"""What was saved is there again after any end, in order; when there is no room the oldest stay."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpd.errors import SettingError
from scpd.telemetry import spool as spool_module
from scpd.telemetry.spool import LONGEST_LINE, Spool

LIMIT = 1 << 20
PATIENCE = 20.0


def lines(count: int, first: int = 0) -> list[bytes]:
    return [b"line %d" % number for number in range(first, first + count)]


def waiting(spool: Spool) -> list[bytes]:
    return spool.peek(0, 1 << 30)


def segments(directory) -> list:
    return sorted(directory.glob("*.spool"))


@pytest.fixture
def opened(tmp_path):
    """Open the spool in the same directory again and again; what is open at the end is closed."""
    made = []

    def make(limit: int = LIMIT) -> Spool:
        made.append(Spool(tmp_path, limit))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def filled(opened):
    """A spool with lines on the disk."""
    one = opened()
    assert one.put(lines(10)) == 0
    one.save()
    return one


def crash(spool: Spool) -> None:
    """What the end of the process does: descriptors are closed, and nothing else happens."""
    spool._give_back()
    spool._closed = True


@pytest.fixture(params=["disk", "memory"])
def either(request, opened):
    return opened() if request.param == "disk" else Spool(None, LIMIT)


# -- a queue


def test_lines_come_back_in_order_until_they_are_taken_away(either):
    either.put(lines(3))
    either.save()
    either.put(lines(2, first=3))
    assert len(either) == 5
    assert waiting(either) == lines(5)
    assert either.peek(2, 1 << 20) == lines(3, first=2)
    either.done(4)
    assert waiting(either) == lines(1, first=4)
    either.done(1)
    assert (len(either), waiting(either)) == (0, [])


def test_peek_gives_a_few_lines_at_once_and_always_one(either):
    either.put([b"x" * 1000] * 5)
    either.save()
    assert either.peek(0, 2100) == [b"x" * 1000] * 2
    assert either.peek(0, 10) == [b"x" * 1000]


def test_when_there_is_no_room_the_oldest_stay(tmp_path):
    for where in (tmp_path, None):
        one = Spool(where, 1010 * 5)
        assert one.put([b"%d" % number * 1000 for number in range(8)]) == 3
        one.save()
        assert one.put([b"x" * 1000]) == 1
        assert waiting(one) == [b"%d" % number * 1000 for number in range(5)]
        one.done(1)
        assert one.put([b"y" * 1000]) == 0
        assert waiting(one)[-1] == b"y" * 1000
        one.close()


def test_a_line_that_is_too_long_is_not_taken(either):
    assert either.put([b"x" * (LONGEST_LINE + 1), b"y" * LONGEST_LINE]) == 1
    either.save()
    assert waiting(either) == [b"y" * LONGEST_LINE]


def test_nothing_is_taken_after_the_end(either):
    either.close()
    assert either.put(lines(1)) == 1
    assert waiting(either) == []
    either.done(0)
    either.save()
    either.close()


# -- another process


def test_what_was_saved_survives_a_crash(filled, opened):
    filled.put(lines(1, first=10))  # and this was not
    assert filled.unsaved == 1
    crash(filled)
    again = opened()
    assert waiting(again) == lines(10)
    assert (again.damaged, again.unsaved) == (0, 0)


def test_what_was_taken_away_does_not_come_again(filled, opened):
    filled.done(4)
    crash(filled)
    assert waiting(opened()) == lines(6, first=4)


def test_what_was_not_saved_is_saved_at_the_close(filled, opened):
    filled.put(lines(1, first=10))
    filled.close()
    assert waiting(opened()) == lines(11)


def test_lines_of_several_processes_stay_in_order(opened):
    for turn in range(5):
        one = opened()
        one.put(lines(10, first=10 * turn))
        one.save()
        one.done(3)
        crash(one)
    assert waiting(opened()) == lines(35, first=15)


def test_a_close_with_nothing_left_leaves_no_lines_on_the_disk(filled, opened, tmp_path):
    filled.done(10)
    filled.close()
    assert segments(tmp_path) == []
    again = opened()
    again.put(lines(2))
    again.save()
    crash(again)
    assert waiting(opened()) == lines(2)


def test_files_that_were_taken_away_are_removed(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(spool_module, "_SEGMENT", 1000)
    one = opened()
    for turn in range(20):
        one.put(lines(10, first=10 * turn))
        one.save()
    count = len(segments(tmp_path))
    assert count > 2
    one.done(105)
    assert len(segments(tmp_path)) < count
    assert waiting(one) == lines(95, first=105)
    crash(one)
    again = opened()
    assert waiting(again) == lines(95, first=105)
    again.done(95)
    again.put(lines(1))
    again.save()
    again.done(1)
    assert len(segments(tmp_path)) == 1


def test_nobody_else_can_read_it(filled, tmp_path):
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o137 == 0, path


# -- damage


@pytest.mark.parametrize("torn", [1, 5, 9, 10, 15, 16])
def test_a_torn_last_line_is_skipped_and_counted(filled, opened, tmp_path, torn):
    crash(filled)
    (path,) = segments(tmp_path)
    os.truncate(path, path.stat().st_size - torn)
    again = opened()
    assert (waiting(again), again.damaged) == (lines(9), torn < 16)
    again.put(lines(1, first=10))
    again.save()
    crash(again)
    assert waiting(opened()) == [*lines(9), *lines(1, first=10)]


def test_a_line_that_the_disk_changed_is_skipped_and_those_after_it_are_not(filled, opened, tmp_path):
    crash(filled)
    (path,) = segments(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"line 4", b"line 5", 1))
    again = opened()
    assert (waiting(again), again.damaged) == ([*lines(4), *lines(5, first=5)], 1)


@given(st.binary(max_size=200))
def test_no_file_can_keep_a_spool_from_opening(tmp_path_factory, junk):
    folder = tmp_path_factory.mktemp("spool")
    for name in ("000000000001.spool", "position", "000000000007.spool", "stranger"):
        (folder / name).write_bytes(junk)
    one = Spool(folder, LIMIT)
    one.put(lines(2))
    one.save()
    assert waiting(one)[-2:] == lines(2)
    one.close()


@pytest.mark.parametrize("position", [b"", b"\0" * 43, b"x" * 43, b"000000000001 %020d 00000000\n" % 8])
def test_a_position_that_nobody_can_read_means_from_the_beginning(filled, opened, tmp_path, position):
    """Twice is better than never."""
    filled.done(4)
    crash(filled)
    (tmp_path / "position").write_bytes(position)
    assert waiting(opened()) == lines(10)


def test_a_position_behind_the_end_loses_nothing_that_comes_later(filled, opened, tmp_path):
    """The system may have written the position and not the lines."""
    filled.done(10)
    crash(filled)
    os.truncate(segments(tmp_path)[0], 5)
    again = opened()
    again.put(lines(3))
    again.save()
    crash(again)
    assert waiting(opened()) == lines(3)


def test_a_line_whose_file_is_gone_is_told_from_one_that_is_not(filled, tmp_path):
    segments(tmp_path)[0].unlink()
    filled.put(lines(1, first=10))
    assert waiting(filled) == [b""] * 10 + lines(1, first=10)


def test_a_file_that_cannot_be_read_costs_its_lines_only(filled, opened, tmp_path):
    crash(filled)
    (tmp_path / "000000000009.spool").symlink_to("/dev/zero")
    again = opened()
    assert (waiting(again), again.damaged) == (lines(10), 1)


# -- a disk that does not take it


@contextmanager
def no_room(octets=0):
    """No file of this process may grow beyond ``octets``: not even the one that its standard output may be."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_the_disk_does_not_take_waits_in_memory_in_its_order(filled, opened, tmp_path):
    filled.put([b"x" * 1000])
    with no_room(300), pytest.raises(OSError, match="File too large"):  # of 170: what comes is cut in the middle
        filled.save()
    filled.put(lines(1, first=11))
    with no_room(300), pytest.raises(OSError, match="File too large"):
        filled.save()
    assert waiting(filled) == [*lines(10), b"x" * 1000, *lines(1, first=11)]
    assert filled.unsaved == 2
    filled.done(3)

    filled.save()
    assert filled.unsaved == 0
    crash(filled)
    again = opened()
    assert (waiting(again), again.damaged) == ([*lines(7, first=3), b"x" * 1000, *lines(1, first=11)], 0)


def test_what_was_taken_away_before_it_was_saved_is_not_saved(filled, opened):
    filled.put(lines(3, first=10))
    with no_room(), pytest.raises(OSError, match="File too large"):
        filled.save()
    filled.done(12)
    filled.save()
    filled.put(lines(1, first=13))
    filled.save()
    crash(filled)
    assert waiting(opened()) == lines(2, first=12)


def test_memory_is_bounded_while_the_disk_takes_nothing(opened):
    one = opened(1 << 30)
    lost = 0
    for _ in range(100):
        lost += one.put([b"x" * 100_000])
        with no_room(), pytest.raises(OSError, match="File too large"):
            one.save()
    assert 55 <= lost <= 65
    assert len(one) == 100 - lost


# -- at the opening


def test_two_processes_never_share_a_spool(filled, tmp_path):
    with pytest.raises(SettingError, match=r"spool: .* another process uses it; give each its own"):
        Spool(tmp_path, LIMIT)
    assert waiting(filled) == lines(10)


def test_a_directory_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingError, match=r"file/spool cannot be used: Not a directory"):
        Spool(tmp_path / "file" / "spool", LIMIT)


def test_no_descriptor_is_left_open(tmp_path):
    before = sorted(os.listdir("/proc/self/fd"))
    for turn in range(3):
        one = Spool(tmp_path, LIMIT)
        one.put(lines(5))
        one.save()
        waiting(one)
        one.done(2 if turn else 5)
        one.close()
    assert sorted(os.listdir("/proc/self/fd")) == before


# -- threads, and a real kill


def test_one_thread_puts_while_another_takes_away(opened, monkeypatch):
    monkeypatch.setattr(spool_module, "_SEGMENT", 2_000)
    one, count = opened(), 2_000
    news, ended = threading.Event(), threading.Event()

    def put() -> None:
        for turn in range(count // 20):
            one.put(lines(20, first=20 * turn))
            one.save()
            news.set()
        ended.set()

    writer = threading.Thread(target=put)
    writer.start()
    taken: list[bytes] = []
    while len(taken) < count:
        found = one.peek(0, 500)
        taken += found
        one.done(len(found))
        if not found:
            assert news.wait(PATIENCE)
            news.clear()
    writer.join(PATIENCE)
    assert ended.is_set()
    assert taken == lines(count)
    assert len(one) == 0


SAVE_FOREVER = """
import sys
from itertools import count
from contextlib import contextmanager
from pathlib import Path
from scpd.telemetry.spool import Spool
spool = Spool(Path(sys.argv[1]), 1 << 30)
for number in count():
    spool.put([b"line %d" % number])
    spool.save()
    if number % 3 == 0 and number > 50:
        spool.done(1)
    print(number, flush=True)
"""


def test_what_was_saved_survives_kill_9(tmp_path, opened):
    """Again and again in the same directory: nothing that was promised is missing, and the order is kept."""
    for _ in range(3):
        command = [sys.executable, "-c", SAVE_FOREVER, tmp_path]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            told = [process.stdout.readline() for _ in range(200)]
            process.kill()
            told += process.stdout.readlines()
        last = int(told[-1])
        taken = sum(number % 3 == 0 for number in range(51, last + 1))
        one = opened()
        found = [int(line.split()[1]) for line in waiting(one)]
        assert found == list(range(found[0], found[-1] + 1))
        assert found[0] in (taken, taken + 1)
        assert found[-1] in (last, last + 1)
        assert one.damaged == 0
        one.done(len(found))
        one.close()
