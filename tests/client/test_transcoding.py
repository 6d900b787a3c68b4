"""A data set in another encoding: the same pixels and the same attributes, never less than was held."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from scpd.client.instance import converted
from scpd.client.transcoding import NotTranscoded, make_plain

FOLDER = Path(get_testdata_file("CT_small.dcm", download=False)).parent
PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
# What says what the pixel data are: theirs to change.
PIXELS = {"PixelData", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of what is wrong in its own files


def transcoded(path: Path, syntax: UID) -> Dataset:
    with path.open("rb", buffering=0) as file:
        data = b"".join(bytes(piece.view) for piece in converted(file, syntax))
    dataset = read_dataset(BytesIO(data), syntax.is_implicit_VR, is_little_endian=True)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def images(compressed: bool) -> list[Path]:
    found = []
    for path in sorted(FOLDER.glob("*.dcm")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(path, force=True, specific_tags=["Rows"])
        syntax = dataset.file_meta.get("TransferSyntaxUID", UID("1.2"))
        if "Rows" in dataset and syntax.is_transfer_syntax and not syntax.is_private:
            found += [path] * (syntax.is_encapsulated is compressed)
    return found


# pydicom itself cannot show what is in these, or write what was read: no SOP class, pixel data that are cut, a VR "??".
BROKEN = {"SC_rgb_jpeg.dcm", "JPEG-lossy.dcm", "JPEG2000-embedded-sequence-delimiter.dcm", "meta_missing_tsyntax.dcm"}
# No plug-in of the extra can decode these: JPEG of 12 bits, and signed pixels that their stream calls unsigned.
BEYOND = {"JPGExtended.dcm", "J2K_pixelrep_mismatch.dcm"}


@pytest.mark.parametrize("syntax", PLAIN)
@pytest.mark.parametrize(
    "path", [one for one in images(compressed=True) if one.name not in BROKEN | BEYOND], ids=lambda one: one.stem
)
def test_compressed_pixels_are_those_that_were_there(path, syntax):
    pytest.importorskip("numpy")
    original = dcmread(path)
    if original.file_meta.TransferSyntaxUID != "1.2.840.10008.1.2.5":
        pytest.importorskip("gdcm")
    after = transcoded(path, syntax)
    assert (after.pixel_array == original.pixel_array).all()
    assert "422" not in after.PhotometricInterpretation
    same = [element.keyword for element in original if element.keyword and element.keyword not in PIXELS]
    assert len(same) > 5
    for keyword in same:
        assert after[keyword].value == original[keyword].value, keyword
    assert len(after.PixelData) % 2 == 0


@pytest.mark.parametrize("name", sorted(BEYOND))
def test_what_no_plug_in_can_decode_is_not_sent_as_something_else(name):
    pytest.importorskip("gdcm")
    with pytest.raises(ValueError, match="decoded|read-only"):  # the latter is a plug-in's own
        transcoded(FOLDER / name, ExplicitVRLittleEndian)


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_bigendian.dcm",
        "rtdose_expb.dcm",
        "rtdose_expb_1frame.dcm",
        "SC_rgb_small_odd_big_endian.dcm",
        "ExplVR_BigEnd.dcm",
    ],
)
def test_big_endian_becomes_little(name):
    """Pixel data are turned word by word; what is in bytes stays as it is."""
    original = dcmread(FOLDER / name)
    assert original.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    after = transcoded(FOLDER / name, ExplicitVRLittleEndian)
    width = max(original.BitsAllocated // 8, 1 if original["PixelData"].VR == "OB" else 2)
    before = original.PixelData
    assert after.PixelData == b"".join(before[at : at + width][::-1] for at in range(0, len(before), width))
    assert (after.Rows, after.Columns) == (original.Rows, original.Columns)


def test_big_endian_and_little_are_the_same_image():
    little = dcmread(FOLDER / "MR_small.dcm")
    for syntax in PLAIN:
        after = transcoded(FOLDER / "MR_small_bigendian.dcm", syntax)
        assert after.PixelData == little.PixelData
        assert after.PatientName == little.PatientName


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small_implicit.dcm", "image_dfl.dcm", "rtplan.dcm", "reportsi.dcm"]
)
@pytest.mark.parametrize("syntax", PLAIN)
def test_what_is_plain_already_keeps_every_element(name, syntax):
    original, after = dcmread(FOLDER / name), transcoded(FOLDER / name, syntax)
    assert [element.tag for element in after] == [element.tag for element in original]
    for element in original:
        if element.VR != "UN":
            assert after[element.tag].value == element.value, element


def test_without_a_plug_in_it_is_said_what_cannot_be_decoded(monkeypatch):
    def no_plug_in(*_, **__):
        raise RuntimeError("the plugins are all missing dependencies")

    dataset = dcmread(FOLDER / "MR_small_jp2klossless.dcm")
    monkeypatch.setattr(type(dataset), "decompress", no_plug_in)
    with pytest.raises(NotTranscoded, match="its JPEG2000Lossless cannot be decoded here"):
        make_plain(dataset)


def test_an_image_that_would_be_too_large_is_not_begun():
    dataset = dcmread(FOLDER / "MR_small_RLE.dcm")
    dataset.Rows = dataset.Columns = 65535
    with pytest.raises(NotTranscoded, match="more than 1073741824 bytes"):
        make_plain(dataset)


def test_a_private_encoding_is_not_touched():
    dataset = dcmread(FOLDER / "CT_small.dcm")
    dataset.file_meta.TransferSyntaxUID = UID("1.2.3.4")
    with pytest.raises(NotTranscoded, match="not one of the standard's"):
        make_plain(dataset)


def test_an_encapsulated_data_set_without_pixels_is_plain_already():
    dataset = dcmread(FOLDER / "MR_small_RLE.dcm")
    del dataset.PixelData
    make_plain(dataset)
    assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
