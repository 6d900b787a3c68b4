"""``scpd schema``: the JSON Schema of the configuration file, for editors; or the reference of its keys, for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from scpd.cli.main import FINE
from scpd.config import schema
from scpd.config.reference import reference

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--markdown", action="store_true", help="print the reference of the keys instead")


def run(args: argparse.Namespace) -> int:
    if args.markdown:
        print(reference(), end="")
        return FINE
    print(json.dumps(schema(), indent=2, ensure_ascii=False))
    return FINE
