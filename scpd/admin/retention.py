"""The section of the status page about retention: what the rules of each store have deleted, and what had to stay."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from scpd.admin.figures import moment, several, size
from scpd.admin.markup import EMPTY, Markup, element, joined
from scpd.admin.table import Column, Row, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scpd.retention.keeper import Standing

_COLUMNS = (
    Column("Rule"),
    Column("Studies deleted", "number"),
    Column("Instances", "number"),
    Column("Size", "number"),
)


def standings(found: Sequence[Standing], now: datetime) -> Markup:
    """Each store with rules; since the start."""
    return element("ul", *(_standing(one, now) for one in found), class_="stores")


def _standing(one: Standing, now: datetime) -> Markup:
    name = element("p", element("code", one.directory), class_="name")
    rows = [
        Row((rule.name, f"{rule.studies:,}", f"{rule.instances:,}", size(rule.size) if rule.size else "0"))
        for rule in one.rules
    ]
    told = table(f"What the rules of {one.directory} have deleted since the start", _COLUMNS, rows)
    trouble = element("p", element("span", one.trouble, class_="badge bad")) if one.trouble else EMPTY
    return element("li", name, trouble, told, element("p", _last(one, now)), _held_back(one))


def _last(one: Standing, now: datetime) -> str:
    if one.last is None:
        return "No pass has ended yet."
    return f"The last pass ended at {moment(datetime.fromtimestamp(one.last, UTC), now)}."


def _held_back(one: Standing) -> Markup:
    if not one.held_back:
        return EMPTY
    items = (element("li", f"{several(count, 'study', 'studies')}: {why}") for why, count in one.held_back.items())
    return joined(element("p", "Due, and held back:"), element("ul", *items))
