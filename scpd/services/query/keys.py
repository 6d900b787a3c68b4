"""The identifier of a request: bytes → its elements as they stand, before anybody asks what they mean.

What a peer sends is hostile, and pydicom, which takes it apart, may raise anything.
"""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.filereader import read_dataset
from pydicom.uid import UID

from scpd.errors import UnreadableDataSet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

LONGEST = 64 * 1024
_DEEPEST = 4


class Key(NamedTuple):
    """One element: ``vr`` is empty where none was sent; ``items`` are those of a sequence."""

    tag: int
    vr: str
    raw: bytes
    items: tuple[tuple[Key, ...], ...] | None = None


def decode(data: bytes, transfer_syntax: str) -> tuple[Key, ...]:
    """The elements of an identifier. Raises :class:`~scpd.errors.UnreadableDataSet` for what is none."""
    syntax = UID(transfer_syntax)
    try:
        if syntax.is_deflated:
            data = _inflated(data)
        return tuple(_keys(read_dataset(BytesIO(data), syntax.is_implicit_VR, syntax.is_little_endian), _DEEPEST))
    except UnreadableDataSet:
        raise
    except Exception as error:  # as above; RecursionError is among them
        raise UnreadableDataSet(f"the identifier cannot be decoded: {type(error).__name__}") from error


def _inflated(data: bytes) -> bytes:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflate.decompress(data, LONGEST)
    if inflate.unconsumed_tail:
        raise UnreadableDataSet(f"the identifier is longer than {LONGEST} bytes")
    return inflated


def _keys(dataset: Dataset, deeper: int) -> Iterator[Key]:
    if not deeper:
        raise UnreadableDataSet("the identifier has sequences in sequences in sequences")
    for tag in sorted(dataset.keys()):
        element = dataset.get_item(tag)
        vr = element.VR or ""
        if vr == "SQ" or (vr in ("", "UN") and _is_sequence(tag)):
            items = dataset[tag].value or ()
            yield Key(int(tag), vr, b"", tuple(tuple(_keys(item, deeper - 1)) for item in items))
        else:  # pydicom has no bytes where there are none, and other things for what nobody asks for
            yield Key(int(tag), vr, element.value if isinstance(element.value, bytes) else b"")


def _is_sequence(tag: BaseTag) -> bool:
    return dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ"
