"""A file as it stands in its store → what is written down of it. The files are the truth (PS3.10)."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from scpd.errors import UnreadableDataSet
from scpd.index.attributes import SPECIFIC_CHARACTER_SET
from scpd.index.writing import Arrival
from scpd.part10 import read_head
from scpd.storage.head import reader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.index.entry import Scribe

_PIECE = 64 * 1024
# What of a file is looked at, at most: all that an index keeps stands before the pixel data (bytes).
_LONGEST_LOOK = 64 * 1024 * 1024


def look(scribe: Scribe, directory: str, path: str) -> Arrival | None:
    """What to write down of a file below a store; None where there is none.

    Raises :class:`UnreadableDataSet` for a file that is no instance, and :class:`OSError`.
    """
    try:
        descriptor = os.open(f"{directory}/{path}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableDataSet("it is no file")
        head = read_head(file)
        file.seek(head.data_set_offset)
        values = _values(file, scribe, head.transfer_syntax)
    entry = scribe.entry(values, head.sop_class_uid, head.sop_instance_uid, head.transfer_syntax)
    return Arrival(path, head.transfer_syntax, status.st_size, status.st_mtime, "", head.source, entry)


def _values(file: object, scribe: Scribe, transfer_syntax: str) -> dict[int, bytes]:
    """The raw values of a data set that begins here, as far as it can be read."""
    walk = reader(transfer_syntax, (SPECIFIC_CHARACTER_SET,), optional=scribe.tags)
    buffer = memoryview(bytearray(_PIECE))
    left = _LONGEST_LOOK
    try:
        while not walk.done and left > 0 and (count := file.readinto(buffer)):  # type: ignore[attr-defined]
            walk.feed(buffer[:count])
            left -= count
    except UnreadableDataSet:
        if not walk.seen:
            raise
    return walk.values


def files(directory: str, after: str = "") -> Iterator[tuple[str, list[str]]]:
    """The folders of a store in an order that is always the same, each with the paths of its files below the store.

    What begins with a dot is not of instances. ``after`` leaves out the folders up to that one.
    """
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(f"{directory}/{folder}") as found:
                entries = sorted((one for one in found if not one.name.startswith(".")), key=lambda one: one.name)
        except FileNotFoundError:  # it was removed meanwhile
            continue
        prefix = f"{folder}/" if folder else ""
        pending += [prefix + one.name for one in reversed(entries) if one.is_dir(follow_symlinks=False)]
        if not after or folder.split("/") > after.split("/"):
            paths = [prefix + one.name for one in entries if not one.is_dir(follow_symlinks=False)]
            if paths:
                yield folder, paths
