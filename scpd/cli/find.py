"""``scpd find HOST:PORT``: what a peer holds that matches some keys, an answer a line, as they come."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from typing import TYPE_CHECKING

from scpd.cli import answers, keys
from scpd.client import querying
from scpd.client.querying import Extensions
from scpd.dimse.status import PENDING_KEYS_UNSUPPORTED, Category, category
from scpd.errors import UnreadableDataSet

if TYPE_CHECKING:
    from scpd.client.querying import Operation
    from scpd.transport.conversation import Answer


def configure(parser: argparse.ArgumentParser) -> None:
    keys.configure(parser)
    beside = parser.add_argument_group("extended negotiation, as --relational")
    beside.add_argument("--combined-date-time", action="store_true", help="a date and a time match as one")
    beside.add_argument("--fuzzy", action="store_true", help="names match by sound or spelling")
    beside.add_argument("--timezone", action="store_true", help="dates and times are adjusted to the time zone")
    parser.add_argument("--most", metavar="N", type=_count, help="cancel after N answers")
    parser.add_argument(
        "--json", action="store_true", help="an answer is an object of the DICOM JSON model; the rest goes to stderr"
    )


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of answers; write 1 or more")
    return int(text)


def run(args: argparse.Namespace) -> int:
    abstract_syntax = keys.sop_class(args, "find")
    extensions = Extensions(args.relational, args.combined_date_time, args.fuzzy, args.timezone)
    seen: Counter[str] = Counter()
    with keys.association(args, abstract_syntax, extensions) as association:
        operation = keys.ask(querying.find, association, abstract_syntax, keys.wanted(args, unique=True))
        for answer in operation:
            _tell(operation, answer, seen, as_json=args.json)
            if seen["match"] == args.most:
                operation.close()
    return _conclude(operation, seen, args)


def _tell(operation: Operation, answer: Answer, seen: Counter[str], *, as_json: bool) -> None:
    seen["match"] += 1
    seen["without some keys"] += answer.response.status == PENDING_KEYS_UNSUPPORTED
    try:
        dataset = operation.identifier(answer)
    except UnreadableDataSet as error:
        seen["unreadable"] += 1
        print(f"scpd: {error}", file=sys.stderr)
    else:
        answers.say(answers.in_json(dataset) if as_json else answers.line(dataset))


def _conclude(operation: Operation, seen: Counter[str], args: argparse.Namespace) -> int:
    """The last line, and the exit code."""
    count, result = seen["match"], operation.result
    said = [f"{count} match{'es' * (count != 1)}: {answers.status(result)}"]
    said += ["there may be more than --most"] * (count == args.most)
    said += ["the peer does not support some optional keys"] * bool(seen["without some keys"])
    said += [f"{seen['unreadable']} could not be read"] * bool(seen["unreadable"])
    if args.json:
        print("; ".join(said), file=sys.stderr)
    else:
        answers.say("; ".join(said))
    fine = {Category.SUCCESS, Category.WARNING} | ({Category.CANCEL} if count == args.most else set())
    return int(category(result.status) not in fine or bool(seen["unreadable"]))
