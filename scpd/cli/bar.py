"""A progress bar over the files of stores, on a terminal; how many there are is found out meanwhile."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Iterator


class Bar:
    """The bar of one store; ``done`` are files of an earlier run."""

    def __init__(self, directory: str, done: int = 0) -> None:
        self._bar = tqdm(unit="file", initial=done, disable=not sys.stderr.isatty())
        self._is_over = False
        if not self._bar.disable:
            threading.Thread(target=self._count, args=(directory,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._bar.close()

    def reach(self, files: int) -> None:
        """So many are done."""
        self._bar.update(files - self._bar.n)

    def _count(self, directory: str) -> None:
        from scpd.index.files import files  # noqa: PLC0415 who has a bar has it already

        with suppress(OSError):
            for count, _ in enumerate(files(directory), 1):
                if self._is_over:
                    return
                if count % 1000 == 0:
                    self._bar.total = max(self._bar.total or 0, count)
            self._bar.total = count

    @staticmethod
    @contextmanager
    def aside() -> Iterator[None]:
        """For a line of standard output, which a bar must not run through."""
        with tqdm.external_write_mode(file=sys.stdout):
            yield
