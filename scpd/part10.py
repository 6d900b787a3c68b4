"""The front of a DICOM file: preamble, prefix and file meta information (PS3.10 section 7.1).

The meta information is made of what was negotiated and commanded, never of what the data set claims; the preamble is
zeros, so that nothing executable can hide in it.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from typing import BinaryIO, NamedTuple

from scpd.errors import UnreadableDataSet
from scpd.names import AE_TITLE_LENGTH, is_uid
from scpd.version import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_SHORT = struct.Struct("<HH2sH")
_GROUP_LENGTH = struct.Struct("<HH2sHI")
_VERSION = bytes.fromhex("0200 0100") + b"OB\0\0" + bytes.fromhex("02000000 0001")
# What an AE title may not hold (PS3.5 6.2): a peer's may, and the file must be right all the same.
_NO_TITLE = re.compile(r"[^ -\[\]-~]", re.ASCII)
_LONG_VR = frozenset((b"OB", b"OW", b"UN", b"UT", b"SQ"))
_LONGEST_META_VALUE = 1024 * 1024
_USUAL_HEAD = 2048
_PREAMBLE = bytes(128) + b"DICM"


def _element(element: int, vr: bytes, value: str, padding: bytes) -> bytes:
    raw = value.encode("ascii", "replace")
    if len(raw) & 1:
        raw += padding
    return _SHORT.pack(0x0002, element, vr, len(raw)) + raw


class FileMeta:
    """File meta information but for the instance: one for each presentation context of an association.

    ``source`` is the AE title that sent the instance (0002,0016).
    """

    def __init__(self, transfer_syntax: str, source: str) -> None:
        self._rest = b"".join(
            (
                _element(0x0010, b"UI", transfer_syntax, b"\0"),
                _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID, b"\0"),
                _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME, b" "),
                _element(0x0016, b"AE", _NO_TITLE.sub("_", source)[:AE_TITLE_LENGTH], b" ") if source else b"",
            )
        )

    def header(self, sop_class_uid: str, sop_instance_uid: str) -> bytes:
        """Everything of the file before the data set."""
        body = b"".join(
            (
                _VERSION,
                _element(0x0002, b"UI", sop_class_uid, b"\0"),
                _element(0x0003, b"UI", sop_instance_uid, b"\0"),
                self._rest,
            )
        )
        return _PREAMBLE + _GROUP_LENGTH.pack(0x0002, 0x0000, b"UL", 4, len(body)) + body


@lru_cache(maxsize=1024)
def file_meta(transfer_syntax: str, source: str) -> FileMeta:
    """The one for this transfer syntax and source, made once: a sender goes on as it began."""
    return FileMeta(transfer_syntax, source)


class FileHead(NamedTuple):
    """What a file's meta information says of its data set, and where that begins, in bytes.

    ``source`` is the AE title that it came from (0002,0016), where that is said.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    data_set_offset: int
    source: str = ""


def read_head(file: BinaryIO) -> FileHead:
    """The head of a DICOM file; raises :class:`UnreadableDataSet` for anything else (PS3.10 7.1)."""
    front = _Front(file)
    if not front.reaches(len(_PREAMBLE)) or front.data[128:132] != b"DICM":
        raise UnreadableDataSet("not a DICOM file: the prefix DICM is missing")
    values: dict[int, bytes] = {}
    offset = len(_PREAMBLE)
    while front.reaches(offset + _SHORT.size):
        group, element, vr, length = _SHORT.unpack_from(front.data, offset)
        if group != 0x0002:
            break
        start = offset + _SHORT.size
        if vr in _LONG_VR:
            front.reaches(start + 4)
            length = int.from_bytes(front.data[start : start + 4], "little")
            start += 4
        if length > _LONGEST_META_VALUE:
            raise UnreadableDataSet(f"meta element (0002,{element:04X}) claims {length} bytes")
        offset = start + length
        front.reaches(offset)
        values[element] = front.data[start:offset]
    sop_class, sop_instance, syntax, source = (
        values.get(element, b"").decode("ascii", "replace").strip("\0 ") for element in (0x0002, 0x0003, 0x0010, 0x0016)
    )
    if not (is_uid(sop_class) and is_uid(sop_instance) and is_uid(syntax)):
        raise UnreadableDataSet("not a DICOM file: its meta information lacks a UID")
    return FileHead(sop_class, sop_instance, syntax, offset, source)


class _Front:
    """The first bytes of a file, as many as were asked for: nearly always one read is enough."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.data = file.read(_USUAL_HEAD)

    def reaches(self, end: int) -> bool:
        """Whether the file has ``end`` bytes; they are in ``data`` then."""
        while len(self.data) < end:
            more = self._file.read(end - len(self.data))
            if not more:
                return False
            self.data += more
        return True
