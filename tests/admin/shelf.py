"""What is held, for the pages that show it: an archive in memory, and a visitor who signs in and follows links."""

from __future__ import annotations

import html
import importlib.util
import re
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
from components.held import Held as Rows

from scpd.admin.facts import Holding
from scpd.index.attributes import UNIQUE_KEYS, Level, tag_of
from scpd.index.query import Held

from .conftest import TOKEN

if TYPE_CHECKING:
    from .conftest import Answer, Site

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
needs_numpy = pytest.mark.skipif(importlib.util.find_spec("numpy") is None, reason="numpy is not installed")


class Shelf(Rows):
    """Instances, each a mapping by keyword; ``paths`` are their files by SOP Instance UID."""

    def __init__(self, *instances, paths=None) -> None:
        super().__init__(*instances)
        self.paths = paths or {}
        self.wrong = ""

    def trouble(self) -> str:
        return self.wrong

    def holdings(self, level, keys):
        if self.failure:
            raise self.failure
        found = [row for row in self.rows if all(row.get(tag) in values for tag, values in keys.items())]
        return [self._held(row) for row in found]

    def _held(self, row) -> Held:
        study, series, instance = (row.get(UNIQUE_KEYS[one], "") for one in list(Level)[1:])
        sop_class = row.get(tag_of("SOPClassUID"), CT)
        return Held(sop_class, instance, EXPLICIT, self.paths.get(instance, "/nowhere"), 1234, "", study, series)


def one_of(study="1.2", series="1.2.1", instance="1.2.1.1", **more):
    usual = {
        "PatientName": "DOE^JANE",
        "PatientID": "P-1",
        "StudyInstanceUID": study,
        "StudyDate": "20260301",
        "StudyTime": "081500",
        "AccessionNumber": "A-1",
        "StudyDescription": "CT Thorax",
        "SeriesInstanceUID": series,
        "SeriesNumber": "1",
        "Modality": "CT",
        "SeriesDescription": "axial",
        "SOPInstanceUID": instance,
        "SOPClassUID": CT,
        "InstanceNumber": "1",
        "Rows": "512",
        "Columns": "256",
    }
    return {**usual, **more}


def holding(*instances, name="archive", servers=("archive",), **settings) -> Holding:
    return Holding(name, servers, Shelf(*(instances or (one_of(),)), **settings))


class Visitor:
    """Somebody with a browser that keeps the cookie."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.cookie = ""

    def sign_in(self, path: str = "/held") -> Answer:
        answer = self.site.submit(path, token=TOKEN)
        self.cookie = answer.headers.get("Set-Cookie", "").partition(";")[0]
        return answer

    def get(self, path: str, **fields: object) -> Answer:
        query = f"?{urlencode(fields)}" if fields else ""
        return self.site.get(path + query, Cookie=f"other=1; {self.cookie}")

    def follow(self, answer: Answer) -> list[str]:
        """The addresses of all links and pictures of a page."""
        return [html.unescape(found) for found in re.findall(r'(?:href|src)="(/[^"]*)"', answer.body)]
