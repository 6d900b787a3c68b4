"""``scpd check CONFIG``: every fault of a configuration and of its surroundings, short of listening."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scpd.cli.main import BAD_CONFIGURATION, FINE
from scpd.config import Config, load
from scpd.daemon.surroundings import Surroundings
from scpd.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", type=Path, help="the configuration file")


def run(args: argparse.Namespace) -> int:
    try:
        config = load(args.config)
        surroundings = Surroundings(config)
        faults: Sequence[str] = surroundings.faults
    except ConfigurationError as error:
        faults = error.faults
    if faults:
        print(*faults, sep="\n")
        return BAD_CONFIGURATION
    for warning in surroundings.warnings:
        print(f"warning: {warning}")
    print(f"{args.config}: fine: {summary(config)}")
    return FINE


def summary(config: Config) -> str:
    """How much a configuration sets up.

    ``1 server, 207 SOP classes``
    """
    classes = {each.abstract_syntax for server in config.servers for each in server.supported()}
    return f"{_count(len(config.servers), 'server')}, {_count(len(classes), 'SOP class')}"


def _count(number: int, what: str) -> str:
    ending = "" if number == 1 else "es" if what.endswith("s") else "s"
    return f"{number} {what}{ending}"
