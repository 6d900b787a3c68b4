"""The Conformance Statement says what the configuration and the running daemon do, in Markdown as in HTML."""

from __future__ import annotations

import ast
import importlib
import inspect
import random
import re
import struct
from collections import Counter
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
import yaml
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset

import scpd
from scpd.cli.main import main
from scpd.config import effective, load
from scpd.daemon.conformance import in_html, in_markdown, initiator, security
from scpd.daemon.conformance.chapters import statement
from scpd.daemon.conformance.document import Code, Document, Section, Table
from scpd.daemon.conformance.entity import entities
from scpd.daemon.doors import Doorkeepers
from scpd.daemon.surroundings import Surroundings
from scpd.dimse import status
from scpd.dimse.command import CFindRQ, CGetRQ, CMoveRQ, CStoreRQ, NActionRQ
from scpd.errors import ConfigurationError
from scpd.identity.claim import Form
from scpd.index.attributes import UNIQUE_KEYS, Keeping, Level
from scpd.index.conditions import Like, OneOf, Within, parse
from scpd.index.person_names import Person
from scpd.negotiation import reject
from scpd.services.commitment.module import FailureReason
from scpd.sop_class import ALL_TRANSFER_SYNTAXES, QUERY_RETRIEVE, SOP_CLASSES, STORAGE, uid_name
from scpd.telemetry import audit
from scpd.transport.profiles import PROFILES, describe
from scpd.version import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from scpd.wire.pdu import AssociateAC, AssociateRJ
from scpd.wire.user_info import SOPClassExtendedNegotiation, UserIdentityRQ

ROOT = Path(scpd.__file__).parent
EXAMPLES = Path(__file__).parents[2] / "config"
VERIFICATION = "1.2.840.10008.1.1"
CT, MR, CR = (f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("2", "4", "1"))
SECONDARY_CAPTURE, ULTRASOUND = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.6.1"
FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
PATIENT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
COMMITMENT, COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
J2K = "1.2.840.10008.1.2.4.90"
PRIVATE, PRIVATE_SYNTAX = "1.3.6.1.4.1.99999.1.7", "1.3.6.1.4.1.99999.2.1"
CONTEXTS = [
    "verification",
    "storage",
    {"sop_classes": CT, "transfer_syntaxes": [EXPLICIT, J2K], "scu_role": True, "scp_role": True},
    {"sop_classes": MR, "transfer_syntaxes": [IMPLICIT, BIG], "scu_role": False, "scp_role": False},
    {"sop_classes": CR, "transfer_syntaxes": "all", "scu_role": True, "scp_role": False},
    {"sop_classes": PRIVATE, "transfer_syntaxes": [PRIVATE_SYNTAX, IMPLICIT]},
]
ARCHIVE = [*CONTEXTS, "query_retrieve", "storage_commitment"]
RICH = {
    "contexts": ARCHIVE,
    "index": {
        "url": "postgresql://scpd:SECRET-4@db/index",
        "fuzzy_names": True,
        "attributes": {"study": "StudyComments", "instance": ["AcquisitionUID", "ViewCodeSequence"]},
    },
    "called_ae_title": "check",
    "transfer_syntax_preference": "acceptor",
    "tls": {"certificate": "/x/tls.crt", "key_password": "SECRET-1", "ca": "/x/ca.crt", "client": "required"},
    "access": [
        {"allow": {"calling": "CT*", "called": "A", "services": "storage", "may": "write"}},
        {"allow": {"users": "alice", "roles": ["a|b", "c"]}},
        {"deny": {"address": "10.0.0.0/8"}},
        {"deny": "all"},
    ],
    "user_identity": {
        "policy": "require",
        "providers": [
            {"kind": "passwords", "file": "/x/users"},
            {"kind": "usernames", "users": "device"},
            {"kind": "ldap", "url": "ldaps://directory.example", "user": "{user}@example"},
            {"kind": "jwt", "issuer": "https://idp", "audience": "a", "keys": "https://idp/keys"},
            {"kind": "saml", "issuer": "https://idp", "certificate": "/x/idp.crt", "audience": "a"},
            {"kind": "kerberos", "keytab": "/x/keytab", "service": "dicom/pacs.example"},
        ],
    },
    "limits": {"rate_per_address": "10/s", "rate_per_title": "10/s", "associations": 17},
    "storage": {"duplicates": "reject", "verify": "strict"},
    "hooks": [
        {"kind": "exec", "name": "program", "on": "study", "command": ["/bin/true", "<a>|b"]},
        {"kind": "webhook", "name": "web", "on": "instance", "url": "https://ris.example/x", "secret": "SECRET-2"},
    ],
    "admin": {"token": "SECRET-3-SECRET-3"},
    "peers": {
        "VIEWER": {"address": "10.0.0.1:104", "ae_title": "VIEWER1", "tls": {"profile": "tls13"}, "associations": 4},
        "PLAIN": {"address": "[::1]:104", "ae_title": "PLAIN1"},
    },
    "audit": {
        "destinations": [{"kind": "file", "path": "/x/audit"}, {"kind": "syslog-udp", "address": "10.0.0.9:514"}]
    },
    "servers": [
        {"name": "one", "ae_title": "ONE"},
        {"name": "two", "ae_title": "TWO", "bind": "[::]:2762", "tls": {"profile": "bcp195-nd", "client": "optional"}},
    ],
}


def loaded(folder: Path, settings):
    path = folder / "scpd.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return load(path, {})


@pytest.fixture(params=["default", *sorted(path.name for path in EXAMPLES.glob("*.yaml")), "rich"])
def config(request, tmp_path):
    if request.param == "rich":
        return loaded(tmp_path, RICH)
    return load(None if request.param == "default" else EXAMPLES / request.param, {})


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    return loaded(tmp_path_factory.mktemp("rich"), RICH)


def tables(document: Document) -> dict[str, Table]:
    """Every table by its caption as it is written, with its number."""
    found = {document.cover.caption: document.cover}
    for one in document.numbered():
        found.update(
            (f"Table {number}: {block.caption}", block) for number, block in one.blocks() if isinstance(block, Table)
        )
    return found


def called(document: Document, caption: str) -> list[Table]:
    return [table for name, table in tables(document).items() if name.endswith(f": {caption}")]


# --- Markdown and HTML, read back


class Page(HTMLParser):
    """What a reader of the page finds in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[tuple[str, ...]]] = {}
        self.headings: list[tuple[int, str]] = []
        self.paragraphs: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self._text: list[str] = []
        self._row: list[str] = []
        self._rows: list[tuple[str, ...]] = []
        self._caption = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag != "meta":
            self.open.append(tag)
        if tag in ("td", "th", "caption", "p") or re.fullmatch("h[1-6]", tag):
            self._text = []
        elif tag == "tr":
            self._row = []
        elif tag == "table":
            self._rows = []

    def handle_data(self, data):
        self._text.append(data)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        text = "".join(self._text)
        if tag in ("td", "th"):
            self._row.append(text)
        elif tag == "tr":
            self._rows.append(tuple(self._row))
        elif tag == "caption":
            self._caption = text
        elif tag == "table":
            self.tables[self._caption] = self._rows
        elif tag == "p":
            self.paragraphs.append(text)
        elif re.fullmatch("h[1-6]", tag):
            self.headings.append((int(tag[1]), text))


PUNCTUATION = re.compile(r"\\([!-/:-@\[-`{-~])")


def plain(text: str) -> str:
    """Inline Markdown → the text that a reader sees: a code span as it is, elsewhere backslashes taken away."""
    span = re.fullmatch(r"(`+)(.*?)\1", text)
    if span:
        inner = span[2]
        return inner[1:-1] if inner.startswith(" ") and inner.endswith(" ") and inner.strip() else inner
    bare = PUNCTUATION.sub("", text)
    assert not re.search(r"[`*\[\]<>~$&\\]", bare), f"{text} means something"
    assert not re.search(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", bare), f"{text} means something"
    return PUNCTUATION.sub(r"\1", text)


def cells(line: str) -> tuple[str, ...]:
    """A row, as GitHub's Markdown cuts it: at each bar without a backslash, whose backslash is then gone."""
    parts = re.split(r"(?<!\\)\|", line)[1:-1]
    return tuple(plain(part.strip().replace("\\|", "|")) for part in parts)


def markdown_tables(text: str) -> dict[str, list[tuple[str, ...]]]:
    found: dict[str, list[tuple[str, ...]]] = {}
    caption = ""
    for line in text.splitlines():
        if line.startswith("**"):
            caption = plain(line.removeprefix("**").removesuffix("**"))
            found[caption] = []
        elif line.startswith("| "):
            found[caption].append(cells(line))
    return found


def test_html_and_markdown_have_the_same_tables(config):
    document = statement(config)
    expected = {
        name: [tuple(map(str, row)) for row in (table.header, *table.rows)] for name, table in tables(document).items()
    }
    assert Page(in_html.render(document)).tables == expected
    assert markdown_tables(in_markdown.render(document)) == expected


def test_every_row_is_as_long_as_its_header(config):
    for name, table in tables(statement(config)).items():
        assert {len(row) for row in table.rows} == {len(table.header)}, name


def test_html_and_markdown_have_the_same_headings_and_paragraphs(config):
    document = statement(config)
    page, text = Page(in_html.render(document)), in_markdown.render(document)
    lines = text.splitlines()
    headings = [(len(line.split(" ")[0]), plain(line.lstrip("# "))) for line in lines if line.startswith("#")]
    assert page.headings == headings
    assert page.paragraphs == [plain(line) for line in lines if line and line[0] not in "#|*-" and line[:2] != "  "]


def test_the_page_is_for_everybody(config):
    """One language, headings in order, header cells that say what they head, links that lead somewhere, no assets."""
    page = Page(in_html.render(statement(config)))
    assert page.open == []
    assert ("html", "lang", "en") in page.attributes
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    names = [value for _, name, value in page.attributes if name == "id"]
    assert len(names) == len(set(names))
    links = [value for _, name, value in page.attributes if name == "href"]
    assert links
    assert set(links) <= {f"#{name}" for name in names}
    assert {value for _, name, value in page.attributes if name == "aria-labelledby"} <= set(names)
    counts = Counter(page.tags)
    assert counts["table"] == counts["caption"] == len(page.tables)
    assert counts["th"] == sum(name == "scope" for _, name, _ in page.attributes)
    assert not {"script", "img", "link", "iframe", "object"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name == "src" or name.startswith("on")]
    assert not re.search(r"@import|url\(", in_html.render(statement(config)))


# --- what stands in it


def test_every_sop_class_and_transfer_syntax_stands_in_it(config):
    document = statement(config)
    texts = in_markdown.render(document), in_html.render(document)
    specified = called(document, "Acceptable Presentation Contexts")
    assert len(specified) == len(config.servers)
    for server, table in zip(config.servers, specified, strict=True):
        supported = server.supported()
        assert [row[1] for row in table.rows] == [one.abstract_syntax for one in supported]
        uids = {uid for one in supported for uid in (one.abstract_syntax, *one.transfer_syntaxes)}
        assert all(f"`{uid}`" in texts[0] and f"<code>{uid}</code>" in texts[1] for uid in uids)


def test_names_are_those_of_the_standard(config):
    for table in called(statement(config), "SOP Classes")[:-1]:
        for name, uid, *_ in table.rows:
            assert name == uid_name(uid) or (name == "not in the data dictionary" and uid_name(uid) == uid)


def leaves(data, path=""):
    """The values of plain data with their dotted paths."""
    if isinstance(data, dict) and data:
        for key, value in data.items():
            yield from leaves(value, f"{path}.{key}" if path else key)
    elif isinstance(data, list) and data and isinstance(data[0], dict):
        for number, value in enumerate(data):
            yield from leaves(value, f"{path}[{number}]")
    else:
        yield path, data


def test_every_key_stands_in_it_with_its_value_and_its_meaning(config):
    """As ``scpd show`` has them, so that a key that is new is not forgotten."""
    shown = yaml.safe_load(effective(config))
    document = statement(config)
    parameters = [one.section for one in document.numbered() if one.section.title.startswith("Parameters of ")]
    sections = [*shown.pop("servers"), shown]
    assert len(parameters) == len(sections)
    for section, data in zip(parameters, sections, strict=True):
        rows = {row[0]: row[1:] for table in section.body for row in table.rows}
        expected = dict(leaves(data))
        assert rows.keys() == expected.keys()
        assert all(rows[key][0] == value for key, value in expected.items() if isinstance(value, str))
        assert all(meaning for _, _, meaning in rows.values())


def test_values_and_defaults_differ_where_the_configuration_says_so(rich):
    rows = {
        row[0]: row[1:]
        for table in tables(statement(rich)).values()
        if table.header[0] == "Parameter"
        for row in table.rows
    }
    assert rows["limits.associations"][:2] == ("17", "200")
    assert rows["timeouts.idle"][:2] == ("10m", "10m")
    assert rows["tls.certificate"][:2] == ("/x/tls.crt", "has to be written")
    assert rows["user_identity.providers[3].algorithms"][:2] == ('["RS256", "ES256"]',) * 2
    assert rows["peers.VIEWER.tls.profile"][:2] == ("tls13", "bcp195")


def test_who_it_is(config):
    (*found,) = called(statement(config), "DICOM Implementation Class and Version")
    assert len(found) == len(config.servers)
    assert {row[1] for table in found for row in table.rows} == {IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME}


def test_tls_profiles_are_those_of_the_contexts(rich):
    (table,) = called(statement(rich), "TLS of the Application Entities")
    assert [row[:2] for row in table.rows] == [
        ("one", describe("bcp195")),
        ("two", describe("bcp195-nd")),
        ("Peer VIEWER", describe("tls13")),
    ]
    assert all(profile in in_markdown.render(statement(rich)) for profile in PROFILES)


def test_each_provider_with_its_form(rich):
    pytest.importorskip("gssapi")
    table = called(statement(rich), "Providers, asked in this order")[0]
    forms = [int(row[1].split(" ")[0]) for row in table.rows]
    assert forms == [Form.PASSCODE, Form.USERNAME, Form.PASSCODE, Form.JWT, Form.SAML, Form.KERBEROS]
    assert [row[3] for row in table.rows] == ["Empty"] * 5 + ["The server's ticket"]


def test_a_provider_whose_extra_is_not_installed_is_no_trouble(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "scpd.identity.kerberos", None)
    assert security._forms(security._verified_forms("kerberos")) == "none: what it needs is not installed"


@pytest.mark.parametrize("policy", ["ignore", "accept", "require"])
@pytest.mark.parametrize("unsupported", ["ignore", "reject"])
@pytest.mark.parametrize("providers", [[], [{"kind": "usernames", "users": "x"}]])
def test_it_says_that_users_are_looked_at_where_the_daemon_does(tmp_path, policy, unsupported, providers):
    identity = {"policy": policy, "unsupported": unsupported, "providers": providers}
    config = loaded(tmp_path, {"user_identity": identity})
    looks = Doorkeepers().doors(config.servers[0]).identities is not None
    assert entities(config)[0].asks_for_users == looks
    assert ("User identity is not looked at" in in_markdown.render(statement(config))) != looks


def test_access_rules_in_their_order(rich):
    table = called(statement(rich), "Access rules")[0]
    assert table.rows == (
        ("access[0]", "Allow", "calling: CT*; called: A", "services: storage; may: write"),
        ("access[1]", "Allow", "users: alice; roles: a|b, c", "Everything"),
        ("access[2]", "Deny", "address: 10.0.0.0/8", "Nothing"),
        ("access[3]", "Deny", "Everybody", "Nothing"),
    )


def test_the_audit_messages_are_all_there_are(rich):
    (table,) = called(statement(rich), "Audit messages")
    makers = [name for name, one in inspect.getmembers(audit, inspect.isfunction) if not name.startswith("_")]
    makers = [name for name in makers if name in audit.__all__]
    assert len(table.rows) == len(makers) - 1 + len(audit.Alert)
    assert {row[1].split(" (")[0] for row in table.rows} == {
        *("Application Activity", "User Authentication", "Security Alert", "DICOM Instances Transferred"),
        *("DICOM Instances Accessed", "DICOM Study Deleted", "Query", "Begin Transferring DICOM Instances"),
    }


def test_who_is_told_of_what_arrives_stands_in_it(rich):
    document = statement(rich)
    (flow,), (protocols,) = called(document, "Application data flow"), called(document, "Protocols beside DICOM")
    assert flow.rows[0][3].endswith("handed over to program, web")
    assert {row[0] for row in protocols.rows} == {
        *("DNS, by the operating system", "TLS", "LDAP", "HTTPS", "Syslog (syslog-udp)", "HTTP, HTTPS", "HTTP"),
        "PostgreSQL",
    }
    assert "queue of what is handed over" in called(document, "Statuses of C-STORE")[0].rows[2][3]


def test_remote_aes_stand_in_it(rich):
    (table,) = called(statement(rich), "Remote AEs")
    assert table.rows == (
        ("VIEWER", "VIEWER1", "10.0.0.1:104", "TLS", "4", "3"),
        ("PLAIN", "PLAIN1", "[::1]:104", "None", "1", "3"),
    )


# --- what must not go stale


# By operation, where the statuses that it is answered with are named.
SERVED_BY = {
    "C-STORE": ("services/*.py", "storage/*.py", "forward/*.py", "server/*.py", "daemon/*.py"),
    "C-FIND": ("services/query/*.py",),
    "C-MOVE": ("services/retrieve/*.py", "services/suboperations.py", "services/query/identifier.py"),
    "N-ACTION": ("services/commitment/*.py",),
}
# Those are of C-MOVE and C-GET; and failure reasons of N-EVENT-REPORT are no statuses.
ELSEWHERE = {"C-STORE": ("suboperations.py",), "N-ACTION": ("verification.py", "reports.py")}
# What every operation may be answered.
ANYWHERE = {status.UNRECOGNIZED_OPERATION, status.SOP_CLASS_NOT_SUPPORTED}
A_STATUS = {*status.GENERAL, *status.STORAGE, *status.FIND, *status.RETRIEVE} - {1}  # which is also a number


def statuses_named(operation: str) -> set[int]:
    """The statuses that the modules behind an operation name: by themselves, or by those that they import from."""
    found = set()
    for path in (path for pattern in SERVED_BY[operation] for path in ROOT.glob(pattern)):
        if path.name in ELSEWHERE.get(operation, ()):
            continue
        tree = ast.parse(path.read_text())
        module = importlib.import_module(".".join(("scpd", *path.relative_to(ROOT).with_suffix("").parts)))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "status":
                value = getattr(status, node.attr, None)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                value = getattr(module, node.id, None)
            else:
                continue
            found |= {value} if type(value) is int else set()
    return found & A_STATUS


def statuses_told(document: Document, *operations: str) -> set[int]:
    return {
        int(row[1], 16)
        for operation in operations
        for table in called(document, f"Statuses of {operation}")
        for row in table.rows
    }


def test_every_status_that_services_and_storage_answer_stands_in_it(tmp_path):
    """A service with another status has to say so in scpd/daemon/conformance/storing.py."""
    told = set()
    for verify, duplicates in (("lenient", "replace"), ("strict", "reject")):
        settings = {"storage": {"verify": verify, "duplicates": duplicates}}
        told |= statuses_told(statement(loaded(tmp_path, settings)), "C-ECHO", "C-STORE")
    answered = statuses_named("C-STORE")
    assert len(answered) > 8
    assert answered == told


@pytest.mark.parametrize("operation", ["C-FIND", "C-MOVE", "N-ACTION"])
def test_every_status_of_the_archive_stands_in_it(rich, operation):
    """A service with another status has to say so in the module of that service in scpd/daemon/conformance."""
    answered = statuses_named(operation)
    assert len(answered) > 5
    assert answered | ANYWHERE == statuses_told(statement(rich), operation)


def test_the_statuses_of_c_get_are_those_of_c_move_without_a_destination(rich):
    document = statement(rich)
    assert statuses_told(document, "C-MOVE") - statuses_told(document, "C-GET") == {0xA801}


def test_every_failure_reason_stands_in_it(rich):
    table = called(statement(rich), "Failure reasons of N-EVENT-REPORT")[0]
    assert {int(row[0], 16) for row in table.rows} == set(FailureReason)


def test_every_kind_of_rejection_stands_in_it(rich):
    (table, _) = called(statement(rich), "Rejected associations")
    told = {row[0] for row in table.rows}
    made = [one for name, one in inspect.getmembers(reject, inspect.isfunction) if _gives_a_rejection(one)]
    assert len(made) > 5
    answers = [one(*["x"] * len(inspect.signature(one).parameters)).answer for one in made]
    assert {reject.words(answer) for answer in answers} <= told


def _gives_a_rejection(function) -> bool:
    return function.__module__ == reject.__name__ and inspect.signature(function).return_annotation == "Rejection"


def test_the_daemon_asks_for_associations_only_where_the_statement_says():
    """Another room that calls somebody has to say so in scpd/daemon/conformance/activities.py."""
    asking = re.compile(r"requestor import [^\n]*\bassociate\b")
    found = {path.relative_to(ROOT).parts[:2] for path in ROOT.rglob("*.py") if asking.search(path.read_text())}
    of_the_daemon = {parts for parts in found if parts[0] not in ("ae", "cli", "client")}
    assert of_the_daemon == {("services", "retrieve"), ("services", "commitment")}


def test_what_becomes_of_instances_stands_in_it(tmp_path):
    archive = {"contexts": ARCHIVE, "index": "deferred"}
    kept = in_markdown.render(statement(loaded(tmp_path, archive)))
    assert "the AE deletes nothing. Until then they can be queried and retrieved." in kept
    assert "The index is told just afterwards" in kept
    deleted = in_markdown.render(statement(loaded(tmp_path, {**archive, "retention": [{"older_than": "90d"}]})))
    assert "Studies are deleted by the rules of retention" in deleted
    assert "none is deleted while a request for it is pending" in deleted


def test_a_server_without_an_index_asks_for_none(tmp_path):
    text = in_markdown.render(statement(loaded(tmp_path, {})))
    assert "The AE initiates no associations." in text
    assert "there is no service by which instances could be queried or retrieved" in text
    assert "This implementation never invokes an operation as the SCU" in text


# --- secrets and signs


SECRETS = """\
ae_title: file:{0}/title
tls: {{certificate: /x, key_password: "S3CRET"}}
access: [{{deny: {{calling: "file:{0}/title"}}}}]
storage: {{path: "file:{0}/path"}}
peers: {{P: {{address: "h:1", ae_title: "file:{0}/title", tls: {{key_password: S3CRET}}}}}}
servers: [{{bind: "127.0.0.1:1"}}, {{bind: "127.0.0.1:2"}}, {{bind: "127.0.0.1:3", name: third}}]
"""


def test_a_secret_never_stands_in_it(tmp_path):
    (tmp_path / "title").write_text("S3CRET")
    (tmp_path / "path").write_text("S3CRET/{SOPInstanceUID}")
    path = tmp_path / "scpd.yaml"
    path.write_text(SECRETS.format(tmp_path))
    document = statement(load(path, {}))
    for text in (in_markdown.render(document), in_html.render(document)):
        assert "S3CRET" not in text
        assert text.count(f"file:{tmp_path}/title") >= 3
        assert "server 2" in text
        assert "third" in text


def test_a_secret_of_the_file_itself_never_stands_in_it(rich):
    document = statement(rich)
    texts = in_markdown.render(document) + in_html.render(document)
    assert "SECRET" not in texts
    assert texts.count("`********`") > 2


@pytest.mark.parametrize(
    "title",
    ["A|B", "<b>x</b>", "*A*", "_A_", "`A`", "a``b|", "&lt;", "[x](y)", "~~A~~", "$A$", "${A}", "\"'", "# A", "A_B"],
)
def test_an_ae_title_stands_there_as_it_is(tmp_path, title):
    config = loaded(tmp_path, {"ae_title": title.replace("${", "$${"), "called_ae_title": "check"})
    assert config.servers[0].ae_title == title
    document = statement(config)
    page, text = Page(in_html.render(document)), in_markdown.render(document)
    for found in (page.tables, markdown_tables(text)):
        assert found["Table 4.4.1.1-1: Local AE titles"][1][0] == title
        assert found["Table 1-1: Network Services of all servers"]
    assert any(
        title in plain(line) for line in text.splitlines() if line.startswith("### 4.2.1 ") or "which listens" in line
    )
    assert (4, f"4.2.1 {title} AE Specification") in page.headings
    assert not {"b", "em", "strong"} & set(page.tags)


@pytest.mark.parametrize("text", ["- x", "1. x", "1) x", "+ x", "= x", "# x", "> x", "    x"])
def test_a_paragraph_stays_a_paragraph(text):
    document = Document("T", Table("c", ("a",), ((Code(text),),)), (Section("S", (text,)),))
    last = in_markdown.render(document).splitlines()[-1]
    assert not re.match(r"(\d+[.)]|[-+=#>]) ", last)
    assert plain(last) == text


# --- the running daemon


ALIKE = {"transfer_syntax_preference": "acceptor", "storage": {"verify": "strict"}}


@pytest.fixture(scope="module")
def receiver(shared_daemon):
    return shared_daemon(contexts=CONTEXTS, **ALIKE)


@pytest.fixture(scope="module")
def archive(shared_daemon, tmp_path_factory):
    """A server with an index; nobody listens where its peer is."""
    index = {"url": f"sqlite:///{tmp_path_factory.mktemp('index')}/index.db", "attributes": {"study": "StudyComments"}}
    peers = {"NOBODY": {"address": "127.0.0.1:1", "ae_title": "NOBODY", "attempts": 1}}
    return shared_daemon(contexts=ARCHIVE, index=index, peers=peers, limits={"find_results": 2}, **ALIKE)


@pytest.fixture(params=["receiver", "archive"])
def running(request):
    return request.getfixturevalue(request.param)


def expected(document: Document, abstract: str, syntaxes: list[str]) -> str:
    """What the statement says of a proposed context: the transfer syntax, or the number of the result."""
    (accepted,) = called(document, "Acceptable Presentation Contexts")
    (results,) = called(document, "Results of presentation contexts (PS3.8 table 9-18)")
    numbers = {row[0]: row[1] for row in results.rows}
    row = next((row for row in accepted.rows if row[1] == abstract), None)
    if row is None:
        return numbers["abstract syntax not supported"]
    (table,) = called(document, f"Transfer Syntaxes, {row[2][0].lower()}{row[2][1:]}")
    common = [str(one[2]) for one in table.rows if one[2] in syntaxes]  # the acceptor's order decides
    return common[0] if common else numbers["transfer syntaxes not supported"]


def test_the_daemon_accepts_what_the_statement_says(running, peer):
    pynetdicom = peer("pynetdicom")
    document = statement(load(running.config, {}))
    chance = random.Random(42)
    classes = [
        VERIFICATION,
        CT,
        MR,
        CR,
        PRIVATE,
        *QUERY_RETRIEVE,
        COMMITMENT,
        "1.2.840.10008.5.1.4.31",
        "1.2.840.10008.9.9",
        *chance.sample(STORAGE, 40),
    ]
    syntaxes = [*ALL_TRANSFER_SYNTAXES, PRIVATE_SYNTAX, "1.2.3.4"]
    proposals = [(str(uid), chance.sample(syntaxes, chance.choice((1, 2, 5)))) for uid in classes for _ in range(4)]
    entity = pynetdicom.AE("CONFORMANCE")
    told = Counter()
    for start in range(0, len(proposals), 128):
        part = proposals[start : start + 128]
        contexts = [pynetdicom.build_context(uid, list(map(str, some))) for uid, some in part]
        association = entity.associate("127.0.0.1", running.port, contexts=contexts)
        assert association.is_established
        answers = {one.context_id: one.transfer_syntax[0] for one in association.accepted_contexts}
        answers.update((one.context_id, str(one.result)) for one in association.rejected_contexts)
        association.release()
        for number, (uid, some) in enumerate(part):
            answer = expected(document, uid, list(map(str, some)))
            assert answers[2 * number + 1] == answer, (uid, some)
            told[answer if len(answer) == 1 else "accepted"] += 1
    assert set(told) == {"accepted", "3", "4"}


@pytest.mark.parametrize(
    ("running", "uid"),
    [("receiver", uid) for uid in (CT, MR, CR, ULTRASOUND, VERIFICATION)]
    + [("archive", uid) for uid in (CT, MR, ULTRASOUND, FIND, GET, COMMITMENT)],
    indirect=["running"],
)
@pytest.mark.parametrize(("scu", "scp"), [(True, False), (False, True), (True, True)])
def test_the_daemon_takes_roles_as_the_statement_says(running, peer, uid, scu, scp):
    pynetdicom = peer("pynetdicom")
    document = statement(load(running.config, {}))
    (accepted,), (selection,) = (
        called(document, "Acceptable Presentation Contexts"),
        called(document, "SCP/SCU role selection"),
    )
    granted = next(row[4] for row in accepted.rows if row[1] == uid)
    proposed = {(True, False): "SCU", (False, True): "SCP", (True, True): "SCU and SCP"}[scu, scp]
    held = next(row[3] for row in selection.rows if row[:2] == (granted, proposed))
    # Without one that is accepted in any case pynetdicom would abort.
    contexts = [pynetdicom.build_context(one, [IMPLICIT, EXPLICIT]) for one in (uid, SECONDARY_CAPTURE)]
    role = pynetdicom.build_role(uid, scu_role=scu, scp_role=scp)
    association = pynetdicom.AE().associate("127.0.0.1", running.port, contexts=contexts, ext_neg=[role])
    assert association.is_established
    about = [one for one in association.accepted_contexts if one.abstract_syntax == uid]
    found = {"SCP" if one.as_scu else "" for one in about} | {"SCU" if one.as_scp else "" for one in about}
    association.release()
    assert (" and ".join(sorted(found - {""})) or "Neither: the presentation context is rejected") == held


@pytest.mark.parametrize("operation", ["C-FIND", "wrong UID", "wrong class"])
def test_the_daemon_answers_with_a_status_of_the_statement(running, connect, operation):
    (table,) = called(statement(load(running.config, {})), "Statuses of C-STORE")
    client = connect(running.port)
    client.associate({1: (PRIVATE, (IMPLICIT,))})
    request = {
        "C-FIND": CFindRQ(message_id=1, affected_sop_class_uid=PRIVATE, has_data_set=True),
        "wrong UID": CStoreRQ(
            message_id=1, affected_sop_class_uid=PRIVATE, affected_sop_instance_uid="x", has_data_set=True
        ),
        "wrong class": CStoreRQ(
            message_id=1, affected_sop_class_uid=CT, affected_sop_instance_uid="1.2", has_data_set=True
        ),
    }
    client.send_message(1, request[operation], b"\x08\x00\x05\x00\x00\x00\x00\x00")
    when = {row[1]: row[3] for row in table.rows}[f"{client.receive_command().status:04X}"]
    words = {"C-FIND": "not one of those", "wrong UID": "not a UID", "wrong class": "not the abstract syntax"}
    assert words[operation] in when
    client.release()


# --- the running archive


def element(tag: int, value: bytes) -> bytes:
    """In Implicit VR Little Endian."""
    value += b" " * (len(value) & 1)
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def received(client) -> bytes:
    """The data set of a response."""
    data = b""
    while True:
        for value in client.receive().values:
            data += bytes(value.data)
            if value.is_last:
                return data


@pytest.fixture
def ask(archive, connect):
    """Ask in a context of its own; the statuses and the identifiers that come back."""

    def one(uid: str, command, data: bytes = b"", **user_information):
        client = connect(archive.port)
        answer = client.associate({1: (uid, (IMPLICIT,))}, calling="ASKING", **user_information)
        assert isinstance(answer, AssociateAC)
        client.send_message(1, command, data)
        answers = []
        while not answers or status.category(answers[-1][0]) is status.Category.PENDING:
            response = client.receive_command()
            answers.append((response.status, received(client) if response.has_data_set else b""))
        client.release()
        return answers

    return one


def find(uid: str, level: Level, *keys: tuple[int, bytes]) -> tuple[CFindRQ, bytes]:
    request = CFindRQ(message_id=1, affected_sop_class_uid=uid, has_data_set=True)
    asked = {0x00080052: level.name.encode(), **dict(keys)}
    return request, b"".join(element(tag, asked[tag]) for tag in sorted(asked))


@pytest.fixture(scope="module")
def stored(archive, peer):
    """The archive holds one instance, in whose data set every key has a value."""
    data = made()
    send_to(peer("pynetdicom"), archive.port, data)
    return data


def made() -> Dataset:
    """An instance in whose data set every key has a value."""
    data = Dataset()
    for tag in Keeping({Level.STUDY: ["StudyComments"]}).tags:
        vr = dictionary_VR(tag)
        values = {"SQ": [Dataset()], "US": 1, "IS": "1", "DS": "1", "DA": "20250101", "TM": "10", "AS": "001Y"}
        values |= {"DT": "2025", "UI": "1.2.3.4", "CS": "CT", "PN": "DOE^JANE"}
        data.add_new(tag, vr, values.get(vr, "X"))
    data.SOPClassUID, data.TimezoneOffsetFromUTC = ULTRASOUND, "+0100"
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = IMPLICIT
    return data


def send_to(pynetdicom, port: int, data: Dataset) -> None:
    entity = pynetdicom.AE("CT1")
    entity.add_requested_context(ULTRASOUND, IMPLICIT)
    association = entity.associate("127.0.0.1", port)
    assert association.send_c_store(data).Status == 0
    association.release()


UPPER = {Level.PATIENT: b"X", Level.STUDY: b"1.2.3.4", Level.SERIES: b"1.2.3.4"}


@pytest.mark.parametrize("level", list(Level))
def test_every_key_of_the_statement_is_returned(archive, stored, ask, level):
    document = statement(load(archive.config, {}))
    keys = [
        int(row[1].strip("()").replace(",", ""), 16)
        for one in Level
        if one <= level
        for row in called(document, f"Keys of the level {one.name}")[0].rows
    ]
    assert len(keys) > 10
    above = [(UNIQUE_KEYS[one], UPPER[one]) for one in Level if one < level]
    (code, found), (last, _) = ask(PATIENT_FIND, *find(PATIENT_FIND, level, *((tag, b"") for tag in keys), *above))
    assert (code, last) == (status.PENDING, status.SUCCESS)
    answer = read_dataset(BytesIO(found), is_implicit_VR=True, is_little_endian=True)
    assert set(map(int, answer.keys())) == {*keys, 0x00080052, 0x00080054, 0x00080056} - (
        {0x00080201} if level is Level.PATIENT else set()
    )
    assert not [element for element in answer if element.is_empty]


def test_keys_that_are_not_in_the_statement_are_left_out(archive, stored, ask):
    table = called(statement(load(archive.config, {})), "Keys of the level STUDY")[0]
    assert "Study Comments" in {row[0] for row in table.rows}
    reason = 0x00321030
    (code, found), (last, _) = ask(FIND, *find(FIND, Level.STUDY, (reason, b""), (UNIQUE_KEYS[Level.STUDY], b"")))
    assert (code, last) == (status.PENDING_KEYS_UNSUPPORTED, status.SUCCESS)
    assert reason not in read_dataset(BytesIO(found), is_implicit_VR=True, is_little_endian=True)


def test_matching_is_what_parsing_makes_of_a_key(rich):
    """Each key that the statement says is matched by wild card, range or list can be."""
    document = statement(rich)
    rows = [row for one in Level for row in called(document, f"Keys of the level {one.name}")[0].rows]
    for _, tag, vr, _, kind in rows:
        number = int(tag.strip("()").replace(",", ""), 16)
        if "wild card" in kind:
            assert type(parse(number, vr, "A*B")) in (Like, Person)
        elif "range" in kind:
            assert isinstance(parse(number, vr, {"TM": "10-11"}.get(vr, "20250101-20250102")), Within)
        elif "list of UID" in kind:
            assert parse(number, vr, "1.2\\1.3") == OneOf(("1.2", "1.3"))
        elif kind == "Single value":
            assert isinstance(parse(number, vr, {"AS": "001Y"}.get(vr, "1")), OneOf)
    assert len({row[4] for row in rows}) == 7


@pytest.mark.parametrize("uid", [FIND, MOVE, GET])
def test_extended_negotiation_is_answered_as_the_statement_says(archive, connect, uid):
    document = statement(load(archive.config, {}))
    item = SOPClassExtendedNegotiation(uid, b"\1" * 9)
    answer = connect(archive.port).associate({1: (uid, (IMPLICIT,))}, extended=(item,))
    (agreed,) = answer.user_information.extended
    if uid == FIND:
        (table,) = called(document, "Options of C-FIND")
        assert [row[2].startswith("Agreed to") for row in table.rows] == [bool(byte) for byte in agreed.information]
    else:
        assert agreed.information == b"\1\0\0\0\0"
        assert "relational retrieval, the first byte, is agreed to; no other option is" in in_markdown.render(document)


def commit(**command) -> NActionRQ:
    usual = {"requested_sop_class_uid": COMMITMENT, "requested_sop_instance_uid": COMMITMENT_INSTANCE}
    return NActionRQ(message_id=1, **{**usual, "action_type_id": 1, "has_data_set": True, **command})


def move(uid: str = MOVE, to: str = "NOBODY", kind=CMoveRQ):
    where = {"move_destination": to} if kind is CMoveRQ else {}
    return kind(message_id=1, affected_sop_class_uid=uid, has_data_set=True, **where)


def nested(depth: int) -> bytes:
    """Referenced Series Sequence in itself."""
    return element(0x00081115, element(0xFFFEE000, nested(depth - 1))) if depth else b""


LEVEL, STUDY_UID = element(0x00080052, b"STUDY"), element(0x0020000D, b"1.2.3.4")
QUESTIONS = {
    "no level": ("C-FIND", FIND, find(FIND, Level.STUDY)[0], STUDY_UID),
    "no key above": ("C-FIND", FIND, *find(FIND, Level.SERIES, (0x0020000E, b""))),
    "too deep to be found": ("C-FIND", FIND, find(FIND, Level.STUDY)[0], LEVEL + nested(6)),
    "no date": ("C-FIND", FIND, *find(FIND, Level.STUDY, (0x00080020, b"1. May"))),
    "found": ("C-FIND", FIND, *find(FIND, Level.STUDY, (0x0020000D, b""))),
    "in part": ("C-FIND", FIND, *find(FIND, Level.STUDY, (0x00321030, b""))),
    "nothing to be found": ("C-FIND", FIND, *find(FIND, Level.STUDY, (0x0020000D, b"1.9"))),
    "not this operation": ("C-FIND", FIND, move(FIND), LEVEL + STUDY_UID),
    "unknown destination": ("C-MOVE", MOVE, move(to="ELSEWHERE"), LEVEL + STUDY_UID),
    "away": ("C-MOVE", MOVE, move(), LEVEL + STUDY_UID),
    "nothing to be moved": ("C-MOVE", MOVE, move(), LEVEL + element(0x0020000D, b"1.9")),
    "wild card": ("C-MOVE", MOVE, move(), LEVEL + element(0x0020000D, b"1.*")),
    "too deep": ("C-MOVE", MOVE, move(), LEVEL + nested(6)),
    "no context": ("C-GET", GET, move(GET, kind=CGetRQ), LEVEL + STUDY_UID),
    "no key": ("C-GET", GET, move(GET, kind=CGetRQ), LEVEL),
    "another class": ("N-ACTION", COMMITMENT, commit(requested_sop_class_uid=CT), LEVEL),
    "another instance": ("N-ACTION", COMMITMENT, commit(requested_sop_instance_uid="1.2"), LEVEL),
    "no instance": ("N-ACTION", COMMITMENT, commit(requested_sop_instance_uid="x"), LEVEL),
    "another action": ("N-ACTION", COMMITMENT, commit(action_type_id=2), LEVEL),
    "no transaction": ("N-ACTION", COMMITMENT, commit(), LEVEL),
    "cut": ("N-ACTION", COMMITMENT, commit(), LEVEL[:-1]),
}


def test_the_archive_answers_with_the_statuses_of_the_statement(archive, stored, ask):
    document = statement(load(archive.config, {}))
    got: dict[str, set[int]] = {}
    for what, (operation, uid, command, data) in QUESTIONS.items():
        codes = {code for code, _ in ask(uid, command, data)}
        assert codes <= statuses_told(document, operation), what
        got.setdefault(operation, set()).update(codes)
    assert got == {
        "C-FIND": {0x0000, 0xFF00, 0xFF01, 0xA900, 0xC000, 0x0211},
        "C-MOVE": {0x0000, 0xA801, 0xA702, 0xA900, 0xC000},
        "C-GET": {0xA702, 0xA900},
        "N-ACTION": {0x0118, 0x0112, 0x0117, 0x0123, 0x0120, 0x0115},
    }


def test_what_the_daemon_refuses_to_start_with_has_no_statement(tmp_path):
    """The faults are those of ``scpd check``."""
    others = [uid for uid in SOP_CLASSES.values() if uid not in (*STORAGE, VERIFICATION)]
    settings = {"contexts": ["verification", "storage", {"sop_classes": list(map(str, others))}]}
    config = loaded(tmp_path, {**settings, "storage": {"directory": str(tmp_path), "reserve": 0}})
    with pytest.raises(ConfigurationError) as caught:
        statement(config)
    assert sorted(caught.value.faults) == sorted(Surroundings(config).faults)
    assert len(caught.value.faults) == len(others)


# --- the client commands


@pytest.fixture
def listener(peer):
    """A pynetdicom server that says what was proposed to it: its port, and the proposals as they come."""
    pynetdicom = peer("pynetdicom")
    from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation  # noqa: PLC0415 only where there is one

    proposals: list[dict[str, list[str]]] = []
    entity = pynetdicom.AE("ANY-SCP")
    for uid in (VERIFICATION, CT, ULTRASOUND, FIND, GET):
        entity.add_supported_context(uid, [IMPLICIT, EXPLICIT], scu_role=True, scp_role=True)
    entity.add_supported_context(COMMITMENT, [IMPLICIT, EXPLICIT], scu_role=False, scp_role=True)

    def requested(event) -> None:
        found: dict[str, list[str]] = {}
        for context in event.assoc.requestor.primitive.presentation_context_definition_list:
            found.setdefault(context.abstract_syntax, []).append(" or ".join(map(uid_name, context.transfer_syntax)))
        for item in event.assoc.requestor.primitive.user_information:
            if isinstance(item, SCP_SCU_RoleSelectionNegotiation):
                found[item.sop_class_uid] += ["SCP"] * item.scp_role + ["SCU"] * item.scu_role
        proposals.append(found)

    handlers = [
        (pynetdicom.evt.EVT_REQUESTED, requested),
        (pynetdicom.evt.EVT_C_STORE, lambda _: 0),
        (pynetdicom.evt.EVT_C_FIND, lambda _: []),
        (pynetdicom.evt.EVT_C_GET, lambda _: iter([0])),
        (pynetdicom.evt.EVT_N_EVENT_REPORT, lambda _: (0, None)),
    ]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    yield server.server_address[1], proposals
    server.shutdown()


def test_the_client_commands_propose_what_the_statement_says(listener, tmp_path, capsys):
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = CT, "1.2.3.4"
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = EXPLICIT
    data.save_as(tmp_path / "one.dcm", enforce_file_format=True)
    port, proposals = listener
    assert main(["echo", f"127.0.0.1:{port}"]) == 0
    assert main(["send", f"127.0.0.1:{port}", str(tmp_path / "one.dcm")]) == 0
    capsys.readouterr()
    echo, send = proposals
    rows = initiator._proposals().rows
    assert f"{echo[VERIFICATION][0]}, in one context" == rows[0][1]
    assert send[CT] == [uid_name(EXPLICIT), rows[2][1].removeprefix("In a context of its own beside it: ")]
    assert uid_name(EXPLICIT) in rows[2][0]


def test_the_query_commands_propose_what_the_statement_says(listener, tmp_path, capsys):
    port, proposals = listener
    assert main(["find", f"127.0.0.1:{port}"]) == 0
    into = str(tmp_path / "got")
    assert main(["get", f"127.0.0.1:{port}", "-k", "StudyInstanceUID=1.2", "--into", into, "--sop-class", CT]) == 0
    capsys.readouterr()
    find, get = proposals
    rows = {row[0]: row[1:] for row in initiator._proposals().rows}
    for found, uid in ((find, FIND), (get, GET)):
        assert [f"{found[uid][0]}, in one context"] == [rows[uid_name(uid)][0]]
        assert len(found[uid]) == 1
    assert list(find) == [FIND]
    *syntaxes, role = get[CT]
    assert sorted(syntaxes) == sorted(map(uid_name, ALL_TRANSFER_SYNTAXES))
    assert role == rows["SOP Class of Storage, for C-GET"][1].partition(",")[0]


def test_the_daemon_proposes_what_the_statement_says(daemon, listener, peer, connect, capsys):
    port, proposals = listener
    peers = {"HEARS": {"address": f"127.0.0.1:{port}", "ae_title": "HEARS"}}
    one = daemon(contexts=ARCHIVE, index={}, peers=peers)
    send_to(peer("pynetdicom"), one.port, made())
    document = statement(load(one.config, {}))
    assert main(["move", f"127.0.0.1:{one.port}", "--to", "HEARS", "-k", "StudyInstanceUID=1.2.3.4"]) == 0
    capsys.readouterr()
    (table,) = called(document, "Presentation contexts that C-MOVE proposes")
    besides = next(row[2] for row in table.rows if uid_name(IMPLICIT) in row[1])
    assert proposals == [{ULTRASOUND: [uid_name(IMPLICIT), besides]}]

    client = connect(one.port)
    client.associate({1: (COMMITMENT, (IMPLICIT,))}, calling="HEARS")
    reference = element(0x00081150, ULTRASOUND.encode()) + element(0x00081155, b"1.2.3.4")
    asked = element(0x00081195, b"1.2.9") + element(0x00081199, element(0xFFFEE000, reference))
    client.send_message(1, commit(), asked)
    client.close()
    one.wait_for_log(lambda line: line["event"] == "storage commitment reported")
    (table,) = called(document, "Presentation contexts that are proposed to report")
    ((_, syntaxes, role),) = table.rows
    *proposed, had = proposals[1][COMMITMENT]
    assert [f"{one}, in one context" for one in proposed] == [syntaxes]
    assert f"{had}, by role selection" == role


def test_the_daemon_rejects_as_the_statement_says(daemon, connect):
    one = daemon(
        called_ae_title="check",
        servers=[
            {"name": "narrow", "limits": {"associations": 1, "rate_per_title": "1/h"}},
            {"name": "careful", "user_identity": {"unsupported": "reject"}},
        ],
        access=[{"deny": {"calling": "BAD"}}],
    )
    told = called(statement(load(one.config, {})), "Rejected associations")
    tables_of = dict(zip(("narrow", "careful"), told, strict=True))

    def rejected(server: str, when: str, **how) -> None:
        answer = connect(one.port_of(server)).associate(**how)
        assert isinstance(answer, AssociateRJ)
        numbers = f"{answer.result} / {answer.source} / {answer.reason}"
        assert [row[:2] for row in tables_of[server].rows if when in row[2]] == [(reject.words(answer), numbers)]

    rejected("narrow", "Maximum Length", maximum_length=7)
    rejected("narrow", "Called AE title", called="OTHER")
    rejected("narrow", "another calling AE title", calling="BAD")
    rejected("careful", "user identity is not verified", identities=(UserIdentityRQ(2, False, b"x", b"y"),))
    client = connect(one.port_of("narrow"))
    client.associate(calling="OFTEN")
    rejected("narrow", "limits.associations", calling="ANOTHER")
    client.release()
    one.associations()
    rejected("narrow", "limits.rate_per_title", calling="OFTEN")
