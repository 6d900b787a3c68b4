"""What the tests of the index may use: a PostgreSQL of their own, and empty databases of either kind.

- ``postgres`` is the server of the whole session; who stops or breaks one makes one of its own
- ``database_url`` is that of an empty database: the test runs once with SQLite, and once with PostgreSQL
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from components.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'index' / 'index.db'}"
    return request.getfixturevalue("postgres").create_database()
