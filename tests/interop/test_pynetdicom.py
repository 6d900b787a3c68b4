"""pynetdicom as the requestor: every shipped file as its own bytes, roles, identity, many contexts."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset

from scpd.sop_class import STORAGE

# pydicom's warnings are about what the tests make it send.
pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore::UserWarning")]

VERIFICATION = "1.2.840.10008.1.1"
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
PRIVATE = "1.3.6.1.4.1.99999.1.7"
# Neither SOP Class nor SOP Instance UID stands in the data sets of these: stored with a warning.
WITHOUT_UIDS = {"UN_sequence.dcm", "priv_SQ.dcm"}
PATH = "{calling}/{SOPInstanceUID}.dcm"


def store(association, one):
    """C-STORE by pynetdicom, once it is ready for the answer.

    Its own reactor thread, still waking up after the operation before, takes a response that comes at once and drops
    it (3.0.4): seen as a DIMSE time-out of its SCU while every byte of the answer had been read.
    """
    patience = time.monotonic() + 30
    while association._is_paused:
        assert time.monotonic() < patience, "pynetdicom's reactor does not wake up"
        os.sched_yield()
    return association.send_c_store(one.path)


@pytest.fixture(scope="module")
def pynetdicom(peer):
    module = peer("pynetdicom")
    before = module._config.STORE_SEND_CHUNKED_DATASET
    module._config.STORE_SEND_CHUNKED_DATASET = True  # a file's own bytes, neither decoded nor encoded
    yield module
    module._config.STORE_SEND_CHUNKED_DATASET = before


@pytest.fixture
def associate(pynetdicom):
    """Associate as an AE; ``contexts`` are pairs of abstract syntax and transfer syntaxes."""
    associations = []

    def start(port, contexts, *, calling="PYNETDICOM", pdu=16382, refused=False, **more):
        entity = pynetdicom.AE(calling)
        for abstract, syntaxes in contexts:
            entity.add_requested_context(abstract, syntaxes)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
        association = entity.associate("127.0.0.1", port, max_pdu=pdu, **more)
        associations.append(association)
        assert association.is_established != refused
        return association

    yield start
    for association in associations:
        if association.is_established:
            association.abort()


@pytest.fixture(scope="module")
def archive(shared_daemon):
    return shared_daemon(storage={"path": PATH})


def ended(daemon, calling: str) -> dict:
    """The canonical line of the association of ``calling``."""
    return daemon.wait_for_log(lambda line: line["event"] == "association" and line["calling"] == calling)


# -- instances


@pytest.mark.parametrize("pdu", [4096, 16382, 0], ids=["4096", "16382", "unlimited"])
def test_every_shipped_file_is_stored_byte_for_byte(daemon, associate, shipped, batches, data_set, pdu):
    """In every transfer syntax of the set: implicit, explicit, big endian, deflated, JPEG, JPEG-LS, JPEG 2000, RLE.

    ``pdu`` is what the peer takes; what it sends is cut by what scpd takes, once small and once as large as usual.
    """
    running = daemon(storage={"path": PATH}, limits={"pdu_length": pdu or "256KiB"})
    compared = 0
    for turn, batch in enumerate(batches(shipped)):
        calling = f"BATCH{turn}"
        contexts = sorted({(one.sop_class, one.transfer_syntax) for one in batch})
        association = associate(running.port, contexts, calling=calling, pdu=pdu)
        answers = {one: store(association, one).Status for one in batch}
        association.release()
        counts = Counter(answers.values())
        line = ended(running, calling)
        assert line["messages"] == {f"C-STORE {status:04X}": count for status, count in counts.items()}
        assert {answers[one] for one in batch} <= {0x0000, 0xB007}
        for one in batch:
            stored = running.directory / calling / f"{one.instance}.dcm"
            assert data_set(stored) == one.data, one.path.name
            meta = dcmread(stored, specific_tags=[]).file_meta
            assert meta.TransferSyntaxUID == one.transfer_syntax
            assert meta.MediaStorageSOPClassUID == one.sop_class
            assert meta.MediaStorageSOPInstanceUID == one.instance
            assert meta.SourceApplicationEntityTitle == calling
            compared += 1
    assert compared == len(shipped)
    assert running.spool() == []


def test_what_pydicom_reads_of_a_stored_file_is_what_was_sent(archive, associate, shipped):
    one = next(one for one in shipped if one.path.name == "CT_small.dcm")
    association = associate(archive.port, [(one.sop_class, one.transfer_syntax)], calling="READBACK")
    assert association.send_c_store(one.path).Status == 0x0000
    association.release()
    stored = dcmread(archive.directory / "READBACK" / f"{one.instance}.dcm")
    assert stored == dcmread(one.path)


def data_set_of(sop_class: str, instance: str) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, instance
    dataset.PatientName, dataset.PatientID = "SECRET^PATIENT", "HIDDEN-4711"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = EXPLICIT
    return dataset


def test_a_private_sop_class_of_the_configuration_is_stored(daemon, associate):
    running = daemon(contexts=[{"sop_classes": PRIVATE, "transfer_syntaxes": EXPLICIT}])
    association = associate(running.port, [(PRIVATE, [EXPLICIT]), (CT, [EXPLICIT])], calling="PRIVATE")
    assert [context.result for context in association.rejected_contexts] == [3]
    assert association.send_c_store(data_set_of(PRIVATE, "1.2.3")).Status == 0x0000
    association.release()
    (stored,) = running.stored()
    assert dcmread(stored).file_meta.MediaStorageSOPClassUID == PRIVATE
    line = ended(running, "PRIVATE")
    assert line["contexts"] == [f"1 {PRIVATE} ExplicitVRLittleEndian"]
    assert line["rejected_contexts"] == ["3 CTImageStorage: abstract syntax not supported"]


def test_128_contexts_are_answered_and_each_can_be_used(archive, associate):
    classes = [str(uid) for uid in STORAGE[:128]]
    association = associate(archive.port, [(uid, [IMPLICIT, EXPLICIT]) for uid in classes], calling="MANY")
    assert len(association.accepted_contexts) + len(association.rejected_contexts) == 128
    accepted = {context.abstract_syntax for context in association.accepted_contexts}
    assert accepted == set(classes)
    for number, uid in enumerate(sorted(accepted)):
        dataset = data_set_of(uid, f"1.2.{number}")
        dataset.file_meta.TransferSyntaxUID = IMPLICIT
        assert association.send_c_store(dataset).Status == 0x0000
    association.release()
    line = ended(archive, "MANY")
    assert line["messages"] == {"C-STORE 0000": len(accepted)}
    assert len(line["contexts"]) + line["unused_contexts"] == len(accepted)


def usual(shipped, *sop_classes):
    """Instances of these classes, each once."""
    chosen = {
        one.instance: one for one in shipped if one.sop_class in sop_classes and one.path.name not in WITHOUT_UIDS
    }
    return list(chosen.values())


def test_four_clients_at_once_lose_nothing(archive, associate, shipped, data_set):
    chosen = usual(shipped, CT, MR)[:25]
    contexts = sorted({(one.sop_class, one.transfer_syntax) for one in chosen})
    statuses: dict[str, list[int]] = {}

    def client(calling: str) -> None:
        association = associate(archive.port, contexts, calling=calling)
        statuses[calling] = [store(association, one).Status for one in chosen]
        association.release()

    threads = [threading.Thread(target=client, args=(f"CLIENT{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses == {f"CLIENT{number}": [0x0000] * len(chosen) for number in range(4)}
    for calling in statuses:
        for one in chosen:
            assert data_set(archive.directory / calling / f"{one.instance}.dcm") == one.data


def test_four_clients_that_send_the_same_instances_leave_each_whole(daemon, associate, shipped, data_set):
    running = daemon(storage={"path": "{SOPInstanceUID}.dcm"})
    chosen = usual(shipped, CT)[:20]
    contexts = sorted({(one.sop_class, one.transfer_syntax) for one in chosen})
    statuses: list[int] = []

    def client() -> None:
        association = associate(running.port, contexts)
        statuses.extend(store(association, one).Status for one in chosen)
        association.release()

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses == [0x0000] * 80
    assert len(running.stored()) == len(chosen)
    for one in chosen:
        assert data_set(running.directory / f"{one.instance}.dcm") == one.data
    assert running.spool() == []


# -- negotiation


def test_the_requestors_order_decides_between_transfer_syntaxes(archive, associate):
    for syntaxes in ([IMPLICIT, EXPLICIT], [EXPLICIT, IMPLICIT]):
        association = associate(archive.port, [(CT, syntaxes)])
        assert association.accepted_contexts[0].transfer_syntax == [syntaxes[0]]
        association.release()


def test_the_acceptors_order_decides_where_it_is_preferred(daemon, associate):
    supported = [{"sop_classes": "CTImageStorage", "transfer_syntaxes": [EXPLICIT, IMPLICIT]}]
    running = daemon(contexts=supported, transfer_syntax_preference="acceptor")
    for syntaxes in ([IMPLICIT, EXPLICIT], [EXPLICIT, IMPLICIT]):
        association = associate(running.port, [(CT, syntaxes)])
        assert association.accepted_contexts[0].transfer_syntax == [EXPLICIT]
        association.release()


@pytest.mark.parametrize("supported", [(True, True), (True, False), (False, True), (False, False), (None, None)])
@pytest.mark.parametrize("proposed", [(True, True), (True, False), (False, True), None])
def test_roles_are_what_was_proposed_and_is_allowed(roles, associate, pynetdicom, supported, proposed):
    """PS3.7 D.3.3.4: the requestor sees itself as SCU, SCP, both, or its context rejected; default without an answer."""
    scu, scp = supported
    extended = [pynetdicom.build_role(CT, *proposed)] if proposed else []
    association = associate(roles(supported), [(CT, [EXPLICIT]), (VERIFICATION, [IMPLICIT])], ext_neg=extended)
    contexts = {context.abstract_syntax: context for context in association.accepted_contexts}
    default = proposed is None or None in supported
    expected = (True, False) if default else (proposed[0] and scu, proposed[1] and scp)
    if expected == (False, False):
        assert CT not in contexts
        (rejected,) = association.rejected_contexts
        assert rejected.result == 1
    else:
        assert (contexts[CT].as_scu, contexts[CT].as_scp) == expected
    assert (contexts[VERIFICATION].as_scu, contexts[VERIFICATION].as_scp) == (True, False)
    association.release()


@pytest.fixture(scope="module")
def roles(shared_daemon):
    """The port of a server with these roles for CT: one daemon has them all."""
    every = [(True, True), (True, False), (False, True), (False, False), (None, None)]

    def server(scu, scp):
        context = {"sop_classes": "CTImageStorage", "scu_role": scu, "scp_role": scp}
        return {"name": f"{scu} {scp}", "contexts": ["verification", context]}

    running = shared_daemon(servers=[server(*one) for one in every])
    return lambda supported: running.port_of("{} {}".format(*supported))


def test_a_user_identity_is_ignored_without_a_response(archive, associate, pynetdicom):
    """PS3.7 D.3.3.7: who does not support it accepts, and stays silent even where a response is asked for."""
    UserIdentityNegotiation = pynetdicom.pdu_primitives.UserIdentityNegotiation
    for kind, primary, secondary in (
        (1, b"somebody", b""),
        (2, b"somebody", b"secret-passcode"),
        (3, b"kerberos-ticket", b""),
        (4, b"<saml/>", b""),
        (5, b"a.b.c", b""),
    ):
        identity = UserIdentityNegotiation()
        identity.user_identity_type = kind
        identity.positive_response_requested = True
        identity.primary_field = primary
        if secondary:
            identity.secondary_field = secondary
        calling = f"IDENTITY{kind}"
        association = associate(archive.port, [(VERIFICATION, [IMPLICIT])], calling=calling, ext_neg=[identity])
        answer = association.acceptor.primitive.user_information
        assert not any(isinstance(item, UserIdentityNegotiation) for item in answer)
        assert association.send_c_echo().Status == 0x0000
        association.release()
        ended(archive, calling)
    told = "\n".join(archive.lines)
    assert "secret-passcode" not in told
    assert "kerberos-ticket" not in told


def test_other_services_are_refused_where_their_context_was_never_accepted(archive, associate):
    find = "1.2.840.10008.5.1.4.1.2.2.1"
    association = associate(archive.port, [(find, [IMPLICIT]), (VERIFICATION, [IMPLICIT])])
    assert [context.abstract_syntax for context in association.rejected_contexts] == [find]
    assert association.send_c_echo().Status == 0x0000
    association.release()


# -- the log


def test_the_canonical_line_says_what_happened_and_nothing_of_the_patient(daemon, associate):
    running = daemon(storage={"path": "{PatientID}/{PatientName}/{SOPInstanceUID}.dcm"})
    contexts = [(CT, [EXPLICIT]), (VERIFICATION, [IMPLICIT]), ("1.2.840.10008.5.1.4.1.2.2.1", [IMPLICIT])]
    association = associate(running.port, contexts, calling="LOGGED")
    association.send_c_echo()
    dataset = data_set_of(CT, "1.2.3.4")
    association.send_c_store(dataset)
    dataset.SOPInstanceUID = "1.2.3.5"
    association.send_c_store(dataset)
    association.release()
    line = ended(running, "LOGGED")
    assert line["level"] == "info"
    assert line["id"]
    assert line["server"] == "SCPD"
    assert line["peer"].startswith("127.0.0.1:")
    assert (line["calling"], line["called"]) == ("LOGGED", "ANY-SCP")
    assert "PYNETDICOM" in line["implementation"]
    assert line["contexts"] == ["1 CTImageStorage ExplicitVRLittleEndian", "3 Verification ImplicitVRLittleEndian"]
    (rejected,) = line["rejected_contexts"]
    assert rejected.startswith("5 StudyRootQueryRetrieveInformationModelFind: ")
    assert line["messages"] == {"C-ECHO 0000": 1, "C-STORE 0000": 2}
    assert line["problems"] == {}
    assert line["ended"] == "released"
    assert line["seconds"] >= 0
    assert line["bytes_received"] > line["bytes_sent"] > 0
    assert len(running.stored()) == 2
    assert running.stop() == 0
    assert not [text for text in running.lines if "SECRET" in text or "HIDDEN" in text or "4711" in text]


def test_every_association_has_an_id_of_its_own_and_says_how_it_ended(daemon, associate):
    running = daemon()
    associate(running.port, [(VERIFICATION, [IMPLICIT])], calling="RELEASED").release()
    associate(running.port, [(VERIFICATION, [IMPLICIT])], calling="ABORTED").abort()
    lines = {line["calling"]: line for line in running.associations(2)}
    assert lines["RELEASED"]["ended"] == "released"
    assert "aborted" in lines["ABORTED"]["ended"]
    assert lines["ABORTED"]["level"] == "warning"
    assert lines["RELEASED"]["id"] != lines["ABORTED"]["id"]


def test_a_peers_text_never_makes_a_line_of_the_log(daemon, associate):
    """Not through pydicom's own warnings either, whose text quotes the character set."""
    running = daemon(storage={"path": "{PatientName}/{SOPInstanceUID}.dcm"}, contexts=["storage"])
    association = associate(running.port, [(CT, [EXPLICIT])], calling="FORGER")
    dataset = data_set_of(CT, "1.2.3.4")
    dataset.add_new(0x00080005, "UN", b"X\nforged\x1b[31m ")
    dataset.add_new(0x00100010, "UN", b"M\xfcller\nforged ")
    association.send_c_store(dataset)
    association.release()
    ended(running, "FORGER")
    assert running.stop() == 0
    assert all("raw" not in line for line in running.logs)
    assert not [text for text in running.lines if "forged" in text]
