"""The pages about what an index knows: the way in, a search, a study, a series."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.admin.figures import several
from scpd.admin.frame import Notice, section, token_field
from scpd.admin.held.outline import Around, Ref, facts, link, number_of, page, peer, trail
from scpd.admin.held.search import LONGEST, PAGE
from scpd.admin.held.telling import clock, day, line, person, uid, whole
from scpd.admin.markup import EMPTY, Markup, element, joined
from scpd.admin.table import Column, Row, none, nothing, table
from scpd.index.attributes import tag_of
from scpd.sop_class import uid_keyword

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scpd.admin.held.search import Found
    from scpd.index.attributes import Attributes

INSTANCES = 100
_LABELS = {
    "id": "Patient ID",
    "name": "Patient's name",
    "from": "Studies from",
    "to": "Studies to",
    "accession": "Accession number",
    "modality": "Modality",
    "description": "Description contains",
}
STUDY = frozenset(
    map(
        tag_of,
        (
            *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate"),
            *("StudyTime", "AccessionNumber", "StudyDescription", "StudyID", "ReferringPhysicianName"),
        ),
    )
)
LISTED = STUDY | set(map(tag_of, ("ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances")))
SERIES = frozenset(
    map(
        tag_of,
        (
            *("SeriesInstanceUID", "SeriesNumber", "Modality", "SeriesDescription", "BodyPartExamined"),
            *("SeriesDate", "SeriesTime", "NumberOfSeriesRelatedInstances", "StationName", "ProtocolName"),
        ),
    )
)
INSTANCE = frozenset(
    map(
        tag_of,
        (
            *("SOPInstanceUID", "SOPClassUID", "InstanceNumber", "Rows", "Columns", "NumberOfFrames"),
            *("ContentDate", "ContentTime"),
        ),
    )
)
"""What is to be told at each level, beside that of the levels above."""


def sign_in(notice: Notice | None) -> str:
    """For somebody who has to say the token; what was asked for comes after that."""
    form = element(
        "form",
        element("p", element("label", "Token, that of admin.token", for_="token"), token_field("token")),
        element("p", element("button", "Sign in")),
        method="post",
        class_="act",
    )
    about = element("p", "What is held names patients. It is shown to whoever has the token.")
    return page("Sign in", Around(can_sign_out=False, notice=notice), section("sign-in", "Sign in", about, form))


def message(title: str, text: str, around: Around) -> str:
    """A page with one sentence."""
    return page(title, around, section("message", title, element("p", text)))


def studies(
    ref: Ref, names: Sequence[Sequence[str]], fields: Mapping[str, str], found: Found | None, around: Around
) -> str:
    """The search, and what it has found; ``names`` are those of the servers, by what they hold."""
    shown = _results(ref, fields, found) if found else EMPTY
    return page("Patients and studies", around, section("search", "Search", _search(ref, names, fields)), shown)


def _search(ref: Ref, names: Sequence[Sequence[str]], fields: Mapping[str, str]) -> Markup:
    choice = EMPTY
    if len(names) > 1:
        options = (element("option", ", ".join(each), value=each[0], selected=each[0] == ref.server) for each in names)
        label = element("label", "Held by", for_="find-server")
        choice = element("p", label, element("select", *options, name="server", id="find-server"))
    hint = element("p", "A * stands for anything and a ? for one character, but in the description.", class_="none")
    asked = (_field(name, label, fields.get(name, "")) for name, label in _LABELS.items())
    button = element(
        "p", element("button", "Search"), " ", element("a", "Latest studies", href=Ref(ref.server).address())
    )
    return element("form", choice, *asked, button, hint, method="get", action="/held", class_="find", role="search")


def _field(name: str, label: str, value: str) -> Markup:
    kind = "date" if name in ("from", "to") else "search"
    field = element(
        "input", type=kind, name=name, id=f"find-{name}", value=value, maxlength=LONGEST, autocomplete="off"
    )
    return element("p", element("label", label, for_=f"find-{name}"), field)


def _results(ref: Ref, fields: Mapping[str, str], found: Found) -> Markup:
    late = "There was no time to look at all studies: give a patient ID, or days." if not found.is_whole else ""
    warning = element("p", late, class_="notice warn", role="status") if late else EMPTY
    if not found.studies:
        return section("found", "Studies", warning, nothing("None that matches."))
    columns = [
        Column("Patient", "long"),
        Column("Study", "long"),
        Column("Date", "short"),
        Column("Accession"),
        Column("Modalities"),
        Column("Series", "number"),
        Column("Instances", "number"),
    ]
    rows = [Row(_study_cells(ref, one)) for one in found.studies]
    more = EMPTY
    if found.after:
        again = ref.address(**{**fields, "after": str(found.after)})
        more = element("p", element("a", f"The next {PAGE}", href=again, rel="next"), class_="more")
    return section("found", "Studies", warning, table("Studies that match, the latest first", columns, rows), more)


def _study_cells(ref: Ref, one: Attributes) -> Sequence[object]:
    there = ref._replace(study=uid(one, "StudyInstanceUID"))
    return (
        joined(peer(person(one)), " ", element("small", peer(line(one, "PatientID")))),
        link(there, line(one, "StudyDescription") or "no description"),
        joined(day(one, "StudyDate"), " ", element("small", clock(one, "StudyTime"))),
        peer(line(one, "AccessionNumber")),
        peer(line(one, "ModalitiesInStudy").replace("\\", ", ")),
        whole(one, "NumberOfStudyRelatedSeries"),
        whole(one, "NumberOfStudyRelatedInstances"),
    )


def study(ref: Ref, one: Attributes, its_series: Sequence[Attributes], around: Around) -> str:
    """A study and its series."""
    columns = [
        Column("Series"),
        Column("Modality", "short"),
        Column("Description", "long"),
        Column("Body part"),
        Column("Date", "short"),
        Column("Instances", "number"),
    ]
    rows = [
        Row(
            (
                link(ref._replace(series=uid(each, "SeriesInstanceUID")), number_of("Series", each)),
                peer(line(each, "Modality")),
                peer(line(each, "SeriesDescription")),
                peer(line(each, "BodyPartExamined")),
                joined(day(each, "SeriesDate"), " ", element("small", clock(each, "SeriesTime"))),
                whole(each, "NumberOfSeriesRelatedInstances"),
            )
        )
        for each in its_series
    ]
    shown = table("Series of this study", columns, rows) if rows else nothing("There is none any more.")
    return page(
        "Study", around, trail(ref), section("study", "Study", _of_study(ref, one)), section("series", "Series", shown)
    )


def series(ref: Ref, one: Attributes, instances: Sequence[Attributes], first: int, around: Around) -> str:
    """A series and a page of its instances, from the ``first``, which is counted from 0."""
    columns = [
        Column("Instance"),
        Column("Kind", "long"),
        Column("Pixels", "short"),
        Column("Frames", "number"),
        Column("Time", "short"),
    ]
    rows = [Row(_instance_cells(ref, each)) for each in instances[first : first + INSTANCES]]
    shown = table("Instances of this series", columns, rows) if rows else nothing("There is none here.")
    pages = [
        element("a", words, href=ref.address(first=number))
        for words, number in (
            (f"The {INSTANCES} before", first - INSTANCES),
            (f"The next {INSTANCES}", first + INSTANCES),
        )
        if 0 <= number < len(instances)
    ]
    turn = element("p", *pages, class_="more") if pages else EMPTY
    count = element("p", several(len(instances), "instance"))
    return page(
        "Series",
        around,
        trail(ref),
        section("series", "Series", _of_series(one)),
        section("instances", "Instances", count, shown, turn),
    )


def _instance_cells(ref: Ref, one: Attributes) -> Sequence[object]:
    rows, columns = line(one, "Rows"), line(one, "Columns")
    return (
        link(ref._replace(instance=uid(one, "SOPInstanceUID")), number_of("Instance", one)),
        peer(uid_keyword(uid(one, "SOPClassUID"))),
        peer(f"{columns} \N{MULTIPLICATION SIGN} {rows}") if rows and columns else none("none"),
        whole(one, "NumberOfFrames"),
        clock(one, "ContentTime"),
    )


def _of_study(ref: Ref, one: Attributes) -> Markup:
    patient = line(one, "PatientID")
    its_studies = EMPTY
    if patient and len(patient) <= LONGEST:
        its_studies = element("a", "all studies", href=Ref(ref.server).address(id=patient))
    return facts(
        ("Patient", joined(peer(person(one)), " ", its_studies)),
        ("Patient ID", peer(patient)),
        ("Born", day(one, "PatientBirthDate")),
        ("Sex", peer(line(one, "PatientSex"))),
        ("Description", peer(line(one, "StudyDescription"))),
        ("Date", joined(day(one, "StudyDate"), " ", clock(one, "StudyTime"))),
        ("Accession number", peer(line(one, "AccessionNumber"))),
        ("Study ID", peer(line(one, "StudyID"))),
        ("Referring physician", peer(person(one, "ReferringPhysicianName"))),
        ("Study Instance UID", element("code", line(one, "StudyInstanceUID"))),
    )


def _of_series(one: Attributes) -> Markup:
    return facts(
        ("Patient", joined(peer(person(one)), " ", element("small", peer(line(one, "PatientID"))))),
        ("Study", peer(line(one, "StudyDescription"))),
        ("Series", number_of("Series", one)),
        ("Modality", peer(line(one, "Modality"))),
        ("Description", peer(line(one, "SeriesDescription"))),
        ("Protocol", peer(line(one, "ProtocolName"))),
        ("Station", peer(line(one, "StationName"))),
        ("Date", joined(day(one, "SeriesDate"), " ", clock(one, "SeriesTime"))),
        ("Series Instance UID", element("code", line(one, "SeriesInstanceUID"))),
    )
