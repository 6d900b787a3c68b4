"""The file as YAML: what is read, what is bounded, where each fault stands; with either of PyYAML's parsers."""

from __future__ import annotations

import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scpd.config import document, nodes, scalars
from scpd.config.faults import Unreadable

LOADERS = [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)]


@pytest.fixture(autouse=True, params=LOADERS, ids=lambda loader: loader.__name__)
def parser(request, monkeypatch):
    monkeypatch.setattr(nodes, "_LOADER", request.param)


def parse(text, environ=None):
    return document.parse(text, "scpd.yaml", environ or {})


def faults(text, environ=None):
    return [fault.sentence("scpd.yaml") for fault in parse(text, environ).faults]


def fatal(text):
    with pytest.raises(Unreadable) as caught:
        parse(text)
    return caught.value.fault.sentence("scpd.yaml")


def test_every_path_has_the_line_where_it_stands():
    found = parse("a: 1\nb:\n  c: [x,\n    y]\n  d:\n  - e: {f: g}\n")
    assert found.data == {"a": 1, "b": {"c": ["x", "y"], "d": [{"e": {"f": "g"}}]}}
    assert found.lines == {
        (): 1,
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 3,
        ("b", "c", 0): 3,
        ("b", "c", 1): 4,
        ("b", "d"): 5,
        ("b", "d", 0): 6,
        ("b", "d", 0, "e"): 6,
        ("b", "d", 0, "e", "f"): 6,
    }


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("5", 5),
        ("-5", -5),
        ("0", 0),
        *[(w, w) for w in ("no", "yes", "on", "off", "NO", "True", "y", "010", "0x10", "1_000", "12:30", "1e3", "+5")],
        *[(w, w) for w in ("1.5", ".inf", "2020-01-01", "=", "none", "9" * 5000)],
        ("'5'", "5"),
        ('"true"', "true"),
        ("''", ""),
    ],
)
def test_a_plain_word_is_true_false_null_a_decimal_number_or_text(word, value):
    """None of YAML 1.1's other readings: ``no`` is no boolean, ``010`` no eight, ``12:30`` no 750."""
    found = parse(f"key: {word}\n").data["key"]
    assert found == value
    assert type(found) is type(value)


def test_an_alias_stands_for_what_it_names():
    found = parse("a: &x {b: 1}\nc: *x\n")
    assert found.data == {"a": {"b": 1}, "c": {"b": 1}}
    assert found.lines["c",] == 2


def test_a_byte_order_mark_is_not_content(tmp_path):
    (tmp_path / "scpd.yaml").write_bytes(b"\xef\xbb\xbfae_title: A\n")
    assert parse(document.read(tmp_path / "scpd.yaml")).data == {"ae_title": "A"}


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a: 1\n\tb: 2\n", 2, "a tab stands here; indent with spaces"),
        ("a:\n\t- 1\n", 2, "a tab stands here; indent with spaces"),
        ("a: b: c\n", 1, "a second ':'"),
        ("a: 1\n b: 2\n", 2, "a second ':'"),
        ("a: [1,\n", 2, "a quote or bracket before this is not closed"),
        ("a: 'x\n", 2, "a quote or bracket before this is not closed"),
        ("a: {b\n", 2, "a bracket is not closed"),
        ("a: 1\n- b\n", 2, "the indentation fits nothing above"),
        ("a:\n    b: 1\n  c: 2\n", 3, "the indentation fits nothing above"),
        ("a: @x\n", 1, "text may not begin with this sign; put it in quotes"),
        ("a: %x\n", 1, "text may not begin with this sign; put it in quotes"),
        ("a: 1\nb: `x`\n", 2, "text may not begin with this sign; put it in quotes"),
        ('a: "\\q"\n', 1, "an unknown escape after a backslash; put the text in single quotes"),
        ("a: *\n", 1, "a '*' or '&' without a name"),
        ("a: 1\nb: \x07\n", 2, "a control character stands here; remove it"),
        ("a: !!python/name:os.system x\n", 1, "the tag '!!python/name:os.system' is not read; leave it out"),
        ("a: !x 1\n", 1, "the tag '!x' is not read; leave it out"),
        ("a: !!binary aGk=\n", 1, "the tag '!!binary' is not read; leave it out"),
        ("a: 1\n---\nb: 2\n", 2, "a second document begins here; remove the line of ---"),
        ("a: 1\n...\n---\n", 3, "a second document begins here"),
        ("- a\n", 1, "the file is no mapping; write keys, as in ae_title: SCPD"),
        ("\n5\n", 2, "the file is no mapping"),
        ("a: *b\n", 1, "*b has no anchor; write &b before the value it repeats"),
        ("a: &a\n  b: *a\n", 2, "*a stands within what it repeats; write the value out"),
    ],
)
def test_what_makes_a_file_unreadable_is_told_with_its_line(text, line, what):
    assert fatal(text).startswith(f"scpd.yaml:{line}: {what}")


@pytest.mark.parametrize("text", ["", "\n", "# a comment\n", "---\n...\n"[:0], " \n\n"])
def test_an_empty_file_is_a_fault_that_says_so(text):
    assert fatal(text) == (
        "scpd.yaml: the file is empty; write at least one key, as in ae_title: SCPD, or name no file for the defaults"
    )


@pytest.mark.parametrize("text", ['a: "\\UFFFFFFFF"\n', 'a: "\\x"\n'])
def test_an_escape_of_no_character_is_a_fault(text):
    assert "escape" in fatal(text)


def test_half_a_character_is_a_fault():
    """libyaml refuses the escape, PyYAML's own parser lets it through."""
    try:
        told = faults('a: "\\uD800"\n')
    except Unreadable as error:
        told = [error.fault.sentence("scpd.yaml")]
    assert len(told) == 1
    assert told[0].startswith("scpd.yaml:1: ")


BOMBS = {
    "aliases": "".join(
        f"{n}: &{n} [{', '.join([f'*{p}'] * 10)}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True)
    ).replace("b: &b", "a: &a [x]\nb: &b", 1),
    "deep lists": "a: " + "[" * 200_000,
    "deep mappings": "".join(" " * i + "a:\n" for i in range(900)),
    "deep inline mappings": "a: " + "{a: " * 100_000,
    "many values": "a: [" + "1, " * 300_000 + "1]\n",
    "deep by aliases": "a0: &a0 [[[[[[[[x]]]]]]]]\n"
    + "".join(f"a{i + 1}: &a{i + 1} [[[[[[[[*a{i}]]]]]]]]\n" for i in range(20)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_a_named_fault_and_fast(name):
    begin = time.process_time()
    told = fatal(BOMBS[name])
    assert time.process_time() - begin < 3
    assert any(words in told for words in ("aliases grow", "nested deeper than 32", "more than 20000 values"))
    assert told.startswith("scpd.yaml:")


def test_nesting_is_read_to_the_depth_that_is_said():
    assert parse("a: " + "[" * 31 + "]" * 31).data
    assert "nested deeper than 32" in fatal("a: " + "[" * 33 + "]" * 33)


def test_a_key_that_stands_twice_names_both_lines_and_the_rest_is_read():
    assert faults("a: 1\nb: {c: 1, c: 2}\na: 3\n") == [
        "scpd.yaml:2: b.c: stands twice, first in line 2; keep one of the two",
        "scpd.yaml:3: a: stands twice, first in line 1; keep one of the two",
    ]
    assert parse("a: 1\na: 2\n").data == {"a": 1}


@pytest.mark.parametrize("key", ["1", "true", "null", "~", "-5"])
def test_a_key_is_text(key):
    assert faults(f"a: 1\n{key}: x\n") == [
        f"scpd.yaml:2: the key {key if key != '~' else repr(key)} is not text; write it in quotes, as in '4711':"
    ]
    assert parse(f"'{key}': x\n").data == {key: "x"}


def test_a_list_or_mapping_as_key_and_a_merge_key_are_told_by_name():
    assert faults("[a]: 1\n{b: c}: 1\n<<: {d: 1}\n") == [
        "scpd.yaml:1: a key is a list or a mapping; write text, as in ae_title: SCPD",
        "scpd.yaml:2: a key is a list or a mapping; write text, as in ae_title: SCPD",
        "scpd.yaml:3: merge keys (<<) are not read; a key at the top is the default of every server",
    ]


# -- the environment


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${PORT}", 104),
        ('"${PORT}"', "104"),
        ("${SET}", "here"),
        ("${UNSET:-7}", 7),
        ("${UNSET:-}", None),
        ("${EMPTY:-x}", "x"),
        ("'${EMPTY}'", ""),
        ("a${SET}b${SET}", "aherebhere"),
        ("'0.0.0.0:${PORT}'", "0.0.0.0:104"),
        ("$${SET}", "${SET}"),
        ("$$${SET}", "$${SET}"),
        ("$SET", "$SET"),
        ("100$", "100$"),
        ("${NESTED}", "${SET}"),
        ("${SWITCH}", True),
        ("${LIST}", "[a, b]"),
    ],
)
def test_a_variable_is_put_in_and_a_plain_word_resolved_after_that(text, value):
    """What a variable holds is text: neither YAML nor another variable is read from it."""
    environ = {"PORT": "104", "SET": "here", "EMPTY": "", "NESTED": "${SET}", "SWITCH": "true", "LIST": "[a, b]"}
    assert parse(f"key: {text}\n", environ).data["key"] == value


@pytest.mark.parametrize("text", ["${}", "${", "${1A}", "${A B}", "${A", "${A:default}", "${A:-x"])
def test_a_variable_that_is_none_is_a_fault(text):
    assert faults(f"a: 1\nkey: '{text}'\n", {"A": "x"}) == [
        "scpd.yaml:2: key: '${' opens no variable; write ${NAME}, ${NAME:-default}, or $${ for the signs themselves"
    ]


def test_a_variable_that_is_not_set_is_a_fault_and_the_rest_is_read():
    found = parse("a: ${NO}\nb: 1\n")
    assert [fault.sentence("f") for fault in found.faults] == [
        "f:1: a: the environment has no NO; set it, or write a default, as in ${NO:-default}"
    ]
    assert found.data["b"] == 1
    assert found.spoiled == {("a",)}


def test_a_variable_that_is_no_utf_8_is_a_fault():
    assert faults("a: ${X}\n", {"X": "\udcff"}) == ["scpd.yaml:1: a: the text is not Unicode; write it in UTF-8"]


@given(st.text(alphabet="${}AB:-\\ x", max_size=30))
def test_escaped_text_is_put_in_as_itself(text):
    assert scalars.substitute(scalars.escape(text), {"A": "1"}) == text


# -- secrets


def test_a_file_reference_stands_for_what_the_file_holds(tmp_path):
    (tmp_path / "secret").write_bytes(b"s3cr3t\n")
    found = parse(f"key: file:{tmp_path}/secret\n")
    assert found.data == {"key": "s3cr3t"}
    assert found.references == {("key",): f"file:{tmp_path}/secret"}


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"x", "x"),
        (b"x\n\n", "x\n"),
        (b"x\r\n", "x"),
        (b"", ""),
        (b"5\n", "5"),
        (b"${A}", "${A}"),
        (b"file:/x", "file:/x"),
    ],
)
def test_only_the_last_newline_of_a_secret_is_dropped_and_nothing_in_it_read(tmp_path, content, value):
    (tmp_path / "secret").write_bytes(content)
    assert parse(f"key: file:{tmp_path}/secret\n").data["key"] == value


def test_a_variable_may_name_the_secret(tmp_path):
    (tmp_path / "secret").write_text("x")
    assert parse("key: file:${DIR}/secret\n", {"DIR": str(tmp_path)}).references == {
        ("key",): f"file:{tmp_path}/secret"
    }


def test_a_secret_that_cannot_be_read_is_a_fault_without_its_content(tmp_path):
    (tmp_path / "long").write_text("s3cr3t" * 20_000)
    (tmp_path / "binary").write_bytes(b"s3cr3t\xff")
    told = faults(
        f"a: file:{tmp_path}/missing\nb: file:{tmp_path}\nc: file:{tmp_path}/long\nd: file:{tmp_path}/binary\n"
        'e: file:relative\nf: "file:/a\\0b"\n'
    )
    assert [each.split(": ", 2)[2].replace(str(tmp_path), "") for each in told] == [
        "/missing cannot be read (No such file or directory); make it readable for the user scpd runs as",
        " cannot be read (Is a directory); make it readable for the user scpd runs as",
        "/long is longer than 65536 bytes; name the file of one secret",
        "/binary is not UTF-8 text; write it as such",
        "file:relative is no absolute path; write one, as in file:/run/secrets/x",
        r"'file:/a\x00b' is no absolute path; write one, as in file:/run/secrets/x",
    ]
    assert "s3cr3t" not in "".join(told)


# -- the file itself


def unreadable(path):
    with pytest.raises(Unreadable) as caught:
        document.read(path)
    return caught.value.fault.sentence("scpd.yaml")


def test_a_file_that_cannot_be_read_is_told_why(tmp_path):
    assert (
        unreadable(tmp_path / "x") == "scpd.yaml: cannot be read (No such file or directory); name a file scpd may read"
    )
    assert unreadable(tmp_path) == "scpd.yaml: cannot be read (Is a directory); name a file scpd may read"
    assert unreadable(tmp_path / "a\0b") == "scpd.yaml: cannot be read (not a path); name a file scpd may read"


def test_a_file_that_is_not_utf_8_is_told_the_line(tmp_path):
    (tmp_path / "latin1").write_bytes("ae_title: A\n# für\n".encode("latin-1"))
    assert unreadable(tmp_path / "latin1") == "scpd.yaml:2: not UTF-8 text; save the file as UTF-8"


def test_a_file_above_one_mebibyte_is_not_read(tmp_path):
    (tmp_path / "large").write_bytes(b"#" * (1024 * 1024 + 1))
    assert unreadable(tmp_path / "large") == "scpd.yaml: larger than 1048576 bytes; this is no configuration"
