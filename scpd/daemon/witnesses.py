"""Who hears of retrievals: the audit trail, patient by patient, and the counts that the admin endpoint shows."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from scpd.errors import IndexUnavailable
from scpd.index.attributes import PATIENT_ID, PATIENT_NAME, STUDY_INSTANCE_UID, Level, tag_of
from scpd.index.conditions import OneOf
from scpd.index.query import Query
from scpd.telemetry.audit import Patient, Peer, Study

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from scpd.index.attributes import Attributes
    from scpd.index.query import Held
    from scpd.server.ledger import Ledger
    from scpd.services.query.find import Findable
    from scpd.services.retrieve.destination import Destination
    from scpd.services.retrieve.service import Retrieval, Retrieved
    from scpd.services.retrieve.service import Witness as HearsOfRetrievals
    from scpd.telemetry.audit import Route

_ACCESSION_NUMBER = tag_of("AccessionNumber")
_WANTED = frozenset((STUDY_INSTANCE_UID, PATIENT_ID, PATIENT_NAME, _ACCESSION_NUMBER))
# Studies that the index is asked about at a time.
_TOGETHER = 200
_NOT_STORED = "not stored there, as far as is known"


class _Whose(NamedTuple):
    """Whose study it is; empty where the index does not say."""

    patient: Patient = Patient("")
    accession: str = ""


class Audited:
    """Tells a ledger of retrievals: before the first instance of a patient is sent, and once all is over.

    Whose studies they are is asked of ``index``; ``destinations`` are those of C-MOVE.
    """

    def __init__(self, ledger: Ledger, index: Findable, destinations: Mapping[str, Sequence[Destination]]) -> None:
        self._ledger = ledger
        self._index = index
        self._destinations = destinations

    def retrieving(self, retrieval: Retrieval) -> Callable[[Retrieved], None]:
        """It begins; what is returned is to be told of its end."""
        instances, route = retrieval.instances, self._ledger.route(retrieval.peer, self._destination(retrieval))
        # Kept until the end: what is deleted meanwhile was sent all the same.
        whose = self._whose(dict.fromkeys(held.study_instance_uid for held in instances))
        for patient, studies in _by_patient(instances, whose):
            self._ledger.sending(route, patient, studies)
        return lambda end: self._ended(route, instances, whose, end.stored)

    def _ended(
        self, route: Route, instances: Sequence[Held], whose: Mapping[str, _Whose], stored: Iterable[str]
    ) -> None:
        known = frozenset(stored)
        for patient, studies in _by_patient((one for one in instances if one.sop_instance_uid in known), whose):
            self._ledger.sent(route, patient, studies)
        for patient, studies in _by_patient((one for one in instances if one.sop_instance_uid not in known), whose):
            self._ledger.sent(route, patient, studies, _NOT_STORED)

    def _destination(self, retrieval: Retrieval) -> Peer | None:
        """Where a C-MOVE sends to: by its title alone, where that may be one of several machines."""
        if not retrieval.destination:
            return None
        hosts = {one.address[0] for one in self._destinations.get(retrieval.destination, ())}
        return Peer(hosts.pop() if len(hosts) == 1 else "", retrieval.destination)

    def _whose(self, studies: Iterable[str]) -> dict[str, _Whose]:
        uids, found = list(studies), dict[str, _Whose]()
        try:
            for first in range(0, len(uids), _TOGETHER):
                condition = OneOf(tuple(uids[first : first + _TOGETHER]))
                with closing(self._index.find(Query(Level.STUDY, {STUDY_INSTANCE_UID: condition}, _WANTED))) as matches:
                    for match in matches:
                        found[_text(match, STUDY_INSTANCE_UID)] = _Whose(
                            Patient(_text(match, PATIENT_ID), _text(match, PATIENT_NAME)),
                            _text(match, _ACCESSION_NUMBER),
                        )
        except IndexUnavailable:
            pass  # they are told without the patient; the log has why the index is away
        return found


def _by_patient(instances: Iterable[Held], whose: Mapping[str, _Whose]) -> Iterator[tuple[Patient, list[Study]]]:
    """The studies of each patient, with how many instances of which SOP class."""
    studies: dict[str, Counter[str]] = {}
    for held in instances:
        studies.setdefault(held.study_instance_uid, Counter())[held.sop_class_uid] += 1
    patients: dict[Patient, list[Study]] = {}
    for uid, classes in studies.items():
        about = whose.get(uid, _Whose())
        patients.setdefault(about.patient, []).append(Study(uid, classes, about.accession))
    yield from patients.items()


def _text(attributes: Attributes, tag: int) -> str:
    value = attributes.get(tag, "")
    return value if isinstance(value, str) else ""


class Sent(NamedTuple):
    """What one server has sent: ``instances`` by how they were asked for (move, get) and by result."""

    instances: Mapping[tuple[str, str], int]
    transcoded: int


class Counting:
    """Counts what is sent, by the names of servers, over reloads too. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._instances: dict[str, Counter[tuple[str, str]]] = {}
        self._transcoded: Counter[str] = Counter()

    def of(self, server: str) -> HearsOfRetrievals:
        """Who counts for one server."""
        return _Counter(self, server)

    def sent(self, server: str) -> Sent:
        """What there is up to now."""
        with self._lock:
            return Sent(dict(self._instances.get(server, {})), self._transcoded[server])

    def count(self, server: str, how: str, end: Retrieved) -> None:
        """A retrieval is over."""
        results = {"completed": end.completed, "warning": end.warning, "failed": end.failed}
        with self._lock:
            counter = self._instances.setdefault(server, Counter())
            counter.update({(how, result): count for result, count in results.items()})
            self._transcoded[server] += end.transcoded


class _Counter:
    def __init__(self, counting: Counting, server: str) -> None:
        self._counting = counting
        self._server = server

    def retrieving(self, retrieval: Retrieval) -> Callable[[Retrieved], None]:
        how = "move" if retrieval.destination else "get"
        return lambda end: self._counting.count(self._server, how, end)
