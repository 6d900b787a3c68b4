"""The sections of the status page about what stands around the servers: storage, queues, reloads, configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.admin.figures import duration, moment, several, size
from scpd.admin.markup import EMPTY, Markup, element, joined
from scpd.admin.table import Column, Row, none, nothing, table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from scpd.admin.facts import QueueFacts, ReloadFacts, StoreFacts


def stores(found: Sequence[StoreFacts]) -> Markup:
    """How full each storage directory's file system is."""
    return element("ul", *map(_store, found), class_="stores") if found else nothing("There is none.")


def _store(one: StoreFacts) -> Markup:
    name = element("p", element("code", one.directory), class_="name")
    if one.size < 0 or one.free < 0:
        return element("li", name, element("p", "How much is free cannot be told: look at the file system."))
    files = f", {several(one.free_files, 'more file', 'more files')}" if one.free_files >= 0 else ""
    is_short = one.free < one.reserve
    words = f"{size(one.free)} free of {size(one.size)}{files}; {size(one.reserve)} is the reserve"
    badge = element("span", "Below the reserve: storing is refused", class_="badge bad") if is_short else EMPTY
    usable = max(0, one.size - one.reserve)
    meter = element(
        "meter",
        words,
        min=0,
        max=max(1, one.size),
        value=one.size - one.free,
        high=usable,
        low=min(usable, one.size * 9 // 10),
        optimum=0,
        aria_label=f"Used of {one.directory}",
    )
    return element("li", name, meter, element("p", words, " ", badge))


def queues(found: Sequence[QueueFacts]) -> Markup:
    """What waits to go out."""
    if not found:
        return nothing("There is none.")
    columns = [
        Column("Queue"),
        Column("Waiting", "number"),
        Column("Failed", "number"),
        Column("Oldest", "short"),
        Column("Last trouble", "long"),
    ]
    rows = [
        Row(
            (
                joined(one.name, " ", element("small", one.kind)),
                f"{one.waiting:,}",
                f"{one.failed:,}",
                duration(one.oldest) if one.waiting else none("none"),
                one.trouble or none("none"),
            )
        )
        for one in found
    ]
    return table("What waits to go out", columns, rows)


def reloads(told: ReloadFacts, now: datetime) -> Markup:
    """What reloads came to."""
    if told.last is None:
        return nothing("Not reloaded since the start.")
    badge = element("span", "Failed" if told.faults else "Done", class_="badge bad" if told.faults else "badge ok")
    last = element("p", f"The last one was at {moment(told.last, now)} ", badge)
    counts = element("p", f"{told.done:,} took effect, {told.failed:,} did not and changed nothing.")
    faults = element("ul", *(element("li", element("code", fault)) for fault in told.faults), class_="faults")
    return joined(last, faults if told.faults else EMPTY, counts)


def configuration(text: str) -> Markup:
    """What is in force, to be opened."""
    shown = element("pre", element("code", text), tabindex=0, role="region", aria_label="Configuration as YAML")
    return element("details", element("summary", "Show it as YAML"), shown, id="configuration-text")
