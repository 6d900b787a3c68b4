"""SIGHUP: the file as it is now, as a whole or not at all, and no association or connection is lost by it."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest
import yaml

from scpd.identity.password_file import Entry, change, hashed
from scpd.wire.pdu import AssociateAC, AssociateRJ
from scpd.wire.user_info import UserIdentityRQ


def reload(one, change=None, text: str | None = None) -> dict:
    """Change the daemon's file by ``change``, or to ``text``, and have it read; the line that says what came of it."""
    if change is not None:
        data = yaml.safe_load(one.config.read_text())
        change(data)
        text = yaml.safe_dump(data)
    if text is not None:
        one.config.write_text(text)
    return one.reload()


def descriptors(one) -> int:
    return len(os.listdir(f"/proc/{one.pid}/fd"))


def test_what_changed_holds_for_new_associations_and_is_told_key_by_key(daemon, connect, echo):
    one = daemon()
    before = connect(one.port)
    assert isinstance(before.associate(called="ANYBODY"), AssociateAC)

    def change(data):
        data["called_ae_title"] = "check"
        data["limits"] = {"associations": 7}

    line = reload(one, change)
    assert line["event"] == "reloaded"
    assert sorted(line["changes"]) == [
        "servers[SCPD].called_ae_title: any → check",
        "servers[SCPD].limits.associations: 200 → 7",
    ]
    rejected = connect(one.port).associate(called="ANYBODY")
    assert isinstance(rejected, AssociateRJ)
    assert (rejected.source, rejected.reason) == (1, 7)
    assert echo(before) == 0, "what is there goes on under what it began with"
    assert isinstance(connect(one.port).associate(called="SCPD"), AssociateAC)


def test_a_file_that_did_not_change_changes_nothing(daemon):
    one = daemon()
    assert one.reload()["changes"] == []


def test_a_server_comes_and_goes_while_its_associations_end_in_peace(daemon, connect, echo):
    one = daemon(
        timeouts={"shutdown": "1s"},
        servers=[{"name": "a", "bind": "127.0.0.1:0"}, {"name": "b", "bind": "127.0.0.1:0", "ae_title": "B"}],
    )
    port = one.port_of("b")
    old = connect(port)
    old.associate()
    reload(one, lambda data: data["servers"].pop())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)
    assert echo(old) == 0
    free = socket.socket()
    free.bind(("127.0.0.1", 0))
    bind = f"127.0.0.1:{free.getsockname()[1]}"
    free.close()
    reload(one, lambda data: data["servers"].append({"name": "c", "bind": bind}))
    assert isinstance(connect(one.port_of("c")).associate(), AssociateAC)
    assert echo(old) == 0
    old.release()
    assert one.stop() == 0


def test_an_address_that_is_taken_changes_nothing(daemon, connect):
    one = daemon()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        servers = [{"bind": "127.0.0.1:0"}, {"name": "new", "bind": bind}]
        line = reload(one, lambda data: data.update(servers=servers, called_ae_title="check"))
    assert line["event"].startswith("reload failed")
    (fault,) = one.wait_for_logs(lambda line: line["event"] == "reload: a fault", 1)
    assert bind in fault["fault"]
    assert isinstance(connect(one.port).associate(called="ANYBODY"), AssociateAC)


FAULTY = {
    "a key that is none": "ae_titel: X\n",
    "a wrong value": "limits: {associations: many}\n",
    "empty": "",
    "tabs": "limits:\n\tassociations: 5\n",
    "keys that stand twice": "ae_title: A\nae_title: B\n",
    "a list": "- ae_title: A\n",
    "binary": "\x00\x01\x02",
    "aliases that explode": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(8)),
    "ten megabytes": "# x\n" * (10 * 1024 * 256),
    "a certificate that is not there": "tls: {certificate: /nowhere/tls.crt}\n",
    "users that are not there": "user_identity: {providers: [{kind: passwords, file: /nowhere/users}]}\n",
    "a directory that is a file": "storage: {directory: /etc/hostname}\n",
}


@pytest.mark.parametrize("text", FAULTY.values(), ids=FAULTY)
def test_a_faulty_file_changes_nothing_and_every_fault_is_told(daemon, connect, echo, text):
    one = daemon()
    there = connect(one.port)
    there.associate()
    line = reload(one, text=text)
    assert line["event"] == "reload failed: nothing has changed"
    assert line["level"] == "error"
    faults = one.wait_for_logs(lambda line: line["event"] == "reload: a fault", line["faults"])
    assert all(str(one.config) in fault["fault"] for fault in faults)
    assert echo(there) == 0
    assert isinstance(connect(one.port).associate(), AssociateAC)


@pytest.mark.parametrize("becomes", ["gone", "a directory"])
def test_a_file_that_is_gone_changes_nothing(daemon, connect, becomes):
    one = daemon()
    one.config.unlink()
    if becomes == "a directory":
        one.config.mkdir()
    assert one.reload()["event"].startswith("reload failed")
    assert isinstance(connect(one.port).associate(), AssociateAC)


def test_instances_go_where_the_association_began_and_the_directory_is_closed_with_the_last(
    daemon, connect, contexts, store, tmp_path
):
    one = daemon()
    old = connect(one.port)
    old.associate(contexts)
    assert store(old, "1.2.1") == 0
    other = tmp_path / "other"
    reload(one, lambda data: data["storage"].update(directory=str(other)))
    assert store(old, "1.2.2") == 0
    new = connect(one.port)
    new.associate(contexts)
    assert store(new, "1.2.3") == 0
    assert len(one.stored()) == 2
    assert len([path for path in other.rglob("*.dcm") if ".incoming" not in path.parts]) == 1
    held = os.readlink
    assert any(held(link).startswith(str(one.directory)) for link in Path(f"/proc/{one.pid}/fd").iterdir())
    old.release()
    one.associations(1)
    one.reload()  # a round of the main thread, in which the worker has ended for certain
    assert isinstance(connect(one.port).associate(), AssociateAC)
    assert not any(
        held(link).startswith(str(one.directory)) for link in Path(f"/proc/{one.pid}/fd").iterdir() if link.exists()
    )


def test_reloading_again_and_again_costs_no_descriptor(daemon):
    one = daemon(access=[{"deny": {"calling": "X"}}])
    one.reload()
    before = descriptors(one)
    for number in range(10):
        reload(one, lambda data, number=number: data.update(limits={"associations": 100 + number}))
    assert descriptors(one) <= before


def test_who_was_locked_out_still_is(daemon, connect, tmp_path):
    users = tmp_path / "users"
    change(users, "alice", lambda _: Entry(hashed("right")))
    identity = {"lockout": {"failures": 1}, "providers": [{"kind": "passwords", "file": str(users)}]}
    one = daemon(user_identity=identity)

    def ask(passcode):
        claim = UserIdentityRQ(2, positive_response_requested=True, primary=b"alice", secondary=passcode)
        return connect(one.port).associate(identities=(claim,))

    assert isinstance(ask(b"wrong"), AssociateRJ)
    reload(one, lambda data: data.update(limits={"associations": 99}))
    assert isinstance(ask(b"right"), AssociateRJ)


def test_what_takes_effect_at_the_next_start_is_named(daemon):
    one = daemon()
    assert reload(one, lambda data: data.update(logging={"level": "debug"}))["event"] == "reloaded"
    one.wait_for_log(lambda line: line["event"].startswith("reload: logging is another") and line["level"] == "warning")


def test_under_load_no_instance_fails_and_no_connection_is_refused(daemon, connect, contexts, store):
    """Four associations that store, one that asks for an association again and again, and ten reloads meanwhile."""
    one = daemon(timeouts={"shutdown": "5s"})
    stop = threading.Event()
    failures: list[object] = []
    counts = [0] * 5

    def storing(place):
        client = connect(one.port)
        client.associate(contexts)
        while not stop.is_set():
            counts[place] += 1
            status = store(client, f"1.2.{place + 1}.{counts[place]}")
            if status:
                failures.append(status)

    def asking():
        while not stop.is_set():
            with socket.create_connection(("127.0.0.1", one.port), 10) as plain:
                plain.settimeout(10)
            client = connect(one.port)
            answer = client.associate()
            if not isinstance(answer, AssociateAC):
                failures.append(answer)
            client.release()
            counts[4] += 1

    def guarded(work, *arguments):
        try:
            work(*arguments)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(storing, place)) for place in range(4)]
    threads.append(threading.Thread(target=guarded, args=(asking,)))
    for thread in threads:
        thread.start()
    try:
        for number in range(10):
            text = reload(one, lambda data, number=number: data.update(limits={"associations": 150 + number}))
            assert text["event"] == "reloaded"
            assert len(text["changes"]) == 1
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert failures == []
    assert min(counts) > 0
    assert len(one.stored()) == sum(counts[:4])
