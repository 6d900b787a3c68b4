"""kill -9 under load, again and again: what was answered Success is there, whole, and nothing else is to be seen."""

from __future__ import annotations

import random
import signal
import threading
from contextlib import suppress

import pytest

ROUNDS = 20
SENDERS = 4
PIXELS = 20_000


class Sender:
    """Stores instance after instance; ``sent`` and ``kept`` are the UIDs begun, and those answered Success."""

    def __init__(self, client, store, prefix: str, told: threading.Condition) -> None:
        self.sent: list[str] = []
        self.kept: list[str] = []
        self.wrong: list[object] = []
        self._told = told
        self.thread = threading.Thread(target=self._run, args=(client, store, prefix), daemon=True)
        self.thread.start()

    def _run(self, client, store, prefix: str) -> None:
        # The end of the daemon: reset, closed, or closed in the middle of a PDU.
        with suppress(OSError, AssertionError):
            for number in range(100_000):
                uid = f"{prefix}.{number}"
                self.sent.append(uid)
                status = store(client, uid, PIXELS, study=f"{prefix}.{number % 5}")
                with self._told:
                    (self.kept if status == 0 else self.wrong).append(uid if status == 0 else (uid, status))
                    self._told.notify_all()


@pytest.mark.parametrize("durability", ["fsync"])
def test_20_kills_under_load(daemon, associate, store, is_whole, tmp_path, durability):
    generator = random.Random(4)
    directory = tmp_path / "store"
    kept: set[str] = set()
    sent: set[str] = set()
    left: list[str] = []
    swept = 0
    for number in range(ROUNDS):
        one = daemon(storage={"directory": str(directory), "durability": durability})
        # This start names and removes what the last one left.
        told = [line for line in one.logs if line["event"] == "leftovers of a crash removed"]
        assert [name for line in told for name in line["names"]] == left
        assert one.spool() == []
        swept += len(left)

        answered = threading.Condition()
        senders = [Sender(associate(one), store, f"1.2.{number}.{which}", answered) for which in range(SENDERS)]
        enough = generator.randrange(1, 80)
        with answered:
            assert answered.wait_for(lambda: sum(len(one.kept) for one in senders) >= enough, 20)  # noqa: B023
        one.send_signal(signal.SIGKILL)
        assert one.wait() == -signal.SIGKILL
        for sender in senders:
            sender.thread.join(20)
            assert not sender.thread.is_alive()
            assert sender.wrong == []
            sent.update(sender.sent)
            kept.update(sender.kept)
        left = [path.name for path in one.spool()]

    one = daemon(storage={"directory": str(directory), "durability": durability})
    assert one.spool() == []
    found = {path.stem: path for path in one.stored()}
    assert kept <= found.keys() <= sent
    for uid, path in found.items():
        study = uid.rpartition(".")
        assert is_whole(path, uid, PIXELS, study=f"{study[0]}.{int(study[2]) % 5}"), f"{uid} is not whole"
    assert len(kept) >= ROUNDS
    assert swept + len(left) > 0, "no kill hit an instance on its way: the test shows less than it says"
