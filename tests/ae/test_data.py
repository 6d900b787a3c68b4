"""pydicom's data sets to bytes and back, in the encodings without compression (PS3.5 annex A)."""

from __future__ import annotations

import os
import zlib

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID

from scpd.ae import data
from scpd.sop_class import UNCOMPRESSED

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

IMPLICIT, EXPLICIT, DEFLATED, BIG = map(str, UNCOMPRESSED)
CT = "1.2.840.10008.5.1.4.1.1.2"


def sample() -> Dataset:
    """Strings, numbers, a sequence, private elements, an empty value, non-ASCII text."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID = "Müller^Jürgen", "P"
    dataset.Rows, dataset.Columns, dataset.BitsAllocated, dataset.PixelRepresentation = 2, 1, 16, 0
    dataset.SliceThickness = "1.5"
    dataset.StudyDate = ""
    dataset.ReferencedSOPSequence = [Dataset(), Dataset()]
    dataset.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2.3"
    block = dataset.private_block(0x0009, "SCPD", create=True)
    block.add_new(0x01, "LO", "private")
    block.add_new(0x02, "US", 258)
    dataset.add_new(Tag("PixelData"), "OW", b"\1\2\3\4")
    return dataset


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, DEFLATED])
def test_what_is_encoded_is_decoded_the_same(syntax):
    encoded = data.encode(sample(), syntax)
    assert len(encoded) % 2 == 0
    decoded = data.decode(encoded, syntax)
    if syntax == IMPLICIT:  # where the private elements have lost their VR
        decoded[0x00091001].value, decoded[0x00091002].value
        assert decoded.PatientName == "Müller^Jürgen"
        assert (decoded.Rows, decoded.PixelData) == (2, b"\1\2\3\4")
    else:
        assert decoded == sample()


def test_big_endian_swaps_numbers_and_no_text():
    encoded = data.encode(sample(), BIG)
    assert b"\x00\x28\x00\x10US\x00\x02\x00\x02" in encoded
    decoded = data.decode(encoded, BIG)
    assert (decoded.Rows, decoded[0x00091002].value, decoded.PatientName) == (2, 258, "Müller^Jürgen")
    assert decoded.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3"


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
def test_an_empty_data_set_is_no_bytes_but_where_deflated(syntax):
    encoded = data.encode(Dataset(), syntax)
    assert encoded == (b"" if syntax != DEFLATED else encoded)
    assert len(encoded) % 2 == 0
    assert data.decode(encoded, syntax) == Dataset()


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
def test_a_files_data_set_is_encoded_in_any_of_them(syntax):
    dataset = dcmread(get_testdata_file("MR_small.dcm"))
    decoded = data.decode(data.encode(dataset, syntax), syntax)
    assert decoded.SOPInstanceUID == dataset.SOPInstanceUID
    assert (decoded.Rows, decoded.ImagePositionPatient) == (dataset.Rows, dataset.ImagePositionPatient)


def test_explicit_encoding_of_a_file_in_explicit_is_what_pydicom_writes(tmp_path):
    path = get_testdata_file("CT_small.dcm")
    dataset = dcmread(path)
    dataset.save_as(tmp_path / "again.dcm")
    assert (tmp_path / "again.dcm").read_bytes().endswith(data.encode(dataset, EXPLICIT))


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
def test_group_0002_is_never_sent(syntax):
    """File meta information is no part of a data set (PS3.5 7.1)."""
    dataset = sample()
    plain = data.encode(dataset, syntax)
    dataset.add_new(0x00020010, "UI", EXPLICIT)
    dataset.add_new(0x00020016, "AE", "SCU")
    assert data.encode(dataset, syntax) == plain


def test_encoding_leaves_the_data_set_alone():
    dataset = sample()
    dataset.add_new(0x00020010, "UI", EXPLICIT)
    data.encode(dataset, EXPLICIT)
    assert 0x00020010 in dataset


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [(0x00280010, "US", 70_000), (0x00280010, "US", "x"), (0x00080008, "CS", object())],
)
def test_what_cannot_be_encoded_is_a_value_error_that_names_the_encoding(syntax, tag, vr, value):
    dataset = Dataset()
    dataset.add_new(tag, vr, value)
    with pytest.raises(ValueError, match=f"cannot be encoded as {UID(syntax).name}"):
        data.encode(dataset, syntax)


def test_an_ambiguous_vr_that_nothing_decides_is_a_value_error():
    dataset = Dataset()
    dataset.PixelData = b"\1\2"
    with pytest.raises(ValueError, match="BitsAllocated"):
        data.encode(dataset, EXPLICIT)


# -- decoding what a peer sent


def test_decoding_reads_elements_when_they_are_looked_at():
    """A value without a meaning harms nobody who does not ask for it."""
    decoded = data.decode(data.encode(sample(), EXPLICIT)[:-16] + b"\xe0\x7f\x01\x00US\x03\x00abc", EXPLICIT)
    assert decoded.PatientID == "P"
    with pytest.raises(Exception, match="3"):
        str(decoded[0x7FE00001])


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_bytes_cut_anywhere_give_what_is_whole_or_a_value_error(syntax):
    """Nothing else is raised, wherever the peer stopped."""
    encoded = data.encode(sample(), syntax)
    for length in range(len(encoded)):
        try:
            decoded = data.decode(encoded[:length], syntax)
        except ValueError:
            continue
        assert isinstance(decoded, Dataset)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_noise_is_a_data_set_or_a_value_error(syntax):
    for length in (1, 7, 8, 64, 1000):
        for _ in range(20):
            try:
                data.decode(os.urandom(length), syntax)
            except ValueError:
                continue


def test_bytes_that_do_not_inflate_are_a_value_error():
    with pytest.raises(ValueError, match="Deflated"):
        data.decode(b"\xff" * 64, DEFLATED)


def test_a_deflated_stream_that_is_cut_is_a_value_error():
    encoded = data.encode(sample(), DEFLATED)
    with pytest.raises(ValueError, match="ends too early"):
        data.decode(encoded[: len(encoded) // 2], DEFLATED)


def test_a_deflated_data_set_with_its_padding_byte_is_read():
    """PS3.5 A.5: a trailing byte makes the length even."""
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    stream = deflate.compress(data.encode(sample(), EXPLICIT)) + deflate.flush()
    for padded in (stream, stream + b"\0"):
        assert data.decode(padded, DEFLATED) == sample()


def test_a_deflated_bomb_is_inflated_no_further_than_its_bound(monkeypatch):
    """A thousandth of the bytes on the wire would fill the memory."""
    monkeypatch.setattr(data, "LONGEST_INFLATED", 100_000)
    fits, bomb = Dataset(), Dataset()
    fits.add_new(Tag("PixelData"), "OW", bytes(99_000))
    bomb.add_new(Tag("PixelData"), "OW", bytes(10_000_000))
    assert data.decode(data.encode(fits, DEFLATED), DEFLATED) == fits
    encoded = data.encode(bomb, DEFLATED)
    assert len(encoded) < 20_000
    with pytest.raises(ValueError, match="longer than 100000 bytes"):
        data.decode(encoded, DEFLATED)


# -- without bulk data

BULK = (
    *((0x7FE00010, "OW"), (0x7FE00008, "OF"), (0x7FE00009, "OD"), (0x00287FE0, "UR"), (0x56000020, "OF")),
    *((0x00420011, "OB"), (0x5000200C, "OW"), (0x501E3000, "OW"), (0x60003000, "OW"), (0x601E3000, "OW")),
)


def with_bulk() -> Dataset:
    dataset = sample()
    for tag, vr in BULK:
        dataset.add_new(tag, vr, "http://x" if vr == "UR" else bytes(8))
    dataset.add_new(0x60000010, "US", 7)
    item = Dataset()
    item.NumberOfWaveformChannels = 2
    item.add_new(0x54001010, "OW", bytes(8))
    dataset.WaveformSequence = [item]
    return dataset


def test_without_bulk_data_leaves_out_what_table_z_1_1_names_and_nothing_else():
    whole = with_bulk()
    lean = data.without_bulk_data(with_bulk())
    assert [tag for tag, _ in BULK if tag in lean] == []
    assert 0x60000010 in lean, "of the overlay, its data alone"
    assert "WaveformData" not in lean.WaveformSequence[0]
    assert lean.WaveformSequence[0].NumberOfWaveformChannels == 2
    assert {int(element.tag) for element in lean} == {int(element.tag) for element in whole} - {tag for tag, _ in BULK}
    assert data.decode(data.encode(lean, EXPLICIT), EXPLICIT).PatientName == "Müller^Jürgen"


def test_without_bulk_data_leaves_the_data_set_alone():
    whole = with_bulk()
    data.without_bulk_data(whole)
    assert "PixelData" in whole
    assert "WaveformData" in whole.WaveformSequence[0]


def test_without_bulk_data_keeps_the_encoding_of_a_file():
    whole = dcmread(get_testdata_file("CT_small.dcm"))
    lean = data.without_bulk_data(whole)
    assert lean.file_meta.TransferSyntaxUID == EXPLICIT
    assert lean.SOPInstanceUID == whole.file_meta.MediaStorageSOPInstanceUID


def test_a_data_set_without_bulk_data_stays_as_it_is():
    dataset = Dataset()
    dataset.PatientID = "P"
    assert data.without_bulk_data(dataset) == dataset


# -- file meta information


def test_file_meta_of_a_c_store(tmp_path):
    meta = data.file_meta(CT, "1.2.3", EXPLICIT)
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (CT, "1.2.3")
    assert meta.TransferSyntaxUID == EXPLICIT
    assert meta.FileMetaInformationVersion == b"\0\1"
    dataset = sample()
    dataset.file_meta = meta
    dataset.save_as(tmp_path / "one.dcm", enforce_file_format=True)
    assert dcmread(tmp_path / "one.dcm") == dataset
