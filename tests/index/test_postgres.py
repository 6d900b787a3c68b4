"""The PostgreSQL that the tests run against: it can be used, broken and mended, and leaves nothing behind."""

from __future__ import annotations

import os

import psycopg
import pytest
import sqlalchemy
from components.postgres import PASSWORD, Postgres

SOON = {"connect_timeout": 10}


@pytest.fixture(scope="module")
def postgres():
    with Postgres() as server:
        yield server


def test_a_database_by_psycopg(postgres):
    with psycopg.connect(postgres.create_database("hospital"), **SOON) as connection:
        assert connection.execute("SELECT current_database(), 'Grüße, 山田'").fetchone() == ("hospital", "Grüße, 山田")
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)
        assert connection.execute("SHOW fsync").fetchone() == ("off",)


def test_a_database_by_sqlalchemy(postgres):
    url = sqlalchemy.make_url(postgres.create_database()).set(drivername="postgresql+psycopg")
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("CREATE TABLE one (value integer)"))
            connection.execute(sqlalchemy.text("INSERT INTO one VALUES (:value)"), [{"value": 1}, {"value": 2}])
            assert connection.scalar(sqlalchemy.text("SELECT sum(value) FROM one")) == 3
    finally:
        engine.dispose()


def test_each_database_is_empty_and_its_own(postgres):
    first, second = postgres.create_database(), postgres.create_database()
    assert first != second
    with psycopg.connect(first, **SOON) as connection:
        connection.execute("CREATE TABLE one (value integer)")
    with psycopg.connect(second, **SOON) as connection:
        assert connection.execute("SELECT to_regclass('one')").fetchone() == (None,)


def test_a_dropped_database_is_gone_for_who_used_it_too(postgres):
    url = postgres.create_database("short_lived")
    with psycopg.connect(url, **SOON) as connection:
        postgres.drop_database("short_lived")
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url, **SOON)


def test_nobody_comes_in_without_the_password(postgres):
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres.url().replace(PASSWORD, "wrong"), **SOON)


@pytest.mark.parametrize("end", [Postgres.stop, Postgres.crash], ids=["stop", "crash"])
def test_it_comes_back_on_its_port_with_what_was_committed(postgres, end):
    url = postgres.create_database()
    with psycopg.connect(url, **SOON) as connection:
        connection.execute("CREATE TABLE one AS SELECT 1 AS value")
        connection.commit()
        end(postgres)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(url, **SOON)
    postgres.start()
    with psycopg.connect(url, **SOON) as connection:
        assert connection.execute("SELECT value FROM one").fetchone() == (1,)


def test_frozen_it_says_nothing_to_old_and_new_connections_and_then_goes_on(postgres):
    with psycopg.connect(postgres.url(), **SOON) as connection:
        with postgres.frozen():
            connection.pgconn.send_query(b"SELECT 'late'")
            with pytest.raises(psycopg.errors.ConnectionTimeout):
                psycopg.connect(postgres.url(), connect_timeout=2)
            connection.pgconn.consume_input()
            assert connection.pgconn.is_busy(), "the old connection was answered"
        assert connection.pgconn.get_result().get_value(0, 0) == b"late"
        while connection.pgconn.get_result():
            pass
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_frozen_one_can_be_ended_and_nothing_is_left():
    with Postgres() as server:
        folder, pid = server.folder, server._process.pid
        server.freeze()
        server.crash()
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
