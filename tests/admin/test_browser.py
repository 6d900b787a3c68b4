"""The status page in a real browser, at the sizes of a phone and a desk: what people see, and can do by keyboard."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from scpd.admin.facts import Part, StoreFacts

from .conftest import TOKEN, facts, live, refusal, server

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 20.0
DESK, PHONE = (1280, 900), (360, 740)
LONG = "W" * 300
LEAST_CONTRAST = 4.5

# Of each text that can be seen, its contrast with what is behind it (WCAG 2.2, 1.4.3).
CONTRASTS = """
const parse = (text) => {
  const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
  return [r, g, b, a];
};
const light = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map((v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour[3] === 1) return colour;
  }
  return [255, 255, 255, 1];
};
const found = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const element = walk.currentNode.parentElement;
  if (!walk.currentNode.data.trim() || !element.checkVisibility() || element.closest("svg, meter")) continue;
  const [one, other] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
  const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  found.push([contrast, element.tagName + " " + element.className, walk.currentNode.data.trim().slice(0, 40)]);
}
return found;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[webdriver.Chrome]:
    paths = shutil.which("chromium"), shutil.which("chromedriver")
    if not all(paths):
        pytest.skip("chromium or its driver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    profile = tmp_path_factory.mktemp("browser")
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-dev-shm-usage",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(paths[1]))
    yield driver
    driver.quit()


class Reader:
    """Somebody who looks at the page of a site."""

    def __init__(self, browser, site) -> None:
        self.browser = browser
        self.site = site

    def open(self, size=DESK, scheme="light", path="/") -> Reader:
        width, height = size
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
        self.browser.get(self.site.url + path)
        return self

    def run(self, script: str):
        return self.browser.execute_script(script)

    def find(self, name: str):
        return self.browser.find_element(By.ID, name)

    def wait_for(self, words: str) -> None:
        WebDriverWait(self.browser, PATIENCE, 0.05).until(lambda _: words in self.text())

    def text(self) -> str:
        return self.run("return document.body.innerText")

    def look(self, words: str) -> None:
        """Have the page look at once, as it does when it is seen again, and wait for ``words``."""
        self.run("document.dispatchEvent(new Event('visibilitychange'))")
        self.wait_for(words)

    def type(self, keys: str) -> None:
        self.browser.switch_to.active_element.send_keys(keys)

    def tab_to(self, name: str) -> None:
        """By the Tab key alone."""
        for _ in range(60):
            if self.run("return document.activeElement.id") == name:
                return
            self.type(Keys.TAB)
        raise AssertionError(f"nobody gets to {name} by keyboard")


@pytest.fixture
def reader(browser, site) -> Iterator[Reader]:
    one = Reader(browser, site())
    _of_now(one)
    browser.get_log("browser")
    browser.get_log("performance")
    yield one
    complaints = [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]
    asked = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    urls = {each["params"]["request"]["url"] for each in asked if each["method"] == "Network.requestWillBeSent"}
    browser.get("about:blank")
    assert complaints == []
    assert urls
    elsewhere = {url for url in urls if not url.startswith((one.site.url, "about:", "data:", "chrome"))}
    assert elsewhere == set(), "it asks somebody else"


def _of_now(reader: Reader) -> None:
    now = datetime.now().astimezone()
    crowd = tuple(live(n, peer=f"10.0.0.{n}:4711", calling=f"CT{n}", since=now) for n in range(1, 4))
    one = server(live=crowd, associations=3, refusals=(refusal(when=now),))
    reader.site.daemon.all = facts(started=now - timedelta(days=2), servers=(one,))


def _change(reader: Reader, **fields) -> None:
    daemon = reader.site.daemon
    daemon.all = daemon.all._replace(servers=(daemon.all.servers[0]._replace(**fields),))


def test_the_page_shows_the_facts(reader):
    text = reader.open().text()
    for fact in ("Ready", "10.0.0.1:4711", "CT1 → ARCHIVE", "alice", "nobody is called 'X' here", "/var/lib/scpd"):
        assert fact in text, fact
    assert reader.browser.title == "Ready · scpd"
    assert reader.run("return document.querySelectorAll('table tbody tr[id^=association-]').length") == 3


def test_what_changes_is_swapped_while_a_typed_token_the_focus_and_the_scroll_stay(reader):
    reader.open((1280, 500))
    field = reader.find("abort-token")
    field.send_keys("half-a-tok")
    reader.run("window.scrollTo(0, 300); window.row = document.getElementById('association-abc123-2')")
    reader.run("document.getElementById('configuration-text').open = true")
    before = reader.run("return window.scrollY")
    _change(reader, live=(live(2, peer="10.9.9.9:1", messages=777), live(5, calling="NEW")), associations=2)
    reader.wait_for("NEW → ARCHIVE")
    assert "777" in reader.text()
    assert "10.0.0.1:4711" not in reader.text()
    assert field.get_attribute("value") == "half-a-tok"
    assert reader.run("return document.activeElement.id") == "abort-token"
    assert reader.run("return window.scrollY") == before
    assert reader.run("return window.row === document.getElementById('association-abc123-2')"), "a row is kept"
    assert reader.run("return document.getElementById('configuration-text').open")
    field.send_keys("en")
    assert field.get_attribute("value") == "half-a-token"


def test_the_focus_stays_on_a_button_whose_row_stays(reader):
    reader.open()
    reader.run("document.getElementById('abort-abc123-3').focus()")
    _change(reader, live=(live(3, messages=4242),), associations=1)
    reader.look("4,242")
    assert reader.run("return document.activeElement.id") == "abort-abc123-3"


def test_what_a_reader_marked_stays_marked(reader):
    reader.open()
    reader.run("getSelection().selectAllChildren(document.querySelector('#association-abc123-2 bdi'))")
    _change(reader, turned_away=987_654)
    reader.look("987,654")
    assert reader.run("return String(getSelection())") == "10.0.0.2:4711"


def test_a_part_that_is_not_ready_any_more_is_told_where_it_is_heard(reader):
    reader.open()
    reader.site.daemon.parts = (Part("storage", False, "the disk is full"),)
    reader.look("the disk is full")
    assert reader.find("state").get_attribute("role") == "status"
    assert reader.find("state").text == "Not ready"
    assert reader.browser.title == "Not ready · scpd"


def test_it_says_when_nobody_answers_any_more(browser, site):
    one = Reader(browser, site()).open()
    one.site.endpoint.close()
    one.look("these numbers are old")
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get_log("performance")


def test_it_asks_no_more_while_nobody_sees_it(reader):
    reader.open()
    reader.run(
        "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    reader.run("window.asked = 0; const real = window.fetch; window.fetch = (...x) => (window.asked++, real(...x))")
    hidden = "const done = arguments[0]; setTimeout(() => done(window.asked), 2600)"
    assert reader.browser.execute_async_script(hidden) == 0
    reader.run(
        "Object.defineProperty(document, 'hidden', {value: false});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    WebDriverWait(reader.browser, PATIENCE, 0.05).until(lambda _: reader.run("return window.asked") > 0)


def test_an_association_is_aborted_by_keyboard_alone(reader):
    reader.open()
    reader.tab_to("abort-token")
    reader.type(TOKEN)
    reader.type(Keys.ENTER)
    assert reader.site.daemon.aborted == [], "Enter in the field aborts nobody"
    reader.tab_to("abort-abc123-2")
    reader.type(Keys.ENTER)
    reader.wait_for("The association was aborted.")
    assert reader.site.daemon.aborted == ["abc123-2"]


def test_a_wrong_token_is_told_on_the_page_which_goes_on(browser, site):
    one = Reader(browser, site()).open()
    one.find("abort-token").send_keys("wrong")
    one.find("abort-abc123-1").click()
    one.wait_for("This is not the token")
    one.site.daemon.all = facts(servers=(server(live=(live(calling="LATER"),)),))
    one.look("LATER → ARCHIVE")
    assert "This is not the token" in one.text()
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get_log("performance")


@pytest.mark.parametrize("with_scripts", [True, False])
def test_scpd_is_stopped_after_a_confirmation_without_scripts_too(reader, with_scripts):
    reader.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not with_scripts})
    try:
        reader.open()
        reader.browser.find_element(By.CSS_SELECTOR, "#drain summary").click()
        reader.find("drain-token").send_keys(TOKEN)
        button = reader.browser.find_element(By.CSS_SELECTOR, "#drain button")
        button.click()
        assert not reader.site.daemon.drained, "the box is not ticked"
        reader.find("drain-confirm").click()
        button.click()
        WebDriverWait(reader.browser, PATIENCE, 0.05).until(lambda _: reader.site.daemon.drained)
        WebDriverWait(reader.browser, PATIENCE, 0.05).until(lambda _: reader.browser.find_elements(By.ID, "notice"))
        assert "takes nothing new" in reader.find("notice").text
    finally:
        reader.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def _overfill(reader: Reader) -> None:
    crowd = (live(1, peer=f"[{'2001:db8:' * 6}1]:65535", calling=LONG, called=LONG, user=LONG, message=LONG),)
    refused = (refusal(why=LONG, where=f"/{LONG}:7", key=LONG, calling=LONG, rejection=LONG),)
    daemon = reader.site.daemon
    one = server(name=LONG, ae_title=LONG, address=LONG, tls=LONG, live=crowd, refusals=refused)
    store = StoreFacts(f"/{LONG}", 100, 3, 5, 1)
    daemon.all = daemon.all._replace(servers=(one, server(live=())), stores=(store,), configuration=f"a: {LONG}\n" * 50)
    daemon.parts = (Part(LONG, False, LONG),)


@pytest.mark.parametrize("filled", ["usual", "overfull"])
@pytest.mark.parametrize("size", [PHONE, (768, 900), DESK], ids=["phone", "tablet", "desk"])
def test_the_page_never_scrolls_sideways(reader, size, filled):
    if filled == "overfull":
        _overfill(reader)
    reader.open(size)
    reader.run("document.querySelectorAll('details').forEach((one) => one.open = true)")
    assert reader.run("return document.documentElement.scrollWidth") == size[0]
    beyond = (
        "return [...document.querySelectorAll('body *')].filter((one) => one.checkVisibility() && !one.closest('pre, .aside, thead')"
        " && one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 80))"
    )
    assert reader.run(beyond) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_every_text_has_contrast(reader, scheme, size):
    reader.site.daemon.parts = (Part("a", False, "why"), Part("b", True, "why"))
    reader.open(size, scheme, "/?said=unconfirmed")
    reader.run("document.querySelectorAll('details').forEach((one) => one.open = true)")
    found = reader.run(CONTRASTS)
    assert len(found) > 80
    assert [each for each in found if each[0] < LEAST_CONTRAST] == []
    ground = reader.run("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(", "))) < 200) == (scheme == "dark")


def test_the_focus_is_seen_wherever_it_is(reader):
    reader.open()
    seen = []
    reader.type(Keys.TAB)
    while reader.run("return document.activeElement !== document.body"):
        outline = "const it = getComputedStyle(document.activeElement); return [it.outlineStyle, it.outlineWidth]"
        seen.append(reader.run("return document.activeElement.outerHTML.slice(0, 90)"))
        assert reader.run(outline) == ["solid", "3px"], seen
        reader.type(Keys.TAB)
    assert len(seen) == len(set(seen)) > 10
    assert "skip" in seen[0]
