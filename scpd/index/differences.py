"""Files and rows compared: what is of the one and not of the other. Nothing is changed."""

from __future__ import annotations

import zlib
from functools import cached_property, partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select

from scpd.errors import UnreadableDataSet
from scpd.index.entry import Scribe
from scpd.index.files import NOT_NAMEABLE, Looker, files, is_nameable, opened, status
from scpd.index.schema import instances, pending, stores
from scpd.part10 import read_head

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from scpd.index.attributes import Keeping
    from scpd.index.examining import Found
    from scpd.index.register import Register

    Comparing = Callable[[Iterable["Batch"]], Iterator[list["Difference"]]]

WITHOUT_ROW, WITHOUT_FILE = "a file without a row", "a row without a file"
ANOTHER, ALTERED = "a row of another file than this one", "a data set that is not what came"
NO_INSTANCE, NOT_READ = "a file that is no instance", "a file that cannot be read"
NOT_INDEXED = "a file that cannot be indexed"

# Files that are compared together; those that are read to their end may be large.
_TOGETHER, _READ_TOGETHER = 250, 16
_ROWS = 500
_PIECE = 1024 * 1024


class Difference(NamedTuple):
    """A path below a store, and what is wrong with it."""

    path: str
    what: str
    why: str = ""


def not_read(path: str, error: OSError) -> Difference:
    """What a path is that the system does not let us look at."""
    return Difference(path, NOT_READ, error.strerror or str(error))


class Row(NamedTuple):
    """What a row says of its file."""

    size: int
    received: float
    digest: str


Batch = list[tuple[str, Row | None]]


class Compares:
    """Compares files of a store with their rows; a process may be given it, and makes there what it needs.

    ``digests`` has it read each data set whose digest is known.
    """

    def __init__(self, directory: str, keeping: Keeping, *, digests: bool = False) -> None:
        self._directory = directory
        self._keeping = keeping
        self._digests = digests

    @cached_property
    def _looker(self) -> Looker:
        return Looker(Scribe(self._keeping), self._directory)

    def __call__(self, batch: Batch) -> list[Difference]:
        return [found for path, row in batch if (found := self._compared(path, row))]

    def _compared(self, path: str, row: Row | None) -> Difference | None:
        if not is_nameable(path):
            return Difference(path, NOT_INDEXED, NOT_NAMEABLE)
        try:
            if row is None:
                return Difference(path, WITHOUT_ROW) if self._looker.look(path) else None
            return self._changed(path, row)
        except UnreadableDataSet as error:
            return Difference(path, NO_INSTANCE, str(error))
        except OSError as error:
            return not_read(path, error)

    def _changed(self, path: str, row: Row) -> Difference | None:
        now = status(f"{self._directory}/{path}")
        if now is None:
            return None  # which the row says
        if (now.st_size, now.st_mtime) != (row.size, row.received):
            return Difference(path, ANOTHER)
        if self._digests and row.digest and _digest(f"{self._directory}/{path}") != row.digest:
            return Difference(path, ALTERED)
        return None


def differences(
    register: Register, comparing: Comparing | None = None, *, digests: bool = False
) -> Iterator[Difference]:
    """Files without rows, rows without files, and rows that are another file's, each once; what is no instance too.

    Raises :class:`~scpd.errors.IndexUnavailable`, and :class:`OSError` where the store cannot be read.
    """
    folders: list[Difference] = []
    paths = files(register.directory, failed=lambda path, error: folders.append(not_read(path, error)))
    compare = comparing or partial(map, Compares(register.directory, register.index.keeping, digests=digests))
    for found in compare(_with_rows(register, paths, _READ_TOGETHER if digests else _TOGETHER)):
        yield from filter(partial(_still, register), found)
    yield from folders
    for some in rows_in_pieces(register):
        yield from filter(partial(_still, register), filter(None, map(partial(_missing, register), some)))


def _with_rows(register: Register, paths: Iterator[str], count: int) -> Iterator[Batch]:
    while some := list(islice(paths, count)):
        rows, expected = _rows(register, some)
        yield [(path, rows.get(path)) for path in some if path not in expected]


def _rows(register: Register, paths: list[str]) -> tuple[dict[str, Row], set[str]]:
    """The rows of files, and those that are about to get their names, of which nobody can tell."""
    asked = [path for path in paths if is_nameable(path)]
    columns = (instances.c.path, instances.c.size, instances.c.received, instances.c.digest)
    of_files = select(*columns).join(stores).where(stores.c.uid == register.uid, instances.c.path.in_(asked))
    expected = select(pending.c.path).join(stores).where(stores.c.uid == register.uid, pending.c.path.in_(asked))
    with register.index.database.reading() as connection:
        rows = {path: Row(*rest) for path, *rest in connection.execute(of_files)}
        return rows, set(connection.execute(expected).scalars())


def _missing(register: Register, path: str) -> Difference | None:
    """What is wrong with the path of a row, where there is no file of it."""
    try:
        return None if status(f"{register.directory}/{path}") else Difference(path, WITHOUT_FILE)
    except OSError as error:
        return not_read(path, error)


def _still(register: Register, found: Difference) -> bool:
    """Whether it still is so; somebody may store meanwhile."""
    if found.what not in (ANOTHER, WITHOUT_FILE):
        return True
    rows, expected = _rows(register, [found.path])
    if found.path in expected or found.path not in rows:
        return False
    if found.what == WITHOUT_FILE:
        return _missing(register, found.path) is not None
    return bool(Compares(register.directory, register.index.keeping)([(found.path, rows[found.path])]))


def why_not(found: Found) -> Difference:
    """Why a file was not written down."""
    path = found.note.path
    what = NOT_READ if found.stays else NO_INSTANCE if is_nameable(path) else NOT_INDEXED
    return Difference(path, what, found.why)


def rows_in_pieces(register: Register) -> Iterator[list[str]]:
    """The paths of all rows of a store, some at a time, but those that are about to get their files."""
    with register.index.database.reading() as connection:
        place = connection.execute(select(stores.c.id).where(stores.c.uid == register.uid)).scalar()
    waits = select(pending.c.path).where(pending.c.store == place)
    statement = select(instances.c.path).where(instances.c.store == place).order_by(instances.c.path).limit(_ROWS)
    last = ""
    while place is not None:
        with register.index.database.reading() as connection:
            paths = list(connection.execute(statement.where(instances.c.path > last)).scalars())
            expected = set(connection.execute(waits).scalars())
        if not paths:
            return
        last = paths[-1]
        yield [path for path in paths if path not in expected]


def _digest(path: str) -> str:
    """The CRC-32 of a data set, read to its end, as eight hexadecimal digits."""
    buffer, digest = memoryview(bytearray(_PIECE)), 0
    with opened(path) as file:
        file.seek(read_head(file).data_set_offset)
        while count := file.readinto(buffer):  # type: ignore[attr-defined]
            digest = zlib.crc32(buffer[:count], digest)
    return f"{digest:08x}"
