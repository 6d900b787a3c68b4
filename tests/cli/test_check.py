"""``scpd check``: every fault on standard output and 78, or one line and 0; and what main makes of a command's end."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest

from scpd.cli import main as cli
from scpd.errors import ConfigurationError, ScpdError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def surroundings(monkeypatch):
    """In place of the daemon's look at directories and ports: the faults that a test puts in."""
    faults = []
    module = types.ModuleType("scpd.daemon.surroundings")
    module.Surroundings = lambda config: types.SimpleNamespace(faults=faults, warnings=[])
    monkeypatch.setitem(sys.modules, "scpd.daemon.surroundings", module)
    monkeypatch.delitem(sys.modules, "scpd.cli.check", raising=False)
    yield faults
    sys.modules.pop("scpd.cli.check", None)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "scpd.yaml"
    path.write_text("ae_title: A\n")
    return path


def test_a_good_file_is_fine_in_one_line(surroundings, file, capsys):
    assert cli.main(["check", str(file)]) == 0
    assert capsys.readouterr() == (f"{file}: fine: 1 server, 207 SOP classes\n", "")


def test_servers_and_sop_classes_are_counted_once(surroundings, file, capsys):
    file.write_text('contexts: [verification]\nservers: [{bind: "127.0.0.1:1"}, {bind: "127.0.0.1:2"}]\n')
    assert cli.main(["check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: fine: 2 servers, 1 SOP class\n"


def test_every_fault_of_the_file_is_a_line_on_standard_output(surroundings, file, capsys):
    file.write_text("ae_titel: A\nbind: x\n")
    assert cli.main(["check", str(file)]) == 78
    out, err = capsys.readouterr()
    assert [line.split(": ")[0] for line in out.splitlines()] == [f"{file}:1", f"{file}:2"]
    assert err == ""


def test_every_fault_of_the_surroundings_is_a_line_too(surroundings, file, capsys):
    surroundings += ["scpd.yaml:3: storage.directory: is missing; make it", "scpd.yaml:4: another; mend it"]
    assert cli.main(["check", str(file)]) == 78
    assert capsys.readouterr().out.splitlines() == surroundings


def test_a_missing_file_is_a_fault(surroundings, tmp_path, capsys):
    assert cli.main(["check", str(tmp_path / "none.yaml")]) == 78
    assert "none.yaml: cannot be read (No such file or directory)" in capsys.readouterr().out


# -- main


@pytest.fixture
def command(monkeypatch):
    """A command that ends as a test wants it to."""

    def ending(end):
        module = types.ModuleType("scpd.cli.echo")
        module.configure = lambda parser: None
        module.run = end
        monkeypatch.setitem(sys.modules, "scpd.cli.echo", module)
        return cli.main(["echo"])

    return ending


def raising(error):
    def run(args):
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ConfigurationError(["f:1: a: b; c", "f:2: d: e; f"]), 78, "f:1: a: b; c\nf:2: d: e; f\n"),
        (ScpdError("the peer is gone"), 1, "scpd: the peer is gone\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_becomes_an_exit_status_and_a_sentence(command, capsys, error, status, said):
    assert command(raising(error)) == status
    assert capsys.readouterr() == ("", said)


def test_the_status_of_a_command_is_the_status(command):
    assert command(lambda args: 1) == 1


@pytest.mark.parametrize("arguments", [[], ["bogus"], ["check"], ["show", "a", "b"], ["--bogus"], ["schema", "x"]])
def test_wrong_usage_is_2(surroundings, arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: scpd" in capsys.readouterr().err


def test_help_names_every_command_and_imports_none(capsys):
    program = (
        "import sys; from scpd.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print(sorted(m for m in sys.modules if m.startswith(('scpd.', 'pydantic', 'yaml', 'pydicom'))))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    for name in cli.COMMANDS:
        assert f"\n    {name} " in done.stdout.replace("\n     ", " ")  # what a long name explains stands below it
    assert done.stdout.splitlines()[-1] == "['scpd.cli', 'scpd.cli.main', 'scpd.errors', 'scpd.version']"


def test_the_version_is_said(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("scpd 0.")


def test_a_reader_that_goes_away_is_no_news():
    program = "import sys; from scpd.cli.main import main; sys.exit(main(['schema']))"
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait()
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=reader.stdin, stderr=subprocess.PIPE, check=False, cwd=ROOT
    )
    reader.stdin.close()
    assert (done.returncode, done.stderr) == (1, b"")
