"""What is held and cannot be found, fetched or committed as was meant: peers that are missing, indexes at odds.

An index that cannot be used at all is a fault (``surroundings.py``).
"""

from __future__ import annotations

import os
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from scpd.config.uids import sop_class_uids
from scpd.daemon import mounts
from scpd.daemon.archive import shown, url
from scpd.sop_class import QUERY_RETRIEVE, STORAGE_COMMITMENT, uid_keyword

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scpd.config import Config, ServerConfig

_SQLITE = "sqlite:///"
# Those of several machines, or of a server elsewhere: locks of one machine do not hold on the others.
_NETWORK = frozenset(
    (
        *("nfs", "nfs3", "nfs4", "cifs", "smb2", "smb3", "smbfs", "9p", "afs", "ceph", "coda", "davfs", "gfs2"),
        *("beegfs", "glusterfs", "gpfs", "lustre", "ocfs2", "orangefs", "ncpfs"),
    )
)
_IN_USER_SPACE = ("ceph", "davfs", "gcsfuse", "glusterfs", "gvfsd", "rclone", "s3fs", "smbnetfs", "sshfs")
_LARGEST_TABLE = 4 * 1024 * 1024

_REACHES_NOBODY = (
    "C-MOVE can send to nobody, since there are no peers; write them under peers, as WORKSTATION: {address: "
    '"10.0.0.7:104", ae_title: WS1}'
)
_TELLS_NOBODY = (
    "who has asked for storage commitment and left cannot be told what became of it, since there are no peers; write "
    "them under peers, with the AE titles that they call with"
)
_SENDS_NOTHING_BACK = (
    "C-GET can send nothing back, since there is no storage class in contexts that a peer may be SCP of; add storage"
)
_ON_THE_NETWORK = (
    "{file} is on a network file system ({kind}), where SQLite can neither lock nor share memory safely; name a file "
    "on a disk of this machine, or a database of PostgreSQL"
)
_OTHER_INDEX = (
    "is another for the same storage.directory, {other}: what comes to one server is not found at the other; write "
    "both alike, or name another directory"
)


def of_server(server: ServerConfig) -> Iterator[tuple[str, str]]:
    """An index where it cannot be relied on, and a C-GET that comes to nothing."""
    if server.index is None:
        return
    address = url(server, server.index)
    kind = _file_system(Path(address.removeprefix(_SQLITE))) if address.startswith(_SQLITE) else ""
    if kind in _NETWORK or kind.removeprefix("fuse.") in _IN_USER_SPACE:
        yield "index.url", _ON_THE_NETWORK.format(file=shown(address), kind=kind)
    number = _entry(server, _is_get)
    if number is not None and not _may_be_sent(server):
        yield f"contexts[{number}]", _SENDS_NOTHING_BACK


def without_peers(config: Config) -> Iterator[tuple[str | None, str, str]]:
    """Services that need somebody to call, where nobody is known."""
    for server in config.servers if not config.peers else ():
        for is_meant, what in ((_is_move, _REACHES_NOBODY), (_is_commitment, _TELLS_NOBODY)):
            number = _entry(server, is_meant)
            if number is not None:
                yield server.name, f"contexts[{number}]", what


def at_odds(config: Config) -> Iterator[tuple[str | None, str, str]]:
    """Servers that store in one directory, and write it down in different places."""
    real = {server.name: os.path.realpath(server.storage.directory) for server in config.servers}
    for first, second in combinations(config.servers, 2):
        if real[first.name] == real[second.name] and _database(first) != _database(second):
            yield second.name, "index", _OTHER_INDEX.format(other=f"that of {config.near(first.name, 'index')}")


def _database(server: ServerConfig) -> str:
    address = url(server, server.index) if server.index else ""
    return os.path.realpath(address.removeprefix(_SQLITE)) if address.startswith(_SQLITE) else address


def _entry(server: ServerConfig, is_meant: Callable[[str], bool]) -> int | None:
    """The last entry of contexts that has such a class."""
    classes = [sop_class_uids(entry.sop_classes) for entry in server.contexts]
    return max((number for number, uids in enumerate(classes) if any(map(is_meant, uids))), default=None)


def _is_move(uid: str) -> bool:
    return uid in QUERY_RETRIEVE and uid_keyword(uid).endswith("Move")


def _is_get(uid: str) -> bool:
    return uid in QUERY_RETRIEVE and uid_keyword(uid).endswith("Get")


def _is_commitment(uid: str) -> bool:
    return uid in STORAGE_COMMITMENT


def _may_be_sent(server: ServerConfig) -> bool:
    """Whether there is a storage class that a peer may be the SCP of."""
    from scpd.daemon.build import offer  # noqa: PLC0415 not for a look at servers that send nothing back
    from scpd.daemon.served import service  # noqa: PLC0415
    from scpd.services.storage import Storage  # noqa: PLC0415

    return any(
        one.scp_role and one.scu_role is not None and service(one.abstract_syntax) is Storage
        for one in offer(server).contexts.values()
    )


def _file_system(file: Path) -> str:
    """The kind of file system that a file lies on, or would; empty where nobody tells."""
    try:
        with mounts.MOUNTED.open("rb") as table:
            lines = table.read(_LARGEST_TABLE).split(b"\n")
    except OSError:
        return ""
    kinds = dict(map(_mounted, filter(None, lines)))
    real = Path(os.path.realpath(file))
    return next((kinds[str(one)] for one in real.parents if str(one) in kinds), "")


def _mounted(line: bytes) -> tuple[str, str]:
    """The mount point of a line of the table, and its kind (proc_pid_mountinfo(5)); the last mounted counts."""
    before, _, after = line.partition(b" - ")
    point = before.split()[4].decode("unicode_escape").encode("latin-1")
    return os.fsdecode(point), os.fsdecode(after.split()[0])
