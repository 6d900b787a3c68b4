"""A document in Markdown, with the tables of GitHub's; every text is escaped, so that it stands there as it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scpd.daemon.conformance.document import Code, Contents, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scpd.daemon.conformance.document import Block, Document, Numbered

_SPECIAL = re.compile(r"[\\`*\[\]<>|~$&]|(?<![^\W_])_|_(?![^\W_])")
_START = re.compile(r"^(\d*)([-+=#.)])")
_BACKTICKS = re.compile("`+")


def render(document: Document) -> str:
    """The whole, ending in a newline."""
    parts = [f"# {escape(document.title)}", *_table(document.cover.caption, document.cover)]
    for one in document.numbered():
        parts.append(f"{'#' * (one.depth + 1)} {one.number} {escape(one.section.title)}")
        for number, block in one.blocks():
            parts += _block(number, block, document)
    return "\n\n".join(parts) + "\n"


def _block(number: str, block: Block, document: Document) -> Iterable[str]:
    if isinstance(block, Contents):
        return ["\n".join(map(_entry, document.numbered()))]
    if isinstance(block, Table):
        return _table(f"Table {number}: {block.caption}", block)
    return [_START.sub(r"\1\\\2", escape(block))]


def _entry(one: Numbered) -> str:
    return f"{'  ' * (one.depth - 1)}- {one.number} {escape(one.section.title)}"


def _table(caption: str, table: Table) -> Iterator[str]:
    yield f"**{escape(caption)}**"
    rows = (table.header, tuple("---" for _ in table.header))
    lines = [_row(map(escape, rows[0])), f"|{'|'.join(rows[1])}|"]
    yield "\n".join([*lines, *(_row(map(_cell, row)) for row in table.rows)])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return _code(text) if isinstance(text, Code) else escape(text)


def escape(text: str) -> str:
    """Text that a reader of Markdown shows as this text, on one line."""
    return _SPECIAL.sub(r"\\\g<0>", _one_line(text))


def _code(text: str) -> str:
    """A code span in a cell: a fence that is longer than any in the text, and bars that end no cell."""
    if not text:
        return ""
    fence = "`" * (max(map(len, _BACKTICKS.findall(text)), default=0) + 1)
    room = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{room}{_one_line(text)}{room}{fence}".replace("|", "\\|")


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())
