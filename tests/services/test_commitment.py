"""Storage commitment: what is promised is durable, what is told is true, and it is told until somebody has heard it."""

from __future__ import annotations

import importlib
import os
import queue as queues
import socket
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
from components.told import log_of_what_is_made
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from scpd import AE
from scpd.client.requestor import Caller
from scpd.dimse import codec
from scpd.dimse.command import NActionRQ, NActionRSP, NEventReportRQ, NEventReportRSP
from scpd.errors import IndexUnavailable
from scpd.forward.queue import Job, Queue, QueueError
from scpd.forward.runner import Failed, Pace, Runner
from scpd.forward.shelf import Selection, Shelf
from scpd.index.query import Held
from scpd.negotiation.offer import AcceptedContext, Offer, SupportedContext
from scpd.part10 import file_meta
from scpd.server.capacity import CapacityLimits
from scpd.server.server import Server
from scpd.server.visit import Visit
from scpd.server.worker import Terms
from scpd.services.commitment import module, reports, transactions
from scpd.services.commitment.module import (
    FAILURES_EXIST,
    MISSING_ATTRIBUTE,
    PUSH_MODEL,
    REQUEST_SUCCESSFUL,
    WELL_KNOWN_INSTANCE,
    FailureReason,
    Reference,
    RefusedError,
    Report,
    Requested,
    decode,
    encode,
)
from scpd.services.commitment.reports import Remote, Reports, Site
from scpd.services.commitment.service import Commitment
from scpd.services.commitment.transactions import NAME, SCHEMA, Transactions, Way
from scpd.services.commitment.verification import verify
from scpd.services.service import Operation, Peer, nobody
from scpd.transport import exchange
from scpd.wire.framing import Limits
from scpd.wire.pdu import DataTF, ReleaseRP, ReleaseRQ

PATIENCE = 20.0
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
SYNTAXES = (IMPLICIT, EXPLICIT, DEFLATED, BIG)
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
DATA_SET = b"\x08\0\x16\0UI\x04\x001.2\0" + b"\x10\0\x10\0PN\x08\0DOE^JANE" * 200
ONE, TWO, THREE = (Reference(CT, f"1.2.3.{number}") for number in (1, 2, 3))


def item(reference: Reference) -> Dataset:
    one = Dataset()
    one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = reference
    return one


def information(transaction: str | None = "1.2.9", references=(ONE,), *, undefined: bool = False) -> Dataset:
    """The Action Information of a device that says more than it has to."""
    asked = Dataset()
    asked.ReferencedPerformedProcedureStepSequence = [item(Reference("1.2.840.10008.3.1.2.3.3", "1.2.77"))]
    asked.StorageMediaFileSetID = "DISK1"
    if transaction is not None:
        asked.TransactionUID = transaction
    if references is not None:
        asked.ReferencedSOPSequence = Sequence(map(item, references))
        asked["ReferencedSOPSequence"].is_undefined_length = undefined
        for one in asked.ReferencedSOPSequence:
            one.is_undefined_length_sequence_item = undefined
    return asked


def encoded(dataset: Dataset, syntax: str = EXPLICIT) -> bytes:
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = UID(syntax).is_little_endian, UID(syntax).is_implicit_VR
    write_dataset(stream, dataset)
    if syntax != DEFLATED:
        return stream.getvalue()
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(stream.getvalue()) + deflate.flush()


def decoded(data: bytes, syntax: str) -> Dataset:
    if syntax == DEFLATED:
        data = zlib.decompress(data, -zlib.MAX_WBITS)
    return read_dataset(BytesIO(data), UID(syntax).is_implicit_VR, UID(syntax).is_little_endian)


# -- what the messages carry


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_request_is_read_in_every_uncompressed_syntax_and_each_instance_counts_once(syntax, undefined):
    data = encoded(information(references=(ONE, TWO, ONE), undefined=undefined), syntax)
    assert decode(data, syntax) == Requested("1.2.9", (ONE, TWO))


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_report_is_read_by_pydicom_in_every_uncompressed_syntax(syntax):
    failed = ((TWO, FailureReason.NO_SUCH_OBJECT_INSTANCE), (THREE, FailureReason.CLASS_INSTANCE_CONFLICT))
    report = Report("1.2.9", (ONE,), failed, "ARCHIVE")
    assert report.event_type_id == FAILURES_EXIST
    found = decoded(encode(report, syntax), syntax)
    assert (found.TransactionUID, found.RetrieveAETitle) == ("1.2.9", "ARCHIVE")
    assert [(one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID) for one in found.ReferencedSOPSequence] == [ONE]
    assert [(one.ReferencedSOPInstanceUID, one.FailureReason) for one in found.FailedSOPSequence] == [
        (TWO.sop_instance_uid, 0x0112),
        (THREE.sop_instance_uid, 0x0119),
    ]


def test_a_report_of_success_alone_names_no_failures_and_one_of_failures_alone_no_success():
    good, bad = Report("1.2", (ONE,), ()), Report("1.2", (), ((ONE, FailureReason.PROCESSING_FAILURE),), "A")
    assert (good.event_type_id, bad.event_type_id) == (REQUEST_SUCCESSFUL, FAILURES_EXIST)
    assert "FailedSOPSequence" not in decoded(encode(good, EXPLICIT), EXPLICIT)
    only_failed = decoded(encode(bad, EXPLICIT), EXPLICIT)
    assert "ReferencedSOPSequence" not in only_failed
    assert "RetrieveAETitle" not in only_failed


def test_a_sequence_of_unknown_vr_is_read_as_what_it_is():
    inside = encoded(item(ONE), IMPLICIT)
    one = b"\xfe\xff\x00\xe0" + len(inside).to_bytes(4, "little") + inside
    head = encoded(information(references=None))
    sequence = b"\x08\0\x99\x11UN\0\0\xff\xff\xff\xff" + one + b"\xfe\xff\xdd\xe0\0\0\0\0"
    assert decode(head + sequence, EXPLICIT).references == (ONE,)


def without(keyword: str) -> Dataset:
    asked = information()
    del asked.ReferencedSOPSequence[0][keyword]
    return asked


NESTED = (
    b"\x08\0\x99\x11SQ\0\0\xff\xff\xff\xff"
    + b"\xfe\xff\0\xe0\xff\xff\xff\xff\x08\0\x99\x11SQ\0\0\xff\xff\xff\xff" * 5000
)


@pytest.mark.parametrize(
    ("data", "status", "what"),
    [
        (encoded(information(None)), MISSING_ATTRIBUTE, "Transaction UID (0008,1195) is missing"),
        (encoded(information("")), MISSING_ATTRIBUTE, "Transaction UID (0008,1195) is missing"),
        (encoded(information(references=None)), MISSING_ATTRIBUTE, "Referenced SOP Sequence (0008,1199) is missing"),
        (encoded(information(references=())), 0x0115, "Referenced SOP Sequence (0008,1199) is empty"),
        (encoded(without("ReferencedSOPClassUID")), MISSING_ATTRIBUTE, "item 1: Referenced SOP Class UID (0008,1150)"),
        (encoded(without("ReferencedSOPInstanceUID")), MISSING_ATTRIBUTE, "item 1: Referenced SOP Instance UID"),
        (encoded(information())[:-3], 0x0115, "ends inside an element"),
        (encoded(information())[:9], 0x0115, "ends inside an element"),
        (b"\x08\0\x99\x11SQ\0\0\x08\0\0\0\x08\0\x50\x11UI\0\0", 0x0120, "Transaction UID"),
        (b"\x08\0\x95\x11UI\x06\0DOE^J\0", 0x0115, "Transaction UID (0008,1195) is no UID: 'DOE^J'"),
        (b"\x08\0\x95\x11UI\x08\x001.2\\1.3\0", 0x0115, "Transaction UID (0008,1195) is no UID"),
        (b"\x08\0\x95\x11UI\x42\0" + b"1" * 66, 0x0115, "Transaction UID (0008,1195) is no UID"),
        (b"\x08\0\x95\x11\0\0\x42\0" + b"1" * 66, 0x0115, "impossible VR"),
        (b"\x08\0\x95\x11UI\x04\x001.2\0\x08\0\x99\x11SQ\0\0\x08\0\0\0\x08\0\x50\x11UI\0\0", 0x0115, "an item was due"),
        (NESTED, 0x0115, "nested deeper"),
    ],
)
def test_a_request_that_cannot_be_taken_on_is_refused_with_the_key(data, status, what):
    with pytest.raises(RefusedError) as refused:
        decode(data, EXPLICIT)
    assert (refused.value.status, what in refused.value.what) == (status, True), refused.value.what


def test_a_request_for_too_many_instances_and_one_that_swells_are_too_much(monkeypatch):
    monkeypatch.setattr(module, "MOST_REFERENCES", 2)
    with pytest.raises(RefusedError) as refused:
        decode(encoded(information(references=(ONE, ONE, ONE))), EXPLICIT)
    assert refused.value.status == 0x0213
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = deflate.compress(bytes(module.LONGEST + 1)) + deflate.flush()
    assert len(bomb) < 100_000
    with pytest.raises(RefusedError) as refused:
        decode(bomb, DEFLATED)
    assert refused.value.status == 0x0213
    with pytest.raises(RefusedError) as refused:
        decode(b"no stream at all", DEFLATED)
    assert refused.value.status == 0x0115


@given(st.data())
def test_whatever_bytes_come_they_are_a_request_or_refused(data):
    good = bytearray(encoded(information(undefined=True), data.draw(st.sampled_from((IMPLICIT, EXPLICIT, BIG)))))
    for _ in range(data.draw(st.integers(0, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    found = outcome(bytes(good) + data.draw(st.binary(max_size=20)), data.draw(st.sampled_from(SYNTAXES)))
    assert found.status in (0x0115, 0x0120, 0x0213) if isinstance(found, RefusedError) else found.references


def outcome(data: bytes, syntax: str) -> Requested | RefusedError:
    try:
        return decode(data, syntax)
    except RefusedError as refused:
        return refused


# -- what is held


class Folder:
    """An index of its own: files of a folder, by their UIDs; ``away`` makes it fail."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, Held] = {}
        self.away = self.is_behind = False
        self.asked: list[list[str]] = []
        self.before = lambda: None

    def put(self, reference: Reference, data: bytes = DATA_SET, *, digest: bool = True) -> Path:
        meta = file_meta(EXPLICIT, "CT1")
        path = self.folder / f"{reference.sop_instance_uid}.dcm"
        path.write_bytes(meta.header(*reference) + data)
        crc = f"{zlib.crc32(data):08x}" if digest else ""
        held = Held(*reference, EXPLICIT, str(path), path.stat().st_size, crc, "1.2.3", "1.2.3.4")
        self.files[reference.sop_instance_uid] = held
        return path

    def held(self, sop_instance_uids):
        if self.away:
            raise IndexUnavailable("the database is locked")
        self.asked.append(list(sop_instance_uids))
        found = {uid: self.files[uid] for uid in sop_instance_uids if uid in self.files}
        self.before()
        return found


@pytest.fixture
def shelf(tmp_path) -> Folder:
    folder = tmp_path / "store"
    folder.mkdir()
    return Folder(folder)


def reason_of(shelf: Folder, reference: Reference = ONE) -> FailureReason | None:
    ((_, reason),) = verify(shelf, (reference,), lambda: None)
    return reason


@pytest.mark.parametrize("digest", [True, False])
def test_what_is_held_whole_is_committed(shelf, digest):
    shelf.put(ONE, digest=digest)
    assert reason_of(shelf) is None


def test_what_nobody_holds_and_what_is_of_another_class_is_not(shelf):
    shelf.put(ONE)
    assert reason_of(shelf, TWO) is FailureReason.NO_SUCH_OBJECT_INSTANCE
    assert reason_of(shelf, Reference(MR, ONE.sop_instance_uid)) is FailureReason.CLASS_INSTANCE_CONFLICT


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-7] ^= 1
    path.write_bytes(raw)


def into_a_link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def into(make):
    def spoil(path: Path) -> None:
        path.unlink()
        make(path)

    return spoil


def head_of_another(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw.replace(ONE.sop_instance_uid.encode(), TWO.sop_instance_uid.encode(), 1))


SPOILERS = {
    "gone": (Path.unlink, FailureReason.NO_SUCH_OBJECT_INSTANCE),
    "folder gone": (
        lambda path: (path.unlink(), path.parent.rename(path.parent.with_name("moved"))),
        FailureReason.NO_SUCH_OBJECT_INSTANCE,
    ),
    "shorter": (lambda path: os.truncate(path, path.stat().st_size - 1), FailureReason.PROCESSING_FAILURE),
    "empty": (lambda path: os.truncate(path, 0), FailureReason.PROCESSING_FAILURE),
    "longer": (lambda path: path.write_bytes(path.read_bytes() + b"\0\0"), FailureReason.PROCESSING_FAILURE),
    "a bit flipped": (flip, FailureReason.PROCESSING_FAILURE),
    "no DICOM file": (lambda path: path.write_bytes(bytes(path.stat().st_size)), FailureReason.PROCESSING_FAILURE),
    "another instance": (head_of_another, FailureReason.PROCESSING_FAILURE),
    "a directory": (into(Path.mkdir), FailureReason.PROCESSING_FAILURE),
    "a FIFO": (into(os.mkfifo), FailureReason.PROCESSING_FAILURE),
    "a link": (into_a_link, FailureReason.PROCESSING_FAILURE),
}


@pytest.mark.parametrize(("spoil", "reason"), SPOILERS.values(), ids=SPOILERS)
def test_a_file_that_is_not_what_was_received_is_not_committed(shelf, spoil, reason):
    spoil(shelf.put(ONE))
    assert reason_of(shelf) is reason


def test_without_a_digest_a_bit_is_not_missed_but_a_byte_is(shelf):
    path = shelf.put(ONE, digest=False)
    flip(path)
    assert reason_of(shelf) is None
    os.truncate(path, path.stat().st_size - 1)
    assert reason_of(shelf) is FailureReason.PROCESSING_FAILURE


def test_a_file_that_was_replaced_while_it_was_looked_at_is_looked_at_as_it_is_now(shelf):
    shelf.put(ONE)
    shelf.before = lambda: shelf.put(ONE, DATA_SET + b"\x20\0\x10\0SH\x02\x001 ")
    assert reason_of(shelf) is None
    assert len(shelf.asked) == 2


def test_the_index_is_asked_for_many_at_a_time_and_files_are_read_in_pieces(shelf):
    many = [Reference(CT, f"1.2.{number}") for number in range(401)]
    shelf.put(many[400], DATA_SET * 1000)
    steps = []
    found = list(verify(shelf, many, lambda: steps.append(0)))
    assert [reason for _, reason in found].count(None) == 1
    assert found[400] == (many[400], None)
    assert list(map(len, shelf.asked)) == [200, 200, 1]
    assert len(steps) > 401 + 5


# -- what is pending

PEER = Peer("127.0.0.1:1", "CT1", "ARCHIVE", "a1")
CONTEXT = AcceptedContext(1, PUSH_MODEL, EXPLICIT)
NO_WAY = Way(nobody, CONTEXT)


@pytest.fixture
def open_queue(tmp_path):
    opened = []

    def make() -> Queue:
        queue = Queue(tmp_path / "queue", SCHEMA)
        queue.recover(lambda payload: payload["event"] == "commitment")
        opened.append(queue)
        return queue

    yield make
    for one in opened:
        one.close(PATIENCE)


@pytest.fixture
def queue(open_queue) -> Queue:
    return open_queue()


@pytest.fixture
def pending(queue) -> Transactions:
    return Transactions(queue)


def settled(queue: Queue) -> None:
    """Everything that waits for company is on the disk."""
    time_over = time.monotonic() + PATIENCE
    while queue.database.read("SELECT 1 FROM jobs WHERE state = 'held'"):
        assert time.monotonic() < time_over
        queue.database.write(lambda _: None)


def test_a_request_is_durable_at_once_and_worked_on_once_it_is_answered(queue, pending, open_queue, tmp_path):
    number = pending.begin("ARCHIVE", PEER, Requested("1.2.9", (ONE, TWO)))
    assert queue.take(NAME, lambda: False) is None
    assert pending.pending([ONE.sop_instance_uid, THREE.sop_instance_uid]) == {ONE.sop_instance_uid}
    pending.answered(number, NO_WAY)
    settled(queue)
    job = queue.take(NAME, lambda: False)
    assert (job.id, job.payload["transaction_uid"], job.payload["calling"]) == (number, "1.2.9", "CT1")
    assert pending.references(number) == (ONE, TWO)
    assert pending.way(number) is NO_WAY
    pending.forget_way(number)
    assert pending.way(number) is None
    queue.close(PATIENCE)
    assert Transactions(open_queue()).references(number) == (ONE, TWO)


def test_what_was_promised_before_a_crash_is_worked_on_after_it(queue, pending, open_queue):
    number = pending.begin("ARCHIVE", PEER, Requested("1.2.9", (ONE,)))
    queue.close(PATIENCE)
    assert open_queue().take(NAME, lambda: False).id == number


def test_a_job_that_ends_leaves_nothing_pending_whoever_ends_it(queue, pending, tmp_path):
    everything = "SELECT (SELECT count(*) FROM commitments) + (SELECT count(*) FROM committing)"
    numbers = [pending.begin("ARCHIVE", PEER, Requested(uid, (ONE, TWO))) for uid in ("1.1", "1.2", "1.3")]
    for number in numbers:
        pending.answered(number, NO_WAY)
    settled(queue)
    queue.done(queue.take(NAME))
    aside = queue.take(NAME)
    queue.set_aside(aside, "why")
    assert Shelf(tmp_path / "queue").drop(Selection(numbers=numbers[2:])) == 1
    queue.database.write(lambda _: None)
    assert queue.database.read(everything) == [(3,)]
    assert pending.pending([ONE.sop_instance_uid]) == frozenset(), "what was set aside does not count"
    Shelf(tmp_path / "queue").retry(Selection())
    assert pending.pending([ONE.sop_instance_uid]) == {ONE.sop_instance_uid}


def test_many_instances_are_asked_about_at_once(pending):
    many = tuple(Reference(CT, f"1.2.{number}") for number in range(1200))
    pending.begin("ARCHIVE", PEER, Requested("1.2.9", many))
    asked = [reference.sop_instance_uid for reference in many[100:]] + ["1.99"]
    assert pending.pending(asked) == set(asked[:-1])


def test_a_request_that_is_repeated_is_one_and_due_at_once(queue, pending):
    number = pending.begin("ARCHIVE", PEER, Requested("1.2.9", (ONE, TWO)))
    pending.answered(number, NO_WAY)
    settled(queue)
    queue.again(queue.take(NAME), 3600.0, "the peer is away")
    queue.database.write(lambda _: None)
    assert pending.begin("ARCHIVE", PEER, Requested("1.2.9", (TWO, ONE))) == number
    pending.answered(number, NO_WAY)
    settled(queue)
    job = queue.take(NAME)
    assert (job.id, job.attempts) == (number, 0)


def test_a_transaction_uid_that_is_in_use_for_something_else_is_a_duplicate(queue, pending):
    first = pending.begin("ARCHIVE", PEER, Requested("1.2.9", (ONE,)))
    second = pending.begin("ARCHIVE", PEER, Requested("1.2.9", (TWO,)))
    third = pending.begin("ARCHIVE", Peer("127.0.0.1:1", "CT2", "ARCHIVE"), Requested("1.2.9", (TWO,)))
    for number in (first, second, third):
        pending.answered(number, NO_WAY)
    settled(queue)
    assert [queue.take(NAME).payload["is_duplicate"] for _ in range(3)] == [False, True, False]


def test_more_than_a_queue_should_hold_is_refused_and_nothing_of_it_stays(queue, pending, monkeypatch):
    monkeypatch.setattr(transactions, "MOST_INSTANCES", 2)
    pending.begin("ARCHIVE", PEER, Requested("1.1", (ONE,)))
    with pytest.raises(RefusedError) as refused:
        pending.begin("ARCHIVE", PEER, Requested("1.2", (ONE, TWO)))
    assert refused.value.status == 0x0213
    monkeypatch.setattr(transactions, "MOST_TRANSACTIONS", 1)
    with pytest.raises(RefusedError):
        pending.begin("ARCHIVE", PEER, Requested("1.3", (TWO,)))
    assert queue.standings()[NAME].waiting == 1


def test_ways_back_are_kept_of_the_last_requests_alone(pending, monkeypatch):
    monkeypatch.setattr(transactions, "_MOST_WAYS", 2)
    for number in (1, 2, 3):
        pending.answered(number, NO_WAY)
    assert [pending.way(number) for number in (1, 2, 3)] == [None, NO_WAY, NO_WAY]


# -- the request


def asked(pending: Transactions, data: bytes = b"", **more):
    """The response to an N-ACTION, and what it left in the queue."""
    how = {
        "requested_sop_class_uid": PUSH_MODEL,
        "requested_sop_instance_uid": WELL_KNOWN_INSTANCE,
        "action_type_id": 1,
        "has_data_set": True,
        **more,
    }
    fillings = lambda: iter([[memoryview(data[:9]), memoryview(data[9:20])], [memoryview(data[20:])]])  # noqa: E731
    operation = Operation(PEER, CONTEXT, NActionRQ(message_id=7, **how), fillings, lambda: False)
    (reply,) = Commitment(pending, "ARCHIVE").perform(operation)
    return reply


def test_success_names_what_was_asked_for(pending, queue):
    response = asked(pending, encoded(information())).response
    assert type(response) is NActionRSP
    assert (response.status, response.affected_sop_class_uid) == (0, PUSH_MODEL)
    assert (response.affected_sop_instance_uid, response.action_type_id) == (WELL_KNOWN_INSTANCE, 1)
    assert queue.standings()[NAME].waiting == 1


@pytest.mark.parametrize(
    ("more", "status", "comment"),
    [
        ({"requested_sop_class_uid": CT}, 0x0118, "Requested SOP Class UID"),
        ({"requested_sop_class_uid": ""}, 0x0118, "Requested SOP Class UID"),
        ({"requested_sop_instance_uid": "1.2.3"}, 0x0112, "Requested SOP Instance UID"),
        ({"requested_sop_instance_uid": "x\n"}, 0x0117, "Requested SOP Instance UID"),
        ({"requested_sop_instance_uid": ""}, 0x0117, "Requested SOP Instance UID"),
        ({"action_type_id": 2}, 0x0123, "Action Type ID"),
        ({"action_type_id": None}, 0x0123, "Action Type ID"),
        ({"has_data_set": False}, 0x0120, "Action Information"),
        ({"data": b""}, 0x0115, "Action Information is empty"),
        ({"data": encoded(information(None))}, 0x0120, "Transaction UID (0008,1195)"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_its_name_and_leaves_nothing(pending, queue, more, status, comment):
    reply = asked(pending, **{"data": encoded(information()), **more})
    assert reply.response.status == status
    assert reply.response.error_comment.startswith(comment)
    assert len(reply.response.error_comment) <= 64
    assert reply.why
    assert queue.standings() == {}


def test_a_request_that_goes_on_and_on_is_given_up(pending, monkeypatch):
    monkeypatch.setattr("scpd.services.commitment.service.LONGEST", 30)
    assert asked(pending, encoded(information())).response.status == 0x0213


def test_what_cannot_be_kept_is_not_promised(pending, queue, tmp_path):
    queue.close(PATIENCE)
    reply = asked(pending, encoded(information()))
    assert reply.response.status == 0x0110
    assert reply.response.error_comment.startswith("it cannot be promised: ")
    with pytest.raises(QueueError):
        pending.pending(["1.2"])


def test_a_peer_that_is_gone_before_it_is_answered_hears_all_the_same(pending, queue):
    operation = Operation(
        *(PEER, CONTEXT),
        NActionRQ(
            message_id=1,
            requested_sop_class_uid=PUSH_MODEL,
            requested_sop_instance_uid=WELL_KNOWN_INSTANCE,
            action_type_id=1,
            has_data_set=True,
        ),
        lambda: iter([[memoryview(encoded(information()))]]),
        lambda: False,
    )
    replies = Commitment(pending, "ARCHIVE").perform(operation)
    assert next(replies).response.status == 0
    replies.close()
    settled(queue)
    assert queue.take(NAME).payload["transaction_uid"] == "1.2.9"


# -- the report, over the network


class Device:
    """A device that asks for commitment, by scpd's own AE or pynetdicom; ``heard`` is what it was told, in order."""

    def __init__(self, library: str, title: str = "CT1") -> None:
        self.library = importlib.import_module(library)
        self.title = title
        self.heard: queues.SimpleQueue = queues.SimpleQueue()
        self.answer = lambda: 0x0000
        self.ended: list = []

    def hear(self, event):
        about = event.event_information
        committed = [one.ReferencedSOPInstanceUID for one in about.get("ReferencedSOPSequence", ())]
        failed = [(one.ReferencedSOPInstanceUID, one.FailureReason) for one in about.get("FailedSOPSequence", ())]
        how = "listening" if event.assoc.is_acceptor else "calling"
        self.heard.put((how, event.event_type, str(about.TransactionUID), committed, failed))
        return self.answer(), None

    def told(self):
        return self.heard.get(timeout=PATIENCE)

    def associate(self, port: int):
        ae = self.library.AE(self.title)
        ae.add_requested_context(PUSH_MODEL, [EXPLICIT, IMPLICIT])
        handlers = [(self.library.evt.EVT_N_EVENT_REPORT, self.hear)]
        association = ae.associate("127.0.0.1", port, ae_title="ARCHIVE", evt_handlers=handlers)
        assert association.is_established
        self.ended.append(association.abort)
        return association

    def ask(self, association, transaction: str = "1.2.9", references=(ONE,)) -> int:
        answer, _ = association.send_n_action(information(transaction, references), 1, PUSH_MODEL, WELL_KNOWN_INSTANCE)
        return answer.Status

    def listen(self, port: int = 0, *, role: bool = True, syntax: str = IMPLICIT) -> int:
        ae = self.library.AE(self.title)
        roles = {"scu_role": False, "scp_role": True} if role else {}
        ae.add_supported_context(PUSH_MODEL, syntax, **roles)
        handlers = [(self.library.evt.EVT_N_EVENT_REPORT, self.hear)]
        server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
        self.ended.append(server.shutdown)
        return server.server_address[1] if hasattr(server, "server_address") else server.socket.getsockname()[1]


@pytest.fixture
def device(peer):
    made = []

    def make(library: str, title: str = "CT1") -> Device:
        if library != "scpd":
            peer(library)
        made.append(Device(library, title))
        return made[-1]

    yield make
    for one in made:
        for end in one.ended:
            end()


@pytest.fixture
def log():
    with log_of_what_is_made(str.startswith) as lines:
        yield lines


@pytest.fixture
def archive(queue, pending, shelf, log):
    """A server that commits, and a runner that reports to ``remotes`` by AE title and port; its port."""
    ended = []
    told = queues.SimpleQueue()

    def start(remotes=None, *, works: bool = True, attempts: int = 5) -> int:
        services = {PUSH_MODEL: Commitment(pending, "ARCHIVE")}
        contexts = {PUSH_MODEL: SupportedContext(PUSH_MODEL, (EXPLICIT, IMPLICIT))}
        visit = Visit(Offer(ae_title="ARCHIVE", contexts=contexts, maximum_length=16384), services)
        terms = Terms(
            visit=lambda _: visit,
            limits=Limits(1 << 20, 16384),
            command_limit=65536,
            data_set_limit=1 << 24,
            artim=PATIENCE,
            write=PATIENCE,
            pace=exchange.Pace(PATIENCE, PATIENCE),
            where=str,
        )
        server = Server("ARCHIVE", ("127.0.0.1", 0), terms, CapacityLimits(50, 50, 50, 50))
        server.start()
        ended.append(server.stop_accepting)
        ended.append(lambda: server.abort("the test is over"))
        if works:
            ended.extend(work(queue, pending, shelf, remotes, told, attempts))
        start.told = told
        return server.address[1]

    yield start
    for end in ended:
        end()


def work(queue, pending, shelf, remotes=None, told=None, attempts: int = 5):
    known = {title: Remote(("127.0.0.1", port), caller(title)) for title, port in (remotes or {}).items()}
    site = Site(shelf, "ARCHIVE", "ARCHIVE", lambda: shelf.is_behind)
    target = Reports(pending, {"ARCHIVE": site}, known, lambda job, report, how: told and told.put((report, how)))
    target.attempts = attempts
    runner = Runner(queue, Pace(0.05, 0.2))
    runner.adopt(target)
    return runner.stop, lambda: runner.join(time.monotonic() + PATIENCE)


def caller(title: str) -> Caller:
    return Caller(called=title, connect=PATIENCE, answer=PATIENCE, message=PATIENCE)


LIBRARIES = pytest.mark.parametrize("library", ["scpd", "pynetdicom"])


@LIBRARIES
def test_a_peer_that_stays_is_told_over_the_association_that_it_asked_over(device, archive, shelf, library, queue):
    port = archive()
    shelf.put(ONE)
    one = device(library)
    association = one.associate(port)
    assert one.ask(association, references=(ONE,)) == 0
    assert one.told() == ("calling", 1, "1.2.9", [ONE.sop_instance_uid], [])
    assert one.ask(association, "1.2.10", (ONE, TWO)) == 0
    assert one.told() == ("calling", 2, "1.2.10", [ONE.sop_instance_uid], [(TWO.sop_instance_uid, 0x0112)])
    assert archive.told.get(timeout=PATIENCE)[1] == "the association of the request"
    association.release()
    assert association.is_released


@LIBRARIES
@pytest.mark.parametrize("role", [True, False], ids=["role selection", "no role selection"])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_a_peer_that_releases_at_once_gets_its_release_and_the_report_later(
    device, archive, shelf, library, role, syntax
):
    one = device(library)
    port = archive({"CT1": one.listen(role=role, syntax=syntax)})
    shelf.put(ONE)
    association = one.associate(port)
    assert one.ask(association) == 0
    association.release()
    assert association.is_released
    assert one.told() == ("listening", 1, "1.2.9", [ONE.sop_instance_uid], [])
    assert archive.told.get(timeout=PATIENCE)[1] == "a new association"


class Raw:
    """A peer by hand, in the context 1 of Explicit VR Little Endian."""

    def __init__(self, connect, port: int, title: str = "CT1") -> None:
        self.client = connect(port)
        self.client.associate({1: (PUSH_MODEL, (EXPLICIT,))}, calling=title)

    def ask(self, transaction: str = "1.2.9", references=(ONE,)) -> None:
        request = NActionRQ(
            message_id=1,
            requested_sop_class_uid=PUSH_MODEL,
            requested_sop_instance_uid=WELL_KNOWN_INSTANCE,
            action_type_id=1,
            has_data_set=True,
        )
        self.client.send_message(1, request, encoded(information(transaction, references)))
        assert self.client.receive_command().status == 0

    def report(self) -> NEventReportRQ:
        """The report that comes; its data set is read."""
        gathered, command = b"", None
        while True:
            pdu = self.client.receive()
            assert isinstance(pdu, DataTF), pdu
            for value in pdu.values:
                if value.is_command:
                    gathered += value.data
                    command = codec.decode(gathered) if value.is_last else None
                elif value.is_last:
                    assert isinstance(command, NEventReportRQ)
                    return command

    def answer(self, report: NEventReportRQ, status: int = 0) -> None:
        response = NEventReportRSP(
            message_id_being_responded_to=report.message_id, affected_sop_class_uid=PUSH_MODEL, status=status
        )
        self.client.send_message(1, response)


def test_a_release_that_crosses_the_report_is_answered_and_the_report_comes_elsewhere(device, archive, shelf, connect):
    listening = device("scpd")
    port = archive({"CT1": listening.listen()})
    shelf.put(ONE)
    raw = Raw(connect, port)
    raw.ask()
    raw.report()
    raw.client.send(ReleaseRQ().encode())
    assert isinstance(raw.client.receive(), ReleaseRP)
    assert listening.told()[0] == "listening"


def test_a_peer_that_answers_late_holds_up_nobody_else(device, archive, shelf, connect):
    port = archive()
    shelf.put(ONE)
    deaf = [Raw(connect, port, f"DEAF{number}") for number in range(3)]
    for number, raw in enumerate(deaf):
        raw.ask(f"1.9.{number}")
    unanswered = [raw.report() for raw in deaf]
    one = device("scpd", "CT2")
    association = one.associate(port)
    assert one.ask(association) == 0
    assert one.told()[0] == "calling"
    for raw, report in zip(deaf, unanswered, strict=True):
        raw.answer(report)
        raw.client.release()
    ways = [archive.told.get(timeout=PATIENCE)[1] for _ in range(4)]
    assert ways == ["the association of the request"] * 4


def test_a_peer_that_does_not_answer_is_told_again_elsewhere(device, archive, shelf, connect, monkeypatch):
    monkeypatch.setattr(reports, "_ANSWER", 0.2)
    listening = device("scpd")
    port = archive({"CT1": listening.listen()})
    shelf.put(ONE)
    raw = Raw(connect, port)
    raw.ask()
    raw.report()
    assert listening.told() == ("listening", 1, "1.2.9", [ONE.sop_instance_uid], [])


def test_the_peer_may_ask_for_something_else_before_it_answers(archive, shelf, connect):
    port = archive()
    shelf.put(ONE)
    raw = Raw(connect, port)
    raw.ask("1.1")
    first = raw.report()
    raw.ask("1.2")
    raw.answer(first)
    second = raw.report()
    raw.answer(second)
    assert first.message_id != second.message_id
    assert {archive.told.get(timeout=PATIENCE)[0].transaction_uid for _ in range(2)} == {"1.1", "1.2"}
    raw.client.release()


def set_aside(queue: Queue) -> str:
    """Why the one job was set aside, once it is."""
    deadline = time.monotonic() + PATIENCE
    while not (found := queue.database.read("SELECT why FROM jobs WHERE state = 'set aside'")):
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
    return found[0][0]


def test_a_stranger_that_has_left_is_set_aside_with_what_to_do(archive, connect, queue, shelf, log):
    raw = Raw(connect, archive(), "CT1\n")
    raw.ask()
    raw.client.release()
    why = set_aside(queue)
    assert "none of peers has this ae_title; add it, then scpd queue retry" in why
    assert "\n" not in why
    assert log.wait("set aside")[0]["hook"] == NAME


@pytest.mark.parametrize(
    ("status", "tries"), [(0x0110, 3), (0x0213, 3), (0x0112, 1), (0x0113, 1), (0xC123, 1)], ids=hex
)
def test_a_report_that_the_peer_refuses_is_set_aside_at_once_or_after_some_tries(
    device, archive, shelf, queue, status, tries
):
    one = device("scpd")
    port = archive({"CT1": one.listen()}, attempts=3)
    one.answer = lambda: status
    association = one.associate(port)
    assert one.ask(association) == 0
    why = set_aside(queue)
    assert f"({status:04X}H)" in why
    assert [one.told()[0] for _ in range(tries)] == ["calling", "listening", "listening"][:tries]
    assert one.heard.empty()


def test_a_peer_that_is_away_is_told_once_it_is_back_and_files_are_read_only_then(
    device, archive, shelf, connect, log, monkeypatch
):
    monkeypatch.setattr(reports, "_AWAY", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        free = reserved.getsockname()[1]
    port = archive({"CT1": free}, attempts=1000)
    shelf.put(ONE)
    raw = Raw(connect, port)
    raw.ask()
    raw.client.release()
    one = device("scpd")
    log.wait("a hook failed", 3)
    looked = len(shelf.asked)
    one.listen(free)
    assert one.told() == ("listening", 1, "1.2.9", [ONE.sop_instance_uid], [])
    assert looked <= 1, "the first look is for the association of the request"


def test_one_try_shows_that_a_peer_is_away_for_all_that_it_is_to_hear(queue, pending, shelf):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        remote = Remote(silent.getsockname()[:2], caller("CT1"))
    target = Reports(pending, {"ARCHIVE": Site(shelf, "ARCHIVE")}, {"CT1": remote})
    jobs = [Job(number, "", NAME, {"server": "ARCHIVE", "calling": "CT1"}, 0) for number in (1, 2)]
    with pytest.raises(Failed, match="cannot connect"):
        target.deliver(jobs[0])
    with pytest.raises(Failed, match="not tried, since it just failed: cannot connect"):
        target.deliver(jobs[1])


def test_a_peer_that_takes_no_reports_fails_in_words(device, queue, pending, shelf):
    ae = AE("CT1")
    ae.add_supported_context("1.2.840.10008.1.1")
    server = ae.start_server(("127.0.0.1", 0), block=False)
    try:
        remote = Remote(server.server_address[:2], caller("CT1"))
        target = Reports(pending, {"ARCHIVE": Site(shelf, "ARCHIVE")}, {"CT1": remote})
        with pytest.raises(Failed, match="takes no reports: abstract syntax not supported"):
            target.deliver(Job(1, "", NAME, {"server": "ARCHIVE", "calling": "CT1"}, 0))
    finally:
        server.shutdown()


def test_an_index_that_is_away_delays_the_report_and_nothing_untrue_is_told(device, archive, shelf, log):
    one = device("scpd")
    port = archive(attempts=1000)
    shelf.put(ONE)
    shelf.away = True
    association = one.associate(port)
    assert one.ask(association) == 0
    assert "the database is locked" in log.wait("a hook failed", 2)[0]["why"]
    shelf.away = False
    assert one.told() == ("calling", 1, "1.2.9", [ONE.sop_instance_uid], [])


def test_what_an_index_has_yet_to_learn_of_is_not_reported_missing(device, archive, shelf, log):
    one = device("scpd")
    port = archive(attempts=1000)
    shelf.is_behind = True
    association = one.associate(port)
    assert one.ask(association) == 0
    assert "does not know yet" in log.wait("a hook failed")[0]["why"]
    shelf.put(ONE)
    assert one.told() == ("calling", 1, "1.2.9", [ONE.sop_instance_uid], [])
    shelf.is_behind = False
    assert one.ask(association, "1.2.10", (TWO,)) == 0
    assert one.told() == ("calling", 2, "1.2.10", [], [(TWO.sop_instance_uid, 0x0112)])


def test_a_duplicate_transaction_fails_whole(device, archive, shelf, pending, queue):
    port = archive(works=False)
    one = device("scpd")
    association = one.associate(port)
    shelf.put(ONE)
    shelf.put(TWO)
    assert one.ask(association, references=(ONE,)) == 0
    assert one.ask(association, references=(TWO,)) == 0
    stop, join = work(queue, pending, shelf)
    try:
        heard = sorted(one.told()[1:] for _ in range(2))
    finally:
        stop()
        join()
    assert heard == [
        (1, "1.2.9", [ONE.sop_instance_uid], []),
        (2, "1.2.9", [], [(TWO.sop_instance_uid, 0x0131)]),
    ]


def test_a_server_that_commits_nothing_any_more_says_so(pending, shelf):
    target = Reports(pending, {}, {})
    with pytest.raises(Failed, match="ARCHIVE commits nothing any more") as failed:
        target.deliver(Job(1, "", NAME, {"server": "ARCHIVE", "calling": "CT1"}, 0))
    assert failed.value.is_final


def test_what_was_promised_is_told_after_a_restart(device, archive, shelf, queue, pending, open_queue):
    one = device("scpd")
    listening = one.listen()
    port = archive(works=False)
    shelf.put(ONE)
    association = one.associate(port)
    assert one.ask(association) == 0
    association.abort()
    settled(queue)
    queue.close(PATIENCE)
    again = open_queue()
    stop, join = work(again, Transactions(again), shelf, {"CT1": listening})
    try:
        assert one.told() == ("listening", 1, "1.2.9", [ONE.sop_instance_uid], [])
    finally:
        stop()
        join()


def test_an_end_is_not_held_up_by_a_peer_that_says_nothing_and_the_report_stays_in_the_queue(
    archive, shelf, queue, pending, connect
):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = archive(works=False)
        raw = Raw(connect, port)
        raw.ask()
        raw.client.release()
        settled(queue)
        shelf.put(ONE, DATA_SET * 10)
        known = {"CT1": Remote(silent.getsockname()[:2], caller("CT1"))}
        target = Reports(pending, {"ARCHIVE": Site(shelf, "ARCHIVE")}, known)
        runner = Runner(queue, Pace(0.05, 0.2))
        runner.adopt(target)
        silent.settimeout(PATIENCE)
        accepted, _ = silent.accept()
        with accepted:
            began = time.monotonic()
            runner.stop()
            runner.join(began)
    assert time.monotonic() - began < PATIENCE / 2
    assert queue.standings()[NAME].waiting == 1


@pytest.mark.parametrize("is_listening", [True, False], ids=["the answer", "the files"])
def test_an_end_ends_what_is_being_done(device, shelf, pending, is_listening):
    one, go_on, begun = device("scpd"), threading.Event(), threading.Event()

    def wait() -> int:
        begun.set()
        go_on.wait(PATIENCE)
        return 0x0000

    if is_listening:
        one.answer = wait
    else:
        shelf.before = wait
    shelf.put(ONE)
    number = pending.begin("ARCHIVE", PEER, Requested("1.2.9", (ONE,)))
    about = {"server": "ARCHIVE", "calling": "CT1", "transaction_uid": "1.2.9", "is_duplicate": False}
    remote = Remote(("127.0.0.1", one.listen()), caller("CT1"))
    target = Reports(pending, {"ARCHIVE": Site(shelf, "ARCHIVE")}, {"CT1": remote})
    with ThreadPoolExecutor(1) as pool:
        delivering = pool.submit(target.deliver, Job(number, "", NAME, about, 0))
        assert begun.wait(PATIENCE)
        target.abandon()
        if not is_listening:
            go_on.set()
        with pytest.raises(Failed, match="ended by this side"):
            delivering.result(PATIENCE)
        go_on.set()
    assert one.heard.qsize() == is_listening
