"""Storage commitment of a configuration: who commits, who is told, and that a reload or an end loses nothing."""

from __future__ import annotations

import queue as queues
import signal
import socket
import sqlite3
import ssl
import zlib
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import trustme
import yaml
from components.told import log_of_what_is_made
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from scpd import AE, evt
from scpd.cli.main import main
from scpd.config import load
from scpd.daemon import line as line_module
from scpd.daemon import watch as watch_module
from scpd.daemon.archive import FILE, FOLDER
from scpd.daemon.commitments import Commitments
from scpd.daemon.handover import HandOvers, is_committing, queue_directory
from scpd.errors import ConfigurationError
from scpd.forward.queue import Queue, QueueError
from scpd.index.query import Held
from scpd.part10 import file_meta
from scpd.services.commitment.module import PUSH_MODEL, WELL_KNOWN_INSTANCE, Reference, Requested
from scpd.services.commitment.transactions import NAME, Way
from scpd.services.service import Peer, nobody

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 20.0
CT, EXPLICIT, IMPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
ONE = Reference(CT, "1.2.3.1")
DATA = b"\x08\0\x16\0UI\x04\x001.2\0"


class Folder:
    """What is held, as an index tells it."""

    def __init__(self, folder: Path) -> None:
        path = folder / "one.dcm"
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file_meta(EXPLICIT, "CT1").header(*ONE) + DATA)
        crc = f"{zlib.crc32(DATA):08x}"
        self.one = Held(*ONE, EXPLICIT, str(path), path.stat().st_size, crc, "1.2.3", "1.2.3.4")

    def held(self, sop_instance_uids):
        return {uid: self.one for uid in sop_instance_uids if uid == ONE.sop_instance_uid}


class Device:
    """A peer that listens for reports."""

    def __init__(self, title: str = "CT1", port: int = 0, context: ssl.SSLContext | None = None) -> None:
        self.heard: queues.SimpleQueue = queues.SimpleQueue()
        ae = AE(title)
        ae.add_supported_context(PUSH_MODEL, [EXPLICIT, IMPLICIT], scu_role=False, scp_role=True)
        handlers = [(evt.EVT_N_EVENT_REPORT, self._hear)]
        self.server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers, ssl_context=context)
        self.port = self.server.server_address[1]

    def _hear(self, event):
        requestor = event.assoc.requestor
        self.heard.put((requestor.ae_title.strip(), event.event_type, event.event_information))
        return 0x0000, None

    def told(self) -> tuple[str, int, Dataset]:
        return self.heard.get(timeout=PATIENCE)


@pytest.fixture
def device():
    made = []

    def make(*args, **how) -> Device:
        made.append(Device(*args, **how))
        return made[-1]

    yield make
    for one in made:
        one.server.shutdown()


@pytest.fixture
def log():
    with log_of_what_is_made(str.startswith) as lines:
        yield lines


@pytest.fixture
def config_of(tmp_path):
    def make(**more):
        storage = {"directory": str(tmp_path / "store")}
        given = {"ae_title": "ARCHIVE", "contexts": ["storage", "storage_commitment"], "storage": storage, **more}
        (tmp_path / "scpd.yaml").write_text(yaml.safe_dump(given))
        return load(tmp_path / "scpd.yaml")

    return make


@pytest.fixture
def parts(config_of, tmp_path, log):
    """The parts of a configuration that commit, one after the other as by reloads."""
    made: list[HandOvers] = []

    def make(**more) -> tuple[HandOvers, Commitments]:
        config = config_of(**more)
        hand_overs = HandOvers(config, made[-1] if made else None)
        folder = Folder(tmp_path / "store")
        commitments = Commitments(config, hand_overs, {server.name: folder for server in config.servers})
        hand_overs.begin()
        hand_overs.config = config
        made.append(hand_overs)
        return hand_overs, commitments

    yield make
    if made:
        made[-1].close()


def peers(port: int, **more) -> dict:
    return {"CT": {"address": f"127.0.0.1:{port}", "ae_title": "CT1", **more}}


def ask(commitments: Commitments, transaction: str = "1.2.9", calling: str = "CT1") -> int:
    """As an N-ACTION of a peer that has left since."""
    pending = commitments.transactions
    peer = Peer("127.0.0.1:1", calling, "ARCHIVE", "a1")
    number = pending.begin("ARCHIVE", peer, Requested(transaction, (ONE,)))
    pending.answered(number, Way(nobody, None))
    return number


def test_a_server_with_the_class_needs_a_queue_and_others_do_not(config_of, tmp_path):
    committing = config_of()
    assert is_committing(committing.servers[0])
    assert queue_directory(committing) == tmp_path / "store" / ".queue"
    plain = config_of(contexts=["storage"])
    assert not is_committing(plain.servers[0])
    assert queue_directory(plain) is None
    assert queue_directory(config_of(queue={"directory": str(tmp_path / "q")})) == tmp_path / "q"


def test_no_hook_can_have_the_name_of_commitment(config_of):
    hook = {"kind": "exec", "name": NAME, "on": "instance", "command": ["/bin/true"]}
    with pytest.raises(ConfigurationError, match="name"):
        config_of(hooks=[hook])


def test_a_peer_is_told_in_the_name_of_the_server_and_the_log_says_so(parts, device, log):
    one = device()
    _, commitments = parts(peers=peers(one.port), contexts=["storage_commitment", "query_retrieve"])
    ask(commitments)
    calling, event, information = one.told()
    assert (calling, event, information.TransactionUID) == ("ARCHIVE", 1, "1.2.9")
    assert information.RetrieveAETitle == "ARCHIVE"
    line = log.wait("storage commitment reported")[0]
    expected = {"transaction": "1.2.9", "committed": 1, "failed": 0, "calling": "CT1", "over": "a new association"}
    assert expected.items() <= line.items()


def test_who_cannot_be_asked_for_instances_names_no_one_to_retrieve_from(parts, device):
    one = device()
    _, commitments = parts(peers=peers(one.port))
    ask(commitments)
    assert "RetrieveAETitle" not in one.told()[2]


def test_a_peer_with_tls_is_told_under_tls(parts, device, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    one = device(context=context)
    tls = {"ca": str(tmp_path / "ca.crt"), "name": "localhost"}
    _, commitments = parts(peers=peers(one.port, tls=tls))
    ask(commitments)
    assert one.told()[1] == 1


def test_certificates_of_a_peer_that_cannot_be_used_are_a_fault_with_its_line(parts, tmp_path):
    (tmp_path / "ca.crt").write_text("no certificate")
    with pytest.raises(ConfigurationError, match=r"scpd.yaml:\d+: peers.CT.tls.ca: "):
        parts(peers=peers(104, tls={"ca": str(tmp_path / "ca.crt")}))


def test_the_first_of_several_peers_with_one_title_is_told(parts, device):
    one, other = device(), device()
    both = {**peers(one.port), "LATER": {"address": f"127.0.0.1:{other.port}", "ae_title": "CT1"}}
    _, commitments = parts(peers=both)
    ask(commitments)
    assert one.told()[1] == 1
    assert other.heard.empty()


def test_a_service_is_made_for_servers_that_commit_and_have_an_index_alone(config_of, tmp_path):
    servers = [
        {"name": "a", "bind": "127.0.0.1:11112"},
        {"name": "b", "bind": "127.0.0.1:11113", "contexts": ["storage"]},
        {"name": "c", "bind": "127.0.0.1:11114"},
    ]
    config = config_of(servers=servers)
    hand_overs = HandOvers(config)
    try:
        folder = Folder(tmp_path / "store")
        commitments = Commitments(config, hand_overs, {"a": folder, "b": folder})
        found = {server.name: commitments.service(server) is not None for server in config.servers}
    finally:
        hand_overs.close()
    assert found == {"a": True, "b": False, "c": False}


def test_a_reload_finds_the_peer_that_was_missing_and_retry_tells_it(parts, device, tmp_path, wait_for, monkeypatch):
    monkeypatch.setattr("scpd.forward.queue._LOOKS", 0.1)
    hand_overs, commitments = parts()
    ask(commitments)
    wait_for(lambda: hand_overs.line.queue.standings().get(NAME, line_module._NOTHING).set_aside == 1)
    one = device()
    parts(peers=peers(one.port))
    assert main(["queue", str(tmp_path / "scpd.yaml"), "retry", "--hook", NAME]) == 0
    assert one.told()[1] == 1


def test_standings_tell_of_commitments_beside_hooks(parts, wait_for, monkeypatch):
    monkeypatch.setattr(watch_module, "_BETWEEN_LOOKS", 0.02)
    hook = {"kind": "exec", "name": "a", "on": "instance", "command": ["/bin/true"]}
    hand_overs, commitments = parts(hooks=[hook])
    assert [(one.name, one.is_configured) for one in hand_overs.standings()] == [("a", True), (NAME, True)]
    ask(commitments)
    wait_for(lambda: any(one.set_aside for one in hand_overs.standings()))
    (standing,) = (one for one in hand_overs.standings() if one.name == NAME)
    assert "none of peers has this ae_title" in standing.last_error
    assert hand_overs.directory is not None
    assert hand_overs.trouble() == ""


def test_commitments_without_anybody_to_tell_them_are_told_of(parts, log, device):
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        free = reserved.getsockname()[1]
    _, commitments = parts(peers=peers(free))
    ask(commitments)
    log.wait("a hook failed")
    hook = {"kind": "exec", "name": "a", "on": "instance", "command": ["/bin/true"]}
    hand_overs, _ = parts(contexts=["storage"], hooks=[hook])
    assert log.wait("jobs wait for a hook that is not configured")[0]["hook"] == NAME
    assert {one.name: one.is_configured for one in hand_overs.standings()}[NAME] is False


def test_what_was_promised_before_a_crash_is_told_after_it(parts, device, tmp_path):
    """A job that was on the disk when the process ended, before its Success was known to have left."""
    hand_overs, commitments = parts(peers=peers(1))
    held = commitments.transactions
    held.begin("ARCHIVE", Peer("127.0.0.1:1", "CT1", "ARCHIVE"), Requested("1.2.10", (ONE,)))
    hand_overs.close()
    one = device()
    parts(peers=peers(one.port))
    assert str(one.told()[2].TransactionUID) == "1.2.10"


def test_an_association_goes_on_with_the_queue_after_a_reload_without_commitment(
    config_of, tmp_path, wait_for, monkeypatch
):
    monkeypatch.setattr(watch_module, "_BETWEEN_LOOKS", 0.02)
    committing = config_of()
    before = HandOvers(committing)
    commitments = Commitments(committing, before, {"ARCHIVE": Folder(tmp_path / "store")})
    service = commitments.service(committing.servers[0])
    before.begin()
    after = HandOvers(config_of(contexts=["storage"]), before)
    after.begin()
    directory, pending = before.directory, commitments.transactions
    assert after.directory is None
    del before
    number = pending.begin("ARCHIVE", Peer("127.0.0.1:1", "CT1", "ARCHIVE"), Requested("1.2.9", (ONE,)))
    assert (number, is_free(directory)) == (1, False)
    assert service is not None
    del service
    wait_for(lambda: is_free(directory))


def is_free(directory) -> bool:
    """Whether nobody has the queue of a directory open."""
    try:
        Queue(directory).close(PATIENCE)
    except QueueError:
        return False
    return True


# -- the whole daemon

BUSY = 0x0110


@pytest.fixture
def archive(daemon, tmp_path):
    """Start a daemon that stores, keeps an index and commits."""

    def start(**more):
        storage = {"directory": str(tmp_path / "store")}
        contexts = ["verification", "storage", "storage_commitment"]
        return daemon(**{"ae_title": "ARCHIVE", "contexts": contexts, "storage": storage, "index": {}, **more})

    return start


class Modality:
    """A device that stores, and asks for commitment of what it stored; ``heard`` is what it was told as it waited."""

    def __init__(self, port: int, status: int = 0x0000) -> None:
        self.status = status
        self.heard: queues.SimpleQueue = queues.SimpleQueue()
        ae = AE("CT1")
        ae.add_requested_context(CT, EXPLICIT)
        ae.add_requested_context(PUSH_MODEL, EXPLICIT)
        handlers = [(evt.EVT_N_EVENT_REPORT, self._hear)]
        self.association = ae.associate("127.0.0.1", port, ae_title="ARCHIVE", evt_handlers=handlers)
        assert self.association.is_established

    def _hear(self, event):
        self.heard.put((event.event_type, event.event_information))
        return self.status, None

    def store(self, uid: str = "") -> Reference:
        data = dcmread(get_testdata_file("CT_small.dcm"))
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = uid or data.SOPInstanceUID
        assert self.association.send_c_store(data).Status == 0
        return Reference(data.SOPClassUID, data.SOPInstanceUID)

    def ask(self, *references: Reference, transaction: str = "1.2.9") -> None:
        asked = Dataset()
        asked.TransactionUID = transaction
        asked.ReferencedSOPSequence = []
        for reference in references:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference
            asked.ReferencedSOPSequence.append(item)
        answer, _ = self.association.send_n_action(asked, 1, PUSH_MODEL, WELL_KNOWN_INSTANCE)
        assert answer.Status == 0


def outcome(information: Dataset) -> tuple[list[str], list[tuple[str, int]]]:
    committed = [one.ReferencedSOPInstanceUID for one in information.get("ReferencedSOPSequence", ())]
    failed = [(one.ReferencedSOPInstanceUID, one.FailureReason) for one in information.get("FailedSOPSequence", ())]
    return committed, failed


def test_what_was_stored_is_committed_and_what_was_not_is_not(archive):
    one = archive()
    modality = Modality(one.port)
    stored = modality.store()
    modality.ask(stored, ONE)
    event, information = modality.heard.get(timeout=PATIENCE)
    assert (event, *outcome(information)) == (2, [stored.sop_instance_uid], [(ONE.sop_instance_uid, 0x0112)])
    modality.association.release()
    line = one.wait_for_log(lambda line: line["event"] == "storage commitment reported")
    assert (line["committed"], line["failed"], line["over"]) == (1, 1, "the association of the request")
    assert one.stop() == 0


def test_what_was_stored_just_now_is_never_missing_though_it_is_written_down_later(archive):
    """While the database cannot be written nobody is told that it is not there; nor when it is asked for at once."""
    one = archive(index={"write": "deferred"})
    modality = Modality(one.port)
    with closing(sqlite3.connect(one.directory / FOLDER / FILE, timeout=PATIENCE, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        stored = modality.store()
        modality.ask(stored)
        one.wait_for_log(lambda line: line.get("hook") == NAME and "does not know yet of all" in str(line))
        assert modality.heard.empty()
        connection.execute("ROLLBACK")
    event, information = modality.heard.get(timeout=PATIENCE)
    assert (event, *outcome(information)) == (1, [stored.sop_instance_uid], [])
    for number in range(20):
        modality.ask(modality.store(f"1.2.3.{number}"), transaction=f"1.2.9.{number}")
    for _ in range(20):
        event, information = modality.heard.get(timeout=PATIENCE)
        assert (event, outcome(information)[1]) == (1, [])
    modality.association.release()
    assert one.stop() == 0


def test_kill_9_between_success_and_report_loses_no_report(archive, device):
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        free = reserved.getsockname()[1]
    one = archive(peers=peers(free))
    modality = Modality(one.port, BUSY)
    stored = modality.store()
    modality.ask(stored)
    one.send_signal(signal.SIGKILL)
    one.wait()
    listening = device(port=free)
    archive(peers=peers(free))
    calling, event, information = listening.told()
    assert (calling, event, *outcome(information)) == ("ARCHIVE", 1, [stored.sop_instance_uid], [])


def test_a_peer_that_was_away_over_a_restart_is_told(archive, device):
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        free = reserved.getsockname()[1]
    one = archive(peers=peers(free))
    modality = Modality(one.port, BUSY)
    stored = modality.store()
    (path,) = one.stored()
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    modality.ask(stored)
    one.wait_for_logs(lambda line: line.get("hook") == NAME, 2)
    modality.association.release()
    assert one.stop() == 0
    listening = device(port=free)
    archive(peers=peers(free))
    _, event, information = listening.told()
    assert (event, *outcome(information)) == (2, [], [(stored.sop_instance_uid, 0x0110)])
