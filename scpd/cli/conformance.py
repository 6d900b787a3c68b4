"""``scpd conformance CONFIG``: the DICOM Conformance Statement of this very configuration (PS3.2)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scpd.cli.main import FINE
from scpd.config import load
from scpd.daemon.conformance import in_html, in_markdown
from scpd.daemon.conformance.chapters import statement
from scpd.errors import ScpdError

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", type=Path, help="the configuration file")
    parser.add_argument("--html", action="store_true", help="as one HTML page, instead of Markdown")
    parser.add_argument("--output", metavar="FILE", type=Path, help="where to write it (default: standard output)")


def run(args: argparse.Namespace) -> int:
    document = statement(load(args.config))
    text = in_html.render(document) if args.html else in_markdown.render(document)
    if args.output is None:
        print(text, end="")
        return FINE
    try:
        args.output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ScpdError(f"{args.output} cannot be written: {error.strerror}; name another file") from error
    return FINE
