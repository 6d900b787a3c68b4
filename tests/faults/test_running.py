"""What a sysadmin does to a running daemon, and what its machine does to it, with instances on their way all the while.

Nothing is lost that was acknowledged, no association ends that the fault has nothing to do with, and the log says why.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from scpd.wire.pdu import Abort, AssociateAC, encode_title

MiB = 1 << 20
PREFIXES = itertools.count(1)
FAILED = "reload failed: nothing has changed"


@pytest.fixture
def storing(associate, store, is_whole):
    """``with storing(one) as kept:`` has four associations store, one instance after the other; ``kept`` grows.

    Every instance is answered Success, unless the associations ``may_end``; all that were are whole on the disk.
    """

    @contextmanager
    def running(one, *, may_end: bool = False):
        over, kept, wrong = threading.Event(), [], []
        clients = [associate(one) for _ in range(4)]

        def send(client, prefix: str) -> None:
            with suppress(*([OSError, AssertionError, TypeError] if may_end else [])):
                for number in itertools.count():
                    uid = f"{prefix}.{number}"
                    status = store(client, uid)
                    (wrong if status else kept).append((uid, status) if status else uid)
                    if over.wait(0.02):
                        return client.release()
            return None

        def work(client) -> None:
            try:
                send(client, f"1.2.{next(PREFIXES)}")
            except Exception as error:
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(client,), daemon=True) for client in clients]
        for thread in threads:
            thread.start()
        try:
            yield kept
        finally:
            over.set()
            for thread in threads:
                thread.join(20)
        assert not wrong or (may_end and all(status == 0xA700 for _, status in wrong)), wrong[:3]
        assert len(kept) >= 4
        found = {path.stem: path for path in one.stored()}
        assert all(is_whole(found[uid], uid) for uid in kept)

    return running


def told(line) -> bool:
    return line["event"] in ("reloaded", FAILED)


def hang_up(one) -> tuple[dict, list[str]]:
    """SIGHUP; the line that says what came of it, and the faults before it."""
    before = sum(map(told, one.logs))
    faults = sum(line["event"] == "reload: a fault" for line in one.logs)
    one.send_signal(signal.SIGHUP)
    line = one.wait_for_logs(told, before + 1)[-1]
    return line, [line["fault"] for line in one.logs if line["event"] == "reload: a fault"][faults:]


def is_quiet(one) -> bool:
    """Whether nothing in the log is a fault of scpd itself."""
    return not [line for line in one.lines if "Traceback" in line or '"association failed"' in line]


# -- files that are none


@pytest.fixture(scope="module")
def shared(shared_daemon):
    return shared_daemon(
        servers=[{"name": "a", "bind": "127.0.0.1:0"}, {"name": "b", "bind": "127.0.0.1:0", "ae_title": "B"}]
    )


@pytest.fixture
def one(shared):
    """The daemon that every bad file is tried on; its own is put back."""
    good = shared.config.read_bytes()
    yield shared
    with suppress(IsADirectoryError, FileNotFoundError):
        shared.config.unlink()
    if shared.config.is_dir():
        shared.config.rmdir()
    shared.config.write_bytes(good)
    line, _ = hang_up(shared)
    assert (line["event"], line.get("changes")) == ("reloaded", []), "the old configuration was in force all the while"


def instead(make):
    """Something else in the place of the file."""

    def put(path: Path) -> None:
        path.unlink()
        make(path)

    return put


def add(more: str):
    return lambda path: path.write_text(path.read_text() + more)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


ALIASES = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(8)
)
BAD = {
    "a picture": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100)), ["UTF-8|NUL"]),
    "a program": (lambda path: path.write_bytes(Path(sys.executable).read_bytes()[:100_000]), ["NUL"]),
    "an instance": (lambda path: path.write_bytes(bytes(128) + b"DICM"), ["NUL"]),
    "a key and its certificate": (lambda path: path.write_text("-----BEGIN KEY-----\nAAAA\n"), ["no mapping|':'"]),
    "UTF-16": (lambda path: path.write_bytes("ae_title: X\n".encode("utf-16")), ["UTF-8|NUL"]),
    "nothing in it": (lambda path: path.write_text(""), ["no mapping|empty"]),
    "10 MB": (lambda path: path.write_bytes(b"# x\n" * (10 * MiB // 4)), ["larger than 1048576 bytes"]),
    "aliases that explode": (lambda path: path.write_text(ALIASES), ["aliases grow"]),
    "tabs": (lambda path: path.write_text("limits:\n\tassociations: 5\n"), ["tab"]),
    "keys that stand twice": (add("ae_title: OTHER\n"), ["stands twice, first in line 1"]),
    "wrong types, three of them": (
        add("limits: {associations: many, pending: []}\ntimeouts: soon\n"),
        ["limits.associations: ", "limits.pending: ", "timeouts: "],
    ),
    "a directory": (instead(Path.mkdir), ["Is a directory"]),
    "a FIFO": (instead(os.mkfifo), ["Not a regular file"]),
    "a socket": (instead(unix_socket), ["No such device|Not a regular file"]),
    "a device without end": (instead(lambda path: path.symlink_to("/dev/zero")), ["Not a regular file"]),
    "a link to itself": (instead(lambda path: path.symlink_to(path)), ["symbolic links"]),
    "gone": (Path.unlink, ["No such file"]),
}


@pytest.mark.parametrize("what", BAD)
def test_a_reload_with_a_bad_file_under_load_changes_nothing_and_tells_every_fault(one, load, storing, wait_for, what):
    spoil, says = BAD[what]
    with load(one), storing(one) as kept:
        wait_for(lambda: len(kept) > 4)
        spoil(one.config)
        line, faults = hang_up(one)
        count = len(kept)
        wait_for(lambda: len(kept) > count + 8)
    assert (line["event"], line["level"], line["faults"]) == (FAILED, "error", len(says))
    assert len(faults) == len(says)
    for fault, words in zip(sorted(faults), sorted(says), strict=True):
        assert fault.startswith(str(one.config))
        assert any(word in fault for word in words.split("|")), fault
    assert is_quiet(one)


def test_a_reload_for_a_port_that_is_taken_changes_nothing_under_load(one, load, storing, wait_for):
    with socket.create_server(("127.0.0.1", 0)) as taken, load(one), storing(one) as kept:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        data = yaml.safe_load(one.config.read_text())
        data["servers"].append({"name": "c", "bind": bind})
        one.config.write_text(yaml.safe_dump(data))
        line, faults = hang_up(one)
        count = len(kept)
        wait_for(lambda: len(kept) > count + 8)
    assert line["event"] == FAILED
    assert faults == [f"cannot listen on {bind}: Address already in use"]


def test_a_server_that_is_removed_under_load_lets_those_that_it_has_finish(daemon, load, storing, wait_for, free_port):
    one = daemon(
        timeouts={"shutdown": "1s"},
        servers=[
            {"name": "old", "bind": f"127.0.0.1:{free_port}"},
            {"name": "new", "bind": "127.0.0.1:0", "ae_title": "NEW"},
        ],
    )
    with load(one), storing(one) as kept:
        data = yaml.safe_load(one.config.read_text())
        del data["servers"][0]
        one.config.write_text(yaml.safe_dump(data))
        line, _ = hang_up(one)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", free_port), 5)
        count = len(kept)
        wait_for(lambda: len(kept) > count + 8)
    assert line["event"] == "reloaded"
    assert one.stop() == 0
    ends = [line["ended"] for line in one.associations(5)]
    assert ends.count("released") == 4
    assert set(ends) == {"released", "aborted: this server is stopping"}, "the load's own is left at the end"


# -- signals, too many and at the wrong time


def test_ten_sighups_at_once_with_good_and_bad_files_under_load(daemon, load, storing, wait_for):
    one = daemon()
    good = one.config.read_text()
    with load(one), storing(one) as kept:
        for number in range(10):
            other = one.config.with_suffix(".new")
            other.write_text(good + (f"limits: {{associations: {100 + number}}}\n" if number % 2 else "limits: many\n"))
            other.replace(one.config)
            one.send_signal(signal.SIGHUP)
        one.wait_for_log(lambda line: told(line) and line["event"] == "reloaded")
        one.send_signal(signal.SIGUSR1)  # behind them all
        one.wait_for_log(lambda line: line["event"] == "state")
        count = len(kept)
        wait_for(lambda: len(kept) > count + 8)
    changes = [change for line in one.logs if line["event"] == "reloaded" for change in line["changes"]]
    assert changes[-1].endswith("→ 109"), "the last file is the one in force"
    assert is_quiet(one)


def test_a_storm_of_sigusr1_holds_nobody_up(daemon, load, storing, process, wait_for):
    """The system joins those that nobody has taken yet; the rest are answered, one after the other."""
    one = daemon()
    with load(one), storing(one) as kept:
        before = process(one)
        threads, descriptors = before.threads, len(before.descriptors)
        for _ in range(2000):
            one.send_signal(signal.SIGUSR1)
        line, _ = hang_up(one)
        count = len(kept)
        wait_for(lambda: len(kept) > count + 8)
        assert (before.threads, len(before.descriptors)) <= (threads, descriptors + 8)
    assert line["event"] == "reloaded"
    assert 0 < sum(line["event"] == "state" for line in one.logs) <= 2000
    assert is_quiet(one)


@pytest.mark.parametrize("numbers", [("SIGHUP", "SIGTERM"), ("SIGTERM", "SIGHUP")], ids="-".join)
def test_sighup_and_sigterm_at_once_end_it_in_order(daemon, associate, begin_store, wait_for, is_whole, numbers):
    one = daemon()
    client = associate(one)
    go_on = begin_store(client, "1.2.3.4")
    wait_for(one.spool)
    for number in numbers:
        one.send_signal(getattr(signal, number))
    one.wait_for_log(lambda line: line["event"] == "stopping")
    go_on()
    assert client.receive_command().status == 0
    client.release()
    assert one.wait() == 0
    assert is_whole(one.stored()[0], "1.2.3.4", 100_000)
    assert is_quiet(one)


def test_sighup_and_sigusr1_while_it_stops_neither_shorten_the_grace_nor_lengthen_it(daemon, associate, store, echo):
    one = daemon(timeouts={"shutdown": "1s"})
    client, other = associate(one), associate(one)
    one.send_signal(signal.SIGTERM)
    one.wait_for_log(lambda line: line["event"] == "stopping")
    for _ in range(20):
        one.send_signal(signal.SIGHUP)
        one.send_signal(signal.SIGUSR1)
        assert echo(client) == 0
    assert store(client, "1.2.3.4") == 0
    client.release()
    assert other.receive() == Abort(0, 0)
    other.close()
    assert one.wait(5) == 0
    assert not [line for line in one.logs if told(line)]


def test_a_second_sigterm_in_the_middle_of_instances_leaves_none_of_them_half(
    daemon, associate, begin_store, storing, wait_for
):
    one = daemon(timeouts={"shutdown": "10m"})
    with storing(one, may_end=True) as kept:
        begun = [associate(one) for _ in range(3)]
        for number, client in enumerate(begun):
            begin_store(client, f"1.2.9999.{number}")
        wait_for(lambda: len(one.spool()) >= 3)
        one.send_signal(signal.SIGTERM)
        one.wait_for_log(lambda line: line["event"] == "stopping")
        count = len(kept)
        wait_for(lambda: len(kept) > count + 8)
        one.send_signal(signal.SIGTERM)
        assert one.wait(10) == 0
    assert one.spool() == []
    assert not [path for path in one.stored() if path.stem.startswith("1.2.9999.")]
    assert is_quiet(one)


def starting(one, wait_for, library: str) -> None:
    """Until the process has mapped ``library``, which it does while it starts."""

    def mapped() -> bool:
        with suppress(OSError):
            return library in Path(f"/proc/{one.pid}/maps").read_text()
        return False

    wait_for(mapped, library)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_while_the_process_loads_its_libraries_does_not_end_it(daemon, connect, wait_for, number):
    one = daemon(ready=False)
    starting(one, wait_for, "_pydantic_core")
    one.send_signal(number)
    assert isinstance(connect(one.port).associate(), AssociateAC)


def test_sighup_from_the_first_look_at_the_configuration_on_is_done_after_the_start(daemon, wait_for):
    """Again and again from the moment on at which the process takes it until it is ready."""
    one = daemon(ready=False)

    def takes_it() -> bool:
        status = Path(f"/proc/{one.pid}/status").read_text().partition("SigCgt:")[2].split()[0]
        return bool(int(status, 16) & 1 << (signal.SIGHUP - 1))

    def is_ready_after_one_more() -> bool:
        one.send_signal(signal.SIGHUP)
        return any(line["event"] == "ready" for line in list(one.logs)) or one.process.poll() is not None

    wait_for(takes_it)
    wait_for(is_ready_after_one_more)
    one.wait_for_log(lambda line: line["event"] == "reloaded")
    assert one.stop() == 0


# -- the process is stopped, or is the first of its world


def test_a_daemon_that_is_stopped_for_a_while_goes_on_as_if_nothing_had_been(
    daemon, associate, begin_store, storing, wait_for, is_whole, echo
):
    one = daemon()
    with storing(one) as kept:
        client = associate(one)
        go_on = begin_store(client, "1.2.9999.1")
        wait_for(lambda: len(kept) > 8)
        one.send_signal(signal.SIGSTOP)
        wait_for(lambda: " T " in Path(f"/proc/{one.pid}/stat").read_text())
        late = socket.create_connection(("127.0.0.1", one.port), 5)  # the system takes it for the daemon
        go_on()
        with pytest.raises(TimeoutError):
            client.receive(1.5)
        count = len(kept)
        one.send_signal(signal.SIGCONT)
        assert client.receive_command().status == 0
        assert echo(client) == 0
        late.close()
        wait_for(lambda: len(kept) > count + 8)
    assert is_whole(next(path for path in one.stored() if path.stem == "1.2.9999.1"), "1.2.9999.1", 100_000)
    assert is_quiet(one)


def test_as_the_first_process_of_a_container_it_drains_at_sigterm(daemon, associate, store, possible, wait_for):
    """Process 1 gets no signal that it has not asked for."""
    own = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    possible(subprocess.run([*own, "true"], capture_output=True, check=False).returncode == 0, "a PID namespace")
    one = daemon(wrap=own)
    assert one.wait_for_log(lambda line: line["event"] == "ready")["pid"] == 1
    first = int(Path(f"/proc/{one.pid}/task/{one.pid}/children").read_text())
    client = associate(one)
    os.kill(first, signal.SIGHUP)
    one.wait_for_log(lambda line: line["event"] == "reloaded")
    os.kill(first, signal.SIGTERM)
    one.wait_for_log(lambda line: line["event"] == "stopping")
    assert store(client, "1.2.3.4") == 0
    client.release()
    assert one.wait() == 0
    assert len(one.stored()) == 1


# -- the log's reader goes away


def test_a_reader_of_the_log_that_goes_away_takes_no_association_with_it(
    connect, contexts, store, echo, free_port, tmp_path, wait_for
):
    """SIGPIPE and EPIPE, with an association under way; it stops in order all the same."""
    config = tmp_path / "scpd.yaml"
    config.write_text(
        f"bind: 127.0.0.1:{free_port}\nstorage: {{directory: {tmp_path}/store, reserve: 0}}\n"
        "logging: {level: debug, format: json}\n"
    )
    command = [sys.executable, "-m", "scpd", "run", str(config)]
    one = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert any(b'"ready"' in line for line in one.stderr)
        client = connect(free_port)
        assert isinstance(client.associate(contexts), AssociateAC)
        assert store(client, "1.2.3.1") == 0
        one.stderr.close()
        one.stdout.close()
        for _ in range(20):
            other = connect(free_port)
            assert isinstance(other.associate(contexts), AssociateAC)
            other.release()  # and one line each
        one.send_signal(signal.SIGHUP)
        one.send_signal(signal.SIGUSR1)
        assert store(client, "1.2.3.2") == 0
        assert echo(client) == 0
        client.release()
        one.terminate()
        assert one.wait(10) == 0
    finally:
        one.kill()
        one.wait()
    assert len(list((tmp_path / "store").rglob("1.2.3.?.dcm"))) == 2


# -- memory and processes are bounded


def made_way(line) -> bool:
    return "limits.pending" in line.get("ended", "")


def fill_it(one, connect, process, room: int, pending: int = 150) -> None:
    """150 peers send all but the end of a request of a megabyte, where ``room`` bytes are left for them all.

    Of more than ``pending`` each waits until it has driven another one out.
    """
    pages = int(Path(f"/proc/{one.pid}/statm").read_text().split()[0])
    process(one).limit("as", pages * os.sysconf("SC_PAGE_SIZE") + room)
    head = b"\x01\0" + (MiB - 6).to_bytes(4) + b"\0\x01\0\0" + encode_title("SCPD") + encode_title("BAD")
    for number in range(150):
        with suppress(OSError):
            connect(one.port, timeout=0.5).send(head + bytes(MiB - 200))
        if number >= pending:
            one.wait_for_logs(made_way, number - pending + 1, 5)


# The system's reservations, which nobody uses, would count as memory.
ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}


def test_who_grants_the_memory_that_the_limits_promise_is_served_whatever_peers_send(
    daemon, connect, associate, load, storing, process, echo
):
    """20 pending connections with a buffer that doubles up to 1 MiB, and a stack each, are less than 96 MiB."""
    one = daemon(limits={"pending": 20}, timeouts={"shutdown": "1s"}, env=ONE_ARENA)
    with load(one), storing(one) as kept:
        fill_it(one, connect, process, 96 * MiB, pending=20)
        assert echo(associate(one)) == 0
        assert kept
    assert is_quiet(one)
    assert one.stop() == 0


def test_where_memory_runs_out_nothing_is_lost_that_was_acknowledged(
    daemon, connect, storing, process, wait_for, is_whole
):
    """Whatever becomes of the process then: killed and started again it serves, and has every instance."""
    one = daemon(limits={"pending": 500, "pending_per_address": 500}, env=ONE_ARENA)
    with storing(one, may_end=True) as kept:
        wait_for(lambda: len(kept) > 8)
        fill_it(one, connect, process, 16 * MiB)
        one.send_signal(signal.SIGKILL)
        one.wait()
    again = daemon(storage={"directory": str(one.directory)})
    assert isinstance(connect(again.port).associate(), AssociateAC)
    assert again.spool() == []
    assert {path.stem for path in again.stored()} >= set(kept)
    assert all(is_whole(path, path.stem) for path in again.stored())


def test_a_connection_for_which_there_is_no_memory_is_closed_and_forgotten(daemon, connect, tmp_path):
    """The very first allocation of a worker fails, as it does now and then where memory is short."""
    (tmp_path / "sitecustomize.py").write_text(
        "import itertools\nimport scpd.server.server as server\nRecord, calls = server.Record, itertools.count()\n"
        "def record(*arguments):\n    if next(calls) == 0:\n        raise MemoryError\n    return Record(*arguments)\n"
        "server.Record = record\n"
    )
    one = daemon(env={"PYTHONPATH": str(tmp_path)})
    unlucky = connect(one.port)
    assert unlucky.is_closed_by_peer(2)
    assert isinstance(connect(one.port).associate(), AssociateAC), "the next one has more luck"
    one.send_signal(signal.SIGUSR1)
    assert one.wait_for_log(lambda line: line["event"] == "state")["connections"] == 1


def pids_folders():
    """Where this process may have a group of processes limited: version 1 of the system's groups, or 2."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("pids", ""):
            yield Path("/sys/fs/cgroup") / controllers / path.lstrip("/")


@pytest.fixture
def pids(possible, wait_for):
    """A group of the test's own, below the one that it is in itself."""
    made = []
    for parent in pids_folders():
        folder = parent / f"scpd-test-{os.getpid()}"
        with suppress(OSError):
            folder.mkdir()
            made.append(folder)
            if (folder / "pids.max").exists():
                break
    usable = [folder for folder in made if (folder / "pids.max").exists()]
    try:
        possible(usable, "limiting the number of processes (cgroup)")
        yield usable[0]
    finally:
        for folder in made:
            wait_for(lambda folder=folder: not (folder / "cgroup.procs").read_text())
            folder.rmdir()


def test_a_limit_on_processes_and_more_peers_than_it_allows(pids, daemon, connect, load, storing, wait_for):
    """TasksMax= of systemd: connections over it are closed, the loop lives and says so once, and all is well again."""
    one = daemon(timeouts={"shutdown": "1s"})
    (pids / "cgroup.procs").write_text(str(one.pid))
    with load(one), storing(one):
        (pids / "pids.max").write_text("20")
        callers = [connect(one.port) for _ in range(40)]
        closed = [caller for caller in callers[20:] if caller.is_closed_by_peer(5.0)]
        assert len(closed) == 20
        assert int((pids / "pids.current").read_text()) <= 20
        (line,) = [line for line in one.logs if line["event"] == "out of resources"]
        assert "thread" in line["what"]
        for caller in callers:
            caller.close()
        wait_for(lambda: int((pids / "pids.current").read_text()) < 20, "an end of those that are gone")
        assert isinstance(connect(one.port).associate(), AssociateAC), "still under the limit"
        (pids / "pids.max").write_text("max")
        assert isinstance(connect(one.port).associate(), AssociateAC)
    assert is_quiet(one)
    assert one.stop() == 0
