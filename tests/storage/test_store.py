"""An instance is either whole under its final name or not there at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from scpd.dimse.status import DUPLICATE_SOP_INSTANCE, OUT_OF_RESOURCES
from scpd.errors import ScpdError, StoreError
from scpd.storage import store as store_module
from scpd.storage.store import SPOOL, Store, StorePolicy

HEADER = b"header "
PATH = ("study", "series", "instance.dcm")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def make(folder):
    """Open stores in the folder, closed at the end."""
    stores: list[Store] = []

    def build(directory=folder, **policy) -> Store:
        stores.append(Store(directory, StorePolicy(**{"durable": False, **policy})))
        return stores[-1]

    yield build
    for store in stores:
        store.close()


def put(store: Store, data: bytes, path=PATH) -> bool:
    incoming = store.begin(HEADER)
    incoming.write([memoryview(data)])
    return incoming.commit(path)


def files(folder) -> dict[str, bytes]:
    """Everything that stands in the folder, the spool included."""
    return {
        str(path.relative_to(folder)): b"->" if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }


NAME = "study/series/instance.dcm"


# -- the way of an instance


def test_an_instance_is_its_header_and_its_bytes_in_order(make, folder):
    incoming = make().begin(HEADER)
    incoming.write([memoryview(b"a"), memoryview(b""), memoryview(b"bc")])
    incoming.write([])
    incoming.write([memoryview(b"d")])
    assert incoming.size == 4
    assert incoming.commit(PATH)
    assert files(folder) == {NAME: b"header abcd"}


def test_nothing_stands_under_a_final_name_before_the_commit(make, folder):
    incoming = make().begin(HEADER)
    incoming.write([memoryview(b"data")])
    (name,) = files(folder)
    assert name.startswith(SPOOL + "/")
    assert [path.name for path in folder.iterdir()] == [SPOOL]


def test_more_views_than_one_system_call_takes_are_written_whole(make, folder):
    incoming = make().begin(HEADER)
    data = os.urandom(5000)
    incoming.write([memoryview(data)[place : place + 1] for place in range(len(data))])
    incoming.commit(PATH)
    assert files(folder) == {NAME: HEADER + data}


def test_a_write_that_the_system_cuts_short_is_gone_on_with(make, folder, monkeypatch):
    writev, write = os.writev, os.write
    monkeypatch.setattr(os, "writev", lambda fd, parts: writev(fd, [memoryview(b"".join(parts))[:3]]))
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, memoryview(data)[:2]))
    put(make(), b"0123456789")
    assert files(folder) == {NAME: b"header 0123456789"}


def test_an_abandoned_instance_leaves_nothing(make, folder):
    incoming = make().begin(HEADER)
    incoming.write([memoryview(b"data")])
    incoming.abandon()
    incoming.abandon()
    assert files(folder) == {}


def test_abandoning_after_a_commit_does_nothing(make, folder):
    store = make()
    incoming = store.begin(HEADER)
    incoming.write([memoryview(b"data")])
    incoming.commit(PATH)
    incoming.abandon()
    assert files(folder) == {NAME: b"header data"}


def test_every_descriptor_is_given_back(make, folder):
    store = make()
    before = len(os.listdir("/proc/self/fd"))
    put(store, b"one")
    store.begin(HEADER).abandon()
    (folder / "file").write_bytes(b"")
    failing = store.begin(HEADER)
    with pytest.raises(StoreError):
        failing.commit(("file", "below", "x"))
    failing.abandon()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("path", [("x.dcm",), ("a", "x.dcm"), ("a", "b", "c", "d", "e", "x.dcm")])
def test_a_path_may_have_any_depth(make, folder, path):
    assert put(make(), b"1", path)
    assert files(folder) == {"/".join(path): b"header 1"}


def test_files_are_0640_and_directories_0750_whatever_the_umask_of_others(make, folder):
    before = os.umask(0)
    try:
        put(make(), b"1")
    finally:
        os.umask(before)
    modes = {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
    assert modes == {SPOOL: 0o750, "study": 0o750, "study/series": 0o750, NAME: 0o640}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750


# -- duplicates


def test_replace_takes_the_new_one(make, folder):
    store = make(duplicates="replace")
    assert put(store, b"old")
    assert put(store, b"new")
    assert files(folder) == {NAME: b"header new"}


def test_keep_leaves_the_old_one_and_says_so(make, folder):
    store = make(duplicates="keep")
    assert put(store, b"old") is True
    assert put(store, b"new") is False
    assert files(folder) == {NAME: b"header old"}


def test_reject_leaves_the_old_one_and_answers_0111(make, folder):
    store = make(duplicates="reject")
    put(store, b"old")
    with pytest.raises(StoreError) as caught:
        put(store, b"new")
    assert caught.value.status == DUPLICATE_SOP_INSTANCE
    assert files(folder) == {NAME: b"header old"}


@pytest.mark.parametrize("duplicates", ["keep", "reject"])
def test_without_hard_links_nothing_is_replaced_either(make, folder, monkeypatch, duplicates):
    def no_links(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    store = make(duplicates=duplicates)
    assert put(store, b"old")
    if duplicates == "keep":
        assert put(store, b"new") is False
    else:
        with pytest.raises(StoreError):
            put(store, b"new")
    assert files(folder) == {NAME: b"header old"}


@pytest.mark.parametrize("duplicates", ["replace", "keep", "reject"])
def test_two_threads_that_store_one_instance_leave_one_whole_instance(make, folder, duplicates):
    store = make(duplicates=duplicates)
    count, rounds = 4, 50
    start = threading.Barrier(count)
    outcomes: list[list[object]] = [[] for _ in range(rounds)]

    def work(number: int) -> None:
        for turn in range(rounds):
            incoming = store.begin(HEADER)
            incoming.write([memoryview(bytes((number,)) * 4096)])
            start.wait(30)
            try:
                outcomes[turn].append(incoming.commit(("study", f"{turn}.dcm")))
            except StoreError as error:
                outcomes[turn].append(error.status)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    losers = {"replace": True, "keep": False, "reject": DUPLICATE_SOP_INSTANCE}[duplicates]
    assert all(sorted(turn, key=str) == sorted([True] + [losers] * (count - 1), key=str) for turn in outcomes)
    found = files(folder)
    assert len(found) == rounds
    assert all(len(data) == len(HEADER) + 4096 and len(set(data[len(HEADER) :])) == 1 for data in found.values())


def test_many_threads_may_begin_at_once(make, monkeypatch):
    """Each gets a temporary name of its own, and none an error."""
    store = make()
    count, each = 8, 8000
    names: list[str] = []
    errors: list[BaseException] = []
    start = threading.Barrier(count)

    def work() -> None:
        try:
            start.wait(30)
            for _ in range(each):
                store.begin(HEADER)
        except BaseException as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda name, *_, **__: names.append(name) or -1)
        threads = [threading.Thread(target=work) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    sys.setswitchinterval(interval)
    assert not errors
    assert len(set(names)) == count * each


# -- what stands in the way


@pytest.fixture
def outside(tmp_path):
    """A directory that nothing may reach."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "precious").write_bytes(b"precious")
    return place


@pytest.mark.parametrize("duplicates", ["replace", "keep", "reject"])
@pytest.mark.parametrize("depth", [0, 1])
def test_a_symbolic_link_for_a_directory_is_never_followed(make, folder, outside, depth, duplicates):
    store = make(duplicates=duplicates)
    place = folder.joinpath(*PATH[:depth])
    place.mkdir(parents=True, exist_ok=True)
    (place / PATH[depth]).symlink_to(outside)
    with pytest.raises(StoreError) as caught:
        put(store, b"new")
    assert caught.value.status == OUT_OF_RESOURCES
    assert files(outside) == {"precious": b"precious"}


@pytest.mark.parametrize("duplicates", ["replace", "keep", "reject"])
@pytest.mark.parametrize("target", ["precious", "absent"])
def test_a_symbolic_link_for_the_file_is_never_followed(make, folder, outside, target, duplicates):
    store = make(duplicates=duplicates)
    (folder / "study/series").mkdir(parents=True)
    (folder / NAME).symlink_to(outside / target)
    if duplicates == "replace":
        assert put(store, b"new")
        assert files(folder) == {NAME: b"header new"}
    else:
        with pytest.raises(StoreError):
            put(store, b"new")
        assert (folder / NAME).is_symlink()
    assert files(outside) == {"precious": b"precious"}


@pytest.mark.parametrize("duplicates", ["replace", "keep", "reject"])
def test_a_directory_under_the_final_name_is_not_an_instance_that_is_held(make, folder, duplicates):
    """Success would be told for what is nowhere."""
    store = make(duplicates=duplicates)
    (folder / NAME).mkdir(parents=True)
    incoming = store.begin(HEADER)
    incoming.write([memoryview(b"new")])
    with pytest.raises(StoreError):
        incoming.commit(PATH)
    incoming.abandon()
    assert files(folder) == {}


def test_a_file_where_a_directory_should_be_costs_that_instance_only(make, folder):
    store = make()
    (folder / "study").write_bytes(b"in the way")
    incoming = store.begin(HEADER)
    incoming.write([memoryview(b"new")])
    with pytest.raises(StoreError, match="put in its place") as caught:
        incoming.commit(PATH)
    incoming.abandon()
    assert caught.value.status == OUT_OF_RESOURCES
    assert files(folder) == {"study": b"in the way"}
    assert put(store, b"other", ("other", "x.dcm"))


def test_a_name_that_is_too_long_is_refused_and_leaves_nothing(make, folder):
    incoming = make().begin(HEADER)
    incoming.write([memoryview(b"new")])
    with pytest.raises(StoreError, match="put in its place"):
        incoming.commit(("x" * 300,))
    incoming.abandon()
    assert files(folder) == {}


# -- opening


def test_the_directory_is_made_with_its_parents(make, tmp_path):
    make(tmp_path / "a/b/c")
    assert (tmp_path / "a/b/c" / SPOOL).is_dir()


def test_the_directory_itself_may_be_a_symbolic_link(make, tmp_path):
    """It is the sysadmin's own word."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    put(make(tmp_path / "link"), b"1")
    assert files(tmp_path / "real") == {NAME: b"header 1"}


def test_a_spool_that_is_a_symbolic_link_is_refused(make, folder, outside):
    folder.mkdir()
    (folder / SPOOL).symlink_to(outside)
    with pytest.raises(ScpdError, match="cannot be used"):
        make()
    assert files(outside) == {"precious": b"precious"}


def test_a_file_instead_of_the_directory_is_refused(make, folder):
    folder.write_bytes(b"")
    with pytest.raises(ScpdError, match="cannot be used"):
        make()


def test_what_a_crash_left_is_swept_and_named(make, folder):
    (folder / SPOOL).mkdir(parents=True)
    for name in ("0000dead-2", "0000dead-1"):
        (folder / SPOOL / name).write_bytes(b"half an instance")
    (folder / "study").mkdir()
    (folder / "study/whole.dcm").write_bytes(b"whole")
    assert make().swept == ("0000dead-1", "0000dead-2")
    assert files(folder) == {"study/whole.dcm": b"whole"}


def test_what_is_not_named_by_us_is_left_alone(make, folder):
    (folder / SPOOL / "lost+found").mkdir(parents=True)
    (folder / SPOOL / "note.txt").write_text("keep")
    (folder / SPOOL / "0123abcd-7").mkdir()
    make()
    assert sorted(os.listdir(folder / SPOOL)) == ["0123abcd-7", "lost+found", "note.txt"]


def test_nothing_is_swept_while_another_store_uses_the_directory(make, folder):
    first = make()
    incoming = first.begin(HEADER)
    incoming.write([memoryview(b"data")])
    second = make(duplicates="keep")
    assert second.swept == ()
    assert incoming.commit(PATH)
    assert files(folder) == {NAME: b"header data"}


def test_two_stores_of_one_directory_never_use_the_same_temporary_name(make, folder):
    stores = [make(), make()]
    incoming = [stores[turn % 2].begin(HEADER) for turn in range(20)]
    for one in incoming:
        one.write([memoryview(b"")])
    assert len(files(folder)) == 20
    for one in incoming:
        one.abandon()


def test_it_is_swept_again_once_the_other_store_is_closed(make, folder):
    other = Store(folder, StorePolicy(durable=False))
    other.begin(HEADER)
    other.close()
    assert len(make().swept) == 1


# -- resources


@pytest.fixture
def look_each_time(monkeypatch):
    """Whether the directory is still there is looked at for every instance, not ten times a second."""
    monkeypatch.setattr(store_module, "_SECONDS_BETWEEN_LOOKS", -1.0)


def test_a_directory_moved_away_is_a700_and_back_again_works(make, folder, tmp_path, look_each_time):
    store = make()
    assert put(store, b"1", ("one.dcm",))
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError) as gone:
        store.begin(HEADER)
    folder.mkdir()  # an empty mount point
    with pytest.raises(StoreError, match="unmounted or moved") as empty:
        store.begin(HEADER)
    assert gone.value.status == empty.value.status == OUT_OF_RESOURCES
    assert list(folder.iterdir()) == []
    folder.rmdir()
    (tmp_path / "elsewhere").rename(folder)
    assert put(store, b"2", ("two.dcm",))
    assert files(folder) == {"one.dcm": b"header 1", "two.dcm": b"header 2"}


def test_what_is_stored_between_two_looks_is_where_the_directory_went(make, folder, tmp_path, monkeypatch):
    """Never in the empty mount point that it left behind."""
    monkeypatch.setattr(store_module, "_SECONDS_BETWEEN_LOOKS", 3600.0)
    store = make()
    put(store, b"1", ("one.dcm",))
    folder.rename(tmp_path / "elsewhere")
    folder.mkdir()
    put(store, b"2", ("two.dcm",))
    assert files(folder) == {}
    assert files(tmp_path / "elsewhere") == {"one.dcm": b"header 1", "two.dcm": b"header 2"}


def test_a_refusal_is_looked_at_again_at_once(make, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "_SECONDS_BETWEEN_LOOKS", 3600.0)
    store = make()
    folder.rename(tmp_path / "elsewhere")
    for _ in range(2):
        with pytest.raises(StoreError):
            store.begin(HEADER)
    (tmp_path / "elsewhere").rename(folder)
    assert put(store, b"1")


@pytest.fixture
def disk(tmp_path):
    """A file system of 64 KiB and 16 files at a folder, and a way to mount it otherwise."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "scpd-test", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            if os.environ.get("CI"):
                pytest.fail("mounting a file system is not possible here, and in CI no fault may be missing")
            pytest.skip("mounting a file system is not possible here")

    mount("size=64k,nr_inodes=16")
    yield folder, mount
    subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(folder) -> None:
    with suppress(OSError), (folder / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))


def fill_with_files(folder) -> None:
    with suppress(OSError):
        for number in range(100):
            (folder / f"ballast {number}").touch()


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (lambda folder, _: fill(folder), "No space left on device"),
        (lambda folder, _: fill_with_files(folder), "No space left on device"),
        (lambda _, mount: mount("remount,ro"), "Read-only file system"),
        (lambda folder, _: (folder / "store" / SPOOL).rmdir(), "No such file or directory"),
    ],
    ids=["no space", "no files", "read-only", "no spool"],
)
def test_what_would_refuse_the_next_instance_is_trouble(make, disk, synced, fault, why):
    folder, mount = disk
    store = make(folder / "store", durable=True)
    assert store.trouble() == ""
    assert files(folder / "store") == {}, "what was tried leaves nothing"
    fault(folder, mount)
    assert store.trouble() == f"nothing can be written to {SPOOL}: {why}"
    assert synced == [], "and costs the disk nothing"


def test_a_full_disk_is_trouble_and_no_reason_not_to_open_it(make, disk):
    folder, _ = disk
    make(folder / "store").close()
    fill(folder)
    store = make(folder / "store")
    assert "No space left" in store.trouble()
    (folder / "ballast").unlink()
    assert store.trouble() == ""


def spool_that_is_a_file(folder, _mount) -> None:
    (folder / SPOOL).touch()


def only_writing_fails(folder, mount) -> None:
    (folder / SPOOL).mkdir()
    mount("remount,ro")


@pytest.mark.parametrize("fault", [spool_that_is_a_file, only_writing_fails])
def test_a_directory_that_cannot_be_used_costs_no_descriptor(make, disk, fault):
    folder, mount = disk
    fault(folder, mount)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ScpdError, match="cannot be used") as caught:
        make(folder)
    assert len(os.listdir("/proc/self/fd")) == before, f"while {caught.value} is still told"


def test_less_space_than_the_reserve_is_a700(make, folder):
    store = make(reserve=1 << 62)
    with pytest.raises(StoreError, match="storage.reserve") as caught:
        store.begin(HEADER)
    assert caught.value.status == OUT_OF_RESOURCES
    assert files(folder) == {}
    assert 0 < store.free_space() < 1 << 62


@pytest.mark.parametrize("call", ["writev", "fsync", "rename"])
def test_a_system_call_that_fails_is_a700_and_leaves_nothing(make, folder, monkeypatch, call):
    store = make(durable=True)

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    incoming = store.begin(HEADER)
    with pytest.raises(StoreError, match="No space left on device") as caught:
        incoming.write([memoryview(b"data")])
        incoming.commit(PATH)
    incoming.abandon()
    assert caught.value.status == OUT_OF_RESOURCES
    assert files(folder) == {}


# -- durability


@pytest.fixture
def synced(monkeypatch):
    """What fsync was called for: the paths of its descriptors."""
    paths: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        paths.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return paths


@pytest.mark.parametrize("duplicates", ["replace", "keep", "reject"])
def test_durable_means_the_file_then_its_directory_and_every_directory_made(make, folder, synced, duplicates):
    store = make(durable=True, duplicates=duplicates)
    put(store, b"1")
    assert synced[0].startswith(f"{folder}/{SPOOL}/"), "the file, before it has its name"
    assert synced[1:] == [str(folder), f"{folder}/study", f"{folder}/study/series"]
    del synced[:]
    put(store, b"2", ("study", "series", "second.dcm"))
    assert synced[1:] == [f"{folder}/study/series"]


def test_without_durability_nothing_is_synced(make, synced):
    put(make(durable=False), b"1")
    assert synced == []


def test_success_for_an_instance_that_was_kept_means_that_it_is_on_the_disk_too(make, folder, synced):
    """Who stored it first may not have come to its own fsync of the directory yet."""
    store = make(durable=True, duplicates="keep")
    put(store, b"1")
    del synced[:]
    assert put(store, b"2") is False
    assert f"{folder}/study/series" in synced
