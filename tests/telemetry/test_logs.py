"""A log line says what happened, and no text of a peer makes it say anything else."""

from __future__ import annotations

import io
import json
import os
import tempfile

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st

from scpd.telemetry import logs

HOSTILE = (
    *("a\nlevel=error", "a\r\nb", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x9b31m", "a\0b", "\b\b\b", "\x7f"),
    *('"', "'", '", "event": "forged', "\\", "\\n", "{}", "%s", "ended=released", "A ended=released", "山田^太郎"),
    *("\u2028", "\u2029", "\u202e", "\u200b", "\ufeff", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"),
    *("\ud800", "\udcff"),
)
texts = st.one_of(st.sampled_from(HOSTILE), st.text(), st.text(alphabet="\n\r\x1b\x9b[]=\"' a\u2028\x85"))


class Stream(io.StringIO):
    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__(newline="\n")
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture(autouse=True)
def _structlog_as_it_was():
    yield
    structlog.reset_defaults()


def logged(form: str, say, level: str = "debug", *, terminal: bool = False) -> str:
    """What stands in the stream after ``say(log)``."""
    stream = Stream(terminal=terminal)
    sink = logs.configure(level, form, stream)
    say(logs.logger("test"))
    sink.flush()
    return stream.getvalue()


# -- JSON


@given(texts)
@example("\n")
def test_json_is_one_line_and_gives_the_text_back(text):
    out = logged("json", lambda log: log.info("event", calling=text, several=[text], mapping={text: 1}))
    assert out.isascii()
    assert out.endswith("\n")
    assert len(out.splitlines()) == 1
    assert all(character.isprintable() for character in out[:-1])
    data = json.loads(out)
    assert (data["calling"], data["several"], data["mapping"]) == (text, [text], {text: 1})
    assert (data["event"], data["level"], data["part"]) == ("event", "info", "test")


def fail(text: str):
    def say(log) -> None:
        try:
            raise RuntimeError(text)
        except RuntimeError as error:
            log.error("association failed", id="7", exc_info=error)

    return say


@given(texts)
def test_json_keeps_the_text_of_an_exception_on_its_line(text):
    out = logged("json", fail(text))
    assert len(out.splitlines()) == 1
    assert out.isascii()
    assert "RuntimeError" in json.loads(out)["exception"]


# -- console


@given(texts)
@example("\n")
def test_console_is_one_line_without_control_characters(text):
    out = logged("console", lambda log: log.info("event", calling=text, several=[text], mapping={text: 1}))
    assert out.endswith("\n")
    assert out[:-1].isprintable()
    assert len(out.splitlines()) == 1


def test_console_keeps_a_value_apart_from_the_fields_around_it():
    """An AE title of 16 characters is enough for a field of its own, were it not quoted."""
    out = logged("console", lambda log: log.info("association", calling="A ended=released", called="SCPD"))
    assert "calling='A ended=released'" in out or 'calling="A ended=released"' in out


def test_console_shows_an_exception_without_the_control_characters_of_its_text():
    shown = {text: logged("console", fail(f"peer said {text}.")) for text in HOSTILE}
    assert all("RuntimeError" in out for out in shown.values())
    unprintable = [text for text, out in shown.items() if not all(line.isprintable() for line in out.split("\n"))]
    assert unprintable == []


def test_console_does_not_let_the_text_of_an_exception_begin_a_line_of_its_own():
    forged = "2026-01-01T00:00:00 [info     ] association  ended=released"
    out = logged("console", fail(f"oops\n{forged}"))
    assert not any(line.startswith(forged) for line in out.splitlines())


def test_colours_are_for_terminals_only():
    assert "\x1b" in logged("console", lambda log: log.info("event"), terminal=True)
    assert "\x1b" not in logged("console", lambda log: log.info("event"))


@given(texts)
def test_the_colours_of_a_terminal_are_ours_alone(text):
    plain = logged("console", lambda log: log.info("event", calling=""), terminal=True)
    out = logged("console", lambda log: log.info("event", calling=text), terminal=True)
    assert out.count("\x1b") == plain.count("\x1b")
    assert len(out.splitlines()) == 1


def test_a_very_long_value_that_must_be_escaped_is_cut():
    out = logged("console", lambda log: log.info("event", why="\n" * 100_000))
    assert len(out) < 3_000


# -- the journal


def in_journal(form: str, say, monkeypatch, *, is_it: bool = True) -> list[str]:
    """The lines that stand in a file that $JOURNAL_STREAM names, or another one."""
    with tempfile.TemporaryFile("w+") as stream:
        file = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{file.st_dev}:{file.st_ino + (not is_it)}")
        sink = logs.configure("debug", form, stream)
        say(logs.logger("test"))
        sink.flush()
        stream.seek(0)
        return stream.read().splitlines()


def test_in_the_journal_a_line_has_its_priority(monkeypatch):
    def say(log) -> None:
        for level in ("debug", "info", "warning", "error", "critical"):
            getattr(log, level)("event")
        try:
            raise RuntimeError("oops")
        except RuntimeError:
            log.exception("event")

    lines = in_journal("json", say, monkeypatch)
    assert [line[:3] for line in lines] == ["<7>", "<6>", "<4>", "<3>", "<2>", "<3>"]
    assert all(json.loads(line[3:])["event"] == "event" for line in lines)


def test_in_the_journal_each_line_of_a_traceback_has_it(monkeypatch):
    lines = in_journal("console", fail("oops\n<0>forged"), monkeypatch)
    assert len(lines) > 3
    assert all(line.startswith("<3>") for line in lines)


def test_in_another_stream_none_has(monkeypatch):
    assert in_journal("json", lambda log: log.info("event"), monkeypatch, is_it=False)[0].startswith("{")


# -- form and level


def test_auto_is_console_on_a_terminal_and_json_otherwise():
    assert logged("auto", lambda log: log.info("event"), terminal=True)[0] != "{"
    assert json.loads(logged("auto", lambda log: log.info("event")))["event"] == "event"


LEVELS = ("debug", "info", "warning", "error")


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("level", LEVELS)
def test_what_is_less_serious_than_the_level_is_not_written(level, form):
    def say(log) -> None:
        for each in LEVELS:
            getattr(log, each)(f"the {each}")

    out = logged(form, say, level)
    written = [each for each in LEVELS if f"the {each}" in out]
    assert tuple(written) == LEVELS[LEVELS.index(level) :]


def test_a_line_has_its_time_its_level_and_its_part():
    data = json.loads(logged("json", lambda log: log.warning("event", number=1, nothing=None)))
    assert data.keys() == {"timestamp", "level", "part", "event", "number", "nothing"}
    assert data["timestamp"][10] == "T"
