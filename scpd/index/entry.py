"""What is written of one file: its raw values → rows for patient, study, series and instance.

Text of a peer is decoded, bounded and without what a database cannot hold. The upper levels of one series are the same
again and again, and made once.
"""

from __future__ import annotations

import hashlib
import json
import struct
import threading
from typing import TYPE_CHECKING, NamedTuple

from scpd.index import dates
from scpd.index.attributes import (
    ISSUER_OF_PATIENT_ID,
    NUMBER_VR,
    PATIENT_ID,
    PATIENT_NAME,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    SPECIFIC_CHARACTER_SET,
    STUDY_INSTANCE_UID,
    Level,
    tag_of,
    vr_of,
)
from scpd.index.person_names import normal, sounds
from scpd.index.schema import LONGEST_KEY, SEVERAL
from scpd.storage.head import EXPLICIT_BIG, IMPLICIT_LITTLE
from scpd.storage.sequences import items
from scpd.storage.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scpd.index.attributes import Keeping, Value

STUDY_DATE, ACCESSION_NUMBER, STUDY_ID = tag_of("StudyDate"), tag_of("AccessionNumber"), tag_of("StudyID")
MODALITY, INSTANCE_NUMBER = tag_of("Modality"), tag_of("InstanceNumber")
LONGEST_NAME = 256
# The longest text that any kept kind of value may have is 10240 characters (PS3.5 table 6.2-1); a peer may send more.
_LONGEST = 10_240
# What is remembered of upper levels, each of so many bytes at most: a peer may send new ones for ever.
_MOST_KNOWN = 4096
_LONGEST_KNOWN = 8192
_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i"}
_MOST_NUMBER = 2**31 - 1


class Parent(NamedTuple):
    """The row of a patient, study or series: what names it, what is looked for, and all that is told, as JSON."""

    key: str
    columns: Mapping[str, str]
    attributes: str


class Entry(NamedTuple):
    """One instance with its upper levels."""

    patient: Parent
    study: Parent
    series: Parent
    uid: str
    sop_class: str
    number: int
    attributes: str


class Scribe:
    """Makes entries of what ``keeping`` says. May be used by several threads."""

    def __init__(self, keeping: Keeping) -> None:
        self._keeping = keeping
        self._vrs = {tag: vr_of(tag) for tag in keeping.tags}
        self._lock = threading.Lock()
        self._known: dict[tuple[bytes | None, ...], tuple[Parent, Parent, Parent]] = {}
        levels = keeping.by_level
        self.tags = keeping.tags | {SPECIFIC_CHARACTER_SET}
        self._upper = tuple(
            dict.fromkeys((SPECIFIC_CHARACTER_SET, *levels[Level.PATIENT], *levels[Level.STUDY], *levels[Level.SERIES]))
        )

    def entry(self, raw: Mapping[int, bytes], sop_class: str, sop_instance: str, transfer_syntax: str) -> Entry:
        """The rows of a data set with these raw values by tag; what it is was said by whoever sent it."""
        reading = _Reading(raw, self._vrs, transfer_syntax)
        values = {**reading.of(self._keeping.by_level[Level.IMAGE]), SOP_CLASS_UID: sop_class}
        values[SOP_INSTANCE_UID] = sop_instance
        number = _number(values.get(INSTANCE_NUMBER))
        return Entry(*self._parents(raw, reading), sop_instance, sop_class, number, encoded(values))

    def _parents(self, raw: Mapping[int, bytes], reading: _Reading) -> tuple[Parent, Parent, Parent]:
        alike = (*map(raw.get, self._upper), reading.kind)
        known = self._known.get(alike)
        if known is None:
            known = self._made(reading)
            if sum(map(len, filter(None, alike))) <= _LONGEST_KNOWN:
                self._remember(alike, known)
        return known

    def _remember(self, alike: tuple[bytes | None, ...], known: tuple[Parent, Parent, Parent]) -> None:
        with self._lock:
            self._known[alike] = known
            if len(self._known) > _MOST_KNOWN:
                del self._known[next(iter(self._known))]

    def _made(self, reading: _Reading) -> tuple[Parent, Parent, Parent]:
        levels = self._keeping.by_level
        patient, study, series = (reading.of(levels[level]) for level in (Level.PATIENT, Level.STUDY, Level.SERIES))
        for values, tag in ((study, STUDY_INSTANCE_UID), (series, SERIES_INSTANCE_UID)):
            if tag in values:
                values[tag] = _uid(values, tag)
        return _patient(patient, _text(study, STUDY_INSTANCE_UID)), _study(study), _series(series)


def encoded(values: Mapping[int, Value]) -> str:
    """Attributes as they are written."""
    return json.dumps({f"{tag:08X}": _plain(value) for tag, value in values.items()}, separators=(",", ":"))


def decoded(attributes: Mapping[str, object]) -> dict[int, Value]:
    """Attributes as they are told, of what :func:`encoded` wrote."""
    return {int(tag, 16): _told(value) for tag, value in attributes.items()}


def bounded(text: str) -> str:
    """A text as it is looked for: what is too long is cut, and ends in what tells it from others."""
    if len(text) <= LONGEST_KEY:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]
    return text[: LONGEST_KEY - len(digest)] + digest


class _Reading:
    """Raw values of one data set, on their way to text."""

    def __init__(self, raw: Mapping[int, bytes], vrs: Mapping[int, str], transfer_syntax: str) -> None:
        self.kind = b"\1" if transfer_syntax == EXPLICIT_BIG else b"\2" if transfer_syntax == IMPLICIT_LITTLE else b""
        self._raw = raw
        self._vrs = vrs
        self._character_set = raw.get(SPECIFIC_CHARACTER_SET, b"")
        self._text = Text(self._character_set)

    def of(self, tags: tuple[int, ...]) -> dict[int, Value]:
        """The values of those that are there and not empty."""
        found: dict[int, Value] = {}
        for tag in tags:
            raw = self._raw.get(tag)
            if raw and (value := self._value(self._vrs[tag], raw)):
                found[tag] = value
        return found

    def _value(self, vr: str, raw: bytes) -> Value:
        if vr == "SQ":
            return items(raw, self.kind != b"\2", self.kind != b"\1", self._character_set)
        if vr in NUMBER_VR:
            return self._numbers(_NUMBERS[vr], raw)
        text = self._text.decode(raw)
        return text if text.isprintable() and len(text) <= _LONGEST else _cleaned(text)

    def _numbers(self, code: str, raw: bytes) -> str:
        order, size = ">" if self.kind == b"\1" else "<", struct.calcsize(code)
        count = min(len(raw) // size, 64)
        return "\\".join(map(str, struct.unpack_from(f"{order}{count}{code}", raw)))


def _cleaned(text: str) -> str:
    """Without NUL, which PostgreSQL has no room for, and what no encoding has."""
    return text[:_LONGEST].replace("\0", "").encode("utf-8", "replace").decode()


def _patient(values: dict[int, Value], study: str) -> Parent:
    patient_id, issuer = _text(values, PATIENT_ID), _text(values, ISSUER_OF_PATIENT_ID)
    if not patient_id.strip("\\ "):
        patient_id = ""
    # Without an ID nobody knows whose it is: then it is the patient of this study alone.
    key = f"{len(patient_id)}\\{patient_id}\\{issuer}" if patient_id else f"\\{study}"
    name = _text(values, PATIENT_NAME)
    columns = {
        "patient_id": _sought(patient_id),
        "name": normal(name)[:LONGEST_NAME],
        "sounds": sounds(name)[:LONGEST_NAME],
    }
    return Parent(bounded(key), columns, encoded(values))


def _study(values: dict[int, Value]) -> Parent:
    date = _text(values, STUDY_DATE)
    columns = {
        "date": SEVERAL if "\\" in date else dates.normal("DA", date),
        "accession": _sought(_text(values, ACCESSION_NUMBER)),
        "study_id": _sought(_text(values, STUDY_ID)),
    }
    return Parent(bounded(_text(values, STUDY_INSTANCE_UID)), columns, encoded(values))


def _series(values: dict[int, Value]) -> Parent:
    return Parent(bounded(_text(values, SERIES_INSTANCE_UID)), {"modality": _text(values, MODALITY)}, encoded(values))


def _sought(text: str) -> str:
    """A text as it is looked for; where it has several values, somebody else has to look."""
    return SEVERAL if "\\" in text else bounded(text)


def _uid(values: Mapping[int, Value], tag: int) -> str:
    """The one that counts: there cannot be several."""
    return _text(values, tag).split("\\")[0].strip()


def _text(values: Mapping[int, Value], tag: int) -> str:
    value = values.get(tag, "")
    return value if isinstance(value, str) else ""


def _number(value: Value | None) -> int:
    try:
        number = int(str(value or 0)[:20])
    except ValueError:
        return 0
    return max(-_MOST_NUMBER, min(_MOST_NUMBER, number))


def _plain(value: Value) -> object:
    if isinstance(value, str):
        return value
    return [{f"{tag:08X}": _plain(inner) for tag, inner in item.items()} for item in value]


def _told(value: object) -> Value:
    if isinstance(value, list):
        return [decoded(item) for item in value]
    return str(value)
