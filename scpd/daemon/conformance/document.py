"""A document as data: chapters, paragraphs and tables, numbered once for every form that it is written in.

Knows neither Markdown nor HTML, and nothing of what is written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Code(str):
    """A cell that is to be read letter by letter: a key, a UID, an AE title."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A table. Each row has as many cells as the header; a cell is plain text, or :class:`Code`."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """Where the table of contents stands."""


Block = str | Table | Contents


@dataclass(frozen=True, slots=True)
class Section:
    """A chapter or a part of one. A text in ``body`` is a paragraph."""

    title: str
    body: tuple[Block, ...] = ()
    sections: tuple[Section, ...] = field(default=())


class Numbered(NamedTuple):
    """A section with its number, as ``4.2.1``."""

    number: str
    section: Section

    @property
    def depth(self) -> int:
        """1 for a chapter."""
        return self.number.count(".") + 1

    def blocks(self) -> Iterator[tuple[str, Block]]:
        """What stands in it, each table with its number, as ``4.2.1-1``; everything else with none."""
        tables = 0
        for block in self.section.body:
            tables += isinstance(block, Table)
            yield (f"{self.number}-{tables}" if isinstance(block, Table) else ""), block


@dataclass(frozen=True, slots=True)
class Document:
    """The whole: a title, what stands before the first chapter, and the chapters."""

    title: str
    cover: Table
    chapters: tuple[Section, ...]

    def numbered(self) -> Iterator[Numbered]:
        """Every section in the order of reading."""
        for number, chapter in enumerate(self.chapters, 1):
            yield from _numbered(str(number), chapter)


def _numbered(number: str, section: Section) -> Iterator[Numbered]:
    yield Numbered(number, section)
    for part, below in enumerate(section.sections, 1):
        yield from _numbered(f"{number}.{part}", below)
