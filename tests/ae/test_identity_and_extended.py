"""User identity (PS3.7 D.3.3.7) and extended negotiation (D.3.3.3, D.3.3.5, D.3.3.6), from either side."""

from __future__ import annotations

import logging
import queue
import subprocess

import pytest
import structlog
from pydicom.dataset import Dataset

from scpd import (
    AE,
    AsynchronousOperationsWindowNegotiation,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
    build_context,
    evt,
)
from scpd.ae import data
from scpd.part10 import FileMeta
from scpd.wire.pdu import AssociateAC, AssociateRJ
from scpd.wire.user_info import (
    AsynchronousOperationsWindow,
    UserIdentityAC,
    UserIdentityRQ,
)
from scpd.wire.user_info import SOPClassCommonExtendedNegotiation as CommonExtended
from scpd.wire.user_info import SOPClassExtendedNegotiation as Extended

PATIENCE = 20.0
LOCAL = "127.0.0.1"
IMPLICIT = "1.2.840.10008.1.2"
VERIFICATION = "1.2.840.10008.1.1"
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STORAGE_SERVICE = "1.2.840.10008.4.2"
FORMS = {
    1: (b"somebody", b""),
    2: (b"somebody", b"secret"),
    3: (b"ticket", b""),
    4: (b"<saml/>", b""),
    5: (b"a.b.c", b""),
}


@pytest.fixture
def log(caplog):
    configured = structlog.get_config() if structlog.is_configured() else None
    structlog.reset_defaults()
    caplog.set_level(logging.DEBUG, "scpd")
    yield lambda: [record.getMessage() for record in caplog.records if record.name.startswith("scpd")]
    if configured:
        structlog.configure(**configured)


@pytest.fixture
def serve(log):
    """The port of a server with these handlers, by the end of their events' names."""
    servers = []

    def start(**handlers) -> int:
        entity = AE("SERVER")
        for uid in (VERIFICATION, CT, FIND):
            entity.add_supported_context(uid, IMPLICIT, scu_role=True, scp_role=True)
        bound = [(getattr(evt, f"EVT_{name}"), handler) for name, handler in handlers.items()]
        servers.append(entity.start_server((LOCAL, 0), block=False, evt_handlers=bound))
        return servers[-1].server_address[1]

    yield start
    for one in servers:
        one.shutdown(grace=0.0)


@pytest.fixture
def call():
    made = []

    def start(port, *ext_neg, **handlers):
        bound = [(getattr(evt, f"EVT_{name}"), handler) for name, handler in handlers.items()]
        contexts = [build_context(uid, IMPLICIT) for uid in (VERIFICATION, CT, FIND)]
        made.append(AE("SCU").associate(LOCAL, port, contexts=contexts, ext_neg=ext_neg, evt_handlers=bound))
        return made[-1]

    yield start
    for assoc in made:
        assoc.abort()


def identity(kind: int, *, response: bool = False) -> UserIdentityNegotiation:
    primary, secondary = FORMS[kind]
    return UserIdentityNegotiation(kind, primary, secondary or None, response)


def rejected(assoc) -> tuple[int, int, int]:
    assert assoc.is_rejected
    assert not assoc.is_established
    return assoc.error.result, assoc.error.source, assoc.error.reason


# -- the acceptor's side


@pytest.mark.parametrize("response", [False, True])
@pytest.mark.parametrize("kind", FORMS)
def test_every_form_reaches_the_handler(serve, call, kind, response):
    """Type, primary, secondary, and whether a positive response is asked for; before anything is accepted."""
    seen = []

    def handle(event):
        seen.append((event.user_id_type, event.primary_field, event.secondary_field, event.positive_response_requested))
        seen.append((event.assoc.is_established, event.assoc.requestor.ae_title, event.event.name))
        return True, None

    assoc = call(serve(USER_ID=handle), identity(kind, response=response))
    assert assoc.is_established
    primary, secondary = FORMS[kind]
    assert seen == [(kind, primary, secondary or None, response), (False, "SCU", "EVT_USER_ID")]


@pytest.mark.parametrize("given", [b"server's answer", b"", None])
@pytest.mark.parametrize("response", [False, True])
@pytest.mark.parametrize("kind", FORMS)
def test_a_verified_identity_is_answered_when_asked_for(serve, call, kind, response, given):
    """Types 1 and 2 with an empty server response, the others with the handler's (table D.3-15)."""
    assoc = call(serve(USER_ID=lambda _: (True, given)), identity(kind, response=response))
    assert assoc.is_established
    answer = assoc.acceptor.user_identity
    if not response:
        assert answer is None
    else:
        assert answer.server_response == (given or b"" if kind > 2 else b"")
        assert (answer.user_identity_type, answer.primary_field, answer.secondary_field) == (None, None, None)
    assert assoc.send_c_echo().Status == 0x0000


@pytest.mark.parametrize("kind", FORMS)
def test_without_a_handler_everybody_is_accepted_and_nothing_is_answered(serve, call, kind):
    assoc = call(serve(), identity(kind, response=True))
    assert assoc.is_established
    assert assoc.acceptor.user_identity is None


def test_the_handler_is_not_asked_about_who_claims_nothing(serve, call):
    called = []
    assert call(serve(USER_ID=called.append)).is_established
    assert called == []


@pytest.mark.parametrize("response", [False, True])
@pytest.mark.parametrize("kind", FORMS)
def test_an_identity_that_is_not_verified_is_rejected_permanently_by_acse(serve, call, kind, response):
    """Result 1, source 2, reason 1 (PS3.7 D.3.3.7, PS3.8 table 9-21)."""
    told = queue.SimpleQueue()
    port = serve(USER_ID=lambda _: (False, None), REJECTED=lambda event: told.put(event.assoc.is_rejected))
    assert rejected(call(port, identity(kind, response=response))) == (1, 2, 1)
    assert told.get(timeout=PATIENCE)


def raises(_):
    raise ZeroDivisionError("the handler's own fault")


@pytest.mark.parametrize(
    "handler",
    [
        raises,
        lambda _: None,
        lambda _: True,
        lambda _: (True,),
        lambda _: (1, None),
        lambda _: ("yes", None),
        lambda _: (None, None),
        lambda _: (True, None, None),
        lambda _: (True, "text"),
    ],
)
def test_a_handler_that_raises_or_does_not_say_true_rejects(serve, call, handler):
    """Whoever cannot be verified stays outside, and the server goes on."""
    answers = [handler, lambda _: (True, None)]
    port = serve(USER_ID=lambda event: answers.pop(0)(event))
    assert rejected(call(port, identity(3, response=True))) == (1, 2, 1)
    assert call(port, identity(3, response=True)).is_established


def test_what_the_handler_raises_is_logged_and_no_secret_is(serve, call, log):
    seen = []
    port = serve(USER_ID=lambda event: seen.append(event.assoc.association_id) or raises(event))
    call(port, identity(2))
    (line,) = [line for line in log() if "ZeroDivisionError" in line]
    assert f"id='{seen[0]}'" in line
    assert not [line for line in log() if "secret" in line]


@pytest.mark.parametrize("length", [65_500, 65_533, 65_534, 65_536])
def test_a_response_that_is_too_long_for_its_field_rejects(serve, call, length):
    """Its own length and that of all the user information have 16 bits (PS3.7 table D.3-15, PS3.8 9.3.3.3)."""
    port = serve(USER_ID=lambda _: (True, bytes(length)))
    assert rejected(call(port, identity(3, response=True))) == (1, 2, 1)


def test_a_long_response_is_answered_whole(serve, call):
    response = bytes(range(256)) * 250
    assoc = call(serve(USER_ID=lambda _: (True, response)), identity(3, response=True))
    assert assoc.acceptor.user_identity.server_response == response


def test_two_identities_are_rejected_where_they_are_looked_at(serve, connect):
    """The standard has one sub-item; without a handler nobody looks."""
    claims = (UserIdentityRQ(1, True, b"somebody"), UserIdentityRQ(1, True, b"somebody else"))
    called = []
    answer = connect(serve(USER_ID=called.append)).associate(identities=claims)
    assert isinstance(answer, AssociateRJ)
    assert (answer.result, answer.source, answer.reason) == (1, 2, 1)
    assert called == []
    answer = connect(serve()).associate(identities=claims)
    assert isinstance(answer, AssociateAC)
    assert answer.user_information.identity_response is None


@pytest.mark.parametrize("kind", [0, 6, 255])
def test_a_form_that_the_standard_has_not_reaches_the_handler_as_it_is(serve, connect, kind):
    seen = []

    def handle(event):
        seen.append((event.user_id_type, event.primary_field))
        return False, None

    answer = connect(serve(USER_ID=handle)).associate(identities=(UserIdentityRQ(kind, False, b"x"),))
    assert isinstance(answer, AssociateRJ)
    assert seen == [(kind, b"x")]


def test_who_is_rejected_before_is_not_asked_who_it_is(connect):
    """The AE titles and the room come first: they cost nothing."""
    called = []
    entity = AE("SERVER")
    entity.add_supported_context(VERIFICATION)
    entity.require_called_aet = True
    with entity.start_server((LOCAL, 0), block=False, evt_handlers=[(evt.EVT_USER_ID, called.append)]) as server:
        client = connect(server.server_address[1])
        answer = client.associate(called="OTHER", identities=(UserIdentityRQ(1, True, b"somebody"),))
    assert (answer.result, answer.source, answer.reason) == (1, 1, 7)
    assert called == []


# -- the requestor's side


def test_both_sides_read_the_claim(serve, call):
    seen = []
    port = serve(
        ESTABLISHED=lambda event: seen.append(event.assoc.requestor.user_identity), USER_ID=lambda _: (True, b"R")
    )
    assoc = call(port, identity(5, response=True))
    assoc.send_c_echo()
    for claim in (assoc.requestor.user_identity, seen[0]):
        assert (claim.user_identity_type, claim.primary_field, claim.secondary_field) == (5, b"a.b.c", None)
        assert claim.positive_response_requested
    assert assoc.acceptor.user_identity.server_response == b"R"


def test_no_secret_shows_in_an_identity(serve, call):
    assoc = call(serve(), identity(2))
    assert "secret" not in repr(assoc.requestor.user_identity)
    assert "somebody" not in repr(assoc.requestor.user_identity)


@pytest.mark.parametrize(
    ("items", "error", "rule"),
    [
        ([UserIdentityNegotiation()], ValueError, "user_identity_type is 1 to 5"),
        ([UserIdentityNegotiation(0, b"x")], ValueError, "1 to 5"),
        ([UserIdentityNegotiation(6, b"x")], ValueError, "1 to 5"),
        ([UserIdentityNegotiation(True, b"x")], ValueError, "1 to 5"),
        ([UserIdentityNegotiation(1)], ValueError, "primary_field"),
        ([UserIdentityNegotiation(1, b"")], ValueError, "primary_field"),
        ([UserIdentityNegotiation(1, "text")], TypeError, "primary_field is bytes, not a str"),
        ([UserIdentityNegotiation(2, b"x")], ValueError, "passcode"),
        ([UserIdentityNegotiation(1, b"x", b"y")], ValueError, "secondary_field"),
        ([UserIdentityNegotiation(1, bytes(65_536))], ValueError, "at most 65535 bytes"),
        ([UserIdentityNegotiation(1, b"x", None, 1)], TypeError, "positive_response_requested"),
        ([identity(1), identity(2)], ValueError, "one asynchronous operations window and one user identity"),
        ([AsynchronousOperationsWindowNegotiation()] * 2, ValueError, "one asynchronous"),
        ([AsynchronousOperationsWindowNegotiation(-1, 1)], ValueError, "maximum_number_operations_invoked is 0"),
        ([AsynchronousOperationsWindowNegotiation(1, 65_536)], ValueError, "performed is 0"),
        ([AsynchronousOperationsWindowNegotiation("1", 1)], TypeError, "is a number"),
        ([SOPClassExtendedNegotiation()], ValueError, "UID"),
        ([SOPClassExtendedNegotiation("1.2.a", b"")], ValueError, "UID"),
        ([SOPClassExtendedNegotiation(CT, "text")], TypeError, "is bytes"),
        ([SOPClassCommonExtendedNegotiation(CT, "")], ValueError, "UID"),
        ([SOPClassCommonExtendedNegotiation(CT, STORAGE_SERVICE, ["x"])], ValueError, "UID"),
        ([SCP_SCU_RoleSelectionNegotiation(CT)], ValueError, "scu_role or scp_role"),
        ([SCP_SCU_RoleSelectionNegotiation(CT, False, False)], ValueError, "scu_role or scp_role"),
        ([SCP_SCU_RoleSelectionNegotiation(CT, 1, 0)], TypeError, "scu_role is True, False or None"),
        ([SCP_SCU_RoleSelectionNegotiation(None, True)], TypeError, "sop_class_uid"),
        ([(CT, True, False)], TypeError, r"ext_neg\[0\] is a tuple"),
        (["x"], TypeError, r"ext_neg\[0\]"),
    ],
)
def test_an_item_that_is_wrong_is_refused_before_anything_is_sent(call, free_port, items, error, rule):
    """With the name of the field, its value and the rule."""
    with pytest.raises(error, match=rule):
        call(free_port, *items)


# -- other peers

OPTIONS = {
    1: lambda _: ("-usr", "somebody"),
    2: lambda _: ("-usr", "somebody", "-pwd", "secret"),
    3: lambda path: ("-kt", path),
    4: lambda path: ("--saml", path),
    5: lambda path: ("--jwt", path),
}


@pytest.mark.interop
@pytest.mark.parametrize("is_verified", [True, False])
@pytest.mark.parametrize("kind", FORMS)
def test_storescu_says_who_it_is(serve, peer, tmp_path, kind, is_verified):
    """Every option of DCMTK's for it, with a positive response, which DCMTK insists on."""
    seen = []
    token = tmp_path / "token"
    primary, secondary = FORMS[kind]
    token.write_bytes(primary)

    def handle(event):
        seen.append((event.user_id_type, event.primary_field, event.secondary_field, event.positive_response_requested))
        return is_verified, b"answer"

    port = serve(USER_ID=handle, C_STORE=lambda _: 0x0000)
    file = tmp_path / "one.dcm"
    file.write_bytes(small())
    done = subprocess.run(
        [peer("storescu"), "-v", *map(str, OPTIONS[kind](token)), "-rsp", LOCAL, str(port), str(file)],
        check=False,
        timeout=PATIENCE,
        capture_output=True,
    )
    assert seen == [(kind, primary, secondary or None, True)]
    out = (done.stdout + done.stderr).decode()
    assert (done.returncode == 0) == is_verified, out
    if not is_verified:
        assert "Rejected Permanent" in out
        assert "ACSE" in out


def small() -> bytes:
    """A DICOM file, made by scpd itself."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.PatientID = CT, "1.2.3", "P"
    return FileMeta(IMPLICIT, "SCU").header(CT, "1.2.3") + data.encode(dataset, IMPLICIT)


@pytest.mark.interop
@pytest.mark.parametrize("program", ["echoscu"])
def test_echoscu_says_nothing_and_is_not_asked(serve, peer, program):
    called = []
    port = serve(USER_ID=called.append)
    subprocess.run([peer(program), LOCAL, str(port)], check=True, timeout=PATIENCE)
    assert called == []


@pytest.mark.interop
@pytest.mark.parametrize("is_verified", [True, False])
@pytest.mark.parametrize("kind", FORMS)
def test_pynetdicom_says_who_it_is_and_reads_the_answer(serve, peer, kind, is_verified):
    pynetdicom = peer("pynetdicom")
    theirs = pynetdicom.pdu_primitives.UserIdentityNegotiation
    item = theirs()
    item.user_identity_type, item.positive_response_requested = kind, True
    item.primary_field = FORMS[kind][0]
    if FORMS[kind][1]:
        item.secondary_field = FORMS[kind][1]
    seen = []
    port = serve(
        USER_ID=lambda event: seen.append((event.user_id_type, event.primary_field)) or (is_verified, b"answer")
    )
    entity = pynetdicom.AE()
    entity.add_requested_context(VERIFICATION, IMPLICIT)
    assoc = entity.associate(LOCAL, port, ext_neg=[item])
    for _ in range(4):
        if is_verified or assoc.acceptor.primitive:
            break
        seen.clear()  # now and then it takes a rejection for an abort, whoever sends it
        assoc = entity.associate(LOCAL, port, ext_neg=[item])
    assert seen == [(kind, FORMS[kind][0])]
    assert assoc.is_established is is_verified  # is_rejected it does not always know
    if is_verified:
        (answer,) = [one for one in assoc.acceptor.user_information if isinstance(one, theirs)]
        assert answer.server_response == (b"answer" if kind > 2 else b"")
        assoc.release()
    else:
        rejection = assoc.acceptor.primitive
        assert (rejection.result, rejection.result_source, rejection.diagnostic) == (1, 2, 1)


class Theirs:
    """pynetdicom's acceptor, with what its handlers give."""

    def __init__(self, pynetdicom) -> None:
        self.seen: list = []
        self.given: tuple = (True, b"answer")
        evt_ = pynetdicom.evt
        entity = pynetdicom.AE()
        for uid in (VERIFICATION, CT, FIND):
            entity.add_supported_context(uid, IMPLICIT)
        handlers = [(evt_.EVT_USER_ID, self._identify), (evt_.EVT_SOP_EXTENDED, self._extended)]
        handlers += [(evt_.EVT_SOP_COMMON, self._common), (evt_.EVT_ASYNC_OPS, self._window)]
        self.server = entity.start_server((LOCAL, 0), block=False, evt_handlers=handlers)
        self.port = self.server.server_address[1]

    def _identify(self, event):
        self.seen.append((event.user_id_type, event.primary_field, event.secondary_field or b""))
        return self.given

    def _extended(self, event):
        if event.app_info:
            self.seen.append({str(uid): information for uid, information in event.app_info.items()})
        return {uid: information + b"\1" for uid, information in event.app_info.items()}

    def _common(self, event):
        if event.items:
            self.seen.append({str(uid): str(item.service_class_uid) for uid, item in event.items.items()})
        return event.items

    def _window(self, event):
        self.seen.append((event.nr_invoked, event.nr_performed))
        return 3, 4


@pytest.fixture(scope="module")
def their_server(peer):
    made = Theirs(peer("pynetdicom"))
    yield made
    made.server.shutdown()


@pytest.fixture
def theirs(their_server):
    their_server.seen.clear()
    their_server.given = (True, b"answer")
    return their_server


@pytest.mark.interop
@pytest.mark.parametrize("is_verified", [True, False])
@pytest.mark.parametrize("kind", FORMS)
def test_pynetdicom_is_told_who_we_are(theirs, call, kind, is_verified):
    theirs.given = (is_verified, b"answer")
    assoc = call(theirs.port, identity(kind, response=True))
    assert theirs.seen == [(kind, *FORMS[kind])]
    assert assoc.is_established == is_verified
    if not is_verified:  # for now, it says, where PS3.7 D.3.3.7 has the permanent rejection
        assert rejected(assoc) == (2, 2, 1)
    elif kind > 2:
        assert assoc.acceptor.user_identity.server_response == b"answer"
    else:  # it answers types 1 and 2 never
        assert assoc.acceptor.user_identity is None


# -- the asynchronous operations window


@pytest.mark.parametrize("proposed", [(1, 1), (0, 0), (5, 7), (65535, 65535)])
def test_a_window_is_answered_one_one_unless_handled(serve, call, proposed):
    assoc = call(serve(), AsynchronousOperationsWindowNegotiation(*proposed))
    assert assoc.acceptor.asynchronous_operations == (1, 1)
    assert assoc.requestor.asynchronous_operations == proposed


def test_a_window_that_nobody_proposed_is_not_answered(serve, connect):
    called = []
    client = connect(serve(ASYNC_OPS=called.append))
    assert client.associate().user_information.window is None
    assert called == []


@pytest.mark.parametrize(
    ("proposed", "given", "answered"),
    [
        ((5, 7), (5, 7), (5, 7)),
        ((5, 7), (2, 3), (2, 3)),
        ((5, 7), (6, 8), (5, 7)),
        ((5, 7), (0, 0), (5, 7)),
        ((0, 0), (0, 0), (0, 0)),
        ((0, 0), (9, 0), (9, 0)),
        ((0, 3), (4, 0), (4, 3)),
        ((5, 7), [4, 4], (4, 4)),
        ((5, 7), (-1, 2), (1, 1)),
        ((5, 7), (5,), (1, 1)),
        ((5, 7), None, (1, 1)),
        ((5, 7), ("5", "7"), (1, 1)),
        ((65535, 65535), (70_000, 1), (65535, 1)),
        ((0, 0), (1, 70_000), (1, 65535)),
        ((5, 7), (True, 1), (1, 1)),
        ((0, 0), (65_535, 65_535), (65_535, 65_535)),
    ],
)
def test_a_handled_window_is_never_beyond_what_was_proposed(serve, call, proposed, given, answered):
    """0 is without limit; what is no window of two numbers is 1, 1 (PS3.7 D.3.3.3)."""
    seen = []

    def handle(event):
        seen.append((event.nr_invoked, event.nr_performed))
        return given

    assoc = call(serve(ASYNC_OPS=handle), AsynchronousOperationsWindowNegotiation(*proposed))
    assert assoc.acceptor.asynchronous_operations == answered
    assert seen == [proposed]


def test_a_window_handler_that_raises_is_one_one_and_logged(serve, call, log):
    assoc = call(serve(ASYNC_OPS=raises), AsynchronousOperationsWindowNegotiation(5, 5))
    assert assoc.acceptor.asynchronous_operations == (1, 1)
    assert [line for line in log() if "EVT_ASYNC_OPS failed" in line and "ZeroDivisionError" in line]


@pytest.mark.interop
def test_pynetdicom_answers_a_window(theirs, call):
    assoc = call(theirs.port, AsynchronousOperationsWindowNegotiation(5, 7))
    assert theirs.seen == [(5, 7)]
    assert assoc.is_established
    assert assoc.acceptor.asynchronous_operations == (1, 1), "pynetdicom answers 1, 1 whatever its handler gives"


# -- SOP class extended


def test_extended_negotiation_is_answered_as_the_handler_says(serve, call):
    seen = []

    def handle(event):
        seen.append(event.app_info)
        return {CT: b"\1", "1.2.3.4": b"never asked for"}

    assoc = call(
        serve(SOP_EXTENDED=handle), SOPClassExtendedNegotiation(CT, b"\2\3"), SOPClassExtendedNegotiation(FIND, b"\0")
    )
    assert seen == [{CT: b"\2\3", FIND: b"\0"}]
    assert assoc.acceptor.sop_class_extended == {CT: b"\1"}
    assert assoc.requestor.sop_class_extended == {CT: b"\2\3", FIND: b"\0"}


def test_extended_negotiation_without_a_handler_is_not_answered(serve, call):
    assoc = call(serve(), SOPClassExtendedNegotiation(CT, b"\2\3"))
    assert assoc.is_established
    assert assoc.acceptor.sop_class_extended == {}


@pytest.mark.parametrize("handler", [raises, lambda _: None, lambda _: {}])
def test_an_extended_negotiation_that_is_not_answered_costs_nothing_else(serve, call, handler):
    assoc = call(serve(SOP_EXTENDED=handler), SOPClassExtendedNegotiation(CT, b"\2\3"))
    assert assoc.acceptor.sop_class_extended == {}
    assert assoc.send_c_echo().Status == 0x0000


NONSENSE = [{CT: "text"}, {CT: None}, [CT], b"\1", 7]


@pytest.mark.parametrize("given", NONSENSE, ids=repr)
def test_an_extended_answer_without_a_meaning_is_none(serve, call, log, given):
    assoc = call(serve(SOP_EXTENDED=lambda _: given), SOPClassExtendedNegotiation(CT, b"\2\3"))
    assert assoc.is_established
    assert assoc.acceptor.sop_class_extended == {}


def test_the_acceptor_reads_what_was_proposed(serve, call):
    seen = []

    def look(event):
        requestor = event.assoc.requestor
        seen.append(
            (requestor.sop_class_extended, requestor.asynchronous_operations, requestor.role_selection[CT].scp_role)
        )

    call(
        serve(REQUESTED=look),
        SOPClassExtendedNegotiation(CT, b"\2"),
        AsynchronousOperationsWindowNegotiation(2, 3),
        SCP_SCU_RoleSelectionNegotiation(CT, True, True),
    )
    assert seen == [({CT: b"\2"}, (2, 3), True)]


@pytest.mark.interop
def test_pynetdicom_answers_extended_negotiation(theirs, call):
    assoc = call(theirs.port, SOPClassExtendedNegotiation(CT, b"\2"), SOPClassExtendedNegotiation(FIND, b"\3"))
    assert theirs.seen == [{CT: b"\2", FIND: b"\3"}]
    assert assoc.acceptor.sop_class_extended == {CT: b"\2\1", FIND: b"\3\1"}


@pytest.mark.interop
def test_pynetdicom_proposes_extended_negotiation(serve, peer):
    primitives = peer("pynetdicom").pdu_primitives
    extended = primitives.SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = CT, b"\2"
    common = primitives.SOPClassCommonExtendedNegotiation()
    common.sop_class_uid, common.service_class_uid = CT, STORAGE_SERVICE
    common.related_general_sop_class_identification = [MR]
    window = primitives.AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 5, 7
    seen = []

    def accept(event):
        item = event.items[CT]
        seen.append((item.service_class_uid, item.related_general_sop_class_identification))
        return event.items

    port = serve(
        SOP_EXTENDED=lambda event: {uid: b"\1" + information for uid, information in event.app_info.items()},
        SOP_COMMON=accept,
        ASYNC_OPS=lambda _: (2, 2),
    )
    entity = peer("pynetdicom").AE()
    entity.add_requested_context(CT, IMPLICIT)
    assoc = entity.associate(LOCAL, port, ext_neg=[extended, common, window])
    assert assoc.is_established
    assert assoc.acceptor.sop_class_extended == {CT: b"\1\2"}
    assert assoc.acceptor.asynchronous_operations == (2, 2)
    assert seen == [(STORAGE_SERVICE, [MR])]
    assoc.release()


# -- SOP class common extended


def test_common_extended_negotiation_is_accepted_by_the_handler_and_never_answered(serve, call, connect):
    """D.3.3.6: the acceptor goes by it, and says nothing; what was not proposed is not accepted."""
    seen, kept = [], []

    def accept(event):
        seen.append(event.items)
        return {CT: event.items[CT], "1.2.3.4": event.items[CT]}

    item = SOPClassCommonExtendedNegotiation(CT, STORAGE_SERVICE, [MR])
    other = SOPClassCommonExtendedNegotiation(FIND, STORAGE_SERVICE)
    port = serve(
        SOP_COMMON=accept, ESTABLISHED=lambda event: kept.append(event.assoc.acceptor.accepted_common_extended)
    )
    assoc = call(port, item, other)
    assoc.send_c_echo()
    assert seen == [{CT: item, FIND: other}]
    assert kept == [{CT: item}]
    assert assoc.requestor.sop_class_common_extended == {CT: item, FIND: other}
    assert assoc.acceptor.sop_class_common_extended == {}
    answer = connect(port).associate(
        {1: (CT, (IMPLICIT,))}, common_extended=(CommonExtended(CT, STORAGE_SERVICE, (MR,)),)
    )
    assert answer.user_information.common_extended == ()


@pytest.mark.parametrize("handler", [raises, lambda _: None, lambda _: {}, None])
def test_common_extended_negotiation_that_is_not_accepted_costs_nothing_else(serve, call, handler):
    handlers = {"SOP_COMMON": handler} if handler else {}
    assoc = call(serve(**handlers), SOPClassCommonExtendedNegotiation(CT, STORAGE_SERVICE))
    assert assoc.send_c_echo().Status == 0x0000


@pytest.mark.parametrize("given", [[CT], 7, "text"], ids=repr)
def test_a_common_extended_answer_without_a_meaning_is_none(serve, call, log, given):
    """And the log says so."""
    kept = []
    port = serve(
        SOP_COMMON=lambda _: given,
        ESTABLISHED=lambda event: kept.append(dict(event.assoc.acceptor.accepted_common_extended)),
    )
    assoc = call(port, SOPClassCommonExtendedNegotiation(CT, STORAGE_SERVICE))
    assert assoc.send_c_echo().Status == 0x0000
    assert kept == [{}]
    assert [line for line in log() if "EVT_SOP_COMMON failed" in line]


@pytest.mark.interop
def test_pynetdicom_accepts_common_extended_negotiation(theirs, call):
    assoc = call(theirs.port, SOPClassCommonExtendedNegotiation(CT, STORAGE_SERVICE, [MR]))
    assert theirs.seen == [{CT: STORAGE_SERVICE}]
    assert assoc.send_c_echo().Status == 0x0000


# -- everything at once, and peers made by hand


def test_all_items_of_one_request_are_answered_in_the_order_of_the_standard(serve, connect):
    """Sub-items in increasing order of their type (PS3.8 9.3.1), and each once."""
    port = serve(
        USER_ID=lambda _: (True, b"answer"),
        ASYNC_OPS=lambda _: (2, 2),
        SOP_EXTENDED=lambda event: event.app_info,
        SOP_COMMON=lambda event: event.items,
    )
    answer = connect(port).associate(
        {1: (CT, (IMPLICIT,))},
        identities=(UserIdentityRQ(4, True, b"<saml/>"),),
        window=AsynchronousOperationsWindow(5, 5),
        extended=(Extended(CT, b"\2"),),
        common_extended=(CommonExtended(CT, STORAGE_SERVICE, ()),),
    )
    information = answer.user_information
    assert information.window == AsynchronousOperationsWindow(2, 2)
    assert information.extended == (Extended(CT, b"\2"),)
    assert information.identity_response == UserIdentityAC(b"answer")
    kinds, rest = [], information.encode()[4:]
    while rest:
        kinds.append(rest[0])
        rest = rest[4 + int.from_bytes(rest[2:4]) :]
    assert kinds == sorted(kinds)


def test_a_window_an_acceptor_answers_beyond_the_proposal_is_readable_and_harms_nobody(serve, call):
    """This side has one operation under way at a time, whatever is answered (D.3.3.3)."""
    assoc = call(serve(), AsynchronousOperationsWindowNegotiation(2, 2))
    for number in range(5):
        assert assoc.send_c_echo(msg_id=number).Status == 0x0000
