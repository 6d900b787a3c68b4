"""Where a directory lies: on which file system, and whether the one that was meant is mounted.

Knows nothing of what the directory is for, and mounts nothing.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

FSTAB = Path("/etc/fstab")
MOUNTED = Path("/proc/self/mountinfo")
# Where directories are made to be mounted on, and for nothing else (FHS 3.0, 3.11 and 3.12).
FOR_MOUNTS = (Path("/media"), Path("/mnt"))

_LARGEST_TABLE = 4 * 1024 * 1024
_ESCAPED = re.compile(rb"\\([0-7]{3})")


def nearest(directory: Path) -> Path:
    """The directory itself, or where it does not exist the nearest one above it that does.

    What this user may not even look for counts as missing.
    """
    path = directory.absolute()
    # Path.exists would raise where a folder above may not be searched.
    return next((one for one in (path, *path.parents) if os.path.lexists(one)), Path("/"))


def unusable(directory: Path) -> str:
    """Why no system call can name a directory, and what to do; nothing where one can."""
    try:
        os.fsencode(directory)
        directory.absolute()
    except UnicodeEncodeError:
        return "has letters that the locale of this process cannot write; set LC_ALL=C.UTF-8 for it"
    except FileNotFoundError:
        return f"{directory} is relative, and the directory that scpd was started in is gone; write an absolute path"
    return ""


def is_read_only(path: Path) -> bool:
    """Whether the file system that ``path`` lies on is mounted read-only."""
    with suppress(OSError):
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    return False


def not_mounted(directory: Path) -> Path | None:
    """The mount point in the system's table that ``directory`` lies below, where nothing is mounted now."""
    real = _real(directory)
    mounted = _points(MOUNTED, 4)
    meant = _above(real, _points(FSTAB, 1))
    if meant is None or not mounted:
        return None
    return meant if len(meant.parts) > len((_above(real, mounted) or Path("/")).parts) else None


def empty_mount_point(directory: Path) -> Path | None:
    """An empty directory, kept for mounts by convention, that a missing ``directory`` would be made in."""
    real = _real(directory)
    at = nearest(real)
    holding = _above(real, _points(MOUNTED, 4))
    kept = any(base in (at, *at.parents) and holding in base.parents for base in FOR_MOUNTS)
    return at if kept and at != real and _is_empty(at) else None


def _real(directory: Path) -> Path:
    return Path(os.path.realpath(directory))


def _points(table: Path, field: int) -> set[Path]:
    """The mount points in a table of the system's, none where there is no such table."""
    try:
        with table.open("rb") as file:
            lines = file.read(_LARGEST_TABLE).split(b"\n")
    except OSError:
        return set()
    rows = (line.split() for line in lines if not line.lstrip().startswith(b"#"))
    return {_point(row[field]) for row in rows if len(row) > field and row[field].startswith(b"/")}


def _point(text: bytes) -> Path:
    """A mount point as the tables write it. It is not looked at: what is mounted there may not answer any more."""
    path = Path(os.fsdecode(_ESCAPED.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), text)))
    return _real(path.parent) / path.name


def _above(path: Path, points: set[Path]) -> Path | None:
    """The nearest of ``points`` that ``path`` is or lies below."""
    return next((one for one in (path, *path.parents) if one in points), None)


def _is_empty(directory: Path) -> bool:
    with suppress(OSError), os.scandir(directory) as entries:
        return next(entries, None) is None
    return False
