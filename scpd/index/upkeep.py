"""Keeps an index as it should be: opens it, catches up with what was left, mends it, and follows what is deferred.

A thread of its own, since all of it may wait for a database that is locked, frozen or away. It comes back by itself:
one that is damaged is set aside, and one that is new to files that are there already is made from them.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet

from sqlalchemy import select

from scpd.errors import IndexUnavailable
from scpd.index.database import DamagedError, GoneError, UnusableError
from scpd.index.examining import examine, write_down
from scpd.index.files import files
from scpd.index.rebuild import Rebuild, differences
from scpd.index.register import Note
from scpd.index.schema import pending, stores
from scpd.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scpd.index.index import Index
    from scpd.index.register import Register

# Files that are written down together, and how often to look without being called (seconds).
_TOGETHER = 250
_LOOKS, _PAUSE = 5.0, 1.0
# A file that was about to get its name so long ago has it, or never will (seconds).
_OVERDUE = 600.0
_BETWEEN_SWEEPS = 60.0
_SUFFIXES = ("", "-wal", "-shm")


class Upkeep:
    """Looks after one index and the stores that it writes down, from :meth:`start` until :meth:`close`."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._log = logger("index")
        self._registers: dict[str, Register] = {}
        self._wanted = threading.Event()
        self._opened = threading.Event()
        self._is_over = self._is_retired = False
        self._users: WeakSet[object] = WeakSet()
        self._failure = ""
        self._device: int | None = None
        self._swept = 0.0
        self._began = time.time()
        self._unusable: UnusableError | None = None
        self._said = ""
        self._thread = threading.Thread(target=self._look_after, name="index", daemon=True)

    def keep(self, registers: Iterable[Register]) -> None:
        """These are the stores from now on."""
        for register in registers:
            known = self._registers.setdefault(register.uid, register)
            known.call = self._wanted.set
        self._wanted.set()

    def hold(self, user: object) -> None:
        """Whoever writes, which may outlast the configuration."""
        self._users.add(user)

    def retire(self) -> None:
        """No configuration has it any more: end once nobody writes."""
        self._is_retired = True
        self._wanted.set()

    def start(self, patience: float) -> None:
        """Begin; waits up to ``patience`` seconds until it is open. Raises :class:`UnusableError`."""
        if not self._thread.ident:
            self._thread.start()
        self._opened.wait(patience)
        if self._unusable:
            raise self._unusable

    def trouble(self) -> str:
        """Why it cannot be written, or not be asked, or nothing; waits for nothing."""
        return self._failure or self.index.trouble()

    @property
    def waiting(self) -> int:
        """How many files have yet to be written down."""
        return sum(register.waiting for register in self._registers.values())

    def close(self, patience: float) -> None:
        """End it; what is deferred is written down, within ``patience`` seconds, or with the next start."""
        deadline = time.monotonic() + patience
        self._is_over = True
        self._wanted.set()
        if self._thread.ident:
            self._thread.join(max(0.0, deadline - time.monotonic()))
        self._give_back(max(0.1, deadline - time.monotonic()))

    def _give_back(self, patience: float) -> None:
        self.index.database.close(patience)
        for register in self._registers.values():
            register.close()

    # -- the thread

    def _look_after(self) -> None:
        while not self._is_over or (self.waiting and not self._failure):
            self._wanted.clear()
            try:
                self._do_all()
                self._failure = ""
            except UnusableError as error:
                self._unusable = error
                self._failed(error)
            except (DamagedError, GoneError) as error:
                self._failed(error)
                self._mend(error)
            except IndexUnavailable as error:
                self._failed(error)
            self._opened.set()
            if self._is_retired and not self._users and not self.waiting:
                self._is_over = True
                self._give_back(_PAUSE)
            if not self._is_over:
                self._wanted.wait(_PAUSE if self._failure else _LOOKS)

    def _failed(self, error: IndexUnavailable) -> None:
        self._failure = str(error)
        if self._failure != self._said:
            self._said = self._failure
            self._log.error("the index is in trouble", why=self._failure)

    def _do_all(self) -> None:
        if self._device is None:
            self._open()
        elif self._failure or self.index.database.trouble():
            self.index.database.look()
        if self._said:
            self._said = ""
            self._log.info("the index is well again")
        for register in list(self._registers.values()):
            if not register.is_recovered:
                self._recover(register)
        self._follow()
        if time.monotonic() - self._swept > _BETWEEN_SWEEPS:
            self._sweep()

    def _open(self) -> None:
        is_new = self.index.open()
        self._device = _device(self.index.database.file)
        if is_new:
            for register in self._registers.values():
                register.is_recovered = False
        self._log.debug("the index is open", is_new=is_new)

    def _recover(self, register: Register) -> None:
        """After a start: what a crash left half-done, or all of it where nothing is known of the store."""
        rebuild = Rebuild(register, lambda: not self._is_over)
        if rebuild.is_underway() or self._is_unknown(register):
            self._opened.set()
            self._rebuild(rebuild, register)
        else:
            self._settle(register, self._pending(register, self._began if register.is_alone else _overdue()))
            left, is_cut = register.left()
            self._settle(register, [Note(path) for path in left])
            if is_cut:
                self._opened.set()
                self._settle(register, (Note(one.path) for one in differences(register)))
        if not self._is_over:
            register.recovered()

    def _is_unknown(self, register: Register) -> bool:
        """Whether there are files, and the index has never heard of their store."""
        with self.index.database.reading() as connection:
            known = connection.execute(select(stores.c.id).where(stores.c.uid == register.uid)).scalar()
        return known is None and next(iter(files(register.directory)), None) is not None

    def _rebuild(self, rebuild: Rebuild, register: Register) -> None:
        self._log.warning("the index is made anew from the files", directory=register.directory)

        def tell(_: object) -> None:
            self.index.unfinished = f"the index is made anew: {rebuild.progress.files} files so far"

        tell(None)
        if rebuild.run(told=tell):
            self.index.unfinished = ""
            self._log.info("the index is made anew", directory=register.directory, **rebuild.progress._asdict())

    def _settle(self, register: Register, notes: Iterable[Note]) -> None:
        batch: list[Note] = []
        for note in notes:
            batch.append(note)
            if len(batch) == _TOGETHER:
                write_down(register, [examine(register, one) for one in batch])
                batch = []
        write_down(register, [examine(register, one) for one in batch])

    def _pending(self, register: Register, before: float) -> list[Note]:
        statement = select(pending.c.path, pending.c.id).join(stores)
        with self.index.database.reading() as connection:
            rows = connection.execute(statement.where(stores.c.uid == register.uid, pending.c.since < before))
            return [Note(path, number) for path, number in rows]

    def _follow(self) -> None:
        """Write down what waits."""
        for register in list(self._registers.values()):
            while notes := register.take(_TOGETHER):
                try:
                    write_down(register, [examine(register, note) for note in notes])
                except IndexUnavailable:
                    register.give_back(notes)
                    raise
                register.done(notes)

    def _sweep(self) -> None:
        self._swept = time.monotonic()
        for register in list(self._registers.values()):
            self._settle(register, self._pending(register, _overdue()))

    def _mend(self, error: IndexUnavailable) -> None:
        """A database that is of no use any more makes room for a new one, which is made from the files."""
        database = self.index.database
        file = Path(database.file)
        if not database.is_sqlite or (self._device is not None and _device(str(file)) != self._device):
            return  # an empty mount point is no place for a new one
        database.disconnect()
        with suppress(OSError):
            if isinstance(error, DamagedError):
                stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
                for suffix in _SUFFIXES:
                    with suppress(FileNotFoundError):
                        file.with_name(file.name + suffix).rename(f"{file}.damaged-{stamp}{suffix}")
                self._log.error("the index is set aside", why=str(error), file=f"{file}.damaged-{stamp}")
            else:
                for suffix in _SUFFIXES[1:] if not file.exists() else ():
                    file.with_name(file.name + suffix).unlink(missing_ok=True)
        self._device = None
        database.forget_place()
        self._wanted.set()


def _overdue() -> float:
    return time.time() - _OVERDUE


def _device(file: str) -> int | None:
    """The file system that a file of SQLite is on; 0 for another database."""
    if not file or not Path(file).is_absolute():
        return 0
    try:
        return Path(file).parent.stat().st_dev
    except OSError:
        return None
