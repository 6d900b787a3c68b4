"""Identifiers of C-FIND, C-MOVE and C-GET: from keys as somebody writes them, to bytes and back (PS3.4 C.4.1.1.3).

Knows no association. Values of keys go out as they were written, valid or not; what an answer holds is decoded when it
is looked at, so errors come up there.
"""

from __future__ import annotations

import warnings
from difflib import get_close_matches
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

from pydicom import config
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from scpd.errors import UnreadableDataSet
from scpd.names import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

_NUMBERS: dict[str, type[int | float]] = {"US": int, "SS": int, "UL": int, "SL": int, "FL": float, "FD": float}
_UNDEFINED = 0xFFFFFFFF
_WITHOUT_TEXT = frozenset(("AT", "OB", "OD", "OF", "OL", "OV", "OW", "SV", "UN", "UV"))


class Key(NamedTuple):
    """A key: the tags that lead to it, from the outside, and its value; an empty one matches everything."""

    path: tuple[BaseTag, ...]
    value: str = ""


def parse_key(text: str) -> Key:
    r"""A key as somebody writes it: KEYWORD, KEYWORD=VALUE, and SEQUENCE.KEYWORD=VALUE for one inside a sequence.

    A tag may stand in place of a keyword, as 0010,0020 or 00100020; several values have a backslash between them.
    Raises :class:`ValueError` with what to write instead.
    """
    names, _, value = text.partition("=")
    path = tuple(_tag(name) for name in names.split("."))
    for tag in path[:-1]:
        if _vr(tag) != "SQ":
            raise ValueError(f"{_name(tag)} is no sequence, so nothing is inside it; write {_name(tag)}=VALUE")
    if value:
        _check_value(path[-1], value)
    return Key(path, value)


def _check_value(tag: BaseTag, value: str) -> None:
    vr = _vr(tag)
    if vr == "SQ":
        raise ValueError(f"{_name(tag)} is a sequence; write {_name(tag)}.KEYWORD=VALUE for a key inside it")
    if vr in _WITHOUT_TEXT:
        raise ValueError(f"{_name(tag)} has the VR {vr}, whose values cannot be written here; leave the value out")
    if vr in _NUMBERS:
        _numbers(vr, value)


def _tag(name: str) -> BaseTag:
    if not name:
        raise ValueError("a key without a keyword; write KEYWORD=VALUE, as PatientID=4711")
    digits = name.strip("()").replace(",", "")
    if len(digits) == 8 and all(digit in "0123456789abcdefABCDEF" for digit in digits):
        return Tag(int(digits, 16))
    tag = tag_for_keyword(name)
    if tag is None:
        near = get_close_matches(name, (entry[4] for entry in DicomDictionary.values()), 1, 0.7)
        remedy = f"did you mean {near[0]}?" if near else "write one of PS3.6, as PatientID, or a tag, as 0010,0020"
        raise ValueError(f"{quote(name)} is not the keyword of an attribute; {remedy}")
    return Tag(tag)


def _vr(tag: BaseTag) -> str:
    """The first one that the dictionary has for it; text for what it does not know."""
    try:
        return dictionary_VR(tag).split()[0]
    except KeyError:
        return "LO"


def _name(tag: BaseTag) -> str:
    return keyword_for_tag(tag) or f"{tag:08X}"


def _numbers(vr: str, value: str) -> list[int | float]:
    try:
        return [_NUMBERS[vr](one) for one in value.split("\\")]
    except ValueError:
        raise ValueError(f"{quote(value)} is not a number, and the attribute has the VR {vr}") from None


def identifier(level: str, keys: Iterable[Key]) -> Dataset:
    """An identifier for ``level``, whatever that is: the peer judges it; an empty one is left out.

    Where a value is not ASCII and no key says Specific Character Set, it goes out in UTF-8 (ISO_IR 192). A key that
    comes twice has its last value.
    """
    dataset = Dataset()
    keys = tuple(keys)
    if not all(key.value.isascii() for key in keys):
        dataset.SpecificCharacterSet = "ISO_IR 192"
    if level:
        _put(dataset, Tag("QueryRetrieveLevel"), level)
    for key in keys:
        inside = dataset
        for tag in key.path[:-1]:
            if tag not in inside or not inside[tag].value:
                inside[tag] = DataElement(tag, "SQ", [Dataset()])
            inside = inside[tag].value[0]
        _put(inside, key.path[-1], key.value)
    return dataset


def _put(dataset: Dataset, tag: BaseTag, text: str) -> None:
    vr = _vr(tag)
    value: Any = text
    if vr == "SQ":
        value = []
    elif vr in _NUMBERS and text:
        value = _numbers(vr, text)
    elif vr in _NUMBERS or vr in _WITHOUT_TEXT:
        value = None
    # A number as text would be judged as it is taken in, so it is taken in as other text.
    dataset[tag] = DataElement(tag, "LO" if vr in ("IS", "DS") else vr, value, validation_mode=config.IGNORE)
    dataset[tag].VR = vr


def encode(dataset: Dataset, transfer_syntax: str) -> bytes:
    """An identifier in ``transfer_syntax``, one of the two without compression and in little endian.

    Raises :class:`ValueError` for a value that its character set cannot express.
    """
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, UID(transfer_syntax).is_implicit_VR
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # pydicom warns where it replaces a character
            write_dataset(stream, dataset)
    except Exception as error:  # pydicom raises whatever the value at fault led to
        why = str(error).partition("\n")[0]  # it may have a whole traceback inside
        raise ValueError(f"the identifier cannot be encoded: {why}") from error
    return stream.getvalue()


def decode(data: bytes, transfer_syntax: str) -> Dataset:
    """An answer's identifier from its bytes.

    Raises :class:`UnreadableDataSet` for bytes that are none as far as that shows at once; a value that cannot be
    read raises when it is looked at.
    """
    syntax = UID(transfer_syntax)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = read_dataset(BytesIO(data), syntax.is_implicit_VR, syntax.is_little_endian)
    except Exception as error:  # as above; what a peer sent is no fault of this program
        raise UnreadableDataSet(f"an answer that is no data set: {quote(str(error), 200)}") from error
    if any(_is_cut(dataset.get_item(tag)) for tag in dataset.keys()):  # noqa: SIM118 iteration would decode
        raise UnreadableDataSet("an answer that ends inside an element")
    return dataset


def _is_cut(element: DataElement | RawDataElement | None) -> bool:
    """Whether a value ends before its length; pydicom takes what there is."""
    if not isinstance(element, RawDataElement) or element.length == _UNDEFINED:
        return False
    return len(element.value or b"") < element.length
