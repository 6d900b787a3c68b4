"""Every example of the documentation does what it says, every link leads somewhere, and no command is forgotten."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from scpd.cli.main import COMMANDS
from scpd.config import load

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = ("library.md", "from-pynetdicom.md")
CONFIGURED = ("archive.md", "hand-over.md", "security.md")
ALL = sorted([*DOCS.glob("*.md"), *ROOT.glob("*.md")])


@pytest.mark.parametrize("page", PAGES)
def test_every_example_does_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failures, tried = doctest.testfile(str(DOCS / page), module_relative=False, encoding="utf-8")
    assert tried
    assert not failures


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", CONFIGURED)
def test_every_piece_of_a_configuration_is_one(page, tmp_path):
    """As a file of its own; what it names need not be there."""
    pieces = blocks(DOCS / page, "yaml")
    assert pieces
    (tmp_path / "secret").write_text("whatever")
    for piece in pieces:
        path = tmp_path / "scpd.yaml"
        path.write_text(re.sub(r"file:\S+", f"file:{tmp_path}/secret", piece))
        assert load(path, {}).servers


def anchors(page: Path) -> set[str]:
    """The places of a page, as GitHub names them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ALL, ids=lambda path: path.name)
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        name, _, place = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not place or place in anchors(target), link


def test_every_command_stands_in_the_operations():
    table = (DOCS / "operations.md").read_text().partition("## Commands")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `scpd (\w+)", table, re.MULTILINE))
    assert named == set(COMMANDS)


def test_the_pages_of_the_archive_stand_where_somebody_starts():
    assert "(docs/archive.md)" in (ROOT / "README.md").read_text()
    assert "(archive.md)" in (DOCS / "operations.md").read_text()


def test_the_rooms_stand_in_the_order_that_is_enforced():
    enforced = (ROOT / "tests" / "test_architecture.py").read_text()
    order = "".join(re.findall(r'^    "(.*)"$', enforced.partition("ORDER = (")[2].partition(")")[0], re.MULTILINE))
    assert f"`{order}`" in (DOCS / "architecture.md").read_text()
    for room in set(re.findall(r"\w+", order)):
        assert re.search(rf"^\| .*`{room}`.* \|", (DOCS / "architecture.md").read_text(), re.MULTILINE), room
