"""Which configuration a command means that is given none: that of the daemon on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

_USUAL_PLACE = Path("/etc/scpd/scpd.yaml")


def configure(parser: argparse.ArgumentParser) -> None:
    """The argument CONFIG, which may be left out."""
    parser.add_argument(
        "config",
        metavar="CONFIG",
        type=Path,
        nargs="?",
        help=f"the configuration file (default: {_USUAL_PLACE} where it exists, else AE title SCPD on 127.0.0.1:11112)",
    )


def path(args: argparse.Namespace) -> Path | None:
    """The file that the arguments mean; None is the configuration that is built in."""
    return args.config or (_USUAL_PLACE if os.path.lexists(_USUAL_PLACE) else None)
