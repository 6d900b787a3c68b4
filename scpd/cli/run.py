"""``scpd run [CONFIG]``: serve until SIGTERM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.cli import configuration
from scpd.config import load
from scpd.daemon import process, supervisor

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    configuration.configure(parser)


def run(args: argparse.Namespace) -> int:
    signals = process.prepare()
    path = configuration.path(args)
    return supervisor.run(load(path), path, signals)
