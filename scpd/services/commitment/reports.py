"""N-EVENT-REPORT of storage commitment (PS3.4 J.3.3): what is really held, told to the peer until it has heard.

Over the association of the request while that lasts, else over a new one, in the role of the SCP. At least once: where
the peer's answer is lost, it hears the same transaction again. Knows no configuration.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from scpd.client.requestor import Caller, Proposal, associate
from scpd.dimse.command import NEventReportRQ
from scpd.dimse.status import PROCESSING_FAILURE, Category, category, meaning
from scpd.errors import Expired, IndexUnavailable, Interrupted, PeerError
from scpd.forward.queue import QueueError
from scpd.forward.runner import Failed
from scpd.names import quote
from scpd.services.commitment.module import (
    PUSH_MODEL,
    RESOURCE_LIMITATION,
    WELL_KNOWN_INSTANCE,
    FailureReason,
    Report,
    encode,
)
from scpd.services.commitment.transactions import NAME, Way
from scpd.services.commitment.verification import verify
from scpd.sop_class import TRANSFER_SYNTAXES
from scpd.transport.exchange import Piece
from scpd.wire.user_info import RoleSelection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scpd.client.requestor import Association
    from scpd.dimse.command import Response
    from scpd.forward.queue import Job
    from scpd.services.commitment.transactions import Transactions
    from scpd.services.commitment.verification import Holdings

# With pauses that grow to an hour: over a long weekend.
_ATTEMPTS = 100
_CONCURRENCY = 4
# For the answer over the association of the request, which the peer may use for something else (seconds).
_ANSWER = 30.0
# A peer that could not be reached is not tried again for so long, whatever else it is to hear (seconds).
_AWAY = 30.0
_PROPOSAL = Proposal(
    PUSH_MODEL, (TRANSFER_SYNTAXES["ExplicitVRLittleEndian"], TRANSFER_SYNTAXES["ImplicitVRLittleEndian"])
)
_ROLE = RoleSelection(PUSH_MODEL, scu_role=False, scp_role=True)
_ENDED = "ended by this side"
# What a peer may be over by the next time; its other failures say that it will never take this report.
_PASSING = (PROCESSING_FAILURE, RESOURCE_LIMITATION)


class Site(NamedTuple):
    """A server that commits: what it holds, its AE title, and the one to retrieve from, where there is one.

    ``is_behind`` says whether ``holdings`` have yet to learn of what was stored.
    """

    holdings: Holdings
    ae_title: str
    retrieve_ae_title: str = ""
    is_behind: Callable[[], bool] = lambda: False


class Remote(NamedTuple):
    """A peer that can be called: host and port, and how; the calling title is a site's."""

    address: tuple[str, int]
    caller: Caller


class Reports:
    """The target of the queue that tells peers: see :class:`scpd.forward.runner.Target`.

    ``sites`` are by the name of the server, ``remotes`` by AE title. ``told`` hears of each report that was taken, with
    its job and the way it took, in words.
    """

    name = NAME
    attempts = _ATTEMPTS
    concurrency = _CONCURRENCY

    def __init__(
        self,
        transactions: Transactions,
        sites: Mapping[str, Site],
        remotes: Mapping[str, Remote],
        told: Callable[[Job, Report, str], None] = lambda *_: None,
    ) -> None:
        self._transactions = transactions
        self._sites = sites
        self._remotes = remotes
        self._told = told
        self._lock = threading.Lock()
        self._away: dict[str, tuple[float, str]] = {}
        self._calls: set[Association] = set()
        self._is_abandoned = False

    def deliver(self, job: Job) -> None:
        """Have the peer hear what became of its request. Raises :class:`Failed`."""
        site = self._sites.get(job.payload["server"])
        if site is None:
            why = f"the server {job.payload['server']} commits nothing any more; configure it, then scpd queue retry"
            raise Failed(why, is_final=True)
        try:
            self._deliver(_Delivery(job, site, partial(self._report, job, site)))
        except (QueueError, IndexUnavailable) as error:
            raise Failed(f"it cannot be verified: {error}") from error

    def abandon(self) -> None:
        """End what is being done, now."""
        with self._lock:
            self._is_abandoned = True
            calls = list(self._calls)
        for association in calls:
            association.upper.connection.interrupt(_ENDED)

    def _deliver(self, delivery: _Delivery) -> None:
        way = self._transactions.way(delivery.job.id)
        if way and self._is_told_on(way, delivery):
            return
        title = delivery.job.payload["calling"]
        remote = self._remotes.get(title)
        if remote is None:
            why = f"{quote(title)} has left, and none of peers has this ae_title; add it, then scpd queue retry"
            raise Failed(why, is_final=True)
        self._must_be_there(title)
        try:
            self._tell_anew(remote, delivery)
        except (PeerError, Interrupted) as error:
            with self._lock:
                self._away[title] = time.monotonic() + _AWAY, str(error)
            raise Failed(str(error)) from error

    def _is_told_on(self, way: Way, delivery: _Delivery) -> bool:
        """Whether the association of the request was still there to tell."""
        report = delivery.report()
        self._transactions.forget_way(delivery.job.id)
        try:
            response = _tell(way, delivery.job, report, _ANSWER)
        except Expired as error:
            raise Failed(str(error)) from error
        except (PeerError, Interrupted):
            return False
        self._conclude(delivery, response, "the association of the request")
        return True

    def _must_be_there(self, title: str) -> None:
        with self._lock:
            until, why = self._away.get(title, (0.0, ""))
            if time.monotonic() >= until:
                self._away.pop(title, None)
                return
        raise Failed(f"not tried, since it just failed: {why}")

    def _tell_anew(self, remote: Remote, delivery: _Delivery) -> None:
        """Over a new association; and another one, where the peer did not wait until everything was verified."""
        beside = replace(remote.caller.negotiation, roles=(_ROLE,))
        caller = replace(remote.caller, calling=delivery.site.ae_title, negotiation=beside)
        was_made = delivery.is_made
        try:
            response = self._call(remote, caller, delivery)
        except PeerError:
            if was_made or not delivery.is_made:
                raise
            response = self._call(remote, caller, delivery)
        self._conclude(delivery, response, "a new association")

    def _call(self, remote: Remote, caller: Caller, delivery: _Delivery) -> Response:
        self._go_on()
        # Called before anything is verified: files are not read again and again for a peer that is away.
        association = associate(remote.address, [_PROPOSAL], caller)
        with self._lock:
            self._calls.add(association)
        try:
            response = _tell(_way(association), delivery.job, delivery.report(), caller.message)
        except BaseException:
            association.abort()
            raise
        finally:
            with self._lock:
                self._calls.discard(association)
        with suppress(PeerError):  # it has heard, however it takes its leave
            association.release()
        return response

    def _report(self, job: Job, site: Site) -> Report:
        references, uid = self._transactions.references(job.id), job.payload["transaction_uid"]
        if job.payload["is_duplicate"]:
            reason = FailureReason.DUPLICATE_TRANSACTION_UID
            return Report(uid, (), tuple((reference, reason) for reference in references))
        was_behind = site.is_behind()
        found = list(verify(site.holdings, references, self._go_on))
        if was_behind and any(reason is FailureReason.NO_SUCH_OBJECT_INSTANCE for _, reason in found):
            raise Failed("it cannot be verified: the index does not know yet of all that was stored")
        committed = tuple(reference for reference, reason in found if reason is None)
        failed = tuple((reference, reason) for reference, reason in found if reason is not None)
        return Report(uid, committed, failed, site.retrieve_ae_title)

    def _go_on(self) -> None:
        if self._is_abandoned:
            raise Failed(_ENDED)

    def _conclude(self, delivery: _Delivery, response: Response, how: str) -> None:
        code = response.status
        if category(code) not in (Category.SUCCESS, Category.WARNING):
            why = f"the peer answered the report with {meaning(code)} ({code:04X}H)"
            raise Failed(why, is_final=code not in _PASSING)
        self._told(delivery.job, delivery.report(), how)


class _Delivery:
    """One try, whose report is made once, when it is known that somebody is there to hear it."""

    def __init__(self, job: Job, site: Site, make: Callable[[], Report]) -> None:
        self.job = job
        self.site = site
        self._make = make
        self._report: Report | None = None

    @property
    def is_made(self) -> bool:
        return self._report is not None

    def report(self) -> Report:
        if self._report is None:
            self._report = self._make()
        return self._report


def _way(association: Association) -> Way:
    context = next(iter(association.contexts.values()), None)
    if context is None:
        raise PeerError(f"the peer takes no reports: {association.agreement.rejected[0].why}")
    return Way(association.conversation.ask, context)


def _tell(way: Way, job: Job, report: Report, within: float) -> Response:
    request = NEventReportRQ(
        message_id=job.id % 0xFFFF + 1,
        affected_sop_class_uid=PUSH_MODEL,
        affected_sop_instance_uid=WELL_KNOWN_INSTANCE,
        event_type_id=report.event_type_id,
        has_data_set=True,
    )
    data = memoryview(encode(report, way.context.transfer_syntax))
    pieces = (Piece(data, is_last=True),)
    return way.ask(way.context.context_id, request, pieces, within=within).final().response
