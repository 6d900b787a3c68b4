"""Retention of the configuration → a keeper for each store that has rules, and what is wrong with rules as they stand.

Servers that share a directory share its keeper: what one of them deletes is another's as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scpd.config.values import format_duration, format_size
from scpd.retention.rules import rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scpd.config import Config, RetentionRule, ServerConfig
    from scpd.daemon.archive import Archives
    from scpd.daemon.line import Line
    from scpd.index.register import Register
    from scpd.retention.judging import Holds, Witness, Work
    from scpd.retention.keeper import Keeper, Standing
    from scpd.retention.rules import Rule

# At the end, for what is being deleted (seconds).
PATIENCE_AT_THE_END = 5.0


class Retaining:
    """The keepers of all stores of a configuration; nothing is deleted before :meth:`begin`.

    ``line`` is the queue, where there is one; ``archives`` have the registers of their servers by now. ``witness``
    hears of what is deleted.
    """

    def __init__(self, config: Config, archives: Archives, line: Line | None, witness: Witness | None) -> None:
        self.keepers: Mapping[str, Keeper] = {}
        self._works: dict[str, tuple[Register, Work]] = {}
        registers = {register.directory: register for register in archives.registers.values()}
        found = {where: rules for where, rules in rules_by_directory(config).items() if where in registers}
        if not found:
            return
        from scpd.retention.judging import Work  # noqa: PLC0415 needs a database: not for a start without rules

        holds = self._holds(line)
        witnesses = (witness,) if witness else ()
        self._works = {where: (registers[where], Work(rules, holds, witnesses)) for where, rules in found.items()}

    def begin(self, before: Retaining | None = None) -> None:
        """Keep the stores from now on, in place of those ``before``. Waits for nothing."""
        former = before.keepers if before else {}
        for one in former.values():
            one.end()
        if not self._works:
            return
        from scpd.retention.keeper import Keeper  # noqa: PLC0415 as above

        self.keepers = {
            where: Keeper(register, work, former.get(where)) for where, (register, work) in self._works.items()
        }
        for one in self.keepers.values():
            one.start()

    def standings(self) -> list[Standing]:
        """How the stores with rules stand; waits for nothing."""
        return [one.standing() for one in self.keepers.values()]

    def close(self) -> None:
        """Delete no more; waits a little for what is under way."""
        for one in self.keepers.values():
            one.end()
        for one in self.keepers.values():
            one.join(PATIENCE_AT_THE_END)

    def _holds(self, line: Line | None) -> Sequence[Holds]:
        """What waits in the queue, which stays open for this, also when nothing else needs it any more."""
        if line is None or not line.hold(self):
            return ()
        from scpd.retention.waiting import Indexed, Waiting  # noqa: PLC0415 as above

        return (Waiting(Indexed(line.queue.database), line.transactions.pending),)


def rules_by_directory(config: Config) -> dict[str, tuple[Rule, ...]]:
    """The rules of each storage directory that has some, by its absolute path."""
    found: dict[str, tuple[Rule, ...]] = {}
    for server in config.servers:
        if server.retention and server.index is not None:
            where = str(server.storage.directory.absolute())
            rules = {one.name: one for one in (*_rules(config, server), *found.get(where, ()))}
            found[where] = tuple(rules.values())
    return found


def _rules(config: Config, server: ServerConfig) -> Iterator[Rule]:
    for number, one in enumerate(server.retention):
        place = config.near(server.name, f"retention[{number}]")
        calling = one.calling or ()
        yield rule(_name(one), place, older_than=one.older_than, free_below=one.free_below, calling=calling)


def _name(one: RetentionRule) -> str:
    """A rule as it stands in the file."""
    said = {
        "older_than": format_duration(one.older_than) if one.older_than is not None else "",
        "free_below": format_size(one.free_below) if one.free_below is not None else "",
        "calling": ", ".join(one.calling or ()),
    }
    return ", ".join(f"{key}: {value}" for key, value in said.items() if value)


def faults(config: Config, server: ServerConfig) -> Iterator[tuple[str, str]]:
    """What is wrong around the rules of one server: (key, sentence)."""
    if not server.retention:
        return
    if server.index is None:
        yield "retention", "it needs to know what is held; write index: {} as well, or leave it out"
    for number, one in enumerate(server.retention):
        if one.free_below is not None and one.free_below <= server.storage.reserve:
            least = format_size(server.storage.reserve)
            what = f"below storage.reserve ({least}) nothing is stored any more; write more than that"
            yield f"retention[{number}].free_below", what
    for other in config.servers:
        if _shares(server, other) and (other.retention, other.index) != (server.retention, server.index):
            what = f"the server {other.name} has the same storage.directory, and loses what is deleted there"
            yield "retention", f"{what}; write the same retention and index for both, or give each a directory"


def _shares(server: ServerConfig, other: ServerConfig) -> bool:
    return other is not server and Path(server.storage.directory).absolute() == Path(other.storage.directory).absolute()
