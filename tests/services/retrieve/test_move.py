"""C-MOVE to real receivers: what goes out, over which associations, and what the requestor is told of it."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace

import pytest
from components.authority import Authority
from components.retrieval import (
    CALLER,
    EXPLICIT,
    IMPLICIT,
    PATIENCE,
    data_set,
    file_of_pydicom,
    identifier,
    until,
)
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian

from scpd.client.requestor import Security
from scpd.services.query.models import BY_MOVE, PATIENT_ROOT, STUDY_ROOT
from scpd.services.retrieve import fleet, service
from scpd.services.retrieve.destination import Destination, plan
from scpd.services.retrieve.work import Work
from scpd.sop_class import STORAGE
from scpd.transport.profiles import TLSFiles, client_context, server_context

FILES = (
    *("CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm"),
    *("JPEG2000.dcm", "rtplan.dcm", "image_dfl.dcm", "reportsi.dcm", "SC_rgb_jpeg_dcmtk.dcm"),
)
SYNTAXES = [IMPLICIT, EXPLICIT, "1.2.840.10008.1.2.1.99", str(ExplicitVRBigEndian)]


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch):
    monkeypatch.setattr(fleet, "_FIRST_PAUSE", 0.01)


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def shelved(tmp_path, names=FILES):
    """Copies under instance UIDs of their own: pydicom's files share some."""
    paths = []
    for number, name in enumerate(names):
        content = bytearray(file_of_pydicom(name).read_bytes())
        uid = str(dcmread(file_of_pydicom(name), stop_before_pixels=True).file_meta.MediaStorageSOPInstanceUID)
        other = f"1.2.826.0.1.3680043.9.7777.{number}.".ljust(len(uid), "1").encode()[: len(uid)]
        place = content.index(uid.encode())
        content[place : place + len(uid)] = other
        paths.append(tmp_path / f"{number}.dcm")
        paths[-1].write_bytes(content)
    return paths


def many(tmp_path, count):
    """The same small instance under ``count`` UIDs."""
    dataset = dcmread(file_of_pydicom("MR_small.dcm"))
    paths = []
    for number in range(count):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.{number}"
        paths.append(tmp_path / f"{number:04}.dcm")
        dcmwrite(paths[-1], dataset)
    return paths


def test_every_file_of_every_encoding_arrives_byte_for_byte(archive, receiver, move, tmp_path):
    there = receiver()
    held = archive(shelved(tmp_path), {"RECEIVER": [there.destination()]})
    answers = move(held, "RECEIVER")
    assert (answers.status, answers.counts) == (0x0000, (len(FILES), 0, 0))
    assert {uid: data for uid, (data, _, _) in there.got.items()} == {
        one.sop_instance_uid: data_set(one.path) for one in held.shelf.all
    }
    assert all(there.got[one.sop_instance_uid][1] == one.transfer_syntax_uid for one in held.shelf.all)
    until(lambda: held.told)
    (begun,), (told,) = held.begun, held.told
    assert (begun.destination, begun.peer.calling, begun.instances) == ("RECEIVER", "WORKSTATION", held.shelf.all)
    assert (told.completed, told.transcoded) == (len(FILES), 0)
    assert told.stored == {one.sop_instance_uid for one in held.shelf.all}


def test_a_large_file_arrives_byte_for_byte(archive, receiver, move, tmp_path):
    """Larger than what is read ahead, between small ones: pieces and buffers do not mix."""
    paths = many(tmp_path, 3)
    large = dcmread(paths[1])
    large.PixelData = bytes(range(256)) * 4 * 3 * 1024 + b"end."
    dcmwrite(paths[1], large)
    there = receiver()
    held = archive(paths, {"RECEIVER": [there.destination()]})
    assert move(held, "RECEIVER").status == 0
    assert {uid: data for uid, (data, _, _) in there.got.items()} == {
        one.sop_instance_uid: data_set(one.path) for one in held.shelf.all
    }


def test_the_requests_say_whom_they_are_for_and_how_urgent_it_is(archive, receiver, move, tmp_path):
    there = receiver()
    held = archive(many(tmp_path, 2), {"RECEIVER": [there.destination()]})
    move(held, "RECEIVER", priority=1, msg_id=4711)
    for _, _, request in there.got.values():
        assert request.Priority == 1
        assert request.MoveOriginatorApplicationEntityTitle == "WORKSTATION"
        assert request.MoveOriginatorMessageID == 4711


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_failed_and_warned_ones_are_counted_and_the_failed_are_listed(archive, receiver, move, tmp_path, syntax):
    answered = {"1.2.826.0.1.1": 0xA700, "1.2.826.0.1.2": 0xB000, "1.2.826.0.1.4": 0xC123}
    there = receiver(status=lambda event: answered.get(event.request.AffectedSOPInstanceUID, 0))
    held = archive(many(tmp_path, 6), {"RECEIVER": [there.destination()]})
    answers = move(held, "RECEIVER", syntax=syntax)
    assert (answers.status, answers.counts) == (0xB000, (3, 2, 1))
    assert answers.failed == ["1.2.826.0.1.1", "1.2.826.0.1.4"]
    assert answers.final.ErrorComment.startswith("C-STORE was answered A700")


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_failed_list_too_long_for_its_length(archive, move, tmp_path, syntax, free_port):
    """In explicit VR 65,534 bytes have room in UI: a longer list comes as UN, and is the same."""
    held = archive(many(tmp_path, 1), {"RECEIVER": [Destination("x", ("127.0.0.1", free_port), CALLER, attempts=1)]})
    one = held.shelf.all[0]
    uids = [f"1.2.826.0.1.3680043.9.7777.{number:020}".replace(".0", ".1") for number in range(2000)]
    held.shelf.all = [one._replace(sop_instance_uid=uid) for uid in uids]
    answers = move(held, "RECEIVER", syntax=syntax)
    assert (answers.status, answers.counts) == (0xA702, (0, 2000, 0))
    assert sorted(answers.failed) == sorted(uids)


def test_an_unknown_destination_is_a801(archive, move, tmp_path):
    held = archive(many(tmp_path, 1))
    answers = move(held, "NOBODY")
    assert answers.status == 0xA801
    assert answers.final.ErrorComment == "Move Destination 'NOBODY' is no peer of this"
    assert not held.shelf.asked


def test_an_unreachable_destination_has_failed_after_its_attempts(archive, move, tmp_path, free_port):
    nobody = Destination("pacs", ("127.0.0.1", free_port), CALLER, attempts=3)
    held = archive(many(tmp_path, 3), {"RECEIVER": [nobody]})
    answers = move(held, "RECEIVER")
    assert (answers.status, answers.counts) == (0xA702, (0, 3, 0))
    assert answers.failed == [f"1.2.826.0.1.{number}" for number in range(3)]
    assert answers.final.ErrorComment.startswith("pacs: cannot connect to 127.0.0.1")
    assert len(answers.final.ErrorComment) <= 64


def test_a_destination_that_comes_back_is_tried_again(archive, receiver, move, tmp_path, monkeypatch):
    """It refuses the first two associations."""
    there = receiver()
    real, calls = fleet.reach, []

    def busy(destinations, proposals):
        calls.append(destinations)
        if len(calls) < 3:
            raise fleet.Unreachable("busy")
        return real(destinations, proposals)

    monkeypatch.setattr(fleet, "reach", busy)
    held = archive(many(tmp_path, 3), {"RECEIVER": [there.destination(attempts=3)]})
    assert move(held, "RECEIVER").counts == (3, 0, 0)
    assert len(calls) == 3


def test_of_two_peers_with_one_title_the_first_that_answers_gets_everything(
    archive, receiver, move, tmp_path, free_port
):
    there, other = receiver(), receiver()
    nobody = Destination("first", ("127.0.0.1", free_port), CALLER)
    held = archive(many(tmp_path, 5), {"RECEIVER": [nobody, there.destination(), other.destination()]})
    assert move(held, "RECEIVER").counts == (5, 0, 0)
    assert (len(there.got), len(other.got)) == (5, 0)


@pytest.mark.parametrize("associations", [1, 2, 5])
def test_several_associations_share_the_work(archive, receiver, move, tmp_path, associations):
    """Each holds its first instance back until all are there."""
    together = threading.Barrier(associations)
    first = set()

    def meet(event):
        if event.assoc.association_id not in first:
            first.add(event.assoc.association_id)
            together.wait(PATIENCE)
        return 0

    there = receiver(status=meet)
    held = archive(many(tmp_path, 40), {"RECEIVER": [there.destination(associations=associations)]})
    assert move(held, "RECEIVER").counts == (40, 0, 0)
    assert len(there.associations) == associations
    assert set(there.counts.values()) == {1}


def test_no_more_associations_than_instances(archive, receiver, move, tmp_path):
    there = receiver()
    held = archive(many(tmp_path, 2), {"RECEIVER": [there.destination(associations=16)]})
    assert move(held, "RECEIVER").counts == (2, 0, 0)
    assert len(there.associations) <= 2


@pytest.mark.parametrize("associations", [1, 3])
def test_a_receiver_that_aborts_in_the_middle_gets_the_rest_over_another_association(
    archive, receiver, move, tmp_path, associations
):
    aborted = []

    def abort(event):
        if len(there.counts) % 5 == 3 and event.request.AffectedSOPInstanceUID not in aborted:
            aborted.append(event.request.AffectedSOPInstanceUID)
            event.assoc.abort()
        return 0

    there = receiver(status=abort)
    held = archive(many(tmp_path, 20), {"RECEIVER": [there.destination(associations=associations)]})
    answers = move(held, "RECEIVER")
    assert (answers.status, answers.counts) == (0x0000, (20, 0, 0))
    assert aborted
    assert all(there.counts[uid] == 2 for uid in aborted)


def test_an_instance_that_always_breaks_the_association_fails_alone(archive, receiver, move, tmp_path):
    def abort(event):
        if event.request.AffectedSOPInstanceUID == "1.2.826.0.1.0":
            event.assoc.abort()
        return 0

    there = receiver(status=abort)
    held = archive(many(tmp_path, 10), {"RECEIVER": [there.destination(attempts=2)]})
    answers = move(held, "RECEIVER")
    assert (answers.status, answers.counts, answers.failed) == (0xB000, (9, 1, 0), ["1.2.826.0.1.0"])
    assert there.counts["1.2.826.0.1.0"] == 2


def test_a_receiver_that_always_aborts_is_given_up(archive, receiver, move, tmp_path):
    def abort(event):
        event.assoc.abort()
        return 0

    there = receiver(status=abort)
    held = archive(many(tmp_path, 10), {"RECEIVER": [there.destination(attempts=3)]})
    answers = move(held, "RECEIVER")
    assert (answers.status, answers.counts) == (0xA702, (0, 10, 0))
    assert len(answers.failed) == 10
    assert len(there.associations) == 3


def test_a_file_that_is_gone_cut_or_another_one_fails_alone(archive, receiver, move, tmp_path):
    paths = many(tmp_path, 6)
    there = receiver()
    held = archive(paths, {"RECEIVER": [there.destination()]})
    paths[0].unlink()
    paths[2].write_bytes(paths[2].read_bytes()[:-2])
    paths[3].write_bytes(b"no image")
    shutil.copy(paths[1], paths[5])
    answers = move(held, "RECEIVER")
    assert (answers.status, answers.counts) == (0xB000, (2, 4, 0))
    assert answers.failed == [f"1.2.826.0.1.{number}" for number in (0, 2, 3, 5)]
    assert sorted(there.got) == ["1.2.826.0.1.1", "1.2.826.0.1.4"]


def test_a_file_that_is_cut_while_it_is_sent_fails_alone(archive, receiver, move, tmp_path):
    """Its association cannot go on, the next one takes the others."""
    paths = many(tmp_path, 4)
    with paths[1].open("r+b") as file:
        file.truncate(64 << 20)  # more than all the buffers on the way
    there = receiver()
    held = archive(paths, {"RECEIVER": [there.destination()]})

    def cut(uid):
        if uid == "1.2.826.0.1.1":
            with paths[1].open("r+b") as file:
                file.truncate(32 << 20)

    there.begun = cut
    answers = move(held, "RECEIVER")
    assert (answers.status, answers.counts, answers.failed) == (0xB000, (3, 1, 0), ["1.2.826.0.1.1"])
    assert len(there.associations) == 2


@pytest.mark.parametrize("associations", [1, 3])
def test_a_cancel_ends_it_between_two_instances(archive, receiver, move, tmp_path, monkeypatch, associations):
    """The response tells what was done and what was left; nothing begins after it."""
    third, go_on = threading.Event(), threading.Event()
    stop = Work.stop
    monkeypatch.setattr(Work, "stop", lambda work: (stop(work), go_on.set()))

    def begun(_):
        if len(there.counts) >= 2:
            third.set()
            assert go_on.wait(PATIENCE)

    there = receiver()
    there.begun = begun
    held = archive(many(tmp_path, 200), {"RECEIVER": [there.destination(associations=associations)]})

    def cancel():
        assert third.wait(PATIENCE)
        move.association.send_c_cancel(1, query_model=STUDY_ROOT.move)

    canceller = threading.Thread(target=cancel)
    canceller.start()
    answers = move(held, "RECEIVER")
    canceller.join(PATIENCE)
    assert answers.status == 0xFE00
    done = len(there.got)
    assert 2 < done < 3 + 2 * associations
    assert answers.counts == (done, 0, 0)
    assert answers.final.NumberOfRemainingSuboperations == 200 - done
    assert answers.failed == []


@pytest.mark.parametrize("associations", [1, 3])
def test_a_requestor_that_is_gone_ends_it(archive, receiver, move, tmp_path, associations):
    """The associations with the destination are broken off, in the middle of what they do."""

    ended = threading.Event()

    def begun(_):
        if len(there.counts) >= 2:
            move.association.abort()
            assert ended.wait(PATIENCE)

    there = receiver()
    there.begun = begun
    held = archive(many(tmp_path, 50), {"RECEIVER": [there.destination(associations=associations)]})
    assert "Status" not in move(held, "RECEIVER").final
    until(lambda: held.told)
    ended.set()
    assert held.told[0].completed == len(held.told[0].stored) < 10
    until(lambda: not there.server.active_associations)
    until(lambda: not [one for one in threading.enumerate() if one.name == "retrieval"])


def test_progress_is_told_now_and_then_and_not_of_each(archive, receiver, move, tmp_path, monkeypatch):
    monkeypatch.setattr(service, "_OFTEN", 0.05)
    never = threading.Event()
    there = receiver(status=lambda _: int(never.wait(0.02)))
    held = archive(many(tmp_path, 30), {"RECEIVER": [there.destination()]})
    answers = move(held, "RECEIVER")
    assert answers.counts == (30, 0, 0)
    assert 1 < len(answers.pending) < 30
    left = [one.NumberOfRemainingSuboperations for one in answers.pending]
    assert left == sorted(left, reverse=True)
    for one in answers.pending:
        assert one.NumberOfRemainingSuboperations + one.NumberOfCompletedSuboperations == 30


def test_a_requestor_hears_something_while_nothing_can_be_sent(archive, move, tmp_path, free_port, monkeypatch):
    monkeypatch.setattr(service, "_SELDOM", 0.05)
    monkeypatch.setattr(fleet, "_FIRST_PAUSE", 0.5)
    nobody = Destination("pacs", ("127.0.0.1", free_port), CALLER, attempts=2)
    held = archive(many(tmp_path, 3), {"RECEIVER": [nobody]})
    answers = move(held, "RECEIVER")
    assert answers.status == 0xA702
    assert len(answers.pending) > 2
    assert all(one.NumberOfRemainingSuboperations == 3 for one in answers.pending)


def test_more_contexts_than_an_association_has_room_for(archive, receiver, move, tmp_path):
    """70 classes need 140 contexts."""
    dataset = dcmread(file_of_pydicom("MR_small.dcm"))
    del dataset.PixelData
    paths = []
    for number, sop_class in enumerate(sorted(STORAGE)[:70]):
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.{number}"
        paths.append(tmp_path / f"{number:04}.dcm")
        dcmwrite(paths[-1], dataset)
    there = receiver()
    held = archive(paths, {"RECEIVER": [there.destination()]})
    assert move(held, "RECEIVER").counts == (70, 0, 0)
    assert len(there.associations) == 2
    assert all(len(batch.proposals) <= 128 for batch in plan(held.shelf.all))


def test_what_the_destination_does_not_take_is_transcoded_and_counted(archive, receiver, move, tmp_path):
    """The rest goes byte for byte, in the same association."""
    pytest.importorskip("numpy")
    there = receiver(syntaxes=[EXPLICIT])
    held = archive(shelved(tmp_path, ["MR_small_RLE.dcm", "CT_small.dcm"]), {"RECEIVER": [there.destination()]})
    assert move(held, "RECEIVER").counts == (2, 0, 0)
    compressed, plain = held.shelf.all
    assert {syntax for _, syntax, _ in there.got.values()} == {EXPLICIT}
    assert dcmread(file_of_pydicom("MR_small.dcm")).PixelData in there.got[compressed.sop_instance_uid][0]
    assert there.got[plain.sop_instance_uid][0] == data_set(plain.path)
    assert len(there.associations) == 1
    until(lambda: held.told)
    assert held.told[0].transcoded == 1


def test_what_cannot_be_decoded_fails_alone_and_with_a_reason(archive, receiver, move, tmp_path, monkeypatch):
    """As without the plug-ins."""

    def no_plug_in(*_, **__):
        raise RuntimeError("missing dependencies")

    monkeypatch.setattr(Dataset, "decompress", no_plug_in)
    there = receiver(syntaxes=[EXPLICIT])
    held = archive(shelved(tmp_path, ["MR_small_RLE.dcm", "CT_small.dcm"]), {"RECEIVER": [there.destination()]})
    answers = move(held, "RECEIVER")
    assert (answers.status, answers.counts) == (0xB000, (1, 1, 0))
    assert answers.final.ErrorComment == "its RLELossless cannot be decoded here"


def test_over_tls_by_several_associations(archive, receiver, move, tmp_path, authority):
    """A destination whose certificate is of another host gets nothing."""
    shown = authority.server("pacs.example")
    server = server_context(TLSFiles(shown.certificate, shown.key))
    client = client_context(TLSFiles(ca=authority.certificate))
    there = receiver(tls=server)
    peers = {
        title: [there.destination(associations=3, attempts=1, caller=replace(CALLER, security=Security(client, host)))]
        for title, host in (("RIGHT", "pacs.example"), ("WRONG", "other.example"))
    }
    held = archive(many(tmp_path, 20), peers)
    refused = move(held, "WRONG")
    assert (refused.status, there.got) == (0xA702, {})
    assert move(held, "RIGHT").counts == (20, 0, 0)
    assert {uid: data for uid, (data, _, _) in there.got.items()} == {
        one.sop_instance_uid: data_set(one.path) for one in held.shelf.all
    }


def test_nothing_found_is_success(archive, receiver, move, tmp_path):
    held = archive(many(tmp_path, 1), {"RECEIVER": [receiver().destination()]})
    answers = move(held, "RECEIVER", identifier(StudyInstanceUID="1.2.3"))
    assert (answers.status, answers.counts) == (0x0000, (0, 0, 0))
    assert held.begun == held.told == []


def test_without_the_index_it_is_a701(archive, receiver, move, tmp_path):
    held = archive(many(tmp_path, 1), {"RECEIVER": [receiver().destination()]})
    held.shelf.trouble = "the database is locked"
    answers = move(held, "RECEIVER")
    assert answers.status == 0xA701
    assert answers.final.ErrorComment == "the index cannot be asked now"


@pytest.mark.parametrize("model", sorted(BY_MOVE))
def test_an_identifier_that_is_refused_names_the_key(archive, receiver, move, tmp_path, model):
    held = archive(many(tmp_path, 1), {"RECEIVER": [receiver().destination()]})
    answers = move(held, "RECEIVER", identifier("STUDY", PatientID="4711"), model=model)
    assert answers.status == 0xA900
    assert answers.final.ErrorComment == "StudyInstanceUID (0020,000D) is missing"
    assert answers.final.OffendingElement == 0x0020000D
    assert not held.shelf.asked


def test_a_whole_patient(archive, receiver, move, tmp_path):
    held = archive(many(tmp_path, 2), {"RECEIVER": [receiver().destination()]})
    answers = move(held, "RECEIVER", identifier("PATIENT", PatientID="4711"), model=PATIENT_ROOT.move)
    assert answers.counts == (2, 0, 0)
    assert held.shelf.asked == [(0, {0x00100020: ("4711",)})]
