"""From the file to the doors: each rule, provider and rate as it is written, made once and shared, or a fault."""

from __future__ import annotations

import sys

import argon2
import pytest
import yaml

from scpd.config import load
from scpd.daemon.build import Parts
from scpd.daemon.doors import Doorkeepers, access
from scpd.errors import ConfigurationError, NotVerified, SettingError
from scpd.identity.access import DEFAULT, EVERYTHING, Access, Facts, Permission, Title, parse_address
from scpd.identity.claim import Claim, Form, User
from scpd.identity.passwords import Passwords
from scpd.identity.rates import Rate
from scpd.identity.usernames import Usernames
from scpd.sop_class import SOP_CLASSES, STORAGE, VERIFICATION

HASH = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("right")
CT = str(SOP_CLASSES["CTImageStorage"])


@pytest.fixture
def config(tmp_path):
    def make(**settings):
        settings = {"storage": {"directory": str(tmp_path / "store"), "reserve": 0}, **settings}
        path = tmp_path / "scpd.yaml"
        path.write_text(yaml.safe_dump(settings))
        return load(path, {})

    return make


@pytest.fixture
def users(tmp_path):
    path = tmp_path / "users"
    path.write_text(f"alice:{HASH}:doctor\n")
    path.chmod(0o640)
    return path


@pytest.fixture
def doorkeepers():
    one = Doorkeepers()
    yield one
    one.close()


def rules(config, number: int = 0) -> Access:
    found = access(config.servers[number])
    assert found is not None
    return found


def facts(host: str = "10.0.0.1", calling: str = "CT1", called: str = "SCPD", certificate=(), user=None) -> Facts:
    return Facts(parse_address(host), certificate, Title(calling), Title(called), user)


# -- rules


def test_without_rules_there_is_no_access_to_ask(config):
    assert access(config().servers[0]) is None
    assert access(config(access=[]).servers[0]) is None


@pytest.mark.parametrize(
    ("condition", "inside", "outside"),
    [
        ({"address": "10.20.0.0/16"}, facts("10.20.0.1"), facts("10.21.0.1")),
        ({"address": ["10.20.0.0/16", "fd00::/8"]}, facts("fd00::1"), facts("::1")),
        ({"calling": ["CT*", "MR1"]}, facts(calling="CT7"), facts(calling="ct7")),
        ({"calling": "CT[1]"}, facts(calling="CT[1]"), facts(calling="CT1")),
        ({"called": "ARCH?VE"}, facts(called="ARCHIVE"), facts(called="ARCHIVE1")),
        (
            {"certificate": "CN=ct*.hospital"},
            facts(certificate=("O=H", "CN=CT1.Hospital")),
            facts(certificate=("CN=x",)),
        ),
        ({"users": "al*"}, facts(user=User("alice")), facts(user=User("Alice"))),
        ({"users": "al*"}, facts(user=User("alice")), facts(user=None)),
        ({"roles": "doc*"}, facts(user=User("a", frozenset(("x", "doctor")))), facts(user=User("doctor"))),
        ({"calling": "CT1", "called": "A"}, facts(called="A"), facts(called="B")),
    ],
)
@pytest.mark.parametrize("word", ["allow", "deny"])
def test_a_condition_is_about_whom_it_says(config, word, condition, inside, outside):
    found = rules(config(access=[{word: condition}]))
    assert found.possible(inside) == [found.rules[0]]
    assert found.possible(outside) == [DEFAULT]
    assert found.rules[0].allows is (word == "allow")


def test_all_is_everybody(config):
    found = rules(config(access=[{"deny": "all"}]))
    assert found.refusal(Facts(parse_address("::1"))).because == "address"


def test_lenient_titles_are_lenient_for_both(config):
    lenient, strict = rules(
        config(
            access=[{"allow": {"calling": "CT1", "called": "A", "titles": "lenient"}}, {"allow": {"calling": "CT1"}}]
        )
    ).rules
    padded = Facts(parse_address("::1"), (), Title("CT1", "padded with NUL"), Title("", "blank"), None)
    assert lenient.matches(padded) is True
    assert strict.matches(padded) is False
    assert (lenient.lenient, strict.lenient) == (True, False)


def test_a_rule_keeps_its_number_where_others_are_about_other_servers(config):
    rules_ = [{"deny": {"server": "plain*", "calling": "A"}}, {"allow": {"server": ["secure", "x"]}}, {"deny": "all"}]
    servers = [
        {"name": "plain1", "bind": "127.0.0.1:1"},
        {"name": "secure", "bind": "127.0.0.1:2"},
        {"bind": "127.0.0.1:3"},
    ]
    made = config(access=rules_, servers=servers)
    assert [[rule.key for rule in rules(made, number).rules] for number in range(3)] == [
        ["access[0]", "access[2]"],
        ["access[1]", "access[2]"],
        ["access[2]"],
    ]


def test_rules_about_other_servers_alone_are_none(config):
    assert access(config(access=[{"deny": {"server": "other"}}]).servers[0]) is None


@pytest.mark.parametrize(
    ("written", "permission"),
    [
        ({}, EVERYTHING),
        ({"may": "read"}, Permission(None, read=True, write=False)),
        ({"may": ["write"]}, Permission(None, read=False, write=True)),
        ({"may": ["read", "write"]}, EVERYTHING),
        ({"services": "verification"}, Permission(frozenset(map(str, VERIFICATION)))),
        ({"services": ["storage"]}, Permission(frozenset(map(str, STORAGE)))),
        ({"sop_classes": ["CTImageStorage", "1.2.3"]}, Permission(frozenset((CT, "1.2.3")))),
        ({"services": "verification", "sop_classes": CT}, Permission(frozenset((*map(str, VERIFICATION), CT)))),
    ],
)
def test_what_a_peer_may_do(config, written, permission):
    (rule,) = rules(config(access=[{"allow": {"calling": "CT1", **written}}])).rules
    assert rule.permission == permission


# -- rates


def test_rates_are_doors_where_they_are_said(config, doorkeepers):
    doors = doorkeepers.doors(config(limits={"rate_per_address": "10/s", "rate_per_title": "5/2m"}).servers[0])
    assert (doors.per_address.rate, doors.per_title.rate) == (Rate(10, 1.0), Rate(5, 120.0))
    assert not doors.are_open


def test_each_server_counts_for_itself(config, doorkeepers):
    made = config(limits={"rate_per_address": "1/h"}, servers=[{}, {"bind": "127.0.0.1:1"}])
    first, second = (doorkeepers.doors(server) for server in made.servers)
    assert first.per_address.take("a", 0.0)
    assert second.per_address.take("a", 0.0)


def test_nothing_said_is_no_door(config, doorkeepers):
    doors = doorkeepers.doors(config().servers[0])
    assert (doors.access, doors.identities, doors.per_address, doors.per_title) == (None, None, None, None)
    assert doors.are_open


# -- identities


@pytest.mark.parametrize(
    ("section", "is_a_door"),
    [
        ({}, False),
        ({"policy": "accept"}, False),
        ({"policy": "accept", "unsupported": "reject"}, True),
        ({"policy": "require"}, True),
        ({"policy": "ignore", "providers": [{"kind": "usernames", "users": "a"}]}, False),
        ({"policy": "accept", "providers": [{"kind": "usernames", "users": "a"}]}, True),
    ],
)
def test_who_a_peer_is_is_asked_only_where_it_matters(config, doorkeepers, section, is_a_door):
    doors = doorkeepers.doors(config(user_identity=section).servers[0])
    assert (doors.identities is not None) is is_a_door
    assert doors.are_open is not is_a_door


def test_a_policy_that_ignores_makes_no_provider(config, doorkeepers):
    """Nothing is read that nobody needs."""
    section = {"policy": "ignore", "providers": [{"kind": "passwords", "file": "/not/there"}]}
    assert doorkeepers.doors(config(user_identity=section).servers[0]).identities is None


def test_the_policy_is_as_it_was_written(config, doorkeepers, users):
    section = {
        "policy": "require",
        "respond": False,
        "unsupported": "reject",
        "without_tls": "allow",
        "lockout": {"failures": 1, "time": "10s"},
        "providers": [
            {"kind": "usernames", "users": ["a", "b"], "roles": "r"},
            {"kind": "passwords", "file": str(users)},
        ],
    }
    identities = doorkeepers.doors(config(user_identity=section).servers[0]).identities
    names, passwords = identities.providers
    assert (type(names), type(passwords)) == (Usernames, Passwords)
    assert names.verify(Claim(Form.USERNAME, b"b")) == User("b", frozenset("r"))
    assert passwords.verify(Claim(Form.PASSCODE, b"alice", b"right")) == User("alice", frozenset(("doctor",)))
    with pytest.raises(NotVerified):
        passwords.verify(Claim(Form.PASSCODE, b"alice", b"wrong"))
    policy = identities.policy
    assert (policy.policy, policy.respond, policy.unsupported, policy.without_tls) == (
        "require",
        False,
        "reject",
        "allow",
    )


def test_servers_with_the_same_providers_share_them(config, doorkeepers, users):
    """One file is read once, and one pool of threads is enough."""
    provider = {"kind": "passwords", "file": str(users)}
    servers = [{}, {"bind": "127.0.0.1:1"}, {"bind": "127.0.0.1:2", "user_identity": {"policy": "require"}}]
    made = config(user_identity={"providers": [provider]}, servers=servers)
    first, second, third = (doorkeepers.doors(server).identities for server in made.servers)
    assert first.providers == second.providers == third.providers
    assert first._lockout is second._lockout


def test_servers_that_ask_the_same_file_count_guesses_together(config, doorkeepers, users):
    provider = {"kind": "passwords", "file": str(users)}
    servers = [{}, {"bind": "127.0.0.1:2", "user_identity": {"respond": False}}]
    made = config(user_identity={"providers": [provider]}, servers=servers)
    first, second = (doorkeepers.doors(server).identities for server in made.servers)
    assert first._lockout is second._lockout


def test_providers_that_differ_in_anything_are_others(config, doorkeepers):
    one, other = ({"kind": "usernames", "users": "a", "roles": role} for role in "xy")
    identities = doorkeepers.doors(config(user_identity={"providers": [one, other, one]}).servers[0]).identities
    assert identities.providers[0] is identities.providers[2]
    assert identities.providers[0] is not identities.providers[1]


# -- what cannot be made

EXTRAS = {
    "ldap": ("scpd.identity.ldap", {"url": "ldaps://ldap.example", "user": "uid={user},dc=example"}),
    "jwt": ("scpd.identity.jwt", {"issuer": "i", "audience": "a", "keys": "/k"}),
    "saml": ("scpd.identity.saml", {"issuer": "i", "certificate": "/c", "audience": "a"}),
    "kerberos": ("scpd.identity.kerberos", {"keytab": "/k", "service": "dicom/host"}),
}


@pytest.mark.parametrize("kind", EXTRAS)
def test_an_extra_that_is_not_installed_is_named_with_what_to_do(config, doorkeepers, monkeypatch, kind):
    module, settings = EXTRAS[kind]
    monkeypatch.setitem(sys.modules, module, None)
    section = config(user_identity={"providers": [{"kind": kind, **settings}]}).servers[0].user_identity
    ((key, what),) = doorkeepers.faults(section)
    assert key == "user_identity.providers[0]"
    assert what.startswith(module)
    assert what.endswith(f"; pip install 'scpd[{kind}]'")
    with pytest.raises(SettingError):
        doorkeepers.provider(section.providers[0])


def test_every_provider_that_cannot_be_made_is_a_fault_at_its_own_key(config, doorkeepers, users, tmp_path):
    users_twice = tmp_path / "twice"
    users_twice.write_text(f"a:{HASH}\na:{HASH}\n")
    providers = [
        {"kind": "passwords", "file": "/not/there"},
        {"kind": "passwords", "file": str(users)},
        {"kind": "passwords", "file": str(users_twice)},
        {"kind": "usernames", "users": "a"},
    ]
    found = list(doorkeepers.faults(config(user_identity={"providers": providers}).servers[0].user_identity))
    assert [key for key, _ in found] == ["user_identity.providers[0].file", "user_identity.providers[2].file"]
    assert "/not/there cannot be read" in found[0][1]
    assert "line 2 repeats the user" in found[1][1]
    assert all(";" in what for _, what in found)


def test_what_is_wrong_with_a_file_that_can_be_used_is_a_warning(config, doorkeepers, users):
    users.chmod(0o644)
    providers = [{"kind": "usernames", "users": "a"}, {"kind": "passwords", "file": str(users)}]
    section = config(user_identity={"providers": providers}).servers[0].user_identity
    assert list(doorkeepers.faults(section)) == []
    assert list(doorkeepers.warnings(section)) == [
        ("user_identity.providers[1]", f"{users} is readable by every user of this machine; chmod o-r {users}")
    ]


def test_a_file_that_breaks_between_check_and_build_is_told_with_its_line(config, users):
    made = config(user_identity={"providers": [{"kind": "passwords", "file": str(users)}]})
    users.unlink()
    with pytest.raises(
        ConfigurationError, match=r"scpd\.yaml:\d+: user_identity\.providers\[0\]\.file: .*cannot be read"
    ):
        Parts(made)


def test_nothing_was_made_nothing_is_given_back():
    Doorkeepers().close()
