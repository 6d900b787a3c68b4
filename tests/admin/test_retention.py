"""What retention has done stands on the status page and in its facts, and only where there are rules."""

from __future__ import annotations

import json
from datetime import timedelta

from scpd.retention.keeper import RuleStanding, Standing

from .conftest import STARTED, facts
from .test_page import HOSTILE, tree

LAST = STARTED + timedelta(hours=4, minutes=30)
HELD_BACK = {"a hook has not succeeded yet": 1, "something of it came within the last hour": 1200}
RULES = (
    RuleStanding("older_than: 90d, calling: CT1", "scpd.yaml:7", 1234, 400_000, 5 << 30),
    RuleStanding("free_below: 100GiB", "scpd.yaml:9", 0, 0, 0),
)
ONE = Standing("/var/lib/scpd", RULES, HELD_BACK, LAST.timestamp(), "")


def section(*standings: Standing):
    page = tree(facts=facts(retention=standings))
    return page, next((one for one in page.all("section") if one[1]["id"] == "retention"), None)


def test_each_rule_has_a_row_with_what_it_has_deleted():
    page, found = section(ONE)
    rows = [one[2] for one in page.all("tr") if "older_than" in one[2] or "free_below" in one[2]]
    assert rows == ["older_than: 90d, calling: CT11,234400,0005 GiB", "free_below: 100GiB000"]
    assert "/var/lib/scpd" in found[2]
    assert "The last pass ended at 12:30:00." in found[2]
    assert "1 study: a hook has not succeeded yet" in found[2]
    assert "1,200 studies: something of it came within the last hour" in found[2]
    headings = [one[2] for one in page.all("h2")]
    assert headings.index("Queues") < headings.index("Retention") < headings.index("Reloads")


def test_without_rules_there_is_no_section():
    assert section()[1] is None


def test_before_the_first_pass_and_in_trouble_it_says_so():
    _, found = section(ONE._replace(held_back={}, last=None, trouble="the index has yet to catch up"))
    assert "No pass has ended yet." in found[2]
    assert "the index has yet to catch up" in found[2]
    assert "held back" not in found[2]


def test_two_stores_stand_one_below_the_other():
    page, found = section(ONE, ONE._replace(directory="/srv/other"))
    assert found[2].index("/var/lib/scpd") < found[2].index("/srv/other")
    names = [one[1]["id"] for one in page.found if "id" in one[1]]
    assert len(names) == len(set(names))


def test_what_stands_in_a_configuration_is_no_markup():
    rule = RULES[0]._replace(name=HOSTILE)
    page, found = section(ONE._replace(directory=HOSTILE, rules=(rule,), held_back={HOSTILE: 1}, trouble=HOSTILE))
    assert "<script>alert(1)" in found[2]
    assert len(page.all("script")) == 1  # the page's own


def test_scripts_get_every_fact(site):
    one = site()
    one.daemon.all = facts(retention=(ONE,))
    told = json.loads(one.get("/status.json").body)
    assert told["retention"] == [
        {
            "directory": "/var/lib/scpd",
            "rules": [rule._asdict() for rule in RULES],
            "held_back": HELD_BACK,
            "last": "2026-03-01T12:30:00+00:00",
            "trouble": "",
        }
    ]
    assert told["servers"][0]["retrieved"][0] == {"how": "move", "result": "completed", "count": 11}
    assert told["servers"][0]["transcoded"] == 5
