"""Files to a peer: what is proposed, what goes out, and what is said of what did not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless

from scpd.client.requestor import MOST_CONTEXTS, Caller, Proposal
from scpd.client.sending import Instance, Outcome, find, plan, send
from scpd.part10 import FileHead, read_head

CALLER = Caller(called="SCPD", answer=20.0, message=20.0)
CT = "1.2.840.10008.5.1.4.1.1.2"


def instance(sop_class: str, syntax: str = JPEG2000Lossless, name: str = "x") -> Instance:
    return Instance(Path(name), FileHead(sop_class, "1.2.3", syntax, 0))


def data_set(path: Path) -> bytes:
    with path.open("rb") as file:
        return path.read_bytes()[read_head(file).data_set_offset :]


def sent(port: int, paths: list[Path]) -> Outcome:
    outcome, seen = Outcome(), []
    instances = list(find(paths, outcome))
    send(("127.0.0.1", port), instances, CALLER, outcome, seen.append)
    assert seen == instances, "progress hears of every instance once"
    return outcome


def test_one_context_for_each_class_and_syntax_and_the_default_beside_an_uncompressed_one():
    proposals = [
        proposal
        for proposals, _ in plan([instance(CT), instance(CT), instance(CT, ExplicitVRBigEndian)])
        for proposal in proposals
    ]
    assert proposals == [
        Proposal(CT, (JPEG2000Lossless,)),
        Proposal(CT, (ExplicitVRBigEndian,)),
        Proposal(CT, (ImplicitVRLittleEndian,)),
    ]


@pytest.mark.parametrize("kinds", [1, 128, 129, 300])
def test_more_than_128_contexts_go_over_several_associations(kinds):
    instances = [instance(f"1.2.3.{number}", name=f"{number}-{again}") for again in (1, 2) for number in range(kinds)]
    batches = plan(instances)
    assert len(batches) == -(-kinds // MOST_CONTEXTS)
    assert all(0 < len(proposals) <= MOST_CONTEXTS for proposals, _ in batches)
    assert sorted(one.path for _, files in batches for one in files) == sorted(one.path for one in instances)
    for proposals, files in batches:
        assert {one.proposals[0] for one in files} <= set(proposals)


def test_several_associations_when_they_are_needed(daemon, tmp_path):
    """131 private classes, each in its own syntax and the default one: three associations, every instance stored."""
    classes = [f"1.2.826.0.1.3680043.9.7777.9.{number}" for number in range(131)]
    server = daemon(contexts=[{"sop_classes": classes, "transfer_syntaxes": "all"}])
    dataset = dcmread(get_testdata_file("CT_small.dcm"))
    del dataset.PixelData
    for number, sop_class in enumerate(classes):
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        dcmwrite(tmp_path / f"{number}.dcm", dataset)
    outcome = sent(server.port, [tmp_path / f"{number}.dcm" for number in range(131)])
    assert (outcome.stored, outcome.failed) == (131, 0)
    assert len(server.associations(3)) == 3
    assert len(server.stored()) == 131


def test_a_file_goes_out_byte_for_byte(daemon):
    server = daemon()
    path = Path(get_testdata_file("CT_small.dcm"))
    assert sent(server.port, [path]).counts == {"Success (0000)": 1}
    (stored,) = server.stored()
    assert data_set(stored) == data_set(path)


def test_what_the_peer_takes_only_in_the_default_syntax_is_converted(daemon):
    server = daemon(contexts=[{"sop_classes": "storage", "transfer_syntaxes": "ImplicitVRLittleEndian"}])
    path = Path(get_testdata_file("CT_small.dcm"))
    assert sent(server.port, [path]).counts == {"Success (0000)": 1}
    (stored,) = server.stored()
    converted = dcmread(stored)
    assert converted.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert converted.PixelData == dcmread(path).PixelData
    assert converted.PatientID == dcmread(path).PatientID


def test_what_the_peer_does_not_take_is_named_and_the_rest_goes_on(daemon):
    server = daemon(contexts=[{"sop_classes": "CTImageStorage", "transfer_syntaxes": ["ExplicitVRLittleEndian"]}])
    outcome = sent(server.port, [Path(get_testdata_file(name)) for name in ("MR_small.dcm", "CT_small.dcm")])
    assert outcome.counts == {
        "Success (0000)": 1,
        "not sent: no context accepted for MRImageStorage ExplicitVRLittleEndian": 1,
    }
    assert (outcome.stored, outcome.failed) == (1, 1)


def test_in_a_folder_what_is_no_instance_is_left_out_and_counted(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "note.txt").write_text("no image")
    (tmp_path / "deep" / "er" / "a.dcm").write_bytes(Path(get_testdata_file("CT_small.dcm")).read_bytes())
    (tmp_path / "DICOMDIR").write_bytes(Path(get_testdata_file("DICOMDIR")).read_bytes())
    outcome = Outcome()
    assert [one.path.name for one in find([tmp_path], outcome)] == ["a.dcm"]
    assert outcome.counts == {"left out: not a DICOM file": 1, "left out: a DICOMDIR": 1}
    assert outcome.failed == 0


@pytest.mark.parametrize(("content", "what"), [(b"no image", "not a DICOM file"), (None, "No such file or directory")])
def test_a_file_that_was_named_and_cannot_be_sent_has_failed(tmp_path, content, what):
    path = tmp_path / "x"
    if content is not None:
        path.write_bytes(content)
    outcome = Outcome()
    assert not list(find([path], outcome))
    assert outcome.counts == {f"not sent: {what}": 1}
    assert outcome.failed == 1


def test_nobody_listens(free_port):
    outcome = sent(free_port, [Path(get_testdata_file("CT_small.dcm"))])
    assert (outcome.stored, outcome.failed) == (0, 1)
    assert "cannot connect to 127.0.0.1" in next(iter(outcome.counts))


def test_a_rejection_is_told_in_the_words_of_the_standard(daemon):
    server = daemon(called_ae_title="check", ae_title="OTHER")
    outcome = sent(server.port, [Path(get_testdata_file("CT_small.dcm"))])
    assert "called AE title not recognized" in next(iter(outcome.counts))


def test_a_file_that_is_cut_while_it_is_sent_fails_alone(daemon, tmp_path, monkeypatch):
    """What began on the wire cannot be taken back: that association is aborted, the others go over a new one."""
    server = daemon()
    content = Path(get_testdata_file("CT_small.dcm")).read_bytes()
    paths = [tmp_path / "a.dcm", tmp_path / "b.dcm", Path(get_testdata_file("MR_small.dcm"))]
    paths[0].write_bytes(content + bytes(1 << 20))
    paths[1].write_bytes(content)
    sizes = os.fstat

    def longer(descriptor: int) -> os.stat_result:  # as it was before somebody cut it
        real = sizes(descriptor)
        return os.stat_result((*real[:6], real.st_size + (1 << 20) * (real.st_size > 1 << 20), *real[7:]))

    monkeypatch.setattr(os, "fstat", longer)
    outcome = sent(server.port, paths)
    assert outcome.counts == {
        "not sent: the file became shorter, or unreadable, while it was sent": 1,
        "Success (0000)": 2,
    }
    assert len(server.associations(2)) == 2
    assert len(server.stored()) == 2
    assert server.spool() == []


def test_a_file_that_is_gone_meanwhile_fails_alone(daemon, tmp_path):
    server = daemon()
    path = tmp_path / "a.dcm"
    path.write_bytes(Path(get_testdata_file("CT_small.dcm")).read_bytes())
    outcome = Outcome()
    instances = list(find([path], outcome))
    path.unlink()
    send(("127.0.0.1", server.port), instances, CALLER, outcome, lambda _: None)
    assert outcome.counts == {"not sent: No such file or directory": 1}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_the_head_of_a_file_is_read_as_pydicom_reads_it(syntax):
    name = "CT_small.dcm" if syntax == ExplicitVRLittleEndian else "MR_small_bigendian.dcm"
    path = Path(get_testdata_file(name))
    meta = dcmread(path).file_meta
    with path.open("rb") as file:
        head = read_head(file)
    assert head[:3] == (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, syntax)


def test_big_endian_is_turned_for_a_peer_that_takes_only_the_default_syntax(daemon):
    server = daemon(contexts=[{"sop_classes": "storage", "transfer_syntaxes": "ImplicitVRLittleEndian"}])
    path = Path(get_testdata_file("MR_small_bigendian.dcm", download=False))
    assert sent(server.port, [path]).counts == {"Success (0000)": 1}
    (stored,) = server.stored()
    assert dcmread(stored).PixelData == dcmread(get_testdata_file("MR_small.dcm", download=False)).PixelData
