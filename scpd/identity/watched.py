"""What stands in a file, parsed at the start and again once the file has changed.

Knows neither what that is nor who asks for it: parsing, and the words for what is wrong, are somebody else's.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from scpd.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")


class Watched(Generic[T]):
    """What ``read`` makes of the file at ``path``; any thread may ask for it, and one at a time reads.

    ``read`` raises :class:`SettingError`: at the start that is the end; later the value that was read before stays in
    force, and ``warning`` says what is wrong, followed by ``kept``, the words for this. Otherwise it is empty.
    """

    def __init__(self, path: Path, read: Callable[[Path], T], kept: str) -> None:
        self._path = path
        self._read = read
        self._kept = kept
        self._lock = threading.Lock()
        self._state = _state(path)  # before it is read, so that what changes meanwhile is read again
        self._value = read(path)
        self.warning = ""

    def current(self) -> T:
        """The value as the file has it by now, or the last one that could be read."""
        with self._lock:
            state = _state(self._path)
            # What is at fault may be mended without a trace here, as when descriptors to read with had run out.
            if state != self._state or self.warning:
                self._state = state
                self._read_again()
            return self._value

    def _read_again(self) -> None:
        try:
            self._value = self._read(self._path)
        except SettingError as error:
            self.warning = f"{error.what}; {self._kept}"
        else:
            self.warning = ""


def _state(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    # The time of the last change to it at all: rights, and a file that was put back with its old time, count as well.
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
