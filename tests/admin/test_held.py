"""Looking through what is held, over a real endpoint: who may, what is found, and what is shown of a file."""

from __future__ import annotations

import io
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from scpd.admin.app import App
from scpd.admin.gate import Gate
from scpd.admin.held import pages
from scpd.admin.held import search as searching
from scpd.admin.held.search import Misunderstood, Place, search, understood
from scpd.admin.held.sessions import LONGEST, MOST, QUIET, Sessions
from scpd.admin.history import History
from scpd.admin.hosts import Hosts
from scpd.admin.inquiry import Inquiry
from scpd.errors import IndexUnavailable
from scpd.index.attributes import STUDY_INSTANCE_UID

from .conftest import PATIENCE, TOKEN, Told
from .shelf import Shelf, Visitor, holding, needs_numpy, one_of
from .test_page import HOSTILE, Tree

STUDY = {"study": "1.2"}
SERIES = {**STUDY, "series": "1.2.1"}
INSTANCE = {**SERIES, "instance": "1.2.1.1"}
PAGES = {
    "/held": {},
    "/held/study": STUDY,
    "/held/series": SERIES,
    "/held/instance": INSTANCE,
    "/held/picture.png": INSTANCE,
}
every_page = pytest.mark.parametrize(("path", "fields"), PAGES.items(), ids=PAGES)


@pytest.fixture
def visitor(site):
    """Somebody who has signed in; arguments are instances that are held."""

    def come(*instances, **settings) -> Visitor:
        one = Visitor(site())
        one.site.daemon.held = (holding(*instances, **settings),)
        assert one.sign_in().status == 303
        return one

    return come


# Who may


@every_page
def test_without_a_token_configured_nobody_may_look_and_the_page_says_how(site, path, fields):
    one = Visitor(site(token=None))
    one.site.daemon.held = (holding(),)
    for answer in (
        one.get(path, **fields),
        one.site.submit(path, token=""),
        one.site.get(path, Authorization="Bearer x"),
    ):
        assert answer.status == 403
        assert "write admin.token" in answer.body
        assert "DOE" not in answer.body


@every_page
def test_who_has_not_signed_in_is_asked_to_and_no_index_is_asked(site, path, fields):
    one = Visitor(site())
    one.site.daemon.held = (holding(),)
    for cookie in ("", "scpd_held=", "scpd_held=guess", f"scpd_held={TOKEN}"):
        one.cookie = cookie
        answer = one.get(path, **fields)
        assert answer.status == 401
        assert answer.headers["Www-Authenticate"].startswith("Bearer")
        assert ('name="token"' in answer.body) == (path != "/held/picture.png")
    assert one.site.daemon.held[0].archive.queries == []
    assert one.site.daemon.looks == []


def test_the_cookie_is_for_this_alone_and_leads_back_to_what_was_asked_for(site):
    one = site()
    answer = one.submit("/held/study?study=1.2&server=%22%0d%0aX", token=TOKEN)
    assert answer.status == 303
    assert answer.headers["Location"] == "/held/study?study=1.2&server=%22%0D%0AX"
    parts = answer.headers["Set-Cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/held"} < set(parts)
    assert "Secure" not in parts
    assert len(parts[0]) > len("scpd_held=") + 40
    assert one.submit("/held/nowhere", token=TOKEN).headers["Location"] == "/held"
    form = {"Content_Type": "application/x-www-form-urlencoded", "Host": "localhost"}
    answer = one.ask("POST", "/held", f"token={TOKEN}", Origin="https://localhost", **form)
    assert answer.headers["Set-Cookie"].endswith("; Secure")


def test_a_wrong_token_is_told_and_who_guesses_has_to_wait_but_not_who_is_in(visitor):
    one = visitor()
    for number in range(5):
        answer = one.site.submit("/held", token=f"guess-{number}")
        assert answer.status == 401
        assert "This is not the token" in answer.body
        assert "Set-Cookie" not in answer.headers
    answer = one.site.submit("/held", token=TOKEN)
    assert answer.status == 429
    assert "wait" in answer.body
    assert int(answer.headers["Retry-After"]) > 0
    assert one.site.get("/held", Authorization=f"Bearer {TOKEN}").status == 429
    assert one.get("/held").status == 200


def test_a_script_looks_with_the_token_in_its_header(site):
    one = site()
    one.daemon.held = (holding(),)
    answer = one.get("/held/study?study=1.2", Authorization=f"Bearer {TOKEN}")
    assert answer.status == 200
    assert "DOE, JANE" in answer.body
    assert "Sign out" not in answer.body
    wrong = one.get("/held", Authorization=f"Bearer {TOKEN}x")
    assert wrong.status == 401
    assert wrong.headers["Content-Type"].startswith("text/plain")


def test_who_signs_out_is_out_and_so_is_everybody_with_another_token(visitor):
    one = visitor()
    assert "Sign out" in one.get("/held").body
    answer = one.site.ask("POST", "/held/sign-out", Cookie=one.cookie)
    assert answer.status == 303
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert one.get("/held").status == 401
    one.sign_in()
    assert one.get("/held").status == 200
    one.site.endpoint.admit("another-token-of-this")
    assert one.get("/held").status == 401


def test_a_form_of_another_page_neither_signs_in_nor_out(visitor):
    one = visitor()
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    for path in ("/held", "/held/sign-out"):
        answer = one.site.ask("POST", path, f"token={TOKEN}", Origin="http://evil.example", Cookie=one.cookie, **form)
        assert answer.status == 403
    assert one.get("/held").status == 200


@every_page
def test_nothing_of_it_is_kept_by_anybody(visitor, path, fields):
    headers = visitor().get(path, **fields).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS"])
def test_another_method_is_405(visitor, method):
    one = visitor()
    answer = one.site.ask(method, "/held", Cookie=one.cookie)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD, POST"


def test_a_session_ends_after_some_quiet_and_after_half_a_day():
    sessions = Sessions()
    quiet, busy = sessions.begin(0.0), sessions.begin(0.0)
    assert sessions.find(busy, QUIET)
    assert sessions.find(quiet, QUIET + 1) is None
    now = QUIET
    while now < LONGEST:
        assert sessions.find(busy, now)
        now += QUIET
    assert sessions.find(busy, LONGEST + 1) is None


def test_of_too_many_sessions_the_one_that_was_quiet_longest_ends():
    sessions = Sessions()
    ids = [sessions.begin(float(number)) for number in range(MOST)]
    assert sessions.find(ids[0], 100.0)
    sessions.begin(101.0)
    assert sessions.find(ids[1], 102.0) is None
    assert all(sessions.find(one, 102.0) for one in (ids[0], *ids[2:]))


def test_the_status_page_leads_there_where_there_is_an_index(site):
    one = site()
    assert 'href="/held"' not in one.get("/").body
    one.daemon.held = (holding(),)
    assert 'href="/held"' in one.get("/").body


# What is written down


def test_a_look_at_a_study_is_written_down_once_a_session_and_a_search_is_not(visitor):
    one = visitor(
        one_of(), one_of(series="1.2.2", instance="1.2.2.1", SOPClassUID="1.2.3"), one_of("1.3", "1.3.1", "1.3.1.1")
    )
    one.get("/held")
    assert one.site.daemon.looks == []
    for path, fields in PAGES.items():
        one.get(path, **fields)
    (look,) = one.site.daemon.looks
    assert look.address == "127.0.0.1"
    assert (look.patient.id, look.patient.name) == ("P-1", "DOE^JANE")
    assert (look.study.uid, look.study.accession) == ("1.2", "A-1")
    assert look.study.sop_classes == {"1.2.840.10008.5.1.4.1.1.2": 1, "1.2.3": 1}
    one.get("/held/study", study="1.3")
    one.sign_in()
    one.get("/held/study", study="1.2")
    assert [each.study.uid for each in one.site.daemon.looks] == ["1.2", "1.3", "1.2"]
    for _ in range(2):
        one.site.get("/held/study?study=1.2", Authorization=f"Bearer {TOKEN}")
    assert len(one.site.daemon.looks) == 5


# Searching


def _found(answer) -> list[str]:
    """The studies in the table of a page, by their UIDs."""
    links = [about["href"] for _, about, _ in Tree(answer.body).all("a") if "/held/study" in about.get("href", "")]
    return [parse_qs(urlsplit(link).query)["study"][0] for link in links]


@pytest.fixture
def searcher(visitor) -> Visitor:
    return visitor(
        one_of("1", "1.1", "1.1.1", StudyDate="20260103"),
        one_of(
            "2", "2.1", "2.1.1", StudyDate="20260101", PatientName="Müller^Jörg", PatientID="P-2", AccessionNumber="B7"
        ),
        one_of("2", "2.2", "2.2.1", StudyDate="20260101", PatientName="Müller^Jörg", PatientID="P-2", Modality="SR"),
        one_of("3", "3.1", "3.1.1", StudyDate="20251231", StudyDescription="MR knee left", Modality="MR"),
        one_of("4", "4.1", "4.1.1", StudyDate=""),
    )


@pytest.mark.parametrize(
    ("fields", "studies"),
    [
        ({}, "1234"),
        ({"id": "P-2"}, "2"),
        ({"id": "P*"}, "1234"),
        ({"id": " P-9 "}, ""),
        ({"name": "mul"}, "2"),
        ({"name": "doe^jane"}, "134"),
        ({"name": "*jane"}, "134"),
        ({"accession": "B7"}, "2"),
        ({"modality": "mr"}, "3"),
        ({"modality": "SR"}, "2"),
        ({"description": "KNEE"}, "3"),
        ({"from": "2026-01-01"}, "12"),
        ({"to": "2026-01-01"}, "23"),
        ({"from": "2025-12-31", "to": "2025-12-31"}, "3"),
        ({"from": "20260102", "description": "thorax", "id": "P-1", "after": ""}, "1"),
    ],
)
def test_a_search_finds_what_matches_the_latest_first(searcher, fields, studies):
    answer = searcher.get("/held", **fields)
    assert answer.status == 200
    assert _found(answer) == list(studies)
    for name, text in fields.items():
        assert name == "after" or f'value="{text.strip()}"' in answer.body or text.startswith(" ")


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"from": "yesterday"}, "a day is written as"),
        ({"from": "2026-02-30"}, "a day is written as"),
        ({"from": "2026-02-02", "to": "2026-02-01"}, "end before they begin"),
        ({"name": "x" * 65}, "64 characters"),
        ({"id": "a\x00b"}, "cannot be read"),
        ({"accession": "a*\\b"}, "wild cards"),
        ({"after": "nothing"}, "no such page"),
    ],
)
def test_what_cannot_be_looked_for_is_told_and_stays_in_its_field(searcher, fields, what):
    answer = searcher.get("/held", **fields)
    assert answer.status == 400
    assert what in answer.body
    assert 'role="alert"' in answer.body
    assert not _found(answer)


def test_many_studies_come_page_by_page(visitor, monkeypatch):
    monkeypatch.setattr(searching, "PAGE", 10)
    days = [date(2026, 1, 1) - timedelta(days=7 * number) for number in range(24)]
    one = visitor(
        *(one_of(f"1.{n}", f"1.{n}.1", f"1.{n}.1.1", StudyDate=f"{day:%Y%m%d}") for n, day in enumerate(days))
    )
    found, pages, address = [], 0, "/held?description=thorax"
    while address:
        answer = one.get(address)
        found += _found(answer)
        pages += 1
        address = next((link for link in one.follow(answer) if "after=" in link), "")
    assert found == [f"1.{number}" for number in range(len(days))]
    assert pages == 3


def _places(rows: list[tuple[str, str]], **fields: str) -> list[str]:
    shelf = Shelf(
        *(one_of(f"9.{n}", f"9.{n}.1", f"9.{n}.1.1", StudyDate=d, StudyTime=t) for n, (d, t) in enumerate(rows))
    )
    found, after = [], None
    while True:
        page = search(shelf, understood(fields), after, frozenset(), date(2026, 6, 15))
        found += [Place.of(one) for one in page.studies]
        after = page.after
        if after is None:
            return found


day_texts = st.dates().map(lambda day: f"{day:%Y%m%d}".rjust(8, "0")) | st.sampled_from(
    ["", "20260615", "20260616", "20991231", "00000000", "20261399", "2026.06.14", "nonsense", "2026", "٢٠٢٦٠١٠١"]
)


@settings(max_examples=30)
@given(st.lists(st.tuples(day_texts, st.sampled_from(["", "1015", "235959.5", "bad"])), max_size=12), st.integers(1, 7))
def test_page_by_page_every_study_comes_once_and_in_order(rows, size):
    before, searching.PAGE = searching.PAGE, size
    try:
        found = _places(rows)
    finally:
        searching.PAGE = before
    assert len(found) == len(rows)
    dated = [place for place in found if place.date]
    assert found == dated + [place for place in found if not place.date]
    assert dated == sorted(dated, reverse=True)


def test_a_search_that_takes_too_long_says_so(searcher, monkeypatch):
    monkeypatch.setattr(searching, "SECONDS", -1.0)
    answer = searcher.get("/held", description="thorax")
    assert answer.status == 200
    assert "no time to look at all studies" in answer.body


def test_a_query_that_is_not_finished_is_closed(searcher):
    archive = searcher.site.daemon.held[0].archive
    searcher.get("/held")
    searcher.get("/held/study", study="1")
    assert archive.closed == len(archive.queries) > 2


def test_what_is_looked_for_is_bounded_before_the_index_hears_of_it():
    with pytest.raises(Misunderstood):
        understood({"name": "*" * 1000})
    assert STUDY_INSTANCE_UID not in understood({"study": "1.2"}).conditions


# From a study to an instance


def test_every_page_is_reached_by_links_from_the_search(visitor):
    one = visitor(
        one_of(),
        one_of(instance="1.2.1.2", InstanceNumber="2"),
        one_of(series="1.2.2", instance="1.2.2.1", SeriesNumber="", InstanceNumber=""),
    )
    seen, waiting = {}, ["/held"]
    while waiting:
        address = waiting.pop()
        if address in seen or not address.startswith("/held"):
            continue
        seen[address] = answer = one.get(address)
        assert answer.status == 200, address
        found = Tree(answer.body)
        assert found.all("h1")[0][2].startswith("scpd")
        assert not found.all("script")
        waiting += one.follow(answer)
    assert sum("/held/instance" in address for address in seen) == 3
    assert sum("/held/series" in address for address in seen) == 2


@every_page
def test_every_page_is_whole_for_those_who_do_not_see_it(visitor, path, fields):
    answer = visitor().get(path, **fields)
    if path.endswith(".png"):
        assert answer.headers["Content-Type"].startswith("text/plain"), "there is no file, so a sentence"
        return
    found = Tree(answer.body)
    ids = [about["id"] for _, about, _ in found.found if "id" in about]
    assert len(ids) == len(set(ids))
    labelled = {about["for"] for _, about, _ in found.all("label")}
    fields_shown = [
        about for tag in ("input", "select") for _, about, _ in found.all(tag) if about.get("type") != "hidden"
    ]
    assert {about["id"] for about in fields_shown} == labelled
    assert all(text for _, _, text in found.all("button") + found.all("a") + found.all("caption"))
    assert len(found.all("main")) == len(found.all("h1")) == 1
    assert all("aria-labelledby" in about for _, about, _ in found.all("section"))
    assert "style" not in {name for _, about, _ in found.found for name in about}


def test_series_and_instances_are_in_the_order_of_their_numbers(visitor, monkeypatch):
    monkeypatch.setattr(pages, "INSTANCES", 10)
    rows = [one_of(series=f"1.2.{n}", instance=f"1.2.{n}.1", SeriesNumber=str(n)) for n in (10, 9, 2)]
    rows += [one_of(instance=f"1.2.1.{n}", InstanceNumber=str(n)) for n in range(25, 0, -1)]
    one = visitor(*rows)
    answer = one.get("/held/study", study="1.2")
    links = [parse_qs(urlsplit(link).query)["series"][0] for link in one.follow(answer) if "/held/series" in link]
    assert links == ["1.2.1", "1.2.2", "1.2.9", "1.2.10"]
    answer = one.get("/held/series", first=10, **SERIES)
    shown = [link for link in one.follow(answer) if "/held/instance" in link]
    assert [parse_qs(urlsplit(link).query)["instance"][0] for link in shown] == [f"1.2.1.{n}" for n in range(11, 21)]
    assert all(words in answer.body for words in ("first=0", "first=20", "25 instances"))
    answer = one.get("/held/instance", **{**INSTANCE, "instance": "1.2.1.25"})
    assert "Instance 25 of 25" in answer.body
    assert "1.2.1.24" in answer.body


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/held/study", {}),
        ("/held/study", {"study": "9"}),
        ("/held/study", {"study": "1.2", "server": "nobody"}),
        ("/held/series", {"study": "1.2"}),
        ("/held/series", {"study": "9", "series": "1.2.1"}),
        ("/held/instance", {**INSTANCE, "instance": "1.2\x00"}),
        ("/held/picture.png", {**INSTANCE, "instance": "9"}),
        ("/held/nowhere", {}),
        ("/held/", {}),
    ],
)
def test_what_is_not_held_is_404_with_a_sentence(visitor, path, fields):
    answer = visitor().get(path, **fields)
    assert answer.status == 404
    assert "." in answer.body


def test_what_two_servers_hold_is_told_apart(visitor):
    one = visitor()
    other = holding(one_of(PatientName="ROE^RICHARD"), name="b", servers=("b", "c"))
    one.site.daemon.held = (*one.site.daemon.held, other)
    assert "DOE, JANE" in one.get("/held").body
    answer = one.get("/held", server="c")
    assert "ROE, RICHARD" in answer.body
    found = Tree(answer.body)
    assert [text for _, _, text in found.all("option")] == ["archive", "b, c"]
    (study,) = (link for link in one.follow(answer) if "/held/study" in link)
    assert "ROE, RICHARD" in one.get(study).body


def test_without_an_index_the_page_says_how_to_have_one(site):
    one = Visitor(site())
    one.sign_in()
    answer = one.get("/held")
    assert answer.status == 404
    assert "write index: {}" in answer.body


def test_an_index_in_trouble_is_told_and_one_that_cannot_be_asked_is_a_sentence(visitor):
    one = visitor()
    archive = one.site.daemon.held[0].archive
    archive.wrong = "the disk is full"
    answer = one.get("/held")
    assert answer.status == 200
    assert "The index of archive is in trouble: the disk is full." in answer.body
    archive.failure = IndexUnavailable("it is being made anew")
    for path, fields in PAGES.items():
        answer = one.get(path, **fields)
        assert answer.status == 503
        assert "it is being made anew" in answer.body


def test_two_who_wait_for_an_index_keep_nobody_else_from_anything(visitor):
    one = visitor()
    archive = one.site.daemon.held[0].archive
    holds, asked = threading.Event(), threading.Semaphore(0)

    def find(query):
        asked.release()
        holds.wait(PATIENCE)
        yield from ()

    archive.find = find
    with ThreadPoolExecutor(2) as stuck:
        hanging = [stuck.submit(one.get, "/held") for _ in range(2)]
        try:
            assert all(asked.acquire(timeout=PATIENCE) for _ in hanging)
            answer = one.get("/held")
            assert answer.status == 503
            assert "Ask again" in answer.body
            assert one.site.get("/ready").status == 200
        finally:
            holds.set()
        assert [each.result(PATIENCE).status for each in hanging] == [200, 200]


def test_hostile_text_is_shown_and_is_no_markup(visitor):
    keywords = ("PatientName", "PatientID", "StudyDescription", "AccessionNumber", "Modality", "SeriesDescription")
    text = HOSTILE.replace("\ud800", "")
    one = visitor(one_of(text, text[:-1], text[:-2], SOPClassUID=text, **dict.fromkeys(keywords, text)))
    answer = one.get("/held")
    found = Tree(answer.body)
    assert "<script>alert(1)</script>" in found.text()
    assert not found.all("script")
    assert "\u202e" not in answer.body
    named = visitor(one_of("<b>&1", "<i>", "\"'>", **dict.fromkeys(keywords, "<script>")))
    for path in ("/held/study", "/held/series", "/held/instance"):
        answer = named.get(path, study="<b>&1", series="<i>", instance="\"'>")
        assert answer.status == 200
        assert "<script>" not in answer.body
        assert Tree(answer.body).all("bdi")


# Files


def test_the_attributes_of_a_file_stand_in_a_table(visitor):
    one = visitor(paths={"1.2.1.1": get_testdata_file("CT_small.dcm")})
    answer = one.get("/held/instance", **INSTANCE)
    assert answer.status == 200
    text = Tree(answer.body).text()
    for fact in (
        "(0010,0010)",
        "Patient's Name",
        "CompressedSamples^CT1",
        "(CT Image Storage)",
        "> (0008,2112)",
        "268 attr",
    ):
        assert fact in text or fact.startswith(">"), fact


@needs_numpy
def test_the_picture_of_an_instance_is_a_png(visitor):
    one = visitor(paths={"1.2.1.1": get_testdata_file("CT_small.dcm")})
    page = one.get("/held/instance", **INSTANCE)
    (image,) = Tree(page.body).all("img")
    assert (image[1]["width"], image[1]["height"]) == ("128", "128")
    assert image[1]["alt"]
    (address,) = (link for link in one.follow(page) if "picture.png" in link)
    connection = one.site.raw("GET", address, Cookie=one.cookie)
    assert connection.headers["Content-Type"] == "image/png"
    assert connection.headers["Cache-Control"] == "no-store"
    assert connection.body.startswith(b"\x89PNG\r\n\x1a\n")


@needs_numpy
def test_the_frames_of_an_instance_are_turned(visitor):
    one = visitor(paths={"1.2.1.1": get_testdata_file("SC_rgb_rle_2frame.dcm")})
    first = one.get("/held/instance", **INSTANCE)
    assert ">of 2<" in first.body
    assert "Next frame" in first.body
    second = one.get("/held/instance", frame=2, **INSTANCE)
    assert "Frame before" in second.body
    assert "Next frame" not in second.body
    beyond = one.get("/held/instance", frame=3, **INSTANCE)
    assert beyond.status == 200
    assert "there is no frame 3" in beyond.body


@pytest.mark.parametrize("path", ["/nowhere", "/dev/zero", "/", "/proc/self/mem"])
def test_a_file_that_is_none_is_a_sentence(visitor, path):
    one = visitor(paths={"1.2.1.1": path})
    answer = one.get("/held/instance", **INSTANCE)
    assert answer.status == 200
    assert "The file cannot be read:" in answer.body or "Not all of the file can be read:" in answer.body
    assert "There is no picture:" in answer.body
    answer = one.get("/held/picture.png", **INSTANCE)
    assert answer.status == 404
    assert answer.body.startswith("There is no picture:")


# Whatever is asked


def _environ(method, path, query, cookie, body=b"") -> dict:
    return {
        "REQUEST_METHOD": method,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "REMOTE_ADDR": "10.0.0.1",
        "HTTP_HOST": "localhost",
        "HTTP_COOKIE": cookie,
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "wsgi.input": io.BytesIO(body),
    }


def test_thousands_of_hostile_requests_and_never_a_500():
    """Random paths, queries and cookies, with a session and without."""
    daemon = Told()
    daemon.held = (holding(), holding(name="b", servers=("b",)))
    app = App(daemon, Inquiry(daemon), History(), Gate(TOKEN), Hosts(()))
    statuses: dict[str, int] = {}
    headers: list[tuple[str, str]] = []

    def start(status, told) -> None:
        statuses[status[:3]] = statuses.get(status[:3], 0) + 1
        headers[:] = told

    app(_environ("POST", "/held", "", "", f"token={TOKEN}".encode()), start)
    mine = dict(headers)["Set-Cookie"].partition(";")[0]
    dice = random.Random(6)
    pieces = [
        "1.2",
        "1.2.1",
        "%00",
        "%ff",
        "'",
        "--",
        "*",
        "?",
        "\\",
        "..",
        "/",
        "é",
        "%F0%9F%92%A9",
        "9" * 70,
        "<b>",
        "b",
    ]
    names = ["server", "study", "series", "instance", "frame", "first", "after", *searching.FIELDS, "%00", "[]"]

    def text() -> str:
        return "".join(dice.choice(pieces) for _ in range(dice.randrange(4)))

    for _ in range(4000):
        path = dice.choice([*PAGES, "/held/sign-out", "/held/", f"/held/{text()}", f"/{text()}"])
        given = [f"{name}={value}" for name, value in PAGES.get(path, {}).items() if dice.random() < 0.8]
        query = "&".join([*given, *(f"{dice.choice(names)}={text()}" for _ in range(dice.randrange(4)))])
        cookie = dice.choice([mine, mine, mine, f"scpd_held={text()}", text(), ";;=;", f"{mine}; scpd_held=x"])
        method = dice.choice(["GET", "GET", "GET", "HEAD", "POST", "PUT"])
        if path == "/held/sign-out" and method == "POST":
            continue
        body = b"".join(app(_environ(method, path, query, cookie, quote(text()).encode()), start))
        assert isinstance(body, bytes)
    assert statuses.keys() <= {"200", "303", "400", "401", "404", "405", "429"}, statuses
    assert statuses["200"] > 300
    assert statuses["404"] > 300
