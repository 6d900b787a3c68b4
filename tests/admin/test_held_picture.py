"""Reading one file: the attributes that are told of it, its picture, and what keeps both within bounds."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import MPEG2MPML as MPEG
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEG2000Lossless

from scpd.admin.held.reading import MOST_ROWS, described, pictured
from scpd.admin.held.viewer import Viewer

from .shelf import needs_numpy

PATIENCE = 60.0
SHIPPED = sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))


def image(values: list[list[int]], **more) -> Dataset:
    """Grey values in sixteen bits."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = len(values), len(values[0])
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.PixelData = struct.pack(f"<{dataset.Rows * dataset.Columns}h", *(one for row in values for one in row))
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return dataset


def written(dataset: Dataset) -> io.BytesIO:
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    file.seek(0)
    return file


def shown(dataset: Dataset, number: int = 1) -> tuple[dict, bytes]:
    file = written(dataset)
    found, _ = described(file)
    return pictured(file, found, number)


def pixels(png: bytes) -> list[list[int]]:
    """The bytes of each line of a PNG without filters."""
    chunks, place = {}, 8
    while place < len(png):
        length, kind = struct.unpack(">I4s", png[place : place + 8])
        data = png[place + 8 : place + 8 + length]
        assert struct.unpack(">I", png[place + 8 + length : place + 12 + length])[0] == zlib.crc32(kind + data)
        chunks[kind] = data
        place += 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert depth == 8
    lines = zlib.decompress(chunks[b"IDAT"])
    size = 1 + width * (3 if colour == 2 else 1)
    assert len(lines) == height * size
    return [list(lines[n * size + 1 : (n + 1) * size]) for n in range(height)]


@needs_numpy
def test_a_window_says_what_is_black_and_what_is_white():
    """PS3.3 C.11.2.1.2.1, with the rescale slope and intercept before it."""
    values = [[0, 100, 200], [300, 400, 500]]
    windowed = {
        "RescaleSlope": "2",
        "RescaleIntercept": "-100",
        "WindowCenter": ["300.5", "1"],
        "WindowWidth": ["401", "1"],
    }
    about, png = shown(image(values, **windowed))
    assert about == {"frames": 1, "step": 1, "why": ""}
    # -100 100 300 / 500 700 900 in units, of which 100 is black and 500 white.
    assert pixels(png) == [[0, 0, 127], [255, 255, 255]]


@needs_numpy
def test_without_a_window_everything_is_seen_but_the_padding():
    about, png = shown(image([[-2000, 0], [50, 100]], PixelPaddingValue=-2000))
    assert about["why"] == ""
    (padding, low), (middle, high) = pixels(png)
    assert (padding, low, high) == (0, 0, 255)
    assert 120 < middle < 135


@needs_numpy
def test_monochrome1_is_turned_around():
    _, png = shown(image([[0, 1000]], PhotometricInterpretation="MONOCHROME1"))
    assert pixels(png) == [[255, 0]]


@needs_numpy
def test_an_image_of_one_value_and_one_of_bits_have_a_picture():
    about, png = shown(image([[7, 7], [7, 7]]))
    assert about["why"] == ""
    assert len(pixels(png)) == 2
    bits = image([[0] * 8], BitsAllocated=1, BitsStored=1, HighBit=0, PixelRepresentation=0)
    bits.PixelData = b"\x05\x00"
    assert pixels(shown(bits)[1]) == [[255, 0, 255, 0, 0, 0, 0, 0]]


@needs_numpy
def test_colours_stay_what_they_are():
    colours = image([[0]], SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    colours.BitsAllocated = colours.BitsStored = 8
    colours.HighBit, colours.PixelRepresentation, colours.PixelData = 7, 0, b"\x0a\x64\xff\x00"
    assert pixels(shown(colours)[1]) == [[10, 100, 255]]


@needs_numpy
def test_a_large_image_is_thinned_out():
    about, png = shown(image([[0, 100] * 2500] * 3))
    assert about["step"] == 3
    assert (len(pixels(png)), len(pixels(png)[0])) == (1, 1667)


@needs_numpy
def test_what_is_deflated_has_its_picture_too():
    dataset = image([[0, 1000]])
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    assert pixels(shown(dataset)[1]) == [[0, 255]]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"Rows": 65535, "Columns": 65535}, "more than are decoded"),
        ({"Rows": 0}, "it is no image"),
        ({"SamplesPerPixel": 60000, "Rows": 2000}, "more than are decoded"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_too_much_or_too_little_is_a_sentence_before_anything_is_decoded(more, why):
    about, png = shown(image([[1, 2]], **more))
    assert why in about["why"]
    assert png == b""


@pytest.mark.filterwarnings("ignore")
def test_a_number_that_is_none_is_a_sentence():
    file = io.BytesIO(written(image([[1, 2]], NumberOfFrames="7777")).getvalue().replace(b"7777", b"many"))
    dataset, told = described(file)
    assert [row[4] for row in told["rows"] if row[1] == "0028,0008"] != ["7777"]
    about, png = pictured(file, dataset, 1)
    assert "cannot be decoded: ValueError" in about["why"]
    assert png == b""


@pytest.mark.parametrize("number", [0, 2, 10**9])
def test_a_frame_that_is_not_there_is_a_sentence(number):
    about, _ = shown(image([[1, 2]]), number)
    assert about["why"] == f"there is no frame {number}: it has 1"


def test_a_syntax_without_a_decoder_is_a_sentence():
    dataset = image([[1, 2]])
    dataset.file_meta.TransferSyntaxUID = MPEG
    dataset.PixelData = (
        b"\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\x00\xe0\x02\x00\x00\x00\x00\x00\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    )
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    assert "is not decoded here" in shown(dataset)[0]["why"]
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    about, png = shown(dataset)
    assert "needs a decoder: pip install 'scpd[pixels]'" in about["why"] or "cannot be decoded" in about["why"]
    assert png == b""


def test_attributes_are_bounded_in_number_depth_and_length():
    dataset = image([[1]], PatientComments="x" * 5000, EncapsulatedDocument=bytes(3000))
    dataset.add_new(0x00091001, "LO", "p" * 64)
    dataset.add_new(0x00091002, "UT", "q" * 65)
    below = dataset
    for _ in range(30):
        item = Dataset()
        item.StudyID = "deep"
        below.add_new(0x00081140, "SQ", [item])
        below = item
    _, told = described(written(dataset))
    values = {row[1]: row[4] for row in told["rows"] if row[0] == 0}
    assert values["0010,4000"] == "x" * 200 + "…"
    assert values["0042,0011"] == "3,000 bytes"
    assert values["0009,1001"] == "p" * 64
    assert values["0009,1002"] == "q" * 64 + "…"
    assert values["0008,0016"] == f"{CTImageStorage} (CT Image Storage)"
    assert max(row[0] for row in told["rows"]) == 4
    wide = image([[1]])
    wide.ReferencedImageSequence = [item] * (MOST_ROWS + 5)
    _, told = described(written(wide))
    assert len(told["rows"]) == MOST_ROWS
    assert told["left_out"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore")
def test_every_file_that_pydicom_ships_is_shown_or_a_sentence(path):
    with path.open("rb") as file:
        dataset, told = described(file)
        assert told["rows"] or told["why"]
        if dataset is not None:
            about, png = pictured(file, dataset, 1)
            assert bool(png) != bool(about["why"])
            assert not png or pixels(png)
    json.dumps(told)


# The process apart


def _file(tmp_path, content: bytes) -> str:
    path = tmp_path / "file"
    path.write_bytes(content)
    return str(path)


def test_a_file_is_read_by_another_process_with_the_same_result(tmp_path):
    content = written(image([[0, 1000]])).getvalue()
    viewer = Viewer()
    sheet = viewer.look(_file(tmp_path, content), 1)
    dataset, told = described(io.BytesIO(content))
    assert [list(row) for row in sheet.attributes] == [list(row) for row in told["rows"]]
    about, png = pictured(io.BytesIO(content), dataset, 1)
    assert (sheet.frames, sheet.no_picture, sheet.png) == (1, about["why"], png)


def test_one_that_takes_too_long_is_ended(tmp_path):
    path = _file(tmp_path, written(image([[1]])).getvalue())
    sheet = Viewer(0.01).look(path, 1)
    assert sheet.why == "the file cannot be read: it took longer than 0.01 s"
    assert "it took longer" in sheet.no_picture
    assert Viewer().look(path, 1).why == ""


@pytest.mark.parametrize("content", [b"", b"\0" * 200, b"\0" * 128 + b"DICM", os.urandom(5000)])
def test_a_file_of_rubbish_is_a_sentence(tmp_path, content):
    sheet = Viewer().look(_file(tmp_path, content), 1)
    assert sheet.png == b""
    assert sheet.no_picture


def test_a_file_that_is_changed_is_read_anew_and_a_link_not_at_all(tmp_path):
    viewer = Viewer()
    path = _file(tmp_path, written(image([[1]], StudyID="one")).getvalue())
    assert any(row.value == "one" for row in viewer.look(path, 1).attributes)
    _file(tmp_path, written(image([[1]], StudyID="other")).getvalue())
    assert any(row.value == "other" for row in viewer.look(path, 1).attributes)
    (tmp_path / "link").symlink_to(path)
    assert "symbolic links" in viewer.look(str(tmp_path / "link"), 1).why


def _squeezed(data: bytes) -> bytes:
    """Deflated by itself, with more to come after it."""
    squeeze = zlib.compressobj(9, wbits=-15)
    return squeeze.compress(data) + squeeze.flush(zlib.Z_FULL_FLUSH)


def test_what_a_file_inflates_to_is_bounded(tmp_path):
    """A few MiB that would be 8 GiB: the reading process ends, and says why."""
    dataset = Dataset()
    dataset.file_meta = image([[1]]).file_meta
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    front = written(dataset).getvalue()
    front = front[: 144 + int.from_bytes(front[140:144], "little")]
    element = struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, 0xFFFFFFFE)
    path = tmp_path / "bomb"
    path.write_bytes(
        front + _squeezed(element) + _squeezed(bytes(1 << 20)) * 8192 + zlib.compressobj(wbits=-15).flush()
    )
    assert path.stat().st_size < 16 << 20
    sheet = Viewer().look(str(path), 1)
    assert "memory" in sheet.why or "too long" in sheet.why or "took longer" in sheet.why


def test_the_program_says_nothing_of_numpy_where_there_is_none(tmp_path):
    """It is not imported before there is a frame to decode."""
    path = _file(tmp_path, written(image([[1]])).getvalue())
    code = (
        "import sys; sys.modules['numpy'] = None; import scpd.admin.held.reading as it; sys.argv = ['', '1']; it.main()"
    )
    with Path(path).open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-c", code], stdin=file, capture_output=True, timeout=PATIENCE, check=True
        )
    about = json.loads(done.stdout.splitlines()[1])
    assert about["why"] == "pictures need numpy: pip install 'scpd[pixels]'"
