"""Which attributes are kept of what is held, at which level, and in what form (PS3.4 C.6, PS3.3 A).

A value is text as it stands in the data set, decoded and without padding, several values with backslashes between them;
numbers in their decimal form. A sequence is a list of items, each a mapping like that of the data set.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, TypeAlias, Union

from pydicom.datadict import dictionary_VR, tag_for_keyword

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Value: TypeAlias = Union[str, "list[Mapping[int, Value]]"]
Attributes: TypeAlias = "Mapping[int, Value]"


class Level(IntEnum):
    """The levels of the query models, from the top (PS3.4 C.6.1.1, C.6.2.1); IMAGE is that of composite instances."""

    PATIENT = 0
    STUDY = 1
    SERIES = 2
    IMAGE = 3


def _tags(keywords: str) -> tuple[int, ...]:
    return tuple(tag_of(keyword) for keyword in keywords.split())


def tag_of(keyword: str) -> int:
    """The tag of a keyword of PS3.6. Raises :class:`LookupError`."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise LookupError(keyword)
    return tag


def vr_of(tag: int) -> str:
    """The value representation of an attribute, the first where PS3.6 has several. Raises :class:`LookupError`."""
    return dictionary_VR(tag).split(" ")[0]


PATIENT_NAME, PATIENT_ID, ISSUER_OF_PATIENT_ID = 0x00100010, 0x00100020, 0x00100021
STUDY_INSTANCE_UID, SERIES_INSTANCE_UID = 0x0020000D, 0x0020000E
SOP_CLASS_UID, SOP_INSTANCE_UID = 0x00080016, 0x00080018
SPECIFIC_CHARACTER_SET, TIMEZONE_OFFSET = 0x00080005, 0x00080201

UNIQUE_KEYS: Mapping[Level, int] = {
    Level.PATIENT: PATIENT_ID,
    Level.STUDY: STUDY_INSTANCE_UID,
    Level.SERIES: SERIES_INSTANCE_UID,
    Level.IMAGE: SOP_INSTANCE_UID,
}
"""The unique key of each level (PS3.4 tables C.6-1 to C.6-5)."""

KEPT: Mapping[Level, tuple[int, ...]] = {
    Level.PATIENT: _tags(
        "PatientName PatientID IssuerOfPatientID PatientBirthDate PatientBirthTime PatientSex OtherPatientIDs "
        "EthnicGroup PatientComments"
    ),
    Level.STUDY: _tags(
        "StudyDate StudyTime AccessionNumber ReferringPhysicianName StudyDescription ProcedureCodeSequence "
        "NameOfPhysiciansReadingStudy AdmittingDiagnosesDescription TimezoneOffsetFromUTC PatientAge PatientSize "
        "PatientWeight Occupation AdditionalPatientHistory StudyInstanceUID StudyID"
    ),
    Level.SERIES: _tags(
        "SeriesDate SeriesTime Modality Manufacturer InstitutionName StationName SeriesDescription "
        "InstitutionalDepartmentName PerformingPhysicianName OperatorsName ManufacturerModelName TimezoneOffsetFromUTC "
        "BodyPartExamined ProtocolName PatientPosition SeriesInstanceUID SeriesNumber Laterality "
        "PerformedProcedureStepStartDate PerformedProcedureStepStartTime PerformedProcedureStepID "
        "PerformedProcedureStepDescription RequestAttributesSequence"
    ),
    Level.IMAGE: _tags(
        "ImageType InstanceCreationDate InstanceCreationTime SOPClassUID SOPInstanceUID AcquisitionDate ContentDate "
        "AcquisitionDateTime AcquisitionTime ContentTime TimezoneOffsetFromUTC AcquisitionNumber InstanceNumber "
        "NumberOfFrames Rows Columns BitsAllocated"
    ),
}
"""What is kept without being asked for."""

NUMBERS_RELATED: Mapping[int, tuple[Level, Level]] = {
    tag_of("NumberOfPatientRelatedStudies"): (Level.PATIENT, Level.STUDY),
    tag_of("NumberOfPatientRelatedSeries"): (Level.PATIENT, Level.SERIES),
    tag_of("NumberOfPatientRelatedInstances"): (Level.PATIENT, Level.IMAGE),
    tag_of("NumberOfStudyRelatedSeries"): (Level.STUDY, Level.SERIES),
    tag_of("NumberOfStudyRelatedInstances"): (Level.STUDY, Level.IMAGE),
    tag_of("NumberOfSeriesRelatedInstances"): (Level.SERIES, Level.IMAGE),
}
"""Counts, by the level they belong to and the level of what is counted (PS3.4 C.3.4)."""

MODALITIES_IN_STUDY, SOP_CLASSES_IN_STUDY = tag_of("ModalitiesInStudy"), tag_of("SOPClassesInStudy")
AVAILABLE_TRANSFER_SYNTAX = tag_of("AvailableTransferSyntaxUID")
COMPUTED: Mapping[int, Level] = {
    **{tag: level for tag, (level, _) in NUMBERS_RELATED.items()},
    MODALITIES_IN_STUDY: Level.STUDY,
    SOP_CLASSES_IN_STUDY: Level.STUDY,
    AVAILABLE_TRANSFER_SYNTAX: Level.IMAGE,
}
"""What is found out when it is asked for, by the level it belongs to."""

# Value representations that are kept: text, whole numbers, sequences.
TEXT_VR = frozenset("AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split())  # noqa: SIM905 a table
NUMBER_VR = frozenset(("US", "SS", "UL", "SL"))
KEPT_VR = TEXT_VR | NUMBER_VR | {"SQ"}


class Keeping:
    """What an index keeps: the usual attributes, and ``more`` of a level by keyword.

    Raises :class:`LookupError` for what is no keyword.
    """

    def __init__(self, more: Mapping[Level, Iterable[str]] | None = None) -> None:
        added = {level: tuple(map(tag_of, keywords)) for level, keywords in (more or {}).items()}
        self.by_level: Mapping[Level, tuple[int, ...]] = {
            level: tuple(dict.fromkeys((*KEPT[level], *added.get(level, ())))) for level in Level
        }
        self.added = added
        self.tags = frozenset(tag for tags in self.by_level.values() for tag in tags)
        self.sequences = frozenset(tag for tag in self.tags if vr_of(tag) == "SQ")

    def level_of(self, tag: int) -> Level | None:
        """The highest level that an attribute belongs to, also a computed one; None for what is not kept."""
        if tag in COMPUTED:
            return COMPUTED[tag]
        return next((level for level in Level if tag in self.by_level[level]), None)
