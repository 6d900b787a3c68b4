"""The names that a file gives to SOP classes and transfer syntaxes → UIDs (PS3.6 annex A).

A name is a group, a keyword or a UID. Whether a service stands behind a SOP class is not known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd import sop_class
from scpd.config.faults import nearest, shown
from scpd.config.values import parse_text, with_advice
from scpd.names import parse_uid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SYNTAX_GROUPS: dict[str, tuple[str, ...]] = {
    "default": sop_class.UNCOMPRESSED,
    "all": tuple(sop_class.TRANSFER_SYNTAXES.values()),
}


class UnknownName(ValueError):
    """A name that is none. The nearest one is looked for only when somebody reads the sentence: it takes a while."""

    def __init__(self, name: str, what: str, known: Sequence[str]) -> None:
        super().__init__(f"{shown(name)} is no {what} that is known")
        self._name = name
        self._known = known

    def sentence(self) -> str:
        near = nearest(self._name, self._known)
        return f"{self}; did you mean {near!r}?" if near else f"{self}; write its keyword of PS3.6 annex A, or its UID"


def parse_sop_class(value: object) -> str:
    """A group, a keyword or a UID, as it stands."""
    name = parse_text(value)
    if name in sop_class.TRANSFER_SYNTAXES or name in sop_class.TRANSFER_SYNTAXES.values():
        raise ValueError(f"{shown(name)} is a transfer syntax; write it under transfer_syntaxes")
    return _known(name, "SOP class", [*sop_class.GROUPS, *sop_class.SOP_CLASSES])


def parse_transfer_syntax(value: object) -> str:
    """A group (default, all), a keyword or a UID, as it stands."""
    name = parse_text(value)
    if name in sop_class.GROUPS or name in sop_class.SOP_CLASSES or name in sop_class.SOP_CLASSES.values():
        raise ValueError(f"{shown(name)} is a SOP class; write it under sop_classes")
    return _known(name, "transfer syntax", [*SYNTAX_GROUPS, *sop_class.TRANSFER_SYNTAXES])


def _known(name: str, what: str, known: list[str]) -> str:
    if name in known:
        return name
    if name[0].isdigit():
        return with_advice(parse_uid, name, "write it in full")
    raise UnknownName(name, what, known)


def sop_class_uids(names: Iterable[str]) -> tuple[str, ...]:
    """The UIDs behind names that :func:`parse_sop_class` took."""
    return _uids(names, sop_class.GROUPS, sop_class.SOP_CLASSES)


def transfer_syntax_uids(names: Iterable[str]) -> tuple[str, ...]:
    """The UIDs behind names that :func:`parse_transfer_syntax` took, each once, in order."""
    return _uids(names, SYNTAX_GROUPS, sop_class.TRANSFER_SYNTAXES)


def _uids(names: Iterable[str], groups: Mapping[str, tuple[str, ...]], keywords: Mapping[str, str]) -> tuple[str, ...]:
    every = (uid for name in names for uid in groups.get(name, (keywords.get(name, name),)))
    return tuple(str(uid) for uid in dict.fromkeys(every))
