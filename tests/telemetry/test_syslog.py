"""Lines are RFC 5424, and each destination takes them whole, in order, or says that it did not."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import socket
import ssl
import threading

import pytest
import trustme
from components.collector import Collector, parse
from hypothesis import given
from hypothesis import strategies as st

from scpd.telemetry import audit, syslog
from scpd.telemetry.audit import Message, Outcome, Patient, Peer, Reporter, Study
from scpd.telemetry.syslog import (
    LONGEST_DATAGRAM,
    FileDestination,
    TLSDestination,
    UDPDestination,
    encode,
)

PATIENCE = 20.0
WHEN = dt.datetime(2026, 3, 1, 13, 5, 6, 7, dt.timezone(dt.timedelta(hours=5, minutes=30)))
US = Reporter("pacs ARCHIVE", "pacs.example", ("ARCHIVE",), process_id=4711)


def said(text: str, host: str = "pacs.example") -> bytes:
    return encode(Message(WHEN, Outcome.SUCCESS, host, 4711, text))


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def contexts(authority):
    """Of a collector and of somebody who trusts its authority."""
    return server_context(authority), client_context(authority)


def server_context(authority, version=None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def client_context(authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


@pytest.fixture
def collector(contexts):
    made = []

    def make(context=contexts[0], **how) -> Collector:
        made.append(Collector(context, **how))
        made[-1].listen()
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def over_tls(contexts):
    made = []

    def make(port: int, context=contexts[1], **how) -> TLSDestination:
        made.append(TLSDestination("127.0.0.1", port, context, **how))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def over_udp():
    made = []

    def make(port: int) -> UDPDestination:
        made.append(UDPDestination("127.0.0.1", port))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def into_file(tmp_path):
    made = []

    def make(path=tmp_path / "audit.log") -> FileDestination:
        made.append(FileDestination(path))
        return made[-1]

    yield make
    for one in made:
        one.close()


# -- the line


def test_a_line_is_what_rfc_5424_and_ps3_15_want():
    raw = said("<x/>")
    assert raw == (b"<85>1 2026-03-01T13:05:06.000007+05:30 pacs.example scpd 4711 DICOM+RFC3881 - \xef\xbb\xbf<x/>")
    one = parse(raw)
    assert (one.facility, one.severity, one.when) == (10, 5, WHEN)
    assert (one.host, one.app, one.process, one.id) == ("pacs.example", "scpd", "4711", "DICOM+RFC3881")
    assert one.text == "<x/>"


@pytest.mark.parametrize(("outcome", "severity"), [(0, 5), (4, 4), (8, 4), (12, 4)])
def test_what_failed_is_a_warning(outcome, severity):
    assert parse(encode(Message(WHEN, Outcome(outcome), "h", 1, "<x/>"))).severity == severity


@given(st.text(), st.text(max_size=300))
def test_nothing_that_stands_in_a_message_breaks_its_line(text, host):
    raw = said(text, host)
    assert b"\n" not in raw
    one = parse(raw)
    assert one.text == text.replace("\n", " ")
    assert len(one.host) <= 255


def test_a_host_that_is_nothing_is_the_nil_value():
    assert parse(said("x", "")).host == "-"


def test_the_longest_message_is_taken_by_every_collector():
    """PS3.15 A.6: 32,768 octets."""
    worst = "&" * 1_000
    us = Reporter(worst, "h" * 1000, (worst,), worst, worst)
    studies = [Study(worst, {worst + str(number): 1 for number in range(40)}, worst)] * 3
    messages = audit.instances_transferred(
        us, Peer(worst, worst), Patient(worst, worst), studies, user=worst, description=worst
    )
    assert len(messages) > 3
    assert max(len(encode(message)) for message in messages) <= audit.MOST_OCTETS


# -- TLS


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_lines_arrive_over_tls(authority, collector, over_tls, version):
    """With octet counting, also those of several records and with characters of several octets."""
    texts = ["<a/>", "ü" * 30_000, "<b>山</b>", "1 2 3"]
    one = collector(server_context(authority, version))
    destination = over_tls(one.port)
    assert destination.send([said(text) for text in texts[:2]]) == 0
    assert destination.send([said(text) for text in texts[2:]]) == 0
    one.wait_for(4)
    assert one.texts() == texts
    assert one.connections == 1


def test_a_good_end_means_that_everything_arrived(collector, over_tls):
    one = collector()
    destination = over_tls(one.port)
    destination.send([said(str(number)) for number in range(1000)])
    assert destination.finish()
    assert one.texts() == [str(number) for number in range(1000)]
    assert one.failures == []


def test_what_the_other_system_acknowledged_has_arrived(collector, over_tls):
    one = collector()
    destination = over_tls(one.port)
    destination.send([said("x")])
    one.wait_for(1)
    poll = threading.Event()
    for _ in range(1000):
        if destination.has_arrived():
            break
        poll.wait(0.01)
    else:
        pytest.fail("never acknowledged")


def test_what_the_other_system_has_no_room_for_has_not_arrived(collector, over_tls):
    one = collector(reads=False)
    destination = over_tls(one.port, write=0.3)
    with pytest.raises(TimeoutError):
        for _ in range(1000):
            destination.send([said("x" * 60_000)])
    assert not destination.has_arrived()


def test_a_collector_that_has_hung_up_is_noticed_before_anything_is_sent(collector, over_tls):
    one = collector()
    destination = over_tls(one.port)
    destination.send([said("before")])
    one.wait_for(1)
    one.stop()
    with pytest.raises(ConnectionError):
        destination.send([said("lost")])
    assert not destination.finish()
    with pytest.raises(OSError, match="."):
        destination.has_arrived()


def test_a_connection_that_was_closed_is_made_anew(collector, over_tls):
    one = collector()
    destination = over_tls(one.port)
    destination.send([said("first")])
    one.wait_for(1)
    destination.close()
    with pytest.raises(ConnectionError, match="gone"):
        destination.has_arrived()
    destination.send([said("second")])
    one.wait_for(2)
    assert one.connections == 2


def test_a_collector_of_another_authority_gets_nothing(collector, over_tls):
    one = collector(server_context(trustme.CA()))
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        over_tls(one.port).send([said("secret")])
    one.wait_until(lambda: one.failures)
    assert one.received == []


def test_a_collector_of_another_name_gets_nothing(authority, collector, contexts, over_tls):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.example").configure_cert(context)
    with pytest.raises(ssl.SSLCertVerificationError, match="127.0.0.1"):
        over_tls(collector(context).port).send([said("secret")])


def test_a_collector_that_does_not_speak_tls_gets_nothing(over_tls):
    with socket.create_server(("127.0.0.1", 0)) as server:
        destination = over_tls(server.getsockname()[1], connect=0.3)
        with pytest.raises(TimeoutError):
            destination.send([said("secret")])
        far, _ = server.accept()
        with far:
            assert b"secret" not in far.recv(65536)


def test_a_collector_that_wants_a_certificate_gets_ours(authority, collector, over_tls):
    server, client = server_context(authority), client_context(authority)
    authority.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    one = collector(server)
    without = over_tls(one.port)
    with pytest.raises(OSError, match="."):
        while True:  # with TLS 1.3 the handshake is over before the collector says so
            without.send([said("x")])
    authority.issue_cert("scpd.example").configure_cert(client)
    over_tls(one.port, client).send([said("y")])
    one.wait_for(1)
    assert one.texts() == ["y"]


@pytest.mark.parametrize("how", ["unverified", "TLS 1.1"])
def test_a_context_that_does_not_protect_is_refused(contexts, how):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if how == "unverified":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.raises(ValueError, match=r"verified, by TLS 1\.2 or later"):
        TLSDestination("127.0.0.1", 6514, context)


def test_a_context_of_the_wrong_side_gets_nothing_through(collector, contexts):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    with pytest.raises(OSError, match="Cannot create a client socket"):
        TLSDestination("127.0.0.1", collector().port, context).send([said("x")])


def test_a_collector_that_talks_for_ever_does_not_hold_up_the_end(contexts, monkeypatch):
    monkeypatch.setattr(syslog, "_LAST_WORDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        talked = threading.Thread(target=talk, args=(server, contexts[0]))
        talked.start()
        destination = TLSDestination("127.0.0.1", server.getsockname()[1], contexts[1])
        destination.send([said("x")])
        assert not destination.finish()
        destination.close()
        talked.join(PATIENCE)
        assert not talked.is_alive()


def talk(server: socket.socket, context: ssl.SSLContext) -> None:
    plain, _ = server.accept()
    with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as sock:
        while True:
            sock.sendall(b"blah" * 1000)


def test_who_waits_for_a_collector_can_be_interrupted(collector, over_tls):
    one = collector(reads=False)
    destination = over_tls(one.port, write=PATIENCE)
    destination.send([said("x")])
    failed = []

    def work() -> None:
        try:
            while True:
                destination.send([said("x" * 60_000)] * 10)
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(0.2)
    destination.interrupt()
    thread.join(PATIENCE / 2)
    assert not thread.is_alive()
    assert failed


def test_nobody_can_be_interrupted_who_has_no_connection(over_tls, over_udp, into_file):
    for destination in (over_tls(1), over_udp(1), into_file()):
        destination.interrupt()
        destination.close()
    assert not over_tls(1).finish()
    assert not over_udp(1).finish()


# -- UDP


def test_lines_arrive_over_udp(collector, over_udp):
    """One in each datagram (RFC 5426 3.1)."""
    one = collector(None)
    destination = over_udp(one.port)
    texts = ["<a/>", "ü" * 16_000, "x" * (LONGEST_DATAGRAM - len(said("")))]
    assert destination.send([said(text) for text in texts]) == 0
    one.wait_for(3)
    assert one.texts() == texts
    assert destination.has_arrived()
    assert destination.finish()


def test_a_line_that_no_datagram_holds_is_refused_and_the_others_are_not(collector, over_udp):
    one = collector(None)
    too_long = said("x" * LONGEST_DATAGRAM)
    assert over_udp(one.port).send([said("a"), too_long, said("b")]) == 1
    one.wait_for(2)
    assert one.texts() == ["a", "b"]


def test_a_line_that_the_system_finds_too_long_is_refused_too(collector, over_udp, monkeypatch):
    monkeypatch.setattr(syslog, "LONGEST_DATAGRAM", 1 << 20)
    one = collector(None)
    assert over_udp(one.port).send([said("x" * 70_000), said("b")]) == 1
    one.wait_for(1)
    assert one.texts() == ["b"]


def test_a_port_where_nobody_listens_is_noticed(over_udp, free_port):
    destination = over_udp(free_port)
    destination.send([said("x")])
    with pytest.raises(ConnectionRefusedError):
        destination.has_arrived()
    destination.send([said("x")])
    assert not destination.finish()
    destination.close()
    with pytest.raises(ConnectionError, match="gone"):
        destination.has_arrived()


# -- a file


def test_lines_are_appended_to_a_file(into_file, tmp_path):
    path = tmp_path / "audit.log"
    first = into_file()
    first.send([said("a"), said("b")])
    first.close()
    into_file().send([said("c")])
    assert [parse(line).text for line in path.read_bytes().splitlines()] == ["a", "b", "c"]
    assert path.stat().st_mode & 0o777 == 0o640
    assert first.finish()


def test_a_file_that_was_rotated_is_opened_anew(into_file, tmp_path):
    path, old = tmp_path / "audit.log", tmp_path / "audit.log.1"
    destination = into_file()
    destination.send([b"a"])
    path.rename(old)
    destination.send([b"b"])
    assert (old.read_bytes(), path.read_bytes()) == (b"a\n", b"b\n")
    path.unlink()
    destination.send([b"c"])
    assert path.read_bytes() == b"c\n"
    path.rename(old)
    path.write_bytes(b"somebody else's\n")
    destination.send([b"d"])
    assert path.read_bytes() == b"somebody else's\nd\n"


def test_a_file_that_was_cut_is_gone_on_with(into_file, tmp_path):
    destination = into_file()
    destination.send([b"a"])
    os.truncate(tmp_path / "audit.log", 0)
    destination.send([b"b"])
    assert (tmp_path / "audit.log").read_bytes() == b"b\n"


def test_half_a_line_of_a_crash_does_not_spoil_the_next(into_file, tmp_path):
    (tmp_path / "audit.log").write_bytes(b"whole\nhal")
    destination = into_file()
    destination.send([b"a"])
    destination.send([b"b"])
    assert (tmp_path / "audit.log").read_bytes() == b"whole\nhal\na\nb\n"


def test_what_others_appended_is_never_taken_back(into_file, tmp_path):
    """A line that was cut short ends there, then."""
    path = tmp_path / "audit.log"
    destination = into_file()
    destination.send([b"a"])
    before = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"hal" + b"another's\n" + b"f")
    destination._take_back(before, 3)
    destination.send([b"b"])
    assert path.read_bytes() == b"a\nhalanother's\nf\nb\n"


def test_a_file_that_cannot_be_had_is_asked_for_again(into_file, tmp_path):
    folder = tmp_path / "logs"
    destination = into_file(folder / "audit.log")
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            destination.send([b"a"])
    folder.mkdir()
    destination.send([b"a"])
    assert (folder / "audit.log").read_bytes() == b"a\n"


def test_neither_a_link_nor_a_pipe_nor_a_directory_is_written_to(into_file, tmp_path):
    target = tmp_path / "target"
    target.write_bytes(b"")
    (tmp_path / "link").symlink_to(target)
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    for name in ("link", "pipe", "."):
        with pytest.raises(OSError, match="Too many levels|is not a file|Is a directory"):
            into_file(tmp_path / name).send([b"a"])
    os.close(reader)
    assert target.read_bytes() == b""


def test_destinations_are_told_apart_by_their_names(over_tls, over_udp, into_file, tmp_path):
    names = [over_tls(6514).name, over_udp(514).name, into_file().name]
    assert names == ["tls:127.0.0.1:6514", "udp:127.0.0.1:514", f"file:{tmp_path}/audit.log"]
