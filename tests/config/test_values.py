"""Values: what each parse function takes, what it refuses and in which words, and the way back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpd.config.values import (
    Endpoint,
    SystemdSocket,
    format_duration,
    format_size,
    parse_bind,
    parse_duration,
    parse_endpoint,
    parse_folder,
    parse_size,
    parse_text,
    parse_title,
    parse_whole_number,
)

ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(), st.lists(st.text()), st.dictionaries(st.text(), st.text())
)
PARSERS = [
    parse_text,
    parse_whole_number,
    parse_size,
    parse_duration,
    parse_endpoint,
    parse_bind,
    parse_title,
    parse_folder,
]


def refusal(parse, value):
    try:
        parse(value)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("parse", PARSERS)
@given(value=ANYTHING)
def test_anything_is_parsed_or_refused_with_a_sentence_that_says_what_to_do(parse, value):
    told = refusal(parse, value)
    assert told is None or ";" in told
    assert told is None or "\n" not in told
    assert told is None or len(told) < 1000


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (0, 0),
        ("0", 0),
        (512, 512),
        ("512", 512),
        ("1KiB", 1024),
        ("256 KiB", 262144),
        ("3MiB", 3 * 1024**2),
        ("8GiB", 8 * 1024**3),
    ],
)
def test_a_size_is_a_number_of_bytes_or_has_a_unit(value, size):
    assert parse_size(value) == size


@pytest.mark.parametrize(
    "value",
    [
        "256Kib",
        "256kb",
        "256K",
        "1.5GiB",
        "-1KiB",
        "KiB",
        "",
        "1TiB",
        " 1KiB",
        "1  KiB",
        -1,
        True,
        None,
        [],
        {},
        "٣KiB",
        "9" * 16,
    ],
)
def test_what_only_looks_like_a_size_is_refused_by_name(value):
    with pytest.raises(ValueError, match=r"is not a size; write a number with KiB, MiB or GiB, as in 256KiB"):
        parse_size(value)


@given(st.integers(0, 10**15 - 1))
def test_a_size_is_read_back_as_it_was_written(size):
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30s", 30),
        ("10m", 600),
        ("1h", 3600),
        ("90d", 7_776_000),
        ("250ms", 0.25),
        ("5 s", 5),
        (0, 0),
        ("0", 0),
        ("0s", 0),
    ],
)
def test_a_time_has_a_unit_unless_it_is_nothing(value, seconds):
    assert parse_duration(value) == seconds
    assert isinstance(parse_duration(value), float)


@pytest.mark.parametrize("value", [30, "30", -5, 1])
def test_a_number_without_a_unit_is_told_so(value):
    with pytest.raises(ValueError, match=rf"{value} has no unit; write ms, s, m, h or d after it, as in {value}s"):
        parse_duration(value)


@pytest.mark.parametrize("value", ["30sec", "1.5s", "-1s", "s", "", "1w", "1m30s", False, True, None, [], {}, "soon"])
def test_what_only_looks_like_a_time_is_refused_by_name(value):
    with pytest.raises(ValueError, match="is not a time; write a whole number with ms, s, m, h or d, as in 30s"):
        parse_duration(value)


@given(st.integers(0, 10**10))
def test_a_time_is_read_back_as_it_was_written(milliseconds):
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:11112", "127.0.0.1", 11112),
        ("0.0.0.0:104", "0.0.0.0", 104),
        ("[::]:104", "::", 104),
        ("[2001:DB8:0::1]:104", "2001:db8::1", 104),
        ("localhost:0", "localhost", 0),
        ("pacs-1.hospital.example:65535", "pacs-1.hospital.example", 65535),
    ],
)
def test_an_endpoint_is_a_host_and_a_port(text, host, port):
    assert parse_endpoint(text) == Endpoint(host, port)
    assert parse_endpoint(str(Endpoint(host, port))) == Endpoint(host, port)


@pytest.mark.parametrize(
    ("first", "second", "collides"),
    [
        ("127.0.0.1:104", "127.0.0.1:104", True),
        ("127.0.0.1:104", "127.0.0.1:105", False),
        ("127.0.0.1:104", "127.0.0.2:104", False),
        ("0.0.0.0:104", "127.0.0.2:104", True),
        ("[::]:104", "[::1]:104", True),
        ("[::]:104", "0.0.0.0:104", False),
        ("PACS:104", "pacs:104", True),
        ("127.0.0.1:0", "127.0.0.1:0", False),
    ],
)
def test_two_endpoints_collide_when_the_system_would_refuse_both(first, second, collides):
    assert parse_endpoint(first).collides(parse_endpoint(second)) is collides
    assert parse_endpoint(second).collides(parse_endpoint(first)) is collides


@pytest.mark.parametrize(("text", "name"), [("systemd", ""), ("systemd:dicom", "dicom"), ("systemd:104", "104")])
def test_a_server_may_listen_where_systemd_says(text, name):
    assert parse_bind(text) == SystemdSocket(name=name)
    assert str(parse_bind(text)) == text


def test_nothing_else_can():
    assert parse_bind("0.0.0.0:104") == Endpoint("0.0.0.0", 104)
    with pytest.raises(ValueError, match="systemd is not an address; write host:port"):
        parse_endpoint("systemd")


@pytest.mark.parametrize("value", ["systemd:", "systemd:a b", "systemd:a:b", "systemd:" + "x" * 65])
def test_a_socket_has_a_name_as_others_have(value):
    with pytest.raises(ValueError, match="; write"):
        parse_bind(value)


@pytest.mark.parametrize(
    ("first", "second", "collides"),
    [
        ("systemd:a", "systemd:a", True),
        ("systemd:a", "systemd:b", False),
        ("systemd", "systemd", False),  # each may have the one that is called as itself
        ("systemd:104", "0.0.0.0:104", False),
    ],
)
def test_two_inherited_sockets_collide_when_they_are_one(first, second, collides):
    assert parse_bind(first).collides(parse_bind(second)) is collides
    assert parse_bind(second).collides(parse_bind(first)) is collides


@pytest.mark.parametrize(("value", "number"), [(5, 5), ("5", 5), (-5, -5), ("007", 7)])
def test_a_whole_number_may_also_come_as_text_of_digits(value, number):
    assert parse_whole_number(value) == number


@pytest.mark.parametrize("value", ["5.0", "0x10", "1_000", "five", "", "9" * 5000, True, None, [], {}])
def test_what_is_no_whole_number_is_refused_by_name(value):
    with pytest.raises(ValueError, match="is not a whole number; write digits only, as in 200"):
        parse_whole_number(value)


def test_text_of_digits_may_stand_without_quotes():
    assert parse_text(4711) == "4711"
    assert parse_title(4711) == "4711"


@pytest.mark.parametrize("value", ["a\0b", "a\nb", "\x1b[31m", "a\u2028b"])
def test_text_has_no_control_characters(value):
    with pytest.raises(ValueError, match="control character"):
        parse_text(value)


def test_an_ae_title_loses_its_insignificant_spaces():
    assert parse_title(" ARCHIVE ") == "ARCHIVE"


def test_a_folder_stays_as_it_was_written():
    assert parse_folder("./scpd-data") == Path("scpd-data")
    assert parse_folder("/var/lib/scpd") == Path("/var/lib/scpd")
