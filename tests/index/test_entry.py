"""What is written of a file: text of any kind, bounded and without what a database has no room for."""

from __future__ import annotations

import json

import pytest

from scpd.index.attributes import Keeping, Level, tag_of
from scpd.index.entry import Scribe, bounded, decoded
from scpd.index.schema import LONGEST_KEY, SEVERAL

EXPLICIT = "1.2.840.10008.1.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
USUAL = {"StudyInstanceUID": b"1.2.3", "SeriesInstanceUID": b"1.2.4", "PatientID": b"P1"}


def entry(scribe=None, **raw: bytes):
    """What is made of these raw values, by keyword, and of what any instance has."""
    scribe = scribe or Scribe(Keeping())
    values = {tag_of(keyword): value for keyword, value in {**USUAL, **raw}.items()}
    return scribe.entry(values, CT, "1.2.5", EXPLICIT)


def told(parent) -> dict[str, object]:
    return decoded(json.loads(parent.attributes))


@pytest.mark.parametrize(
    ("raw", "sought", "shown"),
    [
        (b"P1 ", "P1", "P1"),
        (b" P1\0", "P1", "P1"),
        (b"A\\B", SEVERAL, "A\\B"),
        (b"A\0B", "AB", "AB"),
        (b"\\", "", "\\"),
        (b" \\ ", "", "\\"),
        (b"", "", None),
        (b"  ", "", None),
    ],
)
def test_what_is_looked_for_of_a_patient_id_and_what_is_told(raw, sought, shown):
    patient = entry(PatientID=raw).patient
    assert patient.columns["patient_id"] == sought
    assert told(patient).get(tag_of("PatientID")) == shown


def test_patients_are_told_apart_by_id_and_issuer():
    ids = [(b"A", b"B"), (b"A\\B", b""), (b"A", b""), (b"", b"A"), (b"A\\", b"B"), (b"A", b"\\B"), (b"1\\A", b"")]
    keys = {entry(PatientID=one, IssuerOfPatientID=issuer).patient.key for one, issuer in ids}
    assert len(keys) == len(ids)


def test_without_an_id_a_patient_is_that_of_one_study():
    nobody = [
        entry(PatientID=raw, StudyInstanceUID=study).patient.key for raw in (b"", b"\\") for study in (b"1", b"2")
    ]
    assert nobody == ["\\1", "\\2", "\\1", "\\2"]


def test_of_several_uids_the_first_counts():
    made = entry(StudyInstanceUID=b"1.2.3\\1.2.9", SeriesInstanceUID=b" 1.2.4 \\1")
    assert (made.study.key, made.series.key) == ("1.2.3", "1.2.4")
    assert told(made.study)[tag_of("StudyInstanceUID")] == "1.2.3", "what is told can be asked for"


@pytest.mark.parametrize(
    ("raw", "date"),
    [
        (b"20200101", "20200101"),
        (b"2020.01.01", "20200101"),
        (b"yesterday", ""),
        (b"20200101\\20210101", SEVERAL),
        (b"", ""),
    ],
)
def test_dates_are_looked_for_by_what_they_mean(raw, date):
    assert entry(StudyDate=raw).study.columns["date"] == date


def test_what_is_too_long_is_cut_and_still_tells_one_from_another():
    first, second = (entry(PatientID=b"L" * 60_000 + end).patient for end in (b"1", b"2"))
    assert first.columns["patient_id"] == bounded(told(first)[tag_of("PatientID")])
    assert len(first.columns["patient_id"]) == len(first.key) == LONGEST_KEY
    assert len(told(second)[tag_of("PatientID")]) <= 10_240


@pytest.mark.parametrize(
    ("character_set", "raw"),
    [
        (b"ISO_IR 192", b"A\xed\xa0\x80B"),  # half a surrogate pair
        (b"ISO_IR 192", b"\xff\xfe\0\0"),
        (b"GB18030", b"\x84\x31\xa4\x39\xfe"),
        (b"\\ISO 2022 IR 87", b"\x1b$B;3\x1b"),
        (b"ISO_IR 100\\\\\\", b"\x1b$)A\xe9"),
        (b"utf-7\\rot13\\../..", b"+2AA-"),
        (b"\xff" * 100, b"DOE"),
    ],
)
def test_any_text_is_text_that_a_database_takes(character_set, raw):
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff\x08\x00\x04\x01LO" + len(raw).to_bytes(2, "little") + raw
    made = entry(
        SpecificCharacterSet=character_set,
        PatientName=raw,
        AccessionNumber=raw,
        ProcedureCodeSequence=item + b"\xfe\xff\x0d\xe0\0\0\0\0",
    )
    for text in (made.patient.key, *made.patient.columns.values(), *made.study.columns.values()):
        assert "\0" not in text
        assert text.encode().decode() == text
    for parent in (made.patient, made.study, made.series):
        assert "\\u0000" not in parent.attributes
        assert json.dumps(json.loads(parent.attributes), ensure_ascii=False).encode()


def test_numbers_are_those_of_the_transfer_syntax():
    values = {tag_of("Rows"): b"\x02\x00", tag_of("InstanceNumber"): b"9" * 400}
    scribe = Scribe(Keeping())
    little, big = (scribe.entry(values, CT, "1.2.5", syntax) for syntax in (EXPLICIT, "1.2.840.10008.1.2.2"))
    rows = f"{tag_of('Rows'):08X}"
    assert (json.loads(little.attributes)[rows], json.loads(big.attributes)[rows]) == ("2", "512")
    assert little.number == 2**31 - 1


@pytest.mark.parametrize("number", [b"", b"x", b"1\\2", b"1.5", b"-", "１".encode()])
def test_an_instance_number_that_is_none_is_zero_to_sort_by(number):
    assert entry(InstanceNumber=number).number in (0, 1)


def test_what_is_remembered_is_bounded():
    scribe = Scribe(Keeping())
    for number in range(20):
        entry(scribe, PatientComments=b"x" * 60_000, StudyInstanceUID=b"1.2.%d" % number)
    assert not scribe._known, "nothing this long"
    first = entry(scribe, PatientComments=b"x" * 100)
    assert entry(scribe, PatientComments=b"x" * 100).study is first.study, "what is alike is made once"
    for number in range(5000):
        entry(scribe, StudyInstanceUID=b"1.2.%d" % number)
    assert len(scribe._known) <= 4096


def test_attributes_that_the_configuration_adds():
    scribe = Scribe(Keeping({Level.STUDY: ["RequestingService"], Level.IMAGE: ["ImageComments"]}))
    made = entry(scribe, RequestingService=b"ER", ImageComments=b"fine")
    assert told(made.study)[tag_of("RequestingService")] == "ER"
    assert json.loads(made.attributes)[f"{tag_of('ImageComments'):08X}"] == "fine"
