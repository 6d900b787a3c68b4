"""kill -9 at every step of a deletion: after the next start rows and files agree, and the rest goes with the next pass."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from components.aged import DAY, PATIENCE

FILES = 7
# What a process does that deletes three files at a time, and ends itself as it comes to a step for the Nth time.
VICTIM = """
import os, signal, sys
from components.aged import NOW, Archive
from pathlib import Path
from scpd.retention import deletion, place
from scpd.retention.candidates import Candidates

url, folder, step, times = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
archive = Archive(url, folder)
deletion.TOGETHER = 3

def fatal(owner, name, after):
    inner = getattr(owner, name)
    def outer(*args, **how):
        global times
        times -= 1
        if times <= 0 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = inner(*args, **how)
        if times <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, name, outer)

owners = {"Place": place.Place, "Deletion": deletion.Deletion, "os": os}
when, owner, name = step.split()
(study,) = [one for one in Candidates(archive.index.database, archive.register.uid).oldest(NOW) if one.uid == "1.2"]
files = Candidates(archive.index.database, archive.register.uid).files(study.id)
fatal(owners[owner], name, when == "after")
with place.opened(archive.register.directory, archive.register.uid) as opened:
    deletion.Deletion(archive.register, study, files).run(opened, lambda: True)
"""
STEPS = [
    ("before Place take_away", 5),
    ("after os rename", 2),
    ("after os unlink", 4),
    ("before Place settle", 2),
    ("after Deletion _remove", 2),
    ("after Deletion _forget", 1),
]


def die(url, folder, step, times) -> None:
    tests = Path(__file__).parent.parent
    command = [sys.executable, "-c", VICTIM, url, str(folder), step, str(times)]
    environment = {"PYTHONPATH": f"{tests}:{tests.parent}", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.parametrize(("step", "times"), STEPS, ids=[f"{step} {times}" for step, times in STEPS])
def test_rows_and_files_agree_after_a_crash(make_archive, tmp_path, step, times):
    _crash(make_archive, f"sqlite:///{tmp_path / 'index.db'}", tmp_path, step, times)


@pytest.mark.parametrize(("step", "times"), STEPS[2:3])
def test_the_same_with_postgresql(make_archive, tmp_path, postgres, step, times):
    _crash(make_archive, postgres.create_database(), tmp_path, step, times)


def _crash(make_archive, url, tmp_path, step, times) -> None:
    archive = make_archive(url)
    archive.fill("1.2", FILES)
    archive.fill("1.3", 2, age=DAY)
    archive.close()
    die(url, tmp_path / "store", step, times)
    again = make_archive(url)
    again.must_agree()
    left = len(again.files())
    assert again.counts()[3] == left
    assert 2 <= left <= 2 + FILES
    assert again.counts()[:3] == ((1, 2, 2) if left > 2 else (1, 1, 1))
