"""Which service takes the messages of a SOP class, and which classes the daemon knows and has no service for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.services.storage import Storage
from scpd.services.verification import Verification
from scpd.sop_class import SOP_CLASSES, STORAGE, VERIFICATION, uid_keyword

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.config import ServerConfig
    from scpd.services.service import Service

_SERVED = frozenset(map(str, (*STORAGE, *VERIFICATION)))
_KNOWN_AND_NOT_SERVED = frozenset(map(str, SOP_CLASSES.values())) - _SERVED


def service(abstract_syntax: str) -> type[Service]:
    """The service behind a SOP class: classes that nobody knows are stored, as private ones are."""
    return Verification if abstract_syntax in VERIFICATION else Storage


def faults(server: ServerConfig) -> Iterator[tuple[str, str]]:
    """The key and what is wrong, for each class of a server that there is no service for."""
    for context in server.supported():
        if context.abstract_syntax in _KNOWN_AND_NOT_SERVED:
            name = uid_keyword(context.abstract_syntax)
            yield "contexts", f"{name} is not served by this version; write classes of storage"
