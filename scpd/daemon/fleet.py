"""The servers of the process: started, changed as a whole while they run, and stopped.

Knows plans, not configurations: what a server is to do comes from ``build.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.server.server import Server
from scpd.telemetry.statistics import Books

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scpd.daemon.build import Post


class Fleet:
    """Servers by the address that they were given, and what they count by their names.

    Driven by one thread, but for :meth:`drain`.
    """

    def __init__(self) -> None:
        self.servers: tuple[Server, ...] = ()  # in the order of their posts
        self._posts: tuple[Post, ...] = ()
        self._leaving: list[Server] = []
        self._books = Books()

    @property
    def associations(self) -> int:
        """How many there are, also those of servers that do not listen any more."""
        return sum(len(server.capacity) for server in self.all)

    def man(self, posts: Sequence[Post]) -> None:
        """Serve at ``posts``, and nowhere else, from now on.

        Whoever listens at an address goes on listening there, so that no connection is refused in between; associations
        go on under what they began with. Raises :class:`~scpd.errors.ScpdError` when a new address cannot be listened
        on; nothing has changed then.
        """
        there = list(zip(self._posts, self.servers, strict=True))
        manned: list[Server | None] = [None] * len(posts)
        # By its name as well, where that tells: with port 0 several have been given one address.
        for is_same in (_of_one_name, _of_one_address):
            for number, post in enumerate(posts):
                place = next((place for place, (one, _) in enumerate(there) if is_same(one, post)), None)
                if manned[number] is None and place is not None:
                    manned[number] = there.pop(place)[1]
        servers = self._started(posts, manned)
        # From here on nothing fails.
        for post, server, before in zip(posts, servers, manned, strict=True):
            if before:
                server.adopt(post.plan)
        for _, server in there:
            server.stop_accepting()
        self._leaving = [server for server in (*self._leaving, *(one for _, one in there)) if len(server.capacity)]
        self.servers, self._posts = tuple(servers), tuple(posts)

    def _started(self, posts: Sequence[Post], manned: Sequence[Server | None]) -> list[Server]:
        servers: list[Server] = []
        new: list[Server] = []
        try:
            for post, before in zip(posts, manned, strict=True):
                server = before or Server(post.plan.name, post.address, *post.plan[1:], self._books)
                if before is None:
                    server.start()
                    new.append(server)
                servers.append(server)
        except BaseException:
            for server in new:
                server.stop_accepting()
            raise
        return servers

    def stop_accepting(self) -> None:
        """Take no more connections; associations go on."""
        for server in self.servers:
            server.stop_accepting()

    def drain(self, deadline: float) -> None:
        """Wait until all associations have ended or ``deadline`` (monotonic) has come."""
        for server in self.all:
            server.drain(deadline)

    def abort(self, why: str) -> None:
        """End every association and connection now."""
        for server in self.all:
            server.abort(why)

    @property
    def leaving(self) -> tuple[Server, ...]:
        """Those that do not listen any more, while associations of theirs go on."""
        return tuple(server for server in self._leaving if len(server.capacity))

    @property
    def all(self) -> tuple[Server, ...]:
        """All that have associations, or may get some."""
        return (*self.servers, *self._leaving)


def _of_one_address(one: Post, other: Post) -> bool:
    return one.address == other.address


def _of_one_name(one: Post, other: Post) -> bool:
    return _of_one_address(one, other) and one.plan.name == other.plan.name
