"""The peers of the configuration → where C-MOVE may send to (PS3.4 C.4.2.2.1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.client.requestor import Caller
from scpd.daemon.security import towards
from scpd.services.retrieve.destination import Destination

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scpd.config import Config, PeerConfig, ServerConfig


class Destinations:
    """All peers by their AE titles; of several with one title, the first that answers.

    Raises :class:`~scpd.errors.ConfigurationError` for certificates that cannot be used.
    """

    def __init__(self, config: Config) -> None:
        self._peers = {name: (peer, towards(config, name, peer)) for name, peer in config.peers.items()}

    def of(self, server: ServerConfig) -> Mapping[str, Sequence[Destination]]:
        """Where one server may send to, under its own AE title."""
        found: dict[str, list[Destination]] = {}
        for name, (peer, security) in self._peers.items():
            caller = Caller(calling=server.ae_title, called=peer.ae_title, security=security)
            found.setdefault(peer.ae_title, []).append(_destination(name, peer, caller))
        return found


def _destination(name: str, peer: PeerConfig, caller: Caller) -> Destination:
    return Destination(name, (peer.address.host, peer.address.port), caller, peer.associations, peer.attempts)
