"""A fault of a configuration: the line, the key, what is wrong and what to do.

Knows how a fault reads; what makes one is the business of whoever finds it.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scpd.names import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# From the root of the file: a text for a key of a mapping, a number for an entry of a list.
KeyPath = tuple[str | int, ...]

# A file that is wrong everywhere gets its first faults, not a hundred thousand of them.
MOST_FAULTS = 100
# A comparison takes the square of the length; a longer word is no slip of the fingers.
_LONGEST_WORD = 64

_HARMLESS = re.compile(r"[\w./:+*@%-]{1,64}", re.ASCII)


@dataclass(frozen=True, order=True)
class Fault:
    """One fault. ``line`` counts from 1, and is 0 for a fault of the file as a whole."""

    line: int
    key: str
    what: str

    def sentence(self, file: str) -> str:
        """``file:line: key: what; what to do``, without what there is none of."""
        place = f"{file}:{self.line}" if self.line else file
        return ": ".join(part for part in (place, self.key, self.what) if part)


class Unreadable(Exception):
    """A fault after which nothing more can be known of the file."""

    def __init__(self, line: int, what: str, key: str = "") -> None:
        super().__init__(what)
        self.fault = Fault(line, key, what)


def sentences(faults: Iterable[Fault], file: str) -> list[str]:
    """Every fault once, in the order of the lines, and no more than a person would read."""
    ordered = sorted(set(faults))
    shown = [fault.sentence(file) for fault in ordered[:MOST_FAULTS]]
    if len(ordered) > MOST_FAULTS:
        shown.append(f"{file}: {len(ordered) - MOST_FAULTS} more faults; mend these first")
    return shown


def dotted(path: KeyPath) -> str:
    """A path as a person writes it.

    >>> dotted(("servers", 1, "limits", "associations"))
    'servers[1].limits.associations'
    """
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{shown(part)}" if text else shown(part)
    return text


def shown(value: object) -> str:
    """A value of the file for a sentence: bare where that is harmless, else quoted; never long."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case str():
            return value if _HARMLESS.fullmatch(value) else quote(value)
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case _:
            return str(value)


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word that ``word`` was most likely meant to be."""
    if len(word) > _LONGEST_WORD:
        return None
    by_lower = {each.lower(): each for each in reversed(known)}  # of two that differ in case, the first
    found = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return by_lower[found[0]] if found else None
