"""Extended negotiation of queries: nothing beyond what was proposed, nothing that is not supported (PS3.4 C.5.1)."""

from __future__ import annotations

import pytest

from scpd.negotiation.agree import agree
from scpd.negotiation.offer import Extensions, Offer, SupportedContext
from scpd.services.query.extended import Options, answer, decode
from scpd.services.query.models import PATIENT_ROOT, STUDY_ROOT
from scpd.wire.contexts import PresentationContextRQ
from scpd.wire.pdu import AssociateRQ
from scpd.wire.user_info import SOPClassExtendedNegotiation, UserInformation

FIND = STUDY_ROOT.find
EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.mark.parametrize(
    ("proposed", "answered"),
    [
        (b"\1", b"\1"),
        (b"\0", b"\0"),
        (b"\1\1", b"\1\1"),
        (b"\1\1\1\1\1\1\1", b"\1\1\1\1\0\1\1"),
        (b"\0\0\0\0\1\0\0", b"\0\0\0\0\0\0\0"),
        (b"\1\1\1\1\1\1\1\1\1", b"\1\1\1\1\0\1\1"),
        (b"\2\xff", b"\0\0"),
    ],
)
def test_an_option_is_on_where_it_is_asked_for_and_supported(proposed, answered):
    assert answer({FIND: proposed}, fuzzy_names=True) == {FIND: answered}


def test_fuzzy_names_are_off_where_the_configuration_says_so():
    assert answer({FIND: b"\1\1\1"}, fuzzy_names=False) == {FIND: b"\1\1\0"}


def test_other_classes_and_empty_items_are_left_alone():
    assert answer({STUDY_ROOT.move: b"\1", "1.2.3": b"\1", FIND: b""}, fuzzy_names=True) == {}
    assert set(answer({PATIENT_ROOT.find: b"\1", FIND: b"\1"}, fuzzy_names=True)) == {PATIENT_ROOT.find, FIND}


def test_what_was_agreed_is_known_in_the_contexts_of_its_class():
    offer = Offer(
        "SCPD",
        {uid: SupportedContext(uid, (EXPLICIT,)) for uid in (FIND, PATIENT_ROOT.find)},
        16384,
        extensions=Extensions(extended=lambda proposed: answer(proposed, fuzzy_names=False)),
    )
    request = AssociateRQ(
        called_field=b"SCPD".ljust(16),
        calling_field=b"SCU".ljust(16),
        presentation_contexts=tuple(
            PresentationContextRQ(number, uid, (EXPLICIT,)) for number, uid in ((1, FIND), (3, PATIENT_ROOT.find))
        ),
        user_information=UserInformation(
            maximum_length=16384, extended=(SOPClassExtendedNegotiation(FIND, b"\1\0\1"),)
        ),
    )
    agreement = agree(request, offer)
    assert decode(agreement.contexts[1].extended) == Options(relational=True)
    assert agreement.contexts[3].extended == b""
    assert [item.information for item in agreement.answer.user_information.extended] == [b"\1\0\0"]
