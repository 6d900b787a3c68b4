"""A file as it stands in its store: what of it is written down, in which order files come, and what is no instance."""

from __future__ import annotations

import os
import socket

import pytest
from components.filled import CT, WHEN, instance, put
from components.made import BIG, EXPLICIT, IMPLICIT
from hypothesis import given
from hypothesis import strategies as st

from scpd.errors import UnreadableDataSet
from scpd.index.attributes import Keeping
from scpd.index.entry import Scribe
from scpd.index.files import Looker, files, is_nameable, opened, status

PIXELS = b"\xe0\x7f\x10\x00OW\0\0\4\0\0\0data"
NOT_UTF_8 = os.fsdecode(b"caf\xe9.dcm")


@pytest.fixture
def looker(tmp_path):
    return Looker(Scribe(Keeping()), str(tmp_path))


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_a_file_is_what_its_meta_information_and_its_data_set_say(looker, tmp_path, syntax):
    put(tmp_path, "a/b.dcm", instance(7, syntax=syntax), WHEN)
    found = looker.look("a/b.dcm")
    assert (found.path, found.transfer_syntax, found.calling) == ("a/b.dcm", syntax, "MAKER")
    assert (found.size, found.received, found.digest) == (len(instance(7, syntax=syntax)), WHEN, "")
    entry = found.entry
    assert (entry.uid, entry.sop_class, entry.number) == ("1.2.1.7", CT, 7)
    assert (entry.study.key, entry.series.key) == ("1.2.1", "1.2.1.0.0")
    assert '"00280010":"512"' in entry.attributes


def test_what_is_laid_out_like_the_one_before_is_read_like_any_other(tmp_path):
    """The third of a series is not walked any more; its values are its own all the same."""
    syntaxes = [EXPLICIT] * 6 + [IMPLICIT] * 3 + [EXPLICIT] * 3
    for number, syntax in enumerate(syntaxes, 10):
        more = {} if number % 5 else {"PatientComments": "another head"}
        put(
            tmp_path,
            f"{number}.dcm",
            instance(number, number, syntax, **more) + (PIXELS if syntax == EXPLICIT else b""),
        )
    one = Looker(Scribe(Keeping()), str(tmp_path))
    for path in files(str(tmp_path)):
        assert one.look(path) == Looker(Scribe(Keeping()), str(tmp_path)).look(path)
    assert one._layouts._known, "no layout was learnt"


@pytest.mark.parametrize("size", [100, 20_000, 70_000])
def test_values_behind_much_else_are_found(looker, tmp_path, size):
    """However long the head is; what is longer than any value that is kept is left out."""
    put(tmp_path, "a", instance(syntax=IMPLICIT, PatientComments="x" * size))
    found = looker.look("a").entry
    assert '"00280010":"512"' in found.attributes
    assert ('"00104000":' in found.patient.attributes) == (size < 65_536)


def test_of_a_data_set_that_breaks_off_what_was_read_counts(looker, tmp_path):
    whole = instance()
    put(tmp_path, "a", whole[: whole.index(b"1.2.1.0.0") - 8])
    found = looker.look("a").entry
    assert (found.study.key, found.series.key) == ("1.2.1", "")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "DICM"),
        (b"not one of ours", "DICM"),
        (bytes(128) + b"DICM", "lacks a UID"),
        (instance()[:400][: instance().index(b"MAKER") + 6], "no element"),
    ],
)
def test_a_file_that_is_no_instance_is_refused_with_a_reason(looker, tmp_path, data, why):
    put(tmp_path, "a", data)
    with pytest.raises(UnreadableDataSet, match=why):
        looker.look("a")


def test_what_is_no_file_is_neither_followed_nor_waited_for(looker, tmp_path):
    put(tmp_path, "real.dcm", instance())
    (tmp_path / "link.dcm").symlink_to("real.dcm")
    (tmp_path / "nowhere.dcm").symlink_to("nothing")
    (tmp_path / "folder.dcm").mkdir()
    os.mkfifo(tmp_path / "fifo.dcm")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.dcm"))
        for name in ("link", "nowhere", "folder", "fifo", "socket"):
            with pytest.raises(UnreadableDataSet, match="no file"):
                looker.look(f"{name}.dcm")
            assert status(f"{tmp_path}/{name}.dcm") is None
    assert status(f"{tmp_path}/real.dcm").st_size == len(instance())


def test_no_descriptor_is_left_open(looker, tmp_path):
    put(tmp_path, "good", instance())
    put(tmp_path, "bad", b"x")
    (tmp_path / "folder").mkdir()
    before = os.listdir("/proc/self/fd")
    looker.look("good")
    for name in ("bad", "folder"):
        with pytest.raises(UnreadableDataSet):
            looker.look(name)
    assert os.listdir("/proc/self/fd") == before


def test_what_is_not_there_is_nothing(looker, tmp_path):
    put(tmp_path, "a", instance())
    assert looker.look("b") is None
    assert looker.look("b/c") is None
    assert looker.look("a/c") is None, "a file where a folder would be"
    assert status(f"{tmp_path}/b") is None
    assert status(f"{tmp_path}/a/c") is None


def test_a_name_that_is_no_text_is_told_and_not_indexed(looker, tmp_path):
    put(tmp_path, NOT_UTF_8, instance())
    assert list(files(str(tmp_path))) == [NOT_UTF_8]
    assert not is_nameable(NOT_UTF_8)
    assert is_nameable("Grüße/山田\n.dcm")
    with pytest.raises(UnreadableDataSet, match="UTF-8"):
        looker.look(NOT_UTF_8)


def test_only_what_is_needed_of_a_large_file_is_read(looker, tmp_path):
    file = put(tmp_path, "a", instance())
    with file.open("ab") as large:
        large.write(b"\xe0\x7f\x10\x00OW\0\0" + (1 << 30).to_bytes(4, "little"))
        large.truncate(1 << 30)
    before = _read()
    assert looker.look("a").size == 1 << 30
    assert _read() - before < 64 * 1024


def _read() -> int:
    """Bytes that this process has read so far."""
    with open("/proc/self/io") as told:
        return int(next(line for line in told if line.startswith("rchar")).split()[1])


# -- the order of files


def test_files_come_before_what_is_in_folders_and_hidden_ones_never(tmp_path):
    for path in ("b/z", "b/a/1", "b/c/1", "a/1", "z", "B", ".hidden", ".incoming/1", "a/.x", "b.d/1", "b-c/1"):
        put(tmp_path, path, b"")
    assert list(files(str(tmp_path))) == ["B", "z", "a/1", "b/z", "b/a/1", "b/c/1", "b-c/1", "b.d/1"]


@given(st.sets(st.lists(st.sampled_from(["a", "a.b", "a-b", "b", "é"]), min_size=1, max_size=4).map("/".join)))
def test_after_any_file_come_just_those_that_come_after_it(tmp_path_factory, paths):
    folder = tmp_path_factory.mktemp("store")
    for path in paths:
        put(folder, f"{path}/f", b"")
        put(folder, f"{path}/g", b"")
    found = list(files(str(folder)))
    assert sorted(found) == sorted(f"{path}/{name}" for path in paths for name in "fg")
    for place, path in enumerate(found):
        assert list(files(str(folder), path)) == found[place + 1 :]


def test_what_is_after_a_file_that_is_gone_is_found_all_the_same(tmp_path):
    for path in ("a/1", "a/3", "b/1"):
        put(tmp_path, path, b"")
    assert list(files(str(tmp_path), "a/2")) == ["a/3", "b/1"]
    assert list(files(str(tmp_path), "aa/1/1")) == ["b/1"]


def test_folders_before_are_not_looked_into(tmp_path):
    for path in ("a/1", "b/1", "b/c/1", "d/1"):
        put(tmp_path, path, b"")
    put(tmp_path, "a/later", b"")
    assert list(files(str(tmp_path), "b/1")) == ["b/c/1", "d/1"]


def test_many_files_and_many_folders(tmp_path):
    flat = [f"flat/{number:05}" for number in range(10_000)]
    deep = [f"deep/{number:04}/1" for number in range(2_000)]
    for folder in {os.path.dirname(path) for path in (*flat, *deep)}:
        (tmp_path / folder).mkdir(parents=True)
    for path in (*flat, *deep):
        os.mknod(tmp_path / path)
    assert list(files(str(tmp_path))) == deep + flat
    assert list(files(str(tmp_path), "flat/09997")) == flat[-2:]


def test_a_folder_that_cannot_be_read_is_told_and_a_store_that_cannot_raises(tmp_path, monkeypatch):
    put(tmp_path, "a/1", b"")
    put(tmp_path, "b/1", b"")
    scan = os.scandir

    def refuse(folder):
        if folder.rstrip("/") == str(tmp_path / refused):
            raise PermissionError(13, "Permission denied", folder)
        return scan(folder)

    monkeypatch.setattr("scpd.index.files.os.scandir", refuse)
    told = []
    refused = "a"
    assert list(files(str(tmp_path), failed=lambda *what: told.append(what))) == ["b/1"]
    assert [(path, error.errno) for path, error in told] == [("a", 13)]
    refused = ""
    with pytest.raises(PermissionError):
        list(files(str(tmp_path)))
    with pytest.raises(FileNotFoundError):
        list(files(str(tmp_path / "gone")))


def test_a_file_is_opened_for_reading_only(tmp_path):
    with opened(str(put(tmp_path, "a", b"abc"))) as file:
        assert file.read() == b"abc"
        assert not file.writable()
