"""A file that a sysadmin names is read in bounded time, whatever it is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from scpd.regular import content


def test_as_much_as_is_asked_for(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    assert content(path, 4) == b"0123"
    assert content(path, 100) == b"0123456789"


def test_what_is_no_file_is_refused_at_once(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(OSError, match="Not a regular file"):
        content(fifo, 10)
    with pytest.raises(OSError, match="Not a regular file"):
        content(tmp_path.__class__("/dev/zero"), 10)
    with pytest.raises(IsADirectoryError):
        content(tmp_path, 10)


NAMED = {
    "tls.certificate": "tls: {certificate: FIFO, key: FIFO}",
    "tls.ca": "tls: {certificate: FIFO, key: FIFO, ca: FIFO}",
    "user_identity.providers[0].file": "user_identity: {providers: [{kind: passwords, file: FIFO}]}",
    "user_identity.providers[0].keys": (
        "user_identity: {providers: [{kind: jwt, issuer: 'https://x.example', audience: x, keys: FIFO}]}"
    ),
    "user_identity.providers[0].certificate": (
        "user_identity: {providers: [{kind: saml, issuer: 'https://x.example', audience: x, certificate: FIFO}]}"
    ),
}


@pytest.mark.parametrize("key", NAMED)
def test_check_does_not_wait_for_a_fifo(key, tmp_path):
    """Each file that a configuration names, in place of which somebody has put a FIFO."""
    os.mkfifo(tmp_path / "fifo")
    path = tmp_path / "scpd.yaml"
    path.write_text(NAMED[key].replace("FIFO", str(tmp_path / "fifo")) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "scpd", "check", str(path)], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert done.returncode == 78, done.stdout + done.stderr
    assert f"scpd.yaml:1: {key}: " in done.stdout
