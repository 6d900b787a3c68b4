"""Lines leave the process in order, and nobody ever waits for them."""

from __future__ import annotations

import io
import os
import threading
import time
from contextlib import suppress

import pytest

from scpd.telemetry import sink as sink_module
from scpd.telemetry.sink import Sink

PATIENCE = 30.0

LOST = "{} lines lost".format


@pytest.fixture
def pipe():
    """A pipe's reading end and a stream that writes to it."""
    reader, writer = os.pipe()
    # The thread of a sink may be blocked in it: the stream is left to it, and ends with its reader.
    yield reader, os.fdopen(writer, "w", closefd=False)
    os.close(reader)


def read_lines(reader: int, count: int) -> list[str]:
    data = b""
    while data.count(b"\n") < count:
        more = os.read(reader, 1 << 16)
        assert more, "the pipe was closed"
        data += more
    return data.decode().splitlines()


def test_lines_leave_in_the_order_they_came(pipe):
    reader, stream = pipe
    sink = Sink(stream, LOST)
    for number in range(500):
        sink.info(f"line {number}")
    assert read_lines(reader, 500) == [f"line {number}" for number in range(500)]


def test_lines_leave_in_the_order_they_came_when_the_reader_is_slow(pipe):
    """The short way out is taken only while nothing waits on the long one."""
    reader, stream = pipe
    sink = Sink(stream, LOST)
    count = 5_000  # some 500 KB: many times what the pipe holds
    for number in range(count):
        sink.info(f"{number:8d} {'x' * 90}")
    lines = read_lines(reader, count)
    assert [int(line.split()[0]) for line in lines] == list(range(count))


def test_every_line_is_whole_whoever_writes(pipe):
    reader, stream = pipe
    sink = Sink(stream, LOST)
    lengths = (10, 300, 5_000)  # the last does not fit into PIPE_BUF

    def work(letter: str) -> None:
        for turn in range(60):
            sink.info(letter * lengths[turn % 3])

    threads = [threading.Thread(target=work, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    lines = read_lines(reader, 240)
    for thread in threads:
        thread.join(PATIENCE)
    assert all(len(set(line)) == 1 and len(line) in lengths for line in lines)
    assert sorted(lines) == sorted(letter * lengths[turn % 3] for letter in "abcd" for turn in range(60))


def test_a_line_has_left_when_its_writer_goes_on():
    """So that the last words of a process that dies are not lost, where the stream takes them."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with os.fdopen(writer, "w") as stream:
        Sink(stream, LOST).info("last words")
        assert os.read(reader, 100) == b"last words\n"
    os.close(reader)


def test_a_pipe_that_nobody_reads_costs_lines_and_no_caller(pipe, monkeypatch):
    monkeypatch.setattr(sink_module, "_MOST_LINES", 100)
    reader, stream = pipe
    sink = Sink(stream, LOST)
    slowest = 0.0
    for number in range(3_000):
        began = time.monotonic()
        sink.info(f"{number} {'x' * 1000}")
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 5.0, "nobody waits for a reader that never comes"
    assert len(sink._lines) <= 100, "what waits is bounded"
    # Somebody reads after all: what was kept is in order, and what was not is counted.
    seen: list[str] = []
    lost = 0  # a busy machine loses some in between, and says so more than once
    buffer = b""
    while len(seen) + lost < 3_000:
        buffer += os.read(reader, 1 << 16)
        *whole, buffer = buffer.split(b"\n")
        for line in whole:
            if b"lines lost" in line:
                lost += int(line.split()[0])
            else:
                seen.append(line.decode())
    numbers = [int(line.split()[0]) for line in seen]
    assert numbers == sorted(numbers)
    assert len(numbers) + lost == 3_000
    assert sink.all_lost == lost
    sink.info("and on it goes")
    assert read_lines(reader, 1) == ["and on it goes"]


def test_flushing_a_stream_that_nobody_reads_ends_all_the_same(pipe, monkeypatch):
    monkeypatch.setattr(sink_module, "_FLUSH_SECONDS", 0.05)
    _, stream = pipe
    sink = Sink(stream, LOST)
    for _ in range(3_000):
        sink.info("x" * 1000)
    began = time.monotonic()
    sink.flush()
    assert time.monotonic() - began < 5.0


def test_flush_waits_until_everything_is_written():
    class Slow(io.StringIO):
        def fileno(self):
            raise OSError

    stream = Slow()
    sink = Sink(stream, LOST)
    for number in range(1_000):
        sink.info(str(number))
    sink.flush()
    assert stream.getvalue().splitlines() == [str(number) for number in range(1_000)]


@pytest.mark.parametrize("how", ["closed", "reader gone", "full"])
def test_a_stream_that_takes_nothing_any_more_troubles_nobody(tmp_path, how):
    reader, writer = os.pipe()
    os.close(reader)
    target = {"closed": tmp_path / "log", "reader gone": writer, "full": "/dev/full"}[how]
    with suppress(OSError), open(target, "w") as stream:  # closing it fails once more
        sink = Sink(stream, LOST)
        if how == "closed":
            stream.close()
        for _ in range(100):
            sink.info("line")
            sink.info("long" * 5_000)
        sink.flush()
        assert not sink._lines, "the thread that writes goes on"
    if how != "reader gone":
        os.close(writer)
