"""A data set in any encoding → the same in one without compression that is little endian, in place (PS3.5 annex A).

Nothing is lost: pixel data are decoded and never encoded, colours stay in the colour space that the decoder gives, and
what says that something was lost before (Lossy Image Compression) stays. Decoding is pydicom's, and needs its plugins.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from pydicom.uid import ExplicitVRLittleEndian

from scpd.sop_class import uid_keyword

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

# More pixel data than this are not decoded, in bytes: all of them stand in memory, several times over.
_MOST_PIXELS = 1024 * 1024 * 1024
# How wide the words of a value are that pydicom leaves as it found it (PS3.5 7.3).
_WORDS = {"OW": "H", "OL": "I", "OF": "I", "OD": "Q", "OV": "Q"}
_WIDE_PIXELS = {32: "I", 64: "Q"}  # in OW, and turned as a whole by those who write them
_PIXEL_DATA = 0x7FE00010
_SUBSAMPLED = ("YBR_FULL_422", "YBR_PARTIAL_422")


class NotTranscoded(ValueError):
    """The data set cannot be had in another encoding; says why, without any of its values."""


def make_plain(dataset: FileDataset) -> None:
    """Decompress, or put into little endian; a data set that is plain already stays. Raises :class:`NotTranscoded`.

    What is broken in a data set may make pydicom raise something else.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise NotTranscoded("its transfer syntax is not one of the standard's")
    if syntax.is_encapsulated:
        _decompress(dataset)
    elif not syntax.is_little_endian:
        _swap(dataset)


def _decompress(dataset: FileDataset) -> None:
    keyword = uid_keyword(dataset.file_meta.TransferSyntaxUID)
    if "PixelData" not in dataset:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        return
    if _decoded_size(dataset) > _MOST_PIXELS:
        raise NotTranscoded(f"its {keyword} would be more than {_MOST_PIXELS} bytes when decoded")
    try:
        dataset.decompress(as_rgb=False, generate_instance_uid=False)
    except (RuntimeError, ImportError, NotImplementedError) as error:
        raise NotTranscoded(f"its {keyword} cannot be decoded here") from error
    if dataset.PhotometricInterpretation in _SUBSAMPLED and len(dataset.PixelData) >= _decoded_size(dataset):
        dataset.PhotometricInterpretation = "YBR_FULL"  # a decoder of JPEG gives every pixel its colour


def _decoded_size(dataset: Dataset) -> int:
    bits = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * dataset.BitsAllocated
    return int(bits * int(dataset.get("NumberOfFrames") or 1)) // 8


def _swap(dataset: Dataset) -> None:
    """What pydicom reads as numbers it writes in the right order; what it leaves as bytes is turned here."""
    pixels = _WIDE_PIXELS.get(dataset.get("BitsAllocated", 0), "H")
    for element in dataset.iterall():
        code = _WORDS.get(element.VR)
        if code and isinstance(element.value, bytes):
            element.value = _turned(element.value, pixels if element.tag == _PIXEL_DATA and code == "H" else code)


def _turned(value: bytes, code: str) -> bytes:
    words = array(code)
    whole = len(value) // words.itemsize * words.itemsize
    words.frombytes(value[:whole])
    words.byteswap()
    return words.tobytes() + value[whole:]
