"""Connections under TLS are driven like plain ones: every wait ends, every failure says why, nothing leaves in clear.

The far end is Python's own SSLSocket, the system's ``openssl``, or another of ours.
"""

from __future__ import annotations

import datetime as dt
import os
import select
import socket
import ssl
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from scpd.association.events import State
from scpd.dimse.command import CEchoRQ, respond
from scpd.errors import ConnectionLost, Expired, Interrupted
from scpd.transport.connection import Connection, set_options
from scpd.transport.deadline import Deadline
from scpd.transport.exchange import MessageExchange, Pace
from scpd.transport.tls import SecureConnection, _chunks, _foreign, _words
from scpd.transport.upper_layer import UpperLayer
from scpd.wire.framing import Limits
from scpd.wire.pdu import Abort, ReleaseRQ

PATIENCE = 20.0
LIMITS = Limits(associate=1 << 20, data=1 << 16)
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])
ROLES = pytest.mark.parametrize("role", ["server", "client"])
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def soon(seconds: float = PATIENCE, which: str = "artim") -> Deadline:
    return Deadline.after(seconds, which, "nothing came")


def room(count: int = 100) -> memoryview:
    return memoryview(bytearray(count))


class Site:
    """A certificate authority, and contexts by it."""

    def __init__(self) -> None:
        self.authority = trustme.CA()
        self.host = self.authority.issue_cert("pacs.example")
        self.modality = self.authority.issue_cert("ct.example")
        self.expired = self.authority.issue_cert("pacs.example", not_after=LONG_AGO)

    def server(self, cert=None, *, verify=ssl.CERT_NONE, version=None, trust=None) -> ssl.SSLContext:
        return self._context(ssl.PROTOCOL_TLS_SERVER, cert or self.host, verify, version, trust)

    def client(self, cert=None, *, version=None, trust=None) -> ssl.SSLContext:
        return self._context(ssl.PROTOCOL_TLS_CLIENT, cert, ssl.CERT_REQUIRED, version, trust)

    def _context(self, protocol, cert, verify, version, trust) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.verify_mode = verify
        (trust or self.authority).configure_trust(context)
        if cert:
            cert.configure_cert(context)
        if version:
            context.minimum_version = context.maximum_version = version
        return context


@pytest.fixture(scope="module")
def site():
    return Site()


@pytest.fixture(scope="module")
def stranger():
    """An authority that nobody knows."""
    return trustme.CA()


@pytest.fixture
def sockets(meanwhile):
    """Both ends of a loopback TCP connection, closed at the end; ``meanwhile`` ends after them."""
    made = []

    def make(buffer=0):
        with socket.create_server(("127.0.0.1", 0)) as server:
            if buffer:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            near = socket.socket()
            near.connect(server.getsockname())
            far, _ = server.accept()
        if buffer:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        set_options(near)
        far.settimeout(PATIENCE)
        made.extend((near, far))
        return near, far

    yield make
    for one in made:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


@pytest.fixture
def later():
    """Run something on another thread; its result or error comes with ``.result(PATIENCE)``."""
    with ThreadPoolExecutor(8) as pool:
        yield pool.submit


@pytest.fixture
def secure():
    """One end as :class:`SecureConnection`, not begun."""
    made = []

    def make(sock, context, *, name="pacs.example"):
        server = context.protocol == ssl.PROTOCOL_TLS_SERVER
        made.append(
            SecureConnection(
                sock, "127.0.0.1:2762", context, server_side=server, server_hostname=None if server else name
            )
        )
        return made[-1]

    yield make
    for one in made:
        one.close()


def wrap(sock, context, name="pacs.example") -> ssl.SSLSocket:
    """The far end, not begun. The end of the stream is an error to it, where no close_notify came before."""
    server = context.protocol == ssl.PROTOCOL_TLS_SERVER
    return context.wrap_socket(
        sock,
        server_side=server,
        server_hostname=None if server else name,
        do_handshake_on_connect=False,
        suppress_ragged_eofs=False,
    )


@pytest.fixture
def ends(sockets, site, secure, later):
    """A connection whose handshake is done, and its far end."""
    opened = []

    def make(role="server", version=None, buffer=0, ours=None, theirs=None):
        near, far = sockets(buffer)
        contexts = site.server(version=version), site.client(version=version)
        ours, theirs = (ours or contexts[role != "server"]), (theirs or contexts[role == "server"])
        connection, other = secure(near, ours), wrap(far, theirs)
        opened.append(other)
        begun = later(connection.begin, soon())
        other.do_handshake()
        begun.result(PATIENCE)
        return connection, other

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def both(sockets, secure, later):
    """Two connections of ours, and how the handshake ended at each: None or the error."""

    def make(server_context, client_context, name="pacs.example"):
        near, far = sockets()
        pair = secure(near, server_context), secure(far, client_context, name=name)
        begun = [later(one.begin, soon()) for one in pair]
        return (*pair, *(one.exception(PATIENCE) for one in begun))

    return make


def exactly(connection, count: int) -> bytes:
    view, place = room(count), 0
    while place < count:
        came = connection.receive(view[place:], soon())
        assert came, "the stream ended"
        place += came
    return bytes(view)


def read(far, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += far.recv(count - len(data))
    return data


def cut(far: ssl.SSLSocket) -> None:
    """End the stream without TLS knowing."""
    socket.socket.shutdown(far, socket.SHUT_WR)


def raw(far: ssl.SSLSocket, count: int) -> bytes:
    """What is on the wire, not decoded."""
    return socket.socket.recv(far, count)


@contextmanager
def lost(words: str):
    with pytest.raises(ConnectionLost, match=words):
        yield


# -- the handshake


@ROLES
@VERSIONS
def test_handshake_both_ways_and_bytes_both_ways(ends, role, version):
    connection, far = ends(role, version)
    assert connection.tls.version == far.version()
    assert connection.tls.cipher == far.cipher()[0]
    far.sendall(b"to us")
    assert exactly(connection, 5) == b"to us"
    connection.send((b"to", b" ", memoryview(b"them")), PATIENCE)
    assert read(far, 7) == b"to them"


def test_nothing_is_said_before_begin_and_nothing_is_known(sockets, secure, site):
    near, far = sockets()
    connection = secure(near, site.client())
    assert connection.tls is None
    connection.close()
    assert far.recv(1) == b""


@VERSIONS
@pytest.mark.parametrize("sends", [True, False], ids=["sent", "not-sent"])
@pytest.mark.parametrize("verify", [ssl.CERT_NONE, ssl.CERT_OPTIONAL])
def test_client_certificate_that_may_be_left_out(ends, site, version, verify, sends):
    """One is known when it was asked for and sent; who asks for none gets none."""
    server = site.server(verify=verify, version=version)
    connection, _ = ends(ours=server, theirs=site.client(site.modality if sends else None, version=version))
    if sends and verify:
        assert ("DNS", "ct.example") in connection.tls.peer_certificate["subjectAltName"]
        pem = site.modality.cert_chain_pems[0].bytes().decode()
        assert connection.tls.peer_certificate_der == ssl.PEM_cert_to_DER_cert(pem)
    else:
        assert connection.tls.peer_certificate is None
        assert connection.tls.peer_certificate_der is None


@VERSIONS
def test_client_certificate_that_is_required_and_sent(both, site, version):
    server, client, *failures = both(
        site.server(verify=ssl.CERT_REQUIRED, version=version), site.client(site.modality, version=version)
    )
    assert failures == [None, None]
    assert ("DNS", "ct.example") in server.tls.peer_certificate["subjectAltName"]
    assert ("DNS", "pacs.example") in client.tls.peer_certificate["subjectAltName"]


def test_client_certificate_that_is_required_and_not_sent(both, site):
    server, client, ours, theirs = both(site.server(verify=ssl.CERT_REQUIRED, version=V12), site.client(version=V12))
    assert str(ours) == "the TLS handshake failed: the peer sent no certificate, and one is required"
    assert str(theirs) == "the TLS handshake failed: the peer ended TLS with the alert 'handshake failure'"
    assert server.tls is client.tls is None


def test_refusal_of_a_client_certificate_is_heard_at_the_first_receive_in_tls_1_3(both, site):
    """There the client's handshake is complete before the server has seen its certificate."""
    _, client, ours, theirs = both(site.server(verify=ssl.CERT_REQUIRED, version=V13), site.client(version=V13))
    assert "the peer sent no certificate" in str(ours)
    assert theirs is None
    with lost("^the peer requires a certificate, and was sent none$"):
        client.receive(room(), soon())
    with lost("the peer requires a certificate"):
        client.send((b"more",), PATIENCE)


@VERSIONS
def test_server_certificate_of_a_stranger(both, site, stranger, version):
    _, _, ours, theirs = both(site.server(version=version), site.client(version=version, trust=stranger))
    assert "the peer does not accept our certificate: 'unknown ca'" in str(ours)
    assert "the peer's certificate is not accepted: 'self-signed certificate in certificate chain'" in str(theirs)


@VERSIONS
def test_client_certificate_of_a_stranger(both, site, stranger, version):
    cert = stranger.issue_cert("ct.example")
    server = site.server(verify=ssl.CERT_REQUIRED, version=version)
    _, client, ours, theirs = both(server, site.client(cert, version=version))
    assert "the peer's certificate is not accepted: 'unable to get local issuer certificate'" in str(ours)
    with lost("the peer does not accept our certificate: 'unknown ca'"):
        if theirs:
            raise theirs
        client.receive(room(), soon())


def test_expired_certificate(both, site):
    _, _, ours, theirs = both(site.server(site.expired), site.client())
    assert "the peer does not accept our certificate: 'certificate expired'" in str(ours)
    assert "the peer's certificate is not accepted: 'certificate has expired'" in str(theirs)


def test_certificate_for_another_host(both, site):
    _, _, ours, theirs = both(site.server(), site.client(), name="other.example")
    assert "the peer does not accept our certificate: 'bad certificate'" in str(ours)
    assert "the peer's certificate is not accepted" in str(theirs)
    assert "not valid for 'other.example'" in str(theirs)


def test_no_version_in_common(both, site):
    _, _, ours, theirs = both(site.server(version=V13), site.client(version=V12))
    assert str(ours) == "the TLS handshake failed: the peer offers no version of TLS that is allowed here"
    assert "the alert 'protocol version'" in str(theirs)


def test_no_cipher_in_common(both, site):
    contexts = site.server(version=V12), site.client(version=V12)
    contexts[0].set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    contexts[1].set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    _, _, ours, theirs = both(*contexts)
    assert str(ours) == "the TLS handshake failed: the peer offers no cipher suite that is allowed here"
    assert "the alert 'handshake failure'" in str(theirs)


# -- peers that do not speak TLS, or do not speak


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"\x01\x00\x00\x00\x00\xcd\x00\x01", "the peer spoke plain DICOM, not TLS: it began with a PDU of type 01H"),
        (b"GET / HTTP/1.1\r\n\r\n", r"the peer does not speak TLS: it began with 'GET / HT'"),
        (b"\r\nlevel=x", r"the peer does not speak TLS: it began with '\\r\\nlevel='"),
    ],
    ids=["dicom", "http", "hostile"],
)
@pytest.mark.parametrize("piecemeal", [False, True], ids=["at-once", "piecemeal"])
def test_client_that_does_not_speak_tls(sockets, secure, site, bounded, said, words, piecemeal):
    near, far = sockets()
    connection = secure(near, site.server())
    for start in range(0, len(said), 1 if piecemeal else len(said)):
        far.send(said[start:] if not piecemeal else said[start : start + 1])
    with lost(f"^the TLS handshake failed: {words}"):
        bounded(lambda: connection.begin(soon()))


def test_server_that_speaks_plain_dicom(sockets, secure, site, later):
    """It takes the ClientHello for a PDU that it does not know, and aborts."""
    near, far = sockets()
    plain = UpperLayer(Connection(far, "x"), is_requestor=False, limits=LIMITS, artim=PATIENCE, write=PATIENCE)
    serving = later(plain.await_request)
    with lost("the peer spoke plain DICOM, not TLS: it began with a PDU of type 07H"):
        secure(near, site.client()).begin(soon())
    assert "unknown type 16H" in str(serving.exception(PATIENCE))


@ROLES
def test_peer_that_closes_instead(sockets, secure, site, role):
    near, far = sockets()
    far.shutdown(socket.SHUT_WR)
    with lost("^the TLS handshake failed: the peer closed the connection$"):
        secure(near, getattr(site, role)()).begin(soon())


@ROLES
def test_peer_that_resets_instead(sockets, secure, site, role):
    near, far = sockets()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    with lost("^the TLS handshake failed: the connection broke: "):
        secure(near, getattr(site, role)()).begin(soon())


def hello(site) -> bytes:
    outgoing = ssl.MemoryBIO()
    client = site.client().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="pacs.example")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("said", ["nothing", "a byte", "half a ClientHello", "a ClientHello", "plain DICOM's first"])
def test_silence_in_the_handshake_ends_at_the_deadline_and_with_its_words(sockets, secure, site, within, said):
    whole = hello(site)
    near, far = sockets()
    connection = secure(near, site.server())
    far.send(
        {
            "nothing": b"",
            "a byte": whole[:1],
            "half a ClientHello": whole[: len(whole) // 2],
            "a ClientHello": whole,
            "plain DICOM's first": b"\x01\x00",
        }[said]
    )
    with within(0.2), pytest.raises(Expired) as caught:
        connection.begin(soon(0.2))
    assert str(caught.value) == "nothing came (timeouts.artim)"


def test_client_that_connects_to_a_silent_server_gives_up_at_the_deadline(sockets, secure, site, within):
    near, _ = sockets()
    with within(0.2), pytest.raises(Expired):
        secure(near, site.client()).begin(soon(0.2))


def test_deadline_that_has_passed_ends_the_handshake_at_once(sockets, secure, site, within):
    near, _ = sockets()
    with within(0.0), pytest.raises(Expired):
        secure(near, site.client()).begin(soon(-1.0))


def test_a_byte_now_and_then_does_not_extend_the_handshake(sockets, secure, site, within, meanwhile):
    near, far = sockets()
    connection = secure(near, site.server())
    rest = iter(hello(site))
    meanwhile(lambda: far.send(bytes((next(rest),))), every=0.02)
    with within(0.3), pytest.raises(Expired):
        connection.begin(soon(0.3))
    assert connection.received > 3


def test_server_whose_answer_is_not_read_gives_up_at_the_deadline(sockets, secure, site, within):
    """More certificates than the system has room for, and a peer that takes none of them."""
    near, far = sockets(buffer=2048)
    context = site.server()
    chain = b"".join(pem.bytes() for pem in site.host.cert_chain_pems)
    with trustme.Blob(site.host.private_key_pem.bytes() + chain * 150).tempfile() as path:
        context.load_cert_chain(path)
    connection = secure(near, context)
    far.send(hello(site))
    with within(0.3), pytest.raises(Expired) as caught:
        connection.begin(soon(0.3))
    assert caught.value.which == "artim"


@pytest.mark.parametrize("version", [V12, V13])
def test_handshake_and_data_may_come_a_byte_at_a_time(sockets, secure, site, later, meanwhile, version):
    near, middle = sockets()
    other, far = sockets()
    connection = secure(near, site.server(version=version))
    client = wrap(far, site.client(version=version))

    def pass_on(source, target, count):
        while data := source.recv(count):
            for byte in data:
                target.send(bytes((byte,)))

    meanwhile(lambda: pass_on(middle, other, 65536))
    meanwhile(lambda: pass_on(other, middle, 65536))
    begun = later(connection.begin, soon())
    client.do_handshake()
    begun.result(PATIENCE)
    client.sendall(b"slowly" * 100)
    assert exactly(connection, 600) == b"slowly" * 100
    connection.send((b"as slowly",), PATIENCE)
    assert read(client, 9) == b"as slowly"


# -- bytes in and out


@VERSIONS
def test_twenty_megabytes_each_way_at_once(both, site, later, version):
    """One thread receives while another sends, at both ends."""
    server, client, *failures = both(site.server(version=version), site.client(version=version))
    assert failures == [None, None]
    there = bytes(range(256)) * (20 << 12)
    back = there[::-1]

    def send(connection, data):
        view = memoryview(data)
        for start in range(0, len(view), 100_003):
            connection.send((b"", view[start : start + 7], view[start + 7 : start + 100_003]), PATIENCE)

    sent = later(send, client, there), later(send, server, back)
    came = later(exactly, server, len(there)), later(exactly, client, len(back))
    for one in sent:
        one.result(60)
    assert came[0].result(60) == there
    assert came[1].result(60) == back
    assert server.received == client.sent > len(there)


def test_received_and_sent_count_what_the_network_carried(both, site):
    server, client, *_ = both(site.server(), site.client())
    client.send((b"x",), PATIENCE)
    exactly(server, 1)
    assert server.received == client.sent > 100


def test_what_tls_holds_decoded_is_received_without_looking_at_the_network(ends):
    """One record, more of it than fits: nothing is left to be read from the socket, and yet there is something."""
    connection, far = ends()
    far.sendall(bytes(range(250)))
    view = room(100)
    assert connection.receive(view, soon()) == 100
    assert not select.select([connection._socket], [], [], 0)[0]
    assert connection.try_receive(view) == 100
    assert view == bytes(range(100, 200))
    assert connection.receive(view, soon()) == 50
    assert connection.try_receive(view) is None


def test_a_deadline_that_has_passed_ends_the_wait_though_there_is_something(ends):
    connection, far = ends()
    far.sendall(bytes(200))
    connection.receive(room(100), soon())
    with pytest.raises(Expired):
        connection.receive(room(100), soon(-1.0))


def test_try_receive_does_not_wait_for_the_rest_of_a_record(ends):
    connection, far = ends()
    assert connection.try_receive(room()) is None
    socket.socket.send(far, b"\x17\x03\x03\x40\x00" + bytes(1000))
    select.select([connection._socket], [], [], PATIENCE)
    assert connection.try_receive(room()) is None


@pytest.mark.parametrize("owed", [False, True])
@pytest.mark.parametrize("seconds", [0.05, 0.3])
def test_a_wait_ends_at_its_deadline_and_not_before(ends, within, seconds, owed):
    connection, _ = ends()
    with within(seconds), pytest.raises(Expired) as caught:
        connection.receive(room(), soon(seconds, "idle"), owed=owed)
    assert caught.value.which == "idle"


def test_bytes_that_drip_do_not_move_the_deadline(ends, within, meanwhile):
    connection, far = ends()
    meanwhile(lambda: far.send(b"x"), every=0.02)
    deadline = soon(0.3)
    with within(0.3), pytest.raises(Expired):
        while connection.receive(room(), deadline):
            pass


def test_a_record_that_drips_does_not_move_the_deadline(ends, within, meanwhile):
    connection, far = ends()
    rest = iter(b"\x17\x03\x03\x40\x00" + bytes(0x4000))
    meanwhile(lambda: socket.socket.send(far, bytes((next(rest),))), every=0.02)
    with within(0.3), pytest.raises(Expired):
        connection.receive(room(), soon(0.3))


@VERSIONS
def test_a_response_is_one_record_and_one_packet(ends, version):
    connection, far = ends(version=version)
    connection.send((b"command", b"header", memoryview(bytes(5000)), b"tail"), PATIENCE)
    drain_tickets(far, version)
    packet = raw(far, 1 << 16)
    assert packet[0] == 0x17
    assert len(packet) == 5 + int.from_bytes(packet[3:5])
    assert len(packet) > 5017


def drain_tickets(far, version) -> None:
    """Take the two session tickets of TLS 1.3 from the wire, which precede the first data of a server."""
    for _ in range(2 if version is V13 else 0):
        header = raw(far, 5)
        raw(far, int.from_bytes(header[3:5]))


@given(lengths=st.lists(st.integers(0, 150_000), max_size=6))
def test_what_is_sent_is_cut_into_full_records_and_is_all_there(lengths):
    parts = [memoryview(bytes((index + 1,)) * length) for index, length in enumerate(lengths)]
    chunks = list(_chunks(parts))
    assert b"".join(chunks) == b"".join(parts)
    assert all(chunks)
    assert all(len(chunk) % 16384 == 0 for chunk in chunks[:-1])


def test_large_parts_are_not_copied():
    large = memoryview(bytes(1 << 20))
    chunks = list(_chunks((b"header", large)))
    assert sum(len(chunk) for chunk in chunks if isinstance(chunk, bytes)) <= 2 * 16384


def test_a_peer_that_does_not_read_ends_the_sending(ends, within, bounded):
    """After half a record nothing else can be said, so nothing else is tried."""
    connection, _ = ends(buffer=4096)
    with within(0.3), pytest.raises(Expired) as caught:
        bounded(lambda: connection.send((bytes(16 << 20),), 0.3))
    assert caught.value.which == "write"
    with within(0.0), lost("nothing can be sent any more"):
        connection.send((b"A-ABORT",), PATIENCE)
    connection.finish_sending()


# -- interrupts


def test_interrupt_ends_the_handshake(sockets, secure, site, later):
    near, far = sockets()
    connection = secure(near, site.client())
    begun = later(connection.begin, soon())
    assert far.recv(1)  # it waits for an answer now
    connection.interrupt("stopping")
    with pytest.raises(Interrupted, match="stopping"):
        begun.result(PATIENCE)


def test_interrupt_before_the_handshake_is_not_lost(sockets, secure, site):
    near, _ = sockets()
    connection = secure(near, site.server())
    connection.interrupt("stopping")
    with pytest.raises(Interrupted):
        connection.begin(soon())


@ROLES
@VERSIONS
def test_interrupt_ends_a_wait_and_the_last_word_goes_out_encrypted(ends, later, role, version):
    connection, far = ends(role, version)
    waiting = later(connection.receive, room(), soon())
    connection.interrupt("stopping")
    with pytest.raises(Interrupted, match="stopping"):
        waiting.result(PATIENCE)
    connection.send((b"farewell",), PATIENCE)
    connection.finish_sending()
    assert read(far, 8) == b"farewell"  # in clear it would be no record
    assert far.recv(1) == b""


def test_interrupt_at_any_moment_leaves_sending_as_it_was(both, site, later, meanwhile):
    """While records arrive: the receiving half is shut under OpenSSL's nose again and again."""

    def receive(connection):
        while connection.receive(room(3000), soon()):
            pass

    def flood(connection):
        with suppress(ConnectionLost):
            while True:
                connection.send((bytes(20_000),), PATIENCE)

    for _ in range(10):
        server, client, *_ = both(site.server(), site.client())
        meanwhile(lambda client=client: flood(client))
        receiving = later(receive, server)
        server.interrupt("stopping")
        with pytest.raises(Interrupted):
            receiving.result(PATIENCE)
        server.send((b"farewell",), PATIENCE)
        assert exactly(client, 8) == b"farewell"
        server.close()


def test_interrupt_is_heard_though_decoded_bytes_are_there(ends):
    connection, far = ends()
    far.sendall(bytes(200))
    connection.receive(room(100), soon())
    connection.interrupt("stopping")
    with pytest.raises(Interrupted):
        connection.receive(room(100), soon())


# -- ends


def test_end_without_close_notify_is_told_as_truncation(ends):
    connection, far = ends()
    far.sendall(b"part of it")
    cut(far)
    assert exactly(connection, 10) == b"part of it"
    for _ in range(2):
        with lost("without a TLS close_notify: what it sent may be truncated"):
            connection.receive(room(), soon())
    with lost("truncated"):
        connection.try_receive(room())


def test_end_inside_a_record_is_told_as_truncation(ends):
    connection, far = ends()
    socket.socket.send(far, b"\x17\x03\x03\x40\x00" + bytes(1000))
    cut(far)
    with lost("truncated"):
        connection.receive(room(), soon())


@ROLES
@VERSIONS
def test_close_notify_is_the_end_of_the_stream_and_is_answered(ends, later, role, version):
    connection, far = ends(role, version)
    far.sendall(b"last")
    ended = later(far.unwrap)
    assert exactly(connection, 4) == b"last"
    assert connection.receive(room(), soon()) == 0
    assert connection.receive(room(), soon()) == 0
    connection.close()
    ended.result(PATIENCE).close()


@VERSIONS
def test_finish_sending_ends_the_stream_and_leaves_the_other_way_open(ends, version):
    connection, far = ends(version=version)
    connection.finish_sending()
    assert far.recv(1) == b""
    far.sendall(b"still here")
    assert exactly(connection, 10) == b"still here"
    with lost("nothing can be sent any more"):
        connection.send((b"not any more",), PATIENCE)
    far.unwrap()
    assert connection.receive(room(), soon()) == 0
    assert connection.receive(room(), soon()) == 0


@VERSIONS
def test_finish_sending_loses_nothing_that_came_before(ends, version):
    """OpenSSL looks for the peer's close_notify where data stands, half a record of it decoded already."""
    connection, far = ends(version=version)
    data = bytes(range(200)) * 200
    far.sendall(data)
    assert exactly(connection, 150) == data[:150]
    connection.finish_sending()
    connection.finish_sending()
    assert exactly(connection, len(data) - 150) == data[150:]
    far.sendall(b"later")
    assert exactly(connection, 5) == b"later"


def test_close_says_close_notify(ends):
    connection, far = ends()
    connection.close()
    connection.close()
    connection.interrupt("too late")
    assert far.recv(1) == b""


def test_broken_record_ends_tls_with_an_alert_and_what_came_before_it_is_received(ends):
    connection, far = ends()
    far.sendall(b"whole")
    socket.socket.send(far, (b"\x17\x03\x03\x00\x30" + bytes(48)) * 3)
    assert exactly(connection, 5) == b"whole"
    for _ in range(2):
        with lost("^OpenSSL says 'decryption failed or bad record mac'$"):
            connection.receive(room(), soon())
    with lost("bad record mac"):
        connection.send((b"x",), PATIENCE)
    with pytest.raises(ssl.SSLError, match="ALERT_BAD_RECORD_MAC"):
        far.read(1)


def test_reset_is_a_lost_connection(ends):
    connection, far = ends()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    with lost("the connection broke"):
        connection.receive(room(), soon())
    with lost("the connection broke"):
        while True:
            connection.send((bytes(1 << 16),), PATIENCE)
    connection.finish_sending()


# -- what TLS says by itself


def test_what_tls_has_to_say_is_sent_while_receiving(ends):
    connection, far = ends()
    connection._engine.write(b"as if it were a new key")
    assert connection.try_receive(room()) is None
    assert read(far, 23) == b"as if it were a new key"


def test_what_tls_has_to_say_and_has_no_room_goes_before_what_is_sent_next(ends, meanwhile):
    connection, far = ends(buffer=4096)
    far.setblocking(False)
    connection._engine.write(bytes(100_000))
    assert connection.try_receive(room()) is None
    assert connection._unsent
    far.settimeout(PATIENCE)
    meanwhile(lambda: connection.send((b"next",), PATIENCE))
    assert read(far, 100_004) == bytes(100_000) + b"next"


def test_peer_that_makes_tls_answer_and_does_not_read_is_given_up(ends):
    connection, _ = ends(buffer=4096)
    connection._engine.write(bytes(8 << 20))
    with pytest.raises(Expired) as caught:
        connection.try_receive(room())
    assert caught.value.which == "write"


def test_what_tls_has_to_say_waits_for_who_is_sending(ends):
    connection, far = ends()
    connection._engine.write(b"answer ")
    with connection._giving:
        assert connection.try_receive(room()) is None
    connection.send((b"data",), PATIENCE)
    assert read(far, 11) == b"answer data"


def test_what_tls_has_to_say_while_somebody_sends_follows_at_once(ends, monkeypatch):
    connection, far = ends()
    send = Connection.send

    def interfere(self, parts, timeout):
        send(self, parts, timeout)
        connection._engine.write(b" answer")

    monkeypatch.setattr(Connection, "send", interfere)
    connection.send((b"data",), PATIENCE)
    assert read(far, 11) == b"data answer"


def test_what_openssl_refuses_to_write_is_a_lost_connection(ends):
    connection, _ = ends()
    with suppress(ssl.SSLWantReadError):
        connection._engine.unwrap()
    with lost("^OpenSSL says 'protocol is shutdown'$"):
        connection.send((b"data",), PATIENCE)


def test_what_tls_has_to_say_is_not_said_after_half_a_record(ends):
    connection, far = ends(buffer=4096)
    with pytest.raises(Expired):
        connection.send((bytes(1 << 20),), 0.05)
    while select.select([far], [], [], 0.1)[0]:  # there is room again
        raw(far, 1 << 16)
    sent = connection.sent
    connection._engine.write(b"answer")
    assert connection.try_receive(room()) is None
    assert connection.sent == sent


class OpenSSL:
    """The system's ``openssl s_client`` or ``s_server``, which takes commands from its standard input."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._output = b""

    def say(self, line: str) -> None:
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def hears(self, line: str) -> None:
        """Its output up to this line."""
        while line.encode() not in self._output.splitlines():
            assert select.select([self.process.stdout], [], [], PATIENCE)[0], f"no {line!r} in {self._output}"
            more = os.read(self.process.stdout.fileno(), 65536)
            assert more, f"it ended without {line!r}: {self._output}"
            self._output += more

    def close(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)


@pytest.fixture
def openssl(peer):
    program, made = peer("openssl"), []

    def start(*arguments):
        made.append(OpenSSL(program, *arguments))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.mark.interop
def test_key_update_is_answered(openssl, secure, site):
    """RFC 8446 4.6.3: ours comes before our next data, and both ways go on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        far = openssl("s_client", "-tls1_3", "-connect", f"127.0.0.1:{server.getsockname()[1]}")
        near, _ = server.accept()
    connection = secure(near, site.server())
    connection.begin(soon())
    far.say("K")
    select.select([near], [], [], PATIENCE)
    far.say("after it")
    sent = connection.sent
    assert exactly(connection, 9) == b"after it\n"
    connection.send((b"answer\n",), PATIENCE)
    far.hears("answer")
    assert connection.sent - sent > 2 * 5 + 2 * 16  # two records: header and authentication tag of each


@pytest.fixture
def asked_to_renegotiate(openssl, secure, site, free_port, tmp_path):
    """A client whose server has begun a renegotiation (TLS 1.2), by a context that allows it, and that server."""
    pem = tmp_path / "server.pem"
    site.host.private_key_and_cert_chain_pem.write_to_path(pem)
    far = openssl("s_server", "-tls1_2", "-cert", str(pem), "-accept", f"127.0.0.1:{free_port}")
    far.hears("ACCEPT")
    near = socket.create_connection(("127.0.0.1", free_port), PATIENCE)
    connection = secure(near, site.client())
    connection.begin(soon())
    far.say("r")
    select.select([near], [], [], PATIENCE)
    return connection, far


@pytest.mark.interop
def test_renegotiation_is_gone_through_while_receiving(asked_to_renegotiate):
    """A read that has to write."""
    connection, far = asked_to_renegotiate
    far.say("read")
    assert exactly(connection, 5) == b"read\n"
    connection.send((b"written\n",), PATIENCE)
    far.hears("written")


@pytest.mark.interop
def test_renegotiation_is_gone_through_while_sending(asked_to_renegotiate):
    """A write that has to read."""
    connection, far = asked_to_renegotiate
    assert connection.try_receive(room()) is None
    connection.send((b"written\n",), PATIENCE)
    far.hears("written")
    far.say("read")
    assert exactly(connection, 5) == b"read\n"


@pytest.mark.interop
def test_renegotiation_is_left_to_who_receives_and_has_an_end(asked_to_renegotiate, within):
    """A write that has to read while another thread does: not for longer than it has for writing."""
    connection, far = asked_to_renegotiate
    assert connection.try_receive(room()) is None
    with connection._taking, within(0.2), pytest.raises(Expired) as caught:
        connection.send((b"written\n",), 0.2)
    assert caught.value.which == "write"
    connection.send((b"written\n",), PATIENCE)
    far.hears("written")


# -- the words


def test_what_openssl_says_is_quoted_and_bounded():
    error = ssl.SSLError(1, "x")
    error.reason = "A\n" + "B" * 1000
    assert _words(error) == "OpenSSL says " + ascii("a\n" + "b" * 118) + "…"


def test_what_a_peer_says_in_its_alert_is_quoted():
    error = ssl.SSLError(1, "x")
    error.reason = "TLSV1_ALERT_INTERNAL_ERROR"
    assert _words(error) == "the peer ended TLS with the alert 'internal error'"


@pytest.mark.parametrize("opening", [b"", b"\x16\x03\x01", b"\x15\x03\x01", b"\x80\x2e\x01"])
def test_what_may_be_tls_is_not_taken_for_something_else(opening):
    assert _foreign(opening) is None


# -- associations


@pytest.fixture
def associated(both, site, later, request_pdu, accept_pdu):
    """An association under TLS: the acceptor's upper layer and the requestor's."""

    def make(**how):
        server, client, *failures = both(site.server(**how), site.client(**how))
        assert failures == [None, None]
        acceptor, requestor = (
            UpperLayer(one, is_requestor=one is client, limits=LIMITS, artim=PATIENCE, write=PATIENCE)
            for one in (server, client)
        )

        def accept():
            acceptor.await_request()
            acceptor.accept(accept_pdu)

        accepting = later(accept)
        assert requestor.request(request_pdu, soon()) == accept_pdu
        accepting.result(PATIENCE)
        return acceptor, requestor

    return make


def exchange(upper) -> MessageExchange:
    return MessageExchange(
        upper, (1,), peer_maximum_length=16384, command_limit=4096, pace=Pace(idle=PATIENCE, message=PATIENCE)
    )


@VERSIONS
def test_a_whole_association_with_c_echo(associated, later, version):
    acceptor, requestor = associated(version=version)
    echo = CEchoRQ(message_id=7, affected_sop_class_uid="1.2.840.10008.1.1")

    def serve():
        messages = exchange(acceptor)
        while message := messages.receive():
            messages.send(message.context_id, respond(message.command, 0))
        acceptor.finish_release(soon())
        acceptor.end()

    serving = later(serve)
    messages = exchange(requestor)
    for _ in range(3):
        messages.send(1, echo)
        assert messages.receive().command.status == 0
    requestor.ask_release()
    requestor.finish_release(soon())
    requestor.end()
    serving.result(PATIENCE)
    assert acceptor.machine.state is requestor.machine.state is State.STA1


def test_abort_after_an_interrupt_reaches_the_peer_and_then_the_end(associated):
    acceptor, requestor = associated()
    acceptor.connection.interrupt("stopping")
    with pytest.raises(Interrupted):
        acceptor.receive(soon())
    acceptor.abort()
    view = room()
    assert requestor.connection.receive(view, soon()) == 10
    assert view[:10] == Abort(0, 0).encode()
    assert requestor.connection.receive(view, soon()) == 0


def test_peer_that_cuts_the_stream_in_an_association_is_told_from_one_that_ends_it(associated):
    acceptor, requestor = associated()
    requestor.connection._socket.shutdown(socket.SHUT_WR)
    with lost("truncated"):
        acceptor.receive(soon())
    assert acceptor.is_over


def test_peer_that_ends_the_stream_without_release(associated):
    acceptor, requestor = associated()
    requestor.connection.close()
    with lost("^the peer closed the connection$"):
        acceptor.receive(soon())


def test_after_the_release_a_close_without_close_notify_is_as_good(associated):
    acceptor, requestor = associated()
    requestor.ask_release()
    assert acceptor.receive(soon()) == ReleaseRQ()
    acceptor.finish_release(soon())
    requestor.finish_release(soon())
    requestor.connection._socket.close()
    acceptor.end()
    assert acceptor.machine.state is State.STA1
