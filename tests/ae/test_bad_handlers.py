"""Handlers that raise, return nonsense or catch everything, and peers that vanish or lie meanwhile.

The peer gets the failure of the service, the log the traceback with the association's ID, and the association goes on.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest
import structlog
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from scpd import AE, build_context, build_role, evt
from scpd.ae import data, handling, server, statuses
from scpd.dimse import codec
from scpd.dimse.command import (
    CEchoRQ,
    CFindRQ,
    CGetRQ,
    CMoveRQ,
    CStoreRQ,
    NActionRQ,
    NCreateRQ,
    NDeleteRQ,
    NEventReportRQ,
    NGetRQ,
    NSetRQ,
)
from scpd.wire.pdu import Abort, DataTF, PresentationDataValue, ReleaseRQ

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

PATIENCE = 20.0
LOCAL = "127.0.0.1"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
MPPS = "1.2.840.10008.3.1.2.3.3"
EVERY = (VERIFICATION, CT, FIND, MOVE, GET, MPPS)


def wait_until(what, why: str) -> None:
    patience = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < patience, why
        os.sched_yield()


@pytest.fixture
def log(caplog):
    """What scpd logs as a library, as text."""
    configured = structlog.get_config() if structlog.is_configured() else None
    structlog.reset_defaults()
    caplog.set_level(logging.DEBUG, "scpd")
    yield lambda: [record.getMessage() for record in caplog.records if record.name.startswith("scpd.handlers")]
    if configured:
        structlog.configure(**configured)


@pytest.fixture
def serve(log):
    """A server with these handlers; its port, and the associations it had by their state."""
    with_servers = []

    def start(told=None, **handlers) -> int:
        entity = AE("SERVER")
        for uid in EVERY:
            entity.add_supported_context(uid, [EXPLICIT, IMPLICIT], scu_role=True, scp_role=True)
        bound = [(getattr(evt, name), handler) for name, handler in handlers.items()]
        if told is not None:
            bound += [(event, told.append) for event in (evt.EVT_ABORTED, evt.EVT_RELEASED)]
        with_servers.append(entity.start_server((LOCAL, 0), block=False, evt_handlers=bound))
        return with_servers[-1].server_address[1]

    yield start
    for one in with_servers:
        one.shutdown(grace=0.0)


@pytest.fixture
def call():
    """An association with every context; aborted at the end."""
    made = []

    def start(port, **handlers):
        assoc = AE("SCU").associate(
            LOCAL,
            port,
            contexts=[build_context(uid, EXPLICIT) for uid in EVERY],
            ext_neg=[build_role(CT, scu_role=True, scp_role=True)],
            evt_handlers=[(getattr(evt, name), handler) for name, handler in handlers.items()],
        )
        assert assoc.is_established
        made.append(assoc)
        return assoc

    yield start
    for assoc in made:
        assoc.abort()


def attributes(**elements) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        if keyword == "PixelData":
            dataset.add_new(Tag(keyword), "OW", value)
        else:
            setattr(dataset, keyword, value)
    return dataset


def instance(uid: str = "1.2.3", **elements) -> Dataset:
    return attributes(SOPClassUID=CT, SOPInstanceUID=uid, PatientID="P", **elements)


def query() -> Dataset:
    return attributes(QueryRetrieveLevel="STUDY", PatientID="P")


def unencodable(**elements) -> Dataset:
    """Found out when it is encoded: a number that does not fit."""
    dataset = attributes(**elements)
    dataset.add_new(0x00280010, "US", 70_000)
    return dataset


def last(answers) -> Dataset:
    *_, (status, _) = answers
    return status


# Each service by the name of its event: how it is asked, and gives the status.
ASK = {
    "C_ECHO": lambda assoc: assoc.send_c_echo(),
    "C_STORE": lambda assoc: assoc.send_c_store(instance()),
    "C_FIND": lambda assoc: last(assoc.send_c_find(query(), FIND)),
    "C_GET": lambda assoc: last(assoc.send_c_get(query(), GET)),
    "C_MOVE": lambda assoc: last(assoc.send_c_move(query(), "STORE", MOVE)),
    "N_EVENT_REPORT": lambda assoc: assoc.send_n_event_report(attributes(PatientID="P"), 1, MPPS, "1.2.3")[0],
    "N_GET": lambda assoc: assoc.send_n_get([], MPPS, "1.2.3")[0],
    "N_SET": lambda assoc: assoc.send_n_set(attributes(PatientID="P"), MPPS, "1.2.3")[0],
    "N_ACTION": lambda assoc: assoc.send_n_action(None, 1, MPPS, "1.2.3")[0],
    "N_CREATE": lambda assoc: assoc.send_n_create(attributes(PatientID="P"), MPPS, "1.2.3")[0],
    "N_DELETE": lambda assoc: assoc.send_n_delete(MPPS, "1.2.3"),
}
RAISED = dict.fromkeys(ASK, 272) | {"C_STORE": 0xC211, "C_FIND": 0xC311, "C_GET": 0xC411, "C_MOVE": 0xC511}
COMPOSITE = ("C_ECHO", "C_STORE", "C_FIND", "C_GET", "C_MOVE")
PAIRED = ("N_EVENT_REPORT", "N_GET", "N_SET", "N_ACTION", "N_CREATE")


def raises(event):
    raise ZeroDivisionError("the handler's own fault")


def raises_later(event):
    """What a generator raises at its first step."""
    raise ZeroDivisionError("the handler's own fault")
    yield


# -- handlers that raise


def test_the_table_is_that_of_statuses():
    names = {f"EVT_{name}": number for name, number in RAISED.items()}
    assert {handling.EVENTS[kind].name: number for kind, number in statuses.HANDLER_RAISED.items()} == names


@pytest.mark.parametrize("handler", [raises, raises_later])
@pytest.mark.parametrize("service", ASK)
def test_a_handler_that_raises_is_the_failure_of_its_service_and_the_association_goes_on(
    serve, call, log, service, handler
):
    """The log has the traceback, with the ID of the association."""
    if handler is raises_later and service not in ("C_FIND", "C_GET", "C_MOVE"):
        handler = raises
    told = []
    assoc = call(serve(told, **{f"EVT_{service}": handler}))
    for _ in range(2):
        answer = ASK[service](assoc)
        assert answer.Status == RAISED[service]
        assert "own fault" not in str(answer), "what it was is no matter of the peer"
    if service != "C_ECHO":
        assert assoc.send_c_echo().Status == 0x0000
    assoc.release()
    wait_until(lambda: told, "the association did not end")
    (ended,) = told
    assert ended.event is evt.EVT_RELEASED
    lines = [line for line in log() if "ZeroDivisionError: the handler's own fault" in line]
    assert len(lines) == 2
    for line in lines:
        assert f"id='{ended.assoc.association_id}'" in line
        assert f"EVT_{service}" in line
        assert "Traceback (most recent call last)" in line
        assert f"in {handler.__name__}" in line


@pytest.fixture(scope="module")
def ecosystem(peer):
    """The port of an acceptor of pynetdicom whose handlers raise."""
    pynetdicom = peer("pynetdicom")
    entity = pynetdicom.AE()
    for uid in EVERY:
        entity.add_supported_context(uid, [EXPLICIT, IMPLICIT])
    handlers = [(getattr(pynetdicom.evt, f"EVT_{service}"), raises) for service in ASK]
    running = entity.start_server((LOCAL, 0), block=False, evt_handlers=handlers)
    yield running.server_address[1]
    running.shutdown()


@pytest.mark.interop
@pytest.mark.parametrize(
    "service", ["C_STORE", "C_FIND", "C_GET", "C_MOVE", "N_EVENT_REPORT", "N_GET", "N_SET", "N_CREATE"]
)
def test_the_numbers_are_those_of_the_ecosystem(call, ecosystem, service):
    """pynetdicom answers the same, but Success to a C-ECHO; it has no N-ACTION and N-DELETE for this SOP class."""
    assert ASK[service](call(ecosystem)).Status == RAISED[service]


def test_a_c_find_that_raises_half_way_ends_with_its_failure(serve, call):
    def handle(event):
        yield 0xFF00, query()
        raise ZeroDivisionError

    answers = list(call(serve(EVT_C_FIND=handle)).send_c_find(query(), FIND))
    assert [(one.Status, found is None) for one, found in answers] == [(0xFF00, False), (0xC311, True)]


def test_a_c_get_that_raises_half_way_counts_what_was_left_as_failed(serve, call):
    def handle(event):
        yield 3
        yield 0xFF00, instance()
        raise ZeroDivisionError

    assoc = call(serve(EVT_C_GET=handle), EVT_C_STORE=lambda _: 0x0000)
    *_, (answer, identifier) = assoc.send_c_get(query(), GET)
    assert answer.Status == 0xC411
    assert (answer.NumberOfCompletedSuboperations, answer.NumberOfFailedSuboperations) == (1, 2)
    assert "FailedSOPInstanceUIDList" in identifier
    assert assoc.send_c_echo().Status == 0x0000


def test_a_requestors_handler_that_raises_counts_as_a_failed_sub_operation(serve, call, log):
    def handle(event):
        yield 1
        yield 0xFF00, instance()

    assoc = call(serve(EVT_C_GET=handle), EVT_C_STORE=raises)
    *_, (answer, identifier) = assoc.send_c_get(query(), GET)
    assert answer.Status == 0xA702
    assert identifier.FailedSOPInstanceUIDList == "1.2.3"
    (line,) = [line for line in log() if "ZeroDivisionError" in line]
    assert f"id='{assoc.association_id}'" in line
    assert assoc.send_c_echo().Status == 0x0000


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_handler_that_leaves_with_what_is_no_exception_ends_its_association_and_no_other(serve, error, connect):
    """sys.exit() in a handler: the peer hears of it at once, and the server's other associations go on."""

    def leave(event):
        raise error

    port = serve(EVT_C_ECHO=leave)
    client = connect(port)
    client.associate()
    client.send_message(1, CEchoRQ(message_id=1, affected_sop_class_uid=VERIFICATION))
    assert client.is_closed_by_peer()


# -- handlers that return what has no meaning

NO_STATUS, NOT_A_STATUS = 0xC001, 0xC002
SENSELESS = {
    "None": (None, NOT_A_STATUS),
    "text": ("0000", NOT_A_STATUS),
    "bytes": (b"\0\0", NOT_A_STATUS),
    "a float": (0.0, NOT_A_STATUS),
    "True": (True, NOT_A_STATUS),
    "negative": (-1, NOT_A_STATUS),
    "too large": (0x10000, NOT_A_STATUS),
    "a list": ([0], NOT_A_STATUS),
    "no Status": (attributes(ErrorComment="?"), NO_STATUS),
    "an empty Status": (attributes(Status=None), NOT_A_STATUS),
}


@pytest.mark.parametrize("what", SENSELESS)
@pytest.mark.parametrize("service", ASK)
def test_a_status_that_is_none_is_a_failure_of_its_own_and_the_association_goes_on(serve, call, log, service, what):
    """C001H and C002H where the service has a range for it, 0110H elsewhere."""
    given, expected = SENSELESS[what]
    if service in ("C_ECHO", "C_STORE", "N_DELETE"):
        handler = lambda _: given  # noqa: E731
    elif service in PAIRED:
        handler = lambda _: (given, None)  # noqa: E731
    else:
        sink = (LOCAL, serve(EVT_C_STORE=lambda _: 0x0000), {"contexts": [build_context(CT)]})
        ahead = {"C_FIND": [], "C_GET": [1], "C_MOVE": [sink, 1]}[service]
        handler = lambda _: iter([*ahead, (given, None)])  # noqa: E731
    assoc = call(serve(**{f"EVT_{service}": handler}))
    assert ASK[service](assoc).Status == (expected if service in COMPOSITE else 0x0110)
    assert ASK["C_ECHO" if service != "C_ECHO" else "C_STORE"](assoc).Status in (0x0000, 0x0211)
    assert any("BadStatus" in line for line in log())


@pytest.mark.parametrize("given", [0x0000, None, (0x0000,), (0x0000, None, None), {"Status": 0}])
@pytest.mark.parametrize("service", [*PAIRED, "C_FIND"])
def test_a_service_that_gives_a_pair_and_gets_none(serve, call, service, given):
    handler = (lambda _: iter([given])) if service == "C_FIND" else (lambda _: given)
    expected = NOT_A_STATUS if service == "C_FIND" else 0x0110
    assert ASK[service](call(serve(**{f"EVT_{service}": handler}))).Status == expected


@pytest.mark.parametrize("given", [None, "P", unencodable(), [query()]], ids=["None", "text", "unencodable", "a list"])
def test_a_c_find_match_that_cannot_be_sent_is_c312(serve, call, given):
    answers = list(call(serve(EVT_C_FIND=lambda _: iter([(0xFF00, given)]))).send_c_find(query(), FIND))
    assert [one.Status for one, _ in answers] == [0xC312]


@pytest.mark.parametrize("service", PAIRED)
def test_a_dimse_n_data_set_that_cannot_be_sent_is_0110(serve, call, service):
    for given in (unencodable(), "text", [1]):
        port = serve(**{f"EVT_{service}": lambda _, given=given: (0x0000, given)})
        assert ASK[service](call(port)).Status == 0x0110


def test_an_n_create_that_nobody_names_is_0110(serve, call, log):
    """PS3.7 10.1.5.1.4: the SCP names an instance that the request does not."""
    assoc = call(serve(EVT_N_CREATE=lambda _: (0x0000, None)))
    assert assoc.send_n_create(None, MPPS)[0].Status == 0x0110
    assert any("names no instance" in line for line in log())


@pytest.mark.parametrize(
    ("yielded", "expected"),
    [
        ([], 0xC413),
        (["many"], 0xC413),
        ([None], 0xC413),
        ([(0xFF00, None)], 0xC413),
        ([65536], 0xC416),
        ([2**40], 0xC416),
        ([0], 0x0000),
        ([-5], 0x0000),
        (["0"], 0x0000),
    ],
)
def test_the_number_of_sub_operations_is_a_number_of_16_bits(serve, call, yielded, expected):
    assoc = call(serve(EVT_C_GET=lambda _: iter(yielded)), EVT_C_STORE=lambda _: 0x0000)
    assert ASK["C_GET"](assoc).Status == expected
    assert assoc.send_c_echo().Status == 0x0000


@pytest.mark.parametrize(
    ("yielded", "expected"),
    [
        ([], 0xC514),
        ([None], 0xC515),
        (["STORE"], 0xC515),
        ([(LOCAL,)], 0xC515),
        ([(LOCAL, "104")], 0xC515),
        ([(104, LOCAL)], 0xC515),
        ([(LOCAL, 104, "kwargs")], 0xC515),
        ([(LOCAL, 104, {"no_such_argument": 1}), 1], 0xC515),
        ([(LOCAL, 104, {"contexts": []}), 1], 0xC515),
        ([(LOCAL, 70000, {"contexts": [build_context(CT)]}), 1], 0xC515),
        ([(None, None)], 0xA801),
        ([(LOCAL, 104)], 0xC513),
        ([(LOCAL, 104), "many"], 0xC513),
        ([(LOCAL, 104), 65536], 0xC516),
        ([(LOCAL, 104), 0], 0x0000),
    ],
)
def test_the_destination_is_host_port_and_keywords_of_associate(serve, call, yielded, expected):
    assoc = call(serve(EVT_C_MOVE=lambda _: iter(yielded)))
    assert ASK["C_MOVE"](assoc).Status == expected
    assert assoc.send_c_echo().Status == 0x0000


@pytest.mark.parametrize("given", [None, 7, b"bytes", attributes(PatientID="no UIDs"), "/no/such/file"])
def test_an_instance_that_cannot_be_sent_is_a_failed_sub_operation(serve, call, given):
    def handle(event):
        yield 2
        yield 0xFF00, given
        yield 0xFF00, instance()

    assoc = call(serve(EVT_C_GET=handle), EVT_C_STORE=lambda _: 0x0000)
    answer = ASK["C_GET"](assoc)
    assert answer.Status == 0xB000
    assert (answer.NumberOfCompletedSuboperations, answer.NumberOfFailedSuboperations) == (1, 1)


def test_an_instance_that_cannot_be_encoded_leaves_the_association_usable(serve, call):
    def handle(event):
        yield 2
        yield 0xFF00, unencodable(SOPClassUID=CT, SOPInstanceUID="1.2.9")
        yield 0xFF00, instance()

    assoc = call(serve(EVT_C_GET=handle), EVT_C_STORE=lambda _: 0x0000)
    *_, (answer, identifier) = assoc.send_c_get(query(), GET)
    assert (answer.Status, identifier.FailedSOPInstanceUIDList) == (0xB000, "1.2.9")
    assert assoc.send_c_echo().Status == 0x0000


# -- no handler


@pytest.mark.parametrize("service", [name for name in ASK if name != "C_ECHO"])
def test_a_service_without_a_handler_is_0211(serve, call, service):
    assoc = call(serve())
    assert ASK[service](assoc).Status == 0x0211
    assert assoc.send_c_echo().Status == 0x0000


def test_a_large_data_set_that_nobody_wants_is_skipped(serve, call):
    assoc = call(serve())
    for _ in range(2):
        assert assoc.send_c_store(instance(PixelData=b"\1\2" * 1_000_000)).Status == 0x0211
        assert assoc.send_c_echo().Status == 0x0000


# -- the disk


def test_an_instance_that_cannot_be_written_is_a700(serve, call, tmp_path):
    """PS3.4 table B.2-1, refused: out of resources; whoever catches the error answers as it likes."""
    missing = tmp_path / "missing" / "file.dcm"

    def catches(event):
        try:
            event.write(missing)
        except OSError as error:
            return 0xC123 if error.errno == errno.ENOENT else 0xFFFF
        return 0x0000

    assert call(serve(EVT_C_STORE=lambda event: event.write(missing))).send_c_store(instance()).Status == 0xA700
    assoc = call(serve(EVT_C_STORE=catches))
    assert assoc.send_c_store(instance(PixelData=b"\1\2" * 500_000)).Status == 0xC123
    assert assoc.send_c_echo().Status == 0x0000


@pytest.mark.faults
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_is_a700_leaves_nothing_and_the_association_goes_on(serve, call, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=False, timeout=PATIENCE, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:

        def handle(event):
            event.write(disk / f"{event.request.AffectedSOPInstanceUID}.dcm")
            return 0x0000

        assoc = call(serve(EVT_C_STORE=handle))
        assert assoc.send_c_store(instance("1.2.1", PixelData=bytes(1_000_000))).Status == 0xA700
        assert list(disk.iterdir()) == []
        assert assoc.send_c_store(instance("1.2.2")).Status == 0x0000
        assert [path.name for path in disk.iterdir()] == ["1.2.2.dcm"]
    finally:
        subprocess.run(["umount", disk], check=True, timeout=PATIENCE)


# -- too long


def test_a_c_store_longer_than_allowed_is_a700_and_the_association_goes_on(serve, call, monkeypatch, tmp_path):
    monkeypatch.setattr(server, "DATA_SET_LIMIT", 200_000)
    ways = {
        "1.2.1": lambda event: event.write(tmp_path / "too-long.dcm"),
        "1.2.2": lambda event: event.dataset,
        "1.2.3": lambda event: event.encoded_dataset(),
    }

    def handle(event):
        ways[event.request.AffectedSOPInstanceUID](event)
        return 0x0000

    assoc = call(serve(EVT_C_STORE=handle))
    for uid in ways:
        assert assoc.send_c_store(instance(uid, PixelData=bytes(250_000))).Status == 0xA700
        assert assoc.send_c_store(instance(uid, PixelData=bytes(100_000))).Status == 0x0000
    assert [path.name for path in tmp_path.iterdir()] == ["too-long.dcm"]


def test_a_refused_data_set_that_goes_on_and_on_ends_the_association(serve, call, monkeypatch):
    monkeypatch.setattr(server, "DATA_SET_LIMIT", 100_000)
    assoc = call(serve(EVT_C_STORE=lambda event: event.dataset))
    answer = assoc.send_c_store(instance(PixelData=bytes(2_000_000)))
    assert "Status" not in answer
    assert not assoc.is_established
    assert assoc.is_aborted


def test_an_identifier_longer_than_allowed_never_reaches_the_handler(serve, call, monkeypatch):
    monkeypatch.setattr(handling, "_LONGEST_HELD", 10_000)
    called = []
    assoc = call(serve(EVT_C_FIND=called.append))
    long = query()
    long.add_new(0x00091001, "UN", bytes(20_000))
    assert last(assoc.send_c_find(long, FIND)).Status == 0xA700
    assert called == []
    assert ASK["C_FIND"](assoc).Status == 0x0000
    assert len(called) == 1


def test_a_deflated_bomb_costs_its_c_store_and_no_more(call, monkeypatch, serve):
    """What inflates beyond the bound is an error in the handler that looks at it."""
    monkeypatch.setattr(data, "LONGEST_INFLATED", 1_000_000)
    deflated = "1.2.840.10008.1.2.1.99"
    entity = AE("SERVER")
    entity.add_supported_context(CT, deflated)
    seen = []

    def handle(event):
        seen.append(len(event.encoded_dataset(include_meta=False)))
        return 0x0000 if event.dataset else 0xC000

    bomb = instance(PixelData=bytes(4_000_000))
    with entity.start_server((LOCAL, 0), block=False, evt_handlers=[(evt.EVT_C_STORE, handle)]) as running:
        with AE().associate(LOCAL, running.server_address[1], contexts=[build_context(CT, deflated)]) as assoc:
            assert assoc.send_c_store(bomb).Status == 0xC211
            assert assoc.send_c_store(instance()).Status == 0x0000
    assert seen[0] < 10_000


# -- peers that lie

HOSTILE = ("../../etc/passwd", "/etc/passwd", "1.2.3/../4", "1.2\\3", "1..2", "", ".1.2", "1.2.3\n", "1.2.a", "1" * 65)
LYING = {
    "C_STORE": lambda uid: CStoreRQ(
        message_id=1, affected_sop_class_uid=CT, affected_sop_instance_uid=uid, has_data_set=True
    ),
    "N_CREATE": lambda uid: NCreateRQ(message_id=1, affected_sop_class_uid=MPPS, affected_sop_instance_uid=uid),
    "N_EVENT_REPORT": lambda uid: NEventReportRQ(
        message_id=1, affected_sop_class_uid=MPPS, affected_sop_instance_uid=uid, event_type_id=1
    ),
    "N_GET": lambda uid: NGetRQ(message_id=1, requested_sop_class_uid=MPPS, requested_sop_instance_uid=uid),
    "N_SET": lambda uid: NSetRQ(
        message_id=1, requested_sop_class_uid=MPPS, requested_sop_instance_uid=uid, has_data_set=True
    ),
    "N_ACTION": lambda uid: NActionRQ(
        message_id=1, requested_sop_class_uid=MPPS, requested_sop_instance_uid=uid, action_type_id=1
    ),
    "N_DELETE": lambda uid: NDeleteRQ(message_id=1, requested_sop_class_uid=MPPS, requested_sop_instance_uid=uid),
}
CONTEXTS = {2 * number + 1: (uid, (EXPLICIT,)) for number, uid in enumerate(EVERY)}
IDS = {uid: number for number, (uid, _) in CONTEXTS.items()}
BYTES = data.encode(query(), EXPLICIT)


def response(client):
    """The next response's command set; its data set, if any, is read."""
    gathered, command = b"", None
    while True:
        pdu = client.receive()
        assert isinstance(pdu, DataTF), f"{pdu} instead of a response"
        for value in pdu.values:
            if value.is_command:
                gathered += value.data
                if value.is_last:
                    command = codec.decode(gathered)
            if value.is_last and (value.is_command <= (not command.has_data_set)):
                return command


@pytest.mark.parametrize("service", LYING)
def test_an_instance_that_is_no_uid_never_reaches_a_handler(serve, connect, service):
    """0117H, invalid SOP instance; an N-CREATE alone may leave it out (PS3.7 10.1.5.1.4)."""
    called = []

    def handle(event):
        called.append(event.request.command)
        return 0x0000

    client = connect(serve(**{f"EVT_{service}": handle}))
    client.associate(CONTEXTS)
    for uid in HOSTILE:
        if not uid and service != "C_STORE":
            continue
        request = LYING[service](uid)
        client.send_message(IDS[CT if service == "C_STORE" else MPPS], request, BYTES)
        assert response(client).status == 0x0117, uid
    assert called == []
    client.send_message(IDS[VERIFICATION], CEchoRQ(message_id=2, affected_sop_class_uid=VERIFICATION))
    assert response(client).status == 0x0000


@pytest.mark.parametrize("sop_class", ["../../etc", "1.2.840.10008.5.1.4.1.1.4", "", "1..2"])
def test_a_c_store_of_another_class_than_its_context_never_reaches_a_handler(serve, connect, sop_class):
    called = []
    client = connect(serve(EVT_C_STORE=called.append))
    client.associate(CONTEXTS)
    request = CStoreRQ(
        message_id=1, affected_sop_class_uid=sop_class, affected_sop_instance_uid="1.2.3", has_data_set=True
    )
    client.send_message(IDS[CT], request, BYTES)
    assert response(client).status == 0x0122
    assert called == []


CLASSES = {
    "C_FIND": (FIND, lambda uid: CFindRQ(message_id=1, affected_sop_class_uid=uid, has_data_set=True)),
    "C_GET": (GET, lambda uid: CGetRQ(message_id=1, affected_sop_class_uid=uid, has_data_set=True)),
    "C_MOVE": (
        MOVE,
        lambda uid: CMoveRQ(message_id=1, affected_sop_class_uid=uid, move_destination="X", has_data_set=True),
    ),
    "N_CREATE": (MPPS, lambda uid: NCreateRQ(message_id=1, affected_sop_class_uid=uid)),
    "N_GET": (
        MPPS,
        lambda uid: NGetRQ(message_id=1, requested_sop_class_uid=uid, requested_sop_instance_uid="1.2.3"),
    ),
}


@pytest.mark.parametrize("service", CLASSES)
def test_a_class_that_is_no_uid_never_reaches_a_handler(serve, connect, service):
    """0118H, no such SOP class; a program may make a path of it as of the other."""
    called = []
    context, make = CLASSES[service]
    client = connect(serve(**{f"EVT_{service}": called.append}))
    client.associate(CONTEXTS)
    client.send_message(IDS[context], make("../../etc/passwd"), BYTES)
    response(client)
    assert called == []


# -- peers that vanish


def fin(client) -> None:
    client.socket.close()


def rst(client) -> None:
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()


def a_abort(client) -> None:
    client.send(Abort(0, 0).encode())


def a_garbage(client) -> None:
    client.send(b"\x99" * 64)


VANISH = [fin, rst, a_abort, a_garbage]


class Watch:
    """How a handler's iteration ended."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.ended = threading.Event()
        self.how: BaseException | None = None

    @contextmanager
    def over(self):
        try:
            yield
        except BaseException as error:
            self.how = error
            raise
        finally:
            self.ended.set()


@pytest.mark.parametrize("vanish", VANISH)
@pytest.mark.parametrize("service", ["C_FIND", "C_GET", "C_MOVE"])
def test_a_peer_that_vanishes_ends_the_iteration_of_the_handler(serve, connect, vanish, service):
    """GeneratorExit at the ``yield``; the association is told to be aborted."""
    watch, told = Watch(), []
    sink = serve(EVT_C_STORE=lambda _: 0x0000)

    def handle(event):
        with watch.over():
            if service == "C_MOVE":
                yield LOCAL, sink, {"contexts": [build_context(CT)]}
            if service != "C_FIND":
                yield 0xFFFF
            while True:
                watch.began.set()
                yield 0xFF00, (query() if service == "C_FIND" else instance())

    client = connect(serve(told, **{f"EVT_{service}": handle}))
    client.associate(CONTEXTS)
    context, make = CLASSES[service]
    client.send_message(IDS[context], make(context), BYTES)
    assert watch.began.wait(PATIENCE)
    vanish(client)
    assert watch.ended.wait(PATIENCE)
    assert isinstance(watch.how, GeneratorExit)
    wait_until(lambda: told, "the association's end was not told")
    assert told[0].event is evt.EVT_ABORTED


@pytest.mark.parametrize("vanish", VANISH)
def test_a_handler_that_catches_everything_is_ended_all_the_same(serve, connect, vanish):
    """What ``is_cancelled`` raises may be caught: the next ``yield`` does not come back."""
    watch, told = Watch(), []

    def handle(event):
        with watch.over():
            while True:
                watch.began.set()
                try:
                    while not event.is_cancelled:
                        os.sched_yield()
                except Exception:
                    watch.caught = True
                yield 0xFF00, query()

    client = connect(serve(told, EVT_C_FIND=handle))
    client.associate(CONTEXTS)
    client.send_message(IDS[FIND], CLASSES["C_FIND"][1](FIND), BYTES)
    assert watch.began.wait(PATIENCE)
    vanish(client)
    assert watch.ended.wait(PATIENCE)
    assert watch.caught
    assert isinstance(watch.how, GeneratorExit)
    wait_until(lambda: told, "the association's end was not told")
    assert told[0].event is evt.EVT_ABORTED


@pytest.mark.parametrize("vanish", VANISH)
@pytest.mark.parametrize("how", ["dataset", "write"])
def test_a_peer_that_vanishes_inside_a_data_set_leaves_no_file_whatever_the_handler_makes_of_it(
    serve, connect, tmp_path, vanish, how
):
    called, told = threading.Event(), []

    def handle(event):
        called.set()
        try:
            event.write(tmp_path / "file.dcm") if how == "write" else event.dataset
        except Exception:
            return 0x0000
        return 0x0000

    client = connect(serve(told, EVT_C_STORE=handle))
    client.associate(CONTEXTS)
    request = LYING["C_STORE"]("1.2.3")
    client.send_message(IDS[CT], CStoreRQ(message_id=1, affected_sop_class_uid=CT, affected_sop_instance_uid="1.2.3"))
    assert response(client).status == 0x0000
    called.clear()
    tmp_path.joinpath("file.dcm").unlink(missing_ok=True)
    half = b"".join(
        (
            DataTF((command_value(request),)).encode(),
            DataTF((data_value(BYTES),)).encode(),
        )
    )
    client.send(half)
    assert called.wait(PATIENCE)
    vanish(client)
    wait_until(lambda: told, "the association's end was not told")
    assert told[0].event is evt.EVT_ABORTED
    assert list(tmp_path.iterdir()) == []


def command_value(request):
    return PresentationDataValue(IDS[CT], True, True, codec.encode(request))


def data_value(data):
    return PresentationDataValue(IDS[CT], False, False, data)


def test_a_peer_that_asks_for_release_while_an_operation_is_under_way_ends_it(serve, connect):
    watch, told = Watch(), []

    def handle(event):
        with watch.over():
            while True:
                watch.began.set()
                yield 0xFF00, query()

    client = connect(serve(told, EVT_C_FIND=handle))
    client.associate(CONTEXTS)
    client.send_message(IDS[FIND], CLASSES["C_FIND"][1](FIND), BYTES)
    assert watch.began.wait(PATIENCE)
    client.send(ReleaseRQ().encode())
    assert client.is_closed_by_peer() or watch.ended.wait(PATIENCE)
    assert watch.ended.wait(PATIENCE)
    assert isinstance(watch.how, GeneratorExit)
    wait_until(lambda: told, "the association's end was not told")
    assert told[0].event is evt.EVT_ABORTED


def test_a_server_that_shuts_down_ends_the_iteration_of_its_handlers(connect, log):
    watch = Watch()

    def handle(event):
        with watch.over():
            while True:
                watch.began.set()
                yield 0xFF00, query()

    entity = AE("SERVER")
    entity.add_supported_context(FIND, EXPLICIT)
    running = entity.start_server((LOCAL, 0), block=False, evt_handlers=[(evt.EVT_C_FIND, handle)])
    client = connect(running.server_address[1])
    client.associate({1: (FIND, (EXPLICIT,))})
    client.send_message(1, CLASSES["C_FIND"][1](FIND), BYTES)
    assert watch.began.wait(PATIENCE)
    running.shutdown(grace=0.0)
    assert watch.ended.wait(PATIENCE)
    assert isinstance(watch.how, GeneratorExit)


def test_handlers_of_other_associations_do_not_notice(serve, call, connect):
    """One peer vanishes, one handler raises: a third association goes on."""

    def handle(event):
        if event.assoc.requestor.ae_title == "RAW":
            raise ZeroDivisionError
        for _ in range(3):
            yield 0xFF00, query()

    port = serve(EVT_C_FIND=handle)
    assoc = call(port)
    answers = assoc.send_c_find(query(), FIND)
    next(answers)
    client = connect(port)
    client.associate(CONTEXTS)
    client.send_message(IDS[FIND], CLASSES["C_FIND"][1](FIND), BYTES)
    assert response(client).status == 0xC311
    fin(client)
    assert [one.Status for one, _ in answers] == [0xFF00, 0xFF00, 0x0000]
