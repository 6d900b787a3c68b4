"""SOP specific conformance of Verification and Storage: what is done with an instance, and what is answered (PS3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.daemon.conformance.document import Section
from scpd.daemon.conformance.statuses import ANYWHERE, OTHER_CLASS, table
from scpd.dimse import status
from scpd.services.query.find import Find
from scpd.services.retrieve.service import Retrieve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.daemon.conformance.entity import Entity

_KEPT = {
    "replace": "takes the place of the one that is held",
    "keep": "is answered with Success, and the one that is held stays",
    "reject": "is refused",
}
_PROMISE = {
    "fsync": "the instance and its folder have been flushed to the disk",
    "none": "the operating system has the instance, which a loss of power may still take",
}
_WRITTEN_DOWN = {
    "required": "The index knows of it by then, so that it can be found at once.",
    "deferred": "The index is told just afterwards, so that it can be found soon.",
}
_ECHO = ((status.SUCCESS, "Always."), *ANYWHERE)


def verification() -> Section:
    """Of C-ECHO."""
    return Section(
        "SOP Specific Conformance for Verification",
        ("The AE provides the Verification Service Class (PS3.4 annex A) as an SCP.", table("C-ECHO", _ECHO)),
    )


def storage(entity: Entity) -> Section:
    """Of C-STORE."""
    return Section("SOP Specific Conformance for Storage", (*_behaviour(entity), table("C-STORE", _statuses(entity))))


def _behaviour(entity: Entity) -> Iterator[str]:
    storage = entity.server.storage
    yield (
        "The AE provides the Storage Service Class (PS3.4 annex B) as an SCP at level 2 (full): every attribute of an "
        "instance is kept, private ones included, and none is coerced. The data set is stored bit for bit in the "
        "transfer syntax of its presentation context, so digital signatures in it stay valid. It is not decoded: only "
        "the attributes that the storage path, the index and the audit trail need are read from it."
    )
    index = entity.server.index
    known = f" {_WRITTEN_DOWN[index.write]}" if index else ""
    yield (
        f"Success is answered when {_PROMISE[storage.durability]}.{known} An instance whose file is held already "
        f"{_KEPT[storage.duplicates]}. {_afterwards(entity)}"
    )
    yield "A failure leaves the association open, and nothing of the instance behind."


def _afterwards(entity: Entity) -> str:
    """What becomes of it later."""
    if entity.server.retention:
        kept = "Studies are deleted by the rules of retention of the configuration"
    else:
        kept = "Instances are kept until somebody else removes them: the AE deletes nothing"
    services = entity.services
    served = [word for word, one in (("queried", Find), ("retrieved", Retrieve)) if one in services]
    if served:
        return f"{kept}. Until then they can be {' and '.join(served)}."
    return f"{kept}, and there is no service by which instances could be queried or retrieved."


def _statuses(entity: Entity) -> Iterator[tuple[int, str]]:
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
    yield OTHER_CLASS
    yield ANYWHERE[0]


def _scarce(entity: Entity) -> str:
    reserve = entity.server.storage.reserve
    index = entity.server.index
    space = f"Less than {entity.setting('storage.reserve')} of space is free, or the" if reserve else "The"
    queue = ", or nothing can be put into the queue of what is handed over" if entity.hooks else ""
    written = ", or the index cannot be written" if index and index.write == "required" else ""
    return (
        f"{space} data set is longer than {entity.setting('limits.data_set')}, or the system cannot write it, or the "
        f"directory is not the one that was opened{queue}{written}. The sender should keep the instance and come again."
    )
