"""``scpd schema``: the JSON Schema of the configuration file, which editors complete and check by."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from scpd.cli.main import FINE
from scpd.config import schema

if TYPE_CHECKING:
    import argparse


def configure(_parser: argparse.ArgumentParser) -> None:
    """No arguments: there is one schema."""


def run(_args: argparse.Namespace) -> int:
    print(json.dumps(schema(), indent=2, ensure_ascii=False))
    return FINE
