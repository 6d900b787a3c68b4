"""The admin endpoint of a real daemon: what it counts, whether it is ready, and what can be done there."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import urllib.parse

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families as parse
from pydicom.dataset import Dataset

from scpd import AE, build_role, evt
from scpd.services.query.models import STUDY_ROOT
from scpd.wire.pdu import Abort, AssociateAC, AssociateRJ

PATIENCE = 20.0
TOKEN = "a-token-of-this-test"


def port_of(one) -> int:
    line = one.wait_for_log(lambda line: line["event"] == "admin endpoint")
    return int(line["address"].rpartition(":")[2])


def ask(port: int, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def metrics(port: int) -> dict:
    """Each sample's value by its name and the values of its labels, in the order of their names."""
    status, text = ask(port, "GET", "/metrics")
    assert status == 200
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def living(port: int) -> list[dict]:
    return json.loads(ask(port, "GET", "/status.json")[1])["servers"][0]["live"]


@pytest.fixture
def administered(daemon):
    def start(**overrides):
        return daemon(admin={"bind": "127.0.0.1:0", "token": TOKEN}, **overrides)

    return start


def test_what_was_done_is_counted(administered, connect, contexts, store):
    one = administered(called_ae_title="check")
    port = port_of(one)
    client = connect(one.port)
    client.associate(contexts)
    assert store(client, "1.2.1") == 0
    assert store(client, "1.2.2") == 0
    assert isinstance(connect(one.port).associate(called="WRONG"), AssociateRJ)
    one.wait_for_log(lambda line: line["event"] == "association rejected")
    found = metrics(port)
    assert found["scpd_associations_total", "RAW", "", "accepted", "SCPD"] == 1
    assert found["scpd_associations_total", "RAW", "called AE title not recognized", "rejected", "SCPD"] == 1
    assert found["scpd_messages_total", "SCPD", "C-STORE", "0000"] == 2
    assert found["scpd_message_seconds_count", "SCPD", "C-STORE"] == 2
    assert found["scpd_received_bytes_total", "SCPD"] > 2000
    assert found["scpd_associations_active", "SCPD"] == 1
    assert found["scpd_storage_free_bytes", str(one.directory)] > 0
    client.release()
    one.associations(1)
    found = metrics(port)
    assert found["scpd_associations_active", "SCPD"] == 0
    assert found["scpd_messages_total", "SCPD", "C-STORE", "0000"] == 2
    assert found["scpd_association_seconds_count", "SCPD"] == 1
    status, page = ask(port, "GET", "/")
    assert status == 200
    assert f"{one.config}:" in page, "the line that decided stands with the rejection"
    assert TOKEN not in page


def test_it_is_ready_once_it_serves(administered):
    port = port_of(administered())
    status, text = ask(port, "GET", "/ready")
    assert status == 200
    assert "listener SCPD: ready" in text
    assert ask(port, "GET", "/live") == (200, "alive\n")


def test_an_association_is_seen_and_aborted_and_its_peer_gets_an_a_abort(administered, connect, echo):
    one = administered()
    port = port_of(one)
    client, other = connect(one.port), connect(one.port)
    assert isinstance(client.associate(calling="VICTIM"), AssociateAC)
    assert isinstance(other.associate(calling="OTHER"), AssociateAC)
    assert [echo(client), echo(client)] == [0, 0]  # a response is counted once it was sent: the first one is by now
    (seen,) = [live for live in living(port) if live["calling"] == "VICTIM"]
    assert seen["messages"] in (1, 2)
    path = f"/associations/{seen['association_id']}/abort"
    assert ask(port, "POST", path, Authorization="Bearer nobody-knows-it")[0] == 401
    assert ask(port, "POST", path, Authorization=f"Bearer {TOKEN}")[0] == 200
    assert isinstance(client.receive(), Abort)
    line = one.wait_for_log(lambda line: line["event"] == "association")
    assert (line["calling"], line["id"]) == ("VICTIM", seen["association_id"])
    assert echo(other) == 0
    assert ask(port, "POST", path, Authorization=f"Bearer {TOKEN}")[0] == 404
    told = one.wait_for_log(lambda line: line["event"] == "abort asked for")
    assert told["association"] == seen["association_id"]
    assert not any(TOKEN in line for line in one.lines)


def test_draining_waits_for_associations_and_ends_with_0(administered, connect, echo):
    one = administered(timeouts={"shutdown": "20s"})
    port = port_of(one)
    client = connect(one.port)
    client.associate()
    form = urllib.parse.urlencode({"token": TOKEN, "confirm": "yes"})
    assert ask(port, "POST", "/drain", form, Content_Type="application/x-www-form-urlencoded")[0] == 303
    one.wait_for_log(lambda line: line["event"] == "stopping")
    status, text = ask(port, "GET", "/ready")
    assert status == 503
    assert "stopping" in text
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", one.port), PATIENCE)
    assert echo(client) == 0
    client.release()
    assert one.wait() == 0


def test_an_answer_to_drain_comes_even_where_nothing_has_to_be_waited_for(administered):
    one = administered()
    assert ask(port_of(one), "POST", "/drain", Authorization=f"Bearer {TOKEN}")[0] == 202
    assert one.wait() == 0


def test_a_reload_is_counted_and_may_change_the_token_and_close_the_endpoint(administered):
    one = administered()
    port = port_of(one)

    def reload(change) -> None:
        count = sum(line["event"] == "reloaded" for line in one.logs)
        data = yaml.safe_load(one.config.read_text())
        change(data)
        one.config.write_text(yaml.safe_dump(data))
        one.send_signal(signal.SIGHUP)
        one.wait_for_logs(lambda line: line["event"] == "reloaded", count + 1)

    another = "another-token-of-this-test"
    reload(lambda data: data["admin"].update(token=another))
    path = "/associations/none-1/abort"
    assert ask(port, "POST", path, Authorization=f"Bearer {TOKEN}")[0] == 401
    assert ask(port, "POST", path, Authorization=f"Bearer {another}")[0] == 404
    assert metrics(port)["scpd_reloads_total", "done"] == 1
    reload(lambda data: data.pop("admin"))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), PATIENCE)


def test_an_address_that_is_taken_is_told_and_nothing_starts(daemon):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        one = daemon(admin={"bind": bind}, ready=False)
        assert one.wait() != 0
    assert any(bind in line and "Address already in use" in line for line in one.lines)


def test_what_is_sent_and_what_retention_does_is_told(administered, connect, contexts, store):
    rules = [{"older_than": "90d"}]
    one = administered(index={}, contexts=["verification", "storage", "query_retrieve"], retention=rules)
    port = port_of(one)
    client = connect(one.port)
    client.associate(contexts)
    assert store(client, "1.2.1") == 0
    client.release()
    ae = AE("VIEWER")
    ae.add_requested_context(STUDY_ROOT.get, contexts[1][1][0])
    ae.add_requested_context(contexts[3][0], contexts[3][1][0])
    roles = [build_role(contexts[3][0], scp_role=True)]
    handlers = [(evt.EVT_C_STORE, lambda _: 0)]
    association = ae.associate("127.0.0.1", one.port, ext_neg=roles, evt_handlers=handlers)
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", "1.2.3"
    *_, (final, _) = association.send_c_get(asked, STUDY_ROOT.get)
    assert final.Status == 0
    association.release()
    one.associations(2)
    found = metrics(port)
    assert found["scpd_retrieved_instances_total", "get", "completed", "SCPD"] == 1
    assert found["scpd_retrieved_instances_total", "get", "failed", "SCPD"] == 0
    assert found["scpd_transcoded_instances_total", "SCPD"] == 0
    assert found["scpd_retention_deleted_studies_total", str(one.directory), "older_than: 90d"] == 0
    assert f"retention {one.directory}: ready" in ask(port, "GET", "/ready")[1]
    assert "older_than: 90d" in ask(port, "GET", "/")[1]
    one.reload()
    assert metrics(port)["scpd_retrieved_instances_total", "get", "completed", "SCPD"] == 1
