"""The database of an index: opened or refused, written by one and read by many, and what is said where it cannot be."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from components.postgres import Postgres
from sqlalchemy import func, insert, make_url, select

from scpd.errors import IndexUnavailable
from scpd.index import engines
from scpd.index.database import Database
from scpd.index.schema import facts
from scpd.index.troubles import DamagedError, GoneError, ReadableError, RefusedError, UnusableError

PATIENCE = 20.0


def made(url: str) -> Database:
    url = url.replace("postgresql:", "postgresql+psycopg:")
    return Database(make_url(url))


@pytest.fixture
def database(database_url):
    one = made(database_url)
    assert one.open()
    yield one
    one.close()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "index.db"


@pytest.fixture
def sqlite(file, monkeypatch):
    monkeypatch.setattr(engines, "LOCKED", 0.05)
    monkeypatch.setattr("scpd.index.database.LOCKED", 0.05)
    one = made(f"sqlite:///{file}")
    one.open()
    yield one
    one.close()


def add(name: str, value: str = "x"):
    return lambda connection: connection.execute(insert(facts).values(name=name, value=value)) and name


def names(database) -> list[str]:
    with database.reading() as connection:
        return sorted(connection.execute(select(facts.c.name)).scalars())


# -- on either


def test_opened_once_it_has_its_tables_and_again_it_has_them_already(database_url):
    for is_new in (True, False):
        one = made(database_url)
        assert one.open() is is_new
        assert one.trouble() is None
        one.look()
        one.close()


def test_what_is_written_is_read_by_others(database):
    assert database.write(add("one")) == "one"
    begun = database.begin(add("two"))
    assert begun() == "two"
    assert names(database) == ["one", "two"]


def test_a_value_that_is_not_taken_is_refused_alone_and_is_no_trouble(database):
    done = threading.Event()
    begun = [database.begin(add(name)) for name in ("a", "b")]
    twice, wrong = database.begin(add("a")), database.begin(add("c", "\ud800"))
    database.write_later(add("later"), done.set)
    assert [one() for one in begun] == ["a", "b"]
    for one in (twice, wrong):
        with pytest.raises(RefusedError):
            one()
    assert done.wait(PATIENCE)
    assert names(database) == ["a", "b", "later"]
    assert database.trouble() is None


def test_tables_that_are_gone_are_told_as_such(database):
    database.write(lambda connection: [connection.exec_driver_sql(f"DROP TABLE {name}") for name in GONE])
    with pytest.raises(GoneError, match="its tables are gone"):
        database.look()
    with pytest.raises(GoneError), database.reading():
        pass
    database.disconnect()
    assert database.open(), "and are made anew"


GONE = ("pending", "instances", "series", "studies", "patients", "stores", "facts", "alembic_version")


@pytest.mark.parametrize("change", ["CREATE TABLE theirs (x INTEGER)", "UPDATE alembic_version SET version_num='9999'"])
def test_what_is_another_programs_or_a_later_versions_is_refused(database_url, change):
    one = made(database_url)
    if change.startswith("UPDATE"):
        one.open()
    else:
        Path(one.file).parent.mkdir(exist_ok=True) if one.is_sqlite else None
        with closing(sqlite3.connect(one.file)) if one.is_sqlite else one._writer.connect() as connection:
            (connection.execute if one.is_sqlite else connection.exec_driver_sql)(change)
    if change.startswith("UPDATE"):
        one.write(lambda connection: connection.exec_driver_sql(change).rowcount)
        one.close()
        one = made(database_url)
    with pytest.raises(UnusableError, match="name another database"):
        one.open()
    assert isinstance(one.trouble(), UnusableError)
    one.close()


def test_no_message_has_a_value_or_a_statement_in_it(database):
    with pytest.raises(IndexUnavailable) as caught:
        database.write(lambda connection: connection.exec_driver_sql("SELECT 'Doe^Jane' FROM nowhere"))
    assert "Doe" not in str(caught.value)
    assert "SELECT" not in str(caught.value)
    assert "\n" not in str(caught.value)


# -- SQLite


def test_a_database_that_somebody_holds_is_read_all_the_while_and_is_well_once_it_is_let_go(sqlite, file):
    sqlite.write(add("before"))
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(ReadableError, match="another program holds it"):
        sqlite.write(add("refused"))
    with pytest.raises(ReadableError):
        sqlite.look()
    assert isinstance(sqlite.trouble(), ReadableError)
    assert names(sqlite) == ["before"]
    holder.close()
    sqlite.look()
    assert sqlite.trouble() is None
    sqlite.write(add("after"))
    assert names(sqlite) == ["after", "before"], "what was refused has not happened, and looking leaves nothing behind"


@pytest.mark.parametrize("how", ["gone", "another"])
def test_a_file_that_is_gone_or_another_is_neither_written_nor_read_and_never_made(sqlite, file, how):
    sqlite.write(add("one"))
    file.rename(file.with_name("away"))
    if how == "another":
        file.with_name("index.db").write_bytes(b"")
    for use in (lambda: sqlite.write(add("two")), lambda: names(sqlite), sqlite.look):
        with pytest.raises(GoneError, match="not the file that was opened"):
            use()
    assert file.exists() == (how == "another")
    file.unlink(missing_ok=True)
    file.with_name("away").rename(file)
    sqlite.look()
    assert names(sqlite) == ["one"]


def test_after_it_let_go_it_writes_into_what_stands_there_then(sqlite, file):
    """And not into the file that it had open, wherever that is now."""
    sqlite.write(add("old"))
    sqlite.disconnect()
    for suffix in ("", "-wal", "-shm"):
        if Path(f"{file}{suffix}").exists():
            Path(f"{file}{suffix}").rename(f"{file}.aside{suffix}")
    assert sqlite.open()
    sqlite.write(add("new"))
    assert names(sqlite) == ["new"]
    with closing(sqlite3.connect(f"{file}.aside")) as connection:
        assert connection.execute("SELECT name FROM facts").fetchall() == [("old",)]


def test_damage_is_told_as_such(sqlite, file):
    sqlite.write(add("one"))
    sqlite.disconnect()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.truncate(file, 100)
    with pytest.raises(DamagedError, match="it is damaged"):
        sqlite.look()
    with pytest.raises(DamagedError):
        names(sqlite)


def test_many_readers_and_a_writer_at_once(sqlite):
    for number in range(300):
        sqlite.write_later(add(f"{number:03}"))
    sqlite.write(add("last"))
    with sqlite.reading() as first:
        rows = iter(first.execute(select(facts.c.name)))
        next(rows)
        with sqlite.reading() as second:
            sqlite.write(add("meanwhile"))
            assert second.execute(select(func.count()).select_from(facts)).scalar() == 302
        assert len(list(rows)) == 300, "what it began to read has not changed under it"


# -- PostgreSQL


@pytest.fixture(scope="module")
def breakable():
    with Postgres() as server:
        yield server


def test_a_server_that_says_nothing_is_not_waited_for_for_ever(breakable, monkeypatch):
    monkeypatch.setattr("scpd.index.engines.CONNECT", 2)
    monkeypatch.setattr("scpd.index.database._GLANCE", 0.5)
    monkeypatch.setattr(engines, "_ON_THE_WAY", 0.1)
    one = made(breakable.create_database())
    one.open()
    one.look()
    one.write(add("before"))
    failed: list[Exception] = []

    def write() -> None:
        try:
            one.write(add("meanwhile"))
        except IndexUnavailable as error:
            failed.append(error)

    with breakable.frozen():
        writer = threading.Thread(target=write)
        writer.start()
        with pytest.raises(IndexUnavailable, match="does not answer"):
            one.look()
        writer.join(PATIENCE)
        assert "does not answer" in str(failed[0]), "whoever waited is told, once it is known"
        with pytest.raises(IndexUnavailable, match="does not answer"):
            names(one)
    one.look()
    assert one.trouble() is None
    assert "before" in names(one)
    one.close()


def test_a_server_that_was_away_is_used_again(breakable):
    one = made(breakable.create_database())
    one.open()
    one.write(add("one"))
    breakable.stop()
    with pytest.raises(IndexUnavailable):
        one.write(add("two"))
    with pytest.raises(IndexUnavailable):
        one.look()
    breakable.start()
    one.look()
    one.write(add("three"))
    assert names(one) == ["one", "three"]
    one.close()


def test_two_that_wait_for_each_other_are_both_served(breakable):
    """PostgreSQL ends one of the two; that one does it once more."""
    url = breakable.create_database()
    first, second = made(url), made(url)
    first.open()
    second.open()
    for name in ("a", "b"):
        first.write(add(name))
    both = threading.Barrier(2)

    def change(which: Database, order: str) -> None:
        def act(connection) -> None:
            for number, name in enumerate(order):
                change = facts.update().where(facts.c.name == name)
                connection.execute(change.values(value=facts.c.value + which.marked))
                if number == 0 and not both.broken:
                    try:
                        both.wait(PATIENCE)
                    finally:
                        both.abort()

        which.write(act)

    first.marked, second.marked = "1", "2"
    threads = [threading.Thread(target=change, args=pair) for pair in ((first, "ab"), (second, "ba"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    with first.reading() as connection:
        values = connection.execute(select(facts.c.value).order_by(facts.c.name)).scalars().all()
    assert [sorted(value) for value in values] == [["1", "2", "x"]] * 2
    assert first.trouble() is second.trouble() is None
    first.close()
    second.close()
