"""The whole configuration: what a program gets, and what a file may hold.

They differ: a file may state keys of a server at its top; a :class:`Config` has complete servers only, and
knows for each key the line that decides it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field, InstanceOf, field_validator

from scpd.config.admin import AdminConfig
from scpd.config.audit import AuditConfig
from scpd.config.faults import KeyPath
from scpd.config.kinds import NAME
from scpd.config.logging import LoggingConfig
from scpd.config.peers import PeerConfig
from scpd.config.queue import QueueConfig
from scpd.config.section import Section
from scpd.config.server import ServerConfig

DEFAULT = "default"


@dataclass(frozen=True)
class Origins:
    """Where the values of one server, or those of the whole process, stand in the file.

    ``lines`` is by dotted key; ``references`` names the ``file:`` behind a value.
    """

    lines: Mapping[str, int] = field(default_factory=dict)
    references: Mapping[KeyPath, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Places:
    """Where everything stands: the file's name, and the origins of the process's and the servers' keys."""

    file: str = ""
    process: Origins = Origins()
    servers: tuple[Origins, ...] = ()


class Config(Section):
    """A valid configuration. Two are equal when they say the same, wherever it stands."""

    servers: tuple[ServerConfig, ...]
    peers: Mapping[str, PeerConfig] = Field(default_factory=dict)
    audit: AuditConfig | None = None
    admin: AdminConfig | None = None
    queue: QueueConfig = QueueConfig()
    logging: LoggingConfig = LoggingConfig()
    places: InstanceOf[Places] = Field(default=Places(), exclude=True, repr=False)

    @field_validator("servers")
    @classmethod
    def _named(cls, servers: tuple[ServerConfig, ...]) -> tuple[ServerConfig, ...]:
        return named(servers)

    def where(self, server: str | int | None, key: str) -> str:
        """The place that decides a key, as ``scpd.yaml:12``, or ``default`` where it is filled in.

        ``server`` is a name or an index, or None for a key of the whole process; ``key`` is dotted, as
        ``limits.associations`` or ``contexts[0]``. Raises :class:`LookupError` for an unknown server.
        """
        line = self._origins(server).lines.get(key)
        return f"{self.places.file}:{line}" if line else DEFAULT

    def near(self, server: str | int | None, key: str) -> str:
        """The same, or where the section begins that a key is missing from."""
        while key and self.where(server, key) == DEFAULT:
            key = key.rpartition(".")[0]
        return self.where(server, key) if key else self.places.file or DEFAULT

    def _origins(self, server: str | int | None) -> Origins:
        if server is None:
            return self.places.process
        names = [each.name for each in self.servers]
        if server not in names and server not in range(len(names)):
            raise LookupError(f"no server is called {server!r}")
        index = names.index(server) if isinstance(server, str) else server
        return self.places.servers[index] if self.places.servers else Origins()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Config):
            return NotImplemented
        return self._said() == other._said()

    def __hash__(self) -> int:
        return hash(self._said())

    def _said(self) -> tuple[object, ...]:
        return self.servers, frozenset(self.peers.items()), self.audit, self.admin, self.queue, self.logging


def named(servers: tuple[ServerConfig, ...]) -> tuple[ServerConfig, ...]:
    """The servers, those without a name called by their AE title, with a number where it is taken."""
    taken = {server.name for server in servers}
    found = []
    for server in servers:
        name = server.name or _free(server.ae_title, taken)
        taken.add(name)
        found.append(server.model_copy(update={"name": name}))
    return tuple(found)


def _free(title: str, taken: set[str]) -> str:
    name, number = title, 1
    while name in taken:
        number += 1
        name = f"{title}-{number}"
    return name


class ConfigFile(ServerConfig):
    """What the file may hold at its top: the defaults of all servers, and what is the process's."""

    servers: tuple[ServerConfig, ...] = Field(
        default=(),
        description="The servers of this process (default: one, made of the keys at the top); each takes "
        "what it does not say from the top, mappings key by key, lists as a whole.",
    )
    peers: dict[Annotated[str, NAME], PeerConfig] = Field(
        default_factory=dict, description="Remote Application Entities by name (default none)."
    )
    audit: AuditConfig | None = Field(default=None, description="The audit trail (default null: none).")
    admin: AdminConfig | None = Field(
        default=None,
        description="The endpoint over HTTP for readiness, metrics and the status page (default null: none; {} is one "
        "with every default).",
    )
    queue: QueueConfig = Field(default_factory=QueueConfig, description="Where what is handed over waits.")
    logging: LoggingConfig = Field(default_factory=LoggingConfig, description="The log of the whole process.")


PROCESS_KEYS = tuple(key for key in ConfigFile.model_fields if key not in ServerConfig.model_fields)
