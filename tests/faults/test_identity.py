"""What verifies identities is away, slow, broken or guessed at: who asks is told so in time, and nobody else feels it."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from components.authority import Authority
from components.directory import PASSCODES, TEMPLATE, Directory
from components.issuers import AssertionIssuer, TokenIssuer, xmlsec1
from components.realm import SERVICE, Realm

from scpd.client.identity import Stated
from scpd.client.requestor import Caller, Proposal, associate
from scpd.errors import Rejected
from scpd.identity.password_file import hashed
from scpd.wire.pdu import AssociateAC, AssociateRJ
from scpd.wire.user_info import UserIdentityAC, UserIdentityRQ

REJECTED, LATER = AssociateRJ(1, 2, 1), AssociateRJ(2, 3, 1)
VERIFICATION, IMPLICIT = "1.2.840.10008.1.1", "1.2.840.10008.1.2"


def claim(form: int, primary: bytes, secondary: bytes = b"") -> dict:
    """What a raw client proposes."""
    item = UserIdentityRQ(form, positive_response_requested=True, primary=primary, secondary=secondary)
    return {"identities": (item,)}


def login(user: str = "alice", passcode: str | None = None) -> dict:
    return claim(2, user.encode(), (PASSCODES[user] if passcode is None else passcode).encode())


def from_address(address: str, port: int, user: str, passcode: str) -> AssociateRJ | None:
    """The rejection that a peer at another address of this machine gets, or None."""
    caller = Caller(bind=(address, 0), identity=Stated(2, user.encode(), passcode.encode()))
    try:
        with associate(("127.0.0.1", port), [Proposal(VERIFICATION, (IMPLICIT,))], caller):
            return None
    except Rejected as error:
        return AssociateRJ(error.result, error.source, error.reason)


@pytest.fixture(scope="module")
def directory():
    with Directory() as one:
        yield one


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Issues tokens and serves its keys over TLS; and the CA of its certificate."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    host = authority.server("localhost", alternatives=("IP:127.0.0.1",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(host.chain, host.key)
    with TokenIssuer(tls=context) as issuer:
        issuer.ca = authority.certificate
        issuer.port = int(issuer.url.split(":")[2].split("/")[0])
        yield issuer


def written(file: Path) -> Path:
    """A password file with four users."""
    file.write_text("".join(f"{name}:{hashed(f'{name} passcode')}\n" for name in ("alice", "bob", "carol", "dave")))
    file.chmod(0o640)
    return file


@pytest.fixture(scope="module")
def users(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("users") / "users")


@pytest.fixture(scope="module")
def breaking(tmp_path_factory) -> Path:
    """Another password file, to be broken."""
    return written(tmp_path_factory.mktemp("breaking") / "users")


@pytest.fixture(scope="module")
def asking(directory) -> dict:
    """Where the directory is asked, for a second at most."""
    provider = {"kind": "ldap", "url": directory.ldaps, "user": TEMPLATE, "ca": str(directory.ca), "timeout": "1s"}
    return {"providers": [provider], "lockout": {"failures": 2}}


@pytest.fixture(scope="module")
def one(shared_daemon, asking, keys, users, breaking):
    """One daemon: the load goes to its first server, and each of the others breaks in a way of its own."""
    fetched = {"kind": "jwt", "issuer": keys.issuer, "audience": "scpd", "keys": keys.url, "ca": str(keys.ca)}

    def server(name: str, *providers: dict, **more) -> dict:
        return {"name": name, "user_identity": {"providers": list(providers), **more}}

    passwords = {"kind": "passwords", "file": str(users)}
    return shared_daemon(
        limits={"associations_per_address": 200, "pending_per_address": 256},
        servers=[
            {"name": "plain"},
            {"name": "directory", "user_identity": asking},
            # Each with keys of its own: what is asked for alike is fetched once.
            *(server(f"keys {n}", {**fetched, "timeout": "1s", "leeway": f"{30 + n}s"}) for n in range(3)),
            server("breaking", {"kind": "passwords", "file": str(breaking)}),
            server("hour", passwords, lockout={"failures": 3, "time": "1h"}),
            server("second", passwords, lockout={"failures": 2, "time": "1s"}),
            server("crowd", passwords, lockout={"failures": 0}),
        ],
    )


@pytest.fixture(autouse=True)
def _nothing_fails(request):
    """No fault of the program comes to light: no traceback, no error."""
    running = request.getfixturevalue("one") if "one" in request.fixturenames else None
    yield
    if running:
        nothing_failed(running)


def nothing_failed(one) -> None:
    assert not [line for line in one.logs if line.get("level") == "error" or "raw" in line], one.lines


def ended(one, calling: str, count: int = 1) -> list[dict]:
    """The lines of associations of ``calling``, or of their rejections."""
    return one.wait_for_logs(lambda line: line.get("calling") == calling, count)


# -- who verifies is away


def test_while_the_directory_is_away_peers_are_told_to_come_again(one, directory, connect, load):
    port = one.port_of("directory")
    assert isinstance(connect(port).associate(**login()), AssociateAC)
    with load(one, every=0.02):
        directory.stop()
        try:
            for _ in range(5):
                assert connect(port).associate(calling="AWAY", **login()) == LATER
        finally:
            directory.start()
        assert isinstance(connect(port).associate(**login()), AssociateAC), "no failure of his counts"
    lines = ended(one, "AWAY", 5)
    assert {line["key"] for line in lines} == {"user_identity.providers[0]"}
    assert all(directory.ldaps in line["why"] and line["claimed_user"] == "'alice'" for line in lines)
    assert not [line for line in one.lines if PASSCODES["alice"] in line]


def test_a_directory_that_says_nothing_costs_its_timeout_and_nobody_else_anything(one, directory, connect, load):
    port = one.port_of("directory")
    with load(one, every=0.02), directory.paused(), ThreadPoolExecutor(20) as pool:
        began = time.monotonic()
        waiting = [pool.submit(connect(port).associate, **login(f"user{n}", "x")) for n in range(20)]
        assert isinstance(connect(port).associate(), AssociateAC), "who says nothing of himself waits for nobody"
        assert time.monotonic() - began < 0.9
        assert [one.result() for one in waiting] == [LATER] * 20
        assert 0.9 < time.monotonic() - began < 4
    assert isinstance(connect(port).associate(**login()), AssociateAC)


def test_a_peer_that_gives_up_while_the_directory_is_asked_leaves_nothing_behind(
    one, directory, connect, process, wait_for
):
    threads = process(one).threads
    with directory.paused():
        for number in range(5):
            client = connect(one.port_of("directory"))
            client.receive = lambda: None  # it does not wait for the answer
            client.associate(calling="GIVENUP", **login(f"gone{number}", "x"))
            client.close()
        ended(one, "GIVENUP", 5)
        wait_for(lambda: process(one).threads <= threads, "an end of the workers")


def test_while_the_issuers_keys_cannot_be_fetched_peers_are_told_to_come_again(one, keys, connect, load):
    port = one.port_of("keys 0")
    with load(one, every=0.02):
        keys.stop()
        try:
            assert connect(port).associate(calling="NOKEYS", **claim(5, keys.token())) == LATER
            bad = keys.token(iss="https://evil.example")
            assert connect(port).associate(**claim(5, bad)) == REJECTED, "that needs no key"
        finally:
            keys.start(keys.port)
    (line,) = ended(one, "NOKEYS")
    assert line["key"] == "user_identity.providers[0]"
    assert keys.url in line["why"]


def test_keys_that_were_fetched_outlive_their_server(one, keys, connect):
    port = one.port_of("keys 1")
    assert isinstance(connect(port).associate(**claim(5, keys.token())), AssociateAC)
    keys.stop()
    try:
        for _ in range(3):
            assert isinstance(connect(port).associate(**claim(5, keys.token())), AssociateAC)
    finally:
        keys.start(keys.port)


def test_a_server_of_keys_that_never_ends_its_answer_costs_its_timeout_and_nobody_else_anything(
    one, keys, connect, load
):
    over = threading.Event()

    def drip(handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not over.wait(0.05):
            handler.wfile.write(b" ")

    keys.answer = drip
    port = one.port_of("keys 2")
    try:
        with load(one, every=0.02), ThreadPoolExecutor(10) as pool:
            began = time.monotonic()
            waiting = [pool.submit(connect(port).associate, **claim(5, keys.token())) for _ in range(10)]
            assert [one.result() for one in waiting] == [LATER] * 10
            assert time.monotonic() - began < 4
    finally:
        keys.answer = None
        over.set()


# -- files that change while they are used


def test_a_password_file_that_breaks_leaves_in_force_what_stood_there(one, breaking, connect):
    """And says so in the log, once; as soon as it is good again it counts."""
    port, good = one.port_of("breaking"), breaking.read_text()
    for broken in (b"alice:plain text\n", b"\xff\n", b"\0" * 100):
        breaking.write_bytes(broken)
        assert isinstance(connect(port).associate(**login("alice", "alice passcode")), AssociateAC)
        assert connect(port).associate(**login("alice", "plain text")) == REJECTED
    warned = [line for line in one.logs if line["event"] == "user identity" and str(breaking) in line["what"]]
    assert len(warned) == 3
    assert all(line["key"] == "user_identity.providers[0]" for line in warned)
    assert all("what stood there before stays in force" in line["what"] for line in warned)
    assert "plain text" not in "\n".join(one.lines)
    breaking.unlink()
    assert isinstance(connect(port).associate(**login("alice", "alice passcode")), AssociateAC)
    breaking.write_text(good.replace("alice:", "alicia:"))
    assert connect(port).associate(**login("alice", "alice passcode")) == REJECTED
    assert isinstance(connect(port).associate(**login("alicia", "alice passcode")), AssociateAC)


def test_passcodes_changed_while_others_log_in_are_never_half_read(one, users, connect, load):
    """scpd passwd replaces the file as a whole, and several at once lose nothing of each other."""
    port = one.port_of("crowd")
    command = [sys.executable, "-m", "scpd", "passwd", str(users)]
    with load(one):
        changing = [
            subprocess.Popen([*command, f"user{n}"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) for n in range(4)
        ]
        for process in changing:
            process.stdin.write(b"x\n")
            process.stdin.close()
        while any(process.poll() is None for process in changing):
            client = connect(port)
            assert isinstance(client.associate(**login("bob", "bob passcode")), AssociateAC)
            client.close()
    assert [process.returncode for process in changing] == [0] * 4
    assert isinstance(connect(port).associate(**login("user3", "x")), AssociateAC)
    assert len(users.read_text().splitlines()) == 8


# -- guessing


def test_who_guesses_waits_and_neither_another_user_nor_another_address_does(one, connect):
    port = one.port_of("hour")
    for number in range(3):
        assert connect(port).associate(**login("alice", f"guess {number}")) == REJECTED
    for passcode in ("guess 4", "alice passcode"):
        began = time.monotonic()
        answer = connect(port).associate(calling="LOCKED", **login("alice", passcode))
        assert answer == REJECTED, "the right one comes too late, and is answered alike"
    for line in ended(one, "LOCKED", 2):
        assert line["key"] == "user_identity.lockout"
        assert line["why"] == "this user failed too often from this address, and has to wait"
        assert line["claimed_user"] == "'alice'"
    assert time.monotonic() - began < 0.5
    assert isinstance(connect(port).associate(**login("bob", "bob passcode")), AssociateAC)
    assert from_address("127.0.0.2", port, "alice", "alice passcode") is None
    assert isinstance(connect(port).associate(), AssociateAC), "without an identity the policy lets it in"
    assert not [line for line in one.lines if "guess " in line]


def test_guesses_that_come_all_at_once_are_no_more_than_those_one_by_one(one, connect):
    """Thirty at the same moment; then the right one comes too late, as it would after three."""
    port = one.port_of("hour")
    crowd = [connect(port) for _ in range(30)]
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda client: client.associate(calling="ATONCE", **login("dave", "wrong")), crowd))
    assert answers == [REJECTED] * 30
    tried = [line for line in ended(one, "ATONCE", 30) if line["key"] == "user_identity.providers[0]"]
    assert len(tried) == 3
    assert connect(port).associate(**login("dave", "dave passcode")) == REJECTED


def test_a_user_who_comes_many_times_at_once_is_let_in_each_time(one, connect):
    """A modality with one name for all its associations."""
    crowd = [connect(one.port_of("hour")) for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda client: client.associate(**login("carol", "carol passcode")), crowd))
    assert all(isinstance(answer, AssociateAC) for answer in answers)


def test_what_must_not_be_forgotten_outlives_a_reload(daemon, users, connect, tmp_path):
    """Who is locked out, and which assertions were used: a reload is no way to begin anew."""
    xmlsec1()
    issuer = AssertionIssuer(tmp_path / "idp")
    saml = {"kind": "saml", "issuer": issuer.issuer, "certificate": str(issuer.certificate), "audience": "scpd"}
    passwords = {"kind": "passwords", "file": str(users)}
    one = daemon(user_identity={"providers": [passwords, saml], "lockout": {"failures": 2, "time": "1h"}})
    assertion = claim(4, issuer.assertion())
    assert isinstance(connect(one.port).associate(**assertion), AssociateAC)
    for _ in range(2):
        assert connect(one.port).associate(**login("alice", "wrong")) == REJECTED
    one.send_signal(signal.SIGHUP)
    one.wait_for_log(lambda line: line["event"] == "reloaded")
    assert connect(one.port).associate(**assertion) == REJECTED
    assert connect(one.port).associate(**login("alice", "alice passcode")) == REJECTED
    assert isinstance(connect(one.port).associate(**claim(4, issuer.assertion())), AssociateAC)
    assert isinstance(connect(one.port).associate(**login("bob", "bob passcode")), AssociateAC)
    nothing_failed(one)


def test_a_lock_ends_and_success_forgets_failures(one, connect, wait_for):
    def attempt(passcode: str):
        client = connect(one.port_of("second"))
        answer = client.associate(**login("alice", passcode))
        client.close()
        return answer

    for _ in range(3):  # a slip, and then the right one: never locked
        assert attempt("slip") == REJECTED
        assert isinstance(attempt("alice passcode"), AssociateAC)
    began = time.monotonic()
    assert [attempt(one) for one in ("slip", "slip", "alice passcode")] == [REJECTED] * 3
    wait_for(lambda: isinstance(attempt("alice passcode"), AssociateAC), "an end of the lock")
    assert 0.9 < time.monotonic() - began < 3


# -- overheard


@pytest.fixture
def elsewhere(daemon, possible):
    """A daemon in a network of its own, where peers have addresses of other machines; and ``scpd echo`` in there."""
    able = all(map(shutil.which, ("unshare", "nsenter", "ip"))) and os.geteuid() == 0
    possible(able and subprocess.run(["unshare", "-n", "true"], check=False).returncode == 0, "a network of one's own")

    def start(**settings):
        one = daemon(wrap=("unshare", "-n"), **settings)
        inside = ["nsenter", f"--net=/proc/{one.pid}/ns/net"]
        for words in ("link set lo up", "address add 192.0.2.1/32 dev lo"):
            subprocess.run([*inside, "ip", *words.split()], check=True)

        def echo(port: int, *options: object) -> bool:
            command = [*inside, sys.executable, "-m", "scpd", "echo", f"192.0.2.1:{port}", *map(str, options)]
            return subprocess.run(command, capture_output=True, check=False).returncode == 0

        return one, echo

    return start


def test_a_passcode_that_crossed_the_network_in_clear_is_rejected_though_it_is_right(elsewhere, users, tmp_path):
    """Anybody on the way has it now. Over TLS it is taken, and where the file says so in so many words."""
    host = Authority(tmp_path).server("pacs.example")
    providers = {"providers": [{"kind": "passwords", "file": str(users)}, {"kind": "usernames", "users": ["alice"]}]}
    one, echo = elsewhere(
        servers=[
            {"name": "plain", "bind": "0.0.0.0:11112", "user_identity": providers},
            {"name": "open", "bind": "0.0.0.0:11113", "user_identity": {**providers, "without_tls": "allow"}},
            {
                "name": "tls",
                "bind": "0.0.0.0:11114",
                "user_identity": providers,
                "tls": {"certificate": str(host.chain), "key": str(host.key)},
            },
        ]
    )
    passcode = tmp_path / "passcode"
    passcode.write_text("alice passcode")
    alice = ("--user", "alice", "--password-file", passcode)
    assert not echo(11112, *alice, "--calling", "CLEAR")
    (line,) = ended(one, "CLEAR")
    assert line["peer"].startswith("192.0.2.1:")
    assert (line["key"], line["identity"]) == ("user_identity.without_tls", "username and passcode")
    assert "claimed_user" not in line or line["claimed_user"] == "'alice'"
    assert echo(11112, "--user", "alice"), "a name is no secret"
    assert echo(11113, *alice)
    assert echo(11114, *alice, "--insecure")
    assert [line for line in one.logs if "will be rejected; write tls" in line["event"]], "said at the start"


# -- many at once


def percentile(times: list[float], share: float = 0.95) -> float:
    return sorted(times)[int(len(times) * share)]


def test_100_logins_at_once_are_hardly_felt_by_who_is_there_already(one, associate, connect, echo, record_property):
    """Each takes tens of milliseconds of a processor. Printed with ``-s``: how long an echo takes, idle and meanwhile."""
    client = associate(one)

    def beat() -> float:
        began = time.monotonic()
        assert echo(client) == 0
        return time.monotonic() - began

    idle = [beat() for _ in range(200)]
    names = ["alice", "bob", "carol", "dave"]
    crowd = [connect(one.port_of("crowd")) for _ in range(100)]
    answers: list[object] = []
    over = threading.Event()

    def log_in(number: int) -> None:
        name = names[number % 4]
        passcode = f"{name} passcode" if number % 5 else "wrong"
        answers.append((bool(number % 5), crowd[number].associate(**login(name, passcode))))

    def all_of_them() -> None:
        with ThreadPoolExecutor(100) as pool:
            list(pool.map(log_in, range(100)))
        over.set()

    began = time.monotonic()
    threading.Thread(target=all_of_them).start()
    meanwhile = [beat()]
    pause = threading.Event()
    while not over.is_set():
        meanwhile.append(beat())
        pause.wait(0.002)
    took = time.monotonic() - began
    assert len(answers) == 100
    for holds, answer in answers:
        assert isinstance(answer, AssociateAC) if holds else answer == REJECTED
    facts = {
        "idle, median": statistics.median(idle),
        "idle, 95 %": percentile(idle),
        "meanwhile, median": statistics.median(meanwhile),
        "meanwhile, 95 %": percentile(meanwhile),
        "meanwhile, longest": max(meanwhile),
    }
    told = ", ".join(f"{name} {seconds * 1000:.1f} ms" for name, seconds in facts.items())
    print(f"\n100 logins in {took:.2f} s, {len(meanwhile)} echoes: {told}")
    record_property("latency", told)
    assert percentile(meanwhile) < percentile(idle) + 0.2
    assert took < 20


# -- Kerberos


def test_without_its_replay_cache_a_ticket_is_not_taken_and_the_log_says_what_to_do(daemon, connect, tmp_path):
    """A ticket that cannot be remembered could be used again: peers are told to come later."""
    with Realm() as realm:
        keytab = realm.keytab(SERVICE)
        provider = {"kind": "kerberos", "keytab": str(keytab), "service": SERVICE}
        settings = {**realm.settings(), "KRB5RCACHEDIR": str(tmp_path / "nowhere")}
        one = daemon(user_identity={"providers": [provider]}, env=settings)
        ccache = realm.kinit("alice")
        token = realm.ticket(ccache)
        assert connect(one.port).associate(calling="NOCACHE", **claim(3, token)) == LATER
        line = one.wait_for_log(lambda line: line.get("calling") == "NOCACHE")
        assert "the replay cache of Kerberos does not work" in line["why"]
        (tmp_path / "nowhere").mkdir()
        answer = connect(one.port).associate(**claim(3, realm.ticket(ccache)))
        assert isinstance(answer, AssociateAC)
        assert isinstance(answer.user_information.identity_response, UserIdentityAC)
        # A keytab that is renewed counts at once, one that is gone is an outage and no fault of the peer.
        realm.rotate(SERVICE, keytab)
        fresh = realm.kinit("alice")
        assert isinstance(connect(one.port).associate(**claim(3, realm.ticket(fresh))), AssociateAC)
        keytab.rename(tmp_path / "keytab")
        assert connect(one.port).associate(**claim(3, realm.ticket(fresh))) == LATER
        (tmp_path / "keytab").rename(keytab)
        assert isinstance(connect(one.port).associate(**claim(3, realm.ticket(fresh))), AssociateAC)
        nothing_failed(one)


def test_sigterm_does_not_wait_for_who_is_being_verified(daemon, asking, directory, connect):
    one = daemon(user_identity=asking)

    def come(number: int):
        try:
            return connect(one.port).associate(**login(f"user{number}", "x"))
        except ConnectionError:
            return None

    with directory.paused(), ThreadPoolExecutor(5) as pool:
        waiting = [pool.submit(come, number) for number in range(5)]
        began = time.monotonic()
        one.send_signal(signal.SIGTERM)
        one.wait_for_log(lambda line: line["event"] == "stopping")
        one.send_signal(signal.SIGTERM)
        assert one.wait() == 0
        assert time.monotonic() - began < 5
        assert not [each for each in waiting if isinstance(each.result(), AssociateAC)]
    nothing_failed(one)
