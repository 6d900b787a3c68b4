"""Every example of the documentation for programs does what it says."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("library.md", "from-pynetdicom.md")


@pytest.mark.parametrize("page", PAGES)
def test_every_example_does_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failures, tried = doctest.testfile(str(DOCS / page), module_relative=False, encoding="utf-8")
    assert tried
    assert not failures
