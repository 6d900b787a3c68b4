"""What a review of the running daemon found; a test that begins to pass loses its mark and stays."""

from __future__ import annotations

import ctypes
import http.client
import io
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from contextlib import suppress

import pytest
import yaml
from components.authority import Authority
from prometheus_client.parser import text_string_to_metric_families as parse

from scpd.cli.main import main
from scpd.config import load
from scpd.daemon import watch as watch_module
from scpd.daemon.build import Parts
from scpd.daemon.fleet import Fleet
from scpd.daemon.overview import Overview, Situation
from scpd.daemon.pulse import Pulse
from scpd.daemon.signals import Signals
from scpd.daemon.systemd import Notifier
from scpd.daemon.watch import Watch
from scpd.errors import StoreError
from scpd.forward.queue import Queue
from scpd.storage.store import Store, StorePolicy
from scpd.telemetry import logs
from scpd.telemetry.sink import Sink
from scpd.wire.pdu import AssociateAC, ReleaseRP, ReleaseRQ

PATIENCE = 20.0
TOKEN = "a-token-of-this-test"
BAD_CONFIGURATION = 78
IMPLICIT = "1.2.840.10008.1.2"
HOOKS = [{"kind": "exec", "name": "note", "on": "instance", "command": ["/bin/true"]}]


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def samples(port: int) -> list[tuple[str, float]]:
    """Each sample of the metrics: its name with its labels, and its value."""
    families = parse(ask(port, "/metrics")[1])
    return [(f"{one.name} {sorted(one.labels.items())}", one.value) for family in families for one in family.samples]


def twice(port: int) -> list[str]:
    """The series that stand more than once in the metrics."""
    return [series for series, count in Counter(name for name, _ in samples(port)).items() if count > 1]


def reload(one, **changes) -> str:
    """Change keys of the daemon's file, None takes one away, and have it read; the event that tells of it."""
    settings = {**yaml.safe_load(one.config.read_text()), **changes}
    one.config.write_text(yaml.safe_dump({key: value for key, value in settings.items() if value is not None}))
    return one.reload()["event"]


def descriptors(one) -> int:
    return len(os.listdir(f"/proc/{one.pid}/fd"))


def comes(condition, seconds: float) -> bool:
    """Whether a condition that nobody tells of holds within some seconds."""
    deadline, gap = time.monotonic() + seconds, threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            return False
        gap.wait(0.01)
    return True


def ends(one, seconds: float) -> bool:
    with suppress(subprocess.TimeoutExpired):
        one.wait(seconds)
    return one.process.poll() is not None


def addresses(count: int) -> list[str]:
    """Addresses that nobody listens on just now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return [f"127.0.0.1:{port}" for port in ports]


@pytest.fixture
def administered(daemon):
    """A daemon with an admin endpoint, and the port of that."""

    def start(**overrides):
        one = daemon(admin={"bind": "127.0.0.1:0", "token": TOKEN}, **overrides)
        line = one.wait_for_log(lambda line: line["event"] == "admin endpoint")
        return one, int(line["address"].rpartition(":")[2])

    return start


@pytest.fixture
def hang():
    """Have a file system that answers nothing at all stand over a directory."""
    libc, mounted = ctypes.CDLL(None, use_errno=True), []

    def mount(folder) -> None:
        try:
            server = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            pytest.skip(f"a file system that hangs is not possible here: {error.strerror}")
        mounted.append((os.fsencode(folder), server))
        options = f"fd={server},rootmode=40000,user_id=0,group_id=0"
        if libc.mount(b"hung", os.fsencode(folder), b"fuse", 0, options.encode()):
            pytest.skip(f"a file system that hangs is not possible here: {os.strerror(ctypes.get_errno())}")

    yield mount
    for folder, server in mounted:
        os.close(server)  # whoever waits for it gets an error
        libc.umount2(folder, 2)


# -- what ends or stops the daemon


@pytest.mark.parametrize("key", ["servers", "admin"])
def test_a_reload_that_gets_no_descriptor_changes_nothing(daemon, connect, key):
    one, bind = daemon(), {"bind": "127.0.0.1:0"}
    more = {"servers": [bind, {"name": "new", **bind}], "admin": bind}
    before = descriptors(one)
    _, hard = resource.prlimit(one.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(one.pid, resource.RLIMIT_NOFILE, (before + 2, hard))
    assert reload(one, **{key: more[key]}).startswith("reload failed")
    assert descriptors(one) == before
    resource.prlimit(one.pid, resource.RLIMIT_NOFILE, (hard, hard))
    assert isinstance(connect(one.port).associate(), AssociateAC)


def test_sigterm_is_heard_while_a_reload_waits_for_a_file_system(daemon, hang, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE)
        one = daemon(env={"NOTIFY_SOCKET": str(tmp_path / "notify")}, timeouts={"shutdown": "100ms"})
        hang(one.directory)
        one.send_signal(signal.SIGHUP)
        assert any(b"RELOADING=1" in told for told in iter(lambda: systemd.recv(4096), b""))
        one.send_signal(signal.SIGTERM)
        assert ends(one, 5)


def test_no_number_of_other_signals_takes_the_place_of_sigterm():
    numbers = (signal.SIGHUP, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    signals = Signals(numbers)
    try:
        for _ in range(5000):
            signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)
        assert signal.SIGTERM in iter(lambda: signals.next(0.1), None)
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_beat_does_not_wait_for_the_queue_of_hooks(tmp_path, monkeypatch):
    path = tmp_path / "scpd.yaml"
    path.write_text(yaml.safe_dump({"storage": {"directory": str(tmp_path / "store"), "reserve": 0}, "hooks": HOOKS}))
    config = load(path)
    parts, asked, answers = Parts(config), threading.Event(), threading.Event()
    situation = Situation(config, parts, Fleet(), Sink(io.StringIO(), str), state="serving")
    pulse = Pulse(situation, Overview(situation, None), Notifier({}), 0.01, logs.logger("daemon"))
    monkeypatch.setattr(Queue, "standings", lambda _: (asked.set(), answers.wait(PATIENCE), {})[-1])
    parts.begin()
    assert comes(lambda: asked.is_set() and not pulse.patience(), PATIENCE)
    beating = threading.Thread(target=pulse.beat, daemon=True)
    beating.start()
    beating.join(2)
    waits = beating.is_alive()
    answers.set()
    beating.join(PATIENCE)
    parts.close()
    assert not waits


# -- what a reload leaves behind


def test_a_reload_to_a_directory_that_cannot_be_used_costs_no_descriptor(daemon, tmp_path):
    one = daemon()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / ".incoming").touch()
    before = descriptors(one)
    for _ in range(5):
        assert reload(one, storage={"directory": str(tmp_path / "bad")}).startswith("reload failed")
    assert descriptors(one) == before


def test_a_reload_that_failed_leaves_no_queue_open_and_the_next_may_name_another(daemon, tmp_path):
    one = daemon()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        servers = [{"bind": "127.0.0.1:0"}, {"name": "new", "bind": f"127.0.0.1:{taken.getsockname()[1]}"}]
        queue = {"directory": str(tmp_path / "first")}
        assert reload(one, hooks=HOOKS, queue=queue, servers=servers).startswith("reload failed")
    assert reload(one, queue={"directory": str(tmp_path / "second")}, servers=None) == "reloaded"
    assert (tmp_path / "second" / "queue.db").exists()


def test_a_broken_queue_is_no_part_of_readiness_once_no_server_has_hooks(
    administered, connect, contexts, store, tmp_path
):
    one, port = administered(hooks=HOOKS, queue={"directory": str(tmp_path / "queue")})
    (tmp_path / "queue" / "queue.db").rename(tmp_path / "away.db")
    client = connect(one.port)
    client.associate(contexts)
    refused = store(client, "1.2.1")
    assert (refused, ask(port, "/ready")[0]) == (0xA700, 503)
    assert reload(one, hooks=None, queue=None) == "reloaded"
    assert ask(port, "/ready")[0] == 200


# -- readiness


@pytest.fixture
def watch(monkeypatch):
    monkeypatch.setattr(watch_module, "_BETWEEN_LOOKS", 0.02)
    monkeypatch.setattr(watch_module, "STANDSTILL", 1.0)
    watch = Watch()
    yield watch
    watch.close()


def test_a_store_that_hangs_says_nothing_of_the_others(tmp_path, watch, monkeypatch):
    hung, good = (Store(tmp_path / name, StorePolicy()) for name in ("hung", "good"))
    answers = threading.Event()
    monkeypatch.setattr(hung, "trouble", lambda: answers.wait(PATIENCE) and "")
    watch.keep([good, hung])
    assert comes(lambda: "has not answered" in watch.sight(hung).trouble, PATIENCE)
    others = watch.sight(good).trouble
    watch.keep([good])  # a reload took the other away
    is_well_again = comes(lambda: not watch.sight(good).trouble, 1)
    answers.set()
    for store in (hung, good):
        store.close()
    assert others == ""
    assert is_well_again


@pytest.mark.parametrize("fault", ["read-only", "no spool"])
def test_a_store_that_refuses_every_instance_is_in_trouble(tmp_path, watch, fault):
    mounted = fault == "read-only"
    if mounted and subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], check=False).returncode:
        pytest.skip("mounting is not possible here")
    store = Store(tmp_path / "store", StorePolicy())
    try:
        watch.keep([store])
        if mounted:
            subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        else:
            spool = store.directory / ".incoming"  # in which the watch may be trying a file this very moment
            assert comes(lambda: shutil.rmtree(spool, ignore_errors=True) or not spool.exists(), 2)
        with pytest.raises(StoreError):
            store.begin(b"")
        assert comes(lambda: watch.sight(store).trouble, 2)
    finally:
        store.close()
        if mounted:
            subprocess.run(["umount", "--lazy", tmp_path], check=True)


# -- metrics


def test_servers_that_share_a_directory_under_other_rules_give_no_series_twice(administered):
    bind, keep = "127.0.0.1:0", {"duplicates": "keep"}
    _, port = administered(servers=[{"name": "a", "bind": bind}, {"name": "b", "bind": bind, "storage": keep}])
    assert twice(port) == []


def test_a_server_that_leaves_twice_gives_no_series_twice(administered, connect):
    (bind,) = addresses(1)
    stays, goes = {"name": "stays", "bind": "127.0.0.1:0"}, {"name": "goes", "bind": bind}
    one, port = administered(servers=[stays, goes])
    for _ in range(2):
        assert isinstance(connect(int(bind.rpartition(":")[2])).associate(), AssociateAC)
        assert reload(one, servers=[stays]) == "reloaded"
        assert reload(one, servers=[stays, goes]) == "reloaded"
    assert twice(port) == []
    servers = json.loads(ask(port, "/status.json")[1])["servers"]
    assert [(each["name"], each["associations"], len(each["live"])) for each in servers] == [
        ("stays", 0, 0),
        ("goes", 2, 2),
    ]


def test_two_uids_that_look_alike_when_escaped_give_no_series_twice(administered, connect):
    one, port = administered()
    strange = {1: ("1.2\x01", (IMPLICIT,)), 3: ("1.2\\x01", (IMPLICIT,))}
    assert isinstance(connect(one.port).associate(strange), AssociateAC)
    assert twice(port) == []


def test_a_uid_of_thousands_of_characters_makes_no_label_of_that_length(administered, connect):
    one, port = administered()
    assert isinstance(connect(one.port).associate({1: (f"1.2.{'9' * 30_000}", (IMPLICIT,))}), AssociateAC)
    assert max(len(name) for name, _ in samples(port)) < 1000


def test_servers_that_change_their_addresses_keep_their_counts(administered, connect):
    first, second = addresses(2)
    one, port = administered(servers=[{"name": "a", "bind": first}, {"name": "b", "bind": second}])
    client = connect(int(first.rpartition(":")[2]))
    client.associate()
    client.release()
    one.associations(1)

    def received() -> dict[str, float]:
        return {name: value for name, value in samples(port) if name.startswith("scpd_received_bytes_total")}

    before = received()
    assert reload(one, servers=[{"name": "b", "bind": first}, {"name": "a", "bind": second}]) == "reloaded"
    assert received() == before


# -- the admin endpoint


def test_an_association_that_was_released_is_not_listed_and_cannot_be_aborted(administered, connect):
    one, port = administered(timeouts={"artim": "20s"})
    client = connect(one.port)
    client.associate()
    client.send(ReleaseRQ().encode())
    assert isinstance(client.receive(), ReleaseRP)
    (line,) = one.associations(1)
    assert json.loads(ask(port, "/status.json")[1])["servers"][0]["live"] == []
    assert ask(port, f"/associations/{line['id']}/abort", "POST", Authorization=f"Bearer {TOKEN}")[0] == 404


def test_an_origin_that_is_none_is_refused_and_no_fault_of_scpd(administered):
    one, port = administered()
    status, _ = ask(port, "/drain", "POST", Origin="http://[")
    assert status in (400, 403)
    assert not any(line["event"] == "admin endpoint failed" for line in one.logs)


# -- the start


def test_two_audit_destinations_of_one_address_are_a_fault_with_its_line(daemon, tmp_path, capsys):
    (tmp_path / "ca").mkdir()
    tls = {"ca": str(Authority(tmp_path / "ca").certificate)}
    ways = [{"kind": "syslog-tls", "address": "127.0.0.1:9", "tls": each} for each in (tls, {**tls, "name": "x"})]
    one = daemon(ready=False, audit={"destinations": ways})
    assert one.wait() == BAD_CONFIGURATION
    assert not any("Traceback" in line for line in one.lines)
    assert main(["check", str(one.config)]) == BAD_CONFIGURATION
    assert "audit.destinations[1]" in capsys.readouterr().out
