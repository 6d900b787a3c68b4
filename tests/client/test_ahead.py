"""Files opened ahead: their bytes in pieces, whatever their size, two of them at a time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from scpd.client import ahead
from scpd.client.ahead import Ahead
from scpd.errors import Interrupted, UnreadableDataSet
from scpd.part10 import FileMeta, read_head

HEADER = FileMeta("1.2.840.10008.1.2.1", "MODALITY").header("1.2.840.10008.5.1.4.1.1.2", "1.2.3")
AHEAD = ahead._AHEAD


def pieces(opened) -> list[tuple[bytes, bool]]:
    return [(bytes(piece.view), piece.is_last) for piece in opened.pieces()]


@pytest.mark.parametrize(
    "size",
    [0, 2, 3, 1000, *(AHEAD - len(HEADER) + more for more in (-2, -1, 0, 1, 2)), AHEAD, 2 * AHEAD, 3 * AHEAD + 7],
)
def test_a_file_of_any_size_comes_whole(tmp_path, size):
    """All pieces are even, and the last one alone says so; a byte is added where the data set is not."""
    data = os.urandom(size)
    (tmp_path / "x").write_bytes(HEADER + data)
    opened = Ahead().open(tmp_path / "x")
    came = pieces(opened)
    opened.close()
    assert b"".join(part for part, _ in came) == data + bytes(size & 1)
    assert [is_last for _, is_last in came] == [False] * (len(came) - 1) + [True]
    assert all(len(part) % 2 == 0 for part, _ in came)
    assert opened.size == len(HEADER) + size


def test_the_next_may_be_opened_while_one_is_sent(tmp_path):
    contents = [HEADER + os.urandom(AHEAD * number // 2 + 100) for number in range(6)]
    for number, content in enumerate(contents):
        (tmp_path / str(number)).write_bytes(content)
    reading, came = Ahead(), []
    current = reading.open(tmp_path / "0")
    for number in range(1, 7):
        following = reading.open(tmp_path / str(number)) if number < 6 else None
        came.append(b"".join(part for part, _ in pieces(current)))
        current.close()
        current = following
    assert came == [content[len(HEADER) :] for content in contents]


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm", "rtplan.dcm"])
def test_the_head_is_that_of_the_file(name):
    path = Path(get_testdata_file(name, download=False))
    opened = Ahead().open(path)
    with path.open("rb") as file:
        assert opened.head == read_head(file)
    assert opened.whole().read() == path.read_bytes()
    opened.close()


def test_meta_information_longer_than_is_read_ahead(tmp_path, monkeypatch):
    """The head ends behind what is in memory: a private one of 5,000 bytes, and a buffer of 2,048."""
    private = b"\2\0\2\1OB\0\0" + (5000).to_bytes(4, "little") + bytes(5000)
    (tmp_path / "x").write_bytes(HEADER + private + b"data set")
    opened = Ahead().open(tmp_path / "x")
    assert pieces(opened) == [(b"data set", True)]
    opened.close()


@pytest.mark.parametrize("content", [b"", b"no image", HEADER[:100]])
def test_what_is_no_file_of_dicom_is_closed_again(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(UnreadableDataSet):
        Ahead().open(tmp_path / "x")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        Ahead().open(tmp_path / "x")


def test_a_file_that_is_cut_meanwhile_says_so(tmp_path):
    (tmp_path / "x").write_bytes(HEADER + bytes(3 * AHEAD))
    opened = Ahead().open(tmp_path / "x")
    os.truncate(tmp_path / "x", AHEAD + 10)
    with pytest.raises(Interrupted, match="became shorter"):
        pieces(opened)
    opened.close()
