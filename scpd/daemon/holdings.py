"""What the servers of a configuration hold, for whoever looks through it at the admin endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.admin.facts import Holding

if TYPE_CHECKING:
    from scpd.config import Config
    from scpd.daemon.archive import Archives


def holdings(archives: Archives, config: Config) -> list[Holding]:
    """One for each index, with the servers that write to it, in the order of the configuration."""
    found = archives.by_server(config)
    servers: dict[int, list[str]] = {}
    for name, index in found.items():
        servers.setdefault(id(index), []).append(name)
    return [Holding(names[0], tuple(names), found[names[0]]) for names in servers.values()]
