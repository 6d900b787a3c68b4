"""One reload as far as it may take its time: the file is loaded, checked and built, on a thread of its own.

What it looks at may not answer, a directory of the network or a host name, and whoever hears signals must not wait
with it. Changes nothing that is in force.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from scpd.config import load
from scpd.errors import ScpdError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scpd.config import Config
    from scpd.daemon.build import Parts

# YAML that is nested as deep as is allowed needs more than a worker has.
_STACK = 8 * 1024 * 1024


class Built(NamedTuple):
    """What a file says, and what that is built into."""

    config: Config
    parts: Parts


class Reloading:
    """Begins at once; ``done`` is called, in its thread, when :meth:`result` can be asked."""

    def __init__(self, path: Path, build: Callable[[Config], Parts], done: Callable[[], None]) -> None:
        self._path = path
        self._build = build
        self._done = done
        self._built: Built | None = None
        self._error: BaseException | None = None
        workers = threading.stack_size(_STACK)
        try:
            threading.Thread(target=self._run, name="reload", daemon=True).start()
        finally:
            threading.stack_size(workers)

    def result(self) -> Built:
        """What was built. Raises :class:`ScpdError` where it was not."""
        if self._built is None:
            raise self._error or ScpdError("it did not come to an end")
        return self._built

    def _run(self) -> None:
        try:
            config = load(self._path)
            self._built = Built(config, self._build(config))
        except ScpdError as error:
            self._error = error
        except (OSError, RuntimeError, MemoryError) as error:  # descriptors, threads, memory
            self._error = ScpdError(f"the system has run out of something: {error or type(error).__name__}")
        finally:
            self._done()
