"""TLS with other people's programs: DCMTK, pynetdicom and openssl against every way to set ``tls``, and the reverse."""

from __future__ import annotations

import os
import select
import signal
import socket
import ssl
import subprocess
import time
from contextlib import contextmanager

import pytest
from components.authority import LONG_AGO, TOMORROW, YESTERDAY, Authority

from scpd.cli.main import main

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore::UserWarning")]

CT = "1.2.840.10008.5.1.4.1.1.2"
LITTLE = "1.2.840.10008.1.2.1"
PROFILES = ("bcp195", "bcp195-modified", "bcp195-nd", "tls13")
PATIENCE = 30.0


@pytest.fixture(scope="module")
def devices(authority, stranger):
    """Certificates to come with, by what is the matter with them."""
    gone = authority.client("gone.example")
    authority.revoke(gone)
    return {
        "good": authority.client("ct1.example"),
        "of an intermediate CA": authority.intermediate().client("ct2.example"),
        "expired": authority.client("old.example", begins=LONG_AGO, ends=YESTERDAY),
        "not valid yet": authority.client("new.example", begins=TOMORROW),
        "revoked": gone,
        "of another CA": stranger.client("ct1.example"),
        "of a namesake of the CA": Authority(stranger.folder, "Test CA").client("ct1.example"),
        "of a server": authority.server("other.example"),
    }


@pytest.fixture(scope="module")
def secure(shared_daemon, authority, devices, house):
    """A server for each way; ``revoking`` has a revocation list, every profile is a server of its own, ``plain`` none."""
    rsa = authority.server("pacs.example", kind="rsa2048", alternatives=("DNS:localhost", "IP:127.0.0.1"))

    def server(name: str, shown=house, **how):
        tls = {"certificate": str(shown.chain), "key": str(shown.key), "ca": str(authority.certificate), **how}
        return {"name": name, "tls": tls}

    return shared_daemon(
        storage={"path": "{calling}/{SOPInstanceUID}.dcm"},
        servers=[
            {"name": "plain"},
            server("none"),
            server("optional", client="optional"),
            server("required", client="required"),
            server("revoking", client="required", crl=str(authority.revocation_list())),
            *(server(profile, rsa if profile == "bcp195-nd" else house, profile=profile) for profile in PROFILES),
        ],
    )


@pytest.fixture
def news(secure):
    """What the log of ``secure`` says of connections from now until it is asked."""
    settle(secure)
    before = len(secure.logs)

    def since() -> list[dict]:
        settle(secure)
        return [line for line in secure.logs[before:] if line["event"] != "state"]

    return since


def settle(one) -> None:
    """Until no connection is there any more: each has its line by then."""
    patience, pause = time.monotonic() + PATIENCE, select.poll()
    servers = sum(line["event"] == "listening" for line in one.logs)
    while True:
        told = sum(line["event"] == "state" for line in one.logs)
        one.send_signal(signal.SIGUSR1)
        states = one.wait_for_logs(lambda line: line["event"] == "state", told + servers)
        if not any(line["connections"] for line in states[told:]):
            return
        assert time.monotonic() < patience
        pause.poll(10)


@pytest.fixture
def echoscu(peer, run, secure, authority):
    """DCMTK's echoscu to a server of ``secure``, with a certificate or none, trusting the CA of the house or another."""

    def call(server: str, shown=None, trusts=None, *options: str):
        own = ["+tls", shown.key, shown.chain] if shown else ["+tla"]
        ca = (trusts or authority).certificate
        return run(peer("echoscu"), "-v", *own, "+cf", ca, *options, "127.0.0.1", secure.port_of(server))

    return call


# -- certificates, asked for and not


@pytest.mark.parametrize(
    ("server", "shown"),
    [
        ("none", None),
        ("none", "good"),
        ("none", "of another CA"),  # nobody asks for it
        ("optional", None),
        ("optional", "good"),
        ("required", "good"),
        ("required", "of an intermediate CA"),
        ("revoking", "good"),
    ],
)
def test_echoscu_is_served(echoscu, devices, news, server, shown):
    done = echoscu(server, shown and devices[shown])
    assert done.returncode == 0, done.stdout
    assert "Received Echo Response (Success)" in done.stdout
    (line,) = news()
    assert (line["event"], line["server"], line["level"]) == ("association", server, "info")
    assert line["tls"] == "TLSv1.3 TLS_AES_256_GCM_SHA384"


@pytest.mark.parametrize(
    ("server", "shown", "why"),
    [
        ("optional", "expired", "the peer's certificate is not accepted: 'certificate has expired'"),
        ("optional", "of another CA", "the peer's certificate is not accepted: 'unable to get local issuer"),
        ("required", None, "the peer sent no certificate, and one is required"),
        ("required", "expired", "the peer's certificate is not accepted: 'certificate has expired'"),
        ("required", "not valid yet", "the peer's certificate is not accepted: 'certificate is not yet valid'"),
        ("required", "of another CA", "the peer's certificate is not accepted: 'unable to get local issuer"),
        ("required", "of a namesake of the CA", "the peer's certificate is not accepted: "),
        ("required", "of a server", "the peer's certificate is not accepted: 'unsuitable certificate purpose'"),
        ("revoking", "revoked", "the peer's certificate is not accepted: 'certificate revoked'"),
        (
            "revoking",
            "of an intermediate CA",
            "the peer's certificate is not accepted: 'unable to get certificate CRL'",
        ),
    ],
)
def test_echoscu_is_refused_and_one_line_says_why(echoscu, devices, news, server, shown, why):
    assert echoscu(server, shown and devices[shown]).returncode != 0
    (line,) = news()
    assert (line["event"], line["server"], line["level"]) == ("connection without association", server, "warning")
    assert line["ended"].startswith(f"the TLS handshake failed: {why}")


def test_an_echoscu_that_does_not_trust_us_goes_away_and_the_log_says_so(echoscu, stranger, news):
    assert echoscu("none", None, stranger).returncode != 0
    (line,) = news()
    assert line["ended"] == "the TLS handshake failed: the peer does not accept our certificate: 'unknown ca'"


@pytest.mark.parametrize("option", ["+px", "+py", "+pz"])
@pytest.mark.parametrize("server", ["bcp195", "bcp195-modified", "bcp195-nd"])
def test_every_living_profile_of_dcmtk_finds_something_in_common(echoscu, server, option):
    """BCP 195, its non-downgrading and its extended form, all of them retired by now."""
    assert echoscu(server, None, None, option).returncode == 0


def test_dcmtks_oldest_profile_is_served_only_by_what_it_shares_with_the_others(echoscu, news):
    """PS3.15 B.3, TLS_RSA_WITH_AES_128_CBC_SHA: DCMTK 3.6.7 speaks newer versions with it too."""
    done = echoscu("bcp195-nd", None, None, "+pa")
    (line,) = news()
    if done.returncode == 0:
        assert line["tls"].startswith(("TLSv1.3", "TLSv1.2 ECDHE", "TLSv1.2 DHE"))
    else:
        assert line["ended"].startswith("the TLS handshake failed: the peer offers no ")


# -- the profiles, suite by suite


@pytest.fixture
def s_client(peer, run, secure, authority):
    """``openssl s_client`` to a server of ``secure``; what it says."""

    def probe(server: str, *options: object) -> subprocess.CompletedProcess[str]:
        trust = ["-CAfile", authority.certificate, "-verify_return_error"]
        where = ["-connect", f"127.0.0.1:{secure.port_of(server)}"]
        return run(peer("openssl"), "s_client", *where, *trust, *options)

    return probe


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
@pytest.mark.parametrize("server", PROFILES)
def test_no_profile_takes_tls_1_0_or_1_1(s_client, news, server, version):
    """Not even from a client that would go as low as it takes."""
    done = s_client(server, version, "-cipher", "ALL:@SECLEVEL=0")
    assert done.returncode != 0
    assert "alert protocol version" in done.stdout
    (line,) = news()
    assert line["ended"] == "the TLS handshake failed: the peer offers no version of TLS that is allowed here"


@pytest.mark.parametrize(
    ("server", "version"),
    [("bcp195", "1.3"), ("bcp195-modified", "1.3"), ("bcp195-nd", "1.3"), ("tls13", "1.3"), ("bcp195", "1.2")],
)
def test_the_newest_version_that_both_have_is_spoken(s_client, server, version):
    done = s_client(server, "-brief", *(["-max_protocol", "TLSv1.2"] if version == "1.2" else []))
    assert done.returncode == 0
    assert f"Protocol version: TLSv{version}\n" in done.stdout
    assert "Verification: OK" in done.stdout


def test_tls13_takes_nothing_but_tls_1_3(s_client):
    done = s_client("tls13", "-tls1_2", "-cipher", "ALL:@SECLEVEL=0")
    assert done.returncode != 0
    assert "alert protocol version" in done.stdout


ECDSA = ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256")
MODIFIED = ("ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES256-CCM", "ECDHE-ECDSA-AES128-CCM")
RSA = ("ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256")
DHE = ("DHE-RSA-AES256-GCM-SHA384", "DHE-RSA-AES128-GCM-SHA256")
TAKEN = {"bcp195": ECDSA, "bcp195-modified": ECDSA + MODIFIED, "bcp195-nd": RSA + DHE}


@pytest.mark.parametrize("server", TAKEN)
def test_of_all_suites_of_tls_1_2_a_profile_takes_exactly_its_own_in_its_own_order(s_client, server):
    """The client offers all that it has, without those that were taken before, until there is no suite in common."""
    taken: list[str] = []
    while len(taken) < 20:
        offer = ":".join(["ALL", "COMPLEMENTOFALL", *(f"!{suite}" for suite in taken), "@SECLEVEL=0"])
        done = s_client(server, "-tls1_2", "-brief", "-cipher", offer)
        if done.returncode:
            assert "handshake failure" in done.stdout
            break
        taken.append(done.stdout.split("Ciphersuite: ")[1].split("\n")[0])
    assert tuple(taken) == TAKEN[server]


def test_a_client_with_no_suite_in_common_gets_a_line_that_says_so(s_client, news):
    assert s_client("bcp195-nd", "-tls1_2", "-cipher", "AES128-SHA:AES256-GCM-SHA384:@SECLEVEL=0").returncode != 0
    (line,) = news()
    assert line["ended"] == "the TLS handshake failed: the peer offers no cipher suite that is allowed here"


def test_dhe_has_a_group_of_2048_bits(s_client):
    done = s_client("bcp195-nd", "-tls1_2", "-cipher", DHE[0])
    assert "Server Temp Key: DH, 2048 bits" in done.stdout


def test_nothing_is_compressed_resumed_or_sent_early(s_client, tmp_path):
    session = tmp_path / "session"
    done = s_client("none", "-tls1_3", "-comp", "-sess_out", session)
    assert done.returncode == 0
    assert "Compression: NONE" in done.stdout
    assert "Early data was not sent" in done.stdout
    assert not session.exists(), "there is no ticket to come back with"


def test_a_peer_cannot_renegotiate(peer, secure, authority):
    """In TLS 1.2; 1.3 has no such thing. ``R`` makes s_client ask for it."""
    where = ["-connect", f"127.0.0.1:{secure.port_of('none')}", "-CAfile", str(authority.certificate)]
    with subprocess.Popen(
        [peer("openssl"), "s_client", *where, "-tls1_2"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as client:
        said, _ = client.communicate(b"R\n", timeout=PATIENCE)
    assert b"RENEGOTIATING" in said
    assert b"no renegotiation" in said


def test_a_peer_that_comes_back_with_its_session_of_tls_1_2_is_served(s_client, devices):
    """OpenSSL refuses such a peer for good where a server forgets to say what its sessions are for."""
    own = devices["good"]
    done = s_client("required", "-tls1_2", "-reconnect", "-cert", own.chain, "-key", own.key)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("Cipher is ECDHE-ECDSA") == 6


# -- instances


def test_storescu_stores_under_tls_what_it_stores_without(secure, peer, run, authority, devices, shipped, batches):
    """Byte for byte, and both ends of the handshake authenticated."""
    chosen = [one.path for one in batches(one for one in shipped if one.transfer_syntax == LITTLE)[0]]
    own = ["+tls", devices["good"].key, devices["good"].chain, "+cf", authority.certificate]
    kept = {}
    for server, options in (("plain", []), ("required", own)):
        send = [peer("storescu"), *options, "-xe", "-R", "-nh", "-aet", server.upper(), "127.0.0.1"]
        done = run(*send, secure.port_of(server), *chosen)
        assert done.returncode == 0, done.stdout
        folder = secure.directory / server.upper()
        kept[server] = {path.name: data_set_of(path) for path in folder.iterdir()}
    assert len(kept["plain"]) > 25
    assert kept["required"] == kept["plain"]


def data_set_of(path) -> bytes:
    """What stands behind the meta information, whose length is the value of its first element."""
    raw = path.read_bytes()
    return raw[144 + int.from_bytes(raw[140:144], "little") :]


def test_echoscu_does_not_wait_for_an_acknowledgement_of_its_handshake(secure, echoscu, news):
    for _ in range(8):
        echoscu("none")
    assert min(line["seconds"] for line in news()) < 0.03


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_pynetdicom_stores_with_a_context_of_its_own(
    secure, requestor, authority, devices, shipped, data_set, version, monkeypatch
):
    one = next(one for one in shipped if one.path.name == "CT_small.dcm")
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(devices["good"].chain, devices["good"].key)
    calling = f"PYNET{version.name[-3:]}"
    association = requestor(
        secure.port_of("revoking"), [(CT, LITTLE)], calling=calling, tls_args=(context, "localhost")
    )
    assert association.is_established
    awaken(association)
    monkeypatch.setattr("pynetdicom._config.STORE_SEND_CHUNKED_DATASET", True)
    assert association.send_c_store(one.path).Status == 0x0000
    association.release()
    assert data_set(secure.directory / calling / f"{one.instance}.dcm") == one.data
    line = secure.wait_for_log(lambda line: line["event"] == "association" and line["calling"] == calling)
    assert line["tls"].startswith(version.name.replace("_", "."))


def awaken(association) -> None:
    """Until pynetdicom's reactor is ready for an answer: one that is still waking up drops what comes at once."""
    patience = time.monotonic() + PATIENCE
    while association._is_paused:
        assert time.monotonic() < patience, "pynetdicom's reactor does not wake up"
        os.sched_yield()


def test_pynetdicom_without_its_certificate_is_refused(secure, requestor, authority, news):
    context = ssl.create_default_context(cafile=str(authority.certificate))
    association = requestor(secure.port_of("required"), tls_args=(context, "localhost"))
    assert not association.is_established
    (line,) = news()
    assert line["ended"] == "the TLS handshake failed: the peer sent no certificate, and one is required"


# -- the other way: scpd as the requestor


@pytest.fixture
def acceptor(peer, authority, house):
    """pynetdicom as a server under TLS that wants certificates; gives its port and what it was sent."""
    pynetdicom = peer("pynetdicom")

    @contextmanager
    def serve(shown=house):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(shown.chain, shown.key)
        context.load_verify_locations(authority.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
        came: list[bytes] = []

        def keep(event):
            came.append(event.request.DataSet.getvalue())
            return 0x0000

        entity = pynetdicom.AE("THEIRS")
        entity.add_supported_context("1.2.840.10008.1.1")
        entity.add_supported_context(CT, LITTLE)
        server = entity.start_server(
            ("127.0.0.1", 0), block=False, ssl_context=context, evt_handlers=[(pynetdicom.evt.EVT_C_STORE, keep)]
        )
        try:
            yield server.socket.getsockname()[1], came
        finally:
            server.shutdown()

    return serve


def test_scpd_send_to_pynetdicom_under_tls(acceptor, authority, devices, shipped, capsys):
    one = next(one for one in shipped if one.path.name == "CT_small.dcm")
    own = ["--certificate", str(devices["good"].chain), "--key", str(devices["good"].key)]
    with acceptor() as (port, came):
        to = [f"127.0.0.1:{port}", "--ca", str(authority.certificate)]
        assert main(["send", *to, *own, str(one.path)]) == 0
        assert came == [one.data]


@pytest.fixture
def storescp(peer, authority, house, free_port, tmp_path):
    """DCMTK's storescp under TLS, which wants certificates; keeps what it gets, bit for bit, in ``tmp_path``."""
    own = ["+tls", house.key, house.chain, "+cf", authority.certificate]
    process = subprocess.Popen(
        [peer("storescp"), *own, "+B", "-od", tmp_path, str(free_port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_port(free_port, process)
        yield free_port
    finally:
        process.kill()
        process.wait()


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until somebody listens; the process may not end before."""
    patience = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < patience
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.02)


def test_scpd_send_to_storescp_under_tls(storescp, authority, devices, shipped, data_set, tmp_path, capsys):
    one = next(one for one in shipped if one.path.name == "CT_small.dcm")
    own = ["--certificate", str(devices["good"].chain), "--key", str(devices["good"].key)]
    to = [f"localhost:{storescp}", "--ca", str(authority.certificate), *own]
    assert main(["send", *to, str(one.path)]) == 0, capsys.readouterr()
    (stored,) = tmp_path.glob("CT*")
    assert data_set(stored) == one.data


def test_scpd_echo_to_who_wants_a_certificate_says_so(storescp, authority, capsys):
    for _ in range(10):
        assert main(["echo", f"127.0.0.1:{storescp}", "--ca", str(authority.certificate)]) == 1
    said = capsys.readouterr().err
    assert said == 10 * "scpd: the peer requires a certificate, and was sent none\n"


@pytest.mark.parametrize(
    ("shown", "says"),
    [
        ("expired", "certificate has expired"),
        ("of another CA", "unable to get local issuer certificate"),
        ("of another host", "IP address mismatch"),
        ("of a client", "unsuitable certificate purpose"),
    ],
)
def test_scpd_echo_does_not_talk_to_whoever_it_cannot_trust(acceptor, authority, stranger, capsys, shown, says):
    alternatives = ("DNS:localhost", "IP:127.0.0.1")
    presented = {
        "expired": lambda: authority.server("localhost", ends=YESTERDAY, alternatives=alternatives),
        "of another CA": lambda: stranger.server("localhost", alternatives=alternatives),
        "of another host": lambda: authority.server("other.example"),
        "of a client": lambda: authority.client("localhost", alternatives=alternatives),
    }[shown]()
    with acceptor(presented) as (port, _):
        assert main(["echo", f"127.0.0.1:{port}", "--ca", str(authority.certificate)]) == 1
    err = capsys.readouterr().err
    assert err.startswith("scpd: the TLS handshake failed: the peer's certificate is not accepted: ")
    assert says in err
