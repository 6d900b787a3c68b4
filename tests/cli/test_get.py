"""``scpd get`` as somebody at a shell uses it: what arrives, byte for byte, and what is left when a peer fails."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import pytest
from components.dcmqrscp import Dcmqrscp
from pydicom import dcmread
from pydicom.data import get_testdata_file

from scpd import AE, evt
from scpd.cli.main import main
from scpd.dimse.status import meaning
from scpd.part10 import read_head
from scpd.sop_class import (
    ALL_TRANSFER_SYNTAXES,
    CTImageStorage,
    MRImageStorage,
    StudyRootQueryRetrieveInformationModelGet,
)

CT, CT_IN_JPEG_2000, MR = (Path(get_testdata_file(name)) for name in ("CT_small.dcm", "693_J2KI.dcm", "MR_small.dcm"))


def data_set(path: Path) -> bytes:
    with path.open("rb") as file:
        return path.read_bytes()[read_head(file).data_set_offset :]


def uid(path: Path) -> str:
    return str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)


def files(folder: Path) -> list[Path]:
    """Every file there, leftovers too."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


@contextmanager
def peer(get, storage=(CTImageStorage, MRImageStorage)):
    """A peer with a handler of C-GET; its HOST:PORT."""
    ae = AE("PEER")
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
    for abstract in storage:
        ae.add_supported_context(abstract, ALL_TRANSFER_SYNTAXES, scu_role=True, scp_role=True)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_GET, get)])
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        ae.shutdown(0)


def sending(*datasets):
    def handle(_event):
        yield len(datasets)
        for dataset in datasets:
            yield 0xFF00, dataset

    return handle


@pytest.mark.interop
def test_a_study_of_dcmtks_archive_in_its_place(capsys, tmp_path):
    dataset = dcmread(CT)
    keys = ["-k", f"StudyInstanceUID={dataset.StudyInstanceUID}"]
    with Dcmqrscp() as archive:
        archive.add(CT, MR)
        assert main(["get", archive.address, "--called", archive.title, "--into", str(tmp_path / "new"), *keys]) == 0
    (path,) = files(tmp_path)
    place = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, f"{dataset.SOPInstanceUID}.dcm")
    assert path == tmp_path.joinpath("new", *place)
    assert dcmread(path).PixelData == dataset.PixelData
    meta = dcmread(path).file_meta
    assert meta.TransferSyntaxUID == dataset.file_meta.TransferSyntaxUID
    assert meta.SourceApplicationEntityTitle == archive.title
    out, err = capsys.readouterr()
    assert out.splitlines() == ["1 stored, 0 not", "1 completed, 0 failed, 0 with a warning: Success (0000)"]
    assert err == "", "no progress bar where there is no terminal"


@pytest.mark.interop
def test_compressed_from_dcmtks_archive(tmp_path):
    held = dcmread(CT_IN_JPEG_2000)
    keys = ["-k", f"StudyInstanceUID={held.StudyInstanceUID}"]
    with Dcmqrscp("+xw") as archive:
        archive.add(CT_IN_JPEG_2000)
        assert main(["get", archive.address, "--called", archive.title, "--into", str(tmp_path), *keys]) == 0
    (path,) = files(tmp_path)
    assert dcmread(path).file_meta.TransferSyntaxUID == held.file_meta.TransferSyntaxUID
    assert dcmread(path).PixelData == held.PixelData


def test_a_named_class_comes_in_every_encoding_byte_for_byte(tmp_path):
    with peer(sending(CT, CT_IN_JPEG_2000)) as address:
        assert main(["get", address, "--into", str(tmp_path), "--sop-class", "CTImageStorage"]) == 0
    found = {path.stem: data_set(path) for path in files(tmp_path)}
    assert found == {uid(path): data_set(path) for path in (CT, CT_IN_JPEG_2000)}
    for path in files(tmp_path):
        (held,) = (one for one in (CT, CT_IN_JPEG_2000) if uid(one) == path.stem)
        assert dcmread(path).file_meta.TransferSyntaxUID == dcmread(held).file_meta.TransferSyntaxUID


def test_several_instances_and_a_class_that_was_not_asked_for(capsys, tmp_path):
    with peer(sending(dcmread(CT), dcmread(MR))) as address:
        assert main(["get", address, "--into", str(tmp_path)]) == 0
        assert len(files(tmp_path)) == 2
        capsys.readouterr()
        again = tmp_path / "again"
        assert main(["get", address, "--into", str(again), "--sop-class", str(CTImageStorage)]) == 1
    assert [path.stem for path in files(again)] == [uid(CT)]
    out = capsys.readouterr().out
    assert "1 stored, 0 not\n1 completed, 1 failed" in out
    assert f"failed: {uid(MR)}" in out


def test_what_came_before_the_peer_went_away_is_whole_and_nothing_else_is_left(capsys, tmp_path):
    def handle(event):
        yield 2
        yield 0xFF00, dcmread(CT)
        event.assoc.abort()

    with peer(handle) as address:
        assert main(["get", address, "--into", str(tmp_path)]) == 1
    assert "scpd: the peer aborted the association" in capsys.readouterr().err
    (path,) = files(tmp_path)
    assert dcmread(path).PixelData == dcmread(CT).PixelData


def test_no_uid_of_a_peer_leads_out_of_the_directory(tmp_path):
    dataset = dcmread(CT)
    dataset.add_new("StudyInstanceUID", "LO", "../../outside")
    dataset["StudyInstanceUID"].VR = "UI"
    with peer(sending(dataset)) as address:
        assert main(["get", address, "--into", str(tmp_path / "in")]) == 0
    (path,) = files(tmp_path)
    assert path.relative_to(tmp_path).parts[:2] == ("in", "%2E.%2F..%2Foutside")


def test_what_does_not_match_its_command_is_stored_and_said(capsys, tmp_path):
    """As the daemon does: a warning to the sender, and the file is kept."""

    def handle(_event):
        yield 1
        yield 0xFF00, mismatching

    mismatching = tmp_path / "mismatching.dcm"
    dataset = dcmread(CT)
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.save_as(mismatching, enforce_file_format=False)
    with peer(handle) as address:
        assert main(["get", address, "--into", str(tmp_path / "in")]) == 0
    assert [path.name for path in files(tmp_path / "in")] == ["1.2.3.dcm"]
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["1 stored, 0 not", "       1 SOP Instance UID of data set and command differ"]
    assert out[2].startswith("0 completed, 0 failed, 1 with a warning")


def test_a_peer_that_takes_no_roles_is_told(capsys, tmp_path):
    with peer(sending(), storage=()) as address:
        assert main(["get", address, "--into", str(tmp_path)]) == 1
    assert "scpd: the peer agreed to send no storage class over this association" in capsys.readouterr().err


def test_a_failure_in_words_is_exit_1(capsys, tmp_path):
    def handle(_event):
        yield 1
        yield 0xA701, None

    with peer(handle) as address:
        assert main(["get", address, "--into", str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "0 stored, 0 not",
        f"0 completed, 1 failed, 0 with a warning: {meaning(0xA701, 'C-GET')} (A701)",
    ]


def test_a_directory_that_cannot_be_used_is_told_before_anybody_is_called(free_port, capsys, tmp_path):
    (tmp_path / "file").touch()
    assert main(["get", f"127.0.0.1:{free_port}", "--into", str(tmp_path / "file")]) == 1
    assert f"scpd: the storage directory {tmp_path / 'file'} cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--into"),
        (["--into", "x", "--sop-class", "CTImageStorag"], "did you mean 'CTImageStorage'?"),
        (["--into", "x", "--sop-class", "storage"], "'storage' is a group"),
        (["--into", "x", *(word for n in range(128) for word in ("--sop-class", f"1.2.{n}"))], "not 128"),
    ],
)
def test_wrong_usage_is_exit_2_with_a_sentence(capsys, arguments, words):
    with pytest.raises(SystemExit) as caught:
        main(["get", "127.0.0.1:104", *arguments])
    assert caught.value.code == 2
    assert words in capsys.readouterr().err
    assert not Path("x").exists()
