"""Access rules and rates as they are written: what they mean, what is refused, and how they are shown again."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scpd.config import AllowRule, DenyRule, effective, load, schema
from scpd.config.values import (
    format_rate,
    parse_certificate_glob,
    parse_network,
    parse_rate,
    parse_title_glob,
)
from scpd.errors import ConfigurationError


@pytest.fixture
def text(tmp_path):
    def load_text(content, environ=None):
        path = tmp_path / "scpd.yaml"
        path.write_text(content)
        return load(path, environ or {})

    return load_text


def rules(config):
    return config.servers[0].access


def faults(call, *args) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        call(*args)
    return caught.value.faults


# -- what is written and what it means


def test_without_rules_there_are_none(text):
    assert rules(text("ae_title: A\n")) == rules(text("access: []\n")) == ()


def test_a_rule_allows_or_denies_whom_it_is_about(text):
    first, second = rules(text("access: [{allow: {address: 10.20.0.0/16, calling: [CT1, 'MR*']}}, {deny: all}]\n"))
    assert first.allow == AllowRule(address="10.20.0.0/16", calling=["CT1", "MR*"])
    assert (first.allow.address, first.allow.calling, first.deny) == (("10.20.0.0/16",), ("CT1", "MR*"), None)
    assert second.deny == DenyRule(titles="strict")
    assert second.allow is None


@pytest.mark.parametrize(
    ("written", "titles"), [("4711", ("4711",)), ("' CT1 '", ("CT1",)), ("[007, '[A]']", ("007", "[A]"))]
)
def test_titles_are_text_whatever_yaml_makes_of_them(text, written, titles):
    assert rules(text(f"access: [{{allow: {{calling: {written}}}}}]\n"))[0].allow.calling == titles


def test_everything_that_may_be_said_is_kept(text):
    content = {
        "address": ["10.0.0.1", "fd00::/8"],
        "calling": "CT?",
        "called": "*",
        "certificate": "CN=ct*.hospital.example",
        "server": "secure",
        "users": ["alice", "bob*"],
        "roles": "doctor",
        "titles": "lenient",
        "services": "storage",
        "sop_classes": ["CTImageStorage", "1.2.3.4"],
        "may": "read",
    }
    (entry,) = rules(text(yaml.safe_dump({"access": [{"allow": content}]})))
    as_lists = {key: (value,) if isinstance(value, str) else tuple(value) for key, value in content.items()}
    assert entry.allow.model_dump() == {**as_lists, "titles": "lenient"}


def test_a_server_takes_the_rules_of_the_top_or_has_its_own_as_a_whole(text):
    content = "access: [{deny: {calling: A}}]\nservers: [{}, {bind: '127.0.0.1:1', access: [{deny: all}]}]\n"
    first, second = text(content).servers
    assert [len(first.access), len(second.access)] == [1, 1]
    assert second.access[0].deny.calling is None


@pytest.mark.parametrize("key", ["address", "calling", "called", "certificate", "server", "users", "roles"])
def test_a_condition_without_a_value_is_a_fault(text, key):
    """``allow: {calling: }`` is a slip, or a variable of the environment that is empty, and lets everybody in."""
    (fault,) = faults(text, f"access:\n  - allow:\n      {key}: ${{NOBODY:-}}\n  - deny: all\n")
    assert f"access[0].allow.{key}: " in fault
    assert ";" in fault


@pytest.mark.parametrize("key", ["services", "sop_classes", "may"])
def test_a_restriction_without_a_value_is_a_fault(text, key):
    (fault,) = faults(text, f"access: [{{allow: {{calling: CT1, {key}: }}}}]\n")
    assert f"access[0].allow.{key}: " in fault
    assert ";" in fault


@pytest.mark.parametrize(
    "name", ["CN:ct1.hospital.example", "DNS=ct1.hospital.example", "commonName=ct1", "IP=10.0.0.1"]
)
def test_a_name_of_a_certificate_that_none_can_have_is_a_fault(text, name):
    (fault,) = faults(text, f"access: [{{deny: {{certificate: '{name}'}}}}]\n")
    assert ";" in fault


# -- each value

ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(), st.lists(st.text()), st.dictionaries(st.text(), st.text())
)


def refusal(parse, value):
    try:
        parse(value)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("parse", [parse_network, parse_title_glob, parse_certificate_glob, parse_rate])
@given(value=ANYTHING | st.text("0123456789./:*?CNDS=smh%", max_size=20))
@settings(max_examples=200)
def test_anything_is_parsed_or_refused_with_a_sentence_that_says_what_to_do(parse, value):
    told = refusal(parse, value)
    assert told is None or ";" in told
    assert told is None or "\n" not in told
    assert told is None or len(told) < 1000


@pytest.mark.parametrize(
    "network",
    ["10.0.0.1", "10.20.0.0/16", "10.20.0.0/255.255.0.0", "0.0.0.0/0", "::", "::/0", "fe80::1", "FD00::/8", "::1/128"],
)
def test_an_address_or_a_network_is_taken_as_it_stands(network):
    assert parse_network(network) == network


@pytest.mark.parametrize(
    ("network", "meant"),
    [("10.20.0.1/16", "10.20.0.0/16"), ("fd00::1/8", "fd00::/8"), ("10.20.0.1/255.255.0.0", "10.20.0.0/16")],
)
def test_a_network_with_too_long_an_address_is_told_which_one_was_meant(network, meant):
    with pytest.raises(ValueError, match=f"its address goes beyond the prefix; write {meant}$"):
        parse_network(network)


@pytest.mark.parametrize(
    "network",
    ["", "10.0.0", "10.0.0.0/33", "010.0.0.1", "10.0.0.*", "localhost", "::1%", "[::1]", "10.0.0.1:104", 10, "1e1"],
)
def test_what_is_neither_is_refused(network):
    with pytest.raises(ValueError, match="; "):
        parse_network(network)


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        ("10/s", (10, 1.0)),
        ("100/m", (100, 60.0)),
        ("1/h", (1, 3600.0)),
        ("5/10s", (5, 10.0)),
        ("5/1s", (5, 1.0)),
        ("5/60s", (5, 60.0)),
        ("5/90m", (5, 5400.0)),
        ("999999/999999h", (999_999, 3_599_996_400.0)),
        (0, (0, 0.0)),
        ("0", (0, 0.0)),
    ],
)
def test_a_rate_is_so_many_times_in_a_time(written, rate):
    assert parse_rate(written) == rate
    assert parse_rate(format_rate(rate)) == rate


@given(st.integers(1, 999_999), st.integers(1, 999_999), st.sampled_from("smh"))
def test_a_rate_is_shown_as_it_can_be_read(times, number, unit):
    rate = parse_rate(f"{times}/{number}{unit}")
    assert rate[0] == times
    assert rate[1] > 0
    assert parse_rate(format_rate(rate)) == rate


@pytest.mark.parametrize(
    "written",
    ["", "10", 10, "10/", "/s", "10/d", "10/ms", "10 / s", "10/s ", "-1/s", "1.5/s", "0/s", "00/s", "10/0s", True, None, "٣/s", [], {}],
)  # fmt: skip
def test_what_only_looks_like_a_rate_is_refused(written):
    with pytest.raises(ValueError, match="is not a rate; write a number for a time, as in 10/s or 100/m"):
        parse_rate(written)


@pytest.mark.parametrize("written", ["10/00s", "10/000m", "1/000000h"])
def test_a_rate_in_no_time_is_refused(written):
    with pytest.raises(ValueError, match="is not a rate"):
        parse_rate(written)


# -- what is shown again

GLOBS = st.text("ABC123*?[]-_", min_size=1, max_size=16).filter(str.strip)
NETWORKS = st.sampled_from(["10.0.0.1", "10.0.0.0/8", "::/0", "fd00::/8"])
NAMES = st.sampled_from(["alice", "*", "a b", "4711", "true", "~", "Ålice", "${x", "no", "- a", "file", "all"])
CERTIFICATES = st.sampled_from(["CN=ct*", "DNS:*.hospital.example", "O=Hospital: a", "email:#1"])


def some(values):
    return values | st.lists(values, min_size=1, max_size=3)


CONDITIONS = {
    "address": some(NETWORKS),
    "calling": some(GLOBS),
    "called": some(GLOBS),
    "certificate": some(CERTIFICATES),
    "server": some(NAMES),
    "users": some(NAMES),
    "roles": some(NAMES),
    "titles": st.sampled_from(["strict", "lenient"]),
}
RESTRICTIONS = {
    "services": some(st.sampled_from(["storage", "verification"])),
    "sop_classes": some(st.sampled_from(["storage", "CTImageStorage", "1.2.3"])),
    "may": some(st.sampled_from(["read", "write"])),
}


def mappings(keys: dict[str, Any]):
    return st.fixed_dictionaries({}, optional=keys).filter(bool)


ENTRIES = st.lists(
    st.fixed_dictionaries({"allow": st.just("all") | mappings({**CONDITIONS, **RESTRICTIONS})})
    | st.fixed_dictionaries({"deny": st.just("all") | mappings(CONDITIONS)}),
    max_size=4,
)
UNITS = st.sampled_from(["s", "m", "h", "10s", "90s", "7m", "36h"])
RATES = st.just(0) | st.builds("{}/{}".format, st.integers(1, 9999), UNITS)


def escaped(value: Any) -> Any:
    return yaml.safe_load(yaml.safe_dump(value).replace("${", "$${"))


@given(entries=ENTRIES, rates=st.tuples(RATES, RATES))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_rules_and_rates_there_are_they_are_shown_as_they_can_be_read(text, entries, rates):
    limits = dict(zip(("rate_per_address", "rate_per_title"), rates, strict=True))
    config = text(yaml.safe_dump({"access": escaped(entries), "limits": limits}))
    assert len(rules(config)) == len(entries)
    assert text(effective(config)) == config


def test_rules_are_shown_as_short_as_they_were_written(text):
    content = (
        "access: [{allow: {calling: CT1, address: [10.0.0.1, 10.0.0.2]}}, {allow: {titles: lenient}}, {deny: all}]\n"
    )
    (server,) = yaml.safe_load(effective(text(content)))["servers"]
    assert server["access"] == [
        {"allow": {"address": ["10.0.0.1", "10.0.0.2"], "calling": "CT1"}},
        {"allow": {"titles": "lenient"}},
        {"deny": "all"},
    ]
    assert server["limits"]["rate_per_address"] == 0


def test_a_condition_from_a_file_is_shown_as_its_reference(text, tmp_path):
    (tmp_path / "titles").write_text("S3CRET\n")
    config = text(
        f"access: [{{allow: {{calling: 'file:{tmp_path}/titles', called: [A, 'file:{tmp_path}/titles']}}}}]\n"
    )
    assert rules(config)[0].allow.calling == ("S3CRET",)
    (entry,) = yaml.safe_load(effective(config))["servers"][0]["access"]
    assert entry["allow"] == {"calling": f"file:{tmp_path}/titles", "called": ["A", f"file:{tmp_path}/titles"]}
    assert text(effective(config)) == config


def test_each_rule_knows_its_line(text):
    config = text("access:\n  - allow:\n      calling: CT1\n  - deny: all\n")
    assert config.where("SCPD", "access[0]").endswith(":2")
    assert config.where("SCPD", "access[0].allow.calling").endswith(":3")
    assert config.where("SCPD", "access[1]").endswith(":4")


def test_the_schema_knows_all_and_every_key():
    found = schema()["$defs"]
    entry = found["AccessEntry"]["properties"]
    for word in ("allow", "deny"):
        assert {"const": "all"} in entry[word]["anyOf"][0].get("anyOf", []) or {"const": "all"} in entry[word]["anyOf"]
    assert set(found["AllowRule"]["properties"]) == set(AllowRule.model_fields)
    assert set(found["DenyRule"]["properties"]) == set(DenyRule.model_fields)
    assert found["AllowRule"]["additionalProperties"] is False
