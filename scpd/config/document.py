"""A configuration file → plain data, and for every path in it the line where it stands.

Reads the file, bounded; finds what is wrong with it as YAML (duplicate keys, keys that are no text, variables
that are not set …). Knows no key: what is known, and what of what type, is for the models to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scpd.config.faults import Fault, KeyPath, Unreadable, dotted, shown
from scpd.config.nodes import DEEPEST, MOST_NODES, Mapping, Node, Scalar, Sequence, compose
from scpd.config.scalars import evaluate, resolve
from scpd.regular import content

if TYPE_CHECKING:
    from collections import abc
    from pathlib import Path

LARGEST_FILE = 1024 * 1024

_MERGE_KEY = "<<"


@dataclass(frozen=True)
class Document:
    """What a file says.

    ``references`` names the ``file:`` behind a value, where there is one; ``spoiled`` are the paths whose value
    is not what was meant, since a fault tells so already.
    """

    file: str
    data: dict[str, Any] = field(default_factory=dict)
    lines: abc.Mapping[KeyPath, int] = field(default_factory=lambda: {(): 0})
    references: abc.Mapping[KeyPath, str] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    spoiled: frozenset[KeyPath] = frozenset()


def read(path: Path) -> str:
    """The text of the file. Raises :class:`Unreadable`."""
    try:
        found = content(path, LARGEST_FILE + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise Unreadable(0, f"cannot be read ({_why(error)}); name a file scpd may read") from None
    if len(found) > LARGEST_FILE:
        raise Unreadable(0, f"larger than {LARGEST_FILE} bytes; this is no configuration")
    if b"\0" in found:
        line = found.count(b"\n", 0, found.index(b"\0")) + 1
        raise Unreadable(line, "a NUL byte stands here, as in no text; name the YAML file, or save it as UTF-8")
    try:
        return found.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = found.count(b"\n", 0, error.start) + 1
        raise Unreadable(line, "not UTF-8 text; save the file as UTF-8") from None


def _why(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or "not a path"


def parse(text: str, file: str, environ: abc.Mapping[str, str]) -> Document:
    """What ``text`` says, with the faults of a part beside the rest. Raises :class:`Unreadable`."""
    root = compose(text)
    if not isinstance(root, Mapping):
        raise Unreadable(root.line, "the file is no mapping; write keys, as in ae_title: SCPD")
    builder = _Builder(environ)
    data = builder.value(root, ())
    return Document(
        file,
        data,
        builder.lines,
        builder.references,
        tuple(builder.faults),
        frozenset(builder.spoiled),
    )


class _Builder:
    """Walks the nodes once; an alias is walked each time it is used, within one bound for all."""

    def __init__(self, environ: abc.Mapping[str, str]) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.references: dict[KeyPath, str] = {}
        self.faults: list[Fault] = []
        self.spoiled: set[KeyPath] = set()
        self._environ = environ

    def value(self, node: Node, path: KeyPath, line: int | None = None) -> Any:
        self.lines[path] = line or node.line
        if len(self.lines) > MOST_NODES or len(path) > DEEPEST:
            key = path[:1]  # all below are names that the sysadmin did not write
            raise Unreadable(self.lines[key], "its aliases grow beyond all bounds; write the values out", dotted(key))
        match node:
            case Scalar():
                return self._scalar(node, path)
            case Sequence():
                return [self.value(item, (*path, i)) for i, item in enumerate(node.items)]
            case Mapping():
                return self._mapping(node, path)

    def _scalar(self, node: Scalar, path: KeyPath) -> Any:
        try:
            found = evaluate(node.text, self._environ, plain=node.plain)
        except ValueError as error:
            self.faults.append(Fault(self.lines[path], dotted(path), str(error)))
            self.spoiled.add(path)
            return node.text
        if found.reference:
            self.references[path] = found.reference
        return found.value

    def _mapping(self, node: Mapping, path: KeyPath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.pairs:
            key = self._key(key_node, path)
            if key is None:
                continue
            if key in data:
                first = self.lines[*path, key]
                what = f"stands twice, first in line {first}; keep one of the two"
                self.faults.append(Fault(key_node.line, dotted((*path, key)), what))
                continue
            data[key] = self.value(value_node, (*path, key), key_node.line)
        return data

    def _key(self, node: Node, path: KeyPath) -> str | None:
        if isinstance(node, Scalar) and node.text == _MERGE_KEY and node.plain:
            what = "merge keys (<<) are not read; a key at the top is the default of every server"
        elif not isinstance(node, Scalar):
            what = "a key is a list or a mapping; write text, as in ae_title: SCPD"
        elif node.plain and not isinstance(resolve(node.text), str):
            what = f"the key {shown(node.text) or 'nothing'} is not text; write it in quotes, as in '4711':"
        else:
            return node.text
        self.faults.append(Fault(node.line, dotted(path), what))
        return None
