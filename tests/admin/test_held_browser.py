"""Looking through what a real daemon holds, in a real browser: what people see, and can do by keyboard."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
import pytest
from pydicom.data import get_testdata_file
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from .conftest import TOKEN
from .shelf import needs_numpy
from .test_browser import CONTRASTS, DESK, LEAST_CONTRAST, PATIENCE, PHONE, Reader, browser

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["browser"]  # a fixture
SENT = ("CT_small.dcm", "MR_small.dcm", "SC_rgb_rle_2frame.dcm", "test-SR.dcm", "examples_palette.dcm")


class Running:
    """A daemon with an index; the site that a reader looks at."""

    def __init__(self, daemon) -> None:
        self.daemon = daemon
        line = daemon.wait_for_log(lambda line: line["event"] == "admin endpoint")
        self.url = f"http://{line['address']}"


@pytest.fixture(scope="module")
def running(shared_daemon, tmp_path_factory) -> Running:
    trail = tmp_path_factory.mktemp("audit") / "audit.xml"
    one = shared_daemon(
        admin={"bind": "127.0.0.1:0", "token": TOKEN},
        index={},
        audit={"destinations": [{"kind": "file", "path": str(trail)}], "spool": str(trail.with_name("spool"))},
    )
    files = [get_testdata_file(name) for name in SENT]
    command = [
        sys.executable,
        "-m",
        "scpd",
        "send",
        "--called",
        "SCPD",
        f"127.0.0.1:{one.port}",
        *files,
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    made = Running(one)
    made.trail = trail
    return made


@pytest.fixture
def reader(browser, running):
    """Somebody who is not signed in; at the end the browser has complained of nothing and asked nobody else."""
    browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get_log("performance")
    yield Reader(browser, running)
    complaints = [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]
    asked = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    urls = {each["params"]["request"]["url"] for each in asked if each["method"] == "Network.requestWillBeSent"}
    browser.get("about:blank")
    browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
    # The way in is a 401, which the browser tells.
    assert [line for line in complaints if "401 (Unauthorized)" not in line["message"]] == []
    assert urls
    assert {url for url in urls if not url.startswith((running.url, "about:", "data:", "chrome"))} == set()


def sign_in(reader: Reader, path: str = "/held", **how) -> None:
    reader.open(path=path, **how)
    with leaving(reader):
        reader.find("token").send_keys(TOKEN, Keys.ENTER)
    assert "Sign out" in reader.text()


def click(reader: Reader, words: str) -> None:
    reader.browser.find_element(By.PARTIAL_LINK_TEXT, words).click()


@contextmanager
def leaving(reader: Reader) -> Iterator[None]:
    """Another page has come, whole, once what is done within has led there."""
    reader.run("window.isFormer = true")
    yield
    arrived = "return !window.isFormer && document.readyState === 'complete'"
    WebDriverWait(reader.browser, PATIENCE, 0.05).until(lambda _: reader.run(arrived))


def to_instance(reader: Reader, name: str) -> None:
    """By links, from the search."""
    dataset = pydicom.dcmread(get_testdata_file(name))
    reader.find("find-id").send_keys(str(dataset.PatientID))
    with leaving(reader):
        reader.find("find-modality").send_keys(dataset.Modality, Keys.ENTER)
    for table in ("found", "series", "instances"):
        with leaving(reader):
            reader.browser.find_element(By.CSS_SELECTOR, f"#{table} tbody a").click()
    assert "Transfer syntax" in reader.text()


def image(reader: Reader) -> dict:
    """What the browser made of the picture, once it is there."""
    script = (
        "const one = document.querySelector('figure img'); return one && {done: one.complete, width: one.naturalWidth}"
    )
    WebDriverWait(reader.browser, PATIENCE, 0.05).until(lambda _: (reader.run(script) or {}).get("done"))
    return reader.run(script)


@needs_numpy
def test_somebody_signs_in_searches_and_sees_a_picture(reader):
    reader.open()
    click(reader, "Patients and studies")
    reader.wait_for("Sign in")
    assert "CompressedSamples" not in reader.text()
    reader.find("token").send_keys(TOKEN, Keys.ENTER)
    reader.wait_for("Latest studies")
    assert reader.run("return document.querySelectorAll('#found tbody tr').length") == len(SENT)
    to_instance(reader, "CT_small.dcm")
    assert image(reader)["width"] == 128
    assert "CompressedSamples^CT1" in reader.text()
    click(reader, "Study")
    reader.wait_for("Study Instance UID")
    reader.browser.find_element(By.CSS_SELECTOR, "header button").click()
    reader.wait_for("Sign in")
    reader.open(path="/held/study?study=1")
    assert "Sign in" in reader.text()


@needs_numpy
@pytest.mark.parametrize("with_scripts", [True, False])
def test_frames_are_turned_without_scripts_too(reader, with_scripts):
    sign_in(reader)
    reader.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not with_scripts})
    try:
        to_instance(reader, "SC_rgb_rle_2frame.dcm")
        assert image(reader)["width"] == 100
        click(reader, "Next frame")
        WebDriverWait(reader.browser, PATIENCE, 0.05).until(lambda one: "frame=2" in one.current_url)
        assert image(reader)["width"] == 100
        assert reader.find("frame").get_attribute("value") == "2"
    finally:
        reader.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_what_is_no_image_has_a_sentence_in_place_of_a_picture(reader):
    sign_in(reader)
    to_instance(reader, "test-SR.dcm")
    assert "There is no picture: it is no image." in reader.text()
    assert "> (0008,0100)" in reader.text()


def test_a_wrong_token_is_told_on_the_page(reader):
    reader.open(path="/held")
    reader.find("token").send_keys("wrong", Keys.ENTER)
    reader.wait_for("This is not the token")
    reader.find("token").send_keys(TOKEN, Keys.ENTER)
    reader.wait_for("Latest studies")


def test_a_script_of_the_page_cannot_read_the_cookie(reader):
    sign_in(reader)
    assert reader.run("return document.cookie") == ""
    (cookie,) = reader.browser.get_cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/held")


def test_a_look_stands_in_the_audit_trail_with_the_study(reader, running):
    sign_in(reader)
    to_instance(reader, "MR_small.dcm")
    dataset = pydicom.dcmread(get_testdata_file("MR_small.dcm"))
    lines = [line for line in Path(running.trail).read_text().splitlines() if "DICOM Instances Accessed" in line]
    (line,) = [line for line in lines if dataset.StudyInstanceUID in line]
    assert 'EventActionCode="R"' in line
    assert 'NetworkAccessPointID="127.0.0.1"' in line
    assert dataset.PatientID in line


def test_a_study_is_found_and_opened_by_keyboard_alone(reader):
    reader.open(path="/held")
    reader.tab_to("token")
    reader.type(TOKEN)
    reader.type(Keys.ENTER)
    reader.wait_for("Latest studies")
    reader.tab_to("find-name")
    reader.type("compressed*ct1")
    with leaving(reader):
        reader.type(Keys.ENTER)
    assert "CompressedSamples, CT1" in reader.text()
    for _ in range(60):
        if "/held/study" in (reader.run("return document.activeElement.href") or ""):
            break
        reader.type(Keys.TAB)
    reader.type(Keys.ENTER)
    reader.wait_for("Study Instance UID")


def _pages(reader: Reader) -> list[str]:
    sign_in(reader)
    pages = ["/held", "/held?id=none&from=2026-02-02&to=2026-02-01"]
    for name in ("CT_small.dcm", "SC_rgb_rle_2frame.dcm"):
        reader.open(path="/held")
        to_instance(reader, name)
        here = reader.browser.current_url.removeprefix(reader.site.url)
        query = here.partition("?")[2]
        pages += [here, f"/held/series?{query}", f"/held/study?{query}"]
    return pages


@pytest.mark.parametrize("size", [PHONE, (768, 900), DESK], ids=["phone", "tablet", "desk"])
def test_no_page_scrolls_sideways(reader, size):
    for path in _pages(reader):
        reader.open(size, path=path)
        assert reader.run("return document.documentElement.scrollWidth") == size[0], path
        beyond = (
            "return [...document.querySelectorAll('body *')].filter((one) => one.checkVisibility()"
            " && !one.closest('pre, .aside, thead') && one.getBoundingClientRect().right > innerWidth + 1)"
            ".map((one) => one.outerHTML.slice(0, 80))"
        )
        assert reader.run(beyond) == [], path
    reader.browser.get_log("browser")  # of the one that is a 400


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(reader, scheme):
    for path in [*_pages(reader), "/"]:
        reader.open(DESK, scheme, path)
        found = reader.run(CONTRASTS)
        assert len(found) > 10
        assert [each for each in found if each[0] < LEAST_CONTRAST] == [], path
    reader.browser.get_log("browser")
