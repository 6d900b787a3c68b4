"""User names and passcodes from a file (PS3.7 D.3.3.7, form 2; PS3.15 B.5)."""

from __future__ import annotations

import base64
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import argon2

from scpd.errors import NotVerified, Unavailable
from scpd.identity.claim import LONGEST_NAME, Claim, Form, User
from scpd.identity.password_file import HASHER, read
from scpd.identity.watched import Watched
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
        self._users = Watched(file, _read, "what stood there before stays in force")
        self._look()

    def verify(self, claim: Claim) -> User:
        """See :class:`~scpd.identity.claim.Provider`. Takes the same time whether or not there is such a user."""
        if len(claim.primary) > LONGEST_NAME:
            raise NotVerified("the user name is longer than any in a file")
        try:
            name = claim.primary.decode()
        except UnicodeDecodeError:
            raise NotVerified("the user name is not UTF-8") from None
        entry = self._look().get(name)
        compare = entry.hash if entry else self._nobody
        fits = self._pool.run(lambda: _fits(compare, claim.secondary))
        shown = quote(name)
        if entry is None:
            raise NotVerified(f"{self._file} has no user {shown}", shown)
        if not fits:
            raise NotVerified(f"the passcode of user {shown} is wrong", shown)
        return User(name, entry.roles)

    def _look(self) -> Mapping[str, Entry]:
        users, self._nobody, exposed = self._users.current()
        self.warning = self._users.warning or exposed
        return users


class _Users(NamedTuple):
    entries: Mapping[str, Entry]
    nobody: str
    exposed: str


def _read(file: Path) -> _Users:
    users = read(file)
    return _Users(users, _hash_of_nobody(users), _exposed(file))


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
