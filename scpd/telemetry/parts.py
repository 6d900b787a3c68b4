"""One audit message, or several where one would be too long for a collector (PS3.15 A.6). Knows no event."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree.ElementTree import tostring

from scpd.telemetry.draft import Draft, Reporter, Study

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from scpd.telemetry.draft import Message

# PS3.15 A.6: the longest message, in octets, that every collector takes.
MOST_OCTETS = 32_768
_ROOM = MOST_OCTETS - 1_024  # the rest is for the header (RFC 5424) and for notes
# So many SOP classes stand in one study object; a study with more has several. What these bounds come to, with every
# character at its dearest, is less than MOST_OCTETS.
_MOST_SOP_CLASSES = 16


def in_parts(studies: Iterable[Study], message: Callable[..., Message]) -> tuple[Message, ...]:
    """One message, or several where one would be too long; ``message`` makes one of studies, and of a note on it."""
    portions = [portion for study in studies for portion in _portions(study)]
    whole = message(portions)
    if len(whole.xml.encode()) <= _ROOM:
        return (whole,)
    parts = list(_packed(portions, _ROOM - len(message(()).xml.encode())))
    return tuple(message(part, f"part {number} of {len(parts)}") for number, part in enumerate(parts, 1))


def _portions(study: Study) -> Iterator[Study]:
    """The same study with few enough SOP classes in each."""
    counts = list(study.sop_classes.items())
    for first in range(0, max(len(counts), 1), _MOST_SOP_CLASSES):
        yield Study(study.uid, dict(counts[first : first + _MOST_SOP_CLASSES]), study.accession)


def _packed(studies: Iterable[Study], room: int) -> Iterator[list[Study]]:
    """As many studies together as ``room`` octets hold, in order, and at least one."""
    together: list[Study] = []
    taken = 0
    for study in studies:
        octets = len(tostring(Draft(Reporter("", "")).involve_study(study), "utf-8"))
        if together and taken + octets > room:
            yield together
            together, taken = [], 0
        together.append(study)
        taken += octets
    yield together
