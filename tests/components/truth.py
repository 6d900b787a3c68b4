"""What a query should find, worked out the slow and plain way: pydicom reads the files, and each key is asked of each.

Nothing of how scpd matches is used. Where PS3.4 C.2.2.2 leaves something open, this does as scpd has decided: an
attribute without a value matches universal keys and "" alone; names are compared by component, without case and
accents; a patient without ID is that of one study and not told; what came last says what a patient, study or series is.
"""

from __future__ import annotations

import contextlib
import functools
import io
import unicodedata
import warnings
from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import pydicom
from pydicom import config
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.valuerep import PersonName

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydicom.tag import BaseTag

    from components.made import File

LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")
FREE_TEXT = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")
ONE_TEXT = ("LT", "ST", "UR", "UT")
READ = frozenset("AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT US SS UL SL SQ".split())  # noqa: SIM905 a table
WILD = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
MULTIPLE = ("AE", "AS", "AT", "CS", "LO", "PN", "SH", "UC")
NO_KEYS = ("SpecificCharacterSet", "TimezoneOffsetFromUTC", "QueryRetrieveLevel", "RetrieveAETitle")
COUNTS = {
    "NumberOfPatientRelatedStudies": ("PATIENT", "STUDY"),
    "NumberOfPatientRelatedSeries": ("PATIENT", "SERIES"),
    "NumberOfPatientRelatedInstances": ("PATIENT", "IMAGE"),
    "NumberOfStudyRelatedSeries": ("STUDY", "SERIES"),
    "NumberOfStudyRelatedInstances": ("STUDY", "IMAGE"),
    "NumberOfSeriesRelatedInstances": ("SERIES", "IMAGE"),
}
IN_STUDY = {"ModalitiesInStudy": "Modality", "SOPClassesInStudy": "SOPClassUID"}
COMPUTED = {**{name: level for name, (level, _) in COUNTS.items()}, **dict.fromkeys(IN_STUDY, "STUDY")}
COMPUTED["AvailableTransferSyntaxUID"] = "IMAGE"
_LETTERS = {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ħ": "h", "ı": "i"}
_PADDING = "\0 "
_ANY_DAY = "20000101"


class Negotiated(NamedTuple):
    """The bytes of PS3.4 table C.5-1 and C.5-2, as far as they say how to match."""

    relational: bool = False
    combined: bool = False
    fuzzy: bool = False
    timezone: bool = False
    conversion: bool = False
    empty: bool = False
    multiple: bool = False


NOTHING = Negotiated()


# -- values: a tuple of texts, a list of items (each a mapping by keyword), or None


def value_of(element: DataElement):
    """What stands in an element, as pydicom has it."""
    if element.VR == "SQ":
        return [values_of(item) for item in element.value or ()] or None
    found = element.value
    if found is None:
        return None
    if isinstance(found, str | PersonName | int | float) or not hasattr(found, "__iter__"):
        found = (found,)
    texts = tuple(_text(one).strip(_PADDING).replace("\0", "") for one in found)
    return texts if any(texts) else None


def _text(value) -> str:
    return str(value if isinstance(value, PersonName) else getattr(value, "original_string", None) or value)


def values_of(dataset: Dataset, wanted: Iterable[tuple] | None = None) -> dict:
    """The values of a data set by keyword, those that are there and not empty; ``wanted`` as :func:`reading` has it."""
    kind = (str(dataset._character_set), dataset.is_implicit_VR, dataset.is_little_endian)
    raws = dataset._dict  # going through the data set itself would take a second for a thousand
    found = {}
    for tag, keyword, vr in reading(raws) if wanted is None else wanted:
        if tag in raws and (value := _read(dataset, tag, vr, raws[tag], kind)):
            found[keyword] = value
    return found


def reading(tags: Iterable[BaseTag]) -> list[tuple]:
    """What is read of these: tag, keyword and VR."""
    return [known for tag in tags if (known := _tag(tag))]


@functools.cache
def _tag(tag: BaseTag) -> tuple | None:
    keyword = keyword_for_tag(tag)
    vr = dictionary_VR(tag).split()[0] if keyword else ""
    return (tag, keyword, vr) if vr in READ and keyword != "SpecificCharacterSet" else None


_known: dict = {}


def _read(dataset: Dataset, tag, vr, raw, kind):
    if not isinstance(raw, RawDataElement):
        return value_of(dataset[tag])
    key = (tag, raw.value, kind)  # many say the same
    if key not in _known:
        _known[key] = _converted(dataset, tag, vr, raw.value or b"")
    return _known[key]


def _converted(dataset: Dataset, tag, vr, raw: bytes):
    try:
        return value_of(dataset[tag])
    except Exception:  # pydicom has no value for what is none
        texts = tuple(one.strip(_PADDING) for one in raw.decode("ascii", "replace").split("\\"))
        return texts if any(texts) else None


def told(dataset: Dataset) -> dict:
    """An answer: its values by keyword, None where one is empty."""
    with lenient():
        return _told(dataset)


def _told(dataset: Dataset) -> dict:
    kind = (str(dataset._character_set), dataset.is_implicit_VR, dataset.is_little_endian)
    found = {}
    for tag, keyword, vr in reading(dataset.keys()):
        if vr == "SQ":
            found[keyword] = [_told(item) for item in dataset[tag].value or ()] or None
        else:
            found[keyword] = _read(dataset, tag, vr, dataset.get_item(tag), kind)
    return found


def comparable(value, *, inside: bool = False):
    """Something that can be compared and counted; in an item, an attribute without a value is none."""
    if isinstance(value, dict):
        present = (one for one in value.items() if one[1] is not None or not inside)
        return tuple(sorted((key, comparable(inner, inside=True)) for key, inner in present))
    return tuple(comparable(one, inside=True) for one in value) if isinstance(value, list) else value


# -- what is held


class Held(NamedTuple):
    """A file: whose it is, and its values."""

    when: float
    patient: tuple[str, str]
    study: str
    series: tuple[str, str]
    uid: str
    values: Mapping
    syntax: str


class Truth:
    """All that is held, by what the files say. ``keeping`` names the attributes of each level, by keyword."""

    def __init__(self, keeping: Mapping[str, Iterable[str]]) -> None:
        self.keeping = {level: tuple(keeping[level]) for level in LEVELS}
        names = dict.fromkeys(keyword for names in self.keeping.values() for keyword in names)
        self._wanted = reading(Tag(tag_for_keyword(keyword)) for keyword in names)
        self._files: dict[str, Held] = {}
        self._entities: dict[str, list[dict]] = {}

    def take(self, file: File) -> None:
        """A file, in place of what had its path."""
        with lenient():
            dataset = pydicom.dcmread(io.BytesIO(file.data), stop_before_pixels=True)
            values = values_of(dataset, self._wanted)
        meta = dataset.file_meta
        values["SOPClassUID"] = (str(meta.MediaStorageSOPClassUID),)
        values["SOPInstanceUID"] = (str(meta.MediaStorageSOPInstanceUID),)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
            if keyword in values:  # there cannot be several
                values[keyword] = values[keyword][:1]
        study, series = _whole(values, "StudyInstanceUID"), _whole(values, "SeriesInstanceUID")
        identity = _whole(values, "PatientID")
        patient = (identity, _whole(values, "IssuerOfPatientID")) if identity else ("", study)
        syntax = str(meta.TransferSyntaxUID)
        self._files[file.path] = Held(
            file.when, patient, study, (study, series), values["SOPInstanceUID"][0], values, syntax
        )
        self._entities = {}

    @property
    def entities(self) -> Mapping[str, list[dict]]:
        """Those that can be told, by level, each with the values of its level and of those above."""
        self._entities = self._entities or self._gathered()
        return self._entities

    def _gathered(self) -> dict[str, list[dict]]:
        latest: dict[str, dict] = {level: {} for level in LEVELS}
        by_series = defaultdict(list)
        for file in sorted(self._files.values(), key=lambda one: one.when):
            latest["PATIENT"][file.patient] = latest["STUDY"][file.study] = latest["SERIES"][file.series] = file
            latest["IMAGE"][file.series, file.uid] = file
            by_series[file.series].append(file)
        owner = {study: file.patient for study, file in latest["STUDY"].items()}
        computed = self._computed(by_series, owner)
        gathered: dict[str, list[dict]] = {level: [] for level in LEVELS}
        made: dict = {}
        for patient, file in latest["PATIENT"].items():
            made[patient] = {**self._of("PATIENT", file), **computed["PATIENT", patient]}
            if patient[0] and patient in owner.values():
                gathered["PATIENT"].append(made[patient])
        for study, file in latest["STUDY"].items():
            made[study] = {**made[owner[study]], **self._of("STUDY", file), **computed["STUDY", study]}
            if study:
                gathered["STUDY"].append(made[study])
        for series, file in latest["SERIES"].items():
            made[series] = {**made[series[0]], **self._of("SERIES", file), **computed["SERIES", series]}
            if all(series):
                gathered["SERIES"].append(made[series])
        for (series, _), file in latest["IMAGE"].items():
            if all(series):
                syntax = {("IMAGE", "AvailableTransferSyntaxUID"): (file.syntax,)}
                gathered["IMAGE"].append({**made[series], **self._of("IMAGE", file), **syntax})
        return gathered

    def _of(self, level: str, file: Held) -> dict:
        return {(level, name): file.values[name] for name in self.keeping[level] if name in file.values}

    def _computed(self, by_series, owner) -> dict:
        found: dict = defaultdict(lambda: defaultdict(set))
        for series, files in by_series.items():
            study, patient = series[0], owner[series[0]]
            modality = max(files, key=lambda one: one.when).values.get("Modality", ())
            found["STUDY", study]["ModalitiesInStudy"].update(filter(None, modality))
            for file in files:
                found["STUDY", study]["SOPClassesInStudy"].add(file.values["SOPClassUID"][0])
                named = {"PATIENT": patient, "STUDY": study, "SERIES": series}
                counted = {"STUDY": study, "SERIES": series, "IMAGE": file.uid}
                for name, (level, what) in COUNTS.items():
                    found[level, named[level]][name].add(counted[what])
            found["PATIENT", patient]["in its studies"].add(study)
        made: dict = {}
        for (level, key), values in found.items():
            made[level, key] = {
                (level, name): (str(len(value)),) if name in COUNTS else tuple(sorted(value))
                for name, value in values.items()
                if value and name != "in its studies"
            }
        for (level, key), values in found.items():
            if level == "PATIENT":  # what one of its studies has can be asked for, and is not told
                made[level, key][level, "its studies"] = [made["STUDY", study] for study in values["in its studies"]]
        return defaultdict(dict, made)

    # -- what is asked

    def find(self, level: str, keys: Mapping, negotiated: Negotiated = NOTHING, zone: str = "") -> list[dict]:
        """The answers to these keys: texts by keyword, and for a sequence the keys of its item, or None."""
        kept = {name: place for name in keys if name not in NO_KEYS and (place := self._place(name, level))}
        asking = _Asking(keys, negotiated, zone)
        return [
            asking.told(entity, kept, level) for entity in self.entities[level] if asking.is_met(entity, kept, level)
        ]

    def _place(self, name: str, level: str) -> str:
        """The level whose value is meant; nothing where it is not kept, or of a level below."""
        if name in COMPUTED:
            return COMPUTED[name] if LEVELS.index(COMPUTED[name]) <= LEVELS.index(level) or name in IN_STUDY else ""
        places = [one for one in LEVELS[: LEVELS.index(level) + 1] if name in self.keeping[one]]
        return places[-1] if places else ""

    def is_ignoring(self, level: str, keys: Mapping) -> bool:
        """Whether some key is not supported, or matched otherwise than it asks (FF01)."""
        for name, key in keys.items():
            if name in NO_KEYS:
                continue
            place = self._place(name, level)
            if not place or LEVELS.index(place) > LEVELS.index(level):
                return True
            if (name in COUNTS or name == "AvailableTransferSyntaxUID") and str(key or "").strip("* "):
                return True
        return False


def _whole(values: Mapping, keyword: str) -> str:
    return "\\".join(values.get(keyword, ()))


class _Asking:
    """The keys of one query."""

    def __init__(self, keys: Mapping, negotiated: Negotiated, zone: str) -> None:
        self._keys = {name: key for name, key in keys.items() if name not in NO_KEYS}
        self._negotiated = negotiated
        self._zone = _minutes(zone) if negotiated.timezone and zone else None
        self._together: dict[str, str] = {}
        self._sorted: dict[tuple[str, ...], tuple[list, list]] = {}
        for name in self._keys:
            date, time = name.removesuffix("Time") + "Date", name
            if name.endswith("Time") and not name.endswith("DateTime") and tag_for_keyword(date):
                self._together[date] = time
        for name in self._keys:
            time = name.removesuffix("Date") + "Time"
            if name.endswith("Date") and tag_for_keyword(time):
                self._together[name] = time

    def is_met(self, entity: Mapping, kept: Mapping[str, str], level: str) -> bool:
        pairs, alone = self._asked(tuple(kept))
        return all(self._is_met(entity, kept[name], name, level) for name in alone) and all(
            self._pair_is_met(entity, kept, date, time) for date, time in pairs
        )

    def _asked(self, kept: tuple[str, ...]) -> tuple[list, list]:
        """What asks for anything: dates with their times, and the rest."""
        if kept not in self._sorted:
            pairs = [(d, t) for d, t in self._together.items() if (d in kept or t in kept) and self._is_pair(d, t)]
            never = {*COUNTS, "AvailableTransferSyntaxUID"}.union(*pairs)
            alone = [
                name
                for name in kept
                if name not in never and (not is_universal(_vr(name), self._keys[name]) or self._keys[name] == '""')
            ]
            self._sorted[kept] = pairs, alone
        return self._sorted[kept]

    def _is_met(self, entity: Mapping, place: str, name: str, level: str) -> bool:
        key = self._keys[name]
        if name in IN_STUDY and level == "PATIENT":
            return is_universal("CS", key) or any(
                meets(name, key, study.get(("STUDY", name)), self._negotiated) for study in entity[level, "its studies"]
            )
        return meets(name, key, entity.get((place, name)), self._negotiated)

    def _is_pair(self, date: str, time: str) -> bool:
        """Whether a date and a time are asked for as one moment."""
        days, times = self._keys.get(date) or "", self._keys.get(time) or ""
        if self._negotiated.empty and '""' in (days, times):
            return False
        if self._zone is not None:
            return bool(days.strip("*") or times.strip("*"))
        return self._is_combined(days, times)

    def _is_combined(self, days: str, times: str) -> bool:
        if not (self._negotiated.combined and "-" in days and "-" in times):
            return False
        return [bool(end) for end in days.split("-")] == [bool(end) for end in times.split("-")]

    def _pair_is_met(self, entity: Mapping, kept: Mapping[str, str], date: str, time: str) -> bool:
        place = kept.get(date) or kept.get(time)
        day = _held("DA", entity.get((place, date)))
        clock = _held("TM", entity.get((place, time)))
        offset = entity.get((place, "TimezoneOffsetFromUTC"))
        if self._zone is not None and offset and clock:
            with contextlib.suppress(ValueError):
                moved = datetime.strptime((day or _ANY_DAY) + clock, "%Y%m%d%H%M%S.%f")
                moved += timedelta(minutes=self._zone - _minutes(offset[0]))
                day, clock = (moved.strftime("%Y%m%d") if day else ""), moved.strftime("%H%M%S.%f")
        days, times = self._keys.get(date) or "", self._keys.get(time) or ""
        if self._is_combined(days, times):
            moment = day + (clock or "000000.000000") if day else ""
            first = "".join(_ends(vr, one.split("-")[0], 0) for vr, one in (("DA", days), ("TM", times)))
            last = "".join(_ends(vr, one.split("-")[1], 1) for vr, one in (("DA", days), ("TM", times)))
            return bool(moment) and (not first or first <= moment) and (not last or moment <= last)
        return (not days.strip("*") or is_within("DA", days, day)) and (
            not times.strip("*") or is_within("TM", times, clock)
        )

    def told(self, entity: Mapping, kept: Mapping[str, str], level: str) -> dict:
        found: dict = {}
        for name, place in kept.items():
            if LEVELS.index(place) > LEVELS.index(level):
                continue
            value = entity.get((place, name))
            found[name] = (
                _items(self._keys[name], value, self._negotiated) if _vr(name) == "SQ" else _plain(name, value)
            )
        return found


def _plain(name: str, value):
    if value is None or _vr(name) in FREE_TEXT:
        return value
    return tuple(one.encode("ascii", "replace").decode() for one in value)


def _items(keys, value, negotiated: Negotiated):
    """The items that match, with what was asked for; everything, where nothing was."""
    matching = [item for item in value or () if item_meets(keys, item, negotiated)]
    if not keys:
        return [{name: _plain_item(name, inner) for name, inner in item.items()} for item in matching] or None
    return [
        {
            name: _items(inner, item.get(name), negotiated) if _vr(name) == "SQ" else _plain(name, item.get(name))
            for name, inner in keys.items()
        }
        for item in matching
    ] or None


def _plain_item(name: str, value):
    return _items(None, value, NOTHING) if _vr(name) == "SQ" else _plain(name, value)


# -- C.2.2.2


@functools.cache
def _vr(name: str) -> str:
    return dictionary_VR(tag_for_keyword(name)).split()[0]


def is_universal(vr: str, key) -> bool:
    """Whether a key asks for nothing."""
    if vr == "SQ":
        return not key or all(is_universal(_vr(name), inner) for name, inner in key.items())
    if vr == "PN":
        names = [one for one in _split(vr, key) if one]
        return not names or any(not one.replace("=", "").replace("^", "").replace("*", "").strip() for one in names)
    return not (key or "").strip("*")


def meets(name: str, key, value, negotiated: Negotiated) -> bool:
    """Whether a value matches what is asked for."""
    vr = _vr(name)
    if negotiated.empty and key == '""':
        return value is None
    if is_universal(vr, key):
        return True
    if value is None:
        return False
    if vr == "SQ":
        return any(item_meets(key, item, negotiated) for item in value)
    asked = _split(vr, key)
    if vr in ("DA", "TM", "DT"):
        return any(is_within(vr, key, _held(vr, (one,))) for one in value)
    every = all if negotiated.multiple and vr in MULTIPLE and len(asked) > 1 else any
    return every(any(_is(vr, one, text) for text in value) for one in asked if one)


def item_meets(keys, item: Mapping, negotiated: Negotiated) -> bool:
    return all(meets(name, key, item.get(name), negotiated) for name, key in (keys or {}).items())


def _split(vr: str, key: str) -> list[str]:
    return [key] if vr in ONE_TEXT else [one.strip(" ") for one in (key or "").split("\\")]


def _is(vr: str, asked: str, text: str) -> bool:
    if vr == "PN":
        return is_called(asked, text)
    return is_like(asked, text.strip(" ")) if vr in WILD else asked == text.strip(" ")


def is_like(pattern: str, text: str) -> bool:
    """Wild card matching (C.2.2.2.4): which places of the text each piece of the pattern can end at."""
    places = {0}
    for character in pattern:
        if character == "*":
            places = set(range(min(places), len(text) + 1)) if places else places
        else:
            places = {place + 1 for place in places if place < len(text) and character in ("?", text[place])}
    return len(text) in places


def is_called(asked: str, name: str) -> bool:
    """Person names, without case and accents, by group and component."""
    groups = [_components(group) for group in name.split("=")]
    wanted = [_components(group) for group in asked.split("=")]
    wanted = [_without_end(["" if not part.strip("*") else part for part in group]) for group in wanted]
    if len(wanted) > 1:
        return all(
            not group or (place < len(groups) and _group_is(group, groups[place])) for place, group in enumerate(wanted)
        )
    return any(group and _group_is(wanted[0], group) for group in groups)


def _group_is(asked: list[str], group: list[str]) -> bool:
    parts = len(asked) <= len(group) and all(
        not part or is_like(part, group[place]) for place, part in enumerate(asked)
    )
    text = "^".join(part or "*" for part in asked)
    return parts or (("*" in text or "?" in text) and is_like(text, "^".join(group)))


@functools.cache
def _folded(group: str) -> tuple[str, ...]:
    return tuple(_without_end([fold(part) for part in group.split("^")]))


def _components(group: str) -> list[str]:
    return list(_folded(group))


def _without_end(parts: list[str]) -> list[str]:
    while parts and not parts[-1]:
        parts = parts[:-1]
    return parts


def fold(text: str) -> str:
    """Without case, accents and superfluous spaces."""
    bare = "".join(one for one in unicodedata.normalize("NFKD", text) if not "\u0300" <= one <= "\u036f")
    bare = unicodedata.normalize("NFC", bare.casefold())
    return " ".join("".join(_LETTERS.get(one, one) for one in bare).split())


def is_within(vr: str, key: str, held: str) -> bool:
    """Range matching of dates and times, and single ones, which are spans (C.2.2.2.1.3, C.2.2.2.5)."""
    first, dash, last = key.partition("-")
    if not dash:
        last = first
    if vr == "DT" and "+" in key and not dash:
        first = last = key
    return bool(held) and (not first or _ends(vr, first, 0) <= held) and (not last or held <= _ends(vr, last, 1))


def _held(vr: str, value) -> str:
    """What a value is compared by: the earliest it can mean."""
    text = value[0].strip() if value else ""
    if vr == "DA" and len(text) == 8 and text.isdecimal():
        return text
    try:
        return _ends(vr, text, 0)
    except ValueError:
        return ""


def _ends(vr: str, text: str, which: int) -> str:
    """The earliest (0) or latest (1) that a date or time can mean."""
    text = text.strip()
    if not text:
        return ""
    if vr == "DA":
        form = "%Y.%m.%d" if "." in text else "%Y%m%d"
        found = datetime.strptime(text, form)
        if len(text) != (10 if "." in text else 8):
            raise ValueError(text)
        return found.strftime("%Y%m%d")
    if vr == "TM":
        return _clock(text.replace(":", ""), which)
    return _moment(text, which)


def _clock(text: str, which: int) -> str:
    whole, dot, fraction = text.partition(".")
    if len(whole) not in (2, 4, 6) or not (whole + fraction).isdecimal() or (dot and (len(whole) < 6 or not fraction)):
        raise ValueError(text)
    whole += ("0000", "5959")[which][len(whole) - 2 :]
    fraction = fraction.ljust(6, "09"[which])
    datetime.strptime(whole, "%H%M%S")
    return f"{whole}.{fraction}"


def _moment(text: str, which: int) -> str:
    offset = 0
    for sign in "+-":
        if sign in text:
            offset = _minutes(text[text.index(sign) :])
            text = text[: text.index(sign)]
    day, clock = text[:8], text[8:]
    if not day.isdecimal() or len(day) not in (4, 6, 8):
        raise ValueError(text)
    if which and len(day) < 8:
        month = day[4:6] or "12"
        after = datetime(int(day[:4]) + (month == "12"), int(month) % 12 + 1, 1)
        day = (after - timedelta(days=1)).strftime("%Y%m%d")
    day += "0101"[len(day) - 4 :]
    clock = _clock(clock, which) if clock else ("000000.000000", "235959.999999")[which]
    return (datetime.strptime(day + clock, "%Y%m%d%H%M%S.%f") - timedelta(minutes=offset)).strftime("%Y%m%d%H%M%S.%f")


def _minutes(text: str) -> int:
    sign, hours, minutes = text[:1], text[1:3], text[3:]
    if sign not in ("+", "-") or len(text) != 5 or not (hours + minutes).isdecimal():
        raise ValueError(text)
    return int(sign + "1") * (int(hours) * 60 + int(minutes))


@contextlib.contextmanager
def lenient():
    """pydicom takes values as they are."""
    was = config.settings.reading_validation_mode
    config.settings.reading_validation_mode = config.IGNORE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        config.settings.reading_validation_mode = was
