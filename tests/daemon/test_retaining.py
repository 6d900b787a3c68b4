"""Retention of a configuration: rules by store, who holds a study back, who hears, and that reloads go over to it."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
import yaml
from components.aged import CT, DAY, PATIENCE, encoded
from components.told import log_of_what_is_made
from pydicom.uid import ExplicitVRLittleEndian

from scpd.config import load
from scpd.daemon.archive import Archives
from scpd.daemon.handover import HandOvers
from scpd.daemon.retaining import Retaining, rules_by_directory
from scpd.daemon.surroundings import Surroundings
from scpd.forward.queue import WAITING
from scpd.forward.queue import encoded as in_queue
from scpd.part10 import file_meta
from scpd.retention import keeper as keeper_module
from scpd.services.commitment.module import Reference, Requested
from scpd.services.service import Peer
from scpd.storage.store import Store, StorePolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

import os
import threading
import time

OLD = [{"older_than": "90d"}]


@pytest.fixture
def log():
    with log_of_what_is_made() as lines:
        yield lines


@pytest.fixture
def config_of(tmp_path):
    def make(**more):
        storage = {"directory": str(tmp_path / "store"), "reserve": 0}
        given = {"ae_title": "ARCHIVE", "index": {}, "storage": storage, "retention": OLD, **more}
        (tmp_path / "scpd.yaml").write_text(yaml.safe_dump({key: one for key, one in given.items() if one is not None}))
        return load(tmp_path / "scpd.yaml")

    return make


def faults(config) -> list[str]:
    return [fault.partition(": ")[2] for fault in Surroundings(config).faults]


def put(folder, study, number=1, age=100 * DAY, calling="CT1") -> None:
    """A file of an instance, so old (seconds)."""
    uid = f"{study}.1.{number}"
    path = folder / study / f"{study}.1" / f"{uid}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file_meta(ExplicitVRLittleEndian, calling).header(CT, uid) + encoded(study, uid))
    os.utime(path, (time.time() - age,) * 2)


class Witness:
    def __init__(self) -> None:
        self.heard = []

    def deleted(self, study, about, rule, deleted) -> None:
        self.heard.append((study.uid, about.patient_id, rule.name, deleted.instances))


class Daemon:
    """The parts of a configuration that retention has to do with, as they are built and replaced."""

    def __init__(self, config, before: Daemon | None = None) -> None:
        self.config = config
        self.witness = Witness()
        self.hand_overs = HandOvers(config, before.hand_overs if before else None)
        self.archives = Archives(config, before.archives if before else None)
        self.stores = [Store(one.storage.directory, StorePolicy(durable=False)) for one in config.servers]
        self.users = [self.archives.indexing(*one) for one in zip(config.servers, self.stores, strict=True)]
        self.desks = [self.hand_overs.desk(one) for one in config.servers]
        self.retaining = Retaining(config, self.archives, self.hand_overs.line, self.witness)
        self.hand_overs.begin()
        self.archives.begin(before.archives if before else None)
        self.retaining.begin(before.retaining if before else None)

    def until(self, holds) -> None:
        give_up, pause = time.monotonic() + PATIENCE, threading.Event()
        while not holds():
            assert time.monotonic() < give_up, self.retaining.standings()
            pause.wait(0.01)

    def passed(self) -> None:
        """Wait until each store has been looked through once more."""
        for keeper in self.retaining.keepers.values():
            keeper._last = None
            keeper.hurry()
        self.until(lambda: all(one.last is not None for one in self.retaining.standings()))

    def close(self) -> None:
        self.retaining.close()
        self.hand_overs.close()
        self.archives.close()
        for store in self.stores:
            store.close()


@pytest.fixture
def daemon(monkeypatch, log) -> Iterator:
    monkeypatch.setattr(keeper_module, "_BETWEEN_LOOKS", 0.05)
    made: list[Daemon] = []

    def make(config) -> Daemon:
        made.append(Daemon(config, made[-1] if made else None))
        return made[-1]

    yield make
    if made:
        made[-1].close()


def studies(folder) -> list[str]:
    return sorted(one.name for one in folder.iterdir() if not one.name.startswith("."))


# -- the rules


def test_the_rules_of_each_directory_with_their_names_and_places(config_of, tmp_path):
    config = config_of(
        retention=[
            {"older_than": "30d", "calling": ["CT*", "MR?"]},
            {"free_below": "50GiB", "older_than": "12h"},
        ]
    )
    ((where, (first, second)),) = rules_by_directory(config).items()
    assert where == str(tmp_path / "store")
    assert (first.name, second.name) == ("older_than: 30d, calling: CT*, MR?", "older_than: 12h, free_below: 50GiB")
    assert (first.older_than, second.free_below) == (30 * DAY, 50 << 30)
    lines = (tmp_path / "scpd.yaml").read_text().splitlines()
    number = int(second.place.rpartition(":")[2])
    assert "free_below" in lines[number - 1] + lines[number]


def test_servers_that_share_a_directory_share_its_rules(config_of):
    config = config_of(servers=[{"name": "a", "bind": "127.0.0.1:1"}, {"name": "b", "bind": "127.0.0.1:2"}])
    ((_, rules),) = rules_by_directory(config).items()
    assert [one.name for one in rules] == ["older_than: 90d"]
    assert faults(config) == []


def test_without_an_index_nobody_knows_what_is_held(config_of):
    config = config_of(index=None)
    assert faults(config) == ["retention: it needs to know what is held; write index: {} as well, or leave it out"]
    assert rules_by_directory(config) == {}


def test_space_that_is_never_left_is_no_goal(config_of, tmp_path):
    storage = {"directory": str(tmp_path / "store"), "reserve": "5GiB"}
    config = config_of(storage=storage, retention=[{"free_below": "6GiB"}, {"free_below": "5GiB"}])
    (fault,) = faults(config)
    assert fault.startswith(
        "retention[1].free_below: below storage.reserve (5GiB) nothing is stored any more; write more"
    )


@pytest.mark.parametrize("other", [{"retention": []}, {"index": {"fuzzy_names": True}}])
def test_a_server_that_would_lose_what_another_deletes_is_a_fault(config_of, other):
    servers = [{"name": "a", "bind": "127.0.0.1:1"}, {"name": "b", "bind": "127.0.0.1:2", **other}]
    found = faults(config_of(servers=servers))
    assert "the server b has the same storage.directory, and loses what is deleted there" in found[0]


# -- the keepers


def test_without_rules_nothing_is_kept(config_of, daemon, tmp_path):
    put(tmp_path / "store", "1.2")
    one = daemon(config_of(retention=None))
    assert (one.retaining.standings(), one.retaining.keepers) == ([], {})


def test_what_is_old_goes_and_somebody_hears(config_of, daemon, tmp_path, log):
    store = tmp_path / "store"
    put(store, "1.2", 1)
    put(store, "1.2", 2)
    put(store, "1.3", age=DAY)
    one = daemon(config_of())
    one.until(lambda: studies(store) == ["1.3"])
    one.until(lambda: one.witness.heard == [("1.2", "4711", "older_than: 90d", 2)])
    assert log.wait("study deleted")[0]["where"].startswith(str(tmp_path / "scpd.yaml"))
    (standing,) = one.retaining.standings()
    assert (standing.directory, standing.rules[0].studies, standing.rules[0].instances) == (str(store), 1, 2)


def test_a_hook_and_a_commitment_hold_back(config_of, daemon, tmp_path):
    store = tmp_path / "store"
    for study in ("1.2", "1.3", "1.4"):
        put(store, study)
    hooks = [{"name": "h", "kind": "exec", "on": "instance", "command": ["/bin/true"]}]
    quiet = config_of(hooks=hooks, contexts=["storage", "storage_commitment"], retention=None)
    first = daemon(quiet)
    line = first.hand_overs.line
    payload = in_queue({"event": "instance", "study_instance_uid": "1.2", "path": "x"})
    line.queue.database.write(lambda connection: line.queue.insert(connection, "gone", payload, WAITING))
    peer = Peer("127.0.0.1:1", "CT1", "ARCHIVE", "a1")
    line.transactions.begin("ARCHIVE", peer, Requested("1.9", (Reference(CT, "1.3.1.1"),)))
    second = daemon(config_of(hooks=hooks, contexts=["storage", "storage_commitment"]))
    second.until(lambda: studies(store) == ["1.2", "1.3"])
    second.passed()
    assert studies(store) == ["1.2", "1.3"]
    assert sum(second.retaining.standings()[0].held_back.values()) == 2
    # The queue stays open for this, when nothing else needs it any more.
    third = daemon(config_of())
    del first, second
    gc.collect()
    third.passed()
    assert studies(store) == ["1.2", "1.3"]
    third.hand_overs.line.queue.database.write(lambda connection: connection.execute("DELETE FROM jobs"))
    for keeper in third.retaining.keepers.values():
        keeper.hurry()
    third.until(lambda: studies(store) == [])


def test_a_reload_goes_over_to_its_rules(config_of, daemon, tmp_path):
    store = tmp_path / "store"
    put(store, "1.2", age=100 * DAY)
    put(store, "1.3", age=50 * DAY)
    put(store, "1.4", age=20 * DAY)
    first = daemon(config_of())
    first.until(lambda: studies(store) == ["1.3", "1.4"])
    second = daemon(config_of(retention=[*OLD, {"older_than": "30d", "calling": "CT1"}]))
    second.until(lambda: studies(store) == ["1.4"])
    assert all(one.join(PATIENCE) for one in first.retaining.keepers.values())
    second.until(lambda: [one.studies for one in second.retaining.standings()[0].rules] == [1, 1])
    third = daemon(config_of(retention=None))
    assert all(one.join(PATIENCE) for one in second.retaining.keepers.values())
    assert third.retaining.standings() == []
