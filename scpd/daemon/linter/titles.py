"""AE titles that differ only by case: to DICOM they are different, to whoever typed them in they are one.

A sentence names lines and no title, since a title may come from a secret's file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.daemon.linter.rules import about, fitting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from scpd.config import Config

_ALIKE = (
    "is that of {place} in other letters, and titles are told apart by case; write both alike, or give one a title of "
    "its own"
)
_MISSPELT = (
    "{key} means the title of {place} in other letters, and titles are told apart by case; write it as it stands there"
)


def alike(config: Config) -> Iterator[tuple[str | None, str, str]]:
    """A warning for each title of a server or a peer that repeats one before it in other letters."""
    before: dict[str, dict[str, str]] = {}
    for server, key, title in _titles(config):
        same = before.setdefault(title.casefold(), {})
        other = next((place for each, place in same.items() if each != title), None)
        if other is not None:
            yield server, key, _ALIKE.format(place=other)
        same.setdefault(title, config.near(server, key))


def _titles(config: Config) -> Iterator[tuple[str | None, str, str]]:
    for server in config.servers:
        yield server.name, "ae_title", server.ae_title
    for name, peer in config.peers.items():
        yield None, f"peers.{name}.ae_title", peer.ae_title


def misspelt(config: Config) -> Iterator[tuple[str | None, str, str]]:
    """A warning for each access rule about a title of ours, or of a peer, that is written in other letters there."""
    ours = {one.ae_title: config.near(one.name, "ae_title") for one in config.servers}
    peers = {one.ae_title: config.near(None, f"peers.{name}.ae_title") for name, one in config.peers.items()}
    for server in config.servers:
        for number, entry in about(server):
            rule = entry.allow or entry.deny
            for key, titles in (("called", ours), ("calling", peers)):
                for title in _in_other_letters(getattr(rule, key) or (), titles):
                    yield server.name, f"access[{number}]", _MISSPELT.format(key=key, place=titles[title])


def _in_other_letters(globs: Sequence[str], titles: Iterable[str]) -> list[str]:
    """The titles that fit in other letters alone, where none fits as it is."""
    near = [title for title in titles if fitting(globs, [title], ignore_case=True)]
    return [] if fitting(globs, near) else near
