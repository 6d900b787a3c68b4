"""Whatever comes over the wire, the endpoint stays up and answers /live within its bound."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import resource
import socket
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scpd.admin import front

from .conftest import PATIENCE, Part

LIVE = b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n"
BOUND = 2.0  # seconds to an answer, on a busy machine


def raw(site, data: bytes, *, end: bool = False) -> bytes:
    """All that is answered to ``data`` until the endpoint closes."""
    with socket.create_connection(("127.0.0.1", site.port), PATIENCE) as plain:
        try:
            plain.sendall(data)
            if end:
                plain.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: plain.recv(65536), b""))
        except ConnectionError:
            return b""


def assert_alive(site) -> None:
    began = time.monotonic()
    assert raw(site, LIVE).startswith(b"HTTP/1.1 200")
    assert time.monotonic() - began < BOUND


def silent(site, count: int) -> list[socket.socket]:
    return [socket.create_connection(("127.0.0.1", site.port), PATIENCE) for _ in range(count)]


BROKEN = {
    "nothing but a line": b"GARBAGE\r\n\r\n",
    "binary": bytes(range(256)) + b"\r\n\r\n",
    "a small method": b"get /live HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a header without a name": b"GET /live HTTP/1.1\r\nHost: localhost\r\n: x\r\n\r\n",
    "a bare line feed": b"GET /live HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n",
    "a length that is none": b"POST /drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "a length of five thousand digits": b"POST /drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: %b\r\n\r\n"
    % (b"9" * 5000),
    "two lengths": b"POST /drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "an address in brackets": b"GET http://[::1/live HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "chunks that are none": b"POST /drain HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "no host": b"GET /live HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /live HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "a folded host": b"GET /live HTTP/1.1\r\nHost:\r\n localhost, x\r\n\r\n",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_400(site, data):
    one = site()
    answer = raw(one, data)
    assert answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
    assert b"nosniff" in answer
    assert not one.daemon.drained
    assert_alive(one)


def test_another_encoding_of_the_body_is_501(site):
    answer = raw(site(), b"POST /drain HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n")
    assert answer.split()[1] == b"501"


def test_headers_without_an_end_are_431_and_a_body_without_end_413(site):
    one = site()
    assert raw(one, b"GET /live HTTP/1.1\r\n" + b"X: y\r\n" * 10_000).split()[1:2] in ([b"431"], [])
    huge = b"POST /drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n"
    assert raw(one, huge).split()[1] == b"413"
    chunked = (
        b"POST /drain HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"1000\r\n%b\r\n" % (b"x" * 4096) * 8
    )
    assert raw(one, chunked).split()[1:2] in ([b"413"], [])
    assert_alive(one)


def test_a_path_of_no_encoding_is_none(site):
    for path, status in ((b"/%ff%00%0a", b"404"), (b"/\xff", b"400")):
        answer = raw(site(), b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
        assert answer.split()[1] == status


def test_a_connection_brings_one_request(site):
    """What is sent with it is not answered: neither memory nor threads go to who asks a thousand times at once."""
    answer = raw(site(), LIVE * 200)
    assert answer.count(b"alive") == 1
    assert b"Connection: close" in answer


@pytest.fixture
def lasting(site):
    """One endpoint for all examples."""
    return functools.cache(site)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_bytes_bring_it_down(lasting, data):
    one = lasting()
    parts = st.sampled_from(
        [
            b"GET ",
            b"POST ",
            b"/",
            b"/live",
            b"/drain",
            b"?a=%zz&",
            b" HTTP/1.1",
            b"\r\n",
            b"\r\n\r\n",
            b"Host: localhost",
        ]
        + [
            b"Content-Length: 5",
            b"Transfer-Encoding: chunked",
            b"Expect: 100-continue",
            b"\x00",
            b"\xff\xfe",
            b"5\r\nhello\r\n",
        ]
        + [b"Authorization: Bearer x", b"Content-Type: application/x-www-form-urlencoded", b": ", b"0\r\n\r\n"]
    )
    raw(one, b"".join(data.draw(st.lists(parts | st.binary(max_size=20), max_size=25))), end=True)
    assert_alive(one)


def test_silent_connections_keep_nobody_out(site):
    one = site()
    crowd = silent(one, 200)
    try:
        assert_alive(one)
        assert one.get("/metrics").status == 200
    finally:
        for each in crowd:
            each.close()


def test_half_requests_keep_nobody_out_and_the_oldest_make_way(site):
    one = site()
    crowd = silent(one, 200)
    try:
        for each in crowd:
            try:
                each.sendall(LIVE[:20])
            except ConnectionError:
                continue
        assert_alive(one)
        crowd[0].settimeout(PATIENCE)
        with contextlib.suppress(ConnectionError):
            assert crowd[0].recv(1) == b""
    finally:
        for each in crowd:
            each.close()


def test_who_never_reads_keeps_nobody_out(site):
    one = site()
    one.daemon.all = one.daemon.all._replace(configuration="x: y\n" * 400_000)  # more than a socket holds
    crowd = silent(one, 20)
    try:
        for each in crowd:
            each.sendall(b"GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert_alive(one)
    finally:
        for each in crowd:
            each.close()


@pytest.mark.parametrize("says", [b"", LIVE[:10], b"GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_whoever_is_slow_is_let_go_when_its_time_is_over(site, monkeypatch, says):
    """Also one that reads nothing, and one that says a byte now and then."""
    monkeypatch.setattr(front, "SECONDS", 0.5)
    one = site()
    one.daemon.all = one.daemon.all._replace(configuration="x: y\n" * 4_000_000)
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", one.port))
        slow.sendall(says)
        deadline = time.monotonic() + PATIENCE
        pause = threading.Event()
        while one.endpoint._front._server.active_channels or not one.daemon.asked.is_set():
            assert time.monotonic() < deadline, "it is still there"
            pause.wait(0.05)
            if says == LIVE[:10]:
                try:
                    slow.sendall(b"x")
                except ConnectionError:
                    break
    assert_alive(one)


def test_many_at_once_are_all_answered(site):
    one = site()
    statuses: list[int] = []
    paths = ("/live", "/ready", "/metrics", "/", "/status.json")
    threads = [threading.Thread(target=lambda path=path: statuses.append(one.get(path).status)) for path in paths * 8]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert statuses == [200] * 40


def test_it_gives_back_every_descriptor_and_thread(site):
    def held() -> tuple[int, int]:
        gc.collect()
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    before = held()
    one = site()
    crowd = silent(one, 10)
    assert_alive(one)
    one.endpoint.close()
    for each in crowd:
        each.close()
    assert held() == before


def test_without_descriptors_it_waits_and_comes_back(site):
    one = site()
    assert_alive(one)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    plain = socket.socket()
    plain.settimeout(PATIENCE)
    taken = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 30, hard))
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        began = time.process_time()
        plain.connect(("127.0.0.1", one.port))
        plain.sendall(LIVE)
        plain.settimeout(0.5)
        with pytest.raises(TimeoutError):
            plain.recv(1)
        assert time.process_time() - began < 0.4, "it spins while it waits"
    finally:
        for each in taken:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    plain.settimeout(PATIENCE)
    assert plain.recv(65536).startswith(b"HTTP/1.1 200")
    plain.close()


def test_a_descriptor_beyond_what_select_takes_is_served(site):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2000:
        pytest.skip("the hard limit of descriptors is below 2000")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2000, hard))
    taken = [os.dup(0) for _ in range(1100)]
    try:
        one = site()
        one.daemon.parts = (Part("a", True, ""),)
        assert_alive(one)
        assert one.get("/ready").status == 200
    finally:
        for each in taken:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
