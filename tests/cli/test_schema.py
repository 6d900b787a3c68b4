"""``scpd schema``: the JSON Schema of the file on standard output."""

from __future__ import annotations

import json
from pathlib import Path

from scpd.cli.main import main
from scpd.config import schema

ROOT = Path(__file__).parents[2]


def test_what_is_printed_is_the_schema(capsys):
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == schema()


def test_the_reference_of_the_keys_is_not_stale(capsys):
    """docs/configuration.md is what `make docs` writes."""
    assert main(["schema", "--markdown"]) == 0
    assert capsys.readouterr().out == (ROOT / "docs" / "configuration.md").read_text(), "run: make docs"
