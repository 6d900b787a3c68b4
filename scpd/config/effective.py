"""A configuration → the YAML that says all of it: every default filled in, groups and secrets as in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from scpd.config.scalars import escape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scpd.config.faults import KeyPath
    from scpd.config.model import Config

_WIDTH = 100


def effective(config: Config) -> str:
    """YAML that loads as an equal configuration. A value from a ``file:`` is shown as its reference."""
    return yaml.safe_dump(shown(config), sort_keys=False, allow_unicode=True, width=_WIDTH)


def shown(config: Config) -> dict[str, Any]:
    """The same as plain data."""
    data: dict[str, Any] = _escaped(config.model_dump(mode="json"))
    for server, origins in zip(data["servers"], config.places.servers, strict=False):
        if "name" not in origins.lines and ("ae_title",) in origins.references:
            del server["name"]  # it repeats the AE title
        _refer(server, origins.references)
    _refer(data, config.places.process.references)
    return data


def _refer(data: Any, references: Mapping[KeyPath, str]) -> None:
    for path, reference in references.items():
        _put(data, path, escape(reference))


def _put(data: Any, path: KeyPath, reference: str) -> None:
    """The last place on the way that the effective data has: a name alone stands there as a mapping."""
    for part in path[:-1]:
        if isinstance(data[part], str):
            data[part] = reference
            return
        data = data[part]
    data[path[-1]] = reference


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, dict):
        return {key: _escaped(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_escaped(each) for each in value]
    return value
