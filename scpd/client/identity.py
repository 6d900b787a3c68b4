"""Who we say we are when we ask for an association (PS3.7 D.3.3.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from scpd.wire.user_info import UserIdentityRQ

if TYPE_CHECKING:
    from scpd.client.kerberos import Ticket
    from scpd.wire.user_info import UserIdentityAC

_KERBEROS = 3


class Identity(Protocol):
    """Makes a claim for each association anew, and hears what the peer answers."""

    def claim(self) -> UserIdentityRQ:
        """What is sent with the next request. Raises :class:`~scpd.errors.ScpdError` when there is nothing to send."""

    def answered(self, response: UserIdentityAC | None) -> None:
        """The association was accepted, with this response or none. Raises :class:`~scpd.errors.PeerError`."""


class Stated:
    """The same claim each time: a name, a passcode, an assertion or a token; ``form`` is its User-Identity-Type.

    ``confirmed`` is whether the last peer gave the positive response, None before there was one.
    """

    def __init__(self, form: int, primary: bytes, secondary: bytes = b"") -> None:
        self.confirmed: bool | None = None
        self._claim = UserIdentityRQ(form, positive_response_requested=True, primary=primary, secondary=secondary)

    def claim(self) -> UserIdentityRQ:
        """The claim."""
        return self._claim

    def answered(self, response: UserIdentityAC | None) -> None:
        """Without a response nobody knows whether the peer looked at it at all."""
        self.confirmed = response is not None


class Ticketed:
    """A Kerberos service ticket, another one for each association, by which the peer proves itself too.

    Needs the extra ``kerberos``: :class:`ImportError` without it.
    """

    def __init__(self, service: str) -> None:
        from scpd.client import kerberos  # noqa: PLC0415 an extra

        self.confirmed: bool | None = None
        self._service = service
        self._make = kerberos.ticket
        self._ticket: Ticket | None = None

    def claim(self) -> UserIdentityRQ:
        """A claim with a new ticket."""
        self._ticket = self._make(self._service)
        return UserIdentityRQ(_KERBEROS, positive_response_requested=True, primary=self._ticket.token)

    def answered(self, response: UserIdentityAC | None) -> None:
        """A response has to hold; without one the peer may have looked at nothing."""
        self.confirmed = response is not None
        if response and self._ticket:
            self._ticket.confirm(response.server_response)
