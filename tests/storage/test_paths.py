"""Any text becomes a safe name, and a template says in a sentence what is wrong with it."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scpd.storage.paths import DEFAULT_TEMPLATE, PathTemplate, missing, safe_name

RECEIVED = datetime(2026, 3, 7, 9, 5, 1)
TITLES = {"calling": "CT1", "called": "SCPD"}
STUDY, SERIES, INSTANCE = 0x0020000D, 0x0020000E, 0x00080018
PATIENT_ID, PATIENT_NAME, STUDY_ID = 0x00100020, 0x00100010, 0x00200010
HOSTILE = (
    *(".", "..", "...", "/", "//", "../../etc/passwd", "a/../b", "\\", "..\\..\\x", "a\0b", "\n", "\x1b[2J", "\x7f"),
    *("-rf", "--", "~", "~root", "$HOME", "`id`", "$(id)", "%00", "%2e%2e", "*", "?", "|", "a b", " ", "  x ", "x."),
    *("con", "CON", "Con.txt", "nul", "NUL.", "aux.dcm", "com1", "LPT9.x", "prn", "con.\n", "con\n"),
    *("\u202e", "\u200b", "\u2028", "\ufeff", "\u2044", "\u2215", "\uff0f", "\uff0e\uff0e"),
    *("山田", "é", "e\u0301", "\U00020000" * 40, "x" * 300, "." * 300),
)

names = st.one_of(st.text(), st.text(max_size=400), st.text(alphabet="./\\\0-% \n~aA", max_size=20))


def is_one_component(name: str) -> bool:
    return (
        name not in (".", "..")
        and not set(name) & set("/\\\0")
        and name.isprintable()
        and not name.startswith((".", "-"))
        and not name.endswith((".", " "))
        and len(name.encode()) <= 255
    )


@given(names)
def test_any_text_becomes_one_harmless_component(text):
    name = safe_name(text)
    assert is_one_component(name)
    assert (name == "") == (text == "")
    assert len(name.encode()) <= 100, "room for others in the same component"


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_text_becomes_one_harmless_component(text):
    assert is_one_component(safe_name(text))
    assert safe_name(text)


def test_a_lone_surrogate_becomes_a_harmless_component_too():
    """A peer can send one: it names unicode_escape as its character set, which pydicom takes for Python's codec."""
    assert is_one_component(safe_name("\ud800"))
    assert is_one_component(safe_name("a\udc80b"))


@given(names, names)
@example("a/b", "a%2Fb")
@example("%", "%25")
@example("con", "%63on")
@example("x" * 101, "x" * 100)
@example("é", "e\u0301")
def test_two_texts_never_get_one_name(first, second):
    assert (safe_name(first) == safe_name(second)) == (first == second)


def test_no_text_can_be_made_to_look_like_another_that_was_cut():
    long = "x" * 300
    assert safe_name(safe_name(long)) != safe_name(long), "the ~ before the digest is escaped in a text"
    assert safe_name(long) != safe_name(long + "x"), "the digest is of the whole"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("1.2.840.10008.1.1", "1.2.840.10008.1.1"),
        ("DOE^JANE", "DOE^JANE"),
        ("Doe Jane", "Doe%20Jane"),
        ("a/b", "a%2Fb"),
        ("..", "%2E%2E"),
        (".hidden", "%2Ehidden"),
        ("-rf", "%2Drf"),
        ("end.", "end%2E"),
        ("100%", "100%25"),
        ("山田^太郎", "山田^太郎"),
        ("a\nb", "a%0Ab"),
        ("€", "%E2%82%AC"),
        ("con", "%63on"),
        ("CON.dcm", "%43ON.dcm"),
        ("console", "console"),
        ("com10", "com10"),
        ("", ""),
    ],
)
def test_what_is_harmless_stays(text, name):
    assert safe_name(text) == name


# -- templates


def render(template: str, values=None, received=RECEIVED, titles=TITLES) -> str:
    return "/".join(PathTemplate(template).render(values or {}, titles, received))


def test_the_default_template_is_by_study_series_and_instance():
    assert render(DEFAULT_TEMPLATE, {STUDY: "1.2", SERIES: "1.3", INSTANCE: "1.4"}) == "1.2/1.3/1.4.dcm"


def test_a_missing_or_empty_attribute_is_named_in_its_place():
    assert render(DEFAULT_TEMPLATE, {STUDY: "", INSTANCE: "1.4"}) == "no-StudyInstanceUID/no-SeriesInstanceUID/1.4.dcm"
    assert missing("PatientID") == "no-PatientID"
    assert render("{calling}/{SOPInstanceUID}", {INSTANCE: "1"}, titles={"calling": "", "called": ""}) == "no-calling/1"


def test_titles_and_the_time_of_receipt_stand_in_a_path():
    assert render("{calling}/{called}/{received}/{SOPInstanceUID}", {INSTANCE: "1"}) == "CT1/SCPD/2026-03-07/1"
    assert render("{received:%Y/%m/%d/%H%M}/{SOPInstanceUID}", {INSTANCE: "1"}) == "2026/03/07/0905/1"


def test_a_title_or_value_never_makes_a_directory():
    hostile = {"calling": "../../x", "called": "a/b"}
    values = {INSTANCE: "1", PATIENT_ID: "../../../etc"}
    path = render("{calling}/{called}/{PatientID}/{SOPInstanceUID}", values, titles=hostile)
    assert path == "%2E.%2F..%2Fx/a%2Fb/%2E.%2F..%2F..%2Fetc/1"


def test_only_what_the_template_names_is_asked_of_the_data_set():
    assert PathTemplate("{PatientID}/{SOPInstanceUID}").tags == {PATIENT_ID: "PatientID", INSTANCE: "SOPInstanceUID"}


def test_braces_are_written_twice():
    assert render("{{x}}/{SOPInstanceUID}", {INSTANCE: "1"}) == "{x}/1"


FOUR_FIELDS = "{PatientName}{PatientID}{StudyID}/{SOPInstanceUID}.dcm"


@given(names, names, names)
@example("\U00020000" * 25, "\U00020000" * 25, "\U00020000" * 25)
def test_every_component_has_at_most_255_bytes(first, second, third):
    values = {PATIENT_NAME: first, PATIENT_ID: second, STUDY_ID: third, INSTANCE: "1.2"}
    components = PathTemplate(FOUR_FIELDS).render(values, TITLES, RECEIVED)
    assert len(components) == 2
    assert all(is_one_component(one) and one for one in components)


def test_a_component_that_is_cut_keeps_its_ending_and_stays_its_own():
    template = PathTemplate("{PatientName}-{PatientID}-{StudyID}-{SOPInstanceUID}.dcm")
    values = {PATIENT_NAME: "N" * 99, PATIENT_ID: "I" * 99, STUDY_ID: "S" * 99, INSTANCE: "1.2.3"}
    (name,) = template.render(values, TITLES, RECEIVED)
    (other,) = template.render({**values, INSTANCE: "1.2.4"}, TITLES, RECEIVED)
    assert name.endswith(".dcm")
    assert len(name.encode()) <= 255
    assert name != other


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{StudyInstanceUID}", "lacks {SOPInstanceUID}"),
        ("{SOPInstanceUID", "is not a path template"),
        ("}{SOPInstanceUID}", "is not a path template"),
        ("{SOPInstanceUID!r}", "has a conversion; write {SOPInstanceUID}"),
        ("{SOPInstanceUID:>64}", "has a format; only {received:…} takes one, write {SOPInstanceUID}"),
        ("{calling:x}/{SOPInstanceUID}", "has a format"),
        ("{StudyUID}/{SOPInstanceUID}", "is not an attribute; did you mean {Study"),
        ("{xyzzy}/{SOPInstanceUID}", "is not an attribute; write a keyword of PS3.6 as {PatientID}"),
        ("{}/{SOPInstanceUID}", "attribute; write"),
        ("{0}/{SOPInstanceUID}", "is not an attribute"),
        ("{PatientID.__class__}/{SOPInstanceUID}", "is not an attribute"),
        ("{PatientID[0]}/{SOPInstanceUID}", "is not an attribute"),
        ("{PixelData}/{SOPInstanceUID}", "is not an identifying attribute"),
        ("{Rows}/{SOPInstanceUID}", "is not an identifying attribute"),
        ("{TransferSyntaxUID}/{SOPInstanceUID}", "is not an identifying attribute"),
        ("{ReferencedStudySequence}/{SOPInstanceUID}", "is not an identifying attribute"),
        ("/{SOPInstanceUID}", "an empty component"),
        ("a//{SOPInstanceUID}", "an empty component"),
        ("{SOPInstanceUID}/", "an empty component"),
        ("../{SOPInstanceUID}", "begins with a dot or dash"),
        ("a/../{SOPInstanceUID}", "begins with a dot or dash"),
        ("./{SOPInstanceUID}", "begins with a dot or dash"),
        (".incoming/{SOPInstanceUID}", "begins with a dot or dash"),
        ("-x/{SOPInstanceUID}", "begins with a dot or dash"),
        ("{received:..}/{SOPInstanceUID}", "begins with a dot or dash"),
        ("{received:%n}/{SOPInstanceUID}", "an empty component, or one"),
        ("a\\{SOPInstanceUID}", "has a backslash or control character"),
        ("a\n{SOPInstanceUID}", "has a backslash or control character"),
        ("\0{SOPInstanceUID}", "has a backslash or control character"),
        ("", "lacks {SOPInstanceUID}"),
    ],
)
def test_a_template_that_cannot_be_used_says_why(template, sentence):
    with pytest.raises(ValueError) as caught:
        PathTemplate(template)
    assert sentence in str(caught.value)
    assert str(caught.value).isprintable()


@given(st.text(max_size=60))
@example("{received:\0}/{SOPInstanceUID}")
@example("{received:\ud800}/{SOPInstanceUID}")
def test_any_template_is_understood_or_refused_in_a_sentence(template):
    sentence = ""
    try:
        PathTemplate(template + "{SOPInstanceUID}")
    except ValueError as error:
        sentence = str(error)
    assert sentence == "" or sentence.isprintable()
