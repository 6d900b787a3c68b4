"""What is asked of an index: a level, conditions on attributes, and the attributes to be told (PS3.4 C.4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scpd.index.attributes import Attributes, Level, Value


class Condition(Protocol):
    """What a key asks of the value of its attribute (PS3.4 C.2.2.2): see :mod:`scpd.index.conditions`."""

    def matches(self, value: Value | None, /) -> bool:
        """Whether a value meets it; None where there is none."""


class Moment(Protocol):
    """A range of dates with times (PS3.4 C.2.2.2.5, combined): two attributes that are matched as one.

    ``first_date`` and ``last_date`` (YYYYMMDD, empty where open) bound what can match, time zones included.
    """

    @property
    def date_tag(self) -> int: ...
    @property
    def time_tag(self) -> int: ...
    @property
    def first_date(self) -> str: ...
    @property
    def last_date(self) -> str: ...

    def matches(self, attributes: Attributes, /) -> bool:
        """Whether what is held at the level of the two attributes meets it."""


class Query(NamedTuple):
    """``conditions`` by tag, none of a level below ``level`` but Modalities in Study and SOP Classes in Study.

    ``wanted`` are the attributes to be told, of this level and those above it.
    """

    level: Level
    conditions: Mapping[int, Condition]
    wanted: frozenset[int]
    moments: tuple[Moment, ...] = ()


class Held(NamedTuple):
    """One instance that is held: what it is, and its file by absolute path, with its size in bytes.

    ``digest`` is the CRC-32 of the data set as it came, as eight hexadecimal digits; empty where it is not known.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    path: str
    size: int
    digest: str
    study_instance_uid: str
    series_instance_uid: str
