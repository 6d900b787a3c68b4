"""Servers of a program: several in one AE, what each offers and to whom, how many it serves, and how they end."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from scpd import AE, VerificationPresentationContexts, build_context, build_role, evt
from scpd.ae.server import AssociationServer
from scpd.dimse.command import CFindRQ
from scpd.errors import Aborted, ConnectionLost, Rejected
from scpd.sop_class import (
    CTImageStorage,
    MRImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    Verification,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

PATIENCE = 20.0
FIND = PatientRootQueryRetrieveInformationModelFind
DEFAULT = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]
ENDS = (evt.EVT_RELEASED, evt.EVT_ABORTED, evt.EVT_CONN_CLOSE)


@pytest.fixture
def ae():
    entity = AE("ENTITY")
    entity.add_supported_context(Verification)
    entity.add_requested_context(Verification)
    yield entity
    entity.shutdown(0)


def start(ae, *handlers, **how):
    return ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=list(handlers), **how)


def refuses_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except (ConnectionRefusedError, ConnectionResetError):  # the latter while it closes
        return True
    return False


# -- where it listens


def test_a_server_listens_on_the_address_that_it_is_given(ae, free_port):
    server = ae.start_server(("127.0.0.1", free_port), block=False)
    assert server.server_address == ("127.0.0.1", free_port)
    with ae.associate("127.0.0.1", free_port) as assoc:
        assert assoc.send_c_echo().Status == 0x0000


def test_port_0_is_any_and_the_server_tells_which(ae):
    first, second = start(ae), start(ae)
    assert first.server_address[1] != second.server_address[1]
    assert 0 not in (first.server_address[1], second.server_address[1])


@pytest.mark.parametrize("host", ["", "0.0.0.0", "localhost"])
def test_a_server_listens_on_all_addresses_or_by_name(ae, host):
    server = ae.start_server((host, 0), block=False)
    with ae.associate("127.0.0.1", server.server_address[1]) as assoc:
        assert assoc.is_established, assoc.error


def test_a_server_listens_on_ipv6(ae, ipv6):
    server = ae.start_server((ipv6, 0), block=False)
    with ae.associate(ipv6, server.server_address[1]) as assoc:
        assert assoc.send_c_echo().Status == 0x0000
    assert not ae.associate("127.0.0.1", server.server_address[1]).is_established


def test_an_address_that_is_taken_is_an_oserror(ae):
    server = start(ae)
    with pytest.raises(OSError, match="Address already in use"):
        ae.start_server(server.server_address, block=False)


def test_an_address_that_is_taken_is_an_error_that_names_it_and_leaves_the_others(ae):
    server = start(ae)
    port = server.server_address[1]
    with pytest.raises(Exception, match=f"127.0.0.1:{port}: Address already in use"):
        ae.start_server(server.server_address, block=False)
    with ae.associate("127.0.0.1", port) as assoc:
        assert assoc.is_established


def test_a_wrong_argument_leaves_no_server_behind(ae, free_port):
    with pytest.raises(TypeError, match="block"):
        ae.start_server(("127.0.0.1", free_port), block="no")
    assert refuses_connections(free_port)


# -- several in one entity


def test_several_servers_have_their_own_titles_contexts_and_handlers(ae, told):
    def echo(event, name):
        told.note((name, event.assoc.acceptor.ae_title))
        return 0x0000

    ae.require_called_aet = True
    ct = [build_context(CTImageStorage), build_context(Verification)]
    servers = {
        "ENTITY": start(ae, (evt.EVT_C_ECHO, echo, ["first"])),
        "SECOND": start(ae, (evt.EVT_C_ECHO, echo, ["second"]), ae_title=" SECOND ", contexts=ct),
    }
    assert {title: server.ae_title for title, server in servers.items()} == {title: title for title in servers}
    assert [context.abstract_syntax for context in servers["SECOND"].contexts] == [Verification, CTImageStorage]
    client = AE("CLIENT")
    client.requested_contexts = ct
    for title, server in servers.items():
        port = server.server_address[1]
        other = next(one for one in servers if one != title)
        assert client.associate("127.0.0.1", port, ae_title=other).is_rejected
        with client.associate("127.0.0.1", port, ae_title=title) as assoc:
            assert assoc.send_c_echo().Status == 0x0000
            accepted = [context.abstract_syntax for context in assoc.accepted_contexts]
            assert accepted == ([Verification] if title == "ENTITY" else [CTImageStorage, Verification])
    assert told.events == [("first", "ENTITY"), ("second", "SECOND")]
    assert ae.ae_title == "ENTITY"
    assert [context.abstract_syntax for context in ae.supported_contexts] == [Verification]


def test_servers_serve_at_the_same_time_and_end_one_by_one(ae, until):
    first, second = start(ae), start(ae)
    one, two = (ae.associate(*server.server_address) for server in (first, second))
    until(lambda: (len(first.active_associations), len(second.active_associations)) == (1, 1))
    assert len(ae.active_associations) == 4
    first.shutdown(0)
    until(lambda: not one.is_established)
    assert refuses_connections(first.server_address[1])
    assert two.send_c_echo().Status == 0x0000
    two.release()
    until(lambda: not ae.active_associations)


def test_contexts_of_a_server_that_repeat_an_abstract_syntax_are_merged_and_keep_their_roles(ae):
    first = build_context(CTImageStorage, ExplicitVRLittleEndian)
    first.scu_role, first.scp_role = True, True
    second = build_context(CTImageStorage, [JPEGBaseline8Bit, ExplicitVRLittleEndian])
    third = build_context(CTImageStorage, ImplicitVRLittleEndian)
    third.scu_role = False
    server = start(ae, contexts=[first, build_context(Verification), second, third])
    verification, ct = server.contexts
    assert verification.abstract_syntax == Verification
    assert ct.transfer_syntax == [ExplicitVRLittleEndian, JPEGBaseline8Bit, ImplicitVRLittleEndian]
    assert (ct.scu_role, ct.scp_role) == (False, True)
    client = AE("CLIENT")
    for syntax in ct.transfer_syntax:
        client.add_requested_context(CTImageStorage, syntax)
    roles = [build_role(CTImageStorage, scu_role=True, scp_role=True)]
    with client.associate("127.0.0.1", server.server_address[1], ext_neg=roles) as assoc:
        assert [one.transfer_syntax for one in assoc.accepted_contexts] == [[one] for one in ct.transfer_syntax]
        assert [(one.as_scu, one.as_scp) for one in assoc.accepted_contexts] == [(False, True)] * 3


def test_a_server_goes_on_as_it_began_whatever_becomes_of_the_entity(ae):
    given = [build_context(Verification)]
    servers = start(ae), start(ae, contexts=given)
    ae.ae_title = "CHANGED"
    ae.add_supported_context(CTImageStorage)
    ae.remove_supported_context(Verification)
    ae.require_called_aet = True
    given[0].transfer_syntax = [JPEGBaseline8Bit]
    given.append(build_context(CTImageStorage))
    client = AE("CLIENT")
    client.add_requested_context(Verification)
    client.add_requested_context(CTImageStorage)
    for server in servers:
        with client.associate(*server.server_address) as assoc:
            assert [context.abstract_syntax for context in assoc.accepted_contexts] == [Verification]
    changed = start(ae)
    assert changed.ae_title == "CHANGED"
    with client.associate(*changed.server_address, ae_title="CHANGED") as assoc:
        assert [context.abstract_syntax for context in assoc.accepted_contexts] == [CTImageStorage]


def test_the_acceptors_order_decides_between_transfer_syntaxes(ae):
    """As in pynetdicom."""
    context = build_context(CTImageStorage, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    server = start(ae, contexts=[context])
    client = AE("CLIENT")
    client.add_requested_context(CTImageStorage, [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
    with client.associate(*server.server_address) as assoc:
        assert assoc.accepted_contexts[0].transfer_syntax == [ExplicitVRLittleEndian]


def test_a_server_without_encryption_and_one_with_it_serve_side_by_side(ae, site, told):
    plain = start(ae)
    secure = start(ae, *told.handlers(evt.EVT_ESTABLISHED), ssl_context=site.server())
    with ae.associate(*plain.server_address) as assoc:
        assert assoc.is_established
    with ae.associate(*secure.server_address, tls_args=(site.client(), "pacs.example")) as assoc:
        assert assoc.send_c_echo().Status == 0x0000
    assert not ae.associate(*secure.server_address).is_established
    assert told.events == ["EVT_ESTABLISHED"]


def test_handlers_are_bound_and_unbound_while_the_server_runs(ae, told):
    server = start(ae)
    (handler,) = told.handlers(evt.EVT_C_ECHO)
    assert server.get_events() == []
    before = ae.associate(*server.server_address)
    assert before.send_c_echo().Status == 0x0000
    server.bind(*handler)
    assert server.get_events() == [evt.EVT_C_ECHO]
    before.send_c_echo()
    assert told.wait_for("EVT_C_ECHO") == ["EVT_C_ECHO"]
    with ae.associate(*server.server_address) as after:
        after.send_c_echo()
        assert told.wait_for("EVT_C_ECHO", "EVT_C_ECHO") == ["EVT_C_ECHO"] * 2
        server.unbind(*handler)
        assert server.get_events() == []
        assert before.send_c_echo().Status == after.send_c_echo().Status == 0x0000
    assert len(told.events) == 2
    before.release()


# -- who may call


def numbers(assoc) -> tuple[int, int, int]:
    assert isinstance(assoc.error, Rejected)
    return assoc.error.result, assoc.error.source, assoc.error.reason


def test_any_title_may_call_and_be_called_by_default(ae):
    server = start(ae)
    with ae.associate(*server.server_address, ae_title="WHOEVER") as assoc:
        assert assoc.is_established


def test_a_wrong_called_title_is_rejected_where_it_counts(ae, told):
    ae.require_called_aet = True
    rejections = told.handlers(evt.EVT_REJECTED, evt.EVT_ESTABLISHED)
    server = start(ae, *rejections, ae_title="OTHER")
    for title in ("ENTITY", "other", "OTHERS", "ANY-SCP"):
        assert numbers(ae.associate(*server.server_address, ae_title=title)) == (1, 1, 7)
    with ae.associate(*server.server_address, ae_title="  OTHER ") as assoc:
        assert assoc.is_established
    assert sorted(told.wait_for("EVT_ESTABLISHED", *["EVT_REJECTED"] * 4)) == ["EVT_ESTABLISHED"] + ["EVT_REJECTED"] * 4


def test_a_calling_title_that_is_not_listed_is_rejected(ae, told):
    ae.require_calling_aet = ["ONE", " TWO  "]
    server = start(ae, *told.handlers(evt.EVT_REJECTED))
    for title in ("ONE", "TWO", " TWO"):
        client = AE(title)
        client.add_requested_context(Verification)
        with client.associate(*server.server_address) as assoc:
            assert assoc.is_established
    for title in ("one", "THREE", "ONETWO"):
        client = AE(title)
        client.add_requested_context(Verification)
        assert numbers(client.associate(*server.server_address)) == (1, 1, 3)
    assert told.wait_for(*["EVT_REJECTED"] * 3) == ["EVT_REJECTED"] * 3
    assert {assoc.requestor.ae_title for assoc in told.associations} == {"one", "THREE", "ONETWO"}
    assert all(assoc.is_rejected for assoc in told.associations)


def test_pynetdicom_and_dcmtk_are_told_why_they_are_rejected(ae, pynetdicom_scu, pynetdicom_rejection, peer):
    ae.require_called_aet = True
    ae.require_calling_aet = ["FRIEND"]
    port = start(ae).server_address[1]
    assert pynetdicom_rejection(port, ae_title="FRIEND", called="WRONG") == (1, 1, 7)
    assert pynetdicom_rejection(port, ae_title="STRANGER", called="ENTITY") == (1, 1, 3)
    pynetdicom_scu(port, ae_title="FRIEND", called="ENTITY").release()

    def echo(calling, called):
        command = [peer("echoscu"), "-aet", calling, "-aec", called, "127.0.0.1", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        return done.returncode, done.stderr + done.stdout

    assert echo("FRIEND", "ENTITY")[0] == 0
    code, said = echo("STRANGER", "ENTITY")
    assert code != 0
    assert "Calling AE Title Not Recognized" in said
    code, said = echo("FRIEND", "WRONG")
    assert code != 0
    assert "Called AE Title Not Recognized" in said


# -- how many at once


def test_one_association_more_than_the_most_is_rejected_for_now(ae, until):
    """PS3.8 9.3.4: transiently, presentation related, local limit exceeded."""
    ae.maximum_associations = 2
    server, other = start(ae), start(ae)
    first, second = (ae.associate(*server.server_address) for _ in range(2))
    assert numbers(ae.associate(*server.server_address)) == (2, 3, 2)
    with ae.associate(*other.server_address) as assoc:  # each server has its own
        assert assoc.is_established
    assert first.send_c_echo().Status == second.send_c_echo().Status == 0x0000
    first.release()

    def there_is_room():
        with ae.associate(*server.server_address) as assoc:
            return assoc.is_established

    until(there_is_room)
    second.abort()
    until(there_is_room)


def test_pynetdicom_is_rejected_for_now_when_there_are_too_many(ae, pynetdicom_rejection):
    ae.maximum_associations = 1
    server = start(ae)
    with ae.associate(*server.server_address) as assoc:
        assert assoc.is_established
        assert pynetdicom_rejection(server.server_address[1]) == (2, 3, 2)


def test_fifty_associations_are_served_at_once(ae, beside):
    arrived = threading.Barrier(50)

    def echo(event):
        arrived.wait(PATIENCE)  # goes on when all are in their handlers
        return 0x0000

    server = start(ae, (evt.EVT_C_ECHO, echo))

    def client():
        with ae.associate(*server.server_address) as assoc:
            return assoc.send_c_echo().get("Status")

    answers = [beside(client) for _ in range(50)]
    assert [answer.result(PATIENCE) for answer in answers] == [0x0000] * 50


# -- times


def test_a_connection_that_asks_for_nothing_is_closed_after_acse_timeout(ae, connect, told):
    ae.acse_timeout = 0.2
    server = start(ae, *told.handlers(evt.EVT_CONN_OPEN, *ENDS))
    began = time.monotonic()
    assert connect(server.server_address[1]).is_closed_by_peer()
    assert 0.2 <= time.monotonic() - began < 5
    told.wait_for("EVT_CONN_OPEN", "EVT_CONN_CLOSE")


def test_an_association_that_asks_for_nothing_is_aborted_after_network_timeout(ae, told):
    ae.network_timeout = 0.2
    server = start(ae, *told.handlers(*ENDS))
    assoc = ae.associate(*server.server_address)
    assert assoc.is_established
    assert told.wait_for("EVT_ABORTED") == ["EVT_ABORTED"]
    assert not assoc.is_established
    assert isinstance(assoc.error, Aborted)
    assert "timeouts.idle" in str(told.associations[0].error)


def test_a_message_that_does_not_go_on_is_aborted_after_dimse_timeout(ae, connect, told):
    ae.dimse_timeout = 0.2
    server = start(ae, *told.handlers(*ENDS))
    client = connect(server.server_address[1])
    client.associate()
    client.send(b"\x04\0\0\0\x00\x20\0\0\0\x1c\x01\x01")
    told.wait_for("EVT_ABORTED")
    assert "made no progress" in str(told.associations[0].error)


def test_a_peer_that_does_not_read_is_aborted_after_write_timeout_and_ends_the_handler(ae, connect, told):
    def find(event):
        identifier = Dataset()
        identifier.PatientComments = "x" * 1_000_000
        try:
            while True:
                yield 0xFF00, identifier
        finally:
            told.note("the handler has ended")

    ae.write_timeout = 0.2
    ae.add_supported_context(FIND)
    server = start(ae, *told.handlers(*ENDS), (evt.EVT_C_FIND, find))
    client = connect(server.server_address[1])
    client.associate({1: (FIND, (ImplicitVRLittleEndian,))})
    request = CFindRQ(message_id=1, affected_sop_class_uid=FIND, priority=0, has_data_set=True)
    client.send_message(1, request, b"\x10\0\x20\0\0\0\0\0")
    told.wait_for("the handler has ended", "EVT_ABORTED")
    assert "does not read" in str(told.associations[0].error)


# -- how they end


def test_a_blocking_server_serves_until_another_thread_shuts_the_entity_down(ae, free_port, beside, until):
    blocking = beside(ae.start_server, ("127.0.0.1", free_port))

    def served():
        with ae.associate("127.0.0.1", free_port) as assoc:
            return assoc.is_established and assoc.send_c_echo().get("Status") == 0x0000

    until(served)
    assert not blocking.done()
    ae.shutdown()
    assert blocking.result(PATIENCE) is None
    assert refuses_connections(free_port)


def test_a_handler_may_have_a_blocking_server_shut_down_by_another_thread(ae, free_port, beside, until):
    """The way a program ends itself: at the end of the first association."""
    handlers = [(evt.EVT_RELEASED, lambda _: beside(ae.shutdown))]
    blocking = beside(lambda: ae.start_server(("127.0.0.1", free_port), evt_handlers=handlers))

    def served():
        with ae.associate("127.0.0.1", free_port) as assoc:
            return assoc.is_established

    until(served)
    assert blocking.result(PATIENCE) is None


PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the parent's was
from scpd import AE, evt
from scpd.sop_class import Verification
ae = AE()
ae.add_supported_context(Verification)
handlers = [
    (evt.EVT_ESTABLISHED, lambda event: print("established", flush=True)),
    (evt.EVT_RELEASED, lambda event: print("released", flush=True)),
    (evt.EVT_ABORTED, lambda event: print("aborted", flush=True)),
]
print("starting", flush=True)
print(ae.start_server(("127.0.0.1", int(sys.argv[1])), evt_handlers=handlers), flush=True)
print("after it", flush=True)
"""


@pytest.fixture
def program(free_port):
    """A program with a blocking server, in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(free_port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate(timeout=PATIENCE)


def established(ae, port, until):
    """An association with the program, once it listens and its main thread waits for what comes."""
    made = []

    def is_established():
        made[:] = [ae.associate("127.0.0.1", port)]
        return made[0].is_established

    until(is_established)
    return made[0]


def is_waiting(process) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def test_ctrl_c_ends_a_blocking_server_and_the_program_goes_on(ae, program, free_port, until):
    established(ae, free_port, until).release()
    until(lambda: is_waiting(program))
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=PATIENCE)
    assert (program.returncode, err) == (0, "")
    assert out.split("\n") == ["starting", "established", "released", "None", "after it", ""]


def test_ctrl_c_lets_associations_come_to_their_end_and_takes_no_new_ones(ae, program, free_port, until):
    assoc = established(ae, free_port, until)
    assert assoc.send_c_echo().Status == 0x0000
    until(lambda: is_waiting(program))
    program.send_signal(signal.SIGINT)
    until(lambda: refuses_connections(free_port))
    assert assoc.send_c_echo().Status == 0x0000
    assert program.poll() is None
    assoc.release()
    out, err = program.communicate(timeout=PATIENCE)
    assert (program.returncode, err) == (0, "")
    lines = [line for line in out.split("\n") if line != "aborted"]  # of connections that asked for nothing
    assert lines == ["starting", "established", "released", "None", "after it", ""]


def test_shutdown_lets_what_is_under_way_come_to_its_end(ae, beside, told):
    go_on = threading.Event()

    def echo(event):
        told.note("asked")
        assert go_on.wait(PATIENCE)
        return 0x0000

    server = start(ae, (evt.EVT_C_ECHO, echo), *told.handlers(*ENDS))
    assoc = ae.associate(*server.server_address)
    answer = beside(assoc.send_c_echo)
    told.wait_for("asked")
    ending = beside(ae.shutdown)
    go_on.set()
    assert answer.result(PATIENCE).Status == 0x0000
    assert assoc.send_c_echo().Status == 0x0000
    assert not ending.done()
    assoc.release()
    ending.result(PATIENCE)
    assert assoc.is_released
    assert told.wait_for("EVT_CONN_CLOSE") == ["asked", "asked", "EVT_RELEASED", "EVT_CONN_CLOSE"]
    assert ae.active_associations == []


def test_shutdown_aborts_what_has_not_ended_within_the_grace(ae, told, until):
    server = start(ae, *told.handlers(*ENDS))
    assoc = ae.associate(*server.server_address)
    began = time.monotonic()
    ae.shutdown(0.2)
    assert 0.2 <= time.monotonic() - began < 5
    until(lambda: not assoc.is_established)
    assert isinstance(assoc.error, Aborted)
    assert told.wait_for("EVT_CONN_CLOSE") == ["EVT_ABORTED", "EVT_CONN_CLOSE"]
    assert refuses_connections(server.server_address[1])


def test_shutdown_does_not_wait_for_connections_without_an_association(ae, connect):
    server = start(ae)
    client = connect(server.server_address[1])
    began = time.monotonic()
    ae.shutdown()
    assert time.monotonic() - began < 5
    assert client.is_closed_by_peer()


def test_shutdown_ends_all_servers_and_may_be_called_again(ae):
    servers = [start(ae) for _ in range(3)]
    ae.shutdown()
    assert all(refuses_connections(server.server_address[1]) for server in servers)
    ae.shutdown()
    for server in servers:
        server.shutdown()


def test_an_entity_that_was_shut_down_may_serve_again_on_the_same_address(ae):
    server = start(ae)
    address = server.server_address
    for _ in range(3):
        with ae.associate(*address) as assoc:
            assert assoc.is_established, assoc.error
        ae.shutdown()
        assert refuses_connections(address[1])
        ae.start_server(address, block=False)


def test_a_server_is_a_context_manager(ae):
    with start(ae) as server:
        with ae.associate(*server.server_address) as assoc:
            assert assoc.send_c_echo().Status == 0x0000
    assert refuses_connections(server.server_address[1])


def test_a_server_that_several_threads_shut_down_at_once_ends_once(ae, beside, hasty):
    for _ in range(40):
        server = start(ae)
        begin = threading.Barrier(8)

        def end(shutdown, begin=begin):
            begin.wait(PATIENCE)
            shutdown()

        for one in [beside(end, one) for one in (ae.shutdown, *[server.shutdown] * 7)]:
            one.result(PATIENCE)


def test_of_a_connection_that_asks_for_nothing_only_the_connection_is_told(ae, connect, told):
    """As in pynetdicom: whoever only tries whether the port is open aborts nothing."""
    server = start(ae, *told.handlers(evt.EVT_CONN_OPEN, evt.EVT_REQUESTED, evt.EVT_REJECTED, *ENDS))
    connect(server.server_address[1]).close()
    assert told.wait_for("EVT_CONN_CLOSE") == ["EVT_CONN_OPEN", "EVT_CONN_CLOSE"]


# -- what it is given wrongly


@pytest.mark.parametrize("kind", ["text", "client context"])
def test_a_wrong_ssl_context_is_an_error_at_once(ae, kind):
    wrong = "context" if kind == "text" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises((TypeError, ValueError), match="ssl_context"):
        start(ae, ssl_context=wrong)


def test_an_association_that_is_aborted_when_it_is_requested_ends_quietly(ae, told, caplog):
    server = start(ae, (evt.EVT_REQUESTED, lambda event: event.assoc.abort()), *told.handlers(*ENDS))
    assoc = ae.associate(*server.server_address)
    assert isinstance(assoc.error, Aborted)
    told.wait_for("EVT_ABORTED")
    ae.shutdown()
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_handler_may_abort_in_the_middle_of_a_request(ae, told):
    server = start(ae, (evt.EVT_C_ECHO, lambda event: event.assoc.abort()), *told.handlers(*ENDS))
    assoc = ae.associate(*server.server_address)
    assert "Status" not in assoc.send_c_echo()
    assert isinstance(assoc.error, Aborted)
    assert told.wait_for("EVT_CONN_CLOSE") == ["EVT_ABORTED", "EVT_CONN_CLOSE"]


# -- DCMTK and pynetdicom as clients


@pytest.mark.interop
def test_dcmtk_and_pynetdicom_are_served_by_one_program(ae, peer, pynetdicom_scu, ready, tmp_path, told):
    def store(event):
        event.write(tmp_path / f"{event.request.AffectedSOPInstanceUID}.dcm")
        return 0x0000

    def find(event):
        identifier = Dataset()
        identifier.PatientID = event.identifier.PatientID
        identifier.PatientName = "Found^One"
        yield 0xFF00, identifier

    ae.add_supported_context(CTImageStorage)
    ae.add_supported_context(FIND)
    handlers = [(evt.EVT_C_STORE, store), (evt.EVT_C_FIND, find)]
    port = str(start(ae, *handlers, *told.handlers(evt.EVT_RELEASED)).server_address[1])
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.PatientID = CTImageStorage, "1.2.3.77", "P1"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(tmp_path / "sent", enforce_file_format=True)

    def run(program, *arguments):
        command = [peer(program), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True, cwd=tmp_path)

    run("echoscu", "127.0.0.1", port)
    run("storescu", "127.0.0.1", port, str(tmp_path / "sent"))
    assert (tmp_path / "1.2.3.77.dcm").exists()
    said = run("findscu", "-P", "127.0.0.1", port, "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=P1", "-v")
    assert "Found^One" in said.stdout + said.stderr
    assoc = pynetdicom_scu(int(port), [Verification, CTImageStorage, MRImageStorage])
    assert [context.abstract_syntax for context in assoc.rejected_contexts] == [MRImageStorage]
    assert assoc.send_c_echo().Status == 0x0000
    dataset.SOPInstanceUID = "1.2.3.78"
    assert ready(assoc).send_c_store(dataset).Status == 0x0000
    assoc.release()
    assert (tmp_path / "1.2.3.78.dcm").exists()
    told.wait_for(*["EVT_RELEASED"] * 4)


@pytest.mark.interop
def test_dcmtk_and_pynetdicom_are_served_over_tls(ae, peer, pynetdicom_scu, site, tmp_path):
    port = start(ae, ssl_context=site.server(verify=True)).server_address[1]
    assoc = pynetdicom_scu(port, tls_args=(site.client(certified=True), "pacs.example"))
    assert assoc.send_c_echo().Status == 0x0000
    assoc.release()
    trust, key, certificate = (tmp_path / name for name in ("trust.pem", "key.pem", "certificate.pem"))
    site.authority.cert_pem.write_to_path(str(trust))
    site.modality.private_key_pem.write_to_path(str(key))
    for one in site.modality.cert_chain_pems:
        one.write_to_path(str(certificate), append=True)
    command = [peer("echoscu"), "+tls", str(key), str(certificate), "+cf", str(trust), "127.0.0.1", str(port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    plain = ae.associate("127.0.0.1", port)
    assert isinstance(plain.error, ConnectionLost)


def test_a_shutdown_that_comes_before_the_server_listens_is_not_lost(ae, beside, monkeypatch):
    """Whoever calls for it as soon as somebody is served may be quicker than the call that started the server."""
    calls = []
    start = AssociationServer.start

    def late(server):
        calls.append(server)
        ae.shutdown()
        start(server)

    monkeypatch.setattr(AssociationServer, "start", late)
    assert (
        beside(lambda: ae.start_server(("127.0.0.1", 0), contexts=VerificationPresentationContexts)).result(PATIENCE)
        is None
    )
    assert len(calls) == 1
