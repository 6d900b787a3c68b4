"""The front of a file as PS3.10 7.1 has it, read back by pydicom."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.filereader import read_file_meta_info

from scpd.names import AE_TITLE_LENGTH
from scpd.part10 import FileMeta
from scpd.version import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

EXPLICIT = "1.2.840.10008.1.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"


def header(source: str = "CT1", instance: str = "1.2.3", syntax: str = EXPLICIT) -> bytes:
    return FileMeta(syntax, source).header(CT, instance)


def meta(raw: bytes):
    return dcmread(io.BytesIO(raw)).file_meta


def test_pydicom_reads_back_every_element():
    found = meta(header())
    assert {element.keyword: element.value for element in found} == {
        "FileMetaInformationGroupLength": len(header()) - 144,
        "FileMetaInformationVersion": b"\0\1",
        "MediaStorageSOPClassUID": CT,
        "MediaStorageSOPInstanceUID": "1.2.3",
        "TransferSyntaxUID": EXPLICIT,
        "ImplementationClassUID": IMPLEMENTATION_CLASS_UID,
        "ImplementationVersionName": IMPLEMENTATION_VERSION_NAME,
        "SourceApplicationEntityTitle": "CT1",
    }


def test_the_preamble_is_zeros_so_that_nothing_executable_hides_in_it():
    assert header()[:132] == bytes(128) + b"DICM"


@given(st.integers(1, 64), st.text("ABC xyz1", max_size=16))
def test_the_group_length_leads_to_the_data_set_whatever_the_lengths_before_it(length, source):
    instance = "1" * length
    raw = header(source, instance)
    assert len(raw) % 2 == 0
    found = meta(raw)
    assert 144 + found.FileMetaInformationGroupLength == len(raw)
    assert found.MediaStorageSOPInstanceUID == instance


def test_the_data_set_follows_byte_for_byte(tmp_path):
    data = bytes.fromhex("0800 1800 5549 0600") + b"1.2.3\0"
    path = tmp_path / "one.dcm"
    path.write_bytes(header() + data)
    assert path.read_bytes()[len(header()) :] == data
    assert dcmread(path).SOPInstanceUID == "1.2.3"
    assert read_file_meta_info(path).TransferSyntaxUID == EXPLICIT


def test_without_a_source_there_is_no_element_for_it():
    assert "SourceApplicationEntityTitle" not in meta(header(source=""))


@pytest.mark.parametrize("title", ["\\xff" * 16, "A\nB", "CT\\1", "A\x1b[31mB"])
def test_a_source_that_is_no_ae_title_does_not_make_the_file_wrong(title):
    r"""A title of odd bytes reaches here as ``\xff``…: a backslash would make two values of it (PS3.5 6.2)."""
    source = meta(header(source=title)).get("SourceApplicationEntityTitle", "")
    assert isinstance(source, str), "one value"
    assert source.isprintable()
    assert len(source) <= AE_TITLE_LENGTH
