"""``scpd index rebuild``: the rows of each store made anew from its files, beside a running scpd or without it."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scpd.cli import answers
from scpd.cli.bar import Bar
from scpd.cli.kept import check_directory, hand_over, is_in_use
from scpd.cli.main import FAILED, FINE
from scpd.daemon.archive import FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scpd.cli.kept import Kept
    from scpd.index.differences import Difference
    from scpd.index.index import Index
    from scpd.index.rebuild import Rebuild
    from scpd.index.register import Register

_MOST_JOBS = 256
# What somebody was about to do so long ago, and never ended, while an scpd is running (seconds).
_OVERDUE = 600.0


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from-the-start", action="store_true", help="do not go on where a rebuild was interrupted, but begin again"
    )
    configure_jobs(parser)


def configure_jobs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--jobs", metavar="N", type=_jobs, help="processes that read files (default: one for each core)"
    )


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= _MOST_JOBS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes; write 1 to {_MOST_JOBS}")
    return int(text)


class _Task(NamedTuple):
    """One store to be made anew: the index it belongs to, and who says which files are no instances."""

    kept: Kept
    register: Register
    rebuild: Rebuild
    unreadable: _Unreadable


class _Unreadable:
    """Names the files that are not written down, as they are found."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self.is_incomplete = False

    def __call__(self, found: Difference) -> None:
        from scpd.index.differences import NO_INSTANCE  # noqa: PLC0415 as below

        self.is_incomplete = self.is_incomplete or found.what != NO_INSTANCE
        name(self._directory, found)


def name(directory: str, found: Difference) -> None:
    """Say of a file what is wrong with it, whatever there is in its name."""
    why = f" ({found.why})" if found.why else ""
    with Bar.aside():
        answers.say(answers.harmless(f"{found.what}{why}: {directory}/{found.path}"))


def run(args: argparse.Namespace, indexes: Sequence[Kept]) -> int:
    with ExitStack() as stack:
        is_wanted = stack.enter_context(_until_interrupted())
        tasks = [task for kept in indexes for task in stack.enter_context(_tasks(kept, is_wanted))]
        begun = [] if args.from_the_start else [task for task in tasks if task.rebuild.is_underway()]
        for task in () if begun else tasks:
            with task.kept.telling():
                task.rebuild.begin()
        for task in begun or tasks:
            with task.kept.telling():
                _make(task, args, goes_on=bool(begun))
        for task in tasks:
            if begun and task not in begun:
                answers.say(f"{task.register.directory}: left as it is; --from-the-start makes it anew too")
    return FAILED if any(task.unreadable.is_incomplete for task in tasks) else FINE


@contextmanager
def _until_interrupted() -> Iterator[Callable[[], bool]]:
    """Whether nobody has interrupted it: what is begun is brought to its end first, unless somebody asks again."""
    interrupted = threading.Event()

    def note(*_: object) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: not interrupted.is_set()
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _tasks(kept: Kept, is_wanted: Callable[[], bool]) -> Iterator[list[_Task]]:
    """The stores of an index, which is open meanwhile, and made where there is none."""
    for directory in kept.directories:
        check_directory(directory)
    with kept.made() as index:
        try:
            index.open()
            yield [_task(kept, index, directory, is_wanted) for directory in kept.directories]
        finally:
            index.close()
            _hand_over(kept, index.database.file)


def _task(kept: Kept, index: Index, directory: Path, is_wanted: Callable[[], bool]) -> _Task:
    from scpd.index.rebuild import Rebuild, settle_left  # noqa: PLC0415 what needs a database is late
    from scpd.index.register import Register  # noqa: PLC0415

    register = Register(index, directory, deferred=False)
    settle_left(register, time.time() - (_OVERDUE if is_in_use(directory) else 0))
    unreadable = _Unreadable(register.directory)
    return _Task(kept, register, Rebuild(register, is_wanted, unreadable), unreadable)


def _hand_over(kept: Kept, file: str) -> None:
    from scpd.index.places import MARKER  # noqa: PLC0415 as above

    for directory in kept.directories:
        hand_over(directory / MARKER, directory / FOLDER)
    if file:
        hand_over(Path(file))


def _make(task: _Task, args: argparse.Namespace, *, goes_on: bool) -> None:
    from scpd.index.crew import cores, crew  # noqa: PLC0415 as above
    from scpd.index.rebuild import Looks  # noqa: PLC0415

    register, rebuild = task.register, task.rebuild
    if goes_on:
        answers.say(f"{register.directory}: going on after {rebuild.progress.files} files")
    looks = Looks(register.directory, task.kept.keeping)
    with Bar(register.directory, rebuild.progress.files) as bar, crew(looks, args.jobs or cores()) as looking:
        is_whole = rebuild.run(looking, lambda progress: bar.reach(progress.files))
    if not is_whole:
        print(f"interrupted after {rebuild.progress.files} files; the same command goes on there", file=sys.stderr)
        raise KeyboardInterrupt
    done = rebuild.progress
    answers.say(
        f"{register.directory}: {done.instances} instances written down, {done.unreadable} files that are none, "
        f"{done.removed} rows without a file removed"
    )
