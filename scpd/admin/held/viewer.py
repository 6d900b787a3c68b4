"""Files of instances, each read by a process of its own (reading.py): how that is started, bounded and understood.

Knows no patient and no page.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# The process has ten seconds of a processor; on a busy machine they take a while (seconds).
SECONDS = 12.0
_MOST_KEPT = 4
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PYTHONPATH")
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
# Where this very scpd is imported from.
_ROOT = str(Path(__file__).parents[3])
_COMMAND = (sys.executable, "-P", "-m", "scpd.admin.held.reading")


class Attribute(NamedTuple):
    """``depth`` is in how many sequences it stands."""

    depth: int
    tag: str
    vr: str
    name: str
    value: str


class Sheet(NamedTuple):
    """What was found in a file: its attributes, and one of its frames as PNG, or why there is none.

    ``why`` says what is wrong with the attributes, ``no_picture`` why there is no picture; ``step`` that only every
    so manieth row and column is shown.
    """

    attributes: Sequence[Attribute] = ()
    left_out: bool = False
    why: str = ""
    frames: int = 0
    step: int = 1
    no_picture: str = ""
    png: bytes = b""


class Viewer:
    """Reads files, and remembers the last few. All methods may be called from any thread."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._kept: dict[tuple[object, ...], Sheet] = {}

    def look(self, path: str, frame: int) -> Sheet:
        """What is in the file at ``path``, with the frame of a number from 1."""
        try:
            with _opened(path) as descriptor:
                about = os.fstat(descriptor)
                key = (path, frame, about.st_ino, about.st_size, about.st_mtime_ns)
                with self._lock:
                    known = self._kept.get(key)
                return known or self._kept_if_whole(key, self._read(descriptor, frame))
        except OSError as error:
            why = f"the file cannot be read: {error.strerror or error}"
            return Sheet(why=why, no_picture=why)

    def _kept_if_whole(self, key: tuple[object, ...], sheet: Sheet) -> Sheet:
        with self._lock:
            if sheet.png:  # what went wrong may go better the next time
                self._kept[key] = sheet
            if len(self._kept) > _MOST_KEPT:
                del self._kept[next(iter(self._kept))]
        return sheet

    def _read(self, descriptor: int, frame: int) -> Sheet:
        # Files in memory, for what is in them is on no disk but in its own file.
        with os.fdopen(os.memfd_create("sheet"), "w+b") as out:
            how = self._run([*_COMMAND, str(frame)], descriptor, out.fileno())
            out.seek(0)
            return _understood(out.read(), how)

    def _run(self, command: Sequence[str], source: int, target: int) -> str:
        """Run it to its end, or to the end of its time; how it failed, or nothing."""
        process = subprocess.Popen(  # noqa: S603 a list of words, and our own
            command,
            stdin=source,
            stdout=target,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=_environment(),
            start_new_session=True,
        )
        try:
            return _how(process.wait(self._seconds))
        except subprocess.TimeoutExpired:
            return f"it took longer than {self._seconds:g} s"
        finally:
            process.kill()
            process.wait()


@contextmanager
def _opened(path: str) -> Iterator[int]:
    """A descriptor of a regular file, and of nothing else. Raises :class:`OSError`."""
    descriptor = os.open(path, _OPEN)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(None, "Not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def _environment() -> Mapping[str, str]:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    places = os.pathsep.join(filter(None, (_ROOT, passed_on.get("PYTHONPATH"))))
    # Its arithmetic needs no threads, each of which takes memory before it does anything.
    return {**passed_on, "PYTHONPATH": places, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _how(code: int) -> str:
    if code == -signal.SIGXCPU:
        return "it takes too long"
    if code < 0:
        with suppress(ValueError):
            return f"what reads it was ended by {signal.Signals(-code).name}"
    return f"what reads it has failed with {code}" if code else ""


def _understood(text: bytes, how: str) -> Sheet:
    first, _, rest = text.partition(b"\n")
    second, is_whole, png = rest.partition(b"\n")
    attributes = _data(first)
    picture = _data(second) if is_whole else {}
    rows = [Attribute(*row) for row in attributes.get("rows", ())]
    why = attributes.get("why", "") if attributes else f"the file cannot be read: {how or 'nothing was said'}"
    failed = f"its pixel data cannot be decoded: {how}" if how else why
    no_picture = failed if how or not picture else picture["why"]
    left_out, frames, step = attributes.get("left_out", False), picture.get("frames", 0), picture.get("step", 1)
    return Sheet(rows, left_out, why, frames, step, no_picture, b"" if no_picture else png)


def _data(line: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except ValueError:  # it was ended in the middle of it
        return {}
