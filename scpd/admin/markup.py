"""HTML in which no text becomes markup: whatever is not made here is escaped, wherever it goes.

Knows elements and nothing of what they show.
"""

from __future__ import annotations

import html


class Markup(str):
    """HTML that was made by :func:`element`, or written in this program."""

    __slots__ = ()


EMPTY = Markup("")
_VOID = frozenset(("img", "input", "link", "meta"))


def element(tag: str, /, *children: object, **attributes: object) -> Markup:
    """An element; children that are no :class:`Markup` are text.

    A trailing underscore of an attribute is left out and others become dashes: ``class_``, ``aria_label``. True is an
    attribute without a value, None and False are no attribute.
    """
    said = "".join(map(_attribute, attributes.items()))
    if tag in _VOID:
        return Markup(f"<{tag}{said}>")
    return Markup(f"<{tag}{said}>{joined(*children)}</{tag}>")


def joined(*children: object) -> Markup:
    """One after the other."""
    return Markup("".join(map(_escaped, children)))


def printable(text: str) -> str:
    """Text without characters that have no look of their own, which could turn lines around or hide something."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one == "\n" else ascii(one)[1:-1] for one in text)


def _escaped(child: object) -> str:
    return child if isinstance(child, Markup) else html.escape(printable(str(child)))


def _attribute(pair: tuple[str, object]) -> str:
    name, value = pair
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{_escaped(value)}"'
