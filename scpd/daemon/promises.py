"""What storage promises of each instance, before it has its place: the events that hooks will get, held in the queue.

What a peer or a data set says gets into an event as harmless text or not at all. Knows no hook but by its name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from scpd.dimse.status import OUT_OF_RESOURCES
from scpd.errors import StoreError
from scpd.forward.queue import HELD, QueueError, encoded
from scpd.forward.studies import Arrival, Key, moment

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from scpd.config import ServerConfig
    from scpd.forward.queue import Queue
    from scpd.forward.studies import Studies
    from scpd.services.service import Peer
    from scpd.services.storage import Stored

_STUDY_INSTANCE_UID = 0x0020000D
_SERIES_INSTANCE_UID = 0x0020000E
_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)
_UNPRINTABLE = re.compile(r"[^ -~]")


class Desk:
    """What one server promises its instances to: jobs for hooks on instances, arrivals for hooks on studies."""

    tags = frozenset((_STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID))
    optional: frozenset[int] = frozenset()
    digests = False

    def __init__(self, queue: Queue, underway: Studies, server: ServerConfig) -> None:
        self._queue = queue
        self._studies = underway
        self._server = server.name
        self._on_instance = tuple(hook.name for hook in server.hooks if hook.on == "instance")
        self._on_study = tuple(hook.name for hook in server.hooks if hook.on == "study")

    def promise(self, instance: Stored) -> Promised:
        """On its way to the disk. Raises :class:`StoreError` with A700."""
        study = _uid(instance.values.get(_STUDY_INSTANCE_UID))
        about = {"server": self._server, **_about(instance.peer), "directory": instance.directory}
        about["study_instance_uid"] = study
        job = encoded({"event": "instance", **about, **_facts(instance, self._queue.clock.now())})
        keys = [Key(name, self._server, study) for name in self._on_study]
        arrivals = [Arrival(key, instance.path, {"event": "study", **about}) for key in keys]

        def write(connection: sqlite3.Connection) -> tuple[list[int], list[int]]:
            jobs = [self._queue.insert(connection, name, job, HELD) for name in self._on_instance]
            return jobs, [self._studies.insert(connection, arrival) for arrival in arrivals]

        try:
            written = self._queue.database.begin(write)
        except QueueError as error:
            raise _refused(error) from error
        return Promised(self._queue, self._studies, self._on_instance, keys, written)


class Promised:
    """What is held in the queue for one instance."""

    def __init__(
        self,
        queue: Queue,
        underway: Studies,
        hooks: Sequence[str],
        keys: Sequence[Key],
        written: Callable[[], tuple[list[int], list[int]]],
    ) -> None:
        self._queue = queue
        self._studies = underway
        self._hooks = hooks
        self._keys = keys
        self._written = written

    def keep(self) -> None:
        try:
            self._written()
        except QueueError as error:
            raise _refused(error) from error

    def settle(self, *, holds: bool) -> None:
        try:
            jobs, arrivals = self._written()
        except QueueError:  # nothing of it has happened
            return
        # Arrivals first: a job that is let go may move the file, by which a crash is judged.
        if arrivals:
            self._studies.settle(self._keys, arrivals, holds=holds)
        if jobs:
            self._queue.settle(self._hooks, jobs, holds=holds)


def _refused(error: QueueError) -> StoreError:
    return StoreError(OUT_OF_RESOURCES, f"it cannot be handed over: {error}")


def _about(peer: Peer) -> dict[str, str]:
    """Who sent it; titles are claims of the peer, and what in them is not printable ASCII becomes a question mark."""
    return {
        "calling": _UNPRINTABLE.sub("?", peer.calling),
        "called": _UNPRINTABLE.sub("?", peer.called),
        "peer": peer.address,
        "association": peer.association_id,
    }


def _facts(instance: Stored, received: float) -> dict[str, Any]:
    return {
        "path": instance.path,
        "series_instance_uid": _uid(instance.values.get(_SERIES_INSTANCE_UID)),
        "sop_instance_uid": instance.sop_instance_uid,
        "sop_class_uid": instance.sop_class_uid,
        "transfer_syntax_uid": instance.transfer_syntax_uid,
        "received": moment(received),
    }


def _uid(raw: bytes | None) -> str:
    """A UID of a data set, nothing where it holds anything but digits and dots."""
    text = (raw or b"").rstrip(b"\0 ").decode("ascii", "replace")
    return text if _UID.fullmatch(text) else ""
