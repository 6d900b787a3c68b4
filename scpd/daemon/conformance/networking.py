"""Chapter 4, networking (PS3.2 A.4): the implementation model, the AEs, their network and their configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.daemon.conformance import acceptor, initiator
from scpd.daemon.conformance.configuration import parameters
from scpd.daemon.conformance.document import Section, Table
from scpd.daemon.conformance.entity import entities
from scpd.services.commitment.service import Commitment
from scpd.services.query.find import Find

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.config import Config
    from scpd.daemon.conformance.entity import Entity


def networking(config: Config) -> Section:
    """The whole chapter."""
    specifications = (*map(acceptor.specification, entities(config)), initiator.specification())
    return Section(
        "Networking",
        (),
        (
            _model(config),
            Section("AE Specifications", (), specifications),
            _interfaces(config),
            _configuration(config),
        ),
    )


def _model(config: Config) -> Section:
    flow = tuple(row for entity in entities(config) for row in _flow(entity))
    commands = (
        initiator.NAME,
        "Initiator",
        "Somebody runs a command",
        "A remote AE is verified, sent files, asked what it holds, or for it",
    )
    header = ("Application Entity", "Part in associations", "Real-World Activity", "What follows")
    return Section(
        "Implementation Model",
        (),
        (
            Section("Application Data Flow", (Table("Application data flow", header, (*flow, commands)),)),
            Section(
                "Functional Definition of AEs",
                (
                    (
                        "Each server of the configuration is an Application Entity of one daemon, with a port, "
                        "contexts and limits of its own. It waits for connections, accepts associations, answers "
                        "C-ECHO, and writes what comes by C-STORE into files. One that has an index also knows what "
                        "it holds, and answers for that as far as its SOP Classes go."
                    ),
                    "The client commands are Application Entities of their own while they run.",
                ),
            ),
            Section(
                "Sequencing of Real-World Activities",
                (
                    (
                        "None is needed: a remote AE need not verify before it stores, and no order of instances is "
                        "expected. What has been stored can be asked for, and commitment to it requested, at any time."
                    ),
                ),
            ),
        ),
    )


def _flow(entity: Entity) -> Iterator[tuple[str, str, str, str]]:
    """What a remote AE does, and what follows."""
    yield entity.name, "Acceptor", "A remote AE verifies that it is there, or sends instances", _effect(entity)
    if Find in entity.services:
        yield entity.name, "Acceptor", "A remote AE asks what is held (C-FIND)", "It is told of each match"
    if entity.sends_back:
        yield entity.name, "Acceptor", "A remote AE asks for instances (C-GET)", "It is sent them as it asks"
    if entity.moves:
        what = "A remote AE has instances sent to another (C-MOVE)"
        yield entity.name, "Acceptor and initiator", what, "The other is sent them by C-STORE"
    if Commitment in entity.services:
        what = "A remote AE asks for storage commitment (N-ACTION)"
        yield entity.name, "Acceptor and initiator", what, "Files are verified, and it is told (N-EVENT-REPORT)"


def _effect(entity: Entity) -> str:
    stored = f"Instances become files below {entity.setting('storage.directory')}"
    hooks = ", ".join(entity.hooks)
    return f"{stored}; they, or their studies, are then handed over to {hooks}" if hooks else stored


def _interfaces(config: Config) -> Section:
    addresses = tuple((entity.name, entity.address, _family(entity)) for entity in entities(config))
    return Section(
        "Network Interfaces",
        (),
        (
            Section(
                "Physical Network Interface",
                (
                    (
                        "The DICOM Upper Layer Protocol over TCP/IP (PS3.8). The TCP/IP of the operating system is "
                        "used, and with it every medium that it supports."
                    ),
                ),
            ),
            Section("Additional Protocols", (_protocols(config),)),
            Section(
                "IPv4 and IPv6 Support",
                (
                    (
                        "IPv4 and IPv6 are both supported, for servers and for the addresses that are called. A name "
                        "is listened on at the first address that the system gives for it. A server at [::] also takes "
                        "IPv4 connections where the operating system hands them over, which is the usual setting on "
                        "Linux."
                    ),
                    Table("Addresses of the servers", ("Server", "Address", "Family"), addresses),
                ),
            ),
        ),
    )


def _family(entity: Entity) -> str:
    address = entity.address
    if address.startswith("[::]"):
        return "IPv6, and IPv4 by the operating system"
    if address.startswith("["):
        return "IPv6"
    host = address.rpartition(":")[0]
    return "IPv4" if host.replace(".", "").isdigit() else "What the name or the operating system says"


def _protocols(config: Config) -> Table:
    """What is spoken beside DICOM, as far as this configuration has it."""
    return Table("Protocols beside DICOM", ("Protocol", "For what"), tuple(_spoken(config)))


def _spoken(config: Config) -> Iterator[tuple[str, str]]:
    yield "DNS, by the operating system", "Names in the place of addresses"
    if any(server.tls for server in config.servers) or any(peer.tls for peer in config.peers.values()):
        yield "TLS", "Protected associations: see Security"
    providers = [one for server in config.servers for one in server.user_identity.providers]
    if any(one.kind == "ldap" for one in providers):
        yield "LDAP", "User identity: binding as the user"
    if any(one.kind == "jwt" and one.keys.startswith("https:") for one in providers):
        yield "HTTPS", "User identity: the keys of an issuer"
    for kind in sorted({one.kind for one in config.audit.destinations} if config.audit else ()):
        if kind.startswith("syslog"):
            yield f"Syslog ({kind})", "The audit trail: see Security"
    if any(hook.kind == "webhook" for server in config.servers for hook in server.hooks):
        yield "HTTP, HTTPS", "Telling others of instances and studies that have arrived (hooks)"
    if any(server.index and (server.index.url or "").startswith("postgresql:") for server in config.servers):
        yield "PostgreSQL", "The index of what is held"
    if config.admin:
        yield "HTTP", "The admin endpoint, for those who run the daemon"


def _known_to(config: Config) -> str:
    found = entities(config)
    users = ["by name to the client commands"]
    if any(entity.moves for entity in found):
        users.append("by AE title as the destinations of C-MOVE")
    if any(Commitment in entity.services for entity in found):
        users.append("by AE title to storage commitment")
    known = f"{', '.join(users[:-1])} and {users[-1]}" if users[1:] else f"{users[0]} alone"
    return f"Remote AEs are known {known}. Who may call is not a matter of this list but of access rules: see Security."


def _configuration(config: Config) -> Section:
    local = tuple((entity.ae_title, entity.address, entity.name) for entity in entities(config))
    remote = tuple(initiator.peers(config))
    header = ("Name", "AE Title", "Address", "Protection", "Associations of one C-MOVE", "Attempts")
    mapping = Section(
        "AE Title/Presentation Address Mapping",
        (),
        (
            Section(
                "Local AE Titles",
                (Table("Local AE titles", ("AE Title", "Address", "Server"), local),),
            ),
            Section(
                "Remote AE Title/Presentation Address Mapping",
                (
                    _known_to(config),
                    *((Table("Remote AEs", header, remote),) if remote else ("The configuration names none.",)),
                ),
            ),
        ),
    )
    about = (
        "All parameters stand in one file, which is read at the start and when the daemon is told to. Sizes are in "
        "bytes or with KiB, MiB, GiB; times in ms, s, m, h or d. A value that is kept in a file of its own is shown as "
        "that file's name, and a secret never."
    )
    return Section("Configuration", (), (mapping, Section("Parameters", (about,), tuple(parameters(config)))))
