"""What the messages of storage commitment carry: the Storage Commitment Module ↔ bytes (PS3.3 C.14, PS3.4 J.3).

What a peer sent is hostile until it went through :func:`decode`. Knows no association and no file.
"""

from __future__ import annotations

import re
import struct
import zlib
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from scpd.errors import ScpdError, UnreadableDataSet
from scpd.names import quote
from scpd.services.commitment.elements import Element, Form, element, elements, form_of, items, sequence
from scpd.storage.head import DEFLATED

if TYPE_CHECKING:
    from collections.abc import Iterable

PUSH_MODEL = "1.2.840.10008.1.20.1"
WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"
REQUEST_STORAGE_COMMITMENT = 1  # the one action type (PS3.4 J.3.2)
REQUEST_SUCCESSFUL, FAILURES_EXIST = 1, 2  # the event types (PS3.4 J.3.3)

NO_SUCH_SOP_INSTANCE = 0x0112
INVALID_ARGUMENT_VALUE = 0x0115
MISSING_ATTRIBUTE = 0x0120
NO_SUCH_ACTION_TYPE = 0x0123
RESOURCE_LIMITATION = 0x0213

# What one request may hold: more instances than any study has, and the bytes that they need.
MOST_REFERENCES = 50_000
LONGEST = 8 * 1024 * 1024

_SOP_CLASS_UID, _SOP_INSTANCE_UID = 0x00081150, 0x00081155
_TRANSACTION_UID, _RETRIEVE_AE_TITLE = 0x00081195, 0x00080054
_FAILURE_REASON, _FAILED_SOP_SEQUENCE, _REFERENCED_SOP_SEQUENCE = 0x00081197, 0x00081198, 0x00081199
_KEYWORDS = {
    _SOP_CLASS_UID: "Referenced SOP Class UID",
    _SOP_INSTANCE_UID: "Referenced SOP Instance UID",
    _TRANSACTION_UID: "Transaction UID",
    _REFERENCED_SOP_SEQUENCE: "Referenced SOP Sequence",
}
# Some devices have components with leading zeros: what is only given back, or looked up, need not be better than that.
_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)


class FailureReason(IntEnum):
    """Why an instance is not committed (PS3.3 C.14.1.1)."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    DUPLICATE_TRANSACTION_UID = 0x0131


class RefusedError(ScpdError):
    """A request that is not taken on; ``status`` is what its response says (PS3.7 10.1.4.1.10)."""

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what)
        self.status = status
        self.what = what


class Reference(NamedTuple):
    """An instance, as the peer names it."""

    sop_class_uid: str
    sop_instance_uid: str


class Requested(NamedTuple):
    """What commitment is asked for: each reference once, in the order of the request."""

    transaction_uid: str
    references: tuple[Reference, ...]


class Report(NamedTuple):
    """What became of a request."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[tuple[Reference, FailureReason], ...]
    retrieve_ae_title: str = ""

    @property
    def event_type_id(self) -> int:
        return FAILURES_EXIST if self.failed else REQUEST_SUCCESSFUL


def decode(data: bytes | bytearray, transfer_syntax: str) -> Requested:
    """The Action Information of a request (PS3.4 table J.3-1). Raises :class:`RefusedError`."""
    try:
        view = memoryview(_inflated(data) if transfer_syntax in DEFLATED else data)
        found = _picked(view, form_of(transfer_syntax), (_TRANSACTION_UID, _REFERENCED_SOP_SEQUENCE))
        transaction_uid = _uid(found, _TRANSACTION_UID)
        if _REFERENCED_SOP_SEQUENCE not in found:
            raise _missing(_REFERENCED_SOP_SEQUENCE)
        references = _references(found[_REFERENCED_SOP_SEQUENCE])
    except UnreadableDataSet as error:
        raise RefusedError(INVALID_ARGUMENT_VALUE, f"Action Information: {error}") from error
    if not references:
        raise RefusedError(INVALID_ARGUMENT_VALUE, f"{_named(_REFERENCED_SOP_SEQUENCE)} is empty")
    return Requested(transaction_uid, tuple(references))


def _references(found: Element) -> dict[Reference, None]:
    references: dict[Reference, None] = {}
    for number, item in enumerate(items(found), 1):
        if number > MOST_REFERENCES:
            raise RefusedError(RESOURCE_LIMITATION, f"more than {MOST_REFERENCES} instances in one request")
        values = _picked(item, found.inside, (_SOP_CLASS_UID, _SOP_INSTANCE_UID))
        where = f"item {number}: "
        references[Reference(_uid(values, _SOP_CLASS_UID, where), _uid(values, _SOP_INSTANCE_UID, where))] = None
    return references


def _picked(data: memoryview, form: Form, tags: tuple[int, ...]) -> dict[int, Element]:
    return {one.tag: one for one in elements(data, form) if one.tag in tags}


def _uid(found: dict[int, Element], tag: int, where: str = "") -> str:
    if tag not in found:
        raise _missing(tag, where)
    text = bytes(found[tag].value[:1024]).rstrip(b"\0 ").decode("ascii", "replace")
    if not text:
        raise _missing(tag, where)
    if not _UID.fullmatch(text):
        raise RefusedError(INVALID_ARGUMENT_VALUE, f"{where}{_named(tag)} is no UID: {quote(text)}")
    return text


def _missing(tag: int, where: str = "") -> RefusedError:
    return RefusedError(MISSING_ATTRIBUTE, f"{where}{_named(tag)} is missing")


def _named(tag: int) -> str:
    return f"{_KEYWORDS[tag]} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _inflated(data: bytes | bytearray) -> bytes:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflate.decompress(data, LONGEST + 1)
    except zlib.error as error:
        raise UnreadableDataSet(f"it cannot be inflated: {error}") from None
    if len(inflated) > LONGEST:
        raise RefusedError(RESOURCE_LIMITATION, f"Action Information is longer than {LONGEST} bytes")
    return inflated


def encode(report: Report, transfer_syntax: str) -> bytes:
    """The Event Information of a report (PS3.4 table J.3-2)."""
    form = form_of(transfer_syntax)
    parts = []
    if report.retrieve_ae_title and report.committed:
        parts.append(element(_RETRIEVE_AE_TITLE, b"AE", _padded(report.retrieve_ae_title, b" "), form))
    parts.append(_uid_element(_TRANSACTION_UID, report.transaction_uid, form))
    if report.failed:
        parts.append(sequence(_FAILED_SOP_SEQUENCE, _failed_items(report, form), form))
    if report.committed:
        contents = (_reference(one, form) for one in report.committed)
        parts.append(sequence(_REFERENCED_SOP_SEQUENCE, contents, form))
    encoded = b"".join(parts)
    if transfer_syntax in DEFLATED:
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        encoded = deflate.compress(encoded) + deflate.flush()
        encoded += b"\0" * (len(encoded) & 1)
    return encoded


def _failed_items(report: Report, form: Form) -> Iterable[bytes]:
    for reference, reason in report.failed:
        why = element(_FAILURE_REASON, b"US", struct.pack(form.order + "H", reason), form)
        yield _reference(reference, form) + why


def _reference(reference: Reference, form: Form) -> bytes:
    return _uid_element(_SOP_CLASS_UID, reference.sop_class_uid, form) + _uid_element(
        _SOP_INSTANCE_UID, reference.sop_instance_uid, form
    )


def _uid_element(tag: int, uid: str, form: Form) -> bytes:
    return element(tag, b"UI", _padded(uid, b"\0"), form)


def _padded(text: str, padding: bytes) -> bytes:
    raw = text.encode("ascii")
    return raw + padding * (len(raw) & 1)
