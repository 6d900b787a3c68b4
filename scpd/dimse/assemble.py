"""Fragments → command sets, and the rules that fragments keep among each other (PS3.7 6.3.1, PS3.8 annex E.1).

A command set is gathered, within a limit. The fragments of a data set pass through as views, for whoever stores them:
nothing here ever holds one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.dimse import codec
from scpd.errors import InvalidCommand, ProtocolError
from scpd.wire.fields import UNEXPECTED_PARAMETER, invalid

if TYPE_CHECKING:
    from collections.abc import Container

    from scpd.dimse.command import Command
    from scpd.wire.framing import Fragment

# A fragment may be empty, but a peer that sends nothing else makes no progress.
_EMPTY_FRAGMENTS = 16


class Assembler:
    """The message that is coming in. ``contexts`` are the accepted context IDs, ``limit`` a command's bytes."""

    def __init__(self, contexts: Container[int], limit: int) -> None:
        self._contexts = contexts
        self._limit = limit
        self._gathered = bytearray()
        self._empty = 0
        self.context_id = 0  # of the message that has begun; 0 between two messages
        self.awaits_data = False

    def command(self, fragment: Fragment) -> Command | None:
        """Take a fragment where a command set is due; the command once it is whole."""
        self._check(fragment, is_command=True)
        self.context_id = fragment.context_id
        if len(self._gathered) + len(fragment.data) > self._limit:
            raise invalid(f"a command set of more than {self._limit} bytes")
        if not fragment.is_last:
            self._gathered += fragment.data
            return None
        whole = bytes(self._gathered) + fragment.data if self._gathered else fragment.data
        try:
            command = codec.decode(whole)
        except InvalidCommand as error:
            raise invalid(str(error)) from None
        self._gathered = bytearray()
        self._empty = 0
        self.awaits_data = command.has_data_set
        if not self.awaits_data:
            self.context_id = 0
        return command

    def data(self, fragment: Fragment) -> memoryview:
        """Take a fragment where one of a data set is due, and pass its bytes on."""
        self._check(fragment, is_command=False)
        if fragment.is_last:
            self.awaits_data = False
            self.context_id = self._empty = 0
        return fragment.data

    def _check(self, fragment: Fragment, *, is_command: bool) -> None:
        context_id = fragment.context_id
        if context_id not in self._contexts:
            raise invalid(f"a fragment in presentation context {context_id}, which was not accepted")
        if self.context_id not in (0, context_id):
            raise ProtocolError(
                f"a fragment of presentation context {context_id} inside a message of {self.context_id}",
                reason=UNEXPECTED_PARAMETER,
            )
        if fragment.is_command != is_command:
            words = ("a data set", "a command set")
            raise ProtocolError(
                f"a fragment of {words[fragment.is_command]} where {words[is_command]} was due",
                reason=UNEXPECTED_PARAMETER,
            )
        if not fragment.data and not fragment.is_last:
            self._empty += 1
            if self._empty > _EMPTY_FRAGMENTS:
                raise invalid(f"more than {_EMPTY_FRAGMENTS} empty fragments in one message")
