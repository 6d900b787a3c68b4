"""Instances by the thousand, made from a seed: small, of many hospitals, and as wrong as real ones are.

- ``Made(seed).files(20_000)`` gives a :class:`File` for each: its path below a store, its bytes, and when it came
- patients with names in the character sets of PS3.3 C.12.1.1.2; attributes that are missing, empty, several, or wrong;
  one Patient ID with two issuers; studies without any; an instance in two series; instances sent again as another
  patient's, or with other attributes
"""

from __future__ import annotations

import functools
import random
import struct
import warnings
from typing import TYPE_CHECKING, NamedTuple

from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.valuerep import PersonName

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
SYNTAXES = (EXPLICIT, EXPLICIT, EXPLICIT, IMPLICIT, BIG)
SOP_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("2", "4", "1", "12.1", "88.11", "7"))
MODALITIES = ("CT", "MR", "CR", "XA", "SR", "OT")
BEGAN = 1_600_000_000.0

# Character set → names, and a word for other text, that it has.
NAMES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "": (("DOE^JANE", "DOE^JOHN^Q", "ROE^RICHARD^^DR", "O'NEIL^ANNE-MARIE", "Smith^Bob", "smith^BOB^^^III"), "Thorax"),
    "ISO_IR 100": (("Müller^Jörg", "Ångström^Åke", "Peña^José", "Müller-Lüdenscheidt^Ute"), "Schädel"),
    "ISO_IR 144": (("Люкceмбypг", "Иванов^Пётр"), "Грудь"),
    "ISO_IR 126": (("Διονυσιος", "Παπαδόπουλος^Νίκος"), "Θώρακας"),
    "ISO_IR 127": (("قباني^لنزار",), "صدر"),
    "ISO_IR 138": (("שרון^דבורה",), "חזה"),
    "\\ISO 2022 IR 87": (("Yamada^Tarou=山田^太郎=やまだ^たろう", "Suzuki^Hanako=鈴木^花子"), "胸部"),
    "ISO_IR 13": (("ﾔﾏﾀﾞ^ﾀﾛｳ",), "ｷｮｳﾌﾞ"),
    "\\ISO 2022 IR 149": (("Hong^Gildong=洪^吉洞=홍^길동",), "흉부"),
    "GB18030": (("Wang^XiaoDong=王^小东", "Zhang^Wei=张^伟"), "胸部"),
    "GBK": (("Li^Na=李^娜",), "头颅"),
    "ISO_IR 192": (
        ("Wang^XiaoDong=王^小東", "Žižka^Jan", "Đặng^Thị", "Ødegård^Æsa", "İnan^Işık", "Weiß^Groß"),
        "Œdème",
    ),
    "ISO_IR 101": (("Wałęsa^Łucja", "Dvořák^Antonín"), "Hrudník"),
}
_LONG = frozenset(("SQ", "UN", "UT", "UC", "UR", "OB", "OW"))
_UNDEFINED = 0xFFFFFFFF


class File(NamedTuple):
    """``path`` is below the store, ``when`` in Unix time: what came later counts."""

    path: str
    data: bytes
    when: float


Values = dict[str, object]


def encoded(values: Mapping[str, object], syntax: str, character_set: str) -> bytes:
    """A data set of these values by keyword: text, or lists of mappings; by hand, since there are many."""
    known = sorted((_TAGS.get(keyword) or _known(keyword), keyword) for keyword in values)
    return b"".join(
        [
            _sequence(tag, values[keyword], syntax, character_set)
            if isinstance(values[keyword], list)
            else _element(tag, values[keyword], syntax, character_set)
            for tag, keyword in known
        ]
    )


_TAGS: dict[str, int] = {}


def _known(keyword: str) -> int:
    return _TAGS.setdefault(keyword, tag_for_keyword(keyword))


@functools.lru_cache(maxsize=100_000)
def _element(tag: int, value: str, syntax: str, character_set: str) -> bytes:
    vr, order = dictionary_VR(tag).split()[0], (">" if syntax == BIG else "<")
    if vr == "US":
        raw = b"".join(struct.pack(order + "H", int(one)) for one in value.split("\\") if one)
    else:
        raw = in_character_set(value, character_set)
        raw += (b"\0" if vr == "UI" else b" ") * (len(raw) & 1)
    return _head(tag, vr, len(raw), syntax) + raw


def _sequence(tag: int, items: list, syntax: str, character_set: str) -> bytes:
    undefined = bool(len(items) % 2)
    raw = _items(items, syntax, character_set, undefined=undefined)
    return _head(tag, "SQ", _UNDEFINED if undefined else len(raw), syntax) + raw


def _head(tag: int, vr: str, length: int, syntax: str) -> bytes:
    order = ">" if syntax == BIG else "<"
    start = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT:
        return start + struct.pack(order + "I", length)
    long = vr in _LONG
    return start + vr.encode() + (b"\0\0" if long else b"") + struct.pack(order + ("I" if long else "H"), length)


def _items(items: list, syntax: str, character_set: str, *, undefined: bool) -> bytes:
    order = ">" if syntax == BIG else "<"
    made = b""
    for number, item in enumerate(items):
        inside = encoded(item, syntax, character_set)
        if number % 2 or undefined:
            end = struct.pack(order + "HHI", 0xFFFE, 0xE00D, 0)
            made += struct.pack(order + "HHI", 0xFFFE, 0xE000, _UNDEFINED) + inside + end
        else:
            made += struct.pack(order + "HHI", 0xFFFE, 0xE000, len(inside)) + inside
    return made + (struct.pack(order + "HHI", 0xFFFE, 0xE0DD, 0) if undefined else b"")


def in_character_set(text: str, character_set: str) -> bytes:
    """The bytes of text, with a question mark for what the character set does not have: so it is in life."""
    if text.isascii():
        return text.encode("ascii")
    encodings = convert_encodings(character_set.split("\\"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # A name knows how to switch, and other text of ours has no "^" or "=".
        return b"\\".join(PersonName(one).encode(encodings) for one in text.split("\\"))


def whole(sop_class: str, uid: str, syntax: str, data: bytes) -> bytes:
    """The bytes of a file (PS3.10 7.1)."""
    meta = b"\2\0\1\0OB\0\0\2\0\0\0\0\1"
    for element, text in ((2, sop_class), (3, uid), (0x10, syntax), (0x12, "1.2.3.4")):
        raw = text.encode() + b"\0" * (len(text) & 1)
        meta += struct.pack("<HH2sH", 2, element, b"UI", len(raw)) + raw
    return bytes(128) + b"DICM\2\0\0\0UL\4\0" + struct.pack("<I", len(meta)) + meta + data


class Made:
    """Everything follows from ``seed``."""

    def __init__(self, seed: int, patients: int = 300, studies: int = 1000) -> None:
        self._random = random.Random(seed)
        self._patients = [self._patient(number) for number in range(patients)]
        self._studies = [self._study(number) for number in range(studies)]

    def files(self, count: int) -> Iterator[File]:
        """The instances, in the order of their paths, which is not that of their times."""
        chance = self._random
        for number in range(count):
            study = self._studies[number % len(self._studies)]
            series = chance.choice(study["series"])
            uid = f"1.2.4.{number}"
            if number > 40 and chance.random() < 0.02:  # again: in the same series, or by a mistake in another
                uid = f"1.2.4.{number - (len(self._studies) if chance.random() < 0.5 else chance.randrange(1, 40))}"
                uid = uid if "-" not in uid else f"1.2.4.{number}"
            yield self._file(number, study, series, uid)

    def _file(self, number: int, study, series, uid: str) -> File:
        chance = self._random
        patient, syntax = study["patient"], study["syntax"]
        sop_class = series["class"]
        upper = dict(study["values"])
        if chance.random() < 0.01:  # the scanner's clock, or its operator
            upper["StudyDescription"] = f"Again {number}"
        if chance.random() < 0.002:
            patient = chance.choice(self._patients)
        if chance.random() < 0.005:
            patient = {**patient, "values": {**patient["values"], "PatientComments": f"seen {number}"}}
        values = {**patient["values"], **upper, **series["values"], **self._image(number)}
        values["SOPClassUID"], values["SOPInstanceUID"] = sop_class, uid
        values = {keyword: value for keyword, value in values.items() if value is not None}
        character_set = patient["set"]
        if character_set:
            values["SpecificCharacterSet"] = character_set
        data = encoded(values, syntax, character_set)
        folder = f"{number % len(self._studies) // 50:02}/{number % len(self._studies):04}"
        when = BEGAN + chance.randrange(10_000_000)
        return File(f"{folder}/{number:05}.dcm", whole(sop_class, uid, syntax, data), when)

    # -- what is made once

    def _one_of(self, *values: object, missing: float = 0.1, empty: float = 0.05) -> object:
        drawn = self._random.random()
        if drawn < missing:
            return None
        return "" if drawn < missing + empty else self._random.choice(values)

    def _date(self, first: int, last: int) -> object:
        chance = self._random
        day = f"{chance.randint(first, last)}{chance.randint(1, 12):02}{chance.randint(1, 28):02}"
        drawn = chance.random()
        if drawn < 0.04:
            return chance.choice(("yesterday", "20201301", "2020", day + "-", f"{day}\\20200101", f"\\{day}"))
        if drawn < 0.08:
            return f"{day[:4]}.{day[4:6]}.{day[6:]}"
        return f" {day} " if drawn < 0.1 else self._one_of(day, missing=0.05, empty=0.03)

    def _time(self) -> object:
        chance = self._random
        clock = f"{chance.randint(0, 23):02}{chance.randint(0, 59):02}{chance.randint(0, 59):02}"
        wrong = "noon" if chance.random() < 0.3 else f"{clock[:2]}:{clock[2:4]}:{clock[4:]}"
        usual = (clock, clock, clock[:4], clock[:2], f"{clock}.{chance.randint(0, 999999)}", f"{clock}.5")
        return self._one_of(*usual, wrong, missing=0.05, empty=0.03)

    def _patient(self, number: int):
        chance = self._random
        character_set = chance.choice(("", "", "", *NAMES))
        names, word = NAMES[character_set]
        name = chance.choice(names)
        if chance.random() < 0.05:
            name += f"\\{chance.choice(names)}"
        shared = number // 2 if number % 10 == 1 else number  # two patients of one ID
        patient_id: object = f"{chance.choice(('P', 'p', 'X-'))}{shared:04}" if number % 10 > 1 else f"P{shared:04}"
        if number % 25 == 7:
            patient_id = chance.choice((None, "", " "))
        elif number % 50 == 3:
            patient_id = f" {patient_id}\\{number}"
        elif number % 50 == 13:
            patient_id = "L" * 150 + str(number)
        values = {
            "PatientID": patient_id,
            "IssuerOfPatientID": ("NORTH", "SOUTH", None)[number % 3],
            "PatientName": self._one_of(name, name, name, name.upper(), missing=0.03, empty=0.02),
            "PatientBirthDate": self._date(1920, 2020),
            "PatientSex": self._one_of("M", "F", "O", "m", "male"),
            "OtherPatientIDs": self._one_of("A1", "A1\\B2", "B2\\ C3", missing=0.6),
            "EthnicGroup": self._one_of(word, "x" * 20, missing=0.7),
            "PatientComments": self._one_of(f"{word} 100% *sure*?", "a\\b; DROP TABLE patients", missing=0.6),
            "PatientAddress": self._one_of("1 Main Street", word, missing=0.5),
            "PatientBirthName": self._one_of(name, missing=0.5),
        }
        return {"values": values, "set": character_set, "word": word, "names": names}

    def _study(self, number: int):
        chance = self._random
        patient = chance.choice(self._patients)
        word, names = patient["word"], patient["names"]
        uid: object = f"1.2.2.{number}"
        if number % 200 == 17:
            uid = chance.choice((None, "", f"1.2.2.{number}\\1.2.9", "no uid"))
        values = {
            "StudyInstanceUID": uid,
            "StudyDate": self._date(2018, 2021),
            "StudyTime": self._time(),
            "AccessionNumber": self._one_of(f"A{number:05}", f"a{number:05}\\B{number}", f"A{number % 100:05}"),
            "StudyID": self._one_of(str(number % 50), f"S {number}", "100%", "under_score", "back\\slash"),
            "StudyDescription": self._one_of(word, f"{word} AP/LAT", "Head^Routine", "head^routine", "Head\\Neck"),
            "ReferringPhysicianName": self._one_of(*names, missing=0.3),
            "NameOfPhysiciansReadingStudy": self._one_of(*names, f"{names[0]}\\{names[-1]}", missing=0.5),
            "PatientAge": self._one_of("018M", "045Y", "45", "099Y", missing=0.4),
            "PatientWeight": self._one_of("70", "70.5", "7.05E1", "heavy", missing=0.5),
            "AdmittingDiagnosesDescription": self._one_of(word, f"{word}\\other", "O", missing=0.6),
            "TimezoneOffsetFromUTC": self._one_of("+0100", "-0500", "+0000", "CET", missing=0.5),
            "ProcedureCodeSequence": self._codes(word),
            "AdmittingDate": self._date(2018, 2021),
            "AdmittingTime": self._time(),
            "RequestingService": self._one_of("Trauma", "trauma", "ER\\ICU", word, missing=0.4),
        }
        series = [self._series(number, each, word, names) for each in range(chance.randint(1, 5))]
        return {"patient": patient, "values": values, "series": series, "syntax": chance.choice(SYNTAXES)}

    def _codes(self, word: str) -> object:
        chance = self._random
        drawn = chance.random()
        if drawn < 0.4:
            return None
        codes = [
            {
                "CodeValue": f"C{chance.randint(1, 5)}",
                "CodingSchemeDesignator": chance.choice(("99X", "SRT", "")),
                "CodeMeaning": chance.choice((word, "Head", "head\\neck")),
            }
            for _ in range(chance.randint(0, 3))
        ]
        return [dict(one) for one in codes]

    def _series(self, study: int, number: int, word: str, names: tuple[str, ...]):
        chance = self._random
        which = chance.randrange(len(MODALITIES))
        modality: object = MODALITIES[which]
        if chance.random() < 0.08:
            modality = chance.choice((None, "", "ct", " MR ", "CT\\PT"))
        uid: object = f"1.2.3.{study}.{number}"
        if chance.random() < 0.01:
            uid = chance.choice((None, "", "1.2.3.0.0"))  # the last in several studies
        values = {
            "SeriesInstanceUID": uid,
            "Modality": modality,
            "SeriesNumber": self._one_of(str(number), f" {number} ", f"+{number}", "one"),
            "SeriesDate": self._date(2018, 2021),
            "SeriesTime": self._time(),
            "SeriesDescription": self._one_of(word, f"{word} 1.0mm", "T1_se", "T2*", "what?", missing=0.2),
            "Manufacturer": self._one_of("ACME", "acme", "A C M E", missing=0.2),
            "StationName": self._one_of("CT1", "CT%", "MR_2", missing=0.2),
            "BodyPartExamined": self._one_of("HEAD", "CHEST", "head", "HEAD\\NECK", missing=0.3),
            "PerformingPhysicianName": self._one_of(*names, f"{names[0]}\\{names[-1]}", missing=0.4),
            "OperatorsName": self._one_of(*names, "Op^One\\Op^Two", missing=0.5),
            "Laterality": self._one_of("L", "R", missing=0.7),
            "ProtocolName": self._one_of(word, "Routine/Head", missing=0.5),
            "PerformedProcedureStepStartDate": self._date(2018, 2021),
            "PerformedProcedureStepStartTime": self._time(),
            "RequestAttributesSequence": self._requests(study, word),
            "FilterType": self._one_of("FLAT", "flat", missing=0.5),
        }
        return {"values": values, "class": SOP_CLASSES[which]}

    def _requests(self, study: int, word: str) -> object:
        chance = self._random
        if chance.random() < 0.5:
            return None
        return [
            {
                "RequestedProcedureID": f"RP{study % 20}",
                "ScheduledProcedureStepID": chance.choice(("SPS1", "SPS2", "")),
                "ScheduledProcedureStepDescription": word,
                "ScheduledProtocolCodeSequence": self._codes(word) or [],
            }
            for _ in range(chance.randint(0, 3))
        ]

    def _image(self, number: int) -> Values:
        chance = self._random
        return {
            "InstanceNumber": str(number % 97) if chance.random() < 0.9 else chance.choice((None, "", "x", "1\\2")),
            "ImageType": chance.choice(("ORIGINAL\\PRIMARY", "DERIVED\\SECONDARY\\MPR", "derived", "")),
            "ContentDate": f"2020{chance.randint(1, 12):02}{chance.randint(1, 28):02}",
            "ContentTime": f"{chance.randint(0, 23):02}{chance.randint(0, 59):02}",
            "AcquisitionDateTime": chance.choice(
                (None, "2020", "202003", "20200315101500.5", "20200315101500+0100", "20200315235959-0500", "soon")
            ),
            "Rows": chance.choice(("512", "256", "64")),
            "Columns": chance.choice(("512", "256", "64\\65")),
            "BitsAllocated": "16",
            "ImageComments": chance.choice((None, "fine", "two\\lines", "50%")),
        }
