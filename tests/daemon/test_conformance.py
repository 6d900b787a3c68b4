"""The Conformance Statement says what the configuration and the running daemon do, in Markdown as in HTML."""

from __future__ import annotations

import ast
import inspect
import random
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from pydicom.dataset import Dataset, FileMetaDataset

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
from scpd.dimse.command import CFindRQ, CStoreRQ
from scpd.errors import ConfigurationError
from scpd.identity.claim import Form
from scpd.negotiation import reject
from scpd.sop_class import ALL_TRANSFER_SYNTAXES, SOP_CLASSES, STORAGE, uid_name
from scpd.telemetry import audit
from scpd.transport.profiles import PROFILES, describe
from scpd.version import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from scpd.wire.pdu import AssociateRJ
from scpd.wire.user_info import UserIdentityRQ

ROOT = Path(scpd.__file__).parent
EXAMPLES = Path(__file__).parents[2] / "config"
VERIFICATION = "1.2.840.10008.1.1"
CT, MR, CR = (f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("2", "4", "1"))
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
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
RICH = {
    "contexts": CONTEXTS,
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
        "VIEWER": {"address": "10.0.0.1:104", "ae_title": "VIEWER1", "tls": {"profile": "tls13"}},
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


@pytest.fixture
def rich(tmp_path):
    return loaded(tmp_path, RICH)


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
        *("Application Activity", "User Authentication", "Security Alert", "DICOM Instances Transferred")
    }


def test_who_is_told_of_what_arrives_stands_in_it(rich):
    document = statement(rich)
    (flow,), (protocols,) = called(document, "Application data flow"), called(document, "Protocols beside DICOM")
    assert flow.rows[0][3].endswith("handed over to program, web")
    assert {row[0] for row in protocols.rows} == {
        *("DNS, by the operating system", "TLS", "LDAP", "HTTPS", "Syslog (syslog-udp)", "HTTP, HTTPS", "HTTP")
    }
    assert "queue of what is handed over" in called(document, "Statuses of C-STORE")[0].rows[2][3]


def test_remote_aes_stand_in_it(rich):
    (table,) = called(statement(rich), "Remote AEs")
    assert table.rows == (
        ("VIEWER", "VIEWER1", "10.0.0.1:104", "TLS"),
        ("PLAIN", "PLAIN1", "[::1]:104", "None"),
    )


# --- what must not go stale


def statuses_named() -> set[int]:
    """The statuses that a module which serves, stores or hands over names."""
    rooms = ("services", "storage", "forward", "server", "daemon")
    used = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for path in (path for room in rooms for path in (ROOT / room).glob("*.py"))
        if "scpd.dimse.status" in path.read_text() or "dimse import status" in path.read_text()
        if path.name != "suboperations.py"  # of C-MOVE and C-GET, which the daemon does not serve
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute | ast.Name)
    }
    named = {value for name, value in vars(status).items() if name in used and type(value) is int}
    return {code for code in named if status.category(code) is not status.Category.PENDING}  # which nothing ends with


def test_every_status_that_services_and_storage_answer_stands_in_it(tmp_path):
    """A service with another status has to say so in scpd/daemon/conformance/statuses.py."""
    told = set()
    for verify, duplicates in (("lenient", "replace"), ("strict", "reject")):
        settings = {"storage": {"verify": verify, "duplicates": duplicates}}
        document = statement(loaded(tmp_path, settings))
        (echo,), (store,) = called(document, "Statuses of C-ECHO"), called(document, "Statuses of C-STORE")
        told |= {int(row[1], 16) for row in (*echo.rows, *store.rows)}
    answered = statuses_named()
    assert len(answered) > 8
    assert answered == told


def test_every_kind_of_rejection_stands_in_it(rich):
    (table, _) = called(statement(rich), "Rejected associations")
    told = {row[0] for row in table.rows}
    made = [one for name, one in inspect.getmembers(reject, inspect.isfunction) if _gives_a_rejection(one)]
    assert len(made) > 5
    answers = [one(*["x"] * len(inspect.signature(one).parameters)).answer for one in made]
    assert {reject.words(answer) for answer in answers} <= told


def _gives_a_rejection(function) -> bool:
    return function.__module__ == reject.__name__ and inspect.signature(function).return_annotation == "Rejection"


def test_the_daemon_still_asks_for_no_association():
    """Where this fails it has become an SCU: its Association Initiation Policy is then to be written."""
    asking = {path.relative_to(ROOT).parts for path in ROOT.rglob("*.py") if "scpd.client" in path.read_text()}
    assert {parts[0] for parts in asking if "conformance" not in parts} == {"ae", "cli", "client"}


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


@pytest.fixture(scope="module")
def running(shared_daemon):
    return shared_daemon(contexts=CONTEXTS, transfer_syntax_preference="acceptor", storage={"verify": "strict"})


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
        FIND,
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


@pytest.mark.parametrize("uid", [CT, MR, CR, VERIFICATION])
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
    proposals: list[dict[str, list[str]]] = []
    entity = pynetdicom.AE("ANY-SCP")
    for uid in (VERIFICATION, CT):
        entity.add_supported_context(uid, [IMPLICIT, EXPLICIT])

    def requested(event) -> None:
        found: dict[str, list[str]] = {}
        for context in event.assoc.requestor.primitive.presentation_context_definition_list:
            found.setdefault(context.abstract_syntax, []).append(" or ".join(map(uid_name, context.transfer_syntax)))
        proposals.append(found)

    handlers = [(pynetdicom.evt.EVT_REQUESTED, requested), (pynetdicom.evt.EVT_C_STORE, lambda _: 0)]
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
