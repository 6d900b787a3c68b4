"""What is answered to what, over a real endpoint."""

from __future__ import annotations

import http.client
import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from scpd.admin.endpoint import Endpoint
from scpd.admin.facts import Part
from scpd.admin.gate import Gate
from scpd.admin.hosts import Hosts
from scpd.admin.http import Request
from scpd.errors import ScpdError

from .conftest import PATIENCE, TOKEN, Told, live, server

READ = ("/", "/live", "/ready", "/metrics", "/status.json", "/status.css", "/status.js", "/icon.svg")
ABORT = "/associations/abc123-1/abort"


def test_live_says_so_without_asking_the_daemon(site):
    one = site()
    one.daemon.holds.clear()
    assert one.get("/live")[::2] == (200, "alive\n")


def test_ready_tells_each_part_and_why(site):
    one = site()
    assert one.get("/ready")[::2] == (200, "listening: ready\nstorage: ready: 400 GiB free\n")
    one.daemon.parts = (Part("a", True, ""), Part("b", False, "disk\nis full"))
    assert one.get("/ready")[::2] == (503, "a: ready\nb: not ready: disk is full\n")


def test_ready_as_json(site):
    one = site()
    one.daemon.parts = (Part("b", False, "disk is full"),)
    answer = one.get("/ready", Accept="text/html;q=0.2, Application/JSON")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.status == 503
    parts = [{"name": "b", "ready": False, "why": "disk is full"}]
    assert json.loads(answer.body) == {"ready": False, "parts": parts}


def test_status_json_has_every_fact(site):
    one = site()
    told = json.loads(one.get("/status.json").body)
    (first,) = told["servers"]
    assert told["version"] == "0.1.0"
    assert told["ready"] is True
    assert told["started"] == "2026-03-01T08:00:00+00:00"
    assert first["live"][0]["association_id"] == "abc123-1"
    assert first["counts"]["associations"][2] == {
        "calling": "X",
        "called": "ARCHIVE",
        "result": "rejected",
        "reason": "called AE title not recognized",
        "count": 2,
    }
    assert {"operation": "C-STORE", "status": "A700", "count": 1} in first["counts"]["tally"]["messages"]
    assert sum(first["counts"]["lasted"]["counts"]) == 2
    assert first["refusals"][0]["where"] == "/etc/scpd/scpd.yaml:7"
    assert told["stores"][0]["directory"] == "/var/lib/scpd"
    assert told["reloads"] == {"done": 2, "failed": 1, "last": "2026-03-01T09:00:00+00:00", "faults": []}
    assert "ae_title: ARCHIVE" in told["configuration"]


@pytest.mark.parametrize("path", READ)
def test_head_is_get_without_its_body(site, path):
    one = site()
    head, get = one.ask("HEAD", path), one.get(path)
    assert head.status == get.status == 200
    assert head.body == ""
    assert head.headers["Content-Type"] == get.headers["Content-Type"]
    length = int(head.headers["Content-Length"])
    # The page and the metrics have the time in them, and numbers that come and go.
    assert abs(length - len(get.body.encode())) < (200 if path in ("/", "/metrics") else 1)


@pytest.mark.parametrize("path", [*READ, "/nowhere", ABORT])
def test_every_response_is_guarded(site, path):
    headers = site().get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert "Server" not in headers


def test_what_is_not_there_is_404_and_names_what_is(site):
    answer = site().get("/admin<script>")
    assert answer.status == 404
    assert "'/admin<script>'" in answer.body
    assert "/metrics" in answer.body
    assert answer.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("path", ["/associations//abort", "/associations/a/b/abort", "/associations/%2e%2e/abort"])
def test_an_id_that_is_none_is_404(site, path):
    one = site()
    assert one.submit(path, token=TOKEN).status == 404
    assert one.daemon.aborted == []


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        *(("POST", path, "GET, HEAD") for path in READ),
        *((method, "/live", "GET, HEAD") for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW")),
        *((method, path, "POST") for method in ("GET", "HEAD", "DELETE") for path in (ABORT, "/drain")),
    ],
)
def test_another_method_is_405_with_those_that_are_allowed(site, method, path, allowed):
    one = site()
    answer = one.ask(method, path, Authorization=f"Bearer {TOKEN}")
    assert answer.status == 405
    assert answer.headers["Allow"] == allowed
    assert one.daemon.aborted == []
    assert not one.daemon.drained


# Host


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8104", "[::1]:8104", "192.0.2.7", "localhost", "LOCALHOST.:80", "pacs.example:8104"],
)
def test_a_host_that_it_is_called_is_answered(site, host):
    assert site(hosts=["PACS.example"]).get("/live", Host=host).status == 200


def test_the_machines_own_name_is_known():
    assert Hosts(()).know(f"{socket.gethostname()}:1")


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "2130706433.x", "[::::]"]
)
def test_another_host_is_421_whatever_is_asked(site, host):
    one = site()
    for answer in (one.get("/", Host=host), one.get("/live", Host=host)):
        assert answer.status == 421
        assert "admin.hosts" in answer.body
    assert one.ask("POST", "/drain", Host=host, Authorization=f"Bearer {TOKEN}").status == 421
    assert not one.daemon.drained


@pytest.mark.parametrize(
    "host", ["", "a b", "a, b", "http://localhost", "[::1", "localhost:port", "ä", "user@localhost"]
)
def test_a_host_that_is_none_is_400(site, host):
    assert site().get("/live", Host=host).status == 400


def test_http_1_0_needs_no_host_and_1_1_does(site):
    one = site()
    for version, expected in (("1.0", b"200"), ("1.1", b"400")):
        with socket.create_connection(("127.0.0.1", one.port), PATIENCE) as plain:
            plain.sendall(f"GET /live HTTP/{version}\r\n\r\n".encode())
            assert plain.makefile("rb").readline().split()[1] == expected


# Abort and drain


def test_a_script_aborts_with_the_token(site):
    one = site()
    answer = one.ask("POST", ABORT, Authorization=f"Bearer {TOKEN}")
    assert answer[::2] == (200, "The association was aborted.\n")
    assert one.daemon.aborted == ["abc123-1"]
    assert one.ask("POST", "/associations/abc123-9/abort", Authorization=f"bearer {TOKEN}").status == 404


def test_a_form_aborts_and_leads_back_to_the_page_that_says_so(site):
    one = site()
    answer = one.submit(ABORT, token=TOKEN)
    assert answer.status == 303
    assert one.daemon.aborted == ["abc123-1"]
    assert "The association was aborted." in one.get(answer.headers["Location"]).body
    answer = one.submit("/associations/abc123-9/abort", token=TOKEN)
    assert "no such association" in one.get(answer.headers["Location"]).body


def test_what_the_page_says_is_never_from_the_address(site):
    assert 'role="status" id="notice"' not in site().get("/?said=pay%20me").body


def test_draining_by_form_is_confirmed(site):
    one = site()
    answer = one.submit("/drain", token=TOKEN)
    assert answer.status == 400
    assert "confirm it" in answer.body
    assert not one.daemon.drained
    answer = one.submit("/drain", token=TOKEN, confirm="yes")
    assert answer.status == 303
    assert one.daemon.drained == 1
    assert one.ask("POST", "/drain", Authorization=f"Bearer {TOKEN}").status == 202
    assert one.daemon.drained == 2


@pytest.mark.parametrize("path", [ABORT, "/drain"])
def test_without_a_token_configured_nobody_may(site, path):
    one = site(token=None)
    for answer in (one.submit(path, token="", confirm="yes"), one.ask("POST", path, Authorization="Bearer x")):
        assert answer.status == 403
        assert "write admin.token" in answer.body
    assert not one.daemon.aborted
    assert not one.daemon.drained


@pytest.mark.parametrize("path", [ABORT, "/drain"])
def test_a_wrong_or_missing_token_is_401(site, path):
    one = site()
    for answer in (
        one.ask("POST", path),
        one.ask("POST", path, Authorization=f"Basic {TOKEN}"),
        one.ask("POST", path, Authorization=f"Bearer {TOKEN}x"),
        one.submit(path, token=TOKEN[:-1], confirm="yes"),
        one.submit(path, token="ä\udcff".encode("utf-8", "surrogateescape").decode("latin-1"), confirm="yes"),
    ):
        assert answer.status == 401
        assert answer.headers["Www-Authenticate"].startswith("Bearer")
    assert not one.daemon.aborted
    assert not one.daemon.drained


def test_a_form_that_is_refused_gets_the_page_with_the_reason(site):
    answer = site().submit(ABORT, token="wrong")
    assert answer.headers["Content-Type"].startswith("text/html")
    assert 'role="alert"' in answer.body
    assert "This is not the token" in answer.body


def test_who_guesses_has_to_wait_even_with_the_right_one(site):
    one = site()
    statuses = [one.ask("POST", ABORT, Authorization=f"Bearer guess-{n}").status for n in range(7)]
    assert statuses == [401] * 5 + [429] * 2
    answer = one.ask("POST", ABORT, Authorization=f"Bearer {TOKEN}")
    assert answer.status == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 61
    assert not one.daemon.aborted


def test_a_token_is_taken_from_others_while_one_waits():
    gate = Gate(TOKEN)
    for _ in range(5):
        gate.refusal("wrong", "10.0.0.1")
    assert gate.refusal(TOKEN, "10.0.0.1").status == 429
    assert gate.refusal(TOKEN, "10.0.0.2") is None


def test_no_refusal_and_no_repr_tells_a_token(site, caplog):
    one = site()
    answer = one.submit(ABORT, token="wrong-secret-of-somebody")
    assert answer.status == 401
    assert "wrong token" in caplog.text
    request = Request("POST", ABORT, "10.0.0.1", bearer=TOKEN, form={"token": TOKEN})
    for text in (answer.body, caplog.text, repr(request), repr(Gate(TOKEN))):
        assert TOKEN not in text
        assert "wrong-secret" not in text


def test_a_form_of_another_page_is_refused(site):
    one = site()
    body = f"token={TOKEN}"
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "http://[", "//", one.url[7:], f"{one.url}/"):
        assert one.ask("POST", ABORT, body, Origin=origin, **form).status == 403
    assert not one.daemon.aborted
    assert one.ask("POST", ABORT, body, Origin=one.url, **form).status == 303


@pytest.mark.parametrize("body", ["&".join(f"a{n}=1" for n in range(50)), "token=%ff%fe%00", "%%%", "=", "\xff"])
def test_a_form_that_is_broken_does_nothing(site, body):
    one = site()
    answer = one.ask("POST", ABORT, body, Content_Type="application/x-www-form-urlencoded")
    assert answer.status in (400, 401)
    assert not one.daemon.aborted


def test_a_token_and_names_can_change(site):
    one = site()
    one.endpoint.admit("another-token-of-this", ["new.example"])
    assert one.ask("POST", ABORT, Authorization=f"Bearer {TOKEN}").status == 401
    assert one.ask("POST", ABORT, Authorization="Bearer another-token-of-this").status == 200
    assert one.get("/live", Host="new.example").status == 200
    one.endpoint.admit(None)
    assert one.ask("POST", ABORT, Authorization="Bearer another-token-of-this").status == 403


# The endpoint


def test_an_address_that_is_taken_is_told_at_once():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ScpdError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            Endpoint("127.0.0.1", port, Told()).start()
    with pytest.raises(ScpdError, match=r"cannot listen on no.such.invalid:80: .+"):
        Endpoint("no.such.invalid", 80, Told()).start()


def test_it_listens_on_ipv6_and_gives_its_address_back():
    endpoint = Endpoint("::1", 0, Told())
    endpoint.start()
    host, port = endpoint.address
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
    connection.request("GET", "/live")
    assert connection.getresponse().status == 200
    connection.close()
    endpoint.close()
    endpoint.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port), PATIENCE)
    again = Endpoint(host, port, Told())
    again.start()
    again.close()


def test_a_daemon_that_does_not_answer_stops_neither_live_nor_the_others(site):
    """A storage directory on a mount that hangs: who asks for facts is told so, who asks for life gets it."""
    one = site()
    one.daemon.holds.clear()
    with ThreadPoolExecutor(1) as stuck:
        one.daemon.asked.clear()
        hanging = stuck.submit(one.get, "/status.json")
        assert one.daemon.asked.wait(PATIENCE)
        answer = one.get("/metrics")
        assert answer.status == 503
        assert "file systems" in answer.body
        assert one.get("/live").status == 200
        one.daemon.holds.set()
        hanging.result(PATIENCE)
    assert one.get("/ready").status == 200


def test_a_fault_of_the_daemon_is_500_and_the_next_is_answered(site):
    one = site()
    usual = one.daemon.all
    one.daemon.all = None
    answer = one.get("/status.json")
    assert answer.status == 500
    assert "Traceback" not in answer.body
    one.daemon.all = usual._replace(servers=(server(live=(live(2),)),))
    assert one.get("/status.json").status == 200
