"""The indexes of a configuration, and the stores of each, as ``scpd index`` opens them."""

from __future__ import annotations

import argparse
import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from scpd.config import load
from scpd.daemon.archive import shown, url
from scpd.errors import IndexUnavailable, ScpdError
from scpd.names import quote
from scpd.storage.store import SPOOL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scpd.config import ServerConfig
    from scpd.index.attributes import Keeping
    from scpd.index.index import Index


class Kept:
    """An index, and the storage directories that are written down in it, each once however many servers share them."""

    def __init__(self, address: str, keeping: Keeping) -> None:
        self.address = address
        self.name = shown(address)
        self.keeping = keeping
        self.directories: list[Path] = []

    @contextmanager
    def made(self) -> Iterator[Index]:
        """The index, and whatever goes wrong with it as an error that names it; nothing is opened yet."""
        from scpd.index.index import Index  # noqa: PLC0415 not for a configuration without one

        with self.telling():
            index = Index(self.address, self.keeping)
            try:
                yield index
            finally:
                index.close()

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Raise :class:`ScpdError` for what goes wrong here, with the name of the index or the file."""
        try:
            yield
        except IndexUnavailable as error:
            raise ScpdError(f"the index {self.name}: {error}") from error
        except ImportError as error:
            raise ScpdError(
                f"the index {self.name}: {error.name} is missing; pip install 'scpd[postgresql]'"
            ) from error
        except OSError as error:
            raise ScpdError(f"{error.filename or self.name}: {error.strerror or error}") from error


def indexes(file: Path, server: str | None) -> list[Kept]:
    """Those of a configuration, or of one of its servers by name. Raises :class:`ScpdError` where there are none."""
    servers = load(file).servers
    chosen = [one for one in servers if server in (None, one.name)]
    if not chosen:
        names = ", ".join(one.name for one in servers)
        raise argparse.ArgumentTypeError(f"there is no server {quote(server or '')}; there are {names}")
    kept: dict[tuple[str, object], Kept] = {}
    for one in chosen:
        if one.index is not None:
            address = url(one, one.index)
            known = kept.setdefault((address, one.index.attributes), Kept(address, one.index.attributes.keeping()))
            _add(known, one)
    if not kept:
        whose = str(file) if server is None else f"the server {server} in {file}"
        raise ScpdError(f"{whose} has no index; write index: required to have one")
    return list(kept.values())


def _add(kept: Kept, server: ServerConfig) -> None:
    directory = server.storage.directory.absolute()
    if directory not in kept.directories:
        kept.directories.append(directory)


def check_directory(directory: Path) -> None:
    """Raise :class:`ScpdError` for a storage directory that is not there, so that nobody makes one."""
    if not directory.is_dir():
        raise ScpdError(f"the storage directory {directory} is not there: is its disk mounted?")


def is_in_use(directory: Path) -> bool:
    """Whether some scpd has the storage directory open."""
    try:
        spool = os.open(directory / SPOOL, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(spool, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(spool)
    return False


def hand_over(*paths: Path) -> None:
    """What root has made in somebody's folder becomes theirs: scpd would not be let in."""
    for path in paths:
        with suppress(OSError):
            here, owner = path.lstat(), path.parent.stat()
            if here.st_uid == 0 != owner.st_uid:
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
