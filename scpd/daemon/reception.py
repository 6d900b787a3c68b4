"""The admin endpoint of the configuration: opened, moved and closed as it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.transport.connection import address_text

if TYPE_CHECKING:
    from scpd.admin.endpoint import Endpoint
    from scpd.config import AdminConfig
    from scpd.daemon.overview import Overview


class Reception:
    """Holds the endpoint there is, or none."""

    def __init__(self, overview: Overview) -> None:
        self._overview = overview
        self._endpoint: Endpoint | None = None
        self._config: AdminConfig | None = None

    @property
    def address(self) -> str:
        """Where it listens, for people; empty where there is none."""
        return address_text(self._endpoint.address) if self._endpoint else ""

    def prepared(self, config: AdminConfig | None) -> Endpoint | None:
        """An endpoint that listens where ``config`` says: the one there is, or a new one.

        Raises :class:`~scpd.errors.ScpdError` when it cannot listen; nothing has changed then.
        """
        if config is None or (self._config and config.bind == self._config.bind):
            return self._endpoint if config else None
        from scpd.admin.endpoint import Endpoint  # noqa: PLC0415 not for a start without it

        bind, hosts = config.bind, config.hosts or ()
        endpoint = Endpoint(bind.host, bind.port, self._overview, token=config.token, hosts=hosts)
        endpoint.start()
        return endpoint

    def spurn(self, endpoint: Endpoint | None) -> None:
        """Close what :meth:`prepared` gave, since it will not be adopted."""
        if endpoint and endpoint is not self._endpoint:
            endpoint.close()

    def adopt(self, endpoint: Endpoint | None, config: AdminConfig | None) -> None:
        """Answer there from now on, as ``config`` says, and nowhere else."""
        if endpoint and config and endpoint is self._endpoint and config != self._config:
            endpoint.admit(config.token, config.hosts or ())
        self._endpoint, former = endpoint, self._endpoint
        self._config = config
        if former and former is not endpoint:
            former.close()

    def close(self) -> None:
        """Answer nobody any more."""
        self.adopt(None, None)
