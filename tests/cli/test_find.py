"""``scpd find`` as somebody at a shell uses it, against DCMTK's archive, pynetdicom and peers that mean no good."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
from components.dcmqrscp import Dcmqrscp
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from scpd import AE, evt
from scpd.cli import answers
from scpd.cli.main import main
from scpd.client.identifiers import decode
from scpd.errors import UnreadableDataSet
from scpd.sop_class import (
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
)

PATIENCE = 20.0
FILES = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm")
CT_STUDY = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"


@pytest.fixture(scope="module")
def archive():
    with Dcmqrscp() as server:
        server.add(*map(get_testdata_file, FILES))
        yield server


@contextmanager
def peer(find, *more):
    """A peer with a handler of C-FIND; its HOST:PORT."""
    ae = AE("PEER")
    for abstract in (PatientRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelFind):
        ae.add_supported_context(abstract)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find), *more])
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        ae.shutdown(0)


def patient(name: str, number: int = 1) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = name
    dataset.PatientID = str(number)
    return dataset


def answering(*pairs):
    """A handler that yields these."""

    def handle(_event):
        yield from pairs

    return handle


@pytest.mark.interop
def test_a_line_for_each_match_and_a_count(archive, capsys):
    keys = ["-k", "PatientName", "-k", "StudyDate=20040101-20041231"]
    assert main(["find", archive.address, "--called", archive.title, *keys]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 4
    assert any(f"PatientName=CompressedSamples^CT1  StudyInstanceUID={CT_STUDY}" in line for line in lines)
    assert lines[-1] == "3 matches: Success (0000)"
    assert err == ""


@pytest.mark.interop
@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--level", "PATIENT", "-k", "PatientName=*CT1"], ["PatientID=1CT1"]),
        (["--level", "patient", "--model", "patient", "-k", "PatientID=4MR1"], ["PatientID=4MR1"]),
        (["--level", "SERIES", "-k", f"StudyInstanceUID={CT_STUDY}", "-k", "Modality"], ["Modality=CT"]),
        (["--level", "STUDY", "--query-key", "PatientID=nobody"], []),
    ],
)
def test_models_and_levels(archive, capsys, arguments, found):
    assert main(["find", archive.address, "--called", archive.title, *arguments]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert last.startswith(f"{len(found)} match")
    assert len(lines) == len(found)
    assert all(words in line for words, line in zip(found, lines, strict=True))


@pytest.mark.interop
def test_json_is_an_object_of_pydicoms_for_each_match_and_nothing_else(archive, capsys):
    assert main(["find", archive.address, "--called", archive.title, "-k", "PatientName", "--json"]) == 0
    out, err = capsys.readouterr()
    found = [Dataset.from_json(line) for line in out.splitlines()]
    assert sorted(str(one.PatientName) for one in found) == [
        f"CompressedSamples^{one}" for one in ("CT1", "MR1", "NM1")
    ]
    assert CT_STUDY in {one.StudyInstanceUID for one in found}, "the unique key of the level is told unasked"
    assert err == "3 matches: Success (0000)\n"


@pytest.mark.interop
def test_pynetdicom_answers_in_its_character_set(peer_module, capsys):
    pynetdicom = peer_module
    asked = []

    def handle(event):
        asked.append(event.identifier)
        dataset = Dataset()
        dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        dataset.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
        dataset.StudyInstanceUID = "1.2"
        yield 0xFF01, dataset

    entity = pynetdicom.AE()
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(pynetdicom.evt.EVT_C_FIND, handle)])
    try:
        assert main(["find", f"127.0.0.1:{server.server_address[1]}", "-k", "PatientName=*山田*"]) == 0
    finally:
        server.shutdown()
    assert (asked[0].SpecificCharacterSet, str(asked[0].PatientName)) == ("ISO_IR 192", "*山田*")
    assert capsys.readouterr().out.splitlines() == [
        "PatientName=Yamada^Tarou=山田^太郎=やまだ^たろう  StudyInstanceUID=1.2",
        "1 match: Success (0000); the peer does not support some optional keys",
    ]


@pytest.fixture
def peer_module(request):
    return request.getfixturevalue("peer")("pynetdicom")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0xA700, "Refused: out of resources (A700)"),
        (0xA900, "Error: data set does not match SOP class (A900)"),
        (0xC001, "Failed: unable to process (C001)"),
        (0xFE00, "Cancel (FE00)"),
    ],
)
def test_a_failure_in_words_with_the_peers_comment_is_exit_1(capsys, status, words):
    final = Dataset()
    final.Status = status
    final.ErrorComment = "no key \x1b]0;owned\x07"
    final.OffendingElement = [0x00100020]
    with peer(answering((0xFF00, patient("A")), (final, None))) as address:
        assert main(["find", address]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == rf"1 match: {words}: no key \x1b]0;owned\x07 [PatientID]"


def test_text_of_a_peer_cannot_act_on_a_terminal(capsys):
    hostile = "A\x1b[2J\x07\r\u202eB\u2028C\x9b31mD"
    with peer(answering((0xFF00, patient(hostile)))) as address:
        assert main(["find", address]) == 0
        plain = capsys.readouterr()
        assert main(["find", address, "--json"]) == 0
    in_json = capsys.readouterr().out
    assert plain.out.splitlines()[0] == r"PatientName=A\x1b[2J\x07\r\u202eB\u2028C\x9b31mD  PatientID=1"
    assert in_json.isascii()
    assert Dataset.from_json(in_json).PatientName == hostile
    assert plain.err == ""


def test_most_cancels_after_that_many(capsys):
    cancelled = threading.Event()

    def endless(_event):
        try:
            for number in itertools.count(1):
                yield 0xFF00, patient("A", number)
        finally:
            cancelled.set()

    with peer(endless) as address:
        assert main(["find", address, "--most", "2"]) == 0
        assert cancelled.wait(PATIENCE)
    assert capsys.readouterr().out.splitlines() == [
        "PatientName=A  PatientID=1",
        "PatientName=A  PatientID=2",
        "2 matches: Cancel (FE00); there may be more than --most",
    ]


def test_a_match_is_printed_before_the_next_one_comes():
    may_go_on = threading.Event()

    def handle(_event):
        yield 0xFF00, patient("First")
        assert may_go_on.wait(PATIENCE)
        yield 0xFF00, patient("Second")

    with peer(handle) as address:
        command = [sys.executable, "-m", "scpd", "find", address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as process:
            assert process.stdout.readline() == "PatientName=First  PatientID=1\n"
            may_go_on.set()
            assert process.stdout.readline() == "PatientName=Second  PatientID=1\n"
            assert process.wait(PATIENCE) == 0


def test_a_reader_that_has_enough_ends_it():
    told = threading.Event()

    def endless(_event):
        while True:
            yield 0xFF00, patient("A" * 60)

    with peer(endless, (evt.EVT_ABORTED, lambda _event: told.set())) as address:
        command = [sys.executable, "-m", "scpd", "find", address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout.readline().startswith(b"PatientName=A")
            process.stdout.close()
            assert process.wait(PATIENCE) == 1
            assert process.stderr.read() == b""
        assert told.wait(PATIENCE), "the peer was left without an end"


@pytest.mark.parametrize(("locale", "shown"), [("C.UTF-8", "Müller"), ("POSIX", r"M\xfcller")])
def test_what_standard_output_cannot_express_is_escaped(locale, shown):
    with peer(answering((0xFF00, patient("Müller")))) as address:
        done = subprocess.run(
            [sys.executable, "-m", "scpd", "find", address],
            env={"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            capture_output=True,
            timeout=PATIENCE,
            check=True,
        )
    assert done.stdout.decode().splitlines()[0] == f"PatientName={shown}  PatientID=1"


def test_a_peer_that_serves_no_query_is_told(daemon, capsys):
    assert main(["find", f"127.0.0.1:{daemon().port}"]) == 1
    assert "scpd: the peer did not accept a presentation context for Study Root" in capsys.readouterr().err


def test_extended_negotiation_that_the_peer_does_not_take_is_told(capsys):
    with peer(answering()) as address:
        assert main(["find", address, "--relational", "--combined-date-time", "--fuzzy", "--timezone"]) == 0
    out, err = capsys.readouterr()
    options = ("--relational", "--combined-date-time", "--fuzzy", "--timezone")
    assert err.splitlines() == [f"scpd: the peer did not agree to {option}" for option in options]
    assert out == "0 matches: Success (0000)\n"


def test_a_key_that_its_character_set_cannot_express_is_told(capsys):
    with peer(answering()) as address:
        keys = ["-k", "SpecificCharacterSet=ISO_IR 100", "-k", "PatientName=山田"]
        assert main(["find", address, *keys]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("scpd: the identifier cannot be encoded: With tag (0010,0010)")


@given(st.binary(max_size=300), st.sampled_from(["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"]))
def test_whatever_comes_is_a_printable_line_and_ascii_json(data, syntax):
    try:
        dataset = decode(data, syntax)
    except UnreadableDataSet:
        return
    assert answers.line(dataset).isprintable()
    assert answers.in_json(dataset).isascii()
    assert isinstance(json.loads(answers.in_json(dataset)), dict)


def test_a_value_that_cannot_be_read_is_told_by_its_bytes():
    dataset = decode(bytes.fromhex("2800 1000 5553 0300") + b"a\x1bb", "1.2.840.10008.1.2.1")
    assert answers.line(dataset) == r"Rows=b'a\x1bb'"
    assert json.loads(answers.in_json(dataset)) == {"00280010": {"vr": "US", "InlineBinary": "YRti"}}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-k", "PatientNam=x"], "did you mean PatientName?"),
        (["--level", "MOON"], "invalid choice: 'MOON'"),
        (["--model", "worklist"], "invalid choice: 'worklist'"),
        (["--most", "0"], "'0' is no number of answers"),
        (["--most", "many"], "'many' is no number of answers"),
    ],
)
def test_wrong_usage_is_exit_2_with_a_sentence(capsys, arguments, words):
    with pytest.raises(SystemExit) as caught:
        main(["find", "127.0.0.1:104", *arguments])
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_nobody_there_is_exit_1(free_port, capsys):
    assert main(["find", f"127.0.0.1:{free_port}"]) == 1
    assert "scpd: cannot connect to" in capsys.readouterr().err
