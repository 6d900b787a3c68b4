"""Which service takes the messages of a SOP class, and which classes the daemon knows and has no service for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.services.commitment.service import Commitment
from scpd.services.query.find import Find
from scpd.services.query.models import BY_FIND, BY_GET, BY_MOVE
from scpd.services.retrieve.service import Retrieve
from scpd.services.storage import Storage
from scpd.services.verification import Verification
from scpd.sop_class import SOP_CLASSES, STORAGE, STORAGE_COMMITMENT, VERIFICATION, uid_keyword

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scpd.config import ServerConfig
    from scpd.services.service import Service

_SERVICES: Mapping[str, type[Service]] = {
    **dict.fromkeys(map(str, VERIFICATION), Verification),
    **dict.fromkeys(map(str, BY_FIND), Find),
    **dict.fromkeys(map(str, (*BY_MOVE, *BY_GET)), Retrieve),
    **dict.fromkeys(map(str, STORAGE_COMMITMENT), Commitment),
}
_KNOWN_AND_NOT_SERVED = frozenset(map(str, SOP_CLASSES.values())) - frozenset(map(str, STORAGE)) - _SERVICES.keys()
_ASKS_THE_INDEX = (Find, Retrieve, Commitment)


def service(abstract_syntax: str) -> type[Service]:
    """The service behind a SOP class: classes that nobody knows are stored, as private ones are."""
    return _SERVICES.get(abstract_syntax, Storage)


def retrieves_back(server: ServerConfig) -> bool:
    """Whether a server sends instances over the association that asks for them, by C-GET."""
    return any(context.abstract_syntax in BY_GET for context in server.supported())


def faults(server: ServerConfig) -> Iterator[tuple[str, str]]:
    """The key and what is wrong, for each class of a server that there is no service for."""
    for context in server.supported():
        name = uid_keyword(context.abstract_syntax)
        if context.abstract_syntax in _KNOWN_AND_NOT_SERVED:
            yield "contexts", f"{name} is not served by this version; write classes of storage"
        elif server.index is None and service(context.abstract_syntax) in _ASKS_THE_INDEX:
            yield "contexts", f"{name} needs to know what is held; write index: {{}} as well, or leave it out"
