"""What surrounds a configuration, short of certificates: each fault and each warning where it belongs, and no other."""

from __future__ import annotations

import os
import subprocess
import sys

import argon2
import pytest
import yaml

from scpd.config import load
from scpd.daemon.surroundings import Surroundings

HASH = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("right")
GET = "StudyRootQueryRetrieveInformationModelGet"
PEERS = {"WS": {"address": "10.0.0.7:104", "ae_title": "WS"}}
EVERYWHERE = {"bind": "0.0.0.0:0"}
OPEN = "anybody who reaches this port may store"
NOBODY_KEPT_OUT = "every rule allows, and whom none matches is let in; end the list with - deny: all"


@pytest.fixture
def look(tmp_path):
    """The surroundings of a configuration, with the storage where it may be."""

    def at(text: str | None = None, **settings) -> Surroundings:
        path = tmp_path / "scpd.yaml"
        settings = {"storage": {"directory": str(tmp_path / "store"), "reserve": 0}, **settings}
        path.write_text(text or yaml.safe_dump(settings, sort_keys=False))
        return Surroundings(load(path, {}))

    return at


@pytest.fixture
def users(tmp_path):
    path = tmp_path / "users"
    path.write_text(f"alice:{HASH}\n")
    path.chmod(0o640)
    return path


def passwords(users, **section) -> dict:
    return {"user_identity": {"providers": [{"kind": "passwords", "file": str(users)}], **section}}


def keys(sentences: list[str]) -> list[str]:
    """Of ``file:line: key: what`` the key."""
    return [sentence.split(": ")[1] for sentence in sentences]


def test_a_quiet_configuration_has_nothing_to_be_said(look):
    one = look()
    assert (one.faults, one.warnings) == ([], [])


def test_looking_makes_nothing(look, tmp_path):
    look()
    assert os.listdir(tmp_path) == ["scpd.yaml"]


# -- faults


@pytest.mark.parametrize("index", [{}, {"index": {}}])
def test_a_class_that_nobody_serves_is_a_fault_at_its_contexts(look, index):
    (fault,) = look(contexts=["verification", "ModalityWorklistInformationModelFind"], **index).faults
    assert "contexts: ModalityWorklistInformationModelFind is not served by this version; write" in fault


@pytest.mark.parametrize("group", ["query_retrieve", "storage_commitment", GET])
def test_what_is_asked_of_an_index_is_a_fault_without_one(look, group):
    faults = look(contexts=["verification", "storage", group], peers=PEERS).faults
    assert faults
    assert all(
        ": contexts: " in one and " needs to know what is held; write index: {} as well" in one for one in faults
    )
    assert look(contexts=["verification", "storage", group], peers=PEERS, index={}).faults == []


# -- the index


def test_a_directory_of_the_index_that_is_a_file_is_a_fault(look, tmp_path):
    (tmp_path / "file").write_text("")
    (fault,) = look(index={"url": f"sqlite:///{tmp_path}/file/index.db"}).faults
    assert f"index.url: {tmp_path}/file is not a directory; name one, or remove the file" in fault


def test_an_index_that_is_a_directory_is_a_fault(look, tmp_path):
    (fault,) = look(index={"url": f"sqlite:///{tmp_path}"}).faults
    assert f"index.url: {tmp_path} is no file; name one" in fault


@pytest.mark.parametrize("what", ["folder", "file"])
def test_an_index_that_cannot_be_written_is_a_fault(look, tmp_path, monkeypatch, what):
    """As somebody whom rights hold for, which they do not for root."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "index.db").write_text("")
    refused = {"folder": tmp_path / "folder", "file": tmp_path / "folder" / "index.db"}[what]
    monkeypatch.setattr(os, "access", lambda path, *_, **__: path != refused)
    (fault,) = look(index={"url": f"sqlite:///{tmp_path}/folder/index.db"}).faults
    assert f"index.url: {refused} cannot be written to by this user; mend its rights" in fault


def test_an_index_that_is_not_there_yet_is_fine_and_is_not_made(look, tmp_path):
    one = look(index={"url": f"sqlite:///{tmp_path}/deep/er/index.db"})
    assert (one.faults, one.warnings) == ([], [])
    assert os.listdir(tmp_path) == ["scpd.yaml"]


def test_postgresql_without_its_driver_is_a_fault(look, monkeypatch):
    url = "postgresql://scpd:S3CRET@db/scpd"
    assert look(index={"url": url}).faults == []
    monkeypatch.setitem(sys.modules, "psycopg", None)
    (fault,) = look(index={"url": url}).faults
    assert "index.url: PostgreSQL needs psycopg, and there is none (" in fault
    assert fault.endswith("; pip install 'scpd[postgresql]'")
    assert "S3CRET" not in fault


def test_a_look_at_an_index_needs_no_database(tmp_path):
    (tmp_path / "scpd.yaml").write_text(
        f"storage: {{directory: {tmp_path}/s, reserve: 0}}\nindex: {{url: 'postgresql://h/d'}}\n"
    )
    program = (
        "import sys; from scpd.cli.main import main\n"
        f"assert main(['check', '{tmp_path}/scpd.yaml']) == 0\n"
        "print(sorted(name for name in sys.modules if name.startswith(('sqlalchemy', 'alembic'))))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("url", [None, "sqlite:////not/there/index.db", "postgresql://scpd:S3CRET@db/scpd"])
def test_one_database_with_other_attributes_is_a_fault(look, tmp_path, url):
    index = {} if url is None else {"url": url.replace("/not", str(tmp_path))}
    first = {"name": "one", "index": {**index, "attributes": {"study": "StudyComments"}}}
    second = {"name": "two", "bind": "127.0.0.1:0", "index": index}
    (fault,) = look(servers=[first, second]).faults
    assert keys([fault]) == ["index.attributes"]
    assert "are others than those of " in fault
    assert "S3CRET" not in fault
    assert look(servers=[first, {**second, "index": first["index"]}]).faults == []


def test_a_storage_directory_that_is_a_file_is_a_fault(look, tmp_path):
    (tmp_path / "file").write_text("")
    for below in ("", "/a/b"):
        (fault,) = look(storage={"directory": f"{tmp_path}/file{below}"}).faults
        assert f"storage.directory: {tmp_path}/file is not a directory; name one, or remove the file" in fault


def test_a_host_that_is_none_is_a_fault(look):
    (fault,) = look(bind="no-such-host.invalid:104").faults
    assert fault.split(": ")[1] == "bind"
    assert fault.endswith("; write an IP address")


def test_a_file_of_users_that_cannot_be_used_is_a_fault_with_its_line(look, tmp_path):
    text = f"storage: {{directory: {tmp_path}/store}}\nuser_identity:\n  providers:\n    - kind: passwords\n      file: /not/there\n"
    (fault,) = look(text).faults
    assert fault.startswith(
        f"{tmp_path}/scpd.yaml:5: user_identity.providers[0].file: /not/there cannot be read (No such"
    )
    assert ";" in fault


def test_one_fault_of_the_top_is_told_once_for_all_servers(look):
    section = {"providers": [{"kind": "passwords", "file": "/not/there"}]}
    servers = [{}, {"bind": "127.0.0.1:0"}, {"bind": "127.0.0.1:0"}]
    (fault,) = look(user_identity=section, servers=servers).faults
    assert keys([fault]) == ["user_identity.providers[0].file"]


def test_the_faults_of_several_servers_stand_each_at_its_own_line(look):
    servers = [
        {"user_identity": {"providers": [{"kind": "passwords", "file": f"/not/there/{number}"}]}, "bind": "127.0.0.1:0"}
        for number in range(2)
    ]
    faults = look(servers=servers).faults
    assert [fault.split("/not/there/")[1][0] for fault in faults] == ["0", "1"]
    assert len({fault.split(": ")[0] for fault in faults}) == 2


def test_with_a_fault_there_are_no_warnings(look):
    one = look(**EVERYWHERE, user_identity={"providers": [{"kind": "passwords", "file": "/not/there"}]})
    assert len(one.faults) == 1
    assert one.warnings == []


def test_the_threads_of_looking_are_given_back(look, users):
    before = set(os.listdir("/proc/self/task"))
    look(**passwords(users))
    assert set(os.listdir("/proc/self/task")) <= before


# -- open doors


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:0"])
def test_a_server_for_anybody_is_told(look, bind):
    (warning,) = look(bind=bind).warnings
    assert f": bind: {OPEN}" in warning
    assert ";" in warning


@pytest.mark.parametrize(
    "settings",
    [
        {"bind": "127.0.0.1:0"},
        {"bind": "[::1]:0"},
        {**EVERYWHERE, "called_ae_title": "check"},
        {**EVERYWHERE, "access": [{"allow": {"address": "10.0.0.0/8"}}, {"deny": "all"}]},
    ],
)
def test_a_server_with_any_door_is_not(look, settings):
    assert not [warning for warning in look(**settings).warnings if OPEN in warning]


def test_a_server_that_tells_anybody_what_is_held_is_told_as_that(look):
    (warning,) = look(**EVERYWHERE, contexts=["storage", "query_retrieve"], peers=PEERS, index={}).warnings
    assert f": bind: {OPEN}, and be told and sent what is held: it listens on every interface" in warning


def test_rules_about_another_server_are_no_door(look):
    servers = [{"name": "open", **EVERYWHERE}, {"name": "lan", "bind": "127.0.0.1:0"}]
    warnings = look(access=[{"deny": {"server": "lan", "calling": "X"}}], servers=servers).warnings
    assert any(OPEN in warning for warning in warnings)


def test_a_server_that_requires_a_verified_user_is_not_for_anybody(look, users):
    """Kerberos tickets and, with without_tls: allow, passcodes are verified without TLS as well."""
    section = passwords(users, policy="require", without_tls="allow")
    assert not [warning for warning in look(**EVERYWHERE, **section).warnings if OPEN in warning]


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ([{"allow": {"calling": "CT1"}}], True),
        ([{"allow": "all"}], True),
        ([{"allow": {"calling": "CT1"}}, {"deny": "all"}], False),
        ([{"deny": {"calling": "EVIL"}}], False),
        ([], False),
    ],
)
def test_rules_that_keep_nobody_out_are_told(look, rules, told):
    warnings = look(access=rules).warnings
    assert [warning.split(": access: ")[1] for warning in warnings] == ([NOBODY_KEPT_OUT] if told else [])


# -- rules that never match


@pytest.mark.parametrize("word", ["allow", "deny"])
def test_a_rule_about_certificates_without_tls_is_told(look, word):
    warnings = look(access=[{"deny": {"calling": "X"}}, {word: {"certificate": "CN=ct1"}}, {"deny": "all"}]).warnings
    assert keys(warnings) == ["access[1]"]
    assert "it never matches; write client: optional" in warnings[0]


@pytest.mark.parametrize("condition", [{"users": "alice"}, {"roles": "doctor"}])
@pytest.mark.parametrize(
    ("policy", "providers", "told"),
    [
        ("accept", [], True),
        ("ignore", [{"kind": "usernames", "users": "alice", "roles": "doctor"}], True),
        ("accept", [{"kind": "usernames", "users": "alice", "roles": "doctor"}], False),
    ],
)
def test_a_rule_about_users_whom_nobody_verifies_is_told(look, condition, policy, providers, told):
    rules = [{"allow": condition}, {"deny": "all"}]
    warnings = look(access=rules, user_identity={"policy": policy, "providers": providers}).warnings
    assert keys(warnings) == (["access[0]"] if told else [])


@pytest.mark.parametrize("condition", [{"users": "alice"}, {"roles": "doctor"}])
def test_a_rule_about_another_server_never_has_to_match(look, condition):
    rules = [{"allow": {"server": "known", **condition}}, {"deny": "all"}]
    known = {
        "name": "known",
        "user_identity": {"providers": [{"kind": "usernames", "users": "alice", "roles": "doctor"}]},
    }
    servers = [{"name": "plain"}, {**known, "bind": "127.0.0.1:0"}]
    assert look(access=rules, servers=servers).warnings == []


def test_an_identity_that_is_required_and_that_nobody_verifies_is_told(look):
    one = look(user_identity={"policy": "require"})
    assert any("user_identity" in sentence for sentence in one.faults + one.warnings)


@pytest.mark.parametrize("word", ["allow", "deny"])
def test_rules_after_one_for_everybody_are_told(look, word):
    one = look(access=[{word: "all"}, {"allow": {"calling": "CT1"}}, {"deny": "all"}])
    assert any("access[1]" in sentence for sentence in one.faults + one.warnings)


# -- secrets without TLS


@pytest.mark.parametrize(
    ("bind", "section", "told"),
    [
        ("0.0.0.0:0", {}, True),
        ("192.0.2.1:0", {}, True),
        ("127.0.0.1:0", {}, False),
        ("[::1]:0", {}, False),
        ("localhost:0", {}, False),
        ("0.0.0.0:0", {"without_tls": "allow"}, False),
        ("0.0.0.0:0", {"policy": "ignore"}, False),
    ],
)
def test_passcodes_that_would_all_be_rejected_are_told(look, users, bind, section, told):
    warnings = look(bind=bind, called_ae_title="check", **passwords(users, **section)).warnings
    assert keys(warnings) == (["user_identity"] if told else [])
    assert not told or "write tls, or without_tls: allow" in warnings[0]


def test_names_and_tickets_may_come_without_tls(look):
    section = {"providers": [{"kind": "usernames", "users": "a"}]}
    assert look(**EVERYWHERE, called_ae_title="check", user_identity=section).warnings == []


def test_a_file_of_users_that_everybody_may_read_is_told_with_its_line(look, users):
    users.chmod(0o644)
    (warning,) = look(**passwords(users)).warnings
    assert ": user_identity.providers[0]: " in warning
    assert warning.split(": ")[0].rpartition(":")[2].isdigit()
    assert "; chmod o-r" in warning


def test_one_warning_of_the_top_is_told_once_for_all_servers(look):
    warnings = look(access=[{"allow": "all"}], servers=[{}, {"bind": "127.0.0.1:0"}]).warnings
    assert keys(warnings) == ["access"]


def test_every_sentence_says_where_what_and_what_to_do(look, users):
    users.chmod(0o644)
    rules = [{"allow": {"certificate": "CN=x", "users": "a"}}]
    sentences = look(**EVERYWHERE, access=rules, **passwords(users)).warnings
    assert len(sentences) == 4
    for sentence in sentences:
        place, key, what = sentence.split(": ", 2)
        assert place.rpartition(":")[2].isdigit()
        assert key
        assert ";" in what
