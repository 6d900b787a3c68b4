"""A line over the last fifteen minutes: an SVG of its own size, labels beside it in the page's text.

The labels are no part of the drawing, so that it can be as wide as the screen and they stay as large as text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scpd.admin.figures import digits, size, unit_of
from scpd.admin.history import SPAN
from scpd.admin.markup import EMPTY, Markup, element, joined

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_WIDTH, _HEIGHT = 600, 100
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_TIMES = ("15 min ago", "10 min", "5 min", "now")
# Between samples that are further apart than this nothing is known.
_GAP = 15.0


class Line(NamedTuple):
    """What is drawn in one colour: its values go with the ages of the plot."""

    name: str
    style: str
    values: Sequence[float]


def plot(name: str, title: str, ages: Sequence[float], lines: Sequence[Line], unit: str) -> Markup:
    """A figure; ``unit`` is B/s for sizes, else the word after a count. ``ages`` are in seconds, the oldest first."""
    told = _rate if unit == "B/s" else lambda value: f"{digits(value)}{unit}"
    top = _top(max((max(line.values, default=0.0) for line in lines), default=0.0), is_size=unit == "B/s")
    caption = element(
        "figcaption", element("h3", title), element("p", *(_latest(line, told) for line in lines), class_="legend")
    )
    scale = _labels("y", [told(top * share) for share in (1.0, 0.5, 0.0)])
    drawing = _drawing(name, title, ages, lines, top, told)
    return element("figure", caption, scale, drawing, _labels("x", _TIMES), class_="plot", id=name)


def _labels(axis: str, labels: Sequence[str]) -> Markup:
    # The description of the drawing says it in words.
    return element("div", *(element("span", each) for each in labels), class_=axis, aria_hidden="true")


def _latest(line: Line, told: Callable[[float], str]) -> Markup:
    value = told(line.values[-1]) if line.values else "nothing yet"
    return element("span", element("span", line.name, class_=f"key {line.style}"), " ", element("b", value))


def _drawing(
    name: str, title: str, ages: Sequence[float], lines: Sequence[Line], top: float, told: Callable[[float], str]
) -> Markup:
    grid = [element("line", x1=0, x2=_WIDTH, y1=y, y2=y, class_="grid") for y in (0, _HEIGHT // 2, _HEIGHT)]
    drawn = [_path(ages, line, top) for line in lines]
    about = [
        element("title", f"{title} of the last 15 minutes", id=f"{name}-title"),
        element("desc", _in_words(lines, told), id=f"{name}-desc"),
    ]
    return element(
        "svg",
        *about,
        *grid,
        *drawn,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
    )


def _path(ages: Sequence[float], line: Line, top: float) -> Markup:
    pieces: list[list[tuple[float, float]]] = []
    before = None
    for age, value in zip(ages, line.values, strict=True):
        if before is None or before - age > _GAP:
            pieces.append([])
        pieces[-1].append((_WIDTH * (1 - min(age, SPAN) / SPAN), _HEIGHT * (1 - value / top)))
        before = age
    return joined(*(_piece(piece, line.style) for piece in pieces)) if pieces else EMPTY


def _piece(points: Sequence[tuple[float, float]], style: str) -> Markup:
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    under = f"{points[0][0]:.1f},{_HEIGHT} {drawn} {points[-1][0]:.1f},{_HEIGHT}"
    area = element("polygon", points=under, class_=f"area {style}")
    return joined(area, element("polyline", points=drawn, class_=f"line {style}"))


def _in_words(lines: Sequence[Line], told: Callable[[float], str]) -> str:
    if not any(line.values for line in lines):
        return "Nothing is known yet."
    return " ".join(f"{line.name} {told(line.values[-1])}, at most {told(max(line.values))}." for line in lines)


def _rate(value: float) -> str:
    return f"{size(value)}/s"


def _top(most: float, *, is_size: bool) -> float:
    """The round number that the scale ends with."""
    factor = unit_of(most)[0] if is_size else 1.0
    while most > _STEPS[-1] * factor:
        factor *= _STEPS[-1]
    return next(step * factor for step in _STEPS if most <= step * factor)
