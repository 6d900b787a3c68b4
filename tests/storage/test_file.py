"""One instance to one path: whole or not at all, over what was there, on the disk when it is said to be."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading

import pytest

from scpd.storage.file import MOST_VIEWS, write_file

HEADER = b"header"


def views(*parts: bytes) -> list[memoryview]:
    return [memoryview(part) for part in parts]


@pytest.mark.parametrize("durable", [True, False])
def test_header_and_batches_in_their_order(tmp_path, durable):
    path = tmp_path / "one.dcm"
    write_file(path, HEADER, [views(b"ab", b"cd"), views(b"ef")], durable=durable)
    assert path.read_bytes() == b"headerabcdef"
    assert list(tmp_path.iterdir()) == [path]


def test_without_any_batch_the_header_is_written(tmp_path):
    write_file(tmp_path / "one.dcm", HEADER, [], durable=False)
    write_file(tmp_path / "two.dcm", HEADER, [[], views(b"")], durable=False)
    assert (tmp_path / "one.dcm").read_bytes() == (tmp_path / "two.dcm").read_bytes() == HEADER


@pytest.mark.parametrize("count", [MOST_VIEWS - 2, MOST_VIEWS - 1, MOST_VIEWS, 3 * MOST_VIEWS + 7])
def test_more_views_than_one_system_call_takes(tmp_path, count):
    parts = [bytes((number % 251,)) * 3 for number in range(count)]
    write_file(tmp_path / "one.dcm", HEADER, [views(*parts)], durable=False)
    assert (tmp_path / "one.dcm").read_bytes() == HEADER + b"".join(parts)


@pytest.mark.parametrize("kind", [str, os.fspath, lambda path: path])
def test_the_path_is_text_or_a_path(tmp_path, kind):
    write_file(kind(tmp_path / "one.dcm"), HEADER, [], durable=True)
    assert (tmp_path / "one.dcm").read_bytes() == HEADER


def test_a_name_alone_is_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_file("one.dcm", HEADER, [], durable=True)
    assert [path.name for path in tmp_path.iterdir()] == ["one.dcm"]


def test_nothing_is_visible_before_it_is_whole(tmp_path):
    """Not under its name, nor under one that a reader would take for an instance."""
    path = tmp_path / "one.dcm"
    seen = []

    def batches():
        for part in (b"a", b"b"):
            seen.append((path.exists(), [one.name for one in tmp_path.iterdir()]))
            yield views(part)

    write_file(path, HEADER, batches(), durable=False)
    assert [exists for exists, _ in seen] == [False, False]
    for _, names in seen:
        (name,) = names
        assert name.startswith(".")
        assert not name.endswith(".dcm")
    assert path.read_bytes() == b"headerab"


def test_what_was_there_stays_until_it_is_replaced(tmp_path):
    path = tmp_path / "one.dcm"
    path.write_bytes(b"before")
    seen = []

    def batches():
        seen.append(path.read_bytes())
        yield views(b"after")
        seen.append(path.read_bytes())

    with path.open("rb") as held:
        write_file(path, HEADER, batches(), durable=False)
        assert seen == [b"before", b"before"]
        assert held.read() == b"before", "who has it open still reads the old one"
    assert path.read_bytes() == b"headerafter"


class Fault(BaseException):
    """Not even an Exception."""


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, GeneratorExit, Fault])
@pytest.mark.parametrize("before", [b"before", None])
def test_nothing_is_left_after_an_error_and_what_was_there_stays(tmp_path, error, before):
    path = tmp_path / "one.dcm"
    if before is not None:
        path.write_bytes(before)

    def batches():
        yield views(b"a")
        raise error

    with pytest.raises(error):
        write_file(path, HEADER, batches(), durable=True)
    assert [one.name for one in tmp_path.iterdir()] == (["one.dcm"] if before else [])
    if before:
        assert path.read_bytes() == before


def _raising(error):
    yield views(b"a")
    raise error


def test_no_descriptor_is_left_open(tmp_path):
    before = set(os.listdir("/proc/self/fd"))
    write_file(tmp_path / "one.dcm", HEADER, [views(b"a")], durable=True)
    with pytest.raises(ValueError):
        write_file(tmp_path / "two.dcm", HEADER, _raising(ValueError), durable=True)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_file(tmp_path / "folder", HEADER, [], durable=True)
    assert set(os.listdir("/proc/self/fd")) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "one.dcm"]


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_file(tmp_path / "missing" / "one.dcm", HEADER, [], durable=True)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o027])
def test_the_programs_umask_says_who_may_read(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_file(tmp_path / "one.dcm", HEADER, [], durable=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "one.dcm").stat().st_mode) == 0o666 & ~mask


def test_a_link_at_the_path_is_replaced_and_not_followed(tmp_path):
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    (tmp_path / "one.dcm").symlink_to(target)
    write_file(tmp_path / "one.dcm", HEADER, [], durable=False)
    assert target.read_bytes() == b"precious"
    assert not (tmp_path / "one.dcm").is_symlink()


def test_several_threads_to_one_path_leave_one_of_them_whole(tmp_path):
    path = tmp_path / "one.dcm"

    def write(number: int) -> None:
        for _ in range(20):
            write_file(path, HEADER, [views(bytes((number,)) * 5000), views(bytes((number,)) * 5000)], durable=False)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    data = path.read_bytes()
    assert len(data) == len(HEADER) + 10_000
    assert len(set(data[len(HEADER) :])) == 1
    assert list(tmp_path.iterdir()) == [path]


# Started by itself: a limit on the size of files holds for the process.
LIMITED = """
import errno, resource, signal, sys
from scpd.storage.file import write_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    write_file(sys.argv[1], b"header", [[memoryview(bytes(6_000))] * 3], durable=True)
except OSError as error:
    sys.exit(0 if error.errno == errno.EFBIG else 2)
sys.exit(1)
"""


def test_a_write_that_is_cut_short_and_then_fails_leaves_nothing(tmp_path):
    """As a disk that fills up: the first bytes are taken, the rest is not."""
    done = subprocess.run([sys.executable, "-c", LIMITED, tmp_path / "one.dcm"], timeout=20, check=False)
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("durable", [True, False])
def test_durable_means_on_the_disk_before_it_has_its_name_and_its_name_too(tmp_path, durable, monkeypatch):
    """fsync of the file, rename, fsync of the folder, in this order; none of them where that is not asked for."""
    calls = []
    real = {name: getattr(os, name) for name in ("fsync", "rename", "writev")}

    def tell(name):
        def told(*args):
            what = os.readlink(f"/proc/self/fd/{args[0]}") if name != "rename" else str(args[1])
            calls.append((name, "folder" if what == str(tmp_path) else "named" if what.endswith("one.dcm") else "file"))
            return real[name](*args)

        return told

    for name in real:
        monkeypatch.setattr(os, name, tell(name))
    write_file(tmp_path / "one.dcm", HEADER, [views(b"a")], durable=durable)
    expected = [("writev", "file"), ("fsync", "file"), ("rename", "named"), ("fsync", "folder")]
    assert calls == [one for one in expected if durable or one[0] != "fsync"]
