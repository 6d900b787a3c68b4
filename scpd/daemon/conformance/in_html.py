"""A document as one HTML page that needs nothing else: no script, no font, no picture, no address to fetch from.

For everybody: a language, headings in order, captions and header cells that say what they head, and tables that are
wider than the page scroll by keyboard.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from scpd.daemon.conformance.document import Code, Contents, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.daemon.conformance.document import Block, Document

_STYLE = """\
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem; }
h1, h2, h3, h4, h5, h6 { line-height: 1.2; margin: 2em 0 0.5em; }
div { margin: 1em 0; overflow-x: auto; }
table { border-collapse: collapse; }
caption { font-weight: bold; padding: 0.25em 0; text-align: left; }
th, td { border: 1px solid; overflow-wrap: anywhere; padding: 0.25em 0.5em; text-align: left; vertical-align: top; }
thead th { border-bottom-width: 2px; overflow-wrap: normal; }
tbody th { font-weight: normal; }
code { white-space: pre-wrap; }
nav ul { list-style: none; padding-left: 1.5em; }
@media print { body { max-width: none; } thead { display: table-header-group; } tr { break-inside: avoid; } }"""


def render(document: Document) -> str:
    """The whole page, ending in a newline."""
    return "\n".join(_page(document)) + "\n"


def _page(document: Document) -> Iterator[str]:
    title = escape(document.title)
    yield from ("<!DOCTYPE html>", '<html lang="en">', "<head>", '<meta charset="utf-8">')
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield from (f"<title>{title}</title>", f"<style>\n{_STYLE}\n</style>", "</head>", "<body>", "<main>")
    yield f"<h1>{title}</h1>"
    yield from _table("cover", document.cover.caption, document.cover)
    for one in document.numbered():
        level = one.depth + 1
        yield f'<h{level} id="s{one.number}">{one.number} {escape(one.section.title)}</h{level}>'
        for number, block in one.blocks():
            yield from _block(number, block, document)
    yield from ("</main>", "</body>", "</html>")


def _block(number: str, block: Block, document: Document) -> Iterator[str]:
    if isinstance(block, Contents):
        yield from _contents(document)
    elif isinstance(block, Table):
        yield from _table(f"t{number}", f"Table {number}: {block.caption}", block)
    else:
        yield f"<p>{escape(block)}</p>"


def _contents(document: Document) -> Iterator[str]:
    depth = 0
    yield '<nav aria-label="Table of contents">'
    for one in document.numbered():
        yield from ("<ul>" for _ in range(one.depth - depth))
        if one.depth <= depth:
            yield "</li>" + "</ul></li>" * (depth - one.depth)
        depth = one.depth
        yield f'<li><a href="#s{one.number}">{one.number} {escape(one.section.title)}</a>'
    yield "</li></ul>" * depth + "</nav>"


def _table(name: str, caption: str, table: Table) -> Iterator[str]:
    yield f'<div role="region" aria-labelledby="{name}" tabindex="0">'
    yield f'<table><caption id="{name}">{escape(caption)}</caption>'
    heads = "".join(f'<th scope="col">{escape(one)}</th>' for one in table.header)
    yield f"<thead><tr>{heads}</tr></thead>"
    yield "<tbody>"
    for first, *others in table.rows:
        cells = "".join(f"<td>{_cell(one)}</td>" for one in others)
        yield f'<tr><th scope="row">{_cell(first)}</th>{cells}</tr>'
    yield from ("</tbody></table>", "</div>")


def _cell(text: str) -> str:
    return f"<code>{escape(text)}</code>" if isinstance(text, Code) else escape(text)
