"""Webhooks against real servers: the honest, the slow, the broken, and those that are somebody else."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from components.authority import Authority

from scpd.forward.address import parse_url
from scpd.forward.queue import Job
from scpd.forward.runner import Failed, Pace
from scpd.forward.webhook import Webhook
from scpd.transport.profiles import TLSFiles, client_context

PATIENCE = 20.0
SECRET = "shh-ß"
JOB = Job(7, "abc-7", "hook", {"event": "instance", "path": "/store/ä.dcm"}, 0)


class Receiver(ThreadingHTTPServer):
    """Answers with ``answers`` one after the other, the last one for ever; notes what it gets."""

    daemon_threads = True

    def __init__(self, answers):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = list(answers)
        self.got: list = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/hook?a=b"

    def handle_error(self, request, client_address):
        """A client that left early is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), body))
        answers = self.server.answers
        status, headers = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        self.server.got.append(("GET", {}, b""))

    def log_message(self, *_):
        pass


@pytest.fixture
def receive():
    started = []

    def start(*answers, context=None) -> Receiver:
        one = Receiver([(answer, {}) if isinstance(answer, int) else answer for answer in answers])
        if context:
            one.socket = context.wrap_socket(one.socket, server_side=True)
            one.url = one.url.replace("http:", "https:")
        threading.Thread(target=one.serve_forever, args=(0.02,), daemon=True).start()
        started.append(one)
        return one

    yield start
    for one in started:
        one.shutdown()
        one.server_close()


@pytest.fixture
def speak():
    """A server that says ``pieces`` one after the other, ``pause`` seconds apart, whatever it hears."""
    over, sockets, threads = threading.Event(), [], []

    def start(pieces, pause=0.05) -> str:
        listening = socket.create_server(("127.0.0.1", 0))
        sockets.append(listening)

        def run():
            client, _ = listening.accept()
            sockets.append(client)
            try:
                for piece in pieces:
                    client.sendall(piece)
                    if over.wait(pause):
                        return
            except OSError:
                pass
            over.wait(PATIENCE)

        threads.append(threading.Thread(target=run, daemon=True))
        threads[-1].start()
        return f"http://127.0.0.1:{listening.getsockname()[1]}/"

    yield start
    over.set()
    for one in sockets:
        one.close()


def hook(url: str, timeout: float = PATIENCE, attempts: int = 3, **more) -> Webhook:
    return Webhook("hook", parse_url(url), SECRET, timeout=timeout, attempts=attempts, concurrency=1, **more)


def why(one: Webhook) -> str:
    with pytest.raises(Failed) as failed:
        one.deliver(JOB)
    return failed.value.why


def test_what_arrives_is_json_and_signed_and_says_what_and_which_it_is(receive):
    server = receive(204)
    hook(server.url).deliver(JOB)
    ((path, headers, body),) = server.got
    assert path == "/hook?a=b"
    assert json.loads(body) == {"event": "instance", "path": "/store/ä.dcm", "delivery": "abc-7"}
    assert headers["Content-Type"] == "application/json"
    assert headers["Host"] == server.url.split("/")[2]
    assert (headers["X-Scpd-Event"], headers["X-Scpd-Delivery"]) == ("instance", "abc-7")
    moment, signature = (part.split("=")[1] for part in headers["X-Scpd-Signature"].split(","))
    assert abs(time.time() - int(moment)) < 60
    assert signature == hmac.new(SECRET.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_success(receive, status):
    hook(receive(status).url).deliver(JOB)


def test_500_and_then_200_is_one_delivery_in_two_tries(receive, open_queue, run, told, wait_for):
    server, queue = receive(500, 200), open_queue()
    run(queue, hook(server.url), pace=Pace(0.01, 0.01))
    queue.settle(["hook"], queue.put([("hook", {"event": "instance"})]), holds=True)
    told.wait("a hook failed")
    wait_for(lambda: not queue.standings())
    assert len(server.got) == 2
    assert len({headers["X-Scpd-Delivery"] for _, headers, _ in server.got}) == 1


def test_410_asks_for_no_more(receive):
    with pytest.raises(Failed, match="410") as failed:
        hook(receive(410).url).deliver(JOB)
    assert failed.value.is_final


def test_redirects_are_not_followed(receive):
    elsewhere = receive(200)
    assert "redirects are not followed" in why(hook(receive((302, {"Location": elsewhere.url})).url))
    assert "redirects are not followed" in why(hook(receive((308, {"Location": elsewhere.url})).url))
    assert elsewhere.got == []


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_other_statuses_are_failures(receive, status):
    assert why(hook(receive(status).url)) == f"it answered {status}"


SLOW = {
    "says nothing": [],
    "drips its first line": [b"H", b"T", b"T", b"P"] * 100,
    "drips headers": [b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 90],
    "says continue for ever": [b"HTTP/1.1 100 Continue\r\n\r\n"] * 200,
}


@pytest.mark.parametrize("pieces", SLOW.values(), ids=SLOW)
def test_whoever_takes_too_long_is_cut_off_at_the_deadline(speak, pieces):
    began = time.monotonic()
    assert why(hook(speak(pieces), timeout=0.4)) == "it took longer than 0.4 s"
    assert 0.4 <= time.monotonic() - began < 3.0


def test_a_server_that_takes_in_nothing_is_cut_off_too():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        big = JOB._replace(payload={"text": "x" * (16 << 20)})
        with pytest.raises(Failed, match=r"longer than 0.4 s"):
            hook(f"http://127.0.0.1:{listening.getsockname()[1]}/", timeout=0.4).deliver(big)


BROKEN = {
    "closes": [b""],
    "no HTTP": [b"220 smtp.example ESMTP\r\n"],
    "a status that is none": [b"HTTP/1.1 abc\r\n\r\n"],
    "headers without end": [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"],
    "a line without end": [b"HTTP/1.1 " + b"2" * 100_000],
    "binary": [bytes(range(256)) + b"\r\n"],
}


@pytest.mark.parametrize("said", BROKEN)
def test_a_broken_answer_is_a_failure_in_one_line(said):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            client, _ = listening.accept()
            with client:
                client.recv(65536)
                client.sendall(BROKEN[said][0])

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        told = why(hook(f"http://127.0.0.1:{listening.getsockname()[1]}/", timeout=5))
        thread.join(PATIENCE)
    assert told.startswith("no answer: '")
    assert told.isprintable()
    assert len(told) < 200


def test_nobody_there_is_a_failure(free_port):
    assert why(hook(f"http://127.0.0.1:{free_port}/")) == "no answer: 'Connection refused'"
    assert why(hook("http://name.invalid/")).startswith("no answer: ")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def served(issued) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.chain, issued.key)
    return context


def trusting(ca) -> ssl.SSLContext:
    return client_context(TLSFiles(ca=ca))


def test_over_tls_the_server_is_verified(receive, authority, tmp_path):
    server = receive(200, context=served(authority.server("127.0.0.1", alternatives=("IP:127.0.0.1",))))
    hook(server.url, context=trusting(authority.certificate)).deliver(JOB)
    assert len(server.got) == 1
    other = Authority(tmp_path)
    assert "certificate is not accepted" in why(hook(server.url, context=trusting(other.certificate)))
    named = hook(server.url, context=trusting(authority.certificate), server_name="pacs.example")
    assert "certificate is not accepted" in why(named)
    assert len(server.got) == 1


def test_a_handshake_that_never_comes_is_cut_off(speak, authority):
    url = speak([]).replace("http:", "https:")
    assert why(hook(url, timeout=0.4, context=trusting(authority.certificate))) == "it took longer than 0.4 s"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://host/x", "is not an address"),
        ("host/x", "is not an address"),
        ("https:///x", "is not an address"),
        ("https://host:port/", "is not an address"),
        ("https://host/a b", "is not an address"),
        ("https://höst/", "is not an address"),
        ("https://user:secret@host/", "names a user"),
        ("https://host/#x", "fragment"),
    ],
)
def test_an_address_that_is_none(url, said):
    with pytest.raises(ValueError, match=said) as error:
        parse_url(url)
    assert "secret@" not in str(error.value)


def test_addresses():
    assert parse_url("https://host") == ("host", 443, "/", True)
    assert parse_url("http://[::1]:8080/a?b=c") == ("::1", 8080, "/a?b=c", False)
