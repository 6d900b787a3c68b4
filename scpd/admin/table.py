"""Tables that are still tables where they are stacked, on a narrow screen: roles stand in each element.

Knows nothing of what is in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scpd.admin.markup import Markup, element

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Column(NamedTuple):
    """A heading, and the kind of what stands under it.

    ``number``, ``short`` for what stays on one line, ``long``, ``peer`` for addresses, ``names`` for the rest.
    """

    heading: str
    kind: str = "names"


class Row(NamedTuple):
    """The first cell is the row's heading. ``name`` is unique in the page, where the row is to be found again."""

    cells: Sequence[object]
    name: str | None = None


def table(caption: str, columns: Sequence[Column], rows: Iterable[Row], *, hide_caption: bool = True) -> Markup:
    """A table; where the heading above says the same, its caption is only for those who hear it."""
    head = element("tr", *map(_heading, columns), role="row")
    body = [_row(columns, row) for row in rows]
    return element(
        "table",
        element("caption", caption, class_="aside" if hide_caption else None),
        element("thead", head, role="rowgroup"),
        element("tbody", *body, role="rowgroup"),
        role="table",
    )


def none(text: str) -> Markup:
    """What stands in a cell in place of a value."""
    return element("span", text, class_="none")


def nothing(text: str) -> Markup:
    """What stands in place of a whole table."""
    return element("p", text, class_="nothing")


def _heading(column: Column) -> Markup:
    return element("th", column.heading, scope="col", role="columnheader", class_=column.kind)


def _row(columns: Sequence[Column], row: Row) -> Markup:
    cells = [_cell(place, *pair) for place, pair in enumerate(zip(columns, row.cells, strict=True))]
    return element("tr", *cells, role="row", id=row.name)


def _cell(place: int, column: Column, content: object) -> Markup:
    style, label = column.kind, column.heading
    inner = element("span", content, class_="cell")
    if place == 0:
        return element("th", inner, scope="row", role="rowheader", class_=style, data_label=label)
    return element("td", inner, role="cell", class_=style, data_label=label)
