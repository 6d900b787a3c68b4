"""SOP specific conformance (PS3.2): a section for each service that a server has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.daemon.conformance import committing, querying, retrieval, storing
from scpd.services.commitment.service import Commitment
from scpd.services.query.find import Find
from scpd.services.retrieve.service import Retrieve
from scpd.services.storage import Storage
from scpd.services.verification import Verification

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.daemon.conformance.document import Section
    from scpd.daemon.conformance.entity import Entity


def specific(entity: Entity) -> Iterator[Section]:
    """The sections."""
    services = entity.services
    if Verification in services:
        yield storing.verification()
    if Storage in services:
        yield storing.storage(entity)
    if Find in services:
        yield querying.query(entity)
    if Retrieve in services:
        yield retrieval.retrieve(entity)
    if Commitment in services:
        yield committing.commitment(entity)
