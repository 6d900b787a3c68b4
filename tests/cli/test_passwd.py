"""``scpd passwd``: what it asks, what it never shows, and that a mistake changes nothing."""

from __future__ import annotations

import io
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time

import pytest

from scpd.cli.main import main
from scpd.identity.password_file import HASHER, read

PATIENCE = 30.0
SECRET = "s3cret-påsscode"
FINE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


@pytest.fixture
def file(tmp_path):
    return tmp_path / "users"


@pytest.fixture
def passwd(monkeypatch, capsys, file):
    """Run it here, with ``stdin`` as its standard input: (exit status, what it printed, what it complained of)."""

    def run(*arguments: str, stdin: str = f"{SECRET}\n"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        try:
            status = main(["passwd", str(file), *arguments])
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        assert SECRET not in out + err
        return status, out, err

    return run


@pytest.fixture
def alice(passwd, file):
    """A file with one user, who has two roles."""
    assert passwd("alice", "--roles", "doctor,nurse")[0] == FINE
    return file


def fits(file, user: str, passcode: str = SECRET) -> bool:
    try:
        return HASHER.verify(read(file)[user].hash, passcode.encode())
    except Exception:  # whatever argon2 calls it
        return False


def command(file, *arguments: object) -> list[object]:
    return [sys.executable, "-m", "scpd", "passwd", file, *arguments]


# -- from standard input


def test_a_new_user_is_added_and_a_known_one_changed(passwd, file):
    assert passwd("alice") == (FINE, f"{file}: alice added\n", "")
    assert fits(file, "alice")
    assert passwd("alice", stdin="another\n") == (FINE, f"{file}: alice changed\n", "")
    assert fits(file, "alice", "another")
    assert passwd("bob")[0] == FINE
    assert list(read(file)) == ["alice", "bob"]


@pytest.mark.parametrize("line", [SECRET, f"{SECRET}\n", f"{SECRET}\r\n", f"{SECRET}\nmore\nlines\n"])
def test_one_line_is_the_passcode_without_its_end(passwd, file, line):
    assert passwd("alice", stdin=line)[0] == FINE
    assert fits(file, "alice")


@pytest.mark.parametrize("passcode", [" a ", "#", ":", "a\tb", "x" * 1024, "€" * 1024, "a\0b"])
def test_any_text_may_be_one(passwd, file, passcode):
    assert passwd("alice", stdin=f"{passcode}\n")[0] == FINE
    assert fits(file, "alice", passcode)


@pytest.mark.parametrize(
    ("stdin", "why"),
    [
        ("", "a passcode needs at least one character; nothing was changed"),
        ("\n", "a passcode needs at least one character; nothing was changed"),
        ("\r\n", "a passcode needs at least one character; nothing was changed"),
        ("x" * 1025 + "\n", "a passcode has at most 1024 characters; nothing was changed"),
        ("x" * 1_000_000, "a passcode has at most 1024 characters; nothing was changed"),
    ],
)
def test_what_is_no_passcode_changes_nothing(passwd, alice, stdin, why):
    before = alice.read_bytes()
    assert passwd("alice", stdin=stdin) == (FAILED, "", f"scpd: {why}\n")
    assert alice.read_bytes() == before


def test_a_passcode_that_is_no_text_is_told_so(file):
    done = subprocess.run(
        command(file, "alice"), input=b"p\xe5ss\n", capture_output=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == FAILED
    assert b"Traceback" not in done.stderr
    assert not file.exists()


def test_without_a_standard_input_there_is_no_passcode(file):
    shell = ["sh", "-c", 'exec "$@" <&-', "sh", *map(str, command(file, "alice"))]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (
        FAILED,
        "scpd: a passcode needs at least one character; nothing was changed\n",
    )
    assert not file.exists()


# -- roles


def test_roles_stay_where_none_are_given_and_are_replaced_or_taken_away_where_they_are(passwd, alice):
    passwd("alice", stdin="another\n")
    assert read(alice)["alice"].roles == {"doctor", "nurse"}
    passwd("alice", "--roles", "admin")
    assert read(alice)["alice"].roles == {"admin"}
    passwd("alice", "--roles", "")
    assert read(alice)["alice"].roles == frozenset()


@pytest.mark.parametrize("roles", ["a b", "a,,b", "a:b", ",", "x" * 65])
def test_roles_that_are_none_are_wrong_usage_and_nothing_is_asked(passwd, alice, roles):
    before = alice.read_bytes()
    status, out, err = passwd("alice", "--roles", roles, stdin="")
    assert (status, out) == (USAGE, "")
    assert "is no role; write 1 to 64 characters without colons, commas and spaces" in err
    assert alice.read_bytes() == before


# -- removing


def test_a_user_is_removed_without_a_question(passwd, alice):
    passwd("bob")
    assert passwd("alice", "--delete", stdin="") == (FINE, f"{alice}: alice removed\n", "")
    assert list(read(alice)) == ["bob"]


def test_who_is_not_there_cannot_be_removed(passwd, alice):
    before = alice.read_bytes()
    assert passwd("eve", "--delete", stdin="") == (FAILED, "", f"scpd: {alice} has no user eve\n")
    assert alice.read_bytes() == before


def test_removing_from_a_file_that_is_not_there_makes_none(passwd, file):
    status, _, err = passwd("alice", "--delete", stdin="")
    assert (status, bool(err)) == (FAILED, True)
    assert not file.exists()


# -- names and files


@pytest.mark.parametrize("name", ["", "a:b", "#a", " a", "a ", "a\nb", "\x1b[2J", "x" * 257])
def test_a_name_that_is_none_is_wrong_usage_and_makes_no_file(passwd, file, name):
    status, out, err = passwd(name)
    assert (status, out) == (USAGE, "")
    assert "is no user's name; write 1 to 256 characters without colons and control characters" in err
    assert "\x1b" not in err
    assert not file.exists()


@pytest.mark.parametrize("name", ["ct 1", "Ålice", "alice@EXAMPLE", "x" * 256])
def test_any_other_name_is_one(passwd, file, name):
    assert passwd(name)[0] == FINE
    assert fits(file, name)


def test_a_name_may_begin_with_a_dash_after_two_of_them(passwd, file):
    assert passwd("--", "-x")[0] == FINE
    assert list(read(file)) == ["-x"]


@pytest.mark.parametrize("arguments", [[b"\xff"], [b"alice", b"--roles", b"\xff"]])
def test_a_name_or_role_that_is_no_text_is_wrong_usage(file, arguments):
    done = subprocess.run(command(file, *arguments), input=b"x\n", capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == USAGE
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("content", [b"ae_title: SCPD\n", b"\xff\xfe", b"root:x:0:0:root:/root:/bin/sh\n"])
def test_a_file_that_is_something_else_is_left_alone(passwd, file, content):
    file.write_bytes(content)
    status, out, err = passwd("alice")
    assert (status, out) == (FAILED, "")
    assert err.startswith(f"scpd: {file}")
    assert err.count("\n") == 1
    assert file.read_bytes() == content
    assert os.listdir(file.parent) == ["users"]


def test_a_folder_that_is_not_there_is_told(passwd, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{SECRET}\n"))
    assert main(["passwd", str(tmp_path / "none" / "users"), "alice"]) == FAILED
    assert capsys.readouterr().err == f"scpd: {tmp_path}/none/users cannot be written: No such file or directory\n"


def test_a_folder_in_place_of_the_file_is_told(passwd, file):
    file.mkdir()
    status, _, err = passwd("alice")
    assert status == FAILED
    assert "Is a directory" in err


@pytest.mark.parametrize(
    "arguments", [["passwd"], ["passwd", "file"], ["passwd", "file", "a", "b"], ["passwd", "--roles"]]
)
def test_wrong_usage_is_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == USAGE
    assert "usage: scpd" in capsys.readouterr().err


# -- on a terminal


def _at_a_terminal(slave: int) -> None:
    os.login_tty(slave)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # who runs the tests in the background may have it ignored


class Terminal:
    """A command on a terminal of its own; ``shown`` is all that came to stand on it."""

    def __init__(self, *arguments: object) -> None:
        self.fd, slave = pty.openpty()
        self.process = subprocess.Popen(arguments, preexec_fn=lambda: _at_a_terminal(slave))
        self._slave = slave  # held open, so that the terminal's settings can be looked at afterwards
        self.shown = ""

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown:
            ready, _, _ = select.select([self.fd], [], [], deadline - time.monotonic())
            assert ready, f"{text!r} never came: {self.shown!r}"
            self.shown += os.read(self.fd, 4096).decode()

    def answer(self, question: str, line: str) -> None:
        self.wait_for(question)
        os.write(self.fd, line.encode())

    def end(self) -> int:
        status = self.process.wait(PATIENCE)
        while select.select([self.fd], [], [], 0)[0]:
            self.shown += os.read(self.fd, 4096).decode()
        return status

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self._slave)[3] & termios.ECHO)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.fd)
        os.close(self._slave)


@pytest.fixture
def terminal(file):
    opened: list[Terminal] = []

    def run(*arguments: object) -> Terminal:
        opened.append(Terminal(*command(file, *arguments)))
        return opened[-1]

    yield run
    for one in opened:
        one.close()


def test_it_asks_twice_and_shows_nothing_of_what_is_typed(terminal, file):
    one = terminal("alice", "--roles", "doctor")
    one.answer("Passcode of alice: ", f"{SECRET}\n")
    one.answer("Again: ", f"{SECRET}\n")
    assert one.end() == FINE
    assert fits(file, "alice")
    assert one.shown.replace("\r", "") == f"Passcode of alice: \nAgain: \n{file}: alice added\n"
    assert one.echoes


@pytest.mark.parametrize(
    ("first", "again", "why"),
    [
        (SECRET, "another", "the two are not the same; nothing was changed"),
        (SECRET, "", "the two are not the same; nothing was changed"),
        ("", "", "a passcode needs at least one character; nothing was changed"),
    ],
)
def test_two_that_differ_change_nothing(terminal, alice, first, again, why):
    before = alice.read_bytes()
    one = terminal("alice")
    one.answer("Passcode of alice: ", f"{first}\n")
    one.answer("Again: ", f"{again}\n")
    assert one.end() == FAILED
    assert f"scpd: {why}" in one.shown
    assert SECRET not in one.shown
    assert alice.read_bytes() == before


def test_control_c_changes_nothing_and_leaves_the_terminal_as_it_was(terminal, file):
    one = terminal("alice")
    one.answer("Passcode of alice: ", "\x03")
    assert one.end() == INTERRUPTED
    assert "Traceback" not in one.shown
    assert one.echoes
    assert not file.exists()


@pytest.mark.parametrize("typed", [["\x04"], [f"{SECRET}\n", "\x04"]])
def test_control_d_is_no_answer(terminal, file, typed):
    one = terminal("alice")
    for question, line in zip(("Passcode of alice: ", "Again: "), typed, strict=False):
        one.answer(question, line)
    assert one.end() == FAILED
    assert "Traceback" not in one.shown
    assert not file.exists()


def test_removing_asks_nothing_on_a_terminal_either(terminal, alice):
    one = terminal("alice", "--delete")
    assert one.end() == FINE
    assert one.shown.replace("\r", "") == f"{alice}: alice removed\n"
