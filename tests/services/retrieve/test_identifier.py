"""The identifier of a retrieval: levels, unique keys, and what is refused with the key's name (PS3.4 C.4.2.2, C.4.3.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from scpd.index.attributes import Level
from scpd.services.query.identifier import NotUnderstood
from scpd.services.query.models import MODELS, PATIENT_ROOT, PATIENT_STUDY_ONLY, STUDY_ROOT
from scpd.services.retrieve import extended
from scpd.services.retrieve.identifier import understand

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
TAGS = {
    "PatientID": 0x00100020,
    "StudyInstanceUID": 0x0020000D,
    "SeriesInstanceUID": 0x0020000E,
    "SOPInstanceUID": 0x00080018,
}
ABOVE = {"PatientID": "4711", "StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.3"}


def encoded(syntax: str = IMPLICIT, **keys) -> bytes:
    dataset = Dataset()
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = syntax == IMPLICIT, syntax != BIG
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def asked(model, level, *, relational=False, syntax=IMPLICIT, **keys):
    return understand(encoded(syntax, QueryRetrieveLevel=level, **keys), syntax, model, relational=relational)


def refused(model, level, *, relational=False, **keys) -> tuple[int, tuple[int, ...], str]:
    with pytest.raises(NotUnderstood) as raised:
        asked(model, level, relational=relational, **keys)
    assert len(str(raised.value)) <= 64
    return raised.value.status, raised.value.offending, str(raised.value)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
@pytest.mark.parametrize(
    ("model", "level", "keys"),
    [
        (PATIENT_ROOT, "PATIENT", {"PatientID": "4711"}),
        (PATIENT_ROOT, "STUDY", {"PatientID": "4711", "StudyInstanceUID": ["1.2", "1.3"]}),
        (PATIENT_ROOT, "SERIES", {"PatientID": "4711", "StudyInstanceUID": "1.2", "SeriesInstanceUID": ["1.4", "1.5"]}),
        (PATIENT_ROOT, "IMAGE", {**ABOVE, "SOPInstanceUID": ["1.6", "1.7", "1.8"]}),
        (STUDY_ROOT, "STUDY", {"StudyInstanceUID": "1.2"}),
        (STUDY_ROOT, "IMAGE", {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3", "SOPInstanceUID": "1.4"}),
        (PATIENT_STUDY_ONLY, "STUDY", {"PatientID": "4711", "StudyInstanceUID": "1.2"}),
    ],
)
def test_a_level_with_single_values_above_it_and_a_list_at_it(model, level, keys, syntax):
    wanted = asked(model, level, syntax=syntax, **keys)
    expected = {TAGS[keyword]: tuple([value] if isinstance(value, str) else value) for keyword, value in keys.items()}
    assert wanted == (Level[level], expected)


@pytest.mark.parametrize(
    ("model", "level", "keys", "tag", "what"),
    [
        (STUDY_ROOT, "", {}, 0x00080052, "QueryRetrieveLevel (0008,0052) is missing"),
        (STUDY_ROOT, "PATIENT", {}, 0x00080052, "QueryRetrieveLevel (0008,0052) is none of STUDY SERIES IMAGE"),
        (STUDY_ROOT, "study", {}, 0x00080052, "QueryRetrieveLevel (0008,0052) is none of STUDY SERIES IMAGE"),
        (PATIENT_STUDY_ONLY, "IMAGE", {}, 0x00080052, "QueryRetrieveLevel (0008,0052) is none of PATIENT STUDY"),
        (PATIENT_ROOT, "PATIENT", {}, 0x00100020, "PatientID (0010,0020) is missing"),
        (PATIENT_ROOT, "PATIENT", {"PatientID": ""}, 0x00100020, "PatientID (0010,0020) is missing"),
        (PATIENT_ROOT, "PATIENT", {"PatientID": "47*"}, 0x00100020, "PatientID (0010,0020) has wildcards"),
        (PATIENT_ROOT, "PATIENT", {"PatientID": ["1", "2"]}, 0x00100020, "PatientID (0010,0020) has no single value"),
        (PATIENT_ROOT, "STUDY", {"StudyInstanceUID": "1.2"}, 0x00100020, "PatientID (0010,0020) is missing"),
        (STUDY_ROOT, "STUDY", {"StudyInstanceUID": "1.2.*"}, 0x0020000D, "StudyInstanceUID (0020,000D) has wildcards"),
        (STUDY_ROOT, "SERIES", {"StudyInstanceUID": "1.2"}, 0x0020000E, "SeriesInstanceUID (0020,000E) is missing"),
        (
            STUDY_ROOT,
            "SERIES",
            {"StudyInstanceUID": ["1.2", "1.3"], "SeriesInstanceUID": "1.4"},
            0x0020000D,
            "StudyInstanceUID (0020,000D) has no single value",
        ),
        (
            STUDY_ROOT,
            "STUDY",
            {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3"},
            0x0020000E,
            "SeriesInstanceUID (0020,000E) is below the level",
        ),
        (
            STUDY_ROOT,
            "STUDY",
            {"StudyInstanceUID": "'; DROP TABLE studies --"},
            0x0020000D,
            "StudyInstanceUID (0020,000D) has a value that is no UID",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of values that are no UIDs
def test_what_is_wrong_is_a900_and_names_the_key(model, level, keys, tag, what):
    assert refused(model, level, **keys) == (0xA900, (tag,), what)


def test_a_relational_retrieval_needs_no_keys_above_its_level():
    assert asked(STUDY_ROOT, "IMAGE", relational=True, SOPInstanceUID=["1.2", "1.3"]).keys == {
        TAGS["SOPInstanceUID"]: ("1.2", "1.3")
    }
    assert refused(STUDY_ROOT, "IMAGE", relational=True, StudyInstanceUID="1.2")[1] == (TAGS["SOPInstanceUID"],)
    assert refused(STUDY_ROOT, "IMAGE", SOPInstanceUID="1.2")[1] == (TAGS["StudyInstanceUID"],)


def test_other_keys_are_passed_over():
    """Patient ID is no unique key of the Study Root."""
    wanted = asked(STUDY_ROOT, "STUDY", StudyInstanceUID="1.2", PatientID="*", PatientName="", SeriesInstanceUID="")
    assert wanted.keys == {TAGS["StudyInstanceUID"]: ("1.2",)}


def test_a_long_list_in_implicit_vr():
    uids = [f"1.2.826.0.1.3680043.9.{number}" for number in range(1, 20_000)]
    wanted = asked(STUDY_ROOT, "STUDY", StudyInstanceUID=uids)
    assert wanted.keys[TAGS["StudyInstanceUID"]] == tuple(uids)


@given(st.binary(max_size=200), st.sampled_from([IMPLICIT, EXPLICIT, BIG, "1.2.840.10008.1.2.1.99"]), st.booleans())
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_bytes_that_are_no_identifier_are_refused_and_nothing_else(data, syntax, relational):
    for model in MODELS:
        with pytest.raises(NotUnderstood) as raised:
            understand(data, syntax, model, relational=relational)
        assert raised.value.status in (0xA900, 0xC000)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [(b"\1", b"\1"), (b"\0", b"\0"), (b"\2", b"\0"), (b"\1\1\1\1\1", b"\1\0\0\0\0"), (b"\1" * 9, b"\1\0\0\0\0")],
)
def test_of_the_extended_negotiation_relational_retrieval_alone_is_agreed_on(asked, answered):
    proposed = {STUDY_ROOT.move: asked, PATIENT_ROOT.get: asked, STUDY_ROOT.find: asked, "1.2.3": asked}
    assert extended.answer(proposed) == {STUDY_ROOT.move: answered, PATIENT_ROOT.get: answered}
    assert extended.is_relational(answered) == (asked[:1] == b"\1")


def test_nothing_proposed_is_not_answered():
    assert extended.answer({STUDY_ROOT.move: b""}) == {}
    assert not extended.is_relational(b"")
