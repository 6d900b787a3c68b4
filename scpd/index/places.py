"""The storage directories that an index knows: by what their marker says, so that each may be mounted anywhere."""

from __future__ import annotations

import os
import re
import secrets
from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import postgresql, sqlite

from scpd.index.schema import stores

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

MARKER = ".scpd-store"
_UID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_INSERT = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def store_uid(directory: Path) -> str:
    """What names a storage directory for ever; written into it where it has none. Raises :class:`OSError`."""
    marker = directory / MARKER
    for _ in range(2):
        try:
            found = marker.read_text("ascii", "replace").strip()
        except FileNotFoundError:
            _write(marker)
            continue
        if _UID.fullmatch(found):
            return found
        raise OSError(22, f"{MARKER} is not what scpd wrote into it; remove it, and run scpd index rebuild")
    raise OSError(2, f"{MARKER} cannot be kept")


def _write(marker: Path) -> None:
    """Whole or not at all, and never in place of another's."""
    temporary = marker.with_name(f"{MARKER}-{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    try:
        os.write(descriptor, f"{secrets.token_hex(16)}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(temporary, marker)
    except FileExistsError:
        return
    finally:
        temporary.unlink()
    folder = os.open(marker.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Places:
    """Where the stores are that this process has open, and their numbers in the database."""

    def __init__(self) -> None:
        self._directories: dict[str, str] = {}
        self._numbers: dict[str, int] = {}

    def know(self, uid: str, directory: str) -> None:
        """A store is open, at an absolute path."""
        self._directories[uid] = directory

    def path(self, uid: str, recorded: str, path: str) -> str:
        """The absolute path of a file; of a store that is not open here, where somebody else has it."""
        return f"{self._directories.get(uid, recorded)}/{path}"

    def number(self, connection: Connection, uid: str) -> int:
        """The number of a store; it gets one where it has none."""
        known = self._numbers.get(uid)
        if known is None:
            insert: Any = _INSERT[connection.dialect.name](stores)
            directory = self._directories.get(uid, "")
            statement = insert.values(uid=uid, directory=directory).on_conflict_do_update(
                index_elements=("uid",), set_={"directory": directory}
            )
            known = self._numbers[uid] = int(connection.execute(statement.returning(stores.c.id)).scalar_one())
        return known

    def forget(self) -> None:
        """Somebody else may have changed the database."""
        self._numbers.clear()
