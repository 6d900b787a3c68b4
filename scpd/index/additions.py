"""Attributes that the configuration adds: quick to look for, and known to be missing of what was written before."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pydicom.datadict import keyword_for_tag
from sqlalchemy import delete, select, text

from scpd.index.clauses import is_compared, sought
from scpd.index.computed import TABLES
from scpd.index.schema import facts, instances, stores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from scpd.index.attributes import Keeping, Level

_FACT = "attributes"


def is_prepared(connection: Connection, keeping: Keeping) -> bool:
    """Whether there is nothing to prepare."""
    return not _named(keeping) and not any(_written(connection).values())


def prepare(connection: Connection, keeping: Keeping) -> None:
    """Make an index for each that the database compares, and note what nothing was or will be written without."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL statement_timeout = 0"))  # of a large table that takes its time
    for level, tag in _added(keeping):
        if is_compared(tag):
            value = sought(level, tag).compile(dialect=connection.dialect, compile_kwargs={"include_table": False})
            table = TABLES[level].name
            connection.exec_driver_sql(f"CREATE INDEX IF NOT EXISTS {table}_by_{tag:08x} ON {table} ({value})")
    now, before = set(_named(keeping)), _written(connection)
    if connection.execute(select(instances.c.id).limit(1)).scalar() is None:
        before = {**dict.fromkeys(before, now), _FACT: now}
    for name, written in before.items():
        _note(connection, name, written & now)


def note(connection: Connection, keeping: Keeping, store: str) -> None:
    """All of a store was written anew."""
    _note(connection, f"{_FACT} {store}", set(_named(keeping)))


def missing(connection: Connection, keeping: Keeping) -> list[str]:
    """The keywords of those that some store was written without."""
    known = _written(connection)
    usual = known.get(_FACT, set())
    written = [known.get(f"{_FACT} {uid}", usual) for uid in connection.execute(select(stores.c.uid)).scalars()]
    added = dict(zip(_named(keeping), _added(keeping), strict=True))
    return [keyword_for_tag(tag) for name, (_, tag) in added.items() if any(name not in one for one in written)]


def _written(connection: Connection) -> dict[str, set[str]]:
    """What was added when the rows were written, of one store or of those that are not noted."""
    found = connection.execute(select(facts.c.name, facts.c.value).where(facts.c.name.startswith(_FACT)))
    return {name: set(json.loads(value)) for name, value in found}


def _note(connection: Connection, name: str, written: set[str]) -> None:
    connection.execute(delete(facts).where(facts.c.name == name))
    connection.execute(facts.insert().values(name=name, value=json.dumps(sorted(written))))


def _named(keeping: Keeping) -> list[str]:
    return [f"{level.name} {tag:08X}" for level, tag in _added(keeping)]


def _added(keeping: Keeping) -> Iterator[tuple[Level, int]]:
    for level, tags in sorted(keeping.added.items()):
        yield from ((level, tag) for tag in tags)
