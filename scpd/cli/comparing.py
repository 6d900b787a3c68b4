"""``scpd index check``: files and rows compared. Nothing is changed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from scpd.cli import answers
from scpd.cli.bar import Bar
from scpd.cli.kept import check_directory
from scpd.cli.main import FAILED, FINE
from scpd.cli.rebuilding import configure_jobs, name

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from scpd.cli.kept import Kept
    from scpd.index.differences import Batch, Difference
    from scpd.index.index import Index


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--digests",
        action="store_true",
        help="read each file to its end, and compare the CRC-32 of its data set with that of what came",
    )
    configure_jobs(parser)


def run(args: argparse.Namespace, indexes: Sequence[Kept]) -> int:
    from scpd.index.contents import check  # noqa: PLC0415 what needs a database is late

    different = 0
    for kept in indexes:
        for directory in kept.directories:
            check_directory(directory)
        with kept.made() as index:
            check(index)
            for directory in kept.directories:
                different += _compare(kept, index, directory, args)
    return FAILED if different else FINE


def _compare(kept: Kept, index: Index, directory: Path, args: argparse.Namespace) -> int:
    """Name the differences of one store; how many there are."""
    from scpd.index.differences import NO_INSTANCE  # noqa: PLC0415 as above
    from scpd.index.places import MARKER  # noqa: PLC0415

    if not (directory / MARKER).exists():
        answers.say(f"{directory}: nothing of it was ever written down: there is no {MARKER} in it")
        return 1
    seen: Counter[str] = Counter()
    with Bar(str(directory)) as bar:
        for found in _differences(kept, index, directory, args, bar):
            seen[found.what] += 1
            name(str(directory), found)
    said = ", ".join(f"{what}: {count}" for what, count in sorted(seen.items()))
    answers.say(f"{directory}: {said or 'files and rows agree'}")
    return sum(seen.values()) - seen[NO_INSTANCE]


def _differences(kept: Kept, index: Index, directory: Path, args: argparse.Namespace, bar: Bar) -> Iterator[Difference]:
    from scpd.index.crew import cores, crew  # noqa: PLC0415 as above
    from scpd.index.differences import Compares, differences  # noqa: PLC0415
    from scpd.index.register import Register  # noqa: PLC0415

    register = Register(index, directory, deferred=False)
    compares = Compares(register.directory, kept.keeping, digests=args.digests)
    with crew(compares, args.jobs or cores()) as comparing:

        def counted(batches: Iterable[Batch]) -> Iterator[list[Difference]]:
            return comparing(_counted(batches, bar))

        yield from differences(register, counted, digests=args.digests)


def _counted(batches: Iterable[Batch], bar: Bar) -> Iterator[Batch]:
    files = 0
    for batch in batches:
        files += len(batch)
        bar.reach(files)
        yield batch
