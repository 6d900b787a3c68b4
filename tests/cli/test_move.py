"""``scpd move`` as somebody at a shell uses it: DCMTK's archive sends to a daemon, and peers fail."""

from __future__ import annotations

import os
import subprocess
import sys
import termios
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from components.dcmqrscp import Dcmqrscp
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from scpd import AE, evt
from scpd.cli.main import main
from scpd.sop_class import CTImageStorage, StudyRootQueryRetrieveInformationModelMove

PATIENCE = 20.0
FILES = [Path(get_testdata_file(name)) for name in ("CT_small.dcm", "MR_small.dcm")]
STUDIES = [str(dcmread(path, specific_tags=["StudyInstanceUID"]).StudyInstanceUID) for path in FILES]


@contextmanager
def peer(move):
    """A peer with a handler of C-MOVE; its HOST:PORT."""
    ae = AE("PEER")
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelMove)
    ae.add_requested_context(CTImageStorage)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_MOVE, move)])
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        ae.shutdown(0)


@pytest.mark.interop
def test_dcmtks_archive_sends_to_a_daemon(daemon, capsys):
    server = daemon()
    with Dcmqrscp(destinations={"SCPD": server.port}) as archive:
        archive.add(*FILES)
        keys = ["-k", "StudyInstanceUID=" + "\\".join(STUDIES)]
        assert main(["move", archive.address, "--called", archive.title, "--to", "SCPD", *keys]) == 0
    out, err = capsys.readouterr()
    assert out == "2 completed, 0 failed, 0 with a warning: Success (0000)\n"
    assert err == "", "no progress bar where there is no terminal"
    assert sorted(dcmread(path).PixelData for path in server.stored()) == sorted(
        dcmread(path).PixelData for path in FILES
    )


@pytest.mark.interop
def test_a_destination_that_the_peer_does_not_know(capsys):
    with Dcmqrscp() as archive:
        archive.add(*FILES)
        assert main(["move", archive.address, "--called", archive.title, "--to", "NOBODY", "-k", "PatientID=*"]) == 1
    assert "Refused: move destination unknown (A801)" in capsys.readouterr().out


def test_what_failed_is_counted_and_listed_and_is_exit_1(daemon, capsys):
    server = daemon(storage={"duplicates": "reject"})

    def handle(_event):
        yield "127.0.0.1", server.port
        yield 2
        yield 0xFF00, dcmread(FILES[0])
        yield 0xFF00, dcmread(FILES[0])

    with peer(handle) as address:
        assert main(["move", address, "--to", "SCPD", "-k", f"StudyInstanceUID={STUDIES[0]}"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "1 completed, 1 failed, 0 with a warning: Warning: one or more sub-operations failed (B000)",
        f"failed: {dcmread(FILES[0]).SOPInstanceUID}",
    ]


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_hostile_list_of_what_failed_cannot_act_on_a_terminal(daemon, capsys):
    def handle(_event):
        yield "127.0.0.1", daemon().port
        yield 1
        listed = Dataset()
        listed.FailedSOPInstanceUIDList = ["1.2\x1b[2J", "1.3"]
        yield 0xA702, listed

    with peer(handle) as address:
        assert main(["move", address, "--to", "SCPD"]) == 1
    assert capsys.readouterr().out.splitlines()[1:] == [r"failed: 1.2\x1b[2J", "failed: 1.3"]


def test_a_terminal_gets_a_progress_bar(daemon):
    server = daemon()

    def handle(_event):
        yield "127.0.0.1", server.port
        yield 1
        yield 0xFF00, dcmread(FILES[0])

    terminal, its_end = os.openpty()
    termios.tcsetwinsize(its_end, (24, 80))
    try:
        with peer(handle) as address:
            command = [sys.executable, "-m", "scpd", "move", address, "--to", "SCPD"]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=its_end, timeout=PATIENCE, check=False)
        os.close(its_end)
        shown = b""
        with suppress(OSError):  # Linux says so at the end
            while more := os.read(terminal, 4096):
                shown += more
    finally:
        os.close(terminal)
    assert done.returncode == 0
    assert b"1/1" in shown
    assert b"instance" in shown


def test_a_destination_is_required(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["move", "127.0.0.1:104"])
    assert caught.value.code == 2
    with pytest.raises(SystemExit):
        main(["move", "127.0.0.1:104", "--to", "A" * 17])
    assert "at most 16 characters" in capsys.readouterr().err
