"""Every DIMSE service through handlers and real sockets, in both directions (PS3.7 9.1, 10.1; PS3.4 B, C, CC, F, H, J).

Most tests run three times with the same handler: scpd with itself, pynetdicom asking scpd, scpd asking pynetdicom.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag

import scpd
from scpd import AE, build_context, build_role, evt
from scpd.ae.event import Event

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore::UserWarning")]

PATIENCE = 20.0
LOCAL = "127.0.0.1"
IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, JPEG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50"
VERIFICATION = "1.2.840.10008.1.1"
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
LEAN_GET = "1.2.840.10008.5.1.4.1.2.5.3"
COMMITMENT, COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
MPPS, PRINTER, SESSION = "1.2.840.10008.3.1.2.3.3", "1.2.840.10008.5.1.1.16", "1.2.840.10008.5.1.1.1"
PRINT_META = "1.2.840.10008.5.1.1.9"
UPS_PUSH, UPS_WATCH, UPS_PULL, UPS_EVENT, UPS_QUERY = (f"1.2.840.10008.5.1.4.34.6.{number}" for number in range(1, 6))
EVERY = (
    *(VERIFICATION, CT, MR, FIND, MOVE, GET, LEAN_GET, COMMITMENT, MPPS, PRINTER, SESSION, PRINT_META),
    *(UPS_PUSH, UPS_WATCH, UPS_PULL, UPS_EVENT, UPS_QUERY),
)
SLICE = get_testdata_file("CT_small.dcm")


class Library:
    """scpd or pynetdicom: the names that both have, and one server for all tests."""

    def __init__(self, module) -> None:
        self.module = module
        self.evt = module.evt
        self.bound: list = []
        entity = module.AE("SERVER")
        for uid in EVERY:
            entity.add_supported_context(uid, [EXPLICIT, IMPLICIT, BIG, JPEG], scu_role=True, scp_role=True)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = PATIENCE
        self.server = entity.start_server((LOCAL, 0), block=False)
        self.port = self.server.server_address[1]

    def handlers(self, handlers) -> list:
        return [(getattr(self.evt, name), handler) for name, handler in handlers.items()]

    def serve(self, **handlers) -> int:
        """Bind by the name of the event; the port."""
        for event, handler in self.handlers(handlers):
            self.server.bind(event, handler)
            self.bound.append((event, handler))
        return self.port

    def forget(self) -> None:
        for event, handler in self.bound:
            self.server.unbind(event, handler)
        self.bound.clear()

    def call(self, port, *contexts, roles=(), title="SCU", called="SERVER", **handlers):
        """An association with these abstract syntaxes, in explicit VR little endian; ``roles``: SCU and SCP."""
        entity = self.module.AE(title)
        for one in contexts:
            abstract, syntax = one if isinstance(one, tuple) else (one, EXPLICIT)
            entity.add_requested_context(abstract, syntax)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = PATIENCE
        proposed = [self.module.build_role(uid, scu_role=True, scp_role=True) for uid in roles]
        assoc = entity.associate(LOCAL, port, ae_title=called, ext_neg=proposed, evt_handlers=self.handlers(handlers))
        assert assoc.is_established
        return assoc if self.module is scpd else Awake(assoc)


class Awake:
    """An association of pynetdicom, asked when its reactor is awake: else it loses an answer that comes at once."""

    def __init__(self, assoc) -> None:
        self.assoc = assoc

    def __getattr__(self, name):
        if name.startswith("send_") and name != "send_c_cancel":  # which goes out while it sleeps
            patience = time.monotonic() + PATIENCE
            while self.assoc._is_paused:
                assert time.monotonic() < patience, "pynetdicom's reactor does not wake up"
                os.sched_yield()
        return getattr(self.assoc, name)


@pytest.fixture(scope="module")
def libraries(peer):
    """Both, by name."""
    found = {"scpd": Library(scpd), "pynetdicom": Library(peer("pynetdicom"))}
    yield found
    found["scpd"].server.shutdown(grace=0.1)
    found["pynetdicom"].server.shutdown()


class Pair:
    """Who asks and who answers."""

    def __init__(self, client: Library, server: Library, stack: ExitStack) -> None:
        self.client = client
        self.server = server
        self._stack = stack

    def serve(self, **handlers) -> int:
        return self.server.serve(**handlers)

    def call(self, port, *contexts, **how):
        assoc = self.client.call(port, *contexts, **how)
        self._stack.callback(lambda: assoc.is_established and assoc.abort())
        return assoc


def _pair(libraries, names: str):
    client, _, server = names.partition(" asks ")
    with ExitStack() as stack:
        yield Pair(libraries[client], libraries[server], stack)
    for library in libraries.values():
        library.forget()


@pytest.fixture(params=["scpd asks scpd", "pynetdicom asks scpd", "scpd asks pynetdicom"])
def pair(libraries, request):
    yield from _pair(libraries, request.param)


@pytest.fixture(params=["scpd asks scpd", "pynetdicom asks scpd"])
def ours(libraries, request):
    """scpd answers."""
    yield from _pair(libraries, request.param)


@pytest.fixture
def both(libraries):
    """scpd asks scpd."""
    yield from _pair(libraries, "scpd asks scpd")


def status(number: int, **elements) -> Dataset:
    made = Dataset()
    made.Status = number
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def instance(uid: str, sop_class: str = CT, syntax: str = EXPLICIT, **elements) -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = sop_class, uid
    made.PatientName, made.PatientID = "Doe^Jane", uid
    for keyword, value in elements.items():
        if keyword == "PixelData":
            made.add_new(Tag(keyword), "OW", value)
        else:
            setattr(made, keyword, value)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    return made


def query(**elements) -> Dataset:
    made = Dataset()
    made.QueryRetrieveLevel = "STUDY"
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def counts(one: Dataset) -> tuple:
    """Status, then remaining, completed, failed and warning sub-operations; None where there is no such count."""
    names = ("Remaining", "Completed", "Failed", "Warning")
    return (one.Status, *(one.get(f"NumberOf{name}Suboperations") for name in names))


def counted(answers) -> list:
    """What came: (counts, identifier) of each. pynetdicom says in a final response, too, how many remain."""
    return [(counts(one), identifier or None) for one, identifier in answers]


def final(answers, *, left: object = None) -> tuple:
    """The counts and the identifier of the last response; ``left`` instead of the number that remains."""
    *_, (last, identifier) = counted(answers)
    return (last[0], left, *last[2:]), identifier


def failed_list(identifier: Dataset | None) -> list[str]:
    found = identifier.FailedSOPInstanceUIDList
    return [found] if found and isinstance(found, str) else list(found or ())


# -- C-ECHO


def test_c_echo_is_answered_by_its_handler_who_sees_the_request(pair):
    seen = []

    def handle(event):
        seen.append(
            (
                event.request.MessageID,
                event.message_id,
                event.request.AffectedSOPClassUID,
                (event.context.context_id, event.context.abstract_syntax, event.context.transfer_syntax),
                event.assoc.requestor.ae_title,
                event.assoc.is_acceptor,
                isinstance(event.timestamp, datetime),
                event.event.name,
            )
        )
        return 0x0000

    assoc = pair.call(pair.serve(EVT_C_ECHO=handle), VERIFICATION)
    assert assoc.send_c_echo(msg_id=77).Status == 0x0000
    assoc.release()
    assert assoc.is_released
    assert seen == [(77, 77, VERIFICATION, (1, VERIFICATION, EXPLICIT), "SCU", True, True, "EVT_C_ECHO")]


@pytest.mark.parametrize("number", [0x0122, 0x0210, 0x0211, 0x0212])
def test_c_echo_gives_the_status_that_its_handler_returns(pair, number):
    assoc = pair.call(pair.serve(EVT_C_ECHO=lambda _: number), VERIFICATION)
    assert assoc.send_c_echo().Status == number


def test_c_echo_is_answered_without_a_handler(pair):
    assert pair.call(pair.serve(), VERIFICATION).send_c_echo().Status == 0x0000


def test_a_status_may_be_a_data_set_with_more_elements(pair):
    handle = lambda _: status(0x0122, ErrorComment="not today")  # noqa: E731
    answer = pair.call(pair.serve(EVT_C_ECHO=handle), VERIFICATION).send_c_echo()
    assert (answer.Status, answer.ErrorComment) == (0x0122, "not today")


# -- C-STORE


def test_c_store_hands_the_instance_to_its_handler(pair):
    seen = {}

    def handle(event):
        seen.update(
            dataset=event.dataset,
            meta=event.file_meta,
            raw=event.request.DataSet.getvalue(),
            context=event.context.transfer_syntax,
            message_id=event.request.MessageID,
            sop_class=event.request.AffectedSOPClassUID,
            sop_instance=event.request.AffectedSOPInstanceUID,
            priority=event.request.Priority,
            originator=(event.request.MoveOriginatorApplicationEntityTitle, event.request.MoveOriginatorMessageID),
        )
        return 0x0000

    sent = dcmread(SLICE)
    assoc = pair.call(pair.serve(EVT_C_STORE=handle), CT)
    answer = assoc.send_c_store(sent, msg_id=3, priority=1, originator_aet="MOVER", originator_id=9)
    assert answer.Status == 0x0000
    assert seen["dataset"] == sent
    assert seen["meta"].MediaStorageSOPClassUID == CT
    assert seen["meta"].MediaStorageSOPInstanceUID == sent.SOPInstanceUID
    assert seen["meta"].TransferSyntaxUID == seen["context"] == EXPLICIT
    assert seen["meta"].ImplementationClassUID
    assert (seen["message_id"], seen["sop_class"], seen["sop_instance"]) == (3, CT, sent.SOPInstanceUID)
    assert (seen["priority"], seen["originator"]) == (1, ("MOVER", 9))
    assert len(seen["raw"]) % 2 == 0


@pytest.mark.parametrize("number", [0x0000, 0xB000, 0xB006, 0xB007, 0xA700, 0xA900, 0xC123, 0x0117, 0x0124])
def test_c_store_gives_the_status_that_its_handler_returns(pair, number):
    assoc = pair.call(pair.serve(EVT_C_STORE=lambda _: number), CT)
    assert assoc.send_c_store(instance("1.2.3")).Status == number
    assert assoc.send_c_store(instance("1.2.4")).Status == number


def test_c_store_status_with_offending_elements(pair):
    handle = lambda _: status(0xA900, OffendingElement=[0x00080016, 0x00080018], ErrorComment="another class")  # noqa: E731
    answer = pair.call(pair.serve(EVT_C_STORE=handle), CT).send_c_store(instance("1.2.3"))
    assert answer.Status == 0xA900
    assert list(answer.OffendingElement) == [Tag(0x00080016), Tag(0x00080018)]
    assert answer.ErrorComment == "another class"


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_c_store_in_every_encoding(pair, syntax):
    seen = []

    def handle(event):
        seen.append((event.dataset.PatientName, event.dataset.Rows, event.context.transfer_syntax))
        return 0x0000

    assoc = pair.call(pair.serve(EVT_C_STORE=handle), (CT, syntax))
    assert assoc.send_c_store(instance("1.2.3", syntax=syntax, Rows=258)).Status == 0x0000
    assert seen == [("Doe^Jane", 258, syntax)]


def test_c_store_of_a_file(pair, tmp_path):
    """The file that ``event.write`` makes of it holds the same, byte for byte; pynetdicom has ``save_as``."""

    def handle(event):
        if isinstance(event, Event):
            event.write(tmp_path / "stored.dcm")
        else:
            (tmp_path / "stored.dcm").write_bytes(event.encoded_dataset())
        return 0x0000

    assoc = pair.call(pair.serve(EVT_C_STORE=handle), CT)
    assert assoc.send_c_store(SLICE).Status == 0x0000
    stored = dcmread(tmp_path / "stored.dcm")
    assert stored == dcmread(SLICE)
    assert stored.file_meta.TransferSyntaxUID == EXPLICIT


def test_compressed_pixels_are_streamed_from_their_file_untouched(both, tmp_path, data_set_bytes):
    path = get_testdata_file("SC_rgb_jpeg_dcmtk.dcm")
    one = dcmread(path, stop_before_pixels=True)
    seen = []

    def handle(event):
        seen.append(event.encoded_dataset(include_meta=False))
        return 0x0000

    entity = AE("OTHER")
    syntax = one.file_meta.TransferSyntaxUID
    entity.add_supported_context(one.SOPClassUID, syntax)
    with entity.start_server((LOCAL, 0), block=False, evt_handlers=[(evt.EVT_C_STORE, handle)]) as server:
        assoc = both.call(server.server_address[1], (one.SOPClassUID, syntax), called="OTHER")
        assert assoc.send_c_store(path).Status == 0x0000
        assoc.release()
    assert seen == [data_set_bytes(path)]


@pytest.fixture
def data_set_bytes():
    """What stands behind the file meta information."""

    def read(path) -> bytes:
        raw = Path(path).read_bytes()
        return raw[144 + int.from_bytes(raw[140:144], "little") :]

    return read


def test_c_store_writes_first_and_decodes_afterwards_or_says_that_it_cannot(both, tmp_path):
    """What streams to the disk is not held: ``dataset`` before ``write()``, or the file."""
    heard = []

    def handle(event):
        name = event.request.AffectedSOPInstanceUID
        if name == "1.2.1":
            heard.append(event.dataset.PatientID)
        event.write(tmp_path / f"{name}.dcm", durable=False)
        try:
            heard.append(event.dataset.PatientID)
        except RuntimeError as error:
            heard.append(str(error))
        return 0x0000

    assoc = both.call(both.serve(EVT_C_STORE=handle), CT)
    for uid in ("1.2.1", "1.2.2"):
        assert assoc.send_c_store(instance(uid)).Status == 0x0000
    assert heard[:2] == ["1.2.1", "1.2.1"]
    assert "read it before write()" in heard[2]
    assert {path.name for path in tmp_path.iterdir()} == {"1.2.1.dcm", "1.2.2.dcm"}


def test_what_a_handler_leaves_unread_is_skipped(both):
    assoc = both.call(both.serve(EVT_C_STORE=lambda _: 0x0000, EVT_C_ECHO=lambda _: 0x0000), CT, VERIFICATION)
    for _ in range(3):
        assert assoc.send_c_store(instance("1.2.3", PixelData=b"\1\2" * 500_000)).Status == 0x0000
        assert assoc.send_c_echo().Status == 0x0000


def test_encoded_dataset_with_and_without_meta(both, tmp_path):
    seen = []

    def handle(event):
        seen.extend((event.encoded_dataset(), event.encoded_dataset(include_meta=False)))
        return 0x0000

    both.call(both.serve(EVT_C_STORE=handle), CT).send_c_store(instance("1.2.3"))
    whole, bare = seen
    assert whole[128:132] == b"DICM"
    assert whole.endswith(bare)
    (tmp_path / "whole.dcm").write_bytes(whole)
    read = dcmread(tmp_path / "whole.dcm")
    assert read.SOPInstanceUID == read.file_meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert read.file_meta.SourceApplicationEntityTitle == "SCU"


# -- C-FIND


def test_c_find_gives_each_identifier_and_ends_with_success(pair):
    asked = []

    def handle(event):
        asked.append((event.identifier.PatientID, event.request.AffectedSOPClassUID, event.is_cancelled))
        for number in range(3):
            yield 0xFF00, query(PatientID="P", StudyInstanceUID=f"1.2.{number}")

    assoc = pair.call(pair.serve(EVT_C_FIND=handle), FIND)
    answers = list(assoc.send_c_find(query(PatientID="P"), FIND))
    assert [one.Status for one, _ in answers] == [0xFF00, 0xFF00, 0xFF00, 0x0000]
    assert [found.StudyInstanceUID for _, found in answers[:3]] == ["1.2.0", "1.2.1", "1.2.2"]
    assert answers[3][1] is None
    assert asked == [("P", FIND, False)]


def test_c_find_without_a_match_is_success_alone(pair):
    def handle(event):
        yield from ()

    answers = list(pair.call(pair.serve(EVT_C_FIND=handle), FIND).send_c_find(query(), FIND))
    assert [(one.Status, found) for one, found in answers] == [(0x0000, None)]


def test_c_find_says_that_optional_keys_are_not_supported(pair):
    def handle(event):
        yield status(0xFF01), query(PatientID="P")
        yield 0x0000, None

    answers = list(pair.call(pair.serve(EVT_C_FIND=handle), FIND).send_c_find(query(), FIND))
    assert [one.Status for one, _ in answers] == [0xFF01, 0x0000]


@pytest.mark.parametrize("number", [0xA700, 0xA900, 0xC001, 0x0122])
def test_c_find_fails_as_its_handler_says_and_what_comes_after_is_not_asked_for(pair, number):
    def handle(event):
        yield 0xFF00, query(PatientID="P")
        yield status(number, ErrorComment="enough"), None
        yield 0xFF00, query(PatientID="Q")

    answers = list(pair.call(pair.serve(EVT_C_FIND=handle), FIND).send_c_find(query(), FIND))
    assert [one.Status for one, _ in answers] == [0xFF00, number]
    assert answers[-1][0].ErrorComment == "enough"
    assert answers[-1][1] is None


def until_cancelled(event) -> None:
    patience = time.monotonic() + PATIENCE
    while not event.is_cancelled:
        assert time.monotonic() < patience, "no C-CANCEL came"
        os.sched_yield()


def test_c_find_is_cancelled_by_message_id(pair):
    """The handler sees ``is_cancelled`` and yields FE00H."""
    closed = threading.Event()

    def handle(event):
        try:
            yield 0xFF00, query(PatientID="P")
            until_cancelled(event)
            yield 0xFE00, None
        finally:
            closed.set()

    assoc = pair.call(pair.serve(EVT_C_FIND=handle), FIND)
    last = None
    for one, _ in assoc.send_c_find(query(), FIND, msg_id=5):
        if last is None:
            assoc.send_c_cancel(5, query_model=FIND)
        last = one.Status
    assert last == 0xFE00
    assert closed.wait(PATIENCE)


def test_c_find_is_cancelled_though_its_handler_does_not_look(both):
    """The iteration ends with the next pending response, and the handler is closed."""
    closed = threading.Event()

    def handle(event):
        try:
            while True:
                yield 0xFF00, query(PatientID="P")
        finally:
            closed.set()

    assoc = both.call(both.serve(EVT_C_FIND=handle), FIND)
    found = []
    for one, _ in assoc.send_c_find(query(), FIND, msg_id=5):
        if not found:
            assoc.send_c_cancel(5, query_model=FIND)
        found.append(one.Status)
    assert found[-1] == 0xFE00
    assert closed.wait(PATIENCE)


def test_who_stops_iterating_has_it_cancelled_and_the_association_goes_on(both):
    closed = threading.Event()

    def handle(event):
        try:
            while not event.is_cancelled:
                yield 0xFF00, query(PatientID="P")
            yield 0xFE00, None
        finally:
            closed.set()

    assoc = both.call(both.serve(EVT_C_FIND=handle), FIND, VERIFICATION)
    for one, found in assoc.send_c_find(query(), FIND):
        assert (one.Status, found.PatientID) == (0xFF00, "P")
        break
    assert closed.wait(PATIENCE)
    assert assoc.send_c_echo().Status == 0x0000
    answers = assoc.send_c_find(query(), FIND, msg_id=2)
    next(answers)
    answers.close()
    assert list(answers) == []
    assert assoc.send_c_echo(msg_id=3).Status == 0x0000


def test_a_cancel_is_for_its_message_id_alone(both):
    def handle(event):
        for number in range(20):
            yield 0xFF00, query(PatientID=str(number))
        yield (0xFE00 if event.is_cancelled else 0x0000), None

    assoc = both.call(both.serve(EVT_C_FIND=handle), FIND)
    assoc.send_c_cancel(1, query_model=FIND)
    (context,) = assoc.accepted_contexts
    assoc.send_c_cancel(2, context_id=context.context_id)
    assert [one.Status for one, _ in assoc.send_c_find(query(), FIND, msg_id=1)][-1] == 0x0000
    assert len(list(assoc.send_c_find(query(), FIND, msg_id=2))) == 21


def test_a_handler_may_return_a_list_instead_of_being_a_generator(both):
    handle = lambda _: [(0xFF00, query(PatientID="P")), (0x0000, None)]  # noqa: E731
    assoc = both.call(both.serve(EVT_C_FIND=handle), FIND)
    assert [one.Status for one, _ in assoc.send_c_find(query(), FIND)] == [0xFF00, 0x0000]


# -- C-GET


def archive(*instances, count=None, ahead=(), after=()):
    """A handler of C-GET, or with ``ahead`` of C-MOVE."""

    def handle(event):
        yield from ahead
        yield len(instances) if count is None else count
        for one in instances:
            yield 0xFF00, one
        yield from after

    return handle


def test_c_get_brings_the_instances_and_counts_them(pair):
    seen = []

    def take(event):
        seen.append((event.dataset.SOPInstanceUID, event.context.abstract_syntax, event.assoc.is_requestor))
        return 0x0000

    handle = archive(instance("1.2.1"), instance("1.2.2", MR), instance("1.2.3"))
    assoc = pair.call(pair.serve(EVT_C_GET=handle), GET, CT, MR, roles=[CT, MR], EVT_C_STORE=take)
    *pending, (last, identifier) = counted(assoc.send_c_get(query(), GET))
    assert seen == [("1.2.1", CT, True), ("1.2.2", MR, True), ("1.2.3", CT, True)]
    assert pending == [((0xFF00, 2, 1, 0, 0), None), ((0xFF00, 1, 2, 0, 0), None), ((0xFF00, 0, 3, 0, 0), None)]
    assert (last[0], *last[2:], identifier) == (0x0000, 3, 0, 0, None)
    assoc.release()
    assert assoc.is_released


def test_c_get_lists_what_failed_and_counts_warnings(pair):
    answers_of = {"1.2.1": 0x0000, "1.2.2": 0xA700, "1.2.3": 0xB000, "1.2.4": 0xC000}
    handle = archive(*map(instance, answers_of))
    take = lambda event: answers_of[event.request.AffectedSOPInstanceUID]  # noqa: E731
    assoc = pair.call(pair.serve(EVT_C_GET=handle), GET, CT, roles=[CT], EVT_C_STORE=take)
    *pending, (last, identifier) = counted(assoc.send_c_get(query(), GET))
    assert [one for one, _ in pending] == [
        (0xFF00, 3, 1, 0, 0),
        (0xFF00, 2, 1, 1, 0),
        (0xFF00, 1, 1, 1, 1),
        (0xFF00, 0, 1, 2, 1),
    ]
    assert (last[0], *last[2:]) == (0xB000, 1, 2, 1)
    assert failed_list(identifier) == ["1.2.2", "1.2.4"]


def test_c_get_fails_where_every_instance_did(pair):
    """A702H (PS3.4 table C.4-3)."""
    handle = archive(instance("1.2.1"), instance("1.2.2"))
    assoc = pair.call(pair.serve(EVT_C_GET=handle), GET, CT, roles=[CT], EVT_C_STORE=lambda _: 0xA700)
    last, identifier = final(assoc.send_c_get(query(), GET))
    assert last == (0xA702, None, 0, 2, 0)
    assert failed_list(identifier) == ["1.2.1", "1.2.2"]


def test_c_get_of_nothing_is_success(pair):
    assoc = pair.call(pair.serve(EVT_C_GET=archive()), GET, CT, roles=[CT], EVT_C_STORE=lambda _: 0x0000)
    ((last, identifier),) = assoc.send_c_get(query(), GET)
    assert (counts(last), identifier) == ((0x0000, None, 0, 0, 0), None)


def test_c_get_counts_as_failed_what_has_no_context_with_the_role(ours):
    """MR was not proposed; CT without the role of SCP for the requestor."""
    for contexts, roles in (((GET, CT), [CT]), ((GET, CT, MR), [CT])):
        handle = archive(instance("1.2.1"), instance("1.2.2", MR))
        assoc = ours.call(ours.serve(EVT_C_GET=handle), *contexts, roles=roles, EVT_C_STORE=lambda _: 0x0000)
        last, identifier = final(assoc.send_c_get(query(), GET))
        assert last == (0xB000, None, 1, 1, 0)
        assert failed_list(identifier) == ["1.2.2"]
        assoc.release()


def test_c_get_of_files_streams_them(both, tmp_path):
    """Paths as text and as Path; one that is missing counts as failed."""
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(Path(SLICE).read_bytes())
    stored = []

    def take(event):
        stored.append(event.encoded_dataset(include_meta=False))
        return 0x0000

    handle = archive(SLICE, copy, tmp_path / "missing.dcm", str(copy))
    assoc = both.call(both.serve(EVT_C_GET=handle), GET, CT, roles=[CT], EVT_C_STORE=take)
    last, _ = final(assoc.send_c_get(query(), GET))
    assert last == (0xB000, None, 3, 1, 0)
    raw = copy.read_bytes()
    assert stored == [raw[144 + int.from_bytes(raw[140:144], "little") :]] * 3


def test_c_get_lists_a_failed_file_by_its_instance(both):
    assoc = both.call(
        both.serve(EVT_C_GET=archive(SLICE, instance("1.2.3"))), GET, CT, roles=[CT], EVT_C_STORE=lambda _: 0xA700
    )
    last, identifier = final(assoc.send_c_get(query(), GET))
    assert last == (0xA702, None, 0, 2, 0)
    assert failed_list(identifier) == [dcmread(SLICE).SOPInstanceUID, "1.2.3"]


def test_c_get_is_cancelled_and_says_what_was_left(pair):
    """The final response alone has the number of remaining sub-operations (PS3.4 C.4.3.1.3)."""

    def handle(event):
        yield 10
        for number in range(10):
            if event.is_cancelled:
                yield 0xFE00, None
                return
            yield 0xFF00, instance(f"1.2.{number}")

    asked = threading.Event()

    def take(event):
        if not asked.is_set():
            asked.set()
            event.assoc.send_c_cancel(6, query_model=GET)
        return 0x0000

    assoc = pair.call(pair.serve(EVT_C_GET=handle), GET, CT, roles=[CT], EVT_C_STORE=take)
    *_, ((number, remaining, completed, failed, warning), _) = counted(assoc.send_c_get(query(), GET, msg_id=6))
    assert number == 0xFE00
    assert (failed, warning) == (0, 0)
    assert remaining > 0
    assert remaining + completed == 10


def test_c_get_is_cancelled_though_its_handler_does_not_look(both):
    closed, cancelled = threading.Event(), threading.Event()

    def store(event):
        """What is sent of its own accord must not be through before anybody has said that it is enough."""
        if event.request.AffectedSOPInstanceUID != "1.2.0":
            cancelled.wait(PATIENCE)
        return 0x0000

    def handle(event):
        try:
            yield 10
            for number in range(10):
                yield 0xFF00, instance(f"1.2.{number}")
        finally:
            closed.set()

    assoc = both.call(both.serve(EVT_C_GET=handle), GET, CT, roles=[CT], EVT_C_STORE=store)
    answers = assoc.send_c_get(query(), GET, msg_id=6)
    next(answers)
    assoc.send_c_cancel(6, query_model=GET)
    cancelled.set()
    *_, (last, identifier) = answers
    assert last.Status == 0xFE00
    assert last.NumberOfRemainingSuboperations + last.NumberOfCompletedSuboperations == 10
    assert failed_list(identifier) == []
    assert closed.wait(PATIENCE)


@pytest.mark.parametrize("number", [0xA701, 0xA900, 0xC001])
def test_c_get_fails_as_its_handler_says_and_what_was_left_counts_as_failed(pair, number):
    listed = Dataset()
    listed.FailedSOPInstanceUIDList = ["1.2.8", "1.2.9"]

    def handle(event):
        yield 3
        yield 0xFF00, instance("1.2.1")
        yield number, listed

    assoc = pair.call(pair.serve(EVT_C_GET=handle), GET, CT, roles=[CT], EVT_C_STORE=lambda _: 0x0000)
    last, identifier = final(assoc.send_c_get(query(), GET))
    assert last == (number, None, 1, 2, 0)
    assert failed_list(identifier) == ["1.2.8", "1.2.9"]


def test_c_get_that_yields_fewer_than_announced_counts_the_rest_as_failed(both):
    handle = archive(instance("1.2.1"), count=3)
    assoc = both.call(both.serve(EVT_C_GET=handle), GET, CT, roles=[CT], EVT_C_STORE=lambda _: 0x0000)
    last, identifier = final(assoc.send_c_get(query(), GET))
    assert last == (0xB000, None, 1, 2, 0)
    assert failed_list(identifier) == []


def test_c_get_that_yields_more_than_announced_ends_with_those_announced(both):
    handle = archive(instance("1.2.1"), instance("1.2.2"), count=1)
    assoc = both.call(both.serve(EVT_C_GET=handle), GET, CT, roles=[CT], EVT_C_STORE=lambda _: 0x0000)
    assert [counts(one) for one, _ in assoc.send_c_get(query(), GET)] == [(0xFF00, 0, 1, 0, 0), (0x0000, None, 1, 0, 0)]


def test_c_get_without_bulk_data_leaves_out_the_pixels(both):
    """PS3.4 annex Z: data sets and files lose pixel data, and nothing else."""
    seen = []

    def take(event):
        seen.append(event.dataset)
        return 0x0000

    handle = archive(instance("1.2.1", PixelData=b"\1\2", Rows=1), SLICE)
    assoc = both.call(both.serve(EVT_C_GET=handle), LEAN_GET, CT, roles=[CT], EVT_C_STORE=take)
    last, _ = final(assoc.send_c_get(query(), LEAN_GET))
    assert last == (0x0000, None, 2, 0, 0)
    whole = dcmread(SLICE)
    del whole.PixelData
    assert seen == [instance("1.2.1", Rows=1), whole]


def test_the_number_that_remains_is_told_by_pending_and_cancel_alone(both):
    """PS3.4 C.4.3.1.3, table C.4-3."""
    for given, expected in (
        (archive(instance("1.2.1"), instance("1.2.2")), 0x0000),
        (archive(instance("1.2.1"), instance("1.2.2", MR)), 0xB000),
        (archive(instance("1.2.1"), count=3, after=[(0xA701, None)]), 0xA701),
    ):
        assoc = both.call(both.serve(EVT_C_GET=given), GET, CT, roles=[CT], EVT_C_STORE=lambda _: 0x0000)
        *pending, (last, _) = counted(assoc.send_c_get(query(), GET))
        assert None not in pending[0][0]
        assert last[:2] == (expected, None)
        assoc.release()


def test_c_get_without_bulk_data_leaves_the_handlers_data_set_alone(both):
    whole = instance("1.2.1", PixelData=b"\1\2", Rows=1)
    assoc = both.call(both.serve(EVT_C_GET=archive(whole)), LEAN_GET, CT, roles=[CT], EVT_C_STORE=lambda _: 0x0000)
    list(assoc.send_c_get(query(), LEAN_GET))
    assert "PixelData" in whole


def test_each_status_is_a_data_set_of_its_own(both):
    """What one response carried is not in another, nor what a program puts into it."""
    comments = iter(["first", "second"])
    handle = lambda _: status(0x0122, ErrorComment=comment) if (comment := next(comments, "")) else 0x0122  # noqa: E731
    assoc = both.call(both.serve(EVT_C_ECHO=handle), VERIFICATION)
    first, second, third = (assoc.send_c_echo(msg_id=number) for number in range(1, 4))
    assert [one.get("ErrorComment") for one in (first, second, third)] == ["first", "second", None]


# -- C-MOVE


class Destination:
    """Where instances go: what came there, and what it answers by instance."""

    def __init__(self, module) -> None:
        self.seen: list = []
        self.answers: dict = {}
        entity = module.AE("STORE")
        entity.require_called_aet = True
        for uid in (CT, MR):
            entity.add_supported_context(uid, [EXPLICIT, IMPLICIT])
        self.server = entity.start_server((LOCAL, 0), block=False, evt_handlers=[(module.evt.EVT_C_STORE, self._take)])
        self.port = self.server.server_address[1]

    def _take(self, event):
        request, uid = event.request, event.dataset.SOPInstanceUID
        originator = request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID
        self.seen.append((uid, *originator))
        return self.answers.get(uid, 0x0000)


@pytest.fixture(scope="module")
def destinations(libraries):
    """One of each library: pynetdicom's own C-STORE loses answers that come at once, and nobody can wait for it there."""
    made = {library: Destination(library.module) for library in libraries.values()}
    yield made
    for destination in made.values():
        destination.server.shutdown()


@pytest.fixture
def destination(destinations):
    """(port, what came, what it answers) of the destination for a server's library."""

    def of(library):
        one = destinations[library]
        one.seen.clear()
        one.answers.clear()
        return one.port, one.seen, one.answers

    return of


def way(library: Library, port: int) -> tuple:
    """The destination as handlers of C-MOVE yield it."""
    return LOCAL, port, {"contexts": [library.module.build_context(uid, EXPLICIT) for uid in (CT, MR)]}


def test_c_move_sends_the_instances_to_their_destination(pair, destination):
    """Its AE title is that of the request, and each C-STORE names who asked, and with which message."""
    port, seen, _ = destination(pair.server)
    asked = []

    def handle(event):
        asked.append((event.move_destination, event.identifier.QueryRetrieveLevel))
        yield way(pair.server, port)
        yield 2
        yield 0xFF00, instance("1.2.1")
        yield 0xFF00, instance("1.2.2", MR)

    assoc = pair.call(pair.serve(EVT_C_MOVE=handle), MOVE)
    *pending, (last, _) = counted(assoc.send_c_move(query(), "STORE", MOVE, msg_id=21))
    assert asked == [("STORE", "STUDY")]
    originator = "SCU" if pair.server.module is scpd else "SERVER"  # pynetdicom names itself
    assert seen == [("1.2.1", originator, 21), ("1.2.2", originator, 21)]
    assert [one for one, _ in pending] == [(0xFF00, 1, 1, 0, 0), (0xFF00, 0, 2, 0, 0)]
    assert (last[0], *last[2:]) == (0x0000, 2, 0, 0)


def test_c_move_lists_what_failed_and_counts_warnings(pair, destination):
    port, _, answers_of = destination(pair.server)
    answers_of.update({"1.2.2": 0xA700, "1.2.3": 0xB007})
    handle = archive(*map(instance, ("1.2.1", "1.2.2", "1.2.3")), ahead=[way(pair.server, port)])
    last, identifier = final(pair.call(pair.serve(EVT_C_MOVE=handle), MOVE).send_c_move(query(), "STORE", MOVE))
    assert last == (0xB000, None, 1, 1, 1)
    assert failed_list(identifier) == ["1.2.2"]


def test_c_move_to_nobody_is_a801(pair):
    handle = archive(instance("1.2.1"), ahead=[(None, None)])
    ((last, identifier),) = pair.call(pair.serve(EVT_C_MOVE=handle), MOVE).send_c_move(query(), "NOWHERE", MOVE)
    assert last.Status == 0xA801
    assert not identifier


def test_c_move_to_a_destination_that_does_not_answer_is_a801(pair, free_port):
    handle = archive(instance("1.2.1"), ahead=[way(pair.server, free_port)])
    *_, (last, _) = pair.call(pair.serve(EVT_C_MOVE=handle), MOVE).send_c_move(query(), "STORE", MOVE)
    assert last.Status == 0xA801


def test_c_move_to_a_destination_that_rejects_the_association_is_a801(pair, destination):
    port, seen, _ = destination(pair.server)
    handle = archive(instance("1.2.1"), ahead=[way(pair.server, port)])
    *_, (last, _) = pair.call(pair.serve(EVT_C_MOVE=handle), MOVE).send_c_move(query(), "WRONG", MOVE)
    assert last.Status == 0xA801
    assert seen == []


def test_c_move_of_nothing_calls_nobody(both, free_port):
    handle = archive(ahead=[way(both.server, free_port)])
    ((last, _),) = both.call(both.serve(EVT_C_MOVE=handle), MOVE).send_c_move(query(), "STORE", MOVE)
    assert counts(last) == (0x0000, None, 0, 0, 0)


def test_c_move_is_cancelled_and_says_what_was_left(pair, destination):
    port, seen, _ = destination(pair.server)

    def handle(event):
        yield way(pair.server, port)
        yield 50
        for number in range(50):
            if event.is_cancelled:
                yield 0xFE00, None
                return
            yield 0xFF00, instance(f"1.2.{number}")

    assoc = pair.call(pair.serve(EVT_C_MOVE=handle), MOVE)
    last = None
    for one, _ in assoc.send_c_move(query(), "STORE", MOVE, msg_id=8):
        if last is None:
            assoc.send_c_cancel(8, query_model=MOVE)
        last = one
    assert last.Status == 0xFE00
    assert last.NumberOfCompletedSuboperations == len(seen) < 50
    assert last.NumberOfRemainingSuboperations == 50 - len(seen)


def test_c_move_of_files(both, destination):
    port, seen, _ = destination(both.server)
    handle = archive(SLICE, Path(SLICE), ahead=[(LOCAL, port, {"contexts": [build_context(CT, EXPLICIT)]})])
    last, _ = final(both.call(both.serve(EVT_C_MOVE=handle), MOVE).send_c_move(query(), "STORE", MOVE))
    assert last == (0x0000, None, 2, 0, 0)
    assert len(seen) == 2


def test_c_move_goes_in_the_requested_contexts_of_the_ae_unless_told(libraries, destination):
    port, seen, _ = destination(libraries["scpd"])
    entity = AE("MOVER")
    entity.add_supported_context(MOVE)
    entity.add_requested_context(CT, EXPLICIT)
    handle = archive(instance("1.2.1"), ahead=[(LOCAL, port)])
    with entity.start_server((LOCAL, 0), block=False, evt_handlers=[(evt.EVT_C_MOVE, handle)]) as server:
        with AE().associate(LOCAL, server.server_address[1], contexts=[build_context(MOVE)]) as assoc:
            last, _ = final(assoc.send_c_move(query(), "STORE", MOVE, msg_id=4))
    assert last == (0x0000, None, 1, 0, 0)
    assert seen == [("1.2.1", "SCPD", 4)]


# -- DIMSE-N


def attributes(**elements) -> Dataset:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def test_n_create_makes_the_named_instance(pair):
    seen = []

    def handle(event):
        request = event.request
        seen.append((request.AffectedSOPClassUID, request.AffectedSOPInstanceUID, event.attribute_list.PatientID))
        return 0x0000, attributes(PatientID="P", Modality="CT")

    assoc = pair.call(pair.serve(EVT_N_CREATE=handle), MPPS)
    answer, made = assoc.send_n_create(attributes(PatientID="P"), MPPS, "1.2.3")
    assert answer.Status == 0x0000
    if pair.client.module is scpd:
        assert answer.AffectedSOPInstanceUID == "1.2.3"
    assert (made.PatientID, made.Modality) == ("P", "CT")
    assert seen == [(MPPS, "1.2.3", "P")]


@pytest.mark.parametrize(
    "given",
    [
        lambda: (0x0000, attributes(AffectedSOPInstanceUID="1.2.7", PatientID="P")),
        lambda: (status(0x0000, AffectedSOPInstanceUID="1.2.7"), None),
    ],
    ids=["in the Attribute List", "in the status"],
)
def test_n_create_of_a_nameless_instance_is_named_by_the_handler(pair, given, request):
    """The UID goes to the response's command set (PS3.7 10.1.5.1.4); pynetdicom takes it from the list alone."""
    if pair.server.module is not scpd and "status" in request.node.name:
        return  # there it means nothing
    heard = []
    port = pair.serve(EVT_N_CREATE=lambda _: given())
    assoc = pair.call(port, SESSION, EVT_DIMSE_RECV=heard.append)
    answer, made = assoc.send_n_create(attributes(PatientID="P"), SESSION)
    assert answer.Status == 0x0000
    (event,) = heard
    command_set = event.message.command_set
    assert command_set.AffectedSOPInstanceUID == "1.2.7"
    if pair.client.module is scpd:
        assert answer.AffectedSOPInstanceUID == "1.2.7"
        assert "AffectedSOPInstanceUID" not in made


def test_n_create_leaves_the_handlers_data_set_alone(both):
    given = attributes(AffectedSOPInstanceUID="1.2.7", PatientID="P")
    both.call(both.serve(EVT_N_CREATE=lambda _: (0x0000, given)), SESSION).send_n_create(None, SESSION)
    assert given.AffectedSOPInstanceUID == "1.2.7"


def test_n_create_without_an_attribute_list_either_way(pair):
    seen = []

    def handle(event):
        seen.append(len(event.attribute_list))
        return 0x0000, None

    answer, made = pair.call(pair.serve(EVT_N_CREATE=handle), SESSION).send_n_create(None, SESSION, "1.2.3")
    assert (answer.Status, len(made or ())) == (0x0000, 0)
    assert seen == [0]


def test_n_set_changes_attributes(pair):
    seen = []

    def handle(event):
        seen.append((event.request.RequestedSOPInstanceUID, event.modification_list.PatientID))
        return status(0x0107, ErrorComment="some"), attributes(PatientID="Q")

    answer, left = pair.call(pair.serve(EVT_N_SET=handle), MPPS).send_n_set(attributes(PatientID="P"), MPPS, "1.2.3")
    assert (answer.Status, answer.ErrorComment, left.PatientID) == (0x0107, "some", "Q")
    assert seen == [("1.2.3", "P")]


@pytest.mark.parametrize("tags", [[], [0x00100010], [0x00100010, (0x0010, 0x0020), Tag("Modality")]])
def test_n_get_asks_for_attributes_by_tag(pair, tags):
    seen = []

    def handle(event):
        seen.append((event.request.RequestedSOPInstanceUID, list(event.attribute_identifiers)))
        return 0x0000, attributes(PatientID="P")

    assoc = pair.call(pair.serve(EVT_N_GET=handle), PRINTER)
    answer, found = assoc.send_n_get([Tag(tag) for tag in tags], PRINTER, "1.2.840.10008.5.1.1.17")
    assert (answer.Status, found.PatientID) == (0x0000, "P")
    assert seen == [("1.2.840.10008.5.1.1.17", [Tag(tag) for tag in tags])]


def test_n_action_has_a_type_and_information(pair):
    seen = []

    def handle(event):
        seen.append((event.action_type, event.action_information.TransactionUID, event.request.ActionTypeID))
        return 0x0000, attributes(TransactionUID="1.2.9")

    assoc = pair.call(pair.serve(EVT_N_ACTION=handle), COMMITMENT)
    answer, reply = assoc.send_n_action(attributes(TransactionUID="1.2.8"), 1, COMMITMENT, COMMITMENT_INSTANCE)
    assert (answer.Status, reply.TransactionUID) == (0x0000, "1.2.9")
    assert seen == [(1, "1.2.8", 1)]


def test_n_action_without_information(pair):
    handle = lambda event: (0x0000 if not event.action_information else 0x0110, None)  # noqa: E731
    answer, reply = pair.call(pair.serve(EVT_N_ACTION=handle), SESSION).send_n_action(None, 1, SESSION, "1.2.3")
    assert (answer.Status, len(reply or ())) == (0x0000, 0)


def test_n_delete(pair):
    seen = []

    def handle(event):
        seen.append(event.request.RequestedSOPInstanceUID)
        return 0x0112 if len(seen) > 1 else 0x0000

    assoc = pair.call(pair.serve(EVT_N_DELETE=handle), SESSION)
    assert assoc.send_n_delete(SESSION, "1.2.3").Status == 0x0000
    assert assoc.send_n_delete(SESSION, "1.2.3").Status == 0x0112
    assert seen == ["1.2.3", "1.2.3"]


def test_n_event_report_has_a_type_and_information(pair):
    seen = []

    def handle(event):
        seen.append((event.event_type, event.event_information.TransactionUID, event.request.EventTypeID))
        return 0x0000, attributes(TransactionUID="1.2.9")

    assoc = pair.call(pair.serve(EVT_N_EVENT_REPORT=handle), COMMITMENT)
    answer, reply = assoc.send_n_event_report(attributes(TransactionUID="1.2.8"), 2, COMMITMENT, COMMITMENT_INSTANCE)
    assert (answer.Status, reply.TransactionUID) == (0x0000, "1.2.9")
    assert seen == [(2, "1.2.8", 2)]


@pytest.mark.parametrize(
    ("event", "ask"),
    [
        ("EVT_N_CREATE", lambda assoc: assoc.send_n_create(attributes(PatientID="P"), MPPS, "1.2.3")),
        ("EVT_N_SET", lambda assoc: assoc.send_n_set(attributes(PatientID="P"), MPPS, "1.2.3")),
        ("EVT_N_GET", lambda assoc: assoc.send_n_get([], PRINTER, "1.2.3")),
        ("EVT_N_ACTION", lambda assoc: assoc.send_n_action(None, 1, SESSION, "1.2.3")),
        ("EVT_N_EVENT_REPORT", lambda assoc: assoc.send_n_event_report(None, 1, COMMITMENT, "1.2.3")),
    ],
)
def test_a_failure_of_a_dimse_n_service_carries_no_data_set(pair, event, ask):
    handle = lambda _: (0x0112, attributes(PatientID="P"))  # noqa: E731
    assoc = pair.call(pair.serve(**{event: handle}), MPPS, PRINTER, SESSION, COMMITMENT)
    answer, data = ask(assoc)
    assert (answer.Status, data) == (0x0112, None)


def test_storage_commitment_is_reported_over_the_association_that_asked_for_it(ours):
    """The handler of the N-ACTION asks the requestor, whose handler answers while its own N-ACTION is under way."""
    heard = []

    def act(event):
        answer, _ = event.assoc.send_n_event_report(
            attributes(TransactionUID=event.action_information.TransactionUID), 1, COMMITMENT, COMMITMENT_INSTANCE
        )
        return answer.Status, None

    def report(event):
        heard.append((event.event_type, event.event_information.TransactionUID, event.assoc.is_requestor))
        return 0x0000, None

    assoc = ours.call(ours.serve(EVT_N_ACTION=act), COMMITMENT, EVT_N_EVENT_REPORT=report)
    answer, _ = assoc.send_n_action(attributes(TransactionUID="1.2.8"), 1, COMMITMENT, COMMITMENT_INSTANCE)
    assert answer.Status == 0x0000
    assert heard == [(1, "1.2.8", True)]
    assoc.release()


def test_the_meta_sop_class_says_which_context_is_used(pair):
    """Print management: the film session goes over the context of its meta SOP class (PS3.4 H.4)."""
    seen = []

    def create(event):
        seen.append((event.context.abstract_syntax, event.request.AffectedSOPClassUID))
        return 0x0000, None

    def delete(event):
        seen.append((event.context.abstract_syntax, event.request.RequestedSOPClassUID))
        return 0x0000

    assoc = pair.call(pair.serve(EVT_N_CREATE=create, EVT_N_DELETE=delete), PRINT_META)
    answer, _ = assoc.send_n_create(attributes(NumberOfCopies="1"), SESSION, "1.2.3", meta_uid=PRINT_META)
    assert answer.Status == 0x0000
    assert assoc.send_n_delete(SESSION, "1.2.3", meta_uid=PRINT_META).Status == 0x0000
    assert seen == [(PRINT_META, SESSION)] * 2


@pytest.mark.parametrize("accepted", [UPS_PUSH, UPS_WATCH, UPS_PULL])
def test_a_ups_is_of_the_push_class_over_the_context_of_any_ups_class(pair, accepted):
    """PS3.4 CC.2: every instance is of the UPS Push SOP Class, whichever SOP class was negotiated."""
    seen = []

    def handle(event):
        seen.append((event.context.abstract_syntax, event.request.RequestedSOPClassUID))
        return 0x0000, None

    assoc = pair.call(pair.serve(EVT_N_GET=handle), accepted)
    answer, _ = assoc.send_n_get([0x00741000], UPS_PUSH, "1.2.3")
    assert answer.Status == 0x0000
    assert seen == [(accepted, UPS_PUSH)]


def test_a_ups_event_is_reported_over_the_context_of_the_event_class(pair):
    seen = []

    def handle(event):
        seen.append((event.context.abstract_syntax, event.request.AffectedSOPClassUID, event.event_type))
        return 0x0000, None

    assoc = pair.call(pair.serve(EVT_N_EVENT_REPORT=handle), UPS_EVENT)
    answer, _ = assoc.send_n_event_report(attributes(ProcedureStepState="SCHEDULED"), 1, UPS_PUSH, "1.2.3")
    assert answer.Status == 0x0000
    assert seen == [(UPS_EVENT, UPS_PUSH, 1)]


def test_a_ups_worklist_is_found_over_the_query_class(pair):
    def handle(event):
        yield 0xFF00, attributes(SOPInstanceUID="1.2.3")

    answers = list(
        pair.call(pair.serve(EVT_C_FIND=handle), UPS_QUERY).send_c_find(attributes(SOPInstanceUID=""), UPS_QUERY)
    )
    assert [one.Status for one, _ in answers] == [0xFF00, 0x0000]


# -- events and what they have not


def test_an_event_has_what_its_request_has_and_nothing_else(both):
    """AttributeError names the event and the attribute, as for a class that never had it."""
    names = (
        *("dataset", "file_meta", "identifier", "move_destination", "event_information", "event_type"),
        *("attribute_identifiers", "modification_list", "action_information", "action_type", "attribute_list"),
    )
    seen = []

    def look(event):
        missing = [name for name in names if not hasattr(event, name)]
        seen.append((event.event.name, [name for name in names if name not in missing]))

    def single(event):
        look(event)
        try:
            event.write("/nowhere")
        except AttributeError as error:
            seen.append(str(error))
        return 0x0000

    def pair_of(event):
        look(event)
        return 0x0000, None

    def several(event):
        look(event)
        yield 0x0000, None

    def counting(event):
        look(event)
        yield 0

    def moving(event):
        look(event)
        yield None, None

    both.serve(EVT_C_ECHO=single, EVT_N_DELETE=single, EVT_C_FIND=several, EVT_C_GET=counting, EVT_C_MOVE=moving)
    both.serve(**{f"EVT_N_{name}": pair_of for name in ("CREATE", "SET", "GET", "ACTION", "EVENT_REPORT")})
    port = both.serve(EVT_C_STORE=lambda event: look(event) or 0x0000)
    assoc = both.call(port, VERIFICATION, CT, FIND, GET, MOVE, MPPS)
    assoc.send_c_echo()
    assoc.send_c_store(instance("1.2.3"))
    list(assoc.send_c_find(query(), FIND))
    list(assoc.send_c_get(query(), GET))
    list(assoc.send_c_move(query(), "STORE", MOVE))
    assoc.send_n_create(None, MPPS, "1.2.3")
    assoc.send_n_set(Dataset(), MPPS, "1.2.3")
    assoc.send_n_get([], MPPS, "1.2.3")
    assoc.send_n_action(None, 1, MPPS, "1.2.3")
    assoc.send_n_event_report(None, 1, MPPS, "1.2.3")
    assoc.send_n_delete(MPPS, "1.2.3")
    assert seen == [
        ("EVT_C_ECHO", []),
        "an event EVT_C_ECHO has no write",
        ("EVT_C_STORE", ["dataset", "file_meta"]),
        ("EVT_C_FIND", ["identifier"]),
        ("EVT_C_GET", ["identifier"]),
        ("EVT_C_MOVE", ["identifier", "move_destination"]),
        ("EVT_N_CREATE", ["attribute_list"]),
        ("EVT_N_SET", ["modification_list"]),
        ("EVT_N_GET", ["attribute_identifiers"]),
        ("EVT_N_ACTION", ["action_information", "action_type"]),
        ("EVT_N_EVENT_REPORT", ["event_information", "event_type"]),
        ("EVT_N_DELETE", []),
        "an event EVT_N_DELETE has no write",
    ]


def test_a_request_has_the_keywords_of_the_standard_and_names_what_it_has_not(both):
    seen = []

    def handle(event):
        seen.append(event.request)
        return 0x0000

    both.call(both.serve(EVT_C_ECHO=handle), VERIFICATION).send_c_echo(msg_id=9)
    (request,) = seen
    assert {"MessageID", "AffectedSOPClassUID", "CommandDataSetType"} <= set(dir(request))
    assert request.MessageID == 9
    with pytest.raises(AttributeError, match="C-ECHO request has no AffectedSOPInstanceUID"):
        str(request.AffectedSOPInstanceUID)
    with pytest.raises(AttributeError, match="C-ECHO request has no DataSet"):
        str(request.DataSet)


def test_an_acceptors_handler_asks_its_peer_while_the_peer_waits(both):
    """A C-STORE back to the requestor, from the handler of its C-ECHO."""
    seen = []

    def handle(event):
        return event.assoc.send_c_store(instance("1.2.3")).Status

    def take(event):
        seen.append(event.dataset.SOPInstanceUID)
        return 0xB000

    assoc = both.call(both.serve(EVT_C_ECHO=handle), VERIFICATION, CT, roles=[CT], EVT_C_STORE=take)
    assert assoc.send_c_echo().Status == 0xB000
    assert seen == ["1.2.3"]


# -- DCMTK


def run(*command) -> str:
    """A program to its end; both its outputs."""
    done = subprocess.run(
        list(map(str, command)),
        check=False,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return f"{done.stdout.decode(errors='replace')}\nexit {done.returncode}"


@pytest.fixture
def dcmtk(libraries, peer):
    """Bind handlers in scpd's server, then call it: ``dcmtk("echoscu", "-v")``."""
    ours = libraries["scpd"]

    def call(program, *arguments, called="SERVER"):
        return run(peer(program), "-aec", called, *arguments, LOCAL, ours.port)

    call.serve = ours.serve
    yield call
    ours.forget()


def test_echoscu(dcmtk):
    dcmtk.serve(EVT_C_ECHO=lambda _: 0x0000)
    assert "exit 0" in dcmtk("echoscu", "--repeat", "3")


def test_storescu(dcmtk, peer, tmp_path):

    def handle(event):
        event.write(tmp_path / f"{event.request.AffectedSOPInstanceUID}.dcm")
        return 0x0000

    port = dcmtk.serve(EVT_C_STORE=handle)
    out = run(peer("storescu"), "-aec", "SERVER", LOCAL, port, SLICE)
    assert "exit 0" in out
    (stored,) = map(dcmread, tmp_path.iterdir())
    sent = dcmread(SLICE)
    assert (stored.PatientName, stored.SOPInstanceUID) == (sent.PatientName, sent.SOPInstanceUID)
    assert stored.PixelData == sent.PixelData
    assert stored.file_meta.TransferSyntaxUID in (EXPLICIT, IMPLICIT)


def test_storescu_is_told_the_handlers_status(dcmtk, peer):
    port = dcmtk.serve(EVT_C_STORE=lambda _: status(0xA700, ErrorComment="no room"))
    assert "Refused" in run(peer("storescu"), "-v", LOCAL, port, SLICE)


def test_findscu_prints_what_the_handler_finds(dcmtk):
    def handle(event):
        for number in range(3):
            yield 0xFF00, query(PatientID=f"{event.identifier.PatientID}{number}")

    dcmtk.serve(EVT_C_FIND=handle)
    out = dcmtk("findscu", "-v", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=PAT")
    assert [f"PAT{number}" in out for number in range(3)] == [True] * 3
    assert "exit 0" in out


def test_findscu_cancels_after_as_many_as_it_wants(dcmtk):
    ended = []

    def handle(event):
        try:
            while not event.is_cancelled:
                yield 0xFF00, query(PatientID="P")
            ended.append("cancelled")
            yield 0xFE00, None
        finally:
            ended.append("closed")

    dcmtk.serve(EVT_C_FIND=handle)
    out = dcmtk("findscu", "-v", "-S", "--cancel", "3", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID")
    assert "Cancel" in out
    assert ended == ["cancelled", "closed"]


def test_getscu_stores_what_the_handler_sends(dcmtk, tmp_path):
    dcmtk.serve(EVT_C_GET=archive(SLICE, instance("1.2.3.1")))
    out = dcmtk("getscu", "-v", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1", "-od", tmp_path)
    assert "exit 0" in out
    assert {dcmread(path).SOPInstanceUID for path in tmp_path.iterdir()} == {dcmread(SLICE).SOPInstanceUID, "1.2.3.1"}


def test_movescu_receives_its_own_move(dcmtk, tmp_path, free_port):
    def handle(event):
        assert event.move_destination == "MOVESCU"
        yield LOCAL, free_port, {"contexts": [build_context(CT, [EXPLICIT, IMPLICIT])]}
        yield 2
        yield 0xFF00, instance("1.2.3.1")
        yield 0xFF00, SLICE

    dcmtk.serve(EVT_C_MOVE=handle)
    out = dcmtk(
        *("movescu", "-v", "-S", "+P", free_port, "-aem", "MOVESCU", "-od", tmp_path),
        *("-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1"),
    )
    assert "exit 0" in out
    assert {dcmread(path).SOPInstanceUID for path in tmp_path.iterdir()} == {dcmread(SLICE).SOPInstanceUID, "1.2.3.1"}


def test_movescu_is_told_that_its_destination_is_unknown(dcmtk):
    dcmtk.serve(EVT_C_MOVE=archive(instance("1.2.3"), ahead=[(None, None)]))
    out = dcmtk(
        *("movescu", "-v", "-S", "-aem", "NOWHERE", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1"),
    )
    assert "MoveDestinationUnknown" in out


def test_storescp_takes_what_send_c_store_sends(peer, tmp_path, free_port):
    """Data sets and files, over one association."""
    program = subprocess.Popen(
        [peer("storescp"), "-v", "-od", str(tmp_path), str(free_port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        entity = AE()
        entity.add_requested_context(CT, [EXPLICIT, IMPLICIT])
        assoc = entity.associate(LOCAL, free_port)
        patience = time.monotonic() + PATIENCE
        while not assoc.is_established and time.monotonic() < patience:
            os.sched_yield()
            assoc = entity.associate(LOCAL, free_port)
        with assoc:
            assert assoc.send_c_store(SLICE).Status == 0x0000
            assert assoc.send_c_store(instance("1.2.3.1")).Status == 0x0000
    finally:
        program.terminate()
        program.communicate(timeout=PATIENCE)
    assert {dcmread(path).SOPInstanceUID for path in tmp_path.iterdir()} == {dcmread(SLICE).SOPInstanceUID, "1.2.3.1"}


def test_build_role_is_the_ecosystems(both):
    role = build_role(CT, scp_role=True)
    assert (role.sop_class_uid, role.scu_role, role.scp_role) == (CT, False, True)
