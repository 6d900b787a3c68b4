"""The text of a YAML file → a tree of nodes, each with its line, or the one fault that makes it unreadable.

Reads events rather than letting PyYAML build objects, so that nesting, size and aliases are bounded before
anything is built from them. Knows no key and no value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from scpd.config.faults import Unreadable, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

DEEPEST = 32
MOST_NODES = 20_000

# libyaml where PyYAML was built with it: the same grammar at twenty times the speed.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# libyaml compares each with all before it, and with a file full of them is busy for a quarter of a minute.
_TAG_DIRECTIVE = re.compile(r"(?:\A|[\r\n\x85\u2028\u2029\ufeff])%TAG")

# A part of PyYAML's (or libyaml's) sentence → ours. The first that is found counts.
_SYNTAX = {
    "tab character": "a tab stands here; indent with spaces",
    "mapping values are not allowed": "a second ':' or a wrong indentation; "
    "put text with ': ' in it in quotes, and begin the keys of one mapping in one column",
    "',' or": "a bracket is not closed, or a comma is missing; write {key: value, key: value} or [a, b]",
    "end of stream": "a quote or bracket before this is not closed; close it",
    "stream end": "a quote or bracket before this is not closed; close it",
    "node content": "a quote or bracket before this is not closed; close it",
    "expected ':'": "a key without ':'; write key: value",
    "cannot start any token": "text may not begin with this sign; put it in quotes",
    "alphabetic or numeric": "a '*' or '&' without a name; put text that begins with it in quotes",
    "escape": "an unknown escape after a backslash; put the text in single quotes",
    "hexdecimal": "an unknown escape after a backslash; put the text in single quotes",  # as libyaml spells it
    "expected <block end>": "the indentation fits nothing above; begin the keys or the '-' of one block in one column",
    "did not find expected": "the indentation fits nothing above; begin the keys or the '-' of one block in one column",
}


@dataclass(slots=True)
class Scalar:
    """A text; ``plain`` where it stands without quotes."""

    line: int
    text: str
    plain: bool


@dataclass(slots=True)
class Sequence:
    line: int
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Mapping:
    line: int
    pairs: list[tuple[Node, Node]] = field(default_factory=list)


Node = Scalar | Sequence | Mapping


def compose(text: str) -> Node:
    """The one document in ``text``. Raises :class:`Unreadable`."""
    if found := _TAG_DIRECTIVE.search(text):
        line = text.count("\n", 0, found.end()) + 1
        raise Unreadable(line, "the directive %TAG is not read, and neither are tags; take it out")
    try:
        return _Composer(text).document()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise Unreadable(line, _syntax(error, text)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Unreadable(line, "a control character stands here; remove it") from None
    except (ValueError, OverflowError):
        raise Unreadable(0, "an escape names no character; put the text in single quotes") from None


def _syntax(error: yaml.MarkedYAMLError, text: str) -> str:
    problem = str(error.problem)
    if error.problem_mark and _begins_with_tab(text, error.problem_mark.line):
        problem = "tab character"
    for part, sentence in _SYNTAX.items():
        if part in problem:
            return sentence
    return f"not YAML ({problem}); check colons, quotes and indentation"


def _begins_with_tab(text: str, line: int) -> bool:
    lines = text.split("\n")
    start = lines[line] if line < len(lines) else ""
    return "\t" in start[: len(start) - len(start.lstrip())]


class _Composer:
    """Takes events one at a time, so that it stops before the parser has read a bomb to its end."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)
        self._anchors: dict[str, Node | None] = {}  # None: not complete yet
        self._left = MOST_NODES

    def document(self) -> Node:
        next(self._events)  # the start of the stream
        if isinstance(next(self._events), yaml.StreamEndEvent):
            raise Unreadable(
                0, "the file is empty; write at least one key, as in ae_title: SCPD, or name no file for the defaults"
            )
        root = self._node(next(self._events), 0)
        next(self._events)  # the end of the document
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise Unreadable(_line(after), "a second document begins here; remove the line of ---")
        return root

    def _node(self, event: yaml.Event, depth: int) -> Node:
        line = _line(event)
        self._left -= 1
        if depth > DEEPEST:
            raise Unreadable(line, f"nested deeper than {DEEPEST}; no key lies that deep")
        if self._left < 0:
            raise Unreadable(line, f"more than {MOST_NODES} values; no configuration has that many")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, line)
        if getattr(event, "tag", None):
            raise Unreadable(line, f"the tag {shown(_tag(event))} is not read; leave it out")
        return self._anchored(event, line, depth)

    def _anchored(self, event: yaml.Event, line: int, depth: int) -> Node:
        anchor = getattr(event, "anchor", None)
        if anchor:
            self._anchors[anchor] = None
        node = self._built(event, line, depth)
        if anchor:
            self._anchors[anchor] = node
        return node

    def _built(self, event: yaml.Event, line: int, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return Scalar(line, event.value, plain=event.style is None or event.style == "")
        if isinstance(event, yaml.SequenceStartEvent):
            return Sequence(line, list(self._until(yaml.SequenceEndEvent, depth)))
        values = self._until(yaml.MappingEndEvent, depth)
        return Mapping(line, list(zip(values, values, strict=True)))

    def _until(self, end: type[yaml.Event], depth: int) -> Iterator[Node]:
        while not isinstance(event := next(self._events), end):
            yield self._node(event, depth + 1)

    def _alias(self, event: yaml.AliasEvent, line: int) -> Node:
        name = str(event.anchor)
        if name not in self._anchors:
            raise Unreadable(line, f"*{shown(name)} has no anchor; write &{shown(name)} before the value it repeats")
        node = self._anchors[name]
        if node is None:
            raise Unreadable(line, f"*{shown(name)} stands within what it repeats; write the value out")
        return node


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


def _tag(event: yaml.Event) -> str:
    return str(getattr(event, "tag", "")).replace("tag:yaml.org,2002:", "!!")
