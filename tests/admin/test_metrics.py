"""The metrics have the values of the facts, and Prometheus takes them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from scpd.admin.facts import Part, QueueFacts, ReloadFacts, StoreFacts
from scpd.retention.keeper import RuleStanding, Standing
from scpd.telemetry.statistics import BUCKETS

from .conftest import PATIENCE, STARTED, counts, facts, server, tally

RETAINED = Standing(
    "/var/lib/scpd",
    (
        RuleStanding("older_than: 90d", "scpd.yaml:7", 3, 400, 200_000_000),
        RuleStanding("free_below: 10GiB", "scpd.yaml:8", 0, 0, 0),
    ),
    {"a hook has not succeeded yet": 2},
    STARTED.timestamp() + 60,
    "",
)
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.fixture
def scraped(site):
    """Of facts, each sample's value by its name and its labels."""

    def scrape(**changed):
        one = site()
        one.daemon.all = facts(**changed)
        one.daemon.parts = (Part("storage", False, "full"), Part("listening", True, ""))
        return values(parse(one.get("/metrics").body))

    return scrape


def values(families) -> dict:
    return {
        (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


EXPECTED = {
    ("scpd_stopping",): 0,
    ("scpd_start_time_seconds",): STARTED.timestamp(),
    ("scpd_ready", "part=storage"): 0,
    ("scpd_ready", "part=listening"): 1,
    ("scpd_associations_active", "server=archive"): 1,
    ("scpd_associations_limit", "server=archive"): 200,
    ("scpd_connections", "server=archive"): 2,
    ("scpd_connections_turned_away_total", "server=archive"): 7,
    ("scpd_certificate_remaining_seconds", "server=archive"): 20 * 86400,
    ("scpd_associations_total", "calling=CT1", "reason=", "result=accepted", "server=archive"): 4,
    (
        *("scpd_associations_total", "calling=X", "reason=called AE title not recognized"),
        *("result=rejected", "server=archive"),
    ): 2,
    ("scpd_associations_ended_total", "how=released", "server=archive"): 3,
    ("scpd_associations_ended_total", "how=aborted", "server=archive"): 1,
    ("scpd_association_seconds_count", "server=archive"): 2,
    ("scpd_association_seconds_sum", "server=archive"): 91.5,
    ("scpd_association_seconds_bucket", "le=1.0", "server=archive"): 0,
    ("scpd_association_seconds_bucket", "le=2.5", "server=archive"): 1,
    ("scpd_association_seconds_bucket", "le=600.0", "server=archive"): 2,
    ("scpd_association_seconds_bucket", "le=+Inf", "server=archive"): 2,
    (
        *("scpd_rejected_contexts_total", "abstract_syntax=CTImageStorage"),
        *("reason=ABSTRACT_SYNTAX_NOT_SUPPORTED", "server=archive"),
    ): 5,
    ("scpd_messages_total", "server=archive", "service=C-STORE", "status=0000"): 2,
    ("scpd_messages_total", "server=archive", "service=C-STORE", "status=A700"): 1,
    ("scpd_messages_total", "server=archive", "service=C-ECHO", "status=0000"): 1,
    ("scpd_message_seconds_bucket", "le=0.005", "server=archive", "service=C-STORE"): 1,
    ("scpd_message_seconds_bucket", "le=600.0", "server=archive", "service=C-STORE"): 2,
    ("scpd_message_seconds_bucket", "le=+Inf", "server=archive", "service=C-STORE"): 3,
    ("scpd_message_seconds_count", "server=archive", "service=C-STORE"): 3,
    ("scpd_message_seconds_sum", "server=archive", "service=C-STORE"): pytest.approx(700.204),
    ("scpd_received_bytes_total", "server=archive"): 1000,
    ("scpd_sent_bytes_total", "server=archive"): 500,
    ("scpd_retrieved_instances_total", "how=move", "result=completed", "server=archive"): 11,
    ("scpd_retrieved_instances_total", "how=move", "result=failed", "server=archive"): 2,
    ("scpd_retrieved_instances_total", "how=get", "result=warning", "server=archive"): 1,
    ("scpd_transcoded_instances_total", "server=archive"): 5,
    ("scpd_identity_failures_total", "form=username-passcode", "server=archive"): 4,
    ("scpd_tls_handshake_failures_total", "server=archive"): 6,
    ("scpd_storage_size_bytes", "directory=/var/lib/scpd"): 1000 * 1024**3,
    ("scpd_storage_free_bytes", "directory=/var/lib/scpd"): 400 * 1024**3,
    ("scpd_storage_reserve_bytes", "directory=/var/lib/scpd"): 5 * 1024**3,
    ("scpd_storage_free_files", "directory=/var/lib/scpd"): 123_456,
    ("scpd_queue_waiting", "kind=audit", "name=collector"): 3,
    ("scpd_queue_failed", "kind=audit", "name=collector"): 1,
    ("scpd_queue_oldest_seconds", "kind=audit", "name=collector"): 12.5,
    ("scpd_retention_deleted_studies_total", "directory=/var/lib/scpd", "rule=older_than: 90d"): 3,
    ("scpd_retention_deleted_studies_total", "directory=/var/lib/scpd", "rule=free_below: 10GiB"): 0,
    ("scpd_retention_deleted_instances_total", "directory=/var/lib/scpd", "rule=older_than: 90d"): 400,
    ("scpd_retention_deleted_bytes_total", "directory=/var/lib/scpd", "rule=older_than: 90d"): 200_000_000,
    ("scpd_retention_held_back_studies", "directory=/var/lib/scpd", "reason=a hook has not succeeded yet"): 2,
    ("scpd_retention_last_pass_timestamp_seconds", "directory=/var/lib/scpd"): STARTED.timestamp() + 60,
    ("scpd_reloads_total", "result=done"): 2,
    ("scpd_reloads_total", "result=failed"): 1,
    ("scpd_last_reload_successful",): 1,
    ("scpd_last_reload_timestamp_seconds",): STARTED.timestamp() + 3600,
}


def test_every_fact_is_there_with_its_value(scraped):
    found = scraped(retention=(RETAINED,))
    assert {key: found.get(key) for key in EXPECTED} == EXPECTED
    (build,) = [key for key in found if key[0] == "scpd_build_info"]
    assert build[2] == "version=0.1.0"
    rest = {key[0] for key in found} - {key[0] for key in EXPECTED}
    assert {name for name in rest if name.startswith("scpd_")} <= {"scpd_build_info"}


def test_the_process_is_there(scraped):
    found = scraped()
    assert found["process_open_fds",] > 3
    assert found["process_resident_memory_bytes",] > 1e6


def test_there_is_a_bucket_for_each_bound(scraped):
    found = [key for key in scraped() if key[0] == "scpd_association_seconds_bucket"]
    assert len(found) == len(BUCKETS) + 1


def test_what_cannot_be_told_is_left_out(scraped):
    found = scraped(
        stores=(StoreFacts("/gone", -1, -1, 5, -1),),
        servers=(server(certificate_days=None),),
        retention=(RETAINED._replace(directory="/gone", rules=(), held_back={}, last=None),),
        reloads=ReloadFacts(0, 1, None, ("a fault",)),
        queues=(QueueFacts("hook", "x", 0, 0, 0.0, ""),),
    )
    assert {key[0] for key in found if key[1:] == ("directory=/gone",)} == {"scpd_storage_reserve_bytes"}
    assert not [key for key in found if key[0] == "scpd_certificate_remaining_seconds"]
    assert found["scpd_last_reload_successful",] == 0
    assert found["scpd_last_reload_timestamp_seconds",] == STARTED.timestamp()


HOSTILE = 'a"b\\c\n# HELP x{y="\ud800\x00\u202e'


def test_what_peers_call_themselves_cannot_forge_a_line(scraped):
    found = scraped(
        servers=(server(counts=counts(associations={(HOSTILE, "", "accepted", ""): 1}, tally=tally())),),
        stores=(StoreFacts(HOSTILE, 1, 1, 1, 1),),
    )
    (key,) = [key for key in found if key[0] == "scpd_associations_total"]
    assert key[1] == 'calling=a"b\\c\n# HELP x{y="\\ud800\\x00\\u202e'


def test_openmetrics_where_it_is_asked_for(site):
    one = site()
    answer = one.get("/metrics", Accept=OPENMETRICS)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.body.endswith("# EOF\n")
    names = [family.name for family in parse_openmetrics(answer.body)]
    assert len(names) == len(set(names)), "a family stands once"
    assert one.get("/metrics").headers["Content-Type"].startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize(
    "accept",
    [
        *("application/openmetrics-text; version=abc", "application/openmetrics-text;version=9.9.9", ";;;,,,=", "*/*"),
        *("text/plain; version=; escaping=zzz", "application/openmetrics-text; version=1.0.0; escaping=\xff", "\xff"),
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=1.0.0;q=0.3",
    ],
)
def test_whatever_is_asked_for_metrics_come(site, accept):
    answer = site().get("/metrics", Accept=accept)
    assert answer.status == 200
    assert "scpd_build_info" in answer.body


@pytest.fixture
def promtool():
    if not (found := shutil.which("promtool")):
        pytest.skip("promtool is not installed")

    def check(*arguments: str, **how: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [found, "check", *arguments], **how, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        return done.returncode, done.stdout, done.stderr

    return check


def test_prometheus_own_check_finds_nothing(site, promtool):
    one = site()
    one.daemon.all = facts(retention=(RETAINED,))
    assert promtool("metrics", input=one.get("/metrics").body) == (0, "", "")


DOCUMENTED = Path(__file__).parents[2] / "docs" / "admin.md"


def test_the_alerts_that_are_documented_are_rules(promtool, tmp_path):
    (rules,) = [
        block for block in re.findall(r"```yaml\n(.*?)```", DOCUMENTED.read_text(), re.DOTALL) if "alert:" in block
    ]
    (tmp_path / "scpd.rules.yml").write_text(rules)
    code, said, wrong = promtool("rules", str(tmp_path / "scpd.rules.yml"))
    assert (code, wrong) == (0, "")
    assert f"{rules.count('alert:')} rules found" in said


def test_alerts_and_docs_name_metrics_that_there_are(scraped):
    told = {key[0] for key in scraped(retention=(RETAINED,))}
    named = set(re.findall(r"\bscpd_[a-z_]+[a-z]\b", DOCUMENTED.read_text())) - {"scpd_queue"}
    assert {name for name in named if not {name, f"{name}_count"} & told} == set()
