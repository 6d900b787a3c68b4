"""A file goes only if it is the one that is meant, and nothing leads out of the store."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from scpd.index.places import MARKER, store_uid
from scpd.retention import place as place_module
from scpd.retention.place import Fate, opened
from scpd.storage.store import Store, StorePolicy

PATH = "study/series/one.dcm"


@pytest.fixture
def folder(tmp_path):
    store = Store(tmp_path / "store", StorePolicy(durable=False))
    store_uid(store.directory)
    (store.directory / "study/series").mkdir(parents=True)
    yield store.directory
    store.close()


@pytest.fixture
def place(folder):
    with opened(str(folder), store_uid(folder)) as one:
        yield one


def written(folder, text="one", path=PATH):
    (folder / path).write_text(text)
    status = (folder / path).stat()
    return path, status.st_size, status.st_mtime


def test_the_file_goes_and_its_empty_folders(folder, place):
    assert place.take_away(*written(folder)) is Fate.GONE
    place.settle([PATH])
    place.tidy([PATH])
    assert not (folder / "study").exists()
    assert list((folder / ".incoming").iterdir()) == []


def test_folders_with_anything_in_them_stay(folder, place):
    written(folder, path="study/notes.txt")
    assert place.take_away(*written(folder)) is Fate.GONE
    place.tidy([PATH, "study/series/two.dcm", "study/other/three.dcm"])
    assert not (folder / "study/series").exists()
    assert (folder / "study/notes.txt").exists()


def test_another_file_of_this_name_stays(folder, place):
    path, size, when = written(folder)
    assert place.take_away(path, size + 1, when) is Fate.ANOTHER
    assert place.take_away(path, size, when - 1) is Fate.ANOTHER
    assert (folder / path).read_text() == "one"


@pytest.mark.parametrize("path", [PATH, "study/none/one.dcm", "none.dcm"])
def test_what_is_not_there_is_missing(place, path):
    assert place.take_away(path, 1, 1.0) is Fate.MISSING


def test_one_that_comes_between_the_look_and_the_deletion_is_given_back(folder, place, monkeypatch):
    path, size, when = written(folder)
    rename = os.rename

    def late(*names, **how):
        monkeypatch.setattr(place_module.os, "rename", rename)
        (folder / "new").write_text("newer")
        rename(folder / "new", folder / path)
        rename(*names, **how)

    monkeypatch.setattr(place_module.os, "rename", late)
    assert place.take_away(path, size, when) is Fate.ANOTHER
    assert (folder / path).read_text() == "newer"
    assert list((folder / ".incoming").iterdir()) == []


def test_where_a_still_later_one_has_come_that_one_stays(folder, place, monkeypatch):
    path, size, when = written(folder)
    rename, link = os.rename, os.link

    def late(*names, **how):
        monkeypatch.setattr(place_module.os, "rename", rename)
        written(folder, "newer")
        rename(*names, **how)

    def still_later(*names, **how):
        written(folder, "newest")
        link(*names, **how)

    monkeypatch.setattr(place_module.os, "rename", late)
    monkeypatch.setattr(place_module.os, "link", still_later)
    assert place.take_away(path, size, when) is Fate.ANOTHER
    assert (folder / path).read_text() == "newest"
    assert list((folder / ".incoming").iterdir()) == []


def test_writers_who_replace_a_file_all_the_time_never_lose_their_last(folder, place):
    """Whatever the moment: after the last replacement something is there, unless that very file was meant."""

    def replace(number):
        (folder / f"study/{number}").write_text("x" * number)
        os.rename(folder / f"study/{number}", folder / PATH)

    old = written(folder, "old")
    with ThreadPoolExecutor(1) as pool:
        for first in range(1, 120, 4):
            last = [pool.submit(replace, first + one) for one in range(4)][-1]
            while not last.done():
                place.take_away(*old)
            last.result()
            assert (folder / PATH).exists()
            written(folder, "old")
            old = written(folder, "old")


def test_neither_a_link_nor_what_is_behind_one_goes(folder, place, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    target = written(outside, path="one.dcm")
    (folder / "study/link").symlink_to(outside)
    (folder / PATH).symlink_to(outside / "one.dcm")
    with pytest.raises(OSError):
        place.take_away("study/link/one.dcm", *target[1:])
    assert place.take_away(PATH, *target[1:]) is Fate.ANOTHER
    assert (outside / "one.dcm").read_text() == "one"
    assert (folder / PATH).is_symlink()


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "a//b", "", "study/../../outside", "."])
def test_a_row_that_leads_out_of_the_store_is_refused(place, path):
    with pytest.raises(OSError, match="leads out of the store"):
        place.take_away(path, 1, 1.0)


def test_a_folder_is_no_file(folder, place):
    status = (folder / "study/series").stat()
    assert place.take_away("study/series", status.st_size, status.st_mtime) is Fate.ANOTHER
    assert (folder / "study/series").is_dir()


def test_a_store_that_is_not_there_is_none(folder, tmp_path):
    uid = store_uid(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match="unmounted or moved"), opened(str(tmp_path / "empty"), uid):
        pass
    (folder / MARKER).write_text("0" * 32)
    with pytest.raises(OSError, match="unmounted or moved"), opened(str(folder), uid):
        pass
    with pytest.raises(FileNotFoundError), opened(str(tmp_path / "none"), uid):
        pass
    assert len(os.listdir("/proc/self/fd")) < 200
