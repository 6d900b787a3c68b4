"""What a peer answered, for people and for programs. Text of a peer never reaches a terminal as it came."""

from __future__ import annotations

import base64
import json
import sys
import warnings
from typing import TYPE_CHECKING, Any

from pydicom.datadict import keyword_for_tag
from pydicom.multival import MultiValue

from scpd.dimse.status import meaning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

    from scpd.dimse.command import Response

_NOT_SHOWN = frozenset((0x00080005, 0x00080052))  # the character set and the level say nothing new to people


def harmless(text: str) -> str:
    r"""``text`` without anything that a terminal would act upon: what cannot be printed stands as ``\x1b``.

    >>> harmless("Müller\x1b[2J")
    'Müller\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def say(text: str) -> None:
    """A line to standard output, at once, whatever that can express."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def status(response: Response) -> str:
    """A status in the standard's words, with what the peer says of it."""
    words = f"{meaning(response.status, response.NAME)} ({response.status:04X})"
    comment = f": {harmless(response.error_comment)}" if response.error_comment else ""
    about = ", ".join(_name(tag) for tag in response.offending_element)
    return f"{words}{comment}{f' [{about}]' if about else ''}"


def line(dataset: Dataset) -> str:
    """A data set in one line, for people: ``PatientID=4711  PatientName=Müller^Jürgen``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, which repeat the value at fault
        return "  ".join(f"{_name(tag)}={_shown(dataset, tag)}" for tag in _tags(dataset) if tag not in _NOT_SHOWN)


def in_json(dataset: Dataset) -> str:
    """A data set as an object of the DICOM JSON model (PS3.18 annex F), in ASCII.

    A value that cannot be read stands there as the bytes that came (InlineBinary).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        return json.dumps({f"{tag:08X}": _json(dataset, tag) for tag in _tags(dataset)})


def values(dataset: Dataset, keyword: str) -> list[str]:
    """The values of an attribute of text, harmless; none where it is missing or cannot be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        try:
            found = dataset.get(keyword)
        except Exception:  # noqa: BLE001 pydicom raises whatever the value at fault led to
            return []
    return [harmless(str(one)) for one in (found if isinstance(found, MultiValue) else [found] if found else [])]


def _tags(dataset: Dataset) -> Iterator[BaseTag]:
    yield from sorted(dataset.keys())


def _name(tag: int) -> str:
    return keyword_for_tag(tag) or f"{tag >> 16:04X},{tag & 0xFFFF:04X}"


def _shown(dataset: Dataset, tag: BaseTag) -> str:
    try:
        element = dataset[tag]
        if element.VR == "SQ":
            return "".join(f"[{line(item)}]" for item in element.value)
        return harmless(_text(element))
    except Exception:  # noqa: BLE001 pydicom raises whatever the value at fault led to
        return repr(_raw(dataset, tag))


def _text(element: DataElement) -> str:
    value = element.value
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    if isinstance(value, MultiValue):
        return "\\".join(map(str, value))
    return "" if value is None else str(value)


def _json(dataset: Dataset, tag: BaseTag) -> dict[str, Any]:
    try:
        return dataset[tag].to_json_dict(None, 0)
    except Exception:  # noqa: BLE001 as above
        raw = base64.b64encode(_raw(dataset, tag)).decode()
        return {"vr": dataset.get_item(tag).VR or "UN", "InlineBinary": raw}


def _raw(dataset: Dataset, tag: BaseTag) -> bytes:
    """The bytes of a value that cannot be read; none of a sequence, which has no value of its own."""
    value = dataset.get_item(tag).value
    return value if isinstance(value, bytes) else b""
