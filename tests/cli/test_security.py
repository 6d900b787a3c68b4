"""What ``scpd echo`` and ``scpd send`` make of their arguments for TLS and user identity, right ones and wrong ones.

Every wrong one is a sentence that says what to do, exit code 1 or 2, and never a traceback or a secret.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from components.authority import Authority
from pydicom.data import get_testdata_file

from scpd.cli import address
from scpd.cli.main import main
from scpd.identity.password_file import hashed

FILE = get_testdata_file("CT_small.dcm")
PASSCODE = "kazoo-heron-27"
KEY_PASSWORD = "opensesame-61"


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def device(authority):
    return authority.client("ct1.example")


@pytest.fixture(scope="module")
def host(authority):
    """What the servers show: it names them, and no address."""
    return authority.server("pacs.example", alternatives=("DNS:pacs.example", "DNS:localhost"))


@pytest.fixture(scope="module")
def one(shared_daemon, tmp_path_factory, authority, host):
    """A plain server, one under TLS, one that wants a certificate, one that wants to know who comes."""
    users = tmp_path_factory.mktemp("users") / "users"
    users.write_text(f"alice:{hashed(PASSCODE)}\n")
    users.chmod(0o640)
    tls = {"certificate": str(host.chain), "key": str(host.key), "ca": str(authority.certificate)}
    identity = {"policy": "require", "providers": [{"kind": "passwords", "file": str(users)}]}
    return shared_daemon(
        storage={"path": "{SOPInstanceUID}"},
        servers=[
            {"name": "plain"},
            {"name": "tls", "tls": tls, "ae_title": "ARCHIVE", "called_ae_title": "check"},
            {"name": "mutual", "tls": {**tls, "client": "required"}},
            {"name": "known", "user_identity": {**identity, "lockout": {"failures": 0}}},
        ],
    )


@pytest.fixture
def echo(one, capsys):
    """``scpd echo`` to a server; its exit code, and what it said on either stream."""

    def call(server: str, *arguments: object, to: str = "localhost"):
        peer = f"{to}:{one.port_of(server)}" if server in ("plain", "tls", "mutual", "known") else server
        try:
            code = main(["echo", peer, *map(str, arguments)])
        except SystemExit as error:  # wrong usage, as argparse has it
            code = error.code
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        assert PASSCODE not in out + err
        assert KEY_PASSWORD not in out + err
        return code, out, err

    return call


@pytest.fixture
def trusting(authority):
    return ("--ca", authority.certificate)


def test_every_option_of_the_help_stands_in_this_file():
    """Whoever adds one adds a test."""
    parser = argparse.ArgumentParser()
    address.configure(parser)
    known = Path(__file__).read_text()
    options = set(re.findall(r"--[a-z-]+", parser.format_help()))
    assert len(options) > 15
    assert not [option for option in options - {"--help", "--timeout"} if f'"{option}"' not in known]


# -- TLS


def test_without_options_a_call_is_plain(echo):
    code, out, _ = echo("plain")
    assert code == 0
    assert re.fullmatch(r"Success \(0000\) in [\d.]+ ms\n", out)


def test_a_trusted_ca_is_enough_and_the_answer_names_version_and_suite(echo, trusting):
    code, out, _ = echo("tls", "--called", "ARCHIVE", *trusting)
    assert code == 0
    assert re.fullmatch(r"Success \(0000\) in [\d.]+ ms; TLSv1.3 TLS_AES_256_GCM_SHA384\n", out)


def test_tls_alone_trusts_the_cas_of_this_machine(echo, authority, monkeypatch):
    code, _, err = echo("tls", "--tls")
    assert code == 1
    assert "the peer's certificate is not accepted: " in err
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    assert echo("tls", "--tls", "--called", "ARCHIVE")[0] == 0


def test_insecure_takes_whoever_answers(echo):
    assert echo("tls", "--insecure", "--called", "ARCHIVE")[0] == 0


@pytest.mark.parametrize("arguments", [(), ("--tls-name", "other.example")])
def test_the_name_in_the_certificate_has_to_be_that_of_the_peer(echo, trusting, arguments):
    to = "127.0.0.1" if not arguments else "localhost"
    code, _, err = echo("tls", *trusting, *arguments, to=to)
    assert code == 1
    assert "mismatch, certificate is not valid for " in err
    assert (arguments[1] if arguments else "127.0.0.1") in err


def test_the_name_may_be_said(echo, trusting):
    assert echo("tls", *trusting, "--tls-name", "pacs.example", "--called", "ARCHIVE", to="127.0.0.1")[0] == 0


def test_a_certificate_and_its_key_in_one_file_or_two_encrypted_or_not(echo, trusting, device, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(KEY_PASSWORD + "\n")
    encrypted = device.key_file(password=KEY_PASSWORD)
    for own in (
        ("--certificate", device.chain, "--key", device.key),
        ("--certificate", device.together),
        ("--certificate", device.chain, "--key", encrypted, "--key-password-file", secret),
    ):
        code, out, err = echo("mutual", *trusting, *own)
        assert (code, err) == (0, "")
        assert "Success" in out
    code, _, err = echo("mutual", *trusting)
    assert code == 1
    assert err == "scpd: the peer requires a certificate, and was sent none\n"


@pytest.mark.parametrize(
    ("profile", "suite"), [("bcp195", "TLSv1.3"), ("bcp195-modified", "TLSv1.3"), ("tls13", "TLSv1.3")]
)
def test_each_profile_can_be_asked_for(echo, trusting, profile, suite):
    code, out, _ = echo("tls", *trusting, "--tls-profile", profile, "--called", "ARCHIVE")
    assert code == 0
    assert f"; {suite} " in out


def test_a_namesake_of_the_ca_is_not_the_ca(echo, tmp_path):
    other = Authority(tmp_path)
    code, _, err = echo("tls", "--ca", other.certificate)
    assert code == 1
    assert err.startswith("scpd: the TLS handshake failed: the peer's certificate is not accepted: ")


def test_a_server_that_is_revoked_is_not_talked_to(echo, authority, trusting, host):
    assert echo("tls", *trusting, "--crl", authority.revocation_list(), "--called", "ARCHIVE")[0] == 0
    authority.revoke(host)
    code, _, err = echo("tls", *trusting, "--crl", authority.revocation_list())
    assert code == 1
    assert "'certificate revoked'" in err


def test_plain_to_a_port_of_tls_and_tls_to_a_plain_one_say_what_came(echo):
    code, _, err = echo("tls")
    assert code == 1
    assert err == "scpd: the peer closed the connection\n"
    code, _, err = echo("plain", "--insecure")
    assert code == 1
    assert err.startswith("scpd: the TLS handshake failed: ")
    assert "the peer spoke plain DICOM, not TLS" in err


# -- user identity


@pytest.mark.parametrize("passcode", [PASSCODE, PASSCODE + "\n", PASSCODE + "\r\n"])
def test_a_passcode_comes_from_a_file(echo, tmp_path, passcode):
    file = tmp_path / "passcode"
    file.write_bytes(passcode.encode())
    code, out, _ = echo("known", "--user", "alice", "--password-file", file)
    assert code == 0
    assert out.endswith("; user identity confirmed\n")


def test_a_passcode_comes_from_standard_input(one):
    command = [sys.executable, "-m", "scpd", "echo", f"localhost:{one.port_of('known')}", "--user", "alice"]
    done = subprocess.run([*command, "--password-file", "-"], input=PASSCODE + "\n", capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "user identity confirmed" in done.stdout


def test_one_standard_input_is_not_two_secrets(echo, monkeypatch, device, trusting):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{KEY_PASSWORD}\n{PASSCODE}\n".encode())))
    own = ("--certificate", device.chain, "--key", device.key_file(password=KEY_PASSWORD), "--key-password-file", "-")
    code, _, err = echo("mutual", *trusting, *own, "--user", "alice", "--password-file", "-")
    assert code in (1, 2)
    assert "standard input" in err


def test_a_peer_that_does_not_look_at_it_is_said_to(echo):
    code, out, _ = echo("plain", "--user", "alice")
    assert code == 0
    assert out.endswith("; user identity not confirmed: the peer may have ignored it\n")


def test_who_is_refused_is_told_by_the_peer_alone_that_he_is(echo):
    code, _, err = echo("known", "--user", "alice")
    assert code == 1
    assert err == (
        "scpd: the peer rejected the association: permanently, DICOM UL service-provider (ACSE related function): "
        "no reason given\n"
    )


def test_a_ticket_that_cannot_be_had_says_what_to_do(echo, monkeypatch, tmp_path):
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path / 'none'}")
    monkeypatch.setenv("KRB5_CONFIG", os.devnull)
    code, _, err = echo("known", "--kerberos", "dicom/pacs.example")
    assert code == 1
    assert err.startswith("scpd: no Kerberos ticket for 'dicom/pacs.example': ")
    assert "run kinit first" in err


# -- wrong files


OPTIONS = {
    "--ca": (),
    "--certificate": (),
    "--key": ("--certificate", "{certificate}"),
    "--key-password-file": ("--certificate", "{certificate}"),
    "--crl": ("--ca", "{ca}"),
    "--password-file": ("--user", "alice"),
    "--saml": (),
    "--jwt": (),
}


@pytest.mark.parametrize("what", ["missing", "a folder", "empty", "binary"])
@pytest.mark.parametrize("option", OPTIONS)
def test_a_file_that_is_no_good_is_named_with_its_option(echo, authority, device, tmp_path, option, what):
    file = tmp_path / "file"
    if what == "a folder":
        file.mkdir()
    elif what != "missing":
        file.write_bytes(b"" if what == "empty" else b"\xff\xfe\x00\x01" * 100)
    beside = [word.format(certificate=device.together, ca=authority.certificate) for word in OPTIONS[option]]
    code, out, err = echo("plain", option, file, *beside)
    assert code == 1
    assert not out
    assert err.startswith(f"scpd: {option}: ")
    assert str(file) in err
    assert len(err.splitlines()) == 1


def test_files_that_do_not_fit_each_other_are_named(echo, authority, device, trusting):
    other = authority.client("other.example")
    code, _, err = echo("mutual", *trusting, "--certificate", device.chain, "--key", other.key)
    assert code == 1
    assert err.startswith(f"scpd: --key: {other.key} does not belong to {device.chain}")
    encrypted = device.key_file(password=KEY_PASSWORD)
    code, _, err = echo("mutual", *trusting, "--certificate", device.chain, "--key", encrypted)
    assert code == 1
    assert f"{encrypted} is encrypted" in err


def test_a_wrong_password_is_named_with_the_option_that_brought_it(echo, device, trusting, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(KEY_PASSWORD + "x")
    encrypted = device.key_file(password=KEY_PASSWORD)
    own = ("--certificate", device.chain, "--key", encrypted, "--key-password-file", secret)
    code, _, err = echo("mutual", *trusting, *own)
    assert code == 1
    assert err.startswith(f"scpd: --key-password-file: the password does not open {encrypted}")


def test_what_is_too_long_for_the_protocol_is_refused_before_anybody_is_called(echo, tmp_path):
    file = tmp_path / "token"
    file.write_bytes(b"x" * 65_536)
    for option in ("--jwt", "--saml"):
        code, _, err = echo("plain", option, file)
        assert code == 1
        assert "65535 bytes" in err
    code, _, err = echo("plain", "--user", "x" * 65_536)
    assert code == 1
    assert "--user" in err


@pytest.mark.parametrize("fields", [("--jwt", 65_535), ("--saml", 65_500), ("--password-file", 50_000)])
def test_what_is_too_long_with_all_that_goes_with_it_is_refused_too(echo, tmp_path, fields):
    option, length = fields
    file = tmp_path / "field"
    file.write_bytes(b"x" * length)
    code, _, err = echo("plain", option, file, *(("--user", "x" * 20_000) if option == "--password-file" else ()))
    assert code == 1
    assert err.startswith("scpd: ")


# -- what does not go together


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--user", "alice", "--jwt", FILE), "--user and --jwt are two identities; an association takes one"),
        (("--saml", FILE, "--jwt", FILE), "--saml and --jwt are two identities; an association takes one"),
        (("--kerberos", "x/y", "--user", "alice"), "--user and --kerberos are two identities"),
        (("--password-file", FILE), "--password-file is the passcode of a user; write --user too"),
        (("--tls-profile", "ssl3"), "invalid choice: 'ssl3'"),
        (("--calling", "A\\B"), "without backslash"),
        (("--timeout", "never"), "'never' is not a time"),
    ],
)
def test_wrong_usage_is_exit_2(echo, arguments, says):
    code, _, err = echo("plain", *arguments)
    assert code == 2
    assert says in err
    assert err.startswith("usage: scpd")


def test_a_key_without_its_certificate_is_refused(echo, device):
    code, _, err = echo("plain", "--key", device.key)
    assert code == 1
    assert err.startswith(f"scpd: --key: {device.key} is named without a certificate; name the certificate too")


@pytest.mark.parametrize(
    ("option", "beside"),
    [("--user", ()), ("--jwt", ()), ("--saml", ()), ("--kerberos", ()), ("--password-file", ("--user", "alice"))],
)
def test_an_empty_value_is_no_value(echo, option, beside):
    code, out, _ = echo("plain", option, "", *beside)
    assert code in (1, 2), out


@pytest.mark.parametrize("option", ["--ca", "--crl"])
def test_insecure_and_whom_to_trust_contradict_each_other(echo, option):
    code, _, _ = echo("tls", "--insecure", "--called", "ARCHIVE", option, "/nowhere/file")
    assert code in (1, 2)


# -- peers by name


@pytest.fixture
def configured(one, authority, device, tmp_path):
    """A configuration that knows the servers by name; keywords are keys of the TLS of ARCHIVE."""

    def write(**tls) -> Path:
        peers = {
            "PLAIN": {"address": f"127.0.0.1:{one.port}", "ae_title": "SCPD"},
            "ARCHIVE": {
                "address": f"127.0.0.1:{one.port_of('tls')}",
                "ae_title": "ARCHIVE",
                "tls": {"ca": str(authority.certificate), "name": "pacs.example", **tls},
            },
            "MUTUAL": {
                "address": f"localhost:{one.port_of('mutual')}",
                "ae_title": "ANY",
                "tls": {
                    "ca": str(authority.certificate),
                    "certificate": str(device.chain),
                    "key": str(device.key),
                },
            },
        }
        config = tmp_path / "scpd.yaml"
        config.write_text(yaml.safe_dump({"peers": json.loads(json.dumps(peers))}))
        return config

    return write


def test_a_peer_by_its_name_brings_address_title_and_tls(echo, configured, one):
    """ARCHIVE is served under its own title only, and its certificate names no address."""
    config = configured()
    assert echo("PLAIN", "--config", config)[0] == 0
    code, out, err = echo("ARCHIVE", "--config", config)
    assert (code, err) == (0, "")
    assert "TLSv1.3" in out
    assert echo("MUTUAL", "--config", config, "--calling", "BYNAME")[0] == 0
    assert one.wait_for_log(lambda line: line.get("calling") == "BYNAME")["called"] == "ANY"


def test_scpd_send_knows_the_same_names(configured, capsys):
    assert main(["send", "MUTUAL", "--config", str(configured()), FILE]) == 0
    assert capsys.readouterr().out.startswith("1 stored, 0 not\n")


def test_what_is_said_on_the_command_line_goes_before_the_configuration(echo, configured):
    code, _, err = echo("ARCHIVE", "--config", configured(), "--called", "OTHER")
    assert code == 1
    assert "called AE title not recognized" in err
    code, _, err = echo("ARCHIVE", "--config", configured(), "--tls-name", "other.example")
    assert code == 1
    assert "'other.example'" in err
    assert echo("ARCHIVE", "--config", configured(ca="/dev/null", verify=False))[0] == 0
    assert echo("ARCHIVE", "--config", configured(name="other.example"), "--tls-name", "pacs.example")[0] == 0


def test_names_that_are_not_known_are_answered_with_those_that_are(echo, configured, tmp_path):
    code, _, err = echo("ARHCIVE", "--config", configured())
    assert code == 1
    assert err.endswith("has no peer 'ARHCIVE'; it knows ARCHIVE, MUTUAL, PLAIN\n")
    empty = tmp_path / "empty.yaml"
    empty.write_text("ae_title: A\n")
    code, _, err = echo("ARCHIVE", "--config", empty)
    assert code == 1
    assert err.endswith("has no peer 'ARCHIVE'; it has none\n")
    code, _, err = echo("ARCHIVE")
    assert code == 2
    assert "'ARCHIVE' is not HOST:PORT; write it as 10.0.0.5:104 or [::1]:104, or a name with --config" in err


def test_a_configuration_that_is_wrong_or_missing_is_78(echo, tmp_path):
    code, _, err = echo("ARCHIVE", "--config", tmp_path / "none.yaml")
    assert code == 78
    assert "cannot be read" in err
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("peers: {ARCHIVE: {adress: x}}\n")
    code, _, err = echo("ARCHIVE", "--config", wrong)
    assert code == 78
    assert all(line.startswith(f"{wrong}:1: peers.ARCHIVE") for line in err.splitlines())
    assert "address" in err


def test_a_wrong_file_of_the_configuration_is_named_as_the_configuration_has_it(echo, configured):
    code, _, err = echo("ARCHIVE", "--config", configured(ca="/nowhere/ca.crt"))
    assert code in (1, 78)
    assert "/nowhere/ca.crt does not exist" in err
    assert "peers.ARCHIVE.tls.ca" in err
    assert "--ca" not in err


def test_another_certificate_on_the_command_line_brings_its_own_key(echo, configured, authority):
    other = authority.client("other.example")
    code, _, err = echo("MUTUAL", "--config", configured(), "--certificate", other.together)
    assert code == 0, err
