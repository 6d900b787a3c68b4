"""What is promised of an instance before it has its place: when, and what becomes of what comes to nothing."""

from __future__ import annotations

import os
import struct
import zlib

import pytest

from scpd.dimse.command import CStoreRQ
from scpd.errors import StoreError
from scpd.negotiation.offer import AcceptedContext
from scpd.services.service import Operation, Peer
from scpd.services.storage import Storage, StorageRules
from scpd.storage.paths import DEFAULT_TEMPLATE, PathTemplate
from scpd.storage.store import SPOOL, Store, StorePolicy

from .test_storage import CT, EXPLICIT, INSTANCE, data_set, fillings

PATH = "1.2.3/1.2.3.4/1.2.3.4.5.dcm"
COMMENTS = 0x00104000


class Promising:
    """Promises, and notes what it hears: in the order of several, with the file's state at that moment."""

    tags: frozenset[int] = frozenset()

    def __init__(self, name, folder, heard, *, optional=(), digests=False, refuses="") -> None:
        self.name, self.folder, self.heard, self.refuses = name, folder, heard, refuses
        self.optional, self.digests = frozenset(optional), digests
        self.instances = []

    def promise(self, instance):
        self._hear("promise")
        self.instances.append(instance)
        return self

    def keep(self):
        self._hear("keep")

    def settle(self, *, holds):
        self._hear(f"settle {holds}")

    def _hear(self, what):
        self.heard.append((self.name, what, (self.folder / PATH).exists()))
        if what == self.refuses:
            raise StoreError(0xA700, f"{self.name} cannot")


@pytest.fixture
def bench(tmp_path):
    heard: list = []

    def make(*several, duplicates="replace"):
        store = Store(tmp_path, StorePolicy(duplicates=duplicates))
        promising = [Promising(f"{number}", tmp_path, heard, **one) for number, one in enumerate(several)]
        storage = Storage(store, StorageRules(PathTemplate(DEFAULT_TEMPLATE), 1 << 20), (), promising)

        def send(data: bytes = b"") -> int:
            request = CStoreRQ(
                message_id=9, affected_sop_class_uid=CT, affected_sop_instance_uid=INSTANCE, has_data_set=True
            )
            context, data = AcceptedContext(3, CT, EXPLICIT), data or data_set()
            peer = Peer("127.0.0.1:1234", "CT1", "SCPD")
            (reply,) = storage.perform(Operation(peer, context, request, lambda: fillings(data, 100), lambda: False))
            assert list((tmp_path / SPOOL).iterdir()) == []
            return reply.response.status

        return send, promising, heard, tmp_path

    return make


def test_all_are_promised_then_kept_before_there_is_a_file_and_settled_after(bench):
    send, _, heard, _ = bench({}, {})
    assert send() == 0x0000
    assert heard == [
        *[("0", "promise", False), ("1", "promise", False)],
        *[("0", "keep", False), ("1", "keep", False)],
        *[("0", "settle True", True), ("1", "settle True", True)],
    ]


def test_the_file_is_on_the_disk_before_anybody_waits_for_what_was_promised(bench, monkeypatch):
    """So both are under way at once, and take as long as one."""
    send, _, heard, _ = bench({})
    synced = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (heard.append("fsync"), synced(file)))
    assert send() == 0x0000
    told = [one if isinstance(one, str) else one[1] for one in heard]
    assert told[: told.index("keep")].count("fsync") == 1
    assert told.index("promise") < told.index("fsync") < told.index("keep")


@pytest.mark.parametrize("when", ["promise", "keep"])
def test_what_one_cannot_promise_is_refused_and_taken_back_from_the_others(bench, when):
    send, _, heard, folder = bench({}, {"refuses": when}, {})
    assert send() == 0xA700
    assert not (folder / PATH).exists()
    settled = [name for name, what, _ in heard if what == "settle False"]
    assert settled == (["0"] if when == "promise" else ["0", "1", "2"])


def test_an_instance_that_was_there_and_stays_is_settled_as_nothing_new(bench):
    send, _, heard, _ = bench({}, duplicates="keep")
    assert send() == 0x0000
    heard.clear()
    assert send() == 0x0000
    assert [what for _, what, _ in heard] == ["promise", "keep", "settle False"]


def test_they_are_told_what_the_file_will_be(bench):
    send, (one,), _, folder = bench({"digests": True})
    data = data_set()
    assert send(data) == 0x0000
    (told,) = one.instances
    status = (folder / PATH).stat()
    assert (told.written.size, told.written.when) == (status.st_size, status.st_mtime)
    assert told.digest == f"{zlib.crc32(data):08x}"
    assert told.path == str(folder / PATH)


def test_no_digest_is_made_for_nobody(bench):
    send, (one,), _, _ = bench({})
    assert send() == 0x0000
    assert one.instances[0].digest == ""


def test_a_value_that_is_wanted_and_too_long_is_left_out_and_never_refused(bench):
    """An index is no reason to refuse an instance."""
    long = b"\x10\x00\x00\x40UT\0\0" + struct.pack("<I", 70_000) + b"x" * 70_000
    send, (one,), _, _ = bench({"optional": (COMMENTS, 0x0020000D)})
    head, study, tail = data_set().partition(b"\x20\x00\x0d\x00")
    assert send(head + long + study + tail) == 0x0000
    assert COMMENTS not in one.instances[0].values
    assert one.instances[0].values[0x0020000D].rstrip(b"\0") == b"1.2.3"
