"""What surrounds a configuration: files, certificates, directories, addresses, extras that may not be installed.

A fault keeps it from being served, or from being served in full; what will only be regretted is a warning, and most of
those stand in ``linter``. Looks, and changes nothing: neither is a directory made nor an address taken.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from scpd.config import TLSConfig
from scpd.config.audit import AuditTLSConfig
from scpd.daemon import addresses, archive, linter, mounts, retaining
from scpd.sop_class import STORAGE, VERIFICATION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scpd.config import AuditConfig, Config, PeerTLSConfig, QueueConfig, ServerConfig
    from scpd.daemon.doors import Doorkeepers

    # The server or None for the whole process, the key, what and what to do.
    Findings = Iterable[tuple[str | None, str, str]]

_ALWAYS_SERVED = frozenset((*VERIFICATION, *STORAGE))
_SQLITE = "sqlite:///"
_OTHER_ATTRIBUTES = (
    "are others than those of {where}, for the same database; write both alike, or name another database in index.url"
)
_READ_ONLY = "it is mounted read-only; mount it for writing, or name another directory"


class Surroundings:
    """The faults and warnings of one configuration, each as ``file:line: key: what; what to do``."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._now = datetime.now(UTC)
        asks_users = any(server.user_identity.providers for server in config.servers)
        self._doorkeepers = _doorkeepers() if asks_users else None
        self.faults = self._placed(self._faults())
        self.warnings = [] if self.faults else self._placed(self._warnings())
        if self._doorkeepers:
            self._doorkeepers.close()

    def _placed(self, findings: Findings) -> list[str]:
        """What is found, each thing once, with the line that it stands in."""
        near = self._config.near
        return list(dict.fromkeys(f"{near(server, key)}: {key}: {what}" for server, key, what in findings))

    def _faults(self) -> Iterator[tuple[str | None, str, str]]:
        for server in self._config.servers:
            for key, what in self._faults_of(server):
                yield server.name, key, what
        yield from addresses.faults(self._config)
        yield from _kept_otherwise(self._config)
        yield from self._certificates_of_others("faults")
        for key, what in (*_audit(self._config.audit), *_queue(self._config.queue)):
            yield None, key, what

    def _faults_of(self, server: ServerConfig) -> Iterator[tuple[str, str]]:
        yield from _services(server)
        yield from _directory("storage.directory", server.storage.directory)
        yield from _index(server)
        yield from retaining.faults(self._config, server)
        yield from _certificates("faults", server.tls, self._now)
        if self._doorkeepers:
            yield from self._doorkeepers.faults(server.user_identity)
        yield from self._hooks(server)

    def _hooks(self, server: ServerConfig) -> Iterable[tuple[str, str]]:
        if not server.hooks:
            return ()
        from scpd.daemon import handover  # noqa: PLC0415 not for a look at servers without hooks

        return handover.faults(self._config, server)

    def _warnings(self) -> Iterator[tuple[str | None, str, str]]:
        for server in self._config.servers:
            for key, what in _certificates("warnings", server.tls, self._now):
                yield server.name, key, what
            if self._doorkeepers:
                for key, what in self._doorkeepers.warnings(server.user_identity):
                    yield server.name, key, what
        yield from linter.warnings(self._config)
        yield from self._certificates_of_others("warnings")

    def _certificates_of_others(self, which: str) -> Iterator[tuple[str | None, str, str]]:
        """What is to be said of certificates that no server shows."""
        sections = {f"peers.{name}": peer.tls for name, peer in self._config.peers.items()}
        for number, one in enumerate(self._config.audit.destinations if self._config.audit else ()):
            if isinstance(one, AuditTLSConfig):
                sections[f"audit.destinations[{number}]"] = one.tls
        for place, tls in sections.items():
            for key, what in _certificates(which, tls, self._now):
                yield None, f"{place}.{key}", what


def _doorkeepers() -> Doorkeepers:
    from scpd.daemon.doors import Doorkeepers  # noqa: PLC0415 not for a look at servers that ask nobody who they are

    return Doorkeepers()


def _services(server: ServerConfig) -> Iterable[tuple[str, str]]:
    if all(one.abstract_syntax in _ALWAYS_SERVED for one in server.supported()):
        return ()
    from scpd.daemon import served  # noqa: PLC0415 not for a look at servers that only receive

    return served.faults(server)


def _index(server: ServerConfig) -> Iterator[tuple[str, str]]:
    """Where none is named it lies below the storage directory, which is looked at anyway."""
    if server.index is None or server.index.url is None:
        return
    address = archive.url(server, server.index)
    if not address.startswith(_SQLITE):
        yield from _driver()
        return
    file = Path(address.removeprefix(_SQLITE))
    yield from _directory("index.url", file.parent)
    if file.exists() and not file.is_file():
        yield "index.url", f"{file} is no file; name one, or remove it"
    elif file.exists() and not os.access(file, os.R_OK | os.W_OK, effective_ids=True):
        yield "index.url", f"{file} cannot be written to by this user; mend its rights, or name another file"


def _driver() -> Iterator[tuple[str, str]]:
    try:
        import psycopg  # noqa: F401, PLC0415 an extra, and not for a look at other databases
    except ImportError as error:
        why = str(error).strip().splitlines()[0]
        yield "index.url", f"PostgreSQL needs psycopg, and there is none ({why}); pip install 'scpd[postgresql]'"


def _kept_otherwise(config: Config) -> Iterator[tuple[str, str, str]]:
    """One database is one index: two that keep different attributes in it would undo each other's work."""
    first: dict[str, ServerConfig] = {}
    for server in config.servers:
        if server.index is None:
            continue
        other = first.setdefault(archive.url(server, server.index), server)
        if other.index and other.index.attributes != server.index.attributes:
            where = config.near(other.name, "index.attributes")
            yield server.name, "index.attributes", _OTHER_ATTRIBUTES.format(where=where)


def _audit(audit: AuditConfig | None) -> Iterator[tuple[str, str]]:
    if audit is None:
        return
    if not audit.destinations:
        yield "audit.destinations", "there is none; write one, as in - {kind: file, path: /var/log/scpd/audit.log}"
    if audit.spool:
        yield from _directory("audit.spool", audit.spool)
    places = [(one.kind, one.path if one.kind == "file" else one.address) for one in audit.destinations]
    for number, one in enumerate(audit.destinations):
        if places[number] in places[:number]:
            yield f"audit.destinations[{number}]", "another one before it goes to the same place; keep one of the two"
        if one.kind == "file":
            place, path = f"audit.destinations[{number}].path", one.path.absolute()
            if mounts.nearest(path.parent) != path.parent or not path.parent.is_dir():
                yield place, f"{path.parent} is not a directory; make it, or name another"
            elif path.is_symlink() or (path.exists() and not path.is_file()):
                yield place, f"{path} is no file of its own, and nothing else is written to; name a file"


def _queue(queue: QueueConfig) -> Iterator[tuple[str, str]]:
    """Where none is named it lies below a storage directory, which is looked at anyway."""
    if queue.directory:
        yield from _directory("queue.directory", queue.directory)


def _directory(key: str, directory: Path) -> Iterator[tuple[str, str]]:
    if why := mounts.unusable(directory):
        yield key, why
        return
    nearest = mounts.nearest(directory)
    if not nearest.is_dir():
        yield key, f"{nearest} is not a directory; name one, or remove the file"
    elif mounts.is_read_only(nearest):
        yield key, f"{nearest} cannot be written to: {_READ_ONLY}"
    elif not os.access(nearest, os.W_OK | os.X_OK, effective_ids=True):
        yield key, f"{nearest} cannot be written to by this user; mend its rights, or name another directory"


def _certificates(which: str, tls: TLSConfig | PeerTLSConfig | None, now: datetime) -> Iterator[tuple[str, str]]:
    if tls is not None:
        from scpd.daemon.security import tls_files  # noqa: PLC0415 not for a start without TLS
        from scpd.transport import certificates  # noqa: PLC0415

        judge = certificates.faults if which == "faults" else certificates.warnings
        for key, what in judge(tls_files(tls), now, "server" if isinstance(tls, TLSConfig) else "client"):
            yield f"tls.{key}", what
