"""Presentation contexts as Python programs write them, and the prebuilt lists of them."""

from __future__ import annotations

import ast
import copy
import itertools
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydicom import config
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from scpd import sop_class
from scpd.ae import prebuilt
from scpd.ae.presentation import PresentationContext, build_context, requestable, supportable
from scpd.sop_class import CTImageStorage, MRImageStorage, Verification
from scpd.wire.contexts import ContextResult

DEFAULT = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"]
DEFAULT_LINES = """\
Transfer Syntax(es):
    =Implicit VR Little Endian
    =Explicit VR Little Endian
    =Deflated Explicit VR Little Endian
    =Explicit VR Big Endian"""
# Importing pynetdicom adds to pydicom's dictionary, so it is asked in another process.
ASK = """
import json
import pynetdicom.presentation as theirs
lists = {name: [[cx.abstract_syntax, cx.transfer_syntax] for cx in value] for name, value in vars(theirs).items()
         if name.endswith("PresentationContexts")}
statuses = {}
for result in (None, 0, 1, 2, 3, 4, 5):
    context = theirs.PresentationContext()
    context.result = result
    statuses[str(result)] = context.status
print(json.dumps({"lists": lists, "statuses": statuses}))
"""
LISTS = [name for name in prebuilt.__all__ if name.endswith("PresentationContexts")]
SYNTAX_LISTS = ["ALL_TRANSFER_SYNTAXES", "DEFAULT_TRANSFER_SYNTAXES"]
WRONG_UIDS = [
    "",
    " ",
    "1.2.",
    ".1",
    "1..2",
    "1.02",
    "abc",
    "1.2.3\n",
    " 1.2.3",
    "1.2.3 ",
    "CTImageStorage",
    "1." * 32 + "1",
]


@pytest.fixture(scope="session")
def asked():
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, check=True, text=True, timeout=120)
    return json.loads(done.stdout)


def accepted(**more) -> PresentationContext:
    answer = {"result": 0, "as_scu": False, "as_scp": True} | more
    return PresentationContext.negotiated(1, "1.2.840.10008.1.1", ["1.2.840.10008.1.2"], **answer)


# The guide's examples


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.1", UID("1.2.840.10008.1.1"), Verification])
def test_the_guide_prints_a_context_with_the_default_transfer_syntaxes(uid):
    assert str(build_context(uid)) == f"Abstract Syntax: Verification SOP Class\n{DEFAULT_LINES}"


def test_the_guide_prints_a_context_with_one_transfer_syntax():
    assert str(build_context(CTImageStorage, ImplicitVRLittleEndian)) == (
        "Abstract Syntax: CT Image Storage\nTransfer Syntax(es):\n    =Implicit VR Little Endian"
    )


def test_the_guide_requests_the_same_abstract_syntax_twice():
    contexts = requestable([build_context(CTImageStorage), build_context(CTImageStorage, ImplicitVRLittleEndian)])
    assert [str(context).count("=") for context in contexts] == [4, 1]
    assert {context.abstract_syntax for context in contexts} == {CTImageStorage}


def test_the_guide_combines_the_transfer_syntaxes_of_a_supported_context():
    supported = supportable({}, CTImageStorage, ExplicitVRLittleEndian)
    supported = supportable(supported, CTImageStorage, ImplicitVRLittleEndian)
    (context,) = supported.values()
    assert str(context) == (
        "Abstract Syntax: CT Image Storage\nTransfer Syntax(es):\n"
        "    =Explicit VR Little Endian\n    =Implicit VR Little Endian"
    )


def test_the_guide_adds_eight_contexts_to_the_120_of_storage_and_no_ninth():
    contexts = prebuilt.StoragePresentationContexts
    for more in range(1, 9):
        contexts = requestable([*contexts, build_context(f"1.2.826.{more}")])
    assert len(contexts) == 128
    with pytest.raises(ValueError, match=r"1 to 128 .* odd numbers from 1 to 255 .*PS3.8 9.3.2.2.* here are 129"):
        requestable([*contexts, build_context(Verification)])


def test_the_guide_supports_all_of_storage_and_more():
    supported: dict = {}
    for context in prebuilt.AllStoragePresentationContexts:
        supported = supportable(supported, context.abstract_syntax, context.transfer_syntax)
    supported = supportable(supported, Verification)
    assert len(supported) == len(prebuilt.AllStoragePresentationContexts) + 1 > 128


def test_the_guide_accepts_one_role_and_rejects_the_other():
    context = supportable({}, CTImageStorage, scu_role=False, scp_role=True)[CTImageStorage]
    assert (context.scu_role, context.scp_role) == (False, True)


# The context


def test_a_new_context_is_empty():
    context = PresentationContext()
    fields = ("context_id", "abstract_syntax", "scu_role", "scp_role", "as_scu", "as_scp", "result")
    assert [getattr(context, name) for name in fields] == [None] * 7
    assert context.transfer_syntax == []


@pytest.mark.parametrize("value", range(1, 256, 2))
def test_an_odd_number_to_255_is_a_context_id(value):
    context = PresentationContext()
    context.context_id = value
    assert context.context_id == value


@pytest.mark.parametrize("value", [*range(0, 257, 2), -1, 257, 10**9])
def test_any_other_number_is_no_context_id(value):
    context = PresentationContext()
    context.context_id = 3
    with pytest.raises(ValueError, match=rf"context_id is an odd number from 1 to 255 \(PS3.8 9.3.2.2\), not {value}"):
        context.context_id = value
    assert context.context_id == 3


@pytest.mark.parametrize("value", ["1", 1.0, True, b"\1"])
def test_a_context_id_is_an_int(value):
    with pytest.raises(TypeError, match=f"context_id takes an int or None, not {type(value).__name__}"):
        PresentationContext().context_id = value


def test_a_context_id_and_an_abstract_syntax_can_be_taken_away():
    context = accepted()
    context.context_id = None
    context.abstract_syntax = None
    context.result = None
    assert str(context).startswith("Transfer Syntax(es):")


@pytest.mark.parametrize("value", ["1.2.840.10008.5.1.4.1.1.2", CTImageStorage])
def test_an_abstract_syntax_is_kept_as_a_uid(value):
    context = PresentationContext()
    context.abstract_syntax = value
    assert isinstance(context.abstract_syntax, UID)
    assert context.abstract_syntax == CTImageStorage


@pytest.mark.parametrize("uid", [*sop_class.SOP_CLASSES.values(), *sop_class.STORAGE])
def test_every_sop_class_is_an_abstract_syntax(uid):
    assert build_context(uid).abstract_syntax == uid


@pytest.mark.parametrize("uid", sop_class.TRANSFER_SYNTAXES.values())
def test_every_transfer_syntax_is_one_and_no_abstract_syntax(uid):
    assert build_context(Verification, uid).transfer_syntax == [uid]
    with pytest.raises(ValueError, match=f"abstract_syntax: {uid} is .*Transfer Syntax.*, not a SOP class"):
        build_context(uid)


@pytest.mark.parametrize(
    ("uid", "what"),
    [
        ("1.2.840.10008.5.1.1.17", r"Printer SOP Instance \(Well-known SOP Instance\)"),
        ("1.2.840.10008.1.20.1.1", r"Storage Commitment Push Model SOP Instance \(Well-known SOP Instance\)"),
        ("1.2.840.10008.4.2", r"Storage Service Class \(Service Class\)"),
        ("1.2.840.10008.3.1.1.1", r"DICOM Application Context Name \(Application Context Name\)"),
    ],
)
def test_what_the_standard_has_for_something_else_is_neither_syntax(uid, what):
    with pytest.raises(ValueError, match=f"^abstract_syntax: {uid} is {what}, not a SOP class$"):
        build_context(uid)
    with pytest.raises(ValueError, match=f"^transfer_syntax: {uid} is {what}, not a transfer syntax$"):
        build_context(Verification, uid)


@pytest.mark.parametrize("uid", sop_class.SOP_CLASSES.values())
def test_no_sop_class_is_a_transfer_syntax(uid):
    with pytest.raises(ValueError, match=f"transfer_syntax: {uid} is .*, not a transfer syntax"):
        build_context(Verification, uid)


@pytest.mark.parametrize("uid", ["1.2.826.0.1.3680043.9.3811", "1.2.840.10008.1.2.4.999", "2.25.1", "1." * 31 + "12"])
def test_private_and_future_uids_are_either_syntax(uid):
    context = build_context(uid, uid)
    assert (context.abstract_syntax, context.transfer_syntax) == (uid, [uid])


@pytest.mark.parametrize("wrong", WRONG_UIDS)
def test_what_is_no_uid_is_a_value_error_that_quotes_it_with_the_rule(wrong):
    context = build_context(Verification, ImplicitVRLittleEndian)
    before = copy.deepcopy(context)
    attempts = (
        ("abstract_syntax", lambda: setattr(context, "abstract_syntax", wrong)),
        ("abstract_syntax", lambda: build_context(wrong)),
        ("abstract_syntax", lambda: supportable({}, wrong, None)),
        ("transfer_syntax", lambda: setattr(context, "transfer_syntax", [ExplicitVRLittleEndian, wrong])),
        ("transfer_syntax", lambda: context.add_transfer_syntax(wrong)),
        ("transfer_syntax", lambda: build_context(Verification, wrong)),
        ("transfer_syntax", lambda: build_context(Verification, [wrong])),
        ("transfer_syntax", lambda: supportable({}, Verification, (wrong,))),
    )
    for argument, attempt in attempts:
        with pytest.raises(ValueError) as caught:
            attempt()
        assert str(caught.value).startswith(f"{argument}: ")
        assert ascii(wrong[:64]) in str(caught.value)
        assert "digits and dots" in str(caught.value) or "at most 64 characters" in str(caught.value)
    assert context == before


@pytest.mark.parametrize("wrong", [b"1.2.840.10008.1.1", 1, 1.2, object(), ["1.2"], PresentationContext])
def test_what_is_no_text_is_a_type_error_that_names_argument_and_type(wrong):
    context = PresentationContext()
    type_ = type(wrong).__name__
    for attempt in (lambda: setattr(context, "abstract_syntax", wrong), lambda: build_context(wrong)):
        with pytest.raises(TypeError, match=f"abstract_syntax takes a UID as str or pydicom's UID, not {type_}"):
            attempt()
    for attempt in (lambda: context.add_transfer_syntax(wrong), lambda: build_context(Verification, [wrong])):
        with pytest.raises(TypeError, match=f"transfer_syntax takes a UID as str or pydicom's UID, not {type_}"):
            attempt()


def test_none_is_an_abstract_syntax_to_the_setter_alone():
    with pytest.raises(TypeError, match="abstract_syntax takes a UID .*, not NoneType"):
        build_context(None)
    with pytest.raises(TypeError, match="transfer_syntax takes a UID .*, not NoneType"):
        PresentationContext().add_transfer_syntax(None)


@pytest.mark.parametrize("wrong", ["1.2.840.10008.1.2", None, b"1.2", 1, {"1.2"}, iter(["1.2"]), {"1.2": 1}])
def test_transfer_syntaxes_are_set_with_a_list_or_tuple(wrong):
    context = build_context(Verification)
    with pytest.raises(TypeError, match=f"transfer_syntax takes a list or tuple of UIDs, not {type(wrong).__name__}"):
        context.transfer_syntax = wrong
    assert context.transfer_syntax == DEFAULT


@pytest.mark.parametrize("kind", [list, tuple])
def test_transfer_syntaxes_keep_their_order_and_no_duplicate(kind):
    context = PresentationContext()
    context.transfer_syntax = kind([ExplicitVRBigEndian, "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.3"])
    assert context.transfer_syntax == ["1.2.840.10008.1.2.2", "1.2.840.10008.1.2", "1.2.3"]
    assert all(isinstance(uid, UID) for uid in context.transfer_syntax)
    context.add_transfer_syntax("1.2.840.10008.1.2")
    context.add_transfer_syntax(JPEGBaseline8Bit)
    assert context.transfer_syntax == ["1.2.840.10008.1.2.2", "1.2.840.10008.1.2", "1.2.3", JPEGBaseline8Bit]


def test_transfer_syntaxes_are_the_contexts_own_list():
    """Not that of the caller; and what a program appends to it is there."""
    given = [ImplicitVRLittleEndian]
    context = build_context(Verification, given)
    given.append(ExplicitVRLittleEndian)
    context.transfer_syntax.append(ExplicitVRBigEndian)
    assert context.transfer_syntax == [ImplicitVRLittleEndian, ExplicitVRBigEndian]
    context.transfer_syntax = []
    assert context.transfer_syntax == []


def test_a_private_transfer_syntax_keeps_the_encoding_that_pydicom_was_told():
    private = UID("1.2.826.0.1.3680043.9.3811.77")
    private.set_private_encoding(False, True)
    context = build_context(CTImageStorage, private)
    (supported,) = supportable({}, CTImageStorage, context.transfer_syntax).values()
    (requested,) = requestable([context])
    taken = PresentationContext.negotiated(1, CTImageStorage, requested.transfer_syntax, result=0)
    assert [one.transfer_syntax[0].is_implicit_VR for one in (context, supported, requested, taken)] == [False] * 4


@pytest.mark.parametrize("role", ["scu_role", "scp_role"])
def test_a_role_is_true_false_or_none_and_nothing_that_looks_like_it(role):
    context = PresentationContext()
    for value in (True, False, None):
        setattr(context, role, value)
        assert getattr(context, role) is value
    for wrong in (1, 0, "yes", "", [], 1.0):
        with pytest.raises(TypeError) as caught:
            setattr(context, role, wrong)
        assert str(caught.value) == f"{role} is True, False or None, not {wrong!r}"
        with pytest.raises(TypeError, match=f"{role} is True, False or None"):
            supportable({}, Verification, **{role: wrong})


@pytest.mark.parametrize("name", ["as_scu", "as_scp", "as_tuple", "status"])
def test_what_negotiation_decides_is_read_only(name):
    with pytest.raises(AttributeError):
        setattr(PresentationContext(), name, True)


def test_a_misspelt_name_is_an_error():
    with pytest.raises(AttributeError):
        PresentationContext().transfer_syntaxes = []


@pytest.mark.parametrize("value", [None, 0, 1, 2, 3, 4, *ContextResult])
def test_a_result_is_a_number_of_table_9_18(value):
    context = PresentationContext()
    context.result = value
    assert context.result == value
    assert type(context.result) in (int, type(None))


@pytest.mark.parametrize("value", [-1, 5, 255])
def test_any_other_number_is_no_result(value):
    with pytest.raises(ValueError, match=rf"result is a number from 0 to 4 \(PS3.8 table 9-18\), not {value}"):
        PresentationContext().result = value


@pytest.mark.parametrize("value", ["0", 0.0, False])
def test_a_result_is_an_int(value):
    with pytest.raises(TypeError, match=f"result takes an int or None, not {type(value).__name__}"):
        PresentationContext().result = value


@pytest.mark.parametrize("result", [None, 0, 1, 2, 3, 4, 5])
def test_the_status_is_the_word_that_programs_compare_with(asked, result):
    assert accepted(result=result).status == asked["statuses"][str(result)]


def test_a_negotiated_context_is_a_tuple_too():
    context = PresentationContext.negotiated(7, CTImageStorage, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    assert context.as_tuple == (7, CTImageStorage, ExplicitVRLittleEndian)
    assert context.as_tuple._fields == ("context_id", "abstract_syntax", "transfer_syntax")
    assert [type(field) for field in context.as_tuple] == [int, UID, UID]


@pytest.mark.parametrize("missing", ["context_id", "abstract_syntax", "transfer_syntax"])
def test_a_context_that_lacks_something_is_no_tuple(missing):
    context = accepted()
    setattr(context, missing, [] if missing == "transfer_syntax" else None)
    with pytest.raises(ValueError, match="was not negotiated"):
        _ = context.as_tuple


# What a peer wrote


def test_negotiation_tells_everything_at_once():
    context = PresentationContext.negotiated(
        3, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",), result=ContextResult.ACCEPTANCE, as_scu=True, as_scp=False
    )
    assert (context.context_id, context.result, context.as_scu, context.as_scp) == (3, 0, True, False)
    assert (context.scu_role, context.scp_role) == (None, None)
    assert type(context.result) is int


@pytest.mark.parametrize("mode", [config.WARN, config.RAISE, config.IGNORE])
@pytest.mark.parametrize("text", [*WRONG_UIDS, "x\nResult: Accepted", "é" * 200, "1.2.840.10008.1.2"])
def test_whatever_a_peer_wrote_is_kept_and_shown_on_one_line(monkeypatch, recwarn, mode, text):
    monkeypatch.setattr(config.settings, "reading_validation_mode", mode)
    context = PresentationContext.negotiated(2, text, [text], result=77)
    assert context.abstract_syntax == text
    assert context.transfer_syntax == [text]
    assert (context.context_id, context.result, context.status) == (2, 77, "Unknown")
    assert len(str(context).splitlines()) == 5
    assert len(repr(context).splitlines()) == 1
    assert len(str(context)) < 700
    assert not recwarn.list


@for_all(text=st.text(), syntaxes=st.lists(st.text()), number=st.integers(), result=st.none() | st.integers())
def test_nothing_that_a_peer_writes_raises(text, syntaxes, number, result):
    context = PresentationContext.negotiated(number, text, syntaxes, result=result)
    assert all(line.isprintable() for line in str(context).split("\n"))
    assert repr(context).isprintable()
    again = PresentationContext.negotiated(number, text, syntaxes, result=result)
    assert context == again
    assert hash(context) == hash(again)


# Printing


def test_an_accepted_context_is_printed_with_all_that_is_known():
    assert str(accepted()) == (
        "ID: 1\nAbstract Syntax: Verification SOP Class\nTransfer Syntax(es):\n    =Implicit VR Little Endian\n"
        "Result: Accepted\nRole: SCP only"
    )


def test_an_empty_context_can_be_printed():
    assert str(PresentationContext()) == "Transfer Syntax(es):\n    (none)"
    assert repr(PresentationContext()) == "<PresentationContext (none): (none)>"


def test_a_context_in_a_list_is_shown_by_name():
    assert repr([build_context(CTImageStorage, ImplicitVRLittleEndian), accepted()]) == (
        "[<PresentationContext CT Image Storage: Implicit VR Little Endian>, "
        "<PresentationContext 1 Verification SOP Class: Implicit VR Little Endian>]"
    )


def test_what_has_no_name_is_printed_as_its_uid():
    context = build_context("1.2.840.10008.5.1.4.1.1.40", ["1.2.826.9"])
    assert str(context) == "Abstract Syntax: 1.2.840.10008.5.1.4.1.1.40\nTransfer Syntax(es):\n    =1.2.826.9"


@pytest.mark.parametrize(
    ("as_scu", "as_scp", "words"),
    [(True, True, "SCU and SCP"), (True, False, "SCU only"), (False, True, "SCP only"), (False, False, "(none)")],
)
def test_the_roles_that_hold_are_printed_after_negotiation(as_scu, as_scp, words):
    context = accepted(as_scu=as_scu, as_scp=as_scp)
    context.scu_role = context.scp_role = True
    assert str(context).splitlines()[-1] == f"Role: {words}"
    assert "Role Selection" not in str(context)


@pytest.mark.parametrize(
    ("scu_role", "scp_role", "line"),
    [
        (None, None, "    =Implicit VR Little Endian"),
        (True, None, "Role Selection: SCU yes"),
        (None, False, "Role Selection: SCP no"),
        (False, True, "Role Selection: SCU no, SCP yes"),
    ],
)
def test_the_roles_to_select_are_printed_before_negotiation(scu_role, scp_role, line):
    context = build_context(Verification, ImplicitVRLittleEndian)
    context.scu_role, context.scp_role = scu_role, scp_role
    assert str(context).splitlines()[-1] == line


# Equality


def test_contexts_are_equal_when_everything_is():
    assert build_context(CTImageStorage) == build_context("1.2.840.10008.5.1.4.1.1.2", DEFAULT)
    assert accepted() == accepted()
    assert hash(accepted()) == hash(accepted())
    assert len({accepted(), accepted()}) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("context_id", 3),
        ("context_id", None),
        ("abstract_syntax", CTImageStorage),
        ("transfer_syntax", [ExplicitVRLittleEndian]),
        ("transfer_syntax", []),
        ("result", 1),
        ("scu_role", True),
        ("scp_role", False),
    ],
)
def test_contexts_differ_by_any_field(field, value):
    other = accepted()
    setattr(other, field, value)
    assert other != accepted()


def test_contexts_differ_by_the_roles_that_hold_and_by_the_order_of_transfer_syntaxes():
    roles = itertools.product((None, True, False), repeat=2)
    assert len({accepted(as_scu=as_scu, as_scp=as_scp) for as_scu, as_scp in roles}) == 9
    assert build_context(Verification, DEFAULT) != build_context(Verification, DEFAULT[::-1])


@pytest.mark.parametrize("other", [None, "1.2.840.10008.1.1", Verification, 1, (), object()])
def test_nothing_else_is_equal_to_a_context(other):
    assert accepted() != other
    assert other != accepted()


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_context_can_be_copied_and_pickled(duplicate):
    context = accepted()
    assert duplicate(context) == context
    assert duplicate(context) is not context


# build_context


@pytest.mark.parametrize("syntax", [None, *map(type, ([], ()))])
def test_the_default_transfer_syntaxes_are_the_four_without_compression(syntax):
    assert build_context(Verification, syntax and syntax(DEFAULT)).transfer_syntax == DEFAULT


@pytest.mark.parametrize("empty", [[], ()])
def test_no_transfer_syntax_at_all_is_an_error(empty):
    for attempt in (build_context, lambda *given: supportable({}, *given)):
        with pytest.raises(ValueError, match=r"transfer_syntax is empty: .* at least one \(PS3.8 9.3.2.2\)"):
            attempt(Verification, empty)


@pytest.mark.parametrize("wrong", [b"1.2.840.10008.1.2", 1, {"1.2.840.10008.1.2"}, iter(DEFAULT)])
def test_transfer_syntaxes_are_one_or_a_list_of_them(wrong):
    with pytest.raises(TypeError, match=f"transfer_syntax takes a list or tuple of UIDs, not {type(wrong).__name__}"):
        build_context(Verification, wrong)


def test_two_contexts_share_nothing():
    one, other = build_context(Verification), build_context(Verification)
    one.add_transfer_syntax(JPEGBaseline8Bit)
    assert other.transfer_syntax == DEFAULT
    assert list(sop_class.UNCOMPRESSED) == DEFAULT


# Requesting


def test_what_is_requested_is_a_copy_of_what_a_program_gave():
    given = [build_context(CTImageStorage), build_context(Verification, ImplicitVRLittleEndian)]
    given[0].scu_role, given[0].scp_role = False, True
    requested = requestable(given)
    assert requested == given
    for ours, theirs in zip(requested, given, strict=True):
        assert ours is not theirs
        assert ours.transfer_syntax is not theirs.transfer_syntax


def test_what_is_requested_is_a_proposal_whatever_became_of_the_context_before():
    """IDs are given with each request, and results come with each answer."""
    (requested,) = requestable([accepted()])
    assert requested == build_context(Verification, ImplicitVRLittleEndian)


@for_all(st.lists(st.sampled_from([Verification, CTImageStorage, MRImageStorage]), min_size=1, max_size=128))
def test_requested_contexts_keep_their_order_and_repetitions(uids):
    assert [context.abstract_syntax for context in requestable(map(build_context, uids))] == uids


@pytest.mark.parametrize("number", [1, 127, 128])
def test_up_to_128_contexts_can_be_requested(number):
    assert len(requestable([build_context(Verification)] * number)) == number


@pytest.mark.parametrize("number", [0, 129, 130, 1000])
def test_no_context_or_more_than_128_cannot_be_requested(number):
    with pytest.raises(ValueError, match=rf"1 to 128 presentation contexts.*here are {number}$"):
        requestable([build_context(Verification)] * number)


@pytest.mark.parametrize("wrong", [None, "1.2.840.10008.1.1", CTImageStorage, 1, [], PresentationContext])
def test_what_is_no_context_cannot_be_requested_and_the_error_names_its_place(wrong):
    with pytest.raises(TypeError, match=rf"contexts\[1\] is not a PresentationContext but a {type(wrong).__name__};"):
        requestable([build_context(Verification), wrong])


@pytest.mark.parametrize("wrong", [None, 1, build_context(Verification)])
def test_what_is_no_list_cannot_be_requested(wrong):
    with pytest.raises(TypeError, match=f"contexts takes a list of PresentationContext, not {type(wrong).__name__}"):
        requestable(wrong)


def test_a_context_that_lacks_a_syntax_cannot_be_requested_and_the_error_names_its_place():
    empty = PresentationContext()
    with pytest.raises(ValueError, match=r"^contexts\[1\] has no abstract syntax$"):
        requestable([build_context(Verification), empty])
    empty.abstract_syntax = Verification
    with pytest.raises(ValueError, match=r"^contexts\[0\]: transfer_syntax is empty"):
        requestable([empty])


def test_what_came_into_a_context_unchecked_cannot_be_requested():
    appended = build_context(Verification)
    appended.transfer_syntax.append("no UID")
    with pytest.raises(ValueError, match=r"^contexts\[0\]: transfer_syntax: 'no UID' is not a UID"):
        requestable([appended])
    appended.transfer_syntax[-1] = 5
    with pytest.raises(TypeError, match=r"^contexts\[0\]: transfer_syntax takes a UID .*, not int"):
        requestable([appended])
    with pytest.raises(ValueError, match=r"^contexts\[0\]: abstract_syntax: 'peer' is not a UID"):
        requestable([PresentationContext.negotiated(1, "peer", DEFAULT)])


# Supporting


def test_supporting_leaves_what_was_there_as_it_is():
    before = supportable({}, CTImageStorage, ImplicitVRLittleEndian)
    kept = copy.deepcopy(before)
    after = supportable(before, CTImageStorage, ExplicitVRLittleEndian, True, True)
    assert before == kept
    assert after[CTImageStorage] is not before[CTImageStorage]
    other = supportable(before, Verification)
    assert list(other) == [CTImageStorage, Verification]
    assert other[CTImageStorage] is before[CTImageStorage]


def test_supported_contexts_are_keyed_by_abstract_syntax():
    supported = supportable({}, "1.2.840.10008.5.1.4.1.1.2")
    assert supported == {CTImageStorage: build_context(CTImageStorage)}
    assert all(isinstance(uid, UID) for uid in supported)


def test_supporting_again_adds_transfer_syntaxes_in_the_order_of_adding_and_each_once():
    supported = supportable({}, Verification, [ImplicitVRLittleEndian, ExplicitVRBigEndian])
    supported = supportable(supported, Verification, (JPEGBaseline8Bit, ExplicitVRBigEndian))
    assert supported[Verification].transfer_syntax == [ImplicitVRLittleEndian, ExplicitVRBigEndian, JPEGBaseline8Bit]
    supported = supportable(supported, Verification, None)
    assert supported[Verification].transfer_syntax == [
        *(ImplicitVRLittleEndian, ExplicitVRBigEndian, JPEGBaseline8Bit),
        *("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"),
    ]


ROLES = list(itertools.product((None, True, False), repeat=2))


@pytest.mark.parametrize(("first", "then"), list(itertools.product(ROLES, ROLES)))
def test_supporting_again_keeps_each_role_unless_a_new_one_is_given(first, then):
    supported = supportable({}, Verification, None, *first)
    merged = supportable(supported, Verification, None, *then)[Verification]
    expected = tuple(old if new is None else new for old, new in zip(first, then, strict=True))
    assert (merged.scu_role, merged.scp_role) == expected


def test_a_faulty_addition_changes_nothing():
    supported = supportable({}, Verification)
    kept = copy.deepcopy(supported)
    for faulty in ((Verification, "x"), (Verification, []), (Verification, None, 1), (Verification, None, None, "no")):
        with pytest.raises((TypeError, ValueError)):
            supportable(supported, *faulty)
    assert supported == kept


def test_the_number_of_supported_contexts_has_no_limit():
    supported: dict = {}
    for number in range(1000):
        supported = supportable(supported, f"1.2.826.{number}", ImplicitVRLittleEndian)
    assert len(supported) == 1000


# The lists


def test_there_is_a_list_for_every_name_of_pynetdicom_and_one_for_inventories(asked):
    assert set(LISTS) == asked["lists"].keys() | {"InventoryPresentationContexts"}


@pytest.mark.parametrize("name", [name for name in LISTS if name != "AllStoragePresentationContexts"])
def test_a_list_is_that_of_pynetdicom(asked, name):
    """The transfer syntaxes too. All of storage is more here, which tests/test_sop_class.py accounts for."""
    if name == "InventoryPresentationContexts":
        expected = [[uid, DEFAULT] for uid in sop_class.SERVICE_CLASSES["Inventory"]]
    else:
        expected = asked["lists"][name]
    assert [[c.abstract_syntax, c.transfer_syntax] for c in getattr(prebuilt, name)] == expected


def test_the_list_of_all_storage_classes_has_all_of_pynetdicoms_and_all_of_the_most_used(asked):
    ours = {context.abstract_syntax for context in prebuilt.AllStoragePresentationContexts}
    assert ours == set(sop_class.SERVICE_CLASSES["Storage"])
    assert ours > {uid for uid, _ in asked["lists"]["AllStoragePresentationContexts"]}
    assert ours > {context.abstract_syntax for context in prebuilt.StoragePresentationContexts}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_holds_proposals_sorted_by_uid(name):
    contexts = getattr(prebuilt, name)
    assert type(contexts) is list
    assert contexts == [build_context(uid) for uid in sorted(c.abstract_syntax for c in contexts)]
    assert contexts


def test_the_guides_120_storage_classes():
    assert len(prebuilt.StoragePresentationContexts) == 120


@pytest.mark.parametrize("name", [*LISTS, *SYNTAX_LISTS])
def test_who_alters_a_list_surprises_nobody_else(name):
    mine, kept = getattr(prebuilt, name), getattr(prebuilt, name)
    assert mine == kept
    if name in LISTS:
        mine[0].transfer_syntax.clear()
        mine[0].scp_role = True
    mine.clear()
    assert getattr(prebuilt, name) == kept != []
    assert build_context(Verification).transfer_syntax == DEFAULT


def test_an_import_statement_binds_one_list():
    bound: dict = {}
    exec("from scpd.ae.prebuilt import StoragePresentationContexts as mine", bound)
    bound["mine"][0].scu_role = True
    assert bound["mine"][0].scu_role is True
    assert prebuilt.StoragePresentationContexts[0].scu_role is None


def test_the_lists_of_transfer_syntaxes_can_be_sliced_added_and_altered_as_lists():
    assert prebuilt.DEFAULT_TRANSFER_SYNTAXES == DEFAULT
    assert prebuilt.DEFAULT_TRANSFER_SYNTAXES + [JPEGBaseline8Bit] == [*DEFAULT, JPEGBaseline8Bit]
    syntaxes = prebuilt.ALL_TRANSFER_SYNTAXES[:]
    assert syntaxes == list(sop_class.ALL_TRANSFER_SYNTAXES)
    syntaxes.remove(str(ImplicitVRLittleEndian))
    syntaxes.append(ImplicitVRLittleEndian)
    assert build_context(Verification, syntaxes).transfer_syntax == syntaxes


def test_all_names_are_listed_and_exist():
    assert set(prebuilt.__all__) <= set(dir(prebuilt))
    assert all(hasattr(prebuilt, name) for name in prebuilt.__all__)
    bound: dict = {}
    exec("from scpd.ae.prebuilt import *", bound)
    assert set(prebuilt.__all__) <= bound.keys()


@pytest.mark.parametrize(
    "name", ["PresentationContexts", "NoPresentationContexts", "CTImageStorage", "Storage", "_SuchPresentationContexts"]
)
def test_any_other_name_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match=f"module 'scpd.ae.prebuilt' has no attribute '{name}'"):
        getattr(prebuilt, name)


def test_a_type_checker_knows_every_list_and_no_other():
    """Each list is declared, and the function that makes them is hidden: with it every misspelling would be a name."""
    tree = ast.parse(Path(prebuilt.__file__).read_text(encoding="utf-8"))
    declared = [
        (node.target.id, ast.unparse(node.annotation))
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and node.value is None
    ]
    expected = [(name, "list[UID]") for name in SYNTAX_LISTS] + [(name, "list[PresentationContext]") for name in LISTS]
    assert sorted(declared) == sorted(expected)
    assert "__getattr__" not in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def test_importing_the_module_makes_no_context():
    script = """
from scpd.ae import prebuilt
print([name for name, value in vars(prebuilt).items() if name.endswith("Contexts") or "_SYNTAXES" in name])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True, timeout=120)
    assert done.stdout == "[]\n"
