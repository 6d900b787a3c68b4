"""What the audit trail is told of connections: who was refused, who was verified, what came and went (PS3.15 A.5.3).

One for all servers of a process. What it hears of an association it keeps until that ends, in bounded memory.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from scpd.dimse.status import Category, category
from scpd.identity.rates import Rate
from scpd.negotiation.offer import RejectResult
from scpd.server.share import Share
from scpd.services.service import Peer as Caller
from scpd.storage.text import Text
from scpd.telemetry import audit
from scpd.telemetry.audit import Alert, Outcome, Patient, Peer, Reporter, Route, Study

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scpd.negotiation.offer import Rejection
    from scpd.retention.candidates import About
    from scpd.retention.deletion import Deleted
    from scpd.retention.rules import Rule
    from scpd.retention.rules import Study as Deleting
    from scpd.services.query.find import Queried
    from scpd.services.storage import Stored
    from scpd.telemetry.trail import Standing, Trail

_SPECIFIC_CHARACTER_SET = 0x00080005
_ACCESSION_NUMBER = 0x00080050
_PATIENT_NAME = 0x00100010
_PATIENT_ID = 0x00100020
_STUDY_INSTANCE_UID = 0x0020000D
# So many studies of an association are kept; then what there is goes out, and counting begins anew.
_MOST_STUDIES = 500
# A port scanner must not fill the trail: beyond this, what one address is refused is not told (messages, seconds).
_MOST_REFUSALS = Rate(100, 3600.0)
_REFUSALS_LEFT_OUT = "refusals left out of the audit trail: one address has too many"
# Nor must a workstation that asks for its lists anew all the time; one query a second in the long run.
_MOST_QUERIES = Rate(1000, 1000.0)
_QUERIES_LEFT_OUT = "queries left out of the audit trail: one address has too many"
_WHY_NO_MORE = {
    None: "the peer did not wait for more",
    Category.CANCEL: "cancelled by the peer",
    Category.FAILURE: "there may be more, which could not be told",
}


class _Study(NamedTuple):
    """What is counted together, as it came: decoded once, at the end."""

    character_set: bytes
    patient_id: bytes
    patient_name: bytes
    study: bytes
    accession: bytes


class Ledger:
    """Writes to ``trail`` as ``reporter``. All methods may be called from any thread."""

    # What it wants to know of each data set.
    tags = frozenset((_SPECIFIC_CHARACTER_SET, _ACCESSION_NUMBER, _PATIENT_NAME, _PATIENT_ID, _STUDY_INSTANCE_UID))

    def __init__(self, reporter: Reporter, trail: Trail) -> None:
        self._reporter = reporter
        self._trail = trail
        # Apart, so that whoever is refused for something cheap does not guess passcodes unseen.
        self._refusals = Share(_MOST_REFUSALS, _REFUSALS_LEFT_OUT)
        self._failures = Share(_MOST_REFUSALS, _REFUSALS_LEFT_OUT)
        self._queries = Share(_MOST_QUERIES, _QUERIES_LEFT_OUT)
        self._stored: dict[str, dict[_Study, Counter[str]]] = {}
        self._users: dict[str, str] = {}

    def started(self) -> None:
        """The process serves from now on."""
        self._trail.write(audit.application_started(self._reporter))

    def stopped(self, patience: float) -> None:
        """The process ends; waits up to ``patience`` seconds until everything is where it goes."""
        self._trail.write(audit.application_stopped(self._reporter))
        self._trail.close(patience)

    def standings(self) -> list[Standing]:
        """How the trail's destinations stand."""
        return self._trail.standings()

    def verified(self, peer: Caller, user: str, form: str) -> None:
        """Somebody was verified."""
        self._users[peer.association_id] = user
        self._trail.write(audit.login_succeeded(self._reporter, _peer(peer), user, called=peer.called, how=form))

    def not_verified(self, peer: Caller, claimed: str, rejection: Rejection) -> None:
        """Somebody was not."""
        if self._failures.take(_host(peer.address)) is not None:
            outcome = _outcome(rejection)
            self._trail.write(
                audit.login_failed(
                    self._reporter, _peer(peer), claimed, rejection.why, called=peer.called, outcome=outcome
                )
            )

    def rejected(self, peer: Caller, rejection: Rejection) -> None:
        """An association was rejected for who asked for it, or how often."""
        kind = Alert.RESTRICTED_FUNCTION if rejection.key.startswith("limits.") else Alert.NODE_AUTHENTICATION
        self._alert(peer, rejection.why, kind, _outcome(rejection))

    def turned_away(self, host: str) -> None:
        """A connection was closed for its address."""
        self._alert(
            Caller(f"{host}:0", "", ""), "its address is not let in", Alert.NODE_AUTHENTICATION, Outcome.SERIOUS
        )

    def handshake_failed(self, peer: Caller, why: str) -> None:
        """TLS did not come about."""
        self._alert(peer, why, Alert.NODE_AUTHENTICATION, Outcome.SERIOUS)

    def stored(self, instance: Stored) -> None:
        """An instance is where it belongs."""
        peer, values = instance.peer, instance.values
        studies = self._stored.setdefault(peer.association_id, {})
        study = _Study(
            values.get(_SPECIFIC_CHARACTER_SET, b""),
            values.get(_PATIENT_ID, b""),
            values.get(_PATIENT_NAME, b""),
            values.get(_STUDY_INSTANCE_UID, b""),
            values.get(_ACCESSION_NUMBER, b""),
        )
        studies.setdefault(study, Counter())[instance.sop_class_uid] += 1
        if len(studies) >= _MOST_STUDIES:
            self._tell_of_instances(peer)

    def queried(self, query: Queried) -> None:
        """Somebody has asked what is held."""
        peer, left_out = query.peer, self._queries.take(_host(query.peer.address))
        if left_out is None:
            return
        before = f"{left_out} queries of this address before it are left out" if left_out else ""
        end = None if query.status is None else category(query.status)
        words = (before, f"matches that were told: {query.answers}", _WHY_NO_MORE.get(end, ""))
        self._trail.write(
            audit.query_received(
                self._reporter,
                _peer(peer),
                query.sop_class_uid,
                query.transfer_syntax_uid,
                query.identifier,
                called=peer.called,
                user=self._users.get(peer.association_id, ""),
                outcome=Outcome.MINOR if end is Category.FAILURE else Outcome.SUCCESS,
                description="; ".join(filter(None, words)),
            )
        )

    def route(self, peer: Caller, destination: Peer | None) -> Route:
        """The way of what ``peer`` wants to be sent to ``destination``, or to have itself."""
        asking = _peer(peer)
        return Route(asking, destination or asking, peer.called, self._users.get(peer.association_id, ""))

    def sending(self, route: Route, patient: Patient, studies: Iterable[Study]) -> None:
        """Instances of one patient are about to be sent."""
        for message in audit.transfer_begun(self._reporter, route, patient, studies):
            self._trail.write(message)

    def sent(self, route: Route, patient: Patient, studies: Iterable[Study], why_not: str = "") -> None:
        """They were sent, or ``why_not``."""
        outcome = Outcome.MINOR if why_not else Outcome.SUCCESS
        for message in audit.instances_sent(
            self._reporter, route, patient, studies, outcome=outcome, description=why_not
        ):
            self._trail.write(message)

    def looked(self, address: str, user: str, patient: Patient, study: Study) -> None:
        """A person at ``address`` looked at a study; ``user`` is what is known of who that is."""
        self._trail.write(audit.instances_accessed(self._reporter, address, user, patient, study))

    def deleted(self, study: Deleting, about: About, rule: Rule, deleted: Deleted) -> None:
        """A study, or some of it, was deleted by a rule."""
        left = f"{deleted.left} instances stay" if deleted.left else ""
        why = "; ".join(filter(None, (f"retention, {rule.name}", left, deleted.why)))
        outcome = Outcome.MINOR if deleted.why else Outcome.SUCCESS
        told = Study(study.uid, dict(deleted.sop_classes), about.accession)
        patient = Patient(about.patient_id, about.patient_name)
        for message in audit.study_deleted(self._reporter, patient, told, outcome=outcome, description=why):
            self._trail.write(message)

    def ended(self, peer: Caller) -> None:
        """An association is over: its instances go into the trail, patient by patient."""
        self._tell_of_instances(peer)
        self._users.pop(peer.association_id, None)

    def _tell_of_instances(self, peer: Caller) -> None:
        patients: dict[Patient, dict[tuple[str, str], Counter[str]]] = {}
        for study, classes in self._stored.pop(peer.association_id, {}).items():
            text = Text(study.character_set)
            patient = Patient(text.decode(study.patient_id), text.decode(study.patient_name))
            key = text.decode(study.study), text.decode(study.accession)
            patients.setdefault(patient, {}).setdefault(key, Counter()).update(classes)
        user = self._users.get(peer.association_id, "")
        for patient, studies in patients.items():
            told = [Study(uid, dict(classes), accession) for (uid, accession), classes in studies.items()]
            for message in audit.instances_transferred(
                self._reporter, _peer(peer), patient, told, called=peer.called, user=user
            ):
                self._trail.write(message)

    def _alert(self, peer: Caller, why: str, kind: Alert, outcome: Outcome) -> None:
        if self._refusals.take(_host(peer.address)) is not None:
            self._trail.write(
                audit.security_alert(self._reporter, _peer(peer), why, called=peer.called, kind=kind, outcome=outcome)
            )


def _peer(peer: Caller) -> Peer:
    return Peer(_host(peer.address), peer.calling)


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]") or address


def _outcome(rejection: Rejection) -> Outcome:
    return Outcome.MINOR if rejection.answer.result == RejectResult.TRANSIENT else Outcome.SERIOUS
