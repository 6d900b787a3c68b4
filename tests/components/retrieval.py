"""An archive in the test's own process that holds real files, and receivers of what it sends: all over real sockets."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from scpd import AE, evt
from scpd.client.requestor import Caller
from scpd.errors import IndexUnavailable
from scpd.index.attributes import Level
from scpd.index.query import Held
from scpd.negotiation.offer import Extensions, Offer, SupportedContext
from scpd.part10 import read_head
from scpd.server.capacity import CapacityLimits
from scpd.server.server import Server
from scpd.server.visit import Visit
from scpd.server.worker import Terms
from scpd.services.query.models import BY_GET, BY_MOVE
from scpd.services.retrieve import extended
from scpd.services.retrieve.destination import Destination
from scpd.services.retrieve.service import Retrieval, Retrieve, Retrieved, RetrieveRules
from scpd.sop_class import ALL_TRANSFER_SYNTAXES, STORAGE, UNCOMPRESSED
from scpd.transport.exchange import Pace
from scpd.wire.framing import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PATIENCE = 20.0
IMPLICIT, EXPLICIT = map(str, UNCOMPRESSED[:2])
ALL = tuple(map(str, ALL_TRANSFER_SYNTAXES))
STUDY = "1.2.826.0.1.3680043.9.7777.1"
CALLER = Caller(calling="ARCHIVE", connect=5.0, answer=PATIENCE, message=PATIENCE)


def until(condition: Callable[[], Any]) -> None:
    """Wait for what nobody announces."""
    patience = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < patience, "it did not come to pass"
        os.sched_yield()


def file_of_pydicom(name: str) -> Path:
    return Path(get_testdata_file(name, download=False))


def data_set(path: str | Path) -> bytes:
    """The bytes of a data set as they are sent: an odd one, a deflated one that nobody padded, gets its padding."""
    with Path(path).open("rb") as file:
        data = Path(path).read_bytes()[read_head(file).data_set_offset :]
    return data + bytes(len(data) & 1)


class Shelf:
    """An index in memory. All files are in one study, unless ``entities`` says otherwise by UID."""

    def __init__(self, files: Iterable[Path]) -> None:
        self.all: list[Held] = []
        self.patients: dict[str, str] = {}
        self.trouble = ""
        self.asked: list[tuple[Level, dict]] = []
        for path in files:
            meta = dcmread(path, stop_before_pixels=True)
            head = meta.file_meta
            self.all.append(
                Held(
                    str(head.MediaStorageSOPClassUID),
                    str(head.MediaStorageSOPInstanceUID),
                    str(head.TransferSyntaxUID),
                    str(path),
                    path.stat().st_size,
                    "",
                    STUDY,
                    f"{STUDY}.1",
                )
            )

    def holdings(self, level, keys):
        self.asked.append((level, dict(keys)))
        if self.trouble:
            raise IndexUnavailable(self.trouble)
        wanted = {0x0020000D: "study_instance_uid", 0x0020000E: "series_instance_uid", 0x00080018: "sop_instance_uid"}
        return [
            held
            for held in self.all
            if all(getattr(held, wanted[tag]) in values for tag, values in keys.items() if tag in wanted)
        ]


class Archive:
    """The server, what it holds and what was told of its retrievals and answers."""

    def __init__(self, files: Iterable[Path], destinations: dict[str, list[Destination]], **how: Any) -> None:
        self.shelf = Shelf(files)
        self.begun: list[Retrieval] = []
        self.told: list[Retrieved] = []
        rules = RetrieveRules(destinations, answer=how.pop("answer", PATIENCE))
        service = Retrieve(self.shelf, rules, (self,))
        retrieval = {*BY_MOVE, *BY_GET}
        contexts = {uid: SupportedContext(uid, ALL[:4]) for uid in retrieval}
        for uid in STORAGE:
            contexts[str(uid)] = SupportedContext(str(uid), ALL, scu_role=True, scp_role=True)
        offer = Offer("ARCHIVE", contexts, 1 << 18, extensions=Extensions(extended=extended.answer))
        visit = Visit(offer, dict.fromkeys(retrieval, service))
        terms = Terms(
            visit=lambda _: visit,
            limits=Limits(1 << 20, 1 << 18),
            command_limit=65536,
            data_set_limit=1 << 20,
            artim=PATIENCE,
            write=PATIENCE,
            pace=Pace(PATIENCE, PATIENCE),
            where=lambda key: key,
        )
        self.server = Server("archive", ("127.0.0.1", 0), terms, CapacityLimits(50, 50, 50, 50))
        self.server.start()
        self.port = self.server.address[1]

    def retrieving(self, retrieval: Retrieval) -> Callable[[Retrieved], None]:
        self.begun.append(retrieval)
        return self.told.append

    def stop(self) -> None:
        self.server.stop_accepting()
        self.server.abort("the test is over")


class Receiver:
    """Keeps what it is sent, by UID: the bytes of the data set, its syntax and the request.

    ``begun`` hears of each before its data set is read, ``status`` after that.
    """

    def __init__(self, title: str, syntaxes: Iterable[str], status: Callable[[Any], int], tls: Any = None) -> None:
        self.title = title
        self.got: dict[str, tuple[bytes, str, Any]] = {}
        self.associations: set[str] = set()
        self.counts: Counter[str] = Counter()
        self._status = status
        self._lock = threading.Lock()
        ae = AE(title)
        for uid in STORAGE:
            ae.add_supported_context(str(uid), list(syntaxes), scu_role=True, scp_role=True)
        self.server = ae.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self.store)], ssl_context=tls
        )
        self.port = self.server.server_address[1]

    def begun(self, uid: str) -> None: ...

    def store(self, event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        self.begun(uid)
        data = event.encoded_dataset(include_meta=False)
        with self._lock:
            self.counts[uid] += 1
            self.associations.add(event.assoc.association_id)
        status = self._status(event)
        if status < 0xA000 or status & 0xF000 == 0xB000:
            self.got[uid] = (data, str(event.context.transfer_syntax), event.request)
        return status

    def destination(self, name: str = "", **how: Any) -> Destination:
        how.setdefault("caller", CALLER)
        return Destination(name or self.title.lower(), ("127.0.0.1", self.port), **how)


class Answers(NamedTuple):
    """What was answered: the pending statuses, the final one, and the UIDs of its failed list."""

    pending: list[Dataset]
    final: Dataset
    failed: list[str]

    @property
    def status(self) -> int:
        return self.final.Status

    @property
    def counts(self) -> tuple[int, int, int]:
        """Completed, failed, warnings."""
        return (
            self.final.NumberOfCompletedSuboperations,
            self.final.NumberOfFailedSuboperations,
            self.final.NumberOfWarningSuboperations,
        )


def identifier(level: str = "STUDY", **keys: Any) -> Dataset:
    asked = Dataset()
    asked.QueryRetrieveLevel = level
    for keyword, value in (keys or {"StudyInstanceUID": STUDY}).items():
        setattr(asked, keyword, value)
    return asked


def gather(responses, each: Callable[[Dataset], None] | None = None) -> Answers:
    seen, listed = [], None
    for status, last in responses:
        seen.append(status)
        listed = last
        if each:
            each(status)
    return Answers(seen[:-1], seen[-1], _uids(listed))


def _uids(listed: Dataset | None) -> list[str]:
    """As pydicom has them: one, several, or bytes of a value that was too long to be UI."""
    uids = listed.get("FailedSOPInstanceUIDList") if listed else None
    if isinstance(uids, bytes):
        return uids.decode("ascii").rstrip("\0").split("\\")
    return [] if not uids else [str(uids)] if isinstance(uids, str) else [str(one) for one in uids]
