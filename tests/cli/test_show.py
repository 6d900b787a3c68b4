"""``scpd show``: the effective configuration on standard output, or the faults on standard error and 78."""

from __future__ import annotations

from scpd.cli.main import main
from scpd.config import load


def test_what_is_shown_loads_as_the_same_configuration(tmp_path, capsys):
    path, again = tmp_path / "scpd.yaml", tmp_path / "again.yaml"
    path.write_text("ae_title: A\nlimits: {associations: 5}\n")
    assert main(["show", str(path)]) == 0
    again.write_text(capsys.readouterr().out)
    assert load(again) == load(path)


def test_a_secret_is_shown_as_its_reference(tmp_path, capsys):
    (tmp_path / "secret").write_text("S3CRET\n")
    path = tmp_path / "scpd.yaml"
    path.write_text(f"ae_title: file:{tmp_path}/secret\n")
    assert main(["show", str(path)]) == 0
    out = capsys.readouterr().out
    assert f"ae_title: file:{tmp_path}/secret\n" in out
    assert "S3CRET" not in out


def test_faults_go_to_standard_error(tmp_path, capsys):
    path = tmp_path / "scpd.yaml"
    path.write_text("bind: 5\n")
    assert main(["show", str(path)]) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{path}:1: bind: 5 is not an address; ")
