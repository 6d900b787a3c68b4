"""The status page: the order of its sections, and the two forms. Whole without JavaScript, which only refreshes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scpd.admin import retention, sections, upkeep
from scpd.admin.figures import moment, several
from scpd.admin.frame import Notice, document, links, section, token_field, told
from scpd.admin.markup import EMPTY, Markup, element, joined
from scpd.admin.table import nothing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from scpd.admin.facts import Facts, Part
    from scpd.admin.history import Point


NOTICES = {
    "aborted": Notice("The association was aborted."),
    "gone": Notice("There is no such association any more.", is_bad=True),
    "draining": Notice("scpd takes nothing new, waits for the associations that go on, and ends."),
    "unconfirmed": Notice("scpd was not stopped: confirm it by the box above the button.", is_bad=True),
}

_CLOSED = "To abort associations or stop scpd from here, write admin.token in its configuration."
_ENDS = "It takes nothing new, waits for the associations that go on as long as timeouts.shutdown says, and ends."


class Sight(NamedTuple):
    """All that the page shows. ``rates`` are bytes a second by association ID; ``can_act`` says a token is there.

    ``has_index`` says that there is something to look through.
    """

    facts: Facts
    parts: Sequence[Part]
    points: Sequence[Point]
    rates: Mapping[str, float]
    now: datetime
    can_act: bool
    notice: Notice | None = None
    has_index: bool = False


def page(sight: Sight) -> str:
    """The document."""
    main = (told(sight.notice), *_sections(sight))
    return document(f"{_state(sight)[0]} · scpd", _header(sight), main, _footer(sight), refreshes=True)


def _state(sight: Sight) -> tuple[str, str]:
    if sight.facts.is_stopping:
        return "Stopping", "warn"
    faulty = sum(not part.is_ready for part in sight.parts)
    return ("Not ready", "bad") if faulty else ("Ready", "ok")


def _header(sight: Sight) -> Markup:
    words, style = _state(sight)
    titles = ", ".join(dict.fromkeys(server.ae_title for server in sight.facts.servers))
    badge = element("span", words, class_=f"badge large {style}")
    state = element("p", badge, id="state", role="status", data_live=True)
    name = element("h1", "scpd ", element("span", titles))
    read = element("p", f"As of {moment(sight.now, sight.now)}", id="read", data_live=True)
    held = element("p", element("a", "Patients and studies", href="/held")) if sight.has_index else EMPTY
    return joined(name, state, held, read, element("p", id="stale", role="status"))


def _footer(sight: Sight) -> Markup:
    about = element("p", f"scpd {sight.facts.version}, since {sight.facts.started:%Y-%m-%d %H:%M:%S %Z}")
    return joined(about, links("/ready", "/live", "/metrics", "/status.json"))


def _sections(sight: Sight) -> Sequence[Markup]:
    facts, now = sight.facts, sight.now
    live = sections.associations(facts.servers, sight.rates, now, may_act=sight.can_act)
    return (
        section("readiness", "Readiness", _live("parts", _parts(sight))),
        _live("tiles", sections.tiles(facts, sight.points, now)),
        section("associations", "Associations", _abort_form() if sight.can_act else EMPTY, _live("living", live)),
        section("throughput", "Throughput", _live("plots", sections.throughput(sight.points))),
        section("rejections", "Last rejections", _live("refusals", sections.refusals(facts.servers, now))),
        section("servers", "Servers", _live("counts", sections.server_table(facts.servers))),
        element(
            "div",
            section("storage", "Storage", _live("stores", upkeep.stores(facts.stores))),
            section("queues", "Queues", _live("waiting", upkeep.queues(facts.queues))),
            class_="pair",
        ),
        _retention(sight),
        element(
            "div",
            section("reloads", "Reloads", _live("reloaded", upkeep.reloads(facts.reloads, now))),
            section("configuration", "Configuration", _live("said", upkeep.configuration(facts.configuration))),
            class_="pair",
        ),
        section("stop", "Stop", _drain_form() if sight.can_act else nothing(_CLOSED)),
    )


def _retention(sight: Sight) -> Markup:
    """Where there are rules."""
    found = sight.facts.retention
    told = _live("retained", retention.standings(found, sight.now))
    return section("retention", "Retention", told) if found else EMPTY


def _live(name: str, content: Markup) -> Markup:
    """What is looked at anew every few seconds."""
    return element("div", content, id=name, data_live=True)


def _parts(sight: Sight) -> Markup:
    faulty = sum(not part.is_ready for part in sight.parts)
    troubled = sum(part.is_ready and part.in_trouble for part in sight.parts)
    words = f"{several(faulty, 'part is', 'parts are')} not ready." if faulty else "Every part is as it should be."
    if troubled:
        words = (
            f"{words if faulty else 'Associations are served.'} {several(troubled, 'part needs', 'parts need')} a look."
        )
    ordered = sorted(sight.parts, key=lambda part: (part.is_ready, not part.in_trouble))
    return joined(element("p", words), element("ul", *map(sections.part, ordered), class_="parts"))


def _abort_form() -> Markup:
    """The buttons stand in the table. Enter in the field does nothing: it names no association."""
    label = element("label", "Token, to abort one of them", for_="abort-token")
    nothing = element("button", "Abort", disabled=True, hidden=True)
    return element(
        "form", nothing, element("p", label, token_field("abort-token")), id="abort", method="post", class_="act"
    )


def _drain_form() -> Markup:
    label = element("label", "Token, to stop scpd", for_="drain-token")
    box = element("input", type="checkbox", name="confirm", value="yes", id="drain-confirm", required=True)
    confirm = element("label", "Yes, stop this scpd", for_="drain-confirm")
    button = element("button", "Stop scpd", class_="danger")
    form = element(
        "form",
        element("p", _ENDS),
        element("p", label, token_field("drain-token")),
        element("p", box, confirm, class_="check"),
        element("p", button),
        method="post",
        action="/drain",
        class_="act",
    )
    return element("details", element("summary", "Stop scpd …"), form, id="drain")
