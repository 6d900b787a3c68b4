"""Whether an access rule takes everybody whom another is about, so that whatever stands after it is never asked.

Says yes only where that is certain: two networks that together cover a third, say, are not put together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scpd.identity.access import networks, pattern

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable

    from scpd.config import AccessEntry
    from scpd.identity.access import Network

# The version of IP, and the first and the last address as numbers: compared at a tenth of what networks take.
Span = tuple[int, int, int]

_TEXTS = ("calling", "called", "certificate", "users", "roles")


class Globs(NamedTuple):
    """The patterns of one condition, of which one has to fit."""

    texts: frozenset[str]
    wild: tuple[tuple[str, re.Pattern[str]], ...]

    @classmethod
    def of(cls, globs: Iterable[str], *, ignore_case: bool = False) -> Globs:
        """From the texts of a rule."""
        texts = frozenset(glob.lower() if ignore_case and glob.isascii() else glob for glob in globs)
        wild = tuple((one, pattern(one, ignore_case=ignore_case)) for one in texts if "*" in one or "?" in one)
        return cls(texts, wild)

    def include(self, others: Globs) -> bool:
        """Whether whatever fits one of ``others`` fits one of these too."""
        return all(other in self.texts or self._cover(other) for other in others.texts)

    def _cover(self, other: str) -> bool:
        # A pattern fits the text of a narrower one, as long as no ? would have to stand for a star.
        return any(one.match(other) for glob, one in self.wild if not ("?" in glob and "*" in other))


class Extent(NamedTuple):
    """Whom a rule is about: its conditions by key, and the irregular titles that it takes."""

    spans: tuple[Span, ...] | None
    texts: dict[str, Globs]
    padded: bool
    blank: bool

    @classmethod
    def of(cls, entry: AccessEntry) -> Extent:
        """The extent of one entry; whether that is about a server has been looked at."""
        rule = entry.allow or entry.deny
        said = {key: getattr(rule, key) for key in _TEXTS if getattr(rule, key) is not None}
        lenient = rule is not None and rule.titles == "lenient"
        return cls(
            tuple(map(_span, networks(rule.address))) if rule and rule.address is not None else None,
            {key: Globs.of(globs, ignore_case=key == "certificate") for key, globs in said.items()},
            padded=lenient or entry.deny is not None,
            blank=lenient,
        )

    @property
    def is_everybody(self) -> bool:
        """Whether there is no condition."""
        return self.spans is None and not self.texts

    def covers(self, other: Extent) -> bool:
        """Whether everybody whom ``other`` is about is also one of these."""
        if not self.texts.keys() <= other.texts.keys():
            return False
        if self.texts.keys() & {"calling", "called"} and (other.padded > self.padded or other.blank > self.blank):
            return False
        return self._reaches(other) and all(globs.include(other.texts[key]) for key, globs in self.texts.items())

    def _reaches(self, other: Extent) -> bool:
        if self.spans is None:
            return True
        return other.spans is not None and all(
            any(version == family and first <= start and end <= last for family, first, last in self.spans)
            for version, start, end in other.spans
        )


def _span(network: Network) -> Span:
    return network.version, int(network.network_address), int(network.broadcast_address)
