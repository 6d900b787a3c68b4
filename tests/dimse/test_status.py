"""Every status has one category and some words, and they are the standard's."""

from __future__ import annotations

import pytest
from pynetdicom import status as theirs

from scpd.dimse import status
from scpd.dimse.status import Category, category, meaning

ALL = range(0x10000)
THEIR_TABLES = {
    name: table for name, table in vars(theirs).items() if isinstance(table, dict) and name.isupper() and table
}


def test_every_status_has_the_category_of_pynetdicom_and_is_a_failure_where_that_knows_none():
    for code in ALL:
        expected = theirs.code_to_category(code).lower()
        assert category(code).value == ("failure" if expected == "unknown" else expected), f"{code:04X}H"


def test_pynetdicom_has_the_tables_of_many_services():
    assert len(THEIR_TABLES) > 10


@pytest.mark.parametrize("name", sorted(THEIR_TABLES))
def test_the_category_agrees_with_each_table_of_a_service(name):
    for code, (expected, *_) in THEIR_TABLES[name].items():
        assert category(code).value == expected.lower(), f"{code:04X}H"


def test_there_is_one_success_and_one_cancel_and_there_are_two_pendings():
    """PS3.7 annex C."""
    by_category = {one: [code for code in ALL if category(code) is one] for one in Category}
    assert by_category[Category.SUCCESS] == [0x0000]
    assert by_category[Category.CANCEL] == [0xFE00]
    assert by_category[Category.PENDING] == [0xFF00, 0xFF01]
    assert by_category[Category.WARNING] == [0x0001, 0x0107, 0x0116, *range(0xB000, 0xC000)]


@pytest.mark.parametrize("service", ["", "C-ECHO", *status.BY_SERVICE])
def test_every_status_has_words(service):
    for code in ALL:
        assert meaning(code, service)


def test_an_unknown_status_is_named_by_its_category_and_number():
    assert meaning(0x9999) == "failure 9999H"
    assert meaning(0xB123) == "warning B123H"


def test_a_service_has_its_own_words_before_the_general_ones():
    assert meaning(status.PENDING) == "Pending"
    assert meaning(status.PENDING, "C-FIND") == "Matches are continuing, all optional keys supported"
    assert meaning(status.PENDING, "C-MOVE") == meaning(status.PENDING, "C-GET") == "Sub-operations are continuing"
    assert meaning(status.CANNOT_UNDERSTAND, "C-STORE") == "Error: cannot understand"
    assert meaning(status.CANNOT_UNDERSTAND, "C-FIND") == "Failed: unable to process"
    assert meaning(status.NO_SUCH_SOP_CLASS, "C-STORE") == "No such SOP class"


@pytest.mark.parametrize(
    ("family", "words"),
    [
        (range(0xA700, 0xA800), "Refused: out of resources"),
        (range(0xA900, 0xAA00), "Error: data set does not match SOP class"),
        (range(0xC000, 0xD000), "Error: cannot understand"),
    ],
)
def test_a_family_of_c_store_has_the_words_of_its_first(family, words):
    """PS3.4 table B.2-1: A7xx, A9xx, Cxxx."""
    assert {meaning(code, "C-STORE") for code in family} == {words}


def test_the_refusals_of_c_move_are_told_apart():
    """PS3.4 table C.4-2: A701, A702 and A801 are three, not a family."""
    assert len({meaning(code, "C-MOVE") for code in (0xA700, 0xA701, 0xA702, 0xA801)}) == 4


@pytest.mark.parametrize(("service", "table"), status.BY_SERVICE.items())
def test_words_begin_as_the_category_does(service, table):
    first = {"Refused": "failure", "Error": "failure", "Failed": "failure", "Warning": "warning"}
    for code, words in {**table, **status.GENERAL}.items():
        told = first.get(words.split(":")[0])
        assert told in (None, category(code).value), f"{service} {code:04X}H"
