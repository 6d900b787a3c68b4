"""A directory verifies whom it verifies, in time; nothing that a peer or a broken directory sends changes that.

The directory is a real slapd, and where it would not misbehave, a scripted server.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest
import trustme
from components.directory import EMPLOYEE_TYPE, PASSCODES, SUFFIX, TEMPLATE, Directory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scpd.errors import IdentityError, NotVerified, SettingError, Unavailable
from scpd.identity.claim import Claim, Form, User
from scpd.identity.ldap import LDAP, _first_value

MANY = 20
SHORT = 0.25  # seconds that a directory is given where it will not answer
LATE = 5.0  # what is over by then was over in time, on a busy machine too
PATIENCE = 20.0
PRINCIPAL = "{user}@hospital.example"
REFUSALS = (19, 32, 34, 48, 49, 50, 53)


@pytest.fixture(scope="module")
def directory():
    with Directory() as one:
        yield one


@pytest.fixture(params=["ldaps", "starttls", "plain"])
def provider(request, directory):
    if request.param == "plain":
        return LDAP(directory.ldap, TEMPLATE, tls="none")
    return LDAP(directory.ldaps if request.param == "ldaps" else directory.ldap, TEMPLATE, ca=directory.ca)


@pytest.fixture
def plain(directory):
    return LDAP(directory.ldap, TEMPLATE, tls="none")


def claim(name: str | bytes, passcode: str | bytes) -> Claim:
    primary, secondary = (one.encode() if isinstance(one, str) else one for one in (name, passcode))
    return Claim(Form.PASSCODE, primary, secondary)


def verify(provider: LDAP, name: str | bytes, passcode: str | bytes) -> User:
    return provider.verify(claim(name, passcode))


def refusal(provider: LDAP, name: str | bytes, passcode: str | bytes) -> NotVerified:
    with pytest.raises(NotVerified) as caught:
        verify(provider, name, passcode)
    return caught.value


def failure(provider: LDAP, name: str = "alice", passcode: str = "correct horse") -> str:
    """Why the directory could not be asked; it was found out in time."""
    begun = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        verify(provider, name, passcode)
    assert time.monotonic() - begun < LATE
    assert passcode not in str(caught.value)
    assert caught.value.user == repr(name)
    return caught.value.why


class TestWhoIsKnown:
    @pytest.mark.parametrize("name", [name for name in PASSCODES if name != "hidden"])
    def test_a_user_with_the_right_passcode(self, provider, name):
        assert verify(provider, name, PASSCODES[name]).name == name

    def test_groups_are_roles_by_their_whole_name_and_by_its_first_value(self, provider):
        assert verify(provider, "alice", PASSCODES["alice"]).roles == {
            "Radiology",
            f"cn=Radiology,ou=groups,{SUFFIX}",
            "Heart, Lung",
            rf"cn=Heart\2C Lung,ou=groups,{SUFFIX}",
        }
        assert verify(provider, "bob", PASSCODES["bob"]).roles == frozenset()

    @pytest.mark.parametrize("attribute", ["employeeType", "EMPLOYEETYPE"])
    def test_roles_come_from_any_attribute(self, directory, attribute):
        provider = LDAP(directory.ldaps, TEMPLATE, ca=directory.ca, roles=attribute)
        assert verify(provider, "bob", PASSCODES["bob"]).roles == {EMPLOYEE_TYPE}

    @pytest.mark.parametrize("attribute", [None, "noSuchAttribute"])
    def test_roles_may_come_from_nowhere(self, directory, attribute):
        provider = LDAP(directory.ldap, TEMPLATE, tls="none", roles=attribute)
        assert verify(provider, "alice", PASSCODES["alice"]) == User("alice")

    @pytest.mark.parametrize("name", ["ALICE", "Alice", "\uff41lice"])
    def test_a_user_has_one_name_however_it_is_typed(self, provider, name):
        """A directory matches names loosely; a rule that denies alice has to know ALICE."""
        assert verify(provider, name, PASSCODES["alice"]).name == "alice"

    def test_many_at_once(self, provider):
        def outcome(number: int) -> str:
            name = ("alice", "bob", "Müller", "nobody")[number % 4]
            try:
                return verify(provider, name, PASSCODES.get(name, "wrong")).name
            except NotVerified:
                return "nobody"

        with ThreadPoolExecutor(MANY) as pool:
            assert list(pool.map(outcome, range(MANY))) == ["alice", "bob", "Müller", "nobody"] * (MANY // 4)

    def test_nothing_is_kept_open(self, provider):
        verify(provider, "alice", PASSCODES["alice"])
        before = len(os.listdir("/proc/self/fd"))
        for passcode in (PASSCODES["alice"], "wrong") * 5:
            with suppress(NotVerified):
                verify(provider, "alice", passcode)
        assert len(os.listdir("/proc/self/fd")) <= before

    def test_an_address_of_the_host_that_does_not_answer_is_passed_over(self, directory):
        """Where localhost is ::1 too: slapd serves 127.0.0.1 alone."""
        provider = LDAP(directory.ldaps.replace("127.0.0.1", "localhost"), TEMPLATE, ca=directory.ca)
        assert verify(provider, "alice", PASSCODES["alice"]).name == "alice"


class TestWhoIsNot:
    @pytest.mark.parametrize("name", ["alice", "nobody", "nologin", "hidden", "Müller"])
    def test_the_wrong_passcode_and_no_such_user_are_told_alike(self, provider, name):
        error = refusal(provider, name, "wrong")
        assert error.why == refusal(provider, "alice", "wrong").why
        assert error.user == ascii(name)
        assert "invalidCredentials" in error.why

    @pytest.mark.parametrize(
        "name",
        [
            *("*", ")(uid=*", "*)(uid=alice", "alice,ou=people", "alice\\00", "alice\\", "alice\\2Cou=x", "uid=alice"),
            *(
                "alice+uid=alice",
                "alice+cn=somebody",
                "#616c696365",
                "#04056616c696365",
                '"alice"',
                "alice;x",
                "<alice>",
            ),
            *(f"alice,ou=people,{SUFFIX}", f"uid=alice,ou=people,{SUFFIX}", "x,cn=admin", "{user}", "%s", "../alice"),
        ],
    )
    def test_a_name_is_a_name_and_no_part_of_a_dn_or_filter(self, provider, name):
        assert refusal(provider, name, PASSCODES["alice"]).why == refusal(provider, "nobody", "wrong").why

    @given(st.text(max_size=300), st.sampled_from([*PASSCODES.values(), "admin"]))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_names_of_any_kind_are_nobody(self, plain, name, passcode):
        if name.casefold() not in PASSCODES:
            assert refusal(plain, name, passcode)

    def test_the_directory_s_own_administrator_is_no_user(self, plain):
        assert refusal(plain, "admin", "admin")

    def test_a_user_whose_entry_cannot_be_read_is_not_guessed_at(self, provider):
        """It is his passcode, but nobody knows his roles, nor how his name is written."""
        with pytest.raises(Unavailable, match="does not show users their own entry") as caught:
            verify(provider, "hidden", PASSCODES["hidden"])
        assert caught.value.user == "'hidden'"

    @pytest.mark.parametrize(
        ("name", "passcode", "why"),
        [
            ("alice", "", "passcode is empty"),
            ("", "correct horse", "user name is empty"),
            ("", "", "user name is empty"),
            (b"\xff\xfe", "x", "not UTF-8"),
            ("alice", b"\xff\xfe", "not UTF-8"),
            ("alice", "\0", "control characters"),
            ("alice", "correct horse\0", "control characters"),
            ("alice", "correct\nhorse", "control characters"),
            ("alice\0", "correct horse", "invisible"),
            ("alice\n", "correct horse", "invisible"),
            ("alice\u200b", "correct horse", "invisible"),
            ("ali\u00adce", "correct horse", "invisible"),
            (" alice", "correct horse", "invisible"),
            ("alice ", "correct horse", "invisible"),
            (" ", "correct horse", "invisible"),
            ("a" * 257, "correct horse", "more than 256 characters"),
            ("é" * 257, "correct horse", "more than 256 characters"),
            ("alice", "a" * 1025, "more than 1024 bytes"),
            ("alice", "é" * 513, "more than 1024 bytes"),
            (b"a" * 65535, b"b" * 65535, "more than 256 characters"),
        ],
    )
    def test_what_is_refused_without_asking(self, name, passcode, why):
        """An empty passcode above all: a directory would take it for an anonymous bind, and say yes (RFC 4513 5.1.2)."""
        with Scripted(silence) as server:
            error = refusal(LDAP(server.url, TEMPLATE, tls="none"), name, passcode)
            assert why in error.why
            assert server.connections == 0

    def test_the_longest_fields_are_asked_about(self, plain):
        assert "invalidCredentials" in refusal(plain, "é" * 256, "é" * 512).why


class TestTLS:
    @pytest.mark.parametrize("kind", ["ldap", "ldaps"])
    def test_a_certificate_of_another_ca_is_not_accepted(self, directory, kind, tmp_path):
        trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
        assert "certificate" in failure(LDAP(getattr(directory, kind), TEMPLATE, ca=tmp_path / "ca.pem"))
        assert "certificate" in failure(LDAP(getattr(directory, kind), TEMPLATE))

    @pytest.mark.parametrize("kind", ["ldap", "ldaps"])
    @pytest.mark.parametrize("name", ["elsewhere.example", "127.0.0.2", "*.0.0.1"])
    def test_a_certificate_with_another_name_is_not_accepted(self, kind, name):
        with Directory((name,)) as other:
            assert "is not accepted" in failure(LDAP(getattr(other, kind), TEMPLATE, ca=other.ca))

    def test_a_directory_without_tls_gets_no_passcode(self):
        with Directory(()) as other:
            assert "does not turn to TLS" in failure(LDAP(other.ldap, TEMPLATE))
            assert verify(LDAP(other.ldap, TEMPLATE, tls="none"), "alice", PASSCODES["alice"]).name == "alice"

    def test_a_directory_that_wants_tls_says_so(self):
        with Directory(options="security simple_bind=64") as other:
            assert "confidentialityRequired" in failure(LDAP(other.ldap, TEMPLATE, tls="none"))
            assert verify(LDAP(other.ldap, TEMPLATE, ca=other.ca), "alice", PASSCODES["alice"]).name == "alice"

    def test_plain_ldap_at_the_port_of_ldaps_and_the_reverse(self, directory):
        swapped = directory.ldap.replace("ldap:", "ldaps:"), directory.ldaps.replace("ldaps:", "ldap:")
        for url in swapped:
            assert failure(LDAP(url, TEMPLATE, ca=directory.ca, timeout=SHORT))

    @pytest.mark.parametrize("code", [1, 2, 52, 53, 80])
    def test_who_takes_tls_out_of_the_way_gets_no_passcode(self, code):
        with Scripted(lambda peer: answer(peer, extended(code))) as server:
            assert "does not turn to TLS" in failure(LDAP(server.url, TEMPLATE))
            assert b"correct horse" not in server.received

    def test_an_answer_slipped_in_before_tls_counts_for_nothing(self):
        """The answer to the bind, in plain, in one packet with that to StartTLS."""

        def forge(peer: socket.socket) -> None:
            number = message_id(peer)
            peer.sendall(message(number, extended(0)) + message(number + 1, bound(0)))
            suck(peer)

        with Scripted(forge) as server:
            assert failure(LDAP(server.url, TEMPLATE, timeout=SHORT))
            assert b"correct horse" not in server.received


class TestADirectoryInTrouble:
    def test_it_goes_away_and_comes_back(self):
        with Directory() as other:
            provider = LDAP(other.ldaps, TEMPLATE, ca=other.ca)
            verify(provider, "alice", PASSCODES["alice"])
            other.stop()
            assert "cannot be reached" in failure(provider)
            other.start()
            assert verify(provider, "alice", PASSCODES["alice"]).name == "alice"

    @pytest.mark.parametrize("tls", ["ldaps", "starttls", "none"])
    def test_it_hangs(self, directory, tls):
        url = directory.ldaps if tls == "ldaps" else directory.ldap
        how = {"tls": "none" if tls == "none" else "required", "ca": directory.ca}
        with directory.paused():
            assert "did not answer in time" in failure(LDAP(url, TEMPLATE, **how, timeout=SHORT))
        assert verify(LDAP(url, TEMPLATE, **how), "alice", PASSCODES["alice"]).name == "alice"

    def test_it_does_not_take_connections(self):
        with ExitStack() as stack:
            port = full(stack, "127.0.0.1")
            assert "timed out" in failure(LDAP(f"ldap://127.0.0.1:{port}", TEMPLATE, timeout=SHORT))

    def test_another_address_is_tried_in_time(self, monkeypatch):
        """The name server gives a dead address first: it may use up half of the time."""
        with ExitStack() as stack:
            server = stack.enter_context(Scripted(serve))
            full(stack, "127.0.0.2", server.port)
            resolve = socket.getaddrinfo

            def two(host, port, *args, **how):
                if host != "directory.example":
                    return resolve(host, port, *args, **how)
                return [each for one in ("127.0.0.2", "127.0.0.1") for each in resolve(one, port, *args, **how)]

            monkeypatch.setattr(socket, "getaddrinfo", two)
            provider = LDAP(f"ldap://directory.example:{server.port}", TEMPLATE, tls="none", timeout=8 * SHORT)
            assert verify(provider, "alice", "correct horse").name == "alice"

    def test_its_name_is_not_known(self, monkeypatch):
        def unknown(*_, **__):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        assert "Name or service not known" in failure(LDAP("ldaps://directory.example", TEMPLATE))

    @pytest.mark.parametrize("kind", ["ldap", "ldaps", "plain"])
    @pytest.mark.parametrize("way", ["silence", "drip", "close", "reset", "flood"])
    def test_it_answers_nothing_that_counts(self, kind, way):
        with Scripted(WAYS[way]) as server:
            url = server.url.replace("ldap:", "ldaps:") if kind == "ldaps" else server.url
            assert failure(LDAP(url, TEMPLATE, tls="none" if kind == "plain" else "required", timeout=SHORT))
            assert b"correct horse" not in server.received or kind == "plain"

    @pytest.mark.parametrize("kind", ["bound", "searched"])
    @pytest.mark.parametrize("way", ["silence", "drip", "close", "reset", "flood", "entries", "others", "nothing"])
    def test_it_stops_in_the_middle(self, kind, way):
        def act(peer: socket.socket) -> None:
            answer(peer, bound(0))
            if kind == "searched":
                peer.sendall(message(message_id(peer), entry(TEMPLATE.replace("{user}", "alice"))))
            WAYS[way](peer)

        with Scripted(act) as server:
            assert failure(LDAP(server.url, TEMPLATE, tls="none", timeout=SHORT))

    @given(st.binary(max_size=60))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_it_answers_bytes_of_any_kind(self, anything, data):
        anything.answer = data
        begun = time.monotonic()
        with pytest.raises(IdentityError):
            verify(LDAP(anything.url, TEMPLATE, tls="none", timeout=SHORT), "alice", "correct horse")
        assert time.monotonic() - begun < LATE

    @pytest.mark.parametrize("code", [1, 2, 3, 4, 7, 8, 10, 11, 12, 13, 14, 51, 52, 54, 71, 80, 90, 118, 4096])
    def test_it_says_that_it_cannot_tell(self, code):
        with Scripted(lambda peer: answer(peer, bound(code))) as server:
            assert failure(LDAP(server.url, TEMPLATE, tls="none"))

    @pytest.mark.parametrize("code", REFUSALS)
    def test_it_says_no_and_why(self, code):
        with Scripted(lambda peer: answer(peer, bound(code, b"data 52e\nlevel=error"))) as server:
            error = refusal(LDAP(server.url, TEMPLATE, tls="none"), "alice", "correct horse")
            assert r"'data 52e\nlevel=error'" in error.why
            assert "correct horse" not in str(error)

    def test_it_refers_to_another_which_is_not_asked(self):
        with Scripted(serve) as other:
            referral = tlv(0xA3, tlv(0x04, f"{other.url}/{SUFFIX}".encode()))
            with Scripted(lambda peer: answer(peer, bound(10, referral=referral))) as server:
                assert "cannot be read" in failure(LDAP(server.url, TEMPLATE, tls="none"))
            assert other.connections == 0

    @pytest.mark.parametrize("names", [(), ("uid=alice,ou=x", "uid=bob,ou=x"), ("",), ("alice",), (r"uid=\FF,ou=x",)])
    def test_an_entry_that_is_not_one_makes_no_user(self, names):
        def act(peer: socket.socket) -> None:
            answer(peer, bound(0))
            number = message_id(peer)
            peer.sendall(b"".join(message(number, entry(name)) for name in names) + message(number, searched(0)))
            suck(peer)

        with Scripted(act) as server:
            assert "own entry" in failure(LDAP(server.url, TEMPLATE, tls="none"))

    @pytest.mark.parametrize("code", [0, 49, 51])
    def test_it_is_taken_leave_of(self, code):
        """A connection that is cut is what its administrator looks into (RFC 4511 4.3)."""

        def act(peer: socket.socket) -> None:
            answer(peer, bound(code))
            suck(peer)

        with Scripted(act) as server:
            provider = LDAP(server.url, PRINCIPAL, tls="none")
            with suppress(IdentityError):
                verify(provider, "alice", "correct horse")
        assert server.received.endswith(b"\x42\x00")


class TestAPrincipalInsteadOfADN:
    """As with Active Directory, which a scripted server stands for."""

    @pytest.mark.parametrize("template", [PRINCIPAL, r"HOSPITAL\{user}"])
    def test_a_user_is_bound_by_it_and_has_no_roles(self, template):
        with Scripted(serve) as server:
            provider = LDAP(server.url, template, tls="none", roles=None)
            assert verify(provider, "Alice.B", "correct horse") == User("alice.b")
            assert template.replace("{user}", "Alice.B").encode() in server.received
            assert not provider.warning

    def test_it_is_said_that_there_are_no_roles(self, directory):
        assert "no roles" in LDAP(directory.ldaps, PRINCIPAL).warning
        assert not LDAP(directory.ldaps, TEMPLATE).warning

    @pytest.mark.parametrize("name", ["alice@evil", "EVIL\\alice", "al ice", "alice,", "müller", "alice/x", "a=b", "*"])
    def test_a_name_that_is_not_plain_is_not_asked_about(self, name):
        with Scripted(serve) as server:
            assert refusal(LDAP(server.url, PRINCIPAL, tls="none"), name, "correct horse").user
            assert server.connections == 0

    def test_a_directory_that_wants_a_dn_says_so(self, directory):
        assert "invalidDNSyntax" in refusal(LDAP(directory.ldap, PRINCIPAL, tls="none"), "alice", "correct horse").why


class TestSettings:
    @pytest.mark.parametrize(
        "url",
        [
            *("", "directory", "directory.example:636", "https://directory", "ldap:directory", "ldapi:///run/ldapi"),
            *("ldap://", "ldap://:389", "ldap://host:port", "ldap://host:70000", "ldap://user@host", "ldap://ho st"),
            *("ldap://host/dc=x", "ldap://host?x", "ldap://host#x", "ldap://[::1", f"ldap://{'a' * 64}"),
        ],
    )
    def test_the_address_is_one(self, url):
        with pytest.raises(SettingError) as caught:
            LDAP(url, TEMPLATE)
        assert caught.value.key == "url"

    @pytest.mark.parametrize(
        "url",
        [
            "ldap://host",
            "LDAPS://host/",
            "ldap://host:389",
            "ldaps://[::1]:1636",
            "ldap://127.0.0.1",
            "ldap://ä.example",
        ],
    )
    def test_these_are_addresses(self, url):
        assert LDAP(url, TEMPLATE).forms == {Form.PASSCODE}

    @pytest.mark.parametrize(
        "user",
        [
            *("", "alice", "uid=alice,dc=x", "{user}", "uid={user}", "{USER}@x", "uid={name},dc=x", "uid={user,dc=x"),
            *(
                "uid=x{user},dc=x",
                "dc=x,uid={user}",
                "uid={user},{user}",
                "uid={user},dc",
                "{user}@a b",
                "{user}@{user}",
            ),
            *("uid={user}+cn=x,dc=x", "uid={user},dc=x,", "(uid={user})", "a/b\\{user}", "u id={user},dc=x"),
        ],
    )
    def test_whom_to_bind_as_has_a_place_for_the_user(self, user):
        with pytest.raises(SettingError, match="write uid={user}") as caught:
            LDAP("ldaps://host", user)
        assert caught.value.key == "user"

    @pytest.mark.parametrize("content", [None, b"", b"no certificate", "key", "folder"], ids=str)
    def test_the_ca_is_a_file_with_certificates(self, tmp_path, content):
        path = tmp_path / "ca.pem"
        if content == "folder":
            path.mkdir()
        elif content == "key":
            trustme.CA().private_key_pem.write_to_path(path)
        elif content is not None:
            path.write_bytes(content)
        with pytest.raises(SettingError, match=r"ca\.pem") as caught:
            LDAP("ldaps://host", TEMPLATE, ca=path)
        assert caught.value.key == "ca"

    def test_ldaps_without_tls_is_no_sense(self):
        with pytest.raises(SettingError) as caught:
            LDAP("ldaps://host", TEMPLATE, tls="none")
        assert caught.value.key == "tls"

    @pytest.mark.parametrize("roles", ["", "member of", "memberOf;range=0-1", "*", "+", "1.1"])
    def test_roles_are_an_attribute(self, roles):
        with pytest.raises(SettingError) as caught:
            LDAP("ldaps://host", TEMPLATE, roles=roles)
        assert caught.value.key == "roles"


@pytest.mark.parametrize(
    ("dn", "value"),
    [
        ("cn=Radiology,ou=groups", "Radiology"),
        ("cn=Radiology", "Radiology"),
        ("CN=Heart\\, Lung,OU=x", "Heart, Lung"),
        ("cn=M\\C3\\BCller", "Müller"),
        ("cn=Müller+uid=x", "Müller"),
        ("2.5.4.3=a b", "a b"),
        ("cn=a\\\\b", "a\\b"),
        ("cn=\\20a", " a"),
        ("Radiology", None),
        ("cn=", None),
        ("=x", None),
        ("", None),
        ("cn=\\FF", None),
        ("cn=x\\", None),
    ],
)
def test_the_first_value_of_a_dn(dn, value):
    assert _first_value(dn) == value


class Scripted:
    """A server that does ``act`` with each connection. ``received`` is all that came, ``connections`` counts them."""

    def __init__(self, act) -> None:
        self.received = b""
        self.connections = 0
        self._act = act
        self._over = threading.Event()

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"ldap://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._serve, name="scripted directory")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self._listener.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            peer.settimeout(PATIENCE)
            with peer, suppress(OSError):
                self._act(_Recording(peer, self))


class _Recording:
    def __init__(self, peer: socket.socket, server: Scripted) -> None:
        self._peer = peer
        self._server = server

    def recv(self, size: int) -> bytes:
        came = self._peer.recv(size)
        self._server.received += came
        return came

    def __getattr__(self, name: str):
        return getattr(self._peer, name)


@pytest.fixture(scope="module")
def anything():
    """A server that says ``answer``, whatever it is asked, and closes."""

    def act(peer) -> None:
        peer.recv(4096)
        peer.sendall(server.answer)

    with Scripted(act) as server:
        yield server


# LDAP messages (RFC 4511), as far as they are needed to misbehave.
def tlv(tag: int, content: bytes) -> bytes:
    size = len(content).to_bytes(3, "big")
    return bytes((tag, 0x83)) + size + content


def message(number: int, operation: bytes) -> bytes:
    return tlv(0x30, tlv(0x02, number.to_bytes(4, "big")) + operation)


def _result(tag: int, code: int, words: bytes = b"", referral: bytes = b"") -> bytes:
    return tlv(tag, tlv(0x0A, code.to_bytes(2, "big")) + tlv(0x04, b"") + tlv(0x04, words) + referral)


def bound(code: int, words: bytes = b"", referral: bytes = b"") -> bytes:
    return _result(0x61, code, words, referral)


def searched(code: int) -> bytes:
    return _result(0x65, code)


def extended(code: int) -> bytes:
    return _result(0x78, code)


def entry(dn: str) -> bytes:
    return tlv(0x64, tlv(0x04, dn.encode()) + tlv(0x30, b""))


def message_id(peer) -> int:
    """Of the request that comes next."""
    request = peer.recv(4096)
    if not request:
        raise ConnectionError
    at = request.index(0x02)  # the first thing in the sequence, whose length is short
    return int.from_bytes(request[at + 2 : at + 2 + request[at + 1]], "big")


def answer(peer, operation: bytes) -> None:
    peer.sendall(message(message_id(peer), operation))


def suck(peer) -> None:
    while peer.recv(4096):
        pass


silence = suck


def drip(peer) -> None:
    """The beginning of an answer that never ends, a byte now and then."""
    peer.sendall(b"\x30\x84\x00\x01\x00\x00\x02\x01")
    gone = threading.Event()
    while not gone.wait(SHORT / 10):
        peer.sendall(b"\0")


def flood(peer) -> None:
    """An answer of 2 GiB, as fast as it goes."""
    peer.sendall(b"\x30\x84\x7f\xff\xff\xff")
    while True:
        peer.sendall(bytes(65536))


def entries(peer) -> None:
    """One entry after the other, and no end of the search."""
    number = message_id(peer)
    while True:
        peer.sendall(message(number, entry("uid=alice,ou=people")) * 100)


def others(peer) -> None:
    """Answers to what was not asked."""
    number = message_id(peer)
    while True:
        peer.sendall(message(number + 7, bound(0)) * 100)


def reset(peer) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def serve(peer) -> None:
    """Everybody may bind, and finds himself."""
    answer(peer, bound(0))
    number = message_id(peer)
    peer.sendall(message(number, entry(TEMPLATE.replace("{user}", "alice"))) + message(number, searched(0)))
    suck(peer)


WAYS = {
    "silence": silence,
    "drip": drip,
    "close": lambda peer: None,
    "reset": reset,
    "flood": flood,
    "entries": entries,
    "others": others,
    "nothing": lambda peer: peer.sendall(message(message_id(peer), b"")),
}


def full(stack: ExitStack, host: str, port: int = 0) -> int:
    """A port whose queue of connections is full: it answers no more of them, and does not refuse them."""
    listener = stack.enter_context(socket.create_server((host, port), backlog=0))
    for _ in range(4):
        waiting = stack.enter_context(socket.socket())
        waiting.setblocking(False)
        with suppress(BlockingIOError):
            waiting.connect(listener.getsockname())
    return listener.getsockname()[1]
