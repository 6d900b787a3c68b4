"""What a key of a query asks of a value (PS3.4 C.2.2.2): the truth, which a database only has to come near.

An attribute without a value meets no condition but :class:`Empty`. PS3.4 C.2.2.1.2 would have an unknown value match
whatever is asked: then a query for one accession number brought every study that has none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003 a dataclass has it
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from pydicom.datadict import keyword_for_tag

from scpd.index import dates
from scpd.index.person_names import Person
from scpd.index.wildcards import LONGEST_PATTERN, has_wildcards, matcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scpd.index.attributes import Attributes, Value
    from scpd.index.query import Condition

WILDCARD_VR = frozenset(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"))
# Text that is one value, whatever backslashes are in it (PS3.5 6.4).
_ONE_VALUE = frozenset(("ST", "LT", "UT", "UR"))
_RANGE_VR = frozenset(("DA", "TM", "DT"))
# PS3.4 C.2.2.2.8.
_MULTIPLE_VALUE_VR = frozenset(("AE", "AS", "AT", "CS", "LO", "PN", "SH", "UC"))
_INTEGER = re.compile(r"[+-]?\d{1,12}", re.ASCII)
# A UID is matched as text: those that devices make against PS3.5 9.1, with leading zeros, can be asked for too.
_FORMS: Mapping[str, tuple[re.Pattern[str], str]] = {
    "UI": (re.compile(r"[0-9.]{1,64}"), "is no UID"),
    "AS": (re.compile(r"\d{3}[DWMY]", re.ASCII), "is no age such as 018M"),
    "IS": (_INTEGER, "is no whole number"),
    "DS": (re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII), "is no number"),
    **dict.fromkeys(("US", "SS", "UL", "SL"), (_INTEGER, "is no whole number")),
}


class UnmatchableKey(ValueError):
    """A key asks for something that its VR does not have. ``why`` repeats nothing of the value."""

    def __init__(self, tag: int, why: str) -> None:
        super().__init__(f"{keyword_for_tag(tag) or 'the key'} ({tag >> 16:04X},{tag & 0xFFFF:04X}) {why}")
        self.tag = tag
        self.why = why


class Matching(NamedTuple):
    """What was negotiated (PS3.4 C.5.1.1). ``zone``: that of the keys, in minutes east of UTC, or None for unknown."""

    fuzzy_names: bool = False
    empty_values: bool = False
    multiple_values: bool = False
    zone: int | None = None


PLAIN = Matching()


@dataclass(frozen=True, slots=True)
class OneOf:
    """Single value and list of UID matching: one of the values that are held is one of these.

    ``several`` is False where a backslash is only a character.
    """

    values: tuple[str, ...]
    several: bool = True

    def matches(self, value: Value | None, /) -> bool:
        if not isinstance(value, str) or not value:
            return False
        return value in self.values or any(one in self.values for one in values_of(value, several=self.several))


@dataclass(frozen=True, slots=True)
class Like:
    """Wild card matching: one of the values that are held matches ``pattern``, with ``*`` and ``?``."""

    pattern: str
    several: bool = True
    _matches: Callable[[str], bool] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_matches", matcher(self.pattern))

    def matches(self, value: Value | None, /) -> bool:
        if not isinstance(value, str) or not value:
            return False
        return any(map(self._matches, values_of(value, several=self.several)))


@dataclass(frozen=True, slots=True)
class Within:
    """Range matching, and single values of dates and times by their meaning (C.2.2.2.1.3).

    A value that is held is within if its :func:`scpd.index.dates.normal` form is neither less than ``first`` nor
    greater than ``last``, compared as text; either may be empty, where the range is open.
    """

    first: str
    last: str
    vr: str = "DA"

    def matches(self, value: Value | None, /) -> bool:
        if not isinstance(value, str) or not value:
            return False
        return any(map(self.holds, (dates.normal(self.vr, one) for one in values_of(value))))

    def holds(self, normal: str) -> bool:
        """Whether a normal form is within."""
        return bool(normal) and self.first <= normal and not (self.last and normal > self.last)


@dataclass(frozen=True, slots=True)
class AllOf:
    """Multiple value matching: each of the conditions is met (C.2.2.2.8)."""

    conditions: tuple[Condition, ...]

    def matches(self, value: Value | None, /) -> bool:
        return all(condition.matches(value) for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class Empty:
    """Empty value matching: there is no value (C.2.2.2.7)."""

    def matches(self, value: Value | None, /) -> bool:
        return not (value.strip("\\ ") if isinstance(value, str) else value)


@dataclass(frozen=True, slots=True)
class Items:
    """Sequence matching: some one item meets all of the conditions (C.2.2.2.6)."""

    conditions: Mapping[int, Condition]

    def matches(self, value: Value | None, /) -> bool:
        return isinstance(value, list) and any(map(self.meets, value))

    def meets(self, item: Attributes) -> bool:
        """Whether an item meets all of the conditions."""
        return all(condition.matches(item.get(tag)) for tag, condition in self.conditions.items())


def values_of(value: str, *, several: bool = True) -> Iterable[str]:
    """The values that stand in the text of an attribute, without the spaces around them."""
    if several and "\\" in value:
        return [one.strip(" ") for one in value.split("\\")]
    return (value.strip(" "),)


def parse(tag: int, vr: str, text: str, matching: Matching = PLAIN) -> Condition | None:
    """The condition of a key with a value of text, or None where it asks for nothing (universal matching).

    Raises :class:`UnmatchableKey` where the VR has no such value.
    """
    text = text.strip("\0 ")
    if not text.strip("*"):
        return None
    if matching.empty_values and text == '""':
        return Empty()
    try:
        if vr in _RANGE_VR:
            return _range(vr, text, matching.zone or 0)
        values = (text,) if vr in _ONE_VALUE else tuple(filter(None, values_of(text)))
        if not values:
            return None
        if vr == "PN":
            return _person(values, matching)
        return _multiple(vr, values, matching) if len(values) > 1 else _single(vr, values[0])
    except ValueError as error:  # what the functions below and those of dates.py raise
        raise UnmatchableKey(tag, str(error)) from None


def _single(vr: str, text: str) -> Condition:
    several = vr not in _ONE_VALUE
    if vr in WILDCARD_VR and has_wildcards(text):
        _bound(text)
        return Like(text, several)
    _check(vr, text)
    return OneOf((text,), several)


def _bound(pattern: str) -> None:
    if len(pattern) > LONGEST_PATTERN:
        raise ValueError(f"has wild cards and more than {LONGEST_PATTERN} characters")


def _check(vr: str, text: str) -> None:
    form, why = _FORMS.get(vr, (None, ""))
    if form and not form.fullmatch(text):
        raise ValueError(why)


def _multiple(vr: str, values: tuple[str, ...], matching: Matching) -> Condition:
    if vr in WILDCARD_VR and any(map(has_wildcards, values)):
        raise ValueError("has wild cards in several values")
    for value in values:
        _check(vr, value)
    if matching.multiple_values and vr in _MULTIPLE_VALUE_VR:
        return AllOf(tuple(OneOf((value,)) for value in values))
    return OneOf(values)


def _person(names: tuple[str, ...], matching: Matching) -> Condition | None:
    for name in names:
        _bound(name)
    asked = Person(names, matching.fuzzy_names)
    if asked.is_universal:
        return None
    if matching.multiple_values and len(names) > 1:
        return AllOf(tuple(Person((name,), matching.fuzzy_names) for name in names))
    return asked


def _range(vr: str, text: str, zone: int) -> Within:
    """C.2.2.2.5. A "-" may also begin the offset of a DT: the first reading that is a range is the one meant."""
    if "-" not in text:
        return Within(*dates.span(vr, text, zone), vr)
    failure: ValueError | None = None
    for index in (index for index, character in enumerate(text[:64]) if character == "-"):
        try:
            return _between(vr, text[:index].strip(), text[index + 1 :].strip(), zone)
        except ValueError as error:
            failure = failure or error
    try:  # a single value with a negative offset, against note 3 of C.2.2.2.1.3
        return Within(*dates.span(vr, text, zone), vr)
    except ValueError:
        raise failure or ValueError("is no range") from None


def _between(vr: str, first: str, last: str, zone: int) -> Within:
    if not (first or last):
        raise ValueError("is a range without an end")
    begin = dates.span(vr, first, zone)[0] if first else ""
    end = dates.span(vr, last, zone)[1] if last else ""
    if begin and end and begin > end:
        raise ValueError("is a range that ends before it begins")
    return Within(begin, end, vr)
