"""A store that cannot take more: the sender is told A700, nobody else feels it, and it goes on when the cause is gone."""

from __future__ import annotations

import time

import pytest

OUT_OF_RESOURCES = 0xA700
MiB = 1 << 20
NOTICED = 3.0


@pytest.fixture
def check_refusal(associate, echo, store, is_whole, load):
    """The pattern of them all: ``break_it`` → A700, an echo, an empty spool; ``mend`` → Success on the same association.

    ``within`` is how many seconds it may take to be noticed, for a directory that goes away under an open descriptor:
    what is stored meanwhile is where the directory is now.
    """

    def check(one, break_it, mend, pixels: int = 1000, within: float = 0.0):
        kept = ["1.2.3.1", "1.2.3.3"]
        with load(one):
            client = associate(one)
            assert store(client, "1.2.3.1", pixels) == 0
            break_it()
            deadline = time.monotonic() + within
            while (status := store(client, f"1.2.4.{len(kept)}", pixels)) == 0:
                kept.append(f"1.2.4.{len(kept)}")
                assert time.monotonic() < deadline, "nobody noticed"
            assert status == OUT_OF_RESOURCES
            assert [store(client, f"1.2.3.2.{number}", pixels) for number in range(2)] == [OUT_OF_RESOURCES] * 2
            assert echo(client) == 0
            mend()
            assert store(client, "1.2.3.3", pixels) == 0
            client.release()
        assert {path.stem for path in one.stored()} == set(kept)
        assert all(is_whole(path, path.stem, pixels) for path in one.stored())
        assert one.spool() == []
        line = one.wait_for_log(lambda line: line["event"] == "association" and "C-STORE A700" in line["messages"])
        assert line["ended"] == "released"
        assert line["messages"] == {"C-STORE 0000": len(kept), "C-STORE A700": 3, "C-ECHO 0000": 1}
        assert sum(line["problems"].values()) == 3
        assert not [line for line in one.logs if line["level"] == "error"]
        return line

    return check


def test_disk_full_by_bytes(daemon, associate, echo, store, is_whole, load, mounts, tmp_path):
    folder = tmp_path / "small"
    mounts.tmpfs(folder, "size=8m")
    one = daemon(storage={"directory": str(folder)})
    with load(one):
        client = associate(one)
        statuses = [store(client, f"1.2.3.{number}", MiB) for number in range(10)]
        kept = statuses.index(OUT_OF_RESOURCES)
        assert kept >= 6
        assert statuses == [0] * kept + [OUT_OF_RESOURCES] * (10 - kept)
        assert one.spool() == []
        assert echo(client) == 0
        stored = one.stored()
        assert len(stored) == kept
        assert all(is_whole(path, path.stem, MiB) for path in stored)
        for path in stored:
            path.unlink()
        assert store(client, "1.2.3.99", MiB) == 0
        client.release()
    assert [path.stem for path in one.stored()] == ["1.2.3.99"]
    (line,) = [line for line in one.associations() if "C-STORE A700" in line["messages"]]
    assert any("No space left on device" in problem for problem in line["problems"])


def test_disk_full_in_the_middle_of_an_instance(daemon, associate, echo, store, load, mounts, tmp_path):
    """The rest of it is read and forgotten, so that the answer is heard."""
    folder = tmp_path / "small"
    mounts.tmpfs(folder, "size=8m")
    one = daemon(storage={"directory": str(folder)})
    with load(one):
        client = associate(one)
        assert store(client, "1.2.3.1", 30 * MiB) == OUT_OF_RESOURCES
        assert one.spool() == one.stored() == []
        assert echo(client) == 0
        assert store(client, "1.2.3.2", MiB) == 0


def test_disk_full_by_inodes(daemon, associate, echo, store, load, mounts, tmp_path):
    folder = tmp_path / "few"
    mounts.tmpfs(folder, "size=8m,nr_inodes=20")
    one = daemon(storage={"directory": str(folder)})
    with load(one):
        client = associate(one)
        statuses = [store(client, f"1.2.{number}", study=f"1.2.3.{number}") for number in range(10)]
        kept = statuses.index(OUT_OF_RESOURCES)
        assert kept >= 4
        assert set(statuses[kept:]) == {OUT_OF_RESOURCES}
        assert len(one.stored()) == kept
        assert one.spool() == []
        assert echo(client) == 0
        one.stored()[0].unlink()
        one.stored()[0].unlink()
        one.stored()[0].unlink()
        assert store(client, "1.2.99", study="1.2.3.99") == 0


def test_a_store_that_becomes_read_only(daemon, check_refusal, mounts, tmp_path):
    folder = tmp_path / "store"
    mounts.tmpfs(folder, "size=8m")
    one = daemon(storage={"directory": str(folder)})
    line = check_refusal(one, lambda: mounts.remount(folder, "ro"), lambda: mounts.remount(folder, "rw"))
    assert any("Read-only file system" in problem for problem in line["problems"])


def test_a_limit_on_the_size_of_files(daemon, check_refusal, process):
    """EFBIG; SIGXFSZ, which comes with it, ends nothing."""
    one = daemon()
    limited = process(one)
    line = check_refusal(
        one, lambda: limited.limit("fsize", 100_000), lambda: limited.limit("fsize", "unlimited"), pixels=200_000
    )
    assert any("File too large" in problem for problem in line["problems"])


def test_a_storage_directory_that_is_renamed_away(daemon, check_refusal, tmp_path):
    one = daemon()
    away = tmp_path / "away"
    check_refusal(one, lambda: one.directory.rename(away), lambda: away.rename(one.directory), within=NOTICED)
    assert not away.exists()


def test_another_directory_in_its_place_is_not_written_to(daemon, check_refusal, tmp_path):
    one = daemon()
    away = tmp_path / "away"

    def replace() -> None:
        one.directory.rename(away)
        one.directory.mkdir()

    def mend() -> None:
        one.directory.rmdir()  # fails where something was written to it
        away.rename(one.directory)

    line = check_refusal(one, replace, mend, within=NOTICED)
    assert any("unmounted or moved" in problem for problem in line["problems"])


def test_a_store_that_is_unmounted_does_not_fill_the_empty_mount_point(daemon, check_refusal, mounts, tmp_path):
    disk, folder = tmp_path / "disk", tmp_path / "store"
    mounts.tmpfs(disk, "size=8m")
    mounts.bind(disk, folder)
    one = daemon(storage={"directory": str(folder)})

    def mend() -> None:
        assert list(folder.iterdir()) == []
        mounts.bind(disk, folder)

    check_refusal(one, lambda: mounts.detach(folder), mend, within=NOTICED)


def test_a_spool_that_was_removed(daemon, associate, echo, store, load):
    """By a tidy hand: refused, since nothing can be put there; the daemon goes on."""
    one = daemon()
    with load(one):
        client = associate(one)
        one.directory.joinpath(".incoming").rmdir()
        assert store(client, "1.2.3.1") == OUT_OF_RESOURCES
        assert echo(client) == 0
    assert one.stored() == []


def test_a_file_where_a_directory_is_due_and_a_link_at_the_name_of_an_instance(
    daemon, associate, store, is_whole, load, tmp_path
):
    """What stands in the way is never followed and never destroyed; what is a link is replaced, not what it names."""
    one = daemon()
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (one.directory / "1.2.8").write_text("a file")
    (one.directory / "1.2.9").symlink_to(tmp_path)
    with load(one):
        client = associate(one)
        assert store(client, "1.2.3.1", study="1.2.8") == OUT_OF_RESOURCES
        assert store(client, "1.2.3.1", study="1.2.9") == OUT_OF_RESOURCES
        assert store(client, "1.2.3.2") == 0
        (path,) = [path for path in one.stored() if path.name == "1.2.3.2.dcm"]
        path.unlink()
        path.symlink_to(precious)
        assert store(client, "1.2.3.2") == 0
    assert precious.read_text() == "precious"
    assert not path.is_symlink()
    assert is_whole(path, "1.2.3.2")
    assert one.spool() == []
