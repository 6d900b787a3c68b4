"""What the pages about what is held have in common: what they are about, the way there, facts and links.

Text of peers is told as such (``bdi``), and escaped like all other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

from scpd.admin.frame import document, told
from scpd.admin.held.telling import line
from scpd.admin.markup import EMPTY, Markup, element, joined
from scpd.admin.table import none

if TYPE_CHECKING:
    from scpd.admin.frame import Notice
    from scpd.index.attributes import Attributes

_PATHS = ("/held", "/held/study", "/held/series", "/held/instance")


class Ref(NamedTuple):
    """What a page is about, by unique keys; ``server`` is empty where there is only one holding."""

    server: str = ""
    study: str = ""
    series: str = ""
    instance: str = ""

    @property
    def level(self) -> int:
        """How many of the keys there are."""
        return sum(map(bool, self[1:]))

    def address(self, path: str = "", **more: object) -> str:
        """The page about it."""
        fields = {**{name: value for name, value in self._asdict().items() if value}, **more}
        return f"{path or _PATHS[self.level]}{'?' if fields else ''}{urlencode(fields, errors='replace')}"

    def fields(self) -> Markup:
        """The same for a form."""
        pairs = ((name, value) for name, value in self._asdict().items() if value)
        return joined(*(element("input", type="hidden", name=name, value=value) for name, value in pairs))


class Around(NamedTuple):
    """What every page shows beside its own: who may sign out, and a word on the index."""

    can_sign_out: bool
    notice: Notice | None = None


def page(title: str, around: Around, *main: Markup) -> str:
    name = element("h1", "scpd ", element("span", title))
    back = element("p", element("a", "Status", href="/"))
    out = element("form", element("button", "Sign out"), method="post", action="/held/sign-out")
    header = joined(name, back, out if around.can_sign_out else EMPTY)
    footer = element("p", "Made for a look at what is held, and not for a diagnosis.")
    return document(f"{title} · scpd", header, (told(around.notice), *main), footer)


def trail(ref: Ref) -> Markup:
    """The way from the search to this page."""
    names = ("Patients and studies", "Study", "Series", "Instance")
    steps = [Ref(*ref[: level + 1]) for level in range(ref.level + 1)]
    items = [
        element("li", element("a", name, href=step.address(), aria_current="page" if step == ref else None))
        for name, step in zip(names, steps, strict=False)
    ]
    return element("nav", element("ul", *items), aria_label="Where this is", class_="trail")


def facts(*pairs: tuple[str, Markup]) -> Markup:
    """What is known; what has no value is left out."""
    there = [(name, value) for name, value in pairs if value.replace("<bdi></bdi>", "").strip()]
    return element(
        "dl", *(element("div", element("dt", name), element("dd", value)) for name, value in there), class_="facts"
    )


def number_of(what: str, one: Attributes) -> Markup:
    number = line(one, f"{what}Number")
    return peer(number) if number else none("no number")


def link(ref: Ref, text: str | Markup) -> Markup:
    return element("a", text if isinstance(text, Markup) else peer(text), href=ref.address())


def peer(text: str) -> Markup:
    return element("bdi", text)
