"""C-FIND called directly: every status of PS3.4 table C.4-1, and what each answer holds."""

from __future__ import annotations

import struct

import pytest
from components.held import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    SYNTAXES,
    Held,
    encode,
    find,
    identifier,
    instance,
    request_of,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from scpd.errors import IndexUnavailable
from scpd.index.attributes import Keeping, Level
from scpd.services.query.extended import Options
from scpd.services.query.find import Find, FindRules
from scpd.services.query.models import MODELS, PATIENT_ROOT, PATIENT_STUDY_ONLY, REQUIRED_KEYS, STUDY_ROOT
from scpd.services.service import Peer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about wrong character sets and VRs

RELATIONAL = Options(relational=True).encode(7)
EVERYTHING = Options(True, True, True, True, False, True, True).encode(7)


@pytest.fixture
def index():
    return Held(
        instance(),
        instance(uid="1.2.1.1.2", InstanceNumber="2"),
        instance(series="1.2.1.2", uid="1.2.1.2.1", Modality="SR", SeriesNumber="2"),
        instance("P1", "1.2.2", "1.2.2.1", "1.2.2.1.1", StudyDate="20210203", AccessionNumber="A2", Modality="MR"),
        instance("P2", "1.2.3", "1.2.3.1", "1.2.3.1.1", PatientName="Roe^Max", AccessionNumber="B3", StudyTime="12"),
    )


# -- 0000 and FF00


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_each_match_is_a_pending_response_and_success_comes_without_identifier(index, syntax):
    outcome = find(index, identifier(StudyInstanceUID="", PatientName="DOE*", StudyDescription=""), syntax=syntax)
    assert outcome.statuses == [0xFF00, 0xFF00, 0x0000]
    assert outcome.values("StudyInstanceUID") == ["1.2.1", "1.2.2"]
    assert outcome.answers[0].PatientName == "DOE^JANE"
    assert list(outcome.answers[0].StudyDescription) == ["Head", "Neck"]
    assert index.closed == 1


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_answer_holds_what_was_asked_and_what_the_standard_adds_in_order(index, syntax):
    (answer, *_) = find(index, identifier(StudyInstanceUID="1.2.1", OtherPatientIDs=""), syntax=syntax).answers
    assert [element.keyword for element in answer] == [
        "QueryRetrieveLevel",
        "RetrieveAETitle",
        "InstanceAvailability",
        "OtherPatientIDs",
        "StudyInstanceUID",
    ]
    assert (answer.QueryRetrieveLevel, answer.RetrieveAETitle) == ("STUDY", "ARCHIVE")
    assert answer.InstanceAvailability == "ONLINE"
    assert answer.OtherPatientIDs is None or answer.OtherPatientIDs == "", "held without a value: there, and empty"


def test_no_match_is_success_alone(index):
    assert find(index, identifier(StudyInstanceUID="1.2.9")).statuses == [0x0000]


def test_all_attributes_of_a_response_are_in_the_encoding_that_pydicom_writes(index):
    """Byte for byte what pydicom makes of the same values."""
    for syntax in (IMPLICIT, EXPLICIT, BIG):
        asked = identifier("IMAGE", StudyInstanceUID="1.2.1", SeriesInstanceUID="1.2.1.1", SOPInstanceUID="1.2.1.1.2")
        asked.Rows = asked.InstanceNumber = asked.SOPClassUID = asked.PatientName = None
        outcome = find(index, asked, syntax=syntax)
        assert outcome.statuses == [0xFF00, 0x0000]
        assert outcome.raw == [encode(outcome.answers[0], syntax)]
        assert (outcome.answers[0].Rows, outcome.answers[0].InstanceNumber) == (512, 2)


@pytest.mark.parametrize(
    ("model", "level", "expected"),
    [
        (PATIENT_ROOT, "PATIENT", 2),
        (PATIENT_STUDY_ONLY, "PATIENT", 2),
        (PATIENT_STUDY_ONLY, "STUDY", 3),
        (PATIENT_ROOT, "STUDY", 3),
        (STUDY_ROOT, "STUDY", 3),
        (PATIENT_ROOT, "SERIES", 4),
        (STUDY_ROOT, "SERIES", 4),
        (PATIENT_ROOT, "IMAGE", 5),
        (STUDY_ROOT, "IMAGE", 5),
    ],
)
def test_relational_queries_find_all_entities_of_a_level(index, model, level, expected):
    outcome = find(index, identifier(level, PatientID=""), model=model, extended=RELATIONAL)
    assert outcome.statuses == [0xFF00] * expected + [0x0000]


def test_keys_of_levels_above_are_matched_too(index):
    outcome = find(index, identifier("SERIES", PatientName="roe*", SeriesInstanceUID=""), extended=RELATIONAL)
    assert outcome.values("SeriesInstanceUID") == ["1.2.3.1"]


def test_a_list_of_uids_finds_each_of_them(index):
    outcome = find(index, identifier(StudyInstanceUID=["1.2.1", "1.2.3"]))
    assert outcome.values("StudyInstanceUID") == ["1.2.1", "1.2.3"]


def test_modalities_in_study_are_matched_and_told(index):
    outcome = find(index, identifier(StudyInstanceUID="", ModalitiesInStudy="SR"))
    assert outcome.values("StudyInstanceUID") == ["1.2.1"]
    assert list(outcome.answers[0].ModalitiesInStudy) == ["CT", "SR"]
    assert outcome.statuses == [0xFF00, 0x0000]


def test_several_modalities_are_any_of_them_or_all_of_them_where_that_was_negotiated(index):
    asked = identifier(StudyInstanceUID="", ModalitiesInStudy=["CT", "MR"])
    assert find(index, asked).values("StudyInstanceUID") == ["1.2.1", "1.2.2", "1.2.3"]
    assert find(index, asked, extended=EVERYTHING).answers == []
    asked.ModalitiesInStudy = ["CT", "SR"]
    assert find(index, asked, extended=EVERYTHING).values("StudyInstanceUID") == ["1.2.1"]


def test_counts_are_told(index):
    (first, *_) = find(
        index, identifier(StudyInstanceUID="", NumberOfStudyRelatedInstances=None, NumberOfPatientRelatedStudies=None)
    ).answers
    assert (first.NumberOfStudyRelatedInstances, first.NumberOfPatientRelatedStudies) == (3, 2)


# -- FF01


@pytest.mark.parametrize(
    "keys",
    [
        {"ContrastBolusAgent": ""},
        {"SeriesDescription": ""},
        {"InstanceNumber": ""},
        {"NumberOfStudyRelatedInstances": "3"},
        {"ImagerPixelSpacing": None},
    ],
    ids=lambda keys: next(iter(keys)),
)
def test_keys_that_are_not_known_or_not_matched_are_said_to_be_so(index, keys):
    outcome = find(index, identifier(StudyInstanceUID="", **keys))
    assert outcome.statuses == [0xFF01] * 3 + [0x0000]
    for keyword in keys:
        assert (keyword in outcome.answers[0]) == keyword.startswith("Number"), "PS3.4 C.2.2.1.3"


def test_modalities_in_study_of_patients_are_matched_and_not_told(index):
    outcome = find(index, identifier("PATIENT", PatientID="", ModalitiesInStudy="XA"), model=PATIENT_ROOT)
    assert set(index.queries[0].conditions) == {0x00080061}
    assert outcome.statuses[-1] == 0x0000
    assert 0x00080061 not in index.queries[0].wanted


def test_a_private_key_is_passed_over(index):
    asked = identifier(StudyInstanceUID="")
    asked.private_block(0x0009, "ACME", create=True).add_new(1, "LO", "x")
    assert find(index, asked).statuses == [0xFF01] * 3 + [0x0000]


def test_what_is_no_key_is_no_unsupported_key(index):
    asked = identifier(StudyInstanceUID="", RetrieveAETitle="", InstanceAvailability="", TimezoneOffsetFromUTC="+0100")
    asked.SpecificCharacterSet = "ISO_IR 100"
    assert find(index, asked).statuses == [0xFF00] * 3 + [0x0000]


# -- A900


LEVEL, PATIENT_ID, STUDY_UID, SERIES_UID = 0x00080052, 0x00100020, 0x0020000D, 0x0020000E


@pytest.mark.parametrize(
    ("model", "asked", "offending", "says"),
    [
        (STUDY_ROOT, identifier(None, StudyInstanceUID=""), LEVEL, "QueryRetrieveLevel (0008,0052) is missing"),
        (STUDY_ROOT, identifier("", StudyInstanceUID=""), LEVEL, "QueryRetrieveLevel (0008,0052) is missing"),
        (STUDY_ROOT, identifier("WORKLIST"), LEVEL, "QueryRetrieveLevel (0008,0052) is none of STUDY SERIES IMAGE"),
        (STUDY_ROOT, identifier("study"), LEVEL, "is none of"),
        (STUDY_ROOT, identifier("PATIENT"), LEVEL, "is none of STUDY"),
        (PATIENT_STUDY_ONLY, identifier("SERIES"), LEVEL, "is none of PATIENT STUDY"),
        (PATIENT_ROOT, identifier("STUDY", StudyInstanceUID=""), PATIENT_ID, "PatientID (0010,0020) is missing"),
        (PATIENT_ROOT, identifier("STUDY", PatientID="P*"), PATIENT_ID, "has no single value"),
        (STUDY_ROOT, identifier("SERIES"), STUDY_UID, "StudyInstanceUID (0020,000D) is missing"),
        (STUDY_ROOT, identifier("SERIES", StudyInstanceUID=""), STUDY_UID, "is missing"),
        (STUDY_ROOT, identifier("SERIES", StudyInstanceUID=["1.2", "1.3"]), STUDY_UID, "has no single value"),
        (STUDY_ROOT, identifier("IMAGE", StudyInstanceUID="1.2.1"), SERIES_UID, "SeriesInstanceUID (0020,000E) is"),
    ],
)
def test_an_identifier_that_does_not_fit_its_model_is_a900(index, model, asked, offending, says):
    outcome = find(index, asked, model=model)
    response = outcome.last.response
    assert outcome.statuses == [0xA900]
    assert response.offending_element == (offending,)
    assert says in response.error_comment
    assert index.queries == [], "nothing was asked"


def test_a_key_in_another_vr_is_a900(index):
    asked = encode(identifier(StudyInstanceUID="")) + b"\x10\x00\x10\x00LO\x04\x00DOE*"
    outcome = find(index, asked)
    assert outcome.statuses == [0xA900]
    assert outcome.last.response.offending_element == (0x00100010,)
    assert outcome.last.response.error_comment == "PatientName (0010,0010) is not encoded as PN"


def test_a_key_in_un_is_taken_for_what_it_is(index):
    asked = encode(identifier(StudyInstanceUID="")) + b"\x10\x00\x10\x00UN\0\0\x04\0\0\0ROE*"
    assert find(index, asked).values("StudyInstanceUID") == ["1.2.3"]


def test_an_empty_identifier_has_no_level(index):
    assert find(index, b"").statuses == [0xA900]


# -- C000


@pytest.mark.parametrize(
    ("keys", "offending", "says"),
    [
        ({"StudyDate": "yesterday"}, 0x00080020, "StudyDate (0008,0020)"),
        ({"StudyDate": "20200230"}, 0x00080020, "is no date"),
        ({"StudyTime": "2500"}, 0x00080030, "is no time"),
        ({"StudyTime": "2200-0600"}, 0x00080030, "ends before it begins"),
        ({"StudyInstanceUID": "1.2.*"}, STUDY_UID, "is no UID"),
        ({"PatientAge": "old"}, 0x00101010, "is no age"),
        ({"ModalitiesInStudy": ["C*", "MR"]}, 0x00080061, "has wild cards in several values"),
        ({"StudyDescription": "*a" * 1000}, 0x00081030, "has wild cards and more than 1024"),
        ({"PatientName": "*a" * 1000}, 0x00100010, "PatientName"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_value_that_cannot_be_matched_is_c000_and_names_its_key(index, keys, offending, says):
    asked = Dataset()
    asked.QueryRetrieveLevel = "STUDY"
    was, config.settings.writing_validation_mode = config.settings.writing_validation_mode, config.IGNORE
    try:
        for keyword, value in keys.items():
            setattr(asked, keyword, value)
        data = encode(asked)
    finally:
        config.settings.writing_validation_mode = was
    outcome = find(index, data)
    assert outcome.statuses == [0xC000]
    assert outcome.last.response.offending_element == (offending,)
    assert says in outcome.last.response.error_comment
    assert len(outcome.last.response.error_comment) <= 64
    assert not any(str(value) in outcome.last.why for value in keys.values()), "nothing of the value is told"


def test_a_character_set_that_nobody_knows_is_c000_only_where_it_matters(index):
    asked = identifier(StudyInstanceUID="", PatientName="ROE*")
    asked.SpecificCharacterSet = "KLINGON"
    data = encode(asked)
    assert find(index, data).statuses == [0xFF00, 0x0000]
    outcome = find(index, data.replace(b"ROE*", b"R\xf6E*"))
    assert outcome.statuses == [0xC000]
    assert outcome.last.response.offending_element == (0x00080005,)


def test_text_that_is_not_of_its_character_set_is_c000(index):
    asked = identifier(StudyInstanceUID="", PatientName="ROE*")
    asked.SpecificCharacterSet = "ISO_IR 192"
    outcome = find(index, encode(asked).replace(b"ROE*", b"R\xf6E*"))
    assert outcome.statuses == [0xC000]
    assert outcome.last.response.offending_element == (0x00100010,)


def test_a_sequence_key_with_two_items_is_c000(index):
    asked = identifier(StudyInstanceUID="")
    asked.ProcedureCodeSequence = Sequence([Dataset(), Dataset()])
    outcome = find(index, asked)
    assert outcome.statuses == [0xC000]
    assert outcome.last.response.offending_element == (0x00081032,)


def nested(levels: int) -> Dataset:
    dataset = Dataset()
    dataset.CodeValue = "1"
    for _ in range(levels):
        outer = Dataset()
        outer.ProcedureCodeSequence = Sequence([dataset])
        dataset = outer
    return dataset


def test_sequences_in_sequences_have_an_end(index):
    asked = nested(8)
    asked.QueryRetrieveLevel = "STUDY"
    assert find(index, asked).statuses == [0xC000]
    start = b"\x08\x00\x32\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    assert find(index, (start * 3000)[: 64 * 1024]).statuses == [0xC000]


# -- A700


def test_more_than_a_bound_of_matches_is_a700_after_those_within(index):
    outcome = find(index, identifier(StudyInstanceUID=""), most=2)
    assert outcome.statuses == [0xFF00, 0xFF00, 0xA700]
    assert outcome.last.response.error_comment == "there are more than 2 matches: ask for less"
    assert index.closed == 1
    assert find(index, identifier(StudyInstanceUID=""), most=3).statuses[-1] == 0x0000


@pytest.mark.parametrize("syntax", [EXPLICIT, DEFLATED])
def test_an_identifier_beyond_64_kib_is_refused(index, syntax):
    asked = identifier(PatientComments="a" * 60000, AdditionalPatientHistory="b" * 60000)
    status = find(index, asked, syntax=syntax).statuses
    assert status == [0xA700] if syntax == EXPLICIT else [0xC000]


def test_an_index_that_cannot_be_asked_is_a700(index):
    index.failure = IndexUnavailable("database is locked")
    outcome = find(index, identifier(StudyInstanceUID=""))
    assert outcome.statuses == [0xA700]
    assert outcome.last.response.error_comment == "the index cannot be asked now"
    assert outcome.last.why == "the index cannot be asked now: database is locked"


# -- FE00


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_cancel_is_heard_before_the_next_answer(index, after):
    asks = iter([False] * after + [True] * 10)
    outcome = find(index, identifier(StudyInstanceUID=""), cancelled=lambda: next(asks))
    assert outcome.statuses == [0xFF00] * after + [0xFE00]
    assert index.closed == 1


def test_a_peer_that_is_gone_ends_the_search(index):
    def gone():
        raise ConnectionError

    with pytest.raises(ConnectionError):
        find(index, identifier(StudyInstanceUID=""), cancelled=gone)
    assert index.closed == 1


# -- extended behaviour


def test_combined_date_and_time(index):
    asked = identifier(StudyInstanceUID="", StudyDate="20200101-20200102", StudyTime="11-1030")
    assert find(index, asked).statuses == [0xC000], "apart, the range of times ends before it begins"
    asked.StudyTime, asked.StudyDate = "11-12", "20200101-20200103"
    assert find(index, asked).values("StudyInstanceUID") == ["1.2.3"]
    assert find(index, asked, extended=EVERYTHING).values("StudyInstanceUID") == ["1.2.1", "1.2.3"]


def test_the_time_zone_of_the_query_moves_what_is_held():
    index = Held(instance(TimezoneOffsetFromUTC="+0100", StudyDate="20200102", StudyTime="0030"))
    asked = identifier(StudyInstanceUID="", StudyDate="20200101", StudyTime="23-24", TimezoneOffsetFromUTC="+0000")
    asked.StudyTime = "23-2359"
    assert find(index, asked).answers == [], "not negotiated"
    outcome = find(index, asked, extended=EVERYTHING)
    assert outcome.statuses == [0xFF00, 0x0000]
    assert outcome.answers[0].StudyTime == "0030", "what is held is told as it is, with its time zone"
    assert outcome.answers[0].TimezoneOffsetFromUTC == "+0100"


def test_a_wrong_time_zone_is_c000_where_it_is_used(index):
    asked = identifier(StudyInstanceUID="", TimezoneOffsetFromUTC="CET")
    assert find(index, asked).statuses[-1] == 0x0000
    outcome = find(index, asked, extended=EVERYTHING)
    assert outcome.statuses == [0xC000]
    assert outcome.last.response.offending_element == (0x00080201,)


def test_no_time_zone_is_told_where_none_is_held(index):
    (answer, *_) = find(index, identifier(StudyInstanceUID="", TimezoneOffsetFromUTC="+0000")).answers
    assert "TimezoneOffsetFromUTC" not in answer, "it shall not be sent empty (PS3.4 C.4.1.1.3.2)"


def test_fuzzy_names_where_they_were_negotiated(index):
    asked = identifier(StudyInstanceUID="", PatientName="Jayne^Doh")
    assert find(index, asked).answers == []
    assert find(index, asked, extended=EVERYTHING).values("StudyInstanceUID") == ["1.2.1", "1.2.2"]


def test_empty_values_where_they_were_negotiated(index):
    asked = identifier(StudyInstanceUID="", ReferringPhysicianName='""')
    assert find(index, asked).answers == []
    assert len(find(index, asked, extended=EVERYTHING).answers) == 3


# -- sequences


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_items_that_match_are_told_with_what_was_asked(syntax):
    code, scheme, meaning = 0x00080100, 0x00080102, 0x00080104
    held = [
        {code: "C1", scheme: "99X", meaning: "Größe"},
        {code: "C2", scheme: "99X", meaning: "two"},
    ]
    index = Held(instance(ProcedureCodeSequence=held), instance(study="1.2.8"))
    asked = identifier(StudyInstanceUID="")
    item = Dataset()
    item.CodeValue, item.CodeMeaning = "C1", ""
    asked.ProcedureCodeSequence = Sequence([item])
    asked.SpecificCharacterSet = "ISO_IR 100"
    outcome = find(index, asked, syntax=syntax)
    assert outcome.values("StudyInstanceUID") == ["1.2.1"]
    (told,) = outcome.answers[0].ProcedureCodeSequence
    assert [element.keyword for element in told] == ["CodeValue", "CodeMeaning"]
    assert (told.CodeValue, told.CodeMeaning) == ("C1", "Größe")
    for universal in ([], [Dataset()]):
        asked.ProcedureCodeSequence = Sequence(universal)
        outcome = find(index, asked, syntax=syntax)
        assert outcome.values("StudyInstanceUID") == ["1.2.1", "1.2.8"]
        assert [len(item) for item in outcome.answers[0].ProcedureCodeSequence] == [3, 3]
        assert len(outcome.answers[1].ProcedureCodeSequence) == 0


# -- character sets


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    ("asked_in", "name", "told_in"),
    [
        (None, "Doe^Jane", None),
        ("ISO_IR 100", "Doe^Jane", None),
        ("ISO_IR 100", "Müller^Jörg", "ISO_IR 100"),
        (None, "Müller^Jörg", "ISO_IR 192"),
        ("ISO_IR 192", "Müller^Jörg", "ISO_IR 192"),
        ("ISO_IR 100", "Люкceмбypг", "ISO_IR 192"),
        ("ISO_IR 144", "Люкceмбypг", "ISO_IR 144"),
        ("ISO_IR 126", "Διονυσιος", "ISO_IR 126"),
        ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ", "ISO_IR 13"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"]),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", ["ISO 2022 IR 13", "ISO 2022 IR 87"]),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", ["", "ISO 2022 IR 149"]),
        (["", "ISO 2022 IR 149"], "Müller=洪^吉洞", "ISO_IR 192"),
        ("GB18030", "Wang^XiaoDong=王^小东", "GB18030"),
        ("GBK", "Wang^XiaoDong=王^小东", "GBK"),
        (["", "ISO 2022 IR 58"], "Zhang^XiaoDong=张^小东", ["", "ISO 2022 IR 58"]),
        ("GB18030", "Wang=丂^乗", "GB18030"),
    ],
)
def test_names_are_found_and_told_in_the_character_set_of_the_request(syntax, asked_in, name, told_in):
    index = Held(instance(PatientName=name))
    asked = identifier(StudyInstanceUID="", PatientName="")
    if asked_in:
        asked.SpecificCharacterSet = asked_in
        asked.PatientName = "" if "ISO 2022 IR 58" in asked_in else name
    outcome = find(index, asked, syntax=syntax)
    assert outcome.statuses == [0xFF00, 0x0000]
    told = outcome.answers[0]
    if told_in is None:
        assert "SpecificCharacterSet" not in told
    else:
        there = told.SpecificCharacterSet
        assert (there if isinstance(there, str) else [one or "" for one in there]) == told_in
    # pydicom neither writes the escapes of ISO-IR 58 nor takes them away
    assert str(told.PatientName).replace("\x1b$)A", "") == name


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_a_stored_value_that_is_too_long_for_its_length_stays_empty(syntax):
    index = Held(instance(PatientComments="x" * 70000))
    (told,) = find(index, identifier(StudyInstanceUID="", PatientComments=""), syntax=syntax).answers
    assert len(told.PatientComments or "") == (70000 if syntax == IMPLICIT else 0)


def test_numbers_that_are_none_and_letters_that_are_none_break_nothing():
    index = Held(instance(Rows="many", PatientName="a\ud800b", Modality="Ü"))
    asked = identifier("IMAGE", Rows=None, PatientName="", Modality="")
    (told,) = find(index, asked, extended=RELATIONAL).answers
    assert (told.Rows, told.PatientName, told.Modality) == (None, "a?b", "?")


# -- hostile bytes

STATUSES = {0x0000, 0xFF00, 0xFF01, 0xA700, 0xA900, 0xC000}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whatever_comes_only_statuses_go(data):
    """Fuzzed identifiers: a good one with some bytes changed, cut or added, or nothing but noise."""
    index = Held(instance())
    syntax = data.draw(st.sampled_from(SYNTAXES))
    asked = nested(2)
    asked.update(identifier(StudyInstanceUID="1.2.1", PatientName="Doe*", StudyDate="2020-", Rows=5))
    asked.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    raw = bytearray(encode(asked, syntax))
    for _ in range(data.draw(st.integers(0, 8))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
        raw = raw or bytearray(b"\0")
    extended = data.draw(st.sampled_from([b"", RELATIONAL, EVERYTHING]))
    outcome = find(index, bytes(raw), syntax=syntax, extended=extended)
    assert set(outcome.statuses) <= STATUSES
    assert len(outcome.last.response.error_comment) <= 64
    assert outcome.last.response.error_comment.isascii()


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(SYNTAXES))
def test_noise_is_refused(noise, syntax):
    assert set(find(Held(instance()), noise, syntax=syntax).statuses) <= STATUSES


@pytest.mark.parametrize("text", ["' OR 1=1 --", "%", "_", '"; DROP TABLE studies', "\\", "*" * 64, "?" * 64])
@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "AccessionNumber", "StudyDescription"])
def test_signs_of_sql_are_letters(index, keyword, text):
    outcome = find(index, identifier(StudyInstanceUID="", **{keyword: text}))
    assert outcome.statuses == ([0xFF00] * 3 + [0x0000] if not text.strip("*\\") else [0x0000])


# -- the model


def test_every_required_and_unique_key_is_kept():
    keeping = Keeping()
    for level, tags in REQUIRED_KEYS.items():
        assert [keeping.level_of(tag) for tag in tags] == [level] * len(tags)
    assert {model.find for model in MODELS} == {f"1.2.840.10008.5.1.4.1.2.{root}.1" for root in (1, 2, 3)}
    assert STUDY_ROOT.move == "1.2.840.10008.5.1.4.1.2.2.2"
    assert STUDY_ROOT.get == "1.2.840.10008.5.1.4.1.2.2.3"
    assert PATIENT_ROOT.above(Level.IMAGE) == (PATIENT_ID, STUDY_UID, SERIES_UID)


def test_a_group_length_says_nothing(index):
    asked = b"\x08\0\0\0UL\x04\0" + struct.pack("<I", 99) + encode(identifier(StudyInstanceUID=""))
    assert find(index, asked).statuses == [0xFF00] * 3 + [0x0000]


# -- who hears of it


@pytest.fixture
def heard(index):
    """Ask as ``find`` does; the replies as they come, and what a witness has heard so far."""

    class Hears(list):
        def queried(self, query) -> None:
            self.append(query)

    def ask(asked, *, most=0, **how):
        hears = Hears()
        return Find(index, FindRules("ARCHIVE", most), (hears,)).perform(request_of(asked, **how)), hears

    return ask


EVERY_STUDY = identifier(StudyInstanceUID="")


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_query_is_heard_of_with_its_bytes_when_it_is_over(heard, syntax):
    replies, told = heard(EVERY_STUDY, syntax=syntax)
    for _ in range(3):
        next(replies)
    assert told == []
    assert [reply.response.status for reply in replies] == [0x0000]
    (query,) = told
    assert query.identifier == encode(EVERY_STUDY, syntax)
    assert query[:3] == (Peer("127.0.0.1:1", "SCU", "SCPD"), STUDY_ROOT.find, syntax)
    assert (query.answers, query.status) == (3, 0x0000)


def test_how_a_query_ended_is_heard_of(heard, index):
    replies, told = heard(EVERY_STUDY, most=2)
    assert len(list(replies)) == 3
    assert told[0][-2:] == (2, 0xA700)
    replies, told = heard(EVERY_STUDY, cancelled=lambda: True)
    assert len(list(replies)) == 1
    assert told[0][-2:] == (0, 0xFE00)
    index.failure = IndexUnavailable("away")
    replies, told = heard(EVERY_STUDY)
    assert len(list(replies)) == 1
    assert told[0][-2:] == (0, 0xA700)


def test_a_query_whose_peer_goes_away_is_heard_of_at_once(heard, index):
    replies, told = heard(EVERY_STUDY)
    next(replies)
    replies.close()
    assert [(query.answers, query.status) for query in told] == [(1, None)]
    assert index.closed == 1


def test_what_was_not_understood_is_no_query(heard):
    replies, told = heard(identifier("NOWHERE"))
    assert [reply.response.status for reply in replies] == [0xA900]
    assert told == []
