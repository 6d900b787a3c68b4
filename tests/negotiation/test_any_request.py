"""Whatever request can be decoded gets an answer that can be encoded, and that grants nothing unasked."""

from __future__ import annotations

import logging

from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import pdu as theirs

from scpd.errors import ProtocolError
from scpd.negotiation.agree import agree
from scpd.negotiation.offer import Agreement, Offer, SupportedContext
from scpd.wire.fields import counted, item
from scpd.wire.pdu import AssociateAC, AssociateRQ

# pynetdicom warns about what we send back of a peer's broken titles.
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)

CT = b"1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = b"1.2.840.10008.1.1"
IMPLICIT = b"1.2.840.10008.1.2"
EXPLICIT = b"1.2.840.10008.1.2.1"
DICOM = item(0x10, b"1.2.840.10008.3.1.1.1")

JUNK = st.binary(max_size=80)
ABSTRACT = st.sampled_from([CT, VERIFICATION, CT + b"\0", b""]) | JUNK
SYNTAX = st.sampled_from([IMPLICIT, EXPLICIT, IMPLICIT + b"\0"]) | JUNK
FLAG = st.sampled_from([b"\0", b"\1", b"\2", b"\xff"])


def joined(*parts: st.SearchStrategy) -> st.SearchStrategy:
    return st.tuples(*parts).map(b"".join)


CONTEXT = st.builds(
    lambda number, abstract, syntaxes: item(
        0x20,
        bytes((number, 0, 0, 0)),
        item(0x30, abstract),
        *(item(0x40, one) for one in syntaxes),
    ),
    st.integers(0, 127).map(lambda number: 2 * number + 1),
    ABSTRACT,
    st.lists(SYNTAX, max_size=3),
)
ROLE = st.builds(lambda uid, flags: item(0x54, counted(uid), flags), ABSTRACT, joined(FLAG, FLAG))
SUB_ITEM = st.one_of(
    ROLE,
    ROLE,
    st.sampled_from([0, 7, 8, 16384, 2**32 - 1]).map(lambda length: item(0x51, length.to_bytes(4))),
    JUNK.map(lambda name: item(0x52, name)),
    st.binary(min_size=4, max_size=4).map(lambda window: item(0x53, window)),
    JUNK.map(lambda name: item(0x55, name)),
    st.builds(lambda uid, more: item(0x56, counted(uid), more), ABSTRACT, JUNK),
    st.builds(
        lambda kind, first: item(0x58, bytes((kind, 1)), counted(first), counted(b"")), st.integers(0, 255), JUNK
    ),
    st.builds(item, st.integers(0x5A, 0xFF), JUNK),
)
BODIES = st.builds(
    lambda fixed, name, contexts, inside: fixed + name + b"".join(contexts) + item(0x50, *inside),
    joined(
        st.sampled_from([b"\0\1", b"\0\1", b"\0\1", b"\xff\xff", b"\0\2"]),
        st.just(b"\0\0"),
        st.binary(min_size=64, max_size=64),
    ),
    st.sampled_from([DICOM] * 6 + [b"", item(0x10), item(0x10, b"1.2")]),
    st.lists(CONTEXT, min_size=1, max_size=6, unique_by=lambda one: one[4]),
    st.lists(SUB_ITEM, max_size=8),
)
ROLES = st.sampled_from([None, False, True])
OFFERS = st.builds(
    lambda ct, first, last, check, preference: Offer(
        ae_title="ARCHIVE",
        contexts={
            CT.decode(): SupportedContext(CT.decode(), (EXPLICIT.decode(), IMPLICIT.decode()), *ct),
            VERIFICATION.decode(): SupportedContext(VERIFICATION.decode(), (IMPLICIT.decode(),), first, last),
        },
        maximum_length=16384,
        check_called_ae_title=check,
        preference=preference,
        implementation_class_uid="1.2.3",
    ),
    st.tuples(ROLES, ROLES),
    ROLES,
    ROLES,
    st.sampled_from([False, False, True]),
    st.sampled_from(["requestor", "acceptor"]),
)


@given(BODIES, OFFERS)
def test_any_decodable_request_has_an_answer_that_both_implementations_read(body, offer):
    answer = agree(AssociateRQ.decode(memoryview(body)), offer).answer
    encoded = answer.encode()
    assert type(answer).decode(memoryview(encoded)[6:]) == answer
    made = theirs.A_ASSOCIATE_AC() if isinstance(answer, AssociateAC) else theirs.A_ASSOCIATE_RJ()
    made.decode(encoded)
    if isinstance(answer, AssociateAC):
        assert [(one.context_id, one.result) for one in made.presentation_context] == [
            (one.context_id, one.result) for one in answer.presentation_contexts
        ]
        assert made.user_information.maximum_length == 16384
    else:
        assert (made.result, made.source, made.reason_diagnostic) == (answer.result, answer.source, answer.reason)


@given(BODIES, OFFERS)
def test_nothing_is_granted_that_was_not_proposed_and_offered(body, offer):
    request = AssociateRQ.decode(memoryview(body))
    agreement = agree(request, offer)
    if not isinstance(agreement, Agreement):
        return
    proposed = {one.context_id: one for one in request.presentation_contexts}
    assert [one.context_id for one in agreement.answer.presentation_contexts] == list(proposed)
    assert {*agreement.contexts, *(one.context_id for one in agreement.rejected)} == set(proposed)
    for number, context in agreement.contexts.items():
        assert context.abstract_syntax == proposed[number].abstract_syntax
        assert context.transfer_syntax in proposed[number].transfer_syntaxes
        assert context.transfer_syntax in offer.contexts[context.abstract_syntax].transfer_syntaxes
        assert context.as_scu or context.as_scp
    roles: dict[str, list] = {}
    for one in request.user_information.roles:
        roles.setdefault(one.sop_class_uid, []).append(one)
    for granted in agreement.answer.user_information.roles:
        first, supported = roles[granted.sop_class_uid][0], offer.contexts[granted.sop_class_uid]
        assert granted.scu_role <= (first.scu_role and supported.scu_role)
        assert granted.scp_role <= (first.scp_role and supported.scp_role)
    for context in agreement.contexts.values():
        answers = [
            one for one in agreement.answer.user_information.roles if one.sop_class_uid == context.abstract_syntax
        ]
        told = (answers[0].scp_role, answers[0].scu_role) if answers else (False, True)
        assert (context.as_scu, context.as_scp) == told


@given(st.binary(max_size=300), OFFERS)
def test_bytes_that_happen_to_be_a_request_are_answered_like_any(raw, offer):
    try:
        request = AssociateRQ.decode(memoryview(bytes(68) + raw))
    except ProtocolError:
        return
    agree(request, offer).answer.encode()
