"""Person names as they are compared: without case and accents, by component and component group (PS3.5 6.2, PN).

PS3.4 C.2.2.2.1.1 and C.2.2.2.4 leave to each implementation how far that goes. Here a key matches a name where one of
the name's groups (alphabetic, ideographic, phonetic) matches it, as text with its wildcards, or component by
component, of which those that the key leaves empty or out ask for nothing: DOE finds DOE^JANE, and *JANE* too. A key
with "=" asks group by group.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scpd.index.wildcards import has_wildcards, like, matcher

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scpd.index.attributes import Value

# Letters that Unicode does not take apart.
_LETTERS = str.maketrans(
    {
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ð": "d",
        "þ": "th",
        "æ": "ae",
        "œ": "oe",
        "ħ": "h",
        "\N{LATIN SMALL LETTER DOTLESS I}": "i",
    }
)
_ACCENTS = re.compile("[\u0300-\u036f]")
_STRUCTURE = re.compile(r"[\\^=\s]+")
_WORDS = re.compile(r"[^\s^=,.\-'\u2019\\]+")


def normal(name: str) -> str:
    r"""One text for all values and groups of a name that is held, each group after a "="; empty for no name.

    >>> normal("Müller^Jörg=山田^太郎")
    '=muller^jorg=山田^太郎'
    """
    return "\\".join(filter(None, (_text(groups) for groups in _values(name))))


def _values(name: str) -> list[list[list[str]]]:
    """The components of the groups of the values, folded, without the empty ones at each end."""
    return [
        _trimmed([_trimmed([fold(part) for part in group.split("^")]) for group in value.split("=")])
        for value in name.split("\\")
    ]


def _trimmed(parts: list[str] | list[list[str]]) -> list:  # type: ignore[type-arg]
    end = len(parts)
    while end and not parts[end - 1]:
        end -= 1
    return parts[:end]


def _text(groups: Iterable[list[str]]) -> str:
    return "".join("=" + "^".join(group) for group in groups)


def fold(text: str) -> str:
    """A component of a name without case, accents, width and superfluous space; ``*`` and ``?`` stay."""
    if not text.isascii():
        # Only the marks of Europe's scripts: a voiced kana is another letter, not an accent.
        bare = _ACCENTS.sub("", unicodedata.normalize("NFKD", text)).casefold()
        text = unicodedata.normalize("NFC", bare).translate(_LETTERS)
    return _STRUCTURE.sub(" ", text).strip().lower()


def sounds(name: str) -> str:
    """The codes of the words of a name that is held, a space around each; empty for no name.

    >>> sounds("Swayne^Karl")
    ' s500 k640 '
    """
    codes = dict.fromkeys(sound(word) for word in _WORDS.findall(normal(name)))
    return f" {' '.join(codes)} " if codes else ""


_SOUNDS = {
    letter: digit for digit, letters in enumerate(("bfpv", "cgjkqsxz", "dt", "l", "mn", "r"), 1) for letter in letters
}
_FIRST = re.compile(r"^(?:ph|v)|^(?:c(?=[eiy])|z)|^(?:c|q)|^y")
_AS_FIRST = {"ph": "f", "v": "f", "z": "s", "q": "k", "y": "i"}


def sound(word: str) -> str:
    """How a folded word sounds: Soundex, with first letters that sound alike made one; itself in other scripts."""
    if not (word.isascii() and word.isalpha()):
        return word
    word = _FIRST.sub(lambda found: _AS_FIRST.get(found[0], "s" if word[1:2] in tuple("eiy") else "k"), word, count=1)
    code, last = word[0], _SOUNDS.get(word[0], 0)
    for letter in word[1:]:
        digit = _SOUNDS.get(letter, 0)
        if digit and digit != last:
            code += str(digit)
        if letter not in "hw":  # what they part counts as one sound
            last = digit
    return code[:4].ljust(4, "0")


@dataclass(frozen=True, slots=True)
class Person:
    """Matches person names; of several ``names`` any one. ``fuzzy``: also words in another order that sound alike.

    Every name that matches meets one of ``likes`` over its :func:`normal` form, or one of ``sound_likes`` over its
    :func:`sounds`: patterns of SQL's LIKE, case-sensitive, escape character backslash.
    """

    names: tuple[str, ...]
    fuzzy: bool = False
    likes: tuple[str, ...] = field(init=False, compare=False)
    sound_likes: tuple[str, ...] = field(init=False, compare=False)
    _keys: tuple[_Key, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        keys = tuple(_Key(groups) for name in self.names for groups in _values(name))
        likes = [key.like for key in keys]
        heard: list[str] = []
        for key in keys if self.fuzzy else ():
            word = key.most_telling
            if has_wildcards(word):
                likes.append(f"%{like(word)}%")
            elif word:
                heard.append(f"% {like(sound(word))} %")
        object.__setattr__(self, "_keys", keys)
        object.__setattr__(self, "likes", tuple(likes))
        object.__setattr__(self, "sound_likes", tuple(heard))

    @property
    def is_universal(self) -> bool:
        return any(key.is_universal for key in self._keys)

    def matches(self, value: Value | None, /) -> bool:
        if not isinstance(value, str) or not value:
            return False
        return any(
            key.matches(groups) or (self.fuzzy and key.sounds_like(groups))
            for groups in _values(value)
            if groups
            for key in self._keys
        )


class _Key:
    """One name that is asked for."""

    def __init__(self, groups: list[list[str]]) -> None:
        # A component of stars asks for nothing; at the end it need not even be there.
        self._groups = [_trimmed(["" if part and not part.strip("*") else part for part in group]) for group in groups]
        self._asked = [index for index, group in enumerate(self._groups) if group]
        self._by_group = len(groups) > 1
        self._words = [word for word in _WORDS.findall(_text(self._groups)) if word.strip("*")]

    @property
    def is_universal(self) -> bool:
        return not self._asked

    @property
    def like(self) -> str:
        return like("".join(f"*={_starred(self._groups[index])}" for index in self._asked) + "*")

    @property
    def most_telling(self) -> str:
        """The word that a database looks for: a plain one rather than a pattern."""
        return max(self._words, key=lambda word: (not has_wildcards(word), len(word)), default="")

    def matches(self, groups: list[list[str]]) -> bool:
        if self._by_group:
            return all(index < len(groups) and _meets(self._groups[index], groups[index]) for index in self._asked)
        asked = self._groups[0] if self._groups else []
        return any(group and _meets(asked, group) for group in groups)

    def sounds_like(self, groups: list[list[str]]) -> bool:
        words = _WORDS.findall(_text(groups))
        heard = {sound(word) for word in words}
        return bool(self._words) and all(
            any(map(matcher(asked), words)) if has_wildcards(asked) else sound(asked) in heard for asked in self._words
        )


def _starred(group: list[str]) -> str:
    return "^".join(part or "*" for part in group)


def _meets(asked: list[str], group: list[str]) -> bool:
    if len(asked) <= len(group) and all(_is(part, group[index]) for index, part in enumerate(asked) if part):
        return True
    text = _starred(asked)
    return has_wildcards(text) and matcher(text)("^".join(group))


def _is(part: str, component: str) -> bool:
    return matcher(part)(component) if has_wildcards(part) else part == component
