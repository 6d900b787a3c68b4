"""What has been stored and not been written down: it outlives the process, and is nobody else's while that lives."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scpd.index import journal as module
from scpd.index.journal import Former, Journal

LEAVE = """
import os, sys
from scpd.index.journal import Journal
journal = Journal(sys.argv[1])
for path in sys.argv[2:]:
    journal.note(path)
journal.done(["done"])
os._exit(9)
"""


def leave(store: Path, *paths: str) -> None:
    """A process notes files, has written down the one that is called done, and dies."""
    subprocess.run([sys.executable, "-c", LEAVE, str(store), "done", *paths], check=False, timeout=20)


def names(store: Path) -> list[str]:
    return sorted(path.name for path in store.joinpath(".index").iterdir())


def left(store: Path) -> tuple[list[str], bool]:
    former = Former(str(store))
    try:
        return former.paths, former.was_cut
    finally:
        former.close()


def test_nothing_is_made_before_there_is_something_to_note(tmp_path):
    journal = Journal(str(tmp_path))
    journal.close()
    assert list(tmp_path.iterdir()) == []
    assert left(tmp_path) == ([], False)


def test_what_a_process_leaves_is_found_until_it_is_settled(tmp_path):
    leave(tmp_path, "1/2.dcm", "1/ü.dcm", os.fsdecode(b"1/\xe9.dcm"))
    for _ in range(2):
        assert left(tmp_path) == (["done", "1/2.dcm", "1/ü.dcm", os.fsdecode(b"1/\xe9.dcm")], False)
    former = Former(str(tmp_path))
    former.settled()
    assert left(tmp_path) == ([], False)
    assert names(tmp_path) == []


def test_that_of_a_process_that_lives_is_left_alone_and_so_is_one_that_somebody_settles(tmp_path):
    journal = Journal(str(tmp_path))
    journal.note("1.dcm")
    assert left(tmp_path) == ([], False)
    leave(tmp_path, "2.dcm")
    former = Former(str(tmp_path))
    assert former.paths == ["done", "2.dcm"]
    assert left(tmp_path) == ([], False), "two would settle the same"
    former.settled()
    journal.close()
    assert left(tmp_path) == (["1.dcm"], False), "it was closed before this was written down"


def test_a_journal_of_which_all_is_written_down_goes_with_its_process(tmp_path):
    journal = Journal(str(tmp_path))
    for path in ("1.dcm", "2.dcm", "1.dcm"):
        journal.note(path)
    journal.done(["1.dcm", "2.dcm"])
    journal.done(["1.dcm", "never noted"])
    journal.close()
    assert names(tmp_path) == []


def test_a_machine_that_has_stopped_meanwhile_may_have_lost_lines(tmp_path, monkeypatch):
    leave(tmp_path, "1.dcm")
    (tmp_path / "boot").write_text("another\n")
    monkeypatch.setattr(module, "_BOOT", tmp_path / "boot")
    assert left(tmp_path) == (["done", "1.dcm"], True)


def test_one_that_grows_large_goes_on_with_what_is_left_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LARGE", 2000)
    journal = Journal(str(tmp_path))
    for number in range(1000):
        journal.note(f"{number}.dcm")
        if number >= 10:
            journal.done([f"{number - 10}.dcm"])
    (name,) = names(tmp_path)
    assert (tmp_path / ".index" / name).stat().st_size < 3000
    journal.close()
    assert set(left(tmp_path)[0]) >= {f"{number}.dcm" for number in range(990, 1000)}


@pytest.mark.parametrize("fits", [0, 3], ids=["nothing fits", "the front fits"])
def test_a_line_that_the_disk_has_no_room_for_is_refused_and_leaves_no_front_half(tmp_path, monkeypatch, fits):
    journal = Journal(str(tmp_path))
    journal.note("1.dcm")
    write = os.write

    def full(file: int, data: bytes) -> int:
        if not fits:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[:fits])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        journal.note("2.dcm")
    monkeypatch.setattr(os, "write", write)
    journal.note("3.dcm")
    journal.close()
    assert left(tmp_path)[0] == ["1.dcm", "3.dcm"]


def test_what_is_no_file_is_neither_followed_nor_waited_for(tmp_path):
    folder = tmp_path / ".index"
    folder.mkdir()
    os.mkfifo(folder / "journal-1")
    (folder / "journal-2").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_text("x\ny\n")
    assert "y" not in left(tmp_path)[0]
