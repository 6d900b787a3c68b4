"""The status page as it comes from the server: well-formed, whole, told in order, and nobody's text is markup."""

from __future__ import annotations

import re
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpd.admin import figures
from scpd.admin.facts import Part, QueueFacts, ReloadFacts, StoreFacts
from scpd.admin.history import Point
from scpd.admin.markup import Markup, element
from scpd.admin.page import NOTICES, Sight, page
from scpd.admin.plot import Line, plot
from scpd.admin.sections import MOST_LIVE

from .conftest import STARTED, counts, facts, live, refusal, server, tally

VOID = {"img", "input", "link", "meta"}
NOW = STARTED + timedelta(hours=5)
HOSTILE = "<script>alert(1)</script>\"'&\x00\u202e\ud800"


class Tree(HTMLParser):
    """Elements in the order they begin, as (tag, attributes, text within); strict about what is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[list] = []
        self._open: list[int] = []
        self.feed(text)
        self.close()
        assert not self._open, "something is not closed"

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute of {tag} stands twice"
        self.found.append([tag, dict(attrs), ""])
        if tag not in VOID:
            self._open.append(len(self.found) - 1)

    def handle_endtag(self, tag):
        assert self.found[self._open.pop()][0] == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        for place in self._open:
            self.found[place][2] += data

    def all(self, tag: str) -> list[list]:
        return [each for each in self.found if each[0] == tag]

    def text(self) -> str:
        return self.all("html")[0][2]


def sight(**fields) -> Sight:
    points = tuple(Point(float(ago), 1024.0 * ago, 10.0, 2.0, 3) for ago in range(600, 0, -5))
    usual = Sight(facts(), (Part("storage", True, ""),), points, {"abc123-1": 2048.0}, NOW, True)
    return usual._replace(**fields)


def tree(**fields) -> Tree:
    return Tree(page(sight(**fields)))


def nothing() -> Sight:
    bare = counts(associations={}, ended={}, rejected_contexts={}, tally=tally(), received=0, sent=0)
    idle = server(live=(), refusals=(), counts=bare, tls="", certificate_days=None, associations=0)
    return sight(
        facts=facts(servers=(idle,), queues=(), stores=(), reloads=ReloadFacts(), configuration=""),
        points=(),
        parts=(),
        rates={},
    )


def hostile() -> Sight:
    crowd = (live(peer=HOSTILE, calling=HOSTILE, called=HOSTILE, user=HOSTILE, message=HOSTILE),)
    refused = (refusal(peer=HOSTILE, calling=HOSTILE, why=HOSTILE, key=HOSTILE, where=HOSTILE, rejection=HOSTILE),)
    one = server(name=HOSTILE, ae_title=HOSTILE, address=HOSTILE, tls=HOSTILE, live=crowd, refusals=refused)
    return sight(
        facts=facts(
            version=HOSTILE,
            servers=(one, server(live=(live(2),))),
            stores=(StoreFacts(HOSTILE, 10, 5, 6, 1), StoreFacts(HOSTILE, -1, -1, 1, -1)),
            queues=(QueueFacts(HOSTILE, HOSTILE, 1, 1, 1.0, HOSTILE),),
            reloads=ReloadFacts(1, 1, STARTED, (HOSTILE,)),
            configuration=HOSTILE,
        ),
        parts=(Part(HOSTILE, False, HOSTILE),),
    )


SIGHTS = {
    "usual": sight(),
    "nothing": nothing(),
    "hostile": hostile(),
    "nobody may act": sight(can_act=False),
    "stopping": sight(facts=facts(is_stopping=True)),
    "a notice": sight(notice=NOTICES["unconfirmed"]),
    "many": sight(facts=facts(servers=(server(live=tuple(live(n) for n in range(MOST_LIVE + 5))),))),
}
every = pytest.mark.parametrize("one", SIGHTS.values(), ids=SIGHTS)


@every
def test_it_is_well_formed_and_every_id_is_one(one):
    found = Tree(page(one))
    ids = [about["id"] for _, about, _ in found.found if "id" in about]
    assert len(ids) == len(set(ids))
    for _, about, _ in found.found:
        named = [*about.get("aria-labelledby", "").split(), *filter(None, [about.get("for"), about.get("form")])]
        assert set(named) <= set(ids), about


@every
def test_headings_go_down_one_step_at_a_time(one):
    levels = [int(each[0][1]) for each in Tree(page(one)).found if re.fullmatch("h[1-6]", each[0])]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))


@every
def test_landmarks_language_and_title_are_there(one):
    found = Tree(page(one))
    assert found.all("html")[0][1]["lang"] == "en"
    assert [len(found.all(tag)) for tag in ("header", "main", "footer", "nav")] == [1] * 4
    assert found.all("title")[0][2].endswith("scpd")
    assert all("aria-labelledby" in about for _, about, _ in found.all("section"))


@every
def test_every_table_has_a_caption_and_every_heading_its_scope(one):
    found = Tree(page(one))
    assert len(found.all("caption")) == len(found.all("table"))
    assert all(text for _, _, text in found.all("caption"))
    assert {about.get("scope") for _, about, _ in found.all("th")} <= {"col", "row"}
    assert all(about.get("data-label") for _, about, _ in found.all("td"))


@every
def test_every_field_has_a_label_and_every_button_words(one):
    found = Tree(page(one))
    labelled = {about["for"] for _, about, _ in found.all("label")}
    assert {about["id"] for _, about, _ in found.all("input")} == labelled
    assert all(text for _, _, text in found.all("button"))


@every
def test_every_drawing_is_told_in_words(one):
    found = Tree(page(one))
    assert len(found.all("svg")) == 3
    assert all(about["role"] == "img" for _, about, _ in found.all("svg"))
    assert all(text for _, _, text in found.all("desc"))


@every
def test_there_is_no_style_and_no_script_in_it_and_nothing_from_elsewhere(one):
    found = Tree(page(one))
    assert not found.all("style")
    assert [about for _, about, _ in found.all("script")] == [{"src": "/status.js", "defer": None}]
    for _, about, _ in found.found:
        assert "style" not in about
        assert not [name for name in about if name.startswith("on")]
        for name in ("href", "src", "action", "formaction"):
            assert about.get(name, "/").startswith(("/", "#main"))


def test_hostile_text_is_shown_and_is_no_markup():
    found = Tree(page(hostile()))
    shown = "<script>alert(1)</script>\"'&\\x00\\u202e\\ud800"
    for heading in ("Peer", "Calling → called", "User", "Now", "Why", "Queue", "Last trouble"):
        assert any(
            shown in text
            for tag, about, text in found.found
            if tag in ("td", "th") and about.get("data-label") == heading
        ), heading
    assert "\x00" not in found.text()
    assert shown in found.all("pre")[0][2]
    page(hostile()).encode("utf-8")


@given(st.text(), st.text())
def test_no_text_becomes_markup(child, attribute):
    found = Tree(element("p", child, title=attribute))
    assert [each[0] for each in found.found] == ["p"]
    assert found.found[0][1]["title"].isprintable() or "\n" in found.found[0][1]["title"]


def test_what_is_not_ready_comes_first_and_says_why():
    found = tree(parts=(Part("a", True, ""), Part("b", False, "disk is full")))
    assert found.all("title")[0][2] == "Not ready · scpd"
    parts = [text for tag, _, text in found.found if tag == "li"][:2]
    assert parts == ["b Not readydisk is full", "a Ready"]
    assert "1 part is not ready." in found.text()


def test_what_is_ready_and_in_trouble_comes_before_what_is_well():
    """Hooks that fail keep nobody from storing, and are not as they should be."""
    found = tree(parts=(Part("a", True, ""), Part("hook x", True, "exit status 1", in_trouble=True)))
    assert found.all("title")[0][2].startswith("Ready")
    parts = [text for tag, _, text in found.found if tag == "li"][:2]
    assert parts == ["hook x Lookexit status 1", "a Ready"]
    assert "Associations are served. 1 part needs a look." in found.text()


def test_an_association_has_its_facts_and_its_button():
    found = tree()
    row = next(text for tag, about, text in found.found if about.get("id") == "association-abc123-1")
    for fact in ("10.0.0.7:4711", "CT1 → ARCHIVE", "alice", "08:00:00", "C-STORE", "12", "8.59 MiB", "2 KiB/s"):
        assert fact in row
    (button,) = [about for _, about, _ in found.all("button") if about.get("form")]
    assert button["formaction"] == "/associations/abc123-1/abort"
    assert button["aria-label"].startswith("Abort")


def test_without_a_token_there_is_nothing_to_press():
    found = tree(can_act=False)
    assert not found.all("button")
    assert not found.all("form")
    assert "write admin.token" in found.text()


def test_a_page_of_many_is_bounded_and_says_so():
    found = Tree(page(SIGHTS["many"]))
    rows = [about for _, about, _ in found.all("tr") if about.get("id", "").startswith("association-")]
    assert len(rows) == MOST_LIVE
    assert "5 more are not shown" in found.text()


def test_a_rejection_names_the_key_and_the_place_that_decide():
    text = tree().text()
    for fact in ("called AE title not recognized", "nobody is called 'X' here", "called_ae_title", "scpd.yaml:7"):
        assert fact in text


def test_storage_is_a_meter_with_words():
    (meter,) = tree().all("meter")
    assert meter[1]["value"] == str(600 * 1024**3)
    assert "400 GiB free of 0.98 TiB, 123,456 more files" in meter[2]
    short = sight(facts=facts(stores=(StoreFacts("/x", 100, 3, 5, 1),)))
    assert "storing is refused" in page(short)


@pytest.mark.parametrize(
    ("days", "words"),
    [(200, "good for 200 days"), (3, "good for 3 days: renew it"), (-1, "has expired"), (None, "TLS b")],
)
def test_a_certificate_says_when_to_renew_it(days, words):
    found = tree(facts=facts(servers=(server(certificate_days=days),)))
    assert words in found.text()


def test_the_numbers_of_the_plots_stand_in_a_table():
    found = tree()
    captions = [text for _, _, text in found.all("caption")]
    assert "What went through by minute, on average" in captions
    assert found.text().count("less than 1") == 1


@pytest.mark.parametrize(
    ("most", "labels"),
    [
        (0.0, ["1 B/s", "0.5 B/s", "0 B/s"]),
        (3.0e6, ["5 MiB/s", "2.5 MiB/s", "0 B/s"]),
        (1020.0, ["1 KiB/s", "512 B/s", "0 B/s"]),
    ],
)
def test_a_scale_ends_with_a_round_number(most, labels):
    found = Tree(plot("p", "P", [5.0, 0.0], [Line("x", "first", [0.0, most])], "B/s"))
    axis = next(place for place, each in enumerate(found.found) if each[1].get("class") == "y")
    assert [each[2] for each in found.found[axis + 1 : axis + 4]] == labels


def test_a_gap_is_no_line():
    ages = [100.0, 95.0, 50.0, 45.0]
    found = Tree(plot("p", "P", ages, [Line("x", "first", [1.0] * 4)], ""))
    assert len(found.all("polyline")) == 2


def test_a_point_is_where_its_time_and_value_are():
    found = Tree(plot("p", "P", [900.0, 450.0, 0.0][:1] + [895.0], [Line("x", "first", [0.0, 5.0])], ""))
    (line,) = found.all("polyline")
    assert line[1]["points"] == "0.0,100.0 3.3,0.0"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "0.98 KiB"), (1536, "1.5 KiB"), (5 * 1024**3, "5 GiB"), (2**60, "1,024 PiB")],
)
def test_sizes_have_few_digits(number, text):
    assert figures.size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (59.9, "59 s"), (61, "1 min 1 s"), (3700, "1 h 1 min"), (90000, "1 d 1 h")]
)
def test_durations_have_two_units(seconds, text):
    assert figures.duration(seconds) == text


def test_markup_is_only_what_was_made_here():
    assert element("p", Markup("<b>"), "<b>") == "<p><b>&lt;b&gt;</p>"
    assert element("input", disabled=True, hidden=None, value=0) == '<input disabled value="0">'
