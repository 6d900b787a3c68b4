"""The facts as metrics: one family a function, gathered anew for whoever scrapes.

Names are in the style of Prometheus: base units, ``_total`` for what only grows. Knows nothing of HTTP.
"""

from __future__ import annotations

import platform
from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING, TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector as AnyCollector
from prometheus_client.registry import CollectorRegistry
from prometheus_client.utils import floatToGoString

from scpd.admin.markup import printable
from scpd.sop_class import uid_keyword
from scpd.telemetry.statistics import BUCKETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from prometheus_client.core import Metric

    from scpd.admin.facts import Facts, Part, QueueFacts, ReloadFacts, ServerFacts, StoreFacts
    from scpd.admin.inquiry import Inquiry
    from scpd.retention.keeper import Standing
    from scpd.telemetry.statistics import Histogram

Labels: TypeAlias = tuple[str, ...]
_SECONDS_A_DAY = 86400
_BOUNDS = (*map(floatToGoString, BUCKETS), "+Inf")


class Exposition:
    """All metrics of a daemon and of its process, as text."""

    def __init__(self, inquiry: Inquiry) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(inquiry))
        ProcessCollector(registry=self._registry)

    def text(self, accept: str) -> tuple[bytes, str]:
        """The text and its media type, OpenMetrics where ``accept`` asks for it."""
        try:
            encode, media = choose_encoder(accept)
        except TypeError:  # for a version that is no number
            encode, media = choose_encoder("")
        return encode(self._registry), media


class _Collector(AnyCollector):
    def __init__(self, inquiry: Inquiry) -> None:
        self._inquiry = inquiry

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is, is found when it is asked for."""
        return ()

    def collect(self) -> Iterator[Metric]:
        facts, parts = self._inquiry.facts(), self._inquiry.readiness()
        yield from _process(facts, parts)
        yield from _now(facts.servers)
        yield from _associations(facts.servers)
        yield from _traffic(facts.servers)
        yield from _retrieved(facts.servers)
        yield from _refused(facts.servers)
        yield from _stores(facts.stores)
        yield from _queues(facts.queues)
        yield from _retention(facts.retention)
        yield from _reloads(facts.reloads, facts.started.timestamp())


def _process(facts: Facts, parts: Sequence[Part]) -> Iterator[Metric]:
    build = {"version": facts.version, "python": platform.python_version()}
    yield InfoMetricFamily("scpd_build", "What runs.", value=build)
    started = facts.started.timestamp()
    yield GaugeMetricFamily("scpd_start_time_seconds", "When it was started, in Unix time.", value=started)
    yield GaugeMetricFamily("scpd_stopping", "Whether it takes nothing new any more.", value=int(facts.is_stopping))
    ready = [((part.name,), int(part.is_ready)) for part in parts]
    yield _gauge("ready", "Whether a part is as it should be.", ("part",), ready)


def _now(servers: Iterable[ServerFacts]) -> Iterator[Metric]:
    by_server = ("server",)
    active = [((one.name,), one.associations) for one in servers]
    yield _gauge("associations_active", "Associations that are established.", by_server, active)
    most = [((one.name,), one.most_associations) for one in servers]
    yield _gauge("associations_limit", "The most there may be at one time.", by_server, most)
    connections = [((one.name,), one.connections) for one in servers]
    yield _gauge("connections", "Connections, with an association or without.", by_server, connections)
    left = [((one.name,), one.certificate_days * _SECONDS_A_DAY) for one in servers if one.certificate_days is not None]
    about = "How long the server's certificate is still good for, in whole days."
    yield _gauge("certificate_remaining_seconds", about, by_server, left)


def _associations(servers: Iterable[ServerFacts]) -> Iterator[Metric]:
    asked: Counter[Labels] = Counter()
    ended: Counter[Labels] = Counter()
    for one in servers:
        for (calling, _, result, reason), count in one.counts.associations.items():
            asked[one.name, calling, result, reason] += count
        for how, count in one.counts.ended.items():
            ended[one.name, how] += count
    labels = ("server", "calling", "result", "reason")
    yield _counter("associations", "Associations that were asked for, and the answer.", labels, asked.items())
    yield _counter("associations_ended", "Associations that ended, by how.", ("server", "how"), ended.items())
    lasted = [((one.name,), one.counts.lasted) for one in servers]
    yield _histogram("association_seconds", "How long associations lasted.", ("server",), lasted)


def _traffic(servers: Iterable[ServerFacts]) -> Iterator[Metric]:
    messages = [
        ((one.name, operation, f"{status:04X}"), count)
        for one in servers
        for (operation, status), count in one.counts.tally.messages.items()
    ]
    labels = ("server", "service", "status")
    yield _counter("messages", "Responses that were sent, by service and status.", labels, messages)
    times = [((one.name, operation), taken) for one in servers for operation, taken in one.counts.tally.times.items()]
    about = "How long it took from a request to its final response."
    yield _histogram("message_seconds", about, ("server", "service"), times)
    received = [((one.name,), one.counts.received) for one in servers]
    yield _counter("received_bytes", "Bytes that came from peers.", ("server",), received)
    sent = [((one.name,), one.counts.sent) for one in servers]
    yield _counter("sent_bytes", "Bytes that went to peers.", ("server",), sent)


def _retrieved(servers: Iterable[ServerFacts]) -> Iterator[Metric]:
    labels = ("server", "how", "result")
    sent = [((one.name, *key), count) for one in servers for key, count in one.retrieved.items()]
    yield _counter("retrieved_instances", "Instances that C-MOVE and C-GET asked for, by result.", labels, sent)
    transcoded = [((one.name,), one.transcoded) for one in servers]
    about = "Those that went out in another transfer syntax than they are held in."
    yield _counter("transcoded_instances", about, ("server",), transcoded)


def _refused(servers: Iterable[ServerFacts]) -> Iterator[Metric]:
    contexts = [
        ((one.name, uid_keyword(abstract_syntax), reason), count)
        for one in servers
        for (abstract_syntax, reason), count in one.counts.rejected_contexts.items()
    ]
    labels = ("server", "abstract_syntax", "reason")
    yield _counter("rejected_contexts", "Presentation contexts that were rejected.", labels, contexts)
    failures = [((one.name, form), count) for one in servers for form, count in one.counts.identity_failures.items()]
    yield _counter("identity_failures", "User identities that did not hold, by form.", ("server", "form"), failures)
    handshakes = [((one.name,), one.counts.failed_handshakes) for one in servers]
    yield _counter("tls_handshake_failures", "Connections on which TLS failed.", ("server",), handshakes)
    away = [((one.name,), one.turned_away) for one in servers]
    yield _counter("connections_turned_away", "Connections closed for their address.", ("server",), away)


def _stores(stores: Iterable[StoreFacts]) -> Iterator[Metric]:
    about = {
        "size_bytes": ("The size of the directory's file system.", "size"),
        "free_bytes": ("What is free of it.", "free"),
        "reserve_bytes": ("What is left alone of it.", "reserve"),
        "free_files": ("How many more files it can hold.", "free_files"),
    }
    for name, (what, field) in about.items():
        told = [((one.directory,), getattr(one, field)) for one in stores if getattr(one, field) >= 0]
        yield _gauge(f"storage_{name}", what, ("directory",), told)


def _queues(queues: Iterable[QueueFacts]) -> Iterator[Metric]:
    labels = ("kind", "name")
    waiting = [((one.kind, one.name), one.waiting) for one in queues]
    yield _gauge("queue_waiting", "What waits to go out.", labels, waiting)
    failed = [((one.kind, one.name), one.failed) for one in queues]
    yield _gauge("queue_failed", "What did not go out and was set aside or lost.", labels, failed)
    oldest = [((one.kind, one.name), one.oldest) for one in queues]
    yield _gauge("queue_oldest_seconds", "How long the oldest of it has waited.", labels, oldest)


def _retention(found: Iterable[Standing]) -> Iterator[Metric]:
    labels = ("directory", "rule")
    rules = [((one.directory, rule.name), rule) for one in found for rule in one.rules]
    studies = [(key, rule.studies) for key, rule in rules]
    yield _counter("retention_deleted_studies", "Studies that a rule has deleted, or some of them.", labels, studies)
    instances = [(key, rule.instances) for key, rule in rules]
    yield _counter("retention_deleted_instances", "Instances that a rule has deleted.", labels, instances)
    size = [(key, rule.size) for key, rule in rules]
    yield _counter("retention_deleted_bytes", "Bytes of the files that a rule has deleted.", labels, size)
    held_back = [((one.directory, why), count) for one in found for why, count in one.held_back.items()]
    about = "Studies that were due in the last pass and had to stay, by the reason."
    yield _gauge("retention_held_back_studies", about, ("directory", "reason"), held_back)
    last = [((one.directory,), one.last) for one in found if one.last is not None]
    about = "When the last pass ended, in Unix time."
    yield _gauge("retention_last_pass_timestamp_seconds", about, ("directory",), last)


def _reloads(reloads: ReloadFacts, started: float) -> Iterator[Metric]:
    counts = [(("done",), reloads.done), (("failed",), reloads.failed)]
    yield _counter("reloads", "Reloads of the configuration, by result.", ("result",), counts)
    about = "Whether the last reload did not fail; 1 where there was none."
    yield GaugeMetricFamily("scpd_last_reload_successful", about, value=int(not reloads.faults))
    when = reloads.last.timestamp() if reloads.last else started
    about = "When the configuration was read last, in Unix time."
    yield GaugeMetricFamily("scpd_last_reload_timestamp_seconds", about, value=when)


def _counter(name: str, about: str, labels: Labels, values: Iterable[tuple[Labels, float]]) -> Metric:
    family = CounterMetricFamily(f"scpd_{name}", about, labels=labels)
    for each, value in values:
        family.add_metric(_clean(each), value)
    return family


def _gauge(name: str, about: str, labels: Labels, values: Iterable[tuple[Labels, float]]) -> Metric:
    family = GaugeMetricFamily(f"scpd_{name}", about, labels=labels)
    for each, value in values:
        family.add_metric(_clean(each), value)
    return family


def _histogram(name: str, about: str, labels: Labels, values: Iterable[tuple[Labels, Histogram]]) -> Metric:
    family = HistogramMetricFamily(f"scpd_{name}", about, labels=labels)
    for each, histogram in values:
        buckets = list(zip(_BOUNDS, accumulate(list(histogram.counts)), strict=True))
        family.add_metric(_clean(each), buckets, histogram.total)
    return family


def _clean(labels: Labels) -> list[str]:
    """Without what no text can be encoded with: names of peers and of directories."""
    return [printable(label) for label in labels]
