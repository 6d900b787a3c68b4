"""The servers of one process compared with each other: names and addresses must differ.

A sentence names both lines and no value, since a value may come from a secret's file.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from scpd.config.faults import Fault, KeyPath, dotted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scpd.config.admin import AdminConfig
    from scpd.config.document import Document
    from scpd.config.merge import Layer
    from scpd.config.server import ServerConfig


@dataclass(frozen=True)
class Stated:
    """A valid server, and the data that states it."""

    server: ServerConfig
    layer: Layer

    def place(self, key: str) -> KeyPath:
        """Where the server says ``key`` itself, else where the server begins."""
        path, entry = self.layer.origin((key,)), self.layer.origin(())
        return path if path[: len(entry)] == entry else entry


def clashes(stated: Sequence[Stated], document: Document) -> Iterator[Fault]:
    """A fault for each server that takes the name or the address of one before it."""
    for first, second in combinations(stated, 2):
        if first.server.name and first.server.name == second.server.name:
            what = "has this name already; give each server a name of its own, or none"
            yield _clash(first, second, "name", what, document)
        if first.server.bind.collides(second.server.bind):
            what = "listens there already; give each server an address, a port or a socket of its own"
            yield _clash(first, second, "bind", what, document)


def occupied(admin: AdminConfig | None, stated: Sequence[Stated], document: Document) -> Iterator[Fault]:
    """A fault for each server that listens where the admin endpoint does."""
    for one in stated:
        if admin and admin.bind.collides(one.server.bind):
            line = document.lines[one.place("bind")]
            what = f"the server of line {line} listens there already; give the endpoint a port of its own"
            place = document.lines.get(("admin", "bind"), document.lines["admin",])
            yield Fault(place, "admin.bind", what)


def _clash(first: Stated, second: Stated, key: str, what: str, document: Document) -> Fault:
    path = second.place(key)
    line = document.lines[first.place(key)]
    text = dotted(path) if path[-1:] == (key,) else f"{dotted(path)}.{key}"
    return Fault(document.lines[path], text, f"the server of line {line} {what}")
