"""``scpd echo`` and ``scpd send`` as somebody at a shell uses them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from scpd.cli.main import main

FILE = get_testdata_file("CT_small.dcm")


def test_echo(daemon, capsys):
    assert main(["echo", f"127.0.0.1:{daemon().port}", "--called", "SCPD"]) == 0
    assert capsys.readouterr().out.startswith("Success (0000) in ")


def test_echo_to_nobody(free_port, capsys):
    assert main(["echo", f"127.0.0.1:{free_port}"]) == 1
    assert f"scpd: cannot connect to 127.0.0.1:{free_port}" in capsys.readouterr().err


def test_echo_that_is_rejected(daemon, capsys):
    port = daemon(called_ae_title="check").port
    assert main(["echo", f"127.0.0.1:{port}", "--called", "WRONG"]) == 1
    assert "called AE title not recognized" in capsys.readouterr().err


def test_send_a_file_and_a_folder(daemon, capsys, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mr").write_bytes(Path(get_testdata_file("MR_small.dcm")).read_bytes())
    server = daemon()
    assert main(["send", f"127.0.0.1:{server.port}", FILE, str(tmp_path / "a")]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == ["2 stored, 0 not", "       2 Success (0000)"]
    assert not err, "no progress bar where there is no terminal"
    assert len(server.stored()) == 2


def test_send_says_by_status_what_was_not_stored_and_fails(daemon, capsys):
    server = daemon(storage={"duplicates": "reject"})
    assert main(["send", f"127.0.0.1:{server.port}", FILE]) == 0
    assert main(["send", f"127.0.0.1:{server.port}", FILE, "/nowhere"]) == 1
    assert "0 stored, 2 not" in (out := capsys.readouterr().out)
    assert "       1 Duplicate SOP instance (0111)" in out
    assert "       1 not sent: No such file or directory" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["echo", "nowhere"], "is not HOST:PORT"),
        (["echo", "a:0"], "is not HOST:PORT"),
        (["echo", "a:104", "--calling", "A" * 17], "at most 16 characters"),
        (["echo", "a:104", "--timeout", "soon"], "is not a time"),
        (["send", "a:104"], "PATH"),
    ],
)
def test_wrong_usage_is_exit_2_with_a_sentence(capsys, arguments, words):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err
