"""Every A-ASSOCIATE-RJ by its numbers (PS3.8 table 9-21), and numbers in words."""

from __future__ import annotations

import pytest
from pynetdicom import pdu as theirs

from scpd.negotiation import reject
from scpd.negotiation.offer import RejectResult, RejectSource
from scpd.wire.pdu import AssociateRJ

NUMBERS = [
    (reject.application_context("why"), (1, 1, 2)),
    (reject.calling_ae_title("why", "key"), (1, 1, 3)),
    (reject.called_ae_title("why", "key"), (1, 1, 7)),
    (reject.no_reason("why"), (1, 2, 1)),
    (reject.protocol_version("why"), (1, 2, 2)),
    (reject.identity("why", "key"), (1, 2, 1)),
    (reject.congestion("why", "key"), (2, 3, 1)),
    (reject.local_limit("why", "key"), (2, 3, 2)),
]


@pytest.mark.parametrize(("rejection", "numbers"), NUMBERS)
def test_numbers(rejection, numbers):
    assert rejection.answer == AssociateRJ(*numbers)
    assert rejection.answer.encode() == bytes((3, 0, 0, 0, 0, 4, 0, *numbers))
    assert rejection.why == "why"
    assert rejection.key in ("", "key")


@pytest.mark.parametrize(("rejection", "numbers"), NUMBERS)
def test_pynetdicom_knows_the_numbers(rejection, numbers):
    made = theirs.A_ASSOCIATE_RJ()
    made.decode(rejection.answer.encode())
    assert (made.result, made.source, made.reason_diagnostic) == numbers
    assert made.result_str
    assert made.source_str
    assert made.reason_str


def test_the_reasons_are_those_of_the_standard_that_are_not_reserved():
    assert {(int(source), reason) for source, reason in reject.REASONS} == {
        (1, 1),
        (1, 2),
        (1, 3),
        (1, 7),
        (2, 1),
        (2, 2),
        (3, 1),
        (3, 2),
    }
    assert [int(one) for one in RejectResult] == [1, 2]
    assert [int(one) for one in RejectSource] == [1, 2, 3]


def test_words():
    assert reject.words(AssociateRJ(1, 1, 7)) == "permanently, DICOM UL service-user: called AE title not recognized"
    assert reject.words(AssociateRJ(2, 3, 2)) == (
        "transiently, DICOM UL service-provider (presentation related function): local limit exceeded"
    )


def test_numbers_that_the_standard_does_not_have_are_told_as_numbers():
    assert reject.words(AssociateRJ(9, 8, 7)) == "result 9, source 8: reason 7"
    assert reject.words(AssociateRJ(1, 1, 4)) == "permanently, DICOM UL service-user: reason 4"
