"""Data sets to read: pydicom's own shipped test set, as bytes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pydicom.data
import pytest
from pydicom import dcmread
from pydicom.filereader import _read_file_meta_info, read_preamble

FOLDER = Path(pydicom.data.__file__).parent / "test_files"
# What these have no word for, pydicom guesses from the first bytes.
GUESSED = {
    (True, True): "1.2.840.10008.1.2",
    (False, True): "1.2.840.10008.1.2.1",
    (False, False): "1.2.840.10008.1.2.2",
}
# DICOM files without anything that a data set needs: file meta information alone.
NO_DATA_SET = ("no_meta.dcm",)


class Sample(NamedTuple):
    """A data set, its transfer syntax, and its first elements as pydicom reads them: raw values by tag."""

    name: str
    transfer_syntax: str
    data: bytes
    values: dict[int, bytes]


def _raw(value) -> bytes:
    # pydicom has decoded Specific Character Set already, and padding is no matter of content.
    if isinstance(value, str):
        value = value.encode()
    elif value and not isinstance(value, bytes):
        value = "\\".join(value).encode()
    return (value or b"").rstrip(b" \0")


def _sample(path: Path, tags: frozenset[int]) -> Sample:
    with path.open("rb") as file:
        read_preamble(file, force=True)
        meta = _read_file_meta_info(file)
        data = file.read()
    dataset = dcmread(path, force=True)
    syntax = meta.get("TransferSyntaxUID") or GUESSED[dataset.original_encoding]
    values = {tag: _raw(dataset.get_item(tag).value) for tag in tags if tag in dataset}
    return Sample(path.name, str(syntax), data, values)


def _is_dicom(path: Path) -> bool:
    return path.is_file() and (path.suffix == ".dcm" or not path.suffix) and not path.name.startswith("README")


@pytest.fixture(scope="session")
def head_tags() -> frozenset[int]:
    """What a path or an index asks for."""
    identifying = (0x00080005, 0x00080016, 0x00080018, 0x00080020, 0x00080060, 0x00100010, 0x00100020)
    return frozenset((*identifying, 0x0020000D, 0x0020000E, 0x00200010, 0x00200011, 0x00200013))


@pytest.fixture(scope="session")
def samples(head_tags) -> list[Sample]:
    """Every DICOM file that pydicom ships, those without meta information included."""
    found = [
        _sample(path, head_tags)
        for path in sorted(FOLDER.rglob("*"))
        if _is_dicom(path) and path.name not in NO_DATA_SET
    ]
    assert len(found) > 150
    return found
