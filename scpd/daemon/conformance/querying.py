"""SOP specific conformance of C-FIND (PS3.4 annex C): models, keys, matching, what is negotiated, what is answered.

Keys and levels come from the tables that the index and the service work with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.datadict import dictionary_description, dictionary_VR

from scpd.daemon.conformance.document import Code, Section, Table
from scpd.daemon.conformance.statuses import ANYWHERE, table
from scpd.dimse import status
from scpd.index.attributes import (
    AVAILABLE_TRANSFER_SYNTAX,
    COMPUTED,
    NUMBERS_RELATED,
    PATIENT_ID,
    TIMEZONE_OFFSET,
    UNIQUE_KEYS,
    Keeping,
    Level,
    tag_of,
)
from scpd.index.conditions import WILDCARD_VR
from scpd.services.query.extended import Options
from scpd.services.query.keys import LONGEST
from scpd.services.query.models import BY_FIND, REQUIRED_KEYS
from scpd.sop_class import uid_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scpd.daemon.conformance.entity import Entity
    from scpd.services.query.models import Model

_NEVER_MATCHED = frozenset((*NUMBERS_RELATED, AVAILABLE_TRANSFER_SYNTAX, TIMEZONE_OFFSET))
_TOLD_ONLY = "None: it is told"
_MATCHING = {
    "SQ": "Sequence",
    "PN": "Single value, wild card, by component",
    "UI": "Single value, list of UID",
    **dict.fromkeys(("DA", "TM", "DT"), "Single value, range"),
}
# PS3.4 table C.6-5: what Patient Root has at a level of its own.
_REQUIRED_IN_STUDY_ROOT = (tag_of("PatientName"), PATIENT_ID)
# The words of tables C.5-1 and C.5-2, in the order of the bytes.
_OPTIONS = {
    "relational": "Relational queries",
    "combined_date_time": "Combined date-time matching",
    "fuzzy_names": "Fuzzy semantic matching of person names",
    "timezone": "Timezone query adjustment",
    "multi_frame_conversion": "Enhanced multi-frame image conversion",
    "empty_values": "Empty value matching",
    "multiple_values": "Multiple value matching",
}


def query(entity: Entity) -> Section:
    """The whole of it."""
    return Section(
        "SOP Specific Conformance for Query (C-FIND)",
        (
            (
                "The AE provides the Query/Retrieve Service Class (PS3.4 annex C) as an SCP of C-FIND. It answers from "
                "an index of the instances that it holds."
            ),
            levels(entity, "C-FIND", BY_FIND),
            _rules(entity),
            *_keys(entity),
            *_MATCHING_RULES,
            *_extended(entity),
            table("C-FIND", _statuses(entity)),
        ),
    )


def levels(entity: Entity, operation: str, models: Mapping[str, Model]) -> Table:
    """The information models that an operation is served in, with their levels."""
    rows = tuple(
        (uid_name(uid), Code(uid), ", ".join(level.name for level in model.levels))
        for uid, model in models.items()
        if uid in entity.offer.contexts
    )
    return Table(f"Information models of {operation}", ("SOP Class Name", "SOP Class UID", "Levels"), rows)


def _rules(entity: Entity) -> str:
    return (
        "Searches are hierarchical: the unique key of each level above the one asked for has a single value, unless "
        "relational queries were negotiated. Other attributes of levels above may be asked for and matched in any "
        "case. Each match is one answer, in no particular order; the answers come as they are found, and a C-CANCEL "
        f"ends them at once. A query has at most {entity.setting('limits.find_results')} answers. Each of them also "
        "has Query/Retrieve Level (0008,0052), Retrieve AE Title (0008,0054), which is the AE title of this AE, and "
        "Instance Availability (0008,0056), which is ONLINE."
    )


# --- keys


def _keys(entity: Entity) -> Iterator[str | Table]:
    index = entity.server.index
    keeping = index.attributes.keeping() if index else Keeping()
    yield (
        "Types are those of PS3.4 tables C.6-1 to C.6-5: U is a unique key, R a required one, O an optional one. Every "
        "key of these tables is returned where it is asked for, at its level and at those below, empty where an entity "
        "has no value, but for Timezone Offset From UTC, which is then left out. What stands at several levels is that "
        "of the level that is asked for."
    )
    yield from (_of_level(keeping, level) for level in Level)
    yield (
        "A key that is in none of these tables, or of a level below the one asked for, is left out of the answers, "
        "which then have the status FF01; so have those to a value for a key that is told and not matched. "
        "Modalities in Study and SOP Classes in Study are matched at PATIENT level too, and not told there. A patient "
        "is what one Patient ID and issuer name; instances without a Patient ID are patients of their study alone, "
        "which are not told at PATIENT level. What is told of a patient, study or series is what the instance of it "
        "says that came last."
    )


def _of_level(keeping: Keeping, level: Level) -> Table:
    tags = (*keeping.by_level[level], *(tag for tag, its_level in COMPUTED.items() if its_level is level))
    rows = tuple(
        (
            dictionary_description(tag),
            Code(f"({tag >> 16:04X},{tag & 0xFFFF:04X})"),
            dictionary_VR(tag),
            _type(tag, level),
            matching_of(tag),
        )
        for tag in sorted(tags)
    )
    return Table(f"Keys of the level {level.name}", ("Attribute", "Tag", "VR", "Type", "Matching"), rows)


def _type(tag: int, level: Level) -> str:
    if tag == UNIQUE_KEYS[level]:
        return "U" if tag != PATIENT_ID else "U; R at STUDY level in Study Root"
    if tag not in REQUIRED_KEYS[level]:
        return "O"
    return "R; also at STUDY level in Study Root" if tag in _REQUIRED_IN_STUDY_ROOT else "R"


def matching_of(tag: int) -> str:
    """How a key with a value is matched."""
    if tag in _NEVER_MATCHED:
        return _TOLD_ONLY
    vr = dictionary_VR(tag)
    return _MATCHING.get(vr, "Single value, wild card" if vr in WILDCARD_VR else "Single value")


# --- matching


_KINDS = (
    ("Universal", "A key without a value, or of stars alone, asks for nothing."),
    ("Single value", "As text, letter by letter, in upper and lower case; IS and DS as text too."),
    ("List of UID", "One of the UIDs."),
    ("Wild card", "* is any text, ? any one character, in upper and lower case."),
    ("Range", "Dates, times and moments by what they mean; either end may be left out."),
    ("Sequence", "The keys of the one item: some item that is held meets all of them, and those are told."),
)
_MATCHING_RULES = (
    Table("Matching (PS3.4 C.2.2.2)", ("Kind", "Behavior"), _KINDS),
    (
        "An attribute that has no value matches universal matching alone, and empty value matching where that "
        "was negotiated. Several values in a key that is no UID, without multiple value matching, ask for any "
        "of them. An attribute with several values matches where one of them does."
    ),
    (
        "Person names are compared without regard to case, accents and width, in each of their groups "
        "(alphabetic, ideographic, phonetic), component by component: components that the key leaves empty or "
        "out ask for nothing, so that DOE finds DOE^JANE. A key with wild cards is also compared with the "
        "group as a whole. A key with several groups is compared group by group."
    ),
    (
        "A date and a time are matched each for itself, unless combined date-time matching was negotiated. "
        "They are adjusted to the time zone of the query only where that was negotiated, with Timezone Offset "
        "From UTC (0008,0201) in the query; what is held without a time zone is taken to be in the same."
    ),
)


# --- what is negotiated


def _extended(entity: Entity) -> tuple[str, Table]:
    uid = next(uid for uid in BY_FIND if uid in entity.offer.contexts)
    wanted = b"\1" * len(Options._fields)
    answered = _answered(entity, uid, wanted)
    rows = tuple(
        (str(number), _OPTIONS[name], _said(name, granted=bool(granted)))
        for number, (name, granted) in enumerate(zip(Options._fields, answered, strict=True), 1)
    )
    about = (
        "SOP Class Extended Negotiation (PS3.4 C.5.1.1) is answered with as many bytes as were proposed, at most "
        f"{len(wanted)}. Without it every option is off."
    )
    return about, Table("Options of C-FIND", ("Byte", "Option", "Where it is proposed"), rows)


def _answered(entity: Entity, uid: str, wanted: bytes) -> bytes:
    extended = entity.offer.extensions.extended
    return extended({uid: wanted})[uid] if extended else bytes(len(wanted))


def _said(name: str, *, granted: bool) -> str:
    if name == "fuzzy_names":
        return f"{'Agreed to' if granted else 'Not agreed to'} (index.fuzzy_names: {str(granted).lower()})"
    return "Agreed to" if granted else "Not agreed to"


# --- statuses


def _statuses(entity: Entity) -> Iterator[tuple[int, str]]:
    most = entity.setting("limits.find_results")
    yield status.SUCCESS, "All matches have been told."
    yield status.PENDING, "A match; every key was supported."
    yield status.PENDING_KEYS_UNSUPPORTED, "A match; some keys are not supported, and not in the answer."
    yield status.CANCEL, "A C-CANCEL came."
    yield (
        status.OUT_OF_RESOURCES,
        (
            f"There are more than {most} matches (after as many answers), the identifier is longer than {LONGEST} "
            "bytes, or the index cannot be asked now."
        ),
    )
    yield (
        status.DATA_SET_DOES_NOT_MATCH,
        (
            "Query/Retrieve Level is missing or none of the model, a unique key above the level is missing or has no "
            "single value, or a key has another VR than the dictionary. Offending Element and Error Comment name the "
            "key."
        ),
    )
    yield (
        status.CANNOT_UNDERSTAND,
        (
            "The identifier cannot be decoded, or a key has a value that its VR or character set does not have, or one "
            "that cannot be matched. Offending Element and Error Comment name the key."
        ),
    )
    yield from reversed(ANYWHERE)
