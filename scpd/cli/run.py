"""``scpd run [CONFIG]``: serve until SIGTERM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.cli import configuration
from scpd.daemon import process

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    configuration.configure(parser)


def run(args: argparse.Namespace) -> int:
    signals = process.prepare()
    # What takes its time comes after the signals: they wait from now on.
    from scpd.config import load  # noqa: PLC0415
    from scpd.daemon import supervisor  # noqa: PLC0415

    path = configuration.path(args)
    return supervisor.run(load(path), path, signals)
