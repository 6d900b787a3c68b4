"""Hooks of the running daemon: what was acknowledged is handed over, through any end of the process, and delays nobody."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from pydicom import dcmread
from pydicom.data import get_testdata_file

from scpd.config import load
from scpd.daemon import line as line_module
from scpd.daemon import watch as watch_module
from scpd.daemon.build import Parts
from scpd.daemon.handover import HandOvers
from scpd.daemon.surroundings import Surroundings
from scpd.errors import ScpdError
from scpd.forward.queue import Queue, QueueError
from scpd.services.service import Peer
from scpd.services.storage import Stored
from scpd.storage.incoming import Written

PATIENCE = 20.0
OUT_OF_RESOURCES = 0xA700
CT_FILE = get_testdata_file("CT_small.dcm")


def program(name: str, script: str, *arguments: object, on: str = "instance", **more) -> dict:
    """A hook that runs a script of the test's own, with ``arguments`` as $1, $2, …"""
    return {
        "kind": "exec",
        "name": name,
        "on": on,
        "command": ["/bin/sh", "-c", script, name, *map(str, arguments)],
        **more,
    }


def noting(name: str, path: Path, **more) -> dict:
    """A hook that appends the UID to a file."""
    return program(name, 'echo "$SCPD_SOP_INSTANCE_UID" >> "$1"', path, **more)


def lines(path: Path) -> list[str]:
    return path.read_text().split("\n")[:-1] if path.exists() else []


@pytest.fixture
def associate(connect, contexts):
    def make(one):
        client = connect(one.port)
        client.associate(contexts)
        return client

    return make


@pytest.fixture
def receiver():
    """A web server that notes the bodies it gets, in ``got``."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.server.got.append((self.headers, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.got = []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def with_storescu(peer, port):
    subprocess.run([peer("storescu"), "-aec", "SCPD", "127.0.0.1", str(port), CT_FILE], check=True, timeout=PATIENCE)


def with_pynetdicom(peer, port):
    ae = peer("pynetdicom").AE("PYNET")
    data = dcmread(CT_FILE)
    ae.add_requested_context(data.SOPClassUID, data.file_meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", port, ae_title="SCPD")
    assert association.send_c_store(data).Status == 0
    association.release()


def with_scpd(_peer, port):
    command = [sys.executable, "-m", "scpd", "send", f"127.0.0.1:{port}", CT_FILE]
    subprocess.run(command, check=True, timeout=PATIENCE, capture_output=True)


@pytest.mark.parametrize("send", [with_storescu, with_pynetdicom, with_scpd], ids=lambda one: one.__name__)
def test_instances_and_studies_arrive_at_programs_and_addresses(daemon, peer, receiver, wait_for, tmp_path, send):
    url = f"http://127.0.0.1:{receiver.server_address[1]}/x"
    instance, study = tmp_path / "instance.json", tmp_path / "study.json"
    one = daemon(
        hooks=[
            program("a", 'cat > "$1.part" && test -f "$SCPD_PATH" && mv "$1.part" "$1"', instance),
            program("b", 'cat > "$1.part"; mv "$1.part" "$1"', study, on="study", quiet="300ms"),
            {"kind": "webhook", "name": "c", "on": "instance", "url": url, "secret": "s"},
            {"kind": "webhook", "name": "d", "on": "study", "quiet": "300ms", "url": url, "secret": "s"},
        ]
    )
    send(peer, one.port)
    wait_for(lambda: instance.exists() and study.exists() and len(receiver.got) == 2)
    (path,) = one.stored()
    data = dcmread(CT_FILE, stop_before_pixels=True)
    event = json.loads(instance.read_text())
    assert event["path"] == str(path)
    assert event["sop_instance_uid"] == data.SOPInstanceUID
    assert event["sop_class_uid"] == data.SOPClassUID
    assert event["study_instance_uid"] == data.StudyInstanceUID
    assert event["series_instance_uid"] == data.SeriesInstanceUID
    assert (event["event"], event["server"]) == ("instance", "SCPD")
    event = json.loads(study.read_text())
    assert (event["event"], event["instances"], event["paths"]) == ("study", 1, [str(path)])
    assert (event["path"], event["directories"]) == (str(path.parent), [str(path.parent)])
    assert sorted(headers["X-Scpd-Event"] for headers, _ in receiver.got) == ["instance", "study"]
    assert one.stop() == 0
    assert not [line for line in one.logs if line.get("part") in ("hooks", "queue")]


def test_kill_9_in_the_middle_loses_no_event(daemon, associate, store, wait_for, tmp_path):
    noted, directory = tmp_path / "noted", str(tmp_path / "store")
    slow = program("a", 'sleep 0.05; echo "$SCPD_SOP_INSTANCE_UID" >> "$1"', noted, concurrency=2)
    one = daemon(hooks=[slow], storage={"directory": directory})
    acknowledged: list[str] = []
    enough = threading.Event()

    def send(prefix):
        client = associate(one)
        with suppress(OSError, AssertionError):
            for number in range(25):
                uid = f"1.2.{prefix}.{number}"
                assert store(client, uid) == 0
                acknowledged.append(uid)
                if len(acknowledged) > 30:
                    enough.set()

    senders = [threading.Thread(target=send, args=(prefix,)) for prefix in (1, 2)]
    for sender in senders:
        sender.start()
    assert enough.wait(PATIENCE)
    one.send_signal(signal.SIGKILL)
    for sender in senders:
        sender.join(PATIENCE)
    assert one.wait() == -signal.SIGKILL
    assert not set(acknowledged) <= set(lines(noted)), "all was done before: the test shows less than it says"
    two = daemon(hooks=[slow], storage={"directory": directory})
    wait_for(lambda: set(acknowledged) <= set(lines(noted)))
    assert two.stop() == 0
    assert set(lines(noted)) <= {path.stem for path in two.stored()}


def test_a_hook_that_hangs_delays_no_association(daemon, associate, store, wait_for, tmp_path):
    began, go_on = tmp_path / "began", tmp_path / "go on"
    hanging = program("hangs", 'echo x >> "$1"; until test -f "$2"; do sleep 0.1; done', began, go_on, concurrency=2)
    one = daemon(hooks=[hanging, noting("b", tmp_path / "b")])
    client = associate(one)
    assert store(client, "1.2.3.0") == 0
    wait_for(lambda: lines(began))
    took = []
    for number in range(1, 20):
        start = time.monotonic()
        assert store(client, f"1.2.3.{number}") == 0
        took.append(time.monotonic() - start)
    assert max(took) < 1.0
    wait_for(lambda: len(lines(tmp_path / "b")) == 20)
    assert len(lines(began)) == 2
    go_on.write_text("")
    wait_for(lambda: len(lines(began)) == 20)


def running(*command: str, of: int) -> bool:
    """Whether such a process of a session that began after ``of`` is there."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if (
                path.read_bytes().split(b"\0")[:-1] == [word.encode() for word in command]
                and int(path.parent.name) > of
            ):
                return True
    return False


def test_what_runs_at_a_stop_begins_anew_with_the_next_start(daemon, associate, store, wait_for, tmp_path):
    began, noted = tmp_path / "began", tmp_path / "noted"
    directory = str(tmp_path / "store")
    hook = program("a", 'echo x >> "$1"; test -f "$3" || sleep 1000; cat > "$2"', began, noted, tmp_path / "go")
    one = daemon(hooks=[hook], storage={"directory": directory})
    client = associate(one)
    assert store(client, "1.2.3.1") == 0
    client.release()
    wait_for(lambda: lines(began))
    start = time.monotonic()
    assert one.stop() == 0
    assert time.monotonic() - start < 15.0
    assert not running("sleep", "1000", of=one.pid), "it is ended with all that it started"
    (tmp_path / "go").write_text("")
    daemon(hooks=[hook], storage={"directory": directory})
    wait_for(lambda: noted.exists() and noted.read_text())
    assert json.loads(noted.read_text())["sop_instance_uid"] == "1.2.3.1"


def test_a_study_that_was_due_while_nobody_ran_is_told_after_the_start(daemon, associate, store, wait_for, tmp_path):
    directory, out = str(tmp_path / "store"), tmp_path / "out"
    hook = program("a", 'cat > "$1.part"; mv "$1.part" "$1"', out, on="study", quiet="1h")
    one = daemon(hooks=[hook], storage={"directory": directory})
    client = associate(one)
    for number in range(5):
        assert store(client, f"1.2.3.{number}") == 0
    one.send_signal(signal.SIGKILL)
    one.wait()
    daemon(hooks=[{**hook, "quiet": "100ms"}], storage={"directory": directory})
    wait_for(out.exists)
    assert json.loads(out.read_text())["instances"] == 5


@pytest.mark.parametrize(("duplicates", "status", "events"), [("replace", 0, 2), ("keep", 0, 1), ("reject", 0x0111, 1)])
def test_a_hook_is_told_of_new_instances_alone(
    daemon, associate, store, wait_for, tmp_path, duplicates, status, events
):
    noted = tmp_path / "noted"
    one = daemon(hooks=[noting("a", noted)], storage={"duplicates": duplicates})
    client = associate(one)
    assert [store(client, "1.2.3.1"), store(client, "1.2.3.1"), store(client, "1.2.3.2")] == [0, status, 0]
    wait_for(lambda: "1.2.3.2" in lines(noted) and len(lines(noted)) == events + 1)
    client.release()
    assert one.stop() == 0
    assert sorted(lines(noted)) == ["1.2.3.1"] * events + ["1.2.3.2"]


def reload(one, change) -> dict:
    data = yaml.safe_load(one.config.read_text())
    change(data)
    one.config.write_text(yaml.safe_dump(data))
    return one.reload()


def test_sighup_changes_hooks_and_keeps_what_waits(daemon, associate, store, wait_for, tmp_path):
    a, b, c = (tmp_path / name for name in "abc")
    one = daemon(hooks=[noting("a", a), program("stuck", "exit 1", attempts=1000)])
    client = associate(one)
    assert store(client, "1.2.3.1") == 0
    wait_for(lambda: lines(a) == ["1.2.3.1"])
    one.wait_for_log(lambda line: line["event"] == "a hook failed" and line["hook"] == "stuck")
    reload(one, lambda data: data.update(hooks=[noting("a", b), noting("c", c)]))
    orphans = one.wait_for_log(lambda line: line["event"].startswith("jobs wait for a hook that is not configured"))
    assert (orphans["hook"], orphans["waiting"]) == ("stuck", 1)
    other = associate(one)
    assert store(other, "1.2.3.2") == 0
    wait_for(lambda: lines(b) == ["1.2.3.2"] == lines(c))
    assert store(client, "1.2.3.3") == 0, "an association goes on under what it began with: a and stuck"
    wait_for(lambda: lines(b) == ["1.2.3.2", "1.2.3.3"])
    assert lines(c) == ["1.2.3.2"]
    reload(one, lambda data: data.update(hooks=[noting("stuck", tmp_path / "d")]))
    wait_for(lambda: sorted(lines(tmp_path / "d")) == ["1.2.3.1", "1.2.3.3"])
    reload(one, lambda data: data.pop("hooks"))
    assert store(associate(one), "1.2.3.4") == 0


def test_the_first_hooks_may_come_with_a_reload(daemon, associate, store, wait_for, tmp_path):
    one = daemon()
    assert not (one.directory / ".queue").exists()
    reload(one, lambda data: data.update(hooks=[noting("a", tmp_path / "a")]))
    assert store(associate(one), "1.2.3.1") == 0
    wait_for(lambda: lines(tmp_path / "a") == ["1.2.3.1"])


def test_a_hook_that_cannot_be_built_fails_the_reload_and_the_old_one_goes_on(
    daemon, associate, store, wait_for, tmp_path
):
    one = daemon(hooks=[noting("a", tmp_path / "a")])
    bad = {
        "kind": "webhook",
        "name": "b",
        "on": "instance",
        "url": "https://x/",
        "secret": "s",
        "tls": {"ca": "/nowhere"},
    }
    line = reload(one, lambda data: data.update(hooks=[bad]))
    assert line["event"].startswith("reload failed")
    (fault,) = one.wait_for_logs(lambda line: line["event"] == "reload: a fault", 1)
    assert "hooks[0].tls.ca: /nowhere" in fault["fault"]
    assert store(associate(one), "1.2.3.1") == 0
    wait_for(lambda: lines(tmp_path / "a") == ["1.2.3.1"])


@pytest.fixture
def small(tmp_path):
    """A file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    can = os.geteuid() == 0 and shutil.which("mount")
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "scpd-test", str(folder)]
    if not can or subprocess.run(command, capture_output=True, check=False).returncode:
        if os.environ.get("CI"):
            pytest.fail("mounting a file system is not possible here, and in CI no fault may be missing")
        pytest.skip("mounting a file system is not possible here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_queue_on_a_full_disk_is_a700_and_the_association_lives(
    daemon, associate, store, echo, wait_for, tmp_path, small
):
    one = daemon(hooks=[noting("a", tmp_path / "a")], queue={"directory": str(small / "queue")})
    client = associate(one)
    assert store(client, "1.2.3.0") == 0
    wait_for(lambda: lines(tmp_path / "a") == ["1.2.3.0"])
    with suppress(OSError), (small / "ballast").open("wb") as ballast:
        while True:
            ballast.write(b"x" * 4096)
            ballast.flush()
    statuses = []
    while not statuses or statuses[-1] == 0:  # its log may have room left for some
        statuses.append(store(client, f"1.2.3.1.{len(statuses)}"))
        assert len(statuses) < 2000
    kept = statuses.count(0)
    assert statuses[-1] == OUT_OF_RESOURCES
    assert echo(client) == 0
    assert len(one.stored()) == 1 + kept, "what was refused is not there"
    (small / "ballast").unlink()
    assert store(client, "1.2.3.2") == 0
    client.release()
    expected = {"1.2.3.0", "1.2.3.2", *(f"1.2.3.1.{number}" for number in range(kept))}
    wait_for(lambda: set(lines(tmp_path / "a")) == expected)
    (line,) = one.associations()
    assert "C-STORE A700" in line["messages"]
    assert any("it cannot be handed over: queue.db cannot be written: " in problem for problem in line["problems"])


def test_a_queue_that_another_process_uses_is_a_fault(daemon, tmp_path):
    queue = {"directory": str(tmp_path / "queue")}
    daemon(hooks=[noting("a", tmp_path / "a")], queue=queue)
    two = daemon(hooks=[noting("a", tmp_path / "a")], queue=queue, ready=False)
    assert two.wait() == 78
    assert any("queue.directory" in line and "another process uses it" in line for line in two.lines)


def test_a_damaged_queue_is_a_fault_and_never_made_anew(daemon, tmp_path):
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "queue.db").write_bytes(b"x" * 5000)
    one = daemon(hooks=[noting("a", tmp_path / "a")], queue={"directory": str(tmp_path / "queue")}, ready=False)
    assert one.wait() == 78
    assert any("is damaged" in line for line in one.lines)


def test_no_hook_leaves_no_queue(daemon, associate, store):
    one = daemon()
    assert store(associate(one), "1.2.3.1") == 0
    assert not (one.directory / ".queue").exists()


# -- what the status page is told, and what a peer cannot do


@pytest.fixture
def hand_overs(tmp_path):
    """Made of hooks, one after the other as by reloads."""
    made: list[HandOvers] = []

    def make(*hooks: dict) -> HandOvers:
        path = tmp_path / "scpd.yaml"
        path.write_text(yaml.safe_dump({"storage": {"directory": str(tmp_path / "store")}, "hooks": list(hooks)}))
        config = load(path)
        made.append(HandOvers(config, made[-1] if made else None))
        made[-1].begin()
        made[-1].config = config
        return made[-1]

    yield make
    made[-1].close()


def stored(tmp_path, study: bytes = b"1.2", calling: str = "CT1") -> Stored:
    values = {0x0020000D: study, 0x0020000E: b"1.2.3\0"}
    path = str(tmp_path / "store" / "x.dcm")
    peer, written = Peer("10.0.0.1:1", calling, "A", "id"), Written(100, 1.0)
    return Stored(peer, "1.1", "1.2.3.4", "1.2.840.10008.1.2", values, "/s", path, written)


def test_standings_say_how_each_hook_stands(hand_overs, tmp_path, wait_for, monkeypatch):
    monkeypatch.setattr(watch_module, "_BETWEEN_LOOKS", 0.02)
    go_on = tmp_path / "go on"
    hooks = [
        program("fails", "echo no >&2; exit 4", attempts=1),
        program("hangs", 'until test -f "$1"; do sleep 0.05; done', go_on, concurrency=1),
        noting("study", tmp_path / "x", on="study", quiet="1h"),
    ]
    one = hand_overs(*hooks)
    desk = one.desk(one.config.servers[0])
    for _ in range(3):
        desk.promise(stored(tmp_path)).settle(holds=True)

    def standings():
        return {standing.name: standing for standing in one.standings()}

    wait_for(lambda: standings()["fails"].set_aside == 3 and standings()["hangs"].running == 1)
    fails, hangs, study = (standings()[name] for name in ("fails", "hangs", "study"))
    assert (fails.waiting, fails.running, fails.last_error) == (0, 0, "exit status 4: 'no'")
    assert (hangs.waiting, hangs.running, hangs.last_error, hangs.set_aside) == (2, 1, "", 0)
    assert 0.0 < hangs.oldest_waiting_seconds < PATIENCE
    assert (study.studies, study.waiting) == (1, 0)
    assert all(standing.is_configured for standing in standings().values())
    two = hand_overs(*hooks[1:])
    assert [(each.name, each.is_configured, each.set_aside) for each in two.standings()][-1] == ("fails", False, 3)
    go_on.write_text("")
    wait_for(lambda: "hangs" not in standings() or not standings()["hangs"].waiting)


def configuration(tmp_path, **more):
    path = tmp_path / "scpd.yaml"
    path.write_text(yaml.safe_dump({"storage": {"directory": str(tmp_path / "store")}, **more}))
    return load(path)


def is_free(directory) -> bool:
    """Whether nobody has the queue of a directory open."""
    try:
        Queue(directory).close(PATIENCE)
    except QueueError:
        return False
    return True


def test_what_is_discarded_leaves_the_queue_to_the_next(tmp_path):
    config = configuration(tmp_path, hooks=[noting("a", tmp_path / "a")])
    before = HandOvers(configuration(tmp_path))
    one = HandOvers(config, before)
    assert not is_free(tmp_path / "store" / ".queue")
    one.discard()
    assert is_free(tmp_path / "store" / ".queue")
    two = HandOvers(config, before)
    HandOvers(config, two).discard()
    assert not is_free(tmp_path / "store" / ".queue"), "what is in force goes on being used"
    two.close()


def test_parts_that_cannot_be_built_leave_no_queue_and_no_store_open(tmp_path):
    bind = "127.0.0.1:0"
    (tmp_path / "file").touch()
    servers = [
        {"name": "good", "bind": bind, "hooks": [noting("a", tmp_path / "a")]},
        {"name": "bad", "bind": bind, "storage": {"directory": str(tmp_path / "file")}},
    ]
    before = Parts(configuration(tmp_path))
    count = len(os.listdir("/proc/self/fd"))
    with suppress(ScpdError):
        Parts(configuration(tmp_path, servers=servers, queue={"directory": str(tmp_path / "queue")}), before)
    assert is_free(tmp_path / "queue")
    assert len(os.listdir("/proc/self/fd")) == count
    (kept,) = before.stores.values()
    assert kept.trouble() == ""
    before.close()


def test_the_queue_closes_once_no_hook_is_configured_and_no_association_needs_it(tmp_path, wait_for, monkeypatch):
    monkeypatch.setattr(watch_module, "_BETWEEN_LOOKS", 0.02)
    queue = tmp_path / "store" / ".queue"
    config = configuration(tmp_path, hooks=[noting("a", tmp_path / "a")])
    one = HandOvers(config)
    one.begin()
    desk = one.desk(config.servers[0])
    one = HandOvers(configuration(tmp_path), one)
    one.begin()
    assert (one.directory, one.trouble()) == (None, "")
    desk.promise(stored(tmp_path)).settle(holds=True)  # of an association that began before
    wait_for(lambda: [(each.name, each.is_configured, each.waiting) for each in one.standings()] == [("a", False, 1)])
    assert not is_free(queue)
    del desk
    wait_for(lambda: is_free(queue))
    assert one.standings() == []
    one = HandOvers(config, one)
    one.begin()
    wait_for(lambda: lines(tmp_path / "a") == ["1.2.3.4"])
    one.close()


def test_a_queue_that_is_named_stays_open_without_hooks(tmp_path, wait_for, monkeypatch):
    monkeypatch.setattr(watch_module, "_BETWEEN_LOOKS", 0.02)
    named, looks = {"directory": str(tmp_path / "queue")}, []
    one = HandOvers(configuration(tmp_path, queue=named, hooks=[noting("a", tmp_path / "a")]))
    one.begin()
    one = HandOvers(configuration(tmp_path, queue=named), one)
    one.begin()
    counted = Queue.standings
    monkeypatch.setattr(Queue, "standings", lambda queue: looks.append(queue) or counted(queue))
    wait_for(lambda: len(looks) > 2)
    assert not is_free(tmp_path / "queue")
    one.close()


def test_a_queue_that_does_not_answer_is_told_and_nobody_waits_for_it(tmp_path, wait_for, monkeypatch):
    monkeypatch.setattr(line_module, "STANDSTILL", 0.05)
    asked, answers = threading.Event(), threading.Event()
    counted = Queue.standings
    config = configuration(tmp_path, hooks=[noting("a", tmp_path / "a")])
    one = HandOvers(config)
    one.begin()
    wait_for(lambda: one.line.standings())
    monkeypatch.setattr(Queue, "standings", lambda queue: (asked.set(), answers.wait(PATIENCE), counted(queue))[-1])
    two = HandOvers(config, one)
    two.begin()
    assert asked.wait(PATIENCE)
    wait_for(lambda: "the queue has not answered for" in two.standings()[0].last_error)
    answers.set()
    wait_for(lambda: not two.standings()[0].last_error)
    two.close()


def test_an_association_is_still_handed_over_after_the_last_hook_has_gone(daemon, associate, store, wait_for, tmp_path):
    hook = noting("a", tmp_path / "a")
    one = daemon(hooks=[hook])
    client = associate(one)
    reload(one, lambda data: data.pop("hooks"))
    assert store(client, "1.2.3.1") == 0
    client.release()
    wait_for(lambda: is_free(one.directory / ".queue"))
    assert lines(tmp_path / "a") == []
    assert reload(one, lambda data: data.update(hooks=[hook]))["event"] == "reloaded"
    wait_for(lambda: lines(tmp_path / "a") == ["1.2.3.1"])


def test_what_a_peer_says_is_harmless_text_in_an_event(hand_overs, tmp_path, wait_for):
    out = tmp_path / "out"
    one = hand_overs(program("a", 'cat > "$1.part"; mv "$1.part" "$1"', out))
    desk = one.desk(one.config.servers[0])
    desk.promise(stored(tmp_path, b"1.2\n$(reboot)", "C\0T\n\x1b[1m\u2028")).settle(holds=True)
    wait_for(out.exists)
    event = json.loads(out.read_text())
    assert (event["study_instance_uid"], event["series_instance_uid"]) == ("", "1.2.3")
    assert event["calling"] == "C?T??[1m?"


# -- what scpd check says of them


def found(tmp_path, text: str) -> list[tuple[str, str]]:
    """Key and sentence of each fault."""
    path = tmp_path / "scpd.yaml"
    path.write_text(text)
    return [tuple(fault.split(": ", 2)[1:]) for fault in Surroundings(load(path)).faults]


FAULTS = {
    "a program that is not there": (
        "hooks: [{kind: exec, name: a, on: study, command: [/nowhere/x]}]",
        ("hooks[0].command", "/nowhere/x is not there"),
    ),
    "a program that cannot be executed": (
        "hooks: [{kind: exec, name: a, on: study, command: [/etc/passwd]}]",
        ("hooks[0].command", "/etc/passwd cannot be executed"),
    ),
    "a CA that is not there": (
        "hooks: [{kind: webhook, name: a, on: study, url: 'https://x', secret: s, tls: {ca: /nowhere}}]",
        ("hooks[0].tls.ca", "/nowhere"),
    ),
    "a name that stands twice": (
        "hooks: [&a {kind: exec, name: a, on: study, command: [/bin/true]}, *a]",
        ("hooks[1].name", "a is another hook of SCPD"),
    ),
    "a name that is another's on another server": (
        """
        servers:
          - {bind: '127.0.0.1:1', hooks: [{kind: exec, name: a, on: study, command: [/bin/true]}]}
          - {bind: '127.0.0.1:2', hooks: [{kind: exec, name: a, on: instance, command: [/bin/true]}]}
        """,
        ("hooks[0].name", "a is another hook of SCPD"),
    ),
    "a queue in a file": ("queue: {directory: /etc/hostname}", ("queue.directory", "/etc/hostname is not a directory")),
}


@pytest.mark.parametrize(("text", "fault"), FAULTS.values(), ids=FAULTS)
def test_what_is_wrong_around_hooks_is_a_fault_of_check(tmp_path, text, fault):
    ((key, what),) = found(tmp_path, text)
    assert (key, what[: len(fault[1])]) == fault


def test_an_entry_that_several_servers_inherit_is_one_hook(tmp_path):
    text = "hooks: [{kind: exec, name: a, on: study, command: [/bin/true]}]\n"
    assert found(tmp_path, text + "servers: [{bind: '127.0.0.1:1'}, {bind: '127.0.0.1:2'}]") == []
