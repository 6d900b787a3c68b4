"""Patterns with ``*`` and ``?`` (PS3.4 C.2.2.2.4): what they match, and how SQL would ask for it.

A pattern comes from a peer. Nothing here takes longer than the text is long times the pattern.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_PATTERN = 1024
# More wildcards than a person types: a database gets only the longest piece, for its LIKE may go back and forth.
_MOST_IN_SQL = 8


def has_wildcards(text: str) -> bool:
    return "*" in text or "?" in text


@lru_cache(maxsize=256)
def matcher(pattern: str) -> Callable[[str], bool]:
    """What says whether a text as a whole matches ``pattern``, case-sensitively.

    Each piece between two ``*`` is taken where it first occurs, and never looked for again: an atomic group.
    """
    first, *rest = re.sub(r"\*+", "*", pattern).split("*")
    if not rest:
        expression = _piece(first)
    else:
        *middle, last = rest
        expression = _piece(first) + "".join(f"(?>.*?{_piece(one)})" for one in middle) + ".*" + _piece(last)
    compiled = re.compile(expression, re.DOTALL)
    return lambda text: compiled.fullmatch(text) is not None


def _piece(text: str) -> str:
    return "".join("." if character == "?" else re.escape(character) for character in text)


def like(pattern: str) -> str:
    r"""A pattern of SQL's LIKE, escape character ``\``, that at least every match of ``pattern`` meets.

    >>> like("50%*")
    '50\\%%'
    """
    if pattern.count("*") + pattern.count("?") > _MOST_IN_SQL:
        pattern = f"*{max(re.split(r'[*?]+', pattern), key=len)}*"
    return re.sub(r"[\\%_]", r"\\\g<0>", pattern).replace("*", "%").replace("?", "_")
