"""A document → one layer of data per server: the keys at the top, and over them the server's own.

Mappings merge key by key, anything else replaces. Knows which keys are the process's, and nothing of the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scpd.config.faults import Fault, KeyPath, dotted, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scpd.config.document import Document

# Each takes the keys at the top once more, and a port, threads and memory of its own.
MOST_SERVERS = 100
# What all servers together may take over: beyond it, loading takes longer than a start may.
MOST_TAKEN_OVER = 200_000


@dataclass(frozen=True)
class Layer:
    """The data of one server. ``origins`` leads from each path in it to the path in the file."""

    data: dict[str, Any]
    origins: Mapping[KeyPath, KeyPath]

    def origin(self, path: KeyPath) -> KeyPath:
        """Where in the file ``path`` stands, or the longest beginning of it that stands there."""
        while path and path not in self.origins:
            path = path[:-1]
        return self.origins.get(path, ())


def top_layer(document: Document, process_keys: tuple[str, ...]) -> Layer:
    """The keys at the top that are servers' defaults."""
    return _layer({k: v for k, v in document.data.items() if k not in process_keys}, ())


def server_layers(document: Document, top: Layer) -> tuple[list[Layer], list[Fault]]:
    """A layer for each entry of ``servers``, or the top alone where there is none."""
    entries = document.data.get("servers", [{}])
    if what := _list_fault(entries, len(top.origins)):
        return [], [Fault(document.lines["servers",], "servers", what)]
    if "servers" not in document.data:
        return [top], []
    layers, faults = [], []
    for i, entry in enumerate(entries):
        if isinstance(entry, dict):
            layers.append(overlay(top, _layer(entry, ("servers", i))))
        else:
            faults.append(_entry_fault(document, entry, ("servers", i)))
    return layers, faults


def _list_fault(entries: Any, shared: int) -> str:
    if not isinstance(entries, list):
        return f"{shown(entries)} is not a list; begin each server with '- ', or leave the key out"
    if not entries:
        return "the list is empty; leave the key out for one server of the keys at the top"
    if len(entries) > MOST_SERVERS:
        return f"{len(entries)} servers; write at most {MOST_SERVERS}, and start scpd twice for more"
    if len(entries) * shared > MOST_TAKEN_OVER:
        return f"{len(entries)} servers would take over {shared} values each; move some from the top to their server"
    return ""


def _entry_fault(document: Document, entry: Any, path: KeyPath) -> Fault:
    what = f"{shown(entry)} is not a mapping; write keys, or {{}} for a server of the keys at the top"
    return Fault(document.lines[path], dotted(path), what)


def overlay(below: Layer, above: Layer) -> Layer:
    """``above`` over ``below``, with where each value came from."""
    replaced = {
        path for path in above.origins if path in below.origins and not _both_mappings(path, below.data, above.data)
    }
    kept = {
        path: origin
        for path, origin in below.origins.items()
        if not any(path[:n] in replaced for n in range(1, len(path) + 1))
    }
    return Layer(merge(below.data, above.data), {**kept, **above.origins})


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Mappings key by key, anything else as a whole."""
    merged = dict(below)
    for key, value in above.items():
        under = below.get(key)
        if isinstance(under, dict) and isinstance(value, dict):
            merged[key] = merge(under, value)
        else:
            merged[key] = value
    return merged


def _both_mappings(path: KeyPath, *data: Any) -> bool:
    for each in data:
        value = each
        for part in path:
            value = value[part]
        if not isinstance(value, dict):
            return False
    return True


def _layer(data: dict[str, Any], at: KeyPath) -> Layer:
    return Layer(data, {path: (*at, *path) for path in _paths(data, ())})


def _paths(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    yield path
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _paths(each, (*path, key))
    elif isinstance(value, list):
        for i, each in enumerate(value):
            yield from _paths(each, (*path, i))
