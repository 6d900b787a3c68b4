"""Identifiers: what somebody writes becomes what the standard has, values go out as written, and nothing else comes in."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import Tag

from scpd.client.identifiers import Key, decode, encode, identifier, parse_key
from scpd.errors import UnreadableDataSet

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
syntaxes = pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])


def sent(level: str, *texts: str, syntax: str = EXPLICIT):
    """The identifier of these keys as pydicom reads it on the other side."""
    encoded = encode(identifier(level, map(parse_key, texts)), syntax)
    assert len(encoded) % 2 == 0
    return read_dataset(BytesIO(encoded), syntax == IMPLICIT, True)


@pytest.mark.parametrize(
    ("text", "tags", "value"),
    [
        ("PatientID", (0x00100020,), ""),
        ("PatientID=", (0x00100020,), ""),
        ("PatientName=DOE^J*", (0x00100010,), "DOE^J*"),
        ("PatientName=a=b=c", (0x00100010,), "a=b=c"),
        ("0010,0020=4711", (0x00100020,), "4711"),
        ("(0010,0020)=4711", (0x00100020,), "4711"),
        ("0020000d=1.2\\1.3", (0x0020000D,), "1.2\\1.3"),
        ("0009,1001=private", (0x00091001,), "private"),
        ("RequestAttributesSequence", (0x00400275,), ""),
        ("RequestAttributesSequence.ScheduledProcedureStepID=7", (0x00400275, 0x00400009), "7"),
    ],
)
def test_a_key_as_somebody_writes_it(text, tags, value):
    assert parse_key(text) == Key(tuple(map(Tag, tags)), value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("PatientNam=x", "did you mean PatientName?"),
        ("Zzzzzzzzz", "write one of PS3.6, as PatientID, or a tag"),
        ("\x1b[2J", r"'\x1b[2J' is not the keyword"),
        ("", "a key without a keyword"),
        ("=x", "a key without a keyword"),
        ("RequestAttributesSequence.=x", "a key without a keyword"),
        ("PatientID.PatientName=x", "PatientID is no sequence"),
        ("ProcedureCodeSequence=x", "write ProcedureCodeSequence.KEYWORD=VALUE"),
        ("PixelData=x", "leave the value out"),
        ("Rows=many", "'many' is not a number"),
    ],
)
def test_what_is_no_key_is_told_with_what_to_write(text, words):
    with pytest.raises(ValueError, match=".") as caught:
        parse_key(text)
    assert words in str(caught.value)


@syntaxes
def test_keys_become_an_identifier(syntax):
    dataset = sent(
        "SERIES",
        "StudyInstanceUID=1.2\\1.3",
        "Rows=512",
        "PatientName",
        "RequestAttributesSequence.ScheduledProcedureStepID=7",
        "RequestAttributesSequence.RequestedProcedureID",
        "ProcedureCodeSequence",
        "PixelData",
        syntax=syntax,
    )
    assert dataset.QueryRetrieveLevel == "SERIES"
    assert dataset.StudyInstanceUID == ["1.2", "1.3"]
    assert dataset.Rows == 512
    assert dataset.PatientName == ""
    (item,) = dataset.RequestAttributesSequence
    assert (item.ScheduledProcedureStepID, item.RequestedProcedureID) == ("7", "")
    assert list(dataset.ProcedureCodeSequence) == []
    assert "SpecificCharacterSet" not in dataset, "ASCII needs none"


@syntaxes
@pytest.mark.parametrize(
    "text",
    [
        *("PatientID='; DROP TABLE patient; --", "StudyInstanceUID=*", "StudyInstanceUID=no uid, ä", "Modality=ct?"),
        *("StudyDate=20250101-", "StudyTime=-2359", "SeriesNumber=1-3", "PatientWeight=*", "InstanceNumber=NaN"),
        *("QueryRetrieveLevel=MOON", "PatientName=" + "*" * 64, "StudyDescription=" + "x" * 1001),
    ],
)
def test_a_value_goes_out_as_it_was_written_valid_or_not(syntax, text):
    keyword, _, value = text.partition("=")
    dataset = sent("STUDY", text, syntax=syntax)
    raw = dataset.get_item(keyword).value
    assert raw.rstrip(b" \0").decode("latin-1" if keyword == "StudyInstanceUID" else "ascii") == value


@syntaxes
def test_what_is_not_ascii_goes_out_in_utf_8_and_says_so(syntax):
    dataset = sent("STUDY", "PatientName=Müller^Jürgen=山田^太郎=*", "ReferringPhysicianName", syntax=syntax)
    assert dataset.SpecificCharacterSet == "ISO_IR 192"
    assert dataset.get_item("PatientName").value.rstrip(b" ") == "Müller^Jürgen=山田^太郎=*".encode()


def test_a_character_set_that_somebody_names_is_used():
    dataset = sent("STUDY", "SpecificCharacterSet=ISO_IR 100", "PatientName=Müller^")
    assert dataset.get_item("PatientName").value == "Müller^ ".rstrip(" ").encode("latin-1") + b" "
    with pytest.raises(ValueError, match="the identifier cannot be encoded"):
        sent("STUDY", "SpecificCharacterSet=ISO_IR 100", "PatientName=山田")


def test_without_a_level_there_is_none():
    assert "QueryRetrieveLevel" not in sent("", "PatientID")


@given(st.binary(max_size=200), st.sampled_from([IMPLICIT, EXPLICIT]))
def test_any_bytes_are_a_data_set_or_an_error_of_ours(data, syntax):
    with suppress(UnreadableDataSet):
        assert isinstance(decode(data, syntax), Dataset)


def test_bytes_that_end_inside_an_element_are_no_data_set():
    encoded = encode(identifier("STUDY", [parse_key("PatientID=4711")]), EXPLICIT)
    assert decode(encoded, EXPLICIT).PatientID == "4711"
    with pytest.raises(UnreadableDataSet, match="ends inside an element"):
        decode(encoded[:-2], EXPLICIT)
