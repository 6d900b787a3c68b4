"""The head of a data set: the same values as pydicom's, however it is cut, and nothing else whatever the bytes are."""

from __future__ import annotations

import io
import struct
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from scpd.errors import UnreadableDataSet
from scpd.storage import head

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
SYNTAXES = (IMPLICIT, EXPLICIT, BIG, DEFLATED)
TAGS = frozenset((0x00080005, 0x00080016, 0x00080018, 0x00100010, 0x00100020, 0x0020000D))
INSTANCE, PATIENT = 0x00080018, 0x00100010
UNDEFINED = 0xFFFFFFFF


def read(syntax: str, chunks, tags=TAGS, *, optional=(), whole: bool = False) -> head.Reader:
    reader = head.reader(syntax, tags, optional=optional, whole=whole)
    for chunk in chunks:
        reader.feed(memoryview(chunk))
    reader.finish()
    return reader


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def stripped(values: dict[int, bytes]) -> dict[int, bytes]:
    return {tag: value.rstrip(b" \0") for tag, value in values.items()}


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def explicit(tag: int, vr: bytes, value: bytes, length: int | None = None, order: str = "<") -> bytes:
    group, element = tag >> 16, tag & 0xFFFF
    size = len(value) if length is None else length
    if vr in (b"SQ", b"UN", b"OB", b"OW", b"UC", b"UT", b"UR"):
        return struct.pack(order + "HH2sHI", group, element, vr, 0, size) + value
    return struct.pack(order + "HH2sH", group, element, vr, size) + value


def item(value: bytes) -> bytes:
    return implicit(0xFFFEE000, value)


ITEM_BEGIN = implicit(0xFFFEE000, b"", UNDEFINED)
ITEM_END, SEQUENCE_END = implicit(0xFFFEE00D, b""), implicit(0xFFFEE0DD, b"")
UID = explicit(INSTANCE, b"UI", b"1.2.3.4\0")
NAME = explicit(PATIENT, b"PN", b"DOE^JANE")
FOUND = {INSTANCE: b"1.2.3.4\0", PATIENT: b"DOE^JANE"}


# -- real files


@pytest.mark.parametrize("size", [1 << 20, 16_372, 4_084, 511, 13, 1])
def test_the_values_of_every_shipped_file_are_pydicoms_however_it_is_cut(samples, head_tags, size):
    for sample in samples:
        reader = head.reader(sample.transfer_syntax, head_tags)
        for chunk in cut(sample.data, size):
            if reader.done:
                break
            reader.feed(memoryview(chunk))
        assert stripped(reader.values) == sample.values, sample.name


@pytest.mark.parametrize("size", [1 << 20, 4_093])
def test_every_shipped_file_can_be_walked_to_its_end_and_the_truncated_ones_cannot(samples, head_tags, size):
    broken = {}
    for sample in samples:
        try:
            reader = read(sample.transfer_syntax, cut(sample.data, size), head_tags, whole=True)
        except UnreadableDataSet as error:
            broken[sample.name] = str(error)
        else:
            assert stripped(reader.values) == sample.values, sample.name
    assert set(broken) == {"MR_truncated.dcm", "rtplan_truncated.dcm"}
    assert set(broken.values()) == {"the data set ends inside an element"}


def test_a_walk_stops_at_the_first_element_after_the_last_that_is_wanted(samples, head_tags):
    """So that most of the bytes of an image cost nothing."""
    for sample in samples:
        reader = head.reader(sample.transfer_syntax, head_tags)
        reader.feed(memoryview(sample.data))
        assert reader.done or max(sample.values, default=0) < 0x00280000, sample.name
    image = next(sample for sample in samples if sample.name == "CT_small.dcm")
    reader = head.reader(image.transfer_syntax, head_tags)
    reader.feed(memoryview(image.data[:4096]))
    assert reader.done


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "head"])
def test_a_data_set_that_begins_behind_what_is_wanted_was_seen_all_the_same(samples, whole):
    """It has elements, though none that was asked for: lenient rules must not be stricter than strict ones."""
    assert read(EXPLICIT, [explicit(0x00290010, b"LO", b"PRIVATE ")], whole=whole).seen
    for sample in samples:
        assert not sample.data or read_head(sample, whole=whole).seen, sample.name


def test_a_walk_stops_behind_the_last_that_is_optional_too(samples):
    image = next(sample for sample in samples if sample.name == "CT_small.dcm")
    reader = head.reader(image.transfer_syntax, TAGS, optional=(0x00100040, 0x00280010))
    for chunk in cut(image.data, 64):
        reader.feed(memoryview(chunk))
        if reader.done:
            break
    assert reader.values[0x00280010] == b"\x80\0"
    assert not any(tag > 0x00280010 for tag in reader.values)
    assert chunk != image.data[-64:]
    again = head.reader(image.transfer_syntax, TAGS, optional=(0x00280010, 0x00100040))
    again.feed(memoryview(image.data))
    place = again.plain_size
    assert image.data[place : place + 4] == b"\x28\0\x11\0"


def read_head(sample, *, whole: bool) -> head.Reader:
    reader = head.reader(sample.transfer_syntax, TAGS, whole=whole)
    reader.feed(memoryview(sample.data))
    return reader


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_of_an_empty_data_set_nothing_was_seen(syntax):
    reader = head.reader(syntax, TAGS)
    reader.finish()
    assert not reader.seen


# -- data sets made by pydicom, in every syntax


def encoded(dataset: Dataset, syntax: str) -> bytes:
    buffer = DicomIO(io.BytesIO())
    buffer.is_implicit_VR = syntax == IMPLICIT
    buffer.is_little_endian = syntax != BIG
    write_dataset(buffer, dataset)
    data = buffer.parent.getvalue()
    if syntax == DEFLATED:
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = deflate.compress(data) + deflate.flush()
    return data


def nested(depth: int, *, undefined: bool) -> Dataset:
    inner = Dataset()
    inner.PatientName = "INNER^NAME"
    for _ in range(depth):
        inner.is_undefined_length_sequence_item = undefined
        outer = Dataset()
        outer.ReferencedStudySequence = Sequence([inner])
        outer["ReferencedStudySequence"].is_undefined_length = undefined
        inner = outer
    return inner


def with_sequence(depth: int, *, undefined: bool) -> Dataset:
    dataset = nested(depth, undefined=undefined)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.SOPInstanceUID = "1.2.3.4.5"
    dataset.PatientName = "Müller^Jürgen"
    dataset.PatientID = ""
    dataset.StudyInstanceUID = "1.2.3"
    dataset.Rows = 2
    return dataset


EXPECTED = {
    0x00080005: b"ISO_IR 192",
    0x00080016: b"1.2.840.10008.5.1.4.1.1.2",
    0x00080018: b"1.2.3.4.5",
    0x00100010: "Müller^Jürgen".encode(),
    0x00100020: b"",
    0x0020000D: b"1.2.3",
}


@pytest.mark.parametrize("size", [1 << 20, 7, 1])
@pytest.mark.parametrize("undefined", [True, False], ids=["undefined", "defined"])
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "head"])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_what_stands_in_a_sequence_is_not_the_data_sets_own(syntax, whole, undefined, size):
    data = encoded(with_sequence(3, undefined=undefined), syntax)
    assert stripped(read(syntax, cut(data, size), whole=whole).values) == EXPECTED


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_sequences_may_be_nested_64_deep(syntax):
    data = encoded(with_sequence(64, undefined=True), syntax)
    assert stripped(read(syntax, [data]).values) == EXPECTED


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_sequences_nested_65_deep_are_refused(syntax):
    data = encoded(with_sequence(65, undefined=True), syntax)
    with pytest.raises(UnreadableDataSet, match="nested deeper than 64"):
        read(syntax, [data])


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_hundred_thousand_opened_sequences_are_refused_at_once(syntax):
    """No recursion, and no work that grows with what the peer sends."""
    opened = implicit if syntax == IMPLICIT else explicit
    if syntax == IMPLICIT:
        one = implicit(0x00081110, b"", UNDEFINED) + ITEM_BEGIN
    elif syntax == BIG:
        one = explicit(0x00081110, b"SQ", b"", UNDEFINED, ">") + struct.pack(">HHI", 0xFFFE, 0xE000, UNDEFINED)
    else:
        one = opened(0x00081110, b"SQ", b"", UNDEFINED) + ITEM_BEGIN
    data = one * 100_000
    with pytest.raises(UnreadableDataSet, match="nested deeper"):
        read(syntax, [zlib.compress(data, wbits=-15) if syntax == DEFLATED else data])


# -- the odd forms that are right, or sent all the same


@pytest.mark.parametrize("size", [1 << 20, 3, 1])
def test_the_inside_of_un_of_undefined_length_is_implicit(size):
    """PS3.5 6.2.2 note 2: as CP-246 has it, whatever the transfer syntax."""
    inside = implicit(PATIENT, b"NOT MINE") + implicit(0x00081110, ITEM_BEGIN + ITEM_END + SEQUENCE_END, UNDEFINED)
    un = explicit(0x00091010, b"UN", ITEM_BEGIN + inside + ITEM_END + item(inside) + SEQUENCE_END, UNDEFINED)
    assert read(EXPLICIT, cut(UID + un + NAME, size), whole=True).values == FOUND


def test_after_un_of_undefined_length_it_is_explicit_again_even_within_a_sequence():
    un = explicit(0x00091010, b"UN", ITEM_BEGIN + ITEM_END + SEQUENCE_END, UNDEFINED)
    sequence = explicit(0x00091001, b"SQ", ITEM_BEGIN + un + NAME + ITEM_END + SEQUENCE_END, UNDEFINED)
    assert read(EXPLICIT, [UID + sequence + NAME], whole=True).values == FOUND


def test_encapsulated_pixel_data_is_walked_by_its_items():
    pixels = explicit(0x7FE00010, b"OB", item(b"") + item(bytes(1000)) + SEQUENCE_END, UNDEFINED)
    assert read(EXPLICIT, cut(UID + NAME + pixels, 100), whole=True).values == FOUND
    with pytest.raises(UnreadableDataSet, match="ends inside"):
        read(EXPLICIT, [(UID + NAME + pixels)[:-9]], whole=True)


def test_implicit_vr_where_explicit_was_agreed_is_read_all_the_same():
    """Some devices do it; the place of the first VR tells."""
    data = implicit(INSTANCE, b"1.2.3.4\0") + implicit(PATIENT, b"DOE^JANE")
    for size in (1 << 20, 1):
        assert read(EXPLICIT, cut(data, size), whole=True).values == FOUND


def test_later_vrs_have_the_long_form():
    """PS3.5 7.1.2: SV, UV, OV and whatever comes after them."""
    later = struct.pack("<HH2sHI", 0x0009, 0x1010, b"ZZ", 0, 6) + b"abcdef"
    assert read(EXPLICIT, [UID + later + NAME]).values == FOUND


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (explicit(0x00020010, b"UI", b"1.2\0"), "begins with an element of group 0002"),
        (implicit(0x00000000, bytes(4)), "begins with an element of group 0000"),
        (UID + ITEM_END, "delimiter FFFEE00D outside a sequence"),
        (UID + SEQUENCE_END, "delimiter FFFEE0DD outside a sequence"),
        (UID + b"\x10\x00\x10\x00!!\x08\x00DOE^JANE", "has the impossible VR b'!!'"),
        (UID + b"\x10\x00\x10\x00pn\x08\x00DOE^JANE", "has the impossible VR b'pn'"),
        (UID + NAME[:-1], "ends inside an element"),
        (UID[:5], "ends inside an element"),
        (UID + explicit(0x00091010, b"SQ", b"", UNDEFINED), "ends inside an element"),
        (UID + explicit(0x00091010, b"UN", b"", 0xFFFFFFFE), "ends inside an element"),
    ],
)
def test_what_cannot_be_walked_is_said(data, sentence):
    for size in (1 << 20, 1):
        with pytest.raises(UnreadableDataSet) as caught:
            read(EXPLICIT, cut(data, size), whole=True)
        assert sentence in str(caught.value)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_a_data_set_cut_anywhere_but_between_two_elements_is_found_out(syntax):
    data = encoded(with_sequence(2, undefined=True), syntax)
    dataset = with_sequence(2, undefined=True)
    # Where the elements begin: the lengths of the data set up to each of them.
    kept = Dataset()
    borders = {0, len(data)}
    for element in dataset:
        kept.add(element)
        borders.add(len(encoded(kept, syntax)))
    for end in range(len(data)):
        if end not in borders:
            with pytest.raises(UnreadableDataSet):
                read(syntax, [data[:end]], whole=True)


def test_a_deflated_data_set_cut_short_is_found_out_where_the_whole_of_it_is_asked_for():
    """``storage.verify: strict`` refuses what breaks the encoding of its transfer syntax."""
    dataset = with_sequence(1, undefined=True)
    dataset.PixelData = bytes(range(256)) * 64
    dataset["PixelData"].VR = "OB"
    data = encoded(dataset, DEFLATED)
    read(DEFLATED, [data], whole=True)
    with pytest.raises(UnreadableDataSet):
        read(DEFLATED, [data[: len(data) // 2]], whole=True)


def test_a_value_too_long_for_its_kind_is_refused_however_it_is_cut():
    """So that what a peer is told does not depend on how the network cut its data set."""
    data = implicit(INSTANCE, b"1.2.3.4\0") + implicit(PATIENT, b"x" * 70_000)

    def outcome(size: int):
        try:
            return read(IMPLICIT, cut(data, size)).values
        except UnreadableDataSet as error:
            return str(error)

    assert outcome(1 << 20) == outcome(1000) == "element 00100010 has 70000 bytes, too long for its kind"


def test_a_value_of_64_kib_is_read_however_it_is_cut():
    data = implicit(INSTANCE, b"1.2.3.4\0") + implicit(PATIENT, b"x" * 65_536)
    for size in (1 << 20, 1000):
        assert len(read(IMPLICIT, cut(data, size)).values[PATIENT]) == 65_536


def test_a_length_that_lies_keeps_no_bytes():
    reader = head.reader(EXPLICIT, TAGS)
    reader.feed(memoryview(UID + explicit(0x00091010, b"UN", b"", 0xFFFFFFF0)))
    for _ in range(100):
        reader.feed(memoryview(bytes(100_000)))
    assert reader._left_over == b""
    assert reader.values == {INSTANCE: b"1.2.3.4\0"}


# -- what is optional

CODES, REQUESTS, COMMENTS, ROWS = 0x00081032, 0x00400275, 0x00104000, 0x00280010
OPTIONAL = frozenset((CODES, REQUESTS, COMMENTS, ROWS))


def with_codes(*, undefined: bool) -> Dataset:
    dataset = with_sequence(2, undefined=undefined)
    item, inner = Dataset(), Dataset()
    inner.CodeValue = "INNER"
    item.CodeMeaning = "Kopf"
    item.EquivalentCodeSequence = Sequence([inner, Dataset()])
    for one in (item, inner):
        one.is_undefined_length_sequence_item = undefined
    item["EquivalentCodeSequence"].is_undefined_length = undefined
    dataset.ProcedureCodeSequence = Sequence([item, item])
    dataset["ProcedureCodeSequence"].is_undefined_length = undefined
    dataset.RequestAttributesSequence = Sequence([])
    dataset["RequestAttributesSequence"].is_undefined_length = undefined
    return dataset


def value_in(dataset: Dataset, syntax: str, tag: int) -> bytes:
    """The bytes between an element's header and its end, or its delimiter."""
    alone = Dataset()
    alone.add(dataset[tag])
    data = encoded(alone, BIG if syntax == BIG else IMPLICIT if syntax == IMPLICIT else EXPLICIT)
    return data[8 if syntax == IMPLICIT else 12 : len(data) - 8 * dataset[tag].is_undefined_length]


@pytest.mark.parametrize("undefined", [True, False], ids=["undefined", "defined"])
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "head"])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_sequence_that_is_wanted_is_told_as_its_items_came_wherever_it_is_cut(syntax, whole, undefined):
    dataset = with_codes(undefined=undefined)
    data = encoded(dataset, syntax)
    expected = {**EXPECTED, ROWS: b"\0\2" if syntax == BIG else b"\2\0", REQUESTS: b""}
    codes = value_in(dataset, syntax, CODES)
    assert b"INNER" in codes
    for chunks in (cut(data, 1), *([data[:place], data[place:]] for place in range(len(data) + 1))):
        values = read(syntax, chunks, optional=OPTIONAL, whole=whole).values
        assert values.pop(CODES) == codes
        assert {**stripped(values), ROWS: values[ROWS]} == expected


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_a_sequence_that_is_not_whole_is_not_told(syntax):
    data = encoded(with_codes(undefined=True), syntax)
    end = data.index(b"INNER")
    reader = head.reader(syntax, (), optional=OPTIONAL)
    for chunk in cut(data[:end], 11):
        reader.feed(memoryview(chunk))
    assert CODES not in reader.values
    reader.feed(memoryview(data[end:]))
    assert CODES in reader.values


LONG = b"x" * 70_000
LEFT_OUT = {
    "text": explicit(COMMENTS, b"UT", LONG),
    "a sequence of defined length": explicit(REQUESTS, b"SQ", item(explicit(CODES, b"UT", LONG))),
    "a sequence of undefined length": explicit(
        REQUESTS, b"SQ", (ITEM_BEGIN + explicit(CODES, b"UT", LONG[:40_000]) + ITEM_END) * 2 + SEQUENCE_END, UNDEFINED
    ),
    "a sequence of many items": explicit(REQUESTS, b"SQ", item(b"") * 8193 + SEQUENCE_END, UNDEFINED),
}


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "head"])
@pytest.mark.parametrize("data", LEFT_OUT.values(), ids=LEFT_OUT)
def test_an_optional_value_that_is_too_long_is_left_out_however_it_is_cut(data, whole):
    """Nobody's instance is refused for what only an index wants to know."""
    rest = explicit(0x00400280, b"ST", b"rest") + explicit(0x00400281, b"LO", b"x ")
    for size in (1 << 20, 16_372, 999):
        reader = read(EXPLICIT, cut(UID + NAME + data + rest, size), optional={*OPTIONAL, 0x00400280}, whole=whole)
        assert reader.values == {**FOUND, 0x00400280: b"rest"}


def test_a_sequence_of_64_kib_is_told():
    data = explicit(REQUESTS, b"SQ", item(b"") * 8192 + SEQUENCE_END, UNDEFINED)
    for size in (1 << 20, 1000):
        assert len(read(EXPLICIT, cut(UID + data, size), optional=OPTIONAL).values[REQUESTS]) == 65_536


def test_a_long_value_in_small_pieces_is_not_put_together_again_and_again():
    reader = head.reader(EXPLICIT, TAGS, optional=OPTIONAL)
    codes = explicit(CODES, b"SQ", item(b"") * 4000 + SEQUENCE_END, UNDEFINED)
    for chunk in cut(codes + explicit(PATIENT, b"UT", LONG[:40_000]) + explicit(0x00500010, b"LO", b""), 1):
        reader.feed(memoryview(chunk))
        assert len(reader._left_over) < 12
    assert reader.done
    assert {tag: len(value) for tag, value in reader.values.items()} == {CODES: 32_000, PATIENT: 40_000}


LATER = explicit(0x00210010, b"LO", b"LATER ")
FAULTS = {
    "an impossible VR": b"\x22\0\x10\0!!\x08\0DOE^JANE",
    "a delimiter": SEQUENCE_END,
    "its end within an element": explicit(0x00220010, b"LO", b"a", 50),
    "its end within a sequence": explicit(REQUESTS, b"SQ", ITEM_BEGIN, UNDEFINED),
    "too deep a nesting": (explicit(0x00221001, b"SQ", b"", UNDEFINED) + ITEM_BEGIN) * 80,
}


@pytest.mark.parametrize("data", FAULTS.values(), ids=FAULTS)
def test_a_fault_behind_all_that_is_needed_is_none_unless_the_whole_is_asked_for(data):
    """What an index wants to know makes nothing unreadable that was readable without."""
    wanted = {**FOUND, 0x00210010: b"LATER "}
    for size in (1 << 20, 5, 1):
        chunks = cut(UID + NAME + LATER + data, size)
        assert read(EXPLICIT, chunks, optional={*OPTIONAL, 0x00210010}).values == wanted
        with pytest.raises(UnreadableDataSet):
            read(EXPLICIT, chunks, optional={*OPTIONAL, 0x00210010}, whole=True)


def test_a_deflate_stream_that_breaks_behind_all_that_is_needed_is_read_that_far():
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = deflate.compress(UID + NAME + LATER) + deflate.flush(zlib.Z_FULL_FLUSH)
    assert read(DEFLATED, [data, b"\xff" * 50], optional=OPTIONAL).values == FOUND
    with pytest.raises(UnreadableDataSet, match="cannot be inflated"):
        read(DEFLATED, [data, b"\xff" * 50], optional=OPTIONAL, whole=True)


# -- deflated


def test_a_deflate_bomb_is_inflated_by_a_bounded_amount(monkeypatch):
    """64 MiB of zeros in 64 KB: no more than a megabyte of it is ever made."""
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = deflate.compress(UID + explicit(0x00091010, b"UN", b"", 0xFFFFFFF0))
    zeros = bytes(1 << 20)
    bomb += b"".join(deflate.compress(zeros) for _ in range(64)) + deflate.flush()
    inflated = []
    feed = head.Walk.feed
    monkeypatch.setattr(head.Walk, "feed", lambda self, data: (inflated.append(len(data)), feed(self, data))[1])
    reader = head.reader(DEFLATED, TAGS)
    for chunk in cut(bomb, 16_372):
        reader.feed(memoryview(chunk))
    assert reader.done
    assert reader.values == {INSTANCE: b"1.2.3.4\0"}
    assert max(inflated) <= 16 * 1024
    assert sum(inflated) <= (1 << 20) + 16 * 1024


def test_what_is_no_deflate_stream_is_refused():
    with pytest.raises(UnreadableDataSet, match="cannot be inflated"):
        read(DEFLATED, [b"\xff" * 100])


def test_a_byte_of_padding_after_the_deflate_stream_is_no_fault():
    """PS3.5 A.5: a stream of odd length is padded with a zero byte."""
    data = encoded(with_sequence(1, undefined=True), DEFLATED)
    assert stripped(read(DEFLATED, [data + b"\0"]).values) == EXPECTED
    assert stripped(read(DEFLATED, cut(data + b"\0", 1)).values) == EXPECTED


# -- anything

elements = st.builds(
    explicit,
    st.sampled_from((0x00080018, 0x00081110, 0x00091010, 0x00100010, 0x0020000D, 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD)),
    st.sampled_from((b"UI", b"SQ", b"UN", b"PN", b"OB", b"\0\0", b"ZZ")),
    st.binary(max_size=20),
    st.sampled_from((None, None, 0, 1, 8, 0xFFFF, 0xFF, 12)),
)
soup = st.lists(
    st.one_of(elements, st.sampled_from((ITEM_BEGIN, ITEM_END, SEQUENCE_END, UID, NAME)), st.binary(max_size=12))
)
anything = st.one_of(st.binary(max_size=200), soup.map(b"".join))


def outcome(syntax: str, chunks, *, whole: bool):
    try:
        return read(syntax, chunks, optional=(0x00081110, 0x00091010), whole=whole).values
    except UnreadableDataSet:
        return None


@given(anything, st.sampled_from(SYNTAXES), st.booleans())
def test_any_bytes_give_values_or_are_unreadable_and_nothing_else(data, syntax, whole):
    values = outcome(syntax, [data], whole=whole)
    assert values is None or set(values) <= {*TAGS, 0x00081110, 0x00091010}


@given(anything, st.sampled_from(SYNTAXES), st.booleans(), st.lists(st.integers(0, 200)))
def test_any_bytes_mean_the_same_however_they_are_cut(data, syntax, whole, cuts):
    places = sorted({0, len(data), *(place for place in cuts if place < len(data))})
    chunks = [data[start:end] for start, end in pairwise(places)]
    assert outcome(syntax, chunks, whole=whole) == outcome(syntax, [data], whole=whole)


@given(anything, st.sampled_from(SYNTAXES), st.booleans(), st.lists(st.integers(0, 200)))
def test_what_is_optional_changes_nothing_for_what_is_needed(data, syntax, whole, cuts):
    places = sorted({0, len(data), *(place for place in cuts if place < len(data))})
    chunks = [data[start:end] for start, end in pairwise(places)]

    def told(optional):
        try:
            reader = read(syntax, chunks, (INSTANCE, PATIENT), optional=optional, whole=whole)
        except UnreadableDataSet as error:
            return str(error)
        return {tag: reader.values.get(tag) for tag in (INSTANCE, PATIENT)}, reader.seen

    assert told((0x00081110, 0x00091010, 0x0020000D)) == told(())


@given(anything)
def test_any_bytes_deflated_mean_what_they_mean_inflated(data):
    deflated = zlib.compress(data, wbits=-15)
    assert outcome(DEFLATED, [deflated], whole=False) == outcome(EXPLICIT, [data], whole=False)
