"""An index in memory, as plain as the contract of scpd.index allows, and C-FIND requests to it."""

from __future__ import annotations

import io
import zlib

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import UID

from scpd.dimse.command import CFindRQ
from scpd.index.attributes import (
    MODALITIES_IN_STUDY,
    NUMBERS_RELATED,
    SOP_CLASSES_IN_STUDY,
    UNIQUE_KEYS,
    Keeping,
    Level,
    tag_of,
)
from scpd.negotiation.offer import AcceptedContext
from scpd.services.query.find import Find, FindRules
from scpd.services.query.models import STUDY_ROOT
from scpd.services.service import Operation, Peer

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
SYNTAXES = (IMPLICIT, EXPLICIT, BIG, DEFLATED)
MODALITY, SOP_CLASS = tag_of("Modality"), tag_of("SOPClassUID")


class Held:
    """Instances, each a mapping by tag or keyword."""

    def __init__(self, *instances) -> None:
        self.keeping = Keeping()
        self.rows = [{tag_of(k) if isinstance(k, str) else k: v for k, v in one.items()} for one in instances]
        self.queries = []
        self.closed = 0
        self.failure = None

    def find(self, query):
        self.queries.append(query)
        try:
            yield from self._matches(query)
        finally:
            self.closed += 1

    def _matches(self, query):
        if self.failure:
            raise self.failure
        entities = {}
        for row in self.rows:
            entities.setdefault(tuple(row.get(UNIQUE_KEYS[one]) for one in Level if one <= query.level), []).append(row)
        for rows in entities.values():
            told = {**rows[0], **self._computed(rows[0], query.level)}
            if all(condition.matches(told.get(tag)) for tag, condition in query.conditions.items()) and all(
                moment.matches(told) for moment in query.moments
            ):
                yield {tag: told[tag] for tag in query.wanted if tag in told}

    def _computed(self, row, level):
        def same(upto):
            keys = [UNIQUE_KEYS[one] for one in Level if one <= upto]
            return [other for other in self.rows if all(other.get(key) == row.get(key) for key in keys)]

        found = {
            tag: str(len({tuple(r.get(UNIQUE_KEYS[x]) for x in Level if x <= below) for r in same(of)}))
            for tag, (of, below) in NUMBERS_RELATED.items()
            if of <= level
        }
        if level >= Level.STUDY:
            study = same(Level.STUDY)
            found[MODALITIES_IN_STUDY] = "\\".join(sorted({r[MODALITY] for r in study if r.get(MODALITY)}))
            found[SOP_CLASSES_IN_STUDY] = "\\".join(sorted({r[SOP_CLASS] for r in study if r.get(SOP_CLASS)}))
        return found


def encode(dataset: Dataset, syntax: str = EXPLICIT) -> bytes:
    uid, stream = UID(syntax), DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = uid.is_little_endian, uid.is_implicit_VR
    write_dataset(stream, dataset)
    data = stream.getvalue()
    if syntax == DEFLATED:
        deflate = zlib.compressobj(wbits=-15)
        data = deflate.compress(data) + deflate.flush()
    return data


def decode(data: bytes, syntax: str = EXPLICIT) -> Dataset:
    assert len(data) % 2 == 0
    if syntax == DEFLATED:
        data = zlib.decompressobj(-15).decompress(data)
    uid = UID(syntax)
    dataset = read_dataset(io.BytesIO(data), uid.is_implicit_VR, uid.is_little_endian)
    dataset.decode()
    return dataset


def identifier(level="STUDY", **keys) -> Dataset:
    dataset = Dataset()
    if level is not None:
        dataset.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    return dataset


class Outcome:
    """What came back: the statuses, the answers as data sets, and the last reply."""

    def __init__(self, replies, syntax) -> None:
        self.replies = replies
        self.statuses = [reply.response.status for reply in replies]
        self.raw = [b"".join(bytes(piece.view) for piece in reply.data) for reply in replies[:-1]]
        self.answers = [decode(data, syntax) for data in self.raw]
        self.last = replies[-1]
        assert not self.last.response.has_data_set
        assert all(reply.response.has_data_set for reply in replies[:-1])

    def values(self, keyword):
        return [str(answer[keyword].value) for answer in self.answers]


def request_of(asked, *, model=STUDY_ROOT, syntax=EXPLICIT, extended=b"", cancelled=lambda: False) -> Operation:
    """A C-FIND request, whose bytes are void once the next are asked for."""
    data = asked if isinstance(asked, bytes) else encode(asked, syntax)
    request = CFindRQ(message_id=7, affected_sop_class_uid=model.find, has_data_set=True)
    context = AcceptedContext(1, model.find, syntax, extended=extended)

    def fillings():
        for start in range(0, len(data), 1000):
            buffer = bytearray(data[start : start + 1000])
            yield [memoryview(buffer)[:10], memoryview(buffer)[10:]]
            buffer[:] = b"\xee" * len(buffer)

    return Operation(Peer("127.0.0.1:1", "SCU", "SCPD"), context, request, fillings, cancelled)


def find(index, asked, *, syntax=EXPLICIT, most=0, **how) -> Outcome:
    operation = request_of(asked, syntax=syntax, **how)
    replies = list(Find(index, FindRules("ARCHIVE", most)).perform(operation))
    assert all(reply.response.message_id_being_responded_to == 7 for reply in replies)
    return Outcome(replies, syntax)


def instance(patient="P1", study="1.2.1", series="1.2.1.1", uid="1.2.1.1.1", **more):
    return {
        "PatientID": patient,
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "SOPInstanceUID": uid,
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "PatientName": "DOE^JANE",
        "PatientBirthDate": "19700102",
        "StudyDate": "20200102",
        "StudyTime": "101500",
        "AccessionNumber": "A1",
        "StudyID": "S1",
        "StudyDescription": "Head\\Neck",
        "Modality": "CT",
        "SeriesNumber": "1",
        "InstanceNumber": "1",
        "Rows": "512",
        **more,
    }
