"""What is written reaches every destination, in order and whatever happens to one of them, or its loss is told.

Collectors are real and listen on loopback. Nothing sleeps: every wait is for something to arrive, and has a deadline.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import signal
import ssl
import subprocess
import sys
import threading
import time

import pytest
import trustme
from components.collector import Collector, parse
from hypothesis import given
from hypothesis import strategies as st

from scpd.errors import SettingError
from scpd.telemetry import trail as trail_module
from scpd.telemetry.audit import Message, Outcome
from scpd.telemetry.spool import Spool
from scpd.telemetry.syslog import FileDestination, TLSDestination, UDPDestination
from scpd.telemetry.trail import Backoff, Pace, Standing, Trail

PATIENCE = 20.0
WHEN = dt.datetime(2026, 3, 1, 13, 5, 6, 7, dt.UTC)
# As in earnest, only faster.
PACE = Pace(first=0.02, most=0.1, settle=0.05, alarm=60.0)
AT_ONCE = 0.25  # seconds: no association waits longer than that for a word to the trail, even on a busy machine


def message(text: object) -> Message:
    return Message(WHEN, Outcome.SUCCESS, "pacs.example", 4711, str(text))


def numbers(count: int, first: int = 0) -> list[str]:
    return [str(number) for number in range(first, first + count)]


def without_repetitions(texts: list[str]) -> list[str]:
    """Each text where it came first: what a collector keeps that knows that some come twice."""
    return list(dict.fromkeys(texts))


class Log:
    """A logger as structlog's, whose lines one can wait for."""

    def __init__(self, lines=None, changed=None, **bound) -> None:
        self.lines = [] if lines is None else lines
        self._changed = changed or threading.Condition()
        self._bound = bound

    def bind(self, **more) -> Log:
        return Log(self.lines, self._changed, **{**self._bound, **more})

    def _say(self, level: str, event: str, **values) -> None:
        with self._changed:
            self.lines.append({"level": level, "event": event, **self._bound, **values})
            self._changed.notify_all()

    def info(self, event: str, **values) -> None:
        self._say("info", event, **values)

    def warning(self, event: str, **values) -> None:
        self._say("warning", event, **values)

    def error(self, event: str, **values) -> None:
        self._say("error", event, **values)

    def found(self, event: str) -> list[dict]:
        return [line for line in self.lines if line["event"] == event]

    def wait_for(self, event: str, count: int = 1) -> list[dict]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.found(event)) >= count, PATIENCE), self.lines
        return self.found(event)


AWAY = "the audit destination is away"
BACK = "the audit destination is back"
LOST = "audit messages were lost"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def server_context(authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def contexts(authority):
    """Of a collector and of somebody who trusts its authority."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    return server_context(authority), client


@pytest.fixture
def collector(contexts):
    """A collector over TLS, or with ``context=None`` over UDP; it listens, unless ``away``."""
    made = []

    def make(context=contexts[0], *, away: bool = False, **how) -> Collector:
        made.append(Collector(context, **how))
        if not away:
            made[-1].listen()
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def over_tls(contexts):
    def make(port: int, **how) -> TLSDestination:
        return TLSDestination("127.0.0.1", port, contexts[1], **how)

    return make


@pytest.fixture
def trail(log):
    """Start a trail; what still runs at the end is ended."""
    made = []

    def make(*destinations, spool=None, limit=1 << 20, **how) -> Trail:
        how.setdefault("pace", PACE)
        how.setdefault("log", log)
        made.append(Trail(destinations, spool, limit, **how))
        return made[-1]

    yield make
    for one in made:
        one.close(0)


@pytest.fixture
def wait_for():
    """Until a condition holds that nobody tells of, with a deadline."""

    def wait(condition) -> None:
        nothing, until = threading.Event(), time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < until, "it did not come about"
            nothing.wait(0.005)

    return wait


def nothing_waits(one: Trail) -> bool:
    return not any(standing.waiting for standing in one.standings())


# -- the good case


@pytest.mark.parametrize("spooled", [True, False], ids=["disk", "memory"])
def test_every_destination_gets_everything_in_order(collector, over_tls, trail, tmp_path, spooled):
    tls, udp, path = collector(), collector(None), tmp_path / "audit.log"
    one = trail(
        over_tls(tls.port),
        UDPDestination("127.0.0.1", udp.port),
        FileDestination(path),
        spool=tmp_path / "spool" if spooled else None,
    )
    for text in numbers(50):
        one.write(message(text))
    for receiver in (tls, udp):
        receiver.wait_for(50)
        assert receiver.texts() == numbers(50)
    assert one.close(PATIENCE) == 0
    assert [parse(line).text for line in path.read_bytes().splitlines()] == numbers(50)
    assert one.lost == 0


def test_what_has_arrived_is_let_go_of(collector, over_tls, trail, tmp_path, wait_for):
    one = trail(over_tls(collector().port), spool=tmp_path)
    one.write(message("x"))
    wait_for(lambda: nothing_waits(one))
    assert one.standings() == [Standing(one.standings()[0].name, 0, False)]


def test_threads_that_write_at_once_keep_the_order_of_each(collector, over_tls, trail, tmp_path):
    receiver, path = collector(), tmp_path / "audit.log"
    one = trail(over_tls(receiver.port), FileDestination(path), spool=tmp_path / "spool", limit=8 << 20)

    def work(name: str) -> None:
        for number in range(200):
            one.write(message(f"{name} {number}"))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    receiver.wait_for(1600)
    one.close(PATIENCE)
    in_file = [parse(line).text for line in path.read_bytes().splitlines()]
    for texts in (receiver.texts(), in_file):
        assert len(texts) == 1600
        for name in "abcdefgh":
            assert [text for text in texts if text[0] == name] == [f"{name} {number}" for number in range(200)]


def test_the_close_waits_for_what_was_just_written(collector, over_tls, trail, tmp_path):
    receiver, path = collector(), tmp_path / "audit.log"
    one = trail(over_tls(receiver.port), FileDestination(path))
    for text in numbers(500):
        one.write(message(text))
    assert one.close(PATIENCE) == 0
    assert receiver.texts() == numbers(500)
    assert len(path.read_bytes().splitlines()) == 500
    assert receiver.failures == []


def test_a_trail_without_destinations_takes_everything(trail):
    one = trail()
    one.write(message("x"))
    assert (one.close(PATIENCE), one.lost, one.standings()) == (0, 0, [])


# -- a destination that is away


def test_a_collector_that_is_away_at_the_start_gets_everything_later(
    collector, over_tls, trail, tmp_path, log, free_port
):
    one = trail(over_tls(free_port), spool=tmp_path)
    for text in numbers(30):
        one.write(message(text))
    (line,) = log.wait_for(AWAY)
    assert line["level"] == "warning"
    assert line["destination"] == f"tls:127.0.0.1:{free_port}"
    assert "Connection refused" in line["error"]
    assert one.standings()[0].is_away
    receiver = collector(port=free_port)
    receiver.wait_for(30)
    assert receiver.texts() == numbers(30)
    log.wait_for(BACK)
    assert len(log.found(AWAY)) == 1


def test_a_collector_that_goes_away_in_the_middle_misses_nothing(collector, over_tls, trail, tmp_path, log, wait_for):
    """What was just sent and is not known to have arrived is sent again: twice is better than never."""
    receiver = collector()
    one = trail(over_tls(receiver.port), spool=tmp_path, pace=PACE._replace(settle=0.5))
    for text in numbers(10):
        one.write(message(text))
    receiver.wait_for(10)
    wait_for(lambda: nothing_waits(one))
    for text in numbers(10, first=10):
        one.write(message(text))
    receiver.wait_for(20)
    receiver.stop()
    for text in numbers(20, first=20):
        one.write(message(text))
    log.wait_for(AWAY)
    receiver.listen()
    receiver.wait_for(50)
    assert receiver.texts() == [*numbers(20), *numbers(30, first=10)]
    wait_for(lambda: nothing_waits(one))


def test_a_collector_that_closes_an_idle_connection_is_called_again_without_a_word(
    collector, over_tls, trail, log, wait_for
):
    receiver = collector()
    one = trail(over_tls(receiver.port))
    for turn in range(3):
        one.write(message(turn))
        receiver.wait_for(turn + 1)
        wait_for(lambda: nothing_waits(one))
        receiver.stop()
        receiver.listen()
    assert receiver.texts() == numbers(3)
    assert receiver.connections == 3
    assert log.lines == []


def test_a_collector_that_takes_calls_and_hangs_up_is_not_called_all_the_time(collector, over_tls, trail):
    """What counts is that something arrives."""
    receiver = collector(reads=False)
    failures = []

    def chance() -> float:  # asked for each failure but the first
        failures.append(time.monotonic())
        return 1.0

    one = trail(over_tls(receiver.port), pace=Pace(first=0.1, most=10.0, settle=0.5), chance=chance)
    one.write(message("x"))
    for count in range(1, 6):
        receiver.wait_until(lambda count=count: receiver.connections >= count)
        receiver.stop()
        receiver.listen()
    gaps = [later - earlier for earlier, later in zip(failures, failures[1:], strict=False)]
    assert len(gaps) >= 2
    assert all(gap >= 0.1 * 2**number for number, gap in enumerate(gaps))


def test_a_collector_of_another_authority_gets_nothing_and_everything_stays(collector, over_tls, trail, tmp_path, log):
    receiver = collector(server_context(trustme.CA()))
    one = trail(over_tls(receiver.port), spool=tmp_path)
    for text in numbers(5):
        one.write(message(text))
    (line,) = log.wait_for(AWAY)
    assert "certificate verify failed" in line["error"]
    assert one.flush(PATIENCE)
    assert one.close(0) == 5
    assert receiver.received == []


def test_one_that_is_away_does_not_hold_up_the_others(collector, over_tls, trail, tmp_path, free_port, wait_for):
    receiver, path = collector(), tmp_path / "audit.log"
    one = trail(
        over_tls(free_port),
        UDPDestination("127.0.0.1", free_port),
        FileDestination(tmp_path / "missing" / "audit.log"),
        over_tls(receiver.port),
        FileDestination(path),
        spool=tmp_path / "spool",
        limit=20_000,
    )
    for text in numbers(1000):
        one.write(message(text))
        if int(text) % 100 == 99:  # so that their spools do not fill up
            assert one.flush(PATIENCE)
            wait_for(lambda: not any(standing.waiting for standing in one.standings()[3:]))
    assert receiver.texts() == numbers(1000)
    assert [standing.waiting > 100 for standing in one.standings()] == [True] * 3 + [False] * 2
    one.close(0.1)
    assert len(path.read_bytes().splitlines()) == 1000


def test_a_port_where_nobody_listens_over_udp_gets_it_when_somebody_does(collector, trail, log, free_port, wait_for):
    one = trail(UDPDestination("127.0.0.1", free_port))
    for text in numbers(3):
        one.write(message(text))
    log.wait_for(AWAY)
    receiver = collector(None, port=free_port)
    receiver.wait_until(lambda: without_repetitions(receiver.texts()) == numbers(3))
    wait_for(lambda: nothing_waits(one))


def test_a_host_that_is_no_name_is_away(trail, log, contexts):
    one = trail(TLSDestination("a" * 70 + ".example", 6514, contexts[1]))
    one.write(message("x"))
    log.wait_for(AWAY)
    assert one.close(0.1) == 1


# -- a collector that does not read


def test_a_collector_that_never_reads_costs_nobody_time_or_memory(collector, over_tls, trail, tmp_path, log, wait_for):
    receiver = collector(reads=False)
    path = tmp_path / "audit.log"
    one = trail(
        over_tls(receiver.port, write=0.2),
        FileDestination(path),
        spool=tmp_path / "spool",
        limit=12 << 20,
        pace=PACE._replace(settle=30.0),
    )
    slowest = 0.0
    for _ in range(20):  # 20 MB: more than the system's buffers hold, and than the spool may
        for _ in range(33):
            began = time.monotonic()
            one.write(message("x" * 30_000))
            slowest = max(slowest, time.monotonic() - began)
        assert one.flush(PATIENCE)
    assert slowest < AT_ONCE
    log.wait_for(AWAY)
    (lost,) = {line["destination"] for line in log.wait_for(LOST)}
    assert lost == f"tls:127.0.0.1:{receiver.port}"
    waiting = {standing.name: standing.waiting for standing in one.standings()}
    assert 380 < waiting[lost] < 420
    began = time.monotonic()
    assert one.close(0.1) > 380
    assert time.monotonic() - began < 5.0
    assert len(path.read_bytes().splitlines()) == 660


def test_the_end_does_not_wait_for_a_collector_that_never_reads(collector, over_tls, trail, tmp_path):
    receiver = collector(reads=False)
    one = trail(over_tls(receiver.port, write=PATIENCE), spool=tmp_path, limit=20 << 20)
    for _ in range(500):  # 15 MB: the thread of the destination waits in the middle of them
        one.write(message("x" * 30_000))
        one.flush(PATIENCE)
    began = time.monotonic()
    assert one.close(0.1) > 0
    assert time.monotonic() - began < 5.0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("audit")]


# -- losses


def test_when_the_spool_is_full_the_oldest_stay_and_the_log_says_how_many_are_lost(
    collector, over_tls, trail, tmp_path, log, free_port
):
    one = trail(over_tls(free_port), spool=tmp_path, limit=20 * 1100)
    for text in numbers(50):
        one.write(message(text + " " + "x" * 1000))
        one.flush(PATIENCE)
    kept = one.standings()[0].waiting
    assert 15 < kept < 25
    assert one.lost == 50 - kept
    receiver = collector(port=free_port)
    receiver.wait_until(lambda: len(receiver.received) >= kept)
    assert [text.split()[0] for text in receiver.texts()] == numbers(kept)
    one.close(PATIENCE)
    told = log.found(LOST)
    assert [line["count"] for line in told] == [1, 50 - kept - 1]  # at once, and the rest at the end
    assert {line["why"] for line in told} == {"the spool is full"}
    assert {line["level"] for line in told} == {"error"}


def test_losses_are_told_at_most_once_a_minute(trail, log, free_port, over_tls):
    now = [1000.0]
    one = trail(over_tls(free_port), limit=0, pace=PACE._replace(alarm=60.0), clock=lambda: now[0])

    def lose(count: int) -> None:
        for _ in range(count):
            one.write(message("x"))
        one.flush(PATIENCE)

    lose(1)
    assert [line["count"] for line in log.wait_for(LOST)] == [1]
    lose(5)
    now[0] += 59.0
    lose(5)
    assert len(log.found(LOST)) == 1
    now[0] += 1.0
    lose(1)
    assert [line["count"] for line in log.wait_for(LOST, 2)] == [1, 11]
    assert one.lost == 12


def test_the_last_losses_are_told_without_another_message(trail, log, free_port, over_tls):
    one = trail(over_tls(free_port), limit=0, pace=PACE._replace(alarm=0.2))
    for _ in range(2):
        one.write(message("x"))
        one.flush(PATIENCE)
    assert [line["count"] for line in log.wait_for(LOST, 2)] == [1, 1]


def test_a_message_that_no_datagram_holds_is_lost_and_the_others_are_not(collector, trail, log):
    receiver = collector(None)
    one = trail(UDPDestination("127.0.0.1", receiver.port))
    for text in ("a", "x" * 70_000, "b"):
        one.write(message(text))
    receiver.wait_for(2)
    assert receiver.texts() == ["a", "b"]
    (line,) = log.wait_for(LOST)
    assert (line["count"], line["why"]) == (1, "they are too long for this way")


@pytest.mark.parametrize("more", [["after"], []])
def test_messages_that_the_disk_of_the_spool_lost_are_told_and_the_others_are_not_held_up(
    collector, over_tls, trail, tmp_path, log, free_port, wait_for, more
):
    one = trail(over_tls(free_port), spool=tmp_path)
    for text in numbers(5):
        one.write(message(text))
    assert one.flush(PATIENCE)
    (path,) = tmp_path.glob("*/*.spool")
    path.write_bytes(b"x" * path.stat().st_size)
    for text in more:
        one.write(message(text))
    receiver = collector(port=free_port)
    (line,) = log.wait_for(LOST)
    assert (line["count"], line["why"]) == (5, "the spool cannot be read")
    receiver.wait_for(len(more))
    wait_for(lambda: nothing_waits(one))
    assert (receiver.texts(), one.lost) == (more, 5)


def test_a_message_beyond_all_bounds_is_lost_for_all(trail, log, tmp_path):
    one = trail(FileDestination(tmp_path / "a"), FileDestination(tmp_path / "b"))
    one.write(message("x" * 300_000))
    (line,) = log.wait_for(LOST)
    assert (line["destination"], line["count"], line["why"]) == ("all", 2, "they are too long")


def test_what_is_written_after_the_end_is_lost_and_told(trail, log, tmp_path):
    one = trail(FileDestination(tmp_path / "audit.log"))
    one.close(PATIENCE)
    one.write(message("x"))
    (line,) = log.found(LOST)
    assert (line["count"], line["why"]) == (1, "the audit trail is closed")
    assert one.close(PATIENCE) == 0


def test_what_still_waits_in_memory_at_the_end_is_lost_and_told(trail, log, over_tls, free_port):
    one = trail(over_tls(free_port))
    for text in numbers(7):
        one.write(message(text))
    assert not one.flush(PATIENCE)
    assert one.close(0.1) == 7
    (line,) = log.found(LOST)
    assert (line["count"], line["why"]) == (7, "the process ends and they are on no disk")


def test_memory_is_bounded_where_the_disk_of_the_spool_hangs(trail, log, monkeypatch, tmp_path, free_port, over_tls):
    monkeypatch.setattr(trail_module, "_MOST_FRESH", 100_000)
    hangs, goes_on = threading.Event(), threading.Event()
    save = Spool.save

    def hang(self) -> None:
        hangs.set()
        goes_on.wait(PATIENCE)
        save(self)

    monkeypatch.setattr(Spool, "save", hang)
    one = trail(over_tls(free_port), spool=tmp_path)
    one.write(message("first"))
    assert hangs.wait(PATIENCE)
    for _ in range(20):
        one.write(message("x" * 10_000))
    goes_on.set()
    assert one.flush(PATIENCE)
    assert one.lost == 11
    (line,) = log.wait_for(LOST)
    assert (line["destination"], line["why"]) == ("all", "the spool does not take them fast enough")


def test_a_disk_that_hangs_does_not_hold_up_the_end(trail, log, monkeypatch, tmp_path, free_port, over_tls):
    """Its spool is left to the end of the process."""
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(_) -> None:
        hangs.set()
        goes_on.wait(PATIENCE)

    monkeypatch.setattr(Spool, "save", hang)
    one = trail(over_tls(free_port), spool=tmp_path)
    one.write(message("x"))
    assert hangs.wait(PATIENCE)
    began = time.monotonic()
    assert one.close(0.1) == 1
    assert time.monotonic() - began < 5.0
    assert [line["why"] for line in log.found(LOST)] == ["the process ends and they are on no disk"]
    goes_on.set()
    one._storing.join(PATIENCE)
    one._outlets[0].spool.close()


# -- a restart


def test_what_waited_goes_out_first_after_a_restart(collector, over_tls, trail, tmp_path, log, free_port):
    for turn in range(3):
        one = trail(over_tls(free_port), spool=tmp_path)
        for text in numbers(10, first=10 * turn):
            one.write(message(text))
        assert one.close(0.1) == 10 * (turn + 1)
    receiver = collector(port=free_port)
    one = trail(over_tls(free_port), spool=tmp_path)
    one.write(message("30"))
    receiver.wait_for(31)
    assert receiver.texts() == numbers(31)
    assert [line["count"] for line in log.found("audit messages of an earlier run wait")] == [10, 20, 30]
    assert log.found(LOST) == []


def test_a_torn_spool_costs_the_torn_message_only(collector, over_tls, trail, tmp_path, log, free_port):
    one = trail(over_tls(free_port), spool=tmp_path)
    for text in numbers(10):
        one.write(message(text))
    one.close(0.1)
    (path,) = tmp_path.glob("*/*.spool")
    os.truncate(path, path.stat().st_size - 5)
    receiver = collector(port=free_port)
    one = trail(over_tls(free_port), spool=tmp_path)
    one.write(message("next"))
    receiver.wait_for(10)
    assert receiver.texts() == [*numbers(9), "next"]
    (line,) = log.found("audit messages in the spool are damaged")
    assert (line["level"], line["count"]) == ("warning", 1)


def test_what_was_sent_and_not_confirmed_is_sent_again_after_a_restart(collector, over_tls, trail, tmp_path):
    receiver = collector()
    one = trail(over_tls(receiver.port), spool=tmp_path, pace=PACE._replace(settle=60.0))
    one.write(message("x"))
    receiver.wait_for(1)
    receiver.stop()  # so that the good end does not come about
    assert one.close(0.2) == 1
    receiver.listen()
    trail(over_tls(receiver.port), spool=tmp_path)
    receiver.wait_for(2)
    assert receiver.texts() == ["x", "x"]


def test_a_spool_of_a_destination_that_is_not_set_up_any_more_is_told_of(trail, tmp_path, log, free_port, over_tls):
    one = trail(over_tls(free_port), spool=tmp_path)
    one.write(message("x"))
    one.close(0.1)
    trail(FileDestination(tmp_path / "audit.log"), spool=tmp_path)
    (line,) = log.found("audit messages wait for a destination that is not set up")
    assert line["directory"].startswith(f"{tmp_path}/tls_127.0.0.1_{free_port}-")


def test_two_trails_never_share_a_spool(trail, tmp_path, free_port, over_tls):
    first = trail(over_tls(free_port), spool=tmp_path)
    with pytest.raises(SettingError, match="another process uses it"):
        trail(FileDestination(tmp_path / "audit.log"), over_tls(free_port), spool=tmp_path)
    first.close(0)
    trail(FileDestination(tmp_path / "audit.log"), over_tls(free_port), spool=tmp_path)


def test_two_destinations_alike_are_refused(trail, tmp_path):
    with pytest.raises(ValueError, match="two audit destinations are the same"):
        trail(FileDestination(tmp_path / "a"), FileDestination(tmp_path / "a"))


WRITE_FOREVER = """
import datetime, ssl, sys
from itertools import count
from pathlib import Path
import structlog
from scpd.telemetry.audit import Message, Outcome
from scpd.telemetry.syslog import TLSDestination
from scpd.telemetry.trail import Trail
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
away = TLSDestination("127.0.0.1", int(sys.argv[2]), ssl.create_default_context())
trail = Trail([away], Path(sys.argv[1]), 1 << 30, log=structlog.get_logger())
for number in count():
    trail.write(Message(datetime.datetime.now().astimezone(), Outcome.SUCCESS, "h", 1, f"{number}"))
    if number % 10 == 9:
        assert trail.flush(20)
        print(number, flush=True)
"""


def test_what_was_flushed_survives_kill_9(collector, over_tls, trail, tmp_path, free_port):
    command = [sys.executable, "-c", WRITE_FOREVER, tmp_path, str(free_port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        told = [process.stdout.readline() for _ in range(50)]
        process.send_signal(signal.SIGKILL)
        told += process.stdout.readlines()
    promised = int(told[-1]) + 1
    receiver = collector(port=free_port)
    one = trail(over_tls(free_port), spool=tmp_path)
    receiver.wait_for(promised)
    assert one.close(PATIENCE) == 0
    texts = receiver.texts()
    assert texts == numbers(len(texts))
    assert promised <= len(texts) <= promised + 11


# -- disks that are full


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for some 100 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=100k", "scpd-test", str(folder)]
    can = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    if not can and os.environ.get("CI"):
        pytest.fail("mounting a file system is not possible here, and in CI no fault may be missing")
    if not can:
        pytest.skip("mounting a file system is not possible here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_file_on_a_full_disk_is_gone_on_with_when_there_is_room(trail, tmp_path, small_disk, log, wait_for):
    path = small_disk / "audit.log"
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 60_000)
    one = trail(FileDestination(path), spool=tmp_path / "spool")
    for text in numbers(60):
        one.write(message(text + " " + "x" * 1000))
    (line,) = log.wait_for(AWAY)
    assert "No space left" in line["error"]
    ballast.unlink()
    wait_for(lambda: nothing_waits(one))
    lines = path.read_bytes().splitlines()
    assert [parse(line).text.split()[0] for line in lines] == numbers(60)
    assert one.lost == 0


def test_a_spool_on_a_full_disk_keeps_nothing_from_its_destination(
    collector, over_tls, trail, small_disk, log, wait_for
):
    receiver = collector()
    (small_disk / "ballast").write_bytes(b"x" * 90_000)
    one = trail(over_tls(receiver.port), spool=small_disk / "spool")
    for text in numbers(60):
        one.write(message(text + " " + "x" * 1000))
    receiver.wait_for(60)
    assert [text.split()[0] for text in receiver.texts()] == numbers(60)
    wait_for(lambda: nothing_waits(one))
    assert one.lost == 0


def test_a_spool_on_a_full_disk_waits_in_memory_and_is_saved_when_there_is_room(
    collector, over_tls, trail, small_disk, log, free_port
):
    (small_disk / "ballast").write_bytes(b"x" * 90_000)
    one = trail(over_tls(free_port), spool=small_disk / "spool")
    for text in numbers(60):
        one.write(message(text + " " + "x" * 1000))
    (line,) = log.wait_for("the audit spool cannot be written")
    assert "No space left" in line["error"]
    assert not one.flush(0.1)
    (small_disk / "ballast").unlink()
    log.wait_for("the audit spool is written again")
    assert one.flush(PATIENCE)
    assert one.close(0.1) == 60
    receiver = collector(port=free_port)
    trail(over_tls(free_port), spool=small_disk / "spool")
    receiver.wait_for(60)
    assert [text.split()[0] for text in receiver.texts()] == numbers(60)


# -- how often it is tried


@given(st.integers(1, 200), st.randoms(use_true_random=False))
def test_pauses_grow_to_a_minute_and_are_never_alike(failures, source):
    backoff = Backoff(1.0, 60.0, source.random)
    pauses = [backoff.next() for _ in range(failures)]
    assert pauses[0] == 0.0
    for number, pause in enumerate(pauses[1:]):
        whole = min(60.0, 2.0 ** min(number, 100))
        assert whole / 2 <= pause <= whole
    backoff.reset()
    assert backoff.next() == 0.0
    assert 0.5 <= backoff.next() <= 1.0


def test_a_long_pause_does_not_hold_up_the_end(trail, over_tls, free_port, log):
    one = trail(over_tls(free_port), pace=Pace(first=60.0, most=60.0), chance=random.Random(1).random)
    one.write(message("x"))
    log.wait_for(AWAY)
    began = time.monotonic()
    one.close(PATIENCE)
    assert time.monotonic() - began < 5.0


def test_no_thread_and_no_descriptor_is_left(trail, collector, over_tls, tmp_path):
    receiver = collector()
    trail(over_tls(receiver.port), spool=tmp_path / "first").close(PATIENCE)

    def mine() -> list[str]:
        return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("audit"))

    def descriptors() -> list[str]:
        links = (os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd"))
        return [link for link in links if str(tmp_path) in link]

    one = trail(over_tls(receiver.port), FileDestination(tmp_path / "audit.log"), spool=tmp_path / "spool")
    one.write(message("x"))
    assert len(mine()) == 3
    one.close(PATIENCE)
    assert mine() == []
    assert descriptors() == []
