"""The chapters of the statement, by the template of PS3.2 annex A, and those that are short enough to stand here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.charset import python_encoding

from scpd.daemon import served
from scpd.daemon.conformance import initiator, sop_classes
from scpd.daemon.conformance.document import Code, Contents, Document, Section, Table
from scpd.daemon.conformance.entity import entities
from scpd.daemon.conformance.networking import networking
from scpd.daemon.conformance.security import security
from scpd.errors import ConfigurationError
from scpd.services.query.find import Find
from scpd.services.retrieve.service import Retrieve
from scpd.sop_class import SERVICE_CLASSES
from scpd.version import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from scpd.config import Config
    from scpd.daemon.conformance.entity import Entity

_TITLE = "DICOM Conformance Statement"
_OTHER = "Others, private ones included"
_STORED = ("Storage", "NonPatientObject", _OTHER)


def statement(config: Config) -> Document:
    """The Conformance Statement of ``config``.

    Raises :class:`ConfigurationError` for SOP classes that the daemon refuses to start with: what would be said of them
    would not be true.
    """
    servers = entities(config)
    if faults := list(_faults(config, servers)):
        raise ConfigurationError(faults)
    chapters = (
        _overview(servers),
        Section("Table of Contents", (Contents(),)),
        _introduction(),
        networking(config),
        Section("Media Interchange", ("Media storage is not supported: no application profile of PS3.11 is claimed.",)),
        _character_sets(servers),
        security(config),
        _annexes(servers),
    )
    return Document(_TITLE, _cover(servers), chapters)


def _faults(config: Config, servers: Sequence[Entity]) -> Iterator[str]:
    for entity in servers:
        for key, what in served.faults(entity.server):
            yield f"{config.near(entity.server.name, key)}: {key}: {what}"


def _cover(servers: Sequence[Entity]) -> Table:
    rows = [
        ("Product", "scpd"),
        ("Version", Code(__version__)),
        ("Implementation Class UID", Code(IMPLEMENTATION_CLASS_UID)),
        ("Implementation Version Name", Code(IMPLEMENTATION_VERSION_NAME)),
        *((f"AE title of the server {entity.name}", entity.ae_title) for entity in servers),
    ]
    return Table("Product", ("What", "Value"), tuple(rows))


def _overview(servers: Sequence[Entity]) -> Section:
    return Section(
        "Conformance Statement Overview",
        (
            (
                "scpd is a server that receives DICOM instances over the network and keeps them as files. It provides "
                "Verification and Storage as an SCP and, with an index of what it holds, Query/Retrieve and Storage "
                "Commitment. This statement is about one configuration of it, from which it was made."
            ),
            _services(servers),
        ),
    )


def _services(servers: Sequence[Entity]) -> Table:
    """PS3.2: network services; SOP class by SOP class they stand with each AE."""
    uids = dict.fromkeys(one.abstract_syntax for entity in servers for one in entity.contexts)
    rows = tuple((_spaced(service), str(count), _user(service, servers), "Yes") for service, count in _counted(uids))
    header = ("Network Service", "SOP Classes", "User of Service (SCU)", "Provider of Service (SCP)")
    return Table("Network Services of all servers", header, rows)


def _user(service: str, servers: Sequence[Entity]) -> str:
    """Who uses a service of others."""
    if service == "StorageCommitment":
        return "No"
    commands = f"By {initiator.NAME.lower()}"
    retrieves = any(Retrieve in entity.services for entity in servers)
    return f"{commands}, and to retrieve" if retrieves and service in _STORED else commands


def _counted(uids: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Each service class that occurs, and how many of its SOP classes."""
    left = set(uids)
    for service, members in SERVICE_CLASSES.items():
        if found := left.intersection(members):
            yield service, len(found)
        left.difference_update(members)
    if left:
        yield _OTHER, len(left)


def _spaced(name: str) -> str:
    """``BasicWorklistManagement`` in words."""
    if name == _OTHER:
        return name
    return "".join(f" {letter}" if letter.isupper() else letter for letter in name).strip()


def _introduction() -> Section:
    return Section(
        "Introduction",
        (),
        (
            Section("Audience", ("Whoever connects other systems to this one, and knows the terms of DICOM.",)),
            Section(
                "Remarks",
                (
                    (
                        "A Conformance Statement lets two systems be compared. That they work together is shown by "
                        "testing them together, in the site's own set-up."
                    ),
                    (
                        "This statement is made from the configuration and from the tables of the program. Another "
                        "configuration, or another version, has another one."
                    ),
                ),
            ),
            Section(
                "Terms and Definitions",
                ("AE, SCU, SCP, SOP Class, presentation context and the names of services are those of PS3.",),
            ),
            Section("References", ("NEMA PS3, Digital Imaging and Communications in Medicine (DICOM) Standard.",)),
        ),
    )


_QUERIES = (
    "The keys of a query are read by its own Specific Character Set, in any of these terms; text that is not of it, or "
    "beyond ISO_IR 6 with a term that is not in this table, is refused (C000). Text is compared as characters, "
    "whatever character sets it came in. An answer is in the default repertoire where that can hold it, else in the "
    "character set of the query, and else in ISO_IR 192."
)


def _character_sets(servers: Sequence[Entity]) -> Section:
    terms = tuple((Code(term),) for term in sorted(filter(None, python_encoding)))
    return Section(
        "Support of Character Sets",
        (
            (
                "Instances are stored as they come, in whatever character set they are; nothing is converted. Text is "
                "read of them for the paths of files, the index and the audit trail, by Specific Character Set "
                "(0008,0005). Without it, or with a term that is not in this table, text is taken for ISO_IR 6; what "
                "cannot be read is replaced."
            ),
            *((_QUERIES,) if any(Find in entity.services for entity in servers) else ()),
            Table("Defined terms of Specific Character Set that are read", ("Defined Term",), terms),
            "AE titles and UIDs are of the default repertoire (ISO_IR 6).",
        ),
    )


def _annexes(servers: Sequence[Entity]) -> Section:
    return Section(
        "Annexes",
        (),
        (
            Section("IOD Contents", ("No instances are created, and no attributes of received ones are changed.",)),
            Section("Data Dictionary of Private Attributes", ("No private attributes are defined.",)),
            Section("Coded Terminology and Templates", ("None is used but the codes of the audit trail, of PS3.16.",)),
            Section("Grayscale Image Consistency", ("Nothing is displayed or printed.",)),
            Section(
                "Standard Extended, Specialized and Private SOP Classes",
                tuple(_unknown("SOP Classes", (one.abstract_syntax for e in servers for one in e.contexts))),
            ),
            Section(
                "Private Transfer Syntaxes",
                tuple(
                    _unknown(
                        "Transfer Syntaxes",
                        (uid for e in servers for one in e.contexts for uid in one.transfer_syntaxes),
                    )
                ),
            ),
        ),
    )


def _unknown(what: str, uids: Iterator[str]) -> Iterator[str | Table]:
    """Those that the data dictionary does not have."""
    rows = tuple((Code(uid),) for uid in dict.fromkeys(uids) if not sop_classes.is_known(uid))
    if rows:
        yield f"These {what} are configured, and not in the data dictionary: private ones, or newer than it."
        yield Table(f"{what} that are not in the data dictionary", ("UID",), rows)
    else:
        yield f"No {what} are configured that the data dictionary does not have."
