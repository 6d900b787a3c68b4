"""``scpd queue CONFIG``: what waits to be handed over, and what becomes of jobs that were set aside."""

from __future__ import annotations

import argparse
from pathlib import Path

from scpd.cli.main import FINE
from scpd.config import load
from scpd.daemon.handover import queue_directory
from scpd.errors import ScpdError
from scpd.forward.shelf import Row, Selection, Shelf
from scpd.services.commitment.transactions import NAME

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_WHAT = ("sop_instance_uid", "study_instance_uid", "transaction_uid")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", type=Path, help="the configuration file")
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", "retry", "drop"),
        default="list",
        help="list what was set aside (the default), have it tried again, or forget it",
    )
    parser.add_argument("ids", metavar="ID", nargs="*", type=int, help="jobs by number, also those that wait")
    parser.add_argument("--hook", metavar="NAME", help=f"only jobs of this hook, or of {NAME!r}")


def run(args: argparse.Namespace) -> int:
    directory = queue_directory(load(args.config))
    if directory is None:
        raise ScpdError(f"{args.config} has no hooks and no storage commitment, and no queue")
    shelf, selection = Shelf(directory), Selection(args.hook, args.ids)
    if args.action == "list":
        _list(shelf, selection)
    elif args.action == "retry":
        print(f"{shelf.retry(selection)} to be tried again")
    elif args.ids or args.hook:
        print(f"{shelf.drop(selection)} dropped")
    else:
        raise argparse.ArgumentTypeError("drop needs an ID or --hook: what is dropped is gone")
    return FINE


def _list(shelf: Shelf, selection: Selection) -> None:
    for count in shelf.counts():
        if selection.target in (None, count.target):
            oldest = f"the oldest {_age(count.oldest)}"
            print(f"{count.target}: {count.waiting} waiting, {count.set_aside} set aside, {oldest}")
    for row in shelf.jobs(selection):
        print(_line(row))


def _line(row: Row) -> str:
    what = next((row.payload[key] for key in _WHAT if row.payload.get(key)), "")
    about = f"{row.id}  {row.target}  {row.state}  {row.payload.get('event', '')} {what}"
    return f"{about}  {_age(row.age)}  {row.attempts} {'try' if row.attempts == 1 else 'tries'}  {row.why}"


def _age(seconds: float) -> str:
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "m")):
        if seconds >= unit:
            return f"{seconds / unit:.0f}{name}"
    return f"{seconds:.0f}s"
