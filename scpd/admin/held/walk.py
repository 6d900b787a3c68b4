"""From a study down to a file: what an index says of one thing, and of what is directly below it, in order.

Everything here raises :class:`~scpd.errors.IndexUnavailable`.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING

from scpd.admin.held.telling import line, uid
from scpd.index.attributes import SERIES_INSTANCE_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, Level, tag_of
from scpd.index.conditions import OneOf
from scpd.index.query import Query
from scpd.telemetry.audit import Patient, Study

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scpd.admin.facts import Archive
    from scpd.index.attributes import Attributes
    from scpd.index.query import Held

MOST_SERIES, MOST_INSTANCES = 2_000, 20_000
_MOST_SOP_CLASSES = 16
ORDER = frozenset((SOP_INSTANCE_UID, tag_of("InstanceNumber")))
"""What instances are sorted by."""
_TAGS = (STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID)


def one(archive: Archive, uids: Sequence[str], wanted: frozenset[int]) -> Attributes | None:
    """The study, series or instance with these UIDs, from the top; None where there is none."""
    return next(iter(_found(archive, Level(len(uids)), uids, wanted, 1)), None)


def series_of(archive: Archive, uids: Sequence[str], wanted: frozenset[int]) -> list[Attributes]:
    """The series of a study."""
    found = _found(archive, Level.SERIES, uids, wanted, MOST_SERIES)
    return sorted(found, key=lambda each: (_number(each, "SeriesNumber"), uid(each, "SeriesInstanceUID")))


def instances_of(archive: Archive, uids: Sequence[str], wanted: frozenset[int]) -> list[Attributes]:
    """The instances of a series."""
    found = _found(archive, Level.IMAGE, uids, wanted, MOST_INSTANCES)
    return sorted(found, key=lambda each: (_number(each, "InstanceNumber"), uid(each, "SOPInstanceUID")))


def file_of(archive: Archive, uids: Sequence[str]) -> Held | None:
    """Where an instance is."""
    return next(iter(archive.holdings(Level.IMAGE, _keys(uids))), None)


def seen(archive: Archive, study: Attributes) -> tuple[Patient, Study]:
    """What the audit trail wants to know of a study that was looked at."""
    of_study = uid(study, "StudyInstanceUID")
    held = archive.holdings(Level.STUDY, _keys((of_study,)))
    classes = Counter(each.sop_class_uid for each in held).most_common(_MOST_SOP_CLASSES)
    patient = Patient(line(study, "PatientID"), line(study, "PatientName"))
    return patient, Study(of_study, dict(classes), line(study, "AccessionNumber"))


def _found(archive: Archive, level: Level, uids: Sequence[str], wanted: frozenset[int], most: int) -> list[Attributes]:
    conditions = {tag: OneOf((value,), several=False) for tag, value in zip(_TAGS, uids, strict=False)}
    with closing(archive.find(Query(level, conditions, wanted))) as found:
        return list(islice(found, most))


def _keys(uids: Sequence[str]) -> Mapping[int, Sequence[str]]:
    return {tag: (value,) for tag, value in zip(_TAGS, uids, strict=False)}


def _number(told: Attributes, keyword: str) -> int:
    try:
        return int(line(told, keyword))
    except ValueError:
        return 0
