"""Access rules and rates of a daemon, met by pynetdicom and DCMTK: who is let in, to what, and what the others are told."""

from __future__ import annotations

import signal
import ssl
from pathlib import Path

import pytest
from cryptography.x509.oid import NameOID

from scpd.wire.contexts import PresentationContextRQ
from scpd.wire.pdu import AssociateAC, AssociateRJ, AssociateRQ
from scpd.wire.user_info import UserInformation

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore::UserWarning")]

VERIFICATION = "1.2.840.10008.1.1"
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
ALL_THREE = [(VERIFICATION, IMPLICIT), (CT, EXPLICIT), (MR, EXPLICIT)]
# A-ASSOCIATE-RJ: result, source, reason.
NOT_WELCOME = (1, 1, 1)
CALLING = (1, 1, 3)
CALLED = (1, 1, 7)
USER = (1, 2, 1)
CONGESTION = (2, 3, 1)
LOCAL_LIMIT = (2, 3, 2)

BY_TITLE = [{"allow": {"calling": ["CT1", "MR*", "U?"], "called": ["ARCHIVE", "B*"]}}, {"deny": "all"}]
BY_CERTIFICATE = [
    {"allow": {"certificate": "CN=ct1.example", "calling": "CT1"}},
    {"allow": {"certificate": ["DNS:*.mr.example", "URI:urn:mr:*"], "calling": "MR*"}},
    {"allow": {"certificate": "IP:10.0.0.7", "calling": "FLOOR7"}},
    {"deny": "all"},
]
BY_USER = [
    {"allow": {"roles": "radiology", "services": ["storage"]}},
    {"allow": {"users": ["bob", "dr.*"], "services": "verification"}},
    {"deny": "all"},
]
IDENTITY = {
    "providers": [
        {"kind": "usernames", "users": ["alice"], "roles": ["radiology"]},
        {"kind": "usernames", "users": ["bob", "dr.who", "eve"]},
    ]
}
BY_SERVICE = [
    {"allow": {"calling": "CT*", "services": ["storage"]}},
    {"allow": {"calling": "MR*", "sop_classes": [MR, "verification"]}},
    {"allow": {"calling": "READER", "may": "read"}},
    {"allow": {"calling": "WRITER", "may": "write"}},
]
IN_ORDER = [
    {"deny": {"calling": "BAD*"}},
    {"allow": {"calling": "BAD1"}},
    {"deny": {"calling": "WORSE", "called": "X"}},
]
LENIENT = [{"allow": {"calling": "OLDCR", "titles": "lenient"}}, {"deny": "all"}]
STRICT = [{"allow": {"calling": ["OLDCR", "*"]}}, {"deny": "all"}]
FOR_ALL = [{"allow": {"server": "archive", "calling": "CT1"}}, {"deny": {"server": "arch*"}}, {"allow": "all"}]
NEAR = [{"allow": {"address": ["127.0.0.2", "127.1.0.0/16"]}}, {"deny": "all"}]


@pytest.fixture(scope="module")
def one(shared_daemon, authority, house):
    """One daemon with a server for each list of rules."""
    tls = {"certificate": str(house.chain), "key": str(house.key), "ca": str(authority.certificate)}
    roles = ["verification", {"sop_classes": ["CTImageStorage"], "scu_role": True, "scp_role": True}]
    return shared_daemon(
        access=FOR_ALL,
        servers=[
            {"name": "archive"},
            {"name": "annex"},
            {"name": "near", "access": NEAR},
            {"name": "near, under TLS", "access": NEAR, "tls": tls},
            {"name": "six", "access": [{"allow": {"address": "127.0.0.1"}}, {"deny": "all"}], "bind": "[::]:0"},
            {"name": "titles", "access": BY_TITLE},
            {"name": "certificates", "access": BY_CERTIFICATE, "tls": {**tls, "client": "optional"}},
            {"name": "users", "access": BY_USER, "user_identity": IDENTITY},
            {"name": "services", "access": BY_SERVICE},
            {"name": "roles", "access": BY_SERVICE, "contexts": roles},
            {"name": "order", "access": IN_ORDER},
            {"name": "lenient", "access": LENIENT},
            {"name": "strict", "access": STRICT},
            {"name": "per address", "access": [], "limits": {"rate_per_address": "3/h"}},
            {"name": "per title", "access": LENIENT[:1], "limits": {"rate_per_title": "3/h"}},
            {
                "name": "per title, guarded",
                "access": [{"allow": {"address": "127.0.0.2"}}, {"deny": {"calling": "CT1"}}],
                "limits": {"rate_per_title": "1/h"},
            },
        ],
    )


@pytest.fixture
def ask(one, requestor):
    """Ask a server by its name; the association if it is established, else the three numbers of the rejection."""

    def associate(server: str, contexts=((VERIFICATION, IMPLICIT),), source: str = "127.0.0.1", **more):
        more["bind_address"] = (source, 0)
        before = len(rejections(one, server))
        association = requestor(one.port_of(server), contexts, **more)
        if association.refusal:  # which the log tells a moment later
            one.wait_for_logs(
                lambda line: line["event"] == "association rejected" and line["server"] == server, before + 1
            )
        return association if association.is_established else association.refusal

    return associate


def rejections(one, server: str) -> list[dict]:
    return [line for line in one.logs if line["event"] == "association rejected" and line["server"] == server]


def last_rejection(one, server: str) -> dict:
    return rejections(one, server)[-1]


def rule_of(line: dict) -> str:
    """The line of the configuration that a log line points to."""
    file, _, number = line["where"].rpartition(":")
    return Path(file).read_text().splitlines()[int(number) - 1].strip()


# -- addresses


@pytest.mark.parametrize("source", ["127.0.0.2", "127.1.0.1", "127.1.255.254"])
def test_an_address_or_a_network_lets_in(ask, source):
    association = ask("near", source=source)
    assert association.send_c_echo().Status == 0x0000
    association.release()


@pytest.mark.parametrize("server", ["near", "near, under TLS"])
def test_a_strange_address_is_closed_before_a_byte_is_read_or_said(one, connect, server):
    """So that it costs neither a thread nor a handshake; one line a minute for it, and all of them are counted."""
    for _ in range(6):  # the last shows that those before were counted
        assert connect(one.port_of(server)).receive() is None
    one.send_signal(signal.SIGUSR1)
    state = one.wait_for_log(
        lambda line: line["event"] == "state" and line["server"] == server and line["turned_away"] >= 5
    )
    assert state["connections"] == 0
    (line,) = [line for line in one.logs if line["event"] == "connection turned away" and line["server"] == server]
    assert (line["level"], line["peer"], line["key"]) == ("warning", "127.0.0.1", "access[1]")
    assert rule_of(line) == "- deny: all"


def test_nobody_waits_in_line_behind_those_who_are_turned_away(one, ask, connect):
    crowd = [connect(one.port_of("near")) for _ in range(100)]
    association = ask("near", source="127.0.0.2")
    assert association.send_c_echo().Status == 0x0000
    association.release()
    assert all(client.receive() is None for client in crowd)


def test_an_ipv4_peer_of_an_ipv6_socket_is_taken_for_what_it_is(one, connect):
    assert isinstance(connect(one.port_of("six")).associate(), AssociateAC)
    assert connect(one.port_of("six"), host="::1").receive() is None


# -- titles


@pytest.mark.parametrize(
    ("calling", "called", "answer"),
    [
        ("CT1", "ARCHIVE", None),
        ("MR", "BACKUP", None),
        ("MRSCANNER2", "ARCHIVE", None),
        ("U1", "B", None),
        ("U12", "B", CALLING),
        ("ct1", "ARCHIVE", CALLING),
        ("CT", "ARCHIVE", CALLING),
        ("XCT1", "ARCHIVE", CALLING),
        ("CT1", "ARCHIVE2", CALLED),
        ("SPY", "NOWHERE", CALLING),
    ],
)
def test_titles_let_in_or_are_named_as_the_reason(one, ask, calling, called, answer):
    answered = ask("titles", calling=calling, called=called)
    if answer is None:
        answered.release()
        line = one.wait_for_log(lambda line: line["event"] == "association" and line["calling"] == calling)
        assert line["access"] == "access[0]"
        return
    assert answered == answer
    line = last_rejection(one, "titles")
    named = calling if answer == CALLING else called
    assert line["why"].endswith(f"AE title '{named}' is not let in")
    assert line["key"] == "access[1]"
    assert rule_of(line) == "- deny: all"


def test_echoscu_sees_which_title_was_wrong(one, peer, run):
    done = run(peer("echoscu"), "-aet", "SPY", "-aec", "ARCHIVE", "127.0.0.1", one.port_of("titles"))
    assert "Reason: Calling AE Title Not Recognized" in done.stdout
    done = run(peer("echoscu"), "-aet", "CT1", "-aec", "SPY", "127.0.0.1", one.port_of("titles"))
    assert "Reason: Called AE Title Not Recognized" in done.stdout


def test_the_first_rule_that_matches_decides_and_whom_none_matches_is_let_in(one, ask):
    assert ask("order", calling="BAD1") == CALLING
    assert last_rejection(one, "order")["key"] == "access[0]"
    assert ask("order", calling="GOOD").is_established
    assert ask("order", calling="WORSE").is_established
    # Another title of either kind would be let in: the calling one is named.
    assert ask("order", calling="WORSE", called="X") == CALLING
    assert last_rejection(one, "order")["key"] == "access[2]"


def test_rules_at_the_top_are_for_all_servers_or_for_those_they_name(ask):
    assert ask("archive", calling="CT1").is_established
    assert ask("archive", calling="CT2") == CALLING
    assert ask("annex", calling="CT2").is_established


# -- certificates


@pytest.fixture
def shows(authority):
    """A context with a certificate of the CA of the house, by its names."""

    def context(name: object, *alternatives: str):
        made = ssl.create_default_context(cafile=str(authority.certificate))
        if name:
            device = authority.issue(name, use="client", alternatives=alternatives)
            made.load_cert_chain(device.chain, device.key)
        return {"tls_args": (made, "localhost")}

    return context


@pytest.mark.parametrize(
    ("names", "calling", "answer"),
    [
        (("ct1.example",), "CT1", None),
        (("CT1.EXAMPLE",), "CT1", None),  # names of machines have no case
        (("anything", "DNS:seven.mr.example"), "MR7", None),
        (("anything", "DNS:other.example", "URI:urn:mr:9"), "MR9", None),
        (("anything", "IP:10.0.0.7"), "FLOOR7", None),
        # A good certificate, and not for who it says to be.
        (("ct1.example",), "PACS", CALLING),
        (("ct1.example",), "MR1", CALLING),
        (("anything", "DNS:seven.mr.example"), "CT1", CALLING),
        # A good certificate for nobody here, and none at all.
        (("ct2.example",), "CT1", NOT_WELCOME),
        (("",), "CT1", NOT_WELCOME),
    ],
)
def test_a_certificate_is_bound_to_a_title(one, ask, shows, names, calling, answer):
    answered = ask("certificates", calling=calling, **shows(*names))
    if answer:
        assert answered == answer
        assert last_rejection(one, "certificates")["key"] == "access[3]"
    else:
        assert answered.send_c_echo().Status == 0x0000
        answered.release()


@pytest.mark.parametrize(
    "name",
    [
        "ct1.example\0",
        "ct1.example ",
        "x,CN=ct1.example",
        "x\nCN=ct1.example",
        "x/CN=ct1.example",
        [(NameOID.ORGANIZATION_NAME, "CN=ct1.example"), (NameOID.COMMON_NAME, "x")],
        [(NameOID.ORGANIZATION_NAME, "ct1.example")],
        [(NameOID.EMAIL_ADDRESS, "ct1.example")],
        "*",
    ],
    ids=["NUL", "space", "comma", "newline", "slash", "another attribute", "organization", "email", "star"],
)
def test_a_name_that_only_looks_like_another_is_another(ask, shows, name):
    assert ask("certificates", calling="CT1", **shows(name)) == NOT_WELCOME


@pytest.mark.parametrize("alternative", ["DNS:ct1.example", "URI:CN=ct1.example", "email:ct1.example@mr.example"])
def test_an_alternative_name_is_no_common_name(ask, shows, alternative):
    assert ask("certificates", calling="CT1", **shows("x", alternative)) == NOT_WELCOME


# -- users


@pytest.mark.parametrize(
    ("user", "results"),
    [
        ("alice", {VERIFICATION: 1, CT: 0, MR: 0}),
        ("bob", {VERIFICATION: 0, CT: 1, MR: 1}),
        ("dr.who", {VERIFICATION: 0, CT: 1, MR: 1}),
    ],
)
def test_a_user_or_a_role_lets_in_to_its_services(ask, user, results):
    association = ask("users", ALL_THREE, identity=(1, user.encode()))
    assert answers(association) == results
    association.release()


@pytest.mark.parametrize(
    ("identity", "key", "why"),
    [
        (None, "access[2]", "without a verified user it is not let in"),
        ((1, b"eve"), "access[2]", "user 'eve' is not let in"),
        ((1, b"mallory"), "user_identity.providers[1]", "'mallory' is not among the users"),
        ((2, b"alice", b"anything"), "access[2]", "without a verified user it is not let in"),  # no provider for it
    ],
)
def test_who_is_not_the_right_user_is_rejected_as_ps3_7_has_it(one, ask, identity, key, why):
    assert ask("users", calling="WHO", identity=identity) == USER
    line = last_rejection(one, "users")
    assert (line["key"], line["why"]) == (key, why)


# -- services


def answers(association) -> dict[str, int]:
    """The result of each presentation context: 0 acceptance, 1 user-rejection (PS3.8 table 9-18)."""
    contexts = (*association.accepted_contexts, *association.rejected_contexts)
    return {str(context.abstract_syntax): context.result for context in contexts}


@pytest.mark.parametrize(
    ("calling", "results"),
    [
        ("CT1", {VERIFICATION: 1, CT: 0, MR: 0}),
        ("MR1", {VERIFICATION: 0, CT: 1, MR: 0}),
        ("READER", {VERIFICATION: 0, CT: 1, MR: 1}),
        ("WRITER", {VERIFICATION: 0, CT: 0, MR: 0}),
        ("ANYBODY", {VERIFICATION: 0, CT: 0, MR: 0}),
    ],
)
def test_what_a_peer_may_not_costs_the_context_and_not_the_association(one, ask, calling, results):
    association = ask("services", ALL_THREE, calling=calling)
    assert answers(association) == results
    association.release()
    line = one.wait_for_log(
        lambda line: line["event"] == "association" and (line["calling"], line["server"]) == (calling, "services")
    )
    assert len(line["rejected_contexts"]) == sum(results.values())
    assert all("this peer may not write" in one or "is not allowed to this peer" in one for one in line["rejected_contexts"])  # fmt: skip


def test_what_is_neither_allowed_nor_supported_is_answered_as_not_supported(ask):
    """It is no user's fault, and a client may tell the two apart."""
    find = "1.2.840.10008.5.1.4.1.2.2.1"
    association = ask("services", [(CT, EXPLICIT), (find, IMPLICIT)], calling="CT1")
    assert answers(association) == {CT: 0, find: 3}
    association.release()


@pytest.mark.parametrize(
    ("calling", "proposed", "result"),
    [
        # As SCP the peer is given instances (C-GET): it reads. As SCU it brings them.
        ("READER", (False, True), 0),
        ("READER", (True, False), 1),
        ("READER", (True, True), 1),
        ("WRITER", (False, True), 1),
        ("WRITER", (True, False), 0),
        ("WRITER", (True, True), 1),
        ("ANYBODY", (True, True), 0),
    ],
)
def test_whether_a_peer_reads_or_writes_is_decided_by_its_roles(ask, peer, calling, proposed, result):
    role = peer("pynetdicom").build_role(CT, *proposed)
    association = ask("roles", ALL_THREE[:2], calling=calling, ext_neg=[role])
    assert answers(association) == {VERIFICATION: 0, CT: result}
    association.release()


def test_storescu_is_told_that_nothing_of_its_own_is_accepted(one, peer, run, shipped):
    ct = next(one for one in shipped if one.path.name == "CT_small.dcm")
    done = run(peer("storescu"), "-R", "-aet", "READER", "127.0.0.1", one.port_of("services"), ct.path)
    assert done.returncode != 0
    assert "No Acceptable Presentation Contexts" in done.stdout
    assert one.stored() == []


# -- titles as old devices write them


def request(calling: bytes, called: bytes = b"ANY") -> bytes:
    return AssociateRQ(
        called_field=called.ljust(16),
        calling_field=calling.ljust(16),
        user_information=UserInformation(maximum_length=16384, implementation_class_uid="1.2.3"),
        presentation_contexts=(PresentationContextRQ(1, VERIFICATION, (IMPLICIT,)),),
    ).encode()


@pytest.mark.parametrize(
    ("calling", "called", "warnings"),
    [
        (b"OLDCR", b"ANY", None),
        (b"OLDCR" + bytes(11), b"ANY", ["the calling AE title is padded with NUL (titles: lenient)"]),
        (b"OLDCR          \0", b"ANY", ["the calling AE title is padded with NUL (titles: lenient)"]),
        (b"OLDCR\0", b"ANY", ["the calling AE title is padded with NUL (titles: lenient)"]),
        (b"", b"ANY", ["the calling AE title is blank (titles: lenient)"]),
        (bytes(16), b"ANY", ["the calling AE title is blank (titles: lenient)"]),
        (b"OLDCR", bytes(16), ["the called AE title is blank (titles: lenient)"]),
        (b"OLDCR" + bytes(11), b"ANY" + bytes(13), 2),
    ],
)
def test_lenient_takes_titles_that_break_the_rules_and_notes_it(one, connect, calling, called, warnings):
    before = [line for line in one.logs if line.get("server") == "lenient"]
    client = connect(one.port_of("lenient"))
    client.send(request(calling, called))
    assert isinstance(client.receive(), AssociateAC)
    client.release()
    (line,) = one.wait_for_logs(
        lambda line: line["event"] == "association" and line["server"] == "lenient" and line not in before, 1
    )
    assert line["level"] == ("warning" if warnings else "info")
    assert line.get("warnings") == warnings or len(line["warnings"]) == warnings


@pytest.mark.parametrize("calling", [b"OLDCR" + bytes(11), b"", bytes(16), b"\0OLDCR"])
def test_strict_takes_none_of_them_whatever_the_patterns_are(connect, one, calling):
    client = connect(one.port_of("strict"))
    client.send(request(calling))
    assert client.receive() == AssociateRJ(*CALLING)


@pytest.mark.parametrize("calling", [b"OLDCR2", b"OLD\0CR", b"XOLDCR\0"])
def test_lenient_is_no_way_around_the_title_itself(connect, one, calling):
    client = connect(one.port_of("lenient"))
    client.send(request(calling))
    assert client.receive() == AssociateRJ(*CALLING)


# -- rates


def test_an_address_that_asks_too_often_is_rejected_transiently_and_no_other(one, ask):
    for _ in range(3):
        ask("per address").release()
    assert ask("per address") == LOCAL_LIMIT
    assert ask("per address", source="127.0.0.2").is_established
    assert last_rejection(one, "per address")["key"] == "limits.rate_per_address"
    assert rule_of(last_rejection(one, "per address")) == "rate_per_address: 3/h"


def test_a_title_that_asks_too_often_is_rejected_transiently_from_wherever(one, ask):
    for source in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
        ask("per title", calling="CT1", source=source).release()
    assert ask("per title", calling="CT1", source="127.0.0.4") == CONGESTION
    assert ask("per title", calling="CT2").is_established
    assert last_rejection(one, "per title")["key"] == "limits.rate_per_title"


def test_a_stranger_cannot_use_up_what_a_title_may_ask_for(ask):
    for _ in range(3):
        assert ask("per title, guarded", calling="CT1") == CALLING
    assert ask("per title, guarded", calling="CT1", source="127.0.0.2").is_established
    assert ask("per title, guarded", calling="CT1", source="127.0.0.2") == CONGESTION


def test_nothing_failed_and_no_text_of_a_peer_made_a_line_of_the_log(one):
    """The last of this file."""
    assert not [line for line in one.logs if line.get("level") == "error" or "raw" in line]
