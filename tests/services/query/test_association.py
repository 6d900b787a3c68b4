"""C-FIND over an association, from DCMTK and pynetdicom: what is found, what is negotiated, what is cancelled."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from components.held import EXPLICIT, IMPLICIT, Held, identifier, instance
from pynetdicom import AE
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from scpd.negotiation.offer import Extensions, Offer, SupportedContext
from scpd.server.capacity import CapacityLimits
from scpd.server.server import Server
from scpd.server.visit import Visit
from scpd.server.worker import Terms
from scpd.services.query.extended import answer
from scpd.services.query.find import Find, FindRules
from scpd.services.query.models import MODELS, STUDY_ROOT
from scpd.transport.exchange import Pace
from scpd.wire.framing import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 20.0


class Endless(Held):
    """Goes on for as long as somebody listens."""

    def _matches(self, query):
        (found,) = super()._matches(query)
        while True:
            yield found


@pytest.fixture
def serve() -> Iterator:
    started: list[Server] = []

    def start(index, most=0) -> int:
        service = Find(index, FindRules("ARCHIVE", most))
        offer = Offer(
            "ARCHIVE",
            {model.find: SupportedContext(model.find, (EXPLICIT, IMPLICIT)) for model in MODELS},
            16384,
            extensions=Extensions(extended=lambda proposed: answer(proposed, fuzzy_names=True)),
        )
        visit = Visit(offer, {model.find: service for model in MODELS})
        terms = Terms(
            visit=lambda _: visit,
            limits=Limits(1 << 20, 16384),
            command_limit=65536,
            data_set_limit=1 << 20,
            artim=PATIENCE,
            write=PATIENCE,
            pace=Pace(PATIENCE, PATIENCE),
            where=lambda key: key,
        )
        server = Server("test", ("127.0.0.1", 0), terms, CapacityLimits(20, 10, 20, 10))
        started.append(server)
        server.start()
        return server.address[1]

    yield start
    for server in started:
        server.stop_accepting()
        server.abort("the test is over")


def findscu(port: int, *arguments: str) -> str:
    command = ["findscu", "-v", "-aec", "ARCHIVE", *arguments, "127.0.0.1", str(port)]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    return (done.stdout + done.stderr).decode("latin-1")


@pytest.mark.interop
def test_findscu_finds_studies(serve):
    port = serve(Held(instance(), instance(study="1.2.2", PatientName="ROE^MAX")))
    said = findscu(port, "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientName=doe*", "-k", "StudyInstanceUID")
    assert re.findall(r"UI .(1[.]2[.][0-9])", said) == ["1.2.1"], said
    assert "PN [DOE^JANE]" in said
    assert "AE [ARCHIVE ]" in said
    assert "Received Final Find Response (Success)" in said


@pytest.mark.interop
def test_findscu_is_told_why_not(serve):
    said = findscu(serve(Held(instance())), "-S", "-d", "-k", "QueryRetrieveLevel=SERIES", "-k", "SeriesInstanceUID")
    assert "StudyInstanceUID (0020,000D) is missing" in said
    assert "0xa900" in said


@pytest.mark.interop
def test_a_cancel_ends_a_search_that_would_never_end(serve):
    index = Endless(instance())
    said = findscu(serve(index), "-S", "--cancel", "3", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID")
    assert "Cancel" in said
    assert index.closed == 1


@pytest.mark.interop
def test_relational_queries_are_negotiated_by_class(serve):
    port = serve(Held(instance(), instance(study="1.2.2", series="1.2.2.1")))
    asked = identifier("SERIES", SeriesInstanceUID="", PatientName="DOE*")
    for information, expected in ((b"\1", [0xFF00, 0xFF00, 0x0000]), (b"\0\1", [0xA900]), (b"", [0xA900])):
        entity = AE(ae_title="SCU")
        entity.add_requested_context(STUDY_ROOT.find)
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid, item.service_class_application_information = STUDY_ROOT.find, information
        link = entity.associate("127.0.0.1", port, ae_title="ARCHIVE", ext_neg=[item] if information else [])
        assert link.is_established
        try:
            assert [status.Status for status, _ in link.send_c_find(asked, STUDY_ROOT.find)] == expected
        finally:
            link.release()
            entity.shutdown()
