"""The guide of the Application Entity, sentence by sentence in its order, with ``scpd`` for its library's name.

Its examples run as they stand there, as doctests; where they show a port, it is one that is free. Where its prints
show three default transfer syntaxes, its list of four is meant.
"""

from __future__ import annotations

import doctest
import textwrap

import pytest
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

import scpd
from scpd import (
    AE,
    AllStoragePresentationContexts,
    PresentationContext,
    StoragePresentationContexts,
    UserIdentityNegotiation,
    build_context,
    build_role,
    evt,
)
from scpd.errors import Rejected
from scpd.sop_class import SERVICE_CLASSES, CTImageStorage, MRImageStorage, Verification

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

PATIENCE = 20.0
LOCAL = "127.0.0.1"
DEFAULT = [
    ("1.2.840.10008.1.2", "Implicit VR Little Endian"),
    ("1.2.840.10008.1.2.1", "Explicit VR Little Endian"),
    ("1.2.840.10008.1.2.1.99", "Deflated Explicit VR Little Endian"),
    ("1.2.840.10008.1.2.2", "Explicit VR Big Endian"),
]


def run(example: str, *, ports: dict[str, int] | None = None) -> dict[str, object]:
    """Run an example of the guide; the names that it has defined at its end."""
    for shown, real in (ports or {}).items():
        example = example.replace(shown, str(real))
    names: dict[str, object] = {}
    test = doctest.DocTestParser().get_doctest(textwrap.dedent(example), names, "guide", None, 0)
    assert test.examples
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=said.append, clear_globs=False)
    assert not said, "".join(said)
    return test.globs


@pytest.fixture
def ae():
    return AE()


@pytest.fixture
def scp():
    """Start servers as the guide does: without blocking, and shut down at the end."""
    entities = []

    def start(entity, **how):
        entities.append(entity)
        return entity.start_server((LOCAL, 0), block=False, **how)

    yield start
    for entity in entities:
        entity.shutdown(0)


def syntaxes(contexts) -> dict[str, list[str]]:
    return {str(context.abstract_syntax): list(map(str, context.transfer_syntax)) for context in contexts}


# Application Entity


def test_the_first_step_is_to_create_an_ae_and_that_requires_no_parameters():
    run("""
        >>> from scpd import AE
        >>> ae = AE()
    """)


def test_this_creates_an_ae_with_the_title_scpd():
    assert AE().ae_title == "SCPD"


def test_the_title_can_be_set_by_the_keyword_parameter():
    names = run("""
        >>> from scpd import AE
        >>> ae = AE(ae_title='MY_AE_TITLE')
    """)
    assert names["ae"].ae_title == "MY_AE_TITLE"


def test_or_afterwards_with_the_property():
    names = run("""
        >>> from scpd import AE
        >>> ae = AE()
        >>> ae.ae_title = 'MY_AE_TITLE'
    """)
    assert names["ae"].ae_title == "MY_AE_TITLE"


def test_leading_and_trailing_spaces_are_non_significant(scp, told):
    client = AE("  CLIENT ")
    assert client.ae_title == "CLIENT"
    client.add_requested_context(Verification)
    client.add_supported_context(Verification)
    client.require_called_aet = True
    server = scp(client, evt_handlers=told.handlers(evt.EVT_ESTABLISHED), ae_title=" SERVER")
    with client.associate(*server.server_address, ae_title="SERVER  ") as assoc:
        assert assoc.is_established
    told.wait_for("EVT_ESTABLISHED")
    assert told.associations[0].requestor.ae_title == "CLIENT"


def test_titles_have_at_most_16_characters_once_those_are_removed(ae):
    ae.ae_title = "   ABCDEFGHIJKLMNOP   "
    assert ae.ae_title == "ABCDEFGHIJKLMNOP"
    with pytest.raises(ValueError, match="at most 16"):
        ae.ae_title = "ABCDEFGHIJKLMNOPQ"


def test_valid_characters_are_the_basic_g0_set_but_backslash_and_control_characters():
    for code in range(256):
        character = chr(code)
        if 0x20 <= code < 0x7F and character != "\\":
            assert AE(f"A{character}A").ae_title == f"A{character}A"
        else:
            with pytest.raises(ValueError, match="is not an AE title"):
                AE(f"A{character}A")


def test_a_title_made_entirely_of_spaces_is_not_allowed():
    for count in range(18):
        with pytest.raises(ValueError, match="not a space"):
            AE(" " * count)


def test_each_scp_may_have_its_own_title_by_the_keyword_parameter_of_start_server(ae, scp):
    ae.add_supported_context(Verification)
    ae.add_requested_context(Verification)
    ae.require_called_aet = True
    servers = {title: scp(ae, ae_title=title) for title in ("ONE", "TWO", None)}
    for title, server in servers.items():
        for called in ("ONE", "TWO", "SCPD"):
            with ae.associate(*server.server_address, ae_title=called) as assoc:
                assert assoc.is_established == (called == (title or "SCPD"))


# Creating an SCU: adding requested presentation contexts


def test_requested_contexts_are_added_one_by_one():
    names = run("""
        >>> from pydicom.uid import UID
        >>> from scpd import AE
        >>> from scpd.sop_class import CTImageStorage
        >>> ae = AE()
        >>> ae.add_requested_context('1.2.840.10008.1.1')
        >>> ae.add_requested_context(UID('1.2.840.10008.5.1.4.1.1.4'))
        >>> ae.add_requested_context(CTImageStorage)
    """)
    assert [one.abstract_syntax for one in names["ae"].requested_contexts] == [
        Verification,
        MRImageStorage,
        CTImageStorage,
    ]


def test_requested_contexts_are_set_all_at_once():
    names = run("""
        >>> from scpd import AE, StoragePresentationContexts
        >>> ae = AE()
        >>> ae.requested_contexts = StoragePresentationContexts
    """)
    assert names["ae"].requested_contexts == StoragePresentationContexts


def test_additional_contexts_can_still_be_added_afterwards(ae):
    ae.requested_contexts = [build_context(CTImageStorage)]
    ae.add_requested_context(Verification)
    assert [one.abstract_syntax for one in ae.requested_contexts] == [CTImageStorage, Verification]


def test_storage_presentation_contexts_is_a_list_of_120_storage_classes():
    assert isinstance(StoragePresentationContexts, list)
    assert len({one.abstract_syntax for one in StoragePresentationContexts}) == len(StoragePresentationContexts) == 120
    storage = {str(one.abstract_syntax) for one in AllStoragePresentationContexts}
    assert {str(one.abstract_syntax) for one in StoragePresentationContexts} <= storage


def test_there_is_a_similar_list_for_all_the_supported_service_classes():
    for service, uids in SERVICE_CLASSES.items():
        name = "AllStorage" if service == "Storage" else service
        contexts = getattr(scpd, f"{name}PresentationContexts")
        assert {one.abstract_syntax for one in contexts} == set(uids)
        assert contexts


def test_a_list_is_built_of_new_instances_of_presentation_context(ae):
    context = PresentationContext()
    context.abstract_syntax = CTImageStorage
    context.transfer_syntax = [ImplicitVRLittleEndian]
    ae.requested_contexts = ae.supported_contexts = [context]
    assert ae.requested_contexts == ae.supported_contexts == [build_context(CTImageStorage, ImplicitVRLittleEndian)]


def test_or_by_using_build_context():
    names = run("""
        >>> from scpd import AE, build_context
        >>> from scpd.sop_class import CTImageStorage
        >>> ae = AE()
        >>> contexts = [
        ...     build_context(CTImageStorage),
        ...     build_context('1.2.840.10008.1.1')
        ... ]
        >>> ae.requested_contexts = contexts
    """)
    assert [one.abstract_syntax for one in names["ae"].requested_contexts] == [CTImageStorage, Verification]


def test_both_approaches_are_combined():
    names = run("""
        >>> from scpd import AE, StoragePresentationContexts
        >>> from scpd.sop_class import Verification
        >>> ae = AE()
        >>> ae.requested_contexts = StoragePresentationContexts
        >>> ae.add_requested_context(Verification)
    """)
    assert names["ae"].requested_contexts == [*StoragePresentationContexts, build_context(Verification)]


def test_to_add_more_than_128_contexts_raises_a_value_error(ae):
    for number in range(128):
        ae.add_requested_context(f"1.2.{number}")
    with pytest.raises(ValueError, match="128"):
        ae.add_requested_context(Verification)
    with pytest.raises(ValueError, match="128"):
        ae.requested_contexts = [build_context(Verification)] * 129
    with pytest.raises(ValueError, match="128"):
        ae.associate(LOCAL, 104, contexts=[build_context(Verification)] * 129)


def test_eight_more_than_storage_presentation_contexts_can_be_added(ae):
    ae.requested_contexts = StoragePresentationContexts
    for number in range(8):
        ae.add_requested_context(f"1.2.{number}")
    with pytest.raises(ValueError, match="128"):
        ae.add_requested_context("1.2.8")


def test_the_default_transfer_syntaxes_of_requested_contexts(ae):
    ae.add_requested_context(CTImageStorage)
    ae.requested_contexts = [*ae.requested_contexts, build_context(Verification)]
    for context in ae.requested_contexts:
        assert [(str(uid), uid.name) for uid in context.transfer_syntax] == DEFAULT
    assert all(
        [str(uid) for uid in one.transfer_syntax] == [uid for uid, _ in DEFAULT] for one in StoragePresentationContexts
    )


def test_own_transfer_syntaxes_of_requested_contexts_are_given_by_the_keyword_parameter():
    names = run("""
        >>> from pydicom.uid import ImplicitVRLittleEndian, ExplicitVRLittleEndian
        >>> from scpd import AE
        >>> from scpd.sop_class import CTImageStorage, MRImageStorage
        >>> ae = AE()
        >>> ae.add_requested_context(CTImageStorage, transfer_syntax='1.2.840.10008.1.2')
        >>> ae.add_requested_context(
        ...     MRImageStorage, [ImplicitVRLittleEndian, ExplicitVRLittleEndian]
        ... )
    """)
    assert syntaxes(names["ae"].requested_contexts) == {
        CTImageStorage: [ImplicitVRLittleEndian],
        MRImageStorage: [ImplicitVRLittleEndian, ExplicitVRLittleEndian],
    }


@pytest.mark.parametrize("one", ["1.2.840.10008.1.2.1", UID("1.2.840.10008.1.2.1")])
def test_as_either_a_single_str_or_uid_or_a_list_of_them(ae, one):
    for given in (one, [one]):
        ae.add_requested_context(CTImageStorage, transfer_syntax=given)
        ae.add_supported_context(CTImageStorage, transfer_syntax=given)
        assert build_context(CTImageStorage, given).transfer_syntax == [ExplicitVRLittleEndian]
    assert [one.transfer_syntax for one in ae.requested_contexts] == [[ExplicitVRLittleEndian]] * 2
    assert syntaxes(ae.supported_contexts) == {CTImageStorage: [ExplicitVRLittleEndian]}


def test_own_transfer_syntaxes_of_requested_contexts_are_given_to_build_context():
    names = run("""
        >>> from pydicom.uid import ImplicitVRLittleEndian, ExplicitVRBigEndian
        >>> from scpd import AE, build_context
        >>> from scpd.sop_class import CTImageStorage
        >>> ae = AE()
        >>> context_a = build_context(CTImageStorage, ImplicitVRLittleEndian)
        >>> context_b = build_context(
        ...     '1.2.840.10008.1.1', [ImplicitVRLittleEndian, ExplicitVRBigEndian]
        ... )
        >>> ae.requested_contexts = [context_a, context_b]
    """)
    assert syntaxes(names["ae"].requested_contexts) == {
        CTImageStorage: [ImplicitVRLittleEndian],
        Verification: [ImplicitVRLittleEndian, ExplicitVRBigEndian],
    }


def test_requested_contexts_are_returned_in_the_order_they_were_added(ae):
    for uid in (MRImageStorage, CTImageStorage, Verification, MRImageStorage):
        ae.add_requested_context(uid)
    order = [MRImageStorage, CTImageStorage, Verification, MRImageStorage]
    assert [context.abstract_syntax for context in ae.requested_contexts] == order


def test_requested_contexts_can_be_accessed_and_printed():
    run("""
        >>> from scpd import AE
        >>> from scpd.sop_class import Verification
        >>> ae = AE()
        >>> len(ae.requested_contexts)
        0
        >>> ae.add_requested_context(Verification)
        >>> len(ae.requested_contexts)
        1
        >>> print(ae.requested_contexts[0])
        Abstract Syntax: Verification SOP Class
        Transfer Syntax(es):
            =Implicit VR Little Endian
            =Explicit VR Little Endian
            =Deflated Explicit VR Little Endian
            =Explicit VR Big Endian
    """)


def test_there_may_be_multiple_requested_contexts_for_the_same_abstract_syntax(scp):
    names = run("""
        >>> from pydicom.uid import ImplicitVRLittleEndian
        >>> from scpd import AE
        >>> from scpd.sop_class import CTImageStorage
        >>> ae = AE()
        >>> ae.add_requested_context(CTImageStorage)
        >>> ae.add_requested_context(CTImageStorage, ImplicitVRLittleEndian)
        >>> len(ae.requested_contexts)
        2
        >>> print(ae.requested_contexts[0])
        Abstract Syntax: CT Image Storage
        Transfer Syntax(es):
            =Implicit VR Little Endian
            =Explicit VR Little Endian
            =Deflated Explicit VR Little Endian
            =Explicit VR Big Endian
        >>> print(ae.requested_contexts[1])
        Abstract Syntax: CT Image Storage
        Transfer Syntax(es):
            =Implicit VR Little Endian
    """)
    ae = names["ae"]
    ae.add_supported_context(CTImageStorage, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    with ae.associate(*scp(ae).server_address) as assoc:
        accepted = [(one.context_id, one.transfer_syntax) for one in assoc.accepted_contexts]
        assert accepted == [(1, [ExplicitVRLittleEndian]), (3, [ImplicitVRLittleEndian])]


def test_contexts_of_the_entity_are_used_for_all_association_requests(ae, scp):
    ae.add_supported_context(Verification)
    ae.add_supported_context(CTImageStorage)
    ae.requested_contexts = [build_context(Verification), build_context(CTImageStorage)]
    server = scp(ae)
    for _ in range(2):
        with ae.associate(*server.server_address) as assoc:
            assert [one.abstract_syntax for one in assoc.accepted_contexts] == [Verification, CTImageStorage]


def test_each_association_request_can_have_different_requested_contexts(ae, scp):
    ae.add_supported_context(Verification)
    ae.add_supported_context(CTImageStorage)
    ae.add_requested_context(MRImageStorage)
    server = scp(ae)
    for uid in (Verification, CTImageStorage):
        with ae.associate(*server.server_address, contexts=[build_context(uid)]) as assoc:
            assert [one.abstract_syntax for one in assoc.accepted_contexts] == [uid]
            assert assoc.rejected_contexts == []


# Specifying the network port


def test_by_default_the_first_port_available_is_used(ae, scp):
    ae.add_supported_context(Verification)
    ae.add_requested_context(Verification)
    server = scp(ae)
    with ae.associate(*server.server_address) as one, ae.associate(*server.server_address) as two:
        assert 0 < one.requestor.port != two.requestor.port > 0


def test_the_port_is_specified_by_bind_address_as_host_and_port(ae, scp, told, free_port):
    ae.add_supported_context(Verification)
    server = scp(ae, evt_handlers=told.handlers(evt.EVT_ESTABLISHED))
    names = run(
        """
        >>> from scpd import AE
        >>> ae = AE()
        >>> ae.add_requested_context('1.2.840.10008.1.1')
        >>> assoc = ae.associate("127.0.0.1", 11112, bind_address=("127.0.0.1", 11113))
        """,
        ports={"11112": server.server_address[1], "11113": free_port},
    )
    with names["assoc"] as assoc:
        assert assoc.is_established, assoc.error
        told.wait_for("EVT_ESTABLISHED")
        assert (told.associations[0].requestor.address, told.associations[0].requestor.port) == (LOCAL, free_port)


def test_sometimes_the_same_bound_address_cannot_be_reused_at_once_and_the_error_says_so(ae, scp, free_port):
    ae.add_supported_context(Verification)
    ae.add_requested_context(Verification)
    server = scp(ae)
    with ae.associate(*server.server_address, bind_address=(LOCAL, free_port)) as assoc:
        assert assoc.is_established, assoc.error
    again = ae.associate(*server.server_address, bind_address=(LOCAL, free_port))
    assert again.is_established or "address" in str(again.error).lower()
    again.release()
    with ae.associate(*server.server_address) as assoc:
        assert assoc.is_established


# Creating an SCP: adding supported presentation contexts


def test_supported_contexts_are_added_one_by_one():
    names = run("""
        >>> from pydicom.uid import UID
        >>> from scpd import AE
        >>> from scpd.sop_class import CTImageStorage
        >>> ae = AE()
        >>> ae.add_supported_context('1.2.840.10008.1.1')
        >>> ae.add_supported_context(UID('1.2.840.10008.5.1.4.1.1.4'))
        >>> ae.add_supported_context(CTImageStorage)
    """)
    assert set(syntaxes(names["ae"].supported_contexts)) == {Verification, MRImageStorage, CTImageStorage}


def test_supported_contexts_are_set_all_at_once():
    names = run("""
        >>> from scpd import AE, StoragePresentationContexts
        >>> ae = AE()
        >>> ae.supported_contexts = StoragePresentationContexts
    """)
    assert names["ae"].supported_contexts == StoragePresentationContexts


def test_additional_supported_contexts_can_still_be_added_afterwards(ae):
    ae.supported_contexts = [build_context(CTImageStorage)]
    ae.add_supported_context(Verification)
    assert set(syntaxes(ae.supported_contexts)) == {CTImageStorage, Verification}


def test_supported_contexts_are_built_by_build_context():
    names = run("""
        >>> from scpd import AE, build_context
        >>> from scpd.sop_class import CTImageStorage
        >>> ae = AE()
        >>> contexts = [
        ...     build_context(CTImageStorage),
        ...     build_context('1.2.840.10008.1.1')
        ... ]
        >>> ae.supported_contexts = contexts
    """)
    assert [one.abstract_syntax for one in names["ae"].supported_contexts] == [Verification, CTImageStorage]


def test_both_approaches_are_combined_for_supported_contexts():
    names = run("""
        >>> from scpd import AE, AllStoragePresentationContexts
        >>> from scpd.sop_class import Verification
        >>> ae = AE()
        >>> ae.supported_contexts = AllStoragePresentationContexts
        >>> ae.add_supported_context(Verification)
    """)
    assert len(names["ae"].supported_contexts) == len(AllStoragePresentationContexts) + 1


def test_the_number_of_supported_contexts_is_not_limited(ae, scp):
    for number in range(500):
        ae.add_supported_context(f"1.2.{number}")
    assert len(ae.supported_contexts) == 500
    ae.requested_contexts = [build_context(f"1.2.{number}") for number in range(372, 500)]
    with ae.associate(*scp(ae).server_address) as assoc:
        assert len(assoc.accepted_contexts) == 128


def test_the_default_transfer_syntaxes_of_supported_contexts(ae):
    ae.add_supported_context(CTImageStorage)
    (context,) = ae.supported_contexts
    assert [(str(uid), uid.name) for uid in context.transfer_syntax] == DEFAULT


def test_own_transfer_syntaxes_of_supported_contexts_are_given_by_the_keyword_parameter():
    names = run("""
        >>> from pydicom.uid import ImplicitVRLittleEndian, ExplicitVRLittleEndian
        >>> from scpd import AE
        >>> from scpd.sop_class import CTImageStorage, MRImageStorage
        >>> ae = AE()
        >>> ae.add_supported_context(CTImageStorage, transfer_syntax='1.2.840.10008.1.2')
        >>> ae.add_supported_context(
        ...     MRImageStorage, [ImplicitVRLittleEndian, ExplicitVRLittleEndian]
        ... )
    """)
    assert syntaxes(names["ae"].supported_contexts) == {
        CTImageStorage: [ImplicitVRLittleEndian],
        MRImageStorage: [ImplicitVRLittleEndian, ExplicitVRLittleEndian],
    }


def test_own_transfer_syntaxes_of_supported_contexts_are_given_to_build_context():
    names = run("""
        >>> from pydicom.uid import ImplicitVRLittleEndian, ExplicitVRBigEndian
        >>> from scpd import AE, build_context
        >>> from scpd.sop_class import CTImageStorage
        >>> ae = AE()
        >>> context_a = build_context(CTImageStorage, ImplicitVRLittleEndian)
        >>> context_b = build_context(
        ...     '1.2.840.10008.1.1', [ImplicitVRLittleEndian, ExplicitVRBigEndian]
        ... )
        >>> ae.supported_contexts = [context_a, context_b]
    """)
    assert syntaxes(names["ae"].supported_contexts) == {
        CTImageStorage: [ImplicitVRLittleEndian],
        Verification: [ImplicitVRLittleEndian, ExplicitVRBigEndian],
    }


def test_supported_contexts_are_returned_in_order_of_their_abstract_syntax(ae):
    for uid in (MRImageStorage, "1.2.840.10008.5.1.4.1.1.20", CTImageStorage, Verification):
        ae.add_supported_context(uid)
    uids = [context.abstract_syntax for context in ae.supported_contexts]
    assert uids == sorted(uids) == [Verification, CTImageStorage, "1.2.840.10008.5.1.4.1.1.20", MRImageStorage]


def test_supported_contexts_can_be_accessed_and_printed():
    run("""
        >>> from scpd import AE
        >>> from scpd.sop_class import Verification
        >>> ae = AE()
        >>> len(ae.supported_contexts)
        0
        >>> ae.add_supported_context(Verification)
        >>> len(ae.supported_contexts)
        1
        >>> print(ae.supported_contexts[0])
        Abstract Syntax: Verification SOP Class
        Transfer Syntax(es):
            =Implicit VR Little Endian
            =Explicit VR Little Endian
            =Deflated Explicit VR Little Endian
            =Explicit VR Big Endian
    """)


def test_additional_transfer_syntaxes_are_combined_with_the_context_that_is_there():
    run("""
        >>> from pydicom.uid import ImplicitVRLittleEndian, ExplicitVRLittleEndian
        >>> from scpd import AE
        >>> from scpd.sop_class import CTImageStorage
        >>> ae = AE()
        >>> ae.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
        >>> ae.add_supported_context(CTImageStorage, ImplicitVRLittleEndian)
        >>> len(ae.supported_contexts)
        1
        >>> print(ae.supported_contexts[0])
        Abstract Syntax: CT Image Storage
        Transfer Syntax(es):
            =Explicit VR Little Endian
            =Implicit VR Little Endian
    """)


def test_contexts_of_the_entity_are_used_for_all_scps(ae, scp):
    ae.add_supported_context(CTImageStorage)
    ae.requested_contexts = [build_context(Verification), build_context(CTImageStorage)]
    for server in (scp(ae), scp(ae)):
        with ae.associate(*server.server_address) as assoc:
            assert [one.abstract_syntax for one in assoc.accepted_contexts] == [CTImageStorage]


def test_each_scp_can_have_different_supported_contexts(ae, scp):
    ae.add_supported_context(MRImageStorage)
    ae.requested_contexts = [build_context(uid) for uid in (Verification, CTImageStorage, MRImageStorage)]
    servers = {uid: scp(ae, contexts=[build_context(uid)]) for uid in (Verification, CTImageStorage)}
    servers[MRImageStorage] = scp(ae)
    for uid, server in servers.items():
        with ae.associate(*server.server_address) as assoc:
            assert [one.abstract_syntax for one in assoc.accepted_contexts] == [uid]


# Handling SCP/SCU role selection negotiation


def negotiate(ae, scp, told, proposed):
    """The association at both ends, for CT with a proposal of roles."""
    ae.requested_contexts = [build_context(CTImageStorage), build_context(Verification)]
    ae.add_supported_context(Verification)
    server = scp(ae, evt_handlers=told.handlers(evt.EVT_ESTABLISHED))
    items = [build_role(CTImageStorage, *proposed)] if proposed else []
    assoc = ae.associate(*server.server_address, ext_neg=items)
    told.wait_for("EVT_ESTABLISHED")
    return assoc, told.associations[0]


def roles(assoc) -> tuple[bool, bool] | None:
    return next(
        ((one.as_scu, one.as_scp) for one in assoc.accepted_contexts if one.abstract_syntax == CTImageStorage), None
    )


def test_the_acceptor_decides_by_the_keyword_parameters_of_add_supported_context(scp, told):
    """The requestor proposes the SCP role: it is accepted, the SCU role rejected, so the acceptor is SCU."""
    names = run("""
        >>> from scpd import AE
        >>> from scpd.sop_class import CTImageStorage
        >>> ae = AE()
        >>> ae.add_supported_context(CTImageStorage, scu_role=False, scp_role=True)
    """)
    requestor, acceptor = negotiate(names["ae"], scp, told, (True, True))
    answer = requestor.acceptor.role_selection[CTImageStorage]
    assert (answer.scu_role, answer.scp_role) == (False, True)
    assert roles(requestor) == (False, True)
    assert roles(acceptor) == (True, False)
    requestor.release()


@pytest.mark.parametrize(
    ("scu_role", "scp_role"), [(None, None), (None, True), (True, None), (None, False), (False, None)]
)
def test_with_either_none_no_response_is_sent_and_the_default_roles_are_assumed(ae, scp, told, scu_role, scp_role):
    ae.add_supported_context(CTImageStorage, scu_role=scu_role, scp_role=scp_role)
    requestor, acceptor = negotiate(ae, scp, told, (False, True))
    assert requestor.acceptor.role_selection == {}
    assert roles(requestor) == (True, False)
    assert roles(acceptor) == (False, True)
    requestor.release()


def test_none_is_the_default(ae):
    ae.add_supported_context(CTImageStorage)
    (context,) = ae.supported_contexts
    assert (context.scu_role, context.scp_role) == (None, None)


@pytest.mark.parametrize("proposed", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("supported", [(True, False), (False, True), (True, True), (False, False)])
def test_with_both_set_their_values_accept_or_reject_the_proposal(ae, scp, told, proposed, supported):
    """Whatever is answered, it is no role that was not proposed."""
    ae.add_supported_context(CTImageStorage, scu_role=supported[0], scp_role=supported[1])
    requestor, acceptor = negotiate(ae, scp, told, proposed)
    expected = (proposed[0] and supported[0], proposed[1] and supported[1])
    answer = requestor.acceptor.role_selection[CTImageStorage]
    assert (answer.scu_role, answer.scp_role) == expected
    assert roles(requestor) == (expected if any(expected) else None)
    assert roles(acceptor) == (expected[::-1] if any(expected) else None)
    requestor.release()


def test_outcome_the_proposed_roles_are_not_acceptable_and_the_context_is_rejected(ae, scp, told):
    ae.add_supported_context(CTImageStorage, scu_role=True, scp_role=False)
    requestor, acceptor = negotiate(ae, scp, told, (False, True))
    for assoc in (requestor, acceptor):
        assert [(one.abstract_syntax, one.result) for one in assoc.rejected_contexts] == [(CTImageStorage, 1)]
        assert [one.abstract_syntax for one in assoc.accepted_contexts] == [Verification]
    requestor.release()


def test_outcome_the_acceptor_acts_as_the_scp_and_the_requestor_as_the_scu(ae, scp, told):
    ae.add_supported_context(CTImageStorage, scu_role=True, scp_role=True)
    requestor, acceptor = negotiate(ae, scp, told, (True, False))
    assert (roles(requestor), roles(acceptor)) == ((True, False), (False, True))
    requestor.release()


def test_outcome_the_acceptor_acts_as_the_scu_and_the_requestor_as_the_scp(ae, scp, told):
    ae.add_supported_context(CTImageStorage, scu_role=True, scp_role=True)
    requestor, acceptor = negotiate(ae, scp, told, (False, True))
    assert (roles(requestor), roles(acceptor)) == ((False, True), (True, False))
    requestor.release()


def test_outcome_both_act_as_scu_and_scp(ae, scp, told):
    ae.add_supported_context(CTImageStorage, scu_role=True, scp_role=True)
    requestor, acceptor = negotiate(ae, scp, told, (True, True))
    assert (roles(requestor), roles(acceptor)) == ((True, True), (True, True))
    requestor.release()


# Handling user identity negotiation


IDENTITIES = {
    "username": (1, b"somebody", None),
    "username and password": (2, b"somebody", b"secret"),
    "Kerberos service ticket": (3, b"\x00ticket\xff", None),
    "SAML assertion": (4, b"<saml:Assertion/>", None),
    "JSON web token": (5, b"head.body.signature", None),
}
FORMS = pytest.mark.parametrize("form", IDENTITIES)


@FORMS
@pytest.mark.parametrize("asks", [False, True])
def test_by_default_all_identities_are_accepted_and_no_response_is_sent_even_if_requested(
    ae, scp, pynetdicom, pynetdicom_scu, form, asks
):
    ae.add_supported_context(Verification)
    ae.add_requested_context(Verification)
    server = scp(ae)
    kind, primary, secondary = IDENTITIES[form]
    item = UserIdentityNegotiation(kind, primary, secondary, asks)
    with ae.associate(*server.server_address, ext_neg=[item]) as assoc:
        assert assoc.is_established
        assert assoc.acceptor.user_identity is None
    theirs = pynetdicom.pdu_primitives.UserIdentityNegotiation()
    theirs.user_identity_type, theirs.primary_field, theirs.positive_response_requested = kind, primary, asks
    if secondary:
        theirs.secondary_field = secondary
    assoc = pynetdicom_scu(server.server_address[1], ext_neg=[theirs])
    assert assoc.acceptor.user_identity is None
    assoc.release()


@FORMS
def test_accepted_provided_there_is_no_other_reason_to_reject(ae, scp, form):
    ae.add_supported_context(Verification)
    ae.add_requested_context(Verification)
    ae.require_called_aet = True
    item = UserIdentityNegotiation(*IDENTITIES[form])
    assoc = ae.associate(*scp(ae).server_address, ae_title="WRONG", ext_neg=[item])
    assert isinstance(assoc.error, Rejected)
    assert assoc.error.reason == 7


@FORMS
@pytest.mark.parametrize("is_verified", [True, False])
def test_a_handler_of_evt_user_id_verifies_the_identity(
    pynetdicom, pynetdicom_scu, pynetdicom_rejection, free_port, beside, until, form, is_verified
):
    """The guide's program, which blocks, with a function that looks at the event."""
    kind, primary, secondary = IDENTITIES[form]
    claims = []

    def some_user_function(event):
        claims.append((event.user_id_type, event.primary_field, event.secondary_field))
        return is_verified, b"for you" if kind > 2 else None

    def handle_user_id(event):
        """Handle evt.EVT_USER_ID."""
        # Identity verification code is outside the scope of scpd
        is_verified, response = some_user_function(event)

        return is_verified, response

    handlers = [(evt.EVT_USER_ID, handle_user_id)]

    ae = AE()
    ae.add_supported_context(Verification)
    program = beside(lambda: ae.start_server((LOCAL, free_port), evt_handlers=handlers))
    client = AE()
    client.add_requested_context(Verification)
    item = UserIdentityNegotiation(kind, primary, secondary, positive_response_requested=True)
    made = []

    def is_answered():
        made[:] = [client.associate(LOCAL, free_port, ext_neg=[item])]
        return made[0].is_established or made[0].is_rejected

    try:
        until(is_answered)
        (assoc,) = made
        assert claims == [(kind, primary, secondary)]
        assert assoc.is_established == is_verified
        if is_verified:
            assert assoc.acceptor.user_identity.server_response == (b"for you" if kind > 2 else b"")
        else:
            assert (assoc.error.result, assoc.error.source, assoc.error.reason) == (1, 2, 1)
        assoc.release()
        theirs = pynetdicom.pdu_primitives.UserIdentityNegotiation()
        theirs.user_identity_type, theirs.primary_field, theirs.positive_response_requested = kind, primary, True
        if secondary:
            theirs.secondary_field = secondary
        if is_verified:
            other = pynetdicom_scu(free_port, ext_neg=[theirs])
            assert other.acceptor.user_identity.server_response == (b"for you" if kind > 2 else b"")
            other.release()
        else:
            assert pynetdicom_rejection(free_port, ext_neg=[theirs]) == (1, 2, 1)
        assert set(claims[1:]) == {claims[0]}
    finally:
        ae.shutdown(0)
        program.result(PATIENCE)


# Specifying the bind address


def test_the_bind_address_of_the_server_is_given_as_host_and_port(free_port, beside, until):
    """The guide's program blocks, so it runs beside the test."""
    ae = AE()

    def program():
        ae.add_supported_context("1.2.840.10008.1.1")
        ae.start_server(("127.0.0.1", free_port))

    running = beside(program)
    client = AE()
    client.add_requested_context(Verification)

    def served():
        with client.associate("127.0.0.1", free_port) as assoc:
            return assoc.is_established and assoc.send_c_echo().get("Status") == 0x0000

    until(served)
    assert not running.done()
    ae.shutdown()
    running.result(PATIENCE)
