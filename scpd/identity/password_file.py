"""A file of users and the hashes of their passcodes: ``user:hash`` a line, or ``user:hash:role,role``.

A hash is argon2id in its usual text. The file is only ever replaced as a whole.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import argon2

from scpd.errors import SettingError
from scpd.names import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LARGEST_FILE = 16 * 1024 * 1024
# 19 MiB and two passes on one lane: some 30 ms of one processor, and several at once leave a small machine its memory.
HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_MOST_MEMORY = 1024 * 1024  # KiB
_MOST_PASSES = 100
_HASH = re.compile(
    r"\$argon2id\$v=19\$m=(?P<memory>[0-9]{1,9}),t=(?P<passes>[0-9]{1,9}),p=[0-9]{1,3}\$[\w+/]{8,}\$[\w+/]{8,}",
    re.ASCII,
)
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f:#\u2028\u2029][^\x00-\x1f\x7f-\x9f:\u2028\u2029]{0,255}")
_ROLE = re.compile(r"[^\x00-\x1f\x7f:,\s]{1,64}")
_MODE = 0o640


class Entry(NamedTuple):
    """A line of the file."""

    hash: str
    roles: frozenset[str] = frozenset()


def hashed(passcode: str) -> str:
    """The text that stands for ``passcode`` in a file."""
    return HASHER.hash(passcode)


def parse(text: str) -> dict[str, Entry]:
    """The users in the text of a file; empty lines and lines that begin with ``#`` say nothing.

    Raises :class:`ValueError` that names the line and never what stands in it.
    """
    users: dict[str, Entry] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.strip("\r").partition(":")
        hash_, _, roles = rest.partition(":")
        if name in users:
            raise ValueError(f"line {number} repeats the user of a line before it; keep one of the two")
        if not is_name(name):
            raise ValueError(f"line {number} is not user:hash; write it with scpd passwd")
        users[name] = Entry(_usable(hash_, number), _roles(roles, number))
    return users


def is_name(name: str) -> bool:
    """Whether ``name`` can be a user's: 1 to 256 characters, no colon, no control characters, no ``#`` in front."""
    return _NAME.fullmatch(name) is not None and name == name.strip()


def parse_role(role: str) -> str:
    """A role: 1 to 64 characters without colons, commas and spaces. Raises :class:`ValueError`."""
    if not _ROLE.fullmatch(role):
        raise ValueError(f"{quote(role)} is no role; write 1 to 64 characters without colons, commas and spaces")
    return role


def _usable(hash_: str, number: int) -> str:
    found = _HASH.fullmatch(hash_)
    if not found:
        raise ValueError(f"line {number} holds no argon2id hash; write it with scpd passwd")
    if int(found["memory"]) > _MOST_MEMORY or int(found["passes"]) > _MOST_PASSES:
        raise ValueError(f"line {number} holds a hash that takes too long to compare; write it anew with scpd passwd")
    return hash_


def _roles(roles: str, number: int) -> frozenset[str]:
    try:
        return frozenset(parse_role(role) for role in roles.split(",") if roles)
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from None


def read(file: Path) -> dict[str, Entry]:
    """The users of ``file``. Raises :class:`SettingError` for the key ``file``."""
    try:
        with file.open("rb") as stream:
            raw = stream.read(_LARGEST_FILE + 1)
    except OSError as error:
        advice = "write it with scpd passwd, readable for the user scpd runs as"
        raise SettingError("file", f"{file} cannot be read ({error.strerror}); {advice}") from None
    if len(raw) > _LARGEST_FILE:
        raise SettingError("file", f"{file} is longer than {_LARGEST_FILE} bytes; name a file of users")
    try:
        return parse(raw.decode())
    except UnicodeDecodeError:
        raise SettingError("file", f"{file} is not UTF-8 text; write it with scpd passwd") from None
    except ValueError as error:
        raise SettingError("file", f"{file}: {error}") from None


def change(file: Path, name: str, becomes: Callable[[Entry | None], Entry | None]) -> Entry | None:
    """Make of the entry of ``name`` what ``becomes`` says, None is none; other lines stay as they are.

    Returns what the entry was. The file is made where there is none, readable for its group and nobody else. Raises
    :class:`SettingError` where it cannot be read or holds something else, and :class:`OSError` where it cannot be
    written.
    """
    with _alone(file.parent):
        there = file.exists()
        was = read(file).get(name) if there else None
        lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n") if there else []
        entry = becomes(was)
        written = [_line(name, entry)] if entry else []
        place = next((number for number, line in enumerate(lines) if line.partition(":")[0] == name), len(lines))
        lines[place : place + 1] = written
        _replace(file, "".join(f"{line}\n" for line in lines))
        return was


def _line(name: str, entry: Entry) -> str:
    roles = f":{','.join(sorted(entry.roles))}" if entry.roles else ""
    return f"{name}:{entry.hash}{roles}"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One writer at a time, also among several processes."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(file: Path, text: str) -> None:
    """A reader sees the old file or the new one, whole, with the owner and the rights that it had."""
    target = file.resolve()  # a symbolic link goes on to point where it points
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as stream:  # noqa: PTH123 a descriptor, not a path
            with suppress(FileNotFoundError):
                was = target.stat()
                os.fchown(descriptor, was.st_uid, was.st_gid)
            os.fchmod(descriptor, was.st_mode & 0o7777 if target.exists() else _MODE)
            stream.write(text)
            stream.flush()
            os.fsync(descriptor)
        Path(name).rename(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
