"""The audit trail profiles (PS3.15 A.5 to A.7): which messages there are, and where they go."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scpd.daemon.conformance.document import Section, Table
from scpd.telemetry import audit
from scpd.telemetry.audit import MOST_OCTETS, Patient, Peer, Reporter, Route, Study

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.config import Config
    from scpd.telemetry.audit import Message

_CODE = re.compile(r'<(EventID|EventTypeCode) csd-code="(\w+)"[^>]* originalText="([^"]*)"')
_TRANSMISSION = {
    "file": "A file, one syslog line (RFC 5424) for each message",
    "syslog-tls": "Audit Trail Message Transmission Profile - SYSLOG-TLS (PS3.15 A.6), RFC 5425",
    "syslog-udp": "Audit Trail Message Transmission Profile - SYSLOG-UDP (PS3.15 A.7), RFC 5426",
}


def audit_trail(config: Config) -> Section:
    """The section of the chapter on security."""
    title = "Audit Trail Profile"
    if config.audit is None or not config.audit.destinations:
        return Section(title, ("No audit trail is configured.",))
    kinds = dict.fromkeys(one.kind for one in config.audit.destinations)
    return Section(
        title,
        (
            (
                "Audit Trail Message Format Profile (PS3.15 A.5). Messages are valid by its schema, and no longer than "
                f"{MOST_OCTETS} octets."
            ),
            Table("Audit messages", ("When", "Event ID", "Event Type Code"), tuple(_messages())),
            Table("Transmission", ("Destination", "Profile"), tuple((kind, _TRANSMISSION[kind]) for kind in kinds)),
            "Messages for a collector that is away wait "
            + ("in a spool on the disk." if config.audit.spool else "in memory, and are lost with the process."),
        ),
    )


def _messages() -> Iterator[tuple[str, str, str]]:
    """When there is one, and its codes, read from a message that is made for it."""
    reporter, peer = Reporter("", ""), Peer("192.0.2.1")
    yield "The daemon serves", *_codes(audit.application_started(reporter))
    yield "The daemon has ended", *_codes(audit.application_stopped(reporter))
    yield "A user identity was verified", *_codes(audit.login_succeeded(reporter, peer, ""))
    yield "A user identity was not verified", *_codes(audit.login_failed(reporter, peer, "", ""))
    for kind, when in _ALERTS.items():
        yield when, *_codes(audit.security_alert(reporter, peer, "", kind=kind))
    patient, study = Patient(""), Study("", {})
    (message,) = audit.instances_transferred(reporter, peer, patient, [study])
    yield "An association ends in which instances were stored: one for each patient", *_codes(message)
    yield "A query was answered (C-FIND)", *_codes(audit.query_received(reporter, peer, "", "", b""))
    route = Route(peer, peer)
    (message,) = audit.transfer_begun(reporter, route, patient, [study])
    yield "Instances are about to be sent (C-MOVE, C-GET): one for each patient", *_codes(message)
    (message,) = audit.instances_sent(reporter, route, patient, [study])
    yield "They were sent, or were not (C-MOVE, C-GET): one of each for each patient", *_codes(message)
    yield (
        "A person looks at a study on the status page",
        *_codes(audit.instances_accessed(reporter, "", "", patient, study)),
    )
    (message,) = audit.study_deleted(reporter, patient, study)
    yield "A study is deleted by a rule of retention", *_codes(message)


_ALERTS = {
    audit.Alert.NODE_AUTHENTICATION: "An association is rejected for its address, certificate or AE titles, or a TLS "
    "handshake fails",
    audit.Alert.RESTRICTED_FUNCTION: "An association is rejected because its peer asks too often",
}


def _codes(message: Message) -> tuple[str, str]:
    found = {where: f"{meaning} ({code}, DCM)" for where, code, meaning in _CODE.findall(message.xml)}
    return found["EventID"], found.get("EventTypeCode", "None")
