"""Stores by what their marker says, and which database has heard of all their files."""

from __future__ import annotations

import shutil

import pytest

from scpd.index.places import MARKER, Places, is_complete, set_complete, set_incomplete, store_uid


def test_a_store_gets_a_name_once_and_keeps_it_wherever_it_is(tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    uid = store_uid(store)
    assert store_uid(store) == uid
    moved = store.rename(tmp_path / "moved")
    assert store_uid(moved) == uid
    other = tmp_path / "store"
    other.mkdir()
    assert store_uid(other) != uid
    assert [path.name for path in moved.iterdir()] == [MARKER]


def test_a_marker_that_is_something_else_is_refused_and_stays(tmp_path):
    (tmp_path / MARKER).write_text("a shopping list")
    with pytest.raises(OSError, match="remove it, and run scpd index rebuild"):
        store_uid(tmp_path)
    assert (tmp_path / MARKER).read_text() == "a shopping list"


def test_a_copy_of_a_store_that_is_open_is_refused(tmp_path):
    store, copy = tmp_path / "store", tmp_path / "copy"
    store.mkdir()
    uid = store_uid(store)
    shutil.copytree(store, copy)
    places = Places()
    places.know(uid, str(store))
    places.know(uid, str(store))
    with pytest.raises(FileExistsError, match=f"it is a copy of {store}"):
        places.know(uid, str(copy))
    assert places.path(uid, "/recorded", "1/2.dcm") == f"{store}/1/2.dcm"


def test_a_store_that_was_moved_or_is_seen_from_two_places_is_no_copy(tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    uid, places = store_uid(store), Places()
    places.know(uid, str(store))
    (tmp_path / "link").symlink_to(store)
    places.know(uid, str(tmp_path / "link"))
    moved = store.rename(tmp_path / "moved")
    places.know(uid, str(moved))
    assert places.path(uid, "", "1.dcm") == f"{moved}/1.dcm"


def test_a_store_that_is_not_open_here_is_where_somebody_else_has_it():
    assert Places().path("1" * 32, "/recorded", "1/2.dcm") == "/recorded/1/2.dcm"


def test_a_database_knows_all_until_somebody_stores_unheard(tmp_path):
    store = str(tmp_path)
    assert not is_complete(store, "a-1")
    set_complete(store, "a-1")
    set_complete(store, "b-1")
    set_complete(store, "b-1")
    assert is_complete(store, "a-1")
    assert is_complete(store, "b-1")
    assert not is_complete(store, "a-2"), "another database at the same address"
    assert not is_complete(store, "")
    set_incomplete(store, {"b", "c"})
    assert [is_complete(store, name) for name in ("a-1", "b-1")] == [False, True]
    set_incomplete(store)
    assert not is_complete(store, "b-1")


def test_where_there_never_was_an_index_nothing_is_made(tmp_path):
    set_incomplete(str(tmp_path))
    set_incomplete(str(tmp_path / "none"))
    assert list(tmp_path.iterdir()) == []
