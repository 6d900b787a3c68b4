"""TLS that goes wrong: handshakes that never end, streams that are cut, files that do not fit, and nobody else feels it."""

from __future__ import annotations

import datetime as dt
import select
import signal
import socket
import ssl
import struct
import time

import pytest
from components.authority import NOW, TOMORROW, YESTERDAY, Authority

from scpd.cli.main import main
from scpd.wire.pdu import Abort, AssociateAC, ReleaseRP, ReleaseRQ

MiB = 1 << 20
HANDSHAKE = "the TLS handshake failed: "
NO_FIN = "the peer closed the connection without a TLS close_notify: what it sent may be truncated"


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def house(authority):
    return authority.server("localhost")


@pytest.fixture(scope="module")
def trusting(authority) -> ssl.SSLContext:
    """A client's context."""
    return ssl.create_default_context(cafile=str(authority.certificate))


@pytest.fixture(scope="module")
def servers(authority, house) -> list[dict]:
    """A plain server, which the load goes to, and one under TLS."""
    files = {"certificate": str(house.chain), "key": str(house.key), "ca": str(authority.certificate)}
    return [{"name": "plain"}, {"name": "tls", "tls": {**files, "client": "optional"}}]


@pytest.fixture(scope="module")
def one(shared_daemon, servers):
    """A daemon with little patience; nothing of what a test does to it may be left when the next begins."""
    running = shared_daemon(servers=servers, timeouts={"artim": "1s"})
    running.secure_port = running.port_of("tls")
    return running


@pytest.fixture
def told(one, wait_for):
    """The lines, once there are ``count``, about the server under TLS, or another, since the test began.

    It has to come before ``connect``: what a test leaves open is closed then before this looks for it.
    """
    before = len(one.logs)

    def lines(count: int = 1, server: str = "tls") -> list[dict]:
        new = one.wait_for_logs(lambda line: line.get("server") == server and line in one.logs[before:], count)
        assert len(new) == count
        return new

    yield lines
    wait_for(lambda: not connections(one), "an end of all connections")
    nothing_failed(one)
    assert one.spool() == []


def connections(one) -> int:
    """How many there are now, by what the daemon says of its state."""
    before = len(one.logs)
    one.send_signal(signal.SIGUSR1)
    states = one.wait_for_logs(lambda line: line["event"] == "state" and line in one.logs[before:], 2)
    return sum(line["connections"] for line in states)


@pytest.fixture
def secured(connect, contexts, trusting):
    """A client whose association is protected."""

    def make(one, context: ssl.SSLContext = trusting):
        client = connect(one.secure_port)
        client.socket = context.wrap_socket(client.socket, server_hostname="localhost")
        assert isinstance(client.associate(contexts), AssociateAC)
        return client

    return make


def hello(context: ssl.SSLContext) -> bytes:
    """A ClientHello, as a client sends it that is about to shake hands."""
    outgoing = ssl.MemoryBIO()
    engine = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        engine.do_handshake()
    return outgoing.read()


def nothing_failed(one) -> None:
    """No fault of the program came to light: no traceback, no error."""
    assert not [line for line in one.logs if line.get("level") == "error" or "raw" in line], one.lines


# -- silence


def test_a_client_hello_and_then_silence_ends_with_artim(one, told, connect, secured, echo, load, trusting):
    with load(one):
        began = time.monotonic()
        silent = connect(one.secure_port)
        silent.send(hello(trusting))
        others = secured(one)
        assert echo(others) == 0, "others shake hands meanwhile"
        others.release()
        assert silent.is_closed_by_peer(5)
        assert 0.9 < time.monotonic() - began < 2
    _, line = told(2)
    assert line["ended"] == "no A-ASSOCIATE-RQ came in time (timeouts.artim)"


def test_artim_is_one_for_handshake_and_request_together(one, told, connect, trusting, load):
    """Who shakes hands in time and then says nothing does not get the time twice."""
    pause = select.poll()
    with load(one):
        began = time.monotonic()
        late = connect(one.secure_port)
        pause.poll(600)
        late.socket = trusting.wrap_socket(late.socket, server_hostname="localhost")
        assert late.is_closed_by_peer(5)
        assert 0.9 < time.monotonic() - began < 1.5
    (line,) = told()
    assert line["ended"] == "no A-ASSOCIATE-RQ came in time (timeouts.artim)"


def test_a_client_hello_byte_by_byte_does_not_move_artim(one, told, connect, trusting, load):
    with load(one):
        began = time.monotonic()
        dripping = connect(one.secure_port)
        words, pause = hello(trusting), select.poll()
        pause.register(dripping.socket, select.POLLIN)
        for place in range(len(words)):
            dripping.send(words[place : place + 1])
            if pause.poll(25):
                break
        assert dripping.is_closed_by_peer(5)
        assert 0.9 < time.monotonic() - began < 2
    (line,) = told()
    assert 10 < line["bytes_received"] < len(words)


def test_200_handshakes_that_never_end_keep_nobody_out(
    daemon, servers, connect, secured, echo, load, trusting, process, wait_for
):
    """Half of them say nothing at all; the oldest make way, and whoever means it is let in while they stand there.

    Then it is told to stop, and does not wait for them.
    """
    one = daemon(servers=servers)
    one.secure_port = one.port_of("tls")
    inside = process(one)
    with load(one, every=0.02):
        client = secured(one)
        crowd = [connect(one.secure_port) for _ in range(200)]
        for waiting in crowd[::2]:
            waiting.send(hello(trusting))
        assert echo(client) == 0
        began = time.monotonic()
        assert echo(secured(one)) == 0
        assert time.monotonic() - began < 1
        wait_for(lambda: inside.threads < 100, "an end of those that made way")
        assert inside.resident < 200 * MiB
        assert echo(client) == 0
        client.release()
    lines = one.wait_for_logs(lambda line: "limits.pending" in line.get("ended", ""), 100)
    assert {line["event"] for line in lines} == {"connection without association"}
    assert {line["server"] for line in lines} == {"tls"}
    began = time.monotonic()
    one.send_signal(signal.SIGTERM)
    one.wait_for_log(lambda line: line["event"] == "stopping")
    one.send_signal(signal.SIGTERM)  # at once: an association is left, which might go on otherwise
    assert one.wait() == 0
    assert time.monotonic() - began < 3
    nothing_failed(one)


# -- the wrong language


def test_a_plain_client_on_the_port_of_tls_is_closed_at_once(one, told, connect, load, secured, echo):
    with load(one):
        assert connect(one.secure_port).associate() is None
        (line,) = told()
        assert echo(secured(one)) == 0
    assert line["ended"] == HANDSHAKE + "the peer spoke plain DICOM, not TLS: it began with a PDU of type 01H"


def test_a_client_of_tls_on_a_plain_port_is_told_in_dicom_and_closed(one, told, connect, load, trusting):
    """As PS3.8 table 9-10 has it for what is no PDU (AA-1)."""
    lost = connect(one.port)
    lost.send(hello(trusting))
    assert lost.receive() == Abort(0, 0)
    lost.close()
    with pytest.raises(ssl.SSLError):
        trusting.wrap_socket(connect(one.port).socket, server_hostname="localhost")
    for line in told(2, "plain"):
        assert (line["event"], line["level"]) == ("connection without association", "warning")
        assert "16H" in line["ended"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "the peer does not speak TLS: it began with 'GET / HT'"),
        (b"\x16\x03\x01\xff\xff" + bytes(70_000), "OpenSSL says '"),
        (b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff" + bytes(1000), "OpenSSL says '"),
        (b"\x80\x2e\x01\x00\x02" + bytes(100), "OpenSSL says '"),
        (bytes(6), "the peer does not speak TLS: it began with "),
    ],
    ids=["HTTP", "too long a record", "too long a hello", "SSL 2.0", "zeros"],
)
def test_what_is_no_handshake_is_closed_in_one_line(one, told, connect, load, words, why):
    with load(one):
        strange = connect(one.secure_port)
        strange.send(words)
        assert strange.is_closed_by_peer(5)
    (line,) = told()
    assert line["ended"].startswith(HANDSHAKE + why)
    assert line["seconds"] < 0.5


def test_a_chain_of_a_thousand_certificates_is_refused_unread(one, told, authority, connect, load, process, tmp_path):
    """Nobody is known yet who sends it, and nothing but OpenSSL stands in the way."""
    device = authority.client()
    chain = tmp_path / "chain"
    chain.write_bytes(device.certificate.read_bytes() + 1000 * authority.certificate.read_bytes())
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.load_cert_chain(chain, device.key)
    before = process(one).resident
    with load(one), pytest.raises((ssl.SSLError, ConnectionError)):
        client = connect(one.secure_port)
        client.socket = context.wrap_socket(client.socket, server_hostname="localhost")
        client.associate()
    (line,) = told()
    assert line["ended"] == HANDSHAKE + "OpenSSL says 'excessive message size'"
    assert line["bytes_received"] < MiB
    assert process(one).resident - before < 16 * MiB


# -- the stream is cut


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("how", ["FIN", "reset", "forged record", "close_notify"])
def test_a_stream_that_is_cut_in_the_middle_of_a_c_store_leaves_no_file(
    one, told, secured, authority, begin_store, load, wait_for, version, how
):
    """Without close_notify anybody on the way may have cut it; and with it half an instance is still half of one."""
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.minimum_version = context.maximum_version = version
    before = one.stored()
    with load(one):
        client = secured(one, context)
        begin_store(client, "1.2.3.4")
        wait_for(one.spool)
        if how == "close_notify":
            client.socket.unwrap()
        plain = socket.socket(fileno=client.socket.detach())
        if how == "reset":
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how == "forged record":
            plain.sendall(b"\x17\x03\x03\x00\x40" + bytes(64))
        plain.close()
        (line,) = told()
        wait_for(lambda: not one.spool())
    assert (line["event"], line["level"], line["messages"]) == ("association", "warning", {})
    expected = {
        "FIN": NO_FIN,
        "reset": "the connection broke",
        "forged record": "OpenSSL says '",
        "close_notify": "the peer closed the connection",
    }
    assert expected[how] in line["ended"]
    assert one.stored() == before


def test_what_was_acknowledged_before_the_cut_stays(one, told, secured, store, begin_store, load, wait_for):
    before = set(one.stored())
    with load(one):
        client = secured(one)
        assert store(client, "1.2.3.1") == 0
        begin_store(client, "1.2.3.2", 32_000)
        wait_for(one.spool)
        socket.socket.shutdown(client.socket, socket.SHUT_RDWR)
        (line,) = told()
        wait_for(lambda: not one.spool())
    assert line["messages"] == {"C-STORE 0000": 1}
    assert [path.stem for path in set(one.stored()) - before] == ["1.2.3.1"]


def test_who_releases_and_then_closes_without_close_notify_did_nothing_wrong(one, told, secured, echo):
    """Old devices do; by then nothing is left that could be cut."""
    client = secured(one)
    assert echo(client) == 0
    client.send(ReleaseRQ().encode())
    assert isinstance(client.receive(), ReleaseRP)
    socket.socket(fileno=client.socket.detach()).close()
    (line,) = told()
    assert (line["level"], line["ended"]) == ("info", "released")


# -- files


def settings(authority, issued, **changes) -> dict:
    tls = {"certificate": issued.chain, "key": issued.key, "ca": authority.certificate, "client": "required", **changes}
    return {key: str(value) for key, value in tls.items() if value is not None}


WRONG = {
    "a key of another certificate": (
        lambda a: settings(a, a.server(), key=a.server("other.example").key),
        ("key", "{key} does not belong to {certificate}; name the key that the certificate was made with"),
    ),
    "a key of another kind": (
        lambda a: settings(a, a.server(), key=a.server("other.example", kind="rsa2048").key),
        ("key", "{key} does not belong to {certificate}; name the key that the certificate was made with"),
    ),
    "an expired certificate": (
        lambda a: settings(a, a.server(ends=YESTERDAY)),
        ("certificate", f"{{certificate}} expired on {YESTERDAY:%Y-%m-%d}; renew it"),
    ),
    "a certificate of tomorrow": (
        lambda a: settings(a, a.server(begins=TOMORROW)),
        ("certificate", f"{{certificate}} is not valid before {TOMORROW:%Y-%m-%d %H:%M} UTC; wait, or set this"),
    ),
    "a key that everybody may read": (
        lambda a: settings(a, one := a.server(), key=one.key_file(mode=0o644)),
        ("key", "{key} is readable by every user of this machine; chmod 640 {key}"),
    ),
    "an encrypted key without its password": (
        lambda a: settings(a, one := a.server(), key=one.key_file(password="opensesame")),
        ("key_password", "{key} is encrypted; name its password, or take the encryption off"),
    ),
    "a wrong password": (
        lambda a: settings(a, one := a.server(), key=one.key_file(password="opensesame"), key_password="sesame"),
        ("key_password", "the password does not open {key}; name the one that the key was encrypted with"),
    ),
    "no such file": (
        lambda a: settings(a, a.server(), certificate="/nowhere/tls.crt"),
        ("certificate", "/nowhere/tls.crt does not exist; correct the path, or put the file there"),
    ),
    "a certificate in another form": (
        lambda a: settings(a, one := a.server(), certificate=one.der()),
        ("certificate", "{certificate} is in DER form, and PEM is needed; convert it: openssl x509 "),
    ),
    "a short key": (
        lambda a: settings(a, a.server(kind="rsa1024")),
        ("certificate", "{certificate} has an RSA key of 1024 bits; make a new one, "),
    ),
    "a CA that is none": (
        lambda a: settings(a, one := a.server(), ca=one.certificate),
        ("ca", "{ca} holds no certificate of a CA; name the file of the CA that signs those of the peers"),
    ),
    "a revocation list that has run out": (
        lambda a: settings(a, a.server(), crl=a.revocation_list(ends=YESTERDAY)),
        ("crl", "the revocation list of 'CN=Test CA' in {crl} ended on"),
    ),
    "nobody to check a required certificate by": (
        lambda a: settings(a, a.server(), ca=None),
        ("", "client: required has no CA to check against; write ca, the file of its certificate"),
    ),
}  # fmt: skip


def place_of(config, key: str) -> str:
    """``file:line`` of a key under ``tls``, or of the section where the key is not there."""
    numbers = {line.strip().partition(":")[0]: n for n, line in enumerate(config.read_text().splitlines(), 1)}
    return f"{config}:{numbers.get(key, numbers['tls'])}"


@pytest.mark.parametrize("what", WRONG)
def test_scpd_check_names_file_line_and_key(authority, tmp_path, capsys, what):
    make, (key, says) = WRONG[what]
    tls = make(authority)
    config = tmp_path / "scpd.yaml"
    rest = "".join(f"  {name}: {value}\n" for name, value in tls.items())
    config.write_text(f"ae_title: SCPD\nstorage: {{directory: {tmp_path}}}\ntls:\n{rest}")
    assert main(["check", str(config)]) == 78
    out, err = capsys.readouterr()
    assert not err
    (fault,) = [line for line in out.splitlines() if says.format(**tls) in line]
    named = f"tls.{key}" if key else "tls"
    assert fault.startswith(f"{place_of(config, key)}: {named}: {says.format(**tls)}")
    assert "sesame" not in out


@pytest.mark.parametrize(
    "what", ["a key of another certificate", "an expired certificate", "a key that everybody may read"]
)
def test_scpd_run_does_not_start_and_says_the_same(daemon, authority, what):
    make, (key, says) = WRONG[what]
    tls = make(authority)
    one = daemon(tls=tls, ready=False)
    assert one.wait() == 78
    (fault,) = [line for line in one.lines if says.format(**tls) in line]
    assert fault.startswith(f"{place_of(one.config, key)}: tls.{key}: ")
    assert not [line for line in one.lines if "Traceback" in line or "listening" in line]


def test_a_certificate_that_ends_soon_is_a_warning_before_and_after_the_start(daemon, authority, capsys):
    ends = NOW + dt.timedelta(days=10, hours=1)
    tls = settings(authority, authority.server(ends=ends))
    one = daemon(tls=tls)
    says = f"{place_of(one.config, 'certificate')}: tls.certificate: {tls['certificate']} expires in 10 days, "
    says += f"on {ends:%Y-%m-%d}; renew it"
    assert main(["check", str(one.config)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == f"warning: {says}"
    assert out.splitlines()[-1].startswith(f"{one.config}: fine: ")
    (warned,) = [line for line in one.logs if line.get("level") == "warning"]
    assert warned["event"] == says
    assert one.wait_for_log(lambda line: line["event"] == "listening")["certificate_days_left"] == 10
    one.send_signal(signal.SIGUSR1)
    assert one.wait_for_log(lambda line: line["event"] == "state")["certificate_days_left"] == 10


# -- files that change: SIGHUP


@pytest.fixture
def replaceable(tmp_path, authority):
    """Where the daemon finds its files, and what puts others there."""
    tls = {name: tmp_path / name for name in ("certificate", "key", "ca", "crl")}

    def put(issued=None, *, key=None, mode: int = 0o600, crl=None) -> None:
        if issued:
            tls["certificate"].write_bytes(issued.chain.read_bytes())
        if issued or key:
            tls["key"].write_bytes((key or issued.key).read_bytes())
        tls["key"].chmod(mode)
        tls["ca"].write_bytes(authority.certificate.read_bytes())
        tls["crl"].write_bytes((crl or authority.revocation_list()).read_bytes())

    put(authority.server())
    return {name: str(path) for name, path in tls.items()} | {"client": "optional"}, put


def test_sighup_revokes_whom_a_new_list_names_and_leaves_associations_alone(
    daemon, connect, contexts, authority, echo, replaceable
):
    tls, put = replaceable
    one = daemon(tls=tls)
    device = authority.client()
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.load_cert_chain(device.chain, device.key)

    def come():
        client = connect(one.port)
        client.socket = context.wrap_socket(client.socket, server_hostname="localhost")
        client.associate(contexts)
        return client

    before = come()
    authority.revoke(device)
    put()
    one.send_signal(signal.SIGHUP)
    one.wait_for_log(lambda line: line["event"] == "reloaded")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        come()
    line = one.wait_for_log(lambda line: line["event"] == "connection without association")
    assert line["ended"] == HANDSHAKE + "the peer's certificate is not accepted: 'certificate revoked'"
    assert echo(before) == 0
    nothing_failed(one)


BROKEN = {
    "a key of another certificate": ("key", lambda a, put: put(key=a.server().key)),
    "a certificate that has expired": ("certificate", lambda a, put: put(a.server(ends=YESTERDAY))),
    "a key that everybody may read": ("key", lambda a, put: put(a.server(), mode=0o644)),
    "a revocation list that has run out": ("crl", lambda a, put: put(crl=a.revocation_list(ends=YESTERDAY))),
}


@pytest.mark.parametrize("what", BROKEN)
def test_sighup_with_what_scpd_check_would_not_take_changes_nothing(
    daemon, authority, trusting, connect, replaceable, capsys, what
):
    """And says what scpd check says: else every peer would be refused from then on."""
    tls, put = replaceable
    one = daemon(tls=tls)
    key, spoil = BROKEN[what]
    spoil(authority, put)
    assert main(["check", str(one.config)]) == 78
    (fault,) = capsys.readouterr().out.splitlines()
    assert fault.startswith(f"{place_of(one.config, key)}: tls.{key}: ")
    one.send_signal(signal.SIGHUP)
    line = one.wait_for_log(lambda line: line["event"] in ("reloaded", "reload failed: nothing has changed"))
    assert (line["level"], line.get("faults")) == ("error", 1)
    assert one.wait_for_log(lambda line: line["event"] == "reload: a fault")["fault"] == fault
    client = connect(one.port)
    client.socket = trusting.wrap_socket(client.socket, server_hostname="localhost")
    assert isinstance(client.associate(), AssociateAC)
