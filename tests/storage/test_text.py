"""Raw values become text in the character set that the data set names, and something readable in any other case."""

from __future__ import annotations

from encodings.aliases import aliases

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scpd.storage.paths import safe_name
from scpd.storage.text import Text

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about every wrong character set


@pytest.mark.parametrize(
    ("character_set", "raw", "text"),
    [
        ("", b"DOE^JANE", "DOE^JANE"),
        ("ISO_IR 6", b"DOE^JANE", "DOE^JANE"),
        ("ISO_IR 100", "Müller^Jürgen".encode("latin-1"), "Müller^Jürgen"),
        ("ISO_IR 101", "Novák^Dvořák".encode("iso8859-2"), "Novák^Dvořák"),
        ("ISO_IR 144", "Люкceмбypг".encode("iso8859-5"), "Люкceмбypг"),
        ("ISO_IR 192", "山田^太郎=Müller".encode(), "山田^太郎=Müller"),
        ("GB18030", "王^小东".encode("gb18030"), "王^小东"),
        ("GBK", "王^小东".encode("gbk"), "王^小东"),
        ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ".encode("shift_jis"), "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        # PS3.5 H.3.1, H.3.2, I.2: Japanese with code extensions, Korean.
        (
            "\\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        ),
        (
            "ISO 2022 IR 13\\ISO 2022 IR 87",
            b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J",
            "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎",
        ),
        (
            "\\ISO 2022 IR 149",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
            "Hong^Gildong=洪^吉洞=홍^길동",
        ),
    ],
)
def test_a_name_is_read_in_the_character_set_that_the_data_set_names(character_set, raw, text):
    assert Text(character_set.encode() + b" " * (len(character_set) % 2)).decode(raw) == text


@pytest.mark.parametrize("raw", [b"1.2.3\0", b"1.2.3 ", b" 1.2.3\0\0", b"1.2.3"])
def test_padding_is_no_part_of_a_value(raw):
    assert Text(b"").decode(raw) == "1.2.3"


@pytest.mark.parametrize(
    "character_set", [b"", b"ISO_IR 999", b"nonsense", b"ISO_IR 192", b"ISO 2022 IR 87", b"\\", b"\0"]
)
def test_what_the_character_set_does_not_have_is_readable_all_the_same(character_set):
    text = Text(character_set).decode(b"M\xfcller")
    assert text.startswith("M")
    assert text.endswith("ller")


def test_an_escape_that_the_character_set_does_not_name_loses_no_more_than_its_own_run():
    assert "DOE" in Text(b"ISO_IR 100").decode(b"DOE^\x1b$B;3ED\x1b(B")


codecs = st.sampled_from(sorted({*aliases, *aliases.values(), "idna", "punycode", "undefined", "unicode_escape"}))
terms = st.one_of(
    codecs.map(str.encode),
    st.sampled_from(
        [b"ISO_IR 192", b"ISO 2022 IR 87", b"ISO 2022 IR 149", b"GB18030", b"ISO-IR 87", b"ISO2022IR87", b""]
    ),
    st.binary(max_size=20),
)


@given(st.lists(terms, max_size=4).map(b"\\".join), st.binary(max_size=80))
@example(b"unicode_escape", b"\xe9\\ud800")
@example(b"utf_7", b"\x1b+2AA-")
@example(b"raw_unicode_escape", b"\xe9\\udfff")
def test_any_bytes_in_any_character_set_become_text_that_can_be_a_name(character_set, raw):
    """pydicom takes the names of Python's codecs for character sets, so a peer may choose any of them."""
    text = Text(character_set).decode(raw)
    assert isinstance(text, str)
    text.encode()  # no lone surrogates, which nothing after this can write
    assert "/" not in safe_name(text)
