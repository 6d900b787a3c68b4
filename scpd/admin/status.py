"""The facts as JSON, for scripts: the names are those of the facts, times are ISO 8601, sizes bytes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from scpd.telemetry.statistics import BUCKETS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scpd.admin.facts import Facts, Part, ReloadFacts, ServerFacts
    from scpd.retention.keeper import Standing
    from scpd.telemetry.statistics import Counts, Histogram, Tally


def status(facts: Facts, parts: Sequence[Part]) -> dict[str, Any]:
    """All of it as plain data."""
    return {
        "version": facts.version,
        "started": facts.started.isoformat(),
        "is_stopping": facts.is_stopping,
        "ready": all(part.is_ready for part in parts),
        "parts": [part._asdict() for part in parts],
        "servers": [_server(one) for one in facts.servers],
        "stores": [one._asdict() for one in facts.stores],
        "queues": [one._asdict() for one in facts.queues],
        "retention": [_retention(one) for one in facts.retention],
        "reloads": _reloads(facts.reloads),
        "configuration": facts.configuration,
    }


def _server(one: ServerFacts) -> dict[str, Any]:
    return {
        **one._asdict(),
        "live": [{**live._asdict(), "since": live.since.isoformat()} for live in one.live],
        "refusals": [{**each._asdict(), "when": each.when.isoformat()} for each in one.refusals],
        "counts": _counts(one.counts),
        "retrieved": [_named(("how", "result", "count"), *key, count) for key, count in one.retrieved.items()],
    }


def _counts(counts: Counts) -> dict[str, Any]:
    associations = ("calling", "called", "result", "reason", "count")
    contexts = ("abstract_syntax", "reason", "count")
    return {
        **counts._asdict(),
        "associations": [_named(associations, *key, count) for key, count in counts.associations.items()],
        "rejected_contexts": [_named(contexts, *key, count) for key, count in counts.rejected_contexts.items()],
        "ended": dict(counts.ended),
        "identity_failures": dict(counts.identity_failures),
        "tally": _tally(counts.tally),
        "lasted": _histogram(counts.lasted),
    }


def _tally(tally: Tally) -> dict[str, Any]:
    names = ("operation", "status", "count")
    return {
        "messages": [
            _named(names, operation, f"{number:04X}", count) for (operation, number), count in tally.messages.items()
        ],
        "times": {operation: _histogram(times) for operation, times in tally.times.items()},
    }


def _histogram(histogram: Histogram) -> dict[str, Any]:
    return {"up_to": [*BUCKETS, None], "counts": list(histogram.counts), "total": histogram.total}


def _retention(one: Standing) -> dict[str, Any]:
    last = None if one.last is None else datetime.fromtimestamp(one.last, UTC)
    return {**one._asdict(), "rules": [rule._asdict() for rule in one.rules], "last": _iso(last)}


def _reloads(reloads: ReloadFacts) -> dict[str, Any]:
    return {**reloads._asdict(), "last": _iso(reloads.last), "faults": list(reloads.faults)}


def _iso(when: datetime | None) -> str | None:
    return when.isoformat() if when else None


def _named(names: Sequence[str], *values: object) -> dict[str, object]:
    return dict(zip(names, values, strict=True))
