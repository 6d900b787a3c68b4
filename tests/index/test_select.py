"""What SQL finds, on SQLite and PostgreSQL: all that the conditions mean, whatever is held and whatever is asked."""

from __future__ import annotations

import itertools
import threading

import pytest
from pydicom.datadict import keyword_for_tag
from sqlalchemy import text

from scpd.index.attributes import COMPUTED, Keeping, Level, tag_of, vr_of
from scpd.index.conditions import PLAIN, Matching, parse
from scpd.index.index import Index
from scpd.index.moments import Apart
from scpd.index.query import Query
from scpd.index.select import Selection
from scpd.index.writing import Arrival

EXPLICIT = "1.2.840.10008.1.2.1"
CT, SR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.11"
STORE = "0" * 32
ADDED = {
    Level.PATIENT: ["PatientAddress"],
    Level.STUDY: ["RequestingService", "AdmittingTime"],
    Level.SERIES: ["FilterType"],
    Level.IMAGE: ["ImageComments"],
}
LONG = "x" * 200
# Values as they may stand in any attribute of text, wherever one value should be.
TEXTS = (
    *(
        "A",
        "a",
        "AB",
        "A B",
        "A\\B",
        "B\\A",
        "\\A",
        "A\\",
        "\\",
        "100%",
        "1_0",
        "*",
        "?",
        "'",
        '"',
        "-- ;",
        "\t",
        "A\t",
    ),
    *("Ä", "山田", LONG, f"{LONG}1", f"{LONG}\\A", "[a]", "{}", "null", "0", "1.2.3", "20200101", "20200101\\20210101"),
)
KEYS = (
    *(
        "A",
        "a",
        "B",
        "A\\B",
        "A\\Q",
        "A*",
        "*B",
        "?B",
        "*A*",
        "*%*",
        "1_0",
        "1?0",
        "100%",
        "'",
        '"',
        "-- ;",
        "\\*",
        "*\\*",
    ),
    *(
        "Ä",
        "Ä*",
        "山*",
        LONG,
        f"{LONG}*",
        "x*1",
        f"*{LONG}",
        "*x*x*x*x*x*x*x*x*x*x*1",
        "*A*?*",
        "*" * 64 + "A",
        "[a]",
        "{*}",
    ),
)
DATES = ("20200101", "20210101", "20200101-", "-20200101", "20190101-20201231", "2020.01.01")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def url(request, tmp_path_factory) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('index') / 'index.db'}"
    return request.getfixturevalue("postgres").create_database()


@pytest.fixture(scope="module")
def index(url):
    """A study, series and instance for each of the texts, which stands in every attribute of text."""
    made = Index(url, Keeping(ADDED))
    made.open()
    put(made, [_of_text(made, number, one) for number, one in enumerate(TEXTS)])
    yield made
    made.close()


@pytest.fixture
def empty(database_url):
    made = Index(database_url, Keeping(ADDED))
    made.open()
    yield made
    made.close()


def arrival(index, number=0, sop_class=CT, when=1.0, **raw):
    values = {"PatientID": "P1", "StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.4", **raw}
    values = {tag_of(keyword): value.encode() for keyword, value in values.items()}
    values[tag_of("SpecificCharacterSet")] = b"ISO_IR 192"
    entry = index.scribe.entry(values, sop_class, f"1.2.5.{number}", EXPLICIT)
    return Arrival(f"{number}.dcm", EXPLICIT, 1000, when, "", "SCU", entry)


def _of_text(index, number, one):
    names = [tag for tags in index.keeping.by_level.values() for tag in tags if vr_of(tag) not in ("US", "UI", "SQ")]
    values = {_keyword(tag): one for tag in names}
    uids = {"StudyInstanceUID": f"1.2.3.{number}", "SeriesInstanceUID": f"1.2.4.{number}"}
    return arrival(index, number, **{**values, **uids})


def _keyword(tag):
    return keyword_for_tag(tag)


def put(index, arrivals):
    def write(connection):
        place = index.places.number(connection, STORE)
        for one in arrivals:
            index.writing.put(connection, place, one)

    index.database.write(write)


def find(index, level, wanted=(), matching=PLAIN, **keys):
    """What is found, by the wanted keyword, or all of them as tuples."""
    conditions = {
        tag_of(keyword): parse(tag_of(keyword), vr_of(tag_of(keyword)), key, matching) for keyword, key in keys.items()
    }
    conditions = {tag: condition for tag, condition in conditions.items() if condition}
    tags = [tag_of(keyword) for keyword in wanted]
    return sorted(tuple(one.get(tag) for tag in tags) for one in index.find(Query(level, conditions, frozenset(tags))))


# -- nothing is missed, nothing is too many


@pytest.mark.parametrize("level", list(Level))
def test_sql_finds_what_the_condition_means(index, level):
    """Each key on each attribute, against its condition asked of all there is."""
    attributes = [tag for tag in index.keeping.by_level[level] if vr_of(tag) not in ("US", "SQ")]
    unique = tag_of("SOPInstanceUID")
    for tag in attributes:
        everything = list(index.find(Query(Level.IMAGE, {}, frozenset((tag, unique)))))
        for key in (*KEYS, *DATES, '""'):
            try:
                condition = parse(tag, vr_of(tag), key, Matching(empty_values=True, multiple_values=True))
            except ValueError:
                continue
            if condition is None:
                continue
            found = index.find(Query(Level.IMAGE, {tag: condition}, frozenset((unique,))))
            wanted = {one[unique] for one in everything if condition.matches(one.get(tag))}
            assert {one[unique] for one in found} == wanted, f"{_keyword(tag)} {key}"


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("CT", 2),
        ("PT", 1),
        ("M*", 1),
        ("*T", 2),
        ("?T", 2),
        ("CT\\XX", 2),
        ("XX", 0),
        ("*C*T*C*T*C*T*C*T*C*T*", 0),
    ],
)
def test_modalities_in_study(empty, key, found):
    put(
        empty,
        [
            arrival(empty, 1, Modality="CT", StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1"),
            arrival(empty, 2, Modality="MR", StudyInstanceUID="1.1", SeriesInstanceUID="1.1.2"),
            arrival(empty, 3, Modality="CT\\ PT", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1", PatientID="P2"),
            arrival(empty, 4, StudyInstanceUID="1.3", SeriesInstanceUID="1.3.1", PatientID="P3"),
        ],
    )
    wanted = ("StudyInstanceUID", "ModalitiesInStudy")
    told = {"1.1": "CT\\MR", "1.2": "CT\\PT", "1.3": ""}
    studies = find(empty, Level.STUDY, wanted, ModalitiesInStudy=key)
    assert len(studies) == found
    assert all(told[uid] == modalities for uid, modalities in studies)
    assert len(find(empty, Level.PATIENT, ["PatientID"], ModalitiesInStudy=key)) == found, "patients have such studies"


def test_of_several_modalities_all_where_that_was_negotiated(empty):
    both = [
        arrival(empty, 1, Modality="CT", StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1"),
        arrival(empty, 2, Modality="MR", StudyInstanceUID="1.1", SeriesInstanceUID="1.1.2"),
        arrival(empty, 3, Modality="CT", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1", PatientID="P2"),
        arrival(empty, 4, Modality="MR", StudyInstanceUID="1.3", SeriesInstanceUID="1.3.1", PatientID="P2"),
    ]
    put(empty, both)
    all_of = Matching(multiple_values=True)
    assert find(empty, Level.STUDY, ["StudyInstanceUID"], all_of, ModalitiesInStudy="CT\\MR") == [("1.1",)]
    found = find(empty, Level.PATIENT, ["PatientID"], all_of, ModalitiesInStudy="CT\\MR")
    assert found == [("P1",)], "one study has both, not all studies together"
    none = Matching(empty_values=True)
    assert find(empty, Level.STUDY, ["StudyInstanceUID"], none, ModalitiesInStudy='""') == []


def test_sop_classes_in_study(empty):
    put(empty, [arrival(empty, 1), arrival(empty, 2, SR), arrival(empty, 3, SR, StudyInstanceUID="1.9")])
    wanted = ("StudyInstanceUID", "SOPClassesInStudy")
    assert find(empty, Level.STUDY, wanted, SOPClassesInStudy=CT) == [("1.2.3", f"{CT}\\{SR}")]
    assert find(empty, Level.STUDY, wanted, SOPClassesInStudy=f"{SR}\\1.2") == [("1.2.3", f"{CT}\\{SR}"), ("1.9", SR)]
    assert find(empty, Level.PATIENT, ["PatientID"], SOPClassesInStudy=SR) == [("P1",)]


def test_everything_that_is_computed_can_be_asked_for_at_its_level_and_below(empty):
    put(empty, [arrival(empty, 1, Modality="CT"), arrival(empty, 2, SR, SeriesInstanceUID="1.2.44")])
    for level in Level:
        tags = frozenset(tag for tag, place in COMPUTED.items() if place <= level)
        for found in empty.find(Query(level, {}, tags)):
            assert found.keys() == tags
            assert all(found.values())


# -- what is asked may be long


@pytest.mark.parametrize(
    ("keyword", "key"),
    [
        ("PatientID", "P" * 64_000),
        ("PatientID", "\\".join(map(str, range(12_000)))),
        ("PatientName", "\\".join(f"N{number}" for number in range(2_000))),
        ("PatientName", "*" * 500 + "N"),
        ("StudyInstanceUID", "\\".join(f"1.2.{number}" for number in range(6_000))),
        ("StudyDescription", "*a" * 500),
        ("ImageComments", "x" * 64_000),
        ("ModalitiesInStudy", "\\".join(f"M{number}" for number in range(8_000))),
        ("AccessionNumber", "\\".join(f"A{number}" for number in range(8_000))),
        *((keyword, key) for keyword in ("PatientID", "PatientName", "ImageComments") for key in ("A\0B", "*A\0B")),
    ],
)
@pytest.mark.parametrize("multiple", [False, True])
def test_long_keys_are_asked_all_the_same(index, keyword, key, multiple):
    found = find(index, Level.IMAGE, ["SOPInstanceUID"], Matching(multiple_values=multiple), **{keyword: key})
    assert len(found) in (0, 1)


def test_the_uids_of_a_list_are_found_among_thousands(index):
    uids = "\\".join(f"1.2.3.{number}" for number in range(5_000))
    assert len(find(index, Level.STUDY, ["StudyInstanceUID"], StudyInstanceUID=uids)) == len(TEXTS)


def test_a_name_is_found_beyond_what_is_compared_of_it(empty):
    put(empty, [arrival(empty, 1, PatientName="X" * 400 + "^LAST")])
    for key in ("X*", "*LAST", "^last", "X" * 400):
        assert find(empty, Level.PATIENT, ["PatientID"], PatientName=key) == [("P1",)], key
    assert find(empty, Level.PATIENT, ["PatientID"], PatientName="X" * 399) == []


def test_names_that_sound_alike_are_found_beyond_what_is_compared_of_them(empty):
    words = [a + b for a, b in itertools.product("bcdfg", "aeiou")] * 3 + ["bb", "cd", "fg", "hm", "Meyer"]
    several = "^".join(dict.fromkeys(f"{one}{other}" for one, other in zip(words, "bdlmr" * 20, strict=False)))
    put(
        empty,
        [arrival(empty, 1, PatientName=f"{several}^山 田 太 郎 {' '.join(map(chr, range(0x4E00, 0x4E40)))} Meyer")],
    )
    assert find(empty, Level.PATIENT, ["PatientID"], Matching(fuzzy_names=True), PatientName="Meier") == [("P1",)]


def test_a_time_whose_date_is_not_kept_is_a_moment_too(index):
    """Only its time was added by configuration, and a time zone was negotiated."""
    date, time = tag_of("AdmittingDate"), tag_of("AdmittingTime")
    moment = Apart(date, time, None, parse(time, "TM", "00-01"), 60)
    assert list(index.find(Query(Level.STUDY, {}, frozenset(), (moment,)))) == []


# -- holdings


def test_a_patient_whose_id_has_a_backslash_is_moved_by_it_as_a_whole(empty):
    put(empty, [arrival(empty, 1, PatientID="A\\B"), arrival(empty, 2, PatientID="A\\C", StudyInstanceUID="1.9")])
    (held,) = empty.holdings(Level.PATIENT, {tag_of("PatientID"): ["A\\B"]})
    assert held.study_instance_uid == "1.2.3"
    assert empty.holdings(Level.PATIENT, {tag_of("PatientID"): ["\\"]}) == []
    assert find(empty, Level.PATIENT, ["PatientID"], PatientID="A") == [("A\\B",), ("A\\C",)]
    assert find(empty, Level.PATIENT, ["PatientID"], PatientID="C") == [("A\\C",)]


# -- added attributes


@pytest.mark.parametrize(
    ("keyword", "level"), [(keyword, level) for level, (keyword, *_) in ADDED.items()], ids=lambda value: str(value)
)
def test_an_added_attribute_is_looked_for_in_an_index(index, keyword, level):
    tag = tag_of(keyword)
    selection = Selection(Query(level, {tag: parse(tag, vr_of(tag), "A")}, frozenset((tag,))), index.keeping)
    database = index.database
    with database._writer.connect() as connection:
        compiled = selection.statement.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
        if database.is_sqlite:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", tuple(compiled.params.values()))
            shown = " ".join(row[3] for row in plan)
        else:
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            shown = " ".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {compiled}", compiled.params))
    assert f"_by_{tag:08x}" in shown
    assert find(index, level, [keyword], **{keyword: "100%"}) == [("100%",)]


def test_attributes_that_were_added_later_are_missing_until_all_is_made_anew(database_url):
    first = Index(database_url, Keeping())
    first.open()
    put(first, [arrival(first)])
    assert first.stale_attributes() == []
    first.close()
    second = Index(database_url, Keeping(ADDED))
    second.open()
    assert set(second.stale_attributes()) == {keyword for keywords in ADDED.values() for keyword in keywords}
    second.database.write(lambda connection: second.made_anew(connection, STORE))
    assert second.stale_attributes() == []
    second.close()
    for keeping, stale in ((Keeping(), []), (Keeping({Level.SERIES: ["FilterType"]}), ["FilterType"])):
        third = Index(database_url, keeping)
        third.open()
        assert third.stale_attributes() == stale, "what was not kept for a while is missing of what came then"
        third.close()


def test_of_a_new_index_nothing_is_missing(empty):
    assert empty.stale_attributes() == []
    put(empty, [arrival(empty)])
    assert empty.stale_attributes() == []


# -- while others write


def test_a_search_tells_what_was_held_when_it_began(empty):
    put(empty, [arrival(empty, number, StudyInstanceUID=f"1.2.3.{number}") for number in range(600)])
    unique = tag_of("StudyInstanceUID")
    search = empty.find(Query(Level.STUDY, {}, frozenset((unique,))))
    found = [next(search)[unique]]
    put(empty, [arrival(empty, number, StudyInstanceUID=f"1.2.3.{number}") for number in range(600, 700)])
    found += [one[unique] for one in search]
    assert len(found) == len(set(found)) == 600


def test_searches_go_on_while_instances_are_written(empty):
    failures = []

    def search():
        try:
            for _ in range(20):
                for patient, studies in find(empty, Level.PATIENT, ["PatientID", "NumberOfPatientRelatedStudies"]):
                    assert patient == "P1"
                    assert int(studies) > 0
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(60):
        put(empty, [arrival(empty, number, StudyInstanceUID=f"1.2.3.{number}")])
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not failures
    assert find(empty, Level.PATIENT, ["NumberOfPatientRelatedStudies"]) == [("60",)]
