"""Values found by the layout of the data set before: the same values as a walk, or none."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpd.storage.head import reader
from scpd.storage.layout import Layouts, learn

EXPLICIT = "1.2.840.10008.1.2.1"
TAGS = frozenset((0x00080016, 0x00080018, 0x0020000D, 0x0020000E))


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    if vr in (b"OB", b"SQ", b"UN", b"UT"):
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def data_set(instance=b"1.2.3.40", *, name=b"A^B ", extra=b"", pixels=b"\0" * 64) -> bytes:
    return b"".join(
        (
            element(0x00080016, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0"),
            element(0x00080018, b"UI", instance),
            element(0x00090010, b"UN", b"private "),
            element(0x00100010, b"PN", name),
            extra,
            element(0x0020000D, b"UI", b"1.2.3\0"),
            element(0x0020000E, b"UI", b"1.2.3.4\0"),
            element(0x7FE00010, b"OB", pixels),
        )
    )


def walked(data: bytes, optional=()) -> dict[int, bytes]:
    walk = reader(EXPLICIT, TAGS, optional=optional)
    walk.feed(memoryview(data))
    return walk.values


def test_other_values_of_the_same_lengths_are_found_without_a_walk():
    layout = learn(memoryview(data_set()), TAGS)
    other = data_set(b"9.8.7.60", name=b"C^D ", pixels=b"\1" * 64)
    assert layout.read(memoryview(other)) == walked(other)


@pytest.mark.parametrize(
    "other",
    [
        data_set(b"1.2.3.4000"),
        data_set(name=b"Somebody^Else "),
        data_set(extra=element(0x00100020, b"LO", b"ID")),
        data_set()[:60],
        b"",
    ],
)
def test_one_header_that_differs_and_the_layout_says_nothing(other):
    assert learn(memoryview(data_set()), TAGS).read(memoryview(other)) is None


def test_a_value_that_looks_like_a_header_deceives_nobody():
    """The Study Instance UID's header stands inside another value, at the place where it was before."""
    real = data_set()
    at = real.index(struct.pack("<HH", 0x0020, 0x000D))
    start = real.index(struct.pack("<HH", 0x0010, 0x0010))
    forged = real[:start] + element(0x00100010, b"PN", real[start + 8 : at + 14])
    forged += data_set()[at:]
    assert learn(memoryview(real), TAGS).read(memoryview(forged)) is None


@given(flips=st.lists(st.tuples(st.integers(0, len(data_set()) - 1), st.integers(1, 255)), max_size=4))
def test_whatever_is_changed_the_values_are_those_of_a_walk_or_none(flips):
    data = bytearray(data_set())
    for place, bits in flips:
        data[place] ^= bits
    values = learn(memoryview(data_set()), TAGS).read(memoryview(bytes(data)))
    assert values is None or values == walked(bytes(data))


ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 12) + element(0x00080100, b"SH", b"A123")
CODES = 0x00181012


def test_a_sequence_of_defined_length_has_its_place_as_any_value_has():
    wanted, data = {*TAGS, CODES}, data_set(extra=element(CODES, b"SQ", ITEM))
    other = data.replace(b"A123", b"B456")
    values = learn(memoryview(data), wanted).read(memoryview(other))
    assert values == walked(other, {CODES})
    assert values[CODES] == ITEM.replace(b"A123", b"B456")
    longer = data_set(extra=element(CODES, b"SQ", ITEM * 2))
    assert learn(memoryview(data), wanted).read(memoryview(longer)) is None
    assert learn(memoryview(longer), wanted).read(memoryview(longer)) == walked(longer, {CODES})


@pytest.mark.parametrize("wanted", [TAGS, {*TAGS, CODES}], ids=["unwanted", "wanted"])
def test_a_data_set_with_a_sequence_of_undefined_length_is_not_learned(wanted):
    sequence = struct.pack("<HH2sHI", CODES >> 16, CODES & 0xFFFF, b"SQ", 0, 0xFFFFFFFF)
    data = data_set(extra=sequence + ITEM + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
    assert learn(memoryview(data), wanted) is None
    assert walked(data, wanted).get(CODES, ITEM) == ITEM


@pytest.mark.parametrize(
    "data",
    [
        data_set(extra=struct.pack("<HH2sHI", 0x0018, 0x0001, b"SQ", 0, 0xFFFFFFFF)),
        data_set()[: data_set().index(struct.pack("<HH", 0x7FE0, 0x0010))],
        data_set(extra=element(0x00181000, b"UN", bytes(70_000))),
    ],
    ids=["undefined length", "nothing behind", "too long"],
)
def test_what_is_not_plain_is_not_learned(data):
    assert learn(memoryview(data), TAGS) is None


def test_a_layout_is_learned_when_two_data_sets_in_a_row_were_alike():
    layouts, data = Layouts(TAGS), memoryview(data_set())
    for _ in range(2):
        assert layouts.read("sender", data) is None
        layouts.walked("sender", data, 100)
    assert layouts.read("sender", data) == walked(bytes(data))
    assert layouts.read("another", data) is None


def test_senders_are_remembered_only_so_far():
    layouts, data = Layouts(TAGS), memoryview(data_set())
    for sender in range(500):
        layouts.walked(sender, data, 100)
        layouts.walked(sender, data, 100)
    assert len(layouts._known) <= 64
    assert len(layouts._sizes) <= 64
    assert layouts.read(499, data) is not None
