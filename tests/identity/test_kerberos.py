"""A Kerberos ticket makes a user once, for this service alone, and nothing else that is sent in its place does.

The realm is a real KDC, and the tickets are made by the system's library as a modality's would be.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import gssapi
import pytest
from components.realm import DCE_STYLE, INTEGRITY, OTHER_SERVICE, PATIENCE, SERVICE, SPNEGO, Realm, program
from gssapi import raw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scpd.client.kerberos import ticket
from scpd.errors import NotVerified, PeerError, ScpdError, SettingError, Unavailable
from scpd.identity.claim import Claim, Form, User
from scpd.identity.kerberos import Kerberos

MANY = 20
AP_REP = b"\x6f"  # the tag that begins one (RFC 4120 5.5.2)
VERIFY = """
import sys
from pathlib import Path
from scpd.errors import IdentityError
from scpd.identity.claim import Claim
from scpd.identity.kerberos import Kerberos
provider = Kerberos(Path(sys.argv[1]), sys.argv[2])
try:
    print(provider.verify(Claim(3, sys.stdin.buffer.read())).name)
except IdentityError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def realm():
    with Realm() as one:
        yield one


@pytest.fixture(scope="module")
def alice(realm):
    return realm.kinit("alice")


@pytest.fixture(scope="module")
def keytab(realm):
    return realm.keytab(SERVICE)


@pytest.fixture(autouse=True)
def _live_in(realm, alice, monkeypatch):
    """This process is the service and the peer at once: it has the realm's settings, and alice's tickets."""
    for name, value in realm.settings(alice).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def provider(realm, keytab):
    return Kerberos(keytab, SERVICE, [realm.name])


def verify(provider: Kerberos, token: bytes) -> User:
    return provider.verify(Claim(Form.KERBEROS, token))


def refusal(provider: Kerberos, token: bytes) -> str:
    """Why the token is not accepted."""
    with pytest.raises(NotVerified) as caught:
        verify(provider, token)
    assert repr(token)[2:-1] not in str(caught.value) or len(token) < 8, "a ticket got into an error"
    return caught.value.why


def bare(token: bytes) -> bytes:
    """The AP-REQ in a token of GSS-API (RFC 4121 4.1)."""
    header = bytes.fromhex("06092a864886f7120102020100")
    assert header in token
    return token.partition(header)[2]


class TestWhoIsKnown:
    def test_a_ticket_makes_a_user_and_the_service_proves_itself(self, provider):
        asked = ticket(SERVICE)
        user = verify(provider, asked.token)
        assert user.name == "alice"
        assert user.roles == frozenset()
        asked.confirm(user.response)

    def test_a_peer_that_asks_for_no_proof_gets_none(self, provider, realm, alice):
        assert verify(provider, realm.ticket(alice, flags=INTEGRITY)) == User("alice")

    def test_a_realm_that_is_not_listed_stays_in_the_name(self, keytab):
        assert verify(Kerberos(keytab, SERVICE), ticket(SERVICE).token).name == "alice@HOSPITAL.EXAMPLE"
        elsewhere = Kerberos(keytab, SERVICE, ["HOSPITAL.EXAMPLE.", "EXAMPLE", "hospital.example"])
        assert verify(elsewhere, ticket(SERVICE).token).name == "alice@HOSPITAL.EXAMPLE"

    def test_a_user_of_a_trusted_realm_keeps_it_in_the_name(self, provider, keytab, realm):
        with Realm("OTHER.EXAMPLE") as other:
            realm.trust(other)
            tokens = [other.ticket(other.kinit("alice"), f"{SERVICE}@{realm.name}") for _ in range(2)]
        assert verify(provider, tokens[0]).name == "alice@OTHER.EXAMPLE"
        assert verify(Kerberos(keytab, SERVICE, [realm.name, "OTHER.EXAMPLE"]), tokens[1]).name == "alice"

    def test_the_service_may_be_named_with_its_realm(self, keytab, realm):
        provider = Kerberos(keytab, f"{SERVICE}@{realm.name}", [realm.name])
        assert verify(provider, ticket(SERVICE).token).name == "alice"

    def test_a_service_is_a_user_too_by_its_whole_name(self, provider, realm):
        realm.add(**{"dicom/ct1.example": "a key"})
        ccache = realm.kinit("dicom/ct1.example", "a key")
        assert verify(provider, realm.ticket(ccache)).name == "dicom/ct1.example"

    def test_many_at_once(self, provider):
        tokens = [ticket(SERVICE).token for _ in range(MANY)]
        with ThreadPoolExecutor(MANY) as pool:
            users = list(pool.map(lambda token: verify(provider, token), tokens))
        assert [user.name for user in users] == ["alice"] * MANY
        assert len({user.response for user in users}) == MANY

    def test_the_environment_is_left_alone(self, provider):
        before = dict(os.environ)
        verify(provider, ticket(SERVICE).token)
        assert dict(os.environ) == before

    def test_nobody_in_particular_is_refused(self, provider, realm):
        """WELLKNOWN/ANONYMOUS itself only comes from a KDC that has certificates."""
        realm.add(**{"WELLKNOWN/SOMEBODY": "known to all"})
        ccache = realm.kinit("WELLKNOWN/SOMEBODY", "known to all")
        assert "nobody in particular" in refusal(provider, realm.ticket(ccache))

    def test_a_name_that_could_be_mistaken_for_another_is_refused(self, provider, realm):
        """Somebody of this realm who is called alice@OTHER.EXAMPLE is not alice of the other one."""
        realm.add(**{r"alice\@OTHER.EXAMPLE": "secret"})
        ccache = realm.kinit(r"alice\@OTHER.EXAMPLE", "secret")
        with pytest.raises(NotVerified, match="not plain text") as caught:
            verify(provider, realm.ticket(ccache))
        assert caught.value.user.startswith("'alice")


class TestWhatIsRefused:
    def test_the_same_ticket_again(self, provider, keytab):
        token = ticket(SERVICE).token
        verify(provider, token)
        assert "replay" in refusal(provider, token)
        assert "replay" in refusal(Kerberos(keytab, SERVICE), token)

    def test_the_same_ticket_many_times_at_once_is_accepted_once(self, provider):
        token = ticket(SERVICE).token

        def outcome(_: int) -> str:
            try:
                return verify(provider, token).name
            except NotVerified as error:
                return error.why

        with ThreadPoolExecutor(MANY) as pool:
            outcomes = list(pool.map(outcome, range(MANY)))
        assert outcomes.count("alice") == 1
        assert all("replay" in one for one in outcomes if one != "alice")

    def test_a_ticket_for_another_service(self, provider):
        assert "for another service" in refusal(provider, ticket(OTHER_SERVICE).token)

    def test_a_ticket_for_another_service_whose_key_is_in_the_keytab_too(self, realm):
        both = realm.keytab(SERVICE, OTHER_SERVICE)
        assert "for another service" in refusal(Kerberos(both, SERVICE), ticket(OTHER_SERVICE).token)

    def test_a_ticket_of_another_realm_with_the_same_names(self, provider):
        with Realm() as impostor:
            token = impostor.ticket(impostor.kinit("alice"))
        assert "key that is not in the keytab" in refusal(provider, token)

    @pytest.mark.parametrize(
        ("clock", "lifetime", "why"),
        [
            ("+2h", "1h", "has expired"),
            ("+2h", "5h", "clocks of the peer and of this machine differ"),
            ("-2h", "1h", "not valid yet"),
        ],
    )
    def test_a_ticket_at_the_wrong_time(self, realm, keytab, clock, lifetime, why):
        token = realm.ticket(realm.kinit("alice", lifetime=lifetime))
        done = subprocess.run(
            [program("faketime"), "-f", clock, sys.executable, "-c", VERIFY, keytab, SERVICE],
            env=realm.environment(),
            input=token,
            stdout=subprocess.PIPE,
            timeout=PATIENCE,
            check=True,
        )
        assert done.stdout.decode().startswith("NotVerified ")
        assert why in done.stdout.decode()

    def test_an_empty_claim(self, provider):
        assert "no ticket" in refusal(provider, b"")

    @pytest.mark.parametrize("kept", [1, 2, 3, 10, 13, 16, 17, 18, 40, 100, 300, -100, -1])
    @pytest.mark.parametrize("strip", [bytes, bare], ids=["gss", "alone"])
    def test_a_ticket_that_was_cut_off(self, provider, kept, strip):
        assert refusal(provider, strip(ticket(SERVICE).token)[:kept])

    def test_a_ticket_with_something_after_it(self, provider):
        assert refusal(provider, ticket(SERVICE).token + b"\0")

    @pytest.mark.parametrize(
        "start", [b"", b"\x60", b"\x6e", b"\x60\x82\xff\xfb", b"\x6e\x84\xff\xff\xff\xff", b"NTLMSSP\0"]
    )
    def test_as_much_junk_as_a_claim_can_hold(self, provider, start):
        assert refusal(provider, start + os.urandom(65535 - len(start)))

    @given(st.binary(max_size=300))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_bytes_of_any_kind(self, provider, data):
        assert refusal(provider, data)

    @given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_a_ticket_with_a_byte_changed_makes_nobody_else(self, provider, place, change):
        token = bytearray(ticket(SERVICE).token)
        token[int(place * len(token))] ^= change
        try:
            user = verify(provider, bytes(token))
        except NotVerified:
            return
        assert user.name == "alice"  # some bytes of a ticket mean nothing, such as the name of the service

    def test_another_mechanism_around_the_same_ticket(self, provider, realm, alice):
        assert refusal(provider, realm.ticket(alice, mechanism=SPNEGO))

    @pytest.mark.parametrize("strip", [bytes, bare], ids=["gss", "alone"])
    def test_a_context_that_wants_a_third_token(self, provider, realm, alice, strip):
        token = realm.ticket(alice, flags=DCE_STYLE | 2)
        assert refusal(provider, token if token.startswith(b"\x60") else strip(_with_header(token)))


def _with_header(ap_req: bytes) -> bytes:
    body = bytes.fromhex("06092a864886f7120102020100") + ap_req
    return b"\x60\x82" + len(body).to_bytes(2, "big") + body


class TestKeys:
    def test_an_old_ticket_counts_as_long_as_its_key_is_kept(self, realm):
        realm.administer("addprinc -randkey dicom/rotated.example")
        service = "dicom/rotated.example"
        keytab = realm.keytab(service)
        provider = Kerberos(keytab, service, [realm.name])
        early, late = realm.kinit("alice"), realm.kinit("bob")
        old = [realm.ticket(early, service) for _ in range(2)]
        realm.rotate(service, keytab)
        assert verify(provider, old[0]).name == "alice"
        assert verify(provider, realm.ticket(late, service)).name == "bob"
        realm.administer(f"ktremove -k {keytab} {service} old")  # leaves a hole in the file
        assert "key that is not in the keytab" in refusal(provider, old[1])
        assert verify(provider, realm.ticket(late, service)).name == "bob"

    def test_a_renewed_keytab_is_used_at_once(self, realm):
        service = "dicom/renewed.example"
        realm.administer(f"addprinc -randkey {service}")
        keytab = realm.keytab(service)
        provider = Kerberos(keytab, service, [realm.name])
        realm.administer(f"cpw -randkey {service}")
        token = realm.ticket(realm.kinit("alice"), service)
        assert "key that is not in the keytab" in refusal(provider, token)
        realm.keytab(service).replace(keytab)
        assert verify(provider, token).name == "alice"

    @pytest.mark.parametrize("content", [None, b"", b"no keytab", b"\x05\x02", "cut"], ids=str)
    def test_a_keytab_that_is_spoiled_later_makes_it_unavailable_until_it_is_mended(self, realm, content):
        keytab = realm.keytab(SERVICE)
        good = keytab.read_bytes()
        provider = Kerberos(keytab, SERVICE, [realm.name])
        if content is None:
            keytab.unlink()
        else:
            keytab.write_bytes(good[:-10] if content == "cut" else content)
        token = ticket(SERVICE).token
        with pytest.raises(Unavailable, match=keytab.name):
            verify(provider, token)
        keytab.write_bytes(good)
        assert verify(provider, token).name == "alice"

    def test_a_service_that_has_left_the_keytab_makes_it_unavailable(self, realm):
        keytab = realm.keytab(SERVICE)
        provider = Kerberos(keytab, SERVICE)
        realm.keytab(OTHER_SERVICE).replace(keytab)
        with pytest.raises(Unavailable, match="has no key of dicom/pacs.example"):
            verify(provider, ticket(SERVICE).token)

    def test_without_a_replay_cache_nobody_is_known(self, provider, monkeypatch, tmp_path):
        """A ticket could else be used twice."""
        token = ticket(SERVICE).token
        monkeypatch.setenv("KRB5RCACHEDIR", str(tmp_path / "missing"))
        with pytest.raises(Unavailable, match="replay cache"):
            verify(provider, token)


class _Data(ctypes.Structure):
    _fields_ = (("magic", ctypes.c_int32), ("length", ctypes.c_uint), ("data", ctypes.c_void_p))


class Krb5:
    """The system's library below GSS-API: what a program makes that follows RFC 1510 to the letter, as PS3.7 says."""

    MUTUAL = 0x20000000

    def __init__(self, ccache) -> None:
        self._library = ctypes.CDLL("libkrb5.so.3")
        self._context, self._ccache, self._exchange = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
        assert self._library.krb5_init_context(ctypes.byref(self._context)) == 0
        name = f"FILE:{ccache}".encode()
        assert self._library.krb5_cc_resolve(self._context, name, ctypes.byref(self._ccache)) == 0

    def request(self, service: str, host: str, options: int, data: bytes | None) -> bytes:
        """An AP-REQ; its checksum is that of ``data``, or there is none."""
        out, covered = _Data(), None if data is None else ctypes.byref(_Data(0, len(data), None))
        arguments = (ctypes.c_int32(options), service.encode(), host.encode(), covered, self._ccache, ctypes.byref(out))
        assert self._library.krb5_mk_req(self._context, ctypes.byref(self._exchange), *arguments) == 0
        return ctypes.string_at(out.data, out.length)

    def is_confirmed_by(self, response: bytes) -> bool:
        """Whether ``response`` is the AP-REP to the request."""
        buffer, out = ctypes.create_string_buffer(response, len(response)), ctypes.c_void_p()
        answer = _Data(0, len(response), ctypes.cast(buffer, ctypes.c_void_p))
        return self._library.krb5_rd_rep(self._context, self._exchange, ctypes.byref(answer), ctypes.byref(out)) == 0


class TestAnAPREQAlone:
    """PS3.7 D.3.3.7 speaks of RFC 1510, which knows no GSS-API."""

    def test_a_request_of_the_library_below_is_accepted_and_answered_alike(self, provider, alice):
        peer, other = Krb5(alice), Krb5(alice)
        user = verify(provider, peer.request("dicom", "pacs.example", Krb5.MUTUAL, b""))
        assert user.name == "alice"
        assert peer.is_confirmed_by(user.response)
        other.request("dicom", "pacs.example", Krb5.MUTUAL, b"")
        assert not other.is_confirmed_by(user.response)

    def test_a_request_that_asks_for_no_answer_gets_none(self, provider, alice):
        assert verify(provider, Krb5(alice).request("dicom", "pacs.example", 0, b"")) == User("alice")

    def test_a_request_without_a_checksum_is_accepted_without_an_answer(self, provider, alice):
        """The library takes the flags of GSS-API from the checksum."""
        assert verify(provider, Krb5(alice).request("dicom", "pacs.example", Krb5.MUTUAL, None)) == User("alice")

    def test_one_without_its_header_is_answered_without_a_header(self, provider):
        user = verify(provider, bare(ticket(SERVICE).token))
        assert user.name == "alice"
        assert user.response.startswith(AP_REP)

    def test_it_is_a_replay_with_or_without_the_header(self, provider):
        token = ticket(SERVICE).token
        verify(provider, token)
        assert "replay" in refusal(provider, bare(token))

    def test_for_another_service(self, provider, alice):
        assert "another service" in refusal(provider, Krb5(alice).request("other", "pacs.example", 0, b""))


class TestSettings:
    @pytest.mark.parametrize("service", ["", "dicom", "dicom/", "/pacs", "a b/c", "dicom/pacs@", "a/b@C@D", "a\\/b"])
    def test_a_service_is_a_principal(self, keytab, service):
        with pytest.raises(SettingError, match="names no service") as caught:
            Kerberos(keytab, service)
        assert caught.value.key == "service"

    @pytest.mark.parametrize("service", [OTHER_SERVICE, f"{SERVICE}@OTHER.EXAMPLE", "dicom/pacs", "DICOM/pacs.example"])
    def test_its_key_is_in_the_keytab(self, keytab, service):
        with pytest.raises(SettingError, match=r"has no key .*of 'dicom/pacs\.example@HOSPITAL") as caught:
            Kerberos(keytab, service)
        assert caught.value.key == "service"

    def test_a_service_in_two_realms_is_named_with_one(self, realm, tmp_path):
        with Realm("OTHER.EXAMPLE") as other:
            both = tmp_path / "keytab"
            both.write_bytes(realm.keytab(SERVICE).read_bytes() + other.keytab(SERVICE).read_bytes()[2:])
            both.chmod(0o600)
            with pytest.raises(SettingError, match="several realms") as caught:
                Kerberos(both, SERVICE)
            assert caught.value.key == "service"
            provider = Kerberos(both, f"{SERVICE}@{realm.name}", [realm.name])
            assert verify(provider, ticket(SERVICE).token).name == "alice"
            assert refusal(provider, other.ticket(other.kinit("alice")))

    @pytest.mark.parametrize(
        "content",
        [b"", b"\x05", b"\x05\x01", b"\x05\x02\0", b"\x05\x02\0\0\0\x09", b"\x05\x02\0\0\0\x01a", b"-----BEGIN", "cut"],
        ids=str,
    )
    def test_a_file_that_is_no_keytab(self, keytab, tmp_path, content):
        path = tmp_path / "keytab"
        path.write_bytes(keytab.read_bytes()[:60] if content == "cut" else content)
        path.chmod(0o600)
        with pytest.raises(SettingError, match="is no keytab") as caught:
            Kerberos(path, SERVICE)
        assert caught.value.key == "keytab"

    def test_a_keytab_that_is_missing_or_no_file(self, tmp_path):
        for path, why in ((tmp_path / "missing", "No such file"), (tmp_path, "Is a directory")):
            with pytest.raises(SettingError, match=why) as caught:
                Kerberos(path, SERVICE)
            assert caught.value.key == "keytab"

    @pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o666])
    def test_a_keytab_for_everybody_is_refused(self, realm, mode):
        path = realm.keytab(SERVICE)
        path.chmod(mode)
        with pytest.raises(SettingError, match="chmod o=") as caught:
            Kerberos(path, SERVICE)
        assert caught.value.key == "keytab"

    @pytest.mark.parametrize("mode", [0o400, 0o600, 0o640])
    def test_a_keytab_for_its_owner_and_his_group_is_not(self, realm, mode):
        path = realm.keytab(SERVICE)
        path.chmod(mode)
        assert verify(Kerberos(path, SERVICE, [realm.name]), ticket(SERVICE).token).name == "alice"

    @given(st.binary(max_size=200))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_bytes_of_any_kind_are_no_keytab(self, tmp_path, data):
        path = tmp_path / "keytab"
        path.write_bytes(b"\x05\x02" + data)
        path.chmod(0o600)
        with pytest.raises(SettingError):
            Kerberos(path, SERVICE)


class TestTheSideThatAsks:
    def test_without_tickets_it_says_what_to_do(self, monkeypatch, tmp_path):
        monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path / 'missing'}")
        with pytest.raises(ScpdError, match="run kinit first"):
            ticket(SERVICE)

    @pytest.mark.parametrize("service", ["dicom/unknown.example", "", "a@b@c"])
    def test_a_service_that_the_realm_does_not_know(self, service):
        with pytest.raises(ScpdError, match="no Kerberos ticket for"):
            ticket(service)

    @pytest.mark.parametrize("response", [b"", b"\0", b"\x6f\x03abc", bytes(65535)], ids=["none", "0", "bare", "much"])
    def test_an_answer_that_proves_nothing(self, response):
        with pytest.raises(PeerError, match="did not prove"):
            ticket(SERVICE).confirm(response)

    def test_the_answer_to_another_ticket_proves_nothing(self, provider):
        one, other = ticket(SERVICE), ticket(SERVICE)
        with pytest.raises(PeerError, match="did not prove"):
            one.confirm(verify(provider, other.token).response)

    def test_its_own_token_proves_nothing(self):
        asked = ticket(SERVICE)
        with pytest.raises(PeerError, match="did not prove"):
            asked.confirm(asked.token)

    def test_an_answer_counts_once(self, provider):
        asked = ticket(SERVICE)
        response = verify(provider, asked.token).response
        asked.confirm(response)
        with pytest.raises(PeerError, match="did not prove"):
            asked.confirm(response)

    def test_a_service_that_answers_with_an_error_proves_nothing(self, provider, keytab):
        """The library makes a KRB-ERROR for the peer, which the provider keeps to itself."""
        asked = ticket(SERVICE)
        verify(provider, asked.token)
        credentials = raw.acquire_cred_from({b"keytab": bytes(keytab)}, usage="accept").creds
        with pytest.raises(gssapi.exceptions.GSSError) as caught:
            raw.accept_sec_context(asked.token, credentials)
        assert caught.value.token
        with pytest.raises(PeerError, match="did not prove"):
            asked.confirm(caught.value.token)

    def test_a_ticket_keeps_its_token_to_itself(self):
        asked = ticket(SERVICE)
        assert asked.token.hex() not in repr(asked)
        assert repr(asked.token) not in repr(asked)
