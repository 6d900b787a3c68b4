"""pydicom's data sets ↔ the bytes of a message, in the transfer syntax of its context (PS3.5, PS3.7 6.2).

Knows no association. What a data set of a peer holds is read when it is looked at: errors come up there.
"""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import UID

from scpd.transport.exchange import Piece
from scpd.version import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

# A deflated stream may grow a thousandfold when it is read: no further than this (bytes).
LONGEST_INFLATED = 1024 * 1024 * 1024


def encode(dataset: Dataset, transfer_syntax: str) -> bytes:
    """A data set in ``transfer_syntax``, without group 0002. Raises :class:`ValueError` when it cannot be encoded."""
    syntax = UID(transfer_syntax)
    stream = DicomBytesIO()
    stream.is_little_endian = syntax.is_little_endian
    stream.is_implicit_VR = syntax.is_implicit_VR
    group_2 = [element.tag for element in dataset.group_dataset(0x0002)]
    if group_2:
        dataset = shallow(dataset)
        for tag in group_2:
            del dataset[tag]
    try:
        write_dataset(stream, dataset)
    except Exception as error:  # pydicom raises whatever the value at fault led to
        raise ValueError(f"the data set cannot be encoded as {syntax.name}: {error}") from error
    encoded = stream.getvalue()
    if syntax.is_deflated:
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        encoded = deflate.compress(encoded) + deflate.flush()
        encoded += b"\0" * (len(encoded) & 1)
    return encoded


def decode(data: bytes, transfer_syntax: str) -> Dataset:
    """A data set from its bytes; elements are read when they are looked at.

    Raises :class:`ValueError` for bytes that are no data set as far as that shows at once.
    """
    syntax = UID(transfer_syntax)
    try:
        if syntax.is_deflated:
            data = _inflate(data)
        return read_dataset(BytesIO(data), syntax.is_implicit_VR, syntax.is_little_endian)
    except Exception as error:  # as above; what a peer sent is no fault of this program
        raise ValueError(f"the data set cannot be decoded as {syntax.name}: {error}") from error


def shallow(dataset: Dataset) -> Dataset:
    """A data set with the same elements, of which some may be taken away: ``Dataset(dataset)`` would share them all."""
    copied = Dataset({tag: dataset.get_item(tag) for tag in dataset.keys()})  # noqa: SIM118 iteration would decode
    implicit, little = dataset.original_encoding
    copied.set_original_encoding(implicit, little, dataset.original_character_set)
    for name in ("file_meta", "preamble"):
        if hasattr(dataset, name):
            setattr(copied, name, getattr(dataset, name))
    return copied


def file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax: str) -> FileMetaDataset:
    """File meta information for a data set that came in a C-STORE (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = UID(transfer_syntax)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    meta.set_original_encoding(is_implicit_vr=False, is_little_endian=True)
    return meta


def piece(encoded: bytes) -> Iterator[Piece]:
    """The bytes of a data set as a message sends them."""
    yield Piece(memoryview(encoded), is_last=True)


def _inflate(data: bytes) -> bytes:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflate.decompress(data, LONGEST_INFLATED)
    if inflate.unconsumed_tail:
        raise ValueError(f"it is longer than {LONGEST_INFLATED} bytes")
    if not inflate.eof:
        raise ValueError("it ends too early")
    return inflated


# PS3.4 table Z.1-1: what a retrieval without bulk data leaves out.
_BULK_DATA = (
    *("PixelData", "FloatPixelData", "DoubleFloatPixelData", "PixelDataProviderURL"),
    *("SpectroscopyData", "EncapsulatedDocument"),
)
_REPEATING_BULK_DATA = ((0x5000, 0x200C), (0x5000, 0x3000), (0x6000, 0x3000))  # audio, curve, overlay data


def without_bulk_data(dataset: Dataset) -> Dataset:
    """A copy without pixel data and its like (PS3.4 annex Z)."""
    lean = shallow(dataset)
    for keyword in _BULK_DATA:
        if keyword in lean:
            delattr(lean, keyword)
    for group, element in _REPEATING_BULK_DATA:
        for repeated in range(0, 0x20, 2):
            lean.pop((group + repeated, element), None)
    if "WaveformSequence" in lean:
        items = [shallow(item) for item in lean.WaveformSequence]
        for item in items:
            item.pop("WaveformData", None)
        del lean.WaveformSequence  # or the element, which both have, would get the new value
        lean.WaveformSequence = items
    return lean
