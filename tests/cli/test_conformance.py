"""``scpd conformance``: the statement on standard output or in a file, or the faults on standard error and 78."""

from __future__ import annotations

from pathlib import Path

import pytest

from scpd.cli.main import main
from scpd.config import load
from scpd.daemon.conformance import in_html, in_markdown
from scpd.daemon.conformance.chapters import statement

CONFIG = Path(__file__).parents[2] / "config" / "secure.yaml"


@pytest.mark.parametrize(("option", "render"), [([], in_markdown.render), (["--html"], in_html.render)])
def test_the_statement_goes_to_standard_output_or_to_a_file(tmp_path, capsys, option, render):
    assert main(["conformance", str(CONFIG), *option]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == (render(statement(load(CONFIG))), "")
    path = tmp_path / "statement"
    assert main(["conformance", str(CONFIG), *option, "--output", str(path)]) == 0
    assert capsys.readouterr() == ("", "")
    assert path.read_text(encoding="utf-8") == out


def test_it_is_the_same_each_time(capsys):
    """So that two statements can be compared line by line."""
    assert main(["conformance", str(CONFIG)]) == main(["conformance", str(CONFIG)]) == 0
    out = capsys.readouterr().out
    assert out[: len(out) // 2] == out[len(out) // 2 :]


def test_faults_go_to_standard_error(tmp_path, capsys):
    path = tmp_path / "scpd.yaml"
    path.write_text("ae_titel: X\nbind: 5\n")
    output = tmp_path / "statement"
    assert main(["conformance", str(path), "--output", str(output)]) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{path}:1: ae_titel: unknown key" in err
    assert f"{path}:2: bind: 5 is not an address; " in err
    assert not output.exists()


def test_a_file_that_cannot_be_written_is_a_failure_with_a_sentence(tmp_path, capsys):
    assert main(["conformance", str(CONFIG), "--output", str(tmp_path / "none" / "x")]) == 1
    assert "cannot be written: No such file or directory; name another file" in capsys.readouterr().err


def test_without_a_configuration_it_is_wrong_usage():
    with pytest.raises(SystemExit) as caught:
        main(["conformance"])
    assert caught.value.code == 2
