"""``scpd index``: what is held, made anew from the files, and compared with them, as a person at a shell sees it."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import sqlite3
import subprocess
import sys
import termios
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
import yaml
from components.filled import WHEN, instance, put
from pydicom.data import get_testdata_file

from scpd.cli.holdings import shown_size
from scpd.cli.main import main
from scpd.index.attributes import Keeping
from scpd.index.index import Index
from scpd.index.rebuild import Rebuild
from scpd.index.register import Register

PATIENCE = 30.0
FINE, FAILED, USAGE, BAD_CONFIGURATION, INTERRUPTED = 0, 1, 2, 78, 130
ALONE = "--jobs", "1"
FILES = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "examples_rgb_color.dcm", "rtplan.dcm")


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def configure(tmp_path, store):
    """Write the configuration: keywords are its keys."""

    def write(**keys) -> Path:
        path = tmp_path / "scpd.yaml"
        said = {"storage": {"directory": str(store), "reserve": 0}, "index": {}, **keys}
        path.write_text(yaml.safe_dump({key: value for key, value in said.items() if value is not None}))
        return path

    write()
    return write


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request, configure, tmp_path):
    """The same tests with either database."""
    is_sqlite = request.param == "sqlite"
    address = f"sqlite:///{tmp_path}/x/i.db" if is_sqlite else request.getfixturevalue("postgres").create_database()
    return configure(index={"url": address})


@pytest.fixture
def command(configure, tmp_path, capsys):
    """Run it here: (exit status, lines of standard output, standard error)."""

    def run(action: str, *arguments: str):
        try:
            status = main(["index", action, str(tmp_path / "scpd.yaml"), *arguments])
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        return status, out.splitlines(), err

    return run


def fill(store: Path, number: int, study: int = 1) -> None:
    for one in range(number):
        put(store, f"{study}/{one}.dcm", instance(one, study), WHEN + study)


# -- list


def test_what_is_held_is_counted_and_studies_are_named_the_latest_first(either, command, store):
    fill(store, 3)
    fill(store, 5, study=2)
    put(store, "2/mr.dcm", instance(300, 2, Modality="MR"), WHEN)
    assert command("rebuild", *ALONE)[0] == FINE
    status, out, err = command("list")
    size = sum(path.stat().st_size for path in store.rglob("*.dcm"))
    assert (status, err) == (FINE, "")
    assert "correct-horse" not in out[0], "a password"
    assert out[1:] == [f"  {store}: 2 patients, 2 studies, 3 series, 9 instances, {shown_size(size)}"]
    _, out, _ = command("list", "--studies")
    assert [line.split("  ")[2:6] for line in out[2:]] == [
        ["P2", "DOE^2", "20240102", "CT,MR"],
        ["P1", "DOE^1", "20240102", "CT"],
    ]
    assert out[2].endswith("  1.2.2")
    assert "  6 instances  " in out[2]
    assert len(command("list", "--studies", "--most", "1")[1]) == 3


def test_it_is_told_to_programs_as_json(either, command, store):
    fill(store, 3)
    command("rebuild", *ALONE)
    status, out, _ = command("list", "--json")
    (held,) = json.loads("\n".join(out))["indexes"]
    assert status == FINE
    assert held["stores"][0] | {"size": 0} == {
        "directory": str(store),
        "patients": 1,
        "studies": 1,
        "series": 1,
        "instances": 3,
        "size": 0,
    }
    assert "studies" not in held
    _, out, _ = command("list", "--json", "--studies")
    (study,) = json.loads("\n".join(out))["indexes"][0]["studies"]
    assert study["study_instance_uid"] == "1.2.1"
    assert (study["patient_id"], study["modalities"], study["instances"]) == ("P1", ["CT"], 3)
    assert study["received"].startswith("2023-11-1")


def test_nothing_of_a_peer_acts_upon_the_terminal(command, store):
    put(store, "a.dcm", instance(1, PatientName="DOE\x1b[2J", PatientID=""))
    put(store, "b\x1b[31m.dcm", b"none")
    _, out, _ = command("rebuild", *ALONE)
    assert (
        out[0] == f"a file that is no instance (not a DICOM file: the prefix DICM is missing): {store}/b\\x1b[31m.dcm"
    )
    _, out, _ = command("list", "--studies")
    assert "  (no ID)  DOE\\x1b[2J  " in out[2]


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (1536 * 1024, "1.5 MiB"), (1 << 62, "4096.0 PiB")],
)
def test_sizes_are_told_in_units(size, shown):
    assert shown_size(size) == shown


@pytest.mark.parametrize("action", ["list", "check"])
def test_an_index_that_is_not_there_is_said_and_not_made(configure, command, store, action):
    fill(store, 1)
    status, out, err = command(action)
    assert (status, out) == (FAILED, [])
    assert (
        err
        == f"scpd: the index {store}/.index/index.db: it is not there yet; scpd run and scpd index rebuild make it\n"
    )
    assert [path.name for path in store.iterdir()] == ["1"]


def test_an_empty_database_is_no_index_yet(configure, command, postgres):
    configure(index={"url": postgres.create_database()})
    status, _, err = command("list")
    assert (status, "it has no tables yet" in err) == (FAILED, True)


@pytest.mark.parametrize(("version", "told"), [("0000", "an earlier version"), ("9999", "a later version")])
def test_an_index_of_another_version_is_left_as_it_is(configure, command, store, version, told):
    fill(store, 1)
    command("rebuild", *ALONE)
    with sqlite3.connect(store / ".index/index.db") as database:
        database.execute("UPDATE alembic_version SET version_num = ?", [version])
    database.close()
    for action in ("list", "check"):
        status, _, err = command(action)
        assert (status, told in err) == (FAILED, True)


# -- rebuild and check


def test_rebuild_makes_it_and_check_agrees(either, command, store):
    fill(store, 4)
    put(store, "README", b"not of ours")
    status, out, err = command("rebuild", *ALONE)
    assert (status, err) == (FINE, "")
    assert out == [
        f"a file that is no instance (not a DICOM file: the prefix DICM is missing): {store}/README",
        f"{store}: 4 instances written down, 1 files that are none, 0 rows without a file removed",
    ]
    for more in ((), ("--digests",), ("--jobs", "2")):
        status, out, _ = command("check", *(more or ALONE))
        assert (status, out[-1]) == (FINE, f"{store}: a file that is no instance: 1")


def test_check_names_each_difference_and_fails_and_rebuild_mends_it(either, command, store):
    fill(store, 4)
    command("rebuild", *ALONE)
    put(store, "1/new.dcm", instance(99))
    (store / "1/0.dcm").unlink()
    put(store, "1/1.dcm", instance(1, PatientComments="more"))
    status, out, _ = command("check", *ALONE)
    assert status == FAILED
    assert sorted(out[:-1]) == [
        f"a file without a row: {store}/1/new.dcm",
        f"a row of another file than this one: {store}/1/1.dcm",
        f"a row without a file: {store}/1/0.dcm",
    ]
    assert out[-1].startswith(f"{store}: a file without a row: 1, ")
    assert command("check", *ALONE)[:2] == (status, out), "nothing was changed"
    assert command("rebuild", *ALONE)[0] == FINE
    assert command("check", *ALONE)[:2] == (FINE, [f"{store}: files and rows agree"])


def test_a_name_that_is_no_text_fails_both_and_is_named(either, command, store):
    fill(store, 1)
    put(store, os.fsdecode(b"caf\xe9.dcm"), instance(9))
    for action in ("rebuild", "check"):
        status, out, _ = command(action, *ALONE)
        assert status == FAILED
        assert out[0] == f"a file that cannot be indexed (its name is not in UTF-8): {store}/caf\\udce9.dcm"


def test_a_store_that_no_index_has_heard_of_is_told(configure, command, store, tmp_path):
    fill(store, 1)
    command("rebuild", *ALONE)
    other = tmp_path / "other"
    put(other, "1.dcm", instance(1))
    configure(storage={"directory": str(other)}, index={"url": f"sqlite:///{store}/.index/index.db"})
    status, out, _ = command("check", *ALONE)
    assert status == FAILED
    assert out == [f"{other}: nothing of it was ever written down: there is no .scpd-store in it"]
    assert [path.name for path in other.iterdir()] == ["1.dcm"], "nothing was made"


@pytest.mark.parametrize("action", ["rebuild", "check"])
def test_a_store_that_is_not_there_is_said_and_not_made(configure, command, store, tmp_path, action):
    configure(storage={"directory": str(tmp_path / "unmounted")})
    status, _, err = command(action)
    assert (status, err) == (
        FAILED,
        f"scpd: the storage directory {tmp_path}/unmounted is not there: is its disk mounted?\n",
    )
    assert not (tmp_path / "unmounted").exists()


def test_servers_that_share_an_index_and_a_store_have_them_looked_at_once(configure, command, store, tmp_path):
    fill(store, 2)
    put(tmp_path / "other", "1.dcm", instance(7))
    configure(
        index={"url": f"sqlite:///{tmp_path}/i.db"},
        servers=[
            {"name": "one", "bind": "127.0.0.1:11112"},
            {"name": "two", "bind": "127.0.0.1:11113"},
            {"name": "three", "bind": "127.0.0.1:11114", "storage": {"directory": str(tmp_path / "other")}},
            {"name": "four", "bind": "127.0.0.1:11115", "index": None},
        ],
    )
    status, out, _ = command("rebuild", *ALONE)
    assert status == FINE
    assert [line.partition(":")[0] for line in out] == [str(store), str(tmp_path / "other")]
    _, out, _ = command("list")
    assert len(out) == 3
    assert [line.partition(":")[0] for line in command("check", "--server", "three")[1]] == [str(tmp_path / "other")]
    status, _, err = command("list", "--server", "nobody")
    assert (status, "there is no server 'nobody'; there are one, two, three, four" in err) == (USAGE, True)


def test_without_an_index_it_says_so(configure, command):
    configure(index=None)
    status, _, err = command("rebuild")
    assert (status, "has no index; write index: required to have one" in err) == (FAILED, True)


def test_a_faulty_configuration_is_78_and_wrong_usage_2(configure, command, capsys):
    assert command("rebuild", "--jobs", "0")[0] == USAGE
    assert command("list", "--most", "none")[0] == USAGE
    configure(x=1)
    assert command("list")[0] == BAD_CONFIGURATION
    with pytest.raises(SystemExit, match="2"):
        main(["index"])


# -- what may be wrong with a database


def test_an_index_that_somebody_holds_is_said(configure, command, store, monkeypatch):
    monkeypatch.setattr("scpd.index.engines.LOCKED", 0.2)
    fill(store, 1)
    command("rebuild", *ALONE)
    holder = sqlite3.connect(store / ".index/index.db")
    holder.execute("BEGIN IMMEDIATE")
    status, _, err = command("rebuild", *ALONE)
    assert status == FAILED
    assert err == f"scpd: the index {store}/.index/index.db: another program holds it (database is locked)\n"
    assert command("check", *ALONE)[0] == FINE, "reading goes on"
    assert command("list")[0] == FINE
    holder.close()
    assert command("rebuild", *ALONE)[0] == FINE


@pytest.mark.parametrize("action", ["list", "rebuild", "check"])
def test_an_index_that_is_damaged_is_said_in_one_line(configure, command, store, action):
    put(store, ".index/index.db", b"x" * 5000)
    status, _, err = command(action)
    assert (status, err.count("\n")) == (FAILED, 1)
    assert "file is not a database" in err


def test_a_database_that_does_not_answer_is_said(configure, command, store, free_port):
    configure(index={"url": f"postgresql://scpd:secret@127.0.0.1:{free_port}/one"})
    status, _, err = command("rebuild")
    assert (status, "secret" in err, err.count("\n")) == (FAILED, False, 1)
    assert f"the index postgresql://127.0.0.1:{free_port}/one: " in err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes things for others")
def test_what_root_makes_in_somebodys_store_is_theirs(configure, command, store):
    fill(store, 1)
    os.chown(store, 1234, 1234)
    assert command("rebuild", *ALONE)[0] == FINE
    for name in (".scpd-store", ".index", ".index/index.db"):
        assert (store / name).stat().st_uid == 1234


# -- interrupted, and beside a daemon

_SLOW = """
import sys
from scpd.cli.main import main
from scpd.index import rebuild
if __name__ == "__main__":
    rebuild.TOGETHER = 2
    sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def start(tmp_path):
    """Start ``scpd index rebuild``, a few files at a time, in a session of its own."""
    program = tmp_path / "slow.py"
    program.write_text(_SLOW)
    started = []

    def run(*arguments: str, **how) -> subprocess.Popen:
        line = [sys.executable, program, "index", "rebuild", tmp_path / "scpd.yaml", *arguments]
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **how}
        started.append(subprocess.Popen(line, start_new_session=True, stdin=subprocess.DEVNULL, **how))
        return started[-1]

    yield run
    for one in started:
        if one.poll() is None:
            one.kill()
        one.communicate()


def written(store: Path) -> int:
    """How many files a rebuild has written down so far."""
    try:
        with closing(sqlite3.connect(f"file:{store}/.index/index.db?mode=rw", uri=True)) as database:
            (value,) = database.execute("SELECT value FROM facts WHERE name LIKE 'rebuild %'").fetchone()
        return json.loads(value).get("counts", [0])[0]
    except (sqlite3.Error, TypeError):
        return 0


def wait_until_begun(running: subprocess.Popen, store: Path) -> None:
    give_up = time.monotonic() + PATIENCE
    while not written(store):
        with suppress(subprocess.TimeoutExpired):
            pytest.fail(f"it ended with {running.wait(0.02)}: {running.communicate()}")
        assert time.monotonic() < give_up


def wait_until_gone(leader: int) -> None:
    """Until no process of a session is left."""
    for pid in session(leader):
        with suppress(ProcessLookupError):
            process = os.pidfd_open(pid)
            assert select.select([process], [], [], PATIENCE)[0], f"process {pid} is left"
            os.close(process)


def session(pid: int) -> list[int]:
    """The processes of a session that are alive."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, leader = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(leader) == pid and state != "Z":
            found.append(int(path.parent.name))
    return found


def test_interrupted_it_says_how_far_it_came_and_goes_on_there(configure, command, start, store):
    fill(store, 800)
    running = start("--jobs", "2")
    wait_until_begun(running, store)
    os.killpg(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=PATIENCE)
    assert (running.returncode, out) == (INTERRUPTED, "")
    done = written(store)
    assert 0 < done < 800
    assert err == f"interrupted after {done} files; the same command goes on there\n"
    wait_until_gone(running.pid)
    status, out, _ = command("rebuild", *ALONE)
    assert status == FINE
    assert out[0] == f"{store}: going on after {done} files"
    assert out[1].startswith(f"{store}: 800 instances written down")
    assert command("check", *ALONE)[0] == FINE


def test_from_the_start_it_begins_again(configure, command, store):
    fill(store, 3)
    index = Index(f"sqlite:///{store}/.index/index.db", Keeping())
    index.open()
    register = Register(index, store, deferred=False)
    assert not Rebuild(register, lambda: False).run()
    register.close()
    index.close()
    status, out, _ = command("rebuild", "--from-the-start", *ALONE)
    assert status == FINE
    assert out == [f"{store}: 3 instances written down, 0 files that are none, 0 rows without a file removed"]


def test_killed_it_leaves_no_process_behind_and_can_go_on(configure, command, start, store):
    fill(store, 800)
    running = start("--jobs", "2")
    wait_until_begun(running, store)
    running.kill()
    running.wait(PATIENCE)
    wait_until_gone(running.pid)
    done = written(store)
    assert command("rebuild", *ALONE)[1][0] == f"{store}: going on after {done} files"
    assert command("check", *ALONE)[0] == FINE


def test_on_a_terminal_there_is_a_bar(configure, start, store):
    fill(store, 100)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    running = start("--jobs", "1", stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 65536):
            seen += piece
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    assert running.wait(PATIENCE) == FINE
    assert b"100/100" in seen


def test_it_is_made_anew_beside_a_daemon_that_stores_meanwhile(daemon, start, tmp_path, capsys):
    server = daemon(index="required")
    (tmp_path / "scpd.yaml").write_text(server.config.read_text())
    for number in range(5):
        put(server.directory, f"by-hand/{number}.dcm", instance(number, 5), WHEN)
    for number in range(300):
        put(server.directory, f"more/{number}.dcm", instance(number, 6), WHEN)
    running = start("--jobs", "1")
    files = [get_testdata_file(name) for name in FILES]
    sent = 0
    while running.poll() is None or sent < 2:
        assert main(["send", f"127.0.0.1:{server.port}", *files]) == FINE
        sent += 1
    assert running.wait(PATIENCE) == FINE, running.stderr.read()
    capsys.readouterr()
    assert main(["index", "check", str(server.config), "--digests"]) == FINE
    assert capsys.readouterr().out == f"{server.directory}: files and rows agree\n"
    assert main(["index", "list", str(server.config)]) == FINE
    assert f" {305 + len(FILES)} instances, " in capsys.readouterr().out
    assert server.stop() == 0


def test_what_a_daemon_stored_is_what_a_rebuild_finds(daemon, tmp_path, capsys):
    """All that is written down, but digests of what was not read to its end."""
    server = daemon(index="required")
    assert main(["send", f"127.0.0.1:{server.port}", *map(get_testdata_file, FILES)]) == FINE
    assert server.stop() == 0
    database = server.directory / ".index" / "index.db"
    stored = _all_of(database)
    assert len(stored) == len(FILES)
    assert all(row["digest"] for row in stored)
    assert main(["index", "rebuild", str(server.config), *ALONE]) == FINE
    assert _all_of(database) == stored
    put(server.directory, next(iter(stored))["path"], b"altered")
    assert main(["index", "check", str(server.config)]) == FAILED
    database.unlink()
    assert main(["index", "rebuild", str(server.config), *ALONE]) == FINE
    assert _all_of(database) == [row | {"digest": ""} for row in stored[1:]]


def _all_of(database: Path) -> list[dict]:
    """The rows of instances with those above them, but for numbers."""
    connection = sqlite3.connect(database)
    connection.row_factory = sqlite3.Row
    query = (
        "SELECT p.key, p.patient_id, p.name, p.sounds, p.attributes AS of_patient, s.uid AS study, s.date, s.accession, "
        "s.study_id, s.attributes AS of_study, e.uid AS series, e.modality, e.attributes AS of_series, i.uid, i.path, "
        "i.sop_class, i.number, i.transfer_syntax, i.size, i.digest, i.calling, i.received, i.attributes "
        "FROM instances i JOIN series e ON i.series = e.id JOIN studies s ON e.study = s.id "
        "JOIN patients p ON s.patient = p.id ORDER BY i.path"
    )
    rows = [dict(row) for row in connection.execute(query)]
    connection.close()
    return rows
