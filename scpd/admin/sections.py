"""The sections of the status page about associations and servers, each a function of facts.

Text of peers is told as such (``bdi``), and escaped like all other.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING

from scpd.admin.figures import digits, duration, moment, several, size
from scpd.admin.markup import EMPTY, Markup, element, joined
from scpd.admin.plot import Line, plot
from scpd.admin.table import Column, Row, none, nothing, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from scpd.admin.facts import Facts, Part, ServerFacts
    from scpd.admin.history import Point
    from scpd.server.record import Live
    from scpd.telemetry.statistics import Refusal

MOST_LIVE = 200
_MOST_REFUSALS = 25
_MOST_ANSWERS = 40
_SOON = 30  # days


def part(one: Part) -> Markup:
    """One part of the daemon, whether it is ready, and why not."""
    words, style = ("Not ready", "bad") if not one.is_ready else ("Look", "warn") if one.in_trouble else ("Ready", "ok")
    badge = element("span", words, class_=f"badge {style}")
    why = element("p", one.why) if one.why else EMPTY
    return element("li", element("p", element("b", one.name), " ", badge, class_="name"), why)


def tiles(facts: Facts, points: Sequence[Point], now: datetime) -> Markup:
    """The few numbers to look at first."""
    servers = facts.servers
    latest = points[-1] if points else None
    asked = _asked(servers)
    told = (
        ("Associations", str(sum(one.associations for one in servers)), _of_most(servers)),
        ("Receiving", f"{size(latest.received)}/s" if latest else "not yet", _sum_of(servers, "received")),
        ("Sending", f"{size(latest.sent)}/s" if latest else "not yet", _sum_of(servers, "sent")),
        ("Messages", f"{digits(latest.messages)}/s" if latest else "not yet", f"{_messages(servers):,} in all"),
        ("Rejected", f"{asked['rejected']:,}", f"{asked['accepted']:,} accepted"),
        ("Running for", duration((now - facts.started).total_seconds()), f"since {moment(facts.started, now)}"),
    )
    return element("dl", *(_tile(*each) for each in told), class_="tiles")


def _tile(name: str, value: str, beside: str) -> Markup:
    return element("div", element("dt", name), element("dd", element("b", value), " ", element("span", beside)))


def _of_most(servers: Sequence[ServerFacts]) -> str:
    return f"of at most {sum(one.most_associations for one in servers):,}"


def _sum_of(servers: Sequence[ServerFacts], field: str) -> str:
    return f"{size(sum(getattr(one.counts, field) for one in servers))} in all"


def _messages(servers: Iterable[ServerFacts]) -> int:
    return sum(sum(one.counts.tally.messages.values()) for one in servers)


def _asked(servers: Iterable[ServerFacts]) -> Counter[str]:
    found: Counter[str] = Counter()
    for one in servers:
        found += _results(one)
    return found


def _results(server: ServerFacts) -> Counter[str]:
    found: Counter[str] = Counter()
    for (_, _, result, _), count in server.counts.associations.items():
        found[result] += count
    return found


def associations(servers: Sequence[ServerFacts], rates: Mapping[str, float], now: datetime, *, may_act: bool) -> Markup:
    """Those that go on, in the order they came, with a button for each."""
    living = [(one.name, live) for one in servers for live in one.live]
    if not living:
        return nothing("There is none at the moment.")
    columns = [
        Column("Peer", "peer"),
        Column("Calling → called"),
        *([Column("Server")] if len(servers) > 1 else []),
        Column("User"),
        Column("Since", "short"),
        Column("Now"),
        Column("Messages", "number"),
        Column("Bytes", "number"),
        Column("Rate", "number"),
        *([Column("Action", "short")] if may_act else []),
    ]
    rows = [
        Row(
            (
                _peer(live.peer),
                joined(_peer(live.calling), " → ", _peer(live.called)),
                *([server] if len(servers) > 1 else []),
                _peer(live.user) if live.user else none("nobody said"),
                joined(moment(live.since, now), " ", element("small", f"{duration(live.seconds)} ago")),
                live.message or none("waits"),
                f"{live.messages:,}",
                size(live.received + live.sent),
                f"{size(rates.get(live.association_id, 0.0))}/s",
                *([_abort(live)] if may_act else []),
            ),
            f"association-{live.association_id}",
        )
        for server, live in living[:MOST_LIVE]
    ]
    left_out = len(living) - MOST_LIVE
    more = f"{several(left_out, 'more is', 'more are')} not shown; /status.json has all of them."
    return joined(table("Associations that go on", columns, rows), element("p", more) if left_out > 0 else EMPTY)


def _abort(live: Live) -> Markup:
    return element(
        "button",
        "Abort",
        class_="danger",
        form="abort",
        formaction=f"/associations/{live.association_id}/abort",
        id=f"abort-{live.association_id}",
        aria_label=f"Abort the association of {live.calling} from {live.peer}",
    )


def throughput(points: Sequence[Point]) -> Markup:
    """Three plots, and the same by minute as a table."""
    ages = [point.ago for point in points]
    received = Line("Received", "first", [point.received for point in points])
    sent = Line("Sent", "second", [point.sent for point in points])
    messages = Line("Now", "first", [point.messages for point in points])
    there = Line("Now", "first", [float(point.associations) for point in points])
    plots = element(
        "div",
        plot("plot-bytes", "Bytes a second", ages, [received, sent], "B/s"),
        plot("plot-messages", "Messages a second", ages, [messages], "/s"),
        plot("plot-associations", "Associations", ages, [there], ""),
        class_="plots",
    )
    numbers = element("details", element("summary", "The same as a table"), _by_minute(points), id="plot-numbers")
    return joined(plots, numbers)


def _by_minute(points: Sequence[Point]) -> Markup:
    minutes: dict[int, list[Point]] = {}
    for point in reversed(points):
        minutes.setdefault(int(point.ago // 60), []).append(point)
    rows = [Row((_minute(minute), *_means(within))) for minute, within in minutes.items()]
    columns = [
        Column("Minutes ago"),
        *(Column(name, "number") for name in ("Received", "Sent", "Messages a second", "Associations")),
    ]
    return table("What went through by minute, on average", columns, rows, hide_caption=False)


def _minute(minute: int) -> str:
    return "less than 1" if minute == 0 else str(minute)


def _means(points: Sequence[Point]) -> tuple[str, str, str, str]:
    received, sent, messages, there = (sum(values) / len(points) for values in list(zip(*points, strict=True))[1:])
    return f"{size(received)}/s", f"{size(sent)}/s", digits(messages), digits(there)


def refusals(servers: Sequence[ServerFacts], now: datetime) -> Markup:
    """The last that were rejected: why, and which line of the configuration decided."""
    found = sorted(chain.from_iterable(_of_server(one) for one in servers), key=lambda each: each[1].when, reverse=True)
    if not found:
        return nothing("None since the start.")
    columns = [
        Column("When", "short"),
        Column("Peer", "peer"),
        *map(Column, ("Calling → called", "Server")),
        *(Column(heading, "long") for heading in ("Rejection", "Why", "Decided by")),
    ]
    rows = [
        Row(
            (
                moment(each.when, now),
                _peer(each.peer),
                joined(_peer(each.calling), " → ", _peer(each.called)),
                server,
                each.rejection,
                each.why,
                _deciding(each),
            )
        )
        for server, each in found[:_MOST_REFUSALS]
    ]
    return table("Associations that were rejected lately", columns, rows)


def _of_server(server: ServerFacts) -> Iterable[tuple[str, Refusal]]:
    return ((server.name, each) for each in server.refusals)


def _deciding(refusal: Refusal) -> Markup:
    if not refusal.key:
        return none("the standard")
    place = element("small", refusal.where) if refusal.where else EMPTY
    return joined(element("code", refusal.key), " ", place)


def server_table(servers: Sequence[ServerFacts]) -> Markup:
    """What was counted of each server since the start."""
    names = ("Associations", "Accepted", "Rejected", "Turned away", "Messages", "Received", "Sent")
    columns = [Column("Server"), Column("Listens on", "long"), *(Column(name, "number") for name in names)]
    rows = [
        Row(
            (
                joined(one.name, " ", element("small", f"AE title {one.ae_title}")),
                joined(one.address, " ", element("small", _protection(one))),
                joined(f"{one.associations:,}", " ", element("small", _room(one))),
                *(f"{_results(one)[result]:,}" for result in ("accepted", "rejected")),
                f"{one.turned_away:,}",
                f"{_messages([one]):,}",
                size(one.counts.received),
                size(one.counts.sent),
            )
        )
        for one in servers
    ]
    return joined(table("Servers, and what they did since the start", columns, rows), _answers(servers))


def _room(server: ServerFacts) -> str:
    return f"of {server.most_associations:,}, {several(server.connections, 'connection')}"


def _protection(server: ServerFacts) -> str:
    if not server.tls:
        return "without TLS"
    days = server.certificate_days
    if days is None:
        return f"TLS {server.tls}"
    if days < 0:
        return f"TLS {server.tls}, its certificate has expired"
    hurry = ": renew it" if days < _SOON else ""
    return f"TLS {server.tls}, certificate good for {several(days, 'day')}{hurry}"


def _answers(servers: Iterable[ServerFacts]) -> Markup:
    found: Counter[tuple[str, int]] = Counter()
    for one in servers:
        found.update(one.counts.tally.messages)
    if not found:
        return EMPTY
    columns = [Column("Service"), Column("Status"), Column("Responses", "number")]
    rows = [
        Row((operation, element("code", f"{status:04X}"), f"{count:,}"))
        for (operation, status), count in found.most_common(_MOST_ANSWERS)
    ]
    shown = table("Responses that were sent, by service and status", columns, rows)
    return element("details", element("summary", "Responses by service and status"), shown, id="answers")


def _peer(text: str) -> Markup:
    return element("bdi", text)
