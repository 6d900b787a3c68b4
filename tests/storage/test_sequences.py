"""The items of a sequence: what pydicom reads in them, whatever form they came in, and nothing at all of what is none."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, Sequence
from pydicom.filebase import DicomIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.valuerep import PersonName

from scpd.storage import head
from scpd.storage.sequences import DEEPEST, MOST_ITEMS, items

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
SYNTAXES = (IMPLICIT, EXPLICIT, BIG)
REQUEST, PROCEDURE_CODE, PROTOCOL_CODE = 0x00400275, 0x00081032, 0x00400008
CODE, SCHEME, MEANING = 0x00080100, 0x00080102, 0x00080104
PROCEDURE_ID, STEP_DESCRIPTION, SERIES = 0x00401001, 0x00400007, 0x0020000E
ROWS, TAG = 0x00280010, 0x00081110
UNDEFINED = 0xFFFFFFFF
KEPT = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
) | {*("US", "SS", "UL", "SL")}


def encoded(dataset: Dataset, syntax: str) -> bytes:
    buffer = DicomIO(io.BytesIO())
    buffer.is_implicit_VR, buffer.is_little_endian = syntax == IMPLICIT, syntax != BIG
    write_dataset(buffer, dataset)
    return buffer.parent.getvalue()


def value_of(dataset: Dataset, syntax: str, tag: int) -> bytes:
    reader = head.reader(syntax, (), optional=(tag,), whole=True)
    reader.feed(memoryview(encoded(dataset, syntax)))
    reader.finish()
    return reader.values[tag]


def read(raw: bytes, syntax: str, character_set: bytes = b"") -> list:
    return items(raw, syntax != IMPLICIT, syntax != BIG, character_set)


def with_items(tag: int, *found: Dataset, undefined: bool = False) -> Dataset:
    dataset = Dataset()
    for item in found:
        item.is_undefined_length_sequence_item = undefined
    dataset.add_new(tag, "SQ", Sequence(found))
    dataset[tag].is_undefined_length = undefined
    return dataset


def code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "99X", meaning
    return item


def request(*, undefined: bool) -> Dataset:
    item = with_items(PROTOCOL_CODE, code("A1", "Head"), code("B22", ""), undefined=undefined)
    item.ScheduledProcedureStepDescription = "Head and neck"
    item.RequestedProcedureID = "P-1"
    item.SeriesInstanceUID = "1.2.3"
    item.Rows = 512
    item.ImageType = ["ORIGINAL", "PRIMARY"]
    item.SliceThickness = "1.5"
    item.PixelData = b"\1\2"
    item["PixelData"].VR = "OW"
    return with_items(REQUEST, item, code("C3", "second"), undefined=undefined)


EXPECTED = [
    {
        0x00080008: "ORIGINAL\\PRIMARY",
        0x00180050: "1.5",
        SERIES: "1.2.3",
        ROWS: "512",
        STEP_DESCRIPTION: "Head and neck",
        PROTOCOL_CODE: [{CODE: "A1", SCHEME: "99X", MEANING: "Head"}, {CODE: "B22", SCHEME: "99X", MEANING: ""}],
        PROCEDURE_ID: "P-1",
    },
    {CODE: "C3", SCHEME: "99X", MEANING: "second"},
]


@pytest.mark.parametrize("undefined", [True, False], ids=["undefined", "defined"])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_items_hold_text_numbers_and_sequences_and_no_pixels(syntax, undefined):
    assert read(value_of(request(undefined=undefined), syntax, REQUEST), syntax) == EXPECTED


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_delimiter_at_the_end_may_be_there(syntax):
    raw = value_of(request(undefined=True), syntax, REQUEST)
    delimiter = struct.pack(">HHI" if syntax == BIG else "<HHI", 0xFFFE, 0xE0DD, 0)
    assert read(raw + delimiter, syntax) == EXPECTED


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_what_stands_in_a_un_is_implicit_and_read_all_the_same(syntax):
    """PS3.5 6.2.2: a sequence that went through somebody who did not know it."""
    for undefined in (True, False):
        assert read(value_of(request(undefined=undefined), IMPLICIT, REQUEST), syntax) == EXPECTED


@pytest.mark.parametrize("undefined", [True, False], ids=["undefined", "defined"])
def test_a_sequence_in_an_item_may_be_a_un_too(undefined):
    inner = value_of(with_items(PROTOCOL_CODE, code("A1", "Head"), undefined=undefined), IMPLICIT, PROTOCOL_CODE)
    un = struct.pack("<HH2sHI", 0x0040, 0x0008, b"UN", 0, UNDEFINED if undefined else len(inner)) + inner
    un += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) if undefined else b""
    before, after = encoded(code("X", "first"), EXPLICIT), struct.pack("<HH2sH", 0x0040, 0x1001, b"SH", 4) + b"P-1 "
    body = before + un + after
    raw = struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body
    known = {CODE: "X", SCHEME: "99X", MEANING: "first"}
    nested = [{CODE: "A1", SCHEME: "99X", MEANING: "Head"}]
    assert read(raw, EXPLICIT) == [{**known, PROTOCOL_CODE: nested, PROCEDURE_ID: "P-1"}]


def test_pixels_in_fragments_are_passed_over():
    """An icon may be compressed, and stand in an item."""
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED)
    pixels += struct.pack("<HHI", 0xFFFE, 0xE000, 0) + struct.pack("<HHI", 0xFFFE, 0xE000, 4) + b"\xff\xd8\xff\xd9"
    pixels += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    body = encoded(code("X", ""), EXPLICIT) + pixels
    raw = struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body
    assert read(raw * 2, EXPLICIT) == [{CODE: "X", SCHEME: "99X", MEANING: ""}] * 2


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    form = "<HH2sHI" if vr == b"SQ" else "<HH2sH"
    fields = (tag >> 16, tag & 0xFFFF, vr, *((0,) if vr == b"SQ" else ()), len(value))
    return struct.pack(form, *fields) + value


def item(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body


def test_an_item_has_the_character_set_that_it_names_and_else_that_of_what_it_stands_in():
    latin, utf8 = element(MEANING, b"LO", "Größe".encode("latin-1")), element(MEANING, b"LO", "Größe".encode())
    names_utf8 = element(0x00080005, b"CS", b"ISO_IR 192")
    names_latin = element(0x00080005, b"CS", b"ISO_IR 100")
    inner = element(PROTOCOL_CODE, b"SQ", item(utf8) + item(names_latin, latin))
    raw = item(latin) + item(names_utf8, utf8, inner) + item(latin)
    told = {MEANING: "Größe"}
    assert read(raw, EXPLICIT, b"ISO_IR 100") == [told, {**told, PROTOCOL_CODE: [told, told]}, told]


def nested(depth: int, *, undefined: bool) -> Dataset:
    inner = code("DEEP", "")
    for _ in range(depth):
        inner = with_items(TAG, inner, undefined=undefined)
        inner.RequestedProcedureID = "P"
    return inner


@pytest.mark.parametrize("undefined", [True, False], ids=["undefined", "defined"])
def test_what_is_nested_deeper_than_four_is_left_out_and_the_rest_is_there(undefined):
    for depth in (DEEPEST, DEEPEST + 1, 60):
        level = read(value_of(nested(depth, undefined=undefined), EXPLICIT, TAG), EXPLICIT)
        for _ in range(DEEPEST - 1):
            assert level[0][PROCEDURE_ID] == "P"
            level = level[0][TAG]
        deepest = {CODE: "DEEP", SCHEME: "99X", MEANING: ""} if depth == DEEPEST else {PROCEDURE_ID: "P"}
        assert level == [deepest]


def test_a_thousand_levels_are_no_items():
    one = struct.pack("<HH2sHI", TAG >> 16, TAG & 0xFFFF, b"SQ", 0, UNDEFINED)
    begin = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
    assert read(begin + (one + begin) * 1000, EXPLICIT) == []
    ends = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    assert read(begin + (one + begin) * 1000 + ends * 1000, EXPLICIT) == []


def test_of_many_items_the_first_64_are_told():
    found = read(value_of(with_items(TAG, *(code(str(i), "") for i in range(200))), EXPLICIT, TAG), EXPLICIT)
    assert [item[CODE] for item in found] == [str(i) for i in range(MOST_ITEMS)]


def test_a_zero_byte_within_a_text_is_dropped():
    """Some databases have no room for it."""
    raw = value_of(with_items(TAG, code("ABCD", "")), EXPLICIT, TAG).replace(b"ABCD", b"A\0CD")
    assert read(raw, EXPLICIT)[0][CODE] == "ACD"


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [True, False], ids=["undefined", "defined"])
def test_what_is_cut_within_an_item_has_no_items(syntax, undefined):
    raw = value_of(request(undefined=undefined), syntax, REQUEST)
    whole = {len(raw), 0}
    for end in range(len(raw) + 1):
        found = read(raw[:end], syntax)
        assert found in ([], EXPECTED[:1], EXPECTED)
        assert (found == EXPECTED) == (end == len(raw)), end
        whole |= {end} if found == EXPECTED[:1] else set()
    assert len(whole) == 3  # between the two items there is one place


def test_a_length_that_reaches_beyond_its_item_gives_no_items():
    header = struct.pack("<HHI", 0xFFFE, 0xE000, 12)
    liar = struct.pack("<HH2sH", 0x0040, 0x1001, b"SH", 12) + b"P-1 "
    assert read(header + liar + b"\0" * 32, EXPLICIT) == []


# -- what pydicom ships


# Its last item says that it is longer than what there is.
LIAR = ("DICOMDIR-nooffset", 0x00041220)


def parsed(sample) -> Dataset:
    data = zlib.decompress(sample.data, wbits=-15) if sample.transfer_syntax in head.DEFLATED else sample.data
    return read_dataset(io.BytesIO(data), sample.transfer_syntax == IMPLICIT, sample.transfer_syntax != BIG)


def told(sequence, depth: int = 1) -> list[dict]:
    """What there is to be told of the items that pydicom read."""
    return [
        {int(element.tag): value for element in item if (value := value_told(element, depth)) is not None}
        for item in sequence[:MOST_ITEMS]
    ]


def value_told(element, depth: int):
    if element.tag == 0x00080005 or element.tag.element == 0:
        return None
    if element.VR == "SQ":
        return told(element.value, depth + 1) if depth < DEEPEST else None
    return text_of(element) if element.VR in KEPT else None


def text_of(element) -> str:
    several = element.value if element.VM > 1 else [] if element.value is None else [element.value]
    return "\\".join(
        str(value if isinstance(value, PersonName) else getattr(value, "original_string", value)) for value in several
    )


def found_in(sample, tags, size: int) -> dict[int, bytes]:
    reader = head.reader(sample.transfer_syntax, (0x00080005,), optional=tags, whole=True)
    for start in range(0, len(sample.data), size):
        reader.feed(memoryview(sample.data)[start : start + size])
    reader.finish()
    return reader.values


@pytest.mark.parametrize("size", [1 << 20, 509])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_items_of_every_sequence_in_every_shipped_file_are_pydicoms(samples, size):
    compared = broken = 0
    for sample in samples:
        if "truncated" in sample.name:
            continue
        dataset = parsed(sample)
        tags = [int(tag) for tag in dataset.keys() if dataset[tag].VR == "SQ"]  # noqa: SIM118 a Dataset iterates over elements
        values = found_in(sample, tags, size)
        for tag, raw in values.items():
            found = read(raw, sample.transfer_syntax, values.get(0x00080005, b""))
            if (sample.name, tag) == LIAR:
                broken += found == []
            elif tag in tags:
                compared += 1
                assert found == told(dataset[tag].value), (sample.name, hex(tag))
    assert compared > 100
    assert broken == 1


# -- anything

pieces = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [
            struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED),
            struct.pack("<HHI", 0xFFFE, 0xE000, 20),
            struct.pack("<HHI", 0xFFFE, 0xE00D, 0),
            struct.pack("<HHI", 0xFFFE, 0xE0DD, 0),
            struct.pack("<HH2sH", 0x0040, 0x1001, b"SH", 4) + b"P-1 ",
            struct.pack("<HH2sH", 0x0028, 0x0010, b"US", 3) + b"\1\2\3",
            struct.pack("<HHI", 0x0040, 0x1001, 4) + b"P-1 ",
            struct.pack("<HH2sHI", 0x0040, 0x0008, b"SQ", 0, UNDEFINED),
            struct.pack("<HH2sHI", 0x0040, 0x0008, b"UN", 0, 28),
            struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED),
            struct.pack("<HHI", 0x0040, 0x0008, UNDEFINED),
        ]
    ),
)
anything = st.one_of(st.binary(max_size=200), st.lists(pieces, max_size=20).map(b"".join))


def is_told(value) -> bool:
    if isinstance(value, str):
        return "\0" not in value
    return all(isinstance(tag, int) and is_told(inner) for item in value for tag, inner in item.items())


@given(anything, st.booleans(), st.booleans(), st.binary(max_size=12))
def test_any_bytes_are_items_or_none(raw, explicit, little_endian, character_set):
    found = items(raw, explicit, little_endian, character_set)
    assert isinstance(found, list)
    assert is_told(found)


texts = st.text(st.characters(codec="ascii", exclude_categories=("Cc",), exclude_characters="\\ "), max_size=10)
leaf = st.fixed_dictionaries({}, optional={CODE: texts, MEANING: texts, STEP_DESCRIPTION: texts, PROCEDURE_ID: texts})
trees = st.recursive(
    leaf,
    lambda inner: st.builds(
        lambda item, found: {**item, **found},
        leaf,
        st.dictionaries(st.sampled_from((PROTOCOL_CODE, TAG)), st.lists(inner, max_size=3), max_size=2),
    ),
    max_leaves=8,
)


def made(tree: dict, undefined: bool) -> Dataset:
    item = Dataset()
    for tag, value in tree.items():
        if isinstance(value, str):
            item.add_new(tag, "LO", value)
        else:
            found = with_items(tag, *(made(inner, undefined) for inner in value), undefined=undefined)
            item[tag] = found[tag]
    return item


def cropped(tree: dict, depth: int = 1) -> dict:
    return {
        tag: value if isinstance(value, str) else [cropped(item, depth + 1) for item in value]
        for tag, value in tree.items()
        if isinstance(value, str) or depth < DEEPEST
    }


@given(st.lists(trees, max_size=4), st.sampled_from(SYNTAXES), st.booleans())
def test_whatever_is_written_is_read(found, syntax, undefined):
    dataset = with_items(REQUEST, *(made(tree, undefined) for tree in found), undefined=undefined)
    assert read(value_of(dataset, syntax, REQUEST), syntax) == [cropped(tree) for tree in found]
