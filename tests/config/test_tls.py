"""The sections tls and peers: what may be left out, and that the password of a key is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from scpd.config import Config, Endpoint, ServerConfig, effective, load
from scpd.config.kinds import MASK
from scpd.config.peers import PeerConfig
from scpd.config.tls import PeerTLSConfig, TLSConfig
from scpd.errors import ConfigurationError

SECRET = "s3cret-of-the-key"


@pytest.fixture
def text(tmp_path):
    def load_text(content, environ=None):
        path = tmp_path / "scpd.yaml"
        path.write_text(content)
        return load(path, environ or {})

    return load_text


def faults(call, *args) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        call(*args)
    return caught.value.faults


# -- tls


@pytest.mark.parametrize("content", ["ae_title: A\n", "tls:\n", "tls: null\n"])
def test_without_the_section_nothing_is_protected(text, content):
    assert text(content).servers[0].tls is None


def test_a_certificate_is_enough(text):
    assert text("tls: {certificate: /etc/scpd/tls.crt}\n").servers[0].tls == TLSConfig(
        certificate=Path("/etc/scpd/tls.crt"),
        key=None,
        key_password=None,
        ca=None,
        crl=None,
        client="none",
        profile="bcp195",
    )


@pytest.mark.parametrize("client", ["optional", "required"])
def test_a_certificate_of_the_peer_is_checked_against_something(text, client):
    (told,) = faults(text, f"tls: {{certificate: a, client: {client}}}\n")
    assert told.endswith(f": tls: client: {client} has no CA to check against; write ca, the file of its certificate")
    assert text(f"tls: {{certificate: a, client: {client}, ca: b}}\n").servers[0].tls.client == client


@pytest.mark.parametrize("profile", ["bcp195", "bcp195-modified", "bcp195-nd", "tls13"])
def test_the_profiles(text, profile):
    assert text(f"tls: {{certificate: a, profile: {profile}}}\n").servers[0].tls.profile == profile


def test_one_server_may_be_protected_and_another_not(text):
    content = "tls: {certificate: a, ca: b}\nservers: [{tls: {client: required}}, {bind: '127.0.0.1:1', tls: }]\n"
    first, second = text(content).servers
    assert (first.tls.certificate, first.tls.client) == (Path("a"), "required")
    assert second.tls is None


# -- the password of a key


@pytest.mark.parametrize("password", [SECRET, "4711", "a b", "'", "Ωμέγα"])
def test_it_is_kept_as_it_is_and_shown_as_a_mask(text, password):
    config = text(f"tls: {{certificate: a, key_password: {yaml.safe_dump(password).splitlines()[0]}}}\n")
    assert config.servers[0].tls.key_password == password
    assert yaml.safe_load(effective(config))["servers"][0]["tls"]["key_password"] == MASK
    assert password not in config.servers[0].tls.model_dump_json()


def test_a_password_that_is_not_there_is_shown_as_such(text):
    assert yaml.safe_load(effective(text("tls: {certificate: a}\n")))["servers"][0]["tls"]["key_password"] is None


def test_a_password_of_a_file_is_shown_as_its_reference(text, tmp_path):
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    reference = f"file:{tmp_path}/secret"
    content = f"tls: {{certificate: a, key_password: '{reference}'}}\n"
    content += f"peers: {{P: {{address: 'p:104', ae_title: P, tls: {{key_password: '{reference}'}}}}}}\n"
    config = text(content)
    assert config.servers[0].tls.key_password == config.peers["P"].tls.key_password == SECRET
    shown = yaml.safe_load(effective(config))
    assert shown["servers"][0]["tls"]["key_password"] == shown["peers"]["P"]["tls"]["key_password"] == reference
    assert SECRET not in effective(config)
    assert text(effective(config)) == config


def test_a_password_of_the_environment_is_not_shown(text):
    config = text("tls: {certificate: a, key_password: '${PASSWORD}'}\n", {"PASSWORD": SECRET})
    assert config.servers[0].tls.key_password == SECRET
    assert SECRET not in effective(config)


@pytest.mark.parametrize("content", [f"{SECRET}\n\n", f"{SECRET}\0", "", " \n"])
def test_a_fault_of_a_file_of_a_password_names_the_file_alone(text, tmp_path, content):
    (tmp_path / "secret").write_text(content)
    (told,) = faults(text, f"tls: {{certificate: a, key_password: 'file:{tmp_path}/secret'}}\n")
    assert SECRET not in told
    assert f"file:{tmp_path}/secret" in told


@pytest.mark.parametrize("password", [f"{SECRET}\n", f"{SECRET}\t"])
def test_a_fault_of_a_password_never_repeats_it(text, password):
    (told,) = faults(text, "tls: {certificate: a, key_password: '${PASSWORD}'}\n", {"PASSWORD": password})
    assert "tls.key_password: " in told
    assert SECRET not in told


@pytest.mark.parametrize(
    "section", [TLSConfig(certificate="a", key_password=SECRET), PeerTLSConfig(key_password=SECRET)]
)
def test_the_repr_of_a_section_shows_no_password(section):
    assert SECRET not in repr(section)
    assert SECRET not in str(section)


# -- peers


def test_peers_are_called_by_name(text):
    content = "peers:\n  VIEWER: {address: '10.20.3.4:104', ae_title: VIEWER1}\n  my-pacs: {address: '[::1]:104', ae_title: P, tls: {}}\n"
    config = text(content)
    assert config.peers == {
        "VIEWER": PeerConfig(address="10.20.3.4:104", ae_title="VIEWER1"),
        "my-pacs": PeerConfig(address="[::1]:104", ae_title="P", tls=PeerTLSConfig()),
    }
    assert config.peers["VIEWER"].address == Endpoint("10.20.3.4", 104)
    assert config.peers["my-pacs"].tls.verify is True
    assert text(effective(config)) == config


def test_configurations_with_other_peers_differ(text):
    one = text("peers: {A: {address: 'a:1', ae_title: A}}\n")
    assert one != text("peers: {B: {address: 'a:1', ae_title: A}}\n")
    assert one != text("ae_title: SCPD\n")
    assert hash(one) == hash(text("# moved\npeers: {A: {address: 'a:1', ae_title: A}}\n"))


def test_a_key_of_a_peer_knows_its_line_or_that_of_its_section(text):
    config = text("peers:\n  VIEWER:\n    address: 'v:104'\n    ae_title: V\n    tls:\n      ca: /ca\n")
    assert config.where(None, "peers.VIEWER.tls.ca").endswith(":6")
    assert config.near(None, "peers.VIEWER.tls.certificate").endswith(":5")


def test_a_name_of_a_peer_is_one_word(text):
    """It stands in commands, and in the place of a fault."""
    (told,) = faults(text, "peers:\n  my pacs: {address: 'v:104', ae_title: V}\n")
    assert told.endswith("is no name; write 1 to 64 letters, digits, dots, dashes and underscores")


@pytest.mark.parametrize("written", ["[VIEWER]", "VIEWER", "[]", "5", "true"])
def test_peers_that_are_no_mapping_are_told_to_be_one(text, written):
    (told,) = faults(text, f"peers: {written}\n")
    assert "scpd schema says" not in told


def test_a_key_that_only_a_servers_tls_has_is_not_offered_as_what_it_was_written(text):
    content = "peers: {A: {address: 'a:1', ae_title: A, tls: {client: required}}}\n"
    (told,) = faults(text, content)
    assert "did you mean tls.client?" not in told


def test_a_program_may_write_the_sections_without_a_file():
    config = Config(servers=(ServerConfig(tls={"certificate": "a"}),), peers={"A": {"address": "a:1", "ae_title": "A"}})
    assert config.servers[0].tls == TLSConfig(certificate=Path("a"))
    assert config.peers["A"].tls is None
