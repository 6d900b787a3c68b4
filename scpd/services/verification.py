"""Verification (PS3.4 annex A): C-ECHO."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.dimse.command import CEchoRQ, Request, respond
from scpd.dimse.status import SUCCESS
from scpd.services.service import Operation, Reply

if TYPE_CHECKING:
    from collections.abc import Iterable


class Verification:
    """Answers that it is there."""

    operations: frozenset[type[Request]] = frozenset((CEchoRQ,))

    def perform(self, operation: Operation) -> Iterable[Reply]:
        """One Success (PS3.4 A.4)."""
        return (Reply(respond(operation.request, SUCCESS)),)
