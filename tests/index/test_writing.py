"""Rows into the tables of SQLite and PostgreSQL: what came last counts, whatever came first, and nothing is refused."""

from __future__ import annotations

import itertools

import pytest
from sqlalchemy import func, select

from scpd.index.attributes import Keeping, Level, tag_of
from scpd.index.index import Index
from scpd.index.query import Query
from scpd.index.schema import patients, series, studies
from scpd.index.writing import Arrival

EXPLICIT = "1.2.840.10008.1.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
STORE = "0" * 32
NUMBERS = itertools.count()


@pytest.fixture
def index(database_url):
    made = Index(database_url, Keeping())
    made.open()
    yield made
    made.close()


def arrival(index, when=1.0, path="", uid="1.2.5", calling="SCU", **raw):
    """A file of these raw values, by keyword."""
    values = {"PatientID": b"P1", "StudyInstanceUID": b"1.2.3", "SeriesInstanceUID": b"1.2.4", "Modality": b"CT", **raw}
    entry = index.scribe.entry({tag_of(keyword): value for keyword, value in values.items()}, CT, uid, EXPLICIT)
    return Arrival(path or f"{next(NUMBERS)}.dcm", EXPLICIT, 1000, when, "", calling, entry)


def put(index, *arrivals):
    def write(connection):
        place = index.places.number(connection, STORE)
        for one in arrivals:
            index.writing.put(connection, place, one)

    index.database.write(write)


def told(index, level, *keywords):
    """All there is of a level, each as a tuple."""
    tags = [tag_of(keyword) for keyword in keywords]
    found = index.find(Query(level, {}, frozenset(tags)))
    return sorted(tuple(one.get(tag, "") for tag in tags) for one in found)


def count(index, table):
    with index.database.reading() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar()


def test_what_came_last_is_told_in_whatever_order_it_is_written(index):
    times = ((100.0, b"first"), (200.0, b"last"), (150.0, b"first"))
    orders = list(itertools.permutations(times))
    for number, order in enumerate(orders):
        for when, what in order:
            put(index, arrival(index, when, StudyInstanceUID=b"1.2.%d" % number, StudyDescription=what))
    assert told(index, Level.STUDY, "StudyDescription") == [("last",)] * len(orders)


def test_what_came_last_is_told_though_nobody_remembers_what_came_before(index):
    put(index, arrival(index, 1000.0, StudyDescription=b"same"))
    put(index, arrival(index, 9000.0, StudyDescription=b"same", uid="1.2.5.2"))
    index.writing.forget()
    put(index, arrival(index, 5000.0, StudyDescription=b"between", uid="1.2.5.3"))
    assert told(index, Level.STUDY, "StudyDescription") == [("same",)]
    put(index, arrival(index, 9500.0, StudyDescription=b"between", uid="1.2.5.4"))
    assert told(index, Level.STUDY, "StudyDescription") == [("between",)]


def test_an_older_one_does_not_hide_that_a_younger_one_is_news(index):
    put(index, arrival(index, 500.0, StudyDescription=b"old"))
    index.writing.forget()
    put(index, arrival(index, 300.0, StudyDescription=b"new", uid="1.2.5.2"))
    put(index, arrival(index, 510.0, StudyDescription=b"new", uid="1.2.5.3"))
    assert told(index, Level.STUDY, "StudyDescription") == [("new",)]


def test_two_that_write_to_one_database_agree_in_the_end(database_url, index):
    other = Index(database_url, Keeping())
    other.open()
    try:
        put(index, arrival(index, 1000.0, StudyDescription=b"mine"))
        put(other, arrival(other, 1010.0, StudyDescription=b"yours", uid="1.2.5.2"))
        put(index, arrival(index, 1100.0, StudyDescription=b"mine", uid="1.2.5.3"))
        assert told(other, Level.STUDY, "StudyDescription") == [("mine",)]
    finally:
        other.close()


def test_a_study_is_that_of_whom_its_last_instance_says(index):
    put(index, arrival(index, 1.0), arrival(index, 2.0, uid="1.2.5.2", PatientID=b"P2"))
    assert told(index, Level.STUDY, "PatientID") == [("P2",)]
    assert told(index, Level.PATIENT, "PatientID") == [("P2",)], "the other has nothing left"


def test_a_file_in_place_of_another_takes_its_place_everywhere(index):
    put(index, arrival(index, 1.0, "a.dcm"), arrival(index, 2.0, "b.dcm", uid="1.2.5.2", SeriesInstanceUID=b"1.2.44"))
    put(index, arrival(index, 3.0, "a.dcm", SeriesInstanceUID=b"1.2.44", Modality=b"MR"))
    keys = ("StudyInstanceUID", "ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfPatientRelatedSeries")
    assert told(index, Level.SERIES, "SeriesInstanceUID") == [("1.2.44",)]
    assert told(index, Level.STUDY, *keys) == [("1.2.3", "MR", "1", "1")], "a series without a file is none"


def test_of_two_files_of_one_instance_the_latest_is_told(index):
    put(index, arrival(index, 2.0, InstanceNumber=b"2"), arrival(index, 1.0, InstanceNumber=b"1"))
    assert told(index, Level.IMAGE, "InstanceNumber") == [("2",)]
    assert told(index, Level.STUDY, "NumberOfStudyRelatedInstances") == [("1",)]


def test_an_instance_in_two_series_is_told_in_both_and_counted_once(index):
    put(index, arrival(index, 1.0), arrival(index, 2.0, SeriesInstanceUID=b"1.2.44"))
    assert told(index, Level.IMAGE, "SeriesInstanceUID") == [("1.2.4",), ("1.2.44",)]
    assert told(index, Level.STUDY, "NumberOfStudyRelatedInstances", "NumberOfStudyRelatedSeries") == [("1", "2")]


HOSTILE = {
    "sql": b"'; DROP TABLE patients; --",
    "json": b'"}],{"00100010":null,\'',
    "nothing": b"A\0B",
    "backslashes": b"A\\\\\\B",
    "not UTF-8": b"\xed\xa0\x80\xff",
    "long": b"L" * 60_000,
    "long and incompressible": b"".join(b"%x" % (number * 7919) for number in range(9000)),
    "two bytes each": "\u00e9".encode() * 5_000,
    "four bytes each": "\U0001f600".encode() * 5_000,
    "wildcards": b"*%_?",
    "control": bytes(range(1, 32)),
}


def test_nothing_that_a_peer_sends_is_refused(index):
    """In every attribute of text, and still the study is found by its UID."""
    uids = [tag_of("StudyInstanceUID"), tag_of("SeriesInstanceUID")]
    for number, raw in enumerate(HOSTILE.values()):
        values = dict.fromkeys(index.scribe.tags.difference(uids), raw)
        values |= dict.fromkeys(uids, b"1.2.%d" % number) | {tag_of("SpecificCharacterSet"): b"ISO_IR 192"}
        entry = index.scribe.entry(values, CT, f"1.2.5.{number}", EXPLICIT)
        put(index, Arrival(f"{number}.dcm", EXPLICIT, 1000, 1.0, "", "A\0B", entry))
    found = told(index, Level.IMAGE, "StudyInstanceUID", "SOPInstanceUID")
    assert found == sorted((f"1.2.{number}", f"1.2.5.{number}") for number in range(len(HOSTILE)))


def test_hostile_uids_are_no_way_to_another_study(index):
    for raw in (b"1.2.3\\1.2.9", b"no uid", b"'; --", b"1" * 60_000, b"\xff\0", b""):
        put(index, arrival(index, uid=f"1.2.5.{len(raw)}", StudyInstanceUID=raw))
    assert len(told(index, Level.STUDY, "StudyInstanceUID")) == 5, "what has no UID is held, and not told"
    assert count(index, studies) == 6


def test_what_is_known_of_the_database_is_bounded(index):
    put(
        index,
        *(
            arrival(index, float(number), uid=f"1.2.{number}", SeriesInstanceUID=b"1.2.%d" % number)
            for number in range(9000)
        ),
    )
    assert len(index.writing._known) <= 8192
    assert count(index, series) == 9000
    assert count(index, patients) == 1
