"""What every page has around it: the document with its landmarks, sections, and a word on what came of something."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scpd.admin.markup import EMPTY, Markup, element, joined

if TYPE_CHECKING:
    from collections.abc import Sequence


class Notice(NamedTuple):
    """What came of what somebody did."""

    text: str
    is_bad: bool = False


def document(title: str, header: Markup, main: Sequence[object], footer: Markup, *, refreshes: bool = False) -> str:
    """A whole document, as text; ``refreshes`` is for the one page that has a script look at it anew."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("link", rel="icon", href="/icon.svg", type="image/svg+xml"),
        element("link", rel="stylesheet", href="/status.css"),
        element("script", src="/status.js", defer=True) if refreshes else EMPTY,
    )
    body = element(
        "body",
        element("a", "Skip to the content", href="#main", class_="skip"),
        element("header", element("div", header, class_="wide")),
        element("main", *main, id="main", tabindex=-1),
        element("footer", element("div", footer, class_="wide")),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def section(name: str, title: object, *content: object) -> Markup:
    """A section with a heading; ``name`` is unique in the page."""
    return element(
        "section", element("h2", title, id=f"{name}-title"), *content, id=name, aria_labelledby=f"{name}-title"
    )


def told(notice: Notice | None) -> Markup:
    """A notice, heard at once where it is bad."""
    if notice is None:
        return EMPTY
    style = "notice bad" if notice.is_bad else "notice ok"
    return element("p", notice.text, class_=style, role="alert" if notice.is_bad else "status", id="notice")


def token_field(name: str) -> Markup:
    """Where the token is typed; its label is the caller's."""
    return element("input", type="password", name="token", id=name, required=True, autocomplete="off", maxlength=256)


def links(*paths: str) -> Markup:
    """What stands in the footer for programs."""
    return element("nav", joined(*(element("a", path, href=path) for path in paths)), aria_label="For programs")
