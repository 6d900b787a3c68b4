"""DCMTK as the requestor: what scpd keeps is what DCMTK's own storescp gets of the same sends, bit for bit."""

from __future__ import annotations

import re
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from pydicom import dcmread
from pydicom.filereader import read_file_meta_info

from scpd.version import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore::UserWarning")]

CT, SECONDARY = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7"
LITTLE, BIG, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2"
DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
# What storescu proposes beside the uncompressed syntaxes, and storescp prefers, by transfer syntax.
OPTIONS = {
    LITTLE: "xe",
    BIG: "xb",
    IMPLICIT: "xi",
    DEFLATED: "xd",
    RLE: "xr",
    "1.2.840.10008.1.2.4.50": "xy",
    "1.2.840.10008.1.2.4.51": "xx",
    "1.2.840.10008.1.2.4.70": "xs",
    "1.2.840.10008.1.2.4.80": "xt",
    "1.2.840.10008.1.2.4.81": "xu",
    "1.2.840.10008.1.2.4.90": "xv",
    "1.2.840.10008.1.2.4.91": "xw",
}
PATH = "{calling}/{SOPInstanceUID}.dcm"


@pytest.fixture(scope="module")
def archive(shared_daemon):
    return shared_daemon(storage={"path": PATH})


@pytest.fixture
def storescp(peer, tmp_path, free_port):
    """A context in which DCMTK's storescp keeps what it gets, bit for bit; gives its port and folder."""

    @contextmanager
    def serve(name: str, *options: str):
        folder = tmp_path / name
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
            yield free_port, folder
        finally:
            process.kill()
            process.wait()

    return serve


@pytest.fixture
def kept(data_set):
    """The data sets in a folder, by SOP Instance UID."""

    def read(folder) -> dict[str, bytes]:
        paths = sorted(folder.iterdir()) if folder.exists() else []
        return {read_file_meta_info(path).MediaStorageSOPInstanceUID: data_set(path) for path in paths}

    return read


def ended(daemon, calling: str) -> dict:
    return daemon.wait_for_log(lambda line: line["event"] == "association" and line["calling"] == calling)


# -- every shipped file


@pytest.mark.parametrize("syntax", OPTIONS)
def test_storescu_sends_every_shipped_file(archive, peer, run, storescp, shipped, batches, kept, syntax):
    """One syntax at a time, proposed and preferred by its option."""
    option = OPTIONS[syntax]
    some = False
    for turn, batch in enumerate(batches(one for one in shipped if one.transfer_syntax == syntax)):
        calling = f"{option.upper()}{turn}"
        send = [peer("storescu"), f"-{option}", "-R", "-nh", "-up", "-aet", calling, "127.0.0.1"]
        paths = [one.path for one in batch]
        mine = run(*send, archive.port, *paths)
        with storescp(calling, f"+{option}") as (port, folder):
            theirs = run(*send, port, *paths)
            expected = kept(folder)
        assert kept(archive.directory / calling) == expected, mine.stdout
        assert mine.returncode == theirs.returncode, mine.stdout
        if expected:
            stored = sorted((archive.directory / calling).iterdir())
            assert {read_file_meta_info(path).TransferSyntaxUID for path in stored} == {syntax}
            line = ended(archive, calling)
            assert sum(line["messages"].values()) >= len(expected)
            assert set(line["messages"]) <= {"C-STORE 0000", "C-STORE B007"}
            some = True
    assert some


def test_dcmsend_sends_every_shipped_file(archive, peer, run, storescp, shipped, batches, kept):
    """All syntaxes at once, each in a context of its own, in as many associations as it needs."""
    sent = 0
    for turn, batch in enumerate(batches(shipped)):
        calling = f"DCMSEND{turn}"
        send = [peer("dcmsend"), "-dn", "-nh", "-nuc", "-aet", calling, "127.0.0.1"]
        paths = [one.path for one in batch]
        mine = run(*send, archive.port, *paths)
        with storescp(calling, "+xa") as (port, folder):
            run(*send, port, *paths)
            theirs = kept(folder)
        # Of UN for all VRs dcmsend makes the SOP class "31": storescp takes that, scpd says it is not the context's.
        expected = {uid: data for uid, data in theirs.items() if uid != "31"}
        assert kept(archive.directory / calling) == expected, mine.stdout
        refused = ended(archive, calling)["messages"].get("C-STORE 0122", 0)
        assert refused == len(theirs) - len(expected)
        sent += len(expected)
    assert sent >= len(shipped) - 10


def test_a_file_compressed_by_dcmtk_is_kept_compressed(archive, peer, run, shipped, tmp_path):
    original = next(one for one in shipped if one.path.name == "CT_small.dcm")
    for program, option, syntax in (
        ("dcmcrle", "-xr", RLE),
        ("dcmcjpeg", "-xs", "1.2.840.10008.1.2.4.70"),
        ("dcmcjpls", "-xt", "1.2.840.10008.1.2.4.80"),
    ):
        path = tmp_path / f"{program}.dcm"
        assert run(peer(program), original.path, path).returncode == 0
        calling = program.upper()
        done = run(peer("storescu"), option, "-R", "-aet", calling, "127.0.0.1", archive.port, path)
        assert done.returncode == 0, done.stdout
        (stored,) = (archive.directory / calling).iterdir()
        assert read_file_meta_info(stored).TransferSyntaxUID == syntax
        assert dcmread(stored).PixelData == dcmread(path).PixelData


def test_the_files_meta_information_is_right_in_the_eyes_of_dcmdump(archive, peer, run, shipped):
    one = next(one for one in shipped if one.path.name == "CT_small.dcm")
    assert run(peer("storescu"), "-xe", "-R", "-aet", "DUMPED", "127.0.0.1", archive.port, one.path).returncode == 0
    (stored,) = (archive.directory / "DUMPED").iterdir()
    whole = run(peer("dcmdump"), stored)
    assert whole.returncode == 0
    assert "E:" not in whole.stdout
    assert "W:" not in whole.stdout
    meta = whole.stdout.split("# Dicom-Data-Set")[0]
    for element, value in (
        ("0002,0000", r"\d+"),
        ("0002,0001", r"00\\01"),
        ("0002,0002", "=CTImageStorage"),
        ("0002,0003", rf"\[{re.escape(one.instance)}\]"),
        ("0002,0010", "=LittleEndianExplicit"),
        ("0002,0012", rf"\[{re.escape(IMPLEMENTATION_CLASS_UID)}\]"),
        ("0002,0013", rf"\[{IMPLEMENTATION_VERSION_NAME}\]"),
        ("0002,0016", r"\[DUMPED\]"),
    ):
        assert re.search(rf"\({element}\) \w\w {value}\s", meta), element


# -- negotiation


@pytest.mark.parametrize("options", [(), ("-pts", "1"), ("-pts", "3"), ("-pts", "38"), ("-pts", "38", "-ppc", "128")])
def test_echoscu_is_answered_whatever_it_proposes(archive, peer, run, options):
    done = run(peer("echoscu"), *options, "-v", "127.0.0.1", archive.port)
    assert done.returncode == 0, done.stdout
    assert "Received Echo Response (Success)" in done.stdout


def test_echoscu_may_repeat_itself_and_abort(archive, peer, run):
    assert run(peer("echoscu"), "--repeat", "50", "-aet", "REPEATS", "127.0.0.1", archive.port).returncode == 0
    assert ended(archive, "REPEATS")["messages"] == {"C-ECHO 0000": 50}
    run(peer("echoscu"), "--abort", "-aet", "ABORTS", "127.0.0.1", archive.port)
    assert "aborted" in ended(archive, "ABORTS")["ended"]


@pytest.mark.parametrize("takes", [4096, 131072])
@pytest.mark.parametrize("sends", [4096, 16384, 131072])
def test_pdus_may_be_small_or_large(archive, peer, run, shipped, storescp, kept, takes, sends):
    one = next(one for one in shipped if one.path.name == "CT_small.dcm")
    calling = f"PDU{takes}-{sends}"
    send = [peer("storescu"), "-xe", "-R", "-pdu", takes, "--max-send-pdu", sends, "-aet", calling, "127.0.0.1"]
    assert run(*send, archive.port, one.path).returncode == 0
    with storescp("theirs", "+xe") as (port, folder):
        assert run(*send, port, one.path).returncode == 0
        assert kept(archive.directory / calling) == kept(folder) != {}


def test_dcmsend_keeps_within_the_pdu_length_that_is_announced(daemon, peer, run, shipped, storescp, kept, data_set):
    running = daemon(limits={"pdu_length": 4096}, storage={"path": "{SOPInstanceUID}.dcm"})
    one = next(one for one in shipped if one.path.name == "CT_small.dcm")
    done = run(peer("dcmsend"), "-d", "127.0.0.1", running.port, one.path)
    assert done.returncode == 0
    assert re.search(r"Their Max PDU Receive Size:\s+4096", done.stdout)
    with storescp("theirs", "+xe") as (port, folder):
        run(peer("dcmsend"), "127.0.0.1", port, one.path)
        (stored,) = running.stored()
        assert kept(folder) == {one.instance: data_set(stored)}


def test_128_contexts_of_a_profile_are_answered(archive, peer, run, shipped, tmp_path):
    """The most that a request can have."""
    one = next(one for one in shipped if one.path.name == "CT_small.dcm")
    lines = [
        "[[TransferSyntaxes]]",
        "[Plain]",
        "TransferSyntax1 = LittleEndianExplicit",
        "[[PresentationContexts]]",
        "[Many]",
    ]
    for number in range(1, 128):
        lines.append(f"PresentationContext{number} = 1.2.840.10008.5.1.4.1.1.{number + 1000}\\Plain")
    lines += [
        "PresentationContext128 = CTImageStorage\\Plain",
        "[[Profiles]]",
        "[Default]",
        "PresentationContexts = Many",
    ]
    profile = tmp_path / "profile.cfg"
    profile.write_text("\n".join(lines) + "\n")
    send = [peer("storescu"), "-xf", profile, "Default", "-aet", "PROFILE", "127.0.0.1", archive.port, one.path]
    done = run(*send)
    assert done.returncode == 0, done.stdout
    line = ended(archive, "PROFILE")
    assert line["contexts"] == ["255 CTImageStorage ExplicitVRLittleEndian"]
    assert len(line["rejected_contexts"]) == 127
    assert line["messages"] == {"C-STORE 0000": 1}


def test_four_clients_at_once_lose_nothing(archive, peer, run, shipped, storescp, kept):
    chosen = list(
        {one.instance: one for one in shipped if one.transfer_syntax == LITTLE and one.sop_class == CT}.values()
    )
    paths = [one.path for one in chosen[:25]]

    def send(client: str):
        return run(peer("storescu"), "-xe", "-R", "-aet", client, "127.0.0.1", archive.port, *paths)

    clients = [f"PARALLEL{number}" for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(send, clients))
    assert [one.returncode for one in done] == [0] * 4
    with storescp("theirs", "+xe") as (port, folder):
        run(peer("storescu"), "-xe", "-R", "127.0.0.1", port, *paths)
        expected = kept(folder)
    assert len(expected) == 25
    assert [kept(archive.directory / client) for client in clients] == [expected] * 4


# -- refusals


def test_a_wrong_called_ae_title_is_rejected_with_its_reason(daemon, peer, run):
    running = daemon(ae_title="ARCHIVE", called_ae_title="check")
    wrong = run(peer("echoscu"), "-aec", "SOMEBODY", "127.0.0.1", running.port)
    assert wrong.returncode != 0
    assert "Result: Rejected Permanent, Source: Service User" in wrong.stdout
    assert "Reason: Called AE Title Not Recognized" in wrong.stdout
    line = running.wait_for_log(lambda line: line["event"] == "association rejected")
    assert line["key"] == "called_ae_title"
    assert re.fullmatch(rf".*{re.escape(running.config.name)}:\d+", line["where"])
    assert run(peer("echoscu"), "-aec", "ARCHIVE", "127.0.0.1", running.port).returncode == 0


def test_an_association_over_the_limit_is_rejected_transiently_and_let_in_later(daemon, connect, peer, run):
    running = daemon(limits={"associations": 1})
    first = connect(running.port)
    first.associate()
    over = run(peer("echoscu"), "127.0.0.1", running.port)
    assert over.returncode != 0
    assert "Result: Rejected Transient, Source: Service Provider (Presentation Related)" in over.stdout
    assert "Reason: Local Limit Exceeded" in over.stdout
    line = running.wait_for_log(lambda line: line["event"] == "association rejected")
    assert line["key"] == "limits.associations"
    first.release()
    running.associations(1)
    assert run(peer("echoscu"), "127.0.0.1", running.port).returncode == 0


def test_a_duplicate_that_is_rejected_is_shown_to_its_sender(daemon, peer, run, shipped):
    running = daemon(storage={"duplicates": "reject"})
    one = next(one for one in shipped if one.path.name == "CT_small.dcm")
    assert run(peer("storescu"), "127.0.0.1", running.port, one.path).returncode == 0
    again = run(peer("storescu"), "-d", "127.0.0.1", running.port, one.path)
    assert "0x0111" in again.stdout
    lines = running.associations(2)
    assert lines[1]["level"] == "warning"
    assert lines[1]["messages"] == {"C-STORE 0111": 1}
    assert list(lines[1]["problems"].values()) == [1]


def test_a_user_identity_of_storescu_is_ignored(archive, peer, run, shipped):
    one = next(one for one in shipped if one.path.name == "CT_small.dcm")
    send = [peer("storescu"), "-R", "-usr", "somebody", "-pwd", "secret-passcode", "-aet", "NAMED"]
    assert run(*send, "127.0.0.1", archive.port, one.path).returncode == 0
    ended(archive, "NAMED")
    assert not any("secret-passcode" in line for line in archive.lines)


def test_no_name_or_number_of_a_patient_stands_in_the_log(daemon, peer, run, shipped, batches):
    """At info, for every shipped file, in paths of both."""
    running = daemon(storage={"path": "{PatientID}/{PatientName}/{SOPInstanceUID}.dcm"})
    for batch in batches(shipped):
        run(peer("dcmsend"), "-dn", "-nh", "-nuc", "127.0.0.1", running.port, *(one.path for one in batch))
    assert len(running.stored()) > 100
    assert running.stop() == 0
    told = "\n".join(running.lines)
    for one in shipped:
        dataset = dcmread(one.path, stop_before_pixels=True)
        for value in (str(dataset.get("PatientName", "")), str(dataset.get("PatientID", ""))):
            assert len(value) < 5 or value.isdigit() or value not in told, value
