"""What can be served, and will be regretted: one file for each concern.

Whether a configuration can be served at all is asked before (``surroundings.py``); here its words are compared with
each other, and with what lies around it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.daemon.linter import archive, contexts, exposure, rules, secret_files, stores, titles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.config import Config

_OF_EACH_SERVER = (exposure.of_server, rules.of_server, contexts.of_server, archive.of_server)
_OF_ALL = (
    rules.never_matching,
    titles.alike,
    titles.misspelt,
    stores.misplaced,
    stores.at_odds,
    archive.without_peers,
    archive.at_odds,
    secret_files.readable,
)


def warnings(config: Config) -> Iterator[tuple[str | None, str, str]]:
    """Each warning as the server whose it is, or None for the whole process; the key; what, and what to do."""
    for server in config.servers:
        for judge in _OF_EACH_SERVER:
            yield from ((server.name, key, what) for key, what in judge(server))
    for compare in _OF_ALL:
        yield from compare(config)
