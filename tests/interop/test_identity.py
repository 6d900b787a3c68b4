"""User identity in its five forms, from pynetdicom, DCMTK and scpd's own commands, verified by real issuers."""

from __future__ import annotations

import base64
import hmac
import json
import ssl
import subprocess
import sys
import time
from pathlib import Path

import gssapi
import pytest
from components.directory import PASSCODES, TEMPLATE, Directory
from components.issuers import (
    SAML,
    SAMLP,
    AssertionIssuer,
    TokenIssuer,
    encoded,
    signature_template,
    xmlsec1,
)
from components.realm import INTEGRITY, OTHER_SERVICE, SERVICE, SPNEGO, Realm
from pydicom.dataset import Dataset, FileMetaDataset

from scpd.cli.main import main
from scpd.sop_class import STORAGE
from scpd.wire.pdu import AssociateAC, AssociateRJ
from scpd.wire.user_info import UserIdentityAC, UserIdentityRQ

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore::UserWarning")]

CT = "1.2.840.10008.5.1.4.1.1.2"
NAMES = {1: "username", 2: "username and passcode", 3: "Kerberos ticket", 4: "SAML assertion", 5: "JSON Web Token"}
KINDS = {1: "usernames", 2: "passwords", 3: "kerberos", 4: "saml", 5: "jwt"}
FORMS = pytest.mark.parametrize("form", NAMES)
REJECTED = (1, 2, 1)
WHOEVER = "no user of ours"
ROOM = 65_000  # for a field, in an item that has room for 65,535 bytes of user information
PASSCODE = "tapir-ocarina-93"
secrets: list[bytes] = []
"""Everything that may never stand in a log."""


@pytest.fixture(scope="module")
def realm():
    with Realm() as one:
        yield one


@pytest.fixture(scope="module")
def directory():
    with Directory() as one:
        yield one


@pytest.fixture(scope="module")
def tokens(authority, house):
    """Issues tokens, and serves its keys under TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(house.chain, house.key)
    with TokenIssuer(tls=context) as issuer:
        yield issuer


@pytest.fixture(scope="module")
def assertions(tmp_path_factory):
    xmlsec1()
    return AssertionIssuer(tmp_path_factory.mktemp("idp"))


@pytest.fixture(scope="module")
def attacker(tmp_path_factory, assertions):
    """Somebody with keys of his own, who says he is the issuer."""
    return AssertionIssuer(tmp_path_factory.mktemp("attacker")), TokenIssuer()


@pytest.fixture(scope="module")
def users(tmp_path_factory) -> Path:
    """A password file as scpd passwd makes it: alice, and a user whose name needs care."""
    file = tmp_path_factory.mktemp("users") / "users"
    for user, roles in (("alice", "radiology"), ("O'Brien, Zoë", "")):
        command = [sys.executable, "-m", "scpd", "passwd", str(file), user, "--roles", roles]
        subprocess.run(command, input=PASSCODE + "\n", text=True, check=True, stdout=subprocess.DEVNULL)
    return file


@pytest.fixture(scope="module")
def one(shared_daemon, realm, directory, tokens, assertions, users, authority):
    """A server for each policy, all with every provider but where it says otherwise."""
    jwt = {"kind": "jwt", "issuer": tokens.issuer, "audience": "scpd"}
    keys = tokens.write(users.parent / "jwks.json")
    passwords = {"kind": "passwords", "file": str(users)}
    ldap = {"kind": "ldap", "url": directory.ldaps, "user": TEMPLATE, "ca": str(directory.ca), "roles": "memberOf"}
    every = [
        {"kind": "usernames", "users": ["alice", "Zoë"], "roles": ["radiology"]},
        passwords,
        {"kind": "kerberos", "keytab": str(realm.keytab(SERVICE)), "service": SERVICE, "realms": [realm.name]},
        {"kind": "saml", "issuer": assertions.issuer, "certificate": str(assertions.certificate), "audience": "scpd"},
        {**jwt, "keys": str(keys)},
    ]
    always = {"lockout": {"failures": 0}, "providers": every}
    served = {"providers": [{**jwt, "keys": tokens.url, "ca": str(authority.certificate)}]}
    servers = [
        {"name": "accept", "user_identity": {"policy": "accept", **always}},
        {"name": "require", "user_identity": {"policy": "require", **always}},
        {"name": "ignore", "user_identity": {"policy": "ignore", **always}},
        {"name": "silent", "user_identity": {"respond": False, **always}},
        {"name": "picky", "user_identity": {"unsupported": "reject", "providers": every[:1]}},
        {"name": "directory", "user_identity": {"policy": "require", "providers": [ldap]}},
        {"name": "several", "user_identity": {"policy": "require", "providers": [passwords, ldap]}},
        {"name": "served", "user_identity": {"policy": "require", **served}},
    ]
    each_by_itself = json.loads(json.dumps(servers))  # else YAML says of the second that it is like the first
    running = shared_daemon(env=realm.settings(), servers=each_by_itself)
    yield running
    assert not [line for line in running.logs if line.get("level") == "error" or "raw" in line], running.lines


class Kerberos:
    """A ticket that asks the service to prove itself, made by the system's library."""

    def __init__(self, service: str = SERVICE) -> None:
        name = gssapi.Name(service, gssapi.NameType.kerberos_principal)
        flags = gssapi.RequirementFlag.mutual_authentication
        self._context = gssapi.SecurityContext(name=name, flags=flags, usage="initiate")
        self.token = self._context.step()

    def is_proven_by(self, response: bytes) -> bool:
        self._context.step(response)
        return self._context.complete


@pytest.fixture(scope="module")
def tickets(realm):
    """Alice's."""
    return realm.kinit("alice")


@pytest.fixture(autouse=True)
def _live_in(realm, tickets, monkeypatch):
    """This process has alice's tickets."""
    for name, value in realm.settings(tickets).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def good(tokens, assertions):
    """An identity of alice's that holds, anew each time: its fields."""

    def make(form: int) -> tuple[bytes, ...]:
        made = {
            1: lambda: (b"alice",),
            2: lambda: (b"alice", PASSCODE.encode()),
            3: lambda: (Kerberos().token,),
            4: lambda: (assertions.assertion(),),
            5: lambda: (tokens.token(),),
        }[form]()
        secrets.extend(made if form > 2 else made[1:])
        return made

    return make


@pytest.fixture
def bad(tokens, assertions, attacker):
    """One that does not: its fields."""

    def make(form: int) -> tuple[bytes, ...]:
        made = {
            1: lambda: (WHOEVER.encode(),),
            2: lambda: (b"alice", b"tapir-ocarina-94"),
            3: lambda: (Kerberos(OTHER_SERVICE).token,),
            4: lambda: (attacker[0].assertion(),),
            5: lambda: (attacker[1].token(),),
        }[form]()
        secrets.extend(made if form > 2 else made[1:])
        return made

    return make


def answered(association) -> bytes | None:
    """The Server-response of a positive answer, or None where there was no answer."""
    items = association.acceptor.primitive.user_information
    found = [item.server_response or b"" for item in items if type(item).__name__ == "UserIdentityNegotiation"]
    assert len(found) < 2
    return found[0] if found else None


def line_of(one, calling: str) -> dict:
    """The line of the association, or of its rejection, of ``calling``."""
    return one.wait_for_log(lambda line: line.get("calling") == calling)


# -- what holds and what does not, by pynetdicom


@FORMS
@pytest.mark.parametrize("respond", [True, False])
def test_who_is_verified_is_let_in_and_told_so_where_he_asks(one, requestor, good, form, respond):
    """PS3.7 D.3.3.7.2: the response is empty, but for Kerberos, where the service proves itself in it."""
    calling = f"GOOD{form}{respond}"
    ticket = Kerberos()
    fields = (ticket.token,) if form == 3 else good(form)
    association = requestor(one.port_of("require"), calling=calling, identity=(form, *fields), respond=respond)
    assert association.is_established
    response = answered(association)
    if not respond:
        assert response is None
    elif form == 3:
        assert ticket.is_proven_by(response)
        secrets.append(response)
    else:
        assert response == b""
    assert association.send_c_echo().Status == 0x0000
    association.release()
    line = line_of(one, calling)
    assert (line["event"], line["level"]) == ("association", "info")
    assert (line["identity"], line["user"]) == (NAMES[form], "alice")
    assert "claimed_user" not in line


@FORMS
@pytest.mark.parametrize("respond", [True, False])
@pytest.mark.parametrize("policy", ["accept", "require"])
def test_who_is_not_is_rejected_permanently_by_the_service_provider(one, requestor, bad, form, respond, policy):
    """PS3.7 D.3.3.7: with no reason given; the reason stands in the log."""
    calling = f"BAD{form}{respond}{policy[:3]}"
    fields = bad(form)
    association = requestor(one.port_of(policy), calling=calling, identity=(form, *fields), respond=respond)
    assert association.refusal == REJECTED
    line = line_of(one, calling)
    assert (line["event"], line["level"]) == ("association rejected", "warning")
    assert line["identity"] == NAMES[form]
    assert line["key"] == f"user_identity.providers[{form - 1}]"
    assert line["why"]
    file, _, number = line["where"].rpartition(":")
    assert Path(file) == one.config
    assert f"kind: {KINDS[form]}" in one.config.read_text().splitlines()[int(number) - 1]
    claimed = {1: f"'{WHOEVER}'", 2: "'alice'"}
    assert line.get("claimed_user") == claimed.get(form)
    assert "user" not in line


@FORMS
def test_policy_ignore_does_not_look_at_it_and_does_not_answer(one, requestor, good, bad, form):
    for number, make in enumerate((good, bad)):
        calling = f"IGNORED{form}{number}"
        association = requestor(one.port_of("ignore"), calling=calling, identity=(form, *make(form)), respond=True)
        assert association.is_established
        assert answered(association) is None
        association.release()
        assert {"user", "claimed_user", "identity"}.isdisjoint(line_of(one, calling))


def test_without_an_identity_accept_lets_in_and_require_does_not(one, requestor):
    association = requestor(one.port_of("accept"), calling="NOBODY")
    assert association.is_established
    assert answered(association) is None
    association.release()
    assert {"user", "claimed_user", "identity"}.isdisjoint(line_of(one, "NOBODY"))
    assert requestor(one.port_of("require"), calling="NOBODY2").refusal == REJECTED
    line = line_of(one, "NOBODY2")
    assert (line["key"], line["why"]) == ("user_identity.policy", "no user identity was sent, and one is required")
    assert one.config.read_text().splitlines()[int(line["where"].rpartition(":")[2]) - 1].strip() == "policy: require"


@FORMS
def test_respond_false_lets_in_and_does_not_answer(one, requestor, good, form):
    association = requestor(one.port_of("silent"), identity=(form, *good(form)), respond=True)
    assert association.is_established
    assert answered(association) is None
    association.release()


@pytest.mark.parametrize("form", [2, 3, 4, 5])
def test_a_form_that_nobody_verifies_can_be_rejected(one, requestor, good, form):
    assert requestor(one.port_of("picky"), calling=f"PICKY{form}", identity=(form, *good(form))).refusal == REJECTED
    line = line_of(one, f"PICKY{form}")
    assert line["key"] == "user_identity.unsupported"
    assert line["why"] == f"a {NAMES[form]} was sent, which no provider verifies"


def test_a_directory_verifies_users_by_binding_as_them(one, requestor):
    for number, (user, passcode) in enumerate(list(PASSCODES.items())[:4]):
        calling, identity = f"LDAP{number}", (2, user.encode(), passcode.encode())
        secrets.append(passcode.encode())
        association = requestor(one.port_of("directory"), calling=calling, identity=identity, respond=True)
        assert association.is_established, user
        assert answered(association) == b""
        association.release()
        assert line_of(one, calling)["user"] == user
    for number, (user, passcode) in enumerate([("alice", "wrong horse"), ("nobody", "x"), ("*", "x")]):
        identity = (2, user.encode(), passcode.encode())
        calling = f"LDAPBAD{number}"
        assert requestor(one.port_of("directory"), calling=calling, identity=identity).refusal == REJECTED
        assert line_of(one, calling)["claimed_user"] == f"'{user}'"


def test_of_several_providers_for_a_form_one_is_enough(one, requestor):
    """The first knows another passcode of alice, and knows no bob."""
    for user, passcode in (("alice", PASSCODE), ("alice", PASSCODES["alice"]), ("bob", PASSCODES["bob"])):
        association = requestor(one.port_of("several"), identity=(2, user.encode(), passcode.encode()))
        assert association.is_established
        association.release()
    assert requestor(one.port_of("several"), identity=(2, b"bob", PASSCODES["alice"].encode())).refusal == REJECTED


def test_keys_at_an_address_are_fetched_once_whatever_keys_are_named_after(one, requestor, tokens):
    """Anybody can name a key, and must not make the issuer's server pay for it."""
    for _ in range(3):
        requestor(one.port_of("served"), identity=(5, tokens.token())).release()
    for _ in range(3):
        token = tokens.token(header={"kid": "key-9"})
        assert requestor(one.port_of("served"), identity=(5, token)).refusal == REJECTED
    assert tokens.requests == 1


def test_new_keys_in_a_file_count_at_once_and_old_ones_no_more(one, requestor, tokens, users):
    before, first = tokens.keys, tokens.token()
    tokens.rotate("key-2")
    try:
        tokens.write(users.parent / "jwks.json")
        association = requestor(one.port_of("require"), identity=(5, tokens.token()))
        assert association.is_established
        association.release()
        assert requestor(one.port_of("require"), identity=(5, first)).refusal == REJECTED
    finally:
        tokens.keys = before
        tokens.write(users.parent / "jwks.json")


def test_a_passcode_that_is_changed_counts_at_once_and_the_old_one_no_more(one, requestor, users):
    def change(passcode: str) -> None:
        command = [sys.executable, "-m", "scpd", "passwd", str(users), "alice"]
        subprocess.run(command, input=passcode + "\n", text=True, check=True, stdout=subprocess.DEVNULL)

    change("another-tapir")
    try:
        secrets.append(b"another-tapir")
        association = requestor(one.port_of("require"), identity=(2, b"alice", b"another-tapir"))
        assert association.is_established
        association.release()
        assert requestor(one.port_of("require"), identity=(2, b"alice", PASSCODE.encode())).refusal == REJECTED
    finally:
        change(PASSCODE)


# -- storescu


@pytest.fixture
def storescu(peer, run, one, shipped):
    """DCMTK's storescu with an identity by its options; whether it stored, and what it said."""
    ct = next(one for one in shipped if one.path.name == "CT_small.dcm")

    def send(server: str, calling: str, *options: object):
        done = run(peer("storescu"), "-d", "-R", "-aet", calling, *options, "127.0.0.1", one.port_of(server), ct.path)
        return done.returncode == 0, done.stdout

    return send


OPTIONS = {1: ("-usr",), 2: ("-usr", "-pwd"), 3: ("-kt",), 4: ("--saml",), 5: ("--jwt",)}


@FORMS
@pytest.mark.parametrize("respond", [True, False])
def test_storescu_says_who_it_is_in_all_five_forms(one, storescu, good, bad, tmp_path, form, respond):
    for make, holds in ((good, True), (bad, False)):
        fields = [field.decode(errors="replace") for field in make(form)] if form < 3 else make(form)
        if form > 2:
            (tmp_path / "field").write_bytes(fields[0])
            fields = [tmp_path / "field"]
        calling = f"DCMTK{form}{respond}{holds}"
        words = [word for pair in zip(OPTIONS[form], fields, strict=True) for word in pair]
        stored, said = storescu("require", calling, *words, *["-rsp"] * respond)
        assert stored == holds, said
        line = line_of(one, calling)
        assert line["identity"] == NAMES[form]
        if holds:
            assert line["user"] == "alice"
            assert line["messages"] == {"C-STORE 0000": 1}
        else:
            assert "Result: Rejected Permanent, Source: Service Provider (ACSE Related)" in said
            assert "Reason: No Reason" in said


# -- scpd's own commands


@pytest.fixture
def arguments(tmp_path, good, bad):
    """What scpd echo and scpd send take for an identity, one that holds or one that does not."""

    def make(form: int, *, holds: bool) -> list[str]:
        file = tmp_path / "field"
        if form == 3:
            return ["--kerberos", SERVICE if holds else OTHER_SERVICE]
        fields = (good if holds else bad)(form)
        file.write_bytes(fields[-1] + b"\n")  # as editors and echo leave a file
        if form < 3:
            return ["--user", fields[0].decode(), *["--password-file", str(file)][: (form - 1) * 2]]
        return [{4: "--saml", 5: "--jwt"}[form], str(file)]

    return make


@FORMS
def test_scpd_echo_says_who_it_is_and_whether_that_was_confirmed(one, arguments, capsys, form):
    where = f"127.0.0.1:{one.port_of('require')}"
    assert main(["echo", where, "--calling", f"ECHO{form}", *arguments(form, holds=True)]) == 0
    assert capsys.readouterr().out.endswith("; user identity confirmed\n")
    assert line_of(one, f"ECHO{form}")["user"] == "alice"
    assert main(["echo", where, *arguments(form, holds=False)]) == 1
    said = "scpd: the peer rejected the association: permanently, DICOM UL service-provider (ACSE related function): "
    assert capsys.readouterr().err == f"{said}no reason given\n"
    ignoring = f"127.0.0.1:{one.port_of('ignore')}"
    assert main(["echo", ignoring, *arguments(form, holds=True)]) == 0
    assert "; user identity not confirmed: the peer may have ignored it" in capsys.readouterr().out


@FORMS
def test_scpd_send_says_who_it_is_too(one, arguments, shipped, capsys, form):
    ct = next(one for one in shipped if one.path.name == "CT_small.dcm")
    calling = f"SEND{form}"
    where = ["send", f"127.0.0.1:{one.port_of('require')}", "--calling", calling]
    assert main([*where, *arguments(form, holds=True), str(ct.path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == ["1 stored, 0 not", "       1 Success (0000)", "user identity confirmed"]
    assert line_of(one, calling)["user"] == "alice"


def test_scpd_send_has_a_ticket_for_each_association(one, tmp_path, capsys):
    """More SOP classes than one association has contexts for, and a ticket is good for one of them only."""
    for number, sop_class in enumerate(STORAGE[:130]):
        dataset = Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, f"1.2.3.{number}"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.4"
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        dataset.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    where = ["send", f"127.0.0.1:{one.port_of('require')}", "--calling", "MANY"]
    assert main([*where, "--kerberos", SERVICE, str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("130 stored, 0 not\n")
    lines = one.wait_for_logs(lambda line: line.get("calling") == "MANY", 2)
    assert {line["user"] for line in lines} == {"alice"}


# -- what attackers and broken devices send


@pytest.fixture
def claim(one, connect):
    """Send identities as they are; the answer, the line about it, and how long it took."""

    def send(server: str, calling: str, *items: UserIdentityRQ):
        secrets.extend(field for item in items for field in (item.primary, item.secondary) if len(field) > 20)
        client = connect(one.port_of(server))
        began = time.monotonic()
        answer = client.associate(calling=calling, identities=items)
        took = time.monotonic() - began
        client.close()
        return answer, line_of(one, calling), took

    return send


def item(form: int, primary: bytes, secondary: bytes = b"") -> UserIdentityRQ:
    return UserIdentityRQ(form, positive_response_requested=True, primary=primary, secondary=secondary)


USERNAMES = {
    "empty": (b"", "'' is not among the users"),
    "in another case": (b"Alice", "'Alice' is not among the users"),
    "with a space": (b"alice ", "'alice ' is not among the users"),
    "with NUL": (b"alice\0", "'alice\\x00' is not among the users"),
    "that forges a line": (b'x", "user": "alice"\n{"event": "forged"}', "is not among the users"),
    "not UTF-8": (b"Zo\xeb", "the user name is not UTF-8"),
    "of 64 KB": (b"a" * ROOM, "is not among the users"),
}
PASSCODES_SENT = {
    "no name": (b"", PASSCODE.encode(), "has no user ''"),
    "no passcode": (b"alice", b"", "the passcode of user 'alice' is wrong"),
    "too long a passcode": (b"alice", PASSCODE.encode() * 3000, "the passcode of user 'alice' is wrong"),
    "a passcode and NUL": (b"alice", PASSCODE.encode() + b"\0", "the passcode of user 'alice' is wrong"),
    "a passcode that is no text": (b"alice", b"\xff" * 30, "the passcode of user 'alice' is wrong"),
    "a name that is no text": (b"Zo\xeb", b"x", "the user name is not UTF-8"),
    "a name of 64 KB": (b"a" * ROOM, b"x", "the user name is longer than any in a file"),
    "a name of the file's own kind": (b"alice:$argon2id$", b"x", "has no user 'alice:$argon2id$'"),
}


@pytest.mark.parametrize("what", USERNAMES)
def test_a_username(claim, what):
    field, why = USERNAMES[what]
    answer, line, took = claim("accept", f"U{list(USERNAMES).index(what)}", item(1, field))
    assert answer == AssociateRJ(*REJECTED)
    assert why in line["why"]
    assert len(line.get("claimed_user", "")) < 100
    assert took < 1


@pytest.mark.parametrize("what", PASSCODES_SENT)
def test_a_passcode(claim, what):
    name, passcode, why = PASSCODES_SENT[what]
    answer, line, took = claim("accept", f"P{list(PASSCODES_SENT).index(what)}", item(2, name, passcode))
    assert answer == AssociateRJ(*REJECTED)
    assert why in line["why"]
    assert took < 2


def test_a_directory_is_never_asked_about_an_empty_passcode(claim):
    """Which it would take for a bind of nobody, and accept (RFC 4513 5.1.2)."""
    for number, passcode in enumerate((b"", b"\0", b"correct horse\0")):
        answer, line, _ = claim("directory", f"NOPASS{number}", item(2, b"alice", passcode))
        assert answer == AssociateRJ(*REJECTED)
        assert line["claimed_user"] == "'alice'"


def test_a_name_that_needs_care_is_taken_for_what_it_is(claim):
    answer, line, _ = claim("require", "CAREFUL", item(2, "O'Brien, Zoë".encode(), PASSCODE.encode()))
    assert isinstance(answer, AssociateAC)
    assert line["user"] == "O'Brien, Zoë"


TICKETS = {
    "empty": (lambda realm, ccache: b"", "there is no ticket in the claim"),
    "junk": (lambda realm, ccache: b"\x6e" * ROOM, "what was sent is no Kerberos ticket, or a broken one"),
    "the first half": (
        lambda realm, ccache: Kerberos().token[:300],
        "what was sent is no Kerberos ticket, or a broken",
    ),
    "all but the end": (
        lambda realm, ccache: Kerberos().token[:-1],
        "what was sent is no Kerberos ticket, or a broken",
    ),
    "a bit of it changed": (
        lambda realm, ccache: flip(Kerberos().token, 200),
        "the ticket is for another service, or was made with a key that is not in the keytab",
    ),
    "for another service": (lambda realm, ccache: Kerberos(OTHER_SERVICE).token, "the ticket is for another service"),
    "text": (lambda realm, ccache: b"alice@HOSPITAL.EXAMPLE", "what was sent is no Kerberos ticket, or a broken one"),
    "wrapped in SPNEGO": (
        lambda realm, ccache: realm.ticket(ccache, mechanism=SPNEGO),
        "what was sent is no Kerberos ticket, or a broken one",
    ),
}


def flip(token: bytes, place: int) -> bytes:
    return token[:place] + bytes((token[place] ^ 1,)) + token[place + 1 :]


@pytest.mark.parametrize("what", TICKETS)
def test_a_kerberos_ticket(claim, realm, tickets, what):
    make, why = TICKETS[what]
    answer, line, took = claim("accept", f"K{list(TICKETS).index(what)}", item(3, make(realm, tickets)))
    assert answer == AssociateRJ(*REJECTED)
    assert line["why"].startswith(why)
    assert took < 2


def test_a_kerberos_ticket_is_good_for_one_time(claim, realm, tickets):
    """Whoever overhears it has nothing, at this server or at another of this machine."""
    token = realm.ticket(tickets)
    assert isinstance(claim("require", "FIRSTTIME", item(3, token))[0], AssociateAC)
    for server in ("require", "accept"):
        answer, line, _ = claim(server, f"REPLAY{server[:2]}", item(3, token))
        assert answer == AssociateRJ(*REJECTED)
        assert line["why"] == "the ticket was presented before: a replay"


def test_a_peer_that_wants_no_proof_of_us_gets_an_empty_response(claim, realm, tickets):
    answer, _, _ = claim("require", "NOPROOF", item(3, realm.ticket(tickets, flags=INTEGRITY)))
    assert answer.user_information.identity_response == UserIdentityAC(b"")


def in_response(assertion: bytes) -> bytes:
    """A signed assertion without what xmlsec1 writes before it."""
    return assertion.partition(b"?>\n")[2] or assertion


def wrapped(good: bytes) -> bytes:
    """XSW: a forged assertion comes first, and the signed one, whole, stands inside its signature's Object."""
    inner = in_response(good)
    forged = inner.replace(b">alice<", b">admin<", 1).replace(b'ID="_', b'ID="_forged', 1)
    return forged.replace(b"</ds:Signature>", b"<ds:Object>" + inner + b"</ds:Object></ds:Signature>", 1)


def in_extensions(good: bytes) -> bytes:
    """XSW: a Response whose assertion is forged; the signed one lies where nobody should look."""
    inner = in_response(good)
    forged = inner.replace(b">alice<", b">admin<", 1).replace(b'ID="_', b'ID="_forged', 1)
    head = f'<samlp:Response xmlns:samlp="{SAMLP}" ID="_r" Version="2.0"><samlp:Extensions>'.encode()
    return head + inner + b"</samlp:Extensions>" + forged + b"</samlp:Response>"


BOMB = (
    b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaaaaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%b">' % (98 + n, b"&%c;" % (97 + n) * 50) for n in range(9))
    + b"]>"
)
FILE = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
HOUR = 3600
ASSERTIONS = {
    "empty": (lambda a, bad: b"", "the assertion is empty"),
    "text": (lambda a, bad: b"alice", "the assertion is neither XML in UTF-8 nor base64 of it"),
    "junk": (lambda a, bad: b"<" * ROOM, "the assertion is not well-formed XML in UTF-8"),
    "the first half": (lambda a, bad: a.assertion()[:800], "the assertion is not well-formed XML in UTF-8"),
    "not UTF-8": (lambda a, bad: a.assertion().replace(b">alice<", b">al\xffce<"), "the assertion is not well-formed XML in UTF-8"),
    "UTF-16": (lambda a, bad: in_response(a.assertion()).decode().encode("utf-16"), "the assertion is neither XML in UTF-8 nor base64 of it"),
    "not signed": (lambda a, bad: a.unsigned(signature=""), "the assertion itself has to have one signature, and has 0"),
    "another name": (lambda a, bad: a.assertion().replace(b">alice<", b">admin<"), "the assertion was changed after it was signed"),
    "a wrong key": (lambda a, bad: bad.assertion(), "the signature was not made by a configured certificate"),
    "expired": (lambda a, bad: a.assertion(life=-HOUR, begins=-2 * HOUR), "the assertion expired: "),
    "not valid yet": (lambda a, bad: a.assertion(begins=HOUR, life=2 * HOUR), "the assertion is not valid yet: "),
    "good for years": (lambda a, bad: a.assertion(life=1e8), "the assertion is good for longer than 86400 s"),
    "for another audience": (lambda a, bad: a.assertion(audiences=("pacs2",)), "the assertion is for 'pacs2'"),
    "of another issuer": (lambda a, bad: a.assertion(issuer="https://x"), "the assertion's Issuer is 'https://x'"),
    "a comment in the name": (lambda a, bad: a.assertion(name="alice<!---->.evil"), "the assertion holds a DTD, comment or CDATA section"),
    "wrapped": (lambda a, bad: wrapped(a.assertion()), "there are 2 assertions instead of one"),
    "wrapped in a Response": (lambda a, bad: in_extensions(a.assertion()), "there are 2 assertions instead of one"),
    "two of them": (lambda a, bad: a.response(*map(in_response, (a.assertion(), a.assertion()))), "there are 2 assertions instead of one"),
    "an entity bomb": (lambda a, bad: BOMB + in_response(a.assertion()).replace(b">alice<", b">&j;<"), "the assertion holds a DTD, comment or CDATA section"),
    "an entity of a file": (lambda a, bad: FILE + in_response(a.assertion()).replace(b">alice<", b">&x;<"), "the assertion holds a DTD, comment or CDATA section"),
    "a thousand levels": (lambda a, bad: b"<a>" * 9000 + b"</a>" * 9000, "the assertion is not well-formed XML"),
    "SHA-1": (
        lambda a, bad: a.assertion(
            identifier="_sha1",
            signature=signature_template("_sha1", digest="http://www.w3.org/2000/09/xmldsig#sha1"),
        ),
        "only RSA and ECDSA with SHA-2 are taken",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", ASSERTIONS)
def test_a_saml_assertion(claim, assertions, attacker, what):
    make, why = ASSERTIONS[what]
    answer, line, took = claim("accept", f"S{list(ASSERTIONS).index(what)}", item(4, make(assertions, attacker[0])))
    assert answer == AssociateRJ(*REJECTED)
    assert why in line["why"]
    assert "user" not in line
    assert "admin" not in str(line)
    assert took < 2


def test_a_saml_assertion_is_good_for_one_time(claim, assertions):
    assertion = assertions.assertion()
    assert isinstance(claim("require", "ONCE", item(4, assertion))[0], AssociateAC)
    answer, line, _ = claim("require", "TWICE", item(4, assertion))
    assert answer == AssociateRJ(*REJECTED)
    assert (line["why"], line["claimed_user"]) == ("the assertion was used before, and is good for one time", "'alice'")


def unsigned_token(tokens, **header) -> bytes:
    return encoded({"typ": "JWT", **header}) + b"." + encoded(tokens.claims()) + b"."


def by_the_public_key(tokens) -> bytes:
    """HS256 with what everybody knows, the issuer's public key, as the secret."""
    claims = json.dumps(tokens.claims()).encode()
    signed = encoded({"alg": "HS256", "typ": "JWT", "kid": "key-1"}) + b"." + encoded(claims)
    secret = tokens.keys[0].as_pem(private=False)
    return signed + b"." + encoded(hmac.digest(secret, signed, "sha256"))


TOKENS = {
    "empty": (lambda t, bad: b"", "the token is empty"),
    "junk": (lambda t, bad: b"A" * ROOM, "the token is not three parts of base64url"),
    "64 KB of base64": (
        lambda t, bad: b"A" * 20_000 + b"." + b"A" * 20_000 + b"." + b"A" * 20_000,
        "the token is not three parts of base64url",
    ),
    "the first half": (lambda t, bad: t.token()[:200], "the token is not three parts of base64url"),
    "a signature cut short": (lambda t, bad: t.token()[:-8], "the token"),
    "a signature changed": (lambda t, bad: t.token()[:-20] + b"A" * 20, "signature was not made by the issuer's key"),
    "a wrong key": (lambda t, bad: bad.token(), "the token's signature was not made by the issuer's key 'key-1'"),
    "expired": (lambda t, bad: t.token(exp=int(time.time()) - HOUR), "the token expired 36"),
    "not valid yet": (lambda t, bad: t.token(nbf=int(time.time()) + HOUR), "the token is not valid yet: its nbf"),
    "without an end": (lambda t, bad: t.token(exp=None), "the token's claim exp is missing"),
    "an end that is infinite": (
        lambda t, bad: t.sign(json.dumps(t.claims(exp=1e400)).encode()),
        "has Infinity for a number",
    ),
    "good for years": (lambda t, bad: t.token(exp=int(time.time()) + 10**8), "the token is good for longer than"),
    "for another audience": (lambda t, bad: t.token(aud="pacs2"), "the token is for 'pacs2', not for 'scpd'"),
    "of another issuer": (lambda t, bad: t.token(iss="https://x"), "the token's iss is 'https://x' instead of"),
    "alg none": (lambda t, bad: unsigned_token(t, alg="none"), "the token is not signed"),
    "alg nOnE and a signature": (lambda t, bad: unsigned_token(t, alg="nOnE") + b"AAAA", "the token is not signed"),
    "HS256 by the public key": (lambda t, bad: by_the_public_key(t), "the token's alg is 'HS256', and only "),
    "a key of its own": (
        lambda t, bad: t.token(header={"jwk": bad.keys[0].as_dict(private=False)}, key=bad.keys[0]),
        "signature was not made by the issuer's key",
    ),
    "a key that is a path": (lambda t, bad: t.token(header={"kid": "../../../../etc/passwd"}), "the issuer has no key"),
    "a header to understand": (lambda t, bad: t.token(header={"crit": ["exp"]}), "the token's header asks for crit"),
    "compressed": (lambda t, bad: t.token(header={"zip": "DEF"}), "the token's header asks for zip"),
    "for logging out": (lambda t, bad: t.token(header={"typ": "logout+jwt"}), "the token is not for logging in"),
    "not UTF-8": (lambda t, bad: t.sign(b'{"sub": "al\xffce"}'), "the token's payload is not JSON in UTF-8"),
    "nested a thousandfold": (
        lambda t, bad: t.sign(b'{"a":' * 5000 + b"1" + b"}" * 5000),
        "the token's payload is nested too deeply",
    ),
    "two subjects": (
        lambda t, bad: t.sign(json.dumps(t.claims()).encode()[:-1] + b', "sub": "admin"}'),
        "the token's payload says something twice",
    ),
    "a name that forges a line": (lambda t, bad: t.token(sub="x\n{}"), "the token's claim sub is no name of a user"),
}


@pytest.mark.parametrize("what", TOKENS)
def test_a_json_web_token(claim, tokens, attacker, what):
    make, why = TOKENS[what]
    answer, line, took = claim("accept", f"J{list(TOKENS).index(what)}", item(5, make(tokens, attacker[1])))
    assert answer == AssociateRJ(*REJECTED)
    assert why in line["why"]
    assert "user" not in line
    assert took < 2


def test_two_identities_in_one_request_are_rejected_though_both_hold(claim):
    answer, line, _ = claim("accept", "TWO", item(1, b"alice"), item(2, b"alice", PASSCODE.encode()))
    assert answer == AssociateRJ(*REJECTED)
    assert (line["key"], line["why"]) == ("user_identity", "more than one user identity in one request")


@pytest.mark.parametrize("form", [0, 6, 255])
def test_a_form_that_does_not_exist_is_no_identity(claim, form):
    """PS3.7 D.3.3.7: what is not supported is not answered; who must say who he is has not."""
    answer, line, _ = claim("accept", f"FORM{form}", item(form, b"alice", b"alice"))
    assert isinstance(answer, AssociateAC)
    assert answer.user_information.identity_response is None
    assert (line["identity"], line.get("user")) == (f"type {form}", None)
    answer, line, _ = claim("require", f"FORMREQ{form}", item(form, b"alice"))
    assert answer == AssociateRJ(*REJECTED)
    assert line["why"] == f"a type {form} was sent, which no provider verifies"
    answer, _, _ = claim("picky", f"FORMPICK{form}", item(form, b"alice"))
    assert answer == AssociateRJ(*REJECTED)


def test_a_response_is_asked_for_by_any_value_but_zero(one, connect):
    """PS3.7 table D.3-14 has 0 and 1. Whoever writes another means yes."""
    client = connect(one.port_of("require"))
    answer = client.associate(identities=(UserIdentityRQ(1, 2, b"alice"),))
    assert answer.user_information.identity_response == UserIdentityAC(b"")


# -- and nothing of all that


def test_no_secret_of_any_of_these_stands_in_any_line_of_the_log(one):
    """The last of this file. Neither as it came, nor as text, base64 or hexadecimal."""
    log = "\n".join(one.lines)
    sought = {secret for secret in secrets if len(secret) > 7}
    assert len(sought) > 60
    for secret in sought:
        middle = len(secret) // 2
        for part in {secret[-20:], secret[middle : middle + 20]} if len(secret) > 40 else {secret}:
            if len(set(part)) > 5:
                assert part.decode("latin-1") not in log
                assert part.hex() not in log
                assert base64.b64encode(part).decode()[4:-4] not in log
    assert SAML not in log
    assert "eyJ" not in log, "the beginning of a token"
