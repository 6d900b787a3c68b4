"""C-FIND over associations, compared with what pydicom and the letter of PS3.4 C.2.2.2 make of the same files.

The same questions go to a daemon with SQLite and to one with PostgreSQL: at random, of every level and model, of every
kind of key, over attributes as they are in life.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psycopg
import pydicom
import pytest
import sqlalchemy
from components.made import EXPLICIT, MODALITIES, NAMES, SOP_CLASSES, File, Made, encoded, in_character_set, whole
from components.postgres import Postgres
from components.truth import COMPUTED, COUNTS, IN_STUDY, LEVELS, Negotiated, Truth, comparable, told
from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.errors import InvalidDicomError
from pydicom.valuerep import PersonName

from scpd.client.identifiers import decode
from scpd.client.querying import Operation
from scpd.client.requestor import Caller, Negotiation, Proposal, associate
from scpd.dimse.command import CFindRQ
from scpd.index.attributes import Keeping, Level
from scpd.services.query.models import PATIENT_ROOT, PATIENT_STUDY_ONLY, STUDY_ROOT
from scpd.transport.exchange import Piece
from scpd.wire.user_info import SOPClassExtendedNegotiation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.client.requestor import Association

pytestmark = pytest.mark.interop

SEED = 6
PATIENCE = 60.0
ADDED = {
    "patient": ["PatientAddress", "PatientBirthName"],
    "study": ["AdmittingDate", "AdmittingTime", "RequestingService"],
    "series": ["FilterType"],
    "instance": ["ImageComments"],
}
KEEPING = Keeping({Level[level.upper().replace("INSTANCE", "IMAGE")]: names for level, names in ADDED.items()})
KEPT = {level.name: [keyword_for_tag(tag) for tag in tags] for level, tags in KEEPING.by_level.items()}
MODELS = {"patient": PATIENT_ROOT, "study": STUDY_ROOT, "patient/study": PATIENT_STUDY_ONLY}
UNIQUE = dict(zip(LEVELS, ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"), strict=True))
NEGOTIATED = (
    Negotiated(),
    Negotiated(relational=True),
    Negotiated(relational=True, combined=True, multiple=True),
    Negotiated(relational=True, timezone=True, empty=True),
)
UNSUPPORTED = ("PatientReligiousPreference", "StudyComments", "PixelSpacing", "IssuerOfAccessionNumberSequence")


class Question(NamedTuple):
    """What is asked for, of whom, and with what agreed on."""

    model: str
    level: str
    keys: dict
    negotiated: Negotiated = Negotiated()
    character_set: str = "ISO_IR 192"
    zone: str = ""


# -- questions at random


class Questions:
    """Made from a seed and from what is held, so that many have answers, and some have none."""

    def __init__(self, seed: int, truth: Truth) -> None:
        self._random = random.Random(seed)
        self._truth = truth

    def ask(self) -> Question:
        chance = self._random
        negotiated = chance.choice(NEGOTIATED)
        model = chance.choice(list(MODELS))
        levels = MODELS[model].levels
        level = chance.choices(levels, [4, 5, 4, 3][4 - len(levels) if model == "study" else 0 :][: len(levels)])[
            0
        ].name
        entity = chance.choice(self._truth.entities[level])
        values = {name: value for (place, name), value in entity.items() if name != "its studies"}
        above = [one for one in LEVELS[: LEVELS.index(level)] if Level[one] in levels]
        keys = self._wanted(level)
        if not negotiated.relational or (level == "IMAGE" and chance.random() < 0.8):
            keys |= {UNIQUE[one]: "\\".join(values.get(UNIQUE[one], ("none",))) for one in above}
            if any("\\" in keys[UNIQUE[one]] or not keys[UNIQUE[one]] for one in above):
                return self.ask()
        for _ in range(chance.choices(range(4), (1, 9, 7, 3))[0]):
            name = chance.choice([name for name in keys if name not in [UNIQUE[one] for one in above]])
            keys[name] = self._key(name, values.get(name), negotiated)
        if negotiated.combined and level != "PATIENT" and chance.random() < 0.5:
            keys |= {"StudyDate": "20190301-20201130", "StudyTime": chance.choice(("10-1530", "080000-080001", "20-"))}
        zone = chance.choice(("", "+0000", "-0800", "+1300")) if negotiated.timezone else ""
        if level == "IMAGE" and not any(keys.get(UNIQUE[one]) for one in LEVELS):
            keys["SOPInstanceUID"] = values["SOPInstanceUID"][0]
        return Question(model, level, keys, negotiated, self._character_set(keys), zone)

    def _wanted(self, level: str) -> dict:
        """Keys that ask for nothing: a few of those that may be told."""
        chance = self._random
        known = [name for place in LEVELS[: LEVELS.index(level) + 1] for name in KEPT[place]]
        known = [name for name in known if name != "TimezoneOffsetFromUTC"]
        computed = [name for name, (place, _) in COUNTS.items() if LEVELS.index(place) <= LEVELS.index(level)]
        computed += [*IN_STUDY] if level != "PATIENT" or chance.random() < 0.3 else []
        computed += ["AvailableTransferSyntaxUID"] if level == "IMAGE" else []
        names = {*chance.sample(known, 8), UNIQUE[level], *chance.sample(computed, 2)}
        if chance.random() < 0.1:
            names.add(chance.choice((*UNSUPPORTED, "ContentTime", "AcquisitionTime")))
        wanted = dict.fromkeys(sorted(names), "")
        return {name: self._all_of(name) if _vr(name) == "SQ" else "" for name in wanted}

    def _all_of(self, name: str):
        if name == "RequestAttributesSequence" and self._random.random() < 0.7:
            return {"ScheduledProcedureStepID": "", "ScheduledProtocolCodeSequence": {"CodeValue": ""}}
        return {"CodeValue": "", "CodeMeaning": ""} if self._random.random() < 0.5 else None

    def _key(self, name: str, value, negotiated: Negotiated):
        chance = self._random
        vr = _vr(name)
        if name in COUNTS or name == "AvailableTransferSyntaxUID" or chance.random() < 0.05:
            return (
                '""'
                if negotiated.empty and vr not in ("SQ", "US") and chance.random() < 0.5
                else self._all_or_nothing(vr)
            )
        if name in IN_STUDY:
            value = (chance.choice(MODALITIES),) if name == "ModalitiesInStudy" else value or ("1.2.3",)
        if vr == "SQ":
            return self._item(name, value, negotiated)
        texts = [text.strip() for text in value or () if text.strip()]
        if vr in ("DA", "TM", "DT"):
            return self._moment(vr, texts)
        text = chance.choice(texts) if texts else "NONE"
        if vr == "PN":
            return self._name(text)
        if vr in ("UI", "US", "IS", "DS", "AS"):
            return self._list(vr, text)
        if vr in ("LT", "ST", "UT"):
            text = "\\".join(value or ("NONE",))
        return self._wild(text, vr)

    def _all_or_nothing(self, vr: str) -> str:
        return "" if vr in ("SQ", "UI", "US") else self._random.choice(("*", "", "**"))

    def _list(self, vr: str, text: str) -> str:
        forms = {
            "UI": "0123456789.",
            "US": "0123456789",
            "IS": "+-0123456789",
            "DS": "+-0123456789.E",
            "AS": "0123456789DWMY",
        }
        text = text if set(text) <= set(forms[vr]) and (vr != "AS" or len(text) == 4) else ""
        if vr != "UI" or self._random.random() < 0.5:
            return text
        return "\\".join(filter(None, ("1.2.3", text, *(f"1.2.4.{self._random.randrange(9999)}" for _ in range(30)))))

    def _wild(self, text: str, vr: str) -> str:
        chance = self._random
        drawn = chance.random()
        start = chance.randrange(len(text) + 1)
        if drawn < 0.35:
            return text
        if drawn < 0.45 and vr not in ("LT", "ST", "UT"):
            return f"{text}\\OTHER" if "*" not in text and "?" not in text else text
        if drawn < 0.5:
            return text.swapcase()
        if drawn < 0.6 and text:
            return text[:start] + "?" + text[start + 1 :]
        if drawn < 0.65:
            return "*" + "*".join(text) + "*"
        return chance.choice((f"{text[:start]}*", f"*{text[start:]}", f"*{text[start : start + 3]}*"))

    def _name(self, text: str) -> str:
        chance = self._random
        groups = text.split("=")
        group = chance.choice(groups)
        parts = group.split("^")
        plain = chance.choice(
            (text, group, parts[0], "^" + parts[-1] if len(parts) == 2 else group, self._wild(group, "LT"))
        )
        if chance.random() < 0.2:
            plain = chance.choice(
                (f"*{parts[-1]}", f"{parts[0]}^*", f"{parts[0][:1]}*^{parts[-1][:1]}*", "=" + groups[-1])
            )
        return chance.choice((plain, plain.lower(), plain.upper(), f"{plain}\\NOBODY", " " + plain))

    def _moment(self, vr: str, texts: list[str]) -> str:
        chance = self._random
        usual = {"DA": "20200229", "TM": "101530", "DT": "20200315"}[vr]
        legal = (
            [text for text in texts if text.replace(".", "").isdecimal() and text[:2] < "24"]
            if vr != "DA"
            else [text for text in texts if len(text) == 8 and text.isdecimal() and "01" <= text[4:6] <= "12"]
        )
        text = chance.choice(legal or [usual])
        first = text[: {"DA": 8, "TM": chance.choice((2, 4, 20)), "DT": chance.choice((4, 6, 8, 20))}[vr]]
        if vr == "DT" and len(first) > 8 and chance.random() < 0.5:
            first += "+0100"
        last = {"DA": "20201231", "TM": "235959.5", "DT": "20211231"}[vr]
        if vr == "DA" and chance.random() < 0.1:
            first = f"{first[:4]}.{first[4:6]}.{first[6:]}"
        if first.replace(".", "") > last.replace(".", ""):
            return f"-{first}"
        return chance.choice((first, f"{first}-", f"-{first}", f"{first}-{last}"))

    def _item(self, name: str, value, negotiated: Negotiated):
        chance = self._random
        item = dict(chance.choice(value)) if value else {}
        keys = {}
        for inner in (
            ("CodeValue", "CodeMeaning")
            if name == "ProcedureCodeSequence"
            else ("RequestedProcedureID", "ScheduledProcedureStepDescription")
        ):
            keys[inner] = self._key(inner, item.get(inner), negotiated) if chance.random() < 0.7 else ""
        if name == "RequestAttributesSequence" and chance.random() < 0.5:
            keys["ScheduledProtocolCodeSequence"] = {"CodeValue": chance.choice(("C1", "C?", ""))}
        return keys

    def _character_set(self, keys: dict) -> str:
        """One that has all of the text, and now and then not the one that has everything."""
        chance = self._random
        texts = [key for key in keys.values() if isinstance(key, str)]
        if any(isinstance(key, dict) for key in keys.values()):
            return "ISO_IR 192"
        for tried in chance.sample([*NAMES], 4):
            if all(_survives(text, tried) for text in texts):
                return tried
        return "ISO_IR 192"


def _vr(name: str) -> str:
    return dictionary_VR(tag_for_keyword(name)).split()[0]


def _survives(text: str, character_set: str) -> bool:
    if character_set == "ISO_IR 13" or "\\" in text:
        return text.isascii() and "\\" not in text
    encodings = convert_encodings(character_set.split("\\"))
    try:
        raw = text.encode() if text.isascii() else in_character_set(text, character_set)
        return str(PersonName(raw, encodings)) == text
    except (UnicodeError, LookupError, ValueError):
        return False


# -- asking


def identifier(question: Question) -> bytes:
    keys = {**question.keys, "QueryRetrieveLevel": question.level}
    keys = {name: _as_sequence(name, key) for name, key in keys.items()}
    if question.character_set:
        keys["SpecificCharacterSet"] = question.character_set
    if question.zone:
        keys["TimezoneOffsetFromUTC"] = question.zone
    return encoded(keys, EXPLICIT, question.character_set)


def _as_sequence(name: str, key):
    if _vr(name) != "SQ":
        return key
    return [{inner: _as_sequence(inner, value) for inner, value in key.items()}] if key else []


class Peer:
    """Asks one daemon, over an association for each negotiation."""

    def __init__(self, port: int, stack: ExitStack, url: str = "") -> None:
        self._port = port
        self.url = url
        self._stack = stack
        self._associations: dict[Negotiated, Association] = {}

    def ask(self, question: Question, data: bytes | None = None) -> tuple[list[tuple[int, bytes]], int, str]:
        """Each pending answer's status and identifier, the final status, and its comment."""
        association = self._association(question.negotiated)
        abstract_syntax = MODELS[question.model].find
        (context,) = (one for one in association.contexts.values() if one.abstract_syntax == abstract_syntax)
        request = CFindRQ(
            message_id=association.next_message_id(), affected_sop_class_uid=abstract_syntax, has_data_set=True
        )
        pieces = (Piece(memoryview(identifier(question) if data is None else data), is_last=True),)
        invocation = association.conversation.ask(context.context_id, request, pieces, within=PATIENCE)
        operation = Operation(invocation, context.transfer_syntax)
        answers = [(answer.response.status, bytes(answer.data)) for answer in operation]
        return answers, operation.result.status, operation.result.error_comment or ""

    def _association(self, negotiated: Negotiated) -> Association:
        if negotiated not in self._associations:
            proposals = [Proposal(model.find, (EXPLICIT,)) for model in MODELS.values()]
            wanted = bytes(negotiated).rstrip(b"\0")
            items = tuple(SOPClassExtendedNegotiation(model.find, wanted) for model in MODELS.values() if wanted)
            caller = Caller(answer=PATIENCE, message=PATIENCE, negotiation=Negotiation(extended=items))
            made = associate(("127.0.0.1", self._port), proposals, caller)
            self._associations[negotiated] = self._stack.enter_context(made)
        return self._associations[negotiated]


def answers_of(found: list[tuple[int, bytes]]) -> Counter:
    """The answers as values, each as often as it came."""
    return Counter(comparable(told(decode(data, EXPLICIT))) for _, data in found)


def expected(truth: Truth, question: Question) -> Counter:
    fixed = {
        "QueryRetrieveLevel": (question.level,),
        "RetrieveAETitle": ("SCPD",),
        "InstanceAvailability": ("ONLINE",),
    }
    found = truth.find(question.level, question.keys, question.negotiated, question.zone)
    return Counter(comparable({**one, **fixed}) for one in found)


def difference(wanted: Counter, found: Counter) -> str:
    """The first answer that is missing, and how what came in its place differs."""
    missing, more = [dict(one) for one in wanted - found], [dict(one) for one in found - wanted]
    if not missing or not more:
        return f"missing {len(missing)}: {missing[:1]}\nnot wanted {len(more)}: {more[:1]}"
    other = max(more, key=lambda one: len(one.items() & missing[0].items()))
    return f"{len(missing)} missing, {len(more)} not wanted: {set(missing[0].items()) ^ set(other.items())}"


def compare(truth: Truth, peers: dict[str, Peer], question: Question) -> int:
    """Ask everybody; the number of answers, which are those that they should be."""
    replies = {name: peer.ask(question) for name, peer in peers.items()}
    (answers, status, comment), *others = replies.values()
    assert (status, comment) == (0x0000, ""), question
    for other, its_status, _ in others:
        assert its_status == 0x0000, question
        assert Counter(other) == Counter(answers), question
    found = answers_of(answers)
    if question.zone:
        found = Counter(
            {tuple(one for one in answer if one[0] != "TimezoneOffsetFromUTC"): n for answer, n in found.items()}
        )
    wanted = expected(truth, question)
    assert found == wanted, f"{question}\n{difference(wanted, found)}"
    code = 0xFF01 if truth.is_ignoring(question.level, question.keys) else 0xFF00
    assert {pending for pending, _ in answers} <= {code}, question
    return len(answers)


# -- what is held


def lay(directory: Path, files: list[File]) -> None:
    """Files into a store."""
    for folder in {Path(file.path).parent for file in files}:
        (directory / folder).mkdir(parents=True, exist_ok=True)
    for file in files:
        path = directory / file.path
        path.write_bytes(file.data)
        os.utime(path, (file.when, file.when))


@contextmanager
def peers_of(directory: Path, start, postgres: Postgres) -> Iterator[dict[str, Peer]]:
    """A daemon with SQLite and one with PostgreSQL, both of the files of one store."""
    with ExitStack() as stack:
        urls = {"sqlite": f"sqlite:///{directory.parent}/index.db", "postgresql": postgres.create_database()}
        daemons = {
            name: start(
                storage={"directory": str(directory)},
                index={"url": url, "attributes": ADDED, "fuzzy_names": True},
                contexts=["verification", "query_retrieve", {"sop_classes": "storage", "transfer_syntaxes": "all"}],
            )
            for name, url in urls.items()
        }
        for daemon in daemons.values():  # an index that knows nothing of what is there is made from it
            daemon.wait_for_log(lambda line: line["event"] == "the index is made anew", PATIENCE)
        _analyze(urls["postgresql"])
        yield {name: Peer(daemon.port, stack, urls[name]) for name, daemon in daemons.items()}


def _analyze(url: str) -> None:
    """What PostgreSQL does by itself within a minute; until then it guesses how to find anything."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ANALYZE")


@pytest.fixture(scope="module")
def made() -> tuple[list[File], Truth]:
    files = list(Made(SEED, patients=120, studies=400).files(2000))
    truth = Truth(KEPT)
    for file in files:
        truth.take(file)
    return files, truth


@pytest.fixture(scope="module")
def truth(made) -> Truth:
    return made[1]


@pytest.fixture(scope="module")
def peers(made, shared_daemon, tmp_path_factory, postgres):
    directory = tmp_path_factory.mktemp("made") / "store"
    lay(directory, made[0])
    with peers_of(directory, shared_daemon, postgres) as found:
        yield found


def test_questions_at_random(truth, peers):
    questions = Questions(SEED, truth)
    counts = [compare(truth, peers, questions.ask()) for _ in range(120)]
    assert sum(count > 0 for count in counts) > 50, "most should have answers"
    assert counts.count(0) > 20, "and some none"


@pytest.mark.slow
def test_questions_at_random_of_20_000_instances(shared_daemon, tmp_path, postgres):
    files = list(Made(SEED + 1).files(20_000))
    truth = Truth(KEPT)
    for file in files:
        truth.take(file)
    lay(tmp_path / "store", files)
    with peers_of(tmp_path / "store", shared_daemon, postgres) as peers:
        questions = Questions(SEED + 1, truth)
        counts = [compare(truth, peers, questions.ask()) for _ in range(1000)]
    assert sum(count > 0 for count in counts) > 400


@pytest.mark.parametrize("level", LEVELS[:3])
def test_all_there_is(truth, peers, level):
    keys = {name: "" for name in KEPT[level] if _vr(name) != "SQ"} | {
        name: "" for name, (place, _) in COUNTS.items() if place == level
    }
    keys.pop("TimezoneOffsetFromUTC", None)
    question = Question("patient", level, keys, Negotiated(relational=True))
    assert compare(truth, peers, question) == len(truth.entities[level])


# -- what nobody should ask, or send

HOSTILE = (
    *(
        "'",
        "''",
        "' OR '1'='1",
        "'; DROP TABLE patients; --",
        '"',
        "\\'; --",
        "%",
        "_",
        "%%",
        "\\%",
        "a\0b",
        ")",
        "$1",
        ":x",
    ),
    *("*?" * 32, "?" * 64, "*" * 64 + "A", "*'*", "[A-Z]*", "%s", "{0}", "\x1b$B", "\r\n"),
)
UNIVERSAL = ("*" * 64, "\\", "\\\\\\")
SOUGHT = ("PatientID", "PatientName", "AccessionNumber", "Modality", "ImageComments")  # each kind that SQL compares


def dump(url: str) -> list[tuple[str, list]]:
    """All rows of all tables."""
    engine = sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    metadata = sqlalchemy.MetaData()
    try:
        with warnings.catch_warnings(), engine.connect() as connection:
            warnings.simplefilter("ignore")  # of indexes on expressions
            metadata.reflect(connection)
            return [
                (table.name, sorted(map(str, connection.execute(table.select())))) for table in metadata.sorted_tables
            ]
    finally:
        engine.dispose()


@pytest.fixture(scope="module")
def dumps(peers):
    return {name: dump(peer.url) for name, peer in peers.items()}


@pytest.mark.parametrize("level", LEVELS)
def test_hostile_values_find_what_they_say(truth, peers, dumps, level):
    relational = Negotiated(relational=True)
    unique = {UNIQUE[level]: "1.2.3" if level == "IMAGE" else ""}
    for number, name in enumerate(KEPT[level]):
        some = HOSTILE if name in SOUGHT else HOSTILE[number % 6 :: 6]
        for value in (
            (*some, *UNIVERSAL * (name in SOUGHT))
            if _vr(name) not in ("SQ", "US") and name != "TimezoneOffsetFromUTC"
            else ()
        ):
            question = Question("patient", level, {**unique, name: value}, relational)
            for peer in peers.values():
                answers, status, comment = peer.ask(question)
                if status == 0xC000:
                    assert name in comment
                    continue
                assert status == 0x0000, (question, hex(status), comment)
                if "\0" not in value and "\x1b" not in value and value.strip("\\ "):
                    wanted = expected(truth, question)
                    assert len(answers) == sum(wanted.values()), question
                    assert len(answers) > 50 or answers_of(answers) == wanted, question


@pytest.mark.parametrize(
    ("model", "level", "keys", "status", "says"),
    [
        ("study", "PATIENT", {"PatientID": ""}, 0xA900, "QueryRetrieveLevel"),
        ("patient/study", "SERIES", {}, 0xA900, "QueryRetrieveLevel"),
        ("patient/study", "IMAGE", {}, 0xA900, "QueryRetrieveLevel"),
        ("patient", "IMAGES", {}, 0xA900, "QueryRetrieveLevel"),
        ("patient", "", {"PatientID": ""}, 0xA900, "QueryRetrieveLevel"),
        ("patient", "STUDY", {"StudyInstanceUID": ""}, 0xA900, "PatientID"),
        ("patient", "STUDY", {"StudyInstanceUID": "", "PatientID": "P*"}, 0xA900, "PatientID"),
        ("study", "SERIES", {"SeriesInstanceUID": ""}, 0xA900, "StudyInstanceUID"),
        ("study", "IMAGE", {"StudyInstanceUID": "1.2"}, 0xA900, "SeriesInstanceUID"),
        ("study", "IMAGE", {"StudyInstanceUID": "1\\2", "SeriesInstanceUID": "1"}, 0xA900, "StudyInstanceUID"),
        ("study", "STUDY", {"StudyInstanceUID": "'; --"}, 0xC000, "StudyInstanceUID"),
        ("study", "STUDY", {"StudyDate": "20200101'; --"}, 0xC000, "StudyDate"),
        ("study", "STUDY", {"StudyDate": "20201301-"}, 0xC000, "StudyDate"),
        ("study", "STUDY", {"StudyTime": "25"}, 0xC000, "StudyTime"),
        ("study", "STUDY", {"PatientName": "*a" * 1000}, 0xC000, "PatientName"),
        ("study", "STUDY", {"PatientComments": "x" * 65_000}, 0xA700, "65536 bytes"),
    ],
)
def test_what_cannot_be_understood_is_told_by_its_key(peers, model, level, keys, status, says):
    for peer in peers.values():
        data = identifier(Question(model, level, keys))
        if status == 0xA700:
            data *= 2
        answers, answered, comment = peer.ask(Question(model, level, {}), data)
        assert (answers, answered) == ([], status), comment
        assert says in comment


def test_long_keys_and_long_lists(truth, peers):
    relational = Negotiated(relational=True)
    uids = "\\".join([*(f"1.2.9.{number}" for number in range(990)), *(f"1.2.2.{number}" for number in range(10))])
    assert compare(truth, peers, Question("study", "STUDY", {"StudyInstanceUID": uids}, relational)) > 5
    for name in ("PatientID", "PatientName", "StudyDescription", "PatientComments", "RequestingService"):
        question = Question("study", "STUDY", {"StudyInstanceUID": "", name: "x" * 64_000}, relational)
        for peer in peers.values():
            answers, status, comment = peer.ask(question)
            assert answers == []
            assert status == 0x0000 or (status == 0xC000 and name in comment)


@pytest.mark.parametrize("vr", [b"LO", b"US", b"UI", b"OB", b"SQ", b"ZZ"])
def test_wrong_vrs_are_told_or_taken_for_what_they_are(peers, vr):
    long = b"\0\0\4\0\0\0" if vr in (b"OB", b"SQ") else b"\4\0"
    data = identifier(Question("study", "STUDY", {})) + b"\x10\x00\x10\x00" + vr + long + b"DOE*"
    for peer in peers.values():
        answers, status, comment = peer.ask(Question("study", "STUDY", {}), data)
        assert answers == []
        assert status in (0xA900, 0xC000)
        assert comment


def test_nothing_of_all_this_has_changed_anything(peers, dumps):
    assert {name: dump(peer.url) for name, peer in peers.items()} == dumps


STORED = {
    "sql": {"PatientID": "'; DROP TABLE patients; --"},
    "long ID": {"PatientID": "L" * 60_000},
    "long name": {"PatientName": "X" * 400 + "^LAST"},
    "backslash": {"PatientID": "A\\B", "AccessionNumber": "A\\C", "StudyDate": "20200101\\20210101"},
    "JSON": {"PatientComments": '"}],{"00100010":\'\\u0000'},
    "wildcards": {"PatientID": "*%_?", "StudyDescription": "100%_*"},
    "two UIDs": {"StudyInstanceUID": "1.2.77.1\\1.2.77.2"},
    "NUL": {"PatientName": "DOE^@ANNA"},
    "no UTF-8": {"PatientName": "DOE^###"},
    "wrong set": {"SpecificCharacterSet": "utf-7\\rot13", "PatientName": "DOE^JANE"},
    "control": {"PatientName": "".join(map(chr, range(1, 27))), "AccessionNumber": "\n\t"},
}
FOUND = {
    "sql": [{"PatientID": "'; DROP TABLE patients; --"}, {"PatientID": "*DROP*"}],
    "long ID": [{"PatientID": "LLL*"}],
    "long name": [{"PatientName": "X*"}, {"PatientName": "*last"}],
    "backslash": [{"PatientID": "A"}, {"AccessionNumber": "C"}, {"StudyDate": "20201231-20210102"}],
    "JSON": [{"PatientComments": '*{"00100010"*'}],
    "wildcards": [{"StudyDescription": "100%?*"}, {"PatientID": "?%_?"}],
    "two UIDs": [{"StudyInstanceUID": "1.2.77.1"}],
    "NUL": [{"PatientName": "DOE^ANNA"}],
    "no UTF-8": [{"PatientName": "DOE^???"}],
    "wrong set": [{"PatientName": "doe^jane"}],
    "control": [],
}


def _hostile_file(number: int, values: dict) -> tuple[str, bytes]:
    study, uid = f"1.2.66.{number}", f"1.2.67.{number}"
    usual = {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.1", "PatientID": f"HOSTILE{number}"}
    values = {
        "SpecificCharacterSet": "ISO_IR 192",
        **usual,
        "SOPClassUID": SOP_CLASSES[0],
        "SOPInstanceUID": uid,
        **values,
    }
    data = encoded(values, EXPLICIT, "").replace(b"^@ANNA", b"^\0ANNA").replace(b"^###", b"^\xed\xa0\x80")
    return values["StudyInstanceUID"].split("\\")[0], whole(SOP_CLASSES[0], uid, EXPLICIT, data)


def test_hostile_instances_are_stored_and_found(daemon, tmp_path, postgres):
    files = {name: _hostile_file(number, values) for number, (name, values) in enumerate(STORED.items())}
    paths = [tmp_path / f"{number}.dcm" for number in range(len(files))]
    for path, (_, data) in zip(paths, files.values(), strict=True):
        path.write_bytes(data)
    with ExitStack() as stack:
        for url in (f"sqlite:///{tmp_path}/index.db", postgres.create_database()):
            ours = daemon(
                index={"url": url},
                storage={"path": "{SOPInstanceUID}.dcm"},
                contexts=["verification", "query_retrieve", {"sop_classes": "storage", "transfer_syntaxes": "all"}],
            )
            command = [sys.executable, "-m", "scpd", "send", f"127.0.0.1:{ours.port}", *map(str, paths)]
            sent = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False, text=True)
            assert len(ours.stored()) == len(files), sent.stdout + sent.stderr
            peer = Peer(ours.port, stack)
            for name, (study, _) in files.items():
                for keys in ({"StudyInstanceUID": study}, *FOUND[name]):
                    asked = {"StudyInstanceUID": "", "PatientName": "", "PatientID": "", **keys}
                    answers, status, comment = peer.ask(Question("study", "STUDY", asked))
                    assert status == 0x0000, (name, comment)
                    assert [dict(one)["StudyInstanceUID"] for one in answers_of(answers)] == [(study,)], (name, keys)


# -- what pydicom ships


def shipped() -> list[Path]:
    """Nothing here asks for a file by its name, which might fetch it from somewhere."""
    folder = Path(pydicom.__file__).parent / "data"
    return sorted(path for path in folder.rglob("*") if path.suffix == ".dcm" and path.is_file())


def everything(truth: Truth, peers: dict[str, Peer]) -> int:
    """Compare all there is at every level, with and without what is in sequences; the number of instances."""
    for level in LEVELS:
        names = [
            name for one in LEVELS[: LEVELS.index(level) + 1] for name in KEPT[one] if name != "TimezoneOffsetFromUTC"
        ]
        keys = {name: None if _vr(name) == "SQ" else "" for name in names}
        keys |= {name: "" for name, place in COMPUTED.items() if LEVELS.index(place) <= LEVELS.index(level)}
        count = compare(truth, peers, Question("patient", level, keys, Negotiated(relational=True)))
    return count


def told_by_files(directory: Path) -> Truth:
    truth = Truth(KEPT)
    for path in sorted(path for path in directory.rglob("*.dcm") if path.is_file()):
        with contextlib.suppress(InvalidDicomError, AttributeError):
            truth.take(File(str(path.relative_to(directory)), path.read_bytes(), path.stat().st_mtime))
    return truth


def test_what_pydicom_ships(daemon, tmp_path, postgres):
    """What can be sent is stored by C-STORE; the rest is laid into the store, and found by a rebuild."""
    ours = daemon(
        index={"attributes": ADDED},
        contexts=["verification", "query_retrieve", {"sop_classes": "storage", "transfer_syntaxes": "all"}],
    )
    command = [sys.executable, "-m", "scpd", "send", f"127.0.0.1:{ours.port}", *map(str, shipped())]
    subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    with ExitStack() as stack:
        peers = {"sqlite": Peer(ours.port, stack)}
        assert len(ours.stored()) > 60
        assert everything(told_by_files(ours.directory), peers) > 40, "some have no series"
    laid = tmp_path / "laid"
    for path in shipped():
        (laid / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, laid / path.parent.name / path.name)
    truth = told_by_files(laid)
    with peers_of(laid, daemon, postgres) as peers:
        assert everything(truth, peers) > 40
        questions = Questions(SEED, truth)
        for _ in range(50):
            compare(truth, peers, questions.ask())
