"""Files of secrets that every user of this machine can read, the configuration itself among them.

Of passwords' hashes and private keys those tell who read them (``identity``, ``transport``).
"""

from __future__ import annotations

import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scpd.config.document import read
from scpd.config.faults import Unreadable, dotted
from scpd.config.kinds import MASK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.config import Config
    from scpd.config.faults import KeyPath
    from scpd.config.model import Origins

_IN_CLEAR = (
    "stands in clear in this file, which every user of this machine can read; write file:/run/secrets/x for it, or "
    "chmod o-r this file"
)


def readable(config: Config) -> Iterator[tuple[str | None, str, str]]:
    """A warning for each such file at the key that names it."""
    for server, key, file in _named(config):
        if _is_for_all(file):
            yield server, key, f"{file} is readable by every user of this machine; chmod o-r {file}"
    written = Path(config.places.file)
    if config.places.file and _is_for_all(written):
        yield from _in_clear(config, written)


def _named(config: Config) -> Iterator[tuple[str | None, str, Path]]:
    yield from _referred_to(None, config.places.process)
    for server, origins in zip(config.servers, config.places.servers, strict=False):
        yield from _referred_to(server.name, origins)
    for server in config.servers:
        for number, provider in enumerate(server.user_identity.providers):
            if provider.kind == "kerberos":
                yield server.name, f"user_identity.providers[{number}].keytab", provider.keytab


def _referred_to(server: str | None, origins: Origins) -> Iterator[tuple[str | None, str, Path]]:
    for path, reference in origins.references.items():
        yield server, dotted(path), Path(reference.removeprefix("file:"))


def _in_clear(config: Config, file: Path) -> Iterator[tuple[str | None, str, str]]:
    """Secrets that stand in the text, rather than come into it from a file or the environment."""
    meant: Any = config.model_dump()
    lines = _lines(file)
    for path in _masked(config.model_dump(mode="json"), ()):
        server, key, origins = _belonging(config, path)
        number = origins.lines.get(key, 0)
        if 0 < number <= len(lines) and _at(meant, path) in lines[number - 1]:
            yield server, key, _IN_CLEAR


def _at(value: Any, path: KeyPath) -> Any:
    for part in path:
        value = value[part]
    return value


def _lines(file: Path) -> list[str]:
    with suppress(Unreadable):  # gone since it was loaded
        return read(file).split("\n")
    return []


def _belonging(config: Config, path: KeyPath) -> tuple[str | None, str, Origins]:
    if path[0] != "servers":
        return None, dotted(path), config.places.process
    number = int(path[1])
    return config.servers[number].name, dotted(path[2:]), config.places.servers[number]


def _masked(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    """Where something stands that is never shown, or not as a whole."""
    if isinstance(value, str) and MASK in value:
        yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, each in entries:
        yield from _masked(each, (*path, part))


def _is_for_all(file: Path) -> bool:
    with suppress(OSError):
        return bool(file.stat().st_mode & stat.S_IROTH)
    return False
