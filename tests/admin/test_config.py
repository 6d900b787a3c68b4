"""The section ``admin``: few keys, good defaults, and a secret that nobody gets to see."""

from __future__ import annotations

import pytest

from scpd.config import AdminConfig, Endpoint, difference, effective, load
from scpd.errors import ConfigurationError

TOKEN = "0123456789abcdef-secret"


@pytest.fixture
def text(tmp_path):
    def load_text(content):
        path = tmp_path / "scpd.yaml"
        path.write_text(content)
        return load(path, {})

    return load_text


def faults(text, content) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        text(content)
    return [fault.partition(".yaml:")[2] for fault in raised.value.faults]


def test_without_the_section_there_is_no_endpoint(text):
    assert text("ae_title: A\n").admin is None


def test_an_empty_section_is_one_with_every_default(text):
    assert text("admin: {}\n").admin == AdminConfig(bind=Endpoint("127.0.0.1", 8104), token=None, hosts=None)


def test_it_is_the_process_s(text):
    (fault,) = faults(text, "servers:\n- admin: {}\n")
    assert "for the whole process" in fault


def test_the_token_is_masked_wherever_the_configuration_is_shown(text, tmp_path):
    config = text(f"admin: {{token: {TOKEN}}}\n")
    assert config.admin.token == TOKEN
    assert TOKEN not in repr(config)
    assert "token: '********'" in effective(config)
    secret = tmp_path / "token"
    secret.write_text(TOKEN + "\n")
    config = text(f"admin: {{token: 'file:{secret}'}}\n")
    assert config.admin.token == TOKEN
    assert f"token: file:{secret}" in effective(config)


@pytest.mark.parametrize(
    "token", ["short-secret", "a secret with spaces in it", "ä" * 20, "x" * 300, "[1, 2]", "12345"]
)
def test_a_token_that_is_too_easy_is_a_fault_that_does_not_repeat_it(text, token):
    (fault,) = faults(text, f"admin:\n  token: {token}\n")
    assert fault.startswith("2: admin.token: it is no token; write 16")
    assert token not in fault


@pytest.mark.parametrize("host", ["a b", "a:80", "http://a", "'*.example'", "-a", "a/b"])
def test_a_host_that_is_none_is_a_fault(text, host):
    (fault,) = faults(text, f"admin:\n  hosts: [ok.example, {host}]\n")
    assert fault.startswith("2: admin.hosts[1]: it is no name of a host")


def test_one_host_may_stand_alone(text):
    assert text("admin: {hosts: pacs.example}\n").admin.hosts == ("pacs.example",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("bind: 127.0.0.1:8104\nadmin: {}\n", "2: admin.bind: the server of line 1 listens there already"),
        ("admin:\n  bind: 127.0.0.1:11112\n", "2: admin.bind: the server of line 1 listens there already"),
        (
            "admin: {bind: '0.0.0.0:104'}\nservers:\n- {bind: 10.0.0.1:103}\n- {name: b, bind: 10.0.0.1:104}\n",
            "1: admin.bind: the server of line 4 listens there already",
        ),
    ],
)
def test_an_address_that_a_server_has_is_a_fault(text, content, expected):
    (fault,) = faults(text, content)
    assert fault.startswith(expected)


def test_port_0_is_any_free_one(text):
    assert text("bind: 127.0.0.1:0\nadmin: {bind: 127.0.0.1:0}\n").admin.bind.port == 0


def test_a_change_is_told_without_the_token(text):
    before, after = text("ae_title: A\n"), text(f"ae_title: A\nadmin: {{token: {TOKEN}}}\n")
    assert before != after
    told = difference(before, after)
    assert any("admin" in line for line in told)
    assert not any(TOKEN in line for line in told)
