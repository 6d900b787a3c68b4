"""Byte for byte what pynetdicom, an independent implementation, sends for the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID
from pynetdicom import pdu as theirs
from pynetdicom import pdu_primitives as primitives
from pynetdicom.presentation import PresentationContext

from scpd.wire.contexts import PresentationContextAC, PresentationContextRQ
from scpd.wire.pdu import (
    DECODERS,
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    DataTF,
    PresentationDataValue,
    ReleaseRP,
    ReleaseRQ,
    encode_title,
)
from scpd.wire.user_info import (
    AsynchronousOperationsWindow,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityAC,
    UserIdentityRQ,
    UserInformation,
)

COMPONENTS = st.integers(0, 10**9).map(str)
UIDS = st.lists(COMPONENTS, min_size=1, max_size=5).map(lambda parts: ".".join(["1", "2", *parts]))
TITLES = st.from_regex(r"[A-Z0-9_]{1,16}", fullmatch=True)
SHORTS = st.integers(0, 0xFFFF)
SOME_BYTES = st.binary(min_size=1, max_size=30)
# At least one of them: pynetdicom does not build the proposal (0, 0).
PROPOSALS = st.sampled_from([(True, False), (False, True), (True, True)])


def primitive(name: str, **values: object):
    made = getattr(primitives, name)()
    for key, value in values.items():
        setattr(made, key, value)
    return made


def maximum_length(length: int):
    return primitive("MaximumLengthNotification", maximum_length_received=length)


def class_uid(uid: str):
    return primitive("ImplementationClassUIDNotification", implementation_class_uid=UID(uid))


def version_name(name: str):
    return primitive("ImplementationVersionNameNotification", implementation_version_name=name)


def window(invoked: int, performed: int):
    return primitive(
        "AsynchronousOperationsWindowNegotiation",
        maximum_number_operations_invoked=invoked,
        maximum_number_operations_performed=performed,
    )


def role(uid: str, scu: bool, scp: bool):
    return primitive("SCP_SCU_RoleSelectionNegotiation", sop_class_uid=UID(uid), scu_role=scu, scp_role=scp)


def extended(uid: str, information: bytes):
    return primitive(
        "SOPClassExtendedNegotiation", sop_class_uid=UID(uid), service_class_application_information=information
    )


def common(uid: str, service: str, related: list[str]):
    return primitive(
        "SOPClassCommonExtendedNegotiation",
        sop_class_uid=UID(uid),
        service_class_uid=UID(service),
        related_general_sop_class_identification=[UID(one) for one in related],
    )


def identity(kind: int, asked: bool, first: bytes, second: bytes):
    return primitive(
        "UserIdentityNegotiation",
        user_identity_type=kind,
        positive_response_requested=asked,
        primary_field=first,
        secondary_field=second,
    )


def encoded(made) -> bytes:
    return made.from_primitive().encode()


@given(SHORTS, SHORTS)
def test_53(invoked, performed):
    assert AsynchronousOperationsWindow(invoked, performed).encode() == encoded(window(invoked, performed))


@given(UIDS, PROPOSALS)
def test_54(uid, proposal):
    assert RoleSelection(uid, *proposal).encode() == encoded(role(uid, *proposal))


@given(UIDS, SOME_BYTES)
def test_56(uid, information):
    assert SOPClassExtendedNegotiation(uid, information).encode() == encoded(extended(uid, information))


@given(UIDS, UIDS, st.lists(UIDS, max_size=3))
def test_57(uid, service, related):
    ours = SOPClassCommonExtendedNegotiation(uid, service, tuple(related))
    assert ours.encode() == encoded(common(uid, service, related))


@given(st.integers(1, 5), st.booleans(), SOME_BYTES, SOME_BYTES)
def test_58(kind, asked, first, second):
    second = second if kind == 2 else b""
    assert UserIdentityRQ(kind, asked, first, second).encode() == encoded(identity(kind, asked, first, second))


@given(SOME_BYTES)
def test_59(response):
    assert UserIdentityAC(response).encode() == encoded(primitive("UserIdentityNegotiation", server_response=response))


def associate(called: str, calling: str, *user_information: object, **more: object):
    return primitive(
        "A_ASSOCIATE",
        application_context_name=UID("1.2.840.10008.3.1.1.1"),
        called_ae_title=called,
        calling_ae_title=calling,
        user_information=list(user_information),
        **more,
    )


def context(number: int, abstract: str, syntaxes: list[str]) -> PresentationContext:
    made = PresentationContext()
    made.context_id = number
    made.abstract_syntax = UID(abstract)
    made.transfer_syntax = [UID(one) for one in syntaxes]
    return made


CONTEXTS = st.lists(st.tuples(UIDS, st.lists(UIDS, min_size=1, max_size=3, unique=True)), min_size=1, max_size=5)


@given(TITLES, TITLES, CONTEXTS, st.integers(0, 2**32 - 1), UIDS, TITLES, UIDS, PROPOSALS, SOME_BYTES)
def test_a_associate_rq(called, calling, contexts, length, implementation, version, uid, proposal, secret):
    numbered = [(2 * index + 1, *one) for index, one in enumerate(contexts)]
    ours = AssociateRQ(
        encode_title(called),
        encode_title(calling),
        UserInformation(
            maximum_length=length,
            implementation_class_uid=implementation,
            implementation_version_name=version,
            window=AsynchronousOperationsWindow(3, 4),
            roles=(RoleSelection(uid, *proposal),),
            extended=(SOPClassExtendedNegotiation(uid, secret),),
            common_extended=(SOPClassCommonExtendedNegotiation(uid, uid),),
            identities=(UserIdentityRQ(2, False, secret, secret),),
        ),
        presentation_contexts=tuple(PresentationContextRQ(n, uid, tuple(ts)) for n, uid, ts in numbered),
    )
    made = theirs.A_ASSOCIATE_RQ()
    made.from_primitive(
        associate(
            called,
            calling,
            # In the order of their types, as PS3.8 9.3.1 asks and we send.
            maximum_length(length),
            class_uid(implementation),
            window(3, 4),
            role(uid, *proposal),
            version_name(version),
            extended(uid, secret),
            common(uid, uid, []),
            identity(2, False, secret, secret),
            presentation_context_definition_list=[context(*one) for one in numbered],
        )
    )
    assert ours.encode() == made.encode()
    assert DECODERS[1].decode(memoryview(made.encode())[6:]) == ours


@given(TITLES, TITLES, st.lists(st.tuples(st.integers(0, 4), UIDS), min_size=1, max_size=5), UIDS)
def test_a_associate_ac(called, calling, results, implementation):
    numbered = [(2 * index + 1, result, uid) for index, (result, uid) in enumerate(results)]
    ours = AssociateAC(
        encode_title(called),
        encode_title(calling),
        UserInformation(maximum_length=16384, implementation_class_uid=implementation),
        presentation_contexts=tuple(PresentationContextAC(*one) for one in numbered),
    )
    answered = []
    for number, result, uid in numbered:
        one = context(number, "1.2.3", [uid])
        one.result = result
        answered.append(one)
    made = theirs.A_ASSOCIATE_AC()
    made.from_primitive(
        associate(
            called,
            calling,
            maximum_length(16384),
            class_uid(implementation),
            presentation_context_definition_results_list=answered,
        )
    )
    assert ours.encode() == made.encode()
    assert DECODERS[2].decode(memoryview(made.encode())[6:]) == ours


@pytest.mark.parametrize("source_reason", [(1, 1), (1, 2), (1, 3), (1, 7), (2, 1), (2, 2), (3, 1), (3, 2)])
@pytest.mark.parametrize("result", [1, 2])
def test_a_associate_rj(result, source_reason):
    source, reason = source_reason
    made = theirs.A_ASSOCIATE_RJ()
    made.from_primitive(primitive("A_ASSOCIATE", result=result, result_source=source, diagnostic=reason))
    assert AssociateRJ(result, source, reason).encode() == made.encode()


def test_a_release():
    assert ReleaseRQ().encode() == theirs.A_RELEASE_RQ().encode()
    assert ReleaseRP().encode() == theirs.A_RELEASE_RP().encode()


@pytest.mark.parametrize("reason", [0, 1, 2, 4, 5, 6])
def test_a_abort_of_the_provider(reason):
    made = theirs.A_ABORT_RQ()
    made.from_primitive(primitive("A_P_ABORT", provider_reason=reason))
    assert Abort(2, reason).encode() == made.encode()


def test_a_abort_of_the_user():
    made = theirs.A_ABORT_RQ()
    made.from_primitive(primitive("A_ABORT", abort_source=0))
    assert Abort().encode() == made.encode()


VALUES = st.builds(
    PresentationDataValue,
    st.integers(0, 127).map(lambda number: 2 * number + 1),
    st.booleans(),
    st.booleans(),
    st.binary(max_size=40),
)


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_p_data_tf(values):
    listed = [[one.context_id, bytes((one.is_command | one.is_last << 1,)) + one.data] for one in values]
    made = theirs.P_DATA_TF()
    made.from_primitive(primitive("P_DATA", presentation_data_value_list=listed))
    assert DataTF(tuple(values)).encode() == made.encode()
