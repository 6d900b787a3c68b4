"""Whether instances are really held: what the index says of them, and their files, read to the end (PS3.4 J.1).

Knows neither peer nor transaction.
"""

from __future__ import annotations

import os
import stat
import zlib
from typing import TYPE_CHECKING, Protocol

from scpd.errors import UnreadableDataSet
from scpd.part10 import read_head
from scpd.services.commitment.module import FailureReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from io import FileIO

    from scpd.index.query import Held
    from scpd.services.commitment.module import Reference

_AT_A_TIME = 200
_PIECE = 256 * 1024
# A FIFO must not hold anybody up, nor a link lead elsewhere.
_HOW = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


class Holdings(Protocol):
    """What knows of instances that are held: an index."""

    def held(self, sop_instance_uids: Sequence[str], /) -> Mapping[str, Held]:
        """Those of the instances that are held. Raises :class:`~scpd.errors.IndexUnavailable`."""


def verify(
    holdings: Holdings, references: Sequence[Reference], go_on: Callable[[], None]
) -> Iterator[tuple[Reference, FailureReason | None]]:
    """Each reference, and why it is not committed, None where it is.

    ``go_on`` is called again and again, and raises where it is to end. Raises
    :class:`~scpd.errors.IndexUnavailable`.
    """
    buffer = memoryview(bytearray(_PIECE))
    for start in range(0, len(references), _AT_A_TIME):
        batch = references[start : start + _AT_A_TIME]
        known = holdings.held([reference.sop_instance_uid for reference in batch])
        for reference in batch:
            yield reference, _judged(holdings, reference, known.get(reference.sop_instance_uid), buffer, go_on)


def _judged(
    holdings: Holdings, reference: Reference, held: Held | None, buffer: memoryview, go_on: Callable[[], None]
) -> FailureReason | None:
    go_on()
    if held is None:
        return FailureReason.NO_SUCH_OBJECT_INSTANCE
    if held.sop_class_uid != reference.sop_class_uid:
        return FailureReason.CLASS_INSTANCE_CONFLICT
    reason = _of_file(held, buffer, go_on)
    if reason is None:
        return None
    # It may have been replaced since the index was asked.
    now = holdings.held([reference.sop_instance_uid]).get(reference.sop_instance_uid)
    return reason if now in (None, held) else _of_file(now, buffer, go_on)


def _of_file(held: Held, buffer: memoryview, go_on: Callable[[], None]) -> FailureReason | None:
    try:
        with open(held.path, "rb", buffering=0, opener=_opened) as file:
            return None if _is_whole(file, held, buffer, go_on) else FailureReason.PROCESSING_FAILURE
    except (FileNotFoundError, NotADirectoryError):
        return FailureReason.NO_SUCH_OBJECT_INSTANCE
    except (OSError, UnreadableDataSet):
        return FailureReason.PROCESSING_FAILURE


def _opened(path: str, _: int) -> int:
    return os.open(path, _HOW)


def _is_whole(file: FileIO, held: Held, buffer: memoryview, go_on: Callable[[], None]) -> bool:
    state = os.fstat(file.fileno())
    if not stat.S_ISREG(state.st_mode) or state.st_size != held.size:
        return False
    head = read_head(file)
    if head.sop_instance_uid != held.sop_instance_uid or head.data_set_offset >= held.size:
        return False
    # Read to its end even where nobody knows its digest: what the disk has lost fails here.
    file.seek(head.data_set_offset)
    digest, size = 0, head.data_set_offset
    while count := file.readinto(buffer):
        digest, size = zlib.crc32(buffer[:count], digest), size + count
        go_on()
    return size == held.size and held.digest in ("", f"{digest:08x}")
