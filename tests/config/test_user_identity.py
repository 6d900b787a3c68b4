"""The section user_identity: each kind of provider has its own keys, and a fault names the right one."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scpd.config import effective, load, schema
from scpd.config.section import Section, kind_of, section_at, sections_of
from scpd.config.server import ServerConfig
from scpd.config.user_identity import (
    JWTConfig,
    KerberosConfig,
    LDAPConfig,
    LockoutConfig,
    PasswordsConfig,
    ProviderConfig,
    SAMLConfig,
    UserIdentityConfig,
    UsernamesConfig,
)
from scpd.errors import ConfigurationError

ENOUGH = {
    "passwords": {"file": "/etc/scpd/users"},
    "usernames": {"users": ["ct1"]},
    "ldap": {"url": "ldaps://ldap.example", "user": "uid={user},dc=example"},
    "jwt": {"issuer": "https://idp.example", "audience": "scpd", "keys": "/etc/scpd/jwks.json"},
    "saml": {"issuer": "https://idp.example", "certificate": "/etc/scpd/idp.crt", "audience": "scpd"},
    "kerberos": {"keytab": "/etc/scpd/scpd.keytab", "service": "dicom/pacs.example"},
}
PROVIDERS: tuple[type[Section], ...] = get_args(ProviderConfig)
KINDS = {kind_of(each): each for each in PROVIDERS}


@pytest.fixture
def text(tmp_path):
    def load_text(content, environ=None):
        path = tmp_path / "scpd.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return load(path, environ or {})

    return load_text


def with_provider(**provider) -> dict:
    return {"user_identity": {"providers": [provider]}}


def faults(call, *args) -> list[str]:
    """Without the file and the line."""
    with pytest.raises(ConfigurationError) as caught:
        call(*args)
    return [each.partition(": ")[2] for each in caught.value.faults]


def test_without_the_section_identities_are_accepted_and_nobody_verifies(text):
    config = text("ae_title: A\n").servers[0].user_identity
    assert config == UserIdentityConfig()
    assert config.model_dump() == {
        "policy": "accept",
        "respond": True,
        "unsupported": "ignore",
        "without_tls": "reject",
        "lockout": {"failures": 5, "time": 300.0},
        "providers": (),
    }


def test_each_kind_is_its_own_model(text):
    assert KINDS.keys() == ENOUGH.keys()
    providers = [{"kind": kind, **keys} for kind, keys in ENOUGH.items()]
    made = text({"user_identity": {"providers": providers}}).servers[0].user_identity.providers
    assert [type(each) for each in made] == list(PROVIDERS)
    assert made == (
        PasswordsConfig(kind="passwords", file=Path("/etc/scpd/users")),
        UsernamesConfig(kind="usernames", users="ct1"),
        LDAPConfig(kind="ldap", url="ldaps://ldap.example", user="uid={user},dc=example", timeout="5s", ca=None),
        JWTConfig(kind="jwt", issuer="https://idp.example", audience="scpd", keys="/etc/scpd/jwks.json"),
        SAMLConfig(kind="saml", issuer="https://idp.example", certificate="/etc/scpd/idp.crt", audience="scpd"),
        KerberosConfig(kind="kerberos", keytab="/etc/scpd/scpd.keytab", service="dicom/pacs.example"),
    )
    jwt = made[3]
    assert (jwt.algorithms, jwt.leeway, jwt.longest_life, jwt.refresh) == (("RS256", "ES256"), 30.0, 86400.0, 600.0)


@pytest.mark.parametrize("kind", ENOUGH)
def test_each_key_that_has_no_default_must_be_written(text, kind):
    for missing in ENOUGH[kind]:
        rest = {key: value for key, value in ENOUGH[kind].items() if key != missing}
        told = faults(text, with_provider(kind=kind, **rest))
        assert told == [f"user_identity.providers[0]: {missing} is missing; write it"]


@pytest.mark.parametrize("kind", ENOUGH)
def test_an_unknown_key_is_told_by_the_keys_of_that_kind(text, kind):
    """Not by those of the first kind, or of all."""
    (told,) = faults(text, with_provider(kind=kind, **ENOUGH[kind], bogus_and_long=1))
    keys = ", ".join(KINDS[kind].model_fields)
    assert told == f"user_identity.providers[0].bogus_and_long: unknown key; known here: {keys}"


@pytest.mark.parametrize("kind", ENOUGH)
def test_a_slip_in_a_key_is_told_with_the_nearest_one_of_that_kind(text, kind):
    key = next(iter(ENOUGH[kind]))
    told = faults(text, with_provider(kind=kind, **ENOUGH[kind], **{key[:-1] + "x": 1}))
    assert f"user_identity.providers[0].{key[:-1]}x: unknown key; did you mean '{key}'?" in told


@pytest.mark.parametrize("kind", ENOUGH)
def test_a_wrong_value_is_told_at_its_own_key(text, kind):
    for key in ENOUGH[kind]:
        (told,) = faults(text, with_provider(kind=kind, **{**ENOUGH[kind], key: {"a": 1}}))
        assert told.startswith(f"user_identity.providers[0].{key}: ")


def test_a_wrong_value_is_told_at_its_own_key_beside_an_unknown_one_called_as_the_kind(text):
    told = faults(text, with_provider(kind="passwords", file="", passwords="/etc/scpd/users"))
    assert "user_identity.providers[0].file: the text is empty; write some, or leave the key out" in told


@pytest.mark.parametrize("kind", [None, ["jwt"], {"jwt": 1}])
def test_a_kind_that_is_no_word_is_told_in_words_of_the_file(text, kind):
    (told,) = faults(text, with_provider(kind=kind, file="a"))
    assert not any(sign in told for sign in ("None", "['", "{'"))


def test_a_provider_that_is_no_mapping_is_told_to_have_a_kind(text):
    (told,) = faults(text, {"user_identity": {"providers": ["kerberos"]}})
    assert "keytab" in told or "one of passwords, usernames" in told


def test_a_missing_kind_and_an_unknown_one_are_told_with_all_there_are(text):
    kinds = ", ".join(ENOUGH)
    assert faults(text, with_provider(file="a")) == [
        f"user_identity.providers[0]: kind is missing; write kind: and one of {kinds}"
    ]
    assert faults(text, with_provider(kind="x509")) == [
        f"user_identity.providers[0]: kind x509 is not known; write {kinds}"
    ]


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "rs256", "ES256K", ""])
def test_no_algorithm_is_taken_that_anybody_could_sign_with(text, algorithm):
    (told,) = faults(text, with_provider(kind="jwt", **ENOUGH["jwt"], algorithms=["RS256", algorithm]))
    assert told.startswith("user_identity.providers[0].algorithms[1]: ")


def test_the_lockout_merges_key_by_key_and_providers_as_a_whole(text):
    content = {
        "user_identity": {"lockout": {"time": "1m"}, "providers": [{"kind": "passwords", "file": "a"}]},
        "servers": [
            {"user_identity": {"lockout": {"failures": 3}}},
            {"bind": "127.0.0.1:1", "user_identity": {"providers": [{"kind": "usernames", "users": "b"}]}},
        ],
    }
    first, second = (server.user_identity for server in text(content).servers)
    assert first.lockout == LockoutConfig(failures=3, time="1m")
    assert [each.kind for each in first.providers] == ["passwords"]
    assert [each.kind for each in second.providers] == ["usernames"]


def test_each_provider_and_each_of_its_keys_knows_its_line(text):
    config = text(
        "user_identity:\n  providers:\n    - kind: passwords\n      file: a\n    - {kind: usernames, users: b}\n"
    )
    where = [f"user_identity.providers[{place}" for place in ("0]", "0].file", "1].users")]
    assert [config.where("SCPD", key).rpartition(":")[2] for key in where] == ["3", "4", "5"]


# -- sections told apart by their kind


def test_the_section_at_a_path_is_the_one_of_its_kind():
    providers = [{"kind": kind} for kind in ENOUGH]
    data = {"user_identity": {"providers": providers}}
    for number, kind in enumerate(ENOUGH):
        assert section_at(ServerConfig, ("user_identity", "providers", number), data) is KINDS[kind]
        assert section_at(ServerConfig, ("user_identity", "providers", number, "kind"), data) is KINDS[kind]


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ((), None),
        (("user_identity",), None),
        (("user_identity", "providers", 0), {"user_identity": {"providers": []}}),
        (("user_identity", "providers", 5, "kind"), {"user_identity": {"providers": "text"}}),
        (("user_identity", "providers", 0, "kind", "x"), {"user_identity": {"providers": [{"kind": ["a"]}]}}),
        (("nothing", "of", 0, "that"), {}),
    ],
)
def test_a_path_that_leads_nowhere_ends_at_the_last_section_on_the_way(path, data):
    assert section_at(ServerConfig, path, data) in (ServerConfig, UserIdentityConfig, *PROVIDERS)


def test_every_provider_is_a_section_of_the_list():
    annotation = UserIdentityConfig.model_fields["providers"].annotation
    assert sections_of(annotation) == PROVIDERS


KEYS = st.sampled_from(["kind", "file", "users", "passwords", "jwt", "roles", "timeout", "algorithms", "x"])
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.sampled_from([*ENOUGH, "/x", "5s"]))
TREES = st.recursive(LEAVES, lambda t: st.lists(t, max_size=3) | st.dictionaries(KEYS, t, max_size=4), max_leaves=12)


@given(providers=st.lists(st.dictionaries(KEYS, TREES, max_size=5) | TREES, max_size=3) | TREES)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_there_is_a_provider_or_a_fault_in_words_of_our_own(text, providers):
    for told in outcome(text, providers):
        assert "user_identity.providers" in told
        assert ";" in told or "?" in told
        assert not any(word in told for word in ("scpd schema says", "Input should", "pydantic", "Traceback"))


def outcome(text, providers) -> tuple[str, ...]:
    """The faults, of which there is at least one, or none for a configuration."""
    try:
        text({"user_identity": {"providers": providers}})
    except ConfigurationError as error:
        return error.faults or ("a refusal without a fault",)
    return ()


# -- what is shown again

NAMES = st.sampled_from(["alice", "a b", "4711", "~", "${x", "Ålice", "- a"])
TIMES = st.sampled_from(["1s", "90s", "5m", "10s"])


def options(kind: str):
    """Some of the keys that have a default, with values that are not the default."""
    return {
        "passwords": {},
        "usernames": {"roles": NAMES | st.lists(NAMES, min_size=1, max_size=2)},
        "ldap": {"tls": st.just("none"), "ca": st.just("/ca"), "roles": st.none() | NAMES, "timeout": TIMES.filter(lambda t: t != "90s" and t != "5m")},
        "jwt": {"algorithms": st.just("EdDSA") | st.just(["ES256", "PS512"]), "roles_claim": st.none() | NAMES, "leeway": TIMES, "refresh": TIMES},
        "saml": {"recipient": NAMES, "user_attribute": NAMES, "roles_attribute": NAMES},
        "kerberos": {"realms": NAMES | st.lists(NAMES, min_size=1, max_size=2)},
    }[kind]  # fmt: skip


@st.composite
def providers(draw):
    kind = draw(st.sampled_from(sorted(ENOUGH)))
    return {"kind": kind, **ENOUGH[kind], **draw(st.fixed_dictionaries({}, optional=options(kind)))}


@given(providers=st.lists(providers(), max_size=3), policy=st.sampled_from(["ignore", "accept", "require"]))
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_providers_there_are_they_are_shown_as_they_can_be_read(text, providers, policy):
    content = yaml.safe_dump({"user_identity": {"policy": policy, "providers": providers}}).replace("${", "$${")
    config = text(content)
    assert len(config.servers[0].user_identity.providers) == len(providers)
    assert text(effective(config)) == config


def test_the_schema_has_every_kind_and_tells_them_apart():
    found = schema()["$defs"]
    items = found["UserIdentityConfig"]["properties"]["providers"]["items"]
    refs = {each["$ref"].rpartition("/")[2] for each in items.get("oneOf", items.get("anyOf", []))}
    assert refs == {each.__name__ for each in PROVIDERS}
    for each in PROVIDERS:
        assert set(found[each.__name__]["properties"]) == set(each.model_fields)
        assert found[each.__name__]["additionalProperties"] is False
