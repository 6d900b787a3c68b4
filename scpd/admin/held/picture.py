"""One frame of an image → a picture that a browser shows: grey or colour, in eight bits, as PNG.

For a look, not for a diagnosis: large ones are thinned out, and what is shown of the grey values is the first window
that the image names. Runs in a process of its own (see reading.py), and needs numpy, which not everybody has.
"""

from __future__ import annotations

import math
import struct
import zlib
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from pydicom import dcmread
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
from pydicom.pixels.utils import pixel_array

if TYPE_CHECKING:
    from typing import BinaryIO

    from pydicom.dataset import Dataset

# The most values in one frame that are decoded, and the longest side that is shown.
MOST_VALUES = 64 * 1024 * 1024
LONGEST_SIDE = 2048
INSTALL = "pip install 'scpd[pixels]'"
# What there is to see where no window is named: without the few darkest and brightest.
_DARKEST, _BRIGHTEST = 0.5, 99.5


class NoPicture(Exception):
    """There is none to be had; says why in a sentence."""


class Frame(NamedTuple):
    """A frame as PNG, of which every ``step``-th row and column is shown."""

    png: bytes
    step: int


def frames(dataset: Dataset) -> int:
    """How many there are to look at; none where it is no image."""
    if not (dataset.get("Rows") and dataset.get("Columns")):
        return 0
    return max(1, int(dataset.get("NumberOfFrames") or 1))


def frame(file: BinaryIO, dataset: Dataset, number: int) -> Frame:
    """The frame of a ``number`` from 1; ``dataset`` is what stands before the pixel data.

    Raises :class:`NoPicture`; pydicom and the decoders may raise anything else.
    """
    _check(dataset, number)
    try:
        np = import_module("numpy")  # not everybody has it
    except ImportError:
        raise NoPicture(f"pictures need numpy: {INSTALL}") from None
    with np.errstate(all="ignore"):
        # What is deflated has no pixel data that could be found from outside.
        is_deflated = dataset.file_meta.TransferSyntaxUID.is_deflated
        values = pixel_array(dcmread(file) if is_deflated else file, index=number - 1)
        step = max(1, math.ceil(max(values.shape[:2]) / LONGEST_SIDE))
        return Frame(_png(np, _shown(np, values[::step, ::step], dataset)), step)


def _check(dataset: Dataset, number: int) -> None:
    there = frames(dataset)
    if not there:
        raise NoPicture("it is no image")
    if not 1 <= number <= there:
        raise NoPicture(f"there is no frame {number}: it has {there}")
    if dataset.Rows * dataset.Columns * (dataset.get("SamplesPerPixel") or 1) > MOST_VALUES:
        raise NoPicture(
            f"{dataset.Columns} \N{MULTIPLICATION SIGN} {dataset.Rows} pixels are more than are decoded here"
        )
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise NoPicture(f"{syntax.name} is not decoded here") from None
    if not decoder.is_available:
        raise NoPicture(f"{syntax.name} needs a decoder: {INSTALL}")


def _shown(np: Any, values: Any, dataset: Dataset) -> Any:
    """Rows and columns of eight bits, with three colours or without."""
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        values = apply_color_lut(values, dataset)
        return _narrow(np, values[..., :3], 8 * values.dtype.itemsize)
    if values.ndim > 2:  # pydicom has made RGB of it
        return _narrow(np, values[..., :3], int(dataset.get("BitsStored") or 8))
    return _grey(np, values, dataset)


def _narrow(np: Any, values: Any, bits: int) -> Any:
    if values.dtype.kind == "f":
        return _scaled(np, values, *_ends(np, values))
    return (values >> max(0, bits - 8)).clip(0, 255).astype(np.uint8)


def _grey(np: Any, values: Any, dataset: Dataset) -> Any:
    padding = dataset.get("PixelPaddingValue")
    seen = values[values != padding] if isinstance(padding, int) else values
    # A table for the modality gives whole numbers, which one for the display needs.
    rescaled = apply_modality_lut(values, dataset)
    table = _table(dataset)
    if table:
        looked_up = apply_voi(rescaled, dataset)
        shown = _scaled(np, looked_up, 0, 2 ** int(table[2]) - 1)
    else:
        ends = _window(dataset) or _ends(np, apply_modality_lut(seen if seen.size else values, dataset))
        shown = _scaled(np, rescaled, *ends)
    return 255 - shown if dataset.get("PhotometricInterpretation") == "MONOCHROME1" else shown


def _table(dataset: Dataset) -> Any:
    """The descriptor of a VOI LUT (PS3.3 C.11.2.1.1), where there is one."""
    sequence = dataset.get("VOILUTSequence")
    return sequence[0].get("LUTDescriptor") if sequence else None


def _window(dataset: Dataset) -> tuple[float, float] | None:
    """What becomes black and what white (PS3.3 C.11.2.1.2.1)."""
    centre, width = (_first(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None or not width >= 1:
        return None
    return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value if isinstance(value, str | float | int) else value[0])


def _ends(np: Any, values: Any) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(one) for one in np.percentile(finite, (_DARKEST, _BRIGHTEST)))
    # Of a mask nearly all may be dark.
    return (low, high) if high > low else (float(finite.min()), float(finite.max()))


def _scaled(np: Any, values: Any, low: float, high: float) -> Any:
    scaled = (np.nan_to_num(values.astype(np.float32)) - low) * (255.0 / max(high - low, 1e-6))
    return scaled.clip(0, 255).astype(np.uint8)


def _png(np: Any, values: Any) -> bytes:
    """As PNG (ISO/IEC 15948): one chunk of compressed lines, none of them filtered."""
    height, width = values.shape[:2]
    lines = np.zeros((height, 1 + values[0].size), np.uint8)
    lines[:, 1:] = values.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, 2 if values.ndim > 2 else 0, 0, 0, 0)
    body = zlib.compress(lines.tobytes(), 4)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", head), (b"IDAT", body), (b"IEND", b""))
    )
