"""``scpd show CONFIG``: the configuration with every default filled in; what is in secrets' files stays there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scpd.cli.main import FINE
from scpd.config import effective, load

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", type=Path, help="the configuration file")


def run(args: argparse.Namespace) -> int:
    print(effective(load(args.config)), end="")
    return FINE
