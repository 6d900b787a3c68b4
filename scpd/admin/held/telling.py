"""Values of attributes as people read them, bounded; where a value is no such thing, it stands as it came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.admin.markup import Markup, element
from scpd.index import dates
from scpd.index.attributes import tag_of

if TYPE_CHECKING:
    from scpd.index.attributes import Attributes

_LONGEST = 120
# More than a UID may have (PS3.5 9.1), for peers send what they like.
_LONGEST_UID = 1024


def line(told: Attributes, keyword: str) -> str:
    """The text of an attribute, cut where it is long; empty where there is none."""
    text = _text(told, keyword)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def uid(told: Attributes, keyword: str) -> str:
    """What something is found again by."""
    return _text(told, keyword)[:_LONGEST_UID]


def person(told: Attributes, keyword: str = "PatientName") -> str:
    """A name with its family name first (PS3.5 6.2, PN); the groups of a name in several scripts one by one."""
    groups = (group.split("^") for group in line(told, keyword).split("="))
    named = (", ".join(filter(None, (family, " ".join(filter(None, rest))))) for family, *rest in groups)
    return " = ".join(filter(None, named))


def day(told: Attributes, keyword: str) -> Markup:
    """A date as 2026-03-31."""
    text = line(told, keyword)
    found = dates.normal("DA", text)
    return element("bdi", f"{found[:4]}-{found[4:6]}-{found[6:]}" if found else text)


def clock(told: Attributes, keyword: str) -> Markup:
    """A time as 08:15:00."""
    text = line(told, keyword)
    found = dates.normal("TM", text)
    return element("bdi", f"{found[:2]}:{found[2:4]}:{found[4:6]}" if found else text)


def whole(told: Attributes, keyword: str) -> Markup:
    """A whole number, with commas."""
    text = line(told, keyword)
    return element("bdi", f"{int(text):,}" if text.isascii() and text.isdecimal() and len(text) <= 12 else text)


def _text(told: Attributes, keyword: str) -> str:
    value = told.get(tag_of(keyword), "")
    return value if isinstance(value, str) else ""
