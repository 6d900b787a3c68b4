"""Tickets that prove to a peer who we are (PS3.7 D.3.3.7, form 3), from the credential cache of whoever runs this.

Knows no association: what it makes is the Primary-field of a user identity, what it confirms the Server-response.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import gssapi
from gssapi import raw
from gssapi.raw.misc import GSSError

from scpd.errors import PeerError, ScpdError
from scpd.names import quote

if TYPE_CHECKING:
    from gssapi.raw.named_tuples import InitSecContextResult

_MECHANISM = gssapi.MechType.kerberos
_FLAGS = gssapi.RequirementFlag.mutual_authentication | gssapi.RequirementFlag.integrity
_LONGEST_QUOTE = 200
_NO_PROOF = "the peer did not prove that it is the service of the ticket"
_WHAT_TO_DO = "run kinit first, and see that the realm knows the service"


class Ticket:
    """A ticket for one association: ``token`` goes to the peer, whose answer has to be confirmed, once."""

    def __init__(self, service: raw.Name, begun: InitSecContextResult) -> None:
        self.token = begun.token or b""
        self._service = service
        self._context = begun.context

    def confirm(self, response: bytes) -> None:
        """Whether the peer's answer shows that it holds the key of the service, and no other peer does.

        Raises :class:`~scpd.errors.PeerError` when it does not: then whoever answered is not who was meant.
        """
        if not response:
            raise PeerError(f"{_NO_PROOF}: its answer holds no Kerberos token")
        try:
            ended = _step(self._service, self._context, response)
        except GSSError as error:
            raise PeerError(f"{_NO_PROOF}: {_said(error)}") from error
        if ended.more_steps:
            raise PeerError(f"{_NO_PROOF}: its answer asks for more")


def ticket(service: str) -> Ticket:
    """A ticket for ``service``, a principal such as ``dicom/pacs.example``, that asks the peer to prove itself too.

    It is taken from the credential cache (KRB5CCNAME, as ``kinit`` leaves it); the system's library may ask the KDC
    for it, and waits as long as krb5.conf says. Raises :class:`~scpd.errors.ScpdError` with what to do.
    """
    try:
        name = raw.import_name(service.encode(), gssapi.NameType.kerberos_principal)
        return Ticket(name, _step(name))
    except GSSError as error:
        raise ScpdError(f"no Kerberos ticket for {quote(service)}: {_said(error)}; {_WHAT_TO_DO}") from error


def _step(
    service: raw.Name, context: raw.SecurityContext | None = None, token: bytes | None = None
) -> InitSecContextResult:
    return raw.init_sec_context(service, context=context, mech=_MECHANISM, flags=_FLAGS, input_token=token)


def _said(error: GSSError) -> str:
    return quote("; ".join(error.get_all_statuses(error.min_code, is_maj=False)), _LONGEST_QUOTE)
