"""Many processes that do one kind of work, batch after batch: reading files keeps one process busy with itself.

What they bring comes in the order of the batches, and no more waits than they can do next. They end with whoever
started them, however that ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from scpd.errors import ScpdError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

B = TypeVar("B")
R = TypeVar("R")

# Batches that wait for each process, so that none waits for batches.
_AHEAD = 3

_work: Callable[[Any], Any]


def cores() -> int:
    """How many processes the system lets us run at a time."""
    return len(os.sched_getaffinity(0))


@contextmanager
def crew(work: Callable[[B], R], jobs: int) -> Iterator[Callable[[Iterable[B]], Iterator[R]]]:
    """What maps batches to what ``work`` makes of them, in ``jobs`` processes; ``work`` is pickled once for each.

    With one job it is done here, where it is asked for. Raises :class:`ScpdError` where a process was killed.
    """
    if jobs == 1:
        yield partial(map, work)
        return
    before = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _take_up, (work,))
    try:
        yield partial(_in_order, executor, jobs * _AHEAD)
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def _in_order(executor: ProcessPoolExecutor, most: int, batches: Iterable[B]) -> Iterator[R]:
    waiting: deque[Future[R]] = deque()
    try:
        for batch in batches:
            waiting.append(_submit(executor, batch))
            if len(waiting) == most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise ScpdError("a process that reads files was killed: is there memory for --jobs?") from error


def _submit(executor: ProcessPoolExecutor, batch: Any) -> Future[Any]:
    """Processes that this starts never hear of Ctrl-C: it is for whoever started them to say what becomes of them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return executor.submit(_do, batch)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _take_up(work: Callable[[Any], Any]) -> None:
    global _work  # noqa: PLW0603 one process, one work
    _work = work
    warnings.simplefilter("ignore")  # a library's, about the values of one file
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


def _do(batch: Any) -> Any:
    return _work(batch)
