"""``scpd run [CONFIG]``: serve until SIGTERM."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scpd.config import load
from scpd.daemon import supervisor

if TYPE_CHECKING:
    import argparse

_USUAL_PLACE = Path("/etc/scpd/scpd.yaml")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config",
        metavar="CONFIG",
        type=Path,
        nargs="?",
        help=f"the configuration file (default: {_USUAL_PLACE} where it exists, else AE title SCPD on 127.0.0.1:11112)",
    )


def run(args: argparse.Namespace) -> int:
    path = args.config or (_USUAL_PLACE if _USUAL_PLACE.exists() else None)
    return supervisor.run(load(path), path)
