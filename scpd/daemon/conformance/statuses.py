"""SOP specific conformance: what each service does with an instance, and every status that it answers (PS3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.daemon.conformance.document import Code, Section, Table
from scpd.dimse import status
from scpd.sop_class import VERIFICATION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scpd.daemon.conformance.entity import Entity

_HEADER = ("Status", "Code", "Meaning", "When")
_KEPT = {
    "replace": "takes the place of the one that is held",
    "keep": "is answered with Success, and the one that is held stays",
    "reject": "is refused",
}
_PROMISE = {
    "fsync": "the instance and its folder have been flushed to the disk",
    "none": "the operating system has the instance, which a loss of power may still take",
}


def specific(entity: Entity) -> Iterator[Section]:
    """A section for each service that the entity has."""
    uids = [one.abstract_syntax for one in entity.contexts]
    if any(uid in VERIFICATION for uid in uids):
        yield Section(
            "SOP Specific Conformance for Verification",
            ("The AE provides the Verification Service Class (PS3.4 annex A) as an SCP.", *_table("C-ECHO", _ECHO)),
        )
    if any(uid not in VERIFICATION for uid in uids):
        yield Section(
            "SOP Specific Conformance for Storage",
            (*_behaviour(entity), *_table("C-STORE", _storage(entity))),
        )


def _behaviour(entity: Entity) -> Iterator[str]:
    storage = entity.server.storage
    yield (
        "The AE provides the Storage Service Class (PS3.4 annex B) as an SCP at level 2 (full): every attribute of an "
        "instance is kept, private ones included, and none is coerced. The data set is stored bit for bit in the "
        "transfer syntax of its presentation context, so digital signatures in it stay valid. It is not decoded: only "
        "the attributes that the storage path and the audit trail need are read from it."
    )
    yield (
        f"Success is answered when {_PROMISE[storage.durability]}. An instance whose file is held already "
        f"{_KEPT[storage.duplicates]}. Instances are kept until somebody else removes them: the AE deletes nothing, "
        "and offers no service by which they could be queried or retrieved."
    )
    yield "A failure leaves the association open, and nothing of the instance behind."


def _table(service: str, rows: Iterable[tuple[int, str]]) -> Iterator[Table]:
    yield Table(
        f"Statuses of {service}",
        _HEADER,
        tuple(
            (status.category(code).value.capitalize(), Code(f"{code:04X}"), status.meaning(code, service), when)
            for code, when in rows
        ),
    )


_ANYWHERE = (
    (status.UNRECOGNIZED_OPERATION, "The operation is not one of those of its SOP Class."),
    (status.SOP_CLASS_NOT_SUPPORTED, "This AE is not the SCP in the presentation context, by role selection."),
)
_ECHO = ((status.SUCCESS, "Always."), *_ANYWHERE)


def _storage(entity: Entity) -> Iterator[tuple[int, str]]:
    storage = entity.server.storage
    yield status.SUCCESS, "The instance is where it belongs."
    differs = "SOP Class UID or SOP Instance UID of the data set are not those of the command"
    if storage.verify == "strict":
        yield status.DATA_SET_DOES_NOT_MATCH, f"{differs}; the instance is refused."
    else:
        yield status.WARNING_DOES_NOT_MATCH, f"{differs}; the instance is stored."
    yield status.OUT_OF_RESOURCES, _scarce(entity)
    ends = "ends inside an element, " if storage.verify == "strict" else ""
    yield (
        status.CANNOT_UNDERSTAND,
        f"The data set is empty, cannot be read as far as is needed, {ends}or has elements of groups 0000 or 0002.",
    )
    if storage.duplicates == "reject":
        yield status.DUPLICATE_SOP_INSTANCE, "The instance is held already."
    yield status.INVALID_SOP_INSTANCE, "Affected SOP Instance UID of the command is not a UID."
    operation, role = _ANYWHERE
    yield role[0], f"Affected SOP Class UID is not the abstract syntax of the presentation context. {role[1]}"
    yield operation


def _scarce(entity: Entity) -> str:
    reserve = entity.server.storage.reserve
    space = f"Less than {entity.setting('storage.reserve')} of space is free, or the" if reserve else "The"
    queue = ", or nothing can be put into the queue of what is handed over" if entity.hooks else ""
    return (
        f"{space} data set is longer than {entity.setting('limits.data_set')}, or the system cannot write it, or the "
        f"directory is not the one that was opened{queue}. The sender should keep the instance and come again."
    )
