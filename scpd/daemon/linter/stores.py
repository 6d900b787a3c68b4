"""Where instances will go: disks that are full or not mounted, and servers that get in each other's way.

These are warnings, since a server of which nobody can store still answers for itself, and a disk may come back while
it runs (A700 until then). A directory that cannot be opened or written to, as on a disk that is mounted read-only, is
a fault (``surroundings.py``): no store can be opened there at all.
"""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from scpd.config.values import GiB
from scpd.daemon import mounts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.config import Config, ServerConfig, StorageConfig

# Each instance takes one, and each new series or study another.
_FEWEST_INODES = 1000
_KEY = "storage.directory"
_NESTED = "of this and {other} one lies in the other, and their instances would mix; name one beside the other"
_OTHER_DUPLICATES = (
    "is another for the same directory, {other}: which server an instance comes to decides whether it is replaced; "
    "write both alike, or name another directory"
)
_OTHER_PATH = (
    "is another for the same directory, {other}: an instance that comes to both servers is held twice; write both "
    "alike, or name another directory"
)
_NOT_MOUNTED = (
    "lies below {point}, which {table} has and where nothing is mounted now: instances would go to the disk beneath; "
    "mount it"
)
_NOTHING_MOUNTED = (
    "would be made in {point}, which is empty, and nothing is mounted there; mount the disk that was meant, or make "
    "the directory"
)
_A700 = "every C-STORE will be answered A700"


def misplaced(config: Config) -> Iterator[tuple[str | None, str, str]]:
    """Directories that are not on the disk that was meant, or on one without room."""
    for server in config.servers:
        for what in (*_not_where_meant(server.storage.directory), *_without_room(server)):
            yield server.name, _KEY, what


def _not_where_meant(directory: Path) -> Iterator[str]:
    if point := mounts.not_mounted(directory):
        yield _NOT_MOUNTED.format(point=point, table=mounts.FSTAB)
    elif point := mounts.empty_mount_point(directory):
        yield _NOTHING_MOUNTED.format(point=point)


def _without_room(server: ServerConfig) -> Iterator[str]:
    at = mounts.nearest(server.storage.directory)
    with suppress(OSError):
        disk = os.statvfs(at)
        free = disk.f_bavail * disk.f_frsize
        if free < server.storage.reserve:
            yield f"the disk of {at} has {free / GiB:.1f} GiB free, less than storage.reserve; make room, or {_A700}"
        if disk.f_files and disk.f_favail < _FEWEST_INODES:  # some file systems do not count them
            yield f"the disk of {at} has {disk.f_favail} inodes free; remove files, or {_A700}"


def at_odds(config: Config) -> Iterator[tuple[str | None, str, str]]:
    """Servers that share a directory under other rules, or of whose directories one lies in the other."""
    real = {server.name: Path(os.path.realpath(server.storage.directory)) for server in config.servers}
    for first, second in combinations(config.servers, 2):
        other = f"that of {config.near(first.name, _KEY)}"
        one, two = real[first.name], real[second.name]
        if one == two:
            for key, what in _other_rules(first.storage, second.storage):
                yield second.name, f"storage.{key}", what.format(other=other)
        elif one in two.parents or two in one.parents:
            yield second.name, _KEY, _NESTED.format(other=other)


def _other_rules(first: StorageConfig, second: StorageConfig) -> Iterator[tuple[str, str]]:
    if first.duplicates != second.duplicates:
        yield "duplicates", _OTHER_DUPLICATES
    if first.path != second.path:
        yield "path", _OTHER_PATH
