"""Person names: without case and accents, by component and group, with wildcards, and by their sound."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scpd.index.conditions import Matching, parse
from scpd.index.person_names import Person, fold, normal, sound, sounds

YAMADA = "Yamada^Tarou=山田^太郎=やまだ^たろう"


def finds(key: str, name: str, *, fuzzy: bool = False) -> bool:
    condition = parse(0x00100010, "PN", key, Matching(fuzzy_names=fuzzy))
    return condition is None or condition.matches(name)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("DOE^JANE", "=doe^jane"),
        ("Doe^Jane^^^", "=doe^jane"),
        (" Doe ^ Jane  Anne ", "=doe^jane anne"),
        ("Doe^^^Dr", "=doe^^^dr"),
        ("Müller^Jörg", "=muller^jorg"),
        ("Mu\u0308ller", "=muller"),
        ("Straße^Øre", "=strasse^ore"),
        ("ŁUKASIEWICZ", "=lukasiewicz"),
        (YAMADA, "=yamada^tarou=山田^太郎=やまだ^たろう"),
        ("==やまだ", "===やまだ"),
        ("ﾔﾏﾀﾞ", "=ヤマダ"),
        ("홍^길동", "=홍^길동"),
        ("A\\B==", "=a\\=b"),
        ("", ""),
        ("^^", ""),
        ("=\\=", ""),
        ("a\uff3eb\uff1dc\uff3cd", "=a b c d"),
    ],
)
def test_the_normal_form(name, form):
    assert normal(name) == form


@pytest.mark.parametrize(
    ("key", "name", "expected"),
    [
        ("doe^jane", "DOE^JANE", True),
        ("DOE", "DOE^JANE", True),
        ("DOE^", "DOE^JANE", True),
        ("DO", "DOE^JANE", False),
        ("DOE^J", "DOE^JANE", False),
        ("^jane", "DOE^JANE", True),
        ("JANE", "DOE^JANE", False),
        ("*jane*", "DOE^JANE", True),
        ("do*", "DOE^JANE", True),
        ("d?e^j*", "DOE^JANE", True),
        ("d?e*e", "DOE^JANE", True),
        ("doe^*", "DOE", True),
        ("doe^jane^*^dr", "DOE^JANE^^DR", True),
        ("doe^jane^a^dr", "DOE^JANE^^DR", False),
        ("doe^jane^^^", "DOE^JANE", True),
        ("muller", "MÜLLER^JÖRG", True),
        ("Müller", "Muller", True),
        ("が", "か", False),
        ("山田", YAMADA, True),
        ("山田^太郎", YAMADA, True),
        ("*太郎*", YAMADA, True),
        ("やまだ*", YAMADA, True),
        ("=山田", YAMADA, True),
        ("=Yamada", YAMADA, False),
        ("Yamada=山田", YAMADA, True),
        ("Yamada=山本", YAMADA, False),
        ("Wang^XiaoDong=王^小東", "Wang^XiaoDong", False),
        ("*=*", "DOE^JANE", True),
        ("*^*", "DOE", True),
        ("roe", "DOE^JANE\\ROE^MAX", True),
        ("doe^max", "DOE^JANE\\ROE^MAX", False),
        ("%", "DOE", False),
        ("d_e", "DOE", False),
    ],
)
def test_what_a_key_finds(key, name, expected):
    assert finds(key, name) is expected


@pytest.mark.parametrize("key", ["*", "^", "*^*", "=", "*=*=*", "^^^*", "\\", "* ^ *"])
def test_keys_that_ask_for_nothing_are_universal(key):
    assert parse(0x00100010, "PN", key) is None


def test_no_name_meets_nothing():
    assert not Person(("doe",)).matches(None)
    assert not Person(("doe",)).matches("")
    assert not Person(("doe*",)).matches([])


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("Swain", "SWAYNE^ANN"),
        ("Smith^Mary", "Mary^Smith"),
        ("Smith^Mary", "Smith, Mary"),
        ("Smith^Mary", "Mary Smith"),
        ("Maier", "MEYER^X"),
        ("Müller", "MUELLER"),
        ("Filip", "PHILIPP"),
        ("Carl", "KARL"),
        ("Zeller", "CELLER"),
        ("sm*^mary", "Mary^Smith"),
        ("太郎^山田", YAMADA),
    ],
)
def test_fuzzy_names_match_by_sound_and_in_any_order(key, name):
    assert finds(key, name, fuzzy=True)


@pytest.mark.parametrize(("key", "name"), [("Smith", "Jones"), ("Smith^Mary", "Smith^John"), ("Doe", ""), ("山", "川")])
def test_fuzzy_is_not_everything(key, name):
    assert not finds(key, name, fuzzy=True)


def test_sounds():
    assert sound("swain") == sound("swayne") == "s500"
    assert sound("o2") == "o2"
    assert sounds("Swayne^Karl=山田") == " s500 k640 山田 "
    assert sounds("") == ""


def sql_like(pattern: str, text: str) -> bool:
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    words = {"%": ".*", "_": "."}
    return re.fullmatch("".join(words.get(p, re.escape(p[-1])) for p in parts), text, re.DOTALL) is not None


_PART = st.text("abÄßé山か%_\\'- ", max_size=4)
_NAME = st.builds(
    "=".join, st.lists(st.builds("^".join, st.lists(_PART, min_size=1, max_size=4)), min_size=1, max_size=3)
)
_KEY = st.text("abÄé山か*?^=% _\\", max_size=12)


@given(_KEY, _NAME, st.booleans())
@settings(max_examples=3000, deadline=None)
def test_the_database_finds_every_name_that_matches(key, name, fuzzy):
    """``likes`` over the normal form, ``sound_likes`` over the sounds: a superset of the truth."""
    condition = Person(tuple(filter(None, key.split("\\"))), fuzzy)
    if not condition.matches(name):
        return
    by_form = any(sql_like(one, normal(name)) for one in condition.likes)
    by_sound = any(sql_like(one, sounds(name)) for one in condition.sound_likes)
    assert by_form or by_sound


@given(_NAME)
def test_a_name_finds_itself_in_any_writing(name):
    if not normal(name) or "*" in name or "\\" in name:
        return
    assert finds(name, name)
    assert finds(name.lower(), name)
    assert finds(name, name, fuzzy=True)


@given(st.text(max_size=20))
@settings(max_examples=1000)
def test_folding_is_settled_and_leaves_no_structure(text):
    once = fold(text)
    assert fold(once) == once
    assert not set(once) & set("\\^=\t\n")


def test_a_universal_key_among_several_is_universal():
    assert parse(0x00100010, "PN", "doe\\*") is None
