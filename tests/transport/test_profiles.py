"""Each profile allows what PS3.15 says and nothing else, and certificates are believed for the right reasons only.

The far end is the system's ``openssl``, with everything allowed that it can do.
"""

from __future__ import annotations

import os
import queue
import re
import select
import socket
import ssl
import subprocess
import threading
from contextlib import suppress

import pytest
from components.authority import LONG_AGO, NEXT_YEAR, TOMORROW, YESTERDAY, Authority

from scpd.errors import ConnectionLost, SettingError
from scpd.transport.deadline import Deadline
from scpd.transport.profiles import PROFILES, TLSFiles, client_context, describe, server_context
from scpd.transport.tls import SecureConnection

PATIENCE = 20.0
GREETING = b"well met\n"
WITH_TLS_1_2 = ("bcp195", "bcp195-modified", "bcp195-nd")
VERSIONS = pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
EVERYTHING = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"

GCM = {f"ECDHE-{auth}-{rest}" for auth in ("ECDSA", "RSA") for rest in ("AES128-GCM-SHA256", "AES256-GCM-SHA384")}
ALLOWED = {
    "bcp195": GCM,
    "bcp195-modified": GCM
    | {"ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-CCM"}
    | {"ECDHE-ECDSA-AES256-CCM"},
    "bcp195-nd": GCM | {"DHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-GCM-SHA384"},
}
SUITES_OF_1_3 = {"TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"}
REFUSED = (
    *("AES128-SHA", "AES128-GCM-SHA256", "AES256-SHA256", "ECDHE-RSA-AES128-SHA256", "ECDHE-RSA-AES128-SHA"),
    *("ECDHE-RSA-AES256-SHA384", "DHE-RSA-AES128-SHA", "DHE-RSA-CHACHA20-POLY1305", "DHE-RSA-AES128-CCM"),
    *("ECDHE-RSA-CAMELLIA128-SHA256", "CAMELLIA128-SHA", "NULL-SHA256", "ECDHE-RSA-NULL-SHA", "ADH-AES128-GCM-SHA256"),
)


def soon() -> Deadline:
    return Deadline.after(PATIENCE, "artim", "nothing came")


class Serving:
    """A server on a thread: greets (or hears) whoever ends the handshake well, and closes. ``ends`` are how it went."""

    def __init__(self, context: ssl.SSLContext, *, listens: bool = False) -> None:
        self.context = context
        self.ends: queue.Queue = queue.Queue()
        self._listens = listens
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            self.ends.put(self._serve(SecureConnection(sock, "the probe", self.context, server_side=True)))

    def _serve(self, connection: SecureConnection):
        try:
            connection.begin(soon())
            if self._listens:
                connection.receive(memoryview(bytearray(100)), soon())
            else:
                connection.send((GREETING,), PATIENCE)
        except ConnectionLost as error:
            return str(error)
        finally:
            connection.close()
        return connection

    def stop(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(PATIENCE)


@pytest.fixture
def serving():
    made = []

    def start(context, **how):
        made.append(Serving(context, **how))
        return made[-1]

    yield start
    for one in made:
        one.stop()


class Probe:
    """One run of ``openssl s_client``: what it printed, and how it went at the server."""

    def __init__(self, program: str, server: Serving, *arguments, says: str = "") -> None:
        command = [program, "s_client", "-connect", server.address, "-no_ign_eof" if says else "-ign_eof", *arguments]
        done = subprocess.run(
            [*map(str, command)],
            input=says.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
        )
        self.output = done.stdout.decode(errors="replace")
        self.end = server.ends.get(timeout=PATIENCE)

    @property
    def tls(self):
        assert isinstance(self.end, SecureConnection), f"{self.end}\n{self.output}"
        assert GREETING.decode() in self.output
        return self.end.tls

    @property
    def refusal(self) -> str:
        assert isinstance(self.end, str), f"accepted with {self.end.tls}"
        assert GREETING.decode() not in self.output
        return self.end.removeprefix("the TLS handshake failed: ")


@pytest.fixture
def probe(peer):
    program = peer("openssl")

    def run(server, *arguments, **how):
        return Probe(program, server, *arguments, **how)

    return run


class Far:
    """``openssl s_server`` on a free port."""

    def __init__(self, program: str, *arguments) -> None:
        command = [program, "s_server", "-accept", "127.0.0.1:0", *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.output = b""
        self.port = int(self.says(rb"ACCEPT .*:(\d+)\n")[1])

    def says(self, pattern: bytes) -> re.Match:
        while not (found := re.search(pattern, self.output)):
            assert select.select([self.process.stdout], [], [], PATIENCE)[0], f"no {pattern!r} in {self.output}"
            more = os.read(self.process.stdout.fileno(), 65536)
            assert more, f"it ended without {pattern!r}: {self.output}"
            self.output += more
        return found

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)


@pytest.fixture
def far(peer):
    made = []

    def start(issued, *arguments):
        made.append(Far(peer("openssl"), "-cert", issued.certificate, "-key", issued.key, *arguments))
        return made[-1]

    yield start
    for one in made:
        one.stop()


@pytest.fixture
def call():
    """Connect with a context; the connection, its handshake done."""
    made = []

    def connect(context, port, name="localhost"):
        sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        made.append(SecureConnection(sock, "the far end", context, server_side=False, server_hostname=name))
        made[-1].begin(soon())
        return made[-1]

    yield connect
    for one in made:
        one.close()


class Site:
    """What all tests look at and none changes."""

    def __init__(self, folder) -> None:
        self.authority = Authority(folder)
        self.stranger = Authority(folder, "Another CA")
        self.intermediate = self.authority.intermediate()
        self.host = {"ECDSA": self.authority.server(), "RSA": self.authority.server(kind="rsa2048")}
        self.device = self.authority.client()
        self.devices = {
            "none": None,
            "right": self.device,
            "rsa": self.authority.client(kind="rsa2048"),
            "ed25519": self.authority.client(kind="ed25519"),
            "unspecific": self.authority.client(use="any"),
            "stranger": self.stranger.client(),
            "impostor": Authority(folder).client(),
            "expired": self.authority.client(ends=YESTERDAY),
            "not yet valid": self.authority.client(begins=TOMORROW),
            "wrong purpose": self.authority.client(use="server"),
            "weak": self.authority.client(kind="rsa1024"),
            "revoked": self.authority.client(),
        }
        self.authority.revoke(self.devices["revoked"])
        self.crl = self.authority.revocation_list()

    def files(self, auth: str = "ECDSA", **how) -> TLSFiles:
        return TLSFiles(self.host[auth].certificate, self.host[auth].key, **how)

    def server(self, profile: str = "bcp195", auth: str = "ECDSA") -> ssl.SSLContext:
        return server_context(self.files(auth), profile=profile)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return Site(tmp_path_factory.mktemp("site"))


def shows(issued) -> tuple:
    return ("-cert", issued.certificate, "-key", issued.key) if issued else ()


# -- versions


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_nothing_below_tls_1_2(serving, probe, site, profile, version):
    refusal = probe(serving(site.server(profile)), version, "-cipher", "ALL:@SECLEVEL=0").refusal
    assert refusal == "the peer offers no version of TLS that is allowed here"


@pytest.mark.parametrize("profile", PROFILES)
def test_tls_1_3_is_preferred_everywhere(serving, probe, site, profile):
    assert probe(serving(site.server(profile)), "-cipher", EVERYTHING).tls.version == "TLSv1.3"


@pytest.mark.parametrize("profile", WITH_TLS_1_2)
def test_tls_1_2_is_allowed(serving, probe, site, profile):
    assert probe(serving(site.server(profile)), "-tls1_2").tls.version == "TLSv1.2"


def test_tls_1_2_is_refused_where_1_3_is_alone(serving, probe, site):
    refusal = probe(serving(site.server("tls13")), "-tls1_2", "-cipher", EVERYTHING).refusal
    assert refusal == "the peer offers no version of TLS that is allowed here"


# -- cipher suites


@pytest.mark.parametrize(("profile", "suite"), [(one, suite) for one in ALLOWED for suite in sorted(ALLOWED[one])])
def test_suite_of_the_profile_is_accepted(serving, probe, site, profile, suite):
    server = serving(site.server(profile, "ECDSA" if "ECDSA" in suite else "RSA"))
    assert probe(server, "-tls1_2", "-cipher", suite).tls.cipher == suite


@pytest.mark.parametrize("suite", REFUSED)
def test_suite_of_no_profile_is_refused(serving, probe, site, suite):
    for profile in WITH_TLS_1_2:
        refusal = probe(serving(site.server(profile, "RSA")), "-tls1_2", "-cipher", f"{suite}:@SECLEVEL=0").refusal
        assert refusal == "the peer offers no cipher suite that is allowed here"


@pytest.mark.parametrize("auth", ["RSA", "ECDSA"])
@pytest.mark.parametrize("profile", WITH_TLS_1_2)
def test_all_other_suites_that_there_are_together_are_refused(serving, probe, site, profile, auth):
    others = ":".join((EVERYTHING, *(f"!{suite}" for suite in ALLOWED[profile])))
    refusal = probe(serving(site.server(profile, auth)), "-tls1_2", "-cipher", others).refusal
    assert refusal == "the peer offers no cipher suite that is allowed here"


def test_openssl_here_has_the_suites_that_are_probed(peer):
    """Otherwise a refusal proves nothing."""
    command = [peer("openssl"), "ciphers", "-s", "-tls1_2", EVERYTHING]
    known = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout.strip()
    assert {*REFUSED, *set.union(*ALLOWED.values())} <= {*known.split(":")}


@pytest.mark.parametrize("profile", ["bcp195", "bcp195-modified"])
def test_dhe_is_for_older_devices_alone(serving, probe, site, profile):
    server = serving(site.server(profile, "RSA"))
    assert "no cipher suite" in probe(server, "-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256").refusal


def test_dhe_has_2048_bits(serving, probe, site):
    server = serving(site.server("bcp195-nd", "RSA"))
    assert "Server Temp Key: DH, 2048 bits" in probe(server, "-tls1_2", "-cipher", "DHE+AESGCM").output


def test_dhe_parameters_leave_no_descriptor_behind(site):
    before = os.listdir("/proc/self/fd")
    site.server("bcp195-nd")
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.parametrize("suite", sorted(SUITES_OF_1_3))
@pytest.mark.parametrize("profile", PROFILES)
def test_suites_of_tls_1_3(serving, probe, site, profile, suite):
    assert probe(serving(site.server(profile)), "-tls1_3", "-ciphersuites", suite).tls.cipher == suite


def test_suite_of_tls_1_3_with_a_short_tag_is_refused(serving, probe, site):
    server = serving(site.server())
    assert "no cipher suite" in probe(server, "-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_8_SHA256").refusal


def test_the_server_chooses_and_takes_the_longer_key(serving, probe, site):
    server = serving(site.server())
    older = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"
    newer = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"
    assert probe(server, "-tls1_2", "-cipher", older).tls.cipher == "ECDHE-ECDSA-AES256-GCM-SHA384"
    assert probe(server, "-tls1_3", "-ciphersuites", newer).tls.cipher == "TLS_AES_256_GCM_SHA384"


def test_signatures_with_sha_1_are_refused(serving, probe, site):
    """A client of TLS 1.2 that cannot verify anything else."""
    server = serving(site.server(auth="RSA"))
    assert probe(server, "-tls1_2", "-sigalgs", "RSA+SHA1", "-cipher", EVERYTHING).refusal


@pytest.mark.parametrize("profile", PROFILES)
def test_words_name_what_is_allowed_and_nothing_else(profile):
    words = describe(profile)
    assert {*re.findall(r"\w*DHE-[A-Z0-9-]+", words)} == ALLOWED.get(profile, set())
    assert {*re.findall(r"TLS_\w+", words)} == SUITES_OF_1_3
    assert ("TLS 1.2 with" in words) == (profile != "tls13")
    section = {"bcp195": "B.12", "bcp195-modified": "B.13", "bcp195-nd": "B.10", "tls13": "no profile of PS3.15"}
    assert section[profile] in words


@pytest.mark.parametrize("make", [describe, lambda profile: client_context(TLSFiles(), profile=profile)])
def test_profile_that_there_is_not(make):
    with pytest.raises(ValueError, match=r"'ssl3' is no TLS profile; write one of bcp195, bcp195-modified, "):
        make("ssl3")


# -- what goes on after the handshake


def test_renegotiation_is_refused(serving, probe, site):
    """s_client ends over it, as a device might; what counts is that there is none."""
    got = probe(serving(site.server(), listens=True), "-tls1_2", says="R\n")
    assert "RENEGOTIATING" in got.output
    assert "no renegotiation" in got.output


@VERSIONS
def test_nothing_is_compressed(serving, probe, site, version):
    got = probe(serving(site.server()), version, "-comp", "-cipher", EVERYTHING)
    assert got.tls
    assert "Compression: NONE" in got.output


@VERSIONS
@pytest.mark.parametrize("profile", WITH_TLS_1_2)
def test_no_ticket_is_given(serving, probe, site, profile, version):
    got = probe(serving(site.server(profile)), version)
    assert got.tls
    assert "session ticket" not in got.output.lower()


def test_tls_1_3_has_no_session_to_resume(serving, probe, site, tmp_path):
    session = tmp_path / "session"
    assert probe(serving(site.server()), "-tls1_3", "-sess_out", session).tls
    assert not session.exists()


@pytest.fixture
def mutual(site):
    return lambda: server_context(site.files(ca=site.authority.certificate), client="required")


def test_session_of_tls_1_2_is_resumed_as_who_it_was(serving, probe, site, mutual, tmp_path):
    """Python cannot turn off what OpenSSL keeps by identifier. A peer gains a shorter handshake and nothing else."""
    session, server = tmp_path / "session", serving(mutual())
    first = probe(server, "-tls1_2", "-sess_out", session, *shows(site.device)).tls
    again = probe(server, "-tls1_2", "-sess_in", session)
    assert "Reused, TLSv1.2" in again.output
    assert again.tls.peer_certificate == first.peer_certificate
    assert again.end._engine.session.timeout <= 2 * 60 * 60


def test_another_context_knows_no_session(serving, probe, site, mutual, tmp_path):
    """So a reload ends what a certificate may do that was revoked."""
    session = tmp_path / "session"
    assert probe(serving(mutual()), "-tls1_2", "-sess_out", session, *shows(site.device)).tls
    refusal = probe(serving(mutual()), "-tls1_2", "-sess_in", session).refusal
    assert refusal == "the peer sent no certificate, and one is required"


# -- certificates of clients

WORDS = {
    "none": "the peer sent no certificate, and one is required",
    "stranger": "unable to get local issuer certificate",
    "impostor": "certificate signature failure",
    "expired": "certificate has expired",
    "not yet valid": "certificate is not yet valid",
    "wrong purpose": "certificate purpose",
    "weak": "EE certificate key too weak",
    "revoked": "certificate revoked",
}
GOOD = ("right", "rsa", "ed25519", "unspecific")
DEVICES = pytest.mark.parametrize("device", [*GOOD, *WORDS])


@VERSIONS
@DEVICES
def test_certificate_that_is_required(serving, probe, site, version, device):
    files = site.files(ca=site.authority.certificate, crl=site.crl)
    server = serving(server_context(files, client="required"))
    got = probe(server, version, "-cipher", EVERYTHING, *shows(site.devices[device]))
    if device in GOOD:
        assert ("DNS", "ct1.example") in got.tls.peer_certificate["subjectAltName"]
    else:
        assert WORDS[device] in got.refusal


@DEVICES
def test_certificate_that_is_optional(serving, probe, site, device):
    """Whoever shows none is let in, and a bad one is worse than none."""
    files = site.files(ca=site.authority.certificate, crl=site.crl)
    server = serving(server_context(files, client="optional"))
    got = probe(server, "-cipher", EVERYTHING, *shows(site.devices[device]))
    if device in GOOD:
        assert ("DNS", "ct1.example") in got.tls.peer_certificate["subjectAltName"]
    elif device == "none":
        assert got.tls.peer_certificate is None
    else:
        assert WORDS[device] in got.refusal


@pytest.mark.parametrize("device", ["none", "right", "stranger", "expired", "revoked"])
def test_certificate_that_nobody_asks_for(serving, probe, site, device):
    """A CA may be named all the same, as where one configuration serves several servers."""
    for files in (site.files(), site.files(ca=site.authority.certificate, crl=site.crl)):
        got = probe(serving(server_context(files)), *shows(site.devices[device]))
        assert got.tls.peer_certificate is None
        assert "No client certificate CA names sent" in got.output


@pytest.mark.parametrize("client", ["optional", "required"])
def test_revocation_counts_only_where_there_is_a_list(serving, probe, site, client):
    server = serving(server_context(site.files(ca=site.authority.certificate), client=client))
    assert probe(server, *shows(site.devices["revoked"])).tls.peer_certificate


def test_revocation_list_that_has_ended_refuses_everybody(serving, probe, site):
    crl = site.authority.revocation_list(ends=YESTERDAY)
    server = serving(server_context(site.files(ca=site.authority.certificate, crl=crl), client="required"))
    assert "CRL has expired" in probe(server, *shows(site.device)).refusal


def test_peer_whose_issuer_has_no_revocation_list_is_refused(serving, probe, site):
    crl = site.stranger.revocation_list()
    server = serving(server_context(site.files(ca=site.authority.certificate, crl=crl), client="required"))
    assert "unable to get certificate CRL" in probe(server, *shows(site.device)).refusal


def test_several_cas_and_several_lists_in_a_file(serving, probe, site, tmp_path):
    ca, crl = tmp_path / "cas.pem", tmp_path / "crls.pem"
    ca.write_bytes(site.stranger.certificate.read_bytes() + b"# ours\n" + site.authority.certificate.read_bytes())
    crl.write_bytes(site.stranger.revocation_list().read_bytes() + site.crl.read_bytes())
    server = serving(server_context(site.files(ca=ca, crl=crl), client="required"))
    assert probe(server, *shows(site.device)).tls.peer_certificate
    assert probe(server, *shows(site.devices["stranger"])).tls.peer_certificate
    assert "certificate revoked" in probe(server, *shows(site.devices["revoked"])).refusal


class TestIntermediate:
    @pytest.fixture
    def device(self, site):
        return site.intermediate.client("ct2.example")

    def sends(self, device) -> tuple:
        return (*shows(device), "-cert_chain", device.chain)

    def test_root_is_trusted_and_the_peer_sends_the_intermediate(self, serving, probe, site, device):
        server = serving(server_context(site.files(ca=site.authority.certificate), client="required"))
        assert probe(server, *self.sends(device)).tls.peer_certificate
        assert "unable to get local issuer certificate" in probe(server, *shows(device)).refusal

    def test_intermediate_alone_can_be_trusted(self, serving, probe, site, device):
        """Whom the rest of its hierarchy signed is a stranger then."""
        server = serving(server_context(site.files(ca=site.intermediate.certificate), client="required"))
        assert probe(server, *shows(device)).tls.peer_certificate
        assert "issuer certificate" in probe(server, *shows(site.device)).refusal

    def test_revocation_by_the_intermediate(self, serving, probe, site, device):
        lost = site.intermediate.client("ct3.example")
        site.intermediate.revoke(lost)
        files = site.files(ca=site.authority.certificate, crl=site.intermediate.revocation_list())
        server = serving(server_context(files, client="required"))
        assert probe(server, *self.sends(device)).tls.peer_certificate
        assert "certificate revoked" in probe(server, *self.sends(lost)).refusal

    def test_server_sends_its_chain(self, serving, probe, site):
        host = site.intermediate.server()
        server = serving(server_context(TLSFiles(host.chain, host.key)))
        verified = ("-CAfile", site.authority.certificate, "-verify_return_error", "-verify_hostname", "localhost")
        assert probe(server, *verified).tls

    def test_device_that_leaf_signs_for_is_refused(self, serving, probe, site, device, tmp_path):
        """A certificate that is no CA's signs nothing, even where it is trusted itself."""
        forger = Authority(tmp_path, "Forger", issuer=site.authority, is_ca=False)
        server = serving(server_context(site.files(ca=site.authority.certificate), client="required"))
        assert "invalid CA certificate" in probe(server, *self.sends(forger.client())).refusal


# -- the client's side


def refused(words: str):
    return pytest.raises(ConnectionLost, match=words)


@VERSIONS
def test_server_that_is_who_it_should_be(far, call, site, version):
    context = client_context(TLSFiles(ca=site.authority.certificate))
    connection = call(context, far(site.host["ECDSA"], version).port)
    assert connection.tls.version == {"-tls1_2": "TLSv1.2", "-tls1_3": "TLSv1.3"}[version]
    assert ("DNS", "localhost") in connection.tls.peer_certificate["subjectAltName"]


def test_server_that_is_called_by_its_address(far, call, site):
    host = site.authority.server("pacs.example", alternatives=("DNS:pacs.example", "IP:127.0.0.1"))
    context = client_context(TLSFiles(ca=site.authority.certificate))
    assert call(context, far(host).port, "127.0.0.1").tls
    with refused("IP address mismatch"):
        call(context, far(host).port, "127.0.0.2")


def test_common_name_counts_where_there_is_no_other(far, call, site):
    context = client_context(TLSFiles(ca=site.authority.certificate))
    assert call(context, far(site.authority.server(alternatives=())).port).tls
    with refused("not valid for 'localhost'"):
        call(context, far(site.authority.server("pacs.example", alternatives=())).port)


def test_server_of_another_name(far, call, site):
    with refused("not valid for 'pacs.example'"):
        call(client_context(TLSFiles(ca=site.authority.certificate)), far(site.host["ECDSA"]).port, "pacs.example")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"ends": YESTERDAY}, "certificate has expired"),
        ({"begins": TOMORROW}, "certificate is not yet valid"),
        ({"use": "client"}, "certificate purpose"),
        ({"alternatives": ("DNS:other.example",)}, "not valid for 'localhost'"),
        ({"kind": "rsa1024"}, "EE certificate key too weak"),
    ],
    ids=["expired", "not-yet-valid", "wrong-purpose", "other-name", "weak"],
)
def test_server_with_a_bad_certificate(far, call, site, how, words):
    host = site.authority.server(**how)
    with refused(words):
        call(client_context(TLSFiles(ca=site.authority.certificate)), far(host, "-cipher", EVERYTHING).port)


def test_server_of_a_stranger(far, call, site):
    with refused("unable to get local issuer certificate"):
        call(client_context(TLSFiles(ca=site.stranger.certificate)), far(site.host["ECDSA"]).port)


def test_server_that_was_revoked(far, call, site):
    host = site.intermediate.server()
    site.intermediate.revoke(host)
    files = TLSFiles(ca=site.intermediate.certificate, crl=site.intermediate.revocation_list())
    assert call(client_context(TLSFiles(ca=files.ca)), far(host).port).tls
    with refused("certificate revoked"):
        call(client_context(files), far(host).port)


def test_without_a_ca_the_system_s_are_trusted(far, call, site, monkeypatch):
    port = far(site.host["ECDSA"]).port
    with refused("unable to get local issuer certificate"):
        call(client_context(TLSFiles()), port)
    monkeypatch.setenv("SSL_CERT_FILE", str(site.authority.certificate))
    assert call(client_context(TLSFiles()), port).tls


def test_verification_can_be_left_out_for_a_test_by_hand(far, call, site):
    host = site.stranger.server("pacs.example", ends=YESTERDAY)
    assert call(client_context(TLSFiles(), verify=False), far(host).port, "anything").tls


@VERSIONS
def test_client_shows_its_certificate(far, call, site, version):
    server = far(site.host["ECDSA"], version, "-CAfile", site.authority.certificate, "-Verify", "5", "-naccept", "1")
    files = TLSFiles(site.device.certificate, site.device.key, ca=site.authority.certificate)
    connection = call(client_context(files), server.port)
    connection.send((b"it is me\n",), PATIENCE)
    assert server.says(rb"it is me\n")
    assert server.says(rb"subject=CN = ct1\.example|subject=CN=ct1\.example")


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_client_accepts_nothing_below_tls_1_2(far, call, site, profile, version):
    context = client_context(TLSFiles(ca=site.authority.certificate), profile=profile)
    with refused("protocol version|no version of TLS"):
        call(context, far(site.host["RSA"], version, "-cipher", "ALL:@SECLEVEL=0").port)


def test_client_of_tls_1_3_alone(far, call, site):
    with refused("protocol version"):
        call(client_context(TLSFiles(ca=site.authority.certificate), profile="tls13"), far(site.device, "-tls1_2").port)


@pytest.mark.parametrize("profile", WITH_TLS_1_2)
def test_client_offers_the_suites_of_its_profile_only(far, call, site, profile):
    context = client_context(TLSFiles(ca=site.authority.certificate), profile=profile)
    others = ":".join((EVERYTHING, *(f"!{suite}" for suite in ALLOWED[profile])))
    with refused("handshake failure"):
        call(context, far(site.host["RSA"], "-tls1_2", "-cipher", others).port)
    for suite in (one for one in sorted(ALLOWED[profile]) if "RSA" in one):
        port = far(site.host["RSA"], "-tls1_2", "-cipher", suite, "-naccept", "1").port
        assert call(context, port).tls.cipher == suite


def test_client_refuses_a_dh_group_that_is_too_small(far, call, site, tmp_path):
    group = tmp_path / "dh.pem"
    make = ("openssl", "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:modp_1536", "-out", group)
    subprocess.run(make, capture_output=True, timeout=PATIENCE, check=True)
    context = client_context(TLSFiles(ca=site.authority.certificate), profile="bcp195-nd")
    port = far(site.host["RSA"], "-tls1_2", "-dhparam", group, "-cipher", "DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0").port
    with refused("dh key too small"):
        call(context, port)


# -- files that cannot be used


@pytest.fixture
def own(tmp_path):
    """An authority for one test alone."""
    return Authority(tmp_path)


@pytest.fixture
def fails():
    """A context cannot be made; the sentence, whose key is as it should be."""

    def check(key, files, make=server_context, **how):
        with pytest.raises(SettingError) as caught:
            make(files, **how)
        assert caught.value.key == key
        return caught.value.what

    return check


def test_key_of_another_certificate(fails, site):
    host, other = site.host["ECDSA"].certificate, site.device.key
    what = f"{other} does not belong to {host}; name the key that the certificate was made with"
    assert fails("key", TLSFiles(host, other)) == what
    assert fails("key", TLSFiles(host, other), client_context) == what
    of_another_kind = site.host["RSA"].key
    assert fails("key", TLSFiles(host, of_another_kind)) == what.replace(str(other), str(of_another_kind))


def test_file_that_is_not_there(fails, site, tmp_path):
    gone = tmp_path / "gone.pem"
    what = f"{gone} does not exist; correct the path, or put the file there"
    good = {"certificate": site.device.certificate, "key": site.device.key}
    for key in ("certificate", "key", "ca", "crl"):
        files = TLSFiles(**{**good, "ca": site.authority.certificate, key: gone})
        assert fails(key, files) == what
        assert fails(key, files, client_context) == what


@pytest.mark.parametrize(
    ("key", "kind"),
    [("certificate", "certificate"), ("key", "private key"), ("ca", "certificate"), ("crl", "revocation list")],
)
def test_file_with_something_else_in_it(fails, site, tmp_path, key, kind):
    other = tmp_path / "other.pem"
    other.write_text("-----BEGIN PGP MESSAGE-----\nAAAA\n-----END PGP MESSAGE-----\n")
    good = {"certificate": site.device.certificate, "key": site.device.key, "ca": site.authority.certificate}
    files = TLSFiles(**{**good, key: other})
    assert fails(key, files) == f"{other} holds no {kind} in PEM form; name the file that has it"


def test_directory_instead_of_a_file(fails, site, tmp_path):
    what = fails("ca", site.files(ca=tmp_path))
    assert what == f"{tmp_path} cannot be read: Is a directory; see to its path and mode"


def test_file_without_end(fails, site, own):
    endless = own.folder / "endless.pem"
    with endless.open("wb") as file:
        file.truncate(17 << 20)
    assert fails("ca", site.files(ca=endless)) == f"{endless} is larger than 16 MiB; name a file in PEM form"


@pytest.mark.parametrize("key", ["ca", "crl"])
def test_file_that_is_damaged(fails, site, own, key):
    kind = {"ca": "CERTIFICATE", "crl": "X509 CRL"}[key]
    bad = own.folder / "bad.pem"
    bad.write_text(f"-----BEGIN {kind}-----\nMIIBAAAA\n-----END {kind}-----\n")
    files = site.files(**{"ca": site.authority.certificate, key: bad})
    assert re.fullmatch(rf"a [a-z ]+ in {bad} is damaged; get the file again", fails(key, files))


def test_certificate_that_is_damaged(fails, site, own):
    bad = own.folder / "bad.pem"
    bad.write_text("-----BEGIN CERTIFICATE-----\nMIIBAAAA\n-----END CERTIFICATE-----\n")
    what = fails("certificate", TLSFiles(bad, site.device.key))
    assert what.startswith(f"OpenSSL cannot use {bad} with {site.device.key}: ")


@pytest.mark.parametrize("how", [{"kind": "rsa1024"}, {"kind": "p192"}, {"digest": "sha1"}])
def test_certificate_that_is_too_weak(fails, own, how):
    weak = own.server(**how)
    what = fails("certificate", TLSFiles(weak.certificate, weak.key))
    assert re.match(
        rf"{weak.certificate} (has a key that is too short|was signed with a broken hash), '[A-Z_]+'; ", what
    )


def test_certificate_is_needed_by_a_server(fails):
    assert fails("certificate", TLSFiles()) == "a server shows a certificate; name its file"


def test_key_without_a_certificate(fails, site):
    what = fails("key", TLSFiles(key=site.device.key), client_context)
    assert what == f"{site.device.key} is named without a certificate; name the certificate too"


@pytest.mark.parametrize("client", ["optional", "required"])
def test_ca_is_needed_where_clients_show_certificates(fails, site, client):
    what = fails("ca", site.files(), client=client)
    assert what == "no CA is named that certificates of clients must be signed by; name its file"


def test_revocation_list_needs_a_ca(fails, site):
    assert "no CA is named" in fails("ca", site.files(crl=site.crl))


def test_nobody_gets_trusted_by_a_certificate_among_the_revocation_lists(fails, site, own):
    mixed = own.folder / "mixed.pem"
    mixed.write_bytes(site.crl.read_bytes() + site.stranger.certificate.read_bytes())
    what = fails("crl", site.files(ca=site.authority.certificate, crl=mixed))
    assert what == f"{mixed} holds a certificate besides its revocation lists; take it out, and name CAs in ca"


@pytest.mark.parametrize("traditional", [False, True], ids=["pkcs8", "traditional"])
class TestEncryptedKey:
    SECRET = "correct horse"  # noqa: S105

    @pytest.fixture
    def key(self, site, own, traditional):
        path = site.device.key_file(password=self.SECRET, traditional=traditional)
        return path.rename(own.folder / path.name)

    def test_with_its_password(self, serving, probe, site, key, traditional):
        files = TLSFiles(site.device.certificate, key, key_password=self.SECRET)
        assert probe(serving(server_context(files))).tls

    def test_without_a_password_nobody_is_asked(self, fails, site, key, traditional):
        what = fails("key_password", TLSFiles(site.device.certificate, key))
        assert what == f"{key} is encrypted; name its password, or take the encryption off"

    @pytest.mark.parametrize("wrong", ["battery staple", ""])
    def test_with_a_wrong_password(self, fails, site, key, traditional, wrong):
        files = TLSFiles(site.device.certificate, key, key_password=wrong)
        what = fails("key_password", files)
        assert what == f"the password does not open {key}; name the one that the key was encrypted with"
        assert not wrong or wrong not in repr(files)

    def test_with_a_password_that_openssl_has_no_room_for(self, fails, site, key, traditional):
        files = TLSFiles(site.device.certificate, key, key_password="x" * 1025)
        assert fails("key_password", files) == f"the password of {key} is longer than 1024 bytes; set another"


def test_key_in_the_file_of_the_certificate(serving, probe, site):
    host = site.intermediate.server()
    server = serving(server_context(TLSFiles(host.together)))
    assert probe(server, "-CAfile", site.authority.certificate, "-verify_return_error").tls


def test_password_that_is_not_needed_does_no_harm(site):
    host = site.host["RSA"]
    assert server_context(TLSFiles(host.certificate, host.key, key_password="x"))


def test_dates_of_the_site_are_what_they_are_called():
    assert LONG_AGO < YESTERDAY < TOMORROW < NEXT_YEAR
