"""A file is read again when it changed, and never otherwise; while it is broken, what stood there before is in force."""

from __future__ import annotations

import os
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from scpd.errors import SettingError
from scpd.identity.watched import Watched

PATIENCE = 20.0
BROKEN = "broken"


class Reader:
    """Reads text. ``count`` is how often it was asked, ``most`` how many threads were in it at once."""

    def __init__(self) -> None:
        self.count = self.most = self._inside = 0
        self.meanwhile = lambda: None

    def __call__(self, path):
        self.count += 1
        self._inside += 1
        self.most = max(self.most, self._inside)
        try:
            return self._text(path)
        finally:
            self._inside -= 1

    def _text(self, path) -> str:
        try:
            text = path.read_text()
        except OSError as error:
            raise SettingError("file", f"{path} cannot be read ({error.strerror})") from None
        self.meanwhile()
        if text.startswith(BROKEN):
            raise SettingError("file", f"{path} is broken; mend it")
        return text


@pytest.fixture
def path(tmp_path):
    one = tmp_path / "file"
    one.write_text("first")
    return one


@pytest.fixture
def read():
    return Reader()


@pytest.fixture
def watched(path, read):
    return Watched(path, read, "the old one holds")


def replace(path, text: str) -> None:
    beside = path.with_name("new")
    beside.write_text(text)
    beside.replace(path)


def test_what_did_not_change_is_read_once(watched, read):
    assert [watched.current() for _ in range(5)] == ["first"] * 5
    assert read.count == 1
    assert watched.warning == ""


def test_a_new_file_in_its_place_counts_whatever_its_size_and_time(watched, path):
    before = path.stat()
    replace(path, "other")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert watched.current() == "other"


@pytest.mark.parametrize("text", ["other", "second"])
def test_a_change_in_place_counts_whatever_the_time_of_modification(watched, path, text):
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert watched.current() == text


@pytest.mark.parametrize("later", [1, -1])
def test_another_time_counts_to_the_nanosecond(watched, path, later):
    """Backwards too: a file may have been restored."""
    before = path.stat()
    path.write_text("other")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + later))
    assert watched.current() == "other"


def test_a_link_that_leads_elsewhere_counts(tmp_path, path, read):
    link, other = tmp_path / "link", tmp_path / "other"
    other.write_text("other")
    link.symlink_to(path)
    watched = Watched(link, read, "")
    assert watched.current() == "first"
    link.unlink()
    link.symlink_to(other)
    assert watched.current() == "other"


@pytest.mark.parametrize("text", [None, BROKEN])
def test_a_file_that_is_broken_at_the_start_is_refused(path, read, text):
    path.write_text(text) if text else path.unlink()
    with pytest.raises(SettingError) as caught:
        Watched(path, read, "the old one holds")
    assert caught.value.key == "file"
    assert "the old one" not in caught.value.what


@pytest.mark.parametrize("breaks", [lambda path: path.write_text(BROKEN), lambda path: path.unlink()])
def test_a_file_that_breaks_later_leaves_the_old_value_and_says_so_until_it_is_mended(watched, path, breaks):
    breaks(path)
    for _ in range(3):
        assert watched.current() == "first"
        assert watched.warning.startswith(str(path))
        assert watched.warning.endswith("; the old one holds")
    replace(path, "mended")
    assert watched.current() == "mended"
    assert watched.warning == ""


def test_a_file_that_is_as_it_was_before_it_broke_is_no_longer_broken(watched, path):
    away = path.rename(path.with_name("away"))
    assert watched.current() == "first"
    assert "No such file" in watched.warning
    away.rename(path)
    assert watched.current() == "first"
    assert watched.warning == ""


@contextmanager
def nobody():
    """Root reads everything, so be somebody else for a while."""
    mine = os.geteuid()
    os.seteuid(65534 if mine == 0 else mine)
    try:
        yield
    finally:
        os.seteuid(mine)


def test_a_right_that_is_given_later_is_noticed(read):
    with nobody(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_text("first")
        watched = Watched(path, read, "the old one holds")
        replace(path, "second")
        path.chmod(0)
        assert watched.current() == "first"
        assert "Permission denied" in watched.warning
        path.chmod(0o600)
        assert watched.current() == "second"
        assert watched.warning == ""


def test_what_could_not_be_read_for_a_moment_is_read_when_next_asked_for(watched, path, read):
    def fail() -> None:
        raise SettingError("file", "there are too many open files")

    replace(path, "second")
    read.meanwhile = fail
    assert watched.current() == "first"
    assert watched.warning == "there are too many open files; the old one holds"
    read.meanwhile = lambda: None
    assert watched.current() == "second"
    assert watched.warning == ""


def test_what_changes_while_it_is_read_is_read_again(path, read):
    def change() -> None:
        read.meanwhile = lambda: None
        replace(path, "second")

    read.meanwhile = change
    watched = Watched(path, read, "")
    assert watched.current() == "second"
    assert read.count == 2


def test_of_many_threads_one_reads_and_each_gets_what_it_read(watched, path, read):
    together = threading.Barrier(8)

    def ask() -> str:
        together.wait(PATIENCE)
        return watched.current()

    with ThreadPoolExecutor(8) as threads:
        for number in range(20):
            replace(path, f"text {number}")
            answers = [one.result(PATIENCE) for one in [threads.submit(ask) for _ in range(8)]]
            assert answers == [f"text {number}"] * 8
    assert read.count == 21
    assert read.most == 1
