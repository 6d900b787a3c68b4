"""The audit trail of a whole daemon: who came, who was refused, whose images were brought; to all its destinations."""

from __future__ import annotations

import base64
import signal
import ssl
import struct
from io import BytesIO
from pathlib import Path

import pytest
import yaml
from components.authority import Authority
from components.collector import Collector, parse
from lxml import etree
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from scpd import AE, build_role, evt
from scpd.cli.main import main
from scpd.dimse.command import CStoreRQ
from scpd.identity.password_file import hashed
from scpd.services.query.models import STUDY_ROOT
from scpd.wire.pdu import AssociateAC, AssociateRJ
from scpd.wire.user_info import UserIdentityRQ

SCHEMA = etree.RelaxNG(etree.parse(Path(__file__).parents[1] / "telemetry" / "audit-message.rng"))
START, STOP, LOGIN, ALERT, TRANSFERRED = "110120", "110121", "110122", "110113", "110104"
QUERY, BEGUN = "110112", "110102"
CT, MR, SR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.88.11"
IMPLICIT = "1.2.840.10008.1.2"
CONTEXTS = {1: ("1.2.840.10008.1.1", (IMPLICIT,)), 3: (CT, (IMPLICIT,)), 5: (MR, (IMPLICIT,)), 7: (SR, (IMPLICIT,))}
PASSCODE = "marimba-otter-58"


class Told:
    """What one message says."""

    def __init__(self, text: str) -> None:
        self.root = etree.fromstring(text.encode())
        SCHEMA.assertValid(self.root)
        event = self.root.find("EventIdentification")
        self.kind = event.find("EventID").get("csd-code")
        kinds = [one.get("csd-code") for one in event.findall("EventTypeCode")]
        self.type = kinds[0] if kinds and kinds[0] in (START, STOP, LOGIN) else self.kind
        self.outcome = event.get("EventOutcomeIndicator")
        self.why = event.findtext("EventOutcomeDescription", "")
        self.source = self.root.find("AuditSourceIdentification").get("AuditSourceID")

    @property
    def users(self) -> dict[str, dict[str, str]]:
        """The attributes of each active participant, by its UserID."""
        return {one.get("UserID"): dict(one.attrib) for one in self.root.findall("ActiveParticipant")}

    @property
    def requestors(self) -> list[str]:
        return [name for name, about in self.users.items() if about["UserIsRequestor"] == "true"]

    @property
    def patients(self) -> list[tuple[str, str]]:
        found = self._objects("2")
        return [(one.get("ParticipantObjectID"), one.findtext("ParticipantObjectName")) for one in found]

    @property
    def studies(self) -> dict[str, dict[str, int]]:
        """How many instances of which SOP class, by study."""
        return {
            one.get("ParticipantObjectID"): {
                each.get("UID"): int(each.get("NumberOfInstances")) for each in one.iter("SOPClass")
            }
            for one in self._objects("110180")
        }

    def _objects(self, id_type: str) -> list:
        every = self.root.findall("ParticipantObjectIdentification")
        return [one for one in every if one.find("ParticipantObjectIDTypeCode").get("csd-code") == id_type]


def written(file: Path) -> list[Told]:
    """The messages in a file, one a line."""
    return [Told(parse(line).text) for line in file.read_bytes().splitlines()]


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def shown(authority):
    """The certificate of the collector, which has a name but no address in it."""
    return authority.server("collector.example")


@pytest.fixture
def collecting(authority, shown):
    """A context for a collector that wants a certificate too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown.chain, shown.key)
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture
def towards(authority):
    """The destination of a collector over TLS."""
    own = authority.client("scpd.example")
    files = {"ca": str(authority.certificate), "certificate": str(own.chain), "key": str(own.key)}

    def destination(port: int, **tls) -> dict:
        section = {**files, "name": "collector.example", **tls}
        return {"kind": "syslog-tls", "address": f"127.0.0.1:{port}", "tls": section}

    return destination


def element(tag: int, value: str | bytes, encoding: str = "ascii") -> bytes:
    raw = value if isinstance(value, bytes) else value.encode(encoding)
    raw += b" " * (len(raw) & 1)
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(raw)) + raw


def store(
    client, context: int, uid: str, patient: str, name: str | bytes = "", study: str = "1.2.3", charset: str = ""
):
    """C-STORE an instance of a patient; the status."""
    sop_class = CONTEXTS[context][0]
    elements = {0x00080005: charset} if charset else {}
    elements |= {0x00080016: sop_class, 0x00080018: uid, 0x00080050: f"A{study[-1]}"}
    elements |= {
        0x00100010: name or f"{patient}^Name",
        0x00100020: patient,
        0x0020000D: study,
        0x0020000E: f"{study}.4",
    }
    data = b"".join(element(tag, value) for tag, value in elements.items())
    command = CStoreRQ(message_id=1, affected_sop_class_uid=sop_class, affected_sop_instance_uid=uid, has_data_set=True)
    client.send_message(context, command, data)
    return client.receive_command().status


def login(user: str, passcode: str) -> dict:
    return {"identities": (UserIdentityRQ(2, False, user.encode(), passcode.encode()),)}


@pytest.fixture
def settings(tmp_path, authority):
    """Two servers, plain and under TLS, that know alice and refuse a spy; and whatever audit a test has."""
    users = tmp_path / "users"
    users.write_text("".join(f"{name}:{hashed(PASSCODE)}\n" for name in ("alice", "O'Brien", "Zoë")))
    users.chmod(0o640)
    host = authority.server("localhost")

    def make(*destinations: dict, **audit) -> dict:
        return {
            "audit": {"destinations": list(destinations), "source": "ARCHIVE ROOM", "site": "St. Vincent", **audit},
            "access": [{"deny": {"calling": "SPY"}}, {"allow": "all"}],
            "user_identity": {
                "providers": [{"kind": "passwords", "file": str(users)}],
                "lockout": {"failures": 0},
            },
            "servers": [
                {"name": "plain"},
                {"name": "tls", "tls": {"certificate": str(host.chain), "key": str(host.key)}},
                {"name": "near", "access": [{"allow": {"address": "127.0.0.2"}}, {"deny": "all"}]},
            ],
        }

    return make


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "audit.log"


def to(file: Path) -> dict:
    return {"kind": "file", "path": str(file)}


# -- what is told


def test_everything_is_told_to_every_destination_in_order_and_valid_by_the_schema(
    daemon, settings, connect, collecting, towards, file, tmp_path
):
    with Collector() as udp, Collector(collecting) as tls:
        over_udp = {"kind": "syslog-udp", "address": f"127.0.0.1:{udp.port}"}
        one = daemon(**settings(to(file), over_udp, towards(tls.port), spool=str(tmp_path / "spool")))
        alice = connect(one.port)
        assert isinstance(
            alice.associate(CONTEXTS, calling="CT1", called="ARCHIVE", **login("alice", PASSCODE)), AssociateAC
        )
        for number in range(3):
            assert store(alice, 3, f"1.2.3.{number}", "P-1") == 0
        assert store(alice, 7, "1.2.3.7", "P-1") == 0
        assert store(alice, 3, "1.2.3.8", "P-1", study="1.2.4") == 0
        assert store(alice, 5, "1.2.3.9", "P-2", study="1.2.5") == 0
        assert store(alice, 3, "1.2.3.0", "P-1") == 0, "the same instance once more was transferred once more"
        alice.release()
        one.associations(1)
        assert isinstance(connect(one.port).associate(calling="CT2", **login("alice", "wrong")), AssociateRJ)
        assert isinstance(connect(one.port).associate(calling="SPY"), AssociateRJ)
        assert connect(one.port_of("tls")).associate() is None
        assert connect(one.port_of("near")).receive() is None
        udp.wait_until(lambda: len(udp.received) >= 8)
        assert one.stop() == 0
        received = [udp.wait_for(9), tls.wait_for(9)]

    told = written(file)
    for messages in received:
        assert [message.text for message in messages] == [parse(line).text for line in file.read_bytes().splitlines()]
        assert {(message.facility, message.app, message.id) for message in messages} == {(10, "scpd", "DICOM+RFC3881")}
        assert {message.process for message in messages} == {str(one.pid)}
    types = [one.type for one in told]
    assert (types[0], types[-1]) == (START, STOP)
    assert types[1:4] == [LOGIN, TRANSFERRED, TRANSFERRED]
    assert sorted(types[4:-1]) == sorted([LOGIN, ALERT, ALERT, ALERT])
    assert {one.source for one in told} == {"ARCHIVE ROOM"}

    _, success, first, second, *others, _ = told
    assert (success.outcome, success.requestors) == ("0", ["alice"])
    assert success.users["alice"]["NetworkAccessPointID"] == "127.0.0.1"
    assert "username and passcode" in success.why
    transferred = {one.patients[0][0]: one for one in (first, second)}
    assert transferred["P-1"].patients == [("P-1", "P-1^Name")]
    assert transferred["P-1"].studies == {"1.2.3": {CT: 4, SR: 1}, "1.2.4": {CT: 1}}
    assert transferred["P-2"].patients == [("P-2", "P-2^Name")]
    assert transferred["P-2"].studies == {"1.2.5": {MR: 1}}
    for one_patient in transferred.values():
        assert (one_patient.outcome, one_patient.requestors) == ("0", ["alice"])
        assert one_patient.users["CT1"]["NetworkAccessPointID"] == "127.0.0.1"
        assert any(about.get("AlternativeUserID") == "AETITLES=ARCHIVE" for about in one_patient.users.values())

    (failure,) = [one for one in others if one.type == LOGIN]
    assert (failure.outcome, failure.requestors) == ("8", ["claimed:alice"])
    assert "the passcode of user 'alice' is wrong" in failure.why
    alerts = {one.why: one for one in others if one.type == ALERT}
    assert set(alerts) == {
        "calling AE title 'SPY' is not let in",
        "the TLS handshake failed: the peer spoke plain DICOM, not TLS: it began with a PDU of type 01H",
        "its address is not let in",
    }
    assert "SPY" in alerts["calling AE title 'SPY' is not let in"].users
    everything = file.read_text() + "".join(one_line for one_line in one.lines)
    assert PASSCODE not in everything
    assert base64.b64encode(PASSCODE.encode()).decode()[:16] not in everything


def test_without_a_user_the_device_is_the_requestor(daemon, settings, connect, file):
    one = daemon(**settings(to(file)))
    device = connect(one.port)
    device.associate(CONTEXTS, calling="CT1")
    assert store(device, 3, "1.2.3.1", "P-1") == 0
    device.socket.close()  # whoever breaks off has brought what was acknowledged all the same
    one.associations(1)
    assert one.stop() == 0
    (transferred,) = [each for each in written(file) if each.type == TRANSFERRED]
    assert transferred.requestors == ["CT1"]
    assert transferred.studies == {"1.2.3": {CT: 1}}


def test_what_was_stored_before_sigterm_is_told_before_the_stop(daemon, settings, connect, file):
    one = daemon(**settings(to(file)), timeouts={"shutdown": "200ms"})
    device = connect(one.port)
    device.associate(CONTEXTS, calling="CT1")
    assert store(device, 3, "1.2.3.1", "P-1") == 0
    assert one.stop() == 0
    assert [each.type for each in written(file)] == [START, TRANSFERRED, STOP]


def test_names_of_patients_are_told_as_people_write_them_and_make_no_xml(daemon, settings, connect, file):
    one = daemon(**settings(to(file)))
    device = connect(one.port)
    device.associate(CONTEXTS, calling="CT1")
    names = {
        "LATIN": ("ISO_IR 100", "Müller^Jürgen".encode("latin-1"), "Müller^Jürgen"),
        "UTF8": ("ISO_IR 192", "山田^太郎".encode(), "山田^太郎"),
        "FORGED": ("", b'"/><ActiveParticipant UserID="root"/>&', '"/><ActiveParticipant UserID="root"/>&'),
        "BREAKS": ("", b"A\nB\0C", "A\ufffdB\ufffdC"),
    }
    for number, (patient, (charset, raw, _)) in enumerate(names.items()):
        assert store(device, 3, f"1.2.3.{number}", patient, raw, charset=charset) == 0
    device.release()
    one.associations(1)
    assert one.stop() == 0
    told = dict(patient for each in written(file) if each.type == TRANSFERRED for patient in each.patients)
    assert told == {patient: name for patient, (_, _, name) in names.items()}
    assert not [line for line in one.lines if "Müller" in line or "FORGED" in line]


def test_who_fails_is_claimed_under_the_very_name_that_he_would_succeed_with(daemon, settings, connect, file):
    names = ["bob", "O'Brien", "Zoë", "a" * 100, "'quoted'"]
    one = daemon(**settings(to(file)))
    for name in names:
        assert isinstance(connect(one.port).associate(**login(name, "wrong")), AssociateRJ)
    one.wait_for_logs(lambda line: line["event"] == "association rejected", len(names))
    assert one.stop() == 0
    failures = [each for each in written(file) if each.type == LOGIN]
    assert [each.requestors for each in failures] == [[f"claimed:{name}"] for name in names]


def test_one_address_that_is_refused_for_ever_does_not_fill_the_trail(daemon, settings, connect, file):
    """A hundred an hour; what succeeds is always told."""
    one = daemon(**settings(to(file)))
    for _ in range(130):
        client = connect(one.port_of("near"))
        assert client.receive() is None
        client.close()
    alice = connect(one.port)
    alice.associate(calling="CT1", **login("alice", PASSCODE))
    alice.release()
    assert one.stop() == 0
    types = [each.type for each in written(file)]
    assert types.count(ALERT) == 100
    assert types.count(LOGIN) == 1


# -- what is asked for, and sent


@pytest.fixture
def archive(daemon, connect, file):
    """A daemon that answers queries and sends what it holds: two patients with a study each, one of an MR too."""

    def start(**more):
        contexts = ["verification", "storage", "query_retrieve"]
        one = daemon(audit={"destinations": [to(file)]}, ae_title="ARCHIVE", index={}, contexts=contexts, **more)
        device = connect(one.port)
        device.associate(CONTEXTS, calling="CT1")
        assert store(device, 3, "1.2.3.1", "P-1", "Müller^Jürgen".encode("latin-1"), charset="ISO_IR 100") == 0
        assert store(device, 3, "1.2.3.2", "P-1", "Müller^Jürgen".encode("latin-1"), charset="ISO_IR 100") == 0
        assert store(device, 5, "1.2.3.3", "P-1", "Müller^Jürgen".encode("latin-1"), charset="ISO_IR 100") == 0
        assert store(device, 3, "1.2.5.1", "P-2", study="1.2.5") == 0
        device.release()
        one.associations(1)
        return one

    return start


def told_of(file: Path) -> list[Told]:
    """Of queries and what was sent, without what came before."""
    every = [one for one in written(file) if one.type not in (START, STOP)]
    assert [one.type for one in every[:2]] == [TRANSFERRED, TRANSFERRED]
    return every[2:]


def asking(port: int, **how):
    """An association of a workstation that takes CT images."""
    ae = AE("VIEWER")
    for model in (STUDY_ROOT.find, STUDY_ROOT.move, STUDY_ROOT.get):
        ae.add_requested_context(model, IMPLICIT)
    ae.add_requested_context(CT, IMPLICIT)
    roles = [build_role(CT, scp_role=True)]
    association = ae.associate("127.0.0.1", port, ae_title="ARCHIVE", ext_neg=roles, **how)
    assert association.is_established
    return association


def studies(*uids: str) -> Dataset:
    asked = Dataset()
    asked.QueryRetrieveLevel = "STUDY"
    asked.StudyInstanceUID = list(uids)
    return asked


def test_a_query_is_told_with_what_was_asked(archive, file):
    one = archive()
    association = asking(one.port)
    assert len(list(association.send_c_find(studies("1.2.3", "1.2.5"), STUDY_ROOT.find))) == 3
    association.release()
    assert one.stop() == 0
    (query,) = told_of(file)
    assert (query.type, query.outcome, query.requestors) == (QUERY, "0", ["VIEWER"])
    assert query.why == "matches that were told: 2"
    subject = query.root.find("ParticipantObjectIdentification")
    assert subject.get("ParticipantObjectID") == STUDY_ROOT.find
    assert base64.b64decode(subject.find("ParticipantObjectDetail").get("value")).decode() == IMPLICIT
    raw = base64.b64decode(subject.findtext("ParticipantObjectQuery"))
    assert read_dataset(BytesIO(raw), is_implicit_VR=True, is_little_endian=True) == studies("1.2.3", "1.2.5")
    assert not [line for line in one.lines if "1.2.3\\1.2.5" in line]


def test_what_a_workstation_gets_is_told_patient_by_patient(archive, file):
    one = archive()
    association = asking(one.port, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0)])
    *_, (final, _) = association.send_c_get(studies("1.2.3", "1.2.5"), STUDY_ROOT.get)
    assert (final.Status, final.NumberOfCompletedSuboperations, final.NumberOfFailedSuboperations) == (0xB000, 3, 1)
    association.release()
    assert one.stop() == 0
    every = told_of(file)
    assert [(each.type, each.outcome) for each in every] == [
        *((BEGUN, "0"), (BEGUN, "0"), (TRANSFERRED, "0"), (TRANSFERRED, "0"), (TRANSFERRED, "4"))
    ]
    jurgen = [("P-1", "Müller^Jürgen")]
    assert [each.patients for each in every] == [jurgen, [("P-2", "P-2^Name")], jurgen, [("P-2", "P-2^Name")], jurgen]
    assert [each.studies for each in every] == [
        {"1.2.3": {CT: 2, MR: 1}},
        {"1.2.5": {CT: 1}},
        {"1.2.3": {CT: 2}},
        {"1.2.5": {CT: 1}},
        {"1.2.3": {MR: 1}},
    ]
    assert {each.root.find(".//Accession").get("Number") for each in every} == {"A3", "A5"}
    assert {tuple(each.requestors) for each in every} == {("VIEWER",)}
    assert every[-1].why == "not stored there, as far as is known"


def test_what_is_moved_is_told_with_its_destination(archive, file):
    reader = AE("READER")
    reader.add_supported_context(CT, IMPLICIT)
    server = reader.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0)])
    try:
        one = archive(peers={"READER": {"address": f"127.0.0.1:{server.server_address[1]}", "ae_title": "READER"}})
        association = asking(one.port)
        *_, (final, _) = association.send_c_move(studies("1.2.5"), "READER", STUDY_ROOT.move)
        assert final.Status == 0
        association.release()
        assert one.stop() == 0
    finally:
        server.shutdown()
    begun, sent = told_of(file)
    assert [each.type for each in (begun, sent)] == [BEGUN, TRANSFERRED]
    for each in (begun, sent):
        assert list(each.users)[1:] == ["READER", "VIEWER"]
        assert each.users["READER"]["NetworkAccessPointID"] == "127.0.0.1"
        assert each.requestors == ["VIEWER"]
        assert each.studies == {"1.2.5": {CT: 1}}


# -- destinations that are away


def test_while_the_collector_is_away_images_are_stored_and_later_everything_arrives(
    daemon, settings, connect, collecting, towards, tmp_path, free_port
):
    tls = Collector(collecting, port=free_port)
    one = daemon(**settings(towards(free_port), spool=str(tmp_path / "spool")))
    away = one.wait_for_log(lambda line: line["event"] == "the audit destination is away")
    assert away["level"] == "warning"
    assert away["destination"] == f"tls:127.0.0.1:{free_port}"
    device = connect(one.port)
    device.associate(CONTEXTS, calling="CT1")
    for number in range(20):
        assert store(device, 3, f"1.2.3.{number}", f"P-{number % 2}") == 0
    device.release()
    with tls:
        told = [Told(each.text) for each in tls.wait_for(3)]
        assert [each.type for each in told] == [START, TRANSFERRED, TRANSFERRED]
        assert [each.studies for each in told[1:]] == [{"1.2.3": {CT: 10}}] * 2
        one.wait_for_log(lambda line: line["event"] == "the audit destination is back")
        assert one.stop() == 0
        assert Told(tls.wait_for(4)[-1].text).type == STOP


def test_what_was_told_survives_kill_9(daemon, settings, connect, collecting, towards, tmp_path, free_port, wait_for):
    """It waited in the spool for a collector that was away, and goes out after the restart, in order and once."""
    spool = tmp_path / "spool"
    tls = Collector(collecting, port=free_port)
    configured = settings(towards(free_port), spool=str(spool))
    one = daemon(**configured)
    device = connect(one.port)
    device.associate(CONTEXTS, calling="CT1", **login("alice", PASSCODE))
    assert store(device, 3, "1.2.3.1", "P-1") == 0
    device.release()
    wait_for(lambda: b"DICOM Instances Transferred" in b"".join(path.read_bytes() for path in spool.rglob("*.spool")))
    one.send_signal(signal.SIGKILL)
    one.wait()
    with tls:
        again = daemon(**configured)
        again.wait_for_log(lambda line: line["event"] == "audit messages of an earlier run wait" and line["count"] == 3)
        received = tls.wait_for(4)
        assert [Told(each.text).type for each in received] == [START, LOGIN, TRANSFERRED, START]
        assert [each.process for each in received] == [str(one.pid)] * 3 + [str(again.pid)]
        assert again.stop() == 0
        assert Told(tls.wait_for(5)[-1].text).type == STOP


def test_a_second_process_does_not_take_the_spool_of_the_first(daemon, settings, file, tmp_path):
    configured = settings(to(file), spool=str(tmp_path / "spool"))
    one = daemon(**configured)
    other = daemon(**configured, ready=False)
    assert other.wait() in (1, 78)
    (fault,) = [line for line in other.lines if "audit.spool" in line]
    assert fault.startswith(str(other.config))
    assert not [line for line in other.lines if "Traceback" in line]
    assert one.stop() == 0
    assert [each.type for each in written(file)] == [START, STOP]


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"name": "pacs.example"}, "Hostname mismatch, certificate is not valid for 'pacs.example'"),
        ({"ca": "stranger"}, "certificate verify failed"),
        ({"certificate": None, "key": None}, "certificate required"),
    ],
)
def test_a_collector_that_cannot_be_trusted_or_does_not_trust_us_gets_nothing(
    daemon, settings, collecting, towards, tmp_path, how, says
):
    if how.get("ca"):
        how = {"ca": str(Authority(tmp_path, "Another CA").certificate)}
    with Collector(collecting) as tls:
        destination = towards(tls.port, **how)
        destination["tls"] = {key: value for key, value in destination["tls"].items() if value}
        one = daemon(**settings(destination))
        line = one.wait_for_log(lambda line: line["event"] == "the audit destination is away")
        assert says in line["error"]
        one.send_signal(signal.SIGTERM)
        assert one.wait() == 0
        assert not tls.received
    lost = one.wait_for_log(lambda line: line["event"] == "audit messages were lost")
    assert lost["level"] == "error"


def test_nobody_listens_for_datagrams_and_nobody_waits(daemon, settings, connect, free_port):
    one = daemon(**settings({"kind": "syslog-udp", "address": f"127.0.0.1:{free_port}"}))
    for number in range(3):
        device = connect(one.port)
        device.associate(CONTEXTS, calling="CT1")
        assert store(device, 3, f"1.2.3.{number}", "P-1") == 0
        device.release()
    one.wait_for_log(lambda line: line["event"] == "the audit destination is away")
    assert one.stop() == 0


# -- the configuration


@pytest.mark.parametrize(
    ("destination", "key", "says"),
    [
        ({"kind": "file", "path": "/nowhere/audit.log"}, "audit.destinations[0].path", "/nowhere is not a directory"),
        ({"kind": "file", "path": "/tmp"}, "audit.destinations[0].path", "/tmp"),
        ({"kind": "file", "path": "/proc/self/exe"}, "audit.destinations[0].path", "exe"),  # a symbolic link
        (
            {"kind": "syslog-tls", "address": "127.0.0.1:6514", "tls": {"ca": "/nowhere/ca.crt"}},
            "audit.destinations[0].tls.ca",
            "/nowhere/ca.crt does not exist",
        ),
    ],
)
def test_scpd_check_names_what_no_audit_trail_can_go_to(settings, tmp_path, capsys, destination, key, says):
    config = tmp_path / "scpd.yaml"
    beside = {"bind": "127.0.0.1:0", "storage": {"directory": str(tmp_path / "store")}}
    config.write_text(yaml.safe_dump({**settings(destination), **beside}))
    assert main(["check", str(config)]) == 78
    (fault,) = capsys.readouterr().out.splitlines()
    assert fault.startswith(f"{config}:")
    assert f": {key}: " in fault
    assert says in fault
