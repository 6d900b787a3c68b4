"""The information models of Query/Retrieve: their SOP classes, levels and keys (PS3.4 C.3, C.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scpd.index.attributes import UNIQUE_KEYS, Level, tag_of

if TYPE_CHECKING:
    from collections.abc import Mapping

QUERY_RETRIEVE_LEVEL, RETRIEVE_AE_TITLE, INSTANCE_AVAILABILITY = 0x00080052, 0x00080054, 0x00080056


class Model(NamedTuple):
    """An information model: its levels from the top, and the SOP class of each operation on it."""

    levels: tuple[Level, ...]
    find: str
    move: str
    get: str

    def above(self, level: Level) -> tuple[int, ...]:
        """The unique keys of the levels above ``level``."""
        return tuple(UNIQUE_KEYS[one] for one in self.levels if one < level)


def _model(root: str, *levels: Level) -> Model:
    return Model(levels, f"{root}.1", f"{root}.2", f"{root}.3")


PATIENT_ROOT = _model("1.2.840.10008.5.1.4.1.2.1", *Level)
STUDY_ROOT = _model("1.2.840.10008.5.1.4.1.2.2", Level.STUDY, Level.SERIES, Level.IMAGE)
# Retired, and still asked for (PS3.4-2004).
PATIENT_STUDY_ONLY = _model("1.2.840.10008.5.1.4.1.2.3", Level.PATIENT, Level.STUDY)
MODELS = (PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY_ONLY)

BY_FIND: Mapping[str, Model] = {model.find: model for model in MODELS}
BY_MOVE: Mapping[str, Model] = {model.move: model for model in MODELS}
BY_GET: Mapping[str, Model] = {model.get: model for model in MODELS}

REQUIRED_KEYS: Mapping[Level, tuple[int, ...]] = {
    level: tuple(map(tag_of, keywords.split()))
    for level, keywords in (
        (Level.PATIENT, "PatientName"),
        (Level.STUDY, "StudyDate StudyTime AccessionNumber StudyID"),
        (Level.SERIES, "Modality SeriesNumber"),
        (Level.IMAGE, "InstanceNumber"),
    )
}
"""The required keys of each level beside its unique one (tables C.6-1 to C.6-5); Study Root adds a patient's."""
