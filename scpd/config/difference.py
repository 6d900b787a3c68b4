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
    """Each key whose value is another, as ``servers[ARCHIVE].limits.associations: 200 → 300``.

    Secrets are masked; one that is another, and looks like the one before, is told as that.
    """
    old, new = _by_key(before, shown(before)), _by_key(after, shown(after))
    meant, means = _by_key(before, before.model_dump()), _by_key(after, after.model_dump())
    told = []
    for key in dict.fromkeys((*old, *new)):
        was, is_now = old.get(key, _NOTHING), new.get(key, _NOTHING)
        if was != is_now:
            told.append(f"{key}: {_text(was)} → {_text(is_now)}")
        elif meant.get(key) != means.get(key):
            told.append(f"{key}: {_text(was)}, which is another by now")
    return told


def _by_key(config: Config, data: dict[str, Any]) -> dict[str, Any]:
    """Plain data of a configuration, its servers by their names."""
    each = zip(config.servers, data.pop("servers"), strict=True)
    servers = {f"servers[{server.name}]": stated for server, stated in each}
    return dict(_flat({**servers, **data}, ""))


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
