"""C-GET: the instances come back over the association that asked, in the contexts in which this side may be SCU."""

from __future__ import annotations

import threading

import pytest
from components.retrieval import ALL, EXPLICIT, IMPLICIT, data_set, file_of_pydicom, identifier, until
from pydicom import dcmread, dcmwrite
from pydicom.uid import JPEG2000Lossless, RLELossless

from scpd.services.query.models import PATIENT_ROOT, STUDY_ROOT
from scpd.services.retrieve import service

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"


@pytest.fixture
def slices(tmp_path):
    """The same small instance under several UIDs."""

    def make(count):
        dataset = dcmread(file_of_pydicom("MR_small.dcm"))
        for number in range(count):
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.{number}"
            dcmwrite(tmp_path / f"{number:04}.dcm", dataset)
        return sorted(tmp_path.iterdir())

    return make


def test_each_encoding_comes_byte_for_byte_in_its_own_context(archive, get):
    paths = [file_of_pydicom(name) for name in ("CT_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm")]
    held = archive(paths)
    held.shelf.all[2] = held.shelf.all[2]._replace(sop_instance_uid=held.shelf.all[2].sop_instance_uid)
    got = get(held, [(CT, [EXPLICIT]), (MR, [RLELossless])])
    assert got.answers.counts[0] >= 2
    for one in held.shelf.all[:2]:
        assert got.got[one.sop_instance_uid][:2] == (data_set(one.path), one.transfer_syntax_uid)


def test_an_instance_whose_class_may_not_come_back_has_failed(archive, get):
    held = archive([file_of_pydicom("CT_small.dcm"), file_of_pydicom("MR_small.dcm")])
    got = get(held, [(CT, [EXPLICIT])])
    assert (got.answers.status, got.answers.counts) == (0xB000, (1, 1, 0))
    assert got.answers.failed == [held.shelf.all[1].sop_instance_uid]
    assert got.answers.final.ErrorComment == "no context accepted for MRImageStorage ExplicitVRLittleEndian"


def test_a_context_in_which_nobody_asked_for_the_role_is_not_used(archive, get):
    """The requestor proposes the class as SCU, as if it were to store."""
    held = archive([file_of_pydicom("CT_small.dcm")])
    got = get(held, [])
    assert (got.answers.status, got.answers.counts, got.got) == (0xA702, (0, 1, 0), {})


def test_what_is_held_in_the_other_plain_encoding_is_transcoded(archive, get):
    held = archive([file_of_pydicom("CT_small.dcm")])
    got = get(held, [(CT, [IMPLICIT])])
    assert got.answers.counts == (1, 0, 0)
    ((data, syntax, _),) = got.got.values()
    assert syntax == IMPLICIT
    assert dcmread(file_of_pydicom("CT_small.dcm")).PixelData in data
    until(lambda: held.told)
    assert held.told[0].transcoded == 1


def test_nothing_is_compressed_for_anybody(archive, get):
    held = archive([file_of_pydicom("CT_small.dcm")])
    got = get(held, [(CT, [JPEG2000Lossless])])
    assert (got.answers.status, got.answers.counts) == (0xA702, (0, 1, 0))


def test_counts_warnings_and_the_failed_list(archive, get, slices):
    answered = {"1.2.826.0.1.1": 0xA900, "1.2.826.0.1.2": 0xB007}
    held = archive(slices(5))
    got = get(held, [(MR, ALL)], status=lambda event: answered.get(event.request.AffectedSOPInstanceUID, 0))
    assert (got.answers.status, got.answers.counts) == (0xB000, (3, 1, 1))
    assert got.answers.failed == ["1.2.826.0.1.1"]
    until(lambda: held.told)
    assert (held.begun[0].destination, held.told[0].completed, held.told[0].failed) == ("", 3, 1)
    assert held.told[0].stored == {f"1.2.826.0.1.{number}" for number in (0, 2, 3, 4)}


def test_no_move_originator_and_the_priority_of_the_request(archive, get, slices):
    got = get(archive(slices(1)), [(MR, ALL)], priority=1)
    ((_, _, request),) = got.got.values()
    assert request.Priority == 1
    assert not request.MoveOriginatorApplicationEntityTitle
    assert request.MoveOriginatorMessageID is None


def test_a_cancel_ends_it_at_once(archive, get, slices):
    """It is sent while an instance is on its way: that one is the last."""
    held = archive(slices(50))

    def status(event):
        if event.request.AffectedSOPInstanceUID == "1.2.826.0.1.2":
            get.association.send_c_cancel(1, query_model=STUDY_ROOT.get)
        return 0

    got = get(held, [(MR, ALL)], status=status)
    assert (got.answers.status, got.answers.counts) == (0xFE00, (3, 0, 0))
    assert got.answers.final.NumberOfRemainingSuboperations == 47
    assert len(got.got) == 3


def test_progress_is_told_on_the_same_association(archive, get, slices, monkeypatch):
    monkeypatch.setattr(service, "_OFTEN", 0.02)
    never = threading.Event()
    got = get(archive(slices(20)), [(MR, ALL)], status=lambda _: int(never.wait(0.01)))
    assert got.answers.counts == (20, 0, 0)
    assert 1 < len(got.answers.pending) < 20


def test_a_requestor_that_aborts_ends_it(archive, get, slices):
    def status(event):
        if event.request.AffectedSOPInstanceUID == "1.2.826.0.1.2":
            get.association.abort()
        return 0

    held = archive(slices(50))
    got = get(held, [(MR, ALL)], status=status)
    assert sorted(got.got) == ["1.2.826.0.1.0", "1.2.826.0.1.1"]
    assert "Status" not in got.answers.final
    until(lambda: held.told)
    assert held.told[0].completed == 2


def test_a_requestor_that_does_not_answer_a_c_store_is_not_waited_for_for_ever(archive, get, slices):
    held = archive(slices(2), answer=0.2)
    go_on = threading.Event()
    try:
        got = get(held, [(MR, ALL)], status=lambda _: int(go_on.wait(1.0)))
    finally:
        go_on.set()
    assert "Status" not in got.answers.final


def test_the_association_goes_on_after_it(archive, get, slices):
    held = archive(slices(3))
    assert get(held, [(MR, ALL)]).answers.counts == (3, 0, 0)
    again = list(get.association.send_c_get(identifier(), STUDY_ROOT.get))
    assert again[-1][0].NumberOfCompletedSuboperations == 3


def test_a_file_that_is_gone_fails_alone(archive, get, slices):
    paths = slices(4)
    held = archive(paths)
    paths[0].unlink()
    paths[3].unlink()
    got = get(held, [(MR, ALL)])
    assert (got.answers.status, got.answers.counts) == (0xB000, (2, 2, 0))
    assert got.answers.failed == ["1.2.826.0.1.0", "1.2.826.0.1.3"]


def test_several_levels_of_the_patient_root(archive, get, slices):
    held = archive(slices(3))
    uids = ["1.2.826.0.1.0", "1.2.826.0.1.2"]
    series = held.shelf.all[0].series_instance_uid
    keys = {"StudyInstanceUID": held.shelf.all[0].study_instance_uid, "SeriesInstanceUID": series}
    got = get(
        held, [(MR, ALL)], identifier("IMAGE", PatientID="X", SOPInstanceUID=uids, **keys), model=PATIENT_ROOT.get
    )
    assert sorted(got.got) == uids
