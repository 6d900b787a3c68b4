"""Associations that a program asks for: every argument, every way they come about, fail and end, over real sockets."""

from __future__ import annotations

import random
import select
import socket
import ssl
import subprocess
import threading
import time
from contextlib import ExitStack

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from scpd import (
    AE,
    AsynchronousOperationsWindowNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
    build_context,
    build_role,
    evt,
)
from scpd.dimse import codec, fragment
from scpd.dimse.command import CEchoRQ, CStoreRQ, respond
from scpd.errors import Aborted, ConnectionLost, Expired, Interrupted, ProtocolError, Rejected
from scpd.sop_class import (
    STORAGE,
    CTImageStorage,
    MRImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    Verification,
)
from scpd.wire.pdu import Abort, AssociateRJ, DataTF, ReleaseRP, ReleaseRQ

# pydicom's and pynetdicom's warnings are about what the tests make them do.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

PATIENCE = 20.0
FIND = PatientRootQueryRetrieveInformationModelFind
ENDS = (evt.EVT_RELEASED, evt.EVT_ABORTED, evt.EVT_CONN_CLOSE)


def instance(uid: str = "1.2.3.4", sop_class: str = CTImageStorage, size: int = 0) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, uid
    dataset.PatientID = "P1"
    if size:
        dataset.add_new("PixelData", "OB", bytes(size))
    return dataset


# -- whom it calls, and what it says


def test_a_peer_is_called_by_address_and_port_and_the_association_is_used_and_released(serve, associate, told):
    server = serve(handlers=told.handlers(evt.EVT_ESTABLISHED, evt.EVT_RELEASED))
    assoc = associate(server.server_address[1])
    assert (assoc.mode, assoc.is_requestor, assoc.is_acceptor) == ("requestor", True, False)
    assert assoc.send_c_echo().Status == 0x0000
    assoc.release()
    assert (assoc.is_established, assoc.is_released, assoc.is_aborted, assoc.is_rejected) == (False, True, False, False)
    assert assoc.error is None
    told.wait_for("EVT_ESTABLISHED", "EVT_RELEASED")


def test_a_peer_is_called_by_name(serve, associate):
    assert associate(serve().server_address[1], host="localhost").send_c_echo().Status == 0x0000


def test_a_peer_is_called_over_ipv6(serve, associate, told, ipv6):
    server = serve(address=(ipv6, 0), handlers=told.handlers(evt.EVT_ESTABLISHED))
    host, port = server.server_address
    assert (host, port > 0) == (ipv6, True)
    assoc = associate(port, host=ipv6)
    assert assoc.send_c_echo().Status == 0x0000
    assert (assoc.acceptor.address, assoc.acceptor.port) == (ipv6, port)
    told.wait_for("EVT_ESTABLISHED")
    assert told.associations[0].requestor.address == ipv6


def test_both_sides_know_each_others_title_address_and_port(serve, associate, told):
    server = serve(handlers=told.handlers(evt.EVT_ESTABLISHED), settings={"ae_title": "SERVER"})
    assoc = associate(server.server_address[1], ae_title="  CALLED ")
    told.wait_for("EVT_ESTABLISHED")
    other = told.associations[0]
    assert assoc.requestor.ae_title == other.requestor.ae_title == "SCU"
    assert (assoc.acceptor.ae_title, other.acceptor.ae_title) == ("CALLED", "SERVER")
    assert assoc.requestor.info == other.requestor.info
    assert assoc.requestor.port > 0
    assert (assoc.acceptor.address, assoc.acceptor.port) == server.server_address
    assert (other.acceptor.address, other.acceptor.port) == server.server_address
    assert (other.mode, other.is_acceptor) == ("acceptor", True)


def test_a_peer_of_pynetdicom_hears_the_titles_the_implementation_and_the_longest_pdu(pynetdicom, pynetdicom_scp, told):
    heard = {}

    def accepted(event):
        requestor = event.assoc.requestor
        heard.update(
            calling=requestor.ae_title,
            called=requestor.primitive.called_ae_title,
            uid=requestor.implementation_class_uid,
            version=requestor.implementation_version_name,
            length=requestor.maximum_length,
        )
        told.note("accepted")

    _, port = pynetdicom_scp(handlers=[(pynetdicom.evt.EVT_ACCEPTED, accepted)])
    ae = AE("CALLER")
    ae.add_requested_context(Verification)
    ae.implementation_class_uid, ae.implementation_version_name = "1.2.3.4.5", "MINE"
    with ae.associate("127.0.0.1", port, ae_title="CALLED", max_pdu=12345) as assoc:
        assert assoc.send_c_echo().Status == 0x0000
        assert assoc.acceptor.implementation_version_name.startswith("PYNETDICOM")
        assert assoc.acceptor.maximum_length == 16382
    told.wait_for("accepted")
    expected = {"calling": "CALLER", "called": "CALLED", "uid": "1.2.3.4.5", "version": "MINE", "length": 12345}
    assert heard == expected


@pytest.mark.parametrize(("max_pdu", "expected"), [(None, 4096), (1024, 1024), (262144, 262144)])
def test_the_longest_pdu_is_the_entitys_or_the_calls_and_the_peer_keeps_to_it(serve, associate, max_pdu, expected):
    identifier = Dataset()
    identifier.PatientComments = "x" * 9000
    server = serve([FIND], [(evt.EVT_C_FIND, lambda _: iter([(0xFF00, identifier)]))])
    longest = []

    def received(event):
        if type(event.pdu).__name__ == "DataTF":
            longest.append(len(event.pdu.encode()) - 6)

    assoc = associate(
        server.server_address[1],
        [FIND],
        settings={"maximum_pdu_size": 4096},
        max_pdu=max_pdu,
        evt_handlers=[(evt.EVT_PDU_RECV, received)],
    )
    (_, found), (final, _) = assoc.send_c_find(identifier, FIND)
    assert found.PatientComments == "x" * 9000
    assert final.Status == 0x0000
    assert assoc.requestor.maximum_length == expected
    assert max(longest) <= expected
    assert (len(longest) > 3) == (expected < 9000)


def test_contexts_of_the_call_replace_those_of_the_entity(serve, associate):
    server = serve([CTImageStorage, MRImageStorage, Verification])
    ae = AE("SCU")
    ae.add_requested_context(Verification)
    port = server.server_address[1]
    contexts = [build_context(MRImageStorage), build_context(CTImageStorage, ExplicitVRLittleEndian)]
    assoc = associate(port, ae=ae, contexts=contexts)
    assert [one.abstract_syntax for one in assoc.accepted_contexts] == [MRImageStorage, CTImageStorage]
    assert assoc.accepted_contexts[1].transfer_syntax == [ExplicitVRLittleEndian]
    assert [one.abstract_syntax for one in ae.requested_contexts] == [Verification]
    assert [one.abstract_syntax for one in associate(port, ae=ae).accepted_contexts] == [Verification]


def test_contexts_are_accepted_or_rejected_one_by_one_with_the_result(serve, associate):
    server = serve(
        [
            {"abstract_syntax": CTImageStorage, "transfer_syntax": ExplicitVRLittleEndian},
            {"abstract_syntax": MRImageStorage, "transfer_syntax": JPEGBaseline8Bit},
        ]
    )
    assoc = associate(server.server_address[1], [CTImageStorage, MRImageStorage, Verification, CTImageStorage])
    accepted = [(one.context_id, one.abstract_syntax, one.transfer_syntax) for one in assoc.accepted_contexts]
    assert accepted == [(1, CTImageStorage, [ExplicitVRLittleEndian]), (7, CTImageStorage, [ExplicitVRLittleEndian])]
    rejected = [(one.context_id, one.abstract_syntax, one.result) for one in assoc.rejected_contexts]
    assert rejected == [(3, MRImageStorage, 4), (5, Verification, 3)]
    assert [one.status for one in assoc.rejected_contexts] == [
        "Transfer Syntax(es) Not Supported",
        "Abstract Syntax Not Supported",
    ]


def test_128_contexts_are_asked_for_and_answered_by_pynetdicom(pynetdicom_scp):
    classes = [str(uid) for uid in STORAGE[:128]]
    _, port = pynetdicom_scp(classes[::2])
    ae = AE()
    for uid in classes:
        ae.add_requested_context(uid)
    with ae.associate("127.0.0.1", port) as assoc:
        assert [context.abstract_syntax for context in assoc.accepted_contexts] == classes[::2]
        assert [context.abstract_syntax for context in assoc.rejected_contexts] == classes[1::2]
        assert {context.result for context in assoc.rejected_contexts} == {3}
        assert assoc.accepted_contexts[-1].context_id == 253


def test_an_association_in_which_nothing_can_be_done_is_not_established(serve, associate):
    """What the guide's readers expect: ``if assoc.is_established`` is followed by ``send_…``."""
    assoc = associate(serve([CTImageStorage]).server_address[1], [MRImageStorage], refused=True)
    assert assoc.is_aborted
    assert [context.result for context in assoc.rejected_contexts] == [3]


def test_every_item_of_extended_negotiation_reaches_a_peer_of_pynetdicom(pynetdicom, pynetdicom_scp, told):
    heard = {}

    def requested(event):
        requestor = event.assoc.requestor
        heard["roles"] = {uid: (role.scu_role, role.scp_role) for uid, role in requestor.role_selection.items()}
        heard["window"] = requestor.asynchronous_operations
        heard["extended"] = dict(requestor.sop_class_extended)
        heard["common"] = {
            uid: (item.service_class_uid, list(item.related_general_sop_class_identification))
            for uid, item in requestor.sop_class_common_extended.items()
        }
        identity = requestor.user_identity
        heard["identity"] = (identity.user_identity_type, identity.primary_field, identity.secondary_field)
        told.note("requested")

    _, port = pynetdicom_scp([CTImageStorage], [(pynetdicom.evt.EVT_REQUESTED, requested)])
    items = [
        build_role(CTImageStorage, scu_role=True, scp_role=True),
        AsynchronousOperationsWindowNegotiation(5, 7),
        SOPClassExtendedNegotiation(CTImageStorage, b"\x01\x02"),
        SOPClassCommonExtendedNegotiation(CTImageStorage, "1.2.840.10008.4.2", [MRImageStorage]),
        UserIdentityNegotiation(2, b"name", b"word"),
    ]
    ae = AE()
    ae.add_requested_context(CTImageStorage)
    with ae.associate("127.0.0.1", port, ext_neg=items) as assoc:
        assert assoc.is_established, assoc.error
    told.wait_for("requested")
    assert heard == {
        "roles": {CTImageStorage: (True, True)},
        "window": (5, 7),
        "extended": {CTImageStorage: b"\x01\x02"},
        "common": {CTImageStorage: ("1.2.840.10008.4.2", [MRImageStorage])},
        "identity": (2, b"name", b"word"),
    }


def test_handlers_are_called_with_the_event_and_their_arguments(serve, associate, told):
    def heard(event, *args):
        told.note((event.event.name, event.assoc.association_id, args))

    server = serve()
    handlers = [(evt.EVT_ACCEPTED, heard, [1, "two"]), (evt.EVT_RELEASED, heard)]
    assoc = associate(server.server_address[1], evt_handlers=handlers)
    assert set(assoc.get_events()) == {evt.EVT_ACCEPTED, evt.EVT_RELEASED}
    assoc.release()
    told.wait_for(
        ("EVT_ACCEPTED", assoc.association_id, (1, "two")),
        ("EVT_RELEASED", assoc.association_id, ()),
    )


# -- our end of the connection


def test_our_port_is_any_that_is_free_by_default(serve, associate):
    port = serve().server_address[1]
    first, second = associate(port), associate(port)
    assert first.requestor.port != second.requestor.port
    assert first.requestor.address == "127.0.0.1"


def test_our_end_is_bound_where_that_is_asked_for(serve, associate, told, free_port):
    server = serve(handlers=told.handlers(evt.EVT_ESTABLISHED))
    assoc = associate(server.server_address[1], bind_address=("127.0.0.2", free_port))
    assert (assoc.requestor.address, assoc.requestor.port) == ("127.0.0.2", free_port)
    told.wait_for("EVT_ESTABLISHED")
    assert told.associations[0].requestor.info["port"] == free_port
    assert told.associations[0].requestor.info["address"] == "127.0.0.2"


def test_port_0_binds_the_host_alone(serve, associate):
    assoc = associate(serve().server_address[1], bind_address=("127.0.0.3", 0))
    assert assoc.requestor.address == "127.0.0.3"
    assert assoc.requestor.port > 0


def test_our_end_is_bound_over_ipv6(serve, associate, ipv6):
    assoc = associate(serve(address=(ipv6, 0)).server_address[1], host=ipv6, bind_address=(ipv6, 0))
    assert assoc.requestor.address == ipv6


def test_a_peer_of_pynetdicom_sees_our_end_where_it_is_bound(pynetdicom, pynetdicom_scp, told, free_port):
    def opened(event):
        told.note((event.address[0], event.address[1]))

    _, port = pynetdicom_scp(handlers=[(pynetdicom.evt.EVT_CONN_OPEN, opened)])
    ae = AE()
    ae.add_requested_context(Verification)
    with ae.associate("127.0.0.1", port, bind_address=("127.0.0.1", free_port)) as assoc:
        assert assoc.is_established, assoc.error
    told.wait_for(("127.0.0.1", free_port))


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1", "::1"])
def test_an_end_that_cannot_be_bound_is_a_failure_that_says_why(serve, associate, host):
    """In use, of another machine, of another family."""
    server = serve()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1] if host == "127.0.0.1" else 0
        assoc = associate(server.server_address[1], bind_address=(host, port), refused=True)
    assert isinstance(assoc.error, ConnectionLost)
    assert "address" in str(assoc.error).lower()


# -- rejections


REJECTIONS = {
    (1, 1, 1): "permanently, DICOM UL service-user: no reason given",
    (1, 1, 2): "permanently, DICOM UL service-user: application context name not supported",
    (1, 1, 3): "permanently, DICOM UL service-user: calling AE title not recognized",
    (1, 1, 7): "permanently, DICOM UL service-user: called AE title not recognized",
    (1, 2, 1): "permanently, DICOM UL service-provider (ACSE related function): no reason given",
    (1, 2, 2): "permanently, DICOM UL service-provider (ACSE related function): protocol version not supported",
    (2, 3, 1): "transiently, DICOM UL service-provider (presentation related function): temporary congestion",
    (2, 3, 2): "transiently, DICOM UL service-provider (presentation related function): local limit exceeded",
    (1, 1, 9): "permanently, DICOM UL service-user: reason 9",
}


@pytest.mark.parametrize(("numbers", "words"), REJECTIONS.items())
def test_a_rejection_is_no_exception_and_tells_who_and_why(peer_by_hand, associate, told, numbers, words):
    def play(peer):
        peer.receive()
        peer.send(AssociateRJ(*numbers))
        peer.drain()

    handlers = told.handlers(*ENDS, evt.EVT_REJECTED, evt.EVT_ACCEPTED)
    assoc = associate(peer_by_hand(play).port, refused=True, evt_handlers=handlers)
    assert (assoc.is_rejected, assoc.is_aborted, assoc.is_released) == (True, False, False)
    assert isinstance(assoc.error, Rejected)
    assert (assoc.error.result, assoc.error.source, assoc.error.reason) == numbers
    assert str(assoc.error) == f"the peer rejected the association: {words}"
    assert told.events == ["EVT_REJECTED", "EVT_CONN_CLOSE"]
    assert assoc.accepted_contexts == assoc.rejected_contexts == []


def test_pynetdicom_rejects_a_title_that_it_does_not_have(pynetdicom_scp):
    _, port = pynetdicom_scp(require_called_aet=True)
    ae = AE()
    ae.add_requested_context(Verification)
    assoc = ae.associate("127.0.0.1", port, ae_title="WRONG")
    assert assoc.is_rejected
    assert (assoc.error.result, assoc.error.source, assoc.error.reason) == (1, 1, 7)
    with ae.associate("127.0.0.1", port, ae_title="PEER") as right:
        assert right.is_established


def test_what_needs_an_association_raises_without_one_and_says_what_to_look_at(peer_by_hand, associate):
    def play(peer):
        peer.receive()
        peer.send(AssociateRJ(1, 1, 1))
        peer.drain()

    assoc = associate(peer_by_hand(play).port, refused=True)
    with pytest.raises(RuntimeError, match="C-STORE needs an established association: look at is_established"):
        assoc.send_c_store(instance())
    with pytest.raises(RuntimeError, match="C-FIND needs an established association"):
        assoc.send_c_find(Dataset(), FIND)
    with pytest.raises(RuntimeError, match="C-CANCEL needs an established association"):
        assoc.send_c_cancel(1, 1)
    with pytest.raises(RuntimeError, match="N-GET needs an established association"):
        assoc.send_n_get([], Verification, "1.2.3")
    assoc.release()
    assoc.abort()


def test_an_echo_without_an_association_raises_likewise(associate, free_port):
    assoc = associate(free_port, refused=True)
    with pytest.raises(RuntimeError, match="C-ECHO needs an established association: look at is_established"):
        assoc.send_c_echo()


# -- failures


def test_nobody_who_listens_is_a_failure_that_says_so(associate, free_port, told):
    assoc = associate(free_port, refused=True, evt_handlers=told.handlers(*ENDS, evt.EVT_CONN_OPEN))
    assert isinstance(assoc.error, ConnectionLost)
    assert f"cannot connect to 127.0.0.1:{free_port}: Connection refused" in str(assoc.error)
    assert (assoc.is_aborted, assoc.is_rejected, assoc.is_released) == (True, False, False)
    assert told.events == ["EVT_ABORTED"]


def test_a_host_that_does_not_exist_is_a_failure_that_says_so(associate):
    assoc = associate(104, host="fe80::1%nowhere", refused=True)
    assert isinstance(assoc.error, ConnectionLost)
    assert "cannot connect to [fe80::1%nowhere]:104" in str(assoc.error)


def closes(peer):
    peer.receive()
    peer.socket.close()


def resets(peer):
    peer.receive()
    peer.reset()


def aborts(peer):
    peer.receive()
    peer.send(Abort(2, 1))
    peer.drain()


def talks_nonsense(peer):
    peer.receive()
    peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    peer.drain()


def answers_something_else(peer):
    peer.receive()
    peer.send(ReleaseRP())
    peer.drain()


def accepts_what_nobody_proposed(peer):
    peer.accept(syntax="1.2.840.10008.1.2.4.50")
    peer.drain()


def takes_no_fragment(peer):
    peer.accept(maximum_length=4)
    peer.drain()


FAILURES = [
    (closes, ConnectionLost, "the peer closed the connection"),
    (resets, ConnectionLost, "Connection reset by peer"),
    (aborts, Aborted, "service-provider: unrecognized PDU"),
    (talks_nonsense, ProtocolError, "a PDU of the unknown type 48H"),
    (answers_something_else, ProtocolError, "A-RELEASE-RP"),
    (accepts_what_nobody_proposed, ProtocolError, "in a syntax nobody proposed"),
    (takes_no_fragment, ProtocolError, "leaves no room for a fragment"),
]


@pytest.mark.parametrize(("play", "error", "message"), FAILURES)
def test_a_peer_that_does_not_answer_as_it_should_is_a_failure_that_says_how(
    peer_by_hand, associate, told, play, error, message
):
    peer = peer_by_hand(play)
    assoc = associate(peer.port, refused=True, evt_handlers=told.handlers(*ENDS, evt.EVT_ESTABLISHED))
    assert isinstance(assoc.error, error)
    assert message in str(assoc.error)
    assert assoc.is_aborted
    assert told.events == ["EVT_ABORTED", "EVT_CONN_CLOSE"]
    peer.done.result(PATIENCE)
    if error is ProtocolError:
        assert peer.received == ["AssociateRQ", "Abort"]


# -- times


def took(began: float) -> float:
    return time.monotonic() - began


def test_a_connection_that_does_not_come_about_is_waited_for_connection_timeout():
    """A listener whose queue is full takes no connection, and says nothing."""
    with ExitStack() as open_sockets:
        listening = open_sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            filler = open_sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        ae = AE()
        ae.add_requested_context(Verification)
        ae.connection_timeout = 0.2
        began = time.monotonic()
        assoc = ae.associate(*listening.getsockname())
        assert 0.2 <= took(began) < 5
    assert not assoc.is_established
    assert isinstance(assoc.error, ConnectionLost)
    assert "timed out" in str(assoc.error)


def test_a_tls_handshake_that_is_not_answered_is_waited_for_connection_timeout(peer_by_hand, associate, site):
    peer = peer_by_hand(lambda peer: peer.wait())
    began = time.monotonic()
    assoc = associate(
        peer.port, settings={"connection_timeout": 0.2}, tls_args=(site.client(), "pacs.example"), refused=True
    )
    assert 0.2 <= took(began) < 5
    assert isinstance(assoc.error, Expired)


def test_an_answer_to_the_request_is_waited_for_acse_timeout(peer_by_hand, associate):
    peer = peer_by_hand(lambda peer: peer.drain())
    began = time.monotonic()
    assoc = associate(peer.port, settings={"acse_timeout": 0.2}, refused=True)
    assert 0.2 <= took(began) < 5
    assert isinstance(assoc.error, Expired)
    assert "did not answer A-ASSOCIATE-RQ" in str(assoc.error)
    peer.done.result(PATIENCE)
    assert peer.received == ["AssociateRQ", "Abort"]


def accepts_and_reads(peer):
    peer.accept()
    peer.drain()


# Without handlers for what the peer may do, whoever asks reads; with them, a thread reads all the time.
ATTENDED = pytest.mark.parametrize("attended", [False, True], ids=["unattended", "attended"])


@ATTENDED
def test_a_response_is_waited_for_dimse_timeout_and_then_the_association_is_aborted(
    peer_by_hand, associate, told, attended
):
    peer = peer_by_hand(accepts_and_reads)
    handlers = told.handlers(*ENDS) if attended else []
    assoc = associate(peer.port, settings={"dimse_timeout": 0.2}, evt_handlers=handlers)
    began = time.monotonic()
    assert "Status" not in assoc.send_c_echo()
    assert 0.2 <= took(began) < 5
    assert (assoc.is_established, assoc.is_aborted) == (False, True)
    assert isinstance(assoc.error, Expired)
    peer.done.result(PATIENCE)
    assert peer.received == ["AssociateRQ", "DataTF", "Abort"]


def test_a_response_that_did_not_come_is_named_in_the_error(peer_by_hand, associate):
    assoc = associate(peer_by_hand(accepts_and_reads).port, settings={"dimse_timeout": 0.1})
    assoc.send_c_echo()
    assert "did not answer C-ECHO" in str(assoc.error)


def test_the_timeouts_of_one_association_may_be_changed(peer_by_hand, associate):
    assoc = associate(peer_by_hand(accepts_and_reads).port)
    assert (assoc.acse_timeout, assoc.dimse_timeout, assoc.network_timeout) == (30.0, 30.0, 60.0)
    assoc.dimse_timeout = 0.1
    assert "Status" not in assoc.send_c_echo()
    assert isinstance(assoc.error, Expired)


def test_a_silent_peer_is_aborted_after_network_timeout_where_a_thread_attends(peer_by_hand, associate, told):
    peer = peer_by_hand(accepts_and_reads)
    began = time.monotonic()
    assoc = associate(peer.port, settings={"network_timeout": 0.2}, evt_handlers=told.handlers(*ENDS))
    assert told.wait_for("EVT_CONN_CLOSE") == ["EVT_ABORTED", "EVT_CONN_CLOSE"]
    assert 0.2 <= took(began) < 5
    assert isinstance(assoc.error, Expired)
    peer.done.result(PATIENCE)
    assert peer.received == ["AssociateRQ", "Abort"]


@pytest.mark.parametrize("name", ["acse", "dimse", "network", "connection", "write"])
def test_none_waits_without_end(serve, associate, told, name):
    server = serve(settings={f"{name}_timeout": None}, handlers=told.handlers(evt.EVT_RELEASED))
    for handlers in ([], told.handlers(evt.EVT_RELEASED)):
        assoc = associate(server.server_address[1], settings={f"{name}_timeout": None}, evt_handlers=handlers)
        assert assoc.send_c_echo().Status == 0x0000
        assoc.release()
        assert assoc.is_released
    told.wait_for("EVT_RELEASED", "EVT_RELEASED", "EVT_RELEASED")


def reads_after_a_full_window(peer):
    """Larger than any window: the sender has to wait before the first byte is read."""
    peer.accept()
    peer.wait()


@pytest.mark.parametrize("security", ["plain", "tls"])
def test_without_dimse_timeout_a_peer_that_reads_slowly_is_waited_for(serve, associate, site, security):
    lengths = []

    def stored(event):
        lengths.append(len(event.dataset.PixelData))
        return 0x0000

    how, args = (
        ({}, {})
        if security == "plain"
        else ({"ssl_context": site.server()}, {"tls_args": (site.client(), "pacs.example")})
    )
    server = serve([CTImageStorage], [(evt.EVT_C_STORE, stored)], **how)
    assoc = associate(server.server_address[1], [CTImageStorage], settings={"dimse_timeout": None}, **args)
    assert assoc.send_c_store(instance(size=64 << 20)).Status == 0x0000
    assert lengths == [64 << 20]


def test_a_peer_that_does_not_read_is_waited_for_write_timeout(peer_by_hand, associate):
    peer = peer_by_hand(reads_after_a_full_window)
    assoc = associate(peer.port, [CTImageStorage], settings={"write_timeout": 0.2})
    began = time.monotonic()
    assert "Status" not in assoc.send_c_store(instance(size=32 << 20))
    assert not assoc.is_established
    assert 0.2 <= took(began) < 5


def test_a_peer_that_does_not_read_ends_the_association(peer_by_hand, associate):
    peer = peer_by_hand(reads_after_a_full_window)
    assoc = associate(peer.port, [CTImageStorage], settings={"write_timeout": 0.2, "dimse_timeout": 0.2})
    assert "Status" not in assoc.send_c_store(instance(size=32 << 20))
    assert assoc.is_aborted
    assert "does not read" in str(assoc.error)


# -- how it ends


def test_a_context_manager_releases_at_the_end(serve, told):
    server = serve(handlers=told.handlers(evt.EVT_RELEASED, evt.EVT_ABORTED))
    ae = AE()
    ae.add_requested_context(Verification)
    with ae.associate("127.0.0.1", server.server_address[1]) as assoc:
        assert assoc.send_c_echo().Status == 0x0000
    assert assoc.is_released
    assert told.wait_for("EVT_RELEASED") == ["EVT_RELEASED"]


@pytest.mark.parametrize("error", [KeyError("what went wrong"), KeyboardInterrupt()])
def test_a_context_manager_aborts_when_something_went_wrong_and_lets_it_pass(serve, told, error):
    server = serve(handlers=told.handlers(evt.EVT_RELEASED, evt.EVT_ABORTED))
    ae = AE()
    ae.add_requested_context(Verification)
    with pytest.raises(type(error)):
        with ae.associate("127.0.0.1", server.server_address[1]) as assoc:
            raise error
    assert (assoc.is_aborted, assoc.is_released, assoc.is_established) == (True, False, False)
    assert told.wait_for("EVT_ABORTED") == ["EVT_ABORTED"]


def test_a_context_manager_does_nothing_where_there_is_no_association(free_port):
    ae = AE()
    ae.add_requested_context(Verification)
    with ae.associate("127.0.0.1", free_port) as assoc:
        assert not assoc.is_established
    assert isinstance(assoc.error, ConnectionLost)
    assert not assoc.is_released


def test_a_context_manager_may_hold_what_was_released_or_aborted_inside(serve, told):
    server = serve(handlers=told.handlers(evt.EVT_RELEASED, evt.EVT_ABORTED))
    ae = AE()
    ae.add_requested_context(Verification)
    for end in ("release", "abort"):
        with ae.associate("127.0.0.1", server.server_address[1]) as assoc:
            getattr(assoc, end)()
        assert (assoc.is_released, assoc.is_aborted) == (end == "release", end == "abort")
    assert sorted(told.wait_for("EVT_RELEASED", "EVT_ABORTED")) == ["EVT_ABORTED", "EVT_RELEASED"]


@ATTENDED
def test_a_release_is_told_once_at_both_ends(serve, associate, told, attended):
    theirs = type(told)()
    server = serve(handlers=theirs.handlers(*ENDS))
    assoc = associate(server.server_address[1], evt_handlers=told.handlers(*ENDS) if attended else [])
    for handler in () if attended else told.handlers(*ENDS):
        assoc.bind(*handler)
    assoc.release()
    assoc.release()
    assoc.abort()
    assert assoc.is_released
    assert assoc.error is None
    assert told.wait_for("EVT_CONN_CLOSE") == ["EVT_RELEASED", "EVT_CONN_CLOSE"]
    assert theirs.wait_for("EVT_CONN_CLOSE") == ["EVT_RELEASED", "EVT_CONN_CLOSE"]
    assert theirs.associations[0].is_released


@ATTENDED
def test_an_abort_is_told_once_at_both_ends_and_says_by_whom(serve, associate, told, attended):
    theirs = type(told)()
    server = serve(handlers=theirs.handlers(*ENDS))
    assoc = associate(server.server_address[1], evt_handlers=told.handlers(*ENDS) if attended else [])
    for handler in () if attended else told.handlers(*ENDS):
        assoc.bind(*handler)
    assoc.abort()
    assoc.abort()
    assoc.release()
    assert told.wait_for("EVT_CONN_CLOSE") == ["EVT_ABORTED", "EVT_CONN_CLOSE"]
    assert theirs.wait_for("EVT_CONN_CLOSE") == ["EVT_ABORTED", "EVT_CONN_CLOSE"]
    assert isinstance(assoc.error, Interrupted)
    assert "this side" in str(assoc.error)
    assert isinstance(theirs.associations[0].error, Aborted)


@ATTENDED
def test_pynetdicom_hears_a_release_and_an_abort(pynetdicom, pynetdicom_scp, told, attended):
    events = pynetdicom.evt
    handlers = [(event, told._hear) for event in (events.EVT_RELEASED, events.EVT_ABORTED)]
    _, port = pynetdicom_scp(handlers=handlers)
    ae = AE()
    ae.add_requested_context(Verification)
    mine = [(evt.EVT_C_ECHO, lambda _: 0x0000)] if attended else []
    for end, name in (("release", "EVT_RELEASED"), ("abort", "EVT_ABORTED")):
        assoc = ae.associate("127.0.0.1", port, evt_handlers=mine)
        assert assoc.send_c_echo().Status == 0x0000
        getattr(assoc, end)()
        assert assoc.is_released == (end == "release")
        told.wait_for(name)


@ATTENDED
def test_a_release_that_is_not_answered_ends_in_an_abort(peer_by_hand, associate, told, attended):
    peer = peer_by_hand(accepts_and_reads)
    handlers = told.handlers(*ENDS)
    assoc = associate(peer.port, settings={"acse_timeout": 0.2}, evt_handlers=handlers if attended else [])
    for handler in () if attended else handlers:
        assoc.bind(*handler)
    began = time.monotonic()
    assoc.release()
    assert 0.2 <= took(began) < 5
    peer.done.result(PATIENCE)
    assert peer.received == ["AssociateRQ", "ReleaseRQ", "Abort"]
    assert told.wait_for("EVT_CONN_CLOSE") == ["EVT_ABORTED", "EVT_CONN_CLOSE"]
    assert (assoc.is_aborted, assoc.is_released) == (True, False)
    assert isinstance(assoc.error, Expired)


@ATTENDED
def test_a_release_that_the_peer_answers_with_an_abort_is_an_abort(peer_by_hand, associate, told, attended):
    def play(peer):
        peer.accept()
        peer.receive()
        peer.send(Abort(0, 0))
        peer.drain()

    handlers = told.handlers(*ENDS) if attended else []
    assoc = associate(peer_by_hand(play).port, evt_handlers=handlers)
    assoc.release()
    assert (assoc.is_aborted, assoc.is_released) == (True, False)
    assert isinstance(assoc.error, Aborted)


@ATTENDED
def test_a_peer_that_closes_instead_of_answering_a_release_has_gone_all_the_same(peer_by_hand, associate, attended):
    def play(peer):
        peer.accept()
        peer.receive()
        peer.socket.close()

    assoc = associate(peer_by_hand(play).port, evt_handlers=[(evt.EVT_RELEASED, print)] if attended else [])
    assoc.release()
    assert not assoc.is_established
    assert assoc.is_released


@ATTENDED
def test_both_sides_may_ask_for_release_at_once(peer_by_hand, associate, attended):
    """PS3.8 9.2.1: the requestor answers first, then the acceptor."""

    def play(peer):
        peer.accept()
        peer.receive()
        peer.send(ReleaseRQ())
        peer.receive()
        peer.send(ReleaseRP())
        peer.drain()

    peer = peer_by_hand(play)
    assoc = associate(peer.port, evt_handlers=[(evt.EVT_RELEASED, print)] if attended else [])
    assoc.release()
    assert assoc.is_released
    assert assoc.error is None
    peer.done.result(PATIENCE)
    assert peer.received == ["AssociateRQ", "ReleaseRQ", "ReleaseRP"]


@ATTENDED
def test_an_abort_ends_a_release_that_the_peer_does_not_answer(peer_by_hand, associate, beside, told, attended):
    def play(peer):
        peer.accept()
        peer.receive()
        peer.has_begun.set()
        peer.drain()

    for _ in range(40):  # two threads end it at once, each in its way
        mine = type(told)()
        handlers = mine.handlers(*ENDS)
        peer = peer_by_hand(play)
        assoc = associate(peer.port, evt_handlers=handlers if attended else [])
        for handler in () if attended else handlers:
            assoc.bind(*handler)
        releasing = beside(assoc.release)
        assert peer.has_begun.wait(PATIENCE)
        with pytest.raises(TimeoutError):
            releasing.result(0.005)
        beside(assoc.abort).result(2)
        releasing.result(2)
        assert (assoc.is_aborted, assoc.is_released) == (True, False)
        assert mine.wait_for("EVT_CONN_CLOSE") == ["EVT_ABORTED", "EVT_CONN_CLOSE"]
        peer.done.result(PATIENCE)
        assert peer.received == ["AssociateRQ", "ReleaseRQ", "Abort"]


# -- what the peer did meanwhile


def then(*what):
    """Accept, wait for the test's word, do something, and read until the end."""

    def play(peer):
        peer.accept()
        peer.wait()
        for one in what:
            one(peer)
        peer.drain()

    return play


def hang_up(peer):
    peer.socket.shutdown(socket.SHUT_WR)


def reset(peer):
    peer.reset()
    raise ConnectionError  # there is nothing to read from any more


MEANWHILE = {
    "release": (lambda peer: peer.send(ReleaseRQ()), type(None), ["ReleaseRP"]),
    "abort": (lambda peer: peer.send(Abort(0, 0)), Aborted, []),
    "abort by the provider": (lambda peer: peer.send(Abort(2, 2)), Aborted, []),
    "close": (hang_up, ConnectionLost, []),
    "reset": (reset, ConnectionLost, []),
    "nonsense": (lambda peer: peer.send(b"GET / HTTP/1.1\r\n\r\n"), ProtocolError, ["Abort"]),
    "what has no place": (lambda peer: peer.send(ReleaseRP()), ProtocolError, ["Abort"]),
    "half a PDU": (lambda peer: (peer.send(b"\x04\0\0\0\1\0\0"), hang_up(peer)), ConnectionLost, []),
}


@ATTENDED
@pytest.mark.parametrize("what", MEANWHILE)
def test_is_established_notices_what_the_peer_did(peer_by_hand, associate, told, until, attended, what):
    act, error, answer = MEANWHILE[what]
    peer = peer_by_hand(then(act))
    handlers = told.handlers(*ENDS)
    assoc = associate(peer.port, evt_handlers=handlers if attended else [])
    for handler in () if attended else handlers:
        assoc.bind(*handler)
    assert assoc.is_established
    peer.may_go_on.set()
    until(lambda: not assoc.is_established)
    first = "EVT_RELEASED" if error is type(None) else "EVT_ABORTED"
    assert told.wait_for("EVT_CONN_CLOSE") == [first, "EVT_CONN_CLOSE"]
    assert isinstance(assoc.error, error)
    assert (assoc.is_released, assoc.is_aborted) == (error is type(None), error is not type(None))
    assert repr(assoc).endswith("not established>")
    with pytest.raises(RuntimeError, match="needs an established association"):
        assoc.send_c_echo()
    assoc.release()
    assoc.abort()
    assert told.events == [first, "EVT_CONN_CLOSE"]
    if what != "reset":
        peer.done.result(PATIENCE)
        assert peer.received == ["AssociateRQ", *answer]


@pytest.mark.parametrize("end", ["release", "abort"])
def test_is_established_notices_under_tls_what_the_peer_did(serve, associate, told, until, site, end):
    server = serve(handlers=told.handlers(evt.EVT_ESTABLISHED), ssl_context=site.server())
    assoc = associate(server.server_address[1], tls_args=(site.client(), "pacs.example"))
    told.wait_for("EVT_ESTABLISHED")
    assert assoc.is_established
    ending = getattr(told.associations[0], end)
    ending_thread = threading.Thread(target=ending)
    ending_thread.start()
    until(lambda: not assoc.is_established)
    ending_thread.join(PATIENCE)
    assert (assoc.is_released, assoc.is_aborted) == (end == "release", end == "abort")


@ATTENDED
def test_is_established_notices_that_pynetdicom_aborts(pynetdicom, pynetdicom_scp, until, told, attended):
    _, port = pynetdicom_scp(handlers=[(pynetdicom.evt.EVT_ESTABLISHED, told._hear)])
    ae = AE()
    ae.add_requested_context(Verification)
    handlers = [(evt.EVT_C_ECHO, lambda _: 0x0000)] if attended else []
    assoc = ae.associate("127.0.0.1", port, evt_handlers=handlers)
    told.wait_for("EVT_ESTABLISHED")
    assert assoc.is_established
    told.associations[0].abort()
    until(lambda: not assoc.is_established)
    until(lambda: assoc.is_aborted)
    assert isinstance(assoc.error, (Aborted, ConnectionLost))  # at times it closes before its A-ABORT has left


def while_it_owes_an_answer(act):
    def play(peer):
        peer.accept()
        peer.receive()
        act(peer)
        peer.drain()

    return play


@ATTENDED
@pytest.mark.parametrize("what", MEANWHILE)
def test_an_operation_that_the_peer_ends_gives_an_empty_status_and_the_reason(peer_by_hand, associate, attended, what):
    act, error, _ = MEANWHILE[what]
    peer = peer_by_hand(while_it_owes_an_answer(act))
    assoc = associate(peer.port, evt_handlers=[(evt.EVT_RELEASED, lambda _: None)] if attended else [])
    assert "Status" not in assoc.send_c_echo()
    assert not assoc.is_established
    assert isinstance(assoc.error, error)
    assert (assoc.is_released, assoc.is_aborted) == (error is type(None), error is not type(None))


def test_a_program_may_end_an_association_while_it_waits_for_an_answer(serve, associate, beside, told):
    go_on = threading.Event()

    def slow(event):
        told.note("asked")
        go_on.wait(PATIENCE)
        return 0x0000

    server = serve(handlers=[(evt.EVT_C_ECHO, slow)])
    for handlers in ([], [(evt.EVT_C_STORE, lambda _: 0x0000)]):
        go_on.clear()
        told.events.clear()
        assoc = associate(server.server_address[1], evt_handlers=handlers)
        answer = beside(assoc.send_c_echo)
        told.wait_for("asked")
        assoc.abort()
        assert "Status" not in answer.result(PATIENCE)
        assert assoc.is_aborted
        go_on.set()


def test_an_abort_while_an_answer_is_waited_for_is_told_once(serve, associate, beside, told):
    go_on = threading.Event()
    theirs = type(told)()

    def slow(event):
        theirs.note("asked")
        go_on.wait(PATIENCE)
        return 0x0000

    assoc = associate(serve(handlers=[(evt.EVT_C_ECHO, slow)]).server_address[1])
    for handler in told.handlers(*ENDS):
        assoc.bind(*handler)
    answer = beside(assoc.send_c_echo)
    theirs.wait_for("asked")
    assoc.abort()
    answer.result(PATIENCE)
    go_on.set()
    assert told.events == ["EVT_ABORTED", "EVT_CONN_CLOSE"]


@ATTENDED
def test_a_release_while_another_thread_waits_for_an_answer_leaves_it_its_answer(
    peer_by_hand, associate, beside, told, attended
):
    """Whether it waits its turn or is sent at once: then the acceptor still sends what it owes (PS3.8 7.2)."""
    request = CEchoRQ(message_id=1, affected_sop_class_uid=str(Verification))
    answer_pdu = bytes(fragment.command(1, codec.encode(respond(request, 0x0000)), 16384))

    def play(peer):
        peer.accept()
        peer.receive()
        told.note("asked")
        sent_at_once, _, _ = select.select([peer.socket], [], [], 0.2)
        if sent_at_once:
            peer.receive()
            select.select([peer.socket], [], [], 0.1)  # until both of its threads wait
            peer.send(answer_pdu + ReleaseRP().encode())
        else:
            peer.send(answer_pdu)
            peer.receive()
            peer.send(ReleaseRP())
        peer.drain()

    handlers = [(evt.EVT_RELEASED, lambda _: None)] if attended else []
    peer = peer_by_hand(play)
    assoc = associate(peer.port, settings={"acse_timeout": 0.5, "dimse_timeout": 0.5}, evt_handlers=handlers)
    answer = beside(assoc.send_c_echo)
    told.wait_for("asked")
    released = beside(assoc.release)
    assert answer.result(PATIENCE).get("Status") == 0x0000
    released.result(PATIENCE)
    assert assoc.is_released
    peer.done.result(PATIENCE)
    assert peer.received == ["AssociateRQ", "DataTF", "ReleaseRQ"]


def answers_when_it_has_all(peer):
    """Wait after the first PDU; answer a C-STORE whose last fragment has come, and a release."""
    peer.accept()
    peer.receive()
    peer.has_begun.set()
    peer.wait()
    while True:
        pdu = peer.receive()
        if isinstance(pdu, ReleaseRQ):
            peer.send(ReleaseRP())
        elif isinstance(pdu, DataTF):
            peer.received.pop()
            if any(value.is_last and not value.is_command for value in pdu.values):
                peer.received.append("the last fragment")
                request = CStoreRQ(
                    message_id=1,
                    affected_sop_class_uid=CTImageStorage,
                    affected_sop_instance_uid="1.2.3.4",
                    priority=2,
                    has_data_set=True,
                )
                peer.send(bytes(fragment.command(1, codec.encode(respond(request, 0x0000)), 16384)))
        else:
            return


@pytest.fixture(scope="module")
def large_file(tmp_path_factory):
    """More than a window takes, in more than one piece."""
    path = tmp_path_factory.mktemp("large") / "large.dcm"
    dataset = instance(size=16 << 20)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    return path


@ATTENDED
def test_a_release_while_another_thread_sends_does_not_cut_its_message_in_two(
    peer_by_hand, associate, beside, large_file, attended
):
    """PS3.8 7.2.1: after A-RELEASE-RQ its sender sends no P-DATA any more."""
    peer = peer_by_hand(answers_when_it_has_all)
    handlers = [(evt.EVT_RELEASED, lambda _: None)] if attended else []
    assoc = associate(peer.port, [(CTImageStorage, ImplicitVRLittleEndian)], evt_handlers=handlers)
    sending = beside(assoc.send_c_store, large_file)
    assert peer.has_begun.wait(PATIENCE)
    released = beside(assoc.release)
    with pytest.raises(TimeoutError):
        released.result(0.1)
    peer.may_go_on.set()
    assert sending.result(PATIENCE).get("Status") == 0x0000
    released.result(PATIENCE)
    assert assoc.is_released
    peer.done.result(PATIENCE)
    assert peer.received == ["AssociateRQ", "DataTF", "the last fragment", "ReleaseRQ"]


@ATTENDED
@pytest.mark.parametrize("what", ["release", "abort", "close", "reset", "nonsense"])
def test_a_peer_that_ends_the_association_in_the_middle_of_our_message_gives_an_empty_status(
    peer_by_hand, associate, large_file, attended, what, hasty
):
    act, error, _ = MEANWHILE[what]

    def play(peer):
        peer.accept()
        peer.receive()
        act(peer)
        peer.drain()

    handlers = [(evt.EVT_RELEASED, lambda _: None)] if attended else []
    for _ in range(5 if attended else 1):  # which of the two threads finds out first is chance
        peer = peer_by_hand(play)
        assoc = associate(peer.port, [(CTImageStorage, ImplicitVRLittleEndian)], evt_handlers=handlers)
        assert "Status" not in assoc.send_c_store(large_file)
        assert not assoc.is_established
        assert isinstance(assoc.error, (error, ConnectionLost))


@ATTENDED
def test_a_release_in_the_middle_of_our_own_message_is_an_abort_when_the_peer_does_not_go_on(
    peer_by_hand, associate, beside, large_file, attended, hasty
):
    for _ in range(16):  # which of the two threads finds out first is chance
        peer = peer_by_hand(answers_when_it_has_all)
        assoc = associate(
            peer.port,
            [(CTImageStorage, ImplicitVRLittleEndian)],
            settings={"acse_timeout": 0.05, "dimse_timeout": 0.05, "write_timeout": 0.05},
            evt_handlers=[(evt.EVT_RELEASED, lambda _: None)] if attended else [],
        )
        sending = beside(assoc.send_c_store, large_file)
        assert peer.has_begun.wait(PATIENCE)
        try:
            assoc.release()
            assert "Status" not in sending.result(PATIENCE)
            assert (assoc.is_aborted, assoc.is_released) == (True, False)
        finally:
            peer.close()


@ATTENDED
def test_an_abort_in_the_middle_of_our_own_message_is_at_once_though_the_peer_does_not_read(
    peer_by_hand, associate, beside, large_file, attended
):
    peer = peer_by_hand(answers_when_it_has_all)
    handlers = [(evt.EVT_RELEASED, lambda _: None)] if attended else []
    assoc = associate(peer.port, [(CTImageStorage, ImplicitVRLittleEndian)], evt_handlers=handlers)
    sending = beside(assoc.send_c_store, large_file)
    assert peer.has_begun.wait(PATIENCE)
    with pytest.raises(TimeoutError):
        sending.result(0.2)  # until the window is full
    aborting = beside(assoc.abort)
    try:
        aborting.result(1)
        assert "Status" not in sending.result(1)
        assert (assoc.is_aborted, assoc.is_released) == (True, False)
    finally:
        peer.close()


@ATTENDED
def test_an_operation_that_waits_for_its_turn_while_another_thread_releases_ends_as_documented(
    serve, associate, beside, told, attended
):
    go_on = threading.Event()

    def slow(event):
        told.note("asked")
        assert go_on.wait(PATIENCE)
        return 0x0000

    handlers = [(evt.EVT_RELEASED, lambda _: None)] if attended else []
    server = serve(handlers=[(evt.EVT_C_ECHO, slow)])
    for _ in range(6):
        go_on.clear()
        told.events.clear()
        assoc = associate(server.server_address[1], evt_handlers=handlers)
        first = beside(assoc.send_c_echo, 1)
        told.wait_for("asked")
        second = beside(assoc.send_c_echo, 2)
        with pytest.raises(TimeoutError):
            second.result(0.02)
        released = beside(assoc.release)
        with pytest.raises(TimeoutError):
            released.result(0.02)
        go_on.set()
        assert first.result(PATIENCE).get("Status") == 0x0000
        released.result(PATIENCE)
        assert assoc.is_released
        try:
            assert second.result(PATIENCE).get("Status") in (0x0000, None)
        except RuntimeError as error:
            assert "needs an established association" in str(error)  # noqa: PT017 it is over


# -- from within handlers


@pytest.mark.parametrize(
    ("event", "what"),
    [
        (evt.EVT_ACCEPTED, "send_c_echo"),
        (evt.EVT_ESTABLISHED, "send_c_echo"),
        (evt.EVT_ESTABLISHED, "release"),
        (evt.EVT_ESTABLISHED, "abort"),
    ],
)
def test_a_requestors_handler_may_use_the_association_at_once(serve, beside, event, what):
    """Here the attendant's thread has not begun."""
    outcome = []
    server = serve()
    ae = AE("SCU")
    ae.add_requested_context(Verification)
    handlers = [
        (event, lambda event: outcome.append(getattr(event.assoc, what)())),
        (evt.EVT_CONN_CLOSE, lambda _: None),
    ]
    call = beside(lambda: ae.associate("127.0.0.1", server.server_address[1], evt_handlers=handlers))
    assoc = call.result(5)
    assert (assoc.is_released, assoc.is_aborted) == (what == "release", what == "abort")
    assert outcome
    assoc.abort()


@pytest.mark.parametrize("event", [evt.EVT_CONN_OPEN, evt.EVT_REQUESTED], ids=str)
def test_a_requestors_handler_may_abort_before_there_is_an_association(serve, associate, told, event):
    assoc = associate(
        serve().server_address[1],
        refused=True,
        evt_handlers=[(event, lambda event: event.assoc.abort()), *told.handlers(*ENDS, evt.EVT_ESTABLISHED)],
    )
    assert assoc.is_aborted
    assert isinstance(assoc.error, Interrupted)
    assert told.events == ["EVT_ABORTED", "EVT_CONN_CLOSE"]


@pytest.mark.parametrize("what", ["send_c_echo", "release", "abort"])
def test_an_acceptors_handler_may_use_the_association_at_once(told, until, what):
    """Here the worker is in the handler, and reads afterwards."""

    def act(event):
        told.note(bool(getattr(event.assoc, what)()) == (what == "send_c_echo"))

    ae = AE()
    ae.add_supported_context(Verification, scu_role=True, scp_role=True)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_ESTABLISHED, act)])
    ae.add_requested_context(Verification)
    assoc = ae.associate(
        *server.server_address,
        ext_neg=[build_role(Verification, scu_role=True, scp_role=True)],
        evt_handlers=[(evt.EVT_CONN_CLOSE, lambda _: None)],
    )
    try:
        told.wait_for(True, timeout=5)
        if what != "send_c_echo":
            until(lambda: assoc.is_released or assoc.is_aborted)
            assert assoc.is_released == (what == "release")
    finally:
        assoc.abort()
        ae.shutdown(0)


# -- TLS


def test_tls_args_secure_the_connection_and_check_the_peers_name(serve, associate, told, site):
    server = serve(handlers=told.handlers(evt.EVT_ESTABLISHED), ssl_context=site.server())
    port = server.server_address[1]
    for name in ("pacs.example", "127.0.0.1"):
        assoc = associate(port, tls_args=(site.client(), name))
        assert assoc.send_c_echo().Status == 0x0000
        assoc.release()
        assert assoc.is_released
    wrong = associate(port, tls_args=(site.client(), "elsewhere.example"), refused=True)
    assert isinstance(wrong.error, ConnectionLost)
    assert "TLS handshake failed" in str(wrong.error)
    assert "not valid for 'elsewhere.example'" in str(wrong.error)
    told.wait_for("EVT_ESTABLISHED", "EVT_ESTABLISHED")


def test_tls_args_without_a_host_name_are_for_contexts_that_check_none(serve, associate, site):
    context = site.client()
    context.check_hostname = False
    server = serve(ssl_context=site.server())
    assert associate(server.server_address[1], tls_args=(context, None)).send_c_echo().Status == 0x0000


def test_a_context_that_checks_the_host_name_wants_one(serve, associate, site):
    """As ``ssl.SSLContext.wrap_socket``; ``wrap_bio``, which is used here, does not insist by itself."""
    context = site.client()
    assert context.check_hostname
    server = serve(ssl_context=site.server())
    with pytest.raises(ValueError, match="tls_args"):
        associate(server.server_address[1], tls_args=(context, None))


def test_a_peer_whose_authority_is_unknown_is_not_trusted(serve, associate, site):
    server = serve(ssl_context=site.server())
    assoc = associate(server.server_address[1], tls_args=(site.client(trusting=False), "pacs.example"), refused=True)
    assert "the peer's certificate is not accepted" in str(assoc.error)
    assert assoc.is_aborted


def test_our_certificate_is_shown_where_the_peer_wants_one(serve, associate, site):
    server = serve(ssl_context=site.server(verify=True))
    port = server.server_address[1]
    certified = associate(port, tls_args=(site.client(certified=True), "pacs.example"))
    assert certified.send_c_echo().Status == 0x0000
    nobody = site.client()
    nobody.maximum_version = ssl.TLSVersion.TLSv1_2  # where a missing certificate ends the handshake itself
    assert associate(port, tls_args=(nobody, "pacs.example"), refused=True).is_aborted
    # In TLS 1.3 the client hears of it after its handshake, in place of the answer to A-ASSOCIATE-RQ.
    assoc = associate(port, tls_args=(site.client(), "pacs.example"), refused=True)
    assert "certificate" in str(assoc.error) or "closed" in str(assoc.error) or "reset" in str(assoc.error)


def test_tls_and_plain_do_not_meet_and_the_error_says_so(serve, associate, site):
    secure, plain = serve(ssl_context=site.server()), serve()
    assoc = associate(secure.server_address[1], refused=True)
    assert isinstance(assoc.error, ConnectionLost)
    assoc = associate(plain.server_address[1], tls_args=(site.client(), "pacs.example"), refused=True)
    assert "TLS handshake failed" in str(assoc.error)


@ATTENDED
def test_large_instances_go_over_tls_in_both_directions(serve, associate, site, beside, attended):
    sizes = []

    def stored(event):
        sizes.append(len(event.dataset.PixelData))
        return 0x0000

    server = serve([CTImageStorage], [(evt.EVT_C_STORE, stored)], ssl_context=site.server())
    handlers = [(evt.EVT_C_ECHO, lambda _: 0x0000)] if attended else []
    assoc = associate(
        server.server_address[1], [CTImageStorage], tls_args=(site.client(), "pacs.example"), evt_handlers=handlers
    )
    for size in (2, 16384, 100_000, 3 << 20):
        assert assoc.send_c_store(instance(size=size)).Status == 0x0000
    assert sizes == [2, 16384, 100_000, 3 << 20]
    assoc.release()
    assert assoc.is_released


def test_pynetdicom_is_called_over_tls(pynetdicom, pynetdicom_scp, site):
    stored = []

    def store(event):
        stored.append(event.dataset.SOPInstanceUID)
        return 0x0000

    _, port = pynetdicom_scp(
        [Verification, CTImageStorage], [(pynetdicom.evt.EVT_C_STORE, store)], ssl_context=site.server()
    )
    ae = AE()
    ae.add_requested_context(Verification)
    ae.add_requested_context(CTImageStorage)
    with ae.associate("127.0.0.1", port, tls_args=(site.client(), "pacs.example")) as assoc:
        assert assoc.is_established, assoc.error
        assert assoc.send_c_echo().Status == 0x0000
        assert assoc.send_c_store(instance("1.2.3.9")).Status == 0x0000
    assert stored == ["1.2.3.9"]


@pytest.mark.parametrize("what", ["text", "none", "server context", "number as name"])
def test_wrong_tls_args_are_an_error_that_names_them(serve, associate, site, what):
    wrong = {
        "text": ("context", None),
        "none": (None, None),
        "server context": (site.server(), "pacs.example"),
        "number as name": (site.client(), 5),
    }[what]
    with pytest.raises((TypeError, ValueError), match="tls_args"):
        associate(serve(ssl_context=site.server()).server_address[1], tls_args=wrong)


# -- roles


ROLES = {
    "1.2.840.10008.5.1.4.1.1.2": (None, None),
    "1.2.840.10008.5.1.4.1.1.4": (None, True),
    "1.2.840.10008.5.1.4.1.1.7": (True, None),
    "1.2.840.10008.5.1.4.1.1.20": (True, True),
    "1.2.840.10008.5.1.4.1.1.128": (True, False),
    "1.2.840.10008.5.1.4.1.1.481.1": (False, True),
    "1.2.840.10008.5.1.4.1.1.481.2": (False, False),
}
SUPPORTED = [{"abstract_syntax": uid, "scu_role": scu, "scp_role": scp} for uid, (scu, scp) in ROLES.items()]
PROPOSED = pytest.mark.parametrize("proposed", [None, (True, False), (False, True), (True, True)])


def outcomes(proposed) -> dict[str, tuple[bool, bool]]:
    """The requestor's roles for each supported pair: default, or what both want; (False, False) is a rejection."""
    default = (True, False)
    if proposed is None:
        return dict.fromkeys(ROLES, default)
    return {
        uid: default if None in (scu, scp) else (proposed[0] and scu, proposed[1] and scp)
        for uid, (scu, scp) in ROLES.items()
    }


def check_roles(requestors, acceptors, rejected, expected):
    mine = {context.abstract_syntax: (context.as_scu, context.as_scp) for context in requestors}
    theirs = {context.abstract_syntax: (context.as_scp, context.as_scu) for context in acceptors}
    accepted = {uid: roles for uid, roles in expected.items() if any(roles)}
    assert mine == theirs == accepted
    assert {context.abstract_syntax: context.result for context in rejected} == dict.fromkeys(
        set(expected) - set(accepted), 1
    )


@PROPOSED
def test_the_outcome_of_role_selection_is_read_at_both_ends(serve, associate, told, proposed):
    """PS3.7 D.3.3.4: rejected, default, reversed, both; nothing is granted that was not proposed."""
    server = serve(SUPPORTED, told.handlers(evt.EVT_ESTABLISHED))
    items = [build_role(uid, *proposed) for uid in ROLES] if proposed else []
    assoc = associate(server.server_address[1], ROLES, ext_neg=items)
    told.wait_for("EVT_ESTABLISHED")
    (other,) = told.associations
    check_roles(assoc.accepted_contexts, other.accepted_contexts, assoc.rejected_contexts, outcomes(proposed))
    answered = {uid for uid, roles in ROLES.items() if proposed and None not in roles}
    assert set(assoc.acceptor.role_selection) == answered
    assert set(other.requestor.role_selection) == (set(ROLES) if proposed else set())


@PROPOSED
def test_pynetdicom_as_acceptor_reads_the_same_outcome(pynetdicom, pynetdicom_scp, told, proposed):
    whole = [one for one in SUPPORTED if (one["scu_role"] is None) == (one["scp_role"] is None)]  # it takes no other
    expected = {one["abstract_syntax"]: outcomes(proposed)[one["abstract_syntax"]] for one in whole}
    _, port = pynetdicom_scp(whole, [(pynetdicom.evt.EVT_ESTABLISHED, told._hear)])
    ae = AE()
    for uid in expected:
        ae.add_requested_context(uid)
    items = [build_role(uid, *proposed) for uid in expected] if proposed else []
    with ae.associate("127.0.0.1", port, ext_neg=items) as assoc:
        told.wait_for("EVT_ESTABLISHED")
        (other,) = told.associations
        check_roles(assoc.accepted_contexts, other.accepted_contexts, assoc.rejected_contexts, expected)


@PROPOSED
def test_pynetdicom_as_requestor_reads_the_same_outcome(serve, pynetdicom, pynetdicom_scu, told, proposed):
    server = serve(SUPPORTED, told.handlers(evt.EVT_ESTABLISHED))
    items = [pynetdicom.build_role(uid, *proposed) for uid in ROLES] if proposed else []
    assoc = pynetdicom_scu(server.server_address[1], ROLES, ext_neg=items)
    told.wait_for("EVT_ESTABLISHED")
    (other,) = told.associations
    check_roles(assoc.accepted_contexts, other.accepted_contexts, assoc.rejected_contexts, outcomes(proposed))
    assoc.release()


def test_the_same_roles_hold_for_every_context_of_an_abstract_syntax(serve, associate):
    server = serve([{"abstract_syntax": CTImageStorage, "scu_role": True, "scp_role": True}])
    requested = [(CTImageStorage, ImplicitVRLittleEndian), (CTImageStorage, ExplicitVRLittleEndian)]
    assoc = associate(server.server_address[1], requested, ext_neg=[build_role(CTImageStorage, scp_role=True)])
    assert [(one.as_scu, one.as_scp) for one in assoc.accepted_contexts] == [(False, True)] * 2


def test_whoever_is_scu_may_ask_and_nobody_else(serve, associate, told, beside):
    """Reversed: the acceptor sends, the requestor stores."""
    server = serve(
        [{"abstract_syntax": CTImageStorage, "scu_role": False, "scp_role": True}],
        told.handlers(evt.EVT_ESTABLISHED),
    )
    stored = type(told)()

    def store(event):
        stored.note((event.dataset.SOPInstanceUID, event.assoc.is_requestor))
        return 0x0000

    assoc = associate(
        server.server_address[1],
        [CTImageStorage],
        ext_neg=[build_role(CTImageStorage, scu_role=True, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, store)],
    )
    told.wait_for("EVT_ESTABLISHED")
    (other,) = told.associations
    with pytest.raises(
        ValueError, match="no presentation context for CT Image Storage was accepted for the role of SCU"
    ):
        assoc.send_c_store(instance())
    assert beside(other.send_c_store, instance("1.2.3.5")).result(PATIENCE).Status == 0x0000
    stored.wait_for(("1.2.3.5", True))
    assert assoc.is_established


def test_both_may_ask_where_both_are_both(serve, associate, told, beside):
    stored = type(told)()

    def store(event):
        stored.note((event.dataset.SOPInstanceUID, event.assoc.mode))
        return 0x0000

    server = serve(
        [{"abstract_syntax": CTImageStorage, "scu_role": True, "scp_role": True}],
        [*told.handlers(evt.EVT_ESTABLISHED), (evt.EVT_C_STORE, store)],
    )
    assoc = associate(
        server.server_address[1],
        [CTImageStorage],
        ext_neg=[build_role(CTImageStorage, scu_role=True, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, store)],
    )
    told.wait_for("EVT_ESTABLISHED")
    ways = (("there", assoc), ("back", told.associations[0]))

    def send(way, association):
        return [association.send_c_store(instance(f"1.2.{way}.{number}")).Status for number in range(20)]

    answers = [beside(send, way, association) for way, (_, association) in enumerate(ways)]
    assert [answer.result(PATIENCE) for answer in answers] == [[0x0000] * 20] * 2
    expected = [(f"1.2.0.{number}", "acceptor") for number in range(20)]
    expected += [(f"1.2.1.{number}", "requestor") for number in range(20)]
    assert sorted(stored.wait_for(*expected)) == sorted(expected)


def test_pynetdicom_as_reversed_requestor_gets_what_we_send(serve, pynetdicom, pynetdicom_scu, told, beside):
    server = serve(
        [{"abstract_syntax": CTImageStorage, "scu_role": False, "scp_role": True}],
        told.handlers(evt.EVT_ESTABLISHED),
    )
    stored = []

    def store(event):
        stored.append(event.dataset.SOPInstanceUID)
        return 0x0000

    assoc = pynetdicom_scu(
        server.server_address[1],
        [CTImageStorage],
        ext_neg=[pynetdicom.build_role(CTImageStorage, scp_role=True)],
        evt_handlers=[(pynetdicom.evt.EVT_C_STORE, store)],
    )
    told.wait_for("EVT_ESTABLISHED")
    (other,) = told.associations
    assert beside(other.send_c_store, instance("1.2.3.6")).result(PATIENCE).Status == 0x0000
    assert stored == ["1.2.3.6"]
    assoc.release()


def test_what_the_peer_asks_is_answered_when_somebody_looks_where_no_thread_attends(
    serve, associate, told, beside, until
):
    roles = {"abstract_syntax": Verification, "scu_role": True, "scp_role": True}
    server = serve([roles], told.handlers(evt.EVT_ESTABLISHED))
    assoc = associate(server.server_address[1], ext_neg=[build_role(Verification, scu_role=True, scp_role=True)])
    told.wait_for("EVT_ESTABLISHED")
    answers = [beside(told.associations[0].send_c_echo, number) for number in (1, 2)]
    until(lambda: all(answer.done() for answer in answers) or not assoc.is_established)
    assert [answer.result(PATIENCE).get("Status") for answer in answers] == [0x0000, 0x0000]
    assert assoc.send_c_echo().Status == 0x0000


# -- several threads


@ATTENDED
def test_two_associations_from_two_threads_do_not_touch_each_other(serve, beside, attended):
    stored = []

    def store(event):
        stored.append((event.assoc.requestor.ae_title, event.dataset.SOPInstanceUID))
        return 0x0000

    server = serve([CTImageStorage], [(evt.EVT_C_STORE, store)])
    begin = threading.Barrier(2)

    def client(ae, name):
        begin.wait(PATIENCE)
        handlers = [(evt.EVT_C_ECHO, lambda _: 0x0000)] if attended else []
        with ae.associate("127.0.0.1", server.server_address[1], evt_handlers=handlers) as assoc:
            return [assoc.send_c_store(instance(f"1.2.{name}.{number}")).Status for number in range(30)]

    ae = AE("SCU")
    ae.add_requested_context(CTImageStorage)
    answers = [beside(client, ae, name) for name in (1, 2)]
    assert [answer.result(PATIENCE) for answer in answers] == [[0x0000] * 30] * 2
    assert sorted(stored) == sorted(("SCU", f"1.2.{name}.{number}") for name in (1, 2) for number in range(30))


@ATTENDED
def test_one_association_is_used_by_two_threads_one_operation_at_a_time(serve, associate, beside, attended):
    stored, echoed = [], []

    def store(event):
        stored.append((event.message_id, event.dataset.SOPInstanceUID))
        return 0x0000

    def echo(event):
        echoed.append(event.message_id)
        return 0x0000

    server = serve([CTImageStorage, Verification], [(evt.EVT_C_STORE, store), (evt.EVT_C_ECHO, echo)])
    handlers = [(evt.EVT_C_ECHO, lambda _: 0x0000)] if attended else []
    assoc = associate(server.server_address[1], [CTImageStorage, Verification], evt_handlers=handlers)
    begin = threading.Barrier(3)

    def storing(first):
        begin.wait(PATIENCE)
        numbers = range(first, first + 40)
        return {assoc.send_c_store(instance(f"1.2.{number}", size=5000), msg_id=number).Status for number in numbers}

    def echoing():
        begin.wait(PATIENCE)
        return {assoc.send_c_echo(msg_id=number).Status for number in range(1000, 1040)}

    answers = [beside(storing, 1), beside(storing, 101), beside(echoing)]
    assert [answer.result(PATIENCE) for answer in answers] == [{0x0000}] * 3
    assert sorted(stored) == sorted((number, f"1.2.{number}") for number in (*range(1, 41), *range(101, 141)))
    assert echoed == list(range(1000, 1040))
    assert assoc.is_established


@ATTENDED
def test_an_operation_waits_for_that_of_another_thread_and_raises_for_its_own(serve, associate, beside, told, attended):
    found = Dataset()
    found.PatientID = "P1"
    server = serve(
        [FIND, Verification],
        [
            (evt.EVT_C_FIND, lambda _: iter([(0xFF00, found)] * 3)),
            (evt.EVT_C_ECHO, lambda _: told.note("echo") or 0x0000),
        ],
    )
    handlers = [(evt.EVT_C_STORE, lambda _: 0x0000)] if attended else []
    assoc = associate(server.server_address[1], [FIND, Verification], evt_handlers=handlers)
    responses = assoc.send_c_find(Dataset(), FIND, msg_id=7)
    assert next(responses)[0].Status == 0xFF00
    with pytest.raises(RuntimeError, match="C-FIND 7 is under way on this association: read its responses first"):
        assoc.send_c_echo()
    echo = beside(assoc.send_c_echo)
    assert [status.Status for status, _ in responses] == [0xFF00, 0xFF00, 0x0000]
    assert echo.result(PATIENCE).Status == 0x0000
    assert told.events == ["echo"]


@ATTENDED
def test_whatever_several_threads_do_to_an_association_it_ends_once(serve, associate, beside, told, attended):
    """Nobody waits for ever, nobody gets anything but an answer, an empty status or what the documentation says."""
    server = serve(handlers=[(evt.EVT_C_ECHO, lambda _: 0x0000)])
    for seed in range(12):
        mine = type(told)()
        handlers = mine.handlers(*ENDS)
        assoc = associate(server.server_address[1], evt_handlers=handlers if attended else [])
        for handler in () if attended else handlers:
            assoc.bind(*handler)
        begin = threading.Barrier(5)
        acts = [beside(_act, assoc, begin, random.Random(f"{seed} {name}"), name < 3) for name in range(5)]
        assert {answer for one in acts for answer in one.result(PATIENCE)} <= {0x0000, None, True}  # False is 0
        assoc.release()
        ended = mine.wait_for("EVT_CONN_CLOSE")
        assert ended in (["EVT_RELEASED", "EVT_CONN_CLOSE"], ["EVT_ABORTED", "EVT_CONN_CLOSE"])
        assert (assoc.is_released, assoc.is_aborted) == (ended[0] == "EVT_RELEASED", ended[0] == "EVT_ABORTED")
        assert not assoc.is_established


def _act(assoc, begin, chance, ends):
    begin.wait(PATIENCE)
    answers = []
    for _ in range(chance.randrange(20)):
        try:
            answers.append(assoc.send_c_echo().get("Status") if chance.random() < 0.8 else assoc.is_established)
        except RuntimeError as error:
            assert "needs an established association" in str(error)  # noqa: PT017 it may be over
    if ends:
        chance.choice([assoc.release, assoc.abort])()
    return answers


def test_many_associations_at_once_from_one_entity(serve, beside):
    server = serve()
    ae = AE("SCU")
    ae.add_requested_context(Verification)
    begin = threading.Barrier(20)

    def client():
        begin.wait(PATIENCE)
        with ae.associate("127.0.0.1", server.server_address[1]) as assoc:
            return [assoc.send_c_echo().get("Status") for _ in range(5)]

    answers = [beside(client) for _ in range(20)]
    assert [answer.result(PATIENCE) for answer in answers] == [[0x0000] * 5] * 20


# -- DCMTK


@pytest.mark.interop
def test_dcmtks_storescp_takes_what_we_send(peer, tmp_path, free_port, until):
    program = peer("storescp")
    process = subprocess.Popen(
        [program, "-od", str(tmp_path), str(free_port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        ae = AE()
        ae.add_requested_context(CTImageStorage)
        ae.add_requested_context(Verification)
        listening = []

        def listens():
            listening[:] = [ae.associate("127.0.0.1", free_port)]
            return listening[0].is_established

        until(listens)
        with listening[0] as assoc:
            assert assoc.send_c_echo().Status == 0x0000
            for number in range(5):
                assert assoc.send_c_store(instance(f"1.2.3.{number}", size=100_000), msg_id=number).Status == 0x0000
        assert assoc.is_released
        assert len(list(tmp_path.iterdir())) == 5
    finally:
        process.kill()
        process.wait(PATIENCE)
