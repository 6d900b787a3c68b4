"""C-FIND, C-MOVE and C-GET as a library: answers as they come, the final one, cancelling, and what a peer may do."""

from __future__ import annotations

import itertools
import threading
from contextlib import contextmanager

import pytest
from pydicom.dataset import Dataset

from scpd import AE, evt
from scpd.client import operations, querying
from scpd.client.identifiers import identifier, parse_key
from scpd.client.querying import Extensions
from scpd.client.requestor import Caller, Negotiation, Proposal, associate
from scpd.errors import PeerError
from scpd.sop_class import Verification

PATIENCE = 20.0
MODELS = ("patient", "study")
FIND = querying.sop_class("study", "find")
KEYS = identifier("STUDY", [parse_key("StudyInstanceUID")])


@contextmanager
def peer(*handlers):
    """A peer with these handlers; the port that it listens on."""
    ae = AE("PEER")
    ae.add_supported_context(Verification)
    for model in MODELS:
        for service in ("find", "move", "get"):
            ae.add_supported_context(querying.sop_class(model, service))
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=list(handlers))
    try:
        yield server.server_address[1]
    finally:
        ae.shutdown(0)


def call(port, *abstract_syntaxes, **negotiation):
    caller = Caller(answer=PATIENCE, message=PATIENCE, negotiation=Negotiation(**negotiation))
    proposals = [querying.proposal(one) for one in abstract_syntaxes or (FIND,)]
    return associate(("127.0.0.1", port), [*proposals, Proposal(Verification, ("1.2.840.10008.1.2",))], caller)


def study(number: int) -> Dataset:
    dataset = Dataset()
    dataset.StudyInstanceUID = f"1.2.{number}"
    return dataset


def two(_event):
    yield 0xFF00, study(1)
    yield 0xFF01, study(2)


@pytest.mark.parametrize("model", MODELS)
def test_the_answers_as_they_come_and_the_final_one(model):
    asked = []

    def handle(event):
        asked.append((event.request.AffectedSOPClassUID, event.identifier.QueryRetrieveLevel))
        yield from two(event)

    abstract_syntax = querying.sop_class(model, "find")
    with peer((evt.EVT_C_FIND, handle)) as port, call(port, abstract_syntax) as association:
        operation = querying.find(association, abstract_syntax, KEYS)
        answers = [(one.response.status, operation.identifier(one).StudyInstanceUID) for one in operation]
        assert answers == [(0xFF00, "1.2.1"), (0xFF01, "1.2.2")]
        assert operation.result.status == 0x0000
    assert asked == [(abstract_syntax, "STUDY")]


def test_closed_half_way_it_is_cancelled_and_the_association_goes_on():
    cancelled = threading.Event()

    def endless(_event):
        try:
            for number in itertools.count(1):
                yield 0xFF00, study(number)
        finally:
            cancelled.set()

    with peer((evt.EVT_C_FIND, endless)) as port, call(port) as association:
        operation = querying.find(association, FIND, KEYS)
        for answer in operation:
            if operation.identifier(answer).StudyInstanceUID == "1.2.5":
                break
        with pytest.raises(RuntimeError, match="under way"):
            assert operation.result
        operation.close()
        assert cancelled.wait(PATIENCE)
        assert operation.result.status == 0xFE00
        operation.close()  # again, which does nothing
        assert operations.echo(association).status == 0x0000


def test_a_move_names_its_destination():
    asked = []

    def handle(event):
        asked.append((event.move_destination, event.identifier.StudyInstanceUID))
        yield None, None

    abstract_syntax = querying.sop_class("study", "move")
    with peer((evt.EVT_C_MOVE, handle)) as port, call(port, abstract_syntax) as association:
        keys = identifier("STUDY", [parse_key("StudyInstanceUID=1.2")])
        operation = querying.move(association, abstract_syntax, keys, "VIEWER")
        assert list(operation) == []
        assert operation.result.status == 0xA801
    assert asked == [("VIEWER", "1.2")]


def test_without_a_context_it_is_told():
    with peer() as port, call(port, "1.2.3.4") as association:
        with pytest.raises(LookupError, match=r"did not accept a presentation context for Study Root.*FIND"):
            querying.find(association, FIND, KEYS)


def test_a_peer_that_goes_away_in_the_middle():
    def handle(event):
        yield 0xFF00, study(1)
        event.assoc.abort()

    with peer((evt.EVT_C_FIND, handle)) as port:
        association = call(port)
        operation = querying.find(association, FIND, KEYS)
        with pytest.raises(PeerError):
            list(operation)
        operation.close()
        assert operation.final is None
        association.abort()


@pytest.mark.parametrize(
    ("extensions", "proposed"),
    [
        (Extensions(), None),
        (Extensions(relational=True), b"\x01"),
        (Extensions(fuzzy=True), b"\x00\x00\x01"),
        (Extensions(True, True, True, True), b"\x01\x01\x01\x01"),
    ],
)
def test_extended_negotiation_and_what_came_of_it(extensions, proposed):
    asked = {}

    def handle(event):
        asked.update(event.app_info)
        return {FIND: b"\x01\x00\x01"}

    with peer((evt.EVT_SOP_EXTENDED, handle)) as port:
        with call(port, extended=extensions.item(FIND)) as association:
            refused = extensions.refused(association, FIND)
    assert asked.get(FIND) == proposed
    assert refused == [name for name in ("combined_date_time", "timezone") if getattr(extensions, name)]


def test_a_peer_without_extended_negotiation_agrees_to_nothing():
    extensions = Extensions(relational=True)
    with peer() as port, call(port, extended=extensions.item(FIND)) as association:
        assert extensions.refused(association, FIND) == ["relational"]
