"""The Application Entity by itself: its title, its contexts, its properties, what it refuses and what it prints."""

from __future__ import annotations

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

import scpd
from scpd import (
    AE,
    AllStoragePresentationContexts,
    PresentationContext,
    StoragePresentationContexts,
    VerificationPresentationContexts,
    build_context,
    build_role,
    evt,
)
from scpd.sop_class import SERVICE_CLASSES, CTImageStorage, MRImageStorage, Verification

DEFAULT = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]
TIMEOUTS = {
    "acse_timeout": 30.0,
    "dimse_timeout": 30.0,
    "network_timeout": 60.0,
    "connection_timeout": 30.0,
    "write_timeout": 60.0,
}
# PS3.5 6.1.2.1: the G0 set of ISO 646, spaces in it.
G0 = [chr(code) for code in range(0x20, 0x7F)]


@pytest.fixture
def ae():
    return AE()


def requested(ae) -> list[tuple[str, list[str]]]:
    return [(context.abstract_syntax, context.transfer_syntax) for context in ae.requested_contexts]


def supported(ae) -> dict[str, list[str]]:
    return {context.abstract_syntax: context.transfer_syntax for context in ae.supported_contexts}


# -- its title


def test_the_title_is_scpd_by_default():
    assert AE().ae_title == "SCPD"


def test_the_title_is_given_at_creation_or_set_afterwards(ae):
    assert AE("FIRST").ae_title == AE(ae_title="FIRST").ae_title == "FIRST"
    ae.ae_title = "SECOND"
    assert ae.ae_title == "SECOND"


@pytest.mark.parametrize("title", [" ONE", "ONE ", "   ONE    ", " " * 40 + "ONE" + " " * 40])
def test_leading_and_trailing_spaces_are_not_significant(ae, title):
    ae.ae_title = title
    assert ae.ae_title == AE(title).ae_title == "ONE"


def test_spaces_inside_are_significant(ae):
    ae.ae_title = " A  B "
    assert ae.ae_title == "A  B"


def test_one_to_sixteen_characters_are_a_title_and_insignificant_spaces_are_not_counted(ae):
    for length in range(1, 17):
        ae.ae_title = "  " + "X" * length + "    "
        assert ae.ae_title == "X" * length


@pytest.mark.parametrize("title", ["X" * 17, "X" * 300, "A" + " " * 15 + "B"])
def test_more_than_sixteen_characters_are_an_error_that_says_so(ae, title):
    with pytest.raises(ValueError, match=rf"AE title has at most 16 characters, .* has {len(title)}"):
        ae.ae_title = title
    with pytest.raises(ValueError, match="at most 16 characters"):
        AE(title)
    assert ae.ae_title == "SCPD"


@pytest.mark.parametrize("title", ["", " ", " " * 16, " " * 17])
def test_only_spaces_are_an_error_that_says_so(ae, title):
    with pytest.raises(ValueError, match="AE title needs at least one character that is not a space"):
        ae.ae_title = title


@pytest.mark.parametrize("character", G0)
def test_each_character_of_g0_but_the_backslash_may_stand_in_a_title(ae, character):
    title = f"A{character}B"
    if character == "\\":
        with pytest.raises(ValueError, match="is not an AE title; write ASCII .* without backslash"):
            ae.ae_title = title
    else:
        ae.ae_title = title
        assert ae.ae_title == title


@pytest.mark.parametrize(
    "character", [*map(chr, range(0x20)), "\x7f", "\x80", "\xa0", "é", "日", "１", "\ud800", "\U0001f600"]
)
def test_control_characters_and_what_is_not_ascii_are_an_error_that_says_so(ae, character):
    for title in (f"A{character}B", character, f"{character}A", f"A{character}"):
        with pytest.raises(ValueError, match="is not an AE title; write ASCII letters, .* control characters") as error:
            ae.ae_title = title
        assert str(error.value).isprintable()
    assert ae.ae_title == "SCPD"


@pytest.mark.parametrize("title", [None, b"BYTES", 5, ["LIST"], True])
def test_what_is_no_text_is_no_title(ae, title):
    with pytest.raises(TypeError, match=r"ae_title is a text, not a \w+: "):
        ae.ae_title = title
    with pytest.raises(TypeError, match="ae_title is a text"):
        AE(title)


# -- what the package has


def test_the_package_has_what_programs_import():
    for name in ("AE", "evt", "build_context", "build_role", "PresentationContext", "Association", "debug_logger"):
        assert hasattr(scpd, name)
        assert name in dir(scpd)
    for service in SERVICE_CLASSES:
        contexts = getattr(scpd, f"{service}PresentationContexts")
        assert all(isinstance(context, PresentationContext) for context in contexts)
        assert contexts
    with pytest.raises(AttributeError, match="module 'scpd' has no attribute 'Nothing'"):
        _ = scpd.Nothing


# -- what it asks for


def test_nothing_is_requested_or_supported_at_first(ae):
    assert ae.requested_contexts == ae.supported_contexts == []


@pytest.mark.parametrize("uid", ["1.2.840.10008.5.1.4.1.1.2", UID("1.2.840.10008.5.1.4.1.1.2"), CTImageStorage])
def test_a_context_is_added_by_str_or_uid_with_the_four_default_transfer_syntaxes(ae, uid):
    ae.add_requested_context(uid)
    ae.add_supported_context(uid)
    assert requested(ae) == [(CTImageStorage, DEFAULT)]
    assert supported(ae) == {CTImageStorage: DEFAULT}


@pytest.mark.parametrize("one", [ImplicitVRLittleEndian, "1.2.840.10008.1.2"])
def test_one_transfer_syntax_is_given_alone_or_in_a_list(ae, one):
    for number, given in enumerate((one, [one], (one,)), 1):
        ae.add_requested_context(CTImageStorage, given)
        ae.add_requested_context(CTImageStorage, transfer_syntax=given)
        assert requested(ae) == [(CTImageStorage, [ImplicitVRLittleEndian])] * 2 * number
    ae.add_supported_context(CTImageStorage, transfer_syntax=one)
    assert supported(ae) == {CTImageStorage: [ImplicitVRLittleEndian]}


def test_requested_contexts_are_in_order_of_adding_and_may_repeat_an_abstract_syntax(ae):
    order = [MRImageStorage, Verification, CTImageStorage, MRImageStorage, MRImageStorage]
    for uid in order:
        ae.add_requested_context(uid)
    assert [context.abstract_syntax for context in ae.requested_contexts] == order
    ae.requested_contexts = [build_context(uid) for uid in reversed(order)]
    assert [context.abstract_syntax for context in ae.requested_contexts] == order[::-1]


def test_all_are_requested_at_once_and_one_more_afterwards(ae):
    ae.add_requested_context(CTImageStorage)
    ae.requested_contexts = VerificationPresentationContexts
    assert requested(ae) == [(Verification, DEFAULT)]
    ae.add_requested_context(MRImageStorage)
    assert requested(ae) == [(Verification, DEFAULT), (MRImageStorage, DEFAULT)]
    ae.requested_contexts = []
    assert ae.requested_contexts == []


def test_the_129th_requested_context_is_an_error_and_changes_nothing(ae):
    ae.requested_contexts = StoragePresentationContexts
    for number in range(8):
        ae.add_requested_context(f"1.2.826.{number}")
    before = requested(ae)
    assert len(before) == 128
    with pytest.raises(ValueError, match="1 to 128 presentation contexts, .* here are 129"):
        ae.add_requested_context(Verification)
    assert requested(ae) == before
    with pytest.raises(ValueError, match="1 to 128 presentation contexts"):
        ae.requested_contexts = [build_context(Verification)] * 129
    assert requested(ae) == before
    ae.requested_contexts = [build_context(Verification)] * 128
    assert len(ae.requested_contexts) == 128


def test_what_is_requested_is_not_changed_by_whoever_holds_the_list(ae):
    contexts = [build_context(CTImageStorage)]
    ae.requested_contexts = contexts
    ae.supported_contexts = contexts
    contexts[0].add_transfer_syntax(JPEGBaseline8Bit)
    contexts.clear()
    ae.requested_contexts.clear()
    ae.supported_contexts.clear()
    assert requested(ae) == [(CTImageStorage, DEFAULT)]
    assert supported(ae) == {CTImageStorage: DEFAULT}


def test_a_requested_context_is_removed_everywhere_it_stands(ae):
    for uid in (CTImageStorage, Verification, CTImageStorage):
        ae.add_requested_context(uid)
    ae.remove_requested_context(CTImageStorage)
    assert requested(ae) == [(Verification, DEFAULT)]
    ae.remove_requested_context(MRImageStorage)
    assert requested(ae) == [(Verification, DEFAULT)]


def test_transfer_syntaxes_are_removed_and_a_context_without_any_goes(ae):
    ae.add_requested_context(CTImageStorage)
    ae.add_requested_context(CTImageStorage, ImplicitVRLittleEndian)
    ae.add_requested_context(MRImageStorage)
    ae.remove_requested_context(CTImageStorage, ImplicitVRLittleEndian)
    assert requested(ae) == [(CTImageStorage, DEFAULT[1:]), (MRImageStorage, DEFAULT)]
    ae.remove_requested_context(CTImageStorage, [str(uid) for uid in DEFAULT])
    assert requested(ae) == [(MRImageStorage, DEFAULT)]


# -- what it supports


def test_supported_contexts_are_sorted_by_abstract_syntax(ae):
    for uid in (MRImageStorage, "1.2.840.10008.5.1.4.1.1.20", CTImageStorage, Verification, "1.2.3"):
        ae.add_supported_context(uid)
    shown = [context.abstract_syntax for context in ae.supported_contexts]
    assert shown == sorted(shown)
    assert len(shown) == 5


def test_any_number_of_contexts_is_supported(ae):
    ae.supported_contexts = AllStoragePresentationContexts
    ae.add_supported_context(Verification)
    assert len(ae.supported_contexts) == len(AllStoragePresentationContexts) + 1 > 128


def test_supporting_an_abstract_syntax_again_adds_transfer_syntaxes(ae):
    ae.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    ae.add_supported_context(CTImageStorage, ImplicitVRLittleEndian)
    ae.add_supported_context(CTImageStorage, [ExplicitVRLittleEndian, JPEGBaseline8Bit])
    assert supported(ae) == {CTImageStorage: [ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit]}


@pytest.mark.parametrize("before", [None, False, True])
@pytest.mark.parametrize("then", [None, False, True])
def test_supporting_again_keeps_the_roles_unless_new_ones_are_given(ae, before, then):
    ae.add_supported_context(CTImageStorage, scu_role=before, scp_role=True)
    ae.add_supported_context(CTImageStorage, JPEGBaseline8Bit, scu_role=then)
    (context,) = ae.supported_contexts
    assert context.scu_role is (before if then is None else then)
    assert context.scp_role is True
    assert context.transfer_syntax == [*DEFAULT, JPEGBaseline8Bit]


def test_a_list_that_repeats_an_abstract_syntax_is_merged_likewise(ae):
    first, second = build_context(CTImageStorage, ExplicitVRLittleEndian), build_context(CTImageStorage, DEFAULT[:1])
    first.scu_role, second.scp_role = False, True
    ae.supported_contexts = [first, build_context(Verification), second]
    verification, ct = ae.supported_contexts
    assert verification.abstract_syntax == Verification
    assert ct.transfer_syntax == [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    assert (ct.scu_role, ct.scp_role) == (False, True)


def test_setting_all_at_once_replaces_what_was_there(ae):
    ae.add_supported_context(CTImageStorage, scu_role=True, scp_role=True)
    ae.supported_contexts = [build_context(CTImageStorage, JPEGBaseline8Bit)]
    (context,) = ae.supported_contexts
    assert (context.transfer_syntax, context.scu_role) == ([JPEGBaseline8Bit], None)
    ae.supported_contexts = []
    assert ae.supported_contexts == []


def test_a_supported_context_is_removed_whole_or_in_part_and_keeps_its_roles(ae):
    ae.add_supported_context(CTImageStorage, scu_role=False, scp_role=True)
    ae.add_supported_context(MRImageStorage)
    ae.remove_supported_context(CTImageStorage, DEFAULT[:2])
    ct = ae.supported_contexts[0]
    assert (ct.transfer_syntax, ct.scu_role, ct.scp_role) == (DEFAULT[2:], False, True)
    ae.remove_supported_context(CTImageStorage, DEFAULT[2:])
    ae.remove_supported_context(Verification)
    assert supported(ae) == {MRImageStorage: DEFAULT}
    ae.remove_supported_context(MRImageStorage)
    assert ae.supported_contexts == []


SYNTAXES = st.lists(st.sampled_from([str(uid) for uid in DEFAULT]), min_size=1, max_size=4)
CHANGES = st.lists(
    st.tuples(st.booleans(), st.sampled_from([Verification, CTImageStorage, "1.2.3"]), SYNTAXES | st.none()),
    max_size=12,
)


@for_all(CHANGES)
def test_after_any_changes_a_supported_context_has_what_was_added_and_not_removed_since(changes):
    ae = AE()
    model: dict[str, list[str]] = {}
    for is_added, uid, syntaxes in changes:
        if is_added:
            ae.add_supported_context(uid, syntaxes)
            model[uid] = list(dict.fromkeys([*model.get(uid, []), *(syntaxes or DEFAULT)]))
        else:
            ae.remove_supported_context(uid, syntaxes)
            model[uid] = [one for one in model.get(uid, []) if syntaxes and one not in syntaxes]
    assert supported(ae) == {uid: syntaxes for uid, syntaxes in model.items() if syntaxes}


# -- what contexts it refuses


@pytest.mark.parametrize("wrong", ["", "CT Image Storage", "1.2.", "1.02", "1.2.840.10008.1.2", "1." * 33])
def test_what_is_no_uid_of_a_sop_class_is_a_value_error_that_quotes_it(ae, wrong):
    for add in (ae.add_requested_context, ae.add_supported_context):
        with pytest.raises(ValueError, match="abstract_syntax") as error:
            add(wrong)
        assert wrong[:10] in str(error.value)
    assert ae.requested_contexts == ae.supported_contexts == []


@pytest.mark.parametrize("wrong", [None, 5, b"1.2.3", ["1.2.3"]])
def test_an_abstract_syntax_that_is_no_text_is_a_type_error_that_names_it(ae, wrong):
    for add in (ae.add_requested_context, ae.add_supported_context):
        with pytest.raises(TypeError, match="abstract_syntax takes a UID as str"):
            add(wrong)


@pytest.mark.parametrize("wrong", ["1.2.", "1.2.840.10008.1.1", ["1.2.840.10008.1.2", ""], []])
def test_a_wrong_transfer_syntax_is_a_value_error_that_names_it(ae, wrong):
    for add in (ae.add_requested_context, ae.add_supported_context):
        with pytest.raises(ValueError, match="transfer_syntax"):
            add(Verification, wrong)
    assert ae.requested_contexts == ae.supported_contexts == []


@pytest.mark.parametrize("wrong", [5, [None], {"1.2.840.10008.1.2"}, b"1.2"])
def test_a_transfer_syntax_that_is_no_text_is_a_type_error_that_names_it(ae, wrong):
    for add in (ae.add_requested_context, ae.add_supported_context):
        with pytest.raises(TypeError, match="transfer_syntax takes"):
            add(Verification, wrong)


@pytest.mark.parametrize("role", ["scu_role", "scp_role"])
@pytest.mark.parametrize("wrong", [0, 1, "True", []])
def test_a_role_is_true_false_or_none(ae, role, wrong):
    with pytest.raises(TypeError, match=f"{role} is True, False or None, not {wrong!r}".replace("[", r"\[")):
        ae.add_supported_context(Verification, **{role: wrong})
    assert ae.supported_contexts == []


@pytest.mark.parametrize(
    "wrong", [["1.2.840.10008.1.1"], [None], "1.2.840.10008.1.1", [build_role(Verification, True)]]
)
def test_a_list_of_something_else_is_a_type_error_that_names_the_place(ae, wrong):
    for name in ("requested_contexts", "supported_contexts"):
        with pytest.raises(TypeError, match=r"contexts\[0\] is .*not a PresentationContext"):
            setattr(ae, name, wrong)
        assert getattr(ae, name) == []


@pytest.mark.parametrize("name", ["requested_contexts", "supported_contexts"])
def test_a_context_without_an_abstract_syntax_is_a_value_error_that_names_the_place(ae, name):
    with pytest.raises(ValueError, match=r"contexts\[1\] has no abstract syntax"):
        setattr(ae, name, [build_context(Verification), PresentationContext()])
    assert getattr(ae, name) == []


@pytest.mark.parametrize("name", ["requested_contexts", "supported_contexts"])
def test_a_context_without_a_transfer_syntax_is_a_value_error(ae, name):
    context = PresentationContext()
    context.abstract_syntax = Verification
    with pytest.raises(ValueError, match="transfer_syntax is empty"):
        setattr(ae, name, [context])


@pytest.mark.parametrize("name", ["requested_contexts", "supported_contexts"])
def test_what_is_no_list_of_contexts_is_a_type_error_that_names_it(ae, name):
    with pytest.raises(TypeError, match="contexts"):
        setattr(ae, name, 5)


@pytest.mark.parametrize("remove", ["remove_requested_context", "remove_supported_context"])
def test_removing_what_is_no_uid_is_an_error(ae, remove):
    with pytest.raises(TypeError, match="abstract_syntax"):
        getattr(ae, remove)(None)


# -- limits and times


@pytest.mark.parametrize(("name", "default"), TIMEOUTS.items())
def test_a_timeout_is_a_number_of_seconds_or_none(ae, name, default):
    assert getattr(ae, name) == default
    for value in (1, 0.25, 3600.0, None):
        setattr(ae, name, value)
        assert getattr(ae, name) == value


@pytest.mark.parametrize("name", TIMEOUTS)
@pytest.mark.parametrize("wrong", [0, -1, -0.5, float("nan")])
def test_a_timeout_is_more_than_nothing(ae, name, wrong):
    with pytest.raises(ValueError, match=f"{name} is more than 0 seconds, or None to wait without end, not"):
        setattr(ae, name, wrong)
    assert getattr(ae, name) == TIMEOUTS[name]


@pytest.mark.parametrize("name", TIMEOUTS)
@pytest.mark.parametrize("wrong", ["5", True, [1], b"1"])
def test_a_timeout_is_no_text_and_no_boolean(ae, name, wrong):
    with pytest.raises(TypeError, match=f"{name} is a number of seconds, or None"):
        setattr(ae, name, wrong)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("acse_timeout", float("inf")),
        ("dimse_timeout", float("inf")),
        ("connection_timeout", float("inf")),
        ("connection_timeout", 1e12),
        ("network_timeout", float("inf")),
        ("write_timeout", float("inf")),
        ("acse_timeout", 1e12),
        ("dimse_timeout", 1e12),
        ("network_timeout", 1e12),
        ("write_timeout", 1e12),
    ],
)
def test_a_timeout_that_no_clock_takes_is_an_error_at_once_or_has_no_end(serve, ae, name, value):
    port = serve().server_address[1]
    ae.add_requested_context(Verification)
    try:
        setattr(ae, name, value)
    except ValueError as error:
        assert name in str(error)  # noqa: PT017 one of two good ends
        return
    with ae.associate("127.0.0.1", port) as assoc:
        assert assoc.is_established, assoc.error
        assert assoc.send_c_echo().Status == 0x0000


def test_the_longest_pdu_is_a_number_of_bytes(ae):
    assert ae.maximum_pdu_size == 256 * 1024
    for value in (8, 16382, 16 * 1024 * 1024):
        ae.maximum_pdu_size = value
        assert ae.maximum_pdu_size == value
    for wrong in (-1, 0, 7, 16 * 1024 * 1024 + 1, 2**32):
        with pytest.raises(ValueError, match=f"maximum_pdu_size is 8 to 16777216, not {wrong}"):
            ae.maximum_pdu_size = wrong
    for wrong in (None, "16382", 16382.0, True):
        with pytest.raises(TypeError, match="maximum_pdu_size is a whole number, not a"):
            ae.maximum_pdu_size = wrong


def test_the_most_associations_are_a_number(ae):
    assert ae.maximum_associations == 200
    ae.maximum_associations = 1
    assert ae.maximum_associations == 1
    for wrong in (0, -1, 100_001):
        with pytest.raises(ValueError, match=f"maximum_associations is 1 to 100000, not {wrong}"):
            ae.maximum_associations = wrong
    for wrong in (None, "5", 1.0, True):
        with pytest.raises(TypeError, match="maximum_associations is a whole number"):
            ae.maximum_associations = wrong


def test_whether_the_called_title_counts_is_a_boolean(ae):
    assert ae.require_called_aet is False
    ae.require_called_aet = True
    assert ae.require_called_aet is True
    for wrong in (1, "SCPD", None):
        with pytest.raises(TypeError, match="require_called_aet is True or False, not"):
            ae.require_called_aet = wrong


def test_the_calling_titles_are_a_list_of_ae_titles(ae):
    assert ae.require_calling_aet == []
    ae.require_calling_aet = (" ONE ", "TWO")
    assert ae.require_calling_aet == ["ONE", "TWO"]
    ae.require_calling_aet.clear()
    assert ae.require_calling_aet == ["ONE", "TWO"]
    with pytest.raises(ValueError, match="require_calling_aet: an AE title has at most 16"):
        ae.require_calling_aet = ["X" * 17]
    with pytest.raises(TypeError, match="require_calling_aet is a text, not a bytes"):
        ae.require_calling_aet = [b"ONE"]
    with pytest.raises(TypeError, match="require_calling_aet is a list of AE titles, not the text 'ONE'"):
        ae.require_calling_aet = "ONE"
    assert ae.require_calling_aet == ["ONE", "TWO"]


def test_the_implementation_is_named_by_uid_and_version(ae):
    assert isinstance(ae.implementation_class_uid, UID)
    assert ae.implementation_version_name.startswith("SCPD")
    ae.implementation_class_uid = "1.2.3.4"
    ae.implementation_version_name = "MINE 1"
    assert (ae.implementation_class_uid, ae.implementation_version_name) == ("1.2.3.4", "MINE 1")
    ae.implementation_version_name = None
    assert ae.implementation_version_name is None
    with pytest.raises(ValueError, match="implementation_class_uid: '1.2.' is not a UID"):
        ae.implementation_class_uid = "1.2."
    with pytest.raises(TypeError, match="implementation_class_uid is a text"):
        ae.implementation_class_uid = None
    for wrong in ("", "X" * 17, "é", "A\n"):
        with pytest.raises(ValueError, match="implementation_version_name is 1 to 16 printable ASCII characters"):
            ae.implementation_version_name = wrong
    with pytest.raises(TypeError, match="implementation_version_name is a text"):
        ae.implementation_version_name = 1


# -- what is wrong with a call


CALL = ("127.0.0.1", 104)


def test_an_association_without_any_context_is_an_error(ae):
    with pytest.raises(ValueError, match="needs presentation contexts: add_requested_context"):
        ae.associate(*CALL)
    with pytest.raises(ValueError, match="1 to 128 presentation contexts"):
        ae.associate(*CALL, contexts=[])
    with pytest.raises(ValueError, match="1 to 128 presentation contexts, .* here are 129"):
        ae.associate(*CALL, contexts=[build_context(Verification)] * 129)


WRONG_CALLS = [
    ({"addr": None}, TypeError, r"addr, port\[0\] is a text"),
    ({"addr": 127}, TypeError, r"addr, port\[0\] is a text"),
    ({"port": "104"}, TypeError, r"addr, port\[1\] is a whole number"),
    ({"port": None}, TypeError, r"addr, port\[1\] is a whole number"),
    ({"port": 70000}, ValueError, r"addr, port\[1\] is 0 to 65535, not 70000"),
    ({"port": -1}, ValueError, r"addr, port\[1\] is 0 to 65535, not -1"),
    ({"contexts": 5}, TypeError, "contexts takes a list of PresentationContext, not int"),
    ({"contexts": [Verification]}, TypeError, r"contexts\[0\] is .*not a PresentationContext"),
    ({"ae_title": "X" * 17}, ValueError, "ae_title: an AE title has at most 16"),
    ({"ae_title": "  "}, ValueError, "ae_title: an AE title needs at least one"),
    ({"ae_title": None}, TypeError, "ae_title is a text"),
    ({"max_pdu": 7}, ValueError, "max_pdu is 8 to 16777216, not 7"),
    ({"max_pdu": "16382"}, TypeError, "max_pdu is a whole number"),
    ({"ext_neg": [5]}, TypeError, r"ext_neg\[0\] is a int, not a negotiation item"),
    ({"ext_neg": [build_role(Verification)]}, ValueError, "role selection needs scu_role or scp_role"),
    ({"ext_neg": [build_role("1.2.", True)]}, ValueError, "'1.2.' is not a UID"),
    ({"bind_address": "127.0.0.1"}, TypeError, r"bind_address is \(host, port\)"),
    ({"bind_address": ("127.0.0.1",)}, TypeError, r"bind_address is \(host, port\)"),
    ({"bind_address": (None, 0)}, TypeError, r"bind_address\[0\] is a text"),
    ({"bind_address": ("127.0.0.1", 70000)}, ValueError, r"bind_address\[1\] is 0 to 65535"),
    ({"tls_args": ()}, TypeError, r"tls_args is \(ssl.SSLContext, host name or None\)"),
    ({"tls_args": "host"}, TypeError, r"tls_args is \(ssl.SSLContext, host name or None\)"),
    ({"evt_handlers": [5]}, TypeError, r"evt_handlers\[0\] is 5"),
    ({"evt_handlers": [(evt.EVT_C_ECHO,)]}, TypeError, r"evt_handlers\[0\] is"),
    ({"evt_handlers": [("EVT_C_ECHO", print)]}, TypeError, "'EVT_C_ECHO' is no event"),
    (
        {"evt_handlers": [(evt.EVT_C_ECHO, None)]},
        TypeError,
        "handler for evt.EVT_C_ECHO is None, which cannot be called",
    ),
]


@pytest.mark.parametrize(("wrong", "error", "message"), WRONG_CALLS)
def test_a_wrong_argument_of_associate_is_an_error_that_names_it(ae, wrong, error, message):
    ae.add_requested_context(Verification)
    with pytest.raises(error, match=message):
        ae.associate(**{"addr": "127.0.0.1", "port": 104, **wrong})


@pytest.mark.parametrize("wrong", [{"ext_neg": 5}, {"evt_handlers": 5}, {"bind_address": 0}])
def test_an_argument_of_associate_that_is_no_list_or_pair_is_an_error_that_names_it(ae, wrong):
    ae.add_requested_context(Verification)
    with pytest.raises(TypeError, match=next(iter(wrong))):
        ae.associate(*CALL, **wrong)


def test_a_host_that_cannot_be_a_name_is_a_value_error_or_a_failure(ae):
    ae.add_requested_context(Verification)
    try:
        assert not ae.associate("x" * 70 + ".example", 104).is_established
    except ValueError as error:
        assert "addr" in str(error)  # noqa: PT017 one of two good ends


def test_a_server_without_any_context_is_an_error(ae):
    with pytest.raises(ValueError, match="a server needs presentation contexts: add_supported_context"):
        ae.start_server(("127.0.0.1", 0), block=False)
    with pytest.raises(ValueError, match="a server needs presentation contexts"):
        ae.start_server(("127.0.0.1", 0), block=False, contexts=[])


WRONG_STARTS = [
    ({"address": "127.0.0.1"}, TypeError, r"address is \(host, port\)"),
    ({"address": ("127.0.0.1", "104")}, TypeError, r"address\[1\] is a whole number"),
    ({"address": ("127.0.0.1", -1)}, ValueError, r"address\[1\] is 0 to 65535"),
    ({"address": (127, 0)}, TypeError, r"address\[0\] is a text"),
    ({"ae_title": " "}, ValueError, "ae_title: an AE title needs"),
    ({"ae_title": 5}, TypeError, "ae_title is a text"),
    ({"contexts": [Verification]}, TypeError, r"contexts\[0\] is .*not a PresentationContext"),
    ({"contexts": [PresentationContext()]}, ValueError, r"contexts\[0\] has no abstract syntax"),
    ({"evt_handlers": [(evt.EVT_C_ECHO, 5)]}, TypeError, "handler for evt.EVT_C_ECHO is 5"),
    ({"block": "no"}, TypeError, "block is True or False, not 'no'"),
]


@pytest.mark.parametrize(("wrong", "error", "message"), WRONG_STARTS)
def test_a_wrong_argument_of_start_server_is_an_error_that_names_it(ae, wrong, error, message):
    ae.add_supported_context(Verification)
    try:
        with pytest.raises(error, match=message):
            ae.start_server(**{"address": ("127.0.0.1", 0), "block": False, **wrong})
    finally:
        ae.shutdown(0)


# -- what it prints


def test_an_entity_is_printed_with_what_it_asks_for_and_supports(ae):
    assert repr(AE("ONE")) == "<AE 'ONE'>"
    assert str(ae) == (
        "Application Entity 'SCPD'\n\n"
        "  Requested Presentation Contexts:\n    (none)\n"
        "  Supported Presentation Contexts:\n    (none)\n"
        "  Associations: 0"
    )
    ae.add_requested_context(Verification, ImplicitVRLittleEndian)
    ae.add_supported_context(CTImageStorage, ExplicitVRBigEndian, scu_role=True, scp_role=False)
    assert str(ae) == (
        "Application Entity 'SCPD'\n\n"
        "  Requested Presentation Contexts:\n"
        "    Abstract Syntax: Verification SOP Class\n"
        "    Transfer Syntax(es):\n"
        "        =Implicit VR Little Endian\n"
        "  Supported Presentation Contexts:\n"
        "    Abstract Syntax: CT Image Storage\n"
        "    Transfer Syntax(es):\n"
        "        =Explicit VR Big Endian\n"
        "    Role Selection: SCU yes, SCP no\n"
        "  Associations: 0"
    )


def test_an_entity_at_work_prints_and_lists_its_associations(serve, associate, until):
    ae = AE("BOTH")
    ae.add_supported_context(Verification)
    ae.add_requested_context(Verification)
    port = serve(ae=ae).server_address[1]
    assoc = associate(port, ae=ae)
    until(lambda: len(ae.active_associations) == 2)
    assert str(ae).endswith("Associations: 2")
    assert {one.mode for one in ae.active_associations} == {"requestor", "acceptor"}
    assoc.release()
    until(lambda: not ae.active_associations)
    assert str(ae).endswith("Associations: 0")


def test_an_association_is_printed_with_its_id_and_state(serve, associate):
    assoc = associate(serve().server_address[1])
    assert repr(assoc) == f"<Association {assoc.association_id} as requestor, established>"
    assoc.release()
    assert repr(assoc) == f"<Association {assoc.association_id} as requestor, not established>"
