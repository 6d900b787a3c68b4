"""The storage directories that an index knows: by what their marker says, so that each may be mounted anywhere.

Another mark in a store names a database that has heard of all its files, by its address and a name of its own. It goes
before anything is stored that this database does not hear of; where it is missing, the index is made anew.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import postgresql, sqlite

from scpd.index.schema import stores

if TYPE_CHECKING:
    from collections.abc import Container

    from sqlalchemy import Connection

MARKER = ".scpd-store"
# Where what is kept beside the files is, with a mark for each database that has heard of all of them.
FOLDER = ".index"
_COMPLETE = "complete-"
_UID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_INSERT = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def store_uid(directory: Path) -> str:
    """What names a storage directory for ever; written into it where it has none. Raises :class:`OSError`."""
    marker = directory / MARKER
    for _ in range(2):
        try:
            found = marker.read_text("ascii", "replace").strip()
        except FileNotFoundError:
            _mark(marker)
            continue
        if _UID.fullmatch(found):
            return found
        raise OSError(22, f"{MARKER} is not what scpd wrote into it; remove it, and run scpd index rebuild")
    raise OSError(2, f"{MARKER} cannot be kept")


def _mark(marker: Path) -> None:
    """Whole or not at all, and never in place of another's."""
    temporary = marker.with_name(f"{MARKER}-{secrets.token_hex(4)}")
    try:
        _write(temporary, f"{secrets.token_hex(16)}\n")
        os.link(temporary, marker)
    except FileExistsError:
        return
    finally:
        temporary.unlink(missing_ok=True)
    _sync(marker.parent)


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    try:
        os.write(descriptor, text.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(directory: Path) -> None:
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def is_complete(directory: str, index: str) -> bool:
    """Whether the database of this name has heard of every file of a store, as far as is known."""
    return bool(index) and Path(directory, FOLDER, f"{_COMPLETE}{index}").exists()


def set_complete(directory: str, index: str) -> None:
    """It has. Raises :class:`OSError`."""
    mark = Path(directory, FOLDER, f"{_COMPLETE}{index}")
    mark.parent.mkdir(0o750, exist_ok=True)
    mark.touch(0o640)
    _sync(mark.parent)


def set_incomplete(directory: str, but: Container[str] = ()) -> None:
    """From now on files are stored that only the databases at these addresses hear of. Raises :class:`OSError`."""
    folder = Path(directory, FOLDER)
    marks = [mark for mark in folder.glob(f"{_COMPLETE}*") if mark.name.split("-")[1] not in but]
    for mark in marks:
        mark.unlink(missing_ok=True)
    if marks:
        _sync(folder)


def _are_two(uid: str, known: str, directory: str) -> bool:
    """Whether a store stands at two places, and not one that was moved, or is seen from two."""
    try:
        is_there = Path(known, MARKER).read_text("ascii", "replace").strip() == uid
        return is_there and not Path(known).samefile(directory)
    except OSError:
        return False


class Places:
    """Where the stores are that this process has open, and their numbers in the database."""

    def __init__(self) -> None:
        self._directories: dict[str, str] = {}
        self._numbers: dict[str, int] = {}

    def know(self, uid: str, directory: str) -> None:
        """A store is open, at an absolute path. Raises :class:`OSError` for a copy of one that is open too."""
        known = self._directories.get(uid, directory)
        if known != directory and _are_two(uid, known, directory):
            raise OSError(errno.EEXIST, f"it is a copy of {known}; remove {MARKER} from one of them")
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
