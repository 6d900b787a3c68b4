"""Storage commitment of the configuration → who takes requests for each server, and who tells the peers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from scpd.client.requestor import Caller
from scpd.daemon.handover import is_committing
from scpd.daemon.security import towards
from scpd.services.commitment.reports import Remote, Reports, Site
from scpd.services.commitment.service import Commitment
from scpd.sop_class import QUERY_RETRIEVE
from scpd.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from scpd.config import Config, ServerConfig
    from scpd.daemon.handover import HandOvers
    from scpd.forward.queue import Job
    from scpd.services.commitment.module import Report
    from scpd.services.commitment.transactions import Transactions
    from scpd.services.commitment.verification import Holdings

# For a connection, an association and its release, and for each answer (seconds): others wait meanwhile.
_CONNECT, _ANSWER, _MESSAGE = 10.0, 20.0, 60.0


class Commitments:
    """Storage commitment of all servers that have it; ``holdings`` are their indexes by the servers' names.

    ``is_behind`` says of a server, by its name, whether it has stored what its index does not know yet. From
    :meth:`HandOvers.begin` on, reports go out. Raises :class:`~scpd.errors.ConfigurationError` for certificates of
    peers that cannot be used.
    """

    def __init__(
        self,
        config: Config,
        hand_overs: HandOvers,
        holdings: Mapping[str, Holdings],
        is_behind: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._log = logger("commitment")
        self._line = hand_overs.line
        self._servers = [server for server in config.servers if is_committing(server) and server.name in holdings]
        if self._line and self._servers:
            sites = {
                server.name: _site(server, holdings[server.name], partial(is_behind, server.name))
                for server in self._servers
            }
            hand_overs.enlist(Reports(self._line.transactions, sites, dict(_remotes(config)), self._tell))

    @property
    def transactions(self) -> Transactions | None:
        """What is pending; None where there is no queue."""
        return self._line.transactions if self._line else None

    def service(self, server: ServerConfig) -> Commitment | None:
        """Who takes the requests to one server; None where it commits nothing."""
        if not self._line or server not in self._servers:
            return None
        service = Commitment(self._line.transactions, server.name)
        self._line.hold(service)  # an association may go on with it after the configuration has changed
        return service

    def _tell(self, job: Job, report: Report, how: str) -> None:
        self._log.info(
            "storage commitment reported",
            server=job.payload["server"],
            calling=job.payload["calling"],
            requested_by=job.payload["association"],
            transaction=report.transaction_uid,
            committed=len(report.committed),
            failed=len(report.failed),
            over=how,
        )


def _site(server: ServerConfig, holdings: Holdings, is_behind: Callable[[], bool]) -> Site:
    served = {context.abstract_syntax for context in server.supported()}
    retrieve_ae_title = server.ae_title if served.intersection(QUERY_RETRIEVE) else ""
    return Site(holdings, server.ae_title, retrieve_ae_title, is_behind)


def _remotes(config: Config) -> Iterator[tuple[str, Remote]]:
    """The peers by AE title: of several with one title, the first."""
    for name, peer in reversed(list(config.peers.items())):
        security = towards(config, name, peer)
        caller = Caller(called=peer.ae_title, connect=_CONNECT, answer=_ANSWER, message=_MESSAGE, security=security)
        yield peer.ae_title, Remote((peer.address.host, peer.address.port), caller)
