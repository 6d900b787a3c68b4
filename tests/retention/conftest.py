"""A store with an index of either kind, and keepers that look after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from components.aged import NOW, OLD, PATIENCE, Archive, Witness
from components.told import Told, log_of_what_is_made

from scpd.retention.judging import Work
from scpd.retention.keeper import Keeper

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def log() -> Iterator[Told]:
    with log_of_what_is_made() as lines:
        yield lines


@pytest.fixture
def make_archive(tmp_path):
    made = []

    def make(url, **how) -> Archive:
        made.append(Archive(url, tmp_path / "store", **how))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def archive(make_archive, database_url) -> Archive:
    return make_archive(database_url)


@pytest.fixture
def small(make_archive, tmp_path) -> Archive:
    """The same on SQLite alone, for what has nothing to do with the kind of database."""
    return make_archive(f"sqlite:///{tmp_path / 'index.db'}")


@pytest.fixture
def keep(log):
    """Start a keeper; it is ended at the end."""
    started = []

    def start(archive, *rules, holds=(), witnesses=(), former=None) -> Keeper:
        work = Work(rules or (OLD,), holds, witnesses)
        started.append(Keeper(archive.register, work, former, clock=lambda: NOW))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.end()
        assert one.join(PATIENCE)


@pytest.fixture
def one_pass(keep):
    """Have a keeper make its first pass, and end; how it stood then, and what was heard."""

    def make(archive, *rules, **how):
        witness = Witness()
        keeper = keep(archive, *rules, witnesses=(witness,), **how)
        archive.until(lambda: keeper.standing().last is not None or keeper.standing().trouble)
        keeper.end()
        assert keeper.join(PATIENCE)
        return keeper.standing(), witness.heard

    return make
