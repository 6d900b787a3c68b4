"""SOP specific conformance of C-MOVE and C-GET (PS3.4 C.4.2, C.4.3), and what C-MOVE proposes to its destinations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.daemon.conformance.document import Section, Table
from scpd.daemon.conformance.querying import levels
from scpd.daemon.conformance.statuses import ANYWHERE, table
from scpd.dimse import status
from scpd.index.query import Held
from scpd.services.query.models import BY_GET, BY_MOVE
from scpd.services.retrieve.destination import plan
from scpd.sop_class import ALL_TRANSFER_SYNTAXES, UNCOMPRESSED, uid_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.daemon.conformance.entity import Entity

_UNKNOWN_MATCHES, _NONE_SENT, _UNKNOWN_DESTINATION = 0xA701, 0xA702, 0xA801
_ANY_CLASS = "1.2.840.10008.5.1.4.1.1.7"  # by what an instance is proposed hangs on its encoding alone


def retrieve(entity: Entity) -> Section:
    """The whole of it."""
    tables = [
        table(operation, _statuses(operation)) for operation, models in _MODELS.items() if _has(entity, operation)
    ]
    return Section(
        "SOP Specific Conformance for Retrieve (C-MOVE, C-GET)",
        (
            (
                "The AE provides the Query/Retrieve Service Class (PS3.4 annex C) as an SCP of "
                f"{' and '.join(one for one in _MODELS if _has(entity, one))}: it sends the instances that it holds by "
                "C-STORE sub-operations."
            ),
            *(levels(entity, one, models) for one, models in _MODELS.items() if _has(entity, one)),
            _IDENTIFIER,
            *_ways(entity),
            _SENDING,
            _sub_operations(),
            *tables,
            _extended(entity),
        ),
    )


_MODELS = {"C-MOVE": BY_MOVE, "C-GET": BY_GET}
_IDENTIFIER = (
    "The identifier has the unique keys of the level and of those above it: a single value each, or several UIDs at "
    "the level itself, but one patient at PATIENT level. Relational retrieval, where it was negotiated, needs none of "
    "the keys above. Wild cards are refused, and so are unique keys of a level below. Other keys are passed over. "
    "Instances are sent in the order of their studies, series and instance numbers; each once, in its latest form."
)
_SENDING = (
    "A data set goes out bit for bit in the transfer syntax that it is held in, where the receiver accepted that for "
    "its SOP Class. Where it accepted only Explicit or Implicit VR Little Endian, the data set is converted to that, "
    "and pixel data are decoded as far as the decoders that are installed can; nothing is ever compressed, and no UID "
    "changes. An instance for which neither can be done has failed. The priority of the request is that of its "
    "sub-operations. Pending responses with the counts come some four times a second, and at least every five seconds. "
    "After a C-CANCEL nothing new is sent. Final responses other than Success have the Failed SOP Instance UID List "
    "(0008,0058), and an Error Comment that says why most of them failed. Counts above 65535 are told as that."
)


def _has(entity: Entity, operation: str) -> bool:
    return any(uid in entity.offer.contexts for uid in _MODELS[operation])


def _ways(entity: Entity) -> Iterator[str]:
    if entity.moves:
        yield (
            "C-MOVE sends over associations of its own with the destination: see the Association Initiation Policy and "
            "the remote AEs of the configuration. Move Originator Application Entity Title and Move Originator Message "
            "ID are told in each C-STORE request."
        )
    if entity.sends_back:
        yield (
            "C-GET sends over the association that asks, in presentation contexts for which the requestor has proposed "
            "the SCP role for itself (SCP/SCU role selection), and which were accepted in the transfer syntax of the "
            "instance, or in an uncompressed one as below. Instances without such a context have failed."
        )


def _sub_operations() -> Table:
    rows = (
        ("Success", "Completed"),
        ("Warning", "Completed with a warning"),
        ("Failure, or one that is not known", "Failed"),
        ("None, since the association broke", "C-MOVE tries again, as often as the peer has attempts; C-GET ends"),
    )
    return Table("Responses to C-STORE sub-operations", ("Response", "Counted as"), rows)


def _extended(entity: Entity) -> str:
    extended = entity.offer.extensions.extended
    uid = next(uid for models in _MODELS.values() for uid in models if uid in entity.offer.contexts)
    answered = extended({uid: b"\1" * 5})[uid] if extended else b""
    relational, *others = map(bool, answered)
    return (
        "SOP Class Extended Negotiation (PS3.4 C.5.2.1, C.5.3.1) is answered: relational retrieval, the first byte, is "
        f"{'agreed to' if relational else 'not agreed to'}; "
        f"{'others are agreed to' if any(others) else 'no other option is'}."
    )


def _statuses(operation: str) -> Iterator[tuple[int, str]]:
    yield status.SUCCESS, "All sub-operations succeeded, or nothing matched."
    yield status.PENDING, "Sub-operations go on."
    yield status.CANCEL, "A C-CANCEL came; what was not begun is told as remaining."
    yield status.COERCION_OF_DATA_ELEMENTS, "Some sub-operations failed or had a warning."
    yield _UNKNOWN_MATCHES, "The index cannot be asked now."
    nowhere = " or the destination could not be reached" if operation == "C-MOVE" else ""
    yield _NONE_SENT, f"No instance was stored: all sub-operations failed{nowhere}."
    if operation == "C-MOVE":
        yield _UNKNOWN_DESTINATION, "Move Destination is not the AE title of a peer of the configuration."
    yield (
        status.DATA_SET_DOES_NOT_MATCH,
        (
            "There is no identifier, its level is missing or none of the model, or a unique key is missing, below the "
            "level, has several values or wild cards, or is no UID. Offending Element and Error Comment name the key."
        ),
    )
    yield status.CANNOT_UNDERSTAND, "The identifier cannot be decoded, or is longer than 4 MiB."
    yield from reversed(ANYWHERE)


# --- as an initiator


def proposals() -> Table:
    """What C-MOVE proposes for an instance, by the encoding that it is held in, as the sender has it."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for syntax in map(str, ALL_TRANSFER_SYNTAXES):
        rows.setdefault(_others(syntax), []).append(syntax)
    return Table(
        "Presentation contexts that C-MOVE proposes",
        ("Abstract Syntax", "Transfer syntax of the instance", "In a context of its own beside it", "Role"),
        tuple(
            ("SOP Class of each instance", _held_in(syntaxes), " or ".join(map(uid_name, others)), "SCU")
            for others, syntaxes in rows.items()
        ),
    )


def _others(syntax: str) -> tuple[str, ...]:
    (batch,) = plan([Held(_ANY_CLASS, "", syntax, "", 0, "", "", "")])
    return batch.proposals[1].transfer_syntaxes


def _held_in(syntaxes: list[str]) -> str:
    plain = [uid_name(one) for one in syntaxes if one in UNCOMPRESSED[:2]]
    return ", ".join(plain) if plain else "Any other"
