"""What scpd stored goes out again, to DCMTK and pynetdicom: byte for byte, by C-MOVE and by C-GET."""

from __future__ import annotations

import socket
import subprocess
from contextlib import contextmanager

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info

from scpd.client.requestor import Caller
from scpd.client.sending import Outcome, find, send

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore::UserWarning")]

STUDY_MOVE, STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3"
LITTLE, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def receiving(peer, tmp_path, free_port):
    """A context in which DCMTK's storescp keeps what it gets, bit for bit; gives its folder."""

    @contextmanager
    def serve(*options: str):
        folder = tmp_path / "received"
        folder.mkdir()
        process = subprocess.Popen(
            [peer("storescp"), "+B", *options, "-od", str(folder), str(free_port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            for _ in range(600):
                try:
                    socket.create_connection(("127.0.0.1", free_port), 1).close()
                    break
                except OSError:
                    with pytest.raises(subprocess.TimeoutExpired):
                        process.wait(0.05)
            yield folder
        finally:
            process.kill()
            process.wait()

    return serve


@pytest.fixture
def archive(daemon, free_port, batches, shipped):
    """A daemon that holds the first batch of pydicom's files, and knows the receiver as a peer."""
    started = daemon(
        ae_title="ARCHIVE",
        index={},
        contexts=[
            "verification",
            {"sop_classes": "storage", "transfer_syntaxes": "all"},
            {"sop_classes": "query_retrieve", "transfer_syntaxes": "all"},
        ],
        peers={"receiver": {"address": f"127.0.0.1:{free_port}", "ae_title": "RECEIVER", "associations": 3}},
    )
    outcome = Outcome()
    paths = [one.path for one in next(iter(batches(shipped)))]
    send(("127.0.0.1", started.port), list(find(paths, outcome)), Caller(), outcome, lambda _: None)
    assert outcome.stored > 100
    return started


@pytest.fixture
def held(archive, data_set):
    """The data sets that are held, by study and SOP Instance UID."""
    studies: dict[str, dict[str, bytes]] = {}
    for path in archive.stored():
        dataset = dcmread(path, specific_tags=["StudyInstanceUID"])
        uid = str(read_file_meta_info(path).MediaStorageSOPInstanceUID)
        studies.setdefault(str(dataset.get("StudyInstanceUID", "")), {})[uid] = padded(data_set(path))
    return {study: sets for study, sets in studies.items() if study}


def padded(data: bytes) -> bytes:
    """A deflated data set that nobody padded is, where it is sent (PS3.5 A.5)."""
    return data + bytes(len(data) & 1)


def kept(folder, data_set) -> dict[str, bytes]:
    return {
        str(read_file_meta_info(path).MediaStorageSOPInstanceUID): padded(data_set(path)) for path in folder.iterdir()
    }


def asked(study: str) -> list[str]:
    return ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]


def test_movescu_has_every_study_sent_to_storescp(archive, held, peer, run, receiving, data_set):
    """Byte for byte; but for classes that storescp has not heard of, of which scpd says so."""
    refused = set()
    with receiving("+xa") as folder:
        for number, study in enumerate(held):
            calling = f"MOVER{number}"
            ended = run(
                *(peer("movescu"), "-v", "-S", "-aet", calling, "-aec", "ARCHIVE", "-aem", "RECEIVER"),
                *asked(study),
                *("127.0.0.1", archive.port),
            )
            if ended.returncode:
                line = archive.wait_for_log(lambda line: line.get("calling") == calling)  # noqa: B023 called at once
                assert all("no context accepted for" in why for why in line["problems"]), line["problems"]
                refused.add(study)
        got = kept(folder, data_set)
    everything = {uid: data for sets in held.values() for uid, data in sets.items()}
    assert got == {uid: data for uid, data in everything.items() if uid in got}
    assert everything.keys() - got.keys() <= {uid for study in refused for uid in held[study]}
    assert len(everything) - len(got) < 10, refused


def test_movescu_names_nobody(archive, held, peer, run):
    study = next(iter(held))
    ended = run(
        *(peer("movescu"), "-v", "-S", "-aet", "MOVER", "-aec", "ARCHIVE", "-aem", "NOBODY"),
        *asked(study),
        *("127.0.0.1", archive.port),
    )
    assert "MoveDestinationUnknown" in ended.stdout, ended.stdout


def test_storescp_that_takes_only_implicit_vr_gets_what_can_be_had_in_it(archive, held, peer, run, receiving):
    study, sets = next(
        (study, sets)
        for study, sets in held.items()
        if dcmread_any(archive, sets).file_meta.TransferSyntaxUID == LITTLE
    )
    with receiving("+xi") as folder:
        ended = run(
            *(peer("movescu"), "-v", "-S", "-aet", "MOVER", "-aec", "ARCHIVE", "-aem", "RECEIVER"),
            *asked(study),
            *("127.0.0.1", archive.port),
        )
        assert ended.returncode == 0, ended.stdout
        got = [dcmread(path) for path in folder.iterdir()]
        assert got
        assert {one.file_meta.TransferSyntaxUID for one in got} == {IMPLICIT}


def dcmread_any(archive, sets):
    """One of the files with these instances."""
    for path in archive.stored():
        meta = read_file_meta_info(path)
        if str(meta.MediaStorageSOPInstanceUID) in sets:
            return dcmread(path)
    raise LookupError


def is_single_ct(archive, sets) -> bool:
    dataset = dcmread_any(archive, sets)
    return len(sets) == 1 and (dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID) == (CT, LITTLE)


def test_getscu_gets_a_ct(archive, held, peer, run, tmp_path):
    study, sets = next((study, sets) for study, sets in held.items() if is_single_ct(archive, sets))
    folder = tmp_path / "got"
    folder.mkdir()
    ended = run(
        *(peer("getscu"), "-v", "-S", "+B", "-od", folder, "-aet", "GETTER", "-aec", "ARCHIVE"),
        *asked(study),
        *("127.0.0.1", archive.port),
    )
    assert ended.returncode == 0, ended.stdout
    (path,) = folder.iterdir()
    got = dcmread(path)
    assert got.file_meta.TransferSyntaxUID == LITTLE
    assert got.PixelData == dcmread_any(archive, sets).PixelData


def test_pynetdicom_gets_by_c_get(archive, held, peer, data_set):
    pynetdicom = peer("pynetdicom")
    study, sets = next((study, sets) for study, sets in held.items() if is_single_ct(archive, sets))
    (uid,) = sets
    syntax = str(dcmread_any(archive, sets).file_meta.TransferSyntaxUID)
    got = {}

    def store(event):
        got[str(event.request.AffectedSOPInstanceUID)] = event.request.DataSet.getvalue()
        return 0

    ae = pynetdicom.AE("GETTER")
    ae.add_requested_context(STUDY_GET)
    ae.add_requested_context(CT, syntax)
    association = ae.associate(
        "127.0.0.1",
        archive.port,
        ae_title="ARCHIVE",
        ext_neg=[pynetdicom.build_role(CT, scp_role=True)],
        evt_handlers=[(pynetdicom.evt.EVT_C_STORE, store)],
    )
    assert association.is_established
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", study
    answers = list(association.send_c_get(identifier, STUDY_GET))
    association.release()
    assert answers[-1][0].Status == 0
    assert answers[-1][0].NumberOfCompletedSuboperations == 1
    assert got == {uid: sets[uid]}
