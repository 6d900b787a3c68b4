"""Keeps an index as it should be: opens it, catches up with what was left, mends it, and follows what is deferred.

A thread of its own, since all of it may wait for a database that is locked, frozen or away. It comes back by itself:
one that is damaged is set aside, and one that does not know all the files of a store is made anew from them.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from typing import TYPE_CHECKING

from sqlalchemy import select

from scpd.errors import IndexUnavailable
from scpd.index.catching_up import CatchingUp
from scpd.index.differences import differences
from scpd.index.files import files
from scpd.index.mending import Place
from scpd.index.places import set_incomplete
from scpd.index.rebuild import Rebuild
from scpd.index.register import Note
from scpd.index.schema import facts, instances, stores
from scpd.index.troubles import DamagedError, GoneError, UnusableError
from scpd.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Connection

    from scpd.index.index import Index
    from scpd.index.register import Register

# How often to look without being called, and how soon where something is wrong (seconds).
_LOOKS, _PAUSE = 5.0, 1.0
_BETWEEN_SWEEPS = 60.0
# What names the database, among the facts in it.
_DATABASE = facts.c.name == "database"


class Upkeep:
    """Looks after one index and the stores that it writes down, from :meth:`start` until :meth:`close`."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._log = logger("index")
        self._lock = threading.Lock()
        self._kept: list[Register] = []
        self._former: list[Register] = []
        # New ones, whose stores are written to by others too, until when, and since when.
        self._late: dict[Register, tuple[Callable[[], bool], float]] = {}
        self._wanted = threading.Event()
        self._opened = threading.Event()
        self._is_over = self._is_retired = False
        self._failure = ""
        self._said = ""
        self._place: Place | None = None
        self._name = ""
        self._looked = self._swept = 0.0
        self._catching_up = CatchingUp(index.database)
        self._unusable: UnusableError | None = None
        index.database.alarm = self._wanted.set
        self._thread = threading.Thread(target=self._look_after, name="index", daemon=True)

    @property
    def address(self) -> str:
        """What tells this database from others, without a secret in it."""
        shown = self.index.database.url.render_as_string(hide_password=True)
        return hashlib.sha256(shown.encode("utf-8", "replace")).hexdigest()[:16]

    def keep(self, registers: Iterable[Register], is_past: Callable[[], bool] = lambda: True) -> None:
        """These are the stores from now on. Until ``is_past`` somebody may store there whom no new one hears."""
        with self._lock:
            before, self._kept = self._kept, list(registers)
            self._former += [one for one in before if one not in self._kept]
            for register in self._kept:
                register.call = self._wanted.set
                if register not in before and not is_past():
                    self._late[register] = is_past, time.time()
        self._wanted.set()

    def retire(self) -> None:
        """No configuration has it any more: end once nobody writes."""
        self.keep(())
        self._is_retired = True
        self._wanted.set()

    def start(self, patience: float) -> None:
        """Begin; waits up to ``patience`` seconds until it is open.

        Raises :class:`UnusableError`, and :class:`RuntimeError` where the system has no thread left.
        """
        if not self._thread.ident:
            self._thread.start()
        self._opened.wait(patience)
        if self._unusable:
            raise self._unusable

    def trouble(self) -> str:
        """Why it cannot be written, or not be asked, or does not know all yet, or nothing; waits for nothing."""
        behind = any(not register.is_recovered for register in self._registers)
        return self._failure or self.index.trouble() or ("it is compared with the files" if behind else "")

    @property
    def waiting(self) -> int:
        """How many files have yet to be written down."""
        return sum(register.waiting for register in self._registers)

    @property
    def is_behind(self) -> bool:
        """Whether there may be files that the database does not know yet."""
        return any(one.waiting or not one.is_recovered for one in self._registers) or bool(self._late)

    @property
    def is_alive(self) -> bool:
        """Whether it has not come to its end."""
        return self._thread.is_alive()

    def end(self) -> None:
        """Come to an end; :meth:`close` waits for it."""
        self._is_over = True
        self._wanted.set()

    def close(self, patience: float) -> None:
        """End it; what is deferred is written down, within ``patience`` seconds, or with the next start."""
        deadline = time.monotonic() + patience
        self.end()
        if self._thread.ident:
            self._thread.join(max(0.0, deadline - time.monotonic()))
        self._give_back(max(0.1, deadline - time.monotonic()))

    @property
    def _registers(self) -> list[Register]:
        with self._lock:
            return [*self._kept, *self._former]

    def _give_back(self, patience: float) -> None:
        self.index.database.close(patience)
        for register in self._registers:
            register.close()

    # -- the thread

    def _look_after(self) -> None:
        while not self._is_over or (self.waiting and not self._failure):
            self._wanted.clear()
            self._try()
            self._opened.set()
            self._let_go()
            if not self._is_over:
                self._wanted.wait(_PAUSE if self._failure else _LOOKS)
        if self._is_retired:
            self._give_back(_PAUSE)

    def _try(self) -> None:
        try:
            try:
                self._do_all()
                self._failure = ""
            except (DamagedError, GoneError) as error:
                self._failed(error)
                self._mend(error)
        except IndexUnavailable as error:
            self._unusable = error if isinstance(error, UnusableError) else None
            self._failed(error)
        except OSError as error:
            self._failed(IndexUnavailable(f"the files cannot be read: {error.strerror or error}"))
        except Exception as error:  # noqa: BLE001 of a driver; without this thread the index would be lost for good
            self._failed(IndexUnavailable(f"{type(error).__name__}: {error}"))

    def _failed(self, error: IndexUnavailable) -> None:
        self._failure = str(error)
        if self._failure != self._said:
            self._said = self._failure
            self._log.error("the index is in trouble", why=self._failure)

    def _do_all(self) -> None:
        if self._place is None:
            self._open()
        elif self._failure or self.index.database.trouble() or time.monotonic() - self._looked > _LOOKS:
            self.index.database.look()
            self._looked = time.monotonic()
        if self._said:
            self._said = ""
            self._log.info("the index is well again")
        for register in self._registers:
            if not register.is_recovered:
                self._recover(register)
        self._follow()
        self._hear_late()
        if time.monotonic() - self._swept > _BETWEEN_SWEEPS:
            self._swept = time.monotonic()
            for register in self._registers:
                self._catching_up.sweep(register)

    def _open(self) -> None:
        is_new = self.index.open()
        self._name = f"{self.address}-{self.index.database.write(_named)}"
        self._place = Place(self.index.database.file)
        for register in self._registers:
            register.is_recovered = False
        self._log.debug("the index is open", is_new=is_new)

    def _mend(self, error: IndexUnavailable) -> None:
        """A database that is of no use any more makes room for a new one, which is made from the files."""
        directories = [register.directory for register in self._registers]
        if self.index.database.is_sqlite:
            place, is_damaged = self._place or Place(self.index.database.file), isinstance(error, DamagedError)
            if not place.is_there(directories):
                return  # an empty mount point is no place for a new one
            if is_damaged and not self._place and not place.bears_our_name:
                raise UnusableError("it is no database; name another file")
            self.index.database.disconnect()
            if aside := place.clear(is_damaged=is_damaged):
                self._log.error("the index is set aside", why=str(error), file=aside)
        for directory in directories:
            set_incomplete(directory)
        self._place = None
        self._wanted.set()

    # -- what was left

    def _recover(self, register: Register) -> None:
        """After a start: what a crash left half-done, or all of it where the database does not know all files."""
        self._catching_up.settle_left(register)
        is_cut = self._catching_up.take_over(register)
        rebuild, is_complete = Rebuild(register, lambda: not self._is_over), register.is_complete(self._name)
        if is_complete:
            self._late.pop(register, None)
        if rebuild.is_underway() or (not is_complete and self._is_filled(register)):
            self._opened.set()
            self._rebuild(rebuild, register)
        elif is_cut:
            self._opened.set()
            self._catching_up.settle(register, (Note(one.path) for one in differences(register)))
        if not self._is_over:
            register.recovered("" if register in self._late else self._name)

    def _is_filled(self, register: Register) -> bool:
        """Whether there is a file, or a row."""
        of_store = select(instances.c.id).join(stores).where(stores.c.uid == register.uid).limit(1)
        with self.index.database.reading() as connection:
            known = connection.execute(of_store).scalar()
        return known is not None or next(iter(files(register.directory)), None) is not None

    def _rebuild(self, rebuild: Rebuild, register: Register) -> None:
        self._log.warning("the index is made anew from the files", directory=register.directory)

        def tell(_: object) -> None:
            self.index.unfinished = f"the index is made anew: {rebuild.progress.files} files so far"
            self._follow()

        tell(None)
        if rebuild.run(told=tell):
            self.index.unfinished = ""
            self._log.info("the index is made anew", directory=register.directory, **rebuild.progress._asdict())

    def _follow(self) -> None:
        for register in self._registers:
            self._catching_up.follow(register)

    def _hear_late(self) -> None:
        """What was stored by those who served before there was this index, once they are gone."""
        for register, (is_past, since) in list(self._late.items()):
            if register.is_recovered and is_past():
                self._catching_up.hear_late(register, since)
                register.recovered(self._name)
                del self._late[register]

    def _let_go(self) -> None:
        """Of stores that no configuration has any more, and nobody stores in; with the last one it is over."""
        with self._lock:
            idle = [register for register in self._former if register.is_idle]
            self._former = [register for register in self._former if register not in idle]
            self._is_over = self._is_over or (self._is_retired and not self._former)
        for register in idle:
            register.close()
            self._late.pop(register, None)


def _named(connection: Connection) -> str:
    """What names a database for ever."""
    known = connection.execute(select(facts.c.value).where(_DATABASE)).scalar()
    if known is None:
        known = secrets.token_hex(16)
        connection.execute(facts.insert().values(name="database", value=known))
    return str(known)
