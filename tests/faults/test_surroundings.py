"""A world around the daemon that is not as it should be: rights, names, directories, and disks that do not answer."""

from __future__ import annotations

import http.client
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import scpd
from scpd.daemon import watch as watch_module
from scpd.daemon.watch import STANDSTILL, Watch
from scpd.storage.store import Store, StorePolicy
from scpd.wire.pdu import AssociateAC

PATIENCE = 20.0
USER = 54_321
NO_RIGHTS = (
    "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs",
    "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all",
)  # fmt: skip


def is_quiet(one) -> bool:
    """Whether nothing in the log is a fault of scpd itself."""
    return not [line for line in one.lines if "Traceback" in line or '"association failed"' in line]


# -- a user who may do nothing


@pytest.fixture(scope="session")
def namespace(possible) -> None:
    can = os.geteuid() == 0 and shutil.which("setpriv")
    mounts = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
    possible(can and mounts, "a mount namespace, and another user in it")


def _visible(paths: tuple[Path, ...], hold: Path) -> list[str]:
    """Commands that let everybody reach ``paths``: folders above them that are root's alone get another face."""
    closed = {path: next((one for one in reversed(path.parents) if not one.stat().st_mode & 1), None) for path in paths}
    lines = []
    for number, path in enumerate(closed):
        (hold / str(number)).mkdir()
        lines.append(f"mount --bind {shlex.quote(str(path))} {hold}/{number}")
    lines += [f"mount -t tmpfs -o mode=755 scpd-test {shlex.quote(str(one))}" for one in {*closed.values()} - {None}]
    for number, (path, one) in enumerate(closed.items()):
        quoted = shlex.quote(str(path))
        lines.append(f"mkdir -p {quoted}; mount --move {hold}/{number} {quoted}" if one else f"umount {hold}/{number}")
    return lines


# Python and this checkout, with its virtual environment where that is within it.
CHECKOUT = Path(scpd.__file__).parents[1]
PROGRAM = tuple(dict.fromkeys((Path(sys.base_prefix), CHECKOUT)))
if not Path(sys.prefix).is_relative_to(CHECKOUT):
    PROGRAM = tuple(dict.fromkeys((*PROGRAM, Path(sys.prefix))))


@pytest.fixture
def as_nobody(namespace, tmp_path):
    """What goes before a command that a user without any right is to run; ``more`` are commands of root's before it."""
    os.chown(tmp_path, USER, USER)
    with tempfile.TemporaryDirectory(prefix="scpd-faults-") as hold:

        def wrap(*more: str) -> tuple[str, ...]:
            lines = ["set -e", *_visible((*PROGRAM, tmp_path), Path(hold)), *more]
            return ("unshare", "--mount", "sh", "-c", "\n".join([*lines, 'exec "$@"']), "sh", *NO_RIGHTS)

        yield wrap


def test_a_privileged_port_as_a_user_is_1_and_a_sentence(daemon, as_nobody, possible):
    first = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    possible(first.exists() and int(first.read_text()) > 104, "a port that is root's alone")
    one = daemon(wrap=as_nobody(), bind="127.0.0.1:104", ready=False)
    assert one.wait() == 1
    assert one.lines[-1] == "scpd: cannot listen on 127.0.0.1:104: Permission denied"
    assert is_quiet(one)


def test_a_file_that_the_daemons_user_may_not_read_any_more_changes_nothing(daemon, as_nobody, associate, store, load):
    one = daemon(wrap=as_nobody())
    with load(one):
        client = associate(one)
        one.config.chmod(0o600)
        assert one.reload()["event"].startswith("reload failed")
        (line,) = [line for line in one.logs if line["event"] == "reload: a fault"]
        assert line["fault"] == f"{one.config}: cannot be read (Permission denied); name a file scpd may read"
        assert store(client, "1.2.3.4") == 0
        one.config.chmod(0o644)
        assert one.reload()["event"] == "reloaded"
    assert is_quiet(one)


def test_it_needs_nothing_but_the_storage_directory(daemon, as_nobody, associate, store, load, tmp_path):
    """A root that is read-only, no place for temporary files, a user without name or rights."""
    directory = tmp_path / "store"
    directory.mkdir()
    os.chown(directory, USER, USER)
    kept = shlex.quote(str(directory))
    read_only = f"""mount --bind {kept} {kept}
        while read -r _ at _; do
            [ "$at" = {kept} ] || mount -o remount,bind,ro "$at" 2>/dev/null || true
        done </proc/self/mounts"""
    one = daemon(wrap=as_nobody(read_only), storage={"directory": str(directory)}, timeouts={"shutdown": "1s"})
    with load(one):
        client = associate(one)
        inside = ["nsenter", "-t", str(one.pid), "--mount", "touch"]
        for folder in ("/tmp", "/var/tmp", "/dev/shm", str(tmp_path)):
            touched = subprocess.run([*inside, f"{folder}/x"], capture_output=True, text=True, check=False)
            assert "Read-only file system" in touched.stderr, "the world is not as this test needs it"
        status = Path(f"/proc/{one.pid}/status").read_text()
        assert f"Uid:\t{USER}\t{USER}\t{USER}" in status
        assert "CapEff:\t0000000000000000" in status
        assert store(client, "1.2.3.4") == 0
        assert one.reload()["event"] == "reloaded"
        client.release()
    assert len(one.stored()) == 1
    assert one.stop() == 0
    assert is_quiet(one)


# -- where it was started, and as what


@contextmanager
def started_in_a_folder_that_is_gone(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    yield ("sh", "-c", 'cd "$0" && rmdir "$0" && exec "$@"', str(folder))


def test_a_working_directory_that_is_removed_is_not_needed(daemon, associate, store, tmp_path):
    with started_in_a_folder_that_is_gone(tmp_path) as wrap:
        one = daemon(wrap=wrap)
    client = associate(one)
    assert os.readlink(f"/proc/{one.pid}/cwd").endswith("(deleted)")
    assert store(client, "1.2.3.4") == 0
    assert one.reload()["event"] == "reloaded"
    client.release()
    assert one.stop() == 0
    assert is_quiet(one)


def test_a_relative_directory_below_one_that_is_removed_is_a_sentence(daemon, tmp_path):
    with started_in_a_folder_that_is_gone(tmp_path) as wrap:
        one = daemon(wrap=wrap, storage={"directory": "store"}, ready=False)
    assert one.wait() in (1, 78)
    assert "storage.directory" in one.lines[-1]
    assert is_quiet(one)


LOCALES = {
    "POSIX": ("LC_ALL=POSIX",),
    "C": ("LANG=C",),
    "nothing": (),
    "plain ASCII": ("LC_ALL=C", "PYTHONUTF8=0", "PYTHONCOERCECLOCALE=0"),
}


@pytest.mark.parametrize("locale", [*LOCALES][:-1])
def test_an_empty_environment_and_names_that_are_not_ascii(daemon, associate, store, tmp_path, locale):
    directory = tmp_path / "Röntgen 画像"
    wrap = ("env", "-i", f"PATH={os.environ['PATH']}", *LOCALES[locale])
    one = daemon(wrap=wrap, servers=[{"name": "Röntgen", "bind": "127.0.0.1:0"}], storage={"directory": str(directory)})
    client = associate(one)
    assert store(client, "1.2.3.4") == 0
    one.config.write_text("ae_title: SCPD\nRöntgen: 画像\n", encoding="utf-8")
    assert one.reload()["faults"] == 1
    (line,) = [line for line in one.logs if line["event"] == "reload: a fault"]
    assert line["fault"].startswith(f"{one.config}:2: ")
    client.release()
    assert one.stop() == 0
    assert [path.name for path in one.stored()] == ["1.2.3.4.dcm"]
    assert is_quiet(one)


def test_a_directory_that_the_locale_has_no_letters_for_is_a_fault_with_its_line(daemon, tmp_path):
    wrap = ("env", *LOCALES["plain ASCII"])
    one = daemon(wrap=wrap, storage={"directory": str(tmp_path / "Röntgen")}, ready=False)
    assert one.wait() == 78
    assert "storage.directory: " in one.lines[-1]


@pytest.mark.parametrize("locale", LOCALES)
def test_a_fault_at_the_start_that_is_not_ascii_is_told_all_the_same(tmp_path, locale):
    config = tmp_path / "scpd.yaml"
    config.write_text("ae_title: SCPD\nRöntgen: 画像\n", encoding="utf-8")
    command = ["env", "-i", *LOCALES[locale], sys.executable, "-m", "scpd", "run", str(config)]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False, cwd=tmp_path)
    assert done.returncode == 78
    assert f"{config}:2: ".encode() in done.stderr
    assert b"Traceback" not in done.stderr


# -- the port, and the name server


def test_a_second_start_of_the_same_file_ends_at_once_and_the_first_feels_nothing(
    daemon, associate, begin_store, wait_for, load, free_port, tmp_path
):
    settings = {"bind": f"127.0.0.1:{free_port}", "storage": {"directory": str(tmp_path / "store")}}
    first = daemon(**settings)
    with load(first):
        client = associate(first)
        go_on = begin_store(client, "1.2.3.4")
        wait_for(first.spool)
        second = daemon(**settings, ready=False)
        assert second.wait() == 1
        assert second.lines[-1] == f"scpd: cannot listen on 127.0.0.1:{free_port}: Address already in use"
        assert len(first.spool()) == 1
        go_on()
        assert client.receive_command().status == 0


@pytest.fixture
def dead_name_server(namespace, possible, tmp_path):
    """What goes before a command that is to have no other name server than this socket, which never answers."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server:
        server.settimeout(PATIENCE)
        try:
            server.bind(("127.0.53.53", 53))
        except OSError as error:
            possible(False, f"a name server of the test's own ({error.strerror})")
        resolv = tmp_path / "resolv.conf"
        resolv.write_text("nameserver 127.0.53.53\noptions timeout:5 attempts:2\n")
        names = tmp_path / "nsswitch.conf"
        names.write_text("hosts: files dns\n")
        lines = f"mount --bind {resolv} $(realpath /etc/resolv.conf); mount --bind {names} /etc/nsswitch.conf"
        yield server, ("unshare", "--mount", "sh", "-c", f'set -e; {lines}; exec "$@"', "sh")


def test_no_name_is_looked_up_for_a_connection(daemon, dead_name_server, associate, connect, echo, store, load):
    """Nor at the start, where no name is configured: somebody who listens for questions hears none."""
    server, wrap = dead_name_server
    asking = [*wrap, sys.executable, "-c", "import socket; socket.getaddrinfo('pacs.example', 104)"]
    lost = subprocess.Popen(asking, stderr=subprocess.DEVNULL)
    try:
        assert b"\x04pacs\x07example" in server.recv(512), "the world is not as this test needs it"
    finally:
        lost.kill()
        lost.wait()
    server.setblocking(False)
    with suppress(BlockingIOError):  # the same question once more, for IPv6
        while server.recv(512):
            pass
    began = time.monotonic()
    one = daemon(wrap=wrap, admin={"bind": "127.0.0.1:0"}, access=[{"allow": {"address": "127.0.0.0/8"}}])
    assert time.monotonic() - began < PATIENCE / 2
    with load(one):
        began = time.monotonic()
        client = associate(one)
        assert echo(client) == 0
        assert time.monotonic() - began < 1
        assert store(client, "1.2.3.4") == 0
        assert ready(one)[0] == 200
        client.release()
        assert one.associations()[0]["ended"] == "released"
    with pytest.raises(BlockingIOError):
        server.recv(512)


# -- the storage directory


def test_a_link_as_the_storage_directory_may_be_followed_but_not_be_moved(daemon, associate, store, load, tmp_path):
    """Who turns it elsewhere under a running daemon gets A700, not instances in two places."""
    link = tmp_path / "link"
    (tmp_path / "disk").mkdir()
    (tmp_path / "other").mkdir()
    link.symlink_to(tmp_path / "disk")
    one = daemon(storage={"directory": str(link)})
    with load(one):
        client = associate(one)
        assert store(client, "1.2.3.1") == 0
        link.unlink()
        link.symlink_to(tmp_path / "other")
        deadline = time.monotonic() + 3
        while (status := store(client, "1.2.3.2")) == 0:
            assert time.monotonic() < deadline, "nobody noticed"
        assert status == 0xA700
        assert list((tmp_path / "other").iterdir()) == []
        link.unlink()
        link.symlink_to(tmp_path / "disk")
        assert store(client, "1.2.3.3") == 0
    assert {path.stem for path in (tmp_path / "disk").rglob("*.dcm")} >= {"1.2.3.1", "1.2.3.3"}
    assert is_quiet(one)


@pytest.mark.parametrize(
    "what",
    ["a directory", "a link to a directory", "a FIFO", "a name that is not UTF-8"],
)
def test_what_does_not_belong_into_the_spool_neither_stops_the_start_nor_is_followed(
    daemon, associate, store, tmp_path, what
):
    spool = tmp_path / "store" / ".incoming"
    spool.mkdir(parents=True)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("precious")
    if what == "a directory":
        (spool / "lost+found").mkdir()
        (spool / "lost+found" / "file").write_text("precious")
    elif what == "a link to a directory":
        (spool / "link").symlink_to(precious)
    elif what == "a FIFO":
        os.mkfifo(spool / "fifo")
    else:
        Path(os.fsdecode(bytes(spool) + b"/\xff\xfe\n\x1b[2J")).write_text("")
    one = daemon(storage={"directory": str(tmp_path / "store")})
    assert store(associate(one), "1.2.3.4") == 0
    assert (precious / "file").read_text() == "precious"
    assert all("\x1b" not in line for line in one.lines)


def test_two_daemons_on_one_directory_and_one_of_them_dies(daemon, associate, begin_store, store, is_whole, wait_for):
    """The same instances through both; what the one had on its way goes when the directory is somebody's alone again."""
    one = daemon(storage={"duplicates": "keep"})
    directory = {"directory": str(one.directory), "duplicates": "keep"}
    other = daemon(storage=directory)
    clients = [associate(one), associate(other)]
    statuses: list[int] = []

    def send(client) -> None:
        statuses.extend(store(client, f"1.2.3.{number}", 20_000) for number in range(30))

    threads = [threading.Thread(target=send, args=(client,), daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert statuses == [0] * 60
    begin_store(clients[0], "1.2.4.1")
    go_on = begin_store(clients[1], "1.2.4.2")
    wait_for(lambda: len(one.spool()) == 2)
    one.send_signal(signal.SIGKILL)
    one.wait()
    third = daemon(storage=directory)
    assert len(third.spool()) == 2, "nothing is swept from under the hands of another"
    go_on()
    assert clients[1].receive_command().status == 0
    clients[1].release()
    assert other.stop() == third.stop() == 0
    last = daemon(storage=directory)
    line = last.wait_for_log(lambda line: line["event"] == "leftovers of a crash removed")
    assert line["count"] == 1
    assert sorted(path.stem for path in last.stored()) == sorted(
        ["1.2.4.2", *(f"1.2.3.{number}" for number in range(30))]
    )
    assert all(is_whole(path, path.stem, 20_000) for path in last.stored() if path.stem.startswith("1.2.3."))


# -- disks that do not answer


def ready(one) -> tuple[int, str]:
    """What /ready of the admin endpoint says."""
    line = one.wait_for_log(lambda line: line["event"] == "admin endpoint")
    connection = http.client.HTTPConnection("127.0.0.1", int(line["address"].rpartition(":")[2]), timeout=5)
    try:
        connection.request("GET", "/ready")
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class Frozen:
    """A file system that can be frozen: who writes waits, and cannot even be killed.

    It is another process that freezes it and thaws it again, also when this one is gone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._thawing: subprocess.Popen | None = None

    def freeze(self) -> None:
        script = 'trap "" INT; fsfreeze -f "$0" && echo; read -r _; fsfreeze -u "$0"'
        pipe = subprocess.PIPE
        self._thawing = subprocess.Popen(["sh", "-c", script, str(self.folder)], stdin=pipe, stdout=pipe)
        assert self._thawing.stdout.readline() == b"\n"

    def thaw(self) -> None:
        if self._thawing:
            self._thawing.communicate(timeout=PATIENCE)
            assert self._thawing.returncode == 0
            self._thawing = None


@pytest.fixture
def disk(possible, tmp_path, daemon, wait_for):
    """A small ext4 of the test's own. It is thawed before any daemon is ended, which would be waited for in vain."""
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 20)
    makes = (["mkfs.ext4", "-q", str(image)], ["mount", "-o", "loop", str(image), str(folder)])
    tools = shutil.which("mkfs.ext4") and shutil.which("fsfreeze")
    made = tools and all(subprocess.run(one, capture_output=True, check=False).returncode == 0 for one in makes)
    possible(made, "a file system of the test's own that can be frozen")
    one = Frozen(folder)
    try:
        yield one
    finally:
        one.thaw()
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def unanswered(one, possible):
    """A file system over the storage directory, in the daemon's own world, that never answers anything (FUSE)."""
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        possible(False, f"a file system that does not answer ({error.strerror})")
    how = f"fd={device},rootmode=40000,user_id=0,group_id=0"
    inside = ["nsenter", "-t", str(one.pid), "--mount"]
    mount = [*inside, "mount", "-i", "-t", "fuse", "-o", how, "scpd-test", str(one.directory)]
    try:
        subprocess.run(mount, pass_fds=[device], check=True)
        yield
        subprocess.run([*inside, "umount", "-l", str(one.directory)], check=True)
    finally:
        os.close(device)  # whoever waits is told ENOTCONN


def test_a_disk_that_hangs_keeps_those_who_store_waiting_and_nobody_else(
    disk, daemon, associate, begin_store, connect, load, wait_for, is_whole
):
    """Writes to it go on as if nothing had been once it answers again."""
    store = {"directory": str(disk.folder / "store")}
    one = daemon(storage=store, admin={"bind": "127.0.0.1:0"}, timeouts={"shutdown": "1s"})
    with load(one):
        client, other = associate(one), associate(one)
        go_on = begin_store(client, "1.2.3.1")
        wait_for(one.spool)
        disk.freeze()
        go_on()
        begin_store(other, "1.2.3.2")()
        for waiting in (client, other):
            with pytest.raises(TimeoutError):
                waiting.receive(0.7)
        began = time.monotonic()
        assert isinstance(connect(one.port).associate(), AssociateAC)
        assert ready(one)[0] in (200, 503)
        one.send_signal(signal.SIGUSR1)
        one.wait_for_log(lambda line: line["event"] == "state", 5)
        assert one.reload()["event"] == "reloaded"
        assert time.monotonic() - began < 5
        disk.thaw()
        for waiting in (client, other):
            assert waiting.receive_command().status == 0
            waiting.release()
    assert sorted(path.stem for path in one.stored() if path.suffix == ".dcm") == ["1.2.3.1", "1.2.3.2"]
    assert all(is_whole(path, path.stem, 100_000) for path in one.stored() if path.suffix == ".dcm")
    assert one.stop() == 0
    assert is_quiet(one)


@pytest.mark.slow
def test_after_a_standstill_ready_says_why_and_it_recovers_by_itself(
    daemon, namespace, associate, begin_store, store, possible, wait_for, load
):
    """Waits for the standstill in real time, which nobody can configure: more than half a minute."""
    one = daemon(wrap=("unshare", "--mount"), admin={"bind": "127.0.0.1:0"}, timeouts={"shutdown": "1s"})
    with load(one):
        client = associate(one)
        assert store(client, "1.2.3.1") == 0
        assert ready(one)[0] == 200
        with unanswered(one, possible):
            with pytest.raises(TimeoutError):
                for number in range(100_000):  # a directory that was looked at just now is not looked at again
                    begin_store(client, f"1.2.4.{number}")()
                    client.receive(0.5)
            began = time.monotonic()
            wait_for(lambda: ready(one)[0] == 503, "/ready that says no", STANDSTILL + 15)
            status, text = ready(one)
            assert time.monotonic() - began > STANDSTILL / 2
            assert "has not answered for" in text
            assert str(one.directory) in text
            one.wait_for_log(lambda line: line["event"] == "not ready" and "has not answered" in line["why"], 10)
        assert client.receive_command().status in (0, 0xA700)
        assert store(client, "1.2.3.2") == 0
        wait_for(lambda: ready(one)[0] == 200, "/ready that says yes")
        one.wait_for_log(lambda line: line["event"] == "ready again")
    assert one.stop() == 0
    assert {path.stem for path in one.stored()} >= {"1.2.3.1", "1.2.3.2"}
    assert is_quiet(one)


@pytest.mark.parametrize("where", ["begin", "write", "commit"])
def test_an_instance_that_hangs_anywhere_on_its_way_to_the_disk_is_seen(disk, monkeypatch, wait_for, where):
    """A frozen disk may answer whoever looks at it, so the look alone does not tell."""
    monkeypatch.setattr(watch_module, "_BETWEEN_LOOKS", 0.02)
    monkeypatch.setattr(watch_module, "STANDSTILL", 0.2)
    store, watch = Store(disk.folder / "store", StorePolicy()), Watch()
    watch.keep([store])
    wait_for(lambda: watch.sight(store).space)
    steps = {
        "begin": lambda: held.append(store.begin(b"header")),
        "write": lambda: held[0].write([memoryview(b"data")]),
        "commit": lambda: held[0].commit(["1.dcm"]),
    }
    held: list = []
    for step, take in steps.items():
        if step == where:
            break
        take()
    disk.freeze()
    hanging = threading.Thread(target=steps[where], daemon=True)
    hanging.start()
    try:
        wait_for(lambda: watch.sight(store).trouble or not hanging.is_alive(), "trouble", 2)
        assert hanging.is_alive(), "it did not hang: the world is not as this test needs it"
    finally:
        disk.thaw()
        hanging.join(PATIENCE)
        watch.close()
    for incoming in held:
        incoming.abandon()
    store.close()
