"""The figures as Markdown: one table of medians, one of bars."""

import importlib.metadata
import importlib.util
import os
import platform
from dataclasses import dataclass, field
from statistics import median

from rows import Bar, Row
from servers import SERVERS, dcmtk_version, orthanc_version


@dataclass
class Outcome:
    """What the runs of one row gave: figures by (server, metric), and failures as sentences."""

    row: Row
    figures: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, server, figures):
        for metric, value in figures.items():
            self.figures.setdefault((server.name, metric), []).append(value)

    def median(self, server, metric):
        values = self.figures.get((server.name, metric))
        return median(values) if values else None

    def value(self, bar):
        """What stands against the bar's bound; None where a side of it was not measured."""
        own = self.median(bar.of, bar.metric)
        if bar.against is None or own is None:
            return own
        other = self.median(bar.against, bar.other or bar.metric)
        return own / other if other else None

    def missed(self):
        return [bar for bar in self.row.bars if not _reached(bar, self.value(bar))]


def report(outcomes, *, ground, rounds, missing):
    """The whole report as Markdown text."""
    parts = [
        f"# scpd: benchmarks\n\n{_circumstances(ground, rounds)}",
        _medians(outcomes),
        _bars(outcomes, smoke=ground.smoke),
    ]
    remarks = [f"Not installed, what needs it is empty: {peer}." for peer in missing]
    remarks += [f"{note}." for note in ground.notes]
    if remarks:
        parts.append("\n".join(f"- {remark}" for remark in remarks))
    failures = [f"- {outcome.row.name}: {line}" for outcome in outcomes for line in outcome.failures]
    if failures:
        parts.append("## Failures\n\n" + "\n".join(failures))
    return "\n\n".join(parts) + "\n"


def _circumstances(ground, rounds):
    peers = [f"Python {platform.python_version()}"]
    if version := dcmtk_version():
        peers.append(f"DCMTK {version.lstrip('v')}")
    if importlib.util.find_spec("pynetdicom"):
        peers.append(f"pynetdicom {importlib.metadata.version('pynetdicom')}")
    if version := orthanc_version():
        peers.append(f"Orthanc {version}")
    if command := os.environ.get("SCPD_BENCH_COMMAND"):
        peers.append(f"**scpd replaced by** `{command}`")
    smoke = " Smoke: tiny counts, the figures mean nothing." if ground.smoke else ""
    return (
        f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, {', '.join(peers)}; "
        f"servers' files in {ground.served}, durability `{ground.durability}`, rounds: {rounds}. "
        f"Medians (min–max); the bars are for memory and durability `none`.{smoke}"
    )


def _medians(outcomes):
    asked = {entry.server.name for outcome in outcomes for entry in outcome.row.entries}
    servers = [server for server in SERVERS if server.name in asked]
    head = ["row", "what", "unit", *(server.name for server in servers)]
    body = [
        [
            outcome.row.name,
            outcome.row.title,
            metric.unit,
            *(_cell(outcome.figures.get((server.name, metric.name)), metric) for server in servers),
        ]
        for outcome in outcomes
        for metric in outcome.row.metrics
    ]
    return _table("lll" + "r" * len(servers), head, body)


def _cell(values, metric):
    if not values:
        return ""
    low, mid, high = (f"{v:,.{metric.digits}f}" for v in (min(values), median(values), max(values)))
    return f"{mid} ({low}–{high})"


def _bars(outcomes, *, smoke):
    body = [_bar(outcome, bar, smoke) for outcome in outcomes for bar in outcome.row.bars]
    return _table("llrrl", ["row", "what", "measured", "bar", "reached"], body)


def _bar(outcome: Outcome, bar: Bar, smoke: bool):
    unit = next(metric.unit for metric in outcome.row.metrics if metric.name == bar.metric)
    value = outcome.value(bar)
    what, sign = (f"{bar.of.name} ÷ {bar.against.name}", " ×") if bar.against else (f"{bar.of.name}, {unit}", "")
    if bar.other:
        what = f"{bar.metric} ÷ {bar.other}, with {bar.against.name}"
    measured = "" if value is None else f"{value:,.2f}{sign}"
    if value is None:
        verdict = "not measured"
    elif smoke:
        verdict = "(smoke)"
    else:
        verdict = "yes" if bar.reached(value) else "**no**"
    bound = f"{'≤' if bar.at_most else '≥'} {bar.bound:g}{sign}"
    return [outcome.row.name, what, measured, bound, verdict]


def _reached(bar, value):
    return value is None or bar.reached(value)


def _table(alignment, head, body):
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    rule = [
        "-" * (width - 1) + ":" if side == "r" else "-" * width for side, width in zip(alignment, widths, strict=True)
    ]
    lines = [
        [
            text.rjust(width) if side == "r" else text.ljust(width)
            for side, text, width in zip(alignment, line, widths, strict=True)
        ]
        for line in (head, rule, *body)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
