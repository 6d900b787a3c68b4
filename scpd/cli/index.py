"""``scpd index ACTION CONFIG``: what is held, made anew from the files, and compared with them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from scpd.cli import comparing, holdings, kept, rebuilding

if TYPE_CHECKING:
    import argparse

_ACTIONS = {
    "list": (holdings, "say how much is held, and which studies"),
    "rebuild": (rebuilding, "make an index anew from the files; queries go on meanwhile"),
    "check": (comparing, "name files without rows, rows without files, and rows of other files; change nothing"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, (module, line) in _ACTIONS.items():
        action = actions.add_parser(name, help=line, description=f"{line[0].upper()}{line[1:]}.")
        action.add_argument("config", metavar="CONFIG", type=Path, help="the configuration file")
        action.add_argument("--server", metavar="NAME", help="only the index and the storage directory of this server")
        module.configure(action)
        action.set_defaults(act=module.run)


def run(args: argparse.Namespace) -> int:
    warnings.simplefilter("ignore")  # a library's, about the values of one file
    return int(args.act(args, kept.indexes(args.config, args.server)))
