"""``scpd move HOST:PORT --to AETITLE``: have a peer send what matches some keys to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.cli import keys, retrieval
from scpd.client import querying
from scpd.client.querying import Extensions
from scpd.names import parse_ae_title

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    keys.configure(parser)
    parser.add_argument(
        "--to",
        metavar="AETITLE",
        type=keys.argument(parse_ae_title),
        required=True,
        help="who gets it: an AE title that the peer knows",
    )


def run(args: argparse.Namespace) -> int:
    abstract_syntax = keys.sop_class(args, "move")
    with keys.association(args, abstract_syntax, Extensions(args.relational)) as association:
        operation = keys.ask(querying.move, association, abstract_syntax, keys.wanted(args), args.to)
        counts = retrieval.follow(operation)
    return retrieval.conclude(operation, counts)
