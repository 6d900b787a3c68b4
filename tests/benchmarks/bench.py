"""Measure scpd beside its peers and beside the least that any server must do (README.md).

python tests/benchmarks/bench.py [--smoke] [--rows ct1,echo] [--rounds 5] [--output FILE.md]

Exit code: 0 measured (bars may be missed), 1 a run failed or, with --strict, a bar was missed.
"""

import argparse
import resource
import signal
import sys
from functools import partial
from pathlib import Path

from ground import RunFailed, ground
from quiet import PATIENCE, Watch
from report import Outcome, report
from rows import ROWS

FILES = 20000


def main():
    options = _options()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    _raise_file_limit()
    rows = [row for row in ROWS if row.name in options.rows]
    missing, outcomes = [], []
    try:
        with ground(smoke=options.smoke, durability=options.durability, disk=options.disk) as place:
            watch = Watch(0 if options.smoke else options.patience)
            outcomes = [_measure(row, place, options.rounds, missing, watch) for row in rows]
            if not options.smoke and (note := watch.note()):
                place.note(note)
            text = report(outcomes, ground=place, rounds=options.rounds, missing=missing)
    except KeyboardInterrupt:
        return 130  # what was started has been ended, the folders are gone
    print(text)
    if options.output:
        options.output.write_text(text)
    failed = any(outcome.failures for outcome in outcomes)
    missed = any(outcome.missed() for outcome in outcomes) and not options.smoke
    return int(failed or (options.strict and missed))


def _measure(row, place, rounds, missing, watch):
    """All rounds of one row, in each the servers in turn. A server that failed is not asked again."""
    outcome = Outcome(row)
    if absent := row.missing():
        _once(missing, absent)
        return outcome
    entries = []
    for entry in row.entries:
        if absent := entry.server.missing():
            _once(missing, absent)
        else:
            entries.append(entry)
    for number in range(rounds):
        for entry in _turned(entries, number):
            if entry.rounds is not None and number >= entry.rounds:
                continue
            name = entry.server.name
            try:
                count = row.smoke_count if place.smoke else entry.count
                figures = watch.run(partial(row.measure, place, entry.server, count))
            except RunFailed as failure:
                outcome.failures.append(f"{name}: {failure}")
                entries.remove(entry)
                _say(f"{row.name}  {number + 1}/{rounds}  {name}: FAILED: {failure}")
            else:
                outcome.add(entry.server, figures)
                values = "  ".join(f"{metric} {value:,.2f}" for metric, value in figures.items())
                _say(f"{row.name}  {number + 1}/{rounds}  {name}: {values}")
    return outcome


def _turned(entries, number):
    """A B C, B C A, C A B …: no server is always the one after the same other."""
    first = number % len(entries) if entries else 0
    return entries[first:] + entries[:first]


def _once(names, name):
    if name not in names:
        names.append(name)


def _say(line):
    print(line, file=sys.stderr, flush=True)


def _stop(_signal, _frame):
    raise KeyboardInterrupt


def _raise_file_limit():
    """1,000 associations are 1,000 descriptors, in the server and in the client."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _row_names(text):
    known = [row.name for row in ROWS]
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: the rows are {','.join(known)}")
    return names


def _positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1")
    return number


def _folder(text):
    path = Path(text).resolve()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: is no directory")
    return path


def _options():
    parser = argparse.ArgumentParser(description="Measure scpd beside its peers.")
    add = parser.add_argument
    add("--smoke", action="store_true", help="1 round, tiny counts: does every row work?")
    every = ",".join(row.name for row in ROWS)
    add("--rows", type=_row_names, default=every, help=f"which rows, of {every}")
    add("--rounds", type=_positive, default=5, help="times that each server is measured")
    add("--durability", choices=("none", "fsync"), default="none", help="of scpd's storage")
    add(
        "--patience",
        type=float,
        default=PATIENCE,
        help="seconds in all to wait for other programs to be quiet and to repeat disturbed runs",
    )
    add("--output", type=Path, help="write the report there too")
    add("--disk", type=_folder, help="servers' files in this directory instead of /dev/shm")
    add("--strict", action="store_true", help="exit 1 when a bar is missed")
    options = parser.parse_args()
    if options.smoke:
        options.rounds = 1
    return options


if __name__ == "__main__":
    sys.exit(main())
