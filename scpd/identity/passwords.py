"""User names and passcodes from a file (PS3.7 D.3.3.7, form 2; PS3.15 B.5)."""

from __future__ import annotations

import base64
import os
import stat
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import argon2

from scpd.errors import NotVerified, SettingError, Unavailable
from scpd.identity.claim import Claim, Form, User
from scpd.identity.password_file import HASHER, read
from scpd.names import quote

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from scpd.identity.password_file import Entry
    from scpd.identity.pool import Pool


class Passwords:
    """The users of one file, which is read again when it has changed.

    Raises :class:`SettingError` when the file cannot be used at the start. A file that is broken later leaves those in
    force that were read before, and says so in ``warning``.
    """

    forms: frozenset[int] = frozenset((Form.PASSCODE,))

    def __init__(self, file: Path, pool: Pool) -> None:
        self._file = file
        self._pool = pool
        self._lock = threading.Lock()
        self._state = _state(file)
        self._users: Mapping[str, Entry] = read(file)
        self.warning = _exposed(file)
        self._nobody = _hash_of_nobody(self._users)

    def verify(self, claim: Claim) -> User:
        """See :class:`~scpd.identity.claim.Provider`. Takes the same time whether or not there is such a user."""
        try:
            name = claim.primary.decode()
        except UnicodeDecodeError:
            raise NotVerified("the user name is not UTF-8") from None
        self._read_again()
        entry = self._users.get(name)
        compare = entry.hash if entry else self._nobody
        fits = self._pool.run(lambda: _fits(compare, claim.secondary))
        shown = quote(name)
        if entry is None:
            raise NotVerified(f"{self._file} has no user {shown}", shown)
        if not fits:
            raise NotVerified(f"the passcode of user {shown} is wrong", shown)
        return User(name, entry.roles)

    def _read_again(self) -> None:
        with self._lock:
            state = _state(self._file)
            if state == self._state:
                return
            self._state = state
            try:
                self._users = read(self._file)
            except SettingError as error:
                self.warning = f"{error.what}; what stood there before stays in force"
            else:
                self.warning = _exposed(self._file)
                self._nobody = _hash_of_nobody(self._users)


def _exposed(file: Path) -> str:
    """Whoever reads the hashes can try passcodes for as long as they like."""
    with suppress(OSError):
        if file.stat().st_mode & stat.S_IROTH:
            return f"{file} is readable by every user of this machine; chmod o-r {file}"
    return ""


def _fits(hash_: str, passcode: bytes) -> bool:
    try:
        return HASHER.verify(hash_, passcode)
    except argon2.exceptions.VerifyMismatchError:
        return False
    except argon2.exceptions.VerificationError as error:  # out of memory
        raise Unavailable(f"a passcode could not be compared: {error}") from error


def _hash_of_nobody(users: Mapping[str, Entry]) -> str:
    """A hash that no passcode has, as costly as those of the file."""
    like = next((entry.hash for entry in users.values()), None)
    parameters = like.rsplit("$", 2)[0] if like else f"$argon2id$v=19$m={HASHER.memory_cost},t={HASHER.time_cost},p=1"
    salt, digest = (base64.b64encode(os.urandom(size)).decode().rstrip("=") for size in (16, 32))
    return f"{parameters}${salt}${digest}"


def _state(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
