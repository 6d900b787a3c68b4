"""The AE specification of the client commands, the only ones here that ask for associations (PS3.2 A.4.2)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

from scpd.client.instance import Instance
from scpd.client.querying import Model, Service, proposal, sop_class
from scpd.client.requestor import MOST_CONTEXTS, Caller
from scpd.client.sending import Outcome
from scpd.config.effective import shown
from scpd.config.values import format_size
from scpd.daemon.conformance.document import Code, Section, Table
from scpd.daemon.conformance.entity import said
from scpd.dimse import status
from scpd.part10 import FileHead
from scpd.sop_class import ALL_TRANSFER_SYNTAXES, MOST_USED_STORAGE, UNCOMPRESSED, VERIFICATION, uid_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.client.requestor import Proposal
    from scpd.config import Config

NAME = "Client commands"
_DEFAULTS = Caller()


def specification() -> Section:
    """The whole of it."""
    return Section(
        f"{NAME} AE Specification",
        (
            (
                "The commands scpd echo, send, find, move and get, and scpd health, which asks the servers of this "
                "configuration for a C-ECHO. Each is a process of its own that ends with its work; the daemon runs "
                "none of them."
            ),
        ),
        (_sop_classes(), _policies(), _initiation(), _acceptance()),
    )


def _sop_classes() -> Section:
    verification = VERIFICATION[0]
    rows = (
        (uid_name(verification), Code(verification), "Yes", "No", "C-ECHO"),
        ("Every SOP Class of Storage: that of each file which is sent", "as in the file", "Yes", "No", "C-STORE"),
        *((uid_name(uid), Code(uid), "Yes", "No", f"C-{service.upper()}") for uid, service in _asked()),
        (
            f"SOP Classes of Storage, for C-GET: --sop-class, or the {len(MOST_USED_STORAGE)} most used ones",
            "as on the command line",
            "No",
            "Yes",
            "C-STORE",
        ),
    )
    header = ("SOP Class Name", "SOP Class UID", "SCU", "SCP", "DIMSE services")
    return Section("SOP Classes", (Table("SOP Classes", header, rows),))


def _asked() -> list[tuple[str, Service]]:
    """The classes of the query models that a command may ask in."""
    return [(sop_class(model, service), service) for model in get_args(Model) for service in get_args(Service)]


def _policies() -> Section:
    rows = (
        ("Calling AE Title, where --calling says no other", Code(_DEFAULTS.calling)),
        ("Called AE Title, where neither --called nor the configuration says another", Code(_DEFAULTS.called)),
        ("Longest PDU received (Maximum Length announced)", format_size(_DEFAULTS.maximum_length)),
        ("Associations at one time, of one process", "1"),
        ("Presentation contexts of one association, at most", str(MOST_CONTEXTS)),
        ("Outstanding operations", "1; no asynchronous operations window is proposed"),
        ("Implementation Class UID", Code(_DEFAULTS.implementation_class_uid)),
        ("Implementation Version Name", Code(_DEFAULTS.implementation_version_name)),
    )
    return Section("Association Policies", (Table("Association Policies", ("What", "Value"), rows),))


def _initiation() -> Section:
    return Section(
        "Association Initiation Policy",
        (
            (
                "scpd echo asks for one association and sends one C-ECHO. scpd send reads the files that are named, "
                "asks for as many associations as their presentation contexts need, one after the other, and sends one "
                "C-STORE for each file. Data sets are sent byte for byte; where the peer takes an uncompressed one "
                "only in the second transfer syntax of the table, it is converted, which loses nothing."
            ),
            (
                "scpd find, move and get ask for one association each and for one operation, with the keys and at the "
                "level of the command line. Relational queries and retrieval, combined date-time matching, fuzzy "
                "matching and timezone adjustment are proposed where the command line asks for them. A find that has "
                "reached --most answers is cancelled. What comes in a C-GET is written into files, byte for byte, "
                "before it is answered."
            ),
            _proposals(),
            "A user identity is sent where the command line has one.",
            _conclusions(),
        ),
    )


def _proposals() -> Table:
    header = ("Abstract Syntax", "Transfer Syntaxes", "Role", "Extended Negotiation")
    echo = " or ".join(map(uid_name, UNCOMPRESSED[:2]))
    also = [syntax for syntax in ALL_TRANSFER_SYNTAXES if len(_proposed(syntax)) > 1]
    fallback = ", ".join(sorted({uid_name(_proposed(syntax)[1]) for syntax in also}))
    rows = [
        (uid_name(VERIFICATION[0]), f"{echo}, in one context", "SCU", "None"),
        ("SOP Class of a file", "Transfer syntax of the file", "SCU", "None"),
        (
            f"SOP Class of a file in {', '.join(map(uid_name, also))}",
            f"In a context of its own beside it: {fallback}",
            "SCU",
            "None",
        ),
        *((uid_name(uid), _in_one(proposal(uid)), "SCU", "Where asked for") for uid, _ in _asked()),
        (
            "SOP Class of Storage, for C-GET",
            "All; up to three classes in a context for each transfer syntax, more of them in fewer",
            "SCP, by role selection",
            "None",
        ),
    ]
    return Table("Proposed Presentation Contexts", header, tuple(rows))


def _in_one(proposed: Proposal) -> str:
    return f"{' or '.join(map(uid_name, proposed.transfer_syntaxes))}, in one context"


def _proposed(syntax: str) -> list[str]:
    """The transfer syntaxes in which a file in ``syntax`` is proposed, as the sender has it."""
    return [one.transfer_syntaxes[0] for one in Instance(Path(), FileHead("", "", syntax, 0)).proposals]


def _conclusions() -> Table:
    """What the sender makes of each status, by asking it."""
    rows = tuple((Code(f"{code:04X}"), status.meaning(code, "C-STORE"), _counted(code)) for code in _CODES)
    return Table("C-STORE responses", ("Code", "Meaning", "Behavior"), rows)


_CODES = (status.SUCCESS, *status.STORAGE)


def _counted(code: int) -> str:
    outcome = Outcome()
    outcome.answered(code)
    what = "stored" if outcome.stored else "not stored"
    return f"Counted as {what}; the next file is sent."


def _acceptance() -> Section:
    return Section("Association Acceptance Policy", ("The AE accepts no associations.",))


def peers(config: Config) -> Iterator[tuple[str, str, str, str, str, str]]:
    """The peers of the configuration: name, AE title, address, protection; what a C-MOVE may ask of each."""
    data = shown(config)["peers"]
    for name, peer in config.peers.items():
        title = Code(said(peer.ae_title, data[name]["ae_title"]))
        address = Code(said(str(peer.address), data[name]["address"]))
        protection = "None" if peer.tls is None else "TLS"
        if peer.tls and not peer.tls.verify:
            protection = "TLS, without a look at the peer's certificate"
        yield name, title, address, protection, str(peer.associations), str(peer.attempts)
