"""A reload reads certificates again; what they say of themselves in the log."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl

import pytest
from components.authority import Authority

PATIENCE = 20.0


@pytest.fixture
def authority(tmp_path):
    folder = tmp_path / "ca"
    folder.mkdir()
    return Authority(folder)


@pytest.fixture
def files(tmp_path, authority):
    """Where the daemon looks for its certificate and key, and how another pair gets there."""
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"

    def put(issued, *, its_key=None):
        shutil.copyfile(issued.chain, certificate)
        shutil.copyfile((its_key or issued).key, key)
        key.chmod(0o600)
        return issued

    return certificate, key, put


def shown(port, ca) -> bytes:
    """The certificate that the server shows, as DER."""
    context = ssl.create_default_context(cafile=ca)
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as secure:
            return secure.getpeercert(binary_form=True)


def der(issued) -> bytes:
    return ssl.PEM_cert_to_DER_cert(issued.certificate.read_text())


def test_a_renewed_certificate_is_shown_after_sighup(daemon, authority, files):
    certificate, key, put = files
    first = put(authority.server())
    one = daemon(tls={"certificate": str(certificate), "key": str(key)})
    assert shown(one.port, authority.certificate) == der(first)
    second = put(authority.server())
    assert shown(one.port, authority.certificate) == der(first)
    one.send_signal(signal.SIGHUP)
    one.wait_for_log(lambda line: line["event"] == "reloaded")
    assert shown(one.port, authority.certificate) == der(second)


def test_a_key_of_another_certificate_changes_nothing_and_is_named(daemon, authority, files):
    certificate, key, put = files
    first = put(authority.server())
    one = daemon(tls={"certificate": str(certificate), "key": str(key)})
    put(authority.server(), its_key=authority.server())
    one.send_signal(signal.SIGHUP)
    one.wait_for_log(lambda line: line["event"].startswith("reload failed"))
    (fault,) = one.wait_for_logs(lambda line: line["event"] == "reload: a fault", 1)
    assert "tls.key" in fault["fault"]
    assert str(key) in fault["fault"]
    assert shown(one.port, authority.certificate) == der(first)


def test_the_start_and_the_state_say_how_long_it_is_good_for(daemon, authority, files):
    certificate, key, put = files
    put(authority.server())
    one = daemon(tls={"certificate": str(certificate), "key": str(key)})
    listening = one.wait_for_log(lambda line: line["event"] == "listening")
    assert listening["tls"] == "bcp195"
    assert 300 < listening["certificate_days_left"] < 400
    one.send_signal(signal.SIGUSR1)
    state = one.wait_for_log(lambda line: line["event"] == "state")
    assert state["certificate_days_left"] == listening["certificate_days_left"]
