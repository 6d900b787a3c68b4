"""What one configuration says otherwise than another, key by key, for the log of a reload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scpd.config.effective import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.config.model import Config

_NOTHING = "nothing"
_LONGEST = 200


def difference(before: Config, after: Config) -> list[str]:
    """Each key whose value is another, as ``servers[ARCHIVE].limits.associations: 200 → 300``; secrets are masked."""
    old, new = dict(_flat(_by_name(before), "")), dict(_flat(_by_name(after), ""))
    keys = dict.fromkeys((*old, *new))
    return [
        f"{key}: {_text(old.get(key, _NOTHING))} → {_text(new.get(key, _NOTHING))}"
        for key in keys
        if old.get(key, _NOTHING) != new.get(key, _NOTHING)
    ]


def _by_name(config: Config) -> dict[str, Any]:
    data = shown(config)
    servers = {f"servers[{server['name']}]": server for server in data.pop("servers")}
    return {**servers, **data}


def _flat(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Mappings key by key; a list is compared as a whole, since its entries have no names."""
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from _flat(each, f"{key}.{name}" if key else name)
    else:
        yield key, value


def _text(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else _NOTHING if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
