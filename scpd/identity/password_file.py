"""A file of users and the hashes of their passcodes: ``user:hash`` a line, or ``user:hash:role,role``.

A hash is argon2id in its usual text. The file is only ever replaced as a whole.
"""

from __future__ import annotations

import base64
import binascii
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
from scpd.regular import content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LARGEST_FILE = 16 * 1024 * 1024
# 19 MiB and two passes on one lane: some 30 ms of one processor, and several at once leave a small machine its memory.
HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
# KiB times passes: some seconds of a processor.
_MOST_WORK = 4 * 1024 * 1024
_MOST_MEMORY = 1024 * 1024  # KiB
_MOST_PASSES = 100
_MOST_LANES = 16  # each is a thread
_HASH = re.compile(
    r"\$argon2id\$v=19\$m=(?P<memory>[1-9][0-9]{0,8}),t=(?P<passes>[1-9][0-9]{0,8}),p=(?P<lanes>[1-9][0-9]{0,2})"
    r"\$(?P<salt>[A-Za-z0-9+/]{1,128})\$(?P<digest>[A-Za-z0-9+/]{1,256})",
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
    return _NAME.fullmatch(name) is not None and name == name.strip() and _is_unicode(name)


def parse_role(role: str) -> str:
    """A role: 1 to 64 characters without colons, commas and spaces. Raises :class:`ValueError`."""
    if not _ROLE.fullmatch(role) or not _is_unicode(role):
        raise ValueError(f"{quote(role)} is no role; write 1 to 64 characters without colons, commas and spaces")
    return role


def _usable(hash_: str, number: int) -> str:
    found = _HASH.fullmatch(hash_)
    if not found or not _can_be_compared(found):
        raise ValueError(f"line {number} holds no argon2id hash; write it with scpd passwd")
    memory, passes, lanes = (int(found[name]) for name in ("memory", "passes", "lanes"))
    if memory > _MOST_MEMORY or passes > _MOST_PASSES or memory * passes > _MOST_WORK or lanes > _MOST_LANES:
        raise ValueError(f"line {number} holds a hash that takes too long to compare; write it anew with scpd passwd")
    return hash_


def _can_be_compared(found: re.Match[str]) -> bool:
    """Within what argon2 itself allows (RFC 9106 3.1), so that no login fails for it later."""
    memory, passes, lanes = (int(found[name]) for name in ("memory", "passes", "lanes"))
    return bool(passes and lanes and memory >= 8 * lanes) and all(
        _is_base64(found[name], least) for name, least in (("salt", 8), ("digest", 4))
    )


def _is_base64(text: str, least: int) -> bool:
    """In the form that argon2 writes: without padding, and with no bit to spare."""
    with suppress(binascii.Error):
        raw = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        return len(raw) >= least and base64.b64encode(raw).decode().rstrip("=") == text
    return False


def _roles(roles: str, number: int) -> frozenset[str]:
    try:
        return frozenset(parse_role(role) for role in roles.split(",") if roles)
    except ValueError:
        raise ValueError(f"line {number}: what stands after the hash are no roles; write role,role") from None


def _is_unicode(text: str) -> bool:
    """A byte of a shell that is no UTF-8 becomes half a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def read(file: Path) -> dict[str, Entry]:
    """The users of ``file``. Raises :class:`SettingError` for the key ``file``."""
    return _users(_bytes(file), file)


def _bytes(file: Path) -> bytes:
    try:
        raw = content(file, _LARGEST_FILE + 1)
    except OSError as error:
        advice = "write it with scpd passwd, readable for the user scpd runs as"
        raise SettingError("file", f"{file} cannot be read ({error.strerror}); {advice}") from None
    if len(raw) > _LARGEST_FILE:
        raise SettingError("file", f"{file} is longer than {_LARGEST_FILE} bytes; name a file of users")
    return raw


def _users(raw: bytes, file: Path) -> dict[str, Entry]:
    try:
        return parse(raw.decode("utf-8-sig"))
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
    file = file.resolve()  # a symbolic link goes on to point where it points
    with _alone(file.parent):
        raw = _bytes(file) if file.exists() else b""
        was = _users(raw, file).get(name)
        entry = becomes(was)
        if entry == was:
            return was
        lines = raw.decode().removesuffix("\n").split("\n") if raw else []
        place = next((number for number, line in enumerate(lines) if _name(line) == name), len(lines))
        lines[place : place + 1] = [_line(name, entry)] if entry else []
        _replace(file, "".join(f"{line}\n" for line in lines))
        return was


def _name(line: str) -> str:
    return line.removeprefix("\ufeff").partition(":")[0]


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


def _replace(target: Path, text: str) -> None:
    """A reader sees the old file or the new one, whole, with the owner and the rights that it had."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="") as stream:  # noqa: PTH123 a descriptor, not a path
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
