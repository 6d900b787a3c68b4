"""The file of an index in SQLite, as it stands in its directory: whether it can be made anew there, and set aside.

Knows nothing of what is in it.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from scpd.index.places import MARKER

if TYPE_CHECKING:
    from collections.abc import Iterable

_SUFFIXES = ("", "-wal", "-shm")
# A file of another name that is no database may be anything, and is not for us to move.
_NAMES = (".db", ".sqlite", ".sqlite3")


class Place:
    """Where an index was opened: its file, and the file system that this is on."""

    def __init__(self, file: str) -> None:
        self._file = Path(file)
        self._device = _device(self._file.parent)
        self._number = _number(self._file)

    @property
    def bears_our_name(self) -> bool:
        """Whether a file of this name may have been an index."""
        return self._file.suffix in _NAMES

    def is_there(self, stores: Iterable[str]) -> bool:
        """Whether it is the place that it was, and no empty mount point. ``stores`` are storage directories."""
        folder = self._file.parent
        if self._file.exists() or (self._device is not None and _device(folder) == self._device):
            return True
        # Its folder is gone, and that may be all: the store around it tells by its marker.
        return not folder.exists() and str(folder.parent) in stores and folder.with_name(MARKER).exists()

    def clear(self, *, is_damaged: bool) -> str:
        """Make room: what is damaged is set aside, under the name that is returned; of what has gone, the rest goes.

        Raises :class:`OSError`.
        """
        if is_damaged:
            return self._set_aside()
        if _number(self._file) != self._number:  # so its log is not that of the file that is there, if any
            for suffix in _SUFFIXES[1:]:
                Path(f"{self._file}{suffix}").unlink(missing_ok=True)
        return ""

    def _set_aside(self) -> str:
        stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
        aside = f"{self._file}.damaged-{stamp}"
        for suffix in _SUFFIXES:
            with suppress(FileNotFoundError):
                Path(f"{self._file}{suffix}").rename(f"{aside}{suffix}")
        return aside


def _device(folder: Path) -> int | None:
    try:
        return folder.stat().st_dev
    except OSError:
        return None


def _number(file: Path) -> int | None:
    try:
        return file.stat().st_ino
    except OSError:
        return None
