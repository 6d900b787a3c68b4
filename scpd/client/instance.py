"""A DICOM file as it can be sent: what its meta information says, and its data set in pieces (PS3.10).

Byte for byte where the peer takes the file's own encoding; through pydicom where it takes another one that loses
nothing.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from typing import TYPE_CHECKING

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID

from scpd.client.requestor import Proposal
from scpd.client.transcoding import make_plain
from scpd.errors import Interrupted
from scpd.part10 import FileHead, read_head
from scpd.sop_class import UNCOMPRESSED
from scpd.transport.exchange import Piece

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import RawIOBase
    from pathlib import Path

_DEFAULT_SYNTAX = UNCOMPRESSED[0]
# Small enough to stay in the processor's cache between read and send; the first one is smaller, since the peer works
# on it while the next is read.
_PIECE, _FIRST_PIECE = 256 * 1024, 64 * 1024
# What pydicom raises for a data set that it cannot read or write.
CANNOT_CONVERT = (
    InvalidDicomError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    NotImplementedError,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class Instance:
    """A file that can be sent, and what its meta information says of it."""

    path: Path
    head: FileHead

    @property
    def proposals(self) -> tuple[Proposal, ...]:
        """The contexts it could go through: its own encoding, and the default one where that loses nothing."""
        own = Proposal(self.head.sop_class_uid, (self.head.transfer_syntax,))
        if self.head.transfer_syntax in UNCOMPRESSED[1:]:
            return own, Proposal(self.head.sop_class_uid, (str(_DEFAULT_SYNTAX),))
        return (own,)


def look(path: Path) -> Instance:
    """The instance at ``path``. Raises :class:`OSError`, :class:`~scpd.errors.UnreadableDataSet`."""
    with path.open("rb", buffering=0) as file:
        return Instance(path, read_head(file))


def new_buffer() -> memoryview:
    """What the data sets of one file after the other go through."""
    return memoryview(bytearray(_PIECE))


def pieces(file: RawIOBase, head: FileHead, buffer: memoryview) -> Iterator[Piece]:
    """The data set of a file, byte for byte, through ``buffer``.

    Raises :class:`Interrupted` when the file fails half-way: what began on the wire cannot be taken back.
    """
    left = os.fstat(file.fileno()).st_size - head.data_set_offset
    file.seek(head.data_set_offset)
    size = _FIRST_PIECE
    while True:
        count = min(left, size)
        view = buffer[:count]
        if fill(file, view) < count:
            raise Interrupted("the file became shorter, or unreadable, while it was sent")
        left -= count
        yield Piece(view, not left)
        if not left:
            return
        size = len(buffer)


def fill(file: RawIOBase, buffer: memoryview) -> int:
    """Read until ``buffer`` is full, or the file ends or fails; how many bytes came."""
    total = 0
    while total < len(buffer):
        try:
            count = file.readinto(buffer[total:])
        except OSError:
            break
        if not count:
            break
        total += count
    return total


def converted(file: RawIOBase, syntax: str) -> Iterator[Piece]:
    """The data set in Implicit or Explicit VR Little Endian, by pydicom. Raises one of ``CANNOT_CONVERT``."""
    dataset = dcmread(BufferedReader(file))
    make_plain(dataset)
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    buffer = BytesIO()
    dcmwrite(buffer, dataset, implicit_vr=syntax == _DEFAULT_SYNTAX, little_endian=True, enforce_file_format=True)
    buffer.seek(0)
    head = read_head(buffer)
    yield Piece(buffer.getbuffer()[head.data_set_offset :], is_last=True)
