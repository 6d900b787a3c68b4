"""The parameters of this configuration (PS3.2 A.4.4.2): each key of the models with its value and its default.

What is said of a key is its description in the model, so a new key appears here by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from scpd.config.effective import shown
from scpd.config.model import Config, ConfigFile
from scpd.config.section import Section as ConfigSection
from scpd.daemon.conformance.document import Code, Section, Table
from scpd.daemon.conformance.entity import entities

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_HEADER = ("Parameter", "Value", "Default", "Meaning")
_GENERAL = ""
# In place of a default, where there can be none.
_REQUIRED = "has to be written"
_NOT_OF_THE_PROCESS = ("servers", "places")


class _Parameter(NamedTuple):
    """A key with what the configuration says of it. ``told`` and ``default`` are as they would stand in a file."""

    key: str
    value: Any
    told: Any
    default: Any
    meaning: str


def parameters(config: Config) -> Iterator[Section]:
    """A section for each server, and one for the process."""
    for entity in entities(config):
        keys = list(_keys(entity.server, dict(entity.shown)))
        yield Section(f"Parameters of {entity.name}", tuple(_tables(keys)))
    yield Section("Parameters of the process", tuple(_tables(_of_the_process(config))))


def _of_the_process(config: Config) -> Iterator[_Parameter]:
    """What a file may say once; the models of a file and of a program differ, and the words are in the former."""
    data, defaults = shown(config), _defaults(ConfigFile)
    for key, field in ConfigFile.model_fields.items():
        if key in Config.model_fields and key not in _NOT_OF_THE_PROCESS:
            yield _Parameter(key, getattr(config, key), data[key], defaults.get(key), field.description or "")


def _keys(section: ConfigSection, data: Mapping[str, Any], prefix: str = "") -> Iterator[_Parameter]:
    """The keys of a section that are shown, each with those below it still in it."""
    defaults = _defaults(type(section))
    for key, told in data.items():
        meaning = type(section).model_fields[key].description or ""
        yield _Parameter(prefix + key, getattr(section, key), told, defaults.get(key, _REQUIRED), meaning)


def _defaults(model: type[ConfigSection]) -> Mapping[str, Any]:
    """The defaults of a section as they would stand in a file; a key that has to be written has none."""
    found = model.model_construct().model_dump(mode="json", warnings=False)
    return found if isinstance(found, dict) else {}


def _tables(keys: Iterable[_Parameter]) -> Iterator[Table]:
    """The plain keys in one table, each with something below it in one of its own."""
    groups: dict[str, list[_Parameter]] = {_GENERAL: []}
    for one in keys:
        below = list(_below(one))
        groups.setdefault(one.key if below else _GENERAL, []).extend(below or [one])
    for name, rows in groups.items():
        if rows:
            yield Table(f"Parameters: {name or 'general'}", _HEADER, tuple(map(_row, rows)))


def _below(one: _Parameter) -> Iterator[_Parameter]:
    """The parameters that a key stands for: those of its section, or of each of its sections."""
    for place, value, told in _parts(one):
        if not isinstance(told, dict):  # a word, or the file of a secret, in place of a section
            yield _Parameter(place, value, told, _REQUIRED, one.meaning)
            continue
        for each in _keys(value, told, f"{place}."):
            below = list(_below(each))
            yield from below or [each]


def _parts(one: _Parameter) -> Iterator[tuple[str, ConfigSection, Any]]:
    """The sections that a value is, or holds, with their place."""
    value, told = one.value, one.told
    if isinstance(value, ConfigSection):
        yield one.key, value, told
    elif isinstance(value, tuple) and isinstance(told, list):
        for number, (each, said) in enumerate(zip(value, told, strict=False)):
            if isinstance(each, ConfigSection):
                yield f"{one.key}[{number}]", each, said
    elif isinstance(value, Mapping) and isinstance(told, dict):
        for name, each in value.items():
            if isinstance(each, ConfigSection):
                yield f"{one.key}.{name}", each, told[name]


def _row(one: _Parameter) -> tuple[str, str, str, str]:
    default = _REQUIRED if one.default is _REQUIRED else Code(_written(one.default))
    return Code(one.key), Code(_written(one.told)), default, one.meaning


def _written(value: Any) -> str:
    """As in the file."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
