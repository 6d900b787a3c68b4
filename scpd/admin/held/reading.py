"""The file of an instance → its attributes as text, and a frame of it as a picture: a program of its own.

What stands in a file came from a peer, and pixels are decoded by libraries in C. So this runs in a process apart,
within bounds of the system on its time and memory: whatever becomes of it, receiving goes on. The file is its standard
input, a frame's number its argument; it writes a line of JSON with the attributes, one about the picture, and the
picture.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from pydicom import config, dcmread
from pydicom.uid import UID

from scpd.admin.held.picture import NoPicture, frame, frames

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

# Bounds: seconds of a processor, bytes of memory, bytes that are written.
SECONDS = 10
_MEMORY = 2 << 30
_OUTPUT = 64 << 20
MOST_ROWS = 1000
_DEEPEST = 4
_LONGEST, _LONGEST_PRIVATE = 200, 64
_MOST_VALUES = 32
_NICENESS = 10


class Row(NamedTuple):
    """One attribute; ``depth`` is in how many sequences it stands."""

    depth: int
    tag: str
    vr: str
    name: str
    value: str


def main() -> None:
    """Read, and write what is found."""
    _bound()
    number = int(sys.argv[1])
    file = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    dataset, attributes = described(file)
    _say(attributes)
    if dataset is not None:
        about, png = pictured(file, dataset, number)
        _say(about)
        sys.stdout.buffer.write(png)
        sys.stdout.buffer.flush()


def described(file: BinaryIO) -> tuple[Dataset | None, dict[str, Any]]:
    """What stands before the pixel data, and the same as rows of text."""
    rows: list[Row] = []
    why = ""
    dataset = None
    try:
        dataset = dcmread(file, stop_before_pixels=True)
        rows += islice(_rows(dataset.file_meta), MOST_ROWS + 1)
        rows += islice(_rows(dataset), MOST_ROWS + 1 - len(rows))
    except Exception as error:  # noqa: BLE001 pydicom raises anything for what is broken
        why = f"not all of the file can be read: {_said(error)}"
    return dataset, {"rows": rows[:MOST_ROWS], "left_out": len(rows) > MOST_ROWS, "why": why}


def pictured(file: BinaryIO, dataset: Dataset, number: int) -> tuple[dict[str, Any], bytes]:
    """What there is to say of the picture of a frame, and the picture."""
    about = {"frames": 0, "step": 1, "why": ""}
    try:
        about["frames"] = frames(dataset)
        file.seek(0)
        found = frame(file, dataset, number)
    except NoPicture as error:
        return {**about, "why": str(error)}, b""
    except Exception as error:  # noqa: BLE001 so do the decoders
        return {**about, "why": f"its pixel data cannot be decoded: {_said(error)}"}, b""
    return {**about, "step": found.step}, found.png


def _rows(dataset: Dataset, depth: int = 0) -> Iterator[Row]:
    for tag in sorted(dataset.keys()):
        number = f"{tag.group:04X},{tag.element:04X}"
        try:
            element = dataset[tag]
            items = list(element.value) if element.VR == "SQ" else []
            yield Row(depth, number, str(element.VR), str(element.name), _text(element))
        except Exception as error:  # noqa: BLE001 a value is decoded when it is first asked for
            yield Row(depth, number, "", "", f"cannot be read: {_said(error)}")
            continue
        for item in items if depth < _DEEPEST else ():
            yield from _rows(item, depth + 1)


def _text(element: DataElement) -> str:
    value = element.value
    if element.VR == "SQ":
        return f"{len(value)} item{'s' * (len(value) != 1)}"
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    several = isinstance(value, list) or (hasattr(value, "append") and not isinstance(value, str))
    text = "\\".join(map(_one, islice(value, _MOST_VALUES + 1))) if several else _one(value)
    longest = _LONGEST_PRIVATE if element.is_private else _LONGEST
    return text if len(text) <= longest else f"{text[:longest]}…"


def _one(value: Any) -> str:
    if isinstance(value, UID) and value.name != value:
        return f"{value} ({value.name})"
    return "" if value is None else str(value)


def _said(error: Exception) -> str:
    """What went wrong, in one line of bounded length."""
    if isinstance(error, MemoryError):
        return "it needs more memory than it may have"
    words = " ".join(str(error).split())[:_LONGEST]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _bound() -> None:
    for what, most in (
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_FSIZE, _OUTPUT),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ValueError, OSError):  # the system's own bound is lower
            resource.setrlimit(what, (most, most + 1))  # one second to say so, before it is killed
    with suppress(OSError):
        os.nice(_NICENESS)  # receiving comes first
    config.settings.reading_validation_mode = config.IGNORE


def _say(told: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(told).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
