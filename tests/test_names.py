"""Names that peers and people give: what is a UID, an AE title, and how hostile text is quoted."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import config
from pydicom.uid import UID

from scpd.names import is_uid, parse_ae_title, parse_uid, quote

settings.register_profile("rooms", deadline=None, max_examples=60)
settings.load_profile("rooms")

UIDS = st.lists(st.integers(0, 10**12).map(str), min_size=1, max_size=10).map(".".join)


@pytest.mark.parametrize("text", ["0", "1", "1.2", "1.2.840.10008.1.1", "0.0.0", "2.25." + "9" * 59, "1" * 64])
def test_a_uid(text):
    assert is_uid(text)
    assert parse_uid(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "..", "1.", ".1", "1..2", "01", "1.02", "1.2.", "1.2\n", "\n1.2", " 1.2", "1.2 ", "1.2\0"),
        *("1.a", "../1.2", "1/2", "1.2/..", "-1", "+1", "1.2.840\\1.2", "٣.٤", "1.²", "1.2" * 30, "1" * 65),
    ],
)
def test_no_uid(text):
    """PS3.5 9.1; and nothing that could be a path of more than one name, ``.`` or ``..``."""
    assert not is_uid(text)
    with pytest.raises(ValueError, match="UID"):
        parse_uid(text)


def test_the_error_says_which_rule_was_broken():
    with pytest.raises(ValueError, match="at most 64 characters, '1+'… has 70"):
        parse_uid("1" * 70)
    with pytest.raises(ValueError, match=r"'1\.02' is not a UID; write digits and dots"):
        parse_uid("1.02")


@given(UIDS)
def test_digits_and_dots_without_leading_zeros_are_a_uid_up_to_64_characters(text):
    assert is_uid(text) == (len(text) <= 64)


@given(st.text("0123456789.", max_size=70) | st.text(max_size=20) | UIDS)
def test_a_uid_is_what_pydicom_takes_for_one_too(text):
    assert is_uid(text) <= UID(text, validation_mode=config.IGNORE).is_valid


@given(st.text(max_size=70))
def test_parse_and_is_agree(text):
    try:
        parsed = parse_uid(text)
    except ValueError:
        parsed = None
    assert (parsed == text) == is_uid(text)


@pytest.mark.parametrize(
    ("text", "title"),
    [("ARCHIVE", "ARCHIVE"), ("  A B  ", "A B"), ("A" * 16, "A" * 16), ("A" * 16 + "   ", "A" * 16), ("[~!]", "[~!]")],
)
def test_an_ae_title_without_its_insignificant_spaces(text, title):
    assert parse_ae_title(text) == title


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "at least one character"),
        (" " * 16, "at least one character"),
        ("A" * 17, "at most 16 characters"),
        ("A\\B", "is not an AE title"),
        ("A\nB", "is not an AE title"),
        ("A\0", "is not an AE title"),
        ("A\t", "is not an AE title"),
        ("A\x7f", "is not an AE title"),
        ("ÄRCHIV", "is not an AE title"),
    ],
)
def test_no_ae_title(text, rule):
    """PS3.5 table 6.2-1, AE."""
    with pytest.raises(ValueError, match=rule):
        parse_ae_title(text)


@given(st.text(max_size=20))
def test_whatever_is_taken_as_an_ae_title_stands_in_16_printable_characters(text):
    try:
        title = parse_ae_title(text)
    except ValueError:
        return
    assert re.fullmatch(r"[!-~](?:[ -~]{0,14}[!-~])?", title)
    assert "\\" not in title
    assert parse_ae_title(title) == title


@given(st.text(max_size=300), st.integers(0, 80))
def test_quoted_text_is_printable_ascii_between_quotes_and_bounded(text, limit):
    shown = quote(text, limit)
    assert shown.isprintable()
    assert shown.removesuffix("…").isascii()
    assert shown.endswith("…") == (len(text) > limit)
    assert len(shown) <= 10 * limit + 3
    assert eval(shown.removesuffix("…")) == text[:limit]


def test_a_line_break_of_a_peer_makes_no_line_in_a_log():
    assert quote("CT\nlevel=error\x1b[31m") == r"'CT\nlevel=error\x1b[31m'"
