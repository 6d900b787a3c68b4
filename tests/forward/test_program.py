"""Programs as hooks: what they get, what their end means, and that none of them outlives its time or fills memory."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from scpd.forward.program import Program
from scpd.forward.queue import Job
from scpd.forward.runner import Failed

PATIENCE = 20.0
EVENT = {
    "event": "instance",
    "server": "ARCHIVE",
    "directory": "/store",
    "path": "/store/DOE^JANE/1.dcm",
    "study_instance_uid": "1.2",
    "series_instance_uid": "1.2.3",
    "sop_instance_uid": "1.2.3.4",
    "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
    "calling": "CT1 $(reboot)",
    "called": "ARCHIVE",
    "peer": "127.0.0.1:4711",
    "received": "2026-01-01T00:00:00.000+00:00",
}
JOB = Job(7, "abc-7", "hook", EVENT, 0)


def shell(script: str, *arguments: str, timeout: float = PATIENCE) -> Program:
    """A script of the test's own as the program."""
    return Program("hook", ("/bin/sh", "-c", script, "hook", *arguments), timeout=timeout, attempts=1, concurrency=1)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_program_gets_the_event_in_its_environment_and_as_json(tmp_path, monkeypatch):
    monkeypatch.setenv("SCPD_SECRET_OF_THE_CONFIGURATION", "s3cret")
    shell('cat > "$1"; env -0 > "$2"; pwd > "$3"', *(str(tmp_path / name) for name in "abc")).deliver(JOB)
    assert json.loads((tmp_path / "a").read_text()) == {**EVENT, "delivery": "abc-7"}
    environment = dict(one.split("=", 1) for one in (tmp_path / "b").read_text().rstrip("\0").split("\0"))
    given = {name: value for name, value in environment.items() if name.startswith("SCPD_")}
    names = [name for name in EVENT if name not in ("directory", "received")]
    assert given == {f"SCPD_{name.upper()}": EVENT[name] for name in names} | {"SCPD_DELIVERY": "abc-7"}
    assert environment["PATH"] == os.environ["PATH"]
    assert (tmp_path / "c").read_text() == "/\n"


def test_words_are_arguments_and_no_shell_reads_them(tmp_path):
    out = tmp_path / "out"
    shell('printf "%s" "$2" > "$1"', str(out), "$(reboot); a  b|c").deliver(JOB)
    assert out.read_text() == "$(reboot); a  b|c"


@pytest.mark.parametrize("script", ["exit 0", "exec 0<&-", "echo a lot; echo said >&2"])
def test_who_exits_with_0_is_done_whether_it_read_or_not(script):
    big = JOB._replace(payload={**EVENT, "paths": ["/store/x"] * 50_000})
    shell(script).deliver(big)


def test_a_failure_quotes_the_status_and_how_standard_error_begins_but_no_path():
    with pytest.raises(Failed) as failed:
        shell("printf \"cp: cannot stat '$SCPD_PATH'\\n\\033[31mred\" >&2; exit 3").deliver(JOB)
    assert failed.value.why == r"""exit status 3: "cp: cannot stat '(path)'\n\x1b[31mred""" + '"'
    assert not failed.value.is_final


def test_a_signal_is_named():
    with pytest.raises(Failed, match="ended by SIGTERM"):
        shell("kill -TERM $$").deliver(JOB)


def test_a_program_that_is_not_there_is_a_failure():
    with pytest.raises(Failed, match="/nowhere/x cannot be started: No such file"):
        Program("hook", ("/nowhere/x",), timeout=1, attempts=1, concurrency=1).deliver(JOB)


def test_a_program_that_takes_too_long_is_killed_with_all_that_it_started(tmp_path):
    pids = tmp_path / "pids"
    began = time.monotonic()
    with pytest.raises(Failed, match=r"longer than 0.3 s and was killed: 'still here'"):
        shell('echo still here >&2; sleep 100 & echo $$ $! > "$1"; wait', str(pids), timeout=0.3).deliver(JOB)
    assert 0.3 <= time.monotonic() - began < 5.0
    assert [pid for pid in map(int, pids.read_text().split()) if is_alive(pid)] == []


def test_output_without_end_takes_no_memory_and_no_more_than_its_time():
    with pytest.raises(Failed) as failed:
        shell("while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx >&2; done", timeout=0.3).deliver(JOB)
    assert len(failed.value.why) < 1000


def test_a_child_in_the_background_is_not_waited_for(tmp_path):
    pid = tmp_path / "pid"
    began = time.monotonic()
    shell('sleep 100 & echo $! > "$1"', str(pid)).deliver(JOB)
    assert time.monotonic() - began < 5.0
    os.kill(int(pid.read_text()), signal.SIGKILL)


def test_abandoning_kills_what_runs(tmp_path, wait_for):
    program, ended = shell('echo $$ > "$1"; sleep 100', str(tmp_path / "pid")), []

    def deliver():
        try:
            program.deliver(JOB)
        except Failed as failed:
            ended.append(failed.why)

    thread = threading.Thread(target=deliver)
    thread.start()
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    program.abandon()
    thread.join(PATIENCE)
    assert ended == ["ended by SIGKILL"]
    program.abandon()


def test_runs_leave_no_descriptor_behind():
    before = len(os.listdir("/proc/self/fd"))
    for script in ("exit 0", "exit 1", "sleep 100"):
        with suppress(Failed):
            shell(script, timeout=0.1).deliver(JOB)
    assert len(os.listdir("/proc/self/fd")) == before
