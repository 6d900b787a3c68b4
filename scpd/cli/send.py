"""``scpd send HOST:PORT PATH …``: files and folders to a peer, with counts by status at the end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from scpd.cli import address, security
from scpd.client.sending import Outcome, find, send

if TYPE_CHECKING:
    import argparse

    from scpd.client.instance import Instance


def configure(parser: argparse.ArgumentParser) -> None:
    address.configure(parser)
    parser.add_argument("paths", metavar="PATH", type=Path, nargs="+", help="DICOM files, and folders of them")


def run(args: argparse.Namespace) -> int:
    peer, caller = address.target(args)
    outcome = Outcome()
    instances = list(find(args.paths, outcome))
    with tqdm(total=len(instances), unit="file", disable=not sys.stderr.isatty()) as bar:

        def progress(_: Instance) -> None:
            bar.update()

        send(peer, instances, caller, outcome, progress)
    print(f"{outcome.stored} stored, {outcome.failed} not")
    for what, count in sorted(outcome.counts.items()):
        print(f"{count:8} {what}")
    if confirmation := security.confirmation(caller.identity):
        print(confirmation)
    return int(bool(outcome.failed) or not outcome.stored)
