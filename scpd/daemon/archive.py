"""The indexes of the configuration → what is written down, and who answers for what is held.

An index is kept over reloads as long as it is said alike. What needs a database is imported where one is configured,
and only then.
"""

from __future__ import annotations

import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scpd.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scpd.config import Config, IndexConfig, ServerConfig
    from scpd.index.index import Index
    from scpd.index.register import Register
    from scpd.index.upkeep import Upkeep
    from scpd.services.indexing import Indexing
    from scpd.storage.store import Store

FOLDER, FILE = ".index", "index.db"
# For an index to be opened, before associations are served without it, and to be brought to an end (seconds).
_OPENING = 10.0
PATIENCE_AT_THE_END = 10.0


class IndexStanding(NamedTuple):
    """How one index stands: its database, what is wrong, and how many files have yet to be written down."""

    name: str
    trouble: str
    waiting: int
    is_required: bool


class Archives:
    """The indexes of all servers of a configuration; ``before`` are those in force.

    Raises :class:`ConfigurationError` for an index that cannot be used.
    """

    def __init__(self, config: Config, before: Archives | None = None) -> None:
        self.upkeeps: dict[tuple[str, object], Upkeep] = {}
        self.registers: dict[tuple[str, object, Path, bool], Register] = {}
        self._mine: list[Upkeep] = []
        self.retired: list[Upkeep] = []
        self._before = before
        self._config = weakref.ref(config)
        self._directories = {server.storage.directory.absolute(): set[str]() for server in config.servers}
        self._servers: dict[str, tuple[str, object]] = {}
        self._required: set[tuple[str, object]] = set()
        try:
            for server in config.servers:
                if server.index is not None:
                    self._open(config, server, server.index)
        except BaseException:
            self.discard()
            raise
        self._before = None

    def index(self, server: ServerConfig) -> Index | None:
        """What one server holds, where that is written down."""
        key = self._servers.get(server.name)
        return None if key is None else self.upkeeps[key].index

    def is_behind(self, server_name: str) -> bool:
        """Whether something was stored that the index of a server does not know yet."""
        key = self._servers.get(server_name)
        return key is not None and self.upkeeps[key].is_behind

    def indexing(self, server: ServerConfig, store: Store) -> Indexing | None:
        """Who writes down what one server stores."""
        key = self._servers.get(server.name)
        if key is None or server.index is None:
            return None
        from scpd.services.indexing import Indexing  # noqa: PLC0415 not for a start without an index

        register = self._register(key, store, deferred=server.index.write == "deferred")
        indexing = Indexing(register, register.index.scribe, replaces=store.policy.duplicates == "replace")
        register.users.add(indexing)  # an association may go on with it after the configuration has changed
        return indexing

    def by_server(self, config: Config) -> dict[str, Index]:
        """The indexes by the names of the servers that have one."""
        return {server.name: index for server in config.servers if (index := self.index(server))}

    def begin(self, before: Archives | None) -> None:
        """Look after them from now on; what only those ``before`` had is looked after until nobody uses it."""
        self._tell_stores()
        is_past = before.past() if before else lambda: True
        for key, upkeep in self.upkeeps.items():
            upkeep.keep([register for place, register in self.registers.items() if place[:2] == key], is_past)
        if before:
            gone = [upkeep for key, upkeep in before.upkeeps.items() if key not in self.upkeeps]
            for upkeep in gone:
                upkeep.retire()
            self.retired = [upkeep for upkeep in (*before.retired, *gone) if upkeep.is_alive]
        self._mine = []

    def past(self) -> Callable[[], bool]:
        """What tells when nobody serves by this configuration any more."""
        # Whoever does has it, to tell where in it something is said.
        config = self._config
        return lambda: config() is None

    def _tell_stores(self) -> None:
        """Before anything is stored that an index does not hear of."""
        if not any(Path(directory, FOLDER).exists() for directory in self._directories):
            return
        from scpd.index.places import set_incomplete  # noqa: PLC0415 not where there never was an index

        for directory, addresses in self._directories.items():
            with suppress(OSError):  # where nothing can be removed, nothing can be stored
                set_incomplete(str(directory), addresses)

    def standings(self) -> Iterator[IndexStanding]:
        """How they stand; waits for nothing."""
        for key, upkeep in self.upkeeps.items():
            yield IndexStanding(shown(key[0]), upkeep.trouble(), upkeep.waiting, key in self._required)

    def discard(self) -> None:
        """They will never be in force: give back what was opened for them."""
        _close(self._mine)

    def close(self) -> None:
        """Bring to each index what waits, and give everything back."""
        _close([*self.upkeeps.values(), *self.retired])

    def _open(self, config: Config, server: ServerConfig, index: IndexConfig) -> None:
        key = (url(server, index), index.attributes)
        self._servers[server.name] = key
        if index.write == "required":
            self._required.add(key)
        if key not in self.upkeeps:
            known = self._before.upkeeps.get(key) if self._before else None
            place = f"{config.near(server.name, 'index.url')}: index"
            self.upkeeps[key] = known or self._made(key[0], index, place)
        self._directories[server.storage.directory.absolute()].add(self.upkeeps[key].address)

    def _made(self, address: str, index: IndexConfig, place: str) -> Upkeep:
        try:
            from scpd.index.index import Index  # noqa: PLC0415 not for a start without an index
            from scpd.index.troubles import UnusableError  # noqa: PLC0415
            from scpd.index.upkeep import Upkeep  # noqa: PLC0415

        except ImportError as error:
            raise _missing(place, error) from error
        try:
            upkeep = Upkeep(Index(address, index.attributes.keeping()))
            self._mine.append(upkeep)
            upkeep.start(_OPENING)
        except ImportError as error:
            raise _missing(place, error) from error
        except RuntimeError as error:
            raise ConfigurationError([f"{place}: the system has no thread left"]) from error
        except UnusableError as error:
            raise ConfigurationError([f"{place}.url: {error}"]) from error
        return upkeep

    def _register(self, key: tuple[str, object], store: Store, *, deferred: bool) -> Register:
        from scpd.index.register import Register  # noqa: PLC0415 not for a start without an index

        place = (*key, store.directory.absolute(), deferred)
        if place not in self.registers:
            known = self._before.registers.get(place) if self._before else None
            index = self.upkeeps[key].index
            try:
                made = known or Register(index, store.directory, deferred=deferred, is_alone=store.is_alone)
            except OSError as error:
                raise ConfigurationError([f"index: {store.directory}: {error.strerror}"]) from error
            self.registers[place] = made
        return self.registers[place]


def url(server: ServerConfig, index: IndexConfig) -> str:
    """The database that a server means; a file by its absolute path."""
    if index.url is None:
        return f"sqlite:///{server.storage.directory.absolute() / FOLDER / FILE}"
    if index.url.startswith("sqlite:///"):
        return f"sqlite:///{Path(index.url.removeprefix('sqlite:///')).absolute()}"
    return index.url


def _missing(place: str, error: ImportError) -> ConfigurationError:
    return ConfigurationError([f"{place}.url: {error.name} is missing; pip install 'scpd[postgresql]'"])


def _close(upkeeps: Sequence[Upkeep]) -> None:
    """All at the same time."""
    for upkeep in upkeeps:
        upkeep.end()
    deadline = time.monotonic() + PATIENCE_AT_THE_END
    for upkeep in upkeeps:
        upkeep.close(max(0.1, deadline - time.monotonic()))


def shown(address: str) -> str:
    """A database as it is named in the log and on the status page: without user and password."""
    scheme, _, rest = address.partition("://")
    place = rest.rpartition("@")[2].partition("?")[0]
    return place[1:] if scheme == "sqlite" else f"{scheme}://{place}"
