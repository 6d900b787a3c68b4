"""The index under every fault that a database may have: nothing that was acknowledged is lost, whatever it is kept in.

``required`` refuses with A700 what cannot be written down, ``deferred`` takes it and catches up; queries fail with a
status, readiness says so, nobody else feels it, and it comes back by itself: then files and rows agree.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import signal
import sqlite3
import struct
import threading
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import yaml
from components.postgres import Postgres
from pydicom import dcmread

from scpd.dimse import codec
from scpd.dimse.command import CFindRQ, CStoreRQ
from scpd.index.attributes import Keeping
from scpd.index.differences import differences
from scpd.index.index import Index
from scpd.index.register import Register
from scpd.wire.pdu import DataTF
from tests.conftest import RawClient

PATIENCE = 20.0
VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
IMPLICIT = "1.2.840.10008.1.2"
SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
PENDING = 0xFF00
# What a sender waits for the answer to a C-STORE at most, where the database is in trouble for a while already.
AT_ONCE = 2.0
# Until the trouble is known: somebody has to wait for it once.
NOTICED = 15.0
SERVED = ["verification", {"sop_classes": "storage", "transfer_syntaxes": "all"}, "query_retrieve"]
NUMBERS = itertools.count()
WRITES = pytest.mark.parametrize("write", ["required", "deferred"])


def either(first: str = "required"):
    """The same, of which one is enough at each commit."""
    other = "deferred" if first == "required" else "required"
    return pytest.mark.parametrize("write", [first, pytest.param(other, marks=pytest.mark.slow)])


# Of an IMAGE query; the values of what is told.
INSTANCE_NUMBER, STUDY_DESCRIPTION = 0x00200013, 0x00081030
SOP_INSTANCE, STUDY, SERIES, LEVEL = 0x00080018, 0x0020000D, 0x0020000E, 0x00080052


@pytest.fixture(scope="session")
def contexts():
    """Verification as 1, CT images as 3, queries as 5."""
    return {1: (VERIFICATION, (IMPLICIT,)), 3: (CT, (IMPLICIT,)), 5: (FIND, (IMPLICIT,))}


@pytest.fixture(scope="module")
def postgres():
    with Postgres() as server:
        yield server


# -- what is sent and what is asked


def element(tag: int, value: str) -> bytes:
    raw = value.encode()
    raw += b"\0" * (len(raw) & 1) if tag in (SOP_INSTANCE, STUDY, SERIES) else b" " * (len(raw) & 1)
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(raw)) + raw


def encoded(values: dict[int, str]) -> bytes:
    return b"".join(element(tag, value) for tag, value in sorted(values.items()))


def decoded(data: bytes) -> dict[int, str]:
    found, start = {}, 0
    while start < len(data):
        group, number, length = struct.unpack_from("<HHI", data, start)
        found[group << 16 | number] = data[start + 8 : start + 8 + length].rstrip(b"\0 ").decode()
        start += 8 + length
    return found


def put(client, uid: str, version: int = 1, study: str = "1.2.3"):
    """C-STORE; the response. Each version says which it is, of the instance and of its study."""
    values = {0x00080016: CT, SOP_INSTANCE: uid, STUDY_DESCRIPTION: f"version {version}", 0x00100020: f"ID of {study}"}
    values |= {STUDY: study, SERIES: f"{study}.4", INSTANCE_NUMBER: str(version)}
    data = encoded(values) + struct.pack("<HHI", 0x7FE0, 0x0010, 1000) + bytes(1000)
    request = CStoreRQ(message_id=1, affected_sop_class_uid=CT, affected_sop_instance_uid=uid, has_data_set=True)
    client.send_message(3, request, data)
    return client.receive_command()


def find(client, study: str = "1.2.3", level: str = "IMAGE") -> tuple[int, list[dict[int, str]]]:
    """C-FIND of what a study holds, or of it; the final status, and what was told."""
    keys = {LEVEL: level, STUDY: study, STUDY_DESCRIPTION: ""}
    if level == "IMAGE":
        keys |= {SERIES: f"{study}.4", SOP_INSTANCE: "", INSTANCE_NUMBER: ""}
    client.send_message(5, CFindRQ(message_id=2, affected_sop_class_uid=FIND, has_data_set=True), encoded(keys))
    told = []
    while True:
        response = codec.decode(message(client, is_command=True))
        if response.status & 0xFF00 != PENDING:
            return response.status, told
        told.append(decoded(message(client, is_command=False)))


def message(client, *, is_command: bool) -> bytes:
    """The rest of what the client has got, and as many PDUs more as it takes."""
    gathered = b""
    while True:
        values = client.__dict__.setdefault("values", [])
        if not values:
            pdu = client.receive()
            assert isinstance(pdu, DataTF), pdu
            values += pdu.values
        value = values.pop(0)
        assert value.is_command == is_command
        gathered += value.data
        if value.is_last:
            return gathered


def versions(client, study: str = "1.2.3") -> dict[str, int]:
    """What is found: the instances of a study, and which version each is."""
    status, told = find(client, study)
    assert status == SUCCESS, f"{status:04X}"
    return {one[SOP_INSTANCE]: int(one[INSTANCE_NUMBER]) for one in told}


# -- the daemon and its index


def url_of(one) -> str:
    index = yaml.safe_load(one.config.read_text())["index"]
    return index.get("url") or f"sqlite:///{one.directory}/.index/index.db"


def disagreements(url: str, directory: Path) -> list[str]:
    """Where files and rows differ."""
    index = Index(url, Keeping())
    try:
        return [str(one) for one in differences(Register(index, directory, deferred=False))]
    finally:
        index.close()


def agree(one) -> None:
    assert disagreements(url_of(one), one.directory) == []


@pytest.fixture
def archive(daemon):
    """A daemon with an index and an admin endpoint."""

    def start(write: str = "required", url: str | None = None, **overrides):
        index = {"write": write, **({"url": url} if url else {})}
        usual = {"contexts": SERVED, "admin": {"bind": "127.0.0.1:0"}, "timeouts": {"shutdown": "1s"}}
        return daemon(**{**usual, "index": index, **overrides})

    return start


def asked(one, path: str) -> tuple[int, dict]:
    line = one.wait_for_log(lambda line: line["event"] == "admin endpoint")
    connection = http.client.HTTPConnection("127.0.0.1", int(line["address"].rpartition(":")[2]), timeout=PATIENCE)
    with closing(connection):
        connection.request("GET", path, headers={"Accept": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def readiness(one) -> tuple[int, str]:
    """What /ready answers, and what it says of the index."""
    status, told = asked(one, "/ready")
    (part,) = [part for part in told["parts"] if part["name"].startswith("index ")]
    return status, part["why"]


def is_behind(one) -> int:
    (queue,) = [queue for queue in asked(one, "/status.json")[1]["queues"] if queue["kind"] == "index"]
    return queue["waiting"]


@pytest.fixture
def well(wait_for):
    """Until the index is well, and nothing waits for it."""

    def wait(one) -> None:
        wait_for(lambda: readiness(one) == (200, "") and not is_behind(one), "an index that is well")

    return wait


# -- the database is held, away, full


class Holder:
    """Another process that holds the database in SQLite, from its making until :meth:`let_go`."""

    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(file, timeout=PATIENCE, isolation_level=None)
        self._connection.execute("BEGIN EXCLUSIVE")

    def let_go(self) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()


def associate_to(one) -> RawClient:
    client = RawClient(one.port)
    client.associate({3: (CT, (IMPLICIT,)), 5: (FIND, (IMPLICIT,))})
    return client


def took(action) -> tuple[object, float]:
    began = time.monotonic()
    return action(), time.monotonic() - began


@pytest.fixture
def check(archive, associate, echo, load, well, wait_for):
    """The pattern of them all: ``break_it``, and what is stored and asked meanwhile; ``mend``, and all is as it was.

    ``reads`` says that queries are answered all the while.
    """

    def run(one, write: str, break_it, mend, *, reads: bool = False) -> None:
        client = associate(one)
        kept = {f"1.2.3.{number}": 1 for number in range(3)}
        assert [put(client, uid).status for uid in kept] == [SUCCESS] * 3
        well(one)
        with load(one):
            break_it()
            trouble(one, client, write, kept, reads=reads)
            mend()
            well(one)
            assert put(client, "1.2.3.0", 5).status == SUCCESS
            assert put(client, "1.2.3.99").status == SUCCESS
            kept |= {"1.2.3.0": 5, "1.2.3.99": 1}
            wait_for(lambda: versions(client) == kept, "all that was acknowledged")
            assert echo(client) == 0
            client.release()
        well(one)
        agree(one)
        assert not [line for line in one.lines if "Traceback" in line or '"association failed"' in line]

    def trouble(one, client, write: str, kept: dict[str, int], *, reads: bool) -> None:
        refused = OUT_OF_RESOURCES if write == "required" else SUCCESS
        response, seconds = took(lambda: put(client, "1.2.3.0", 2))
        assert (response.status, seconds < NOTICED) == (refused, True), (response, seconds)
        wait_for(lambda: readiness(one)[1], "trouble that is told", NOTICED)
        for number in range(5):
            response, seconds = took(lambda number=number: put(client, f"1.2.3.{number}", 2))
            assert (response.status, seconds < AT_ONCE) == (refused, True), (response, seconds)
            if response.status:
                assert response.error_comment.startswith("it cannot be indexed: ")
            else:
                kept[f"1.2.3.{number}"] = 2
        (status, _), seconds = took(lambda: find(client))
        assert (status, seconds < AT_ONCE) == (SUCCESS if reads else OUT_OF_RESOURCES, True), (f"{status:04X}", seconds)
        status, why = readiness(one)
        assert (status, bool(why)) == (503 if write == "required" else 200, True)

    return run


@pytest.mark.slow
@WRITES
def test_sqlite_that_another_process_holds(archive, check, write):
    one, held = archive(write), []
    file = one.directory / ".index/index.db"
    check(one, write, lambda: held.append(Holder(file)), lambda: held[0].let_go(), reads=True)
    assert any("another program holds it" in line.get("why", "") for line in one.logs)


@either()
def test_the_file_of_sqlite_alone_has_a_full_disk(archive, check, mounts, tmp_path, write):
    folder = tmp_path / "small"
    mounts.tmpfs(folder, "size=2m")
    one, filler = archive(write, f"sqlite:///{folder}/index.db"), folder / "filler"

    def fill() -> None:
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def fill_all(number: int = 0) -> None:
        fill()
        # What its log has room for already may still be written.
        client = associate_to(one)
        with closing(client.socket):
            deadline = time.monotonic() + NOTICED
            while not readiness(one)[1]:
                put(client, f"1.2.4.{next(NUMBERS)}", study="1.2.4")
                assert time.monotonic() < deadline

    check(one, write, fill_all, filler.unlink, reads=True)
    assert any("full" in line.get("why", "") for line in one.logs)


@pytest.mark.slow
@WRITES
def test_the_file_of_sqlite_is_unmounted_and_the_empty_mount_point_stays_empty(archive, check, mounts, tmp_path, write):
    disk, folder = tmp_path / "disk", tmp_path / "mounted"
    mounts.tmpfs(disk, "size=8m")
    mounts.bind(disk, folder)
    one = archive(write, f"sqlite:///{folder}/index.db")

    def mend() -> None:
        assert list(folder.iterdir()) == []
        mounts.bind(disk, folder)

    check(one, write, lambda: mounts.detach(folder), mend)


@pytest.mark.parametrize(
    "how", ["stopped", *(pytest.param(how, marks=pytest.mark.slow) for how in ("crashed", "frozen"))]
)
@either()
def test_postgresql_is_away(archive, check, postgres, write, how):
    one = archive(write, postgres.create_database())
    break_it = {"stopped": postgres.stop, "crashed": postgres.crash, "frozen": postgres.freeze}[how]
    mend = postgres.thaw if how == "frozen" else postgres.start
    try:
        check(one, write, break_it, mend)
    except BaseException:
        mend()
        raise


# -- the file of SQLite is gone, or no database any more


class Storing:
    """Stores new instances and new versions of them, one after the other, until :meth:`stop`.

    ``answered`` are the versions that were answered Success, in their order, ``begun`` the one that never was answered.
    """

    def __init__(self, one, prefix: str, study: str = "1.2.3", first: int = 1) -> None:
        self.answered: list[tuple[str, int]] = []
        self.begun: tuple[str, int] | None = None
        self.refused = 0
        self.error: Exception | None = None
        self._over = threading.Event()
        self._client = associate_to(one)
        self._thread = threading.Thread(target=self._run, args=(prefix, study, first), daemon=True)
        self._thread.start()

    @property
    def kept(self) -> dict[str, int]:
        return dict(self.answered)

    def _run(self, prefix: str, study: str, first: int) -> None:
        try:
            for version in itertools.count(first):
                self.begun = f"{prefix}.{random.randrange(50)}", version
                status = put(self._client, *self.begun, study).status
                assert status in (SUCCESS, OUT_OF_RESOURCES)
                self.refused += status != SUCCESS
                if status == SUCCESS:
                    self.answered.append(self.begun)
                self.begun = None
                if self._over.wait(0.005):
                    return
        except (OSError, AssertionError) as error:
            self.error = error

    def stop(self) -> None:
        self._over.set()
        self.join()

    def join(self) -> None:
        """Until it has been stopped, or its association has ended."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        self._client.close()


@pytest.fixture
def storing():
    """``with storing(one) as senders:`` four associations store all the while."""

    @contextmanager
    def run(one, study: str = "1.2.3"):
        senders = [Storing(one, f"1.2.5.{next(NUMBERS)}", study) for _ in range(4)]
        try:
            yield senders
        finally:
            for sender in senders:
                sender.stop()
        assert [sender.error for sender in senders] == [None] * len(senders)

    return run


def kept(senders) -> dict[str, int]:
    return {uid: version for sender in senders for uid, version in sender.kept.items()}


def overwrite(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(random.Random(5).randbytes(4096))


@contextmanager
def with_nothing_in_its_log(file: Path, wait_for):
    """What is in the log of SQLite would be used, and brought back into the file."""
    log = file.with_name(f"{file.name}-wal")
    with closing(sqlite3.connect(file, timeout=PATIENCE, isolation_level=None)) as connection:

        def is_empty() -> bool:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("BEGIN IMMEDIATE")
            if log.stat().st_size:
                connection.execute("ROLLBACK")
            return connection.in_transaction

        wait_for(is_empty)
        yield
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


SPOILED = {
    "moved": lambda file: file.rename(file.with_name("away")),
    "deleted": Path.unlink,
    "deleted with all beside it": lambda file: [path.unlink() for path in file.parent.iterdir()],
    "truncated": lambda file: os.truncate(file, 100),
    "emptied": lambda file: os.truncate(file, 0),
    "overwritten": overwrite,
}


@pytest.mark.parametrize(
    "what", ["truncated", *(pytest.param(what, marks=pytest.mark.slow) for what in SPOILED if what != "truncated")]
)
@either("deferred")
def test_a_file_that_is_no_database_any_more_is_made_anew_while_stores_go_on(
    archive, storing, associate, well, wait_for, load, write, what
):
    one = archive(write)
    file = one.directory / ".index/index.db"
    with load(one), storing(one) as senders:
        wait_for(lambda: len(kept(senders)) > 20)
        with with_nothing_in_its_log(file, wait_for):
            SPOILED[what](file)
        count = sum(len(sender.answered) for sender in senders)
        if what != "overwritten":  # the page may come back by itself, with the next commit
            one.wait_for_log(lambda line: line["event"] == "the index is well again")
        wait_for(lambda: sum(len(sender.answered) for sender in senders) > count + 20)
        assert write == "required" or not any(sender.refused for sender in senders)
    well(one)
    assert versions(associate(one)) == kept(senders)
    agree(one)
    is_aside = any(".damaged-" in path.name for path in file.parent.iterdir())
    assert is_aside == (what == "truncated") or what in ("emptied", "overwritten")
    one.stop()
    assert not [line for line in one.lines if "Traceback" in line or '"association failed"' in line]


# -- what is found at the start


def version_of(file: Path, version: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))


def test_a_database_of_another_program_is_refused_at_the_start_and_left_alone(archive, tmp_path):
    file = tmp_path / "other.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = file.read_bytes()
    one = archive(url=f"sqlite:///{file}", ready=False)
    assert one.wait() == 78
    assert "it is another program's; name another database" in one.lines[-1]
    assert file.read_bytes() == before


@pytest.mark.slow
def test_a_file_that_is_no_database_and_bears_another_name_is_refused_at_the_start_and_left_alone(archive, tmp_path):
    file = tmp_path / "letters.txt"
    file.write_text("Dear colleague, " * 1000)
    one = archive(url=f"sqlite:///{file}", ready=False)
    assert one.wait() == 78
    assert "it is no database; name another file" in one.lines[-1]
    assert [path.name for path in tmp_path.glob("letters*")] == ["letters.txt"]


@pytest.mark.slow
def test_a_database_of_a_later_version_is_refused_at_the_start(archive, tmp_path):
    file = tmp_path / "index.db"
    assert archive(url=f"sqlite:///{file}").stop() == 0
    version_of(file, "9999")
    one = archive(url=f"sqlite:///{file}", ready=False)
    assert one.wait() == 78
    assert "a later version of scpd" in one.lines[-1]


@pytest.mark.slow
def test_a_reload_to_a_database_that_is_refused_changes_nothing(archive, associate, tmp_path):
    file = tmp_path / "index.db"
    assert archive(url=f"sqlite:///{file}").stop() == 0
    version_of(file, "9999")
    one = archive()
    configure(one, index={"url": f"sqlite:///{file}"})
    assert one.reload()["event"].startswith("reload failed")
    client = associate(one)
    assert put(client, "1.2.3.1").status == SUCCESS
    assert versions(client) == {"1.2.3.1": 1}


def configure(one, **changes) -> None:
    """Write other settings into its file; None takes a key away."""
    data = {**yaml.safe_load(one.config.read_text()), **changes}
    one.config.write_text(yaml.safe_dump({key: value for key, value in data.items() if value is not None}))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@WRITES
def test_where_the_database_is_away_at_the_start_it_starts_all_the_same_and_is_ready_once_it_is_there(
    archive, associate, postgres, well, tmp_path, kind, write
):
    file = tmp_path / "index.db"
    url = f"sqlite:///{file}" if kind == "sqlite" else postgres.create_database()
    before = archive(url=url)
    assert put(associate(before), "1.2.3.1").status == SUCCESS
    assert before.stop() == 0
    holder = sqlite3.connect(file) if kind == "sqlite" else None
    if holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")  # so that nobody may even read
        holder.execute("BEGIN EXCLUSIVE")
    else:
        postgres.stop()
    try:
        one, seconds = took(lambda: archive(write, url, storage={"directory": str(before.directory)}))
        assert seconds < 10.0
        assert readiness(one)[0] == (503 if write == "required" else 200)
        assert readiness(one)[1]
        client = associate(one)
        assert put(client, "1.2.3.2").status == (OUT_OF_RESOURCES if write == "required" else SUCCESS)
        assert find(client)[0] == OUT_OF_RESOURCES
    finally:
        holder.close() if holder else postgres.start()
    well(one)
    assert versions(client) == {"1.2.3.1": 1} | ({} if write == "required" else {"1.2.3.2": 1})
    agree(one)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_an_index_for_a_store_that_has_files_is_made_from_them_while_stores_go_on(
    archive, daemon, storing, associate, postgres, well, wait_for, kind
):
    before = daemon(contexts=SERVED[:2])
    client = associate_to(before)
    for number in range(300):
        assert put(client, f"1.2.9.{number}", number, study=f"1.2.8.{number % 7}").status == SUCCESS
    client.close()
    before.stop()
    url = postgres.create_database() if kind == "postgresql" else None
    one = archive(url=url, storage={"directory": str(before.directory)})
    with storing(one) as senders:
        wait_for(lambda: len(kept(senders)) > 20)
        one.wait_for_log(lambda line: line["event"] == "the index is made anew" and "instances" in line)
        well(one)
    client = associate(one)
    assert versions(client) == kept(senders)
    found = {uid: version for study in range(7) for uid, version in versions(client, f"1.2.8.{study}").items()}
    assert found == {f"1.2.9.{number}": number for number in range(300)}
    agree(one)


# -- the process ends


@pytest.mark.parametrize(
    ("write", "duplicates", "rounds"),
    [
        ("required", "replace", 3),
        *(
            pytest.param(write, duplicates, 20, marks=pytest.mark.slow)
            for write in ("required", "deferred")
            for duplicates in ("replace", "keep")
        ),
    ],
)
def test_kills_under_load(archive, associate, well, wait_for, write, duplicates, rounds):
    """What was acknowledged is found as it was last; what was not answered is there, or not, in the index as on disk."""
    generator = random.Random(7)
    possible: dict[str, set[int | None]] = {}  # the versions that each instance may have
    storage = {"duplicates": duplicates}
    for number in range(rounds + 1):
        one = archive(write, storage=storage)
        storage["directory"] = str(one.directory)
        well(one)
        client = associate(one)
        found = versions(client)
        assert found.keys() <= possible.keys()
        wrong = {uid: (found.get(uid), some) for uid, some in possible.items() if found.get(uid) not in some}
        assert not wrong
        agree(one)
        assert in_the_files(one) == found
        if found:
            (study,) = find(client, level="STUDY")[1]
            assert int(study[STUDY_DESCRIPTION].split()[1]) in found.values(), "what is told of it is said by no file"
        client.close()
        possible = {uid: {found.get(uid)} for uid in possible}
        if number == rounds:
            break
        senders = [Storing(one, f"1.2.7.{which}", first=1 + 1000 * number) for which in range(4)]
        enough = generator.randrange(10, 150)
        wait_for(lambda: sum(len(sender.answered) for sender in senders) > enough)  # noqa: B023
        one.send_signal(signal.SIGKILL)
        one.wait()
        for sender in senders:
            sender.join()
            assert not sender.refused
            for uid, version in sender.answered:
                known = possible.get(uid, {None})
                possible[uid] = known if duplicates == "keep" and None not in known else {version}
            if sender.begun:
                uid, version = sender.begun
                known = possible.get(uid, {None})
                possible[uid] = known if duplicates == "keep" and None not in known else {*known, version}


def in_the_files(one) -> dict[str, int]:
    """Which version each instance is, as the files have it."""
    read = {path.stem: dcmread(path, stop_before_pixels=True) for path in one.stored()}
    return {uid: int(data.InstanceNumber) for uid, data in read.items()}


@pytest.mark.slow
@WRITES
def test_one_instance_from_several_associations_at_a_time(archive, storing, associate, well, wait_for, write):
    one = archive(write)
    senders = [Storing(one, "1.2.7.1") for _ in range(4)]
    wait_for(lambda: sum(len(sender.answered) for sender in senders) > 400)
    for sender in senders:
        sender.stop()
    assert not any(sender.error or sender.refused for sender in senders)
    well(one)
    assert versions(associate(one)) == in_the_files(one)
    agree(one)


# -- reloads and stops


def test_reloads_under_load_change_the_index_and_the_way_it_is_written_and_nothing_is_lost(
    archive, storing, associate, well, wait_for, tmp_path
):
    """Added, removed, another, deferred, required: at the end each knows all that was stored while it was in force."""
    one = archive()
    other = {"url": f"sqlite:///{tmp_path}/other.db"}
    steps = [{"write": "deferred"}, None, {"write": "required"}, other, {"write": "deferred", **other}, None, {}]
    with storing(one) as senders:
        for step in steps:
            count = sum(len(sender.answered) for sender in senders)
            wait_for(lambda: sum(len(sender.answered) for sender in senders) > count + 20)  # noqa: B023
            configure(one, index=step, contexts=SERVED if step is not None else SERVED[:2])
            assert one.reload()["event"] == "reloaded"
        assert not any(sender.refused for sender in senders)
    # Those associations began with the first configuration, and are gone now.
    wait_for(lambda: disagreements(url_of(one), one.directory) == [])
    well(one)
    assert versions(associate(one)) == kept(senders) == in_the_files(one)
    configure(one, index=other)
    one.reload()
    well(one)
    agree(one)
    assert versions(associate(one)) == kept(senders)


@pytest.mark.slow
def test_50_reloads_leave_no_descriptors_and_no_threads(archive, process, associate, wait_for, well, tmp_path):
    one = archive()
    looked = process(one)
    urls = [None, f"sqlite:///{tmp_path}/one.db", f"sqlite:///{tmp_path}/two.db"]

    def reload(number: int) -> None:
        url = urls[number % 3]
        configure(one, index={"write": ["required", "deferred"][number % 2], **({"url": url} if url else {})})
        assert one.reload()["event"] == "reloaded"
        client = associate(one)
        assert put(client, f"1.2.3.{number}").status == SUCCESS
        client.release()

    for number in range(6):
        reload(number)
    well(one)
    threads, descriptors = looked.threads, len(looked.descriptors)
    for number in range(6, 60):
        reload(number)
    well(one)
    wait_for(lambda: looked.threads <= threads + 1 and len(looked.descriptors) <= descriptors + 3, "what was left")
    agree(one)


@pytest.mark.slow
def test_a_stop_brings_what_is_deferred_to_the_database(archive, associate):
    one = archive("deferred")
    client = associate(one)
    uids = [f"1.2.3.{number}" for number in range(200)]
    assert {put(client, uid).status for uid in uids} == {SUCCESS}
    client.release()
    assert one.stop() == 0
    agree(one)
    assert not list((one.directory / ".index").glob("journal-*"))


@pytest.mark.slow
def test_what_is_deferred_while_the_database_is_away_and_scpd_is_stopped_is_found_at_the_next_start(
    archive, associate, well
):
    one = archive("deferred")
    client = associate(one)
    assert put(client, "1.2.3.0").status == SUCCESS
    well(one)
    holder = Holder(one.directory / ".index/index.db")
    uids = [f"1.2.3.{number}" for number in range(1, 20)]
    assert {put(client, uid).status for uid in uids} == {SUCCESS}
    client.release()
    code, seconds = took(one.stop)
    assert (code, seconds < 15.0) == (0, True), seconds
    holder.let_go()
    again = archive("deferred", storage={"directory": str(one.directory)})
    well(again)
    assert versions(associate(again)).keys() == {"1.2.3.0", *uids}
    agree(again)
    assert again.stop() == 0
    assert not list((one.directory / ".index").glob("journal-*"))


# -- several daemons


@pytest.mark.slow
@WRITES
def test_two_daemons_with_one_directory_and_one_database_undo_nothing_of_each_other(
    archive, storing, associate, postgres, well, wait_for, write
):
    url = postgres.create_database()
    first = archive(write, url)
    storage = {"directory": str(first.directory)}
    with storing(first) as senders:
        wait_for(lambda: sum(len(sender.answered) for sender in senders) > 20)
        for _ in range(3):
            second = archive(write, url, storage=storage)
            with storing(second) as others:
                wait_for(lambda: sum(len(sender.answered) for sender in others) > 20)  # noqa: B023
                well(second)
            senders += others
            second.send_signal(signal.SIGKILL)
            second.wait()
        # What the last one has deferred somebody takes over, now or in a minute.
        third = archive(write, url, storage=storage)
        well(third)
    well(first)
    assert not any(sender.refused for sender in senders)
    assert versions(associate(first)) == kept(senders)
    agree(first)
